"""ops.review.skyvern_update with doubles of uv, pip and npm: every place has the new version, or none has."""

import hashlib
import io
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from ops.clients import pip, process, terminal
from ops.errors import UserError
from ops.paths import ROOT
from ops.review import skyvern_update
from ops.review.skyvern_update import PAGES, SDK_PAGES, SERVER, SETTINGS, TESTS, UI

# The texts of a UI, by the version before and the new one: one stays, one goes, one comes, one was never translated.
SHOWN = {"1.0.56": ("Save", "Gone now", "Of a library"), "1.0.57": ("Save", "Of a library", "New here")}
FILES = (f"{SERVER}.in", f"{SERVER}.txt", UI, SETTINGS, *PAGES.values(), *SDK_PAGES)


def wheel_of(version: str) -> bytes:
    """A wheel of the UI of a version; its texts are in one file."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        # The same each time, as its hash is written down.
        archive.writestr(zipfile.ZipInfo("skyvern_ui/dist/texts"), "\n".join(SHOWN[version]))
    return content.getvalue()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of this checkout that have the version; uv puts what is wanted below what it was given."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())

    shutil.copytree(ROOT / "site", tmp_path / "site", dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules", "dist"))

    def capture(command: list[str], *, cwd: Path, env: object = None, timeout_seconds: float = 0) -> bytes:
        if "pip" in command and "download" in command:
            (cwd / "skyvern_ui.whl").write_bytes(wheel_of(command[-1].removeprefix("skyvern-ui==")))
            return b""
        if command[0] == "npm":
            # Where a checkout has no acorn, Debian's or npm's would be asked for; the list is tested in tests/site.
            return b""
        if command[0] == "node":
            new, old = (set((Path(folder) / "texts").read_text().split("\n")) for folder in command[-2:])
            known = {"Save", "Gone now"}
            return json.dumps({"ko": {"new": sorted(new - old - known), "vanished": sorted(known - new)}}).encode()
        if command[0] != "uv":
            return f"page in {command[-1]}\n".encode()
        wanted = (cwd / "requirements.in").read_text().strip()
        (cwd / "requirements.txt").write_text(f"{wanted} --hash=sha256:1\n    # via -r requirements.in\n")
        return b""

    monkeypatch.setattr(process, "capture", capture)
    monkeypatch.setattr(pip, "variables", dict)
    monkeypatch.setattr(terminal, "run_attended", lambda *_, **__: 0)
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in FILES}


def test_every_place_has_the_new_version(folder: Path) -> None:
    before = contents(folder)
    skyvern_update.update("1.0.57", lambda line: None, folder)
    after = contents(folder)
    assert all(after[name] != before[name] for name in FILES)
    assert after[f"{SERVER}.in"] == "skyvern[server]==1.0.57\n"
    assert after[f"{SERVER}.txt"].startswith("# Compiled from requirements.in with every hash; ")
    assert "skyvern[server]==1.0.57 --hash=sha256:1\n    # via -r requirements.in\n" in after[f"{SERVER}.txt"]
    assert after[UI].splitlines()[:2] == [before[UI].splitlines()[0], "skyvern-ui==1.0.57 \\"]
    assert after[UI].splitlines()[2] == f"    --hash=sha256:{hashlib.sha256(wheel_of('1.0.57')).hexdigest()}"
    assert 'SKYVERN_VERSION = "1.0.57"\n' in after[SETTINGS]
    assert after["docs/ko/skyvern-settings.md"] == "page in ko\n"
    # What was seen with the version before stays a fact about that one.
    for page in SDK_PAGES:
        assert after[page] == before[page].replace("skyvern==1.0.56", "skyvern==1.0.57")


@pytest.mark.parametrize(
    ("version", "fault", "said"),
    [
        ("newest", "", "'newest' is not a version of Skyvern; write one as on PyPI"),
        ("1.0.57; rm", "", "is not a version of Skyvern"),
        (
            "9.9.9",
            "uv: exit 1: no version of skyvern",
            r"==9\.9\.9 cannot be resolved, and nothing was changed: uv: ",
        ),
        ("1.0.57", "uv: not found on PATH; run script/bootstrap", "uv: not found; install it"),
    ],
)
def test_a_version_that_there_is_not_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, version: str, fault: str, said: str
) -> None:
    def failing(*_: object, **__: object) -> bytes:
        raise UserError(fault)

    if fault:
        monkeypatch.setattr(process, "capture", failing)
    before = contents(folder)
    with pytest.raises(UserError, match=said):
        skyvern_update.update(version, lambda line: None, folder)
    assert contents(folder) == before


def test_what_does_not_fit_ends_with_the_next_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "run_attended", lambda *_, **__: 1)
    before = contents(folder)
    for command in (["init", "--quiet"], ["add", "."], ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    with pytest.raises(UserError, match=r"Skyvern 1\.0\.57 does not fit yet: correct what the tests above name") as told:
        skyvern_update.update("1.0.57", lambda line: None, folder)
    assert contents(folder) != before
    # The cure, followed.
    taken_back = re.search(r"; (git checkout -- \.) takes all of it back$", str(told.value))
    assert taken_back, told.value
    subprocess.run(taken_back[1].split(), cwd=folder, check=True, capture_output=True)
    assert contents(folder) == before


def test_the_tests_that_read_the_wheel_are_there() -> None:
    assert [name for name in TESTS if not (ROOT / name).exists()] == []


def test_every_test_that_reads_the_wheel_or_its_version_is_run() -> None:
    """Above all that of the schema of automation files, which no step of the update writes."""
    imported = re.compile(r"^from .* import .*\b(SKYVERN_VERSION|skyvern_wheel|pinned_wheel)\b", re.MULTILINE)
    readers = [path for path in (ROOT / "tests/unit").rglob("test_*.py") if imported.search(path.read_text())]
    assert len(readers) > 5
    run = [ROOT / name for name in TESTS]
    assert [path for path in readers if not any(path.is_relative_to(name) for name in run)] == []


def test_new_and_vanished_texts_are_listed_for_translators(folder: Path) -> None:
    """Neither the texts that stay nor those that were never translated, such as messages of libraries."""
    lines: list[str] = []
    skyvern_update.update("1.0.57", lines.append, folder)
    assert [line for line in lines if "locales" in line] == [
        'site/locales/ko.json: 1 new in the UI (English until translated), 1 to remove\n  + "New here"\n  - "Gone now"'
    ]


def test_texts_that_cannot_be_listed_stop_no_update(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> str:
        raise UserError("node: not found on PATH")

    monkeypatch.setattr(skyvern_update, "translations", failing)
    lines: list[str] = []
    skyvern_update.update("1.0.57", lines.append, folder)
    assert "the UI's new and vanished texts could not be listed: node: not found on PATH" in lines
    assert 'SKYVERN_VERSION = "1.0.57"' in (folder / SETTINGS).read_text()
