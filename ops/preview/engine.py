"""Asks the engine for a preview and for the drift, and makes a model of both.

``pulumi preview --event-log`` and not the Python Automation API: both write the same log, but the API's classes drop the severity
of a policy and which rules ran (pulumi 3.272), and it wants its own program or a second way to say where state and
passphrase are. Nothing is changed: neither the stack nor its state.
"""

import dataclasses
import datetime
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from components.settings.skyvern_settings import SKYVERN_VERSION
from ops.clients import git, process, swarm
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.machine.daemon import DEFAULT_SOCKET
from ops.paths import ROOT
from ops.preview import events, state
from ops.preview.events import Reading
from ops.preview.model import Drift, Preview
from ops.redaction import Redactor
from ops.stack.stack import Stack
from ops.stack.state import disposable, leftovers

PREVIEW_SECONDS = 1200
SDKS = ("pulumi", "pulumi-cloudflare", "pulumi-docker", "pulumi-policy", "pulumi-random", "pulumiverse-vercel")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the engine. output: of the command, which may hold secrets."""

    events: Sequence[Mapping[str, Any]]
    code: int
    output: str


def preview(stack: Stack, *, drift: bool = True, base: str = "") -> Preview:
    """The preview of ``pulumi up``. drift: also check for drift. base: the commit that the preview is compared with.

    Raises UserError for a stack that does not exist and for a stack file that is not valid YAML; an error within the engine is in
    the preview.
    """
    context = _Context.of(stack)
    run = _run(context, "preview")
    # A value that this change makes a secret must not be shown as drift either.
    redactor = events.with_secrets_of_both_sides(run.events, context.redactor)
    about = Preview(
        stack=stack.name,
        made=datetime.datetime.now(datetime.UTC).replace(microsecond=0),
        head=git.commit(stack.root),
        base=base,
        config=state.flat_config(stack.config(), redactor),
        config_hash=state.config_hash(stack),
        state_digest=state.digest(context.deployment),
        versions=versions(stack),
    )
    planned = build(about, run, redactor, disposable_volumes())
    return dataclasses.replace(planned, drift=_drift(context, redactor)) if drift else planned


def build(about: Preview, run: Run, redactor: Redactor, disposable: Sequence[str] = ()) -> Preview:
    """``about`` completed with a run of ``pulumi preview``. Pure."""
    reading = events.read(run.events, redactor, disposable=disposable)
    return dataclasses.replace(
        about,
        images=events.images(reading.resources),
        steps=reading.steps,
        counts=reading.counts,
        outputs=reading.outputs,
        image_changes=events.image_changes(reading.resources),
        exposures=events.exposures(reading.resources),
        outages=events.outages(reading.resources),
        rotations=events.rotations(reading.resources, about.stack),
        automations=events.automation_changes(reading.resources),
        policies=reading.policies,
        policy_pack=reading.policy_pack,
        rules_run=len(reading.rules_run),
        diagnostics=reading.diagnostics,
        failure=failure(run.code, run.output, reading, redactor),
    )


def build_drift(run: Run, redactor: Redactor) -> Drift:
    """The drift that a run of ``pulumi refresh --preview-only`` shows. Pure."""
    reading = events.read(run.events, redactor, drift=True)
    reason = failure(run.code, run.output, reading, redactor)
    return Drift(checked=True, failure=reason, steps=() if reason else reading.steps)


def drift(stack: Stack) -> Drift:
    """Differences from the recorded state of a stack."""
    context = _Context.of(stack)
    return _drift(context, context.redactor)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Context:
    """The data that the runs about one stack share. It holds secrets."""

    stack: Stack
    deployment: state.Deployment = dataclasses.field(repr=False)
    redactor: Redactor

    @classmethod
    def of(cls, stack: Stack) -> "_Context":
        # Before the engine is asked: UserError if there is no such file.
        _ = stack.file
        deployment = stack.state(show_secrets=True)
        return cls(stack=stack, deployment=deployment, redactor=Redactor.of(state.secrets_of(stack, deployment)))


def _drift(context: _Context, redactor: Redactor) -> Drift:
    # Without a state there is nothing to refresh, but the names may be taken.
    managed = Drift(checked=True)
    if context.deployment.get("resources"):
        managed = build_drift(_run(context, "refresh", "--preview-only"), redactor)
    if managed.failure:
        return managed
    try:
        return dataclasses.replace(managed, unmanaged=_unmanaged(context))
    except UserError as failed:
        # A daemon that does not answer looks like one that has nothing of ours.
        return dataclasses.replace(managed, failure=redactor.everything(str(failed)))


def _unmanaged(context: _Context) -> tuple[str, ...]:
    """Containers and networks with the stack's labels that are not in the state; UserError if the daemon does not answer."""
    # From the file as it is: drift is checked for even if a setting is wrong.
    host = context.stack.config().get("skyvern:host") or {}
    first, nodes = str(host.get("docker_host", DEFAULT_SOCKET)), [str(node) for node in host.get("nodes") or []]
    docker = swarm.find([first, *nodes]) if host.get("engine") == "swarm" else Docker(first)
    left = leftovers(context.deployment, disposable(docker, context.stack.short))
    return tuple(sorted(f"{item.kind} {item.name}" for item in left))


def _run(context: _Context, *command: str) -> Run:
    """Runs ``pulumi COMMAND``; its log lives as long as this call, in a folder that only this user may enter."""
    with tempfile.TemporaryDirectory(prefix="skyvern-preview-") as folder:
        log = Path(folder) / "events.jsonl"
        arguments = ["--non-interactive", "--color", "never", "--event-log", str(log)]
        try:
            done = subprocess.run(
                context.stack.command(*command, *arguments),
                cwd=context.stack.root,
                # Pulumi has no --event-log without it; the Automation API does the same.
                env={**context.stack.environment(), "PULUMI_DEBUG_COMMANDS": "true"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=PREVIEW_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Run(events=(), code=1, output=f"error: no end within {PREVIEW_SECONDS} s")
        return Run(events=parse(log), code=done.returncode, output=done.stdout.decode(errors="replace"))


def parse(log: Path) -> list[dict[str, Any]]:
    """The events of a log, one JSON object a line; a line that was cut off, by a crash, is left out."""
    parsed = []
    for line in log.read_text().splitlines() if log.is_file() else []:
        try:
            parsed.append(json.loads(line))
        except ValueError:
            continue
    return parsed


def failure(code: int, output: str, reading: Reading, redactor: Redactor) -> str:
    """Why a run is incomplete, in one line; "" if it is complete, or if only policies refused it."""
    if code == 0:
        return ""
    for diagnostic in reading.diagnostics:
        if diagnostic.severity == "error":
            return diagnostic.message.splitlines()[0]
    if any(result.refuses for result in reading.policies):
        return ""
    errors = [line.strip() for line in output.splitlines() if line.strip().startswith("error:")]
    last = (errors or output.strip().splitlines() or ["no message"])[-1]
    return redactor.everything(last.removeprefix("error:").strip())


def disposable_volumes() -> Sequence[str]:
    """Globs over names of volumes that may be lost, as the policies know them."""
    # Here for start time: every rule is made at the import.
    from policy.rules import RULES
    from policy.rules.framework.levels import LevelsError, parse

    try:
        levels = parse((ROOT / "policy" / "levels.yaml").read_text(), RULES)
    except LevelsError:
        # The policy pack itself reports what is wrong with the file.
        return ()
    disposable: Sequence[str] = levels.parameters.get("docker-volume-protected", {}).get("disposable", ())
    return disposable


def versions(stack: Stack) -> dict[str, str]:
    """Engine, Python, Skyvern and the SDKs, by name."""
    # Not stack.pulumi: this command has no --stack.
    engine = process.capture(["pulumi", "version"], env=stack.environment()).decode().strip().removeprefix("v")
    return {
        "engine": engine,
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "skyvern": SKYVERN_VERSION,
        **{name: metadata.version(name) for name in SDKS},
    }
