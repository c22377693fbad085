"""``script/up`` of another commit, from its own checkout beside this one: its own program deploys it, with its own versions.

Not here: which commit that is (ops/deploy/releases.py).
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ops import shell
from ops.clients import git, terminal
from ops.clients.terminal import Progress
from ops.deploy import guard
from ops.errors import UserError
from ops.machine import engine
from ops.paths import cache_dir, write_whole
from ops.stack import file
from ops.stack.stack import Stack


def is_there(stack: Stack, commit: str) -> bool:
    """Whether a commit is another one than is checked out, and in this repository, so that ``up`` can deploy it."""
    return commit != git.commit(stack.root) and git.has(stack.root, commit)


def refuse_missing(stack: Stack, commit: str) -> None:
    """UserError for a commit that this repository lacks."""
    if not git.has(stack.root, commit):
        raise UserError(
            f"stack {stack}: commit {commit[:12]} is not in this checkout; run git fetch --unshallow there, or run this again in "
            "a clone that has it"
        )


def up(stack: Stack, commit: str, *, stack_file: str = "") -> int:
    """The exit code of its ``script/up --yes``. stack_file: the text of the stack's file, where it is not the commit's own.

    The checkout here stays as it is. What a guarded stack lets through has been decided when the commit was deployed.
    """
    refuse_missing(stack, commit)
    folder = cache_dir() / f"rollback-{stack.short}-{os.getpid()}"
    git.run(stack.root, "worktree", "add", "--force", "--detach", str(folder), commit)
    try:
        if stack_file:
            write_whole(folder / stack.file_name, stack_file)
        _keep_epochs(stack, folder / stack.file_name)
        _share_environment(stack.root, folder)
        command = [str(folder / "script" / "up"), "--stack", stack.name, "--yes", *([guard.OVERRIDE] if stack.guarded else [])]
        with shared_engine(folder):
            return terminal.run_attended(command, env=shell.variables(), ask=False, folder=folder)
    finally:
        git.run(stack.root, "worktree", "remove", "--force", str(folder))


def _keep_epochs(stack: Stack, there: Path) -> None:
    """The secrets stay those of today: with the number of before a rotation, the up would make yet another one."""
    with suppress(UserError):
        epochs = file.sections(file.read(stack.file)).get("rotation")
        if isinstance(epochs, dict) and there.is_file():
            file.write_settings(there, {"rotation": epochs})


def go_back(stack: Stack, commit: str, *, stack_file: str, version: str, progress: Progress) -> None:
    """The last step of going back to a version: UserError with the next step if its ``script/up`` fails.

    version: as in ``Skyvern 1.0.55``.
    """
    progress(f"script/up of {commit[:12]}, which runs {version}")
    if code := up(stack, commit, stack_file=stack_file):
        raise UserError(
            f"stack {stack}: going back to {version}: script/up of {commit[:12]} ended with {code}; correct what its messages "
            f"above name, and run script/up --stack {stack} again, which goes on with that"
        )


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
