"""A stack's folder in the one that all machines of a Swarm have (``host.shared_folder``), and copies of sets beside its data.

A copy is a folder ``.restored-STAMP`` with one folder for each part: on the same file system as the data, so that both can change
places (ops/backups/exchange.py). Everything is done by the user that Skyvern is, because root of one machine is nobody on many
shares. Not here: whether every machine has the folder (ops/deploy/machines.py).
"""

from collections.abc import Iterable
from pathlib import PurePosixPath

from components.host.volumes import SERVED_FOLDERS, SKYVERN_FOLDERS
from ops.backups.container import LONG_SECONDS
from ops.backups.preflight import NO_FOLDER, in_folder
from ops.clients.docker import Docker
from ops.errors import UserError

_COPY = ".restored-"
# Parts as NAME=MODE.
MAKE_PARTS = """
make_parts() {
  for folder in "$@"; do
    # Between two renames of a restore (ops/backups/exchange.py) it is gone, and not missing.
    set -- .restored-*/"${folder%=*}.was"
    [ -d "${folder%=*}" ] || [ -e "$1" ] || mkdir -m "${folder#*=}" "${folder%=*}"
  done
}
"""
_MAKE = f"""{MAKE_PARTS}
set -eu
mkdir -m 0711 -p "/shared/$1"
cd "/shared/$1"
printf '%s\\n' "$2" > set
shift 2
make_parts "$@"
sync -f .
"""
_LIST = f"""
cd /shared
for copy in {_COPY}*; do
  [ ! -e "$copy/set" ] || printf '%s|%s|%s\\n' "$copy" "$(cat "$copy/set")" "$(cd "$copy" && echo */)"
done
"""
# The list knows a copy by its file "set", which goes last.
_REMOVE = 'cd /shared && rm -rf "$1"/*/ && rm -rf "$1"'
_PARTS = f'{MAKE_PARTS}\nset -eu\ncd /shared\nmake_parts "$@"'


def parts_with_modes(parts: Iterable[str]) -> list[str]:
    """``NAME=MODE`` for each: as the folders of the images, from which Docker fills a new volume."""
    return [f"{part}={'0750' if part in SERVED_FOLDERS else '0700'}" for part in parts]


def copy_of(folder: str, stamp: str, part: str) -> str:
    """The path of a part in a copy. folder: the stack's on the share."""
    return f"{folder}/{_COPY}{stamp}/{part}"


def make_copy(docker: Docker, image: str, folder: str, stamp: str, name: str, parts: Iterable[str]) -> None:
    """Empty folders for a copy of a set of this name."""
    in_folder(docker, folder, image, _MAKE, [f"{_COPY}{stamp}", name, *parts_with_modes(parts)])


def make_parts(docker: Docker, image: str, folder: str, parts: Iterable[str]) -> None:
    """The stack's own folders, where they are missing."""
    in_folder(docker, folder, image, _PARTS, parts_with_modes(parts))


def copies(docker: Docker, image: str, folder: str) -> dict[str, tuple[str, list[str]]]:
    """Of the copies there, stamp -> set and the parts of which a folder is there; UserError without the stack's folder."""
    try:
        printed = in_folder(docker, folder, image, _LIST, [])
    except UserError as failed:
        if NO_FOLDER in str(failed):
            raise UserError(f"host.shared_folder: {folder} is not there at {docker.host}; mount the share there") from failed
        raise
    found = {}
    for line in printed.splitlines():
        name, of, folders = line.split("|")
        # In the middle of three renames, a part is NAME.was (ops/backups/exchange.py).
        there = {one.rstrip("/").removesuffix(".was") for one in folders.split()}
        found[name.removeprefix(_COPY)] = of, [part for part in SKYVERN_FOLDERS if part in there]
    return found


def remove_copy(docker: Docker, image: str, folder: str, stamp: str) -> None:
    """A copy, with all that is in it."""
    in_folder(docker, folder, image, _REMOVE, [f"{_COPY}{stamp}"], timeout_seconds=LONG_SECONDS)


def is_folder(place: str) -> bool:
    """Whether a place is a folder of a share, and not a volume's name."""
    return PurePosixPath(place).is_absolute()
