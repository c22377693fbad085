"""Secrets of a Swarm whose replacement failed, behind the real engine: their values can come back, and what is recorded is true.

The Swarm is a stand-in that refuses what the real one refuses: a name that is taken, and to remove a secret that a service has.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from lab.standins.providers import World, docker
from ops.clients.docker import Docker
from ops.clients.swarm import Swarm
from ops.deploy import recovery
from ops.machine.engine_from_modules import Engine
from ops.paths import ROOT
from tests.engine.project import OwnStack, Project

pytestmark = pytest.mark.timeout(300)

# Two services; the second is updated after the first.
PROGRAM = """\
import pulumi
from components.host.service import Health, ServiceArgs
from components.host.swarm import SwarmEngine

value = pulumi.Config().require_secret("value")
swarm = SwarmEngine("key of the names")
before = "x"
for part in ("first", "second"):
    parent = pulumi.ComponentResource("test:index:Part", part, opts=pulumi.ResourceOptions())
    before = swarm.run(f"test-{part}", ServiceArgs(
        prefix="skyvern-test", part=part, image="x", user="1:1", health=Health(command=["true"], start_seconds=1),
        networks=["a"], memory_mib=64, cpus=0.5, command=["x"],
        environment={"KEY": pulumi.Output.all(value, before).apply(lambda both: f"{both[0]} {both[1]}")},
    ), parent)
"""


class Place:
    """The project, its world, and the Swarm's commands."""

    def __init__(self, engine: Engine, folder: Path, home: Path) -> None:
        self.world = World.create(folder / "world.json", {})
        docker.add_daemon(self.world)
        self.project = Project(
            engine, folder, PROGRAM, {"PULUMI_HOME": str(home), "PYTHONPATH": str(ROOT), **self.world.variables()}
        )
        self.stack = OwnStack("test", root=self.project.folder, variables=self.project.variables)

    def write(self, value: str) -> None:
        self.project.succeed("config", "set", "--secret", "value", value)

    def recover(self) -> list[str]:
        lines: list[str] = []
        recovery.recover(self.stack, Swarm("unix:///x"), lines.append)
        return lines

    def run(self, *arguments: Any) -> str:
        """``docker ARGUMENTS``."""
        with self.world.edit() as data:
            match arguments:
                case ["service", "ls", *_]:
                    return "\n".join(data["services"])
                case ["service", "inspect", *ids]:
                    return json.dumps([_service(identifier, data["services"][identifier]) for identifier in ids])
                case ["secret", "ls", *_]:
                    return "\n".join(f"{identifier} {made['name']}" for identifier, made in data["secrets"].items())
                case ["secret", "rm", identifier]:
                    assert identifier not in self.used(data)
                    del data["secrets"][identifier]
                    return ""
                case ["network", "ls", *_]:
                    return ""
        raise AssertionError(arguments)

    def used(self, data: dict[str, Any]) -> set[str]:
        return {secret for service in data["services"].values() for secret in docker.secrets_of(service)}

    def assert_whole(self) -> None:
        """Each service has its secret, there is no other, and nothing is left to do."""
        data = self.world.read()
        assert len(data["secrets"]) == 2
        assert self.used(data) == data["secrets"].keys()
        assert not [one for one in self.stack.state()["resources"] if one.get("delete")]
        self.project.succeed("preview", "--expect-no-changes")


def _service(identifier: str, made: dict[str, Any]) -> dict[str, Any]:
    secrets = [{"SecretID": secret} for secret in docker.secrets_of(made)]
    template = {"ContainerSpec": {"Image": "x", "Secrets": secrets}}
    return {"ID": identifier, "Spec": {"Name": made["name"], "TaskTemplate": template, "Mode": {"Replicated": {"Replicas": 1}}}}


@pytest.fixture
def place(engine: Engine, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(engine, tmp_path, home)
    monkeypatch.setattr(Docker, "run", lambda self, *arguments, **_: made.run(*arguments))
    made.write("a value")
    made.project.succeed("up", "--yes", "--skip-preview")
    made.assert_whole()
    return made


@pytest.mark.parametrize("then", ["a value", "another"])
def test_a_value_comes_back_after_an_update_that_failed(place: Place, then: str) -> None:
    place.write("another")
    # Each service after its secret: the first is updated, the second rolled back.
    place.world.fail(4, message="task: non-zero exit (1)")
    place.project.fail("up", "--yes", "--skip-preview")
    place.write(then)
    if then == "a value":
        assert "is already in use" in place.project.fail("up", "--yes", "--skip-preview")
    place.recover()
    place.project.succeed("up", "--yes", "--skip-preview")
    place.assert_whole()
    assert place.recover() == []
