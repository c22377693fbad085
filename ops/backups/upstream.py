"""Upstream's docker compose stack of Skyvern as the source of a copy: what is in it, and how it becomes data of a stack.

The database comes as a dump by the old server's own binary, the folders by their paths. In the copy everything gets the stack's
identity, because the stack has its own secrets: the organisation's id, in rows and in names of folders; the vault's key; and the
name of the environment, which is a part of paths. Nothing of the old stack is written to.
Not here: stopping it, and the steps of a take-over (ops/deploy/takeover.py).
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from components.host.postgres import DATABASE, ROLE, SOCKET_FOLDER
from components.host.skyvern import SKYVERN_ID
from components.host.volumes import SKYVERN_FOLDERS, folder_path
from ops.backups import drill
from ops.backups.container import LONG_SECONDS
from ops.backups.copies import Copy, Record
from ops.backups.preflight import OFFLINE
from ops.clients.compose import Container, Project
from ops.clients.docker import PYTHON, Docker
from ops.clients.terminal import Progress
from ops.errors import UserError, explained
from ops.stack.inventory import MIB

# The stack's own, a part of artifact paths (components/host/skyvern.py).
ENVIRONMENT = "selfhosted"
# By which Skyvern finds the organisation of its key (1.0.56, local_org_auth_token_service.py).
DOMAIN = "skyvern.local"
REASON = "The run had not ended when this stack was taken over from docker compose."
# Upstream's image has all paths in its environment, or its compose file mounts these.
_ARTIFACTS = "/data/artifacts"

# Rows of each table, for tables that come and go between versions.
_COUNTS = r"""
SELECT coalesce(json_object_agg(relname,
  substring(query_to_xml(format('SELECT count(*) AS n FROM %I.%I', nspname, relname), false, true, '')::text from '<n>(\d+)<')
  ::bigint), '{}')
FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' AND nspname = 'public';
"""
_ABOUT = """
SELECT json_build_object('postgres', split_part(current_setting('server_version'), ' ', 1),
  'bytes', pg_database_size(current_database()));
"""
_SCHEMA = "SELECT version_num FROM alembic_version LIMIT 1;"
_ORGANIZATIONS = """
SELECT coalesce(json_agg(json_build_object('id', organization_id, 'name', organization_name,
  'workflows', (SELECT count(DISTINCT workflow_permanent_id) FROM workflows w
    WHERE w.organization_id = o.organization_id AND w.deleted_at IS NULL),
  'runs', (SELECT count(*) FROM workflow_runs r WHERE r.organization_id = o.organization_id))
  ORDER BY created_at), '[]')
FROM organizations o;
"""
# A column that this version does not have yet reads as null.
_CREDENTIALS = """
SELECT coalesce(json_object_agg(kind, n), '{}') FROM (SELECT coalesce(to_jsonb(c) ->> 'vault_type', 'bitwarden') AS kind,
  count(*) AS n FROM credentials c WHERE organization_id = :'organization' AND deleted_at IS NULL GROUP BY 1) kinds;
"""
_SCHEDULES = """
SELECT count(*) FROM workflow_schedules WHERE organization_id = :'organization' AND enabled AND deleted_at IS NULL;
"""
_CODE = """
SELECT count(DISTINCT workflow_permanent_id) FROM workflows WHERE organization_id = :'organization' AND deleted_at IS NULL
  AND workflow_definition::text ~ '"block_type": ?"code"';
"""

# Arguments are folders below /old: the stack's name of one, and the part of it if its mount has more.
_SIZES = """
for part in "$@"; do
  find "/old/$part" -type f -printf '%s\\n' 2> /dev/null \
    | awk -v folder="${part%%/*}" '{ sum += $1 } END { printf "%s %d %d\\n", folder, NR, sum }'
done
"""
# final: the old server does not run any more. Until then a file may go while it is read, and the next time brings the rest.
_COPY = """
set -eu -o pipefail
final=$1
shift
for part in "$@"; do
  from=/old/$part folder=${part%%/*}
  to=/data/${folder//-/_}
  [ -d "$from" ] || continue
  if ! cp --archive --update --no-target-directory "$from" "$to" 2> /tmp/problems; then
    if [ "$final" = yes ] || grep -qv 'No such file or directory' /tmp/problems; then tail -n 1 /tmp/problems >&2; exit 1; fi
  fi
  if [ "$final" = yes ]; then
    (cd "$from" && find . -mindepth 1 -print0 | LC_ALL=C sort -z) > /tmp/listed-there
    (cd "$to" && find . -mindepth 1 -print0 | LC_ALL=C sort -z) > /tmp/listed-here
    (cd "$to" && LC_ALL=C comm -z -13 /tmp/listed-there /tmp/listed-here | xargs -0 --no-run-if-empty rm -rf --)
  fi
done
"""
# As the server's image has them: three folders are read by the container that serves files, of the same group.
_NAMES = """
set -eu
environment=$1 old=$2 new=$3 own=$4 user=$5
shift 5
merge() {
  [ -d "$1" ] && [ "$1" != "$2" ] || return 0
  mkdir -p "$2"
  cp --archive --link --no-clobber --no-target-directory "$1" "$2"
  rm -rf "$1"
}
if [ "$environment" != "$own" ]; then
  merge "/data/artifacts/$environment" "/data/artifacts/$own"
  merge "/data/artifacts/downloads/$environment" "/data/artifacts/downloads/$own"
fi
find /data -mindepth 2 -depth -type d -name "$old" -print0 > /tmp/folders
mapfile -d '' -t folders < /tmp/folders
for folder in "${folders[@]}"; do merge "$folder" "${folder%/*}/$new"; done
for folder in "$@"; do
  to=/data/${folder//-/_}
  chown -hR "$user:$user" "$to"
  case $folder in
    artifacts | downloads | videos) chmod -R u=rwX,g=rX,o= "$to" ;;
    *) chmod -R u=rwX,go= "$to" ;;
  esac
done
"""
# Prints how many items of the vault it has encrypted with the stack's key, and the names of those that the old key does not open.
_VAULT = """
import json, os, pathlib, sys
from cryptography.fernet import Fernet, InvalidToken
vault = pathlib.Path(sys.argv[1])
kept = vault / ".fernet_key"
given = os.environ["OLD_VAULT_KEY"] or (kept.read_text() if kept.exists() else "")
new = Fernet(os.environ["LOCAL_CREDENTIAL_VAULT_KEY"])
opened, closed = 0, []
try:
    old = Fernet(given.strip())
except ValueError:
    old = None
for item in sorted(vault.glob("*.bin")):
    try:
        if old is None:
            raise InvalidToken
        content = new.encrypt(old.decrypt(item.read_bytes()))
    except InvalidToken:
        closed.append(item.stem)
        continue
    partial = item.with_suffix(".new")
    partial.write_bytes(content)
    partial.chmod(0o600)
    partial.replace(item)
    opened += 1
kept.unlink(missing_ok=True)
print(json.dumps({"opened": opened, "closed": closed}))
"""
# As the server migrates at its start (images/server/skyvern-start).
_MIGRATE = 'import runpy; runpy.run_path("/usr/local/bin/skyvern-start", run_name="take_over")["migrate"]()'
# In every text of every table, JSON included: an organisation's id is in results, addresses and settings, too.
_REPLACE = r"""
SET session_replication_role = replica;
SELECT format('UPDATE public.%I SET %s WHERE %s', relname,
  string_agg(format('%1$I = {replaced}::text::%2$s', attname, format_type(atttypid, atttypmod)), ', '),
  string_agg(format('({found})', attname), ' OR '))
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_attribute a ON attrelid = c.oid
WHERE relkind = 'r' AND nspname = 'public' AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
  AND atttypid IN ('text'::regtype, 'varchar'::regtype, 'json'::regtype, 'jsonb'::regtype)
GROUP BY relname ORDER BY relname \gexec
"""
_IDENTITY = """
UPDATE organizations SET domain = NULL WHERE domain = {domain};
UPDATE organizations SET domain = {domain} WHERE organization_id = {organization};
SELECT count(*) FROM organizations WHERE organization_id = {organization};
"""
_ID = re.compile(r"o_[A-Za-z0-9_-]{1,64}")
# As SQLAlchemy reads an address (2.0, engine/url.py): with # / ? and [ in a password.
_ADDRESS = re.compile(
    r"[\w+]+://(?:(?P<user>[^:/]*)(?::(?P<password>[^@]*))?@)?(?:\[(?P<ipv6>[^/?]+)\]|(?P<host>[^/:?@]+))?(?::\d*)?"
    r"(?:/(?P<name>[^?]*))?(?:\?.*)?"
)


@dataclass(frozen=True, kw_only=True)
class Organization:
    """An organisation of the old stack. workflows: without deleted ones."""

    id: str
    name: str
    workflows: int
    runs: int


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """The old stack.

    server: Skyvern's own container. database: PostgreSQL's. user, name: of the database. password: of that user.
    """

    docker: Docker
    project: Project
    server: Container
    database: Container
    user: str
    name: str
    password: str = field(repr=False)

    @property
    def environment(self) -> str:
        """The name that is a part of its paths; Skyvern's default is ``local``."""
        return self.server.environment.get("ENV") or "local"

    @property
    def artifacts(self) -> str:
        """Where its rows say that artifacts are."""
        return self.server.environment.get("ARTIFACT_STORAGE_PATH") or _ARTIFACTS

    def sources(self) -> dict[str, tuple[str, str]]:
        """The stack's folders that the old one has: what is mounted there, and the folder in it."""
        found = {}
        for folder, variable in SKYVERN_FOLDERS.items():
            for path in (self.server.environment.get(variable), folder_path(folder)):
                if path and (place := self.server.place(path)):
                    found[folder] = place
                    break
        return found

    def sql(self, script: str, **variables: str) -> str:
        """Output of a psql script, by the old server's own psql and without a right to change anything."""
        assignments = [f"--set={name}={value}" for name, value in variables.items()]
        return self.docker.run_with(
            {"PGPASSWORD": self.password, "PSQL_SCRIPT": script},
            *("exec", "--env=PGPASSWORD", "--env=PSQL_SCRIPT", "--env=PGOPTIONS=-c default_transaction_read_only=on"),
            *(self.database.name, "sh", "-c", 'printf "%s\\n" "$PSQL_SCRIPT" | exec psql "$@"', "psql", "-X", "-q", "-A", "-t"),
            *("--set=ON_ERROR_STOP=1", *assignments, "-U", self.user, "-d", self.name),
            timeout_seconds=600,
        ).strip()


def of(docker: Docker, project: Project) -> Upstream:
    """The old stack in a project of compose; UserError for a project that is not Skyvern's, or whose database is elsewhere."""
    servers = [one for one in project.containers if "DATABASE_STRING" in one.environment]
    server = next((one for one in servers if one.service == "skyvern"), servers[0] if servers else None)
    if server is None:
        raise UserError(f"compose project {project.name}: none of its containers has a DATABASE_STRING, so it is not Skyvern's")
    address = _ADDRESS.fullmatch(server.environment["DATABASE_STRING"])
    if address is None:
        raise UserError(
            f"compose project {project.name}: DATABASE_STRING of {server.name}: is not an address as SQLAlchemy reads it, "
            "postgresql+psycopg://USER:PASSWORD@HOST:5432/NAME with an @ in the password as %40"
        )
    host = address["host"] or address["ipv6"]
    database = next((one for one in project.containers if host in {one.service, one.name}), None)
    if database is None:
        raise UserError(
            f"compose project {project.name}: its database is at {host or 'no host'}, which is none of its "
            "containers; only a PostgreSQL of the same project can be taken over"
        )
    return Upstream(
        docker=docker,
        project=project,
        server=server,
        database=database,
        user=unquote(address["user"] or "skyvern"),
        name=unquote(address["name"] or "skyvern"),
        password=unquote(address["password"] or ""),
    )


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What is in the old stack; record: for a copy, with rows and files counted now."""

    record: Record
    organizations: Sequence[Organization]


def contents(old: Upstream, image: str) -> Contents:
    """Read from the running database; UserError if it does not answer, or has no tables of Skyvern. image: with a shell."""
    try:
        tables: dict[str, int] = json.loads(old.sql(_COUNTS))
        about: dict[str, Any] = json.loads(old.sql(_ABOUT))
    except (UserError, ValueError) as failed:
        raise UserError(
            f"compose project {old.project.name}: its database ({old.database.name}) does not answer: {failed}"
        ) from failed
    if not {"alembic_version", "organizations", "workflows", "workflow_runs"} <= tables.keys():
        raise UserError(f"compose project {old.project.name}: its database {old.name} has no tables of Skyvern")
    record = Record(
        name=old.project.name,
        at=datetime.now(UTC),
        postgres=about["postgres"],
        schema=old.sql(_SCHEMA) or "none",
        database_bytes=int(about["bytes"]),
        tables={table: (rows, "") for table, rows in tables.items()},
        folders=_sizes(old, image),
        kind="compose project",
    )
    documents: list[dict[str, Any]] = json.loads(old.sql(_ORGANIZATIONS))
    return Contents(record=record, organizations=[Organization(**one) for one in documents])


def details(old: Upstream, organization: str, tables: Mapping[str, Any]) -> tuple[dict[str, int], int, int]:
    """Credentials by the kind of their vault, schedules that are on, and workflows with blocks of code, of an organisation."""
    credentials: dict[str, int] = {}
    if "credentials" in tables:
        credentials = json.loads(old.sql(_CREDENTIALS, organization=organization))
    schedules = int(old.sql(_SCHEDULES, organization=organization)) if "workflow_schedules" in tables else 0
    return credentials, schedules, int(old.sql(_CODE, organization=organization))


def _sizes(old: Upstream, image: str) -> dict[str, tuple[int, int]]:
    """Files and bytes of each of its folders."""
    sources = old.sources()
    if not sources:
        return {}
    printed = old.docker.run(*_tools(old, sources), image, "bash", "-c", _SIZES, "sizes", *_inside(sources), timeout_seconds=600)
    sizes = [line.split() for line in printed.splitlines()]
    return {folder: (int(files), int(size)) for folder, files, size in sizes}


def _inside(sources: Mapping[str, tuple[str, str]]) -> list[str]:
    return [f"{folder}/{inside}".rstrip("/") for folder, (_, inside) in sources.items()]


def _tools(old: Upstream, sources: Mapping[str, tuple[str, str]], *more: str) -> list[str]:
    """``docker run`` as root, who reads every file of the old stack and gives the copies to Skyvern; without a network."""
    rights = (f"--cap-add={right}" for right in ("CHOWN", "DAC_OVERRIDE", "FOWNER"))
    mounts = (f"--volume={source}:/old/{folder}:ro" for folder, (source, _) in sources.items())
    return [*OFFLINE, "--user=0:0", "--userns=host", "--tmpfs=/tmp:mode=1777", *rights, *mounts, *more]


# --- Filling a copy -------------------------------------------------------------------------------------------------------


def copy_files(old: Upstream, copy: Copy, *, final: bool) -> None:
    """The old stack's folders into the copy's volumes: again only what has changed since. final: the old server has stopped."""
    sources = old.sources()
    if not sources:
        return
    image = copy.source.references["backup"]
    flags = _tools(old, sources, *copy.mounts())
    script = ("bash", "-c", _COPY, "copy", "yes" if final else "no", *_inside(sources))
    with explained(lambda failed: f"compose project {old.project.name}: its files cannot be copied: {failed}"):
        old.docker.run(*flags, image, *script, timeout_seconds=LONG_SECONDS)


def copy_database(old: Upstream, copy: Copy) -> None:
    """A dump by the old server's own binary into the copy's empty database, all of it or nothing."""
    secrets = {"OLD_PASSWORD": old.password, "PGPASSWORD": copy.source.role_password}
    dump = 'PGPASSWORD="$OLD_PASSWORD" exec pg_dump "$@"'
    source = ("exec", "--env=OLD_PASSWORD", old.database.name, "sh", "-c", dump, "dump", "-Fc", "-Z0", "-U", old.user, old.name)
    flags = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", f"--dbname={DATABASE}")
    target = ("exec", "--interactive", "--env=PGPASSWORD", copy.postgres, "pg_restore", f"--host={SOCKET_FOLDER}")
    with explained(lambda failed: f"compose project {old.project.name}: its database cannot be copied: {failed}"):
        old.docker.pipe(secrets, source, (*target, f"--username={ROLE}", *flags), timeout_seconds=LONG_SECONDS)


def compare_tables(old: Upstream, copy: Copy) -> int:
    """Rows in all tables, where both have the same; UserError with the first differences."""
    there: dict[str, int] = json.loads(old.sql(_COUNTS))
    here: dict[str, int] = json.loads(copy.sql(_COUNTS))
    different = [
        f"{table}: {there.get(table, 0)} rows, copied {here.get(table, 0)}" for table in there if there[table] != here.get(table)
    ]
    if different:
        raise UserError(f"compose project {old.project.name}: not everything has arrived: {'; '.join(different[:3])}")
    return sum(here.values())


def convert(old: Upstream, copy: Copy, organization: str, progress: Progress) -> None:
    """Migrates the copy and gives it the stack's identity. organization: the old id, whose data the stack's key is to open."""
    stack = copy.source.stack
    new = str(json.loads(stack.pulumi("stack", "output", "--json")).get("organization_id", ""))
    if not _ID.fullmatch(new) or not _ID.fullmatch(organization):
        raise UserError(f"stack {stack}: has no organization_id in its outputs; run script/up --stack {stack} first")
    drill.run_server(
        copy,
        drill.server_environment(copy),
        *PYTHON,
        _MIGRATE,
        name=stack.prefix(f"{copy.purpose}-migrate"),
        flags=("--rm",),
        timeout_seconds=LONG_SECONDS,
    )
    progress("its database is migrated")
    script = replacement(old, organization, new)
    found = copy.sql(script, superuser=True, timeout_seconds=LONG_SECONDS).split()
    if found[-1:] != ["1"]:
        raise UserError(f"compose project {old.project.name}: has no organisation {organization}")
    _name_files(old, copy, organization, new)
    _encrypt_vault(old, copy, progress)


def replacement(old: Upstream, organization: str, new: str) -> str:
    """The psql script that gives a database the stack's organisation and the stack's paths."""
    here = folder_path("artifacts")
    pairs = {
        organization: new,
        f"{old.artifacts}/{old.environment}/": f"{here}/{ENVIRONMENT}/",
        f"{old.artifacts}/downloads/{old.environment}/": f"{here}/downloads/{ENVIRONMENT}/",
    }
    if old.artifacts != here:
        pairs[f"{old.artifacts}/"] = f"{here}/"
    pairs = {before: after for before, after in pairs.items() if before != after}
    # What was another stack of this project may have the same id and paths.
    if not pairs:
        return _IDENTITY.format(domain=_literal(DOMAIN), organization=_literal(new))
    # The longer ones first: a path begins with a shorter one.
    replaced, found = "%1$I::text", []
    for before in sorted(pairs, key=len, reverse=True):
        replaced = f"replace({replaced}, {_literal(before)}, {_literal(pairs[before])})"
        found.append(f"strpos(%1$I::text, {_literal(before)}) > 0")
    # Quoted once more, because format() gets them within a literal.
    body = _REPLACE.replace("{replaced}", replaced.replace("'", "''")).replace("{found}", " OR ".join(found).replace("'", "''"))
    return body + _IDENTITY.format(domain=_literal(DOMAIN), organization=_literal(new))


def _literal(text: str) -> str:
    """As psql and SQL read it; a percent sign is one of format()'s."""
    if not re.fullmatch(r"[\w./@+ -]+", text):
        raise UserError(
            f"{text!r}: only letters, digits and . / _ - can be in the ENV and the paths of a stack that is taken over"
        )
    return f"'{text}'"


def _name_files(old: Upstream, copy: Copy, organization: str, new: str) -> None:
    image = copy.source.references["backup"]
    names = (old.environment, organization, new, ENVIRONMENT, str(SKYVERN_ID), *SKYVERN_FOLDERS)
    old.docker.run(
        *(*_tools(old, {}, *copy.mounts()), image, "bash", "-c", _NAMES, "names", *names), timeout_seconds=LONG_SECONDS
    )


def _encrypt_vault(old: Upstream, copy: Copy, progress: Progress) -> None:
    """Gives the items of the vault the stack's key; UserError where the old key opens none of them."""
    vault = folder_path("credential-vault")
    secrets = {
        "LOCAL_CREDENTIAL_VAULT_KEY": drill.server_environment(copy)["LOCAL_CREDENTIAL_VAULT_KEY"],
        "OLD_VAULT_KEY": old.server.environment.get("LOCAL_CREDENTIAL_VAULT_KEY", ""),
    }
    user = (copy.mark, f"--user={SKYVERN_ID}:{SKYVERN_ID}", f"--volume={copy.volume('credential-vault')}:{vault}")
    names = [f"--env={name}" for name in secrets]
    printed = old.docker.run_with(secrets, *OFFLINE, *user, *names, copy.source.references["server"], *PYTHON, _VAULT, vault)
    done = json.loads(printed)
    if done["closed"] and not done["opened"]:
        raise UserError(
            f"compose project {old.project.name}: its vault key (LOCAL_CREDENTIAL_VAULT_KEY, or .fernet_key beside the items) "
            f"opens none of its {len(done['closed'])} credentials"
        )
    if done["closed"]:
        progress(f"not opened by the old vault key, and kept as they are: {', '.join(done['closed'])}")
    if done["opened"]:
        progress(f"{done['opened']} credentials of its vault have the stack's key now")


def total(folders: Mapping[str, Sequence[Any]], folder: str) -> str:
    """``12 files, 3.4 MiB``."""
    files, size = folders[folder][:2]
    return f"{files} files, {int(size) / MIB:.1f} MiB"
