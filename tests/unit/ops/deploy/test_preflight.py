"""The trials of script/up before it changes anything, with doubles for Docker."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from components.settings import parse
from ops.clients.docker import Docker
from ops.deploy import preflight
from ops.errors import UserError

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
