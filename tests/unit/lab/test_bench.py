"""The pure parts of script/bench: what the flat program registers, how a row reads; and what is made before a part begins."""

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab import bench
from lab.bench.first_run import seconds_by_step
from lab.workspace import flatten
from ops.errors import UserError
from ops.images import build
from ops.machine import daemon, engine
from ops.paths import ROOT
from ops.stack import inventory

STACK = "urn:pulumi:bench::skyvern::"
SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "plaintext": json.dumps("hidden")}
RESOURCES: list[dict[str, Any]] = [
    {"urn": f"{STACK}pulumi:pulumi:Stack::skyvern-bench", "type": "pulumi:pulumi:Stack", "custom": False},
    {"urn": f"{STACK}pulumi:providers:docker::daemon", "type": "pulumi:providers:docker", "custom": True, "inputs": {}},
    {"urn": f"{STACK}skyvern:host:Networks::networks", "type": "skyvern:host:Networks", "custom": False},
    {
        "urn": f"{STACK}docker:index/network:Network::data",
        "type": "docker:index/network:Network",
        "custom": True,
        "inputs": {"__defaults": [], "name": "skyvern-bench-data"},
    },
    {
        "urn": f"{STACK}docker:index/container:Container::server",
        "type": "docker:index/container:Container",
        "custom": True,
        "inputs": {"__defaults": [], "envs": ["A=1", SECRET], "labels": [{"__defaults": [], "label": "a"}]},
        "dependencies": [f"{STACK}docker:index/network:Network::data", f"{STACK}skyvern:host:Networks::networks"],
    },
]


def test_the_flat_program_has_the_custom_resources_in_order_with_their_secrets_opened() -> None:
    network, server = flatten(RESOURCES)
    assert (network["name"], network["inputs"], network["after"]) == ("data", {"name": "skyvern-bench-data"}, [])
    assert server["inputs"] == {"envs": ["A=1", "hidden"], "labels": [{"label": "a"}]}
    assert server["after"] == [network["urn"]]


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        (
            bench.Row(name="up", ours=41.2, against="a script", theirs=40, unit="s", goal="<= 1.1"),
            ("up", "41 s", "a script", "40 s", "1.03", "<= 1.1"),
        ),
        (
            bench.Row(name="memory", ours=1.5, against="idle", theirs=0, unit="MiB"),
            ("memory", "1.50 MiB", "idle", "0.00 MiB", "-", ""),
        ),
    ],
)
def test_a_row_shows_both_figures_and_their_ratio(row: bench.Row, cells: tuple[str, ...]) -> None:
    assert row.cells() == cells


def test_works_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []

    def work(name: str, figures: list[float]) -> float:
        order.append(name)
        return figures.pop(0)

    ours, theirs = [9.0, 1.0, 5.0, 3.0], [8.0, 2.0, 2.0, 4.0]
    assert bench.take_turns(3, lambda: work("a", ours), lambda: work("b", theirs), say=lambda _: None) == [3.0, 2.0]
    assert order == ["a", "b"] * 4


def test_the_steps_of_a_first_run_are_read_from_what_it_printed() -> None:
    printed = """\
bootstrap: installing
[1/3] Docker ...
      Docker answers
      done in 2 s
[2/3] pulumi up -s dev ...
Duration: 40s
      done in 48 s
[3/3] smoke ...
      ok    workflow run  5.3 s
"""
    assert seconds_by_step(printed, 61.5) == {"Python environment": 11.5, "Docker": 2, "pulumi up -s dev": 48}


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was made ready, in order; no containers of an earlier bench."""
    made: list[str] = []
    monkeypatch.setattr(daemon, "ensure_docker", lambda host, say: made.append(host))
    monkeypatch.setattr(engine, "ensure_engine", lambda choice, say: made.append("engine"))
    monkeypatch.setattr(inventory, "containers", lambda docker, stack: [])
    return made


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["previews", "edge"],
            "previews is not a part; write one of preview, edge, memory, requests, artifacts, first-run",
        ),
        (["--like"], "argument --like: expected one argument"),
    ],
)
def test_a_wrong_word_is_one_line(words: list[str], line: str, prepared: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"script/bench: {line} (see script/bench --help)\n"
    assert prepared == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [("folder", "Is a directory"), ("missing/bench.json", "No such file or directory"), ("file/bench.json", "Not a directory")],
)
def test_a_file_that_cannot_be_written_is_one_line_before_it_measures(
    name: str,
    reason: str,
    tmp_path: Path,
    prepared: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    assert bench.main(["edge", "--json", str(tmp_path / name)]) == 1
    assert capsys.readouterr().err == f"{tmp_path / name}: {reason}; correct that and run this again\n"
    assert prepared == []


@pytest.mark.parametrize("before", [None, "kept"])
def test_a_bench_that_is_interrupted_leaves_the_file_as_it_was_and_names_what_goes_on(
    before: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "run", interrupted)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    file = tmp_path / "bench.json"
    if before is not None:
        file.write_text(before)
    assert bench.main(["edge", "--json", str(file)]) == 130
    assert (file.read_text() if file.exists() else None) == before
    line = "script/bench: interrupted; its stacks are removed; a Docker daemon that it started on this machine goes on\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("part", "made"),
    [
        ("memory", ["unix:///var/run/docker.sock", "engine"]),
        # Stand-ins answer for its daemon.
        ("edge", ["engine"]),
        # A fresh machine makes its own engine.
        ("first-run", ["unix:///var/run/docker.sock"]),
    ],
)
def test_a_part_has_what_it_needs(part: str, made: list[str], prepared: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def begun(*_: object, **__: object) -> None:
        raise UserError("begun")

    for module, name in ((build, "build"), (bench, "compare_edge_previews"), (bench, "compare_first_run")):
        monkeypatch.setattr(module, name, begun)
    with pytest.raises(UserError, match=r"^begun$"):
        bench.run([part], like="dev", say=lambda _: None)
    assert prepared == made


def test_the_script_makes_the_python_environment_and_nothing_else(tmp_path: Path) -> None:
    """A daemon was started, and the engine built, before a word was read."""
    for name in ("bench", "environment"):
        (tmp_path / "script").mkdir(exist_ok=True)
        shutil.copy(ROOT / "script" / name, tmp_path / "script")
    for stub in (tmp_path / "script/bootstrap", tmp_path / ".venv/bin/python"):
        stub.parent.mkdir(parents=True, exist_ok=True)
        stub.write_text('#!/bin/sh\necho "${0##*/} $*"\n')
        stub.chmod(0o755)
    ran = subprocess.run([tmp_path / "script/bench", "--help"], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["bootstrap --venv", "python -m lab.bench --help"]
