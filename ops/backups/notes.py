"""Notes of the commands beside those of the backup itself: in its volume, which outlives containers and machines of ``ops``."""

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import TextIO

from components.host.backup import STATE_FOLDER
from ops.backups.copies import Unfit
from ops.backups.preflight import OFFLINE, OURS
from ops.clients.docker import Docker
from ops.paths import config_dir
from ops.stack.stack import Stack


def write(stack: Stack, docker: Docker, image: str, path: str, text: str) -> None:
    """One file, whole."""
    _run(stack, docker, image, f"cat > {path}.new && mv {path}.new {path}", stdin=text.encode())


def read(stack: Stack, docker: Docker, image: str, path: str) -> str:
    """A file; "" if there is none."""
    return _run(stack, docker, image, f"cat {path} 2> /dev/null || true")


def _run(stack: Stack, docker: Docker, image: str, script: str, stdin: bytes | None = None) -> str:
    flags = ("--interactive", OURS, stack.mount("backup", STATE_FOLDER))
    return docker.run(*OFFLINE, *flags, image, "sh", "-c", script, stdin=stdin)


@contextmanager
def alone(stack: Stack) -> Iterator[None]:
    """One command on a stack at a time on this machine, of those that change it or copy its data; Unfit beside another one.

    A process that the command has started is part of it: going back from an upgrade is a ``script/up`` of another checkout.
    """
    config_dir().mkdir(parents=True, exist_ok=True)
    # For appending, because it must not be emptied before it is locked.
    with (config_dir() / f"{stack.short}.lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, command, since = _holder(lock)
            if pid not in _own_processes():
                raise Unfit(
                    f"stack {stack}: nothing was changed: {command} is at work on it (process {pid}, since {since}); wait until "
                    "it has ended, or end it where it runs"
                ) from None
        else:
            lock.truncate(0)
            json.dump([os.getpid(), _command(), f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"], lock)
            lock.flush()
        yield


def _holder(lock: TextIO) -> tuple[int, str, str]:
    """Process, command and start of whoever has the lock; it may have taken it a moment ago, and be of another version."""
    lock.seek(0)
    try:
        pid, command, since = json.load(lock)
        return int(pid), str(command), str(since)
    except (ValueError, TypeError):
        return 0, "another command", "a moment ago"


def _command() -> str:
    """Of this process as a person types it, without its options."""
    program = "script/up" if Path(sys.argv[0]).name == "up.py" else "bin/ops"
    return " ".join((program, *takewhile(lambda word: not word.startswith("-"), sys.argv[1:])))


def _own_processes() -> Iterator[int]:
    """This process and those that it was started by."""
    pid = os.getpid()
    while pid > 1:
        yield pid
        try:
            # Number, (name), state, parent; a name may have brackets.
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
        except OSError:
            # Another user's, where these are hidden.
            return
