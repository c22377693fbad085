"""Today in one JSON document, for ``ops status`` and ``ops doctor``; with a number of days those, for ``ops fleet cost``.

Counted by the dashboard's own queries.

/opt/monitor/bin/python /usr/local/lib/monitor/summary.py [DAYS]
"""

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import alerts
import config
import psycopg
import queries
import schedules
from queries import Reader, Selection


def today(reader: Reader, settings: config.Config, now: datetime) -> dict[str, Any]:
    """Runs made today in the stack's time zone, the share that succeeded, and titles of the schedules missed in 24 hours.

    As on the dashboard: of people, programs and schedules, not of the smoke tests. Titles are harmless in a terminal.
    """
    organization = settings.organizations["own"]
    total = _total(reader, settings, queries.last_days(1, settings.zone, now))
    titles = reader.titles(organization)
    missed = {
        alerts.harmless(titles.get(schedule["workflow"], schedule["workflow"]))
        for schedule in reader.schedules(organization)
        if schedules.due(schedule, now - timedelta(days=1), now).missed
    }
    return {
        "runs": total["runs"],
        "completed": total["completed"],
        "failed": queries.failed(total),
        "unfinished": total["unfinished"],
        "success_rate": queries.success_rate(total),
        "missed_schedules": sorted(missed),
    }


def period(reader: Reader, settings: config.Config, days: int, now: datetime) -> dict[str, Any]:
    """Runs made in the last days, today among them, and what models cost for them, in US dollars.

    ``unpriced``: calls of a model without a price, whose cost is unknown.
    """
    span = queries.last_days(days, settings.zone, now)
    total = _total(reader, settings, span)
    spending = reader.spending(settings.organizations["own"], span)
    return {
        "days": days,
        "runs": total["runs"],
        "completed": total["completed"],
        "failed": queries.failed(total),
        **{name: sum(row[name] for row in spending) for name in ("cost", "input_tokens", "output_tokens", "unpriced")},
    }


def _total(reader: Reader, settings: config.Config, span: queries.Span) -> queries.Row:
    return reader.statistics(Selection(organization=settings.organizations["own"], span=span)).total


def main(*days: str) -> None:
    """Prints it; ``null`` before Skyvern has made its tables."""
    settings, now = config.from_environment(), datetime.now(UTC)
    document = None
    try:
        with queries.reading(settings.database) as reader:
            if reader.ready():
                document = period(reader, settings, int(days[0]), now) if days else today(reader, settings, now)
    except psycopg.Error:
        sys.exit("the database does not answer, or not in time; ask later, or for fewer days")
    print(json.dumps(document))


if __name__ == "__main__":
    main(*sys.argv[1:])
