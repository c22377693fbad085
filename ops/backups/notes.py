"""Notes of the commands beside those of the backup itself: in its volume, which outlives containers and machines of ``ops``."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from components.host.backup import STATE_FOLDER
from components.host.skyvern import SKYVERN_ID
from ops.backups.copies import Unfit
from ops.backups.preflight import OFFLINE
from ops.clients.docker import Docker
from ops.paths import cache_dir
from ops.stack.stack import Stack


def write(stack: Stack, docker: Docker, image: str, path: str, text: str) -> None:
    """One file, whole."""
    _run(stack, docker, image, f"cat > {path}.new && mv {path}.new {path}", stdin=text.encode())


def read(stack: Stack, docker: Docker, image: str, path: str) -> str:
    """A file; "" if there is none."""
    return _run(stack, docker, image, f"cat {path} 2> /dev/null || true")


def _run(stack: Stack, docker: Docker, image: str, script: str, stdin: bytes | None = None) -> str:
    mount = f"--volume={stack.prefix('backup')}:{STATE_FOLDER}"
    flags = ("--interactive", f"--user={SKYVERN_ID}:{SKYVERN_ID}", mount)
    return docker.run(*OFFLINE, *flags, image, "sh", "-c", script, stdin=stdin)


@contextmanager
def alone(stack: Stack) -> Iterator[None]:
    """One restore, drill or upgrade of a stack at a time on this machine; Unfit beside another one."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / f"restore-{stack.short}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unfit(f"stack {stack}: another restore, drill or upgrade is in progress; wait until it has ended") from None
        yield
