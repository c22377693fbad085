"""``ops status``: what runs, how it does and what it uses. Reads the stack file and the daemon, needs no Pulumi.

Not here: what is wrong and what to do about it (ops doctor).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import httpx

from components import endpoints
from ops.clients import terminal
from ops.clients.docker import PYTHON, Docker
from ops.errors import UserError
from ops.observe import version as project
from ops.stack import inventory
from ops.stack.inventory import MIB, Container, Volume
from ops.stack.stack import Stack

HEARTBEAT = "/api/v1/heartbeat"
ANSWER_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Status:
    """A stack at a moment.

    version: of this checkout. address: of the gateway, from the stack file. api_version: what the API says of itself, None when
    it does not answer; "development" with every Skyvern from PyPI (1.0.56). skyvern_version: of the package in the server.
    memory: container name -> bytes in use.
    """

    stack: str
    version: str
    docker_host: str
    address: str
    api_version: str | None
    skyvern_version: str | None
    containers: Sequence[Container]
    memory: Mapping[str, int]
    volumes: Sequence[Volume]


def observe(stack: Stack) -> Status:
    """The stack now. Raises UserError when its file is wrong or its daemon does not answer."""
    settings = stack.settings()
    docker = stack.docker()
    address = endpoints.derive(settings).app_url
    found = inventory.containers(docker, stack.short)
    running = [one.name for one in found if one.status == "running"]
    return Status(
        stack=stack.name,
        version=project.read(),
        docker_host=docker.host,
        address=address,
        api_version=api_version(address) if running else None,
        skyvern_version=skyvern_version(docker, found),
        containers=found,
        memory=inventory.memory_in_use(docker, running),
        volumes=inventory.volumes(docker, stack.short, sizes=True),
    )


def api_version(address: str, transport: httpx.BaseTransport | None = None) -> str | None:
    """What Skyvern's heartbeat says behind the gateway; None when there is no answer or another one."""
    try:
        with httpx.Client(transport=transport, timeout=ANSWER_SECONDS, trust_env=False) as client:
            answer = client.get(f"{address}{HEARTBEAT}")
    except httpx.HTTPError:
        return None
    return answer.headers.get("x-skyvern-api-version", "unknown") if answer.status_code == 200 else None


def skyvern_version(docker: Docker, containers: Sequence[Container]) -> str | None:
    """The version of Skyvern's package in the running server; None without one, or when the server does not answer."""
    code = "import importlib.metadata as packages; print(packages.version('skyvern'))"
    for server in containers:
        if server.part == "server" and server.status == "running":
            try:
                return docker.run("exec", server.name, *PYTHON, code, timeout_seconds=ANSWER_SECONDS).strip()
            except UserError:
                return None
    return None


def summary(status: Status) -> str:
    """One line: is it up."""
    healthy = sum(one.status == "running" and one.health in {"", "healthy"} for one in status.containers)
    if not status.containers:
        kept = f"; {len(status.volumes)} volumes are kept" if status.volumes else ""
        return f"stack {status.stack} is down: no container on {status.docker_host}{kept}; script/up --stack {status.stack}"
    if not any(one.status == "running" for one in status.containers):
        return (
            f"stack {status.stack} is down: {len(status.containers)} containers, none runs; "
            f"bin/ops doctor -s {status.stack} says what to do"
        )
    api = "API answers" if status.api_version else "API does not answer"
    skyvern = f", Skyvern {status.skyvern_version}" if status.skyvern_version else ""
    versions = f"{skyvern}; {project.NAME} {status.version}"
    hint = "" if healthy == len(status.containers) else f"; bin/ops doctor -s {status.stack} says what to do"
    well = f"{healthy} of {len(status.containers)} containers healthy"
    return f"stack {status.stack}: {well}; {status.address}, {api}{versions}{hint}"


def render(status: Status, now: datetime) -> str:
    """The summary and one table of containers and volumes."""
    rows = [
        (
            one.name,
            one.status,
            one.health or "-",
            str(one.restarts),
            uptime(one, now),
            memory(status.memory.get(one.name), one.memory_mib),
            one.image,
        )
        for one in status.containers
    ]
    rows += [(one.name, "volume", "-", "-", "-", size(one.size_bytes), "-") for one in status.volumes]
    head = ("name", "state", "health", "restarts", "up", "memory or disk", "image")
    return summary(status) + ("\n\n" + terminal.table(head, rows) if rows else "")


def uptime(container: Container, now: datetime) -> str:
    """Since when it runs, in its two largest units (``3h 5m``); ``-`` when it does not run."""
    if container.started_at is None or container.status not in {"running", "paused"}:
        return "-"
    seconds = max(0, int((now - container.started_at).total_seconds()))
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    first = next((index for index, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count}{unit}" for count, unit in parts[first : first + 2])


def memory(used_bytes: int | None, limit_mib: int) -> str:
    """``715 / 4096 MiB``; ``-`` for what is not known."""
    used = "-" if used_bytes is None else str(round(used_bytes / MIB))
    return f"{used} / {limit_mib or 'no limit'} MiB" if limit_mib else f"{used} MiB, no limit"


def size(size_bytes: int | None) -> str:
    """A size on disk in MiB; ``-`` when the daemon does not tell."""
    return "-" if size_bytes is None else f"{size_bytes / MIB:.1f} MiB"


def as_json(status: Status) -> str:
    """The same as one JSON document."""
    return json.dumps(
        {
            "stack": status.stack,
            "version": status.version,
            "docker_host": status.docker_host,
            "address": status.address,
            "api_version": status.api_version,
            "skyvern_version": status.skyvern_version,
            "up": any(one.status == "running" for one in status.containers),
            "containers": [asdict(one) | {"memory_bytes": status.memory.get(one.name)} for one in status.containers],
            "volumes": [asdict(one) for one in status.volumes],
        },
        indent=2,
        default=str,
    )


def main(stack: Stack, *, json_wanted: bool = False) -> int:
    """Prints the status; 0 also when the stack is down, which is no error of the question."""
    status = observe(stack)
    print(as_json(status) if json_wanted else render(status, datetime.now(UTC)))
    return 0
