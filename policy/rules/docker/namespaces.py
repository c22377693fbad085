"""Namespaces, control groups and devices that a container would share with its host or another container."""

from typing import Any

from ..containers import NETWORKS_URL, container_property_rule, container_rule
from ..framework.property import Expect, none_of, unset
from ..framework.rule import Finding, Findings, Parameters, Resource, matches
from . import LIMITS_URL, RUN_URL, SECURITY_URL

_HOST_NETWORK = "https://docs.docker.com/engine/network/drivers/host/"


@container_rule(
    "docker-container-network-namespace-own",
    "networkMode",
    description="A container has its own network namespace, unless levels.yaml grants it the host's",
    severity="high",
    remediation="Put the container on its own bridge network and publish what is needed on 127.0.0.1.",
    url=_HOST_NETWORK,
    cis=("5.10",),
    kics=("071a71ff",),
    parameters={"granted": []},
)
def network_namespace_own(container: Resource, parameters: Parameters) -> Findings:
    mode = str(container.inputs.get("networkMode", ""))
    granted = mode == "host" and matches(container.name, parameters["granted"])
    if mode.startswith("container:") or (mode == "host" and not granted):
        why = "it listens on interfaces that are not its own"
        yield Finding(path="networkMode", why=why, write="the name of a bridge network")


@container_rule(
    "docker-container-host-network-bare",
    "networkMode",
    description="A container on the host's network has no mount, port, device or variable, and no capability but NET_ADMIN",
    severity="high",
    remediation="Remove what it has; what needs more belongs in another container, on a bridge network.",
    url=_HOST_NETWORK,
    cis=("5.10",),
)
def host_network_bare(container: Resource, parameters: Parameters) -> Findings:
    inputs = container.inputs
    if inputs.get("networkMode", "") != "host":
        return
    for key in ("devices", "envs", "gpus", "hosts", "mounts", "networksAdvanced", "ports", "volumes"):
        if inputs.get(key):
            yield Finding(path=key, why="it is next to every service of the host", write=f"no {key}")
    for path, name in inputs.section("capabilities").each("adds"):
        if str(name).upper().removeprefix("CAP_") != "NET_ADMIN":
            yield Finding(path=path, why="it is next to every service of the host", write="NET_ADMIN alone")


network_user_defined = container_property_rule(
    "docker-container-network-user-defined",
    "networkMode",
    Expect(
        none_of(None, "", "default", "bridge"),
        why="on docker0 every container reaches every other",
        write='the name of a network of the stack, or "none"',
    ),
    description="A container is on networks of the stack or on none, not on docker0",
    severity="medium",
    remediation='Name a network of the stack in networkMode and networksAdvanced, or "none".',
    url=NETWORKS_URL,
    cis=("5.30",),
    kics=("ce14a68b",),
)


def _own(mode: Any) -> bool:
    """Neither the host's nor another container's."""
    return mode != "host" and not str(mode).startswith("container:")


pid_namespace_own = container_property_rule(
    "docker-container-pid-namespace-own",
    "pidMode",
    Expect(_own, why="it sees and signals processes that are not its own, and reads their environment", write="no pidMode"),
    description="A container sees its own processes only",
    severity="high",
    remediation="Leave pidMode out.",
    url=RUN_URL + "#pid",
    cis=("5.16",),
    kics=("4f31dd9f",),
)

ipc_namespace_own = container_property_rule(
    "docker-container-ipc-namespace-own",
    "ipcMode",
    Expect(_own, why="it reads shared memory that is not its own", write="no ipcMode"),
    description="A container shares no memory with the host or another container",
    severity="high",
    remediation='Leave ipcMode out or set it to "private"; raise shmSize where a browser needs more.',
    url=RUN_URL + "#ipc",
    cis=("5.17",),
    kics=("baa3890f",),
)

user_namespace_own = container_property_rule(
    "docker-container-user-namespace-own",
    "usernsMode",
    Expect(_own, why="its users are the host's", write="no usernsMode"),
    description="A container does not opt out of the daemon's user namespace",
    severity="high",
    remediation="Leave usernsMode out.",
    url=SECURITY_URL + "userns-remap/",
    cis=("5.31",),
    kics=("8af7162d",),
)

cgroup_own = container_property_rule(
    "docker-container-cgroup-own",
    "cgroupParent",
    Expect(unset, why="the limits of another group apply", write="no cgroupParent"),
    description="A container is in the control group that Docker gives it",
    severity="low",
    remediation="Leave cgroupParent out.",
    url=RUN_URL + "#cgroup-parent",
    cis=("5.25",),
    kics=("4d9f44c6",),
)

devices_absent = container_property_rule(
    "docker-container-devices-absent",
    "devices",
    Expect(unset, why="the container drives a device of the host", write="no devices"),
    reads="devices[]",
    description="A container has no device of the host",
    severity="medium",
    remediation="Remove devices; a GPU is given by gpus.",
    url=RUN_URL + "#device",
    cis=("5.18",),
)

gpus_granted = container_property_rule(
    "docker-container-gpus-granted",
    "gpus",
    Expect(unset, why="the container is not granted them", write="no gpus"),
    unless="granted",
    description="Only a container that is named in levels.yaml has the host's GPUs",
    severity="medium",
    remediation="Remove gpus, or name the container in levels.yaml.",
    url=LIMITS_URL + "#gpu",
    cis=("5.18",),
)
