"""ops.shell: no program of ours sees what would decide in place of the stack file (F02, F33), and each sees what it needs."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from components.host import images
from ops import shell
from ops.clients import git, process
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.images import build
from ops.machine import backend, daemon, engine, engine_from_modules, environment, go, system
from ops.paths import ROOT
from ops.stack.stack import Stack
from tests.support.home import DOCKER_ANSWERS, SERVER, Home
from tests.support.hostile import COMPANY, HOSTILE, OURS

DUMP = 'while IFS= read -r -d "" pair; do printf "%s\\n" "${{pair%%=*}}"; done < <(/usr/bin/env -0) >> {log}\n'


@pytest.fixture
def hostile(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Every hostile variable and every one of a company at once; the backend stays the home's own."""
    for name, value in {**COMPANY, **HOSTILE}.items():
        monkeypatch.setenv(name, value)
    for name in ("PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN", "PULUMI_CONFIG_PASSPHRASE", "DOCKER_CONFIG", "TMPDIR"):
        monkeypatch.delenv(name)
    return home


def spy(home: Home, name: str, body: str = "true", folder: Path | None = None) -> None:
    """A program that keeps the names of its variables."""
    home.program(name, DUMP.format(log=home.path / f"{name}.seen") + body, folder)


def seen(home: Home, name: str) -> set[str]:
    return set((home.path / f"{name}.seen").read_text().splitlines())


def test_each_hostile_variable_is_taken_out_and_none_of_a_company() -> None:
    left = shell.variables({**HOSTILE, **COMPANY})
    assert sorted(left) == sorted(COMPANY)


@pytest.mark.parametrize(
    "name", ["DOCKER_NEXT_YEAR", "BUILDX_NEXT_YEAR", "PULUMI_NEXT_YEAR", "PIP_NEXT_YEAR", "GIT_NEXT_YEAR", "NPM_config_next_year"]
)
def test_a_variable_that_a_tool_gets_next_year_is_taken_out(name: str) -> None:
    assert shell.variables({name: "1"}) == {}


@pytest.mark.parametrize("name", ["HOME", "PATH", "TERM", "XDG_CACHE_HOME", "SKYVERN_TEST_IMAGES", "PGUSER", "CI", "GITHUB_SHA"])
def test_everything_else_stays(name: str) -> None:
    assert shell.variables({name: "1"}) == {name: "1"}


def docker_cli(home: Home) -> None:
    spy(home, "docker", DOCKER_ANSWERS)
    (home.bin / "sh").symlink_to("/bin/sh")
    Docker("unix:///run/x.sock").run("version")
    Docker("unix:///run/x.sock").logs("x")
    daemon.observe_daemon("unix:///run/x.sock")
    process.stream(["docker", "ps"], log=home.path / "docker.log2")


def docker_build(home: Home) -> None:
    spy(home, "docker", DOCKER_ANSWERS)
    docker = Docker("unix:///run/x.sock")
    references = images.references("packages")
    context = home.path / "context"
    build.copy_context("postgres", context)
    command = build.build_command(docker, "postgres", references, context)
    process.stream(command, env=build.build_environment(docker), log=home.path / "build.log")
    assert "--build-arg https_proxy" in home.calls("docker")[-1]


def dockerd(home: Home) -> None:
    # Ready once it has kept everything.
    spy(home, "dockerd", f"touch {home.path}/ready; sleep 2")
    home.program("docker", f"[[ -e {home.path}/ready ]] && {{ {DOCKER_ANSWERS}; }}")
    daemon.ensure_docker(daemon.DEFAULT_SOCKET, home.say, machine=replace(SERVER, systemd=False))


def pulumi(home: Home) -> None:
    home.record_engine()
    backend.ensure_state(home.say)
    spy(home, "pulumi", "echo '{}'")
    Stack("dev").state()
    process.capture(["pulumi", "version"], env={**shell.variables(), **environment.for_engine()})
    engine.observe_cli(os.environ["PATH"])


def go_builds(home: Home) -> None:
    spy(home, "go", "echo go1.99.0")
    go.ensure_go(home.say)
    engine_from_modules._compile("x", "1", home.path, "x", "", home.path / "x", home.path / "x.log", home.say)


def git_asks(home: Home) -> None:
    spy(home, "git")
    git.run(ROOT, "status")


def apt_installs(home: Home) -> None:
    spy(home, "apt-get")
    system.apt_install(["docker.io"], home.say)


def pip_installs_go(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of PyPI: pip in the role of the installer, which is called with --target FOLDER."""
    spy(home, "python", 'while [[ $1 != --target ]]; do shift; done; mkdir -p "$2/go/bin"; touch "$2/go/bin/go"')
    monkeypatch.setattr(sys, "executable", str(home.bin / "python"))
    go.ensure_go(home.say)


CHILDREN: list[tuple[str, Callable[[Home], None]]] = [
    ("docker", docker_cli),
    ("docker", docker_build),
    ("dockerd", dockerd),
    ("pulumi", pulumi),
    ("go", go_builds),
    ("git", git_asks),
    ("apt-get", apt_installs),
]


@pytest.mark.parametrize(("program", "run"), CHILDREN, ids=[run.__name__ for _, run in CHILDREN])
def test_what_a_child_gets(hostile: Home, program: str, run: Callable[[Home], None]) -> None:
    """F02 and its kind: with every variable set at once, no program of ours sees one of them."""
    run(hostile)
    names = seen(hostile, program)
    assert not (names & set(HOSTILE)) - OURS
    assert {"https_proxy", "no_proxy", "SSL_CERT_FILE", "PIP_INDEX_URL", "SSH_AUTH_SOCK"} <= names


def test_what_pip_gets_for_go(hostile: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_installs_go(hostile, monkeypatch)
    assert not (seen(hostile, "python") & set(HOSTILE)) - OURS
    assert "--no-user" in hostile.calls("python")[0]


def environments() -> Iterator[tuple[Path, int, str]]:
    """Where the environment of a child is made of the process's own: file, line and text."""
    for path in sorted(ROOT.glob("ops/**/*.py")):
        if path.name == "shell.py":
            continue
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            whole = isinstance(node, ast.Dict) and any(
                key is None and ast.unparse(value) == "os.environ" for key, value in zip(node.keys, node.values, strict=True)
            )
            passed = isinstance(node, ast.keyword) and node.arg == "env" and "os.environ" in ast.unparse(node.value)
            copied = isinstance(node, ast.Call) and ast.unparse(node) in {"dict(os.environ)", "os.environ.copy()"}
            if whole or passed or copied:
                yield path.relative_to(ROOT), getattr(node, "lineno", 0), ast.unparse(node)


def test_every_environment_is_made_in_one_place() -> None:
    """A child that is started otherwise would see everything: write ops.shell.variables() in place of os.environ."""
    assert list(environments()) == []


def test_every_start_of_a_program_names_an_environment() -> None:
    for path in sorted(ROOT.glob("ops/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"subprocess.run", "subprocess.Popen"}:
                assert any(keyword.arg in {"env", None} for keyword in node.keywords), f"{path}:{node.lineno}"


# --- The scripts -----------------------------------------------------------------------------------------------------------


def run(command: list[str | Path], variables: dict[str, str], cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    base = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    return subprocess.run(command, env={**base, **variables}, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which nothing is prepared, for scripts that are run as a person runs them."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path


def test_a_command_works_in_a_hostile_shell(outside: Path) -> None:
    """PYTHONHOME alone keeps any Python from starting, PYTHONWARNINGS=error ends one with a traceback."""
    elsewhere = outside / "script"
    elsewhere.mkdir()
    # A folder that CDPATH leads to, which is not the checkout's.
    done = run(["bin/ops", "configuration"], {**HOSTILE, "CDPATH": str(outside)}, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (ROOT / "docs" / "configuration.md").read_text()


def test_script_env_in_a_hostile_shell_is_one_line(outside: Path) -> None:
    done = run([ROOT / "script" / "env"], HOSTILE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Pulumi: this checkout is not prepared; run script/bootstrap\n"


def test_plain_pulumi_does_not_see_them_either(hostile: Home, capfd: pytest.CaptureFixture[str]) -> None:
    """F02: what script/env prints takes DOCKER_CONTEXT and its like out of the shell."""
    from ops import bootstrap

    hostile.record_engine()
    backend.ensure_state(hostile.say)
    before = dict(os.environ)
    try:
        assert bootstrap.main(["--print-env"]) == 0
    finally:
        os.environ.update(before)
    lines = capfd.readouterr().out
    after = run(["/bin/sh", "-c", f"{lines}\n/usr/bin/env"], dict(before))
    names = {line.partition("=")[0] for line in after.stdout.splitlines()}
    about = ("DOCKER_", "BUILDX_", "PULUMI_", "CLOUDFLARE_", "VERCEL_", "TF_", "PYTHON")
    assert not {name for name in names & set(HOSTILE) if name.startswith(about)} - OURS
    # Not the business of a Pulumi: a person's git and pip stay as they are.
    assert {"GIT_DIR", "PIP_USER"} <= names


PYTHON = """
case "$*" in
  -c*) exit 0 ;;
  "-m venv"*) mkdir -p "$4/bin"; cat "$0" > "$4/bin/python"; chmod +x "$4/bin/python" ;;
  "-I -S "*) exec {python} "$@" ;;
  "-m ops.clients.pip"*) exec {python} "$@" ;;
  "-m pip install"*) env -0 > "{log}" ;;
esac
"""


def bootstrap_venv(
    tmp_path: Path, folder: str, variables: dict[str, str]
) -> "tuple[subprocess.CompletedProcess[str], dict[str, str]]":
    """script/bootstrap --venv in a checkout of its own with a double of Python; what pip gets of the environment."""
    checkout, log, programs = tmp_path / folder, tmp_path / "pip.env", tmp_path / "programs"
    (checkout / "script").mkdir(parents=True)
    programs.mkdir()
    for name in ("bootstrap", "environment"):
        shutil.copy(ROOT / "script" / name, checkout / "script")
    for name in ("shell.py", "errors.py", "__init__.py", "clients/pip.py", "clients/process.py", "clients/__init__.py"):
        (checkout / "ops" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "ops" / name, checkout / "ops" / name)
    (checkout / "requirements.txt").write_text("x")
    (checkout / "requirements-dev.txt").write_text("x")
    for name in ("python3.13", "python3.12", "python3.11", "python3"):
        (programs / name).write_text(f"#!/bin/bash\n{PYTHON.format(python=sys.executable, log=log)}")
        (programs / name).chmod(0o755)
    path = f"{programs}:/usr/bin:/bin"
    done = run([checkout / "script" / "bootstrap", "--venv"], {**variables, "PATH": path}, cwd=tmp_path)
    pairs = [pair.partition("=") for pair in log.read_text().split("\0") if pair] if log.exists() else []
    return done, {name: value for name, _, value in pairs}


def test_pip_gets_none_of_it(outside: Path) -> None:
    """F33 and its kind, in the script."""
    done, got = bootstrap_venv(outside, "checkout", {**HOSTILE, **COMPANY})
    assert done.returncode == 0, done.stderr
    assert not (set(got) & set(HOSTILE)) - OURS
    assert got["PIP_INDEX_URL"] == COMPANY["PIP_INDEX_URL"]
    assert got["https_proxy"] == COMPANY["https_proxy"]


def test_a_configuration_of_pip_says_where_from_and_not_where_to(outside: Path) -> None:
    """F33: user = true in pip.conf ended in "Can not perform a '--user' install"; target put the packages elsewhere."""
    conf = outside / "home" / ".config" / "pip" / "pip.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text(
        "[global]\nindex-url = https://me:it's@packages.example.com/simple\nextra-index-url =\n  https://a.example.com\n"
        "  https://b.example.com\ncert = /etc/ssl/own.pem\n[install]\nuser = true\ntarget = /nonexistent\nno-deps = true\n"
    )
    done, got = bootstrap_venv(outside, "checkout", {"PIP_USER": "1", "PIP_CERT": "/etc/ssl/named.pem"})
    assert done.returncode == 0, done.stderr
    pip = {name: value for name, value in got.items() if name.startswith("PIP_")}
    assert pip == {
        "PIP_INDEX_URL": "https://me:it's@packages.example.com/simple",
        "PIP_EXTRA_INDEX_URL": "https://a.example.com https://b.example.com",
        # The shell goes before the file, as in pip itself.
        "PIP_CERT": "/etc/ssl/named.pem",
        "PIP_CONFIG_FILE": "/dev/null",
    }


def test_a_configuration_of_pip_that_is_broken_is_one_line(outside: Path) -> None:
    conf = outside / "home" / ".config" / "pip" / "pip.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text("user = true\n")
    done, got = bootstrap_venv(outside, "checkout", {})
    assert (done.returncode, got) == (1, {})
    assert "pip.conf" in done.stderr
    assert done.stderr.startswith("bootstrap: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("folder", ['it\'s "a b"', "한국어 $HOME", "-x;a*b\\c", "a%20b#c?d"])
def test_a_checkout_in_a_folder_of_an_odd_name(outside: Path, folder: str) -> None:
    done, got = bootstrap_venv(outside, folder, {})
    assert done.returncode == 0, done.stderr
    assert got


@pytest.mark.parametrize("folder", ["a:b", "a\nb"])
def test_a_folder_that_no_search_path_can_hold_is_one_line(outside: Path, folder: str) -> None:
    done, got = bootstrap_venv(outside, folder, {})
    assert (done.returncode, got) == (1, {})
    assert re.fullmatch(r"[^\n]*a colon or a line break in the path[^\n]*move the checkout\n", done.stderr)


@pytest.mark.parametrize("home", ["", "here"])
def test_a_home_that_is_no_folder_is_one_line_whose_cure_works(tmp_path: Path, home: str) -> None:
    """As cron, a service or ``env -i`` may leave it."""
    read = f'root={shlex.quote(str(ROOT))}; . "$root/script/environment"; echo "$HOME"'
    environment = {"PATH": os.environ["PATH"], **({"HOME": home} if home else {})}
    done = subprocess.run(["bash", "-euc", read], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "HOME: is not set to a folder; run: export HOME=/home/you\n"
    command = done.stderr.strip().partition("run: ")[2].replace("/home/you", shlex.quote(str(tmp_path)))
    done = subprocess.run(["bash", "-euc", f"{command}; {read}"], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"{tmp_path}\n", "")


def test_what_was_taken_out_is_named_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "taken_out", {"DOCKER_CONTEXT", "PIP_USER", "CLOUDFLARE_API_TOKEN"})
    monkeypatch.setenv("DOCKER_CONFIG", "/home/me/.docker-of-the-company")
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", "a-secret")
    line = shell.remark()
    assert line.startswith("not used from this shell: CLOUDFLARE_API_TOKEN, DOCKER_CONTEXT (the stack file decides)")
    assert "/home/me/.docker-of-the-company" in line
    assert "a-secret" not in line


def test_what_is_refused_is_still_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken out is what the stack file decides; what switches a check off ends the command, before anything is taken out."""
    from ops.clients import terminal

    monkeypatch.setenv("GOFLAGS", "-mod=mod")
    with pytest.raises(UserError, match=r"^GOFLAGS: "):
        terminal.begin()
