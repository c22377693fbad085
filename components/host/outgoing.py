"""A company's proxy and certificates (``host.proxy``, ``host.ca_file``), as each part takes them.

Not here: Docker's own pulls, which no stack decides; cloudflared, which knows no proxy (components/settings/conflicts.py); how
browsers come to trust the certificates (images/server/skyvern-start).
"""

from collections.abc import Sequence

import pulumi

from components import addresses
from components.host.firewall import destinations
from components.settings import CdpBrowser, HostSettings, Settings

# In the tmpfs of every container: their roots are read-only, and neither an upload nor a bind mount works with that and over SSH.
_CERTIFICATES = "/tmp/certificates.pem"  # noqa: S108
_COMPANYS = "/tmp/company-certificates.pem"  # noqa: S108
_DEBIANS = "/etc/ssl/certs/ca-certificates.crt"
_START = f'printf "%s" "$1" > {_COMPANYS} && cat {_DEBIANS} {_COMPANYS} > {_CERTIFICATES} && shift && exec "$@"'
# The stack's own names, and the container itself.
_INTERNAL = ("localhost", "127.0.0.1", "::1", "artifacts", "egress", "gateway", "ollama", "postgres", "server", "smoke-site")


def with_certificates(host: HostSettings, command: Sequence[str]) -> list[pulumi.Input[str]] | None:
    """The command that first writes files with the company's certificates and with all; None without ``host.ca_file``."""
    certificates = host.certificates
    return None if certificates is None else ["sh", "-c", _START, "with-certificates", certificates, *command]


def certificate_environment(host: HostSettings) -> dict[str, pulumi.Input[str]]:
    """The variables that name that file: of OpenSSL and Go, and of requests, which boto3 reads as well."""
    return {} if host.ca_file is None else dict.fromkeys(("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), _CERTIFICATES)


def server_environment(settings: Settings) -> dict[str, pulumi.Input[str]]:
    """Skyvern's variables. Its own check of a URL stays: it looks the name up, and only then the proxy is asked."""
    proxy = settings.host.proxy
    if proxy is None:
        return certificate_environment(settings.host)
    return {
        **certificate_environment(settings.host),
        "AIOHTTP_TRUST_ENV": "True",
        "HTTPS_PROXY": proxy,
        "HTTP_PROXY": proxy,
        "NO_PROXY": ",".join([*_INTERNAL, *direct(settings)]),
        # Downloads and webhooks: by itself, Skyvern dials the address that it has checked.
        "OUTBOUND_TRUST_ENV_PROXY": "true",
    }


def direct(settings: Settings) -> list[str]:
    """The hosts that the server reaches without the proxy: private ones that the stack file names, and the Chrome elsewhere."""
    hosts = {
        to.host
        for to in destinations(settings)
        if to.network == "outgoing" and to.host is not None and addresses.network(to.host) is not None
    }
    if isinstance(settings.browser, CdpBrowser):
        hosts.add(addresses.of_url(settings.browser.url)[0])
    return sorted(hosts - {"", addresses.of_url(settings.host.proxy)[0] if settings.host.proxy else ""})


def pull_environment(host: HostSettings) -> dict[str, pulumi.Input[str]]:
    """Ollama's variables for its registry; not HTTP_PROXY, through which its own client would ask the server beside it."""
    return {**certificate_environment(host), **({} if host.proxy is None else {"HTTPS_PROXY": host.proxy})}


def client_environment(host: HostSettings) -> dict[str, pulumi.Input[str]]:
    """The variables of a client that asks the internet alone, by the company's proxy if there is one."""
    return {**pull_environment(host), **({} if host.proxy is None else {"HTTP_PROXY": host.proxy})}


def squid_parent(host: HostSettings) -> Sequence[str]:
    """Lines of the egress proxy, behind its own, that make the company's its parent; none without one.

    Every rule of images/egress/squid.conf stays, and is about the address that the name has here.
    """
    if host.proxy is None:
        return ()
    name, port = addresses.of_url(host.proxy)
    return (
        f"cache_peer {name} parent {port} 0 no-query no-digest no-netdb-exchange default",
        "always_direct allow smoke_site",
        "never_direct allow all",
    )
