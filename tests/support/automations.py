"""The examples of automations as their files have them."""

from pathlib import Path
from typing import Any

import yaml

from ops.paths import ROOT

FOLDER = ROOT / "automations/examples"
EXAMPLES = sorted(FOLDER.glob("*.yaml"))


def workflow_of(example: Path | str) -> dict[str, Any]:
    """Skyvern's own document in an example, by its path or its name."""
    path = example if isinstance(example, Path) else FOLDER / f"{example}.yaml"
    document: dict[str, Any] = yaml.safe_load(path.read_text())["workflow"]
    return document


def request_of(document: dict[str, Any]) -> dict[str, Any]:
    """The body of POST /v1/workflows."""
    return {"json_definition": document}
