"""When the last recovery kit of a stack was made on this machine. The kit itself is nowhere here (ops/backups/kit.py)."""

import json
from datetime import UTC, datetime
from pathlib import Path

from ops.paths import config_dir, write_whole
from ops.stack.stack import Stack


def _file() -> Path:
    return config_dir() / "kits.json"


def _read() -> dict[str, str]:
    try:
        noted = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(at) for name, at in noted.items()} if isinstance(noted, dict) else {}


def made_at(stack: Stack) -> datetime | None:
    """The time of the last kit; None if none is known."""
    try:
        return datetime.fromisoformat(_read()[stack.name])
    except (KeyError, ValueError):
        return None


def note(stack: Stack) -> None:
    """A kit was made now."""
    write_whole(_file(), json.dumps({**_read(), stack.name: datetime.now(UTC).isoformat()}, indent=2) + "\n")
