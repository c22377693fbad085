"""The rehearsal's stack: a separate Pulumi project around this checkout's program, which is removed with its folder.

Backend, passphrase, home, stack file and the stand-ins' world are in one folder, so that none of the user's own are read or
changed. Not here: the order of the steps (__main__.py) and the servers of the stand-ins (servers.py).
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

from components.settings import ENCRYPTED, REHEARSAL, THIS_HOST, CloudflareEdge, Settings, SettingsError, parse
from lab.standins.providers import World, cloudflare, install, vercel
from lab.workspace import Program, free_port
from ops.clients import process
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.machine import engine, environment
from ops.paths import ROOT, config_dir
from ops.stack import file

NAME = REHEARSAL
PREFIX = f"skyvern-{NAME}"
COMMITTED = ROOT / f"Pulumi.{NAME}.yaml"
# As the committed stack file has it.
TEAM = "rehearsal"


def folder() -> Path:
    """The folder of this user's rehearsal."""
    return config_dir() / NAME


def settings() -> tuple[Settings, str]:
    """The settings of the committed stack file, completed with placeholders for tokens and the connector's image; and the domain.

    Raises UserError if it is wrong, or has another shape than production's.
    """
    raw = {key.removeprefix("skyvern:"): dict(value) for key, value in file.read(COMMITTED).items()}
    shape = {name: raw.get(name, {}).get("provider") for name in ("frontend", "edge")}
    if shape != {"frontend": "vercel", "edge": "cloudflare"}:
        raise UserError(
            f"{COMMITTED.name}: frontend.provider: is not that of production; write vercel, and edge.provider: cloudflare"
        )
    raw["edge"].update(api_token=ENCRYPTED, connector_image="localhost/connector:any")
    raw["frontend"].update(api_token=ENCRYPTED)
    try:
        parsed = parse(raw, file=COMMITTED.name, secret_keys=frozenset(raw))
    except SettingsError as wrong:
        raise UserError(str(wrong)) from wrong
    assert isinstance(parsed.edge, CloudflareEdge)
    return parsed, parsed.edge.domain


@dataclass(frozen=True)
class Place:
    """The folder of a rehearsal and its contents."""

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
        """Makes world, ports and passphrase if they are missing, and the home in any case, because engine and SDKs change."""
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
        """Environment variables that name the state and its passphrase."""
        return {
            "PULUMI_BACKEND_URL": f"file://{self.folder}/state",
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(self.folder / "passphrase"),
        }

    def program(self, docker: Docker) -> Program:
        """The project, with every variable that ``pulumi`` needs for this stack, and none of another's."""
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
        """Writes the project's and the stack's files, and creates the stack if it does not exist.

        source: of the images. The stack file is a copy of the committed file, with throw-away tokens and the connector's image.
        """
        project = program.folder
        project.mkdir(exist_ok=True)
        (self.folder / "state").mkdir(exist_ok=True)
        ports = json.loads((self.folder / "ports.json").read_text())
        shutil.copy(ROOT / "Pulumi.yaml", project)

        def around(document: dict[str, Any]) -> bool:
            # The program stays in the checkout, with the site beside it; only its stack files are elsewhere.
            document["main"] = str(ROOT)
            document["runtime"]["options"]["virtualenv"] = str(ROOT / ".venv")
            for plugin in document["plugins"]["providers"]:
                plugin["path"] = str(ROOT / plugin["path"])
            return True

        file.edit(project / "Pulumi.yaml", around)
        target = project / f"Pulumi.{NAME}.yaml"
        before = (YAML(typ="safe").load(target) if target.exists() else None) or {}
        shutil.copy(COMMITTED, target)

        def complete(document: dict[str, Any]) -> bool:
            document["config"]["skyvern:images"]["source"] = source
            document["config"]["skyvern:edge"]["connector_image"] = connector_image
            # The stand-in of Cloudflare's network is on this machine, which the firewall keeps containers from reaching.
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
        """``pulumi up``, with the policies; UserError with the log's name if it fails."""
        command = ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--stack", NAME, "--color", "never"]
        process.stream(command, cwd=program.folder, env=program.env, log=self.folder / "up.log")

    def expect_no_changes(self, program: Program) -> None:
        """A plan of the deployed stack; UserError if it would change anything."""
        command = ["pulumi", "preview", "--expect-no-changes", "--non-interactive", "--stack", NAME, "--color", "never"]
        process.stream(command, cwd=program.folder, env=program.env, log=self.folder / "second-plan.log")

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def make_world(path: Path, domain: str) -> World:
    """An account at each vendor, with a random token."""
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


def left_on(docker: Docker) -> dict[str, list[str]]:
    """Names of the containers, networks and volumes that a rehearsal has on the daemon, by kind."""
    names = {}
    for kind, everything, form in (
        ("container", ("--all",), "{{.Names}}"),
        ("network", (), "{{.Name}}"),
        ("volume", (), "{{.Name}}"),
    ):
        listed = docker.run(kind, "ls", *everything, "--filter", f"label=skyvern.stack={NAME}", "--format", form).split()
        if listed:
            names[kind] = listed
    return names


def remove_from(docker: Docker) -> None:
    """Removes them with their data, whether or not the state knows them: nothing of a rehearsal is worth keeping."""
    for kind, names in left_on(docker).items():
        docker.run(kind, "rm", *(() if kind == "network" else ("--force",)), *names)
