"""Refusals and answers of Cloudflare's API and its provider (6.23.1, upstream 5.22), as far as our edge uses them.

Codes and messages are the API's where an issue or document quotes them (81053, 1013, 1022, 20217); the others are from memory
and may differ.
Expressions of rules are not parsed: only their fields, operators, quotes and parentheses are checked.

Keys of the world: ``tokens`` (token -> permission names), ``accounts`` (id -> {"zero_trust": bool}), ``zones`` (id -> zone, with
its ``settings``), ``tunnels``, ``tunnel_secrets`` and ``configurations`` (by tunnel id), ``records``, ``rulesets``, ``policies``,
``applications``, ``notifications`` and ``account_tokens`` (by id, with the outputs that the SDK names), ``buckets`` and
``bucket_locks`` (by name).
"""

import base64
import binascii
import re
import secrets
import uuid
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from lab.standins.providers.schema import Failure
from lab.standins.providers.vendor import Call, Kind, Properties, Refused, Vendor, hex_id, http_error, now
from lab.standins.providers.wire import UNKNOWN
from lab.standins.providers.world import Data, World, connected

BASE_URL = "https://api.cloudflare.com/client/v4"

# A token that passes the provider's own check: 40 to 80 characters.
TOKEN = "a-token-of-a-test_0123456789_abcdefghijk"

# The permissions that our edge needs, under the API's names; the dashboard says Edit for Write.
PERMISSIONS = (
    "Zone Read",
    "DNS Write",
    "Zone Settings Write",
    "Zone WAF Write",
    "Cloudflare Tunnel Write",
    "Access: Apps and Policies Write",
    "Notifications Write",
)

# The permissions that the stack of backup-bucket/ needs.
BUCKET_PERMISSIONS = ("Workers R2 Storage Write", "Account API Tokens Write")

# Limits of the free plan, which every zone of a world has: WAF documentation, availability of custom and rate limiting rules.
MOST_RULES = {"http_request_firewall_custom": 5, "http_ratelimit": 1}
PERIOD = TIMEOUT = 10
RATE_LIMIT_FIELDS = frozenset({"http.request.uri.path"})

# The keys of a rule and its limit that our edge writes, and the fields that the stand-in's edge can judge (edge/zone.py).
RULE_KEYS = frozenset({"action", "description", "enabled", "expression", "ratelimit", "ref"})
LIMIT_KEYS = frozenset({"characteristics", "mitigationTimeout", "period", "requestsPerPeriod", "requestsToOrigin"})
FIELDS = frozenset(
    """
    http.host http.request.method http.request.uri.path http.request.uri.query http.request.uri.args.names
    http.request.headers.names ip.src
    """.split()
)

# The settings that our edge changes: the value in a new zone, and the values that are accepted; None: any object with those keys.
SETTINGS: Mapping[str, tuple[Any, Collection[Any] | None]] = {
    "always_use_https": ("off", ("off", "on")),
    "min_tls_version": ("1.0", ("1.0", "1.1", "1.2", "1.3")),
    "tls_1_3": ("on", ("off", "on", "zrt")),
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

# What a notification about a tunnel may be filtered by, as stacks of others write it; the API's reference lists none.
TUNNEL_STATUSES = frozenset(f"TUNNEL_STATUS_TYPE_{status}" for status in ("HEALTHY", "DEGRADED", "DOWN"))

NOT_DESTROYED = (
    "Resource Destruction Considerations: Applying this resource destruction will only remove the resource from the state and "
    "will not change it in the API."
)


# --- The world -----------------------------------------------------------------------------------------------------------


def new_world(
    path: Path,
    *,
    domain: str = "example.com",
    token: str = TOKEN,
    permissions: Collection[str] = PERMISSIONS,
) -> World:
    """A world with one account, one empty zone and one token."""
    account = hex_id()
    zones: dict[str, Any] = {}
    add_zone(zones, domain, account=account)
    collections = (
        *("tunnels", "tunnel_secrets", "configurations", "records", "rulesets", "policies", "applications"),
        *("notifications", "buckets", "bucket_locks", "account_tokens"),
    )
    data = {
        "tokens": {token: list(permissions)},
        "accounts": {account: {"zero_trust": True}},
        "zones": zones,
        **{name: {} for name in collections},
    }
    return World.create(path, data)


def add_zone(zones: Data, domain: str, *, account: str, status: str = "active") -> str:
    """Adds a zone to ``data["zones"]`` and returns its id.

    status: active, or pending until the registrar names Cloudflare's servers.
    """
    identifier = hex_id()
    zones[identifier] = {
        "id": identifier,
        "name": domain,
        "status": status,
        "type": "full",
        "paused": False,
        "account": {"id": account, "name": "A test"},
        "plan": {
            "id": hex_id(),
            "currency": "USD",
            "isSubscribed": False,
            "name": "Free Website",
            "legacyId": "free",
            "price": 0.0,
        },
        "nameServers": ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"],
        "createdOn": now(),
        "modifiedOn": now(),
        "settings": {name: value for name, (value, _) in SETTINGS.items()},
    }
    return identifier


# --- Refusals ------------------------------------------------------------------------------------------------------------


def refuse(method: str, path: str, status: int, code: int, message: str, pointer: str | None = None) -> NoReturn:
    """Raises an error of the API as the provider words it. pointer: to the offending field."""
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
        # The answer for another account's zone is the same as for a zone that does not exist.
        refuse(method, f"/zones/{zone_id}{path}", 403, 10000, "Authentication error")
    return zone


def _one_of(inputs: Mapping[str, Any], name: str, allowed: Collection[str]) -> list[Failure]:
    value = inputs.get(name, UNKNOWN)
    if value == UNKNOWN or str(value).lower() in allowed:
        return []
    return [Failure(name, f"value must be one of: {', '.join(sorted(allowed))}, got: {value!r}")]


class _Stored(Kind):
    """A kind in a collection of the world, by its id, below an account or a zone.

    location: the path of the collection in the API, with properties in braces. scope: what an import id of two parts begins with.
    """

    collection: ClassVar[str]
    location: ClassVar[str]
    permissions: ClassVar[Collection[str]] = ()
    scope: ClassVar[str] = "accountId"

    def path(self, known: Mapping[str, Any]) -> str:
        """The path of the collection in the API."""
        return self.location.format_map(known)

    def allow(self, call: Call, method: str, known: Mapping[str, Any], path: str = "") -> None:
        """Refuses a wrong token, a missing permission and another account's account or zone."""
        resources = call.schema.resources.items()
        documented = next(resource.permissions for token, resource in resources if token.endswith(f":{self.resource}"))
        accepted = documented or self.permissions
        where = path or self.path(known)
        authorize(call, method, where, accepted if method == "GET" else _writing(accepted))
        if "zoneId" in known:
            _zone(call, method, known["zoneId"])
        elif "accountId" in known and known["accountId"] not in call.data["accounts"]:
            refuse(method, where, 403, 10000, "Authentication error")

    def read(self, call: Call, identifier: str, known: Mapping[str, Any]) -> Properties | None:
        self.allow(call, "GET", known, f"{self.path(known)}/{identifier}")
        stored: Properties | None = call.data[self.collection].get(identifier)
        return stored

    def stored(self, call: Call, method: str, identifier: str, known: Mapping[str, Any]) -> Properties:
        """The record of an id; refuses an id that is gone."""
        path = f"{self.path(known)}/{identifier}"
        self.allow(call, method, known, path)
        record: Properties | None = call.data[self.collection].get(identifier)
        if record is None:
            refuse(method, path, 404, 1003, "Not found")
        return record

    def delete(self, call: Call, identifier: str, known: Mapping[str, Any]) -> None:
        self.stored(call, "DELETE", identifier, known)
        del call.data[self.collection][identifier]

    def imported(self, identifier: str) -> tuple[str, Properties]:
        *scope, last = identifier.split("/")
        if len(scope) == 2:
            return last, {"zoneId" if scope[0] == "zones" else "accountId": scope[1]}
        return last, {self.scope: scope[0]} if scope else {}

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        self.allow(call, "POST", inputs)
        identifier = self.new_id()
        return identifier, self.write(call, "POST", self.path(inputs), identifier, inputs, {})

    def update(self, call: Call, identifier: str, inputs: Properties, known: Mapping[str, Any]) -> Properties:
        before = self.stored(call, "PUT", identifier, known)
        return self.write(call, "PUT", f"{self.path(inputs)}/{identifier}", identifier, inputs, before)

    def new_id(self) -> str:
        """An id as the API gives them."""
        return hex_id()

    def write(
        self, call: Call, method: str, path: str, identifier: str, inputs: Properties, before: Mapping[str, Any]
    ) -> Properties:
        """Outputs after a write that is allowed. method, path: of the request. before: the record that it replaces, or empty."""
        raise NotImplementedError

    def save(self, call: Call, identifier: str, record: Properties) -> Properties:
        """Puts a record into the collection and returns a copy."""
        call.data[self.collection][identifier] = record
        return dict(record)


# --- Tunnels -------------------------------------------------------------------------------------------------------------


class Tunnel(_Stored):
    """Names are unique in an account; a tunnel with live connections cannot be deleted."""

    resource = "ZeroTrustTunnelCloudflared"
    collection = "tunnels"
    location = "/accounts/{accountId}/cfd_tunnel"
    replaces = frozenset({"accountId", "configSrc"})
    defaults: ClassVar = {"configSrc": "local"}
    unread = frozenset({"tunnelSecret"})

    def check(self, inputs: Mapping[str, Any]) -> list[Failure]:
        return _one_of(inputs, "configSrc", {"local", "cloudflare"})

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        self.allow(call, "POST", inputs)
        self._check_name(call, "POST", inputs)
        secret = self._secret(inputs, "POST") or base64.b64encode(secrets.token_bytes(32)).decode()
        identifier, created = str(uuid.uuid4()), now()
        source = inputs.get("configSrc", "local")
        call.data["tunnel_secrets"][identifier] = secret
        record = {
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
        return identifier, {**self.save(call, identifier, record), **_given(inputs)}

    def update(self, call: Call, identifier: str, inputs: Properties, known: Mapping[str, Any]) -> Properties:
        tunnel = self.stored(call, "PATCH", identifier, known)
        self._check_name(call, "PATCH", inputs, identifier)
        tunnel["name"] = inputs["name"]
        if secret := self._secret(inputs, "PATCH"):
            call.data["tunnel_secrets"][identifier] = secret
        return {**tunnel, **_given(inputs)}

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


def _given(inputs: Properties) -> Properties:
    return {name: inputs[name] for name in Tunnel.unread if name in inputs}


class TunnelConfiguration(_Stored):
    """Each write is a new version; removing the resource leaves the last one live."""

    resource = "ZeroTrustTunnelCloudflaredConfig"
    collection = "configurations"
    location = "/accounts/{accountId}/cfd_tunnel/{tunnelId}/configurations"
    replaces = frozenset({"accountId", "tunnelId"})
    defaults: ClassVar = {"source": "cloudflare"}
    forgets = True

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
        record = {**self.defaults, **inputs, "id": identifier, "version": version, "createdAt": now()}
        return self.save(call, identifier, record)


def ingress_problem(rules: Any) -> str | None:
    """Why a tunnel's ingress rules are refused; None if they are not.

    In the words of cloudflared 2026.8 (ingress/ingress.go), which the API checks as well. Beyond that, whatever the stand-in's
    edge would not apply is refused (edge/zone.py): stricter than the API, so that no rule is ignored silently.
    """
    if not rules:
        return "The config has no ingress rules"
    for number, rule in enumerate(rules, start=1):
        host, service, last = rule.get("hostname"), rule["service"], number == len(rules)
        if last and host:
            return "The last ingress rule must match all URLs (i.e. it should not have a hostname or path filter)"
        if not last and not host:
            return (
                f"Rule #{number} is matching the hostname '', but this will match every hostname, meaning the rules which "
                "follow it will never be triggered."
            )
        unknown = set(rule) - {"hostname", "service", "originRequest"} | set(rule.get("originRequest", ())) - {
            "access",
            "connectTimeout",
        }
        if unknown:
            return f"Rule #{number}: the stand-in's edge does not know {', '.join(sorted(unknown))}"
        if host and not re.fullmatch(r"[a-z0-9.-]+", host):
            return f"Rule #{number}: {host} is not the name of one host, which is all that the stand-in's edge knows"
        if not re.fullmatch(r"http://[a-z0-9.-]+:\d+|http_status:[1-5]\d\d", service):
            return f"Rule #{number}: {service} is neither http://HOST:PORT nor http_status:CODE, which the stand-in's edge knows"
    return None


# --- The zone ------------------------------------------------------------------------------------------------------------


class Record(_Stored):
    """One host has one CNAME, or addresses; a proxied record has the TTL 1."""

    resource = "DnsRecord"
    collection = "records"
    location = "/zones/{zoneId}/dns_records"
    replaces = frozenset({"zoneId", "type"})
    defaults: ClassVar = {"proxied": False}
    computed = frozenset({"tags", "settings", "data"})
    scope = "zoneId"

    def check(self, inputs: Mapping[str, Any]) -> list[Failure]:
        kinds = "A AAAA CAA CERT CNAME DNSKEY DS HTTPS LOC MX NAPTR NS OPENPGPKEY PTR SMIMEA SRV SSHFP SVCB TLSA TXT URI"
        return _one_of(inputs, "type", {kind.lower() for kind in kinds.split()})

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        if inputs.get("proxied") is True and inputs["ttl"] != 1:
            # The provider itself, before any request.
            raise Refused("ttl must be set to 1 when `proxied` is true", "ttl")
        return super().create(call, inputs)

    def write(
        self, call: Call, method: str, path: str, identifier: str, inputs: Properties, before: Mapping[str, Any]
    ) -> Properties:
        zone = _zone(call, method, inputs["zoneId"])
        kind, name, content = inputs["type"].upper(), inputs["name"], inputs.get("content")
        proxiable = kind in {"A", "AAAA", "CNAME"}
        if name != zone["name"] and not name.endswith(f".{zone['name']}"):
            # The API appends the zone to a relative name and returns that, which the provider sees as a change for ever.
            refuse(method, path, 400, 9000, f"DNS name is invalid: {name} is not in the zone {zone['name']}")
        if inputs.get("proxied") and not proxiable:
            refuse(method, path, 400, 9004, "This record type cannot be proxied.")
        if inputs["ttl"] != 1 and not 60 <= inputs["ttl"] <= 86400:
            refuse(method, path, 400, 9021, "TTL must be between 60 and 86400 seconds, or 1 for Automatic.")
        if kind == "CNAME" and content == name:
            refuse(method, path, 400, 9039, "CNAME content cannot reference itself.")
        for other in call.data[self.collection].values():
            if other["id"] == identifier or (other["zoneId"], other["name"]) != (inputs["zoneId"], name):
                continue
            if {kind, other["type"]} <= {"A", "AAAA", "CNAME"} and "CNAME" in {kind, other["type"]}:
                refuse(method, path, 400, 81053, "An A, AAAA, or CNAME record with that host already exists.")
            if (kind, content) == (other["type"], other.get("content")):
                refuse(method, path, 400, 81058, "An identical record already exists.")
        record = {
            **self.defaults,
            "tags": [],
            "settings": {},
            **inputs,
            "id": identifier,
            "proxiable": proxiable,
            "meta": "{}",
            "createdOn": before.get("createdOn", now()),
            "modifiedOn": now(),
        }
        return self.save(call, identifier, record)


class Setting(_Stored):
    """A zone always has all settings: creating is changing, and deleting leaves the value."""

    resource = "ZoneSetting"
    location = "/zones/{zoneId}/settings"
    replaces = frozenset({"zoneId", "settingId"})
    forgets = True
    scope = "zoneId"

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
    """One entry point per phase and zone, within the free plan. Not here: rulesets of an account."""

    resource = "Ruleset"
    collection = "rulesets"
    location = "/zones/{zoneId}/rulesets"
    # The SDK documents none, because they depend on the phase (Cloudflare's documentation, API token permissions).
    permissions = ("Zone WAF Write",)
    replaces = frozenset({"accountId", "zoneId", "kind", "name", "phase"})
    defaults: ClassVar = {"description": ""}
    scope = "zoneId"

    def check(self, inputs: Mapping[str, Any]) -> list[Failure]:
        problems = _one_of(inputs, "kind", {"zone"}) + _one_of(inputs, "phase", set(MOST_RULES))
        zone = inputs.get("zoneId", "")
        if zone != UNKNOWN and not re.fullmatch(r"[0-9a-f]{32}", zone):
            problems.append(Failure("zoneId", "is not 32 hex digits"))
        return problems

    def write(
        self, call: Call, method: str, path: str, identifier: str, inputs: Properties, before: Mapping[str, Any]
    ) -> Properties:
        phase, rules = inputs["phase"], inputs.get("rules") or []
        phases = [(other["zoneId"], other["phase"]) for other in call.data[self.collection].values()]
        if not before and (inputs["zoneId"], phase) in phases:
            message = f"'zone' is not a valid value for kind because exceeded maximum number of zone rulesets for phase {phase}"
            refuse(method, path, 400, 20217, message, "/kind")
        for problem, pointer in rule_problems(phase, rules):
            refuse(method, path, 400, 20127, problem, pointer)
        ids = {rule["ref"]: rule["id"] for rule in before.get("rules", [])}
        record = {
            **self.defaults,
            **inputs,
            "id": identifier,
            "version": str(int(before.get("version", 0)) + 1),
            "lastUpdated": now(),
            "rules": [_written_rule(rule, ids) for rule in rules],
        }
        return self.save(call, identifier, record)


def _written_rule(rule: Properties, before: Mapping[str, str]) -> Properties:
    identifier = before.get(rule.get("ref", ""), hex_id())
    return {"enabled": True, **rule, "id": identifier, "ref": rule.get("ref", identifier)}


def rule_problems(phase: str, rules: list[Properties]) -> Iterator[tuple[str, str]]:
    """(message, pointer) for each problem: what is wrong, what the free plan does not allow, what the stand-in does not know."""
    if len(rules) > MOST_RULES[phase]:
        yield f"exceeded maximum number of rules in the phase {phase}: {len(rules)} out of {MOST_RULES[phase]}", "/rules"
    refs = [rule["ref"] for rule in rules if "ref" in rule]
    for ref in sorted({ref for ref in refs if refs.count(ref) > 1}):
        yield f"rule reference '{ref}' is used more than once", "/rules"
    for index, rule in enumerate(rules):
        at = f"/rules/{index}"
        for key in sorted(set(rule) - RULE_KEYS):
            yield f"the stand-in does not know {key}", f"{at}/{key}"
        if rule["action"] != "block":
            yield f"'{rule['action']}' is not an action that the stand-in knows", f"{at}/action"
        for problem in expression_problems(rule["expression"]):
            yield problem, f"{at}/expression"
        if phase == "http_ratelimit":
            for problem in _rate_limit_problems(rule):
                yield problem, f"{at}/ratelimit"
        elif "ratelimit" in rule:
            yield f"ratelimit is not allowed in the phase {phase}", f"{at}/ratelimit"


def _rate_limit_problems(rule: Properties) -> Iterator[str]:
    limit = rule.get("ratelimit")
    if limit is None:
        yield "ratelimit is required in the phase http_ratelimit"
        return
    for key in sorted(set(limit) - LIMIT_KEYS):
        yield f"the stand-in does not know {key}"
    if "cf.colo.id" not in limit["characteristics"]:
        yield "characteristics must include cf.colo.id"
    if set(limit["characteristics"]) - {"cf.colo.id", "ip.src"}:
        yield "not entitled to use characteristics other than ip.src"
    # Both worded as an installation on the Free plan got them in 2026-09.
    if limit["period"] != PERIOD:
        yield f"not entitled to use the period {limit['period']:.0f}, can only use a period among [{PERIOD}]"
    if limit.get("mitigationTimeout") != TIMEOUT:
        yield f"not entitled to use a mitigation timeout different from {TIMEOUT}"
    for name in sorted(_fields(rule["expression"]) - RATE_LIMIT_FIELDS):
        yield f"not entitled to use the field {name} in the expression"


def expression_problems(expression: str) -> Iterator[str]:
    """Problems of an expression that show without parsing it: unknown fields, quotes, parentheses, an operator of other plans."""
    bare = _without_strings(expression)
    if '"' in bare or bare.count("(") != bare.count(")") or bare.count("{") != bare.count("}") or not bare.strip():
        yield "filter parsing error: unbalanced quotes, parentheses or braces"
    for name in sorted(_fields(expression) - FIELDS):
        yield f"filter parsing error: unknown identifier {name}, or one that the stand-in does not know"
    if re.search(r"\bmatches\b|~", bare):
        yield "not entitled: the use of operator Matches is not allowed, a Business plan or WAF Advanced plan is required"


def _without_strings(expression: str) -> str:
    return re.sub(r'"(\\.|[^"\\])*"', "", expression)


def _fields(expression: str) -> set[str]:
    names = re.findall(r"\b(?:raw\.)?(?:http|ip|cf)\.[a-z0-9_.]+", _without_strings(expression))
    return {name.rstrip(".") for name in names}


# --- Access --------------------------------------------------------------------------------------------------------------


class _AccessKind(_Stored):
    """A kind of an account that needs Zero Trust, which an account gets once and by hand."""

    permissions = ("Access: Apps and Policies Read", "Access: Apps and Policies Write")

    def allow(self, call: Call, method: str, known: Mapping[str, Any], path: str = "") -> None:
        super().allow(call, method, known, path)
        if not call.data["accounts"][known["accountId"]]["zero_trust"]:
            refuse(method, path or self.path(known), 403, 9999, "access.api.error.not_enabled: Access is not enabled")

    def new_id(self) -> str:
        return str(uuid.uuid4())


class Policy(_AccessKind):
    """A reusable policy of an account."""

    resource = "ZeroTrustAccessPolicy"
    collection = "policies"
    location = "/accounts/{accountId}/access/policies"
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

    def write(
        self, call: Call, method: str, path: str, identifier: str, inputs: Properties, before: Mapping[str, Any]
    ) -> Properties:
        if not inputs.get("includes"):
            refuse(method, path, 400, 12130, "access.api.error.invalid_request: policy must have an include rule")
        record = {
            **self.defaults,
            "excludes": [],
            "requires": [],
            **inputs,
            "id": identifier,
            "reusable": True,
            "createdAt": before.get("createdAt", now()),
            "updatedAt": now(),
        }
        return self.save(call, identifier, record)


class Application(_AccessKind):
    """Protects a host in a zone of the account, named by ``domain``. Not here: applications with several destinations."""

    resource = "ZeroTrustAccessApplication"
    collection = "applications"
    location = "/accounts/{accountId}/access/apps"
    replaces = frozenset({"accountId", "zoneId"})
    defaults: ClassVar = {
        "sessionDuration": "24h",
        "appLauncherVisible": True,
        "autoRedirectToIdentity": False,
        "enableBindingCookie": False,
        "httpOnlyCookieAttribute": True,
    }
    computed = frozenset({"destinations", "selfHostedDomains", "policies", "tags"})

    def check(self, inputs: Mapping[str, Any]) -> list[Failure]:
        problems = _one_of(inputs, "type", {"self_hosted"})
        problems += [Failure(name, "is required by the stand-in") for name in ("accountId", "domain") if name not in inputs]
        return problems

    def write(
        self, call: Call, method: str, path: str, identifier: str, inputs: Properties, before: Mapping[str, Any]
    ) -> Properties:
        domain, applications = inputs["domain"], call.data[self.collection]
        zones = [zone["name"] for zone in call.data["zones"].values()]
        if not any(domain == zone or domain.endswith(f".{zone}") for zone in zones):
            refuse(method, path, 400, 12130, f"access.api.error.invalid_request: domain {domain} does not belong to a zone")
        if any(other["id"] != identifier and domain == other["domain"] for other in applications.values()):
            refuse(method, path, 409, 11010, "access.api.error.application_already_exists: application already exists")
        for link in inputs.get("policies") or []:
            if link["id"] not in call.data["policies"]:
                refuse(method, path, 400, 12130, f"access.api.error.invalid_request: policy {link['id']} does not exist")
        record = {
            **self.defaults,
            "tags": [],
            "policies": [],
            "selfHostedDomains": [domain],
            "destinations": [{"type": "public", "uri": domain}],
            **inputs,
            "id": identifier,
            "aud": before.get("aud", secrets.token_hex(32)),
        }
        return self.save(call, identifier, record)


# --- Notifications -------------------------------------------------------------------------------------------------------


class Notification(_Stored):
    """Says that a tunnel's health has changed; names may be taken twice. Not here: other kinds of alerts, PagerDuty."""

    resource = "NotificationPolicy"
    collection = "notifications"
    location = "/accounts/{accountId}/alerting/v3/policies"
    replaces = frozenset({"accountId"})
    defaults: ClassVar = {"enabled": True}

    def check(self, inputs: Mapping[str, Any]) -> list[Failure]:
        return _one_of(inputs, "alertType", {"tunnel_health_event"})

    def write(
        self, call: Call, method: str, path: str, identifier: str, inputs: Properties, before: Mapping[str, Any]
    ) -> Properties:
        # The API leaves out what is empty, a difference for ever (provider 7342).
        mechanisms = {kind: targets for kind, targets in inputs["mechanisms"].items() if targets}
        if not set(mechanisms) & {"emails", "webhooks"}:
            # (from memory)
            refuse(method, path, 400, 17101, "at least one delivery mechanism is required")
        filters = inputs.get("filters") or {}
        unknown = [tunnel for tunnel in filters.get("tunnelIds", ()) if tunnel not in call.data["tunnels"]]
        # The code is the one of a wrong filter of another kind (provider 3272).
        if unknown or not set(filters.get("newStatuses", ())) <= TUNNEL_STATUSES or set(filters) - {"tunnelIds", "newStatuses"}:
            refuse(method, path, 400, 17003, "Invalid object selections")
        record = {**self.defaults, **inputs, "mechanisms": mechanisms, "id": identifier, "modified": now()}
        return self.save(call, identifier, {**record, "created": before.get("created", now())})


# --- R2 and tokens -------------------------------------------------------------------------------------------------------


class Bucket(_Stored):
    """A name is taken once in an account; a bucket with objects cannot be deleted (the stand-in's have none)."""

    resource = "R2Bucket"
    collection = "buckets"
    location = "/accounts/{accountId}/r2/buckets"
    permissions = ("Workers R2 Storage Write", "Workers R2 Storage Read")
    replaces = frozenset({"accountId", "name", "location", "jurisdiction"})
    defaults: ClassVar = {"jurisdiction": "default", "storageClass": "Standard"}
    computed = frozenset({"location"})

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        self.allow(call, "POST", inputs)
        name = inputs["name"]
        if name in call.data[self.collection]:
            refuse("POST", self.path(inputs), 409, 10004, "The bucket you tried to create already exists, and you own it.")
        bucket = {"location": "APAC", **self.defaults, **inputs, "id": name, "creationDate": now()}
        return name, self.save(call, name, bucket)

    def update(self, call: Call, identifier: str, inputs: Properties, known: Mapping[str, Any]) -> Properties:
        bucket = self.stored(call, "PATCH", identifier, known)
        bucket.update(inputs)
        return dict(bucket)


class BucketLock(_Stored):
    """Each write replaces all rules of the bucket."""

    resource = "R2BucketLock"
    collection = "bucket_locks"
    location = "/accounts/{accountId}/r2/buckets/{bucketName}/lock"
    permissions = Bucket.permissions
    replaces = frozenset({"accountId", "bucketName", "jurisdiction"})
    defaults: ClassVar = {"jurisdiction": "default"}

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        return inputs["bucketName"], self.update(call, inputs["bucketName"], inputs, inputs)

    def update(self, call: Call, identifier: str, inputs: Properties, known: Mapping[str, Any]) -> Properties:
        self.allow(call, "PUT", inputs)
        if identifier not in call.data["buckets"]:
            refuse("PUT", self.path(inputs), 404, 10006, "The specified bucket does not exist.")
        return self.save(call, identifier, {**self.defaults, **inputs})


class AccountToken(_Stored):
    """The value is in the answer to the creation and nowhere else."""

    resource = "AccountToken"
    collection = "account_tokens"
    location = "/accounts/{accountId}/tokens"
    permissions = ("Account API Tokens Write", "Account API Tokens Read")
    replaces = frozenset({"accountId"})
    defaults: ClassVar = {"status": "active"}
    unread = frozenset({"value"})

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        self.allow(call, "POST", inputs)
        identifier = hex_id()
        token = self.save(call, identifier, {**self.defaults, **inputs, "id": identifier, "issuedOn": now()})
        return identifier, {**token, "value": secrets.token_hex(20)}

    def update(self, call: Call, identifier: str, inputs: Properties, known: Mapping[str, Any]) -> Properties:
        token = self.stored(call, "PUT", identifier, known)
        token.update(inputs)
        return {**token, **({"value": known["value"]} if "value" in known else {})}


# --- Look-ups ------------------------------------------------------------------------------------------------------------


def get_zone(call: Call, arguments: Properties) -> Properties:
    """The only zone that a filter leaves. Not here: a zone by its id."""
    wanted = arguments["filter"]
    account = (wanted.get("account") or {}).get("id")
    # Without the permission to list zones there are none, and no error.
    listed = call.data["zones"].values() if "Zone Read" in granted(call, "GET", "/zones") else ()
    zones = [
        zone
        for zone in listed
        if wanted.get("name") in (None, zone["name"])
        and wanted.get("status") in (None, zone["status"])
        and account in (None, zone["account"]["id"])
    ]
    if len(zones) != 1:
        raise Refused(f"failed to find exactly one result: {len(zones)} found", "zones")
    outputs = {name: value for name, value in zones[0].items() if name != "settings"}
    return {**outputs, "zoneId": outputs["id"], "filter": wanted}


def get_rulesets(call: Call, arguments: Properties) -> Properties:
    """The rulesets of a zone, without their rules. Not here: those of an account, and Cloudflare's own managed ones."""
    identifier = arguments["zoneId"]
    path = f"/zones/{identifier}/rulesets"
    authorize(call, "GET", path, Ruleset.permissions)
    _zone(call, "GET", identifier, "/rulesets")
    shown = ("description", "id", "kind", "lastUpdated", "name", "phase", "version")
    rulesets = [
        {name: ruleset.get(name, "") for name in shown}
        for ruleset in call.data["rulesets"].values()
        if ruleset.get("zoneId") == identifier
    ]
    return {**arguments, "results": rulesets, "rulesets": rulesets}


def check_config(config: Mapping[str, Any]) -> list[Failure]:
    """The provider's own check, without a call."""
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
        Notification(),
        Bucket(),
        BucketLock(),
        AccountToken(),
    ),
    functions={"get_zone": get_zone, "get_rulesets": get_rulesets},
    check_config=check_config,
    environment={"apiToken": "CLOUDFLARE_API_TOKEN"},
    forgetting=NOT_DESTROYED,
)
