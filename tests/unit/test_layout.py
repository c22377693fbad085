"""The rooms of the code: who may import whom (pyproject.toml), and where an import may stand."""

import ast
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter import cli as import_linter

from ops.paths import ROOT

PRODUCT = ("components", "ops", "policy", "lab")


def sources(*folders: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = [ROOT / name for name in listed.splitlines() if name.endswith(".py") and (ROOT / name).exists()]
    assert len(found) > 20
    return found


def lint() -> int:
    return int(import_linter.lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, limit_to_contracts=()))


def test_a_room_imports_only_what_is_below_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    assert lint() == 0, capsys.readouterr().out


@pytest.mark.parametrize("package", ["policy", "skyvern_provider"])
def test_what_can_be_published_alone_imports_no_other_package_of_this_project(package: str) -> None:
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (rule for rule in rules["contracts"] if rule.get("source_modules") == [package])
    assert {package, *contract["forbidden_modules"]} == set(rules["root_packages"])


def inner_imports(text: str) -> Iterator[int]:
    """Lines of imports inside of functions that give no reason: a comment on their line, or on the one above them."""
    lines = text.splitlines()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    imports = {
        node.lineno for function in functions for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)
    }
    for line in sorted(imports):
        above = lines[line - 2].strip()
        if "#" not in lines[line - 1] and not above.startswith("#") and line - 1 not in imports:
            yield line


def test_an_import_inside_a_function_gives_its_reason() -> None:
    bare = [f"{path.relative_to(ROOT)}:{line}" for path in sources(*PRODUCT) for line in inner_imports(path.read_text())]
    assert bare == []


def test_no_test_module_imports_another() -> None:
    """What several tests share is in tests/support: a module that is collected twice runs its fixtures twice."""
    for path in sources("tests"):
        imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
        names = [f"{getattr(node, 'module', '')}.{alias.name}" for node in imports for alias in node.names]
        assert [name for name in names if "tests." in name and ".test_" in name] == [], path


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("def f():\n    import a\n", [2]),
        ("def f():\n    # start time\n    import a\n    import b\n", []),
        ("def f():\n    import a  # start time\n", []),
        ("import a\n", []),
    ],
)
def test_the_rule_on_reasons_itself(text: str, lines: list[int]) -> None:
    assert list(inner_imports(text)) == lines
