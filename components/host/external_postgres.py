"""A PostgreSQL elsewhere (``database.url``): the container that makes the stack's roles and database there.

Not here: what belongs to the server's provider: its backups, its version, its disk (docs/database.md).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi

from components.host.postgres import AUTHORITY, CONNECTION, END_SESSIONS, MONITORS_BOUNDS, MONITORS_FUNCTIONS, SERVE, Access
from components.host.service import DockerEngine, Engine, HardenedService, Health, ServiceArgs
from components.host.skyvern import SKYVERN_ID
from components.settings import DatabaseAddress, DatabaseSettings

# The authorities that Debian trusts, in the images of every client.
_PUBLIC = "/etc/ssl/certs/ca-certificates.crt"
# What PostgreSQL takes as a name, without what this adds to it (``_before``, a date).
_NAME_CHARACTERS = 40

# Whoever runs it may make roles and databases, and is not a superuser: no provider gives one away. The mark on the role says
# whose it is: a second stack of that name would set another password, and lock the first one out.
CHECK_SCRIPT = r"""
set -u
fail() { echo "database.url: $*" >&2; exit 1; }
facts=$(psql -X -q -A -t -v ON_ERROR_STOP=1 2>&1 <<'SQL'
\getenv role ROLE_NAME
\getenv database DATABASE_NAME
SELECT 'major', current_setting('server_version_num')::int / 10000;
SELECT 'may', rolsuper OR (rolcreaterole AND rolcreatedb) FROM pg_roles WHERE rolname = current_user;
SELECT 'mark', coalesce(shobj_description(oid, 'pg_authid'), '') FROM pg_roles WHERE rolname = :'role';
SELECT 'database', count(*) FROM pg_database WHERE datname = :'database';
SQL
) || fail "$(grep -m 1 -i error <<< "$facts" | sed -E 's/^(psql: )?error: //I')"
fact() { sed -n "s/^$1|//p" <<< "$facts"; }
here=$(psql --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')
[ "$(fact major)" = "$here" ] || fail "the server is PostgreSQL $(fact major), and this version of the stack needs $here"
[ "$PGUSER" != "$ROLE_NAME" ] || fail "its user is the stack's own role; write one that makes roles and databases"
[ "$(fact may)" = t ] || fail "user $PGUSER may not make roles and databases; give it CREATEROLE and CREATEDB there"
if grep -q '^mark|' <<< "$facts"; then
  [ "$(fact mark)" = "$ROLE_MARK" ] || fail "role $ROLE_NAME is another stack's; use the state that made it, or drop the role"
elif [ "$(fact database)" != 0 ]; then
  fail "database $DATABASE_NAME is another stack's; use the state that made it, or drop the database"
fi
"""
# A server that does not answer is waited for: after a restart of the host it may come later, and what it says is in the log.
_WAIT = r"""
until check; do sleep 10; done
set -e
"""
# Text is sorted as in the stack's own PostgreSQL, whatever the server's system has.
CREATE_DATABASE = r"""
SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING ''UTF8'' LOCALE ''C'' LOCALE_PROVIDER builtin '
  'BUILTIN_LOCALE ''C.UTF-8''', :'database', :'role')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
REVOKE CONNECT, TEMPORARY ON DATABASE :"database" FROM PUBLIC;
"""
# One transaction, so that no role is without its mark. Since PostgreSQL 16, who makes a role is not yet a member of it.
MAKE_ROLE = rf"""
psql -X -q -v ON_ERROR_STOP=1 <<'SQL'
SET client_min_messages = warning;
\getenv role ROLE_NAME
\getenv password ROLE_PASSWORD
\getenv database DATABASE_NAME
\getenv mark ROLE_MARK
BEGIN;
SELECT format('CREATE ROLE %I', :'role') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" LOGIN PASSWORD :'password';
COMMENT ON ROLE :"role" IS :'mark';
GRANT :"role" TO CURRENT_USER WITH INHERIT TRUE, SET TRUE;
COMMIT;
{CREATE_DATABASE}
SQL
"""  # noqa: S608
_MONITORS_ROLE = rf"""
psql -X -q -v ON_ERROR_STOP=1 <<'SQL'
SET client_min_messages = warning;
\getenv role MONITOR_ROLE
\getenv password MONITOR_PASSWORD
\getenv database DATABASE_NAME
SELECT format('CREATE ROLE %I', :'role') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" LOGIN NOINHERIT CONNECTION LIMIT 10 PASSWORD :'password';
GRANT :"role" TO CURRENT_USER WITH INHERIT TRUE, SET TRUE;
{MONITORS_BOUNDS}SQL
"""  # noqa: S608
MAKE_ROLES = f"check() (\n{CHECK_SCRIPT})\n{_WAIT}{MAKE_ROLE}{END_SESSIONS}"
_HEALTH = """
test -e /tmp/password-set || exit 1
PGPASSWORD="$ROLE_PASSWORD" exec psql -X -q -t -U "$ROLE_NAME" -d "$DATABASE_NAME" -c "SELECT 1"
"""


def name_of(prefix: str) -> str:
    """The stack's role and database on a server that other stacks may be on as well. prefix: ``skyvern-dev``."""
    return re.sub(r"[^a-z0-9]", "_", prefix.lower())[:_NAME_CHARACTERS]


def monitor_of(name: str) -> str:
    """The role of the stack's monitor there. name: of the stack's role."""
    return f"{name}_monitor"


def access(prefix: str, settings: DatabaseSettings) -> Access:
    """How the stack's clients reach the server; it has to be decrypted."""
    address, name = settings.address, name_of(prefix)
    if address is None:
        raise ValueError("database.url is not set, or not decrypted")
    certificates = settings.certificates
    return Access(
        host=address.host,
        options={
            "port": str(address.port),
            "sslmode": "verify-full",
            "sslrootcert": _PUBLIC if certificates is None else AUTHORITY,
        },
        database=name,
        role=name,
        monitor=monitor_of(name),
        certificates=certificates,
    )


def mark(prefix: str, organization_id: str) -> str:
    """The comment on the stack's role. organization_id: no other state has it, and it is not a secret."""
    return f"{prefix}, {organization_id}"


def environment(reached: Access, address: DatabaseAddress) -> Mapping[str, str]:
    """Plain variables of whoever makes the stack's roles, besides the passwords and the mark."""
    return {
        **{name: str(value) for name, value in reached.environment.items()},
        "DATABASE_NAME": reached.database,
        "PGCONNECT_TIMEOUT": "10",
        "PGDATABASE": address.database,
        "PGUSER": address.user,
        "ROLE_NAME": reached.role,
    }


@dataclass(frozen=True, kw_only=True)
class ExternalPostgresArgs:
    """Inputs of a PostgreSQL elsewhere.

    image: PostgreSQL's client and the public authorities, the backup's. address, access: of the server. network: the way to it.
    organization_id: of the stack, for the mark on its role. engine: what runs it. The others are those of PostgresArgs.
    """

    prefix: str
    image: str
    address: DatabaseAddress
    access: Access
    network: pulumi.Input[str]
    organization_id: pulumi.Input[str]
    role_password: pulumi.Input[str]
    session_epochs: str
    monitor_password: pulumi.Input[str] | None = None
    engine: Engine = field(default_factory=DockerEngine)


class ExternalPostgres(pulumi.ComponentResource):
    """The roles container of a stack whose PostgreSQL is elsewhere; everybody logs in by TLS, and checks the certificate.

    It does at every start what it does beside a PostgreSQL of the stack: the role's password, the database, the end of the UI's
    sessions, the monitor's functions. The user of ``database.url`` is known to it alone, and no superuser.
    """

    def __init__(self, name: str, args: ExternalPostgresArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        # The type of the stack's own, so that its roles container is replaced by this one, and not made beside it with its name.
        super().__init__("skyvern:host:Postgres", name, None, opts)
        monitor, reached = args.monitor_password, args.access
        script = f"{MAKE_ROLES}{SERVE}" if monitor is None else f"{MAKE_ROLES}{_MONITORS_ROLE}{MONITORS_FUNCTIONS}{SERVE}"
        roles = HardenedService(
            f"{name}-roles",
            ServiceArgs(
                part="roles",
                prefix=args.prefix,
                image=args.image,
                user=f"{SKYVERN_ID}:{SKYVERN_ID}",
                command=reached.command(["bash", "-c", script]),
                environment={
                    **environment(reached, args.address),
                    "PGPASSWORD": pulumi.Output.secret(args.address.password.get_secret_value()),
                    "ROLE_MARK": pulumi.Output.from_input(args.organization_id).apply(lambda one: mark(args.prefix, one)),
                    "ROLE_PASSWORD": args.role_password,
                    **({} if monitor is None else {"MONITOR_PASSWORD": monitor, "MONITOR_ROLE": reached.monitor}),
                    # Nothing reads it: another value makes another container, and its start ends the sessions.
                    "SESSION_EPOCHS": args.session_epochs,
                },
                networks=[args.network],
                memory_mib=64,
                cpus=0.5,
                # A login over the network each time.
                health=Health(
                    command=["bash", "-c", _HEALTH],
                    start_seconds=60,
                    interval_seconds=15,
                    timeout_seconds=10,
                    reads_secrets=True,
                ),
                stop_seconds=2,
                engine=args.engine,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.ready = roles
        self.access = reached
        options = "&".join(f"{key}={value}" for key, value in sorted(reached.options.items()) if key != "port")
        self.database_url = pulumi.Output.concat(
            f"postgresql+psycopg://{reached.role}:",
            args.role_password,
            f"@{reached.host}:{reached.options['port']}/{reached.database}?{CONNECTION}&{options}",
        )
        self.containers = {"roles": roles.container_name}
        self.register_outputs({})
