"""What the monitor knows of the machine and of the backup, from files alone: it has no Docker socket."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HOST_FILE = "host.json"


@dataclass(frozen=True, kw_only=True)
class Disk:
    """The file system of Docker's volumes, in bytes."""

    free: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Backup:
    """newest: time of the newest set. since: when the backup first looked; None in the notes of an older one.

    problem: of the last look, "" for none. drilled, drill: the last drill, and its verdict. good: when one last passed.
    """

    newest: datetime | None
    max_age_hours: int
    problem: str
    since: datetime | None = None
    drilled: datetime | None = None
    drill: str | None = None
    good: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Noted:
    """What the commands on the host noted: when the newest of the stack's secrets and its last recovery kit were made."""

    secrets: datetime | None
    kit: datetime | None


def disk(folder: Path) -> Disk:
    """By what a program that is not root may use."""
    numbers = os.statvfs(folder)
    return Disk(free=numbers.f_bavail * numbers.f_frsize, total=numbers.f_blocks * numbers.f_frsize)


def backup(folder: Path | None) -> Backup | None:
    """From the files of images/backup/skyvern-backup and ``ops drill``; None without a backup, or one that has not looked yet."""
    if folder is None or (status := document(folder / "status.json")) is None:
        return None
    newest, since, drill = status.get("newest"), status.get("since"), document(folder / "drill.json")
    good = None
    if drill:
        # A version that noted the last one only has no last_good.
        good = drill.get("last_good", drill["at"] if drill["verdict"] == "passed" else None)
    return Backup(
        newest=datetime.fromtimestamp(newest["time"], UTC) if newest else None,
        max_age_hours=int(status["max_age_hours"]),
        problem=str(status["problem"]),
        since=None if since is None else datetime.fromtimestamp(since, UTC),
        drilled=datetime.fromisoformat(drill["at"]) if drill else None,
        drill=str(drill["verdict"]) if drill else None,
        good=None if good is None else datetime.fromisoformat(good),
    )


def started(file: Path) -> datetime | None:
    """When a container began, by the time of a file that it writes then; None where it has not, or an earlier version of it."""
    try:
        return datetime.fromtimestamp(file.lstat().st_mtime, UTC)
    except (OSError, ValueError, OverflowError):
        return None


def noted(folder: Path) -> Noted | None:
    """From ``monitor-alerts record``, which the commands on the host call (ops/observe/alerts.py); None before the first."""
    if (written := document(folder / HOST_FILE)) is None:
        return None
    secrets, kit = (None if (at := written.get(name)) is None else datetime.fromisoformat(at) for name in ("secrets", "kit"))
    return Noted(secrets=secrets, kit=kit)


def document(path: Path) -> Mapping[str, Any] | None:
    """A JSON file that somebody wrote; None where it is missing or something else."""
    try:
        read = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return read if isinstance(read, dict) else None
