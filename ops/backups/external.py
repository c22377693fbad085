"""A PostgreSQL elsewhere (``database.url``), asked from throw-away containers on the host's network.

Two things need that: a look before ``script/up`` changes anything, and putting a set of the backup in place, where the stack's
database on that server changes its name with the one that a restore has filled. Both names change in one transaction.
Not here: asking the running stack's database (ops/stack/database.py), which its roles container does, wherever it is.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from components.host import external_postgres, images
from components.host.external_postgres import CHECK_SCRIPT, CREATE_DATABASE, MAKE_ROLE
from components.host.postgres import AUTHORITY, DATABASE, ROLE, SOCKET_FOLDER
from components.host.skyvern import SKYVERN_ID
from components.settings import Settings, SettingsError, parse
from ops.backups.container import LONG_SECONDS
from ops.backups.preflight import HARDENING
from ops.clients import process
from ops.clients.docker import Docker
from ops.clients.terminal import Progress
from ops.errors import UserError, explained
from ops.stack import database, secrets
from ops.stack.stack import Stack

_AUTHORITY = f'[ -z "${{AUTHORITY:-}}" ] || printf "%s" "$AUTHORITY" > {AUTHORITY}\n'
_COUNT = f"""
count() {{ psql -X -q -A -t -v ON_ERROR_STOP=1 "$@" <<'SQL'
{database.TABLES}SQL
}}
"""
# The roles as the roles container makes them, which may not have run yet. What of the monitor is there may connect later, too.
_FILL = rf"""
{CHECK_SCRIPT}
set -e -o pipefail
{MAKE_ROLE}
psql -X -q -v ON_ERROR_STOP=1 <<'SQL'
SET client_min_messages = warning;
\getenv role ROLE_NAME
\getenv database NEW
\getenv monitor MONITOR_ROLE
{CREATE_DATABASE}
SELECT format('GRANT CONNECT ON DATABASE %I TO %I', :'database', rolname) FROM pg_roles WHERE rolname = :'monitor' \gexec
SQL
export PGPASSWORD="$ROLE_PASSWORD"
there=(--host={SOCKET_FOLDER} --port=5432 --username={ROLE} --dbname={DATABASE})
here=(--username="$ROLE_NAME" --dbname="$NEW")
pg_dump -Fc -Z0 "${{there[@]}}" | pg_restore --no-owner --no-privileges --exit-on-error --single-transaction "${{here[@]}}"
{_COUNT}
count "${{there[@]}}" > /tmp/there
count "${{here[@]}}" > /tmp/here
cmp -s /tmp/there /tmp/here || fail "what arrived is not what was sent: $(diff /tmp/there /tmp/here | tail -n 1)"
"""  # noqa: S608
_NAMES = r"""
set -eu
psql -X -q -A -t -v ON_ERROR_STOP=1 -c 'SELECT datname FROM pg_database'
"""
# Of the stack's roles alone: others are not ours to end, and PostgreSQL names them.
_RENAME = r"""
set -eu
psql -X -q -v ON_ERROR_STOP=1 <<'SQL'
\getenv role ROLE_NAME
\getenv monitor MONITOR_ROLE
\getenv database DATABASE_NAME
\getenv comes COMES
\getenv goes GOES
SELECT count(pg_terminate_backend(pid)) AS ended FROM pg_stat_activity
  WHERE datname IN (:'database', :'comes') AND usename IN (:'role', :'monitor') \gset
BEGIN;
ALTER DATABASE :"database" RENAME TO :"goes";
ALTER DATABASE :"comes" RENAME TO :"database";
COMMIT;
SQL
"""
_DROP = r"""
set -eu
psql -X -q -v ON_ERROR_STOP=1 <<'SQL'
SET client_min_messages = warning;
\getenv one NEW
\getenv other OLD
DROP DATABASE IF EXISTS :"one" WITH (FORCE);
DROP DATABASE IF EXISTS :"other" WITH (FORCE);
SQL
"""


@dataclass(frozen=True, kw_only=True)
class Server:
    """The server of a stack file as a container of ours reaches it. variables: with passwords. database: the stack's on it."""

    stack: Stack
    docker: Docker
    image: str
    variables: Mapping[str, str] = field(repr=False)
    database: str

    def run(
        self,
        script: str,
        variables: Mapping[str, str] = MappingProxyType({}),
        flags: tuple[str, ...] = (),
        timeout_seconds: float = 120,
    ) -> str:
        """Output of a bash script with libpq's variables for the user of ``database.url``; UserError in one line."""
        given = {**self.variables, **variables}
        scratch = ("--network=host", "--tmpfs=/tmp:mode=1777", f"--user={SKYVERN_ID}:{SKYVERN_ID}", *flags)
        command = ("bash", "-c", f"{_AUTHORITY}{script}")
        names = (f"--env={name}" for name in given)
        with explained(lambda failed: clause(str(failed))):
            return self.docker.run_with(
                given, "run", *HARDENING, *scratch, *names, self.image, *command, timeout_seconds=timeout_seconds
            )

    def new(self, stamp: str) -> str:
        """Name of the database that a restore fills."""
        return f"{self.database}_new_{stamp}"

    def old(self, stamp: str) -> str:
        """Name of what the stack had before."""
        return f"{self.database}_old_{stamp}"


def clause(said: str) -> str:
    """What went wrong, without docker's words around it and without a URL."""
    return said.rpartition("database.url: ")[2] if "database.url: " in said else said


def server(stack: Stack, docker: Docker, settings: Settings) -> Server | None:
    """The server of the stack file, decrypted; None for a stack with a PostgreSQL of its own. UserError for a wrong URL."""
    if not settings.database.elsewhere:
        return None
    url = secrets.given(stack, "database.url").get_secret_value()
    given = {"url": url, **({"ca_file": settings.database.ca_file} if settings.database.ca_file else {})}
    try:
        opened = parse({"database": given}, file=stack.file_name, secret_keys=frozenset({"database.url"})).database
    except SettingsError as wrong:
        raise UserError(str(wrong)) from wrong
    address, prefix = opened.address, f"skyvern-{stack.short}"
    if address is None:
        raise UserError(f"{stack.file_name}: database.url: cannot be decrypted")
    access = external_postgres.access(prefix, opened)
    found = secrets.generated(stack, "database", "organization")
    organization = found["organization"].get_secret_value() if "organization" in found else ""
    variables = {
        **external_postgres.environment(access, address),
        "MONITOR_ROLE": access.monitor,
        "PGPASSWORD": address.password.get_secret_value(),
        "ROLE_MARK": external_postgres.mark(prefix, f"o_1{organization}"),
        "ROLE_PASSWORD": found["database"].get_secret_value() if "database" in found else "",
        **({} if access.certificates is None else {"AUTHORITY": access.certificates}),
    }
    image = images.references(settings.images.source)["backup"]
    return Server(stack=stack, docker=docker, image=image, variables=variables, database=access.database)


def check(there: Server | None, progress: Progress) -> None:
    """UserError with one line for what keeps the stack's database from being there; the image has to be there.

    there: None for a stack with a PostgreSQL of its own, of which nothing is asked.
    """
    if there is None:
        return
    with explained(lambda failed: f"nothing was changed: {there.stack.file_name}: database.url: {failed}"):
        there.run(CHECK_SCRIPT)
    progress("the server of database.url can be used")


# --- A restore ------------------------------------------------------------------------------------------------------------


def fill(there: Server, socket: str, role_password: str, stamp: str) -> None:
    """A new database on the server, with what a copy's has, compared; UserError if it does not arrive. socket: of the copy."""
    variables = {"NEW": there.new(stamp), "ROLE_PASSWORD": role_password}
    with explained(lambda failed: f"the restored database cannot be written to the server of database.url: {failed}"):
        there.run(_FILL, variables, (f"--volume={socket}:{SOCKET_FOLDER}",), timeout_seconds=LONG_SECONDS)


def copied(there: Server, socket: str, role_password: str) -> None:
    """The other way: the stack's database on the server into a copy's, which is empty. UserError if it does not arrive."""
    script = f"""
set -eu -o pipefail
export PGPASSWORD="$ROLE_PASSWORD"
pg_dump -Fc -Z0 --username="$ROLE_NAME" --dbname="$DATABASE_NAME" | pg_restore --no-owner --no-privileges --exit-on-error \\
  --single-transaction --host={SOCKET_FOLDER} --port=5432 --username={ROLE} --dbname={DATABASE}
"""
    there.run(script, {"ROLE_PASSWORD": role_password}, (f"--volume={socket}:{SOCKET_FOLDER}",), timeout_seconds=LONG_SECONDS)


def databases(there: Server) -> list[str]:
    """Names of all databases on the server."""
    return there.run(_NAMES).split()


def is_in_use(there: Server) -> bool:
    """Whether the stack's database is there and Skyvern has migrated it."""
    query = "SELECT to_regclass('alembic_version') IS NOT NULL"
    script = f'psql -X -q -A -t -v ON_ERROR_STOP=1 -d "$DATABASE_NAME" -c "{query}"'
    return there.database in databases(there) and there.run(script).strip() == "t"


def look(there: Server, stamp: str) -> str:
    """``new`` where the database of a restore waits beside the stack's, ``old`` where it is in its place, else ""."""
    names = databases(there)
    return "new" if there.new(stamp) in names else "old" if there.old(stamp) in names else ""


def put_in_place(there: Server, stamp: str) -> None:
    """The database of a restore becomes the stack's. Again after an interruption: nothing."""
    if look(there, stamp) == "new":
        _rename(there, comes=there.new(stamp), goes=there.old(stamp))


def take_back(there: Server, stamp: str) -> None:
    """What ``put_in_place`` has done, undone."""
    if look(there, stamp) == "old":
        _rename(there, comes=there.old(stamp), goes=there.new(stamp))


def remove(there: Server, stamp: str) -> None:
    """Databases that a restore left beside the stack's."""
    there.run(_DROP, {"NEW": there.new(stamp), "OLD": there.old(stamp)})


def _rename(there: Server, *, comes: str, goes: str, pause: Callable[[float], None] = time.sleep) -> None:
    with explained(lambda failed: f"the server of database.url: {process.lines_of(str(failed))[0]}"):
        database.again_while_busy(lambda: there.run(_RENAME, {"COMES": comes, "GOES": goes}), pause)
