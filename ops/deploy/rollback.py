"""``ops rollback``: the way back after a deployment that does not work, a fresh up of the last commit that did.

Each green smoke run of a guarded stack notes its commit and the form of the database then. Back goes only what finds the database
in that form: an older Skyvern does not run on tables that a newer one has migrated, and nothing migrates them back.
Not here: data (a backup brings that back), and what is on main, which still has to be reverted there.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ops import bootstrap
from ops.clients.docker import Docker
from ops.deploy import guard
from ops.deploy import up as deploy
from ops.errors import UserError
from ops.paths import cache_dir, config_dir

# Alembic is what Skyvern migrates with; the major version of PostgreSQL is the form of its files.
_FORM = (
    "SELECT 'PostgreSQL ' || current_setting('server_version_num')::int / 10000 || ', migration ' || "
    "string_agg(version_num, ' ' ORDER BY version_num) FROM alembic_version"
)


@dataclass(frozen=True, kw_only=True)
class Good:
    """A deployment after which every smoke check was green. database: its form then. at: in UTC."""

    commit: str
    database: str
    at: str


def note(stack: str, docker: Docker, root: Path) -> Good | None:
    """Notes that what is checked out works on the stack; None where it cannot be told which commit that is.

    Kept beside the state, because it is of use where that is.
    """
    try:
        seen = guard.head(root)
        if seen.changed:
            return None
        good = Good(commit=seen.commit, database=database_form(stack, docker), at=datetime.now(UTC).isoformat(timespec="seconds"))
    except UserError:
        # A deployment that works does not fail because it could not be noted down.
        return None
    path = _file(stack)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(asdict(good)) + "\n")
    partial.replace(path)
    return good


def last_good(stack: str) -> Good | None:
    """What was noted last, or None."""
    try:
        return Good(**json.loads(_file(stack).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def database_form(stack: str, docker: Docker) -> str:
    """``PostgreSQL 17, migration 1c2d...``; UserError when the database does not answer."""
    name = f"skyvern-{stack.rsplit('/', 1)[-1]}-roles"
    form = docker.run("exec", name, "psql", "-d", "skyvern", "--no-align", "--tuples-only", "--command", _FORM).strip()
    if not form:
        raise UserError(f"{name}: the database has no tables of Skyvern")
    return form


def decide(good: Good | None, *, commit: str, database: str) -> Good:
    """Where the way back leads. commit: what is deployed. database: its form now. UserError where there is no way back."""
    if good is None:
        raise UserError("no good deployment of this stack is recorded here; go forward with a fix")
    if good.commit == commit:
        raise UserError(f"{commit[:12]} is the last good commit itself; look at what changed around it (ops doctor, ops drift)")
    if good.database != database:
        raise UserError(
            f"the database was migrated since {good.commit[:12]} ({good.database}; now {database}), and its Skyvern does not "
            "run on that; go forward with a fix, or put back a backup of the database first"
        )
    return good


def way_back(stack: str, docker: Docker, root: Path) -> str:
    """One sentence for a person in front of a red smoke run: the command that leads back, or why there is none."""
    try:
        good = decide(last_good(stack), commit=guard.head(root).commit, database=database_form(stack, docker))
    except UserError as none:
        return f"no rollback is possible: {none}"
    return f"to roll back to {good.commit[:12]}, which was green at {good.at}: bin/ops rollback -s {stack}"


def rollback(stack: str, root: Path, *, yes: bool, ask: bool) -> None:
    """A fresh up of the last good commit from a checkout of its own; UserError where there is no way back or it fails."""
    docker = Docker(bootstrap.stack_settings(stack).host.docker_host)
    good = decide(last_good(stack), commit=guard.head(root).commit, database=database_form(stack, docker))
    if not yes and not ask:
        raise UserError("ops rollback: there is no terminal to ask on; add --yes")
    if not yes and not deploy.confirm(f"stack {stack}: roll back to {good.commit[:12]}, which was green at {good.at}?"):
        raise UserError("ops rollback: nothing was changed")
    folder = cache_dir() / f"rollback-{stack}-{os.getpid()}"
    # The commit's own program deploys it, with its own versions; the checkout here stays as it is.
    guard.git(root, "worktree", "add", "--force", "--detach", str(folder), good.commit)
    try:
        _share_environment(root, folder)
        code = deploy.run_attended(
            [str(folder / "script" / "up"), "--stack", stack, "--yes"], env=dict(os.environ), ask=False, folder=folder
        )
    finally:
        guard.git(root, "worktree", "remove", "--force", str(folder))
    if code:
        raise UserError(f"ops rollback: script/up of {good.commit[:12]} ended with {code}; see its messages above")


def _share_environment(root: Path, folder: Path) -> None:
    """The Python environment of this checkout for the other one, where script/bootstrap would find nothing to do in it there.

    That saves a minute, and a rollback that needs a package registry may come at the wrong time.
    """
    venv = root / ".venv"
    lists = [folder / name for name in ("requirements.txt", "requirements-dev.txt")]
    if not all(one.is_file() and one.read_bytes() == (root / one.name).read_bytes() for one in lists):
        return
    # As script/bootstrap names them. It makes an environment without pip anew, which must not be this one.
    stamps = [venv / f".{one.stem}-{hashlib.sha256(one.read_bytes()).hexdigest()[:16]}" for one in lists]
    if any(stamp.exists() for stamp in stamps) and [*venv.glob("lib/python*/site-packages/pip")]:
        (folder / ".venv").symlink_to(venv)


def _file(stack: str) -> Path:
    return config_dir() / f"good-{stack.replace('/', '-')}.json"
