"""Properties of resources as rules read them: plain values, with unknown values and secrets marked.

The wire format is the engine's (pulumi/runtime/rpc.py). The SDK opens secrets before a rule sees them and skips a whole rule at
the first unknown value; here a rule may ask whether a value is a secret, and an unknown element hides nothing but itself.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105  a mark of the wire format
# Placeholders for a boolean, number, string, list, asset, archive or object that is known only after an update.
_UNKNOWN_ON_THE_WIRE = frozenset(
    {
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()


class Unread(Exception):
    """A check asked for a value that is unknown. element: path of the list element it is in, if it is in one."""

    def __init__(self, path: str, element: str | None) -> None:
        super().__init__(path)
        self.path = path
        self.element = element


def _join(path: str, key: str | int) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def decode(value: Any, path: str = "", secrets: set[str] | None = None) -> Any:
    """A value of the wire or of an exported state without its marks; ``secrets`` collects the paths of what was secret.

    An encrypted value of a state (its mark has a ciphertext instead of a value) and an asset are UNKNOWN: rules cannot read them.
    """
    if isinstance(value, str):
        return UNKNOWN if value in _UNKNOWN_ON_THE_WIRE else value
    if isinstance(value, list):
        return [decode(item, _join(path, index), secrets) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if _SIGNATURE in value:
        if value[_SIGNATURE] != _SECRET:
            return UNKNOWN
        if secrets is not None:
            secrets.add(path)
        return decode(value["value"], path, secrets) if "value" in value else UNKNOWN
    return {key: decode(item, _join(path, key), secrets) for key, item in value.items()}


def fill(value: Any, last: Any) -> Any:
    """``value`` with its unknown parts taken from ``last``, path by path; a part that is unknown in both stays unknown."""
    if value is UNKNOWN:
        return UNKNOWN if last is None else last
    if isinstance(value, dict) and isinstance(last, dict):
        return {key: fill(item, last.get(key)) for key, item in value.items()}
    if isinstance(value, list) and isinstance(last, list):
        return [fill(item, last[index] if index < len(last) else None) for index, item in enumerate(value)]
    return value


def agree(value: Any, last: Any) -> bool:
    """Whether two versions say the same where both are known: an argument that only one of them has is ignored."""
    if value is UNKNOWN or last is UNKNOWN:
        return True
    if isinstance(value, dict) and isinstance(last, dict):
        return all(agree(value[key], last[key]) for key in value.keys() & last.keys())
    if isinstance(value, list) and isinstance(last, list):
        return len(value) == len(last) and all(map(agree, value, last))
    return bool(value == last)


@dataclass(frozen=True, eq=False)
class Inputs:
    """A read-only view of properties, by the engine's names (``networkMode``). Reading an unknown one raises Unread."""

    values: Mapping[str, Any]
    _: KW_ONLY
    secrets: frozenset[str] = frozenset()
    skipped: frozenset[str] = frozenset()
    path: str = ""
    element: str | None = None

    def skipping(self, elements: frozenset[str]) -> "Inputs":
        """The same properties, without the list elements at these paths."""
        return replace(self, skipped=elements)

    def under(self, path: str) -> "Inputs":
        """The same properties with longer paths, so that those of two resources differ."""
        return Inputs(self.values, secrets=frozenset(_join(path, secret) for secret in self.secrets), path=path)

    def filled(self, last: Mapping[str, Any] | None) -> "Inputs":
        """The same properties, unknown values as they were in ``last``.

        Not if a known value has changed: unknown values may change with it, and a mixture of both was never deployed.
        """
        values = fill(self.values, last) if agree(self.values, last) else self.values
        return Inputs(values, secrets=self.secrets, path=self.path)

    def get(self, key: str, default: Any = None) -> Any:
        """The value, ``default`` when it is missing or null."""
        value = self.values.get(key)
        if value is UNKNOWN:
            raise Unread(_join(self.path, key), self.element)
        return default if value is None else value

    def section(self, key: str) -> "Inputs":
        """The object at ``key``; empty when it is missing."""
        return self._view(self.get(key, {}), _join(self.path, key), self.element)

    def each(self, key: str) -> Iterator[tuple[str, Any]]:
        """Path and value of each element of a list, for what must not be in it; an object is an Inputs.

        An unknown element is left out when the check runs again, so it hides no other.
        """
        for _, where, item in self._known(key, enumerate(self.get(key, []))):
            yield where, self._view(item, where, where) if isinstance(item, dict) else item

    def entries(self, key: str) -> Iterator[tuple[str, str, Any]]:
        """Path, name and value of each entry of an object, as ``each`` of a list: an unknown one hides no other."""
        for name, where, item in self._known(key, self.get(key, {}).items()):
            yield where, name, item

    def _known(self, key: str, items: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, str, Any]]:
        """Index or name, path and value of each."""
        for name, item in items:
            where = _join(_join(self.path, key), name)
            if where in self.skipped:
                continue
            if item is UNKNOWN:
                raise Unread(where, where)
            yield name, where, item

    def whole(self, key: str) -> list[Any]:
        """All elements of a list, for what must be in it: an unknown element may be just that, so it ends the check."""
        path = _join(self.path, key)
        items = self.get(key, [])
        for index, item in enumerate(items):
            if item is UNKNOWN:
                raise Unread(_join(path, index), None)
        return [self._view(item, _join(path, n), None) if isinstance(item, dict) else item for n, item in enumerate(items)]

    def at(self, path: str) -> Iterator[tuple[str, Any]]:
        """Path and value of whatever is at a path, None when it is missing. ``ports[].ip`` is the ip of each port."""
        key, _, rest = path.partition(".")
        if key.endswith("[]"):
            for where, item in self.each(key.removesuffix("[]")):
                yield from item.at(rest) if rest else ((where, item),)
        elif rest:
            yield from self.section(key).at(rest)
        else:
            yield _join(self.path, key), self.get(key)

    def is_secret(self, path: str) -> bool:
        """Whether the value at a path was sent as a secret, by itself or within another."""
        return any(path == secret or path.startswith((f"{secret}.", f"{secret}[")) for secret in self.secrets)

    def _view(self, value: Any, path: str, element: str | None) -> "Inputs":
        values = value if isinstance(value, Mapping) else {}
        return Inputs(values, secrets=self.secrets, skipped=self.skipped, path=path, element=element)
