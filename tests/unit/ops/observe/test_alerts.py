"""ops alerts: what it says without a monitor to ask."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops.errors import UserError
from ops.observe import alerts
from ops.stack import kits
from ops.stack.stack import Stack
from tests.support.daemon import daemon

MONITOR = "config:\n  skyvern:monitor:\n    enabled: true\n"
CHANNELS = f"{MONITOR}    channels:\n      secure: v1:x\n"


def stack_with(text: str, folder: Path) -> Stack:
    stack = Stack("dev", folder)
    (folder / stack.file_name).write_text(text)
    return stack


def test_without_channels_it_says_how_to_set_them(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^Pulumi\.dev\.yaml: monitor\.channels: is missing; set it with `pulumi .+ -s dev` \(docs"
    ):
        alerts.ask(stack_with(MONITOR, tmp_path), "list")


def test_a_monitor_that_does_not_run_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was docker's answer: no such container."""
    there = daemon()
    monkeypatch.setattr(Stack, "docker", lambda self: there)
    stack = stack_with(CHANNELS, tmp_path)
    with pytest.raises(UserError, match=r"^stack dev: skyvern-dev-monitor does not run; run script/up --stack dev$"):
        alerts.ask(stack, "test")
    there = daemon(**{"^skyvern-dev-monitor$": "id", "monitor-alerts list": "The disk is nearly full\n"})
    assert alerts.ask(stack, "list") == "The disk is nearly full"


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800), ("2h", 7200), ("7d", 604800), ("30d", 2592000)])
def test_a_time(text: str, seconds: int) -> None:
    assert alerts.parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "0h", "-1h", "2 h", "31d", "1w", "1.5h", "999999d"])
def test_a_time_that_is_none_is_one_line(text: str) -> None:
    with pytest.raises(UserError, match=r"^ops alerts silence: --for: .* is not a time up to 30 days; write 30m, 2h or 7d$"):
        alerts.parse_time(text)


def note_questions(asked: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A monitor that answers nothing."""

    def ask(_: Stack, *question: str) -> str:
        asked.append(question)
        return ""

    monkeypatch.setattr(alerts, "ask", ask)


def test_a_silence_is_the_monitors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_with(CHANNELS, tmp_path)
    asked: list[tuple[str, ...]] = []
    note_questions(asked, monkeypatch)
    alerts.silence("disk", stack=stack, lasting="30m", end=False)
    alerts.silence("disk", stack=stack, lasting="2h", end=True)
    assert asked == [("silence", "disk", "1800"), ("silence", "disk", "0")]


def test_an_unknown_cause_is_the_monitors_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise UserError("docker: exit 1: disc: is not a cause; name one that ops alerts list shows")

    monkeypatch.setattr(alerts, "ask", refuse)
    with pytest.raises(UserError, match=r"^ops alerts silence: disc: is not a cause; name one"):
        alerts.silence("disc", stack=stack_with(CHANNELS, tmp_path), lasting="2h", end=False)


BACKUP = f"{CHANNELS}  skyvern:backup:\n    type: path\n    path: /mnt/d/skyvern\n"


def test_what_the_host_knows_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = datetime(2026, 11, 20, tzinfo=UTC)
    asked: list[tuple[str, ...]] = []
    note_questions(asked, monkeypatch)
    monkeypatch.setattr(alerts, "last_change", lambda _: made)
    monkeypatch.setattr(Stack, "state", lambda self: {})
    monkeypatch.setattr(kits, "made_at", lambda _: None)
    lines: list[str] = []
    alerts.record(stack_with(BACKUP, tmp_path), lines.append)
    assert [(name, json.loads(text)) for name, text in asked] == [("record", {"secrets": made.isoformat(), "kit": None})]
    # Without a backup there is no kit to miss.
    alerts.record(stack_with(CHANNELS, tmp_path), lines.append)
    assert (len(asked), lines) == (1, [])


def test_a_note_that_cannot_be_left_fails_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Stack) -> None:
        raise UserError("pulumi: exit 255")

    monkeypatch.setattr(Stack, "state", fail)
    lines: list[str] = []
    alerts.record(stack_with(BACKUP, tmp_path), lines.append)
    assert lines == ["the monitor does not know of the recovery kit: pulumi: exit 255"]
