"""The program with an edge behind the real engine, with stand-ins for Cloudflare and for the Docker daemon.

Random is the real provider. The faults at each call of Cloudflare's API are tried on the edge's part of the program alone, where
no other call counts. Not here: containers that run (tests/host), and Cloudflare's own plugin, which no package registry has.
"""

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.standins.edge.zone import Limits, Request, judge
from lab.standins.providers import World, cloudflare, vercel
from ops.deploy.recovery import possibly_created_at_cloudflare
from ops.machine.engine_from_modules import Engine
from ops.paths import ROOT
from ops.stack import state
from tests.engine.stack import ACCESS, ALERT, CLOUDFLARE, SITE_AND_EDGE, VERCEL, Stack, counts, error_lines
from tests.support import runbooks

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def stack(engine: Engine, tmp_path: Path, home: Path) -> Stack:
    """The whole program."""
    return Stack(engine, tmp_path, home, (ROOT / "__main__.py").read_text())


@pytest.fixture
def edge(engine: Engine, tmp_path: Path, home: Path) -> Stack:
    """The edge's part of it."""
    return Stack(engine, tmp_path, home, SITE_AND_EDGE)


def of(done: list[str], part: str) -> list[str]:
    return [one for one in done if part in one]


# --- A life --------------------------------------------------------------------------------------------------------------


def test_up_again_refresh_and_destroy(stack: Stack) -> None:
    stack.write(edge={**CLOUDFLARE, **ACCESS})
    done = stack.up()
    assert stack.names("records") == {"app.example.com", "api.example.com"}
    assert done.index("create skyvern-edge-ingress") < done.index("create skyvern-edge-app")
    # Nobody dials in before the gateway answers and the names lead somewhere.
    for first in ("skyvern-edge-ingress", "skyvern-edge-app", "skyvern-edge-api", "skyvern-host-gateway-caddy"):
        assert done.index(f"create {first}") < done.index("create skyvern-host-connector-cloudflared")
    stack.project.succeed("preview", "--expect-no-changes")
    assert stack.up() == []
    stack.project.succeed("refresh", "--yes", "--expect-no-changes")
    exported = stack.project.succeed("stack", "export")
    secrets = [cloudflare.TOKEN, *stack.world.read()["tunnel_secrets"].values()]
    assert not [secret for secret in secrets if secret in exported]

    stack.project.succeed("state", "unprotect", "--all", "--yes")
    stack.world.forget_journal()
    stack.project.succeed("destroy", "--yes")
    gone = [entry["name"] for entry in stack.world.journal("delete")]
    # With a connector on it, the tunnel would not have gone (1022).
    for earlier, later in (
        ("skyvern-host-connector-cloudflared", "skyvern-edge-app"),
        ("skyvern-host-connector-cloudflared", "skyvern-edge-tunnel"),
        ("skyvern-edge-app", "skyvern-edge-tunnel"),
    ):
        assert gone.index(earlier) < gone.index(later)
    data = stack.world.read()
    left = ("tunnels", "records", "rulesets", "policies", "applications", "containers", "networks", "volumes")
    assert {name: data[name] for name in left} == {name: {} for name in left}


def test_the_tunnels_alert_comes_and_goes_alone(edge: Stack) -> None:
    """Only it is planned for a stack that exists, and it goes with the stack."""
    edge.write(edge=CLOUDFLARE)
    edge.up()
    with edge.world.edit() as data:
        permissions = data["tokens"][cloudflare.TOKEN]
        data["tokens"][cloudflare.TOKEN] = [name for name in permissions if name != "Notifications Write"]
    edge.write(edge={**CLOUDFLARE, **ALERT})
    # The token's permission is named by Cloudflare's answer, and nothing else has changed.
    shown = edge.project.fail("up", "--yes", "--skip-preview")
    assert [line for line in shown.splitlines() if "10000" in line and "alerting/v3/policies" in line]
    with edge.world.edit() as data:
        data["tokens"][cloudflare.TOKEN] = permissions
    assert edge.up() == ["create edge-tunnel-alert"]
    (alert,), (tunnel,) = edge.world.read()["notifications"].values(), edge.world.read()["tunnels"].values()
    assert alert["filters"]["tunnelIds"] == [tunnel["id"]]
    assert alert["mechanisms"] == {"emails": [{"id": "ops@example.com"}]}
    edge.project.succeed("preview", "--expect-no-changes")
    edge.project.succeed("refresh", "--yes", "--expect-no-changes")

    # Another address: the same notification.
    edge.write(edge={**CLOUDFLARE, "tunnel_alert_emails": ["other@example.com"]})
    assert edge.up() == ["update edge-tunnel-alert"]
    assert set(edge.world.read()["notifications"]) == {alert["id"]}

    edge.write(edge=CLOUDFLARE)
    assert edge.up() == ["delete edge-tunnel-alert"]
    edge.write(edge={**CLOUDFLARE, **ALERT})
    edge.up()
    edge.project.succeed("destroy", "--yes")
    assert edge.world.read()["notifications"] == {}


# --- Plans that a reader expects -----------------------------------------------------------------------------------------


def test_day_two_plans(stack: Stack) -> None:
    with stack.world.edit() as data:
        (account,) = data["accounts"]
        other = cloudflare.add_zone(data["zones"], "example.org", account=account)
    stack.write(edge=CLOUDFLARE, frontend=VERCEL)
    stack.up()
    volumes = stack.world.read()["volumes"]

    # Another rate limit: that ruleset and nothing else.
    stack.write(edge={**CLOUDFLARE, "rate_limit_requests": 300}, frontend=VERCEL)
    assert stack.up() == ["update skyvern-edge-rate-limit"]

    # No recordings on the internet: their record goes; the gateway forgets the host.
    without = {"frontend": {**VERCEL, "artifacts": False}}
    stack.write(edge=CLOUDFLARE, **without, rotation={"gateway": 2})
    done = stack.up()
    assert "delete skyvern-edge-artifact" in done
    # The gateway takes a new key when the site on Vercel has it: the old site works until then.
    assert done.index("create skyvern-frontend-deployment") < done.index("create skyvern-host-gateway-caddy")
    # It is there before the old one goes.
    assert done.index("create skyvern-host-gateway-caddy") < done.index("delete skyvern-host-gateway-caddy")
    deployment = vercel.served(stack.world.read(), "app.example.com")
    assert deployment is not None
    (gateway,) = [one for one in stack.world.read()["containers"].values() if one["name"] == "skyvern-test-gateway"]
    assert f"GATEWAY_KEY={deployment.deployment['variables']['GATEWAY_KEY']}" in gateway["envs"]
    assert "artifact.example.com" not in stack.names("records")
    assert of(done, "skyvern-edge-tunnel") == of(done, "-server") == []

    # Another tunnel secret: the same tunnel, told first, and a new connector before the old one goes.
    stack.write(edge=CLOUDFLARE, **without, rotation={"gateway": 2, "tunnel": 2})
    assert stack.up() == [
        "update skyvern-edge-tunnel",
        "create skyvern-host-connector-cloudflared",
        "delete skyvern-host-connector-cloudflared",
    ]

    # Another domain: every record and rule in the other zone, the same tunnel.
    stack.write(edge={**CLOUDFLARE, "domain": "example.org"}, **without, rotation={"gateway": 2, "tunnel": 2})
    done = stack.up()
    assert of(done, "skyvern-edge-tunnel") == []
    assert stack.names("records") == {"api.example.org", "app.example.org", "wss.example.org"}
    assert {record["zoneId"] for record in stack.world.read()["records"].values()} == {other}
    assert {ruleset["zoneId"] for ruleset in stack.world.read()["rulesets"].values()} == {other}

    # ngrok instead: nothing of ours is left at Cloudflare, and the connector went before its tunnel.
    stack.write(edge={"provider": "ngrok", "domain": "your-name.ngrok.app"})
    done = stack.up()
    assert done.index("delete skyvern-host-connector-cloudflared") < done.index("delete skyvern-edge-tunnel")
    assert (stack.names("tunnels"), stack.names("records"), stack.names("rulesets")) == (set(), set(), set())
    assert "skyvern-test-connector" not in stack.names("containers")
    assert "skyvern-test-ngrok" in stack.names("containers")
    assert "skyvern-test-tunnel" in stack.names("networks")

    # And loopback.
    stack.write()
    stack.up()
    assert "skyvern-test-ngrok" not in stack.names("containers")
    assert "skyvern-test-tunnel" not in stack.names("networks")
    (gateway,) = [one for one in stack.world.read()["containers"].values() if one["name"] == "skyvern-test-gateway"]
    assert [port["ip"] for port in gateway["ports"]] == ["127.0.0.1"]
    stack.project.succeed("preview", "--expect-no-changes")

    # Whatever happened: the same volumes.
    assert stack.world.read()["volumes"] == volumes


def test_after_a_theft_the_daemons_part_needs_no_token_and_a_refresh_by_the_program_brings_the_tunnel_back(stack: Stack) -> None:
    """As docs/backup.md says: the token is rolled and the tunnel deleted before the kit is taken to another machine."""
    stack.write(edge=CLOUDFLARE)
    stack.up()
    new = "the-next-token-of-a-test_0123456789_abcdefghijk"
    with stack.world.edit() as data:
        data["tokens"] = {new: data["tokens"][cloudflare.TOKEN]}
        for collection in ("tunnels", "tunnel_secrets", "configurations", "containers"):
            data[collection].clear()
    assert "Invalid access token" in stack.project.fail("refresh", "--yes", "--skip-preview")
    stack.project.succeed("refresh", *state.ELSEWHERE, "--yes", "--skip-preview")
    kept = stack.project.succeed("stack", "--show-urns")
    assert "Container::skyvern-host-gateway-caddy" not in kept
    assert "skyvern-edge-tunnel" in kept
    stack.write(edge={**CLOUDFLARE, "api_token": new})
    # Here nothing looks whether the connector is connected.
    stack.project.succeed("up", "--yes", "--skip-preview")
    (command,) = (line for line in runbooks.commands("backup.md", "The PC was stolen") if line.startswith("pulumi up"))
    stack.project.succeed(*shlex.split(command.removeprefix("pulumi ").removesuffix(" -s prod")), "--yes", "--skip-preview")
    stack.assert_whole()
    assert len(stack.names("tunnels")) == 1
    stack.project.succeed("preview", "--expect-no-changes")


def test_another_account_replaces_the_tunnel_behind_its_connector(stack: Stack) -> None:
    stack.write(edge=CLOUDFLARE)
    stack.up()
    with stack.world.edit() as data:
        data["accounts"]["b" * 32] = {"zero_trust": True}
        cloudflare.add_zone(data["zones"], "example.net", account="b" * 32)
    stack.write(edge={**CLOUDFLARE, "domain": "example.net"})
    done = stack.up()
    steps = [
        "delete skyvern-host-connector-cloudflared",
        "delete skyvern-edge-tunnel",
        "create skyvern-edge-tunnel",
        "create skyvern-host-connector-cloudflared",
    ]
    assert [step for step in done if step in steps] == steps


def test_somebodys_rules_are_adopted_and_outlive_the_stack(edge: Stack) -> None:
    zone_id = next(iter(edge.world.read()["zones"]))
    mine = {
        "id": "f" * 32,
        "zoneId": zone_id,
        "kind": "zone",
        "name": "default",
        "phase": "http_request_firewall_custom",
        "rules": [{"ref": "mine", "action": "block", "enabled": True, "expression": '(ip.src.country eq "XX")'}],
        "version": "1",
        "lastUpdated": "2026-01-01T00:00:00Z",
    }
    with edge.world.edit() as data:
        data["rulesets"]["f" * 32] = mine
    edge.write(edge=CLOUDFLARE)
    told = edge.project.fail("up", "--yes", "--skip-preview")
    assert "20217" in told

    edge.write(edge={**CLOUDFLARE, "firewall_ruleset_id": "f" * 32})
    edge.up()
    assert edge.world.read()["rulesets"]["f" * 32]["rules"] == mine["rules"]
    edge.project.succeed("preview", "--expect-no-changes")
    edge.project.succeed("destroy", "--yes")
    assert set(edge.world.read()["rulesets"]) == {"f" * 32}


# --- Several stacks in one zone --------------------------------------------------------------------------------------------


def test_two_cells_share_a_zone_and_one_of_them_goes(engine: Engine, edge: Stack, tmp_path: Path, home: Path) -> None:
    (tmp_path / "shop").mkdir()
    shop = Stack(engine, tmp_path / "shop", home, SITE_AND_EDGE.replace("skyvern-test", "skyvern-shop"), beside=edge)
    edge.write(edge={**CLOUDFLARE, **ACCESS, "cells": ["shop"]})
    edge.up()

    # A second owner is refused by its plan, and nothing was made.
    before = edge.world.read()
    shop.write(edge={**CLOUDFLARE, "cell": "shop"})
    (line,) = error_lines(shop.project.fail("preview"))
    assert line == (
        "Pulumi.test.yaml: edge.zone_owner: the zone example.com has the rules of skyvern-test already; write false here, and "
        "shop into edge.cells of the stack that owns it"
    )
    assert edge.world.read() == before

    # The member: a tunnel, an application and records with names of their own.
    shop.write(edge={**CLOUDFLARE, **ACCESS, "cell": "shop", "zone_owner": False})
    made = ("tunnel", "people", "ui", "ingress", "shop-api", "shop-app")
    assert sorted(shop.up()) == sorted(f"create edge-{name}" for name in made)
    assert edge.names("tunnels") == {"skyvern-test", "skyvern-shop"}
    assert edge.names("records") == {"app.example.com", "api.example.com", "shop-app.example.com", "shop-api.example.com"}
    for stack in (edge, shop):
        stack.project.succeed("preview", "--expect-no-changes")
        stack.project.succeed("refresh", "--yes", "--expect-no-changes")

    # The owner's rules hold for the hosts of both, and for nobody else's.
    data = edge.world.read()
    (zone,) = data["zones"].values()
    for host, stopped in (("api", True), ("shop-api", True), ("other-api", False)):
        bare = Request(
            scheme="https",
            method="GET",
            host=f"{host}.example.com",
            target="/v1/workflows",
            client="198.51.100.1",
            headers=(),
        )
        answers = [judge(data, zone, "", asked, Limits()) for asked in (bare, replace(bare, headers=((b"x-api-key", b"k"),)))]
        assert [None if answer is None else answer.status for answer in answers] == [403 if stopped else None, None]

    # One goes, and nothing of the other is touched.
    edge.world.forget_journal()
    shop.project.succeed("destroy", "--yes")
    assert {entry["name"] for entry in edge.world.journal("create", "update", "delete") if "api" in entry["name"]} == {
        "edge-shop-api"
    }
    assert edge.names("records") == {"app.example.com", "api.example.com"}
    left = edge.world.read()
    assert [left[name] for name in ("rulesets", "zones")] == [before[name] for name in ("rulesets", "zones")]
    assert counts(edge.world) == EVERYTHING
    edge.project.succeed("preview", "--expect-no-changes")


# --- Faults --------------------------------------------------------------------------------------------------------------

# Mutating calls: tunnel, ingress, two records, four settings, two rulesets, policy and application.
FIRST_UP = 12
EVERYTHING = {"tunnels": 1, "configurations": 1, "records": 2, "rulesets": 2, "policies": 1, "applications": 1}


# The first, one in the middle and the last; nightly, each.
DAILY = {1, 7, FIRST_UP}
CALLS = [call if call in DAILY else pytest.param(call, marks=pytest.mark.nightly) for call in range(1, FIRST_UP + 1)]


@pytest.mark.parametrize("call", CALLS)
def test_a_fault_at_any_call_of_the_first_up_is_mended_by_the_next(edge: Stack, call: int) -> None:
    edge.write(edge={**CLOUDFLARE, **ACCESS})
    edge.world.fail(call=call, message="a fault of a test")
    assert "a fault of a test" in edge.project.fail("up", "--yes", "--skip-preview")
    edge.up()
    assert counts(edge.world) == EVERYTHING


def test_the_first_up_has_no_more_calls_than_were_tried(edge: Stack) -> None:
    edge.write(edge={**CLOUDFLARE, **ACCESS})
    assert len(edge.up()) == FIRST_UP


# What the API has many of: collection of the world -> resource in the program, and whether a second one could be made beside it.
LOST = {
    "tunnels": ("edge-tunnel", "is refused with 1013"),
    "policies": ("edge-people", "makes another one"),
    "applications": ("edge-ui", "is refused with 11010"),
    "configurations": ("edge-ingress", ""),
    "records": ("edge-api", "is refused with 81053"),
    "rulesets": ("edge-firewall", "is refused with 20217"),
}


def test_a_creation_whose_answer_was_lost_is_told_and_the_next_up_finishes_it(edge: Stack) -> None:
    """Plugin and engine are killed when the first object of a kind is made, kind by kind: it is at Cloudflare and in no state.

    That the next one is refused is the stand-in's own test, and the real API's word.
    """
    edge.write(edge={**CLOUDFLARE, **ACCESS})
    # Nothing but what was lost before, which is made again, and the next kind, one at a time: nothing else is lost with it.
    targets = ["--target", "**::edge", "--target", "**::edge-account"]
    for collection, (name, line) in LOST.items():
        edge.world.crash(name=name, engine=True)
        targets += ["--target", f"**::{name}"]
        edge.project.fail("up", "--yes", "--skip-preview", "--parallel", "1", *targets)
        (lost,) = edge.world.read()[collection]
        # As ops/deploy/recovery.py does it before the next up.
        edge.project.succeed("cancel", "--yes")
        pending = json.loads(edge.project.succeed("stack", "export"))["deployment"]["pending_operations"]
        assert [line in told for told in possibly_created_at_cloudflare(pending)] == ([True] if line else [])
        edge.project.succeed("refresh", "--clear-pending-creates", "--yes", "--skip-preview")
        if line:
            # What it says, done in the dashboard.
            with edge.world.edit() as data:
                del data[collection][lost]
    edge.up()
    assert counts(edge.world) == EVERYTHING
    edge.project.succeed("preview", "--expect-no-changes")


# --- One line ------------------------------------------------------------------------------------------------------------


def zones(world: World) -> Iterator[dict[str, Any]]:
    with world.edit() as data:
        yield from data["zones"].values()


def test_what_is_wrong_with_the_zone_or_the_token_is_one_line(edge: Stack) -> None:
    def told() -> str:
        shown = edge.project.fail("preview")
        assert "Traceback" not in shown
        (line,) = error_lines(shown)
        assert line.startswith("Pulumi.test.yaml: edge.")
        return line.removeprefix("Pulumi.test.yaml: edge.")

    edge.write(edge={**CLOUDFLARE, "domain": "www.example.com"})
    assert told().startswith(
        'domain: the token sees no zone "www.example.com"; add the domain to Cloudflare, write the zone itself'
    )
    edge.write(edge={**CLOUDFLARE, "api_token": "another-token-of-a-test_0123456789_abcdefgh"})
    assert told().startswith("api_token: Cloudflare refuses it; make one as docs/cloudflare.md says. It answered: ")
    edge.write(edge=CLOUDFLARE)
    for zone in zones(edge.world):
        zone["status"] = "pending"
    assert told().startswith('domain: the zone example.com is "pending"; set its name servers at the registrar to ')
    for zone in zones(edge.world):
        zone["status"] = "active"
    with edge.world.edit() as data:
        data["accounts"]["b" * 32] = {"zero_trust": True}
        cloudflare.add_zone(data["zones"], "example.com", account="b" * 32)
    assert told() == 'domain: the token sees 2 zones "example.com"; give it the zone of one account only'
    with edge.world.edit() as data:
        data["tokens"] = {token: [one for one in names if one != "Zone Read"] for token, names in data["tokens"].items()}
    assert "the token sees no zone" in told()
    assert edge.world.journal("create", "update", "delete") == []


def test_what_the_api_refuses_names_the_resource_and_the_reason(edge: Stack) -> None:
    edge.write(edge=CLOUDFLARE)
    with edge.world.edit() as data:
        (zone_id,) = data["zones"]
        data["records"]["e" * 32] = {
            "id": "e" * 32,
            "zoneId": zone_id,
            "name": "api.example.com",
            "type": "A",
            "content": "198.51.100.1",
            "ttl": 1,
            "proxied": False,
        }
    shown = edge.project.fail("up", "--yes", "--skip-preview")
    assert [line for line in shown.splitlines() if "81053" in line]
    assert "skyvern" not in shown.partition("81053")[2][:20]
    with edge.world.edit() as data:
        del data["records"]["e" * 32]
        permissions = data["tokens"][cloudflare.TOKEN]
        data["tokens"][cloudflare.TOKEN] = [one for one in permissions if one != "DNS Write"]
    shown = edge.project.fail("up", "--yes", "--skip-preview")
    assert [line for line in shown.splitlines() if "10000" in line and "dns_records" in line]
    with edge.world.edit() as data:
        data["tokens"][cloudflare.TOKEN] = permissions
    edge.up()
