"""Clears what an interrupted ``pulumi up`` leaves behind, before the next ``up``.

A killed engine leaves a lock on the state, operations that the state calls pending, and containers and networks that Docker has
made but that are not in the state. Their fixed names are then taken (seen with Pulumi 3.256). Only what holds no data is removed:
the stack's own containers and networks, never a volume. Not here: the deployment that follows.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ops.clients.docker import Docker
from ops.clients.swarm import Swarm
from ops.clients.terminal import Progress
from ops.errors import UserError
from ops.machine.daemon import DEFAULT_SOCKET
from ops.stack import checkpoint, inventory, locks, state
from ops.stack.stack import Stack

_SECRET = "docker:index/secret:Secret"  # noqa: S105


def recover(stack: Stack, docker: Docker, progress: Progress) -> None:
    """Clears what a killed ``pulumi up`` left, with a line for each thing; does nothing after one that ended by itself.

    Raises UserError when another Pulumi is at work on the stack, when its containers belong to another state, and when the
    stack file has another engine than the state.
    """
    url = stack.environment()["PULUMI_BACKEND_URL"]
    checkpoint.drop_cut_off_attributes(url, progress)
    locks.release_locks(stack, progress)
    recorded = stack.state()
    refuse_other_engine(stack, docker, recorded)
    refuse_foreign(stack, docker, recorded, url)
    pending = recorded.get("pending_operations") or []
    if pending:
        for operation in pending:
            name = str(operation["resource"]["urn"]).rsplit("::", 1)[-1]
            progress(f"the last up was stopped while {operation['type']} {name}")
        for line in possibly_created_at_cloudflare(pending):
            progress(line)
        # Clears the notes, and looks at every resource; the orphans themselves it does not see.
        state.refresh(stack, "--clear-pending-creates")
        recorded = stack.state()
    if isinstance(docker, Swarm):
        recorded = _with_secrets_in_use(stack, docker, recorded, progress)
    left = state.leftovers(recorded, state.disposable(docker, stack.short))
    # A network cannot be removed before what is on it, nor a secret before what has it.
    order = ("container", "service", "secret", "network")
    for item in sorted(left, key=lambda item: (order.index(item.kind), item.name)):
        progress(f"{item.kind} {item.name} is not in the state: removed (it holds no data; volumes stay)")
        if item.kind == "container":
            docker.run("container", "stop", "--time", "60", item.id)
            docker.run("container", "rm", "--force", item.id)
        elif item.kind == "service":
            docker.remove_part(item.name)
        else:
            docker.run(item.kind, "rm", item.id)


def _with_secrets_in_use(stack: Stack, swarm: Swarm, recorded: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """The state, once no secret in it waits for its deletion, which only an update that ends well carries out.

    A secret's name follows its value (components/host/swarm.py), so one that waits keeps its value from coming back: "already
    exists". One that a rolled-back service still has cannot be removed: it takes the place of its successor in the state. What
    the state does not have any more is left over (``recover``).
    """
    resources: list[dict[str, Any]] = list(recorded.get("resources") or [])
    waiting = [resource for resource in resources if resource["type"] == _SECRET and resource.get("delete")]
    if not waiting:
        return recorded
    services = swarm.services(label=f"skyvern.stack={stack.short}")
    used = {secret for service in services for secret in service.secrets}
    for old in waiting:
        if old["id"] in used:
            new = next((one for one in resources if one["urn"] == old["urn"] and not one.get("delete")), None)
            # While its service is updated, both are used.
            if new is None or new["id"] in used:
                continue
            # What depends on it is behind it.
            resources[resources.index(new)] = {**new, **{key: old[key] for key in ("id", "inputs", "outputs")}}
            progress(f"secret {old['outputs']['name']} is used again: the update that was to replace it failed")
        resources.remove(old)
    if all(old in resources for old in waiting):
        return recorded
    exported = json.loads(stack.pulumi("stack", "export"))
    exported["deployment"]["resources"] = resources
    stack.pulumi("stack", "import", stdin=json.dumps(exported).encode())
    return stack.state()


def refuse_foreign_before(stack: Stack, docker: Docker, url: str) -> None:
    """UserError for what belongs to another project or state, before there is an engine: in a file backend, which can be read.

    In any other, the engine looks as soon as it is there (``recover``).
    """
    recorded = checkpoint.read(url, stack.short)
    if recorded is not None:
        stack.refuse_foreign(recorded, url)
        refuse_other_engine(stack, docker, recorded)
        refuse_foreign(stack, docker, recorded, url)


def refuse_other_engine(stack: Stack, docker: Docker, recorded: Mapping[str, Any]) -> None:
    """UserError where the state has parts of the stack on a Swarm and the stack file plain Docker, or the other way round.

    Parts of the one look like leftovers to the other, and the stack would begin without its data. Once they have been destroyed,
    the engine is free to change.

    docker: as the stack file has it. recorded: of ``Stack.state``.
    """
    on_swarm = isinstance(docker, Swarm)
    kind = "docker:index/container:Container" if on_swarm else "docker:index/service:Service"
    names = [str((one.get("outputs") or {}).get("name")) for one in state.docker_resources(recorded) if one["type"] == kind]
    if not any(name.startswith(stack.prefix("")) for name in names):
        return
    there, here, back = ("on a Swarm, its data in a shared folder", "docker", "engine: swarm and shared_folder")
    if on_swarm:
        there, here, back = ("in containers, its data in volumes", "swarm", "engine: docker")
    raise UserError(
        f"stack {stack}: nothing was changed: it runs {there}, and with host.engine {here} of {stack.file_name} it would begin "
        f"without that; write {back} back (docs/cluster.md says what can be brought into a stack on another engine)"
    )


def refuse_foreign(stack: Stack, docker: Docker, recorded: Mapping[str, Any], url: str) -> None:
    """UserError when the daemon has a stack of this name that this state knows nothing of, volumes included.

    As after ``sudo script/up`` and then without sudo, or with a lost state. The volumes would be taken over, and PostgreSQL would
    refuse the new state's password (seen). A state that has the password knows them: after a restore from the kit, it has the
    secrets alone, and the volumes are filled before the first up.

    recorded: of ``Stack.state``; url: of the backend it was read from.
    """
    if recorded.get("pending_operations") or state.docker_resources(recorded) or state.has_secrets(recorded):
        return
    names: dict[str, list[str]] = {"container": [], "network": []}
    for item in state.disposable(docker, stack.short):
        names.setdefault(item.kind, []).append(item.name)
    names["volume"] = [volume.name for volume in inventory.volumes(docker, stack.short)]
    if not any(names.values()):
        return
    found = "; ".join(f"{kind}s {', '.join(sorted(some))}" for kind, some in names.items() if some)
    host = "" if docker.host == DEFAULT_SOCKET else f"--host {docker.host} "
    commands = []
    # In this order: a network with a container and a volume of one cannot be removed.
    for kind in ("container", "service", "secret", "network", "volume"):
        if some := names.get(kind):
            command = "rm --force" if kind == "container" else f"{kind} rm"
            commands.append(f"{'with all its data, ' if kind == 'volume' else ''}docker {host}{command} {' '.join(sorted(some))}")
    raise UserError(
        f"stack {stack}: on {docker.host} there are {found}, which another state made than this one ({url}), and nothing was "
        "changed; use the state that made them (the same user as then, as with sudo script/up, or PULUMI_BACKEND_URL), or remove "
        f"them: {'; '.join(commands)}"
    )


# Kind -> (what it is called, how the up is refused where it is there already, where it is deleted). A setting of the zone and the
# ingress rules are not here: the next up writes them again.
_AT_CLOUDFLARE: Mapping[str, tuple[str, str, str]] = {
    "ZeroTrustTunnelCloudflared": ("tunnel", "1013", "Zero Trust, Networks, Tunnels"),
    "DnsRecord": ("record", "81053", "DNS, Records"),
    "Ruleset": ("ruleset", "20217", "Security rules"),
    "ZeroTrustAccessApplication": ("application", "11010", "Zero Trust, Access, Applications"),
    "ZeroTrustAccessPolicy": ("policy", "", "Zero Trust, Access, Policies"),
    "NotificationPolicy": ("notification", "", "Notifications"),
}


def possibly_created_at_cloudflare(pending: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each object whose creation was sent to Cloudflare but whose answer was lost: it may exist without
    being in the state.

    Nothing is deleted or adopted from here: an object of that name may belong to someone else.
    """
    for operation in pending:
        resource = operation["resource"]
        # The type is before the name: urn:pulumi:STACK::PROJECT::PARENTS$TYPE::NAME.
        type_ = str(resource["urn"]).rsplit("::", 2)[-2].rpartition("$")[2]
        described = _AT_CLOUDFLARE.get(type_.rpartition(":")[2]) if type_.startswith("cloudflare:") else None
        if operation["type"] != "creating" or described is None:
            continue
        kind, code, place = described
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
