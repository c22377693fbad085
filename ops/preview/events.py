"""From the engine's events (``pulumi preview --event-log``) to the parts of a preview. Pure.

Secrets end here: those that the engine marks, those that become or were one, and those that the redactor knows or recognises.
No value leaves this module unchecked.
"""

import datetime
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from ops.preview import automations, diff, exposure
from ops.preview.environment import with_environment, with_list, with_names
from ops.preview.exposure import CONTAINER
from ops.preview.model import (
    SECRET,
    AutomationChange,
    Diagnostic,
    Exposure,
    ImageChange,
    Operation,
    Outage,
    PolicyResult,
    PropertyDiff,
    Rotation,
    Step,
    logical_name,
)
from ops.preview.values import hide_pairs, plain_texts, readable, revealed, with_parts
from ops.redaction import Redactor
from ops.stack import impact as downtime
from ops.stack import policy_events
from ops.stack.impact import ROTATIONS

Event = Mapping[str, Any]

STACK = "pulumi:pulumi:Stack"
NETWORK = "docker:index/network:Network"
VOLUME = "docker:index/volume:Volume"
PASSWORD = "random:index/randomPassword:RandomPassword"  # noqa: S105  # a type of resource
# A new tunnel has another id: every name has to be pointed at it, and connectors get another token.
_STATEFUL = frozenset({"cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"})

# Of the steps of one replacement, the one that says the most comes first.
_TELLING = ("replace", "create-replacement", "import-replacement", "read-replacement", "delete-replaced", "discard-replaced")
_OPERATIONS: Mapping[str, Operation] = {
    **dict.fromkeys(_TELLING, "replace"),
    "create": "create",
    "update": "update",
    "delete": "delete",
    "import": "import",
}

# Say only that there was an error; another message names it.
_ENDINGS = frozenset({"preview failed", "refresh failed", "update failed"})


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource of a run. old, new: its inputs before and after, without secrets; None on a side where it does not exist."""

    urn: str
    type: str
    operation: Operation | None
    old: Mapping[str, Any] | None
    new: Mapping[str, Any] | None
    step: Step | None

    @property
    def name(self) -> str:
        """The logical name."""
        return logical_name(self.urn)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The content of a run's events. resources: all custom ones, by URN. rules_run: names."""

    resources: tuple[Resource, ...] = ()
    outputs: tuple[PropertyDiff, ...] = ()
    policies: tuple[PolicyResult, ...] = ()
    policy_pack: str = ""
    rules_run: frozenset[str] = frozenset()
    diagnostics: tuple[Diagnostic, ...] = ()
    finished: bool = False

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps, by URN."""
        return tuple(resource.step for resource in self.resources if resource.step is not None)

    @property
    def counts(self) -> Mapping[str, int]:
        """Operation -> resources, ``same`` included."""
        return Counter(resource.operation or "same" for resource in self.resources)


def read(events: Sequence[Event], redactor: Redactor, *, disposable: Sequence[str] = (), drift: bool = False) -> Reading:
    """The content of a run's events. disposable: globs over names of volumes that may be lost.

    drift: the run was a refresh, whose steps have their findings only when they end.
    """
    steps, hidden, outputs = _hidden(events, drift=drift)
    redactor = with_secrets_of_both_sides(events, redactor, drift=drift)
    resources = [_resource(urn, meta, hidden[urn], redactor, disposable, drift=drift) for urn, meta in sorted(steps.items())]
    return Reading(
        resources=tuple(resources),
        outputs=() if drift else diff.differences(redactor.value(outputs.old_inputs), redactor.value(outputs.new_inputs)),
        policies=tuple(_policies(events, redactor)),
        policy_pack=_policy_pack(events),
        rules_run=frozenset(rules_run(events)),
        diagnostics=tuple(_diagnostics(events, redactor)),
        finished=any("summaryEvent" in event for event in events),
    )


def with_secrets_of_both_sides(events: Sequence[Event], redactor: Redactor, *, drift: bool = False) -> Redactor:
    """Extends the redactor with values that are plain in the state but secret in the program, or vice versa."""
    _, hidden, outputs = _hidden(events, drift=drift)
    secrets = outputs.revealed.union(*(each.revealed for each in hidden.values()))
    return Redactor.of([*redactor.values, *with_parts(secrets)], mask=redactor.mask) if secrets else redactor


# --- Resources -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Hidden:
    """Properties of one resource with every mark of the engine honoured on both sides, and the texts that this has hidden.

    variables: as ``with_environment`` gives them.
    """

    old_inputs: Any
    new_inputs: Any
    old_outputs: Any = None
    new_outputs: Any = None
    variables: tuple[str, ...] | None = None
    revealed: frozenset[str] = frozenset()


def _hidden(events: Sequence[Event], *, drift: bool) -> tuple[dict[str, Event], dict[str, _Hidden], _Hidden]:
    """Of each resource the step that says the most, and its properties; the stack's outputs."""
    steps = _by_urn(events, "resOutputsEvent" if drift else "resourcePreEvent")
    return steps, {urn: _hide(meta) for urn, meta in steps.items()}, _stack_outputs(events)


def _by_urn(events: Iterable[Event], kind: str) -> dict[str, Event]:
    """The step that says the most about each custom resource (components only group)."""
    steps: dict[str, Event] = {}
    for event in events:
        if kind not in event:
            continue
        meta = event[kind]["metadata"]
        state = meta.get("new") or meta.get("old") or {}
        if not state.get("custom") or state.get("external") or _is_default_provider(meta):
            continue
        known = steps.get(meta["urn"])
        if known is None or _rank(meta["op"]) < _rank(known["op"]):
            steps[meta["urn"]] = meta
    return steps


def _is_default_provider(meta: Event) -> bool:
    return str(meta["type"]).startswith("pulumi:providers:") and "::default" in str(meta["urn"])


def _rank(operation: str) -> int:
    if operation in _TELLING:
        return _TELLING.index(operation)
    return len(_TELLING) + (operation not in _OPERATIONS)


def _hide(meta: Event) -> _Hidden:
    old, new = meta.get("old") or {}, meta.get("new") or {}
    *inputs, variables = with_environment(readable(old.get("inputs")), readable(new.get("inputs")))
    outputs = readable(old.get("outputs")), readable(new.get("outputs"))
    hidden_inputs, hidden_outputs = hide_pairs(*inputs), hide_pairs(*outputs)
    # A provider's outputs repeat its inputs, and may lack their marks.
    repeated = hide_pairs(outputs[0], inputs[1])[0] if outputs[0] and inputs[1] else outputs[0]
    plain = plain_texts(hidden_inputs)
    pairs = [*zip(inputs, hidden_inputs, strict=True), *zip(outputs, hidden_outputs, strict=True), (outputs[0], repeated)]
    return _Hidden(
        old_inputs=with_list(hidden_inputs[0]),
        new_inputs=with_list(hidden_inputs[1]),
        old_outputs=hidden_outputs[0],
        new_outputs=hidden_outputs[1],
        variables=variables,
        revealed=frozenset(text for before, after in pairs for text in revealed(before, after, plain)),
    )


def _stack_outputs(events: Iterable[Event]) -> _Hidden:
    """Outputs of the stack before and after; both empty if the program did not get that far."""
    states = [event["resOutputsEvent"]["metadata"] for event in events if "resOutputsEvent" in event]
    # The last one is what the program ended with.
    for meta in reversed([state for state in states if state["type"] == STACK and state.get("new")]):
        old, new = readable((meta.get("old") or {}).get("outputs") or {}), readable(meta["new"].get("outputs") or {})
        hidden = hide_pairs(old, new)
        plain = plain_texts(hidden)
        texts = {text for before, after in zip((old, new), hidden, strict=True) for text in revealed(before, after, plain)}
        return _Hidden(old_inputs=hidden[0], new_inputs=hidden[1], revealed=frozenset(texts))
    return _Hidden(old_inputs={}, new_inputs={})


def _resource(urn: str, meta: Event, hidden: _Hidden, redactor: Redactor, disposable: Sequence[str], *, drift: bool) -> Resource:
    operation = _OPERATIONS.get(meta["op"])
    old = None if operation in {"create", "import"} else redactor.value(hidden.old_inputs)
    new = None if operation == "delete" else redactor.value(hidden.new_inputs)
    # A name is the program's own, and may have anything in it.
    urn = redactor.text(urn)
    resource = Resource(urn=urn, type=meta["type"], operation=operation, old=old, new=new, step=None)
    if operation is None:
        return resource
    states = [state for state in (meta.get("old"), meta.get("new")) if state]
    details = with_names(meta.get("detailedDiff") or {}, hidden.variables)
    forcing = sorted(path for path, detail in details.items() if detail["diffKind"].endswith("-replace"))
    forcing = forcing or (list(meta.get("keys") or []) if operation == "replace" else [])
    diffs = diff.differences(old, new, forcing) if operation != "delete" else ()
    if operation in {"update", "replace"}:
        by_name = hidden.variables is not None
        diffs = _with_computed(diffs, [*details, *forcing], redactor.value(hidden.old_outputs), new, forcing, by_name=by_name)
    if drift and operation == "update" and not diffs:
        diffs = diff.differences(redactor.value(hidden.old_outputs), redactor.value(hidden.new_outputs))
    protected = any(state.get("protect") for state in states)
    step = Step(
        urn=urn,
        type=meta["type"],
        name=resource.name,
        operation=operation,
        diffs=diffs,
        reasons=tuple(sorted({change.path for change in diffs if change.forces})) if operation == "replace" else (),
        protected=protected,
        stateful=protected or _is_stateful(resource, disposable),
        retained=any(state.get("retainOnDelete") for state in states),
    )
    return replace(resource, step=step)


def _is_stateful(resource: Resource, disposable: Sequence[str]) -> bool:
    if resource.type == VOLUME:
        return not any(fnmatchcase(resource.name, pattern) for pattern in disposable)
    return resource.type in _STATEFUL


def _with_computed(
    diffs: tuple[PropertyDiff, ...], details: Sequence[str], outputs: Any, new: Any, forcing: Sequence[str], *, by_name: bool
) -> tuple[PropertyDiff, ...]:
    """Adds differences that the provider names and the inputs do not show: another secret, a value changed outside Pulumi.

    details: paths, by the provider. by_name: the inputs have each variable by its name, so any other difference is in a secret.
    """
    more: list[PropertyDiff] = []
    for named in details:
        plain = diff.without_indices(named)
        shown = [change.path for change in (*diffs, *more)]
        if by_name and plain == "envs" and named != plain:
            if named not in shown:
                more.append(PropertyDiff(path=named, old=SECRET, new=SECRET, forces=named in forcing))
            continue
        if any(diff.within(diff.without_indices(path), plain) for path in shown):
            continue
        # The places in a list that is one secret cannot be seen.
        path = named if diff.value_at(outputs, plain) != SECRET else plain
        before, after = diff.value_at(outputs, path), diff.value_at(new, path)
        if SECRET in (before, after) or _has_secret(before) or _has_secret(after) or (by_name and plain == "envs"):
            before = after = SECRET
        more.append(PropertyDiff(path=path, old=diff.one_line(before), new=diff.one_line(after), forces=named in forcing))
    return tuple(sorted((*diffs, *more), key=lambda change: change.path))


def _has_secret(value: Any) -> bool:
    return value == SECRET or (isinstance(value, list) and SECRET in value)


# --- What it means ---------------------------------------------------------------------------------------------------------


def images(resources: Iterable[Resource]) -> dict[str, str]:
    """Physical name -> image of every container after the update."""
    return {
        str(resource.new.get("name", resource.name)): str(resource.new.get("image", ""))
        for resource in resources
        if resource.type == CONTAINER and resource.new is not None
    }


def image_changes(resources: Iterable[Resource]) -> tuple[ImageChange, ...]:
    """Containers that get another image, by name."""
    changes = []
    for resource in resources:
        if resource.type != CONTAINER or resource.old is None or resource.new is None or resource.operation is None:
            continue
        old, new = resource.old.get("image"), resource.new.get("image")
        if old != new:
            changes.append(ImageChange(container=str(resource.new.get("name", resource.name)), old=old, new=new))
    return tuple(sorted(changes, key=lambda change: change.container))


def exposures(resources: Iterable[Resource]) -> tuple[Exposure, ...]:
    """Changes of what is reachable, and by whom."""
    return tuple(
        change
        for resource in resources
        if resource.operation is not None
        for change in exposure.exposures(resource.type, resource.name, resource.old, resource.new)
    )


def automation_changes(resources: Iterable[Resource]) -> tuple[AutomationChange, ...]:
    """What becomes of workflows, schedules and credentials, by kind and name."""
    changes = (
        automations.change_of(resource.type, resource.name, resource.old, resource.new, resource.step.diffs)
        for resource in resources
        if resource.step is not None
    )
    return tuple(sorted((change for change in changes if change is not None), key=lambda change: (change.kind, change.name)))


def outages(resources: Iterable[Resource]) -> tuple[Outage, ...]:
    """Parts that are unavailable meanwhile, one for every container that is replaced or deleted; the longest first."""
    resources, stopped = tuple(resources), []
    networks = {
        str(resource.old.get("name"))
        for resource in resources
        if resource.type == NETWORK and resource.operation == "replace" and resource.old is not None
    }
    for resource in resources:
        if resource.type != CONTAINER or resource.operation not in {"replace", "delete"} or resource.old is None:
            continue
        part = str(resource.old.get("hostname") or resource.name)
        # What is on a network that is made again goes before the network does.
        joined = {network.get("name") for network in resource.old.get("networksAdvanced") or []}
        hands_over = resource.operation == "replace" and not (resource.new or {}).get("ports") and not joined & networks
        known = downtime.of_part(part, hands_over=hands_over)
        # Zero: it does not come back.
        seconds = known.seconds if resource.operation == "replace" else 0
        if known.seconds:
            stopped.append(Outage(part=part, what=known.stops, seconds=seconds))
    return tuple(sorted(stopped, key=lambda outage: (-outage.seconds, outage.part)))


def rotations(resources: Iterable[Resource], stack: str) -> tuple[Rotation, ...]:
    """Generated secrets that are rotated, by name."""
    rotated = []
    for resource in resources:
        if resource.type != PASSWORD or resource.operation != "replace":
            continue
        name, title, afterwards = resource.name, resource.name, "neither the old value nor what it protects can be restored"
        for key, rotation in ROTATIONS.items():
            if resource.name.endswith(f"-secrets-{key}"):
                name, title, afterwards = key, rotation.title, rotation.afterwards.replace("STACK", stack)
        rotated.append(Rotation(name=name, title=title, afterwards=afterwards))
    return tuple(sorted(rotated, key=lambda rotation: rotation.name))


# --- Policies and messages -------------------------------------------------------------------------------------------------


def _policies(events: Iterable[Event], redactor: Redactor) -> Iterator[PolicyResult]:
    # Here for start time: every rule is made at the import.
    from policy.rules import RULES

    rules = {rule.name: rule for rule in RULES}
    results: set[PolicyResult] = set()
    for event in events:
        if (result := event.get("policyEvent")) is None:
            continue
        text = policy_events.message(result)
        urn, name = redactor.text(result.get("resourceUrn", "")), result["policyName"]
        urn = "" if f"::{STACK}::" in urn else urn
        if name == policy_events.UNKNOWN_RULE and (unchecked := policy_events.UNCHECKED.fullmatch(text)):
            message, names, outcome, expires = unchecked["message"], unchecked["rules"].split(", "), "could not run", None
        elif exempted := policy_events.EXEMPTED.fullmatch(text):
            message = f"{exempted['message']} (exempted: {exempted['reason']})"
            names, outcome, expires = [name], "exempted", datetime.date.fromisoformat(exempted["expires"])
        else:
            message, names, outcome, expires = text, [name], "violated", None
        # The URN has the resource's name, too; a rule of the whole stack may name a part of it after the stack.
        prefix = f"{logical_name(urn)}: "
        message = re.sub(r"^stack [^:\s]+: ", "", message.removeprefix(prefix)).removeprefix(prefix)
        for rule_name in names:
            rule = rules.get(rule_name)
            results.add(
                PolicyResult(
                    rule=rule_name,
                    outcome=outcome,  # type: ignore[arg-type]  # one of three literals above
                    level="mandatory" if result["enforcementLevel"] == "mandatory" else "advisory",
                    message=redactor.everything(message),
                    urn=urn,
                    severity=result.get("severity") or (rule.severity if rule else ""),
                    remediation=rule.remediation if rule else "",
                    cis=rule.cis if rule else (),
                    url=rule.url if rule else "",
                    expires=expires,
                )
            )
    order = {"violated": 0, "exempted": 1, "could not run": 2}
    severities = ("critical", "high", "medium", "low")
    yield from sorted(
        results,
        key=lambda result: (
            order[result.outcome],
            result.level != "mandatory",
            severities.index(result.severity) if result.severity in severities else len(severities),
            result.rule,
            result.urn,
            result.message,
        ),
    )


def _policy_pack(events: Iterable[Event]) -> str:
    for event in events:
        if "summaryEvent" in event:
            packs: Mapping[str, str] = event["summaryEvent"].get("PolicyPacks") or {}
            # A local pack is called NAME|local|FOLDER.
            return ", ".join(f"{name.partition('|')[0]} {version}".strip() for name, version in sorted(packs.items()))
    return ""


def rules_run(events: Iterable[Event]) -> Iterator[str]:
    """Names of the rules that judged something, repeated for each time."""
    for event in events:
        for kind in ("policyAnalyzeSummaryEvent", "policyAnalyzeStackSummaryEvent"):
            if kind in event:
                yield from event[kind].get("passed") or []
                yield from event[kind].get("failed") or []


def _diagnostics(events: Iterable[Event], redactor: Redactor) -> Iterator[Diagnostic]:
    seen = set()
    for event in events:
        fields = event.get("diagnosticEvent") or {}
        if fields.get("severity") not in {"error", "warning"} or fields.get("ephemeral"):
            continue
        message = redactor.everything(policy_events.plain(fields["message"]).strip())
        diagnostic = Diagnostic(severity=fields["severity"], message=message, urn=redactor.text(fields.get("urn", "")))
        if message and message not in _ENDINGS and diagnostic not in seen:
            seen.add(diagnostic)
            yield diagnostic
