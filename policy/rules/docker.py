"""Rules for single resources of the Docker provider. CIS ids are those of the Docker Benchmark 1.6.0."""

import ipaddress
import json
import re

from .containers import (
    CONTAINER,
    DATASTORE_PORTS,
    NETWORK,
    NETWORKS_URL,
    PORTS_URL,
    PROVIDER,
    REMOTE_IMAGE,
    VOLUME,
    host_paths,
    is_datastore,
    matches,
    variables,
)
from .framework.rule import Finding, Findings, Parameters, Resource, rule
from .variables import is_default, is_for_browsers

_RUN = "https://docs.docker.com/reference/cli/docker/container/run/"
_SECURITY = "https://docs.docker.com/engine/security/"
_MOUNTS = "https://docs.docker.com/engine/storage/bind-mounts/"
_LIMITS = "https://docs.docker.com/engine/containers/resource_constraints/"
_IMAGES = "https://docs.docker.com/dhi/core-concepts/digests/"
_SECRETS = "https://docs.docker.com/compose/how-tos/use-secrets/"
_HOST_NETWORK = "https://docs.docker.com/engine/network/drivers/host/"
_SKYVERN = "https://www.skyvern.com/docs/self-hosted/docker"

# --- What a container may do on its host ---------------------------------------------------------------------------------


@rule(
    "docker-container-unprivileged",
    CONTAINER,
    "privileged",
    description="A container is not privileged",
    severity="critical",
    remediation="Leave privileged out or set it to False; add the one capability that is needed, if any.",
    url=_RUN + "#privileged",
    cis=("5.5",),
    kics=("ae5b6871",),
)
def unprivileged(container: Resource, parameters: Parameters) -> Findings:
    if container.inputs.get("privileged", False):
        yield Finding(path="privileged", why="the container is root on the host", write="privileged=False")


@rule(
    "docker-container-docker-socket-unmounted",
    CONTAINER,
    "volumes, mounts",
    description="Docker's socket is in no container",
    severity="critical",
    remediation="Remove the mount, read-only ones too: whoever can open the socket starts privileged containers.",
    url=_SECURITY + "protect-access/",
    cis=("5.32",),
    kics=("d6355c88",),
)
def docker_socket_unmounted(container: Resource, parameters: Parameters) -> Findings:
    for path, source in host_paths(container):
        if re.search(r"(docker|containerd|podman)[^/]*\.sock$", source):
            yield Finding(path=path, why="whoever opens Docker's socket is root on the host", write="no such mount")


@rule(
    "docker-container-capabilities-dropped",
    CONTAINER,
    "capabilities.drops",
    description="A container drops every capability",
    severity="high",
    remediation='Set capabilities.drops to ["ALL"].',
    url=_RUN + "#cap-drop",
    cis=("5.4",),
    kics=("ce76b7d0",),
)
def capabilities_dropped(container: Resource, parameters: Parameters) -> Findings:
    dropped = {str(name).upper().removeprefix("CAP_") for name in container.inputs.section("capabilities").whole("drops")}
    if "ALL" not in dropped:
        yield Finding(path="capabilities.drops", why="Docker's default capabilities stay", write='drops=["ALL"]')


@rule(
    "docker-container-capabilities-not-added",
    CONTAINER,
    "capabilities.adds",
    description="A container adds no capability but the allowed ones and those granted to it",
    severity="high",
    remediation="Remove what is not needed, or grant it to the container in levels.yaml.",
    url=_RUN + "#cap-add",
    cis=("5.4",),
    kics=("ce76b7d0",),
    parameters={"allowed": [], "granted": {}},
)
def capabilities_not_added(container: Resource, parameters: Parameters) -> Findings:
    for path, name in container.inputs.section("capabilities").each("adds"):
        capability = str(name).upper().removeprefix("CAP_")
        granted = matches(container.name, parameters["granted"].get(capability, []))
        if capability not in parameters["allowed"] and not granted:
            yield Finding(path=path, why="the capability is not among the allowed ones", write="no such capability")


@rule(
    "docker-container-no-new-privileges",
    CONTAINER,
    "securityOpts",
    description="A program in a container cannot gain privileges by setuid",
    severity="high",
    remediation='Add "no-new-privileges:true" to securityOpts.',
    url=_RUN + "#security-opt",
    cis=("5.26",),
    kics=("27fcc7d6",),
)
def no_new_privileges(container: Resource, parameters: Parameters) -> Findings:
    options = {re.sub("[:=]true$", "", str(option)) for option in container.inputs.whole("securityOpts")}
    if "no-new-privileges" not in options:
        yield Finding(path="securityOpts", why="a setuid program could gain privileges", write='"no-new-privileges:true"')


@rule(
    "docker-container-seccomp-on",
    CONTAINER,
    "securityOpts",
    description="A container keeps a seccomp profile",
    severity="high",
    remediation="Remove seccomp=unconfined; write a profile that allows the one system call that is missing.",
    url=_SECURITY + "seccomp/",
    cis=("5.22",),
    kics=("404fde2c",),
)
def seccomp_on(container: Resource, parameters: Parameters) -> Findings:
    yield from _confined(container, "seccomp", ("unconfined",), "every system call is open")


@rule(
    "docker-container-apparmor-on",
    CONTAINER,
    "securityOpts",
    description="A container keeps an AppArmor profile where the host has AppArmor",
    severity="high",
    remediation="Remove apparmor=unconfined.",
    url=_SECURITY + "apparmor/",
    cis=("5.2",),
)
def apparmor_on(container: Resource, parameters: Parameters) -> Findings:
    yield from _confined(container, "apparmor", ("unconfined",), "AppArmor is off")


@rule(
    "docker-container-selinux-on",
    CONTAINER,
    "securityOpts",
    description="A container keeps its SELinux label where the host has SELinux",
    severity="high",
    remediation="Remove label=disable.",
    url=_RUN + "#security-opt",
    cis=("5.3",),
)
def selinux_on(container: Resource, parameters: Parameters) -> Findings:
    yield from _confined(container, "label", ("disable",), "SELinux is off")


def _confined(container: Resource, key: str, off: tuple[str, ...], why: str) -> Findings:
    for path, option in container.inputs.each("securityOpts"):
        name, _, value = str(option).replace("=", ":", 1).partition(":")
        if name == key and value in off:
            yield Finding(path=path, why=why, write="no such option")


@rule(
    "docker-container-root-read-only",
    CONTAINER,
    "readOnly",
    description="A container's root file system is read-only",
    severity="medium",
    remediation="Set readOnly=True; give the folders that are written to a tmpfs or a volume.",
    url=_RUN + "#read-only",
    cis=("5.13",),
)
def root_read_only(container: Resource, parameters: Parameters) -> Findings:
    if container.inputs.get("readOnly", False) is not True:
        yield Finding(path="readOnly", why="an intruder can change the programs", write="read_only=True and a tmpfs for /tmp")


@rule(
    "docker-container-user-not-root",
    CONTAINER,
    "user",
    description="A container runs as a numeric user other than root, unless levels.yaml grants it root",
    severity="medium",
    remediation='Set user to a number, "10001:10001".',
    url="https://docs.docker.com/build/building/best-practices/#user",
    cis=("4.1",),
    parameters={"granted": []},
)
def user_not_root(container: Resource, parameters: Parameters) -> Findings:
    user = str(container.inputs.get("user", "")).partition(":")[0]
    # A name counts for nothing: the image says which number it is.
    if (not user.isdigit() or int(user) == 0) and not matches(container.name, parameters["granted"]):
        yield Finding(path="user", why="the program may be root in its container", write='a number, for example "10001:10001"')


# --- Namespaces ----------------------------------------------------------------------------------------------------------


@rule(
    "docker-container-network-namespace-own",
    CONTAINER,
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
        yield Finding(path="networkMode", why="it listens on the interfaces of another", write="the name of a bridge network")


@rule(
    "docker-container-host-network-bare",
    CONTAINER,
    "networkMode",
    description="A container on the host's network has no mount, port, device or variable, and no capability but NET_ADMIN",
    severity="high",
    remediation="Remove what it has; what needs more belongs into another container, on a bridge network.",
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


@rule(
    "docker-container-network-user-defined",
    CONTAINER,
    "networkMode",
    description="A container is on networks of the stack or on none, not on docker0",
    severity="medium",
    remediation='Name a network of the stack in networkMode and networksAdvanced, or "none".',
    url=NETWORKS_URL,
    cis=("5.30",),
    kics=("ce14a68b",),
)
def network_user_defined(container: Resource, parameters: Parameters) -> Findings:
    if container.inputs.get("networkMode", "default") in {"", "default", "bridge"}:
        why = "on docker0 every container reaches every other"
        yield Finding(path="networkMode", why=why, write='the name of a network of the stack, or "none"')


@rule(
    "docker-container-pid-namespace-own",
    CONTAINER,
    "pidMode",
    description="A container sees its own processes only",
    severity="high",
    remediation="Leave pidMode out.",
    url=_RUN + "#pid",
    cis=("5.16",),
    kics=("4f31dd9f",),
)
def pid_namespace_own(container: Resource, parameters: Parameters) -> Findings:
    yield from _own_namespace(container, "pidMode", "it sees and signals processes of another, and reads their environment")


@rule(
    "docker-container-ipc-namespace-own",
    CONTAINER,
    "ipcMode",
    description="A container shares no memory with the host or another container",
    severity="high",
    remediation='Leave ipcMode out or set it to "private"; raise shmSize where a browser needs more.',
    url=_RUN + "#ipc",
    cis=("5.17",),
    kics=("baa3890f",),
)
def ipc_namespace_own(container: Resource, parameters: Parameters) -> Findings:
    yield from _own_namespace(container, "ipcMode", "it reads shared memory of another")


@rule(
    "docker-container-user-namespace-own",
    CONTAINER,
    "usernsMode",
    description="A container does not opt out of the daemon's user namespace",
    severity="high",
    remediation="Leave usernsMode out.",
    url=_SECURITY + "userns-remap/",
    cis=("5.31",),
    kics=("8af7162d",),
)
def user_namespace_own(container: Resource, parameters: Parameters) -> Findings:
    yield from _own_namespace(container, "usernsMode", "its users are the host's")


def _own_namespace(container: Resource, key: str, why: str) -> Findings:
    mode = str(container.inputs.get(key, ""))
    if mode == "host" or mode.startswith("container:"):
        yield Finding(path=key, why=why, write=f"no {key}")


@rule(
    "docker-container-cgroup-own",
    CONTAINER,
    "cgroupParent",
    description="A container is in the control group that Docker gives it",
    severity="low",
    remediation="Leave cgroupParent out.",
    url=_RUN + "#cgroup-parent",
    cis=("5.25",),
    kics=("4d9f44c6",),
)
def cgroup_own(container: Resource, parameters: Parameters) -> Findings:
    if container.inputs.get("cgroupParent"):
        yield Finding(path="cgroupParent", why="limits of another group count", write="no cgroupParent")


@rule(
    "docker-container-devices-absent",
    CONTAINER,
    "devices",
    description="A container has no device of the host",
    severity="medium",
    remediation="Remove devices; a GPU is given by gpus.",
    url=_RUN + "#device",
    cis=("5.18",),
)
def devices_absent(container: Resource, parameters: Parameters) -> Findings:
    for path, _ in container.inputs.each("devices"):
        yield Finding(path=path, why="the container drives a device of the host", write="no devices")


@rule(
    "docker-container-gpus-granted",
    CONTAINER,
    "gpus",
    description="Only a container that is named in levels.yaml has the host's GPUs",
    severity="medium",
    remediation="Remove gpus, or name the container in levels.yaml.",
    url=_LIMITS + "#gpu",
    cis=("5.18",),
    parameters={"granted": []},
)
def gpus_granted(container: Resource, parameters: Parameters) -> Findings:
    if container.inputs.get("gpus") and not matches(container.name, parameters["granted"]):
        yield Finding(path="gpus", why="the container is not among those that may have it", write="no gpus")


# --- What is mounted -----------------------------------------------------------------------------------------------------

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


# --- What is reachable ---------------------------------------------------------------------------------------------------


@rule(
    "docker-container-ports-on-loopback",
    CONTAINER,
    "ports[].ip",
    description="A published port is on the host's loopback address",
    severity="high",
    remediation='Set ip="127.0.0.1" on every port; a tunnel or a proxy on the host brings people in.',
    url=PORTS_URL,
    cis=("5.14",),
    kics=("451d79dc",),
)
def ports_on_loopback(container: Resource, parameters: Parameters) -> Findings:
    for path, port in container.inputs.each("ports"):
        if not _is_loopback(port.get("ip", "")):
            why = "without a loopback address the port is open to the network, past the host's firewall"
            yield Finding(path=f"{path}.ip", why=why, write='"127.0.0.1"')


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


@rule(
    "docker-container-ports-chosen",
    CONTAINER,
    "publishAllPorts",
    description="Ports are published one by one",
    severity="medium",
    remediation="Leave publishAllPorts out and list ports.",
    url=PORTS_URL,
    cis=("5.9",),
)
def ports_chosen(container: Resource, parameters: Parameters) -> Findings:
    if container.inputs.get("publishAllPorts", False):
        yield Finding(path="publishAllPorts", why="every port of the image opens, on every address", write="ports one by one")


@rule(
    "docker-container-ports-unprivileged",
    CONTAINER,
    "ports[].external",
    description="A published port is 1024 or higher",
    severity="medium",
    remediation="Publish a port from 1024 on.",
    url=PORTS_URL,
    cis=("5.8",),
    kics=("bc2908f3",),
)
def ports_unprivileged(container: Resource, parameters: Parameters) -> Findings:
    for path, port in container.inputs.each("ports"):
        if 0 < port.get("external", 0) < 1024:
            yield Finding(path=f"{path}.external", why="the port is the system's own", write="a port from 1024 on")


@rule(
    "docker-container-datastore-unpublished",
    CONTAINER,
    "ports",
    description="A database, cache or model server is not published, not on loopback either",
    severity="critical",
    remediation="Remove ports; whoever needs it joins its network, a person uses docker exec.",
    url=PORTS_URL,
    cis=("5.9",),
)
def datastore_unpublished(container: Resource, parameters: Parameters) -> Findings:
    for path, port in container.inputs.each("ports"):
        if port.get("internal", 0) in DATASTORE_PORTS or is_datastore(container):
            yield Finding(path=path, why="every process of the host could reach the data", write="no ports")


@rule(
    "docker-container-debugging-unpublished",
    CONTAINER,
    "ports",
    description="A browser's debugging port is not published",
    severity="critical",
    remediation="Remove the port; Skyvern streams the browser by itself.",
    url="https://developer.chrome.com/blog/remote-debugging-port",
)
def debugging_unpublished(container: Resource, parameters: Parameters) -> Findings:
    for path, port in container.inputs.each("ports"):
        if 9220 <= port.get("internal", 0) <= 9229 or 9220 <= port.get("external", 0) <= 9229:
            yield Finding(path=path, why="whoever reaches it has the browser with every login in it", write="no such port")


@rule(
    "docker-container-host-unreached",
    CONTAINER,
    "hosts",
    description="A container does not call services on its host",
    severity="medium",
    remediation="Run the service as a container on a network of the stack.",
    url="https://docs.docker.com/reference/cli/docker/container/run/#add-host",
)
def host_unreached(container: Resource, parameters: Parameters) -> Findings:
    for path, host in container.inputs.each("hosts"):
        if host.get("ip") == "host-gateway":
            yield Finding(path=f"{path}.ip", why="the container reaches what listens on the host", write="no such host")


@rule(
    "docker-network-internal",
    NETWORK,
    "internal",
    description="A network is internal, unless levels.yaml names it as a way out",
    severity="high",
    remediation="Set internal=True, or name the network in levels.yaml.",
    url="https://docs.docker.com/reference/cli/docker/network/create/#internal",
    parameters={"outward": []},
)
def network_internal(network: Resource, parameters: Parameters) -> Findings:
    if network.inputs.get("internal", False) is not True and not matches(network.name, parameters["outward"]):
        yield Finding(path="internal", why="everything on it reaches the internet and the LAN", write="internal=True")


# --- Limits and health ---------------------------------------------------------------------------------------------------


@rule(
    "docker-container-memory-limited",
    CONTAINER,
    "memory",
    description="A container has a memory limit",
    severity="medium",
    remediation="Set memory, in MiB.",
    url=_LIMITS + "#memory",
    cis=("5.11",),
    kics=("bb9ac4f7",),
)
def memory_limited(container: Resource, parameters: Parameters) -> Findings:
    if container.inputs.get("memory", 0) <= 0:
        yield Finding(path="memory", why="one container can starve the host", write="a limit in MiB")


@rule(
    "docker-container-swap-limited",
    CONTAINER,
    "memorySwap",
    description="Swap does not extend the memory limit",
    severity="low",
    remediation="Set memorySwap to the value of memory.",
    url=_LIMITS + "#--memory-swap-details",
    cis=("5.11",),
)
def swap_limited(container: Resource, parameters: Parameters) -> Findings:
    memory = container.inputs.get("memory", 0)
    if memory > 0 and container.inputs.get("memorySwap", 0) != memory:
        yield Finding(path="memorySwap", why="as much again goes to swap, and the host crawls", write="the value of memory")


@rule(
    "docker-container-cpu-limited",
    CONTAINER,
    "cpus",
    description="A container has a limit or a share of the processors",
    severity="low",
    remediation='Set cpus, "1.0".',
    url=_LIMITS + "#cpu",
    cis=("5.12",),
    kics=("6b610c50",),
)
def cpu_limited(container: Resource, parameters: Parameters) -> Findings:
    inputs = container.inputs
    if not any(float(inputs.get(key, 0) or 0) > 0 for key in ("cpus", "cpuQuota", "cpuShares")):
        yield Finding(path="cpus", why="one container can take every processor", write='a number, for example "1.0"')


@rule(
    "docker-container-health-checked",
    CONTAINER,
    "healthcheck.tests",
    description="A container has a health check",
    severity="medium",
    remediation='Set healthcheck.tests, ["CMD", program, arguments].',
    url="https://docs.docker.com/reference/dockerfile/#healthcheck",
    cis=("5.27", "4.6"),
    kics=("698ed579",),
)
def health_checked(container: Resource, parameters: Parameters) -> Findings:
    tests = container.inputs.section("healthcheck").whole("tests")
    if len(tests) < 2 or tests[0] == "NONE":
        yield Finding(path="healthcheck.tests", why="it can hang unnoticed", write='["CMD", program, arguments]')


@rule(
    "docker-container-health-awaited",
    CONTAINER,
    "wait",
    description="An update waits until a container is healthy",
    severity="medium",
    remediation="Set wait=True and waitTimeout.",
    url="https://www.pulumi.com/registry/packages/docker/api-docs/container/#wait_python",
)
def health_awaited(container: Resource, parameters: Parameters) -> Findings:
    if container.inputs.get("wait", False) is not True:
        yield Finding(path="wait", why="an update succeeds with a broken container", write="wait=True")


@rule(
    "docker-container-restarted",
    CONTAINER,
    "restart",
    description="A container comes back after a crash and a reboot, by one of the allowed policies",
    severity="low",
    remediation='Set restart="unless-stopped".',
    url="https://docs.docker.com/engine/containers/start-containers-automatically/",
    cis=("5.15",),
    kics=("2fc99041",),
    parameters={"allowed": ["unless-stopped", "on-failure"]},
)
def restarted(container: Resource, parameters: Parameters) -> Findings:
    if container.inputs.get("restart", "no") not in parameters["allowed"]:
        yield Finding(
            path="restart", why="the policy is not an allowed one", write=" or ".join(map(json.dumps, parameters["allowed"]))
        )


@rule(
    "docker-container-logs-rotated",
    CONTAINER,
    "logOpts",
    description="A container's log is rotated",
    severity="low",
    remediation='Set logDriver="json-file" and logOpts={"max-size": "10m", "max-file": "3"}, or logDriver="local".',
    url="https://docs.docker.com/engine/logging/drivers/json-file/",
)
def logs_rotated(container: Resource, parameters: Parameters) -> Findings:
    driver = container.inputs.get("logDriver", "json-file")
    # The local driver rotates by itself; what goes elsewhere does not fill this disk.
    if driver == "json-file" and not container.inputs.section("logOpts").get("max-size"):
        yield Finding(path="logOpts", why="the log grows until the disk is full", write='{"max-size": "10m", "max-file": "3"}')


# --- Images --------------------------------------------------------------------------------------------------------------

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_BY_DIGEST = {"by_hash": ["localhost/skyvern/*:"]}


@rule(
    "docker-container-image-pinned",
    CONTAINER,
    "image",
    description="An image is named by digest, or is one of ours by the hash of its context",
    severity="high",
    remediation="Write NAME:TAG@sha256:DIGEST; `docker buildx imagetools inspect NAME:TAG` prints the digest.",
    url=_IMAGES,
    cis=("4.2", "5.28"),
    parameters=_BY_DIGEST,
)
def container_image_pinned(container: Resource, parameters: Parameters) -> Findings:
    yield from _pinned("image", container.inputs.get("image", ""), parameters)


@rule(
    "docker-image-pinned",
    REMOTE_IMAGE,
    "name",
    description="An image that is pulled is named by digest",
    severity="high",
    remediation="Write NAME:TAG@sha256:DIGEST; `docker buildx imagetools inspect NAME:TAG` prints the digest.",
    url=_IMAGES,
    cis=("4.2", "5.28"),
    parameters=_BY_DIGEST,
)
def remote_image_pinned(image: Resource, parameters: Parameters) -> Findings:
    yield from _pinned("name", image.inputs.get("name", ""), parameters)


def _pinned(path: str, image: str, parameters: Parameters) -> Findings:
    # An image's own id says what it is as well as a digest does.
    if _DIGEST.search(image) or re.fullmatch(r"sha256:[0-9a-f]{64}", image):
        return
    name, _, tag = image.rpartition(":")
    if re.fullmatch("[0-9a-f]{12}", tag) and matches(f"{name}:", parameters["by_hash"]):
        return
    yield Finding(path=path, why="a tag can be another image tomorrow", write="NAME:TAG@sha256:DIGEST")


@rule(
    "docker-container-image-trusted",
    CONTAINER,
    "image",
    description="An image comes from a registry and owner that levels.yaml trusts",
    severity="medium",
    remediation="Use an image of a trusted owner, or name its owner in levels.yaml.",
    url="https://docs.docker.com/docker-hub/repos/manage/trusted-content/",
    cis=("4.2",),
    parameters={"trusted": ["docker.io/library/*"]},
)
def image_trusted(container: Resource, parameters: Parameters) -> Findings:
    image = str(container.inputs.get("image", ""))
    if image.startswith("sha256:"):
        return  # an image that is there already; whoever built or pulled it was judged then
    first, slash, _ = image.partition("/")
    if not slash:
        image = f"docker.io/library/{image}"
    elif not re.search(r"[.:]|^localhost$", first):
        image = f"docker.io/{image}"
    if not matches(image, parameters["trusted"]):
        yield Finding(path="image", why="its owner is not among the trusted ones", write="an image of a trusted owner")


# --- Environment ---------------------------------------------------------------------------------------------------------


@rule(
    "docker-container-secrets-named",
    CONTAINER,
    "envs",
    description="A container's environment holds no secret but the ones that levels.yaml names",
    severity="high",
    remediation="Pass the secret as a file (NAME_FILE), or name the variable in levels.yaml.",
    url=_SECRETS,
    cis=("4.10",),
    parameters={"named": []},
)
def secrets_named(container: Resource, parameters: Parameters) -> Findings:
    for variable in variables(container):
        if variable.looks_secret and variable.name not in parameters["named"]:
            why = "docker inspect shows it to whoever may use Docker"
            yield Finding(path=f"envs[{variable.name}]", why=why, write="a file, or its name into levels.yaml")


@rule(
    "docker-container-secrets-encrypted",
    CONTAINER,
    "envs",
    description="A secret in a container's environment is a secret of Pulumi",
    severity="critical",
    remediation="Wrap the value in pulumi.Output.secret, or read it with config.require_secret.",
    url="https://www.pulumi.com/docs/iac/concepts/secrets/",
    cis=("4.10",),
)
def secrets_encrypted(container: Resource, parameters: Parameters) -> Findings:
    for variable in variables(container):
        if variable.looks_secret and not container.inputs.is_secret(variable.path):
            yield Finding(
                path=f"envs[{variable.name}]",
                why="it is in plain text in the state and in every preview",
                write="pulumi.Output.secret(...)",
            )


@rule(
    "docker-container-secrets-not-default",
    CONTAINER,
    "envs",
    description="No password or key is a default, a placeholder or the user's own name",
    severity="critical",
    remediation="Generate it: pulumi_random.RandomPassword.",
    url="https://owasp.org/Top10/A07_2021-Identification_and_Authentication_Failures/",
)
def secrets_not_default(container: Resource, parameters: Parameters) -> Findings:
    for variable in variables(container):
        password = variable.url_password
        value = variable.value if password is None else password
        if variable.looks_secret and is_default(variable.name, value):
            yield Finding(path=f"envs[{variable.name}]", why="it is the first that is tried", write="a generated value")


@rule(
    "docker-container-passwords-long",
    CONTAINER,
    "envs",
    description="A password or signing key has enough characters",
    severity="high",
    remediation="Generate it: pulumi_random.RandomPassword with length=32.",
    url="https://cheatsheetseries.owasp.org/cheatsheets/Authentication_Cheat_Sheet.html",
    parameters={"minimum": 16},
)
def passwords_long(container: Resource, parameters: Parameters) -> Findings:
    for variable in variables(container):
        password = variable.url_password
        if password is None and re.search(r"(PASSWORD|PASSPHRASE|SECRET|SECRET_KEY|SIGNING_KEY)$", variable.name, re.IGNORECASE):
            password = variable.value
        # A default is another rule's.
        if password is not None and not is_default(variable.name, password) and len(password) < parameters["minimum"]:
            yield Finding(
                path=f"envs[{variable.name}]", why="it can be guessed", write=f"{parameters['minimum']} or more characters"
            )


@rule(
    "docker-container-client-variables-public",
    CONTAINER,
    "envs",
    description="No secret is behind a prefix that puts it into the files that browsers load",
    severity="critical",
    remediation="Drop the prefix and read it on the server only: VITE_SKYVERN_API_KEY hands the organisation to every visitor.",
    url="https://vite.dev/guide/env-and-mode",
)
def client_variables_public(container: Resource, parameters: Parameters) -> Findings:
    for variable in variables(container):
        if variable.looks_secret and is_for_browsers(variable.name):
            path, why = f"envs[{variable.name}]", "the build writes its value into public files"
            yield Finding(path=path, why=why, write="a name without prefix")


@rule(
    "docker-container-arguments-public",
    CONTAINER,
    "command",
    description="No secret is in a container's arguments",
    severity="high",
    remediation="Pass it as a file or an environment variable: TUNNEL_TOKEN in place of --token.",
    url=_SECRETS,
)
def arguments_public(container: Resource, parameters: Parameters) -> Findings:
    before = ""
    for path, item in container.inputs.each("command"):
        argument = str(item)
        joined = "=" in argument and _SECRET_OPTION.fullmatch(argument)
        if joined or _SECRET_OPTION.fullmatch(before) or container.inputs.is_secret(path):
            why = "the list of processes shows it to everybody on the host"
            yield Finding(path=path, why=why, write="an environment variable")
        before = argument


# With "=" and a value, or by itself before the value.
_SECRET_OPTION = re.compile(r"--?(token|password|secret|api-?key|authtoken)(=.+)?", re.IGNORECASE)


@rule(
    "docker-container-origins-exact",
    CONTAINER,
    "envs",
    description="Browsers of named origins only may call the API",
    severity="high",
    remediation="List the origins of the UI, one by one.",
    url="https://developer.mozilla.org/en-US/docs/Web/HTTP/Guides/CORS",
    parameters={"variables": ["ALLOWED_ORIGINS", "CORS_ORIGINS", "CORS_ALLOWED_ORIGINS"]},
)
def origins_exact(container: Resource, parameters: Parameters) -> Findings:
    for variable in variables(container):
        if variable.name in parameters["variables"] and "*" in variable.value:
            yield Finding(path=f"envs[{variable.name}]", why="with a wildcard every page may call the API", write="exact origins")


@rule(
    "docker-container-log-level-quiet",
    CONTAINER,
    "envs",
    description="Logs are not at debug level",
    severity="medium",
    remediation="Set LOG_LEVEL=INFO.",
    url="https://cheatsheetseries.owasp.org/cheatsheets/Logging_Cheat_Sheet.html#data-to-exclude",
)
def log_level_quiet(container: Resource, parameters: Parameters) -> Findings:
    for variable in variables(container):
        level = variable.name.upper().endswith(("LOG_LEVEL", "LOGLEVEL")) and variable.value.upper() in {"DEBUG", "TRACE"}
        if level or (variable.name.upper() == "DEBUG" and variable.value.lower() in {"1", "true"}):
            yield Finding(path=f"envs[{variable.name}]", why="debug logs hold what people type", write="INFO")


# --- Volumes and the provider --------------------------------------------------------------------------------------------


@rule(
    "docker-volume-protected",
    VOLUME,
    "options.protect",
    description="A volume is protected, unless levels.yaml says that its content can be made again",
    severity="high",
    remediation="Set protect=True in the volume's ResourceOptions, or name the volume in levels.yaml.",
    url="https://www.pulumi.com/docs/iac/concepts/resources/options/protect/",
    parameters={"disposable": []},
)
def volume_protected(volume: Resource, parameters: Parameters) -> Findings:
    if not volume.protect and not matches(volume.name, parameters["disposable"]):
        yield Finding(path="options.protect", why="a destroy or a replacement would delete the data", write="protect=True")


@rule(
    "docker-provider-host-named",
    PROVIDER,
    "host",
    description="The stack names its Docker daemon",
    severity="medium",
    remediation='Make a docker.Provider with host="unix:///var/run/docker.sock".',
    url="https://www.pulumi.com/registry/packages/docker/installation-configuration/",
)
def provider_host_named(provider: Resource, parameters: Parameters) -> Findings:
    if not provider.inputs.get("host") and not provider.inputs.get("context"):
        yield Finding(path="host", why="DOCKER_HOST of the shell would decide where a plan goes", write="the daemon's address")


@rule(
    "docker-provider-host-encrypted",
    PROVIDER,
    "host",
    description="A remote Docker daemon is reached by SSH or TLS",
    severity="critical",
    remediation="Write ssh://user@host, or give the certificates.",
    url=_SECURITY + "protect-access/",
)
def provider_host_encrypted(provider: Resource, parameters: Parameters) -> Findings:
    inputs = provider.inputs
    certificates = inputs.get("certPath") or all(inputs.get(key) for key in ("caMaterial", "certMaterial", "keyMaterial"))
    if str(inputs.get("host", "")).startswith(("tcp://", "http://")) and not certificates:
        yield Finding(path="host", why="whoever reaches the port is root on that host", write='"ssh://user@host"')
