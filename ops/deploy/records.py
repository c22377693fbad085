"""What commands record beside the state of a stack, for whichever checkout comes next: one file of JSON each."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.paths import config_dir, write_whole
from ops.stack.stack import Stack

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def path(stack: Stack, name: str) -> Path:
    """The file of a record."""
    return config_dir() / f"{name}-{stack.short}.json"


def read(stack: Stack, name: str) -> dict[str, Any]:
    """The fields of a record; none if there is no such record, or it cannot be read."""
    try:
        return dict(json.loads(path(stack, name).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def write(stack: Stack, name: str, record: "DataclassInstance") -> None:
    """Writes a record, whole."""
    write_whole(path(stack, name), json.dumps(asdict(record)) + "\n")


def forget(stack: Stack, name: str) -> None:
    """Removes a record, if there is one."""
    path(stack, name).unlink(missing_ok=True)
