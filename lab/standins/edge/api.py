"""Cloudflare's API as far as ``ops`` reads it: what the provider's stand-in has made, over HTTP at its own name.

GET only, because ``ops`` changes nothing there. Not here: what the provider calls (lab/standins/providers/cloudflare.py).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lab.standins.providers.world import Data

HOST = "api.cloudflare.com"
_BASE = "/client/v4"
# Below a zone or an account: what a token needs for it, by the beginning of its name.
_PERMISSIONS = {
    "dns_records": "DNS",
    "settings": "Zone Settings",
    "rulesets": "Zone WAF",
    "cfd_tunnel": "Cloudflare Tunnel",
    "access": "Access: Apps and Policies",
}


def answer(data: Data, target: str, authorization: str, connections: Callable[[str], int]) -> tuple[int, Data]:
    """Status and body for a GET. target: path with query. connections: how many a tunnel has, by its name."""
    asked = urlsplit(target)
    path, query = asked.path.removeprefix(_BASE), {name: values[0] for name, values in parse_qs(asked.query).items()}
    permissions = data["tokens"].get(authorization.removeprefix("Bearer "))
    if permissions is None:
        return _refused(401 if path == "/user/tokens/verify" else 403, 1000, "Invalid API Token")
    match path.removeprefix("/").split("/"):
        case ["user", "tokens", "verify"]:
            return _found({"id": "a-token", "status": "active"})
        case ["zones"]:
            named = [one for one in data["zones"].values() if query.get("name") in (None, one["name"])]
            return _found([_spelled(one) for one in named if "Zone Read" in permissions])
        case ["zones" | "accounts" as scope, identifier, part, *_] if part in _PERMISSIONS and identifier in data[scope]:
            if not any(name.startswith(f"{_PERMISSIONS[part]} ") for name in permissions):
                return _refused(403, 10000, "Authentication error")
            return _found(_part(data, identifier, part, query, connections))
    return _refused(404, 7003, f"Could not route to {path}")


def _part(data: Data, identifier: str, part: str, query: Mapping[str, str], connections: Callable[[str], int]) -> Any:
    match part:
        case "dns_records":
            records = [one for one in data["records"].values() if one["zoneId"] == identifier]
            wanted = [_spelled(one) for one in records if query.get("type") in (None, one["type"])]
            size, page = int(query.get("per_page", 100)), int(query.get("page", 1))
            return sorted(wanted, key=lambda one: str(one["name"]))[size * (page - 1) : size * page]
        case "cfd_tunnel":
            tunnels = [one for one in data["tunnels"].values() if query.get("name") in (None, one["name"])]
            return [_tunnel(one, connections(one["name"])) for one in tunnels if one["accountId"] == identifier]
        case "settings":
            return {"id": "always_use_https", "value": data["zones"][identifier]["settings"]["always_use_https"]}
    # Only whether it may be read is asked of the others.
    return []


def _tunnel(tunnel: Data, count: int) -> Data:
    # In Cloudflare's own words (API reference, cfd_tunnel); a connector has four connections.
    status = "healthy" if count >= 4 else "degraded" if count else "down"
    return {**_spelled(tunnel), "status": status, "connections": [{}] * count}


def _spelled(value: Any) -> Any:
    """Names as the API spells them: ``legacy_id`` for the SDK's ``legacyId``."""
    if isinstance(value, dict):
        return {re.sub(r"(?<=[a-z])([A-Z])", r"_\1", key).lower(): _spelled(one) for key, one in value.items()}
    return [_spelled(one) for one in value] if isinstance(value, list) else value


def _found(result: Any) -> tuple[int, Data]:
    return 200, {"success": True, "errors": [], "messages": [], "result": result}


def _refused(status: int, code: int, message: str) -> tuple[int, Data]:
    return status, {"success": False, "errors": [{"code": code, "message": message}], "messages": [], "result": None}
