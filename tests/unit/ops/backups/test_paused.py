"""Whose schedules ``ops resume`` starts, after one restore and after several."""

import json
from pathlib import Path

import pytest

from ops.backups import notes, paused
from ops.backups.paused import Pause
from ops.stack.stack import Stack
from tests.support.daemon import daemon

MONDAY, TUESDAY, WEDNESDAY, THURSDAY = "20261123-090000", "20261124-090000", "20261125-090000", "20261126-090000"
FIRST = Pause(stamp=TUESDAY, made=MONDAY, schedules=["a", "b"])


def test_nothing_is_paused_without_a_restore() -> None:
    assert paused.current([]) == []
    assert paused.parse("") == []


def test_a_second_restore_keeps_what_the_first_one_paused() -> None:
    """Its set was made while a and b were off, so it pauses c alone."""
    second = Pause(stamp=THURSDAY, made=WEDNESDAY, schedules=["c"])
    assert sorted(paused.current([FIRST, second])) == ["a", "b", "c"]


def test_what_a_person_had_turned_off_before_stays_off() -> None:
    """A set from before the first restore: b was off in it, and no restore had to do with that."""
    second = Pause(stamp=WEDNESDAY, made="20261122-090000", schedules=["a"])
    assert paused.current([FIRST, second]) == ["a"]
    # And one of a set that was made in between goes back past it.
    assert sorted(paused.current([FIRST, second, Pause(stamp=THURSDAY, made=TUESDAY, schedules=[])])) == ["a", "b"]


def test_what_was_started_again_is_left_alone_afterwards() -> None:
    resumed = Pause(stamp=TUESDAY, made=MONDAY, schedules=["a"], resumed=WEDNESDAY)
    assert paused.current([resumed]) == []
    assert paused.current([resumed, Pause(stamp=THURSDAY, made=WEDNESDAY, schedules=["a"])]) == ["a"]
    # A set from before it was started again has it off.
    assert paused.current([resumed, Pause(stamp=THURSDAY, made="20261124-120000", schedules=[])]) == ["a"]


def test_what_an_earlier_version_noted_is_read() -> None:
    (old,) = paused.parse('{"set": "20261123T000000Z", "schedules": ["a"]}')
    assert paused.current([old]) == ["a"]
    assert sorted(paused.current([old, Pause(stamp=THURSDAY, made=WEDNESDAY, schedules=["b"])])) == ["a", "b"]


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the notes."""
    there = tmp_path / "paused.json"
    monkeypatch.setattr(notes, "read", lambda *arguments: there.read_text() if there.exists() else "")
    monkeypatch.setattr(notes, "write", lambda stack, docker, image, path, text: there.write_text(text))
    return there


def test_a_restore_that_is_undone_leaves_what_the_one_before_paused(noted: Path) -> None:
    where = (Stack("dev"), daemon(), "image")
    paused.add(*where, FIRST)
    paused.add(*where, Pause(stamp=THURSDAY, made=WEDNESDAY, schedules=["c"]))
    paused.note_resumed(*where, THURSDAY)
    assert paused.current(paused.read(*where)) == []
    # What is there again is as the first one left it.
    paused.forget(*where, THURSDAY)
    assert paused.current(paused.read(*where)) == ["a", "b"]
    paused.forget(*where, TUESDAY)
    assert json.loads(noted.read_text()) == []
