"""``ops import compose``: upstream's docker compose stack becomes the data of a stack, in three steps that can be repeated.

Look changes nothing. Rehearse fills a throw-away copy while the old stack goes on, migrates it and serves it without a network.
Switch does the same once more with the old server stopped, puts the copy in place as ``ops restore`` does, and leaves the old
stack stopped as it was. Until the new data is in place, whatever fails starts the old stack again.
Not here: what is read and converted (ops/backups/upstream.py).
"""

import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import typer

from components.host.backup import STATE_FOLDER
from components.host.volumes import SKYVERN_FOLDERS
from components.settings import S3Storage
from ops.backups import copies, drill, notes, upstream
from ops.backups.copies import Copy, Source
from ops.backups.upstream import Contents, Organization, Upstream
from ops.clients import compose, terminal
from ops.clients.compose import Container
from ops.clients.docker import Docker
from ops.clients.terminal import Progress, say
from ops.deploy import restore, update
from ops.errors import UserError, explained
from ops.stack import database
from ops.stack.option import DEV, StackOption
from ops.stack.stack import Stack

COMMAND = "ops import compose"
# For its runs; what has not ended by then is ended in the copy.
STOP_SECONDS = 60
# What a switch found, for one that comes after its kill.
FOUND_FILE = f"{STATE_FOLDER}/takeover.json"

app = typer.Typer(no_args_is_help=True)

Where = Annotated[
    str, typer.Argument(metavar="PROJECT", help="Name of the compose project, its folder, or its docker-compose.yml.")
]


@app.callback()
def group() -> None:
    """Take over what another installation of Skyvern has: compose."""


@app.command("compose")
def take_over(
    where: Where,
    stack: StackOption = DEV,
    rehearse: Annotated[bool, typer.Option("--rehearse", help="Try it on a throw-away copy; the old stack goes on.")] = False,
    switch: Annotated[bool, typer.Option("--switch", help="Stop the old stack and put its data in place.")] = False,
    organization: Annotated[
        str | None, typer.Option(metavar="ID", help="Which organisation, where the old stack has several.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the switch.")] = False,
) -> None:
    """Show what of upstream's docker compose stack comes along; then --rehearse, then --switch."""
    if rehearse and switch:
        raise UserError(f"{COMMAND}: --rehearse and --switch are separate steps; write one of them")
    with notes.alone(stack):
        source = copies.source(stack)
        old = upstream.of(source.docker, compose.find(source.docker, where))
        _refuse(source, old)
        if rehearse:
            _rehearse(source, old, organization)
        elif switch:
            _switch(source, old, organization, yes=yes)
        else:
            _look(source, old, organization)


# --- Refusals and questions -----------------------------------------------------------------------------------------------


def _refuse(source: Source, old: Upstream) -> None:
    """UserError for a stack that cannot take anything over."""
    stack = source.stack
    if stack.shared_folder:
        raise UserError(
            f"{COMMAND}: nothing was changed: stack {stack} runs on a Swarm, and what is taken over is on one machine; take over "
            "into a stack of another name on plain Docker, from which workflows come here as files (bin/ops automations pull "
            "NAME -s OTHER); its runs, recordings and credentials cannot (docs/cluster.md)"
        )
    if isinstance(source.settings.storage, S3Storage):
        raise UserError(
            f"{stack.file_name}: storage.type: is s3, which does not serve the files that come along; take over into a stack "
            "with type: local"
        )
    if not source.docker.has(stack.prefix("server")):
        raise UserError(f"stack {stack}: has no server on {source.docker.host}; run script/up --stack {stack} first")


def refuse_used(source: Source) -> None:
    """UserError for a stack with something of a person's in it, which a take-over would replace."""
    if kinds := restore.newer_data(source, datetime(1970, 1, 1, tzinfo=UTC)):
        stack = source.stack
        raise UserError(
            f"stack {stack} has {', '.join(kinds)}, which a take-over would replace; take over into a fresh stack (after an "
            f"earlier take-over: bin/ops restore --undo -s {stack})"
        )


def choose(old: Upstream, organizations: Sequence[Organization], wanted: str | None) -> Organization:
    """The organisation whose data the stack's key is to open; UserError where it is not clear which."""
    listed = ", ".join(f"{one.id} ({one.name}, {one.workflows} workflows, {one.runs} runs)" for one in organizations)
    by_id = {one.id: one for one in organizations}
    if wanted is not None:
        if wanted not in by_id:
            raise UserError(f"--organization: {wanted} is none of {listed or 'none'}")
        return by_id[wanted]
    # Upstream's image makes another one where it misses its file with the key.
    used = [one for one in organizations if one.workflows or one.runs] or organizations
    if len(used) == 1:
        return used[0]
    if not used or not terminal.attended():
        raise UserError(f"compose project {old.project.name}: write --organization and one of: {listed or 'none'}")
    say(f"compose project {old.project.name} has several organisations: {listed}")
    answer = input("Which one is to be opened by the stack's API key? ").strip()
    return choose(old, organizations, answer)


@contextmanager
def _answering(old: Upstream) -> Iterator[None]:
    """The old database, started for the time of the block if it does not run."""
    if old.database.running:
        yield
        return
    old.docker.run("start", old.database.name)
    try:
        database.until_ready(lambda: old.sql("SELECT 1"), copies.READY_SECONDS)
        yield
    finally:
        old.docker.run("stop", old.database.name)


# --- Look -----------------------------------------------------------------------------------------------------------------


def _look(source: Source, old: Upstream, wanted: str | None) -> None:
    if not old.database.running:
        raise UserError(
            f"compose project {old.project.name}: its database does not run, and a look starts nothing; run docker start "
            f"{old.database.name}, or look after --rehearse, which starts and stops it"
        )
    there = upstream.contents(old, source.references["backup"])
    _refuse_newer(source, there)
    chosen = choose(old, there.organizations, wanted)
    say(terminal.table(("what", "in the old stack", "comes along"), list(rows(source, old, there, chosen))))
    say(f"nothing was changed; next: {_again(source, old, wanted)} --rehearse, then --switch")


def _again(source: Source, old: Upstream, wanted: str | None) -> str:
    """The command for the next step."""
    organization = "" if wanted is None else f" --organization {wanted}"
    return f"bin/ops import compose {shlex.quote(old.project.name)} -s {source.stack}{organization}"


def _refuse_newer(source: Source, there: Contents) -> None:
    copies.refuse_newer(source, there.record, "use a version of this project with a newer one")


def rows(source: Source, old: Upstream, there: Contents, chosen: Organization) -> Iterator[tuple[str, str, str]]:
    """The table of the look: what, what there is of it, and whether it comes along and how."""
    stack, record, environment = source.stack, there.record, old.server.environment
    credentials, schedules, code = upstream.details(old, chosen.id, record.tables)
    version = f"PostgreSQL {record.postgres}, schema {record.schema}, {record.rows} rows"
    yield "database", version, "yes: dumped by its own pg_dump, migrated to this Skyvern"
    yield "organisation", f"{chosen.id} ({chosen.name})", "yes: gets the stack's id"
    yield "workflows, runs", f"{chosen.workflows}, {chosen.runs}", "yes: runs that have not ended are ended"
    for one in there.organizations:
        if one != chosen:
            there_is = f"{one.id} ({one.name}), {one.workflows} workflows, {one.runs} runs"
            yield "other organisation", there_is, "its rows do, but no key of the stack opens them"
    if schedules:
        yield "schedules", f"{schedules} on", f"yes: paused until bin/ops resume -s {stack}"
    if code and not source.settings.server.code_blocks:
        yield (
            "blocks of code",
            f"in {code} workflows",
            f"yes: refused in a run until {stack.file_name} has server.code_blocks: true",
        )
    for kind, count in sorted(credentials.items()):
        if kind == "skyvern":
            yield "credentials", f"{count} in its own vault", "yes: encrypted again with the stack's key"
        else:
            yield "credentials", f"{count} in {kind}", "no: only their names; enter them again"
    for folder in SKYVERN_FOLDERS:
        if folder in record.folders:
            yield folder, upstream.total(record.folders, folder), "yes"
        else:
            yield folder, "not in a volume or folder of the host", "no"
    if environment.get("SKYVERN_STORAGE_TYPE", "local") != "local":
        yield "object storage", environment["SKYVERN_STORAGE_TYPE"], "no: what is in buckets stays there, and is not shown"
    if environment.get("ENABLE_ENCRYPTION", "").lower() in {"1", "true"}:
        yield "encrypted settings", "ENABLE_ENCRYPTION", "no: enter tokens of other services again"
    yield "API key, SECRET_KEY", "", "no: the stack has its own; change the key in every program and webhook receiver"
    yield "address", "", "no: the stack's own; change it in every program"
    model = environment.get("LLM_KEY") or "not set"
    yield "language model", model, f"no: write llm into {stack.file_name}"
    others = sorted({one.service for one in old.project.containers} - {old.server.service, old.database.service})
    if others:
        yield "other services", ", ".join(others), "no: the stack has its own; they stop with the switch"


# --- Rehearse and switch --------------------------------------------------------------------------------------------------


def _rehearse(source: Source, old: Upstream, wanted: str | None) -> None:
    """Into a copy that is thrown away. The old stack goes on, so the copy may lack its last files."""
    docker, stack = source.docker, source.stack
    drill.clear(docker, stack, "drill")
    try:
        with _answering(old):
            there = upstream.contents(old, source.references["backup"])
            _refuse_newer(source, there)
            chosen = choose(old, there.organizations, wanted)
            _announce(there)
            fill = partial(_fill, old, chosen, final=False)
            with copies.filled(source, "drill", there.record, say, fill) as copy:
                paused = copies.quiet(copy, upstream.REASON)
                drill.serve(copy, say)
    finally:
        drill.clear(docker, stack, "drill")
    say(f"the copy is removed; {len(paused)} schedules would be paused, and nothing of either stack was changed")
    say(f"next: {_again(source, old, wanted)} --switch")


def _switch(source: Source, old: Upstream, wanted: str | None, *, yes: bool) -> None:
    docker, stack = source.docker, source.stack
    was = as_it_was(source, old)
    back = way_back(docker, old, was, stack)
    try:
        refuse_used(source)
    except UserError as failed:
        if was == old.project.containers:
            raise
        raise UserError(f"{failed}; an earlier switch has stopped the old stack; to go back: {back}") from failed
    restore.clear(source, say)
    stopped: list[Container] = []
    with _answering(old):
        there = upstream.contents(old, source.references["backup"])
        _refuse_newer(source, there)
        chosen = choose(old, there.organizations, wanted)
        _announce(there)
        question = f"stop compose project {old.project.name} and make its data that of stack {stack}? Its runs are ended"
        terminal.agree(COMMAND, question, yes=yes)

        def fill(copy: Copy, progress: Progress) -> None:
            upstream.copy_files(old, copy, final=False)
            progress("the files are copied; stopping the old stack for what has come since")
            remember(source, was)
            stop(old, was, stopped)
            _fill(old, chosen, copy, progress, final=True)

        try:
            stamp = restore.replace(source, there.record, say, fill, upstream.REASON)
        except BaseException:
            # In the order in which compose would: what the others wait for has not stopped.
            for one in reversed(stopped):
                docker.run("start", one.name)
            if stopped:
                say(f"compose project {old.project.name} runs again")
            raise
        if old.database.running:
            docker.run("stop", old.database.name)
    for one in old.project.containers:
        docker.run("update", "--restart=no", one.name)
    with explained(lambda failed: f"{failed}; the old stack is as it was: {back}"):
        restore.wait(stack, docker, stamp)
        green, count = update.run_smoke(stack.outputs(), say)
    say(f"stack {stack} has the data of compose project {old.project.name}; smoke: {green} of {count} green")
    say(f"programs need the new key: pulumi stack output api_key --show-secrets -s {stack}")
    say(f"the old stack has stopped and stays so; to go back: {back}")
    if green < count:
        raise UserError(f"{COMMAND}: the data is in place, and {count - green} checks are not green; see above")


def _announce(there: Contents) -> None:
    record = there.record
    say(f"{record}: {record.rows} rows, {record.files} files")


def _fill(old: Upstream, chosen: Organization, copy: Copy, progress: Progress, *, final: bool) -> None:
    upstream.copy_database(old, copy)
    # Until the old server has stopped, its rows go on.
    if final:
        progress(f"the database has arrived: {upstream.compare_tables(old, copy)} rows, as in the old one")
    upstream.copy_files(old, copy, final=final)
    upstream.convert(old, copy, chosen.id, progress)


def as_it_was(source: Source, old: Upstream) -> tuple[Container, ...]:
    """The old stack's containers as they are, or as a switch found them that was killed after it had stopped them.

    One that has been started since is as it is.
    """
    noted = json.loads(notes.read(source.stack, source.docker, source.references["backup"], FOUND_FILE) or "[]")
    found = {(one["name"], one["started"]): one for one in noted}
    return tuple(
        replace(one, running=known["running"], restart=known["restart"]) if (known := found.get((one.name, one.started))) else one
        for one in old.project.containers
    )


def remember(source: Source, was: Sequence[Container]) -> None:
    """Notes what ``as_it_was`` reads."""
    noted = [{"name": one.name, "started": one.started, "running": one.running, "restart": one.restart} for one in was]
    notes.write(source.stack, source.docker, source.references["backup"], FOUND_FILE, json.dumps(noted) + "\n")


def stop(old: Upstream, was: Sequence[Container], stopped: list[Container]) -> None:
    """Stops the old stack but for its database. stopped: gets each that ran, at once, for whoever starts them again."""
    for one in _in_order(old, was):
        if one.running and one.name != old.database.name:
            stopped.append(one)
            try:
                old.docker.run("stop", f"--time={STOP_SECONDS}", one.name, timeout_seconds=STOP_SECONDS + 60)
            except KeyboardInterrupt:
                # The daemon goes on with it, and what is started before that is over stops then.
                old.docker.wait_until_stopped(one.name, timeout_seconds=STOP_SECONDS + 60)
                raise


def _in_order(old: Upstream, was: Sequence[Container]) -> list[Container]:
    """As they stop: who uses the others first, the database last."""
    return sorted(was, key=lambda one: (one.name == old.database.name, one.name != old.server.name))


def way_back(docker: Docker, old: Upstream, was: Sequence[Container], stack: Stack) -> str:
    """Commands that put the old stack back into service and give the stack what it had before."""
    program = f"docker --host {shlex.quote(docker.host)}"
    policies: dict[str, list[str]] = {}
    for one in was:
        policies.setdefault(one.restart, []).append(one.name)
    commands = [f"{program} update --restart={policy} {' '.join(names)}" for policy, names in policies.items() if policy != "no"]
    if any(one.running for one in was):
        # The others need the database, also where a switch has found it stopped.
        ran = [one.name for one in _in_order(old, was) if one.running or one.name == old.database.name]
        commands.append(f"{program} start {' '.join(reversed(ran))}")
    return " && ".join([f"bin/ops restore --undo --yes -s {stack}", *commands])
