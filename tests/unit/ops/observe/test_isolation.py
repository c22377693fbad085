"""Forbidden connections: which are tried from where, and what their answers mean, with doubles for Docker."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.clients.docker import Docker
from ops.errors import UserError
from ops.observe import isolation
from ops.observe.smoke import isolation_checks
from ops.stack.stack import Stack
from tests.support.smoke import fails, site

# Labels and names of containers have the short name.
STACK = Stack("organization/skyvern/dev")
NETWORKS = {"outgoing": ("10.1.0", False), "app": ("10.1.1", True), "data": ("10.1.2", True)}


def network(name: str) -> dict[str, Any]:
    prefix, internal = NETWORKS[name]
    return {
        "Name": f"skyvern-dev-{name}",
        "Id": f"{name:0<64}",
        "Internal": internal,
        "IPAM": {"Config": [{"Gateway": f"{prefix}.1"}]},
    }


def container(part: str, number: int, *names: str, running: bool = True) -> dict[str, Any]:
    addresses = {f"skyvern-dev-{name}": {"IPAddress": f"{NETWORKS[name][0]}.{number}"} for name in names}
    return {
        "Id": f"id-{part}",
        "Name": f"/skyvern-dev-{part}",
        "Image": "sha256:egress",
        "Config": {"Labels": {"skyvern.part": part}},
        "State": {"Running": running},
        "NetworkSettings": {"Networks": addresses or {"host": {"IPAddress": ""}}},
    }


CONTAINERS = [
    container("egress", 2, "outgoing"),
    container("firewall", 0),
    container("gateway", 3, "app"),
    container("postgres", 4, "data"),
    container("server", 5, "outgoing", "app", "data"),
]


@dataclass(frozen=True)
class DockerDouble(Docker):
    """A daemon on which what is in ``open`` answers, what is in ``silent`` does not, and everything else is refused."""

    host: str = "unix:///nowhere"
    containers: list[dict[str, Any]] = field(default_factory=lambda: CONTAINERS)
    open: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    broken: bool = False
    rules: str | None = None
    tried: dict[str, list[str]] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)

    def run(self, *arguments: str | Path, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
        words = [str(argument) for argument in arguments]
        assert words[1] != "ls" or "label=skyvern.stack=dev" in words
        match words[0]:
            case "container" if words[1] == "ls":
                return "\n".join(f"{container['Id']} {container['Name'][1:]}" for container in self.containers)
            case "network" if words[1] == "ls":
                return "\n".join(f"{network(name)['Id']} {network(name)['Name']}" for name in NETWORKS)
            case "network":
                return json.dumps([network(name) for name in NETWORKS])
            case "container":
                return json.dumps(self.containers)
            case "exec" if "hostname" in words:
                return "192.168.7.2 10.1.0.1 fd00::1 \n"
            case "exec":
                assert words[1] == "skyvern-dev-firewall"
                if self.rules is None:
                    raise UserError("docker: exit 1: Error: No such file or directory")
                return self.rules
        if self.broken:
            raise UserError("docker: exit 125: no such container")
        (source,) = (word.removeprefix("--network=container:") for word in words if word.startswith("--network="))
        self.images.add(words[words.index("bash") - 1])
        addresses = [line.split()[0] for line in (stdin or b"").decode().splitlines() if line]
        self.tried[source] = addresses
        results = {
            address: "open" if address in self.open else "silent" if address in self.silent else "refused"
            for address in addresses
        }
        return "".join(f"{address} {result}\n" for address, result in results.items())


def test_everything_that_shares_no_network_is_tried_and_the_host_and_private_addresses() -> None:
    docker = DockerDouble()
    assert isolation.probe(docker, STACK, walled=True) == []
    host = {"10.1.0.1", "10.1.1.1", "10.1.2.1", "192.168.7.2"}
    outside = set(isolation.OUTSIDE)
    assert {source: set(addresses) for source, addresses in docker.tried.items()} == {
        "id-egress": {"10.1.1.3", "10.1.2.4", "10.1.1.5", "10.1.2.5"} | host | outside,
        "id-gateway": {"10.1.0.2", "10.1.2.4", "10.1.0.5", "10.1.2.5"} | host,
        "id-postgres": {"10.1.0.2", "10.1.1.3", "10.1.0.5", "10.1.1.5"} | host,
        "id-server": host | outside,
    }


def test_the_missing_wall_is_named_in_one_line() -> None:
    docker = DockerDouble(open=frozenset({"10.1.2.4", "10.1.0.2", "10.1.1.1", "169.254.169.254"}))
    clauses = isolation.probe(docker, STACK, walled=True, parts={"gateway", "server"})
    assert clauses == [
        "gateway reaches egress, postgres: no wall between the stack's networks",
        "gateway reaches the host (10.1.1.1): no wall before the host",
        "server reaches the host (10.1.1.1): no wall before the host",
        "server reaches 169.254.169.254: no wall before private addresses",
    ]


def test_silence_is_a_wall_of_docker_but_none_before_private_addresses() -> None:
    """An address without a host does not answer: only a refusal shows that there is a barrier."""
    everything = frozenset({*isolation.OUTSIDE, "10.1.2.4", "10.1.1.1"})
    clauses = isolation.probe(DockerDouble(silent=everything), STACK, walled=True, parts={"server", "gateway"})
    assert clauses == ["server is not refused at 10.255.255.254, 169.254.169.254: no wall before private addresses"]


def test_without_a_firewall_only_dockers_own_walls_are_tried() -> None:
    without = [document for document in CONTAINERS if document["Id"] != "id-firewall"]
    docker = DockerDouble(containers=without, silent=frozenset({"10.1.2.4"}))
    assert isolation.probe(docker, STACK, walled=False) == []
    assert set(docker.tried) == {"id-egress", "id-gateway", "id-postgres"}
    # A firewall that should exist and does not leaves nothing untried.
    assert isolation.probe(DockerDouble(containers=without, open=frozenset({"10.1.0.1"})), STACK, walled=True) != []


def test_on_one_daemon_the_image_is_named_by_the_id_of_a_container_that_runs() -> None:
    """Its name may be gone there, and a firewall that has ended may be of an image of before."""
    ended = {**container("firewall", 0, running=False), "Image": "sha256:before"}
    docker = DockerDouble(containers=[*(one for one in CONTAINERS if one["Id"] != "id-firewall"), ended])
    isolation.probe(docker, STACK, walled=True)
    assert docker.images == {"sha256:egress"}


@pytest.mark.parametrize(
    "docker",
    [
        DockerDouble(broken=True),
        DockerDouble(containers=[document for document in CONTAINERS if document["Id"] not in {"id-egress", "id-firewall"}]),
        DockerDouble(containers=[container("egress", 2, "outgoing", running=False)]),
    ],
)
def test_what_could_not_be_probed_is_never_green(docker: DockerDouble) -> None:
    with pytest.raises(UserError):
        isolation.probe(docker, STACK, walled=True)


def test_a_probe_that_ends_early_is_an_error() -> None:
    attempt = isolation.Attempt(source="server", target="postgres", address="10.1.2.4", wall="networks")
    with pytest.raises(UserError, match=r"could not probe from server: no result for 10\.1\.2\.4"):
        list(isolation.openings([attempt], "", walled=True))


def test_smoke_probes_the_stack_of_the_gateways_label(monkeypatch: pytest.MonkeyPatch) -> None:
    docker = DockerDouble(open=frozenset({"10.1.2.4"}))
    target = site(lambda request: httpx.Response(200))
    target.docker = docker
    monkeypatch.setattr(DockerDouble, "inspect", lambda self, name: {"Config": {"Labels": {"skyvern.stack": "dev"}}})
    assert fails(isolation_checks.check_isolation, target) == (
        "egress reaches postgres: no wall between the stack's networks; "
        "gateway reaches postgres: no wall between the stack's networks"
    )
    assert docker.tried.keys() == {"id-egress", "id-gateway", "id-postgres"}


def isolated(*bridges: str) -> str:
    """As nft lists what Docker 20 to 28 have."""
    lines = "".join(f'\t\tiifname "{bridge}" oifname != "{bridge}" counter jump DOCKER-ISOLATION-STAGE-2\n' for bridge in bridges)
    return f"table ip filter {{\n\tchain DOCKER-ISOLATION-STAGE-1 {{\n{lines}\t\tcounter return\n\t}}\n}}\n"


BRIDGES = [f"br-{name:0<12}" for name in NETWORKS]
OWN = f'table inet skyvern-dev {{\n\tchain forward {{\n\t\tiifname "{BRIDGES[0]}" accept comment "docker"\n\t}}\n}}\n'


@pytest.mark.parametrize(
    ("rules", "lost"),
    [
        (OWN + isolated(*BRIDGES), False),
        # As another daemon in the same network namespace leaves them when it starts.
        (OWN + isolated(), True),
        (OWN + isolated(BRIDGES[0]), True),
        # Everything flushed, or iptables' older kind, which nft does not list.
        (OWN, True),
        (OWN + "legacy: filter nat", False),
        (OWN + "table ip docker-bridges {\n}\n", False),
    ],
)
def test_dockers_own_rules(rules: str, lost: bool) -> None:
    listing = rules if "legacy:" in rules else f"{rules}legacy:"
    assert isolation.docker_rules_lost(DockerDouble(rules=listing), STACK) is lost


def test_without_the_firewall_dockers_rules_are_unknown() -> None:
    assert not isolation.docker_rules_lost(DockerDouble(), STACK)
