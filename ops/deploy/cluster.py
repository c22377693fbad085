"""``ops cluster``: a Docker Swarm over the machines of a stack file: init, join, status, drain, leave.

Never a resource of a stack, because its machines outlive any. Each command can be repeated: it does what is missing, and prints
it. Not here: what is wrong with a cluster (ops/observe/doctor/cluster_checks.py), and the services on it.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from ipaddress import IPv4Network
from typing import Annotated

import typer

from components import addresses
from components.settings import Settings
from components.settings.host import daemon_problem
from ops.clients import terminal
from ops.clients.docker import Docker
from ops.deploy import drain as drains
from ops.errors import UserError
from ops.machine import daemon_config
from ops.observe import cluster as clusters
from ops.observe.cluster import Cluster, Member, Node
from ops.observe.doctor import cluster_checks, exit_code
from ops.observe.doctor.findings import Finding
from ops.stack.option import DEV, StackOption
from ops.stack.stack import Stack

# Of networks that services make without a subnet, the Swarm's own ingress among them; Docker's default is all of 10.0.0.0/8.
POOL = "10.212.0.0/16"
JOIN_SECONDS = 60
# Services get their time to stop.
DRAIN_SECONDS = 600
POLL_SECONDS = 1.0
_STOPPED = ("Shutdown", "Complete", "Failed", "Rejected", "Remove", "Orphaned")

app = typer.Typer(no_args_is_help=True)
Nodes = Annotated[
    list[str] | None,
    typer.Argument(metavar="NODE", help="Daemons, as ssh://user@host; by default host.nodes of the stack file."),
]
OneNode = Annotated[str, typer.Argument(metavar="NODE", help="The machine's daemon, or its name or id in the Swarm.")]
Address = Annotated[
    str | None,
    typer.Option(help="Address at which the other machines reach this one, where it has several, or its interface."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before Docker is restarted, or services end.")]


# --- Commands ------------------------------------------------------------------------------------------------------------


@app.command("init")
def init(
    nodes: Nodes = None,
    stack: StackOption = DEV,
    address: Address = None,
    pool: Annotated[str, typer.Option(help="Private range for networks of services without a subnet.")] = POOL,
    yes: Yes = False,
) -> None:
    """Make a Swarm on the stack's Docker host, and let the other machines join. Docker is restarted where it lacks a flag."""
    settings = stack.settings()
    refuse_pool(pool, settings)
    hosts = [settings.host.docker_host, *(named(nodes) or settings.host.nodes)]
    cluster = clusters.observe(hosts)
    first, *others = cluster.nodes
    taken = next((node for node in others if node.state == "active"), None)
    if taken is not None and first.state == "inactive":
        cure = f"bin/ops cluster join {first.host} -s {stack} lets {first.host} join that one"
        raise UserError(f"{taken.host}: is in a Swarm already, and this would be a second one; {cure}")
    _refuse(cluster_checks.unlike(cluster.nodes, stack))
    prepare(cluster.nodes, yes=yes, say=typer.echo)
    if first.state == "inactive":
        advertise = ["--advertise-addr", address] if address else []
        _swarm(Docker(first.host), "init", "--default-addr-pool", pool, "--default-addr-pool-mask-length", "24", *advertise)
        typer.echo(f"{first.host}: made a Swarm, and manages it")
    let_join(hosts, say=typer.echo)
    settle(hosts, say=typer.echo)
    show(stack, hosts)


@app.command("join")
def join(nodes: Nodes = None, stack: StackOption = DEV, address: Address = None, yes: Yes = False) -> None:
    """Let machines join the Swarm of the stack's Docker host. Docker is restarted where it lacks a flag."""
    settings = stack.settings()
    joining = named(nodes) or settings.host.nodes
    if not joining:
        raise UserError(f"ops cluster join: name a machine, or write host.nodes into {stack.file_name}")
    if address and len(joining) > 1:
        raise UserError("ops cluster join: --address is of one machine; join the machines one by one")
    hosts = list(dict.fromkeys([*hosts_of(settings), *joining]))
    cluster = clusters.observe(hosts)
    if cluster.manager is None:
        raise UserError(f"ops cluster join: no machine of {stack.file_name} manages a Swarm; run bin/ops cluster init -s {stack}")
    _refuse(finding for finding in cluster_checks.unlike(cluster.nodes, stack) if finding.subject in joining)
    prepare([node for node in cluster.nodes if node.host in joining], yes=yes, say=typer.echo)
    let_join(hosts, only=joining, address=address, say=typer.echo)
    settle(hosts, say=typer.echo)
    for host in joining:
        if host not in hosts_of(settings):
            typer.echo(f"write {host} into host.nodes of {stack.file_name}, so that ops doctor looks at it")
    show(stack, hosts)


@app.command("status")
def status(
    stack: StackOption = DEV, as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False
) -> None:
    """Show the machines of the Swarm, and what is wrong with them. Changes nothing; exit 1 on errors."""
    cluster = clusters.observe(hosts_of(stack.settings()))
    findings = cluster_checks.problems(cluster, stack)
    if as_json:
        members = None if cluster.members is None else [asdict(member) for member in cluster.members]
        nodes = [{**asdict(node), "hardened": node.hardened} for node in cluster.nodes]
        document = {"nodes": nodes, "members": members, "findings": [asdict(finding) for finding in findings]}
        typer.echo(json.dumps(document, indent=2))
    else:
        typer.echo(render(cluster, findings))
    raise typer.Exit(exit_code(findings))


@app.command("drain")
def drain(
    node: OneNode,
    stack: StackOption = DEV,
    undo: Annotated[bool, typer.Option("--undo", help="Let services run there again.")] = False,
) -> None:
    """Move the services of a machine to the others, for maintenance, and wait until it has none."""
    cluster = clusters.observe(hosts_of(stack.settings()))
    manager, member = managing(cluster, stack), find(cluster, node)
    if undo:
        manager.run("node", "update", "--availability", "active", member.id)
        typer.echo(f"{member.name}: takes services again; those that run elsewhere stay there until they are updated")
        return
    _refuse_to_empty("drain", cluster, member)
    empty(manager, member, say=typer.echo, stop_seconds=drains.stop_seconds(stack))
    there = cluster.node(member)
    if there is not None and (rest := len(Docker(there.host).run("ps", "--quiet").split())):
        typer.echo(f"{member.name}: {rest} containers of no service stay there")


@app.command("leave")
def leave(
    node: OneNode,
    stack: StackOption = DEV,
    gone: Annotated[bool, typer.Option("--gone", help="The machine does not answer and will not come back.")] = False,
    yes: Yes = False,
) -> None:
    """Take a machine out of the Swarm: its services move first. The last one ends the Swarm."""
    settings = stack.settings()
    cluster = clusters.observe(list(dict.fromkeys([*hosts_of(settings), *named([node] if "://" in node else None)])))
    manager, member = managing(cluster, stack), find(cluster, node)
    there = cluster.node(member)
    others = [other for other in cluster.members or () if other.id != member.id]
    if gone and there is not None:
        raise UserError(f"ops cluster leave: {there.host} answers; leave out --gone")
    if not gone and there is None:
        raise UserError(
            f"ops cluster leave: {member.name} ({member.address}) does not answer, or is not in {stack.file_name}; name its "
            "daemon, or add --gone if the machine will not come back"
        )
    if there is not None and not others:
        _end(there, stack, yes=yes)
        return
    if not gone:
        _refuse_to_empty("leave", cluster, member)
    # Who stays decides from now on.
    manager = _promoted_before(cluster, member, manager)
    if not gone:
        empty(manager, member, say=typer.echo, stop_seconds=drains.stop_seconds(stack))
    if member.manager:
        manager.run("node", "demote", member.id)
        typer.echo(f"{member.name}: manages no longer")
    if there is not None:
        _left(there)
    _wait(lambda: not _is_ready(manager, member), f"{member.name} is still called ready", JOIN_SECONDS)
    manager.run("node", "rm", *(["--force"] if gone else []), member.id)
    rest = "" if gone else "; its Docker keeps the seccomp profile and no-new-privileges"
    typer.echo(f"{member.name} ({member.address}): is out of the Swarm{rest}")
    hosts = [other.host for other in cluster.nodes if other is not there]
    settle(hosts, say=typer.echo)


# --- Steps ---------------------------------------------------------------------------------------------------------------


def named(nodes: Sequence[str] | None) -> list[str]:
    """The machines of an argument, each once; UserError for what is not a daemon's address."""
    for node in nodes or ():
        if problem := daemon_problem(node):
            raise UserError(f"ops cluster: {node} {problem}")
    return list(dict.fromkeys(nodes or ()))


def hosts_of(settings: Settings) -> list[str]:
    """The machines of a stack file, the stack's own first."""
    return [settings.host.docker_host, *settings.host.nodes]


def refuse_pool(pool: str, settings: Settings) -> None:
    """UserError for a range that is not private, or has the stack's own addresses."""
    network = addresses.network(pool)
    if not isinstance(network, IPv4Network) or network.prefixlen > 24 or not network.is_private:
        raise UserError(f"ops cluster init: --pool {pool} is not a private IPv4 range; write one such as {POOL}")
    if network.overlaps(IPv4Network(settings.host.networks)):
        raise UserError(f"ops cluster init: --pool {pool} overlaps host.networks, {settings.host.networks}; write another")


def prepare(nodes: Sequence[Node], *, yes: bool, say: Callable[[str], None]) -> None:
    """Gives the daemons the flags that services need; UserError with a line for each that cannot be in a Swarm.

    Asks before Docker is restarted where containers run.
    """
    _refuse(finding for node in nodes for finding in cluster_checks.unfit(node))
    soft = [node for node in nodes if not node.hardened]
    busy = [node for node in soft if node.containers]
    if busy and not yes:
        stops = ", ".join(f"{node.containers} at {node.host}" for node in busy)
        terminal.need_answer("ops cluster", yes=yes, about=f"restarting Docker stops containers for a moment ({stops})")
        if not terminal.confirm(f"Docker is restarted, and containers stop for a moment: {stops}. Go on?"):
            raise UserError("ops cluster: not confirmed, and nothing is changed")
    failures = []
    for node in soft:
        try:
            daemon_config.harden(node.host, say)
        except UserError as failed:
            failures.append(str(failed))
    if failures:
        raise UserError("\n".join(failures))


def let_join(
    hosts: Sequence[str], *, only: Sequence[str] | None = None, address: str | None = None, say: Callable[[str], None]
) -> None:
    """Lets those join that are in no Swarm. only: these alone; by default all. As workers: ``settle`` says who manages.

    The token that lets a machine join is in the list of processes here for a moment, so it is replaced at the end.
    """
    cluster = clusters.observe(hosts)
    manager = cluster.manager
    if manager is None:
        raise UserError("ops cluster: no machine manages the Swarm, or the managers do not answer; see ops cluster status")
    joining = [node for node in cluster.nodes if node.state == "inactive" and (only is None or node.host in only)]
    _refuse_strangers(cluster)
    if not joining:
        return
    try:
        token = manager.run("swarm", "join-token", "--quiet", "worker").strip()
        remote = _address_of(manager)
        for node in joining:
            advertise = ["--advertise-addr", address] if address else []
            try:
                _swarm(Docker(node.host), "join", "--token", token, *advertise, remote)
            except UserError:
                # After a timeout, Docker goes on trying for ever, and refuses a second attempt meanwhile. What was refused at
                # once it has forgotten, and so it refuses this, too.
                with suppress(UserError):
                    Docker(node.host).run("swarm", "leave", "--force")
                raise
            say(f"{node.host}: joined")
    finally:
        manager.run("swarm", "join-token", "--rotate", "--quiet", "worker")


def settle(hosts: Sequence[str], *, say: Callable[[str], None]) -> None:
    """As many managers as there should be: the first machines of the stack file that are ready."""
    cluster = clusters.observe(hosts)
    manager, members = cluster.manager, cluster.members
    if manager is None or members is None:
        return
    managing_now = [member for member in members if member.manager]
    surplus = len(managing_now) - cluster_checks.wanted_managers(len(members), len(managing_now))
    order = [cluster.member(node) for node in cluster.nodes]
    ready = [member for member in order if member is not None and member.ready and member.availability == "active"]
    for member in [member for member in ready if not member.manager][: max(0, -surplus)]:
        manager.run("node", "promote", member.id)
        _wait(partial(_reachable, manager, member.id), f"{member.address} is not reachable as a manager", JOIN_SECONDS)
        say(f"{member.name} ({member.address}): manages, too")
    asked = next(node for node in cluster.nodes if node.host == manager.host)
    # One that is off first: it takes part in no decision.
    last_first = sorted((member for member in managing_now if member.id != asked.id), key=lambda member: member.ready)
    for member in last_first[: max(0, surplus)]:
        manager.run("node", "demote", member.id)
        say(f"{member.name} ({member.address}): manages no longer")


def _refuse_to_empty(command: str, cluster: Cluster, member: Member) -> None:
    """UserError where the services of a machine would be nowhere, because no other one takes any."""
    if not any(other.id != member.id and other.ready and other.availability == "active" for other in cluster.members or ()):
        raise UserError(
            f"ops cluster {command}: no other machine takes services, so those of {member.name} would be down; start another, "
            "or let a drained one take them again (ops cluster drain NODE --undo)"
        )


def empty(manager: Docker, member: Member, *, say: Callable[[str], None], stop_seconds: float = 0) -> None:
    """Gives a machine no services any more, and waits until those that it has are elsewhere; UserError if that takes too long.

    stop_seconds: what the slowest of them has to end.
    """
    manager.run("node", "update", "--availability", "drain", member.id)

    def stopped() -> bool:
        states = manager.run("node", "ps", "--format", "{{.CurrentState}}", member.id).splitlines()
        return all(state.startswith(_STOPPED) for state in states)

    see = f"see docker --host {manager.host} node ps {member.id}"
    _wait(stopped, f"services still run on {member.name}; {see}", max(DRAIN_SECONDS, stop_seconds))
    say(f"{member.name} ({member.address}): has no services any more")


def managing(cluster: Cluster, stack: Stack) -> Docker:
    """The daemon of a manager; UserError where none answers."""
    if cluster.manager is None or cluster.members is None:
        why = f" ({cluster.problem})" if cluster.problem else ""
        raise UserError(f"ops cluster: no manager of a Swarm answers{why}; see bin/ops cluster status -s {stack}")
    return cluster.manager


def find(cluster: Cluster, asked: str) -> Member:
    """The member that a person means by its daemon, name, address or id; UserError for none and for several."""
    members = cluster.members or ()
    node = next((node for node in cluster.nodes if node.host == asked), None)
    by_daemon = cluster.member(node) if node else None
    if by_daemon is not None:
        return by_daemon
    fitting = [member for member in members if asked in (member.id, member.name, member.address)]
    if len(fitting) == 1:
        return fitting[0]
    known = ", ".join(f"{member.name} ({member.address}, {member.id})" for member in members)
    problem = "is several machines" if fitting else "does not answer" if node and node.problem else "is not in the Swarm"
    raise UserError(f"ops cluster: {asked} {problem}; write the id of one of {known}")


def show(stack: Stack, hosts: Sequence[str]) -> None:
    """The cluster after a change; ends with 1 if something is wrong with it."""
    cluster = clusters.observe(hosts)
    findings = cluster_checks.problems(cluster, stack)
    typer.echo(render(cluster, findings))
    if exit_code(findings):
        raise typer.Exit(1)


def render(cluster: Cluster, findings: Sequence[Finding]) -> str:
    """A table of the machines, and a line for each fault."""
    rows = [_row(node, cluster.member(node)) for node in cluster.nodes]
    unseen = [member for member in cluster.members or () if cluster.node(member) is None]
    rows += [("-", member.name, member.address, *_role(member), member.version, "-") for member in unseen]
    lines = [terminal.table(("daemon", "name", "address", "role", "state", "Docker", "hardened"), rows)]
    if findings:
        return "\n".join([*lines, "", *(f"{f.level}: {f.subject}: {f.problem}; {f.fix}" for f in findings)])
    return "\n".join([*lines, "", "nothing is wrong"])


def _row(node: Node, member: Member | None) -> tuple[str, ...]:
    if node.problem:
        return (node.host, "-", "-", "-", "no answer", "-", "-")
    role = ("-", node.state) if member is None else _role(member)
    return (node.host, node.name, member.address if member else "-", *role, node.version, "yes" if node.hardened else "no")


def _role(member: Member) -> tuple[str, str]:
    role = "leader" if member.leader else "manager" if member.manager else "worker"
    return role, "down" if not member.ready else "ready" if member.availability == "active" else member.availability


def _refuse(findings: Iterable[Finding]) -> None:
    lines = [f"{finding.subject}: {finding.problem}; {finding.fix}" for finding in findings]
    if lines:
        raise UserError("\n".join(lines))


def _refuse_strangers(cluster: Cluster) -> None:
    strangers = [node for node in cluster.nodes if node.state == "active" and cluster.member(node) is None]
    if cluster.members is not None and strangers:
        cure = "docker swarm leave --force there, then go on"
        raise UserError("\n".join(f"{node.host}: is in another Swarm; {cure}" for node in strangers))


def _swarm(docker: Docker, *arguments: str) -> None:
    """``docker swarm``; UserError with the cure of what goes wrong most."""
    try:
        docker.run("swarm", *arguments, timeout_seconds=JOIN_SECONDS)
    except UserError as failed:
        line = failed.line
        if "could not choose an IP address" in line:
            cure = "add --address, the one at which the other machines reach this one"
        elif any(words in line for words in ("Timeout was reached", "connection refused", "no route to host", "Unavailable")):
            cure = f"open {cluster_checks.PORTS} between the machines, and compare their clocks"
        else:
            cure = "see bin/ops cluster status"
        raise UserError(f"{docker.host}: {line}; {cure}") from failed


def _address_of(manager: Docker) -> str:
    """Where a machine joins."""
    return manager.run("node", "inspect", "self", "--format", "{{.ManagerStatus.Addr}}").strip()


def _promoted_before(cluster: Cluster, leaving: Member, manager: Docker) -> Docker:
    """A manager that stays: another one, promoted if there is none."""
    members = cluster.members or ()
    staying = [(node, member) for node in cluster.nodes if (member := cluster.member(node)) and member.id != leaving.id]
    ready = [(node, member) for node, member in staying if member.ready]
    if not ready:
        raise UserError(
            "ops cluster leave: no other machine is ready, so the Swarm would have no manager; see ops cluster status"
        )
    for node, member in ready:
        if member.manager and member.reachability == "reachable":
            return Docker(node.host)
    if sum(member.manager for member in members) == 1 and leaving.manager:
        node, member = ready[0]
        manager.run("node", "promote", member.id)
        _wait(lambda: clusters.observe_node(node.host).manager, f"{node.host} does not manage", JOIN_SECONDS)
        return Docker(node.host)
    return manager


def _end(last: Node, stack: Stack, *, yes: bool) -> None:
    services = Docker(last.host).run("service", "ls", "--quiet").split()
    if services:
        about = f"services end with the Swarm ({len(services)})"
        terminal.need_answer("ops cluster leave", yes=yes, about=about)
        if not yes and not terminal.confirm(f"{about}, and so do its secrets. Go on?"):
            raise UserError("ops cluster leave: not confirmed, and nothing is changed")
    Docker(last.host).run("swarm", "leave", "--force")
    typer.echo(f"{last.host}: was the last, so the Swarm of stack {stack} is no more")


def _left(there: Node) -> None:
    docker = Docker(there.host)
    # A manager that was demoted knows it a moment later, and refuses until then.
    _wait(lambda: not clusters.observe_node(there.host).manager, f"{there.host} still manages", JOIN_SECONDS)
    docker.run("swarm", "leave")


def _reachable(manager: Docker, id_: str) -> bool:
    # Called unreachable for the first moments (seen with 20.10).
    state = manager.run("node", "inspect", id_, "--format", "{{if .ManagerStatus}}{{.ManagerStatus.Reachability}}{{end}}")
    return state.strip() == "reachable"


def _is_ready(manager: Docker, member: Member) -> bool:
    state = manager.run("node", "inspect", member.id, "--format", "{{.Status.State}}")
    return state.strip() == "ready"


def _wait(done: Callable[[], bool], problem: str, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise UserError(f"ops cluster: after {seconds:.0f} s, {problem}")
        time.sleep(POLL_SECONDS)
