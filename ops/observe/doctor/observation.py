"""What the doctor looks at: the machine, the daemon, the stack's objects on it, the checkout and the Pulumi state.

Reads only: no call here changes anything. No secret is opened but the edge's API token, which is needed to ask with.
Not here: what is right and wrong (the *_checks modules).
"""

import contextlib
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from components.host import images
from components.settings import CdpBrowser, Settings
from ops.clients.docker import PYTHON, Docker
from ops.errors import UserError
from ops.images import needs
from ops.machine import backend, engine, environment, system
from ops.machine.backend import State
from ops.machine.daemon import Daemon, observe_daemon
from ops.machine.system import Machine
from ops.observe import isolation
from ops.observe.doctor.edge_observation import EdgeFacts, observe_edge
from ops.paths import ROOT
from ops.stack import checkpoint, inventory
from ops.stack.checkpoint import Broken
from ops.stack.inventory import MIB, Container
from ops.stack.stack import Stack

# Where each hosted provider answers; the address of the others is in the stack file.
PROVIDERS = {
    "openai": ("api.openai.com", 443),
    "anthropic": ("api.anthropic.com", 443),
    "gemini": ("generativelanguage.googleapis.com", 443),
}
# Where the doctor tries forbidden ways from; ops smoke does from everywhere.
LOOKED_FROM = frozenset({"gateway", "server"})
_CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=8).close()
except OSError as failed:
    print(failed)
"""


# As Skyvern 1.0.56 connects: the version page under the Host header of the settings, then the address that it names. Without such
# a header, Skyvern goes by the IPv4 address of host.docker.internal (skyvern/webeye/cdp_connection.py).
_ASK_CHROME = """
import json, os, socket, sys, urllib.error, urllib.parse, urllib.request

def tell(problem, detail=""):
    print(json.dumps({"problem": problem, "detail": str(detail)}))
    sys.exit()

url, header = os.environ["BROWSER_REMOTE_DEBUGGING_URL"], os.environ.get("BROWSER_REMOTE_DEBUGGING_HOST_HEADER")
parts = urllib.parse.urlsplit(url)
try:
    address = socket.getaddrinfo(parts.hostname, parts.port, socket.AF_INET)[0][4][0] if ":" not in parts.hostname else None
except OSError as failed:
    tell("name", failed)
host = header or (f"{address}:{parts.port}" if parts.hostname == "host.docker.internal" else parts.netloc)
request = urllib.request.Request(url.rstrip("/") + "/json/version", headers={"Host": host})
try:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=8) as response:
        found = urllib.parse.urlsplit(json.load(response)["webSocketDebuggerUrl"])
except urllib.error.HTTPError as refused:
    tell("status", refused.code)
except OSError as failed:
    tell("connect", getattr(failed, "reason", failed))
except (ValueError, KeyError, TypeError):
    tell("other")
try:
    socket.create_connection((found.hostname, found.port or 80), timeout=8).close()
except OSError:
    tell("redirect", found.netloc)
tell("")
"""
# Kernel settings with the value that forbids: in order, the first that does is told. The last is Ubuntu's, from 23.10 on.
_NAMESPACE_LIMITS = {
    "user.max_user_namespaces": "0",
    "kernel.unprivileged_userns_clone": "0",
    "kernel.apparmor_restrict_unprivileged_userns": "1",
}


@dataclass(frozen=True, kw_only=True)
class DaemonFacts:
    """What ``docker info`` says. skew_seconds: the daemon's clock less ours. unsupported: limits that it cannot enforce.

    runtimes: names of its container runtimes, such as ``nvidia``.
    """

    version: str
    cgroup_version: str
    storage_driver: str
    cpus: int
    memory_mib: int
    skew_seconds: float
    unsupported: tuple[str, ...]
    runtimes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Disk:
    """The file system of Docker's storage, or of a volume that has less room on another one.

    free_inodes: None where it has no fixed number of them (btrfs). where: what lies on it.
    """

    free_mib: int
    free_inodes: int | None
    where: str = "Docker's storage"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A container as the last ``pulumi up`` recorded it."""

    name: str
    image: str
    memory_mib: int


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """What the Pulumi state says is there. salt: of its passphrase, "" with another secrets provider."""

    containers: Sequence[Planned]
    volumes: Sequence[str]
    networks: Sequence[str]
    pending: Sequence[str]
    salt: str


@dataclass(frozen=True, kw_only=True)
class PulumiFacts:
    """The CLI, the backend and the state.

    cli: whether a CLI was decided on and is still there. passphrase_problem: "missing", "empty", an octal mode that is too wide,
    or "". export_error: Pulumi's words when the state could not be read, "" otherwise. deployed: None when it could not.
    broken: state files that are cut off.
    """

    cli: bool
    backend: str
    passphrase_file: Path | None
    passphrase_problem: str
    export_error: str
    deployed: Deployed | None
    broken: Sequence[Broken] = ()


@dataclass(frozen=True, kw_only=True)
class ChromeAnswer:
    """What a debugging port gave the server's container.

    problem: "" for a Chrome that can be used; else where it ended: "name", "connect", "status", "other" (it is no Chrome) or
    "redirect" (Chrome names an address that the container does not reach). detail: the error, status or address.
    """

    problem: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """The stack's objects on the daemon.

    present: image reference -> id of what the daemon has under it, None when it has nothing.
    port_free, proxy_port_free: whether somebody could listen now on the gateway's port, and on that of the proxy for a Chrome
    elsewhere. disk: None when nothing of the stack could tell.
    heartbeat: status of the gateway's answer, 0 without one. connections: of the database, in use and allowed, None when nobody
    could be asked. retention_waits: why nothing is removed at the moment, in its own words, "" when it is.
    llm_error: why the provider cannot be reached from the server, ""
    when it can, None when nobody could be asked.
    chrome: what cdp-connect's Chrome gives the server, None without one or when nobody could be asked.
    openings: forbidden ways that are open, a clause each; None when it could not be looked. docker_rules_lost: Docker's own.
    """

    containers: Sequence[Container]
    volumes: Sequence[str]
    networks: Sequence[str]
    present: Mapping[str, str | None]
    disk: Disk | None
    port_free: bool
    heartbeat: int
    llm_error: str | None
    chrome: ChromeAnswer | None = None
    proxy_port_free: bool = True
    connections: tuple[int, int] | None = None
    retention_waits: str = ""
    openings: Sequence[str] | None = None
    docker_rules_lost: bool = False


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Everything at one moment. What could not be looked at is None, and no check speaks of it.

    edge: None without one. settings: None when the stack file is wrong; mistakes: its lines. salt: ``encryptionsalt`` of the
    stack file, "" without one.
    named: image -> reference that this version of the project names. machine: this one, which need not be the daemon's.
    clock_synchronized: None where nothing tells (no timedatectl). namespace_limit: the kernel setting that keeps Chromium from
    making user namespaces, "" when none does.
    """

    stack: Stack
    docker_host: str
    settings: Settings | None
    mistakes: Sequence[str]
    salt: str
    named: Mapping[str, str]
    machine: Machine
    clock_synchronized: bool | None
    namespace_limit: str
    daemon: Daemon
    socket_exists: bool
    daemon_facts: DaemonFacts | None
    host: HostFacts | None
    pulumi: PulumiFacts
    edge: EdgeFacts | None = None


def observe(stack: Stack) -> Observation:
    """Looks at everything; never raises for what it finds."""
    settings, mistakes, salt = observe_stack_file(stack)
    pulumi_facts = observe_pulumi(stack)
    host = settings.host.docker_host if settings else ""
    docker = Docker(host)
    daemon = observe_daemon(host) if settings else Daemon.SILENT
    facts, host_facts = None, None
    if settings is not None and daemon is Daemon.ANSWERS:
        try:
            facts = observe_daemon_facts(docker)
            host_facts = observe_host(stack, docker, settings, pulumi_facts.deployed)
        except UserError:
            # It answered a moment ago: a daemon on its way down is a silent one.
            daemon = Daemon.SILENT
    return Observation(
        stack=stack,
        docker_host=host,
        settings=settings,
        mistakes=mistakes,
        salt=salt,
        named=images.references(settings.images.source) if settings else {},
        machine=system.observe_machine(),
        clock_synchronized=_clock_synchronized(),
        namespace_limit=namespace_limit(),
        daemon=daemon,
        socket_exists=Path(host.removeprefix("unix://")).exists(),
        daemon_facts=facts,
        host=host_facts,
        pulumi=pulumi_facts,
        edge=None if settings is None else _observe_edge(stack, docker, settings, pulumi_facts, host_facts),
    )


def _observe_edge(
    stack: Stack, docker: Docker, settings: Settings, pulumi_facts: PulumiFacts, host: HostFacts | None
) -> EdgeFacts | None:
    running = host.containers if host else ()
    connector = next((one.name for one in running if one.part == "connector" and one.status == "running"), None)
    deployed = pulumi_facts.deployed is not None and bool(pulumi_facts.deployed.containers)
    return observe_edge(stack, docker, settings, deployed=deployed, connector=connector)


# --- The checkout --------------------------------------------------------------------------------------------------------


def observe_stack_file(stack: Stack) -> tuple[Settings | None, list[str], str]:
    """Settings, the lines of what is wrong with the file, and its salt."""
    try:
        settings = stack.settings()
    except UserError as wrong:
        return None, str(wrong).splitlines(), ""
    found = re.search(r"^encryptionsalt:\s*[\"']?([^\s\"']+)", stack.file.read_text(), re.MULTILINE)
    return settings, [], found[1] if found else ""


# --- The machine ---------------------------------------------------------------------------------------------------------


def namespace_limit(settings: Path = Path("/proc/sys")) -> str:
    """The kernel setting that forbids user namespaces to programs that are not root, "" without one."""
    for name, forbidding in _NAMESPACE_LIMITS.items():
        file = settings / name.replace(".", "/")
        if file.exists() and file.read_text().strip() == forbidding:
            return name
    return ""


def _clock_synchronized() -> bool | None:
    if shutil.which("timedatectl") is None:
        return None
    asked = _quiet(["timedatectl", "show", "--property=NTPSynchronized", "--value"])
    return {"yes": True, "no": False}.get(asked.stdout.strip()) if asked and asked.returncode == 0 else None


def _quiet(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, timeout_seconds: float = 20
) -> "subprocess.CompletedProcess[str] | None":
    """A finished command, whatever its exit; None when it is missing or does not answer."""
    try:
        return subprocess.run(
            command,
            env=None if env is None else dict(env),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


# --- The daemon and what is on it ----------------------------------------------------------------------------------------


def observe_daemon_facts(docker: Docker) -> DaemonFacts:
    """``docker info``; UserError when the daemon does not answer."""
    before = time.time()
    document = json.loads(docker.run("info", "--format", "{{json .}}"))
    return parse_daemon(document, datetime.fromtimestamp((before + time.time()) / 2, UTC))


def parse_daemon(document: Mapping[str, Any], now: datetime) -> DaemonFacts:
    """The facts of a ``docker info`` that was asked for at ``now``."""
    system_time = inventory.parse_time(document.get("SystemTime", ""))
    limits = {"memory": "MemoryLimit", "swap": "SwapLimit", "CPU": "CpuCfsQuota"}
    return DaemonFacts(
        version=document.get("ServerVersion", ""),
        cgroup_version=document.get("CgroupVersion", ""),
        storage_driver=document.get("Driver", ""),
        cpus=document.get("NCPU", 0),
        memory_mib=document.get("MemTotal", 0) // MIB,
        skew_seconds=(system_time - now).total_seconds() if system_time else 0,
        unsupported=tuple(name for name, field in limits.items() if document.get(field) is False),
        runtimes=tuple(sorted(document.get("Runtimes") or {})),
    )


def observe_host(stack: Stack, docker: Docker, settings: Settings, deployed: Deployed | None) -> HostFacts:
    """The stack's objects; UserError when the daemon stops answering."""
    containers = inventory.containers(docker, stack.short)
    named = images.references(settings.images.source)
    wanted = {named[part] for part in needs.parts(settings.images.source, needs.asked_for(settings))}
    if deployed:
        wanted |= {same_image(one.image, named) or one.image for one in deployed.containers}
    running = {one.part: one for one in containers if one.status == "running"}
    volumes = [one.name for one in inventory.volumes(docker, stack.short)]
    return HostFacts(
        containers=containers,
        volumes=volumes,
        networks=inventory.networks(docker, stack.short),
        present={reference: image_id(docker, reference) for reference in sorted(wanted)},
        disk=observe_disk(docker, [one.name for one in running.values()], volumes),
        port_free=port_free(settings.host.port),
        heartbeat=heartbeat(settings.host.port) if "gateway" in running else 0,
        llm_error=llm_error(docker, running["server"].name, settings) if "server" in running else None,
        proxy_port_free=not isinstance(settings.browser, CdpBrowser) or port_free(settings.browser.proxy_port),
        chrome=ask_chrome(docker, running["server"].name, settings) if "server" in running else None,
        connections=observe_connections(docker, running["roles"].name) if "roles" in running else None,
        retention_waits=retention_waits(docker, running["retention"].name) if "retention" in running else "",
        openings=find_openings(docker, stack, settings) if LOOKED_FROM & running.keys() else None,
        docker_rules_lost="firewall" in running and isolation.docker_rules_lost(docker, stack),
    )


def same_image(reference: str, named: Mapping[str, str]) -> str | None:
    """What this version of the project names instead of a reference: the same repository, perhaps another tag or digest."""

    def repository(text: str) -> str:
        return text.split("@")[0].rpartition(":")[0]

    return next((one for one in named.values() if repository(one) == repository(reference)), None)


def image_id(docker: Docker, reference: str) -> str | None:
    """Id of the image that the daemon has under a reference, or None."""
    if not needs.present(docker, reference):
        return None
    found: str = docker.inspect(reference)["Id"]
    return found


def find_openings(docker: Docker, stack: Stack, settings: Settings) -> list[str] | None:
    """What is open that must be closed, tried from the parts that most people reach; None when it could not be tried."""
    try:
        return isolation.look(docker, stack, walled=settings.host.firewall, parts=LOOKED_FROM)
    except UserError:
        return None


def observe_connections(docker: Docker, roles: str) -> tuple[int, int] | None:
    """Connections of clients and how many the database allows, asked by one of those that it keeps for the superuser."""
    query = "SELECT count(*), current_setting('max_connections') FROM pg_stat_activity WHERE backend_type = 'client backend'"
    asked = _quiet(
        docker.command("exec", roles, "psql", "-X", "-A", "-t", "-F", " ", "-d", "postgres", "-c", query),
        env=docker.environment(),
    )
    numbers = asked.stdout.split() if asked and asked.returncode == 0 else []
    return (int(numbers[0]), int(numbers[1])) if len(numbers) == 2 else None


def retention_waits(docker: Docker, retention: str) -> str:
    """What the last round says when the clock has jumped, "" otherwise."""
    said = docker.logs(retention, "--tail", "1").strip()
    return said.partition("WAITS: ")[2]


def observe_disk(docker: Docker, running: Sequence[str], volumes: Sequence[str]) -> Disk | None:
    """The file system with the least room: Docker's own, or that of a volume, where this machine and user can look at it."""
    found = [_docker_disk(docker, running)]
    for name in volumes:
        asked = _quiet(docker.command("volume", "inspect", "--format", "{{.Mountpoint}}", name), env=docker.environment())
        if asked and asked.returncode == 0:
            with contextlib.suppress(OSError):
                found.append(_disk_of(asked.stdout.strip(), f"volume {name}"))
    return min((disk for disk in found if disk is not None), key=lambda disk: disk.free_mib, default=None)


def _disk_of(folder: str, where: str) -> Disk:
    there = os.statvfs(folder)
    return Disk(
        free_mib=there.f_bavail * there.f_frsize // MIB, free_inodes=there.f_favail if there.f_files else None, where=where
    )


def _docker_disk(docker: Docker, running: Sequence[str]) -> Disk | None:
    """As the root of a running container shows it; else its folder, where that is on this machine."""
    for name in running:
        asked = _quiet(docker.command("exec", name, "df", "-Pk", "/"), env=docker.environment())
        inodes = _quiet(docker.command("exec", name, "df", "-Pi", "/"), env=docker.environment())
        if asked and inodes and asked.returncode == inodes.returncode == 0:
            return parse_disk(asked.stdout, inodes.stdout)
    folder = docker.run("info", "--format", "{{.DockerRootDir}}").strip()
    return _disk_of(folder, "Docker's storage") if Path(folder).is_dir() else None


def parse_disk(blocks: str, inodes: str) -> Disk | None:
    """The answers of ``df -Pk`` and ``df -Pi``."""
    block_fields, inode_fields = (text.strip().splitlines()[-1].split() for text in (blocks, inodes))
    if len(block_fields) < 4 or not block_fields[3].isdigit():
        return None
    counted = len(inode_fields) >= 4 and inode_fields[1] not in {"0", "-"} and inode_fields[3].isdigit()
    return Disk(free_mib=int(block_fields[3]) // 1024, free_inodes=int(inode_fields[3]) if counted else None)


def port_free(port: int) -> bool:
    """Whether a program could listen on the port of loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def heartbeat(port: int) -> int:
    """Status of the API's heartbeat through the gateway; 0 without an answer."""
    try:
        with httpx.Client(timeout=10, trust_env=False) as client:
            return client.get(f"http://127.0.0.1:{port}/api/v1/heartbeat", headers={"Host": "localhost"}).status_code
    except httpx.HTTPError:
        return 0


def provider_address(settings: Settings) -> tuple[str, int] | None:
    """Host and port of the language model; None without one."""
    if settings.llm.provider in PROVIDERS:
        return PROVIDERS[settings.llm.provider]
    base_url = getattr(settings.llm, "base_url", None)
    if not base_url:
        return None
    parts = urlsplit(base_url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def llm_error(docker: Docker, server: str, settings: Settings) -> str | None:
    """Why the server's container cannot connect to the provider, "" when it can. No key is sent: it only connects."""
    address = provider_address(settings)
    if address is None:
        return None
    asked = _quiet(
        docker.command("exec", server, *PYTHON, _CONNECT, address[0], str(address[1])),
        env=docker.environment(),
        timeout_seconds=40,
    )
    return asked.stdout.strip() if asked and asked.returncode == 0 else None


def ask_chrome(docker: Docker, server: str, settings: Settings) -> ChromeAnswer | None:
    """What cdp-connect's Chrome gives the server's container, which has the settings of the last ``pulumi up``."""
    if not isinstance(settings.browser, CdpBrowser):
        return None
    asked = _quiet(docker.command("exec", server, *PYTHON, _ASK_CHROME), env=docker.environment(), timeout_seconds=40)
    # A server that was started with another browser has no such variable.
    return ChromeAnswer(**json.loads(asked.stdout)) if asked and asked.returncode == 0 else None


# --- Pulumi --------------------------------------------------------------------------------------------------------------


def observe_pulumi(stack: Stack, run: Callable[..., Any] = _quiet) -> PulumiFacts:
    """CLI, backend, passphrase and state. The state is exported as it is stored, with its secrets encrypted."""
    record = engine.read_record()
    state = backend.decide_state(os.environ, backend.logged_in_to(backend.credentials_dir(os.environ, record)))
    file = _passphrase_file(state)
    problem = passphrase_problem(file) if file else ""
    export_error, deployed = "", None
    if record is not None:
        try:
            variables = stack.environment()
        except UserError:
            # The passphrase is missing, which has its own finding; what is stored can be read without.
            variables = {**os.environ, **environment.for_engine(), "PULUMI_BACKEND_URL": state.url}
        asked = run(stack.command("stack", "export", "--non-interactive"), env=variables, timeout_seconds=120)
        if asked is None:
            export_error = "no answer within 120 s"
        elif asked.returncode:
            export_error = (asked.stderr.strip().splitlines() or ["no message"])[-1].removeprefix("error: ")
        else:
            deployed = parse_state(json.loads(asked.stdout))
    return PulumiFacts(
        cli=record is not None,
        backend=state.url,
        passphrase_file=file,
        passphrase_problem=problem,
        export_error=export_error,
        deployed=deployed,
        broken=checkpoint.find_broken(state.url),
    )


def _passphrase_file(state: State) -> Path | None:
    """The file that Pulumi will read, or None when there is another way to the secrets."""
    if not state.passphrase or os.environ.get("PULUMI_CONFIG_PASSPHRASE"):
        return None
    return Path(os.environ.get("PULUMI_CONFIG_PASSPHRASE_FILE") or backend.passphrase_file())


def passphrase_problem(path: Path) -> str:
    """What is wrong with a passphrase file: "missing", "empty", a mode such as "0644", or "" when all is well."""
    try:
        found = path.stat()
    except OSError:
        return "missing"
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        return f"{mode:04o}"
    return "" if found.st_size else "empty"


def parse_state(document: Mapping[str, Any]) -> Deployed:
    """What an exported state records; resources that wait for their deletion are left out."""
    deployment = document.get("deployment") or {}
    resources = [one for one in deployment.get("resources") or [] if not one.get("delete")]

    def inputs(kind: str) -> list[dict[str, Any]]:
        return [one.get("inputs", {}) for one in resources if one.get("type") == f"docker:index/{kind}"]

    return Deployed(
        containers=[
            Planned(name=one["name"], image=one["image"], memory_mib=int(one.get("memory") or 0))
            for one in inputs("container:Container")
        ],
        volumes=[one["name"] for one in inputs("volume:Volume")],
        networks=[one["name"] for one in inputs("network:Network")],
        pending=[
            f"{one.get('type')} {str((one.get('resource') or {}).get('urn', '')).rpartition('::')[2]}"
            for one in deployment.get("pending_operations") or []
        ],
        salt=((deployment.get("secrets_providers") or {}).get("state") or {}).get("salt", ""),
    )
