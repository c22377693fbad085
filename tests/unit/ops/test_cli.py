"""The command line of ops: what is empty or contradicts itself is one line, and no command begins."""

import sys
from collections.abc import Callable

import pytest

from ops import cli
from ops.deploy import restore as stack_restore
from ops.deploy import rollback as stack_rollback
from ops.deploy import single as stack_single
from ops.observe import logs as stack_logs
from ops.observe import status as stack_status
from tests.support.recorder import recorder

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The functions that commands have called, in order."""
    made: list[str] = []

    for module, name in (
        (stack_restore, "restore"),
        (stack_restore, "restore_from_kit"),
        (stack_restore, "undo"),
        (stack_single, "bring_back"),
        (stack_rollback, "rollback"),
        (stack_logs, "main"),
        (stack_status, "main"),
    ):
        monkeypatch.setattr(module, name, recorder(made, 0, name))
    return made


@pytest.fixture
def ops(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """A command line: its exit code, and what it wrote about a mistake."""

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["ops", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), capsys.readouterr().err

    return call


@pytest.mark.parametrize(
    ("words", "before"),
    [
        (["restore", "", "--yes"], "restore"),
        (["restore", "--kit", "", "-s", "prod"], "--kit"),
        (["restore", "--kit="], "--kit="),
        (["restore", "--workflow", ""], "--workflow"),
        (["restore", "--yes", ""], "--yes"),
        (["rollback", "--yes", "-s", ""], "-s"),
        (["status", "--stack="], "--stack="),
        (["logs", "--since", ""], "--since"),
        (["logs", "server", ""], "server"),
        (["rotate", ""], "rotate"),
        (["backup", "kit", "--output", ""], "--output"),
        ([""], "ops"),
    ],
)
def test_an_empty_word_is_no_default(ops: Call, begun: list[str], words: list[str], before: str) -> None:
    """As of `ops restore "$SET"` without SET, which was the newest set."""
    line = f"error: ops: what follows {before!r} is empty, as of a variable that is not set; write it, or leave it out\n"
    assert ops(*words) == (1, line)
    assert begun == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["SET", "--undo"], "--undo puts back what the last restore replaced; leave out SET, --kit and --discard-newer"),
        (["--undo", "--kit", "x"], "--undo puts back what the last restore replaced; leave out SET, --kit and --discard-newer"),
        (
            ["--undo", "--discard-newer"],
            "--undo puts back what the last restore replaced; leave out SET, --kit and --discard-newer",
        ),
        (["--kit", "x", "--discard-newer"], "--kit is for a machine where nothing is newer; leave out --discard-newer"),
        (["--passphrase-file", "x"], "--passphrase-file is of a kit; write --kit FILE as well, or leave it out"),
        (["--undo", "--passphrase-file", "x"], "--passphrase-file is of a kit; write --kit FILE as well, or leave it out"),
        (
            ["--undo", "--file", "downloads/x"],
            "--undo and --kit are for the whole stack; leave out --workflow, --credential and --file",
        ),
        (
            ["--file", "downloads/x", "--passphrase-file", "x"],
            "--passphrase-file is of a kit; write --kit FILE as well, or leave it out",
        ),
    ],
)
def test_no_word_of_a_restore_is_swallowed(ops: Call, begun: list[str], words: list[str], line: str) -> None:
    assert ops("restore", "--yes", *words) == (1, f"error: ops restore: {line}\n")
    assert begun == []


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], "restore"),
        (["SET", "--discard-newer"], "restore"),
        (["--undo"], "undo"),
        (["SET", "--kit", "x", "--passphrase-file", "x"], "restore_from_kit"),
        (["SET", "--workflow", "wpid_1", "--discard-newer"], "bring_back"),
    ],
)
def test_what_goes_together_goes_on(ops: Call, begun: list[str], words: list[str], name: str) -> None:
    assert ops("restore", "--yes", *words) == (0, "")
    assert begun == [name]
