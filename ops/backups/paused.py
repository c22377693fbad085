"""Which schedules the restores of a stack have paused, so that ``ops resume`` starts these and no others.

A set that was made after a restore has the schedules off that the restore paused, and a restore of it pauses what else was on. So
what is paused now is found by going back from the last restore to the one whose data its set was made of, and so on.
Not here: pausing (ops/backups/copies.py) and starting (ops/deploy/restore.py).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from components.host.backup import STATE_FOLDER
from ops.backups import notes
from ops.clients import process
from ops.clients.docker import Docker
from ops.stack.stack import Stack

FILE = f"{STATE_FOLDER}/paused.json"
_NOW = "9"


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Of one restore; times in the form of copies.STAMP, which sorts.

    stamp: the restore's. made: when its set was made. schedules: ids that were on in the set. resumed: when they were started
    again; "" for not yet.
    """

    stamp: str
    made: str
    schedules: Sequence[str]
    resumed: str = ""


def parse(text: str) -> list[Pause]:
    """Pauses as they are noted, the oldest first; none for "" ."""
    document: Any = json.loads(text or "[]")
    if isinstance(document, dict):
        # Of a version that noted the last restore only.
        return [Pause(stamp="", made="", schedules=document["schedules"])]
    return [Pause(**one) for one in document]


def current(pauses: Sequence[Pause]) -> list[str]:
    """Ids of the schedules that are off in the stack's data of now because of a restore."""
    found: dict[str, None] = {}
    at = _NOW
    for pause in reversed(pauses):
        if pause.stamp > at:
            # The set is older: this restore's data is not what it was made of.
            continue
        if pause.resumed and pause.resumed <= at:
            break
        found.update(dict.fromkeys(pause.schedules))
        at = pause.made
    return list(found)


@process.reads("docker")
def read(stack: Stack, docker: Docker, image: str) -> list[Pause]:
    """What is noted beside the backup's own notes, which outlive containers."""
    return parse(notes.read(stack, docker, image, FILE))


def add(stack: Stack, docker: Docker, image: str, pause: Pause) -> None:
    """Notes a restore, before its data is in place: then no schedule is forgotten."""
    _change(stack, docker, image, lambda pauses: [*pauses, pause])


def forget(stack: Stack, docker: Docker, image: str, stamp: str) -> None:
    """Drops a restore whose data is not the stack's any more."""
    _change(stack, docker, image, lambda pauses: [pause for pause in pauses if pause.stamp != stamp])


def note_resumed(stack: Stack, docker: Docker, image: str, at: str) -> None:
    """Notes that what is paused now has been started."""
    _change(stack, docker, image, lambda pauses: [*pauses[:-1], *(replace(pause, resumed=at) for pause in pauses[-1:])])


def _change(stack: Stack, docker: Docker, image: str, change: Callable[[list[Pause]], list[Pause]]) -> None:
    before = read(stack, docker, image)
    if (after := change(before)) != before:
        notes.write(stack, docker, image, FILE, json.dumps([asdict(pause) for pause in after]) + "\n")
