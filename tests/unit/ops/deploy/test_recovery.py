"""ops.recovery with doubles: whose lock is removed, which containers count as left over, and what is refused."""

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ops.clients import process
from ops.clients.docker import Docker
from ops.deploy import recovery
from ops.errors import UserError
from ops.machine import environment
from ops.stack import locks
from ops.stack.inventory import Labelled

CONTAINER = "docker:index/container:Container"
SERVER = Labelled("container", "a" * 64, "skyvern-dev-server")
NETWORK = Labelled("network", "b" * 64, "skyvern-dev-data")
VOLUME = {"urn": "urn:pulumi:dev::skyvern::x::data", "type": "docker:index/volume:Volume", "id": "skyvern-dev-postgres"}
CREATING = {"resource": {"urn": "urn:pulumi:dev::skyvern::x::skyvern-host-skyvern-server"}, "type": "creating"}


class Machine:
    """Answers for pulumi and docker, and what was asked of them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.state: dict[str, Any] = {"resources": [VOLUME]}
        self.found: list[Labelled] = []
        self.calls: list[str] = []

    def pulumi(self, command: list[str], **_: Any) -> bytes:
        call = " ".join(command[1:])
        if call.startswith("stack export"):
            assert "--show-secrets" not in call
            return json.dumps({"version": 3, "deployment": self.state}).encode()
        self.calls.append(call)
        if call.startswith("refresh"):
            self.state.pop("pending_operations", None)
        return b""

    def docker(self, *arguments: str, **_: Any) -> str:
        if arguments[1] == "ls":
            assert "label=skyvern.stack=dev" in arguments
            return "".join(f"{one.id} {one.name}\n" for one in self.found if one.kind == arguments[0])
        self.calls.append(" ".join(arguments))
        return ""

    def recover(self) -> list[str]:
        """The lines that were told."""
        told: list[str] = []
        recovery.recover("dev", Docker("unix:///x"), told.append)
        return told


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    double = Machine(f"file://{tmp_path}")
    monkeypatch.setattr(environment, "for_stacks", lambda: {"PULUMI_BACKEND_URL": double.url})
    monkeypatch.setattr(environment, "pulumi_command", lambda *arguments: ["pulumi", *arguments])
    monkeypatch.setattr(process, "capture", double.pulumi)
    monkeypatch.setattr(Docker, "run", lambda self, *arguments, **_: double.docker(*arguments))
    return double


def lock(root: Path, *, pid: int, host: str = platform.node(), stack: str = "dev") -> None:
    folder = root / ".pulumi" / "locks" / "organization" / "skyvern" / stack
    folder.mkdir(parents=True, exist_ok=True)
    fields = {"pid": pid, "username": "me", "hostname": host, "timestamp": "2026-11-22T17:41:41.502408446Z"}
    (folder / "fa1d4911.json").write_text(json.dumps(fields))
    (folder / "fa1d4911.json.attrs").write_text("{}")


def test_nothing_to_do_is_silent(machine: Machine) -> None:
    machine.state["resources"].append({"urn": "u", "type": CONTAINER, "id": SERVER.id})
    machine.found = [SERVER]
    assert machine.recover() == []
    assert machine.calls == []


def test_the_lock_of_a_killed_pulumi_is_removed(machine: Machine, tmp_path: Path) -> None:
    lock(tmp_path, pid=2**22 + 1)
    (told,) = machine.recover()
    assert "was killed (process 4194305, since 2026-11-22T17:41:41): its lock is removed" in told
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_process_number_that_another_program_has_now_is_no_pulumi(machine: Machine, tmp_path: Path) -> None:
    lock(tmp_path, pid=os.getpid())
    (told,) = machine.recover()
    assert "its lock is removed" in told


def test_a_killed_pulumi_does_not_run_although_nobody_has_waited_for_it(tmp_path: Path) -> None:
    program = tmp_path / "pulumi"
    shutil.copy("/bin/sleep", program)
    started = subprocess.Popen([program, "60"])
    try:
        assert locks.runs(started.pid)
        started.kill()
        os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{started.pid}/comm").read_text() == "pulumi\n"
        assert not locks.runs(started.pid)
    finally:
        started.wait()


@pytest.mark.parametrize(("alive", "host"), [(True, platform.node()), (False, "another-host")])
def test_a_pulumi_at_work_is_left_alone(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: bool, host: str
) -> None:
    monkeypatch.setattr(locks, "runs", lambda pid: alive)
    machine.found = [SERVER]
    lock(tmp_path, pid=4711, host=host)
    with pytest.raises(UserError, match=rf"^stack dev: another Pulumi is working on it \(process 4711 of me on {host}, since "):
        machine.recover()
    assert machine.calls == []


def test_the_lock_of_another_stack_does_not_count(machine: Machine, tmp_path: Path) -> None:
    lock(tmp_path, pid=2**22 + 1, stack="prod")
    assert machine.recover() == []


def test_another_backend_is_not_looked_into(machine: Machine) -> None:
    machine.url = "s3://bucket"
    assert machine.recover() == []


def test_what_no_state_knows_is_removed_containers_first(machine: Machine) -> None:
    machine.state["pending_operations"] = [CREATING]
    machine.found = [NETWORK, SERVER]
    told = machine.recover()
    assert machine.calls == [
        "refresh --stack dev --clear-pending-creates --yes --skip-preview --non-interactive",
        f"container stop --time 60 {SERVER.id}",
        f"container rm --force {SERVER.id}",
        f"network rm {NETWORK.id}",
    ]
    assert told == [
        "the last up was stopped while creating skyvern-host-skyvern-server",
        "container skyvern-dev-server is not in the state: removed (it holds no data; volumes stay)",
        "network skyvern-dev-data is not in the state: removed (it holds no data; volumes stay)",
    ]


def test_the_first_up_ever_may_be_killed_too(machine: Machine) -> None:
    machine.state = {"resources": [], "pending_operations": [CREATING]}
    machine.found = [SERVER]
    machine.recover()
    assert f"container rm --force {SERVER.id}" in machine.calls


def test_containers_of_another_state_are_not_touched(machine: Machine) -> None:
    machine.state = {}
    machine.found = [SERVER]
    with pytest.raises(UserError, match=r"^stack dev: skyvern-dev-server run on unix:///x, but this state \(file://"):
        machine.recover()
    assert machine.calls == []


def test_what_may_be_at_cloudflare_is_named_and_nothing_else() -> None:
    def pending(kind: str, name: str, operation: str = "creating") -> dict[str, Any]:
        urn = f"urn:pulumi:dev::skyvern::skyvern:edge:CloudflareTunnel${kind}::x"
        return {"type": operation, "resource": {"urn": urn, "inputs": {"name": name}}}

    told = list(
        recovery.perhaps_at_cloudflare(
            [
                CREATING,
                pending("cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared", "skyvern-dev"),
                pending("cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared", "skyvern-dev", "updating"),
                pending("cloudflare:index/zoneSetting:ZoneSetting", ""),
                pending("cloudflare:index/zeroTrustAccessPolicy:ZeroTrustAccessPolicy", "skyvern-dev: people"),
            ]
        )
    )
    assert [line.split(" may exist ")[0] for line in told] == ['the tunnel "skyvern-dev"', 'the policy "skyvern-dev: people"']
    assert "1013" in told[0]
    assert "the up makes another one" in told[1]
