"""The reference page of the stack file, made from the schema: docs/configuration.md, and docs/ko/configuration.md.

A page is made of English texts. The Korean ones are in configuration.ko.yaml, each found by the English one. A new or changed
English text has no translation, so the Korean page cannot be made until it is translated, and never describes an older schema.
"""

import json
import types
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from components.settings.base import Section
from components.settings.schema import CHOICES, sections

TRANSLATIONS = Path(__file__).with_name("configuration.ko.yaml")

Language = Literal["en", "ko"]
# The text of the page for an English one.
Say = Callable[[str], str]

_HEAD = """\
# Configuration

[한국어](ko/configuration.md)

Every key of `Pulumi.<stack>.yaml`. A section is a key below `config:` with the prefix `skyvern:`; a key left out has its default.
This page is made from `components/settings/` by `bin/ops configuration`.
What Skyvern itself can be set to, and what the stack sets: [skyvern-settings.md](skyvern-settings.md)."""

_TYPES: dict[Any, str] = {
    str: "text",
    list[str]: "list of text",
    dict[str, str]: "names with a text each",
    int: "whole number",
    float: "number",
    bool: "true or false",
    SecretStr: "secret",
}
# By the name of pydantic's rule.
_BOUNDS = {"ge": "from {}", "le": "to {}"}


def translations() -> dict[str, str]:
    """The Korean texts by the English ones, of this page and of docs/skyvern-settings.md."""
    from ruamel.yaml import YAML  # here, so that other commands do not load it

    return {entry["en"]: entry["ko"] for entry in YAML(typ="safe").load(TRANSLATIONS)}


def translator(language: Language) -> Say:
    """Raises KeyError for a text without a translation."""
    return translations().__getitem__ if language == "ko" else str


def texts(page: Callable[[Say], str]) -> set[str]:
    """The English texts of a page."""
    said = set()

    def note(english: str) -> str:
        said.add(english)
        return english

    page(note)
    return said


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], say: Say) -> str:
    """A table as Markdown, and an empty line after it. columns: their heads in English."""
    lines = [[say(column) for column in columns], ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines) + "\n"


def reference(language: Language = "en") -> str:
    """The whole page as Markdown."""
    return page(translator(language))


def page(say: Say) -> str:
    """A table for each section, and for each choice of a section that has several."""
    parts = [f"{say(_HEAD)}\n\n"]
    for name, description, schemas in sections():
        parts.append(f"## `skyvern:{name}`\n\n{say(description)}\n\n")
        tag = CHOICES[name].key if name in CHOICES else None
        for schema in schemas:
            if tag is not None:
                parts.append(f"### `{tag}: {_choices(schema.model_fields[tag])[0]}`\n\n{say(schema.__doc__ or '')}\n\n")
            parts.append(_keys(schema, tag, say))
    return "".join(parts).rstrip() + "\n"


def _keys(schema: type[Section], tag: str | None, say: Say) -> str:
    """The keys of a schema but for the one that chooses it, which is a heading."""
    rows = [
        (f"`{key}`", _type_text(field, say), _default_text(field, say), _meaning(field, say))
        for key, field in schema.model_fields.items()
        if key != tag
    ]
    return table(("key", "type", "default", "meaning"), rows, say) if rows else ""


def _choices(field: FieldInfo) -> tuple[Any, ...]:
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def _type_text(field: FieldInfo, say: Say) -> str:
    if choices := _choices(field):
        return ", ".join(f"`{choice}`" for choice in choices)
    annotation: Any = field.annotation
    if get_origin(annotation) in {Union, types.UnionType}:
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is dict and annotation not in _TYPES:
        return say("a section for each name")
    bounds = {
        text: bound
        for rule in field.metadata
        for name, text in _BOUNDS.items()
        if (bound := getattr(rule, name, None)) is not None
    }
    return say(" ".join((_TYPES[annotation], *bounds))).format(*bounds.values())


def _default_text(field: FieldInfo, say: Say) -> str:
    if field.is_required():
        return say("required")
    return "-" if field.default is None else f"`{json.dumps(field.default).strip(chr(34))}`"


def _meaning(field: FieldInfo, say: Say) -> str:
    examples = ", ".join(f"`{example}`" for example in field.examples or ())
    return say(field.description or "") + (f" {say('Example')}: {examples}." if examples else "")
