"""Everything that the monitor asks the database: the one truth of the dashboard and the metrics.

It reads the functions of the schema ``monitor`` (components/host/monitor.sql) and can read nothing else. Times are aware,
durations in seconds, costs in US dollars.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from psycopg.rows import dict_row

Row = Mapping[str, Any]

# As Skyvern calls them (1.0.56). A canceled run was somebody's wish and counts neither as success nor as failure.
FAILED = ("failed", "terminated", "timed_out")
ENDED = ("completed", *FAILED, "canceled")
UNFINISHED = ("created", "queued", "running", "paused")
MOST_FAILURES = 200
# The columns of spending that add up.
_SPENT = ("cost", "input_tokens", "output_tokens", "calls", "unpriced")
# Days whose spending is asked for at once.
PIECE = timedelta(days=5)
# Characters of a title in monitor.workflows.
MOST_TITLE = 300

_COUNTS = ", ".join(
    f"count(*) FILTER (WHERE status {test}) AS {name}"
    for name, test in {
        **{status: f"= '{status}'" for status in ENDED},
        "unfinished": f"IN {UNFINISHED}",
    }.items()
)
_STATISTICS = f"""
WITH runs AS MATERIALIZED (
  SELECT * FROM monitor.runs(%(organization)s, %(since)s, %(until)s)
  WHERE (%(workflow)s::text IS NULL OR workflow = %(workflow)s) AND (%(results)s::text[] IS NULL OR status = ANY (%(results)s))
)
SELECT 'workflow' AS kind, workflow, NULL::date AS day, count(*) AS runs, {_COUNTS},
  percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY seconds) AS durations,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY queue_seconds) AS queue
FROM runs GROUP BY GROUPING SETS ((), (workflow))
UNION ALL
SELECT 'day', NULL, (created AT TIME ZONE %(zone)s)::date, count(*), {_COUNTS}, NULL, NULL FROM runs GROUP BY 3
"""  # noqa: S608  # constants of this module
_FAILURES = """
WITH failures AS MATERIALIZED (
  SELECT * FROM monitor.failures(%(organization)s, %(since)s, %(until)s)
  WHERE (%(workflow)s::text IS NULL OR workflow = %(workflow)s) AND (%(results)s::text[] IS NULL OR status = ANY (%(results)s))
)
(SELECT 1 AS runs, * FROM failures ORDER BY finished DESC, run LIMIT %(most)s)
UNION ALL
SELECT count(*), NULL, NULL, NULL, category, codes, interrupted, NULL FROM failures GROUP BY category, codes, interrupted
"""


@dataclass(frozen=True, kw_only=True)
class Span:
    """since: included. until: not included. days: calendar days of the zone in it."""

    since: datetime
    until: datetime
    days: int


def last_days(days: int, zone: ZoneInfo, now: datetime) -> Span:
    """Today and the days before it, in the stack's time zone, which may have days of 23 or 25 hours."""
    today = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    return Span(since=today - timedelta(days=days - 1), until=today + timedelta(days=1), days=days)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is asked about. workflow: its permanent id, None for all. results: statuses, None for all."""

    organization: str
    span: Span
    workflow: str | None = None
    results: Sequence[str] | None = None

    def values(self) -> dict[str, Any]:
        """For the queries about runs."""
        return {
            "organization": self.organization,
            "since": self.span.since,
            "until": self.span.until,
            "workflow": self.workflow,
            "results": None if self.results is None else list(self.results),
        }


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """total: of all runs; by_workflow, by_day: the same counts. Each has ``runs`` and a count for each status, and but for days
    the median and the 95th percentile of the duration of ended runs, and the median time in the queue; None without one.
    """

    total: Row
    by_workflow: Sequence[Row]
    by_day: Sequence[Row]


def failed(counts: Row) -> int:
    """Runs that ended without success."""
    return sum(counts[status] for status in FAILED)


def success_rate(counts: Row) -> float | None:
    """Share of completed runs among those that succeeded or failed; None without any."""
    judged = counts["completed"] + failed(counts)
    return counts["completed"] / judged if judged else None


def saved_seconds(by_workflow: Sequence[Row], titles: Mapping[str, str], minutes_by_hand: Mapping[str, float]) -> float:
    """What people would have needed for the runs that completed, of the workflows whose minutes are known.

    The database has the beginning of a long title.
    """
    minutes = {title[:MOST_TITLE]: minutes for title, minutes in minutes_by_hand.items()}
    return 60 * sum(row["completed"] * minutes.get(titles.get(row["workflow"], ""), 0) for row in by_workflow)


class Past:
    """The spending of days that are over, which stays as it is. Asked for once a day, before the first page (ahead.py): 90 days
    of 100,000 runs take 0.6 to 1.5 s of the database's CPU, most of it to join 300,000 steps.

    In pieces of a few days: on a slow or busy machine each is answered in time, and is kept when a later one is not.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, datetime, datetime], list[dict[str, Any]]] = {}
        self._until: datetime | None = None

    def get(
        self, organization: str, since: datetime, until: datetime, ask: Callable[[datetime, datetime], list[dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        """The rows between two midnights, kept or asked for."""
        if until != self._until:
            # Of another day.
            self._kept, self._until = {}, until
        kept, pieces, end = self._kept, [], until
        # From the end, so that the longer period has the pieces of the shorter one.
        while end > since:
            begin = max(since, end - PIECE)
            key = (organization, begin, end)
            if key not in kept:
                kept[key] = ask(begin, end)
            pieces.append(kept[key])
            end = begin
        return added(*pieces)


def added(*parts: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows of spending, with one for each workflow and model."""
    sums: dict[tuple[str | None, str | None], dict[str, Any]] = {}
    for row in (row for part in parts for row in part):
        key = row["workflow"], row["model"]
        before = sums.get(key)
        sums[key] = dict(row) if before is None else {**row, **{name: before[name] + row[name] for name in _SPENT}}
    return list(sums.values())


class Reader:
    """One transaction's view of the database. past: keeps what does not change; None to ask for everything."""

    def __init__(self, connection: "psycopg.Connection[dict[str, Any]]", past: Past | None = None) -> None:
        self._connection = connection
        self._past = past

    def _all(self, query: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self._connection.execute(query.encode(), values).fetchall()

    def ready(self) -> bool:
        """Whether Skyvern has made its tables."""
        try:
            return bool(self._all("SELECT * FROM monitor.schema_version()", {}))
        except psycopg.errors.UndefinedTable:
            self._connection.rollback()
            return False

    def statistics(self, selection: Selection) -> Statistics:
        """Runs by the time at which they were made."""
        rows = self._all(_STATISTICS, {**selection.values(), "zone": str(selection.span.since.tzinfo)})
        for row in rows:
            row["median"], row["p95"] = row.pop("durations") or (None, None)
        return Statistics(
            total=next(row for row in rows if row["kind"] == "workflow" and row["workflow"] is None),
            by_workflow=[row for row in rows if row["workflow"] is not None],
            by_day=sorted((row for row in rows if row["kind"] == "day"), key=lambda row: row["day"]),
        )

    def titles(self, organization: str) -> dict[str, str]:
        """Permanent id -> newest title."""
        rows = self._all("SELECT workflow, title FROM monitor.workflows(%(organization)s)", {"organization": organization})
        return {row["workflow"]: row["title"] for row in rows}

    def failures(self, selection: Selection, most: int = MOST_FAILURES) -> "tuple[list[dict[str, Any]], list[dict[str, Any]]]":
        """Runs that ended without success: the newest ``most``, and all of them counted by category and codes."""
        rows = self._all(_FAILURES, {**selection.values(), "most": most})
        return [row for row in rows if row["run"] is not None], [row for row in rows if row["run"] is None]

    def ended(self, organization: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """Runs that ended in a time, also those that began before it."""
        return self._all(
            "SELECT * FROM monitor.ended(%(organization)s, %(since)s, %(until)s)",
            {"organization": organization, "since": since, "until": until},
        )

    def unfinished(self, organization: str) -> list[dict[str, Any]]:
        """Runs that wait or run."""
        return self._all("SELECT * FROM monitor.unfinished(%(organization)s)", {"organization": organization})

    def spending(self, organization: str, span: Span) -> list[dict[str, Any]]:
        """Cost and tokens by workflow and model. ``unpriced``: calls of a model without a price, whose cost is unknown."""

        def ask(since: datetime, until: datetime) -> list[dict[str, Any]]:
            return self._all(
                "SELECT * FROM monitor.spending(%(organization)s, %(since)s, %(until)s)",
                {"organization": organization, "since": since, "until": until},
            )

        # A step that began yesterday may end today.
        over = span.until - timedelta(days=2)
        if self._past is None or over <= span.since:
            return ask(span.since, span.until)
        return added(self._past.get(organization, span.since, over, ask), ask(over, span.until))

    def schedules(self, organization: str) -> list[dict[str, Any]]:
        """All that are not deleted, with the time of their last run."""
        return self._all("SELECT * FROM monitor.schedules(%(organization)s)", {"organization": organization})

    def starts(self) -> Row:
        """``database``: when PostgreSQL began. ``sessions``: the oldest session of Skyvern's role; None without one."""
        return self._all("SELECT * FROM monitor.starts()", {})[0]


@contextmanager
def reading(database: str, past: Past | None = None) -> Iterator[Reader]:
    """A reader whose answers are of one moment; psycopg.Error where the database does not answer."""
    with psycopg.connect(database, row_factory=dict_row, connect_timeout=5) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        yield Reader(connection, past)
