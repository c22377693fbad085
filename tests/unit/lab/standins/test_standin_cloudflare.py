"""What the stand-in for Cloudflare refuses, with the API's code, and what it lets pass."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from lab.standins.providers import World, cloudflare
from lab.standins.providers.cloudflare import VENDOR, ingress_problem, rule_problems
from lab.standins.providers.install import schema_of
from lab.standins.providers.vendor import Call, Kind, Refused
from lab.standins.providers.world import Data

KINDS: dict[str, Kind] = {kind.resource: kind for kind in VENDOR.kinds}
CONFIG = "ZeroTrustTunnelCloudflaredConfig"
TUNNEL = "ZeroTrustTunnelCloudflared"
POLICY = "ZeroTrustAccessPolicy"
APPLICATION = "ZeroTrustAccessApplication"


class Api:
    """The API in front of a world, for one token."""

    def __init__(self, world: World, token: str = cloudflare.TOKEN) -> None:
        self.world, self.token = world, token
        (self.zone,) = world.read()["zones"]
        (self.account,) = world.read()["accounts"]

    def call(self, data: Data) -> Call:
        return Call(data, schema_of("cloudflare"), {"apiToken": self.token})

    def create(self, kind: str, /, **inputs: Any) -> tuple[str, dict[str, Any]]:
        with self.world.edit() as data:
            return KINDS[kind].create(self.call(data), inputs)

    def update(self, kind: str, identifier: str, known: dict[str, Any], /, **inputs: Any) -> dict[str, Any]:
        with self.world.edit() as data:
            return KINDS[kind].update(self.call(data), identifier, inputs, known)

    def delete(self, kind: str, identifier: str, known: dict[str, Any]) -> None:
        with self.world.edit() as data:
            KINDS[kind].delete(self.call(data), identifier, known)

    def look_up(self, function: str, **arguments: Any) -> dict[str, Any]:
        return VENDOR.functions[function](self.call(self.world.read()), arguments)

    # The least that the API takes of each.

    def tunnel(self, name: str = "skyvern", **more: Any) -> tuple[str, dict[str, Any]]:
        return self.create(TUNNEL, **{"accountId": self.account, "name": name, "configSrc": "cloudflare", **more})

    def record(self, **more: Any) -> tuple[str, dict[str, Any]]:
        given = {"zoneId": self.zone, "name": "api.example.com", "type": "CNAME", "content": "a.example.net", "ttl": 1.0, **more}
        return self.create("DnsRecord", **given)

    def setting(self, setting: str, value: Any) -> tuple[str, dict[str, Any]]:
        return self.create("ZoneSetting", zoneId=self.zone, settingId=setting, value=value)

    def ruleset(self, phase: str = "http_request_firewall_custom", **more: Any) -> tuple[str, dict[str, Any]]:
        return self.create("Ruleset", **{"zoneId": self.zone, "kind": "zone", "name": "skyvern", "phase": phase, **more})

    def policy(self, **more: Any) -> tuple[str, dict[str, Any]]:
        everyone = [{"email": {"email": "ops@example.com"}}]
        return self.create(
            POLICY, **{"accountId": self.account, "name": "ops", "decision": "allow", "includes": everyone, **more}
        )

    def application(self, **more: Any) -> tuple[str, dict[str, Any]]:
        given = {"accountId": self.account, "name": "ui", "type": "self_hosted", "domain": "app.example.com", **more}
        return self.create(APPLICATION, **given)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return cloudflare.new_world(tmp_path / "world.json")


@pytest.fixture
def api(world: World) -> Api:
    return Api(world)


def refusal(code: int | str) -> Any:
    """Expects a refusal with this code."""
    return pytest.raises(Refused, check=lambda error: error.code == code)


class TestTokens:
    def test_an_unknown_one(self, world: World) -> None:
        with refusal(9109):
            Api(world, "b" * 40).tunnel()

    @pytest.mark.parametrize(
        ("permission", "act"),
        [
            ("Cloudflare Tunnel Write", lambda api: api.tunnel()),
            ("DNS Write", lambda api: api.record()),
            ("Zone Settings Write", lambda api: api.setting("tls_1_3", "on")),
            ("Zone WAF Write", lambda api: api.ruleset()),
            ("Zone Transform Rules Write", lambda api: api.ruleset("http_response_headers_transform")),
            ("Access: Apps and Policies Write", lambda api: api.policy()),
            ("Access: Apps and Policies Write", lambda api: api.application()),
            (
                "Access: Service Tokens Write",
                lambda api: api.create("ZeroTrustAccessServiceToken", accountId=api.account, name="ci"),
            ),
        ],
    )
    def test_each_call_needs_its_permission(self, world: World, permission: str, act: Any) -> None:
        with world.edit() as data:
            data["tokens"]["only"] = [permission]
            data["tokens"]["all-but"] = [
                *(name for name in cloudflare.PERMISSIONS if name != permission),
                permission.replace("Write", "Read"),
            ]
        with refusal(10000):
            act(Api(world, "all-but"))
        act(Api(world, "only"))

    def test_reading_a_tunnels_token_needs_the_permission_to_write(self, world: World, api: Api) -> None:
        identifier, _ = api.tunnel()
        with world.edit() as data:
            data["tokens"]["reader"] = ["Cloudflare Tunnel Read"]
        with refusal(10000):
            Api(world, "reader").look_up("get_zero_trust_tunnel_cloudflared_token", accountId=api.account, tunnelId=identifier)

    def test_an_account_or_zone_of_somebody_else(self, api: Api) -> None:
        with refusal(10000):
            api.tunnel(accountId="f" * 32)
        with refusal(10000):
            api.record(zoneId="f" * 32)


class TestZones:
    def test_one_is_found_by_name_and_by_id(self, api: Api) -> None:
        found = api.look_up("get_zone", filter={"name": "example.com", "match": "all"})
        assert found["zoneId"] == api.zone
        assert found["account"]["id"] == api.account
        assert found["status"] == "active"
        assert found["plan"]["legacyId"] == "free"
        assert api.look_up("get_zone", zoneId=api.zone)["name"] == "example.com"
        assert len(api.look_up("get_zones", name="example.com")["results"]) == 1

    def test_none_or_two_are_an_error(self, world: World, api: Api) -> None:
        with pytest.raises(Refused, match=": 0 found"):
            api.look_up("get_zone", filter={"name": "example.org", "match": "all"})
        with world.edit() as data:
            cloudflare.add_zone(data["zones"], "example.com", account="e" * 32, status="pending")
        with pytest.raises(Refused, match=": 2 found"):
            api.look_up("get_zone", filter={"name": "example.com", "match": "all"})
        one = api.look_up("get_zone", filter={"name": "example.com", "match": "all", "account": {"id": api.account}})
        assert one["status"] == "active"
        pending = api.look_up("get_zone", filter={"name": "example.com", "match": "all", "status": "pending"})
        assert pending["account"]["id"] == "e" * 32

    def test_without_the_permission_to_list_there_are_none(self, world: World) -> None:
        with world.edit() as data:
            data["tokens"]["dns"] = ["DNS Write"]
        with pytest.raises(Refused, match=": 0 found"):
            Api(world, "dns").look_up("get_zone", filter={"name": "example.com", "match": "all"})


class TestTunnels:
    def test_names_are_unique(self, api: Api) -> None:
        identifier, known = api.tunnel("a")
        other, _ = api.tunnel("b")
        with refusal(1013):
            api.tunnel("a")
        with refusal(1013):
            api.update(TUNNEL, other, known, accountId=api.account, name="a")
        api.update(TUNNEL, identifier, known, accountId=api.account, name="a")
        api.delete(TUNNEL, identifier, known)
        api.tunnel("a")

    def test_live_connections_hold_it(self, world: World, api: Api, tmp_path: Path) -> None:
        identifier, known = api.tunnel("a")
        alive = tmp_path / "alive"
        alive.touch()
        world.connect("a", alive)
        with refusal(1022):
            api.delete(TUNNEL, identifier, known)
        alive.unlink()
        api.delete(TUNNEL, identifier, known)

    def test_a_secret_has_32_bytes(self, api: Api) -> None:
        with refusal(1003):
            api.tunnel(tunnelSecret=base64.b64encode(b"0" * 31).decode())
        with refusal(1003):
            api.tunnel(tunnelSecret="not base64, but long enough to have 32 bytes")

    def test_the_token_is_made_of_the_account_the_id_and_the_secret(self, api: Api) -> None:
        secret = base64.b64encode(b"1" * 32).decode()
        identifier, outputs = api.tunnel(tunnelSecret=secret)
        arguments = {"accountId": api.account, "tunnelId": identifier}
        token = api.look_up("get_zero_trust_tunnel_cloudflared_token", **arguments)["token"]
        assert json.loads(base64.b64decode(token)) == {"a": outputs["accountTag"], "t": identifier, "s": secret}

        rotated = base64.b64encode(b"2" * 32).decode()
        api.update(TUNNEL, identifier, outputs, accountId=api.account, name="skyvern", tunnelSecret=rotated)
        token = api.look_up("get_zero_trust_tunnel_cloudflared_token", **arguments)["token"]
        assert json.loads(base64.b64decode(token))["s"] == rotated

    def test_a_configuration_has_versions_and_goes_with_its_tunnel(self, world: World, api: Api) -> None:
        identifier, known = api.tunnel()
        config = {"ingresses": [{"service": "http_status:404"}]}
        given = {"accountId": api.account, "tunnelId": identifier, "config": config}
        assert api.create(CONFIG, **given)[1]["version"] == 1
        assert api.create(CONFIG, **given)[1]["version"] == 2
        with refusal(1056):
            api.create(CONFIG, **{**given, "config": {"ingresses": [{"hostname": "a.example.com", "service": "http://a"}]}})
        with refusal(1003):
            api.create(CONFIG, **{**given, "tunnelId": "gone"})
        api.delete(TUNNEL, identifier, known)
        assert world.read()["configurations"] == {}


LAST = {"service": "http_status:404"}


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ([{"hostname": "a.example.com", "service": "http://gateway:8080"}, LAST], None),
        ([{"hostname": "*.example.com", "path": "^/v1", "service": "https://gateway"}, LAST], None),
        ([{"hostname": "a.example.com", "service": "unix:/run/a.sock"}, LAST], None),
        ([], "no ingress rules"),
        ([{"hostname": "a.example.com", "service": "http://gateway"}], "last ingress rule must match all URLs"),
        ([{"path": "/a", "service": "http://gateway"}], "last ingress rule must match all URLs"),
        ([LAST, LAST], "Rule #1 is matching the hostname"),
        ([{"hostname": "a.*.com", "service": "http://gateway"}, LAST], "wildcard"),
        ([{"hostname": "a.example.com:443", "service": "http://gateway"}, LAST], "port"),
        ([{"hostname": "a.example.com", "service": "gateway:8080"}, LAST], "scheme and a hostname"),
        ([{"hostname": "a.example.com", "service": "http://gateway/path"}, LAST], "different path"),
        ([{"service": "http_status:4040"}], "invalid HTTP status"),
    ],
)
def test_ingress(rules: list[dict[str, Any]], problem: str | None) -> None:
    found = ingress_problem(rules)
    assert (found is None) if problem is None else (found is not None and problem in found)


class TestRecords:
    def test_one_host_has_one_cname_or_addresses(self, api: Api) -> None:
        identifier, known = api.record()
        with refusal(81053):
            api.record(content="b.example.net")
        with refusal(81053):
            api.record(type="A", content="192.0.2.1")
        api.record(type="TXT", content='"text"')
        api.delete("DnsRecord", identifier, known)
        api.record(type="A", content="192.0.2.1")
        api.record(type="A", content="192.0.2.2")
        with refusal(81058):
            api.record(type="A", content="192.0.2.2")
        with refusal(81053):
            api.record()

    def test_a_record_does_not_stand_in_its_own_way(self, api: Api) -> None:
        identifier, known = api.record()
        given = {name: known[name] for name in ("zoneId", "name", "type", "ttl")}
        changed = api.update("DnsRecord", identifier, known, **given, content="c.example.net", proxied=True)
        assert (changed["content"], changed["id"], changed["createdOn"]) == ("c.example.net", identifier, known["createdOn"])

    @pytest.mark.parametrize(
        ("changed", "code"),
        [
            ({"proxied": True, "ttl": 300.0}, "ttl"),
            ({"ttl": 30.0}, 9021),
            ({"type": "TXT", "content": '"a"', "proxied": True}, 9004),
            ({"name": "api"}, 9000),
            ({"name": "api.notexample.com"}, 9000),
            ({"content": "api.example.com"}, 9039),
            ({"tags": ["a:b"]}, 9300),
        ],
    )
    def test_refused(self, api: Api, changed: dict[str, Any], code: int | str) -> None:
        with refusal(code):
            api.record(**changed)


class TestSettings:
    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            ("always_use_https", "on"),
            ("min_tls_version", "1.2"),
            ("tls_1_3", "zrt"),
            ("security_header", {"strict_transport_security": {"enabled": True, "max_age": 15552000}}),
        ],
    )
    def test_taken(self, world: World, api: Api, setting: str, value: Any) -> None:
        identifier, outputs = api.setting(setting, value)
        assert (identifier, outputs["value"]) == (setting, value)
        assert world.read()["zones"][api.zone]["settings"][setting] == value

    @pytest.mark.parametrize(
        ("setting", "value", "code"),
        [
            ("always_use_http", "on", 1006),
            ("always_use_https", True, 1007),
            ("min_tls_version", "1.4", 1007),
            ("security_header", "on", 1007),
            ("security_header", {"strictTransportSecurity": {"enabled": True}}, 1007),
            ("security_header", {"strict_transport_security": {"maxAge": 1}}, 1007),
        ],
    )
    def test_refused(self, api: Api, setting: str, value: Any, code: int) -> None:
        with refusal(code):
            api.setting(setting, value)


RATE: dict[str, Any] = {
    "characteristics": ["cf.colo.id", "ip.src"],
    "period": 10.0,
    "requestsPerPeriod": 100.0,
    "mitigationTimeout": 10.0,
}
LIMIT: dict[str, Any] = {
    "action": "block",
    "expression": 'starts_with(http.request.uri.path, "/api/")',
    "ratelimit": RATE,
    "ref": "api",
}


class TestRulesets:
    def test_one_a_phase(self, api: Api) -> None:
        identifier, known = api.ruleset()
        api.ruleset("http_ratelimit", rules=[LIMIT])
        with refusal(20217):
            api.ruleset(name="other")
        api.delete("Ruleset", identifier, known)
        api.ruleset()

    def test_the_plan_binds_creation_and_change(self, api: Api) -> None:
        with refusal(20127):
            api.ruleset("http_ratelimit", rules=[LIMIT, {**LIMIT, "ref": "b"}])
        identifier, known = api.ruleset("http_ratelimit", rules=[LIMIT])
        given = {name: known[name] for name in ("zoneId", "kind", "name", "phase")}
        with refusal(20127):
            api.update("Ruleset", identifier, known, **given, rules=[{**LIMIT, "ratelimit": {**RATE, "period": 60.0}}])
        changed = api.update("Ruleset", identifier, known, **given, rules=[{**LIMIT, "expression": "true"}])
        assert changed["version"] == "2"
        # A rule with a reference keeps its id.
        assert changed["rules"][0]["id"] == known["rules"][0]["id"]

    @pytest.mark.parametrize(
        ("phase", "rules", "plan", "problem"),
        [
            ("http_ratelimit", [LIMIT], "free", None),
            ("http_ratelimit", [LIMIT, {**LIMIT, "ref": "b"}], "free", "maximum number of rules"),
            ("http_ratelimit", [LIMIT, {**LIMIT, "ref": "b"}], "pro", None),
            ("http_ratelimit", [LIMIT, LIMIT], "pro", "used more than once"),
            ("http_ratelimit", [{**LIMIT, "expression": 'http.host eq "api.example.com"'}], "free", "the field http.host"),
            ("http_ratelimit", [{**LIMIT, "expression": 'http.host eq "api.example.com"'}], "pro", None),
            ("http_ratelimit", [{**LIMIT, "expression": 'http.request.method eq "GET"'}], "pro", "the field http.request.method"),
            (
                "http_ratelimit",
                [{**LIMIT, "ratelimit": {**RATE, "period": 60.0}}],
                "free",
                "the period 60, can only use a period among [10]",
            ),
            ("http_ratelimit", [{**LIMIT, "ratelimit": {**RATE, "mitigationTimeout": 60.0}}], "free", "different from 10"),
            ("http_ratelimit", [{**LIMIT, "ratelimit": {**RATE, "period": 60.0, "mitigationTimeout": 60.0}}], "pro", None),
            ("http_ratelimit", [{**LIMIT, "ratelimit": {**RATE, "characteristics": ["ip.src"]}}], "free", "cf.colo.id"),
            (
                "http_ratelimit",
                [{**LIMIT, "ratelimit": {**RATE, "characteristics": ["cf.colo.id", "http.host"]}}],
                "free",
                "ip.src",
            ),
            ("http_ratelimit", [{**LIMIT, "ratelimit": {**RATE, "countingExpression": "true"}}], "free", "counting"),
            ("http_ratelimit", [{"action": "block", "expression": "true"}], "free", "ratelimit is required"),
            ("http_request_firewall_custom", [LIMIT], "free", "ratelimit is not allowed"),
            *(
                ("http_request_firewall_custom", [{"action": action, "expression": expression}] * count, plan, problem)
                for action, expression, count, plan, problem in [
                    ("block", 'http.host eq "a" and not (http.request.method in {"GET"})', 5, "free", None),
                    ("block", "true", 6, "free", "6 out of 5"),
                    ("block", "true", 20, "pro", None),
                    ("rewrite", "true", 1, "free", "not a valid value for action"),
                    ("block", 'http.request.uri.path matches "^/a"', 1, "free", "Matches"),
                    ("block", 'http.request.uri.path matches "^/a"', 1, "business", None),
                    ("block", 'http.host eq "it matches"', 1, "free", None),
                    ("block", 'http.hosts eq "a"', 1, "free", "unknown identifier http.hosts"),
                    ("block", '(http.host eq "a"', 1, "free", "unbalanced"),
                    ("block", 'http.host eq "a', 1, "free", "unbalanced"),
                    ("block", " ", 1, "free", "unbalanced"),
                ]
            ),
        ],
    )
    def test_rules(self, phase: str, rules: list[dict[str, Any]], plan: str, problem: str | None) -> None:
        found = list(rule_problems(phase, rules, plan))
        assert (found == []) if problem is None else any(problem in message for message, _ in found)

    @pytest.mark.parametrize("status", [399, 500])
    def test_a_response_is_whole_and_a_client_error(self, status: int) -> None:
        response = {"statusCode": 429, "contentType": "application/json", "content": "{}"}
        rule = {**LIMIT, "actionParameters": {"response": response}}
        assert list(rule_problems("http_ratelimit", [rule], "free")) == []
        for wrong in ({**response, "statusCode": status}, {"statusCode": 429}):
            assert list(rule_problems("http_ratelimit", [{**LIMIT, "actionParameters": {"response": wrong}}], "free"))

    def test_the_provider_checks_the_scope(self) -> None:
        check = KINDS["Ruleset"].check
        good = {"kind": "zone", "phase": "http_ratelimit", "zoneId": "a" * 32}
        assert check(good) == []
        assert [failure.path for failure in check({**good, "zoneId": "zone"})] == ["zoneId"]
        assert [failure.path for failure in check({**good, "accountId": "a"})] == ["zoneId"]
        assert [failure.path for failure in check({**good, "kind": "zones", "phase": "http"})] == ["kind", "phase"]


class TestAccess:
    def test_it_is_off_until_somebody_has_given_the_team_a_name(self, world: World, api: Api) -> None:
        with world.edit() as data:
            data["accounts"][api.account]["zero_trust"] = False
        for act in (api.policy, api.application):
            with pytest.raises(Refused, match="not_enabled"):
                act()

    def test_an_application_and_its_policy(self, api: Api) -> None:
        policy, _ = api.policy()
        identifier, outputs = api.application(policies=[{"id": policy, "precedence": 1.0}])
        assert len(outputs["aud"]) == 64
        assert outputs["selfHostedDomains"] == ["app.example.com"]
        with refusal(11010):
            api.application(name="again")
        given = {name: outputs[name] for name in ("accountId", "name", "type", "domain")}
        assert api.update(APPLICATION, identifier, outputs, **given)["aud"] == outputs["aud"]

    @pytest.mark.parametrize(
        "changed",
        [
            {"domain": "app.example.org"},
            {"domain": "app.notexample.com"},
            {"destinations": [{"type": "public", "uri": "app.example.org/path"}]},
            {"policies": [{"id": "gone", "precedence": 1.0}]},
        ],
    )
    def test_refused(self, api: Api, changed: dict[str, Any]) -> None:
        with refusal(12130):
            api.application(**changed)

    def test_a_policy_includes_somebody(self, api: Api) -> None:
        with refusal(12130):
            api.policy(includes=[])
        assert [failure.path for failure in KINDS[POLICY].check({"decision": "maybe"})] == ["decision"]

    def test_a_service_token_is_told_once_and_rotates_with_its_version(self, world: World, api: Api) -> None:
        given = {"accountId": api.account, "name": "ci"}
        identifier, outputs = api.create("ZeroTrustAccessServiceToken", **given)
        assert outputs["clientSecret"] not in world.path.read_text()
        same = api.update("ZeroTrustAccessServiceToken", identifier, outputs, **given, duration="24h")
        assert same["clientSecret"] == outputs["clientSecret"]
        rotated = api.update("ZeroTrustAccessServiceToken", identifier, outputs, **given, clientSecretVersion=2.0)
        assert rotated["clientSecret"] != outputs["clientSecret"]
