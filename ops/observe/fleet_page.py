"""The page of ``ops fleet dashboard``: all stacks in one table, as a file that opens without a server and asks nobody.

It looks as the monitor's pages do, by their style sheet. Not here: who asks the stacks (fleet.py), and the dashboard of one.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ops.observe.automation import Figures
from ops.observe.backups import BackupFacts
from ops.observe.status import Status
from ops.paths import ROOT

Language = Literal["en", "ko"]
STYLE = ROOT / "images/monitor/style.css"
# Those of a stack's dashboard (images/monitor/dashboard.py).
PERIODS = {1: "today", 7: "7", 30: "30", 90: "90"}
_WORDS = ("Stack", "API", "Missed schedules", "Backup")
KOREAN: Mapping[str, str] = {
    "API": "API",
    "All stacks": "모든 스택",
    "Backup": "백업",
    "Completed": "완료",
    "Containers healthy": "정상 컨테이너",
    "Cost": "비용",
    "Failed": "실패",
    "Failed today": "오늘 실패",
    "In progress": "진행 중",
    "Input tokens": "입력 토큰",
    "Missed schedules": "놓친 일정",
    "No stack answered.": "응답한 스택이 없습니다.",
    "Now": "현재",
    "Output tokens": "출력 토큰",
    "Queued": "대기 중",
    "Runs": "실행",
    "Runs and cost": "실행과 비용",
    "Skip to the content": "본문으로 건너뛰기",
    "Stack": "스택",
    "Stacks seen": "확인한 스택",
    "Success rate": "성공률",
    "answers": "응답함",
    "at least {}": "{} 이상",
    "could not be looked at: {}": "확인하지 못했습니다: {}",
    "does not answer": "응답 없음",
    "never": "없음",
    "none": "없음",
    "unknown": "알 수 없음",
    "{} days": "{}일",
    "{} h old": "{}시간 전",
}


@dataclass(frozen=True)
class Row:
    """A stack that answered. status: what ``ops status`` saw. figures: None without a monitor that counts; no_figures: why."""

    name: str
    status: Status
    figures: Figures | None
    no_figures: str = ""


def added(figures: Sequence[Figures]) -> Figures:
    """All of them together."""
    return Figures(**{field.name: sum(getattr(one, field.name) for one in figures) for field in fields(Figures)})


def render(rows: Sequence[Row], problems: Mapping[str, str], days: int, language: Language, made: datetime) -> str:
    """The page. problems: stack -> why it could not be looked at, in one line. made: when it was looked."""
    say = KOREAN.__getitem__ if language == "ko" else str

    def rate(figures: Figures) -> str:
        judged = figures.completed + figures.failed
        return f"{figures.completed / judged * 100:.1f} %" if judged else "-"

    def cost(figures: Figures) -> str:
        dollars = f"${figures.cost:,.2f}"
        if not figures.unpriced:
            return dollars
        return say("at least {}").format(dollars) if figures.cost else say("unknown")

    def age(backup: BackupFacts) -> str:
        return say("never") if backup.age_seconds is None else say("{} h old").format(round(backup.age_seconds / 3600))

    style = STYLE.read_text()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("fleet.html").render(
        rows=rows,
        problems=[f"{name}: {say('could not be looked at: {}').format(problem)}" for name, problem in problems.items()],
        total=added([one.figures for one in rows if one.figures is not None]),
        days=days,
        # The nearest that a stack's own page has.
        period=PERIODS[min(PERIODS, key=lambda known: abs(known - days))],
        language=language,
        made=f"{made:%Y-%m-%d %H:%M %Z}",
        say=say,
        rate=rate,
        cost=cost,
        age=age,
        words=_WORDS,
        # As it is, because its hash is in the policy; it is a file of ours.
        style=Markup(style),  # noqa: S704
        style_hash=f"sha256-{digest}",
    )
