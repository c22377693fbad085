"""When a schedule runs, as the server counts it: croniter is what Skyvern uses (1.0.56, forge/sdk/workflow/schedules.py)."""

import datetime
import itertools
import zoneinfo
from collections.abc import Iterator

from croniter import croniter

LEAST_DISTANCE = datetime.timedelta(minutes=5)
# Over which the server looks for two ticks that are too close.
SAMPLE = datetime.timedelta(hours=25)


def next_ticks(cron: str, timezone: str, after: datetime.datetime, count: int = 5) -> list[datetime.datetime]:
    """The next times in the zone of the schedule. after: with a zone. ValueError for a wrong text, or if it never runs."""
    if text := syntax_problem(cron) or timezone_problem(timezone):
        raise ValueError(text)
    return list(itertools.islice(_ticks(cron, timezone, after), count))


def _ticks(cron: str, timezone: str, after: datetime.datetime) -> Iterator[datetime.datetime]:
    ticks = croniter(cron, after.astimezone(zoneinfo.ZoneInfo(timezone)), ret_type=datetime.datetime)
    while True:
        yield ticks.get_next()


def syntax_problem(cron: str) -> str | None:
    """What is wrong with an expression, None for nothing."""
    if len(cron.split()) != 5 or not croniter.is_valid(cron):
        return 'is not a cron expression; write five fields: minute, hour, day, month, weekday, for example "0 9 * * 1-5"'
    return None


def timezone_problem(timezone: str) -> str | None:
    """What is wrong with a time zone, None for nothing."""
    try:
        zoneinfo.ZoneInfo(timezone)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return "is not a time zone; write a name such as Asia/Seoul"
    return None


def distance_problem(cron: str, timezone: str) -> str | None:
    """Whether two ticks are closer than the server accepts; for an expression and a time zone that are right."""
    # A fixed day without a change to summer time: a plan must not depend on the clock.
    ticks = _ticks(cron, timezone, datetime.datetime(2026, 1, 5, tzinfo=datetime.UTC))
    try:
        first = next(ticks)
    except ValueError:
        return "never runs; write a day that exists"
    within = itertools.chain([first], itertools.takewhile(lambda tick: tick < first + SAMPLE, ticks))
    if any(later - earlier < LEAST_DISTANCE for earlier, later in itertools.pairwise(within)):
        return 'runs more often than every five minutes, which the server refuses; write for example "*/5 * * * *"'
    return None
