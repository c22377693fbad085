"""``ops status``: a stack's containers and volumes, with health, memory and disk. Reads stack file and daemons, needs no Pulumi.

Not here: faults and their fixes (ops doctor).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from components import endpoints
from ops.clients import terminal
from ops.clients.docker import PYTHON, Docker
from ops.observe import automation, backups, heartbeat
from ops.observe import version as project
from ops.observe.automation import Today
from ops.observe.backups import BackupFacts
from ops.stack import inventory
from ops.stack.inventory import MIB, Container, Replica, Replicas, Volume
from ops.stack.stack import Stack

ANSWER_SECONDS = 5
# Written by images/server/run_gate.py.
RUNS_FILE = "/tmp/run-gate.json"  # noqa: S108
# In the roles container of a stack whose PostgreSQL is elsewhere.
_WHERE = """
PGCONNECT_TIMEOUT=3 psql -X -q -c 'SELECT 1' > /dev/null 2>&1 && said=answers || said='does not answer'
echo "$PGHOST:$PGPORT, $said"
"""


@dataclass(frozen=True, kw_only=True)
class Runs:
    """What the server runs, as it says itself.

    running: ids; with ``browser.type: cdp-connect`` the browser session that has the Chrome is among them. queued: wait for their
    turn. interrupted: ended since the server's start because their server had died. draining: the server is about to stop.
    """

    max_runs: int
    running: Sequence[str]
    queued: int
    interrupted: int
    draining: bool


@dataclass(frozen=True, kw_only=True)
class Status:
    """A stack at a moment.

    version: of this checkout. address: of the gateway, from the stack file. api_version: the API's own, None if it does not
    answer; "development" with every Skyvern from PyPI (1.0.56). skyvern_version: of the package in the server.
    memory: key of a container -> bytes in use. runs: None if the server does not run or does not answer. backup, today: None if
    the stack has no backup or monitor, or it does not answer. database: a PostgreSQL elsewhere, and whether it answers.
    services: of a Swarm; the containers are then their tasks.
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
    runs: Runs | None = None
    backup: BackupFacts | None = None
    today: Today | None = None
    database: str | None = None
    services: Sequence[Replicas] = ()

    @property
    def running(self) -> list[Container]:
        """The containers that run."""
        return [container for container in self.containers if container.status == "running"]

    @property
    def healthy(self) -> int:
        """How many containers run and are not known to be ill."""
        return sum(container.health in {"", "healthy"} for container in self.running)


def observe(stack: Stack) -> Status:
    """The stack now. Raises UserError if its file is wrong or its daemon does not answer."""
    settings = stack.settings()
    docker = stack.docker()
    public = endpoints.derive(settings)
    containers = inventory.containers(docker, stack.short)
    running = [container for container in containers if container.status == "running"]
    return Status(
        stack=stack.name,
        version=project.read(),
        docker_host=docker.host,
        address=public.app_url,
        api_version=api_version(public.api_url) if running else None,
        skyvern_version=skyvern_version(docker, containers),
        containers=containers,
        memory=inventory.memory_of(docker, running),
        volumes=inventory.volumes(docker, stack.short, sizes=True),
        runs=runs(docker, containers),
        backup=backups.read(docker, containers),
        today=automation.read(docker, containers),
        database=database(docker, containers) if settings.database.elsewhere else None,
        services=inventory.replicas(docker, stack.short),
    )


def api_version(address: str, transport: httpx.BaseTransport | None = None) -> str | None:
    """The version of the API behind the gateway, from its heartbeat; None if it does not answer as expected."""
    answer = heartbeat.ask(address, transport=transport, timeout_seconds=ANSWER_SECONDS)
    if answer is None or answer.status_code != 200:
        return None
    version: str = answer.headers.get("x-skyvern-api-version", "unknown")
    return version


def skyvern_version(docker: Docker, containers: Sequence[Container]) -> str | None:
    """The version of Skyvern's package in the running server; None if the server does not run or does not answer."""
    code = "import importlib.metadata as packages; print(packages.version('skyvern'))"
    return ask_server(docker, containers, *PYTHON, code)


def runs(docker: Docker, containers: Sequence[Container]) -> Runs | None:
    """What the server runs; None if it does not run, does not answer or is of a version that says less."""
    return inventory.parsed(Runs, ask_server(docker, containers, "cat", RUNS_FILE))


def database(docker: Docker, containers: Sequence[Container]) -> str:
    """``db.example.com:5432, answers``, of a PostgreSQL elsewhere; the roles container knows where it is."""
    where = inventory.ask(docker, containers, "roles", "bash", "-c", _WHERE, timeout_seconds=ANSWER_SECONDS)
    return "unknown: the roles container does not run" if where is None else where.strip()


def ask_server(docker: Docker, containers: Sequence[Container], *command: str) -> str | None:
    """Output of a command in the running server; None if the server does not run or the command fails."""
    answer = inventory.ask(docker, containers, "server", *command, timeout_seconds=ANSWER_SECONDS)
    return None if answer is None else answer.strip()


def summary(status: Status) -> str:
    """One line: whether the stack is up."""
    doctor = f"bin/ops doctor -s {status.stack} shows what to do"
    if not status.containers:
        kept = f"; {len(status.volumes)} volumes are kept" if status.volumes else ""
        return f"stack {status.stack} is down: no container on {status.docker_host}{kept}; script/up --stack {status.stack}"
    if not status.running:
        return f"stack {status.stack} is down: {len(status.containers)} containers, none runs; {doctor}"
    api = "API answers" if status.api_version else "API does not answer"
    skyvern = f", Skyvern {status.skyvern_version}" if status.skyvern_version else ""
    versions = f"{skyvern}; {project.NAME} {status.version}"
    hint = "" if status.healthy == len(status.containers) else f"; {doctor}"
    kind = "tasks" if status.services else "containers"
    health = f"{status.healthy} of {len(status.containers)} {kind} healthy"
    return f"stack {status.stack}: {health}; {status.address}, {api}{versions}{hint}"


def runs_line(runs: Runs) -> str:
    """``runs: 3 of 4 in progress, 12 queued; 2 interrupted since the server's start``."""
    draining = "; draining: the server is about to stop" if runs.draining else ""
    interrupted = f"; {runs.interrupted} interrupted since the server's start" if runs.interrupted else ""
    return f"runs: {len(runs.running)} of {runs.max_runs} in progress, {runs.queued} queued{interrupted}{draining}"


def counted(service: Replicas) -> str:
    """``1 of 2 run``."""
    return f"{service.running} of {service.wanted} run"


def services_line(services: Sequence[Replicas]) -> str:
    """``services: 9 of 10 complete; skyvern-prod-gateway 2 of 2``, those that are there more than once."""
    complete = sum(service.running >= service.wanted > 0 for service in services)
    several = ", ".join(f"{service.name} {service.running} of {service.wanted}" for service in services if service.wanted > 1)
    return f"services: {complete} of {len(services)} complete{f'; {several}' if several else ''}"


def render(status: Status, now: datetime) -> str:
    """The summary, the runs, the backup, and one table of containers and volumes."""
    on_swarm = bool(status.services)
    rows = [
        (
            container.name,
            *([container.machine or "-"] if isinstance(container, Replica) else []),
            container.status,
            container.health or "-",
            str(container.restarts),
            uptime(container, now),
            memory(status.memory.get(container.key), container.memory_mib),
            container.image,
        )
        for container in status.containers
    ]
    of_volumes = ("-", "volume") if on_swarm else ("volume",)
    rows += [(volume.name, *of_volumes, "-", "-", "-", size(volume.size_bytes), "-") for volume in status.volumes]
    machine = ("machine",) if on_swarm else ()
    head = ("name", *machine, "state", "health", "restarts", "up", "memory or disk", "image")
    lines = [
        summary(status),
        *([services_line(status.services)] if on_swarm else []),
        *(f"{service.name}: {counted(service)}: {service.problem}" for service in status.services if service.problem),
        *([runs_line(status.runs)] if status.runs else []),
        *([f"database: {status.database}"] if status.database else []),
        *([automation.line(status.today)] if status.today else []),
        *([backups.line(status.backup)] if status.backup else []),
    ]
    return "\n".join([*lines, *(["", terminal.table(head, rows)] if rows else [])])


def uptime(container: Container, now: datetime) -> str:
    """Time since its start, in the two largest units (``3h 5m``); ``-`` if it does not run."""
    if container.started_at is None or container.status not in {"running", "paused"}:
        return "-"
    seconds = max(0, int((now - container.started_at).total_seconds()))
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    first = next((index for index, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count}{unit}" for count, unit in parts[first : first + 2])


def memory(used_bytes: int | None, limit_mib: int) -> str:
    """``715 / 4096 MiB``; ``-`` for an unknown use."""
    used = "-" if used_bytes is None else str(round(used_bytes / MIB))
    return f"{used} / {limit_mib} MiB" if limit_mib else f"{used} MiB, no limit"


def size(size_bytes: int | None) -> str:
    """A size on disk in MiB; ``-`` if the daemon does not report it."""
    return "-" if size_bytes is None else f"{size_bytes / MIB:.1f} MiB"


def as_json(status: Status) -> str:
    """The status as a JSON document."""
    return json.dumps(document(status), indent=2, default=str)


def document(status: Status) -> dict[str, Any]:
    """The status for a JSON document, in which a time is text."""
    fields = asdict(status)
    memory = fields.pop("memory")
    for container, shown in zip(status.containers, fields["containers"], strict=True):
        shown["memory_bytes"] = memory.get(container.key)
    if not status.services:
        del fields["services"]
    return fields | {"up": bool(status.running)}


def main(stack: Stack, *, json_wanted: bool = False) -> int:
    """Prints the status. 0 also if the stack is down: the command has answered."""
    status = observe(stack)
    print(as_json(status) if json_wanted else render(status, datetime.now(UTC)))
    return 0
