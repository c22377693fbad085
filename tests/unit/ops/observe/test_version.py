"""ops.version on checkouts of the test's own, and the commands that show it."""

import tomllib
from pathlib import Path

import pytest

from ops import cli
from ops.clients import git
from ops.errors import UserError
from ops.machine import environment
from ops.observe import version
from ops.paths import ROOT


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pyproject.toml, not yet a repository."""
    for name, value in {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "a test")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@example.com")
    root = tmp_path / "checkout"
    root.mkdir()
    (root / "pyproject.toml").write_text('[project]\nname = "skyvern-stack"\nversion = "9.8.7"\n')
    return root


def committed(root: Path) -> str:
    git.run(root, "init", "--quiet", "--initial-branch=main")
    git.run(root, "add", "--all")
    git.run(root, "commit", "--quiet", "--message", "a change")
    return git.head(root).commit


def test_without_git_it_is_the_projects_version(checkout: Path) -> None:
    assert version.read(checkout) == "9.8.7"


def test_a_repository_around_the_checkout_is_not_the_checkouts(checkout: Path) -> None:
    committed(checkout.parent)
    assert version.read(checkout) == "9.8.7"


def test_git_adds_the_commit_and_whether_the_checkout_differs(checkout: Path) -> None:
    commit = committed(checkout)
    assert version.read(checkout) == f"9.8.7+{commit[:12]}"
    (checkout / "pyproject.toml").write_text('[project]\nversion = "9.8.8"\n')
    assert version.read(checkout) == f"9.8.8+{commit[:12]}.changed"


def test_a_repository_without_a_commit_has_the_projects_version(checkout: Path) -> None:
    git.run(checkout, "init", "--quiet")
    assert version.read(checkout) == "9.8.7"


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
