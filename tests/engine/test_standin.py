"""The stand-in for Cloudflare behind the real engine: what holds for every program that the tests deploy into it."""

import json
from pathlib import Path
from typing import Any

import pytest

from lab.standins.providers import World, cloudflare
from ops.machine.engine_from_modules import Engine
from tests.engine.project import Project
from tests.engine.stack import counts

pytestmark = pytest.mark.timeout(300)

DIALECT = f"""\
import base64
import pulumi
import pulumi_cloudflare as cf

provider = cf.Provider("cloudflare", api_token=pulumi.Output.secret("{cloudflare.TOKEN}"))
opts = pulumi.ResourceOptions(provider=provider)
lookup = pulumi.InvokeOutputOptions(provider=provider)
zone = cf.get_zone_output(filter={{"name": "example.com", "match": "all"}}, opts=lookup)
account = zone.account.apply(lambda account: account.id)
"""

EDGE = f"""\
{DIALECT}
tunnel = cf.ZeroTrustTunnelCloudflared(
    "tunnel", account_id=account, name="skyvern-test", config_src="cloudflare", opts=opts,
    tunnel_secret=pulumi.Output.secret(base64.b64encode(b"0" * 32).decode()),
)
policy = cf.ZeroTrustAccessPolicy(
    "policy", account_id=account, name="ops", decision="allow", includes=[{{"email": {{"email": "ops@example.com"}}}}], opts=opts,
)
application = cf.ZeroTrustAccessApplication(
    "application", account_id=account, name="ui", type="self_hosted", domain="app.example.com", opts=opts,
    policies=[{{"id": policy.id, "precedence": 1}}],
)
access = {{"required": True, "team_name": "acme", "aud_tags": [application.aud]}}
ingress = cf.ZeroTrustTunnelCloudflaredConfig("ingress", account_id=account, tunnel_id=tunnel.id, opts=opts, config={{
    "ingresses": [
        {{"hostname": "api.example.com", "service": "http://gateway:8080", "origin_request": {{"access": access}}}},
        {{"service": "http_status:404"}},
    ],
}})
record = cf.DnsRecord(
    "api", zone_id=zone.id, name="api.example.com", type="CNAME", ttl=1, proxied=True, opts=opts,
    content=tunnel.id.apply(lambda id: f"{{id}}.cfargotunnel.com"),
)
cf.ZoneSetting("https", zone_id=zone.id, setting_id="always_use_https", value="on", opts=opts)
cf.ZoneSetting("hsts", zone_id=zone.id, setting_id="security_header", opts=opts, value={{"strict_transport_security": {{
    "enabled": True, "max_age": 15552000, "include_subdomains": False, "preload": False, "nosniff": True,
}}}})
cf.Ruleset("limit", zone_id=zone.id, kind="zone", name="skyvern", phase="http_ratelimit", opts=opts, rules=[{{
    "ref": "api", "action": "block", "expression": 'starts_with(http.request.uri.path, "/api/")', "ratelimit": {{
        "characteristics": ["cf.colo.id", "ip.src"], "period": 10, "requests_per_period": 100, "mitigation_timeout": 10,
    }},
}}])
pulumi.export("status", zone.status)
pulumi.export("account", tunnel.account_tag)
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return cloudflare.new_world(tmp_path / "world.json")


def project_of(engine: Engine, folder: Path, home: Path, world: World, program: str) -> Project:
    return Project(engine, folder, program, {"PULUMI_HOME": str(home), **world.variables()})


def made(world: World) -> list[str]:
    """Names in the program of what calls have created, deleted and updated, such as "create tunnel"."""
    return [
        f"{entry['operation']} {entry['name']}" for entry in world.journal("create", "update", "delete") if "error" not in entry
    ]


def planned(project: Project) -> dict[str, Any]:
    """Operation and changed paths of each step that is not "same", by name of the resource."""
    steps = json.loads(project.succeed("preview", "--json"))["steps"]
    return {
        step["urn"].rpartition("::")[2]: (step["op"], sorted(step.get("detailedDiff") or {}))
        for step in steps
        if step["op"] != "same"
    }


ALL = {"tunnels": 1, "configurations": 1, "records": 1, "rulesets": 1, "policies": 1, "applications": 1}


def test_from_a_first_up_that_fails_to_nothing(engine: Engine, tmp_path: Path, home: Path, world: World) -> None:
    project = project_of(engine, tmp_path, home, world, EDGE)
    world.fail(call=3, status=500, code=10001, message="a fault of a test")
    shown = project.fail("up", "--yes", "--skip-preview")
    assert "a fault of a test (code 10001)" in shown
    # The engine has found the plugin at the version that the SDK asks for, and has nothing to say about it.
    assert "warning" not in shown
    shown = project.succeed("up", "--yes", "--skip-preview")
    assert "account: " in shown
    assert counts(world) == ALL
    assert len(made(world)) == len(set(made(world))) == 8
    secret = "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="
    assert secret not in project.succeed("stack", "export")
    assert secret not in json.dumps(world.journal())
    project.succeed("preview", "--expect-no-changes")
    project.succeed("refresh", "--yes", "--skip-preview", "--expect-no-changes")

    # Somebody changes the record by hand, and the next refresh and plan see it.
    with world.edit() as data:
        (record,) = data["records"].values()
        record["content"] = "elsewhere.example.net"
    assert "~ 1 updated" in project.succeed("refresh", "--yes", "--skip-preview")
    project.program(EDGE.replace('config_src="cloudflare"', 'config_src="local"'))
    assert planned(project) == {
        "tunnel": ("replace", ["configSrc"]),
        "ingress": ("replace", ["tunnelId"]),
        "api": ("update", ["content"]),
    }

    # A connector that is still there holds the tunnel, and only the tunnel.
    alive = tmp_path / "connector"
    alive.touch()
    world.connect("skyvern-test", alive)
    assert '"code": 1022' in project.fail("destroy", "--yes", "--skip-preview")
    assert counts(world) == {**dict.fromkeys(ALL, 0), "tunnels": 1, "configurations": 1}
    alive.unlink()
    project.succeed("destroy", "--yes", "--skip-preview")
    assert counts(world) == dict.fromkeys(ALL, 0)
    (zone,) = world.read()["zones"].values()
    assert zone["settings"]["always_use_https"] == "on"
    assert "resources" not in json.loads(project.succeed("stack", "export"))["deployment"]


# Past the SDK, which would not take these either; without importing it, which takes longer than all the rest.
PAST_THE_SDK = """\
import pulumi

limit = {"characteristics": ["cf.colo.id"], "period": "10s"}
pulumi.CustomResource(
    "cloudflare:index/ruleset:Ruleset",
    "limit",
    {"zoneId": "1" * 32, "kind": "zone", "rules": [{"action": "block", "enabeld": True, "ratelimit": limit}]},
    pulumi.ResourceOptions(version="6.23.1"),
)
"""


def test_what_the_sdk_does_not_have_is_refused_by_name(engine: Engine, tmp_path: Path, home: Path, world: World) -> None:
    shown = project_of(engine, tmp_path, home, world, PAST_THE_SDK).fail("preview")
    assert "name is required" in shown
    assert "rules[0].expression is required" in shown
    assert "rules[0].enabeld is not a known property" in shown
    assert "rules[0].ratelimit.period is str, but int is expected" in shown


def test_what_the_api_refuses_is_told_with_its_code(engine: Engine, tmp_path: Path, home: Path, world: World) -> None:
    with world.edit() as data:
        (zone,) = data["zones"]
        data["records"]["1" * 32] = {
            "id": "1" * 32,
            "zoneId": zone,
            "name": "api.example.com",
            "type": "A",
            "content": "192.0.2.1",
        }
    project = project_of(
        engine,
        tmp_path,
        home,
        world,
        f"""\
{DIALECT}
cf.DnsRecord("taken", zone_id=zone.id, name="api.example.com", type="CNAME", content="a.example.net", ttl=1, opts=opts)
first = cf.Ruleset("first", zone_id=zone.id, kind="zone", name="a", phase="http_request_firewall_custom", rules=[], opts=opts)
cf.Ruleset("second", zone_id=zone.id, kind="zone", name="b", phase="http_request_firewall_custom", rules=[],
    opts=pulumi.ResourceOptions(provider=provider, depends_on=first))
tunnel = cf.ZeroTrustTunnelCloudflared("tunnel", account_id=account, name="skyvern", config_src="cloudflare", opts=opts)
cf.ZeroTrustTunnelCloudflaredConfig("ingress", account_id=account, tunnel_id=tunnel.id, opts=opts,
    config={{"ingresses": [{{"hostname": "api.example.com", "service": "http://gateway:8080"}}]}})
cf.ZeroTrustTunnelCloudflared("again", account_id=account, name="skyvern",
    opts=pulumi.ResourceOptions(provider=provider, depends_on=tunnel))
""",
    )
    shown = project.fail("up", "--yes", "--skip-preview", "--continue-on-error")
    refused = {entry["name"]: entry["error"] for entry in world.journal("create") if "error" in entry}
    assert refused == {"taken": 81053, "second": 20217, "ingress": 1056, "again": 1013}
    for code in refused.values():
        assert f'"code": {code}' in shown
    assert counts(world) == {**dict.fromkeys(ALL, 0), "records": 1, "rulesets": 1, "tunnels": 1}


def test_a_plugin_that_dies_after_its_call_leaves_what_the_state_does_not_know(
    engine: Engine, tmp_path: Path, home: Path, world: World
) -> None:
    program = f"""\
{DIALECT}
tunnel = cf.ZeroTrustTunnelCloudflared("tunnel", account_id=account, name="skyvern", config_src="cloudflare", opts=opts)
"""
    project = project_of(engine, tmp_path, home, world, program)
    world.crash(call=1)
    project.fail("up", "--yes", "--skip-preview")
    assert counts(world)["tunnels"] == 1
    assert "ZeroTrustTunnelCloudflared" not in json.dumps(
        json.loads(project.succeed("stack", "export"))["deployment"]["resources"]
    )
    assert '"code": 1013' in project.fail("up", "--yes", "--skip-preview")

    # The way out is the documented one: adopt it.
    (tunnel,) = world.read()["tunnels"].values()
    adopted = f'opts=pulumi.ResourceOptions(provider=provider, import_="{tunnel["accountId"]}/{tunnel["id"]}"))\n'
    project.program(program.replace("opts=opts)\n", adopted))
    project.succeed("up", "--yes", "--skip-preview")
    project.succeed("destroy", "--yes", "--skip-preview")
    assert counts(world)["tunnels"] == 0
