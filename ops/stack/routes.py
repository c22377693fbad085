"""The Docker host's routes, and which of them a stack's subnets overlap. Reads only.

Docker compares a wanted subnet with its own networks alone, and refuses half-way through an update. A LAN, a VPN or WSL's own
network under a bridge is simply out of reach from then on. Not here: which subnets a stack has (components/host/network.py).
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

from components.host.firewall import bridge_name
from components.host.network import block, subnets
from components.settings import OllamaLlm, RemoteBackup, Settings
from components.settings.edge import Tunnel
from ops.clients import process
from ops.clients.docker import HARDENED, Docker
from ops.clients.swarm import Swarm
from ops.errors import UserError
from ops.stack import inventory
from ops.stack.stack import Stack

# Shorter prefixes are ways to the internet: the 0.0.0.0/1 of a VPN is a default route.
SHORTEST = 8
# All tables where the command is there, so also a VPN's own; else the main one. Then each interface's largest packet.
_LOOK = """
ip -json -4 route show table all 2> /dev/null || cat /proc/net/route
echo --
for interface in /sys/class/net/*; do echo "${interface##*/} $(cat "$interface/mtu")"; done
"""
_IDENTITY = ("--network=host", "--user=65534")
# Ranges to propose, the least usual ones of LANs, VPNs and Docker first.
_PROPOSALS = ("10.213.0.0/16", "10.87.0.0/16", "172.29.0.0/16", "192.168.208.0/20", "100.120.0.0/16", "198.18.0.0/16")


@dataclass(frozen=True, kw_only=True)
class Route:
    """interface: or the kind of a route without one, ``blackhole``. mtu: of the route itself, None for the interface's."""

    network: IPv4Network
    interface: str
    mtu: int | None = None


@dataclass(frozen=True, kw_only=True)
class HostNetwork:
    """A Docker host's network, as far as a stack's networks depend on it.

    names: interface -> Docker's network, of bridges, and of a Swarm's overlay networks, which count as routes. own: subnet -> the
    stack's network, of those that exist. mtus: by interface.
    """

    routes: Sequence[Route]
    mtus: Mapping[str, int] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[IPv4Network, str] = field(default_factory=dict)

    @property
    def mtu(self) -> tuple[int, str] | None:
        """The largest packet on the way to the internet, and its interface; None if that is not known."""
        ways = [route for route in self.routes if route.network.prefixlen == 0]
        sizes = [(route.mtu or self.mtus.get(route.interface, 0), route.interface) for route in ways]
        return min((size for size in sizes if size[0]), default=None)

    def overlaps(self, wanted: Iterable[IPv4Network]) -> list[Route]:
        """The routes that some of the subnets overlap. The stack's own are among them: new ones may not fit beside old ones."""
        networks = list(wanted)
        narrow = [route for route in self.routes if route.network.prefixlen >= SHORTEST]
        return [route for route in narrow if any(route.network.overlaps(network) for network in networks)]

    def collisions(self) -> list[Route]:
        """The routes of others that the stack's networks overlap."""
        bridges = {name for name, network in self.names.items() if network in self.own.values()}
        return [route for route in self.overlaps(self.own) if route.interface not in bridges]

    def describe(self, route: Route) -> str:
        """``10.0.0.0/8 on tun0``."""
        name = self.names.get(route.interface)
        return f"{route.network} on {route.interface}" + (f" (Docker's network {name})" if name else "")

    def proposal(self, stack: Stack) -> str:
        """A range in which the stack's block overlaps nothing."""
        fitting = (networks for networks in _PROPOSALS if not self.overlaps([block(networks, _prefix(stack))]))
        return next(fitting, "a private range that no route of the host has")


def _prefix(stack: Stack) -> str:
    """As the program names the stack's objects."""
    return stack.prefix("").removesuffix("-")


def stack_block(stack: Stack, settings: Settings) -> IPv4Network:
    """The addresses of all its networks."""
    return block(settings.host.networks, _prefix(stack))


def planned(stack: Stack, settings: Settings) -> list[IPv4Network]:
    """The subnets of the networks that a stack with these settings has."""
    absent = set() if isinstance(settings.edge, Tunnel) else {"tunnel"}
    absent |= set() if isinstance(settings.llm, OllamaLlm) else {"llm", "models"}
    absent |= set() if isinstance(settings.backup, RemoteBackup) else {"backup"}
    absent |= set() if settings.monitor.enabled else {"dashboard"}
    absent |= set() if settings.monitor.sends else {"alerts"}
    return [subnet for part, subnet in subnets(settings.host.networks, _prefix(stack)).items() if part not in absent]


def observe(docker: Docker, stack: Stack, image: str) -> HostNetwork | None:
    """The host's network; None where it cannot be looked at.

    image: one with a shell. A daemon on another machine is looked at in a throw-away container, once it has the image.
    """
    try:
        if docker.host.startswith("unix://"):
            printed = process.capture(["sh", "-c", _LOOK], timeout_seconds=20).decode(errors="replace")
        else:
            printed = docker.run("run", "--rm", "--pull=never", *HARDENED, *_IDENTITY, image, "sh", "-c", _LOOK)
        listed = docker.run("network", "ls", "--no-trunc", "--format", "{{.ID}} {{.Name}}")
        overlays = _overlays(docker) if isinstance(docker, Swarm) else []
        return _parse(printed, listed, inventory.network_documents(docker, stack.short), overlays)
    except (UserError, ValueError, KeyError, IndexError):
        # Or a form of these listings that is not known here, which is no reason to refuse an update.
        return None


def _overlays(manager: Docker) -> list[dict[str, Any]]:
    """``docker network inspect`` of all overlay networks of a Swarm."""
    ids = manager.run("network", "ls", "--no-trunc", "--quiet", "--filter", "driver=overlay").split()
    return inventory.inspected(manager, "network", ids)


def _parse(
    printed: str, listed: str, documents: Sequence[Mapping[str, Any]], overlays: Sequence[Mapping[str, Any]]
) -> HostNetwork:
    routes, _, links = printed.partition("--\n")
    # They have no bridge and no route on their machines, and yet their addresses are taken.
    joined = {f"overlay {document['Id'][:12]}": document for document in overlays}
    taken = [Route(network=subnet, interface=name) for name, document in joined.items() for subnet in _subnets(document)]
    bridges = {bridge_name(identifier): name for identifier, _, name in (line.partition(" ") for line in listed.splitlines())}
    return HostNetwork(
        routes=[*parse(routes), *taken],
        mtus={name: int(mtu) for name, _, mtu in (line.partition(" ") for line in links.splitlines()) if mtu.isdigit()},
        names={**bridges, **{name: document["Name"] for name, document in joined.items()}},
        own={subnet: document["Name"] for document in documents for subnet in _subnets(document)},
    )


def _subnets(document: Mapping[str, Any]) -> list[IPv4Network]:
    configs = document["IPAM"]["Config"] or []
    return [IPv4Network(config["Subnet"]) for config in configs if ":" not in config.get("Subnet", ":")]


def parse(text: str) -> Iterator[Route]:
    """The routes of ``ip -json -4 route show table all``, or of /proc/net/route."""
    if text.lstrip().startswith("["):
        for entry in json.loads(text):
            # The host's own addresses, which have their network's route as well.
            if entry.get("table") == "local":
                continue
            network = IPv4Network("0.0.0.0/0" if entry["dst"] == "default" else entry["dst"])
            mtu = next((metric["mtu"] for metric in entry.get("metrics", []) if "mtu" in metric), None)
            hops = [hop["dev"] for hop in entry.get("nexthops", []) if "dev" in hop]
            for interface in hops or [entry.get("dev") or entry.get("type", "?")]:
                yield Route(network=network, interface=interface, mtu=mtu)
        return
    for line in text.splitlines()[1:]:
        fields = line.split()
        address, mask = (bytes.fromhex(fields[column])[::-1] for column in (1, 7))
        prefix = int.from_bytes(mask).bit_count()
        yield Route(network=IPv4Network((address, prefix)), interface=fields[0], mtu=int(fields[8]) or None)
