"""What the backup says of itself, in ops status and in the doctor."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from components.settings import parse
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.observe import backups, doctor
from ops.observe.backups import BackupFacts, Drill
from ops.observe.doctor.observation import Observation
from tests.support.observations import DEPLOYED, HEALTHY, HOST, PULUMI, SERVER

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
GOOD = BackupFacts(
    sets=24,
    newest="20261128T114800Z",
    newest_at=NOW - timedelta(minutes=12),
    age_seconds=720,
    problem="",
    max_age_hours=26,
    waited_seconds=30 * 86400,
)
NEVER = replace(GOOD, sets=None, newest=None, newest_at=None, age_seconds=None, waited_seconds=300)
STATUS = {
    "looked": 1,
    "problem": "",
    "max_age_hours": 26,
    "sets": 24,
    "since": int((NOW - timedelta(days=30)).timestamp()),
    "newest": {"set": "20261128T114800Z", "time": int((NOW - timedelta(minutes=12)).timestamp())},
}
PASSED = {"at": "2026-11-27T03:00:00+00:00", "set": "20261127T020000Z", "seconds": 95, "verdict": "passed", "reason": ""}
FAILED = Drill(at=NOW, set="x", seconds=9, verdict="failed", reason="table runs: 3, not 4", last_good=NOW - timedelta(days=20))
BACKUP = replace(SERVER, name="skyvern-dev-backup", part="backup")


def test_the_facts_are_read_from_what_the_container_writes() -> None:
    assert backups.parse(json.dumps(STATUS), "null", NOW) == GOOD
    facts = backups.parse(json.dumps(STATUS), json.dumps(PASSED), NOW)
    drill = facts.drill
    assert facts.good_days == 1
    at = datetime(2026, 11, 27, 3, tzinfo=UTC)
    assert drill == Drill(at=at, set="20261127T020000Z", seconds=95, verdict="passed", last_good=at)


def test_a_drill_is_written_in_the_form_that_is_read() -> None:
    for drill in (replace(FAILED, last_good=None), FAILED, replace(FAILED, verdict="passed", served=False, last_good=NOW)):
        assert backups.parse_drill(drill.to_json()) == drill
    assert backups.parse_drill("null") is None


def test_a_first_set_that_was_never_made_is_too_old_in_the_end() -> None:
    """Nobody was told: without a set there is no age."""
    facts = backups.parse(json.dumps({**STATUS, "newest": None, "sets": None}), "null", NOW)
    assert facts == replace(NEVER, waited_seconds=30 * 86400)
    assert facts.too_old
    assert not NEVER.too_old


@pytest.mark.parametrize("printed", ["", "{", "[]", '{"newest": 1}', json.dumps({**STATUS, "newest": {"set": "x"}})])
def test_anything_else_is_no_answer(printed: str) -> None:
    class Answering(Docker):
        def run(self, *arguments: Any, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
            return f"{printed}\nnull\n"

    assert backups.read(Answering("unix:///x"), [BACKUP]) is None


def test_a_container_that_does_not_run_is_not_asked() -> None:
    class Silent(Docker):
        def run(self, *arguments: Any, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
            raise UserError("docker: no answer")

    assert backups.read(Silent("unix:///x"), [BACKUP]) is None
    assert backups.read(Silent("unix:///x"), [replace(BACKUP, status="exited")]) is None
    assert backups.read(Silent("unix:///x"), []) is None


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, "backup: newest set 20261128T114800Z, 12 min old, 24 in all; never drilled"),
        (
            {"age_seconds": 27 * 3600},
            "backup: newest set 20261128T114800Z, 27 h old, 24 in all, older than the 26 h allowed; never drilled",
        ),
        (
            {"problem": "the repository is full", "age_seconds": 7200},
            "backup: newest set 20261128T114800Z, 2 h old, 24 in all; the repository is full; never drilled",
        ),
        (vars(NEVER), "backup: no set in the 5 min since it first ran; never drilled"),
        (
            vars(replace(NEVER, waited_seconds=27 * 3600, problem="no answer")),
            "backup: no set in the 27 h since it first ran, longer than the 26 h allowed; no answer; never drilled",
        ),
        (
            {"drill": FAILED},
            "backup: newest set 20261128T114800Z, 12 min old, 24 in all; drilled 2026-11-28: failed (table runs: 3, not 4); "
            "last good drill 2026-11-08",
        ),
        (
            {"drill": Drill(at=NOW, set="x", seconds=95, verdict="passed", served=False, last_good=NOW)},
            "backup: newest set 20261128T114800Z, 12 min old, 24 in all; drilled 2026-11-28: passed in 95 s, without Skyvern",
        ),
    ],
)
def test_the_line_of_ops_status(change: dict[str, Any], line: str) -> None:
    assert backups.line(replace(GOOD, **change)) == line


def observed(facts: BackupFacts | None, **changes: Any) -> Observation:
    settings = parse({"backup": {"type": "path", "path": "/mnt/d/x"}}, file="Pulumi.dev.yaml")
    host = replace(HOST, containers=(*HOST.containers, BACKUP), backup=facts)
    # Another container than the state's is a finding of its own.
    pulumi = replace(PULUMI, deployed=None)
    return replace(HEALTHY, settings=settings, host=host, pulumi=pulumi, **changes)


def findings(observation: Observation) -> list[tuple[str, str, str]]:
    return [(one.level, one.problem, one.fix) for one in doctor.examine(observation) if one.check == "backup"]


def test_a_young_set_is_no_finding() -> None:
    assert findings(observed(GOOD)) == []
    assert findings(observed(replace(GOOD, locked_days=14, unpruned_days=30))) == []
    assert findings(observed(replace(GOOD, unpruned_days=300))) == []


def test_what_the_container_notes_of_a_locked_bucket_is_read() -> None:
    noted = {**STATUS, "locked_days": 14, "pruned": int((NOW - timedelta(days=31)).timestamp())}
    assert backups.parse(json.dumps(noted), "null", NOW) == replace(GOOD, locked_days=14, unpruned_days=31)


@pytest.mark.parametrize(
    ("facts", "level", "problem"),
    [
        (None, "warning", "has not looked at its repository yet"),
        (NEVER, "warning", "in the 5 min since the backup first ran, no set was made"),
        (replace(NEVER, problem="x"), "error", "in the 5 min since the backup first ran, no set was made: x"),
        (replace(NEVER, waited_seconds=27 * 3600), "error", "in the 27 h since the backup first ran, no set was made"),
        (replace(GOOD, age_seconds=27 * 3600, problem="no answer"), "error", "the newest set is 27 h old: no answer"),
        (replace(GOOD, problem="the repository is full"), "warning", "the repository is full"),
        (
            replace(GOOD, locked_days=14, unpruned_days=31),
            "warning",
            "nothing was removed from the repository for 31 days, because sets were interrupted",
        ),
    ],
)
def test_what_the_doctor_finds(facts: BackupFacts | None, level: str, problem: str) -> None:
    ((found_level, found, fix),) = findings(observed(facts))
    assert (found_level, found) == (level, problem)
    assert "bin/ops backup now -s dev" in fix


LATER = {"set": "20261128T210000Z", "time": int((NOW + timedelta(hours=9)).timestamp())}


@pytest.mark.parametrize("noted", [{"newest": LATER}, {"newest": None, "ahead": [LATER["set"]]}])
def test_a_set_from_the_future_has_no_age(noted: dict[str, Any]) -> None:
    """As a clock noted it that was ahead, or an earlier version: it was 0 s old for as long."""
    facts = backups.parse(json.dumps({**STATUS, **noted}), "null", NOW)
    assert (facts.newest, facts.age_seconds, facts.ahead, facts.too_old) == (None, None, ("20261128T210000Z",), True)
    soon = {"set": "x", "time": int((NOW + timedelta(minutes=1)).timestamp())}
    assert backups.parse(json.dumps({**STATUS, "newest": soon}), "null", NOW).age_seconds == 0


def test_a_set_from_the_future_is_a_warning() -> None:
    ((level, problem, fix),) = findings(observed(replace(GOOD, ahead=("20261128T210000Z", "20261128T200000Z"))))
    assert level == "warning"
    assert problem == (
        "2 sets are of a time that has not come, the last is 20261128T210000Z: a clock was ahead when they "
        "were made, or this one is behind"
    )
    assert fix == (
        "correct the clock if it is behind (date -u); if it is right, they do not count until then, and are restored by name: "
        "bin/ops restore 20261128T210000Z -s dev"
    )


@pytest.mark.parametrize("verdict", ["failed", "could not run"])
def test_a_drill_that_did_not_pass_is_an_error(verdict: Any) -> None:
    drill = Drill(at=NOW, set="x", seconds=1, verdict=verdict, reason="table runs differs")
    assert findings(observed(replace(GOOD, drill=drill))) == [
        ("error", f"{verdict}: table runs differs; no good drill yet", "bin/ops drill -s dev")
    ]


def test_drills_that_have_stopped_are_a_warning_once_they_are_overdue() -> None:
    """The backup makes them by itself, so that none for two intervals means that nobody looks any more."""
    settings = parse({"backup": {"type": "path", "path": "/mnt/d/x", "drill_every_days": 7}}, file="Pulumi.dev.yaml")
    facts = replace(GOOD, drill=Drill(at=NOW, set="x", seconds=1, verdict="passed", last_good=NOW), good_days=15)
    ((level, problem, _),) = findings(replace(observed(facts), settings=settings))
    assert (level, problem) == ("warning", "the last good one was 15 days ago, and one is due every 7 days")
    assert findings(observed(facts)) == []
    assert findings(replace(observed(replace(facts, good_days=14)), settings=settings)) == []
    never = replace(facts, drill=None, good_days=None)
    ((level, problem, _),) = findings(replace(observed(never), settings=settings))
    assert (level, problem) == ("warning", "none was ever made, and one is due every 7 days")
    assert findings(replace(observed(replace(never, waited_seconds=14 * 86400)), settings=settings)) == []


def test_a_stack_that_is_guarded_and_has_no_backup_is_a_warning() -> None:
    guarded = replace(HEALTHY, settings=parse({"deployment": {"only_from_main": True}}, file="Pulumi.dev.yaml"))
    assert [level for level, _, _ in findings(guarded)] == ["warning"]
    assert findings(HEALTHY) == []


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (None, "was never made"),
        (NOW - timedelta(days=1), "is older than the newest of the stack's secrets"),
        (NOW + timedelta(days=1), None),
    ],
)
def test_the_kit_has_to_be_newer_than_the_newest_secret(made: datetime | None, problem: str | None) -> None:
    deployed = replace(PULUMI, deployed=replace(DEPLOYED, secrets_changed=NOW))
    found = [
        one.problem
        for one in doctor.examine(replace(observed(GOOD, kit_made=made), pulumi=deployed))
        if one.subject == "recovery kit"
    ]
    assert found == ([] if problem is None else [problem])
