"""The containers, volumes and networks of a stack on its daemon, or on all machines of its Swarm, by their labels. Reads only.

Not here: what it should have (the Pulumi state, ops/observe/doctor/observation.py).
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import ByteSize, TypeAdapter, ValidationError

from ops.clients import process
from ops.clients.docker import Docker
from ops.clients.swarm import AT_ONCE, Member, Service, Swarm, Task, last_failure, reason, why
from ops.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Fields = TypeVar("Fields", bound="DataclassInstance")
Kind = Literal["container", "network", "service", "secret"]
MIB = 1024 * 1024
DISK_USAGE = ("system", "df", "--verbose", "--format", "{{json .Volumes}}")
# As Docker spells sizes: decimal for disks (46.9MB), binary for memory (8.3MiB).
_SIZE = TypeAdapter(ByteSize)


@dataclass(frozen=True, kw_only=True)
class Container:
    """One container, as ``docker inspect`` describes it.

    part: its label, such as ``server``. image: reference it was created with; image_id: what it really runs.
    status: created, running, paused, restarting, removing, exited or dead. health: healthy, unhealthy, starting, or "" without
    a check. started_at: None before the first start. memory_mib: hard limit, 0 for none.
    published: (address, port of the host, port of the container). Nothing of its environment is kept: secrets are in it.
    """

    name: str
    part: str
    image: str
    image_id: str
    status: str
    health: str
    restarts: int
    exit_code: int
    oom_killed: bool
    started_at: datetime | None
    memory_mib: int
    read_only: bool
    privileged: bool
    capabilities_dropped: bool
    no_new_privileges: bool
    system_calls_filtered: bool
    published: tuple[tuple[str, int, str], ...]

    @property
    def key(self) -> str:
        """Its name among all containers of the stack."""
        return self.name


@dataclass(frozen=True, kw_only=True)
class Replica(Container):
    """One of the tasks that a service of a Swarm is meant to have, by the container that runs of it, if any.

    name: of the service. slot: number of the replica, or id of the machine for a service on every machine. status: of the
    container, or the task's state without one, such as pending. health: "unknown" if the machine's daemon does not answer.
    restarts: how often it has failed within the last hour. machine: name of its machine, "" before it has one. host: the daemon
    and id: of the container; "" if there is none, or it cannot be asked. One that does not run has those of the one before it.
    reason: the engine's, why it does not run.
    """

    slot: str
    machine: str
    host: str
    id: str
    reason: str

    @property
    def key(self) -> str:
        """As Docker calls the task."""
        return f"{self.name}.{self.slot}"


@dataclass(frozen=True, kw_only=True)
class Replicas:
    """A service of a Swarm: how many of its tasks run, of how many.

    problem: why not all, or that its last update was given up; "" if it is fine.
    """

    name: str
    running: int
    wanted: int
    problem: str


@dataclass(frozen=True)
class Labelled:
    """A container or network with the stack's label. id: all 64 digits, as the Pulumi state has it."""

    kind: str
    id: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A volume. size_bytes: None if the daemon does not report it."""

    name: str
    part: str
    size_bytes: int | None


def parse_container(document: Mapping[str, Any]) -> Container:
    """A container from one element of ``docker inspect``."""
    state, host, config = document["State"], document["HostConfig"], document["Config"]
    bindings = host.get("PortBindings") or {}
    security = host.get("SecurityOpt") or []
    part = (config.get("Labels") or {}).get("skyvern.part", "")
    return Container(
        name=document["Name"].lstrip("/"),
        part=part,
        image=config["Image"],
        image_id=document["Image"],
        status=state["Status"],
        health=(state.get("Health") or {}).get("Status", "").replace("none", ""),
        restarts=document.get("RestartCount", 0),
        exit_code=state.get("ExitCode", 0),
        oom_killed=state.get("OOMKilled", False),
        started_at=parse_time(state.get("StartedAt", "")),
        memory_mib=host.get("Memory", 0) // MIB,
        read_only=host.get("ReadonlyRootfs", False),
        privileged=host.get("Privileged", False),
        capabilities_dropped="ALL" in (host.get("CapDrop") or []) and not _added(part, host),
        no_new_privileges=bool({"no-new-privileges", "no-new-privileges:true"} & set(security)),
        system_calls_filtered=not {"seccomp=unconfined", "seccomp:unconfined"} & set(security),
        published=tuple(
            (binding.get("HostIp", ""), int(binding.get("HostPort") or 0), inside)
            for inside, some in sorted(bindings.items())
            for binding in some or []
        ),
    )


def _added(part: str, host: Mapping[str, Any]) -> set[str]:
    """Capabilities that a part has and should not have: the firewall's one is its work."""
    added = {str(name).removeprefix("CAP_") for name in host.get("CapAdd") or []}
    return added - {"NET_ADMIN"} if part == "firewall" else added


def parse_time(text: str) -> datetime | None:
    """A time of Docker's (nanoseconds, ``Z`` or an offset); None for its zero time."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", text)
    if match is None or text.startswith("0001"):
        return None
    return datetime.fromisoformat(f"{match[1]}{(match[2] or '.0')[:7].ljust(7, '0')}{match[3].replace('Z', '+00:00')}")


def parse_size(text: str) -> int | None:
    """Bytes of a size as Docker prints it (``46.9MB``, ``8.363MiB``); None for anything else."""
    try:
        return int(_SIZE.validate_python(text.strip()))
    except ValidationError:
        return None


def parse_labels(text: str) -> dict[str, str]:
    """Labels as ``docker ... ls`` joins them, ``a=1,b=2``."""
    return dict(pair.split("=", 1) for pair in text.split(",") if "=" in pair)


@process.reads("docker")
def containers(docker: Docker, stack: str) -> list[Container]:
    """The stack's containers, running or not, by name; UserError when the daemon does not answer.

    On a Swarm, the tasks that its services are meant to have: not those of before, whose containers are kept for a while.
    """
    if isinstance(docker, Swarm):
        return list(_replicas(docker, stack))
    return sorted(map(parse_container, documents(docker, stack)), key=lambda container: container.name)


def _replicas(swarm: Swarm, stack: str) -> Iterator[Replica]:
    services = swarm.services(label=f"skyvern.stack={stack}")
    by_id = {service.id: service for service in services}
    slots, members = swarm.slots(services), swarm.members()
    inspected = {document["Id"]: document for document in documents(swarm, stack)}
    now = datetime.now(UTC)
    for tasks in slots:
        yield parse_replica(by_id[tasks[0].service], tasks, inspected, swarm, members, now)


def parse_replica(
    service: Service,
    tasks: Sequence[Task],
    inspected: Mapping[str, Mapping[str, Any]],
    swarm: Swarm,
    members: Mapping[str, Member],
    now: datetime,
) -> Replica:
    """One from the tasks of a slot, the present one first. inspected: containers by id. now: the present time."""
    task = tasks[0]
    member = members.get(task.node)
    # One that is about to be made shows what became of the one before it.
    shown = next((one for one in (task, *(() if task.state == "running" else tasks)) if one.container in inspected), None)
    if shown is None:
        lost = task.state == "running" and swarm.daemon(task.node) is None
        container = _unseen(service, "unknown" if lost else "")
    else:
        # What a service cannot ask for, its daemon has for everything there; ops cluster and the doctor look at that.
        container = replace(parse_container(inspected[shown.container]), no_new_privileges=True)
    since = now - timedelta(hours=1)
    daemon = None if shown is None else swarm.daemon(shown.node)
    of_container = {field.name: getattr(container, field.name) for field in fields(container)}
    of_service = {
        "name": service.name,
        "part": service.labels.get("skyvern.part", ""),
        "restarts": sum(one.failed and (parse_time(one.at) or now) > since for one in tasks),
    }
    if shown is not task:
        of_service["status"] = task.state
    return Replica(
        **{**of_container, **of_service},
        slot=task.slot,
        machine="" if member is None else member.name if member.state == "Ready" else f"{member.name} ({member.state.lower()})",
        host="" if daemon is None else daemon.host,
        id="" if shown is None else shown.container,
        reason="" if task.state == "running" else reason(tasks),
    )


def place(docker: Docker, container: Container) -> tuple[Docker, str]:
    """The daemon of a container, and its name there. docker: the stack's. UserError if it cannot be asked."""
    if not isinstance(container, Replica):
        return docker, container.name
    if not container.id:
        raise UserError(f"{container.name}: {container.reason or container.status} on {container.machine or 'no machine yet'}")
    return Docker(container.host), container.id


def _unseen(service: Service, health: str) -> Container:
    """A container that is not there, or cannot be asked: nothing in it is open."""
    return Container(
        name=service.name,
        part="",
        image=service.image,
        image_id="",
        status="",
        health=health,
        restarts=0,
        exit_code=0,
        oom_killed=False,
        started_at=None,
        memory_mib=service.memory_bytes // MIB,
        read_only=True,
        privileged=False,
        capabilities_dropped=True,
        no_new_privileges=True,
        system_calls_filtered=True,
        published=(),
    )


def replicas(docker: Docker, stack: str) -> list[Replicas]:
    """The services of a stack on a Swarm, by name; none on plain Docker."""
    if not isinstance(docker, Swarm):
        return []
    services = docker.services(label=f"skyvern.stack={stack}")
    slots = docker.slots(services)
    return [parse_replicas(service, [tasks for tasks in slots if tasks[0].service == service.id]) for service in services]


def parse_replicas(service: Service, slots: Sequence[Sequence[Task]]) -> Replicas:
    """A service from its slots."""
    running = sum(tasks[0].state == "running" for tasks in slots)
    wanted = len(slots) if service.replicas is None else service.replicas
    problem = ""
    if service.rolled_back:
        problem = f"its last update was {service.ended}{': ' if (failure := last_failure(slots)) else ''}{failure}"
    elif running < wanted or not wanted:
        problem = why(service, slots)
    return Replicas(name=service.name, running=running, wanted=wanted, problem=problem)


@process.reads("docker")
def environments(docker: Docker, stack: str) -> list[str]:
    """Every ``NAME=value`` of the stack's containers. It holds secrets: for redaction, never for display."""
    plain = [element for document in documents(docker, stack) for element in document["Config"].get("Env") or []]
    if not isinstance(docker, Swarm):
        return plain
    # There, secrets are files. An image without a shell, as the connector's, does not tell them.
    running = [container for container in containers(docker, stack) if container.status == "running"]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        printed = pool.map(lambda container: _output_of(docker, container, "env", "-0"), running)
    return plain + [element for answer in printed if answer for element in answer.split("\0") if element]


@process.reads("docker")
def documents(docker: Docker, stack: str) -> list[dict[str, Any]]:
    """``docker inspect`` of the stack's containers, on all machines. It holds the secrets of their environments."""
    return [document for _, some in documents_by_daemon(docker, stack) for document in some]


@process.reads("docker")
def documents_by_daemon(docker: Docker, stack: str) -> list[tuple[Docker, list[dict[str, Any]]]]:
    """The same, by the daemon of each machine."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(zip(docker.daemons, pool.map(lambda daemon: _containers_at(daemon, stack), docker.daemons), strict=True))


def _containers_at(docker: Docker, stack: str) -> list[dict[str, Any]]:
    try:
        return _inspect(docker, stack, "container")
    except UserError:
        # One of them was removed in the meantime; those that are left answer.
        return _inspect(docker, stack, "container")


@process.reads("docker")
def network_documents(docker: Docker, stack: str) -> list[dict[str, Any]]:
    """``docker network inspect`` of the stack's networks."""
    return _inspect(docker, stack, "network")


def _inspect(docker: Docker, stack: str, kind: Literal["container", "network"]) -> list[dict[str, Any]]:
    return inspected(docker, kind, [item.id for item in labelled(docker, stack, kind)])


def inspected(docker: Docker, kind: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    """``docker KIND inspect`` of these; of none, nothing."""
    documents: list[dict[str, Any]] = json.loads(docker.run(kind, "inspect", *ids)) if ids else []
    return documents


@process.reads("docker")
def volumes(docker: Docker, stack: str, *, sizes: bool = False) -> list[Volume]:
    """The stack's volumes by name, on all machines. sizes: measured by the daemons, which read every file of them."""
    found = [volume for daemon in docker.daemons for volume in _volumes_at(daemon, stack, sizes=sizes)]
    return sorted(found, key=lambda volume: volume.name)


def _volumes_at(docker: Docker, stack: str, *, sizes: bool) -> list[Volume]:
    listed = _lines(docker.run("volume", "ls", "--format", "{{json .}}", *_filter(stack)))
    measured: dict[str, int | None] = {}
    if sizes:
        used = json.loads(docker.run(*DISK_USAGE, timeout_seconds=300)) or []
        measured = {volume["Name"]: parse_size(volume["Size"]) for volume in used}
    return [
        Volume(
            name=volume["Name"],
            part=parse_labels(volume.get("Labels", "")).get("skyvern.part", ""),
            size_bytes=measured.get(volume["Name"]),
        )
        for volume in listed
    ]


@process.reads("docker")
def labelled(docker: Docker, stack: str, kind: Kind) -> list[Labelled]:
    """The stack's containers (running or not), networks, services or secrets by name.

    On a Swarm there are no containers of a stack's own: those of tasks come and go with their services.
    """
    if isinstance(docker, Swarm) and kind == "container":
        return []
    if isinstance(docker, Swarm) and kind == "service":
        # Listed, their ids are cut.
        services = docker.services(label=f"skyvern.stack={stack}")
        return [Labelled(kind, service.id, service.name) for service in services]
    everything, name = (("--all",), "{{.Names}}") if kind == "container" else ((), "{{.Name}}")
    whole = () if kind == "secret" else ("--no-trunc",)
    listed = docker.run(kind, "ls", *everything, *whole, *_filter(stack), "--format", "{{.ID}} " + name)
    return sorted((Labelled(kind, *line.split(" ", 1)) for line in listed.splitlines()), key=lambda item: item.name)


def networks(docker: Docker, stack: str) -> list[str]:
    """Names of the stack's networks."""
    return [network.name for network in labelled(docker, stack, "network")]


@process.reads("docker")
def running(containers: Iterable[Container]) -> dict[str, Container]:
    """Part -> container, of those that run. Of several, the last one that is well."""
    chosen: dict[str, Container] = {}
    for container in containers:
        if container.status == "running" and (container.health in {"", "healthy"} or container.part not in chosen):
            chosen[container.part] = container
    return chosen


def ask(docker: Docker, containers: Iterable[Container], part: str, *command: str, timeout_seconds: float) -> str | None:
    """Output of a command in the running container of a part; None if none runs, or the command fails."""
    container = running(containers).get(part)
    return None if container is None else _output_of(docker, container, *command, timeout_seconds=timeout_seconds)


def _output_of(docker: Docker, container: Container, *command: str, timeout_seconds: float = 20) -> str | None:
    try:
        daemon, name = place(docker, container)
        return daemon.run("exec", name, *docker.opened, *command, timeout_seconds=timeout_seconds)
    except UserError:
        return None


def parsed(kind: type[Fields], text: str | None) -> Fields | None:
    """A dataclass from the JSON that a container's program printed; None without, or for one of a version that says less."""
    try:
        document = json.loads(text or "null")
        return kind(**{field.name: document[field.name] for field in fields(kind)})
    except (KeyError, TypeError, ValueError):
        return None


def memory_of(docker: Docker, containers: Iterable[Container]) -> dict[str, int]:
    """Memory of running containers now, by their keys, in bytes. One whose daemon cannot be asked is left out."""
    by_daemon: dict[str, tuple[Docker, dict[str, str]]] = {}
    for container in containers:
        with suppress(UserError):
            daemon, name = place(docker, container)
            by_daemon.setdefault(daemon.host, (daemon, {}))[1][name] = container.key
    measured = [(keys, memory_in_use(daemon, keys)) for daemon, keys in by_daemon.values()]
    return {keys[name]: size for keys, used in measured for name, size in used.items()}


def memory_in_use(docker: Docker, names: Iterable[str]) -> dict[str, int]:
    """Memory of running containers of one daemon now, name or whole id -> bytes."""
    wanted = list(names)
    if not wanted:
        return {}
    used = {}
    for container in _lines(docker.run("stats", "--no-stream", "--no-trunc", "--format", "{{json .}}", *wanted)):
        size = parse_size(container["MemUsage"].split("/")[0])
        if size is not None:
            used[container["ID"] if container.get("ID") in wanted else container["Name"]] = size
    return used


def _filter(stack: str) -> tuple[str, str]:
    return "--filter", f"label=skyvern.stack={stack}"


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]
