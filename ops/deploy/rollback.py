"""``ops rollback``: deploys the last commit that worked, after a deployment that does not.

Not here: which commit that is and whether the database allows it (ops/deploy/releases.py); data (a backup brings that back); what
is on main, which still has to be reverted there.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops import shell
from ops.clients import git, terminal
from ops.deploy import releases
from ops.errors import UserError
from ops.machine import engine
from ops.paths import cache_dir
from ops.stack.stack import Stack


def rollback(stack: Stack, *, yes: bool) -> None:
    """A fresh up of the last good commit from its own checkout; UserError if no rollback is possible or it fails."""
    docker = stack.docker()
    good = releases.rollback_target(stack, docker)
    terminal.need_answer("ops rollback", yes=yes)
    if not yes and not terminal.confirm(f"stack {stack}: roll back to {good.commit[:12]}, which was green at {good.at}?"):
        raise UserError("ops rollback: nothing was changed")
    folder = cache_dir() / f"rollback-{stack.short}-{os.getpid()}"
    # The commit's own program deploys it, with its own versions; the checkout here stays as it is.
    git.run(stack.root, "worktree", "add", "--force", "--detach", str(folder), good.commit)
    try:
        _share_environment(stack.root, folder)
        command = [str(folder / "script" / "up"), "--stack", stack.name, "--yes"]
        with shared_engine(folder):
            code = terminal.run_attended(command, env=shell.variables(), ask=False, folder=folder)
    finally:
        git.run(stack.root, "worktree", "remove", "--force", str(folder))
    if code:
        raise UserError(f"ops rollback: script/up of {good.commit[:12]} ended with {code}; see its messages above")


@contextmanager
def shared_engine(folder: Path) -> Iterator[None]:
    """The engine that was decided on here, for the other checkout meanwhile: it does not ask the network for one."""
    record = engine.read_record()
    if record is not None:
        engine.write_record(record, folder)
    try:
        yield
    finally:
        engine.record_file(folder).unlink(missing_ok=True)


def _share_environment(root: Path, folder: Path) -> None:
    """The Python environment of this checkout for the other checkout, if script/bootstrap would change nothing in it there.

    That saves a minute, and a rollback that needs a package registry may come at the wrong time.
    """
    venv = root / ".venv"
    lists = [folder / name for name in ("requirements.txt", "requirements-dev.txt")]
    if not all(path.is_file() and path.read_bytes() == (root / path.name).read_bytes() for path in lists):
        return
    # As script/bootstrap names them. It re-creates an environment that has no pip, which must not happen to this one.
    stamps = [venv / f".{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}" for path in lists]
    if any(stamp.exists() for stamp in stamps) and [*venv.glob("lib/python*/site-packages/pip")]:
        (folder / ".venv").symlink_to(venv)
