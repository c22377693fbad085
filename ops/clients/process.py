"""Runs other programs: one way to capture, to stream and to fail."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ops.errors import UserError


def capture(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout_seconds: float = 120,
) -> bytes:
    """Standard output of a command.

    Raises UserError with the command's name and the end of its standard error when it is missing, fails or takes longer
    than ``timeout_seconds``. Arguments are not repeated in the error: they may be secret.
    """
    name = Path(str(command[0])).name
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=None if env is None else dict(env),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
        )
    except FileNotFoundError as missing:
        raise UserError(f"{name}: not found on PATH; run script/bootstrap") from missing
    except subprocess.TimeoutExpired as late:
        raise UserError(f"{name}: no answer within {timeout_seconds:.0f} s") from late
    if done.returncode:
        lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise UserError(f"{name}: exit {done.returncode}: {' | '.join(lines[-3:])}")
    return done.stdout


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
    name = Path(str(command[0])).name
    arguments = [str(part) for part in command]
    environment = None if env is None else dict(env)
    try:
        if log is None:
            code = subprocess.run(arguments, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, check=False).returncode
        else:
            with private(log).open("wb") as sink:
                code = subprocess.run(
                    arguments,
                    cwd=cwd,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    check=False,
                ).returncode
    except FileNotFoundError as missing:
        raise UserError(f"{name}: not found on PATH; run script/bootstrap") from missing
    if code:
        tail = ""
        if log is not None:
            lines = log.read_text(errors="replace").strip().splitlines()[-5:]
            tail = f" (log: {log}): " + " | ".join(lines)
        raise UserError(f"{name}: exit {code}{tail}")


def private(log: Path) -> Path:
    """An empty file that only this user can read, whatever the umask: a build may print what is secret."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # One of an older version may be readable; one that is made with a mode never is, not even for a moment.
    log.unlink(missing_ok=True)
    os.close(os.open(log, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return log
