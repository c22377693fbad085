"""Privileges of a container on its host: capabilities, security options, its user."""

import re
from typing import Any

from ..containers import (
    SERVICE,
    container_property_rule,
    container_rule,
    either,
    host_paths,
    in_spec,
    program_property_rule,
    program_rule,
    spec,
)
from ..framework.property import Expect, none_of, on, unset
from ..framework.rule import Finding, Findings, Parameters, Resource, matches
from . import RUN_URL, SECURITY_URL

unprivileged = container_property_rule(
    "docker-container-unprivileged",
    "privileged",
    Expect(unset, why="the container is root on the host", write="privileged=False"),
    description="A container is not privileged",
    severity="critical",
    remediation="Leave privileged out or set it to False; add the one capability that is needed, if any.",
    url=RUN_URL + "#privileged",
    cis=("5.5",),
    kics=("ae5b6871",),
)

docker_socket_unmounted = program_property_rule(
    "docker-container-docker-socket-unmounted",
    "volumes, mounts",
    Expect(
        lambda source: not re.search(r"(docker|containerd|podman)[^/]*\.sock$", source),
        why="whoever opens Docker's socket is root on the host",
        write="no such mount",
    ),
    reads=host_paths,
    description="Docker's socket is in no container",
    severity="critical",
    remediation="Remove the mount, read-only ones too: whoever can open the socket starts privileged containers.",
    url=SECURITY_URL + "protect-access/",
    cis=("5.32",),
    kics=("d6355c88",),
)


@program_rule(
    "docker-container-capabilities-dropped",
    "capabilities.drops",
    description="A container drops every capability",
    severity="high",
    remediation='Set capabilities.drops to ["ALL"].',
    url=RUN_URL + "#cap-drop",
    cis=("5.4",),
    kics=("ce76b7d0",),
)
def capabilities_dropped(container: Resource, parameters: Parameters) -> Findings:
    service = container.type == SERVICE
    names = spec(container).whole("capDrops") if service else container.inputs.section("capabilities").whole("drops")
    if "ALL" not in {str(name).upper().removeprefix("CAP_") for name in names}:
        path = "taskSpec.containerSpec.capDrops" if service else "capabilities.drops"
        yield Finding(path=path, why="Docker's default capabilities stay", write='["ALL"]')


@program_rule(
    "docker-container-capabilities-not-added",
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
    service = container.type == SERVICE
    for path, name in spec(container).each("capAdds") if service else container.inputs.section("capabilities").each("adds"):
        capability = str(name).upper().removeprefix("CAP_")
        granted = matches(container.name, parameters["granted"].get(capability, []))
        if capability not in parameters["allowed"] and not granted:
            yield Finding(path=path, why="the capability is not among the allowed ones", write="no such capability")


@container_rule(
    "docker-container-no-new-privileges",
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


seccomp_on = container_property_rule(
    "docker-container-seccomp-on",
    "securityOpts",
    Expect(none_of("seccomp=unconfined", "seccomp:unconfined"), why="every system call is open", write="no such option"),
    reads="securityOpts[]",
    description="A container keeps a seccomp profile",
    severity="high",
    remediation="Remove seccomp=unconfined; write a profile that allows the one system call that is missing.",
    url=SECURITY_URL + "seccomp/",
    cis=("5.22",),
    kics=("404fde2c",),
)

apparmor_on = container_property_rule(
    "docker-container-apparmor-on",
    "securityOpts",
    Expect(none_of("apparmor=unconfined", "apparmor:unconfined"), why="AppArmor is off", write="no such option"),
    reads="securityOpts[]",
    description="A container keeps an AppArmor profile where the host has AppArmor",
    severity="high",
    remediation="Remove apparmor=unconfined.",
    url=SECURITY_URL + "apparmor/",
    cis=("5.2",),
)

selinux_on = program_property_rule(
    "docker-container-selinux-on",
    "securityOpts",
    Expect(none_of("label=disable", "label:disable", True), why="SELinux is off", write="no such option"),
    reads=either("securityOpts[]", "taskSpec.containerSpec.privileges.seLinuxContext.disable"),
    description="A container keeps its SELinux label where the host has SELinux",
    severity="high",
    remediation="Remove label=disable.",
    url=RUN_URL + "#security-opt",
    cis=("5.3",),
)

root_read_only = program_property_rule(
    "docker-container-root-read-only",
    "readOnly",
    Expect(on, why="an intruder can change the programs", write="read_only=True and a tmpfs for /tmp"),
    reads=in_spec("readOnly"),
    description="A container's root file system is read-only",
    severity="medium",
    remediation="Set readOnly=True; give the folders that are written to a tmpfs or a volume.",
    url=RUN_URL + "#read-only",
    cis=("5.13",),
)


def _is_not_root(user: Any) -> bool:
    # A name proves nothing: the image decides which number it is.
    number = str(user).partition(":")[0]
    return number.isdigit() and int(number) > 0


user_not_root = program_property_rule(
    "docker-container-user-not-root",
    "user",
    Expect(_is_not_root, why="the program may be root in its container", write='a number, for example "10001:10001"'),
    reads=in_spec("user"),
    unless="granted",
    description="A container runs as a numeric user other than root, unless levels.yaml grants it root",
    severity="medium",
    remediation='Set user to a number, "10001:10001".',
    url="https://docs.docker.com/build/building/best-practices/#user",
    cis=("4.1",),
)
