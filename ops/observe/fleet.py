"""``ops fleet``: status, doctor and cost of all stacks of a backend, a line each, and one page over all. Changes nothing.

The stacks are asked side by side. One whose host does not answer is a line of its own, never green, and keeps no other from being
shown. Not here: the commands of one stack (ops status, ops doctor), whose parts these are.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import typer

from components.settings import Settings
from ops import shell
from ops.clients import process, terminal
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.machine import environment
from ops.observe import automation, fleet_page, zones
from ops.observe import doctor as one_doctor
from ops.observe import status as one_status
from ops.observe.automation import Figures
from ops.observe.doctor.findings import Finding
from ops.observe.doctor.observation import observe as observe_for_doctor
from ops.paths import ROOT, write_whole
from ops.stack.option import parse
from ops.stack.stack import Stack

# To the first answer of a daemon, by SSH as well.
ANSWER_SECONDS = 20
AT_ONCE = 8

app = typer.Typer(no_args_is_help=True)
T = TypeVar("T")

Stacks = Annotated[
    list[Stack] | None, typer.Argument(parser=parse, metavar="STACK", help="Stacks, for example shop blog; all by default.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
Days = Annotated[int, typer.Option(min=1, max=366, help="Today and the days before it, in each stack's time zone.")]


@dataclass(frozen=True, kw_only=True)
class Answer(Generic[T]):
    """What became of looking at a stack.

    settings: of a stack whose file is right. problem: why it could not be looked at, in one line; "" if it could. found: then
    what was seen.
    """

    stack: Stack
    settings: Settings | None = None
    problem: str = ""
    found: T | None = None

    @property
    def cell(self) -> str | None:
        """Its name among several in one zone, if it has one."""
        return None if self.settings is None else self.settings.cell

    def document(self, found: Callable[[T], Any]) -> dict[str, Any]:
        """For JSON."""
        seen = None if self.found is None else found(self.found)
        return {"stack": self.stack.name, "cell": self.cell, "problem": self.problem or None, "found": seen}


# --- The stacks ----------------------------------------------------------------------------------------------------------


@process.reads("pulumi")
def all_stacks() -> list[Stack]:
    """The stacks of this project in the backend, by name; UserError if there is none or the backend does not answer."""
    variables = {**shell.variables(), **environment.for_stacks()}
    listed = json.loads(process.capture(["pulumi", "stack", "ls", "--json", "--non-interactive"], cwd=ROOT, env=variables))
    names = sorted(entry["name"] for entry in listed)
    if not names:
        raise UserError(f"ops fleet: {variables['PULUMI_BACKEND_URL']} has no stack yet; script/up --stack NAME makes one")
    return [Stack(name) for name in names]


def look(stack: Stack, see: Callable[[Stack, Settings, Docker], T]) -> Answer[T]:
    """What ``see`` finds out about a stack, once its daemon has answered."""
    settings = None
    try:
        settings = stack.settings()
        docker = stack.docker()
        # First, and for some seconds only: what follows would wait for a machine that is off, one call after the other.
        docker.run("version", "--format", "{{.Server.Version}}", timeout_seconds=ANSWER_SECONDS)
        return Answer(stack=stack, settings=settings, found=see(stack, settings, docker))
    except UserError as failed:
        return Answer(stack=stack, settings=settings, problem=failed.line)


def look_at_all(stacks: Sequence[Stack], see: Callable[[Stack, Settings, Docker], T]) -> Iterator[Answer[T]]:
    """The answers in the order of the stacks, each as soon as it and those before it are there."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(lambda stack: look(stack, see), stacks)


def not_seen(answer: Answer[Any]) -> str:
    """The line of a stack that could not be looked at."""
    cell = f" (cell {answer.cell})" if answer.cell else ""
    return f"stack {answer.stack}{cell}: could not be looked at: {answer.problem}"


# --- Commands ------------------------------------------------------------------------------------------------------------


@app.command("status")
def status(stacks: Stacks = None, as_json: AsJson = False) -> None:
    """Show a line for each stack: health, address, runs. Exit 1 if one could not be looked at."""
    answers = []
    for answer in look_at_all(stacks or all_stacks(), lambda stack, settings, docker: one_status.observe(stack)):
        answers.append(answer)
        if not as_json:
            typer.echo(status_line(answer))
    if as_json:
        _echo_json([answer.document(one_status.document) for answer in answers])
    raise typer.Exit(int(any(answer.problem for answer in answers)))


def status_line(answer: Answer[one_status.Status]) -> str:
    """``ops status``'s own line, with the runs behind it."""
    if answer.found is None:
        return not_seen(answer)
    runs = f"; {one_status.runs_line(answer.found.runs)}" if answer.found.runs else ""
    return f"{one_status.summary(answer.found)}{runs}"


@app.command("doctor")
def doctor(stacks: Stacks = None, as_json: AsJson = False) -> None:
    """Show what is wrong, a line for each stack and for each zone that they share. Exit 1 on errors, or if one was not seen."""
    chosen = stacks or all_stacks()
    answers = []
    for answer in look_at_all(chosen, lambda stack, settings, docker: one_doctor.examine(observe_for_doctor(stack))):
        answers.append(answer)
        if not as_json:
            typer.echo(doctor_line(answer))
    # The line of a stack whose file is wrong says what is.
    known = {answer.stack: answer.settings for answer in answers if answer.settings is not None}
    wrong = list(zones.problems(known, complete=not stacks and len(known) == len(chosen)))
    if as_json:
        documents = [answer.document(lambda found: [dataclasses.asdict(finding) for finding in found]) for answer in answers]
        _echo_json(documents, zones=wrong)
    else:
        for line in wrong:
            typer.echo(line)
    failed = any(answer.found is None or one_doctor.exit_code(answer.found) for answer in answers)
    raise typer.Exit(int(failed or bool(wrong)))


def doctor_line(answer: Answer[list[Finding]]) -> str:
    """How much is wrong with a stack, and the first of it: ``ops doctor`` shows the rest."""
    if answer.found is None:
        return not_seen(answer)
    if not answer.found:
        return f"stack {answer.stack}: nothing is wrong"
    levels = Counter(finding.level for finding in answer.found)
    counts = ", ".join(f"{count} {level}{'s' if count > 1 else ''}" for level, count in levels.items())
    first = answer.found[0]
    more = f"; bin/ops doctor -s {answer.stack} shows all" if len(answer.found) > 1 else ""
    return f"stack {answer.stack}: {counts}: {first.subject} {first.problem}; {first.fix}{more}"


@app.command("cost")
def cost(stacks: Stacks = None, days: Days = 30, as_json: AsJson = False) -> None:
    """Show runs, results and what the models cost, a line for each stack, as its dashboard counts. Exit 1 if one was not seen."""
    answers = list(look_at_all(stacks or all_stacks(), lambda stack, settings, docker: figures(stack, settings, docker, days)))
    if as_json:
        _echo_json([answer.document(dataclasses.asdict) for answer in answers], days=days)
    else:
        typer.echo(cost_table(answers, days))
    raise typer.Exit(int(any(answer.problem for answer in answers)))


def figures(stack: Stack, settings: Settings, docker: Docker, days: int) -> Figures:
    """What the stack's dashboard would show; UserError without a monitor that runs."""
    if not settings.monitor.enabled:
        raise UserError(f"{stack.file_name}: monitor.enabled is false, and the figures are the monitor's; write true")
    name = stack.prefix("monitor")
    if not docker.has(name, running=True):
        raise UserError(f"{name} does not run; run script/up --stack {stack}")
    return automation.figures(docker, name, days)


def cost_table(answers: Sequence[Answer[Figures]], days: int) -> str:
    """A line for each stack that answered, one for all of them, and those that could not be looked at."""
    seen = [(answer.stack.name, answer.found) for answer in answers if answer.found is not None]
    total = fleet_page.added([one for _, one in seen])
    rows = [_row(name, one) for name, one in [*seen, *([("all", total)] if len(seen) > 1 else [])]]
    head = ("stack", "runs", "completed", "failed", "US dollars", "tokens in", "tokens out")
    lines = [f"{days} days, today among them", terminal.table(head, rows)] if rows else []
    if total.unpriced:
        lines.append(f"+ unknown: {total.unpriced} calls of models without a price")
    return "\n".join([*lines, *(not_seen(answer) for answer in answers if answer.problem)])


def _row(name: str, figures: Figures) -> tuple[str, ...]:
    cost = f"{figures.cost:.2f}{' + unknown' if figures.unpriced else ''}"
    counts = (figures.runs, figures.completed, figures.failed)
    return (name, *map(str, counts), cost, str(figures.input_tokens), str(figures.output_tokens))


@app.command("dashboard")
def dashboard(
    stacks: Stacks = None,
    days: Days = 30,
    language: Annotated[fleet_page.Language, typer.Option("--language", help="Of the page.")] = "en",
    output: Annotated[Path, typer.Option("--output", dir_okay=False, help="The file to write.")] = Path("fleet.html"),
) -> None:
    """Write one page over all stacks: runs, results, cost, health, backups. Exit 1 if one was not seen; the page names it."""
    answers = list(look_at_all(stacks or all_stacks(), lambda stack, settings, docker: seen(stack, settings, docker, days)))
    rows = [answer.found for answer in answers if answer.found is not None]
    problems = {answer.stack.name: answer.problem for answer in answers if answer.problem}
    page = fleet_page.render(rows, problems, days, language, datetime.now(UTC).astimezone())
    try:
        write_whole(output, page)
    except OSError as failed:
        raise UserError(f"{output}: {failed.strerror}; name a file in a folder that you may write") from None
    typer.echo(f"{output}: {len(rows)} of {len(answers)} stacks; open it in a browser")
    for answer in answers:
        if answer.problem:
            typer.echo(not_seen(answer))
    raise typer.Exit(int(bool(problems)))


def seen(stack: Stack, settings: Settings, docker: Docker, days: int) -> fleet_page.Row:
    """A stack's row. One without a monitor has no figures, and is shown."""
    status = one_status.observe(stack)
    counted, why = None, ""
    try:
        counted = figures(stack, settings, docker, days)
    except UserError as missing:
        why = missing.line
    name = f"{stack} · {settings.cell}" if settings.cell and settings.cell != stack.name else stack.name
    return fleet_page.Row(name, status, counted, why)


def _echo_json(cells: list[dict[str, Any]], **more: Any) -> None:
    typer.echo(json.dumps({**more, "stacks": cells}, indent=2, default=str))
