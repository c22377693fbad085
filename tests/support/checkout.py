"""Git repositories of a test's own: the fixtures, which a conftest.py imports, and the commands that fill them."""

from pathlib import Path

import pytest

from ops.clients import git


@pytest.fixture
def git_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, not yet a repository, in which git has an author and none of the user's settings."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "a test")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@example.com")
    root = tmp_path / "checkout"
    root.mkdir()
    return root


@pytest.fixture
def checkout(git_folder: Path) -> Path:
    """A repository with one commit on main, of ``program.py``, without a remote."""
    init(git_folder)
    (git_folder / "program.py").write_text("1\n")
    commit(git_folder)
    return git_folder


def init(root: Path) -> None:
    """An empty repository whose branch will be main."""
    git.run(root, "init", "--quiet", "--initial-branch=main")


def commit(root: Path) -> str:
    """Commits everything in the folder; the 40 hex digits of the commit."""
    git.run(root, "add", "--all")
    git.run(root, "commit", "--quiet", "--message", "a change")
    return git.run(root, "rev-parse", "HEAD").strip()
