"""Tunnels and their ingress rules."""

import base64
import binascii
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from ..addresses import is_own_machine
from ..framework.rule import Finding, Findings, Parameters, Resource, rule
from ..framework.values import Inputs
from . import INGRESS, TUNNEL, TUNNELS_URL

_ORIGIN = TUNNELS_URL + "configure-tunnels/cloudflared-parameters/origin-parameters/"


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
        if is_own_machine(urlsplit(str(one.get("service", ""))).hostname or ""):
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
