"""A module of Skyvern's ADDITIONAL_MODULES: a run that has lost its server ends with a reason, or is started if it had not begun.

Skyvern 1.0.56 runs everything inside the server's process and repairs nothing at its start: after a crash, a kill or a power cut
a run stays "running" for ever, and one that waited for its turn is never started. The same happens to a run whose end could not
be written because the database was away. There is one server to a database, so a run that is not final and that this process does
not know (run_gate.py) has nobody who sees to it.

Before the server answers, what was running is ended, and links to files that were not written go (lost_files.py). Then, and every
half minute, what had not begun is started in the order in which it was asked for, and what got lost meanwhile is ended. Webhooks
are sent for what is ended here.
Not here: runs with a retry policy that have ended; Skyvern itself decides about their next attempt.
Look at it again with the Skyvern after 1.0.56.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from at_start import at_start, ends_start, require
from lost_files import ended_alone, follow, runs_of_last_server
from run_gate import GATE, PART_OF_WORKFLOW, GatedExecutor

LOG = structlog.get_logger()

SERVER_GONE = "Interrupted: the server stopped while this run was in progress. What it had done until then stays done."
LOST = "Interrupted: the end of this run could not be saved, for example because the database was away for a while."
NOT_SUBMITTED = "Interrupted: the server stopped before this run was accepted, so its caller got no answer."
PART_LOST = "Interrupted: the server stopped before this run of some of the workflow's blocks began. Start it again."
PARENT_ENDED = "Interrupted: the run that started this one has ended."
SWEEP_SECONDS = 30.0
# In which a storage that does not answer holds up the start; the sweeps try it again.
FILES_SECONDS = 30.0
# For one part of a sweep: whatever hangs, the next one comes.
WORK_SECONDS = 300.0
# Of a run's last change in the database: a request makes the run, and hands it over some statements later.
SETTLED = timedelta(seconds=60)
NOT_BEGUN = ("created", "queued")
UNFINISHED = (*NOT_BEGUN, "running", "paused")
# Of follow_files: what it has looked at stays done when it is interrupted.
RUNS_AT_ONCE = 50

# Ended here, their webhooks to be sent once the server answers: a receiver may look the run up.
_ended: list[tuple[str, Any]] = []
# Runs of the last server whose files have not been looked at yet.
_unseen: list[str] = []
# When this server began: what has not changed since was left by the one before.
_began = datetime.min


@ends_start("interrupted runs")
def configure_app(app: Any) -> None:
    """Called by Skyvern before the server starts; ends the start where a place is not as in 1.0.56."""
    places = (
        (app.WORKFLOW_SERVICE, "mark_workflow_run_as_failed_if_not_final"),
        (app.WORKFLOW_SERVICE, "execute_workflow_webhook"),
        (app.DATABASE.workflow_runs, "Session"),
        (app.DATABASE.workflow_run_attempts, "release_stale_dispatch_claim"),
        (app.DATABASE.tasks, "get_task_steps"),
        (app.agent, "execute_task_webhook"),
        (app.DATABASE.artifacts, "update_artifact_uri"),
        (app.DATABASE.artifacts, "delete_artifacts_by_ids"),
    )
    require(places, "a run could stay without an end")
    at_start(app, "interrupted runs", repair_at_start)


async def repair_at_start(_fastapi_app: object) -> str:
    """Ends what was in progress; whatever had not begun is left for the first sweep, when the server answers."""
    from skyvern.forge.sdk.db.datetime_utils import naive_utc_now

    global _began, _sweeper
    _began = naive_utc_now()
    _unseen[:] = await runs_of_last_server(NOT_BEGUN)
    ended = await end_workflow_runs(SERVER_GONE) + await end_tasks(SERVER_GONE)
    GATE.interrupted = ended
    GATE.write()
    try:
        async with asyncio.timeout(FILES_SECONDS):
            await follow_files()
    except Exception:
        LOG.exception("interrupted_runs: files not looked at, tried again")
    _sweeper = asyncio.create_task(sweep())
    return f"{ended} ended"


async def follow_files() -> None:
    """Once of runs of the last server, as soon as the storage answers; of those here a minute after nothing sees to them."""
    while _unseen:
        some = _unseen[:RUNS_AT_ONCE]
        await follow(some)
        del _unseen[: len(some)]
    settled = time.monotonic() - SETTLED.total_seconds()
    left = [run_id for run_id, when in GATE.left.items() if when < settled][:RUNS_AT_ONCE]
    if left:
        await follow(await ended_alone(left), recordings=True)
    for run_id in left:
        GATE.left.pop(run_id, None)


_sweeper: asyncio.Task[None] | None = None


async def sweep() -> None:
    """For as long as the server lives."""
    while not GATE.open:
        await asyncio.sleep(0.2)
    while True:
        for work in (follow_files, start_waiting, end_lost, send_webhooks):
            try:
                async with asyncio.timeout(WORK_SECONDS):
                    await work()
            except Exception:
                # The database may be away; the next turn of the loop does what this one could not.
                LOG.exception("interrupted_runs: not done, tried again", step=work.__name__)
        await asyncio.sleep(SWEEP_SECONDS)


async def end_lost() -> None:
    """Runs that are in progress in the database and not in this process."""
    GATE.interrupted += await end_workflow_runs(LOST, settled=True) + await end_tasks(LOST, settled=True)
    GATE.write()


async def end_workflow_runs(reason: str, *, settled: bool = False) -> int:
    """Fails the workflow runs in progress that nobody sees to, with their blocks, tasks and steps: how many.

    settled: only those that have not changed for a while, or since this server began.
    """
    ended = 0
    for run in await _unfinished_runs(settled=settled):
        why = _reason_to_end(run, reason)
        ended += why is not None and await _end_workflow_run(run.workflow_run_id, why)
    return ended


async def end_one(run_id: str, reason: str) -> None:
    """Ends what has a turn in the gate: a workflow run, a task of either kind; a browser session needs no end."""
    from skyvern.forge import app

    if run_id.startswith("wr_"):
        await _end_workflow_run(run_id, reason)
    elif (task_v2 := await app.DATABASE.observer.get_task_v2(run_id)) is not None:
        await _end_workflow_run(str(task_v2.workflow_run_id), reason)
    elif (task := await app.DATABASE.tasks.get_task(run_id)) is not None and not task.status.is_final():
        await _end_task(run_id, task.organization_id, reason)


async def _end_workflow_run(run_id: str, reason: str) -> bool:
    """False for one that has ended by itself. Its webhook is for send_webhooks."""
    from skyvern.forge import app
    from skyvern.forge.sdk.schemas.task_v2 import TaskV2Status

    failed = await app.WORKFLOW_SERVICE.mark_workflow_run_as_failed_if_not_final(
        workflow_run_id=run_id, failure_reason=reason, cascade_children=True
    )
    if failed is None:
        return False
    LOG.warning("interrupted_runs: ended", workflow_run_id=run_id, reason=reason)
    task_v2 = await app.DATABASE.observer.get_task_v2_by_workflow_run_id(run_id, failed.organization_id)
    if task_v2 is None:
        _ended.append(("workflow", failed))
        return True
    if not task_v2.status.is_final():
        task_v2 = await app.DATABASE.observer.update_task_v2(
            task_v2.observer_cruise_id, status=TaskV2Status.failed, organization_id=failed.organization_id
        )
    _ended.append(("task v2", task_v2))
    return True


async def _end_task(task_id: str, organization_id: str | None, reason: str) -> None:
    from skyvern.forge import app
    from skyvern.forge.sdk.schemas.tasks import TaskStatus

    failed = await app.DATABASE.tasks.update_task(
        task_id, status=TaskStatus.failed, failure_reason=reason, organization_id=organization_id
    )
    LOG.warning("interrupted_runs: ended", task_id=task_id, reason=reason)
    _ended.append(("task", failed))


def _reason_to_end(run: Any, reason: str) -> str | None:
    """Why a run that nobody sees to ends; None for one that is to be started."""
    if run.status in ("running", "paused"):
        return reason
    if run.status == "created":
        # A schedule counts as fired when its run is in the database. Any other caller had no answer yet, and asks again.
        if run.workflow_schedule_id is None:
            return PARENT_ENDED if run.parent_workflow_run_id else NOT_SUBMITTED
        return None
    if run.debug_session_id or run.job_id == PART_OF_WORKFLOW:
        return PART_LOST
    return None


def _settled_before() -> datetime:
    """Of a row that has changed later, something in this process may be about to take care: a request, a schedule."""
    from skyvern.forge.sdk.db.datetime_utils import naive_utc_now

    return max(_began, naive_utc_now() - SETTLED)


async def _unfinished_runs(*, settled: bool = True) -> Sequence[Any]:
    """Rows of workflow_runs that are not final and that this process does not know, the oldest first.

    Members of a run group that are not submitted yet are Skyvern's: its own loop submits them.
    """
    from skyvern.forge import app
    from skyvern.forge.sdk.db.models import WorkflowRunGroupItemModel, WorkflowRunModel
    from sqlalchemy import func, select

    row = WorkflowRunModel
    members = select(WorkflowRunGroupItemModel.workflow_run_id).where(WorkflowRunGroupItemModel.workflow_run_id.isnot(None))
    query = (
        select(row)
        .where(row.status.in_(UNFINISHED))
        .where((row.status != "created") | row.workflow_run_id.notin_(members))
        .order_by(func.coalesce(row.queued_at, row.created_at))
    )
    if settled:
        query = query.where(row.modified_at < _settled_before())
    async with app.DATABASE.workflow_runs.Session() as session:
        return [one for one in (await session.scalars(query)).all() if not GATE.knows(str(one.workflow_run_id))]


async def start_waiting() -> None:
    """Runs and tasks that were accepted and had not begun, in the order in which they were asked for."""
    await _start_workflow_runs()
    await _start_tasks()


async def _start_workflow_runs() -> None:
    for run in await _unfinished_runs():
        if _reason_to_end(run, LOST) is not None:
            continue
        try:
            await _start_run(run)
        except Exception:
            LOG.exception("interrupted_runs: not started, tried again", workflow_run_id=run.workflow_run_id)


async def _start_run(run: Any) -> None:
    from skyvern.forge import app

    organization = await app.DATABASE.organizations.get_organization(str(run.organization_id))
    if organization is None:
        return
    LOG.info("interrupted_runs: started", workflow_run_id=run.workflow_run_id)
    task_v2 = await app.DATABASE.observer.get_task_v2_by_workflow_run_id(run.workflow_run_id, run.organization_id)
    if task_v2 is not None:
        await _executor().execute_task_v2(
            None, None, str(run.organization_id), task_v2.observer_cruise_id, None, browser_session_id=None
        )
    else:
        await _start_workflow_run(run, organization)


async def _start_workflow_run(run: Any, organization: Any) -> None:
    from skyvern.forge import app
    from skyvern.forge.sdk.db.datetime_utils import naive_utc_now

    attempts = await app.DATABASE.workflow_run_attempts.get_attempts(run.workflow_run_id)
    attempt = max(attempts, key=lambda one: one.attempt_number, default=None)
    if attempt is not None and attempt.started_at is not None:
        # Taken by the process before, which then waited for its turn.
        later = naive_utc_now() + timedelta(seconds=1)
        await app.DATABASE.workflow_run_attempts.release_stale_dispatch_claim(
            run.workflow_run_id, run.organization_id, attempt.attempt_number, stale_before=later
        )
    await _executor().execute_workflow(
        request=None,
        background_tasks=None,
        organization=organization,
        workflow_id=run.workflow_id,
        workflow_run_id=run.workflow_run_id,
        workflow_permanent_id=run.workflow_permanent_id,
        max_steps_override=None,
        api_key=await _executor()._get_valid_api_key(run.organization_id),
        browser_session_id=run.browser_session_id,
        block_labels=None,
        block_outputs=None,
    )


def _executor() -> GatedExecutor:
    from skyvern.forge.sdk.executor.factory import AsyncExecutorFactory

    executor: GatedExecutor = AsyncExecutorFactory.get_executor()
    return executor


async def _unfinished_tasks(*, settled: bool = True) -> Sequence[Any]:
    """Rows of tasks that belong to no workflow run, are not final, and that this process does not know, the oldest first."""
    from skyvern.forge import app
    from skyvern.forge.sdk.db.models import TaskModel
    from sqlalchemy import select

    query = (
        select(TaskModel)
        .where(TaskModel.workflow_run_id.is_(None), TaskModel.status.in_(UNFINISHED))
        .order_by(TaskModel.created_at)
    )
    if settled:
        query = query.where(TaskModel.modified_at < _settled_before())
    async with app.DATABASE.workflow_runs.Session() as session:
        return [one for one in (await session.scalars(query)).all() if not GATE.knows(str(one.task_id))]


async def end_tasks(reason: str, *, settled: bool = False) -> int:
    """Fails the single tasks in progress that nobody sees to: how many."""
    ended = 0
    for row in await _unfinished_tasks(settled=settled):
        if row.status != "queued":
            await _end_task(row.task_id, row.organization_id, NOT_SUBMITTED if row.status == "created" else reason)
            ended += 1
    return ended


async def _start_tasks() -> None:
    for row in await _unfinished_tasks():
        if row.status == "queued":
            try:
                await _start_task(row)
            except Exception:
                LOG.exception("interrupted_runs: not started, tried again", task_id=row.task_id)


async def _start_task(row: Any) -> None:
    """A task that waited for its turn has its first step, which nobody has touched."""
    from skyvern.forge import app

    steps = await app.DATABASE.tasks.get_task_steps(row.task_id, row.organization_id)
    organization = await app.DATABASE.organizations.get_organization(str(row.organization_id))
    if not steps or organization is None:
        return
    task = await app.DATABASE.tasks.get_task(row.task_id, organization_id=row.organization_id)
    LOG.info("interrupted_runs: started", task_id=row.task_id)
    _executor()._schedule(
        None,
        app.agent.execute_step,
        organization,
        task,
        steps[0],
        await _executor()._get_valid_api_key(row.organization_id),
        close_browser_on_completion=True,
    )


async def send_webhooks() -> None:
    """For what was ended here, at most once a run. With a retry policy, Skyvern's own recovery sends it."""
    from skyvern.forge import app
    from skyvern.services import task_v2_service

    while _ended:
        kind, ended = _ended.pop(0)
        api_key = await _executor()._get_valid_api_key(ended.organization_id)
        try:
            if kind == "task":
                await app.agent.execute_task_webhook(ended, api_key)
            elif kind == "task v2":
                await task_v2_service.send_task_v2_webhook(ended)
            elif not await app.DATABASE.workflow_run_attempts.get_attempts(ended.workflow_run_id):
                await app.WORKFLOW_SERVICE.execute_workflow_webhook(ended, api_key=api_key, claim_kind=None)
        except Exception:
            LOG.exception("interrupted_runs: a webhook was not sent")
