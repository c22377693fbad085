"""The reference page of the stack file, made from the schema: docs/configuration.md, and docs/ko/configuration.md.

The Korean texts are in configuration.ko.yaml, each found by the English one. A new or changed English text has no translation, so
the Korean page cannot be made until it is translated, and never describes an older schema.
"""

import inspect
import json
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from components.settings import CHOICES, Section, sections

TRANSLATIONS = Path(__file__).with_name("configuration.ko.yaml")

_ENGLISH_HEAD = """\
# Configuration

[한국어](ko/configuration.md)

Every key of `Pulumi.<stack>.yaml`. A section is a key below `config:` with the prefix `skyvern:`; a key left out has its default.
This page is made from `components/settings.py` by `bin/ops configuration`.
What Skyvern itself can be set to, and what the stack sets: [skyvern-settings.md](skyvern-settings.md).

"""


_KOREAN_HEAD = """\
# 설정

[English](../configuration.md)

`Pulumi.<stack>.yaml`에 쓸 수 있는 모든 키입니다. `config:` 아래에서 `skyvern:`으로 시작하는 키가 섹션 하나이고,
생략한 키에는 기본값을 씁니다.
이 문서는 `bin/ops configuration`이 `components/settings.py`로 만듭니다.
Skyvern 자체의 설정과 스택이 정한 값: [skyvern-settings.md](skyvern-settings.md).

"""


@dataclass(frozen=True, kw_only=True)
class _Language:
    """One language of the page.

    columns: heads of a table. types: the words for a type. bounds: by the name of pydantic's rule, what stands around its number.
    text: the text of the schema in this language.
    """

    head: str
    columns: tuple[str, str, str, str]
    types: dict[Any, str]
    bounds: dict[str, str]
    required: str
    example: str
    text: Callable[[str], str]


def translations() -> dict[str, str]:
    """The Korean texts by the English ones, of this page and of docs/skyvern-settings.md."""
    from ruamel.yaml import YAML  # here, so that other commands do not load it

    return {entry["en"]: entry["ko"] for entry in YAML(typ="safe").load(TRANSLATIONS)}


def texts() -> Iterator[str]:
    """The English texts of the schema on the page; some occur more than once."""
    for name, description, schemas in sections():
        yield description
        for schema in schemas:
            if name in CHOICES:
                yield inspect.getdoc(schema) or ""
            yield from (field.description or "" for key, field in schema.model_fields.items() if not _is_tag(name, key))


def reference(language: Literal["en", "ko"] = "en") -> str:
    """The whole page as Markdown: a table for each section, and for each choice of a section that has several.

    Raises KeyError where a text has no translation.
    """
    words = _ENGLISH if language == "en" else _korean()
    parts = [words.head]
    for name, description, schemas in sections():
        parts.append(f"## `skyvern:{name}`\n\n{words.text(description)}\n\n")
        for schema in schemas:
            if name in CHOICES:
                tag = CHOICES[name].key
                title = f"{tag}: {_choices(schema.model_fields[tag])[0]}"
                parts.append(f"### `{title}`\n\n{words.text(inspect.getdoc(schema) or '')}\n\n")
            parts.append(_table(name, schema, words))
    return "".join(parts).rstrip() + "\n"


def _is_tag(section: str, key: str) -> bool:
    """Whether this key chooses the schema of its section; the page has it as a heading."""
    return section in CHOICES and CHOICES[section].key == key


def _table(section: str, schema: type[Section], words: _Language) -> str:
    rows = [
        f"| `{key}` | {_type_text(field, words)} | {_default_text(field, words)} | {_meaning(field, words)} |\n"
        for key, field in schema.model_fields.items()
        if not _is_tag(section, key)
    ]
    if not rows:
        return ""
    return f"| {' | '.join(words.columns)} |\n| --- | --- | --- | --- |\n{''.join(rows)}\n"


def _choices(field: FieldInfo) -> tuple[Any, ...]:
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def _type_text(field: FieldInfo, words: _Language) -> str:
    if choices := _choices(field):
        return ", ".join(f"`{choice}`" for choice in choices)
    annotation: Any = field.annotation
    if get_origin(annotation) in {Union, types.UnionType}:
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    bounds = [
        text.format(getattr(rule, name))
        for rule in field.metadata
        for name, text in words.bounds.items()
        if getattr(rule, name, None) is not None
    ]
    return " ".join((words.types[annotation], *bounds))


def _default_text(field: FieldInfo, words: _Language) -> str:
    if field.is_required():
        return words.required
    return "-" if field.default is None else f"`{json.dumps(field.default).strip(chr(34))}`"


def _meaning(field: FieldInfo, words: _Language) -> str:
    examples = f"{words.example}: " + ", ".join(f"`{example}`" for example in field.examples) + "." if field.examples else ""
    return f"{words.text(field.description or '')} {examples}".rstrip()


_ENGLISH = _Language(
    head=_ENGLISH_HEAD,
    columns=("key", "type", "default", "meaning"),
    types={
        str: "text",
        list[str]: "list of text",
        int: "whole number",
        float: "number",
        bool: "true or false",
        SecretStr: "secret",
    },
    bounds={"ge": "from {}", "gt": "above {}", "le": "to {}"},
    required="required",
    example="Example",
    text=lambda english: english,
)


def _korean() -> _Language:
    return _Language(
        head=_KOREAN_HEAD,
        columns=("키", "형식", "기본값", "뜻"),
        types={
            str: "문자열",
            list[str]: "문자열 목록",
            int: "정수",
            float: "숫자",
            bool: "true 또는 false",
            SecretStr: "비밀 값",
        },
        bounds={"ge": "{} 이상", "gt": "{} 초과", "le": "{} 이하"},
        required="필수",
        example="예",
        text=translations().__getitem__,
    )
