"""The stack's backup container, asked from outside: the sets of its repository, a set now, a check."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ops.clients import process
from ops.clients.docker import Docker
from ops.errors import UserError, explained
from ops.stack.stack import Stack

PROGRAM = "skyvern-backup"
# How its lines begin; what is before them is docker's.
SAYS = "backup: "
LONG_SECONDS = 12 * 3600.0
ASK_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class BackupSet:
    """A set in the repository. bytes: of what is in it. added: what it took in the repository, compressed."""

    name: str
    at: datetime
    bytes: int
    added: int


def parse_sets(text: str) -> list[BackupSet]:
    """Sets from ``skyvern-backup list``, the newest first."""
    documents: list[dict[str, Any]] = json.loads(text)
    return [
        BackupSet(name=one["set"], at=datetime.fromtimestamp(one["time"], UTC), bytes=int(one["bytes"]), added=int(one["added"]))
        for one in documents
    ]


def ask(stack: Stack, docker: Docker, *arguments: str, timeout_seconds: float = ASK_SECONDS) -> str:
    """Output of ``skyvern-backup ARGUMENTS`` in the running container; UserError with its one line if it fails."""
    name = stack.prefix("backup")
    if not docker.has(name, running=True):
        raise UserError(
            f"stack {stack}: {name} does not run; write backup into {stack.file_name} (docs/backup.md), then script/up "
            f"--stack {stack}"
        )
    with explained(lambda failed: f"backup of stack {stack}: {clause(failed)}"):
        return docker.execute(name, PROGRAM, *arguments, timeout_seconds=timeout_seconds)


def clause(failed: UserError) -> str:
    """What the program said of itself, without docker's words around it."""
    text = str(failed)
    return text.rpartition(SAYS)[2] if SAYS in text else text


@process.reads("docker")
def sets(stack: Stack, docker: Docker) -> list[BackupSet]:
    """The complete sets, the newest first; UserError when the repository does not answer."""
    return parse_sets(ask(stack, docker, "list"))


def make_set(stack: Stack, docker: Docker) -> str:
    """Makes a set now and waits for it: the line that describes it. UserError with the reason when there is none."""
    said = ask(stack, docker, "now", timeout_seconds=LONG_SECONDS)
    return next((line.removeprefix(SAYS) for line in reversed(said.splitlines()) if line.startswith(f"{SAYS}set ")), said.strip())
