"""What a stack's backup says of itself: the newest set, the last problem, the last drill. Reads only.

It says what the repository said when it was last asked (images/backup/skyvern-backup), so nothing here waits for a network.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from components.host.backup import STATE_FOLDER
from ops.clients.docker import Docker
from ops.stack import inventory
from ops.stack.inventory import Container

STATUS_FILE = f"{STATE_FOLDER}/status.json"
DRILL_FILE = f"{STATE_FOLDER}/drill.json"
ANSWER_SECONDS = 10
# A set that is so much later than now is of a clock that has been set back since (as in images/backup/skyvern-backup).
_AHEAD = timedelta(minutes=5)

Verdict = Literal["passed", "failed", "could not run"]


@dataclass(frozen=True, kw_only=True)
class Drill:
    """A trial restore. reason: why it did not pass, else "".

    served: whether Skyvern itself ran on it; the backup's own drills compare the data alone. last_good: when one passed; None
    for never.
    """

    at: datetime
    set: str
    seconds: int
    verdict: Verdict
    reason: str = ""
    served: bool = True
    last_good: datetime | None = None

    def to_json(self) -> str:
        """As the backup's container writes it, too (images/backup/skyvern-backup)."""
        good = None if self.last_good is None else self.last_good.isoformat(timespec="seconds")
        return json.dumps({**asdict(self), "at": self.at.isoformat(timespec="seconds"), "last_good": good}) + "\n"


@dataclass(frozen=True, kw_only=True)
class BackupFacts:
    """The backup of a stack.

    sets: complete ones in the repository; None if it has never answered. newest, newest_at: None without any. age_seconds: of the
    newest. problem: of the last look, "" for none. max_age_hours: from the stack file. drill: the last one. good_days: since
    one passed; None if none has. waited_seconds: since the backup first ran. locked_days: of the bucket. unpruned_days: since
    what nothing needs was removed; None of a container that has not noted it. ahead: sets of a time that has not come.
    """

    sets: int | None
    newest: str | None
    newest_at: datetime | None
    age_seconds: int | None
    problem: str
    max_age_hours: int
    drill: Drill | None = None
    good_days: int | None = None
    waited_seconds: int = 0
    locked_days: int = 0
    unpruned_days: int | None = None
    ahead: Sequence[str] = ()

    @property
    def too_old(self) -> bool:
        """Whether there is no set that is young enough, and was time for one."""
        waited = self.waited_seconds if self.age_seconds is None else self.age_seconds
        return waited > self.max_age_hours * 3600


def read(docker: Docker, containers: Sequence[Container]) -> BackupFacts | None:
    """The facts; None if the stack has no backup, or one that does not run or has not looked yet."""
    # Both in one call; the second is missing before the first drill.
    script = f"cat {STATUS_FILE} && echo && cat {DRILL_FILE} 2> /dev/null || echo null"
    answer = inventory.ask(docker, containers, "backup", "sh", "-c", script, timeout_seconds=ANSWER_SECONDS)
    if answer is None:
        return None
    lines = answer.splitlines()
    try:
        return parse(lines[0], next((line for line in lines[1:] if line.strip()), "null"), datetime.now(UTC))
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def parse(status: str, drill: str, now: datetime) -> BackupFacts:
    """The facts from the two files; ValueError, KeyError or TypeError for something else."""
    document: dict[str, Any] = json.loads(status)
    newest, last = document["newest"], parse_drill(drill)
    at = None if newest is None else datetime.fromtimestamp(newest["time"], UTC)
    ahead = document.get("ahead", [])
    if at is not None and is_ahead(at, now):
        # Noted by a clock that was ahead, or by a container of before.
        ahead = [newest["set"], *(name for name in ahead if name != newest["set"])]
        newest = at = None
    return BackupFacts(
        sets=document["sets"],
        newest=None if newest is None else newest["set"],
        newest_at=at,
        age_seconds=None if at is None else max(0, int((now - at).total_seconds())),
        ahead=tuple(ahead),
        problem=document["problem"],
        max_age_hours=document["max_age_hours"],
        drill=last,
        good_days=None if last is None or last.last_good is None else (now - last.last_good).days,
        locked_days=document.get("locked_days", 0),
        unpruned_days=(int(now.timestamp()) - document["pruned"]) // 86400 if "pruned" in document else None,
        # A container of before has not noted it.
        waited_seconds=max(0, int(now.timestamp()) - document["since"]) if "since" in document else 0,
    )


def parse_drill(text: str) -> Drill | None:
    """A drill as it was noted, ``null`` for none; ValueError, KeyError or TypeError for something else."""
    document: dict[str, Any] | None = json.loads(text)
    if document is None:
        return None
    at, good = datetime.fromisoformat(document["at"]), document.get("last_good")
    if "last_good" not in document and document["verdict"] == "passed":
        # Of a version that noted the last one only.
        good = document["at"]
    return Drill(**{**document, "at": at, "last_good": None if good is None else datetime.fromisoformat(good)})


def is_ahead(at: datetime, now: datetime) -> bool:
    """Whether a set is of a time that has not come: a clock was ahead when it was made, or is behind now."""
    return at > now + _AHEAD


def line(facts: BackupFacts) -> str:
    """``backup: newest set 20261128T203250Z, 12 min old, 24 in all; drilled 2026-11-27: passed in 95 s``."""
    sets = "the repository has not answered yet" if facts.sets is None else f"{facts.sets} in all"
    newest = (
        f"no set in the {age(facts.waited_seconds)} since it first ran"
        if facts.newest is None or facts.age_seconds is None
        else f"newest set {facts.newest}, {age(facts.age_seconds)} old, {sets}"
    )
    first = facts.newest is None
    old = f", {'longer' if first else 'older'} than the {facts.max_age_hours} h allowed" if facts.too_old else ""
    problem = f"; {facts.problem}" if facts.problem else ""
    return f"backup: {newest}{old}{problem}; {drill_clause(facts.drill)}"


def drill_clause(drill: Drill | None) -> str:
    """``drilled 2026-11-27: passed in 95 s``, or how it did not, and when one last did."""
    if drill is None:
        return "never drilled"
    if drill.verdict == "passed":
        return f"drilled {drill.at.date()}: passed in {drill.seconds} s{'' if drill.served else ', without Skyvern'}"
    return f"drilled {drill.at.date()}: {drill.verdict} ({drill.reason}); {last_good(drill)}"


def last_good(drill: Drill) -> str:
    """``last good drill 2026-11-27``."""
    return f"last good drill {drill.last_good.date()}" if drill.last_good else "no good drill yet"


def age(seconds: int) -> str:
    """``40 s``, ``12 min``, ``5 h``, ``3 days``."""
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 48 * 3600 else f"{seconds // 86400} days"
