"""Looks once a minute, remembers what was told, and sends it. Not here: what is told (alerts.py).

What is to be told is on the disk before it is sent, and marked as being sent while it is: a monitor that is killed tells nothing
twice, and a channel that is down gets everything in one message when it is back.
"""

import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import alerts
import machine
import psycopg
import queries
import schedules
import texts
from alerts import Condition, Failure, Look, Memory
from config import Config

LOOK_SECONDS = 60
# Of "to oneself" (apprise.plugins.kakaotalk); it has no title.
KAKAO_LONGEST = 200
# Looks without an answer until it is told: an update restarts the database.
MOST_SILENT = 5
LEAST_FREE = 0.1
_DATES = ("looked", "seen", "off", "on")


class Watch:
    """The state of the alerts, in a file of the monitor's volume."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.say = texts.translator(config.language)
        self.path = config.state / "alerts.json"
        self.silent = 0
        document = self._read()
        self.memory = _memory(document.get("memory", {}))
        # What a channel was being sent when the monitor ended may have arrived.
        self.waiting: dict[str, list[list[str]]] = {
            name: [] if name == document.get("sending") else lines for name, lines in document.get("waiting", {}).items()
        }

    def _read(self) -> dict[str, Any]:
        try:
            document = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}

    def save(self, sending: str | None = None) -> None:
        """Whole or not at all."""
        document = {"memory": asdict(self.memory), "waiting": self.waiting, "sending": sending}
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(document, default=lambda at: at.isoformat()))
        new.replace(self.path)

    def turn(self, now: datetime) -> None:
        """One look, and what follows from it."""
        lines = alerts.step(self.memory, self.look(now), self.say, self.config.zone)
        for name in self.config.channels if lines else ():
            self.waiting.setdefault(name, []).extend([text, path] for text, path in lines)
        self.save()
        if not alerts.quiet(self.config.quiet_hours, now.astimezone(self.config.zone)):
            self.send()

    def look(self, now: datetime) -> Look:
        """What is wrong now, and which runs have failed since the last look."""
        conditions = [*self._machine(now)]
        failures: Sequence[Failure] = ()
        try:
            with queries.reading(self.config.database) as reader:
                self.silent = 0
                if reader.ready():
                    found, failures = self._runs(reader, now)
                    conditions += found
        except psycopg.ProgrammingError:
            # Another form of the database: the page says so.
            pass
        except psycopg.Error:
            self.silent += 1
            # A cause that is open stays so while nobody can look.
            conditions += [Condition(cause, text) for cause, text in self.memory.open.items() if cause.startswith("db:")]
            if self.silent >= MOST_SILENT:
                conditions.append(Condition("database", self.say("The database does not answer")))
        return Look(now, conditions, failures)

    def _machine(self, now: datetime) -> list[Condition]:
        found = []
        disk = machine.disk(self.config.state)
        if disk.free < LEAST_FREE * disk.total:
            found.append(Condition("disk", self.say("The disk is nearly full")))
        backup = machine.backup(self.config.backup)
        if backup is not None:
            # It also looks anew after a sleep, and gets a quarter of an hour for it.
            old = timedelta(hours=backup.max_age_hours) + timedelta(minutes=15)
            if backup.newest is not None and now - backup.newest > old:
                found.append(Condition("backup", self.say("The newest backup is too old")))
            if backup.drill == "failed":
                found.append(Condition("drill", self.say("The last restore drill failed")))
        return found

    def _runs(self, reader: queries.Reader, now: datetime) -> tuple[list[Condition], list[Failure]]:
        organization = self.config.organizations["own"]
        named = reader.titles(organization)

        def title(workflow: str) -> str:
            return alerts.harmless(named.get(workflow, workflow))

        found = []
        longest = timedelta(minutes=self.config.stuck_minutes)
        for run in reader.unfinished(organization):
            if run["status"] != "paused" and now - (run["started"] or run["created"]) > longest:
                text = self.say("A run does not end: {}") if run["started"] else self.say("A run waits for too long: {}")
                found.append(Condition(f"db:run:{run['run']}", text.format(title(run["workflow"])), f"/runs/{run['run']}"))
        for schedule in reader.schedules(organization):
            if schedules.due(schedule, now - timedelta(days=1), now).missed:
                text = self.say("A schedule was missed: {}").format(title(schedule["workflow"]))
                found.append(Condition(f"db:schedule:{schedule['schedule']}", text))
        # A run can be older than the look at which it fails; retention and people end runs within days.
        span = queries.Span(since=now - timedelta(days=3), until=now + timedelta(days=1), days=4)
        rows, _ = reader.failures(queries.Selection(organization=organization, span=span), most=100_000)
        seen = self.memory.seen or now
        self.memory.seen = seen
        failures = [
            Failure(
                alerts.kind_of(row["codes"], row["interrupted"]),
                named.get(row["workflow"], row["workflow"]),
                row["run"],
                row["finished"],
            )
            for row in rows
            if row["finished"] > seen
        ]
        return found, failures

    def send(self) -> None:
        """To each channel what waits for it, as one message."""
        for name, lines in self.waiting.items():
            if not lines or name not in self.config.channels:
                continue
            self.save(sending=name)
            problem = deliver(self.config, name, [(text, path) for text, path in lines], self.say)
            if problem is None:
                self.waiting[name] = []
            else:
                print(f"monitor: {name}: {problem}", flush=True)
            self.save()

    def run(self) -> None:
        """For as long as the container runs; a look that fails is not the last one."""
        while True:
            began = time.monotonic()
            try:
                self.turn(datetime.now(UTC))
            except Exception as wrong:
                # By its kind alone: a message can quote an address with a key in it.
                print(f"monitor: the look failed: {type(wrong).__name__}", flush=True)
            time.sleep(max(1.0, LOOK_SECONDS - (time.monotonic() - began)))


def deliver(config: Config, name: str, lines: Sequence[tuple[str, str]], say: texts.Say) -> str | None:
    """Sends one message to one channel; what is wrong, without the channel's address, or None."""
    # Here, because it takes 25 MiB, which a stack without channels does not have to pay.
    import apprise

    url = config.channels[name]
    longest = KAKAO_LONGEST if url.startswith("kakaotalk:") else alerts.LONGEST
    # Tokens that a channel renews (KakaoTalk) are kept here.
    asset = apprise.AppriseAsset(storage_path=str(config.state / "tokens"), storage_mode="flush", secure_logging=True)
    sender = apprise.Apprise(asset=asset)
    if not sender.add(url):
        return "is not an address that apprise knows"
    text = alerts.message(lines, config.stack, config.app_url, say, longest)
    return None if sender.notify(body=text, body_format="text") else "does not take the message"


def _memory(document: dict[str, Any]) -> Memory:
    dates = {name: datetime.fromisoformat(document[name]) for name in _DATES if document.get(name)}
    maps = {name: {key: datetime.fromisoformat(at) for key, at in document.get(name, {}).items()} for name in ("told", "last")}
    rest = {name: document.get(name, {}) for name in ("open", "pending", "runs")}
    return Memory(**dates, **maps, **rest)


def start(config: Config) -> None:
    """Begins to look, if there is anyone to tell."""
    if config.channels:
        os.umask(0o077)
        threading.Thread(target=Watch(config).run, daemon=True, name="watch").start()


def state(folder: Path) -> dict[str, Any]:
    """The file of the alerts, for ``ops alerts list``; {} without one."""
    try:
        document: dict[str, Any] = json.loads((folder / "alerts.json").read_text())
    except (OSError, ValueError):
        return {}
    return document
