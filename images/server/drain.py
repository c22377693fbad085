"""A module of Skyvern's ADDITIONAL_MODULES: the server ends when its runs have ended, within a time.

On SIGTERM, Skyvern 1.0.56 closes its port at once, waits for runs without a limit while its schedules go on firing, and is killed
by Docker in the end; the runs stay "running" for ever. Here the port stays open: whoever asks for a new run is told to come back
(503 with Retry-After), everything else is answered, schedules wait for the next start, and a line a quarter of a minute says what
is still in progress. After DRAIN_SECONDS, or with a second SIGTERM, the rest is ended with a reason. Runs that wait for their
turn stay queued and are started by the next server (interrupted_runs.py).
Look at it again with the Skyvern after 1.0.56.
"""

import asyncio
import os
import signal
import time
from typing import Any

import interrupted_runs
from at_start import at_start, ends_start, require
from fastapi import HTTPException
from run_gate import GATE, Work, inside_a_run

BACK_SECONDS = 60
LINE_SECONDS = 15.0
# For a browser to close and a recording to be saved.
END_SECONDS = 20.0
STOPPED = "Interrupted: the server was stopped for an update or by its operator, and this run had not ended within {:.0f} s."


def refuse_new(start: Work) -> Work:
    """What makes a run or a browser session: refused while the server drains, unless a run in progress asks for it.

    A schedule that has fired may make its run, which waits for the next start: of one that fires once, nothing would be left.
    """

    async def starts(*args: Any, **kwargs: Any) -> Any:
        if GATE.closes_at is not None and not inside_a_run() and not kwargs.get("workflow_schedule_id"):
            raise HTTPException(
                503,
                "The server is about to restart and starts no new run; try again in a minute.",
                headers={"Retry-After": str(BACK_SECONDS)},
            )
        return await start(*args, **kwargs)

    return starts


def waits_for_the_next_start(dispatch: Work) -> Work:
    """LocalWorkflowScheduleScheduler.dispatch_due_schedules: what is due while the server drains is due at its next start."""

    async def dispatches(*args: Any, **kwargs: Any) -> Any:
        return [] if GATE.closes_at is not None else await dispatch(*args, **kwargs)

    return dispatches


@ends_start("drain")
def configure_app(app: Any) -> None:
    """Called by Skyvern before the server starts; ends the start where a place is not as in 1.0.56."""
    from skyvern.services.workflow_schedule_service import LocalWorkflowScheduleScheduler

    scheduler = LocalWorkflowScheduleScheduler
    makers = (
        (app.WORKFLOW_SERVICE, "setup_workflow_run"),
        (app.agent, "create_task"),
        (app.PERSISTENT_SESSIONS_MANAGER, "create_session"),
    )
    require((*makers, (scheduler, "dispatch_due_schedules")), "a restart would cut runs off")
    for owner, name in makers:
        setattr(owner, name, refuse_new(getattr(owner, name)))
    setattr(scheduler, "dispatch_due_schedules", waits_for_the_next_start(scheduler.dispatch_due_schedules))  # noqa: B010
    at_start(app, "drain", listen)


async def listen(_fastapi_app: object) -> str:
    """Takes SIGTERM from uvicorn, which gets it when the runs have ended."""
    seconds = float(os.environ["DRAIN_SECONDS"])
    uvicorn_ends = signal.getsignal(signal.SIGTERM)
    # uvicorn.Server.handle_exit, set before the application starts (uvicorn 0.5x, server.py).
    server = getattr(uvicorn_ends, "__self__", None)
    if not callable(uvicorn_ends) or not hasattr(server, "should_exit"):
        raise RuntimeError("uvicorn does not handle SIGTERM as before, so a restart would cut runs off")
    # Of what is left then: answers that never end, such as live views.
    server.config.timeout_graceful_shutdown = 5

    def begin() -> None:
        if GATE.closes_at is not None:
            GATE.closes_at = time.monotonic()
            return
        GATE.closes_at = time.monotonic() + seconds
        global _drain
        _drain = asyncio.create_task(drain_then(lambda: uvicorn_ends(signal.SIGTERM, None), seconds))

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, begin)
    return f"up to {seconds:.0f} s"


_drain: asyncio.Task[None] | None = None


async def drain_then(end: Any, seconds: float) -> None:
    """Waits for the runs in progress, ends what is left, and then the server, whatever happens."""
    try:
        GATE.set_open(False)
        next_line = 0.0
        while GATE.in_progress and (left := (GATE.closes_at or 0) - time.monotonic()) > 0:
            if time.monotonic() >= next_line:
                next_line = time.monotonic() + LINE_SECONDS
                runs = sorted(turn.run_id for turn in GATE.in_progress)
                say(f"{len(runs)} in progress, {left:.0f} s left at most: {', '.join(runs[:5])}{' …' if len(runs) > 5 else ''}")
            await asyncio.sleep(0.2)
        if GATE.in_progress:
            await end_rest(STOPPED.format(seconds))
        say(f"done; {len(GATE.waiting)} queued for the next start")
    finally:
        end()


async def end_rest(reason: str) -> None:
    """Ends the runs in progress: their state first, so that nothing writes another one, then their work."""
    turns = list(GATE.in_progress)
    say(f"time is up: {len(turns)} ended")
    for turn in turns:
        await interrupted_runs.end_one(turn.run_id, reason)
    tasks = [turn.task for turn in turns if turn.task is not None]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=END_SECONDS)
    await interrupted_runs.send_webhooks()


def say(text: str) -> None:
    print(f"skyvern-drain: {text}", flush=True)
