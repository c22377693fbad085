"""docs/skyvern-settings.md: every setting of the pinned Skyvern with its default, what the stack sets, and why.

The same in Korean is docs/ko/skyvern-settings.md, with the texts of configuration.ko.yaml. The decisions and their format are in
components/host/skyvern_settings.toml. Not here: the comparison with the wheel and with what the program sends, which is a test
(tests/unit/components/settings/test_skyvern_settings.py).
"""

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from ops import configuration
from ops.images.source import SKYVERN_VERSION
from ops.paths import ROOT

DECISIONS = ROOT / "components/host/skyvern_settings.toml"

_ENGLISH_HEAD = f"""\
# Settings of Skyvern

[한국어](ko/skyvern-settings.md)

Every setting of Skyvern {SKYVERN_VERSION} that is not just a number: its default, what the stack sets, and why. What a person
decides is in the stack file ([configuration.md](configuration.md)); this page shows what is open and what is not. It is made from
`components/host/skyvern_settings.toml` by `bin/ops configuration --skyvern`. A test compares it with the installed version, so a
setting that a new version adds is decided on first ([why](decisions/skyvern-settings.md)).

"""

_KOREAN_HEAD = f"""\
# Skyvern의 설정

[English](../skyvern-settings.md)

숫자뿐인 것을 뺀 Skyvern {SKYVERN_VERSION}의 모든 설정입니다. 기본값, 스택이 정한 값, 그 이유가 있습니다. 사람이 정하는 것은 스택
파일에 있고([configuration.md](configuration.md)), 이 문서는 무엇이 열려 있고 무엇이 닫혀 있는지 보여 줍니다. 이 문서는
`bin/ops configuration --skyvern`이 `components/host/skyvern_settings.toml`로 만듭니다. 테스트가 설치된 버전과 비교하므로,
새 버전에 생긴 설정은 먼저 결정해야 합니다([이유](decisions/skyvern-settings.md)).

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


@dataclass(frozen=True, kw_only=True)
class _Language:
    """One language of the page. source: the text for a value from there. text: the text of a decision in this language."""

    head: str
    columns: tuple[str, str, str, str]
    source: str
    differs: str
    text: Callable[[str], str]


def texts() -> Iterator[str]:
    """The English texts of the decisions on the page; some occur more than once."""
    for group in groups():
        yield group.title
        for decision in group.decisions:
            if decision.why:
                yield decision.why
            if decision.source is not None and not _is_key(decision.source):
                yield decision.source


def reference(language: Literal["en", "ko"] = "en") -> str:
    """The whole page as Markdown. Raises KeyError where a text has no translation."""
    words = _ENGLISH if language == "en" else _korean()
    parts = [words.head]
    for group in groups():
        parts.append(f"## {words.text(group.title)}\n\n| {' | '.join(words.columns)} |\n| --- | --- | --- | --- |\n")
        parts += [f"| {' | '.join(_cells(decision, words))} |\n" for decision in group.decisions]
        parts.append("\n")
    return "".join(parts).rstrip() + "\n"


def _cells(decision: Decision, words: _Language) -> tuple[str, str, str, str]:
    if decision.sets is not None:
        here = f"`{decision.sets}`"
    elif decision.source is None:
        here = "-"
    else:
        here = words.source.format(f"`{decision.source}`" if _is_key(decision.source) else words.text(decision.source))
    default = {"": "-", "*": words.differs}.get(decision.default) or f"`{decision.default}`"
    return f"`{decision.name}`", default, here, words.text(decision.why) if decision.why else "-"


def _is_key(source: str) -> bool:
    """Whether a source is a key of the stack file; else it is words."""
    return " " not in source


_ENGLISH = _Language(
    head=_ENGLISH_HEAD,
    columns=("setting", "default", "here", "why"),
    source="from {}",
    differs="differs",
    text=lambda english: english,
)


def _korean() -> _Language:
    return _Language(
        head=_KOREAN_HEAD,
        columns=("설정", "기본값", "여기", "이유"),
        source="{}에서",
        differs="서로 다름",
        text=configuration.translations().__getitem__,
    )
