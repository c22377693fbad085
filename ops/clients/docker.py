"""The docker CLI, always with the name of the daemon: an ambient DOCKER_HOST or docker context never chooses it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops import shell
from ops.clients import process
from ops.errors import UserError

# Python in a container: -I takes no module from the folder in which it runs, which may be one that a page's browser can write to.
PYTHON = ("python3", "-I", "-c")
# Of a throw-away container, as far as all of them have it in common.
HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges:true")


def unreachable(host: str, printed: str) -> str:
    """That a daemon could not be asked, as a clause, from what the docker command printed; "" where it was."""
    if "permission denied while trying to connect" in printed:
        return f"this user may not use {host}"
    if "Cannot connect to the Docker daemon" in printed or "error during connect" in printed:
        # Of SSH, what the other machine or the way there said.
        _, _, said = printed.partition("stderr=")
        return f"no daemon answers at {host}{f' ({said.strip()})' if said else ''}"
    return ""


@dataclass(frozen=True)
class Docker:
    """A Docker daemon, addressed as ``unix:///var/run/docker.sock``."""

    host: str

    def command(self, *arguments: str | Path) -> list[str]:
        """The command line for ``docker ARGUMENTS`` on this daemon."""
        return ["docker", "--host", self.host, *(str(argument) for argument in arguments)]

    def environment(self) -> dict[str, str]:
        """The process environment without the variables by which docker picks another daemon, platform or builder."""
        return shell.variables()

    def run(self, *arguments: str | Path, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
        """Output of ``docker ARGUMENTS`` as text; UserError when it fails."""
        return self.run_bytes(*arguments, stdin=stdin, timeout_seconds=timeout_seconds).decode(errors="replace")

    def run_with(self, variables: Mapping[str, str], *arguments: str | Path, timeout_seconds: float = 120) -> str:
        """``run`` with values for ``--env NAME``: an argument with a secret would show in the process list."""
        env = {**self.environment(), **variables}
        return self._capture(arguments, env=env, timeout_seconds=timeout_seconds).decode(errors="replace")

    def run_bytes(self, *arguments: str | Path, stdin: bytes | None = None, timeout_seconds: float = 120) -> bytes:
        """Output of ``docker ARGUMENTS`` as bytes; UserError when it fails."""
        return self._capture(arguments, env=self.environment(), stdin=stdin, timeout_seconds=timeout_seconds)

    def _capture(self, arguments: Sequence[str | Path], **options: Any) -> bytes:
        """UserError with what to do where no daemon answers: Docker's own words are long and name no cure."""
        try:
            return process.capture(self.command(*arguments), **options)
        except UserError as failed:
            if problem := unreachable(self.host, str(failed)):
                raise UserError(f"Docker: {problem}; bin/ops doctor says what to do") from failed
            raise

    def pipe(self, variables: Mapping[str, str], source: Sequence[str], target: Sequence[str], *, timeout_seconds: float) -> None:
        """Two docker commands, what the first prints being the input of the second; UserError when one fails.

        variables: of both, for ``--env NAME``.
        """
        env = {**self.environment(), **variables}
        process.pipe(self.command(*source), self.command(*target), env=env, timeout_seconds=timeout_seconds)

    def has(self, name: str, *, running: bool = False) -> bool:
        """Whether there is a container of this name, or one that runs."""
        every = () if running else ("--all",)
        return bool(self.run("ps", *every, "--quiet", "--filter", f"name=^{name}$").strip())

    def logs(self, name: str, *flags: str) -> str:
        """The output of a container, both streams: nginx, Skyvern and Caddy write to standard error."""
        command = self.command("logs", *flags, name)
        return process.capture(["sh", "-c", 'exec "$@" 2>&1', "sh", *command], env=self.environment()).decode(errors="replace")

    @process.reads("docker")
    def inspect(self, name: str) -> dict[str, Any]:
        """``docker inspect`` of one object; UserError when it does not exist."""
        documents: list[dict[str, Any]] = json.loads(self.run("inspect", name))
        return documents[0]
