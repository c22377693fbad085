"""The edge: may the next ``pulumi up`` change it, and does it lead here. Pure functions of an observation.

A token's right to write cannot be seen without writing, so a permission that only reads passes here and fails at the next up.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from components import endpoints
from components.settings import CloudflareEdge, Settings
from ops.observe.doctor.edge_observation import ApiFacts, PublicAnswer, leads_to
from ops.observe.doctor.findings import Finding, error, warning
from ops.observe.doctor.observation import Observation
from ops.observe.doctor.stack_checks import docker_command

SOON = timedelta(days=14)
# cloudflared keeps four; fewer is a network that lets some through.
CONNECTIONS = 4
_TOKEN = "pulumi config set --secret --path edge.api_token -s {stack} with a token made as docs/cloudflare.md says"  # noqa: S105


def check_token(seen: Observation) -> Iterator[Finding]:
    """Cloudflare takes the API token, now and in two weeks."""
    api = _api(seen)
    if api is None:
        return
    fix = _TOKEN.format(stack=seen.stack)
    match api.problem:
        case "unreadable":
            yield error("edge token", "edge.api_token", f"cannot be read from the stack file: {api.detail}", fix)
        case "refused":
            yield error("edge token", "edge.api_token", f"Cloudflare refuses it: {api.detail}", fix)
        case "disabled" | "expired":
            yield error("edge token", "edge.api_token", f"is {api.problem}", fix)
        case "unreachable":
            problem = f"cannot be asked: {api.detail}"
            yield error(
                "edge API", "api.cloudflare.com", problem, "let this machine reach api.cloudflare.com:443, then try again"
            )
    if api.expires is not None and api.expires - datetime.now(UTC) < SOON:
        yield warning("edge token", "edge.api_token", f"expires on {api.expires:%Y-%m-%d}", fix)


def check_zone(seen: Observation) -> Iterator[Finding]:
    """The token sees exactly one zone of the domain, which is active and on the plan that the stack file says."""
    api, edge, file = _api(seen), _cloudflare(seen), seen.stack.file_name
    if api is None or edge is None or api.zones is None:
        return
    if not api.zones:
        fix = f"add the domain to Cloudflare, or correct edge.domain in {file}, or give the token Zone: Zone: Read on it"
        yield error("zone", edge.domain, "the token sees no such zone", fix)
        return
    if len(api.zones) > 1:
        yield error(
            "zone", edge.domain, f"the token sees {len(api.zones)} zones of this name", "give the token one account's only"
        )
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
        fix = f"write edge.plan: {plan} into {file}, then pulumi up -s {seen.stack}"
        yield warning("zone", "edge.plan", f'is "{edge.plan}", and the zone is on "{plan}"', fix)


def check_permissions(seen: Observation) -> Iterator[Finding]:
    """Each permission that these settings need, at least for reading."""
    api = _api(seen)
    for permission in api.missing if api else ():
        fix = "add it to the token in the dashboard (My Profile, API Tokens, Edit); the token itself stays the same"
        yield error("edge token", permission, "the token has no such permission", fix)


def check_records(seen: Observation) -> Iterator[Finding]:
    """Every public host has its record to the stack's tunnel."""
    api, settings = _api(seen), seen.settings
    if api is None or settings is None or api.records is None or not api.tunnels_seen or not _deployed(seen):
        return
    for host in endpoints.derive(settings).sites:
        record = api.records.get(host)
        if record is None:
            yield error("DNS record", host, "is not in the zone", f"pulumi up --refresh -s {seen.stack}")
        elif api.tunnel is not None and not leads_to(record, api.tunnel):
            problem = "is not proxied to this stack's tunnel: it was changed by hand"
            yield error("DNS record", host, problem, f"pulumi up --refresh -s {seen.stack}")


def check_tunnel(seen: Observation) -> Iterator[Finding]:
    """The tunnel is there, and a connector is on it."""
    api = _api(seen)
    if api is None or not api.tunnels_seen or not _deployed(seen):
        return
    name = f"skyvern-{seen.stack.short}"
    if api.tunnel is None:
        yield error("tunnel", name, "does not exist at Cloudflare", f"pulumi up --refresh -s {seen.stack}")
        return
    status, count = api.tunnel.get("status"), len(api.tunnel.get("connections") or ())
    if status in {"down", "inactive"}:
        # Why is in the next check's words, where the connector has any.
        if not _complaint(seen):
            yield error(
                "tunnel",
                name,
                "no connector is connected to it",
                f"{docker_command(seen)} restart {seen.stack.prefix('connector')}",
            )
    elif status == "degraded" or 0 < count < CONNECTIONS:
        fix = f"write edge.protocol: http2 into {seen.stack.file_name}, then pulumi up -s {seen.stack}"
        yield warning("tunnel", name, f"is {status}, with {count} of {CONNECTIONS} connections", fix)


def check_connector(seen: Observation) -> Iterator[Finding]:
    """What the connector says when it cannot connect."""
    name = seen.stack.prefix("connector")
    up = f"pulumi up --refresh -s {seen.stack}"
    known = {
        "secret": ("Cloudflare refuses its token: another secret than the tunnel's", up),
        "tunnel": ("its tunnel does not exist any more", up),
        "quic": (
            "UDP port 7844 does not get through to Cloudflare",
            f"write edge.protocol: http2 into {seen.stack.file_name}, then pulumi up -s {seen.stack}",
        ),
        "origin": ("does not reach the gateway", f"{docker_command(seen)} restart {seen.stack.prefix('gateway')}"),
        "dns": ("cannot resolve Cloudflare's names", 'give Docker a DNS server: "dns" in /etc/docker/daemon.json'),
    }
    if (complaint := _complaint(seen)) in known:
        yield error("connector", name, *known[complaint])


def check_public_names(seen: Observation) -> Iterator[Finding]:
    """Every public name resolves, has a good certificate, and leads to this stack."""
    if seen.settings is None or seen.edge is None:
        return
    cloudflare = _cloudflare(seen)
    for host, answer in seen.edge.public.items():
        yield from _public(seen, host, answer, expected_statuses(seen.settings, host), cloudflare)


def expected_statuses(settings: Settings, host: str) -> set[int]:
    """What a host answers to somebody without credentials at the path that was asked."""
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
    seen: Observation, host: str, answer: PublicAnswer, expected: set[int], cloudflare: CloudflareEdge | None
) -> Iterator[Finding]:
    match answer:
        case PublicAnswer(problem="name"):
            fix = "wait for DNS, or compare the name servers: dig +trace " + host
            yield error("public name", host, "does not resolve here", fix)
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
            yield error(
                "public name", host, "no connector is connected", f"{docker_command(seen)} restart {seen.stack.prefix(part)}"
            )
        case PublicAnswer(status=502):
            fix = f"{docker_command(seen)} restart {seen.stack.prefix('gateway')}"
            yield error("public name", host, "the connector or the gateway does not reach what is behind it", fix)
        case PublicAnswer(status=status) if status not in expected:
            wanted = " or ".join(str(one) for one in sorted(expected))
            yield error(
                "public name", host, f"answers {status}, expected {wanted}", f"bin/ops smoke -s {seen.stack} says what differs"
            )
    if answer.expires is not None and answer.expires - datetime.now(UTC) < SOON:
        yield warning("certificate", host, f"expires on {answer.expires:%Y-%m-%d}", "look at its renewal in the edge's dashboard")


def _api(seen: Observation) -> ApiFacts | None:
    return None if seen.edge is None else seen.edge.api


def _cloudflare(seen: Observation) -> CloudflareEdge | None:
    edge = None if seen.settings is None else seen.settings.edge
    return edge if isinstance(edge, CloudflareEdge) else None


def _complaint(seen: Observation) -> str:
    return "" if seen.edge is None else seen.edge.connector


def _deployed(seen: Observation) -> bool:
    """A stack that was never deployed has a finding of its own."""
    return seen.pulumi.deployed is not None and bool(seen.pulumi.deployed.containers)


CHECKS = (
    check_token,
    check_zone,
    check_permissions,
    check_records,
    check_tunnel,
    check_connector,
    check_public_names,
)
