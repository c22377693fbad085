"""What commands record beside the state of a stack, for whichever checkout comes next: one file of JSON each."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from ops.paths import config_dir, write_whole
from ops.stack.stack import Stack

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")


class Records(Generic[Record]):
    """The records of one kind, one for each stack. name: of the files. kind: a dataclass, whose sequences are tuples."""

    def __init__(self, name: str, kind: type[Record]) -> None:
        self._name, self._kind = name, kind

    def path(self, stack: Stack) -> Path:
        """The file of a record."""
        return config_dir() / f"{self._name}-{stack.short}.json"

    def read(self, stack: Stack) -> Record | None:
        """The record of a stack; None if there is none, or it cannot be read."""
        try:
            fields = json.loads(self.path(stack).read_text(encoding="utf-8"))
            return self._kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})
        except (OSError, ValueError, TypeError, AttributeError):
            return None

    def write(self, stack: Stack, record: Record) -> Record:
        """Writes a record, whole."""
        write_whole(self.path(stack), json.dumps(asdict(record)) + "\n")
        return record

    def forget(self, stack: Stack) -> None:
        """Removes a record, if there is one."""
        self.path(stack).unlink(missing_ok=True)
