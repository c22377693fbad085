"""When certificates end: the one that the UI's address shows to the world, and a company's own (``host.ca_file``)."""

import http.client
import os
import ssl
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

# Written at the start (components/host/outgoing.py).
COMPANYS = Path("/tmp/company-certificates.pem")  # noqa: S108
ANSWER_SECONDS = 10


def of_address(url: str) -> datetime | None:
    """Of an HTTPS address, by HTTPS_PROXY if there is one; None for any other, and where it is not reached from here.

    A certificate that is not valid at all has no end to tell: that is the smoke run's and the outside heartbeat's.
    """
    target = urlsplit(url)
    if target.scheme != "https" or target.hostname is None:
        return None
    proxy = urllib.request.getproxies().get("https")
    port = target.port or 443
    if proxy:
        through = urlsplit(proxy)
        connection = http.client.HTTPSConnection(through.hostname or "", through.port or 3128, timeout=ANSWER_SECONDS)
        connection.set_tunnel(target.hostname, port)
    else:
        connection = http.client.HTTPSConnection(target.hostname, port, timeout=ANSWER_SECONDS)
    try:
        connection.connect()
        shown = connection.sock.getpeercert()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return _end(shown) if shown else None


def of_company(path: Path = COMPANYS) -> datetime | None:
    """The first end among a company's certificates; None without a file of them."""
    if not path.exists():
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(os.fspath(path))
    except (OSError, ssl.SSLError):
        return None
    return min((_end(shown) for shown in context.get_ca_certs()), default=None)


def _end(shown: "ssl._PeerCertRetDictType") -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(shown["notAfter"])), UTC)
