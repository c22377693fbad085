"""IP addresses and host names: which are the machine itself, and which are on the internet."""

import ipaddress


def is_loopback(address: str) -> bool:
    """Whether it is a loopback address; a name is not."""
    parsed = _parsed(address)
    return parsed is not None and parsed.is_loopback


def is_own_machine(host: str) -> bool:
    """Whether the host of a URL, a name or an address, is the machine itself."""
    return host == "localhost" or host.endswith(".localhost") or is_loopback(host)


def is_public(address: str) -> bool:
    """Whether it is an address of the internet; a name is not."""
    parsed = _parsed(address)
    return parsed is not None and parsed.is_global


def is_few_machines(network: str) -> bool:
    """Whether it is one address, or at most 256 of a network, and not loopback or link-local, where clouds keep credentials."""
    try:
        parsed = ipaddress.ip_network(network)
    except ValueError:
        return False
    special = parsed.is_loopback or parsed.is_link_local or parsed.is_multicast or parsed.is_unspecified
    return parsed.num_addresses <= 256 and not special


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        return None
