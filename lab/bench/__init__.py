"""The cost of the program: a table, each row a ratio within one run; asserts nothing.

Every figure is measured at that moment on a separate stack (``bench``, with its own names, port and state), which is removed at
the end. Medians of rounds in which both sides take turns, so that a busy machine is busy for both.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from components import endpoints
from lab.bench import edge, first_run, load
from lab.workspace import EMPTY_PACK, Program, Workspace, write_project
from ops.clients import terminal
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.images import build, needs
from ops.machine import daemon, engine, environment
from ops.observe.smoke.site import Site, client_for
from ops.observe.smoke.workflow_checks import definition, finished_run
from ops.paths import ROOT
from ops.stack import inventory
from ops.stack.inventory import MIB
from ops.stack.stack import Stack

STACK = "bench"
PREVIEW_ROUNDS = 7
LOAD_ROUNDS = 5
FILE_MIB = 256
IDLE_SECONDS = 20
PARTS = ("preview", "edge", "memory", "requests", "artifacts")
# Not run by default: it needs root, and builds or downloads everything again.
FIRST_RUN = "first-run"
# Without a daemon: stand-ins answer.
EDGE = "edge"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison. ours, theirs: in ``unit``. goal: for ours divided by theirs, in words; "" for none."""

    name: str
    ours: float
    against: str
    theirs: float
    unit: str
    goal: str = ""

    def cells(self) -> tuple[str, ...]:
        """The texts of the table's columns."""
        ratio = f"{self.ours / self.theirs:.2f}" if self.theirs else "-"
        return (self.name, _figure(self.ours, self.unit), self.against, _figure(self.theirs, self.unit), ratio, self.goal)


HEAD = ("what", "here", "against", "there", "ratio", "goal")


def _figure(value: float, unit: str) -> str:
    return f"{value:.2f} {unit}" if value < 10 else f"{value:.0f} {unit}"


def seconds_of(work: Callable[[], object]) -> float:
    """Wall-clock seconds of a call."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def preview_seconds(program: Program) -> float:
    """Seconds of a preview without a change."""
    return seconds_of(lambda: program.pulumi("preview", "--expect-no-changes"))


def take_turns(rounds: int, *works: Callable[[], float], say: terminal.Progress = print) -> list[float]:
    """The median of each work's figures over rounds in which they take turns, after one round that does not count."""
    for work in works:
        work()
    figures = [[work() for work in works] for _ in range(rounds)]
    for column in zip(*figures, strict=True):
        say(" ".join(f"{figure:.2f}" for figure in column))
    return [statistics.median(column) for column in zip(*figures, strict=True)]


# --- The parts -----------------------------------------------------------------------------------------------------------


def compare_previews(workspace: Workspace, say: terminal.Progress) -> list[Row]:
    """A preview without a change against an empty program, and against a flat one with the same resources.

    And the flat one with a policy pack that judges nothing, against without: what any pack costs.
    """
    empty = workspace.program("empty", "import pulumi\n")
    flat = workspace.flat_program("flat")
    pack = write_project(workspace.folder / "pack", EMPTY_PACK, "PulumiPolicy.yaml")
    judged = replace(flat, env={**flat.env, environment.POLICY_PACK: str(pack)})
    with empty.deployed(), flat.deployed():
        previews = [partial(preview_seconds, program) for program in (workspace.stack, empty, flat, judged)]
        ours, nothing, same, with_pack = take_turns(PREVIEW_ROUNDS, *previews, say=say)
    return [
        Row(name="preview, no change", ours=ours, against="an empty program", theirs=nothing, unit="s", goal="<= 1.2"),
        Row(name="preview, no change", ours=ours, against="the same resources, flat", theirs=same, unit="s", goal="<= 1.1"),
        Row(name="flat, a pack that judges nothing", ours=with_pack, against="without a pack", theirs=same, unit="s"),
    ]


def compare_edge_previews(say: terminal.Progress) -> list[Row]:
    """A preview without a change of a stack with Cloudflare's edge, against a flat program with the same resources.

    The same once more with the policy pack, against without.
    """
    with edge.programs() as (ours, flat):
        checked = replace(ours, env={**ours.env, environment.POLICY_PACK: str(ROOT / "policy")})
        previews = [partial(preview_seconds, program) for program in (ours, flat, checked)]
        here, there, with_policies = take_turns(PREVIEW_ROUNDS, *previews, say=say)
    name = "preview with an edge, no change"
    return [
        Row(name=name, ours=here, against="the same resources, flat", theirs=there, unit="s", goal="<= 1.1"),
        Row(name=f"{name}, policies", ours=with_policies, against="without policies", theirs=here, unit="s", goal="<= 1.2"),
    ]


def measure_memory(site: Site, docker: Docker, say: terminal.Progress) -> list[Row]:
    """The memory of each container after a run, against idle."""
    names = site.outputs.containers
    say(f"idle for {IDLE_SECONDS} s")
    time.sleep(IDLE_SECONDS)
    idle = inventory.memory_in_use(docker, names.values())
    with finished_run(site, definition("Bench", site.outputs.smoke_url + "/")):
        pass
    after = inventory.memory_in_use(docker, names.values())
    return [
        Row(name=f"memory of {part}", ours=after[name] / MIB, against="idle", theirs=idle[name] / MIB, unit="MiB")
        for part, name in sorted(names.items())
    ]


def compare_requests(site: Site, say: terminal.Progress) -> list[Row]:
    """Requests per second to the API through the gateway against without it, from a container that is equally far from both."""
    through, direct = take_turns(
        LOAD_ROUNDS,
        lambda: load.requests_per_second(site, "gateway", endpoints.GATEWAY_PORT),
        lambda: load.requests_per_second(site, "server", endpoints.SERVER_PORT),
        say=say,
    )
    return [Row(name="requests through the gateway", ours=through, against="the API", theirs=direct, unit="/s", goal=">= 0.9")]


def compare_artifacts(site: Site, say: terminal.Progress) -> list[Row]:
    """A recording through login, gateway and file server against reading its file."""
    with load.big_artifact(site, FILE_MIB) as path:
        through, read = take_turns(
            LOAD_ROUNDS,
            lambda: FILE_MIB / seconds_of(lambda: load.download(site, path)),
            lambda: FILE_MIB / load.read_seconds(site, path),
            say=say,
        )
    return [Row(name=f"recording of {FILE_MIB} MiB", ours=through, against="reading the file", theirs=read, unit="MiB/s")]


def compare_first_run(like: str, say: terminal.Progress) -> list[Row]:
    """``script/up`` by step on a machine without our caches, images and state, against a second run."""
    with first_run.fresh_machine(like) as (checkout, env, source):
        say(f"script/up --images {source} on a machine that has only Docker")
        first = first_run.up(checkout, env, source)
        say("script/up once more")
        second = first_run.up(checkout, env, source)
    rows = {**first, "in all": sum(first.values())}
    again = {**second, "in all": sum(second.values())}
    return [
        Row(name=f"first run: {step}", ours=seconds, against="the second run", theirs=again.get(step, 0), unit="s")
        for step, seconds in rows.items()
    ]


# --- The command ---------------------------------------------------------------------------------------------------------


def run(parts: Sequence[str], *, like: str, say: terminal.Progress) -> list[Row]:
    """Rows of the named parts. like: the stack whose file names the daemon and the images."""
    settings = Stack(like).settings()
    docker = Docker(settings.host.docker_host)
    on_daemon = set(parts) - {EDGE, FIRST_RUN}
    if set(parts) - {EDGE}:
        daemon.ensure_docker(docker.host, say)
    if on_daemon and inventory.containers(docker, STACK):
        raise UserError(f"bench: containers of a stack {STACK} run on {docker.host}; remove them, an earlier bench left them")
    if set(parts) - {FIRST_RUN}:
        engine.ensure_engine(None, say)
    rows = compare_first_run(like, say) if FIRST_RUN in parts else []
    if EDGE in parts:
        say("preview with an edge")
        rows += compare_edge_previews(say)
    if not on_daemon:
        return rows
    build.build(docker, settings.images.source, say, needs.asked_for(settings), host=settings.host)
    with ExitStack() as cleanup:
        workspace = cleanup.enter_context(Workspace.temporary(STACK, like=like))
        stack = workspace.stack
        cleanup.callback(stack.remove)
        say("pulumi up of the stack that is measured")
        stack.pulumi("up", "--yes", "--skip-preview")
        if "preview" in parts:
            say("preview")
            rows += compare_previews(workspace, say)
        outputs = stack.outputs()
        site = Site(outputs, cleanup.enter_context(client_for(outputs)), docker)
        if "memory" in parts:
            rows += measure_memory(site, docker, say)
        if "requests" in parts:
            say("requests")
            rows += compare_requests(site, say)
        if "artifacts" in parts:
            say("artifacts")
            rows += compare_artifacts(site, say)
    return rows


def _try_to_write(path: Path) -> None:
    """OSError where a file cannot be written; a file that is there stays as it is, and none is left."""
    new = not path.exists()
    path.open("a").close()
    if new:
        path.unlink()


def main(arguments: list[str] | None = None) -> int:
    """Entry point of script/bench; 1 with one line for a UserError."""
    parser = terminal.Parser(prog="script/bench", description="Measures what the program costs, as ratios.")
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (all of these by default) and {FIRST_RUN}"
    )
    parser.add_argument("--like", default="dev", help="the stack whose daemon and images are used (default: dev)")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args(arguments)
    known = (*PARTS, FIRST_RUN)
    for part in options.parts:
        if part not in known:
            parser.error(f"{part} is not a part; write one of {', '.join(known)}")

    def say(line: str) -> None:
        print(f"      {line}", file=sys.stderr, flush=True)

    def measure() -> None:
        if options.json is not None:
            # Not only at the end, which comes after up to 15 minutes.
            _try_to_write(options.json)
        rows = run(options.parts or PARTS, like=options.like, say=say)
        print(terminal.table(HEAD, [row.cells() for row in rows]))
        if options.json is not None:
            options.json.write_text(json.dumps([vars(row) for row in rows], indent=2) + "\n")

    return terminal.run_main(
        "script/bench", measure, resume="its stacks are removed; a Docker daemon that it started on this machine goes on"
    )
