"""Programs and modules of the server's image, loaded from the checkout."""

import importlib.util
from importlib.machinery import SourceFileLoader
from types import ModuleType

import pytest

from ops.paths import ROOT

FOLDER = ROOT / "images/server"


def load(name: str, monkeypatch: pytest.MonkeyPatch | None = None) -> ModuleType:
    """A file of the folder as a module. monkeypatch: of a test in which it imports others of the folder."""
    if monkeypatch is not None:
        monkeypatch.syspath_prepend(FOLDER)
    loader = SourceFileLoader(name.removesuffix(".py").replace("-", "_"), str(FOLDER / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
