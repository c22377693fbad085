"""The records of a Docker daemon, for tests of whole plans that need no running container: what exists, and under which name.

Keys of the world: ``containers``, ``networks``, ``volumes``, and of a Swarm ``services`` and ``secrets`` (by id, with the
outputs that the SDK names). A container is healthy at once, and so is a service. Beside the world is a folder
``<world>.running`` with a file for each container, which ``World.connect`` can take for the life of a tunnel's connector.
Not here: images, and refusals other than of names that are taken, networks in use and secrets in use.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from lab.standins.providers.vendor import Call, Kind, Properties, Refused, Vendor, hex_id
from lab.standins.providers.world import World


class _Named(Kind):
    """A kind whose names are unique."""

    collection: ClassVar[str]

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        stored = call.data[self.collection]
        if any(other["name"] == inputs["name"] for other in stored.values()):
            raise Refused(f'Error response from daemon: Conflict. The name "{inputs["name"]}" is already in use', 409)
        identifier = hex_id()
        stored[identifier] = dict(inputs)
        stored[identifier] |= self.added(identifier, stored)
        return identifier, dict(stored[identifier])

    def added(self, identifier: str, stored: Mapping[str, Any]) -> Properties:
        """Outputs that the daemon chooses."""
        return {}

    def read(self, call: Call, identifier: str, known: Mapping[str, Any]) -> Properties | None:
        stored: Properties | None = call.data[self.collection].get(identifier)
        return stored

    def update(self, call: Call, identifier: str, inputs: Properties, known: Mapping[str, Any]) -> Properties:
        call.data[self.collection][identifier] |= inputs
        return dict(call.data[self.collection][identifier])

    def delete(self, call: Call, identifier: str, known: Mapping[str, Any]) -> None:
        del call.data[self.collection][identifier]


class Container(_Named):
    """A container; nearly everything about it is fixed when it is made."""

    resource = "Container"
    collection = "containers"
    sets = frozenset({"envs"})
    replaces = frozenset(
        """
        capabilities command entrypoints envs gpus healthcheck hostname image init ipcMode labels logDriver logOpts name
        networkMode networksAdvanced ports privileged readOnly securityOpts shmSize stopTimeout tmpfs user volumes
        """.split()
    )

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        made = super().create(call, inputs)
        running = Path(call.data["running"])
        running.mkdir(exist_ok=True)
        (running / inputs["name"]).touch()
        return made

    def delete(self, call: Call, identifier: str, known: Mapping[str, Any]) -> None:
        name = call.data[self.collection][identifier]["name"]
        super().delete(call, identifier, known)
        (Path(call.data["running"]) / name).unlink()


class Network(_Named):
    """A network, which cannot be removed while a container is on it."""

    resource = "Network"
    collection = "networks"
    replaces = frozenset({"attachable", "driver", "internal", "ipamConfigs", "ipv6", "labels", "name", "options"})

    computed = frozenset({"ipamConfigs"})

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        wanted = {config["subnet"] for config in inputs.get("ipamConfigs") or []}
        for other in call.data[self.collection].values():
            if wanted & {config["subnet"] for config in other["ipamConfigs"]}:
                raise Refused("Error response from daemon: Pool overlaps with other one on this address space", 403)
        return super().create(call, inputs)

    def added(self, identifier: str, stored: Mapping[str, Any]) -> Properties:
        if stored[identifier].get("ipamConfigs"):
            return {}
        number = len(stored)
        return {"ipamConfigs": [{"subnet": f"10.9.{number}.0/24", "gateway": f"10.9.{number}.1"}]}

    def delete(self, call: Call, identifier: str, known: Mapping[str, Any]) -> None:
        name = call.data[self.collection][identifier]["name"]
        for container in call.data["containers"].values():
            if any(network["name"] == name for network in container.get("networksAdvanced", [])):
                raise Refused(f"Error response from daemon: network {name} has active endpoints ({container['name']})", 403)
        super().delete(call, identifier, known)


class Volume(_Named):
    """A volume."""

    resource = "Volume"
    collection = "volumes"
    replaces = frozenset({"driver", "labels", "name"})


class Service(_Named):
    """A service of a Swarm."""

    resource = "Service"
    collection = "services"
    replaces = frozenset({"name"})


class Secret(_Named):
    """A secret of a Swarm, which cannot be removed while a service has it."""

    resource = "Secret"
    collection = "secrets"
    replaces = frozenset({"data", "labels", "name"})

    def delete(self, call: Call, identifier: str, known: Mapping[str, Any]) -> None:
        for service in call.data["services"].values():
            if identifier in secrets_of(service):
                name = call.data[self.collection][identifier]["name"]
                message = f"secret '{name}' is in use by the following service: {service['name']}"
                raise Refused(f"Error response from daemon: rpc error: code = InvalidArgument desc = {message}", 400)
        super().delete(call, identifier, known)


def secrets_of(service: Mapping[str, Any]) -> list[str]:
    """The ids of the secrets that a service has."""
    return [secret["secretId"] for secret in service["taskSpec"]["containerSpec"].get("secrets") or []]


VENDOR = Vendor(
    sdk="pulumi_docker",
    kinds=(Container(), Network(), Volume(), Service(), Secret()),
    functions={},
    check_config=lambda config: [],
    environment={},
)


def add_daemon(world: World) -> Path:
    """Puts an empty daemon into a world; the folder in which each container has a file as long as it exists."""
    running = world.path.with_suffix(".running")
    with world.edit() as data:
        data |= {"containers": {}, "networks": {}, "volumes": {}, "services": {}, "secrets": {}, "running": str(running)}
    return running
