"""ops.deploy.restore: what is said about schedules that come back, and that a resume is alone on its stack.

Not here: what is refused and the copy that is filled (tests/unit/ops/backups/test_copies.py).
"""

from pathlib import Path

import pytest

from components.settings.automations import AutomationSettings
from ops.backups.copies import Schedule
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
