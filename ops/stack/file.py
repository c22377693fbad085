"""Edits a stack file and leaves its comments and everything else as they are."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def edit(path: Path, change: Callable[[dict[str, Any]], bool]) -> None:
    """Writes the file anew when ``change``, which gets the whole document, says that it changed something.

    The file appears whole or not at all. Not here: whether the values are right (components/settings.py).
    """
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(path) or {}
    if not change(document):
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("w") as file:
        yaml.dump(document, file)
    partial.chmod(path.stat().st_mode)
    partial.replace(path)
