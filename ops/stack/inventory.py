"""The containers, volumes and networks of a stack on its daemon, by their labels. Reads only.

Not here: what it should have (the Pulumi state, ops/observe/doctor/observation.py).
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import ByteSize, TypeAdapter, ValidationError

from ops.clients import process
from ops.clients.docker import Docker
from ops.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Fields = TypeVar("Fields", bound="DataclassInstance")
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
    """The stack's containers, running or not, by name; UserError when the daemon does not answer."""
    return sorted(map(parse_container, documents(docker, stack)), key=lambda container: container.name)


@process.reads("docker")
def environments(docker: Docker, stack: str) -> list[str]:
    """Every ``NAME=value`` of the stack's containers. It holds secrets: for redaction, never for display."""
    return [element for document in documents(docker, stack) for element in document["Config"].get("Env") or []]


@process.reads("docker")
def documents(docker: Docker, stack: str) -> list[dict[str, Any]]:
    """``docker inspect`` of the stack's containers. It holds the secrets of their environments."""
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
    ids = [item.id for item in labelled(docker, stack, kind)]
    inspected: list[dict[str, Any]] = json.loads(docker.run(kind, "inspect", *ids)) if ids else []
    return inspected


@process.reads("docker")
def volumes(docker: Docker, stack: str, *, sizes: bool = False) -> list[Volume]:
    """The stack's volumes by name. sizes: measured by the daemon, which reads every file of them."""
    listed = _lines(docker.run("volume", "ls", "--format", "{{json .}}", *_filter(stack)))
    measured: dict[str, int | None] = {}
    if sizes:
        used = json.loads(docker.run(*DISK_USAGE, timeout_seconds=300)) or []
        measured = {volume["Name"]: parse_size(volume["Size"]) for volume in used}
    return sorted(
        (
            Volume(
                name=volume["Name"],
                part=parse_labels(volume.get("Labels", "")).get("skyvern.part", ""),
                size_bytes=measured.get(volume["Name"]),
            )
            for volume in listed
        ),
        key=lambda volume: volume.name,
    )


@process.reads("docker")
def labelled(docker: Docker, stack: str, kind: Literal["container", "network"]) -> list[Labelled]:
    """The stack's containers (running or not) or networks by name."""
    everything, name = (("--all",), "{{.Names}}") if kind == "container" else ((), "{{.Name}}")
    listed = docker.run(kind, "ls", *everything, "--no-trunc", *_filter(stack), "--format", "{{.ID}} " + name)
    return sorted((Labelled(kind, *line.split(" ", 1)) for line in listed.splitlines()), key=lambda item: item.name)


def networks(docker: Docker, stack: str) -> list[str]:
    """Names of the stack's networks."""
    return [network.name for network in labelled(docker, stack, "network")]


@process.reads("docker")
def running(containers: Iterable[Container]) -> dict[str, Container]:
    """Part -> container, of those that run."""
    return {container.part: container for container in containers if container.status == "running"}


def ask(docker: Docker, containers: Iterable[Container], part: str, *command: str, timeout_seconds: float) -> str | None:
    """Output of a command in the running container of a part; None if none runs, or the command fails."""
    container = running(containers).get(part)
    if container is None:
        return None
    try:
        return docker.run("exec", container.name, *command, timeout_seconds=timeout_seconds)
    except UserError:
        return None


def parsed(kind: type[Fields], text: str | None) -> Fields | None:
    """A dataclass from the JSON that a container's program printed; None without, or for one of a version that says less."""
    try:
        document = json.loads(text or "null")
        return kind(**{field.name: document[field.name] for field in fields(kind)})
    except (KeyError, TypeError, ValueError):
        return None


def memory_in_use(docker: Docker, names: Iterable[str]) -> dict[str, int]:
    """Memory of running containers now, name -> bytes."""
    wanted = list(names)
    if not wanted:
        return {}
    used = {}
    for container in _lines(docker.run("stats", "--no-stream", "--format", "{{json .}}", *wanted)):
        size = parse_size(container["MemUsage"].split("/")[0])
        if size is not None:
            used[container["Name"]] = size
    return used


def _filter(stack: str) -> tuple[str, str]:
    return "--filter", f"label=skyvern.stack={stack}"


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]
