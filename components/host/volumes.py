"""The data that must outlive every container."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType

import pulumi
import pulumi_docker as docker

from components.host.images import SOURCE_LABEL
from components.host.labels import stack_labels
from components.host.service import Mount

# Every folder that Skyvern writes, with the variable that holds its path in the image.
SKYVERN_FOLDERS = {
    "artifacts": "ARTIFACT_STORAGE_PATH",
    "browser-sessions": "BROWSER_SESSION_BASE_PATH",
    "credential-vault": "LOCAL_CREDENTIAL_VAULT_PATH",
    "downloads": "DOWNLOAD_PATH",
    "har": "HAR_PATH",
    "log": "LOG_PATH",
    "videos": "VIDEO_PATH",
}
# Where a container marks that it began, and below which the monitor reads it.
STARTED_FOLDER = "/run/started"
# Those that people see in the UI. Not HAR files: they hold whole requests with cookies and passwords.
SERVED_FOLDERS = ("artifacts", "downloads", "videos")


def folder_path(folder: str) -> str:
    """The path of a folder of Skyvern in every container that mounts it."""
    return f"/data/{folder.replace('-', '_')}"


def local_volume(
    name: str,
    prefix: str,
    part: str,
    parent: pulumi.Resource,
    *,
    protect: bool = False,
    marks: Mapping[str, str] = MappingProxyType({}),
    driver_opts: Mapping[str, str] | None = None,
) -> pulumi.Output[str]:
    """Name of a new volume, on the daemon's disk unless driver_opts say otherwise.

    protect: its data cannot be restored; marks: labels besides the stack's.
    """
    return docker.Volume(
        name,
        name=f"{prefix}-{part}",
        driver="local",
        driver_opts=driver_opts,
        labels=[
            docker.VolumeLabelArgs(label=label, value=value)
            for label, value in sorted({**stack_labels(prefix, part), **marks}.items())
        ],
        opts=pulumi.ResourceOptions(parent=parent, protect=protect),
    ).name


def started_mount(name: str, prefix: str, part: str, parent: pulumi.Resource) -> Mount:
    """A new volume for one file, ``at``, whose time says when a container began: the monitor has no Docker socket to ask.

    One for each container that writes it, because a common one would be a way between them. In memory and a few kilobytes, so
    a container that was taken over cannot fill the disk; for any user, because a connector's public image has no folder for it.
    """
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=64k,nr_inodes=8,mode=1777,nosuid,nodev,noexec"}
    volume = local_volume(f"{name}-started", prefix, f"{part}-started", parent, driver_opts=options)
    return Mount(volume=volume, path=STARTED_FOLDER)


def read_started(mounts: Mapping[str, Mount]) -> list[Mount]:
    """The same volumes for the monitor: part -> what its container mounts."""
    return [Mount(volume=mount.volume, path=f"{STARTED_FOLDER}/{part}", read_only=True) for part, mount in mounts.items()]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where data is: a volume of one daemon by its name, or a folder that every machine has at the same path."""

    volume: pulumi.Input[str] | None = None
    host_folder: str | None = None

    def at(self, path: str, *, read_only: bool = False) -> Mount:
        """Mounted at a path of a container."""
        return Mount(volume=self.volume, host_folder=self.host_folder, path=path, read_only=read_only)


def shared_place(shared_folder: str, prefix: str, part: str) -> Place:
    """A stack's folder for a part below ``host.shared_folder``. Nothing declares it: ``script/up`` makes it."""
    return Place(host_folder=str(PurePosixPath(shared_folder, prefix, part)))


def state_place(name: str, prefix: str, part: str, parent: pulumi.Resource, shared_folder: str | None) -> Place:
    """Where a part keeps what can be made again: a new volume, or below the shared folder."""
    if shared_folder is not None:
        return shared_place(shared_folder, prefix, part)
    return Place(volume=local_volume(name, prefix, part, parent))


@dataclass(frozen=True, kw_only=True)
class DataVolumesArgs:
    """prefix: physical prefix of the stack, ``skyvern-dev``. image_source: of PostgreSQL's image; None if it is elsewhere.

    shared_folder: of all machines, in which the data is; None for volumes of the daemon.
    """

    prefix: str
    image_source: str | None
    shared_folder: str | None = None


class DataVolumes(pulumi.ComponentResource):
    """Protected volumes: ``pulumi destroy`` refuses to remove them before ``pulumi state unprotect``.

    Or folders that all machines share: no resource, so a destroy leaves them. Not here: backups.
    """

    def __init__(self, name: str, args: DataVolumesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:host:DataVolumes", name, None, opts)

        def volume(part: str, marks: Mapping[str, str] = MappingProxyType({})) -> pulumi.Output[str]:
            # Deleting a volume deletes its data: nothing but an explicit unprotect may.
            return local_volume(f"{name}-{part}", args.prefix, part, self, protect=True, marks=marks)

        # Another build of PostgreSQL may sort text differently, which breaks indexes. A changed label would replace the volume,
        # and the engine refuses that for what is protected.
        self.postgres = None if args.image_source is None else volume("postgres", {SOURCE_LABEL: args.image_source})
        shared = args.shared_folder
        self.folders = {
            folder: Place(volume=volume(folder)) if shared is None else shared_place(shared, args.prefix, folder)
            for folder in SKYVERN_FOLDERS
        }
        self.register_outputs({})

    def mounts(self, *folders: str, read_only: bool = False) -> list[Mount]:
        """The named folders of Skyvern at their usual paths."""
        return [self.folders[folder].at(folder_path(folder), read_only=read_only) for folder in folders]
