"""How long the gateway did not answer at its port on loopback, while an update replaced it (docs/decisions/gapless.md).

Nothing here can fail an update. Not here: how long it may take, as a preview says it (ops/stack/impact.py).
"""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from components.settings import NoEdge, Settings
from ops.clients.terminal import Progress

PAUSE_SECONDS = 0.25
ANSWER_SECONDS = 2


class Watch:
    """Asks a port of 127.0.0.1 until it is stopped.

    longest: the longest time in seconds from one answer to the next with a failure between them, 0.0 if there was none.
    """

    def __init__(self, port: int) -> None:
        self.longest = 0.0
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(ANSWER_SECONDS + 1)

    def _look(self) -> None:
        answered: float | None = None
        failed = False
        while not self._stop.wait(PAUSE_SECONDS):
            if not answers(self._port):
                failed = True
                continue
            now = time.monotonic()
            # Of a machine that was slow itself, every question was answered.
            if failed and answered is not None:
                self.longest = max(self.longest, now - answered)
            answered, failed = now, False


def answers(port: int) -> bool:
    """Whether HTTP is spoken there, whatever the answer: to a foreign Host it is a refusal, and no attempt to log in."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("HEAD", "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


@contextmanager
def shown(settings: Settings, progress: Progress) -> Iterator[None]:
    """Says at the end for how long nobody got an answer, of a stack that publishes its port on this machine.

    Silent about a port that did not answer before, or does not yet: other lines are about these.
    """
    if not isinstance(settings.edge, NoEdge) or not settings.host.docker_host.startswith("unix://"):
        yield
        return
    watch = Watch(settings.host.port)
    try:
        yield
    finally:
        watch.stop()
    if watch.longest:
        progress(f"127.0.0.1:{settings.host.port} did not answer for {watch.longest:.1f} s, while the gateway was replaced")
