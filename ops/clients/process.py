"""Runs other programs: one way to capture, to stream and to fail."""

import functools
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from ops import shell
from ops.errors import UserError

Given = ParamSpec("Given")
Answer = TypeVar("Answer")
BETWEEN_LINES = " | "


def capture(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout_seconds: float = 120,
    any_code: bool = False,
) -> bytes:
    """Standard output of a command.

    env: what the shell has and a child may see by default (ops/shell.py). any_code: a command that prints what it found and then
    fails because of it; what it printed is given as well.
    Raises UserError with the command's name and the end of its standard error when it is missing, fails or takes longer
    than ``timeout_seconds``. Arguments are not repeated in the error: they may be secret.
    """
    name = Path(command[0]).name
    try:
        done = _run(
            command,
            cwd=cwd,
            env=env,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout_seconds,
        )
    except subprocess.TimeoutExpired as late:
        raise UserError(f"{name}: no answer within {timeout_seconds:.0f} s") from late
    if done.returncode and not (any_code and done.stdout):
        raise _failed(command, done.returncode, done.stderr or done.stdout)
    return done.stdout


def _failed(command: Sequence[str | Path], code: int, printed: bytes) -> UserError:
    lines = printed.decode(errors="replace").strip().splitlines()
    said = BETWEEN_LINES.join(lines[-3:])
    if code < 0:
        # Where memory runs out, Linux sends SIGKILL, and a program cannot say so.
        name = signal.strsignal(-code) or f"signal {-code}"
        why = "; is memory left (free -m)?" if -code == signal.SIGKILL else ""
        return UserError(f"{Path(command[0]).name}: was ended by a signal ({name}){f': {said}' if said else why}")
    return UserError(f"{Path(command[0]).name}: exit {code}: {said or 'it printed nothing'}")


def lines_of(failed: str) -> list[str]:
    """The lines of a program, from what an error says of it."""
    return failed.split(BETWEEN_LINES)


def _not_found(command: Sequence[str | Path]) -> UserError:
    return UserError(f"{Path(command[0]).name}: not found on PATH; run script/bootstrap")


def stream(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> None:
    """Runs a long command with its output on the terminal, or in ``log`` when one is given.

    Raises UserError when it is missing or fails; with ``log`` the error names the file and shows its last lines.
    """
    with nullcontext() if log is None else private(log).open("wb") as sink:
        output = {} if sink is None else {"stdout": sink, "stderr": subprocess.STDOUT}
        code = _run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, **output).returncode
    if code:
        tail = ""
        if log is not None:
            lines = log.read_text(errors="replace").strip().splitlines()[-5:]
            tail = f" (log: {log}): " + " | ".join(lines)
        raise UserError(f"{Path(command[0]).name}: exit {code}{tail}")


def pipe(
    source: Sequence[str | Path], target: Sequence[str | Path], *, env: Mapping[str, str] | None = None, timeout_seconds: float
) -> None:
    """Runs two commands, what the first prints being the input of the second; UserError as ``capture``'s if one of them fails.

    timeout_seconds: of both together. Where both fail, the error is the second's: the first lost its reader.
    """
    env = shell.variables() if env is None else env
    with tempfile.TemporaryFile() as errors:
        try:
            # Its end closes what the first still writes to, and waits for it.
            with subprocess.Popen(source, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as first:
                try:
                    second = _run(target, env=env, stdin=first.stdout, capture_output=True, timeout=timeout_seconds)
                except BaseException:
                    first.kill()
                    raise
        except subprocess.TimeoutExpired as late:
            raise UserError(f"{Path(target[0]).name}: no answer within {timeout_seconds:.0f} s") from late
        except (FileNotFoundError, PermissionError) as missing:
            raise _not_found(source) from missing
        errors.seek(0)
        if second.returncode:
            raise _failed(target, second.returncode, second.stderr or second.stdout)
        if first.returncode:
            raise _failed(source, first.returncode, errors.read())


def reads(program: str) -> Callable[[Callable[Given, Answer]], Callable[Given, Answer]]:
    """For a function that reads what a program prints: UserError where that has another form, as a wrapper's.

    What was printed is not repeated: it may be secret.
    """

    def told(function: Callable[Given, Answer]) -> Callable[Given, Answer]:
        @functools.wraps(function)
        def read(*arguments: Given.args, **options: Given.kwargs) -> Answer:
            try:
                return function(*arguments, **options)
            except (ValueError, LookupError, TypeError, AttributeError) as unfit:
                raise UserError(
                    f"{program}: printed something that cannot be read; is another program of that name first on PATH? "
                    f"(command -v {program})"
                ) from unfit

        return read

    return told


def _run(command: Sequence[str | Path], *, env: Mapping[str, str] | None, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Runs a command to its end; UserError if there is no such program, or none that may be started."""
    try:
        return subprocess.run(command, check=False, env=shell.variables() if env is None else env, **options)
    except (FileNotFoundError, PermissionError) as missing:
        raise _not_found(command) from missing


def private(log: Path) -> Path:
    """An empty file that only this user can read, whatever the umask: a build may print what is secret."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # One of an older version may be readable; one that is made with a mode never is, not even for a moment.
    log.unlink(missing_ok=True)
    os.close(os.open(log, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return log
