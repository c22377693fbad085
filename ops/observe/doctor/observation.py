"""The doctor's observations: the machine, the daemon, the stack's objects on it, the checkout and the Pulumi state.

Reads only: no call here changes anything. The only secret that is decrypted is the edge's API token, for the requests to it.
Not here: the checks (the *_checks modules).
"""

import contextlib
import json
import os
import re
import socket
import stat
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components import addresses
from components.host import images
from components.settings import CdpBrowser, NoEdge, OllamaLlm, Settings
from ops import shell
from ops.clients import process
from ops.clients.docker import PYTHON, Docker
from ops.clients.swarm import Swarm
from ops.errors import UserError
from ops.images import needs
from ops.machine import backend, docker_faults, engine, environment, system, windows
from ops.machine.backend import State
from ops.machine.daemon import Daemon, observe_daemon
from ops.machine.system import Machine
from ops.observe import automation, backups, cluster, heartbeat, internet, isolation
from ops.observe.automation import Today
from ops.observe.backups import BackupFacts
from ops.observe.cluster import Cluster
from ops.observe.doctor import policies
from ops.observe.doctor.edge_observation import EdgeFacts, observe_edge
from ops.observe.doctor.policies import Policies
from ops.observe.internet import Answer
from ops.stack import checkpoint, inventory, kits, routes
from ops.stack.checkpoint import Broken
from ops.stack.inventory import MIB, Container, Replica, Replicas
from ops.stack.routes import HostNetwork
from ops.stack.secrets import last_change
from ops.stack.stack import Stack

# Address of each hosted provider; that of the others is in the stack file.
PROVIDERS = {
    "openai": ("api.openai.com", 443),
    "anthropic": ("api.anthropic.com", 443),
    "gemini": ("generativelanguage.googleapis.com", 443),
}
# The parts from which the doctor tries forbidden connections; ops smoke tries them from every part.
PROBED_PARTS = frozenset({"gateway", "server"})
# With host.proxy the server's environment names it, and the provider itself cannot be reached.
_CONNECT = """
import socket, sys, urllib.parse, urllib.request
host, port, way = sys.argv[1], int(sys.argv[2]), ""
proxy = urllib.request.getproxies().get("https")
if proxy and not urllib.request.proxy_bypass(host):
    parts = urllib.parse.urlsplit(proxy)
    host, port, way = parts.hostname, parts.port, " (host.proxy)"
try:
    socket.create_connection((host, port), timeout=8).close()
except OSError as failed:
    print(f"{failed}{way}")
"""


# As Skyvern 1.0.56 connects: the version page with the Host header of the settings, then the address that it names. Without such
# a header, Skyvern uses the IPv4 address of host.docker.internal (skyvern/webeye/cdp_connection.py).
_ASK_CHROME = """
import json, os, socket, sys, urllib.error, urllib.parse, urllib.request

def answer(problem, detail=""):
    print(json.dumps({"problem": problem, "detail": str(detail)}))
    sys.exit()

url, header = os.environ["BROWSER_REMOTE_DEBUGGING_URL"], os.environ.get("BROWSER_REMOTE_DEBUGGING_HOST_HEADER")
parts = urllib.parse.urlsplit(url)
try:
    address = socket.getaddrinfo(parts.hostname, parts.port, socket.AF_INET)[0][4][0] if ":" not in parts.hostname else None
except OSError as failed:
    answer("name", failed)
host = header or (f"{address}:{parts.port}" if parts.hostname == "host.docker.internal" else parts.netloc)
request = urllib.request.Request(url.rstrip("/") + "/json/version", headers={"Host": host})
try:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=8) as response:
        target = urllib.parse.urlsplit(json.load(response)["webSocketDebuggerUrl"])
except urllib.error.HTTPError as refused:
    answer("status", refused.code)
except OSError as failed:
    answer("connect", getattr(failed, "reason", failed))
except (ValueError, KeyError, TypeError):
    answer("other")
try:
    socket.create_connection((target.hostname, target.port or 80), timeout=8).close()
except OSError:
    answer("redirect", target.netloc)
answer("")
"""
# Kernel settings with the value that forbids namespaces; the first that does is reported. The last is Ubuntu's, from 23.10 on.
_NAMESPACE_LIMITS = {
    "user.max_user_namespaces": "0",
    "kernel.unprivileged_userns_clone": "0",
    "kernel.apparmor_restrict_unprivileged_userns": "1",
}


@dataclass(frozen=True, kw_only=True)
class DaemonFacts:
    """The daemon, from ``docker info``.

    skew_seconds: the daemon's clock minus ours. unsupported: limits that it cannot enforce. runtimes: names of its container
    runtimes, such as ``nvidia``.
    """

    version: str
    cgroup_version: str
    storage_driver: str
    cpus: int
    memory_mib: int
    skew_seconds: float
    unsupported: tuple[str, ...]
    runtimes: tuple[str, ...] = ()
    remapped: bool = False


@dataclass(frozen=True, kw_only=True)
class Disk:
    """The file system of Docker's storage, or of a volume on another file system with less free space.

    free_inodes: None without a fixed number of inodes (btrfs). where: its content.
    """

    free_mib: int
    free_inodes: int | None
    where: str = "Docker's storage"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A container, or a service of a Swarm, as the last ``pulumi up`` recorded it."""

    name: str
    image: str
    memory_mib: int


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """The Docker objects of the Pulumi state.

    salt: of its passphrase, "" with another secrets provider. secrets_changed: when the newest of the generated ones was made.
    """

    containers: Sequence[Planned]
    volumes: Sequence[str]
    networks: Sequence[str]
    pending: Sequence[str]
    salt: str
    secrets_changed: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class PulumiFacts:
    """The CLI, the backend and the state.

    cli: whether a CLI was chosen and still exists. passphrase_problem: "missing", "empty", an octal mode that is too wide,
    or "". export_error: Pulumi's message if the state could not be read, else "". deployed: None if it could not be read.
    broken: state files that are cut off. policies: what the rules say of the state; None where there is nothing to ask about.
    """

    cli: bool
    backend: str
    passphrase_file: Path | None
    passphrase_problem: str
    export_error: str
    deployed: Deployed | None
    broken: Sequence[Broken] = ()
    policies: Policies | None = None

    @property
    def was_deployed(self) -> bool:
        """Whether the state has a container. A stack that was never deployed has a separate finding."""
        return self.deployed is not None and bool(self.deployed.containers)


@dataclass(frozen=True, kw_only=True)
class ChromeAnswer:
    """Answer of a debugging port to the server's container.

    problem: "" for a Chrome that can be used; else the step that failed: "name", "connect", "status", "other" (it is not Chrome)
    or "redirect" (Chrome names an address that the container does not reach). detail: the error, status or address.
    """

    problem: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class WindowsFacts:
    """Windows around WSL.

    disk: the drive with WSL's disk. status: of the heartbeat's answer there, 0 without an answer, None if it is as here or could
    not be asked. listeners: key of the stack file -> programs that listen on its port there.
    """

    disk: Disk | None
    status: int | None = None
    listeners: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """The stack's objects on the daemon.

    present: image reference -> id of the daemon's image, None if the daemon does not have it. disk: None if not known.
    free_ports: key of each port that the stack publishes -> whether a program could listen on it now.
    heartbeat: status of the gateway's answer, 0 without an answer.
    connections: of the database, in use and allowed; None without an answer. database_error: why a PostgreSQL elsewhere does not
    answer. retention_waits: the reason that retention logs if it removes nothing, else "". llm_error: why the server cannot
    connect to the provider, "" if it can, None if not known.
    chrome: cdp-connect's Chrome as the server reaches it; None without one or without an answer.
    openings: forbidden connections that succeed, a clause each; None if they could not be tried.
    docker_rules_lost: whether Docker's own rules are gone. backup: None if the stack has none, or it does not answer.
    today: the same of the monitor.
    answers: of the hosts that are asked whether browsers reach the internet; None if nobody was asked.
    gpu_error: why Ollama's container does not use its GPU, "" if it does; None where it has none by the stack file.
    windows: on WSL 2. services: of a Swarm; the containers are then their tasks. lacking: its other machines, by their daemons ->
    images that are not there.
    """

    containers: Sequence[Container]
    volumes: Sequence[str]
    networks: Sequence[str]
    present: Mapping[str, str | None]
    disk: Disk | None
    free_ports: Mapping[str, bool]
    heartbeat: int
    llm_error: str | None
    chrome: ChromeAnswer | None = None
    connections: tuple[int, int] | None = None
    database_error: str | None = None
    retention_waits: str = ""
    openings: Sequence[str] | None = None
    docker_rules_lost: bool = False
    answers: Sequence[Answer] | None = None
    gpu_error: str | None = None
    windows: "WindowsFacts | None" = None
    backup: BackupFacts | None = None
    today: Today | None = None
    services: Sequence[Replicas] = ()
    lacking: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def running(self) -> dict[str, Container]:
        """Part -> container, of those that run."""
        return inventory.running(self.containers)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Everything at one moment. What could not be observed is None, and no check has a finding about it.

    edge: None without one. settings: None if the stack file is wrong; mistakes: the lines of its error. salt: ``encryptionsalt``
    of the stack file, "" if missing. named: image -> reference that this version of the project names.
    machine: this machine, which need not be the daemon's. clock_synchronized: None if unknown (no timedatectl).
    namespace_limit: the kernel setting that keeps Chromium from making user namespaces, "" for none.
    network: the Docker host's. kit_made: when the last recovery kit was made here, None if none is known.
    cluster: None without host.nodes on plain Docker. full: a folder of ours whose disk is full, and its free MiB.
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
    network: HostNetwork | None = None
    kit_made: datetime | None = None
    cluster: Cluster | None = None
    full: tuple[Path, int] | None = None


def observe(stack: Stack) -> Observation:
    """Observes everything; a fault that it finds is never raised."""
    settings, mistakes, salt = observe_stack_file(stack)
    pulumi_facts = observe_pulumi(stack)
    host = settings.host.docker_host if settings else ""
    docker = _reach(stack, settings)
    daemon = observe_daemon(host) if settings else Daemon.SILENT
    facts, host_facts, network = None, None, None
    machine = system.observe_machine()
    # Of a Swarm, another manager may answer for the whole.
    if settings is not None and (daemon is Daemon.ANSWERS or isinstance(docker, Swarm)):
        try:
            facts = observe_daemon_facts(docker)
            host_facts = observe_host(stack, docker, settings, pulumi_facts.deployed, wsl=machine.wsl == 2)
            image = images.references(settings.images.source)["egress"]
            network = routes.observe(docker, stack, image)
        except UserError:
            # It answered a moment ago: a daemon that is stopping counts as silent.
            daemon = Daemon.SILENT
    edge = None
    if settings is not None:
        connector = host_facts.running.get("connector") if host_facts else None
        edge = observe_edge(
            stack, docker, settings, deployed=pulumi_facts.was_deployed, connector=connector.name if connector else None
        )
    return Observation(
        stack=stack,
        docker_host=host,
        settings=settings,
        mistakes=mistakes,
        salt=salt,
        named=images.references(settings.images.source) if settings else {},
        machine=machine,
        clock_synchronized=_clock_synchronized(),
        namespace_limit=namespace_limit(),
        daemon=daemon,
        socket_exists=Path(host.removeprefix("unix://")).exists(),
        daemon_facts=facts,
        host=host_facts,
        pulumi=pulumi_facts,
        edge=edge,
        network=network,
        kit_made=kits.made_at(stack),
        cluster=_observe_cluster(settings),
        full=system.without_room(),
    )


def _observe_cluster(settings: Settings | None) -> Cluster | None:
    if settings is None or (not settings.host.nodes and settings.host.engine == "docker"):
        return None
    return cluster.observe([settings.host.docker_host, *settings.host.nodes])


def _reach(stack: Stack, settings: Settings | None) -> Docker:
    """The stack's daemon, or its Swarm if a manager of it answers; what keeps the others from it, the checks of machines say."""
    if settings is None:
        return Docker("")
    try:
        return stack.docker()
    except UserError:
        return Docker(settings.host.docker_host)


# --- The checkout --------------------------------------------------------------------------------------------------------


def observe_stack_file(stack: Stack) -> tuple[Settings | None, list[str], str]:
    """Settings, the lines of the file's error, and its salt."""
    try:
        settings = stack.settings()
    except UserError as wrong:
        return None, str(wrong).splitlines(), ""
    salt = re.search(r"^encryptionsalt:\s*[\"']?([^\s\"']+)", stack.file.read_text(), re.MULTILINE)
    return settings, [], salt[1] if salt else ""


# --- The machine ---------------------------------------------------------------------------------------------------------


def namespace_limit(settings: Path = Path("/proc/sys")) -> str:
    """The kernel setting that forbids user namespaces to programs that are not root, "" for none."""
    for name, forbidding in _NAMESPACE_LIMITS.items():
        file = settings / name.replace(".", "/")
        if file.exists() and file.read_text().strip() == forbidding:
            return name
    return ""


def _clock_synchronized() -> bool | None:
    try:
        answer = process.capture(["timedatectl", "show", "--property=NTPSynchronized", "--value"], timeout_seconds=20)
    except UserError:
        return None
    return {b"yes": True, b"no": False}.get(answer.strip())


# --- The daemon and its objects ------------------------------------------------------------------------------------------


@process.reads("docker")
def observe_daemon_facts(docker: Docker) -> DaemonFacts:
    """``docker info``; UserError if the daemon does not answer."""
    before = time.time()
    document = json.loads(docker.run("info", "--format", "{{json .}}"))
    return parse_daemon(document, datetime.fromtimestamp((before + time.time()) / 2, UTC))


def parse_daemon(document: Mapping[str, Any], now: datetime) -> DaemonFacts:
    """The facts of a ``docker info`` of the time ``now``."""
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
        remapped=docker_faults.REMAPPED_OPTION in (document.get("SecurityOptions") or []),
    )


def observe_host(stack: Stack, docker: Docker, settings: Settings, deployed: Deployed | None, *, wsl: bool = False) -> HostFacts:
    """The stack's objects; UserError if the daemon stops answering. wsl: this machine is WSL 2."""
    containers = inventory.containers(docker, stack.short)
    named = images.references(settings.images.source)
    wanted = {named[part] for part in needs.parts(settings.images.source, needs.asked_for(settings))}
    if deployed:
        wanted |= {same_image(container.image, named) or container.image for container in deployed.containers}
    running = inventory.running(containers)
    server = running.get("server")
    volumes = [volume.name for volume in inventory.volumes(docker, stack.short)]
    return HostFacts(
        containers=containers,
        services=inventory.replicas(docker, stack.short),
        lacking=_lacking(docker, wanted),
        volumes=volumes,
        networks=inventory.networks(docker, stack.short),
        present={reference: needs.image_id(docker, reference) for reference in sorted(wanted)},
        disk=min(_disks(docker, containers, volumes), key=lambda disk: disk.free_mib, default=None),
        free_ports={key: port_free(port) for key, port in published_ports(settings).items()},
        heartbeat=heartbeat_status(settings.host.port) if "gateway" in running else 0,
        llm_error=llm_error(docker, server.name, settings) if server else None,
        chrome=ask_chrome(docker, server.name, settings) if server else None,
        connections=observe_connections(docker, running["roles"].name) if "roles" in running else None,
        database_error=database_error(docker, running["roles"].name, settings) if "roles" in running else None,
        retention_waits=retention_waits(docker, running["retention"].name) if "retention" in running else "",
        openings=find_openings(docker, stack, settings) if PROBED_PARTS & running.keys() else None,
        docker_rules_lost="firewall" in running and isolation.docker_rules_lost(docker, stack),
        answers=ask_internet(docker, server.name, settings) if server and "egress" in running else None,
        gpu_error=gpu_error(docker, running["ollama"].name, settings) if "ollama" in running else None,
        windows=observe_windows(settings, gateway="gateway" in running) if wsl else None,
        backup=backups.read(docker, containers),
        today=automation.read(docker, containers),
    )


def _lacking(docker: Docker, wanted: Collection[str]) -> dict[str, list[str]]:
    """The images that are not on the other machines of a Swarm, where a task may be any time."""
    others = [daemon for daemon in docker.daemons if daemon.host != docker.host]
    found = {
        daemon.host: [reference for reference in sorted(wanted) if not needs.present(daemon, reference)] for daemon in others
    }
    return {host: references for host, references in found.items() if references}


def same_image(reference: str, named: Mapping[str, str]) -> str | None:
    """The reference of this version of the project with the same repository, perhaps another tag or digest; None for none."""

    def repository(text: str) -> str:
        return text.split("@")[0].rpartition(":")[0]

    return next((candidate for candidate in named.values() if repository(candidate) == repository(reference)), None)


def find_openings(docker: Docker, stack: Stack, settings: Settings) -> list[str] | None:
    """Forbidden connections that succeed, tried from the parts that most people reach; None if they could not be tried."""
    try:
        return isolation.probe(docker, stack, walled=isolation.has_firewall(settings), parts=PROBED_PARTS)
    except UserError:
        return None


def observe_connections(docker: Docker, roles: str) -> tuple[int, int] | None:
    """Connections of clients and how many the database allows, asked with a connection that is reserved for the superuser."""
    query = "SELECT count(*), current_setting('max_connections') FROM pg_stat_activity WHERE backend_type = 'client backend'"
    # Elsewhere, the one in which the user of database.url logs in.
    script = 'exec psql -X -A -t -F " " -d "${PGDATABASE:-postgres}" -c "$1"'
    answer = _ask(docker, roles, "bash", "-c", script, "psql", query)
    numbers = (answer or "").split()
    return (int(numbers[0]), int(numbers[1])) if len(numbers) == 2 else None


def database_error(docker: Docker, roles: str, settings: Settings) -> str | None:
    """Why a PostgreSQL elsewhere lets the user of ``database.url`` not in; None if it does, or the stack has its own."""
    if not settings.database.elsewhere:
        return None
    try:
        docker.execute(roles, "psql", "-X", "-q", "-A", "-t", "-c", "SELECT 1", timeout_seconds=30)
    except UserError as failed:
        lines = process.lines_of(str(failed))
        return next((line.rpartition("error: ")[2] for line in lines if "error: " in line), lines[-1]).strip()
    return None


def retention_waits(docker: Docker, retention: str) -> str:
    """The reason in the last round's line if the clock has jumped, else ""."""
    return docker.logs(retention, "--tail", "1").strip().partition("WAITS: ")[2]


def _disks(docker: Docker, containers: Sequence[Container], volumes: Sequence[str]) -> Iterator[Disk]:
    """The fullest of each machine."""
    if not isinstance(docker, Swarm):
        names = [container.name for container in inventory.running(containers).values()]
        if (disk := observe_disk(docker, names, volumes)) is not None:
            yield disk
        return
    for daemon in docker.daemons:
        ids = [one.id for one in containers if isinstance(one, Replica) and one.status == "running" and one.host == daemon.host]
        with contextlib.suppress(UserError):
            if (disk := _docker_disk(daemon, ids)) is not None:
                yield replace(disk, where=f"{disk.where} at {daemon.host}")


def observe_disk(docker: Docker, running: Sequence[str], volumes: Sequence[str]) -> Disk | None:
    """The file system with the least free space: Docker's own, or that of a volume that this user can examine on this machine."""
    disks = [_docker_disk(docker, running)]
    for name in volumes:
        for volume in json.loads(_output(docker, "volume", "inspect", name) or "[]"):
            # One in memory is as small as it was asked for.
            if (volume["Options"] or {}).get("type") != "tmpfs":
                with contextlib.suppress(OSError):
                    disks.append(_disk_of(volume["Mountpoint"], f"volume {name}"))
    return min((disk for disk in disks if disk is not None), key=lambda disk: disk.free_mib, default=None)


def _disk_of(folder: str, where: str) -> Disk:
    facts = os.statvfs(folder)
    free_inodes = facts.f_favail if facts.f_files else None
    return Disk(free_mib=facts.f_bavail * facts.f_frsize // MIB, free_inodes=free_inodes, where=where)


def _docker_disk(docker: Docker, running: Sequence[str]) -> Disk | None:
    """As the root of a running container shows it; else Docker's folder, if it is on this machine."""
    for name in running:
        blocks, inodes = (_output(docker, "exec", name, "df", option, "/") for option in ("-Pk", "-Pi"))
        if blocks and inodes:
            return parse_disk(blocks, inodes)
    folder = docker.run("info", "--format", "{{.DockerRootDir}}").strip()
    return _disk_of(folder, "Docker's storage") if Path(folder).is_dir() else None


def parse_disk(blocks: str, inodes: str) -> Disk | None:
    """The free space from ``df -Pk`` and ``df -Pi``; None if they do not show it."""
    block_fields, inode_fields = (text.strip().splitlines()[-1].split() for text in (blocks, inodes))
    if len(block_fields) < 4 or not block_fields[3].isdigit():
        return None
    counted = len(inode_fields) >= 4 and inode_fields[1] not in {"0", "-"} and inode_fields[3].isdigit()
    return Disk(free_mib=int(block_fields[3]) // 1024, free_inodes=int(inode_fields[3]) if counted else None)


def port_free(port: int) -> bool:
    """Whether a program could listen on this port of loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def heartbeat_status(port: int) -> int:
    """Status of the API's heartbeat through the gateway; 0 without an answer."""
    answer = heartbeat.ask(f"http://127.0.0.1:{port}", headers={"Host": "localhost"})
    return 0 if answer is None else answer.status_code


def observe_windows(settings: Settings, *, gateway: bool) -> WindowsFacts:
    """Windows around this WSL. gateway: whether it runs, so that a browser in Windows has to get its answers."""
    letter, folder = windows.drive_of_disk()
    disk = None
    with contextlib.suppress(OSError):
        disk = replace(_disk_of(str(folder), f"drive {letter}: of Windows"), free_inodes=None)
    url = f"http://localhost:{settings.host.port}"
    here = heartbeat.ask(url) if gateway and isinstance(settings.edge, NoEdge) else None
    there = windows.fetch(url + heartbeat.HEARTBEAT) if here is not None else None
    same = here is None or there is None or there == (here.status_code, here.text.strip())
    # Whoever listens beside the gateway does no harm while its answers arrive.
    ports = {key: port for key, port in published_ports(settings).items() if key != "host.port" or not same}
    return WindowsFacts(
        disk=disk,
        status=None if same or there is None else there[0],
        listeners={key: programs for key, port in ports.items() if (programs := windows.listeners(port))},
    )


def published_ports(settings: Settings) -> dict[str, int]:
    """Key of the stack file -> port of loopback that the stack publishes. Behind an edge the gateway has none."""
    ports = {"host.port": settings.host.port} if isinstance(settings.edge, NoEdge) else {}
    return ports | ({"browser.proxy_port": settings.browser.proxy_port} if isinstance(settings.browser, CdpBrowser) else {})


def ask_internet(docker: Docker, server: str, settings: Settings) -> list[Answer] | None:
    """The answers of all hosts, whose clocks are compared; None on a machine that is offline on purpose."""
    if not settings.host.internet:
        return None
    try:
        return internet.ask(docker, server, settings.host.internet_hosts, every=True)
    except UserError:
        return None


def gpu_error(docker: Docker, ollama: str, settings: Settings) -> str | None:
    """Why the container does not use the GPU of the stack file. Docker gives it the driver's own program."""
    if not isinstance(settings.llm, OllamaLlm) or not settings.llm.gpu:
        return None
    try:
        listed = docker.execute(ollama, "nvidia-smi", "-L", timeout_seconds=30)
    except UserError as failed:
        return re.sub(r"^docker: exit \d+: ", "", str(failed))
    return "" if "GPU" in listed else "nvidia-smi lists none"


def provider_address(settings: Settings) -> tuple[str, int] | None:
    """Host and port of the language model; None without one."""
    if settings.llm.provider in PROVIDERS:
        return PROVIDERS[settings.llm.provider]
    base_url = getattr(settings.llm, "base_url", None)
    if not base_url:
        return None
    return addresses.of_url(base_url)


def llm_error(docker: Docker, server: str, settings: Settings) -> str | None:
    """Why the server's container cannot connect to the provider, "" if it can. No key is sent: it only connects."""
    address = provider_address(settings)
    if address is None:
        return None
    failure = _ask(docker, server, *PYTHON, _CONNECT, address[0], str(address[1]), timeout_seconds=40)
    return None if failure is None else failure.strip()


def ask_chrome(docker: Docker, server: str, settings: Settings) -> ChromeAnswer | None:
    """Answer of cdp-connect's Chrome to the server's container, which has the settings of the last ``pulumi up``."""
    if not isinstance(settings.browser, CdpBrowser):
        return None
    # A server that was started with another browser has no such variable, so that this fails.
    answer = _ask(docker, server, *PYTHON, _ASK_CHROME, timeout_seconds=40)
    return None if answer is None else ChromeAnswer(**json.loads(answer))


def _ask(docker: Docker, part: str, *command: str, timeout_seconds: float = 20) -> str | None:
    """Output of a command in a part's container; None if it fails or does not answer."""
    try:
        return docker.execute(part, *command, timeout_seconds=timeout_seconds)
    except UserError:
        return None


def _output(docker: Docker, *arguments: str, timeout_seconds: float = 20) -> str | None:
    """Output of ``docker ARGUMENTS``; None if it fails or does not answer."""
    try:
        return docker.run(*arguments, timeout_seconds=timeout_seconds)
    except UserError:
        return None


# --- Pulumi --------------------------------------------------------------------------------------------------------------


def observe_pulumi(stack: Stack) -> PulumiFacts:
    """CLI, backend, passphrase and state. The state is exported as it is stored, with its secrets encrypted."""
    record = engine.read_record()
    state = backend.current_state()
    file = _passphrase_file(state)
    problem = passphrase_problem(file) if file else ""
    export_error, deployed, asked = "", None, None
    if record is not None:
        try:
            variables = stack.environment()
        except UserError:
            # The passphrase is missing, which has its own finding; the stored state can be read without it.
            variables = {**shell.variables(), **environment.for_engine(), "PULUMI_BACKEND_URL": state.url}
        command = stack.command("stack", "export", "--non-interactive")
        try:
            deployed = _parse_export(process.capture(command, cwd=stack.root, env=variables, timeout_seconds=120))
        except UserError as failed:
            export_error = str(failed).rpartition("error: ")[2]
        # It decrypts the state.
        judges = system.parse_version(record.version) or (0,)
        if deployed is not None and deployed.containers and not problem and judges >= policies.MINIMUM_CLI:
            asked = policies.observe_policies(stack, variables)
    return PulumiFacts(
        cli=record is not None,
        backend=state.url,
        passphrase_file=file,
        passphrase_problem=problem,
        export_error=export_error,
        deployed=deployed,
        broken=checkpoint.find_broken(state.url),
        policies=asked,
    )


@process.reads("pulumi")
def _parse_export(printed: bytes) -> Deployed:
    return parse_state(json.loads(printed))


def _passphrase_file(state: State) -> Path | None:
    """The file that Pulumi will read; None if the secrets do not need it."""
    if not state.passphrase or os.environ.get("PULUMI_CONFIG_PASSPHRASE"):
        return None
    return Path(os.environ.get("PULUMI_CONFIG_PASSPHRASE_FILE") or backend.passphrase_file())


def passphrase_problem(path: Path) -> str:
    """Fault of a passphrase file: "missing", "empty", a mode that others can read such as "0644", or ""."""
    try:
        facts = path.stat()
    except OSError:
        return "missing"
    mode = stat.S_IMODE(facts.st_mode)
    if mode & 0o077:
        return f"{mode:04o}"
    return "" if facts.st_size else "empty"


def _planned_service(service: Mapping[str, Any]) -> Planned:
    task = service["taskSpec"]
    limits = (task.get("resources") or {}).get("limits") or {}
    memory_mib = int(limits.get("memoryBytes") or 0) // MIB
    return Planned(name=service["name"], image=task["containerSpec"]["image"], memory_mib=memory_mib)


def parse_state(document: Mapping[str, Any]) -> Deployed:
    """The Docker objects of an exported state, without resources that wait for their deletion."""
    deployment = document.get("deployment") or {}
    resources = [resource for resource in deployment.get("resources") or [] if not resource.get("delete")]

    def inputs(kind: str) -> list[dict[str, Any]]:
        return [resource.get("inputs", {}) for resource in resources if resource.get("type") == f"docker:index/{kind}"]

    return Deployed(
        containers=[
            Planned(name=container["name"], image=container["image"], memory_mib=int(container.get("memory") or 0))
            for container in inputs("container:Container")
        ]
        + [_planned_service(service) for service in inputs("service:Service")],
        volumes=[volume["name"] for volume in inputs("volume:Volume")],
        networks=[network["name"] for network in inputs("network:Network")],
        pending=[
            f"{operation.get('type')} {str((operation.get('resource') or {}).get('urn', '')).rpartition('::')[2]}"
            for operation in deployment.get("pending_operations") or []
        ],
        salt=((deployment.get("secrets_providers") or {}).get("state") or {}).get("salt", ""),
        secrets_changed=last_change(deployment),
    )
