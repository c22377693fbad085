"""The stack's database, asked by psql in the roles container.

That container logs in as whoever makes the stack's roles: the superuser, over PostgreSQL's socket; with a PostgreSQL elsewhere
the user of ``database.url``. Its variables name the database and the role, so no one here needs to know which of the two it is.
Not here: databases of copies (ops/backups/copies.py), of other stacks (ops/backups/upstream.py) and of a restore on a server
elsewhere (ops/backups/external.py).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from components.host import external_postgres
from components.host.postgres import DATABASE, MONITOR_ROLE, ROLE
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.stack.stack import Stack

Answer = TypeVar("Answer")

# As in a set of the backup: rows and a checksum of each table, whatever the order of its rows.
TABLES = r"""
SET timezone = 'UTC'; SET extra_float_digits = 1;
SELECT format('SELECT %L, count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM %I.%I t', relname, nspname, relname)
  FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' AND nspname = 'public' ORDER BY relname \gexec
"""
# In place of the name of a database: the one in which roles and databases are made.
SERVER = "postgres"
_PSQL = """
case $1 in "") name=$DATABASE_NAME ;; postgres) name=${PGDATABASE:-postgres} ;; *) name=$1 ;; esac
shift
exec psql -X -q -A -t -v ON_ERROR_STOP=1 "$@" -d "$name"
"""
_BUSY = "is being accessed by other users"
_AS_OWNER = '\\getenv role ROLE_NAME\nSET ROLE :"role";\n'


@dataclass(frozen=True, kw_only=True)
class Names:
    """Names of the stack's database and of the roles of Skyvern and of the monitor."""

    database: str
    role: str
    monitor: str


def names(stack: Stack) -> Names:
    """By the stack file. On a server elsewhere there may be other stacks, so they have the stack's name."""
    if not stack.settings().database.elsewhere:
        return Names(database=DATABASE, role=ROLE, monitor=MONITOR_ROLE)
    name = external_postgres.name_of(f"skyvern-{stack.short}")
    return Names(database=name, role=name, monitor=external_postgres.monitor_of(name))


def ask(
    stack: Stack,
    docker: Docker,
    script: str,
    *,
    name: str = "",
    as_owner: bool = False,
    variables: Mapping[str, str] = MappingProxyType({}),
    timeout_seconds: float = 120,
) -> str:
    """Output of a psql script, columns separated by ``|``; UserError at the first statement that fails.

    name: of the database, the stack's own without one. as_owner: with the rights of Skyvern's role. variables: psql's, for
    ``:'name'``.
    """
    assignments = [part for variable, value in variables.items() for part in ("-v", f"{variable}={value}")]
    begin = _AS_OWNER if as_owner else ""
    return docker.execute(
        stack.prefix("roles"),
        *("bash", "-c", _PSQL, "psql", name, *assignments),
        stdin=f"{begin}{script}".encode(),
        timeout_seconds=timeout_seconds,
    ).strip()


def until_ready(ask: Callable[[], Answer], seconds: float) -> Answer:
    """The answer of a database that may have been started a moment ago; its last UserError when it gives none in that time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except UserError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def again_while_busy(change: Callable[[], object], pause: Callable[[float], None] = time.sleep) -> None:
    """A change of whole databases; all of it again while a connection is in the way that has been made meanwhile.

    pause: takes seconds. UserError of the change where another one is in the way each time, and of any other reason at once.
    """
    for attempts_left in range(5, -1, -1):
        try:
            change()
        except UserError as failed:
            if _BUSY not in str(failed) or not attempts_left:
                raise
            pause(1)
        else:
            return
