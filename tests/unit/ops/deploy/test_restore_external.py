"""ops.deploy.restore with doubles, for a PostgreSQL elsewhere: what is put in place in which order, and what a failure undoes."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from components.settings import Settings, parse
from ops.backups import copies, exchange, external, paused
from ops.backups.copies import PARTS
from ops.backups.exchange import Kept
from ops.deploy import put_back, restore
from ops.deploy.put_back import Mixed
from ops.errors import UserError
from ops.stack.stack import Stack
from tests.support.daemon import Daemon

ELSEWHERE = parse(
    {"database": {"url": "postgresql://boss:correct-horse-battery@db.example.com/x?sslmode=verify-full"}},
    file="x",
    secret_keys=frozenset({"database.url"}),
)
STAMP = "20261129-130000"
FOLDERS = [part for part in PARTS if part != "postgres"]


class Restored:
    """A stack into which a set is restored: what was done, in order. fails: at which of these steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: Settings, databases: list[str], *fails: str) -> None:
        self.done: list[str] = []
        self.fails = fails
        self.stack, self.docker = Stack("dev"), Daemon(answers={"ps ": ""})
        server = SimpleNamespace(database="skyvern_dev") if settings.database.elsewhere else None
        self.source: Any = SimpleNamespace(
            stack=self.stack, docker=self.docker, settings=settings, references={"backup": "image"}, role_password="r"
        )
        self.record: Any = SimpleNamespace(at=datetime.now(UTC), name="set")
        monkeypatch.setattr(external, "check", lambda *_: self.step("check"))
        monkeypatch.setattr(external, "server", lambda *_: server)
        monkeypatch.setattr(external, "databases", lambda there: databases)
        monkeypatch.setattr(external, "fill", lambda there, socket, password, stamp: self.step(f"fill from {socket}"))
        monkeypatch.setattr(external, "remove", lambda there, stamp: self.step("drop what was there"))
        monkeypatch.setattr(copies, "filled", self.filled)
        monkeypatch.setattr(copies, "quiet", lambda copy, reason: self.gives("quiet", []))
        monkeypatch.setattr(copies, "stop_postgres", lambda copy: self.step("stop the copy"))
        monkeypatch.setattr(exchange, "prepare", lambda source, fresh, stamp: self.step(f"mark {sorted(fresh)}"))
        monkeypatch.setattr(exchange, "put_in_place", lambda *given: self.step(f"put in place, server {given[-1] is not None}"))
        monkeypatch.setattr(exchange, "take_back", lambda *given: self.step(f"take back, server {given[-1] is not None}"))
        monkeypatch.setattr(put_back, "_stop", lambda *_: self.step("stop"))
        monkeypatch.setattr(put_back, "_start", lambda *_: self.step("start"))
        for name in ("add", "forget"):
            monkeypatch.setattr(paused, name, lambda *_, name=name: self.step(f"schedules: {name}"))

    def step(self, what: str) -> None:
        self.done.append(what)
        if what.partition(",")[0] in self.fails:
            raise UserError("full")

    def gives(self, what: str, value: list[str]) -> list[str]:
        self.step(what)
        return value

    @contextmanager
    def filled(self, *_: Any) -> Iterator[Any]:
        self.step("copy")
        yield SimpleNamespace(stamp=STAMP, socket="socket", volume=lambda part: f"{part}-copy")

    def run(self, **options: Any) -> None:
        restore.replace(self.source, self.record, lambda line: None, **options)

    @property
    def removed(self) -> list[str]:
        """Volumes."""
        return [line.split()[-1] for line in self.docker.asked if line.startswith("volume rm")]


def test_the_database_is_written_to_the_server_before_anything_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Restored(monkeypatch, ELSEWHERE, ["postgres", "skyvern_dev"])
    stack.run()
    assert stack.done == [
        "check",
        "copy",
        "quiet",
        "fill from socket",
        "stop the copy",
        f"mark {sorted(FOLDERS)}",
        "stop",
        "schedules: add",
        "put in place, server True",
        "start",
    ]
    # It has no mark, and would count as a part of the restore that was never put in place.
    assert stack.removed == ["postgres-copy"]


def test_the_first_database_of_a_stack_has_nothing_to_go_back_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """The roles are made with an empty one, and an undo would bring that back."""
    stack = Restored(monkeypatch, ELSEWHERE, ["postgres"])
    stack.run()
    assert stack.done[-3:] == ["put in place, server True", "drop what was there", "start"]


def test_a_database_that_outlived_the_host_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Restored(monkeypatch, ELSEWHERE, ["postgres", "skyvern_dev"])
    stack.run(keep_database=True)
    assert "put in place, server False" in stack.done
    assert not [one for one in stack.done if one.startswith(("fill", "quiet", "drop"))]
    assert stack.removed == ["postgres-copy"]


def test_a_stack_with_its_own_changes_its_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Restored(monkeypatch, parse({}, file="x"), [])
    stack.run()
    assert f"mark {sorted(PARTS)}" in stack.done
    assert "put in place, server False" in stack.done
    assert stack.removed == []


@pytest.mark.parametrize("fails", ["check", "fill from socket", "stop the copy", "stop", "put in place"])
def test_what_fails_leaves_the_stack_as_it_was(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    stack = Restored(monkeypatch, ELSEWHERE, ["skyvern_dev"], fails)
    with pytest.raises(UserError, match="full"):
        stack.run()
    match fails:
        case "put in place":
            assert stack.done[-3:] == ["take back, server True", "schedules: forget", "start"]
        case "stop":
            # In the middle of it, some have stopped.
            assert stack.done[-2:] == ["stop", "start"]
        case _:
            assert "stop" not in stack.done
    # Without the copy, nothing would find the database that was written.
    assert ("drop what was there" in stack.done) == (fails in {"fill from socket", "stop the copy"})


def test_on_a_mixture_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Restored(monkeypatch, ELSEWHERE, ["skyvern_dev"], "put in place", "take back")
    with pytest.raises(Mixed, match=r"stack dev is stopped, .*: full; script/up --stack dev puts it back and starts it"):
        stack.run()
    assert stack.done[-1] == "take back, server True"


def test_what_is_not_whole_any_more_is_not_put_back() -> None:
    left = Kept(stamp=STAMP, set="S", volumes=dict.fromkeys(FOLDERS, "x"), state="exchanged")
    restore._refuse_incomplete(Stack("dev"), left)
    del left.volumes["artifacts"]
    with pytest.raises(UserError, match=f"of what was there before {STAMP}, artifacts has been removed; bring back a set"):
        restore._refuse_incomplete(Stack("dev"), left)


@pytest.mark.parametrize(
    ("volumes", "elsewhere", "look", "refused"),
    [
        (["har"], True, "old", False),
        # It was cut off between the folders and the database, which has its new name still.
        (["har"], True, "new", False),
        (["har", "postgres"], False, "", False),
        # Its database was in the stack, or on a server that the file does not name any more; and the first restore into a server.
        (["har", "postgres"], True, "", True),
        (["har"], False, "", True),
        (["har"], True, "", True),
    ],
)
def test_what_was_in_another_place_is_not_put_back(
    monkeypatch: pytest.MonkeyPatch, volumes: list[str], elsewhere: bool, look: str, refused: bool
) -> None:
    monkeypatch.setattr(external, "look", lambda there, stamp: look)
    left = Kept(stamp=STAMP, set="S", volumes=dict.fromkeys(volumes, "x"), state="exchanged")
    server: Any = SimpleNamespace() if elsewhere else None
    if refused:
        with pytest.raises(UserError, match=r"had its database in another place than Pulumi\.dev\.yaml names"):
            restore._refuse_other_place(Stack("dev"), left, server)
    else:
        restore._refuse_other_place(Stack("dev"), left, server)
