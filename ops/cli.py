"""``ops``: the commands of a working day. Each lives in a module of its own; here they only get their names."""

import os
import sys
from importlib import metadata
from typing import Annotated

import typer

from components.settings import SettingsError
from ops import configuration, images, process
from ops import doctor as doctor_run
from ops import logs as stack_logs
from ops import smoke as smoke_run
from ops import status as stack_status
from ops.bootstrap import engine_environment
from ops.errors import UserError

app = typer.Typer(
    help="Day-two commands of the Skyvern stack.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
app.add_typer(images.app, name="images", help="Container images: build, list, digest.")

Stack = Annotated[str, typer.Option("--stack", "-s", help="Stack, for example dev.")]


@app.command()
def smoke(
    stack: Stack = "dev", as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of lines.")] = False
) -> None:
    """Check a running stack from outside: logins, keys, a workflow with its recording, a hostile page."""
    raise typer.Exit(smoke_run.main(stack, as_json=as_json))


@app.command()
def status(
    stack: Stack = "dev", as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False
) -> None:
    """What runs: containers, health, memory, disk, address. Also when the stack is down."""
    raise typer.Exit(stack_status.main(stack, json_wanted=as_json))


@app.command()
def logs(
    services: Annotated[list[str] | None, typer.Argument(help="Services, for example server gateway; all by default.")] = None,
    stack: Stack = "dev",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    since: Annotated[str | None, typer.Option(help="From when on, for example 10m or 2026-01-31T09:00:00.")] = None,
    tail: Annotated[int | None, typer.Option(min=0, help="The last lines of each service.")] = None,
) -> None:
    """Logs of all services, merged by time, without secrets."""
    raise typer.Exit(stack_logs.main(stack, services or [], following=follow, since=since, tail=tail))


@app.command()
def doctor(
    stack: Stack = "dev", as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False
) -> None:
    """What is wrong with the stack and its host, each with one fix. Changes nothing; exit 1 on errors."""
    raise typer.Exit(doctor_run.main(stack, json_wanted=as_json))


@app.command()
def version() -> None:
    """Engine, SDKs and Skyvern that work together here, in one line."""
    engine = process.capture(["pulumi", "version"], env={**os.environ, **engine_environment()}).decode().strip()
    sdks = ", ".join(f"{name} {metadata.version(name)}" for name in ("pulumi", "pulumi-docker", "pulumi-random"))
    typer.echo(f"engine {engine}; Python {sys.version.split()[0]}; {sdks}; Skyvern {images.SKYVERN_VERSION}")


@app.command(name="configuration")
def configuration_reference() -> None:
    """Print docs/configuration.md: every key of the stack file."""
    typer.echo(configuration.reference(), nl=False)


def main() -> None:
    """Run a command; a wrong input ends in one line and exit 1."""
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except SettingsError as wrong:
        for line in wrong.lines:
            typer.echo(f"error: {line}", err=True)
        sys.exit(1)
