"""docs/skyvern-settings.md: every setting of the pinned Skyvern with its default, what the stack sets, and why.

The same in Korean is docs/ko/skyvern-settings.md. The decisions and their format are in components/host/skyvern_settings.toml.
Not here: the Korean texts (components/settings/configuration.ko.yaml), and the comparison with the wheel and the program, a test
(tests/unit/components/settings/test_skyvern_settings.py).
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from components.settings.reference import Language, Say, table, translator

# The packages of the server and of the UI have the same version (a test compares them).
SKYVERN_VERSION = "1.0.56"

DECISIONS = Path(__file__).parents[1] / "host/skyvern_settings.toml"

_HEAD = """\
# Settings of Skyvern

[한국어](ko/skyvern-settings.md)

Every setting of Skyvern {version} that is not just a number: its default, what the stack sets, and why. What a person
decides is in the stack file ([configuration.md](configuration.md)); this page shows what is open and what is not. It is made from
`components/host/skyvern_settings.toml` by `bin/ops configuration --skyvern`. A test compares it with the installed version, so a
setting that a new version adds is decided on first ([why](decisions/skyvern-settings.md))."""


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


def reference(language: Language = "en") -> str:
    """The whole page as Markdown."""
    return page(translator(language))


def page(say: Say) -> str:
    """A table for each group."""
    parts = [say(_HEAD).format(version=SKYVERN_VERSION)]
    for group in groups():
        rows = [_cells(decision, say) for decision in group.decisions]
        parts.append(f"## {say(group.title)}\n\n{table(('setting', 'default', 'here', 'why'), rows, say)}".rstrip())
    return "\n\n".join(parts) + "\n"


def _cells(decision: Decision, say: Say) -> tuple[str, str, str, str]:
    if decision.sets is not None:
        here = f"`{decision.sets}`"
    elif decision.source is None:
        here = "-"
    else:
        # One word is a key of the stack file.
        here = say("from {}").format(say(decision.source) if " " in decision.source else f"`{decision.source}`")
    default = say("differs") if decision.default == "*" else f"`{decision.default}`" if decision.default else "-"
    return f"`{decision.name}`", default, here, say(decision.why) if decision.why else "-"
