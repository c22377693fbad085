"""Forbidden connections, tried: from inside a stack's containers to addresses that they must not reach, by TCP.

Each probe is a throw-away container in the network namespace of the probed container, because the connectors' images have no
shell. A closed port answers, too, and its answer has passed every barrier: so no listener is needed.
Not here: what must work (the other checks of ops smoke).
"""

import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from components.host.firewall import bridge_name
from components.settings import Settings
from ops.clients.docker import HARDENED, Docker
from ops.clients.swarm import Swarm
from ops.errors import UserError
from ops.stack import inventory
from ops.stack.stack import Stack

Wall = Literal["networks", "host", "outside"]
# Discard: nothing of a stack or a host listens there, and no list of allowed ports names it.
PORT = 9
# A metadata service and an address in a large private range, which no host need have: what counts is that the firewall refuses.
OUTSIDE = ("169.254.169.254", "10.255.255.254")
# More than a host with several stacks has.
MOST_HOST_ADDRESSES = 32
# The kernel learns of a refusal with its second packet, after a second; an address that no host has takes three.
TRY_SECONDS = 2.5
AT_ONCE = 4
HARDENING = (*HARDENED, "--user=65534:65534", "--memory=128m")
TRY = """
while read -r address port; do
  if [ -z "$address" ]; then wait; continue; fi
  (
    message=$(LC_ALL=C timeout SECONDS bash -c "exec 3<> /dev/tcp/$address/$port" 2>&1)
    case $?:$message in
      0:* | *refused*) result=open ;;
      *'No route to host'* | *unreachable*) result=refused ;;
      *) result=silent ;;
    esac
    echo "$address $result"
  ) &
done
wait
""".replace("SECONDS", str(TRY_SECONDS))


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A connection that must fail. source: the part that tries. target: in words. wall: the barrier that has to stop it."""

    source: str
    target: str
    address: str
    wall: Wall


@dataclass(frozen=True, kw_only=True)
class Opening:
    """An attempt that succeeded, or (answered: False) that was not refused."""

    attempt: Attempt
    answered: bool


_MISSING: Mapping[Wall, str] = {
    "networks": "no wall between the stack's networks",
    "host": "no wall before the host",
    "outside": "no wall before private addresses",
}


def clauses(openings: Sequence[Opening]) -> list[str]:
    """One clause for each part and wall: ``gateway reaches postgres, server: no wall between the stack's networks``."""
    grouped: dict[tuple[str, str, Wall], set[str]] = {}
    for opening in openings:
        attempt = opening.attempt
        does = "reaches" if opening.answered else "is not refused at"
        target = attempt.target if attempt.wall == "networks" else attempt.address
        grouped.setdefault((attempt.source, does, attempt.wall), set()).add(target)
    lines = []
    for (source, does, wall), targets in grouped.items():
        names = ", ".join(sorted(targets))
        lines.append(f"{source} {does} {f'the host ({names})' if wall == 'host' else names}: {_MISSING[wall]}")
    return lines


def attempts(
    containers: Sequence[Mapping[str, Any]],
    networks: Sequence[Mapping[str, Any]],
    host_addresses: Collection[str] = (),
) -> dict[str, list[Attempt]]:
    """The attempts of each container with a network, by its id, from ``docker inspect`` of both.

    host_addresses: of the Docker host, besides the networks' gateways. Parts that share a network may connect.
    """
    running = [container for container in containers if container["State"]["Running"] and _addresses(container)]
    members = {container["Id"]: _addresses(container) for container in running}
    parts = {container["Id"]: _part(container) for container in containers}
    gateways = {config["Gateway"] for network in networks for config in network["IPAM"]["Config"] or [] if config.get("Gateway")}
    host = sorted(address for address in {*gateways, *host_addresses} if _is_host_address(address))
    outward = {network["Name"] for network in networks if not network["Internal"]}
    planned: dict[str, list[Attempt]] = {}
    for source, own in members.items():

        def attempt(target: str, address: str, wall: Wall, part: str = parts[source]) -> Attempt:
            return Attempt(source=part, target=target, address=address, wall=wall)

        others = [
            attempt(parts[target], address, "networks")
            for target, theirs in members.items()
            if target != source
            for network, address in theirs.items()
            if network not in own
        ]
        hosts = [attempt("the host", address, "host") for address in host[:MOST_HOST_ADDRESSES]]
        outside = [attempt("a private address", address, "outside") for address in OUTSIDE] if own.keys() & outward else []
        planned[source] = [*others, *hosts, *outside]
    return planned


def _part(container: Mapping[str, Any]) -> str:
    part: str = container["Config"]["Labels"].get("skyvern.part", container["Name"].lstrip("/"))
    return part


def _is_host_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.version == 4 and not address.is_loopback


def _addresses(container: Mapping[str, Any]) -> dict[str, str]:
    """IPv4 addresses by the network's name."""
    networks = container["NetworkSettings"]["Networks"] or {}
    return {name: network["IPAddress"] for name, network in networks.items() if network.get("IPAddress")}


def openings(tried: Sequence[Attempt], answers: str, *, walled: bool) -> Iterator[Opening]:
    """The openings, from the lines that the probe printed; UserError if it has not tried everything.

    walled: with the stack's firewall, which refuses at once; without, Docker's rules alone separate networks, by dropping.
    """
    results = dict(line.split() for line in answers.splitlines())
    if missing := [attempt.address for attempt in tried if attempt.address not in results]:
        raise UserError(f"could not probe from {tried[0].source}: no result for {', '.join(missing[:3])}")
    for attempt in tried:
        result = results[attempt.address]
        if result == "open" or (walled and attempt.wall == "outside" and result != "refused"):
            yield Opening(attempt=attempt, answered=result == "open")


def has_firewall(settings: Settings) -> bool:
    """Whether a stack has its own packet filter. On a Swarm, whose networks are not bridges of one host, none could keep them."""
    return settings.host.firewall and settings.host.engine == "docker"


def probe(docker: Docker, stack: Stack, *, walled: bool, parts: Collection[str] | None = None) -> list[str]:
    """Tries everything from every part, or from the named ones: the openings, as ``clauses``. UserError if it could not probe.

    walled: whether the stack has the firewall by its settings. Without, the host and private addresses are not tried: nothing
    stops connections to them.
    """
    found = inventory.documents_by_daemon(docker, stack.short)
    containers = [document for _, documents in found for document in documents]
    daemons = {document["Id"]: daemon for daemon, documents in found for document in documents}
    by_part = {_part(container): container for container in containers if container["State"]["Running"]}
    # Their image has the tools.
    source = next((by_part[part] for part in ("firewall", "egress") if part in by_part), None)
    if source is None:
        raise UserError("could not probe: neither a firewall nor an egress container runs, whose image would be used")
    # One daemon has it by its id, also where the name is gone. On a Swarm, every machine has it by its name (images/spread.py).
    image = source["Config"]["Image"] if isinstance(docker, Swarm) else source["Image"]
    host_addresses = _host_addresses(docker, by_part["firewall"]["Id"]) if walled and "firewall" in by_part else []
    planned = attempts(containers, inventory.network_documents(docker, stack.short), host_addresses)
    if not walled:
        planned = {source: [attempt for attempt in tried if attempt.wall == "networks"] for source, tried in planned.items()}

    def probe_from(source: str) -> list[Opening]:
        tried = planned[source]
        # Addresses that must be refused come first and alone: the kernel sends a container six refusals and then one a second.
        first = sorted({attempt.address for attempt in tried if attempt.wall == "outside"})
        rest = sorted({attempt.address for attempt in tried} - set(first))
        lines = "".join(f"{address} {PORT}\n" if address else "\n" for address in [*first, "", *rest])
        command = ("run", "--rm", "--interactive", f"--network=container:{source}", *HARDENING, image, "bash", "-c", TRY)
        return list(openings(tried, daemons[source].run(*command, stdin=lines.encode()), walled=walled))

    sources = [source for source, tried in planned.items() if tried and (parts is None or tried[0].source in parts)]
    if not sources:
        raise UserError("could not probe: no container of the stack runs")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return clauses([opening for some in pool.map(probe_from, sources) for opening in some])


def _host_addresses(docker: Docker, firewall: str) -> list[str]:
    """Addresses in the firewall's network, which is the host's; none if it does not run, which is a separate finding."""
    try:
        return docker.run("exec", firewall, "hostname", "-I").split()
    except UserError:
        return []


def docker_rules_lost(docker: Docker, stack: Stack) -> bool:
    """Whether Docker's own rules between the stack's networks are gone, asked in the firewall; False if it does not answer."""
    bridges = [bridge_name(network["Id"]) for network in inventory.network_documents(docker, stack.short)]
    command = "nft --stateless list ruleset && echo legacy: $(cat /proc/net/ip_tables_names 2> /dev/null)"
    try:
        listing = docker.run("exec", stack.prefix("firewall"), "sh", "-c", command)
    except UserError:
        return False
    return rules_lost(listing, bridges)


def rules_lost(listing: str, bridges: Sequence[str]) -> bool:
    """The same from a listing of all rules. It ends with the tables of iptables' older kind, which nft cannot list."""
    rules, _, legacy = listing.rpartition("legacy:")
    chain = re.search(r"chain DOCKER-ISOLATION-STAGE-1 \{(.*?)\n\t\}", rules, re.DOTALL)
    if chain is not None:
        return not all(bridge in chain[1] for bridge in bridges)
    # Docker 29 has other names, and separate tables.
    others = re.sub(r"^table inet skyvern-\S+ \{.*?^\}", "", rules, flags=re.DOTALL | re.MULTILINE)
    return "docker" not in others.lower() and "filter" not in legacy.split()
