"""ops.deploy.rollback: what is asked first, and the fresh up of the last good commit, with doubles and with git itself."""

import hashlib
import os
from pathlib import Path

import pytest

from ops.clients import git, terminal
from ops.clients.docker import Docker
from ops.clients.git import Head
from ops.deploy import other_commit, releases, rollback
from ops.deploy.releases import Good
from ops.errors import UserError
from ops.stack import file
from ops.stack.stack import Stack
from tests.support.checkout import commit
from tests.support.lock import REFUSED, held

OLD, NEW = "a" * 40, "b" * 40
SCHEMA = "PostgreSQL 17, migration 0123abcd"


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folders, and a database in SCHEMA."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(Docker, "run", lambda self, *arguments, **_: SCHEMA)
    return tmp_path


@pytest.mark.parametrize("name", ["prod", "organization/skyvern/prod"])
def test_it_is_a_fresh_up_of_that_commit_in_its_own_checkout(host: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (host / "Pulumi.prod.yaml").write_text("config: {}\n")
    stack = Stack(name, root=host)
    good = Good(commit=OLD, database=SCHEMA, at="2026-01-31T09:30:00+00:00")
    monkeypatch.setattr(releases, "last_good", lambda asked: good if asked == stack else None)
    monkeypatch.setattr(git, "head", lambda _: Head(commit=NEW, changed=()))
    monkeypatch.setattr(git, "has", lambda root, commit: True)
    calls: list[str] = []
    monkeypatch.setattr(git, "run", lambda root, *arguments: calls.append(" ".join(arguments[:2]) + f" {arguments[-1]}"))

    def up(command: list[str], *, env: dict[str, str], ask: bool, folder: Path) -> int:
        assert command == [str(folder / "script" / "up"), "--stack", name, "--yes", "--unreviewed"]
        assert folder == host / "cache" / "skyvern-stack" / f"rollback-prod-{os.getpid()}"
        assert not ask
        calls.append("up")
        return 3

    monkeypatch.setattr(terminal, "run_attended", up)
    monkeypatch.setattr(terminal, "attended", lambda: False)
    with pytest.raises(UserError, match=r"^ops rollback: there is no terminal to ask on; add --yes$"):
        rollback.rollback(stack, yes=False)
    questions: list[str] = []

    def decline(question: str) -> bool:
        questions.append(question)
        return False

    monkeypatch.setattr(terminal, "attended", lambda: True)
    monkeypatch.setattr(terminal, "confirm", decline)
    with pytest.raises(UserError, match=r"^ops rollback: nothing was changed$"):
        rollback.rollback(stack, yes=False)
    assert questions == [f"stack {name}: roll back to aaaaaaaaaaaa, which was green at 2026-01-31T09:30:00+00:00?"]
    assert calls == []
    with pytest.raises(UserError, match=r"^ops rollback: script/up of aaaaaaaaaaaa ended with 3; "):
        rollback.rollback(stack, yes=True)
    assert calls[:2] == [f"worktree add {OLD}", "up"]
    assert calls[2].startswith("worktree remove ")
    assert len(questions) == 1


def test_a_commit_that_a_shallow_clone_lacks_is_one_line_whose_command_brings_it(
    host: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "run_attended", lambda *_, **__: 0)
    (checkout / "Pulumi.dev.yaml").write_text("config: {}\n")
    commit(checkout)
    old = git.commit(checkout)
    (checkout / "later").touch()
    commit(checkout)
    clone = host / "clone"
    git.run(checkout, "clone", "--quiet", "--depth=1", f"file://{checkout}", str(clone))
    with pytest.raises(UserError) as refused:
        other_commit.up(Stack("dev", root=clone), old)
    assert str(refused.value) == (
        f"stack dev: commit {old[:12]} is not in this checkout; run git fetch --unshallow there, or run this again in a clone "
        "that has it"
    )
    git.run(clone, "fetch", "--unshallow")
    assert other_commit.up(Stack("dev", root=clone), old) == 0


def test_beside_another_command_nothing_is_looked_up(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (host / "Pulumi.dev.yaml").write_text("config: {}\n")
    monkeypatch.setattr(releases, "rollback_target", lambda *_: pytest.fail("looked up"))
    with held(), pytest.raises(UserError, match=REFUSED):
        rollback.rollback(Stack("dev", root=host), yes=True)


@pytest.mark.parametrize("same", [True, False])
def test_with_git_itself(host: Path, checkout: Path, same: bool) -> None:
    """same: the packages of both commits. Then the environment is, too."""
    (checkout / "script").mkdir()
    (checkout / "Pulumi.prod.yaml").write_text("config: {}\n")
    stack = Stack("prod", root=checkout)
    for state in ("good", "bad"):
        script = checkout / "script" / "up"
        # What a deployment leaves in the checkout must not be in the way of its removal.
        script.write_text(f'#!/bin/sh\ncd "${{0%/script/up}}"\necho "{state} $* $(cat .venv/whose)" > {host}/ran; touch left\n')
        script.chmod(0o755)
        for name in ("requirements.txt", "requirements-dev.txt"):
            (checkout / name).write_text("a==1\n" if same or state == "good" else "a==2\n")
        commit(checkout)
        if state == "good":
            assert releases.record_good(stack, stack.docker()) is not None
    # As script/bootstrap leaves it.
    (checkout / ".git" / "info" / "exclude").write_text("/.venv\n")
    pip = checkout / ".venv/lib/python3.11/site-packages/pip"
    pip.mkdir(parents=True)
    (checkout / ".venv" / "whose").write_text("its own")
    stamp = hashlib.sha256((checkout / "requirements.txt").read_bytes()).hexdigest()[:16]
    (checkout / ".venv" / f".requirements-{stamp}").touch()
    rollback.rollback(stack, yes=True)
    assert (host / "ran").read_text() == f"good --stack prod --yes --unreviewed {'its own' if same else ''}\n"
    assert (checkout / ".venv" / "whose").exists()
    assert git.run(checkout, "worktree", "list").count("\n") == 1
    assert git.run(checkout, "status", "--porcelain") == ""


@pytest.mark.parametrize("recorded", ["", "config:\n  skyvern:rotation:\n    gateway: 3\n"])
def test_the_secrets_stay_those_of_today(host: Path, checkout: Path, recorded: str) -> None:
    """With the numbers of before a rotation the up would make yet other secrets, which no program has."""
    script, stack_file = checkout / "script" / "up", checkout / "Pulumi.dev.yaml"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\ncp "${{0%/script/up}}/Pulumi.dev.yaml" {host}/deployed\n')
    script.chmod(0o755)
    stack_file.write_text("config: {}\n")
    commit(checkout)
    old = git.commit(checkout)
    stack_file.write_text("config:\n  skyvern:rotation:\n    api_key: 2\n")
    commit(checkout)
    assert other_commit.up(Stack("dev", root=checkout), old, stack_file=recorded) == 0
    assert file.read(host / "deployed") == {"skyvern:rotation": {"api_key": 2, **({"gateway": 3} if recorded else {})}}
    # A file that cannot be read is no reason to stay with a version that does not work.
    stack_file.write_text("config: [\n")
    assert other_commit.up(Stack("dev", root=checkout), old, stack_file=recorded) == 0


@pytest.mark.parametrize("lacks", ["pip", "stamp"])
def test_an_environment_that_bootstrap_would_change_is_not_shared(tmp_path: Path, lacks: str) -> None:
    root, folder = tmp_path / "root", tmp_path / "folder"
    for checkout in (root, folder):
        checkout.mkdir()
        for name in ("requirements.txt", "requirements-dev.txt"):
            (checkout / name).write_text("a==1\n")
    venv = root / ".venv"
    (venv / "lib/python3.11/site-packages" / ("pip" if lacks != "pip" else "other")).mkdir(parents=True)
    stamp = hashlib.sha256(b"a==1\n").hexdigest()[:16]
    (venv / f".requirements-dev-{stamp if lacks != 'stamp' else 'another'}").touch()
    other_commit._share_environment(root, folder)
    assert not (folder / ".venv").exists()
    # With both of them it is.
    (venv / "lib/python3.11/site-packages/pip").mkdir(exist_ok=True)
    (venv / f".requirements-dev-{stamp}").touch()
    other_commit._share_environment(root, folder)
    assert (folder / ".venv").resolve() == venv
