"""The terminal: steps with times, tables, questions, commands that run in front of a person, and the end of each program."""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from ops import ownership, shell, switched_off
from ops.clients import process
from ops.errors import UserError
from ops.paths import ROOT, cache_dir

# Prints one line about work that goes on.
Progress = Callable[[str], None]


def say(line: str) -> None:
    """Prints a line at once, also into a pipe."""
    print(line, flush=True)


def title(line: str) -> None:
    """Shows one line in the title of the terminal's window, where nothing draws over it."""
    print(f"\x1b]2;{line}\x07", end="", flush=True)


class Steps:
    """Prints ``[2/5] Pulumi and images`` before each step and how long it took after it."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.number = 0
        self.started = time.monotonic()

    @contextmanager
    def step(self, name: str) -> Iterator[Progress]:
        """One step; the value prints a line of it."""
        self.number += 1
        print(f"[{self.number}/{self.total}] {name} ...", flush=True)
        began = time.monotonic()
        yield lambda line: print(f"      {line}", flush=True)
        print(f"      done in {time.monotonic() - began:.0f} s", flush=True)

    @property
    def seconds(self) -> float:
        """Since the first step."""
        return time.monotonic() - self.started


def attended() -> bool:
    """Whether a person can be asked here."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def need_answer(command: str, *, yes: bool, about: str = "") -> None:
    """UserError where a command needs a yes, and there is neither ``--yes`` nor a terminal to ask on.

    about: what needs it, as a clause (``prod needs confirmation``).
    """
    if not yes and not attended():
        raise UserError(f"{command}: {f'{about} and ' if about else ''}there is no terminal to ask on; add --yes")


def confirm(question: str) -> bool:
    """Asks the person at the terminal; anything but yes, and the end of the input, is no."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        return False


def agree(command: str, question: str, *, yes: bool) -> None:
    """Asks before a command changes something; UserError for a no, and as ``need_answer``. yes: need not be asked."""
    need_answer(command, yes=yes)
    if not yes and not confirm(question):
        raise UserError(f"{command}: nothing was changed")


def run_attended(command: Sequence[str], *, env: Mapping[str, str], ask: bool, folder: Path = ROOT) -> int:
    """Runs a command on this terminal and returns its exit code.

    ask: it may read answers from the terminal. folder: where it runs.

    Ctrl-C goes to the command alone, which then finishes the step it is in: a Pulumi that is killed instead leaves pending
    operations behind.
    """
    # A function, not SIG_IGN, which the command would inherit.
    previous = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        return subprocess.Popen(command, cwd=folder, env=env, stdin=None if ask else subprocess.DEVNULL).wait()
    finally:
        signal.signal(signal.SIGINT, previous)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, two spaces apart, nothing after the last cell of a line."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


class Parser(argparse.ArgumentParser):
    """A command line whose mistakes are one line."""

    def error(self, message: str) -> NoReturn:
        """Ends the program with 2."""
        self.exit(2, f"{self.prog}: {' '.join(message.split())} (see {self.prog} --help)\n")


def begin() -> None:
    """What every command line does first: refuses what switches a check off, takes out what the stack file decides."""
    if not Path(os.environ.get("HOME", "/")).is_absolute():
        raise UserError("HOME: is not set to a folder; run: export HOME=/home/you")
    # Python looks for another one by itself; docker, git, Go and the engine fail in the middle.
    folder = os.environ.get("TMPDIR")
    if folder and not (Path(folder).is_absolute() and Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise UserError(f"TMPDIR: {ownership.shown(Path(folder))} is not a folder that can be written to; run: unset TMPDIR")
    switched_off.check()
    shell.clean()


def line_of(error: Exception) -> str:
    """The line that ends a command, whatever went wrong; "" where nobody reads any more.

    An error that nobody has foreseen is a fault of ours: its details go to a file that only this user can read.
    """
    match error:
        case UserError():
            return str(error)
        case BrokenPipeError():
            # Python writes out the rest at its end, and would complain about that in lines of its own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ""
        case OSError():
            return ownership.line_of(error)
    log = cache_dir() / "logs" / "fault.log"
    try:
        # Here for start time: script/env, which every shell evaluates, prints none.
        import traceback

        process.private(log).write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="replace")
    except OSError as failed:
        return ownership.line_of(failed)
    return f"{type(error).__name__}: a fault of this program and not of yours; please report it with {log}"


def run_main(program: str, work: Callable[[], None], *, resume: str = "run it again to continue") -> int:
    """How every command line ends: 0, 1 after one line for what went wrong, or 130 after Ctrl-C.

    program: as the person typed it. resume: what to do after an interruption.
    """
    try:
        begin()
        work()
    except KeyboardInterrupt:
        print(f"{program}: interrupted; {resume}", file=sys.stderr)
        return 130
    except Exception as error:
        if line := line_of(error):
            print(line, file=sys.stderr)
        return 1
    return 0
