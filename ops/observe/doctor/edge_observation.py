"""The doctor's view of an edge: Cloudflare's API, the public names, and the connector's log.

Reads only. The API token is decrypted for the requests, and kept out of every fact. Not here: the checks (edge_checks.py).
"""

import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import httpx

from components import endpoints
from components.settings import CloudflareEdge, NgrokEdge, Settings
from ops.clients import cloudflare, proxies
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.observe.heartbeat import HEARTBEAT
from ops.stack import secrets
from ops.stack.stack import Stack

SECONDS = 10.0
# Messages of cloudflared, and the complaint that each means.
_COMPLAINTS = {
    "Invalid tunnel secret": "secret",
    "Tunnel not found": "tunnel",
    "token is not valid": "secret",
    "failed to dial to edge with quic": "quic",
    "failed to dial a quic connection": "quic",
    "DialContext error: dial tcp": "tcp",
    "Unable to reach the origin service": "origin",
    "no such host": "dns",
}


@dataclass(frozen=True, kw_only=True)
class ApiFacts:
    """Answers of Cloudflare's API.

    problem: why nothing more could be asked, "" without a problem: "unreadable" (the token, in the stack file), "unreachable",
    "refused", "disabled", "expired". detail: of the problem. expires: of the token, None if it does not expire.
    zones: of the domain, as the API has them. missing: permissions, by the dashboard's names, that even a read lacks.
    tunnel: the stack's, as the API has it. tunnels_known: whether the API listed tunnels.
    records: host -> record, for the hosts of the stack. None: could not be asked.
    """

    problem: str = ""
    detail: str = ""
    expires: datetime | None = None
    zones: Sequence[Mapping[str, Any]] | None = None
    missing: Sequence[str] = ()
    tunnel: Mapping[str, Any] | None = None
    tunnels_known: bool = False
    records: Mapping[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class PublicAnswer:
    """Result of a request from this machine to a public name.

    problem: "" for an HTTP answer; else "name" (does not resolve), "certificate", "connect" or "proxy" (one that cannot be used).
    status, mark: of the answer; mark is the edge's own word for its action, such as ``challenge`` or an ngrok error code.
    expires: of the certificate.
    """

    problem: str = ""
    detail: str = ""
    status: int = 0
    mark: str = ""
    expires: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class EdgeFacts:
    """Observations of an edge.

    api: None for ngrok. public: by host. connector: the complaint in its last lines, "" for none. protocol: by which it is
    connected to Cloudflare, "" if that is not known.
    """

    api: ApiFacts | None
    public: Mapping[str, PublicAnswer] = field(default_factory=dict)
    connector: str = ""
    protocol: str = ""


def observe_edge(stack: Stack, docker: Docker, settings: Settings, *, deployed: bool, connector: str | None) -> EdgeFacts | None:
    """Asks the API and the public names; None without an edge. connector: its container, if it runs."""
    edge = settings.edge
    if not isinstance(edge, CloudflareEdge | NgrokEdge):
        return None
    api = None
    if isinstance(edge, CloudflareEdge):
        try:
            token = secrets.given(stack, "edge.api_token")
        except UserError as failed:
            api = ApiFacts(problem="unreadable", detail=str(failed))
        else:
            with cloudflare.client(token, timeout_seconds=SECONDS) as http:
                api = ask_api(http, stack, settings, edge)
    public = {}
    if deployed:
        with httpx.Client(timeout=SECONDS, follow_redirects=False, transport=proxies.Transport()) as client:
            public = {host: ask_public(client, host, path) for host, path in asked_paths(endpoints.derive(settings)).items()}
    if connector is None:
        return EdgeFacts(api=api, public=public)
    log = connector_log(docker, connector)
    return EdgeFacts(api=api, public=public, connector=connector_complaint(log), protocol=connector_protocol(log))


# --- Cloudflare's API ------------------------------------------------------------------------------------------------------


def ask_api(http: httpx.Client, stack: Stack, settings: Settings, edge: CloudflareEdge) -> ApiFacts:
    """The zone and the tunnel as the token may read them. http: of ``cloudflare.client``; GET requests only."""
    try:
        verified = cloudflare.get(http, "/user/tokens/verify")
        if verified.get("status") in {"disabled", "expired"}:
            return ApiFacts(problem=verified["status"])
        zones = cloudflare.get(http, "/zones", name=edge.domain)
        expires = verified.get("expires_on")
        facts = ApiFacts(expires=None if not expires else datetime.fromisoformat(expires.replace("Z", "+00:00")), zones=zones)
        return facts if len(zones) != 1 else _ask_parts(http, facts, zones[0], stack, settings, edge)
    except cloudflare.ApiError as failed:
        return ApiFacts(problem="refused" if failed.refused else "unreachable", detail=failed.detail)
    except (ValueError, KeyError, TypeError, AttributeError) as unexpected:
        return ApiFacts(problem="unreachable", detail=type(unexpected).__name__)


def _ask_parts(
    http: httpx.Client, facts: ApiFacts, zone: Mapping[str, Any], stack: Stack, settings: Settings, edge: CloudflareEdge
) -> ApiFacts:
    """Tries each permission by a read that needs it. Permissions to write cannot be tried without writing."""
    zone_path, account_path = f"/zones/{zone['id']}", f"/accounts/{zone['account']['id']}"
    missing: list[str] = []

    def ask(permission: str, path: str, **query: str) -> Any:
        try:
            return cloudflare.get(http, path, **query)
        except cloudflare.ApiError as failed:
            if failed.status not in {401, 403}:
                raise
            missing.append(permission)
            return None

    records: dict[str, Mapping[str, Any]] = {}
    for host in endpoints.derive(settings).sites:
        listed: list[dict[str, Any]] | None = ask("Zone: DNS: Edit", f"{zone_path}/dns_records", name=host)
        if listed is None:
            break
        records |= {record["name"]: record for record in listed if record["name"] == host}
    if edge.zone_owner and (edge.always_https or edge.min_tls_1_2 or edge.tls_1_3 or edge.hsts):
        ask("Zone: Zone Settings: Edit", f"{zone_path}/settings/always_use_https")
    if edge.zone_owner and (edge.firewall or edge.rate_limit):
        ask("Zone: Zone WAF: Edit", f"{zone_path}/rulesets")
    name = f"skyvern-{stack.short}"
    tunnels = ask("Account: Cloudflare Tunnel: Edit", f"{account_path}/cfd_tunnel", name=name, is_deleted="false")
    if edge.access_team is not None:
        ask("Account: Access: Apps and Policies: Edit", f"{account_path}/access/apps")
    if edge.tunnel_alert_emails or edge.tunnel_alert_webhooks:
        ask("Account: Notifications: Edit", f"{account_path}/alerting/v3/policies")
    return replace(
        facts,
        missing=missing,
        records=records if listed is not None else None,
        tunnel=next((tunnel for tunnel in tunnels or [] if tunnel["name"] == name), None),
        tunnels_known=tunnels is not None,
    )


# --- The public names ------------------------------------------------------------------------------------------------------


def asked_paths(urls: endpoints.Endpoints) -> dict[str, str]:
    """Host -> path. On hosts with the API, its heartbeat: it answers 200 to anyone if every step on the way to Skyvern works."""
    paths = {host: HEARTBEAT if role in {"app", "api"} else "/" for host, role in urls.sites.items()}
    return paths | ({urls.app_url.removeprefix("https://"): "/"} if urls.on_vercel else {})


def ask_public(client: httpx.Client, host: str, path: str) -> PublicAnswer:
    """One request without credentials, as anyone could make it. Behind a proxy, the proxy resolves the name."""
    if proxies.for_url(f"https://{host}") is None and not resolves(host):
        return PublicAnswer(problem="name")
    try:
        with client.stream("GET", f"https://{host}{path}") as answer:
            text = answer.read()[:2000].decode(errors="replace")
            stream = answer.extensions.get("network_stream")
            connection = stream.get_extra_info("ssl_object") if stream is not None else None
            certificate = connection.getpeercert() if connection is not None else None
    except UserError as unusable:
        return PublicAnswer(problem="proxy", detail=str(unusable))
    except httpx.ProxyError as failed:
        return PublicAnswer(problem="name", detail=str(failed)[:100])
    except httpx.TransportError as failed:
        cause = _certificate_error(failed)
        if cause is not None:
            return PublicAnswer(problem="certificate", detail=cause.verify_message)
        return PublicAnswer(problem="connect", detail=type(failed).__name__)
    mark = answer.headers.get("cf-mitigated") or answer.headers.get("ngrok-error-code") or ("1033" if "1033" in text else "")
    expires = None
    if certificate and "notAfter" in certificate:
        expires = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    return PublicAnswer(status=answer.status_code, mark=mark, expires=expires)


def resolves(host: str) -> bool:
    """Whether the name has an address for this machine."""
    try:
        return bool(socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM))
    except OSError:
        return False


def _certificate_error(failed: BaseException | None) -> ssl.SSLCertVerificationError | None:
    while failed is not None:
        if isinstance(failed, ssl.SSLCertVerificationError):
            return failed
        failed = failed.__cause__ or failed.__context__
    return None


# --- The connector ---------------------------------------------------------------------------------------------------------


def connector_log(docker: Docker, container: str) -> str:
    """The end of the connector's log, "" if it cannot be read."""
    try:
        return docker.logs(container, "--tail", "2000")
    except UserError:
        return ""


def connector_complaint(log: str) -> str:
    """The last complaint in a connector's log, a value of ``_COMPLAINTS``; "" for none of late, or if it has connected since."""
    for line in reversed(log.splitlines()[-40:]):
        if "Registered tunnel connection" in line:
            return ""
        for message, complaint in _COMPLAINTS.items():
            if message in line:
                return complaint
    return ""


def connector_protocol(log: str) -> str:
    """The protocol of cloudflared's last connection, ``quic`` or ``http2``; "" if its log does not name one."""
    connections = re.findall(r"Registered tunnel connection .*\bprotocol=(\w+)", log)
    return connections[-1] if connections else ""


def leads_to(record: Mapping[str, Any], tunnel: Mapping[str, Any]) -> bool:
    """Whether a DNS record is proxied and leads to the tunnel."""
    return (
        record.get("type") == "CNAME"
        and record.get("proxied") is True
        and record.get("content") == f"{tunnel['id']}{endpoints.TUNNEL_SUFFIX}"
    )
