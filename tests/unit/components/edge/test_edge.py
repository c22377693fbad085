"""What a stack with an edge registers: read off the wire, and the pure functions behind it."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import endpoints
from components.edge import tunnel
from components.endpoints import Endpoints
from components.host.connectors import ngrok
from components.settings import CloudflareEdge, Settings, SettingsError
from lab import loopback
from ops.paths import ROOT
from tests.support import program
from tests.support.program import Program, Secret, plain

TOKEN = "t" * 40
CLOUDFLARE: dict[str, Any] = {"provider": "cloudflare", "domain": "example.com", "api_token": TOKEN}
NGROK = program.NGROK
ACCESS = {"access_team": "acme", "access_emails": ["b@example.com", "a@example.com"], "access_domains": ["example.org"]}
VERCEL = program.VERCEL

CONFIG = "cloudflare:index/zeroTrustTunnelCloudflaredConfig:ZeroTrustTunnelCloudflaredConfig"
CONTAINER = "docker:index/container:Container"
RECORD = "cloudflare:index/dnsRecord:DnsRecord"
RULESET = "cloudflare:index/ruleset:Ruleset"
SETTING = "cloudflare:index/zoneSetting:ZoneSetting"
TUNNEL = "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"


def settings(edge: dict[str, Any], **sections: Any) -> Settings:
    return Settings.model_validate({"edge": edge, **sections})


def urls_of(edge: dict[str, Any], **sections: Any) -> Endpoints:
    return endpoints.derive(settings(edge, **sections))


def cloudflare_edge(**keys: Any) -> CloudflareEdge:
    return CloudflareEdge.model_validate(CLOUDFLARE | keys)


@pytest.fixture(scope="module")
def prod() -> Program:
    return program.run(settings(CLOUDFLARE), stack="prod")


@pytest.fixture(scope="module")
def on_vercel() -> Program:
    return program.run(settings(CLOUDFLARE, frontend=VERCEL), stack="prod")


# --- Cloudflare ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["prod", "on_vercel"])
def test_every_host_has_its_rule_and_its_record_and_all_lead_to_the_gateway(run: str, prod: Program, on_vercel: Program) -> None:
    deployed = {"prod": prod, "on_vercel": on_vercel}[run]
    (config,) = deployed.of_type(CONFIG)
    *rules, last = config.inputs["config"]["ingresses"]
    assert last == {"service": "http_status:404"}
    assert {rule["service"] for rule in rules} == {"http://gateway:8080"}
    # Of two addresses, one that has just gone is given up after half of it.
    assert [rule["originRequest"] for rule in rules] == [{"connectTimeout": 5}] * len(rules)
    # One on Vercel is no rule's (tests/unit/components/frontend/test_vercel.py).
    records = {one.inputs["name"]: one.inputs for one in deployed.of_type(RECORD) if one.inputs["proxied"]}
    assert [rule["hostname"] for rule in rules] == sorted(records)
    for record in records.values():
        assert record["content"] == "id-of-skyvern-edge-tunnel.cfargotunnel.com"
        assert record["type"] == "CNAME"
        assert record["proxied"] is True
        assert record["ttl"] == 1
    # A site each in the gateway, and no site without a record.
    caddyfile = deployed.container("gateway").inputs["command"][1]
    sites = [line.split()[0] for line in caddyfile.splitlines() if line.startswith("http://")]
    assert sites == ["http://127.0.0.1:8081", *(f"http://{host}:8080" for host in sorted(records))]


def test_the_tunnel_is_managed_at_cloudflare_with_a_secret_of_ours(prod: Program) -> None:
    (sent,) = prod.of_type(TUNNEL)
    assert sent.inputs["configSrc"] == "cloudflare"
    assert sent.inputs["name"] == "skyvern-prod"
    assert sent.inputs["accountId"] == "a" * 32
    secret = sent.inputs["tunnelSecret"]
    assert isinstance(secret, Secret)
    assert len(base64.b64decode(secret.value, validate=True)) == 32
    token = prod.environment("connector")["TUNNEL_TOKEN"]
    assert isinstance(token, Secret)
    assert json.loads(base64.b64decode(token.value)) == {"a": "a" * 32, "t": "id-of-skyvern-edge-tunnel", "s": secret.value}


def test_a_raised_epoch_gives_another_tunnel_secret(prod: Program) -> None:
    def secret(run: Program) -> Any:
        return plain(run.of_type(TUNNEL)[0].inputs["tunnelSecret"])

    rotated = program.run(settings(CLOUDFLARE, rotation={"tunnel": 2}), stack="prod")
    assert secret(rotated) != secret(prod)


def test_the_api_token_is_sent_to_the_provider_alone_and_as_a_secret(prod: Program) -> None:
    holders = [one for one in prod.registrations if TOKEN in json.dumps(plain(one.inputs))]
    assert [one.type for one in holders] == ["pulumi:providers:cloudflare"]
    assert holders[0].inputs["apiToken"] == Secret(TOKEN)


def test_the_connector_comes_last_and_reaches_the_gateway_and_the_internet_only(prod: Program) -> None:
    connector = prod.container("connector")
    assert connector.inputs["entrypoints"] == ["cloudflared", "--no-autoupdate"]
    assert connector.inputs["command"] == ["tunnel", "run"]
    assert connector.inputs["healthcheck"]["tests"][-1] == "ready"
    assert connector.inputs["destroyGraceSeconds"] == 35
    assert connector.inputs["user"] == "65532:65532"
    assert "ports" not in connector.inputs or connector.inputs["ports"] == []
    assert [network["name"] for network in connector.inputs["networksAdvanced"]] == ["skyvern-prod-tunnel", "skyvern-prod-edge"]
    environment = prod.environment("connector")
    assert environment["TUNNEL_METRICS"].startswith("127.0.0.1:")
    assert environment["TUNNEL_TRANSPORT_PROTOCOL"] == "http2"
    # A child comes after its component, and goes before it.
    (component,) = prod.of_type("skyvern:host:Connector")
    waits_for = {urn.rpartition("::")[2] for urn in component.dependencies}
    assert {"skyvern-edge-ingress", "skyvern-edge-api", "skyvern-edge-app", "skyvern-host-gateway-caddy"} <= waits_for
    # A record may never be without its rule.
    for record in prod.of_type(RECORD):
        assert record.inputs["proxied"]
        assert "skyvern-edge-ingress" in {urn.rpartition("::")[2] for urn in record.dependencies}


def test_nothing_is_published_and_nobody_else_shares_the_way_out(prod: Program) -> None:
    networks: dict[str, set[str]] = {}
    for one in prod.of_type(CONTAINER):
        assert not one.inputs.get("ports"), one.name
        for network in one.inputs.get("networksAdvanced", []):
            networks.setdefault(network["name"].removeprefix("skyvern-prod-"), set()).add(one.inputs["hostname"])
    assert networks["tunnel"] == {"connector"}
    assert networks["edge"] == {"connector", "gateway"}
    internal = {one.inputs["name"]: one.inputs["internal"] for one in prod.of_type("docker:index/network:Network")}
    assert {name for name, closed in internal.items() if not closed} == {"skyvern-prod-outgoing", "skyvern-prod-tunnel"}


def test_skyvern_knows_its_public_addresses(prod: Program, on_vercel: Program) -> None:
    for run, api in ((prod, "https://app.example.com"), (on_vercel, "https://api.example.com")):
        server, gateway = run.environment("server"), run.environment("gateway")
        assert json.loads(server["ALLOWED_ORIGINS"]) == ["https://app.example.com"]
        assert server["SKYVERN_BASE_URL"] == "https://api.example.com"
        assert gateway["VITE_API_BASE_URL"] == f"{api}/api/v1"
        # What the connector's network has: its header is believed from there alone.
        edge = next(one for one in run.of_type("docker:index/network:Network") if one.inputs["name"] == "skyvern-prod-edge")
        assert gateway["CONNECTOR_SUBNET"] == edge.inputs["ipamConfigs"][0]["subnet"] == "10.213.90.0/27"
        assert plain(run.outputs["api_url"]) == "https://api.example.com"


def test_the_gateway_key_exists_for_vercel_only(prod: Program, on_vercel: Program) -> None:
    assert "GATEWAY_KEY" not in prod.environment("gateway")
    assert "gateway_key" not in prod.outputs
    assert isinstance(on_vercel.environment("gateway")["GATEWAY_KEY"], Secret)
    assert isinstance(on_vercel.outputs["gateway_key"], Secret)


def test_zone_settings_can_each_be_left_alone(prod: Program) -> None:
    sent = {one.inputs["settingId"]: one.inputs["value"] for one in prod.of_type(SETTING)}
    assert set(sent) == {"always_use_https", "min_tls_version", "security_header", "tls_1_3"}
    # In another case the keys would come back changed, a difference at each preview.
    assert sent["security_header"]["strict_transport_security"]["include_subdomains"] is False
    switches = {"always_https": "always_use_https", "min_tls_1_2": "min_tls_version", "hsts": "security_header", "tls_1_3": ""}
    for switch, setting in switches.items():
        left = tunnel.zone_settings(cloudflare_edge(**{switch: False}))
        assert set(sent) - set(left) == {setting or switch}


def test_the_firewall_stops_what_has_no_key(prod: Program, on_vercel: Program) -> None:
    (api,) = tunnel.firewall_rules(urls_of(CLOUDFLARE), cloudflare_edge()).values()
    assert 'http.host eq "api.example.com"' in api
    assert 'ne "OPTIONS"' in api
    assert "/api/v1/heartbeat" in api
    assert "x-gateway-key" not in api
    rules = tunnel.firewall_rules(urls_of(CLOUDFLARE, frontend=VERCEL), cloudflare_edge())
    assert len(rules) == 2
    assert "x-gateway-key" in rules["skyvern_api_without_key"]
    assert 'http.host eq "wss.example.com"' in rules["skyvern_stream_without_key"]
    for run in (prod, on_vercel):
        sent = {one.inputs["phase"]: one.inputs["rules"] for one in run.of_type(RULESET)}
        assert set(sent) == {"http_request_firewall_custom", "http_ratelimit"}
        for rule in (*sent["http_request_firewall_custom"], *sent["http_ratelimit"]):
            assert rule["ref"]
            assert rule["action"] == "block"
            assert rule["expression"].count("(") == rule["expression"].count(")")


def test_the_free_plans_rate_limit_names_no_host() -> None:
    urls = urls_of(CLOUDFLARE, frontend=VERCEL)
    assert "http.host" not in tunnel.rate_limit_expression(urls, cloudflare_edge())
    paid = tunnel.rate_limit_expression(urls, cloudflare_edge(plan="pro"))
    assert 'http.host in {"api.example.com" "wss.example.com"}' in paid


def test_firewall_and_rate_limit_can_be_switched_off() -> None:
    run = program.run(settings({**CLOUDFLARE, "firewall": False, "rate_limit": False}), stack="prod")
    assert run.of_type(RULESET) == []


def test_rules_of_somebody_are_adopted_as_they_are_and_left_behind() -> None:
    adopted = {"firewall_ruleset_id": "f" * 32, "rate_limit_ruleset_id": "e" * 32}
    sent = {one.inputs["phase"]: one for one in program.run(settings(CLOUDFLARE | adopted)).of_type(RULESET)}
    firewall = sent["http_request_firewall_custom"]
    assert firewall.import_id == f"zones/{'0' * 32}/{'f' * 32}"
    assert sent["http_ratelimit"].import_id == f"zones/{'0' * 32}/{'e' * 32}"
    assert "rules" in firewall.ignore_changes
    assert firewall.retain_on_delete


def test_cloudflare_says_when_the_tunnel_is_down_if_it_knows_to_whom() -> None:
    kind = "cloudflare:index/notificationPolicy:NotificationPolicy"
    assert program.run(settings(CLOUDFLARE), stack="prod").of_type(kind) == []
    run = program.run(settings({**CLOUDFLARE, "tunnel_alert_emails": ["b@example.com", "a@example.com"]}), stack="prod")
    (alert,), (tunnel,) = run.of_type(kind), run.of_type(TUNNEL)
    assert alert.inputs == {
        "accountId": "a" * 32,
        "alertType": "tunnel_health_event",
        "enabled": True,
        "filters": {
            "newStatuses": ["TUNNEL_STATUS_TYPE_DOWN", "TUNNEL_STATUS_TYPE_HEALTHY"],
            "tunnelIds": [f"id-of-{tunnel.name}"],
        },
        # An empty list of the other kind would be a difference at each preview.
        "mechanisms": {"emails": [{"id": "a@example.com"}, {"id": "b@example.com"}]},
        "name": "skyvern-prod: tunnel",
    }


CELL = {**CLOUDFLARE, "cell": "shop"}
MEMBER = {**CELL, "zone_owner": False}


def ruleset(name: str) -> dict[str, str]:
    described = {"id": "f" * 32, "kind": "zone", "phase": "http_ratelimit", "description": "", "lastUpdated": "", "version": "1"}
    return {**described, "name": name}


def test_a_member_of_a_zone_has_its_tunnel_and_records_and_nothing_of_the_zone() -> None:
    run = program.run(settings(MEMBER | ACCESS), stack="shop")
    assert run.of_type(RULESET) == run.of_type(SETTING) == []
    assert {one.inputs["name"] for one in run.of_type(RECORD)} == {"shop-app.example.com", "shop-api.example.com"}
    (application,) = run.of_type("cloudflare:index/zeroTrustAccessApplication:ZeroTrustAccessApplication")
    assert application.inputs["domain"] == "shop-app.example.com"
    assert [one.inputs["name"] for one in run.of_type(TUNNEL)] == ["skyvern-shop"]


def test_the_owners_rules_cover_the_hosts_of_every_cell() -> None:
    owner = cloudflare_edge(cells=["shop", "blog"], plan="pro")
    rules = tunnel.firewall_rules(urls_of(CLOUDFLARE), owner)
    assert 'http.host in {"api.example.com" "blog-api.example.com" "shop-api.example.com"}' in rules["skyvern_api_without_key"]
    # A cell's UI may be on Vercel, of which the owner's stack file says nothing.
    assert "x-gateway-key" in rules["skyvern_api_without_key"]
    assert 'http.host in {"blog-wss.example.com" "shop-wss.example.com"}' in rules["skyvern_stream_without_key"]
    paid = tunnel.rate_limit_expression(urls_of(CLOUDFLARE), owner)
    assert '"api.example.com" "app.example.com" "blog-app.example.com" "blog-api.example.com" "blog-wss.example.com"' in paid
    assert "artifact" not in paid


def test_an_owner_finds_the_rules_of_another_stack_before_anything_is_made() -> None:
    zone = {"rulesets": [ruleset("default"), ruleset("skyvern-prod rate-limit")]}
    with pytest.raises(SettingsError) as refused:
        program.run(settings(CELL), stack="shop", zone=zone)
    assert refused.value.lines == [
        "Pulumi.shop.yaml: edge.zone_owner: the zone example.com has the rules of skyvern-prod already; write false here, and "
        "shop into edge.cells of the stack that owns it"
    ]
    # Without a cell, false would be refused, and a cell would rename its hosts.
    with pytest.raises(SettingsError) as refused:
        program.run(settings({**CLOUDFLARE, "cells": ["blog"]}), stack="new", zone=zone)
    assert refused.value.lines == [
        "Pulumi.new.yaml: edge.zone_owner: the zone example.com has the rules of skyvern-prod already; let that stack hand the "
        "zone over first (docs/scale.md)"
    ]
    # Its own, another's that is not of this program, and a member of the zone.
    assert program.run(settings(CELL), stack="prod", zone=zone).of_type(RULESET)
    assert program.run(settings(CELL), stack="shop", zone={"rulesets": [ruleset("my rate-limit")]}).of_type(RULESET)
    program.run(settings(MEMBER), stack="shop", zone=zone | {"rulesets_failure": "is not asked"})
    # A stack without cells asks for nothing but its zone.
    program.run(settings(CLOUDFLARE), stack="dev", zone=zone | {"rulesets_failure": "is not asked"})


def test_what_cannot_be_looked_at_is_not_taken_for_an_empty_zone() -> None:
    with pytest.raises(SettingsError) as refused:
        program.run(settings(CELL), stack="shop", zone={"rulesets_failure": "403 Forbidden\n10000"})
    (line,) = refused.value.lines
    assert line.startswith(
        "Pulumi.shop.yaml: edge.api_token: cannot list the zone's rules; give the token Zone: Zone WAF: Edit "
        "(docs/cloudflare.md). It answered: "
    )
    assert "403 Forbidden 10000" in line


def test_too_many_cells_for_one_rule_are_one_line() -> None:
    cells = [f"a-cell-with-quite-a-long-name-{number}" for number in range(100)]
    with pytest.raises(SettingsError) as refused:
        program.run(settings({**CLOUDFLARE, "cells": cells}), stack="prod")
    (line,) = refused.value.lines
    assert line.startswith("Pulumi.prod.yaml: edge.cells: make a rule of 5")
    assert line.endswith("characters, and Cloudflare takes 4096; write fewer or shorter names")


def test_access_guards_the_ui_and_the_connector_checks_it_too() -> None:
    run = program.run(settings(CLOUDFLARE | ACCESS), stack="prod")
    (application,) = run.of_type("cloudflare:index/zeroTrustAccessApplication:ZeroTrustAccessApplication")
    (policy,) = run.of_type("cloudflare:index/zeroTrustAccessPolicy:ZeroTrustAccessPolicy")
    assert application.inputs["domain"] == "app.example.com"
    assert application.inputs["policies"] == [{"id": f"id-of-{policy.name}", "precedence": 1}]
    assert policy.inputs["decision"] == "allow"
    assert policy.inputs["includes"] == [
        {"email": {"email": "a@example.com"}},
        {"email": {"email": "b@example.com"}},
        {"emailDomain": {"domain": "example.org"}},
    ]
    (config,) = run.of_type(CONFIG)
    by_host = {rule.get("hostname"): rule.get("originRequest") for rule in config.inputs["config"]["ingresses"]}
    assert by_host == {
        "api.example.com": {"connectTimeout": 5},
        "app.example.com": {
            "access": {"audTags": [f"aud-of-{application.name}"], "required": True, "teamName": "acme"},
            "connectTimeout": 5,
        },
        None: None,
    }


@pytest.mark.parametrize(
    ("zone", "line"),
    [
        (
            {"failure": "invocation of cloudflare:index/getZone:getZone: failed to find exactly one result: 0 found"},
            'edge.domain: the token sees no zone "example.com"; add the domain to Cloudflare, write the zone itself, not a host '
            "in it, or give the token this zone (docs/cloudflare.md)",
        ),
        (
            {"failure": "failed to find exactly one result: 2 found"},
            'edge.domain: the token sees 2 zones "example.com"; give it the zone of one account only',
        ),
        (
            {"failure": 'GET "https://x/zones": 403 Forbidden {"errors":[{"code":9109,\n"message":"Invalid access token"}]}'},
            "edge.api_token: Cloudflare refuses it; make one as docs/cloudflare.md says. It answered: GET "
            '"https://x/zones": 403 Forbidden {"errors":[{"code":9109, "message":"Invalid access token"}]}',
        ),
        (
            {"failure": "dial tcp: no route to host"},
            'edge.domain: the zone "example.com" cannot be looked up; try again. The provider reported: dial tcp: no route to '
            "host",
        ),
        (
            {"status": "pending", "nameServers": ["a.ns.cloudflare.com", "b.ns.cloudflare.com"]},
            'edge.domain: the zone example.com is "pending"; set its name servers at the registrar to a.ns.cloudflare.com and '
            "b.ns.cloudflare.com",
        ),
        (
            {"account": {"id": None}},
            "edge.api_token: may not see the zone's account; give the token Zone: Read (docs/cloudflare.md)",
        ),
    ],
)
def test_a_zone_that_cannot_serve_is_one_line(zone: dict[str, Any], line: str) -> None:
    with pytest.raises(SettingsError) as wrong:
        program.run(settings(CLOUDFLARE), stack="prod", zone=zone)
    (told,) = wrong.value.lines
    # How the engine introduces a provider's failure is its own.
    for part in line.split(" It answered: ")[0].split(" The provider reported: "):
        assert part in told
    assert told.startswith("Pulumi.prod.yaml: edge.")
    assert "\n" not in told
    assert TOKEN not in told


# --- ngrok ---------------------------------------------------------------------------------------------------------------


def test_ngrok_is_a_container_and_nothing_else() -> None:
    run = program.run(settings(NGROK), stack="prod")
    assert not [one for one in run.registrations if one.type.startswith(("cloudflare:", "pulumi:providers:cloudflare"))]
    connector = run.container("ngrok")
    assert TOKEN not in json.dumps(plain(connector.inputs["command"]))
    assert run.environment("ngrok")["NGROK_AUTHTOKEN"] == Secret(TOKEN)
    assert [network["name"] for network in connector.inputs["networksAdvanced"]] == ["skyvern-prod-tunnel", "skyvern-prod-edge"]
    assert all(not one.inputs.get("ports") for one in run.of_type(CONTAINER))
    config = yaml.safe_load(connector.inputs["command"][-1])
    assert config == {
        "version": 3,
        "agent": {"update_check": False, "web_addr": "127.0.0.1:4040"},
        "endpoints": [{"name": "skyvern", "url": "https://your-name.ngrok.app", "upstream": {"url": "http://gateway:8080"}}],
    }


@pytest.mark.parametrize("monitored", [True, False])
def test_ngroks_start_writes_the_configuration_without_the_token(monitored: bool, tmp_path: Any) -> None:
    # The shell around the agent, run with doubles of the agent and of its folders.
    run = program.run(Settings.model_validate({"edge": NGROK, "monitor": {"enabled": monitored}}))
    script = plain(run.container("ngrok").inputs["command"])[0]
    script = script.replace("/tmp/", f"{tmp_path}/").replace("/run/started/", f"{tmp_path}/started/")  # noqa: S108
    (tmp_path / "started").mkdir()
    agent = tmp_path / "ngrok"
    agent.write_text('#!/bin/sh\necho "$@"\n')
    agent.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", script, "ngrok-start", ngrok.agent_config("x.example")],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [
        *("start", "--all", "--config", f"{tmp_path}/ngrok.yml"),
        *("--log", "stdout", "--log-format", "json"),
    ]
    assert yaml.safe_load((tmp_path / "ngrok.yml").read_text())["version"] == 3
    assert (tmp_path / "started/at").exists() is monitored


ONLINE, OFFLINE = b'[{"name": "skyvern", "url": "https://x.example"}]', b"[]"


@contextmanager
def agent_api(answers: Mapping[str, bytes]) -> Iterator[int]:
    """The agent's local API on a port of loopback: it refuses an empty or foreign Host, as the agent does since 3.1.1."""

    class Api(loopback.Handler):
        def do_GET(self) -> None:
            kind = self.path.removeprefix("/api/")
            host = (self.headers.get("Host") or "").rpartition(":")[0]
            status = 403 if host not in {"127.0.0.1", "localhost"} else 200 if kind in answers else 404
            self.send_response(status)
            self.end_headers()
            if status == 200:
                self.wfile.write(b'{"%s": %s}' % (kind.encode(), answers[kind]))

    with loopback.serving(Api) as port:
        yield port


@pytest.mark.parametrize("with_wget", [False, True])
@pytest.mark.parametrize(
    ("answers", "healthy"),
    [
        ({"endpoints": ONLINE}, True),
        ({"endpoints": ONLINE, "tunnels": OFFLINE}, True),
        # Before 3.30 there are no endpoints.
        ({"tunnels": b'[{"public_url": "https://x.example"}]'}, True),
        ({"endpoints": OFFLINE, "tunnels": OFFLINE}, False),
        ({}, False),
    ],
)
def test_ngrok_is_healthy_once_its_endpoint_is_online(
    tmp_path: Path, answers: Mapping[str, bytes], healthy: bool, with_wget: bool
) -> None:
    """O1, O2: the request had no Host, so the agent refused it and the container never got healthy."""
    for tool in ("bash", "cat", "grep", "sh"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    if with_wget:
        wget = tmp_path / "wget"
        fetch = "import sys, urllib.request as r; print(r.urlopen(sys.argv[-1]).read().decode())"
        wget.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{fetch}' \"$@\"\n")
        wget.chmod(0o755)
    with agent_api(answers) as port:
        check = ngrok._HEALTH.replace("127.0.0.1:4040", f"127.0.0.1:{port}").replace("127.0.0.1/4040", f"127.0.0.1/{port}")
        command = ["sh", "-c", check, "https://x.example"]
        done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, check=False, timeout=30)
    assert (done.returncode == 0) is healthy


# --- Neither -------------------------------------------------------------------------------------------------------------


def modules_of_cloudflare(sections: Mapping[str, Any]) -> int:
    """How many modules of Cloudflare's SDK a process has that makes a stack with these settings."""
    script = f"""
import sys
from components.settings import Settings
from tests.support import program
program.run(Settings.model_validate({dict(sections)!r}), stack="prod")
print(sum(name.startswith("pulumi_cloudflare") for name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("sections", [{}, {"edge": NGROK}])
def test_a_stack_without_cloudflare_does_not_load_its_sdk(sections: Mapping[str, Any]) -> None:
    assert modules_of_cloudflare(sections) == 0


def test_of_cloudflares_sdk_a_stack_loads_what_it_uses() -> None:
    """All of it, 782 modules, is a second of each preview more."""
    edge = {**CLOUDFLARE, "tunnel_alert_emails": ["a@example.com"]}
    assert 5 < modules_of_cloudflare({"edge": edge, "frontend": VERCEL}) < 30


def test_a_docker_host_over_ssh_is_reached_by_one_connection() -> None:
    run = program.run(Settings.model_validate({"host": {"docker_host": "ssh://deploy@host.example.com:2222"}}))
    (provider,) = run.of_type("pulumi:providers:docker")
    assert provider.inputs["host"] == "ssh://deploy@host.example.com:2222"
    assert "ControlMaster=auto" in plain(provider.inputs["sshOpts"])
    (local,) = program.run(Settings()).of_type("pulumi:providers:docker")
    assert "sshOpts" not in local.inputs


def test_an_update_waits_for_the_tunnel_as_long_as_its_protocol_may_take() -> None:
    """``auto`` gives QUIC up after 8 handshakes of 10 s with pauses that double up to 64 s: no failure of the update."""

    def seconds(**edge: Any) -> tuple[str, int]:
        inputs = program.run(settings(CLOUDFLARE | edge)).container("connector").inputs
        return str(inputs["healthcheck"]["startPeriod"]), int(inputs["waitTimeout"])

    assert seconds() == seconds(protocol="quic") == ("1m0s", 150)
    assert seconds(protocol="auto") == ("6m0s", 450)
