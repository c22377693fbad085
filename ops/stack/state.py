"""The Pulumi state of a stack compared with its daemon, and the refresh that brings it up to date.

Not here: reading it (``Stack.state``), and whether its file is whole (ops/stack/checkpoint.py).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ops.clients.docker import Docker
from ops.clients.swarm import Swarm
from ops.stack import inventory
from ops.stack.inventory import Kind, Labelled
from ops.stack.stack import Stack

REFRESH_SECONDS = 300
# Flags that leave out the resources of providers which ask someone else than the daemon: the stack's own server, and accounts
# whose token may have been rolled since; a refresh asks with the one of the state.
ELSEWHERE = [f"--exclude=**{kind}**" for kind in ("skyvern:index:", "cloudflare:index/", "vercel:index/")]


def leftovers(state: Mapping[str, Any], labelled: Sequence[Labelled]) -> list[Labelled]:
    """Those of the daemon's objects that are not in the state. state: of ``Stack.state``."""
    known = {resource.get("id") for resource in docker_resources(state)}
    return [item for item in labelled if item.id not in known]


def docker_resources(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The resources of the Docker provider."""
    return [resource for resource in state.get("resources") or [] if str(resource["type"]).startswith("docker:index/")]


def has_secrets(state: Mapping[str, Any]) -> bool:
    """Whether the generated secrets of a stack are in it."""
    return any(str(resource["type"]).startswith("random:index/") for resource in state.get("resources") or [])


def disposable(docker: Docker, stack: str) -> list[Labelled]:
    """The stack's containers and networks, which the next ``up`` makes again without a loss. Containers before their networks.

    On a Swarm, its services in place of containers, and their secrets. stack: its short name.
    """
    kinds: tuple[Kind, ...] = ("service", "secret", "network") if isinstance(docker, Swarm) else ("container", "network")
    return [item for kind in kinds for item in inventory.labelled(docker, stack, kind)]


def refresh(stack: Stack, *flags: str) -> None:
    """Compares what the daemon has with the state and records what is found; nothing else is changed."""
    stack.pulumi("refresh", *flags, *ELSEWHERE, "--yes", "--skip-preview", timeout_seconds=REFRESH_SECONDS)
