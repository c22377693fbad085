"""Text that is safe in Markdown, whoever wrote it, and the pieces that a report is made of."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def code(text: str) -> str:
    """A text as code on one line, whatever is in it; also within a table."""
    # A backslash before it would escape our backslash, and the | would end the cell and with it the code.
    plain = re.sub(r"\\(?=\|)", r"\\ ", " ".join(text.split())).replace("|", "\\|")
    ticks = "`" * (_longest_run(plain) + 1)
    space = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{ticks}{space}{plain or ' '}{space}{ticks}"


def fence(lines: Iterable[str], language: str = "") -> str:
    """Lines as a block of code."""
    body = "\n".join(lines)
    ticks = "`" * max(3, _longest_run(body) + 1)
    return f"{ticks}{language}\n{body}\n{ticks}"


def _longest_run(text: str) -> int:
    """Of backticks: code ends at a run that is as long as the one before it."""
    return max(map(len, re.findall("`+", text)), default=0)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table. Cells are Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def details(summary: str, body: str) -> str:
    """Text that is folded away until a reader opens it."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def capped(items: Sequence[Item], cap: int | None) -> tuple[Sequence[Item], list[str]]:
    """The first items, and a line that counts the others, if any."""
    if cap is None or len(items) <= cap:
        return items, []
    return items[:cap], [f"… and {len(items) - cap} more"]


def capped_table(head: Sequence[str], items: Sequence[Item], cap: int | None, row: Callable[[Item], Sequence[str]]) -> str:
    """A table of the first items, and below it a line that counts the others."""
    some, more = capped(items, cap)
    return "\n\n".join([table(head, map(row, some)), *more])


def bullets(lines: Sequence[str], cap: int | None) -> str:
    """A list of lines of Markdown, capped."""
    some, more = capped(lines, cap)
    return "\n".join(f"- {line}" for line in [*some, *more])


def plural(number: int, singular: str, many: str = "") -> str:
    """``2 resources``."""
    return f"{number} {singular if number == 1 else many or f'{singular}s'}"


def length(text: str) -> int:
    """In UTF-16 units, as GitHub counts."""
    return len(text.encode("utf-16-le")) // 2


def cut(text: str, limit: int) -> str:
    """The first lines, as far as they fit."""
    while length(text) > limit and "\n" in text:
        text = text.rpartition("\n")[0]
    return text[: limit // 2] if length(text) > limit else text
