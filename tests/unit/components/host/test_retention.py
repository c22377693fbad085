"""What the retention script removes and what it leaves, run on a folder of the test's own."""

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from components.host.retention import _KEPT, JUMP_DAYS, RETENTION_SCRIPT

DAY = 86400


def make(root: Path, name: str, *, days: float, content: str = "x") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    age(path, days)
    return path


def age(path: Path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then), follow_symlinks=False)


def run_once(tmp_path: Path, rules: Mapping[Path, int]) -> tuple[str, bool]:
    """What the first round printed, and whether the health check would be green after it."""
    state = tmp_path / "state"
    state.mkdir(exist_ok=True)
    process = subprocess.Popen(
        ["bash", "-c", RETENTION_SCRIPT],
        env={
            "PATH": os.environ["PATH"],
            "TMPDIR": str(state),
            "JUMP_DAYS": str(JUMP_DAYS),
            "KEPT": _KEPT,
            "RETENTION": " ".join(f"{path}={days}" for path, days in rules.items()),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "removed:" in line or "WAITS" in line:
            break
    time.sleep(0.3)
    os.killpg(process.pid, 15)
    process.wait(10)
    return "".join(lines) + process.stdout.read(), (state / "succeeded").exists()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    return folder


def test_old_files_go_and_young_ones_stay(tmp_path: Path, data: Path) -> None:
    old = make(data, "o_1/tsk_1/recording.mp4", days=8, content="x" * 2**20)
    young = make(data, "o_1/tsk_2/recording.mp4", days=6.9)
    printed, healthy = run_once(tmp_path, {data: 7})
    assert not old.exists()
    assert young.exists()
    assert "retention: removed: artifacts 1 files 1.0 MiB" in printed
    assert "retention: debug: artifacts: o_1/tsk_1\n" in printed
    assert healthy


def test_each_folder_has_its_own_days(tmp_path: Path) -> None:
    one, other = make(tmp_path, "videos/a.webm", days=20), make(tmp_path, "har/a.har", days=20)
    printed, _ = run_once(tmp_path, {one.parent: 30, other.parent: 14})
    assert (one.exists(), other.exists()) == (True, False)
    assert "removed: videos 0 files 0.0 MiB; har 1 files 0.0 MiB\n" in printed


def test_what_workflows_still_need_stays(tmp_path: Path, data: Path) -> None:
    kept = [
        make(data, "selfhosted/global_workflows.txt", days=999),
        make(data, "selfhosted/o_1/scripts/s_1/1/main.py", days=999),
        make(data, "selfhosted/o_1/2026-01-31/uploaded.csv", days=999),
    ]
    gone = [
        make(data, "selfhosted/o_1/workflow_runs/wr_1/scripts/a.png", days=999),
        make(data, "selfhosted/o_1/browser_sessions/pbs_1/videos/2026-01-31/a.webm", days=999),
    ]
    run_once(tmp_path, {data: 90})
    assert [path.exists() for path in kept] == [True] * 3
    assert [path.exists() for path in gone] == [False] * 2


def test_links_are_not_followed(tmp_path: Path, data: Path) -> None:
    outside = make(tmp_path, "elsewhere/precious", days=999)
    (data / "folder").symlink_to(outside.parent)
    (data / "file").symlink_to(outside)
    for link in data.iterdir():
        age(link, 999)
    run_once(tmp_path, {data: 1})
    assert outside.exists()


def test_empty_folders_go_but_not_the_young_ones_and_not_the_root(tmp_path: Path, data: Path) -> None:
    (data / "old").mkdir()
    (data / "young").mkdir()
    age(data / "old", 2)
    root = tmp_path / "nothing-in-it"
    root.mkdir()
    age(root, 999)
    run_once(tmp_path, {data: 1, root: 1})
    assert [path.name for path in data.iterdir() if path.is_dir()] == ["young"]
    assert root.is_dir()


def test_a_name_cannot_write_a_line_of_its_own(tmp_path: Path, data: Path) -> None:
    make(data, "o_1/a\nretention: FAILED \x1b[31m/b", days=999)
    printed, healthy = run_once(tmp_path, {data: 1})
    assert healthy
    assert "\x1b" not in printed
    assert not any(line.startswith("retention: FAILED") for line in printed.splitlines())


def test_a_folder_that_cannot_be_read_makes_it_unhealthy(tmp_path: Path, data: Path) -> None:
    make(tmp_path, "state/succeeded", days=0)
    printed, healthy = run_once(tmp_path, {tmp_path / "missing": 1, data: 1})
    assert f"retention: FAILED in: {tmp_path / 'missing'}" in printed
    assert not healthy


# --- The clock: files and notes that are older than they are, as a clock that has jumped ahead sees them ------------------


def test_a_clock_that_jumps_ahead_removes_nothing_for_a_day(tmp_path: Path, data: Path) -> None:
    recording = make(data, "o_1/tsk_1/recording.mp4", days=0)
    run_once(tmp_path, {data: 90})
    jump = 5 * 365
    for path in (recording, data / ".retention-round"):
        age(path, jump)
    printed, healthy = run_once(tmp_path, {data: 90})
    assert recording.exists()
    assert "retention: WAITS: the last round was on " in printed
    assert healthy
    # A day later it still says the same, so it is the time.
    age(data / ".retention-jump", 1.1)
    printed, _ = run_once(tmp_path, {data: 90})
    assert "removed: artifacts 1 files" in printed
    assert not recording.exists()
    assert sorted(path.name for path in data.iterdir()) == [".retention-round", "o_1"]


def test_a_clock_that_is_set_back_ends_the_wait(tmp_path: Path, data: Path) -> None:
    recording = make(data, "o_1/tsk_1/recording.mp4", days=0)
    make(data, ".retention-round", days=0.1)
    make(data, ".retention-jump", days=-5 * 365)
    printed, _ = run_once(tmp_path, {data: 90})
    assert "removed: artifacts 0 files" in printed
    assert recording.exists()
    assert not (data / ".retention-jump").exists()


def test_a_second_jump_has_a_day_of_its_own(tmp_path: Path, data: Path) -> None:
    recording = make(data, "o_1/tsk_1/recording.mp4", days=400)
    make(data, ".retention-round", days=400)
    make(data, ".retention-jump", days=-5 * 365)
    printed, _ = run_once(tmp_path, {data: 90})
    assert "WAITS" in printed
    assert recording.exists()
    assert (data / ".retention-jump").stat().st_mtime <= time.time()


def test_a_clock_behind_removes_nothing(tmp_path: Path, data: Path) -> None:
    recording = make(data, "o_1/tsk_1/recording.mp4", days=-5 * 365)
    make(data, ".retention-round", days=-5 * 365)
    run_once(tmp_path, {data: 1})
    assert recording.exists()


def test_after_a_night_off_it_goes_on_at_once(tmp_path: Path, data: Path) -> None:
    recording = make(data, "o_1/tsk_1/recording.mp4", days=91)
    make(data, ".retention-round", days=JUMP_DAYS - 0.1)
    run_once(tmp_path, {data: 90})
    assert not recording.exists()
