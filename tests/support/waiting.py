"""Waiting for what another process does."""

import time
from collections.abc import Callable


def wait_for(
    condition: Callable[[], bool],
    failure: Callable[[], str] = lambda: "did not happen in time",
    *,
    seconds: float = 30,
    pause: float = 0.05,
) -> None:
    """Returns once the condition holds; AssertionError when it does not in time. pause: longer where a look starts programs."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, failure()
        time.sleep(pause)
