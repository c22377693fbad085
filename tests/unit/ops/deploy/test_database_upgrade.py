"""ops.deploy.database_upgrade with doubles: what is refused, what a failure leaves, and how a kill at each point ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.host import images
from ops.backups import copies, exchange, trial
from ops.backups import preflight as backup_preflight
from ops.backups.copies import PARTS
from ops.backups.exchange import Kept
from ops.clients import git, terminal
from ops.clients.docker import Docker
from ops.clients.terminal import Steps
from ops.deploy import (
    danger,
    database_upgrade,
    drain,
    guard,
    newer,
    other_commit,
    preflight,
    recovery,
    releases,
    repair,
    restore,
    up,
    update,
    upgrade,
)
from ops.deploy.releases import Good
from ops.errors import UserError
from ops.images import build, needs
from ops.stack import database, state
from ops.stack.stack import Stack
from tests.support.lock import REFUSED, held
from tests.support.stack_outputs import OUTPUTS

OLD_COMMIT, NEW_COMMIT = "a" * 40, "b" * 40
GOOD = Good(commit=OLD_COMMIT, database="PostgreSQL 15, migration m2", at="2026-11-28T10:00:00+00:00", stack_file="config: {}\n")
VOLUME = "skyvern-dev-postgres"
KEPT = "skyvern-dev-postgres-upgrade-20261129-100000"
TABLES = "runs|5|17\nworkflows|2|99"


class Killed(BaseException):
    """SIGKILL: what comes after it in the program does nothing either."""


@dataclass
class Cluster:
    """A folder of a volume. major: "" for an empty one."""

    major: str = ""
    tables: str = ""


@dataclass(frozen=True)
class Host(Docker):
    """A daemon on which nothing of one major may run on the cluster of the other, and no server while its data is copied.

    containers: part -> major and whether it runs. here: the major of the checkout that is at work. kill_at: the call from outside
    before or after whose effect everything ends.
    """

    host: str = "unix:///x"
    volumes: dict[str, Cluster] = field(default_factory=lambda: {VOLUME: Cluster("15", TABLES)})
    marks: dict[str, str] = field(default_factory=dict)
    containers: dict[str, tuple[str, bool]] = field(default_factory=dict)
    vars: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(here="17", count=0, kill_at=0, healthy=True, green=True, noted=str)
    )
    calls: list[str] = field(default_factory=list)

    def tick(self) -> None:
        self.vars.count += 1
        if self.vars.kill_at and self.vars.count >= self.vars.kill_at:
            raise Killed

    def act(self, line: str, effect: Callable[[], Any] = lambda: None) -> Any:
        """A call from outside with an effect; it may be killed on either side of it."""
        self.tick()
        self.calls.append(line)
        result = effect()
        self.tick()
        return result

    def start(self, part: str, major: str) -> None:
        if part == "postgres":
            assert self.volumes[VOLUME].major == major, f"PostgreSQL {major} on the cluster of {self.volumes[VOLUME].major}"
        if part == "server":
            assert self.vars.noted() != "switching" or self.volumes[VOLUME].major != "15", "what it writes would be lost"
        self.containers[part] = (major, True)

    def start_all(self, major: str) -> None:
        if self.volumes[VOLUME].major != major:
            raise UserError(f"pulumi up: exit 255: PostgreSQL {major} does not start")
        for part in ("postgres", "roles", "server"):
            self.start(part, major)

    def serves(self) -> str:
        """The major that serves, with the data; "" for none."""
        majors = {major for major, running in self.containers.values() if running}
        whole = len(self.containers) == 3 and all(running for _, running in self.containers.values()) and len(majors) == 1
        cluster = self.volumes[VOLUME]
        return cluster.major if whole and majors == {cluster.major} and cluster.tables == TABLES else ""

    def has(self, name: str, *, running: bool = False) -> bool:
        part = name.removeprefix("skyvern-dev-")
        return part in self.containers and (not running or self.containers[part][1])

    def run(self, *arguments: Any, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
        line = " ".join(map(str, arguments))
        name = str(arguments[-1]).removeprefix("skyvern-dev-")
        if line.startswith("volume ls"):
            return "\n".join(one for one in self.volumes if "upgrade" in one or "label=" not in line)
        if line.startswith("volume rm"):
            removed = [str(one) for one in arguments[3:]]
            assert VOLUME not in removed
            return str(self.act(line, lambda: [self.volumes.pop(one, None) for one in removed]))
        if line.startswith("stop"):
            return str(self.act(line, lambda: self.containers.update({name: (self.containers[name][0], False)})))
        if line.startswith("start"):
            return str(self.act(line, lambda: self.start(name, self.containers[name][0])))
        if "--single" in line:
            assert not {"server", "postgres", "roles"} & self.containers.keys()
            assert self.volumes[VOLUME].major == "15"
            assert arguments[-5] == "id of PostgreSQL 15"
            return str(self.act((stdin or b"").decode()))
        if line.startswith("rm"):
            return str(self.act(line, lambda: self.containers.pop(name)))
        return ""

    def inspect(self, name: str) -> dict[str, Any]:
        return {"Image": f"id of PostgreSQL {self.containers[name.removeprefix('skyvern-dev-')][0]}"}


@pytest.fixture
def host() -> Host:
    found = Host()
    found.start_all("15")
    return found


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: Host) -> Stack:
    """A checkout of PostgreSQL 17, on a host that runs 15."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    found = Stack("dev", root=tmp_path)
    host.vars.noted = lambda: noted(found)
    monkeypatch.setattr(Stack, "docker", lambda stack: host)
    monkeypatch.setattr(Stack, "outputs", lambda stack: OUTPUTS)
    monkeypatch.setattr(images, "references", lambda source: {"postgres": f"postgres:{host.vars.here}"})
    for module, names in (
        (needs, ("prepare",)),
        (build, ("build",)),
        (preflight, ("check_addresses", "check")),
        (recovery, ("recover",)),
        (guard, ("check",)),
        (update, ("ensure_stack",)),
        (backup_preflight, ("check",)),
        (copies, ("remove_containers", "running")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, lambda *_, **__: None)
    monkeypatch.setattr(upgrade, "finish", lambda *_: None)
    monkeypatch.setattr(upgrade, "plan", lambda *_: None)
    monkeypatch.setattr(upgrade, "take_set", lambda *_: host.act("set"))
    monkeypatch.setattr(trial, "database_size", lambda *_: 1)
    monkeypatch.setattr(trial, "trial", lambda *_: host.act("trial") or 41.0)
    monkeypatch.setattr(trial, "copy_running", lambda *_: host.act("copy"))
    monkeypatch.setattr(releases, "last_good", lambda stack: GOOD)
    monkeypatch.setattr(releases, "record_good", lambda *_: host.act("record"))
    monkeypatch.setattr(releases, "schema_version", lambda *_: f"PostgreSQL {host.volumes[VOLUME].major}, migration m2")
    monkeypatch.setattr(git, "commit", lambda root: NEW_COMMIT)
    monkeypatch.setattr(git, "has", lambda root, commit: True)
    monkeypatch.setattr(newer, "kinds", lambda *_: [])
    monkeypatch.setattr(drain, "stop_seconds", lambda stack: 540)
    monkeypatch.setattr(drain, "countdown", lambda *_: nullcontext())
    monkeypatch.setattr(database, "ask", lambda *_, **__: host.volumes[VOLUME].tables)
    monkeypatch.setattr(upgrade, "fired_since", lambda *_: ["wfs_1"])
    monkeypatch.setattr(danger, "majors", lambda *_: (host.volumes[VOLUME].major, host.vars.here))
    monkeypatch.setattr(danger, "major_of_image", lambda *_: host.vars.here)
    monkeypatch.setattr(state, "refresh", lambda stack: host.act("refresh"))
    monkeypatch.setattr(exchange, "kept", lambda *_: [])
    double_copy(host, monkeypatch)
    double_up(host, monkeypatch)
    return found


def double_copy(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy and the exchange, by the marks that ops/backups/exchange.py has."""

    @contextmanager
    def filled(source: object, purpose: str, record: object, progress: object, fill: Callable[..., None]) -> Iterator[Any]:
        assert not host.containers["server"][1], "a server writes meanwhile"
        names = {part: f"skyvern-dev-{part}-upgrade-20261129-100000" for part in copies.PARTS}
        host.act("volumes", lambda: host.volumes.update({name: Cluster() for name in names.values()}))
        copy = SimpleNamespace(
            volume=names.__getitem__,
            stamp="20261129-100000",
            source=SimpleNamespace(stack=Stack("dev"), docker=host),
            sql=lambda *_, **__: host.volumes[KEPT].tables,
        )
        host.volumes[KEPT] = Cluster(host.vars.here, host.volumes[VOLUME].tables)
        fill(copy, print)
        yield copy

    def swap(mark: str) -> None:
        if host.marks.get(KEPT) == mark:
            assert not {"server", "postgres", "roles"} & host.containers.keys(), "they are on the cluster that changes"
            host.volumes[VOLUME], host.volumes[KEPT] = host.volumes[KEPT], host.volumes[VOLUME]
            host.marks[VOLUME], host.marks[KEPT] = host.marks[KEPT], host.marks[VOLUME]

    monkeypatch.setattr(copies, "filled", filled)
    monkeypatch.setattr(copies, "stop_postgres", lambda _: host.act("stop copy"))
    monkeypatch.setattr(exchange, "mark", lambda *_: host.act("mark", lambda: host.marks.update({VOLUME: "old", KEPT: "new"})))
    monkeypatch.setattr(exchange, "put_in_place", lambda *_: host.act("put in place", lambda: swap("new")))
    monkeypatch.setattr(exchange, "take_back", lambda *_: host.act("take back", lambda: swap("old")))


def double_up(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an up does, of this checkout and of the old commit."""

    def start_stopped(*_: object) -> list[Any]:
        for part, (major, running) in list(host.containers.items()):
            if not running:
                host.act(f"repair starts {part}", partial(host.start, part, major))
        return []

    def healthy(*_: object) -> None:
        if not host.vars.healthy:
            raise UserError("stack dev: not healthy within 240 s")

    def old_up(stack: Stack, commit: str, *, stack_file: str) -> int:
        assert (commit, stack_file) == (OLD_COMMIT, GOOD.stack_file)
        if host.volumes[VOLUME].major != "15":
            return 1
        host.act("up of the old commit", lambda: host.start_all("15"))
        return 0

    def take_set(*_: object) -> None:
        if host.volumes[VOLUME].major != host.vars.here:
            raise UserError("another major")

    monkeypatch.setattr(repair, "repair", start_stopped)
    monkeypatch.setattr(repair, "wait_until_healthy", healthy)
    monkeypatch.setattr(danger, "take_set", take_set)
    monkeypatch.setattr(update, "pulumi_up", lambda *_, **__: host.act("up", lambda: host.start_all(host.vars.here)))
    monkeypatch.setattr(update, "run_smoke", lambda *_, **__: (21, 21) if host.vars.green else (20, 21))
    monkeypatch.setattr(other_commit, "up", old_up)


def command(stack: Stack) -> str:
    """The refusal of the command, or ""."""
    try:
        database_upgrade.upgrade_database(stack, yes=True, unreviewed=False)
    except UserError as refused:
        return str(refused)
    return ""


def script_up(stack: Stack, host: Host) -> str:
    """The refusal of its last steps, or ""."""
    try:
        up._update(stack, host, Steps(5), unasked=True)
    except UserError as refused:
        return str(refused)
    return ""


def noted(stack: Stack) -> str:
    note = database_upgrade.read(stack)
    return note.step if note else ""


# --- It works -------------------------------------------------------------------------------------------------------------


def test_the_new_major_serves_the_data_and_the_old_cluster_is_kept(
    stack: Stack, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(stack) == ""
    assert host.serves() == "17"
    assert host.volumes == {VOLUME: Cluster("17", TABLES), KEPT: Cluster("15", TABLES)}
    assert host.calls.index("set") < host.calls.index("trial") < host.calls.index("stop skyvern-dev-server")
    assert noted(stack) == "served"
    said = capsys.readouterr().out
    assert "rows and checksums of 2 tables are equal" in said
    assert f"bin/ops upgrade-database --undo -s dev; to give it up: docker volume rm {KEPT}" in said
    assert "is already of PostgreSQL 17, and this checkout has 17" in command(stack)
    assert script_up(stack, host) == ""
    assert noted(stack) == "served"


def test_undo_names_what_is_lost_and_goes_back(stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    command(stack)
    monkeypatch.setattr(newer, "kinds", lambda *_: ["3 runs"])
    with pytest.raises(UserError, match="there is no terminal to ask on; add --yes"):
        database_upgrade.undo(stack, yes=False)
    questions: list[str] = []
    monkeypatch.setattr(terminal, "attended", lambda: True)
    monkeypatch.setattr(terminal, "confirm", questions.append)
    with pytest.raises(UserError, match="nothing was changed"):
        database_upgrade.undo(stack, yes=False)
    assert questions[0].endswith("? lost: 3 runs that came since")
    assert host.serves() == "17"
    database_upgrade.undo(stack, yes=True)
    assert host.serves() == "15"
    assert host.volumes[KEPT].major == "17"
    assert noted(stack) == ""
    with pytest.raises(UserError, match="has no cluster of before an upgrade"):
        database_upgrade.undo(stack, yes=True)
    # What was given up goes with the next try.
    assert command(stack) == ""
    assert host.serves() == "17"


# --- What is refused ------------------------------------------------------------------------------------------------------


def test_beside_another_command_nothing_is_touched(stack: Stack, host: Host) -> None:
    with held(), pytest.raises(UserError, match=REFUSED):
        database_upgrade.upgrade_database(stack, yes=True, unreviewed=False)
    assert host.calls == []


@pytest.mark.parametrize(
    ("good", "why"),
    [
        (None, "no commit is recorded that runs PostgreSQL 15 on this data"),
        (replace(GOOD, commit=NEW_COMMIT), "no commit is recorded"),
        (replace(GOOD, database="PostgreSQL 15, migration m1"), "no commit is recorded"),
    ],
)
def test_without_a_way_back_there_is_no_switch(
    stack: Stack, host: Host, good: Good | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "last_good", lambda stack: good)
    assert command(stack).startswith(f"ops upgrade-database: nothing was changed: {why}")
    assert host.calls == []


def up_of_the_version_that_it_ran(stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the messages say: script/up in a checkout of it, with what it records."""
    here = host.vars.here
    host.vars.here = "15"
    monkeypatch.setattr(git, "commit", lambda root: OLD_COMMIT)
    monkeypatch.setattr(releases, "record_good", lambda *_: monkeypatch.setattr(releases, "last_good", lambda stack: GOOD))
    assert script_up(stack, host) == ""
    host.vars.here = here
    monkeypatch.setattr(git, "commit", lambda root: NEW_COMMIT)
    monkeypatch.setattr(releases, "record_good", lambda *_: host.act("record"))


def test_without_a_commit_to_go_back_to_an_up_of_the_version_before_makes_one(
    stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "last_good", lambda stack: None)
    assert "; run script/up --stack dev in a checkout of the version that it ran" in command(stack)
    up_of_the_version_that_it_ran(stack, host, monkeypatch)
    assert command(stack) == ""
    assert (host.volumes[VOLUME].major, host.volumes[VOLUME].tables) == ("17", TABLES)


def test_without_its_own_postgresql_an_up_of_the_version_before_starts_it(
    stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    del host.containers["postgres"]
    assert "does not run, and its own server makes the copy; run script/up --stack dev in a checkout of the" in command(stack)
    up_of_the_version_that_it_ran(stack, host, monkeypatch)
    assert command(stack) == ""
    assert host.volumes[VOLUME].major == "17"


def test_what_is_not_whole_is_refused(stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "kept", lambda *_: [Kept(stamp="x", set="y", volumes={}, state="torn")])
    assert "a restore of stack dev was interrupted; run bin/ops restore -s dev first" in command(stack)
    monkeypatch.setattr(upgrade, "plan", lambda *_: SimpleNamespace(resumed=True, after="1.0.57"))
    assert "an upgrade of Skyvern to 1.0.57 was interrupted" in command(stack)
    del host.containers["postgres"]
    assert "skyvern-dev-postgres of PostgreSQL 15 does not run" in command(stack)
    host.volumes[VOLUME] = Cluster("18", TABLES)
    assert "is of a newer one, of PostgreSQL 18" in command(stack)
    monkeypatch.setattr(danger, "majors", lambda *_: None)
    assert "has no data of PostgreSQL yet" in command(stack)
    assert host.calls == []


def test_who_says_no_has_the_old_one(stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "attended", lambda: True)
    monkeypatch.setattr(terminal, "confirm", lambda question: False)
    monkeypatch.setattr(Stack, "environment", lambda stack: {})
    monkeypatch.setattr(terminal, "run_attended", lambda command, **_: host.act(" ".join(command)) or 0)
    with pytest.raises(UserError, match=r"^ops upgrade-database: nothing was changed$"):
        database_upgrade.upgrade_database(stack, yes=False, unreviewed=False)
    assert host.calls == ["set", "trial", "pulumi preview --non-interactive --stack dev"]


@pytest.mark.parametrize("step", ["switching", "going back", "data back", "served"])
def test_other_commands_wait_until_it_is_ended(stack: Stack, host: Host, step: database_upgrade.Step) -> None:
    database_upgrade.refuse_unfinished(stack, "ops rotate")
    command(stack)
    note = database_upgrade.read(stack)
    assert note is not None
    database_upgrade._write(stack, replace(note, step=step))
    refused = pytest.raises(UserError, match=r"^ops rotate: nothing was changed: an upgrade of PostgreSQL 15 to 17 was interrupt")
    with nullcontext() if step == "served" else refused:
        database_upgrade.refuse_unfinished(stack, "ops rotate")


@pytest.mark.parametrize(("serves", "step"), [("17", "served"), ("15", "")])
def test_cut_off_and_used_since_it_stays_with_what_serves(
    stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch, serves: str, step: str
) -> None:
    """What came is in that cluster alone."""
    command(stack)
    note = database_upgrade.read(stack)
    assert note is not None
    database_upgrade._write(stack, replace(note, step="switching"))
    monkeypatch.setattr(newer, "kinds", lambda *_: ["412 runs"])
    monkeypatch.setattr(danger, "majors", lambda *_: (serves, "17"))
    before = len(host.calls)
    database_upgrade.finish(stack, host, stack.settings(), print)
    assert noted(stack) == step
    assert [call for call in host.calls[before:] if not call.startswith("volume rm")] == []
    assert (KEPT in host.volumes) is (step == "served")


@pytest.mark.parametrize("here", ["15", "17"])
def test_what_was_stopped_is_started_before_it_is_asked_whether_it_was_used(
    stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch, here: str
) -> None:
    """A database that does not run was taken for one in which nothing came, and days of runs were put aside unasked."""
    command(stack)
    note = database_upgrade.read(stack)
    assert note is not None
    database_upgrade._write(stack, replace(note, step="switching"))
    host.containers.update({part: (major, False) for part, (major, _) in host.containers.items()})

    def kinds(*_: object) -> list[str]:
        if not host.containers["roles"][1]:
            raise UserError("docker: exit 1: container is not running")
        return ["412 runs"]

    monkeypatch.setattr(newer, "kinds", kinds)
    host.vars.here, host.vars.green = here, False
    script_up(stack, host)
    assert noted(stack) == "served"
    assert host.volumes[VOLUME].major == "17"


def test_a_database_that_does_not_answer_goes_back_and_says_that_it_is_not_known(
    stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(stack)
    note = database_upgrade.read(stack)
    assert note is not None
    database_upgrade._write(stack, replace(note, step="switching"))
    monkeypatch.setattr(upgrade, "ANSWER_SECONDS", 0)
    monkeypatch.setattr(newer, "kinds", failing("docker: exit 2: could not connect"))
    host.vars.green = False
    lines: list[str] = []
    with pytest.raises(UserError, match="PostgreSQL 15 serves again with its data of before"):
        database_upgrade.finish(stack, host, stack.settings(), lines.append)
    assert any(line.startswith(f"whether something came since {note.at} is not known") for line in lines)
    assert host.serves() == "15"


def test_what_a_restore_replaced_is_not_put_back_under_another_major(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(stamp="x", set="y", volumes={part: f"skyvern-dev-{part}-x" for part in PARTS}, state="exchanged")
    monkeypatch.setattr(exchange, "kept", lambda *_: [kept])
    monkeypatch.setattr(exchange, "image_of", lambda stack: "backup")
    monkeypatch.setattr(Stack, "state", lambda stack: {})
    monkeypatch.setattr(needs, "present", lambda *_: True)
    with pytest.raises(UserError, match="what was there before x is of PostgreSQL 15, and 17 does not start on that"):
        restore.undo(stack, yes=True)


# --- What fails -----------------------------------------------------------------------------------------------------------


def failing(words: str) -> Callable[..., None]:
    def fails(*_: object, **__: object) -> None:
        raise UserError(words)

    return fails


def test_a_trial_that_fails_leaves_everything(stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "trial", failing("Skyvern does not start"))
    assert command(stack) == "stack dev: nothing was changed, and PostgreSQL 15 goes on: Skyvern does not start"
    assert host.calls == ["set"]


def test_a_copy_that_is_not_equal_is_thrown_away(stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "ask", lambda *_, **__: "runs|5|18\nworkflows|2|99\nlost|1|1")
    said = "stack dev: nothing was changed, and PostgreSQL 15 goes on: the copy is not equal: lost, runs (rows or checksum)"
    assert command(stack) == said
    assert host.serves() == "15"
    assert set(host.volumes) == {VOLUME}
    assert noted(stack) == ""


@pytest.mark.parametrize("fault", ["up", "healthy", "green"])
def test_a_new_one_that_does_not_work_goes_back(stack: Stack, host: Host, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "up":
        monkeypatch.setattr(update, "pulumi_up", failing("pulumi up: exit 255"))
    else:
        setattr(host.vars, fault, False)
    monkeypatch.setattr(newer, "kinds", lambda *_: ["1 runs"])
    said = command(stack)
    assert said.startswith(
        "stack dev: PostgreSQL 15 serves again with its data of before (1 runs that came after are lost): the upgrade to 17 fail"
    )
    assert host.serves() == "15"
    assert host.volumes[KEPT].major == "17"
    assert noted(stack) == ""
    # What has run in the data that is left behind does not run again.
    (again,) = (call for call in host.calls if "workflow_schedules" in call)
    assert again.endswith("WHERE workflow_schedule_id IN ('wfs_1');\n")
    assert host.calls.index(again) < host.calls.index("up of the old commit")


def test_an_old_commit_that_does_not_come_up_is_tried_again(stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.vars.green = False
    works = other_commit.up
    monkeypatch.setattr(other_commit, "up", lambda *_, **__: 3)
    assert command(stack).endswith(
        "script/up of aaaaaaaaaaaa ended with 3; correct what its messages above name, and run script/up --stack dev again, "
        "which goes on with that"
    )
    assert noted(stack) == "data back"
    monkeypatch.setattr(other_commit, "up", works)
    assert "PostgreSQL 15 serves again with its data of before: the upgrade to 17 was interrupted" in script_up(stack, host)
    assert host.serves() == "15"
    assert noted(stack) == ""


# --- A kill at each point -------------------------------------------------------------------------------------------------


def points() -> range:
    """Twice the calls of a switch that works, and some more."""
    return range(1, 48)


@pytest.mark.parametrize("green", [True, False])
@pytest.mark.parametrize("then", ["command", "script/up", "script/up of the old commit"])
@pytest.mark.parametrize("point", points())
def test_killed_anywhere_the_old_or_the_new_one_serves(stack: Stack, host: Host, point: int, then: str, green: bool) -> None:
    host.vars.kill_at, host.vars.green = point, green
    try:
        database_upgrade.upgrade_database(stack, yes=True, unreviewed=False)
    except Killed:
        pass
    except UserError:
        assert not green
    host.vars.kill_at = 0
    if then == "command":
        command(stack)
    elif then == "script/up":
        script_up(stack, host)
    else:
        was = database_upgrade.read(stack)
        host.vars.here, host.vars.green = "15", True
        said = script_up(stack, host)
        if was is not None and was.step == "served":
            # It serves with the new one, and the old checkout does not touch it.
            assert said == "another major"
    served = host.serves()
    assert served in {"15", "17"}
    assert noted(stack) == ("served" if served == "17" else "")


@pytest.mark.parametrize("again", [2, 5, 9, 14])
@pytest.mark.parametrize("point", range(12, 48))
def test_killed_twice_the_old_or_the_new_one_serves(stack: Stack, host: Host, point: int, again: int) -> None:
    for kill_at in (point, again):
        host.vars.count, host.vars.kill_at, host.vars.green = 0, kill_at, kill_at != point
        with suppress(Killed, UserError):
            database_upgrade.upgrade_database(stack, yes=True, unreviewed=False)
    host.vars.kill_at, host.vars.green = 0, True
    script_up(stack, host)
    served = host.serves()
    assert served in {"15", "17"}
    assert noted(stack) == ("served" if served == "17" else "")


def test_the_points_reach_the_end(stack: Stack, host: Host) -> None:
    command(stack)
    assert 30 < host.vars.count < points()[-1]
