"""ops.deploy.releases with doubles: which commit is recorded as good, what a rollback would deploy, and when none is possible."""

from pathlib import Path

import pytest

from ops.clients import git
from ops.clients.docker import Docker
from ops.clients.git import Head
from ops.deploy import releases
from ops.deploy.releases import Good
from ops.errors import UserError
from ops.stack.stack import Stack

OLD, NEW = "a" * 40, "b" * 40
SCHEMA = "PostgreSQL 17, migration 0123abcd"
GOOD = Good(commit=OLD, database=SCHEMA, at="2026-01-31T09:30:00+00:00")
DOCKER = Docker("unix:///x")


def check_out(monkeypatch: pytest.MonkeyPatch, commit: str, *changed: str) -> None:
    monkeypatch.setattr(git, "head", lambda _: Head(commit=commit, changed=changed))


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A stack whose checkout is at NEW, and where OLD was good; the database is as it was then."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(Docker, "run", lambda self, *arguments, **_: f"{SCHEMA}\n")
    stack = Stack("prod", root=tmp_path)
    check_out(monkeypatch, OLD)
    assert releases.record_good(stack, DOCKER) is not None
    check_out(monkeypatch, NEW)
    return stack


def test_a_green_run_is_recorded_with_its_commit(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    good = releases.last_good(stack)
    assert good is not None
    assert (good.commit, good.database) == (OLD, SCHEMA)
    # Files that no commit has cannot be deployed again, and neither can a database that does not answer be compared.
    (stack.root / "Pulumi.prod.yaml").write_text("config: {}\n")
    check_out(monkeypatch, NEW, "Pulumi.prod.yaml")
    assert releases.record_good(stack, DOCKER) is None
    check_out(monkeypatch, NEW)
    monkeypatch.setattr(Docker, "run", lambda self, *arguments, **_: "\n")
    assert releases.record_good(stack, DOCKER) is None
    assert releases.last_good(stack) == good


def test_a_stack_file_of_ones_own_is_recorded_with_the_commit(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stack that may be deployed so: most people edit the file of dev and commit nothing."""
    dev = Stack("dev", root=stack.root)
    (stack.root / "Pulumi.dev.yaml").write_text("config: {skyvern:host: {port: 9000}}\n")
    check_out(monkeypatch, NEW, "Pulumi.dev.yaml")
    good = releases.record_good(dev, DOCKER)
    assert good is not None
    assert (good.commit, good.stack_file) == (NEW, "config: {skyvern:host: {port: 9000}}\n")
    assert releases.last_good(dev) == good
    check_out(monkeypatch, NEW, "Pulumi.dev.yaml", "components/x.py")
    assert releases.record_good(dev, DOCKER) is None


def test_each_stack_has_its_own_record_under_any_of_its_names(stack: Stack) -> None:
    assert releases.last_good(Stack("organization/skyvern/prod")) == releases.last_good(stack)
    assert releases.last_good(Stack("staging")) is None


def test_the_schema_is_read_in_the_stacks_container(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Docker, *arguments: str, **_: object) -> str:
        assert arguments[:4] == ("exec", "--interactive", "skyvern-prod-roles", "bash")
        return f"{SCHEMA}\n"

    monkeypatch.setattr(Docker, "run", run)
    assert releases.schema_version(Stack("organization/skyvern/prod"), DOCKER) == SCHEMA


@pytest.mark.parametrize(
    ("good", "commit", "database", "why"),
    [
        (None, NEW, SCHEMA, "no good deployment of this stack is recorded here"),
        (GOOD, OLD, SCHEMA, "aaaaaaaaaaaa is the last good commit itself"),
        (
            GOOD,
            NEW,
            SCHEMA.replace("0123", "4567"),
            "the database was migrated since aaaaaaaaaaaa (PostgreSQL 17, migration 0123abcd; ",
        ),
        (GOOD, NEW, SCHEMA.replace("17", "18"), "the database was migrated since"),
    ],
)
def test_a_rollback_may_be_impossible(good: Good | None, commit: str, database: str, why: str) -> None:
    with pytest.raises(UserError) as refused:
        releases.decide(good, commit=commit, database=database)
    assert str(refused.value).startswith(why)


def test_otherwise_it_deploys_the_last_good_commit() -> None:
    assert releases.decide(GOOD, commit=NEW, database=SCHEMA) == GOOD


def test_the_hint_names_the_command_or_why_there_is_none(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    hint = releases.rollback_hint(stack, DOCKER)
    assert hint.startswith("to roll back to aaaaaaaaaaaa, which was green at 20")
    assert hint.endswith(": bin/ops rollback -s prod")

    def no_answer(self: Docker, *arguments: object, **_: object) -> str:
        raise UserError("docker: exit 1: is not running")

    monkeypatch.setattr(Docker, "run", no_answer)
    assert releases.rollback_hint(stack, DOCKER) == "no rollback is possible: docker: exit 1: is not running"
