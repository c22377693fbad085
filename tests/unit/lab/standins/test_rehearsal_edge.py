"""The stand-in of Cloudflare's edge with our own rules: which requests they stop, and which go on to the gateway."""

from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from components import endpoints
from components.edge.tunnel import firewall_rules, rate_limit_expression
from components.settings import CloudflareEdge, parse
from lab.standins.edge import api
from lab.standins.edge.expressions import matches
from lab.standins.edge.zone import Request, forwarded, request_fields
from lab.standins.providers import World
from lab.standins.providers.cloudflare import PERMISSIONS, TOKEN, new_world
from ops.clients.cloudflare import client
from ops.errors import UserError
from ops.observe.doctor.edge_observation import ApiFacts, ask_api
from ops.review import drift
from ops.stack.stack import Stack
from tests.support.program import CLOUDFLARE, VERCEL

SECTIONS = frozenset({"edge", "frontend"})
ON_HOST = parse({"edge": CLOUDFLARE}, file="f", secret_keys=SECTIONS)
ON_VERCEL = parse({"edge": CLOUDFLARE, "frontend": VERCEL}, file="f", secret_keys=SECTIONS)


def request(host: str, target: str, method: str = "GET", **headers: str) -> Request:
    sent = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items())
    return Request(scheme="https", method=method, host=f"{host}.example.com", target=target, client="198.51.100.7", headers=sent)


@pytest.mark.parametrize(
    ("asked", "on_host", "on_vercel"),
    [
        (request("api", "/v1/workflows"), True, True),
        (request("api", "/docs"), True, True),
        (request("api", "/v1/workflows?x=apikey"), True, True),
        (request("api", "/v1/workflows", x_api_key="k"), False, False),
        (request("api", "/v1/workflows?apikey=k"), False, False),
        (request("api", "/v1/workflows", method="OPTIONS"), False, False),
        (request("api", "/api/v1/heartbeat"), False, False),
        (request("api", "/ui-session", x_gateway_key="k"), True, False),
        (request("wss", "/api/v1/stream/x"), False, True),
        (request("wss", "/api/v1/stream/x?apikey=k"), False, False),
        (request("app", "/"), False, False),
        (request("artifact", "/"), False, False),
    ],
    ids=lambda value: f"{value.host}{value.target}" if isinstance(value, Request) else "",
)
def test_our_rules_stop_what_has_no_key(asked: Request, on_host: bool, on_vercel: bool) -> None:
    for settings, wanted in ((ON_HOST, on_host), (ON_VERCEL, on_vercel)):
        assert isinstance(settings.edge, CloudflareEdge)
        rules = firewall_rules(endpoints.derive(settings), settings.edge).values()
        assert any(matches(rule, request_fields(asked)) for rule in rules) is wanted


def test_our_rate_limit_counts_the_api_alone() -> None:
    for plan in ("free", "pro"):
        settings = parse({"edge": {**CLOUDFLARE, "plan": plan}}, file="f", secret_keys=SECTIONS)
        assert isinstance(settings.edge, CloudflareEdge)
        expression = rate_limit_expression(endpoints.derive(settings), settings.edge)
        assert matches(expression, request_fields(request("api", "/v1/workflows")))
        assert not matches(expression, request_fields(request("app", "/assets/index.js")))
        # Other hosts of the zone, which only the free plan cannot leave out.
        assert matches(expression, request_fields(request("blog", "/v1/x"))) is (plan == "free")


@pytest.mark.parametrize(
    "expression",
    [
        "",
        'http.host eq "a" and',
        '(http.host eq "a"',
        'http.host eq "a")',
        "http.host eq a",
        'http.host contains "a"',
        'cf.colo.id eq "a"',
        'lower(http.host) eq "a"',
        'http.host ~ "a"',
    ],
)
def test_what_cannot_be_judged_is_neither_a_match_nor_a_miss(expression: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        matches(expression, request_fields(request("api", "/")))


def test_a_forged_access_token_does_not_travel() -> None:
    asked = request("app", "/", cf_access_jwt_assertion="forged", cf_connecting_ip="203.0.113.1", x_other="kept")
    headers = dict(forwarded(asked, "ray", access=False))
    assert b"cf-access-jwt-assertion" not in headers
    assert headers[b"cf-connecting-ip"] == b"198.51.100.7"
    assert headers[b"x-other"] == b"kept"


# --- The API ---------------------------------------------------------------------------------------------------------------


def reader(world: World, connections: int = 4, token: str = TOKEN) -> httpx.Client:
    """A client of the API of a world, as every command makes it."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.host) == ("GET", api.HOST)
        status, body = api.answer(
            world.read(), request.url.raw_path.decode(), request.headers["authorization"], lambda name: connections
        )
        return httpx.Response(status, json=body)

    return client(SecretStr(token), httpx.MockTransport(answer))


def deployed(world: World, records: int = 1) -> World:
    """With a tunnel and so many records to it."""
    with world.edit() as data:
        (account,), (zone,) = data["accounts"], data["zones"]
        data["tunnels"]["t"] = {"id": "t", "name": "skyvern-dev", "accountId": account, "status": "inactive"}
        leads = {"zoneId": zone, "type": "CNAME", "proxied": True, "content": "t.cfargotunnel.com", "comment": "skyvern-dev: x"}
        for number in range(records):
            data["records"][f"r{number}"] = {**leads, "id": f"r{number}", "name": f"n{number:03}.example.com"}
        data["records"]["api"] = {**leads, "id": "api", "name": "api.example.com"}
        data["records"]["other"] = {**leads, "id": "other", "name": "other.example.com", "type": "TXT", "content": "text"}
    return world


@pytest.mark.parametrize(("connections", "status"), [(4, "healthy"), (3, "degraded"), (0, "down")])
def test_the_doctor_reads_the_world_at_the_apis_name(tmp_path: Path, connections: int, status: str) -> None:
    def ask(world: World, token: str = TOKEN) -> ApiFacts:
        assert isinstance(ON_HOST.edge, CloudflareEdge)
        return ask_api(reader(world, connections, token), Stack("dev"), ON_HOST, ON_HOST.edge)

    world = deployed(new_world(tmp_path / "world.json"))
    facts = ask(world)
    assert (facts.problem, facts.missing) == ("", [])
    assert facts.zones is not None
    assert facts.tunnel is not None
    assert facts.zones[0]["plan"]["legacy_id"] == "free"
    assert (facts.tunnel["status"], len(facts.tunnel["connections"])) == (status, connections)
    assert list(facts.records or ()) == ["api.example.com"]
    assert ask(world, "x" * 40).problem == "refused"
    less = [name for name in PERMISSIONS if not name.startswith(("DNS", "Zone WAF"))]
    assert ask(new_world(tmp_path / "less.json", permissions=less)).missing == ["Zone: DNS: Edit", "Zone: Zone WAF: Edit"]


def test_the_look_for_strays_reads_every_record(tmp_path: Path) -> None:
    world = deployed(new_world(tmp_path / "world.json"), records=150)
    records = list(drift.zone_records(reader(world), "example.com"))
    assert len({one["id"] for one in records}) == len(records) == 151
    assert len(drift.stray_records(records, {}, prefix="skyvern-dev")) == 151
    with pytest.raises(UserError, match=r"^Cloudflare: /zones: 403 1000 Invalid API Token; "):
        list(drift.zone_records(reader(world, token="x" * 40), "example.com"))
