"""The trials of script/up before it changes anything, with doubles for Docker."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from components.settings import parse
from ops.clients.docker import Docker
from ops.clients.swarm import Machine, Swarm
from ops.deploy import preflight
from ops.errors import UserError
from ops.machine import windows
from ops.stack import routes
from ops.stack.routes import HostNetwork, Route
from ops.stack.stack import Stack

OLLAMA = {"provider": "ollama", "model": "llava:7b", "gpu": True}
CHROME = {"type": "cdp-connect", "url": "http://10.222.222.1:9222/"}


@dataclass(frozen=True)
class DockerDouble(Docker):
    """A daemon with the given runtimes, on a host that lets a sandbox be made or not; keeps what was asked."""

    host: str = "unix:///nowhere"
    runtimes: str = '{"runc":{"path":"runc"}}'
    forbids: bool = False
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def run(self, *arguments: str | Path, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
        self.asked.append(tuple(str(argument) for argument in arguments))
        if arguments[0] == "run" and self.forbids:
            raise UserError("docker: exit 1: skyvern-start: sandbox: FAILED after 0.0 s: RuntimeError: the host does not let")
        return self.runtimes if arguments[0] == "info" else ""


def check(docker: DockerDouble, **sections: Any) -> list[str]:
    said: list[str] = []
    preflight.check(docker, parse({"host": {"firewall": False}, **sections}, file="f"), said.append)
    return said


def test_the_firewall_is_tried_without_putting_it_in_force() -> None:
    docker = DockerDouble()
    assert check(docker, browser={"sandbox": False}, host={"firewall": True}) == ["the kernel takes the stack's firewall"]
    ((*options, _, program, trial, file, source),) = docker.asked
    assert {"--network=host", "--cap-drop=ALL", "--cap-add=NET_ADMIN", "--read-only"} <= set(options)
    assert (program, trial, file, source) == ("nft", "--check", "--file", "-")


def test_a_host_without_nf_tables_is_one_line_that_names_the_setting() -> None:
    with pytest.raises(
        UserError, match=r"^nothing was changed: .* firewall: docker: .*; write host\.firewall: false into"
    ) as told:
        check(DockerDouble(forbids=True), host={"firewall": True})
    assert "\n" not in str(told.value)


def test_the_sandbox_is_tried_as_the_server_would_have_it() -> None:
    docker = DockerDouble()
    assert check(docker) == ["Chromium can make its sandbox"]
    ((*options, image, program, step),) = docker.asked
    assert {"--rm", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges:true"} <= set(options)
    (profile,) = (option.partition("seccomp=")[2] for option in options if "seccomp=" in option)
    assert Path(profile).is_file()
    assert (image.split(":")[0], program, step) == ("localhost/skyvern/server", "skyvern-start", "sandbox")


def test_a_host_that_forbids_it_is_one_line_before_any_change() -> None:
    with pytest.raises(UserError, match=r"^nothing was changed: docker: .*sandbox: FAILED") as told:
        check(DockerDouble(forbids=True))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("browser", [{"sandbox": False}, CHROME])
def test_it_is_not_tried_where_none_is_wanted(browser: dict[str, Any]) -> None:
    docker = DockerDouble(forbids=True)
    assert check(docker, browser=browser) == []
    assert docker.asked == []


def test_a_gpu_needs_its_runtime() -> None:
    with pytest.raises(UserError, match=r"no NVIDIA runtime; install .*, or write llm\.gpu: false into the stack file"):
        check(DockerDouble(), browser=CHROME, llm=OLLAMA)
    there = DockerDouble(runtimes='{"nvidia":{"path":"nvidia-container-runtime"},"runc":{"path":"runc"}}')
    assert check(there, browser=CHROME, llm=OLLAMA) == ["Docker has an NVIDIA runtime"]
    assert check(DockerDouble(), browser=CHROME, llm={**OLLAMA, "gpu": False}) == []


DEV = Stack("dev")
SETTINGS = parse({}, file="Pulumi.dev.yaml")


def with_routes(monkeypatch: pytest.MonkeyPatch, *networks: str, own: Sequence[str] = ()) -> None:
    network = HostNetwork(
        routes=[Route(network=IPv4Network(text), interface="tun0") for text in networks],
        own={IPv4Network(text): f"skyvern-dev-{text}" for text in own},
    )
    monkeypatch.setattr(routes, "observe", lambda docker, stack, image: network)


def test_a_route_of_the_host_is_found_before_the_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """F16: the route, its interface, and what to write instead."""
    with_routes(monkeypatch, "192.168.0.0/24", "10.213.0.0/16")
    with pytest.raises(UserError) as told:
        preflight.check_addresses(DEV, DockerDouble(), SETTINGS)
    assert str(told.value) == (
        "nothing was changed: Pulumi.dev.yaml: host.networks: 10.213.0.0/16 gives the stack 10.213.228.0/23, and the Docker host "
        "has a route for 10.213.0.0/16 on tun0; write 10.87.0.0/16"
    )


def test_networks_that_are_there_already_are_not_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A VPN that was switched on since: ops doctor says so, and an update that makes no network goes on."""
    there = [str(subnet) for subnet in routes.planned(DEV, SETTINGS)]
    with_routes(monkeypatch, "10.0.0.0/8", own=there)
    preflight.check_addresses(DEV, DockerDouble(), SETTINGS)
    with_routes(monkeypatch, "10.0.0.0/8", own=there[1:])
    with pytest.raises(UserError, match=r"10\.0\.0\.0/8 on tun0; write 172\.29\.0\.0/16$"):
        preflight.check_addresses(DEV, DockerDouble(), SETTINGS)


def test_old_networks_of_the_stack_that_new_ones_would_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker would refuse half-way: each network is replaced by itself, and the old ones are still there."""
    with_routes(monkeypatch, "10.213.228.0/24", own=["10.213.228.0/24"])
    with pytest.raises(UserError, match=r"10\.213\.228\.0/24 on tun0"):
        preflight.check_addresses(DEV, DockerDouble(), SETTINGS)


def test_each_machine_of_a_swarm_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the manager as what it is: it knows the networks of other stacks."""
    asked: list[Docker] = []
    monkeypatch.setattr(routes, "observe", lambda docker, stack, image: asked.append(docker))
    swarm = Swarm("ssh://a@b", tuple(Machine(host=host, id=host) for host in ("ssh://a@a", "ssh://a@b", "ssh://a@c")))
    preflight.check_addresses(DEV, swarm, SETTINGS)
    assert asked == [swarm, Docker("ssh://a@a"), Docker("ssh://a@c")]


def test_a_host_that_cannot_be_looked_at_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "observe", lambda docker, stack, image: None)
    preflight.check_addresses(DEV, DockerDouble(), SETTINGS)


@pytest.mark.parametrize(
    ("free", "sections", "refused"),
    [
        (True, {}, "host.port: in Windows, System (PID 4) listens on 8080"),
        # Not free here: it is the gateway's.
        (False, {}, ""),
        (True, {"host": {"port": 8090}}, ""),
        (True, {"host": {"port": 8090}, "browser": {**CHROME, "proxy_port": 8080}}, "browser.proxy_port: in Windows, System"),
    ],
)
def test_a_port_that_windows_has(free: bool, sections: dict[str, Any], refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """F14: free in WSL and taken in Windows; the proxy's as well, which is for a Chrome there."""
    monkeypatch.setattr(preflight, "port_free", lambda port: free)
    monkeypatch.setattr(windows, "listeners", lambda port: ["System (PID 4)"] if port == 8080 else [])
    settings = parse(sections, file="Pulumi.dev.yaml")
    if not refused:
        preflight.check_ports(DEV, settings)
        return
    with pytest.raises(UserError) as told:
        preflight.check_ports(DEV, settings)
    assert str(told.value).startswith(f"nothing was changed: Pulumi.dev.yaml: {refused}")


def test_a_mistake_in_an_automation_is_found_before_anything_is_made(tmp_path: Path) -> None:
    settings = parse({"automations": {"files": ["daily"]}}, file="Pulumi.dev.yaml")
    with pytest.raises(UserError, match=r"^automations/daily.yaml: does not exist; write it"):
        preflight.check_automations(Stack("dev", root=tmp_path), settings)
    preflight.check_automations(Stack("dev", root=tmp_path), parse({}, file="Pulumi.dev.yaml"))
