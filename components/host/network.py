"""The stack's networks: each joins the two or three services that must talk, and no more.

Their subnets are fixed by the stack file. Chosen by Docker, each is a /16 or a /20, so two stacks use up its pools, and one of
them may lie on the LAN (docs/decisions/networks.md).
"""

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Network

import pulumi
import pulumi_docker as docker

from components.host.labels import stack_labels

# A network's place in its stack's block: a new one goes to the end, because another place replaces a network. Two are Ollama's.
PARTS = (
    "edge",
    "tunnel",
    "app",
    "files",
    "data",
    "browsing",
    "smoke",
    "outgoing",
    "llm",
    "models",
    "backup",
    "dashboard",
    "alerts",
    "database",
    "retention",
)
# Of a stack's block, as a prefix, and how many bits more a network of it has.
BLOCK_BITS = 23
NETWORK_BITS = 4


def block(networks: str, prefix: str) -> IPv4Network:
    """The part of the range ``host.networks`` that a stack's networks take.

    prefix: of the stack, ``skyvern-dev``. Chosen by a hash of it, because a plan knows no other stack of the host: two stacks may
    get the same block, once in 128 with the default, which is seen before the up (ops/stack/routes.py).
    """
    whole = IPv4Network(networks)
    if whole.prefixlen >= BLOCK_BITS:
        return whole
    count = 2 ** (BLOCK_BITS - whole.prefixlen)
    number = int.from_bytes(hashlib.sha256(prefix.encode()).digest()[:4]) % count
    return IPv4Network((int(whole.network_address) + number * 2 ** (32 - BLOCK_BITS), BLOCK_BITS))


def subnets(networks: str, prefix: str) -> dict[str, IPv4Network]:
    """Part -> subnet, also of parts that the stack does not have."""
    return dict(zip(PARTS, block(networks, prefix).subnets(prefixlen_diff=NETWORK_BITS), strict=False))


@dataclass(frozen=True, kw_only=True)
class Addressing:
    """What the networks of a stack have in common.

    prefix: physical prefix of the stack, ``skyvern-dev``. networks: the range ``host.networks``. mtu: None for Docker's own.
    overlay: they join the machines of a Swarm. encrypted: what these send each other there.
    """

    prefix: str
    networks: str
    mtu: int | None
    overlay: bool = False
    encrypted: bool = False


@dataclass(frozen=True, kw_only=True)
class NetworksArgs:
    """tunnelled: a connector leads to the gateway, no published port. backup: backups go to another machine.

    monitor: the stack has one. alerts: it sends messages or pings. database_elsewhere: PostgreSQL is not in the stack.
    retention: it needs a network, as a service of a Swarm does.
    """

    addressing: Addressing
    tunnelled: bool
    backup: bool = False
    monitor: bool = False
    alerts: bool = False
    database_elsewhere: bool = False
    retention: bool = False


def bridge(
    name: str,
    addressing: Addressing,
    part: str,
    parent: pulumi.Resource,
    *,
    internal: bool = True,
    masquerade: bool = True,
    after: pulumi.Resource | None = None,
) -> docker.Network:
    """A new network: a bridge, or an overlay of a Swarm.

    internal: without egress; masquerade: how a bridge that is not internal gets its egress.

    after: is replaced first, if both are, and the containers that are on both go with it. Side by side, this one could not be
    removed while such a container still stops: the provider waits for 30 s, a server that drains takes minutes.
    """
    prefix, subnet = addressing.prefix, subnets(addressing.networks, addressing.prefix)[part]
    options = {} if masquerade else {"com.docker.network.bridge.enable_ip_masquerade": "false"}
    if addressing.mtu is not None:
        options["com.docker.network.driver.mtu"] = str(addressing.mtu)
    labels = stack_labels(prefix, part)
    if addressing.encrypted:
        options["encrypted"] = "true"
    if addressing.overlay and options:
        # What is asked for, where the options themselves are not compared: another text makes another network.
        labels["skyvern.options"] = " ".join(f"{key}={value}" for key, value in sorted(options.items()))
    return docker.Network(
        name,
        name=f"{prefix}-{part}",
        driver="overlay" if addressing.overlay else "bridge",
        internal=internal,
        ipv6=False,
        attachable=False,
        options=options,
        # With the gateway that Docker would choose: left out, it is in the state and not in the program, which is a difference.
        ipam_configs=[docker.NetworkIpamConfigArgs(subnet=str(subnet), gateway=str(subnet[1]))],
        labels=[docker.NetworkLabelArgs(label=label, value=value) for label, value in sorted(labels.items())],
        opts=pulumi.ResourceOptions(
            parent=parent,
            delete_before_replace=True,
            depends_on=[] if after is None else [after],
            # A Swarm adds the number of the network, and a refresh would plan to replace it for that.
            ignore_changes=["options"] if addressing.overlay else None,
        ),
    )


class Networks(pulumi.ComponentResource):
    """Networks of the stack, each named for what travels on it.

    edge: ingress, to the gateway. With a published port it is not internal, because Docker publishes none on internal networks,
    but without masquerading, so nothing on it reaches the internet.
    tunnel: the connector, if any, to the internet. It has its own egress network: a container on the same one would be reachable
    from the tunnel.
    app: gateway to Skyvern. files: gateway to the recordings. data: Skyvern to PostgreSQL. browsing: Skyvern's browser to the
    egress proxy. smoke: egress proxy to the smoke run's pages. All five are internal.
    outgoing: the egress proxy, and Skyvern for its calls to LLMs and webhooks, to the internet.
    dashboard: gateway to the monitor, internal as well; if there is a monitor.
    alerts: the monitor to the channels of its messages and to its heartbeat, apart from all others.
    backup: backups to the machine that keeps them, if it is another one; apart from all others, because it reads all data.
    database: with a PostgreSQL elsewhere, in place of data: the roles container to it. The server, backups and the monitor reach
    it by outgoing, backup and alerts, which they have to themselves.
    retention: nobody else, on a Swarm, where nothing can be without a network; internal.
    Docker's rules and the stack's own (host/firewall.py) keep networks apart, and those with egress away from the host and from
    private addresses. inner, outward: part -> Docker's id of each network, without and with egress.
    app_network: the resource, for networks of the server that others make. The others are what a service is given: a network's
    name, or its id on a Swarm.
    edge_subnet: the edge network's addresses, as ``subnet`` has them; with a connector.
    Not here: Ollama's two (host/ollama.py), which only some stacks have.
    """

    def __init__(self, name: str, args: NetworksArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:host:Networks", name, None, opts)

        self.inner: dict[str, pulumi.Output[str]] = {}
        self.outward: dict[str, pulumi.Output[str]] = {}
        self._subnets = subnets(args.addressing.networks, args.addressing.prefix)

        def network(
            part: str, *, internal: bool = True, masquerade: bool = True, after: pulumi.Resource | None = None
        ) -> docker.Network:
            made = bridge(f"{name}-{part}", args.addressing, part, self, internal=internal, masquerade=masquerade, after=after)
            # Without masquerading a network has no egress either.
            (self.inner if internal or not masquerade else self.outward)[part] = made.id
            return made

        def joined(made: docker.Network) -> pulumi.Output[str]:
            # A service of a Swarm that names a network by its name is replaced at each refresh.
            return made.id if args.addressing.overlay else made.name

        # Server and gateway are on it.
        self.app_network = app = network("app")
        edge = network("edge", internal=args.tunnelled, masquerade=args.tunnelled, after=app)
        outgoing = network("outgoing", internal=False, after=app)
        self.edge_subnet = self.subnet("edge") if args.tunnelled else None
        self.edge = joined(edge)
        self.tunnel = joined(network("tunnel", internal=False, after=edge)) if args.tunnelled else None
        self.app = joined(app)
        self.files = joined(network("files", after=app))
        self.data = None if args.database_elsewhere else joined(network("data", after=app))
        self.browsing = joined(network("browsing", after=outgoing))
        self.smoke = joined(network("smoke", after=outgoing))
        self.outgoing = joined(outgoing)
        self.dashboard = joined(network("dashboard", after=edge)) if args.monitor else None
        self.alerts = joined(network("alerts", internal=False, after=edge)) if args.alerts else None
        self.backup = joined(network("backup", internal=False, after=app)) if args.backup else None
        self.database = joined(network("database", internal=False, after=app)) if args.database_elsewhere else None
        self.retention = joined(network("retention", after=app)) if args.retention else None
        self.register_outputs({})

    def subnet(self, part: str) -> str:
        """The addresses of a network in CIDR form."""
        return str(self._subnets[part])
