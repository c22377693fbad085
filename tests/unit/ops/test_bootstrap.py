"""ops.bootstrap and script/bootstrap, with doubles for every program: nothing is installed, started or downloaded."""

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops import bootstrap
from ops.clients.terminal import Progress
from ops.machine import backend, engine, go
from ops.paths import ROOT, config_dir
from tests.support.home import DOCKER_ANSWERS, Home

# --- ops.bootstrap -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prepared", ["engine", "state", "nothing"])
def test_before_bootstrap_the_environment_is_one_line(home: Home, prepared: str, capsys: pytest.CaptureFixture[str]) -> None:
    if prepared == "engine":
        home.record_engine()
    elif prepared == "state":
        backend.ensure_state(home.say)
    assert bootstrap.main(["--print-env"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("run script/bootstrap\n")
    assert printed.err.count("\n") == 1


def test_print_env_prints_exports_only(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.record_engine()
    backend.ensure_state(home.say)
    assert bootstrap.main(["--print-env"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert all(line.startswith("export ") and shlex.split(line) for line in printed.out.splitlines())
    assert backend.passphrase_file().read_text().strip() not in printed.out


def stack_file(folder: Path, text: str) -> None:
    (folder / "Pulumi.dev.yaml").write_text(text)


def prepared(home: Home) -> None:
    """A machine that lacks nothing; what is missing would be installed."""
    home.program("docker", DOCKER_ANSWERS)
    home.program("pulumi", "echo v3.272.0")
    home.program("pulumi-language-python", "true")
    home.program("apt-get", "exit 1")
    home.plugins()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("config:\n  skyvern:host:\n    port: 80\n", "Pulumi.dev.yaml: host.port: 80 "),
        ("config:\n  skyvern:host: [\n", "Pulumi.dev.yaml: is not valid YAML in line "),
        ("config:\n  skyvern:images:\n    source: else\n", "Pulumi.dev.yaml: images.source: "),
    ],
)
def test_a_wrong_stack_file_is_reported_before_anything_is_touched(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, line: str
) -> None:
    monkeypatch.setattr("ops.stack.stack.ROOT", tmp_path)
    stack_file(tmp_path, text)
    prepared(home)
    assert bootstrap.main([]) == 1
    assert capsys.readouterr().err.startswith(line)
    assert home.calls("docker") == []
    assert not config_dir().exists()


def test_a_stack_without_a_file_is_one_line(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ops.stack.stack.ROOT", tmp_path)
    prepared(home)
    assert bootstrap.main(["--stack", "organization/skyvern/other"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Pulumi.other.yaml: does not exist; copy Pulumi.dev.yaml")
    assert not config_dir().exists()


def test_everything_twice_changes_nothing(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.stack.stack.ROOT", tmp_path)
    stack_file(tmp_path, "config: {}\n")
    prepared(home)
    assert bootstrap.main([]) == 0

    def files() -> dict[Path, tuple[int, bytes]]:
        everything = [*home.path.rglob("*"), *tmp_path.glob("Pulumi*")]
        return {
            file: (file.stat().st_mtime_ns, file.read_bytes()) for file in everything if file.is_file() and file.suffix != ".log"
        }

    before = files()
    assert bootstrap.main([]) == 0
    assert files() == before
    assert home.calls("apt-get") == []


def test_the_daemon_is_the_one_of_the_stack_file(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.stack.stack.ROOT", tmp_path)
    (tmp_path / "Pulumi.other.yaml").write_text("config:\n  skyvern:host:\n    docker_host: unix:///run/other.sock\n")
    prepared(home)
    assert bootstrap.main(["--stack", "organization/skyvern/other"]) == 0
    asked = ("version --format {{json .Server}}", "info --format {{json .SecurityOptions}}")
    assert sorted(home.calls("docker")) == sorted(f"--host unix:///run/other.sock {one}" for one in asked)
    assert backend.passphrase_file().is_file()


def test_the_engine_alone_needs_no_stack_file_and_makes_no_state(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.stack.stack.ROOT", tmp_path)
    prepared(home)
    assert bootstrap.main(["--only", "engine"]) == 0
    assert engine.read_record() is not None
    assert home.calls("docker") == []
    assert not config_dir().exists()


def test_of_go_only_its_folder_is_printed(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.program("go", "echo go1.99.0")
    assert bootstrap.main(["--only", "go"]) == 0
    assert capsys.readouterr().out == f"{home.bin}\n"
    assert engine.read_record() is None

    def install(progress: Progress) -> Path:
        progress("installing Go")
        return home.bin

    # A script that reads the folder gets nothing else on standard output.
    monkeypatch.setattr(go, "ensure_go", install)
    assert bootstrap.main(["--only", "go"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (f"{home.bin}\n", "bootstrap: installing Go\n")


# --- script/bootstrap ----------------------------------------------------------------------------------------------------

# A Python whose venv is a folder with itself: enough to follow what the script asks of it.
PYTHON = """
case "$*" in
  -c*) exit 0 ;;
  "-m venv"*) mkdir -p "$4/bin"; cat "$0" > "$4/bin/python"; chmod +x "$4/bin/python" ;;
  "-m pip"*) exit 0 ;;
esac
"""
OLD_PYTHON = "exit 1"


def run_script(home: Home, tmp_path: Path, *arguments: str, release: str = "ID=debian\nVERSION_ID=12\n") -> "Ran":
    checkout = tmp_path / "checkout"
    (checkout / "script").mkdir(parents=True, exist_ok=True)
    for name in ("bootstrap", "environment"):
        shutil.copy(ROOT / "script" / name, checkout / "script")
    for name in ("requirements.txt", "requirements-dev.txt"):
        if not (checkout / name).exists():
            (checkout / name).write_text(name)
    (tmp_path / "os-release").write_text(release)
    # Later names first: none of them may be the machine's own Python.
    for name in ("python3.13", "python3.12", "python3.11", "python3"):
        if not (home.bin / name).exists():
            home.program(name, OLD_PYTHON)
    ran = subprocess.run(
        ["/bin/bash", checkout / "script" / "bootstrap", *arguments],
        env={**os.environ, "OS_RELEASE": str(tmp_path / "os-release")},
        capture_output=True,
        text=True,
        check=False,
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr, checkout)


@dataclass(frozen=True)
class Ran:
    """A run of script/bootstrap."""

    code: int
    out: str
    err: str
    checkout: Path


def pip_calls(home: Home) -> list[str]:
    return [call for call in home.calls("python3.11") if call.startswith("-m pip")]


def test_the_python_environment_is_made_once(home: Home, tmp_path: Path) -> None:
    home.program("python3.11", PYTHON)
    first = run_script(home, tmp_path, "--venv")
    assert (first.code, first.err) == (0, "")
    assert len(pip_calls(home)) == 1
    assert "--require-hashes -r" in pip_calls(home)[0]
    assert "--no-input" in pip_calls(home)[0]
    second = run_script(home, tmp_path, "--venv")
    assert (second.code, second.out) == (0, "")
    assert len(pip_calls(home)) == 1


def test_changed_requirements_are_installed(home: Home, tmp_path: Path) -> None:
    home.program("python3.11", PYTHON)
    run_script(home, tmp_path, "--venv")
    (tmp_path / "checkout" / "requirements.txt").write_text("other")
    run_script(home, tmp_path, "--venv")
    assert len(pip_calls(home)) == 2
    # And going back is a change as well: what was installed last counts, not what was ever installed.
    (tmp_path / "checkout" / "requirements.txt").write_text("requirements.txt")
    run_script(home, tmp_path, "--venv")
    assert len(pip_calls(home)) == 3


@pytest.mark.parametrize(("script", "name"), [("bin/ops", "ops"), ("script/env", "env")])
@pytest.mark.parametrize("tools", [[], ["--dev"]])
def test_a_command_runs_only_with_the_packages_of_this_commit(
    home: Home, tmp_path: Path, script: str, name: str, tools: list[str]
) -> None:
    checkout = tmp_path / "checkout"
    (checkout / script).parent.mkdir(parents=True)
    shutil.copy(ROOT / script, checkout / script)

    def call() -> tuple[int, str]:
        ran = subprocess.run(
            [checkout / script], env={**os.environ, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
        )
        return ran.returncode, ran.stderr

    not_prepared = (1, f"{name}: this checkout is not prepared; run script/bootstrap\n")
    home.program("python3.11", PYTHON.replace('"-m pip"*) exit 0', '"-m pip"*) exit 1'))
    assert run_script(home, tmp_path, "--venv", *tools).code == 1
    # Half made: it was a traceback about the first package that is missing.
    assert call() == not_prepared
    home.program("python", PYTHON, checkout / ".venv" / "bin")
    assert run_script(home, tmp_path, "--venv", *tools).code == 0
    assert call() == (0, "")
    # As after git pull, in the list that was installed and in the other one.
    (checkout / "requirements.txt").write_text("other")
    (checkout / "requirements-dev.txt").write_text("other, and tools")
    assert call() == not_prepared
    assert run_script(home, tmp_path, "--venv", *tools).code == 0
    assert call() == (0, "")
    shutil.rmtree(checkout / ".venv")
    assert call() == not_prepared


def test_the_tools_list_is_good_for_everything(home: Home, tmp_path: Path) -> None:
    home.program("python3.11", PYTHON)
    run_script(home, tmp_path, "--venv", "--dev")
    run_script(home, tmp_path, "--venv")
    assert [call.rsplit("/", 1)[-1] for call in pip_calls(home)] == ["requirements-dev.txt"]


def test_a_failed_installation_is_not_taken_for_done(home: Home, tmp_path: Path) -> None:
    home.program("python3.11", PYTHON.replace('"-m pip"*) exit 0', '"-m pip"*) exit 1'))
    assert run_script(home, tmp_path, "--venv").code == 1
    home.program("python", PYTHON, tmp_path / "checkout" / ".venv" / "bin")
    again = run_script(home, tmp_path, "--venv")
    assert again.code == 0
    assert "installing the Python packages" in again.out


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5://user:secret@p:1080"),
        ("all_proxy", "socks://p:1080/"),
        ("HTTPS_PROXY", "ftp://p:21"),
        ("https_proxy", "http://p:port"),
    ],
)
def test_a_proxy_that_pip_cannot_use_is_one_line(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """F08: a traceback of pip."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    home.program("python3.11", PYTHON.replace('"-m pip"*) exit 0', '"-m pip"*) echo Traceback >&2; exit 2'))
    refused = run_script(home, tmp_path, "--venv")
    assert refused.code == 1
    line = f"bootstrap: {variable}: pip cannot use this proxy; set HTTPS_PROXY and HTTP_PROXY to http://HOST:PORT\n"
    assert refused.err == line
    # Where pip needs none (a mirror in NO_PROXY, a cache), or uses another one, it is ignored.
    home.program("python", PYTHON, tmp_path / "checkout" / ".venv" / "bin")
    assert run_script(home, tmp_path, "--venv").code == 0


def test_pips_own_words_are_shown(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@p.example:3128/")
    home.program("python3.11", PYTHON.replace('"-m pip"*) exit 0', '"-m pip"*) echo "ERROR: no such version" >&2; exit 1'))
    refused = run_script(home, tmp_path, "--venv")
    assert (refused.code, refused.err.splitlines()[0]) == (1, "ERROR: no such version")
    home.program("python", PYTHON.replace("exit 0", "echo 'WARNING: a cache' >&2"), tmp_path / "checkout" / ".venv" / "bin")
    warned = run_script(home, tmp_path, "--venv")
    assert (warned.code, warned.err) == (0, "WARNING: a cache\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--venv", "--dve"], "--dve: is not an option; write --venv, --dev, --stack NAME or --engine auto|official|modules"),
        (["prod"], "prod: is not an option; write --venv, --dev, --stack NAME or --engine auto|official|modules"),
        (
            ["--stack", "dev", "prod"],
            "prod: is not an option; write --venv, --dev, --stack NAME or --engine auto|official|modules",
        ),
        (["--venv", "--stack"], "--stack: is without its value; write it behind"),
        (["--stack", "--venv"], "--stack: is without its value; write it behind"),
    ],
)
def test_a_wrong_word_is_one_line_before_anything_is_made(home: Home, tmp_path: Path, words: list[str], line: str) -> None:
    """It was swallowed: an environment without the tools, and exit 0."""
    home.program("python3.11", PYTHON)
    ran = run_script(home, tmp_path, *words)
    assert (ran.code, ran.out, ran.err) == (1, "", f"bootstrap: {line}\n")
    assert home.calls("python3.11") == []
    assert not (ran.checkout / ".venv").exists()


@pytest.mark.parametrize("words", [["--help"], ["--venv", "-h"]])
def test_it_explains_itself_and_makes_nothing(home: Home, tmp_path: Path, words: list[str]) -> None:
    home.program("python3.11", PYTHON)
    ran = run_script(home, tmp_path, *words)
    assert (ran.code, ran.err) == (0, "")
    assert "\n  script/bootstrap [--stack dev] [--engine auto|official|modules]\n" in ran.out
    assert "#" not in ran.out
    assert home.calls("python3.11") == []


@pytest.mark.parametrize("words", ["--stack other --engine modules", "--stack=other --engine=modules"])
def test_the_rest_gets_the_arguments(home: Home, tmp_path: Path, words: str) -> None:
    home.program("python3.11", PYTHON)
    run_script(home, tmp_path, *words.split())
    assert home.calls("python3.11")[-1] == f"-m ops.bootstrap {words}"


@pytest.mark.parametrize(
    ("release", "packages"),
    [
        ('ID=debian\nVERSION_ID="12"\n', "python3 python3-venv"),
        ('ID=ubuntu\nVERSION_ID="22.04"\n', "python3.11 python3.11-venv"),
        ('ID=ubuntu\nVERSION_ID="24.04"\n', "python3 python3-venv"),
    ],
)
def test_a_missing_python_is_installed_by_root_and_named_to_a_user(
    home: Home, tmp_path: Path, release: str, packages: str
) -> None:
    home.program("apt-get", "true")
    home.program("id", "echo 1000")
    refused = run_script(home, tmp_path, "--venv", release=release)
    assert refused.code == 1
    assert f"sudo apt-get update && sudo apt-get install -y {packages}\n" in refused.err
    assert refused.err.count("\n") == 1
    assert home.calls("apt-get") == []

    home.program("id", "echo 0")
    double = home.program("double", PYTHON, tmp_path)
    home.program("apt-get", f"[[ $1 == install ]] && cat {double} > {home.bin}/python3.11; true")
    installed = run_script(home, tmp_path, "--venv", release=release)
    assert (installed.code, installed.err) == (0, "")
    assert home.calls("apt-get")[-1] == f"install -y -qq --no-install-recommends {packages} ca-certificates"


@pytest.mark.parametrize("release", ['ID=debian\nVERSION_ID="11"\n', 'ID=ubuntu\nVERSION_ID="20.04"\n', "ID=fedora\n", ""])
def test_a_distribution_without_a_new_enough_python_is_one_line(home: Home, tmp_path: Path, release: str) -> None:
    home.program("apt-get", "true")
    refused = run_script(home, tmp_path, "--venv", release=release)
    assert refused.code == 1
    assert refused.err.startswith("bootstrap: Python: 3.11 or newer with venv is missing")
    assert refused.err.count("\n") == 1
