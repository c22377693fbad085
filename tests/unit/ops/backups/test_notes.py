"""ops.backups.notes: one command on a stack at a time, and what a second one says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ops.backups import notes
from ops.backups.copies import Unfit
from ops.errors import UserError
from ops.paths import ROOT, config_dir
from ops.stack.stack import Stack
from tests.support.lock import PID, REFUSED, held

DEV, PROD = Stack("dev"), Stack("prod")
_TAKE = """
from ops.backups import notes
from ops.errors import UserError
from ops.stack.stack import Stack
try:
    with notes.alone(Stack("dev")):
        print("taken")
except UserError as refused:
    print(refused)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def take_in_a_process() -> str:
    environment = {"PATH": os.environ["PATH"], "XDG_CONFIG_HOME": os.environ["XDG_CONFIG_HOME"], "PYTHONPATH": str(ROOT)}
    return subprocess.check_output([sys.executable, "-c", _TAKE], env=environment, text=True).strip()


def test_a_second_command_is_refused_with_whose_turn_it_is() -> None:
    with held(), pytest.raises(Unfit, match=REFUSED), notes.alone(DEV):
        pass
    with held(), notes.alone(PROD):
        pass
    with notes.alone(DEV):
        pass


@pytest.mark.parametrize("text", ["", "[]", "1", '[1, "bin/ops'])
def test_a_lock_that_does_not_say_whose_it_is(text: str) -> None:
    """Taken a moment ago, or by a version that wrote nothing into it."""
    with held(text), pytest.raises(UserError, match=r"another command is at work on it \(process 0, "), notes.alone(DEV):
        pass


def test_what_a_command_starts_is_part_of_it() -> None:
    """``ops rollback --with-data`` and an upgrade that fails end with a script/up of the old commit."""
    with notes.alone(DEV):
        with notes.alone(DEV):
            pass
        assert take_in_a_process() == "taken"
    with held():
        assert "is at work on it" in take_in_a_process()


def test_a_process_that_cannot_be_looked_at_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of another user, where /proc is mounted with hidepid."""
    monkeypatch.setattr(os, "getpid", lambda: PID + 1)
    with held(), pytest.raises(Unfit, match=REFUSED), notes.alone(DEV):
        pass


def test_a_command_that_was_killed_holds_nothing() -> None:
    (config_dir() / "dev.lock").parent.mkdir(parents=True)
    (config_dir() / "dev.lock").write_text(json.dumps([5_000_000, "bin/ops restore", "long ago, and a longer line"]))
    with notes.alone(DEV):
        pid, *_ = json.loads((config_dir() / "dev.lock").read_text())
        assert pid == os.getpid()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/x/ops/deploy/up.py", "--stack", "prod", "--yes"], "script/up"),
        (["/x/ops/__main__.py", "import", "compose", "/srv/skyvern", "--switch"], "bin/ops import compose /srv/skyvern"),
    ],
)
def test_a_command_is_named_as_a_person_types_it(arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", arguments)
    with notes.alone(DEV):
        assert json.loads((config_dir() / "dev.lock").read_text())[1] == said
