"""A module of Skyvern's ADDITIONAL_MODULES: runs go one after the other, in the order in which they were asked for.

For cdp-connect, where all runs share one Chrome: Skyvern 1.0.56 takes the first context and the last window of it, so two runs at
once would drive the same page. Skyvern's own run_sequentially is a setting of each workflow and orders only that workflow's runs.
A run that waits is "queued". Not held back: a browser session that somebody opens in the UI, and a workflow that another one
triggers and waits for, which is part of the first one's turn.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import BackgroundTasks
from skyvern.forge.sdk.executor.background_task_executor import BackgroundTaskExecutor
from skyvern.forge.sdk.executor.factory import AsyncExecutorFactory

Work = Callable[..., Coroutine[Any, Any, Any]]


class OneRunAtATime(BackgroundTaskExecutor):
    """Skyvern's executor, with a lock around what it does in the background (1.0.56, background_task_executor.py)."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = asyncio.Lock()

    def _schedule(
        self, background_tasks: BackgroundTasks | None, func: Work, /, *args: Any, **kwargs: Any
    ) -> asyncio.Task | None:
        # Workflows take their turn in the method below: a retry sleeps first, until its time has come.
        if func not in (self._resume_pending_retry, self._dispatch_retry_resume):
            func = self._in_turn(func)
        return super()._schedule(background_tasks, func, *args, **kwargs)

    def _in_turn(self, work: Work) -> Work:
        async def waits(*args: Any, **kwargs: Any) -> None:
            async with self._turn:
                await work(*args, **kwargs)

        return waits

    async def _dispatch_retry_resume(self, attempt: Any, execution_kwargs: dict[str, Any]) -> None:
        """Every execution of a workflow: the first one, and those after a retry or a restart."""
        key = (attempt.workflow_run_id, attempt.attempt_number)
        marks = key not in self._scheduled_retry_resumes
        if marks:
            # Else Skyvern's recovery takes a run that waits for minutes for a lost one, and starts it with all of its blocks.
            self._scheduled_retry_resumes.add(key)
        try:
            await self._turn.acquire()
        finally:
            if marks:
                self._scheduled_retry_resumes.discard(key)
        try:
            await super()._dispatch_retry_resume(attempt, execution_kwargs)
        finally:
            self._turn.release()


def configure_app(app: Any) -> None:
    """Called by Skyvern before the server starts; fails the start where its executor has no such methods any more."""
    executor = OneRunAtATime()
    there = {*dir(BackgroundTaskExecutor), *vars(executor)}
    for name in ("_schedule", "_scheduled_retry_resumes", "_resume_pending_retry", "_dispatch_retry_resume"):
        if name not in there:
            raise RuntimeError(f"one_run_at_a_time: this Skyvern's executor has no {name}; the browser cannot be shared")
    AsyncExecutorFactory.set_executor(executor)
