"""The wheel of Skyvern that the server's image installs, as text. It is read and never imported."""

import ast
import re
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from lab.standins.vercel.build import cached, download_wheels
from ops.paths import ROOT

REQUIREMENTS = ROOT / "images/server/requirements.txt"


def _download(folder: Path) -> None:
    """8 MB by the hash of the image's requirements; in the user's cache from then on."""
    own = re.search(r"^skyvern==.*\\\n(?:    --hash=.*\n)+", REQUIREMENTS.read_text(), re.MULTILINE)
    assert own is not None
    requirement = folder / "requirement.txt"
    requirement.write_text(own[0].rstrip().removesuffix("\\") + "\n")
    download_wheels(folder, requirement)


@cache
def _archive() -> zipfile.ZipFile:
    (wheel,) = cached("skyvern", REQUIREMENTS, _download).glob("*.whl")
    return zipfile.ZipFile(wheel)


def modules() -> Iterator[tuple[str, str]]:
    """Path, such as ``skyvern/config.py``, and text of every module."""
    for path in sorted(_archive().namelist()):
        if path.endswith(".py"):
            yield path, text(path)


def text(path: str) -> str:
    """Text of a module."""
    return _archive().read(path).decode()


def class_body(path: str, name: str) -> list[ast.stmt]:
    """What stands in a class at the top of a module."""
    (found,) = [node for node in ast.parse(text(path)).body if isinstance(node, ast.ClassDef) and node.name == name]
    return found.body
