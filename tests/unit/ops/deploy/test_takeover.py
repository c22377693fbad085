"""The steps of a take-over: what is refused, what stops, and what runs again when something fails."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from components.settings import parse
from ops.backups import notes, upstream
from ops.backups.copies import Copy, Record, Source
from ops.backups.preflight import Place
from ops.backups.upstream import Contents, Organization, Upstream
from ops.clients import compose, terminal
from ops.deploy import restore, takeover, update
from ops.errors import UserError
from ops.stack.stack import Stack
from tests.support import swarm as support
from tests.support import upstream as given
from tests.support.daemon import Daemon, daemon
from tests.support.recorder import recorder

KIM = Organization(id="o_1", name="Skyvern-Open-Source", workflows=3, runs=40)
EMPTY = Organization(id="o_2", name="Skyvern-Open-Source", workflows=0, runs=0)
LEE = Organization(id="o_3", name="lee", workflows=1, runs=0)
RECORD = Record(
    name="acme",
    at=datetime(2026, 1, 1, tzinfo=UTC),
    postgres="14.1",
    schema="abc",
    database_bytes=1,
    tables={"workflows": (3, ""), "credentials": (2, ""), "workflow_schedules": (1, "")},
    folders={"artifacts": (2, 3 << 20)},
    kind="compose project",
)


def stacks(status: str = "running", **answers: Any) -> tuple[Source, Upstream, Daemon]:
    documents = given.stack(status=status, environment=["LLM_KEY=OPENAI_GPT4O", "SECRET_KEY=a secret of theirs"])
    there = daemon(**answers, **{"ps --all": "a", "inspect": json.dumps(documents)})
    settings = parse({"backup": {"type": "path", "path": "/mnt/d/x"}}, file="x")
    source = Source(Stack("dev"), there, settings, Place(variables={}, flags=()), "the superuser's", "the role's one")
    old = upstream.of(there, compose.find(there, "acme"))
    there.asked.clear()
    return source, old, there


# --- Which organisation ---------------------------------------------------------------------------------------------------


def test_the_one_with_something_in_it_is_taken() -> None:
    _, old, _ = stacks()
    assert takeover.choose(old, [EMPTY, KIM], None) == KIM
    assert takeover.choose(old, [EMPTY], None) == EMPTY
    assert takeover.choose(old, [EMPTY, KIM], "o_2") == EMPTY


def test_of_several_none_is_guessed() -> None:
    _, old, _ = stacks()
    with pytest.raises(
        UserError, match=r"write --organization and one of: o_1 \(Skyvern-Open-Source, 3 workflows, 40 runs\), o_3"
    ):
        takeover.choose(old, [KIM, LEE], None)
    with pytest.raises(UserError, match=r"--organization: o_9 is none of o_1"):
        takeover.choose(old, [KIM, LEE], "o_9")


def test_a_person_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    _, old, _ = stacks()
    monkeypatch.setattr(terminal, "attended", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: "o_3")
    assert takeover.choose(old, [KIM, LEE], None) == LEE


# --- Look -----------------------------------------------------------------------------------------------------------------


def test_the_table_says_what_comes_along_and_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    source, old, _ = stacks()
    monkeypatch.setattr(upstream, "details", lambda *arguments: ({"skyvern": 2, "bitwarden": 1}, 1, 4))
    found = list(takeover.rows(source, old, Contents(record=RECORD, organizations=[KIM, LEE]), KIM))
    by_name = {(what, there): along for what, there, along in found}
    assert by_name["schedules", "1 on"] == "yes: paused until bin/ops resume -s dev"
    assert by_name["credentials", "2 in its own vault"].startswith("yes")
    assert by_name["credentials", "1 in bitwarden"].startswith("no")
    assert by_name["blocks of code", "in 4 workflows"].endswith("until Pulumi.dev.yaml has server.code_blocks: true")
    assert by_name["artifacts", "2 files, 3.0 MiB"] == "yes"
    assert by_name["downloads", "not in a volume or folder of the host"] == "no"
    assert by_name["other organisation", "o_3 (lee), 1 workflows, 0 runs"].endswith("no key of the stack opens them")
    assert by_name["language model", "OPENAI_GPT4O"].startswith("no")
    assert "secret" not in str(found).replace("SECRET_KEY", "")


def test_a_look_starts_nothing() -> None:
    source, old, there = stacks(status="exited")
    with pytest.raises(UserError, match="its database does not run, and a look starts nothing; run docker start acme-postgres-1"):
        takeover._look(source, old, None)
    assert there.asked == []


def test_a_newer_skyvern_is_refused() -> None:
    source, _, _ = stacks(**{"--version": "postgres (PostgreSQL) 17.12", "alembic": '{"version": "1.0.0", "migrations": []}'})
    with pytest.raises(UserError, match="compose project acme has the database schema abc, which the Skyvern of this version"):
        takeover._refuse_newer(source, Contents(record=RECORD, organizations=[KIM]))


# --- Switch ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A switch without what needs a database: the names of its steps."""
    steps: list[str] = []

    written: dict[str, str] = {}
    monkeypatch.setattr(notes, "read", lambda stack, docker, image, path: written.get(path, ""))
    monkeypatch.setattr(notes, "write", lambda stack, docker, image, path, text: written.update({path: text}))
    monkeypatch.setattr(takeover, "refuse_used", recorder(steps, 1, "used"))
    monkeypatch.setattr(takeover, "_refuse_newer", recorder(steps, 1, "newer"))
    monkeypatch.setattr(restore, "clear", recorder(steps, 1, "clear"))
    monkeypatch.setattr(restore, "wait", recorder(steps, 1, "wait"))
    monkeypatch.setattr(upstream, "contents", lambda *arguments: Contents(record=RECORD, organizations=[KIM]))
    for name in ("copy_files", "copy_database", "compare_tables", "convert"):
        monkeypatch.setattr(upstream, name, recorder(steps, 1, name))
    monkeypatch.setattr(Stack, "outputs", lambda self: None)
    monkeypatch.setattr(update, "run_smoke", lambda *arguments: (5, 5))

    def replace(source: Source, record: Record, progress: Any, fill: Any, reason: str) -> str:
        fill(Copy(source, "restore", "x", record), progress)
        steps.append("replaced")
        return "20261128-213550"

    monkeypatch.setattr(restore, "replace", replace)
    return steps


def changes(there: Daemon) -> list[str]:
    return [line for line in there.asked if line.split()[0] in {"start", "stop", "update", "rm"}]


def test_the_old_stack_stops_and_stays_so(prepared: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    source, old, there = stacks()
    takeover._switch(source, old, None, yes=True)
    assert prepared[3:] == ["copy_files", "copy_database", "compare_tables", "copy_files", "convert", "replaced", "wait"]
    assert changes(there) == [
        "stop --time=60 acme-skyvern-1",
        "stop --time=60 acme-skyvern-ui-1",
        "stop acme-postgres-1",
        *(f"update --restart=no acme-{name}-1" for name in ("postgres", "skyvern", "skyvern-ui")),
    ]
    printed = capsys.readouterr().out
    assert (
        "to go back: bin/ops restore --undo --yes -s dev && docker --host unix:///x update --restart=unless-stopped "
        "acme-postgres-1 acme-skyvern-1 && docker --host unix:///x update --restart=always acme-skyvern-ui-1 && docker --host "
        "unix:///x start acme-postgres-1 acme-skyvern-ui-1 acme-skyvern-1"
    ) in printed
    assert "pulumi stack output api_key --show-secrets -s dev" in printed


@pytest.mark.parametrize("place", ["copy_database", "compare_tables", "convert"])
def test_what_fails_before_the_data_is_in_place_starts_the_old_stack_again(
    place: str, prepared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise UserError("the disk is full")

    source, old, there = stacks()
    monkeypatch.setattr(upstream, place, fail)
    with pytest.raises(UserError, match="the disk is full"):
        takeover._switch(source, old, None, yes=True)
    assert changes(there)[-2:] == ["start acme-skyvern-ui-1", "start acme-skyvern-1"]
    assert not [line for line in there.asked if line.startswith("update")]


@pytest.mark.usefixtures("prepared")
def test_a_container_that_was_stopping_when_it_was_interrupted_has_stopped_before_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Docker goes on with a stop whose command is gone."""
    source, old, there = stacks()
    run, interrupted = Daemon.run, iter([True])

    def cut_off(self: Daemon, *arguments: Any, **options: Any) -> str:
        said = run(self, *arguments, **options)
        if arguments[-1] == "acme-skyvern-1" and arguments[0] == "stop" and next(interrupted, False):
            raise KeyboardInterrupt
        return said

    monkeypatch.setattr(Daemon, "run", cut_off)
    with pytest.raises(KeyboardInterrupt):
        takeover._switch(source, old, None, yes=True)
    steps = [line for line in there.asked if line.startswith(("stop", "wait", "start"))]
    assert steps == ["stop --time=60 acme-skyvern-1", "wait acme-skyvern-1", "start acme-skyvern-1"]


BACK = "docker --host unix:///x start acme-postgres-1 acme-skyvern-ui-1 acme-skyvern-1"


def killed(began: Source, old: Upstream) -> None:
    """A switch until it has stopped the old stack: nothing starts it again, and nothing is printed."""
    was = takeover.as_it_was(began, old)
    takeover.remember(began, was)
    takeover.stop(old, was, [])


def test_a_switch_after_one_that_was_killed_prints_how_the_old_stack_ran(
    prepared: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    killed(*stacks()[:2])
    source, old, _ = stacks(status="exited")
    takeover._switch(source, old, None, yes=True)
    printed = capsys.readouterr().out
    assert f" && {BACK}\n" in printed
    assert "update --restart=always acme-skyvern-ui-1" in printed


def test_what_fails_after_a_kill_starts_the_old_stack_that_the_kill_left_stopped(
    prepared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise UserError("the disk is full")

    killed(*stacks()[:2])
    source, old, there = stacks(status="exited")
    monkeypatch.setattr(upstream, "convert", fail)
    with pytest.raises(UserError, match="the disk is full"):
        takeover._switch(source, old, None, yes=True)
    assert [line for line in changes(there) if line.startswith("start")][1:] == [
        "start acme-skyvern-ui-1",
        "start acme-skyvern-1",
    ]


def test_a_switch_that_was_killed_after_the_data_was_in_place_says_how_to_go_back(
    prepared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def used(source: Source) -> None:
        raise UserError("stack dev has 3 runs")

    monkeypatch.setattr(takeover, "refuse_used", used)
    source, old, _ = stacks()
    with pytest.raises(UserError, match=r"^stack dev has 3 runs$"):
        takeover._switch(source, old, None, yes=True)
    killed(*stacks()[:2])
    source, old, _ = stacks(status="exited")
    with pytest.raises(
        UserError, match=r"stack dev has 3 runs; an earlier switch .* to go back: bin/ops restore --undo"
    ) as failed:
        takeover._switch(source, old, None, yes=True)
    assert str(failed.value).endswith(BACK)


def test_an_old_stack_that_was_started_again_and_stopped_by_its_person_stays_as_the_person_left_it(
    prepared: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    killed(*stacks()[:2])
    source, old, _ = stacks(status="exited")
    containers = tuple(replace(one, started="2026-11-28T10:00:00Z") for one in old.project.containers)
    old = replace(old, project=replace(old.project, containers=containers))
    takeover._switch(source, old, None, yes=True)
    assert " start " not in capsys.readouterr().out.partition("to go back")[2]


def test_a_stack_that_does_not_run_is_not_started_by_a_switch(prepared: list[str]) -> None:
    """But for its database, whose own binary makes the dump."""
    source, old, there = stacks(status="exited")
    takeover._switch(source, old, None, yes=True)
    assert [line for line in changes(there) if not line.startswith("update")] == ["start acme-postgres-1", "stop acme-postgres-1"]


def test_a_switch_needs_a_yes(prepared: list[str]) -> None:
    source, old, there = stacks()
    with pytest.raises(UserError, match="ops import compose: there is no terminal to ask on; add --yes"):
        takeover._switch(source, old, None, yes=False)
    assert changes(there) == []


def test_a_stack_in_use_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    source, _, _ = stacks(**{"volume ls": "skyvern-dev-postgres", "exec": "3|1|0"})
    monkeypatch.setattr(Stack, "pulumi", lambda self, *arguments, **options: b'{"organization_id": "o_1"}')
    with pytest.raises(UserError, match="stack dev has 3 runs, 1 workflows, which a take-over would replace"):
        takeover.refuse_used(source)


def test_what_fails_afterwards_says_how_to_go_back(prepared: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    source, old, _ = stacks()
    monkeypatch.setattr(update, "run_smoke", lambda *arguments: (4, 5))
    with pytest.raises(UserError, match="the data is in place, and 1 checks are not green"):
        takeover._switch(source, old, None, yes=True)

    def unhealthy(*arguments: Any) -> None:
        raise UserError("not healthy within 240 s")

    source, old, _ = stacks()
    monkeypatch.setattr(restore, "wait", unhealthy)
    with pytest.raises(UserError, match="not healthy within 240 s; the old stack is as it was: bin/ops restore --undo"):
        takeover._switch(source, old, None, yes=True)


def test_a_stack_that_cannot_take_over_is_refused() -> None:
    source, old, _ = stacks()
    buckets = {
        "type": "s3",
        "endpoint": "https://s3.example.com",
        "buckets": "acme",
        "access_key_id": "0123456789abcdef",
        "secret_access_key": "0123456789abcdef0123",
    }
    settings = parse(
        {"backup": {"type": "path", "path": "/mnt/d/x"}, "storage": buckets}, file="x", secret_keys=frozenset({"storage"})
    )
    other = Source(source.stack, source.docker, settings, source.place, "the superuser's", "the role's one")
    with pytest.raises(UserError, match=r"^Pulumi\.dev\.yaml: storage\.type: is s3, which does not serve the files"):
        takeover._refuse(other, old)
    bare = Source(source.stack, daemon(), source.settings, source.place, "the superuser's", "the role's one")
    with pytest.raises(UserError, match="stack dev: has no server on unix:///x; run script/up --stack dev first"):
        takeover._refuse(bare, old)


def test_a_stack_on_a_swarm_names_what_can_come_there(tmp_path: Path) -> None:
    """It named a restore of another stack's set, which no repository and no kit lets in."""
    source, old, _ = stacks()
    there = support.stack_at(tmp_path)
    with pytest.raises(UserError) as refused:
        takeover._refuse(Source(there, source.docker, there.settings(), source.place, "the superuser's", "the role's one"), old)
    assert str(refused.value) == (
        "ops import compose: nothing was changed: stack dev runs on a Swarm, and what is taken over is on one machine; take over "
        "into a stack of another name on plain Docker, from which workflows come here as files (bin/ops automations pull NAME -s "
        "OTHER); its runs, recordings and credentials cannot (docs/cluster.md)"
    )
