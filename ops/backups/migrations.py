"""Skyvern's migrations: which ones an image brings, and which of them a database still has to go through.

Asked of the images themselves, so nothing here has to be kept up to date with a version.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ops.backups.preflight import OFFLINE
from ops.clients.docker import PYTHON, Docker
from ops.errors import UserError

# As the wheel lays them out: one file each, named in no order. What a downgrade does to data is left out.
_ABOUT = r"""
import ast, glob, importlib.metadata, json, re
SQL = re.compile(r"\b(drop\s+table|drop\s+column|delete\s+from|truncate)\b", re.IGNORECASE)
def drops(node):
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in ("drop_table", "drop_column")
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.search(node.value) is not None
found = []
for name in glob.glob("/opt/skyvern/lib/python3*/site-packages/alembic/versions/*.py"):
    values, destroys = {}, False
    for node in ast.parse(open(name, encoding="utf-8").read()).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            values[node.target.id] = node.value
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            values[node.targets[0].id] = node.value
        elif isinstance(node, ast.FunctionDef) and node.name != "downgrade":
            statements = node.body[1:] if ast.get_docstring(node) else node.body
            destroys = destroys or any(drops(part) for statement in statements for part in ast.walk(statement))
    if "revision" in values:
        after = ast.literal_eval(values["down_revision"])
        after = [] if after is None else [after] if isinstance(after, str) else list(after)
        found.append({"id": ast.literal_eval(values["revision"]), "after": after, "drops": destroys})
print(json.dumps({"version": importlib.metadata.version("skyvern"), "migrations": found}))
"""


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One migration. after: those that it follows. drops: it removes a table, a column or rows."""

    id: str
    after: tuple[str, ...] = ()
    drops: bool = False


@dataclass(frozen=True, kw_only=True)
class Skyvern:
    """The Skyvern of an image. migrations: by their ids."""

    version: str
    migrations: Mapping[str, Migration]

    def heads(self) -> frozenset[str]:
        """The migrations that no other follows; a database at these needs none."""
        return frozenset(self.migrations) - {before for one in self.migrations.values() for before in one.after}

    def pending(self, database: Iterable[str]) -> tuple[Migration, ...]:
        """What a database at these migrations has to go through. KeyError for one that this Skyvern does not know."""
        done = self._up_to(database)
        return tuple(self.migrations[one] for one in sorted(self._up_to(self.heads()) - done))

    def _up_to(self, last: Iterable[str]) -> set[str]:
        seen: set[str] = set()
        waiting = list(last)
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                waiting += self.migrations[one].after
        return seen


def of_image(docker: Docker, image: str) -> Skyvern:
    """The Skyvern in an image, by its reference or id; UserError if it is none of ours."""
    printed = docker.run(*OFFLINE, image, *PYTHON, _ABOUT)
    try:
        document = json.loads(printed)
        found = [
            Migration(id=str(one["id"]), after=tuple(map(str, one["after"])), drops=bool(one["drops"]))
            for one in document["migrations"]
        ]
        return Skyvern(version=str(document["version"]), migrations={one.id: one for one in found})
    except (ValueError, KeyError, TypeError) as odd:
        raise UserError(f"image {image}: does not say which Skyvern is in it; build it again with script/up") from odd
