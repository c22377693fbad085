"""The dashboard: what an address asks for, the tables that answer it, and the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import charts
import machine
import queries
import schedules
import tables
import texts
from config import Config
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from queries import Reader, Selection, Span
from tables import Column, Table

PERIODS = {"today": 1, "7": 7, "30": 30, "90": 90}
DEFAULT_PERIOD = "7"
# What a person chooses -> Skyvern's words.
RESULTS = {**{status: (status,) for status in queries.ENDED}, "unfinished": queries.UNFINISHED}
RESULT_LABELS = {
    "completed": "Completed",
    "failed": "Failed",
    "terminated": "Terminated",
    "timed_out": "Timed out",
    "canceled": "Canceled",
    "unfinished": "Unfinished",
}
_ID = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


@dataclass(frozen=True, kw_only=True)
class Request:
    """An address, read. Whatever it says that is not known is left out. orders: by table. language: None where it names none."""

    period: str
    who: str
    workflow: str | None
    result: str | None
    language: str | None
    orders: Mapping[str, str]

    def address(self, path: str = "/dashboard", **changes: str | None) -> str:
        """The same page with something else; None takes a part out."""
        parts: dict[str, str | None] = {
            "period": None if self.period == DEFAULT_PERIOD else self.period,
            "who": None if self.who == "own" else self.who,
            "workflow": self.workflow,
            "result": self.result,
            "lang": self.language,
            **{f"sort_{table}": order for table, order in self.orders.items()},
            **changes,
        }
        query = urlencode({name: value for name, value in parts.items() if value is not None})
        return f"{path}?{query}" if query else path


def read(query: Mapping[str, str]) -> Request:
    """The request of an address' query."""
    workflow = query.get("workflow", "")
    return Request(
        period=query["period"] if query.get("period") in PERIODS else DEFAULT_PERIOD,
        who=query["who"] if query.get("who") in {"own", "smoke"} else "own",
        workflow=workflow if workflow and len(workflow) <= 100 and set(workflow) <= _ID else None,
        result=query["result"] if query.get("result") in RESULTS else None,
        language=query["lang"] if query.get("lang") in texts.LANGUAGES else None,
        orders={
            name.removeprefix("sort_"): order
            for name, order in sorted(query.items())
            if name.startswith("sort_") and name.removeprefix("sort_") in TABLES and set(order) <= _ID
        },
    )


TABLES = ("workflows", "causes", "failures", "schedules", "spending", "days")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that a page shows."""

    now: datetime
    span: Span
    statistics: queries.Statistics
    titles: Mapping[str, str]
    tables: Mapping[str, Table]
    cost: float | None
    unpriced: bool
    saved_seconds: float


def gather(reader: Reader, config: Config, request: Request, now: datetime) -> Facts:
    """Asks the database."""
    organization = config.organizations[request.who]
    span = queries.last_days(PERIODS[request.period], config.zone, now)
    results = None if request.result is None else RESULTS[request.result]
    selection = Selection(organization=organization, span=span, workflow=request.workflow, results=results)
    titles = reader.titles(organization)
    statistics = reader.statistics(selection)
    newest, causes = reader.failures(selection)
    spending = [row for row in reader.spending(organization, span) if request.workflow in {None, row["workflow"]}]
    due = [row for row in reader.schedules(organization) if request.workflow in {None, row["workflow"]}]

    def title(workflow: str | None) -> str:
        return titles.get(workflow or "") or workflow or "-"

    made = (
        _days(statistics.by_day),
        _workflows(statistics.by_workflow, title),
        _causes(causes),
        _failures(newest, title),
        _spending(spending, title),
        _schedules(due, title, now),
    )
    return Facts(
        now=now,
        span=span,
        statistics=statistics,
        titles=titles,
        tables={table.key: table for table in made},
        cost=sum(row["cost"] for row in spending),
        unpriced=any(row["unpriced"] for row in spending),
        saved_seconds=queries.saved_seconds(statistics.by_workflow, titles, config.minutes_by_hand),
    )


_COUNTS = [Column(status, RESULT_LABELS[status], "count") for status in RESULT_LABELS]


def _days(rows: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        key="days",
        title="Runs by day",
        columns=[
            Column("day", "Day", "day"),
            Column("runs", "Runs", "count"),
            *_COUNTS,
            Column("rate", "Success rate", "percent"),
        ],
        rows=[{**row, "rate": queries.success_rate(row)} for row in rows],
        empty="No runs in this period.",
        order="-day",
    )


def _workflows(rows: Sequence[Mapping[str, Any]], title: Any) -> Table:
    return Table(
        key="workflows",
        title="Workflows",
        columns=[
            Column("title", "Workflow", "workflow"),
            Column("runs", "Runs", "count"),
            *_COUNTS,
            Column("rate", "Success rate", "percent"),
            Column("median", "Median duration", "seconds"),
            Column("p95", "95 % of runs within", "seconds"),
            Column("queue", "Median wait", "seconds"),
        ],
        rows=[{**row, "rate": queries.success_rate(row), "title": title(row["workflow"])} for row in rows],
        empty="No runs in this period.",
        order="-runs",
    )


def _category(row: Mapping[str, Any]) -> str | None:
    """Skyvern has none for a run that lost its server."""
    return "INTERRUPTED" if row["interrupted"] else row["category"]


def _causes(causes: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        key="causes",
        title="Why",
        columns=[Column("category", "Category"), Column("codes", "Code"), Column("runs", "Runs", "count")],
        rows=[{**row, "category": _category(row)} for row in causes],
        empty="No failures.",
        order="-runs",
    )


def _failures(failures: Sequence[Mapping[str, Any]], title: Any) -> Table:
    return Table(
        key="failures",
        title="Failures",
        columns=[
            Column("finished", "Ended", "time"),
            Column("title", "Workflow", "workflow"),
            Column("status", "Result", "word"),
            Column("category", "Category"),
            Column("codes", "Code"),
            Column("run", "Run", "run"),
        ],
        rows=[{**row, "title": title(row["workflow"]), "category": _category(row)} for row in failures],
        empty="No failures.",
        order="-finished",
        note="The newest {} are shown." if len(failures) >= queries.MOST_FAILURES else "",
    )


def _spending(rows: Sequence[Mapping[str, Any]], title: Any) -> Table:
    return Table(
        key="spending",
        title="Cost and tokens",
        columns=[
            Column("title", "Workflow", "workflow"),
            Column("model", "Model"),
            Column("cost", "Cost", "dollars"),
            Column("input_tokens", "Input tokens", "count"),
            Column("output_tokens", "Output tokens", "count"),
        ],
        # A sum with unpriced calls in it would be too low, and look like the truth.
        rows=[{**row, "title": title(row["workflow"]), "cost": None if row["unpriced"] else row["cost"]} for row in rows],
        empty="No model was asked.",
        order="-input_tokens",
    )


def _schedules(rows: Sequence[dict[str, Any]], title: Any, now: datetime) -> Table:
    found = []
    for row in rows:
        due = schedules.due(row, now - timedelta(days=7), now)
        found.append(
            {
                **row,
                "title": title(row["workflow"]),
                "name": row["name"] or row["schedule"],
                "on": "yes" if row["enabled"] else "no",
                "next": due.next,
                "missed": len(due.missed),
            }
        )
    return Table(
        key="schedules",
        title="Schedules",
        columns=[
            Column("name", "Name"),
            Column("title", "Workflow", "workflow"),
            Column("on", "Enabled", "word"),
            Column("last", "Last run", "time"),
            Column("next", "Next tick", "time"),
            Column("missed", "Missed", "count"),
        ],
        rows=found,
        empty="No schedules.",
        order="next",
    )


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(config: Config, request: Request, language: str, facts: Facts | None, problem: str = "") -> str:
    """The page as HTML; without facts, the problem in their place."""
    say = texts.translator(language)

    def write(kind: tables.Kind, value: Any) -> str:
        return tables.written(kind, value, config.zone, say)

    words = {"completed": say("Completed"), "failed": say("Failed"), "other": f"{say('Canceled')}/{say('Unfinished')}"}
    return _TEMPLATES.get_template("page.html").render(
        config=config,
        request=request,
        language=language,
        say=say,
        write=write,
        quote=lambda text: quote(text, safe=""),
        short=tables.short,
        plain=tables.plain,
        numbers=tables.NUMBERS,
        facts=facts,
        problem=problem,
        periods=PERIODS,
        results=RESULT_LABELS,
        tables=TABLES,
        words=words,
        rate=None if facts is None else queries.success_rate(facts.statistics.total),
        failed=0 if facts is None else sum(facts.statistics.total[status] for status in queries.FAILED),
        chart=None if facts is None else charts.by_day(facts.statistics.by_day, facts.span, words),
        disk=machine.disk(config.state),
        backup=machine.backup(config.backup),
        now=datetime.now(UTC),
        replace=replace,
    )
