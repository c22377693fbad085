"""Throw-away programs beside the checkout's: each with a folder, a state and a passphrase that end with the measurement."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.clients import process
from ops.clients.docker import Docker
from ops.machine import environment
from ops.paths import ROOT
from ops.stack import inventory
from ops.stack.outputs import Outputs, parse
from ops.stack.stack import Stack

UP_SECONDS = 1200
_PROJECT = "name: {name}\nruntime:\n  name: python\n  options:\n    toolchain: pip\n    virtualenv: .venv\n"
# Registers what a stack has by type and inputs: the SDKs that any program imports, but no component and no settings.
FLAT = """\
import json
import pulumi
import pulumi_docker
import pulumi_random

made = {}
for one in json.load(open("resources.json")):
    after = [made[urn] for urn in one["after"]]
    made[one["urn"]] = pulumi.CustomResource(one["type"], one["name"], one["inputs"], pulumi.ResourceOptions(depends_on=after))
"""


@dataclass(frozen=True)
class Program:
    """A Pulumi program in a folder with one stack."""

    folder: Path
    stack: str
    docker: Docker
    env: dict[str, str]

    def pulumi(self, *arguments: str) -> bytes:
        """Output of ``pulumi ARGUMENTS`` on its stack; UserError when it fails."""
        command = ["pulumi", *arguments, "--stack", self.stack]
        return process.capture(command, cwd=self.folder, env=self.env, timeout_seconds=UP_SECONDS)

    def create(self) -> "Program":
        """Creates the stack in the state."""
        process.capture(["pulumi", "stack", "init", self.stack, "--no-select"], cwd=self.folder, env=self.env)
        return self

    def outputs(self) -> Outputs:
        """The stack's outputs, secrets included."""
        return parse(self.stack, self.pulumi("stack", "output", "--json", "--show-secrets"))

    def export(self) -> dict[str, Any]:
        """The ``deployment`` of the state, secrets opened."""
        deployment: dict[str, Any] = json.loads(self.pulumi("stack", "export", "--show-secrets"))["deployment"]
        return deployment

    def remove(self) -> None:
        """Removes everything that the stack has, its data too."""
        self.pulumi("state", "unprotect", "--all", "--yes")
        self.pulumi("destroy", "--yes", "--skip-preview")

    @contextmanager
    def deployed(self) -> Iterator[None]:
        """What the program declares exists inside the block only."""
        try:
            self.pulumi("up", "--yes", "--skip-preview")
            yield
        finally:
            self.remove()


@dataclass(frozen=True)
class Workspace:
    """A folder of programs. stack: the checkout's own program, on a stack of that name."""

    folder: Path
    stack: Program

    @classmethod
    @contextmanager
    def temporary(cls, name: str, *, like: str) -> Iterator["Workspace"]:
        """A copy of the checkout with a stack file like another stack's, with a free port and without a language model."""
        folder = Path(tempfile.mkdtemp(prefix="skyvern-bench-"))
        try:
            checkout, state = folder / "checkout", folder / "state"
            state.mkdir()
            settings = Stack(like).settings()
            config = {
                "skyvern:host": {"docker_host": settings.host.docker_host, "port": free_port()},
                "skyvern:images": {"source": settings.images.source},
            }
            write_checkout(checkout, name, config)
            env = {
                **os.environ,
                **environment.for_engine(),
                "PULUMI_BACKEND_URL": f"file://{state}",
                "PULUMI_CONFIG_PASSPHRASE": secrets.token_hex(16),
            }
            # Before the passphrase itself, Pulumi would take the one of the user's own stacks.
            env.pop("PULUMI_CONFIG_PASSPHRASE_FILE", None)
            yield cls(folder, Program(checkout, name, Docker(settings.host.docker_host), env).create())
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def program(self, name: str, text: str) -> Program:
        """A program of its own project beside the checkout's."""
        folder = write_project(self.folder / name, text)
        env = {key: value for key, value in self.stack.env.items() if key != "PULUMI_OPTION_POLICY_PACK"}
        return Program(folder, name, self.stack.docker, env).create()

    def flat_program(self, name: str) -> Program:
        """A program that registers the resources of the stack without components, under names and a port of its own."""
        program = self.program(name, FLAT)
        port = str(free_port())
        resources = flatten(self.stack.export()["resources"])
        text = json.dumps(resources).replace(f"skyvern-{self.stack.stack}", f"skyvern-{name}")
        published = next(
            one.published[0][1] for one in inventory.containers(self.stack.docker, self.stack.stack) if one.published
        )
        text = text.replace(f'"external": {published}', f'"external": {port}')
        (program.folder / "resources.json").write_text(text)
        program.pulumi("config", "set", "docker:host", self.stack.docker.host)
        return program

    def run_script(self, text: str) -> None:
        """Runs a shell script; UserError when it fails. It may hold secrets, so it goes through a file that nobody else reads."""
        path = self.folder / "by-hand"
        path.touch(mode=0o600)
        path.write_text(text)
        process.capture(["bash", path], cwd=self.folder, timeout_seconds=UP_SECONDS)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def flatten(resources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Custom resources in order, each with the custom ones before it that it depends on; providers and components left out."""
    custom = [one for one in resources if one.get("custom") and not one["type"].startswith("pulumi:")]
    known = {one["urn"] for one in custom}
    return [
        {
            "urn": one["urn"],
            "type": one["type"],
            "name": one["urn"].rsplit("::", 1)[-1],
            "inputs": opened(one["inputs"]),
            "after": sorted(known & set(one.get("dependencies", []))),
        }
        for one in custom
    ]


def opened(value: Any) -> Any:
    """A value of an export with ``--show-secrets``, secrets as plain values and bridged providers' notes left out."""
    if isinstance(value, dict):
        if "plaintext" in value:
            return json.loads(value["plaintext"])
        return {key: opened(one) for key, one in value.items() if key != "__defaults"}
    return [opened(one) for one in value] if isinstance(value, list) else value


def write_project(folder: Path, text: str) -> Path:
    """A project of the folder's name with one program; returns the folder."""
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text(_PROJECT.format(name=folder.name))
    (folder / "__main__.py").write_text(text)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


def write_checkout(folder: Path, stack: str, config: Mapping[str, Any]) -> Path:
    """A copy of the checkout with a stack file of this configuration; returns the folder."""
    copy_checkout(folder)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    # JSON is YAML, and the engine writes the file anew with the stack's salt.
    (folder / f"Pulumi.{stack}.yaml").write_text(json.dumps({"config": config}))
    return folder


def copy_checkout(target: Path) -> None:
    """Copies the project as git has it, uncommitted files included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name, follow_symlinks=False)
