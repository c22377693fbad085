"""ops.deploy.guard on repositories of the test's own: what may change a guarded stack, and the one line for what may not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ops.clients import git
from ops.deploy import guard, rotate, up
from ops.errors import UserError
from ops.machine import daemon
from ops.stack.stack import Stack
from tests.support.checkout import commit

GUARDED = "config:\n  skyvern:deployment:\n    only_from_main: true\n"
FREE = GUARDED.replace("true", "false")


def check(root: Path, stack: str = "prod", *, unreviewed: bool = False, confirm: Callable[[str], bool] | None = None) -> None:
    guard.check(Stack(stack, root=root), unreviewed=unreviewed, confirm=confirm)


def refused(root: Path, stack: str = "prod") -> str:
    """Why the stack may not be changed."""
    with pytest.raises(UserError) as told:
        check(root, stack)
    (line,) = str(told.value).splitlines()
    assert line.startswith(f"stack {stack}: ")
    assert line.endswith(", and nothing was changed; merge it first, or add --unreviewed (docs/pull-requests.md)")
    return line.removeprefix(f"stack {stack}: ").partition(", and nothing was changed")[0]


def test_a_commit_on_main_is_allowed(checkout: Path) -> None:
    check(checkout)


def test_a_dirty_checkout_is_refused(checkout: Path) -> None:
    (checkout / "program.py").write_text("2\n")
    assert refused(checkout) == "the checkout differs from its commit (program.py)"
    # Untracked files are in the contexts of images.
    git.run(checkout, "mv", "--force", "program.py", "ein Name.py")
    for name in ("x", "y", "z"):
        (checkout / name).touch()
    assert refused(checkout) == "the checkout differs from its commit (ein Name.py, program.py, x and 2 more)"
    check(checkout, unreviewed=True)


def test_a_commit_that_is_not_on_main_may_not(checkout: Path) -> None:
    git.run(checkout, "switch", "--quiet", "--create", "feature")
    check(checkout)
    (checkout / "program.py").write_text("2\n")
    commit(checkout)
    assert refused(checkout) == f"the commit {git.head(checkout).commit[:12]} is not on main"
    # What was on main once is the way back.
    git.run(checkout, "switch", "--quiet", "main")
    git.run(checkout, "merge", "--quiet", "feature")
    git.run(checkout, "switch", "--quiet", "--detach", "HEAD~1")
    check(checkout)


def test_with_a_remote_its_main_counts(checkout: Path, tmp_path: Path) -> None:
    git.run(tmp_path, "clone", "--quiet", "--bare", str(checkout), "remote")
    git.run(checkout, "remote", "add", "origin", str(tmp_path / "remote"))
    assert refused(checkout) == "git has no origin/main here to compare with (git fetch origin main)"
    git.run(checkout, "fetch", "--quiet", "origin")
    check(checkout)
    (checkout / "program.py").write_text("2\n")
    commit(checkout)
    assert refused(checkout).endswith("is not on origin/main")
    git.run(checkout, "push", "--quiet", "origin", "main")
    check(checkout)


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


def test_without_git_nothing_can_be_verified(tmp_path: Path) -> None:
    assert refused(tmp_path) == "this folder is not a git checkout, so its contents cannot be verified"
    check(tmp_path, "dev")


@pytest.mark.parametrize(
    ("stack", "text", "guarded"),
    [
        ("prod", None, True),
        ("dev", None, False),
        ("organization/skyvern/prod", None, True),
        ("prod", "config: {}\n", True),
        ("staging", GUARDED, True),
        ("prod", FREE, False),
        ("organization/skyvern/prod", FREE, False),
        ("dev", "config: [\n", True),
        ("dev", "config: text\n", True),
        ("dev", "config:\n  skyvern:deployment:\n    only_from_main: 'no'\n", True),
        ("dev", "config:\n  skyvern:deployment:\n    only_from_main: 0\n", True),
    ],
)
def test_the_stack_file_says_who_is_guarded(tmp_path: Path, stack: str, text: str | None, guarded: bool) -> None:
    if text is not None:
        (tmp_path / f"Pulumi.{stack.rpartition('/')[2]}.yaml").write_text(text)
    assert Stack(stack, root=tmp_path).guarded is guarded


@pytest.mark.parametrize("stack", ["staging", "organization/skyvern/staging"])
def test_an_edit_that_is_not_on_main_does_not_lift_the_guard(checkout: Path, stack: str) -> None:
    file = checkout / "Pulumi.staging.yaml"
    file.write_text(GUARDED)
    commit(checkout)
    file.write_text(FREE)
    assert refused(checkout, stack) == "the checkout differs from its commit (Pulumi.staging.yaml)"
    assert Stack(stack, root=checkout).guarded
    commit(checkout)
    check(checkout, stack)
    # And one that sets it counts at once.
    file.write_text(GUARDED)
    assert refused(checkout, stack).startswith("the checkout differs")


@pytest.mark.parametrize("answer", [True, False])
def test_a_person_at_the_terminal_is_asked(checkout: Path, answer: bool) -> None:
    (checkout / "program.py").write_text("2\n")
    questions: list[str] = []

    def confirm(question: str) -> bool:
        questions.append(question)
        return answer

    if answer:
        check(checkout, confirm=confirm)
    else:
        with pytest.raises(UserError, match="nothing was changed"):
            check(checkout, confirm=confirm)
    assert questions == ["stack prod: the checkout differs from its commit (program.py). Deploy it anyway?"]


def test_up_and_rotate_ask_the_guard_before_anything_else(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ops.stack.stack.ROOT", checkout)
    monkeypatch.setattr(daemon, "ensure_docker", lambda *_: (_ for _ in ()).throw(UserError("the next step")))
    text = "config:\n  skyvern:deployment: {}\n"
    (checkout / "Pulumi.prod.yaml").write_text(text)
    assert up.main(["--stack", "prod", "--yes"]) == 1
    assert capsys.readouterr().err.startswith("stack prod: the checkout differs from its commit (Pulumi.prod.yaml), ")
    with pytest.raises(UserError, match=r"^stack prod: the checkout differs"):
        rotate.rotate("database", Stack("prod"), yes=True)
    assert (checkout / "Pulumi.prod.yaml").read_text() == text
    # With the override the next step is reached.
    assert up.main(["--stack", "prod", "--yes", "--unreviewed"]) == 1
    assert capsys.readouterr().err == "the next step\n"
