"""ops.stack.state with doubles: what Docker has beside the state, and the refresh."""

from typing import Any

import pytest

from ops.clients.docker import Docker
from ops.stack import state
from ops.stack.inventory import Labelled
from ops.stack.stack import Stack

SERVER = Labelled("container", "a" * 64, "skyvern-dev-server")
NETWORK = Labelled("network", "b" * 64, "skyvern-dev-data")
CONTAINER = {"type": "docker:index/container:Container", "id": SERVER.id}


@pytest.mark.parametrize(
    ("recorded", "left"),
    [
        ({}, [SERVER, NETWORK]),
        ({"resources": None}, [SERVER, NETWORK]),
        ({"resources": [CONTAINER]}, [NETWORK]),
        # Another provider's identifiers are of other things.
        ({"resources": [{**CONTAINER, "type": "random:index/randomPassword:RandomPassword"}]}, [SERVER, NETWORK]),
        ({"resources": [{"type": "pulumi:pulumi:Stack"}, CONTAINER, {**CONTAINER, "id": NETWORK.id}]}, []),
    ],
)
def test_what_the_state_does_not_know_is_left(recorded: dict[str, Any], left: list[Labelled]) -> None:
    assert state.leftovers(recorded, [SERVER, NETWORK]) == left


def test_containers_come_before_their_networks_and_volumes_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[str] = []

    def run(self: Docker, kind: str, *arguments: str) -> str:
        assert "label=skyvern.stack=dev" in arguments
        kinds.append(kind)
        return "".join(f"{item.id} {item.name}\n" for item in (NETWORK, SERVER) if item.kind == kind)

    monkeypatch.setattr(Docker, "run", run)
    assert state.disposable(Docker("unix:///x"), "dev") == [SERVER, NETWORK]
    assert kinds == ["container", "network"]


def test_a_refresh_asks_nothing_and_has_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def pulumi(self: Stack, *arguments: str, timeout_seconds: float) -> bytes:
        assert arguments == ("refresh", "--clear-pending-creates", *state.ELSEWHERE, "--yes", "--skip-preview")
        assert timeout_seconds == state.REFRESH_SECONDS
        asked.append(self)
        return b""

    asked: list[Stack] = []
    monkeypatch.setattr(Stack, "pulumi", pulumi)
    state.refresh(Stack("dev"), "--clear-pending-creates")
    assert asked == [Stack("dev")]
