"""Windows around WSL 2 (F12, F14), by programs that print what those of Windows print."""

import os
from pathlib import Path

import pytest

from ops.machine import windows

# Windows 11: -ano prints both families; the state's name is that of the language, here German.
NETSTAT = """\r
Active Connections\r
\r
  Proto  Local Address          Foreign Address        State           PID\r
  TCP    0.0.0.0:135            0.0.0.0:0              LISTENING       1012\r
  TCP    0.0.0.0:8080           0.0.0.0:0              LISTENING       4\r
  TCP    127.0.0.1:8090         0.0.0.0:0              ABHÖREN         4711\r
  TCP    127.0.0.1:9000         0.0.0.0:0              LISTENING       5000\r
  TCP    192.168.0.7:7000       0.0.0.0:0              LISTENING       4711\r
  TCP    192.168.0.7:52114      203.0.113.9:8080       ESTABLISHED     900\r
  TCP    [::]:8080              [::]:0                 LISTENING       4\r
  TCP    [::1]:9000             [::]:0                 LISTENING       5000\r
  UDP    0.0.0.0:8080           *:*                                    4711\r
"""
TASKLIST = r"""
found() { printf '"%s","%s","Services","0","144 K"\r\n' "$1" "${filter#PID eq }"; }
filter="$2"
case "$filter" in
'PID eq 4') found System ;;
'PID eq 4711') found nginx.exe ;;
'PID eq 5000') found wslrelay.exe ;;
*) printf 'INFO: No tasks are running which match the specified criteria.\r\n' ;;
esac
"""
LXSS = """\r
HKEY_CURRENT_USER\\Software\\Microsoft\\Windows\\CurrentVersion\\Lxss\r
    DefaultDistribution    REG_SZ    {1}\r
    DefaultVersion    REG_DWORD    0x2\r
\r
HKEY_CURRENT_USER\\Software\\Microsoft\\Windows\\CurrentVersion\\Lxss\\{1}\r
    State    REG_DWORD    0x1\r
    DistributionName    REG_SZ    Ubuntu\r
    Version    REG_DWORD    0x2\r
    BasePath    REG_SZ    C:\\Users\\me\\AppData\\Local\\wsl\\{1}\r
\r
HKEY_CURRENT_USER\\Software\\Microsoft\\Windows\\CurrentVersion\\Lxss\\{2}\r
    BasePath    REG_SZ    \\\\?\\D:\\WSL\\work\r
    DistributionName    REG_SZ    Debian\r
"""
MOUNTS = """\
/dev/sdc / ext4 rw,relatime 0 0
C:\\134 /mnt/c 9p rw,noatime,aname=drvfs;path=C:\\134;uid=1000 0 0
D:\\134 /disks/d 9p rw,noatime,aname=drvfs;path=D:\\134;uid=1000 0 0
"""


def program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs of Windows on the PATH, as WSL's interop has them."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(windows, "SYSTEM32", tmp_path / "none")
    (tmp_path / "netstat.txt").write_text(NETSTAT)
    (tmp_path / "lxss.txt").write_text(LXSS)
    program(tmp_path, "netstat.exe", f'[ "$1" = -ano ] && cat {tmp_path}/netstat.txt')
    program(tmp_path, "tasklist.exe", TASKLIST)
    program(tmp_path, "reg.exe", f'[ "$1" = query ] && cat {tmp_path}/lxss.txt')
    return tmp_path


@pytest.mark.parametrize(
    ("port", "listeners"),
    [
        (8080, ["System (PID 4)"]),
        (8090, ["nginx.exe (PID 4711)"]),
        (135, ["a program (PID 1012)"]),
        # What passes a port of WSL on, another address than localhost, and a port at the other end.
        (9000, []),
        (7000, []),
        (52114, []),
        (1234, []),
    ],
)
def test_who_listens_in_windows(programs: Path, port: int, listeners: list[str]) -> None:
    """F14."""
    assert windows.listeners(port) == listeners


def test_windows_that_cannot_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With interop off there is no such program, or it cannot be started."""
    monkeypatch.setattr(windows, "SYSTEM32", tmp_path)
    assert (windows.listeners(8080), windows.fetch("http://localhost:8080/")) == ([], None)
    for name in ("netstat.exe", "curl.exe", "reg.exe"):
        (tmp_path / name).write_bytes(b"MZ")
    assert (windows.listeners(8080), windows.fetch("http://localhost:8080/")) == ([], None)
    assert windows.drive_of_disk()[0] == "C"


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ("printf 'Server is running.\\n200'", (200, "Server is running.")),
        ("printf '<html>\\nIIS\\n\\n404'", (404, "<html>\nIIS\n")),
        # curl: (7) nothing listens.
        ("printf '\\n000'; exit 7", (0, "")),
    ],
)
def test_what_a_browser_in_windows_gets(programs: Path, body: str, answer: tuple[int, str]) -> None:
    """F14: a proxy of Windows is not asked for it."""
    program(programs, "curl.exe", f'echo "$@" > {programs}/asked; {body}')
    assert windows.fetch("http://localhost:8080/api/v1/heartbeat") == answer
    asked = (programs / "asked").read_text()
    assert "--noproxy *" in asked
    assert asked.rstrip().endswith("http://localhost:8080/api/v1/heartbeat")


@pytest.mark.parametrize(
    ("name", "drive"), [("Ubuntu", ("C", "/mnt/c")), ("Debian", ("D", "/disks/d")), ("other", ("C", "/mnt/c"))]
)
def test_the_drive_of_the_disk(programs: Path, name: str, drive: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """F12: a distribution may have been moved to another drive."""
    monkeypatch.setenv("WSL_DISTRO_NAME", name)
    (programs / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(windows, "MOUNTS", programs / "mounts")
    letter, folder = windows.drive_of_disk()
    assert (letter, str(folder)) == drive
