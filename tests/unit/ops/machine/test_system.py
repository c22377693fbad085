"""ops.machine.system: what the machine is, which versions are read, and which addresses answer."""

import threading

import httpx
import pytest

from ops.machine import system
from ops.paths import ROOT
from tests.support.home import Home


@pytest.mark.parametrize(
    ("release", "kernel", "debian", "wsl"),
    [
        ("ID=debian\nVERSION_ID=12\n", "Linux version 6.1", True, 0),
        ("ID=ubuntu\nID_LIKE=debian\n", "Linux version 5.15.167.4-microsoft-standard-WSL2 (root@build) #1", True, 2),
        ("ID=ubuntu\nID_LIKE=debian\n", "Linux version 4.4.0-19041-Microsoft (Microsoft@Microsoft.com) #1237", True, 1),
        ('ID="linuxmint"\nID_LIKE="ubuntu debian"\n', "Linux version 6.1", True, 0),
        ('ID="fedora"\n', "Linux version 6.1", False, 0),
    ],
)
def test_the_machine_is_recognised(
    home: Home, monkeypatch: pytest.MonkeyPatch, release: str, kernel: str, debian: bool, wsl: int
) -> None:
    for name, text in (("OS_RELEASE", release), ("PROC_VERSION", kernel)):
        file = home.path / name
        file.write_text(text)
        monkeypatch.setattr(system, name, file)
    home.program("apt-get", "true")
    seen = system.observe_machine()
    assert (seen.debian, seen.wsl) == (debian, wsl)


@pytest.mark.parametrize(
    ("text", "version"),
    [("v3.256.0\n", (3, 256, 0)), ("3.225.1-dev.0", (3, 225, 1)), ("warning: new version", None), ("", None)],
)
def test_versions(text: str, version: system.Version | None) -> None:
    assert system.parse_version(text) == version


def test_the_script_and_the_installation_mean_the_same_keyring() -> None:
    assert f"keyring={system.DEBIAN_KEYRING}\n" in (ROOT / "images" / "debian" / "rootfs.sh").read_text()


def test_a_proxy_that_answers_for_a_blocked_host_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for status, accepted in ((200, True), (403, False), (407, False)):
        monkeypatch.setattr(httpx, "head", lambda *_, status=status, **__: httpx.Response(status))
        assert system.answers("https://example.invalid/") is accepted


def test_a_host_that_keeps_quiet_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    given_up, answers = threading.Event(), []

    def keep_quiet(*_: object, **__: object) -> httpx.Response:
        answers.append(given_up.wait(20))
        return httpx.Response(200)

    monkeypatch.setattr(httpx, "head", keep_quiet)
    assert system.answers("https://example.invalid/", timeout_seconds=-1.5) is False
    # It is waited for no longer, though it is still there.
    assert answers == []
    given_up.set()
