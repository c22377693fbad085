"""Keeps the local Vercel in step with the world: builds and serves each deployment, and ends those that were deleted."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.standins.providers import World
from lab.standins.providers import vercel as standin
from lab.standins.providers.world import Data
from lab.standins.vercel import build
from ops.errors import UserError

# The settings of a project that its build depends on, under the names of project.json.
BUILD_SETTINGS = ("buildCommand", "framework", "installCommand", "nodeVersion", "outputDirectory", "rootDirectory")


def hosts(data: Data) -> dict[str, dict[str, Any]]:
    """Every name that leads to a deployment: its id, and whether Vercel asks for an account of the team first."""
    vercel = data["vercel"]
    names = [deployment["url"] for deployment in vercel["deployments"].values()]
    names += [*vercel["domains"], *(f"{project['name']}.vercel.app" for project in vercel["projects"].values())]
    served = {name: standin.served(data, name) for name in names}
    return {name: {"id": host.deployment["id"], "protected": host.protected} for name, host in served.items() if host is not None}


class LocalVercel:
    """All deployments of a world on one port of loopback.

    folder: for the builds and ``status.json``, which is the world's ``builds``. port: plain HTTP.
    domain: its names lead to ``edge`` (address and port of its TLS) when a deployment asks for them. ca_file: the authority that
    deployments trust.
    """

    def __init__(self, world: World, folder: Path, *, port: int, domain: str, edge: tuple[str, int], ca_file: Path) -> None:
        self.world = world
        self.folder = folder
        self._command = ["node", str(Path(__file__).parent / "platform.mjs"), str(port), domain, edge[0], str(edge[1])]
        self._ca_file = ca_file
        self._process: subprocess.Popen[str] | None = None
        self._outputs: dict[str, Path] = {}
        self._failures: dict[str, str] = {}
        self._sent: dict[str, Any] | None = None

    def start(self) -> None:
        """Builds and serves all deployments. UserError if the port is taken or Node.js does not run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_status({})
        environment = {**os.environ, "NODE_EXTRA_CA_CERTS": str(self._ca_file)}
        with (self.folder / "vercel.log").open("a") as log:
            self._process = subprocess.Popen(
                self._command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self._expect("listening")
        with self.world.edit() as data:
            data["vercel"]["builds"] = str(self._status)
        self.follow()

    @property
    def pid(self) -> int:
        """The process that runs the deployments, each in a thread."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """Ends all deployments."""
        with self.world.edit() as data:
            data["vercel"].pop("builds", None)
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def follow(self) -> None:
        """Builds and serves the present deployments of the world. A failed build changes nothing else and is not repeated."""
        data = self.world.read()
        for identifier, deployment in data["vercel"]["deployments"].items():
            if identifier not in self._outputs and identifier not in self._failures:
                self._build(deployment, data["vercel"]["projects"][deployment["projectId"]])
        data = self.world.read()
        present: dict[str, Data] = data["vercel"]["deployments"]
        for gone in [identifier for identifier in self._outputs if identifier not in present]:
            shutil.rmtree(self._outputs.pop(gone), ignore_errors=True)
        serving = {
            identifier: {"output": str(folder), "variables": present[identifier]["variables"]}
            for identifier, folder in self._outputs.items()
        }
        wanted = {"deployments": serving, "hosts": {name: host for name, host in hosts(data).items() if host["id"] in serving}}
        if wanted == self._sent:
            return
        self._send(wanted)
        self._sent = wanted
        failed = {identifier: why for identifier, why in self._failures.items() if identifier in present}
        self._write_status({**dict.fromkeys(serving, "ready"), **failed})

    def _build(self, deployment: Data, project: Data) -> None:
        work = self.folder / deployment["id"]
        shutil.rmtree(work, ignore_errors=True)
        settings = {name: project.get(name) for name in BUILD_SETTINGS}
        try:
            standin.unpack(self.world, deployment, work / "project")
            output = build.build(work / "project", settings, deployment["variables"], work)
            # The files that it was built from are large and no longer needed; nor is the output of an earlier process.
            kept = self.folder / f"{deployment['id']}.output"
            shutil.rmtree(kept, ignore_errors=True)
            self._outputs[deployment["id"]] = output.rename(kept)
            self._promote(deployment)
        except UserError as failed:
            self._failures[deployment["id"]] = str(failed)
            self._sent = None
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _promote(self, deployment: Data) -> None:
        """Leads its project's domains to the new deployment; until then they lead to the one before."""
        with self.world.edit() as data:
            vercel = data["vercel"]
            if deployment.get("production") and deployment["id"] in vercel["deployments"]:
                vercel["projects"][deployment["projectId"]]["production"] = deployment["id"]

    @property
    def _status(self) -> Path:
        return self.folder / "status.json"

    def _write_status(self, status: Mapping[str, str]) -> None:
        partial = self._status.with_suffix(".partial")
        partial.write_text(json.dumps(status))
        partial.replace(self._status)

    def _send(self, wanted: Mapping[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        self._expect("serving")

    def _expect(self, answer: str) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != answer:
            raise UserError(f"rehearsal: the local Vercel ended (log: {self.folder}/vercel.log)")
