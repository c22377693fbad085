"""ops.machine.system: what the machine is, which versions are read, and which addresses answer."""

import subprocess
import threading
import time

import httpx
import pytest

from ops.errors import UserError
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
        monkeypatch.setattr(httpx.Client, "head", lambda *_, status=status, **__: httpx.Response(status))
        assert system.answers("https://example.invalid/") is accepted


def test_a_host_that_keeps_quiet_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    given_up, answers = threading.Event(), []

    def keep_quiet(*_: object, **__: object) -> httpx.Response:
        answers.append(given_up.wait(20))
        return httpx.Response(200)

    monkeypatch.setattr(httpx.Client, "head", keep_quiet)
    assert system.answers("https://example.invalid/", timeout_seconds=-1.5) is False
    # It is waited for no longer, though it is still there.
    assert answers == []
    given_up.set()


# --- apt -----------------------------------------------------------------------------------------------------------------

LOCKED = {
    "dpkg": "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)",
    "lists": "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 812 (apt-get)\\nE: Unable to lock directory x",
    "administration": "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?",
}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were slept; the time is their sum."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(time, "monotonic", lambda: sum(slept))
    return slept


@pytest.mark.parametrize("message", LOCKED.values(), ids=LOCKED)
def test_apt_is_waited_for_while_another_program_holds_its_locks(home: Home, clock: list[float], message: str) -> None:
    """F22: on a fresh server, apt's first update of its own holds the locks for minutes; this gave up after 14 ms."""
    home.program("apt-get", f'[[ $(wc -l < {home.path}/apt-get.log) -gt 30 ]] || {{ echo -e "{message}" >&2; exit 100; }}')
    (home.bin / "wc").symlink_to("/usr/bin/wc")
    system.apt_install(["docker.io"], home.say)
    assert sum(clock) == 150
    assert [call.split()[0] for call in home.calls("apt-get")] == ["update"] * 31 + ["install"]
    waiting = [line for line in home.lines if "another program is using apt" in line]
    # Once a minute.
    assert len(waiting) == 3


def test_apt_is_not_waited_for_without_an_end(home: Home, clock: list[float]) -> None:
    home.program("apt-get", f"echo '{LOCKED['dpkg']}' >&2; exit 100")
    with pytest.raises(UserError, match=r"^apt: another program holds its locks for more than 10 min; wait until"):
        system.apt_install(["docker.io"], home.say)
    assert system.APT_LOCK_SECONDS <= sum(clock) <= system.APT_LOCK_SECONDS + 10


def test_any_other_error_of_apt_is_told_at_once(home: Home, clock: list[float]) -> None:
    home.program("apt-get", "echo 'E: Unable to locate package docker.io' >&2; exit 100")
    with pytest.raises(UserError, match="Unable to locate package"):
        system.apt_install(["docker.io"], home.say)
    assert clock == []


@pytest.mark.parametrize("message", LOCKED.values(), ids=LOCKED)
def test_the_scripts_wait_too(home: Home, message: str) -> None:
    """F22, before there is a Python."""
    home.program("apt-get", f'[[ -e {home.path}/free ]] || {{ touch {home.path}/free; echo -e "{message}" >&2; exit 100; }}')
    (home.bin / "tail").symlink_to("/usr/bin/tail")
    script = f'root={ROOT}; . {ROOT}/script/environment; sleep() {{ echo "slept $1"; }}; apt_get update -qq'
    done = subprocess.run(["/bin/bash", "-euc", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "another program is using apt (a fresh server updates itself); waiting up to 10 min",
        "slept 5",
    ]
    home.program("apt-get", "echo 'E: Unable to locate package x' >&2; exit 100")
    done = subprocess.run(["/bin/bash", "-euc", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("E: Unable to locate package x\n")
