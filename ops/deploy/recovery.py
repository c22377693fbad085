"""What an interrupted ``pulumi up`` leaves behind, and how it is cleared before the next one.

A killed engine leaves a lock on the state, operations that the state calls pending, and containers and networks that Docker has
made but no state knows, whose fixed names are then taken (seen with Pulumi 3.256). Only what holds no data is removed: the
stack's own containers and networks, never a volume. Not here: the deployment that follows.
"""

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops import bootstrap
from ops.bootstrap import Progress
from ops.clients import process
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.paths import ROOT
from ops.stack import checkpoint, inventory
from ops.stack.inventory import Labelled

REFRESH_SECONDS = 300


@dataclass(frozen=True)
class Lock:
    """One lock of the file backend: the process that took it and on which host."""

    path: Path
    pid: int
    user: str
    host: str
    since: str


def recover(stack: str, docker: Docker, progress: Progress) -> None:
    """Clears what a killed ``pulumi up`` left, with a line for each thing; does nothing after one that ended by itself.

    Raises UserError when another Pulumi is at work on the stack, and when the stack's containers belong to another state.
    """
    short = stack.rsplit("/", 1)[-1]
    checkpoint.drop_cut_off_attributes(bootstrap.environment()["PULUMI_BACKEND_URL"], progress)
    release_locks(stack, progress)
    state = export(stack)
    pending = state.get("pending_operations") or []
    found = labelled(short, docker)
    left = leftovers(state, found)
    if left and not pending and not _docker_resources(state):
        url = bootstrap.environment()["PULUMI_BACKEND_URL"]
        raise UserError(
            f"stack {short}: {', '.join(sorted(one.name for one in left))} run on {docker.host}, but this state "
            f"({url}) does not know them; use the state that made them (PULUMI_BACKEND_URL), or remove "
            "them with docker rm --force (their data stays in volumes)"
        )
    if pending:
        for operation in pending:
            name = str(operation["resource"]["urn"]).rsplit("::", 1)[-1]
            progress(f"the last up was stopped while {operation['type']} {name}")
        for line in perhaps_at_cloudflare(pending):
            progress(line)
        # Clears the notes, and looks at every resource; the orphans themselves it does not see.
        refresh(stack, "--clear-pending-creates")
        left = leftovers(export(stack), labelled(short, docker))
    for one in sorted(left, key=lambda one: (one.kind, one.name)):
        progress(f"{one.kind} {one.name} is not in the state: removed (it holds no data; volumes stay)")
        if one.kind == "container":
            docker.run("container", "stop", "--time", "60", one.id)
            docker.run("container", "rm", "--force", one.id)
        else:
            docker.run("network", "rm", one.id)


# Kind -> (what it is called, how the up is refused where it is there already, where it is deleted). A setting of the zone and the
# ingress rules are not here: the next up writes them again.
_AT_CLOUDFLARE: Mapping[str, tuple[str, str, str]] = {
    "ZeroTrustTunnelCloudflared": ("tunnel", "1013", "Zero Trust, Networks, Tunnels"),
    "DnsRecord": ("record", "81053", "DNS, Records"),
    "Ruleset": ("ruleset", "20217", "Security rules"),
    "ZeroTrustAccessApplication": ("application", "11010", "Zero Trust, Access, Applications"),
    "ZeroTrustAccessPolicy": ("policy", "", "Zero Trust, Access, Policies"),
}


def perhaps_at_cloudflare(pending: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each object whose creation was sent to Cloudflare but whose answer was lost: it may be there, in no state.

    Nothing is deleted or adopted from here: an object of that name may be somebody else's.
    """
    for operation in pending:
        resource = operation["resource"]
        # The type stands before the name: urn:pulumi:STACK::PROJECT::PARENTS$TYPE::NAME.
        type_ = str(resource["urn"]).rsplit("::", 2)[-2].rpartition("$")[2]
        found = _AT_CLOUDFLARE.get(type_.rpartition(":")[2]) if type_.startswith("cloudflare:") else None
        if operation["type"] != "creating" or found is None:
            continue
        kind, code, place = found
        name = (resource.get("inputs") or {}).get("name", "")
        if code:
            yield (
                f'the {kind} "{name}" may exist at Cloudflare without being in the state: if the up is refused with {code}, '
                f"delete it in the dashboard ({place}) and run script/up again"
            )
        else:
            yield (
                f'the {kind} "{name}" may exist at Cloudflare without being in the state: the up makes another one; delete the '
                f"one that nothing uses in the dashboard ({place})"
            )


# --- The lock ------------------------------------------------------------------------------------------------------------


def read_locks(url: str, stack: str) -> list[Lock]:
    """The locks on a stack in a file backend; none for any other backend, which cannot be looked into from here."""
    folder = checkpoint.backend_folder(url)
    if folder is None:
        return []
    locks = []
    for path in sorted(folder.glob(f"locks/organization/{checkpoint.PROJECT}/{stack}/*.json")):
        try:
            fields = json.loads(path.read_text())
            locks.append(
                Lock(
                    path=path,
                    pid=int(fields["pid"]),
                    user=str(fields["username"]),
                    host=str(fields["hostname"]),
                    since=str(fields["timestamp"])[:19],
                )
            )
        except (OSError, ValueError, KeyError, TypeError):
            # Gone in the meantime, or half-written by the process that was killed.
            continue
    return locks


def runs(pid: int) -> bool:
    """Whether a process of this machine is a Pulumi; after a restart the number may be another program's.

    One that was killed with its parent stays as a zombie until init looks for it, which not every init does at once (seen).
    """
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(") ")
    except OSError:
        return False
    return name.startswith("pulumi") and rest[:1] not in {"Z", "X"}


def release_locks(stack: str, progress: Progress) -> None:
    """Removes the locks of processes of this host that have ended; UserError for any other one.

    A stack that does not exist yet has them, too: creating it takes one, and it cannot be created while an old one is there.
    ``pulumi cancel``, which does the same, knows no such stack.
    """
    short = stack.rsplit("/", 1)[-1]
    locks = read_locks(bootstrap.environment()["PULUMI_BACKEND_URL"], short)
    for lock in locks:
        if lock.host != platform.node() or runs(lock.pid):
            raise UserError(
                f"stack {stack}: another Pulumi is working on it (process {lock.pid} of {lock.user} on {lock.host}, since "
                f"{lock.since}); wait until it has ended, or run pulumi cancel -s {stack} if it is gone"
            )
    for lock in locks:
        lock.path.unlink(missing_ok=True)
        lock.path.with_name(f"{lock.path.name}.attrs").unlink(missing_ok=True)
        progress(f"the last pulumi was killed (process {lock.pid}, since {lock.since}): its lock is removed")


# --- What is in no state -------------------------------------------------------------------------------------------------


def leftovers(state: dict[str, Any], found: list[Labelled]) -> list[Labelled]:
    """What Docker has and the state does not know. state: the ``deployment`` of ``pulumi stack export``."""
    known = {resource.get("id") for resource in _docker_resources(state)}
    return [one for one in found if one.id not in known]


def _docker_resources(state: dict[str, Any]) -> list[dict[str, Any]]:
    return [resource for resource in state.get("resources") or [] if str(resource["type"]).startswith("docker:index/")]


def labelled(stack: str, docker: Docker) -> list[Labelled]:
    """Made anew by the next up without a loss; a network goes after the containers on it."""
    return inventory.labelled(docker, stack, "container") + inventory.labelled(docker, stack, "network")


def refresh(stack: str, *flags: str) -> None:
    """Looks at every resource and writes into the state what it finds; nothing else is changed."""
    process.capture(
        [*bootstrap.pulumi("refresh", "--stack", stack, *flags), "--yes", "--skip-preview", "--non-interactive"],
        cwd=ROOT,
        env={**os.environ, **bootstrap.environment()},
        timeout_seconds=REFRESH_SECONDS,
    )


def export(stack: str) -> dict[str, Any]:
    """The ``deployment`` of the stack's state; every secret in it stays encrypted."""
    env = {**os.environ, **bootstrap.environment()}
    exported = json.loads(process.capture(bootstrap.pulumi("stack", "export", "--stack", stack), cwd=ROOT, env=env))
    deployment: dict[str, Any] = exported.get("deployment") or {}
    return deployment
