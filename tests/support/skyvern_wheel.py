"""The wheel of Skyvern that the server's image installs, as text. It is read and never imported."""

import ast
import zipfile
from collections.abc import Iterator
from functools import cache

from lab.standins.vercel.build import cached
from tests.support.pinned_wheel import REQUIREMENTS, download


@cache
def _archive() -> zipfile.ZipFile:
    # 8 MB, in the user's cache from then on.
    (wheel,) = cached("skyvern", REQUIREMENTS, lambda folder: download("skyvern", folder)).glob("*.whl")
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
