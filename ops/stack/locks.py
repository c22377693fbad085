"""The locks of a file backend: who holds one, and the removal of those whose holder was killed."""

import json
import platform
from dataclasses import dataclass
from pathlib import Path

from ops.clients.terminal import Progress
from ops.errors import UserError
from ops.stack import checkpoint
from ops.stack.stack import PROJECT, Stack


@dataclass(frozen=True)
class Lock:
    """One lock of the file backend: the process that took it and on which host."""

    path: Path
    pid: int
    user: str
    host: str
    since: str


def read_locks(url: str, stack: Stack) -> list[Lock]:
    """The locks on a stack in a file backend; none for any other, which cannot be read from here. url: PULUMI_BACKEND_URL."""
    folder = checkpoint.backend_folder(url)
    if folder is None:
        return []
    locks = []
    for path in sorted(folder.glob(f"locks/organization/{PROJECT}/{stack.short}/*.json")):
        try:
            fields = json.loads(path.read_text())
            locks.append(
                Lock(
                    path=path,
                    pid=int(fields["pid"]),
                    user=str(fields["username"]),
                    host=str(fields["hostname"]),
                    since=str(fields["timestamp"])[:19],
                )
            )
        except (OSError, ValueError, KeyError, TypeError):
            # Gone in the meantime, or half-written by the process that was killed.
            continue
    return locks


def runs(pid: int) -> bool:
    """Whether a process of this machine is a Pulumi; after a restart the number may be another program's.

    One that was killed with its parent stays as a zombie until init looks for it, which not every init does at once (seen).
    """
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(") ")
    except OSError:
        return False
    return name.startswith("pulumi") and rest[:1] not in {"Z", "X"}


def release_locks(stack: Stack, progress: Progress) -> None:
    """Removes the locks of processes of this host that have ended; UserError for any other one.

    A stack that does not exist yet has them, too: creating it takes one, and it cannot be created while an old one is there.
    ``pulumi cancel``, which does the same, knows no such stack.
    """
    locks = read_locks(stack.environment()["PULUMI_BACKEND_URL"], stack)
    for lock in locks:
        if lock.host != platform.node() or runs(lock.pid):
            raise UserError(
                f"stack {stack}: another Pulumi is working on it (process {lock.pid} of {lock.user} on {lock.host}, since "
                f"{lock.since}); wait until it has ended, or run pulumi cancel -s {stack} if it is gone"
            )
    for lock in locks:
        lock.path.unlink(missing_ok=True)
        lock.path.with_name(f"{lock.path.name}.attrs").unlink(missing_ok=True)
        progress(f"the last pulumi was killed (process {lock.pid}, since {lock.since}): its lock is removed")
