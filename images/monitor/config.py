"""What the monitor is told by its container's environment (components/host/monitor.py)."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo


@dataclass(frozen=True, kw_only=True)
class Config:
    """database: libpq's connection string. organizations: ``own`` and ``smoke`` -> Skyvern's id.

    language: ``en``, ``ko``, or ``browser``. app_url: origin of the UI. skyvern: its version. state: folder of the monitor's own
    volume. backup: folder of the backup's volume, if the stack has one. started: folder below which parts mark that they began.
    minutes_by_hand: title of a workflow -> minutes that a person needs for it.
    channels: name -> address in apprise's form, with its keys. quiet_hours: ``23:00-07:00``. stuck_minutes: longest run.
    api_host: a host for which the gateway answers Skyvern's heartbeat. heartbeat: address that is pinged; a secret.
    metrics: whether there is /metrics. drill_days: between two drills, 0 for none. refreshed: day of the images' Debian packages.
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
    started: Path
    channels: Mapping[str, str] = field(default_factory=dict)
    quiet_hours: str | None = None
    stuck_minutes: int = 180
    api_host: str = "localhost"
    heartbeat: str | None = None
    metrics: bool = False
    drill_days: int = 0
    refreshed: date = date.max
    minutes_by_hand: Mapping[str, float] = field(default_factory=dict)


def named(urls: Sequence[str]) -> dict[str, str]:
    """Channels by the kind of each, with its number where there are several of a kind."""
    names: dict[str, str] = {}
    for url in urls:
        kind = url.partition(":")[0]
        number = sum(name.partition(" ")[0] == kind for name in names) + 1
        names[kind if number == 1 else f"{kind} {number}"] = url
    return names


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
        started=Path(os.environ["STARTED_FOLDER"]),
        channels=named(os.environ.get("CHANNELS", "").split()),
        quiet_hours=os.environ.get("QUIET_HOURS"),
        stuck_minutes=int(os.environ.get("STUCK_MINUTES", "180")),
        api_host=os.environ["API_HOST"],
        heartbeat=os.environ.get("HEARTBEAT"),
        metrics="METRICS" in os.environ,
        drill_days=int(os.environ.get("DRILL_DAYS", "0")),
        refreshed=date.fromisoformat(Path(__file__).with_name("refreshed.txt").read_text().strip()),
        minutes_by_hand=json.loads(os.environ.get("MINUTES_BY_HAND", "{}")),
    )
