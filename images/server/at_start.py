"""What the server's modules share about its start: where they put their work, and how a start that cannot be right ends.

Skyvern 1.0.56 has one hook before the first request, logs what it raises, and goes on; so a failure ends the process here.
"""

import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from start_report import report_failure, report_step


@contextmanager
def ends_start(name: str) -> Iterator[None]:
    """Ends the process with one line for whatever is raised inside."""
    started = time.monotonic()
    try:
        yield
    except BaseException as failure:
        report_failure(name, started, failure)
        sys.stdout.flush()
        # After SystemExit, threads of libraries held the process for seven seconds more.
        os._exit(1)


def require(places: Iterable[tuple[object, str]], otherwise: str) -> None:
    """RuntimeError where an object of Skyvern lacks the attribute of that name. otherwise: what would go wrong then."""
    for owner, name in places:
        if not hasattr(owner, name):
            raise RuntimeError(f"this Skyvern has no {name}, so {otherwise}")


def at_start(app: Any, name: str, work: Callable[[Any], Awaitable[str | None]]) -> None:
    """Adds a step, in the order in which modules are loaded. work: gets the FastAPI application; what it returns is the note of
    the step's line."""
    before = app.api_app_startup_event

    async def start(fastapi_app: Any) -> None:
        if before is not None:
            await before(fastapi_app)
        started = time.monotonic()
        with ends_start(name):
            report_step(name, started, await work(fastapi_app))

    app.api_app_startup_event = start
