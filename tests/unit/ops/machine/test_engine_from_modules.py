"""The decisions of ops.machine.engine_from_modules and of the language host; no build, no engine."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pulumi.runtime.proto import language_pb2

from ops.errors import UserError
from ops.machine import engine_from_modules as engine
from ops.paths import ROOT
from tools.engine import language_host


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "tools-engine"
    shutil.copytree(engine.SOURCES, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def fake_go(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Makes ``go`` a shell script and the only program on PATH besides the shell's own."""
    folder.mkdir()
    (folder / "go").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "go").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


class TestContentHash:
    @pytest.mark.parametrize(
        "name", ["pins.json", "language_host.py", "cli/go.sum", "docker/main.go", "random/go.mod", "names/names.go"]
    )
    def test_changes_with_an_input(self, sources: Path, name: str) -> None:
        before = engine.content_hash(sources)
        with (sources / name).open("a") as file:
            file.write("\n")
        assert engine.content_hash(sources) != before

    @pytest.mark.parametrize("name", ["README.md", "__pycache__/language_host.cpython-311.pyc", "docker/plugin"])
    def test_does_not_change_with_anything_else(self, sources: Path, name: str) -> None:
        before = engine.content_hash(sources)
        (sources / name).parent.mkdir(exist_ok=True)
        (sources / name).write_text("anything")
        assert engine.content_hash(sources) == before

    def test_tells_a_moved_byte_from_the_same_bytes_elsewhere(self, sources: Path) -> None:
        (sources / "names" / "a.go").write_text("package names // b.go")
        before = engine.content_hash(sources)
        (sources / "names" / "a.go").rename(sources / "names" / "b.go")
        assert engine.content_hash(sources) != before


class TestVersions:
    def test_plugins_are_the_ones_that_the_sdks_ask_for(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        pinned = dict(line.split("==") for line in project["project"]["dependencies"] if "==" in line)
        versions = engine.versions()
        assert {name: versions[name] for name in engine.PLUGINS} == {
            "docker": pinned["pulumi-docker"],
            "random": pinned["pulumi-random"],
        }

    def test_cli_is_the_module_that_is_built(self) -> None:
        module = (engine.SOURCES / "cli" / "go.mod").read_text()
        assert f"github.com/pulumi/pulumi/pkg/v3 v{engine.versions()['pulumi']} " in module

    def test_what_the_modules_share_has_one_version_and_is_compiled_once(self) -> None:
        versions: dict[str, set[str]] = {}
        for file in engine.SOURCES.glob("*/go.mod"):
            text = file.read_text()
            replaced = dict(re.findall(r"^(?:\t|replace )(\S+) => (\S+ v\S+)$", text, re.MULTILINE))
            for module, version in re.findall(r"^\t(\S+) (v\S+)", text, re.MULTILINE):
                versions.setdefault(module, set()).add(replaced.get(module, version))
        # The CLI does not compile with the version that the random plugin needs.
        assert [module for module, found in versions.items() if len(found) > 1] == ["github.com/olekukonko/tablewriter"]


class TestEnsure:
    def test_a_failed_build_leaves_nothing_that_looks_built(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_go(tmp_path / "bin", monkeypatch, 'case "$1" in env) echo go1.26.8;; *) echo no space left >&2; exit 2;; esac')
        lines: list[str] = []
        with pytest.raises(UserError, match=r"go: exit 2 .*no space left"):
            engine.ensure(tmp_path / "cache", lines.append)
        assert [entry.name for entry in (tmp_path / "cache" / "engine").iterdir() if entry.is_dir()] == []
        assert lines == [f"building pulumi {engine.versions()['pulumi']} from Go modules (up to 4 min on 2 cores) ..."]

    def test_a_built_engine_needs_no_go(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path / "engine" / engine.content_hash()
        (folder / "bin").mkdir(parents=True)
        monkeypatch.setenv("PATH", "")
        lines: list[str] = []
        built = engine.ensure(tmp_path, lines.append)
        assert (built.bin_dir, built.pulumi_home, lines) == (folder / "bin", folder / "home", [])

    def test_old_folders_go_and_used_ones_stay(self, tmp_path: Path) -> None:
        used, old = tmp_path / "engine" / "0123456789ab", tmp_path / "engine" / "ba9876543210"
        for folder in (used, old, tmp_path / "engine" / engine.content_hash() / "bin"):
            folder.mkdir(parents=True)
        os.utime(old, (0, 0))
        engine.ensure(tmp_path)
        assert used.exists()
        assert not old.exists()

    def test_the_language_host_follows_a_python_that_is_gone(self, tmp_path: Path) -> None:
        executable = tmp_path / "engine" / engine.content_hash() / "bin" / "pulumi-language-python"
        executable.parent.mkdir(parents=True)
        executable.write_text("#!/bin/sh\npython='/a checkout/that is gone/.venv/bin/python'\n")
        engine.ensure(tmp_path)
        assert sys.executable in executable.read_text()
        assert executable.stat().st_mode & stat.S_IXUSR

    def test_the_language_host_stays_where_its_python_is_there(self, tmp_path: Path) -> None:
        executable = tmp_path / "engine" / engine.content_hash() / "bin" / "pulumi-language-python"
        executable.parent.mkdir(parents=True)
        executable.write_text("#!/bin/sh\npython=/bin/sh\n")
        engine.ensure(tmp_path)
        assert executable.read_text() == "#!/bin/sh\npython=/bin/sh\n"

    def test_the_language_host_loads_the_stubs_alone(self) -> None:
        command = [sys.executable, "-I", "-X", "importtime", language_host.__file__, "exec", "127.0.0.1:1"]
        done = subprocess.run(command, stdin=subprocess.PIPE, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.strip().isdecimal()
        loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "pulumi.runtime.proto.language_pb2_grpc" in loaded
        assert loaded & {"pulumi", "pulumi.runtime", "pulumi.resource", "pulumi.automation"} == set()


def package(site_packages: Path, name: str, declaration: str | None) -> None:
    (site_packages / name).mkdir(parents=True)
    if declaration:
        (site_packages / name / "pulumi-plugin.json").write_text(declaration)


class TestRequiredPlugins:
    @pytest.fixture
    def site_packages(self, tmp_path: Path) -> Path:
        package(tmp_path, "pulumi_docker", '{"resource": true, "name": "docker", "version": "5.2.0"}')
        package(tmp_path, "pulumiverse_vercel", '{"resource": true, "name": "vercel", "version": "v1.0.0", "server": "x://y"}')
        package(tmp_path, "pulumi_policy", '{ "resource": false }')
        package(tmp_path, "httpx", None)
        return tmp_path

    def test_a_plugin_that_is_not_installed_is_not_demanded(self, site_packages: Path) -> None:
        # The engine would try to download it before any program that never uses it.
        plugins = language_host.required_plugins([site_packages], ["resource-docker-v5.2.0"])
        assert plugins == [language_host.Plugin("docker", "5.2.0", "")]

    def test_an_installed_plugin_is_named_with_its_server(self, site_packages: Path) -> None:
        plugins = language_host.required_plugins([site_packages], ["resource-vercel-v1.0.0"])
        assert plugins == [language_host.Plugin("vercel", "1.0.0", "x://y")]

    def test_another_version_is_another_plugin(self, site_packages: Path) -> None:
        assert language_host.required_plugins([site_packages], ["resource-docker-v5.1.0"]) == []

    def test_installed_plugins_are_those_of_pulumi_home(self, tmp_path: Path) -> None:
        (tmp_path / "plugins" / "resource-docker-v5.2.0").mkdir(parents=True)
        (tmp_path / "plugins" / "resource-docker-v5.2.0.lock").touch()
        assert language_host.installed_plugins({"PULUMI_HOME": str(tmp_path)}) == ["resource-docker-v5.2.0"]


class TestRun:
    def test_arguments_and_configuration_of_a_program(self) -> None:
        request = language_pb2.RunRequest(
            project="skyvern",
            stack="dev",
            pwd="/p",
            dryRun=True,
            parallel=16,
            monitor_address="127.0.0.1:1",
            organization="acme",
            config={"skyvern:token": "hidden"},
            configSecretKeys=["skyvern:token"],
            info=language_pb2.ProgramInfo(root_directory="/p", program_directory="/p/sub", entry_point="."),
        )
        arguments = language_host.run_arguments(request, "127.0.0.1:2")
        assert " ".join(arguments) == (
            "--monitor 127.0.0.1:1 --engine 127.0.0.1:2 --project skyvern --root_directory /p --stack dev --pwd /p "
            "--dry_run true --parallel 16 --organization acme /p/sub"
        )
        assert language_host.run_variables(request, {"A": "b"}) == {
            "A": "b",
            "PULUMI_CONFIG": '{"skyvern:token": "hidden"}',
            "PULUMI_CONFIG_SECRET_KEYS": '["skyvern:token"]',
        }

    @pytest.mark.parametrize(
        ("exit_code", "error", "bail"),
        [
            (0, "", False),
            (1, "Program exited with non-zero exit code: 1", False),
            (32, "", True),
            (-9, "Program was stopped by signal 9", False),
        ],
    )
    def test_response_by_exit_code(self, exit_code: int, error: str, bail: bool) -> None:
        response = language_host.run_response(exit_code)
        assert (response.error, response.bail) == (error, bail)


class TestEnvironment:
    def test_a_virtual_environment_is_looked_for_in_the_project(self, tmp_path: Path) -> None:
        (tmp_path / ".venv" / "bin").mkdir(parents=True)
        (tmp_path / ".venv" / "bin" / "python").touch()
        environment = language_host.Environment.of(tmp_path, {"virtualenv": ".venv", "toolchain": "pip"})
        assert environment.python == str(tmp_path / ".venv" / "bin" / "python")
        assert environment.variables({"PATH": "/bin", "PYTHONHOME": "/x"}) == {
            "PATH": f"{tmp_path}/.venv/bin:/bin",
            "VIRTUAL_ENV": f"{tmp_path}/.venv",
        }

    def test_a_missing_environment_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(language_host.Unusable, match=r'^.*/\.venv: runtime option "virtualenv" names no .*bootstrap$'):
            language_host.Environment.of(tmp_path, {"virtualenv": ".venv"})

    def test_without_the_option_it_is_the_python_on_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PULUMI_PYTHON_CMD", "/opt/python")
        assert language_host.Environment.of(tmp_path, {}).python == "/opt/python"


def test_dependencies_leave_out_what_another_one_requires(tmp_path: Path) -> None:
    for name, requires in {"app": ["Typing_Extensions>=4; python_version < '4'", "x; extra == 'dev'"], "x": []}.items():
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        lines = [f"Requires-Dist: {requirement}" for requirement in requires]
        (folder / "METADATA").write_text("\n".join([f"Name: {name}", "Version: 1.0", *lines]))
    (tmp_path / "typing_extensions-4.1.dist-info").mkdir()
    (tmp_path / "typing_extensions-4.1.dist-info" / "METADATA").write_text("Name: typing_extensions\nVersion: 4.1\n")
    assert language_host.dependencies([tmp_path], transitive=True) == {
        "app": "1.0",
        "typing-extensions": "4.1",
        "x": "1.0",
    }
    assert language_host.dependencies([tmp_path], transitive=False) == {"app": "1.0", "x": "1.0"}
