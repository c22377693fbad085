"""What script/up does once the Python environment exists: prepare the machine, build, deploy, check, and print the next steps.

Safe to run again: every step looks before it acts, and the deployment itself is a plain ``pulumi up``.
Not here: how each step works (ops/machine, ops/images, ops/observe/smoke) and what is deployed (components/).
"""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

from components.host.images import ImageSource
from ops import ownership, shell
from ops.backups import external, notes
from ops.backups import preflight as backup_preflight
from ops.clients import terminal
from ops.clients.docker import Docker
from ops.clients.terminal import Progress, Steps
from ops.deploy import danger, database_upgrade, guard, machines, preflight, put_back, recovery, releases, repair, update, upgrade
from ops.errors import UserError
from ops.images import build, needs, source
from ops.machine import backend, daemon, engine, system
from ops.machine.engine import EngineChoice
from ops.stack import checkpoint, passphrase
from ops.stack.outputs import Outputs
from ops.stack.stack import Stack


def goes_unasked(stack: Stack, *, yes: bool) -> bool:
    """Whether ``pulumi up`` goes ahead unasked; False lets it show its preview to the person and ask.

    Raises UserError for a guarded stack with neither ``--yes`` nor a terminal.
    """
    if yes:
        return True
    if terminal.attended():
        return False
    if stack.guarded:
        terminal.need_answer("script/up", yes=False, about=f"{stack} needs confirmation")
    return True


def summary(stack: Stack, outputs: Outputs, *, smoke: str, warnings: Sequence[str], seconds: float) -> str:
    """The last lines of script/up. Secrets are not in it, only how to read them. warnings: what the host lacks."""
    read = f"pulumi stack output {{}} --show-secrets -s {stack}"
    suffix = "" if stack.name == "dev" else f" --stack {stack}"
    return f"""
Skyvern runs: stack {stack}, {seconds:.0f} s

  UI     {outputs.app_url}
         login     {outputs.ui_username}
         password  {read.format("ui_password")}
  API    {outputs.api_url}/api/v1  (header x-api-key)
         key       {read.format("api_key")}
  smoke  {smoke}
{"".join(f"  WARNING  {warning}{chr(10)}" for warning in warnings)}
  next   eval "$(script/env)"          then plain pulumi works: pulumi preview -s {stack}
         open the UI and run a workflow
         bin/ops smoke{suffix}               checks everything again; bin/ops --help lists the rest
         docs/configuration.md         what {stack.file_name} can say, the language model first
"""


def make_engine_and_images(
    make_engine: Callable[[], object], make_images: Callable[[threading.Event], None], say: Progress
) -> None:
    """Side by side on a fresh machine: the one compiles while the other installs packages.

    Where one of them fails, that is printed at once, and the other ends what it is making; it is there the next time.
    make_images: begins no further image once the event is set.
    """
    stop = threading.Event()

    def images() -> None:
        try:
            make_images(stop)
        except UserError as failed:
            say(f"{failed}; Pulumi is made ready before this ends")
            raise

    with ThreadPoolExecutor(1) as beside:
        made = beside.submit(images)
        try:
            make_engine()
        except BaseException as failed:
            stop.set()
            if not made.done():
                say(f"{failed or 'interrupted'}; the image that is being made is finished first")
            raise
        made.result()


def check_belongings(stack: Stack) -> None:
    """UserError where folders are another user's, or the stack's secrets of another passphrase."""
    ownership.check(stack.file, engine.user_pulumi_home(os.environ, engine.read_record()))
    passphrase.check(stack, backend.current_state(), os.environ)


def deploy(
    stack: Stack, *, images_source: ImageSource | None, engine_choice: EngineChoice | None, yes: bool, unreviewed: bool = False
) -> None:
    """All steps in order. Raises UserError at the first that cannot go on; nothing is touched by a wrong stack file."""
    settings = stack.settings()
    preflight.check_automations(stack, settings)
    guard.check(stack, unreviewed=unreviewed, confirm=terminal.confirm if terminal.attended() else None)
    unasked = goes_unasked(stack, yes=yes)
    # Before anything is made.
    check_belongings(stack)
    system.check_room()
    steps = Steps(5)
    with steps.step("Docker") as say:
        if remark := shell.remark():
            say(remark)
        daemon.ensure_docker(settings.host.docker_host, say)
        docker = stack.docker()
        recovery.refuse_foreign_before(stack, docker, backend.current_state().url)
        # Before the engine, which takes minutes where it has to be built: what cannot be had is known now.
        preflight.check_ports(stack, settings)
        preflight.check_addresses(stack, docker, settings)
        machines.check(stack, docker, settings, say)
        chosen = source.choose_source(stack, images_source, docker, say)
        optional = needs.asked_for(settings)
        missing = needs.prepare(docker, chosen, say, optional)
    with steps.step("Pulumi and images") as say:
        # Before minutes are spent.
        backend_url = backend.ensure_state(say).url
        checkpoint.drop_cut_off_attributes(backend_url, say)
        checkpoint.refuse_broken(backend_url)
        make_engine_and_images(
            lambda: engine.ensure_engine(engine_choice, say, stack.plugins()),
            lambda stop: build.build(docker, chosen, say, optional, stop, missing, host=settings.host),
            say,
        )
        preflight.check_addresses(stack, docker, stack.settings())
        preflight.check(docker, stack.settings(), say)
    with notes.alone(stack):
        _update(stack, docker, steps, unasked=unasked)


def _update(stack: Stack, docker: Docker, steps: Steps, *, unasked: bool) -> None:
    """The steps that change the stack, on a machine that has what they need."""
    with steps.step(f"stack {stack}") as say:
        machines.make_shared_folder(stack, docker, stack.settings(), say)
        update.ensure_stack(stack, say)
        server = external.server(stack, docker, stack.settings())
        put_back.finish(stack, docker, server, say)
        recovery.recover(stack, docker, say)
        database_upgrade.finish(stack, docker, stack.settings(), say)
        recorded = repair.repair(stack, docker, say)
        upgrade.finish(stack, docker, say)
        backup_preflight.check(stack, docker, stack.settings(), say)
        danger.refuse_other_place(stack, docker, stack.settings(), recorded)
        external.check(server, say)
        change = upgrade.plan(stack, docker, stack.settings())
        if change is None:
            danger.take_set(stack, docker, stack.settings(), recorded, say)
        else:
            danger.refuse(stack, docker, stack.settings(), recorded)
    if change is not None:
        steps.total += 1
        with steps.step(str(change)) as say:
            upgrade.prepare(change, stack, docker, say, ask=not unasked)
            # It has been asked, and whoever is asked in the middle may be gone.
            unasked = True
    with upgrade.switched(change, stack, docker, terminal.say):
        with steps.step(f"pulumi up -s {stack}") as say:
            update.pulumi_up(stack, unasked=unasked)
            repair.wait_until_healthy(stack, docker, say)
        outputs = stack.outputs()
        with steps.step("smoke") as say:
            warnings: list[str] = []
            green, total = update.run_smoke(outputs, say, warn=warnings.append)
        result = f"{green} of {total} checks green"
        print(summary(stack, outputs, smoke=result, warnings=warnings, seconds=steps.seconds))
        if green < total:
            raise UserError(f"smoke: {result}; each line above that is not ok names what to look at")
    releases.record_good(stack, docker)
    upgrade.finished(stack)
    database_upgrade.finished(stack)


def main(arguments: list[str] | None = None) -> int:
    """Entry point of script/up; 1 with one line for a UserError."""
    parser = terminal.Parser(prog="script/up", description="From a fresh machine to a running Skyvern.")
    parser.add_argument("--stack", default="dev", help="the stack, that is Pulumi.STACK.yaml (default: dev)")
    parser.add_argument("--images", choices=get_args(ImageSource), help="where the images come from; kept in the stack file")
    parser.add_argument(
        "--engine", choices=get_args(EngineChoice), help="where the Pulumi CLI comes from; kept for the next time"
    )
    parser.add_argument("--yes", action="store_true", help="do not show the preview and ask first")
    parser.add_argument(
        guard.OVERRIDE,
        action="store_true",
        help="deploy to a guarded stack (prod) although the checkout is changed or not on main",
    )
    options = parser.parse_args(arguments)
    return terminal.run_main(
        "script/up",
        lambda: deploy(
            Stack(options.stack),
            images_source=options.images,
            engine_choice=options.engine,
            yes=options.yes,
            unreviewed=options.unreviewed,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
