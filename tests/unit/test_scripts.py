"""The words of script/test and script/env: a wrong one is a line before anything begins, a right one gets where it belongs."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ops.paths import ROOT

LANES = "tests/unit tests/property tests/policy"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with script/test and script/env, whose other programs print how they were called, and a user without root."""
    (tmp_path / "script").mkdir()
    for name in ("test", "env", "environment"):
        shutil.copy(ROOT / "script" / name, tmp_path / "script")
    for name in ("script/bootstrap", "script/check-shell", "script/check-workflows", ".venv/bin/ruff", ".venv/bin/mypy"):
        program(tmp_path / name, "")
    program(tmp_path / ".venv/bin/python", '[ "$1" != -m ] || echo "ran $*"')
    program(tmp_path / "bin/id", "echo 1000")
    (tmp_path / "tests/unit").mkdir(parents=True)
    (tmp_path / "tests/unit/test_it.py").touch()
    return tmp_path


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run(checkout: Path, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}", "HOME": str(checkout)}
    return subprocess.run(
        [checkout / "script" / script, *words], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["uint"], "uint: is not a part; write unit, all or nightly"),
        (["help"], "help: is not a part; write unit, all or nightly"),
        ([""], ": is not a part; write unit, all or nightly"),
        (["tests/unit/test_gone.py::test_it"], "tests/unit/test_gone.py::test_it: is not a part; write unit, all or nightly"),
        (["unit", "nightly"], "nightly: is not a part; write unit, all or nightly"),
        (["unit", "tests/unit", "tests/uint"], "tests/uint: is not a part; write unit, all or nightly"),
        (["--images", "packages", "uint"], "uint: is not a part; write unit, all or nightly"),
        (["unit", "--images", "foo"], "--images foo: is neither official nor packages; write one of them"),
        (["unit", "-x", "--images"], "--images: is neither official nor packages; write one of them"),
    ],
)
def test_a_wrong_word_of_script_test_is_one_line(checkout: Path, words: list[str], line: str) -> None:
    """The whole lane began, an hour and more."""
    ran = run(checkout, "test", *words)
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", f"test: {line}\n")


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["unit", "--help"], ["nightly", "-x", "-h"]])
def test_script_test_explains_itself(checkout: Path, words: list[str]) -> None:
    ran = run(checkout, "test", *words)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("The tests. ")
    assert "\n  script/test [all|nightly|unit] [--images official|packages] [arguments of pytest]\n" in ran.stdout
    assert "set -" not in ran.stdout
    assert "#" not in ran.stdout


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["unit"], ""),
        (["unit", "-k", "word"], "-k word"),
        (["unit", "-m", "nightly", "-x"], "-m nightly -x"),
        (["unit", "--deselect", "x"], "--deselect x"),
        (
            ["unit", "--images", "packages", "tests/unit/test_it.py::test_it", "-k", "word"],
            "tests/unit/test_it.py::test_it -k word",
        ),
        (["unit", "tests/unit/test_it.py::Class::test_it[a::b]"], "tests/unit/test_it.py::Class::test_it[a::b]"),
    ],
)
def test_script_test_gives_pytest_its_arguments(checkout: Path, words: list[str], arguments: str) -> None:
    ran = run(checkout, "test", *words)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == f"ran -m pytest -n auto {LANES} {arguments}".rstrip()


@pytest.mark.parametrize("words", [["prod"], ["--stack", "prod"], ["--help"]])
def test_script_env_refuses_words(checkout: Path, words: list[str]) -> None:
    """eval "$(script/env prod)" gave a shell that looked like one for prod alone."""
    ran = run(checkout, "env", *words)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert (
        ran.stderr
        == f'env: {words[0]}: this takes no argument, and what it prints is for every stack; write eval "$(script/env)"\n'
    )
    (checkout / "requirements.txt").touch()
    (checkout / "requirements-dev.txt").touch()
    (checkout / f".venv/.requirements-{hashlib.sha256().hexdigest()[:16]}").touch()
    assert run(checkout, "env").stdout == "ran -m ops.bootstrap --print-env\n"


@pytest.mark.parametrize("words", [[], ["all"], ["nightly", "-k", "word"], ["tests/unit/test_it.py::test_it"], ["-k", "word"]])
def test_the_other_lanes_begin(checkout: Path, words: list[str]) -> None:
    ran = run(checkout, "test", *words)
    assert (ran.returncode, ran.stderr.partition(" need root")[1]) == (1, " need root")
