"""Folders of the host that are mounted into a container."""

import re

from ..containers import container_property_rule, host_paths
from ..framework.property import Expect, none_of

_MOUNTS = "https://docs.docker.com/engine/storage/bind-mounts/"

_SENSITIVE = ("/boot", "/dev", "/etc", "/lib", "/proc", "/root", "/run", "/sys", "/usr", "/var/lib/docker", "/var/run")
_SENSITIVE_FOLDER = re.compile(r"/\.(aws|azure|cloudflared|config|docker|gnupg|kube|pulumi|ssh)(/|$)")
# Drives of Windows under WSL, however they are written.
_WINDOWS = re.compile(r"^(/mnt/[a-z]|[A-Za-z]:)(/|$)|^/run/desktop/mnt/host/")


def _is_harmless(source: str) -> bool:
    if source.endswith(".sock"):
        return True  # docker-container-docker-socket-unmounted
    below = any(source == folder or source.startswith(f"{folder}/") for folder in _SENSITIVE)
    return not (source == "/" or below or _SENSITIVE_FOLDER.search(source) or _WINDOWS.search(source))


host_folders_harmless = container_property_rule(
    "docker-container-host-folders-harmless",
    "volumes, mounts",
    Expect(_is_harmless, why="the folder belongs to the host, not to the container", write="a named volume"),
    reads=host_paths,
    description="No folder of the system, of credentials or of Windows is mounted",
    severity="high",
    remediation="Mount a named volume, or a folder that holds nothing but what the container is for.",
    url=_MOUNTS,
    cis=("5.6",),
    kics=("1c1325ff",),
)

mounts_private = container_property_rule(
    "docker-container-mounts-private",
    "mounts[].bindOptions.propagation",
    Expect(none_of("shared", "rshared"), why="mounts reach the host", write='"rprivate"'),
    description="What a container mounts does not appear on the host",
    severity="medium",
    remediation="Leave propagation out, or set it to rprivate.",
    url=_MOUNTS + "#configure-bind-propagation",
    cis=("5.20",),
    kics=("baa452f0",),
)
