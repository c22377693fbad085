"""Read-only file servers: recordings and screenshots for the gateway, and the pages of the smoke run."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi

from components.host.service import DockerEngine, Engine, HardenedService, Health, Mount, ServiceArgs


@dataclass(frozen=True, kw_only=True)
class FileServerArgs:
    """Inputs of a file server.

    part, command: ``artifacts`` serves the mounted folders, ``smoke-site`` the pages in the image.
    image: ours, with nginx. group: numeric; it may read the mounted files.
    network: internal, on which it serves. mounts: read-only. engine: what runs it, and replicas: how many of it.
    """

    part: str
    command: str
    prefix: str
    image: str
    group: int
    network: pulumi.Input[str]
    mounts: Sequence[Mount] = ()
    engine: Engine = field(default_factory=DockerEngine)
    replicas: int = 1


class FileServer(pulumi.ComponentResource):
    """nginx on an internal network, read-only; no secret is in this container.

    It serves recordings instead of the gateway because it refuses symlinks (nginx disable_symlinks), which Caddy follows: whoever
    can write into a recording's folder must not read the gateway's environment. Upstream's artifact server reads any file and is
    not used. Not here: who may read (the gateway checks).
    """

    def __init__(self, name: str, args: FileServerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:host:FileServer", name, None, opts)
        service = HardenedService(
            f"{name}-nginx",
            ServiceArgs(
                part=args.part,
                prefix=args.prefix,
                image=args.image,
                user=f"10003:{args.group}",
                command=[args.command],
                networks=[args.network],
                mounts=args.mounts,
                memory_mib=64,
                cpus=0.5,
                health=Health(command=["artifacts-healthy"], start_seconds=15),
                hand_over=True,
                engine=args.engine,
                replicas=args.replicas,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.container_name = service.container_name
        self.register_outputs({})
