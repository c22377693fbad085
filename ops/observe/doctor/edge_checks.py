"""The edge: whether the next ``pulumi up`` may change it, and whether it leads here. Pure functions of an observation.

A token's right to write cannot be tested without writing, so a permission that only reads passes here and fails at the next up.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from components import endpoints
from components.settings import CloudflareEdge, Settings
from ops.observe.doctor.edge_observation import ApiFacts, PublicAnswer, leads_to
from ops.observe.doctor.findings import Finding, error, warning
from ops.observe.doctor.observation import Observation
from ops.observe.doctor.remedies import refresh, restart, write

SOON = timedelta(days=14)
# cloudflared keeps four; fewer means that the network lets only some through.
CONNECTIONS = 4
_REACH_TCP = "let this host reach TCP port 7844 of region1.v2.argotunnel.com and region2.v2.argotunnel.com"
_TOKEN = "pulumi config set --secret --path edge.api_token -s {stack} with a token as docs/cloudflare.md describes"  # noqa: S105


def check_token(observation: Observation) -> Iterator[Finding]:
    """Cloudflare accepts the API token, now and in two weeks."""
    api = _api(observation)
    if api is None:
        return
    fix = _TOKEN.format(stack=observation.stack)
    match api.problem:
        case "unreadable":
            yield error("edge token", "edge.api_token", f"cannot be read from the stack file: {api.detail}", fix)
        case "refused":
            yield error("edge token", "edge.api_token", f"Cloudflare refuses it: {api.detail}", fix)
        case "disabled" | "expired":
            yield error("edge token", "edge.api_token", f"is {api.problem}", fix)
        case "unreachable":
            fix = "let this machine reach api.cloudflare.com:443, then try again"
            yield error("edge API", "api.cloudflare.com", f"cannot be asked: {api.detail}", fix)
    if api.expires is not None and api.expires - datetime.now(UTC) < SOON:
        yield warning("edge token", "edge.api_token", f"expires on {api.expires:%Y-%m-%d}", fix)


def check_zone(observation: Observation) -> Iterator[Finding]:
    """The token sees exactly one zone of the domain, which is active and on the plan of the stack file."""
    api, edge, file = _api(observation), _cloudflare(observation), observation.stack.file_name
    if api is None or edge is None or api.zones is None:
        return
    if not api.zones:
        fix = f"add the domain to Cloudflare, or correct edge.domain in {file}, or give the token Zone: Zone: Read on it"
        yield error("zone", edge.domain, "the token sees no such zone", fix)
        return
    if len(api.zones) > 1:
        problem = f"the token sees {len(api.zones)} zones of this name"
        yield error("zone", edge.domain, problem, "give the token access to one account only")
        return
    (zone,) = api.zones
    if zone.get("status") != "active":
        servers = " and ".join(zone.get("name_servers") or ()) or "those that its dashboard shows"
        fix = f"set its name servers at the registrar to {servers}"
        yield error("zone", edge.domain, f'is "{zone.get("status")}", so resolvers do not ask Cloudflare for its names', fix)
    if zone.get("paused"):
        fix = "switch Cloudflare on again for it: dashboard, Overview, Advanced Actions"
        yield error("zone", edge.domain, "is paused, so its names lead nowhere", fix)
    plan = (zone.get("plan") or {}).get("legacy_id")
    if plan in {"free", "pro", "business"} and plan != edge.plan:
        fix = write(observation, f"edge.plan: {plan}")
        yield warning("zone", "edge.plan", f'is "{edge.plan}", and the zone is on "{plan}"', fix)


def check_permissions(observation: Observation) -> Iterator[Finding]:
    """Each permission that these settings need, at least for reading."""
    api = _api(observation)
    for permission in api.missing if api else ():
        fix = "add it to the token in the dashboard (My Profile, API Tokens, Edit); the token itself stays the same"
        yield error("edge token", permission, "the token has no such permission", fix)


def check_records(observation: Observation) -> Iterator[Finding]:
    """Every public host has a DNS record that leads to the stack's tunnel."""
    api, settings = _api(observation), observation.settings
    if api is None or settings is None or api.records is None or not api.tunnels_known or not observation.pulumi.was_deployed:
        return
    for host in endpoints.derive(settings).sites:
        record = api.records.get(host)
        if record is None:
            yield error("DNS record", host, "is not in the zone", refresh(observation))
        elif api.tunnel is not None and not leads_to(record, api.tunnel):
            problem = "is not proxied to this stack's tunnel: it was changed by hand"
            yield error("DNS record", host, problem, refresh(observation))


def check_tunnel(observation: Observation) -> Iterator[Finding]:
    """The tunnel exists, and a connector is connected to it."""
    api = _api(observation)
    if api is None or not api.tunnels_known or not observation.pulumi.was_deployed:
        return
    name = f"skyvern-{observation.stack.short}"
    if api.tunnel is None:
        yield error("tunnel", name, "does not exist at Cloudflare", refresh(observation))
        return
    status, count = api.tunnel.get("status"), len(api.tunnel.get("connections") or ())
    if status in {"down", "inactive"}:
        # The next check reports the reason, if the connector has logged it.
        if not _complaint(observation):
            yield error("tunnel", name, "no connector is connected to it", restart(observation, "connector"))
    elif status == "degraded" or 0 < count < CONNECTIONS:
        protocol = _protocol(observation)
        problem = f"is {status}, with {count} of {CONNECTIONS} connections{f', by {protocol}' if protocol else ''}"
        fix = _REACH_TCP if protocol == "http2" else write(observation, "edge.protocol: http2")
        yield warning("tunnel", name, problem, fix)


def check_connector(observation: Observation) -> Iterator[Finding]:
    """The connector's log has no known complaint, and it did not have to give up QUIC."""
    name = observation.stack.prefix("connector")
    known = {
        "secret": ("Cloudflare refuses its token: another secret than the tunnel's", refresh(observation)),
        "tunnel": ("its tunnel does not exist any more", refresh(observation)),
        "quic": ("UDP port 7844 does not get through to Cloudflare", write(observation, "edge.protocol: http2")),
        "tcp": (
            "TCP port 7844 does not get through to Cloudflare",
            f"{_REACH_TCP}, or where UDP passes write edge.protocol: quic",
        ),
        "origin": ("does not reach the gateway", restart(observation, "gateway")),
        "dns": ("cannot resolve Cloudflare's names", 'give Docker a DNS server: "dns" in /etc/docker/daemon.json'),
    }
    if (complaint := _complaint(observation)) in known:
        yield error("connector", name, *known[complaint])
    edge = _cloudflare(observation)
    if edge is not None and edge.protocol == "auto" and _protocol(observation) == "http2":
        problem = "UDP port 7844 does not get through: it uses http2, after trying QUIC for minutes at each start"
        yield warning("connector", name, problem, write(observation, "edge.protocol: http2"))


def check_public_names(observation: Observation) -> Iterator[Finding]:
    """Every public name resolves, has a valid certificate, and leads to this stack."""
    if observation.settings is None or observation.edge is None:
        return
    cloudflare = _cloudflare(observation)
    for host, answer in observation.edge.public.items():
        yield from _public(observation, host, answer, expected_statuses(observation.settings, host), cloudflare)


def expected_statuses(settings: Settings, host: str) -> set[int]:
    """Statuses of a host's answer to a request without credentials, at the path of ``asked_paths``."""
    urls = endpoints.derive(settings)
    match urls.sites.get(host):
        case "app" if isinstance(settings.edge, CloudflareEdge) and settings.edge.access_team is not None:
            return {302, 403}
        case "app" | "api":
            return {200}
        case "streams" | "artifacts":
            return {403, 404}
        case _:
            return {401}


def _public(
    observation: Observation, host: str, answer: PublicAnswer, expected: set[int], cloudflare: CloudflareEdge | None
) -> Iterator[Finding]:
    match answer:
        case PublicAnswer(problem="name"):
            fix = "wait for DNS, or compare the name servers: dig +trace " + host
            yield error("public name", host, "does not resolve here", fix)
        case PublicAnswer(problem="proxy"):
            problem, _, fix = answer.detail.partition("; ")
            yield error("public name", host, f"cannot be asked: {problem}", fix)
        case PublicAnswer(problem="certificate"):
            # Cloudflare's free certificate comes minutes after the zone is active.
            fix = (
                "wait for the zone's Universal SSL (dashboard, SSL/TLS, Edge Certificates)"
                if cloudflare
                else "see ngrok's dashboard"
            )
            yield error("certificate", host, answer.detail, fix)
        case PublicAnswer(problem="connect"):
            fix = "let this machine reach it on port 443, or try from another network"
            yield error("public name", host, f"does not answer: {answer.detail}", fix)
        case PublicAnswer(mark="challenge"):
            fix = "switch Bot Fight Mode and Under Attack Mode off for the zone (docs/cloudflare.md)"
            yield error("public name", host, "Cloudflare challenges programs, which cannot answer", fix)
        case PublicAnswer(status=530) | PublicAnswer(mark="1033" | "ERR_NGROK_3200"):
            part = "connector" if cloudflare else "ngrok"
            yield error("public name", host, "no connector is connected", restart(observation, part))
        case PublicAnswer(status=502):
            problem = "the connector or the gateway does not reach what is behind it"
            yield error("public name", host, problem, restart(observation, "gateway"))
        case PublicAnswer(status=status) if status not in expected:
            problem = f"answers {status}, expected {' or '.join(map(str, sorted(expected)))}"
            yield error("public name", host, problem, f"bin/ops smoke -s {observation.stack} shows what differs")
    if answer.expires is not None and answer.expires - datetime.now(UTC) < SOON:
        yield warning("certificate", host, f"expires on {answer.expires:%Y-%m-%d}", "check its renewal in the edge's dashboard")


def _api(observation: Observation) -> ApiFacts | None:
    return None if observation.edge is None else observation.edge.api


def _cloudflare(observation: Observation) -> CloudflareEdge | None:
    edge = None if observation.settings is None else observation.settings.edge
    return edge if isinstance(edge, CloudflareEdge) else None


def _protocol(observation: Observation) -> str:
    return "" if observation.edge is None else observation.edge.protocol


def _complaint(observation: Observation) -> str:
    return "" if observation.edge is None else observation.edge.connector
