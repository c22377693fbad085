"""A stack behind the real engine, with stand-ins for every vendor, and the programs and sections of its tests."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from lab.standins.providers import World, cloudflare, docker, vercel
from ops.machine.engine_from_modules import Engine
from ops.paths import ROOT
from tests.engine.project import Project

# Key and value of the secret that each provider of a section needs.
SECRETS = {
    "cloudflare": ("api_token", cloudflare.TOKEN),
    "ngrok": ("authtoken", "an-authtoken-of-a-test"),
    "vercel": ("api_token", vercel.TOKEN),
}
CLOUDFLARE: dict[str, Any] = {"provider": "cloudflare", "domain": "example.com"}
ACCESS = {"access_team": "acme", "access_emails": ["ops@example.com"]}
ALERT = {"tunnel_alert_emails": ["ops@example.com"]}
VERCEL: dict[str, Any] = {"provider": "vercel", "team": vercel.TEAM, "plan": "pro"}

# The public part of the program: the UI on Vercel, if the stack file says so, and the edge. The secrets change with their epochs,
# as the random provider's would.
_SITE = """\
import sys

import pulumi

from components import endpoints
from components.secrets import derive_tunnel_secret
from components.settings import SettingsError, load

try:
    settings = load()
    urls, rotation = endpoints.derive(settings), settings.rotation
    site = None
    if urls.on_vercel:
        from components.frontend.vercel import VercelFrontend, VercelFrontendArgs

        site = VercelFrontend("site", VercelFrontendArgs(
            prefix="skyvern-test", settings=settings.frontend, endpoints=urls,
            gateway_key=pulumi.Output.secret(f"a-gateway-key-{rotation.gateway}"),
            ui_password=pulumi.Output.secret(f"a-password-{rotation.ui_login}"),
        ))
"""
_EDGE = """\
    from components.edge.tunnel import CloudflareTunnel, CloudflareTunnelArgs

    CloudflareTunnel("edge", CloudflareTunnelArgs(
        prefix="skyvern-test", settings=settings.edge, endpoints=urls, ui=None if site is None else site.record,
        secret=pulumi.Output.secret(derive_tunnel_secret("a password")),
    ))
"""
_END = """\
except SettingsError as wrong:
    for line in wrong.lines:
        pulumi.log.error(line)
    sys.exit(32)
"""
SITE_AND_EDGE = _SITE + _EDGE + _END
# Without the SDK of the edge, which costs seconds at each up.
SITE_ALONE = _SITE + _END


def counts(world: World) -> dict[str, int]:
    """The number of resources at Cloudflare, by collection."""
    data = world.read()
    collections = ("tunnels", "configurations", "records", "rulesets", "policies", "applications")
    return {name: len(data[name]) for name in collections}


class Stack:
    """A stack of a program, its stack file, and the world that it deploys into: Cloudflare, Vercel and a Docker daemon."""

    world: World
    running: Path

    def __init__(self, engine: Engine, folder: Path, home: Path, program: str, beside: "Stack | None" = None) -> None:
        """beside: a stack of the same account, with its own project and state."""
        if beside is not None:
            self.world, self.running = beside.world, beside.running
            self._begin(engine, folder, home, program)
            return
        self.world = cloudflare.new_world(folder / "world.json")
        self.running = docker.add_daemon(self.world)
        vercel.add_account(self.world)
        # A connector that exists is connected.
        self.world.connect("skyvern-test", self.running / "skyvern-test-connector")
        self._begin(engine, folder, home, program)

    def _begin(self, engine: Engine, folder: Path, home: Path, program: str) -> None:
        variables = {"PULUMI_HOME": str(home), "PYTHONPATH": str(ROOT), **self.world.variables()}
        self.project = Project(engine, folder, program, variables)
        self.file = self.project.folder / "Pulumi.test.yaml"
        # The provider looks for it in the program's folder.
        self.site = self.project.folder / "site"
        shutil.copytree(ROOT / "site", self.site, ignore=shutil.ignore_patterns("node_modules", "dist", ".vercel"))
        self.salt = yaml.safe_load(self.file.read_text())["encryptionsalt"]
        self.ciphers: dict[str, Any] = {}

    def write(self, **sections: Any) -> None:
        """The stack file; a secret of edge and frontend is encrypted as ``pulumi config set --secret --path`` does it."""
        config = {f"tiny:{name}": self._sealed(section) for name, section in sections.items() if section}
        self.file.write_text(yaml.safe_dump({"encryptionsalt": self.salt, "config": config}))

    def _sealed(self, section: dict[str, Any]) -> dict[str, Any]:
        key, value = SECRETS.get(section.get("provider", ""), ("", ""))
        return {**section, key: {"secure": self._cipher(section.get(key, value))}} if key else section

    def _cipher(self, text: str) -> str:
        if text not in self.ciphers:
            self.file.write_text(yaml.safe_dump({"encryptionsalt": self.salt}))
            self.project.succeed("config", "set", "--secret", "tiny:x", text)
            self.ciphers[text] = yaml.safe_load(self.file.read_text())["config"]["tiny:x"]["secure"]
        cipher: str = self.ciphers[text]
        return cipher

    def up(self) -> list[str]:
        """Deploys; what was done, such as "delete skyvern-edge-api"."""
        self.world.forget_journal()
        self.project.succeed("up", "--yes", "--skip-preview")
        self.assert_whole()
        return [f"{entry['operation']} {entry['name']}" for entry in self.world.journal("create", "update", "delete")]

    def assert_whole(self) -> None:
        """Every record of a tunnel leads to one that knows its host, every rule has its record, and the token is the tunnel's."""
        data = self.world.read()
        routed = {
            (rule["hostname"], f"{tunnel}.cfargotunnel.com")
            for tunnel, configuration in data["configurations"].items()
            for rule in configuration["config"]["ingresses"][:-1]
        }
        assert routed == {(record["name"], record["content"]) for record in data["records"].values() if record["proxied"]}
        for container in data["containers"].values():
            for element in container["envs"]:
                if element.startswith("TUNNEL_TOKEN="):
                    token = json.loads(base64.b64decode(element.partition("=")[2]))
                    assert data["tunnel_secrets"] == {token["t"]: token["s"]}
                    assert data["tunnels"][token["t"]]["accountId"] == token["a"]

    def names(self, collection: str) -> set[str]:
        return {record["name"] for record in self.world.read()[collection].values()}


def error_lines(printed: str) -> set[str]:
    """The errors of the program itself; the engine shows them while it runs and once more at its end."""
    return {line.partition("error: ")[2] for line in printed.splitlines() if "error: Pulumi.test.yaml" in line}
