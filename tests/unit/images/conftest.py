"""Fixtures for tests of the images' modules."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.support import monitor as monitor_modules


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[ModuleType, object], str]:
    """Hands the application to a module that ends the start: its line."""

    def end(code: int) -> None:
        raise SystemExit(code)

    def start(module: ModuleType, app: object) -> str:
        monkeypatch.setattr(os, "_exit", end)
        with pytest.raises(SystemExit, match="1"):
            module.configure_app(app)
        return capsys.readouterr().err

    return start


@pytest.fixture(scope="module")
def monitor() -> Iterator[SimpleNamespace]:
    """The monitor's modules by name."""
    with monitor_modules.modules() as modules:
        yield modules


@pytest.fixture
def config(monitor: SimpleNamespace, tmp_path: Path) -> Any:
    """A configuration of the monitor."""
    return monitor_modules.config(monitor, tmp_path)
