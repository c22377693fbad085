"""The files of a local state: whether each is whole, and which copy puts a broken one back.

Pulumi keeps three kinds of copies beside the state of a stack: one at the end of each update (history and backups), and the one
before the last change (.bak). No state is written here. Not here: what the state says (ops/deploy/recovery.py).
"""

import json
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ops.clients.terminal import Progress
from ops.errors import UserError
from ops.stack import inventory
from ops.stack.stack import PROJECT


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A state file that cannot be read. remedy: the command that puts its newest copy back, or one sentence without a copy."""

    path: Path
    size_bytes: int
    remedy: str


def backend_folder(url: str) -> Path | None:
    """``.pulumi`` of a file backend; None for any other backend, which cannot be looked into from here."""
    if not url.startswith("file://"):
        return None
    path = unquote(url.removeprefix("file://").partition("?")[0])
    return Path(str(Path.home()) + path[1:] if path.startswith("~") else path) / ".pulumi"


def read(url: str, short: str) -> dict[str, Any] | None:
    """The deployment of a stack in a file backend, read without an engine; {} before its first update or without such a stack.

    None for any other backend, and for a file that cannot be read, which ``find_broken`` names.
    Before Pulumi 3.61 a file backend had one folder for the stacks of all projects, and one that was made so stays so.
    """
    folder = backend_folder(url)
    if folder is None:
        return None
    path = folder / "stacks" / PROJECT / f"{short}.json"
    if not path.is_file() and not (folder / "meta.yaml").is_file():
        path = folder / "stacks" / f"{short}.json"
    try:
        checkpoint = json.loads(path.read_bytes())["checkpoint"]
        latest: dict[str, Any] = checkpoint.get("latest") or {}
        lists = [latest.get(key) or [] for key in ("resources", "pending_operations")]
        whole = all(isinstance(item, dict) for some in lists for item in some) and isinstance(
            latest.get("secrets_providers") or {}, dict
        )
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return latest if whole else None


def find_broken(url: str) -> list[Broken]:
    """Every state file of the project that is cut off or no state. Pulumi reads all of them to list the stacks."""
    folder = backend_folder(url)
    if folder is None:
        return []
    paths = sorted((folder / "stacks" / PROJECT).glob("*.json"))
    return [_broken(folder, path) for path in paths if _saved_at(path) is None]


def drop_cut_off_attributes(url: str, progress: Progress) -> None:
    """Removes the notes on content type and hash that a killed Pulumi had begun to write beside a file, with a line for each.

    With one of them cut off, every command ends in "error: EOF" (Pulumi 3.256); without it, Pulumi reads the file as before.
    """
    folder = backend_folder(url)
    for path in sorted(folder.rglob("*.attrs")) if folder is not None else ():
        try:
            json.loads(path.read_bytes())
        except FileNotFoundError:
            continue
        except ValueError:
            path.unlink(missing_ok=True)
            progress(f"{path} was cut off when the last pulumi was killed: removed (it says nothing about the stack)")


def refuse_broken(url: str) -> None:
    """UserError with the repair when a state file is broken, before anything is touched."""
    for broken in find_broken(url):
        raise UserError(
            f"{broken.path}: is cut off or not a state file ({broken.size_bytes} bytes), and nothing was changed; "
            f"{broken.remedy}, then run script/up again"
        )


def _broken(folder: Path, path: Path) -> Broken:
    stack = path.stem
    copies = [
        *folder.glob(f"history/{PROJECT}/{stack}/{stack}-*.checkpoint.json"),
        *folder.glob(f"backups/{PROJECT}/{stack}/{stack}.*.json"),
        path.with_name(f"{path.name}.bak"),
    ]
    whole = [(saved, copy) for copy in copies if (saved := _saved_at(copy)) is not None]
    remedy = f"put {folder.parent} back from your backup"
    if whole:
        newest = max(whole, key=lambda pair: pair[0])[1]
        remedy = f"cp {shlex.quote(str(newest))} {shlex.quote(str(path))} puts the newest whole copy back"
    return Broken(path=path, size_bytes=path.stat().st_size, remedy=remedy)


def _saved_at(path: Path) -> datetime | None:
    """When the engine wrote it; its first version, before any update, has no time. None for anything but a whole state."""
    try:
        checkpoint: dict[str, Any] = json.loads(path.read_bytes())["checkpoint"]
        written = (checkpoint.get("latest") or {}).get("manifest", {}).get("time", "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return inventory.parse_time(written) or datetime.min.replace(tzinfo=UTC)
