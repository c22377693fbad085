"""What runs in the server before it answers its first request, in the order in which the modules are loaded.

Skyvern 1.0.56 has one such hook, logs what it raises, and goes on; so a failure ends the process here.
"""

import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from start_report import report_failure, report_step


def at_start(app: Any, name: str, work: Callable[[Any], Awaitable[str | None]]) -> None:
    """Adds a step. work: gets the FastAPI application; what it returns is the note of the step's line."""
    before = app.api_app_startup_event

    async def start(fastapi_app: Any) -> None:
        if before is not None:
            await before(fastapi_app)
        started = time.monotonic()
        try:
            note = await work(fastapi_app)
        except BaseException as failure:
            report_failure(name, started, failure)
            sys.stdout.flush()
            os._exit(1)
        report_step(name, started, note)

    app.api_app_startup_event = start
