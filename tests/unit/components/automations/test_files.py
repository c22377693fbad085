"""The files of automations: planted mistakes, each of which is one line with file, line and cure; includes; ticks."""

import dataclasses
import datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from components.automations import cron, files
from components.settings import AutomationSettings, SettingsError, parse
from components.settings.skyvern_settings import SKYVERN_VERSION
from tests.support.automation_mistakes import COMMON, GOOD, MISTAKES
from tests.support.schema_samples import definitions, samples


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
    assert files.minutes_by_hand([daily]) == {"Daily": 15}
    assert files.minutes_by_hand([dataclasses.replace(daily, minutes_by_hand=None)]) == {}
    assert dict(daily.credentials) == {"naver": "naver-account"}
    assert daily.schedules["mornings"] == files.Schedule(cron="0 9 * * 1-5", timezone="Asia/Seoul", parameters={"day": "y"})
    blocks = daily.definition["workflow_definition"]["blocks"]
    assert [block["label"] for block in blocks] == ["open", "settle", "write"]
    assert blocks[2]["code"] == 'return {"a": 1}  # {{ a note }}\n'


def test_a_file_of_a_cell_is_applied_by_that_cells_stack_alone(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("folder: Blog", "folder: Blog\ncell: shop"))
    [daily] = files.load(tmp_path, settings("daily"), "Pulumi.shop.yaml", cell="shop")
    assert daily.cell == "shop"
    for cell, own in (("blog", 'this stack\'s is "blog"'), (None, "this stack has none")):
        with pytest.raises(SettingsError) as wrong:
            files.load(tmp_path, settings("daily"), "Pulumi.blog.yaml", cell=cell)
        assert wrong.value.lines == [
            f'automations/daily.yaml:2: cell: "shop" is another cell, and {own}; remove daily from automations.files of '
            "Pulumi.blog.yaml, or correct the cell here or in its edge.cell"
        ]
    # Without one, every stack applies it, as before.
    write(tmp_path, GOOD)
    assert files.load(tmp_path, settings("daily"), "Pulumi.blog.yaml", cell="blog")[0].cell is None


def test_no_file_is_read_that_is_not_named(tmp_path: Path) -> None:
    write(tmp_path, "broken: [")
    assert files.load(tmp_path, settings()) == []


@pytest.mark.parametrize(("right", "wrong", "line"), MISTAKES)
def test_a_mistake_is_one_line_with_its_place(tmp_path: Path, right: str, wrong: str, line: str) -> None:
    assert right in GOOD
    write(tmp_path, GOOD.replace(right, wrong, 1))
    found = lines(tmp_path)
    assert [text for text in found if text.startswith("automations/daily.yaml:") and line in text], found
    assert all(text.startswith("automations/") and "\n" not in text and len(text) < 500 for text in found)


def test_labels_and_keys_are_names_in_any_language(tmp_path: Path) -> None:
    """As the server has it: Jinja and Python know letters, not only those of A to Z."""
    korean = GOOD.replace("label: write", "label: 글쓰기").replace("{key: day", "{key: 요일").replace("{day: y}", "{요일: y}")
    common = COMMON.replace("{{ day }}", "{{ 요일 }}")
    write(tmp_path, korean, common)
    [daily] = files.load(tmp_path, settings("daily"))
    assert daily.definition["workflow_definition"]["blocks"][2]["label"] == "글쓰기"
    tell = "      - {block_type: goto_url, label: 열기, url: 'https://example.com/{{ 글쓰기_output }}/{{ OTHER }}'}\ncredentials:"
    for other in ("요일", "글쓰기_output.제목"):
        write(tmp_path, korean.replace("credentials:", tell.replace("OTHER", other), 1), common)
        files.load(tmp_path, settings("daily"))
    write(tmp_path, korean.replace("credentials:", tell.replace("OTHER", "글쓰귀_output"), 1), common)
    [line] = lines(tmp_path)
    assert line.endswith("blocks.열기.url: 글쓰귀_output is not a parameter or an output; write `글쓰기_output`")


def test_what_the_server_takes_is_no_mistake(tmp_path: Path) -> None:
    blocks = "  - include: common/open.yaml"
    for right, other in [
        ("workflow:\n", "workflow:\n  proxy_location: {country: kr, city: Seoul, isISP: false}\n"),
        ("workflow:\n", "workflow:\n  proxy_location: {url: 'http://proxy:3128'}\n"),
        ("workflow:\n", "workflow:\n  webhook_callback_url: example.com/hook\n"),
        ("workflow:\n", "workflow:\n  run_with: code\n"),
        (blocks, "  - {block_type: terminate, label: it, reason: x, error_code: '{{ day }} 로그인'}"),
        (blocks, "  - {block_type: send_email, label: it, sender: a, recipients: [a], subject: x, body: x, cc: ['']}"),
        # Both branches go on with what comes after the block, which is the server's own rule.
        (
            blocks,
            "  - {block_type: conditional, label: it, next_block_label: write, branch_conditions: "
            "[{is_default: true, next_block_label: a}, "
            "{criteria: {criteria_type: jinja2_template, expression: '{{ day }}'}, next_block_label: b}]}\n"
            "      - {block_type: wait, label: a, wait_sec: 1}\n      - {block_type: wait, label: b, wait_sec: 1}",
        ),
        # The last one is named by nobody.
        (
            "    blocks:\n      - include: common/open.yaml",
            "    finally_block_label: end\n    blocks:\n"
            "      - {block_type: wait, label: it, wait_sec: 1, next_block_label: write}\n"
            "      - {block_type: wait, label: end, wait_sec: 1}",
        ),
    ]:
        write(tmp_path, GOOD.replace(right, other, 1))
        files.load(tmp_path, settings("daily"))


def test_a_parameter_without_a_default_needs_a_value(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace(", default_value: x", ""))
    files.load(tmp_path, settings("daily"))
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
    """After a new version: tools/skyvern_schema/generate.py, which says how it is run."""
    assert files.schema()["$comment"].endswith(f"from skyvern {SKYVERN_VERSION}.")


@pytest.mark.parametrize("name", [name for name, _ in definitions()])
def test_each_field_is_taken_and_under_another_name_refused(name: str) -> None:
    """With the documents that tests/host/test_automations.py gives to the server's own models."""
    validator = Draft202012Validator({"$defs": files.schema()["$defs"], "$ref": f"#/$defs/{name}"})
    mine = [(key, document) for model, key, document in samples() if model == name]
    assert mine
    for key, document in mine:
        assert list(validator.iter_errors(document)) == []
        renamed = {other: value for other, value in document.items() if other != key} | {f"{key}x": document[key]}
        found = [error.validator for error in validator.iter_errors(renamed)]
        assert "additionalProperties" in found, key


def test_the_schema_has_every_kind_of_block() -> None:
    assert len(list(definitions())) > 50
    blocks = files.schema()["$defs"]["WorkflowDefinitionYAML"]["properties"]["blocks"]["items"]
    assert len(blocks["properties"]["block_type"]["enum"]) == len(blocks["allOf"]) > 25


def test_ticks_are_in_the_time_zone_of_the_schedule() -> None:
    friday = datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC)
    ticks = cron.next_ticks("0 9 * * 1-5", "Asia/Seoul", friday, 2)
    assert [tick.isoformat() for tick in ticks] == ["2026-01-05T09:00:00+09:00", "2026-01-06T09:00:00+09:00"]
