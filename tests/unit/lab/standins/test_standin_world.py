"""The world's file: atomic changes, the journal without secrets, faults that strike once."""

import threading
from pathlib import Path

import pytest

from lab.standins.providers import World
from lab.standins.providers.wire import Secret
from lab.standins.providers.world import connected, take_fault


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.create(tmp_path / "world.json", {"things": {}})


def test_edits_of_many_threads_are_all_there(world: World) -> None:
    def add(number: int) -> None:
        with world.edit() as data:
            data["things"][str(number)] = number

    threads = [threading.Thread(target=add, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(world.read()["things"]) == 20


def test_an_edit_that_raises_changes_nothing(world: World) -> None:
    def broken() -> None:
        with world.edit() as data:
            data["things"]["half"] = 1
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert world.read()["things"] == {}


def test_the_journal_hashes_secrets_wherever_they_are(world: World) -> None:
    world.record({"operation": "create", "inputs": {"plain": 1, "list": [{"deep": Secret("hunter2")}]}})
    world.record({"operation": "delete"})
    created, deleted = world.journal()
    assert created["inputs"]["plain"] == 1
    assert created["inputs"]["list"][0]["deep"].startswith("sha256:")
    assert "hunter2" not in world.path.with_suffix(".journal").read_text()
    assert world.journal("delete") == [deleted]
    world.forget_journal()
    assert world.journal() == []


def test_a_fault_strikes_the_call_it_is_for_and_only_once(world: World) -> None:
    with world.edit() as data:
        assert take_fault(data) is None
    world.fail(call=2, code=7)
    world.crash(call=3)
    with world.edit() as data:
        struck = [take_fault(data) for _ in range(4)]
        assert data["faults"] == []
    assert [fault and (fault.get("code"), fault.get("crash")) for fault in struck] == [None, (7, None), (None, True), None]


def test_connections_live_as_long_as_their_path(world: World, tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    world.connect("a", alive)
    assert not connected(world.read(), "a")
    alive.touch()
    assert connected(world.read(), "a")
    assert not connected(world.read(), "b")
