"""The Jinja of an automation file, as Skyvern 1.0.56 renders it (forge/sdk/workflow/models/block.py).

There, a name that does not exist is empty text without a word, and an unknown filter fails while a run goes on. Here each is a
mistake. Code is rendered as a template, too, except its comments. Not here: what a block's output has in it.
"""

import difflib
import io
import itertools
import json
import re
import tokenize
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.sandbox import SandboxedEnvironment

from components.settings import CredentialSettings

Place = tuple[str | int, ...]
Problem = tuple[Place, str]
Json = Mapping[str, Any]
# Names of a template, each with the attributes that are known of it; None if it can have any.
Names = Mapping[str, Collection[str] | None]

# Key of the blocks that a block holds.
INNER = "loop_blocks"
_JINJA = SandboxedEnvironment()
_JINJA.filters["json"] = json.dumps
# What every template has beside parameters and outputs (``_build_block_parameter_template_data``), and the attributes of each.
_OF_A_TEXT, _OF_A_DICT = frozenset(dir(str)), frozenset(dir(dict))
_OWN: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("workflow_title", "workflow_id", "workflow_permanent_id", "workflow_run_id"), _OF_A_TEXT),
    **dict.fromkeys(("current_date", "browser_session_id"), _OF_A_TEXT),
    "workflow_run_summary": _OF_A_DICT | {"workflow_run_id", "status", "output", "downloaded_files", "errors", "failure_reason"},
}
_OUTPUTS = "workflow_run_outputs"
# In the blocks of a loop, and in its condition.
_IN_LOOPS = ("current_index", "current_item", "current_value")
# Which no parameter can be called (forge/sdk/workflow/models/parameter.py).
RESERVED = frozenset({*_OWN, _OUTPUTS, *_IN_LOOPS}) - {"browser_session_id"}
# Of one field alone.
_OF_FIELD = {"download_suffix": "original_filename"}
_ATTRIBUTES = {
    "string": _OF_A_TEXT,
    "file_url": _OF_A_TEXT,
    "integer": frozenset(dir(int)),
    "float": frozenset(dir(float)),
    "boolean": frozenset(dir(bool)),
}
# A placeholder's explanation, and the fields of a credential that a stack file has.
_OF_A_CREDENTIAL = _OF_A_DICT | {"context"} | (set(CredentialSettings.model_fields) - {"type", "tested_url"})
# Keys of a block that are never rendered.
_PLAIN = frozenset({"block_type", "description", "label", "next_block_label", "parameter_keys", "steps", INNER})


@dataclass(frozen=True)
class Scope:
    """What a text can name. later: outputs of blocks that do not run before it."""

    names: Names
    later: frozenset[str] = frozenset()

    def problems(self, text: str) -> Iterator[str]:
        """What is wrong with a template, each as a clause with what to write instead."""
        if problem := readable(text):
            yield problem
            return
        tree = _JINJA.parse(text)
        unknown = [*_unknown(tree, nodes.Filter, _JINJA.filters), *_unknown(tree, nodes.Test, _JINJA.tests)]
        yield from unknown
        if unknown:
            return
        free = meta.find_undeclared_variables(tree)
        for name in sorted(free - set(self.names) - set(_JINJA.globals) - set(_guarded(tree))):
            yield self._undefined(name)
        for name, attribute in sorted(set(_attributes(tree))):
            known = self.names.get(name)
            if attribute.startswith("__"):
                yield f"{name}.{attribute} is refused by the server; remove it"
            elif name in free and known is not None and attribute not in known:
                yield f"{name} has no {attribute}; {_cure(attribute, known, 'remove it')}"

    def _undefined(self, name: str) -> str:
        if name in self.later:
            return f"{name} is the output of a block that does not run before; move that block up, or remove the name"
        if name in _IN_LOOPS:
            return f"{name} is known inside of a loop only; remove it"
        return f"{name} is not a parameter or an output; {_cure(name, self.names, 'declare it below parameters')}"


def readable(text: str) -> str | None:
    """What is wrong with the syntax of a text, None for nothing."""
    try:
        _JINJA.parse(text)
    except jinja2.TemplateSyntaxError as wrong:
        return f"is not a template that Jinja can read ({wrong.message}); correct the braces"
    return None


def _cure(text: str, known: Collection[str], otherwise: str) -> str:
    near = difflib.get_close_matches(text, sorted(name for name in known if not name.startswith("_")), n=1)
    return f"write `{near[0]}`" if near else otherwise


def _unknown(tree: nodes.Template, kind: type[nodes.Filter] | type[nodes.Test], known: Mapping[str, Any]) -> Iterator[str]:
    what = "filter" if kind is nodes.Filter else "test"
    for name in sorted({str(node.name) for node in tree.find_all(kind)} - set(known)):
        yield f"{name} is not a {what} that the server's Jinja knows; {_cure(name, known, 'remove it')}"


def _guarded(tree: nodes.Template) -> Iterator[str]:
    """Names that need not be known: ``name | default("x")``, and those that a test asks whether they are."""
    guards = {nodes.Filter: {"default", "d"}, nodes.Test: {"defined", "undefined"}}
    for kind, names in guards.items():
        for node in tree.find_all(kind):
            if node.name in names and isinstance(node.node, nodes.Name):
                yield node.node.name


def _attributes(tree: nodes.Template) -> Iterator[tuple[str, str]]:
    """Name and attribute of each ``name.attribute`` and ``name["attribute"]``; of what is no name, the attribute behind ``…``."""
    found: list[tuple[nodes.Expr, Any]] = [(node.node, node.attr) for node in tree.find_all(nodes.Getattr)]
    found += [(node.node, node.arg.value) for node in tree.find_all(nodes.Getitem) if isinstance(node.arg, nodes.Const)]
    for of, attribute in found:
        if isinstance(attribute, str):
            yield of.name if isinstance(of, nodes.Name) else "…", attribute


def problems(workflow: Json, path: Place) -> Iterator[Problem]:
    """The mistakes in the templates of Skyvern's document; of blocks that have labels, and parameters that have keys."""
    definition: Json = workflow["workflow_definition"]
    base: Place = (*path, "workflow_definition")
    yield from _unreadable({key: value for key, value in workflow.items() if key != "workflow_definition"}, path)
    yield from _unreadable(definition["parameters"], (*base, "parameters"))
    blocks: Sequence[Json] = definition["blocks"]
    names: dict[str, Collection[str] | None] = {**_OWN}
    for parameter in definition["parameters"]:
        names |= _of_parameter(parameter)
    labels = {label for block in blocks for label in _labels(block)}
    names[_OUTPUTS] = _OF_A_DICT | labels
    outputs = _of_labels(labels)
    everything = Scope({**names, **outputs})
    for key in ("workflow_system_prompt", "error_code_mapping"):
        yield from _of_texts(definition.get(key), (*base, key), everything)
    before = _before(blocks, is_graph(definition), definition.get("finally_block_label"))
    for index, block in enumerate(blocks):
        seen = _of_labels(before[index])
        scope = Scope({**names, **seen, block["label"]: None}, frozenset(outputs) - set(seen))
        yield from _of_block(block, (*base, "blocks", index), scope)


def _of_block(block: Json, path: Place, scope: Scope) -> Iterator[Problem]:
    inside = scope
    if INNER in block:
        # Those of an earlier round are there, too.
        inside = replace(scope, names={**scope.names, **_of_labels(_labels(block)), **dict.fromkeys(_IN_LOOPS)})
        for index, inner in enumerate(block[INNER] or []):
            yield from _of_block(inner, (*path, INNER, index), inside)
    for key, value in block.items():
        if key in _PLAIN:
            continue
        if key == "code" and block["block_type"] == "code":
            value = without_comments(str(value))
        elif key == "loop_variable_reference" and value:
            value = _reference(str(value), scope.names)
        own = replace(scope, names={**scope.names, _OF_FIELD[key]: _OF_A_TEXT}) if key in _OF_FIELD else scope
        yield from _of_texts(value, (*path, key), inside if key == "condition" else own)


def _of_texts(value: Any, path: Place, scope: Scope) -> Iterator[Problem]:
    for place, text in _texts(value, path, frozenset({"description", "next_block_label"})):
        for problem in scope.problems(text):
            yield place, problem


def _unreadable(value: Any, path: Place) -> Iterator[Problem]:
    """Texts that the server renders with names of its own, if at all: their syntax alone."""
    for place, text in _texts(value, path):
        if problem := readable(text):
            yield place, problem


def _texts(value: Any, path: Place, without: Collection[str] = ()) -> Iterator[tuple[Place, str]]:
    """Each text that can be a template, with its place. without: keys, wherever they are."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in without:
                yield from _texts(item, (*path, key), without)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index), without)
    elif isinstance(value, str) and "{" in value:
        yield path, value


def _of_parameter(parameter: Json) -> Names:
    key, kind = parameter["key"], parameter["parameter_type"]
    if kind == "credential" or parameter.get("workflow_parameter_type") == "credential_id":
        of_stack = kind == "credential" and "credential_id" not in parameter
        attributes = _OF_A_CREDENTIAL if of_stack else None
        return {key: attributes, f"{key}_real_username": _OF_A_TEXT, f"{key}_real_password": _OF_A_TEXT}
    return {key: _ATTRIBUTES.get(parameter.get("workflow_parameter_type", "")) if kind == "workflow" else None}


def _of_labels(labels: Iterable[str]) -> Names:
    """The outputs of blocks, each under two names."""
    return {name: None for label in labels for name in (label, f"{label}_output")}


def _labels(block: Json) -> Iterator[str]:
    yield block["label"]
    for inner in block.get(INNER) or []:
        yield from _labels(inner)


def is_graph(definition: Json) -> bool:
    """Whether ``next_block_label`` and branches say what comes next, as from version 2 on; else the blocks run as a list.

    Without a version the server chooses by what the blocks use (1.0.56, WorkflowDefinitionYAML).
    """
    version = definition.get("version")
    return _names_next(definition["blocks"]) if version is None else version >= 2


def _names_next(blocks: Sequence[Json]) -> bool:
    """As the server looks: not into loops."""
    return any(block["block_type"] == "conditional" or block.get("next_block_label") for block in blocks)


def _before(blocks: Sequence[Json], graph: bool, last: str | None) -> list[set[str]]:
    """For each block the labels of those that may have run before it, with those inside of them. last: runs behind all others."""
    places = {block["label"]: index for index, block in enumerate(blocks)}
    listed = [index for index, block in enumerate(blocks) if block["label"] != last]
    following: dict[int, set[int]] = {}
    for index, after in itertools.zip_longest(listed, listed[1:]):
        holders = [blocks[index], *(blocks[index].get("branch_conditions") or [])] if graph else []
        named = [holder.get("next_block_label") for holder in holders]
        steps = {places[label] for label in named if label in places}
        # Without a next one, it is that of the list.
        following[index] = steps if (steps and None not in named[1:]) or after is None else {*steps, after}
    before: list[set[str]] = [set() for _ in blocks]
    for index in listed:
        reached, waiting = set[int](), [index]
        while waiting:
            new = following.get(waiting.pop(), set()) - reached
            reached |= new
            waiting += new
        for step in {*reached, *([places[last]] if last in places else [])}:
            before[step] |= set(_labels(blocks[index]))
    return before


def _reference(text: str, known: Collection[str]) -> str:
    """What a loop goes over, as the template that the server makes of it; empty for plain words, which a language model reads."""
    words = text.strip(" {}")
    expression = f"{{{{ {words} }}}}"
    names_something = "{" in text or re.search(r"[.\[]|_output\b", words) or difflib.get_close_matches(words, known, n=1)
    if readable(text):
        return text
    return "" if readable(expression) or not names_something else expression


def without_comments(code: str) -> str:
    """Python without its comments, which the server does not render; as it is, if it is not Python."""
    lines = code.splitlines(keepends=True)
    try:
        comments = [token for token in tokenize.generate_tokens(io.StringIO(code).readline) if token.type == tokenize.COMMENT]
    except (SyntaxError, tokenize.TokenError):
        return code
    for token in comments:
        row, column = token.start
        lines[row - 1] = lines[row - 1][:column] + lines[row - 1][token.end[1] :]
    return "".join(lines)
