"""The Docker host's routes, and which of a stack's subnets they overlap (F15, F16)."""

import json
import os
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from components.settings import parse
from ops.clients.docker import Docker
from ops.clients.swarm import Swarm
from ops.errors import UserError
from ops.stack import routes
from ops.stack.routes import HostNetwork, Route
from ops.stack.stack import Stack

DEV = Stack("dev")
SETTINGS = parse({}, file="Pulumi.dev.yaml")
EDGE = IPv4Network("10.213.228.0/27")
# As iproute2 6.1 prints them: a default route, a smaller one of a VPN with its own table, one over two, the host's own address.
IP = [
    {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0", "flags": []},
    {"dst": "192.0.2.0/24", "dev": "eth0", "protocol": "kernel", "scope": "link", "prefsrc": "192.0.2.7", "flags": []},
    {"dst": "0.0.0.0/1", "dev": "tun0", "flags": []},
    {"dst": "10.213.229.7", "dev": "tailscale0", "table": "52", "flags": []},
    {"dst": "10.8.0.0/16", "nexthops": [{"dev": "eth1", "weight": 1}, {"dev": "eth2", "weight": 1}], "flags": []},
    {"dst": "172.30.0.0/16", "gateway": "192.0.2.1", "dev": "eth0", "metrics": [{"mtu": 1380}], "flags": []},
    {"type": "blackhole", "dst": "10.9.0.0/24", "flags": []},
    {"type": "local", "dst": "10.213.228.1", "dev": "br-000000000001", "table": "local", "flags": []},
]
# The same machine without that command: Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT.
PROC = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t1380\t0\t0
"""


def route(network: str, interface: str, mtu: int | None = None) -> Route:
    return Route(network=IPv4Network(network), interface=interface, mtu=mtu)


def test_routes_of_every_table() -> None:
    assert list(routes.parse(json.dumps(IP))) == [
        route("0.0.0.0/0", "eth0"),
        route("192.0.2.0/24", "eth0"),
        route("0.0.0.0/1", "tun0"),
        route("10.213.229.7/32", "tailscale0"),
        route("10.8.0.0/16", "eth1"),
        route("10.8.0.0/16", "eth2"),
        route("172.30.0.0/16", "eth0", 1380),
        route("10.9.0.0/24", "blackhole"),
    ]


def test_routes_without_the_command() -> None:
    assert list(routes.parse(PROC)) == [route("0.0.0.0/0", "eth0"), route("192.0.2.0/24", "eth0", 1380)]


def test_a_route_of_the_lan_or_a_vpn_is_found() -> None:
    """F15, F16: also one that is wider than the stack's networks, or narrower; a way to the internet is none."""
    wanted = routes.planned(DEV, SETTINGS)
    found = {
        network: HostNetwork(routes=[route(network, "eth1")]).overlaps(wanted)
        for network in (
            "10.0.0.0/8",
            "10.213.0.0/16",
            "10.213.228.64/26",
            "10.213.228.3/32",
            "0.0.0.0/0",
            "0.0.0.0/1",
            "10.214.0.0/16",
        )
    }
    assert [network for network, overlapped in found.items() if overlapped] == [
        "10.0.0.0/8",
        "10.213.0.0/16",
        "10.213.228.64/26",
        "10.213.228.3/32",
    ]


def test_only_networks_that_the_stack_has_count() -> None:
    """The tunnel's place is the second one."""
    tunnel = route("10.213.228.32/27", "eth1")
    assert HostNetwork(routes=[tunnel]).overlaps(routes.planned(DEV, SETTINGS)) == []
    ngrok = parse(
        {"edge": {"provider": "ngrok", "domain": "a.ngrok.app", "authtoken": "2" * 49}}, file="f", secret_keys=frozenset({"edge"})
    )
    assert HostNetwork(routes=[tunnel]).overlaps(routes.planned(DEV, ngrok)) == [tunnel]


def test_the_dashboards_network_counts_with_a_monitor() -> None:
    dashboard = route("10.213.229.96/27", "eth1")
    assert HostNetwork(routes=[dashboard]).overlaps(routes.planned(DEV, SETTINGS)) == []
    monitored = parse({"monitor": {"enabled": True}}, file="f")
    assert HostNetwork(routes=[dashboard]).overlaps(routes.planned(DEV, monitored)) == [dashboard]


def test_the_stack_does_not_collide_with_itself() -> None:
    """F15: after WSL moved its own network onto one of the stack's, though."""
    network = HostNetwork(
        routes=[route(str(EDGE), "br-000000000001"), route("10.213.224.0/20", "eth0"), route("172.17.0.0/16", "docker0")],
        names={"br-000000000001": "skyvern-dev-edge"},
        own={EDGE: "skyvern-dev-edge"},
    )
    assert [network.describe(one) for one in network.collisions()] == ["10.213.224.0/20 on eth0"]


def test_what_is_proposed_overlaps_nothing() -> None:
    taken = [route("10.0.0.0/8", "tun0"), route("172.16.0.0/12", "tun0"), route("192.168.0.0/16", "tun0")]
    assert HostNetwork(routes=[]).proposal(DEV) == "10.213.0.0/16"
    assert HostNetwork(routes=taken[:1]).proposal(DEV) == "172.29.0.0/16"
    proposal = HostNetwork(routes=taken).proposal(DEV)
    parse({"host": {"networks": proposal}}, file="f")
    assert not HostNetwork(routes=taken).overlaps([IPv4Network(proposal)])
    everything = [*taken, route("100.64.0.0/10", "tun0"), route("198.18.0.0/15", "tun0")]
    assert HostNetwork(routes=everything).proposal(DEV) == "a private range that no route of the host has"


@pytest.mark.parametrize("proposal", routes._PROPOSALS)
def test_every_proposal_is_a_setting(proposal: str) -> None:
    assert parse({"host": {"networks": proposal}}, file="f").host.networks == proposal


def test_the_mtu_is_that_of_the_way_to_the_internet() -> None:
    """F17: the route's own counts, and of two ways the smaller."""
    mtus = {"eth0": 1500, "wg0": 1420, "lo": 65536}
    assert HostNetwork(routes=[route("0.0.0.0/0", "eth0"), route("10.0.0.0/8", "wg0")], mtus=mtus).mtu == (1500, "eth0")
    assert HostNetwork(routes=[route("0.0.0.0/0", "eth0", 1400)], mtus=mtus).mtu == (1400, "eth0")
    assert HostNetwork(routes=[route("0.0.0.0/0", "eth0"), route("0.0.0.0/0", "wg0")], mtus=mtus).mtu == (1420, "wg0")
    assert HostNetwork(routes=[route("10.0.0.0/8", "wg0")], mtus=mtus).mtu is None


@dataclass(frozen=True)
class DockerDouble(Docker):
    """A daemon with one network of the stack; keeps what was asked."""

    host: str = "unix:///nowhere"
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def run(self, *arguments: str | Path, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
        words = tuple(str(argument) for argument in arguments)
        self.asked.append(words)
        if words[0] == "run":
            return PROC + "--\neth0 1450\nlo 65536\n"
        if words[:2] == ("network", "inspect"):
            document: dict[str, Any] = {"Name": "skyvern-dev-edge", "IPAM": {"Config": [{"Subnet": str(EDGE)}]}}
            return json.dumps([document])
        if words[:2] == ("network", "ls"):
            return f"{'1' * 64} skyvern-dev-edge\n"
        raise UserError(f"unexpected {words}")


def test_this_machine_is_asked_without_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ip = tmp_path / "ip"
    ip.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(IP)}\nEND\n")
    ip.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    docker = DockerDouble()
    network = routes.observe(docker, DEV, "localhost/skyvern/egress:1")
    assert network is not None
    assert network.routes[0] == route("0.0.0.0/0", "eth0")
    assert network.mtus["lo"] == 65536
    assert network.own == {EDGE: "skyvern-dev-edge"}
    assert network.names == {"br-111111111111": "skyvern-dev-edge"}
    assert not [words for words in docker.asked if words[0] == "run"]


def test_another_machine_is_asked_in_a_container() -> None:
    over_ssh = DockerDouble(host="ssh://deploy@host.example.com")
    network = routes.observe(over_ssh, DEV, "localhost/skyvern/egress:1")
    assert network is not None
    assert network.mtu == (1450, "eth0")
    (command,) = [words for words in over_ssh.asked if words[0] == "run"]
    assert {"--rm", "--pull=never", "--network=host", "--read-only", "--cap-drop=ALL", "--user=65534"} <= set(command)


class Manager(Swarm):
    """A manager's daemon: it has the overlay networks of two stacks and the Swarm's own, and no bridge but docker0."""

    def run(self, *arguments: str | Path, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
        words = tuple(map(str, arguments))
        if words[0] == "run":
            return PROC + "--\neth0 1450\n"
        overlays = {"1" * 25: ("skyvern-dev-edge", EDGE), "2" * 25: ("skyvern-shop-edge", "10.213.228.64/27")}
        overlays["3" * 25] = ("ingress", "10.212.0.0/24")
        ours = [identifier for identifier, (name, _) in overlays.items() if "skyvern-dev" in name]
        if words[:2] == ("network", "inspect"):
            documents = [(identifier, *overlays[identifier]) for identifier in words[2:]]
            return json.dumps(
                [{"Id": one, "Name": name, "IPAM": {"Config": [{"Subnet": str(net)}]}} for one, name, net in documents]
            )
        if words[:2] != ("network", "ls"):
            raise UserError(f"unexpected {words}")
        if "label=skyvern.stack=dev" in words:
            return "".join(f"{one} {overlays[one][0]}\n" for one in ours)
        if "driver=overlay" in words:
            return "\n".join(overlays)
        return "".join(f"{one} {name}\n" for one, (name, _) in overlays.items()) + f"{'4' * 64} bridge\n"


def test_overlay_networks_of_other_stacks_are_in_the_way() -> None:
    """No route of a machine leads to them, and tasks of a second one with the same addresses would wait without a reason."""
    network = routes.observe(Manager("ssh://deploy@a.example.net"), DEV, "localhost/skyvern/egress:1")
    assert network is not None
    wanted = [subnet for subnet in routes.planned(DEV, SETTINGS) if subnet not in network.own]
    (found,) = network.overlaps(wanted)
    assert network.describe(found) == f"10.213.228.64/27 on overlay {'2' * 12} (Docker's network skyvern-shop-edge)"
    assert network.overlaps([IPv4Network("10.212.0.0/16")])
    # It does not collide with itself.
    assert network.own == {EDGE: "skyvern-dev-edge"}
    assert network.collisions() == []
    assert network.proposal(DEV) == "10.87.0.0/16"


@pytest.mark.parametrize("printed", ["[{]\n", '[{"dst": "ten"}]\n', "Iface\neth0 x\n", "[{}]\n"])
def test_a_listing_of_another_form_is_no_finding(printed: str) -> None:
    class Strange(DockerDouble):
        def run(self, *arguments: str | Path, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
            return printed if arguments[0] == "run" else super().run(*arguments)

    assert routes.observe(Strange(host="ssh://deploy@host.example.com"), DEV, "localhost/skyvern/egress:1") is None


def test_a_daemon_that_stops_answering_is_no_finding() -> None:
    class Silent(DockerDouble):
        def run(self, *arguments: str | Path, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
            raise UserError("docker: no answer within 120 s")

    assert routes.observe(Silent(), DEV, "localhost/skyvern/egress:1") is None
