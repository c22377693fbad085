"""The files of automations: planted mistakes, each of which is one line with file, line and cure; includes; ticks."""

import datetime
from pathlib import Path
from typing import Any

import pytest

from components.automations import cron, files
from components.settings import AutomationSettings, SettingsError, parse
from components.settings.skyvern_settings import SKYVERN_VERSION

GOOD = """\
folder: Blog
minutes_by_hand: 15
workflow:
  title: Daily
  workflow_definition:
    parameters:
      - {key: day, parameter_type: workflow, workflow_parameter_type: string, default_value: x}
      - key: naver
        parameter_type: credential
    blocks:
      - include: common/open.yaml
      - block_type: code
        label: write
        code: |
          return {"a": {{1}}
        parameter_keys: [naver]
credentials:
  naver: naver-account
schedules:
  mornings: {cron: "0 9 * * 1-5", timezone: Asia/Seoul, parameters: {day: y}}
"""
COMMON = """\
- block_type: goto_url
  label: open
  url: https://example.com/{{ day }}
- block_type: wait
  label: settle
  wait_sec: 2
"""


def settings(*names: str) -> AutomationSettings:
    credential = {"tested_url": "https://naver.com", "username": "u", "password": "p" * 8}
    section: dict[str, Any] = {"files": list(names), "credentials": {"naver-account": credential}}
    return parse({"automations": section}, file="Pulumi.dev.yaml", secret_keys=frozenset({"automations"})).automations


def write(root: Path, text: str, common: str = COMMON) -> None:
    (root / "automations" / "common").mkdir(parents=True, exist_ok=True)
    (root / "automations" / "common" / "open.yaml").write_text(common)
    (root / "automations" / "daily.yaml").write_text(text)


def lines(root: Path) -> list[str]:
    with pytest.raises(SettingsError) as wrong:
        files.load(root, settings("daily"), "Pulumi.dev.yaml")
    return wrong.value.lines


def test_a_file_becomes_data(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    [daily] = files.load(tmp_path, settings("daily"), "Pulumi.dev.yaml")
    assert (daily.name, daily.folder, daily.minutes_by_hand) == ("daily", "Blog", 15)
    assert dict(daily.credentials) == {"naver": "naver-account"}
    assert daily.schedules["mornings"] == files.Schedule(cron="0 9 * * 1-5", timezone="Asia/Seoul", parameters={"day": "y"})
    blocks = daily.definition["workflow_definition"]["blocks"]
    assert [block["label"] for block in blocks] == ["open", "settle", "write"]
    assert blocks[2]["code"] == 'return {"a": {{1}}\n', "code is no template"


def test_no_file_is_read_that_is_not_named(tmp_path: Path) -> None:
    write(tmp_path, "broken: [")
    assert files.load(tmp_path, settings()) == []


MISTAKES = [
    ("title: Daily", "titel: Daily", "4: titel: unknown key; write `title`"),
    ("  title: Daily\n", "", "3: workflow: title is missing; write it"),
    ("  title: Daily", "  title: 5", "4: title: 5 is not text; write text"),
    ("folder: Blog", "folder: 5", "1: folder: 5 is not text; write text"),
    ("folder: Blog", "foldr: Blog", "1: foldr: unknown key; write `folder`"),
    ("folder: Blog", "folder: [a", "2: is not valid YAML (expected ',' or ']', but got ':'); correct this line"),
    ("folder: Blog", "minutes_by_hand: 1", "2: is not valid YAML (found duplicate key"),
    ("minutes_by_hand: 15", "minutes_by_hand: 0", "2: minutes_by_hand: 0 is out of range; write more than 0"),
    ("minutes_by_hand: 15", "minutes_by_hand: soon", '2: minutes_by_hand: "soon" is not a number; write a number'),
    ("label: write", "label: 1write", '13: blocks.1write.label: "1write" is not a label; write letters, digits'),
    ("label: write", "label: open", '13: blocks.open.label: "open" is the label of another block; write another one'),
    ("        label: write\n", "", "12: blocks.2: label is missing; write it"),
    ("code: |", "kode: |", "14: blocks.write.kode: unknown key; write `code`"),
    ("block_type: code", "block_type: cod", '12: blocks.write.block_type: "cod" is not possible here; write code'),
    ("block_type: code", "block_typ: code", "12: blocks.write: block_type is missing; write it"),
    ("[naver]", "[nave]", '16: blocks.write.parameter_keys.0: "nave" is not a parameter; write `naver`'),
    ("[naver]", "naver", '16: blocks.write.parameter_keys: "naver" is not a list or null; write a list or null'),
    (
        "parameter_keys: [naver]",
        "next_block_label: opn",
        '16: blocks.write.next_block_label: "opn" is not the label of a block; write `open`',
    ),
    (
        "parameter_keys: [naver]",
        "continue_on_failure: often",
        '16: blocks.write.continue_on_failure: "often" is not true or false',
    ),
    (
        "    parameters:\n",
        "    finally_block_label: end\n    parameters:\n",
        '6: finally_block_label: "end" is not the label of a block',
    ),
    ("string,", "strng,", '7: parameters.day.workflow_parameter_type: "strng" is not possible here; write string'),
    ("parameter_type: credential", "parameter_type: creds", '9: parameters.naver.parameter_type: "creds" is not possible here'),
    ("{key: day", "{key: naver", "8: parameters.naver: has the key of another parameter; write another key"),
    ("{key: day", "{kee: day", "7: parameters.0.kee: unknown key; write `key`"),
    ("common/open", "common/none", "11: include: automations/common/none.yaml does not exist; write it, or remove this line"),
    (
        "common/open.yaml",
        "../../etc/passwd",
        '11: include: "../../etc/passwd" is not a file below automations/; write common/NAME.yaml',
    ),
    ("naver: naver-account", "naver: nope", '18: credentials.naver: "nope" is not a credential of the stack; add it below'),
    (
        "  naver: naver-account",
        "  nver: naver-account",
        "18: credentials.nver: is not a parameter of the type credential; write `naver`",
    ),
    (
        "  naver: naver-account",
        "  nver: naver-account",
        "8: parameters.naver: has no credential; write credentials: {naver: NAME}",
    ),
    ("0 9 * * 1-5", "0 9 * * 8", '20: schedules.mornings.cron: "0 9 * * 8" is not a cron expression; write five fields'),
    ("0 9 * * 1-5", "0 0 9 * * 1", '20: schedules.mornings.cron: "0 0 9 * * 1" is not a cron expression'),
    ("0 9 * * 1-5", "* * * * *", "runs more often than every five minutes, which the server refuses; write for example"),
    ("0 9 * * 1-5", "0,4 9 * * *", "runs more often than every five minutes"),
    ("0 9 * * 1-5", "0 9 30 2 *", "never runs; write a day that exists"),
    ("Asia/Seoul", "KST", '20: schedules.mornings.timezone: "KST" is not a time zone; write a name such as Asia/Seoul'),
    ("timezone: Asia/Seoul, ", "", "20: schedules.mornings: timezone is missing; write it"),
    ("{day: y}", "{dai: y}", "20: schedules.mornings.parameters.dai: is not a parameter of the workflow; write `day`"),
    (", default_value: x", "", None),
    ("mornings:", "Mornings:", '"Mornings" is not a name; write lower case letters, digits and hyphens'),
    (
        "workflow:\n",
        "workflow:\n  max_elapsed_time_minutes: x\n",
        '4: max_elapsed_time_minutes: "x" is not a whole number or null',
    ),
    ("workflow:\n", "workflow:\n  folder_id: fld_1\n", "4: folder_id: unknown key; write `folder: NAME`"),
    ("folder: Blog", 'folder: ""', "1: folder: is empty; write it"),
    (
        "parameter_keys: [naver]",
        "parameter_keys: [open]",
        '16: blocks.write.parameter_keys.0: "open" is not a parameter',
    ),
    (
        "  - include: common/open.yaml",
        "  - {block_type: conditional, label: which, branch_conditions: [{is_default: true, next_block_label: wrte}]}",
        '11: blocks.which.branch_conditions.0.next_block_label: "wrte" is not the label of a block; write `write`',
    ),
    (
        "  - include: common/open.yaml",
        "  - {block_type: for_loop, label: each, loop_over_parameter_key: dai, loop_blocks: []}",
        '11: blocks.each.loop_over_parameter_key: "dai" is not a parameter; write `day`',
    ),
    (
        "  - {key: day,",
        "  - {key: later, parameter_type: context, source_parameter_key: dai}\n      - {key: day,",
        '7: parameters.later.source_parameter_key: "dai" is not a parameter; write `day`',
    ),
    ("title: Daily", 'title: "{{ a }"', "4: title: is not a template that Jinja can read (unexpected '}'); correct the braces"),
]


@pytest.mark.parametrize(("right", "wrong", "line"), MISTAKES)
def test_a_mistake_is_one_line_with_its_place(tmp_path: Path, right: str, wrong: str, line: str | None) -> None:
    assert right in GOOD
    write(tmp_path, GOOD.replace(right, wrong, 1))
    if line is None:
        files.load(tmp_path, settings("daily"))
        return
    found = lines(tmp_path)
    assert [text for text in found if line in text], found
    assert all(text.startswith("automations/daily.yaml:") and "\n" not in text and len(text) < 500 for text in found)


def test_a_parameter_without_a_default_needs_a_value(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace(", default_value: x", "").replace(", parameters: {day: y}", ""))
    assert lines(tmp_path) == [
        "automations/daily.yaml:20: schedules.mornings: has no value for the parameter day, which has no default; write it below "
        "parameters"
    ]


def test_two_schedules_with_one_name_in_the_plan(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("mornings:", "csv-mornings:"))
    (tmp_path / "automations" / "daily-csv.yaml").write_text(GOOD)
    with pytest.raises(SettingsError) as wrong:
        files.load(tmp_path, settings("daily", "daily-csv"))
    assert wrong.value.lines == [
        "automations/daily-csv.yaml:20: schedules.mornings: gets the name of schedules.csv-mornings of automations/daily.yaml; "
        "write another name"
    ]


def test_a_mistake_of_an_included_file_is_placed_there(tmp_path: Path) -> None:
    write(tmp_path, GOOD, COMMON.replace("wait_sec: 2", "wait_sec: 9000"))
    assert lines(tmp_path) == ["automations/common/open.yaml:6: blocks.settle.wait_sec: 9000 is out of range; write at most 1800"]


@pytest.mark.parametrize(
    ("common", "line"),
    [
        ("- include: common/open.yaml\n", "automations/common/open.yaml:1: include: common/open.yaml includes itself; remove it"),
        ("a: 1\n", "automations/common/open.yaml:1: is not a list; write the elements that take the place of its include"),
        ("- [\n", "automations/common/open.yaml:2: is not valid YAML"),
    ],
)
def test_an_included_file_that_cannot_be_included(tmp_path: Path, common: str, line: str) -> None:
    write(tmp_path, GOOD, common)
    [found] = lines(tmp_path)
    assert found.startswith(line)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    assert lines(tmp_path) == ["automations/daily.yaml: does not exist; write it, or remove its name from automations.files"]


def test_a_mistake_inside_of_a_loop_is_about_the_kind_that_was_written(tmp_path: Path) -> None:
    loop = "- block_type: for_loop\n  label: loop\n  loop_blocks:\n    - {block_type: wait, label: inner, wait_secs: 2}\n"
    write(tmp_path, GOOD, loop)
    assert lines(tmp_path) == [
        "automations/common/open.yaml:4: blocks.loop.loop_blocks.inner.wait_secs: unknown key; write `wait_sec`"
    ]


def test_a_long_text_is_not_repeated(tmp_path: Path) -> None:
    """It may be a secret in the wrong place."""
    write(tmp_path, GOOD.replace("minutes_by_hand: 15", f"minutes_by_hand: {'s3cret' * 10}"))
    assert "s3cret" not in lines(tmp_path)[0]


def test_the_schema_is_that_of_the_pinned_server() -> None:
    """After a new version: tools/skyvern_schema/generate.py."""
    assert files.schema()["$comment"].endswith(f"from skyvern {SKYVERN_VERSION}.")


def test_every_object_of_the_schema_refuses_unknown_fields() -> None:
    definitions = files.schema()["$defs"]
    assert len(definitions) > 50
    open_ones = [
        name for name, part in definitions.items() if part.get("properties") and part.get("additionalProperties") is not False
    ]
    assert [name for name in open_ones if "allOf" not in definitions[name]] == []


def test_ticks_are_in_the_time_zone_of_the_schedule() -> None:
    friday = datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC)
    ticks = cron.next_ticks("0 9 * * 1-5", "Asia/Seoul", friday, 2)
    assert [tick.isoformat() for tick in ticks] == ["2026-01-05T09:00:00+09:00", "2026-01-06T09:00:00+09:00"]
