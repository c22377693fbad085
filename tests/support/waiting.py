"""Waiting for what another process does."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


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


@contextmanager
def repeated(call: Callable[[], None], pause: float) -> Iterator[None]:
    """Calls in a thread of its own, so many seconds after the call before. Raises at the end what a call raised."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(pause):
            call()

    with ThreadPoolExecutor(1) as thread:
        going = thread.submit(go_on)
        try:
            yield
        finally:
            stop.set()
        going.result()


@contextmanager
def watched(look: Callable[[], float], worst: Callable[..., float], values: list[float]) -> Iterator[None]:
    """Looks every second; values: one, the worst that was seen. Raises at the end what a look raised."""

    def watch() -> None:
        seen = look()
        values[:] = [worst(*values, seen) if values else seen]

    with repeated(watch, 1):
        yield
