"""The connector of a Cloudflare Tunnel: it dials out to Cloudflare, so no port of the host is open."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi

from components.host.service import DockerEngine, Engine, HardenedService, Health, ServiceArgs
from components.host.volumes import STARTED_FOLDER, started_mount
from components.settings import CloudflareEdge

# Where Cloudflare writes the client's address.
CLIENT_HEADER = "Cf-Connecting-Ip"
# Inside the container only: the listener also hands out configuration and profiles.
METRICS = "127.0.0.1:20241"
# A connection is there in seconds, or never; with ``auto`` minutes pass before QUIC is given up (2026.9: after eight addresses,
# each with a handshake of 10 s and a pause that doubles up to 64 s).
START_SECONDS, FALLBACK_SECONDS = 60, 360
# How long requests in progress may take to end when the connector stops.
GRACE_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class ConnectorArgs:
    """Inputs of the connector.

    image: with cloudflared, by digest. token: of the tunnel; secret.
    networks: tunnel (the internet), edge (the gateway). monitored: the monitor counts its starts. engine: what runs it.
    """

    prefix: str
    image: str
    settings: CloudflareEdge
    token: pulumi.Input[str]
    networks: Sequence[pulumi.Input[str]]
    monitored: bool = False
    engine: Engine = field(default_factory=DockerEngine)


class Connector(pulumi.ComponentResource):
    """cloudflared, healthy once it has a connection to Cloudflare. Its ingress rules come from there (edge/tunnel.py).

    Cloudflare deletes no tunnel whose connector is connected, so this has to be stopped first: the caller makes it depend on
    the tunnel's rules and records, which depend on the tunnel.
    """

    def __init__(self, name: str, args: ConnectorArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:host:Connector", name, None, opts)
        self.started = started_mount(name, args.prefix, "connector", self) if args.monitored else None
        service = HardenedService(
            f"{name}-cloudflared",
            ServiceArgs(
                part="connector",
                prefix=args.prefix,
                image=args.image,
                user="65532:65532",
                entrypoint=["cloudflared", "--no-autoupdate"],
                command=["tunnel", "run"],
                # Not as an argument, which the process list and anyone's ``docker inspect`` would show.
                environment={
                    "TUNNEL_GRACE_PERIOD": f"{GRACE_SECONDS}s",
                    "TUNNEL_LOGLEVEL": "info",
                    "TUNNEL_METRICS": METRICS,
                    # Written after the first connection; one that cannot be written is a line in the log.
                    **({} if self.started is None else {"TUNNEL_PIDFILE": f"{STARTED_FOLDER}/at"}),
                    "TUNNEL_TOKEN": args.token,
                    "TUNNEL_TRANSPORT_PROTOCOL": args.settings.protocol,
                },
                networks=args.networks,
                mounts=[] if self.started is None else [self.started],
                memory_mib=args.settings.memory_mib,
                cpus=1,
                # The image has no shell; the program asks itself.
                health=Health(
                    command=["cloudflared", "tunnel", "--metrics", METRICS, "ready"],
                    start_seconds=FALLBACK_SECONDS if args.settings.protocol == "auto" else START_SECONDS,
                ),
                hand_over=True,
                engine=args.engine,
                replicas=2,
                reads_secret_files=True,
                stop_seconds=GRACE_SECONDS + 5,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.part = "connector"
        self.container_name = service.container_name
        self.register_outputs({})
