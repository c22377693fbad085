"""Looks once a minute, remembers what was told, sends it, and pings the heartbeat. Not here: what is told (alerts.py).

What is to be told is on the disk before it is sent, and marked as being sent while it is: a monitor that is killed tells nothing
twice, and a channel that is down gets everything in one message when it is back.
"""

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import alerts
import certificates
import heartbeat
import machine
import psycopg
import queries
import renewal
import schedules
import texts
from alerts import Condition, Failure, Look, Memory
from config import Config

LOOK_SECONDS = 60
# Of "to oneself" (apprise.plugins.kakaotalk); it has no title.
KAKAO_LONGEST = 200
MAIL = ("mailto://", "mailtos://")
# Until it is told that something does not answer: an update restarts it.
PATIENCE = timedelta(minutes=5)
# The repository of the backup may be away for a while; the backup looks every quarter of an hour.
BACKUP_PATIENCE = timedelta(hours=1)
# Of a certificate that ends.
CERTIFICATE_DAYS = timedelta(days=14)
CERTIFICATE_EVERY = timedelta(hours=12)
# As ``ops images list`` and ``ops doctor`` count (ops/images/commands.py, ops/observe/doctor/stack_checks.py).
OLD_IMAGES = timedelta(days=90)
MANY_STARTS = 3
LEAST_FREE = 0.1
ALERTS, SILENCES, LOCK = "alerts.json", "silences.json", "watch.lock"
# Causes that only the database can tell: they stay as they are while it does not answer.
_BY_DATABASE = ("run", "schedule", "restarts")
_DATES = ("looked", "seen", "off", "on")


class Watch:
    """The state of the alerts, in a file of the monitor's volume."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.say = texts.translator(config.language)
        self.path = config.state / ALERTS
        self.began: datetime | None = None
        # Whether database and server answered at the last look.
        self.well = False
        self.heartbeat = None if config.heartbeat is None else heartbeat.Heartbeat(config.heartbeat)
        self._certificates: tuple[datetime, list[Condition]] | None = None
        self.renewed: datetime | None = None
        document = state(config.state)
        self.memory = _memory(document.get("memory", {}))
        # What a channel was being sent when the monitor ended may have arrived.
        self.waiting: dict[str, list[list[str]]] = {
            name: [] if name == document.get("sending") else lines for name, lines in document.get("waiting", {}).items()
        }

    def save(self, sending: str | None = None) -> None:
        """Whole or not at all."""
        document = {"memory": asdict(self.memory), "waiting": self.waiting, "sending": sending}
        _write(self.path, document)

    def turn(self, now: datetime) -> None:
        """One look, and what follows from it."""
        lines = alerts.step(self.memory, self.look(now), self.say, self.config.zone)
        for name in self.config.channels if lines else ():
            self.waiting.setdefault(name, []).extend([text, path] for text, path in lines)
        self.save()
        self.renew(now)
        if not alerts.quiet(self.config.quiet_hours, now.astimezone(self.config.zone)):
            self.send()

    def look(self, now: datetime) -> Look:
        """What is wrong now, and which runs have failed since the last look."""
        backup = machine.backup(self.config.backup)
        conditions = [*self._machine(now), *self._backup(backup, now), *self._certificate(now)]
        failures: Sequence[Failure] = ()
        database, row = False, None
        try:
            with queries.reading(self.config.database) as reader:
                database = True
                if reader.ready():
                    row = reader.starts()
                    found, failures = self._runs(reader, now)
                    conditions += found
        except psycopg.ProgrammingError:
            # Another form of the database: the page says so.
            pass
        except psycopg.Error:
            database = False
            # A cause that is open stays so while nobody can look.
            open_ = self.memory.open.items()
            conditions += [Condition(cause, text) for cause, text in open_ if cause.partition(":")[0] in _BY_DATABASE]
            conditions.append(Condition("database", self.say("The database does not answer"), after=PATIENCE))
        conditions += self._restarts(row, now)
        server = heartbeat.server_answers(self.config.api_host)
        # One fault is one message: without the database, Skyvern ends.
        if database and not server:
            conditions.append(Condition("server", self.say("Skyvern does not answer"), after=PATIENCE))
        self.well = database and server
        return Look(now, conditions, failures, silences(self.config.state), None if backup is None else backup.newest)

    def _machine(self, now: datetime) -> Iterator[Condition]:
        disk = machine.disk(self.config.state)
        if disk.free < LEAST_FREE * disk.total:
            yield Condition("disk", self.say("The disk is nearly full"))
        noted = machine.noted(self.config.state)
        if noted is not None and noted.secrets is not None:
            if noted.kit is None:
                yield Condition("kit", self.say("There is no recovery kit: ops backup kit makes it"))
            elif noted.kit < noted.secrets:
                yield Condition("kit", self.say("The recovery kit is older than a secret: ops backup kit makes a new one"))
        if now.date() - self.config.refreshed > OLD_IMAGES:
            yield Condition("images", self.say("The images are older than 90 days: look for new versions (ops images list)"))

    def _backup(self, backup: machine.Backup | None, now: datetime) -> Iterator[Condition]:
        if backup is None:
            return
        # It looks again after a sleep, and gets a quarter of an hour for it.
        old = now - timedelta(hours=backup.max_age_hours, minutes=15)
        if backup.newest is not None and backup.newest < old:
            yield Condition("backup", self.say("The newest backup is too old"))
        elif backup.newest is None and backup.since is not None and backup.since < old:
            yield Condition("backup:none", self.say("There has never been a backup"))
        elif backup.problem:
            yield Condition("backup:problem", self.say("The backup has a problem: see ops status"), after=BACKUP_PATIENCE)
        good = backup.good or backup.since
        if backup.drill == "failed":
            yield Condition("drill", self.say("The last restore drill failed"))
        elif backup.drill == "could not run":
            yield Condition("drill:run", self.say("The last restore drill could not run"))
        elif self.config.drill_days and good is not None and now - good > timedelta(days=2 * self.config.drill_days):
            yield Condition("drill:old", self.say("No restore drill has passed for too long"))

    def _certificate(self, now: datetime) -> list[Condition]:
        if self._certificates is None or now - self._certificates[0] >= CERTIFICATE_EVERY:
            found = []
            named = {
                "address": self.say("The certificate of the UI's address ends on {:%Y-%m-%d}"),
                "company": self.say("A certificate of host.ca_file ends on {:%Y-%m-%d}"),
            }
            ends = {"address": certificates.of_address(self.config.app_url), "company": certificates.of_company()}
            for name, end in ends.items():
                if end is not None and end - now < CERTIFICATE_DAYS:
                    found.append(Condition(f"certificate:{name}", named[name].format(end.astimezone(self.config.zone))))
            self._certificates = now, found
        return self._certificates[1]

    def _restarts(self, row: queries.Row | None, now: datetime) -> Iterator[Condition]:
        """By the starts that a look can see: more than three within an hour, as ``ops doctor`` counts.

        row: of the database, which says when it began. Skyvern has begun anew where all of its sessions are younger than the last
        look, and the database is not. The gateway says when it began; backup, egress proxy and connector write a file then. Of a
        container that is seldom up long enough for a look, it is told that it does not answer.
        """
        starts, looked = self.memory.starts, self.memory.looked
        if self.began is None:
            self.began = now
            starts.setdefault("monitor", []).append(now)
        said = {"gateway": heartbeat.gateway_started()}
        said |= {part: machine.started(self.config.started / part / "at") for part in ("connector", "egress")}
        if self.config.backup is not None:
            said["backup"] = machine.started(self.config.backup / "started")
        if row is not None:
            said["database"] = row["database"]
            same = row["database"] in starts.get("database", [])
            if same and looked is not None and row["sessions"] is not None and row["sessions"] > looked:
                starts.setdefault("server", []).append(row["sessions"])
        for part, at in said.items():
            if at is not None and at not in starts.get(part, []):
                starts.setdefault(part, []).append(at)
        names = {
            "backup": self.say("The backup"),
            "connector": self.say("The connector"),
            "database": "PostgreSQL",
            "egress": self.say("The egress proxy"),
            "gateway": self.say("The gateway"),
            "monitor": self.say("The monitor"),
            "server": "Skyvern",
        }
        for part, times in starts.items():
            # The newest stays, by which the next one is known.
            starts[part] = [at for at in times if now - at < alerts.HOUR or at == times[-1]]
            if sum(now - at < alerts.HOUR for at in starts[part]) > MANY_STARTS:
                yield Condition(f"restarts:{part}", self.say("{} restarts again and again").format(names[part]))

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
                found.append(Condition(f"run:{run['run']}", text.format(title(run["workflow"])), f"/runs/{run['run']}"))
        for schedule in reader.schedules(organization):
            if schedules.due(schedule, now - timedelta(days=1), now).missed:
                text = self.say("A schedule was missed: {}").format(title(schedule["workflow"]))
                found.append(Condition(f"schedule:{schedule['schedule']}", text))
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

    def renew(self, now: datetime) -> None:
        """Once a day, the tokens that would end unused."""
        if not renewal.due(self.renewed, now):
            return
        self.renewed = now
        for name, url in self.config.channels.items():
            if url.startswith(renewal.KINDS) and not ((sender := sender_of(self.config, url)) and renewal.renew(sender)):
                print(f"monitor: {name}: does not renew its token; add it again with ops alerts kakao", flush=True)

    def run(self) -> None:
        """For as long as the container runs; a look that fails is not the last one."""
        while True:
            began = time.monotonic()
            try:
                now = datetime.now(UTC)
                self.turn(now)
                if self.heartbeat is not None:
                    self.heartbeat.turn(now, self.well)
            except Exception as wrong:
                # By its kind alone: a message can quote an address with a key in it.
                print(f"monitor: the look failed: {type(wrong).__name__}", flush=True)
            time.sleep(max(1.0, LOOK_SECONDS - (time.monotonic() - began)))


def sender_of(config: Config, url: str) -> Any:
    """Apprise with one channel; None for an address that it does not know."""
    # Here, because it takes 25 MiB, which a stack without channels does not have to pay.
    import apprise

    # Tokens that a channel renews (KakaoTalk) are kept here.
    asset = apprise.AppriseAsset(storage_path=str(config.state / "tokens"), storage_mode="flush", secure_logging=True)
    sender = apprise.Apprise(asset=asset)
    return sender if sender.add(url) else None


def deliver(config: Config, name: str, lines: Sequence[tuple[str, str]], say: texts.Say) -> str | None:
    """Sends one message to one channel; what is wrong, without the channel's address, or None."""
    url = config.channels[name]
    longest = KAKAO_LONGEST if url.startswith(renewal.KINDS) else alerts.LONGEST
    if (sender := sender_of(config, url)) is None:
        return "is not an address that apprise knows"
    text = alerts.message(lines, config.stack, config.app_url, say, longest)
    # A chat would show a title above the same words.
    title = alerts.subject(lines, config.stack) if url.startswith(MAIL) else ""
    return None if sender.notify(title=title, body=text, body_format="text") else "does not take the message"


def _memory(document: dict[str, Any]) -> Memory:
    dates = {name: datetime.fromisoformat(document[name]) for name in _DATES if document.get(name)}
    maps = {
        name: {key: datetime.fromisoformat(at) for key, at in document.get(name, {}).items()}
        for name in ("told", "last", "first")
    }
    starts = {part: [datetime.fromisoformat(at) for at in times] for part, times in document.get("starts", {}).items()}
    rest = {name: document.get(name, {}) for name in ("open", "pending", "runs")}
    return Memory(**dates, **maps, **rest, starts=starts)


def silences(folder: Path) -> dict[str, datetime]:
    """Of ``ops alerts silence``: cause -> until when; those that have ended are left out at the next one."""
    try:
        return {name: datetime.fromisoformat(at) for name, at in (machine.document(folder / SILENCES) or {}).items()}
    except ValueError:
        return {}


def silence(folder: Path, cause: str, until: datetime, now: datetime) -> None:
    """Whole or not at all. until: ``now`` ends a silence."""
    kept = {name: at for name, at in {**silences(folder), cause: until}.items() if at > now}
    _write(folder / SILENCES, kept)


def record(folder: Path, text: str) -> None:
    """Notes what the commands on the host know (machine.noted); ValueError for anything else."""
    document = json.loads(text)
    noted = machine.noted(folder)
    # A machine that has not made the kit knows of none.
    kits = [document["kit"], None if noted is None or noted.kit is None else noted.kit.isoformat()]
    _write(folder / machine.HOST_FILE, {"secrets": document["secrets"], "kit": max(filter(None, kits), default=None)})


def _write(path: Path, document: Any) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(document, default=lambda at: at.isoformat()))
    new.replace(path)


def start(config: Config) -> None:
    """Begins to look, if there is anyone to tell."""
    if config.channels or config.heartbeat:
        os.umask(0o077)
        threading.Thread(target=_run_alone, args=(config,), daemon=True, name="watch").start()


def _run_alone(config: Config) -> None:
    """Looks when no other monitor does: there are two of them while an update replaces the container."""
    with (config.state / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # What the other one has sent is read now.
        Watch(config).run()


def state(folder: Path) -> Mapping[str, Any]:
    """The file of the alerts, also for ``ops alerts list``; {} without one."""
    return machine.document(folder / ALERTS) or {}
