"""Rules for single resources of the Cloudflare provider: tunnels, records, settings and rulesets of a zone, and Access."""

import base64
import binascii
import ipaddress
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from .containers import matches
from .framework.rule import Finding, Findings, Parameters, Resource, rule
from .framework.values import Inputs

PROVIDER = "pulumi:providers:cloudflare"
TUNNEL = "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"
INGRESS = "cloudflare:index/zeroTrustTunnelCloudflaredConfig:ZeroTrustTunnelCloudflaredConfig"
RECORD = "cloudflare:index/dnsRecord:DnsRecord"
SETTING = "cloudflare:index/zoneSetting:ZoneSetting"
DNSSEC = "cloudflare:index/zoneDnssec:ZoneDnssec"
RULESET = "cloudflare:index/ruleset:Ruleset"
ACCESS_POLICY = "cloudflare:index/zeroTrustAccessPolicy:ZeroTrustAccessPolicy"
ACCESS_APPLICATION = "cloudflare:index/zeroTrustAccessApplication:ZeroTrustAccessApplication"
FIREWALL_PHASE = "http_request_firewall_custom"
RATE_LIMIT_PHASE = "http_ratelimit"
# Names that such a record points at lead into a tunnel.
TUNNEL_DOMAIN = ".cfargotunnel.com"

DOCS = "https://developers.cloudflare.com/"
TUNNELS_URL = DOCS + "cloudflare-one/networks/connectors/cloudflare-tunnel/"
_ORIGIN = TUNNELS_URL + "configure-tunnels/cloudflared-parameters/origin-parameters/"
_RECORDS = DOCS + "dns/proxy-status/"
_TLS = DOCS + "ssl/edge-certificates/additional-options/"
ACCESS_URL = DOCS + "cloudflare-one/access-controls/policies/"
_TOKENS = DOCS + "fundamentals/api/get-started/create-token/"

# --- The provider --------------------------------------------------------------------------------------------------------


@rule(
    "cloudflare-provider-token-scoped",
    PROVIDER,
    "apiKey",
    description="The provider is given a token with chosen permissions, not the account's global key",
    severity="critical",
    remediation="Make an API token with the permissions that are needed, and set apiToken in place of apiKey and email.",
    url=_TOKENS,
)
def provider_token_scoped(provider: Resource, parameters: Parameters) -> Findings:
    if provider.inputs.get("apiKey"):
        yield Finding(path="apiKey", why="the global key may do everything in every zone, and never expires", write="apiToken")


@rule(
    "cloudflare-provider-token-encrypted",
    PROVIDER,
    "apiToken",
    description="The provider's token is a secret of Pulumi",
    severity="critical",
    remediation="Set it with pulumi config set --secret, or wrap it in pulumi.Output.secret.",
    url="https://www.pulumi.com/docs/iac/concepts/secrets/",
)
def provider_token_encrypted(provider: Resource, parameters: Parameters) -> Findings:
    if provider.inputs.get("apiToken") and not provider.inputs.is_secret("apiToken"):
        yield Finding(path="apiToken", why="it is in plain text in the state", write="pulumi.Output.secret(...)")


@rule(
    "cloudflare-provider-url-encrypted",
    PROVIDER,
    "baseUrl",
    description="The provider talks to Cloudflare's API by HTTPS",
    severity="critical",
    remediation="Leave baseUrl out.",
    url=DOCS + "api/",
)
def provider_url_encrypted(provider: Resource, parameters: Parameters) -> Findings:
    if str(provider.inputs.get("baseUrl", "https:")).startswith("http:"):
        yield Finding(path="baseUrl", why="the token travels in plain text", write="no baseUrl")


# --- The tunnel ----------------------------------------------------------------------------------------------------------


@rule(
    "cloudflare-tunnel-managed-remotely",
    TUNNEL,
    "configSrc",
    description="A tunnel takes its ingress rules from Cloudflare, where this program sets them",
    severity="high",
    remediation='Set configSrc="cloudflare"; the default is "local".',
    url=TUNNELS_URL,
)
def tunnel_managed_remotely(tunnel: Resource, parameters: Parameters) -> Findings:
    if tunnel.inputs.get("configSrc", "local") != "cloudflare":
        yield Finding(path="configSrc", why="a file on some host decides what is published", write='"cloudflare"')


@rule(
    "cloudflare-tunnel-secret-long",
    TUNNEL,
    "tunnelSecret",
    description="A tunnel's secret has at least 32 bytes",
    severity="high",
    remediation="Make it of a RandomPassword: 32 characters in base64. Or leave it out, and Cloudflare makes one.",
    url=TUNNELS_URL,
)
def tunnel_secret_long(tunnel: Resource, parameters: Parameters) -> Findings:
    secret = tunnel.inputs.get("tunnelSecret")
    if secret is not None and len(_base64(str(secret))) < 32:
        yield Finding(path="tunnelSecret", why="whoever guesses it answers for this tunnel", write="32 random bytes in base64")


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


@rule(
    "cloudflare-tunnel-secret-encrypted",
    TUNNEL,
    "tunnelSecret",
    description="A tunnel's secret is a secret of Pulumi",
    severity="critical",
    remediation="Make it of a RandomPassword, or wrap it in pulumi.Output.secret.",
    url="https://www.pulumi.com/docs/iac/concepts/secrets/",
)
def tunnel_secret_encrypted(tunnel: Resource, parameters: Parameters) -> Findings:
    if tunnel.inputs.get("tunnelSecret") and not tunnel.inputs.is_secret("tunnelSecret"):
        yield Finding(path="tunnelSecret", why="it is in plain text in the state", write="pulumi.Output.secret(...)")


# --- Ingress rules -------------------------------------------------------------------------------------------------------


@rule(
    "cloudflare-ingress-managed-remotely",
    INGRESS,
    "source",
    description="Ingress rules are those at Cloudflare",
    severity="high",
    remediation='Leave source out, or set it to "cloudflare".',
    url=TUNNELS_URL,
)
def ingress_managed_remotely(config: Resource, parameters: Parameters) -> Findings:
    if config.inputs.get("source", "cloudflare") != "cloudflare":
        yield Finding(path="source", why="connectors ignore these rules and read a file of their host", write='"cloudflare"')


@rule(
    "cloudflare-ingress-catch-all-refused",
    INGRESS,
    "config.ingresses",
    description="The last ingress rule answers 404 to every other host",
    severity="high",
    remediation='End ingresses with service="http_status:404" and nothing else.',
    url=TUNNELS_URL,
)
def ingress_catch_all_refused(config: Resource, parameters: Parameters) -> Findings:
    rules = config.inputs.section("config").whole("ingresses")
    last = rules[-1] if rules else Inputs({})
    if last.get("hostname") or last.get("path") or last.get("service") != "http_status:404":
        path = f"config.ingresses[{max(len(rules) - 1, 0)}]"
        yield Finding(path=path, why="an unexpected host leads somewhere", write='service="http_status:404" alone')


@rule(
    "cloudflare-ingress-hosts-named",
    INGRESS,
    "config.ingresses",
    description="Every ingress rule but the last names one host",
    severity="high",
    remediation="Write each host in hostname; no wildcard.",
    url=TUNNELS_URL,
)
def ingress_hosts_named(config: Resource, parameters: Parameters) -> Findings:
    for path, one in _rules(config):
        if str(one.get("service", "")).startswith("http_status:"):
            continue
        host = str(one.get("hostname", ""))
        if not host or "*" in host:
            yield Finding(path=f"{path}.hostname", why="unexpected hosts lead to the origin", write="one host")


@rule(
    "cloudflare-ingress-tls-verified",
    INGRESS,
    "config",
    description="A connector verifies the certificate of an origin",
    severity="high",
    remediation="Remove noTlsVerify; name the CA in caPool, or use http within a network of Docker.",
    url=_ORIGIN + "#notlsverify",
)
def ingress_tls_verified(config: Resource, parameters: Parameters) -> Findings:
    sections = [("config", config.inputs.section("config")), *_rules(config)]
    for path, one in sections:
        if one.section("originRequest").get("noTlsVerify", False):
            why = "whoever is on the way can answer for the origin"
            yield Finding(path=f"{path}.originRequest.noTlsVerify", why=why, write="no noTlsVerify")


@rule(
    "cloudflare-ingress-origin-elsewhere",
    INGRESS,
    "config.ingresses",
    description="An origin is not the connector's own loopback address",
    severity="high",
    remediation='Run the connector as a container and name the gateway: "http://gateway:8080".',
    url=_ORIGIN,
)
def ingress_origin_elsewhere(config: Resource, parameters: Parameters) -> Findings:
    for path, one in _rules(config):
        if is_loopback(urlsplit(str(one.get("service", ""))).hostname or ""):
            why = "the connector runs on the host itself and reaches all that listens there"
            yield Finding(path=f"{path}.service", why=why, write="the gateway's name on a network of Docker")


@rule(
    "cloudflare-ingress-web-only",
    INGRESS,
    "config.ingresses",
    description="What is published is HTTP: no shell, no remote desktop, no socket",
    severity="critical",
    remediation='Write a service that starts with "http://" or "https://".',
    url=_ORIGIN,
)
def ingress_web_only(config: Resource, parameters: Parameters) -> Findings:
    for path, one in _rules(config):
        service = str(one.get("service", ""))
        if not service.startswith(("http://", "https://", "http_status:")):
            why = "the tunnel leads to more than a web server"
            yield Finding(path=f"{path}.service", why=why, write='an "http://" address')


def _rules(config: Resource) -> Iterator[tuple[str, Any]]:
    return config.inputs.section("config").each("ingresses")


def is_loopback(host: str) -> bool:
    """Whether a host of a URL is the machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


# --- Records -------------------------------------------------------------------------------------------------------------

_ADDRESSES = frozenset({"A", "AAAA"})


@rule(
    "cloudflare-record-proxied",
    RECORD,
    "proxied",
    description="A record goes through Cloudflare, unless levels.yaml trusts what it points at to face the internet",
    severity="medium",
    remediation="Set proxied=True; a name of a tunnel leads nowhere without. Or name the target in levels.yaml.",
    url=_RECORDS,
    prowler=("dns_record_proxied",),
    parameters={"direct": []},
)
def record_proxied(record: Resource, parameters: Parameters) -> Findings:
    inputs = record.inputs
    if inputs.get("proxied", False) or inputs.get("type") not in {"CNAME", *_ADDRESSES}:
        return
    if not matches(target(inputs), parameters["direct"]):
        yield Finding(path="proxied", why="the name leads past Cloudflare, or nowhere", write="proxied=True")


def target(record: Inputs) -> str:
    """The host or address that a record points at."""
    return str(record.get("content", "")).rstrip(".").lower()


@rule(
    "cloudflare-record-address-public",
    RECORD,
    "content",
    description="A record names no address of a private network",
    severity="medium",
    remediation="Remove the record; whoever is on that network needs no public name.",
    url=DOCS + "dns/manage-dns-records/reference/dns-record-types/",
    prowler=("dns_record_no_internal_ip",),
)
def record_address_public(record: Resource, parameters: Parameters) -> Findings:
    if record.inputs.get("type") in _ADDRESSES and not _is_public(target(record.inputs)):
        yield Finding(path="content", why="it shows the internet how the network is built", write="a public address")


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


@rule(
    "cloudflare-record-name-exact",
    RECORD,
    "name",
    description="A record names one host",
    severity="medium",
    remediation="Make a record for each host.",
    url=DOCS + "dns/manage-dns-records/reference/wildcard-dns-records/",
    prowler=("dns_record_no_wildcard", "domain_no_wildcard_dns_exposure"),
)
def record_name_exact(record: Resource, parameters: Parameters) -> Findings:
    if "*" in str(record.inputs.get("name", "")):
        yield Finding(path="name", why="every made-up name leads there", write="one host")


@rule(
    "cloudflare-record-target-host",
    RECORD,
    "content",
    description="A CNAME points at a host of the internet",
    severity="medium",
    remediation="Write a host's full name, without https:// and port.",
    url=DOCS + "dns/manage-dns-records/reference/dns-record-types/",
    prowler=("dns_record_cname_target_valid",),
)
def record_target_host(record: Resource, parameters: Parameters) -> Findings:
    if record.inputs.get("type") != "CNAME":
        return
    host = target(record.inputs)
    if not re.fullmatch(r"([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)+[a-z][a-z0-9-]*[a-z0-9]", host) or is_loopback(host):
        yield Finding(path="content", why="no resolver finds it", write="a host's full name")


# --- The zone ------------------------------------------------------------------------------------------------------------


def _setting(setting: Resource, id_: str, good: tuple[Any, ...], why: str) -> Findings:
    if setting.inputs.get("settingId") == id_ and setting.inputs.get("value") not in good:
        write = " or ".join(f'"{value}"' for value in good)
        yield Finding(path="value", why=why, write=f"{write} for {id_}")


@rule(
    "cloudflare-zone-https-forced",
    SETTING,
    "value",
    description="A zone sends every browser to HTTPS",
    severity="high",
    remediation='Set always_use_https to "on".',
    url=_TLS + "../encrypt-visitor-traffic/",
    prowler=("zone_https_redirect_enabled",),
)
def zone_https_forced(setting: Resource, parameters: Parameters) -> Findings:
    yield from _setting(setting, "always_use_https", ("on",), "passwords travel in plain text")


@rule(
    "cloudflare-zone-tls-minimum",
    SETTING,
    "value",
    description="A zone takes TLS 1.2 and newer only",
    severity="high",
    remediation='Set min_tls_version to "1.2".',
    url=_TLS + "minimum-tls/",
    prowler=("zone_min_tls_version_secure",),
)
def zone_tls_minimum(setting: Resource, parameters: Parameters) -> Findings:
    yield from _setting(setting, "min_tls_version", ("1.2", "1.3"), "older versions are broken")


@rule(
    "cloudflare-zone-tls-1-3-on",
    SETTING,
    "value",
    description="A zone offers TLS 1.3",
    severity="medium",
    remediation='Set tls_1_3 to "on".',
    url=_TLS + "tls-13/",
    prowler=("zone_tls_1_3_enabled",),
)
def zone_tls_1_3_on(setting: Resource, parameters: Parameters) -> Findings:
    yield from _setting(setting, "tls_1_3", ("on", "zrt"), "browsers fall back to an older version")


@rule(
    "cloudflare-zone-origin-tls-strict",
    SETTING,
    "value",
    description="Cloudflare verifies the certificates of a zone's origins",
    severity="high",
    remediation='Set ssl to "strict"; a tunnel works with it.',
    url=DOCS + "ssl/origin-configuration/ssl-modes/full-strict/",
    prowler=("zone_ssl_strict",),
)
def zone_origin_tls_strict(setting: Resource, parameters: Parameters) -> Findings:
    yield from _setting(
        setting, "ssl", ("strict", "origin_pull"), "traffic to an origin is in plain text, or anyone can answer for the origin"
    )


@rule(
    "cloudflare-zone-rewrites-on",
    SETTING,
    "value",
    description="A zone rewrites links to HTTPS",
    severity="low",
    remediation='Set automatic_https_rewrites to "on".',
    url=_TLS + "automatic-https-rewrites/",
    prowler=("zone_automatic_https_rewrites_enabled",),
)
def zone_rewrites_on(setting: Resource, parameters: Parameters) -> Findings:
    yield from _setting(setting, "automatic_https_rewrites", ("on",), "parts of a page travel in plain text")


@rule(
    "cloudflare-zone-development-off",
    SETTING,
    "value",
    description="A zone is not in development mode",
    severity="low",
    remediation='Set development_mode to "off".',
    url=DOCS + "cache/reference/development-mode/",
    prowler=("zone_development_mode_disabled",),
)
def zone_development_off(setting: Resource, parameters: Parameters) -> Findings:
    yield from _setting(setting, "development_mode", ("off",), "every request goes to the origin")


@rule(
    "cloudflare-zone-websockets-on",
    SETTING,
    "value",
    description="A zone lets WebSockets through",
    severity="low",
    remediation='Set websockets to "on".',
    url=DOCS + "network/websockets/",
)
def zone_websockets_on(setting: Resource, parameters: Parameters) -> Findings:
    yield from _setting(setting, "websockets", ("on",), "live views of a browser stay black")


def _hsts(setting: Resource) -> tuple[str, Inputs]:
    """Path and content of strict_transport_security; empty where a setting is another."""
    if setting.inputs.get("settingId") != "security_header":
        return "", Inputs({})
    return "value.strict_transport_security", setting.inputs.section("value").section("strict_transport_security")


@rule(
    "cloudflare-zone-hsts-on",
    SETTING,
    "value",
    description="Browsers remember for half a year that a zone is HTTPS only",
    severity="medium",
    remediation="Set enabled, and max_age=15552000.",
    url=_TLS + "http-strict-transport-security/",
    prowler=("zone_hsts_enabled",),
    parameters={"seconds": 15552000},
)
def zone_hsts_on(setting: Resource, parameters: Parameters) -> Findings:
    path, header = _hsts(setting)
    if path and not (header.get("enabled", False) and header.get("max_age", 0) >= parameters["seconds"]):
        why = "a first request can be answered by whoever is on the way"
        yield Finding(path=path, why=why, write=f"enabled and max_age={parameters['seconds']}")


@rule(
    "cloudflare-zone-hsts-own-hosts",
    SETTING,
    "value",
    description="HSTS is set for no host of the zone that this program does not know",
    severity="medium",
    remediation="Leave include_subdomains and preload off, or say in levels.yaml that every host of the zone speaks HTTPS.",
    url=_TLS + "http-strict-transport-security/",
    parameters={"every_host_speaks_https": False},
)
def zone_hsts_own_hosts(setting: Resource, parameters: Parameters) -> Findings:
    path, header = _hsts(setting)
    for key in ("include_subdomains", "preload") if path and not parameters["every_host_speaks_https"] else ():
        if header.get(key, False):
            why = "hosts of others go dark for as long as browsers remember, whatever is done then"
            yield Finding(path=f"{path}.{key}", why=why, write=f"{key}=False")


@rule(
    "cloudflare-zone-dnssec-on",
    DNSSEC,
    "status",
    description="A zone's records are signed",
    severity="medium",
    remediation='Set status="active", and the DS record at the registrar.',
    url=DOCS + "dns/dnssec/",
    prowler=("zone_dnssec_enabled",),
)
def zone_dnssec_on(dnssec: Resource, parameters: Parameters) -> Findings:
    if dnssec.inputs.get("status", "active") != "active":
        yield Finding(path="status", why="whoever answers first says where the zone's names lead", write='"active"')


# --- Rules of the firewall -----------------------------------------------------------------------------------------------


@rule(
    "cloudflare-ruleset-rules-on",
    RULESET,
    "rules",
    description="A rule that is written is at work",
    severity="high",
    remediation="Remove enabled=False, or the rule.",
    url=DOCS + "ruleset-engine/rulesets-api/",
)
def ruleset_rules_on(ruleset: Resource, parameters: Parameters) -> Findings:
    for path, one in ruleset.inputs.each("rules"):
        if one.get("enabled", True) is False:
            yield Finding(path=f"{path}.enabled", why="it reads as if it stopped something", write="enabled=True")


@rule(
    "cloudflare-ruleset-rules-decide",
    RULESET,
    "rules",
    description="A rule of the firewall or the rate limit stops a request: it neither logs only nor waves it through",
    severity="high",
    remediation='Set action="block"; for people, "managed_challenge".',
    url=DOCS + "waf/custom-rules/",
    prowler=("zone_firewall_blocking_rules_configured",),
)
def ruleset_rules_decide(ruleset: Resource, parameters: Parameters) -> Findings:
    if ruleset.inputs.get("phase") in {FIREWALL_PHASE, RATE_LIMIT_PHASE}:
        for path, one in ruleset.inputs.each("rules"):
            if one.get("action") in {"log", "skip"}:
                yield Finding(path=f"{path}.action", why="what it matches gets through", write='"block"')


@rule(
    "cloudflare-ruleset-limit-per-address",
    RULESET,
    "rules",
    description="A rate limit counts each address for itself",
    severity="medium",
    remediation='Write characteristics=["cf.colo.id", "ip.src"].',
    url=DOCS + "waf/rate-limiting-rules/parameters/",
)
def ruleset_limit_per_address(ruleset: Resource, parameters: Parameters) -> Findings:
    if ruleset.inputs.get("phase") == RATE_LIMIT_PHASE:
        for path, one in ruleset.inputs.each("rules"):
            limit = one.section("ratelimit")
            if not any(str(name).startswith(_OF_A_CLIENT) for name in limit.whole("characteristics")):
                path = f"{path}.ratelimit.characteristics"
                yield Finding(path=path, why="one client uses up the requests of all", write='"cf.colo.id" and "ip.src"')


_OF_A_CLIENT = ("cf.unique_visitor_id", "http.request.cookies", "http.request.headers", "ip.")


# --- Access --------------------------------------------------------------------------------------------------------------

# Whoever wants one gets a mailbox there.
_PUBLIC_MAIL = frozenset(
    "daum.net gmail.com googlemail.com hanmail.net hotmail.com icloud.com kakao.com live.com nate.com naver.com outlook.com "
    "proton.me protonmail.com yahoo.com".split()
)


def _policies(resource: Resource) -> Iterator[tuple[str, Inputs]]:
    """Path prefix and content of a policy by itself, or of those that are written into an application."""
    if resource.type == ACCESS_POLICY:
        yield "", resource.inputs
    else:
        for path, one in resource.inputs.each("policies"):
            yield f"{path}.", one


@rule(
    "cloudflare-access-people-named",
    ACCESS_POLICY,
    "includes",
    description="A policy of Access lets in named people, groups or networks, not everyone",
    severity="critical",
    remediation="Name addresses, or a mail domain of your own; put a country under requires.",
    url=ACCESS_URL,
    also=(ACCESS_APPLICATION,),
)
def access_people_named(resource: Resource, parameters: Parameters) -> Findings:
    for _, policy in _policies(resource):
        if policy.get("decision", "deny") == "deny":
            continue
        for path, one in policy.each("includes"):
            mail = str(one.section("emailDomain").get("domain", "")).lower()
            everybody = "everyone" in one.values or "geo" in one.values or mail in _PUBLIC_MAIL
            if everybody or str(one.section("ip").get("ip", "")).endswith("/0"):
                yield Finding(path=path, why="whoever asks is let in", write="people, or a mail domain of your own")


@rule(
    "cloudflare-access-decides",
    ACCESS_POLICY,
    "decision",
    description="A policy of Access does not bypass it",
    severity="critical",
    remediation='Set decision="allow" with the people, or "non_identity" with a service token.',
    url=ACCESS_URL + "#bypass",
    also=(ACCESS_APPLICATION,),
)
def access_decides(resource: Resource, parameters: Parameters) -> Findings:
    for prefix, policy in _policies(resource):
        if policy.get("decision") == "bypass":
            yield Finding(path=f"{prefix}decision", why="it asks for no login, and logs nothing", write='"allow"')


@rule(
    "cloudflare-access-session-short",
    ACCESS_APPLICATION,
    "sessionDuration",
    description="A login at Access ends after a day",
    severity="medium",
    remediation='Set sessionDuration="24h" or less.',
    url=DOCS + "cloudflare-one/access-controls/access-settings/session-management/",
    also=(ACCESS_POLICY,),
    parameters={"hours": 24},
)
def access_session_short(resource: Resource, parameters: Parameters) -> Findings:
    if _hours(str(resource.inputs.get("sessionDuration", "24h"))) > parameters["hours"]:
        why = "whoever has left, or lost a laptop, is still logged in"
        yield Finding(path="sessionDuration", why=why, write=f'"{parameters["hours"]}h" or less')


_PER_HOUR = {"h": 1.0, "m": 60.0, "s": 3600.0, "ms": 3600e3, "us": 3600e6, "µs": 3600e6, "ns": 3600e9}


def _hours(duration: str) -> float:
    """Hours of a Go duration, ``2h45m``."""
    return sum(float(number) / _PER_HOUR[unit] for number, unit in re.findall(r"([0-9.]+)(h|ms|m|s|us|µs|ns)", duration))


@rule(
    "cloudflare-access-cookie-unread",
    ACCESS_APPLICATION,
    "httpOnlyCookieAttribute",
    description="No script of a page reads the cookie of Access",
    severity="medium",
    remediation="Leave httpOnlyCookieAttribute out; on is the default.",
    url=DOCS + "cloudflare-one/access-controls/applications/http-apps/authorization-cookie/",
)
def access_cookie_unread(application: Resource, parameters: Parameters) -> Findings:
    if application.inputs.get("httpOnlyCookieAttribute", True) is False:
        yield Finding(path="httpOnlyCookieAttribute", why="a script that slips in takes the login along", write="True")
