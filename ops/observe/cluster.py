"""The machines of a Docker Swarm, as their daemons and the Swarm's managers describe them. Changes nothing.

Not here: what is wrong with them (ops/observe/doctor/cluster_checks.py).
"""

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ops.clients import process
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.images.needs import PROCESSORS
from ops.machine import daemon_config, system
from ops.stack.inventory import parse_time

# To the first answer of a daemon, by SSH as well.
ANSWER_SECONDS = 20
AT_ONCE = 8
# From this version on, docker info shows no-new-privileges (daemon/info.go).
SHOWS_PRIVILEGES = (24,)


@dataclass(frozen=True, kw_only=True)
class Node:
    """A machine by its daemon.

    problem: why the daemon does not answer, in one line; then only ``host`` is known. seccomp: path of the profile of what runs
    there, or the name of Docker's own. skew_seconds: its clock minus ours. containers: that run, also those of no service.
    processor: as Docker names it for images, such as amd64, "" if it does not say. wsl: it is in WSL. state: of its membership,
    as Docker has it: inactive, pending, active, error or locked; error: Docker's reason.
    """

    host: str
    problem: str = ""
    name: str = ""
    version: str = ""
    processor: str = ""
    wsl: bool = False
    desktop: bool = False
    rootless: bool = False
    live_restore: bool = False
    seccomp: str = ""
    no_new_privileges: bool = False
    containers: int = 0
    skew_seconds: float = 0.0
    state: str = "inactive"
    error: str = ""
    id: str = ""
    manager: bool = False

    @property
    def hardened(self) -> bool:
        """Whether services there have the profile and no way to new privileges."""
        return self.seccomp.endswith(f"/{daemon_config.profile_name()}") and self.no_new_privileges


@dataclass(frozen=True, kw_only=True)
class Member:
    """A machine as the Swarm's managers know it. reachability: of a manager, "" of a worker."""

    id: str
    name: str
    address: str
    manager: bool
    leader: bool
    ready: bool
    availability: str
    reachability: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The machines that the stack file or a person names, the first of them first.

    members: None where no manager answers; problem: then why.
    """

    nodes: Sequence[Node]
    members: Sequence[Member] | None = None
    problem: str = ""

    def member(self, node: Node) -> Member | None:
        """A machine as the managers know it."""
        return next((member for member in self.members or () if node.id and member.id == node.id), None)

    def node(self, member: Member) -> Node | None:
        """A member's machine; None if no one has named it, or if it does not answer."""
        return next((node for node in self.nodes if node.id == member.id), None)

    @property
    def manager(self) -> Docker | None:
        """The daemon that is asked about the whole: the first that manages, and is not cut off from the other managers."""
        managers = [node for node in self.nodes if node.state == "active" and node.manager]
        return next((Docker(node.host) for node in sorted(managers, key=lambda node: bool(node.error))), None)


def observe(hosts: Sequence[str]) -> Cluster:
    """All machines at one moment, side by side; a fault is never raised."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        nodes = list(pool.map(observe_node, hosts))
    cluster = Cluster(nodes=nodes)
    if cluster.manager is None:
        return cluster
    try:
        return Cluster(nodes=nodes, members=list_members(cluster.manager))
    except UserError as failed:
        return Cluster(nodes=nodes, problem=failed.line)


def observe_node(host: str) -> Node:
    """A machine by the daemon at ``host``."""
    before = time.time()
    try:
        printed = Docker(host).run("info", "--format", "{{json .}}", timeout_seconds=ANSWER_SECONDS)
        now = datetime.fromtimestamp((before + time.time()) / 2, UTC)
        node = parse_node(host, printed, now)
    except UserError as failed:
        return Node(host=host, problem=failed.line)
    if node.no_new_privileges or (system.parse_version(node.version) or (0,)) >= SHOWS_PRIVILEGES:
        return node
    with contextlib.suppress(UserError):
        return replace(node, no_new_privileges=daemon_config.read(host).get("no-new-privileges") is True)
    return node


@process.reads("docker")
def parse_node(host: str, printed: str, now: datetime) -> Node:
    """A machine from ``docker info`` of the time ``now``; UserError for the answer of a client whose daemon is silent."""
    document: dict[str, Any] = json.loads(printed)
    if document.get("ServerErrors"):
        raise UserError(str(document["ServerErrors"][0]))
    options = [dict(part.partition("=")[::2] for part in option.split(",")) for option in document["SecurityOptions"] or []]
    names = {option["name"] for option in options}
    swarm = document["Swarm"]
    at = parse_time(document.get("SystemTime", ""))
    machine = document.get("Architecture", "")
    return Node(
        host=host,
        name=document["Name"],
        version=document["ServerVersion"],
        processor=PROCESSORS.get(machine, machine),
        wsl=system.wsl_version(document.get("KernelVersion", "")) > 0,
        desktop=document["OperatingSystem"] == "Docker Desktop",
        rootless="rootless" in names,
        live_restore=bool(document["LiveRestoreEnabled"]),
        seccomp=next((option.get("profile", "") for option in options if option["name"] == "seccomp"), ""),
        no_new_privileges="no-new-privileges" in names,
        containers=document["ContainersRunning"],
        skew_seconds=(at - now).total_seconds() if at else 0.0,
        state=swarm["LocalNodeState"],
        error=swarm["Error"],
        id=swarm["NodeID"],
        manager=swarm["ControlAvailable"],
    )


def list_members(manager: Docker) -> list[Member]:
    """All machines of the Swarm, by name; UserError if its managers have lost their majority."""
    ids = manager.run("node", "ls", "--quiet", timeout_seconds=ANSWER_SECONDS).split()
    return parse_members(manager.run("node", "inspect", *ids, timeout_seconds=ANSWER_SECONDS))


def _address(document: Mapping[str, Any]) -> str:
    # A manager that is alone has 0.0.0.0 as the address of its machine (seen with 20.10).
    manages: str = (document.get("ManagerStatus") or {}).get("Addr", "")
    return manages.rpartition(":")[0] or document["Status"]["Addr"]


@process.reads("docker")
def parse_members(printed: str) -> list[Member]:
    """From ``docker node inspect``."""
    members = [
        Member(
            id=document["ID"],
            name=document["Description"]["Hostname"],
            address=_address(document),
            manager=document["Spec"]["Role"] == "manager",
            leader=bool((document.get("ManagerStatus") or {}).get("Leader")),
            ready=document["Status"]["State"] == "ready",
            availability=document["Spec"]["Availability"],
            reachability=(document.get("ManagerStatus") or {}).get("Reachability", ""),
            version=document["Description"]["Engine"]["EngineVersion"],
        )
        for document in json.loads(printed)
    ]
    return sorted(members, key=lambda member: (member.name, member.address))
