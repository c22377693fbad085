"""What Cloudflare's API and its provider (6.23.1, upstream 5.22) refuse and answer, as far as an edge of ours uses them.

Codes and messages are the API's where an issue or document quotes them (81053, 1013, 1022, 20217); the others are from memory
and may differ.
Expressions of rules are not parsed: their fields, functions' plans, quotes and parentheses are looked at.

Keys of the world: ``tokens`` (token -> permission names), ``accounts`` (id -> {"zero_trust": bool}), ``zones`` (id -> zone, with
its ``settings``), ``tunnels``, ``configurations`` (by tunnel id), ``records``, ``rulesets``, ``policies``, ``applications``,
``service_tokens`` (by id, with the outputs that the SDK names).
"""

import base64
import binascii
import json
import re
import secrets
import uuid
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn
from urllib.parse import urlsplit

from lab.standins.providers.schema import Failure
from lab.standins.providers.vendor import Call, Kind, Properties, Refused, Vendor, hex_id, http_error, now
from lab.standins.providers.wire import UNKNOWN
from lab.standins.providers.world import Data, World, connected

BASE_URL = "https://api.cloudflare.com/client/v4"

# A token that the provider's own check lets through: 40 to 80 characters.
TOKEN = "a-token-of-a-test_0123456789_abcdefghijk"

# What our edge needs, under the API's names; the dashboard says Edit for Write.
PERMISSIONS = (
    "Zone Read",
    "DNS Write",
    "Zone Settings Write",
    "Zone WAF Write",
    "Zone Transform Rules Write",
    "Dynamic URL Redirects Write",
    "Cloudflare Tunnel Write",
    "Access: Apps and Policies Write",
    "Access: Service Tokens Write",
)

# The SDK documents no permissions for rulesets: they depend on the phase (Cloudflare's documentation, API token permissions).
PHASE_PERMISSIONS = {
    "http_request_firewall_custom": "Zone WAF Write",
    "http_ratelimit": "Zone WAF Write",
    "http_response_headers_transform": "Zone Transform Rules Write",
    "http_request_dynamic_redirect": "Dynamic URL Redirects Write",
}

PLANS = {
    "free": {"name": "Free Website", "legacyId": "free", "price": 0.0},
    "pro": {"name": "Pro Website", "legacyId": "pro", "price": 20.0},
    "business": {"name": "Business Website", "legacyId": "business", "price": 200.0},
    "enterprise": {"name": "Enterprise Website", "legacyId": "enterprise", "price": 0.0},
}

# Rules in a phase (None: no limit here), by plan: WAF documentation, availability of custom and rate limiting rules.
MOST_RULES: Mapping[str, Mapping[str, int]] = {
    "http_request_firewall_custom": {"free": 5, "pro": 20, "business": 100, "enterprise": 1000},
    "http_ratelimit": {"free": 1, "pro": 2, "business": 5, "enterprise": 100},
    "http_request_dynamic_redirect": {"free": 10, "pro": 25, "business": 50, "enterprise": 300},
    "http_response_headers_transform": {"free": 10, "pro": 25, "business": 50, "enterprise": 300},
}
PERIODS = {"free": [10], "pro": [10, 60], "business": [10, 60, 120, 300, 600]}
TIMEOUTS = {"free": [10], "pro": [10, 60, 600, 3600], "business": [10, 60, 600, 3600, 86400]}
RATE_LIMIT_FIELDS = {
    "free": {"http.request.uri.path", "cf.bot_management.verified_bot"},
    "pro": {
        *("http.request.uri.path", "cf.bot_management.verified_bot", "http.host", "http.request.uri", "http.request.uri.query"),
        *("http.request.full_uri", "http.request.uri.path.extension", "ssl"),
    },
}
KNOWN_FIELDS = frozenset(
    """
    http.host http.referer http.user_agent http.cookie http.x_forwarded_for http.request.method http.request.version
    http.request.full_uri http.request.uri http.request.uri.path http.request.uri.path.extension http.request.uri.query
    http.request.uri.args http.request.uri.args.names http.request.uri.args.values http.request.headers
    http.request.headers.names http.request.headers.values http.request.cookies http.request.timestamp.sec
    http.request.accepted_languages http.response.code http.response.headers raw.http.request.uri raw.http.request.uri.path
    raw.http.request.uri.query raw.http.request.full_uri ip.src ip.src.country ip.src.continent ip.src.asnum ip.src.city
    ip.geoip.country ip.geoip.asnum cf.colo.id cf.zone.name cf.zone.plan cf.threat_score cf.client.bot
    cf.bot_management.verified_bot cf.tls_version cf.tls_cipher cf.ray_id cf.edge.server_port cf.edge.server_ip
    """.split()
)
ACTIONS = {
    "http_request_firewall_custom": {"block", "challenge", "js_challenge", "managed_challenge", "log", "skip"},
    "http_ratelimit": {"block", "challenge", "js_challenge", "managed_challenge", "log"},
    "http_response_headers_transform": {"rewrite"},
    "http_request_dynamic_redirect": {"redirect"},
}

_SWITCH = ("off", "on")
# Settings with their value in a new zone and the values they take; None takes any object.
SETTINGS: Mapping[str, tuple[Any, Collection[Any] | None]] = {
    "always_use_https": ("off", _SWITCH),
    "automatic_https_rewrites": ("on", _SWITCH),
    "min_tls_version": ("1.0", ("1.0", "1.1", "1.2", "1.3")),
    "tls_1_3": ("on", ("off", "on", "zrt")),
    "ssl": ("full", ("off", "flexible", "full", "strict")),
    "websockets": ("on", _SWITCH),
    "http2": ("on", _SWITCH),
    "http3": ("on", _SWITCH),
    "0rtt": ("off", _SWITCH),
    "ipv6": ("on", _SWITCH),
    "brotli": ("on", _SWITCH),
    "browser_check": ("on", _SWITCH),
    "email_obfuscation": ("on", _SWITCH),
    "opportunistic_encryption": ("on", _SWITCH),
    "rocket_loader": ("off", _SWITCH),
    "security_level": ("medium", ("off", "essentially_off", "low", "medium", "high", "under_attack")),
    "security_header": (
        {
            "strict_transport_security": {
                "enabled": False,
                "include_subdomains": False,
                "max_age": 0,
                "nosniff": False,
                "preload": False,
            }
        },
        None,
    ),
}

NOT_DESTROYED = (
    "Resource Destruction Considerations: Applying this resource destruction will only remove the resource from the state and "
    "will not change it in the API."
)


# --- The world -----------------------------------------------------------------------------------------------------------


def new_world(
    path: Path,
    *,
    domain: str = "example.com",
    plan: str = "free",
    status: str = "active",
    token: str = TOKEN,
    permissions: Collection[str] = PERMISSIONS,
) -> World:
    """A world with one account, one empty zone and one token.

    plan: free, pro, business or enterprise. status: active, or pending until the registrar names Cloudflare's servers.
    """
    account = hex_id()
    zones: dict[str, Any] = {}
    add_zone(zones, domain, plan=plan, status=status, account=account)
    collections = ("tunnels", "configurations", "records", "rulesets", "policies", "applications", "service_tokens")
    data = {
        "tokens": {token: list(permissions)},
        "accounts": {account: {"zero_trust": True}},
        "zones": zones,
        **{name: {} for name in collections},
    }
    return World.create(path, data)


def add_zone(zones: Data, domain: str, *, account: str, plan: str = "free", status: str = "active") -> str:
    """Adds a zone to ``data["zones"]`` and returns its id."""
    identifier = hex_id()
    zones[identifier] = {
        "id": identifier,
        "name": domain,
        "status": status,
        "type": "full",
        "paused": False,
        "account": {"id": account, "name": "A test"},
        "plan": {"id": hex_id(), "currency": "USD", "isSubscribed": plan != "free", **PLANS[plan]},
        "nameServers": ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"],
        "createdOn": now(),
        "modifiedOn": now(),
        "settings": {name: value for name, (value, _) in SETTINGS.items()},
    }
    return identifier


# --- Refusals ------------------------------------------------------------------------------------------------------------


def refuse(method: str, path: str, status: int, code: int, message: str, pointer: str | None = None) -> NoReturn:
    """Raises what the provider makes of an error of the API. ``pointer``: to the offending field."""
    error: dict[str, Any] = {"code": code, "message": message}
    if pointer is not None:
        error["source"] = {"pointer": pointer}
    body = {"success": False, "errors": [error], "messages": [], "result": None}
    raise Refused(f"failed to make http request: {http_error(method, f'{BASE_URL}{path}', status, body)}", code)


def granted(call: Call, method: str, path: str) -> list[str]:
    """The permissions of the token; refuses one that the world does not know."""
    permissions: list[str] | None = call.data["tokens"].get(call.config.get("apiToken"))
    if permissions is None:
        refuse(method, path, 403, 9109, "Invalid access token")
    return permissions


def authorize(call: Call, method: str, path: str, accepted: Collection[str]) -> None:
    """Refuses a token that has none of the accepted permissions."""
    if not set(granted(call, method, path)) & set(accepted):
        refuse(method, path, 403, 10000, "Authentication error")


def _writing(permissions: Collection[str]) -> list[str]:
    return [name for name in permissions if name.endswith(("Write", "Edit"))]


def _zone(call: Call, method: str, zone_id: str, path: str = "") -> Data:
    zone: Data | None = call.data["zones"].get(zone_id)
    if zone is None:
        # A zone of somebody else and one that does not exist are answered alike.
        refuse(method, f"/zones/{zone_id}{path}", 403, 10000, "Authentication error")
    return zone


def _account(call: Call, method: str, account_id: str, path: str) -> Data:
    account: Data | None = call.data["accounts"].get(account_id)
    if account is None:
        refuse(method, f"/accounts/{account_id}{path}", 403, 10000, "Authentication error")
    return account


def _one_of(inputs: Mapping[str, Any], name: str, allowed: Collection[str]) -> list[Failure]:
    value = inputs.get(name, UNKNOWN)
    if value == UNKNOWN or str(value).lower() in allowed:
        return []
    return [Failure(name, f"value must be one of: {', '.join(sorted(allowed))}, got: {value!r}")]


class _Stored(Kind):
    """A kind that lies in a collection of the world by its id, below an account or a zone."""

    collection: ClassVar[str]
    permissions: ClassVar[Collection[str]] = ()

    def path(self, known: Mapping[str, Any]) -> str:
        """Of the collection in the API."""
        raise NotImplementedError

    def allow(self, call: Call, method: str, known: Mapping[str, Any], path: str = "") -> None:
        """Refuses a wrong token, a missing permission and a foreign account or zone."""
        documented = next(one.permissions for token, one in call.schema.resources.items() if token.endswith(f":{self.resource}"))
        accepted = documented or self.permissions
        where = path or self.path(known)
        authorize(call, method, where, accepted if method == "GET" else _writing(accepted))
        if "zoneId" in known:
            _zone(call, method, known["zoneId"])
        elif "accountId" in known:
            _account(call, method, known["accountId"], where.removeprefix(f"/accounts/{known['accountId']}"))

    def read(self, call: Call, identifier: str, known: Mapping[str, Any]) -> Properties | None:
        self.allow(call, "GET", known, f"{self.path(known)}/{identifier}")
        found: Properties | None = call.data[self.collection].get(identifier)
        return found

    def stored(self, call: Call, method: str, identifier: str, known: Mapping[str, Any]) -> Properties:
        """What is there under an id; refuses one that is gone."""
        path = f"{self.path(known)}/{identifier}"
        self.allow(call, method, known, path)
        found: Properties | None = call.data[self.collection].get(identifier)
        if found is None:
            refuse(method, path, 404, 1003, "Not found")
        return found

    def delete(self, call: Call, identifier: str, known: Mapping[str, Any]) -> None:
        self.stored(call, "DELETE", identifier, known)
        del call.data[self.collection][identifier]

    def imported(self, identifier: str) -> tuple[str, Properties]:
        *scope, last = identifier.split("/")
        if len(scope) == 2:
            return last, {"zoneId" if scope[0] == "zones" else "accountId": scope[1]}
        return last, {self.scope: scope[0]} if scope else {}

    scope: ClassVar[str] = "accountId"


# --- Tunnels -------------------------------------------------------------------------------------------------------------


class Tunnel(_Stored):
    """Names are unique in an account; a tunnel with live connections cannot be deleted."""

    resource = "ZeroTrustTunnelCloudflared"
    collection = "tunnels"
    replaces = frozenset({"accountId", "configSrc"})
    defaults: ClassVar = {"configSrc": "local"}
    unread = frozenset({"tunnelSecret"})

    def path(self, known: Mapping[str, Any]) -> str:
        return f"/accounts/{known['accountId']}/cfd_tunnel"

    def check(self, inputs: Mapping[str, Any]) -> list[Failure]:
        return _one_of(inputs, "configSrc", {"local", "cloudflare"})

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        self.allow(call, "POST", inputs)
        self._check_name(call, "POST", inputs)
        secret = self._secret(inputs, "POST") or base64.b64encode(secrets.token_bytes(32)).decode()
        identifier, created = str(uuid.uuid4()), now()
        source = inputs.get("configSrc", "local")
        call.data[self.collection][identifier] = {
            **{name: value for name, value in inputs.items() if name != "tunnelSecret"},
            "id": identifier,
            "configSrc": source,
            "accountTag": inputs["accountId"],
            "connections": [],
            "connsInactiveAt": created,
            "createdAt": created,
            "metadata": "{}",
            "remoteConfig": source == "cloudflare",
            "status": "inactive",
            "tunType": "cfd_tunnel",
        }
        call.data.setdefault("tunnel_secrets", {})[identifier] = secret
        return identifier, {**call.data[self.collection][identifier], **_given(inputs, "tunnelSecret")}

    def update(self, call: Call, identifier: str, inputs: Properties, known: Mapping[str, Any]) -> Properties:
        tunnel = self.stored(call, "PATCH", identifier, known)
        self._check_name(call, "PATCH", inputs, identifier)
        tunnel["name"] = inputs["name"]
        if secret := self._secret(inputs, "PATCH"):
            call.data["tunnel_secrets"][identifier] = secret
        return {**tunnel, **_given(inputs, "tunnelSecret")}

    def read(self, call: Call, identifier: str, known: Mapping[str, Any]) -> Properties | None:
        tunnel = super().read(call, identifier, known)
        if tunnel is not None and connected(call.data, tunnel["name"]):
            return {**tunnel, "status": "healthy", "connsActiveAt": tunnel["createdAt"], "connsInactiveAt": None}
        return tunnel

    def delete(self, call: Call, identifier: str, known: Mapping[str, Any]) -> None:
        tunnel = self.stored(call, "DELETE", identifier, known)
        if connected(call.data, tunnel["name"]):
            message = "Cannot delete tunnel because it has active connections"
            refuse("DELETE", f"{self.path(known)}/{identifier}", 400, 1022, message)
        super().delete(call, identifier, known)
        call.data["configurations"].pop(identifier, None)
        call.data["tunnel_secrets"].pop(identifier, None)

    def _check_name(self, call: Call, method: str, inputs: Properties, identifier: str = "") -> None:
        same = [
            other["id"]
            for other in call.data[self.collection].values()
            if (other["accountId"], other["name"]) == (inputs["accountId"], inputs["name"])
        ]
        if any(other != identifier for other in same):
            remedy = "Delete the existing tunnel, or choose a different name for your new tunnel"
            message = f"You already have a tunnel with this name. {remedy}"
            refuse(method, self.path(inputs), 409, 1013, message)

    def _secret(self, inputs: Properties, method: str) -> str | None:
        secret: str | None = inputs.get("tunnelSecret")
        if secret is None:
            return None
        try:
            length = len(base64.b64decode(secret, validate=True))
        except binascii.Error:
            length = 0
        if length < 32:
            # (from memory)
            refuse(method, self.path(inputs), 400, 1003, "tunnel_secret must be at least 32 bytes, encoded as base64")
        return secret


def _given(inputs: Properties, *names: str) -> Properties:
    return {name: inputs[name] for name in names if name in inputs}


class TunnelConfiguration(_Stored):
    """Each write is a new version; removing the resource leaves the last one live."""

    resource = "ZeroTrustTunnelCloudflaredConfig"
    collection = "configurations"
    replaces = frozenset({"accountId", "tunnelId"})
    defaults: ClassVar = {"source": "cloudflare"}
    forgets = True

    def path(self, known: Mapping[str, Any]) -> str:
        return f"/accounts/{known['accountId']}/cfd_tunnel/{known['tunnelId']}/configurations"

    def check(self, inputs: Mapping[str, Any]) -> list[Failure]:
        return _one_of(inputs, "source", {"local", "cloudflare"})

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        return inputs["tunnelId"], self.update(call, inputs["tunnelId"], inputs, inputs)

    def read(self, call: Call, identifier: str, known: Mapping[str, Any]) -> Properties | None:
        return super().read(call, identifier, {**known, "tunnelId": identifier})

    def update(self, call: Call, identifier: str, inputs: Properties, known: Mapping[str, Any]) -> Properties:
        path = self.path(inputs)
        self.allow(call, "PUT", inputs)
        tunnel = call.data["tunnels"].get(identifier)
        if tunnel is None or tunnel["accountId"] != inputs["accountId"]:
            refuse("PUT", path, 404, 1003, "Tunnel not found")
        if problem := ingress_problem((inputs.get("config") or {}).get("ingresses")):
            refuse("PUT", path, 400, 1056, f"Bad Configuration: {problem}")
        version = call.data[self.collection].get(identifier, {}).get("version", 0) + 1
        call.data[self.collection][identifier] = {
            "source": "cloudflare",
            **inputs,
            "id": identifier,
            "version": version,
            "createdAt": now(),
        }
        return dict(call.data[self.collection][identifier])

    def delete(self, call: Call, identifier: str, known: Mapping[str, Any]) -> None:
        raise AssertionError("is never called")


def ingress_problem(rules: Any) -> str | None:
    """What cloudflared 2026.8 would not take (ingress/ingress.go), which the API checks too."""
    if not rules:
        return "The config has no ingress rules"
    for number, rule in enumerate(rules, start=1):
        host, last = rule.get("hostname") or "", number == len(rules)
        catch_all = host in ("", "*") and not rule.get("path")
        if last and not catch_all:
            return "The last ingress rule must match all URLs (i.e. it should not have a hostname or path filter)"
        if catch_all and not last:
            return (
                f"Rule #{number} is matching the hostname '{host}', but this will match every hostname, meaning the rules which "
                "follow it will never be triggered."
            )
        if "*" in host and not re.fullmatch(r"\*(\.[^*]+)?", host):
            return 'Hostname patterns can have at most one wildcard character ("*") and it can only be used for subdomains'
        if ":" in host:
            return "Hostname cannot contain a port"
        if problem := _service_problem(rule["service"]):
            return problem
    return None


def _service_problem(service: str) -> str | None:
    if status := re.fullmatch(r"http_status:(\d+)", service):
        return None if 100 <= int(status[1]) <= 999 else f"invalid HTTP status code: {status[1]}"
    if service in {"hello_world", "hello-world", "bastion", "socks-proxy"} or service.startswith(("unix:", "unix+tls:")):
        return None
    url = urlsplit(service)
    if not url.scheme or not url.hostname:
        return f"{service} is an invalid address, please make sure it has a scheme and a hostname"
    if url.path:
        return f"{service} is an invalid address, ingress rules don't support proxying to a different path on the origin service"
    return None


# --- The zone ------------------------------------------------------------------------------------------------------------


class Record(_Stored):
    """One host has one CNAME, or addresses; a proxied record has no TTL of its own."""

    resource = "DnsRecord"
    collection = "records"
    replaces = frozenset({"zoneId", "type"})
    defaults: ClassVar = {"proxied": False}
    computed = frozenset({"tags", "settings", "data"})
    scope = "zoneId"

    def path(self, known: Mapping[str, Any]) -> str:
        return f"/zones/{known['zoneId']}/dns_records"

    def check(self, inputs: Mapping[str, Any]) -> list[Failure]:
        kinds = "A AAAA CAA CERT CNAME DNSKEY DS HTTPS LOC MX NAPTR NS OPENPGPKEY PTR SMIMEA SRV SSHFP SVCB TLSA TXT URI"
        return _one_of(inputs, "type", {kind.lower() for kind in kinds.split()})

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        if inputs.get("proxied") is True and inputs["ttl"] != 1:
            # The provider itself, before any request.
            raise Refused("ttl must be set to 1 when `proxied` is true", "ttl")
        identifier = hex_id()
        outputs = self._write(call, "POST", identifier, inputs, {"createdOn": now()})
        return identifier, outputs

    def update(self, call: Call, identifier: str, inputs: Properties, known: Mapping[str, Any]) -> Properties:
        stored = self.stored(call, "PUT", identifier, known)
        return self._write(call, "PUT", identifier, inputs, {"createdOn": stored["createdOn"]})

    def _write(self, call: Call, method: str, identifier: str, inputs: Properties, kept: Properties) -> Properties:
        path = self.path(inputs) if method == "POST" else f"{self.path(inputs)}/{identifier}"
        self.allow(call, method, inputs)
        zone = _zone(call, method, inputs["zoneId"])
        kind, name, content = inputs["type"].upper(), inputs["name"], inputs.get("content")
        proxiable = kind in {"A", "AAAA", "CNAME"}
        if name != zone["name"] and not name.endswith(f".{zone['name']}"):
            # The API appends the zone to a relative name and echoes that, which the provider sees as drift for ever.
            refuse(method, path, 400, 9000, f"DNS name is invalid: {name} is not in the zone {zone['name']}")
        if inputs.get("proxied") and not proxiable:
            refuse(method, path, 400, 9004, "This record type cannot be proxied.")
        if inputs["ttl"] != 1 and not 60 <= inputs["ttl"] <= 86400:
            refuse(method, path, 400, 9021, "TTL must be between 60 and 86400 seconds, or 1 for Automatic.")
        if kind == "CNAME" and content == name:
            refuse(method, path, 400, 9039, "CNAME content cannot reference itself.")
        if inputs.get("tags") and zone["plan"]["legacyId"] == "free":
            refuse(method, path, 400, 9300, f"DNS record has {len(inputs['tags'])} tags, exceeding the quota of 0.")
        for other in call.data[self.collection].values():
            if other["id"] == identifier or (other["zoneId"], other["name"]) != (inputs["zoneId"], name):
                continue
            if {kind, other["type"]} <= {"A", "AAAA", "CNAME"} and "CNAME" in {kind, other["type"]}:
                refuse(method, path, 400, 81053, "An A, AAAA, or CNAME record with that host already exists.")
            if (kind, content) == (other["type"], other.get("content")):
                refuse(method, path, 400, 81058, "An identical record already exists.")
        call.data[self.collection][identifier] = {
            "proxied": False,
            "tags": [],
            "settings": {},
            **inputs,
            **kept,
            "id": identifier,
            "proxiable": proxiable,
            "meta": "{}",
            "modifiedOn": now(),
        }
        return dict(call.data[self.collection][identifier])


class Setting(_Stored):
    """A zone always has all settings: creating is changing, and deleting leaves the value."""

    resource = "ZoneSetting"
    replaces = frozenset({"zoneId", "settingId"})
    forgets = True

    def path(self, known: Mapping[str, Any]) -> str:
        return f"/zones/{known['zoneId']}/settings"

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        return inputs["settingId"], self.update(call, inputs["settingId"], inputs, inputs)

    def read(self, call: Call, identifier: str, known: Mapping[str, Any]) -> Properties | None:
        self.allow(call, "GET", known)
        return self._outputs(_zone(call, "GET", known["zoneId"]), identifier)

    def update(self, call: Call, identifier: str, inputs: Properties, known: Mapping[str, Any]) -> Properties:
        path = f"{self.path(inputs)}/{identifier}"
        self.allow(call, "PATCH", inputs, path)
        if identifier not in SETTINGS:
            refuse("PATCH", path, 400, 1006, "Unrecognized zone setting name")
        zone, (default, allowed) = _zone(call, "PATCH", inputs["zoneId"]), SETTINGS[identifier]
        value = inputs["value"]
        # The API knows only snake_case here and drops the rest, which would be a difference for ever (pulumi-cloudflare #1579).
        problem = value not in allowed if allowed is not None else _unknown_keys(default, value)
        if problem:
            refuse("PATCH", path, 400, 1007, f"Invalid value for zone setting {identifier}")
        zone["settings"][identifier] = value
        return self._outputs(zone, identifier)

    def delete(self, call: Call, identifier: str, known: Mapping[str, Any]) -> None:
        raise AssertionError("is never called")

    def imported(self, identifier: str) -> tuple[str, Properties]:
        zone, _, setting = identifier.partition("/")
        return setting, {"zoneId": zone}

    def _outputs(self, zone: Data, identifier: str) -> Properties:
        value = zone["settings"][identifier]
        described = {"editable": True, "modifiedOn": zone["modifiedOn"], "value": value}
        return {**described, "id": identifier, "settingId": identifier, "zoneId": zone["id"]}


def _unknown_keys(known: Mapping[str, Any], value: Any) -> bool:
    if not isinstance(value, dict):
        return True
    return any(
        key not in known or (isinstance(known[key], dict) and _unknown_keys(known[key], item)) for key, item in value.items()
    )


class Ruleset(_Stored):
    """One entry point a phase and zone, within the plan."""

    resource = "Ruleset"
    collection = "rulesets"
    permissions = tuple(PHASE_PERMISSIONS.values())
    replaces = frozenset({"accountId", "zoneId", "kind", "name", "phase"})
    defaults: ClassVar = {"description": ""}
    scope = "zoneId"

    def path(self, known: Mapping[str, Any]) -> str:
        return f"/zones/{known['zoneId']}/rulesets" if "zoneId" in known else f"/accounts/{known['accountId']}/rulesets"

    def check(self, inputs: Mapping[str, Any]) -> list[Failure]:
        found = _one_of(inputs, "kind", {"managed", "custom", "root", "zone"}) + _one_of(inputs, "phase", set(MOST_RULES))
        if ("zoneId" in inputs) == ("accountId" in inputs):
            found.append(Failure("zoneId", "exactly one of accountId and zoneId must be given"))
        if inputs.get("zoneId", UNKNOWN) != UNKNOWN and not re.fullmatch(r"[0-9a-f]{32}", inputs["zoneId"]):
            found.append(Failure("zoneId", "is not 32 hex digits"))
        return found

    def allow(self, call: Call, method: str, known: Mapping[str, Any], path: str = "") -> None:
        super().allow(call, method, known, path)
        if "phase" in known and method != "GET":
            authorize(call, method, path or self.path(known), [PHASE_PERMISSIONS[known["phase"]]])

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        path, phase = self.path(inputs), inputs["phase"]
        self.allow(call, "POST", inputs)
        if any((other.get("zoneId"), other["phase"]) == (inputs["zoneId"], phase) for other in call.data["rulesets"].values()):
            message = f"'zone' is not a valid value for kind because exceeded maximum number of zone rulesets for phase {phase}"
            refuse("POST", path, 400, 20217, message, "/kind")
        identifier = hex_id()
        return identifier, self._write(call, "POST", identifier, inputs, 1)

    def update(self, call: Call, identifier: str, inputs: Properties, known: Mapping[str, Any]) -> Properties:
        stored = self.stored(call, "PUT", identifier, known)
        return self._write(call, "PUT", identifier, inputs, int(stored["version"]) + 1)

    def _write(self, call: Call, method: str, identifier: str, inputs: Properties, version: int) -> Properties:
        path = self.path(inputs) if method == "POST" else f"{self.path(inputs)}/{identifier}"
        zone, rules = _zone(call, method, inputs["zoneId"]), inputs.get("rules") or []
        for problem, pointer in rule_problems(inputs["phase"], rules, zone["plan"]["legacyId"]):
            refuse(method, path, 400, 20127, problem, pointer)
        before = {rule["ref"]: rule["id"] for rule in call.data[self.collection].get(identifier, {}).get("rules", [])}
        call.data[self.collection][identifier] = {
            "description": "",
            **inputs,
            "id": identifier,
            "version": str(version),
            "lastUpdated": now(),
            "rules": [_written_rule(rule, before) for rule in rules],
        }
        return dict(call.data[self.collection][identifier])


def _written_rule(rule: Properties, before: Mapping[str, str]) -> Properties:
    identifier = before.get(rule.get("ref", ""), hex_id())
    return {"enabled": True, **rule, "id": identifier, "ref": rule.get("ref", identifier)}


def rule_problems(phase: str, rules: list[Properties], plan: str) -> Iterator[tuple[str, str]]:
    """(message, pointer) for what a plan does not allow in a phase and for rules that are none."""
    if len(rules) > MOST_RULES[phase][plan]:
        yield f"exceeded maximum number of rules in the phase {phase}: {len(rules)} out of {MOST_RULES[phase][plan]}", "/rules"
    refs = [rule["ref"] for rule in rules if "ref" in rule]
    for ref in sorted({ref for ref in refs if refs.count(ref) > 1}):
        yield f"rule reference '{ref}' is used more than once", "/rules"
    for index, rule in enumerate(rules):
        at = f"/rules/{index}"
        if rule["action"] not in ACTIONS[phase]:
            yield f"'{rule['action']}' is not a valid value for action in the phase {phase}", f"{at}/action"
        for problem in expression_problems(rule["expression"], plan):
            yield problem, f"{at}/expression"
        response = (rule.get("actionParameters") or {}).get("response")
        if response is not None and not (
            400 <= response.get("statusCode", 0) <= 499 and response.get("contentType") and response.get("content")
        ):
            yield (
                "a block response needs status_code from 400 to 499, content_type and content",
                f"{at}/action_parameters/response",
            )
        if phase == "http_ratelimit":
            for problem in _rate_limit_problems(rule, plan):
                yield problem, f"{at}/ratelimit"
        elif "ratelimit" in rule:
            yield f"ratelimit is not allowed in the phase {phase}", f"{at}/ratelimit"


def _rate_limit_problems(rule: Properties, plan: str) -> Iterator[str]:
    limit = rule.get("ratelimit")
    if limit is None:
        yield "ratelimit is required in the phase http_ratelimit"
        return
    if "cf.colo.id" not in limit["characteristics"]:
        yield "characteristics must include cf.colo.id"
    if plan in ("free", "pro") and set(limit["characteristics"]) - {"cf.colo.id", "ip.src"}:
        yield "not entitled to use characteristics other than ip.src"
    # Wording of both as an installation on the Free plan got it in 2026-09.
    if plan in PERIODS and limit["period"] not in PERIODS[plan]:
        among = " ".join(str(period) for period in PERIODS[plan])
        yield f"not entitled to use the period {limit['period']:.0f}, can only use a period among [{among}]"
    timeout = limit.get("mitigationTimeout", 0)
    if "challenge" in rule["action"] and timeout != 0:
        yield "a mitigation timeout is not allowed with a challenge"
    elif "challenge" not in rule["action"] and plan in TIMEOUTS and timeout not in TIMEOUTS[plan]:
        allowed = " or ".join(str(seconds) for seconds in TIMEOUTS[plan])
        yield f"not entitled to use a mitigation timeout different from {allowed}"
    if limit.get("countingExpression") and plan in ("free", "pro"):
        yield "not entitled to use a counting expression"
    if plan in RATE_LIMIT_FIELDS:
        for name in sorted(_fields(rule["expression"]) - RATE_LIMIT_FIELDS[plan]):
            yield f"not entitled to use the field {name} in the expression"


def expression_problems(expression: str, plan: str) -> Iterator[str]:
    """What is wrong with an expression without parsing it: a typing error in a field, quotes, parentheses, the plan."""
    bare = _without_strings(expression)
    if '"' in bare or bare.count("(") != bare.count(")") or bare.count("{") != bare.count("}") or not bare.strip():
        yield "filter parsing error: unbalanced quotes, parentheses or braces"
    for name in sorted(_fields(expression) - KNOWN_FIELDS):
        yield f"filter parsing error: unknown identifier {name}"
    if re.search(r"\bmatches\b|~", bare) and plan not in ("business", "enterprise"):
        yield "not entitled: the use of operator Matches is not allowed, a Business plan or WAF Advanced plan is required"


def _without_strings(expression: str) -> str:
    return re.sub(r'"(\\.|[^"\\])*"', "", expression)


def _fields(expression: str) -> set[str]:
    found = re.findall(r"\b(?:raw\.)?(?:http|ip|cf)\.[a-z0-9_.]+", _without_strings(expression))
    return {name.rstrip(".") for name in found}


# --- Access --------------------------------------------------------------------------------------------------------------


class _AccessKind(_Stored):
    """Needs Zero Trust, which an account gets once and by hand."""

    permissions = ("Access: Apps and Policies Read", "Access: Apps and Policies Write")

    def allow(self, call: Call, method: str, known: Mapping[str, Any], path: str = "") -> None:
        super().allow(call, method, known, path)
        account = known.get("accountId") or _zone(call, method, known["zoneId"])["account"]["id"]
        if not call.data["accounts"][account]["zero_trust"]:
            refuse(method, path or self.path(known), 403, 9999, "access.api.error.not_enabled: Access is not enabled")

    def path(self, known: Mapping[str, Any]) -> str:
        scope = f"/zones/{known['zoneId']}" if "zoneId" in known else f"/accounts/{known['accountId']}"
        return f"{scope}/access/{ {'applications': 'apps'}.get(self.collection, self.collection) }"


class Policy(_AccessKind):
    """A reusable policy of an account."""

    resource = "ZeroTrustAccessPolicy"
    collection = "policies"
    replaces = frozenset({"accountId"})
    defaults: ClassVar = {
        "sessionDuration": "24h",
        "approvalRequired": False,
        "isolationRequired": False,
        "purposeJustificationRequired": False,
    }
    computed = frozenset({"excludes", "requires"})

    def check(self, inputs: Mapping[str, Any]) -> list[Failure]:
        return _one_of(inputs, "decision", {"allow", "deny", "non_identity", "bypass"})

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        identifier = str(uuid.uuid4())
        return identifier, self._write(call, "POST", identifier, inputs, now())

    def update(self, call: Call, identifier: str, inputs: Properties, known: Mapping[str, Any]) -> Properties:
        stored = self.stored(call, "PUT", identifier, known)
        return self._write(call, "PUT", identifier, inputs, stored["createdAt"])

    def _write(self, call: Call, method: str, identifier: str, inputs: Properties, created: str) -> Properties:
        self.allow(call, method, inputs)
        if not inputs.get("includes"):
            refuse(method, self.path(inputs), 400, 12130, "access.api.error.invalid_request: policy must have an include rule")
        users = [app for app in call.data["applications"].values() if _uses(app, identifier)]
        call.data[self.collection][identifier] = {
            **self.defaults,
            "excludes": [],
            "requires": [],
            **inputs,
            "id": identifier,
            "appCount": len(users),
            "reusable": True,
            "createdAt": created,
            "updatedAt": now(),
        }
        return dict(call.data[self.collection][identifier])


def _uses(application: Mapping[str, Any], policy: str) -> bool:
    return any(link["id"] == policy for link in application.get("policies") or [])


class Application(_AccessKind):
    """Protects a host, or a path of one, in a zone of the account."""

    resource = "ZeroTrustAccessApplication"
    collection = "applications"
    replaces = frozenset({"accountId", "zoneId"})
    defaults: ClassVar = {
        "sessionDuration": "24h",
        "appLauncherVisible": True,
        "autoRedirectToIdentity": False,
        "enableBindingCookie": False,
        "httpOnlyCookieAttribute": True,
    }
    computed = frozenset({"destinations", "selfHostedDomains", "domain", "policies", "tags"})

    def check(self, inputs: Mapping[str, Any]) -> list[Failure]:
        kinds = (
            "self_hosted saas ssh vnc app_launcher warp biso bookmark dash_sso infrastructure rdp mcp mcp_portal proxy_endpoint"
        )
        found = _one_of(inputs, "type", set(kinds.split()))
        if ("zoneId" in inputs) == ("accountId" in inputs):
            found.append(Failure("accountId", "exactly one of accountId and zoneId must be given"))
        if "destinations" in inputs and "selfHostedDomains" in inputs:
            found.append(Failure("destinations", "conflicts with selfHostedDomains"))
        return found

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        identifier = str(uuid.uuid4())
        return identifier, self._write(call, "POST", identifier, inputs, secrets.token_hex(32))

    def update(self, call: Call, identifier: str, inputs: Properties, known: Mapping[str, Any]) -> Properties:
        stored = self.stored(call, "PUT", identifier, known)
        return self._write(call, "PUT", identifier, inputs, stored["aud"])

    def _write(self, call: Call, method: str, identifier: str, inputs: Properties, audience: str) -> Properties:
        path = self.path(inputs)
        self.allow(call, method, inputs)
        public = [item["uri"] for item in inputs.get("destinations") or [] if item.get("type", "public") == "public"]
        uris = public or ([inputs["domain"]] if "domain" in inputs else inputs.get("selfHostedDomains") or [])
        if inputs.get("type") == "self_hosted" and not uris:
            refuse(method, path, 400, 12130, "access.api.error.invalid_request: domain or destinations is required")
        zones = [zone["name"] for zone in call.data["zones"].values()]
        for uri in uris:
            host = uri.partition("/")[0]
            if not any(host == zone or host.endswith(f".{zone}") for zone in zones):
                refuse(method, path, 400, 12130, f"access.api.error.invalid_request: domain {host} does not belong to a zone")
            if any(
                other["id"] != identifier and uri in other["selfHostedDomains"] for other in call.data[self.collection].values()
            ):
                refuse(method, path, 409, 11010, "access.api.error.application_already_exists: application already exists")
        for link in inputs.get("policies") or []:
            if "id" in link and link["id"] not in call.data["policies"]:
                refuse(method, path, 400, 12130, f"access.api.error.invalid_request: policy {link['id']} does not exist")
        call.data[self.collection][identifier] = {
            **self.defaults,
            "tags": [],
            "policies": [],
            **inputs,
            "id": identifier,
            "aud": audience,
            "domain": inputs.get("domain", uris[0] if uris else None),
            "selfHostedDomains": uris,
            "destinations": inputs.get("destinations") or [{"type": "public", "uri": uri} for uri in uris],
        }
        return dict(call.data[self.collection][identifier])


class ServiceToken(_AccessKind):
    """For programs; its secret is told once."""

    resource = "ZeroTrustAccessServiceToken"
    collection = "service_tokens"
    permissions = ("Access: Service Tokens Read", "Access: Service Tokens Write")
    replaces = frozenset({"accountId", "zoneId"})
    defaults: ClassVar = {"duration": "8760h"}
    computed = frozenset({"clientSecretVersion", "enabled"})
    unread = frozenset({"clientSecret"})

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        self.allow(call, "POST", inputs)
        identifier = str(uuid.uuid4())
        stored = {"duration": "8760h", "clientSecretVersion": 1, "enabled": True, **inputs, "id": identifier}
        call.data[self.collection][identifier] = {**stored, "clientId": f"{hex_id()}.access", "expiresAt": now()}
        return identifier, {**call.data[self.collection][identifier], "clientSecret": secrets.token_hex(32)}

    def update(self, call: Call, identifier: str, inputs: Properties, known: Mapping[str, Any]) -> Properties:
        stored = self.stored(call, "PUT", identifier, known)
        rotated = inputs.get("clientSecretVersion", stored["clientSecretVersion"]) != stored["clientSecretVersion"]
        stored.update(inputs)
        secret = secrets.token_hex(32) if rotated else known.get("clientSecret")
        return {**stored, "clientSecret": secret}


# --- Look-ups ------------------------------------------------------------------------------------------------------------


def get_zone(call: Call, arguments: Properties) -> Properties:
    """One zone, by id or as the only one that a filter leaves."""
    if "filter" in arguments:
        found = _zones(call, arguments["filter"])
        if len(found) != 1:
            raise Refused(f"failed to find exactly one result: {len(found)} found", "zones")
        return {**found[0], "zoneId": found[0]["id"], "filter": arguments["filter"]}
    if "zoneId" not in arguments:
        raise Refused("Invalid Attribute Combination: exactly one of filter and zoneId must be given", "zoneId")
    accepted = call.schema.functions["cloudflare:index/getZone:getZone"].permissions
    authorize(call, "GET", f"/zones/{arguments['zoneId']}", accepted)
    zone = _zone(call, "GET", arguments["zoneId"])
    return {**_described(zone), "zoneId": zone["id"]}


def get_zones(call: Call, arguments: Properties) -> Properties:
    """All zones that a filter leaves."""
    return {**arguments, "results": _zones(call, arguments)}


def _zones(call: Call, wanted: Properties) -> list[Properties]:
    """The zones that the token may list: an empty list, not an error, without the permission for it."""
    if "Zone Read" not in granted(call, "GET", "/zones"):
        return []
    account = (wanted.get("account") or {}).get("id")
    return [
        _described(zone)
        for zone in call.data["zones"].values()
        if wanted.get("name") in (None, zone["name"])
        and wanted.get("status") in (None, zone["status"])
        and account in (None, zone["account"]["id"])
    ]


def _described(zone: Data) -> Properties:
    return {name: value for name, value in zone.items() if name != "settings"}


def get_tunnel_token(call: Call, arguments: Properties) -> Properties:
    """The connector's token; reading it needs the permission to write."""
    account, tunnel_id = arguments.get("accountId", ""), arguments.get("tunnelId", "")
    path = f"/accounts/{account}/cfd_tunnel/{tunnel_id}/token"
    authorize(
        call,
        "GET",
        path,
        _writing(
            next(function.permissions for token, function in call.schema.functions.items() if token.endswith("CloudflaredToken"))
        ),
    )
    if tunnel_id not in call.data["tunnels"]:
        refuse("GET", path, 404, 1003, "Tunnel not found")
    secret = call.data["tunnel_secrets"][tunnel_id]
    token = base64.b64encode(json.dumps({"a": account, "t": tunnel_id, "s": secret}).encode()).decode()
    return {**arguments, "token": token}


def check_config(config: Mapping[str, Any]) -> list[Failure]:
    """The provider's own check, which needs no call."""
    token = config.get("apiToken")
    if token is None or token == UNKNOWN:
        return []
    if not re.fullmatch(r"[0-9A-Za-z\-_]{40,80}", token):
        return [Failure("apiToken", "API tokens must be 40 to 80 characters, of letters, digits, - and _ only")]
    return []


VENDOR = Vendor(
    sdk="pulumi_cloudflare",
    kinds=(
        Tunnel(),
        TunnelConfiguration(),
        Record(),
        Setting(),
        Ruleset(),
        Policy(),
        Application(),
        ServiceToken(),
    ),
    functions={
        "get_zone": get_zone,
        "get_zones": get_zones,
        "get_zero_trust_tunnel_cloudflared_token": get_tunnel_token,
    },
    check_config=check_config,
    environment={"apiToken": "CLOUDFLARE_API_TOKEN"},
    forgetting=NOT_DESTROYED,
)
