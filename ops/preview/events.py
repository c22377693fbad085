"""From the engine's events (``pulumi preview --event-log``) to the parts of a preview. Pure.

Secrets end here: what the engine marks, what becomes or was one, and what the redactor knows or recognises. Nothing that leaves
this module has a value that was not looked at.
"""

import datetime
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ops.preview import diff, exposure
from ops.preview.environment import with_environment, with_list, with_names
from ops.preview.exposure import CONTAINER
from ops.preview.model import (
    SECRET,
    Diagnostic,
    Exposure,
    ImageChange,
    Operation,
    Outage,
    PolicyResult,
    PropertyDiff,
    Rotation,
    Step,
)
from ops.preview.values import hide_pairs, plain_texts, readable, revealed, with_parts
from ops.redaction import Redactor
from ops.stack import impact as downtime
from ops.stack.impact import ROTATIONS

Event = Mapping[str, Any]

STACK = "pulumi:pulumi:Stack"
VOLUME = "docker:index/volume:Volume"
PASSWORD = "random:index/randomPassword:RandomPassword"  # noqa: S105  # a type of resource
# A new tunnel has another id: every name has to be pointed at it, and connectors get another token.
_STATEFUL = frozenset({"cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"})

_OPERATIONS: Mapping[str, Operation] = {
    "create": "create",
    "update": "update",
    "delete": "delete",
    "import": "import",
    "replace": "replace",
    "create-replacement": "replace",
    "delete-replaced": "replace",
    "read-replacement": "replace",
    "discard-replaced": "replace",
    "import-replacement": "replace",
}
# Of the steps of one replacement, the one that says the most.
_TELLING = ("replace", "create-replacement", "import-replacement", "read-replacement", "delete-replaced", "discard-replaced")

# As policy/rules/framework/evaluation.py words them.
_EXEMPTED = re.compile(r"exempted until (?P<expires>\d{4}-\d\d-\d\d) \((?P<reason>.*?)\): (?P<message>.*)", re.DOTALL)
_UNCHECKED = re.compile(
    r"(?P<message>.*?): known after the update only, so not checked now, but then; by (?P<rules>.*)", re.DOTALL
)
# Say that there was an error, which another message tells.
_ENDINGS = frozenset({"preview failed", "refresh failed", "update failed"})
_UNKNOWN_RULE = "policy-value-known"


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource of a run. old, new: its inputs before and after, without secrets; None where there are none."""

    urn: str
    type: str
    operation: Operation | None
    old: Mapping[str, Any] | None
    new: Mapping[str, Any] | None
    step: Step | None

    @property
    def name(self) -> str:
        """The logical name."""
        return self.urn.rpartition("::")[2]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a run of the engine said. resources: all custom ones, by URN. rules_run: names."""

    resources: tuple[Resource, ...] = ()
    outputs: tuple[PropertyDiff, ...] = ()
    policies: tuple[PolicyResult, ...] = ()
    policy_pack: str = ""
    rules_run: frozenset[str] = frozenset()
    diagnostics: tuple[Diagnostic, ...] = ()
    finished: bool = False

    @property
    def steps(self) -> tuple[Step, ...]:
        """What would be done, by URN."""
        return tuple(one.step for one in self.resources if one.step is not None)

    @property
    def counts(self) -> Mapping[str, int]:
        """Operation -> resources, ``same`` included."""
        counts: dict[str, int] = {}
        for one in self.resources:
            operation = one.operation or "same"
            counts[operation] = counts.get(operation, 0) + 1
        return counts


def read(events: Sequence[Event], redactor: Redactor, *, disposable: Sequence[str] = (), drift: bool = False) -> Reading:
    """What a run says. disposable: globs over names of volumes whose loss is none.

    drift: the run was a refresh, whose steps say what they found only when they end.
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
    secrets = outputs.revealed.union(*(one.revealed for one in hidden.values()))
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
    """The telling step of each resource, its properties, and the stack's outputs."""
    steps = _by_urn(events, "resOutputsEvent" if drift else "resourcePreEvent")
    return steps, {urn: _hide(meta) for urn, meta in steps.items()}, _stack_outputs(events)


def _by_urn(events: Iterable[Event], kind: str) -> dict[str, Event]:
    """The step that says the most of each resource that is one (components only group)."""
    found: dict[str, Event] = {}
    for event in events:
        if kind not in event:
            continue
        meta = event[kind]["metadata"]
        state = meta.get("new") or meta.get("old") or {}
        if not state.get("custom") or state.get("external") or _is_default_provider(meta):
            continue
        known = found.get(meta["urn"])
        if known is None or _rank(meta["op"]) < _rank(known["op"]):
            found[meta["urn"]] = meta
    return found


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
    in_clear = plain_texts(hidden_inputs)
    pairs = [*zip(inputs, hidden_inputs, strict=True), *zip(outputs, hidden_outputs, strict=True), (outputs[0], repeated)]
    return _Hidden(
        old_inputs=with_list(hidden_inputs[0]),
        new_inputs=with_list(hidden_inputs[1]),
        old_outputs=hidden_outputs[0],
        new_outputs=hidden_outputs[1],
        variables=variables,
        revealed=frozenset(text for before, after in pairs for text in revealed(before, after, in_clear)),
    )


def _stack_outputs(events: Iterable[Event]) -> _Hidden:
    """Exports of the stack before and after; both empty when the program did not get that far."""
    states = [event["resOutputsEvent"]["metadata"] for event in events if "resOutputsEvent" in event]
    # The last one is what the program ended with.
    for meta in reversed([one for one in states if one["type"] == STACK and one.get("new")]):
        old, new = readable((meta.get("old") or {}).get("outputs") or {}), readable(meta["new"].get("outputs") or {})
        hidden = hide_pairs(old, new)
        in_clear = plain_texts(hidden)
        found = {text for before, after in zip((old, new), hidden, strict=True) for text in revealed(before, after, in_clear)}
        return _Hidden(old_inputs=hidden[0], new_inputs=hidden[1], revealed=frozenset(found))
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
    forcing = sorted(path for path, one in details.items() if one["diffKind"].endswith("-replace"))
    forcing = forcing or (list(meta.get("keys") or []) if operation == "replace" else [])
    diffs = diff.differences(old, new, forcing) if operation != "delete" else ()
    if operation in {"update", "replace"}:
        told = hidden.variables is not None
        diffs = _with_computed(diffs, [*details, *forcing], redactor.value(hidden.old_outputs), new, forcing, told=told)
    if drift and operation == "update" and not diffs:
        diffs = diff.differences(redactor.value(hidden.old_outputs), redactor.value(hidden.new_outputs))
    protected = any(state.get("protect") for state in states)
    return Resource(
        urn=urn,
        type=meta["type"],
        operation=operation,
        old=old,
        new=new,
        step=Step(
            urn=urn,
            type=meta["type"],
            name=resource.name,
            operation=operation,
            diffs=diffs,
            reasons=tuple(sorted({one.path for one in diffs if one.forces})) if operation == "replace" else (),
            protected=protected,
            stateful=protected or _is_stateful(resource, disposable),
            retained=any(state.get("retainOnDelete") for state in states),
        ),
    )


def _is_stateful(resource: Resource, disposable: Sequence[str]) -> bool:
    if resource.type == VOLUME:
        return not any(fnmatchcase(resource.name, one) for one in disposable)
    return resource.type in _STATEFUL


def _with_computed(
    diffs: tuple[PropertyDiff, ...], details: Sequence[str], outputs: Any, new: Any, forcing: Sequence[str], *, told: bool
) -> tuple[PropertyDiff, ...]:
    """With what the provider says differs and the inputs do not show: a secret that changes, a value that somebody changed.

    details: paths, by the provider. told: the inputs have each variable by its name, so what else differs there is a secret.
    """
    more: list[PropertyDiff] = []
    for named in details:
        plain = diff.without_indices(named)
        shown = [one.path for one in (*diffs, *more)]
        if told and plain == "envs" and named != plain:
            if named not in shown:
                more.append(PropertyDiff(path=named, old=SECRET, new=SECRET, forces=named in forcing))
            continue
        if any(diff.within(diff.without_indices(one), plain) for one in shown):
            continue
        # Of a list that is one secret, nobody sees the places.
        path = named if diff.value_at(outputs, plain) != SECRET else plain
        before, after = diff.value_at(outputs, path), diff.value_at(new, path)
        if SECRET in (before, after) or _has_secret(before) or _has_secret(after) or (told and plain == "envs"):
            before = after = SECRET
        more.append(PropertyDiff(path=path, old=diff.one_line(before), new=diff.one_line(after), forces=named in forcing))
    return tuple(sorted((*diffs, *more), key=lambda one: one.path))


def _has_secret(value: Any) -> bool:
    return value == SECRET or (isinstance(value, list) and SECRET in value)


# --- What it means ---------------------------------------------------------------------------------------------------------


def images(resources: Iterable[Resource]) -> dict[str, str]:
    """Physical name -> image of every container that there will be."""
    return {
        str(one.new.get("name", one.name)): str(one.new.get("image", ""))
        for one in resources
        if one.type == CONTAINER and one.new is not None
    }


def image_changes(resources: Iterable[Resource]) -> tuple[ImageChange, ...]:
    """Containers that get another image, by name."""
    changes = []
    for one in resources:
        if one.type != CONTAINER or one.old is None or one.new is None or one.operation is None:
            continue
        was, will = one.old.get("image"), one.new.get("image")
        if was != will:
            changes.append(ImageChange(container=str(one.new.get("name", one.name)), old=was, new=will))
    return tuple(sorted(changes, key=lambda one: one.container))


def exposures(resources: Iterable[Resource]) -> tuple[Exposure, ...]:
    """What becomes reachable and what no longer is."""
    found: list[Exposure] = []
    for one in resources:
        if one.operation is not None:
            found += exposure.exposures(one.type, one.name, one.old, one.new)
    return tuple(found)


def outages(resources: Iterable[Resource]) -> tuple[Outage, ...]:
    """What does not work meanwhile: of every running container that is replaced or goes, the longest first."""
    found = []
    for one in resources:
        if one.type != CONTAINER or one.operation not in {"replace", "delete"} or one.old is None:
            continue
        part = str(one.old.get("hostname") or one.name)
        known = downtime.PARTS.get(part, downtime.Downtime(f"what {part} does", downtime.SERVER_SECONDS))
        # Zero: it does not come back.
        seconds = known.seconds if one.operation == "replace" else 0
        if known.seconds:
            found.append(Outage(part=part, what=known.stops, seconds=seconds))
    return tuple(sorted(found, key=lambda one: (-one.seconds, one.part)))


def rotations(resources: Iterable[Resource], stack: str) -> tuple[Rotation, ...]:
    """Generated secrets that are made anew, by name."""
    found = []
    for one in resources:
        if one.type != PASSWORD or one.operation != "replace":
            continue
        known = next((key for key in ROTATIONS if one.name.endswith(f"-secrets-{key}")), None)
        if known is None:
            afterwards = "nothing brings the old one back, nor what it protects"
            found.append(Rotation(name=one.name, title=one.name, afterwards=afterwards))
        else:
            rotation = ROTATIONS[known]
            found.append(Rotation(name=known, title=rotation.title, afterwards=rotation.afterwards.replace("STACK", stack)))
    return tuple(sorted(found, key=lambda one: one.name))


# --- Policies and messages -------------------------------------------------------------------------------------------------


def _policies(events: Iterable[Event], redactor: Redactor) -> Iterator[PolicyResult]:
    # Here for start time: every rule is made at the import.
    from policy.rules import RULES

    rules = {rule.name: rule for rule in RULES}
    found: set[PolicyResult] = set()
    for event in events:
        if (one := event.get("policyEvent")) is None:
            continue
        # The first line is the rule's description.
        text = _plain(one["message"]).partition("\n")[2].strip() or _plain(one["message"]).strip()
        urn, name = redactor.text(one.get("resourceUrn", "")), one["policyName"]
        urn = "" if f"::{STACK}::" in urn else urn
        if name == _UNKNOWN_RULE and (unchecked := _UNCHECKED.fullmatch(text)):
            message, names, outcome, expires = unchecked["message"], unchecked["rules"].split(", "), "could not run", None
        elif exempted := _EXEMPTED.fullmatch(text):
            message = f"{exempted['message']} (exempted: {exempted['reason']})"
            names, outcome, expires = [name], "exempted", datetime.date.fromisoformat(exempted["expires"])
        else:
            message, names, outcome, expires = text, [name], "violated", None
        # Who it is about stands in the URN, but where a rule of the whole stack names a part of it.
        message = re.sub(r"^stack [^:\s]+: ", "", message.removeprefix(f"{urn.rpartition('::')[2]}: "))
        message = message.removeprefix(f"{urn.rpartition('::')[2]}: ")
        for each in names:
            rule = rules.get(each)
            found.add(
                PolicyResult(
                    rule=each,
                    outcome=outcome,  # type: ignore[arg-type]  # one of three literals above
                    level="mandatory" if one["enforcementLevel"] == "mandatory" else "advisory",
                    message=redactor.everything(message),
                    urn=urn,
                    severity=one.get("severity") or (rule.severity if rule else ""),
                    remediation=rule.remediation if rule else "",
                    cis=rule.cis if rule else (),
                    url=rule.url if rule else "",
                    expires=expires,
                )
            )
    order = {"violated": 0, "exempted": 1, "could not run": 2}
    severities = ("critical", "high", "medium", "low")
    yield from sorted(
        found,
        key=lambda one: (
            order[one.outcome],
            one.level != "mandatory",
            severities.index(one.severity) if one.severity in severities else len(severities),
            one.rule,
            one.urn,
            one.message,
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
    """Names of the rules that judged something, once each time."""
    for event in events:
        for kind in ("policyAnalyzeSummaryEvent", "policyAnalyzeStackSummaryEvent"):
            if kind in event:
                yield from event[kind].get("passed") or []
                yield from event[kind].get("failed") or []


def _diagnostics(events: Iterable[Event], redactor: Redactor) -> Iterator[Diagnostic]:
    seen = set()
    for event in events:
        one = event.get("diagnosticEvent") or {}
        if one.get("severity") not in {"error", "warning"} or one.get("ephemeral"):
            continue
        message = redactor.everything(_plain(one["message"]).strip())
        diagnostic = Diagnostic(severity=one["severity"], message=message, urn=redactor.text(one.get("urn", "")))
        if message and message not in _ENDINGS and diagnostic not in seen:
            seen.add(diagnostic)
            yield diagnostic


def _plain(text: str) -> str:
    """A text without colours, be they terminal codes or the engine's own marks."""
    return re.sub(r"\x1b\[[0-9;]*[mK]|<\{%.*?%\}>", "", text)
