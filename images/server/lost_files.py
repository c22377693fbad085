"""Rows of files that a crash has kept from being written: they follow the file, or go.

Skyvern 1.0.56 writes a file's row first and the file in the background, for a recording also after its run has ended: the row
names the .webm, then the .mp4 that is made of it, and the file follows seconds later. Where the server or the browser ends in
between, the API answers with a link that never opens. interrupted_runs.py calls this at the server's start, before a run begins,
and for the recording of a run, once nothing sees to that any more.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog

LOG = structlog.get_logger()

# Of what was the last thing to change before the crash: runs that ended earlier have their files.
BEFORE_CRASH = timedelta(minutes=10)
# As Skyvern names the two files of a recording (forge/sdk/artifact/utils.py replace_file_extension).
OTHER_SUFFIX = {".webm": ".mp4", ".mp4": ".webm"}
AT_ONCE = 16
RECORDING = "recording"


async def runs_of_last_server(statuses_not_begun: Iterable[str]) -> list[str]:
    """Ids of the workflow runs and single tasks that may have lost a file: what was in progress, and what had just ended.

    To be asked before anything is changed.
    """
    from skyvern.forge import app
    from skyvern.forge.sdk.db.models import TaskModel, WorkflowRunModel
    from sqlalchemy import func, select

    found: list[str] = []
    async with app.DATABASE.workflow_runs.Session() as session:
        for row, name in ((WorkflowRunModel, "workflow_run_id"), (TaskModel, "task_id")):
            last = await session.scalar(select(func.max(row.modified_at)))
            if last is None:
                continue
            recent = (row.modified_at >= last - BEFORE_CRASH) | row.status.in_(("running", "paused"))
            query = select(getattr(row, name)).where(recent).where(row.status.notin_(tuple(statuses_not_begun)))
            found += (await session.scalars(query)).all()
    return found


async def ended_alone(run_ids: Sequence[str]) -> list[str]:
    """These runs, with those that they started.

    Not those of a browser session, whose recording is written when that ends, nor those that another run has started, with whose
    browser they worked.
    """
    from skyvern.forge import app
    from skyvern.forge.sdk.db.models import TaskModel, WorkflowRunModel
    from sqlalchemy import select

    run, task = WorkflowRunModel, TaskModel
    alone = run.parent_workflow_run_id.is_(None) & run.browser_session_id.is_(None)
    runs = select(run.workflow_run_id).where(run.workflow_run_id.in_(run_ids), alone)
    tasks = select(task.task_id).where(task.task_id.in_(run_ids), task.workflow_run_id.is_(None))
    async with app.DATABASE.workflow_runs.Session() as session:
        found = [*(await session.scalars(runs)).all(), *(await session.scalars(tasks)).all()]
        started = select(run.workflow_run_id).where(run.parent_workflow_run_id.in_(found))
        return [*found, *(await session.scalars(started)).all()]


async def follow(run_ids: Sequence[str], *, recordings: bool = False) -> int:
    """Leads the rows of these runs to the files that there are, and removes those of files that there are not: how many.

    recordings: of these only.
    """
    from skyvern.forge import app
    from skyvern.forge.sdk.db.models import ArtifactModel
    from sqlalchemy import select

    row = ArtifactModel
    async with app.DATABASE.workflow_runs.Session() as session:
        query = select(row).where(row.workflow_run_id.in_(run_ids) | row.task_id.in_(run_ids))
        if recordings:
            query = query.where(row.artifact_type == RECORDING)
        rows = (await session.scalars(query)).all()
    turns = asyncio.Semaphore(AT_ONCE)

    async def look(artifact: Any) -> bool:
        async with turns:
            return await _follow_one(artifact)

    return sum(await asyncio.gather(*map(look, rows)))


async def _follow_one(artifact: Any) -> bool:
    from skyvern.forge import app

    uri = str(artifact.uri)
    # A player refuses an empty recording; an empty log is one.
    is_there: Callable[[str], Awaitable[bool]] = functools.partial(has_file, empty=artifact.artifact_type != RECORDING)
    if await is_there(uri):
        return False
    other = uri.removesuffix(suffix := Path(uri).suffix) + OTHER_SUFFIX.get(suffix, suffix)
    if other != uri and artifact.artifact_type == RECORDING and await is_there(other):
        await app.DATABASE.artifacts.update_artifact_uri(artifact.artifact_id, artifact.organization_id, other)
        LOG.warning("lost_files: another file", artifact_id=artifact.artifact_id, uri=other)
    else:
        await app.DATABASE.artifacts.delete_artifacts_by_ids(
            organization_id=artifact.organization_id, artifact_ids=[artifact.artifact_id]
        )
        LOG.warning("lost_files: no file", artifact_id=artifact.artifact_id, uri=uri)
    return True


async def has_file(uri: str, *, empty: bool) -> bool:
    """Whether the file or object is there. empty: counts also without content. Raises what else goes wrong with the storage.

    Skyvern's own file_exists says no where the storage does not answer, and a row that is gone is gone. What another storage
    holds counts as there.
    """
    from skyvern.config import settings
    from skyvern.forge import app
    from skyvern.forge.sdk.api.files import parse_uri_to_path

    if uri.startswith("file://"):
        try:
            size = await asyncio.to_thread(lambda: Path(parse_uri_to_path(uri)).stat().st_size)
        except (FileNotFoundError, NotADirectoryError):
            return False
    elif uri.startswith("s3://") and settings.SKYVERN_STORAGE_TYPE == "s3":
        from botocore.exceptions import ClientError

        try:
            size = (await app.STORAGE.async_client.get_object_info(uri))["ContentLength"]
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
                return False
            raise
    else:
        return True
    return empty or size > 0
