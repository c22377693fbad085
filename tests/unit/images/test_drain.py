"""The server's end: what is refused, what is waited for, what is ended, against doubles. On the real server: tests/host."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.support.skyvern_double import HTTPError, Skyvern, Status, install, open_session, settle, submit, submit_task


@pytest.fixture
def skyvern() -> Skyvern:
    return Skyvern()


@pytest.fixture
def modules(skyvern: Skyvern, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    monkeypatch.setenv("RUN_GATE_MAX_RUNS", "2")
    monkeypatch.setenv("RUN_GATE_MAX_SESSIONS", "1")
    loaded = install(skyvern, monkeypatch, tmp_path)
    for name in ("run_gate", "interrupted_runs", "drain"):
        getattr(loaded, name).configure_app(skyvern.app)
    loaded.run_gate.GATE.set_open(True)
    return loaded


class Uvicorn:
    """uvicorn.Server: its handler of SIGTERM, and when that was called."""

    def __init__(self) -> None:
        self.should_exit = False
        self.config = SimpleNamespace(timeout_graceful_shutdown=None)
        self.ended = asyncio.Event()

    def handle_exit(self, number: int, frame: None) -> None:
        assert number == signal.SIGTERM
        assert not self.ended.is_set()
        self.ended.set()


class Server:
    """A server that listens for SIGTERM."""

    def __init__(self, drain: ModuleType, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.uvicorn, self.handlers = Uvicorn(), dict[int, Any]()
        monkeypatch.setenv("DRAIN_SECONDS", str(seconds))
        monkeypatch.setattr(signal, "getsignal", lambda number: self.uvicorn.handle_exit if number == signal.SIGTERM else None)
        monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", self.handlers.__setitem__)
        self.listening = drain.listen(None)

    def sigterm(self) -> None:
        self.handlers[signal.SIGTERM]()

    async def ends(self) -> None:
        async with asyncio.timeout(10):
            await self.uvicorn.ended.wait()


# --- What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["setup_workflow_run", "create_task", "create_session"])
def test_a_new_run_or_session_is_told_to_come_back(modules: SimpleNamespace, skyvern: Skyvern, what: str) -> None:
    owner = {"setup_workflow_run": "WORKFLOW_SERVICE", "create_task": "agent", "create_session": "PERSISTENT_SESSIONS_MANAGER"}
    start = getattr(getattr(skyvern.app, owner[what]), what)
    given = {"session_kind": "api"} if what == "create_session" else {}
    assert asyncio.run(start("o_1", **given))
    modules.run_gate.GATE.closes_at = 1.0
    with pytest.raises(HTTPError, match="about to restart") as refused:
        asyncio.run(start("o_1", **given))
    assert (refused.value.status_code, refused.value.headers) == (503, {"Retry-After": "60"})


def test_what_a_run_in_progress_asks_for_is_made(modules: SimpleNamespace, skyvern: Skyvern) -> None:
    made: list[object] = []

    async def ask() -> None:
        made.append(await skyvern.app.WORKFLOW_SERVICE.setup_workflow_run())
        made.append(await open_session(skyvern, "workflow_run"))

    async def story() -> None:
        session = await open_session(skyvern)
        modules.run_gate.GATE.closes_at = 1.0
        for name, given in (("wr_1", {}), ("wr_in_session", {"browser_session_id": session})):
            skyvern.runs.inside[name] = ask
            await submit(skyvern, name, **given)
        await settle()
        await skyvern.runs.finish("wr_1", "wr_in_session")

    asyncio.run(story())
    assert made == ["workflow run", "pbs_2", "workflow run", "pbs_3"]


def test_schedules_wait_and_one_that_has_fired_keeps_its_run(modules: SimpleNamespace, skyvern: Skyvern) -> None:
    from skyvern.services.workflow_schedule_service import LocalWorkflowScheduleScheduler  # type: ignore[import-not-found]

    scheduler = LocalWorkflowScheduleScheduler()
    assert asyncio.run(scheduler.dispatch_due_schedules()) == ["due"]
    modules.run_gate.GATE.closes_at = 1.0
    assert asyncio.run(scheduler.dispatch_due_schedules()) == []
    assert asyncio.run(skyvern.app.WORKFLOW_SERVICE.setup_workflow_run(workflow_schedule_id="wfs_1")) == "workflow run"
    with pytest.raises(HTTPError):
        asyncio.run(skyvern.app.WORKFLOW_SERVICE.setup_workflow_run(workflow_schedule_id=None))


# --- What is waited for --------------------------------------------------------------------------------------------------


def test_the_server_ends_when_its_runs_have_ended_and_starts_no_other(
    modules: SimpleNamespace, skyvern: Skyvern, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(modules.drain, "LINE_SECONDS", 0.5)

    async def story() -> None:
        server = Server(modules.drain, monkeypatch, 300)
        assert await server.listening == "up to 300 s"
        assert server.uvicorn.config.timeout_graceful_shutdown == 5
        session = await open_session(skyvern)
        for name in ("wr_2", "wr_1", "wr_waits"):
            skyvern.add_run(name, "created")
            await submit(skyvern, name)
        await submit(skyvern, "wr_in_session", browser_session_id=session)
        await settle()
        capsys.readouterr()
        server.sigterm()
        await asyncio.sleep(0.1)
        assert capsys.readouterr().out == "skyvern-drain: 3 in progress, 300 s left at most: wr_1, wr_2, wr_in_session\n"
        await skyvern.runs.finish("wr_1", "wr_2")
        await asyncio.sleep(1)
        assert capsys.readouterr().out.startswith("skyvern-drain: 1 in progress, 299 s left at most: wr_in_session\n")
        assert not server.uvicorn.ended.is_set()
        await skyvern.runs.finish("wr_in_session")
        await server.ends()
        assert capsys.readouterr().out.splitlines()[-1] == "skyvern-drain: done; 1 queued for the next start"

    asyncio.run(story())
    assert "wr_waits" not in skyvern.runs.began
    assert skyvern.run("wr_waits").status == Status.queued
    assert skyvern.webhooks == []


def test_a_line_names_five_runs(
    modules: SimpleNamespace, skyvern: Skyvern, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    modules.run_gate.GATE.limit = 9

    async def story() -> None:
        server = Server(modules.drain, monkeypatch, 60)
        await server.listening
        names = [f"wr_{number}" for number in range(7)]
        for name in names:
            await submit(skyvern, name)
        await settle()
        server.sigterm()
        await settle()
        await skyvern.runs.finish(*names)
        await server.ends()

    asyncio.run(story())
    assert "7 in progress, 60 s left at most: wr_0, wr_1, wr_2, wr_3, wr_4 …\n" in capsys.readouterr().out


def test_a_server_without_runs_ends_at_once(modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        server = Server(modules.drain, monkeypatch, 300)
        await server.listening
        server.sigterm()
        async with asyncio.timeout(1):
            await server.ends()

    asyncio.run(story())


# --- What is ended -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["time is up", "second SIGTERM"])
def test_what_has_not_ended_by_then_is_ended_with_a_reason(
    modules: SimpleNamespace, skyvern: Skyvern, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    rows = [skyvern.add_run("wr_1", "running"), skyvern.add_run("wr_in_session", "running"), skyvern.add_task("tsk_1", "running")]
    waits = skyvern.add_run("wr_waits", "created")

    async def story() -> None:
        server = Server(modules.drain, monkeypatch, 0.4 if how == "time is up" else 300)
        await server.listening
        session = await open_session(skyvern)
        await submit(skyvern, "wr_1")
        await submit(skyvern, "wr_in_session", browser_session_id=session)
        await submit_task(skyvern, "tsk_1")
        await submit(skyvern, "wr_waits")
        await settle()
        # The double queues again what is submitted.
        rows[0].status = rows[1].status = Status.running
        server.sigterm()
        await asyncio.sleep(0.1)
        assert skyvern.runs.ended == []
        if how == "second SIGTERM":
            server.sigterm()
        await server.ends()

    asyncio.run(story())
    assert sorted(skyvern.runs.ended) == ["tsk_1", "wr_1", "wr_in_session"]
    reason = f"Interrupted: the server was stopped .* had not ended within {0 if how == 'time is up' else 300} s"
    for row in rows:
        assert row.status == Status.failed
        with pytest.raises(RuntimeError, match=reason):
            raise RuntimeError(row.failure_reason)
    assert waits.status == Status.queued
    assert sorted(skyvern.webhooks) == [
        ("task", "tsk_1", "failed"),
        ("workflow", "wr_1", "failed"),
        ("workflow", "wr_in_session", "failed"),
    ]
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["skyvern-drain: time is up: 3 ended", "skyvern-drain: done; 1 queued for the next start"]


def test_a_run_is_ended_in_the_database_before_its_work_is_cancelled(
    modules: SimpleNamespace, skyvern: Skyvern, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it writes when it is cancelled finds an end."""
    row = skyvern.add_run("wr_1", "created")
    seen: list[str] = []

    async def story() -> None:
        server = Server(modules.drain, monkeypatch, 0)
        await server.listening

        async def look() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                seen.append(row.status)

        skyvern.runs.inside["wr_1"] = look
        await submit(skyvern, "wr_1")
        await settle()
        server.sigterm()
        await server.ends()

    asyncio.run(story())
    assert seen == ["failed"]


def test_a_run_that_cannot_be_cancelled_keeps_the_server_for_a_while_only(
    modules: SimpleNamespace, skyvern: Skyvern, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modules.drain, "END_SECONDS", 0.1)
    skyvern.add_run("wr_1", "created")

    async def story() -> None:
        server = Server(modules.drain, monkeypatch, 0)
        await server.listening

        async def clings() -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(60)

        skyvern.runs.inside["wr_1"] = clings
        await submit(skyvern, "wr_1")
        await settle()
        server.sigterm()
        async with asyncio.timeout(3):
            await server.ends()

    asyncio.run(story())


@pytest.mark.parametrize("place", ["end_one", "send_webhooks"])
def test_uvicorn_ends_whatever_happens(
    modules: SimpleNamespace, skyvern: Skyvern, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("no database")

    monkeypatch.setattr(modules.interrupted_runs, place, fails)
    skyvern.add_run("wr_1", "created")

    async def story() -> None:
        server = Server(modules.drain, monkeypatch, 0)
        await server.listening
        await submit(skyvern, "wr_1")
        await settle()
        server.sigterm()
        await server.ends()
        with pytest.raises(RuntimeError, match="no database"):
            await modules.drain._drain

    asyncio.run(story())


# --- Another uvicorn -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("handler", [signal.SIG_DFL, None, lambda number, frame: None])
def test_a_uvicorn_that_does_not_handle_sigterm_as_before_fails_the_start(
    modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, handler: object
) -> None:
    monkeypatch.setenv("DRAIN_SECONDS", "300")
    monkeypatch.setattr(signal, "getsignal", lambda number: handler)
    with pytest.raises(RuntimeError, match="would cut runs off"):
        asyncio.run(modules.drain.listen(None))


def test_a_skyvern_whose_schedules_cannot_wait_does_not_start(
    modules: SimpleNamespace,
    skyvern: Skyvern,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[[ModuleType, object], str],
) -> None:
    from skyvern.services.workflow_schedule_service import LocalWorkflowScheduleScheduler

    monkeypatch.delattr(LocalWorkflowScheduleScheduler, "dispatch_due_schedules")
    before = dict(vars(skyvern.app.WORKFLOW_SERVICE))
    assert "this Skyvern has no dispatch_due_schedules, so" in refused(modules.drain, skyvern.app)
    # Nothing is half replaced.
    assert vars(skyvern.app.WORKFLOW_SERVICE) == before
