"""ops.guard on repositories of the test's own: what may change a guarded stack, and the one line for what may not."""

import os
import py_compile
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ops import bootstrap
from ops.clients import git
from ops.deploy import guard, rotate
from ops.deploy import up as deploy
from ops.errors import UserError
from ops.machine import daemon
from ops.paths import ROOT

GUARDED = "config:\n  skyvern:deployment:\n    only_from_main: true\n"
FREE = GUARDED.replace("true", "false")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit on main, without a remote."""
    for name, value in {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "a test")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@example.com")
    root = tmp_path / "checkout"
    root.mkdir()
    git.run(root, "init", "--quiet", "--initial-branch=main")
    (root / "program.py").write_text("1\n")
    commit(root)
    return root


def commit(root: Path) -> None:
    git.run(root, "add", "--all")
    git.run(root, "commit", "--quiet", "--message", "a change")


def refused(root: Path, stack: str = "prod") -> str:
    with pytest.raises(UserError) as told:
        guard.check(stack, root, unreviewed=False)
    (line,) = str(told.value).splitlines()
    assert line.startswith(f"stack {stack}: ")
    assert line.endswith(", and nothing was changed; merge it first, or add --unreviewed (docs/pull-requests.md)")
    return line.removeprefix(f"stack {stack}: ").partition(", and nothing was changed")[0]


def test_main_may(checkout: Path) -> None:
    guard.check("prod", checkout, unreviewed=False)


def test_a_dirty_checkout_may_not(checkout: Path) -> None:
    (checkout / "program.py").write_text("2\n")
    assert refused(checkout) == "the checkout differs from its commit (program.py)"
    # Untracked files are in the contexts of images.
    git.run(checkout, "mv", "--force", "program.py", "ein Name.py")
    for name in ("x", "y", "z"):
        (checkout / name).touch()
    assert refused(checkout) == "the checkout differs from its commit (ein Name.py, program.py, x and 2 more)"
    guard.check("prod", checkout, unreviewed=True)


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
    """By the guard and by the record of a review, which share the look."""
    seen = hide(checkout)
    assert refused(checkout).startswith(f"the checkout differs from its commit ({seen}")
    with pytest.raises(UserError, match=r"^the checkout differs from its commit \("):
        git.tree_of(checkout)


def test_variables_of_the_shell_do_not_show_another_repository(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    git.run(tmp_path, "clone", "--quiet", str(checkout), "other")
    (checkout / "program.py").write_text("2\n")
    for name, value in {"GIT_DIR": other / ".git", "GIT_WORK_TREE": other, "GIT_INDEX_FILE": other / ".git" / "index"}.items():
        monkeypatch.setenv(name, str(value))
    assert refused(checkout) == "the checkout differs from its commit (program.py)"


def test_what_tools_write_is_no_change(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "venv").mkdir()
    (checkout / ".venv").symlink_to(tmp_path / "venv")
    for folder in ("__pycache__", ".mypy_cache", "site/node_modules", "site/dist", "components/__pycache__"):
        (checkout / folder).mkdir(parents=True)
        (checkout / folder / "file").touch()
    guard.check("prod", checkout, unreviewed=False)
    # Of the same name elsewhere it would be uploaded, or built into an image.
    (checkout / "images" / "node_modules").mkdir(parents=True)
    (checkout / "images" / "node_modules" / "file").touch()
    assert refused(checkout) == "the checkout differs from its commit (images/node_modules/file)"


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
    guard.check("prod", checkout, unreviewed=False)
    (checkout / "up.ps1").write_bytes(b"one\r\nthree\r\n")
    assert refused(checkout) == "the checkout differs from its commit (up.ps1)"


def test_a_compiled_module_of_the_checkout_is_never_loaded(tmp_path: Path) -> None:
    """As each of our entries and script/env start Python: a planted module that claims to need no check does not run."""
    source = tmp_path / "planted.py"
    source.write_text("print('evil')\n")
    # Beside its source, wherever the compiled modules of this process go.
    compiled = tmp_path / "__pycache__" / f"planted.{sys.implementation.cache_tag}.pyc"
    py_compile.compile(str(source), str(compiled), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    source.write_text("print('source')\n")
    entries = [ROOT / "script" / name for name in ("bootstrap", "env", "up")] + [ROOT / "bin" / "ops"]
    (export,) = {line for entry in entries for line in entry.read_text().splitlines() if "PYTHONPYCACHEPREFIX=" in line}
    shell = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    command = f"{export}\nexec {sys.executable} -c 'import planted'"
    said = [
        subprocess.run(["bash", "-c", text], cwd=tmp_path, env=shell, capture_output=True, text=True, check=True).stdout
        for text in (command, command.partition("\n")[2])
    ]
    assert said == ["source\n", "evil\n"]


def test_a_commit_that_is_not_on_main_may_not(checkout: Path) -> None:
    git.run(checkout, "switch", "--quiet", "--create", "feature")
    guard.check("prod", checkout, unreviewed=False)
    (checkout / "program.py").write_text("2\n")
    commit(checkout)
    assert refused(checkout) == f"the commit {git.head(checkout).commit[:12]} is not on main"
    # What was on main once is the way back.
    git.run(checkout, "switch", "--quiet", "main")
    git.run(checkout, "merge", "--quiet", "feature")
    git.run(checkout, "switch", "--quiet", "--detach", "HEAD~1")
    guard.check("prod", checkout, unreviewed=False)


def test_with_a_remote_its_main_counts(checkout: Path, tmp_path: Path) -> None:
    git.run(tmp_path, "clone", "--quiet", "--bare", str(checkout), "remote")
    git.run(checkout, "remote", "add", "origin", str(tmp_path / "remote"))
    assert refused(checkout) == "git has no origin/main here to compare with (git fetch origin main)"
    # A preview on GitHub has the merge of the pull request and nothing else.
    assert git.tree_of(checkout) == git.run(checkout, "rev-parse", "HEAD^{tree}").strip()
    git.run(checkout, "fetch", "--quiet", "origin")
    guard.check("prod", checkout, unreviewed=False)
    (checkout / "program.py").write_text("2\n")
    commit(checkout)
    assert refused(checkout).endswith("is not on origin/main")
    git.run(checkout, "push", "--quiet", "origin", "main")
    guard.check("prod", checkout, unreviewed=False)


@pytest.mark.parametrize("kind", [("tag",), ("branch",)])
def test_a_tag_or_branch_that_is_called_origin_main_is_not_it(checkout: Path, tmp_path: Path, kind: tuple[str, ...]) -> None:
    """git reads such a name first, and a fetch brings the tags of whoever may push."""
    git.run(tmp_path, "clone", "--quiet", "--bare", str(checkout), "remote")
    git.run(checkout, "remote", "add", "origin", str(tmp_path / "remote"))
    git.run(checkout, "fetch", "--quiet", "origin")
    git.run(checkout, "switch", "--quiet", "--create", "feature")
    (checkout / "program.py").write_text("2\n")
    commit(checkout)
    git.run(checkout, *kind, "origin/main", "feature")
    assert refused(checkout).endswith("is not on origin/main")


def test_without_a_remote_a_tag_that_is_called_main_is_not_it(checkout: Path) -> None:
    git.run(checkout, "switch", "--quiet", "--create", "feature")
    (checkout / "program.py").write_text("2\n")
    commit(checkout)
    git.run(checkout, "tag", "main", "feature")
    assert refused(checkout).endswith("is not on main")


def test_a_graft_puts_no_commit_on_main(checkout: Path) -> None:
    git.run(checkout, "switch", "--quiet", "--create", "feature")
    (checkout / "program.py").write_text("2\n")
    commit(checkout)
    feature, main = (git.run(checkout, "rev-parse", ref).strip() for ref in ("feature", "refs/heads/main"))
    (checkout / ".git/info").mkdir(exist_ok=True)
    (checkout / ".git/info/grafts").write_text(f"{main} {feature}\n")
    assert refused(checkout).endswith("is not on main")


def test_without_git_nobody_can_tell(tmp_path: Path) -> None:
    assert refused(tmp_path) == "this folder is not a git checkout, so its contents cannot be verified"
    guard.check("dev", tmp_path, unreviewed=False)


@pytest.mark.parametrize(
    ("stack", "text", "guarded"),
    [
        ("prod", None, True),
        ("dev", None, False),
        ("organization/skyvern/prod", None, True),
        ("prod", "config: {}\n", True),
        ("staging", GUARDED, True),
        ("prod", FREE, False),
        ("dev", "config: [\n", True),
        ("dev", "config: text\n", True),
        ("dev", "config:\n  skyvern:deployment:\n    only_from_main: 'no'\n", True),
    ],
)
def test_the_stack_file_says_who_is_guarded(stack: str, text: str | None, guarded: bool) -> None:
    assert guard.is_guarded(stack, text) is guarded


def test_an_edit_that_is_not_on_main_does_not_lift_the_guard(checkout: Path) -> None:
    file = checkout / "Pulumi.staging.yaml"
    file.write_text(GUARDED)
    commit(checkout)
    file.write_text(FREE)
    assert refused(checkout, "staging") == "the checkout differs from its commit (Pulumi.staging.yaml)"
    assert guard.guards("staging", checkout)
    commit(checkout)
    guard.check("staging", checkout, unreviewed=False)
    # And one that sets it counts at once.
    file.write_text(GUARDED)
    assert refused(checkout, "staging").startswith("the checkout differs")


@pytest.mark.parametrize("answer", [True, False])
def test_a_person_at_the_terminal_is_asked(checkout: Path, answer: bool) -> None:
    (checkout / "program.py").write_text("2\n")
    questions: list[str] = []

    def confirm(question: str) -> bool:
        questions.append(question)
        return answer

    if answer:
        guard.check("prod", checkout, unreviewed=False, confirm=confirm)
    else:
        with pytest.raises(UserError, match="nothing was changed"):
            guard.check("prod", checkout, unreviewed=False, confirm=confirm)
    assert questions == ["stack prod: the checkout differs from its commit (program.py). Deploy it anyway?"]


def test_up_and_rotate_ask_the_guard_before_anything_else(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", checkout)
    text = "config:\n  skyvern:deployment: {}\n"
    (checkout / "Pulumi.prod.yaml").write_text(text)
    assert deploy.main(["--stack", "prod", "--yes"]) == 1
    assert capsys.readouterr().err.startswith("stack prod: the checkout differs from its commit (Pulumi.prod.yaml), ")
    with pytest.raises(UserError, match=r"^stack prod: the checkout differs"):
        rotate.rotate("database", "prod", yes=True)
    assert (checkout / "Pulumi.prod.yaml").read_text() == text
    # With the override the next step is reached.
    monkeypatch.setattr(daemon, "ensure_docker", lambda *_: (_ for _ in ()).throw(UserError("the next step")))
    assert deploy.main(["--stack", "prod", "--yes", "--unreviewed"]) == 1
    assert capsys.readouterr().err == "the next step\n"
