"""Commands as a terminal shows them: both streams in one, nothing to read."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def run(
    command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str], timeout_seconds: float
) -> "subprocess.CompletedProcess[str]":
    """Runs it to its end, whatever its exit code."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
