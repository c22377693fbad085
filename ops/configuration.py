"""The reference page of the stack file, made from the schema: docs/configuration.md."""

import inspect
import json
import types
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from components.settings import CHOICES, Section, sections

_HEAD = """\
# Configuration

Every key of `Pulumi.<stack>.yaml`. A section is a key below `config:` with the prefix `skyvern:`; what is left out has a default.
This page is made from `components/settings.py` by `bin/ops configuration`.
What Skyvern itself could be set to, and what the stack sets: [skyvern-settings.md](skyvern-settings.md).

"""


def reference() -> str:
    """The whole page as Markdown: a table for each section, and for each choice of a section that has several."""
    parts = [_HEAD]
    for name, description, schemas in sections():
        parts.append(f"## `skyvern:{name}`\n\n{description}\n\n")
        tag = CHOICES[name].key if name in CHOICES else None
        for schema in schemas:
            if tag:
                parts.append(f"### `{tag}: {_choices(schema.model_fields[tag])[0]}`\n\n{inspect.getdoc(schema)}\n\n")
            parts.append(_table(schema, tag=tag))
    return "".join(parts).rstrip() + "\n"


def _table(schema: type[Section], *, tag: str | None) -> str:
    rows = [
        f"| `{name}` | {_type_text(field)} | {_default_text(field)} | {field.description} {_example_text(field)}".rstrip()
        + " |\n"
        for name, field in schema.model_fields.items()
        if name != tag
    ]
    if not rows:
        return ""
    return "| key | type | default | meaning |\n| --- | --- | --- | --- |\n" + "".join(rows) + "\n"


def _choices(field: FieldInfo) -> tuple[Any, ...]:
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def _type_text(field: FieldInfo) -> str:
    if choices := _choices(field):
        return ", ".join(f"`{choice}`" for choice in choices)
    annotation: Any = field.annotation
    if get_origin(annotation) in {Union, types.UnionType}:
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    text = {
        str: "text",
        list[str]: "list of text",
        int: "whole number",
        float: "number",
        bool: "true or false",
        SecretStr: "secret",
    }[annotation]
    bounds = {
        word: getattr(rule, attribute)
        for rule in field.metadata
        for attribute, word in (("ge", "from"), ("gt", "above"), ("le", "to"))
        if getattr(rule, attribute, None) is not None
    }
    return " ".join((text, *(f"{word} {bound}" for word, bound in bounds.items())))


def _default_text(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return "-" if field.default is None else f"`{json.dumps(field.default).strip(chr(34))}`"


def _example_text(field: FieldInfo) -> str:
    return "" if not field.examples else "Example: " + ", ".join(f"`{example}`" for example in field.examples) + "."
