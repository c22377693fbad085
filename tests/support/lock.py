"""A stack that another command has."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager

from ops.paths import config_dir

# Of no process: the greatest number is 4194304.
PID = 5_000_000
REFUSED = (
    r"^stack dev: nothing was changed: bin/ops restore is at work on it \(process 5000000, since 2026-11-29 10:00:00 UTC\); wait "
    r"until it has ended, or end it where it runs$"
)


@contextmanager
def held(text: str | None = None, *, stack: str = "dev") -> Iterator[None]:
    """As by a restore in another process. text: of the lock file instead of that."""
    path = config_dir() / f"{stack}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(json.dumps([PID, "bin/ops restore", "2026-11-29 10:00:00 UTC"]) if text is None else text)
        lock.flush()
        yield
