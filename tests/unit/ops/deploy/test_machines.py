"""What an update needs of the machines of a Swarm, its images among it, and what it says after one that failed."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.host import images
from components.host.volumes import SKYVERN_FOLDERS
from components.settings import Settings
from ops.backups import exchange, preflight, share
from ops.clients import process
from ops.clients.docker import Docker
from ops.clients.swarm import Machine, Swarm
from ops.deploy import machines, takeover, update
from ops.errors import UserError
from ops.images import spread
from ops.observe.cluster import Cluster
from ops.stack.stack import Stack
from tests.support import cluster
from tests.support import swarm as support
from tests.support.swarm import A, B, C, Engine


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return support.engine(monkeypatch)


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return support.stack_at(tmp_path)


@pytest.fixture
def settings(stack: Stack) -> Settings:
    return stack.settings()


def seen(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    monkeypatch.setattr("ops.deploy.machines.clusters.observe", lambda hosts: cluster)


# --- The machines --------------------------------------------------------------------------------------------------------


def test_machines_that_are_right(engine: Engine, stack: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    seen(monkeypatch, cluster.THREE)
    lines: list[str] = []
    machines.check(stack, engine.swarm(), settings, lines.append)
    machines.check(stack, Docker("unix:///x"), settings, lines.append)
    assert lines == []


def test_one_that_is_down_keeps_no_update(
    engine: Engine, stack: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [*cluster.THREE.nodes[:2], cluster.node("c", problem="no daemon answers")]
    seen(monkeypatch, replace(cluster.THREE, nodes=nodes))
    lines: list[str] = []
    machines.check(stack, engine.swarm(), settings, lines.append)
    assert lines[0].startswith(f"error: {C}: does not answer: no daemon answers; ")


def test_services_are_not_made_where_they_would_be_unprotected(
    engine: Engine, stack: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [cluster.node("a"), cluster.node("b", seccomp="default"), cluster.node("c", no_new_privileges=False)]
    seen(monkeypatch, replace(cluster.THREE, nodes=nodes))
    with pytest.raises(UserError) as told:
        machines.check(stack, engine.swarm(), settings, print)
    assert str(told.value) == (
        f"nothing was changed: Pulumi.dev.yaml: host: what runs at {B}, {C} would have another seccomp profile than the stack's, "
        "or may gain privileges; run bin/ops cluster init -s dev"
    )


def test_pulumi_asks_the_first_one(engine: Engine, stack: Stack, settings: Settings) -> None:
    engine.silent = {A}
    with pytest.raises(UserError) as told:
        machines.check(stack, engine.swarm(), settings, print)
    assert str(told.value).startswith(f"nothing was changed: Pulumi.dev.yaml: host.docker_host: {A}: ")
    assert str(told.value).endswith(f"or write {B}, which manages it, as docker_host and {A} among host.nodes")


# --- The shared folder ---------------------------------------------------------------------------------------------------


def runs(monkeypatch: pytest.MonkeyPatch, failing: dict[str, str]) -> list[tuple[str, str, str]]:
    """What was run: host, user and script. failing: a host or a user -> what it printed."""
    calls: list[tuple[str, str, str]] = []

    def run(self: Docker, *arguments: Any, **options: Any) -> str:
        words = list(map(str, arguments))
        user = next(word for word in words if word.startswith("--user="))
        calls.append((self.host, user.removeprefix("--user="), words[words.index("-c") + 1]))
        made = f"--mount=type=bind,source=/mnt/skyvern{'' if 'skyvern-dev' in words else '/skyvern-dev'},target=/shared"
        assert made in words
        for key, printed in failing.items():
            if key in (self.host, calls[-1][1]) and not calls[-1][2].startswith("rm"):
                raise UserError(f"docker: exit 1: {printed}")
        return ""

    monkeypatch.setattr(Docker, "run", run)
    return calls


def found() -> Swarm:
    made = [Machine(host=host, id=host, manages=True) for host in (A, B, C)]
    return Swarm(A, tuple(made))


def test_the_folder_is_made_and_seen_by_all(stack: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, lines = runs(monkeypatch, {}), list[str]()
    machines.make_shared_folder(stack, found(), settings, lines.append)
    assert [(host, user) for host, user, _ in calls] == [
        (A, "0:0"),
        (A, "10001:10001"),
        (A, "10001:10001"),
        (B, "10001:10001"),
        (C, "10001:10001"),
        (A, "10001:10001"),
    ]
    assert lines == ["/mnt/skyvern/skyvern-dev is the same on 3 machines"]


@pytest.mark.parametrize(
    ("failing", "line"),
    [
        (
            {A: "invalid mount config for type bind: bind source path does not exist: /mnt/skyvern"},
            f"nothing was changed: Pulumi.dev.yaml: host.shared_folder: /mnt/skyvern: does not exist at {A}; mount the share "
            "there, on every machine",
        ),
        (
            {A: "sh: 8: cd: can't cd to skyvern-dev"},
            f"nothing was changed: Pulumi.dev.yaml: host.shared_folder: /mnt/skyvern: user 10001 cannot write there at {A} "
            "(docker: exit 1: sh: 8: cd: can't cd to skyvern-dev); in the share's folder on the machine that keeps it, run: "
            "sudo install -d -o 10001 -g 10001 skyvern-dev",
        ),
        (
            {C: "no file"},
            f"nothing was changed: Pulumi.dev.yaml: host.shared_folder: /mnt/skyvern: what {A} wrote there is not there at {C}, "
            "or cannot be written to (docker: exit 1: no file); mount the same share at that path on every machine",
        ),
    ],
)
def test_a_folder_that_is_not_shared(
    stack: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch, failing: dict[str, str], line: str
) -> None:
    calls = runs(monkeypatch, failing)
    with pytest.raises(UserError) as told:
        machines.make_shared_folder(stack, found(), settings, print)
    assert str(told.value) == line
    # What was written to be seen is gone again.
    assert A in failing or calls[-1][2].startswith("rm")


def test_the_backups_folder_is_looked_at_everywhere_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """On any machine may be the one that makes the next set."""
    asked: list[str] = []

    def run(self: Docker, *arguments: Any, **_: Any) -> str:
        asked.append(self.host)
        if self.host == B:
            raise UserError("docker: exit 1: bind source path does not exist: /mnt/nas/backup")
        return ""

    monkeypatch.setattr(Docker, "run", run)
    where = "nothing was changed: Pulumi.dev.yaml: backup.path: /mnt/nas/backup"
    with pytest.raises(UserError, match=f"^{where}: what {A} wrote there is not there at {B}"):
        preflight.refuse_different(found().daemons, "/mnt/nas/backup", "image", where)
    assert asked == [A, B, A]
    preflight.refuse_different([Docker(A)], "/mnt/nas/backup", "image", where)
    assert asked == [A, B, A]


def test_a_stack_of_one_daemon_has_none(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.file.write_text("config: {}\n")
    calls = runs(monkeypatch, {})
    machines.make_shared_folder(stack, Docker("unix:///x"), stack.settings(), print)
    assert calls == []


# --- Images --------------------------------------------------------------------------------------------------------------


def test_images_are_brought_to_the_others(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = engine.answer

    def run(self: Engine, machine: int, arguments: Any) -> str:
        if arguments[:2] == ["image", "inspect"] and machine == 2 and arguments[-1] != "has:1":
            raise UserError("docker: exit 1: Error: No such image: x")
        return "sha256:1" if arguments[0] == "image" else answer(machine, arguments)

    monkeypatch.setattr(Engine, "answer", run)
    piped: list[tuple[Any, Any]] = []
    monkeypatch.setattr(process, "pipe", lambda source, target, **options: piped.append((source, target)))
    public = next(iter(images.OFFICIAL.values()))
    lines: list[str] = []
    spread.spread(engine.swarm(), ["own:1", "has:1", public], lines.append)
    assert lines == [f"{C}: 2 of 3 images are brought there"]
    assert piped == [(["docker", "--host", A, "save", "own:1"], ["docker", "--host", C, "load", "--quiet"])]
    assert {call[0] for call in engine.said("image")} == {B, C}
    assert engine.said("pull") == [(C, "pull", "--quiet", public)]


def test_a_machine_that_cannot_take_them_is_named(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise UserError("docker: exit 1: no space left on device")

    monkeypatch.setattr("ops.images.spread.needs.present", lambda docker, reference: docker.host != B)
    monkeypatch.setattr(process, "pipe", refuse)
    with pytest.raises(UserError) as told:
        spread.spread(engine.swarm(), ["own:1"], print)
    assert str(told.value) == f"{B}: the images could not be brought there: docker: exit 1: no space left on device"


# --- After an update that failed -----------------------------------------------------------------------------------------


def test_an_update_that_failed_says_why(engine: Engine, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stack, "environment", lambda self: {})
    monkeypatch.setattr("ops.deploy.update.terminal.run_attended", lambda *_, **__: 255)
    for part in ("artifacts", "backup", "monitor", "roles"):
        engine.recorded["services"].remove(engine.service(f"skyvern-dev-{part}"))
    with pytest.raises(UserError) as told:
        update.pulumi_up(stack, unasked=True)
    assert str(told.value) == (
        "pulumi up: exit 255: skyvern-dev-gateway: its last update was rolled back: No such image: localhost/skyvern/none:2; "
        "correct what bin/ops logs -s dev shows, then script/up --stack dev goes on"
    )


# --- A restore into the shared folder ------------------------------------------------------------------------------------

FOLDER = "/mnt/skyvern/skyvern-dev"
STAMP = "20261129-130000"


@dataclass
class Share:
    """What is asked of the daemons in the place of Docker.run: host, folder that is mounted, and the words behind the script.

    late: so often a machine does not see what has changed places.
    """

    late: int = 0
    asked: list[tuple[str, str, list[str]]] = field(default_factory=list)

    def run(self, docker: Docker, *words: str, **_: Any) -> str:
        if words[:2] == ("volume", "ls"):
            return ""
        (mount,) = (word for word in words if word.startswith("--mount="))
        assert "--user=10001:10001" in words
        script = words.index("-c") + 1
        self.asked.append(
            (docker.host, mount.removeprefix("--mount=type=bind,source=").partition(",")[0], list(words[script + 2 :]))
        )
        if words[script] == exchange._SEEN and self.late:
            self.late -= 1
            raise UserError("docker: exit 1")
        folders = " ".join(f"{part}/" for part in SKYVERN_FOLDERS)
        return {share._LIST: f".restored-{STAMP}|S|{folders}\n", exchange._LOOK: "old\n" * 7}.get(words[script], "")


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Share:
    made = Share()
    monkeypatch.setattr(Docker, "run", lambda docker, *words, **options: made.run(docker, *words, **options))
    monkeypatch.setattr("ops.stack.database.time.sleep", lambda _: None)
    return made


def test_what_a_restore_has_replaced_is_beside_the_data(stack: Stack, shared: Share) -> None:
    (left,) = exchange.kept(found(), stack, "image")
    assert (left.stamp, left.set, left.state) == (STAMP, "S", "exchanged")
    assert left.volumes["har"] == f"{FOLDER}/.restored-{STAMP}/har"
    exchange.remove(found(), stack, "image", left)
    assert shared.asked[-1] == (A, FOLDER, [f".restored-{STAMP}"])


def test_every_machine_has_to_see_what_changed_places(stack: Stack, shared: Share) -> None:
    """A service that starts where the folder of before is in the cache would go on with that."""
    shared.late = 3
    fresh = {part: share.copy_of(FOLDER, STAMP, part) for part in ("har", "log")}
    exchange.put_in_place(found(), stack, "image", fresh, STAMP)
    mark = f".restore-new-{STAMP}"
    pairs = ["har", f".restored-{STAMP}/har", "log", f".restored-{STAMP}/log"]
    assert shared.asked[0] == (A, FOLDER, [mark, *pairs])
    assert [host for host, _, _ in shared.asked[1:]] == [A, A, A, A, B, C]
    assert {(folder, tuple(words)) for _, folder, words in shared.asked[1:]} == {(FOLDER, (mark, "har", "log"))}


def test_one_that_never_sees_it_is_named(stack: Stack, shared: Share, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "SEEN_SECONDS", -1.0)
    shared.late = 1
    with pytest.raises(UserError, match=f"{A}: does not see what has changed places on the share"):
        exchange.take_back(found(), stack, "image", {"har": share.copy_of(FOLDER, STAMP, "har")}, STAMP)


def test_what_is_taken_over_is_on_one_machine(stack: Stack) -> None:
    source: Any = SimpleNamespace(stack=stack)
    with pytest.raises(UserError, match="ops import compose: nothing was changed: stack dev runs on a Swarm"):
        takeover._refuse(source, source)
