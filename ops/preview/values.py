"""Property values as the engine's events and exports write them: marks for secrets, a placeholder for unknown values."""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ops.preview.model import SECRET, UNKNOWN

# Part of Pulumi's formats (sdk/go/common/resource, 3.256).
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET_MARK = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105  # says that a value is a secret
_UNKNOWN_MARK = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


@dataclass(frozen=True)
class Sealed:
    """A secret of an export with its plain value."""

    value: Any


def readable(value: Any) -> Any:
    """A value of an event: ``SECRET`` in place of each secret, ``UNKNOWN`` of each unknown value, also within a text."""
    match value:
        case dict() if _SIGNATURE in value:
            return SECRET if value[_SIGNATURE] == _SECRET_MARK else _asset(value)
        case dict():
            return {key: readable(item) for key, item in value.items() if key != "__defaults"}
        case list():
            return [readable(item) for item in value]
        case str() if _UNKNOWN_MARK in value:
            return value.replace(_UNKNOWN_MARK, UNKNOWN)
    return value


def _asset(fields: Mapping[str, Any]) -> Any:
    """An asset, an archive or a reference, by the fields that distinguish it from another one."""
    return {key: readable(item) for key, item in fields.items() if key in {"hash", "path", "uri", "urn", "id"}}


def sealed(value: Any) -> Any:
    """A value of ``pulumi stack export --show-secrets``: ``Sealed`` in place of each secret."""
    if isinstance(value, dict):
        if value.get(_SIGNATURE) == _SECRET_MARK:
            return Sealed(sealed(json.loads(value["plaintext"])) if "plaintext" in value else None)
        return {key: sealed(item) for key, item in value.items()}
    return [sealed(item) for item in value] if isinstance(value, list) else value


def secrets_in(*properties: Any) -> set[str]:
    """The secret texts in properties (``sealed``) of one resource.

    A provider may mark a whole list for one secret element. An element that is elsewhere in the same resource in plain text is
    not a secret; also as a line, as in the label of a container with its variables.
    """
    secrets: set[str] = set()
    plain = plain_texts(properties)
    lines = plain.union(*(text.split("\n") for text in plain))
    for leaf in leaves(properties):
        if isinstance(leaf, Sealed):
            not_secret = lines if isinstance(leaf.value, dict | list) else set()
            secrets.update(with_parts(set(_texts(leaf.value)) - not_secret))
    return secrets


def plain_texts(value: Any) -> set[str]:
    """All texts that are not secret."""
    return {text for text in _texts(value, secrets=False) if text not in {SECRET, UNKNOWN}}


def with_parts(texts: Iterable[str]) -> Iterator[str]:
    """Texts, and the values of those that set a variable (``NAME=value``)."""
    for text in texts:
        yield text
        if _VARIABLE.match(text):
            yield text.partition("=")[2]


def variable(text: Any) -> str | None:
    """The name in ``NAME=value``."""
    return text.partition("=")[0] if isinstance(text, str) and _VARIABLE.match(text) else None


def leaves(value: Any) -> Iterator[Any]:
    """The values in mappings and lists, however deep."""
    if isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    else:
        yield value


def _texts(value: Any, *, secrets: bool = True) -> Iterator[str]:
    for leaf in leaves(value):
        if isinstance(leaf, str):
            yield leaf
        elif isinstance(leaf, Sealed) and secrets:
            yield from _texts(leaf.value)


# --- Plain values that become secrets ---------------------------------------------------------------------------------------


def hide_pairs(old: Any, new: Any) -> tuple[Any, Any]:
    """Both sides with ``SECRET`` also where only the other side has it.

    The engine marks each side by itself, so a value that becomes a secret would be shown as it was (pulumi issue 9330). An
    element of a list has no counterpart. So if one side has more secrets, a plain text that only the other side has may be the
    one that became secret, and is hidden.
    """
    if SECRET in (old, new):
        return (old if old is None else SECRET), (new if new is None else SECRET)
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = {key: hide_pairs(old.get(key), new.get(key)) for key in {**old, **new}}
        return {key: pairs[key][0] for key in old}, {key: pairs[key][1] for key in new}
    if isinstance(old, list) and isinstance(new, list):
        return _hide_elements(old, new), _hide_elements(new, old)
    return old, new


def _hide_elements(mine: list[Any], others: list[Any]) -> list[Any]:
    more = _secrets_of(others) > _secrets_of(mine)
    hidden: list[Any] = []
    for index, element in enumerate(mine):
        if isinstance(element, dict | list):
            partner = others[index] if index < len(others) else None
            hidden.append(hide_pairs(element, partner)[0] if type(partner) is type(element) or partner == SECRET else element)
        else:
            hidden.append(SECRET if more and element not in others else element)
    return hidden


def _secrets_of(elements: list[Any]) -> int:
    return sum(element == SECRET for element in elements)


def revealed(before: Any, hidden: Any, plain: Collection[str]) -> Iterator[str]:
    """The texts of ``before`` that ``hide_pairs`` has hidden: they are secrets from now on, wherever else they are.

    plain: texts elsewhere in the resource; these are not secrets, even in a list that is hidden as a whole.
    """
    if hidden == SECRET:
        whole = isinstance(before, dict | list)
        yield from (text for text in _texts(before) if text not in {SECRET, UNKNOWN} and not (whole and text in plain))
    elif isinstance(before, dict) and isinstance(hidden, dict):
        for key, value in before.items():
            yield from revealed(value, hidden.get(key), plain)
    elif isinstance(before, list) and isinstance(hidden, list):
        for left, right in zip(before, hidden, strict=True):
            yield from revealed(left, right, plain)
