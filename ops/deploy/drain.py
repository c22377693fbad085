"""The countdown of the server's drain, on the terminal, while an update replaces the server.

The server says on its log what is still in progress and for how long at most (images/server/drain.py). Pulumi shows nothing of
it, and a stop of minutes would look like one that hangs. Nothing here can fail an update.
How long it may take is server.drain_minutes.
"""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ops.clients.docker import Docker
from ops.clients.terminal import Progress
from ops.errors import UserError
from ops.observe import logs
from ops.stack.stack import Stack

# How a line of the drain begins.
PREFIX = "skyvern-drain: "
END_SECONDS = 5


def stop_seconds(stack: Stack) -> float:
    """For ``docker stop`` of the server: the drain, what Docker gives it beyond that, and a slow machine.

    The server that runs drains as long as it was made for, which the stack file may have shortened since.
    """
    running: dict[str, str] = {}
    with suppress(UserError, ValueError):
        running = dict(one.split("=", 1) for one in stack.docker().environment_of(stack.prefix("server")))
    return max(60.0 * stack.settings().server.drain_minutes, float(running.get("DRAIN_SECONDS", 0))) + 240


def stop_to_its_end(docker: Docker, stack: Stack, part: str, seconds: float, progress: Progress) -> None:
    """Stops a part, and waits for that also when the command is interrupted meanwhile: the daemon goes on with it.

    What is started before that is over stops then. Interrupted a second time, it is not waited for. seconds: that it may take.
    """
    name = stack.prefix(part)
    try:
        docker.stop_part(name, timeout_seconds=seconds)
    except KeyboardInterrupt:
        progress(f"interrupted; {part} is started again once it has stopped")
        docker.wait_until_stopped(name, timeout_seconds=seconds)
        raise


@contextmanager
def countdown(stack: Stack, progress: Progress) -> Iterator[None]:
    """Shows the drain's lines for as long as the block takes; nothing where no server runs or Docker does not answer."""
    process = _follow(stack)
    if process is None:
        yield
        return
    reader = threading.Thread(target=_show, args=(process, progress), daemon=True)
    reader.start()
    try:
        yield
    finally:
        # The log of a server that was not replaced goes on.
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(END_SECONDS)


def _follow(stack: Stack) -> subprocess.Popen[str] | None:
    """``docker logs`` of the server, from now on; of one that does not run, it ends at once."""
    try:
        daemon, server = stack.docker().locate(stack.prefix("server"))
    except UserError:
        # No task of it runs, so none drains.
        return None
    try:
        return subprocess.Popen(
            daemon.command("logs", "--follow", "--tail", "0", server),
            env=daemon.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            # Ctrl-C is for Pulumi, which then finishes its step; and an ssh without a terminal asks nothing.
            start_new_session=True,
        )
    except OSError:
        return None


def _show(process: subprocess.Popen[str], progress: Progress) -> None:
    # A terminal that is gone is no fault of the update's.
    with suppress(OSError):
        for line in process.stdout or ():
            if line.startswith(PREFIX):
                progress(f"server: {logs.printable(line.removeprefix(PREFIX).strip())}")
