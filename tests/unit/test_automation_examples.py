"""The examples of automations: what holds without a server."""

import ast
import re
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Template

from components.automations.files import load
from components.settings import AutomationSettings
from policy.rules.skyvern import WORKFLOW
from tests.policy.pack import Sent, judge
from tests.support.automations import EXAMPLES, workflow_of

# What docs/naver-blog.md tells people to do about each.
PAGE = (Path(__file__).parents[2] / "docs/naver-blog.md").read_text()


def codes(example: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Label and block of everything that may end a run with a code of its own."""
    for block in workflow_of(example)["workflow_definition"]["blocks"]:
        if "error_code_mapping" in block:
            yield block["label"], block


def raised(code: str) -> set[str]:
    """The codes that a block's Python raises, as Skyvern accepts them: literals, constructed in the raise itself (1.0.56)."""
    return {
        str(node.exc.args[0].value)
        for node in ast.walk(ast.parse(f"async def block():\n{textwrap.indent(code or 'pass', '    ')}"))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.args[0], ast.Constant)
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_it_loads_where_it_is_copied_to(example: Path, tmp_path: Path) -> None:
    (tmp_path / "automations").mkdir()
    shutil.copy(example, tmp_path / "automations")
    (automation,) = load(tmp_path, AutomationSettings(files=[example.stem]))
    assert automation.name == example.stem
    # Copied as it is, nothing runs by itself.
    assert [name for name, schedule in automation.schedules.items() if schedule.enabled] == []


def test_there_are_examples() -> None:
    assert {path.stem for path in EXAMPLES} == {"daily-page-to-csv", "naver-blog-draft", "naver-blog-draft-prompts"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_no_policy_rule_objects(example: Path) -> None:
    sent = Sent(WORKFLOW, example.stem, {"name": example.stem, "definition": workflow_of(example)})
    assert [report.message for report in judge([sent]) if report.rule.type == WORKFLOW] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_each_code_is_declared_and_explained(example: Path) -> None:
    seen = dict(codes(example))
    assert seen
    for label, block in seen.items():
        declared = set(block["error_code_mapping"])
        assert raised(block.get("code", "")) <= declared, label
        assert not block.get("code") or raised(block["code"]) >= declared - {"LOGIN_EXPIRED", "CAPTCHA"}, label
        assert [code for code in declared if f"`{code}`" not in PAGE] == []


@pytest.mark.parametrize("name", ["naver-blog-draft", "naver-blog-draft-prompts"])
def test_a_draft_is_what_is_asked_for_by_default(name: str) -> None:
    document = workflow_of(name)
    (publish,) = [given for given in document["workflow_definition"]["parameters"] if given["key"] == "publish"]
    assert publish["default_value"] is False
    assert {given["parameter_type"] for given in document["workflow_definition"]["parameters"]} == {"workflow"}
    assert document["max_elapsed_time_minutes"] <= 30


def test_login_page_and_captcha_are_looked_for_and_nothing_is_filled_in() -> None:
    blocks = {block["label"]: block for block in workflow_of("naver-blog-draft")["workflow_definition"]["blocks"]}
    assert raised(blocks["find_editor"]["code"]) == {"LOGIN_EXPIRED", "CAPTCHA", "EDITOR_CHANGED"}
    assert [name for name, block in blocks.items() if re.search(r"\.fill\(|solve_captcha|otp\(", block.get("code", ""))] == []


def goals(**given: Any) -> str:
    """What a language model is asked to do, as Skyvern renders it."""
    blocks = workflow_of("naver-blog-draft-prompts")["workflow_definition"]["blocks"]
    return "\n".join(Template(block.get("navigation_goal", "")).render(given) for block in blocks)


def test_prompts_say_all_that_is_to_be_typed() -> None:
    asked = goals(title="봄 소식", body="첫 문단\n둘째 문단", tags="가게, 봄", publish=False)
    assert [text for text in ("봄 소식", "첫 문단\n둘째 문단", "가게, 봄", "Save a draft") if text not in asked] == []
    assert "Publish the post" not in asked
    assert "press Enter after each" not in goals(title="봄 소식", body="첫 문단", tags="", publish=False)


def test_only_the_parameter_lets_prompts_publish() -> None:
    asked = goals(title="봄 소식", body="첫 문단", tags="", publish=True)
    assert "Publish the post" in asked
    assert "Do not publish the post" not in asked
    assert "Save a draft" not in asked


def test_each_prompt_stops_at_a_login_and_a_captcha() -> None:
    blocks = workflow_of("naver-blog-draft-prompts")["workflow_definition"]["blocks"]
    # Without code, and with a bound.
    assert {block["block_type"] for block in blocks} == {"goto_url", "navigation"}
    for block in blocks[1:]:
        assert "Stop at once if the page asks for a login or shows a captcha: do not fill in either." in block["navigation_goal"]
        assert block["max_steps_per_run"] <= 20
        assert {"LOGIN_EXPIRED", "CAPTCHA"} < set(block["error_code_mapping"])
