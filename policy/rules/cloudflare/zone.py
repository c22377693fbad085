"""DNS records and settings of a zone."""

import re
from collections.abc import Iterator
from typing import Any, Unpack

from ..addresses import is_own_machine, is_public
from ..framework.property import Expect, one_of, property_rule
from ..framework.rule import About, Finding, Findings, Parameters, Resource, Rule, matches, rule
from ..framework.values import Inputs
from . import DNSSEC, DOCS, RECORD, SETTING

_RECORDS = DOCS + "dns/proxy-status/"
_TLS = DOCS + "ssl/edge-certificates/additional-options/"

_ADDRESSES = frozenset({"A", "AAAA"})


@rule(
    RECORD,
    "cloudflare-record-proxied",
    "proxied",
    description="A record goes through Cloudflare, unless levels.yaml trusts what it points at to face the internet",
    severity="medium",
    remediation="Set proxied=True; without it, a tunnel's name leads nowhere. Or name the target in levels.yaml.",
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
    RECORD,
    "cloudflare-record-address-public",
    "content",
    description="A record names no address of a private network",
    severity="medium",
    remediation="Remove the record; whoever is on that network needs no public name.",
    url=DOCS + "dns/manage-dns-records/reference/dns-record-types/",
    prowler=("dns_record_no_internal_ip",),
)
def record_address_public(record: Resource, parameters: Parameters) -> Findings:
    if record.inputs.get("type") in _ADDRESSES and not is_public(target(record.inputs)):
        yield Finding(path="content", why="it shows the internet how the network is built", write="a public address")


record_name_exact = property_rule(
    RECORD,
    "cloudflare-record-name-exact",
    "name",
    Expect(lambda name: "*" not in str(name), why="every made-up name leads there", write="one host"),
    description="A record names one host",
    severity="medium",
    remediation="Make a record for each host.",
    url=DOCS + "dns/manage-dns-records/reference/wildcard-dns-records/",
    prowler=("dns_record_no_wildcard", "domain_no_wildcard_dns_exposure"),
)


@rule(
    RECORD,
    "cloudflare-record-target-host",
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
    if not re.fullmatch(r"([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)+[a-z][a-z0-9-]*[a-z0-9]", host) or is_own_machine(host):
        yield Finding(path="content", why="no resolver finds it", write="a host's full name")


def _setting_rule(name: str, id_: str, good: tuple[str, ...], *, why: str, **about: Unpack[About]) -> Rule:
    """A rule that a setting of the zone, if the stack has it, has one of the good values."""

    def value(setting: Resource) -> Iterator[tuple[str, Any]]:
        if setting.inputs.get("settingId") == id_:
            yield from setting.inputs.at("value")

    write = " or ".join(f'"{value}"' for value in good)
    return property_rule(SETTING, name, "value", Expect(one_of(*good), why=why, write=f"{write} for {id_}"), reads=value, **about)


zone_https_forced = _setting_rule(
    "cloudflare-zone-https-forced",
    "always_use_https",
    ("on",),
    why="passwords travel in plain text",
    description="A zone sends every browser to HTTPS",
    severity="high",
    remediation='Set always_use_https to "on".',
    url=_TLS + "../encrypt-visitor-traffic/",
    prowler=("zone_https_redirect_enabled",),
)

zone_tls_minimum = _setting_rule(
    "cloudflare-zone-tls-minimum",
    "min_tls_version",
    ("1.2", "1.3"),
    why="older versions are broken",
    description="A zone takes TLS 1.2 and newer only",
    severity="high",
    remediation='Set min_tls_version to "1.2".',
    url=_TLS + "minimum-tls/",
    prowler=("zone_min_tls_version_secure",),
)

zone_tls_1_3_on = _setting_rule(
    "cloudflare-zone-tls-1-3-on",
    "tls_1_3",
    ("on", "zrt"),
    why="browsers fall back to an older version",
    description="A zone offers TLS 1.3",
    severity="medium",
    remediation='Set tls_1_3 to "on".',
    url=_TLS + "tls-13/",
    prowler=("zone_tls_1_3_enabled",),
)

zone_origin_tls_strict = _setting_rule(
    "cloudflare-zone-origin-tls-strict",
    "ssl",
    ("strict", "origin_pull"),
    why="traffic to an origin is in plain text, or anyone can answer for the origin",
    description="Cloudflare verifies the certificates of a zone's origins",
    severity="high",
    remediation='Set ssl to "strict"; a tunnel works with it.',
    url=DOCS + "ssl/origin-configuration/ssl-modes/full-strict/",
    prowler=("zone_ssl_strict",),
)

zone_rewrites_on = _setting_rule(
    "cloudflare-zone-rewrites-on",
    "automatic_https_rewrites",
    ("on",),
    why="parts of a page travel in plain text",
    description="A zone rewrites links to HTTPS",
    severity="low",
    remediation='Set automatic_https_rewrites to "on".',
    url=_TLS + "automatic-https-rewrites/",
    prowler=("zone_automatic_https_rewrites_enabled",),
)

zone_development_off = _setting_rule(
    "cloudflare-zone-development-off",
    "development_mode",
    ("off",),
    why="every request goes to the origin",
    description="A zone is not in development mode",
    severity="low",
    remediation='Set development_mode to "off".',
    url=DOCS + "cache/reference/development-mode/",
    prowler=("zone_development_mode_disabled",),
)

zone_websockets_on = _setting_rule(
    "cloudflare-zone-websockets-on",
    "websockets",
    ("on",),
    why="live views of a browser stay black",
    description="A zone lets WebSockets through",
    severity="low",
    remediation='Set websockets to "on".',
    url=DOCS + "network/websockets/",
)


def _hsts(setting: Resource) -> tuple[str, Inputs]:
    """Path and content of strict_transport_security; both empty for another setting."""
    if setting.inputs.get("settingId") != "security_header":
        return "", Inputs({})
    return "value.strict_transport_security", setting.inputs.section("value").section("strict_transport_security")


@rule(
    SETTING,
    "cloudflare-zone-hsts-on",
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
    SETTING,
    "cloudflare-zone-hsts-own-hosts",
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


zone_dnssec_on = property_rule(
    DNSSEC,
    "cloudflare-zone-dnssec-on",
    "status",
    Expect(one_of(None, "active"), why="whoever answers first says where the zone's names lead", write='"active"'),
    description="A zone's records are signed",
    severity="medium",
    remediation='Set status="active", and the DS record at the registrar.',
    url=DOCS + "dns/dnssec/",
    prowler=("zone_dnssec_enabled",),
)
