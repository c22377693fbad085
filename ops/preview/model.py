"""A preview of a stack as plain data: its steps, the policies' results, the drift, and what it was made from.

Nothing in it is secret: values have been redacted before they get here (ops/redaction.py), so it may be printed, stored and
uploaded. Not here: where it comes from (ops/preview/engine.py), how it reads (ops/preview/report), and whether what is
applied later is the same (ops/review).
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from ops.errors import UserError

# In place of a value that must not be shown, and of one that is known only after the update.
SECRET = "[secret]"  # noqa: S105  # the mark, not a secret
UNKNOWN = "[known after the update]"

# The engine reports a replacement as up to three steps; here it is one, and ``replace``.
Operation = Literal["create", "update", "replace", "delete", "import"]
Reachable = Literal["host", "record", "site", "path", "port", "domain", "rule", "code"]
Outcome = Literal["error", "stateful", "policy", "delete", "replace", "update", "create", "none"]


def logical_name(urn: str) -> str:
    """The end of a URN: the name that the program gives a resource."""
    return urn.rpartition("::")[2]


@dataclass(frozen=True, kw_only=True)
class PropertyDiff:
    """One property that changes.

    path: as the engine spells it, ``ports[0].external``; an element of an environment by its name, ``envs[TZ]``.
    old, new: as one line of text; None on a side without a value; ``SECRET`` and ``UNKNOWN`` for values that cannot be shown.
    lines: of a text with lines, those that go (``-``) and come (``+``) and their neighbours.
    forces: the resource is replaced because of it.
    """

    path: str
    old: str | None
    new: str | None
    lines: tuple[str, ...] = ()
    forces: bool = False


@dataclass(frozen=True, kw_only=True)
class Step:
    """The operation on one resource; one that stays the same has no step.

    name: the logical one. reasons: paths that force a replacement, sorted; empty for any other operation, and
    where the engine names none (a changed parent provider, ``--replace``).
    protected: neither deleted nor replaced until ``pulumi state unprotect``. stateful: its loss is a loss of data or of a secret
    that nothing brings back. retained: left where it is when it is removed from the stack.
    """

    urn: str
    type: str
    name: str
    operation: Operation
    diffs: tuple[PropertyDiff, ...] = ()
    reasons: tuple[str, ...] = ()
    protected: bool = False
    stateful: bool = False
    retained: bool = False

    @property
    def destroys_data(self) -> bool:
        """Whether data or a secret is lost by it."""
        return self.stateful and self.operation in {"delete", "replace"} and not self.retained


@dataclass(frozen=True, kw_only=True)
class ImageChange:
    """Another image for a container. old, new: references with digest or hash of the build context; None without an image."""

    container: str
    old: str | None
    new: str | None


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """An address that becomes reachable from outside the host or no longer is, or a rule about who reaches it.

    kind: ``host`` (tunnel ingress), ``record`` (DNS), ``site`` (a host that the gateway answers), ``path`` (of the gateway),
    ``port`` (published on the host), ``domain`` (Vercel), ``rule`` (firewall, rate limit, Access), ``code`` (of callers).
    what: ``app.example.com``, ``0.0.0.0:8080``. where: name of the resource that says so.
    """

    change: Literal["gained", "lost", "changed"]
    kind: Reachable
    what: str
    where: str


@dataclass(frozen=True, kw_only=True)
class Outage:
    """A part that is unavailable while the change is applied. what: a clause. seconds: upper bound on an idle machine."""

    part: str
    what: str
    seconds: int


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """A secret that is rotated. name: as ``ops rotate`` calls it, or the resource's. afterwards: what a person has to do."""

    name: str
    title: str
    afterwards: str


@dataclass(frozen=True, kw_only=True)
class Timing:
    """When a schedule runs. timezone: ``Asia/Seoul``. enabled: whether it runs at all."""

    cron: str
    timezone: str
    enabled: bool = True


@dataclass(frozen=True, kw_only=True)
class AutomationChange:
    """A workflow, schedule or credential of Skyvern that changes.

    name: the logical one. details: clauses about one that stays. before, after: of a schedule, None on a side where it is not.
    """

    kind: Literal["workflow", "schedule", "credential"]
    change: Literal["added", "removed", "changed"]
    name: str
    details: tuple[str, ...] = ()
    before: Timing | None = None
    after: Timing | None = None


@dataclass(frozen=True, kw_only=True)
class PolicyResult:
    """The result of a policy for one resource, or for the stack (``urn`` is empty).

    outcome: ``violated``, ``exempted`` (until ``expires``), or ``could not run``: a value is known after the update only.
    """

    rule: str
    outcome: Literal["violated", "exempted", "could not run"]
    level: Literal["advisory", "mandatory"]
    message: str
    urn: str = ""
    severity: str = ""
    remediation: str = ""
    cis: tuple[str, ...] = ()
    url: str = ""
    expires: datetime.date | None = None

    @property
    def refuses(self) -> bool:
        """Whether the update must not be made because of it."""
        return self.outcome == "violated" and self.level == "mandatory"


@dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """A message of the program, a provider or the engine. urn: of the resource it is about, if any."""

    severity: Literal["error", "warning"]
    message: str
    urn: str = ""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Differences from the recorded state, apart from any intended change.

    checked: whether it was looked for at all. failure: why it could not be determined; then the rest is incomplete.
    steps: ``update`` (changed outside Pulumi) and ``delete`` (gone). unmanaged: what looks like ours but is not in the state.
    """

    checked: bool = False
    failure: str = ""
    steps: tuple[Step, ...] = ()
    unmanaged: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many resources differ, unmanaged ones included."""
        return len(self.steps) + len(self.unmanaged)


@dataclass(frozen=True, kw_only=True)
class Preview:
    """Everything about one stack, made at one moment.

    made: in UTC. head, base: commits, empty where unknown. config: flat, ``skyvern:host.port`` -> text, redacted.
    config_hash: over the stack file and Pulumi.yaml. state_digest: over the state's resources, without secrets and times;
    empty for a stack without a state. versions: ``engine``, ``python``, ``skyvern`` and every provider's SDK.
    images: container (physical name) -> reference, as planned, of all containers. steps: sorted by URN.
    counts: operation -> resources, with those that stay the ``same``; components, which only group, are not among them.
    outputs: exports of the stack that change. policy_pack: ``name version``; empty where none was loaded.
    rules_run: rules that judged at least one resource or the stack.
    """

    stack: str
    made: datetime.datetime
    head: str = ""
    base: str = ""
    config: Mapping[str, str] = field(default_factory=dict)
    config_hash: str = ""
    state_digest: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    outputs: tuple[PropertyDiff, ...] = ()
    image_changes: tuple[ImageChange, ...] = ()
    exposures: tuple[Exposure, ...] = ()
    outages: tuple[Outage, ...] = ()
    rotations: tuple[Rotation, ...] = ()
    automations: tuple[AutomationChange, ...] = ()
    policies: tuple[PolicyResult, ...] = ()
    policy_pack: str = ""
    rules_run: int = 0
    diagnostics: tuple[Diagnostic, ...] = ()
    drift: Drift = Drift()
    failure: str = ""

    @property
    def violated(self) -> bool:
        """Whether a mandatory policy refuses it."""
        return any(result.refuses for result in self.policies)

    @property
    def failed(self) -> bool:
        """Whether it is incomplete: the engine, the program or the check for drift ended with an error."""
        return bool(self.failure or self.drift.failure)

    @property
    def outcome(self) -> Outcome:
        """The worst of it, which the verdict names."""
        operations = {step.operation for step in self.steps}
        if self.failed:
            return "error"
        if any(step.destroys_data for step in self.steps):
            return "stateful"
        if self.violated:
            return "policy"
        for worst in ("delete", "replace", "update", "create"):
            if worst in operations:
                return worst
        return "update" if operations or self.outputs else "none"

    @property
    def clean(self) -> bool:
        """Whether there is nothing to apply and nothing has drifted."""
        return self.outcome == "none" and not self.drift.count


def exit_code(previews: Sequence[Preview]) -> int:
    """Of ``ops preview``: 1 an error, 3 a mandatory policy is broken, 2 there are changes or drift, 0 nothing to do."""
    if any(preview.failed for preview in previews):
        return 1
    if any(preview.violated for preview in previews):
        return 3
    return 0 if all(preview.clean for preview in previews) else 2


_DOCUMENT = TypeAdapter(tuple[Preview, ...])


def dump(previews: Sequence[Preview]) -> str:
    """One JSON document, the same for the same previews."""
    return _DOCUMENT.dump_json(tuple(previews), indent=2).decode() + "\n"


def load(text: str, *, file: str) -> tuple[Preview, ...]:
    """Previews from ``dump``; UserError in one line for anything else."""
    try:
        return _DOCUMENT.validate_json(text)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise UserError(f"{file}: {where}: is not a preview; make it with bin/ops preview --format json") from None
