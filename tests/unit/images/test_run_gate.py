"""The gate of runs and sessions, the steps before the first request, and what all three modules take for granted of Skyvern.

Against doubles and against the wheel that the image installs; on the real server: tests/host.
"""

import ast
import asyncio
import contextlib
import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.support import server_image, skyvern_wheel
from tests.support.skyvern_double import (
    MODULES,
    HTTPError,
    Skyvern,
    Status,
    executor_of,
    install,
    open_session,
    settle,
    submit,
    submit_task,
)


@pytest.fixture
def skyvern() -> Skyvern:
    return Skyvern()


@pytest.fixture
def modules(skyvern: Skyvern, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    monkeypatch.setenv("RUN_GATE_MAX_RUNS", "1")
    monkeypatch.setenv("RUN_GATE_MAX_SESSIONS", "2")
    monkeypatch.delenv("BROWSER_TYPE", raising=False)
    return install(skyvern, monkeypatch, tmp_path)


@pytest.fixture
def gate(modules: SimpleNamespace, skyvern: Skyvern) -> ModuleType:
    """The module in place, with one turn, and open."""
    module: ModuleType = modules.run_gate
    module.configure_app(skyvern.app)
    module.GATE.set_open(True)
    return module


# --- Turns ---------------------------------------------------------------------------------------------------------------


def test_runs_of_every_kind_take_turns_in_the_order_of_arrival(gate: ModuleType, skyvern: Skyvern) -> None:
    async def story() -> None:
        skyvern.add_task_v2("tsk_v2_1", "wr_of_v2")
        await submit(skyvern, "wr_api")
        await submit_task(skyvern, "tsk_1")
        await submit(skyvern, "wr_sched_1")
        await skyvern.executor.execute_task_v2(None, object(), "o_1", "tsk_v2_1", None, browser_session_id=None)
        skyvern.executor._schedule(object(), skyvern.execute_script, script_id="s_1")
        await submit(skyvern, "wr_fails")
        await submit(skyvern, "wr_last")
        await settle()
        assert skyvern.runs.now == ["wr_api"]
        order = ["wr_api", "tsk_1", "wr_sched_1", "tsk_v2_1", "s_1", "wr_fails", "wr_last"]
        # Their work could end at once, and does not begin out of turn.
        await skyvern.runs.finish(*reversed(order))
        await asyncio.gather(*skyvern.executor.tasks, return_exceptions=True)
        assert skyvern.runs.ended == order

    asyncio.run(story())
    assert skyvern.runs.most == 1
    assert not gate.GATE.running


def test_a_run_begins_in_its_place_however_long_skyvern_asks_for_it(gate: ModuleType, skyvern: Skyvern) -> None:
    skyvern.questions.update({"wr_1": 9, "wr_2": 5, "wr_3": 7})
    names = [f"wr_{number}" for number in range(1, 6)]

    async def story() -> None:
        for name in names:
            await submit(skyvern, name)
        assert gate.GATE.waiting == names[1:]
        await settle()
        await skyvern.runs.finish(*names)

    asyncio.run(story())
    assert skyvern.runs.began == names


@pytest.mark.parametrize("name", ["wr_refused", "wr_lost"])
def test_a_run_that_never_comes_for_its_turn_holds_nobody_up(gate: ModuleType, skyvern: Skyvern, name: str) -> None:
    skyvern.questions[name] = 9

    async def story() -> None:
        with contextlib.suppress(ValueError):
            await submit(skyvern, name)
        await submit(skyvern, "wr_next")
        await settle()
        assert skyvern.runs.now == ["wr_next"]
        await skyvern.runs.finish("wr_next")
        await asyncio.gather(*skyvern.executor.tasks, return_exceptions=True)

    asyncio.run(story())
    assert not gate.GATE.knows(name)
    assert not gate.GATE.running


def test_as_many_run_at_once_as_there_are_turns(gate: ModuleType, skyvern: Skyvern) -> None:
    gate.GATE.limit = 3

    async def story() -> None:
        names = [f"wr_{number}" for number in range(8)]
        for name in names:
            await submit(skyvern, name)
        await settle()
        assert skyvern.runs.now == names[:3]
        await skyvern.runs.finish("wr_1")
        assert skyvern.runs.now == ["wr_0", "wr_2", "wr_3"]
        await skyvern.runs.finish(*names)
        await asyncio.gather(*skyvern.executor.tasks)
        assert skyvern.runs.began == names

    asyncio.run(story())
    assert skyvern.runs.most == 3


def test_a_workflow_that_another_one_waits_for_is_part_of_its_turn(gate: ModuleType, skyvern: Skyvern) -> None:
    async def child() -> None:
        await skyvern.app.WORKFLOW_SERVICE.execute_workflow(workflow_run_id="wr_child")

    async def story() -> None:
        skyvern.runs.inside["wr_parent"] = child
        await submit(skyvern, "wr_parent")
        await submit(skyvern, "wr_other")
        await settle()
        assert skyvern.runs.now == ["wr_parent", "wr_child"]
        assert gate.GATE.knows("wr_child")
        await skyvern.runs.finish("wr_child", "wr_parent")
        assert skyvern.runs.now == ["wr_other"]
        await skyvern.runs.finish("wr_other")

    asyncio.run(story())


def test_a_workflow_that_another_one_starts_and_forgets_has_its_own_turn(gate: ModuleType, skyvern: Skyvern) -> None:
    async def start_and_forget() -> None:
        await submit(skyvern, "wr_forgotten")

    async def story() -> None:
        skyvern.runs.inside["wr_parent"] = start_and_forget
        await submit(skyvern, "wr_parent")
        await submit(skyvern, "wr_other")
        await settle()
        assert skyvern.runs.now == ["wr_parent"]
        await skyvern.runs.finish("wr_parent", "wr_other", "wr_forgotten")

    asyncio.run(story())
    assert skyvern.runs.began == ["wr_parent", "wr_other", "wr_forgotten"]
    assert skyvern.runs.most == 1


def test_a_run_has_no_turn_between_two_attempts(gate: ModuleType, skyvern: Skyvern) -> None:
    async def story() -> None:
        attempt = SimpleNamespace(workflow_run_id="wr_again", attempt_number=1, due=asyncio.Event())
        skyvern.executor._schedule(None, skyvern.executor._resume_pending_retry, attempt)
        await settle()
        await submit(skyvern, "wr_meanwhile")
        await settle()
        assert skyvern.runs.now == ["wr_meanwhile"]
        attempt.due.set()
        await settle()
        # Its turn comes like anybody's.
        assert skyvern.runs.now == ["wr_meanwhile"]
        await skyvern.runs.finish("wr_meanwhile")
        assert skyvern.runs.now == ["wr_again"]
        await skyvern.runs.finish("wr_again")

    asyncio.run(story())


def test_a_run_that_is_cancelled_while_it_waits_holds_nobody_up(gate: ModuleType, skyvern: Skyvern) -> None:
    async def story() -> None:
        for name in ("wr_1", "wr_2", "wr_3"):
            await submit(skyvern, name)
        await settle()
        assert gate.GATE.waiting == ["wr_2", "wr_3"]
        skyvern.executor.tasks[1].cancel()
        await settle()
        assert gate.GATE.waiting == ["wr_3"]
        assert not gate.GATE.knows("wr_2")
        await skyvern.runs.finish("wr_1", "wr_3")

    asyncio.run(story())
    assert skyvern.runs.ended == ["wr_1", "wr_3"]
    assert skyvern.executor._scheduled_retry_resumes == set()


def test_a_run_that_is_let_in_and_cancelled_at_the_same_moment_gives_its_turn_on(gate: ModuleType, skyvern: Skyvern) -> None:
    async def story() -> None:
        first = gate.Turn("wr_1")
        await gate.GATE.enter(first)
        turns = [gate.Turn(name) for name in ("wr_2", "wr_3")]
        waiting = [asyncio.create_task(gate.GATE.enter(turn)) for turn in turns]
        await settle()
        gate.GATE.leave(first)
        waiting[0].cancel()
        await settle()
        assert waiting[0].cancelled()
        gate.GATE.leave(turns[0])
        await settle()
        assert waiting[1].done()
        assert [turn.run_id for turn in gate.GATE.running] == ["wr_3"]

    asyncio.run(story())


def test_nothing_runs_before_the_sessions_of_the_last_server_are_closed(modules: SimpleNamespace, skyvern: Skyvern) -> None:
    modules.run_gate.configure_app(skyvern.app)

    async def story() -> None:
        await submit(skyvern, "wr_1")
        await settle()
        assert skyvern.runs.began == []
        await skyvern.app.PERSISTENT_SESSIONS_MANAGER.cleanup_stale_sessions()
        await settle()
        assert skyvern.runs.now == ["wr_1"]
        modules.run_gate.GATE.set_open(False)
        await submit(skyvern, "wr_2")
        await skyvern.runs.finish("wr_1", "wr_2")
        assert skyvern.runs.began == ["wr_1"]
        skyvern.executor.tasks[-1].cancel()

    asyncio.run(story())


def test_the_gate_opens_although_skyvern_cannot_close_old_sessions(modules: SimpleNamespace, skyvern: Skyvern) -> None:
    async def fails() -> None:
        raise RuntimeError("no database")

    skyvern.app.PERSISTENT_SESSIONS_MANAGER.cleanup_stale_sessions = fails
    modules.run_gate.configure_app(skyvern.app)
    with pytest.raises(RuntimeError, match="no database"):
        asyncio.run(skyvern.app.PERSISTENT_SESSIONS_MANAGER.cleanup_stale_sessions())
    assert modules.run_gate.GATE.open


def test_skyverns_recovery_leaves_a_run_that_waits_alone(gate: ModuleType, skyvern: Skyvern) -> None:
    async def story() -> None:
        executor = skyvern.executor
        resumed = SimpleNamespace(workflow_run_id="wr_resumed", attempt_number=2, due=asyncio.Event())
        await submit(skyvern, "wr_first")
        await submit(skyvern, "wr_waits")
        # Skyvern's own mark, which it takes away itself.
        executor._scheduled_retry_resumes.add(("wr_resumed", 3))
        resumed.due.set()
        executor._schedule(None, executor._resume_pending_retry, resumed)
        await settle()
        assert executor._scheduled_retry_resumes == {("wr_waits", 1), ("wr_resumed", 3)}
        await skyvern.runs.finish("wr_first")
        assert executor._scheduled_retry_resumes == {("wr_resumed", 3)}
        await skyvern.runs.finish("wr_waits", "wr_resumed")
        assert executor._scheduled_retry_resumes == {("wr_resumed", 3)}

    asyncio.run(story())


def test_a_task_is_queued_while_it_waits_and_running_from_its_turn_on(gate: ModuleType, skyvern: Skyvern) -> None:
    async def story() -> None:
        await submit(skyvern, "wr_1")
        await settle()
        await submit_task(skyvern, "tsk_1")
        await submit_task(skyvern, "tsk_cancelled")
        await settle()
        assert {row.status for row in skyvern.tasks.values()} == {Status.queued}
        skyvern.tasks["tsk_cancelled"].status = Status.canceled
        await skyvern.runs.finish("wr_1")
        assert skyvern.tasks["tsk_1"].status == Status.running
        await skyvern.runs.finish("tsk_1")
        assert skyvern.tasks["tsk_cancelled"].status == Status.canceled

    asyncio.run(story())
    assert skyvern.runs.ended == ["wr_1", "tsk_1"]
    assert not gate.GATE.running


def test_the_run_of_a_second_kinds_task_is_known_with_it(gate: ModuleType, skyvern: Skyvern) -> None:
    async def story() -> None:
        skyvern.add_task_v2("tsk_v2_1", "wr_of_v2")
        await skyvern.executor.execute_task_v2(None, None, "o_1", "tsk_v2_1", None, browser_session_id=None)
        await settle()
        assert gate.GATE.knows("tsk_v2_1")
        assert gate.GATE.knows("wr_of_v2")
        await skyvern.runs.finish("tsk_v2_1")
        assert not gate.GATE.knows("tsk_v2_1")
        assert not gate.GATE.knows("wr_of_v2")

    asyncio.run(story())


@pytest.mark.parametrize(
    ("scope", "mark"),
    [({}, None), ({"block_labels": ["a"]}, "part-of-workflow"), ({"block_outputs": {"a": 1}}, "part-of-workflow")],
)
def test_a_run_of_some_blocks_is_marked_because_its_inputs_are_nowhere_else(
    gate: ModuleType, skyvern: Skyvern, scope: dict[str, Any], mark: str | None
) -> None:
    row = skyvern.add_run("wr_1", "created")

    async def story() -> None:
        await submit(skyvern, "wr_1", **scope)
        await settle()
        await skyvern.runs.finish("wr_1")

    asyncio.run(story())
    assert row.job_id == mark


def test_a_command_outside_reads_what_is_going_on(gate: ModuleType, skyvern: Skyvern) -> None:
    def state() -> dict[str, Any]:
        return dict(json.loads(gate.STATE.read_text()))

    async def story() -> None:
        gate.GATE.limit = 2
        for name in ("wr_2", "wr_1", "wr_3"):
            await submit(skyvern, name)
        await settle()
        read = {"max_runs": 2, "running": ["wr_1", "wr_2"], "queued": 1, "interrupted": 0, "draining": False}
        assert state() == read
        gate.GATE.interrupted, gate.GATE.closes_at = 4, 1.0
        await skyvern.runs.finish("wr_1")
        assert state() == read | {"running": ["wr_2", "wr_3"], "queued": 0, "interrupted": 4, "draining": True}
        await skyvern.runs.finish("wr_2", "wr_3")
        assert state()["running"] == []

    asyncio.run(story())
    assert [path.name for path in gate.STATE.parent.iterdir()] == [gate.STATE.name]


# --- Sessions ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", [{"status": "completed"}, {"completed_at": "now"}, None])
def test_sessions_have_a_bound_and_closed_ones_free_a_place(
    gate: ModuleType, skyvern: Skyvern, closed: dict[str, str] | None
) -> None:
    async def story() -> None:
        first = await open_session(skyvern)
        await open_session(skyvern, "editor")
        with pytest.raises(HTTPError, match=r"2 browser sessions are open, .*server\.max_sessions.*close one") as refused:
            await open_session(skyvern)
        assert refused.value.status_code == 429
        # A run's own is part of its turn.
        await open_session(skyvern, "workflow_run")
        if closed is None:
            del skyvern.sessions[first]
        else:
            vars(skyvern.sessions[first]).update(closed)
        await open_session(skyvern, "copilot")
        with pytest.raises(HTTPError):
            await open_session(skyvern, "editor_prewarm")

    asyncio.run(story())
    assert not gate.GATE.running


def test_two_sessions_that_are_asked_for_at_once_are_counted_one_by_one(gate: ModuleType, skyvern: Skyvern) -> None:
    async def story() -> list[Any]:
        return await asyncio.gather(*(open_session(skyvern) for _ in range(5)), return_exceptions=True)

    answers = asyncio.run(story())
    assert sorted(type(answer) is str for answer in answers) == [False, False, False, True, True]


def test_a_run_in_an_open_session_waits_for_nobody(gate: ModuleType, skyvern: Skyvern) -> None:
    async def story() -> None:
        session = await open_session(skyvern)
        await submit(skyvern, "wr_1")
        await submit(skyvern, "wr_2")
        await submit(skyvern, "wr_in_session", browser_session_id=session)
        await settle()
        assert skyvern.runs.now == ["wr_1", "wr_in_session"]
        await skyvern.runs.finish("wr_1", "wr_in_session", "wr_2")

    asyncio.run(story())


def test_with_one_chrome_a_session_and_a_run_never_use_it_together(
    modules: SimpleNamespace, skyvern: Skyvern, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER_TYPE", "cdp-connect")
    monkeypatch.setenv("RUN_GATE_MAX_SESSIONS", "1")
    gate = modules.run_gate
    monkeypatch.setattr(gate, "SESSION_LOOK_SECONDS", 0.0)
    gate.configure_app(skyvern.app)
    gate.GATE.set_open(True)

    async def story() -> None:
        await submit(skyvern, "wr_1")
        await settle()
        with pytest.raises(HTTPError, match="in use by a run") as refused:
            await open_session(skyvern)
        assert refused.value.status_code == 429
        await skyvern.runs.finish("wr_1")
        session = await open_session(skyvern)
        await submit(skyvern, "wr_2")
        await submit(skyvern, "wr_in_session", browser_session_id=session)
        await settle()
        assert skyvern.runs.now == ["wr_in_session"]
        await skyvern.runs.finish("wr_in_session")
        assert skyvern.runs.now == []
        skyvern.sessions[session].status = "completed"
        await settle()
        assert skyvern.runs.now == ["wr_2"]
        await skyvern.runs.finish("wr_2")

    asyncio.run(story())
    assert not gate.GATE.running


def test_a_session_that_cannot_be_made_takes_no_place(gate: ModuleType, skyvern: Skyvern) -> None:
    async def fails(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no browser")

    creates = gate.bounded(fails, 1, shares_chrome=True)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no browser"):
            asyncio.run(creates(session_kind="api"))
    assert (gate.SESSIONS, gate.GATE.running) == (set(), set())


# --- Another Skyvern -----------------------------------------------------------------------------------------------------

# Module, where in the application (or in Skyvern's executor), name.
PLACES = [
    ("run_gate", "executor", "_schedule"),
    ("run_gate", "executor", "_resume_pending_retry"),
    ("run_gate", "executor", "_dispatch_retry_resume"),
    ("run_gate", "WORKFLOW_SERVICE", "execute_workflow"),
    ("run_gate", "PERSISTENT_SESSIONS_MANAGER", "create_session"),
    ("run_gate", "PERSISTENT_SESSIONS_MANAGER", "cleanup_stale_sessions"),
    ("interrupted_runs", "WORKFLOW_SERVICE", "mark_workflow_run_as_failed_if_not_final"),
    ("interrupted_runs", "WORKFLOW_SERVICE", "execute_workflow_webhook"),
    ("interrupted_runs", "DATABASE.workflow_runs", "Session"),
    ("interrupted_runs", "DATABASE.workflow_run_attempts", "release_stale_dispatch_claim"),
    ("interrupted_runs", "DATABASE.tasks", "get_task_steps"),
    ("interrupted_runs", "agent", "execute_task_webhook"),
    ("interrupted_runs", "DATABASE.artifacts", "update_artifact_uri"),
    ("interrupted_runs", "DATABASE.artifacts", "delete_artifacts_by_ids"),
    ("drain", "WORKFLOW_SERVICE", "setup_workflow_run"),
    ("drain", "agent", "create_task"),
    ("drain", "PERSISTENT_SESSIONS_MANAGER", "create_session"),
]


@pytest.mark.parametrize(("name", "owner", "place"), PLACES, ids=[f"{name}-{place}" for name, _, place in PLACES])
def test_a_skyvern_without_a_place_does_not_start(
    modules: SimpleNamespace,
    skyvern: Skyvern,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[[ModuleType, object], str],
    name: str,
    owner: str,
    place: str,
) -> None:
    module = getattr(modules, name)
    if owner == "executor":
        # Ours overrides one of them, which must not hide that Skyvern does not call it any more.
        monkeypatch.delattr(module.BackgroundTaskExecutor, place)
    else:
        holder = skyvern.app
        for part in owner.split("."):
            holder = getattr(holder, part)
        delattr(holder, place)
    before = dict(vars(skyvern.app.WORKFLOW_SERVICE))
    line = refused(module, skyvern.app)
    assert line.startswith(f"skyvern-start: {name.replace('_', ' ')}: FAILED")
    assert f"this Skyvern has no {place}, so" in line
    # Nothing is half replaced.
    assert vars(skyvern.app.WORKFLOW_SERVICE) == before
    assert skyvern.executor is None


def test_a_skyvern_whose_recovery_keeps_no_marks_does_not_start(
    modules: SimpleNamespace,
    skyvern: Skyvern,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[[ModuleType, object], str],
) -> None:
    monkeypatch.setattr(modules.run_gate.BackgroundTaskExecutor, "__init__", lambda self: None)
    assert "this Skyvern has no _scheduled_retry_resumes, so" in refused(modules.run_gate, skyvern.app)


# --- Before the first request --------------------------------------------------------------------------------------------


def test_steps_run_in_the_order_of_the_modules_behind_what_was_there(
    modules: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    order: list[str] = []

    def step(name: str, note: str | None = None) -> Any:
        async def work(given: object) -> str | None:
            order.append(f"{name} {given}")
            return note

        return work

    app = SimpleNamespace(api_app_startup_event=step("theirs"))
    modules.at_start.at_start(app, "first", step("first"))
    modules.at_start.at_start(app, "second", step("second", "2 ended"))
    asyncio.run(app.api_app_startup_event("fastapi"))
    assert order == ["theirs fastapi", "first fastapi", "second fastapi"]
    lines = re.sub(r"[0-9.]+ s", "N s", capsys.readouterr().out).splitlines()
    assert lines == ["skyvern-start: first: N s", "skyvern-start: second: N s (2 ended)"]


@pytest.mark.parametrize("failure", [RuntimeError("no table"), SystemExit(0), asyncio.CancelledError()])
def test_a_step_that_fails_ends_the_process_and_nothing_follows(
    modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failure: BaseException
) -> None:
    class EndedError(BaseException):
        pass

    def end(code: int) -> None:
        raise EndedError(code)

    async def fails(_: object) -> None:
        raise failure

    async def follows(_: object) -> None:
        raise AssertionError("the server answers")

    monkeypatch.setattr(os, "_exit", end)
    app = SimpleNamespace(api_app_startup_event=None)
    modules.at_start.at_start(app, "interrupted runs", fails)
    modules.at_start.at_start(app, "drain", follows)
    with pytest.raises(EndedError, match="1"):
        asyncio.run(app.api_app_startup_event(None))
    line = capsys.readouterr().err
    assert re.match(rf"skyvern-start: interrupted runs: FAILED after [0-9.]+ s: {type(failure).__name__}", line)
    assert line.count("\n") == 1


def test_every_module_is_in_the_image_and_loaded_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate first, then what ends runs behind it, then the drain, whose refusal is asked before the gate's."""
    start = server_image.load("skyvern-start", monkeypatch)
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(os, "execv", lambda *_: None)
    start.serve()
    modules = json.loads(os.environ["ADDITIONAL_MODULES"])
    assert modules[0] == "adopt_api_key"
    assert [name for name in modules if name in MODULES] == ["run_gate", "interrupted_runs", "drain"]
    copied = (server_image.FOLDER / "Dockerfile").read_text().split()
    assert {f"{name}.py" for name in (*MODULES, *modules, "garbage", "serve")} <= set(copied)


def test_garbage_is_rarely_looked_for_while_the_server_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And behind that as usual, but not among what was loaded."""
    start = server_image.load("skyvern-start", monkeypatch)
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(os, "execv", lambda _program, arguments: commands.append(arguments))
    start.serve()
    assert commands == [[sys.executable, "/usr/local/lib/skyvern/serve.py"]]

    package = tmp_path / "skyvern" / "forge"
    package.mkdir(parents=True)
    (package / "__main__.py").write_text(
        "import garbage, gc, sys\n"
        "print(__name__, sys.argv[0].endswith('forge/__main__.py'), gc.get_threshold()[0], gc.get_freeze_count())\n"
        "garbage.look_as_usual()\n"
        "print(gc.get_threshold(), gc.get_freeze_count() > 1000)\n"
    )
    here = [sys.executable, str(server_image.FOLDER / "serve.py")]
    path = f"{server_image.FOLDER}:{tmp_path}"
    printed = subprocess.run(here, env={"PYTHONPATH": path}, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == ["__main__ True 20000 0", f"{gc.get_threshold()} True"]

    looked: list[bool] = []
    adopt = server_image.load("adopt_api_key.py", monkeypatch)
    monkeypatch.setattr(adopt.garbage, "look_as_usual", lambda: looked.append(True))
    monkeypatch.setattr(os, "environ", {"SKYVERN_START_LOADING": "0", "SKYVERN_API_KEY": "key"})

    async def refuse(_key: str) -> None:
        assert looked == [True]

    for name in ("skyvern", "skyvern.forge", "skyvern.forge.sdk", "skyvern.forge.sdk.services"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    service = SimpleNamespace(ensure_local_api_key=refuse)
    monkeypatch.setitem(sys.modules, "skyvern.forge.sdk.services.local_org_auth_token_service", service)
    with pytest.raises(RuntimeError, match="does not accept SKYVERN_API_KEY"):
        asyncio.run(adopt.adopt(None))


# --- The pinned Skyvern --------------------------------------------------------------------------------------------------

SDK = "skyvern/forge/sdk"
DB = f"{SDK}/db/repositories"
EXECUTOR = f"{SDK}/executor/background_task_executor.py"
SERVICE = f"{SDK}/workflow/service.py"
SESSIONS = "skyvern/webeye/default_persistent_sessions_manager.py"
# File, class (empty for functions), name, and the parameters by which the modules call it or read it.
CALLED = [
    (EXECUTOR, "BackgroundTaskExecutor", "_schedule", "background_tasks func"),
    (EXECUTOR, "BackgroundTaskExecutor", "_resume_pending_retry", "attempt"),
    (EXECUTOR, "BackgroundTaskExecutor", "_dispatch_retry_resume", "attempt execution_kwargs"),
    (EXECUTOR, "BackgroundTaskExecutor", "_get_valid_api_key", "organization_id"),
    (
        EXECUTOR,
        "BackgroundTaskExecutor",
        "execute_workflow",
        "request background_tasks organization workflow_id workflow_run_id workflow_permanent_id max_steps_override api_key "
        "browser_session_id block_labels block_outputs",
    ),
    (
        EXECUTOR,
        "BackgroundTaskExecutor",
        "execute_task_v2",
        "request background_tasks organization_id task_v2_id max_steps_override browser_session_id",
    ),
    (SERVICE, "WorkflowService", "execute_workflow", "workflow_run_id browser_session_id attempt_number"),
    (
        SERVICE,
        "WorkflowService",
        "mark_workflow_run_as_failed_if_not_final",
        "workflow_run_id failure_reason cascade_children",
    ),
    (SERVICE, "WorkflowService", "execute_workflow_webhook", "workflow_run api_key claim_kind"),
    (SERVICE, "WorkflowService", "setup_workflow_run", "workflow_schedule_id"),
    (SESSIONS, "DefaultPersistentSessionsManager", "create_session", "session_kind"),
    (SESSIONS, "DefaultPersistentSessionsManager", "cleanup_stale_sessions", ""),
    ("skyvern/forge/agent.py", "ForgeAgent", "create_task", ""),
    ("skyvern/forge/agent.py", "ForgeAgent", "execute_step", "organization task step api_key close_browser_on_completion"),
    ("skyvern/forge/agent.py", "ForgeAgent", "execute_task_webhook", "task api_key"),
    ("skyvern/services/task_v2_service.py", "", "run_task_v2", "task_v2_id"),
    ("skyvern/services/task_v2_service.py", "", "send_task_v2_webhook", "task_v2"),
    ("skyvern/services/script_service.py", "", "execute_script", "script_id"),
    ("skyvern/services/workflow_schedule_service.py", "LocalWorkflowScheduleScheduler", "dispatch_due_schedules", ""),
    (f"{SDK}/schemas/persistent_browser_sessions.py", "", "is_final_status", "status"),
    (f"{SDK}/db/datetime_utils.py", "", "naive_utc_now", ""),
    (f"{SDK}/executor/factory.py", "AsyncExecutorFactory", "set_executor", "executor"),
    (f"{SDK}/executor/factory.py", "AsyncExecutorFactory", "get_executor", ""),
    (f"{DB}/workflow_runs.py", "WorkflowRunsRepository", "update_workflow_run", "workflow_run_id job_id"),
    (f"{DB}/workflow_run_attempts.py", "WorkflowRunAttemptsRepository", "get_attempts", "workflow_run_id"),
    (
        f"{DB}/workflow_run_attempts.py",
        "WorkflowRunAttemptsRepository",
        "release_stale_dispatch_claim",
        "workflow_run_id organization_id attempt_number stale_before",
    ),
    (f"{DB}/artifacts.py", "ArtifactsRepository", "update_artifact_uri", "artifact_id organization_id uri"),
    (f"{DB}/artifacts.py", "ArtifactsRepository", "delete_artifacts_by_ids", "organization_id artifact_ids"),
    (f"{SDK}/api/files.py", "", "parse_uri_to_path", "uri"),
    (f"{SDK}/api/aws.py", "AsyncAWSClient", "get_object_info", "uri"),
    (f"{DB}/tasks.py", "TasksRepository", "get_task", "task_id organization_id"),
    (f"{DB}/tasks.py", "TasksRepository", "get_task_steps", "task_id organization_id"),
    (f"{DB}/tasks.py", "TasksRepository", "update_task", "task_id status failure_reason organization_id"),
    (f"{DB}/observer.py", "ObserverRepository", "get_task_v2", "task_v2_id"),
    (f"{DB}/observer.py", "ObserverRepository", "get_task_v2_by_workflow_run_id", "workflow_run_id organization_id"),
    (f"{DB}/observer.py", "ObserverRepository", "update_task_v2", "task_v2_id status organization_id"),
    (f"{DB}/organizations.py", "OrganizationsRepository", "get_organization", "organization_id"),
    (f"{DB}/browser_sessions.py", "BrowserSessionsRepository", "get_persistent_browser_session", "session_id"),
]


def functions(path: str, owner: str) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    body = skyvern_wheel.class_body(path, owner) if owner else ast.parse(skyvern_wheel.text(path)).body
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    arguments = function.args
    return [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


@pytest.mark.parametrize(("path", "owner", "name", "wanted"), CALLED, ids=[f"{owner}-{name}" for _, owner, name, _ in CALLED])
def test_the_pinned_skyvern_has_what_the_modules_call(path: str, owner: str, name: str, wanted: str) -> None:
    there = functions(path, owner)
    assert name in there
    assert set(wanted.split()) <= set(parameters(there[name])), name


def test_the_double_has_no_place_that_skyvern_has_not() -> None:

    ordered = {
        (f"{DB}/tasks.py", "TasksRepository", "get_task_steps"): ["task_id", "organization_id"],
        (f"{DB}/observer.py", "ObserverRepository", "get_task_v2"): ["task_v2_id"],
        (f"{DB}/observer.py", "ObserverRepository", "get_task_v2_by_workflow_run_id"): ["workflow_run_id", "organization_id"],
        (f"{DB}/workflow_run_attempts.py", "WorkflowRunAttemptsRepository", "release_stale_dispatch_claim"): [
            "workflow_run_id",
            "organization_id",
            "attempt_number",
        ],
        (EXECUTOR, "BackgroundTaskExecutor", "execute_task_v2"): [
            "request",
            "background_tasks",
            "organization_id",
            "task_v2_id",
            "max_steps_override",
        ],
        # Agent.execute_step has its task as the second argument.
        ("skyvern/forge/agent.py", "ForgeAgent", "execute_step"): ["organization", "task", "step", "api_key"],
    }
    for (path, owner, name), order in ordered.items():
        assert parameters(functions(path, owner)[name])[1 : len(order) + 1] == order, name


def calls(name: str) -> list[tuple[str, ast.Call]]:
    """Every call of a method of that name in the wheel, with its file."""
    found = []
    for path, text in skyvern_wheel.modules():
        if f".{name}(" in text and not path.startswith(("skyvern/client/", "skyvern/cli/", "skyvern/library/")):
            nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
            found += [(path, node) for node in nodes if isinstance(node.func, ast.Attribute) and node.func.attr == name]
    return found


def test_every_start_of_a_workflow_names_its_arguments() -> None:
    """The gate reads them by name."""
    found = calls("execute_workflow")
    assert len(found) >= 8
    for path, call in found:
        names = {keyword.arg for keyword in call.keywords}
        assert not call.args, path
        assert "workflow_run_id" in names, path
        if "get_executor" in ast.unparse(call.func):
            assert {"block_labels", "block_outputs"} <= names, path


def test_every_session_names_its_kind_and_every_kind_is_decided_on(modules: SimpleNamespace) -> None:
    found = calls("create_session")
    made = [(path, call) for path, call in found if "PERSISTENT_SESSIONS_MANAGER" in ast.unparse(call.func)]
    assert len(made) >= 6
    for path, call in made:
        assert "session_kind" in {keyword.arg for keyword in call.keywords}, path
    kinds = skyvern_wheel.class_body("skyvern/schemas/browser_session_kind.py", "BrowserSessionKind")
    values = {node.value.value for node in kinds if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)}
    assert values == modules.run_gate.KINDS_OF_PEOPLE | {"workflow_run"}


def test_the_executor_schedules_what_the_gate_tells_apart() -> None:
    """A kind of work that is new would be taken for a task."""
    scheduled = {
        ast.unparse(call.args[1])
        for path, call in calls("_schedule")
        if path == EXECUTOR and isinstance(call.func, ast.Attribute) and ast.unparse(call.func) == "self._schedule"
    }
    assert scheduled == {
        "app.agent.execute_step",
        "self._dispatch_retry_resume",
        "self._resume_pending_retry",
        "task_v2_service.run_task_v2",
        "script_service.execute_script",
    }


def test_the_rows_have_the_columns_that_are_read() -> None:
    read = {
        "WorkflowRunModel": "workflow_run_id organization_id status created_at queued_at modified_at workflow_schedule_id "
        "parent_workflow_run_id debug_session_id job_id browser_session_id workflow_id workflow_permanent_id",
        "WorkflowRunGroupItemModel": "workflow_run_id",
        "TaskModel": "task_id organization_id workflow_run_id status created_at modified_at",
        "WorkflowRunAttemptModel": "attempt_number started_at",
    }
    for model, columns in read.items():
        body = skyvern_wheel.class_body(f"{SDK}/db/models.py", model)
        there = {ast.unparse(target) for node in body if isinstance(node, ast.Assign) for target in node.targets}
        there |= {ast.unparse(node.target) for node in body if isinstance(node, ast.AnnAssign)}
        assert set(columns.split()) <= there, model


def test_no_run_has_a_state_that_nobody_ends(modules: SimpleNamespace) -> None:
    """Those that are not final, in both of Skyvern's lists of states."""
    for path, owner in ((f"{SDK}/db/enums.py", "WorkflowRunStatus"), (f"{SDK}/schemas/tasks.py", "TaskStatus")):
        body = skyvern_wheel.class_body(path, owner)
        values = {node.value.value for node in body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)}
        final = {"failed", "terminated", "canceled", "timed_out", "completed"}
        assert values - final <= set(modules.interrupted_runs.UNFINISHED), owner


def test_the_hook_comes_before_old_sessions_are_closed_and_schedules_start() -> None:
    text = skyvern_wheel.text("skyvern/forge/api_app.py")
    order = [
        text.index(word)
        for word in (
            "await forge_app.api_app_startup_event(",
            "PERSISTENT_SESSIONS_MANAGER.cleanup_stale_sessions()",
            "= start_workflow_schedule_scheduler()",
            "create_task(_recover_pending_retries()",
        )
    ]
    assert order == sorted(order)
    assert "app.api_app_startup_event = None" in skyvern_wheel.text("skyvern/forge/forge_app.py")


def test_the_double_is_skyverns_executor_in_what_the_gate_overrides() -> None:
    double = executor_of(Skyvern())
    theirs = functions(EXECUTOR, "BackgroundTaskExecutor")
    for name in ("_schedule", "_resume_pending_retry", "_dispatch_retry_resume"):
        assert list(vars(double)[name].__code__.co_varnames[: len(parameters(theirs[name]))]) == parameters(theirs[name])
