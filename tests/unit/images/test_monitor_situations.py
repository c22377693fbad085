"""What a person gets in planted situations: rows, clocks and faults of a stack, look by look, down to the messages.

The database, the gateway, certificates and the channels are doubles; the looks, the memory on the disk and the texts are real.
"""

import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.monitor import config as make_config

# A Friday, 12:00 in Seoul.
NOON = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)
FRESH = date(2026, 11, 20)


class Stack:
    """A stack to plant faults in. Its clock moves when it is asked to."""

    def __init__(self, monitor: SimpleNamespace, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.monitor, self.state, self.backup, self.started = monitor, folder / "state", folder / "backup", folder / "started"
        self.state.mkdir()
        self.backup.mkdir()
        self.settings = {
            "channels": {"slack": "slack://x"},
            "backup": self.backup,
            "started": self.started,
            "drill_days": 7,
            "refreshed": FRESH,
            "language": "en",
            **settings,
        }
        self.now = NOON
        self.messages: list[str] = []
        self.rows: dict[str, list[dict[str, Any]]] = {"unfinished": [], "schedules": [], "failures": []}
        self.began = self.sessions = NOON - timedelta(days=3)
        self.database = self.server = self.channel = True
        self.free = 0.5
        self.ends: dict[str, datetime | None] = {"address": None, "company": None}
        self.keep(status={"newest": {"time": 0}}, drill={"verdict": "passed"}, host={"secrets": -30, "kit": -20})
        watch = monitor.watch
        monkeypatch.setattr(monitor.queries, "reading", self.reading)
        monkeypatch.setattr(monitor.heartbeat, "server_answers", lambda _: self.server and self.database)
        self.gateway_began: datetime | None = self.began
        monkeypatch.setattr(monitor.heartbeat, "gateway_started", lambda: self.gateway_began)
        monkeypatch.setattr(monitor.machine, "disk", lambda _: monitor.machine.Disk(free=int(self.free * 100), total=100))
        monkeypatch.setattr(monitor.certificates, "of_address", lambda _: self.ends["address"])
        monkeypatch.setattr(monitor.certificates, "of_company", lambda: self.ends["company"])
        monkeypatch.setattr(watch, "deliver", self.deliver)
        self.watch = watch.Watch(make_config(monitor, self.state, **self.settings))
        # What was so before the first look is no news.
        self.look()

    # --- What the doubles answer

    @contextmanager
    def reading(self, _: str) -> Iterator["Stack"]:
        if not self.database:
            raise self.monitor.watch.psycopg.Error
        yield self

    def ready(self) -> bool:
        return True

    def titles(self, _: str) -> dict[str, str]:
        return {"wpid_1": "Blog", "wpid_2": "<!channel> Orders"}

    def unfinished(self, _: str) -> list[dict[str, Any]]:
        return self.rows["unfinished"]

    def schedules(self, _: str) -> list[dict[str, Any]]:
        return self.rows["schedules"]

    def failures(self, *_: Any, **__: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        return self.rows["failures"], []

    def starts(self) -> Mapping[str, datetime]:
        return {"database": self.began, "sessions": self.sessions}

    def deliver(self, config: Any, name: str, lines: Sequence[tuple[str, str]], say: Any) -> str | None:
        if not self.channel:
            return "does not take the message"
        text = self.monitor.alerts.message(lines, config.stack, config.app_url, say)
        self.messages.append(text.removeprefix("[dev] ").rpartition("\n")[0])
        return None

    # --- What can happen

    def keep(self, **files: Mapping[str, Any]) -> None:
        """Writes the notes of backup, drill and host commands; numbers are days from now."""

        def at(days: float | None) -> datetime | None:
            return None if days is None else self.now + timedelta(days=days)

        if status := files.get("status"):
            newest = status.get("newest")
            document = {
                "problem": status.get("problem", ""),
                "max_age_hours": 26,
                "since": (self.now + timedelta(days=status.get("since", -3))).timestamp(),
                "newest": newest and {"time": (self.now + timedelta(days=newest["time"])).timestamp()},
            }
            (self.backup / "status.json").write_text(json.dumps(document))
        if drill := files.get("drill"):
            good = at(drill.get("good", 0))
            noted = {"at": self.now.isoformat(), "verdict": drill["verdict"], "last_good": good and good.isoformat()}
            (self.backup / "drill.json").write_text(json.dumps(noted))
        if host := files.get("host"):
            times = {name: None if (when := at(host[name])) is None else when.isoformat() for name in ("secrets", "kit")}
            (self.state / "host.json").unlink(missing_ok=True)
            self.monitor.watch.record(self.state, json.dumps(times))
            # A machine that has made none does not take it away.
            self.monitor.watch.record(self.state, json.dumps({**times, "kit": None}))

    def fail(self, number: int = 1, codes: str | None = None, workflow: str = "wpid_1", interrupted: bool = False) -> None:
        for count in range(number):
            self.rows["failures"].append(
                {
                    "run": f"wr_{len(self.rows['failures'])}",
                    "workflow": workflow,
                    "codes": codes,
                    "interrupted": interrupted,
                    "finished": self.now + timedelta(microseconds=count),
                }
            )

    def run(self, status: str, hours: float) -> None:
        began = self.now - timedelta(hours=hours)
        started = began if status == "running" else None
        self.rows["unfinished"] = [{"run": "wr_1", "workflow": "wpid_1", "status": status, "created": began, "started": started}]

    def end_run(self) -> None:
        self.rows["unfinished"] = []

    def schedule(self, **changes: Any) -> None:
        """Every hour, made a day ago, run at each tick so far."""
        made = self.now - timedelta(days=1)
        self.rows["schedules"] = [
            {
                "schedule": "wfs_1",
                "workflow": "wpid_1",
                "enabled": True,
                "cron": "0 * * * *",
                "every_seconds": None,
                "first": None,
                "once": None,
                "timezone": "Asia/Seoul",
                "modified": made,
                "last": self.now,
                **changes,
            }
        ]

    def restart(self, part: str) -> None:
        if part == "gateway":
            self.gateway_began = self.now
        elif part in {"backup", "connector", "egress"}:
            file = self.backup / "started" if part == "backup" else self.started / part / "at"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            os.utime(file, times=(self.now.timestamp(),) * 2)
        else:
            self.sessions = self.now
        if part == "database":
            self.began = self.now

    def kill(self, **changes: Any) -> None:
        """Another process of the monitor."""
        self.settings |= changes
        self.watch = self.monitor.watch.Watch(make_config(self.monitor, self.state, **self.settings))

    def silence(self, cause: str, hours: float) -> None:
        self.monitor.watch.silence(self.state, cause, self.now + timedelta(hours=hours), self.now)

    def look(self, minutes: int = 1) -> None:
        self.watch.turn(self.now)
        self.now += timedelta(minutes=minutes)

    def wait(self, minutes: int) -> None:
        """Looks every minute; everything that is kept young meanwhile is for the situation to say."""
        for _ in range(minutes):
            self.look()

    def sleep(self, hours: float) -> None:
        self.now += timedelta(hours=hours)


WELL = "Well again: "
NONE_FAILED = "No run has failed for an hour"

Do = tuple[str, tuple[Any, ...], dict[str, Any]]


def do(name: str, *arguments: Any, **keywords: Any) -> Do:
    return name, arguments, keywords


def put(**values: Any) -> Do:
    return "put", (), values


# What happens, step by step, and the messages. At the end two more hours pass, in which nothing may come.
SITUATIONS: Mapping[str, tuple[Sequence[Do], Sequence[str]]] = {
    "all is well": ([do("wait", 300)], []),
    "a run fails": ([do("fail")], ["Failed runs (1): Blog", NONE_FAILED]),
    "five hundred fail at once": ([do("fail", 500)], ["Failed runs (500): Blog (500)", NONE_FAILED]),
    "five hundred fail within an hour": (
        [do("fail"), do("look"), *[step for _ in range(50) for step in (do("fail", 10), do("look"))]],
        ["Failed runs (1): Blog", "Failed runs (500): Blog (500)", NONE_FAILED],
    ),
    "a login has expired": (
        [do("fail", codes="NAVER_LOGIN_EXPIRED")],
        ["Logins expired (1): Blog", "No login was refused for an hour"],
    ),
    "a captcha waits": ([do("fail", codes="CAPTCHA")], ["Captchas that wait for a person (1): Blog", "No captcha for an hour"]),
    "runs are interrupted": (
        [do("fail", 3, interrupted=True)],
        ["Runs interrupted by a stop of the server (3): Blog (3)", "No run was interrupted for an hour"],
    ),
    "a title calls a whole channel": (
        [do("fail", workflow="wpid_2")],
        ["Failed runs (1): \u2039!channel\u203a Orders", NONE_FAILED],
    ),
    "a run does not end": (
        [do("run", "running", 4), do("wait", 90), do("end_run")],
        ["A run does not end: Blog", f"{WELL}A run does not end: Blog"],
    ),
    "a run waits for too long": (
        [do("run", "queued", 4), do("wait", 90), do("end_run")],
        ["A run waits for too long: Blog", f"{WELL}A run waits for too long: Blog"],
    ),
    "a run waits for a person": ([do("run", "paused", 40), do("wait", 90)], []),
    "a long run is within its time": ([do("run", "running", 0.1), do("wait", 60), do("end_run")], []),
    "a schedule is missed and made up for": (
        [do("schedule", last=NOON - timedelta(hours=1)), do("wait", 20), do("schedule", enabled=False)],
        ["A schedule was missed: Blog", f"{WELL}A schedule was missed: Blog"],
    ),
    "a schedule is four minutes late": (
        [do("schedule", last=NOON - timedelta(hours=1)), do("wait", 4), do("schedule", enabled=False)],
        [],
    ),
    "the database restarts for an update": ([put(database=False), do("wait", 4), put(database=True)], []),
    "the database is away": (
        [put(database=False), do("wait", 90), put(database=True)],
        ["The database does not answer", f"{WELL}The database does not answer"],
    ),
    "the database is away while a run does not end": (
        [
            do("run", "running", 4),
            do("wait", 2),
            put(database=False),
            do("wait", 30),
            put(database=True),
            do("wait", 2),
            do("end_run"),
        ],
        [
            "A run does not end: Blog",
            "The database does not answer",
            f"{WELL}The database does not answer",
            f"{WELL}A run does not end: Blog",
        ],
    ),
    "the server restarts for an update": ([put(server=False), do("wait", 4), put(server=True)], []),
    "the server is away": (
        [put(server=False), do("wait", 30), put(server=True)],
        ["Skyvern does not answer", f"{WELL}Skyvern does not answer"],
    ),
    "PostgreSQL restarts again and again": (
        [step for _ in range(6) for step in (do("restart", "database"), do("wait", 5))],
        ["PostgreSQL restarts again and again", f"{WELL}PostgreSQL restarts again and again"],
    ),
    "Skyvern restarts again and again": (
        [do("look"), *[step for _ in range(6) for step in (do("restart", "server"), do("wait", 5))]],
        ["Skyvern restarts again and again", f"{WELL}Skyvern restarts again and again"],
    ),
    "the gateway restarts again and again, and the database is away meanwhile": (
        [
            *[step for _ in range(6) for step in (do("restart", "gateway"), do("wait", 5))],
            put(database=False),
            do("wait", 3),
            put(database=True, gateway_began=None),
        ],
        ["The gateway restarts again and again", f"{WELL}The gateway restarts again and again"],
    ),
    "the backup restarts again and again": (
        [step for _ in range(6) for step in (do("restart", "backup"), do("wait", 5))],
        ["The backup restarts again and again", f"{WELL}The backup restarts again and again"],
    ),
    "the egress proxy restarts again and again": (
        [step for _ in range(6) for step in (do("restart", "egress"), do("wait", 5))],
        ["The egress proxy restarts again and again", f"{WELL}The egress proxy restarts again and again"],
    ),
    "the connector restarts again and again, and a new monitor begins meanwhile": (
        [
            *[step for _ in range(4) for step in (do("restart", "connector"), do("wait", 5))],
            do("kill"),
            *[step for _ in range(4) for step in (do("restart", "connector"), do("wait", 5))],
        ],
        ["The connector restarts again and again", f"{WELL}The connector restarts again and again"],
    ),
    "two updates within an hour": (
        [
            do("look"),
            *[
                step
                for _ in range(2)
                for step in (
                    *(do("restart", part) for part in ("database", "gateway", "backup", "egress", "connector")),
                    do("kill"),
                    do("wait", 15),
                )
            ],
        ],
        [],
    ),
    "the disk fills": (
        [put(free=0.05), do("wait", 90), put(free=0.4)],
        ["The disk is nearly full", f"{WELL}The disk is nearly full"],
    ),
    "the disk is at its limit": (
        [step for _ in range(25) for step in (put(free=0.09), do("look"), put(free=0.11), do("look"))],
        ["The disk is nearly full", f"{WELL}The disk is nearly full"],
    ),
    "the backup is too old": (
        [do("keep", status={"newest": {"time": -2}}), do("wait", 90), do("keep", status={"newest": {"time": 0}})],
        ["The newest backup is too old", f"{WELL}The newest backup is too old"],
    ),
    "there has never been a backup": (
        [do("keep", status={"newest": None}), do("wait", 90), do("keep", status={"newest": {"time": 0}})],
        ["There has never been a backup", f"{WELL}There has never been a backup"],
    ),
    "the first backup is still being made": (
        [do("keep", status={"newest": None, "since": 0}), do("wait", 90), do("keep", status={"newest": {"time": 0}})],
        [],
    ),
    "the repository is away for half an hour": (
        [
            do("keep", status={"newest": {"time": 0}, "problem": "no answer"}),
            do("wait", 30),
            do("keep", status={"newest": {"time": 0}}),
        ],
        [],
    ),
    "the repository refuses": (
        [
            do("keep", status={"newest": {"time": 0}, "problem": "no answer"}),
            do("wait", 90),
            do("keep", status={"newest": {"time": 0}}),
        ],
        ["The backup has a problem: see ops status", f"{WELL}The backup has a problem: see ops status"],
    ),
    "a drill fails": (
        [do("keep", drill={"verdict": "failed", "good": -3}), do("wait", 90), do("keep", drill={"verdict": "passed"})],
        ["The last restore drill failed", f"{WELL}The last restore drill failed"],
    ),
    "a drill cannot run": (
        [do("keep", drill={"verdict": "could not run", "good": -3}), do("wait", 90), do("keep", drill={"verdict": "passed"})],
        ["The last restore drill could not run", f"{WELL}The last restore drill could not run"],
    ),
    "drills have stopped": (
        [do("keep", drill={"verdict": "passed", "good": -15}), do("wait", 90), do("keep", drill={"verdict": "passed"})],
        ["No restore drill has passed for too long", f"{WELL}No restore drill has passed for too long"],
    ),
    "there is no recovery kit": (
        [do("keep", host={"secrets": -1, "kit": None}), do("wait", 90), do("keep", host={"secrets": -1, "kit": 0})],
        ["There is no recovery kit: ops backup kit makes it", f"{WELL}There is no recovery kit: ops backup kit makes it"],
    ),
    "a key was rotated after the kit": (
        [do("keep", host={"secrets": -1, "kit": -2}), do("wait", 90), do("keep", host={"secrets": -1, "kit": 0})],
        [
            "The recovery kit is older than a secret: ops backup kit makes a new one",
            f"{WELL}The recovery kit is older than a secret: ops backup kit makes a new one",
        ],
    ),
    # It is looked at twice a day, and by a new monitor.
    "the certificate ends in a week": (
        [do("certificate", "address", 7), do("kill"), do("wait", 90), do("certificate", "address", 90), do("kill")],
        [
            "The certificate of the UI's address ends on 2026-12-04",
            f"{WELL}The certificate of the UI's address ends on 2026-12-04",
        ],
    ),
    "a company's certificate ends in a week": (
        [do("certificate", "company", 7), do("kill")],
        ["A certificate of host.ca_file ends on 2026-12-04"],
    ),
    "the images are old, and then built again": (
        [do("kill", refreshed=FRESH - timedelta(days=100)), do("wait", 90), do("kill", refreshed=FRESH)],
        [
            "The images are older than 90 days: look for new versions (ops images list)",
            f"{WELL}The images are older than 90 days: look for new versions (ops images list)",
        ],
    ),
    "a day of sleep, made up for": (
        [
            do("schedule"),
            do("look"),
            do("sleep", 24),
            do("fail", 2, interrupted=True),
            do("look"),
            do("schedule", enabled=False),
            do("keep", status={"newest": {"time": 0}}),
        ],
        [
            "The machine was off 11-27 12:01 to 11-28 12:02; a backup has been made since\n"
            "Runs interrupted by a stop of the server (2): Blog (2)",
            "No run was interrupted for an hour",
        ],
    ),
    "a night of sleep, and the backup is still old": (
        [do("look"), do("sleep", 30), do("wait", 60), do("keep", status={"newest": {"time": 0}})],
        [
            "The machine was off 11-27 12:01 to 11-28 18:02\nThe newest backup is too old",
            f"{WELL}The newest backup is too old",
        ],
    ),
    "a night of sleep with a schedule that nothing makes up for": (
        [do("schedule"), do("look"), do("sleep", 8), do("look"), do("keep", status={"newest": {"time": 0}}), do("wait", 30)],
        ["The machine was off 12:01 to 20:02; a backup has been made since\nA schedule was missed: Blog"],
    ),
    "a channel is down for an hour": (
        [put(channel=False), put(free=0.05), do("wait", 30), put(free=0.5), do("fail"), do("wait", 30), put(channel=True)],
        [f"The disk is nearly full\n{WELL}The disk is nearly full\nFailed runs (1): Blog", NONE_FAILED],
    ),
    "the database is down for an hour, and runs had failed just before": (
        [do("fail", 3), put(database=False), do("wait", 60), put(database=True), do("wait", 5)],
        [
            "The database does not answer",
            f"{WELL}The database does not answer\nFailed runs (3): Blog (3)",
            NONE_FAILED,
        ],
    ),
    "the monitor is dead for an hour, and five hundred runs fail": (
        [do("look"), *[step for _ in range(50) for step in (do("fail", 10), do("sleep", 0.02))], do("kill"), do("look")],
        ["The machine was off 12:01 to 13:02\nFailed runs (500): Blog (500)", NONE_FAILED],
    ),
    "the channel is down for an hour, and five hundred runs fail": (
        [put(channel=False), *[step for _ in range(60) for step in (do("fail", 10), do("look"))], do("kill"), put(channel=True)],
        ["Failed runs (10): Blog (10)\nFailed runs (590): Blog (590)", NONE_FAILED],
    ),
    "the monitor is killed each minute": (
        [put(free=0.05), *[step for _ in range(30) for step in (do("look"), do("kill"))], put(free=0.5)],
        [
            "The disk is nearly full",
            "The monitor restarts again and again",
            f"{WELL}The disk is nearly full",
            f"{WELL}The monitor restarts again and again",
        ],
    ),
    "a silence is longer than its cause": ([do("silence", "disk", 2), put(free=0.05), do("wait", 60), put(free=0.5)], []),
    "a cause is longer than its silence": (
        [do("silence", "disk", 1), put(free=0.05), do("wait", 120), put(free=0.5)],
        ["The disk is nearly full", f"{WELL}The disk is nearly full"],
    ),
    "what was told before is well again in its silence": (
        [put(free=0.05), do("wait", 5), do("silence", "disk", 1), put(free=0.5), do("wait", 61)],
        ["The disk is nearly full", f"{WELL}The disk is nearly full"],
    ),
    "a silence of all schedules silences nothing else": (
        [
            do("silence", "schedule", 3),
            do("schedule", last=NOON - timedelta(hours=1)),
            put(free=0.05),
            do("wait", 20),
            put(free=0.5),
            do("schedule", enabled=False),
        ],
        ["The disk is nearly full", f"{WELL}The disk is nearly full"],
    ),
    "a silence of the machine's sleep silences nothing else": (
        [do("silence", "off", 30 * 24), do("look"), do("sleep", 8), do("wait", 60), put(free=0.05), do("wait", 20)],
        ["The disk is nearly full"],
    ),
    "failures in a silence are one line after it": (
        [do("silence", "all", 1), *[step for _ in range(50) for step in (do("fail", 10), do("look"))], do("wait", 15)],
        ["Failed runs (500): Blog (500)", NONE_FAILED],
    ),
    "a silence is ended": (
        [do("silence", "all", 5), put(free=0.05), do("wait", 9), do("silence", "all", 0), do("look"), put(free=0.5)],
        ["The disk is nearly full", f"{WELL}The disk is nearly full"],
    ),
}


def certificate(stack: Stack, name: str, days: int) -> None:
    stack.ends[name] = stack.now + timedelta(days=days)


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_person_gets_exactly_this(name: str, monitor: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack(monitor, tmp_path, monkeypatch)
    steps, messages = SITUATIONS[name]
    for verb, arguments, keywords in steps:
        if verb == "put":
            for attribute, value in keywords.items():
                setattr(stack, attribute, value)
        elif verb == "certificate":
            certificate(stack, *arguments)
        else:
            getattr(stack, verb)(*arguments, **keywords)
    stack.wait(125)
    assert stack.messages == list(messages)


def test_a_night_of_failures_is_one_message_at_the_end_of_the_quiet_hours(
    monitor: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = Stack(monitor, tmp_path, monkeypatch, quiet_hours="12:00-15:00")
    stack.fail(7)
    stack.wait(90)
    stack.fail(2)
    stack.wait(89)
    assert stack.messages == []
    stack.wait(200)
    assert stack.messages == [f"Failed runs (7): Blog (7)\n{NONE_FAILED}\nFailed runs (2): Blog (2)\n{NONE_FAILED}"]


def test_every_cause_can_be_silenced(monitor: SimpleNamespace) -> None:
    """Those of the looks, by their first word in the source, are in the list that `ops alerts silence` takes."""
    source = Path(monitor.watch.__file__).read_text()
    parts = [part.lstrip() for part in source.split("Condition(")[1:]]
    causes = {part.split('"')[1].partition(":")[0] for part in parts if part.startswith(('"', 'f"'))}
    assert len(causes) > 8
    assert causes <= monitor.alerts.CAUSES


def test_of_two_monitors_the_new_one_looks_when_the_old_one_has_gone(
    monitor: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = threading.Event()
    monkeypatch.setattr(monitor.watch.Watch, "run", lambda _: looks.set())
    with (tmp_path / monitor.watch.LOCK).open("w") as old:
        fcntl.flock(old, fcntl.LOCK_EX)
        monitor.watch.start(make_config(monitor, tmp_path, channels={"slack": "slack://x"}))
        assert not looks.wait(0.3)
    assert looks.wait(10)
