"""The steps of an update that several commands share: the stack in its backend, ``pulumi up``, the smoke run."""

import json
from collections.abc import Sequence

from components.settings import CloudflareEdge
from ops.clients import process, terminal
from ops.clients.terminal import Progress
from ops.deploy import drain, gap
from ops.errors import UserError
from ops.machine import docker_faults, environment
from ops.observe import alerts, smoke
from ops.observe.smoke.site import Resolver, Site, client_for
from ops.stack import inventory, locks
from ops.stack.inventory import Replicas
from ops.stack.outputs import Outputs
from ops.stack.stack import PROJECT, Stack


@process.reads("pulumi")
def ensure_stack(stack: Stack, progress: Progress) -> None:
    """Creates the stack in the backend if it is not there. The user's selected stack stays selected."""

    def pulumi(*arguments: str) -> bytes:
        return process.capture(["pulumi", "stack", *arguments, "--non-interactive"], cwd=stack.root, env=stack.environment())

    # Listed without the owner if that is the user's own, and without the project: acme/skyvern/prod as acme/prod or prod.
    # The one owner of a file backend is called organization.
    owner = stack.name.partition("/")[0] if "/" in stack.name else "organization"
    names = {stack.short, f"{owner}/{stack.short}", f"{owner}/{PROJECT}/{stack.short}"}
    if names & {str(entry["name"]) for entry in json.loads(pulumi("ls", "--json"))}:
        progress(f"{stack} exists")
        return
    locks.release_locks(stack, progress)
    pulumi("init", stack.name, "--no-select")
    progress(f"created {stack}")


def preview(stack: Stack) -> None:
    """``pulumi preview`` on the terminal; UserError when it fails."""
    command = stack.command("preview", "--non-interactive")
    code = terminal.run_attended(command, env=stack.environment(), ask=False, folder=stack.root)
    if code:
        raise UserError(f"pulumi preview: exit {code}; nothing was changed; correct what its messages above name")


def pulumi_up(stack: Stack, *, unasked: bool, previewed: bool = False, targets: Sequence[str] = ()) -> None:
    """``pulumi up`` with its output on the terminal, and what the server waits for; UserError when it fails or is declined.

    previewed: the plan has been shown, so it is not made twice. targets: URNs with wildcards, of what alone is updated.
    """
    flags = [*(["--yes", "--non-interactive"] if unasked else []), *(["--skip-preview"] if previewed else [])]
    flags += [f"--target={target}" for target in targets]
    settings = stack.settings()
    progress: terminal.Progress = terminal.say
    if not unasked and terminal.attended():
        # Pulumi draws its tree over whatever another program prints (3.256, display/tree.go).
        progress = terminal.title
        if minutes := settings.server.drain_minutes:
            terminal.say(
                f"if the server is replaced, runs in progress have {minutes} min to end; the window's title counts them, "
                f"bin/ops status -s {stack} too"
            )
    variables = stack.environment()
    if targets:
        # The rules are for the whole: they would judge what is in the program, not in the state and no target, by no properties.
        variables.pop(environment.POLICY_PACK, None)
    # Once Pulumi's tree is complete, the terminal is free for a line.
    with gap.shown(settings, terminal.say), drain.countdown(stack, progress):
        code = terminal.run_attended(stack.command("up", *flags), env=variables, ask=not unasked, folder=stack.root)
    if code and (failures := [f"{one.name}: {one.problem}" for one in _replicas(stack) if one.problem]):
        raise UserError(
            f"pulumi up: exit {code}: {'; '.join(failures)}; correct what bin/ops logs -s {stack} shows, then script/up "
            f"--stack {stack} goes on"
        )
    if code and (cure := docker_faults.of_containers(stack.docker(), stack.short)):
        raise UserError(f"pulumi up: exit {code}: {cure}, then run script/up --stack {stack} again")
    if code:
        codes = " (Cloudflare's codes: docs/cloudflare.md)" if isinstance(settings.edge, CloudflareEdge) else ""
        raise UserError(
            f"pulumi up: exit {code}; see its messages above{codes}, correct what they name and run script/up --stack {stack} "
            "again"
        )
    alerts.record(stack, terminal.say)


def _replicas(stack: Stack) -> list[Replicas]:
    """The services of a stack on a Swarm, with what the engine says of them; none on plain Docker, or without an answer."""
    try:
        return inventory.replicas(stack.docker(), stack.short)
    except UserError:
        return []


def run_smoke(
    outputs: Outputs, progress: Progress, resolver: Resolver | None = None, *, warn: Progress | None = None
) -> tuple[int, int]:
    """Runs the checks of ``ops smoke`` with a line each: how many are green, of how many that apply to this stack.

    resolver: how clients reach names that are not public. warn: gets what the host lacks, which no check of the stack is counted
    for.
    """
    results = []
    with client_for(outputs, resolver) as client:
        for result in smoke.run_checks(Site(outputs, client, outputs.docker())):
            progress(smoke.render(result))
            results.append(result)
            if result.mark == "warn" and warn is not None:
                warn(result.detail)
    return sum(result.mark == "ok" for result in results), sum(result.mark not in {"n/a", "warn"} for result in results)
