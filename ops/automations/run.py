"""``ops run``: starts a workflow, and follows it block by block."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from ops.automations.server import Server
from ops.clients.terminal import Progress
from ops.errors import UserError
from skyvern_provider.api import FINAL

POLL_SECONDS = 1.0
# Types of parameters that are not text. The rest, such as file_url, is.
_TYPES: dict[str, Any] = {"integer": int, "float": (int, float), "boolean": bool, "json": object}


def run(
    server: Server,
    name: str,
    parameters: Sequence[str],
    *,
    watch: bool,
    say: Progress,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Starts a workflow and returns the exit code.

    parameters: ``KEY=VALUE`` each. watch: until the run ends; then 0 only if it completed. UserError for what cannot be started.
    """
    workflow = server.find(name)
    given = parse_parameters(parameters, workflow)
    body = {"workflow_id": workflow["workflow_permanent_id"], "parameters": given}
    started = server.ask("POST", "/v1/run/workflows", body=body)
    if started is None:
        raise UserError(f"{name}: the workflow is gone; run pulumi up --refresh, which makes it again")
    run_id = started["run_id"]
    say(f"{workflow['title']}: started {run_id}, {server.app_url}/runs/{run_id}")
    return _follow(server, run_id, say, sleep) if watch else 0


def parse_parameters(given: Sequence[str], workflow: dict[str, Any]) -> dict[str, Any]:
    """``KEY=VALUE`` by the types that the workflow declares; a text stays one, and anything else is JSON."""
    declared = {
        parameter["key"]: parameter.get("workflow_parameter_type")
        for parameter in (workflow.get("workflow_definition") or {}).get("parameters") or []
        if parameter.get("parameter_type") == "workflow"
    }
    values: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--param {key}: has no value; write {key}=VALUE")
        if key not in declared:
            known = f"known are {', '.join(sorted(declared))}" if declared else "the workflow has none"
            raise UserError(f"--param {key}: is not a parameter of the workflow; {known}")
        values[key] = _typed(key, value, str(declared[key]))
    return values


def _typed(key: str, text: str, kind: str) -> Any:
    if kind not in _TYPES:
        return text
    try:
        value = json.loads(text, parse_constant=_refuse)
        # To Python, true is a whole number.
        fits = isinstance(value, _TYPES[kind]) and not (isinstance(value, bool) and kind in {"integer", "float"})
    except ValueError:
        fits = False
    if not fits:
        raise UserError(f"--param {key}: is not of the type {kind}; write it as JSON, for example 5 or true")
    return value


def _refuse(constant: str) -> None:
    """NaN and Infinity, which Python reads and no JSON has."""
    raise ValueError(constant)


def _follow(server: Server, run_id: str, say: Progress, sleep: Callable[[float], None]) -> int:
    shown: dict[str, str] = {}
    while True:
        current = server.ask("GET", f"/v1/runs/{run_id}")
        for block in _blocks(server.ask("GET", f"/v1/runs/{run_id}/timeline") or []):
            state = str(block.get("status"))
            if shown.get(block["workflow_run_block_id"]) != state:
                shown[block["workflow_run_block_id"]] = state
                why = f": {block['failure_reason']}" if block.get("failure_reason") else ""
                say(f"  {block.get('label') or block.get('block_type')}  {state}{why}")
        status = str((current or {}).get("status"))
        if current is None or status in FINAL:
            break
        sleep(POLL_SECONDS)
    codes = ", ".join(str(error.get("error_code")) for error in (current or {}).get("errors") or [] if error.get("error_code"))
    reason = (current or {}).get("failure_reason")
    say(f"{status}{f' ({codes})' if codes else ''}{f': {reason}' if reason else ''}")
    return 0 if status == "completed" else 1


def _blocks(timeline: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The blocks in the order of their start: the server lists the newest first, and those of a loop below it."""
    blocks: list[dict[str, Any]] = []
    for entry in reversed(timeline):
        if entry.get("block"):
            blocks.append(entry["block"])
        blocks += _blocks(entry.get("children") or [])
    return blocks
