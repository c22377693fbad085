"""Windows around a WSL 2: who listens on its ports, what a browser there gets, and how full the drive of WSL's disk is.

Programs of Windows run from WSL by its interop. Where that is off, or one is missing, nothing is known. Not here: WSL itself
(ops/machine/system.py).
"""

import csv
import os
import re
import shutil
from pathlib import Path

from ops.clients import process
from ops.errors import UserError

SYSTEM32 = Path("/mnt/c/Windows/System32")
MOUNTS = Path("/proc/mounts")
# Starting one takes a second, on a busy machine several.
SECONDS = 30
# What passes a port of WSL, or of Docker Desktop, on to Windows.
RELAYS = {"wslrelay.exe", "wslhost.exe", "com.docker.backend.exe"}
# Where a browser looks that opens localhost.
_LOCAL = {"0.0.0.0", "127.0.0.1", "[::]", "[::1]"}  # noqa: S104
_DISTRIBUTIONS = r"HKCU\Software\Microsoft\Windows\CurrentVersion\Lxss"


def listeners(port: int) -> list[str]:
    """Programs of Windows that listen on a port of localhost, ``nginx.exe (PID 4711)``, without those that pass WSL's ports on.

    Empty where Windows cannot be asked.
    """
    pids = dict.fromkeys(parse_netstat(_run("netstat.exe", "-ano") or "", port))
    names = {pid: parse_tasklist(_run("tasklist.exe", "/FI", f"PID eq {pid}", "/FO", "CSV", "/NH") or "") for pid in pids}
    return [f"{name or 'a program'} (PID {pid})" for pid, name in names.items() if name.lower() not in RELAYS]


def parse_netstat(text: str, port: int) -> list[int]:
    """PIDs that listen on a port of localhost. The state's name is in the language of Windows; such a line has no peer."""
    pids = []
    for line in text.splitlines():
        match = re.fullmatch(r"\s*TCP\s+(\S+):(\d+)\s+(?:0\.0\.0\.0|\[::\]):0\s+\S.*?\s+(\d+)\s*", line)
        if match and match[1] in _LOCAL and int(match[2]) == port:
            pids.append(int(match[3]))
    return pids


def parse_tasklist(text: str) -> str:
    """The image name of the first line; "" for the sentence that there is none."""
    first = next(csv.reader(text.strip().splitlines()[:1]), [])
    return first[0] if len(first) > 1 else ""


def fetch(url: str) -> tuple[int, str] | None:
    """Status and body of the answer to a program in Windows, 0 without an answer; None where Windows has no curl.exe."""
    text = _run("curl.exe", "--silent", "--noproxy", "*", "--max-time", "10", "--write-out", r"\n%{http_code}", url, failing=True)
    if text is None:
        return None
    body, _, status = text.rstrip().rpartition("\n")
    return (int(status), body) if status.isdigit() else None


def drive_of_disk() -> tuple[str, Path]:
    """Letter and mount point of the drive with this distribution's disk; C where that is not known."""
    listed = _run("reg.exe", "query", _DISTRIBUTIONS, "/s") or ""
    letter = parse_distributions(listed).get(os.environ.get("WSL_DISTRO_NAME", ""), "C")
    mounts = MOUNTS.read_text() if MOUNTS.exists() else ""
    return letter, parse_mounts(mounts).get(letter, Path(f"/mnt/{letter.lower()}"))


def parse_distributions(text: str) -> dict[str, str]:
    """Distribution -> letter of its drive, from ``reg.exe query`` of WSL's key."""
    drives = {}
    for key in re.split(r"^HKEY_", text.replace("\r", ""), flags=re.MULTILINE):
        name = re.search(r"^\s+DistributionName\s+REG_SZ\s+(.+?)\s*$", key, re.MULTILINE)
        folder = re.search(r"^\s+BasePath\s+REG_SZ\s+(?:\\\\\?\\)?([A-Za-z]):\\", key, re.MULTILINE)
        if name and folder:
            drives[name[1]] = folder[1].upper()
    return drives


def parse_mounts(text: str) -> dict[str, Path]:
    r"""Letter -> mount point, from /proc/mounts, which writes ``C:\`` as ``C:\134``."""
    return {letter.upper(): Path(folder) for letter, folder in re.findall(r"^([A-Za-z]):\\134 (\S+) ", text, re.MULTILINE)}


def _run(name: str, *arguments: str, failing: bool = False) -> str | None:
    """Output of a program of Windows; None if it cannot be run or, unless ``failing`` is meant to print too, fails."""
    path = shutil.which(name) or SYSTEM32 / name
    if isinstance(path, Path) and not path.exists():
        return None
    command = [str(path), *arguments]
    try:
        if failing:
            command = ["sh", "-c", '"$@" || :', "sh", *command]
        # From a folder of Linux, cmd.exe and its like complain about the folder's name.
        cwd = SYSTEM32 if SYSTEM32.is_dir() else None
        return process.capture(command, cwd=cwd, timeout_seconds=SECONDS).decode(errors="replace")
    except UserError:
        return None
