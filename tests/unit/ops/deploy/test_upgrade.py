"""ops.deploy.upgrade with doubles: what is an upgrade, what is kept before a switch, and how each failure and each kill ends."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from components.host import images
from ops.backups import container, migrations, trial
from ops.backups.migrations import Migration, Skyvern
from ops.clients import git, terminal
from ops.clients.docker import Docker
from ops.clients.terminal import Progress
from ops.deploy import drain, newer, other_commit, releases, update, upgrade
from ops.deploy.releases import Good
from ops.deploy.upgrade import Note, Upgrade
from ops.errors import UserError
from ops.images import needs
from ops.stack import database
from ops.stack.inventory import MIB
from ops.stack.stack import Stack
from tests.support.lock import REFUSED, held
from tests.support.recorder import recorder

BEFORE, AFTER = "skyvern_before", "skyvern_after"
OLD_COMMIT, NEW_COMMIT = "a" * 40, "b" * 40
OLD_IMAGE, NEW_IMAGE = "localhost/skyvern/server:old", "localhost/skyvern/server:new"
THIRD_IMAGE = "localhost/skyvern/server:third"
GOOD = Good(commit=OLD_COMMIT, database="PostgreSQL 17, migration m2", at="2026-11-28T10:00:00+00:00", stack_file="config: {}\n")


def skyvern(version: str, *names: str, drops: tuple[str, ...] = ()) -> Skyvern:
    """Migrations one behind the other."""
    chain = zip(names, ("", *names), strict=False)
    found = [Migration(id=one, after=(before,) if before else (), drops=one in drops) for one, before in chain]
    return Skyvern(version=version, migrations={one.id: one for one in found})


OLD = skyvern("1.0.55", "m1", "m2")
NEW = skyvern("1.0.56", "m1", "m2", "m3", "m4")
THIRD = skyvern("1.0.57", "m1", "m2", "m3", "m4", "m5")


@dataclass(frozen=True)
class Host(Docker):
    """A daemon with a server and PostgreSQL, whose databases are named by what is in them."""

    host: str = "unix:///x"
    server: dict[str, str] = field(default_factory=lambda: {"image": OLD_IMAGE, "state": "running"})
    databases: dict[str, str] = field(default_factory=lambda: {"skyvern": "m2"})
    # Databases that the monitor's role may connect to.
    for_monitor: set[str] = field(default_factory=lambda: {"skyvern"})
    containers: set[str] = field(default_factory=lambda: {"skyvern-dev-server", "skyvern-dev-postgres", "skyvern-dev-roles"})
    calls: list[str] = field(default_factory=list)
    faults: dict[str, UserError] = field(default_factory=dict)
    free_mib: int = 10_000

    def run(self, *arguments: Any, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
        line = " ".join(map(str, arguments))
        text = line + (stdin or b"").decode()
        for words, fault in self.faults.items():
            if words in text:
                raise fault
        if line.startswith("ps "):
            name = line.rpartition("^")[2].removesuffix("$")
            return "id\n" if name in self.containers and (name != "skyvern-dev-server" or self.server) else ""
        if line.startswith(("stop", "start", "rm")):
            self.calls.append(line)
            self.server["state"] = "running" if line.startswith("start") else "exited"
            if line.startswith("rm"):
                self.server.clear()
            return ""
        if "alembic_version" in text:
            return f"PostgreSQL 17, migration {self.databases['skyvern']}"
        if "pg_database_size" in text:
            return str(100 * MIB)
        if "df -Pk" in line:
            return f"Filesystem\n/dev/sda1 1 1 {self.free_mib * 1024} 1% /x"
        return self.sql((stdin or b"").decode())

    def sql(self, script: str) -> str:
        if "datname FROM pg_database" in script:
            return "\n".join(self.databases)
        for statement in script.splitlines():
            words = statement.replace(";", "").split()
            if statement.startswith("DROP"):
                self.databases.pop(words[4], None)
                self.for_monitor.discard(words[4])
            elif "GRANT CONNECT ON DATABASE" in statement:
                self.for_monitor.add(statement.partition("ON DATABASE ")[2].split()[0])
            elif statement.startswith("CREATE"):
                assert self.server.get("state") == "exited", "a server may write meanwhile"
                assert words[2] not in self.databases
                self.databases[words[2]] = self.databases[words[4]]
            elif statement.startswith("BEGIN"):
                assert not self.server, "a server is on the data that changes"
                for change in statement.split(";"):
                    if "RENAME" in change:
                        _, _, old, _, _, new = change.split()
                        assert new not in self.databases
                        self.databases[new] = self.databases.pop(old)
                        if old in self.for_monitor:
                            self.for_monitor.remove(old)
                            self.for_monitor.add(new)
        self.calls.append(script.split()[0])
        return ""

    def inspect(self, name: str) -> dict[str, Any]:
        return {"Image": f"id of {self.server['image']}", "Config": {"Image": self.server["image"]}}


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: Host) -> Stack:
    """A checkout of the new version, on a host that runs the old one; what deploys a commit is recorded in the host's calls."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(images, "references", lambda source: {"server": NEW_IMAGE})
    of = {NEW_IMAGE: NEW, OLD_IMAGE: OLD, THIRD_IMAGE: THIRD}
    monkeypatch.setattr(migrations, "of_image", lambda docker, image: of[image.removeprefix("id of ")])
    monkeypatch.setattr(releases, "last_good", lambda stack: GOOD)
    monkeypatch.setattr(git, "run", lambda root, *arguments: NEW_COMMIT)
    monkeypatch.setattr(newer, "kinds", lambda stack, docker, since: [])
    monkeypatch.setattr(drain, "_follow", lambda stack: None)
    monkeypatch.setattr(upgrade, "ANSWER_SECONDS", 0)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)

    def up(stack: Stack, commit: str, *, stack_file: str) -> int:
        host.calls.append(f"up of {commit[:4]} with {stack_file!r}")
        # Refused by Skyvern's own start, seen: "Can't locate revision identified by".
        if host.databases["skyvern"] not in OLD.migrations:
            return 1
        host.server.update(image=OLD_IMAGE, state="running")
        return 0

    monkeypatch.setattr(other_commit, "up", up)
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    return Stack("dev", root=tmp_path)


def planned(stack: Stack, host: Host) -> Upgrade | None:
    return upgrade.plan(stack, host, stack.settings())


def change(stack: Stack, host: Host) -> Upgrade:
    found = planned(stack, host)
    assert found is not None
    return found


def new_server(host: Host, *, migrated: bool = True) -> None:
    """As ``pulumi up`` leaves it."""
    host.server.update(image=NEW_IMAGE, state="running")
    if migrated:
        host.databases["skyvern"] = "m4"


def failed_switch(
    change: Upgrade,
    stack: Stack,
    host: Host,
    *,
    migrated: bool = True,
    say: Progress = print,
    up: Callable[[], None] | None = None,
) -> str:
    """What a person reads after a switch to a version whose smoke run is red. up: what happened before, if not new_server."""
    try:
        with upgrade.switched(change, stack, host, say):
            if up is None:
                new_server(host, migrated=migrated)
            else:
                up()
            raise UserError("red")
    except UserError as failed:
        return str(failed)


# --- What is planned ------------------------------------------------------------------------------------------------------


def test_the_plan_has_versions_and_migrations(stack: Stack, host: Host) -> None:
    assert str(change(stack, host)) == "Skyvern 1.0.55 → 1.0.56: 2 migrations, none drops data; about 90 s off"


def test_migrations_that_drop_data_are_named(stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    dropping = skyvern("1.0.56", "m1", "m2", "m3", drops=("m1", "m3"))
    monkeypatch.setattr(migrations, "of_image", lambda docker, image: dropping if image == NEW_IMAGE else OLD)
    assert "1 migration, 1 of them drop data (m3)" in str(change(stack, host))


def test_no_upgrade_costs_no_look_into_images(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(server={"image": NEW_IMAGE, "state": "running"})
    monkeypatch.setattr(migrations, "of_image", lambda *_: pytest.fail("asked"))
    assert planned(stack, host) is None
    assert host.calls == []


def test_without_a_server_no_database_is_migrated_untried(stack: Stack) -> None:
    with pytest.raises(UserError, match=r"nothing was changed: its database is an older Skyvern's than 1\.0\.56 .*; check out"):
        planned(stack, Host(server={}))


def up_of_the_version_that_it_ran(stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the messages say: script/up in a checkout of it, which is no upgrade and makes its server; then this one again."""
    with monkeypatch.context() as before:
        before.setattr(images, "references", lambda source: {"server": OLD_IMAGE})
        assert planned(stack, host) is None
        host.server.update(image=OLD_IMAGE, state="running")


def test_without_a_server_the_version_that_it_ran_brings_one_and_then_it_is_tried(
    stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.server.clear()
    with pytest.raises(UserError, match=r"; check out the version that it ran, run script/up --stack dev, and then upgrade$"):
        planned(stack, host)
    up_of_the_version_that_it_ran(stack, host, monkeypatch)
    assert str(change(stack, host)).startswith("Skyvern 1.0.55 → 1.0.56")


def test_after_a_downgrade_that_is_refused_the_version_that_it_ran_goes_on(
    stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.server["image"], host.databases["skyvern"] = "another", "m5"
    with pytest.raises(UserError, match=r"; check out the version that it ran, and run script/up --stack dev$"):
        planned(stack, host)
    monkeypatch.setattr(images, "references", lambda source: {"server": THIRD_IMAGE})
    host.server.update(image=THIRD_IMAGE)
    assert planned(stack, host) is None
    host.server.clear()
    assert planned(stack, host) is None


def test_a_server_that_is_gone_comes_back(stack: Stack) -> None:
    assert planned(stack, Host(server={}, databases={"skyvern": "m4"})) is None


def test_a_stack_of_which_nothing_is_there_is_begun(stack: Stack) -> None:
    assert planned(stack, Host(server={}, faults={"alembic_version": UserError("docker: exit 1: No such container")})) is None


def test_another_build_of_the_same_skyvern_is_no_upgrade(stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "of_image", lambda docker, image: OLD)
    assert planned(stack, host) is None


def test_a_database_without_tables_is_none(stack: Stack, host: Host) -> None:
    host.faults["alembic_version"] = UserError('docker: exit 1: ERROR:  relation "alembic_version" does not exist')
    assert planned(stack, host) is None


def test_a_database_that_does_not_answer_is_refused(stack: Stack, host: Host) -> None:
    host.faults["alembic_version"] = UserError("docker: exit 1: container is not running")
    with pytest.raises(UserError, match=r"nothing was changed: .* does not answer .*; bin/ops doctor -s dev"):
        planned(stack, host)


@pytest.mark.parametrize("kept", [False, True])
def test_a_downgrade_across_migrations_is_refused_before_anything_is_touched(stack: Stack, host: Host, kept: bool) -> None:
    host.server["image"] = "another"
    host.databases["skyvern"] = "m9"
    if kept:
        host.databases[BEFORE] = "m2"
        upgrade._write(stack, note("served"))
    with pytest.raises(UserError) as refused:
        planned(stack, host)
    said = str(refused.value)
    assert said.startswith("stack dev: nothing was changed: its database has been migrated by a newer Skyvern (m9), and Skyvern")
    assert said.endswith(
        "bin/ops rollback --with-data -s dev goes back to Skyvern 1.0.55 and its data of 2026-11-29T00:00:00+00:00"
        if kept
        else "check out the version that it ran, and run script/up --stack dev"
    )
    assert host.calls == []


@pytest.mark.parametrize("there", [True, False])
def test_what_updates_on_another_occasion_is_no_upgrade(
    stack: Stack, host: Host, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, "present", lambda docker, reference: there)
    if there:
        with pytest.raises(UserError, match=r"^ops rotate: nothing was changed: .* \(Skyvern 1\.0\.55 → .*; run script/up"):
            upgrade.refuse(stack, host, stack.settings(), "ops rotate")
        host.server["image"] = NEW_IMAGE
    upgrade.refuse(stack, host, stack.settings(), "ops rotate")


# --- Before the switch ----------------------------------------------------------------------------------------------------


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    monkeypatch.setattr(container, "make_set", recorder(seen, "set 2026", "set"))

    def attempt(stack: Stack, size: int, progress: object) -> float:
        seen.append(f"trial of {size // MIB} MiB")
        return 41.0

    monkeypatch.setattr(trial, "trial", attempt)
    return seen


def test_a_set_then_the_trial(stack: Stack, host: Host, tried: list[str]) -> None:
    host.containers.add("skyvern-dev-backup")
    upgrade.prepare(change(stack, host), stack, host, print, ask=False)
    assert tried == ["set", "trial of 100 MiB"]
    assert host.calls == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("set", "nothing was changed, and Skyvern 1.0.55 goes on: the repository is full"),
        ("trial", "nothing was changed, and Skyvern 1.0.55 goes on: on a copy of its data, 1.0.56 does not work: DuplicateTable"),
        ("disk", "goes on: a copy of the database needs 310 MiB, and Docker's disk has 309 MiB free; make room first"),
    ],
)
def test_what_fails_before_the_switch_leaves_the_old_one(
    stack: Stack, tried: list[str], fault: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(free_mib=309 if fault == "disk" else 10_000, containers={"skyvern-dev-server", "skyvern-dev-backup"})

    def fail(words: str) -> Any:
        def failing(*_: object) -> None:
            raise UserError(words)

        return failing

    if fault == "set":
        monkeypatch.setattr(container, "make_set", fail("the repository is full"))
    if fault == "trial":
        monkeypatch.setattr(trial, "trial", fail("DuplicateTable"))
    with pytest.raises(UserError, match=said):
        upgrade.prepare(change(stack, host), stack, host, print, ask=False)
    assert host.calls == []
    assert upgrade.read(stack) is None


def test_a_person_is_asked_before_the_trial(stack: Stack, host: Host, tried: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    questions: list[str] = []
    monkeypatch.setattr(Stack, "environment", lambda stack: {})
    monkeypatch.setattr(terminal, "run_attended", lambda command, **_: recorder(questions, 0)(" ".join(command)))
    monkeypatch.setattr(terminal, "confirm", recorder(questions, False))
    with pytest.raises(UserError, match=r"^stack dev: nothing was changed$"):
        upgrade.prepare(change(stack, host), stack, host, print, ask=True)
    assert questions[0] == "pulumi preview --non-interactive --stack dev"
    assert questions[1].startswith("stack dev: Skyvern 1.0.55 → 1.0.56: 2 migrations")
    assert questions[1].endswith("Try it on a copy of the data, and switch if that works?")
    # A switch that was cut off goes on without a trial.
    with pytest.raises(UserError, match=r"^stack dev: nothing was changed$"):
        upgrade.prepare(replace(change(stack, host), resumed=note("switching")), stack, host, print, ask=True)
    assert questions[3].endswith("Go on with this switch, which was interrupted?")
    assert tried == []


# --- The switch, and back -------------------------------------------------------------------------------------------------


def test_a_switch_that_works_keeps_the_data_of_before(stack: Stack, host: Host) -> None:
    with upgrade.switched(change(stack, host), stack, host, print):
        assert host.server["state"] == "exited"
        new_server(host)
    assert host.databases == {"skyvern": "m4", BEFORE: "m2"}
    kept = upgrade.read(stack)
    assert kept is not None
    assert (kept.state, kept.commit, kept.before, kept.after) == ("served", OLD_COMMIT, "1.0.55", "1.0.56")
    # The next up is a plain one.
    assert planned(stack, host) is None


def test_the_monitor_may_read_what_has_gone_back(stack: Stack, host: Host) -> None:
    """CREATE DATABASE ... TEMPLATE copies no rights: until the roles container was started again, the dashboard was empty."""
    failed_switch(change(stack, host), stack, host)
    assert "skyvern" in host.for_monitor


@pytest.mark.parametrize("migrated", [False, True])
def test_a_switch_that_fails_goes_back_by_itself(stack: Stack, host: Host, migrated: bool) -> None:
    said = failed_switch(change(stack, host), stack, host, migrated=migrated)
    assert said == "stack dev: Skyvern 1.0.55 serves again with its data of before: the upgrade to 1.0.56 failed: red"
    assert host.databases["skyvern"] == "m2"
    assert host.server == {"image": OLD_IMAGE, "state": "running"}
    assert host.calls[-1] == f"up of aaaa with {'config: {}' + chr(10)!r}"
    assert upgrade.read(stack) is None


def test_what_came_meanwhile_is_named_and_kept(stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newer, "kinds", lambda stack, docker, since: ["2 runs"])
    lines: list[str] = []
    said = failed_switch(change(stack, host), stack, host, say=lines.append)
    assert "with its data of before (2 runs that came after are lost): the upgrade" in said
    assert host.databases[AFTER] == "m4"
    assert any(f"kept in the database {AFTER}" in line for line in lines)


def test_a_database_that_cannot_be_kept_leaves_the_old_server_running(stack: Stack, host: Host) -> None:
    host.faults["CREATE DATABASE"] = UserError("docker: exit 3: No space left on device")
    said = failed_switch(change(stack, host), stack, host)
    assert said.startswith("stack dev: nothing was changed, and Skyvern 1.0.55 goes on: ")
    assert "No space left" in said
    assert host.server == {"image": OLD_IMAGE, "state": "running"}
    assert upgrade.read(stack) is None


def test_interrupted_while_it_ends_the_old_server_runs_again(stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stayed off until the next script/up; and Docker goes on with a stop whose command is gone."""
    asked: list[str] = []

    def stop(self: Host, name: str, *, timeout_seconds: float) -> None:
        asked.append(f"stop {name}")
        raise KeyboardInterrupt

    def wait(self: Host, name: str, *, timeout_seconds: float) -> None:
        asked.append(f"wait {name}")
        host.server["state"] = "exited"

    monkeypatch.setattr(Host, "stop_part", stop)
    monkeypatch.setattr(Host, "wait_until_stopped", wait)
    with pytest.raises(KeyboardInterrupt):
        failed_switch(change(stack, host), stack, host)
    assert asked == ["stop skyvern-dev-server", "wait skyvern-dev-server"]
    assert host.server == {"image": OLD_IMAGE, "state": "running"}
    assert upgrade.read(stack) is None


def failed_or_not(change: Upgrade, stack: Stack, host: Host) -> None:
    with upgrade.switched(change, stack, host, print):
        pass


@pytest.mark.parametrize("dropped", [True, False])
def test_what_was_kept_goes_with_the_note_that_names_it(
    stack: Stack, host: Host, dropped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note of the last upgrade would offer its version with the data of another, or none for data that is there."""
    host.databases[BEFORE] = "m1"
    last = replace(note("served"), before="1.0.54")
    upgrade._write(stack, last)
    begun = change(stack, host)

    def fails(*_: Any) -> None:
        if dropped:
            del host.databases[BEFORE]
        raise UserError("docker: exit 137: killed")

    monkeypatch.setattr(upgrade, "_each", fails)
    failed_or_failing(begun, stack, host)
    assert upgrade.read(stack) == (None if dropped else last)


def failed_or_failing(change: Upgrade, stack: Stack, host: Host) -> None:
    with pytest.raises(UserError, match="nothing was changed"):
        failed_or_not(change, stack, host)


def test_a_silent_database_stops_going_back_with_the_next_command(stack: Stack, host: Host) -> None:
    """The old images were deployed, on the data that the new version had migrated."""

    def up() -> None:
        new_server(host)
        host.faults["datname FROM pg_database"] = UserError("docker: exit 2: could not connect")

    said = failed_switch(change(stack, host), stack, host, up=up)
    assert said.startswith(
        "stack dev: going back to Skyvern 1.0.55 stopped, and Skyvern does not run: its database does not answer within 0 s "
        "(docker: exit 2: could not connect), so the data of before is not in its place; "
    )
    assert said.endswith("then run script/up --stack dev, which goes on with going back")
    assert not [call for call in host.calls if call.startswith("up of")]
    assert host.databases == {"skyvern": "m4", BEFORE: "m2"}
    host.faults.clear()
    with pytest.raises(UserError, match=r"Skyvern 1\.0\.55 serves again with its data of before"):
        upgrade.finish(stack, host, print)
    assert host.databases["skyvern"] == "m2"


@pytest.mark.parametrize("gone", ["skyvern-dev-postgres", "skyvern-dev-roles"])
def test_going_back_makes_a_postgresql_that_is_gone_again(
    stack: Stack, host: Host, gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only an up makes its container, and the up waited for the data, which waited for the container."""

    def up(stack: Stack, *, unasked: bool, previewed: bool, targets: tuple[str, ...]) -> None:
        assert (unasked, previewed) == (True, True)
        assert not host.server, "it would be made, too"
        assert all("server" not in target or "postgres" in target for target in targets)
        host.containers.add(gone)
        host.faults.clear()

    monkeypatch.setattr(update, "pulumi_up", up)
    left(host, {"image": NEW_IMAGE, "state": "running"}, {"skyvern": "m4", BEFORE: "m2"})
    upgrade._write(stack, note("going back"))
    host.containers.discard(gone)
    host.faults["datname FROM pg_database"] = UserError("docker: exit 1: No such container")
    lines: list[str] = []
    with pytest.raises(UserError, match=r"Skyvern 1\.0\.55 serves again with its data of before"):
        upgrade.finish(stack, host, lines.append)
    assert f"{gone} is gone: an up of PostgreSQL alone makes it again" in lines
    assert host.databases["skyvern"] == "m2"


def test_a_postgresql_that_cannot_be_made_again_is_one_line(stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(stack: Stack, **_: object) -> None:
        raise UserError("pulumi up: exit 255; see its messages above")

    monkeypatch.setattr(update, "pulumi_up", fails)
    upgrade._write(stack, note("going back"))
    host.containers.discard("skyvern-dev-postgres")
    with pytest.raises(UserError) as stopped:
        upgrade.finish(stack, host, print)
    assert str(stopped.value) == (
        "stack dev: going back to Skyvern 1.0.55 stopped, and Skyvern does not run: its PostgreSQL is gone and is not made again "
        "(pulumi up: exit 255; see its messages above); then run script/up --stack dev, which goes on with going back"
    )
    kept = upgrade.read(stack)
    assert kept is not None
    assert kept.state == "going back"


@pytest.mark.parametrize("server", ["none", "old"])
def test_a_new_version_that_has_never_run_has_changed_no_data(stack: Stack, host: Host, server: str) -> None:
    """As where the up brings another PostgreSQL as well, which does not start: the old commit's up brings back one that does."""

    def up() -> None:
        if server == "none":
            host.server.clear()
        host.faults["datname FROM pg_database"] = UserError("docker: exit 1: No such container")

    assert "Skyvern 1.0.55 serves again" in failed_switch(change(stack, host), stack, host, up=up)
    assert host.databases == {"skyvern": "m2", BEFORE: "m2"}
    assert host.server == {"image": OLD_IMAGE, "state": "running"}


def test_without_a_commit_the_data_goes_back_and_the_next_step_is_named(
    stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "last_good", lambda stack: None)
    said = failed_switch(change(stack, host), stack, host)
    assert "its data is that of before" in said
    assert "and its server does not run; check out the version of this project" in said
    assert host.databases["skyvern"] == "m2"
    assert host.server == {}
    # The step that it names, followed; the upgrade can be tried again afterwards.
    up_of_the_version_that_it_ran(stack, host, monkeypatch)
    assert str(change(stack, host)).startswith("Skyvern 1.0.55 → 1.0.56")


def test_without_a_commit_an_old_server_that_is_still_there_goes_on(
    stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The up failed before it came to the server."""
    monkeypatch.setattr(releases, "last_good", lambda stack: None)
    assert "Skyvern 1.0.55 serves again" in failed_switch(change(stack, host), stack, host, up=lambda: None)
    assert host.server == {"image": OLD_IMAGE, "state": "running"}
    assert upgrade.read(stack) is None


def test_without_a_commit_no_way_back_is_promised(
    stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(releases, "last_good", lambda stack: None)
    with upgrade.switched(change(stack, host), stack, host, print):
        new_server(host)
    last = capsys.readouterr().out.splitlines()[-1]
    assert "is kept in the database skyvern_before until the next upgrade" in last
    assert "rollback" not in last


def test_a_commit_that_the_clone_lacks_is_no_way_back(stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "has", lambda root, commit: commit != OLD_COMMIT)
    assert change(stack, host).good is None


def test_a_preview_that_fails_ends_it(stack: Stack, host: Host, tried: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stack, "environment", lambda stack: {})
    monkeypatch.setattr(terminal, "run_attended", lambda *_, **__: 255)
    with pytest.raises(UserError, match="pulumi preview: exit 255; nothing was changed"):
        upgrade.prepare(change(stack, host), stack, host, print, ask=True)
    assert tried == []


@pytest.mark.parametrize(
    "good",
    [
        None,
        # Of another schema, of another major, and the commit itself.
        replace(GOOD, database="PostgreSQL 17, migration m1"),
        replace(GOOD, database="PostgreSQL 15, migration m2"),
        replace(GOOD, commit=NEW_COMMIT),
    ],
)
def test_a_commit_that_does_not_run_on_the_data_is_no_way_back(
    stack: Stack, host: Host, good: Good | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "last_good", lambda stack: good)
    assert change(stack, host).good is None


def test_a_connection_in_the_way_is_waited_for(stack: Stack, host: Host) -> None:
    host.server["state"] = "exited"
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        host.faults.clear()

    host.faults["CREATE DATABASE"] = UserError('source database "skyvern" is being accessed by other users')
    upgrade._each(stack, host, upgrade.kept(stack).keep(), pause)
    assert waited == [1]
    assert host.databases == {"skyvern": "m2", BEFORE: "m2"}


# --- After a kill ---------------------------------------------------------------------------------------------------------


def note(state: upgrade.State) -> Note:
    return Note(
        state=state,
        before="1.0.55",
        after="1.0.56",
        database=("m2",),
        image=NEW_IMAGE,
        commit=OLD_COMMIT,
        stack_file="",
        at=datetime(2026, 11, 29, tzinfo=UTC).isoformat(),
    )


def left(host: Host, server: dict[str, str], databases: dict[str, str]) -> None:
    """What the kill has left."""
    host.server.clear()
    host.server.update(server)
    host.databases.clear()
    host.databases.update(databases)


def test_killed_before_the_old_server_went_begins_again(stack: Stack, host: Host) -> None:
    """What stopped has been started again (ops/deploy/repair.py), and may have written since."""
    host.databases[BEFORE] = "m2"
    upgrade._write(stack, note("switching"))
    again = change(stack, host)
    assert again.resumed is None
    with upgrade.switched(again, stack, host, print):
        new_server(host)
    assert [call for call in host.calls if call == "DROP"], "what was kept then is too old"


@pytest.mark.parametrize("server", [{}, {"image": NEW_IMAGE, "state": "running"}])
@pytest.mark.parametrize("migrated", [False, True])
def test_killed_during_the_switch_goes_on_and_can_still_go_back(
    stack: Stack, host: Host, server: dict[str, str], migrated: bool
) -> None:
    left(host, server, {"skyvern": "m4" if migrated else "m2", BEFORE: "m2"})
    upgrade._write(stack, note("switching"))
    resumed = change(stack, host)
    assert resumed.resumed is not None
    assert "serves again" in failed_switch(resumed, stack, host, migrated=migrated)
    assert host.databases["skyvern"] == "m2"
    assert host.server["image"] == OLD_IMAGE


def cut_off_and_used(
    stack: Stack, host: Host, server: dict[str, str], databases: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A switch that was killed, and the runs of days since."""
    left(host, server, databases)
    upgrade._write(stack, note("switching"))
    monkeypatch.setattr(newer, "kinds", lambda *_: ["412 runs"])


@pytest.mark.parametrize(
    "server",
    [{"image": NEW_IMAGE, "state": "running"}, {"image": THIRD_IMAGE, "state": "running"}, {}],
    ids=["new", "third", "none"],
)
def test_killed_while_it_was_looked_at_and_used_since_is_an_upgrade_that_works(
    stack: Stack, host: Host, server: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came since is not put aside by a later up that fails; a person may still go back, and is asked."""
    cut_off_and_used(stack, host, server, {"skyvern": "m4", BEFORE: "m2"}, monkeypatch)
    upgrade.finish(stack, host, print)
    found = planned(stack, host)
    assert found is None or found.resumed is None
    kept = upgrade.read(stack)
    assert kept is not None
    assert kept.state == "served"
    assert host.databases == {"skyvern": "m4", BEFORE: "m2"}


def test_a_database_that_was_started_a_moment_ago_is_waited_for_before_it_says_what_came(
    stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer is not the answer that nothing came."""
    cut_off_and_used(stack, host, {"image": NEW_IMAGE, "state": "running"}, {"skyvern": "m4", BEFORE: "m2"}, monkeypatch)
    host.faults["alembic_version"] = UserError("docker: exit 2: the database system is starting up")
    with pytest.raises(UserError, match=r"^stack dev: nothing was changed: .* does not answer"):
        upgrade.finish(stack, host, print)
    monkeypatch.setattr(upgrade, "ANSWER_SECONDS", 60)
    monkeypatch.setattr(time, "sleep", lambda seconds: host.faults.clear())
    upgrade.finish(stack, host, print)
    kept = upgrade.read(stack)
    assert kept is not None
    assert kept.state == "served"


@pytest.mark.parametrize("server", [{}, {"image": OLD_IMAGE, "state": "running"}])
def test_killed_before_the_new_server_and_used_since_begins_again(
    stack: Stack, host: Host, server: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one went on, and what it has written is in no copy."""
    cut_off_and_used(stack, host, server, {"skyvern": "m2", BEFORE: "m2"}, monkeypatch)
    upgrade.finish(stack, host, print)
    assert upgrade.read(stack) is None
    assert host.databases["skyvern"] == "m2"
    if server:
        assert change(stack, host).resumed is None


def test_killed_on_the_way_back_and_another_skyvern_deployed_by_hand_since_has_ended(stack: Stack, host: Host) -> None:
    """As by a plain pulumi up: the old commit does not run on what it has migrated, and going on with that failed for ever."""
    left(host, {"image": NEW_IMAGE, "state": "running"}, {"skyvern": "m4", AFTER: "m4"})
    upgrade._write(stack, note("data back"))
    upgrade.finish(stack, host, print)
    assert upgrade.read(stack) is None
    assert planned(stack, host) is None
    assert host.server == {"image": NEW_IMAGE, "state": "running"}


def test_without_what_was_kept_the_new_version_stays(stack: Stack, host: Host) -> None:
    """The server was removed, and it was said that the data of before is in its place."""
    left(host, {"image": NEW_IMAGE, "state": "running"}, {"skyvern": "m4"})
    upgrade._write(stack, note("switching"))
    resumed = change(stack, host)
    said = failed_switch(resumed, stack, host)
    assert said.startswith(
        "stack dev: Skyvern 1.0.56 stays: the data of 2026-11-29T00:00:00+00:00, which a way back needs, is gone"
    )
    assert host.server == {"image": NEW_IMAGE, "state": "running"}
    assert upgrade.read(stack) is None
    assert planned(stack, host) is None


@pytest.mark.parametrize("state", ["switching", "going back", "data back", "served"])
def test_data_of_a_set_has_nothing_of_a_switch_that_was_cut_off(stack: Stack, state: upgrade.State) -> None:
    """Of one that has served the data of before is kept in what a restore keeps, too, and may come back with it."""
    upgrade._write(stack, note(state))
    upgrade.replaced(stack)
    assert (upgrade.read(stack) is None) == (state != "served")


def test_killed_while_postgresql_was_replaced_goes_on(stack: Stack, host: Host) -> None:
    """Its container is gone, and only the up makes another."""
    left(host, {"image": OLD_IMAGE, "state": "exited"}, {"skyvern": "m2", BEFORE: "m2"})
    upgrade._write(stack, note("switching"))
    host.containers.discard("skyvern-dev-postgres")
    host.faults["alembic_version"] = UserError("docker: No such container")
    assert change(stack, host).resumed is not None


@pytest.mark.parametrize("server", [{}, {"image": NEW_IMAGE, "state": "running"}])
@pytest.mark.parametrize("wanted", [THIRD_IMAGE, OLD_IMAGE])
def test_killed_during_the_switch_another_checkout_does_not_lose_what_was_kept(
    stack: Stack, host: Host, server: dict[str, str], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a third version, or the old one. The new one migrates while the other is being prepared."""
    left(host, server, {"skyvern": "m2", BEFORE: "m2"})
    upgrade._write(stack, note("switching"))
    monkeypatch.setattr(images, "references", lambda source: {"server": wanted})
    resumed = change(stack, host)
    assert resumed.resumed is not None
    assert resumed.resumed.image == wanted
    host.databases["skyvern"] = "m4"
    assert "Skyvern 1.0.55 serves again" in failed_switch(resumed, stack, host)
    assert host.databases["skyvern"] == "m2"
    assert host.server["image"] == OLD_IMAGE


@pytest.mark.parametrize(
    ("state", "server", "databases"),
    [
        ("going back", {"image": NEW_IMAGE, "state": "running"}, {"skyvern": "m4", BEFORE: "m2"}),
        ("going back", {}, {"skyvern": "m4", BEFORE: "m2"}),
        ("going back", {}, {"skyvern": "m2", AFTER: "m4"}),
        ("data back", {}, {"skyvern": "m2", AFTER: "m4"}),
        ("data back", {"image": OLD_IMAGE, "state": "running"}, {"skyvern": "m2", AFTER: "m4"}),
    ],
)
def test_killed_on_the_way_back_ends_there(
    stack: Stack, host: Host, state: upgrade.State, server: dict[str, str], databases: dict[str, str]
) -> None:
    left(host, server, databases)
    upgrade._write(stack, note(state))
    with pytest.raises(UserError, match=r"Skyvern 1.0.55 serves again .* tries the upgrade again$"):
        upgrade.finish(stack, host, print)
    assert host.databases["skyvern"] == "m2"
    assert host.server == {"image": OLD_IMAGE, "state": "running"}
    assert upgrade.read(stack) is None


@pytest.mark.parametrize("server", [{}, {"image": NEW_IMAGE, "state": "running"}])
def test_the_old_commits_own_up_is_the_last_step(
    stack: Stack, host: Host, server: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    left(host, server, {"skyvern": "m4", BEFORE: "m2"})
    upgrade._write(stack, note("going back"))
    monkeypatch.setattr(git, "run", lambda root, *arguments: OLD_COMMIT)
    upgrade.finish(stack, host, print)
    assert host.server == {}, "it would migrate what has come back"
    assert host.databases["skyvern"] == "m2"
    assert not [call for call in host.calls if call.startswith("up")]
    upgrade.finished(stack)
    assert upgrade.read(stack) is None


@pytest.mark.parametrize("state", [None, "served", "switching"])
def test_an_up_that_works_leaves_what_is_kept(stack: Stack, host: Host, state: upgrade.State | None) -> None:
    if state is not None:
        upgrade._write(stack, note(state))
    upgrade.finish(stack, host, print)
    upgrade.finished(stack)
    assert (upgrade.read(stack) is None) == (state is None)
    assert host.calls == []


def test_a_note_that_cannot_be_read_is_none(stack: Stack) -> None:
    upgrade.NOTES.path(stack).parent.mkdir(parents=True)
    for text in ("", "[]", "{}", json.dumps({"database": 1})):
        upgrade.NOTES.path(stack).write_text(text)
        assert upgrade.read(stack) is None


# --- ops rollback --with-data ---------------------------------------------------------------------------------------------


def test_going_back_after_it_has_served_names_what_is_lost(
    stack: Stack, host: Host, tried: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with upgrade.switched(change(stack, host), stack, host, print):
        new_server(host)
    monkeypatch.setattr(newer, "kinds", lambda stack, docker, since: ["3 runs", "1 workflows"])
    monkeypatch.setattr(terminal, "attended", lambda: False)
    with pytest.raises(UserError, match="there is no terminal to ask on; add --yes"):
        upgrade.with_data(stack, host, yes=False, progress=print)
    questions: list[str] = []
    monkeypatch.setattr(terminal, "attended", lambda: True)
    monkeypatch.setattr(terminal, "confirm", recorder(questions, False))
    with pytest.raises(UserError, match="nothing was changed"):
        upgrade.with_data(stack, host, yes=False, progress=print)
    assert questions[0].endswith("? lost: 3 runs, 1 workflows that came since")
    assert host.databases["skyvern"] == "m4"
    host.containers.add("skyvern-dev-backup")
    upgrade.with_data(stack, host, yes=True, progress=print)
    assert tried == ["set"]
    assert host.databases == {"skyvern": "m2", AFTER: "m4"}
    assert host.server["image"] == OLD_IMAGE
    with pytest.raises(UserError, match="has no data of before an upgrade; bin/ops restore"):
        upgrade.with_data(stack, host, yes=True, progress=print)


def test_a_repository_that_does_not_answer_is_no_reason_to_stay(
    stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is replaced stays in a database of this host."""
    with upgrade.switched(change(stack, host), stack, host, print):
        new_server(host)
    host.containers.add("skyvern-dev-backup")

    def no_set(stack: Stack, docker: Docker) -> str:
        raise UserError("backup of stack dev: the repository does not answer")

    monkeypatch.setattr(container, "make_set", no_set)
    lines: list[str] = []
    upgrade.with_data(stack, host, yes=True, progress=lines.append)
    assert host.databases == {"skyvern": "m2", AFTER: "m4"}
    assert lines[0] == (
        f"no set of a backup is made (backup of stack dev: the repository does not answer); what Skyvern 1.0.56 has stays in the "
        f"database {AFTER} until the next upgrade"
    )


def test_a_commit_that_the_clone_lacks_ends_going_back_before_anything_is_touched(
    stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    with upgrade.switched(change(stack, host), stack, host, print):
        new_server(host)
    monkeypatch.setattr(git, "has", lambda root, commit: commit != OLD_COMMIT)
    host.calls.clear()
    with pytest.raises(UserError, match=r"^stack dev: commit aaaaaaaaaaaa is not in this checkout; run git fetch --unshallow"):
        upgrade.with_data(stack, host, yes=True, progress=print)
    assert host.calls == []
    assert host.databases == {"skyvern": "m4", BEFORE: "m2"}


def test_beside_another_command_going_back_asks_nothing(stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever that does, the answer would be to an older question."""
    with upgrade.switched(change(stack, host), stack, host, print):
        new_server(host)
    monkeypatch.setattr(terminal, "agree", lambda *_, **__: pytest.fail("asked"))
    with held(), pytest.raises(UserError, match=REFUSED):
        upgrade.with_data(stack, host, yes=False, progress=print)


def test_what_came_since_may_not_be_known(stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    with upgrade.switched(change(stack, host), stack, host, print):
        new_server(host)

    def odd(*_: object) -> list[str]:
        raise UserError("stack dev: its database does not say what came since 2026-11-29 00:00 UTC")

    monkeypatch.setattr(newer, "kinds", odd)
    questions: list[str] = []
    monkeypatch.setattr(terminal, "attended", lambda: True)
    monkeypatch.setattr(terminal, "confirm", recorder(questions, False))
    with pytest.raises(UserError, match="nothing was changed"):
        upgrade.with_data(stack, host, yes=False, progress=print)
    assert questions[0].endswith("? lost: whatever came since, which the database does not name")


def test_ticks_that_have_run_are_not_run_again(stack: Stack, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def ask(stack: Stack, docker: Docker, script: str, *, name: str = "", **_: object) -> str:
        asked.append((name, script))
        return "wfs_1\nwfs_2\n" if not name else ""

    monkeypatch.setattr(database, "ask", ask)
    upgrade._keep_fired(stack, host, datetime(2026, 11, 29, tzinfo=UTC))
    assert "created_at > '2026-11-29 00:00:00'" in asked[0][1]
    assert asked[1][0] == BEFORE
    assert asked[1][1].endswith("WHERE workflow_schedule_id IN ('wfs_1','wfs_2');")


# --- A PostgreSQL elsewhere -----------------------------------------------------------------------------------------------


def test_on_a_server_elsewhere_the_databases_have_the_stacks_name(stack: Stack, host: Host) -> None:
    """Other stacks may be on it. Its disk is not ours to look at, and there is no container of it."""
    stack.file.write_text("config:\n  skyvern:database:\n    url:\n      secure: v1:x\n")
    name = "skyvern_dev"
    host.databases[name] = host.databases.pop("skyvern")
    host.containers.discard("skyvern-dev-postgres")
    host.server["state"] = "exited"
    upgrade._refuse_full_disk(stack, replace(host, free_mib=0), 10**12)
    upgrade._each(stack, host, upgrade.kept(stack).keep())
    assert host.databases == {name: "m2", f"{name}_before": "m2"}
    host.databases[name] = "m4"
    host.server.clear()
    assert upgrade._finish_data(stack, host, note("going back"), print) == ""
    assert host.databases == {name: "m2", f"{name}_after": "m4"}
    assert host.for_monitor >= {name}
    ended = upgrade.kept(stack)._end_connections
    assert f"usename IN ('{name}', '{name}_monitor', current_user)" in ended
