"""Runs that have lost their server, against doubles: which end, with which reason, and which are started.

Names and parameters of Skyvern: test_run_gate.py. On the real server: tests/host.
"""

import asyncio
import os
import re
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.support.skyvern_double import LONG_AGO, NOW, ClientError, Skyvern, Status, install, settle

JUST_NOW = NOW - timedelta(seconds=30)


@pytest.fixture
def skyvern() -> Skyvern:
    return Skyvern()


@pytest.fixture
def modules(skyvern: Skyvern, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    monkeypatch.setenv("RUN_GATE_MAX_RUNS", "100")
    monkeypatch.setenv("RUN_GATE_MAX_SESSIONS", "1")
    loaded = install(skyvern, monkeypatch, tmp_path)
    loaded.run_gate.configure_app(skyvern.app)
    loaded.run_gate.GATE.set_open(True)
    loaded.interrupted_runs.configure_app(skyvern.app)
    return loaded


@pytest.fixture
def interrupted(modules: SimpleNamespace) -> ModuleType:
    module: ModuleType = modules.interrupted_runs
    return module


async def start_of_the_server(interrupted: ModuleType, *, sweeps: int = 1) -> str:
    """What happens before the first request and in the first sweeps after it."""
    note: str = await interrupted.repair_at_start(None)
    interrupted._sweeper.cancel()
    for _ in range(sweeps):
        for work in (interrupted.follow_files, interrupted.start_waiting, interrupted.end_lost, interrupted.send_webhooks):
            await work()
            await settle()
    return note


# What a run of the last server was, and the name of the reason with which it ends; None: it is started.
CASES: list[tuple[str, dict[str, Any], str | None]] = [
    ("running", {}, "SERVER_GONE"),
    ("running", {"workflow_schedule_id": "wfs_1"}, "SERVER_GONE"),
    ("running", {"parent_workflow_run_id": "wr_parent"}, "SERVER_GONE"),
    ("paused", {}, "SERVER_GONE"),
    ("created", {}, "NOT_SUBMITTED"),
    ("created", {"debug_session_id": "ds_1"}, "NOT_SUBMITTED"),
    ("created", {"parent_workflow_run_id": "wr_parent"}, "PARENT_ENDED"),
    # A schedule counts as fired when its run is in the database.
    ("created", {"workflow_schedule_id": "wfs_1"}, None),
    ("queued", {}, None),
    ("queued", {"workflow_schedule_id": "wfs_1"}, None),
    ("queued", {"parent_workflow_run_id": "wr_parent"}, None),
    ("queued", {"browser_session_id": "pbs_1"}, None),
    # Of these some inputs were in the last server alone.
    ("queued", {"debug_session_id": "ds_1"}, "PART_LOST"),
    ("queued", {"job_id": "part-of-workflow"}, "PART_LOST"),
]


@pytest.mark.parametrize(("status", "columns", "reason"), CASES)
def test_what_the_last_server_left_ends_with_a_reason_or_is_started(
    interrupted: ModuleType, skyvern: Skyvern, status: str, columns: dict[str, Any], reason: str | None
) -> None:
    row = skyvern.add_run("wr_1", status, **columns)

    async def story() -> str:
        note = await start_of_the_server(interrupted)
        await skyvern.runs.finish("wr_1")
        return note

    note = asyncio.run(story())
    if reason is None:
        assert (note, skyvern.runs.ended, skyvern.webhooks) == ("0 ended", ["wr_1"], [])
    else:
        assert (note, skyvern.runs.began) == ("1 ended", [])
        assert (row.status, row.failure_reason) == (Status.failed, getattr(interrupted, reason))
        assert row.failure_reason.startswith("Interrupted: ")
        assert skyvern.webhooks == [("workflow", "wr_1", "failed")]
    assert interrupted.GATE.interrupted == (reason is not None)


@pytest.mark.parametrize("status", ["completed", "failed", "canceled"])
def test_what_has_ended_is_left_alone(interrupted: ModuleType, skyvern: Skyvern, status: str) -> None:
    row = skyvern.add_run("wr_1", status)
    asyncio.run(start_of_the_server(interrupted, sweeps=2))
    assert (row.status, skyvern.runs.began, skyvern.webhooks) == (status, [], [])


def test_what_waits_is_started_in_the_order_in_which_it_was_asked_for(interrupted: ModuleType, skyvern: Skyvern) -> None:
    def minutes_ago(minutes: int) -> dict[str, Any]:
        return {"created_at": NOW - timedelta(minutes=minutes)}

    skyvern.add_run("wr_3", "queued", **minutes_ago(30))
    skyvern.add_run("wr_1", "queued", **minutes_ago(50))
    # Asked for long ago, queued last: a next attempt.
    skyvern.add_run("wr_4", "queued", created_at=LONG_AGO, queued_at=NOW - timedelta(minutes=20))
    skyvern.add_run("wr_2", "queued", **minutes_ago(40))
    skyvern.add_task("tsk_2", "queued", **minutes_ago(30))
    skyvern.add_task("tsk_1", "queued", **minutes_ago(60))

    asyncio.run(start_of_the_server(interrupted, sweeps=2))
    assert skyvern.runs.began == ["wr_1", "wr_2", "wr_3", "wr_4", "tsk_1", "tsk_2"]


def test_what_waits_is_queued_at_the_gate_and_never_started_twice(
    interrupted: ModuleType, skyvern: Skyvern, modules: SimpleNamespace
) -> None:
    modules.run_gate.GATE.limit = 1
    for number in range(3):
        skyvern.add_run(f"wr_{number}", "queued", created_at=LONG_AGO + timedelta(minutes=number))

    async def story() -> None:
        await start_of_the_server(interrupted, sweeps=3)
        assert modules.run_gate.GATE.waiting == ["wr_1", "wr_2"]
        await skyvern.runs.finish("wr_0", "wr_1", "wr_2")

    asyncio.run(story())
    assert skyvern.runs.ended == ["wr_0", "wr_1", "wr_2"]


def test_a_claim_of_the_last_server_is_given_back_before_the_run_is_started(interrupted: ModuleType, skyvern: Skyvern) -> None:
    skyvern.add_run("wr_claimed", "queued")
    skyvern.add_run("wr_free", "queued")
    attempt = SimpleNamespace
    skyvern.attempts["wr_claimed"] = [
        attempt(attempt_number=2, started_at=LONG_AGO),
        attempt(attempt_number=1, started_at=LONG_AGO),
    ]
    skyvern.attempts["wr_free"] = [attempt(attempt_number=1, started_at=None)]
    asyncio.run(start_of_the_server(interrupted))
    assert skyvern.claims == [("wr_claimed", 2)]
    assert sorted(skyvern.runs.began) == ["wr_claimed", "wr_free"]


def test_a_task_of_the_second_kind_ends_and_starts_as_a_task(interrupted: ModuleType, skyvern: Skyvern) -> None:
    skyvern.add_run("wr_running", "running")
    skyvern.add_run("wr_waiting", "queued")
    running, _ = skyvern.add_task_v2("tsk_v2_running", "wr_running"), skyvern.add_task_v2("tsk_v2_waiting", "wr_waiting")
    asyncio.run(start_of_the_server(interrupted))
    assert running.status == Status.failed
    assert skyvern.webhooks == [("task v2", "tsk_v2_running", "failed")]
    assert skyvern.runs.began == ["tsk_v2_waiting"]


@pytest.mark.parametrize(
    ("status", "steps", "ends"),
    [("running", 1, "SERVER_GONE"), ("created", 0, "NOT_SUBMITTED"), ("queued", 1, None), ("queued", 0, ...)],
)
def test_single_tasks(interrupted: ModuleType, skyvern: Skyvern, status: str, steps: int, ends: Any) -> None:
    row = skyvern.add_task("tsk_1", status, steps=["step"] * steps)

    async def story() -> None:
        await start_of_the_server(interrupted, sweeps=2)
        await skyvern.runs.finish("tsk_1")

    asyncio.run(story())
    if isinstance(ends, str):
        assert (row.status, row.failure_reason) == (Status.failed, getattr(interrupted, ends))
        assert skyvern.webhooks == [("task", "tsk_1", "failed")]
    else:
        assert skyvern.webhooks == []
    assert skyvern.runs.began == (["tsk_1"] if ends is None else [])


def test_tasks_of_a_workflow_run_and_members_of_a_group_are_skyverns(interrupted: ModuleType, skyvern: Skyvern) -> None:
    """The former end with their run; its own loop submits the latter."""
    block = skyvern.add_task("tsk_of_block", "running", workflow_run_id="wr_1")
    member = skyvern.add_run("wr_member", "created")
    submitted = skyvern.add_run("wr_submitted", "running")
    skyvern.models["WorkflowRunGroupItemModel"].rows += [
        SimpleNamespace(workflow_run_id="wr_member"),
        SimpleNamespace(workflow_run_id="wr_submitted"),
        SimpleNamespace(workflow_run_id=None),
    ]
    asyncio.run(start_of_the_server(interrupted))
    assert (block.status, member.status, submitted.status) == (Status.running, Status.created, Status.failed)


def test_what_this_server_sees_to_is_left_alone(interrupted: ModuleType, skyvern: Skyvern, modules: SimpleNamespace) -> None:
    rows = [skyvern.add_run("wr_ours", "running"), skyvern.add_task("tsk_ours", "running")]

    async def story() -> None:
        with modules.run_gate.GATE.knowing("wr_ours"), modules.run_gate.GATE.knowing("tsk_ours"):
            for _ in range(2):
                await interrupted.start_waiting()
                await interrupted.end_lost()
        assert [row.status for row in rows] == [Status.running] * 2
        await interrupted.end_lost()

    asyncio.run(story())
    assert [(row.status, row.failure_reason) for row in rows] == [(Status.failed, interrupted.LOST)] * 2
    assert interrupted.GATE.interrupted == 2


@pytest.mark.parametrize("status", ["running", "created", "queued"])
def test_what_a_request_is_about_to_hand_over_is_left_alone(
    interrupted: ModuleType, skyvern: Skyvern, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """Of the first sweep, too: a schedule that is due at the start has its run in the database before the gate knows it."""

    async def story() -> None:
        await start_of_the_server(interrupted, sweeps=0)
        row = skyvern.add_run("wr_new", status, created_at=NOW, modified_at=NOW, workflow_schedule_id="wfs_1")
        for work in (interrupted.start_waiting, interrupted.end_lost) * 2:
            await work()
            await settle()
        assert (row.status, skyvern.runs.began) == (status, [])

    asyncio.run(story())


def test_one_that_cannot_be_started_holds_up_no_other(interrupted: ModuleType, skyvern: Skyvern) -> None:
    skyvern.add_run("wr_orphan", "queued", created_at=LONG_AGO, organization_id="o_gone")
    skyvern.add_run("wr_ill", "queued", created_at=LONG_AGO)
    skyvern.add_run("wr_well", "queued", created_at=JUST_NOW)
    skyvern.add_task("tsk_ill", "queued")
    skyvern.add_task("tsk_well", "queued", created_at=JUST_NOW)
    attempts, get_task = skyvern.get_attempts, skyvern.get_task

    async def get_attempts(run_id: str) -> Any:
        if run_id == "wr_ill":
            raise RuntimeError("ill")
        return await attempts(run_id)

    async def get_ill_task(task_id: str, organization_id: str | None = None) -> Any:
        if task_id == "tsk_ill":
            raise RuntimeError("ill")
        return await get_task(task_id)

    skyvern.app.DATABASE.workflow_run_attempts.get_attempts = get_attempts
    skyvern.app.DATABASE.tasks.get_task = get_ill_task
    asyncio.run(start_of_the_server(interrupted))
    assert skyvern.runs.began == ["wr_well", "tsk_well"]
    failures = [rest for event, rest in skyvern.log if "not started" in event]
    assert failures == [{"workflow_run_id": "wr_ill"}, {"task_id": "tsk_ill"}]


def test_a_run_that_has_ended_by_itself_keeps_its_end(interrupted: ModuleType, skyvern: Skyvern) -> None:
    row = skyvern.add_run("wr_1", "completed")

    async def story() -> None:
        await interrupted.end_one("wr_1", "reason")
        await interrupted.send_webhooks()

    asyncio.run(story())
    assert (row.status, skyvern.webhooks) == (Status.completed, [])


def test_whatever_has_a_turn_can_be_ended(interrupted: ModuleType, skyvern: Skyvern) -> None:
    rows = [skyvern.add_run("wr_1", "running"), skyvern.add_run("wr_of_v2", "running"), skyvern.add_task("tsk_1", "running")]
    done = skyvern.add_task("tsk_done", "completed")
    skyvern.add_task_v2("tsk_v2_1", "wr_of_v2")

    async def story() -> None:
        for turn in ("wr_1", "tsk_v2_1", "tsk_1", "tsk_done", "pbs_1", "s_1"):
            await interrupted.end_one(turn, "reason")
        await interrupted.send_webhooks()

    asyncio.run(story())
    assert [(row.status, row.failure_reason) for row in rows] == [(Status.failed, "reason")] * 3
    assert done.status == Status.completed
    assert skyvern.webhooks == [
        ("workflow", "wr_1", "failed"),
        ("task v2", "tsk_v2_1", "failed"),
        ("task", "tsk_1", "failed"),
    ]


def test_webhooks_are_sent_once_and_those_of_retries_by_skyvern(interrupted: ModuleType, skyvern: Skyvern) -> None:
    skyvern.add_run("wr_1", "running")
    skyvern.add_run("wr_retried", "running")
    skyvern.attempts["wr_retried"] = [SimpleNamespace(attempt_number=1, started_at=LONG_AGO)]
    asyncio.run(start_of_the_server(interrupted, sweeps=3))
    assert skyvern.webhooks == [("workflow", "wr_1", "failed")]


def test_a_receiver_that_does_not_answer_keeps_no_other_from_its_webhook(interrupted: ModuleType, skyvern: Skyvern) -> None:
    skyvern.add_run("wr_1", "running")
    skyvern.add_task("tsk_1", "running")

    async def fails(workflow_run: object, *, api_key: str, claim_kind: None) -> None:
        raise RuntimeError("no answer")

    skyvern.app.WORKFLOW_SERVICE.execute_workflow_webhook = fails
    asyncio.run(start_of_the_server(interrupted))
    assert skyvern.webhooks == [("task", "tsk_1", "failed")]
    assert ("interrupted_runs: a webhook was not sent", {}) in skyvern.log


def test_the_sweep_waits_for_the_gate_and_goes_on_after_a_failure(
    interrupted: ModuleType, skyvern: Skyvern, modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupted, "SWEEP_SECONDS", 0.0)
    done: list[str] = []

    async def fails() -> None:
        done.append("start")
        raise RuntimeError("no database")

    async def ends() -> None:
        done.append("end")

    monkeypatch.setattr(interrupted, "start_waiting", fails)
    monkeypatch.setattr(interrupted, "end_lost", ends)
    fails.__name__ = "start_waiting"
    modules.run_gate.GATE.set_open(False)

    async def story() -> None:
        await interrupted.repair_at_start(None)
        await settle()
        assert done == []
        modules.run_gate.GATE.set_open(True)
        for _ in range(100):
            await asyncio.sleep(0.01)
            if len(done) >= 4:
                break
        interrupted._sweeper.cancel()

    asyncio.run(story())
    assert done[:4] == ["start", "end"] * 2
    assert skyvern.log[0] == ("interrupted_runs: not done, tried again", {"step": "start_waiting"})


def test_a_repair_that_fails_keeps_the_server_from_answering(
    skyvern: Skyvern, interrupted: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fails(**_: object) -> None:
        raise RuntimeError("no database")

    ended: list[int] = []

    def end(code: int) -> None:
        ended.append(code)
        raise SystemExit

    monkeypatch.setattr(os, "_exit", end)
    skyvern.add_run("wr_1", "running")
    skyvern.app.WORKFLOW_SERVICE.mark_workflow_run_as_failed_if_not_final = fails
    with pytest.raises(SystemExit):
        asyncio.run(skyvern.app.api_app_startup_event(None))
    assert ended == [1]
    line = capsys.readouterr().err
    assert re.match(r"skyvern-start: interrupted runs: FAILED after [0-9.]+ s: RuntimeError: no database\n", line)


def test_a_sweep_that_hangs_is_not_the_last(skyvern: Skyvern, interrupted: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a connection to a database that is gone without a word."""

    async def hangs() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(interrupted, "start_waiting", hangs)
    monkeypatch.setattr(interrupted, "WORK_SECONDS", 0.01)
    interrupted.GATE.open = True
    row = skyvern.add_run("wr_1", "running", modified_at=LONG_AGO)

    async def story() -> None:
        sweeper = asyncio.create_task(interrupted.sweep())
        while row.status == "running":
            await asyncio.sleep(0.01)
        sweeper.cancel()

    asyncio.run(asyncio.wait_for(story(), 5))
    assert row.failure_reason == interrupted.LOST


# --- Files that were not written ------------------------------------------------------------------------------------------


def artifacts(skyvern: Skyvern) -> dict[str, str]:
    return {row.artifact_id: row.uri for row in skyvern.models["ArtifactModel"].rows}


# The row's suffix, which files there are with how many bytes, and the row's suffix afterwards; None: it is gone.
RECORDINGS: list[tuple[str, dict[str, int], str | None]] = [
    (".webm", {".webm": 9}, ".webm"),
    (".mp4", {".webm": 8, ".mp4": 9}, ".mp4"),
    # The file of the new name was written, and the row did not follow; or the other way round.
    (".webm", {".mp4": 9}, ".mp4"),
    (".mp4", {".webm": 9}, ".webm"),
    (".mp4", {".webm": 9, ".mp4": 0}, ".webm"),
    (".webm", {}, None),
    (".mp4", {}, None),
    (".webm", {".webm": 0}, None),
]


@pytest.mark.parametrize("status", ["completed", "failed", "running"])
@pytest.mark.parametrize(("named", "files", "left"), RECORDINGS)
@pytest.mark.parametrize("storage", ["local", "s3"])
def test_a_recording_that_was_cut_off_is_one_that_opens_or_none(
    interrupted: ModuleType,
    skyvern: Skyvern,
    tmp_path: Path,
    storage: str,
    named: str,
    files: dict[str, int],
    left: str | None,
    status: str,
) -> None:
    """A link of a run that had ended answered 404 for ever."""
    skyvern.settings.SKYVERN_STORAGE_TYPE = storage
    base = f"file://{tmp_path}/1 a%20b" if storage == "local" else "s3://bucket/1"
    for suffix, size in files.items():
        if storage == "local":
            (tmp_path / f"1 a b{suffix}").write_bytes(b"x" * size)
        else:
            skyvern.objects[f"{base}{suffix}"] = b"x" * size
    skyvern.add_run("wr_1", status)
    skyvern.add_artifact("a_1", f"{base}{named}")
    asyncio.run(start_of_the_server(interrupted, sweeps=0))
    assert artifacts(skyvern) == ({} if left is None else {"a_1": f"{base}{left}"})


def test_rows_of_anything_else_go_only_without_their_file(interrupted: ModuleType, skyvern: Skyvern, tmp_path: Path) -> None:
    """An empty log is one; what another storage holds cannot be asked for; and earlier runs have their files."""
    (tmp_path / "empty.log").touch()
    skyvern.add_run("wr_1", "completed")
    skyvern.add_run("wr_early", "completed", modified_at=LONG_AGO - timedelta(hours=1))
    skyvern.add_run("wr_long", "running", modified_at=LONG_AGO - timedelta(hours=9))
    skyvern.add_run("wr_waits", "queued")
    skyvern.add_task("tsk_1", "completed")
    gone = f"file://{tmp_path}/gone"
    skyvern.add_artifact("a_log", f"file://{tmp_path}/empty.log", kind="browser_console_log")
    skyvern.add_artifact("a_bucket", "s3://bucket/x", kind="har")
    skyvern.add_artifact("a_shot", f"{gone}.png", kind="screenshot_final")
    for run in ("early", "long", "waits"):
        skyvern.add_artifact(f"a_{run}", f"{gone}.{run}", workflow_run_id=f"wr_{run}")
    skyvern.add_artifact("a_task", f"{gone}.task", workflow_run_id=None, task_id="tsk_1")
    asyncio.run(start_of_the_server(interrupted))
    assert artifacts(skyvern).keys() == {"a_log", "a_bucket", "a_early", "a_waits"}


def test_while_the_storage_does_not_answer_no_row_goes_and_the_server_starts(interrupted: ModuleType, skyvern: Skyvern) -> None:
    skyvern.settings.SKYVERN_STORAGE_TYPE = "s3"
    skyvern.add_run("wr_1", "completed")
    skyvern.add_artifact("a_1", "s3://bucket/1.webm")
    answers = skyvern.app.STORAGE.async_client.get_object_info

    async def refuses(uri: str) -> None:
        raise ClientError({"ResponseMetadata": {"HTTPStatusCode": 503}})

    async def story() -> None:
        skyvern.app.STORAGE.async_client.get_object_info = refuses
        await start_of_the_server(interrupted, sweeps=0)
        assert artifacts(skyvern).keys() == {"a_1"}
        skyvern.app.STORAGE.async_client.get_object_info = answers
        # What a run of this server has not written yet is no business of the sweep.
        skyvern.add_run("wr_new", "running", modified_at=NOW)
        skyvern.add_artifact("a_new", "s3://bucket/new.webm", workflow_run_id="wr_new")
        await interrupted.follow_files()
        await interrupted.follow_files()

    asyncio.run(story())
    assert artifacts(skyvern).keys() == {"a_new"}


def test_a_run_that_lost_its_browser_has_no_link_to_a_recording_that_nobody_writes(
    interrupted: ModuleType, skyvern: Skyvern, modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A minute after its end, which is when Skyvern has given up its uploads."""
    now = 1000.0
    monkeypatch.setattr(interrupted.time, "monotonic", lambda: now)
    runs: dict[str, dict[str, Any]] = {
        "wr_1": {"status": "failed"},
        # The database was away for a moment.
        "wr_done": {"status": "completed"},
        "wr_in_session": {"status": "failed", "browser_session_id": "pbs_1"},
        "wr_child": {"status": "completed", "parent_workflow_run_id": "wr_1"},
        "wr_child_of_other": {"status": "failed", "parent_workflow_run_id": "wr_goes_on"},
    }

    async def story() -> None:
        nonlocal now
        await start_of_the_server(interrupted, sweeps=0)
        for run_id, columns in runs.items():
            skyvern.add_run(run_id, **columns)
            skyvern.add_artifact(run_id, f"file://{tmp_path}/{run_id}.webm", workflow_run_id=run_id)
        skyvern.add_artifact("screenshot", f"file://{tmp_path}/1.png", kind="screenshot_final")
        skyvern.add_task("tsk_1", "failed")
        skyvern.add_artifact("tsk_1", f"file://{tmp_path}/task.webm", workflow_run_id=None, task_id="tsk_1")
        for run_id in (*runs, "tsk_1", "tsk_unknown"):
            with modules.run_gate.GATE.knowing(run_id):
                pass
        now += 59
        await interrupted.follow_files()
        assert len(artifacts(skyvern)) == len(runs) + 2
        with modules.run_gate.GATE.knowing("wr_1"):
            now += 2
            await interrupted.follow_files()
            assert "wr_1" in artifacts(skyvern)
        now += 61
        await interrupted.follow_files()

    asyncio.run(story())
    assert artifacts(skyvern).keys() == {"screenshot", "wr_in_session", "wr_child_of_other"}
    assert modules.run_gate.GATE.left == {}
