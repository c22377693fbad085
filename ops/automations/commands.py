"""``ops automations``: list, pull, next."""

import datetime
import io
from pathlib import Path
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from components.settings.automations import FOLDER, NAME
from ops.automations.server import Server
from ops.clients import terminal
from ops.errors import UserError
from ops.paths import write_whole
from ops.stack.option import DEV, StackOption
from skyvern_provider.kinds import RESERVED, exported, name_of

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_automations(stack: StackOption = DEV) -> None:
    """Show the workflows of the files and of the server, and which were edited in the UI."""
    server = Server.of(stack)
    there = {workflow["workflow_permanent_id"]: workflow for workflow in server.workflows()}
    rows = []
    for name in stack.settings().automations.files:
        workflow = there.pop(server.managed(name), None)
        rows.append((name, *_state(server, workflow)))
    rows += [("-", workflow["title"], str(workflow["version"]), "only in the UI") for workflow in there.values()]
    typer.echo(terminal.table(("file", "title", "version", "state"), rows) if rows else "no automation yet")


def _state(server: Server, workflow: dict[str, Any] | None) -> tuple[str, str, str]:
    if workflow is None:
        return "-", "-", "not deployed"
    applied, version = server.applied(workflow["workflow_permanent_id"]), int(workflow["version"])
    edited = f"edited in the UI: version {version}, recorded {applied}" if version > applied else "as recorded"
    return str(workflow["title"]), str(version), edited


@app.command("next")
def next_ticks(
    stack: StackOption = DEV, count: Annotated[int, typer.Option("--count", min=1, max=50, help="Ticks of each schedule.")] = 5
) -> None:
    """Show when the schedules on the server run next, in their own time zones."""
    server, now = Server.of(stack), datetime.datetime.now(datetime.UTC)
    rows = []
    for schedule in server.pages("/v1/schedules", "schedules"):
        name = str(schedule.get("name") or "-").removeprefix(RESERVED)
        when = (_ticks(schedule, now, count), schedule["timezone"]) if schedule.get("enabled") else ("paused", "")
        rows.append((str(schedule["workflow_title"]), name, *when))
    typer.echo(terminal.table(("workflow", "schedule", "next", "time zone"), rows) if rows else "no schedule")


def _ticks(schedule: dict[str, Any], now: datetime.datetime, count: int) -> str:
    """The next ones; what the server says of a schedule that a file cannot have: once, an interval, ``@daily``."""
    # Here for start time: every command of ops would load croniter.
    from components.automations import cron

    try:
        ticks = cron.next_ticks(schedule.get("cron_expression") or "", schedule["timezone"], now, count)
    except ValueError:
        return str(schedule.get("next_run") or "-")
    return ", ".join(f"{tick:%m-%d %H:%M}" for tick in ticks)


@app.command("pull")
def pull(
    workflow: Annotated[str, typer.Argument(help="Name of a file, title, or id (wpid_...).")],
    stack: StackOption = DEV,
    name: Annotated[str, typer.Option("--as", help="Name of the file; that of the workflow's own file by default.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Write a workflow of the server as a file, as it is in the UI now."""
    server = Server.of(stack)
    typer.echo(pull_file(server, stack.root, workflow, name or workflow, force=force))


def pull_file(server: Server, root: Path, workflow: str, name: str, *, force: bool) -> str:
    """Writes the file and returns what to do next; UserError if there is no such workflow, or the file exists."""
    if not NAME.fullmatch(name):
        raise UserError(f"{name}: is not a name for a file; add --as NAME in lower case, digits and hyphens")
    # Here for start time: every command of ops would load Jinja and the schema's library.
    from components.automations import files

    found = server.find(workflow)
    path = root / FOLDER / f"{name}.yaml"
    if path.exists() and not force:
        raise UserError(
            f"{FOLDER}/{name}.yaml: exists; add --force to replace it (git shows the difference), or --as for another name"
        )
    document: dict[str, Any] = {"workflow": files.tidied(exported(found)), **_only_in_the_file(path)}
    if profile := _browser_profile(server, document["workflow"]):
        document["browser_profile"] = profile
    if found.get("folder_id"):
        folder = server.ask("GET", f"/v1/folders/{found['folder_id']}") or {}
        document |= {"folder": folder["title"]} if folder.get("title") else {}
    if credentials := _credentials(server, document["workflow"]):
        document["credentials"] = credentials
    schedules = (server.ask("GET", f"/v1/workflows/{found['workflow_permanent_id']}/schedules") or {}).get("schedules", [])
    listed = {
        name_of(schedule.get("name"), schedule["workflow_schedule_id"]): _schedule(schedule)
        for schedule in schedules
        if schedule.get("cron_expression")
    }
    if listed:
        document["schedules"] = listed
    yaml, text = YAML(), io.StringIO()
    yaml.width = 120
    yaml.dump(document, text)
    path.parent.mkdir(exist_ok=True)
    write_whole(path, text.getvalue())
    if found["workflow_permanent_id"] == server.managed(name):
        server.note_pulled(found)
        return f"wrote {FOLDER}/{name}.yaml; git shows the difference, and the next update applies it"
    return (
        f"wrote {FOLDER}/{name}.yaml; add {name} to automations.files of the stack file. A credential that was made in the UI "
        "is in it by its id, which only this stack has"
    )


def _only_in_the_file(path: Path) -> dict[str, Any]:
    """What a file that is replaced says and no server knows."""
    try:
        before = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (OSError, YAMLError, ValueError):
        return {}
    return {key: before[key] for key in ("cell", "minutes_by_hand") if isinstance(before, dict) and key in before}


def _browser_profile(server: Server, workflow: dict[str, Any]) -> str:
    """The name of the saved profile, in place of its id, which only this stack has; empty without one."""
    identifier = workflow.get("browser_profile_id")
    profile = server.ask("GET", f"/v1/browser_profiles/{identifier}") if identifier else None
    if not profile or not profile.get("name"):
        return ""
    del workflow["browser_profile_id"]
    return str(profile["name"])


def _credentials(server: Server, workflow: dict[str, Any]) -> dict[str, str]:
    """Those of the stack file by name, in place of their ids; one that was made in the UI keeps its id."""
    names = {}
    for parameter in workflow["workflow_definition"]["parameters"]:
        identifier = parameter.get("credential_id")
        credential = server.ask("GET", f"/v1/credentials/{identifier}") if identifier else None
        name = str((credential or {}).get("name", ""))
        if name.startswith(RESERVED):
            names[parameter["key"]] = name.removeprefix(RESERVED)
            del parameter["credential_id"]
    return names


def _schedule(schedule: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"cron": schedule["cron_expression"], "timezone": schedule["timezone"]}
    if schedule.get("parameters"):
        made["parameters"] = schedule["parameters"]
    return made if schedule.get("enabled") else {**made, "enabled": False}
