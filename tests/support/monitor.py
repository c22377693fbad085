"""The monitor's modules with the libraries of their image, for tests without a container."""

import ctypes.util
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from lab.standins.vercel.build import cached, download_wheels
from ops.paths import ROOT

FOLDER = ROOT / "images/monitor"
SEOUL = ZoneInfo("Asia/Seoul")


def _unpack(folder: Path) -> None:
    download_wheels(folder, FOLDER / "requirements.txt")
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        wheel.unlink()


def libraries() -> Path:
    """A folder with the image's libraries, from PyPI the first time."""
    return cached("monitor", FOLDER / "requirements.txt", _unpack)


@contextmanager
def modules(libpq: Path | None = None) -> Iterator[SimpleNamespace]:
    """The modules by name. libpq: PostgreSQL's library; None for a double of what uses it."""
    names = [path.stem for path in FOLDER.glob("*.py") if path.stem != "app"]
    double, rows = ModuleType("psycopg"), ModuleType("psycopg.rows")
    double.Error = type("Error", (Exception,), {})  # type: ignore[attr-defined]
    double.ProgrammingError = type("ProgrammingError", (double.Error,), {})  # type: ignore[attr-defined]
    rows.dict_row = None  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        before = set(sys.modules)
        if libpq is None:
            patch.setitem(sys.modules, "psycopg", double)
            patch.setitem(sys.modules, "psycopg.rows", rows)
        else:
            # By psycopg, which asks for it by its name.
            patch.setattr(ctypes.util, "find_library", lambda _: str(libpq))
        patch.syspath_prepend(libraries())
        patch.syspath_prepend(FOLDER)
        yield SimpleNamespace(**{name: __import__(name) for name in names})
        for name in set(sys.modules) - before:
            del sys.modules[name]


def config(monitor: SimpleNamespace, state: Path, **changes: Any) -> Any:
    """A configuration in Seoul, with its volume in ``state``."""
    values = {
        "database": "",
        "organizations": {"own": "o_1", "smoke": "o_2"},
        "zone": SEOUL,
        "language": "browser",
        "app_url": "http://localhost:8080",
        "stack": "dev",
        "skyvern": "1.0.56",
        "state": state,
        "backup": None,
        "started": state / "started",
    }
    return monitor.config.Config(**{**values, **changes})
