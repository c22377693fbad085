"""A stack's networks get other subnets, behind the real engine: what is replaced, in which order, and what stays (F16).

The Docker daemon is a stand-in that refuses what the real one refuses: a name or a subnet that is taken, and a network in use.
"""

from pathlib import Path

import pytest

from ops.machine.engine_from_modules import Engine
from ops.paths import ROOT
from tests.engine.stack import CLOUDFLARE, Stack

pytestmark = pytest.mark.timeout(900)

# A connector's and Ollama's are there only with these.
EVERY_NETWORK = {"edge": CLOUDFLARE, "llm": {"provider": "ollama", "model": "llava:7b", "memory_mib": 1024}}
# As the program was before it named subnets, while there is such a file in its folder.
BEFORE = """\
import pathlib
import pulumi_docker

if pathlib.Path("before").exists():
    _init = pulumi_docker.Network.__init__
    pulumi_docker.Network.__init__ = lambda self, logical, *, ipam_configs, **inputs: _init(self, logical, **inputs)
"""


@pytest.fixture
def stack(engine: Engine, tmp_path: Path, home: Path) -> Stack:
    """The whole program."""
    return Stack(engine, tmp_path, home, BEFORE + (ROOT / "__main__.py").read_text())


def subnets(stack: Stack) -> set[str]:
    networks = stack.world.read()["networks"].values()
    return {config["subnet"] for network in networks for config in network["ipamConfigs"]}


def test_other_subnets_replace_networks_and_containers_and_keep_the_data(stack: Stack) -> None:
    (stack.project.folder / "before").touch()
    stack.write(**EVERY_NETWORK)
    stack.up()
    before = stack.world.read()
    assert all(subnet.startswith("10.9.") for subnet in subnets(stack))

    assert len(before["networks"]) == 10

    (stack.project.folder / "before").unlink()
    done = stack.up()
    after = stack.world.read()
    assert after["volumes"] == before["volumes"]
    for kind in ("networks", "containers"):
        assert {one["name"] for one in after[kind].values()} == {one["name"] for one in before[kind].values()}
    assert not set(after["networks"]) & set(before["networks"])
    assert all(subnet.startswith("10.213.") for subnet in subnets(stack))
    # Only containers without a network stay.
    stayed = {after["containers"][one]["name"] for one in set(after["containers"]) & set(before["containers"])}
    assert stayed == {"skyvern-test-retention", "skyvern-test-roles"}
    # Nothing is on a network when it goes, and no container runs without the firewall that knows its network.
    for name in ("skyvern-host-firewall-nft", "skyvern-host-networks-data", "skyvern-host-networks-edge"):
        assert done.index(f"delete {name}") < done.index(f"create {name}")
    assert done.index("delete skyvern-host-skyvern-server") < done.index("delete skyvern-host-networks-data")
    assert done.index("create skyvern-host-firewall-nft") < done.index("create skyvern-host-skyvern-server")
    stack.project.succeed("preview", "--expect-no-changes")
    assert stack.up() == []

    stack.write(**EVERY_NETWORK, host={"networks": "172.29.0.0/16", "mtu": 1400})
    stack.up()
    assert all(subnet.startswith("172.29.") for subnet in subnets(stack))
    assert stack.world.read()["volumes"] == before["volumes"]
    stack.project.succeed("preview", "--expect-no-changes")
