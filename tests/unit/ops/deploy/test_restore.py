"""ops.deploy.restore: what is said about schedules that come back, that a resume is alone on its stack, what a kit keeps.

Not here: what is refused and the copy that is filled (tests/unit/ops/backups/test_copies.py).
"""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.settings.automations import AutomationSettings
from ops.backups import copies, exchange, external, notes
from ops.backups.copies import Schedule
from ops.backups.exchange import Kept
from ops.clients.docker import Docker
from ops.deploy import restore
from ops.errors import UserError
from ops.stack.stack import Stack
from tests.support.daemon import daemon
from tests.support.lock import REFUSED, held

DEV = Stack("dev")
MORNING = Schedule(id="ws_1", name="아침", when="0 9 * * *")
EVENING = Schedule(id="ws_2", name="저녁", when="0 18 * * *")


def test_a_schedule_that_had_been_deleted_is_named() -> None:
    """It comes back with the data, and what the automations' files do not name stays where it is."""
    there = daemon(psql="ws_2\n")
    deleted = restore._deleted_here(DEV, there, ["ws_1", "ws_2"])
    said: list[str] = []
    restore._tell_paused(DEV, [MORNING, EVENING], deleted, said.append)
    assert said[1:3] == [
        "  아침: 0 9 * * *",
        "  저녁: 0 18 * * *; was deleted after the set was made: delete it again in the UI if it is not to run",
    ]


def test_with_automations_the_command_that_applies_the_files_again_is_named() -> None:
    """Pulumi's state is newer than the set, so a plain update would see no difference."""
    said: list[str] = []
    restore._tell_automations(DEV, AutomationSettings(files=["daily"]), said.append)
    restore._tell_automations(DEV, AutomationSettings(), said.append)
    assert said == ["automations are as the set has them: pulumi up --refresh -s dev applies their files again"]


def test_of_a_database_that_is_lost_nothing_is_known() -> None:
    assert restore._deleted_here(DEV, daemon(psql=UserError("docker: exit 2")), ["ws_1"]) == frozenset()


def test_a_resume_beside_another_command_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    there = daemon()
    monkeypatch.setattr(Stack, "docker", lambda self: there)
    with held(), pytest.raises(UserError, match=REFUSED):
        restore.resume(DEV, yes=True)
    assert there.asked == []


def test_a_restore_into_another_engine_touches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It filled the new place, and the repair after it took the services out of the state."""
    there = daemon()
    service = {"type": "docker:index/service:Service", "outputs": {"name": "skyvern-dev-server"}}
    monkeypatch.setattr(Stack, "state", lambda self: {"resources": [service]})
    monkeypatch.setattr(Stack, "docker", lambda self: there)
    monkeypatch.setattr(notes, "alone", lambda stack: nullcontext())
    monkeypatch.setattr(exchange, "image_of", lambda stack: "backup")
    monkeypatch.setattr(copies, "source", lambda stack: SimpleNamespace(stack=stack, docker=there, references={"backup": "x"}))
    with pytest.raises(UserError, match="nothing was changed: it runs on a Swarm"):
        restore.restore(DEV, None, yes=True, discard_newer=False)
    with pytest.raises(UserError, match="nothing was changed: it runs on a Swarm"):
        restore.undo(DEV, yes=True)
    assert there.asked == []


# --- From the kit --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [[], ["skyvern-dev-postgres", "skyvern-dev-artifacts"], ["skyvern-prod-postgres"]])
def test_a_kit_keeps_what_volumes_without_containers_have(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], left: list[str]
) -> None:
    """As after docker system prune, or a destroy that stopped at them; of a machine with none, nothing is kept."""
    stack, image = Stack("dev"), "backup"
    new = Kept(stamp="20261130-100000", set="20261130T090000Z", volumes={}, state="exchanged")
    source = SimpleNamespace(record=lambda name: SimpleNamespace(name=name), references={"backup": image}, settings=None)
    removed: list[Kept] = []
    monkeypatch.setattr(notes, "alone", lambda stack: nullcontext())
    monkeypatch.setattr(copies, "source", lambda stack: source)
    monkeypatch.setattr(copies, "refuse_newer", lambda *_: None)
    monkeypatch.setattr(external, "server", lambda *_: None)
    monkeypatch.setattr(restore, "clear", lambda *_: None)
    monkeypatch.setattr(restore, "_ask", lambda *_, **__: None)
    monkeypatch.setattr(restore, "replace", lambda *_, **__: new.stamp)
    monkeypatch.setattr(exchange, "kept", lambda *_: [replace(new, stamp="20261129-100000"), new])
    monkeypatch.setattr(exchange, "remove", lambda docker, stack, image, one, server: removed.append(one))
    monkeypatch.setattr(Docker, "run", lambda self, *words, **_: "\n".join(left) if words[:2] == ("volume", "ls") else "")
    restore._take_data(stack, Docker("unix:///x"), None, yes=True)
    ours = any("dev" in name for name in left)
    assert removed == ([] if ours else [new])
    assert ("to go back: bin/ops restore --undo -s dev" in capsys.readouterr().out) is ours
