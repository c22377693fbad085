"""States that earlier versions of this program left, for tests/engine/test_replay.py.

Each is the whole program's, deployed by the real engine with stand-ins for Cloudflare and for the Docker daemon, as
``pulumi stack export`` gives it. Its secrets are generated ones, encrypted with the passphrase of the tests. A new one at each
release, in its checkout:

    .venv/bin/python -m tests.engine.states VERSION
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from lab.standins.providers import World, install
from ops.machine.engine_from_modules import ensure
from ops.paths import ROOT
from tests.engine.previews import PreviewStack

FOLDER = ROOT / "tests" / "engine" / "states"


def load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def belong(world: World, document: dict[str, Any]) -> None:
    """The world's account and zone get the ids of those that the state was made in: tokens and records have them."""
    with world.edit() as data:
        text = json.dumps(data)
        for key, kind in (("accountId", "accounts"), ("zoneId", "zones")):
            (now,) = data[kind]
            recorded = next(one["inputs"][key] for one in document["deployment"]["resources"] if key in one.get("inputs", {}))
            text = text.replace(now, recorded)
        data.update(json.loads(text))


def salt(document: dict[str, Any]) -> str:
    """With the passphrase, what opens its secrets."""
    return str(document["deployment"]["secrets_providers"]["state"]["salt"])


def record(version: str) -> None:
    """Deploys what is checked out and writes its state."""
    with tempfile.TemporaryDirectory() as folder:
        engine = ensure(progress=print)
        stack = PreviewStack(engine, Path(folder), install(Path(folder) / "home", engine.pulumi_home, "cloudflare", "docker"))
        stack.as_before()
        stack.up()
        document = json.loads(stack.project.succeed("stack", "export"))
    for resource in document["deployment"]["resources"]:
        # Where the program's files were on the machine that recorded it.
        for place in ("sourcePosition", "stackTrace"):
            resource.pop(place, None)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{version}.json").write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    record(sys.argv[1])
