"""Properties of a container that several rules read: its environment, its mounts, its host names and networks."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from .framework.property import property_rule
from .framework.rule import Resource, rule
from .variables import Variable

CONTAINER = "docker:index/container:Container"
NETWORK = "docker:index/network:Network"
VOLUME = "docker:index/volume:Volume"
REMOTE_IMAGE = "docker:index/remoteImage:RemoteImage"
PROVIDER = "pulumi:providers:docker"
container_rule = partial(rule, CONTAINER)
container_property_rule = partial(property_rule, CONTAINER)

PORTS_URL = "https://docs.docker.com/engine/network/port-publishing/"
NETWORKS_URL = "https://docs.docker.com/engine/network/drivers/bridge/"

# Programs that keep data and trust every client: by the last part of their image's name, and by their port.
DATASTORES = frozenset({"postgres", "postgresql", "mysql", "mariadb", "mongo", "redis", "valkey", "memcached", "ollama"})
# Programs that bring requests in from outside: by the last part of their image's name, and by the variable with their token.
_CONNECTORS = frozenset({"cloudflared", "ngrok"})
_TOKENS = frozenset({"NGROK_AUTHTOKEN", "TUNNEL_TOKEN"})
DATASTORE_PORTS = frozenset({3306, 5432, 6379, 11211, 11434, 27017})


def variables(container: Resource) -> Iterator[Variable]:
    """The environment; unknown elements are left to the framework."""
    for path, text in container.inputs.each("envs"):
        name, _, value = str(text).partition("=")
        yield Variable(path, name, value)


def host_paths(container: Resource) -> Iterator[tuple[str, str]]:
    """Property path and folder of the host of everything that is mounted from it, without a trailing slash."""
    for path, volume in container.inputs.each("volumes"):
        if source := volume.get("hostPath"):
            yield f"{path}.hostPath", _clean(source)
    for path, mount in container.inputs.each("mounts"):
        if mount.get("type") == "bind" and (source := mount.get("source")):
            yield f"{path}.source", _clean(source)


def _clean(path: Any) -> str:
    return str(path).replace("\\", "/").rstrip("/") or "/"


def written_volumes(container: Resource) -> Iterator[str]:
    """Names of the volumes that a container may write to."""
    for _, volume in container.inputs.each("volumes"):
        if (name := volume.get("volumeName")) and not volume.get("readOnly", False):
            yield str(name)
    for _, mount in container.inputs.each("mounts"):
        if mount.get("type") == "volume" and not mount.get("readOnly", False) and (name := mount.get("source")):
            yield str(name)


def mounted_paths(container: Resource) -> Iterator[str]:
    """Names of everything that is mounted: folders of the host, volumes, and their paths in the container."""
    for _, volume in container.inputs.each("volumes"):
        yield from (str(volume.get(key, "")) for key in ("hostPath", "volumeName", "containerPath"))
    for _, mount in container.inputs.each("mounts"):
        yield from (str(mount.get(key, "")) for key in ("source", "target"))


def networks(container: Resource) -> set[str]:
    """Names of the networks it is on."""
    return {str(network.get("name", "")) for network in container.inputs.whole("networksAdvanced")}


def names(container: Resource) -> set[str]:
    """Names that other containers reach it by."""
    aliases = {str(alias) for network in container.inputs.whole("networksAdvanced") for alias in network.whole("aliases")}
    return aliases | {str(container.inputs.get(key, "")) for key in ("name", "hostname")} - {""}


def image_name(container: Resource) -> str:
    """The last part of its image's name, without tag and digest: ``postgres``."""
    return str(container.inputs.get("image", "")).partition("@")[0].rpartition("/")[2].partition(":")[0]


def is_datastore(container: Resource) -> bool:
    """Whether it is a database, a cache or a model server, by its image."""
    return image_name(container) in DATASTORES


def connectors(containers: list[Resource]) -> list[Resource]:
    """Those that bring requests in from outside: by their image, or by the token that such a program is started with."""
    return [
        container
        for container in containers
        if image_name(container) in _CONNECTORS or _TOKENS & {variable.name for variable in variables(container)}
    ]


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
    return bool(container.inputs.get("publishAllPorts", False)) or bool(container.inputs.get("ports", []))
