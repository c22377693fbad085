"""Cloudflare's API as far as ``ops`` reads it, over HTTP at its own name: the resources of the provider's stand-in.

GET only, because ``ops`` changes nothing there. Not here: the calls of the provider (lab/standins/providers/cloudflare.py).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lab.standins.providers.world import Data

HOST = "api.cloudflare.com"
_BASE = "/client/v4"
# The parts of a zone or an account: the beginning of the permission that a token needs for each.
_PERMISSIONS = {
    "dns_records": "DNS",
    "settings": "Zone Settings",
    "rulesets": "Zone WAF",
    "cfd_tunnel": "Cloudflare Tunnel",
    "access": "Access: Apps and Policies",
    "alerting": "Notifications",
}


def answer(data: Data, target: str, authorization: str, connections: Callable[[str], int]) -> tuple[int, Data]:
    """Status and body for a GET. target: path with query. connections: the number of a tunnel's, by its name."""
    asked = urlsplit(target)
    path, query = asked.path.removeprefix(_BASE), {name: values[0] for name, values in parse_qs(asked.query).items()}
    permissions = data["tokens"].get(authorization.removeprefix("Bearer "))
    if permissions is None:
        return _refused(401 if path == "/user/tokens/verify" else 403, 1000, "Invalid API Token")
    match path.removeprefix("/").split("/"):
        case ["user", "tokens", "verify"]:
            return _answered({"id": "a-token", "status": "active"})
        case ["zones"]:
            named = [zone for zone in data["zones"].values() if query.get("name") in (None, zone["name"])]
            return _answered([_spelled(zone) for zone in named if "Zone Read" in permissions])
        case ["zones" | "accounts" as scope, identifier, part, *_] if part in _PERMISSIONS and identifier in data[scope]:
            if not any(name.startswith(f"{_PERMISSIONS[part]} ") for name in permissions):
                return _refused(403, 10000, "Authentication error")
            return _answered(_part(data, identifier, part, query, connections))
    return _refused(404, 7003, f"Could not route to {path}")


def _part(data: Data, identifier: str, part: str, query: Mapping[str, str], connections: Callable[[str], int]) -> Any:
    match part:
        case "dns_records":
            records = [record for record in data["records"].values() if record["zoneId"] == identifier]
            wanted = [_spelled(record) for record in records if query.get("type") in (None, record["type"])]
            size, page = int(query.get("per_page", 100)), int(query.get("page", 1))
            return sorted(wanted, key=lambda record: str(record["name"]))[size * (page - 1) : size * page]
        case "cfd_tunnel":
            tunnels = [tunnel for tunnel in data["tunnels"].values() if query.get("name") in (None, tunnel["name"])]
            return [_tunnel(tunnel, connections(tunnel["name"])) for tunnel in tunnels if tunnel["accountId"] == identifier]
        case "settings":
            return {"id": "always_use_https", "value": data["zones"][identifier]["settings"]["always_use_https"]}
    # Of the other parts, only the permission to read them matters.
    return []


def _tunnel(tunnel: Data, count: int) -> Data:
    # Worded as in Cloudflare's API reference (cfd_tunnel); a connector has four connections.
    status = "healthy" if count >= 4 else "degraded" if count else "down"
    return {**_spelled(tunnel), "status": status, "connections": [{}] * count}


def _spelled(value: Any) -> Any:
    """Names as the API spells them: ``legacy_id`` for the SDK's ``legacyId``."""
    if isinstance(value, dict):
        return {re.sub(r"(?<=[a-z])([A-Z])", r"_\1", key).lower(): _spelled(item) for key, item in value.items()}
    return [_spelled(item) for item in value] if isinstance(value, list) else value


def _answered(result: Any) -> tuple[int, Data]:
    return 200, {"success": True, "errors": [], "messages": [], "result": result}


def _refused(status: int, code: int, message: str) -> tuple[int, Data]:
    return status, {"success": False, "errors": [{"code": code, "message": message}], "messages": [], "result": None}
