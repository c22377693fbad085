"""When a schedule is due, as Skyvern reckons it (1.0.56, forge/sdk/workflow/schedules.py), and which ticks it missed.

Skyvern runs the latest tick since the schedule was changed, however late, and never an older one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from croniter import croniter

# Skyvern looks every 15 s (server.schedule_poll_seconds), and makes a run's row when its turn among schedules comes.
LATE_SECONDS = 300
# Ticks that are looked at one by one; a schedule has at most 288 a day.
MOST_TICKS = 300


@dataclass(frozen=True, kw_only=True)
class Due:
    """last: the latest tick that has passed. next: None for one that is off, or was for once. missed: ticks without a run."""

    last: datetime | None
    next: datetime | None
    missed: tuple[datetime, ...]


def due(schedule: dict[str, Any], since: datetime, now: datetime) -> Due:
    """A row of ``monitor.schedules``. since: ticks before it are not looked at, nor those before the schedule was changed.

    A tick is missed when no run was made from it until the next tick; ``schedule["last"]`` is the newest run, so that a run that
    came late counts for the latest tick before it alone.
    """
    if schedule["once"] is not None:
        waits = schedule["last"] is None and schedule["enabled"]
        late = waits and schedule["once"] + timedelta(seconds=LATE_SECONDS) < now
        passed = schedule["once"] <= now
        return Due(
            last=schedule["once"] if passed else None,
            next=schedule["once"] if waits and not passed else None,
            missed=(schedule["once"],) if late else (),
        )
    last = next(_back(schedule, now), None)
    if not schedule["enabled"]:
        return Due(last=last, next=None, missed=())
    begin = max(since, schedule["modified"])
    settled = now - timedelta(seconds=LATE_SECONDS)
    missed = []
    for number, tick in enumerate(_back(schedule, now)):
        if tick < begin or number >= MOST_TICKS:
            break
        if schedule["last"] is not None and schedule["last"] >= tick:
            break
        if tick <= settled:
            missed.append(tick)
    return Due(last=last, next=_next(schedule, now), missed=tuple(reversed(missed)))


def _cron(schedule: dict[str, Any], at: datetime) -> croniter:
    return croniter(schedule["cron"], at.astimezone(ZoneInfo(schedule["timezone"])))


def _back(schedule: dict[str, Any], now: datetime) -> Iterator[datetime]:
    if schedule["cron"] is None:
        step = timedelta(seconds=schedule["every_seconds"])
        tick = schedule["first"] + (now - schedule["first"]) // step * step
        while tick >= schedule["first"]:
            yield tick
            tick -= step
        return
    # The tick of this very second has passed.
    ticks = _cron(schedule, now + timedelta(seconds=1))
    while True:
        yield ticks.get_prev(datetime).astimezone(UTC)


def _next(schedule: dict[str, Any], now: datetime) -> datetime:
    if schedule["cron"] is None:
        step = timedelta(seconds=schedule["every_seconds"])
        first: datetime = schedule["first"]
        return first if now < first else first + ((now - first) // step + 1) * step
    following: datetime = _cron(schedule, now).get_next(datetime)
    return following.astimezone(UTC)
