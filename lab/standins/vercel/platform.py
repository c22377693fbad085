"""Keeps the local Vercel like the world: builds each deployment that is there, serves it, and ends one that was deleted."""

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

# What project.json calls the settings of a project that its build depends on.
BUILD_SETTINGS = ("buildCommand", "framework", "installCommand", "nodeVersion", "outputDirectory", "rootDirectory")


def hosts(data: Data) -> dict[str, dict[str, Any]]:
    """Every name that leads to a deployment: its id, and whether Vercel asks for an account of the team first."""
    there = data["vercel"]
    names = [one["url"] for one in there["deployments"].values()]
    names += [*there["domains"], *(f"{project['name']}.vercel.app" for project in there["projects"].values())]
    found = {name: standin.served(data, name) for name in names}
    return {name: {"id": one.deployment["id"], "protected": one.protected} for name, one in found.items() if one is not None}


class LocalVercel:
    """All deployments of a world on one port of loopback.

    folder: for the builds and ``status.json``, which is the world's ``builds``. port: plain HTTP.
    domain: whose names lead to ``edge`` (address and port of its TLS) when a deployment asks for them. ca_file: what it trusts.
    """

    def __init__(self, world: World, folder: Path, *, port: int, domain: str, edge: tuple[str, int], ca_file: Path) -> None:
        self.world = world
        self.folder = folder
        self._command = ["node", str(Path(__file__).parent / "platform.mjs"), str(port), domain, edge[0], str(edge[1])]
        self._ca_file = ca_file
        self._process: subprocess.Popen[str] | None = None
        self._outputs: dict[str, Path] = {}
        self._failures: dict[str, str] = {}
        self._told: dict[str, Any] | None = None

    def start(self) -> None:
        """Builds and serves what there is. UserError when the port is taken or Node.js does not run."""
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
        """Of the process that runs the deployments, each in a thread."""
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
        """Builds and serves what the world has now. A build that fails leaves the rest as it is, and is not tried again."""
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
        wanted = {"deployments": serving, "hosts": {name: one for name, one in hosts(data).items() if one["id"] in serving}}
        if wanted == self._told:
            return
        self._tell(wanted)
        self._told = wanted
        self._write_status(
            {**dict.fromkeys(serving, "ready"), **{one: why for one, why in self._failures.items() if one in present}}
        )

    def _build(self, deployment: Data, project: Data) -> None:
        work = self.folder / deployment["id"]
        shutil.rmtree(work, ignore_errors=True)
        settings = {name: project.get(name) for name in BUILD_SETTINGS}
        try:
            standin.unpack(self.world, deployment, work / "project")
            output = build.build(work / "project", settings, deployment["variables"], work)
            # What it was built from is large and not needed any more; nor is what an earlier life of this server has built.
            kept = self.folder / f"{deployment['id']}.output"
            shutil.rmtree(kept, ignore_errors=True)
            self._outputs[deployment["id"]] = output.rename(kept)
            self._promote(deployment)
        except UserError as failed:
            self._failures[deployment["id"]] = str(failed)
            self._told = None
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _promote(self, deployment: Data) -> None:
        """Leads its project's domains to what has just been built; until then they lead to the one before."""
        with self.world.edit() as data:
            there = data["vercel"]
            if deployment.get("production") and deployment["id"] in there["deployments"]:
                there["projects"][deployment["projectId"]]["production"] = deployment["id"]

    @property
    def _status(self) -> Path:
        return self.folder / "status.json"

    def _write_status(self, status: Mapping[str, str]) -> None:
        partial = self._status.with_suffix(".partial")
        partial.write_text(json.dumps(status))
        partial.replace(self._status)

    def _tell(self, wanted: Mapping[str, Any]) -> None:
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
