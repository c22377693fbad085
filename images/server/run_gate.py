"""A module of Skyvern's ADDITIONAL_MODULES: one gate for every run, whoever starts it.

Skyvern 1.0.56 starts a browser for each run as soon as it is asked for: forty at once need more memory than the container has,
the kernel ends the server, and all forty stay "running" for ever. Its own settings bound only how many schedules run at once and
how many submissions are dispatched. And with cdp-connect all runs share one Chrome, of which it takes the first context and the
last window, so two runs at once would drive the same page.

Here a run waits, as "queued", until one of RUN_GATE_MAX_RUNS turns is free, in the order of arrival: it takes its place as it is
accepted, because Skyvern then asks the database for it several times in the background, which under load takes one run longer
than the next. A workflow that another one starts and waits for is part of the first one's turn, and so is a run in a browser
session that is open already. Between two attempts a run has no turn. Browser sessions that people and programs open have a bound
of their own, RUN_GATE_MAX_SESSIONS; with cdp-connect a session takes the turn.
Not here: the end of runs whose server has died (interrupted_runs.py), and the way to the end of the server itself (drain.py).
Look at it again with the Skyvern after 1.0.56; tests/unit/images/test_run_gate.py has each place.
"""

import asyncio
import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from at_start import ends_start, require
from fastapi import BackgroundTasks, HTTPException
from skyvern.forge.sdk.executor.background_task_executor import BackgroundTaskExecutor
from skyvern.forge.sdk.executor.factory import AsyncExecutorFactory

Work = Callable[..., Coroutine[Any, Any, Any]]

# What `ops status` reads.
STATE = Path("/tmp/run-gate.json")  # noqa: S108
# Sessions that a run opens for itself are part of its turn (1.0.56, schemas/browser_session_kind.py).
KINDS_OF_PEOPLE = frozenset({"api", "copilot", "editor", "editor_prewarm"})
SESSION_LOOK_SECONDS = 5.0
# In workflow_runs.job_id, which only Skyvern's cloud uses: its other inputs are in this process alone.
PART_OF_WORKFLOW = "part-of-workflow"


class Turn:
    """The right of one run to use a browser.

    task: what runs in it, None for a session. admitted: done when its turn has come, None before it has a place in the queue.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.task: asyncio.Task[Any] | None = None
        self.admitted: asyncio.Future[None] | None = None


class Gate:
    """At most ``limit`` turns at once, in the order of arrival; none before it is opened and after it is closed."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.open = False
        self.running: set[Turn] = set()
        # In browser sessions that are open already: in progress, and without a turn.
        self._beside: set[Turn] = set()
        self.interrupted = 0
        self.closes_at: float | None = None
        self._waiting: deque[Turn] = deque()
        # Of runs that are accepted and have not come for their turn; given up when nothing sees to the run any more.
        self._places: dict[str, Turn] = {}
        # What this process holds, waiting included: a run that is in the database and not here has lost its server.
        self._known: Counter[str] = Counter()
        # When nothing in this process saw to a run any more, by the monotonic clock: lost_files.py looks at what it has left.
        self.left: dict[str, float] = {}

    @property
    def waiting(self) -> list[str]:
        return [turn.run_id for turn in self._waiting if turn.admitted and not turn.admitted.done()]

    @property
    def in_progress(self) -> set[Turn]:
        """Turns, and runs in open sessions."""
        return self.running | self._beside

    @property
    def full(self) -> bool:
        return not self.open or len(self.running) >= self.limit

    def knows(self, run_id: str) -> bool:
        return self._known[run_id] > 0

    @contextmanager
    def knowing(self, run_id: str) -> Iterator[None]:
        """For as long as something in this process sees to the run."""
        self._known[run_id] += 1
        self.left.pop(run_id, None)
        try:
            yield
        finally:
            self._known[run_id] -= 1
            if not self._known[run_id]:
                del self._known[run_id]
                self.left[run_id] = time.monotonic()
                if run_id in self._places:
                    self.leave(self._places.pop(run_id))

    @contextmanager
    def beside(self, turn: Turn) -> Iterator[None]:
        """For a run that needs no turn because its browser is there; what stops the server still waits for it."""
        turn.task = asyncio.current_task()
        self._beside.add(turn)
        try:
            yield
        finally:
            self._beside.discard(turn)

    def take_place(self, run_id: str) -> None:
        """The last one in the queue, for a run that comes for its turn later; within ``knowing``."""
        if run_id not in self._places:
            self._places[run_id] = turn = Turn(run_id)
            self._line_up(turn)

    def turn_of(self, run_id: str) -> Turn:
        """The turn that the run's place leads to; a new one for a run without a place."""
        return self._places.pop(run_id, None) or Turn(run_id)

    def _line_up(self, turn: Turn) -> asyncio.Future[None]:
        turn.admitted = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._admit()
        return turn.admitted

    async def enter(self, turn: Turn) -> None:
        """Waits for a turn; whoever calls this calls ``leave``, however it ends."""
        await (turn.admitted or self._line_up(turn))
        turn.task = asyncio.current_task()
        self.write()

    def leave(self, turn: Turn) -> None:
        if turn.admitted:
            turn.admitted.cancel()
        self.running.discard(turn)
        self._admit()

    def set_open(self, is_open: bool) -> None:
        self.open = is_open
        self._admit()

    def _admit(self) -> None:
        while self._waiting and not self.full:
            turn = self._waiting.popleft()
            if turn.admitted and not turn.admitted.done():
                self.running.add(turn)
                turn.admitted.set_result(None)
        self.write()

    def write(self) -> None:
        """Leaves what is going on where a command outside of the server reads it."""
        state = {
            "max_runs": self.limit,
            "running": sorted(turn.run_id for turn in self.running),
            "queued": len(self.waiting),
            "interrupted": self.interrupted,
            "draining": self.closes_at is not None,
        }
        unfinished = STATE.with_suffix(".new")
        unfinished.write_text(json.dumps(state))
        unfinished.replace(STATE)


GATE = Gate(int(os.environ.get("RUN_GATE_MAX_RUNS", "1")))
# The turn in which the present task works.
_turn: ContextVar[Turn | None] = ContextVar("run_gate_turn", default=None)
# Browser sessions of people and programs that are open.
SESSIONS: set[str] = set()


def inside_a_run() -> bool:
    """Whether the present task is part of a run that has begun."""
    return _turn.get() is not None


@contextmanager
def _inside(turn: Turn | None) -> Iterator[None]:
    token = _turn.set(turn)
    try:
        yield
    finally:
        _turn.reset(token)


class GatedExecutor(BackgroundTaskExecutor):
    """Skyvern's executor, whose runs wait for their turn (1.0.56, background_task_executor.py)."""

    def _schedule(
        self, background_tasks: BackgroundTasks | None, func: Work, /, *args: Any, **kwargs: Any
    ) -> asyncio.Task[Any] | None:
        workflow = func in (self._resume_pending_retry, self._dispatch_retry_resume)
        run_id = args[0].workflow_run_id if workflow else _run_of(args, kwargs)
        seen_to = ExitStack()
        seen_to.enter_context(GATE.knowing(run_id))
        if not workflow:
            GATE.take_place(run_id)
        work = outside_of_a_run(func) if workflow else self._in_turn(func)
        # Never behind the request: it would count as open for as long as its run waits (API_LIMIT_CONCURRENCY).
        task = super()._schedule(None, work, *args, **kwargs)
        assert task is not None  # noqa: S101 - without background_tasks there is one
        task.add_done_callback(lambda _: seen_to.close())
        return task

    async def execute_workflow(self, *args: Any, **kwargs: Any) -> None:
        run_id = kwargs["workflow_run_id"]
        with GATE.knowing(run_id):
            if kwargs.get("browser_session_id") not in SESSIONS:
                GATE.take_place(run_id)
            if kwargs["block_labels"] or kwargs["block_outputs"]:
                await _app().DATABASE.workflow_runs.update_workflow_run(workflow_run_id=run_id, job_id=PART_OF_WORKFLOW)
            await super().execute_workflow(*args, **kwargs)

    def _in_turn(self, work: Work) -> Work:
        """For what is no workflow: a task, a task of the second kind, a script."""

        async def waits(*args: Any, **kwargs: Any) -> None:
            task = _task_of(args)
            turn = GATE.turn_of(_run_of(args, kwargs))
            try:
                with GATE.knowing(await _workflow_run_of(kwargs)), _inside(turn):
                    if task is not None and turn.run_id in GATE.waiting:
                        await _set_task_status(task, "queued")
                    await GATE.enter(turn)
                    if task is None or await _begin_task(task):
                        await work(*args, **kwargs)
            finally:
                GATE.leave(turn)

        return waits


def _task_of(args: tuple[Any, ...]) -> Any:
    """The second argument of Agent.execute_step; None for any other work."""
    return args[1] if len(args) > 1 else None


def _run_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The id of what is no workflow."""
    task = _task_of(args)
    return str(task.task_id if task is not None else kwargs.get("task_v2_id") or kwargs["script_id"])


def outside_of_a_run(work: Work) -> Work:
    """A task inherits the context of what starts it: a workflow that another one starts and forgets has a turn of its own."""

    async def waits(*args: Any, **kwargs: Any) -> None:
        with _inside(None):
            await work(*args, **kwargs)

    return waits


async def _workflow_run_of(kwargs: dict[str, Any]) -> str:
    """The workflow run of a task of the second kind; an empty string for anything else."""
    if "task_v2_id" not in kwargs:
        return ""
    task = await _app().DATABASE.observer.get_task_v2(kwargs["task_v2_id"])
    return str(task.workflow_run_id) if task else ""


async def _set_task_status(task: Any, status: str) -> None:
    from skyvern.forge.sdk.schemas.tasks import TaskStatus

    await _app().DATABASE.tasks.update_task(task.task_id, status=TaskStatus(status), organization_id=task.organization_id)


async def _begin_task(task: Any) -> bool:
    """False for a task that was cancelled while it waited."""
    now = await _app().DATABASE.tasks.get_task(task.task_id, organization_id=task.organization_id)
    if now is None or now.status.is_final():
        return False
    if now.status != task.status:
        await _set_task_status(task, task.status.value)
    return True


def gated(execute_workflow: Work, executor: GatedExecutor) -> Work:
    """WorkflowService.execute_workflow, in a turn: what every attempt of every workflow run goes through."""

    async def waits(**kwargs: Any) -> Any:
        run_id = kwargs["workflow_run_id"]
        with GATE.knowing(run_id):
            if inside_a_run():
                return await execute_workflow(**kwargs)
            if kwargs.get("browser_session_id") in SESSIONS:
                turn = Turn(run_id)
                with GATE.beside(turn), _inside(turn):
                    return await execute_workflow(**kwargs)
            turn = GATE.turn_of(run_id)
            # Else Skyvern's recovery takes a run that waits for minutes for a lost one, and starts it again.
            mark = (run_id, kwargs.get("attempt_number", 1))
            marks = mark not in executor._scheduled_retry_resumes
            if marks:
                executor._scheduled_retry_resumes.add(mark)
            try:
                try:
                    await GATE.enter(turn)
                finally:
                    if marks:
                        executor._scheduled_retry_resumes.discard(mark)
                with _inside(turn):
                    return await execute_workflow(**kwargs)
            finally:
                GATE.leave(turn)

    return waits


def bounded(create_session: Work, limit: int, *, shares_chrome: bool) -> Work:
    """PersistentSessionsManager.create_session, which refuses a session of people and programs beyond the limit."""

    async def creates(*args: Any, **kwargs: Any) -> Any:
        if str(kwargs["session_kind"]) not in KINDS_OF_PEOPLE:
            return await create_session(*args, **kwargs)
        async with one_by_one:
            await _forget_closed_sessions()
            if shares_chrome and (GATE.running or GATE.waiting):
                raise HTTPException(429, "The Chrome of this stack is in use by a run; try again when it has ended.")
            if len(SESSIONS) >= limit:
                most = f"{limit} browser sessions are open, the most that server.max_sessions in the stack file allows"
                raise HTTPException(429, f"{most}; close one first.")
            session = await create_session(*args, **kwargs)
            session_id = session.persistent_browser_session_id
            SESSIONS.add(session_id)
            if shares_chrome:
                turn = Turn(session_id)
                GATE.running.add(turn)
                _keep(asyncio.create_task(_leave_with_session(turn)))
            return session

    one_by_one = asyncio.Lock()
    return creates


async def _forget_closed_sessions() -> None:
    from skyvern.forge.sdk.schemas.persistent_browser_sessions import is_final_status

    for session_id in list(SESSIONS):
        session = await _app().DATABASE.browser_sessions.get_persistent_browser_session(session_id)
        if session is None or session.completed_at is not None or is_final_status(session.status):
            SESSIONS.discard(session_id)


async def _leave_with_session(turn: Turn) -> None:
    try:
        while turn.run_id in SESSIONS:
            await asyncio.sleep(SESSION_LOOK_SECONDS)
            await _forget_closed_sessions()
    finally:
        GATE.leave(turn)


_tasks: set[asyncio.Task[Any]] = set()


def _keep(task: asyncio.Task[Any]) -> None:
    """asyncio itself keeps no reference to a task."""
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def opens_after(clean_up: Work) -> Work:
    """PersistentSessionsManager.cleanup_stale_sessions, which closes all sessions, those of running runs included."""

    async def cleans(*args: Any, **kwargs: Any) -> None:
        try:
            await clean_up(*args, **kwargs)
        finally:
            GATE.set_open(True)

    return cleans


def _app() -> Any:
    from skyvern.forge import app

    return app


@ends_start("run gate")
def configure_app(app: Any) -> None:
    """Called by Skyvern before the server starts; ends the start where a place is not as in 1.0.56."""
    executor = GatedExecutor()
    service, sessions = app.WORKFLOW_SERVICE, app.PERSISTENT_SESSIONS_MANAGER
    places = (
        *((executor, name) for name in ("_scheduled_retry_resumes", "_resume_pending_retry", "_dispatch_retry_resume")),
        (BackgroundTaskExecutor, "_schedule"),
        (service, "execute_workflow"),
        (sessions, "create_session"),
        (sessions, "cleanup_stale_sessions"),
    )
    require(places, "its runs cannot be bounded")
    AsyncExecutorFactory.set_executor(executor)
    service.execute_workflow = gated(service.execute_workflow, executor)
    limit = int(os.environ["RUN_GATE_MAX_SESSIONS"])
    shares_chrome = os.environ.get("BROWSER_TYPE") == "cdp-connect"
    sessions.create_session = bounded(sessions.create_session, limit, shares_chrome=shares_chrome)
    sessions.cleanup_stale_sessions = opens_after(sessions.cleanup_stale_sessions)
