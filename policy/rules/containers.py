"""Properties of a container that several rules read: its environment, its mounts, its host names and networks.

A service of a Swarm is containers, too, with the same properties at other paths. A rule that judges both is a ``program_rule``.
"""

from collections.abc import Collection, Iterator
from functools import partial
from typing import Any

from .framework.property import Reader, property_rule
from .framework.rule import Resource, Stack, rule
from .framework.values import Inputs
from .variables import Variable

CONTAINER = "docker:index/container:Container"
SERVICE = "docker:index/service:Service"
NETWORK = "docker:index/network:Network"
SECRET = "docker:index/secret:Secret"  # noqa: S105  a resource's type
VOLUME = "docker:index/volume:Volume"
REMOTE_IMAGE = "docker:index/remoteImage:RemoteImage"
PROVIDER = "pulumi:providers:docker"
container_rule = partial(rule, CONTAINER)
container_property_rule = partial(property_rule, CONTAINER)
# About containers and services.
program_rule = partial(rule, CONTAINER, also=(SERVICE,))
program_property_rule = partial(property_rule, CONTAINER, also=(SERVICE,))

PORTS_URL = "https://docs.docker.com/engine/network/port-publishing/"
NETWORKS_URL = "https://docs.docker.com/engine/network/drivers/bridge/"

# Programs that keep data and trust every client: by the last part of their image's name, and by their port.
DATASTORES = frozenset({"postgres", "postgresql", "mysql", "mariadb", "mongo", "redis", "valkey", "memcached", "ollama"})
# Programs that bring requests in from outside: by the last part of their image's name, and by the variable with their token.
_CONNECTORS = frozenset({"cloudflared", "ngrok"})
_TOKENS = frozenset({"NGROK_AUTHTOKEN", "TUNNEL_TOKEN"})
DATASTORE_PORTS = frozenset({3306, 5432, 6379, 11211, 11434, 27017})


def spec(container: Resource) -> Inputs:
    """What describes the container itself: of a service, a part of what it describes."""
    inputs = container.inputs
    return inputs.section("taskSpec").section("containerSpec") if container.type == SERVICE else inputs


def either(path: str, of_service: str) -> Reader:
    """Reads a property at its path in a container, or in a service."""
    return lambda resource: resource.inputs.at(of_service if resource.type == SERVICE else path)


def in_spec(path: str) -> Reader:
    """Reads a property that both have by the same name."""
    return either(path, f"taskSpec.containerSpec.{path}")


# Of a service, where a container has a property: in a message about it.
_OF_SERVICE = {
    "envs": "taskSpec.containerSpec.env",
    "networksAdvanced": "taskSpec.networksAdvanceds",
    "ports": "endpointSpec.ports",
    "volumes": "taskSpec.containerSpec.mounts",
}


def place(container: Resource, property_: str) -> str:
    """The path of a property of a container, or of a service."""
    return _OF_SERVICE[property_] if container.type == SERVICE else property_


def containers_of(stack: Stack) -> list[Resource]:
    """Containers and services, by name."""
    return sorted([*stack.of_type(CONTAINER), *stack.of_type(SERVICE)], key=lambda resource: resource.name)


def need_variables(container: Resource) -> None:
    """Ends a check where a variable is unknown: it may be the one that is missing."""
    if container.type == SERVICE:
        environment = spec(container).section("env")
        for name in environment.values:
            environment.get(name)
    else:
        container.inputs.whole("envs")


def variables(container: Resource) -> Iterator[Variable]:
    """The environment; unknown elements are left to the framework."""
    if container.type == SERVICE:
        for path, name, value in spec(container).entries("env"):
            yield Variable(path, name, str(value or ""))
        return
    for path, text in container.inputs.each("envs"):
        name, _, value = str(text).partition("=")
        yield Variable(path, name, value)


def has_variable(container: Resource, wanted: Collection[str]) -> bool:
    """Whether it has one of these with a value, or as a secret of a Swarm: a file, by the last part of its name."""
    if any(variable.value and variable.name in wanted for variable in variables(container)):
        return True
    files = spec(container).each("secrets") if container.type == SERVICE else ()
    return any(str(secret.get("fileName", "")).rpartition("/")[2] in wanted for _, secret in files)


def arguments(container: Resource) -> Iterator[tuple[str, Any]]:
    """Program and arguments, each with its path."""
    for key in ("commands", "args") if container.type == SERVICE else ("command",):
        yield from spec(container).each(key)


def ports(container: Resource) -> Iterator[tuple[str, int, int]]:
    """Of each published port: path, the port inside, the port outside."""
    if container.type == SERVICE:
        for path, port in container.inputs.section("endpointSpec").each("ports"):
            yield path, port.get("targetPort", 0), port.get("publishedPort", 0)
        return
    for path, port in container.inputs.each("ports"):
        yield path, port.get("internal", 0), port.get("external", 0)


def host_paths(container: Resource) -> Iterator[tuple[str, str]]:
    """Property path and folder of the host of everything that is mounted from it, without a trailing slash."""
    for path, volume in spec(container).each("volumes"):
        if source := volume.get("hostPath"):
            yield f"{path}.hostPath", _clean(source)
    for path, mount in spec(container).each("mounts"):
        if mount.get("type") == "bind" and (source := mount.get("source")):
            yield f"{path}.source", _clean(source)


def _clean(path: Any) -> str:
    return str(path).replace("\\", "/").rstrip("/") or "/"


def written_volumes(container: Resource) -> Iterator[str]:
    """Names of the volumes that a container may write to."""
    for _, volume in spec(container).each("volumes"):
        if (name := volume.get("volumeName")) and not volume.get("readOnly", False):
            yield str(name)
    for _, mount in spec(container).each("mounts"):
        if mount.get("type") == "volume" and not mount.get("readOnly", False) and (name := mount.get("source")):
            yield str(name)


def mounted_paths(container: Resource) -> Iterator[str]:
    """Names of everything that is mounted: folders of the host, volumes, and their paths in the container."""
    for _, volume in spec(container).each("volumes"):
        yield from (str(volume.get(key, "")) for key in ("hostPath", "volumeName", "containerPath"))
    for _, mount in spec(container).each("mounts"):
        yield from (str(mount.get(key, "")) for key in ("source", "target"))


def networks(container: Resource) -> set[str]:
    """Names of the networks it is on."""
    return {str(network.get("name") or network.get("id", "")) for network in _networks(container)}


def _networks(container: Resource) -> list[Inputs]:
    if container.type == SERVICE:
        return container.inputs.section("taskSpec").whole("networksAdvanceds")
    return container.inputs.whole("networksAdvanced")


def names(container: Resource) -> set[str]:
    """Names that other containers reach it by."""
    aliases = {str(alias) for network in _networks(container) for alias in network.whole("aliases")}
    return aliases | {str(container.inputs.get("name", "")), str(spec(container).get("hostname", ""))} - {""}


def image_name(container: Resource) -> str:
    """The last part of its image's name, without tag and digest: ``postgres``."""
    return str(spec(container).get("image", "")).partition("@")[0].rpartition("/")[2].partition(":")[0]


def is_datastore(container: Resource) -> bool:
    """Whether it is a database, a cache or a model server, by its image."""
    return image_name(container) in DATASTORES


def connectors(containers: list[Resource]) -> list[Resource]:
    """Those that bring requests in from outside: by their image, or by the token that such a program is started with."""
    return [container for container in containers if image_name(container) in _CONNECTORS or has_variable(container, _TOKENS)]


def reached(containers: list[Resource]) -> list[Resource]:
    """Those that requests from outside reach: they publish a port, or share a network with a connector."""
    outer = connectors(containers)
    shared = {network for connector in outer for network in networks(connector)} - {""}
    return [
        container
        for container in containers
        if is_published(container) or (container not in outer and networks(container) & shared)
    ]


def is_published(container: Resource) -> bool:
    """Whether it publishes a port on the host."""
    if container.type == SERVICE:
        return bool(container.inputs.section("endpointSpec").get("ports", []))
    return bool(container.inputs.get("publishAllPorts", False)) or bool(container.inputs.get("ports", []))
