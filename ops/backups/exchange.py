"""Puts a copy of a set in the place of a stack's data, and back: the folders of volumes change places, whatever their size.

Each volume of the stack and its copy exchange their folders in one step of the file system (renameat2), so each is whole at any
moment. A mark in each folder says whether it is the new one or the old one: after a power cut in the middle it is known which
ones have changed places, and these change back. The stack's containers do not run meanwhile.
On a Swarm it is the same with the folders of the share, whose file system may need three renames for it.
With a PostgreSQL elsewhere, its database there is one more part beside the folders, with the same states.
Not here: filling the copy (ops/backups/copies.py), that database (ops/backups/external.py), and stopping the containers
(ops/deploy/restore.py).
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from components.host.images import SOURCE_LABEL, references
from components.host.labels import stack_labels
from ops.backups import external, share
from ops.backups.copies import PARTS, Source, volumes
from ops.backups.external import Server
from ops.backups.preflight import in_folder
from ops.clients import process
from ops.clients.docker import Docker
from ops.errors import UserError, explained
from ops.stack import database
from ops.stack.stack import Stack

State = Literal["filled", "exchanged", "torn"]

# The marks: of what came out of a set, and of what was there before. Backups leave them out.
_NEW, _OLD = ".restore-new-", ".restore-old-"
# Exchanges where the volume beside the stack's has the mark: the new one to put it in place, the old one to take it back.
_EXCHANGE = """
set -eu
cd /shared
mark=$1
shift
# Cut off in the middle, the rest of them.
by_renames() {
  [ -e "$2.was" ] || mv --no-target-directory "$1" "$2.was"
  [ -e "$1" ] || mv --no-target-directory "$2" "$1"
  mv --no-target-directory "$2.was" "$2"
}
while [ $# -gt 0 ]; do
  [ ! -e "$2.was" ] || by_renames "$1" "$2"
  if [ -e "$2/$mark" ]; then
    # NFS has no exchange.
    mv --exchange --no-copy --no-target-directory "$1" "$2" 2> /dev/null || by_renames "$1" "$2"
  fi
  shift 2
done
sync -f .
"""
_MARK = """
set -eu
cd /shared
new=$1 old=$2
shift 2
while [ $# -gt 0 ]; do
  touch "$1/$old" "$2/$new"
  shift 2
done
sync -f .
"""
_LOOK = """
cd /shared
new=$1 old=$2
shift 2
for folder in "$@"; do
  if [ -e "$folder.was" ]; then echo torn
  elif [ -e "$folder/$new" ]; then echo new
  elif [ -e "$folder/$old" ]; then echo old
  else echo unmarked; fi
done
"""
# A machine may have the folder of before in its cache.
_SEEN = """
cd /shared
mark=$1
shift
for folder in "$@"; do [ -e "$folder/$mark" ] || exit 1; done
"""
# NFS looks again after at most a minute, unless the mount says otherwise (acdirmax).
SEEN_SECONDS = 90.0


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is beside the stack's data, of one restore. set: what it restored. volumes: part -> volume, or folder on a share.

    state: filled: the copy, which was never put in place. exchanged: what the stack had before. torn: some of each.
    """

    stamp: str
    set: str
    volumes: dict[str, str]
    state: State


@process.reads("docker")
def kept(docker: Docker, stack: Stack, image: str, server: Server | None = None) -> list[Kept]:
    """What earlier restores have left beside the stack's volumes, the oldest first. server: a PostgreSQL elsewhere."""
    sets, places = _copies(docker, stack, image)
    found = []
    for stamp, names in sorted(places.items()):
        data = _data(stack, names)
        marks = set(_run(docker, image, _LOOK, list(data.values()), _NEW + stamp, _OLD + stamp).split())
        marks |= {external.look(server, stamp)} - {""} if server else set()
        # Without a mark is what was removed since, and a folder of a later version.
        torn = "torn" in marks or {"new", "old"} <= marks
        state: State = "torn" if torn else "exchanged" if "old" in marks else "filled"
        found.append(Kept(stamp=stamp, set=sets[stamp], volumes=names, state=state))
    return found


def _data(stack: Stack, places: Mapping[str, str]) -> dict[str, str]:
    """Of the places of a copy, those that change places with the stack's: on a share its folders, and no volume beside them."""
    shared = stack.shared_folder is not None
    return {part: place for part, place in places.items() if part in PARTS and share.is_folder(place) == shared}


def _copies(docker: Docker, stack: Stack, image: str) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """By stamp, the set of a copy, and its places: part -> volume, or folder on the share."""
    sets: dict[str, str] = {}
    places: dict[str, dict[str, str]] = {}
    listed = volumes(docker, stack, "restore")
    documents: list[dict[str, Any]] = json.loads(docker.run("volume", "inspect", *listed)) if listed else []
    for document in documents:
        marks = document["Labels"]
        sets[marks["skyvern.stamp"]] = marks["skyvern.set"]
        places.setdefault(marks["skyvern.stamp"], {})[marks["skyvern.copy"]] = document["Name"]
    if folder := stack.shared_folder:
        for stamp, (name, parts) in share.copies(docker, image, folder).items():
            sets[stamp] = name
            places.setdefault(stamp, {}).update({part: share.copy_of(folder, stamp, part) for part in parts})
    return sets, places


def prepare(source: Source, fresh: dict[str, str], stamp: str) -> None:
    """Marks the copy, and makes those of the stack's volumes or folders that are gone, empty and as Pulumi or script/up would."""
    docker, stack, image = source.docker, source.stack, source.references["backup"]
    # Also the one with the backup's notes, which the restore writes to.
    parts = (*fresh, "backup")
    if folder := stack.shared_folder:
        share.make_parts(docker, image, folder, parts)
    else:
        _make_volumes(source, parts)
    mark(docker, stack, image, fresh, stamp)


def _make_volumes(source: Source, parts: Sequence[str]) -> None:
    docker, stack = source.docker, source.stack
    existing = set(docker.run("volume", "ls", "--quiet").split())
    for part in parts:
        if stack.prefix(part) not in existing:
            marks = stack_labels(f"skyvern-{stack.short}", part)
            if part == "postgres":
                # As the program labels it; another label would be a replacement.
                marks[SOURCE_LABEL] = source.settings.images.source
            docker.run("volume", "create", *(f"--label={name}={value}" for name, value in marks.items()), stack.prefix(part))


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
    pairs = _pairs(stack, fresh)
    _run(docker, image, _EXCHANGE, pairs, mark)
    if stack.shared_folder:
        # A service that starts before its machine knows would go on with the data that has gone.
        for daemon in docker.daemons:
            with explained(lambda failed: f"{daemon.host}: does not see what has changed places on the share ({failed})"):  # noqa: B023
                database.until_ready(lambda: _run(daemon, image, _SEEN, pairs[::2], mark), SEEN_SECONDS)  # noqa: B023


def _pairs(stack: Stack, fresh: Mapping[str, str]) -> list[str]:
    """Where the stack has its data and the place beside it, of each part in turn."""
    return [name for part, place in _data(stack, fresh).items() for name in (stack.place(part), place)]


def remove(docker: Docker, stack: Stack, image: str, left: Kept, server: Server | None = None) -> None:
    """What an earlier restore left. The volumes last: by them it is known that there is something."""
    if server:
        external.remove(server, left.stamp)
    if folder := stack.shared_folder:
        share.remove_copy(docker, image, folder, left.stamp)
    if names := [name for name in left.volumes.values() if not share.is_folder(name)]:
        docker.run("volume", "rm", "--force", *names)


def _run(docker: Docker, image: str, script: str, places: Sequence[str], *head: str) -> str:
    """A script in the folder that all of these places are in, without a network: only there do they share a file system.

    As root for volumes, which have several owners. head: its arguments before the folders, which are relative.
    """
    if not places:
        return ""
    if share.is_folder(places[0]):
        root, folders = PurePosixPath(os.path.commonpath([PurePosixPath(place).parent for place in places])), list(places)
        flags: tuple[str, ...] = ()
    else:
        root, folders = _root(docker, places), [f"{volume}/_data" for volume in places]
        flags = ("--cap-add=DAC_OVERRIDE", "--userns=host", "--user=0:0")
    return in_folder(docker, str(root), image, script, [*head, *(folder.removeprefix(f"{root}/") for folder in folders)], *flags)


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
