"""The running backup, asked; and a place for backups, tried before anything is changed."""

import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from components.settings import NoBackup, Settings, parse
from ops.backups import container, preflight
from ops.errors import UserError
from ops.stack.stack import Stack
from tests.support.daemon import Daemon, daemon

LISTED = [
    {"set": "20261128T203250Z", "time": 1795897970, "bytes": 2225716, "added": 38407, "snapshots": {}},
    {"set": "20261128T193250Z", "time": 1795894370, "bytes": 2225000, "added": 827673, "snapshots": {}},
]


def test_the_sets_of_the_repository() -> None:
    there = daemon(ps="abc", **{"skyvern-backup list": json.dumps(LISTED)})
    assert [one.name for one in container.sets(Stack("dev"), there)] == ["20261128T203250Z", "20261128T193250Z"]


def test_a_backup_that_does_not_run_names_the_section() -> None:
    with pytest.raises(UserError, match=r"skyvern-dev-backup does not run; write backup into Pulumi.dev.yaml .*, then script/up"):
        container.sets(Stack("dev"), daemon(ps=""))


def test_the_one_line_of_the_program_is_what_a_person_reads() -> None:
    failed = UserError("docker: exit 1: backup: the stack's key does not open the repository: it belongs to another stack")
    with pytest.raises(UserError, match=r"^backup of stack dev: the stack's key does not open the repository"):
        container.make_set(Stack("dev"), daemon(ps="abc", **{"skyvern-backup now": failed}))


def test_a_set_is_described_by_its_last_line() -> None:
    said = "backup: made a repository at /repository\nbackup: set 20261128T203250Z: 64 tables, 99 rows, 34 files\n"
    assert container.make_set(Stack("dev"), daemon(ps="abc", **{"skyvern-backup now": said})) == (
        "set 20261128T203250Z: 64 tables, 99 rows, 34 files"
    )


# --- The place ------------------------------------------------------------------------------------------------------------


def on(path: str) -> Settings:
    return parse({"backup": {"type": "path", "path": path}}, file="Pulumi.dev.yaml")


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    monkeypatch.setattr(Stack, "state", lambda self, show_secrets=False: {})
    return Stack("dev", root=tmp_path)


def tried(stack: Stack, there: Daemon, path: str) -> list[str]:
    said: list[str] = []
    preflight.check(stack, there, on(path), said.append)
    return said


def test_without_a_backup_nothing_is_tried(stack: Stack) -> None:
    there = daemon()
    preflight.check(stack, there, Settings(), print)
    assert there.asked == []


def test_a_folder_that_works(stack: Stack) -> None:
    assert tried(stack, daemon(info='"/var/lib/docker"'), "/mnt/d/x") == ["the backups' place can be used"]


@pytest.mark.parametrize(
    ("path", "whose"),
    [("/srv/checkout", "this checkout"), ("/srv/checkout/x", "this checkout"), ("/srv/docker/x", "Docker's data")],
)
def test_a_folder_inside_what_it_protects_is_refused(stack: Stack, path: str, whose: str) -> None:
    with pytest.raises(UserError, match=f"nothing was changed: .* is inside {whose} .*; write another"):
        tried(Stack("dev", root=Path("/srv/checkout")), daemon(info='"/srv/docker"'), path)


def test_a_folder_of_roots_is_named_with_its_cure(stack: Stack) -> None:
    there = daemon(info='"/var/lib/docker"', **{"touch .try": UserError("docker: exit 1: touch: Permission denied")})
    with pytest.raises(UserError, match=r"run: sudo install -d -o 10001 -g 10001 /mnt/d/x$"):
        tried(stack, there, "/mnt/d/x")


MISSING = UserError(
    'docker: exit 125: docker: Error response from daemon: invalid mount config for type "bind": bind source path does not '
    "exist: /mnt/e/sets.\nSee 'docker run --help'."
)


def test_a_folder_that_is_missing_is_not_made(stack: Stack) -> None:
    """A disk that is not mounted, or a typing error: the sets would have been on the disk of the system."""
    there = daemon(info='"/var/lib/docker"', **{"--mount=type=bind,source=/mnt/e/sets,": MISSING})
    with pytest.raises(UserError) as told:
        tried(stack, there, "/mnt/e/sets")
    assert str(told.value) == (
        "nothing was changed: Pulumi.dev.yaml: backup.path: /mnt/e/sets does not exist at unix:///x: mount its disk; or for a "
        "new folder, run there: sudo install -d -o 10001 -g 10001 -m 700 /mnt/e/sets"
    )
    assert "--volume" not in " ".join(there.asked)


def test_the_folder_of_the_template_is_made_and_named(stack: Stack) -> None:
    @dataclass(frozen=True)
    class Fresh(Daemon):
        def run(self, *arguments: Any, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
            if "--volume=/var/backups/skyvern-dev:/shared" in arguments:
                self.asked.append("made")
            elif "--mount=type=bind,source=/var/backups/" in " ".join(map(str, arguments)) and "made" not in self.asked:
                raise MISSING
            return super().run(*arguments)

        def run_with(self, variables: Mapping[str, str], *arguments: Any, timeout_seconds: float = 120) -> str:
            # A folder is no secret.
            return self.run(*arguments)

    there = Fresh(answers={"info": '"/var/lib/docker"'})
    said = tried(stack, there, "/var/backups/skyvern-dev")
    assert said == ["made /var/backups/skyvern-dev at unix:///x", "the backups' place can be used"]
    # Which is given to the backup's user, and tried.
    behind = there.asked[there.asked.index("made") :]
    assert [sum(word in line for line in behind) for word in ("chown", "touch .try", "skyvern-backup try")] == [1, 1, 1]
    with pytest.raises(UserError, match=r"/var/backups/skyvern-prod does not exist at"):
        tried(stack, Fresh(answers={"info": '"/var/lib/docker"'}), "/var/backups/skyvern-prod")


def test_no_other_command_makes_the_folder(stack: Stack) -> None:
    """Restored from a disk that is not mounted, there was "no repository", and a folder on the disk of the system."""
    wanted = on("/mnt/e/sets").backup
    assert not isinstance(wanted, NoBackup)
    there = preflight.place(stack, wanted, "key")
    asked = daemon(**{"--mount=type=bind,source=/mnt/e/sets,target=/repository": MISSING})
    with pytest.raises(
        UserError, match=r"^/mnt/e/sets does not exist at unix:///x: mount its disk; or for a new folder, run there"
    ):
        preflight.run(asked, "image", there, "skyvern-backup", "list")


# Before the backup's user owns it, and before it is there.
NOT_OURS = {"touch .try": UserError("docker: exit 1: touch: Permission denied")}
NOT_THERE = {"--mount=": MISSING}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
@pytest.mark.parametrize("fault", [NOT_OURS, NOT_THERE])
def test_the_cure_gives_the_folder_to_the_user_of_the_backup(stack: Stack, fault: Mapping[str, UserError]) -> None:
    # Not below /tmp, which the stack file refuses: it is emptied.
    folder = Path("/srv") / f"skyvern-test backup-{os.getpid()}"
    there = daemon(info='"/var/lib/docker"', **fault)
    with pytest.raises(UserError) as told:
        tried(stack, there, str(folder))
    command = shlex.split(str(told.value).rpartition(": sudo ")[2])
    assert command[0] == "install"
    try:
        # Whether it exists or not.
        for _ in range(2):
            subprocess.run(command, check=True)
            assert (folder.stat().st_uid, folder.stat().st_gid) == (10001, 10001)
            os.chown(folder, 0, 0)
    finally:
        folder.rmdir()


def test_another_stacks_repository_is_left_alone(stack: Stack) -> None:
    wrong = UserError("docker: exit 1: backup: the stack's key does not open the repository: it belongs to another stack")
    there = daemon(info='"/var/lib/docker"', **{"skyvern-backup try": wrong})
    with pytest.raises(UserError, match=r"nothing was changed: .*a repository of another stack is there; choose another place"):
        tried(stack, there, "/mnt/d/x")


def test_a_place_that_is_in_use_does_not_hold_up_an_update(stack: Stack) -> None:
    """A network share that is away for an hour is the backup's problem, not the update's."""
    mounted = json.dumps([{"Mounts": [{"Source": "/mnt/d/x"}], "Config": {"Env": []}}])
    there = daemon(ps="abc", inspect=mounted)
    assert tried(stack, there, "/mnt/d/x") == []
    assert not [line for line in there.asked if line.startswith("run")]
