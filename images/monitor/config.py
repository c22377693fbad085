"""What the monitor is told by its container's environment (components/host/monitor.py)."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo


@dataclass(frozen=True, kw_only=True)
class Config:
    """database: libpq's connection string. organizations: ``own`` and ``smoke`` -> Skyvern's id.

    language: ``en``, ``ko``, or ``browser``. app_url: origin of the UI. skyvern: its version. state: folder of the monitor's own
    volume. backup: folder of the backup's volume, if the stack has one.
    """

    database: str
    organizations: Mapping[str, str]
    zone: ZoneInfo
    language: str
    app_url: str
    stack: str
    skyvern: str
    state: Path
    backup: Path | None


def _pinned(requirement: str) -> str:
    """The version of a line such as ``skyvern[server]==1.0.56``."""
    return requirement.strip().rpartition("==")[2]


def from_environment() -> Config:
    """Raises KeyError for a variable that is missing."""
    return Config(
        database=os.environ["MONITOR_DATABASE"],
        organizations={"own": os.environ["ORGANIZATION_ID"], "smoke": os.environ["SMOKE_ORGANIZATION_ID"]},
        zone=ZoneInfo(os.environ["TZ"]),
        language=os.environ["UI_LANGUAGE"],
        app_url=os.environ["APP_URL"],
        stack=os.environ["STACK"],
        skyvern=_pinned(Path(__file__).with_name("skyvern.in").read_text()),
        state=Path(os.environ["STATE_FOLDER"]),
        backup=Path(os.environ["BACKUP_FOLDER"]) if "BACKUP_FOLDER" in os.environ else None,
    )
