"""The rehearsal's stack: a Pulumi project of its own around this checkout's program, which ends with its folder.

Backend, passphrase, home, stack file and the stand-ins' world lie in one folder, so that nothing of the user's is read or
changed. Not here: the order of things (__main__.py) and the servers that answer for the stand-ins (servers.py).
"""

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from components.settings import THIS_HOST, CloudflareEdge, Settings, SettingsError, parse
from lab.standins.providers import World, cloudflare, install, vercel
from lab.workspace import Program, free_port
from ops.clients import process
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.machine import engine, environment
from ops.paths import ROOT, config_dir
from ops.stack import file

NAME = "rehearsal"
PREFIX = f"skyvern-{NAME}"
COMMITTED = ROOT / f"Pulumi.{NAME}.yaml"
# As the committed stack file has it.
TEAM = "rehearsal"


def folder() -> Path:
    """Where the rehearsal of this user lies."""
    return config_dir() / NAME


def settings() -> tuple[Settings, str]:
    """What the committed stack file says, with a stand-in's token and image in it, and the domain.

    Raises UserError when it is wrong, or has another shape than production's.
    """
    raw = {key.removeprefix("skyvern:"): dict(value) for key, value in file.read(COMMITTED).items()}
    shape = {name: raw.get(name, {}).get("provider") for name in ("frontend", "edge")}
    if shape != {"frontend": "vercel", "edge": "cloudflare"}:
        raise UserError(
            f"{COMMITTED.name}: frontend.provider: is not what is rehearsed; write vercel, and edge.provider: cloudflare"
        )
    raw["edge"].update(api_token=file.ENCRYPTED, connector_image="localhost/connector:any")
    raw["frontend"].update(api_token=file.ENCRYPTED)
    try:
        found = parse(raw, file=COMMITTED.name, secret_keys=frozenset(raw))
    except SettingsError as wrong:
        raise UserError(str(wrong)) from wrong
    assert isinstance(found.edge, CloudflareEdge)
    return found, found.edge.domain


@dataclass(frozen=True)
class Place:
    """The folder of a rehearsal and what lies in it."""

    folder: Path

    @property
    def world(self) -> World:
        """Cloudflare's and Vercel's side."""
        return World(self.folder / "world.json")

    @property
    def home(self) -> Path:
        """PULUMI_HOME with the stand-ins."""
        return self.folder / "home"

    @property
    def exists(self) -> bool:
        """Whether there is a rehearsal."""
        return (self.folder / "world.json").exists()

    def prepare(self, domain: str) -> None:
        """Makes what is not there: world, ports, passphrase, home. The home is made anew, because engine and SDKs change."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        if not self.exists:
            make_world(self.folder / "world.json", domain)
        ports = self.folder / "ports.json"
        if not ports.exists():
            numbers = {name: free_port() for name in ("vercel", "connector", "proxy")}
            ports.write_text(json.dumps({"domain": domain, **numbers}))
        passphrase = self.folder / "passphrase"
        if not passphrase.exists():
            passphrase.touch(mode=0o600)
            passphrase.write_text(secrets.token_urlsafe(32))
        shutil.rmtree(self.home, ignore_errors=True)
        install(self.home, engine.engine_pulumi_home(), "cloudflare", "vercel")

    def state_variables(self) -> dict[str, str]:
        """Where the state is, and what opens it."""
        return {
            "PULUMI_BACKEND_URL": f"file://{self.folder}/state",
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(self.folder / "passphrase"),
        }

    def program(self, docker: Docker) -> Program:
        """The project, with every variable that ``pulumi`` needs for this stack and for no other."""
        shell = {name: value for name, value in os.environ.items() if not name.startswith(("PULUMI_", "CLOUDFLARE_", "VERCEL_"))}
        env = {
            **shell,
            **environment.for_engine(),
            **self.world.variables(),
            **self.state_variables(),
            "PULUMI_HOME": str(self.home),
        }
        return Program(self.folder / "project", NAME, docker, env)

    def write_project(self, program: Program, source: str, connector_image: str) -> None:
        """Writes the project's and the stack's files, and creates the stack where there is none.

        source: of the images. The stack file is the committed one with throw-away tokens and the connector's image.
        """
        project = program.folder
        project.mkdir(exist_ok=True)
        (self.folder / "state").mkdir(exist_ok=True)
        ports = json.loads((self.folder / "ports.json").read_text())
        shutil.copy(ROOT / "Pulumi.yaml", project)

        def around(document: dict[str, Any]) -> bool:
            # The program stays where it is, with the site beside it; only its stack files are elsewhere.
            document["main"] = str(ROOT)
            document["runtime"]["options"]["virtualenv"] = str(ROOT / ".venv")
            return True

        file.edit(project / "Pulumi.yaml", around)
        target = project / f"Pulumi.{NAME}.yaml"
        before = _read(target)
        shutil.copy(COMMITTED, target)

        def complete(document: dict[str, Any]) -> bool:
            document["config"]["skyvern:images"]["source"] = source
            document["config"]["skyvern:edge"]["connector_image"] = connector_image
            # The stand-in of Cloudflare's network is on this machine, which containers do not reach otherwise.
            document["config"]["skyvern:edge"]["allow"] = [f"{THIS_HOST}:{ports['connector']}"]
            if "encryptionsalt" in before:
                document["encryptionsalt"] = before["encryptionsalt"]
            return True

        file.edit(target, complete)
        if "encryptionsalt" not in before:
            program.create()
        for path, token in tokens(self.world).items():
            command = ["pulumi", "config", "set", "--secret", "--path", path, "--stack", NAME, "--non-interactive"]
            process.capture(command, cwd=project, env=program.env, stdin=token.encode())

    def up(self, program: Program) -> None:
        """``pulumi up``, with the policies; UserError with the log's name when it fails."""
        command = ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--stack", NAME, "--color", "never"]
        process.stream(command, cwd=program.folder, env=program.env, log=self.folder / "up.log")

    def expect_no_changes(self, program: Program) -> None:
        """A plan for what is deployed; UserError where it would change something."""
        command = ["pulumi", "preview", "--expect-no-changes", "--non-interactive", "--stack", NAME, "--color", "never"]
        process.stream(command, cwd=program.folder, env=program.env, log=self.folder / "second-plan.log")

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def make_world(path: Path, domain: str) -> World:
    """An account at each vendor, with a token that nobody else has."""
    world = cloudflare.new_world(path, domain=domain, token=secrets.token_hex(20))
    path.chmod(0o600)
    vercel.add_account(world, team=TEAM, token=secrets.token_hex(12))
    return world


def tokens(world: World) -> Mapping[str, str]:
    """The vendors' tokens by their keys in the stack file."""
    data = world.read()
    (first,) = data["tokens"]
    (second,) = data["vercel"]["tokens"]
    return {"skyvern:edge.api_token": first, "skyvern:frontend.api_token": second}


def _read(path: Path) -> dict[str, Any]:
    return (YAML(typ="safe").load(path) or {}) if path.exists() else {}


def left_on(docker: Docker) -> dict[str, list[str]]:
    """Names of what a rehearsal has on the daemon, by kind."""
    found = {}
    for kind, everything, form in (
        ("container", ("--all",), "{{.Names}}"),
        ("network", (), "{{.Name}}"),
        ("volume", (), "{{.Name}}"),
    ):
        listed = docker.run(kind, "ls", *everything, "--filter", f"label=skyvern.stack={NAME}", "--format", form).split()
        if listed:
            found[kind] = listed
    return found


def remove_from(docker: Docker) -> None:
    """Removes it, data too: whatever the state knows, nothing of a rehearsal is worth keeping."""
    for kind, names in left_on(docker).items():
        docker.run(kind, "rm", *(() if kind == "network" else ("--force",)), *names)
