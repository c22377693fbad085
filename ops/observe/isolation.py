"""Forbidden ways, tried: from inside a stack's containers to where they must not get, by TCP and by address.

Each look is one throw-away container in the network namespace of the one that is looked at, because the connectors' images have
no shell. A closed port answers, too, and its answer has come through every wall: so no listener is needed.
Not here: what must work (the other checks of ops smoke).
"""

import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from ops.clients.docker import Docker
from ops.errors import UserError
from ops.stack import inventory
from ops.stack.stack import Stack

Wall = Literal["networks", "host", "outside"]
# Discard: nothing of a stack or a host listens there, and no list of allowed ports names it.
PORT = 9
# A metadata service and somewhere in a large private range, where nobody need be: what counts is that the wall refuses.
OUTSIDE = ("169.254.169.254", "10.255.255.254")
# More than a host with several stacks has.
MOST_HOST_ADDRESSES = 32
# The kernel hears of a refusal with its second packet, after a second; an address that nobody has takes three.
TRY_SECONDS = 2.5
AT_ONCE = 4
TRY = """
while read -r address port; do
  if [ -z "$address" ]; then wait; continue; fi
  (
    said=$(LC_ALL=C timeout SECONDS bash -c "exec 3<> /dev/tcp/$address/$port" 2>&1)
    case $?:$said in
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
    """A way that must be closed. source: the part that tries. target: in words. wall: what has to close it."""

    source: str
    target: str
    address: str
    wall: Wall


@dataclass(frozen=True, kw_only=True)
class Opening:
    """An attempt that got through, or (answered: False) that nothing refused."""

    attempt: Attempt
    answered: bool


_MISSING: Mapping[Wall, str] = {
    "networks": "no wall between the stack's networks",
    "host": "no wall before the host",
    "outside": "no wall before private addresses",
}


def clauses(found: Sequence[Opening]) -> list[str]:
    """One clause for each part and wall: ``gateway reaches postgres, server: no wall between the stack's networks``."""
    grouped: dict[tuple[str, str, Wall], set[str]] = {}
    for one in found:
        does = "reaches" if one.answered else "is not refused at"
        target = one.attempt.target if one.attempt.wall == "networks" else one.attempt.address
        grouped.setdefault((one.attempt.source, does, one.attempt.wall), set()).add(target)
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
    """What each container with a network has to try, by its id, from ``docker inspect`` of both.

    host_addresses: of the Docker host, on top of the networks' gateways. Parts on a network in common may talk.
    """
    members = {one["Id"]: _addresses(one) for one in containers if one["State"]["Running"] and _addresses(one)}
    parts = {one["Id"]: one["Config"]["Labels"].get("skyvern.part", one["Name"].lstrip("/")) for one in containers}
    gateways = {config["Gateway"] for network in networks for config in network["IPAM"]["Config"] or [] if config.get("Gateway")}
    host = sorted({*gateways, *host_addresses} & {one for one in {*gateways, *host_addresses} if _is_host_address(one)})
    outward = {network["Name"] for network in networks if not network["Internal"]}
    found: dict[str, list[Attempt]] = {}
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
        found[source] = [*others, *hosts, *outside]
    return found


def _is_host_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.version == 4 and not address.is_loopback


def _addresses(container: Mapping[str, Any]) -> dict[str, str]:
    """IPv4 addresses by the network's name."""
    found = container["NetworkSettings"]["Networks"] or {}
    return {name: one["IPAddress"] for name, one in found.items() if one.get("IPAddress")}


def openings(tried: Sequence[Attempt], answers: str, *, walled: bool) -> Iterator[Opening]:
    """What is open, from the lines that the look printed; UserError where it has not tried everything.

    walled: with the stack's firewall, which refuses at once; without, Docker's rules alone keep networks apart, in silence.
    """
    results = dict(line.split() for line in answers.splitlines())
    if missing := [one.address for one in tried if one.address not in results]:
        raise UserError(f"could not look from {tried[0].source}: no result for {', '.join(missing[:3])}")
    for one in tried:
        result = results[one.address]
        if result == "open" or (walled and one.wall == "outside" and result != "refused"):
            yield Opening(attempt=one, answered=result == "open")


def look(docker: Docker, stack: Stack, *, walled: bool, parts: Collection[str] | None = None) -> list[str]:
    """Tries everything from every part, or from the named ones: what is open, as ``clauses``. UserError where it could not look.

    walled: whether the stack has the firewall by its settings. Without, the host and private addresses are not tried: nothing
    closes them.
    """
    containers = inventory.documents(docker, stack.short)
    ids = {one["Config"]["Labels"].get("skyvern.part"): one for one in containers}
    # Their image has what it takes; by its id, for its name may have gone.
    image = next((ids[part]["Image"] for part in ("firewall", "egress") if part in ids), None)
    if image is None:
        raise UserError("could not look: there is neither a firewall nor an egress container, whose image would be used")
    host_addresses = _host_addresses(docker, ids["firewall"]["Id"]) if walled and "firewall" in ids else []
    planned = attempts(containers, inventory.network_documents(docker, stack.short), host_addresses)
    if not walled:
        planned = {source: [one for one in tried if one.wall == "networks"] for source, tried in planned.items()}

    def from_one(source: str) -> list[Opening]:
        tried = planned[source]
        # Those that must be refused come first and alone: the kernel sends a container six refusals and then one a second.
        first = sorted({one.address for one in tried if one.wall == "outside"})
        rest = sorted({one.address for one in tried} - set(first))
        lines = "".join(f"{address} {PORT}\n" if address else "\n" for address in [*first, "", *rest])
        options = (
            "--read-only",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges:true",
            "--user=65534:65534",
            "--memory=128m",
        )
        answers = docker.run(
            "run",
            "--rm",
            "--interactive",
            f"--network=container:{source}",
            *options,
            image,
            "bash",
            "-c",
            TRY,
            stdin=lines.encode(),
        )
        return list(openings(tried, answers, walled=walled))

    sources = [source for source, tried in planned.items() if tried and (parts is None or tried[0].source in parts)]
    if not sources:
        raise UserError("could not look: no container of the stack runs")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return clauses([opening for found in pool.map(from_one, sources) for opening in found])


def _host_addresses(docker: Docker, firewall: str) -> list[str]:
    """As the firewall sees them, which is on the host's network; none where it does not run, which is another finding."""
    try:
        return docker.run("exec", firewall, "hostname", "-I").split()
    except UserError:
        return []


def docker_rules_lost(docker: Docker, stack: Stack) -> bool:
    """Whether Docker's own rules between the stack's networks are gone, as the firewall sees it; False where it cannot tell."""
    bridges = [f"br-{network['Id'][:12]}" for network in inventory.network_documents(docker, stack.short)]
    see = "nft --stateless list ruleset && echo legacy: $(cat /proc/net/ip_tables_names 2> /dev/null)"
    try:
        seen = docker.run("exec", stack.prefix("firewall"), "sh", "-c", see)
    except UserError:
        return False
    return rules_lost(seen, bridges)


def rules_lost(seen: str, bridges: Sequence[str]) -> bool:
    """The same from a listing of all rules, which ends with the tables of iptables' older kind: those nft cannot list."""
    rules, _, legacy = seen.rpartition("legacy:")
    chain = re.search(r"chain DOCKER-ISOLATION-STAGE-1 \{(.*?)\n\t\}", rules, re.DOTALL)
    if chain is not None:
        return not all(bridge in chain[1] for bridge in bridges)
    # Docker 29 has other names, and tables of its own.
    others = re.sub(r"^table inet skyvern-\S+ \{.*?^\}", "", rules, flags=re.DOTALL | re.MULTILINE)
    return "docker" not in others.lower() and "filter" not in legacy.split()
