"""What script/up does once the Python environment exists: prepare the machine, build, deploy, try it out, say what to do next.

Safe to run again: every step looks before it acts, and the deployment itself is a plain ``pulumi up``.
Not here: how each step works (ops/bootstrap.py, ops/images, ops/smoke) and what is deployed (components/).
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from components.host.images import SOURCE_LABEL
from components.settings import CloudflareEdge
from ops import bootstrap
from ops.bootstrap import Progress
from ops.clients import process
from ops.clients.docker import Docker
from ops.deploy import guard, recovery, repair
from ops.errors import UserError
from ops.machine import switched_off
from ops.paths import ROOT
from ops.stack import checkpoint
from ops.stack import file as stack_file

if TYPE_CHECKING:
    from ops.observe.smoke.site import Way
    from ops.stack.outputs import Outputs

Source = Literal["official", "packages"]

# The one registry that holds every public image of the stack; without a login it answers 401.
REGISTRY = "https://registry-1.docker.io/v2/"


# Calls at a time to a Docker host over SSH: sshd takes ten sessions on one connection (MaxSessions).
SSH_PARALLEL = 8


class Steps:
    """Prints ``[2/6] images`` before each step and how long it took after it."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.number = 0
        self.started = time.monotonic()

    @contextmanager
    def step(self, name: str) -> Iterator[Progress]:
        """One step; the value prints a line of it."""
        self.number += 1
        print(f"[{self.number}/{self.total}] {name} ...", flush=True)
        began = time.monotonic()
        yield lambda line: print(f"      {line}", flush=True)
        print(f"      done in {time.monotonic() - began:.0f} s", flush=True)

    @property
    def seconds(self) -> float:
        """Since the first step."""
        return time.monotonic() - self.started


# --- Decisions -----------------------------------------------------------------------------------------------------------


def decide_consent(stack: str, *, guarded: bool, yes: bool, terminal: bool) -> bool:
    """Whether ``pulumi up`` goes ahead unasked; False lets it show its preview to the person and ask.

    guarded: as ops/deploy/guard.py says. Raises UserError for a guarded stack with neither ``--yes`` nor a terminal.
    """
    if yes:
        return True
    if terminal:
        return False
    if guarded:
        raise UserError(f"script/up: {stack} needs confirmation and there is no terminal to ask on; add --yes")
    return True


def confirm(question: str) -> bool:
    """Asks the person at the terminal; anything but yes is no."""
    return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}


def decide_source(requested: Source | None, configured: Source, *, reachable: bool, made_with: str | None) -> Source:
    """Where the images come from. reachable: whether the image registry answers (only looked at for ``official``).

    made_with: the source that the stack's data was made with, None for a new stack. Without a registry a new stack is built from
    packages; UserError where the data or the person says official.
    """
    source = requested or configured
    if source == "packages" or reachable:
        return source
    if requested is None and made_with is None:
        return "packages"
    reason = "--images official was asked for" if requested else "the data of this stack was made with official images"
    raise UserError(f"images: no image registry answers ({REGISTRY}), and {reason}; check the network and run this again")


# --- Steps ---------------------------------------------------------------------------------------------------------------


def choose_source(stack: str, requested: Source | None, docker: Docker, progress: Progress) -> Source:
    """The source of the images, written into the stack file when it changes.

    Raises UserError when the stack already has data that was made with the other source.
    """
    configured: Source = bootstrap.stack_settings(stack).images.source
    wanted = requested or configured
    volume = f"skyvern-{stack}-postgres"
    made_with = source_of(docker, volume)
    if made_with not in {None, wanted}:
        raise UserError(
            f"Pulumi.{stack}.yaml: images.source: the volume {volume} was made with {made_with} images; "
            f"write {made_with}, or destroy the stack with its data first"
        )
    reachable = wanted == "packages" or bootstrap.answers(REGISTRY, accepted=(200, 401))
    decided = decide_source(requested, configured, reachable=reachable, made_with=made_with)
    if decided != wanted:
        progress("no image registry answers: every image is built from Debian, PyPI and Go packages, about 15 min the first time")
    if decided != configured:
        write_setting(bootstrap.stack_file(stack), "images", {"source": decided})
        progress(f"wrote images.source: {decided} into Pulumi.{stack}.yaml")
    return decided


def source_of(docker: Docker, volume: str) -> str | None:
    """The source of the images that made a volume of PostgreSQL, None where there is no such volume."""
    # Listed, not inspected: a failed inspect cannot be told from a daemon that does not answer.
    form = f'{{{{.Name}}}}={{{{.Label "{SOURCE_LABEL}"}}}}'
    listed = docker.run("volume", "ls", "--filter", f"name={volume}", "--format", form).split()
    return dict(line.split("=", 1) for line in listed).get(volume)


def write_setting(path: Path, section: str, values: Mapping[str, str | int]) -> None:
    """Sets keys of one section (``images``) of a stack file; comments and the rest of the file stay as they are."""

    def change(document: dict[str, Any]) -> bool:
        written = document.setdefault("config", {}).setdefault(f"skyvern:{section}", {})
        changed = any(written.get(key) != value for key, value in values.items())
        written.update(values)
        return changed

    stack_file.edit(path, change)


def ensure_stack(stack: str, progress: Progress) -> None:
    """Creates the stack in the backend when it is not there. The user's selected stack stays selected."""
    env = {**os.environ, **bootstrap.environment()}
    listed = process.capture(bootstrap.pulumi("stack", "ls", "--json", "--non-interactive"), cwd=ROOT, env=env)
    names = {str(entry["name"]).rsplit("/", 1)[-1] for entry in json.loads(listed)}
    if stack.rsplit("/", 1)[-1] in names:
        progress(f"{stack} exists")
        return
    recovery.release_locks(stack, progress)
    process.capture(bootstrap.pulumi("stack", "init", stack, "--no-select", "--non-interactive"), cwd=ROOT, env=env)
    progress(f"created {stack}")


def run_attended(command: Sequence[str], *, env: dict[str, str], ask: bool, folder: Path | None = None) -> int:
    """Runs a command on this terminal and returns its exit code.

    ask: it may read answers from the terminal. folder: where it runs, the checkout by default.

    Ctrl-C goes to the command alone, which then finishes the step it is in: a Pulumi that is killed instead leaves pending
    operations behind.
    """
    # A function, not SIG_IGN, which the command would inherit.
    previous = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        return subprocess.Popen(command, cwd=folder or ROOT, env=env, stdin=None if ask else subprocess.DEVNULL).wait()
    finally:
        signal.signal(signal.SIGINT, previous)


def pulumi_up(stack: str, *, unasked: bool, previewed: bool = False) -> None:
    """``pulumi up`` with its output on the terminal; UserError when it fails or the person declines.

    previewed: the plan has been shown, so it is not made twice.
    """
    flags = [*(["--yes", "--non-interactive"] if unasked else []), *(["--skip-preview"] if previewed else [])]
    settings = bootstrap.stack_settings(stack)
    if settings.host.docker_host.startswith("ssh://"):
        flags += ["--parallel", str(SSH_PARALLEL)]
    command = bootstrap.pulumi("up", "--stack", stack, *flags)
    code = run_attended(command, env={**os.environ, **bootstrap.environment()}, ask=not unasked)
    if code:
        codes = " (Cloudflare's codes: docs/cloudflare.md)" if isinstance(settings.edge, CloudflareEdge) else ""
        raise UserError(
            f"pulumi up: exit {code}; see its messages above{codes}, correct what they name and run script/up --stack {stack} "
            "again"
        )


def run_smoke(outputs: "Outputs", progress: Progress, way: "Way | None" = None) -> tuple[int, int]:
    """Runs the checks of ``ops smoke`` with a line each: how many are green, of how many that apply to this stack.

    way: to names that are not public.
    """
    from ops.observe import smoke
    from ops.observe.smoke.site import Site, client_for

    results = []
    with client_for(outputs, way) as client:
        for result in smoke.run_checks(Site(outputs, client, Docker(outputs.docker_host))):
            progress(smoke.render(result))
            results.append(result)
    return sum(result.mark == "ok" for result in results), sum(result.mark != "n/a" for result in results)


def summary(stack: str, *, app_url: str, api_url: str, username: str, smoke: str, seconds: float) -> str:
    """What script/up ends with. Secrets are not in it, only how to read them."""
    read = "pulumi stack output {} --show-secrets -s " + stack
    suffix = "" if stack == "dev" else f" --stack {stack}"
    return f"""
Skyvern runs: stack {stack}, {seconds:.0f} s

  UI     {app_url}
         login     {username}
         password  {read.format("ui_password")}
  API    {api_url}/api/v1  (header x-api-key)
         key       {read.format("api_key")}
  smoke  {smoke}

  next   eval "$(script/env)"          then plain pulumi works: pulumi preview -s {stack}
         open the UI and run a workflow
         bin/ops smoke{suffix}               checks everything again; bin/ops --help lists the rest
         docs/configuration.md         what Pulumi.{stack}.yaml can say, the language model first
"""


def deploy(
    stack: str, *, images_source: Source | None, engine: bootstrap.EngineChoice | None, yes: bool, unreviewed: bool = False
) -> None:
    """All steps in order. Raises UserError at the first that cannot go on; nothing is touched by a wrong stack file."""
    from ops.deploy import preflight, rollback
    from ops.images import build as images
    from ops.stack import outputs as stacks

    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    file = bootstrap.stack_file(stack)
    guard.check(stack, file.parent, unreviewed=unreviewed, confirm=confirm if terminal else None)
    unasked = decide_consent(stack, guarded=guard.guards(stack, file.parent), yes=yes, terminal=terminal)
    settings = bootstrap.stack_settings(stack)
    docker = Docker(settings.host.docker_host)
    steps = Steps(6)
    with steps.step("Docker") as say:
        bootstrap.ensure_docker(docker.host, say)
        # Before the engine, which takes minutes where it has to be built: what cannot be had is known now.
        source = choose_source(stack, images_source, docker, say)
        images.prepare(docker, source, say, images.asked_for(settings))
    with steps.step("Pulumi") as say:
        bootstrap.ensure_engine(engine, say)
        backend_url = bootstrap.ensure_state(say).url
        checkpoint.drop_cut_off_attributes(backend_url, say)
        checkpoint.refuse_broken(backend_url)
    with steps.step("images") as say:
        images.build(docker, source, say, images.asked_for(settings))
        preflight.check(docker, bootstrap.stack_settings(stack), say)
    with steps.step(f"stack {stack}") as say:
        ensure_stack(stack, say)
        recovery.recover(stack, docker, say)
        repair.repair(stack, docker, say)
    with steps.step(f"pulumi up -s {stack}") as say:
        pulumi_up(stack, unasked=unasked)
        repair.wait_until_healthy(stack, docker, say)
    outputs = stacks.outputs(stack)
    with steps.step("smoke") as say:
        green, total = run_smoke(outputs, say)
    told = f"{green} of {total} checks green"
    print(
        summary(
            stack,
            app_url=outputs.app_url,
            api_url=outputs.api_url,
            username=outputs.ui_username,
            smoke=told,
            seconds=steps.seconds,
        )
    )
    if green < total:
        raise UserError(f"smoke: {told}; each line above that is not ok names what to look at")
    if guard.is_guarded(stack, file.read_text()):
        rollback.note(stack, docker, file.parent)


def main(arguments: list[str] | None = None) -> int:
    """Entry point of script/up; 1 with one line for a UserError."""
    parser = argparse.ArgumentParser(prog="script/up", description="From a fresh machine to a running Skyvern.")
    parser.add_argument("--stack", default="dev", help="the stack, that is Pulumi.STACK.yaml (default: dev)")
    parser.add_argument("--images", choices=get_args(Source), help="where the images come from; kept in the stack file")
    parser.add_argument(
        "--engine", choices=get_args(bootstrap.EngineChoice), help="where the Pulumi CLI comes from; kept for the next time"
    )
    parser.add_argument("--yes", action="store_true", help="do not show the preview and ask first")
    parser.add_argument(
        guard.OVERRIDE,
        action="store_true",
        help="deploy to a guarded stack (prod) although the checkout is changed or not on main",
    )
    options = parser.parse_args(arguments)
    try:
        switched_off.check()
        deploy(
            options.stack,
            images_source=options.images,
            engine=options.engine,
            yes=options.yes,
            unreviewed=options.unreviewed,
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("script/up: interrupted; run it again to continue", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
