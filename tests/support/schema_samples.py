"""Documents for Skyvern's models out of the schema of automation files: for each field of each part one that has it."""

from collections.abc import Iterator, Mapping
from typing import Any

from components.automations.files import schema

Json = dict[str, Any]
BLOCKS, PARAMETERS = "block_type", "parameter_type"

# Values of fields for which the server's validators, which no schema shows, ask for a form (1.0.56, schemas/workflows.py).
_VALUES: Mapping[str, Any] = {
    "condition": {"criteria_type": "jinja2_template", "expression": "{{ x }}"},
    "criteria": {"criteria_type": "jinja2_template", "expression": "{{ x }}"},
    "browser_type": "chrome",
    "country": "KR",
    "branch_conditions": [{"is_default": True}],
    "data_schema": {"type": "object"},
    "json_schema": {"type": "object"},
    "error_code_mapping": {"NO_TABLE": "There is no table."},
    "key": "some_key",
    "label": "some_label",
    "url": "https://example.com",
    "timezone": "Asia/Seoul",
    "retry_policy": {"max_retries": 1, "retry_on": [{"status": "failed"}]},
    "finally_block_label": "some_label",
    "version": 2,
    "webhook_callback_url": "https://example.com/hook",
    "totp_verification_url": "https://example.com/totp",
}
# What such a document needs beside the field, for the same reason.
_BESIDE: Mapping[str, Json] = {
    "BranchConditionYAML": {"is_default": True},
    "ConditionalBlockYAML": {"branch_conditions": [{"is_default": True}]},
    "CredentialParameterYAML": {"credential_id": "cred_1"},
    "SendEmailBlockYAML": {"sender": "shop@example.com"},
    "WebSearchBlockYAML": {"prompt": "text"},
    "WorkflowDefinitionYAML": {"blocks": [{"block_type": "wait", "label": "some_label", "wait_sec": 1}]},
}
_OF_TYPE = {"number": 1, "boolean": True, "object": {}, "null": None}


def value(part: Mapping[str, Any]) -> Any:
    """The least that a part of the schema takes, and that is not null."""
    if "$ref" in part:
        part = schema()["$defs"][part["$ref"].rpartition("/")[2]]
    if "const" in part:
        return part["const"]
    if "enum" in part:
        return part["enum"][0]
    if "anyOf" in part:
        return value(next(option for option in part["anyOf"] if option.get("type") != "null"))
    if "allOf" in part and "properties" in part and "block_type" in part["properties"]:
        return {"block_type": "wait", "label": "inner", "wait_sec": 1}
    if part.get("type") == "array":
        return [value(part.get("items", {}))] if part.get("minItems") else []
    if "properties" in part:
        return {name: field(name, part["properties"][name]) for name in part.get("required", [])}
    if part.get("type") == "integer":
        return max(1, part.get("minimum", 1))
    if part.get("type", "string") == "string":
        return "text"[: part.get("maxLength")]
    return _OF_TYPE[part["type"]]


def field(name: str, part: Mapping[str, Any]) -> Any:
    """A value of a field."""
    return _VALUES.get(name, value(part))


def definitions() -> Iterator[tuple[str, Json]]:
    """Each object of the schema by its name in the server's models, but for the list of kinds."""
    for name, part in sorted(schema()["$defs"].items()):
        if "properties" in part and "allOf" not in part:
            yield name, part


def samples() -> Iterator[tuple[str, str, Json]]:
    """Name of a model, one of its fields, and the least document of the model that has it."""
    for name, part in definitions():
        least = {key: field(key, part["properties"][key]) for key in part.get("required", [])} | _BESIDE.get(name, {})
        for kind in (BLOCKS, PARAMETERS):
            if kind in part["properties"]:
                least[kind] = part["properties"][kind].get("const") or least.get(kind)
        for key, property_ in part["properties"].items():
            # A branch with criteria is not the default.
            beside = {} if key == "criteria" else least
            yield name, key, {**beside, key: least.get(key) or field(key, property_)}
