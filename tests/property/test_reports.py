"""Whatever a branch's preview says, its report is posted under a bot's name: no text of it is markup, a link or a mention.

The fields are those of the model, by their types, so a new one is tried as soon as it is there.
"""

import dataclasses
import datetime
import itertools
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ops.preview.model import Drift, Preview, dump, load
from ops.preview.report import LIMIT, markdown
from ops.review import drift

PLANTED = "pLanTed"
HOSTILE = (
    f"{PLANTED} @octocat",
    f"{PLANTED}\n# heading\n\n![image](http://evil.example/x.png)",
    f"{PLANTED} <img src=http://evil.example/x> &commat;octocat &#64;octocat",
    f"[{PLANTED}](http://evil.example) https://evil.example www.evil.example #1 GH-1",
    f"`{PLANTED}` ``` ```` ~~~ `` {PLANTED} `",
    f"{PLANTED}\\| a \\\\| b | {PLANTED} | c",
    f"--> {PLANTED} --!> <script> </sub> </details>",
    f"{PLANTED}\r\n```\r{PLANTED}\u2028{PLANTED}",
    f"**{PLANTED}** _{PLANTED}_ ~~{PLANTED}~~ $`{PLANTED}`$",
)
ONLY_IN_JSON = {
    *("config", "config (name)", "counts (name)", "images", "images (name)", "policies.url"),
    # Of a URN the name is written, which is a field itself.
    *("steps.urn", "steps.reasons", "drift.steps.urn", "drift.steps.reasons", "drift.steps.diffs.lines"),
}
# What the report itself writes.
OURS = re.compile(r"</?(?:details|summary|sub|br)>")
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def filled(kind: Any, name: str, text: Callable[[], str]) -> Any:
    """A value of a type of the model; of every text in it, what ``text`` gives next."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        assert isinstance(kind, type)
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: filled(hints[field.name], field.name, text) for field in dataclasses.fields(kind)})
    if origin is typing.Literal:
        return arguments[0]
    if origin in {typing.Union, types.UnionType}:
        return filled(arguments[0], name, text)
    if origin is tuple:
        return (filled(arguments[0], name, text),)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {filled(arguments[0], name, text): filled(arguments[1], name, text)}
    match kind:
        case _ if kind is str:
            return text()
        case _ if kind is int:
            return 3
        case _ if kind is bool:
            return False
        case _ if kind is datetime.date:
            return datetime.date(2026, 12, 1)
        case _ if kind is datetime.datetime:
            return datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC)
    raise AssertionError(f"{name}: {kind} is of no kind that this test can fill")


def fields() -> int:
    """How many texts the model has."""
    counter = itertools.count()
    filled(Preview, "preview", lambda: f"text{next(counter)}")
    return next(counter)


def field_of(index: int) -> str:
    """The path of a text, ``policies.0.message``."""

    def walk(value: Any, path: str) -> Iterator[str]:
        if isinstance(value, str) and value == PLANTED:
            yield path
        elif dataclasses.is_dataclass(value):
            for field in dataclasses.fields(value):
                yield from walk(getattr(value, field.name), f"{path}.{field.name}".lstrip("."))
        elif isinstance(value, tuple):
            for item in value:
                yield from walk(item, path)
        elif isinstance(value, Mapping):
            for key, item in value.items():
                yield from walk(key, f"{path} (name)")
                yield from walk(item, path)

    return next(walk(planted(index, PLANTED), ""))


def planted(index: int | None, hostile: str) -> Preview:
    """The text of one field is hostile; of every field with None."""
    counter = itertools.count()

    def text() -> str:
        number = next(counter)
        return hostile if index is None or number == index else f"text{number}"

    preview = filled(Preview, "preview", text)
    assert isinstance(preview, Preview)
    return preview


def variants(preview: Preview) -> Iterator[Preview]:
    """The states in which other parts of the report are written."""
    lines = dataclasses.replace(preview.steps[0].diffs[0], lines=())
    step = dataclasses.replace(preview.steps[0], diffs=(lines,), protected=True, stateful=True)
    operations = typing.get_args(typing.get_type_hints(type(step))["operation"])
    policy = preview.policies[0]
    outcomes = typing.get_args(typing.get_type_hints(type(policy))["outcome"])
    severities = typing.get_args(typing.get_type_hints(type(preview.diagnostics[0]))["severity"])
    no_drift = Drift(checked=True)
    drifted = tuple(
        dataclasses.replace(each, diffs=(dataclasses.replace(each.diffs[0], lines=()),)) for each in preview.drift.steps
    )
    outputs = tuple(dataclasses.replace(change, lines=()) for change in preview.outputs)
    yield preview
    yield dataclasses.replace(preview, diagnostics=())
    yield dataclasses.replace(
        preview,
        failure="",
        drift=dataclasses.replace(preview.drift, failure="", checked=True, steps=drifted),
        outputs=outputs,
        steps=tuple(dataclasses.replace(step, operation=operation) for operation in operations),
        counts=dict.fromkeys(operations, 1),
        policies=tuple(dataclasses.replace(policy, outcome=outcome) for outcome in outcomes),
        diagnostics=tuple(dataclasses.replace(preview.diagnostics[0], severity=severity) for severity in severities),
    )
    yield dataclasses.replace(preview, failure="", drift=dataclasses.replace(preview.drift, checked=True), diagnostics=())
    yield dataclasses.replace(preview, failure="", drift=no_drift, policies=(), diagnostics=())
    yield dataclasses.replace(preview, failure="", drift=no_drift, policies=(), steps=(), diagnostics=(), outputs=())


def outside_of_code(text: str) -> Iterator[str]:
    """What GitHub would read as text or markup: everything but code and comments."""

    def walk(tokens: list[Token]) -> Iterator[str]:
        for token in tokens:
            if token.type in {"code_inline", "fence", "code_block"}:
                continue
            if token.type in {"link_open", "image"}:
                yield " ".join(map(str, token.attrs.values()))
            if token.type in {"html_block", "html_inline"}:
                yield re.sub(r"(?s)<!--(?!-?>).*?--!?>", "", token.content)
            elif token.type == "text":
                yield token.content
            yield from walk(token.children or [])

    yield from walk(PARSER.parse(text))


def check(text: str) -> None:
    rest = "\n".join(outside_of_code(text))
    assert PLANTED not in rest
    assert "octocat" not in rest
    assert "evil" not in rest
    assert not re.search(r"<(?!/?(?:details|summary|sub|br)>)", rest)
    # GitHub closes what was left open, but nothing after it would be folded away as meant.
    assert OURS.findall(rest).count("<details>") == OURS.findall(rest).count("</details>")


def test_the_look_at_a_report_sees_what_is_outside_of_code() -> None:
    assert "octocat" in " ".join(outside_of_code("a `b` @octocat"))
    assert "evil" in " ".join(outside_of_code("| a |\n| --- |\n| `x\\\\| [evil](http://x) |"))
    assert "evil" not in " ".join(outside_of_code("`evil` <!-- evil -->\n\n```\nevil\n```"))


@pytest.mark.parametrize("index", range(fields()))
def test_no_field_of_the_model_is_markup(index: int) -> None:
    for hostile in HOSTILE:
        for preview in variants(planted(index, hostile)):
            assert load(dump([preview]), file="preview.json") == (preview,)
            check(markdown([preview]))


def test_the_fields_are_reached() -> None:
    """All but those of the JSON alone are written somewhere, or the test above would look at reports without its text."""
    unwritten = {
        field_of(index)
        for index in range(fields())
        if not any("octocat" in markdown([preview]) for preview in variants(planted(index, HOSTILE[0])))
    }
    assert unwritten == ONLY_IN_JSON


@pytest.mark.parametrize("limit", [300, 3000, LIMIT])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_nor_are_all_of_them_trimmed_and_beside_another_stack(hostile: str, limit: int) -> None:
    for preview in variants(planted(None, hostile * 50)):
        check(markdown([preview, planted(None, hostile)], limit=limit, link="https://github.com/acme/skyvern/actions/runs/1"))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nor_is_the_issue_on_drift(hostile: str) -> None:
    check(drift.markdown("prod", planted(None, hostile).drift))


@given(st.text(alphabet="`|\\<>[]()!#*_~@&;\n\r -a", max_size=40))
def test_nor_is_any_mixture_of_marks(text: str) -> None:
    for preview in variants(planted(None, f"{text}@octocat{text}")):
        check(markdown([preview]))
