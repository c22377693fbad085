"""Puts a copy of a set in the place of a stack's data, and back: the contents of volumes change places, whatever their size.

Each volume of the stack and its copy exchange their folders in one step of the file system (renameat2), so each is whole at any
moment. A mark in each folder says whether it is the new one or the old one: after a power cut in the middle it is known which
ones have changed places, and these change back. The stack's containers do not run meanwhile.
With a PostgreSQL elsewhere, its database there is one more part beside the folders, with the same states.
Not here: filling the copy (ops/backups/copies.py), that database (ops/backups/external.py), and stopping the containers
(ops/deploy/restore.py).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from components.host.images import SOURCE_LABEL, references
from components.host.labels import stack_labels
from ops.backups import external
from ops.backups.copies import PARTS, Source, volumes
from ops.backups.external import Server
from ops.clients import process
from ops.clients.docker import HARDENED, Docker
from ops.errors import UserError
from ops.stack.stack import Stack

State = Literal["filled", "exchanged", "torn"]

# The marks: of what came out of a set, and of what was there before. Backups leave them out.
_NEW, _OLD = ".restore-new-", ".restore-old-"
# Exchanges where the volume beside the stack's has the mark: the new one to put it in place, the old one to take it back.
_EXCHANGE = """
set -eu
cd /volumes
mark=$1
shift
while [ $# -gt 0 ]; do
  if [ -e "$2/_data/$mark" ]; then mv --exchange --no-copy --no-target-directory "$1/_data" "$2/_data"; fi
  shift 2
done
sync -f .
"""
_MARK = """
set -eu
cd /volumes
new=$1 old=$2
shift 2
while [ $# -gt 0 ]; do
  touch "$1/_data/$old" "$2/_data/$new"
  shift 2
done
sync -f .
"""
_LOOK = """
cd /volumes
new=$1 old=$2
shift 2
for volume in "$@"; do
  if [ -e "$volume/_data/$new" ]; then echo new; elif [ -e "$volume/_data/$old" ]; then echo old; else echo unmarked; fi
done
"""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Volumes beside the stack's, of one restore. set: what it restored.

    state: filled: the copy, which was never put in place. exchanged: what the stack had before. torn: some of each.
    """

    stamp: str
    set: str
    volumes: dict[str, str]
    state: State


@process.reads("docker")
def kept(docker: Docker, stack: Stack, image: str, server: Server | None = None) -> list[Kept]:
    """What earlier restores have left beside the stack's volumes, the oldest first. server: a PostgreSQL elsewhere."""
    listed = volumes(docker, stack, "restore")
    if not listed:
        return []
    documents: list[dict[str, Any]] = json.loads(docker.run("volume", "inspect", *listed))
    by_stamp: dict[str, list[dict[str, Any]]] = {}
    for document in documents:
        by_stamp.setdefault(document["Labels"]["skyvern.stamp"], []).append(document)
    found = []
    for stamp, inspected in sorted(by_stamp.items()):
        names = {one["Labels"]["skyvern.copy"]: one["Name"] for one in inspected}
        data = {part: name for part, name in names.items() if part in PARTS}
        marks = set(_run(docker, image, _LOOK, list(data.values()), _NEW + stamp, _OLD + stamp).split())
        marks |= {external.look(server, stamp)} - {""} if server else set()
        state: State = "exchanged" if marks == {"old"} else "torn" if "old" in marks else "filled"
        found.append(Kept(stamp=stamp, set=inspected[0]["Labels"]["skyvern.set"], volumes=names, state=state))
    return found


def prepare(source: Source, fresh: dict[str, str], stamp: str) -> None:
    """Marks the copy, and makes those of the stack's volumes that are gone, empty and as Pulumi would."""
    docker, stack = source.docker, source.stack
    existing = set(docker.run("volume", "ls", "--quiet").split())
    # Also the one with the backup's notes, which the restore writes to.
    for part in (*fresh, "backup"):
        if stack.prefix(part) not in existing:
            marks = stack_labels(f"skyvern-{stack.short}", part)
            if part == "postgres":
                # As the program labels it; another label would be a replacement.
                marks[SOURCE_LABEL] = source.settings.images.source
            docker.run("volume", "create", *(f"--label={name}={value}" for name, value in marks.items()), stack.prefix(part))
    mark(docker, stack, source.references["backup"], fresh, stamp)


def mark(docker: Docker, stack: Stack, image: str, fresh: Mapping[str, str], stamp: str) -> None:
    """Marks the stack's volumes and those beside them, by which ``put_in_place`` and ``take_back`` know what is where."""
    _run(docker, image, _MARK, _pairs(stack, fresh), _NEW + stamp, _OLD + stamp)


def put_in_place(
    docker: Docker, stack: Stack, image: str, fresh: Mapping[str, str], stamp: str, server: Server | None = None
) -> None:
    """The copy becomes the stack's data; what that was is then in the copy's volumes. Again after an interruption: the rest."""
    _exchange(docker, stack, image, fresh, _NEW + stamp)
    if server:
        external.put_in_place(server, stamp)


def take_back(
    docker: Docker, stack: Stack, image: str, fresh: Mapping[str, str], stamp: str, server: Server | None = None
) -> None:
    """What ``put_in_place`` has done, undone: whole or in part."""
    if server:
        external.take_back(server, stamp)
    _exchange(docker, stack, image, fresh, _OLD + stamp)


def _exchange(docker: Docker, stack: Stack, image: str, fresh: Mapping[str, str], mark: str) -> None:
    _run(docker, image, _EXCHANGE, _pairs(stack, fresh), mark)


def _pairs(stack: Stack, fresh: Mapping[str, str]) -> list[str]:
    """The stack's volume and the one beside it, of each part in turn."""
    return [name for part, volume in fresh.items() if part in PARTS for name in (stack.prefix(part), volume)]


def remove(docker: Docker, left: Kept, server: Server | None = None) -> None:
    """What an earlier restore left. The volumes last: by them it is known that there is something."""
    if server:
        external.remove(server, left.stamp)
    docker.run("volume", "rm", "--force", *left.volumes.values())


def _run(docker: Docker, image: str, script: str, volumes: Sequence[str], *head: str) -> str:
    """A script in the folder of Docker's volumes, as root, without a network: only there do two volumes share a file system.

    head: its arguments before the volumes.
    """
    if not volumes:
        return ""
    flags = ("--rm", "--network=none", *HARDENED, "--cap-add=DAC_OVERRIDE", "--userns=host", "--user=0:0")
    folder = f"--volume={_root(docker, volumes)}:/volumes"
    return docker.run("run", *flags, folder, image, "bash", "-c", script, "exchange", *head, *volumes)


def _root(docker: Docker, volumes: Sequence[str]) -> PurePosixPath:
    """Docker's folder of volumes; UserError for a volume that is anywhere else."""
    documents: list[dict[str, Any]] = json.loads(docker.run("volume", "inspect", *dict.fromkeys(volumes)))
    roots = set()
    for one in documents:
        place = PurePosixPath(one["Mountpoint"])
        if one["Driver"] != "local" or one.get("Options") or place.name != "_data" or place.parent.name != one["Name"]:
            raise UserError(
                f"volume {one['Name']}: is not in Docker's own folder, where a restore can replace it; nothing was changed"
            )
        roots.add(place.parent.parent)
    if len(roots) != 1:
        raise UserError("the stack's volumes are in several places, where a restore cannot replace them; nothing was changed")
    return roots.pop()


def image_of(stack: Stack) -> str:
    """The image whose tools exchange folders."""
    return references(stack.settings().images.source)["backup"]
