"""A throw-away project behind the real engine."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ops.machine.engine_from_modules import Engine
from ops.paths import ROOT
from ops.stack.stack import Stack
from tests.support import terminal


class OwnStack(Stack):
    """The stack of a throw-away project, as the commands see one of the product's."""

    def refuse_foreign(self, deployment: Mapping[str, Any], url: str = "") -> None:
        """It is another project's by intent (tests/engine/test_backend.py has one that is refused)."""


class Project:
    """A project, a file backend and a passphrase, all in one temporary folder, with one stack called ``test``."""

    def __init__(self, engine: Engine, folder: Path, program: str, variables: Mapping[str, str] | None = None) -> None:
        """``variables``: more of the environment, or others than the engine's."""
        self.folder, self.timeout_seconds = folder / "project", 120
        self.folder.mkdir()
        (folder / "state").mkdir()
        (self.folder / "Pulumi.yaml").write_text(
            f"name: tiny\nruntime:\n  name: python\n  options:\n    toolchain: pip\n    virtualenv: {sys.prefix}\n"
        )
        self.program(program)
        # The daemon is a double, if there is any, and nothing asks a real one: a stack of that name may run on it.
        (folder / "bin").mkdir()
        command = f"exec {shlex.quote(sys.executable)} -P -m lab.standins.providers.docker_command"
        (folder / "bin/docker").write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} {command} "$@"\n')
        (folder / "bin/docker").chmod(0o755)
        # Nothing of the caller's stack, and no PULUMI_OPTION_* of theirs, reaches this one.
        base = {key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")}
        self.variables = {
            **engine.variables({**base, "PATH": f"{folder}/bin:{base['PATH']}"}),
            "PULUMI_BACKEND_URL": f"file://{folder}/state",
            "PULUMI_CONFIG_PASSPHRASE": "only a test",
            **(variables or {}),
        }
        self.succeed("stack", "init", "test")

    def program(self, text: str) -> None:
        (self.folder / "__main__.py").write_text(text)

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """``pulumi ARGUMENTS``; standard error is part of standard output, as on a terminal."""
        command = ["pulumi", *arguments, "--non-interactive", "--color", "never"]
        return terminal.run(command, cwd=self.folder, env=self.variables, timeout_seconds=self.timeout_seconds)

    def succeed(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def fail(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode != 0, done.stdout
        return done.stdout
