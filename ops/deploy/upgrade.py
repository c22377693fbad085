"""Another version of Skyvern: tried on a copy while the old one serves, switched to, and gone back from by itself if it fails.

Before the switch the server has ended its runs and is stopped, and its database is copied within PostgreSQL. So going back loses
nothing that was written before, takes seconds, and needs no repository. A note beside the state says how far a switch has come:
what a command that was killed has begun, the next ``script/up`` finishes.
Not here: the trial itself (ops/backups/trial.py), the up (ops/deploy/update.py), sets of the backup (ops/backups/container.py).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from components.host import images
from components.host.postgres import DATA_FOLDER
from components.settings import Settings
from ops.backups import container, copies, migrations, notes, trial
from ops.clients import git, terminal
from ops.clients.docker import Docker
from ops.clients.terminal import Progress
from ops.deploy import drain, newer, other_commit, releases, update
from ops.deploy.records import Records
from ops.errors import UserError, explained
from ops.images import needs
from ops.stack import database, impact
from ops.stack.inventory import MIB
from ops.stack.stack import Stack

ANSWER_SECONDS = 60
SQL_SECONDS = 3600
# PostgreSQL, its roles container and what both need, without the server that would migrate; as components/host names them.
DATABASE_TARGETS = ("**docker:index/network:Network::**", "**-host-postgres-**")

State = Literal["switching", "going back", "data back", "served"]


@dataclass(frozen=True)
class Kept:
    """Databases beside Skyvern's own, and the statements that make them and change their places."""

    names: database.Names

    @property
    def before(self) -> str:
        """Name of the database as it was before the last upgrade."""
        return f"{self.names.database}_before"

    @property
    def after(self) -> str:
        """Name of what the version had that was gone back from."""
        return f"{self.names.database}_after"

    @property
    def _end_connections(self) -> str:
        """Anything but the server may be connected for a moment: a health check, a set of the backup (which is made again).

        On a server elsewhere, connections of others than the stack's roles are not its own to end.
        """
        ours = f"'{self.names.database}', '{self.before}'"
        roles = f"'{self.names.role}', '{self.names.monitor}', current_user"
        query = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname IN ({ours})"  # noqa: S608
        return f"{query} AND usename IN ({roles});"

    def keep(self) -> Sequence[str]:
        """A copy of the database as it is now."""
        return (
            f"DROP DATABASE IF EXISTS {self.before} WITH (FORCE);",
            f"DROP DATABASE IF EXISTS {self.after} WITH (FORCE);",
            self._end_connections,
            f"CREATE DATABASE {self.before} TEMPLATE {self.names.database} OWNER {self.names.role} STRATEGY FILE_COPY;",
            f"REVOKE CONNECT ON DATABASE {self.before} FROM PUBLIC;",
        )

    def put_back(self) -> Sequence[str]:
        """The copy in its place again; both names change in one transaction.

        A copy has none of the rights on the database that it was made of, and the roles container gives them only when it starts.
        """
        grant = f"'GRANT CONNECT ON DATABASE {self.before} TO %I'"
        rename = (
            f"ALTER DATABASE {self.names.database} RENAME TO {self.after}; "
            f"ALTER DATABASE {self.before} RENAME TO {self.names.database};"
        )
        return (
            f"DROP DATABASE IF EXISTS {self.after} WITH (FORCE);",
            f"REVOKE TEMPORARY ON DATABASE {self.before} FROM PUBLIC;",
            f"SELECT format({grant}, rolname) FROM pg_roles WHERE rolname = '{self.names.monitor}' \\gexec",  # noqa: S608
            self._end_connections,
            f"BEGIN; {rename} COMMIT;",
        )


def kept(stack: Stack) -> Kept:
    """Of a stack, by its file."""
    return Kept(database.names(stack))


@dataclass(frozen=True, kw_only=True)
class Note:
    """How far the last upgrade of a stack has come. Kept beside the state, for whichever checkout comes next.

    before, after: versions of Skyvern. database: the migrations before. image: of the new server. commit, stack_file: what
    deploys the old one; "" where that is not known. at: when the old server had stopped, in UTC.
    """

    state: State
    before: str
    after: str
    database: tuple[str, ...]
    image: str
    commit: str
    stack_file: str
    at: str

    @property
    def moment(self) -> datetime:
        """When the old server had stopped."""
        return datetime.fromisoformat(self.at)


NOTES = Records("upgrade", Note)
# ``read``: how far the last upgrade has come; None if there was none, or its note cannot be read.
read, _write = NOTES.read, NOTES.write


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    """A change of Skyvern's version that an up would make. pending, drops: migrations, and those of them that remove data.

    good: the deployment to go back to, None if none is known. resumed: a switch that was interrupted, and has to go on.
    """

    before: str
    after: str
    database: tuple[str, ...]
    pending: int
    drops: tuple[str, ...]
    image: str
    good: releases.Good | None
    resumed: Note | None = None

    def __str__(self) -> str:
        """For a person: versions, migrations, and how long Skyvern is off."""
        many = "no migration" if not self.pending else f"{self.pending} migration{'s' if self.pending > 1 else ''}"
        loses = "" if not self.pending else ", none drops data"
        if self.drops:
            loses = f", {len(self.drops)} of them drop data ({', '.join(self.drops)})"
        return f"Skyvern {self.before} → {self.after}: {many}{loses}; about {impact.SERVER_SECONDS} s off"


# --- Before ---------------------------------------------------------------------------------------------------------------


def plan(stack: Stack, docker: Docker, settings: Settings) -> Upgrade | None:
    """The upgrade that an up of this checkout would be; None if Skyvern's version stays. The images have to be there.

    Raises UserError for a Skyvern that does not know the database: a downgrade across migrations.
    """
    wanted = images.references(settings.images.source)["server"]
    note = read(stack)
    switching = note if note is not None and note.state == "switching" else None
    server = docker.image_of(stack.prefix("server"))
    if switching is None:
        if server is None:
            _refuse_untried(stack, docker, wanted)
            return None
        if server[0] == wanted:
            return None
    # Cut off while PostgreSQL's container was replaced too, of which the up makes a new one.
    without_database = switching is not None and not all(docker.has(name) for name in _containers(stack, settings))
    reached = switching.database if switching is not None and without_database else _database(stack, docker)
    if reached is None:
        return None
    here = migrations.of_image(docker, wanted)
    pending = _pending(stack, docker, here, reached)
    drops = tuple(migration.id for migration in pending if migration.drops)
    upgrade_to_here = partial(Upgrade, after=here.version, pending=len(pending), drops=drops, image=wanted)
    if switching is not None:
        untouched = reached == switching.database and not without_database
        if untouched and server is not None and server[0] != switching.image:
            # The new server has changed nothing, and the old one has gone on meanwhile: what was kept is too old.
            NOTES.forget(stack)
        else:
            # Also to another version than was begun, the old one included: what the first one has migrated, or is about to,
            # must not be kept in the place of the data of before.
            resumed = replace(switching, image=wanted, after=here.version)
            return upgrade_to_here(before=switching.before, database=switching.database, good=None, resumed=resumed)
    if server is None or server[0] == wanted:
        return None
    old = migrations.of_image(docker, server[1])
    if old.version == here.version and not pending:
        return None
    good = releases.last_good(stack)
    # With PostgreSQL's major, which one of another could not start on.
    fits = (
        good is not None and good.database == releases.schema_version(stack, docker) and other_commit.is_there(stack, good.commit)
    )
    return upgrade_to_here(before=old.version, database=reached, good=good if fits else None)


def _refuse_untried(stack: Stack, docker: Docker, wanted: str) -> None:
    """UserError where the server's container is gone, whose settings a trial needs, and the database is not this Skyvern's."""
    try:
        reached = releases.migrations_of(releases.schema_version(stack, docker))
    except UserError:
        # There is none yet, or it does not run either.
        return
    here = migrations.of_image(docker, wanted)
    if _pending(stack, docker, here, reached):
        raise UserError(
            f"stack {stack}: nothing was changed: its database is an older Skyvern's than {here.version} of this checkout, and "
            "without a server an upgrade cannot be tried first; check out the version that it ran, run script/up "
            f"--stack {stack}, and then upgrade"
        )


def _pending(
    stack: Stack, docker: Docker, here: migrations.Skyvern, reached: tuple[str, ...]
) -> tuple[migrations.Migration, ...]:
    """What the database has to go through; UserError for one that this Skyvern does not know."""
    try:
        return here.pending(reached)
    except KeyError:
        raise UserError(_downgrade(stack, docker, here.version, reached)) from None


def refuse(stack: Stack, docker: Docker, settings: Settings, command: str) -> None:
    """UserError for a command that updates a stack on another occasion, in a checkout with another Skyvern."""
    if not needs.present(docker, images.references(settings.images.source)["server"]):
        return
    if change := plan(stack, docker, settings):
        raise UserError(
            f"{command}: nothing was changed: this checkout has another Skyvern than the stack ({change}); run script/up --stack "
            f"{stack} first"
        )


def _downgrade(stack: Stack, docker: Docker, version: str, reached: tuple[str, ...]) -> str:
    way = f"check out the version that it ran, and run script/up --stack {stack}"
    note = read(stack)
    if note is not None and note.commit and kept(stack).before in _databases(stack, docker):
        way = f"bin/ops rollback --with-data -s {stack} goes back to Skyvern {note.before} and its data of {note.at}"
    return (
        f"stack {stack}: nothing was changed: its database has been migrated by a newer Skyvern ({', '.join(reached)}), and "
        f"Skyvern {version} of this checkout does not run on that; {way}"
    )


def prepare(change: Upgrade, stack: Stack, docker: Docker, progress: Progress, *, ask: bool) -> None:
    """A set of the backup, if the stack has one, and the trial on a copy. UserError before anything of the stack is touched.

    ask: shows Pulumi's preview and asks the person at the terminal first.
    """
    if ask:
        update.preview(stack)
        what = "Go on with this switch, which was interrupted?"
        if change.resumed is None:
            what = "Try it on a copy of the data, and switch if that works?"
        if not terminal.confirm(f"stack {stack}: {change}. {what}"):
            raise UserError(f"stack {stack}: nothing was changed")
    if change.resumed is not None:
        progress(f"the switch to Skyvern {change.after} was interrupted, and goes on")
        return
    if change.good is None:
        progress(
            f"no commit is recorded that runs Skyvern {change.before} on this database: if the switch fails, the data goes back "
            "by itself, and the server does with script/up in a checkout of the old version"
        )
    unchanged = f"stack {stack}: nothing was changed, and Skyvern {change.before} goes on"
    with explained(lambda failed: f"{unchanged}: {failed}"):
        size = trial.database_size(stack, docker)
        _refuse_full_disk(stack, docker, size)
        take_set(stack, docker, progress)
    try:
        seconds = trial.trial(stack, size, progress)
    except copies.Unfit as failed:
        raise UserError(f"{unchanged}: {failed}") from failed
    except UserError as failed:
        raise UserError(f"{unchanged}: on a copy of its data, {change.after} does not work: {failed}") from failed
    progress(f"Skyvern {change.after} has migrated and served a copy of the data, {seconds:.0f} s after its start")


def take_set(stack: Stack, docker: Docker, progress: Progress) -> bool:
    """A set of the backup; False if the stack has none. UserError when it cannot be made."""
    if not has_backup(stack, docker):
        progress("no set of a backup is made: the stack has none (docs/backup.md)")
        return False
    progress(container.make_set(stack, docker))
    return True


def has_backup(stack: Stack, docker: Docker) -> bool:
    """Whether the stack makes sets of a backup."""
    return docker.has(stack.prefix("backup"))


def _refuse_full_disk(stack: Stack, docker: Docker, size: int) -> None:
    if stack.settings().database.elsewhere:
        # No client can ask for it; a full disk fails the copy, and the old version goes on.
        return
    needed = int(size * 1.1) + 200 * MIB
    free = copies.free_bytes(docker.run("exec", stack.prefix("postgres"), "df", "-Pk", DATA_FOLDER))
    if free < needed:
        raise UserError(
            f"a copy of the database needs {needed / MIB:.0f} MiB, and Docker's disk has {free / MIB:.0f} MiB free; make room "
            "first"
        )


# --- The switch -----------------------------------------------------------------------------------------------------------


@contextmanager
def switched(change: Upgrade | None, stack: Stack, docker: Docker, progress: Progress) -> Iterator[None]:
    """Around the up and its smoke run: if they fail, data and images go back. Does nothing for None.

    For a command that has the stack alone: another switch, begun meanwhile, would take what this one has migrated for the data of
    before. Raises UserError in one line after going back, with what failed.
    """
    if change is None:
        yield
        return
    note = change.resumed or _stop_and_keep(change, stack, docker, progress)
    _write(stack, note)
    try:
        yield
    except Exception as failed:
        reason = terminal.line_of(failed)
        progress(f"Skyvern {note.after} does not work here: {reason}")
        if change.resumed is None and not _has_run(stack, docker, note):
            note = replace(note, state="data back")
        lost = go_back(stack, docker, note, progress)
        raise UserError(
            f"stack {stack}: Skyvern {note.before} serves again with its data of before{lost}: the upgrade to {note.after} "
            f"failed: {reason}"
        ) from failed
    if note.before == note.after:
        # Cut off, and finished in the old checkout.
        NOTES.forget(stack)
        return
    _write(stack, replace(note, state="served"))
    way = f"to go back to {note.before} and the data of {note.at}: bin/ops rollback --with-data -s {stack}"
    if not note.commit:
        way = f"the data of {note.at} is kept in the database {kept(stack).before} until the next upgrade"
    progress(f"Skyvern {note.after} serves; {way}")


def _stop_and_keep(change: Upgrade, stack: Stack, docker: Docker, progress: Progress) -> Note:
    """Ends the old server in good order, and keeps its database as it then is."""
    server = stack.prefix("server")
    progress(f"the server of Skyvern {change.before} ends; runs in progress have {stack.settings().server.drain_minutes} min")
    # It names what is dropped.
    earlier = read(stack)
    try:
        with drain.countdown(stack, progress):
            drain.stop_to_its_end(docker, stack, "server", drain.stop_seconds(stack), progress)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        began = time.monotonic()
        NOTES.forget(stack)
        _each(stack, docker, kept(stack).keep())
    except (UserError, KeyboardInterrupt) as failed:
        with suppress(UserError):
            if earlier is not None and kept(stack).before in _databases(stack, docker):
                _write(stack, earlier)
        docker.start_part(server)
        if isinstance(failed, KeyboardInterrupt):
            raise
        raise UserError(
            f"stack {stack}: nothing was changed, and Skyvern {change.before} goes on: its database cannot be kept: {failed}"
        ) from failed
    progress(f"the database as it is now is kept, copied in {time.monotonic() - began:.0f} s")
    good = change.good
    return Note(
        state="switching",
        before=change.before,
        after=change.after,
        database=change.database,
        image=change.image,
        commit=good.commit if good else "",
        stack_file=good.stack_file if good else "",
        at=at,
    )


def _has_run(stack: Stack, docker: Docker, note: Note) -> bool:
    """Whether a switch that was not interrupted has come as far as a server of the new version, which may have migrated.

    Pulumi makes it last of all, and leaves one that does not become healthy where it is.
    """
    return docker.has_run(stack.prefix("server"), note.image)


# --- Back -----------------------------------------------------------------------------------------------------------------


def go_back(stack: Stack, docker: Docker, note: Note, progress: Progress) -> str:
    """The data of before the upgrade, then the commit that ran on it: what is lost by that, as a clause, or "".

    Raises UserError with the next step where that cannot be finished.
    """
    note = _write(stack, note if note.state == "data back" else replace(note, state="going back"))
    lost = _finish_data(stack, docker, note, progress)
    if not note.commit:
        NOTES.forget(stack)
        server = stack.prefix("server")
        if note.state == "data back" and (there := docker.image_of(server)) and there[0] != note.image:
            # The up failed before it came to it.
            docker.start_part(server)
            return lost
        raise UserError(
            f"stack {stack}: its data is that of before the upgrade to Skyvern {note.after}{lost}, and its server does not run; "
            f"check out the version of this project that ran Skyvern {note.before}, and run script/up --stack {stack} there"
        )
    version = f"Skyvern {note.before}"
    other_commit.go_back(stack, note.commit, stack_file=note.stack_file, version=version, progress=progress)
    NOTES.forget(stack)
    return lost


def finish(stack: Stack, docker: Docker, progress: Progress) -> None:
    """Finishes going back from an upgrade where that was interrupted, and says so by a UserError.

    In the old commit's own checkout, whose up is the last step of that, the data alone is put back. A switch that was cut off
    and has been used since has ended.
    """
    note = read(stack)
    if note is None or note.state == "served":
        return
    there = all(docker.has(name) for name in _containers(stack, stack.settings()))
    if note.state == "switching":
        if there:
            _end_if_used(stack, docker, note)
        return
    if note.state == "data back" and there and _is_overtaken(stack, docker, note):
        NOTES.forget(stack)
        return
    if is_last_step(stack):
        _finish_data(stack, docker, note, progress)
        return
    progress(f"going back to Skyvern {note.before} was interrupted, and goes on")
    lost = go_back(stack, docker, note, progress)
    raise UserError(
        f"stack {stack}: Skyvern {note.before} serves again with its data of before{lost}: the upgrade to {note.after} had "
        f"failed, and going back was interrupted; script/up --stack {stack} tries the upgrade again"
    )


def _end_if_used(stack: Stack, docker: Docker, note: Note) -> None:
    """Ends a switch that was cut off and has been used since. UserError if the database does not answer."""
    reached = _database(stack, docker)
    if reached is None or not newer.kinds(stack, docker, note.moment):
        return
    server = docker.image_of(stack.prefix("server"))
    if reached == note.database and (server is None or server[0] != note.image):
        # The old one has gone on, and what was kept is too old.
        NOTES.forget(stack)
    else:
        # Cut off while it was looked at: what came since is no part of a switch that may go back by itself.
        _write(stack, replace(note, state="served"))


def _is_overtaken(stack: Stack, docker: Docker, note: Note) -> bool:
    """Whether another Skyvern was deployed by hand on data that had gone back, and has migrated it."""
    try:
        return _database(stack, docker) not in (None, note.database)
    except UserError:
        # The up of the old commit may make it answer.
        return False


def replaced(stack: Stack) -> None:
    """After another database is in the place of the stack's: what was cut off in the one before has nothing to go on with."""
    note = read(stack)
    if note is not None and note.state != "served":
        NOTES.forget(stack)


def finished(stack: Stack) -> None:
    """After an up that works: one in the old commit's checkout has ended going back."""
    if is_last_step(stack):
        NOTES.forget(stack)


def is_last_step(stack: Stack) -> bool:
    """Whether an up of this checkout is the last step of going back, which a command that waits for it has begun."""
    note = read(stack)
    return note is not None and note.state in {"going back", "data back"} and git.commit(stack.root) == note.commit


def _finish_data(stack: Stack, docker: Docker, note: Note, progress: Progress) -> str:
    """The data of before in its place; again after an interruption. What is lost, as a clause."""
    if note.state == "data back":
        return ""
    stopped = f"stack {stack}: going back to Skyvern {note.before} stopped, and Skyvern does not run"
    again = f"then run script/up --stack {stack}, which goes on with going back"
    if gone := [name for name in _containers(stack, stack.settings()) if not docker.has(name)]:
        _remove_server(stack, docker)
        progress(f"{', '.join(gone)} is gone: an up of PostgreSQL alone makes it again")
        with explained(lambda failed: f"{stopped}: its PostgreSQL is gone and is not made again ({failed}); {again}"):
            update.pulumi_up(stack, unasked=True, previewed=True, targets=DATABASE_TARGETS)
    with explained(
        lambda failed: (
            f"{stopped}: its database does not answer within {ANSWER_SECONDS} s ({failed}), so the data of before is not in its "
            f"place; correct what bin/ops doctor -s {stack} says of {_containers(stack, stack.settings())[0]}, {again}"
        )
    ):
        databases = database.until_ready(lambda: _databases(stack, docker), ANSWER_SECONDS)
    lost: list[str] = []
    if kept(stack).before in databases:
        _remove_server(stack, docker)
        lost = _put_data_back(stack, docker, note)
    elif _database(stack, docker) != note.database:
        NOTES.forget(stack)
        raise UserError(
            f"stack {stack}: Skyvern {note.after} stays: the data of {note.at}, which a way back needs, is gone (database "
            f"{kept(stack).before}); correct what failed, and run script/up --stack {stack} again, or bring back a set with "
            f"bin/ops restore -s {stack}"
        )
    _write(stack, replace(note, state="data back"))
    progress(f"the data of {note.at} is in its place")
    if not lost:
        return ""
    progress(f"what Skyvern {note.after} had is kept in the database {kept(stack).after} until the next upgrade")
    return f" ({', '.join(lost)} that came after are lost)"


def _remove_server(stack: Stack, docker: Docker) -> None:
    """And not only stop it: the up of the old commit starts what is stopped, and it would migrate again."""
    if docker.has(stack.prefix("server")):
        docker.remove_part(stack.prefix("server"))


def _put_data_back(stack: Stack, docker: Docker, note: Note) -> list[str]:
    lost: list[str] = []
    # Whatever state the database is in, it is left behind.
    with suppress(UserError):
        lost = newer.kinds(stack, docker, note.moment)
    with suppress(UserError):
        _keep_fired(stack, docker, note.moment)
    _each(stack, docker, kept(stack).put_back())
    return lost


def _keep_fired(stack: Stack, docker: Docker, since: datetime) -> None:
    """In the data of before, where the ticks of schedules that have fired since are not made up for."""
    if fired := fired_since(stack, docker, since):
        database.ask(stack, docker, not_again(fired), name=kept(stack).before, as_owner=True)


def fired_since(stack: Stack, docker: Docker, since: datetime) -> list[str]:
    """Ids of the schedules that have started a run since; UserError when the database does not answer."""
    query = (
        "SELECT DISTINCT workflow_schedule_id FROM workflow_runs WHERE workflow_schedule_id IS NOT NULL "  # noqa: S608
        f"AND created_at > '{since:%Y-%m-%d %H:%M:%S}';"
    )
    return database.ask(stack, docker, query, timeout_seconds=SQL_SECONDS).split()


def not_again(fired: Sequence[str]) -> str:
    """SQL after which schedules do not fire for a tick whose run is in data that is left behind.

    At the start, a tick without a run is made up for, unless the schedule was changed after it (1.0.56).
    """
    chosen = "','".join(fired)
    update = "UPDATE workflow_schedules SET modified_at = now() at time zone 'UTC'"
    return f"{update} WHERE workflow_schedule_id IN ('{chosen}');"


def with_data(stack: Stack, docker: Docker, *, yes: bool, progress: Progress) -> None:
    """``ops rollback --with-data``: the version before the last upgrade and its data. Asks, with what is lost named."""
    with notes.alone(stack):
        note = read(stack)
        if note is None or kept(stack).before not in _databases(stack, docker):
            raise UserError(f"ops rollback: stack {stack} has no data of before an upgrade; bin/ops restore brings back a set")
        if not note.commit:
            raise UserError(
                f"ops rollback: no commit is recorded that runs Skyvern {note.before}; go forward with a fix, or bring back a "
                "set of before the upgrade (docs/backup.md)"
            )
        other_commit.refuse_missing(stack, note.commit)
        loses = newer.loss(stack, docker, note.moment)
        question = f"stack {stack}: go back to Skyvern {note.before} ({note.commit[:12]}) and its data of {note.at}? {loses}"
        terminal.agree("ops rollback", question, yes=yes)
        try:
            take_set(stack, docker, progress)
        except UserError as failed:
            # No reason to stay with a version that does not work: nothing leaves this host.
            progress(
                f"no set of a backup is made ({failed}); what Skyvern {note.after} has stays in the database {kept(stack).after} "
                "until the next upgrade"
            )
        clause = go_back(stack, docker, replace(note, state="switching"), progress)
    progress(f"stack {stack}: Skyvern {note.before} serves with its data of {note.at}{clause}")


# --- The database -----------------------------------------------------------------------------------------------------


def _database(stack: Stack, docker: Docker) -> tuple[str, ...] | None:
    """The migrations that the database is at; None before the first ones. It may have been started a moment ago."""

    def reached() -> tuple[str, ...] | None:
        try:
            return releases.migrations_of(releases.schema_version(stack, docker))
        except UserError as failed:
            if "no tables of Skyvern" in str(failed) or 'relation "alembic_version" does not exist' in str(failed):
                return None
            raise

    with explained(
        lambda failed: (
            f"stack {stack}: nothing was changed: another version of Skyvern has to know what the database is at, and it does "
            f"not answer ({failed}); bin/ops doctor -s {stack} says what to do"
        )
    ):
        return database.until_ready(reached, ANSWER_SECONDS)


def _databases(stack: Stack, docker: Docker) -> set[str]:
    return set(database.ask(stack, docker, "SELECT datname FROM pg_database;", name=database.SERVER).split())


def _containers(stack: Stack, settings: Settings) -> list[str]:
    """Names of the containers without which the database cannot be asked."""
    return [stack.prefix(part) for part in (("roles",) if settings.database.elsewhere else ("postgres", "roles"))]


def _each(stack: Stack, docker: Docker, statements: Sequence[str], pause: Callable[[float], None] = time.sleep) -> None:
    """Statements in turn."""
    script = "\n".join(statements)
    database.again_while_busy(
        lambda: database.ask(stack, docker, script, name=database.SERVER, timeout_seconds=SQL_SECONDS), pause
    )
