"""What a change does to automations: blocks of workflows, times of schedules, credentials. Pure; values come redacted.

Not here: edits in the UI, which are drift, and the next runs of a schedule, which the report counts from the preview's own time.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from ops.preview.model import SECRET, AutomationChange, PropertyDiff, Timing

Properties = Mapping[str, Any]

WORKFLOW = "skyvern:index:Workflow"
SCHEDULE = "skyvern:index:Schedule"
CREDENTIAL = "skyvern:index:Credential"
_KINDS: Mapping[str, Literal["workflow", "schedule", "credential"]] = {
    WORKFLOW: "workflow",
    SCHEDULE: "schedule",
    CREDENTIAL: "credential",
}


def change_of(
    type_: str, name: str, old: Properties | None, new: Properties | None, diffs: Sequence[PropertyDiff] = ()
) -> AutomationChange | None:
    """The change that one resource makes, None if it is not an automation. diffs: its step's, for values that are secret."""
    kind = _KINDS.get(type_)
    if kind is None:
        return None
    details = {WORKFLOW: _workflow, SCHEDULE: _schedule, CREDENTIAL: _credential}[type_](old or {}, new or {}, diffs)
    return AutomationChange(
        kind=kind,
        change="added" if old is None else "removed" if new is None else "changed",
        name=name,
        details=tuple(details) if old is not None and new is not None else (),
        before=_timing(old) if type_ == SCHEDULE else None,
        after=_timing(new) if type_ == SCHEDULE else None,
    )


def _timing(schedule: Properties | None) -> Timing | None:
    if schedule is None:
        return None
    cron, timezone = str(schedule.get("cron", "")), str(schedule.get("timezone", "UTC"))
    return Timing(cron=cron, timezone=timezone, enabled=schedule.get("enabled", True) is not False)


def _workflow(old: Properties, new: Properties, diffs: Sequence[PropertyDiff]) -> Iterator[str]:
    was, will = _document(old), _document(new)
    if will is None or was is None:
        yield "its blocks are known after the update only"
        return
    yield from _named("block", _blocks(was), _blocks(will))
    yield from _named("parameter", _by_key(was, "parameters", "key"), _by_key(will, "parameters", "key"))


def _document(workflow: Properties) -> Properties | None:
    """The part with blocks; None where it is not known yet."""
    definition = workflow.get("definition", {})
    document = definition.get("workflow_definition", {}) if isinstance(definition, Mapping) else None
    return document if isinstance(document, Mapping) else None


def _blocks(document: Properties) -> dict[str, Any]:
    """Label and type -> the block, those of loops, too."""
    found: dict[str, Any] = {}
    for block in document.get("blocks") or []:
        if isinstance(block, Mapping):
            inner = block.get("loop_blocks") or []
            rest = {key: value for key, value in block.items() if key != "loop_blocks"}
            found[f"{block.get('label', '')} ({block.get('block_type', '')})"] = rest
            found |= _blocks({"blocks": inner})
    return found


def _by_key(document: Properties, name: str, key: str) -> dict[str, Any]:
    return {str(item.get(key, "")): item for item in document.get(name) or [] if isinstance(item, Mapping)}


def _named(noun: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """A clause for everything of a kind that comes, goes or changes."""
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            yield f"{noun} {name} removed"
        elif name not in old:
            yield f"{noun} {name} added"
        elif old[name] != new[name]:
            yield f"{noun} {name} changed"
    if list(old) != list(new) and set(old) == set(new):
        yield f"the order of the {noun}s changed"


def _schedule(old: Properties, new: Properties, diffs: Sequence[PropertyDiff]) -> Iterator[str]:
    was, will = old.get("parameters") or {}, new.get("parameters") or {}
    if isinstance(was, Mapping) and isinstance(will, Mapping):
        yield from _named("parameter", was, will)


def _credential(old: Properties, new: Properties, diffs: Sequence[PropertyDiff]) -> Iterator[str]:
    if old.get("tested_url") != new.get("tested_url"):
        yield f"bound to {new.get('tested_url') or 'no site'} instead of {old.get('tested_url') or 'no site'}"
    if any(diff.path.partition(".")[0].partition("[")[0] == "values" or (diff.old == diff.new == SECRET) for diff in diffs):
        yield "another value"
