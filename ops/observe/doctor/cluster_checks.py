"""The machines of a Docker Swarm: what is wrong with them, a line each with its cure. Pure.

``ops cluster`` prints the same lines as ``ops doctor``.
"""

from collections.abc import Iterator, Sequence

from ops.machine import daemon_config, system
from ops.observe.cluster import Cluster, Member, Node
from ops.observe.doctor.findings import Finding, error, warning
from ops.observe.doctor.machine_checks import OLDEST_DOCKER, SKEW_SECONDS
from ops.observe.doctor.observation import Observation
from ops.stack.stack import Stack

PORTS = "2377/tcp, 7946/tcp, 7946/udp and 4789/udp"


def check_cluster(observation: Observation) -> Iterator[Finding]:
    """The machines of host.nodes are one Swarm, hardened and ready."""
    if observation.cluster is not None:
        yield from problems(observation.cluster, observation.stack)


def problems(cluster: Cluster, stack: Stack) -> list[Finding]:
    """All faults: of each machine, then of the Swarm as a whole."""
    found = [finding for node in cluster.nodes for finding in (*unfit(node), *_unhardened(node, stack))]
    return [*found, *unlike(cluster.nodes, stack), *_places(cluster, stack), *_whole(cluster, stack)]


def unfit(node: Node) -> Iterator[Finding]:
    """What keeps a machine out of any Swarm, and this program does not change."""
    if node.problem:
        yield _error(node, f"does not answer: {node.problem}", "start Docker there, or correct its address")
        return
    if (system.parse_version(node.version) or OLDEST_DOCKER) < OLDEST_DOCKER:
        wanted = ".".join(f"{number:02d}" for number in OLDEST_DOCKER)
        yield _error(node, f"has Docker {node.version}, and a node needs {wanted}", "install a current Docker Engine there")
    if node.rootless:
        yield _error(node, "is a rootless daemon, without networks between machines", "name the daemon that runs as root there")
    if node.desktop:
        fix = "install Docker Engine there, in WSL as in docs/windows.md"
        yield _error(node, "is Docker Desktop, whose machines do not reach each other", fix)
    if node.live_restore:
        fix = "remove it from Docker's daemon.json there, and restart Docker"
        yield _error(node, 'has "live-restore": true, with which Docker refuses a Swarm', fix)
    if node.state == "locked":
        yield _error(node, "waits for the key of its Swarm", f"docker --host {node.host} swarm unlock")
    if node.state in {"pending", "error"}:
        why = f": {node.error}" if node.error else ""
        fix = f"open {PORTS} between the machines; then docker --host {node.host} swarm leave --force, and join again"
        yield _error(node, f"does not reach the managers of its Swarm{why}", fix)


def unlike(nodes: Sequence[Node], stack: Stack) -> Iterator[Finding]:
    """The machines on which no image would run that was made for the first one."""
    known = [node for node in nodes if node.processor]
    for node in known:
        if node.processor != known[0].processor:
            problem = (
                f"is {node.processor}, and {known[0].host} is {known[0].processor}: the images of a stack are made for one "
                "processor, and copied to all"
            )
            leave = f"bin/ops cluster leave {node.host} -s {stack}; then " if node.state == "active" else ""
            yield _error(node, problem, f"{leave}write a machine with {known[0].processor} in its place")


def _unhardened(node: Node, stack: Stack) -> Iterator[Finding]:
    if node.problem:
        return
    if not node.seccomp.endswith(f"/{daemon_config.profile_name()}"):
        shown = node.seccomp or "none"
        yield _error(node, f"services get its seccomp profile, {shown}, and not the stack's", f"bin/ops cluster init -s {stack}")
    if not node.no_new_privileges:
        yield _error(node, "services there may gain privileges by setuid", f"bin/ops cluster init -s {stack}")


def _places(cluster: Cluster, stack: Stack) -> Iterator[Finding]:
    """Each machine is in this Swarm, and ready."""
    for node in cluster.nodes:
        if node.state == "inactive" and not node.problem:
            command = "init" if cluster.members is None else f"join {node.host}"
            yield _error(node, "is not in the Swarm", f"bin/ops cluster {command} -s {stack}")
        if node.state == "active" and cluster.members is not None and cluster.member(node) is None:
            fix = f"docker --host {node.host} swarm leave --force; then bin/ops cluster join {node.host}"
            yield _error(node, "is in another Swarm", f"{fix} -s {stack}")
    # A machine that does not say who it is may be any member that no one seems to have named.
    all_known = not any(node.problem or node.state in {"locked", "pending", "error"} for node in cluster.nodes)
    for member in cluster.members or ():
        subject = _subject(cluster, member)
        if not member.ready or member.reachability == "unreachable":
            fix = f"start Docker there, or bin/ops cluster leave {member.id} --gone -s {stack}"
            yield error("cluster", subject, "is down", fix)
        elif all_known and cluster.node(member) is None:
            fix = f"write its daemon into host.nodes of {stack.file_name}"
            yield warning("cluster", subject, "is in the Swarm, and not in the stack file", fix)
        if member.availability != "active":
            fix = f"bin/ops cluster drain {member.id} --undo -s {stack}"
            yield warning("cluster", subject, f"takes no services (it is set to {member.availability})", fix)


def _whole(cluster: Cluster, stack: Stack) -> Iterator[Finding]:
    if cluster.problem:
        yield error(
            "cluster",
            "managers",
            f"cannot decide: {cluster.problem}",
            "start Docker on the managers that are off; docs/cluster.md has what to do without them",
        )
    answering = [node for node in cluster.nodes if not node.problem]
    if cluster.members is None and not cluster.problem and any(node.state == "active" for node in answering):
        fix = f"start Docker on those that do, or write their daemons into host.nodes of {stack.file_name}"
        yield error("cluster", "managers", "none of the machines that answer manages the Swarm", fix)
    if apart := clocks_apart(cluster):
        ahead, behind = apart
        problem = f"its clock is {ahead.skew_seconds - behind.skew_seconds:.0f} s ahead of that of {behind.host}"
        one, other = (f"sudo {system.set_clock(wsl=node.wsl)}" for node in apart)
        fix = f"{one}, on both" if one == other else f"{one} there, and {other} at {behind.host}"
        yield error("cluster", ahead.host, problem, fix)
    members = cluster.members
    if not members:
        return
    managers = sum(member.manager for member in members)
    if managers != wanted_managers(len(members), managers):
        problem = f"{managers} of {len(members)} machines manage: with one of them down, nothing can be changed"
        yield warning("cluster", "managers", problem, f"bin/ops cluster init -s {stack}")
    versions = sorted({member.version for member in members})
    if len(versions) > 1:
        fix = "install the newest on all, one machine after the other (bin/ops cluster drain)"
        yield warning("cluster", "Docker", f"the machines have different versions: {', '.join(versions)}", fix)


def clocks_apart(cluster: Cluster) -> tuple[Node, Node] | None:
    """The machine whose clock is furthest ahead and the one furthest behind; None where all clocks agree.

    Which of the two is right is not known here.
    """
    answering = sorted((node for node in cluster.nodes if not node.problem), key=lambda node: node.skew_seconds)
    if not answering or answering[-1].skew_seconds - answering[0].skew_seconds <= SKEW_SECONDS:
        return None
    return answering[-1], answering[0]


def wanted_managers(members: int, managers: int) -> int:
    """One, or an odd number from three on: two fail if either does, which is worse than one."""
    if members < 3:
        return 1
    return managers if managers >= 3 and managers % 2 else 3


def _subject(cluster: Cluster, member: Member) -> str:
    node = cluster.node(member)
    return node.host if node is not None else f"{member.name} ({member.address})"


def _error(node: Node, problem: str, fix: str) -> Finding:
    return error("cluster", node.host, problem, fix)
