"""A wrong stack file as lines ``FILE: PATH: VALUE is wrong; write this``."""

import difflib
import json
from typing import get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from components.settings.base import REDACTED, Section
from components.settings.schema import CHOICES, Settings, schemas

# The stack of script/rehearse, whose secrets are those that it makes.
REHEARSAL = "rehearsal"


class SettingsError(Exception):
    """A stack file that cannot be deployed; ``lines`` has one line for each mistake."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def set_secret(path: str, stack: str) -> str:
    """What to do about a secret that is missing, or in plain text. path: as in the stack file, ``llm.api_key``."""
    if stack.rpartition("/")[2] == REHEARSAL:
        return "run script/rehearse, which adds the tokens of edge and frontend, this stack's only secrets (docs/rehearsal.md)"
    return f"set it with `pulumi config set --secret --path {path} -s {stack}`"


def describe(error: ErrorDetails, stack: str) -> str:
    """One line for one pydantic error: path, value (never a secret's), what is wrong, what to write. stack: its name."""
    path, schema = _locate(error["loc"])
    kind, context, value = error["type"], error.get("ctx", {}), error["input"]
    field = schema.model_fields.get(path[-1]) if schema is not None and path else None
    shown = (
        "" if isinstance(value, dict | list) or _is_secret(field) else f"{json.dumps(value, ensure_ascii=False, default=str)} "
    )
    where = ".".join(path)
    example = f", for example {field.examples[0]}" if field is not None and field.examples else ""
    if kind == "missing" and _is_secret(field):
        return f"{where}: is missing; {set_secret(where, stack)}"
    if kind == "missing":
        return f"{where}: is missing; write it below `{'.'.join(path[:-1])}`{example}"
    if kind == "extra_forbidden":
        if schema is not None and path[-1] in schema.instead:
            return f"{where}: {schema.instead[path[-1]]}"
        known = sorted((schema or Settings).model_fields)
        near = difflib.get_close_matches(path[-1], known, n=1)
        return f"{where}: unknown key; " + (f"write `{near[0]}`" if near else f"known here: {', '.join(known)}")
    if kind in {"union_tag_invalid", "union_tag_not_found"} and isinstance(value, dict):
        choice = CHOICES[path[0]]
        tag = value.get(choice.key)
        given = "is missing" if tag is None else f"{json.dumps(tag, ensure_ascii=False)} is not a {choice.key}"
        return f"{where}.{choice.key}: {given}; write one of {', '.join(choice.schemas)}"
    if kind == "literal_error":
        return f"{where}: {shown}is not possible here; write {context['expected']}"
    if path and path[-1] == "[key]":
        return f"{'.'.join(path[:-1])}: is not a name; write lower case letters, digits and hyphens"
    if kind == "string_type" and isinstance(value, int | float):
        return f"{where}: {shown}is not text; write it in quotes"
    if kind in {"model_type", "model_attributes_type", "dict_type", "union_tag_not_found"}:
        # What is in the place of a part with a name of its own may be the secret that belongs into it.
        shown = "" if len(path) > 2 else shown
        return f"{where}: {shown}is not a section; write its keys below it (docs/configuration.md)"
    if kind in {"too_short", "too_long"} and _is_secret(field):
        return f"{where}: is too {kind.removeprefix('too_')} for a key; write the whole key"
    if kind == REDACTED:
        return f"{where}: {error['msg']}"
    if kind == "value_error":
        return f"{where}: {shown}{context['error']}"
    if kind == "string_pattern_mismatch":
        return f"{where}: {shown}does not match {context['pattern']}; write one{example or ' that does'}"
    return f"{where}: {shown}is wrong: {error['msg'][0].lower()}{error['msg'][1:]}; write another value{example}"


def _locate(location: tuple[int | str, ...]) -> tuple[list[str], type[Section] | None]:
    """Path as in the stack file (without pydantic's union tags) and the schema that its last key belongs to."""
    names = [str(part) for part in location]
    if len(names) < 2:
        return names, Settings if names else None
    if choice := CHOICES.get(names[0]):
        tag = names.pop(1)
        return names, choice.schemas.get(tag)
    return _within(schemas(names[0])[0], names)


def _within(schema: type[Section], names: list[str]) -> tuple[list[str], type[Section] | None]:
    """The schema of a part that has a name of its own, ``automations.credentials.NAME``, for a path into it."""
    if len(names) > 3 and names[1] in schema.model_fields:
        kinds = get_args(schema.model_fields[names[1]].annotation)
        if kinds and isinstance(kinds[-1], type) and issubclass(kinds[-1], Section):
            return names, kinds[-1]
    return names, schema


def _is_secret(field: FieldInfo | None) -> bool:
    return field is not None and SecretStr in {field.annotation, *get_args(field.annotation)}
