"""Which deployment of a stack worked last, and whether the database still lets its commit run.

Each green smoke run of a stack records its commit and the schema version of the database. A rollback is allowed only
while the schema is still at that version: an older Skyvern does not run on tables that a newer one has migrated, and nothing
migrates them back.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from ops.clients import git
from ops.clients.docker import Docker
from ops.deploy.records import Records
from ops.errors import UserError
from ops.stack import database
from ops.stack.stack import Stack

# Alembic is what Skyvern migrates with; the major version of PostgreSQL decides the format of its files.
_SCHEMA_VERSION = (
    "SELECT 'PostgreSQL ' || current_setting('server_version_num')::int / 10000 || ', migration ' || "
    "string_agg(version_num, ' ' ORDER BY version_num) FROM alembic_version"
)


@dataclass(frozen=True, kw_only=True)
class Good:
    """A deployment after which every smoke check was green. database: its schema version then. at: in UTC.

    stack_file: text of the stack's file, where it was not the commit's own.
    """

    commit: str
    database: str
    at: str
    stack_file: str = ""


GOOD = Records("good", Good)
# The deployment that was recorded last, or None.
last_good = GOOD.read


def record_good(stack: Stack, docker: Docker) -> Good | None:
    """Records that what is checked out works on the stack; None if it cannot be determined which commit that is.

    A stack file of one's own is recorded with it, but not of a guarded stack: there, only what is on main is deployed.

    Kept beside the state, because it is of use where that is.
    """
    try:
        head = git.head(stack.root)
        own_file = () if stack.guarded else (stack.file_name,)
        if set(head.changed) - set(own_file):
            return None
        text = stack.file.read_text(encoding="utf-8") if head.changed else ""
        version = schema_version(stack, docker)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        good = Good(commit=head.commit, database=version, at=at, stack_file=text)
        GOOD.write(stack, good)
    except (UserError, OSError):
        # A deployment that works does not fail because it could not be recorded.
        return None
    return good


def schema_version(stack: Stack, docker: Docker) -> str:
    """``PostgreSQL 17, migration 1c2d...``; UserError when the database does not answer."""
    version = database.ask(stack, docker, f"{_SCHEMA_VERSION};")
    if not version:
        raise UserError(f"{stack.prefix('roles')}: the database has no tables of Skyvern")
    return version


def migrations_of(version: str) -> tuple[str, ...]:
    """The migrations of a schema version, sorted: most often one."""
    return tuple(version.partition(", migration ")[2].split())


def decide(good: Good | None, *, commit: str, database: str) -> Good:
    """The deployment that a rollback goes to; UserError if none is possible.

    commit: what is deployed. database: its schema version now.
    """
    if good is None:
        raise UserError("no good deployment of this stack is recorded here; go forward with a fix")
    if good.commit == commit:
        raise UserError(f"{commit[:12]} is the last good commit itself; look at what changed around it (ops doctor, ops drift)")
    if good.database != database:
        raise UserError(
            f"the database was migrated since {good.commit[:12]} ({good.database}; now {database}), and its Skyvern does not "
            "run on that; go forward with a fix, or go back with the data of before the upgrade: add --with-data"
        )
    return good


def rollback_target(stack: Stack, docker: Docker) -> Good:
    """``decide`` for what is checked out and what the database is now."""
    return decide(last_good(stack), commit=git.head(stack.root).commit, database=schema_version(stack, docker))


def rollback_hint(stack: Stack, docker: Docker) -> str:
    """One sentence for a person after a failed smoke run: the command that rolls back, or why none is possible."""
    try:
        good = rollback_target(stack, docker)
    except UserError as none:
        return f"no rollback is possible: {none}"
    return f"to roll back to {good.commit[:12]}, which was green at {good.at}: bin/ops rollback -s {stack}"
