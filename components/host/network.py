"""The stack's networks: each joins the two or three services that must talk, and no more."""

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from components.host.labels import stack_labels


@dataclass(frozen=True, kw_only=True)
class NetworksArgs:
    """prefix: physical prefix of the stack, ``skyvern-dev``. tunnelled: a connector leads to the gateway, no published port."""

    prefix: str
    tunnelled: bool


def bridge(
    name: str, prefix: str, part: str, parent: pulumi.Resource, *, internal: bool = True, masquerade: bool = True
) -> docker.Network:
    """A new bridge network. internal: without egress; masquerade: how a network that is not internal gets its egress."""
    return docker.Network(
        name,
        name=f"{prefix}-{part}",
        driver="bridge",
        internal=internal,
        ipv6=False,
        attachable=False,
        options={} if masquerade else {"com.docker.network.bridge.enable_ip_masquerade": "false"},
        labels=[docker.NetworkLabelArgs(label=label, value=value) for label, value in stack_labels(prefix, part).items()],
        opts=pulumi.ResourceOptions(parent=parent, delete_before_replace=True),
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
    Docker's rules and the stack's own (host/firewall.py) keep networks apart, and those with egress away from the host and from
    private addresses. inner, outward: part -> Docker's id of each network, without and with egress.
    edge_subnet: the edge network's addresses in CIDR form, as Docker chose them; with a connector.
    Not here: Ollama's two (host/ollama.py), which only some stacks have.
    """

    def __init__(self, name: str, args: NetworksArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:host:Networks", name, None, opts)

        self.inner: dict[str, pulumi.Output[str]] = {}
        self.outward: dict[str, pulumi.Output[str]] = {}

        def network(part: str, *, internal: bool = True, masquerade: bool = True) -> docker.Network:
            made = bridge(f"{name}-{part}", args.prefix, part, self, internal=internal, masquerade=masquerade)
            # Without masquerading a network has no egress either.
            (self.inner if internal or not masquerade else self.outward)[part] = made.id
            return made

        edge = network("edge", internal=args.tunnelled, masquerade=args.tunnelled)
        self.edge = edge.name
        self.edge_subnet = edge.ipam_configs.apply(lambda configs: configs[0].subnet or "") if args.tunnelled else None
        self.tunnel = network("tunnel", internal=False).name if args.tunnelled else None
        self.app = network("app").name
        self.files = network("files").name
        self.data = network("data").name
        self.browsing = network("browsing").name
        self.smoke = network("smoke").name
        self.outgoing = network("outgoing", internal=False).name
        self.register_outputs({})
