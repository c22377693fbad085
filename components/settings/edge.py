"""The section ``edge``: loopback, a Cloudflare Tunnel or ngrok."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from components.settings.base import LABEL, Label, PrivateDestinations, Section, each, entries, token


def _public_domain(value: str) -> str:
    """A bare domain in lower case, as every public host name is made from it."""
    if "/" in value or ":" in value:
        raise ValueError("is a URL; write the bare domain, for example example.com")
    if len(value) > 240 or not re.fullmatch(rf"({LABEL}\.)+[a-z][a-z0-9-]{{0,61}}[a-z0-9]", value):
        raise ValueError("is not a domain; use lower case without scheme or path, for example example.com")
    if "v1" in value:
        # The UI makes /api/v2 of its base URL by replacing the first "v1" of the whole of it.
        raise ValueError('has "v1" in it, which Skyvern\'s UI takes for the version in its URLs; use another domain')
    return value


PublicDomain = Annotated[str, AfterValidator(_public_domain)]


class NoEdge(Section):
    """Loopback only: the gateway is published on 127.0.0.1, and nothing reaches the host from outside."""

    provider: Literal["none"] = "none"


def _image_problem(image: str) -> str | None:
    if re.fullmatch(r"localhost/\S+:\S+|\S+@sha256:[0-9a-f]{64}", image):
        return None
    return "has no digest, so it could be another image tomorrow; write NAME@sha256:… or localhost/NAME:TAG"


class Tunnel(Section):
    """The keys of every connector."""

    memory_mib: int = Field(256, ge=64, description="Hard memory limit of the connector in MiB.")
    connector_image: Annotated[str | None, each(_image_problem)] = Field(
        None,
        description="Your own image with the connector's program, instead of the public one; with a digest, or "
        "`localhost/…` if it is on the daemon already. Needed where `images.source` is `packages`.",
        examples=["registry.example.com/cloudflared@sha256:…"],
    )
    allow: PrivateDestinations = Field(
        [],
        description="What the connector may reach besides the public internet, by TCP, as in `server.allow`; for a network that "
        "reaches the edge through a private address.",
        examples=["[192.168.1.5:7844]"],
    )


def _address_problem(entry: str) -> str | None:
    right = re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", entry)
    return None if right else "is not an email address; write one, for example ops@example.com"


def _webhook_problem(entry: str) -> str | None:
    right = re.fullmatch(r"[0-9a-f]{32}", entry)
    return None if right else "is not the id of a webhook, which has 32 hex digits (docs/cloudflare.md)"


def _domain_problem(entry: str) -> str | None:
    return "is not a mail domain; write one, for example example.com" if "@" in entry or "." not in entry else None


# First labels of the public hosts, ``app.example.com``; of a cell ``shop-app.example.com`` (components/endpoints.py).
HOSTS = ("app", "api", "wss", "artifact")
_LONGEST_CELL = 63 - max(len(f"-{host}") for host in HOSTS)


def cell_problem(name: str) -> str | None:
    """What is wrong with the name of a cell, and what to write; None for nothing.

    The names of two cells never give the same host: each is one label, NAME-HOST, and no HOST has a hyphen in it.
    """
    # "--" is left to names in other scripts, xn--…, which browsers decode.
    if len(name) > 63 or not re.fullmatch(LABEL, name) or "--" in name:
        return "is not the name of a cell; write lower case letters, digits and single hyphens, for example shop"
    if len(name) > _LONGEST_CELL:
        return f"is too long for a host such as NAME-artifact, which has 63 characters at most; write {_LONGEST_CELL} or less"
    if "v1" in name:
        return 'has "v1" in it, which Skyvern\'s UI takes for the version in its URLs; write another name'
    if name in HOSTS:
        return "is the name of a host of every stack; write another name, for example shop"
    return None


Plan = Literal["free", "pro", "business"]
RulesetId = Annotated[str | None, Field(pattern=r"^[0-9a-f]{32}$", examples=["2f2feab2026849078ba485f918791bdc"])]


class CloudflareEdge(Tunnel):
    """A Cloudflare Tunnel, with DNS records and firewall rules in a zone that exists (docs/cloudflare.md)."""

    provider: Literal["cloudflare"]
    domain: PublicDomain = Field(
        description="The zone: the domain itself, without a host. `app.`, `api.` and the others are made from it; Cloudflare's "
        "free certificate covers no deeper name.",
        examples=["example.com"],
    )
    cell: Annotated[str | None, each(cell_problem)] = Field(
        None,
        description="Name of this stack among several in one zone (docs/scale.md): its hosts are `NAME-app.`, `NAME-api.` and so "
        "on, and automations can name it.",
        examples=["shop"],
    )
    zone_owner: bool = Field(
        True,
        description="Whether this stack has the settings and the rules of the zone, as exactly one of the stacks in a zone does. "
        "With `false`, which needs a `cell`, it has a tunnel, records and Access alone.",
    )
    cells: Annotated[list[str], entries(cell_problem)] = Field(
        [],
        description="The other cells of the zone, for its owner, whose rules cover the hosts of these as well.",
        examples=["[shop, blog]"],
    )
    api_token: Annotated[SecretStr, token("Cloudflare API token", r"[0-9A-Za-z_-]+")] = Field(
        min_length=40,
        max_length=80,
        description="API token; set it with `pulumi config set --secret --path edge.api_token`. Its permissions: "
        "docs/cloudflare.md.",
    )
    plan: Plan = Field("free", description="Plan of the zone. It bounds the rate limit, which cannot name a host on `free`.")
    always_https: bool = Field(
        True, description="Zone-wide: every proxied host of the zone answers HTTP with a redirect to HTTPS."
    )
    min_tls_1_2: bool = Field(True, description="Zone-wide: every proxied host of the zone refuses TLS 1.0 and 1.1.")
    tls_1_3: bool = Field(True, description="Zone-wide: every proxied host of the zone offers TLS 1.3.")
    hsts: bool = Field(
        True,
        description="Zone-wide: browsers that saw a proxied host of the zone refuse plain HTTP to that host (not to its "
        "subdomains) for half a year, even after it is switched off.",
    )
    firewall: bool = Field(
        True, description="A firewall rule that blocks requests without a key at Cloudflare. The gateway refuses them anyway."
    )
    firewall_ruleset_id: RulesetId = Field(
        None,
        description="Id of the zone's own custom rules, if it has any: a zone has one such ruleset. It is adopted as it is.",
    )
    rate_limit: bool = Field(
        True,
        description="A rule that blocks an address that sends too many requests to the API. On `free` it counts requests for "
        "the paths `/api/` and `/v1/` of every host of the zone.",
    )
    rate_limit_requests: int = Field(200, ge=1, description="Requests of one address, in one data centre, before it is blocked.")
    rate_limit_period: Literal[10, 60, 120, 300, 600] = Field(
        10, description="Seconds over which they are counted: 10 on `free`, up to 60 on `pro`, up to 600 on `business`."
    )
    rate_limit_timeout: Literal[10, 60, 600, 3600, 86400] = Field(
        10, description="Seconds for which it is blocked: 10 on `free`, up to 3600 on `pro`, up to 86400 on `business`."
    )
    rate_limit_ruleset_id: RulesetId = Field(
        None, description="Id of the zone's own rate limiting rules, if it has any. It is adopted as it is."
    )
    access_team: Label = Field(
        None,
        description="Puts Cloudflare Access in front of the UI, on top of its login: the team, `NAME` of "
        "NAME.cloudflareaccess.com.",
        examples=["example"],
    )
    access_emails: Annotated[list[str], entries(_address_problem)] = Field(
        [], description="Addresses that Access admits.", examples=["[ops@example.com]"]
    )
    access_domains: Annotated[list[str], entries(_domain_problem)] = Field(
        [], description="Mail domains of which Access admits every address.", examples=["[example.com]"]
    )
    tunnel_alert_emails: Annotated[list[str], entries(_address_problem)] = Field(
        [],
        description="Addresses that Cloudflare mails when the tunnel is down, as when the machine is off, and when it is healthy "
        "again. The API token needs *Account: Notifications: Edit* for it.",
        examples=["[ops@example.com]"],
    )
    tunnel_alert_webhooks: Annotated[list[str], entries(_webhook_problem)] = Field(
        [],
        description="Ids of webhooks that get the same: destinations of the account's notifications, made in the dashboard.",
        examples=["[2f2feab2026849078ba485f918791bdc]"],
    )
    protocol: Literal["auto", "quic", "http2"] = Field(
        "http2",
        description="How the connector reaches Cloudflare, at port 7844. `http2` is TCP, which passes where UDP is blocked, as "
        "on WSL and in offices. `quic` is UDP alone. `auto` tries QUIC first, and gives it up after minutes at each start.",
    )
    past_proxy: bool = Field(
        False,
        description="With `host.proxy`: the network lets the connector, which knows no proxy, reach Cloudflare's port 7844.",
    )


class NgrokEdge(Tunnel):
    """An ngrok endpoint with one host, for UI and API."""

    provider: Literal["ngrok"]
    domain: PublicDomain = Field(
        description="The endpoint's host, reserved in ngrok's dashboard.", examples=["your-name.ngrok.app"]
    )
    authtoken: SecretStr = Field(
        min_length=20, description="Authtoken of the agent; set it with `pulumi config set --secret --path edge.authtoken`."
    )


# The keys of CloudflareEdge that are about the whole zone, which its owner has.
OF_THE_ZONE = (
    *("always_https", "min_tls_1_2", "tls_1_3", "hsts", "firewall", "firewall_ruleset_id", "rate_limit", "rate_limit_requests"),
    *("rate_limit_period", "rate_limit_timeout", "rate_limit_ruleset_id", "cells"),
)

Edge = NoEdge | CloudflareEdge | NgrokEdge
