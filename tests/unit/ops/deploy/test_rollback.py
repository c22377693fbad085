"""ops.rollback with doubles: which commit is noted as good, where the way back leads, and when there is none."""

import hashlib
from pathlib import Path

import pytest

from ops import bootstrap
from ops.clients import git, terminal
from ops.clients.docker import Docker
from ops.clients.git import Head
from ops.deploy import releases, rollback
from ops.deploy.releases import Good
from ops.errors import UserError

OLD, NEW = "a" * 40, "b" * 40
FORM = "PostgreSQL 17, migration 0123abcd"
GOOD = Good(commit=OLD, database=FORM, at="2026-01-31T09:30:00+00:00")
DOCKER = Docker("unix:///x")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose checkout is at NEW, whose database is in FORM, and where OLD was good."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    (tmp_path / "Pulumi.prod.yaml").write_text("config: {}\n")
    checked_out(monkeypatch, OLD)
    monkeypatch.setattr(Docker, "run", lambda self, *arguments: f"{FORM}\n")
    assert releases.record_good("prod", DOCKER, tmp_path) is not None
    checked_out(monkeypatch, NEW)
    return tmp_path


def checked_out(monkeypatch: pytest.MonkeyPatch, commit: str, *changed: str) -> None:
    monkeypatch.setattr(git, "head", lambda _: Head(commit=commit, changed=changed))


def test_a_green_run_is_noted_with_its_commit(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = releases.last_good("prod")
    assert good is not None
    assert (good.commit, good.database) == (OLD, FORM)
    # Files that no commit has are no way back, and neither is a database that does not answer.
    checked_out(monkeypatch, NEW, "Pulumi.prod.yaml")
    assert releases.record_good("prod", DOCKER, host) is None
    checked_out(monkeypatch, NEW)
    monkeypatch.setattr(Docker, "run", lambda self, *arguments: "\n")
    assert releases.record_good("prod", DOCKER, host) is None
    assert releases.last_good("prod") == good


@pytest.mark.parametrize(
    ("good", "commit", "database", "why"),
    [
        (None, NEW, FORM, "no good deployment of this stack is recorded here"),
        (GOOD, OLD, FORM, "aaaaaaaaaaaa is the last good commit itself"),
        (
            GOOD,
            NEW,
            FORM.replace("0123", "4567"),
            "the database was migrated since aaaaaaaaaaaa (PostgreSQL 17, migration 0123abcd; ",
        ),
        (GOOD, NEW, FORM.replace("17", "18"), "the database was migrated since"),
    ],
)
def test_there_may_be_no_way_back(good: Good | None, commit: str, database: str, why: str) -> None:
    with pytest.raises(UserError) as told:
        releases.decide(good, commit=commit, database=database)
    assert str(told.value).startswith(why)


def test_the_way_back_is_named_or_said_not_to_be_there(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert releases.rollback_hint("prod", DOCKER, host).startswith("to roll back to aaaaaaaaaaaa, which was green at 20")
    assert releases.rollback_hint("prod", DOCKER, host).endswith(": bin/ops rollback -s prod")

    def no_answer(self: Docker, *arguments: object) -> str:
        raise UserError("docker: exit 1: is not running")

    monkeypatch.setattr(Docker, "run", no_answer)
    assert releases.rollback_hint("prod", DOCKER, host) == "no rollback is possible: docker: exit 1: is not running"


def test_it_is_a_fresh_up_of_that_commit_in_a_checkout_of_its_own(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(git, "run", lambda root, *arguments: calls.append(" ".join(arguments[:2]) + f" {arguments[-1]}"))

    def up(command: list[str], *, env: dict[str, str], ask: bool, folder: Path) -> int:
        assert command == [str(folder / "script" / "up"), "--stack", "prod", "--yes"]
        assert folder.parent == host / "cache" / "skyvern-stack"
        calls.append("up")
        return 3

    monkeypatch.setattr(terminal, "run_attended", up)
    with pytest.raises(UserError, match=r"^ops rollback: there is no terminal to ask on; add --yes$"):
        rollback.rollback("prod", host, yes=False, ask=False)
    monkeypatch.setattr(terminal, "confirm", lambda _: False)
    with pytest.raises(UserError, match=r"^ops rollback: nothing was changed$"):
        rollback.rollback("prod", host, yes=False, ask=True)
    assert calls == []
    with pytest.raises(UserError, match=r"^ops rollback: script/up of aaaaaaaaaaaa ended with 3; "):
        rollback.rollback("prod", host, yes=True, ask=False)
    assert calls[:2] == [f"worktree add {OLD}", "up"]
    assert calls[2].startswith("worktree remove ")


@pytest.mark.parametrize("same", [True, False])
def test_with_git_itself(host: Path, monkeypatch: pytest.MonkeyPatch, same: bool) -> None:
    """same: the packages of both commits. Then the environment is, too."""
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(host / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(host / "cache"))
    monkeypatch.setattr(Docker, "run", lambda self, *arguments: FORM)
    root = host / "checkout"
    (root / "script").mkdir(parents=True)
    (root / "Pulumi.prod.yaml").write_text("config: {}\n")
    identity = ("-c", "user.name=a test", "-c", "user.email=test@example.com")
    git.run(root, "init", "--quiet", "--initial-branch=main")
    for commit in ("good", "bad"):
        script = root / "script" / "up"
        # What a deployment leaves in the checkout must not be in the way of its removal.
        script.write_text(f'#!/bin/sh\ncd "${{0%/script/up}}"\necho "{commit} $* $(cat .venv/whose)" > {host}/ran; touch left\n')
        script.chmod(0o755)
        for name in ("requirements.txt", "requirements-dev.txt"):
            (root / name).write_text("a==1\n" if same or commit == "good" else "a==2\n")
        git.run(root, "add", "--all")
        git.run(root, *identity, "commit", "--quiet", "--message", commit)
        if commit == "good":
            assert releases.record_good("prod", DOCKER, root) is not None
    # As script/bootstrap leaves it.
    (root / ".git" / "info" / "exclude").write_text("/.venv\n")
    pip = root / ".venv/lib/python3.11/site-packages/pip"
    pip.mkdir(parents=True)
    (root / ".venv" / "whose").write_text("its own")
    stamp = hashlib.sha256((root / "requirements.txt").read_bytes()).hexdigest()[:16]
    (root / ".venv" / f".requirements-{stamp}").touch()
    monkeypatch.setattr(bootstrap, "ROOT", root)
    rollback.rollback("prod", root, yes=True, ask=False)
    assert (host / "ran").read_text() == f"good --stack prod --yes {'its own' if same else ''}\n"
    assert (root / ".venv" / "whose").exists()
    assert git.run(root, "worktree", "list").count("\n") == 1
    assert git.run(root, "status", "--porcelain") == ""


@pytest.mark.parametrize("lacks", ["pip", "stamp"])
def test_an_environment_that_bootstrap_would_change_is_not_shared(tmp_path: Path, lacks: str) -> None:
    root, folder = tmp_path / "root", tmp_path / "folder"
    for one in (root, folder):
        one.mkdir()
        for name in ("requirements.txt", "requirements-dev.txt"):
            (one / name).write_text("a==1\n")
    venv = root / ".venv"
    (venv / "lib/python3.11/site-packages" / ("pip" if lacks != "pip" else "other")).mkdir(parents=True)
    stamp = hashlib.sha256(b"a==1\n").hexdigest()[:16]
    (venv / f".requirements-dev-{stamp if lacks != 'stamp' else 'another'}").touch()
    rollback._share_environment(root, folder)
    assert not (folder / ".venv").exists()
    # With both of them it is.
    (venv / "lib/python3.11/site-packages/pip").mkdir(exist_ok=True)
    (venv / f".requirements-dev-{stamp}").touch()
    rollback._share_environment(root, folder)
    assert (folder / ".venv").resolve() == venv
