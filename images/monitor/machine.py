"""What the monitor knows of the machine and of the backup, from files alone: it has no Docker socket."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Disk:
    """The file system of Docker's volumes, in bytes."""

    free: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Backup:
    """newest: time of the newest set. problem: of the last look, "" for none. drilled, drill: the last drill, and its verdict."""

    newest: datetime | None
    max_age_hours: int
    problem: str
    drilled: datetime | None
    drill: str | None


def disk(folder: Path) -> Disk:
    """By what a program that is not root may use."""
    numbers = os.statvfs(folder)
    return Disk(free=numbers.f_bavail * numbers.f_frsize, total=numbers.f_blocks * numbers.f_frsize)


def backup(folder: Path | None) -> Backup | None:
    """From the files of images/backup/skyvern-backup and ``ops drill``; None without a backup, or one that has not looked yet."""
    if folder is None or (status := _document(folder / "status.json")) is None:
        return None
    newest, drill = status.get("newest"), _document(folder / "drill.json")
    return Backup(
        newest=datetime.fromtimestamp(newest["time"], UTC) if newest else None,
        max_age_hours=int(status["max_age_hours"]),
        problem=str(status["problem"]),
        drilled=datetime.fromisoformat(drill["at"]) if drill else None,
        drill=str(drill["verdict"]) if drill else None,
    )


def _document(path: Path) -> Mapping[str, Any] | None:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None
