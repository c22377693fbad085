"""ops.guard on repositories of the test's own: what may change a guarded stack, and the one line for what may not."""

from pathlib import Path

import pytest

from ops import bootstrap, deploy, guard, review, rotate
from ops.errors import UserError

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
    guard.git(root, "init", "--quiet", "--initial-branch=main")
    (root / "program.py").write_text("1\n")
    commit(root)
    return root


def commit(root: Path) -> None:
    guard.git(root, "add", "--all")
    guard.git(root, "commit", "--quiet", "--message", "a change")


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
    guard.git(checkout, "mv", "--force", "program.py", "ein Name.py")
    for name in ("x", "y", "z"):
        (checkout / name).touch()
    assert refused(checkout) == "the checkout differs from its commit (ein Name.py, x, y and 1 more)"
    guard.check("prod", checkout, unreviewed=True)


def test_a_commit_that_is_not_on_main_may_not(checkout: Path) -> None:
    guard.git(checkout, "switch", "--quiet", "--create", "feature")
    guard.check("prod", checkout, unreviewed=False)
    (checkout / "program.py").write_text("2\n")
    commit(checkout)
    assert refused(checkout) == f"the commit {guard.head(checkout).commit[:12]} is not on main"
    # What was on main once is the way back.
    guard.git(checkout, "switch", "--quiet", "main")
    guard.git(checkout, "merge", "--quiet", "feature")
    guard.git(checkout, "switch", "--quiet", "--detach", "HEAD~1")
    guard.check("prod", checkout, unreviewed=False)


def test_with_a_remote_its_main_counts(checkout: Path, tmp_path: Path) -> None:
    guard.git(tmp_path, "clone", "--quiet", "--bare", str(checkout), "remote")
    guard.git(checkout, "remote", "add", "origin", str(tmp_path / "remote"))
    assert refused(checkout) == "git has no origin/main here to compare with (git fetch origin main)"
    # A preview on GitHub has the merge of the pull request and nothing else.
    assert review.tree_of(checkout) == guard.git(checkout, "rev-parse", "HEAD^{tree}").strip()
    guard.git(checkout, "fetch", "--quiet", "origin")
    guard.check("prod", checkout, unreviewed=False)
    (checkout / "program.py").write_text("2\n")
    commit(checkout)
    assert refused(checkout).endswith("is not on origin/main")
    guard.git(checkout, "push", "--quiet", "origin", "main")
    guard.check("prod", checkout, unreviewed=False)


def test_without_git_nobody_can_tell(tmp_path: Path) -> None:
    assert refused(tmp_path) == "git does not know this folder, so nobody can tell what it holds"
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
    assert questions == ["stack prod: the checkout differs from its commit (program.py). Deploy it all the same?"]


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
    monkeypatch.setattr(bootstrap, "ensure_docker", lambda *_: (_ for _ in ()).throw(UserError("the next step")))
    assert deploy.main(["--stack", "prod", "--yes", "--unreviewed"]) == 1
    assert capsys.readouterr().err == "the next step\n"
