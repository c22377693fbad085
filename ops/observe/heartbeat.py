"""Skyvern's heartbeat behind a gateway: the path of the API that answers without a key."""

from collections.abc import Mapping

import httpx

from ops.clients import proxies
from ops.errors import UserError
from skyvern_provider.api import is_loopback

HEARTBEAT = "/api/v1/heartbeat"


def ask(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    transport: httpx.BaseTransport | None = None,
    timeout_seconds: float = 10,
) -> httpx.Response | None:
    """The answer, whatever its status; None without one. url: of the API. A proxy of the environment is used for public ones."""
    if transport is None and not is_loopback(url):
        transport = proxies.Transport()
    try:
        with httpx.Client(transport=transport, timeout=timeout_seconds, trust_env=False) as client:
            return client.get(f"{url}{HEARTBEAT}", headers=headers)
    except (httpx.HTTPError, UserError):
        return None
