"""The proxies of the environment: which one a request goes through, and whether our programs can use it.

httpx reads them as well, but a proxy that it does not know (a desktop writes ALL_PROXY=socks://…) or an odd entry of NO_PROXY
ends in its own traceback, also where no request would go through it. Not here: the proxy of a stack's containers
(``host.proxy``).
"""

import os
import re
import ssl
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from ops.errors import UserError

# httpx and pip without further packages.
SCHEMES = frozenset({"http", "https"})


@dataclass(frozen=True)
class Proxy:
    """A proxy of the environment. variable: the one that names it. url: with a scheme; it may hold a login."""

    variable: str
    url: str = field(repr=False)


def for_url(url: str) -> Proxy | None:
    """The proxy through which curl and pip would ask a URL; None where they would connect directly."""
    parts = urlsplit(url)
    found = urllib.request.getproxies_environment()
    if urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2], found):
        return None
    kind = next((kind for kind in (parts.scheme, "all") if found.get(kind)), None)
    return None if kind is None else _proxy(kind, found[kind])


def usable_for(url: str) -> Proxy | None:
    """``for_url``; UserError in one line if it is a proxy that cannot be used."""
    proxy = for_url(url)
    if proxy is not None:
        _refuse_unusable(proxy)
    return proxy


def refuse_unusable() -> None:
    """UserError in one line for a proxy that cannot be used, whatever is asked."""
    found = urllib.request.getproxies_environment()
    for kind in sorted(SCHEMES):
        if found.get(kind):
            _refuse_unusable(_proxy(kind, found[kind]))


def _proxy(kind: str, value: str) -> Proxy:
    names = [name for name in (f"{kind}_proxy", f"{kind}_PROXY".upper()) if os.environ.get(name)]
    value = value.strip()
    return Proxy(variable=names[0] if names else f"{kind}_proxy", url=value if "://" in value else f"http://{value}")


def _refuse_unusable(proxy: Proxy) -> None:
    scheme, _, rest = proxy.url.partition("://")
    if scheme.lower() not in SCHEMES:
        named = f"a {scheme}:// proxy" if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]{0,20}", scheme) else "this proxy"
        raise UserError(f"{proxy.variable}: {named} cannot be used here; set HTTPS_PROXY and HTTP_PROXY to http://HOST:PORT")
    try:
        parts = urlsplit(f"http://{rest}")
        right = bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", rest)
        httpx.URL(proxy.url)
    except (ValueError, httpx.InvalidURL):
        right = False
    if not right:
        raise UserError(f"{proxy.variable}: is not the address of a proxy; write http://HOST:PORT")


class Transport(httpx.BaseTransport):
    """Sends each request through its proxy; UserError in one line for a request whose proxy cannot be used."""

    def __init__(self, *, verify: ssl.SSLContext | bool = True, retries: int = 0) -> None:
        self._verify, self._retries = verify, retries
        self._transports: dict[str | None, httpx.HTTPTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Of httpx."""
        proxy = usable_for(str(request.url))
        url = None if proxy is None else proxy.url
        if url not in self._transports:
            self._transports[url] = httpx.HTTPTransport(verify=self._verify, retries=self._retries, proxy=url)
        return self._transports[url].handle_request(request)

    def close(self) -> None:
        """Of httpx."""
        for transport in self._transports.values():
            transport.close()
