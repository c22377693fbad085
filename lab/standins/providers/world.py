"""The vendors' side: what exists there, in a JSON file that tests read and change, and the journal of all calls.

One file for all vendors. Its keys: those of the vendors' modules (cloudflare.py, vercel.py, docker.py), ``calls`` (the number of
mutating calls), ``faults`` (the calls that go wrong). Beside it are the journal, one JSON object a line, and the lock.
Not here: rules. Anything can be written into a world, as drift or as another account's record.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.standins.providers.wire import Secret

# Names the file for the plugin process, which inherits the engine's environment.
WORLD_VARIABLE = "SKYVERN_STANDIN_WORLD"

Data = dict[str, Any]


class World:
    """A world at a path. Any number of processes may hold one; each ``edit`` is atomic."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, data: Mapping[str, Any]) -> "World":
        """A new world with an empty journal."""
        world = cls(path)
        world._write({"calls": 0, "faults": [], **data})
        world._journal.write_text("")
        return world

    def read(self) -> Data:
        """A copy of everything that is there now."""
        data: Data = json.loads(self.path.read_text())
        return data

    @contextmanager
    def edit(self) -> Iterator[Data]:
        """Everything that is there, for changing; written back unless an exception leaves the block."""
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            data = self.read()
            yield data
            self._write(data)

    def variables(self) -> dict[str, str]:
        """Environment variables of ``pulumi`` with which its plugins find this world."""
        return {WORLD_VARIABLE: str(self.path)}

    # --- Journal ---

    def journal(self, *operations: str) -> list[Data]:
        """The calls in their order, of the given operations (create, read, update, delete, invoke) or of all.

        An entry has ``operation``, ``type``, ``name`` (the resource's in the program), ``id``, ``inputs``, ``call`` (the number
        of a mutating call; a deletion without any API call has none) and, where it was refused, ``error``. A secret is
        ``sha256:`` and its digest. The plans of ``preview`` make no calls, except for look-ups.
        """
        entries = [json.loads(line) for line in self._journal.read_text().splitlines()]
        return [entry for entry in entries if not operations or entry["operation"] in operations]

    def forget_journal(self) -> None:
        """Empties the journal, so that the next call is its first."""
        self._journal.write_text("")

    def record(self, entry: Mapping[str, Any]) -> None:
        """Adds a call; values that are ``Secret`` are hashed."""
        with self._journal.open("a") as journal:
            journal.write(json.dumps(_masked(dict(entry))) + "\n")

    # --- Faults ---

    def fail(
        self, call: int, *, status: int = 500, code: int = 10001, message: str = "Internal error", done: bool = False
    ) -> None:
        """Lets a mutating call fail, once. ``call``: 1 is the next call. ``done``: it is carried out all the same."""
        self._add_fault({"call": call, "status": status, "code": code, "message": message, "done": done})

    def crash(self, call: int = 0, *, name: str = "", engine: bool = False) -> None:
        """Lets the plugin die, once, when a mutating call has been carried out but not answered.

        call: 1 is the next call. name: of the resource in the program, in place of a number. engine: the engine dies as well, so
        that its state does not have the end of the call.
        """
        self._add_fault({**({"name": name} if name else {"call": call}), "crash": True, "engine": engine})

    def _add_fault(self, fault: Data) -> None:
        with self.edit() as data:
            data["faults"].append(fault if "name" in fault else {**fault, "call": data["calls"] + fault["call"]})

    # --- Connectors ---

    def connect(self, tunnel: str, alive: Path) -> None:
        """Gives the tunnel of this name live connections as long as the path ``alive`` exists, such as /proc/1234."""
        with self.edit() as data:
            data.setdefault("connectors", {})[tunnel] = str(alive)

    @property
    def _journal(self) -> Path:
        return self.path.with_suffix(".journal")

    def _write(self, data: Data) -> None:
        # Readers take no lock, so they must never see half a file.
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        partial.write_text(json.dumps(data, indent=1))
        partial.replace(self.path)


def connected(data: Data, tunnel: str) -> bool:
    """Whether the tunnel of this name has live connections."""
    alive = data.get("connectors", {}).get(tunnel)
    return alive is not None and Path(alive).exists()


def take_fault(data: Data, name: str = "") -> Data | None:
    """Counts a mutating call of a resource and returns its fault, if any."""
    data["calls"] += 1
    faults: list[Data] = data["faults"]
    fault = next((fault for fault in faults if fault.get("call") == data["calls"] or ("name", name) in fault.items()), None)
    if fault is not None:
        data["faults"].remove(fault)
    return fault


def _masked(value: Any) -> Any:
    match value:
        case Secret():
            return f"sha256:{hashlib.sha256(json.dumps(value.value, sort_keys=True).encode()).hexdigest()}"
        case dict():
            return {key: _masked(item) for key, item in value.items()}
        case list():
            return [_masked(item) for item in value]
    return value
