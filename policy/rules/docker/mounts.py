"""Folders of the host that are mounted into a container."""

import re

from ..containers import CONTAINER, host_paths
from ..framework.rule import Finding, Findings, Parameters, Resource, rule

_MOUNTS = "https://docs.docker.com/engine/storage/bind-mounts/"

_SENSITIVE = ("/boot", "/dev", "/etc", "/lib", "/proc", "/root", "/run", "/sys", "/usr", "/var/lib/docker", "/var/run")
_SENSITIVE_FOLDER = re.compile(r"/\.(aws|azure|cloudflared|config|docker|gnupg|kube|pulumi|ssh)(/|$)")
# Drives of Windows under WSL, however they are written.
_WINDOWS = re.compile(r"^(/mnt/[a-z]|[A-Za-z]:)(/|$)|^/run/desktop/mnt/host/")


@rule(
    "docker-container-host-folders-harmless",
    CONTAINER,
    "volumes, mounts",
    description="No folder of the system, of credentials or of Windows is mounted",
    severity="high",
    remediation="Mount a named volume, or a folder that holds nothing but what the container is for.",
    url=_MOUNTS,
    cis=("5.6",),
    kics=("1c1325ff",),
)
def host_folders_harmless(container: Resource, parameters: Parameters) -> Findings:
    for path, source in host_paths(container):
        below = any(source == folder or source.startswith(f"{folder}/") for folder in _SENSITIVE)
        if source.endswith(".sock"):
            continue  # docker-container-docker-socket-unmounted
        if source == "/" or below or _SENSITIVE_FOLDER.search(source) or _WINDOWS.search(source):
            yield Finding(path=path, why="the folder belongs to the host, not to the container", write="a named volume")


@rule(
    "docker-container-mounts-private",
    CONTAINER,
    "mounts[].bindOptions.propagation",
    description="What a container mounts does not appear on the host",
    severity="medium",
    remediation="Leave propagation out, or set it to rprivate.",
    url=_MOUNTS + "#configure-bind-propagation",
    cis=("5.20",),
    kics=("baa452f0",),
)
def mounts_private(container: Resource, parameters: Parameters) -> Findings:
    for path, mount in container.inputs.each("mounts"):
        if mount.section("bindOptions").get("propagation") in {"shared", "rshared"}:
            yield Finding(path=f"{path}.bindOptions.propagation", why="mounts reach the host", write='"rprivate"')
