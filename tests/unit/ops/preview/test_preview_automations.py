"""What the report says about automations: blocks, next runs, credentials, edits in the UI."""

import copy
import datetime
from typing import Any

import pytest

from ops.preview import events
from ops.preview.automations import CREDENTIAL, SCHEDULE, WORKFLOW, change_of
from ops.preview.events import Resource
from ops.preview.model import SECRET, UNKNOWN, Drift, Operation, Preview, PropertyDiff, Step, dump, load
from ops.preview.report import markdown

MADE = datetime.datetime(2026, 11, 27, 12, tzinfo=datetime.UTC)  # a Friday, 21:00 in Seoul
WORK: dict[str, Any] = {
    "name": "blog",
    "definition": {
        "title": "Blog",
        "workflow_definition": {
            "parameters": [{"key": "title"}, {"key": "tags"}],
            "blocks": [
                {"label": "open", "block_type": "goto_url", "url": "https://blog.naver.com"},
                {
                    "label": "each",
                    "block_type": "for_loop",
                    "loop_blocks": [{"label": "write", "block_type": "code", "code": "1"}],
                },
            ],
        },
    },
}
DAILY = {"name": "daily", "cron": "0 9 * * 1-5", "timezone": "Asia/Seoul", "enabled": True, "parameters": {"blog_id": "shop"}}
LOGIN = {"name": "naver", "type": "password", "tested_url": "https://nid.naver.com", "values": SECRET}


def edited(**parts: Any) -> dict[str, Any]:
    """The workflow with other blocks or parameters."""
    work = copy.deepcopy(WORK)
    work["definition"]["workflow_definition"] |= parts
    return work


def resource(type_: str, name: str, old: Any, new: Any, *diffs: PropertyDiff) -> Resource:
    operation: Operation = "create" if old is None else "delete" if new is None else "update"
    urn = f"urn:pulumi:prod::skyvern::{type_}::{name}"
    step = Step(urn=urn, type=type_, name=name, operation=operation, diffs=diffs)
    return Resource(urn=urn, type=type_, operation=operation, old=old, new=new, step=step)


def preview(*resources: Resource, drift: Drift | None = None) -> Preview:
    steps = tuple(each.step for each in resources if each.step is not None)
    changes = events.automation_changes(resources)
    return Preview(stack="prod", made=MADE, state_digest="d" * 64, steps=steps, automations=changes, drift=drift or Drift())


def part(*resources: Resource) -> str:
    """The report's part about automations."""
    text = markdown([preview(*resources)])
    return text.partition("#### Automations\n\n")[2].partition("\n\n####")[0]


def test_blocks_and_parameters_that_come_go_and_change_are_named() -> None:
    blocks = [
        {"label": "each", "block_type": "for_loop", "loop_blocks": [{"label": "write", "block_type": "code", "code": "2"}]},
        {"label": "stop", "block_type": "terminate", "reason": "done"},
    ]
    change = change_of(WORKFLOW, "blog", WORK, edited(blocks=blocks, parameters=[{"key": "title"}, {"key": "publish"}]))
    assert change is not None
    assert change.details == (
        "block open (goto_url) removed",
        "block write (code) changed",
        "block stop (terminate) added",
        "parameter tags removed",
        "parameter publish added",
    )


def test_another_order_of_the_same_blocks_is_named() -> None:
    blocks = [*reversed(WORK["definition"]["workflow_definition"]["blocks"])]
    change = change_of(WORKFLOW, "blog", WORK, edited(blocks=blocks))
    assert change is not None
    assert change.details == ("the order of the blocks changed",)


def test_a_workflow_that_is_not_known_yet_says_so() -> None:
    change = change_of(WORKFLOW, "blog", WORK, {"name": "blog", "definition": UNKNOWN})
    assert change is not None
    assert change.details == ("its blocks are known after the update only",)


def test_the_next_runs_before_and_after_are_shown_in_the_schedules_time_zone() -> None:
    assert part(resource(SCHEDULE, "blog-daily", DAILY, DAILY | {"cron": "30 8 * * *"})).startswith(
        "- ✏️ schedule `blog-daily` changed\n\n"
        "| schedule | next runs before | next runs after |\n| --- | --- | --- |\n"
        "| `blog-daily` | `0 9 * * 1-5` `Asia/Seoul`<br>Mon 2026-11-30 09:00<br>Tue 2026-12-01 09:00<br>Wed 2026-12-02 09:00 "
        "| `30 8 * * *` `Asia/Seoul`<br>Sat 2026-11-28 08:30<br>Sun 2026-11-29 08:30<br>Mon 2026-11-30 08:30 |\n\n"
        "After a time without the server, its start runs the newest run that each schedule missed"
    )


@pytest.mark.parametrize(
    ("old", "new", "cells"),
    [
        (None, DAILY | {"enabled": False}, "| - | `0 9 * * 1-5` `Asia/Seoul`<br>off |"),
        (DAILY, DAILY | {"timezone": "Mars/Olympus"}, "Wed 2026-12-02 09:00 | `0 9 * * 1-5` `Mars/Olympus` |"),
        (DAILY, DAILY | {"cron": UNKNOWN}, f"| `{UNKNOWN}` `Asia/Seoul` |"),
    ],
    ids=["off", "not a time zone", "not known yet"],
)
def test_a_schedule_without_runs_is_shown_as_it_is_written(old: Any, new: Any, cells: str) -> None:
    assert cells in part(resource(SCHEDULE, "blog-daily", old, new))


def test_a_schedule_that_goes_says_nothing_of_missed_runs() -> None:
    text = part(resource(SCHEDULE, "blog-daily", DAILY, None))
    assert text.startswith("- 🗑️ schedule `blog-daily` removed\n")
    assert "missed" not in text


def test_a_credential_says_what_changes_and_nothing_of_its_value() -> None:
    secret = PropertyDiff(path="values", old=SECRET, new=SECRET)
    change = change_of(CREDENTIAL, "naver", LOGIN, LOGIN | {"tested_url": "https://naver.com"}, [secret])
    assert change is not None
    assert change.details == ("bound to https://naver.com instead of https://nid.naver.com", "another value")
    unchanged = change_of(CREDENTIAL, "naver", LOGIN, LOGIN | {"name": "x"}, [PropertyDiff(path="name", old="naver", new="x")])
    assert unchanged is not None
    assert unchanged.details == ()


def test_a_new_api_key_of_the_provider_is_not_a_change_of_automations() -> None:
    key = PropertyDiff(path="apiKey", old=SECRET, new=SECRET)
    inputs = {"url": "http://127.0.0.1:8080", "apiKey": SECRET}
    assert "#### Automations" not in markdown([preview(resource("pulumi:providers:skyvern", "x", inputs, inputs, key))])


def test_what_stays_the_same_is_not_named() -> None:
    same = Resource(urn="urn:pulumi:prod::s::t::x", type=WORKFLOW, operation=None, old=WORK, new=WORK, step=None)
    assert events.automation_changes([same]) == ()


def test_labels_cannot_be_markup() -> None:
    blocks = [{"label": "[x](https://evil.example) @everyone | `", "block_type": "code"}]
    text = part(resource(WORKFLOW, "blog", WORK, edited(blocks=blocks)))
    assert "``block [x](https://evil.example) @everyone \\| ` (code) added``" in text


@pytest.mark.parametrize(
    ("new", "clause"),
    [
        ("7", "was edited in the UI: version `7`, recorded `5`"),
        ("3", "is older on the server, as after a restore: version `3`, recorded `5`"),
    ],
)
def test_another_version_on_the_server_is_named_as_drift(new: str, clause: str) -> None:
    version = PropertyDiff(path="ui_version", old="5", new=new)
    step = Step(urn="urn:pulumi:prod::s::t::blog", type=WORKFLOW, name="blog", operation="update", diffs=(version,))
    text = markdown([preview(drift=Drift(checked=True, steps=(step,)))])
    assert f"🌊 `blog` (`skyvern Workflow`) {clause}" in text


def test_it_is_stored_and_read_again() -> None:
    stored = preview(resource(SCHEDULE, "blog-daily", DAILY, DAILY | {"enabled": False}), resource(WORKFLOW, "blog", None, WORK))
    assert [(change.kind, change.change) for change in stored.automations] == [("schedule", "changed"), ("workflow", "added")]
    assert load(dump([stored]), file="stored") == (stored,)
