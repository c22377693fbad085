"""``ops backup``: now, list, check, kit."""

import functools
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ops.backups import container, kit
from ops.clients import terminal
from ops.observe import alerts, backups
from ops.stack.inventory import MIB
from ops.stack.option import DEV, StackOption

app = typer.Typer(no_args_is_help=True)


@app.command("now")
def make_set(stack: StackOption = DEV) -> None:
    """Make a set of the database and the files now, and read it back from the repository."""
    typer.echo(container.make_set(stack, stack.docker()))


@app.command("list")
def list_sets(stack: StackOption = DEV) -> None:
    """Show the sets in the repository, the newest first."""
    now = datetime.now(UTC)
    rows = [
        (
            one.name,
            f"{one.at:%Y-%m-%d %H:%M} UTC",
            "in the future" if backups.is_ahead(one.at, now) else backups.age(max(0, int((now - one.at).total_seconds()))),
            f"{one.bytes / MIB:.1f} MiB",
            f"{one.added / MIB:.1f} MiB",
        )
        for one in container.sets(stack, stack.docker())
    ]
    typer.echo(terminal.table(("set", "made", "age", "content", "added to the repository"), rows) if rows else "no set yet")


@app.command("check")
def check(stack: StackOption = DEV) -> None:
    """Check the repository: its structure, and a tenth of its data read back."""
    typer.echo(container.ask(stack, stack.docker(), "check", timeout_seconds=container.LONG_SECONDS).strip())


@app.command("kit")
def make_kit(
    stack: StackOption = DEV,
    output: Annotated[Path | None, typer.Option(help="File for the kit, encrypted with a passphrase that gpg asks for.")] = None,
    passphrase_file: Annotated[Path | None, typer.Option(help="File whose first line is that passphrase.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Print the kit in plain text, to be put on paper.")] = False,
) -> None:
    """Make the recovery kit: with it and the repository alone, ops restore brings the stack back on a bare machine."""
    kit.make(stack, output=output, passphrase_file=passphrase_file, plain=plain, progress=typer.echo)
    # Not on standard output, where a plain kit is.
    alerts.record(stack, functools.partial(typer.echo, err=True))
