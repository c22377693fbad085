"""The version of a checkout of this project: the number of pyproject.toml and the commit, if git knows it.

Read from the files, not from package metadata: the project is run from its checkout and never installed.
Not here: the versions of what it runs (``ops version`` adds them).
"""

import tomllib
from pathlib import Path

from ops.clients import git
from ops.errors import UserError
from ops.paths import ROOT

NAME = "skyvern-stack"


def read(root: Path = ROOT) -> str:
    """``0.1.0``, in a repository ``0.1.0+0123456789ab``, and with uncommitted edits ``0.1.0+0123456789ab.changed``."""
    number: str = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    # An archive unpacked inside another repository would get the commit of that repository.
    if not (root / ".git").exists():
        return number
    try:
        head = git.head(root)
    except UserError:
        return number
    return f"{number}+{head.commit[:12]}{'.changed' if head.changed else ''}"
