"""The subnets of a stack's networks (F16): small, out of one range, apart from other stacks', by the stack file alone."""

from ipaddress import IPv4Network
from typing import Any

import pytest

from components.host import network
from components.settings import Settings, parse
from tests.support import program

NETWORK = "docker:index/network:Network"
OLLAMA = {"provider": "ollama", "model": "llava:7b", "memory_mib": 1024}


def planned(**host: Any) -> dict[str, dict[str, Any]]:
    settings = Settings.model_validate({"host": host, "llm": OLLAMA})
    return {one.inputs["name"]: one.inputs for one in program.run(settings).of_type(NETWORK)}


@pytest.fixture(scope="module")
def default() -> dict[str, dict[str, Any]]:
    return planned()


def test_every_network_has_its_own_small_subnet_and_its_gateway(default: dict[str, dict[str, Any]]) -> None:
    """F16: Docker would take a /16 or a /20 for each, wherever it likes."""
    subnets = []
    for inputs in default.values():
        (config,) = inputs["ipamConfigs"]
        subnet = IPv4Network(config["subnet"])
        assert subnet.prefixlen == 27
        # Without it a second plan would find a difference: Docker writes the gateway that it chose into the network.
        assert config["gateway"] == str(subnet[1])
        subnets.append(subnet)
    assert len(default) == 9
    assert len(set(subnets)) == 9
    assert all(subnet.subnet_of(IPv4Network("10.213.228.0/23")) for subnet in subnets)


def test_every_part_has_a_place() -> None:
    assert len(set(network.PARTS)) == len(network.PARTS) <= 2**network.NETWORK_BITS


def test_stacks_of_one_host_are_apart() -> None:
    """F16: without a word in their stack files."""
    blocks = {
        stack: network.block("10.213.0.0/16", f"skyvern-{stack}") for stack in ("dev", "prod", "rehearsal", "bench", "staging")
    }
    assert len(set(blocks.values())) == len(blocks)
    assert all(block.prefixlen == 23 for block in blocks.values())
    # Another block replaces the networks of every stack that exists.
    assert (str(blocks["dev"]), str(blocks["prod"])) == ("10.213.228.0/23", "10.213.90.0/23")


@pytest.mark.parametrize(
    ("networks", "block", "first"),
    [
        ("172.29.0.0/16", "172.29.228.0/23", "172.29.228.0/27"),
        ("192.168.208.0/20", "192.168.212.0/23", "192.168.212.0/27"),
        ("192.168.212.0/23", "192.168.212.0/23", "192.168.212.0/27"),
        ("192.168.77.0/24", "192.168.77.0/24", "192.168.77.0/28"),
    ],
)
def test_a_range_of_the_stack_file(networks: str, block: str, first: str) -> None:
    assert str(network.block(networks, "skyvern-dev")) == block
    subnets = network.subnets(networks, "skyvern-dev")
    assert (str(subnets["edge"]), len(set(subnets.values()))) == (first, len(network.PARTS))


def test_docker_decides_the_mtu_unless_the_stack_file_does(default: dict[str, dict[str, Any]]) -> None:
    """F17: nothing is planned for a stack whose file does not say it."""
    option = "com.docker.network.driver.mtu"
    assert not any(option in (inputs.get("options") or {}) for inputs in default.values())
    small = planned(mtu=1400)
    assert {(inputs.get("options") or {}).get(option) for inputs in small.values()} == {"1400"}
    assert small["skyvern-dev-edge"]["options"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("10.213.0.0", "has /32"),
        ("10.213.1.0/16", "is not an IPv4 range"),
        ("fd00::/64", "is not an IPv4 range"),
        ("10.0.0.0/8", "has /8"),
        ("10.213.0.0/25", "has /25"),
        ("8.8.0.0/16", "is not a private range"),
        ("127.1.0.0/16", "is not a private range"),
        ("169.254.0.0/16", "is not a private range"),
        ("224.1.0.0/16", "is not a private range"),
        ("0.0.0.0/16", "is not a private range"),
        ("250.0.0.0/16", "is not a private range"),
    ],
)
def test_a_range_that_cannot_be(value: str, problem: str) -> None:
    with pytest.raises(Exception, match=rf'^Pulumi\.dev\.yaml: host\.networks: "{value}" {problem}.*; write ') as told:
        parse({"host": {"networks": value}}, file="Pulumi.dev.yaml")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("entry", ["https://example.com", "example.com/path", "localhost", "10.0.0.1:443", "", "exämple.com"])
def test_a_host_to_ask_is_a_bare_name(entry: str) -> None:
    with pytest.raises(Exception, match=r"host\.internet_hosts: .* is not a host name; write it bare"):
        parse({"host": {"internet_hosts": [entry]}}, file="Pulumi.dev.yaml")


def test_an_address_is_not_a_host_to_ask() -> None:
    """Its certificate would have to name it; hardly any does."""
    with pytest.raises(Exception, match=r"is not a host name"):
        parse({"host": {"internet_hosts": ["192.0.2.1"]}}, file="Pulumi.dev.yaml")
