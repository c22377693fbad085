"""PostgreSQL and the container that sets its role's password.

Not here: a PostgreSQL elsewhere (external_postgres.py), which has the same roles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources

import pulumi

from components.host.service import HardenedService, Health, Mount, ServiceArgs
from components.host.volumes import local_volume

DATABASE = "skyvern"
ROLE = "skyvern"
# Of the server's connections (libpq): one whose other end is gone without a word is an error within half a minute. By themselves
# they wait for an answer for two hours, and with them the run that asked.
CONNECTION = "connect_timeout=10&keepalives_idle=15&keepalives_interval=5&keepalives_count=3&tcp_user_timeout=30000"
SUPERUSER = "postgres"
MONITOR_ROLE = "monitor"
USER = "999:999"
SOCKET_FOLDER = "/var/run/postgresql"
DATA_FOLDER = "/var/lib/postgresql/data"

# As Skyvern's own role: a trigger on its table would run with the rights of whoever deletes. Before the first migration there is
# no such table; after it, none would be an error.
END_SESSIONS = r"""
PGPASSWORD="$ROLE_PASSWORD" psql -X -q -v ON_ERROR_STOP=1 -U "$ROLE_NAME" -d "$DATABASE_NAME" <<'SQL'
SELECT to_regclass('alembic_version') IS NOT NULL AS migrated \gset
\if :migrated
DELETE FROM organization_auth_tokens WHERE token_type = 'ui_session';
\endif
SQL
"""
# Passwords reach psql by \getenv: an argument would show in the process list.
MAKE_ROLE = r"""
set -eu
until pg_isready -q; do sleep 0.5; done
psql -X -q -v ON_ERROR_STOP=1 -d postgres <<'SQL'
\getenv role ROLE_NAME
\getenv password ROLE_PASSWORD
\getenv database DATABASE_NAME
SELECT format('CREATE ROLE %I', :'role') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'role')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
REVOKE CONNECT ON DATABASE :"database" FROM PUBLIC;
SQL
"""
# It may call the functions of monitor.sql. The settings are what it starts with, and bound a slow query; what it may is decided
# by what is granted. Temporary tables are files, so nobody but the owner of the database makes any.
# What the monitor's role may do, wherever PostgreSQL is.
MONITORS_BOUNDS = """\
ALTER ROLE :"role" SET default_transaction_read_only = on;
ALTER ROLE :"role" SET statement_timeout = '10s';
ALTER ROLE :"role" SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE :"role" SET work_mem = '32MB';
GRANT CONNECT ON DATABASE :"database" TO :"role";
"""
_MONITORS_ROLE = rf"""
psql -X -q -v ON_ERROR_STOP=1 -d postgres <<'SQL'
\getenv role MONITOR_ROLE
\getenv password MONITOR_PASSWORD
\getenv database DATABASE_NAME
SELECT format('CREATE ROLE %I', :'role') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT CONNECTION LIMIT 10 PASSWORD :'password';
{MONITORS_BOUNDS}REVOKE TEMPORARY ON DATABASE :"database" FROM PUBLIC;
SQL
"""  # noqa: S608
MONITORS_FUNCTIONS = f"""\
PGPASSWORD="$ROLE_PASSWORD" psql -X -q -v ON_ERROR_STOP=1 -v reader="$MONITOR_ROLE" -U "$ROLE_NAME" -d "$DATABASE_NAME" <<'SQL'
{resources.files(__package__).joinpath("monitor.sql").read_text()}SQL
"""
MAKE_MONITOR = f"{_MONITORS_ROLE}{MONITORS_FUNCTIONS}"
SERVE = """
touch /tmp/password-set
echo "password of role $ROLE_NAME set, sessions of the UI ended"
exec sleep infinity
"""
ROLES_SCRIPT = f"{MAKE_ROLE}{END_SESSIONS}{SERVE}"
ROLES_HEALTH = """
test -e /tmp/password-set || exit 1
PGPASSWORD="$ROLE_PASSWORD" exec psql -X -q -t -U "$ROLE_NAME" -d "$DATABASE_NAME" -c "SELECT 1"
"""
# In the tmpfs of every container, as host.ca_file's (outgoing.py).
AUTHORITY = "/tmp/database-ca.pem"  # noqa: S108
_WITH_AUTHORITY = f'printf "%s" "$1" > {AUTHORITY} && shift && exec "$@"'
# For a new cluster alone: what there is stays as it is, and checksums cannot be turned on while it runs.
INITDB_ARGUMENTS = "--encoding=UTF8 --locale=C.UTF-8 --auth-local=scram-sha-256 --auth-host=scram-sha-256 --data-checksums"


@dataclass(frozen=True, kw_only=True)
class Access:
    """How a client of the stack reaches its PostgreSQL; who logs in is the client's business.

    host: as libpq takes it. options: of libpq besides, by its names (``sslmode``). mounts: what the client needs for that.
    database, role, monitor: names of the database and of the roles of Skyvern and of the monitor.
    certificates: in PEM, which ``command`` writes to a file.
    """

    host: str
    options: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[Mount] = ()
    database: str = DATABASE
    role: str = ROLE
    monitor: str = MONITOR_ROLE
    certificates: str | None = None

    @property
    def environment(self) -> dict[str, pulumi.Input[str]]:
        """libpq's variables: ``PGHOST``, ``PGSSLMODE``."""
        return {f"PG{name.upper()}": value for name, value in {"host": self.host, **self.options}.items()}

    def connection(self, role: str) -> str:
        """libpq's connection string, without a password."""
        options = "".join(f" {name}={value}" for name, value in self.options.items())
        return f"host={self.host} dbname={self.database} user={role}{options}"

    def command(self, command: Sequence[pulumi.Input[str]]) -> list[pulumi.Input[str]]:
        """The command of a client, after the file with the certificates is written."""
        if self.certificates is None:
            return [*command]
        return ["sh", "-c", _WITH_AUTHORITY, "with-database-authority", self.certificates, *command]


@dataclass(frozen=True, kw_only=True)
class PostgresArgs:
    """Inputs of PostgreSQL.

    image: PostgreSQL 17, by digest or by the hash of its context.
    volume: name of the data volume; its only writer is this server.
    network: internal network on which Skyvern finds it as ``postgres``.
    superuser_password: stable; used at the first start and by the roles container.
    role_password: of the role Skyvern logs in with; a new one is set at the next ``up``.
    monitor_password: of the role that reads for the monitor; None without a monitor.
    session_epochs: of the secrets that lead to a session of the UI; another text ends the open sessions.
    memory_mib, cpus: limits of the server.
    """

    prefix: str
    image: str
    volume: pulumi.Input[str]
    network: pulumi.Input[str]
    superuser_password: pulumi.Input[str]
    role_password: pulumi.Input[str]
    session_epochs: str
    memory_mib: int
    cpus: float
    monitor_password: pulumi.Input[str] | None = None


class Postgres(pulumi.ComponentResource):
    """PostgreSQL on the internal network, without a published port.

    POSTGRES_PASSWORD counts only when the volume is empty, so rotating it by environment would lock everybody out. The roles
    container, next to the server on a shared socket, sets the role's password at every start, and is healthy once a login with
    it has worked. It also ends the UI's sessions, which Skyvern keeps as rows and would honour for an hour after a rotation.
    Not here: backups, upgrades of the major version (ops/deploy/database_upgrade.py).
    """

    def __init__(self, name: str, args: PostgresArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:host:Postgres", name, None, opts)
        monitor = args.monitor_password
        # Holds nothing but a socket, so it is neither protected nor kept.
        socket = local_volume(f"{name}-socket", args.prefix, "postgres-socket", self)
        socket_mount = Mount(volume=socket, path=SOCKET_FOLDER)
        server = HardenedService(
            f"{name}-server",
            ServiceArgs(
                part="postgres",
                prefix=args.prefix,
                image=args.image,
                user=USER,
                environment={
                    "PGDATA": DATA_FOLDER,
                    "POSTGRES_INITDB_ARGS": INITDB_ARGUMENTS,
                    "POSTGRES_PASSWORD": args.superuser_password,
                    "POSTGRES_USER": SUPERUSER,
                },
                networks=[args.network],
                mounts=[Mount(volume=args.volume, path=DATA_FOLDER), socket_mount],
                memory_mib=args.memory_mib,
                cpus=args.cpus,
                shm_mib=128,
                # During initialisation it answers on the socket only, so the check goes over TCP.
                health=Health(command=["pg_isready", "-q", "-h", "127.0.0.1", "-U", SUPERUSER], start_seconds=60),
                # SIGTERM waits for every connection to close; give a long transaction its time.
                stop_seconds=60,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        roles = HardenedService(
            f"{name}-roles",
            ServiceArgs(
                part="roles",
                prefix=args.prefix,
                image=args.image,
                user=USER,
                entrypoint=["bash", "-c"],
                command=[ROLES_SCRIPT if monitor is None else f"{MAKE_ROLE}{END_SESSIONS}{MAKE_MONITOR}{SERVE}"],
                environment={
                    "DATABASE_NAME": DATABASE,
                    "PGHOST": SOCKET_FOLDER,
                    "PGPASSWORD": args.superuser_password,
                    "PGUSER": SUPERUSER,
                    "ROLE_NAME": ROLE,
                    "ROLE_PASSWORD": args.role_password,
                    **({} if monitor is None else {"MONITOR_PASSWORD": monitor, "MONITOR_ROLE": MONITOR_ROLE}),
                    # Nothing reads it: another value makes another container, and its start ends the sessions.
                    "SESSION_EPOCHS": args.session_epochs,
                },
                networks=[],
                mounts=[socket_mount],
                memory_mib=64,
                cpus=0.5,
                health=Health(command=["bash", "-c", ROLES_HEALTH], start_seconds=30),
                stop_seconds=2,
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[server]),
        )
        self.ready = roles
        # Others of the stack log in by its socket, without a network: with Skyvern's role, by its password.
        self.access = Access(host=SOCKET_FOLDER, mounts=[socket_mount])
        self.database_url = pulumi.Output.concat(
            "postgresql+psycopg://", ROLE, ":", args.role_password, f"@postgres:5432/{DATABASE}?{CONNECTION}"
        )
        self.containers = {"postgres": server.container_name, "roles": roles.container_name}
        self.register_outputs({})
