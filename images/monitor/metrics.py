"""/metrics in the text format of Prometheus, from the queries of the dashboard (docs/monitoring.md lists the names).

Runs are counted when they end, from the start of this process, as Prometheus expects it: a counter that begins again at 0. What
models cost is the dashboard's "today", so it begins again at midnight. All else is the state of now. Workflows are named by id,
because a title can change and can be anybody's text; ``skyvern_workflow_info`` has the titles.
"""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import heartbeat
import machine
import psycopg
import queries
import schedules
from config import Config
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from tables import short

# Two Prometheus servers, or one and a curious person, ask the database once.
KEPT_SECONDS = 10.0
# The time of an end is taken before it is in the database.
OVERLAP = timedelta(minutes=5)
DURATIONS = (5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400)
WAITS = (1, 5, 15, 60, 300, 900, 3600)


class Metrics:
    """The counters of this process, and the answer of the last few seconds."""

    def __init__(self, config: Config, now: datetime) -> None:
        self.config = config
        # Series of the times at which others began: as many again, for nobody's use here.
        disable_created_metrics()
        self._registry = CollectorRegistry()
        # The first to be asked: it counts what the others then show.
        self._registry.register(State(self))
        self._runs = Counter("skyvern_runs", "Runs that ended.", ["workflow", "result"], registry=self._registry)
        self._durations = Histogram(
            "skyvern_run_duration_seconds",
            "From the start to the end of runs that ended.",
            ["workflow"],
            buckets=DURATIONS,
            registry=self._registry,
        )
        self._waits = Histogram(
            "skyvern_run_wait_seconds",
            "From the request to the start of runs that ended.",
            ["workflow"],
            buckets=WAITS,
            registry=self._registry,
        )
        self._from = self._until = now
        # Runs that were counted and may be seen again -> when.
        self._counted: dict[str, datetime] = {}
        self._lock = threading.Lock()
        self._kept: tuple[float, bytes] | None = None

    def text(self) -> bytes:
        """The answer to a scrape."""
        with self._lock:
            if self._kept is None or time.monotonic() - self._kept[0] >= KEPT_SECONDS:
                self._kept = time.monotonic(), generate_latest(self._registry)
            return self._kept[1]

    def count(self, reader: queries.Reader, now: datetime) -> None:
        """Adds the runs that have ended since the last scrape."""
        since = max(self._from, self._until - OVERLAP)
        for run in reader.ended(self.config.organizations["own"], since, now):
            if run["run"] in self._counted:
                continue
            self._counted[run["run"]] = now
            self._runs.labels(run["workflow"], run["status"]).inc()
            # A run that never began has neither.
            if run["seconds"] is not None:
                self._durations.labels(run["workflow"]).observe(run["seconds"])
            if run["queue_seconds"] is not None:
                self._waits.labels(run["workflow"]).observe(max(0.0, run["queue_seconds"]))
        self._until = now
        self._counted = {run: at for run, at in self._counted.items() if now - at <= 2 * OVERLAP}


class State(Collector):
    """What is so now. Without an answer of the database, what is known without it."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.config = metrics.config

    def describe(self) -> list[Metric]:
        """Nothing, so that registering asks nobody."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Called for each scrape."""
        now = datetime.now(UTC)
        build = InfoMetricFamily("skyvern_build", "Version of Skyvern, and day of the images' Debian packages.")
        build.add_metric([], {"version": self.config.skyvern, "images": str(self.config.refreshed)})
        yield build
        yield from self._machine()
        try:
            with queries.reading(self.config.database) as reader:
                ready = reader.ready()
                found = [*self._database(reader, now)] if ready else []
        except psycopg.Error:
            ready, found = False, []
        yield from found
        up = heartbeat.server_answers(self.config.api_host)
        yield _one("skyvern_database_up", "Whether the database answers as this version of Skyvern's does.", float(ready))
        yield _one("skyvern_server_up", "Whether Skyvern answers.", float(up))

    def _machine(self) -> Iterator[Metric]:
        disk = machine.disk(self.config.state)
        yield _one("skyvern_disk_free_bytes", "Free on the file system of Docker's volumes.", disk.free)
        yield _one("skyvern_disk_size_bytes", "Size of that file system.", disk.total)
        backup = machine.backup(self.config.backup)
        if backup is None:
            return
        yield _one("skyvern_backup_max_age_seconds", "Age at which the newest set is too old.", backup.max_age_hours * 3600)
        for name, text, at in (
            ("skyvern_backup_newest_timestamp_seconds", "Time of the newest set; absent without one.", backup.newest),
            ("skyvern_drill_last_timestamp_seconds", "Time of the last restore drill; absent before the first.", backup.drilled),
            (
                "skyvern_drill_good_timestamp_seconds",
                "Time of the last restore drill that passed; absent before it.",
                backup.good,
            ),
        ):
            if at is not None:
                yield _one(name, text, at.timestamp())

    def _database(self, reader: queries.Reader, now: datetime) -> Iterator[Metric]:
        self.metrics.count(reader, now)
        organization = self.config.organizations["own"]
        titles = reader.titles(organization)
        info = InfoMetricFamily("skyvern_workflow", "Title of each workflow.", labels=["workflow"])
        for workflow, title in titles.items():
            info.add_metric([workflow], {"title": short(title)})
        yield info
        yield from self._unfinished(reader.unfinished(organization), now)
        yield from self._spending(reader.spending(organization, queries.last_days(1, self.config.zone, now)))
        yield from self._schedules(reader.schedules(organization), now)

    @staticmethod
    def _unfinished(rows: list[queries.Row], now: datetime) -> Iterator[Metric]:
        current = GaugeMetricFamily("skyvern_runs_unfinished", "Runs that wait or run.", labels=["status"])
        for status in queries.UNFINISHED:
            current.add_metric([status], sum(row["status"] == status for row in rows))
        yield current
        waiting = [(now - row["created"]).total_seconds() for row in rows if row["started"] is None and row["status"] != "paused"]
        yield _one(
            "skyvern_queue_oldest_seconds",
            "How long the oldest run that has not begun waits; 0 for none.",
            max(waiting, default=0.0),
        )

    @staticmethod
    def _spending(rows: list[queries.Row]) -> Iterator[Metric]:
        labels = ["workflow", "model"]
        cost = CounterMetricFamily(
            "skyvern_llm_cost_dollars", "Of calls to models since midnight, in USD, where the price is known.", labels=labels
        )
        unpriced = CounterMetricFamily(
            "skyvern_llm_unpriced_calls", "Calls since midnight whose price is not known.", labels=labels
        )
        tokens = CounterMetricFamily("skyvern_llm_tokens", "Tokens of calls since midnight.", labels=[*labels, "direction"])
        for row in rows:
            named = [row["workflow"] or "", row["model"] or ""]
            cost.add_metric(named, row["cost"])
            unpriced.add_metric(named, row["unpriced"])
            tokens.add_metric([*named, "input"], row["input_tokens"])
            tokens.add_metric([*named, "output"], row["output_tokens"])
        yield from (cost, unpriced, tokens)

    @staticmethod
    def _schedules(rows: list[queries.Row], now: datetime) -> Iterator[Metric]:
        labels = ["schedule", "workflow"]
        next_ = GaugeMetricFamily("skyvern_schedule_next_timestamp_seconds", "Next tick of a schedule that is on.", labels=labels)
        last = GaugeMetricFamily("skyvern_schedule_last_run_timestamp_seconds", "Last run of a schedule.", labels=labels)
        missed = GaugeMetricFamily("skyvern_schedule_missed", "Ticks of the last day from which no run was made.", labels=labels)
        for row in rows:
            named, due = [row["schedule"], row["workflow"]], schedules.due(dict(row), now - timedelta(days=1), now)
            if due.next is not None:
                next_.add_metric(named, due.next.timestamp())
            if row["last"] is not None:
                last.add_metric(named, row["last"].timestamp())
            missed.add_metric(named, len(due.missed))
        yield from (next_, last, missed)


def _one(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
