"""Folders of the host that are mounted into a container."""

import re

from ..containers import host_paths, in_spec, program_property_rule, program_rule
from ..framework.property import Expect, none_of
from ..framework.rule import Finding, Findings, Parameters, Resource, matches

_MOUNTS = "https://docs.docker.com/engine/storage/bind-mounts/"

_SENSITIVE = ("/boot", "/dev", "/etc", "/lib", "/proc", "/root", "/run", "/sys", "/usr", "/var/lib/docker", "/var/run")
_SENSITIVE_FOLDER = re.compile(r"/\.(aws|azure|cloudflared|config|docker|gnupg|kube|pulumi|ssh)(/|$)")
# Drives of Windows under WSL, however they are written.
_WINDOWS = re.compile(r"^(/mnt/[a-z]|[A-Za-z]:)(/|$)|^/run/desktop/mnt/host/")
_FOLDER_OF_WINDOWS = re.compile(r"^/mnt/[a-z]/[^/]")


def _is_harmless(source: str) -> bool:
    if source.endswith(".sock"):
        return True  # docker-container-docker-socket-unmounted
    below = any(source == folder or source.startswith(f"{folder}/") for folder in _SENSITIVE)
    return not (source == "/" or below or _SENSITIVE_FOLDER.search(source) or _WINDOWS.search(source))


@program_rule(
    "docker-container-host-folders-harmless",
    "volumes, mounts",
    description="No folder of the system, of credentials or of Windows is mounted",
    severity="high",
    remediation="Mount a named volume, or a folder that holds nothing but what the container is for. A backup to a drive of "
    "Windows is named in levels.yaml.",
    url=_MOUNTS,
    cis=("5.6",),
    kics=("1c1325ff",),
    parameters={"on_windows": []},
)
def host_folders_harmless(container: Resource, parameters: Parameters) -> Findings:
    for path, source in host_paths(container):
        # A folder on a drive; never the whole drive.
        granted = _FOLDER_OF_WINDOWS.match(source) and matches(container.name, parameters["on_windows"])
        if not granted and not _is_harmless(source):
            yield Finding(path=path, why="the folder belongs to the host, not to the container", write="a named volume")


mounts_private = program_property_rule(
    "docker-container-mounts-private",
    "mounts[].bindOptions.propagation",
    Expect(none_of("shared", "rshared"), why="mounts reach the host", write='"rprivate"'),
    reads=in_spec("mounts[].bindOptions.propagation"),
    description="What a container mounts does not appear on the host",
    severity="medium",
    remediation="Leave propagation out, or set it to rprivate.",
    url=_MOUNTS + "#configure-bind-propagation",
    cis=("5.20",),
    kics=("baa452f0",),
)
