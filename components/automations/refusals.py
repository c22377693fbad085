"""What Skyvern refuses in a workflow and its schema does not show: found at preview, not while the stack is updated.

Its rules are those of 1.0.56: schemas/workflows.py, forge/sdk/workflow/workflow_definition_converter.py and service.py. Not here:
the schema itself, references of blocks and parameters (files.py), and templates (templates.py).
"""

import ast
import difflib
import graphlib
import json
import re
import textwrap
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from components.automations import cron, templates
from components.automations.templates import INNER, Json, Place, Problem

# More names than these are no help on one line.
_MOST_NAMED = 16
# SUPPORTED_GEO_COUNTRIES of schemas/proxy_location.py.
COUNTRIES = frozenset("AR AU BR CA DE ES FR GB IE IN IT JP KR MX NL NZ PH SA TR US ZA".split())
_PLACE = {"country": str, "subdivision": str, "city": str, "isISP": bool}
_RUN_WITH = ("agent", "code", "ai", "code_v2")
# Of a code block's error_code_mapping.
_MOST_CODES, _LONGEST_CODE, _LONGEST_MEANING, _MOST_BYTES = 64, 128, 2000, 32768
_GMAIL = "gmail"
_SMTP = ("smtp_host", "smtp_port", "smtp_username", "smtp_password")
_FALLBACK_TRIGGERS = ("any_failure", "credential_failures")


def problems(workflow: Json, path: Place) -> Iterator[Problem]:
    """Each as the place and a clause with what to write instead. workflow: Skyvern's document, right by its schema."""
    yield from _run_problems(workflow, path)
    definition, base = workflow["workflow_definition"], (*path, "workflow_definition")
    zone = (definition.get("browser_settings") or {}).get("timezone_id")
    if zone is not None and (problem := cron.timezone_problem(zone)):
        yield (*base, "browser_settings", "timezone_id"), f"{shown(zone)} {problem}"
    rules = (definition.get("retry_policy") or {}).get("retry_on") or []
    for index, rule in enumerate(rules):
        if rule["status"] in [before["status"] for before in rules[:index]]:
            place = (*base, "retry_policy", "retry_on", index, "status")
            yield place, f"{shown(rule['status'])} has a rule already; write its error codes there"
    for index, parameter in enumerate(definition["parameters"]):
        yield from _parameter_problems(parameter, (*base, "parameters", index))
    keys = {parameter["key"] for parameter in definition["parameters"]}
    for place, block in walk(definition["blocks"], (*base, "blocks")):
        yield from _block_problems(block, place, keys)
    yield from _order_problems(definition, base)


def walk(blocks: Sequence[Mapping[str, Any]], path: Place) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """Each block with its path, also those inside of loops."""
    for index, block in enumerate(blocks):
        yield (*path, index), block
        yield from walk(block.get(INNER) or [], (*path, index, INNER))


def name_problem(name: str, kind: str) -> str | None:
    """What is wrong with a label or a key, which is a name in templates and in Python: letters of any language will do.

    Python reads some characters as others, Hangul in parts among them (NFKC), and Jinja does not: such a name would be two.
    """
    if not name.isidentifier():
        return f"is not a {kind}; write letters, digits and underscores, no digit first"
    if not unicodedata.is_normalized("NFKC", name):
        return f"has characters that look like others; type {unicodedata.normalize('NFKC', name)} again"
    return None


def _run_problems(workflow: Json, path: Place) -> Iterator[Problem]:
    if workflow.get("browser_type") is not None:
        yield (*path, "browser_type"), "is refused by a server of one's own; remove it, browser.type of the stack file decides"
    if (run_with := workflow.get("run_with")) not in {None, *_RUN_WITH}:
        yield (*path, "run_with"), f"{shown(run_with)} is not possible here, and the server would take agent; write agent or code"
    if isinstance(place := workflow.get("proxy_location"), dict):
        yield from _place_problems(place, (*path, "proxy_location"))
    for key in ("webhook_callback_url", "totp_verification_url"):
        if (problem := _address_problem(workflow.get(key) or "")) is not None:
            yield (*path, key), problem


def _place_problems(place: Json, path: Place) -> Iterator[Problem]:
    """A country and what is in it, or the address of a proxy; the server forgets any other section with a line in its log."""
    if "country" not in place:
        if not isinstance(place.get("url"), str):
            yield path, "has no country; write country: KR, or url: with the address of a proxy"
        return
    for key, value in place.items():
        if key not in _PLACE:
            yield (*path, key), f"unknown key; {nearest(key, list(_PLACE))}"
        elif key == "country" and str(value).upper() not in COUNTRIES:
            yield (
                (*path, key),
                f"{shown(value)} is not a country that the server knows; write one of {', '.join(sorted(COUNTRIES))}",
            )
        elif value is not None and not isinstance(value, _PLACE[key]):
            yield (*path, key), f"{shown(value)} is not {'true or false' if key == 'isISP' else 'text'}; write it"


def _address_problem(url: str) -> str | None:
    """As the server looks, which puts https:// before an address without a scheme. Not the host: the policy has rules of it."""
    if not url or "{{" in url:
        return None
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        right = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        right = False
    return None if right and not re.search(r"\s", url) else "is not an address; write https:// and a host"


def _parameter_problems(parameter: Json, path: Place) -> Iterator[Problem]:
    match parameter["parameter_type"]:
        case "bitwarden_login_credential":
            collection, item = parameter.get("bitwarden_collection_id"), parameter.get("bitwarden_item_id")
            if not collection and not item:
                yield path, "names nothing in Bitwarden; write bitwarden_collection_id or bitwarden_item_id"
            elif not item and not parameter.get("url_parameter_key"):
                yield path, "has a collection alone; write url_parameter_key, too"
        case "credential":
            ids, fallback = parameter.get("credential_ids"), parameter.get("fallback_credential_ids")
            trigger = parameter.get("fallback_trigger")
            if ids is not None and not ids:
                yield (*path, "credential_ids"), "is empty; write at least one id, or remove it"
            if ids is not None and fallback is not None:
                yield (*path, "fallback_credential_ids"), "does not go with credential_ids; remove one of the two"
            if trigger is not None and trigger not in _FALLBACK_TRIGGERS:
                yield (
                    (*path, "fallback_trigger"),
                    f"{shown(trigger)} is not possible here; write {' or '.join(_FALLBACK_TRIGGERS)}",
                )
            elif trigger is not None and not fallback:
                yield (*path, "fallback_trigger"), "has nothing to fall back to; write fallback_credential_ids, too"


def _block_problems(block: Json, path: Place, keys: set[str]) -> Iterator[Problem]:
    if block.get("engine") == "ui-tars":
        yield (*path, "engine"), "ui-tars is off on a server of one's own; remove it"
    match block["block_type"]:
        case "for_loop" if not block.get("loop_over_parameter_key") and not block.get("loop_variable_reference"):
            yield path, "goes over nothing; write loop_variable_reference"
        case "conditional":
            yield from _branch_problems(block.get("branch_conditions") or [], path)
        case "send_email":
            yield from _email_problems(block, path, keys)
        case "code":
            yield from _code_problems((*path, "code"), block["code"])
            yield from _mapping_problems(block.get("error_code_mapping") or {}, (*path, "error_code_mapping"))
        case "terminate":
            if not block["reason"].strip():
                yield (*path, "reason"), "is empty; write why the run ends here"
            yield from _literal_code_problems(block.get("error_code"), (*path, "error_code"))
        case "validation" if not block.get("complete_criterion") and not block.get("terminate_criterion"):
            yield path, "looks for nothing; write complete_criterion or terminate_criterion"
        case "action" if not block.get("navigation_goal"):
            yield path, "has nothing to do; write navigation_goal"
        case "extraction" if block.get("export_enabled") and not block.get("export_data_schema"):
            yield (*path, "export_enabled"), "needs the form of the records; write export_data_schema, too"
        case "http_request" if block.get("save_response_as_file") and block.get("secret_response_paths"):
            yield (*path, "secret_response_paths"), "does not go with save_response_as_file; remove one of the two"
        case "web_search":
            for key in ("no_results_error_code", "no_match_error_code"):
                if block.get(key) is not None and not block[key].strip():
                    yield (*path, key), "is empty; write a code, or remove it"
            if block.get("no_match_error_code") is not None and not (block.get("prompt") or "").strip():
                yield (*path, "no_match_error_code"), "needs something to match; write prompt, too"


def _branch_problems(branches: Sequence[Json], path: Place) -> Iterator[Problem]:
    if not branches:
        yield path, "has no branch; write branch_conditions"
    if sum(bool(branch.get("is_default")) for branch in branches) > 1:
        yield (*path, "branch_conditions"), "has more than one default; write is_default in one of them"
    for index, branch in enumerate(branches):
        if bool(branch.get("criteria")) == bool(branch.get("is_default")):
            yield (*path, "branch_conditions", index), "has to have criteria or to be the default; write one of the two"


def _email_problems(block: Json, path: Place, keys: set[str]) -> Iterator[Problem]:
    own = [key for key in block if key.startswith("custom_smtp_") and block[key] not in {None, ""}]
    if block.get("transport") == _GMAIL:
        for key in own:
            yield (*path, key), "does not go with `transport: gmail`; remove one of the two"
        return
    if "sender" not in block:
        yield path, "has no sender; write it, or `transport: gmail`"
    for key in ("cc", "bcc"):
        if any(entry.strip() for entry in block.get(key) or []):
            yield (*path, key), "is for `transport: gmail` only; write the address below recipients"
    if "custom_smtp_host" in own:
        return
    for key in (f"{name}_secret_parameter_key" for name in _SMTP):
        named = block.get(key)
        if named and named not in keys:
            yield (*path, key), f"{shown(named)} is not a parameter; {nearest(named, keys)}"


def _code_problem(code: str) -> str | None:
    if not code or code != code.strip() or len(code) > _LONGEST_CODE:
        return f"is not an error code; write 1 to {_LONGEST_CODE} characters without spaces around"
    if any(unicodedata.category(character).startswith("C") for character in code):
        return "has a character that cannot be seen; write the code again"
    return None


def _mapping_problems(mapping: Json, path: Place) -> Iterator[Problem]:
    """Of a code block; the other kinds of blocks repair what is wrong with theirs."""
    if len(mapping) > _MOST_CODES:
        yield path, f"has {len(mapping)} codes; write at most {_MOST_CODES}"
    for code, meaning in mapping.items():
        if problem := _code_problem(code):
            yield (*path, code), problem
        elif not meaning or meaning != meaning.strip() or len(meaning) > _LONGEST_MEANING:
            yield (*path, code), f"is not a description; write 1 to {_LONGEST_MEANING} characters without spaces around"
        elif any(unicodedata.category(character).startswith("C") for character in meaning):
            yield (*path, code), "has a line break or a character that cannot be seen; write the description on one line"
    if sum(len(text.encode()) for pair in mapping.items() for text in pair) > _MOST_BYTES:
        yield path, f"is longer than {_MOST_BYTES} bytes; write shorter descriptions"


def _literal_code_problems(code: str | None, path: Place) -> Iterator[Problem]:
    if code is None or re.search(r"\{[{%#]", code):
        return
    if problem := _code_problem(code.strip()):
        yield path, problem
    elif not re.fullmatch(r"[A-Za-z0-9_.:-]+", code.strip()):
        yield path, f"{shown(code)} is not an error code; write letters of A to Z, digits and _ . : -"


def _order_problems(definition: Json, base: Place) -> Iterator[Problem]:
    """Of blocks with ``next_block_label``: the server starts at the one block that none names, and refuses circles."""
    last = definition.get("finally_block_label")
    top = {block["label"]: index for index, block in enumerate(definition["blocks"])}
    if last is not None and last not in top:
        # One that does not exist is a reference (files.py).
        inner = [block["label"] for _, block in walk(definition["blocks"], base)]
        if last in inner:
            yield (*base, "finally_block_label"), f"{shown(last)} is inside of a loop; write the label of a block outside"
    elif last is not None and definition["blocks"][top[last]].get("next_block_label") is not None:
        yield (*base, "blocks", top[last], "next_block_label"), "comes after the block that runs last; remove it"
    if templates.is_graph(definition):
        everywhere = {block["label"] for _, block in walk(definition["blocks"], base)}
        yield from _graph_problems(definition["blocks"], (*base, "blocks"), everywhere, last)


def _graph_problems(blocks: Sequence[Json], path: Place, everywhere: set[str], last: str | None = None) -> Iterator[Problem]:
    """everywhere: all labels; one that is none of them is a reference (files.py). last: runs behind all others of this list."""
    labels = {block["label"] for block in blocks}
    for index, block in enumerate(blocks):
        branches = enumerate(block.get("branch_conditions") or [])
        holders = [((), block), *((("branch_conditions", number), branch) for number, branch in branches)]
        for place, holder in holders:
            if (after := holder.get("next_block_label")) in everywhere - labels:
                place = (*path, index, *place, "next_block_label")
                yield place, f"{shown(after)} is not the label of a block in the same list; write one that is"
        if block.get(INNER):
            yield from _graph_problems(block[INNER], (*path, index, INNER), everywhere)
    steps = _steps([block for block in blocks if block["label"] != last])
    named = {after for following in steps.values() for after in following}
    roots = [label for label in steps if label not in named]
    if len(roots) > 1:
        first, lost = map(shown, roots[:2])
        cure = "write next_block_label in each block but the last, or in none and no branches"
        yield path, f"has two beginnings, {first} and {lost}, because no block leads to them; {cure}"
    elif _circle(steps):
        yield path, "goes in a circle by next_block_label; remove one of them, or use a loop"


def _steps(blocks: Sequence[Json]) -> dict[str, set[str]]:
    """Label -> labels that may come next. The ends of branches lead to what comes after their block, as the server has it."""
    after = {block["label"]: block.get("next_block_label") for block in blocks}
    branches = {
        block["label"]: [branch.get("next_block_label") for branch in block.get("branch_conditions") or []]
        for block in blocks
        if block["block_type"] == "conditional"
    }
    changed = True
    while changed:
        changed = False
        for label, targets in branches.items():
            for target in targets if after[label] else ():
                changed |= _joined(target, after[label], after)
    return {label: {one for one in branches.get(label, [after[label]]) if one in after} for label in after}


def _joined(target: str | None, successor: str | None, after: dict[str, str | None]) -> bool:
    """Lets the end of a branch lead to the successor; whether it did not."""
    seen: set[str] = set()
    at = target
    while at is not None and at in after and at != successor and at not in seen:
        seen.add(at)
        if after[at] is None:
            after[at] = successor
            return True
        at = after[at]
    return False


def _circle(steps: Mapping[str, set[str]]) -> bool:
    """Whether some block comes after itself."""
    try:
        graphlib.TopologicalSorter(steps).prepare()
    except graphlib.CycleError:
        return True
    return False


def _code_problems(path: Place, code: str) -> Iterator[Problem]:
    """Whether it is Python; with a tag of Jinja's in it, the server finds out."""
    code = templates.without_comments(code)
    if "{%" in code or "{{" in code:
        return
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse("async def block():\n" + textwrap.indent(textwrap.dedent(code), "    ") + "\n    pass\n")
    except (SyntaxError, ValueError) as wrong:
        where = f", line {wrong.lineno - 1} of it" if isinstance(wrong, SyntaxError) and wrong.lineno else ""
        yield path, f"is not Python ({getattr(wrong, 'msg', 'it has a zero byte')}{where}); correct it"


def shown(value: Any) -> str:
    """A value in an error; a long text may be a secret that does not belong into the file, and is not repeated."""
    text = json.dumps(value, ensure_ascii=False)
    return "this" if isinstance(value, dict | list) or len(text) > 40 else text


def nearest(text: str, known: Sequence[str] | set[str] | dict[str, int]) -> str:
    near = difflib.get_close_matches(text, sorted(known), n=1)
    if near:
        return f"write `{near[0]}`"
    if len(known) > _MOST_NAMED:
        return "remove it, or see the schema for what is known here"
    return f"known here: {', '.join(sorted(known))}" if known else "there is none; remove it"
