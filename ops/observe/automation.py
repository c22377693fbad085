"""What the automation did, as the monitor counts it: the dashboard's own queries, so that no two numbers disagree."""

from collections.abc import Sequence
from dataclasses import dataclass

from ops.clients.docker import Docker
from ops.errors import UserError
from ops.stack import inventory
from ops.stack.inventory import Container

# images/monitor/summary.py.
COMMAND = ("/opt/monitor/bin/python", "/usr/local/lib/monitor/summary.py")
# Its queries end after 10 s.
ANSWER_SECONDS = 15
# Of many days: two queries.
PERIOD_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Today:
    """Runs made today in the stack's time zone. success_rate: of those that ended, None without any.

    failed: also terminated and timed out. missed_schedules: titles of workflows that were due within 24 hours and did not run.
    """

    runs: int
    completed: int
    failed: int
    unfinished: int
    success_rate: float | None
    missed_schedules: Sequence[str]


def read(docker: Docker, containers: Sequence[Container]) -> Today | None:
    """None if the stack has no monitor, or one that does not run, does not answer, or is of a version that says less."""
    return inventory.parsed(Today, inventory.ask(docker, containers, "monitor", *COMMAND, timeout_seconds=ANSWER_SECONDS))


def line(today: Today) -> str:
    """``today: 12 runs, 9 completed, 2 failed, 1 unfinished; missed: Daily report``."""
    missed = f"; missed: {', '.join(today.missed_schedules)}" if today.missed_schedules else ""
    return f"today: {today.runs} runs, {today.completed} completed, {today.failed} failed, {today.unfinished} unfinished{missed}"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a stack did in some days. cost: in US dollars, without the calls whose model has no price, ``unpriced``.

    failed: also terminated and timed out.
    """

    runs: int = 0
    completed: int = 0
    failed: int = 0
    cost: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    unpriced: int = 0


def figures(docker: Docker, monitor: str, days: int) -> Figures:
    """Of today and the days before it, in the stack's time zone. monitor: name of its container, which runs.

    UserError where it does not answer, or is of a version that counts today only.
    """
    answer = docker.execute(monitor, *COMMAND, str(days), timeout_seconds=PERIOD_SECONDS)
    if answer.strip() == "null":
        raise UserError(f"{monitor}: Skyvern has not made its tables yet; try again once the server has started")
    counted = inventory.parsed(Figures, answer)
    if counted is None:
        raise UserError(f"{monitor}: counts today only, as an earlier version did; run script/up for this stack")
    return counted
