"""``ops alerts``: tries the channels of a stack's monitor, and shows what is open. Changes nothing."""

import typer

from ops.errors import UserError
from ops.stack.option import DEV, StackOption
from ops.stack.stack import Stack

app = typer.Typer(no_args_is_help=True)
# Several channels, each of which may take its time to refuse.
ANSWER_SECONDS = 180


@app.command("test")
def try_channels(stack: StackOption = DEV) -> None:
    """Send a message to each channel of monitor.channels."""
    typer.echo(ask(stack, "test"))


@app.command("list")
def show(stack: StackOption = DEV) -> None:
    """Show what is wrong at the moment, and what waits to be sent."""
    typer.echo(ask(stack, "list") or "nothing is open")


def ask(stack: Stack, what: str) -> str:
    """What the monitor's own program prints; UserError without a monitor or channels, and where a channel fails."""
    settings = stack.settings().monitor
    if settings.channels is None:
        raise UserError(
            f"{stack.file_name}: monitor.channels: is missing; set it with `pulumi config set --secret --path monitor.channels "
            f"-s {stack}` (docs/monitoring.md)"
        )
    docker, name = stack.docker(), stack.prefix("monitor")
    if not docker.has(name, running=True):
        raise UserError(f"stack {stack}: {name} does not run; run script/up --stack {stack}")
    return docker.run("exec", name, "monitor-alerts", what, timeout_seconds=ANSWER_SECONDS).strip()
