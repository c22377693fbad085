"""What a person is told, and when: pure, so that a clock, a fault and a restart can be tried.

A cause is told once, and once more when it is well again. Failures of runs are told at the first, and then by the hour, whatever
their number. What comes at once is one message. A machine that was off tells it in one message with what it missed. What is
silenced is not told meanwhile; what is still so at the end of the silence is.
Titles of workflows and links alone leave the stack: no page, no parameter, no reason in words.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any

from tables import short
from texts import Say

HOUR = timedelta(hours=1)
# Between two looks, which are a minute apart.
OFF = timedelta(minutes=10)
# After a sleep: Skyvern makes up for a schedule, the backup for a set.
SETTLE = timedelta(minutes=20)
MOST_LINES = 5
LONGEST = 1000
LONGEST_SUBJECT = 150
# What has a meaning of its own in a channel: <!channel> of Slack, @everyone of Discord, markup of Telegram and mail.
_HARMLESS = str.maketrans("<>@`[]", "‹›＠'()")  # noqa: RUF001  # look alike, and mean nothing


@dataclass(frozen=True)
class Condition:
    """Something that is wrong now. cause: by which it is known from look to look, a word, or a word and what it is about:
    ``run:wr_1``. text: a line. path: at the UI. after: how long it has to last.
    """

    cause: str
    text: str
    path: str = "/dashboard"
    after: timedelta = timedelta(0)


@dataclass(frozen=True)
class Failure:
    """A run that ended without success. kind: ``failed``, ``login``, ``captcha`` or ``interrupted``. title: of its workflow."""

    kind: str
    title: str
    run: str
    ended: datetime


@dataclass(frozen=True)
class Look:
    """One look at the stack. failures: since the last look. silences: cause, its first word, or ``all`` -> until when.

    backup: when the newest set was made.
    """

    at: datetime
    conditions: Sequence[Condition]
    failures: Sequence[Failure]
    silences: Mapping[str, datetime] = field(default_factory=dict)
    backup: datetime | None = None

    def silent(self, cause: str) -> bool:
        """Whether nothing is told about it now."""
        names = ("all", cause, cause.partition(":")[0])
        return any(self.at < self.silences[name] for name in names if name in self.silences)


@dataclass
class Memory:
    """What was told; survives a restart. looked: the last look. seen: end of the newest failed run that was counted.

    open: cause -> text. told: cause -> when. first: since when each cause lasts. off, on: the sleep that is not told yet.
    starts: part -> when it was seen to start, in the last hour.
    pending, last, runs: by kind of failure, what has not been told, and when and which the last run was.
    """

    looked: datetime | None = None
    seen: datetime | None = None
    off: datetime | None = None
    on: datetime | None = None
    open: dict[str, str] = field(default_factory=dict)
    told: dict[str, datetime] = field(default_factory=dict)
    first: dict[str, datetime] = field(default_factory=dict)
    starts: dict[str, list[datetime]] = field(default_factory=dict)
    pending: dict[str, dict[str, int]] = field(default_factory=dict)
    last: dict[str, datetime] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)


def kind_of(codes: str | None, interrupted: bool) -> str:
    """By the workflow's own codes (docs/monitoring.md)."""
    words = (codes or "").upper()
    if "CAPTCHA" in words:
        return "captcha"
    if "LOGIN" in words:
        return "login"
    return "interrupted" if interrupted else "failed"


_KINDS: Mapping[str, tuple[str, str]] = {
    "failed": ("Failed runs ({}): {}", "No run has failed for an hour"),
    "login": ("Logins expired ({}): {}", "No login was refused for an hour"),
    "captcha": ("Captchas that wait for a person ({}): {}", "No captcha for an hour"),
    "interrupted": ("Runs interrupted by a stop of the server ({}): {}", "No run was interrupted for an hour"),
}


def step(memory: Memory, look: Look, say: Say, zone: Any) -> list[tuple[str, str]]:
    """The lines to tell after a look, each with a path at the UI; changes the memory."""
    lines: list[tuple[str, str]] = []
    if memory.looked is not None and look.at - memory.looked > OFF:
        memory.off, memory.on = memory.off or memory.looked, look.at
        memory.first.clear()
    memory.looked = look.at
    _count(memory, look)
    if memory.off is not None and memory.on is not None:
        if look.at - memory.on < SETTLE:
            return []
        if not look.silent("off"):
            away = (memory.off.astimezone(zone), memory.on.astimezone(zone))
            # A night is known by its hours.
            long = memory.on - memory.off >= 20 * HOUR
            text = "The machine was off {:%m-%d %H:%M} to {:%m-%d %H:%M}" if long else "The machine was off {:%H:%M} to {:%H:%M}"
            made_up = look.backup is not None and look.backup >= memory.on
            made = say("; a backup has been made since") if made_up else ""
            lines.append((f"{say(text).format(*away)}{made}", "/dashboard"))
            memory.off = memory.on = None
    lines += _conditions(memory, look, say)
    lines += _failures(memory, look, say)
    return lines


def _conditions(memory: Memory, look: Look, say: Say) -> Iterable[tuple[str, str]]:
    now = {condition.cause: condition for condition in look.conditions}
    memory.first = {cause: memory.first.get(cause, look.at) for cause in now}
    for cause, condition in now.items():
        if cause in memory.open or look.silent(cause) or look.at - memory.first[cause] < condition.after:
            continue
        # One that comes and goes is told once an hour.
        if look.at - memory.told.get(cause, look.at - HOUR) >= HOUR:
            memory.open[cause] = condition.text
            memory.told[cause] = look.at
            yield condition.text, condition.path
    for cause in [cause for cause in memory.open if cause not in now and not look.silent(cause)]:
        yield say("Well again: {}").format(memory.open.pop(cause)), "/dashboard"
    memory.told = {cause: at for cause, at in memory.told.items() if cause in memory.open or look.at - at < 24 * HOUR}


def _count(memory: Memory, look: Look) -> None:
    for failure in look.failures:
        counts = memory.pending.setdefault(failure.kind, {})
        counts[failure.title] = counts.get(failure.title, 0) + 1
        memory.runs[failure.kind] = failure.run
        memory.last[failure.kind] = look.at
        memory.seen = max(memory.seen or failure.ended, failure.ended)


def _failures(memory: Memory, look: Look, say: Say) -> Iterable[tuple[str, str]]:
    for kind, (text, well) in _KINDS.items():
        if look.silent(kind):
            continue
        told = memory.told.get(f"runs:{kind}")
        if memory.pending.get(kind) and (told is None or look.at - told >= HOUR):
            counts = memory.pending.pop(kind)
            memory.told[f"runs:{kind}"] = look.at
            number = sum(counts.values())
            path = f"/runs/{memory.runs[kind]}" if number == 1 else "/dashboard"
            yield say(text).format(number, titles(counts)), path
        elif kind in memory.last and not memory.pending.get(kind) and look.at - memory.last[kind] >= HOUR:
            del memory.last[kind]
            yield say(well), "/dashboard"


def titles(counts: Mapping[str, int]) -> str:
    """The three most frequent titles with their numbers."""
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = [harmless(title) if count == 1 else f"{harmless(title)} ({count})" for title, count in most[:3]]
    return ", ".join([*named, *(["…"] if len(most) > 3 else [])])


def harmless(title: str) -> str:
    """A title for any channel."""
    return short(title, 40).translate(_HARMLESS)


def subject(lines: Sequence[tuple[str, str]], stack: str) -> str:
    """Of a mail: the first line, and how many more there are."""
    more = "" if len(lines) == 1 else f" (+{len(lines) - 1})"
    return f"{short(f'[{stack}] {lines[0][0]}', LONGEST_SUBJECT)}{more}"


def message(lines: Sequence[tuple[str, str]], stack: str, origin: str, say: Say, longest: int = LONGEST) -> str:
    """One text for several lines: the first ones, how many more, and a link; never longer than the channel takes."""
    link = f"{origin}{lines[0][1] if len(lines) == 1 else '/dashboard'}"
    shown = [text for text, _ in lines[:MOST_LINES]]
    if len(lines) > MOST_LINES:
        shown.append(say("and {} more").format(len(lines) - MOST_LINES))
    room = longest - len(link) - 1
    head = f"[{stack}] " + "\n".join(shown)
    return f"{head if len(head) <= room else head[: room - 1] + '…'}\n{link}"


def quiet(hours: str | None, now: datetime) -> bool:
    """Whether a local time is within ``HH:MM-HH:MM``, which may go over midnight."""
    if hours is None:
        return False
    begin, end = (time.fromisoformat(part) for part in hours.split("-"))
    moment = now.time().replace(tzinfo=None)
    return begin <= moment < end if begin < end else moment >= begin or moment < end


# The first word of each cause, as ``ops alerts list`` prints and ``ops alerts silence`` takes it.
CAUSES = frozenset(
    {
        *_KINDS,
        "all",
        "backup",
        "certificate",
        "database",
        "disk",
        "drill",
        "images",
        "kit",
        "off",
        "restarts",
        "run",
        "schedule",
        "server",
    }
)
