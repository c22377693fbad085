"""A Docker Swarm of three machines: it answers with what Docker 20.10 printed (recorded/swarm.json), and keeps what was asked.

The services of stack dev: gateway twice, its last update rolled back; server; backup, whose program ends with 3; artifacts, for
which there is no machine; monitor without its image; roles with 0 replicas. Names of machines are the test's: all three were one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ops.clients import process, swarm
from ops.clients.swarm import Swarm
from ops.errors import UserError
from ops.stack.stack import Stack

HOSTS = [f"ssh://deploy@{name}.example.net" for name in "abc"]
A, B, C = HOSTS
_FILE = f"""
config:
  skyvern:host: {{docker_host: "{A}", nodes: ["{B}", "{C}"], engine: swarm, shared_folder: /mnt/skyvern}}
  skyvern:database: {{url: {{secure: v1:x}}}}
  skyvern:edge: {{provider: ngrok, domain: abc.ngrok.app, authtoken: {{secure: v1:x}}}}
"""


@dataclass
class Engine:
    """What the daemons answer; a test changes it. silent: hosts without an answer. outputs: of ``docker exec``, by a word."""

    recorded: dict[str, Any] = field(
        default_factory=lambda: json.loads((Path(__file__).parent / "recorded/swarm.json").read_text())
    )
    silent: set[str] = field(default_factory=set)
    outputs: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def capture(self, command: Sequence[Any], **options: Any) -> bytes:
        """In place of process.capture: ``docker --host HOST ARGUMENTS``."""
        if command[0] == "sh":
            # Both streams of docker logs.
            command = command[4:]
        program, _, host, *arguments = map(str, command)
        assert program == "docker"
        if host in self.silent:
            raise UserError(f"docker: exit 1: Cannot connect to the Docker daemon at {host}")
        self.asked.append((host, *arguments))
        return self.answer(HOSTS.index(host), arguments).encode()

    def answer(self, machine: int, arguments: Sequence[str]) -> str:
        match list(arguments):
            case ["info", *_]:
                return json.dumps(self.recorded["info"][machine])
            case ["service", "ls", "--quiet", "--filter", wanted]:
                begin = wanted.removeprefix("name=") if wanted.startswith("name=") else "skyvern-dev-"
                return "\n".join(one["ID"][:12] for one in self.recorded["services"] if one["Spec"]["Name"].startswith(begin))
            case ["service", "inspect", *names]:
                return json.dumps([self.service(name) for name in names])
            case ["service", "ps", "--quiet", "--no-trunc", *ids]:
                return "\n".join(task["ID"] for task in self.recorded["tasks"] if task["ServiceID"] in ids)
            case ["inspect", "--type=task", *ids]:
                return json.dumps([task for task in self.recorded["tasks"] if task["ID"] in ids])
            case ["node", "ls", *_]:
                return str(self.recorded["nodes"])
            case ["container", "ls", *_]:
                return "\n".join(f"{one['Id']} {one['Name'][1:]}" for one in self.recorded["containers"][machine])
            case ["container", "inspect", *ids] | ["inspect", *ids]:
                return json.dumps([one for one in self.recorded["containers"][machine] if one["Id"] in ids])
            case ["exec", *words]:
                found = [output for word, output in self.outputs.items() if any(word in given for given in words)]
                return (found or [b""])[0].decode()
            case _:
                return ""

    def service(self, name: str) -> Any:
        """As ``docker service inspect`` prints it, by a name or an id."""
        found = [one for one in self.recorded["services"] if name == one["Spec"]["Name"] or one["ID"].startswith(name)]
        if not found:
            raise UserError(f"docker: exit 1: Error: no such service: {name}")
        return found[0]

    def tasks(self, part: str) -> list[Any]:
        """The tasks of a part, which a test may change."""
        service = self.service(f"skyvern-dev-{part}")["ID"]
        return [task for task in self.recorded["tasks"] if task["ServiceID"] == service]

    def swarm(self) -> Swarm:
        """As a command finds it."""
        return swarm.find(HOSTS)

    def said(self, *words: str) -> list[tuple[str, ...]]:
        """What was asked of a daemon and begins so, each with its host in front."""
        return [call for call in self.asked if call[1 : len(words) + 1] == words]


def stack_at(folder: Path) -> Stack:
    """Stack dev on this Swarm, with its file in a folder."""
    (folder / "Pulumi.dev.yaml").write_text(_FILE)
    return Stack("dev", folder)


def engine(monkeypatch: pytest.MonkeyPatch, changes: Mapping[str, Any] | None = None) -> Engine:
    """One that answers every docker command of the test."""
    made = Engine(**(changes or {}))
    monkeypatch.setattr(process, "capture", made.capture)
    return made
