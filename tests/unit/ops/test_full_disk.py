"""On a full disk every command begins, says so in one line, and leaves nothing behind that breaks the next one."""

import os
import shlex
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from ops.clients import terminal
from ops.errors import UserError
from ops.machine import system
from ops.paths import ROOT, cache_dir, config_dir
from tests.support.home import Home

Usage = namedtuple("Usage", ["total", "used", "free"])


def test_a_command_begins_where_no_folder_takes_a_temporary_file() -> None:
    """Pulumi's SDK asks for one when it is imported: each command, doctor too, was a traceback."""
    # As a full disk: no file can get any content.
    limited = f"ulimit -f 0; exec {shlex.quote(sys.executable)} -B -m ops version"
    done = subprocess.run(["bash", "-c", limited], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("free", "kept"), [(199_999, False), (200_001, True)])
def test_compiled_modules_are_neither_read_nor_written_on_a_full_disk(home: Home, free: int, kept: bool) -> None:
    """One that was cut off is "EOFError: marshal data too short" from then on, or "Python is missing; run: sudo apt-get"."""
    compiled = cache_dir() / "pycache" / "usr" / "encodings.pyc"
    compiled.parent.mkdir(parents=True)
    compiled.write_bytes(b"cut off")
    table = "Filesystem 1024-blocks Used Available Capacity Mounted on"
    home.program("df", f"echo '{table}'; echo '/dev/my disk 9000000 1 {free} 99% /mnt/my disk'")
    script = (
        f"root={shlex.quote(str(ROOT))}; . {shlex.quote(str(ROOT / 'script/environment'))}; echo ${{PYTHONDONTWRITEBYTECODE-}}"
    )
    printed = subprocess.run(["bash", "-c", script], env=dict(os.environ), capture_output=True, text=True, check=True)
    assert (printed.stdout.strip(), printed.stderr) == ("" if kept else "1", "")
    assert compiled.exists() is kept


@pytest.mark.parametrize("full", [config_dir, cache_dir, lambda: Path(os.environ["TMPDIR"])])
def test_a_full_disk_is_said_before_anything_is_made(
    home: Home, monkeypatch: pytest.MonkeyPatch, full: "object", tmp_path: Path
) -> None:
    other = tmp_path / "other"
    for folder in (other, config_dir(), cache_dir()):
        folder.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(other))
    monkeypatch.setattr("tempfile.tempdir", None)
    folder = full()  # type: ignore[operator]  # a function without arguments
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: Usage(1, 1, 12 * 2**20 if Path(path) == folder else system.ROOM_MIB * 2**20)
    )
    with pytest.raises(UserError) as told:
        system.check_room()
    assert str(told.value).startswith(f"{folder}: 12 MiB are free on its disk, and 300 MiB are needed; free some (df -h")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, system.ROOM_MIB * 2**20))
    system.check_room()


@pytest.mark.parametrize("value", ["/nonexistent", "relative", "/etc/passwd"])
def test_a_folder_for_temporary_files_that_is_none_is_one_line(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    """Python looks for another; docker build failed in the middle with "stat /nonexistent: no such file or directory"."""
    monkeypatch.setenv("TMPDIR", value)
    assert terminal.run_main("script/up", lambda: None) == 1
    assert capsys.readouterr().err == f"TMPDIR: {value} is not a folder that can be written to; run: unset TMPDIR\n"
    # The cure, followed.
    monkeypatch.delenv("TMPDIR")
    assert terminal.run_main("script/up", lambda: None) == 0
