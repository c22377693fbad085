"""ops.deploy.repair with doubles: what is started, what is made again, and what is refused."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops.clients import process
from ops.clients.docker import Docker
from ops.deploy import repair
from ops.errors import UserError
from ops.stack import inventory, state
from ops.stack.inventory import Container
from ops.stack.stack import Stack
from tests.support.containers import GATEWAY

ELSEWHERE = " ".join(state.ELSEWHERE)


class Machine:
    """A state, a daemon, and what was asked of both."""

    def __init__(self) -> None:
        self.resources = [
            resource("volume", "skyvern-dev-postgres", protect=True),
            resource("network", "n" * 64, "skyvern-dev-data"),
            resource("container", "a" * 64, "skyvern-dev-postgres"),
            resource("container", "b" * 64, "skyvern-dev-server"),
            resource("container", "c" * 64, "skyvern-dev-server", delete=True),
            {"type": "random:index/randomPassword:RandomPassword", "id": "none", "outputs": {}},
        ]
        self.states = {"a" * 64: "running", "b" * 64: "running", "f" * 64: "exited"}
        self.networks = {"n" * 64}
        self.volumes = {"skyvern-dev-postgres"}
        self.startable = True
        self.calls: list[str] = []
        self.told: list[str] = []

    def pulumi(self, command: list[str], **_: Any) -> bytes:
        if command[1:3] == ["stack", "export"]:
            return json.dumps({"deployment": {"resources": self.resources}}).encode()
        self.calls.append(" ".join(command))
        return b""

    def docker(self, *arguments: str) -> str:
        if arguments[0] == "ps":
            return "".join(f"{one} {state}\n" for one, state in self.states.items())
        if arguments[1] == "ls":
            return "\n".join(self.networks if arguments[0] == "network" else self.volumes)
        self.calls.append(" ".join(arguments))
        if arguments[0] == "start" and not self.startable:
            raise UserError("docker: exit 1: network not found")
        return ""

    def repair(self) -> None:
        repair.repair(Stack("dev", variables={}), Docker("unix:///x"), self.told.append)


def resource(kind: str, identity: str, name: str = "", **marks: bool) -> dict[str, Any]:
    return {"type": f"docker:index/{kind}:{kind.capitalize()}", "id": identity, "outputs": {"name": name or identity}, **marks}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    double = Machine()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(process, "capture", double.pulumi)
    monkeypatch.setattr(Docker, "run", lambda self, *arguments, **_: double.docker(*arguments))
    return double


def test_nothing_to_do_is_silent(machine: Machine) -> None:
    machine.repair()
    assert (machine.told, machine.calls) == ([], [])


def test_a_stack_that_was_never_deployed(machine: Machine) -> None:
    machine.resources = []
    machine.repair()
    assert (machine.told, machine.calls) == ([], [])


def test_what_was_stopped_is_started_in_the_order_of_the_state(machine: Machine) -> None:
    machine.states |= {"b" * 64: "exited", "a" * 64: "paused"}
    machine.repair()
    assert machine.calls == [f"unpause {'a' * 64}", f"start {'b' * 64}"]
    assert machine.told == [
        "container skyvern-dev-postgres did not run (paused): started",
        "container skyvern-dev-server did not run (exited): started",
    ]


def test_a_container_in_a_restart_loop_is_left_to_docker(machine: Machine) -> None:
    machine.states["b" * 64] = "restarting"
    machine.repair()
    assert machine.calls == []


def test_pulumi_is_shown_what_has_gone(machine: Machine) -> None:
    del machine.states["b" * 64]
    machine.networks = set()
    machine.repair()
    assert machine.calls == [f"pulumi refresh {ELSEWHERE} --yes --skip-preview --stack dev --non-interactive"]
    assert machine.told == [
        "network skyvern-dev-data is gone: the up makes it again",
        "container skyvern-dev-server is gone: the up makes it again",
    ]


def test_a_container_that_does_not_start_is_made_again(machine: Machine) -> None:
    machine.states["b" * 64] = "exited"
    machine.startable = False
    machine.repair()
    assert machine.calls == [
        f"start {'b' * 64}",
        f"rm --force {'b' * 64}",
        f"pulumi refresh {ELSEWHERE} --yes --skip-preview --stack dev --non-interactive",
    ]
    assert "does not start: removed (docker: exit 1: network not found)" in machine.told[0]


def test_a_data_volume_that_has_gone_is_refused_before_anything_is_done(machine: Machine) -> None:
    machine.volumes = set()
    machine.states["b" * 64] = "exited"
    with pytest.raises(UserError, match=r"^stack dev: skyvern-dev-postgres on unix:///x: the volume and the data in it are gone"):
        machine.repair()
    assert machine.calls == []


def test_waiting_until_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = iter([[replace(GATEWAY, health="starting")], [replace(GATEWAY, status="restarting")], [GATEWAY]])

    def containers(docker: Docker, stack: str) -> list[Container]:
        assert stack == "dev"
        return next(rounds)

    monkeypatch.setattr(inventory, "containers", containers)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    told: list[str] = []
    repair.wait_until_healthy(Stack("organization/skyvern/dev"), Docker("unix:///x"), told.append)
    assert told == [f"waiting until healthy: {GATEWAY.name}"]


def test_a_container_that_never_gets_well_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "containers", lambda docker, stack: [replace(GATEWAY, health="unhealthy")])
    monkeypatch.setattr(repair, "HEALTHY_SECONDS", -1)
    with pytest.raises(UserError, match=rf"^stack dev: not healthy within -1 s: {GATEWAY.name}; bin/ops doctor -s dev says"):
        repair.wait_until_healthy(Stack("dev"), Docker("unix:///x"), lambda _: None)
