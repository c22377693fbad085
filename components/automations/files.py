"""The files of automations/: read, put together, and checked without a server. A mistake is one line with file and line.

A file is YAML with Skyvern's own document below ``workflow``. In a list of blocks or parameters an element
``include: common/x.yaml`` stands for the elements of the list in that file, so that several workflows share them.
Not here: what the policy refuses (policy/), and secrets, which are in the stack file only.
"""

import difflib
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from jsonschema import Draft202012Validator, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from components.automations import cron, refusals, templates
from components.automations.refusals import name_problem, nearest, shown, walk
from components.automations.templates import RESERVED, Place, Problem
from components.settings import AutomationSettings, SettingsError
from components.settings.automations import FOLDER

SCHEMA = Path(__file__).with_name("automation.schema.json")
PathParts = Sequence[str | int]
# Keys of Skyvern's document that an automation file has elsewhere.
_INSTEAD = {"folder_id": "write `folder: NAME` at the top of the file"}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When a workflow runs by itself. cron: five fields. timezone: ``Asia/Seoul``."""

    cron: str
    timezone: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    enabled: bool = True


@dataclass(frozen=True, kw_only=True)
class Automation:
    """A checked file. definition: Skyvern's document, without ids of credentials and profile.

    credentials: key of a parameter -> name of a credential in the stack file. minutes_by_hand: what a person needs for it.
    cell: the only one whose stack applies it; without one, every stack does that names the file.
    """

    name: str
    definition: Mapping[str, Any]
    folder: str | None = None
    cell: str | None = None
    browser_profile: str | None = None
    minutes_by_hand: float | None = None
    credentials: Mapping[str, str] = field(default_factory=dict)
    schedules: Mapping[str, Schedule] = field(default_factory=dict)


@functools.cache
def schema() -> dict[str, Any]:
    """The JSON Schema of a file."""
    document: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return document


def tidied(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document from the server without what a file needs not say: defaults, and fields that cannot be sent."""
    tidy: dict[str, Any] = _tidied(document, schema()["$defs"]["Workflow"])
    return tidy


def _tidied(value: Any, part: Mapping[str, Any]) -> Any:
    definitions = schema()["$defs"]
    if isinstance(value, list):
        return [_tidied(item, part.get("items", {})) for item in value]
    if not isinstance(value, Mapping):
        return value
    for branch in part.get("allOf", []):
        [(field, wanted)] = branch["if"]["properties"].items()
        if value.get(field) == wanted["const"]:
            part = branch["then"]
    if "$ref" in part:
        part = definitions[part["$ref"].rpartition("/")[2]]
    properties = part.get("properties")
    if properties is None:
        return dict(value)
    # An empty list as the default of a parameter is not the same as none.
    required = {*part.get("required", []), "block_type", "parameter_type", "default_value"}
    return {
        key: _tidied(item, properties[key])
        for key, item in value.items()
        if key in properties and (key in required or (item != properties[key].get("default") and item not in ({}, [])))
    }


def load(root: Path, settings: AutomationSettings, stack_file: str = "", cell: str | None = None) -> list[Automation]:
    """The automations that a stack file names; SettingsError with one line for each mistake in any of them.

    root: folder of the program. stack_file: its name, for a credential that it lacks. cell: the stack's own, if it has one.
    """
    automations, lines = [], []
    # Of the resources of schedules: `a` with `b-c`, and `a-b` with `c`, would be one.
    called: dict[str, str] = {}
    for name in settings.files:
        source = Source(root, f"{FOLDER}/{name}.yaml")
        try:
            source.read()
            lines += source.problems(frozenset(settings.credentials), stack_file, cell)
        except SettingsError as wrong:
            lines += wrong.lines
            continue
        if lines:
            continue
        automations.append(source.automation(name))
        for key in automations[-1].schedules:
            if other := called.get(f"{name}-{key}"):
                lines.append(f"{source.line(('schedules', key))}: schedules.{key}: gets the name of {other}; write another name")
            called[f"{name}-{key}"] = f"schedules.{key} of {source.path}"
    if lines:
        raise SettingsError(lines)
    return automations


def minutes_by_hand(automations: Sequence[Automation]) -> dict[str, float]:
    """Title of a workflow -> minutes that a person needs for it, of the files that name them.

    By the title, because the monitor, which counts the runs, is made before Skyvern gives a workflow its id.
    """
    return {
        str(automation.definition["title"]): automation.minutes_by_hand
        for automation in automations
        if automation.minutes_by_hand is not None
    }


class Source:
    """A file with the lines of its parts, also of those from included files."""

    def __init__(self, root: Path, path: str) -> None:
        self._root, self.path = root, path
        self._document: Any = None
        # By id of an element: the file that it came from, and its line there. The elements are kept alive by the document.
        self._included: dict[int, tuple[str, int]] = {}

    def read(self) -> None:
        """Reads the file and what it includes; SettingsError if one of them cannot be read."""
        self._document = self._parse(
            self.path, f"{self.path}: does not exist; write it, or remove its name from automations.files"
        )
        if not isinstance(self._document, CommentedMap):
            raise SettingsError([f"{self.path}:1: is not an automation; write workflow: and Skyvern's document below it"])
        self._expand(self._document, self.path, ())

    def _parse(self, path: str, missing: str) -> Any:
        file = self._root / path
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise SettingsError([missing]) from None
        except (OSError, UnicodeDecodeError) as failed:
            raise SettingsError([f"{path}: cannot be read ({type(failed).__name__}); save it as UTF-8"]) from None
        try:
            return YAML(typ="rt").load(text)
        except (YAMLError, ValueError, KeyError, RecursionError) as broken:
            mark = broken.problem_mark if isinstance(broken, MarkedYAMLError) else None
            line = "" if mark is None else f":{mark.line + 1}"
            problem = str(getattr(broken, "problem", None) or "correct it").splitlines()[0]
            raise SettingsError([f"{path}{line}: is not valid YAML ({problem}); correct this line"]) from None

    def _expand(self, node: Any, path: str, including: tuple[str, ...]) -> None:
        """Puts the elements of included files in the place of each ``include``."""
        if isinstance(node, CommentedMap):
            for value in node.values():
                self._expand(value, path, including)
        elif isinstance(node, CommentedSeq):
            elements: list[Any] = []
            for index, element in enumerate(node):
                line = node.lc.item(index)[0] + 1
                if not (isinstance(element, CommentedMap) and set(element) == {"include"}):
                    self._expand(element, path, including)
                    self._included.setdefault(id(element), (path, line))
                    elements.append(element)
                    continue
                elements += self._elements(str(element["include"]), f"{path}:{line}", including)
            node[:] = elements

    def _elements(self, name: str, where: str, including: tuple[str, ...]) -> list[Any]:
        path = f"{FOLDER}/{name}"
        if not re.fullmatch(r"([a-z0-9][a-z0-9-]*/)*[a-z0-9][a-z0-9-]*\.yaml", name):
            raise SettingsError([f"{where}: include: {json.dumps(name)} is not a file below {FOLDER}/; write common/NAME.yaml"])
        if path in including:
            raise SettingsError([f"{where}: include: {name} includes itself; remove it"])
        part = self._parse(path, f"{where}: include: {path} does not exist; write it, or remove this line")
        if not isinstance(part, CommentedSeq):
            raise SettingsError([f"{path}:1: is not a list; write the elements that take the place of its include"])
        self._expand(part, path, (*including, path))
        return list(part)

    def line(self, path: PathParts) -> str:
        """``automations/x.yaml:12`` of a part, or of what is nearest to it."""
        file, line, node = self.path, 1, self._document
        for part in path:
            if isinstance(node, CommentedMap) and part in node:
                if part in node.lc.data:
                    line = node.lc.key(part)[0] + 1
            elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
                file, line = self._included.get(id(node[part]), (file, line))
            else:
                break
            node = node[part]
        return f"{file}:{line}"

    def problems(self, credentials: frozenset[str], stack_file: str, cell: str | None) -> list[str]:
        """One line for each mistake: first those of the schema; what they are about is looked at further when there are none."""
        plain = _plain(self._document)
        errors = sorted(Draft202012Validator(schema()).iter_errors(plain), key=lambda error: list(map(str, error.absolute_path)))
        found = [problem for error in errors for problem in _explained(error)]
        if not found:
            found = [
                *_cell_problems(plain, cell, stack_file, Path(self.path).stem),
                *_workflow_problems(plain),
                *_credential_problems(plain, credentials, stack_file),
                *_schedule_problems(plain),
            ]
        return [f"{self.line(path)}: {_written(path, plain)}{': ' if path else ''}{text}" for path, text in dict.fromkeys(found)]

    def automation(self, name: str) -> Automation:
        """The file as data; after ``problems`` found none."""
        plain = _plain(self._document)
        return Automation(
            name=name,
            definition=plain["workflow"],
            folder=plain.get("folder"),
            cell=plain.get("cell"),
            browser_profile=plain.get("browser_profile"),
            minutes_by_hand=plain.get("minutes_by_hand"),
            credentials=plain.get("credentials") or {},
            schedules={key: Schedule(**schedule) for key, schedule in (plain.get("schedules") or {}).items()},
        )


def _plain(value: Any) -> Any:
    """Without ruamel's classes; a date is text again, as JSON has none."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return str(value)


def _written(path: PathParts, document: Any) -> str:
    """A path as a person would say it: a block by its label, a parameter by its key."""
    parts: list[str] = []
    node = document
    for part in path:
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            node = None
        name = node.get("label") or node.get("key") if isinstance(part, int) and isinstance(node, dict) else None
        parts.append(str(part if name is None else name))
    return ".".join(part for part in parts if part not in {"workflow", "workflow_definition"}) or ".".join(parts)


def _explained(error: ValidationError) -> Iterator[Problem]:
    """What an error of the schema means, in a clause with a cure."""
    path: Place = tuple(error.absolute_path)
    # Unset only before the library has made the error.
    value, rule, part = cast(Any, error.instance), cast(Any, error.validator_value), cast(Any, error.schema)
    match error.validator:
        case "additionalProperties":
            known = sorted(part.get("properties", {}))
            for key in sorted(set(value) - set(known)):
                yield (*path, key), f"unknown key; {_INSTEAD.get(key) or nearest(key, known)}"
        case "required":
            for key in sorted(set(rule) - set(value)):
                yield path, f"{key} is missing; write it"
        case "anyOf":
            kinds = " or ".join(dict.fromkeys(_kind(option) for option in rule))
            nested = [inner for inner in error.context or () if inner.absolute_path and tuple(inner.absolute_path) != path]
            if nested and isinstance(value, dict | list):
                for inner in nested:
                    yield from _explained(inner)
            else:
                yield path, f"{shown(value)} is not {kinds}; write {kinds}"
        case "type":
            yield path, f"{shown(value)} is not {_kind(part)}; write {_kind(part)}"
        case "enum" | "const":
            values = rule if error.validator == "enum" else [rule]
            near = difflib.get_close_matches(str(value), [str(known) for known in values], n=1)
            yield (
                path,
                f"{shown(value)} is not possible here; write " + (near[0] if near else f"one of {', '.join(map(str, values))}"),
            )
        case "minimum" | "maximum" | "exclusiveMinimum":
            bound = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "more than"}[error.validator]
            yield path, f"{shown(value)} is out of range; write {bound} {rule}"
        case "minLength" | "minItems" if not value:
            yield path, "is empty; write it"
        case "pattern":
            yield path, f"{shown(value)} is not a name; write lower case letters, digits and hyphens"
        case _:
            yield path, f"{shown(value)} is wrong ({error.validator}); see the field's description in the schema"


_KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a section with keys",
    "string": "text",
}


def _kind(option: Mapping[str, Any]) -> str:
    kind = option.get("type")
    return _KINDS[kind] if isinstance(kind, str) else "a section with keys" if "$ref" in option else "another value"


def _cell_problems(document: Mapping[str, Any], cell: str | None, stack_file: str, name: str) -> Iterator[Problem]:
    """A file for another cell: its schedules would fire there and here."""
    wanted = document.get("cell")
    if wanted is None or wanted == cell:
        return
    own = f"this stack's is {shown(cell)}" if cell else "this stack has none"
    cure = f"remove {name} from automations.files of {stack_file}, or correct the cell here or in its edge.cell"
    yield ("cell",), f"{shown(wanted)} is another cell, and {own}; {cure}"


def _workflow_problems(document: Mapping[str, Any]) -> Iterator[Problem]:
    base: Place = ("workflow", "workflow_definition")
    definition = document["workflow"]["workflow_definition"]
    keys: dict[str, int] = {}
    for index, parameter in enumerate(definition["parameters"]):
        key = parameter["key"]
        if key in keys:
            yield (*base, "parameters", index), "has the key of another parameter; write another key"
        if problem := "is a name of the server's own; write another one" if key in RESERVED else name_problem(key, "key"):
            yield (*base, "parameters", index, "key"), f"{shown(key)} {problem}"
        if parameter["parameter_type"] == "output":
            yield (*base, "parameters", index), "is an output, which each block has by itself; remove it"
        keys[key] = index
    labels: set[str] = set()
    blocks = list(walk(definition["blocks"], (*base, "blocks")))
    if not blocks:
        yield (*base, "blocks"), "is empty; write at least one block"
    for path, block in blocks:
        label = block["label"]
        if problem := name_problem(label, "label"):
            yield (*path, "label"), f"{shown(label)} {problem}"
        if label in labels:
            yield (*path, "label"), f"{shown(label)} is the label of another block; write another one"
        labels.add(label)
    outputs = {f"{label}_output" for label in labels}
    for key in sorted(outputs & set(keys)):
        yield (*base, "parameters", keys[key]), "has the name of a block's output; write another key"
    known = {*keys, *outputs}
    for index, parameter in enumerate(definition["parameters"]):
        source = parameter.get("source_parameter_key")
        if source is not None and source not in known:
            path = (*base, "parameters", index, "source_parameter_key")
            yield path, f"{shown(source)} is not a parameter; {nearest(source, known)}"
    if definition.get("version") == 1 and templates.is_graph({**definition, "version": None}):
        yield (*base, "version"), "1 has no branches and no next_block_label; write 2, or remove it"
    for path, block in blocks:
        for index, key in enumerate(block.get("parameter_keys") or []):
            if key not in known:
                yield (*path, "parameter_keys", index), f"{shown(key)} is not a parameter; {nearest(key, keys)}"
        over = block.get("loop_over_parameter_key")
        if over and over not in known:
            yield (*path, "loop_over_parameter_key"), f"{shown(over)} is not a parameter; {nearest(over, known)}"
        branches = enumerate(block.get("branch_conditions") or [])
        for place, holder in [(path, block), *(((*path, "branch_conditions", index), branch) for index, branch in branches)]:
            following = holder.get("next_block_label")
            if following is not None and following not in labels:
                yield (
                    (*place, "next_block_label"),
                    f"{shown(following)} is not the label of a block; {nearest(following, labels)}",
                )
    last = definition.get("finally_block_label")
    if last is not None and last not in labels:
        yield (*base, "finally_block_label"), f"{shown(last)} is not the label of a block; {nearest(last, labels)}"
    yield from refusals.problems(document["workflow"], ("workflow",))
    yield from templates.problems(document["workflow"], ("workflow",))


def _credential_problems(document: Mapping[str, Any], known: frozenset[str], stack_file: str) -> Iterator[Problem]:
    parameters = document["workflow"]["workflow_definition"]["parameters"]
    wanted = {
        parameter["key"]: index
        for index, parameter in enumerate(parameters)
        if parameter["parameter_type"] == "credential" and "credential_id" not in parameter
    }
    given = document.get("credentials") or {}
    for key, index in wanted.items():
        if key not in given:
            path = ("workflow", "workflow_definition", "parameters", index)
            of_file = stack_file or "the stack file"
            yield (
                path,
                f"has no credential; write credentials: {{{key}: NAME}} with the name of one in {of_file}",
            )
    for key, name in given.items():
        if key not in wanted:
            yield ("credentials", key), f"is not a parameter of the type credential; {nearest(key, wanted)}"
        elif name not in known:
            cure = f"add it below automations.credentials in {stack_file or 'the stack file'}"
            cure += f", or {nearest(name, set(known))}" if known else ""
            yield ("credentials", key), f"{shown(name)} is not a credential of the stack; {cure}"


def _schedule_problems(document: Mapping[str, Any]) -> Iterator[Problem]:
    parameters = document["workflow"]["workflow_definition"]["parameters"]
    keys = {parameter["key"] for parameter in parameters if parameter["parameter_type"] == "workflow"}
    needed = {
        parameter["key"]
        for parameter in parameters
        if parameter["parameter_type"] == "workflow" and parameter.get("default_value") is None
    }
    for name, schedule in (document.get("schedules") or {}).items():
        path = ("schedules", name)
        in_cron, in_zone = cron.syntax_problem(schedule["cron"]), cron.timezone_problem(schedule["timezone"])
        if in_cron:
            yield (*path, "cron"), f"{shown(schedule['cron'])} {in_cron}"
        if in_zone:
            yield (*path, "timezone"), f"{shown(schedule['timezone'])} {in_zone}"
        if not in_cron and not in_zone and (close := cron.distance_problem(schedule["cron"], schedule["timezone"])):
            yield (*path, "cron"), f"{shown(schedule['cron'])} {close}"
        given = schedule.get("parameters") or {}
        for key in given:
            if key not in keys:
                yield (*path, "parameters", key), f"is not a parameter of the workflow; {nearest(key, keys)}"
        for key in sorted(needed - set(given)):
            yield path, f"has no value for the parameter {key}, which has no default; write it below parameters"
