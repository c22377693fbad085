"""The terminal: steps with times, tables, questions, commands that run in front of a person, and the end of each program."""

import argparse
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from ops import ownership, shell, switched_off
from ops.clients import process
from ops.errors import UserError
from ops.paths import ROOT, cache_dir

# Prints one line about work that goes on.
Progress = Callable[[str], None]


# What ends a command as Ctrl-C does: a shutdown, kill or timeout, and a terminal that is closed.
_ENDS = (signal.SIGTERM, signal.SIGHUP)
# The first of them that has come.
_ended: list[int] = []
_terminals: list[TextIO] = []


def say(line: str, *, error: bool = False) -> None:
    """Prints a line at once, also into a pipe. error: on standard error.

    Where the terminal was closed or the reader has ended, the command goes on: it may be putting back what it had stopped.
    """
    stream = sys.stderr if error else sys.stdout
    try:
        print(line, file=stream, flush=True)
    except OSError as failed:
        if failed.errno not in {errno.EIO, errno.EPIPE}:
            raise
        mute(stream)


def mute(stream: TextIO) -> None:
    """Nobody reads a stream any more. Python writes out the rest at its end, and would complain in lines of its own."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def listen() -> None:
    """From here on, a signal that would end this program at once is a KeyboardInterrupt, so that it cleans up.

    One that is ignored stays so, as SIGHUP under nohup.
    """
    # Of one that was closed, it cannot be asked any more.
    _terminals[:] = [stream for stream in (sys.stdout, sys.stderr) if stream.isatty()]
    for number in _ENDS:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    """Once: shell and kernel both report a closed terminal, and a clean-up is not to be cut off."""
    if _ended:
        return
    _ended.append(number)
    if number == signal.SIGHUP:
        for stream in _terminals:
            mute(stream)
    raise KeyboardInterrupt


def interrupted_code() -> int:
    """The exit code after an interruption, as a shell counts: 130 after Ctrl-C."""
    return 128 + (_ended[0] if _ended else signal.SIGINT)


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
        say(f"[{self.number}/{self.total}] {name} ...")
        began = time.monotonic()
        yield lambda line: say(f"      {line}")
        say(f"      done in {time.monotonic() - began:.0f} s")

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
    operations behind. What else ends this program is passed on as Ctrl-C, once, because Pulumi takes a second signal for a kill.
    """
    ended: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def end(number: int, frame: FrameType | None) -> None:
        if child is not None and not ended and not (number == signal.SIGTERM and _went_to_all(witness)):
            child.send_signal(signal.SIGINT)
        ended.append(number)

    # It ends with this program, whatever becomes of that.
    witness = subprocess.Popen(["cat"], env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    # A function, not SIG_IGN, which the command would inherit.
    previous = {signal.SIGINT: signal.signal(signal.SIGINT, lambda number, frame: None)}
    previous |= {number: signal.signal(number, end) for number in _ENDS if signal.getsignal(number) == _end}
    try:
        if signal.SIGHUP in previous:
            # The command has it ignored, and all that it starts: a terminal that is closed would kill it in the middle of a step.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        child = subprocess.Popen(command, cwd=folder, env=env, stdin=None if ask else subprocess.DEVNULL)
        if signal.SIGHUP in previous:
            signal.signal(signal.SIGHUP, end)
        if ended:
            child.send_signal(signal.SIGINT)
        code = child.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        witness.kill()
        witness.communicate()
    if ended:
        _end(ended[0], None)
    return code


def _went_to_all(witness: subprocess.Popen[bytes]) -> bool:
    """Whether a signal ended another program of this process group as well, as that of ``timeout``, systemd and a shutdown."""
    try:
        witness.wait(0.5)
    except subprocess.TimeoutExpired:
        return False
    return True


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
    """What every command line does first.

    It listens for signals, refuses what switches a check off, and takes out what the stack file decides.
    """
    listen()
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
            mute(sys.stdout)
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
    """How every command line ends: 0, 1 after one line for what went wrong, or as ``interrupted_code`` says.

    program: as the person typed it. resume: what to do after an interruption.
    """
    try:
        begin()
        work()
    except KeyboardInterrupt:
        say(f"{program}: interrupted; {resume}", error=True)
        return interrupted_code()
    except Exception as error:
        if line := line_of(error):
            say(line, error=True)
        return 1
    return 0
