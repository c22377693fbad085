"""``ops``: the commands of a working day. Each has its own module; here they only get their names."""

import dataclasses
import json
import re
import sys
from collections.abc import Sequence
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import typer

from components.settings import SettingsError, reference, skyvern_settings
from ops import preview as previews
from ops import shell
from ops.automations import commands as automation_commands
from ops.automations import run as automation_run
from ops.automations.server import Server
from ops.backups import commands as backup_commands
from ops.backups import drill as backup_drill
from ops.clients import process, terminal
from ops.deploy import cluster, guard, kakao, sessions, takeover
from ops.deploy import database_upgrade as stack_database
from ops.deploy import init as stack_init
from ops.deploy import restore as stack_restore
from ops.deploy import rollback as stack_rollback
from ops.deploy import rotate as rotation
from ops.deploy import single as stack_single
from ops.errors import UserError
from ops.images import commands
from ops.machine import environment
from ops.observe import alerts, fleet
from ops.observe import doctor as doctor_run
from ops.observe import logs as stack_logs
from ops.observe import smoke as smoke_run
from ops.observe import status as stack_status
from ops.observe import version as project
from ops.preview import report
from ops.review import apply as reviewed
from ops.review import drift as stack_drift
from ops.review import pull_request
from ops.stack.option import DEV, StackOption, parse
from ops.stack.stack import Stack

app = typer.Typer(
    help="Day-two commands of the Skyvern stack.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
app.add_typer(pull_request.app, name="github", help="Steps of the workflows: comment, record, outcome.")
app.add_typer(commands.app, name="images", help="Container images: build, list, digest, advisories.")

app.add_typer(alerts.app, name="alerts", help="Messages about what goes wrong: test, list, silence, kakao.")
# Here, because it writes a stack file, and what observes a stack may not.
alerts.app.command("kakao")(kakao.add)
app.add_typer(backup_commands.app, name="backup", help="Sets of the database and the files: now, list, check, kit.")
app.add_typer(fleet.app, name="fleet", help="All stacks of the backend, a line each: status, doctor, cost, dashboard.")
app.add_typer(cluster.app, name="cluster", help="A Docker Swarm over several machines: init, join, status, drain, leave.")
app.add_typer(takeover.app, name="import", help="Take over another installation of Skyvern: compose.")
app.add_typer(automation_commands.app, name="automations", help="Workflows as files: list, pull, next.")

Unreviewed = Annotated[
    bool, typer.Option(guard.OVERRIDE, help="Proceed with changes that are not on main; see docs/pull-requests.md.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]


@app.command()
def smoke(
    stack: StackOption = DEV,
    as_json: AsJson = False,
    ca_file: Annotated[Path | None, typer.Option(help="Certificates (PEM) to trust in place of the system's.")] = None,
    connect_to: Annotated[str | None, typer.Option(help="ADDRESS:PORT where every public name leads.")] = None,
) -> None:
    """Check a running stack from outside: logins, keys, a workflow with its recording, a hostile page."""
    raise typer.Exit(smoke_run.main(stack, as_json=as_json, resolver=smoke_run.parse_resolver(ca_file, connect_to)))


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="Name of the automation's file, or a title or id of a workflow.")],
    stack: StackOption = DEV,
    param: Annotated[list[str] | None, typer.Option("--param", metavar="KEY=VALUE", help="A parameter; may be repeated.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it; exit 0 only if it completes.")] = False,
) -> None:
    """Start a workflow; with --watch, show its blocks until it ends."""
    raise typer.Exit(automation_run.run(Server.of(stack), name, param or [], watch=watch, say=typer.echo))


@app.command()
def rotate(
    what: Annotated[rotation.SecretName, typer.Argument(help="The secret to rotate.")],
    stack: StackOption = DEV,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before applying.")] = False,
    unreviewed: Unreviewed = False,
) -> None:
    """Rotate a secret: show what stops and the plan, apply it, and prove that the old one is refused."""
    rotation.rotate(what, stack, yes=yes, unreviewed=unreviewed)


@app.command()
def review(
    stack: StackOption = DEV,
    base: Annotated[str, typer.Option(help="Commit that the change is compared with, for the report.")] = "",
    output: Annotated[Path, typer.Option(help="Folder for preview.json, report.md and review-STACK.json.")] = Path("review"),
) -> None:
    """Preview a stack; write the report to read, and the record by which ops apply applies exactly that."""
    code, line = pull_request.write_review(stack, output, base=base)
    typer.echo(line, err=code != 0)
    raise typer.Exit(code)


@app.command()
def apply(
    record: Annotated[Path, typer.Option("--review", help="Record that ops review wrote.")],
    unreviewed: Unreviewed = False,
    outcome: Annotated[Path | None, typer.Option(help="File for the outcome, as Markdown.")] = None,
) -> None:
    """Preview again and apply if the plan is the reviewed one; then the smoke run. Otherwise refuse, with the differences."""
    reviewed.apply(record, unreviewed=unreviewed, outcome=outcome, progress=terminal.say)


@app.command()
def drift(
    stack: StackOption = DEV,
    as_json: AsJson = False,
    issue: Annotated[bool, typer.Option("--issue", help="Keep one issue on GitHub up to date; exit 2 becomes 0.")] = False,
) -> None:
    """Show differences from the state, and what is not in it. Changes nothing; exit 2 if there are any, 1 on errors."""
    difference = stack_drift.find(stack)
    code = stack_drift.exit_code(difference)
    document = json.dumps(dataclasses.asdict(difference), indent=2)
    typer.echo(document if as_json else "\n".join(stack_drift.lines(stack.name, difference)))
    if issue:
        typer.echo(pull_request.keep_issue(stack, difference), err=True)
    raise typer.Exit(0 if issue and code == 2 else code)


@app.command()
def rollback(
    stack: StackOption = DEV,
    with_data: Annotated[
        bool, typer.Option("--with-data", help="To before the last upgrade of Skyvern, and to the data of that moment.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Deploy the last commit whose smoke run was green; refused if the database was migrated since."""
    stack_rollback.rollback(stack, yes=yes, with_data=with_data)


@app.command(name="upgrade-database")
def upgrade_database(
    stack: StackOption = DEV,
    undo: Annotated[bool, typer.Option("--undo", help="Back to the PostgreSQL of before, and its data of then.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    unreviewed: Unreviewed = False,
) -> None:
    """Bring the data to this checkout's major of PostgreSQL: tried on a copy first, compared, and gone back from if it fails."""
    if undo:
        stack_database.undo(stack, yes=yes)
    else:
        stack_database.upgrade_database(stack, yes=yes, unreviewed=unreviewed)


@app.command()
def restore(
    name: Annotated[str | None, typer.Argument(metavar="SET", help="Of ops backup list; the newest by default.")] = None,
    stack: StackOption = DEV,
    kit: Annotated[Path | None, typer.Option(help="Recovery kit, on a machine that has nothing of the stack.")] = None,
    passphrase_file: Annotated[Path | None, typer.Option(help="File whose first line is the passphrase of the kit.")] = None,
    workflow: Annotated[str | None, typer.Option(metavar="ID", help="This workflow alone, into the stack as it is.")] = None,
    credential: Annotated[str | None, typer.Option(metavar="ID", help="This credential alone.")] = None,
    file: Annotated[str | None, typer.Option(metavar="PATH", help="This file alone: downloads/wr_1/report.pdf")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Put back what the last restore replaced.")] = False,
    discard_newer: Annotated[bool, typer.Option("--discard-newer", help="Also if the stack has runs after the set.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Make a set of the backup the stack's data: compared first, what it replaces is kept, schedules paused."""
    single = any(one is not None for one in (workflow, credential, file))
    if single and (undo or kit is not None):
        raise UserError("ops restore: --undo and --kit are for the whole stack; leave out --workflow, --credential and --file")
    if undo and (name is not None or kit is not None or discard_newer):
        raise UserError("ops restore: --undo puts back what the last restore replaced; leave out SET, --kit and --discard-newer")
    if kit is not None and discard_newer:
        raise UserError("ops restore: --kit is for a machine where nothing is newer; leave out --discard-newer")
    if passphrase_file is not None and kit is None:
        raise UserError("ops restore: --passphrase-file is of a kit; write --kit FILE as well, or leave it out")
    if undo:
        stack_restore.undo(stack, yes=yes)
    elif single:
        stack_single.bring_back(
            stack, name, workflow=workflow, credential=credential, file=file, discard_newer=discard_newer, progress=terminal.say
        )
    elif kit is not None:
        stack_restore.restore_from_kit(stack, kit, name, passphrase_file=passphrase_file, yes=yes)
    else:
        stack_restore.restore(stack, name, yes=yes, discard_newer=discard_newer)


@app.command()
def resume(stack: StackOption = DEV, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Show when the schedules that a restore paused would run next, and start them."""
    stack_restore.resume(stack, yes=yes)


@app.command()
def drill(
    stack: StackOption = DEV,
    record: Annotated[bool, typer.Option("--record", help="Write the day of a drill that passed into the stack file.")] = False,
) -> None:
    """Restore the newest set into throw-away containers without a network, compare it, and start Skyvern on it."""
    result = backup_drill.drill(stack, terminal.say)
    typer.echo(
        f"drill of set {result.set or '-'}: {result.verdict}, {result.seconds} s{f': {result.reason}' if result.reason else ''}"
    )
    if record and result.verdict == "passed":
        typer.echo(backup_drill.record(stack, result))
    raise typer.Exit(0 if result.verdict == "passed" else 1)


@app.command()
def status(stack: StackOption = DEV, as_json: AsJson = False) -> None:
    """Show what runs: containers, health, memory, disk, address. Also when the stack is down."""
    raise typer.Exit(stack_status.main(stack, json_wanted=as_json))


@app.command()
def logs(
    services: Annotated[list[str] | None, typer.Argument(help="Services, for example server gateway; all by default.")] = None,
    stack: StackOption = DEV,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue until Ctrl-C.")] = False,
    since: Annotated[str | None, typer.Option(help="Start time, for example 10m or 2026-01-31T09:00:00.")] = None,
    tail: Annotated[int | None, typer.Option(min=0, help="Number of last lines of each service.")] = None,
) -> None:
    """Show the logs of all services, merged by time, without secrets."""
    raise typer.Exit(stack_logs.main(stack, services or [], following=follow, since=since, tail=tail))


@app.command(name="end-sessions")
def end_sessions(stack: StackOption = DEV) -> None:
    """End every session of the UI: issued tokens are refused at once. Stops nothing; the UI logs in again by itself."""
    outputs = stack.outputs()
    sessions.end(outputs.docker(), outputs)
    typer.echo(f"stack {stack}: every session token issued until now is refused")


@app.command()
def doctor(stack: StackOption = DEV, as_json: AsJson = False) -> None:
    """Show what is wrong with the stack and its host, each with one fix. Changes nothing; exit 1 on errors."""
    raise typer.Exit(doctor_run.main(stack, json_wanted=as_json))


@app.command()
def preview(
    stacks: Annotated[
        list[Stack] | None, typer.Argument(parser=parse, metavar="STACK", help="Stacks, for example dev prod; dev by default.")
    ] = None,
    form: Annotated[previews.Format, typer.Option("--format", help="markdown for people, json for programs.")] = "markdown",
    output: Annotated[Path | None, typer.Option(help="File for the report instead of standard output.")] = None,
    drift: Annotated[bool, typer.Option("--drift/--no-drift", help="Also compare with what really runs.")] = True,
    base: Annotated[str, typer.Option(help="Commit that the change is compared with, for the report.")] = "",
    link: Annotated[str, typer.Option(help="Address of the whole report, shown where this one is trimmed.")] = "",
    limit: Annotated[
        int, typer.Option(min=0, help="Maximum length of the Markdown in characters; 0 for no limit.")
    ] = report.LIMIT,
    stored: Annotated[
        list[Path] | None, typer.Option("--from", help="Stored previews (--format json) instead of stacks.")
    ] = None,
) -> None:
    """Show what a change would do: losses, exposure, downtime, policies, drift. Exit 0 nothing, 2 changes, 3 policy, 1 error."""
    options = previews.Options(form=form, output=output, drift=drift, base=base, link=link, limit=limit)
    raise typer.Exit(previews.main(stacks or [], options, stored or []))


@app.command()
def init(
    stack: Annotated[Stack, typer.Argument(parser=parse, metavar="STACK", help="Stack, for example dev or prod.")],
    images_source: Annotated[str | None, typer.Option("--images", help="official or packages.")] = None,
    docker_host: Annotated[str | None, typer.Option(help="unix:///path/to/docker.sock")] = None,
    port: Annotated[str | None, typer.Option(help="Port of the gateway on 127.0.0.1.")] = None,
    timezone: Annotated[str | None, typer.Option(help="tz database name.")] = None,
    memory_mib: Annotated[str | None, typer.Option(help="Memory of Skyvern and its browsers.")] = None,
    cpus: Annotated[str | None, typer.Option(help="CPU cores of Skyvern.")] = None,
    llm: Annotated[str | None, typer.Option(help="Provider of the language model, or none.")] = None,
    model: Annotated[str | None, typer.Option(help="Model, as docs/configuration.md names it for the provider.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Of an openai-compatible server.")] = None,
    api_key_file: Annotated[str | None, typer.Option(help="File whose first line is the API key; - reads it from stdin.")] = None,
) -> None:
    """Ask for what a stack needs, test each answer, write the stack file. Options answer in advance."""
    options = {
        "--images": images_source,
        "--docker-host": docker_host,
        "--port": port,
        "--timezone": timezone,
        "--memory-mib": memory_mib,
        "--cpus": cpus,
        "--llm": llm,
        "--model": model,
        "--base-url": base_url,
    }
    given = {option: text for option, text in options.items() if text is not None}
    raise typer.Exit(stack_init.main(stack, given, api_key_file=api_key_file))


@app.command()
def version() -> None:
    """Print the versions of this project, the engine, the SDKs and Skyvern in one line."""
    try:
        printed = process.capture(["pulumi", "version"], env={**shell.variables(), **environment.for_engine()}).decode().strip()
        engine = f"engine {printed}"
    except UserError:
        engine = "no engine"
    sdks = ", ".join(f"{name} {metadata.version(name)}" for name in ("pulumi", "pulumi-docker", "pulumi-random"))
    python = f"Python {sys.version.split()[0]}"
    typer.echo(f"{project.NAME} {project.read()}; {engine}; {python}; {sdks}; Skyvern {skyvern_settings.SKYVERN_VERSION}")


@app.command(name="configuration")
def configuration_reference(
    language: Annotated[Literal["en", "ko"], typer.Option(help="ko prints the page of docs/ko.")] = "en",
    skyvern: Annotated[bool, typer.Option("--skyvern", help="docs/skyvern-settings.md: every setting of Skyvern.")] = False,
) -> None:
    """Print docs/configuration.md: every key of the stack file."""
    typer.echo((skyvern_settings if skyvern else reference).reference(language), nl=False)


def main() -> None:
    """Run a command; a wrong input ends in one line, with exit 1, or 2 for the command line itself."""
    try:
        terminal.begin()
        _refuse_empty(sys.argv[1:])
        code = app(prog_name="ops", standalone_mode=False)
        # What typer makes of every KeyboardInterrupt.
        sys.exit(terminal.interrupted_code() if code == 130 else code)
    except SettingsError as wrong:
        for line in wrong.lines:
            typer.echo(f"error: {line}", err=True)
        sys.exit(1)
    except (typer.Abort, KeyboardInterrupt):
        terminal.say("ops: interrupted", error=True)
        sys.exit(terminal.interrupted_code())
    except typer.TyperException as wrong:
        if line := _usage_line(wrong):
            typer.echo(line, err=True)
        sys.exit(2)
    except Exception as error:
        if line := terminal.line_of(error):
            terminal.say(f"error: {line}", error=True)
        sys.exit(1)


def _refuse_empty(words: Sequence[str]) -> None:
    """UserError for a word of a variable that is not set: it must not become a default, such as the newest set."""
    for before, word in pairwise(["ops", *words]):
        if not word or re.fullmatch("--[a-z-]+=", word):
            raise UserError(
                f"ops: what follows {word or before!r} is empty, as of a variable that is not set; write it, or leave it out"
            )


def _usage_line(wrong: typer.TyperException) -> str:
    """One line about a command line; "" where a command was left out, because then the help is printed."""
    context = getattr(wrong, "ctx", None)
    message = " ".join((wrong.format_message() if hasattr(wrong, "format_message") else str(wrong)).split())
    hint = f" (see {context.command_path} --help)" if context is not None else ""
    return f"error: {message.rstrip('.')}{hint}" if message else ""
