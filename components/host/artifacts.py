"""Read-only file servers: recordings and screenshots for the gateway, and the pages of the smoke run."""

from dataclasses import dataclass

import pulumi

from components.host.service import HardenedService, Health, ServiceArgs
from components.host.volumes import SERVED_FOLDERS, DataVolumes

# Skyvern's folders are closed to everybody but its user and group (10001), so the reader of recordings is in that group.
ARTIFACTS_USER = "10003:10001"
SMOKE_SITE_USER = "10003:10003"


@dataclass(frozen=True, kw_only=True)
class FileServerArgs:
    """image: ours, with nginx. network: the internal one it serves on."""

    prefix: str
    image: str
    network: pulumi.Input[str]


class ArtifactServer(pulumi.ComponentResource):
    """Artifacts, videos and downloads, read-only; no secret is in this container.

    It is a server of its own and not the gateway because it refuses symlinks (nginx disable_symlinks), which Caddy follows:
    whoever can write into a recording's folder must not read the gateway's environment. Upstream's artifact server reads any
    file and is not used. Not here: who may read (the gateway asks).
    """

    def __init__(self, name: str, args: FileServerArgs, volumes: DataVolumes, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:host:ArtifactServer", name, None, opts)
        service = HardenedService(
            f"{name}-nginx",
            ServiceArgs(
                part="artifacts",
                prefix=args.prefix,
                image=args.image,
                user=ARTIFACTS_USER,
                networks=[args.network],
                mounts=volumes.mounts(*SERVED_FOLDERS, read_only=True),
                memory_mib=64,
                cpus=0.5,
                health=Health(command=["artifacts-healthy"], start_seconds=15),
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.container_name = service.container_name
        self.register_outputs({})


class SmokeSite(pulumi.ComponentResource):
    """Static pages for the smoke run: the one private address that the egress proxy lets browsers reach."""

    def __init__(self, name: str, args: FileServerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:host:SmokeSite", name, None, opts)
        service = HardenedService(
            f"{name}-nginx",
            ServiceArgs(
                part="smoke-site",
                prefix=args.prefix,
                image=args.image,
                user=SMOKE_SITE_USER,
                command=["smoke-site"],
                networks=[args.network],
                memory_mib=64,
                cpus=0.5,
                health=Health(command=["artifacts-healthy"], start_seconds=15),
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.container_name = service.container_name
        self.register_outputs({})
