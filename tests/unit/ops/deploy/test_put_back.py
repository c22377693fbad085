"""ops.deploy.put_back with doubles: who is stopped while data changes places, and that all of it starts again.

Not here: what a restore puts back when it fails (test_restore_external.py).
"""

import pytest

from ops.backups import exchange, paused
from ops.backups.exchange import Kept, State
from ops.clients.docker import Docker
from ops.deploy import drain, put_back
from ops.deploy.put_back import Mixed
from ops.errors import UserError
from ops.images import needs
from ops.stack import inventory
from ops.stack.inventory import Container, Replica
from ops.stack.stack import Stack

DEV = Stack("dev")


def observed(part: str, status: str, kind: type[Container]) -> Container:
    """What is looked at here, of all that is known of a container."""
    made = object.__new__(kind)
    for name, value in {"name": f"skyvern-dev-{part}", "part": part, "status": status}.items():
        object.__setattr__(made, name, value)
    return made


class Parts:
    """In the place of Docker's calls. running: part -> status; tasks: parts of a Swarm. fails: at which name, with what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, running: dict[str, str], *tasks: str) -> None:
        self.done: list[str] = []
        self.fails: dict[str, BaseException] = {}
        self.others = ""
        found = [observed(part, status, Replica if part in tasks else Container) for part, status in running.items()]
        monkeypatch.setattr(inventory, "containers", lambda docker, stack: found)
        monkeypatch.setattr(drain, "stop_seconds", lambda stack: 60)
        monkeypatch.setattr(Docker, "stop_part", lambda docker, name, *, timeout_seconds: self.step(f"stop {name}"))
        monkeypatch.setattr(Docker, "wait_until_stopped", lambda docker, name, *, timeout_seconds: self.step(f"wait {name}"))
        monkeypatch.setattr(Docker, "start_part", lambda docker, name: self.step(f"start {name}"))
        monkeypatch.setattr(Docker, "run", lambda docker, *words, **_: self.others)

    def step(self, what: str) -> None:
        self.done.append(what.replace("skyvern-dev-", ""))
        if failed := self.fails.pop(self.done[-1], None):
            raise failed

    def run(self, within: BaseException | None = None) -> None:
        with put_back.stopped(Docker("unix:///x"), DEV, "image", lambda line: None):
            self.done.append("change")
            if within:
                raise within


def test_who_has_the_data_is_stopped_and_started_in_the_other_order(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(monkeypatch, {"postgres": "running", "server": "running", "gateway": "running", "backup": "exited"})
    parts.run()
    assert parts.done == ["stop server", "stop postgres", "change", "start postgres", "start server"]


def test_a_task_that_a_swarm_is_about_to_start_does_not_start_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(
        monkeypatch, {"server": "running", "artifacts": "pending", "backup": "rejected"}, "artifacts", "backup", "server"
    )
    parts.run()
    assert parts.done[:4] == ["stop backup", "stop server", "stop artifacts", "change"]


@pytest.mark.parametrize("failed", [UserError("still runs"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", ["stop server", "stop postgres", "change"])
def test_what_was_stopped_starts_again(monkeypatch: pytest.MonkeyPatch, at: str, failed: BaseException) -> None:
    parts = Parts(monkeypatch, {"postgres": "running", "server": "running"})
    parts.fails[at] = failed
    with pytest.raises(type(failed)):
        parts.run(failed if at == "change" else None)
    started = [one for one in parts.done if one.startswith("start")]
    stopped = dict.fromkeys(one for one in parts.done if one.startswith("stop"))
    assert started == [f"start {one.split()[1]}" for one in reversed(stopped)]


def test_a_part_that_was_stopping_when_it_was_interrupted_has_stopped_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker goes on with a stop whose command is gone: a start said that it runs, and then it stopped for good.

    A second stop is a second SIGTERM, by which the server ends its runs at once (images/server/drain.py).
    """
    parts = Parts(monkeypatch, {"postgres": "running", "server": "running"})
    parts.fails["stop server"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        parts.run()
    assert parts.done == ["stop server", "wait server", "start server"]


def test_a_container_of_a_persons_own_on_the_data_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(monkeypatch, {"server": "running"})
    parts.others = "abc"
    with pytest.raises(UserError, match=r"containers abc use its volumes; stop them\. Nothing was changed"):
        parts.run()
    assert parts.done == ["stop server", "start server"]


def test_one_that_does_not_start_keeps_none_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(monkeypatch, {"postgres": "running", "server": "running"})
    parts.fails["start postgres"] = UserError("no space left")
    with pytest.raises(
        UserError, match=r"skyvern-dev-postgres does not start again \(no space left\); script/up --stack dev starts"
    ):
        parts.run()
    assert parts.done[-1] == "start server"


def test_on_a_mixture_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(monkeypatch, {"server": "running"})
    with pytest.raises(Mixed):
        parts.run(Mixed("half"))
    assert parts.done == ["stop server", "change"]


@pytest.mark.parametrize(
    ("present", "state", "done"),
    [
        (True, "torn", ["stop server", "take back 1", "start server", "forget 1", "remove 1"]),
        # Filled, and never put in place.
        (True, "filled", ["forget 1", "remove 1"]),
        # A person may still want it.
        (True, "exchanged", []),
        # No set was ever restored.
        (False, "torn", []),
    ],
)
def test_an_update_puts_back_what_was_interrupted(
    monkeypatch: pytest.MonkeyPatch, present: bool, state: State, done: list[str]
) -> None:
    parts = Parts(monkeypatch, {"server": "running"})
    monkeypatch.setattr(needs, "present", lambda docker, image: present)
    monkeypatch.setattr(exchange, "image_of", lambda stack: "image")
    monkeypatch.setattr(exchange, "kept", lambda *_: [Kept(stamp="1", set="S", volumes={}, state=state)])
    monkeypatch.setattr(
        exchange, "take_back", lambda docker, stack, image, places, stamp, server: parts.step(f"take back {stamp}")
    )
    monkeypatch.setattr(exchange, "remove", lambda docker, stack, image, left, server: parts.step(f"remove {left.stamp}"))
    monkeypatch.setattr(paused, "forget", lambda stack, docker, image, stamp: parts.step(f"forget {stamp}"))
    put_back.finish(DEV, Docker("unix:///x"), None, lambda line: None)
    assert parts.done == done
