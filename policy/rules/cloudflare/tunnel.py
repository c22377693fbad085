"""Tunnels and their ingress rules."""

import base64
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from ..addresses import is_own_machine
from ..framework.property import Expect, encrypted_rule, one_of, property_rule
from ..framework.rule import Finding, Findings, Parameters, Resource, rule
from ..framework.values import Inputs
from . import INGRESS, TUNNEL, TUNNELS_URL

_ORIGIN = TUNNELS_URL + "configure-tunnels/cloudflared-parameters/origin-parameters/"


tunnel_managed_remotely = property_rule(
    TUNNEL,
    "cloudflare-tunnel-managed-remotely",
    "configSrc",
    Expect(one_of("cloudflare"), why="a file on some host decides what is published", write='"cloudflare"'),
    description="A tunnel takes its ingress rules from Cloudflare, where this program sets them",
    severity="high",
    remediation='Set configSrc="cloudflare"; the default is "local".',
    url=TUNNELS_URL,
)


def _is_long(secret: str | None) -> bool:
    try:
        # Cloudflare makes a secret for a tunnel without one.
        return secret is None or len(base64.b64decode(secret, validate=True)) >= 32
    except ValueError:
        return False


tunnel_secret_long = property_rule(
    TUNNEL,
    "cloudflare-tunnel-secret-long",
    "tunnelSecret",
    Expect(_is_long, why="whoever guesses it answers for this tunnel", write="32 random bytes in base64"),
    description="A tunnel's secret has at least 32 bytes",
    severity="high",
    remediation="Make it from a RandomPassword: 32 characters in base64. Or leave it out, and Cloudflare makes one.",
    url=TUNNELS_URL,
)

tunnel_secret_encrypted = encrypted_rule(
    TUNNEL,
    "cloudflare-tunnel-secret-encrypted",
    "tunnelSecret",
    description="A tunnel's secret is a secret of Pulumi",
    remediation="Make it from a RandomPassword, or wrap it in pulumi.Output.secret.",
)

ingress_managed_remotely = property_rule(
    INGRESS,
    "cloudflare-ingress-managed-remotely",
    "source",
    Expect(one_of(None, "cloudflare"), why="connectors ignore these rules and read a file of their host", write='"cloudflare"'),
    description="Ingress rules are those at Cloudflare",
    severity="high",
    remediation='Leave source out, or set it to "cloudflare".',
    url=TUNNELS_URL,
)


@rule(
    INGRESS,
    "cloudflare-ingress-catch-all-refused",
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
    INGRESS,
    "cloudflare-ingress-hosts-named",
    "config.ingresses",
    description="Every ingress rule but the last names a single host",
    severity="high",
    remediation="Write each host in hostname; no wildcard.",
    url=TUNNELS_URL,
)
def ingress_hosts_named(config: Resource, parameters: Parameters) -> Findings:
    for path, ingress in _rules(config):
        if str(ingress.get("service", "")).startswith("http_status:"):
            continue
        host = str(ingress.get("hostname", ""))
        if not host or "*" in host:
            yield Finding(path=f"{path}.hostname", why="unexpected hosts lead to the origin", write="one host")


@rule(
    INGRESS,
    "cloudflare-ingress-tls-verified",
    "config",
    description="A connector verifies the certificate of an origin",
    severity="high",
    remediation="Remove noTlsVerify; name the CA in caPool, or use http within a network of Docker.",
    url=_ORIGIN + "#notlsverify",
)
def ingress_tls_verified(config: Resource, parameters: Parameters) -> Findings:
    sections = [("config", config.inputs.section("config")), *_rules(config)]
    for path, section in sections:
        if section.section("originRequest").get("noTlsVerify", False):
            why = "whoever is on the way can answer for the origin"
            yield Finding(path=f"{path}.originRequest.noTlsVerify", why=why, write="no noTlsVerify")


ingress_origin_elsewhere = property_rule(
    INGRESS,
    "cloudflare-ingress-origin-elsewhere",
    "config.ingresses",
    Expect(
        lambda service: not is_own_machine(urlsplit(str(service)).hostname or ""),
        why="the connector runs on the host itself and reaches all that listens there",
        write="the gateway's name on a network of Docker",
    ),
    reads="config.ingresses[].service",
    description="An origin is not the connector's own loopback address",
    severity="high",
    remediation='Run the connector as a container and name the gateway: "http://gateway:8080".',
    url=_ORIGIN,
)

ingress_web_only = property_rule(
    INGRESS,
    "cloudflare-ingress-web-only",
    "config.ingresses",
    Expect(
        lambda service: str(service).startswith(("http://", "https://", "http_status:")),
        why="the tunnel leads to more than a web server",
        write='an "http://" address',
    ),
    reads="config.ingresses[].service",
    description="What is published is HTTP: no shell, no remote desktop, no socket",
    severity="critical",
    remediation='Write a service that starts with "http://" or "https://".',
    url=_ORIGIN,
)


def _rules(config: Resource) -> Iterator[tuple[str, Any]]:
    return config.inputs.section("config").each("ingresses")
