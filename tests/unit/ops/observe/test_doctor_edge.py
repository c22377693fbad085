"""The doctor and an edge: what it asks of Cloudflare's API and the public names, and one finding with its fix for each fault."""

import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from components import endpoints
from components.settings import CloudflareEdge, Settings, parse
from ops.clients import cloudflare, process, proxies
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.observe import doctor
from ops.observe.doctor import edge_observation
from ops.observe.doctor.edge_observation import ApiFacts, EdgeFacts, PublicAnswer, ask_api, ask_public, asked_paths
from ops.observe.doctor.observation import Observation
from ops.stack.stack import Stack
from tests.support.cloudflare import TOKEN, edge_section, failed, succeeded
from tests.support.observations import HEALTHY
from tests.support.program import VERCEL

ENCRYPTED_SECTIONS = frozenset({"edge", "frontend"})
ZONE = {
    "id": "0123456789abcdef0123456789abcdef",
    "name": "example.com",
    "status": "active",
    "paused": False,
    "account": {"id": "fedcba9876543210fedcba9876543210"},
    "name_servers": ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"],
    "plan": {"legacy_id": "free"},
}
TUNNEL = {"id": "c1744f8b-faa1-48a4-9e5c-02ac921467fa", "name": "skyvern-dev", "status": "healthy", "connections": [{}] * 4}
RECORDS = [
    {"name": f"{host}.example.com", "type": "CNAME", "proxied": True, "content": f"{TUNNEL['id']}.cfargotunnel.com"}
    for host in ("api", "app")
]
SETTINGS = parse(edge_section(), file="Pulumi.dev.yaml", secret_keys=ENCRYPTED_SECTIONS)
WITH_ACCESS = parse(
    edge_section(access_team="acme", access_emails=["ops@example.com"]), file="Pulumi.dev.yaml", secret_keys=ENCRYPTED_SECTIONS
)
ALERT = {"tunnel_alert_emails": ["ops@example.com"]}
WITH_ALERT = parse(edge_section(**ALERT), file="Pulumi.dev.yaml", secret_keys=ENCRYPTED_SECTIONS)
WITH_BOTH = parse(
    edge_section(access_team="acme", access_emails=["ops@example.com"], **ALERT),
    file="Pulumi.dev.yaml",
    secret_keys=ENCRYPTED_SECTIONS,
)


class Api:
    """Cloudflare's API as the doctor reads it. answers: path below /client/v4 -> result, or a status with an error's code."""

    def __init__(self, **faults: tuple[int, int] | Any) -> None:
        self.asked: list[httpx.Request] = []
        zone, account = f"/zones/{ZONE['id']}", f"/accounts/{ZONE['account']['id']}"  # type: ignore[index]
        self.answers: dict[str, Any] = {
            "/user/tokens/verify": {"id": "1", "status": "active"},
            "/zones": [ZONE],
            f"{zone}/dns_records": RECORDS,
            f"{zone}/settings/always_use_https": {"id": "always_use_https", "value": "on"},
            f"{zone}/rulesets": [],
            f"{account}/alerting/v3/policies": [],
            f"{account}/cfd_tunnel": [TUNNEL],
            f"{account}/access/apps": [],
        }
        for name, fault in faults.items():
            (path,) = [path for path in self.answers if path.endswith(f"/{name}")]
            self.answers[path] = fault

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        path, name = request.url.path.removeprefix("/client/v4"), request.url.params.get("name")
        answer = self.answers[path]
        if isinstance(answer, tuple):
            return failed(answer[0], (answer[1], "no"))
        if path.endswith("/dns_records"):
            return succeeded([record for record in answer if record["name"] == name])
        assert name == {"zones": "example.com", "cfd_tunnel": "skyvern-dev"}.get(path.rpartition("/")[2])
        return succeeded(answer)

    def facts(self, settings: Settings = SETTINGS) -> ApiFacts:
        assert isinstance(settings.edge, CloudflareEdge)
        with cloudflare.client(SecretStr(TOKEN), httpx.MockTransport(self)) as http:
            return ask_api(http, Stack("organization/skyvern/dev"), settings, settings.edge)


PUBLIC = {host: PublicAnswer(status=200) for host in ("api.example.com", "app.example.com")}
WELL = EdgeFacts(api=Api().facts(), public=PUBLIC)
PROD = replace(HEALTHY, settings=SETTINGS, edge=WELL)


def observed_with(settings: Settings = SETTINGS, **faults: Any) -> Observation:
    """An observation with a fault of the API."""
    answers = {**PUBLIC, "app.example.com": PublicAnswer(status=302)} if settings is WITH_ACCESS else PUBLIC
    return replace(PROD, settings=settings, edge=EdgeFacts(api=Api(**faults).facts(settings), public=answers))


# With other protocols than the default.
QUIC, AUTO = (
    parse(edge_section(protocol=protocol), file="Pulumi.dev.yaml", secret_keys=ENCRYPTED_SECTIONS)
    for protocol in ("quic", "auto")
)
DEGRADED = [{**TUNNEL, "status": "degraded", "connections": [{}]}]


def by(protocol: str, observation: Observation) -> Observation:
    """The same, with the protocol of the connector's connections."""
    assert observation.edge is not None
    return replace(observation, edge=replace(observation.edge, protocol=protocol))


def public(host: str = "api.example.com", **answer: Any) -> Observation:
    return replace(PROD, edge=replace(WELL, public={**PUBLIC, host: PublicAnswer(**answer)}))


def test_nothing_on_a_healthy_edge_and_nothing_is_changed() -> None:
    assert doctor.examine(PROD) == []
    api = Api()
    api.facts(WITH_BOTH)
    assert {request.method for request in api.asked} == {"GET"}
    assert {request.url.path.removeprefix("/client/v4") for request in api.asked} == set(api.answers)
    assert len({request.url for request in api.asked}) == len(api.asked)
    # Nothing of Cloudflare is asked where it is not used.
    none = Api()
    none.facts(parse(edge_section(firewall=False, rate_limit=False), file="Pulumi.dev.yaml", secret_keys=ENCRYPTED_SECTIONS))
    unused = {"rulesets", "access", "alerting"}
    assert not [request for request in none.asked if unused & set(request.url.path.split("/"))]


def test_a_member_of_a_zone_needs_no_right_to_its_settings_and_rules() -> None:
    member = parse(edge_section(cell="shop", zone_owner=False), file="Pulumi.dev.yaml", secret_keys=ENCRYPTED_SECTIONS)
    facts = Api(always_use_https=(403, 10000), rulesets=(403, 10000)).facts(member)
    assert (facts.problem, facts.missing, facts.tunnel) == ("", [], TUNNEL)


@pytest.mark.parametrize(
    ("observed", "subject", "problem", "fix"),
    [
        (observed_with(verify=(401, 1000)), "edge.api_token", "Cloudflare refuses it: 1000 no", "config set --secret"),
        (observed_with(verify={"status": "expired"}), "edge.api_token", "is expired", "config set --secret"),
        (observed_with(verify={"status": "disabled"}), "edge.api_token", "is disabled", "config set --secret"),
        (
            observed_with(
                verify={"status": "active", "expires_on": f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%dT%H:%M:%SZ}"}
            ),
            "edge.api_token",
            "expires on 20",
            "config set --secret",
        ),
        (observed_with(verify=(500, 1)), "api.cloudflare.com", "cannot be asked: 1 no", "api.cloudflare.com:443"),
        (observed_with(zones=[]), "example.com", "sees no such zone", "correct edge.domain in Pulumi.dev.yaml"),
        (observed_with(zones=[ZONE, ZONE]), "example.com", "sees 2 zones", "one account only"),
        (observed_with(zones=[{**ZONE, "status": "pending"}]), "example.com", 'is "pending"', "ada.ns.cloudflare.com and bob.ns"),
        (observed_with(zones=[{**ZONE, "paused": True}]), "example.com", "is paused", "switch Cloudflare on"),
        (observed_with(zones=[{**ZONE, "plan": {"legacy_id": "pro"}}]), "edge.plan", 'zone is on "pro"', "write edge.plan: pro"),
        (observed_with(dns_records=(403, 10000)), "Zone: DNS: Edit", "no such permission", "add it to the token"),
        (observed_with(always_use_https=(403, 10000)), "Zone: Zone Settings: Edit", "no such permission", "add it"),
        (observed_with(rulesets=(403, 10000)), "Zone: Zone WAF: Edit", "no such permission", "add it to the token"),
        (observed_with(cfd_tunnel=(403, 10000)), "Account: Cloudflare Tunnel: Edit", "no such permission", "add it"),
        (observed_with(WITH_ACCESS, apps=(403, 10000)), "Account: Access: Apps and Policies: Edit", "no such", "add it"),
        (observed_with(WITH_ALERT, policies=(403, 10000)), "Account: Notifications: Edit", "no such", "add it"),
        (observed_with(dns_records=RECORDS[:1]), "app.example.com", "is not in the zone", "pulumi up --refresh -s dev"),
        (
            observed_with(dns_records=[RECORDS[0], {**RECORDS[1], "proxied": False}]),
            "app.example.com",
            "is not proxied to this stack's tunnel",
            "pulumi up --refresh -s dev",
        ),
        (observed_with(cfd_tunnel=[]), "skyvern-dev", "does not exist at Cloudflare", "pulumi up --refresh -s dev"),
        (
            observed_with(cfd_tunnel=[{**TUNNEL, "status": "down", "connections": []}]),
            "skyvern-dev",
            "no connector is connected",
            "docker restart skyvern-dev-connector",
        ),
        (
            by("quic", observed_with(QUIC, cfd_tunnel=DEGRADED)),
            "skyvern-dev",
            "is degraded, with 1 of 4 connections, by quic",
            "edge.protocol: http2",
        ),
        (by("", observed_with(QUIC, cfd_tunnel=DEGRADED)), "skyvern-dev", "1 of 4 connections", "edge.protocol: http2"),
        (
            by("http2", observed_with(cfd_tunnel=DEGRADED)),
            "skyvern-dev",
            "1 of 4 connections, by http2",
            "let this host reach TCP port 7844",
        ),
        # What it does where UDP is blocked: minutes without a tunnel, at each start.
        (
            by("http2", replace(PROD, settings=AUTO)),
            "skyvern-dev-connector",
            "UDP port 7844 does not get through: it uses http2, after trying QUIC for minutes at each start",
            "edge.protocol: http2",
        ),
        (replace(PROD, edge=replace(WELL, connector="secret")), "skyvern-dev-connector", "refuses its token", "pulumi up"),
        (replace(PROD, edge=replace(WELL, connector="quic")), "skyvern-dev-connector", "UDP port 7844", "http2"),
        (replace(PROD, edge=replace(WELL, connector="tcp")), "skyvern-dev-connector", "TCP port 7844", "edge.protocol: quic"),
        (public(problem="name"), "api.example.com", "does not resolve", "dig +trace api.example.com"),
        (public(problem="certificate", detail="has expired"), "api.example.com", "has expired", "Universal SSL"),
        (
            public(status=200, expires=datetime.now(UTC) + timedelta(days=2)),
            "api.example.com",
            "expires on 20",
            "check its renewal",
        ),
        (public(problem="connect", detail="ConnectTimeout"), "api.example.com", "ConnectTimeout", "port 443"),
        (public(status=403, mark="challenge"), "api.example.com", "challenges programs", "Bot Fight Mode"),
        (public(status=530, mark="1033"), "api.example.com", "no connector is connected", "restart skyvern-dev-connector"),
        (public(status=502), "api.example.com", "does not reach", "restart skyvern-dev-gateway"),
        (public("app.example.com", status=404), "app.example.com", "answers 404, expected 200", "bin/ops smoke -s dev"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_fault_is_one_finding_with_one_fix(observed: Observation, subject: str, problem: str, fix: str) -> None:
    (finding,) = doctor.examine(observed)
    assert finding.subject == subject
    assert problem in finding.problem
    assert fix in finding.fix
    assert TOKEN not in doctor.render(observed, [finding])


def test_a_stack_that_was_never_deployed_has_no_records_to_miss() -> None:
    assert HEALTHY.pulumi.deployed is not None
    nothing = replace(HEALTHY.pulumi, deployed=replace(HEALTHY.pulumi.deployed, containers=()))
    observed = replace(observed_with(cfd_tunnel=[], dns_records=[]), pulumi=nothing)
    assert not [finding for finding in doctor.examine(observed) if finding.check in {"tunnel", "DNS record"}]


def test_with_access_before_the_ui_a_redirect_is_right() -> None:
    assert doctor.examine(observed_with(WITH_ACCESS)) == []


def test_with_the_ui_on_vercel_each_host_has_its_refusal() -> None:
    settings = parse({**edge_section(), "frontend": VERCEL}, file="Pulumi.dev.yaml", secret_keys=ENCRYPTED_SECTIONS)
    paths = asked_paths(endpoints.derive(settings))
    assert set(paths) == {f"{host}.example.com" for host in ("api", "app", "artifact", "wss")}
    statuses = {"api": 200, "app": 401, "artifact": 403, "wss": 403}
    answers = {f"{host}.example.com": PublicAnswer(status=status) for host, status in statuses.items()}
    records = [{**RECORDS[0], "name": host} for host in answers if not host.startswith("app.")]
    facts = EdgeFacts(api=Api(dns_records=records).facts(settings), public=answers)
    assert doctor.examine(replace(PROD, settings=settings, edge=facts)) == []


# --- How the public names are asked --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (httpx.Response(200), PublicAnswer(status=200)),
        (httpx.Response(530, text="error code: 1033\n"), PublicAnswer(status=530, mark="1033")),
        (httpx.Response(403, headers={"cf-mitigated": "challenge"}), PublicAnswer(status=403, mark="challenge")),
        (
            httpx.Response(404, headers={"ngrok-error-code": "ERR_NGROK_3200"}),
            PublicAnswer(status=404, mark="ERR_NGROK_3200"),
        ),
        (httpx.ConnectTimeout("late"), PublicAnswer(problem="connect", detail="ConnectTimeout")),
        (httpx.ProxyError("502 Bad Gateway"), PublicAnswer(problem="name", detail="502 Bad Gateway")),
    ],
    ids=repr,
)
def test_what_a_public_name_gives(
    monkeypatch: pytest.MonkeyPatch, answer: httpx.Response | httpx.TransportError, expected: PublicAnswer
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")

    def handle(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "https://api.example.com/api/v1/heartbeat"
        assert not {"authorization", "x-api-key"} & set(request.headers)
        if isinstance(answer, httpx.Response):
            return answer
        raise answer

    with httpx.Client(transport=httpx.MockTransport(handle)) as client:
        assert ask_public(client, "api.example.com", "/api/v1/heartbeat") == expected


def test_a_bad_certificate_is_told_from_a_bad_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    refused = ssl.SSLCertVerificationError(1, "certificate verify failed")
    refused.verify_message = "certificate has expired"

    def handle(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("ssl") from refused

    with httpx.Client(transport=httpx.MockTransport(handle)) as client:
        answer = ask_public(client, "api.example.com", "/")
    assert answer == PublicAnswer(problem="certificate", detail="certificate has expired")


def test_a_name_without_an_address_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(edge_observation, "resolves", lambda host: False)
    with httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(500))) as client:
        assert ask_public(client, "api.example.com", "/") == PublicAnswer(problem="name")


def test_a_proxy_that_cannot_be_used_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """F08."""
    monkeypatch.setenv("https_proxy", "socks://127.0.0.1:9/")
    with httpx.Client(transport=proxies.Transport()) as client:
        answer = ask_public(client, "api.example.com", "/")
    assert answer.problem == "proxy"
    (finding,) = doctor.examine(replace(PROD, edge=replace(WELL, public={**WELL.public, "api.example.com": answer})))
    assert finding.problem == "cannot be asked: https_proxy: a socks:// proxy cannot be used here"
    assert finding.fix == "set HTTPS_PROXY and HTTP_PROXY to http://HOST:PORT"


# --- The token and the connector -----------------------------------------------------------------------------------------


def test_the_token_is_the_one_of_the_stack_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api()
    opened: list[list[str]] = []

    def client(token: SecretStr, *, timeout_seconds: float) -> httpx.Client:
        assert token.get_secret_value() == TOKEN
        return httpx.Client(base_url=cloudflare.API_URL, transport=httpx.MockTransport(api))

    def capture(command: list[str], **options: Any) -> bytes:
        opened.append(command)
        assert options["cwd"] == tmp_path
        return f"{TOKEN}\n".encode()

    monkeypatch.setattr(process, "capture", capture)
    monkeypatch.setattr(cloudflare, "client", client)
    stack = Stack("dev", root=tmp_path, variables={})
    facts = edge_observation.observe_edge(stack, Docker("unix:///x"), SETTINGS, deployed=False, connector=None)
    assert facts == EdgeFacts(api=WELL.api)
    assert opened == [[*stack.command("config", "get", "--path", "skyvern:edge.api_token"), "--non-interactive"]]


def test_a_token_that_cannot_be_opened_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **options: Any) -> bytes:
        raise UserError("pulumi: exit 255: incorrect passphrase")

    monkeypatch.setattr(process, "capture", fail)
    stack = Stack("dev", variables={})
    facts = edge_observation.observe_edge(stack, Docker("unix:///x"), SETTINGS, deployed=False, connector=None)
    (finding,) = doctor.examine(replace(PROD, edge=facts))
    assert "incorrect passphrase" in finding.problem


@pytest.mark.parametrize(
    ("log", "complaint"),
    [
        ("", ""),
        ('ERR Register tunnel error from server side error="Unauthorized: Invalid tunnel secret"', "secret"),
        ("ERR failed to dial to edge with quic: timeout: no recent network activity", "quic"),
        ('ERR Unable to establish connection error="DialContext error: dial tcp 198.41.200.43:7844: i/o timeout"', "tcp"),
        ("ERR Unauthorized: Tunnel not found\nINF Registered tunnel connection connIndex=0", ""),
        ('INF Registered tunnel connection\nERR  error="Unable to reach the origin service."', "origin"),
    ],
)
def test_the_connectors_last_words(log: str, complaint: str) -> None:
    assert edge_observation.connector_complaint(log) == complaint


@pytest.mark.parametrize(
    ("log", "protocol"),
    [
        ("", ""),
        ("INF Initial protocol quic\nINF Switching to fallback protocol http2", ""),
        ("INF Registered tunnel connection connIndex=0 ip=198.41.192.7 location=icn01 protocol=quic", "quic"),
        (
            "INF Registered tunnel connection protocol=quic\nINF x\nINF Registered tunnel connection protocol=http2\nWRN y",
            "http2",
        ),
        # As an older cloudflared wrote it.
        ("INF Registered tunnel connection connIndex=0", ""),
    ],
)
def test_the_protocol_of_the_last_connection(log: str, protocol: str) -> None:
    assert edge_observation.connector_protocol(log) == protocol
