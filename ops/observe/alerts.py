"""``ops alerts``: tries the channels of a stack's monitor, shows what is open, silences a cause. Changes nothing else.

Also here: what the commands on the host know and the monitor cannot see is noted with it (``record``).
"""

import json
import re
from typing import Annotated

import typer

from components.settings import NoBackup, set_secret
from ops.clients.terminal import Progress
from ops.errors import UserError
from ops.stack import kits
from ops.stack.option import DEV, StackOption
from ops.stack.secrets import last_change
from ops.stack.stack import Stack

app = typer.Typer(no_args_is_help=True)
# Several channels, each of which may take its time to refuse.
ANSWER_SECONDS = 180
_UNITS = {"m": 60, "h": 3600, "d": 86400}
# Longer, it would be forgotten: what is to stay so has a setting.
LONGEST_DAYS = 30


@app.command("test")
def try_channels(stack: StackOption = DEV) -> None:
    """Send a message to each channel of monitor.channels."""
    typer.echo(ask(stack, "test"))


@app.command("list")
def show(stack: StackOption = DEV) -> None:
    """Show what is wrong at the moment, what is silenced, and what waits to be sent."""
    typer.echo(ask(stack, "list") or "nothing is open")


@app.command("silence")
def silence(
    cause: Annotated[str, typer.Argument(help="A cause as `ops alerts list` shows it, or its first word.")] = "all",
    stack: StackOption = DEV,
    lasting: Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 7d.")] = "2h",
    end: Annotated[bool, typer.Option("--end", help="End the silence before its time.")] = False,
) -> None:
    """Send nothing about a cause for a while. What is still wrong at the end is sent then."""
    seconds = 0 if end else parse_time(lasting)
    try:
        typer.echo(ask(stack, "silence", cause, str(seconds)))
    except UserError as refused:
        # The monitor knows the causes; its line is enough.
        _, known, line = str(refused).partition(f": exit 1: {cause}: ")
        raise UserError(f"ops alerts silence: {cause}: {line}") if known else refused from None


def parse_time(text: str) -> int:
    """Seconds of ``30m``, ``2h`` or ``7d``; UserError for anything else."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= LONGEST_DAYS * _UNITS["d"]:
        raise UserError(f'ops alerts silence: --for: "{text}" is not a time up to {LONGEST_DAYS} days; write 30m, 2h or 7d')
    return seconds


def ask(stack: Stack, *question: str) -> str:
    """What the monitor's own program prints; UserError without a monitor or channels, and where it fails."""
    settings = stack.settings().monitor
    if settings.channels is None:
        raise UserError(
            f"{stack.file_name}: monitor.channels: is missing; {set_secret('monitor.channels', stack.name)} (docs/monitoring.md)"
        )
    docker, name = stack.docker(), stack.prefix("monitor")
    if not docker.has(name, running=True):
        raise UserError(f"stack {stack}: {name} does not run; run script/up --stack {stack}")
    return docker.execute(name, "monitor-alerts", *question, timeout_seconds=ANSWER_SECONDS).strip()


def record(stack: Stack, say: Progress) -> None:
    """Notes with the monitor when the newest secret and the last recovery kit were made; without channels or backup nothing.

    What cannot be noted is a line and no error: what called this is done.
    """
    settings = stack.settings()
    if settings.monitor.channels is None or isinstance(settings.backup, NoBackup):
        return
    try:
        times = {"secrets": last_change(stack.state()), "kit": kits.made_at(stack)}
        noted = {name: None if at is None else at.isoformat() for name, at in times.items()}
        ask(stack, "record", json.dumps(noted))
    except UserError as failed:
        say(f"the monitor does not know of the recovery kit: {failed}")
