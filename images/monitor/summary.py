"""Today in one JSON document, for ``ops status`` and ``ops doctor``: counted by the dashboard's own queries.

/opt/monitor/bin/python /usr/local/lib/monitor/summary.py
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import alerts
import config
import queries
import schedules
from queries import Reader, Selection


def today(reader: Reader, settings: config.Config, now: datetime) -> dict[str, Any]:
    """Runs made today in the stack's time zone, the share that succeeded, and titles of the schedules missed in 24 hours.

    As on the dashboard: of people, programs and schedules, not of the smoke tests. Titles are harmless in a terminal.
    """
    organization = settings.organizations["own"]
    total = reader.statistics(Selection(organization=organization, span=queries.last_days(1, settings.zone, now))).total
    titles = reader.titles(organization)
    missed = {
        alerts.harmless(titles.get(schedule["workflow"], schedule["workflow"]))
        for schedule in reader.schedules(organization)
        if schedules.due(schedule, now - timedelta(days=1), now).missed
    }
    return {
        "runs": total["runs"],
        "completed": total["completed"],
        "failed": sum(total[status] for status in queries.FAILED),
        "unfinished": total["unfinished"],
        "success_rate": queries.success_rate(total),
        "missed_schedules": sorted(missed),
    }


def main() -> None:
    """Prints it; ``null`` before Skyvern has made its tables."""
    settings = config.from_environment()
    with queries.reading(settings.database) as reader:
        print(json.dumps(today(reader, settings, datetime.now(UTC)) if reader.ready() else None))


if __name__ == "__main__":
    main()
