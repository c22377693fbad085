"""``ops upgrade-database``: the data of a stack in a new cluster of this checkout's PostgreSQL, which is of another major.

The old server's own pg_dump fills the new cluster: once while everything goes on, and Skyvern is served on that copy; then with
Skyvern stopped, where rows and checksums of every table are compared. The volume's folder and the containers change as one.
If the new ones do not get healthy, both go back. A note beside the state says how far a switch has come, and what a command that
was killed has begun, the next one or ``script/up`` finishes. The old cluster stays in a volume with a date.
Not here: the copy (ops/backups/copies.py, trial.py), changing places (exchange.py), and another Skyvern (ops/deploy/upgrade.py).
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from components.host import images
from components.host.postgres import DATA_FOLDER, DATABASE, USER
from components.settings import Settings
from ops.backups import copies, exchange, notes, trial
from ops.backups import preflight as backup_preflight
from ops.backups.copies import Copy
from ops.backups.preflight import OFFLINE
from ops.clients import terminal
from ops.clients.docker import Docker
from ops.clients.terminal import Progress, say
from ops.deploy import danger, drain, guard, newer, other_commit, preflight, recovery, releases, repair, update, upgrade
from ops.deploy.records import Records
from ops.deploy.releases import Good
from ops.errors import UserError, explained
from ops.images import build, needs
from ops.stack import database, state
from ops.stack.stack import Stack

COMMAND = "ops upgrade-database"
# What is of one major alone: nothing of the old one may start on the new cluster, nor the other way round.
_OF_MAJOR = ("server", "roles", "postgres")

Step = Literal["switching", "going back", "data back", "served"]


@dataclass(frozen=True, kw_only=True)
class Note:
    """How far the last upgrade of a stack's PostgreSQL has come. Kept beside the state, for whichever checkout comes next.

    before, after: majors. volume: beside the stack's, with the new cluster before the switch and the old one after it. stamp: of
    the copy, for ops/backups/exchange.py. image: of the old server. commit, stack_file: what deploys the old major. at: when
    Skyvern had stopped, in UTC. fired: schedules that have fired since, once it is on its way back.
    """

    step: Step
    before: str
    after: str
    volume: str
    stamp: str
    image: str
    commit: str
    stack_file: str
    at: str
    fired: Sequence[str] = ()

    @property
    def moment(self) -> datetime:
        """When Skyvern had stopped."""
        return datetime.fromisoformat(self.at)

    @property
    def volumes(self) -> Mapping[str, str]:
        """As ops/backups/exchange.py takes them."""
        return {"postgres": self.volume}


NOTES = Records("database", Note)
# ``read``: how far the last upgrade has come; None if there was none, or its note cannot be read.
read, _write = NOTES.read, NOTES.write

# --- The command ----------------------------------------------------------------------------------------------------------


def upgrade_database(stack: Stack, *, yes: bool, unreviewed: bool) -> None:
    """All steps in order. UserError before anything is touched, when the old major serves again, or with the next step."""
    guard.check(stack, unreviewed=unreviewed, confirm=terminal.confirm if terminal.attended() else None)
    terminal.need_answer(COMMAND, yes=yes)
    settings, docker = stack.settings(), stack.docker()
    if settings.database.elsewhere:
        raise UserError(
            f"{COMMAND}: nothing was changed: the PostgreSQL of stack {stack} is elsewhere (database.url), and another major of "
            "it is its provider's work; docs/database.md says in which order"
        )
    source, optional = settings.images.source, needs.asked_for(settings)
    needs.prepare(docker, source, say, optional)
    build.build(docker, source, say, optional, host=settings.host)
    preflight.check_addresses(stack, docker, settings)
    preflight.check(docker, settings, say)
    with notes.alone(stack):
        recovery.recover(stack, docker, say)
        finish(stack, docker, settings, say)
        recorded = repair.repair(stack, docker, say)
        upgrade.finish(stack, docker, say)
        danger.refuse_removals(stack, docker, recorded)
        backup_preflight.check(stack, docker, settings, say)
        before, after, good = _plan(stack, docker, settings)
        with explained(lambda failed: f"stack {stack}: nothing was changed, and PostgreSQL {before} goes on: {failed}"):
            _try(stack, docker, say)
        if not yes:
            update.preview(stack)
        question = f"stack {stack}: PostgreSQL {before} → {after}, with Skyvern off for the copy and about a minute. Switch now?"
        terminal.agree(COMMAND, question, yes=yes)
        note = _copy(stack, docker, settings, before, after, good)
        complete(stack, docker, settings, note, say)


def _plan(stack: Stack, docker: Docker, settings: Settings) -> tuple[str, str, Good]:
    """Majors before and after, and what deploys the old one. UserError where there is nothing to do, or no way back."""
    refused = f"{COMMAND}: nothing was changed"
    majors = danger.majors(stack, docker, settings)
    if majors is None:
        raise UserError(f"{refused}: stack {stack} has no data of PostgreSQL yet; run script/up --stack {stack}")
    before, after = majors
    if int(before) >= int(after):
        what = "is already" if before == after else "is of a newer one,"
        raise UserError(f"{refused}: the data of stack {stack} {what} of PostgreSQL {before}, and this checkout has {after}")
    missing = [name for name in map(stack.prefix, reversed(_OF_MAJOR)) if not docker.has(name, running=True)]
    if missing:
        raise UserError(
            f"{refused}: {', '.join(missing)} of PostgreSQL {before} does not run, and its own server makes the copy; run "
            f"script/up --stack {stack} in a checkout of the version that it ran"
        )
    change = upgrade.plan(stack, docker, settings)
    if change is not None and change.resumed is not None:
        raise UserError(
            f"{refused}: an upgrade of Skyvern to {change.after} was interrupted; run script/up --stack {stack} in a checkout of "
            "that version first"
        )
    image = exchange_image(settings)
    if any(left.state == "torn" for left in exchange.kept(docker, stack, image)):
        raise UserError(f"{refused}: a restore of stack {stack} was interrupted; run bin/ops restore -s {stack} first")
    good = releases.last_good(stack)
    now = releases.schema_version(stack, docker)
    if good is None or good.database != now or not other_commit.is_there(stack, good.commit):
        raise UserError(
            f"{refused}: no commit is recorded that runs PostgreSQL {before} on this data, so a switch that fails could not go "
            f"back; run script/up --stack {stack} in a checkout of the version that it ran, with every change committed"
        )
    return before, after, good


def _try(stack: Stack, docker: Docker, progress: Progress) -> None:
    """A set of the backup, if the stack has one, and Skyvern on a copy in the new major, while everything goes on."""
    clear(stack, docker)
    upgrade.take_set(stack, docker, progress)
    seconds = trial.trial(stack, trial.database_size(stack, docker), progress)
    progress(f"Skyvern has served a copy of the data in the new PostgreSQL, {seconds:.0f} s after its start")


def _copy(stack: Stack, docker: Docker, settings: Settings, before: str, after: str, good: Good) -> Note:
    """The new cluster, equal to the old one and beside it, with Skyvern stopped; it starts again if that fails."""
    server = stack.prefix("server")
    say(f"the server ends; runs in progress have {settings.server.drain_minutes} min")
    try:
        with drain.countdown(stack, say):
            drain.stop_to_its_end(docker, stack, "server", drain.stop_seconds(stack), say)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        record = trial.running_record(trial.database_size(stack, docker))
        with copies.filled(copies.running(stack), "upgrade", record, say, fill=_fill) as copy:
            copies.stop_postgres(copy)
        note = Note(
            step="switching",
            before=before,
            after=after,
            volume=copy.volume("postgres"),
            stamp=copy.stamp,
            image=docker.inspect(stack.prefix("postgres"))["Image"],
            commit=good.commit,
            stack_file=good.stack_file,
            at=at,
        )
        docker.run("volume", "rm", "--force", *(copy.volume(part) for part in copies.PARTS if part != "postgres"))
        exchange.mark(docker, stack, exchange_image(settings), note.volumes, note.stamp)
    except BaseException as failed:
        clear(stack, docker)
        docker.run("start", server)
        if not isinstance(failed, UserError):
            raise
        raise UserError(f"stack {stack}: nothing was changed, and PostgreSQL {before} goes on: {failed}") from failed
    return _write(stack, note)


def _fill(copy: Copy, progress: Progress) -> None:
    """The running database in the copy, and the comparison of both."""
    trial.copy_running(copy, progress)
    there = database.ask(
        copy.source.stack, copy.source.docker, database.TABLES, as_owner=True, timeout_seconds=upgrade.SQL_SECONDS
    )
    here = copy.sql(database.TABLES, timeout_seconds=upgrade.SQL_SECONDS).strip()
    old, new = (dict(line.split("|", 1) for line in text.splitlines()) for text in (there, here))
    if different := [table for table in sorted(old.keys() | new.keys()) if old.get(table) != new.get(table)]:
        raise UserError(f"the copy is not equal: {', '.join(different[:3])} (rows or checksum)")
    progress(f"rows and checksums of {len(new)} tables are equal")


# --- The switch, and back -------------------------------------------------------------------------------------------------


def complete(stack: Stack, docker: Docker, settings: Settings, note: Note, progress: Progress) -> None:
    """The new cluster and the new containers in place; again after an interruption. UserError after going back, with why."""
    progress(f"PostgreSQL {note.before} and what runs on it make way for {note.after}")
    try:
        _remove(stack, docker)
        exchange.put_in_place(docker, stack, exchange_image(settings), note.volumes, note.stamp)
        state.refresh(stack)
        update.pulumi_up(stack, unasked=True, previewed=True)
        repair.wait_until_healthy(stack, docker, progress)
        green, total = update.run_smoke(stack.outputs(), progress)
        if green < total:
            raise UserError(f"smoke: {green} of {total} checks green")
    except Exception as failed:
        reason = terminal.line_of(failed)
        progress(f"PostgreSQL {note.after} does not work here: {reason}")
        lost = go_back(stack, docker, settings, note, progress)
        raise UserError(
            f"stack {stack}: PostgreSQL {note.before} serves again with its data of before{lost}: the upgrade to {note.after} "
            f"failed: {reason}"
        ) from failed
    _write(stack, replace(note, step="served"))
    releases.record_good(stack, docker)
    progress(f"PostgreSQL {note.after} serves; the cluster of {note.before} as it was at {note.at} is in volume {note.volume}")
    progress(f"to go back to it: bin/{COMMAND} --undo -s {stack}; to give it up: docker volume rm {note.volume}")


def go_back(stack: Stack, docker: Docker, settings: Settings, note: Note, progress: Progress) -> str:
    """The old cluster in its place, then the commit that runs it: what is lost by that, as a clause, or "".

    Raises UserError with the next step where that cannot be finished.
    """
    lost = _put_back(stack, docker, settings, note, progress)
    version = f"PostgreSQL {note.before}"
    other_commit.go_back(stack, note.commit, stack_file=note.stack_file, version=version, progress=progress)
    NOTES.forget(stack)
    return lost


def _put_back(stack: Stack, docker: Docker, settings: Settings, note: Note, progress: Progress) -> str:
    """The old cluster in its place; again after an interruption. What is lost, as a clause."""
    if note.step == "data back":
        return ""
    lost: list[str] = []
    # Whatever state the database is in, it is left behind. After an interruption it may be gone, and is as noted.
    with suppress(UserError):
        lost = newer.kinds(stack, docker, note.moment)
    with suppress(UserError):
        note = replace(note, fired=upgrade.fired_since(stack, docker, note.moment))
    note = _write(stack, replace(note, step="going back"))
    _remove(stack, docker)
    exchange.take_back(docker, stack, exchange_image(settings), note.volumes, note.stamp)
    with suppress(UserError):
        _keep_fired(stack, docker, note)
    _write(stack, replace(note, step="data back"))
    progress(f"the cluster of PostgreSQL {note.before} is in its place")
    if not lost:
        return ""
    progress(f"what PostgreSQL {note.after} had is kept in volume {note.volume} until the next upgrade")
    return f" ({', '.join(lost)} that came after are lost)"


def _keep_fired(stack: Stack, docker: Docker, note: Note) -> None:
    """In the old cluster, without a server of it: the up that starts one starts Skyvern as well."""
    if note.fired:
        mounts = (f"--volume={stack.prefix('postgres')}:{DATA_FOLDER}", f"--user={USER}")
        single = ("--entrypoint=postgres", note.image, "--single", "-D", DATA_FOLDER, DATABASE)
        docker.run(*OFFLINE, "--interactive", *mounts, *single, stdin=f"{upgrade.not_again(note.fired)}\n".encode())


def undo(stack: Stack, *, yes: bool) -> None:
    """Back to the major before the last upgrade, after it has served. Asks, with what is lost named."""
    with notes.alone(stack):
        settings, docker = stack.settings(), stack.docker()
        note = read(stack)
        if note is None or note.step != "served" or note.volume not in docker.run("volume", "ls", "--quiet").split():
            raise UserError(f"{COMMAND} --undo: stack {stack} has no cluster of before an upgrade")
        loses = newer.loss(stack, docker, note.moment)
        question = f"stack {stack}: go back to PostgreSQL {note.before} ({note.commit[:12]}) and its data of {note.at}? {loses}"
        terminal.agree(f"{COMMAND} --undo", question, yes=yes)
        lost = go_back(stack, docker, settings, note, say)
    say(f"stack {stack}: PostgreSQL {note.before} serves with its data of {note.at}{lost}")


# --- After an interruption ------------------------------------------------------------------------------------------------


def finish(stack: Stack, docker: Docker, settings: Settings, progress: Progress) -> None:
    """Ends a switch that was interrupted: forward in a checkout of the new major; back elsewhere, which a UserError says.

    In a checkout of the old major the data alone is put back, because its own up is the last step. The image has to be there.
    """
    note = read(stack)
    if note is None or note.step == "served":
        return
    if note.step == "switching" and _used_since(stack, docker, note, progress):
        _leave_as_it_serves(stack, docker, settings, note)
        return
    here = danger.major_of_image(docker, images.references(settings.images.source)["postgres"])
    if here == note.before:
        _put_back(stack, docker, settings, note, progress)
        return
    progress(f"the upgrade of PostgreSQL {note.before} to {note.after} was interrupted, and goes on")
    if here == note.after and note.step == "switching":
        complete(stack, docker, settings, note, progress)
        return
    lost = go_back(stack, docker, settings, note, progress)
    raise UserError(
        f"stack {stack}: PostgreSQL {note.before} serves again with its data of before{lost}: the upgrade to {note.after} was "
        f"interrupted on its way back; bin/{COMMAND} -s {stack} tries it again"
    )


def _used_since(stack: Stack, docker: Docker, note: Note, progress: Progress) -> bool:
    """Whether something came after the copy was made. PostgreSQL is started for the question if it was stopped."""
    asked = [stack.prefix(part) for part in ("postgres", "roles")]
    if not all(docker.has(name) for name in asked):
        # Cut off between the old containers and the new ones.
        return False
    try:
        for name in asked:
            if not docker.has(name, running=True):
                docker.start_part(name)
        return bool(database.until_ready(lambda: newer.kinds(stack, docker, note.moment), upgrade.ANSWER_SECONDS))
    except UserError as failed:
        progress(f"whether something came since {note.at} is not known, because the database does not answer ({failed})")
        return False


def _leave_as_it_serves(stack: Stack, docker: Docker, settings: Settings, note: Note) -> None:
    """Ends a switch that was cut off and used since: what came is in one of the two clusters alone, and stays."""
    there = danger.majors(stack, docker, settings)
    if there is not None and there[0] == note.after:
        _write(stack, replace(note, step="served"))
        return
    NOTES.forget(stack)
    clear(stack, docker)


def finished(stack: Stack) -> None:
    """After an up that works: one of the old major has ended going back."""
    note = read(stack)
    if note is not None and note.step == "data back":
        NOTES.forget(stack)


def refuse_unfinished(stack: Stack, command: str) -> None:
    """UserError for a command that would find a stack between two majors."""
    note = read(stack)
    if note is not None and note.step != "served":
        raise UserError(
            f"{command}: nothing was changed: an upgrade of PostgreSQL {note.before} to {note.after} was interrupted; run "
            f"script/up --stack {stack} first, which ends it"
        )


def clear(stack: Stack, docker: Docker) -> None:
    """Removes what was never put in place, of an earlier try."""
    note = read(stack)
    kept = note.volume if note is not None and note.step == "served" else ""
    copies.remove_containers(docker, stack, "upgrade")
    volumes = copies.volumes(docker, stack, "upgrade")
    if given_up := [name for name in volumes if name != kept]:
        docker.run("volume", "rm", "--force", *given_up)


def exchange_image(settings: Settings) -> str:
    """Has the tools that exchange folders, and is there in every stack."""
    return images.references(settings.images.source)["postgres"]


def _remove(stack: Stack, docker: Docker) -> None:
    for name in map(stack.prefix, _OF_MAJOR):
        if docker.has(name):
            docker.run("stop", "--time", "60", name, timeout_seconds=120)
            docker.run("rm", "--force", name)
