"""Privileges of a container on its host: capabilities, security options, its user."""

import re

from ..containers import CONTAINER, host_paths, matches
from ..framework.rule import Finding, Findings, Parameters, Resource, rule
from . import RUN_URL, SECURITY_URL


@rule(
    "docker-container-unprivileged",
    CONTAINER,
    "privileged",
    description="A container is not privileged",
    severity="critical",
    remediation="Leave privileged out or set it to False; add the one capability that is needed, if any.",
    url=RUN_URL + "#privileged",
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
    url=SECURITY_URL + "protect-access/",
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
    url=RUN_URL + "#cap-drop",
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
    url=RUN_URL + "#cap-add",
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
    url=RUN_URL + "#security-opt",
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
    url=SECURITY_URL + "seccomp/",
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
    url=SECURITY_URL + "apparmor/",
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
    url=RUN_URL + "#security-opt",
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
    url=RUN_URL + "#read-only",
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
