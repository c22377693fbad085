"""A daemon's configuration file: what is asked of which machine, and what is in the file afterwards."""

import json
import socket
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from components.host.skyvern import sandbox_profile
from ops.clients import process
from ops.errors import UserError
from ops.machine import daemon_config, system
from ops.machine.system import Machine

REMOTE = "ssh://deploy@b.example.net:2222"


def as_user(monkeypatch: pytest.MonkeyPatch, *, root: bool) -> None:
    monkeypatch.setattr(system, "observe_machine", lambda: Machine(root=root, debian=True, wsl=0, systemd=True))


@pytest.mark.parametrize(
    ("host", "here_root", "root", "line"),
    [
        ("unix:///x", False, False, ["cat", "/a b"]),
        ("unix:///x", False, True, ["sudo", "-n", "cat", "/a b"]),
        ("unix:///x", True, True, ["cat", "/a b"]),
        ("ssh://root@b", False, True, ["ssh", "-o", "BatchMode=yes", "root@b", "--", "cat '/a b'"]),
        (REMOTE, True, True, [*"ssh -o BatchMode=yes -p 2222 deploy@b.example.net --".split(), "sudo -n cat '/a b'"]),
    ],
)
def test_a_command_runs_where_the_daemon_is(
    monkeypatch: pytest.MonkeyPatch, host: str, here_root: bool, root: bool, line: list[str]
) -> None:
    as_user(monkeypatch, root=here_root)
    assert daemon_config.on_machine(host, "cat", "/a b", root=root) == line


def test_the_name_of_the_profile_says_what_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = daemon_config.profile_name()
    monkeypatch.setattr(daemon_config, "profile", lambda: "{}")
    assert daemon_config.profile_name() != before


def allows(call: str, *values: int) -> bool:
    """Whether the profile lets a system call with these arguments pass."""
    operations: dict[str, Callable[[int, int, int], bool]] = {
        "SCMP_CMP_EQ": lambda given, value, other: given == value,
        "SCMP_CMP_NE": lambda given, value, other: given != value,
        "SCMP_CMP_LT": lambda given, value, other: given < value,
        "SCMP_CMP_MASKED_EQ": lambda given, value, other: given & value == other,
    }
    return any(
        rule["action"] == "SCMP_ACT_ALLOW"
        and call in rule["names"]
        and all(operations[arg["op"]](values[arg["index"]], arg["value"], arg.get("valueTwo", 0)) for arg in rule.get("args", []))
        for rule in json.loads(daemon_config.profile())["syscalls"]
    )


def test_the_profile_of_a_daemon_fits_all_parts_of_a_stack() -> None:
    for rule in json.loads(sandbox_profile())["syscalls"]:
        assert rule in json.loads(daemon_config.profile())["syscalls"]
    # The namespaces of Chromium's sandbox: user, PID and network, and no other.
    assert allows("unshare", 0x10000000 | 0x20000000 | 0x40000000)
    assert not allows("unshare", 0x00020000)
    # The firewall's netlink; ping; no vsock.
    assert allows("socket", 16, 3, 12)
    assert allows("socket", 2, 3, 1)
    assert not allows("socket", 40, 1, 0)
    assert not [call for call in ("bpf", "clone3", "keyctl", "mount", "perf_event_open", "setns") if allows(call, 0, 0, 0)]


def test_a_file_keeps_what_else_it_says() -> None:
    content = {"data-root": "/mnt/docker", "seccomp-profile": "/old.json", "no-new-privileges": False}
    assert daemon_config.hardened(content, PurePosixPath("/etc/docker")) == {
        "data-root": "/mnt/docker",
        "no-new-privileges": True,
        "seccomp-profile": f"/etc/docker/{daemon_config.profile_name()}",
    }


def test_a_silent_daemon_reads_dockers_own_file(tmp_path: Path) -> None:
    assert daemon_config.file_of(f"unix://{tmp_path}/none.sock") == daemon_config.DEFAULT_FILE
    assert daemon_config.file_of(REMOTE) == daemon_config.DEFAULT_FILE


@pytest.mark.parametrize("words", [("--config-file=/x/daemon.json",), ("--config-file", "/x/daemon.json")])
def test_a_daemon_reads_the_file_that_it_was_started_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: Sequence[str]
) -> None:
    # The one that listens is this process.
    monkeypatch.setattr(Path, "read_text", lambda path, **options: "\0".join(["dockerd", "--debug", *words, ""]))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        assert daemon_config.file_of(f"unix://{tmp_path}/s") == PurePosixPath("/x/daemon.json")


class Remote:
    """A machine behind ``ssh``: its files, and whether Docker starts with them."""

    def __init__(self, content: str, *, systemd: bool = True, starts: Callable[[dict[str, Any]], bool] = bool) -> None:
        self.file = content
        self.profile = ""
        self.restarts = 0
        self.systemd = systemd
        self.starts = starts

    def capture(self, command: Sequence[str], *, stdin: bytes | None = None, **options: Any) -> bytes:
        line = command[-1]
        if "systemctl is-active" in line:
            return b"active\n" if self.systemd else b""
        if "systemctl restart" in line:
            self.restarts += 1
            if not self.starts(json.loads(self.file or "{}")):
                raise UserError("ssh: exit 1: Job for docker.service failed")
        elif stdin is None:
            return self.file.encode()
        elif line.endswith("daemon.json"):
            assert "sudo -n" in line
            self.file = stdin.decode()
        else:
            self.profile = stdin.decode()
        return b""


def harden(monkeypatch: pytest.MonkeyPatch, remote: Remote) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(process, "capture", remote.capture)
    daemon_config.harden(REMOTE, said.append)
    return said


@pytest.mark.parametrize("content", ["", "{}", '{"debug": true}'])
def test_a_daemon_gets_the_flags_and_is_restarted(monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    remote = Remote(content)
    said = harden(monkeypatch, remote)
    assert json.loads(remote.file) == daemon_config.hardened(json.loads(content or "{}"), PurePosixPath("/etc/docker"))
    assert (remote.profile, remote.restarts) == (daemon_config.profile(), 1)
    assert said[-1] == f"{REMOTE}: restarted Docker"


def test_a_daemon_that_does_not_start_has_its_file_back(monkeypatch: pytest.MonkeyPatch) -> None:
    remote = Remote('{"debug": true}', starts=lambda content: "seccomp-profile" not in content)
    with pytest.raises(UserError, match=r"does not start with the new /etc/docker/daemon\.json, so it has the old one again"):
        harden(monkeypatch, remote)
    assert json.loads(remote.file) == {"debug": True}
    assert remote.restarts == 2


def test_a_daemon_that_no_systemd_runs_is_restarted_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    remote = Remote("{}", systemd=False)
    with pytest.raises(UserError, match="is written, but Docker is not a service of systemd there; restart it, then go on"):
        harden(monkeypatch, remote)
    assert "seccomp-profile" in json.loads(remote.file)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_file_is_refused_and_left_alone(monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    remote = Remote(content)
    with pytest.raises(UserError, match=r"daemon\.json is not valid JSON, so Docker would not start again; correct it there"):
        harden(monkeypatch, remote)
    assert (remote.file, remote.profile) == (content, "")
