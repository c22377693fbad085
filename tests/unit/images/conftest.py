"""Fixtures for tests of the images' modules."""

import os
from collections.abc import Callable
from types import ModuleType

import pytest


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
