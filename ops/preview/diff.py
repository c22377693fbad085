"""Differences between two sets of properties, by paths that a reader can follow; values come without secrets."""

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ops.preview.model import SECRET, UNKNOWN, PropertyDiff
from ops.preview.values import variable

# A value takes a line of the report; a longer one is shown by its beginning and its hash.
LONGEST = 160
# Properties by which elements of a list are distinguished; without any of them, their place is used.
_KEYS = ("ref", "hostname", "label", "containerPath", "name", "external", "path", "id")

_INDEX = re.compile(r"\[[^\]]*\]")


def differences(
    old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, forcing: Iterable[str] = ()
) -> tuple[PropertyDiff, ...]:
    """Differences sorted by path. None: no such side, as for a new resource. forcing: paths that force a replacement."""
    roots = {without_indices(path) for path in forcing}
    changes = []
    for path, before, after in _walk("", old or {}, new or {}):
        forces = any(within(without_indices(path), root) for root in roots)
        lines = _changed_lines(before, after)
        changes.append(PropertyDiff(path=path, old=one_line(before), new=one_line(after), lines=lines, forces=forces))
    return tuple(sorted(changes, key=lambda change: change.path))


def value_at(properties: Any, path: str) -> Any:
    """The value at a path of the engine's, ``config.ingresses[0]["host"]``; None if there is none."""
    for key, index, quoted in re.findall(r'([^.\["\]]+)|\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]', path):
        pass_on = quoted or key
        if index and isinstance(properties, list):
            properties = properties[int(index)] if int(index) < len(properties) else None
        elif pass_on and isinstance(properties, dict):
            properties = properties.get(pass_on)
        else:
            return None
    return properties


class _Absent:
    """No value at all, which is not the same as null."""


_ABSENT = _Absent()


def _walk(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, _Absent) and isinstance(new, dict | list) and new:
        old = type(new)()
    if isinstance(new, _Absent) and isinstance(old, dict | list) and old:
        new = type(old)()
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({**old, **new}):
            yield from _walk(f"{path}.{key}" if path else key, old.get(key, _ABSENT), new.get(key, _ABSENT))
    elif isinstance(old, list) and isinstance(new, list):
        before, after = _by_key(old, new)
        for key in sorted({**before, **after}, key=_natural):
            yield from _walk(f"{path}[{key}]", before.get(key, _ABSENT), after.get(key, _ABSENT))
    elif old != new or type(old) is not type(new):
        yield path, old, new


def _by_key(old: Sequence[Any], new: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both lists by what distinguishes their elements: the name of a variable, a property, or their place."""
    for key_of in (
        variable,
        *(lambda element, key=key: element.get(key) if isinstance(element, dict) else None for key in _KEYS),
    ):
        before, after = _keyed(old, key_of), _keyed(new, key_of)
        if before is not None and after is not None:
            return before, after
    # Texts without a key, more on one side: an insertion moves all places after it, so they are useless as keys.
    if all(isinstance(text, str) and text not in {SECRET, UNKNOWN} for text in (*old, *new)) and len(old) != len(new):
        return {_label(text): text for text in old}, {_label(text): text for text in new}
    return {str(index): item for index, item in enumerate(old)}, {str(index): item for index, item in enumerate(new)}


def _keyed(elements: Sequence[Any], key_of: Any) -> dict[str, Any] | None:
    keyed: dict[str, Any] = {}
    hidden = 0
    for element in elements:
        if element == SECRET and key_of is variable:
            # An element that is a secret as a whole hides its name, too; only its place among such elements is known.
            key: Any = f"secret {hidden}"
            hidden += 1
        else:
            key = key_of(element)
        if not isinstance(key, str | int) or str(key) in keyed or str(key) in {SECRET, UNKNOWN}:
            return None
        keyed[str(key)] = element.partition("=")[2] if key_of is variable and element != SECRET else element
    return keyed


def _label(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:30]}… {_digest(text)}"


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def without_indices(path: str) -> str:
    """A path as it is for every element of its lists."""
    return _INDEX.sub("", path)


def within(path: str, root: str) -> bool:
    """Whether one of two paths without indices is the other one or below it."""
    return path == root or path.startswith(f"{root}.") or root.startswith(f"{path}.")


def one_line(value: Any) -> str | None:
    """A value as one line of limited length; None for none."""
    if value is None or isinstance(value, _Absent):
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    lines = text.count("\n") + 1
    if lines > 1:
        return f"{lines} lines, {_digest(text)}"
    return text if len(text) <= LONGEST else f"{text[:120]}… ({len(text)} characters, {_digest(text)})"


def _digest(text: str) -> str:
    return f"sha256 {hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _changed_lines(old: Any, new: Any) -> tuple[str, ...]:
    """Of texts with lines: those that go (``-``) and come (``+``), each with a neighbour on both sides (`` ``)."""
    if not (isinstance(old, str) and isinstance(new, str) and "\n" in old and "\n" in new):
        return ()
    changed = difflib.unified_diff(old.splitlines(), new.splitlines(), n=1, lineterm="")
    return tuple(line for line in changed if not line.startswith(("---", "+++", "@@")))
