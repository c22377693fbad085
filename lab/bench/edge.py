"""A preview of a stack with Cloudflare's edge against a flat program that registers the same resources.

Stand-ins answer for Cloudflare and for the Docker daemon, so that nothing runs and no account is needed: what is measured is the
program and the engine. Neither has the policy pack, whose cost is measured separately.
"""

import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.standins.providers import World, cloudflare, docker, install
from lab.workspace import FLAT, Program, flatten, write_checkout, write_project
from ops.clients.docker import Docker
from ops.machine import engine
from ops.machine import environment as child_environment
from ops.paths import ROOT

STACK = "edge"
# Both sides load the same modules of Cloudflare's SDK.
_SDKS = f"""
import sys

sys.path.append({str(ROOT)!r})
from components.cloudflare_sdk import cloudflare

cloudflare.DnsRecord, cloudflare.Provider, cloudflare.Ruleset, cloudflare.get_rulesets, cloudflare.get_zone
cloudflare.ZeroTrustAccessApplication, cloudflare.ZeroTrustAccessPolicy, cloudflare.ZoneSetting
cloudflare.ZeroTrustTunnelCloudflared, cloudflare.ZeroTrustTunnelCloudflaredConfig
"""
_EDGE = {"provider": "cloudflare", "domain": "example.com", "access_team": "acme", "access_emails": ["ops@example.com"]}


@contextmanager
def programs() -> Iterator[tuple[Program, Program]]:
    """(the program, the flat program), both deployed, each into a separate world."""
    with tempfile.TemporaryDirectory(prefix="skyvern-bench-") as temporary:
        folder = Path(temporary)
        home = install(folder / "home", engine.engine_pulumi_home(), "cloudflare", "docker")
        (folder / "state").mkdir()

        def environment(world: World) -> dict[str, str]:
            world.connect(f"skyvern-{STACK}", docker.add_daemon(world) / f"skyvern-{STACK}-connector")
            variables = {**os.environ, **child_environment.for_engine(), **world.variables()}
            for name in (child_environment.POLICY_PACK, "PULUMI_CONFIG_PASSPHRASE_FILE"):
                variables.pop(name, None)
            return variables | {
                "CLOUDFLARE_API_TOKEN": cloudflare.TOKEN,
                "PULUMI_BACKEND_URL": f"file://{folder}/state",
                "PULUMI_CONFIG_PASSPHRASE": passphrase,
                "PULUMI_HOME": str(home),
            }

        passphrase = secrets.token_hex(16)
        world = cloudflare.new_world(folder / "ours.json")
        ours = _program(folder, environment(world), cloudflare.TOKEN)
        with ours.deployed():
            # The flat program names ids of the other program's resources, so its world has them: policies, and the tunnel under
            # another name, because names are unique.
            data = world.read()
            for tunnel in data["tunnels"].values():
                tunnel["name"] = "elsewhere"
            left_out = ("applications", "configurations", "records", "rulesets")
            flat = _flat(folder, environment(World.create(folder / "flat.json", data | {name: {} for name in left_out})), ours)
            with flat.deployed():
                yield ours, flat


def _program(folder: Path, env: dict[str, str], token: str) -> Program:
    checkout = write_checkout(folder / "checkout", STACK, {"skyvern:edge": _EDGE})
    program = Program(checkout, STACK, Docker("unix:///nowhere"), env).create()
    program.pulumi("config", "set", "--secret", "--path", "skyvern:edge.api_token", token)
    return program


def _flat(folder: Path, env: dict[str, str], ours: Program) -> Program:
    target = write_project(folder / "flat", _SDKS + FLAT)
    (target / "resources.json").write_text(json.dumps(flatten(ours.export()["resources"])))
    return Program(target, "flat", ours.docker, env).create()
