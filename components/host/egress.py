"""Egress for browsers: an HTTP proxy that refuses every address that is not public."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from components.endpoints import EGRESS_PORT
from components.host.service import HardenedService, Health, ServiceArgs


@dataclass(frozen=True, kw_only=True)
class EgressProxyArgs:
    """Inputs of the proxy.

    image: ours. networks: outgoing (internet; the port is published there), browsing (browsers), smoke (the smoke run's pages).
    port: on 127.0.0.1 of the host, for a Chrome outside of the stack; None publishes none.
    command: with a company's proxy as parent (host/outgoing.py); None for the image's own.
    """

    prefix: str
    image: str
    networks: list[pulumi.Output[str]]
    port: int | None = None
    command: Sequence[pulumi.Input[str]] | None = None


class EgressProxy(pulumi.ComponentResource):
    """Squid, configured in its image: nothing else stops what a hostile page fetches.

    Skyvern's own URL validation guards the navigations that Skyvern starts (checked in 1.0.56), not those of a page.
    """

    def __init__(self, name: str, args: EgressProxyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:host:EgressProxy", name, None, opts)
        service = HardenedService(
            f"{name}-squid",
            ServiceArgs(
                part="egress",
                prefix=args.prefix,
                image=args.image,
                user="13:13",
                command=args.command,
                networks=args.networks,
                published_port=None if args.port is None else (args.port, EGRESS_PORT),
                memory_mib=256,
                cpus=1,
                health=Health(command=["egress-healthy"], start_seconds=20),
                stop_seconds=5,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.container_name = service.container_name
        self.register_outputs({})
