"""Addresses that are not the public internet: private, local and special ranges of IPv4 and IPv6. Pure.

The egress proxy refuses the same ones (images/egress/squid.conf; a test compares the two). 192.0.2.0/24, 198.51.100.0/24 and
203.0.113.0/24 are left out: they are routed nowhere, and tests use them as public addresses.
"""

import ipaddress
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import urlsplit

Network = IPv4Network | IPv6Network

PRIVATE_IPV4 = (
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",  # private
    "100.64.0.0/10",  # carrier-grade NAT
    "127.0.0.0/8",  # loopback
    "169.254.0.0/16",  # link-local, metadata services
    "172.16.0.0/12",  # private
    "192.0.0.0/24",  # IETF protocols
    "192.88.99.0/24",  # 6to4 relays
    "192.168.0.0/16",  # private
    "198.18.0.0/15",  # benchmarks
    "224.0.0.0/3",  # multicast, reserved, broadcast
)
# All public addresses are in 2000::/3; these in it are not public.
PUBLIC_IPV6 = "2000::/3"
PRIVATE_IPV6 = (
    "2001::/23",  # IETF protocols, Teredo
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4
    "3fff::/20",  # documentation
)
# Of the private ones, those that machines of a network have: without link-local, where clouds answer with credentials.
MACHINES_IPV4 = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
_MACHINES_IPV4 = tuple(map(IPv4Network, MACHINES_IPV4))
_PRIVATE_IPV4 = tuple(map(IPv4Network, PRIVATE_IPV4))
_PRIVATE_IPV6 = tuple(map(IPv6Network, PRIVATE_IPV6))


def network(text: str) -> Network | None:
    """An address or a CIDR; None for a name and for a CIDR with host bits set."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def is_private(addresses: Network) -> bool:
    """Whether none of the addresses is public."""
    if isinstance(addresses, IPv4Network):
        return any(addresses.subnet_of(private) for private in _PRIVATE_IPV4)
    return not addresses.overlaps(IPv6Network(PUBLIC_IPV6)) or any(addresses.subnet_of(private) for private in _PRIVATE_IPV6)


def is_of_machines(addresses: Network) -> bool:
    """Whether all of the addresses are private ones that machines of a network have."""
    return isinstance(addresses, IPv4Network) and any(addresses.subnet_of(network) for network in _MACHINES_IPV4)


def of_url(url: str) -> tuple[str, int]:
    """Host and port that an http or https URL leads to."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
