"""Repairs around the next ``pulumi up``, after changes on the daemon that Pulumi did not make.

A plain ``pulumi up`` compares the program with the state and does not look at the daemon, so it sees neither a container that was
killed or stopped by hand, which Docker leaves down for good, nor one that was removed. Only what holds no data is made again: a
data volume that has gone is refused, because an empty volume in its place would hide the loss.
Not here: what an interrupted up leaves (ops/deploy/recovery.py).
"""

import time
from dataclasses import dataclass
from typing import Any

from ops.clients import process
from ops.clients.docker import Docker
from ops.clients.swarm import Swarm
from ops.clients.terminal import Progress
from ops.errors import UserError
from ops.stack import inventory, state
from ops.stack.inventory import Replica
from ops.stack.stack import Stack

# Longer than the longest start of a container after a power cut.
HEALTHY_SECONDS = 240
_KINDS = ("container", "network", "volume", "service", "secret")
_DOWN = {"created", "dead", "exited", "paused"}


@dataclass(frozen=True)
class Recorded:
    """A container, network or volume of the state, or a service or secret. id: as Docker has it (a volume's is its name)."""

    kind: str
    id: str
    name: str
    protected: bool


def repair(stack: Stack, docker: Docker, progress: Progress) -> list[Recorded]:
    """Starts what was stopped and lets Pulumi see what has gone, with a line for each; silent when nothing differs.

    For a command that has the stack alone: any other may have stopped containers for a reason. Returns what the state had. Raises
    UserError when a protected volume has gone.
    """
    recorded = parse(stack.state())
    states = _container_states(docker)
    present = {
        "container": set(states),
        "network": set(docker.run("network", "ls", "--no-trunc", "--quiet").split()),
        "volume": set(docker.run("volume", "ls", "--quiet").split()),
        **_of_swarm(stack, docker, progress),
    }
    gone = [resource for resource in recorded if resource.id not in present[resource.kind]]
    if lost := [resource.name for resource in gone if resource.protected]:
        raise UserError(
            f"stack {stack}: {', '.join(lost)} on {docker.host}: the volume and the data in it are gone; put it back from a "
            f"backup (bin/ops restore -s {stack}), or begin with an empty one by pulumi up --refresh -s {stack}"
        )
    # In the order of the state, where each is behind what it depends on.
    stopped = [resource for resource in recorded if resource.kind == "container" and states.get(resource.id) in _DOWN]
    gone += [container for container in stopped if not _start(container, states[container.id], docker, progress)]
    for resource in gone:
        progress(f"{resource.kind} {resource.name} is gone: the up makes it again")
    if gone:
        state.refresh(stack)
    return recorded


@process.reads("pulumi")
def parse(recorded: dict[str, Any]) -> list[Recorded]:
    """The daemon's objects of a state, in its order."""
    kinds = {f"docker:index/{kind}:{kind.capitalize()}": kind for kind in _KINDS}
    return [
        Recorded(kind, resource["id"], resource["outputs"]["name"], bool(resource.get("protect")))
        for resource in recorded.get("resources") or []
        if (kind := kinds.get(resource["type"])) and not resource.get("delete")
    ]


def wait_until_healthy(stack: Stack, docker: Docker, progress: Progress) -> None:
    """Waits for containers that were started outside of the up; UserError if one of them does not become healthy."""
    until = time.monotonic() + HEALTHY_SECONDS
    printed = False
    while unhealthy := [
        f"{container.name}{f' ({container.reason})' if isinstance(container, Replica) and container.reason else ''}"
        for container in inventory.containers(docker, stack.short)
        if container.status != "running" or container.health not in {"", "healthy"}
    ]:
        if time.monotonic() > until:
            raise UserError(
                f"stack {stack}: not healthy within {HEALTHY_SECONDS} s: {', '.join(unhealthy)}; "
                f"bin/ops doctor -s {stack} says what to do"
            )
        if not printed:
            progress(f"waiting until healthy: {', '.join(unhealthy)}")
            printed = True
        time.sleep(1)


def _of_swarm(stack: Stack, docker: Docker, progress: Progress) -> dict[str, set[str]]:
    """The ids of a Swarm's services and secrets. A service that was stopped is started; the engine itself replaces what died."""
    if not isinstance(docker, Swarm):
        return {"service": set(), "secret": set()}
    services = docker.services(label=f"skyvern.stack={stack.short}")
    for service in services:
        if service.replicas == 0:
            docker.start_part(service.name)
            progress(f"service {service.name} had no task (0 replicas): started")
    return {"service": {service.id for service in services}, "secret": set(docker.run("secret", "ls", "--quiet").split())}


@process.reads("docker")
def _container_states(docker: Docker) -> dict[str, str]:
    listed = docker.run("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.State}}")
    return dict(line.split(" ", 1) for line in listed.splitlines())


def _start(container: Recorded, state: str, docker: Docker, progress: Progress) -> bool:
    """False when it could not be started and was removed: no data is in it."""
    try:
        docker.run("unpause" if state == "paused" else "start", container.id)
    except UserError as failed:
        progress(f"container {container.name} is {state} and does not start: removed ({failed})")
        docker.run("rm", "--force", container.id)
        return False
    progress(f"container {container.name} did not run ({state}): started")
    return True
