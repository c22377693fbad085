"""ops.observe.version on checkouts of the test's own, and the commands that show it."""

import tomllib
from pathlib import Path

import pytest

from ops import cli
from ops.errors import UserError
from ops.machine import environment
from ops.observe import version
from ops.paths import ROOT
from tests.support.checkout import commit, init


@pytest.fixture
def project(git_folder: Path) -> Path:
    """A folder with a pyproject.toml, not yet a repository."""
    (git_folder / "pyproject.toml").write_text('[project]\nname = "skyvern-stack"\nversion = "9.8.7"\n')
    return git_folder


def test_without_git_it_is_the_projects_version(project: Path) -> None:
    assert version.read(project) == "9.8.7"


def test_a_repository_around_the_checkout_is_not_the_checkouts(project: Path) -> None:
    init(project.parent)
    commit(project.parent)
    assert version.read(project) == "9.8.7"


def test_git_adds_the_commit_and_whether_the_checkout_differs(project: Path) -> None:
    init(project)
    first = commit(project)
    assert version.read(project) == f"9.8.7+{first[:12]}"
    (project / "pyproject.toml").write_text('[project]\nversion = "9.8.8"\n')
    assert version.read(project) == f"9.8.8+{first[:12]}.changed"


def test_a_repository_without_a_commit_has_the_projects_version(project: Path) -> None:
    init(project)
    assert version.read(project) == "9.8.7"


def test_ops_version_names_the_project_first(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def no_engine() -> dict[str, str]:
        raise UserError("Pulumi: this checkout is not prepared; run script/bootstrap")

    # Somebody who reports a fault may not have come as far as an engine.
    monkeypatch.setattr(environment, "for_engine", no_engine)
    cli.version()
    number = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    line = capsys.readouterr().out
    assert line.startswith(f"skyvern-stack {number}")
    assert "; no engine; Python 3." in line
    assert "; Skyvern 1." in line
