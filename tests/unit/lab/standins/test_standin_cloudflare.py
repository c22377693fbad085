"""What the stand-in for Cloudflare refuses, with the API's code, and what it lets pass."""

import base64
from pathlib import Path
from typing import Any

import pytest

from lab.standins.edge.zone import Request, request_fields
from lab.standins.providers import World, cloudflare
from lab.standins.providers.cloudflare import ingress_problem, rule_problems
from lab.standins.providers.vendor import Refused
from tests.support import standins
from tests.support.standins import refusal

CONFIG = "ZeroTrustTunnelCloudflaredConfig"
TUNNEL = "ZeroTrustTunnelCloudflared"
POLICY = "ZeroTrustAccessPolicy"
NOTIFICATION = "NotificationPolicy"
APPLICATION = "ZeroTrustAccessApplication"


class Api(standins.Api):
    """Cloudflare's API for one token."""

    def __init__(self, world: World, token: str = cloudflare.TOKEN) -> None:
        super().__init__("cloudflare", world, apiToken=token)
        (self.zone,) = world.read()["zones"]
        (self.account,) = world.read()["accounts"]

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

    def notification(self, **more: Any) -> tuple[str, dict[str, Any]]:
        given = {"accountId": self.account, "name": "down", "alertType": "tunnel_health_event"}
        return self.create(NOTIFICATION, **{**given, "mechanisms": {"emails": [{"id": "ops@example.com"}]}, **more})

    def application(self, **more: Any) -> tuple[str, dict[str, Any]]:
        given = {"accountId": self.account, "name": "ui", "type": "self_hosted", "domain": "app.example.com", **more}
        return self.create(APPLICATION, **given)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return cloudflare.new_world(tmp_path / "world.json")


@pytest.fixture
def api(world: World) -> Api:
    return Api(world)


class TestTokens:
    def test_an_unknown_token_is_refused(self, world: World) -> None:
        with refusal(9109):
            Api(world, "b" * 40).tunnel()

    @pytest.mark.parametrize(
        ("permission", "act"),
        [
            ("Cloudflare Tunnel Write", lambda api: api.tunnel()),
            ("DNS Write", lambda api: api.record()),
            ("Zone Settings Write", lambda api: api.setting("tls_1_3", "on")),
            ("Zone WAF Write", lambda api: api.ruleset()),
            ("Access: Apps and Policies Write", lambda api: api.policy()),
            ("Access: Apps and Policies Write", lambda api: api.application()),
            ("Notifications Write", lambda api: api.notification()),
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

    def test_another_accounts_account_or_zone_is_refused(self, api: Api) -> None:
        with refusal(10000):
            api.tunnel(accountId="f" * 32)
        with refusal(10000):
            api.record(zoneId="f" * 32)


class TestZones:
    def test_one_is_found_by_name(self, api: Api) -> None:
        found = api.look_up("get_zone", filter={"name": "example.com", "match": "all"})
        assert found["zoneId"] == api.zone
        assert found["account"]["id"] == api.account
        assert found["status"] == "active"
        assert found["plan"]["legacyId"] == "free"

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


class TestNotifications:
    def test_what_is_empty_is_left_out(self, api: Api) -> None:
        _, known = api.notification(mechanisms={"emails": [{"id": "ops@example.com"}], "webhooks": []})
        assert known["mechanisms"] == {"emails": [{"id": "ops@example.com"}]}
        with refusal(17101):
            api.notification(mechanisms={"emails": []})

    def test_it_is_about_a_tunnel_that_exists_and_a_status_that_cloudflare_has(self, api: Api) -> None:
        tunnel, _ = api.tunnel()
        filters = {"tunnelIds": [tunnel], "newStatuses": ["TUNNEL_STATUS_TYPE_DOWN"]}
        identifier, known = api.notification(filters=filters)
        for wrong in ({"tunnelIds": ["gone"]}, {"newStatuses": ["down"]}, {"tunnelNames": ["skyvern"]}):
            with refusal(17003):
                api.notification(filters={**filters, **wrong})
        given = {name: known[name] for name in ("accountId", "name", "alertType", "filters")}
        changed = api.update(NOTIFICATION, identifier, known, **given, mechanisms={"webhooks": [{"id": "e" * 32}]})
        assert (changed["created"], changed["mechanisms"]) == (known["created"], {"webhooks": [{"id": "e" * 32}]})


class TestTunnels:
    def test_names_are_unique(self, api: Api) -> None:
        identifier, known = api.tunnel("a")
        other, _ = api.tunnel("b")
        with refusal(1013):
            api.tunnel("a")
        with refusal(1013):
            api.update(TUNNEL, other, known, accountId=api.account, name="a")
        api.update(TUNNEL, identifier, known, accountId=api.account, name="a")
        api.delete(TUNNEL, identifier, **known)
        api.tunnel("a")

    def test_live_connections_hold_it(self, world: World, api: Api, tmp_path: Path) -> None:
        identifier, known = api.tunnel("a")
        alive = tmp_path / "alive"
        alive.touch()
        world.connect("a", alive)
        with refusal(1022):
            api.delete(TUNNEL, identifier, **known)
        alive.unlink()
        api.delete(TUNNEL, identifier, **known)

    def test_a_secret_has_32_bytes(self, api: Api) -> None:
        with refusal(1003):
            api.tunnel(tunnelSecret=base64.b64encode(b"0" * 31).decode())
        with refusal(1003):
            api.tunnel(tunnelSecret="not base64, but long enough to have 32 bytes")

    def test_a_new_secret_is_that_of_the_same_tunnel(self, world: World, api: Api) -> None:
        secret, rotated = (base64.b64encode(digit * 32).decode() for digit in (b"1", b"2"))
        identifier, outputs = api.tunnel(tunnelSecret=secret)
        assert outputs["accountTag"] == api.account
        assert world.read()["tunnel_secrets"] == {identifier: secret}
        api.update(TUNNEL, identifier, outputs, accountId=api.account, name="skyvern", tunnelSecret=rotated)
        assert world.read()["tunnel_secrets"] == {identifier: rotated}

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
        api.delete(TUNNEL, identifier, **known)
        assert world.read()["configurations"] == {}


LAST = {"service": "http_status:404"}


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ([{"hostname": "a.example.com", "service": "http://gateway:8080"}, LAST], None),
        ([{"hostname": "a.example.com", "service": "http://gateway:80", "originRequest": {"access": {}}}, LAST], None),
        ([{"hostname": "a.example.com", "service": "http://gateway:80", "originRequest": {"connectTimeout": 5}}, LAST], None),
        ([], "no ingress rules"),
        ([{"hostname": "a.example.com", "service": "http://gateway:80"}], "last ingress rule must match all URLs"),
        ([LAST, LAST], "Rule #1 is matching the hostname"),
        # The API takes these, but the stand-in's edge would not apply them.
        ([{"hostname": "a.example.com", "path": "^/v1", "service": "http://gateway:80"}, LAST], "does not know path"),
        ([{**LAST, "originRequest": {"noTlsVerify": True}}], "does not know noTlsVerify"),
        ([{"hostname": "*.example.com", "service": "http://gateway:80"}, LAST], "not the name of one host"),
        ([{"hostname": "a.example.com", "service": "https://gateway:443"}, LAST], "neither http://HOST:PORT nor"),
        ([{"service": "http_status:4040"}], "neither http://HOST:PORT nor"),
    ],
)
def test_ingress(rules: list[dict[str, Any]], problem: str | None) -> None:
    refused = ingress_problem(rules)
    assert (refused is None) if problem is None else (refused is not None and problem in refused)


class TestRecords:
    def test_one_host_has_one_cname_or_addresses(self, api: Api) -> None:
        identifier, known = api.record()
        with refusal(81053):
            api.record(content="b.example.net")
        with refusal(81053):
            api.record(type="A", content="192.0.2.1")
        api.record(type="TXT", content='"text"')
        api.delete("DnsRecord", identifier, **known)
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
        api.delete("Ruleset", identifier, **known)
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
        ("phase", "rules", "problem"),
        [
            ("http_ratelimit", [LIMIT], None),
            ("http_ratelimit", [LIMIT, {**LIMIT, "ref": "b"}], "maximum number of rules"),
            ("http_ratelimit", [LIMIT, LIMIT], "used more than once"),
            ("http_ratelimit", [{**LIMIT, "expression": 'http.host eq "api.example.com"'}], "the field http.host"),
            (
                "http_ratelimit",
                [{**LIMIT, "ratelimit": {**RATE, "period": 60.0}}],
                "the period 60, can only use a period among [10]",
            ),
            ("http_ratelimit", [{**LIMIT, "ratelimit": {**RATE, "mitigationTimeout": 60.0}}], "different from 10"),
            ("http_ratelimit", [{**LIMIT, "ratelimit": {**RATE, "characteristics": ["ip.src"]}}], "cf.colo.id"),
            ("http_ratelimit", [{**LIMIT, "ratelimit": {**RATE, "characteristics": ["cf.colo.id", "http.host"]}}], "ip.src"),
            ("http_ratelimit", [{**LIMIT, "ratelimit": {**RATE, "countingExpression": "true"}}], "not know countingExpression"),
            ("http_ratelimit", [{"action": "block", "expression": "true"}], "ratelimit is required"),
            ("http_request_firewall_custom", [LIMIT], "ratelimit is not allowed"),
            ("http_request_firewall_custom", [{"action": "block", "expression": "true", "logging": {}}], "not know logging"),
            *(
                ("http_request_firewall_custom", [{"action": action, "expression": expression}] * count, problem)
                for action, expression, count, problem in [
                    ("block", 'http.host eq "a" and not (http.request.method in {"GET"})', 5, None),
                    ("block", "true", 6, "6 out of 5"),
                    ("challenge", "true", 1, "'challenge' is not an action"),
                    ("block", 'http.request.uri.path matches "^/a"', 1, "Matches"),
                    ("block", 'http.host eq "it matches"', 1, None),
                    ("block", 'http.hosts eq "a"', 1, "unknown identifier http.hosts"),
                    ("block", '(http.host eq "a"', 1, "unbalanced"),
                    ("block", 'http.host eq "a', 1, "unbalanced"),
                    ("block", " ", 1, "unbalanced"),
                ]
            ),
        ],
    )
    def test_rules(self, phase: str, rules: list[dict[str, Any]], problem: str | None) -> None:
        problems = [message for message, _ in rule_problems(phase, rules)]
        assert (problems == []) if problem is None else any(problem in message for message in problems)

    def test_the_fields_of_rules_are_those_that_the_edge_can_judge(self) -> None:
        asked = Request(scheme="https", method="GET", host="api.example.com", target="/", client="192.0.2.1", headers=())
        assert set(request_fields(asked)) == cloudflare.FIELDS

    def test_the_provider_checks_the_scope(self, api: Api) -> None:
        check = api.kinds["Ruleset"].check
        good = {"kind": "zone", "phase": "http_ratelimit", "zoneId": "a" * 32}
        assert check(good) == []
        assert [failure.path for failure in check({**good, "zoneId": "zone"})] == ["zoneId"]
        assert [failure.path for failure in check({"kind": "zone", "phase": "http_ratelimit", "accountId": "a"})] == ["zoneId"]
        assert [failure.path for failure in check({**good, "kind": "zones", "phase": "http"})] == ["kind", "phase"]


class TestAccess:
    def test_it_is_off_until_the_team_has_a_name(self, world: World, api: Api) -> None:
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
            {"policies": [{"id": "gone", "precedence": 1.0}]},
        ],
    )
    def test_refused(self, api: Api, changed: dict[str, Any]) -> None:
        with refusal(12130):
            api.application(**changed)

    def test_a_policy_includes_someone(self, api: Api) -> None:
        with refusal(12130):
            api.policy(includes=[])
        assert [failure.path for failure in api.kinds[POLICY].check({"decision": "maybe"})] == ["decision"]
        assert [failure.path for failure in api.kinds[APPLICATION].check({"type": "saas"})] == ["type", "accountId", "domain"]
