"""ops.stack.locks on a state folder of the test's own: whose lock is removed, and whose is left alone."""

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from ops.errors import UserError
from ops.stack import locks
from ops.stack.stack import Stack

# More than Linux has.
NO_PROCESS = 2**22 + 1


def lock(root: Path, *, pid: int = NO_PROCESS, host: str = platform.node(), stack: str = "dev") -> None:
    """A lock as the engine writes it."""
    folder = root / ".pulumi" / "locks" / "organization" / "skyvern" / stack
    folder.mkdir(parents=True, exist_ok=True)
    fields = {"pid": pid, "username": "me", "hostname": host, "timestamp": "2026-11-22T17:41:41.502408446Z"}
    (folder / "fa1d4911.json").write_text(json.dumps(fields))
    (folder / "fa1d4911.json.attrs").write_text("{}")


def files(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def release(root: Path, name: str = "dev", url: str = "file://{}") -> list[str]:
    """The lines that were printed."""
    lines: list[str] = []
    locks.release_locks(Stack(name, root=root, variables={"PULUMI_BACKEND_URL": url.format(root)}), lines.append)
    return lines


def test_without_a_lock_it_is_silent(tmp_path: Path) -> None:
    assert release(tmp_path) == []


@pytest.mark.parametrize("name", ["dev", "organization/skyvern/dev"])
def test_the_lock_of_a_killed_pulumi_is_removed(tmp_path: Path, name: str) -> None:
    lock(tmp_path)
    (line,) = release(tmp_path, name)
    assert "was killed (process 4194305, since 2026-11-22T17:41:41): its lock is removed" in line
    assert files(tmp_path) == []


def test_a_process_number_that_another_program_has_now_is_no_pulumi(tmp_path: Path) -> None:
    lock(tmp_path, pid=os.getpid())
    (line,) = release(tmp_path)
    assert "its lock is removed" in line


def test_a_killed_pulumi_does_not_run_although_its_parent_has_not_waited_for_it(tmp_path: Path) -> None:
    program = tmp_path / "pulumi"
    shutil.copy("/bin/sleep", program)
    started = subprocess.Popen([program, "60"])
    try:
        assert locks.runs(started.pid)
        started.kill()
        os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{started.pid}/comm").read_text() == "pulumi\n"
        assert not locks.runs(started.pid)
    finally:
        started.wait()


@pytest.mark.parametrize(("alive", "host"), [(True, platform.node()), (False, "another-host")])
@pytest.mark.parametrize("name", ["dev", "organization/skyvern/dev"])
def test_a_pulumi_at_work_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: bool, host: str, name: str
) -> None:
    monkeypatch.setattr(locks, "runs", lambda pid: alive)
    lock(tmp_path, pid=4711, host=host)
    with pytest.raises(
        UserError, match=rf"^stack {name}: another Pulumi is working on it \(process 4711 of me on {host}, since .* -s {name} if"
    ):
        release(tmp_path, name)
    assert files(tmp_path) == ["fa1d4911.json", "fa1d4911.json.attrs"]


def test_the_lock_of_another_stack_does_not_count(tmp_path: Path) -> None:
    lock(tmp_path, stack="prod")
    assert release(tmp_path) == []
    assert files(tmp_path) == ["fa1d4911.json", "fa1d4911.json.attrs"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_a_lock_that_is_not_whole_does_not_count(tmp_path: Path, text: str) -> None:
    lock(tmp_path)
    (path,) = tmp_path.rglob("*.json")
    path.write_text(text)
    assert release(tmp_path) == []


def test_another_backend_is_not_looked_into(tmp_path: Path) -> None:
    lock(tmp_path)
    assert release(tmp_path, url="s3://bucket{}") == []
    assert files(tmp_path) == ["fa1d4911.json", "fa1d4911.json.attrs"]
