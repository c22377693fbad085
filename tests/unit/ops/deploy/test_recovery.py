"""ops.deploy.recovery with doubles: which containers count as left over, and what is refused."""

import json
from typing import Any

import pytest

from ops.clients import process
from ops.clients.docker import Docker
from ops.deploy import recovery
from ops.errors import UserError
from ops.stack import checkpoint, locks
from ops.stack.inventory import Labelled
from ops.stack.stack import Stack

CONTAINER = "docker:index/container:Container"
SERVER = Labelled("container", "a" * 64, "skyvern-dev-server")
NETWORK = Labelled("network", "b" * 64, "skyvern-dev-data")
VOLUME = {"urn": "urn:pulumi:dev::skyvern::x::data", "type": "docker:index/volume:Volume", "id": "skyvern-dev-postgres"}
CREATING = {"resource": {"urn": "urn:pulumi:dev::skyvern::x::skyvern-host-skyvern-server"}, "type": "creating"}


class Machine:
    """Answers for pulumi and docker, and what was asked of them."""

    def __init__(self) -> None:
        self.name = "dev"
        self.state: dict[str, Any] = {"resources": [VOLUME]}
        self.after_refresh: list[dict[str, Any]] = []
        self.labelled: list[Labelled] = []
        self.asked: list[str] = []

    @property
    def export(self) -> str:
        """The command line that reads the state: without ``--show-secrets``."""
        return f"stack export --stack {self.name} --non-interactive"

    @property
    def calls(self) -> list[str]:
        """The calls that change anything."""
        return [call for call in self.asked if call != self.export]

    def pulumi(self, command: list[str], **_: Any) -> bytes:
        call = " ".join(command[1:])
        self.asked.append(call)
        if call == self.export:
            return json.dumps({"version": 3, "deployment": self.state}).encode()
        if call.startswith("refresh"):
            self.state.pop("pending_operations", None)
            self.state["resources"] += self.after_refresh
        return b""

    def docker(self, *arguments: str, **_: Any) -> str:
        if arguments[1] == "ls":
            assert "label=skyvern.stack=dev" in arguments
            return "".join(f"{item.id} {item.name}\n" for item in self.labelled if item.kind == arguments[0])
        self.asked.append(" ".join(arguments))
        return ""

    def recover(self) -> list[str]:
        """The lines that were printed."""
        lines: list[str] = []
        stack = Stack(self.name, variables={"PULUMI_BACKEND_URL": "file:///nowhere"})
        recovery.recover(stack, Docker("unix:///x"), lines.append)
        return lines


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    double = Machine()
    monkeypatch.setattr(process, "capture", double.pulumi)
    monkeypatch.setattr(Docker, "run", lambda self, *arguments, **_: double.docker(*arguments))
    return double


def test_nothing_to_do_is_silent(machine: Machine) -> None:
    machine.state["resources"].append({"urn": "u", "type": CONTAINER, "id": SERVER.id})
    machine.labelled = [SERVER]
    assert machine.recover() == []
    assert machine.calls == []


def test_files_that_a_killed_pulumi_left_are_cleared_before_the_state_is_read(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "drop_cut_off_attributes", lambda url, _: machine.asked.append(f"attributes of {url}"))
    monkeypatch.setattr(locks, "release_locks", lambda stack, _: machine.asked.append(f"locks of {stack}"))
    machine.recover()
    assert machine.asked == ["attributes of file:///nowhere", "locks of dev", machine.export]


def test_a_pulumi_at_work_is_left_alone(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(stack: Stack, _: object) -> None:
        raise UserError(f"stack {stack}: another Pulumi is working on it")

    monkeypatch.setattr(locks, "release_locks", refuse)
    machine.labelled = [SERVER]
    with pytest.raises(UserError, match=r"^stack dev: another Pulumi is working on it$"):
        machine.recover()
    assert machine.asked == []


def test_what_is_not_in_the_state_is_removed_containers_first(machine: Machine) -> None:
    machine.state["pending_operations"] = [CREATING]
    machine.labelled = [NETWORK, SERVER]
    lines = machine.recover()
    assert machine.calls == [
        "refresh --clear-pending-creates --yes --skip-preview --stack dev --non-interactive",
        f"container stop --time 60 {SERVER.id}",
        f"container rm --force {SERVER.id}",
        f"network rm {NETWORK.id}",
    ]
    assert lines == [
        "the last up was stopped while creating skyvern-host-skyvern-server",
        "container skyvern-dev-server is not in the state: removed (it holds no data; volumes stay)",
        "network skyvern-dev-data is not in the state: removed (it holds no data; volumes stay)",
    ]


def test_what_the_state_knows_after_the_refresh_is_kept(machine: Machine) -> None:
    machine.state["pending_operations"] = [CREATING]
    machine.after_refresh = [{"urn": "u", "type": CONTAINER, "id": SERVER.id}]
    machine.labelled = [NETWORK, SERVER]
    machine.recover()
    assert machine.calls[1:] == [f"network rm {NETWORK.id}"]


def test_the_first_up_ever_may_be_killed_too(machine: Machine) -> None:
    machine.state = {"resources": [], "pending_operations": [CREATING]}
    machine.labelled = [SERVER]
    machine.recover()
    assert f"container rm --force {SERVER.id}" in machine.calls


@pytest.mark.parametrize("name", ["dev", "organization/skyvern/dev"])
def test_containers_of_another_state_are_not_touched(machine: Machine, name: str) -> None:
    machine.name = name
    machine.state = {}
    machine.labelled = [SERVER]
    with pytest.raises(
        UserError, match=rf"^stack {name}: skyvern-dev-server run on unix:///x, but this state \(file:///nowhere\)"
    ):
        machine.recover()
    assert machine.calls == []


def test_what_may_be_at_cloudflare_is_named_and_nothing_else() -> None:
    def pending(kind: str, name: str, operation: str = "creating") -> dict[str, Any]:
        urn = f"urn:pulumi:dev::skyvern::skyvern:edge:CloudflareTunnel${kind}::x"
        return {"type": operation, "resource": {"urn": urn, "inputs": {"name": name}}}

    lines = list(
        recovery.possibly_created_at_cloudflare(
            [
                CREATING,
                pending("cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared", "skyvern-dev"),
                pending("cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared", "skyvern-dev", "updating"),
                pending("cloudflare:index/zoneSetting:ZoneSetting", ""),
                pending("cloudflare:index/zeroTrustAccessPolicy:ZeroTrustAccessPolicy", "skyvern-dev: people"),
            ]
        )
    )
    assert [line.split(" may exist ")[0] for line in lines] == ['the tunnel "skyvern-dev"', 'the policy "skyvern-dev: people"']
    assert "1013" in lines[0]
    assert "the up makes another one" in lines[1]
