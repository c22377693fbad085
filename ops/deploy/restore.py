"""``ops restore``: a set of the backup becomes the stack's data; ``ops resume``: its schedules run again.

Everything is read into new volumes, compared with what the set recorded and made quiet while the stack goes on; only then does
the stack stop, for as long as its volumes change places. What it had before is kept under a dated name; ``--undo`` puts it back.
On a bare machine the recovery kit gives the state and the secrets first.
Not here: the copy and the exchange themselves (ops/backups).
"""

import json
import os
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.host.volumes import SKYVERN_FOLDERS
from components.settings import Settings
from components.settings.automations import AutomationSettings
from ops.backups import copies, exchange, external, notes, paused, share
from ops.backups import kit as kits
from ops.backups.copies import PARTS, STAMP, Copy, Record, Schedule, Source
from ops.backups.exchange import Kept
from ops.backups.external import Server
from ops.backups.kit import Kit
from ops.backups.paused import Pause
from ops.clients import git, process, terminal
from ops.clients.docker import PYTHON, Docker
from ops.clients.terminal import Progress, say
from ops.deploy import danger, database_upgrade, machines, newer, put_back, recovery, repair, up, update, upgrade
from ops.errors import UserError, explained
from ops.images import build, needs
from ops.machine import backend, daemon, engine
from ops.observe import backups
from ops.paths import write_whole
from ops.stack import checkpoint, database, file, state
from ops.stack.stack import Stack

_NEXT_TICKS = """
import datetime, json, sys, zoneinfo
from croniter import croniter
for one in json.load(sys.stdin):
    if one["cron"]:
        now = datetime.datetime.now(zoneinfo.ZoneInfo(one["timezone"]))
        one["next"] = croniter(one["cron"], now).get_next(datetime.datetime).isoformat(timespec="minutes")
    print(json.dumps(one))
"""


def restore(stack: Stack, name: str | None, *, yes: bool, discard_newer: bool) -> None:
    """A set, or the newest one, into the stack. UserError before anything is touched, or with the next step."""
    with notes.alone(stack), machines.folder_for_restore(stack, say):
        source = copies.source(stack)
        docker = source.docker
        clear(source, say)
        record = source.record(name or "latest")
        copies.refuse_newer(source, record)
        if not discard_newer:
            refuse_newer_data(source, record)
        _ask(stack, record, yes=yes)
        stamp = replace(source, record, say)
        if not _has_users(docker, stack, source.settings):
            say(f"containers are missing; next: script/up --stack {stack}")
            return
        wait(stack, docker, stamp)
    say(f"stack {stack} has the data of set {record.name} ({record.at:%Y-%m-%d %H:%M} UTC)")
    _tell_kept(stack, stamp)


def _tell_kept(stack: Stack, stamp: str) -> None:
    say(f"what it had before is kept {_kept_in(stack, stamp)}; to go back: bin/ops restore --undo -s {stack}")


def replace(
    source: Source,
    record: Record,
    progress: Progress,
    fill: Callable[[Copy, Progress], None] = copies.restore_set,
    reason: str = copies.RESTORED,
    *,
    keep_database: bool = False,
) -> str:
    """Fills a copy and puts it in place; the stamp of what is kept. fill, reason: as in ops/backups/copies.py.

    keep_database: on a server elsewhere, which has outlived the machine: the files alone are put in place.
    """
    stack, docker = source.stack, source.docker
    # Before hours are spent.
    there = external.server(stack, docker, source.settings)
    external.check(there, progress)
    server = None if keep_database else there
    is_first = server is not None and server.database not in external.databases(server)
    with copies.filled(source, "restore", record, progress, fill) as copy:
        schedules = [] if keep_database else copies.quiet(copy, reason)
        try:
            if server:
                progress("writing the database to the server of database.url")
                external.fill(server, copy.socket, source.role_password, copy.stamp)
            copies.stop_postgres(copy)
        except BaseException:
            if server:
                # The copy goes, and without it nothing would find this.
                external.remove(server, copy.stamp)
            raise
    if source.settings.database.elsewhere:
        # It has served its purpose, and what is left with its mark counts as a part of the restore.
        docker.run("volume", "rm", "--force", copy.volume("postgres"))
    fresh = {part: copy.volume(part) for part in _parts(source.settings)}
    exchange.prepare(source, fresh, copy.stamp)
    image = source.references["backup"]
    ids = [one.id for one in schedules]
    deleted = _deleted_here(stack, docker, ids)
    with put_back.stopped(docker, stack, image, progress):
        try:
            paused.add(stack, docker, image, Pause(stamp=copy.stamp, made=record.at.strftime(STAMP), schedules=ids))
            exchange.put_in_place(docker, stack, image, fresh, copy.stamp, server)
        except BaseException:
            put_back.take_back(docker, stack, image, fresh, copy.stamp, server)
            paused.forget(stack, docker, image, copy.stamp)
            raise
        if not keep_database:
            upgrade.replaced(stack)
        if server and is_first:
            # What was there before is the empty one that was made beside it.
            external.remove(server, copy.stamp)
    progress("the restored data is in place")
    _tell_automations(stack, source.settings.automations, progress)
    _tell_paused(stack, schedules, deleted, progress)
    return copy.stamp


def undo(stack: Stack, *, yes: bool) -> None:
    """What the last restore replaced becomes the stack's data again; UserError if nothing is kept."""
    with notes.alone(stack):
        docker, image = stack.docker(), exchange.image_of(stack)
        recovery.refuse_other_engine(stack, docker, stack.state())
        nothing = f"ops restore --undo: stack {stack} has nothing that a restore replaced"
        if not _has_image(stack, docker, image, "ops restore --undo"):
            raise UserError(nothing)
        server = external.server(stack, docker, stack.settings())
        replaced = [one for one in exchange.kept(docker, stack, image, server) if one.state != "filled"]
        if not replaced:
            raise UserError(nothing)
        last = replaced[-1]
        database_upgrade.refuse_unfinished(stack, "ops restore --undo")
        _refuse_other_place(stack, last, server)
        _refuse_incomplete(stack, last)
        _refuse_other_major(stack, docker, last)
        question = f"stack {stack}: put back what was there before {last.stamp} (set {last.set})?"
        terminal.agree("ops restore --undo", question, yes=yes)
        put_back.go_back(docker, stack, image, last, say, server)
        with explained(lambda failed: f"stack {stack} has the data from before {last.stamp} again, and then: {failed}"):
            # What an earlier restore paused is off in the data that is here again.
            paused.forget(stack, docker, image, last.stamp)
            # What was stopped when an earlier one was cut off.
            repair.repair(stack, docker, say)
            exchange.remove(docker, stack, image, last, server)
            repair.wait_until_healthy(stack, docker, say)
    say(f"stack {stack} has the data from before {last.stamp} again")


# --- Refusals and questions -----------------------------------------------------------------------------------------------


def _has_image(stack: Stack, docker: Docker, image: str, command: str) -> bool:
    """Whether the image is there whose tools work on what restores keep; UserError where it only has to be built.

    A stack without a backup does not have it built, and had no set restored.
    """
    if needs.present(docker, image):
        return True
    if image in needs.running_images(stack.settings()).values():
        raise UserError(f"{command}: the image {image} is not on {docker.host}; run bin/ops images build -s {stack}")
    return False


def _parts(settings: Settings) -> list[str]:
    """The parts that have a volume: with a PostgreSQL elsewhere, the folders alone."""
    return [part for part in PARTS if part != "postgres" or not settings.database.elsewhere]


def _refuse_other_place(stack: Stack, last: Kept, server: Server | None) -> None:
    """UserError where what a restore replaced was in another place than the stack file names now."""
    if ("postgres" in last.volumes) == (server is not None) or (server and not external.look(server, last.stamp)):
        raise UserError(
            f"ops restore --undo: nothing was changed: what was there before {last.stamp} had its database in another place than "
            f"{stack.file_name} names (database.url); bring back a set (bin/ops restore SET -s {stack})"
        )


def _refuse_incomplete(stack: Stack, last: Kept) -> None:
    """UserError where some of what a restore replaced has been removed since: the rest would be mixed with what is there now."""
    if missing := [part for part in SKYVERN_FOLDERS if part not in last.volumes]:
        raise UserError(
            f"ops restore --undo: nothing was changed: of what was there before {last.stamp}, {', '.join(missing)} has been "
            f"removed; bring back a set (bin/ops restore SET -s {stack})"
        )


def _refuse_other_major(stack: Stack, docker: Docker, last: Kept) -> None:
    """UserError where what a restore replaced is of another PostgreSQL than the one that runs."""
    if "postgres" not in last.volumes:
        return
    found = danger.majors(stack, docker, stack.settings(), last.volumes["postgres"])
    if found is not None and found[0] != found[1]:
        raise UserError(
            f"ops restore --undo: nothing was changed: what was there before {last.stamp} is of PostgreSQL {found[0]}, and "
            f"{found[1]} does not start on that; bring back a set (bin/ops restore SET -s {stack})"
        )


def refuse_newer_data(source: Source, record: Record) -> None:
    """UserError where the stack has runs, workflows or credentials that came after the set, or may have."""
    stack = source.stack
    if backups.is_ahead(record.at, datetime.now(UTC)):
        raise UserError(
            f"stack {stack}: set {record.name} is of a time that has not come, so it is not known what is newer than it; is this "
            "machine's clock right? Add --discard-newer to go on without what came since"
        )
    unknown = f"so it is not known what is newer than set {record.name}"
    start = f"start it (script/up --stack {stack}), or add --discard-newer"
    with explained(lambda _: f"stack {stack}: its database does not answer, {unknown}; {start}"):
        kinds = newer_data(source, record.at)
    if kinds:
        raise UserError(
            f"stack {stack} has {', '.join(kinds)} that are newer than set {record.name}; bin/ops backup now keeps them in a "
            "set; add --discard-newer to go on without them"
        )


def newer_data(source: Source, at: datetime) -> list[str]:
    """What a person has made in the stack since a time: ``3 runs``, ``1 workflows``.

    UserError if its database does not answer.
    """
    stack, docker = source.stack, source.docker
    has_volume = stack.prefix("postgres") in docker.run("volume", "ls", "--quiet").split()
    if not has_volume and not docker.has(stack.prefix("roles")):
        server = external.server(stack, docker, source.settings)
        if server and external.is_in_use(server):
            raise UserError(f"stack {stack}: has no roles container, which asks its database; run script/up --stack {stack}")
        return []
    try:
        return newer.kinds(stack, docker, at)
    except UserError as failed:
        if "does not exist" in str(failed) and "relation" in str(failed):
            return []
        raise UserError(f"stack {stack}: its database does not answer ({failed}); run script/up --stack {stack}") from failed


def _ask(stack: Stack, record: Record, *, yes: bool) -> None:
    say(f"set {record.name}: {record.at:%Y-%m-%d %H:%M} UTC, {record.rows} rows, {record.files} files")
    terminal.agree("ops restore", f"stack {stack}: replace its data with this set? Runs in progress are ended", yes=yes)


def clear(source: Source, progress: Progress) -> None:
    """What a restore that was interrupted has left: a copy is removed, volumes that had changed places change back."""
    docker, stack, image = source.docker, source.stack, source.references["backup"]
    recovery.refuse_other_engine(stack, docker, stack.state())
    database_upgrade.refuse_unfinished(stack, "ops restore")
    server = external.server(stack, docker, source.settings)
    put_back.clear(docker, stack, image, progress, server)


# --- Containers -----------------------------------------------------------------------------------------------------------


def _users(docker: Docker, stack: Stack, part: str) -> list[str]:
    return docker.run("ps", "--all", "--quiet", "--no-trunc", "--filter", f"volume={stack.prefix(part)}").split()


def _has_users(docker: Docker, stack: Stack, settings: Settings) -> bool:
    """Whether all that works with the stack's data has been made: containers for each volume, or the services of a Swarm."""
    if stack.shared_folder:
        return docker.has(stack.prefix("server"))
    return all(_users(docker, stack, part) for part in _parts(settings))


def _kept_in(stack: Stack, stamp: str) -> str:
    folder = stack.shared_folder
    return f"in volumes that end in -{stamp}" if folder is None else f"in {share.copy_of(folder, stamp, '')}"


def wait(stack: Stack, docker: Docker, stamp: str) -> None:
    kept = f"what was there before is {_kept_in(stack, stamp)}; bin/ops restore --undo -s {stack} puts it back"
    with explained(lambda failed: f"the data is restored, and then: {failed}; {kept}"):
        repair.repair(stack, docker, say)
        repair.wait_until_healthy(stack, docker, say)


# --- Schedules ------------------------------------------------------------------------------------------------------------


def _deleted_here(stack: Stack, docker: Docker, ids: Sequence[str]) -> frozenset[str]:
    """Which of these schedules the stack has deleted since the set was made; none where its database is lost."""
    listed = "','".join(ids)
    query = f"""
        SELECT workflow_schedule_id FROM workflow_schedules
        WHERE deleted_at IS NOT NULL AND workflow_schedule_id IN ('{listed}')"""  # noqa: S608
    try:
        return frozenset(database.ask(stack, docker, f"{query};", as_owner=True).split())
    except UserError:
        return frozenset()


def _tell_automations(stack: Stack, settings: AutomationSettings, progress: Progress) -> None:
    """Pulumi's state may be newer than the set, so an update that asks the server nothing would plan nothing."""
    if settings.files:
        progress(f"automations are as the set has them: pulumi up --refresh -s {stack} applies their files again")


def _tell_paused(stack: Stack, schedules: Sequence[Schedule], deleted: Collection[str], progress: Progress) -> None:
    if not schedules:
        return
    progress(f"{len(schedules)} schedules are paused, because runs that were due in the meantime would be made up for:")
    for one in schedules:
        # No file and no state of the stack names it any more, so nothing else would remove it.
        again = "; was deleted after the set was made: delete it again in the UI if it is not to run" if one.id in deleted else ""
        progress(f"  {one.name}: {one.when}{again}")
    progress(f"bin/ops resume -s {stack} shows when each would run next, and starts them")


def resume(stack: Stack, *, yes: bool) -> None:
    """The schedules that restores paused run again from their next tick on; what was missed is not made up for."""
    with notes.alone(stack):
        _resume(stack, yes=yes)


def _resume(stack: Stack, *, yes: bool) -> None:
    docker, image = stack.docker(), exchange.image_of(stack)
    nothing = f"ops resume: no schedule of stack {stack} is paused by a restore"
    if not _has_image(stack, docker, image, "ops resume"):
        raise UserError(nothing)
    listed = "','".join(paused.current(paused.read(stack, docker, image)))
    query = f"""
        SELECT coalesce(json_agg(json_build_object('id', workflow_schedule_id, 'name', coalesce(name, workflow_permanent_id),
          'cron', cron_expression, 'timezone', timezone, 'interval', interval_seconds, 'run_at', run_at,
          'over', run_at <= now() at time zone 'UTC')), '[]')
        FROM workflow_schedules WHERE NOT enabled AND deleted_at IS NULL AND workflow_schedule_id IN ('{listed}')"""  # noqa: S608
    rows: list[dict[str, Any]] = json.loads(database.ask(stack, docker, f"{query};", as_owner=True) or "[]")
    if not rows:
        raise UserError(nothing)
    printed = docker.execute(stack.prefix("server"), *PYTHON, _NEXT_TICKS, stdin=json.dumps(rows).encode())
    over = []
    for row in map(json.loads, printed.splitlines()):
        if row["over"]:
            over.append(row["id"])
            say(f"  {row['name']}: once, at {row['run_at']} UTC, which is over: stays paused, and can be started in the UI")
        else:
            when = row.get("next") or (f"every {row['interval']} s" if row["interval"] else f"{row['run_at']} UTC")
            say(f"  {row['name']}: next at {when}")
    due = [row["id"] for row in rows if row["id"] not in over]
    terminal.agree("ops resume", f"Start {len(due)} schedules?", yes=yes)
    chosen = "','".join(due)
    # With this time a tick from before it is not made up for (1.0.56, previous_fire_time_since_edit).
    start = "UPDATE workflow_schedules SET enabled = true, modified_at = now() at time zone 'UTC'"
    database.ask(stack, docker, f"{start} WHERE workflow_schedule_id IN ('{chosen}');", as_owner=True)
    paused.note_resumed(stack, docker, image, datetime.now(UTC).strftime(STAMP))
    say(f"{len(due)} schedules run again")


# --- From the kit ---------------------------------------------------------------------------------------------------------


def restore_from_kit(stack: Stack, path: Path, name: str | None, *, passphrase_file: Path | None, yes: bool) -> None:
    """A whole stack on a machine that has nothing of it: state and secrets from the kit, data from the repository."""
    kit = kits.read(path, passphrase_file)
    if Stack(kit.stack).short != stack.short:
        raise UserError(f"recovery kit: is of stack {kit.stack}; write -s {kit.stack}")
    terminal.need_answer("ops restore", yes=yes)
    _take_files(stack, kit, say)
    settings = stack.settings()
    daemon.ensure_docker(settings.host.docker_host, say)
    docker = stack.docker()
    optional = needs.asked_for(settings)
    missing = needs.prepare(docker, settings.images.source, say, optional)
    up.make_engine_and_images(
        lambda: engine.ensure_engine(None, say, stack.plugins()),
        lambda stop: build.build(docker, settings.images.source, say, optional, stop, missing, host=settings.host),
        say,
    )
    _take_state(stack, kit, say)
    if settings.host.engine == "swarm":
        say(
            f"the data is in {settings.host.shared_folder} and on the server of database.url, and stays as it is there; what is "
            f"lost as well, bin/ops restore -s {stack} brings back after this"
        )
    else:
        _take_data(stack, docker, name, yes=yes)
    up.deploy(stack, images_source=None, engine_choice=None, yes=True, unreviewed=True)


def _take_data(stack: Stack, docker: Docker, name: str | None, *, yes: bool) -> None:
    """A set, or the newest one, into a stack that has nothing but its state."""
    with notes.alone(stack):
        source = copies.source(stack)
        clear(source, say)
        again = f"where {stack.file_name} has to be corrected, do it and run this again, which then leaves that file as it is"
        with explained(lambda failed: f"{failed}; {again}"):
            record = source.record(name or "latest")
        copies.refuse_newer(source, record)
        if any(_users(docker, stack, part) for part in PARTS):
            raise UserError(f"stack {stack}: has containers on {docker.host}; a kit is for a machine without them")
        _ask(stack, record, yes=yes)
        # Of an earlier stack, whose containers are gone.
        there = {stack.prefix(part) for part in PARTS} & set(docker.run("volume", "ls", "--quiet").split())
        server = external.server(stack, docker, source.settings)
        keep = server is not None and external.is_in_use(server)
        if keep:
            say("the stack's database is on the server of database.url and stays as it is; the set's files come beside it")
        stamp = replace(source, record, say, keep_database=keep)
        if there:
            _tell_kept(stack, stamp)
            return
        for left in exchange.kept(docker, stack, source.references["backup"]):
            # Nothing was there before.
            if left.stamp == stamp:
                exchange.remove(docker, stack, source.references["backup"], left, None if keep else server)


def _take_files(stack: Stack, kit: Kit, progress: Progress) -> None:
    """Passphrase and stack file; UserError where there is another passphrase."""
    if kit.passphrase and not backend.own_passphrase(os.environ):
        path = backend.passphrase_file()
        if backend.keep_passphrase(kit.passphrase):
            progress(f"{path}: from the kit")
        elif path.read_text().strip() != kit.passphrase:
            raise UserError(f"{path}: is another passphrase than the kit's, of other stacks; use a user or a machine without it")
    _take_stack_file(stack, kit, progress)
    commit = git.commit(stack.root)
    if kit.commit and commit != kit.commit:
        progress(f"note: this checkout is {commit[:12] or 'not a commit'}, and the kit was made with {kit.commit[:12]}")


def _take_stack_file(stack: Stack, kit: Kit, progress: Progress) -> None:
    here = stack.root / stack.file_name
    if _is_taken(stack, kit):
        progress(f"{here.name}: stays as it is, because an earlier attempt took it and the state from the kit")
        return
    kept = _other_machines(stack, kit)
    text = _with_host(kit.stack_file, here.name, kept) if kept else kit.stack_file
    if not here.is_file() or here.read_text(encoding="utf-8") != text:
        write_whole(here, text)
        progress(f"{here.name}: from the kit")
    for key, value in kept.items():
        progress(f"{here.name}: host.{key}: {value if isinstance(value, str) else ', '.join(value)}: kept, the kit has another")


def _is_taken(stack: Stack, kit: Kit) -> bool:
    """Whether file and state of the kit are here already: what the file has otherwise was corrected since, as a renewed key."""
    recorded = checkpoint.read(backend.current_state().url, stack.short)
    if not (recorded or {}).get("resources"):
        return False
    try:
        # What the passphrase of this very stack was made into.
        documents = (file.read_document(stack.file), file.document(kit.stack_file, stack.file_name))
    except UserError:
        return False
    return len({document.get("encryptionsalt") for document in documents}) == 1


def _other_machines(stack: Stack, kit: Kit) -> dict[str, Any]:
    """The keys of ``host`` that were edited in the stack file which is there: so a stack moves to another machine.

    What the commit has is no decision: it may be older than the kit.
    """
    name = stack.file_name

    def host(config: Mapping[str, Any]) -> Mapping[str, Any]:
        section = file.sections(config).get("host")
        return section if isinstance(section, dict) else {}

    try:
        here, before = host(file.read(stack.root / name)), host(file.parse(kit.stack_file, name))
        # Without a commit, an archive, in which it is this machine's own.
        committed: Mapping[str, Any] = {"docker_host": daemon.DEFAULT_SOCKET}
        if git.commit(stack.root):
            committed = host(file.parse(git.file_at(stack.root, "HEAD", name) or "", name))
    except UserError:
        # There is none, or it cannot be read.
        return {}
    keys = [key for key in ("docker_host", "nodes") if key in here]
    return {key: here[key] for key in keys if here[key] not in (before.get(key), committed.get(key))}


def _with_host(text: str, name: str, values: Mapping[str, Any]) -> str:
    """The text of a stack file with these keys of ``host``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_text(text, encoding="utf-8")
        file.write_settings(path, {"host": values})
        return path.read_text(encoding="utf-8")


def _take_state(stack: Stack, kit: Kit, progress: Progress) -> None:
    """The state, where there is none yet."""
    backend.ensure_state(progress)
    update.ensure_stack(stack, progress)
    is_there = bool(stack.state().get("resources"))
    exported = stack.pulumi("stack", "export").decode() if is_there else kit.state
    asking = _asking(exported, stack.settings().host.docker_host)
    # Of an earlier attempt, after which the machine was corrected in the stack file.
    if not is_there or json.loads(asking) != json.loads(exported):
        stack.pulumi("stack", "import", stdin=asking.encode())
    if not is_there:
        progress("the state: from the kit")
    # Containers, networks and volumes of the machine that is gone are not here; the secrets stay.
    state.refresh(stack)


@process.reads("pulumi")
def _asking(exported: str, docker_host: str) -> str:
    """An exported state whose provider asks this daemon: a refresh takes the address from the state, and not from the program."""
    document = json.loads(exported)
    for resource in document["deployment"].get("resources") or []:
        if "skyvern:host:DockerBackend$pulumi:providers:docker::" in resource["urn"]:
            for side in ("inputs", "outputs"):
                resource[side] = {**(resource.get(side) or {}), "host": docker_host}
    return json.dumps(document)
