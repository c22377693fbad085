"""A copy of a set: a new cluster of PostgreSQL and new volumes, filled from the repository and compared with the set's record.

What runs for it has no network but the repository's, and nothing here touches what the stack runs on. A copy never acts by
itself: its schedules are paused and what was in progress is ended before a server is started on it.
Not here: taking its place in the stack (ops/backups/exchange.py), and trying it (ops/backups/drill.py).
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal

from components.host import images
from components.host.postgres import DATA_FOLDER, DATABASE, INITDB_ARGUMENTS, MAKE_ROLE, ROLE, SOCKET_FOLDER, SUPERUSER, USER
from components.host.volumes import SKYVERN_FOLDERS, folder_path
from components.settings import NoBackup, Settings
from ops.backups import migrations, preflight, share
from ops.backups.container import LONG_SECONDS, PROGRAM, clause
from ops.backups.preflight import KEPT, OFFLINE, Place
from ops.clients import process
from ops.clients.docker import Docker
from ops.clients.terminal import Progress
from ops.errors import UserError, explained
from ops.stack import database
from ops.stack.inventory import MIB
from ops.stack.secrets import generated
from ops.stack.stack import Stack

Purpose = Literal["restore", "drill", "trial", "upgrade"]
PARTS = ("postgres", *SKYVERN_FOLDERS)
READY_SECONDS = 120
# Faster, and safe: a copy that a power cut damages is thrown away, and what is kept is written out before it is used. Without
# replicas, what is loaded into a new table of the same transaction is not written to the log.
_UNSAFE = ("fsync=off", "full_page_writes=off", "max_wal_size=4GB", "wal_level=minimal", "max_wal_senders=0")
UNSAFE = tuple(word for option in _UNSAFE for word in ("-c", option))
STAMP = "%Y%m%d-%H%M%S"

# Of what was in progress or waited when the set was made, nothing may go on: it has gone on since, or a person will decide.
# A schedule is due when its last tick has no run, which is so for each tick after the set was made (1.0.56).
QUIET = r"""
SELECT to_regclass('workflow_schedules') IS NOT NULL AS scheduled \gset
\if :scheduled
SELECT coalesce(json_agg(json_build_object('id', workflow_schedule_id, 'name', coalesce(name, workflow_permanent_id),
  'cron', cron_expression, 'timezone', timezone, 'interval', interval_seconds, 'run_at', run_at)), '[]')
  FROM workflow_schedules WHERE enabled AND deleted_at IS NULL;
UPDATE workflow_schedules SET enabled = false WHERE enabled AND deleted_at IS NULL;
UPDATE workflow_runs SET status = 'canceled', finished_at = coalesce(finished_at, now() at time zone 'UTC'),
  failure_reason = :'reason'
  WHERE status IN ('created', 'queued', 'running', 'paused');
UPDATE workflow_run_blocks SET status = 'canceled' WHERE status = 'running';
UPDATE tasks SET status = 'canceled', failure_reason = :'reason'
  WHERE status IN ('created', 'queued', 'running');
UPDATE steps SET status = 'canceled' WHERE status IN ('created', 'running');
UPDATE observer_cruises SET status = 'canceled' WHERE status IN ('created', 'queued', 'running');
\else
\echo []
\endif
"""
RESTORED = "Restored from a backup that was made while this run had not ended."


class Unfit(UserError):
    """What keeps a copy from being made: the machine or the moment, not the set."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a set says is in it, or another source of a copy.

    schema: Alembic's version, "none" before the first migration. kind: of the source, for messages.
    """

    name: str
    at: datetime
    postgres: str
    schema: str
    database_bytes: int
    tables: Mapping[str, Sequence[Any]]
    folders: Mapping[str, Sequence[Any]]
    kind: str = "set"

    def __str__(self) -> str:
        """For messages."""
        return f"{self.kind} {self.name}"

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(int(rows) for rows, _ in self.tables.values())

    @property
    def files(self) -> int:
        """In all folders."""
        return sum(int(files) for files, *_ in self.folders.values())

    @property
    def bytes(self) -> int:
        """Of the files and the database."""
        return self.database_bytes + sum(int(size) for _, size, *_ in self.folders.values())


def parse_record(text: str) -> Record:
    """A record from ``skyvern-backup record``; UserError for one of another form."""
    try:
        document = json.loads(text)
        if document["form"] != 1:
            raise UserError(f"the set has the form {document['form']!r}, and this version reads 1; use a newer version")
        return Record(
            name=document["set"],
            at=datetime.strptime(document["set"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC),
            postgres=document["postgres"],
            schema=document["schema"],
            database_bytes=document["database_bytes"],
            tables=document["tables"],
            folders=document["folders"],
        )
    except (ValueError, KeyError, TypeError) as broken:
        raise UserError("the record of the set cannot be read; choose another set from ops backup list") from broken


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A schedule that was on in the set. when: its cron expression, interval or time, in words."""

    id: str
    name: str
    when: str


@dataclass(frozen=True)
class Source:
    """Where a stack's sets come from, with the secrets that a copy needs. References are of this version's images."""

    stack: Stack
    docker: Docker
    settings: Settings
    place: Place = field(repr=False)
    superuser_password: str = field(repr=False)
    role_password: str = field(repr=False)

    @property
    def references(self) -> Mapping[str, str]:
        """The images of this version of the project."""
        return images.references(self.settings.images.source)

    def ask(
        self,
        *command: str,
        variables: Mapping[str, str] = MappingProxyType({}),
        flags: tuple[str, ...] = (),
        timeout_seconds: float = 300,
    ) -> str:
        """Output of ``skyvern-backup`` in a throw-away container; UserError with its one line. variables: more than restic's."""
        there = replace(self.place, variables={**self.place.variables, **variables})
        image = self.references["backup"]
        with explained(clause):
            return preflight.run(self.docker, image, there, PROGRAM, *command, flags=flags, timeout_seconds=timeout_seconds)

    def record(self, name: str) -> Record:
        """The record of a set, or of the newest (``latest``)."""
        return parse_record(self.ask("record", name))


def source(stack: Stack) -> Source:
    """The repository of a deployed stack; UserError if it has none."""
    settings = stack.settings()
    if isinstance(settings.backup, NoBackup):
        raise UserError(f"{stack.file_name}: backup.type: is none; write the place of the sets (docs/backup.md)")
    wanted = settings.backup
    return _source(stack, settings, lambda key: preflight.place(stack, wanted, key), "backup")


def running(stack: Stack) -> Source:
    """A deployed stack without regard to its repository, which it need not have: for a copy of what is there now."""
    return _source(stack, stack.settings(), lambda key: Place(variables={}, flags=()))


def _source(stack: Stack, settings: Settings, place: Callable[[str], Place], *more: str) -> Source:
    names = {"superuser", "database", *more}
    secrets = {name: secret.get_secret_value() for name, secret in generated(stack, *names).items()}
    if missing := names - secrets.keys():
        raise UserError(
            f"stack {stack}: its state has no secret {', '.join(sorted(missing))}; run script/up --stack {stack} first, or "
            "give the recovery kit with --kit"
        )
    there = place(secrets.get("backup", ""))
    return Source(stack, stack.docker(), settings, there, secrets["superuser"], secrets["database"])


# --- Refusals -------------------------------------------------------------------------------------------------------------


def refuse_newer(source: Source, record: Record, cure: str = "check out the commit that made it") -> None:
    """UserError for a database that this version's images cannot open. cure: what to do, as a clause."""
    printed = source.docker.run(*OFFLINE, "--entrypoint=postgres", source.references["postgres"], "--version")
    here = printed.split()[2].partition(".")[0]
    if int(record.postgres.partition(".")[0]) > int(here):
        raise UserError(f"{record} is of PostgreSQL {record.postgres}, and here is {here}; {cure}")
    if record.schema == "none":
        return
    if record.schema not in migrations.of_image(source.docker, source.references["server"]).migrations:
        raise UserError(
            f"{record} has the database schema {record.schema}, which the Skyvern of this version does not know: the "
            f"{record.kind} is of a newer one; {cure}"
        )


# --- Filling --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Copy:
    """New volumes with a set in them, and PostgreSQL on them until it is stopped."""

    source: Source
    purpose: Purpose
    stamp: str
    record: Record

    @property
    def postgres(self) -> str:
        """Name of its PostgreSQL's container."""
        return self.source.stack.prefix(f"{self.purpose}-postgres")

    @property
    def socket(self) -> str:
        """Name of the volume with its socket."""
        return self.volume("postgres-socket")

    @property
    def shared_folder(self) -> str | None:
        """Of the stack on a Swarm, whose files change places there; None for what is thrown away, and on one daemon."""
        return self.source.stack.shared_folder if self.purpose == "restore" else None

    def volume(self, part: str) -> str:
        """Name of its volume for a part, or folder on a share; after a restore, what the stack had before is there."""
        if self.shared_folder and part in SKYVERN_FOLDERS:
            return share.copy_of(self.shared_folder, self.stamp, part)
        tail = self.stamp if self.purpose == "restore" else f"{self.purpose}-{self.stamp}"
        return f"{self.source.stack.prefix(part)}-{tail}"

    @property
    def mark(self) -> str:
        """Flag of ``docker run`` for what has a volume of it: the container of a command that was killed goes on and holds it."""
        return f"--label={label(self.purpose)}={self.source.stack.short}"

    def mounts(self) -> list[str]:
        """Flags of ``docker run`` for the folders of Skyvern, the mark among them."""
        return [self.mark, *(f"--volume={self.volume(folder)}:{folder_path(folder)}" for folder in SKYVERN_FOLDERS)]

    def sql(self, script: str, *, superuser: bool = False, timeout_seconds: float = 600) -> str:
        """Output of a psql script as Skyvern's role, or the superuser, in the copy's database."""
        docker = self.source.docker
        names = ("--env=PGPASSWORD", f"--env=PGHOST={SOCKET_FOLDER}")
        password = self.source.superuser_password if superuser else self.source.role_password
        return docker.run_with(
            {"PGPASSWORD": password, "PSQL_SCRIPT": script},
            *("exec", *names, "--env=PSQL_SCRIPT", self.postgres, "bash", "-c"),
            f'psql -X -q -A -t -v ON_ERROR_STOP=1 -U {SUPERUSER if superuser else ROLE} -d {DATABASE} <<< "$PSQL_SCRIPT"',
            timeout_seconds=timeout_seconds,
        )


def label(purpose: Purpose) -> str:
    """Of a copy's volumes and containers; not the stack's own, or the doctor would call them left over."""
    return f"skyvern.{purpose}"


def restore_set(copy: Copy, progress: Progress) -> None:
    """Fills a copy from the repository; UserError when something does not arrive, or is not what the set recorded."""
    record = copy.record
    progress(f"reading set {record.name}: {record.rows} rows, {record.files} files, {record.bytes / MIB:.0f} MiB")
    began = time.monotonic()
    password = {"PGPASSWORD": copy.source.role_password}
    client = (f"--env=PGHOST={SOCKET_FOLDER}", f"--env=PGUSER={ROLE}", f"--env=PGDATABASE={DATABASE}")
    flags = (f"--volume={copy.socket}:{SOCKET_FOLDER}", *copy.mounts(), *client)
    with explained(lambda failed: f"{record}: {failed}; nothing of the stack was changed"):
        copy.source.ask("restore", record.name, variables=password, flags=flags, timeout_seconds=LONG_SECONDS)
    progress(f"everything arrived as the set recorded it, in {time.monotonic() - began:.0f} s")


@contextmanager
def filled(
    source: Source,
    purpose: Purpose,
    record: Record,
    progress: Progress,
    fill: Callable[[Copy, Progress], None] = restore_set,
) -> Iterator[Copy]:
    """A copy of a set; its PostgreSQL runs within the block. Volumes of a failed one are removed.

    fill: gets the copy, with an empty database and empty volumes.
    """
    copy = Copy(source, purpose, datetime.now(UTC).strftime(STAMP), record)
    docker, stack = source.docker, source.stack
    marks = [
        copy.mark,
        f"--label=skyvern.set={record.name}",
        f"--label=skyvern.stamp={copy.stamp}",
    ]
    made: list[str] = []
    folder = copy.shared_folder
    image = source.references["backup"]
    try:
        for part in (*PARTS, "postgres-socket"):
            if not share.is_folder(copy.volume(part)):
                docker.run("volume", "create", *marks, f"--label=skyvern.copy={part}", copy.volume(part))
                made.append(copy.volume(part))
        if folder:
            share.make_copy(docker, image, folder, copy.stamp, record.name, SKYVERN_FOLDERS)
        _refuse_full_disk(copy)
        _start_postgres(copy, marks)
        fill(copy, progress)
        yield copy
        # What is left for whoever asked for the copy.
        made, folder = [copy.socket], None
    finally:
        remove_containers(docker, stack, purpose)
        for name in made:
            docker.run("volume", "rm", "--force", name)
        if folder:
            share.remove_copy(docker, image, folder, copy.stamp)


def free_bytes(df: str) -> int:
    """What a program may still write, from the output of ``df -Pk`` about one folder."""
    return int(df.splitlines()[-1].split()[3]) * 1024


def _refuse_full_disk(copy: Copy) -> None:
    """PostgreSQL writes what it restores to its log as well; a tenth is left for the rest."""
    record, folder = copy.record, copy.shared_folder
    files, database = record.bytes - record.database_bytes, 2 * record.database_bytes + 200 * MIB
    disks = [("Docker's disk", copy.volume("postgres"), database if folder else database + files)]
    if folder:
        disks.append((folder, folder, files))
    for disk, place, bytes_there in disks:
        needed = int(bytes_there * 1.1)
        look = (f"--volume={place}:{DATA_FOLDER}", copy.source.references["postgres"], "df", "-Pk", DATA_FOLDER)
        free = free_bytes(copy.source.docker.run(*OFFLINE, *look))
        if free < needed:
            raise Unfit(
                f"{record} needs {needed / MIB:.0f} MiB more, and {disk} has {free / MIB:.0f} MiB free; make room first. "
                "Nothing was changed"
            )


def last_lines(docker: Docker, name: str) -> str:
    """The end of a container's log, on one line."""
    return process.BETWEEN_LINES.join(docker.plain.logs(name, "--tail", "3").strip().splitlines())


def _start_postgres(copy: Copy, marks: Sequence[str]) -> None:
    docker = copy.source.docker
    memory = copy.source.settings.database.memory_mib
    docker.run_with(
        {"POSTGRES_PASSWORD": copy.source.superuser_password},
        *("run", "--detach", f"--name={copy.postgres}", *KEPT, *marks, f"--memory={memory}m", "--shm-size=128m"),
        *(
            "--network=none",
            f"--user={USER}",
            "--tmpfs=/tmp:mode=1777",
            "--env=POSTGRES_PASSWORD",
            f"--env=POSTGRES_USER={SUPERUSER}",
        ),
        *(
            f"--env=PGDATA={DATA_FOLDER}",
            f"--env=POSTGRES_INITDB_ARGS={INITDB_ARGUMENTS}",
            f"--volume={copy.volume('postgres')}:{DATA_FOLDER}",
        ),
        *(f"--volume={copy.socket}:{SOCKET_FOLDER}", copy.source.references["postgres"], "postgres", *UNSAFE),
    )
    try:
        ready = ("exec", copy.postgres, "pg_isready", "-q", "-h", "127.0.0.1", "-U", SUPERUSER)
        database.until_ready(lambda: docker.run(*ready), READY_SECONDS)
    except UserError as failed:
        log = last_lines(docker, copy.postgres)
        raise Unfit(f"the copy's PostgreSQL does not start: {log}; nothing of the stack was changed") from failed
    secrets = {"PGPASSWORD": copy.source.superuser_password, "ROLE_PASSWORD": copy.source.role_password}
    plain = (
        f"--env=PGHOST={SOCKET_FOLDER}",
        f"--env=PGUSER={SUPERUSER}",
        f"--env=ROLE_NAME={ROLE}",
        f"--env=DATABASE_NAME={DATABASE}",
    )
    docker.run_with(secrets, "exec", *(f"--env={name}" for name in secrets), *plain, copy.postgres, "bash", "-c", MAKE_ROLE)


def quiet(copy: Copy, reason: str = RESTORED) -> list[Schedule]:
    """Pauses every schedule of the copy and ends what was in progress; the schedules that were on.

    reason: why a run has ended, as a person reads it in the history.
    """
    printed = copy.sql(f"\\set reason '{reason}'\n{QUIET}").strip().splitlines()
    documents: list[dict[str, Any]] = json.loads(printed[0] if printed else "[]")
    return [
        Schedule(id=one["id"], name=one["name"], when=_when(one)) for one in sorted(documents, key=lambda one: str(one["name"]))
    ]


def _when(schedule: Mapping[str, Any]) -> str:
    if schedule["cron"]:
        return f"{schedule['cron']} ({schedule['timezone']})"
    if schedule["interval"]:
        return f"every {schedule['interval']} s"
    return f"once, at {schedule['run_at']} UTC"


def stop_postgres(copy: Copy) -> None:
    """Ends the copy's PostgreSQL in good order and writes everything to disk."""
    docker = copy.source.docker
    docker.run("stop", "--time", "120", copy.postgres, timeout_seconds=180)
    docker.run("rm", "--force", copy.postgres)
    sync = (f"--user={USER}", f"--volume={copy.volume('postgres')}:{DATA_FOLDER}")
    docker.run(*OFFLINE, *sync, copy.source.references["postgres"], "sync", "-f", DATA_FOLDER, timeout_seconds=600)


def volumes(docker: Docker, stack: Stack, purpose: Purpose) -> list[str]:
    """Names of the volumes of copies."""
    return docker.run("volume", "ls", "--quiet", "--filter", f"label={label(purpose)}={stack.short}").split()


def remove_containers(docker: Docker, stack: Stack, purpose: Purpose) -> None:
    """Containers of a copy, also of one whose command was killed."""
    names = docker.run("ps", "--all", "--quiet", "--filter", f"label={label(purpose)}={stack.short}").split()
    if names:
        docker.run("rm", "--force", *names)
