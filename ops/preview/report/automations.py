"""The part of the report about workflows, schedules and credentials. Pure: the next runs count from the preview's own time."""

import datetime

from ops.preview.automations import WORKFLOW
from ops.preview.model import AutomationChange, Preview, Step, Timing
from ops.preview.report.markup import bullets, capped_table, code

# Of each schedule, before and after.
TICKS = 3
_ICONS = {"added": "🌱", "removed": "🗑️", "changed": "✏️"}
# Skyvern 1.0.56, services/workflow_schedule_service.py: the newest tick since the last edit is run at the next start.
_MISSED = (
    "After a time without the server, its start runs the newest run that each schedule missed, once and however late. A schedule "
    "that this change edits loses what it missed before."
)


def section(preview: Preview, cap: int | None) -> str:
    """What becomes of automations; empty where nothing does."""
    if not preview.automations:
        return ""
    lines = [
        f"{_ICONS[change.change]} {change.kind} {code(change.name)} {change.change}"
        + (f": {', '.join(map(code, change.details))}" if change.details else "")
        for change in preview.automations
    ]
    parts = [f"#### Automations\n\n{bullets(lines, cap)}"]
    schedules = [change for change in preview.automations if change.before is not None or change.after is not None]
    if schedules:
        parts.append(
            capped_table(
                ["schedule", "next runs before", "next runs after"], schedules, cap, lambda change: _row(change, preview.made)
            )
        )
        if any(change.after is not None for change in schedules):
            parts.append(_MISSED)
    return "\n\n".join(parts)


def _row(change: AutomationChange, made: datetime.datetime) -> list[str]:
    return [code(change.name), _runs(change.before, made), _runs(change.after, made)]


def _runs(timing: Timing | None, made: datetime.datetime) -> str:
    if timing is None:
        return "-"
    rule = f"{code(timing.cron)} {code(timing.timezone)}"
    if not timing.enabled:
        return f"{rule}<br>off"
    # Here, because croniter would cost each command of ops a tenth of a second, and few stacks have schedules.
    from components.automations.cron import next_ticks

    try:
        ticks = next_ticks(timing.cron, timing.timezone, made, TICKS)
    except ValueError:
        # Of a state that another version wrote, or known after the update only.
        return rule
    return "<br>".join([rule, *(f"{tick:%a %Y-%m-%d %H:%M}" for tick in ticks)])


def edited_in_ui(step: Step) -> str:
    """The clause about a workflow of another version than the last refresh or update saw; empty for anything else."""
    if step.type != WORKFLOW:
        return ""
    for diff in step.diffs:
        if diff.path == "ui_version" and diff.old and diff.new:
            if diff.old.isdigit() and diff.new.isdigit() and int(diff.new) < int(diff.old):
                return f"is older on the server, as after a restore: version {code(diff.new)}, recorded {code(diff.old)}"
            return f"was edited in the UI: version {code(diff.new)}, recorded {code(diff.old)}"
    return ""
