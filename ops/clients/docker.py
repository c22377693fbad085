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
    """A Docker daemon, addressed as ``unix:///var/run/docker.sock``.

    What is asked of a part by its name goes by ``locate``: other engines know it by another name, or on another machine
    (ops/clients/swarm.py).
    """

    host: str

    @property
    def opened(self) -> tuple[str, ...]:
        """What a command in a part's container begins with, so that it has the variables of the part's own program."""
        return ()

    def locate(self, name: str) -> tuple["Docker", str]:
        """Where a part runs: the daemon of its machine, and its container there. Here, whether it runs or not."""
        return self, name

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

    def image_of(self, name: str) -> tuple[str, str] | None:
        """The image that a part is made from, running or not: its reference, and what ``docker run`` takes for the very same one.

        None if there is no such part.
        """
        if not self.has(name):
            return None
        document = self.inspect(name)
        return document["Config"]["Image"], document["Image"]

    def has_run(self, name: str, image: str) -> bool:
        """Whether a part has been started from an image, as the last that it was made from."""
        found = self.image_of(name)
        return found is not None and found[0] == image

    def environment_of(self, name: str) -> list[str]:
        """``NAME=value`` of a part's program, secrets among them; UserError if there is no such part."""
        elements: list[str] = json.loads(self.run("inspect", "--format", "{{json .Config.Env}}", name))
        return elements

    def execute(self, name: str, *command: str, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
        """Output of a command in a part's container as text; UserError when it fails or the part does not run."""
        daemon, arguments = self._executing(name, command, stdin)
        return daemon.run(*arguments, stdin=stdin, timeout_seconds=timeout_seconds)

    def execute_bytes(self, name: str, *command: str, stdin: bytes | None = None, timeout_seconds: float = 120) -> bytes:
        """The same as bytes."""
        daemon, arguments = self._executing(name, command, stdin)
        return daemon.run_bytes(*arguments, stdin=stdin, timeout_seconds=timeout_seconds)

    def _executing(self, name: str, command: Sequence[str], stdin: bytes | None) -> tuple["Docker", list[str]]:
        daemon, container = self.locate(name)
        return daemon, ["exec", *([] if stdin is None else ["--interactive"]), container, *self.opened, *command]

    def stop_part(self, name: str, *, timeout_seconds: float) -> None:
        """Stops a part, and waits until it has ended; UserError if that takes longer."""
        self.run("stop", name, timeout_seconds=timeout_seconds)

    def wait_until_stopped(self, name: str, *, timeout_seconds: float) -> None:
        """Waits for the end of a stop that was begun, and begins none: by a second one, the server ends its runs at once."""
        self.run("wait", name, timeout_seconds=timeout_seconds)

    def start_part(self, name: str) -> None:
        """Starts a part that was stopped."""
        self.run("start", name)

    def remove_part(self, name: str) -> None:
        """Stops a part and takes it away; the next update makes it again."""
        self.run("stop", "--time", "30", name, timeout_seconds=120)
        self.run("rm", "--force", name)

    @property
    def plain(self) -> "Docker":
        """The one daemon that runs what is no part of a stack, such as a copy of its data."""
        return self

    @property
    def daemons(self) -> "list[Docker]":
        """The daemons of all machines that answer."""
        return [self]

    def has(self, name: str, *, running: bool = False) -> bool:
        """Whether there is a container of this name, or one that runs."""
        every = () if running else ("--all",)
        return bool(self.run("ps", *every, "--quiet", "--filter", f"name=^{name}$").strip())

    def logs(self, name: str, *flags: str) -> str:
        """The output of a container, both streams: nginx, Skyvern and Caddy write to standard error."""
        daemon, container = self.locate(name)
        command = daemon.command("logs", *flags, container)
        return process.capture(["sh", "-c", 'exec "$@" 2>&1', "sh", *command], env=self.environment()).decode(errors="replace")

    @process.reads("docker")
    def inspect(self, name: str) -> dict[str, Any]:
        """``docker inspect`` of one object; UserError when it does not exist."""
        documents: list[dict[str, Any]] = json.loads(self.run("inspect", name))
        return documents[0]
