"""Egress for browsers: an HTTP proxy that refuses every address that is not public, and that the stack file does not name."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi

from components.addresses import network
from components.endpoints import EGRESS_PORT
from components.host.service import DockerEngine, Engine, HardenedService, Health, ServiceArgs
from components.host.volumes import started_mount
from components.settings import split_destination

# Writes its arguments, a line each. A stack without further lines has the image's command and file.
START = 'printf "%s\\n" "$@" > /tmp/squid.conf && exec egress-start /tmp/squid.conf'
# Whatever a name resolves to: the proxy itself, a cloud's metadata, multicast.
_NEVER = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")


def rules(allow: Sequence[str]) -> str:
    """Squid's lines that open the destinations of ``browser.allow``; they need an acl ``inside``, the stack's own networks.

    -n compares the host of the URL as it is written there. So no other name opens what a name or an address here opens, wherever
    it resolves to: a hostile page cannot have its own name lead there (DNS rebinding).
    """
    lines = [f"acl never dst {' '.join(_NEVER)}"]
    for number, (host, port) in enumerate(sorted(map(split_destination, set(allow)))):
        lines += [
            f"# pages to {host}, port {port}",
            f"acl host{number} {'dst' if network(host) else 'dstdomain'} -n {host}",
            f"acl port{number} port {port}",
            f"http_access allow host{number} port{number} !inside !never",
            # A company's proxy does not know what is private here.
            f"always_direct allow host{number} port{number}",
        ]
    return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class EgressProxyArgs:
    """Inputs of the proxy.

    image: ours. networks: outgoing (internet; the port is published there), browsing (browsers), smoke (the smoke run's pages).
    port: on 127.0.0.1 of the host, for a Chrome outside of the stack; None publishes none.
    allow: destinations that are not public, as in the stack file. inside: subnets of the networks, which are never among them.
    parent: Squid's lines for a company's proxy (host/outgoing.py). monitored: the monitor counts its starts.
    engine: what runs it.
    """

    prefix: str
    image: str
    networks: list[pulumi.Output[str]]
    port: int | None = None
    allow: Sequence[str] = ()
    inside: Sequence[str] = ()
    parent: Sequence[str] = ()
    monitored: bool = False
    engine: Engine = field(default_factory=DockerEngine)


def command(allow: Sequence[str], inside: Sequence[str], parent: Sequence[str]) -> Sequence[str] | None:
    """Squid with what is allowed before the image's own lines, which refuse what is private, and the parent behind them.

    allow, inside, parent: as in EgressProxyArgs. None for the image's own command.
    """
    if not allow and not parent:
        return None
    allowed = [f"acl inside dst {' '.join(inside)}", rules(allow)] if allow else []
    return ["sh", "-c", START, "squid", *allowed, "include /etc/squid/squid.conf", *parent]


class EgressProxy(pulumi.ComponentResource):
    """Squid, configured in its image: nothing else stops what a hostile page fetches.

    Skyvern's own URL validation guards the navigations that Skyvern starts (checked in 1.0.56), not those of a page.
    """

    def __init__(self, name: str, args: EgressProxyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:host:EgressProxy", name, None, opts)
        self.started = started_mount(name, args.prefix, "egress", self) if args.monitored else None
        service = HardenedService(
            f"{name}-squid",
            ServiceArgs(
                part="egress",
                prefix=args.prefix,
                image=args.image,
                user="13:13",
                command=command(args.allow, args.inside, args.parent),
                networks=args.networks,
                mounts=[] if self.started is None else [self.started],
                published_port=None if args.port is None else (args.port, EGRESS_PORT),
                memory_mib=256,
                cpus=1,
                health=Health(command=["egress-healthy"], start_seconds=20),
                hand_over=True,
                stop_seconds=5,
                engine=args.engine,
                replicas=2,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.container_name = service.container_name
        self.register_outputs({})
