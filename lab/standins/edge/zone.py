"""A request's way through Cloudflare: DNS, the zone's settings, rules and Access applications, and the tunnel's ingress rules.

Pure functions of a world and a request, except for the rate limits, which count. Not here: how bytes travel (relay.py).
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import jwt

from components.endpoints import TUNNEL_SUFFIX
from lab.standins.edge.expressions import matches
from lab.standins.providers.world import Data

ACCESS_COOKIE = "CF_Authorization"
ACCESS_HEADER = "cf-access-jwt-assertion"
TOKEN_SECONDS = 3600
_ALGORITHM = "HS256"
# The largest body of a request on the free and pro plans.
MOST_BYTES = 100 * 1024 * 1024
MARK = "x-rehearsal"
# cloudflared's default.
CONNECT_SECONDS = 30

Header = tuple[bytes, bytes]


@dataclass(frozen=True, kw_only=True)
class Request:
    """The head of a request. client: its address. headers: names in lower case."""

    scheme: Literal["http", "https"]
    method: str
    host: str
    target: str
    client: str
    headers: tuple[Header, ...]

    def header(self, name: str) -> str:
        """The first header of a name, or an empty text."""
        return next((value.decode("latin-1") for key, value in self.headers if key == name.encode()), "")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer of the edge itself. why: for its log and for tests, in a header that Cloudflare does not have."""

    status: int
    why: str
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """Where an ingress rule leads. address: HOST:PORT. connect_seconds: how long the connector may dial it."""

    address: str
    connect_seconds: int


@dataclass(frozen=True)
class Name:
    """Where a host's record leads: to a tunnel of a zone, by id, or (zone None) to an address outside Cloudflare."""

    target: str
    zone: Data | None


def resolve(data: Data, host: str) -> Name | None:
    """The answer of DNS; None where the zone is not active or the host has no CNAME."""
    zone = zone_of(data, host)
    if zone is None or zone["status"] != "active":
        return None
    for record in data["records"].values():
        if (record["name"], record["type"].upper()) == (host, "CNAME"):
            content: str = record["content"].rstrip(".")
            if record["proxied"] and content.endswith(TUNNEL_SUFFIX):
                return Name(content.removesuffix(TUNNEL_SUFFIX), zone)
            # The name of a tunnel has no address.
            return None if content.endswith(TUNNEL_SUFFIX) else Name(content, None)
    return None


def zone_of(data: Data, host: str) -> Data | None:
    """The zone that a host is in."""
    zones: Iterable[Data] = data["zones"].values()
    return next((zone for zone in zones if host == zone["name"] or host.endswith(f".{zone['name']}")), None)


# --- In the order in which Cloudflare does it ------------------------------------------------------------------------------


@dataclass
class Limits:
    """Requests of each address, by rate limiting rule."""

    _times: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    _stopped_until: dict[tuple[str, str], float] = field(default_factory=dict)

    def exceeded(self, rule: Data, client: str) -> bool:
        """Counts a request that the rule matches; whether it is beyond the limit."""
        now, key, limit = time.monotonic(), (rule["id"], client), rule["ratelimit"]
        if self._stopped_until.get(key, 0) > now:
            return True
        recent = [when for when in self._times.get(key, []) if when > now - limit["period"]]
        self._times[key] = [*recent, now]
        if len(recent) < limit["requestsPerPeriod"]:
            return False
        self._stopped_until[key] = now + limit["mitigationTimeout"]
        return True


def judge(data: Data, zone: Data, tunnel: str, request: Request, limits: Limits) -> Answer | None:
    """The zone's own answer; None where the request goes on to the tunnel."""
    if request.scheme == "http" and zone["settings"]["always_use_https"] == "on":
        url = f"https://{request.host}{request.target}"
        return Answer(status=301, why="always_use_https", headers={"location": url})
    if request.header("content-length").isdigit() and int(request.header("content-length")) > MOST_BYTES:
        return Answer(status=413, why="body too large")
    fields = request_fields(request)
    for phase in ("http_request_firewall_custom", "http_ratelimit"):
        for rule in _rules(data, zone, phase):
            try:
                matched = matches(rule["expression"], fields)
            except ValueError as unreadable:
                return Answer(status=500, why=f"the stand-in cannot judge the rule {rule['ref']}: {unreadable}")
            if not matched:
                continue
            if phase == "http_request_firewall_custom" and rule["action"] == "block":
                return Answer(status=403, why=f"blocked by {rule['ref']}", body="error code: 1020\n")
            if phase == "http_ratelimit" and limits.exceeded(rule, request.client):
                return Answer(status=429, why=f"limited by {rule['ref']}", body="error code: 1015\n")
    application = application_of(data, request.host)
    if application is not None and not _logged_in(data, tunnel, request, [application["aud"]]):
        return Answer(status=302, why="Access", headers={"location": f"https://team.cloudflareaccess.com/login/{request.host}"})
    return None


def _rules(data: Data, zone: Data, phase: str) -> list[Data]:
    return [
        rule
        for ruleset in data["rulesets"].values()
        if (ruleset.get("zoneId"), ruleset["phase"]) == (zone["id"], phase)
        for rule in ruleset["rules"]
        if rule["enabled"]
    ]


def origin(data: Data, tunnel: str, request: Request) -> Origin | Answer:
    """Where the tunnel's ingress rules lead a request; or the answer that cloudflared would give instead.

    cloudflared's part, done here so that the stand-in connector only carries bytes. The first rule with the host, or without any,
    counts; nothing else is in a rule, because the API's stand-in refuses it (providers/cloudflare.py).
    """
    rules: Iterable[Data] = data["configurations"].get(tunnel, {}).get("config", {}).get("ingresses", ())
    rule = next((rule for rule in rules if rule.get("hostname") in (None, request.host)), None)
    if rule is None:
        return Answer(status=503, why="no ingress rules")
    asked = rule.get("originRequest", {})
    access = asked.get("access", {})
    if access.get("required") and not _logged_in(data, tunnel, request, access["audTags"]):
        return Answer(status=403, why="no valid Access token")
    kind, _, address = rule["service"].partition(":")
    if kind == "http_status":
        return Answer(status=int(address), why="ingress rule")
    return Origin(address.removeprefix("//"), int(asked.get("connectTimeout", CONNECT_SECONDS)))


def request_fields(request: Request) -> dict[str, Any]:
    """The fields of a request that expressions may name. The path is as it was sent; Cloudflare would normalise it first."""
    parts = urlsplit(request.target)
    return {
        "http.host": request.host,
        "http.request.method": request.method,
        "http.request.uri.path": parts.path,
        "http.request.uri.query": parts.query,
        "http.request.uri.args.names": [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)],
        "http.request.headers.names": [name.decode("latin-1") for name, _ in request.headers],
        "ip.src": request.client,
    }


# --- Access ----------------------------------------------------------------------------------------------------------------


def application_of(data: Data, host: str) -> Data | None:
    """The Access application that protects a host."""
    applications: Iterable[Data] = data["applications"].values()
    return next((application for application in applications if application["domain"] == host), None)


def access_token(data: Data, host: str, email: str) -> str:
    """The token of a person who has logged in at Access.

    Signed with the tunnel's secret (HS256), where Cloudflare signs with the team's own key (RS256). Raises PermissionError
    for a person whom no policy of the application lets in.
    """
    application, name = application_of(data, host), resolve(data, host)
    if application is None or name is None:
        raise LookupError(f"{host} has no Access application or no record")
    rules = [rule for link in application["policies"] for rule in data["policies"][link["id"]]["includes"]]
    if not any(_includes(rule, email) for rule in rules):
        raise PermissionError(email)
    claims = {"aud": [application["aud"]], "email": email, "exp": int(time.time()) + TOKEN_SECONDS}
    return jwt.encode(claims, data["tunnel_secrets"][name.target], algorithm=_ALGORITHM)


def _includes(rule: Data, email: str) -> bool:
    exact, domain = (rule.get("email") or {}).get("email"), (rule.get("emailDomain") or {}).get("domain")
    return email == exact or (domain is not None and email.endswith(f"@{domain}"))


def assertion(request: Request) -> str:
    """The token of Access in a request's cookies, or an empty text."""
    try:
        cookie = SimpleCookie(request.header("cookie")).get(ACCESS_COOKIE)
    except CookieError:
        return ""
    return "" if cookie is None else cookie.value


def _logged_in(data: Data, tunnel: str, request: Request, audiences: Sequence[str]) -> bool:
    """Whether the request has a valid token of Access for one of the audiences."""
    secret = data["tunnel_secrets"].get(tunnel)
    if secret is None:
        # The record's tunnel is gone.
        return False
    try:
        jwt.decode(assertion(request), secret, algorithms=[_ALGORITHM], audience=audiences)
    except jwt.InvalidTokenError:
        return False
    return True


# --- Headers ---------------------------------------------------------------------------------------------------------------


def forwarded(request: Request, ray: str, *, access: bool) -> list[Header]:
    """The headers of a request as they leave Cloudflare for the tunnel; those that a client has forged are gone."""
    earlier = request.header("x-forwarded-for")
    added = {
        "cf-connecting-ip": request.client,
        "cf-ipcountry": "XX",
        "cf-ray": ray,
        "cf-visitor": f'{{"scheme":"{request.scheme}"}}',
        "cdn-loop": "cloudflare; loops=1",
        "x-forwarded-for": f"{earlier},{request.client}" if earlier else request.client,
        "x-forwarded-proto": request.scheme,
        **({ACCESS_HEADER: assertion(request)} if access else {}),
    }
    kept = [(name, value) for name, value in request.headers if name.decode("latin-1") not in {*added, ACCESS_HEADER}]
    return [*kept, *((name.encode(), value.encode("latin-1")) for name, value in added.items())]


def answered(zone: Data, ray: str) -> list[Header]:
    """The headers that Cloudflare adds to every answer of a zone."""
    headers = [(b"server", b"cloudflare"), (b"cf-ray", ray.encode())]
    strict = zone["settings"]["security_header"]["strict_transport_security"]
    if strict["enabled"]:
        subdomains = "; includeSubDomains" if strict["include_subdomains"] else ""
        headers.append((b"strict-transport-security", f"max-age={strict['max_age']:.0f}{subdomains}".encode()))
    return headers
