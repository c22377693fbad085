"""Tables of the dashboard: one description for the page, its sorting and its CSV."""

import csv
import io
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from texts import Say

Kind = Literal["text", "word", "count", "percent", "seconds", "dollars", "time", "day", "run", "workflow"]
# A cell that begins so is a formula to a spreadsheet (OWASP, "CSV Injection").
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
NUMBERS = frozenset({"count", "percent", "seconds", "dollars"})
LONGEST = 120


@dataclass(frozen=True)
class Column:
    """key: of a row. label: in English. kind: how a value is written, and what a missing one means."""

    key: str
    label: str
    kind: Kind = "text"


@dataclass(frozen=True, kw_only=True)
class Table:
    """rows: a value for each column's key, None for unknown. key: in addresses. empty: the line for no rows. order: at first."""

    key: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    empty: str
    order: str
    note: str = ""

    def sorted(self, order: str | None) -> tuple[str, list[Mapping[str, Any]]]:
        """The order that is in force, a column's key with ``-`` for the largest first, and the rows in it; unknown ones last."""
        known = {column.key for column in self.columns}
        chosen = order if order is not None and order.removeprefix("-") in known else self.order
        key = chosen.removeprefix("-")
        with_value = [row for row in self.rows if row[key] is not None]
        return chosen, [
            *sorted(with_value, key=lambda row: _sort_key(row[key]), reverse=chosen.startswith("-")),
            *(row for row in self.rows if row[key] is None),
        ]


def _sort_key(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def plain(text: str) -> str:
    """On one line and without characters that steer a terminal, a page's direction or a reader's eye; the text stays whole."""
    return "".join(" " if character.isspace() else character for character in text if not _steers(character)).strip()


def _steers(character: str) -> bool:
    category = unicodedata.category(character)
    return category in {"Cc", "Cf", "Cs", "Co", "Cn"} and not character.isspace()


def short(text: str, longest: int = LONGEST) -> str:
    """As ``plain``, with an ellipsis where it is cut."""
    text = plain(text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def written(kind: Kind, value: Any, zone: ZoneInfo, say: Say) -> str:
    """A value as the page has it."""
    if value is None:
        return say("unknown") if kind == "dollars" else "-"
    match kind:
        case "count":
            return f"{value:,}"
        case "percent":
            return f"{value * 100:.1f} %"
        case "seconds":
            return duration(value, say)
        case "dollars":
            return f"${value:,.4f}" if value < 1 else f"${value:,.2f}"
        case "time":
            moment: datetime = value.astimezone(zone)
            return f"{moment:%Y-%m-%d %H:%M}"
        case "word":
            return say(value)
        case "day":
            return str(value)
        case _:
            return short(str(value))


def duration(seconds: float, say: Say) -> str:
    """``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 59.5:
        return say("{} s").format(f"{max(0.0, seconds):.1f}" if seconds < 10 else round(seconds))
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return say("{} min {:02} s").format(minutes, rest)
    return say("{} h {:02} min").format(*divmod(minutes, 60))


def cell(kind: Kind, value: Any, zone: ZoneInfo, say: Say) -> str:
    """A value for a spreadsheet: numbers as numbers, and no text that would be a formula there."""
    if value is None:
        return ""
    if kind in NUMBERS:
        return f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    if kind == "time":
        return str(value.astimezone(zone).isoformat(timespec="seconds"))
    text = say(value) if kind == "word" else plain(str(value))
    return f"'{text}" if text.startswith(FORMULA) else text


def as_csv(table: Table, order: str | None, zone: ZoneInfo, say: Say) -> bytes:
    """The rows in their order. With a byte order mark, without which Excel reads Korean as something else."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([say(column.label) for column in table.columns])
    for row in table.sorted(order)[1]:
        writer.writerow([cell(column.kind, row[column.key], zone, say) for column in table.columns])
    return text.getvalue().encode("utf-8-sig")
