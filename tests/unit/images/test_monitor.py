"""The monitor's modules without a database: days, schedules, tables, CSV, words, and the page as a hostile title meets it."""

import ast
import email
import email.policy
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from lab import loopback
from lab.standins.edge.certificates import Authority
from lab.standins.kakao import REFRESH_SECONDS, Kakao, serving
from ops.paths import ROOT
from tests.support import database, mail, skyvern_wheel

FOLDER = ROOT / "images/monitor"
SEOUL = ZoneInfo("Asia/Seoul")
NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)  # a Friday, 12:00 in Seoul
HOSTILE = [
    "<script>alert(1)</script>",
    '=HYPERLINK("http://evil.example","x")',
    "한글" * 5000,
    "\u202eevil\u202c",
    "+1\n2",
    "\x1b[31m",
]


# --- Days and schedules ------------------------------------------------------------------------------------------------------


def test_days_begin_in_the_stacks_time_zone(monitor: SimpleNamespace) -> None:
    # 01:00 of the 28th in Seoul.
    span = monitor.queries.last_days(7, SEOUL, datetime(2026, 11, 27, 16, 0, tzinfo=UTC))
    assert (span.since.isoformat(), span.until.isoformat()) == ("2026-11-22T00:00:00+09:00", "2026-11-29T00:00:00+09:00")


def test_a_day_of_25_hours_is_one_day(monitor: SimpleNamespace) -> None:
    span = monitor.queries.last_days(1, ZoneInfo("Europe/Berlin"), datetime(2026, 10, 25, 12, 0, tzinfo=UTC))
    assert span.until.astimezone(UTC) - span.since.astimezone(UTC) == timedelta(hours=25)


def schedule(**changes: Any) -> dict[str, Any]:
    """Each working day at 9 in Seoul, made a month ago, and run today in time."""
    return {
        "schedule": "wfs_1",
        "enabled": True,
        "cron": "0 9 * * 1-5",
        "every_seconds": None,
        "first": None,
        "once": None,
        "timezone": "Asia/Seoul",
        "modified": NOW - timedelta(days=30),
        "last": datetime(2026, 11, 27, 0, 0, 9, tzinfo=UTC),
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, []),
        # The run of Wednesday was the last one.
        ({"last": datetime(2026, 11, 25, 0, 0, 5, tzinfo=UTC)}, ["2026-11-26T00:00", "2026-11-27T00:00"]),
        # Changed this morning: Skyvern does not look behind that.
        ({"last": None, "modified": datetime(2026, 11, 27, 1, 0, tzinfo=UTC)}, []),
        ({"last": None, "enabled": False}, []),
        # Every hour from a first time; the tick of 12:00 is seconds old.
        (
            {
                "cron": None,
                "every_seconds": 3600,
                "first": datetime(2026, 11, 27, 0, 0, tzinfo=UTC),
                "last": datetime(2026, 11, 27, 0, 0, 5, tzinfo=UTC),
            },
            ["2026-11-27T01:00", "2026-11-27T02:00"],
        ),
        ({"cron": None, "once": NOW - timedelta(hours=1), "last": None}, ["2026-11-27T02:00"]),
        ({"cron": None, "once": NOW - timedelta(hours=1), "last": NOW - timedelta(hours=1)}, []),
        ({"cron": None, "once": NOW + timedelta(hours=1), "last": None}, []),
    ],
)
def test_missed_ticks(monitor: SimpleNamespace, changes: dict[str, Any], missed: list[str]) -> None:
    due = monitor.schedules.due(schedule(**changes), NOW - timedelta(days=7), NOW)
    assert [f"{tick:%Y-%m-%dT%H:%M}" for tick in due.missed] == missed


def test_the_next_tick_is_skyverns(monitor: SimpleNamespace) -> None:
    assert monitor.schedules.due(schedule(), NOW - timedelta(days=7), NOW).next == datetime(2026, 11, 30, 0, 0, tzinfo=UTC)
    assert monitor.schedules.due(schedule(enabled=False), NOW - timedelta(days=7), NOW).next is None


# --- Spending ----------------------------------------------------------------------------------------------------------------


def test_days_that_are_over_are_asked_for_once(monitor: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the sum is that of asking for all of it."""
    queries, asked = monitor.queries, []
    calls = [NOW - timedelta(hours=7 * number) for number in range(100)]

    def answer(_: Any, query: str, values: dict[str, Any]) -> list[dict[str, Any]]:
        asked.append((values["since"], values["until"]))
        number = sum(values["since"] <= at < values["until"] for at in calls)
        row = {"workflow": "wpid_1", "model": "gpt", "cost": 0.5 * number, "input_tokens": number, "output_tokens": number}
        return [{**row, "calls": number, "unpriced": 0}] if number else []

    monkeypatch.setattr(queries.Reader, "_all", answer)
    past = queries.Past()
    for days in (1, 2, 7, 30):
        span = queries.last_days(days, SEOUL, NOW)
        whole = queries.Reader(None).spending("o_1", span)
        assert queries.Reader(None, past).spending("o_1", span) == whole
        asked.clear()
        assert queries.Reader(None, past).spending("o_1", span) == whole
        assert [until - since for since, until in asked] == [timedelta(days=min(days, 2))]
    # The next day it is asked for anew.
    span = queries.last_days(30, SEOUL, NOW + timedelta(days=1))
    asked.clear()
    queries.Reader(None, past).spending("o_1", span)
    assert [(until - since).days for since, until in asked] == [5, 5, 5, 5, 5, 3, 2]


def test_a_piece_that_was_answered_is_kept_where_the_next_one_takes_too_long(monitor: SimpleNamespace) -> None:
    past = monitor.queries.Past()
    asked: list[tuple[datetime, datetime]] = []
    span = monitor.queries.last_days(30, SEOUL, NOW)

    def ask(since: datetime, until: datetime) -> list[dict[str, Any]]:
        if len(asked) == 3:
            asked.append((since, until))
            raise TimeoutError
        asked.append((since, until))
        return []

    with pytest.raises(TimeoutError):
        past.get("o_1", span.since, span.until, ask)
    past.get("o_1", span.since, span.until, ask)
    assert [(until - since).days for since, until in asked] == [5] * 7
    # The one that failed was asked for twice, and together they are the whole time.
    assert asked[3] == asked[4]
    assert (asked[0][1], asked[-1][0]) == (span.until, span.since)


def test_the_days_that_are_over_are_asked_for_before_a_person_does(
    monitor: SimpleNamespace, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once at the start and once after each midnight in Seoul, and again where the database did not answer."""
    queries, asked, answers = monitor.queries, [], [False, True, True]

    class Database(queries.Reader):  # type: ignore[misc,name-defined]  # of the image
        def ready(self) -> bool:
            return True

        def _all(self, query: str, values: dict[str, Any]) -> list[dict[str, Any]]:
            asked.append((values["until"] - values["since"]).days)
            return []

    @contextmanager
    def reading(_: str, past: Any) -> Iterator[Any]:
        if not answers.pop(0):
            raise queries.psycopg.Error
        yield Database(None, past)

    monkeypatch.setattr(queries, "reading", reading)
    past = queries.Past()
    ahead = monitor.ahead.Ahead(config, past)
    ahead.turn(NOW)
    assert asked == []
    ahead.turn(NOW + timedelta(minutes=1))
    # Of each organisation the days that pages ask for, and 88 once: the longer periods have the pieces of the shorter ones, and
    # two that are cut off.
    assert max(asked) == 5
    assert sum(asked) == 2 * (1 + 3 * 2 + 88 + 3)
    # A page asks for two days; and nothing is asked again before midnight, which is in 12 hours.
    asked.clear()
    ahead.turn(NOW + timedelta(hours=11, minutes=59))
    for who in config.organizations.values():
        Database(None, past).spending(who, queries.last_days(90, SEOUL, NOW))
    assert asked == [2, 2]
    ahead.turn(NOW + timedelta(hours=12))
    assert answers == []
    assert sum(asked) > 2 * 88


# --- Tables ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("title", HOSTILE)
def test_no_text_is_a_formula_or_steers_the_reader(monitor: SimpleNamespace, title: str) -> None:
    cell = monitor.tables.cell("text", title, SEOUL, str)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert not set(cell) & set("\u202e\u202c\x1b\n\r\t")
    assert len(monitor.tables.short(title)) <= 120


def test_a_number_stays_a_number_in_csv(monitor: SimpleNamespace) -> None:
    assert monitor.tables.cell("dollars", 0.00012, SEOUL, str) == "0.00012"
    assert monitor.tables.cell("count", -1, SEOUL, str) == "-1"
    assert monitor.tables.cell("dollars", None, SEOUL, str) == ""


def test_unknown_values_come_last_in_either_order(monitor: SimpleNamespace) -> None:
    column = monitor.tables.Column("cost", "Cost", "dollars")
    rows = [{"cost": None}, {"cost": 1.0}, {"cost": 2.0}]
    table = monitor.tables.Table(key="spending", title="", columns=[column], rows=rows, empty="", order="cost")
    assert [row["cost"] for row in table.sorted("-cost")[1]] == [2.0, 1.0, None]
    assert [row["cost"] for row in table.sorted(None)[1]] == [1.0, 2.0, None]
    assert table.sorted("password")[0] == "cost"


# --- The page ----------------------------------------------------------------------------------------------------------------


class Reader:
    """A database with one workflow for each hostile title."""

    def titles(self, _: str) -> dict[str, str]:
        return {f"wpid_{number}": title for number, title in enumerate(HOSTILE)}

    def statistics(self, selection: Any) -> Any:
        counts = {"completed": 6, "failed": 2, "terminated": 1, "timed_out": 1, "canceled": 3, "unfinished": 1, "runs": 14}
        row = {**counts, "median": 65.0, "p95": 700.5, "queue": 0.25}
        day = {**counts, "day": selection.span.since.date()}
        by_workflow = [{**row, "workflow": workflow} for workflow in self.titles("")]
        return sys.modules["queries"].Statistics(total=row, by_workflow=by_workflow, by_day=[day])

    def failures(self, _: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        why = {"category": "<b>", "codes": "LOGIN_EXPIRED", "interrupted": False}
        return [{"run": "wr_1", "workflow": "wpid_0", "status": "failed", "finished": NOW, **why}], [{"runs": 4, **why}]

    def spending(self, *_: Any) -> list[dict[str, Any]]:
        tokens = {"input_tokens": 1000, "output_tokens": 10, "calls": 1}
        return [
            {"workflow": "wpid_0", "model": "gpt", "cost": 0.5, "unpriced": 0, **tokens},
            {"workflow": "wpid_1", "model": "qwen", "cost": 0.0, "unpriced": 1, **tokens},
        ]

    def schedules(self, _: str) -> list[dict[str, Any]]:
        return [{**schedule(), "name": HOSTILE[0], "workflow": "wpid_0"}]


@pytest.mark.parametrize("language", ["en", "ko"])
def test_hostile_titles_are_text(monitor: SimpleNamespace, config: Any, language: str) -> None:
    request = monitor.dashboard.read({"period": "30", "sort_workflows": "title"})
    page = monitor.dashboard.page(config, request, language, monitor.dashboard.gather(Reader(), config, request, NOW))
    assert "<script" not in page
    assert "style=" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\u202e" not in page
    assert "한글" * 200 not in page
    assert "60.0 %" in page  # 6 of 6 + 2 + 1 + 1; three were canceled
    assert ("알 수 없음" if language == "ko" else "unknown") in page
    assert 'href="/runs/wr_1"' in page


def test_every_word_of_the_page_is_there_in_korean(monitor: SimpleNamespace, config: Any) -> None:
    """An unknown one is a KeyError: also of the answers without facts, and of an empty database."""
    request = monitor.dashboard.read({})
    for problem in (line for line in monitor.texts.KOREAN if line.startswith(("The database", "Skyvern has"))):
        assert monitor.texts.KOREAN[problem] in monitor.dashboard.page(config, request, "ko", None, problem)
    for status in (*monitor.queries.ENDED, *monitor.queries.UNFINISHED):
        assert monitor.texts.KOREAN[status]


def test_an_address_is_read_or_left_out(monitor: SimpleNamespace) -> None:
    wrong = {"period": "400", "who": "all", "workflow": "x' OR 1=1", "result": "won", "lang": "de", "sort_users": "name"}
    assert monitor.dashboard.read(wrong).address() == "/dashboard"
    right = {"period": "30", "workflow": "wpid_1", "sort_workflows": "-rate"}
    assert monitor.dashboard.read(right).address() == "/dashboard?period=30&workflow=wpid_1&sort_workflows=-rate"


@pytest.mark.parametrize(
    ("setting", "asked", "accepted", "language"),
    [
        ("ko", None, "en-US", "ko"),
        ("browser", None, "ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        ("browser", None, "de-DE,de;q=0.9", "en"),
        ("en", "ko", "en", "ko"),
    ],
)
def test_the_language(monitor: SimpleNamespace, setting: str, asked: str | None, accepted: str, language: str) -> None:
    assert monitor.texts.choose(setting, asked, accepted) == language


def test_the_chart_adds_up(monitor: SimpleNamespace, config: Any) -> None:
    request = monitor.dashboard.read({})
    facts = monitor.dashboard.gather(Reader(), config, request, NOW)
    chart = monitor.charts.by_day(facts.statistics.by_day, facts.span, {"completed": "C", "failed": "F", "other": "O"})
    assert [bar.label.split(": ")[1] for bar in chart.bars] == ["C 6", "F 4", "O 4"]
    assert chart.lines[-1][1] == "20"
    assert sum(bar.height for bar in chart.bars) == pytest.approx((220 - 24 - 10) * 14 / 20, abs=0.2)


@pytest.mark.parametrize(
    ("seconds", "english", "korean"),
    [
        (0.04, "0.0 s", "0.0초"),
        (59.7, "1 min 00 s", "1분 00초"),
        (65, "1 min 05 s", "1분 05초"),
        (7800, "2 h 10 min", "2시간 10분"),
    ],
)
def test_durations(monitor: SimpleNamespace, seconds: float, english: str, korean: str) -> None:
    assert monitor.tables.duration(seconds, str) == english
    assert monitor.tables.duration(seconds, monitor.texts.translator("ko")) == korean


# --- Alerts ------------------------------------------------------------------------------------------------------------------


class Told:
    """A memory and its looks, each a minute after the last one unless said otherwise; what was told, look by look."""

    def __init__(self, monitor: SimpleNamespace) -> None:
        self.alerts = monitor.alerts
        self.memory = monitor.alerts.Memory()
        self.at = NOW
        self.look()

    def look(self, *causes: str, failed: int = 0, kind: str = "failed", title: str = "Blog", minutes: int = 1) -> list[str]:
        self.at += timedelta(minutes=minutes)
        failures = [self.alerts.Failure(kind, title, f"wr_{number}", self.at) for number in range(failed)]
        conditions = [self.alerts.Condition(cause, cause) for cause in causes]
        lines = self.alerts.step(self.memory, self.alerts.Look(self.at, conditions, failures), str, SEOUL)
        return [text for text, _ in lines]

    def pass_time(self, minutes: int, *causes: str) -> list[str]:
        return [text for _ in range(minutes) for text in self.look(*causes)]


@pytest.fixture
def told(monitor: SimpleNamespace) -> Told:
    return Told(monitor)


def test_a_cause_is_told_once_and_once_more_when_it_is_well(told: Told) -> None:
    assert told.look("disk") == ["disk"]
    assert told.pass_time(300, "disk") == []
    assert told.look() == ["Well again: disk"]
    assert told.pass_time(300) == []


def test_what_comes_and_goes_is_told_once_an_hour(told: Told) -> None:
    lines = [text for _ in range(30) for text in (*told.look("disk"), *told.look())]
    assert lines == ["disk", "Well again: disk"]
    assert told.pass_time(30) == []
    assert told.look("disk") == ["disk"]


def test_a_storm_is_one_line_at_once_and_one_an_hour(told: Told) -> None:
    assert told.look(failed=1) == ["Failed runs (1): Blog"]
    rest = [text for _ in range(59) for text in told.look(failed=500)]
    assert rest == []
    assert told.look() == ["Failed runs (29500): Blog (29500)"]
    assert told.pass_time(59) == ["No run has failed for an hour"]
    assert told.pass_time(300) == []


def test_kinds_of_failures_do_not_wait_for_each_other(told: Told, monitor: SimpleNamespace) -> None:
    assert told.look(failed=1) == ["Failed runs (1): Blog"]
    kind = monitor.alerts.kind_of("NAVER_LOGIN_EXPIRED", False)
    assert told.look(failed=1, kind=kind) == ["Logins expired (1): Blog"]
    assert [monitor.alerts.kind_of(*given) for given in (("CAPTCHA, LOGIN", False), (None, True), (None, False))] == [
        "captcha",
        "interrupted",
        "failed",
    ]


def test_a_night_of_sleep_is_told_together(told: Told) -> None:
    """Also what it missed: a schedule that Skyvern makes up for meanwhile is no alert."""
    assert told.look("schedule", "backup", failed=2, minutes=480) == []
    assert told.pass_time(19, "backup") == []
    assert told.look("backup") == ["The machine was off 12:01 to 20:01", "backup", "Failed runs (2): Blog (2)"]
    assert told.pass_time(30, "backup") == []


def test_a_restart_forgets_nothing(told: Told, monitor: SimpleNamespace, config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = monitor.dashboard.replace(config, channels={"tgram": "tgram://x", "slack": "slack://y"})
    sent: list[tuple[str, int]] = []
    down = {"slack"}

    def deliver(_: Any, name: str, lines: Any, __: Any) -> str | None:
        if name in down:
            return "does not take the message"
        sent.append((name, len(lines)))
        return None

    conditions: list[str] = []
    monkeypatch.setattr(monitor.watch, "deliver", deliver)
    monkeypatch.setattr(
        monitor.watch.Watch,
        "look",
        lambda _, now: monitor.alerts.Look(now, [monitor.alerts.Condition(one, one) for one in conditions], []),
    )
    for minute in range(60):
        # A new process each minute.
        conditions[:] = ["disk"] if 5 <= minute < 20 else []
        if minute == 50:
            down.clear()
        monitor.watch.Watch(settings).turn(NOW + timedelta(minutes=minute))
    assert sent == [("tgram", 1), ("tgram", 1), ("slack", 2)]


def test_what_was_being_sent_at_a_kill_is_not_sent_again(monitor: SimpleNamespace, config: Any) -> None:
    watch = monitor.watch.Watch(config)
    watch.waiting = {"tgram": [["disk", "/dashboard"]], "slack": [["disk", "/dashboard"]]}
    watch.save(sending="tgram")
    assert monitor.watch.Watch(config).waiting == {"tgram": [], "slack": [["disk", "/dashboard"]]}


@pytest.mark.parametrize(
    ("hours", "at", "is_quiet"),
    [("23:00-07:00", 2, True), ("23:00-07:00", 7, False), ("12:00-13:00", 12, True), ("12:00-13:00", 2, False), (None, 2, False)],
)
def test_quiet_hours(monitor: SimpleNamespace, hours: str | None, at: int, is_quiet: bool) -> None:
    assert monitor.alerts.quiet(hours, datetime(2026, 11, 27, at, 0, tzinfo=SEOUL)) is is_quiet


@pytest.mark.parametrize("title", [*HOSTILE, "<!channel> @everyone [x](http://evil.example)", "`rm`"])
@pytest.mark.parametrize("longest", [200, 1000])
def test_a_message_fits_and_its_titles_mean_nothing(monitor: SimpleNamespace, title: str, longest: int) -> None:
    line = f"Failed runs (1): {monitor.alerts.titles({title: 1})}"
    text = monitor.alerts.message([(line, "/runs/wr_1")] * 9, "prod", "https://app.example.com", str, longest)
    assert len(text) <= longest
    assert text.endswith("\nhttps://app.example.com/dashboard")
    assert not set(text.rpartition("\n")[0]) & set("<>@`\u202e\x1b")


def test_channels_are_named_by_kind(monitor: SimpleNamespace) -> None:
    assert list(monitor.config.named(["tgram://a/b", "mailtos://c", "tgram://d/e"])) == ["tgram", "mailtos", "tgram 2"]


def test_every_line_is_there_in_korean(monitor: SimpleNamespace) -> None:
    say = monitor.texts.translator("ko")
    for text, well in monitor.alerts._KINDS.values():
        assert say(text).count("{}") == text.count("{}")
        assert say(well)


def test_a_channel_gets_the_message_and_a_failure_names_no_key(monitor: SimpleNamespace, config: Any) -> None:
    """By apprise itself, whose JSON channel takes any address, to a server of the test."""
    received: list[dict[str, Any]] = []

    class Channel(loopback.Handler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if self.path == "/down" else 200)
            self.end_headers()

    with loopback.serving(Channel) as port:
        urls = [f"json://user:hunter2@127.0.0.1:{port}/{path}" for path in ("up", "down")]
        settings = monitor.dashboard.replace(config, channels=monitor.config.named([*urls, "nosuch://hunter2"]))
        lines = [("Failed runs (1): 블로그", "/runs/wr_1")]
        problems = [monitor.watch.deliver(settings, name, lines, str) for name in settings.channels]
    assert received[0]["message"] == "[dev] Failed runs (1): 블로그\nhttp://localhost:8080/runs/wr_1"
    assert problems == [None, "does not take the message", "is not an address that apprise knows"]


PINGS = "<!channel> <@U1> @everyone @here"
MARKUP = "*b* `c` [x](http://evil.example) <a href='http://evil.example'>y</a>"


@pytest.mark.parametrize("title", [*HOSTILE, PINGS, MARKUP], ids=range(len(HOSTILE) + 2))
@pytest.mark.parametrize(
    ("kind", "url", "plugin", "address", "path", "text"),
    [
        ("tgram", "tgram://123456789:abcdefg_hijklmnop/12315544/", "telegram", "notify_url", "/bot", "text"),
        ("slack", "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/", "slack", "webhook_url", "", "attachments"),
        ("discord", "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js/", "discord", "notify_url", "", "content"),
    ],
)
def test_a_hostile_title_is_text_in_every_channel(
    title: str, kind: str, url: str, plugin: str, address: str, path: str, text: str, monitor: SimpleNamespace, config: Any
) -> None:
    """By apprise's own plugins, to a server of the test that takes what the channel's API takes."""
    received: list[dict[str, Any]] = []

    class Channel(loopback.Handler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(json.loads(body))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b"ok" if kind == "slack" else b'{"ok": true, "result": []}')

    line = monitor.alerts._KINDS["failed"][0].format(1, monitor.alerts.titles({title: 1}))
    with loopback.serving(Channel) as port, pytest.MonkeyPatch.context() as patch:
        sender = monitor.watch.sender_of(config, url)
        (channel,) = sender
        patch.setattr(type(channel), address, f"http://127.0.0.1:{port}{path}")
        patch.setattr(type(channel), "request_rate_per_sec", 0)
        settings = monitor.dashboard.replace(config, channels={kind: url})
        assert monitor.watch.deliver(settings, kind, [(line, "/runs/wr_1")], str) is None
    (sent,) = received
    shown = json.dumps(sent[text], ensure_ascii=False)
    assert "Failed runs (1): " in shown
    assert "http://localhost:8080/runs/wr_1" in shown
    # Neither a call of a whole channel, nor markup, nor a character that steers.
    for wrong in ("<!", "<@", "@everyone", "@here", "<a ", "<script", "](", "`", "\u202e", "\\u001b", "\x1b"):
        assert wrong not in shown, (wrong, shown)
    assert len(shown) < 2000
    assert sent.get("parse_mode") in {None, "HTML"}


# What would be a header, a second message or a command of its own, if a line of the title were one of the wire.
WIRE = [
    "x\r\nBcc: victim@evil.example\r\nX: y",
    "x\n\n<b>body</b>",
    "\r\n.\r\nRCPT TO:<victim@evil.example>\r\nDATA\r\n",
    "\u2028Bcc: victim@evil.example\u2029\x85Bcc: victim@evil.example\x0bBcc: victim@evil.example",
    "=?utf-8?B?DQpCY2M6IHZpY3RpbUBldmlsLmV4YW1wbGU=?=",
    "a " * 5000,
    "\u2067\u05d0\u05d1\u2069 \u0627\u0644 \U0001f600",
    ".",
]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("title", [*HOSTILE, *WIRE, PINGS, MARKUP, "Blog"], ids=range(len(HOSTILE) + len(WIRE) + 3))
def test_a_hostile_title_is_text_in_a_mail(
    title: str, language: str, authority: Authority, monitor: SimpleNamespace, config: Any
) -> None:
    """By apprise's own plugin to a mail server that keeps each byte: one message, to its one address, with headers of its own."""
    say = monitor.texts.translator(language)
    shown = monitor.alerts.titles({title: 1})
    line = say(monitor.alerts._KINDS["failed"][0]).format(1, shown)
    with mail.serving(authority, "localhost") as box:
        address = f"mailtos://user:hunter2@localhost:{box.port}/?from=alerts@example.com&to=owner@example.com&verify=no"
        settings = monitor.dashboard.replace(config, channels={"mailtos": address})
        for lines in ([(line, "/runs/wr_1")], [(line, "/runs/wr_1")] * 9):
            assert monitor.watch.deliver(settings, "mailtos", lines, say) is None
    assert box.logins == [("user", "hunter2")] * 2
    envelope = [command.partition(" ")[0].upper() for command in box.commands]
    assert (envelope.count("MAIL"), envelope.count("RCPT"), envelope.count("DATA")) == (2, 2, 2)
    assert {command for command in box.commands if command.upper().startswith("RCPT")} == {"rcpt TO:<owner@example.com>"}
    for raw, more in zip(box.raw, ("", " (+8)"), strict=True):
        head, _, _ = raw.partition(b"\r\n\r\n")
        # Seven bits and short lines (RFC 5322 2.1.1), without a bare CR or LF, which some servers take for an end.
        assert all(line.isascii() and len(line) <= 998 for line in raw.split(b"\r\n"))
        assert not re.search(rb"\r(?!\n)|(?<!\r)\n", raw)
        names = [line.partition(b":")[0].decode().lower() for line in head.split(b"\r\n") if line[:1] not in b" \t"]
        assert len(names) == len(set(names))
        assert set(names) <= {
            *("content-type", "mime-version", "content-transfer-encoding", "subject", "from", "to"),
            *("message-id", "date", "x-application"),
        }
        message = email.message_from_bytes(raw, policy=email.policy.default)
        subject = message["Subject"]
        assert subject == " ".join(f"[dev] {line}".split()) + more
        assert subject.isprintable()
        assert len(subject) <= 160
        # No HTML, in which a title could be markup.
        assert (message.get_content_type(), message.is_multipart()) == ("text/plain", False)
        text = message.get_content()
        assert shown in text
        assert "http://localhost:8080/" in text
        for wrong in ("<script", "<a href='http://evil", "<b>body", "\u202e", "\u2067", "\x1b"):
            assert wrong not in text + subject, (wrong, text)


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("title", [*HOSTILE, *WIRE, PINGS, MARKUP], ids=range(len(HOSTILE) + len(WIRE) + 2))
def test_a_hostile_title_fits_into_kakaotalk(
    title: str, language: str, monitor: SimpleNamespace, config: Any, kakao: Kakao
) -> None:
    """The stand-in refuses more than 200 characters; the link is within them."""
    say = monitor.texts.translator(language)
    line = say(monitor.alerts._KINDS["failed"][0]).format(
        900, monitor.alerts.titles({f"{title}{number}": 300 for number in range(3)})
    )
    for lines in ([(line, "/runs/wr_1")], [(line, "/runs/wr_1")] * 9):
        assert monitor.watch.deliver(kakao_channel(monitor, config, kakao), "kakaotalk", lines, say) is None
    for message, path in zip(kakao.messages, ("/runs/wr_1", "/dashboard"), strict=True):
        head, _, link = message["text"].rpartition("\n")
        assert head.startswith("[dev] ")
        # Not cut off, whatever is before it.
        assert link == f"http://localhost:8080{path}"
        assert not set(head) & set("<>@`\u202e\u2067\x1b\r\x0b\x85\u2028")
        assert len(message["text"]) <= 200


# --- Summary -----------------------------------------------------------------------------------------------------------------


class Asked(Reader):
    """With what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def statistics(self, selection: Any) -> Any:
        self.asked.append(selection)
        return super().statistics(selection)

    def spending(self, *values: Any) -> list[dict[str, Any]]:
        self.asked.append(values)
        return super().spending(*values)


def test_the_summary_has_the_numbers_of_the_dashboard(monitor: SimpleNamespace, config: Any) -> None:
    class Today(Asked):
        def schedules(self, _: str) -> list[dict[str, Any]]:
            wednesday = datetime(2026, 11, 25, 0, 0, 5, tzinfo=UTC)
            made = [schedule(last=wednesday), schedule(last=wednesday, enabled=False), schedule()]
            return [{**made, "name": None, "workflow": f"wpid_{number}"} for number, made in enumerate(made)]

    ours, pages = Today(), Today()
    document = monitor.summary.today(ours, config, NOW)
    facts = monitor.dashboard.gather(pages, config, monitor.dashboard.read({"period": "today"}), NOW)
    assert ours.asked == pages.asked[:1]
    total = facts.statistics.total
    assert document == {
        "runs": total["runs"],
        "completed": total["completed"],
        "failed": total["failed"] + total["terminated"] + total["timed_out"],
        "unfinished": total["unfinished"],
        "success_rate": 0.6,
        "missed_schedules": [monitor.alerts.harmless(HOSTILE[0])],
    }
    assert json.loads(json.dumps(document)) == document


def test_a_period_has_the_numbers_of_the_dashboard(monitor: SimpleNamespace, config: Any) -> None:
    ours, pages = Asked(), Asked()
    document = monitor.summary.period(ours, config, 30, NOW)
    facts = monitor.dashboard.gather(pages, config, monitor.dashboard.read({"period": "30"}), NOW)
    assert ours.asked == pages.asked
    assert document == {
        "days": 30,
        "runs": facts.statistics.total["runs"],
        "completed": 6,
        "failed": 2 + 1 + 1,
        "cost": facts.cost,
        "input_tokens": 2000,
        "output_tokens": 20,
        "unpriced": 1,
    }
    assert json.loads(json.dumps(document)) == document


# --- KakaoTalk ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def kakao(monitor: SimpleNamespace) -> Iterator[Kakao]:
    """Kakao's hosts are a stand-in, which takes what they take."""
    from apprise.plugins import kakaotalk  # type: ignore[import-not-found]  # of the image, by the fixture ``monitor``

    there = Kakao(secret="5ecret", refresh={"first": REFRESH_SECONDS})
    with serving(there) as address, pytest.MonkeyPatch.context() as patch:
        patch.setattr(kakaotalk.NotifyKakaoTalk, "token_url", f"{address}/oauth/token")
        patch.setattr(kakaotalk.NotifyKakaoTalk, "notify_me_url", f"{address}/v2/api/talk/memo/default/send")
        patch.setattr(kakaotalk.NotifyKakaoTalk, "request_rate_per_sec", 0)
        yield there


def kakao_channel(monitor: SimpleNamespace, config: Any, there: Kakao) -> Any:
    return monitor.dashboard.replace(config, channels={"kakaotalk": f"kakaotalk://5ecret@{there.key}/first"})


def test_a_message_to_oneself_has_no_more_characters_than_kakao_takes(
    monitor: SimpleNamespace, config: Any, kakao: Kakao
) -> None:
    settings = kakao_channel(monitor, config, kakao)
    lines = [(f"실패한 실행(1건): {'블로그 ' * 20}{number}", "/dashboard") for number in range(9)]
    assert monitor.watch.deliver(settings, "kakaotalk", lines, str) is None
    (message,) = kakao.messages
    assert 150 < len(message["text"]) <= 200
    assert message["text"].endswith("\nhttp://localhost:8080/dashboard")


def test_a_token_that_nothing_uses_is_renewed_and_kept_on_the_volume(
    monitor: SimpleNamespace, config: Any, kakao: Kakao, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = monitor.watch.Watch(kakao_channel(monitor, config, kakao))
    watch.renew(NOW)
    assert set(kakao.refresh) == {"first"}
    # In its last month Kakao gives another one, and takes the first no more.
    kakao.refresh["first"] = 20 * 86400
    watch.renew(NOW + timedelta(hours=1))
    assert set(kakao.refresh) == {"first"}
    watch.renew(NOW + timedelta(days=1))
    (second,) = kakao.refresh
    assert second != "first"
    # After a restart with the token of the stack file, which is the first one.
    again = monitor.watch.Watch(kakao_channel(monitor, config, kakao))
    again.renew(NOW + timedelta(days=2))
    assert kakao.asked[-1]["refresh_token"] == second
    assert monitor.watch.deliver(again.config, "kakaotalk", [("Well", "/dashboard")], str) is None
    assert capsys.readouterr().out == ""

    kakao.refresh.clear()
    again.renew(NOW + timedelta(days=3))
    assert "kakaotalk: does not renew its token; add it again with ops alerts kakao" in capsys.readouterr().out


# --- Saved time --------------------------------------------------------------------------------------------------------------


def test_saved_time_is_completed_runs_times_minutes_and_only_where_a_file_names_them(
    monitor: SimpleNamespace, config: Any
) -> None:
    titles = {"wpid_1": "블로그", "wpid_2": "가나" * 150, "wpid_3": "Other"}
    rows = [{"workflow": f"wpid_{number}", "completed": completed} for number, completed in ((1, 4), (2, 3), (3, 9), (4, 5))]
    minutes = {"블로그": 15, "가나" * 200: 0.5, "Gone": 60}
    assert monitor.queries.saved_seconds(rows, titles, minutes) == 60 * (4 * 15 + 3 * 0.5)

    request = monitor.dashboard.read({"period": "30"})
    page = monitor.dashboard.page(config, request, "en", monitor.dashboard.gather(Reader(), config, request, NOW))
    assert "Saved time" not in page
    named = monitor.dashboard.replace(config, minutes_by_hand={HOSTILE[0]: 30})
    facts = monitor.dashboard.gather(Reader(), named, request, NOW)
    assert facts.saved_seconds == 60 * 30 * sum(
        row["completed"] for row in facts.statistics.by_workflow if facts.titles[row["workflow"]] == HOSTILE[0]
    )
    assert facts.saved_seconds > 0
    saved = monitor.tables.duration(facts.saved_seconds, str)
    assert f'<dd id="saved">{saved}</dd>' in monitor.dashboard.page(named, request, "en", facts)


# --- Skyvern's tables --------------------------------------------------------------------------------------------------------


def test_the_tables_are_those_of_the_pinned_skyvern() -> None:
    """Its models have the same columns; after another version, take tables and indexes from a migrated database again."""
    written = {}
    for part in database.TABLES.read_text().split("CREATE TABLE ")[1:]:
        name, _, rest = part.partition(" (\n")
        written[name] = {line.split()[0].strip('"') for line in rest.partition("\n);")[0].splitlines()}
    models = {
        "observer_thoughts": "ThoughtModel",
        "steps": "StepModel",
        "tasks": "TaskModel",
        "workflow_run_blocks": "WorkflowRunBlockModel",
        "workflow_runs": "WorkflowRunModel",
        "workflow_schedules": "WorkflowScheduleModel",
        "workflows": "WorkflowModel",
    }
    for table, model in models.items():
        body = skyvern_wheel.class_body("skyvern/forge/sdk/db/models.py", model)
        columns = set()
        for node in body:
            calls = [call for call in ast.walk(node) if isinstance(call, ast.Call) and ast.unparse(call.func) == "Column"]
            if calls and isinstance(node, ast.Assign | ast.AnnAssign):
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                own = next((argument.value for argument in calls[0].args if isinstance(argument, ast.Constant)), None)
                columns.add(own or ast.unparse(target))
        assert len(columns) > 15
        # One has it from a mixin.
        assert columns | {"deleted_at"} == written[table] | {"deleted_at"}, table
