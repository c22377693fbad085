"""The chart of runs by day, as SVG that the server makes: no script, no request, its colours from the page's style sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from queries import FAILED, Span, success_rate

WIDTH, HEIGHT = 900, 220
LEFT, BOTTOM, TOP = 44, 24, 10
_KINDS = ("completed", "failed", "other")


@dataclass(frozen=True)
class Bar:
    """A rectangle. kind: its class. label: what a reader hears."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    label: str


@dataclass(frozen=True)
class Chart:
    """bars, the axis' lines as (y, number), days as (x, text), and the success rate as points of a line."""

    bars: Sequence[Bar]
    lines: Sequence[tuple[float, str]]
    days: Sequence[tuple[float, str]]
    rate: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT


def by_day(days: Sequence[Mapping[str, Any]], span: Span, words: Mapping[str, str]) -> Chart:
    """One stack of bars a day, also for days without runs. words: for ``completed``, ``failed`` and ``other``."""
    first = span.since.date()
    counts = {row["day"]: row for row in days}
    calendar = [first + timedelta(days=number) for number in range(span.days)]
    top = _round_up(max((row["runs"] for row in days), default=1))
    plot = HEIGHT - BOTTOM - TOP
    step = (WIDTH - LEFT) / len(calendar)
    bars: list[Bar] = []
    points: list[str] = []
    for number, day in enumerate(calendar):
        if (row := counts.get(day)) is None:
            continue
        failed = sum(row[status] for status in FAILED)
        values = dict(zip(_KINDS, (row["completed"], failed, row["runs"] - row["completed"] - failed), strict=True))
        y = float(HEIGHT - BOTTOM)
        width = min(step * 0.8, 90)
        x = LEFT + number * step + (step - width) / 2
        for kind, value in values.items():
            if value:
                height = plot * value / top
                y -= height
                bars.append(
                    Bar(round(x, 1), round(y, 1), round(width, 1), round(height, 1), kind, f"{day}: {words[kind]} {value:,}")
                )
        if (rate := success_rate(row)) is not None:
            points.append(f"{LEFT + (number + 0.5) * step:.1f},{TOP + plot * (1 - rate):.1f}")
    return Chart(
        bars=bars,
        lines=[(round(TOP + plot * (1 - part), 1), f"{round(top * part):,}") for part in (0, 0.5, 1)],
        days=[(round(LEFT + (number + 0.5) * step, 1), _label(day)) for number, day in _labelled(calendar)],
        rate=" ".join(points) if len(points) > 1 else "",
    )


def _round_up(value: int) -> int:
    """To 2, 4, 6, 8 or 10 times a power of ten, so that half of it is whole."""
    power = 10 ** (len(str(max(1, value))) - 1)
    return next(power * factor for factor in (2, 4, 6, 8, 10) if value <= power * factor)


def _labelled(calendar: Sequence[date]) -> Sequence[tuple[int, date]]:
    every = -(-len(calendar) // 10)
    return list(enumerate(calendar))[::every]


def _label(day: date) -> str:
    return f"{day.month}/{day.day}"
