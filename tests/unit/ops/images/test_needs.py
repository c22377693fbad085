"""ops.images.needs: which images a stack needs, which of them its daemon lacks, and the tools for building those."""

import platform
import shutil

import pytest

from components.host import images
from components.settings import HostSettings, Settings
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.images import build, needs
from ops.machine import go, system
from tests.support.home import SERVER, USER, Home


def test_official_pulls_postgres_and_builds_the_rest_on_public_bases(home: Home) -> None:
    home.program("docker", "")
    docker = Docker("unix:///nowhere.sock")
    assert needs.outstanding(docker, "official") == ["postgres", "egress", "artifacts", "caddy", "gateway", "server"]
    assert set(needs.outstanding(docker, "packages")) == set(images.BASES) - {"backup", "monitor", "ollama", "llm"}


def test_ollama_is_built_for_stacks_that_use_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.program("docker", "")
    docker = Docker("unix:///nowhere.sock")
    with_it = Settings.model_validate({"llm": {"provider": "ollama", "model": "llava:7b"}})
    assert needs.asked_for(Settings()) == frozenset()
    assert "llm" not in needs.parts("packages")
    optional = needs.asked_for(with_it)
    assert list(needs.running_images(with_it)) == needs.parts("official", optional)
    assert "llm" not in needs.running_images(Settings())
    # The builder pulls the public image by itself.
    assert needs.outstanding(docker, "official", optional)[-1] == "llm"
    assert "ollama" not in needs.outstanding(docker, "official", optional)
    assert needs.outstanding(docker, "packages", optional)[-2:] == ["ollama", "llm"]
    lines: list[str] = []
    monkeypatch.setattr(build, "_build_image", lambda docker, image, *_: lines.append(image))
    monkeypatch.setattr(needs, "ensure_package_tools", lambda progress: None)
    build.build(docker, "packages", lambda line: None, optional, host=HostSettings())
    assert lines[-2:] == ["ollama", "llm"]


def test_a_base_is_not_built_when_nothing_needs_it(home: Home) -> None:
    # As after `docker image prune`: all is there but the bases.
    parts = "|".join(images.references("packages")[image] for image in needs.parts("packages"))
    home.program("docker", f'case "${{@: -1}}" in {parts}) echo sha256:1 ;; esac')
    assert needs.outstanding(Docker("unix:///nowhere.sock"), "packages") == []


@pytest.mark.parametrize(
    ("edge", "asked"),
    [
        ({"provider": "none"}, frozenset()),
        ({"provider": "cloudflare", "domain": "example.com", "api_token": "t" * 40}, {"cloudflared"}),
        ({"provider": "ngrok", "domain": "x.ngrok.app", "authtoken": "t" * 40}, {"ngrok"}),
        # One of the person's own is not ours to fetch.
        (
            {"provider": "ngrok", "domain": "x.ngrok.app", "authtoken": "t" * 40, "connector_image": "localhost/mine/ngrok:1"},
            frozenset(),
        ),
    ],
)
def test_a_connector_is_fetched_for_its_edge_only(edge: dict[str, str], asked: frozenset[str]) -> None:
    optional = needs.asked_for(Settings.model_validate({"edge": edge}))
    assert optional == asked
    assert set(needs.parts("official", optional)) & images.CONNECTORS == asked


def test_debootstrap_is_installed_by_root_and_named_to_a_user(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go, "ensure_go", lambda _: home.bin)
    monkeypatch.setattr(shutil, "which", lambda name, **_: None)
    home.program("apt-get", "true")
    monkeypatch.setattr(system, "observe_machine", lambda: USER)
    with pytest.raises(UserError, match=r"^images: building Debian from packages .* needs root"):
        needs.ensure_package_tools(home.say)
    assert home.calls("apt-get") == []
    monkeypatch.setattr(system, "observe_machine", lambda: SERVER)
    # Ubuntu has debootstrap without Debian's keys, and then it would check no signature.
    monkeypatch.setattr(system, "DEBIAN_KEYRING", home.path / "keyring.gpg")
    needs.ensure_package_tools(home.say)
    assert home.calls("apt-get")[-1].endswith(" debootstrap gpgv debian-archive-keyring")
    monkeypatch.setattr(shutil, "which", lambda name, **_: name)
    needs.ensure_package_tools(home.say)
    assert home.calls("apt-get")[-1].endswith(" debian-archive-keyring")
    (home.path / "keyring.gpg").touch()
    calls = len(home.calls("apt-get"))
    needs.ensure_package_tools(home.say)
    assert len(home.calls("apt-get")) == calls


def docker_of(home: Home, architecture: str) -> Docker:
    """A daemon of an architecture, without images."""
    home.program("docker", f'case "$*" in *"version --format"*) echo {architecture} ;; esac')
    return Docker("ssh://deploy@other.example")


@pytest.mark.parametrize("architecture", ["arm", "riscv64", "s390x"])
def test_a_processor_without_chromium_is_refused_before_anything_is_built(home: Home, architecture: str) -> None:
    """F11: a build of minutes, and then a server whose runs all fail."""
    with pytest.raises(UserError) as refused:
        needs.prepare(docker_of(home, architecture), "official", home.say)
    assert str(refused.value) == (
        f"images: the Docker host ssh://deploy@other.example is {architecture}, and Skyvern's browser driver (Playwright) is "
        "made for amd64 and arm64 only; use a host with one of these"
    )


def test_both_processors_are_built_for(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """F11"""
    monkeypatch.setattr(go, "ensure_go", lambda _: home.bin)
    for architecture in ("amd64", "arm64"):
        assert "server" in needs.prepare(docker_of(home, architecture), "official", home.say)


def test_debian_from_packages_is_for_the_daemons_processor(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """F11: debootstrap makes the Debian of the machine on which it runs, which docker import then takes for the daemon's own."""
    monkeypatch.setattr(needs, "ensure_package_tools", lambda progress: None)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert "debian" in needs.prepare(docker_of(home, "amd64"), "packages", home.say)
    with pytest.raises(UserError, match=r"^images: Debian is made of packages on this machine \(amd64\), .* is arm64; run"):
        needs.prepare(docker_of(home, "arm64"), "packages", home.say)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert "debian" in needs.prepare(docker_of(home, "arm64"), "packages", home.say)
