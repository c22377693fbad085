"""ops.clients.git on repositories of the test's own: what counts as the committed file, and what only looks like it."""

import os
import py_compile
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ops.clients import git
from ops.errors import UserError
from ops.paths import ROOT
from tests.support.checkout import commit, init


def test_a_clean_checkout_has_the_tree_of_its_commit_and_needs_no_main(checkout: Path) -> None:
    """A preview on GitHub has the merge of the pull request and nothing else."""
    git.run(checkout, "remote", "add", "origin", str(checkout.parent / "remote"))
    assert git.head(checkout) == git.Head(commit=git.run(checkout, "rev-parse", "HEAD").strip(), changed=())
    assert git.head(checkout).difference == ""
    assert git.tree_of(checkout) == git.run(checkout, "rev-parse", "HEAD^{tree}").strip()


def test_without_a_commit_nothing_is_checked_out(git_folder: Path) -> None:
    for prepare in (lambda _: None, init):
        prepare(git_folder)
        with pytest.raises(UserError, match=r"^git cannot determine what is checked out \(git: exit 128: "):
            git.head(git_folder)


def test_more_than_three_changes_are_counted() -> None:
    clause = git.Head(commit="a" * 40, changed=("a", "b", "c", "d", "e")).difference
    assert clause == "the checkout differs from its commit (a, b, c and 2 more)"


def skipped(checkout: Path) -> str:
    git.run(checkout, "update-index", "--skip-worktree", "program.py")
    (checkout / "program.py").write_text("2\n")
    return "program.py"


def assumed(checkout: Path) -> str:
    git.run(checkout, "update-index", "--assume-unchanged", "program.py")
    (checkout / "program.py").write_text("2\n")
    return "program.py"


def excluded(checkout: Path) -> str:
    (checkout / ".git" / "info" / "exclude").write_text("evil.sh\n")
    (checkout / "images" / "server").mkdir(parents=True)
    (checkout / "images" / "server" / "evil.sh").touch()
    return "images/server/evil.sh"


def excluded_by_the_user(checkout: Path) -> str:
    (checkout / ".git" / "excludes").write_text("*.sh\n")
    git.run(checkout, "config", "core.excludesFile", str(checkout / ".git" / "excludes"))
    (checkout / "evil.sh").touch()
    return "evil.sh"


def ignored_by_itself(checkout: Path) -> str:
    (checkout / "images").mkdir()
    (checkout / "images" / ".gitignore").write_text("*\n")
    (checkout / "images" / "evil.sh").touch()
    return "images/.gitignore, images/evil.sh"


def compiled_beside_its_source(checkout: Path) -> str:
    (checkout / "yaml.pyc").touch()
    (checkout / ".git" / "info" / "exclude").write_text("*.pyc\n")
    return "yaml.pyc"


def filtered(checkout: Path) -> str:
    (checkout / ".git" / "info" / "attributes").write_text("program.py filter=lie\n")
    git.run(checkout, "config", "filter.lie.clean", "printf '1\\n'")
    (checkout / "program.py").write_text("2\n")
    return "program.py"


def replaced(checkout: Path) -> str:
    """HEAD reads as another commit, which holds what is checked out."""
    (checkout / "program.py").write_text("2\n")
    first = git.run(checkout, "rev-parse", "HEAD").strip()
    commit(checkout)
    second = git.run(checkout, "rev-parse", "HEAD").strip()
    git.run(checkout, "reset", "--quiet", "--soft", first)
    git.run(checkout, "replace", first, second)
    return "program.py"


def touched_unseen(checkout: Path) -> str:
    """A monitor that says that nothing changes."""
    monitor = checkout / ".git" / "monitor"
    monitor.write_text("#!/bin/sh\nprintf 'token\\0'\n")
    monitor.chmod(0o755)
    git.run(checkout, "config", "core.fsmonitor", str(monitor))
    git.run(checkout, "update-index", "--fsmonitor")
    git.run(checkout, "update-index", "--fsmonitor-valid", "program.py")
    (checkout / "program.py").write_text("2\n")
    return "program.py"


def a_repository_inside(checkout: Path) -> str:
    (checkout / "images").mkdir()
    git.run(checkout / "images", "init", "--quiet")
    (checkout / "images" / "evil.sh").touch()
    (checkout / ".git" / "info" / "exclude").write_text("images\n")
    return "images/.git/HEAD"


def a_submodule(checkout: Path) -> str:
    (checkout / "module").mkdir()
    git.run(checkout / "module", "init", "--quiet")
    (checkout / "module" / "file").touch()
    commit(checkout / "module")
    git.run(checkout, "-c", "advice.addEmbeddedRepo=false", "add", "module")
    git.run(checkout, "commit", "--quiet", "--message", "a change")
    return "module"


def a_link_instead(checkout: Path) -> str:
    (checkout / "program.py").rename(checkout.parent / "elsewhere.py")
    (checkout / "program.py").symlink_to(checkout.parent / "elsewhere.py")
    return "program.py"


@pytest.mark.parametrize(
    "hide",
    [
        skipped,
        assumed,
        excluded,
        excluded_by_the_user,
        ignored_by_itself,
        compiled_beside_its_source,
        filtered,
        replaced,
        touched_unseen,
        a_repository_inside,
        a_submodule,
        a_link_instead,
    ],
)
def test_a_hidden_change_is_seen(checkout: Path, hide: Callable[[Path], str]) -> None:
    """The guard asks for the head, the record of a review for the tree."""
    seen = hide(checkout)
    assert git.head(checkout).difference.startswith(f"the checkout differs from its commit ({seen}")
    with pytest.raises(UserError, match=r"^the checkout differs from its commit \("):
        git.tree_of(checkout)


def test_variables_of_the_shell_do_not_show_another_repository(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    git.run(tmp_path, "clone", "--quiet", str(checkout), "other")
    # There it would be what is committed.
    for root in (checkout, other):
        (root / "program.py").write_text("2\n")
    commit(other)
    for name, value in {"GIT_DIR": other / ".git", "GIT_WORK_TREE": other, "GIT_INDEX_FILE": other / ".git" / "index"}.items():
        monkeypatch.setenv(name, str(value))
    assert git.head(checkout).changed == ("program.py",)


def test_what_tools_write_is_no_change(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "venv").mkdir()
    (checkout / ".venv").symlink_to(tmp_path / "venv")
    for folder in ("__pycache__", ".mypy_cache", "site/node_modules", "site/dist", "components/__pycache__"):
        (checkout / folder).mkdir(parents=True)
        (checkout / folder / "file").touch()
    assert git.head(checkout).changed == ()
    # Of the same name elsewhere it would be uploaded, or built into an image.
    (checkout / "images" / "node_modules").mkdir(parents=True)
    (checkout / "images" / "node_modules" / "file").touch()
    assert git.head(checkout).changed == ("images/node_modules/file",)


def test_what_is_left_out_is_what_git_ignores() -> None:
    """Else a clean checkout would be refused, or a file that git shows would be passed over."""
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    inside = {path.rpartition("/")[2] if path.endswith("node_modules") else path for path in git.LEFT_OUT_PATHS}
    assert inside | git.LEFT_OUT == ignored | {".git"}


def test_the_ends_of_line_that_git_writes_are_no_change(checkout: Path) -> None:
    (checkout / ".gitattributes").write_text("*.ps1 text eol=crlf\n")
    (checkout / "up.ps1").write_bytes(b"one\r\ntwo\r\n")
    commit(checkout)
    assert git.run(checkout, "cat-file", "blob", "HEAD:up.ps1") == "one\ntwo\n"
    assert git.head(checkout).changed == ()
    (checkout / "up.ps1").write_bytes(b"one\r\nthree\r\n")
    assert git.head(checkout).changed == ("up.ps1",)


def test_a_name_that_is_not_utf_8_is_compared_as_any_other(checkout: Path) -> None:
    file = checkout / os.fsdecode(b"\xff.py")
    file.touch()
    commit(checkout)
    assert git.head(checkout).changed == ()
    file.write_text("2\n")
    assert git.head(checkout).changed == (file.name,)


def test_a_compiled_module_of_the_checkout_is_never_loaded(tmp_path: Path) -> None:
    """As each of our entries and script/env start Python: a planted module that claims to need no check does not run."""
    source = tmp_path / "planted.py"
    source.write_text("print('evil')\n")
    # Beside its source, wherever the compiled modules of this process go.
    compiled = tmp_path / "__pycache__" / f"planted.{sys.implementation.cache_tag}.pyc"
    py_compile.compile(str(source), str(compiled), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    source.write_text("print('source')\n")
    shell = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    for entry in [ROOT / "script" / name for name in ("bootstrap", "env", "up")] + [ROOT / "bin" / "ops"]:
        assert '. "$root/script/environment"' in entry.read_text(), entry
    begin = f"set -euo pipefail; root={shlex.quote(str(ROOT))}; . {shlex.quote(str(ROOT / 'script/environment'))}\n"
    command = f"exec {sys.executable} -c 'import planted'"
    printed = [
        subprocess.run(["bash", "-c", text], cwd=tmp_path, env=shell, capture_output=True, text=True, check=True).stdout
        for text in (begin + command, command)
    ]
    assert printed == ["source\n", "evil\n"]


@pytest.mark.parametrize(("given", "folder"), [("cache", "home/.cache"), ("", "home/.cache"), ("/var/cache/me", "/var/cache/me")])
def test_compiled_modules_go_into_no_folder_that_depends_on_where_a_script_runs(tmp_path: Path, given: str, folder: str) -> None:
    """A relative one counts as not set, as in ops/paths.py."""
    shell = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"], "XDG_CACHE_HOME": given}
    script = f"root={shlex.quote(str(ROOT))}; . {shlex.quote(str(ROOT / 'script/environment'))}; echo $PYTHONPYCACHEPREFIX"
    printed = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=shell, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(tmp_path / folder / "skyvern-stack/pycache")
