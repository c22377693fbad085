"""A module of Skyvern's ADDITIONAL_MODULES: a run whose page crashed says so.

A page that needs more memory than its process may have (sandboxed) crashes, and Skyvern 1.0.56 ends the run with Playwright's
words, "Target page, context or browser has been closed", from which nobody learns why. It hears of the crash and writes it to
its log alone. Look at it again with the Skyvern after 1.0.56.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from at_start import ends_start, require

REASON = (
    "A page of this run crashed, most likely because it needed more memory than a tab may have (server.memory_mib in the stack "
    "file sets how much). "
)
# Runs of this process; a few bytes each.
CRASHED: set[str] = set()


def noticed(on_page_crashed: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """RealBrowserState._on_page_crashed, which also remembers whose page it was."""

    def notices(state: Any, page: Any) -> None:
        if run_id := state._runtime_event_context.workflow_run_id:
            CRASHED.add(run_id)
        on_page_crashed(state, page)

    return notices


def explained(update: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """What writes a run's final status, with the crash before the reason."""

    async def updates(*args: Any, **kwargs: Any) -> Any:
        run_id = kwargs.get("workflow_run_id") or args[0]
        if run_id in CRASHED and kwargs.get("status") in ("failed", "terminated"):
            reason = kwargs.get("failure_reason") or ""
            kwargs["failure_reason"] = reason if reason.startswith(REASON) else REASON + reason
        return await update(*args, **kwargs)

    return updates


@ends_start("page crash")
def configure_app(app: Any) -> None:
    """Called by Skyvern before the server starts; ends the start where a place is not as in 1.0.56."""
    from skyvern.webeye.real_browser_state import RealBrowserState

    runs = app.DATABASE.workflow_runs
    places = (
        (RealBrowserState, "_on_page_crashed", noticed),
        (runs, "update_workflow_run", explained),
        (runs, "update_workflow_run_if_not_final", explained),
    )
    require([(owner, name) for owner, name, _ in places], "a crashed page would have no reason")
    for owner, name, wrap in places:
        setattr(owner, name, wrap(getattr(owner, name)))
