"""ops alerts: what it says without a monitor to ask."""

from pathlib import Path

import pytest

from ops.errors import UserError
from ops.observe import alerts
from ops.stack.stack import Stack
from tests.support.daemon import daemon

MONITOR = "config:\n  skyvern:monitor:\n    enabled: true\n"
CHANNELS = f"{MONITOR}    channels:\n      secure: v1:x\n"


def stack_with(text: str, folder: Path) -> Stack:
    stack = Stack("dev", folder)
    (folder / stack.file_name).write_text(text)
    return stack


def test_without_channels_it_says_how_to_set_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^Pulumi\.dev\.yaml: monitor\.channels: is missing; set it with `pulumi config set"):
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
