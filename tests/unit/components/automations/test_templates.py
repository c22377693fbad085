"""The Jinja of automation files: what a text can name, and what the server would render as nothing or fail at."""

from typing import Any

import pytest

from components.automations import templates
from tests.support.automations import EXAMPLES, workflow_of

PARAMETERS = [
    {"key": "day", "parameter_type": "workflow", "workflow_parameter_type": "string"},
    {"key": "rows", "parameter_type": "workflow", "workflow_parameter_type": "json"},
    {"key": "count", "parameter_type": "workflow", "workflow_parameter_type": "integer"},
    {"key": "shop", "parameter_type": "credential"},
    {"key": "other", "parameter_type": "credential", "credential_id": "cred_1"},
]


def page(label: str, url: str = "", **more: Any) -> dict[str, Any]:
    return {"block_type": "goto_url", "label": label, "url": url, **more}


def loop(label: str, *inside: dict[str, Any], over: str = "rows") -> dict[str, Any]:
    return {"block_type": "for_loop", "label": label, "loop_variable_reference": over, "loop_blocks": list(inside)}


def rounds(label: str, until: str, *inside: dict[str, Any]) -> dict[str, Any]:
    condition = {"criteria_type": "jinja2_template", "expression": until, "description": "{{ a note }}"}
    return {"block_type": "while_loop", "label": label, "condition": condition, "loop_blocks": list(inside)}


def code(text: str) -> dict[str, Any]:
    return {"block_type": "code", "label": "run", "code": text}


def problems(*blocks: dict[str, Any], **definition: Any) -> list[str]:
    document = {"title": "x", "workflow_definition": {"parameters": PARAMETERS, "blocks": list(blocks), **definition}}
    return [f"{'.'.join(map(str, path[1:]))}: {text}" for path, text in templates.problems(document, ())]


@pytest.mark.parametrize(
    "text",
    [
        "{{ day }} {{ day.upper() }} {{ day | replace('-', '') | trim }} {{ rows.any.thing[0] }} {{ count.real }}",
        "{{ shop.username }} {{ shop['password'] }} {{ shop_real_password }} {{ other.whatever_the_vault_has }}",
        "{{ workflow_title }} {{ workflow_run_id }} {{ current_date }} {{ browser_session_id }}",
        "{{ workflow_run_summary.failure_reason }} {{ workflow_run_outputs.first.x }} {{ rows | json }}",
        "{{ first.output }} {{ first_output.a }}",
        "{% for row in rows %}{{ row.x }} {{ loop.index }}{% endfor %}{% set a = 1 %}{{ a }}{% if day is defined %}{% endif %}",
        "{{ range(3) | join }} {# {{ a note }} #} {% raw %}{{ day of the week }}{% endraw %}",
    ],
)
def test_what_the_server_knows_passes(text: str) -> None:
    assert problems(page("first"), page("second", text)) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{{ dai }}", "dai is not a parameter or an output; write `day`"),
        ("{{ nothing_like_it }}", "nothing_like_it is not a parameter or an output; declare it below parameters"),
        ("{{ workflow_run }}", "workflow_run is not a parameter or an output; write `workflow_run_id`"),
        ("{{ fist_output }}", "fist_output is not a parameter or an output; write `first_output`"),
        ("{{ third_output.x }}", "third_output is the output of a block that does not run before; move that block up"),
        ("{{ second_output.x }}", "second_output is the output of a block that does not run before"),
        ("{{ current_value }}", "current_value is known inside of a loop only; remove it"),
        ("{{ original_filename }}", "original_filename is not a parameter or an output"),
        ("{{ params.day }}", "params is not a parameter or an output"),
        ("{{ day | uppper }}", "uppper is not a filter that the server's Jinja knows; write `upper`"),
        ("{% if day is definde %}{% endif %}", "definde is not a test that the server's Jinja knows; write `defined`"),
        ("{{ day.uper() }}", "day has no uper; write `upper`"),
        ("{{ count.total }}", "count has no total; "),
        ("{{ shop.pasword }}", "shop has no pasword; write `password`"),
        ("{{ shop['user'] }}", "shop has no user; "),
        ("{{ workflow_run_outputs.secnd }}", "workflow_run_outputs has no secnd; write `second`"),
        ("{{ ''.__class__ }}", "….__class__ is refused by the server; remove it"),
        ("{{ day }", "is not a template that Jinja can read (unexpected '}'); correct the braces"),
        ("{% import 'x' %}", "is not a template that Jinja can read"),
    ],
)
def test_a_mistake_has_a_cure(text: str, problem: str) -> None:
    [found] = problems(page("first"), page("second", text), page("third"))
    assert found.startswith(f"blocks.1.url: {problem}")


def test_each_name_of_a_text_has_its_line() -> None:
    assert len(problems(page("a", "{{ first }} {{ second }} {{ day.third }}"))) == 3


def test_in_a_loop_its_names_and_the_outputs_of_an_earlier_round_are_known() -> None:
    inside = (page("one", "{{ current_value.x }} {{ two_output }}"), page("two", "{{ current_index }} {{ current_item }}"))
    assert problems(loop("each", *inside), page("after", "{{ one_output }} {{ each_output }}")) == []
    assert problems(loop("each", loop("inner", page("x", "{{ each_output }}"), over="{{ current_value.parts }}"))) == []
    assert problems(rounds("again", "{{ current_index < 3 and not one_output.done }}", page("one"))) == []


@pytest.mark.parametrize(
    ("over", "names"),
    [
        ("rows.of_a_page", []),
        ("{{ rows }}", []),
        ("each price of the page", []),
        ("products in cart", []),
        ("주문", []),
        ("rowws.of_a_page", ["rowws"]),
        ("{{ rowws }}", ["rowws"]),
        ("current_value", ["current_value"]),
    ],
)
def test_what_a_loop_goes_over_is_an_expression_or_a_sentence(over: str, names: list[str]) -> None:
    found = problems(loop("each", page("a"), over=over))
    assert [text.removeprefix("blocks.0.loop_variable_reference: ").split()[0] for text in found] == names


def test_a_name_that_the_text_guards_may_be_unknown() -> None:
    assert problems(page("a", url="https://x.test/{{ maybe | default('') }}{% if other is defined %}{{ day }}{% endif %}")) == []


def test_code_is_a_template_but_for_its_comments() -> None:
    """Rendered before it runs (1.0.56, CodeBlock.format_potential_template_parameters)."""
    assert problems(code("a = {1: {2: 3}}  # {{ a note }}\nb = '{{ day }}'\nreturn {}\n")) == []
    [unknown, unreadable] = [*problems(code("return '{{ dai }}'\n")), *problems(code("return f'{{1}'\n"))]
    assert unknown == "blocks.0.code: dai is not a parameter or an output; write `day`"
    assert "is not a template that Jinja can read" in unreadable
    assert problems(code("return (  # {{ dai }}\n")) != [], "what is not Python is rendered as a whole"


def test_only_a_file_name_knows_the_original_one() -> None:
    block = {"block_type": "file_download", "label": "get", "download_suffix": "{{ original_filename }}"}
    assert problems(block) == []


def test_the_graph_says_what_runs_before() -> None:
    blocks = [page("a", next_block_label="c"), page("b", "{{ c_output }}"), page("c", next_block_label="b")]
    assert problems(*blocks) == problems(*blocks, version=2) == []
    assert [text.split(":")[0] for text in problems(*blocks, version=1)] == ["blocks.1.url"], "a list runs as it is written"
    backwards = [page("a", next_block_label="c"), page("c", "{{ b_output }}", next_block_label="b"), page("b")]
    assert [text.split(":")[0] for text in problems(*backwards)] == ["blocks.1.url"]
    branches = [{"is_default": True, "next_block_label": "d"}, {"next_block_label": "b", "description": "{{ a note }}"}]
    choice = {"block_type": "conditional", "label": "which", "branch_conditions": branches}
    assert problems(choice, page("b", next_block_label="d"), page("d", "{{ b_output }}"), version=2) == []


def test_the_last_block_knows_every_output() -> None:
    assert problems(page("end", "{{ a_output }}"), page("a"), finally_block_label="end") == []
    assert len(problems(page("end"), page("a", "{{ end_output }}"), page("b"), finally_block_label="end")) == 1


def test_texts_of_the_whole_workflow() -> None:
    known = {"workflow_system_prompt": "{{ day }} {{ a_output }}", "error_code_mapping": {"X": "{{ day }}"}}
    assert problems(page("a"), **known) == []
    assert len(problems(page("a"), workflow_system_prompt="{{ dai }}", error_code_mapping={"X": "{{ current_value }}"})) == 2


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_name_what_there_is(example: Any) -> None:
    assert list(templates.problems(workflow_of(example), ())) == []
