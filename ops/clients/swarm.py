"""A Docker Swarm by the docker CLI: a manager is asked about services, the daemon of its machine about what runs of one.

A part of a stack is a service of the name that its container would have on one daemon. What runs of it is a task, whose container
has a name of the engine's choice, on a machine of the engine's choice, until it is replaced by the next one.
No word of Skyvern. Not here: making a Swarm (ops/deploy/cluster.py), and its machines as such (ops/observe/cluster.py).
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.host import secret_files
from ops.clients import process
from ops.clients.docker import Docker
from ops.errors import UserError

# To the first answer of a daemon, by SSH as well.
ANSWER_SECONDS = 20
AT_ONCE = 8
POLL_SECONDS = 1.0
# Variables that the shell and Docker add.
_SHELLS = frozenset({"HOME", "HOSTNAME", "OLDPWD", "PWD", "SHLVL", "_"})
# States of a task in which it has a container that a command can be run in: also before its health check has passed.
_HAS_CONTAINER = ("running", "starting")
_FAILED = frozenset({"failed", "rejected"})
# Subcommands that change nothing, and what a manager says that does not know its leader (seen with 20.10 after a cut).
_ASKS = frozenset({"inspect", "ls", "ps"})
_CHOOSING = re.compile(r"rpc error: .*context deadline exceeded|does not have a leader", re.DOTALL)
CHOOSING_SECONDS = 30.0
_WANTED = frozenset({"running", "ready"})


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine by its daemon. id: in the Swarm, "" in none. problem: why it cannot be asked, in one line; "" if it can."""

    host: str
    id: str = ""
    manages: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Member:
    """A machine as the managers know it. state: Ready, Down, Unknown or Disconnected. name: its own."""

    id: str
    state: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service, as it is meant to be and as its last update ended.

    replicas: None for one on every machine. image: reference. memory_bytes: limit, 0 for none. update: state of the last one,
    as Docker has it: updating, paused, completed, rollback_started, rollback_paused or rollback_completed, "" for none. secrets:
    ids of those that its tasks have, while it is updated also of those that they may go back to. Nothing of its environment is
    kept: secrets are in it.
    """

    id: str
    name: str
    labels: Mapping[str, str]
    replicas: int | None
    image: str
    memory_bytes: int
    update: str = ""
    secrets: frozenset[str] = frozenset()

    @property
    def rolled_back(self) -> bool:
        """Whether the engine has given up its last update, or is about to."""
        return self.update.startswith("rollback") or self.update == "paused"

    @property
    def ended(self) -> str:
        """How its last update ended, as a participle."""
        return {
            "paused": "stopped half-way",
            "rollback_started": "given up and is being rolled back",
            "rollback_paused": "given up, and rolling it back stopped half-way",
        }.get(self.update, "rolled back")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task of a service.

    service: its id. slot: the number of the replica; of a service on every machine, the machine's id. node: id of its machine, ""
    before it has one. wanted: whether it is meant to run. state: as Docker has it, such as pending, running, rejected or failed.
    reason: Docker's own, "" for none. at: time of the state, as text that sorts. container: its id, "" before it has one. image:
    reference.
    """

    service: str
    slot: str
    node: str
    wanted: bool
    state: str
    reason: str
    at: str
    container: str
    image: str = ""
    exit_code: int = 0

    @property
    def failed(self) -> bool:
        """Whether it ended by a fault, its container's or the engine's."""
        return self.state in _FAILED


@dataclass(frozen=True)
class Swarm(Docker):
    """A Swarm as a whole. host: of a manager, which answers for it and runs what is no service. machines: all that are known."""

    machines: tuple[Machine, ...] = ()

    def run(self, *arguments: str | Path, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
        """As on one daemon. While the managers choose a leader, as after one has come back, what only asks is asked again."""
        deadline = time.monotonic() + CHOOSING_SECONDS
        while True:
            try:
                return super().run(*arguments, stdin=stdin, timeout_seconds=timeout_seconds)
            except UserError as failed:
                asks = len(arguments) > 1 and arguments[1] in _ASKS
                if not asks or not _CHOOSING.search(str(failed)) or time.monotonic() > deadline:
                    raise
            time.sleep(POLL_SECONDS)

    @property
    def opened(self) -> tuple[str, ...]:
        """The secrets of the service become variables again."""
        return ("sh", "-c", secret_files.OPEN, "sh")

    @property
    def plain(self) -> Docker:
        """The daemon that was asked about the whole."""
        return Docker(self.host)

    @property
    def daemons(self) -> list[Docker]:
        """The daemons of the machines that answer and are in this Swarm."""
        return [Docker(machine.host) for machine in self.machines if machine.id]

    def _running(self, name: str) -> tuple[Service, list[list[Task]], list[Task]]:
        """A service, its slots, and the tasks of it that have a container, those that are well first."""
        (service,) = self.services(name)
        slots = self.slots([service])
        running = [tasks[0] for tasks in slots if tasks[0].state in _HAS_CONTAINER and tasks[0].container]
        return service, slots, sorted(running, key=lambda task: _HAS_CONTAINER.index(task.state))

    def locate(self, name: str) -> tuple[Docker, str]:
        """The machine and the container of the task that runs of a service; UserError with the engine's reason if none does."""
        service, slots, running = self._running(name)
        for task in running:
            if daemon := self.daemon(task.node):
                return daemon, task.container
        if running:
            raise UserError(f"{name}: runs on {self.unanswered(running[0].node)}")
        raise UserError(f"{name}: does not run: {why(service, slots)}")

    def daemon(self, node: str) -> Docker | None:
        """The daemon of a machine of the Swarm by its id; None if it does not answer or no one has named it."""
        return next((Docker(machine.host) for machine in self.machines if node and machine.id == node), None)

    @process.reads("docker")
    def members(self) -> dict[str, Member]:
        """The machines by their ids, as the managers know them."""
        listed = self.run("node", "ls", "--format", "{{.ID}} {{.Status}} {{.Hostname}}", timeout_seconds=ANSWER_SECONDS)
        members = (Member(*line.split(" ", 2)) for line in listed.splitlines())
        return {member.id: member for member in members}

    def unanswered(self, node: str) -> str:
        """A machine on which a task runs and whose daemon cannot be asked, and what to do, as a clause."""
        member = self.members().get(node) or Member(node, "unknown", node)
        if member.state != "Ready":
            return f"{member.name}, which is {member.state.lower()}: start it, or wait a minute until the task runs elsewhere"
        problems = [f"{machine.host}: {machine.problem}" for machine in self.machines if not machine.id]
        known = f" ({'; '.join(problems)})" if problems else ", and which host.nodes of the stack file does not name"
        return f"{member.name}, whose Docker does not answer here{known}"

    @process.reads("docker")
    def services(self, *names: str, label: str = "") -> list[Service]:
        """These services, or those with a label (``name=value``), by name; UserError if one of the names is no service's."""
        if not names:
            names = tuple(self.run("service", "ls", "--quiet", "--filter", f"label={label}").split())
        if not names:
            return []
        try:
            printed = self.run("service", "inspect", *names)
        except UserError as failed:
            if "no such service" in str(failed).lower():
                part = " ".join(names)
                raise UserError(f"{part}: is not a service of the Swarm at {self.host}; script/up makes it") from failed
            raise
        return sorted(map(parse_service, json.loads(printed)), key=lambda service: service.name)

    @process.reads("docker")
    def slots(self, services: Sequence[Service]) -> list[list[Task]]:
        """For each task that is meant to run, that one, and behind it those that it has replaced, the newest first.

        In the order of the services. One that runs is before the one that is about to replace it.
        """
        if not services:
            return []
        newest = sorted(self._tasks(services), key=lambda task: task.at, reverse=True)
        by_slot: dict[tuple[str, str], list[Task]] = {}
        for task in sorted(newest, key=lambda task: (not task.wanted, task.state != "running")):
            by_slot.setdefault((task.service, task.slot), []).append(task)
        order = [service.id for service in services]
        keys = sorted((key for key, some in by_slot.items() if some[0].wanted), key=lambda key: (order.index(key[0]), key[1]))
        return [by_slot[key] for key in keys]

    def _tasks(self, services: Sequence[Service]) -> list[Task]:
        """All that are remembered of them."""
        ids = self.run("service", "ps", "--quiet", "--no-trunc", *(service.id for service in services)).split()
        if not ids:
            return []
        # Where one was forgotten in the meantime, the others are printed and the command fails.
        command = self.command("inspect", "--type=task", *ids)
        return [parse_task(document) for document in json.loads(process.capture(command, env=self.environment(), any_code=True))]

    def _find(self, name: str) -> Service | None:
        """The service of this name, if there is one."""
        listed = self.run("service", "ls", "--quiet", "--filter", f"name={name}").split()
        # The filter is of a beginning.
        return next((service for service in self.services(*listed) if service.name == name), None) if listed else None

    def has(self, name: str, *, running: bool = False) -> bool:
        """Whether there is a service of this name, or one of which a task runs."""
        service = self._find(name)
        return service is not None and (not running or any(tasks[0].state == "running" for tasks in self.slots([service])))

    def image_of(self, name: str) -> tuple[str, str] | None:
        """As its service has it."""
        service = self._find(name)
        return None if service is None else (service.image, service.image)

    def has_run(self, name: str, image: str) -> bool:
        """Also where the engine has rolled back to the image of before: a task of it is remembered."""
        service = self._find(name)
        return service is not None and any(task.image == image for task in self._tasks([service]))

    def environment_of(self, name: str) -> list[str]:
        """As a task that runs has it."""
        elements = self.execute(name, "env", "-0").split("\0")
        return [element for element in elements if "=" in element and element.partition("=")[0] not in _SHELLS]

    def inspect(self, name: str) -> dict[str, Any]:
        """``docker inspect`` of the container that runs of a service; UserError when none does."""
        daemon, container = self.locate(name)
        return Docker.inspect(daemon, container)

    def logs(self, name: str, *flags: str) -> str:
        """The output of all tasks of a service that run, one after the other."""
        _, _, running = self._running(name)
        there = [(daemon, task.container) for task in running if (daemon := self.daemon(task.node))]
        return "".join(daemon.logs(container, *flags) for daemon, container in there or [self.locate(name)])

    def stop_part(self, name: str, *, timeout_seconds: float) -> None:
        """Gives a service no task any more, and waits until the last has ended; UserError if that takes longer."""
        self._scale_down(name)
        self.wait_until_stopped(name, timeout_seconds=timeout_seconds)

    def wait_until_stopped(self, name: str, *, timeout_seconds: float) -> None:
        """Waits until a service has no task that runs; UserError if that takes longer."""
        if self._tasks_left(name, timeout_seconds):
            see = f"docker --host {self.host} service ps {name}"
            raise UserError(f"{name}: still runs after {timeout_seconds:.0f} s; see {see}")

    def _scale_down(self, name: str) -> None:
        self.run("service", "scale", "--detach", f"{name}=0", timeout_seconds=ANSWER_SECONDS)

    def _tasks_left(self, name: str, timeout_seconds: float) -> list[Task]:
        """The tasks that still run after so long; one on a machine that is down is not waited for."""
        (service,) = self.services(name)
        until = time.monotonic() + timeout_seconds
        while True:
            members = self.members()
            running = [
                task
                for task in self._tasks([service])
                if task.state in _HAS_CONTAINER and task.node in members and members[task.node].state == "Ready"
            ]
            if not running or time.monotonic() > until:
                return running
            time.sleep(POLL_SECONDS)

    @process.reads("docker")
    def start_part(self, name: str) -> None:
        """Gives a service as many tasks as it had before ``stop_part``."""
        document = json.loads(self.run("service", "inspect", name))[0]
        before = ((document.get("PreviousSpec") or {}).get("Mode") or {}).get("Replicated") or {}
        self.run("service", "scale", "--detach", f"{name}={before.get('Replicas') or 1}", timeout_seconds=ANSWER_SECONDS)

    def remove_part(self, name: str) -> None:
        """Ends a service, by force after half a minute, and takes it away; the next update makes it again."""
        self._scale_down(name)
        for task in self._tasks_left(name, 30):
            # It may have ended meanwhile.
            if daemon := self.daemon(task.node):
                with suppress(UserError):
                    daemon.run("kill", task.container)
        self.run("service", "rm", name)


def find(hosts: Sequence[str]) -> Swarm:
    """The Swarm over these machines, by the first that manages and answers; UserError with a reason for each if none does."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        machines = tuple(pool.map(observe_machine, hosts))
    manager = next((machine.host for machine in machines if machine.manages), None)
    if manager is None:
        lines = [f"{machine.host}: {machine.problem or 'does not manage it'}" for machine in machines]
        raise UserError(f"no manager of the Swarm answers ({'; '.join(lines)})")
    return Swarm(manager, machines)


def observe_machine(host: str) -> Machine:
    """A machine by the daemon at ``host``."""
    try:
        return parse_machine(host, Docker(host).run("info", "--format", "{{json .Swarm}}", timeout_seconds=ANSWER_SECONDS))
    except UserError as failed:
        return Machine(host=host, problem=failed.line)


@process.reads("docker")
def parse_machine(host: str, printed: str) -> Machine:
    """A machine from ``{{json .Swarm}}`` of ``docker info``."""
    swarm: dict[str, Any] = json.loads(printed)
    state = swarm["LocalNodeState"]
    if state != "active":
        # A client whose daemon is silent prints an empty one (20.10).
        return Machine(host=host, problem=f"is not in a Swarm ({state})" if state else "no daemon answers")
    manages = bool(swarm["ControlAvailable"]) and not swarm.get("Error")
    return Machine(host=host, id=swarm["NodeID"], manages=manages, problem=swarm.get("Error", ""))


def parse_service(document: Mapping[str, Any]) -> Service:
    """From one element of ``docker service inspect``."""
    spec, update = document["Spec"], document.get("UpdateStatus") or {}
    mode, template = spec["Mode"], spec["TaskTemplate"]
    specs = [spec, document.get("PreviousSpec") or {}] if update.get("State") == "updating" else [spec]
    containers = [((of.get("TaskTemplate") or {}).get("ContainerSpec") or {}) for of in specs]
    return Service(
        id=document["ID"],
        name=spec["Name"],
        labels=spec.get("Labels") or {},
        replicas=mode["Replicated"]["Replicas"] if "Replicated" in mode else None,
        image=template["ContainerSpec"]["Image"],
        memory_bytes=((template.get("Resources") or {}).get("Limits") or {}).get("MemoryBytes", 0),
        update=update.get("State", ""),
        secrets=frozenset(secret["SecretID"] for container in containers for secret in container.get("Secrets") or ()),
    )


def parse_task(document: Mapping[str, Any]) -> Task:
    """From one element of ``docker inspect --type=task``."""
    status = document["Status"]
    container = status.get("ContainerStatus") or {}
    node = document.get("NodeID", "")
    return Task(
        service=document["ServiceID"],
        slot=str(document["Slot"]) if document.get("Slot") else node,
        node=node,
        wanted=document["DesiredState"] in _WANTED,
        state=status["State"],
        reason=status.get("Err", ""),
        at=status["Timestamp"],
        container=container.get("ContainerID", ""),
        image=document["Spec"]["ContainerSpec"]["Image"],
        exit_code=container.get("ExitCode", 0),
    )


def reason(tasks: Sequence[Task]) -> str:
    """The newest reason that the engine gives for these tasks; "" if it gives none."""
    return next((task.reason for task in sorted(tasks, key=lambda task: task.at, reverse=True) if task.reason), "")


def last_failure(slots: Sequence[Sequence[Task]]) -> str:
    """The newest reason why a task of these slots failed; "" if none is remembered."""
    return reason([task for tasks in slots for task in tasks if task.failed])


def why(service: Service, slots: Sequence[Sequence[Task]]) -> str:
    """Why a service does not run as it is meant to, as a clause. slots: of that service."""
    if service.replicas == 0:
        return "it was stopped (0 replicas)"
    for tasks in slots:
        if tasks[0].state != "running":
            return reason(tasks) or f"its task is {tasks[0].state}"
    return "the engine has made no task yet" if not slots else "its tasks run"
