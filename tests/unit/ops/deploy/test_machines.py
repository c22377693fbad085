"""What an update needs of the machines of a Swarm, its images among it, and what it says after one that failed."""

import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator
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
from ops.deploy import machines, restore, takeover, update
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


def test_a_machine_with_another_processor_is_refused(
    engine: Engine, stack: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks would fail there ("exec format error"), again and again."""
    seen(monkeypatch, replace(cluster.THREE, nodes=[cluster.node("a"), cluster.node("b", processor="arm64"), cluster.node("c")]))
    with pytest.raises(UserError) as told:
        machines.check(stack, engine.swarm(), settings, print)
    assert str(told.value) == (
        f"nothing was changed: Pulumi.dev.yaml: host.nodes: {B}: is arm64, and {A} is amd64: the images of a stack are made for "
        f"one processor, and copied to all; bin/ops cluster leave {B} -s dev; then write a machine with amd64 in its place"
    )
    # No task comes to one outside of the Swarm.
    outside = cluster.node("b", processor="arm64", state="inactive", id="")
    seen(monkeypatch, replace(cluster.THREE, nodes=[cluster.node("a"), outside, cluster.node("c")]))
    machines.check(stack, engine.swarm(), settings, lambda line: None)


@dataclass
class Clocks:
    """Machines by host and how far their clocks are ahead. silent: those on which no command can be run. asked: all that were.

    wsl: those in WSL, where a service that sets the clock does not start, whatever is asked.
    """

    ahead: dict[str, float]
    silent: set[str] = field(default_factory=set)
    follows: bool = True
    wsl: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def observe(self, hosts: list[str]) -> Cluster:
        nodes = [
            cluster.node(letter, skew_seconds=self.ahead[host], wsl=host in self.wsl)
            for letter, host in zip("abc", hosts, strict=True)
        ]
        return replace(cluster.THREE, nodes=nodes)

    def capture(self, command: list[str], **_: Any) -> bytes:
        host = f"ssh://{command[-3]}"
        assert command[-1] == ("sudo -n hwclock -s" if host in self.wsl else "sudo -n timedatectl set-ntp true")
        self.asked.append(host)
        if host in self.silent:
            raise UserError("ssh: exit 1: sudo: a password is required")
        if self.follows:
            self.ahead[host] = 0.0
        return b""


@pytest.mark.parametrize(
    ("clocks", "lines"),
    [
        (Clocks({A: 0, B: 10, C: 9}), [*(f"{host}: was asked to set its clock by the network" for host in (B, A, C))]),
        (
            Clocks({A: 0, B: 10, C: 0}, silent={A}),
            [
                f"{B}: was asked to set its clock by the network",
                f"{A}: its clock cannot be set by the network: ssh: exit 1: sudo: a password is required",
            ],
        ),
        (
            Clocks({A: 0, B: 10, C: 0}, silent={A, B}),
            [
                *(
                    f"{host}: its clock cannot be set by the network: ssh: exit 1: sudo: a password is required"
                    for host in (B, A)
                ),
                f"error: {B}: its clock is 10 s ahead of that of {A}; sudo timedatectl set-ntp true, on both",
            ],
        ),
        (
            Clocks({A: 0, B: 10, C: 0}, follows=False),
            [
                *(f"{host}: was asked to set its clock by the network" for host in (B, A)),
                f"error: {B}: its clock is 10 s ahead of that of {A}; sudo timedatectl set-ntp true, on both",
            ],
        ),
        (
            Clocks({A: 1, B: -9, C: 0}, wsl={B}, silent={C}),
            [
                f"{A}: was asked to set its clock by the network",
                f"{B}: was asked to set its clock by that of Windows",
            ],
        ),
        (
            Clocks({A: 1, B: -9, C: 0}, wsl={B}, silent={A, B}),
            [
                f"{A}: its clock cannot be set by the network: ssh: exit 1: sudo: a password is required",
                f"{B}: its clock cannot be set by that of Windows: ssh: exit 1: sudo: a password is required",
                f"error: {A}: its clock is 10 s ahead of that of {B}; sudo timedatectl set-ntp true there, and sudo hwclock "
                f"-s at {B}",
            ],
        ),
        (Clocks({A: 4, B: 0, C: 0}), []),
    ],
    ids=["all follow", "one refuses", "all refuse", "no network time", "one in WSL", "WSL refuses", "a little"],
)
def test_clocks_that_are_apart_are_set_by_the_network(
    engine: Engine, stack: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch, clocks: Clocks, lines: list[str]
) -> None:
    swarm = engine.swarm()
    monkeypatch.setattr("ops.deploy.machines.clusters.observe", clocks.observe)
    monkeypatch.setattr(process, "capture", clocks.capture)
    monkeypatch.setattr("ops.deploy.machines.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("ops.deploy.machines.CLOCK_SECONDS", 0.2)
    said: list[str] = []
    machines.check(stack, swarm, settings, said.append)
    assert said == lines
    assert len(clocks.asked) == len(set(clocks.asked))


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
        if words[0] == "service":
            return ""
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


def found(*answering: str) -> Swarm:
    """The Swarm as a command finds it. answering: its machines that answer, by default all."""
    made = [Machine(host=host, id=host if host in (answering or (A, B, C)) else "", manages=True) for host in (A, B, C)]
    return Swarm(A, tuple(made))


def test_the_folder_is_made_and_seen_by_all(stack: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, lines = runs(monkeypatch, {}), list[str]()
    machines.make_shared_folder(stack, found(), settings, lines.append)
    assert [host for host, _, _ in calls] == [A, A, A, A, A, B, C, A]
    assert [user for _, user, _ in calls] == ["10001:10001", "0:0", *["10001:10001"] * 6]
    assert lines == ["/mnt/skyvern/skyvern-dev is the same on 3 machines"]


WHERE = "nothing was changed: Pulumi.dev.yaml: host.shared_folder: /mnt/skyvern"
MOUNT = "mount the share there, on every machine"
INSTALL = "sudo install -d -o 10001 -g 10001 skyvern-dev"


@pytest.mark.parametrize(
    ("failing", "line"),
    [
        (
            {A: "invalid mount config for type bind: bind source path does not exist: /mnt/skyvern"},
            f"{WHERE}: does not exist at {A}; {MOUNT}",
        ),
        (
            {A: "mkdir: cannot create directory 'skyvern-dev': Permission denied"},
            f"{WHERE}: user 10001 cannot write there at {A} (docker: exit 1: mkdir: cannot create directory 'skyvern-dev': "
            f"Permission denied); in the share's folder on the machine that keeps it, run: {INSTALL}",
        ),
        (
            {A: "mkdir: cannot create directory 'skyvern-dev': Read-only file system"},
            f"{WHERE}: cannot be used at {A} (docker: exit 1: mkdir: cannot create directory 'skyvern-dev': Read-only file "
            "system); correct that, then run this again",
        ),
        (
            {C: "no file"},
            f"{WHERE}: what {A} wrote there is not there at {C}, or cannot be written to (docker: exit 1: no file); mount the "
            "same share at that path on every machine",
        ),
    ],
)
def test_a_folder_that_is_not_shared(
    stack: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch, failing: dict[str, str], line: str
) -> None:
    runs(monkeypatch, failing)
    with pytest.raises(UserError) as told:
        machines.make_shared_folder(stack, found(), settings, print)
    assert str(told.value) == line


# Of a folder that a machine has, as ``docker run`` says it.
_MISSING = "docker: exit 125: Error response from daemon: invalid mount config: bind source path does not exist: "
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of two users")


@dataclass
class Disks:
    """Scripts run in place of Docker.run, each in what its machine has at /mnt/skyvern. As real users, who need a real folder.

    share: of the NAS. late: machines that have not mounted it, and their own disk below the mount point. has_services: the stack
    is there already. root: whom the share takes root for. silent: machines that do not answer. cached: how often a machine
    does not see a folder that has come. scaled: SERVICE=REPLICAS, in turn.
    """

    share: Path
    engine: Engine
    late: dict[str, Path] = field(default_factory=dict)
    has_services: bool = False
    root: int = 0
    silent: tuple[str, ...] = ()
    cached: dict[str, int] = field(default_factory=dict)
    scaled: list[str] = field(default_factory=list)

    def run(self, docker: Docker, *words: str, **_: Any) -> str:
        if docker.host in self.silent:
            raise UserError(f"Docker: no daemon answers at {docker.host} (Permission denied (publickey).)")
        if words[:2] == ("service", "scale"):
            self.scaled.append(words[-1])
        if words[0] in {"info", "node"} or (words[0] == "service" and self.has_services):
            return self.engine.answer(support.HOSTS.index(docker.host), words)
        if words[0] == "service":
            return ""
        if words[0] == "volume":
            return ""
        (source,) = (word.split("source=")[1].partition(",")[0] for word in words if word.startswith("--mount="))
        there = Path(source.replace("/mnt/skyvern", str(self.late.get(docker.host, self.share)), 1))
        cached = self.cached.get(docker.host, 0)
        self.cached[docker.host] = cached - 1
        if not there.is_dir() or cached > 0:
            raise UserError(f"{_MISSING}{source}")
        is_root, script = "--user=0:0" in words, words.index("-c") + 1
        number = self.root if is_root else 10001
        # Who is nobody on a share is root in the container.
        here = words[script].replace("/shared", str(there)).replace("$(id -u)", "0" if is_root else "10001")
        command = ["sh", "-c", here, *words[script + 1 :]]
        who: dict[str, Any] = {"user": number, "group": number, "extra_groups": [], "cwd": "/"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, **who)
        if done.returncode:
            raise UserError(f"docker: exit {done.returncode}: {done.stderr.strip()}")
        return str(done.stdout)

    def has(self, machine: str = "") -> list[str]:
        """What is at /mnt/skyvern of a machine that is late, or on the share."""
        root = self.late.get(machine, self.share)
        return sorted(str(path.relative_to(root)) for path in root.rglob("*"))

    def fill(self, *parts: str) -> None:
        """The stack's folder on the share, as an earlier script/up has made it."""
        for part in ("", *parts):
            (self.share / "skyvern-dev" / part).mkdir()
            os.chown(self.share / "skyvern-dev" / part, 10001, 10001)


@pytest.fixture
def disks(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disks]:
    # Not pytest's own folder, which other users cannot enter.
    with tempfile.TemporaryDirectory(prefix="skyvern-share-", dir="/var/tmp") as root:
        for name in ("share", "disk"):
            (Path(root) / name).mkdir()
        # Whatever the umask of these tests.
        for folder in (Path(root), *Path(root).iterdir()):
            folder.chmod(0o755)
        made = Disks(Path(root) / "share", engine)
        monkeypatch.setattr(Docker, "run", lambda docker, *words, **options: made.run(docker, *words, **options))
        monkeypatch.setattr("time.sleep", lambda _: None)
        yield made


def not_mounted(disks: Disks, *hosts: str) -> None:
    disks.late = dict.fromkeys(hosts, disks.share.parent / "disk")


@NEEDS_ROOT
def test_a_first_up_makes_the_folders_of_skyverns_user(stack: Stack, settings: Settings, disks: Disks) -> None:
    machines.make_shared_folder(stack, found(), settings, print)
    folder = disks.share / "skyvern-dev"
    made = [path.stat() for path in folder.rglob("*")]
    assert {(one.st_uid, one.st_gid, one.st_mode & 0o7027) for one in made} == {(10001, 10001, 0)}
    # Through it Docker gets to them, who is nobody on a share by NFS.
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o7777) == (10001, 0o711)
    assert disks.has()[1:] == [f"skyvern-dev/{part}" for part in sorted((*SKYVERN_FOLDERS, *machines.STATES))]


@NEEDS_ROOT
@pytest.mark.parametrize("answering", [(A, B, C), (A,)])
def test_a_stack_whose_share_is_late_gets_no_folder_on_a_machines_disk(
    stack: Stack, settings: Settings, disks: Disks, answering: tuple[str, ...]
) -> None:
    """Tasks would start there with an empty vault; without the folder they wait for the share."""
    disks.has_services = True
    disks.fill(*SKYVERN_FOLDERS)
    not_mounted(disks, A)
    with pytest.raises(UserError) as told:
        machines.make_shared_folder(stack, found(*answering), settings, print)
    assert str(told.value) == (
        f"{WHERE}: skyvern-dev is not there at {A}; {MOUNT}, or, if the share itself has lost it, run bin/ops restore -s dev"
    )
    assert disks.has(A) == []


@NEEDS_ROOT
def test_a_folder_beside_the_share_is_not_filled(stack: Stack, settings: Settings, disks: Disks) -> None:
    """As an earlier version has left it."""
    disks.has_services = True
    disks.fill(*SKYVERN_FOLDERS)
    not_mounted(disks, A)
    (disks.late[A] / "skyvern-dev").mkdir()
    os.chown(disks.late[A] / "skyvern-dev", 10001, 10001)
    with pytest.raises(UserError, match=f"what {A} wrote there is not there at {B}"):
        machines.make_shared_folder(stack, found(), settings, print)
    assert disks.has(A) == ["skyvern-dev"]


@NEEDS_ROOT
def test_a_part_of_a_new_version_is_made_beside_the_others(stack: Stack, settings: Settings, disks: Disks) -> None:
    disks.has_services = True
    disks.fill(*SKYVERN_FOLDERS, "monitor")
    (disks.share / "skyvern-dev/har/run.har").touch()
    before = disks.has()
    machines.make_shared_folder(stack, found(), settings, print)
    assert disks.has() == sorted([*before, "skyvern-dev/backup"])


@NEEDS_ROOT
@pytest.mark.parametrize("prepared", [[], ["skyvern-dev"], ["skyvern-dev", "skyvern-dev/har"]])
def test_what_a_first_up_has_made_in_vain_is_removed(stack: Stack, settings: Settings, disks: Disks, prepared: list[str]) -> None:
    not_mounted(disks, A)
    for name in prepared:
        (disks.late[A] / name).mkdir()
        os.chown(disks.late[A] / name, 10001, 10001)
    with pytest.raises(UserError, match=f"what {A} wrote there is not there at {B}"):
        machines.make_shared_folder(stack, found(), settings, print)
    assert disks.has(A) == prepared
    assert disks.has() == []


@NEEDS_ROOT
def test_a_folder_is_not_made_where_no_other_machine_can_be_asked_about_the_share(
    stack: Stack, settings: Settings, disks: Disks
) -> None:
    with pytest.raises(UserError) as told:
        machines.make_shared_folder(stack, found(A), settings, print)
    assert str(told.value) == (
        f"{WHERE}: skyvern-dev is not there at {A}, and no other machine answers that could show whether the share is mounted; "
        "start one, or take those that are gone out of host.nodes"
    )
    assert disks.has() == []
    # One that is there is used, and a Swarm of one machine has no other.
    machines.make_shared_folder(stack, found(A), replaced_nodes(settings), print)
    machines.make_shared_folder(stack, found(A), settings, print)


def replaced_nodes(settings: Settings) -> Settings:
    return settings.model_copy(update={"host": settings.host.model_copy(update={"nodes": []})})


@NEEDS_ROOT
def test_a_share_that_refuses_has_a_cure_that_works(stack: Stack, settings: Settings, disks: Disks) -> None:
    """With root_squash, root of a machine is nobody there."""
    disks.root = 65534
    with pytest.raises(UserError) as told:
        machines.make_shared_folder(stack, found(), settings, print)
    command = re.fullmatch(
        rf"{WHERE}: user 10001 cannot write there at {A} \(.*Permission denied\); .*, run: sudo (.*)", str(told.value)
    )
    assert command
    subprocess.run(shlex.split(command[1]), cwd=disks.share, check=True)
    machines.make_shared_folder(stack, found(), settings, print)
    # Of another user it is not used either.
    os.chown(disks.share / "skyvern-dev", 0, 0)
    (disks.share / "skyvern-dev").chmod(0o700)
    with pytest.raises(UserError, match=f"user 10001 cannot write there at {A} .*Permission denied"):
        machines.make_shared_folder(stack, found(), settings, print)


def test_a_machine_that_does_not_answer_has_not_refused_a_user(
    stack: Stack, settings: Settings, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSH has its own words, which are the kernel's, too."""
    swarm = found()
    disks.silent = (A,)
    monkeypatch.setattr("ops.deploy.machines.inventory.labelled", lambda *_: [])
    with pytest.raises(UserError) as told:
        machines.make_shared_folder(stack, swarm, settings, print)
    assert str(told.value) == (
        f"{WHERE}: cannot be used at {A} (Docker: no daemon answers at {A} (Permission denied (publickey).)); correct that, then "
        "run this again"
    )


@NEEDS_ROOT
def test_a_share_of_skyverns_user_needs_no_root(stack: Stack, settings: Settings, disks: Disks) -> None:
    disks.root = 65534
    os.chown(disks.share, 10001, 10001)
    machines.make_shared_folder(stack, found(), settings, print)
    assert "skyvern-dev/har" in disks.has()


# --- The folder of a restore ---------------------------------------------------------------------------------------------


@NEEDS_ROOT
def test_a_share_that_has_lost_the_folder_gets_it_back_by_a_restore(stack: Stack, settings: Settings, disks: Disks) -> None:
    disks.has_services = True
    lines: list[str] = []
    with machines.folder_for_restore(stack, lines.append):
        # The parts with data come with it; these can be made again, and no service has a task that would begin with them.
        assert disks.has() == ["skyvern-dev", "skyvern-dev/backup", "skyvern-dev/monitor"]
        assert disks.scaled == [f"skyvern-dev-{part}=0" for part in ("artifacts", "backup", "monitor")]
        assert share.copies(found(), "image", FOLDER) == {}
        share.make_parts(found(), "image", FOLDER, SKYVERN_FOLDERS)
    assert lines == [
        "skyvern-dev-artifacts, skyvern-dev-backup, skyvern-dev-monitor wait for /mnt/skyvern/skyvern-dev: stopped until the "
        "data is there",
        "/mnt/skyvern/skyvern-dev was not there: made, and the same on 3 machines",
    ]
    # The end of a restore starts what is stopped (ops/deploy/repair.py).
    assert len(disks.scaled) == 3
    machines.make_shared_folder(stack, found(), settings, print)
    with machines.folder_for_restore(stack, lines.append):
        assert (len(lines), len(disks.scaled)) == (2, 3)


@NEEDS_ROOT
def test_a_restore_waits_for_a_machine_that_remembers_that_there_was_none(stack: Stack, disks: Disks) -> None:
    disks.cached = {B: 5}
    with machines.folder_for_restore(stack, print):
        assert "skyvern-dev" in disks.has()
    assert disks.cached[B] < 0


@NEEDS_ROOT
def test_a_restore_looks_at_the_folder_before_anything_else(stack: Stack, disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def source(_: Stack) -> None:
        seen.append(disks.has())
        raise UserError("no backup")

    monkeypatch.setattr("ops.deploy.restore.copies.source", source)
    with pytest.raises(UserError, match=r"^no backup$"):
        restore.restore(stack, None, yes=True, discard_newer=False)
    assert (seen[0][0], disks.has()) == ("skyvern-dev", [])


def give_up(stack: Stack, after: Callable[[], None] = lambda: None) -> None:
    """A restore that ends early. after: what it has done by then."""
    with machines.folder_for_restore(stack, print):
        after()
        raise UserError("not confirmed")


@NEEDS_ROOT
@pytest.mark.parametrize(("root", "owner"), [(0, 0), (65534, 10001)])
def test_a_restore_that_is_given_up_leaves_no_empty_folder(stack: Stack, disks: Disks, root: int, owner: int) -> None:
    disks.root = root
    disks.has_services = True
    os.chown(disks.share, owner, owner)
    with pytest.raises(UserError, match=r"^not confirmed$"):
        give_up(stack)
    assert disks.has() == []
    # What waited for the folder waits again.
    assert len(disks.scaled) == 6
    assert disks.scaled[3:] == ["skyvern-dev-artifacts=1", "skyvern-dev-backup=1", "skyvern-dev-monitor=1"]


@NEEDS_ROOT
def test_nothing_starts_on_what_a_failed_restore_leaves(stack: Stack, disks: Disks) -> None:
    disks.has_services = True
    with pytest.raises(UserError, match=r"^not confirmed$"):
        give_up(stack, after=lambda: share.make_copy(found(), "image", FOLDER, STAMP, "S", ()))
    assert disks.has() == ["skyvern-dev", f"skyvern-dev/.restored-{STAMP}", f"skyvern-dev/.restored-{STAMP}/set"]
    assert len(disks.scaled) == 3


@NEEDS_ROOT
@pytest.mark.parametrize("silent", [(), (B, C)])
def test_a_restore_makes_no_folder_beside_the_share(
    stack: Stack, disks: Disks, silent: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "SEEN_SECONDS", -1.0)
    disks.silent = silent
    disks.fill(*SKYVERN_FOLDERS)
    not_mounted(disks, A)
    with pytest.raises(UserError, match=f"^{WHERE}: .* (mount the same share|no other machine answers)"):
        give_up(stack)
    assert disks.has(A) == []


@NEEDS_ROOT
def test_a_restore_is_refused_where_a_machine_sees_another_folder(stack: Stack, disks: Disks) -> None:
    disks.fill(*SKYVERN_FOLDERS)
    not_mounted(disks, C)
    with pytest.raises(UserError, match=f"what {A} wrote there is not there at {C}"):
        give_up(stack)


def test_copies_beside_the_data_are_asked_for_in_one_line(disks: Disks, stack: Stack) -> None:
    with pytest.raises(UserError) as told:
        exchange.kept(found(), stack, "image")
    assert str(told.value) == f"host.shared_folder: {FOLDER} is not there at {A}; mount the share there"


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
