"""Cloudflare: the tunnel, its ingress rules, their DNS records, and this stack's part of the zone's firewall.

Pure functions make the contents of rules and records; the component only registers. Imported by stacks with a Cloudflare edge
alone: the provider's SDK takes a second to load. Not here: the connector (host/connectors/cloudflared.py).
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pulumi

from components.cloudflare_sdk import cloudflare
from components.endpoints import GATEWAY_URL, TUNNEL_SUFFIX, Endpoints, Role, public_hosts
from components.settings import CloudflareEdge, SettingsError, mistake
from components.ui import UiRecord

CATCH_ALL = "http_status:404"
SESSION_DURATION = "24h"
# How long the connector dials the gateway, which is on the same host. While a gateway is replaced, its name has two addresses,
# and each gets half of this; with cloudflared's default of 30, a request that met the one that had gone waited for 15 (seen).
CONNECT_SECONDS = 5
# The parts of the zone's rules, in the names of their rulesets and resources.
FIREWALL, RATE_LIMIT = "firewall", "rate-limit"
# The longest expression of a rule (Cloudflare's documentation of custom rules), on every plan.
MOST_CHARACTERS = 4096
# Half a year in seconds, what Cloudflare's own form proposes.
HSTS_SECONDS = 15552000
# Of a tunnel without any connection, and of one with all four. Not "degraded": a connector that changes a data centre passes
# through it.
ALERT_STATUSES = ("TUNNEL_STATUS_TYPE_DOWN", "TUNNEL_STATUS_TYPE_HEALTHY")


# --- What is registered ----------------------------------------------------------------------------------------------------


def connector_token(*, account_id: str, tunnel_id: str, secret: str) -> str:
    """The connector's token: the tunnel's name and secret as base64 of JSON, as Cloudflare itself hands it out.

    Made here, because a look-up would be another call at each preview, and the provider returns it in plain text.
    """
    # Without blanks, as cloudflared encodes it.
    text = json.dumps({"a": account_id, "t": tunnel_id, "s": secret}, separators=(",", ":"))
    return base64.b64encode(text.encode()).decode()


def covered_hosts(urls: Endpoints, settings: CloudflareEdge) -> dict[Role, list[str]]:
    """The hosts that the zone's rules are about, by role: this stack's first, then those of the other cells.

    A cell's own stack file decides whether it has each of them; a rule about a host without a record stops nothing.
    """
    hosts: dict[Role, list[str]] = {}
    for role, host in _every_host(urls, settings):
        hosts.setdefault(role, []).append(host)
    return hosts


def _every_host(urls: Endpoints, settings: CloudflareEdge) -> list[tuple[Role, str]]:
    own = [(role, host) for host, role in urls.sites.items()]
    cells = (public_hosts(settings.domain, cell).items() for cell in sorted(settings.cells))
    return [*own, *chain.from_iterable(cells)]


def _is_one_of(hosts: list[str]) -> str:
    """The condition that a request is for one of the hosts."""
    if len(hosts) == 1:
        return f'http.host eq "{hosts[0]}"'
    return f"http.host in {{{_quoted(hosts)}}}"


def _quoted(hosts: list[str]) -> str:
    return " ".join(f'"{host}"' for host in hosts)


def firewall_rules(urls: Endpoints, settings: CloudflareEdge) -> Mapping[str, str]:
    """Expressions of the requests to stop at Cloudflare, by the rule's reference. The gateway refuses them, too.

    Neither regular expressions nor more than five rules, so that every plan takes them.
    """
    hosts = covered_hosts(urls, settings)
    keyed = 'any(http.request.headers.names[*] eq "x-api-key") or any(http.request.uri.args.names[*] eq "apikey")'
    rules = {}
    if api := hosts.get("api"):
        # What another cell has, this stack file does not say: metrics, for which the gateway asks for a key, and a UI on Vercel,
        # whose middleware asks for a session with its own key.
        metrics = ' and http.request.uri.path ne "/metrics"' if urls.metrics or settings.cells else ""
        on_vercel = urls.on_vercel or bool(settings.cells)
        keys = f'{keyed} or any(http.request.headers.names[*] eq "x-gateway-key")' if on_vercel else keyed
        rules["skyvern_api_without_key"] = (
            f"({_is_one_of(api)} and not ({keys})"
            ' and http.request.method ne "OPTIONS" and http.request.uri.path ne "/api/v1/heartbeat"'
            f"{metrics}"
            # Links to files carry a signature, which the gateway checks.
            ' and not (starts_with(http.request.uri.path, "/v1/artifacts/")'
            ' and any(http.request.uri.args.names[*] eq "sig")))'
        )
    if streams := hosts.get("streams"):
        rules["skyvern_stream_without_key"] = f'({_is_one_of(streams)} and not any(http.request.uri.args.names[*] eq "apikey"))'
    return rules


def rate_limit_expression(urls: Endpoints, settings: CloudflareEdge) -> str:
    """The requests that are counted: those to the API. On the free plan an expression may name paths, but no host."""
    paths = 'starts_with(http.request.uri.path, "/api/") or starts_with(http.request.uri.path, "/v1/")'
    if settings.plan == "free":
        return f"({paths})"
    hosts = [host for role, host in _every_host(urls, settings) if role != "artifacts"]
    return f"(http.host in {{{_quoted(hosts)}}} and ({paths}))"


def zone_settings(settings: CloudflareEdge) -> Mapping[str, Any]:
    """Settings of the whole zone, by Cloudflare's id of each; none where another stack owns the zone."""
    if not settings.zone_owner:
        return {}
    wanted = {
        "always_use_https": (settings.always_https, "on"),
        "min_tls_version": (settings.min_tls_1_2, "1.2"),
        "security_header": (
            settings.hsts,
            # Keys as Cloudflare has them: in another case they come back changed, a difference at each preview (provider 1579).
            {
                "strict_transport_security": {
                    "enabled": True,
                    "include_subdomains": False,
                    "max_age": HSTS_SECONDS,
                    "nosniff": True,
                    "preload": False,
                }
            },
        ),
        "tls_1_3": (settings.tls_1_3, "on"),
    }
    return {setting: value for setting, (on, value) in wanted.items() if on}


# --- The zone --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Zone:
    """A zone that serves its domain, and the account that it belongs to."""

    id: str
    account_id: str


def look_up_zone(settings: CloudflareEdge, provider: cloudflare.Provider) -> Zone:
    """The zone of the domain: one call at each plan, before anything of the zone is planned.

    Raises SettingsError with one line where Cloudflare refuses the token or has no such zone, more than one, or an inactive one.
    """
    try:
        zone = cloudflare.get_zone(
            filter=cloudflare.GetZoneFilterArgs(match="all", name=settings.domain), opts=pulumi.InvokeOptions(provider=provider)
        )
    # The SDK raises no narrower exception for a failed invoke.
    except Exception as refused:
        raise _wrong(*explain_zone_failure(settings.domain, str(refused))) from refused
    if zone.status != "active":
        servers = " and ".join(zone.name_servers or ()) or "those that its dashboard shows"
        raise _wrong(
            "domain", f'the zone {settings.domain} is "{zone.status}"; set its name servers at the registrar to {servers}'
        )
    if zone.account is None or not zone.account.id or not zone.zone_id:
        raise _wrong("api_token", "may not see the zone's account; give the token Zone: Read (docs/cloudflare.md)")
    return Zone(zone.zone_id, zone.account.id)


def explain_zone_failure(domain: str, failure: str) -> tuple[str, str]:
    """(key below ``edge``, what is wrong and what to do) for the provider's message; the message is kept, in one line."""
    if count := re.search(r"exactly one result\W+(\d+) found", failure):
        if count[1] == "0":
            return "domain", (
                f'the token sees no zone "{domain}"; add the domain to Cloudflare, write the zone itself, not a host in it, or '
                "give the token this zone (docs/cloudflare.md)"
            )
        return "domain", f'the token sees {count[1]} zones "{domain}"; give it the zone of one account only'
    answer = " ".join(failure.split())[:300]
    if re.search(r"\b(40[013]|1000|6003|6111|9106|9109|10000|10001)\b", answer):
        return "api_token", f"Cloudflare refuses it; make one as docs/cloudflare.md says. It answered: {answer}"
    return "domain", f'the zone "{domain}" cannot be looked up; try again. The provider reported: {answer}'


def refuse_second_owner(settings: CloudflareEdge, prefix: str, zone: Zone, provider: cloudflare.Provider) -> None:
    """SettingsError with one line where another stack of this program has rules in the zone: a zone has one ruleset a phase.

    One call at each plan, only of a stack among cells, so that no other asks for more than its zone. Not seen: an owner without
    rules, or with adopted ones; ``ops fleet doctor`` compares the stack files (ops/observe/zones.py).
    """
    asked = settings.cell is not None or settings.cells
    if not (asked and settings.zone_owner and (settings.firewall or settings.rate_limit)):
        return
    try:
        rulesets = cloudflare.get_rulesets(zone_id=zone.id, opts=pulumi.InvokeOptions(provider=provider)).rulesets
    # The SDK raises no narrower exception for a failed invoke.
    except Exception as refused:
        answer = " ".join(str(refused).split())[:300]
        problem = "cannot list the zone's rules; give the token Zone: Zone WAF: Edit (docs/cloudflare.md)"
        raise _wrong("api_token", f"{problem}. It answered: {answer}") from refused
    if owner := other_owner(prefix, [ruleset.name for ruleset in rulesets]):
        cure = "let that stack hand the zone over first (docs/scale.md)"
        if settings.cell:
            cure = f"write false here, and {settings.cell} into edge.cells of the stack that owns it"
        raise _wrong("zone_owner", f"the zone {settings.domain} has the rules of {owner} already; {cure}")


def refuse_long_rules(urls: Endpoints, settings: CloudflareEdge) -> None:
    """SettingsError with one line where the names of the cells do not fit into the zone's rules."""
    rules = [*(firewall_rules(urls, settings).values() if settings.firewall else [])]
    if settings.rate_limit:
        rules.append(rate_limit_expression(urls, settings))
    longest = max(map(len, rules), default=0)
    if longest > MOST_CHARACTERS:
        problem = f"make a rule of {longest} characters, and Cloudflare takes {MOST_CHARACTERS}"
        raise _wrong("cells", f"{problem}; write fewer or shorter names")


def other_owner(prefix: str, names: Iterable[str]) -> str | None:
    """The prefix of another stack, ``skyvern-prod``, that has one of the rulesets; None if there is none. names: of rulesets."""
    for name in names:
        owner, _, part = name.rpartition(" ")
        if part in {FIREWALL, RATE_LIMIT} and owner.startswith("skyvern-") and owner != prefix:
            return owner
    return None


def _wrong(key: str, problem: str) -> SettingsError:
    return mistake(f"edge.{key}", problem)


# --- The component ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CloudflareTunnelArgs:
    """Inputs of the tunnel.

    prefix: its name at Cloudflare, ``skyvern-prod``. endpoints: its hosts.
    secret: 32 bytes in base64, by which connectors prove themselves; secret.
    ui: the record of a UI that is at a host of the domain and not behind the tunnel.
    """

    prefix: str
    settings: CloudflareEdge
    endpoints: Endpoints
    secret: pulumi.Input[str]
    ui: UiRecord | None = None


class CloudflareTunnel(pulumi.ComponentResource):
    """A remotely managed tunnel to the gateway, with a proxied record for each of its hosts, and the record of a UI elsewhere.

    A record is created after the ingress rules and deleted before them, so no name points at a tunnel that does not know it.

    ``token``: of the connector; secret. ``routes``: the resources that must exist before the connector starts and as long as it
    runs. Not here: zone settings taken back (Cloudflare keeps them), rules of others in the same rulesets.
    Of several cells in one zone, the owner alone has the zone's settings and rulesets (docs/decisions/cells.md).
    """

    def __init__(self, name: str, args: CloudflareTunnelArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:edge:CloudflareTunnel", name, None, opts)
        settings, urls = args.settings, args.endpoints
        self._args = args
        provider = cloudflare.Provider(
            f"{name}-account",
            api_token=pulumi.Output.secret(settings.api_token.get_secret_value()),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._zone = zone = look_up_zone(settings, provider)
        refuse_long_rules(urls, settings)
        refuse_second_owner(settings, args.prefix, zone, provider)
        child = pulumi.ResourceOptions(parent=self, provider=provider)
        # Names are taken while the old resource exists: tunnels, records, applications and a zone's rulesets.
        replaced = pulumi.ResourceOptions(parent=self, provider=provider, delete_before_replace=True)

        tunnel = cloudflare.ZeroTrustTunnelCloudflared(
            f"{name}-tunnel",
            account_id=zone.account_id,
            name=args.prefix,
            # The default is "local", which ignores every ingress rule silently.
            config_src="cloudflare",
            tunnel_secret=args.secret,
            opts=replaced,
        )
        audience = self._access(replaced)
        config = cloudflare.ZeroTrustTunnelCloudflaredConfig(
            f"{name}-ingress",
            account_id=zone.account_id,
            tunnel_id=tunnel.id,
            source="cloudflare",
            config=cloudflare.ZeroTrustTunnelCloudflaredConfigConfigArgs(
                ingresses=[
                    *(
                        cloudflare.ZeroTrustTunnelCloudflaredConfigConfigIngressArgs(
                            hostname=host,
                            service=GATEWAY_URL,
                            origin_request=self._origin_request(settings, audience if role == "app" else None),
                        )
                        for host, role in urls.sites.items()
                    ),
                    # Cloudflare refuses a list without a last rule for every other host.
                    cloudflare.ZeroTrustTunnelCloudflaredConfigConfigIngressArgs(service=CATCH_ALL),
                ]
            ),
            opts=child,
        )
        records = [
            cloudflare.DnsRecord(
                f"{name}-{host.split('.')[0]}",
                zone_id=zone.id,
                name=host,
                type="CNAME",
                content=pulumi.Output.concat(tunnel.id, TUNNEL_SUFFIX),
                # The default is not proxied, and such a name leads nowhere.
                proxied=True,
                ttl=1,
                comment=f"{args.prefix}: tunnel",
                opts=pulumi.ResourceOptions.merge(replaced, pulumi.ResourceOptions(depends_on=[config])),
            )
            for host in urls.sites
        ]
        if args.ui is not None:
            self._ui_records(args.ui, replaced)
        for setting, value in zone_settings(settings).items():
            cloudflare.ZoneSetting(
                f"{name}-{setting.replace('_', '-')}", zone_id=zone.id, setting_id=setting, value=value, opts=child
            )
        if settings.zone_owner:
            self._rulesets(provider)
        self._alert(tunnel.id, child)

        self.token: pulumi.Output[str] = pulumi.Output.secret(
            pulumi.Output.all(account_id=zone.account_id, tunnel_id=tunnel.id, secret=args.secret).apply(
                lambda parts: connector_token(**parts)
            )
        )
        self.routes: list[pulumi.Resource] = [config, *records]
        self.register_outputs({})

    def _ui_records(self, ui: UiRecord, opts: pulumi.ResourceOptions) -> None:
        name, args, zone = self._name, self._args, self._zone
        host = args.endpoints.app_url.removeprefix("https://")
        cloudflare.DnsRecord(
            # The same resource as the record of a UI behind the tunnel: the name is taken, so it can only be changed.
            f"{name}-{host.split('.')[0]}",
            zone_id=zone.id,
            name=host,
            type="CNAME",
            content=ui.target,
            # Behind Cloudflare's proxy, Vercel could not prove that the domain is ours and would have no certificate for it.
            proxied=False,
            ttl=1,
            comment=f"{args.prefix}: UI",
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[ui.after])),
        )
        if ui.verification is not None:
            cloudflare.DnsRecord(
                f"{name}-ui-verification",
                zone_id=zone.id,
                name=f"_vercel.{args.settings.domain}",
                type="TXT",
                # Cloudflare adds the quotes where they are missing, a difference at each preview.
                content=f'"{ui.verification}"',
                proxied=False,
                ttl=1,
                comment=f"{args.prefix}: UI",
                opts=opts,
            )

    def _alert(self, tunnel_id: pulumi.Output[str], opts: pulumi.ResourceOptions) -> None:
        """Has Cloudflare say when the tunnel is down: a machine that is off cannot."""
        args = self._args
        emails, webhooks = (sorted(set(who)) for who in (args.settings.tunnel_alert_emails, args.settings.tunnel_alert_webhooks))
        if not (emails or webhooks):
            return
        cloudflare.NotificationPolicy(
            f"{self._name}-tunnel-alert",
            account_id=self._zone.account_id,
            name=f"{args.prefix}: tunnel",
            alert_type="tunnel_health_event",
            enabled=True,
            filters=cloudflare.NotificationPolicyFiltersArgs(new_statuses=list(ALERT_STATUSES), tunnel_ids=[tunnel_id]),
            # Never an empty list: the provider reads it back as none, a difference at each preview (provider 7342).
            mechanisms=cloudflare.NotificationPolicyMechanismsArgs(
                emails=[cloudflare.NotificationPolicyMechanismsEmailArgs(id=who) for who in emails] or None,
                webhooks=[cloudflare.NotificationPolicyMechanismsWebhookArgs(id=who) for who in webhooks] or None,
            ),
            opts=opts,
        )

    def _access(self, opts: pulumi.ResourceOptions) -> pulumi.Output[str] | None:
        """The audience of Access in front of the UI, if the stack file names a team."""
        name, args, zone = self._name, self._args, self._zone
        settings = args.settings
        if settings.access_team is None:
            return None
        policy = cloudflare.ZeroTrustAccessPolicy(
            f"{name}-people",
            account_id=zone.account_id,
            name=f"{args.prefix}: people",
            decision="allow",
            includes=[
                *(
                    cloudflare.ZeroTrustAccessPolicyIncludeArgs(
                        email=cloudflare.ZeroTrustAccessPolicyIncludeEmailArgs(email=address)
                    )
                    for address in sorted(settings.access_emails)
                ),
                *(
                    cloudflare.ZeroTrustAccessPolicyIncludeArgs(
                        email_domain=cloudflare.ZeroTrustAccessPolicyIncludeEmailDomainArgs(domain=domain)
                    )
                    for domain in sorted(settings.access_domains)
                ),
            ],
            session_duration=SESSION_DURATION,
            opts=opts,
        )
        application = cloudflare.ZeroTrustAccessApplication(
            f"{name}-ui",
            account_id=zone.account_id,
            name=f"{args.prefix}: UI",
            type="self_hosted",
            domain=args.endpoints.app_url.removeprefix("https://"),
            policies=[cloudflare.ZeroTrustAccessApplicationPolicyArgs(id=policy.id, precedence=1)],
            session_duration=SESSION_DURATION,
            opts=opts,
        )
        return application.aud

    @staticmethod
    def _origin_request(
        settings: CloudflareEdge, audience: pulumi.Output[str] | None
    ) -> cloudflare.ZeroTrustTunnelCloudflaredConfigConfigIngressOriginRequestArgs:
        """How the connector asks the gateway. It checks Access's token as well, so a hole on Cloudflare's side opens nothing."""
        access = None
        if audience is not None and settings.access_team is not None:
            access = cloudflare.ZeroTrustTunnelCloudflaredConfigConfigIngressOriginRequestAccessArgs(
                required=True, team_name=settings.access_team, aud_tags=[audience]
            )
        return cloudflare.ZeroTrustTunnelCloudflaredConfigConfigIngressOriginRequestArgs(
            access=access, connect_timeout=CONNECT_SECONDS
        )

    def _rulesets(self, provider: cloudflare.Provider) -> None:
        name, args, zone = self._name, self._args, self._zone
        settings = args.settings

        def ruleset(
            part: str, phase: str, description: str, rules: list[cloudflare.RulesetRuleArgs], adopted: str | None
        ) -> None:
            options = pulumi.ResourceOptions(parent=self, provider=provider, delete_before_replace=True)
            if adopted is not None:
                # The zone's own rules: adopted as they are, and left in place when this stack is removed.
                options.import_ = f"zones/{zone.id}/{adopted}"
                options.ignore_changes = ["description", "kind", "name", "phase", "rules"]
                options.retain_on_delete = True
            cloudflare.Ruleset(
                f"{name}-{part}",
                zone_id=zone.id,
                kind="zone",
                phase=phase,
                name=f"{args.prefix} {part}",
                description=description,
                rules=rules,
                opts=options,
            )

        def rule(
            ref: str, expression: str, limit: cloudflare.RulesetRuleRatelimitArgs | None = None
        ) -> cloudflare.RulesetRuleArgs:
            # With a reference, so a rule keeps its id when another changes.
            return cloudflare.RulesetRuleArgs(
                ref=ref, action="block", enabled=True, description=ref.replace("_", " "), expression=expression, ratelimit=limit
            )

        expressions = firewall_rules(args.endpoints, settings)
        if settings.firewall and expressions:
            ruleset(
                FIREWALL,
                "http_request_firewall_custom",
                "Requests without a key, which the gateway refuses as well",
                [rule(ref, expression) for ref, expression in expressions.items()],
                settings.firewall_ruleset_id,
            )
        if settings.rate_limit:
            limit = cloudflare.RulesetRuleRatelimitArgs(
                # The first is mandatory: each data centre counts separately.
                characteristics=["cf.colo.id", "ip.src"],
                period=settings.rate_limit_period,
                requests_per_period=settings.rate_limit_requests,
                mitigation_timeout=settings.rate_limit_timeout,
                requests_to_origin=False,
            )
            ruleset(
                RATE_LIMIT,
                "http_ratelimit",
                "Requests to the API of one address",
                [rule("skyvern_api_rate", rate_limit_expression(args.endpoints, settings), limit)],
                settings.rate_limit_ruleset_id,
            )
