"""Throw-away programs beside the checkout's: each with a folder, a state and a passphrase that are removed afterwards."""

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
# Registers the resources of a stack by type and inputs: with the SDKs that any program imports, but no component and no settings.
FLAT = """\
import json
import pulumi
import pulumi_docker
import pulumi_random

made = {}
for known in json.load(open("resources.json")):
    options = pulumi.ResourceOptions(depends_on=[made[urn] for urn in known["after"]])
    made[known["urn"]] = pulumi.CustomResource(known["type"], known["name"], known["inputs"], options)
"""
# A policy pack that judges nothing: the interpreter, the SDK and questions for each resource are all that it costs.
EMPTY_PACK = """\
from pulumi_policy import PolicyPack, StackValidationPolicy

PolicyPack("empty", [StackValidationPolicy("nothing", "Judges nothing", lambda arguments, report: None)])
"""


@dataclass(frozen=True)
class Program:
    """A Pulumi program in a folder with one stack."""

    folder: Path
    stack: str
    docker: Docker
    env: dict[str, str]

    def pulumi(self, *arguments: str) -> bytes:
        """Output of ``pulumi ARGUMENTS`` on its stack; UserError if it fails."""
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
        """The ``deployment`` of the state, with its secrets in plain text."""
        deployment: dict[str, Any] = json.loads(self.pulumi("stack", "export", "--show-secrets"))["deployment"]
        return deployment

    def remove(self) -> None:
        """Removes all resources of the stack, with their data."""
        self.pulumi("state", "unprotect", "--all", "--yes")
        self.pulumi("destroy", "--yes", "--skip-preview")

    @contextmanager
    def deployed(self) -> Iterator[None]:
        """Deploys the program; its resources exist inside the block only."""
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
        """A copy of the checkout, with a stack file like another stack's but a free port and no language model."""
        folder = Path(tempfile.mkdtemp(prefix="skyvern-bench-"))
        try:
            checkout, state = folder / "checkout", folder / "state"
            state.mkdir()
            settings = Stack(like).settings()
            config = {
                "skyvern:host": {"docker_host": settings.host.docker_host, "port": free_port(), "internet": False},
                "skyvern:images": {"source": settings.images.source},
            }
            write_checkout(checkout, name, config)
            env = {
                **os.environ,
                **environment.for_engine(),
                "PULUMI_BACKEND_URL": f"file://{state}",
                "PULUMI_CONFIG_PASSPHRASE": secrets.token_hex(16),
            }
            # Pulumi would use the passphrase file of the user's own stacks before PULUMI_CONFIG_PASSPHRASE.
            env.pop("PULUMI_CONFIG_PASSPHRASE_FILE", None)
            yield cls(folder, Program(checkout, name, Docker(settings.host.docker_host), env).create())
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def program(self, name: str, text: str) -> Program:
        """A program in a separate project beside the checkout's."""
        folder = write_project(self.folder / name, text)
        env = {key: value for key, value in self.stack.env.items() if key != environment.POLICY_PACK}
        return Program(folder, name, self.stack.docker, env).create()

    def flat_program(self, name: str) -> Program:
        """A program that registers the resources of the stack without components, under other names and another port."""
        program = self.program(name, FLAT)
        port = str(free_port())
        resources = flatten(self.stack.export()["resources"])
        text = json.dumps(resources).replace(f"skyvern-{self.stack.stack}", f"skyvern-{name}")
        containers = inventory.containers(self.stack.docker, self.stack.stack)
        published = next(container.published[0][1] for container in containers if container.published)
        text = text.replace(f'"external": {published}', f'"external": {port}')
        (program.folder / "resources.json").write_text(text)
        program.pulumi("config", "set", "docker:host", self.stack.docker.host)
        return program


def free_port() -> int:
    """A port of loopback on which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def flatten(resources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Custom resources in order, each with the custom resources that it depends on; without providers and components."""
    custom = [resource for resource in resources if resource.get("custom") and not resource["type"].startswith("pulumi:")]
    known = {resource["urn"] for resource in custom}
    return [
        {
            "urn": resource["urn"],
            "type": resource["type"],
            "name": resource["urn"].rsplit("::", 1)[-1],
            # Docker chooses the subnets: those of the stack are in use beside these.
            "inputs": {key: value for key, value in opened(resource["inputs"]).items() if key != "ipamConfigs"},
            "after": sorted(known & set(resource.get("dependencies", []))),
        }
        for resource in custom
    ]


def opened(value: Any) -> Any:
    """A value of an export with ``--show-secrets``: secrets as plain values, without the notes of bridged providers."""
    if isinstance(value, dict):
        if "plaintext" in value:
            return json.loads(value["plaintext"])
        return {key: opened(item) for key, item in value.items() if key != "__defaults"}
    return [opened(item) for item in value] if isinstance(value, list) else value


def write_project(folder: Path, text: str, kind: str = "Pulumi.yaml") -> Path:
    """A project or, by the name of its file, a policy pack, with the folder's name and one program; returns the folder."""
    folder.mkdir()
    (folder / kind).write_text(_PROJECT.format(name=folder.name))
    (folder / "__main__.py").write_text(text)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


def write_checkout(folder: Path, stack: str, config: Mapping[str, Any]) -> Path:
    """A copy of the checkout with a stack file of this configuration; returns the folder."""
    copy_checkout(folder)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    # JSON is YAML, and the engine rewrites the file with the stack's salt.
    (folder / f"Pulumi.{stack}.yaml").write_text(json.dumps({"config": config}))
    return folder


def copy_checkout(target: Path) -> None:
    """Copies the project as git has it, uncommitted files included.

    Without the salt that ``script/up`` wrote into a stack file: it belongs to the passphrase of this checkout's own state.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name, follow_symlinks=False)
    for file in target.glob("Pulumi.*.yaml"):
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(line for line in lines if not line.startswith("encryptionsalt:")))
