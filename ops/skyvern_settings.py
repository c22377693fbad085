"""docs/skyvern-settings.md: every setting of the pinned Skyvern with its default, what the stack sets, and why.

The decisions and their format are in components/host/skyvern_settings.toml. Not here: the comparison with the wheel and with what
the program sends, which is a test (tests/unit/test_skyvern_settings.py).
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from typing import Any

from ops.images import SKYVERN_VERSION
from ops.paths import ROOT

DECISIONS = ROOT / "components/host/skyvern_settings.toml"

_HEAD = f"""\
# Settings of Skyvern

Every setting of Skyvern {SKYVERN_VERSION} that is not just a number: its default, what the stack sets, and why. What a person
decides is in the stack file ([configuration.md](configuration.md)); this page shows what is open and what is not. It is made from
`components/host/skyvern_settings.toml` by `bin/ops configuration --skyvern`. A test compares it with the installed version, so a
setting that a new one brings is decided on first ([why](decisions/skyvern-settings.md)).

"""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """About one setting, or about all that fit a name with ``*``.

    default: as Python, ``*`` where the settings of a pattern differ; empty for what is not a setting of Skyvern.
    sets: the value that the stack always sends. source: where the stack has a value that it knows. Both None: left alone.
    """

    name: str
    default: str
    sets: str | None
    source: str | None
    why: str

    @property
    def sent(self) -> bool:
        """Whether the stack sends it."""
        return self.sets is not None or self.source is not None


@dataclass(frozen=True, kw_only=True)
class Group:
    """Decisions of one kind. beside: about variables that are not settings of Skyvern. unset: which no part of the stack sets."""

    title: str
    beside: bool
    unset: bool
    decisions: tuple[Decision, ...]


@cache
def groups() -> tuple[Group, ...]:
    """All decisions in the order of the file."""
    return tuple(_group(entry) for entry in tomllib.loads(DECISIONS.read_text())["group"])


def _group(entry: dict[str, Any]) -> Group:
    rows = {name: {"default": row} if isinstance(row, str) else row for name, row in entry["settings"].items()}
    return Group(
        title=entry["title"],
        beside=entry.get("beside", False),
        unset=entry.get("unset", False),
        decisions=tuple(
            Decision(
                name=name,
                default=row.get("default", ""),
                sets=row.get("set"),
                source=row.get("from"),
                why=row.get("why", entry["why"]),
            )
            for name, row in rows.items()
        ),
    )


def reference() -> str:
    """The whole page as Markdown."""
    parts = [_HEAD]
    for group in groups():
        parts.append(f"## {group.title}\n\n| setting | default | here | why |\n| --- | --- | --- | --- |\n")
        parts += [f"| {' | '.join(_cells(decision))} |\n" for decision in group.decisions]
        parts.append("\n")
    return "".join(parts).rstrip() + "\n"


def _cells(decision: Decision) -> tuple[str, str, str, str]:
    if decision.sets is not None:
        here = f"`{decision.sets}`"
    else:
        here = "-" if decision.source is None else f"from {_code(decision.source)}"
    default = {"": "-", "*": "differs"}.get(decision.default) or f"`{decision.default}`"
    return f"`{decision.name}`", default, here, decision.why or "-"


def _code(source: str) -> str:
    """A key of the stack file as code, words as they are."""
    return source if " " in source else f"`{source}`"
