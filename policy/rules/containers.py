"""What several rules read off a container: its environment, its mounts, the host name and networks it answers on."""

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

# Programs that keep data and trust whoever reaches them: by the last part of their image's name, and by their port.
DATASTORES = frozenset({"postgres", "postgresql", "mysql", "mariadb", "mongo", "redis", "valkey", "memcached", "ollama"})
# Programs that bring requests in from outside: by the last part of their image's name, and by the variable with their token.
_CONNECTORS = frozenset({"cloudflared", "ngrok"})
_TOKENS = frozenset({"NGROK_AUTHTOKEN", "TUNNEL_TOKEN"})
DATASTORE_PORTS = frozenset({3306, 5432, 6379, 11211, 11434, 27017})


def variables(container: Resource) -> Iterator[Variable]:
    """The environment; what is not yet known is left to the framework."""
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
    """Everything that names what is mounted: folders of the host, volumes, and where they are in the container."""
    for _, volume in container.inputs.each("volumes"):
        yield from (str(volume.get(key, "")) for key in ("hostPath", "volumeName", "containerPath"))
    for _, mount in container.inputs.each("mounts"):
        yield from (str(mount.get(key, "")) for key in ("source", "target"))


def networks(container: Resource) -> set[str]:
    """Names of the networks it is on."""
    return {str(network.get("name", "")) for network in container.inputs.whole("networksAdvanced")}


def names(container: Resource) -> set[str]:
    """Names that other containers find it by."""
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
    return [one for one in containers if image_name(one) in _CONNECTORS or _TOKENS & {held.name for held in variables(one)}]


def reached(containers: list[Resource]) -> list[Resource]:
    """Those that requests from outside reach: what publishes a port, and what a connector shares a network with."""
    outer = connectors(containers)
    ways = {network for one in outer for network in networks(one)} - {""}
    return [one for one in containers if is_published(one) or (one not in outer and networks(one) & ways)]


def is_published(container: Resource) -> bool:
    """Whether a port of it is a port of the host."""
    return bool(container.inputs.get("publishAllPorts", False)) or bool(container.inputs.get("ports", []))
