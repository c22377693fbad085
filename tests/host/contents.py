"""What a stack holds: its secrets, and every row of its database and every file of its data volumes, to be compared before and
after a fault.
"""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.host.volumes import SKYVERN_FOLDERS
from components.secrets import derive_fernet_key
from components.ui import login_hash
from tests.host.conftest import Checkout

# Sessions of the UI and scheduler's notes come and go by themselves.
_PASSING = ("organization_auth_tokens",)


@dataclass(frozen=True)
class Contents:
    """rows: as INSERT statements. files: volume and path -> SHA-256."""

    rows: frozenset[str]
    files: dict[str, str]

    def lost_in(self, later: "Contents") -> list[str]:
        """What is not there any more, or is another: empty when nothing is lost. What was added does not count."""
        others = {_row_of(row): row for row in later.rows}
        rows = [f"{row[:600]} -> {others.get(_row_of(row), 'gone')[:600]}" for row in self.rows - later.rows]
        return sorted(rows) + sorted(name for name, digest in self.files.items() if later.files.get(name) != digest)


def _row_of(statement: str) -> str:
    """Its table and its first value, which names it nearly everywhere."""
    return statement.partition(",")[0]


def read(checkout: Checkout, stack: str) -> Contents:
    """Everything in the stack now. The log volume is left out: its files grow."""
    excluded = [f"--exclude-table-data={table}" for table in _PASSING]
    dump = checkout.docker.run(
        *("exec", f"skyvern-{stack}-roles", "pg_dump", "--dbname=skyvern", "--data-only", "--rows-per-insert=1", *excluded)
    )
    rows = frozenset(line for line in dump.splitlines() if line.startswith("INSERT INTO "))
    files = {}
    for folder in sorted(set(SKYVERN_FOLDERS) - {"log"}):
        root = volume_path(checkout, f"skyvern-{stack}-{folder}")
        for path in root.rglob("*"):
            if path.is_file():
                files[f"{folder}/{path.relative_to(root)}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return Contents(rows, files)


def read_settled(checkout: Checkout, stack: str) -> Contents:
    """Everything in the stack once nothing of earlier runs is being written: Skyvern closes the browser and converts recordings
    after it has called a run completed, and removes what they were made from.
    """
    last = None
    for _ in range(60):
        processes = checkout.docker.run("top", f"skyvern-{stack}-server", "-eo", "pid,comm")
        now = read(checkout, stack)
        if now == last and not {"chromium", "chrome", "ffmpeg"} & set(processes.split()):
            return now
        last = now
        time.sleep(2)
    raise AssertionError(f"still being written after two minutes: {processes}")


def volume_path(checkout: Checkout, volume: str) -> Path:
    """Where the daemon keeps a volume on this machine."""
    return Path(checkout.docker.run("volume", "inspect", "--format", "{{.Mountpoint}}", volume).strip())


def generated_secrets(state: dict[str, Any]) -> dict[str, str]:
    """Every generated value by the name of its resource, and the keys that are made of them."""
    found = {}
    for one in state["deployment"]["resources"]:
        name = one["urn"].split("::")[-1].removeprefix("skyvern-secrets-")
        for field in ("result", "bcryptHash"):
            value = one.get("outputs", {}).get(field)
            # An organisation's id is a name: it stands in the outputs and in paths.
            if isinstance(value, dict) and "plaintext" in value and not name.endswith("organization"):
                found[f"{name}.{field}"] = json.loads(value["plaintext"])
    return found | {
        "login hash": login_hash(found["ui-login.result"]),
        "vault key": derive_fernet_key(found["vault-key.result"]),
    }
