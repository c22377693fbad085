"""The JSON Schema of automation files, from Skyvern's own models: components/automations/automation.schema.json.

To be run by a Python that has the pinned Skyvern, such as that of the server's image:
``python tools/skyvern_schema/generate.py > components/automations/automation.schema.json``.

Skyvern drops a field that it does not know without a word. Here each object refuses them, and each list of kinds chooses by the
field that names the kind, so that an error is about the kind that was written and not about all of them.
"""

import importlib
import json
import sys
from importlib import metadata
from typing import Any

Schema = dict[str, Any]

NAME = "^[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?$"
# Above the document in an automation file, or the server's own.
ELSEWHERE = {"folder_id", "recording_id"}
# What the server refuses, too, in validators that its schema does not show (1.0.56).
BOUNDS = {("WaitBlockYAML", "wait_sec"): {"minimum": 1, "maximum": 1800}}


def closed(value: Any, blocks: dict[str, str]) -> Any:
    """A schema whose objects refuse unknown fields and whose unions choose by their discriminator.

    blocks: the schema of each kind of block. Lists inside of loops have the same union, without saying what chooses.
    """
    if isinstance(value, list):
        return [closed(item, blocks) for item in value]
    if not isinstance(value, dict):
        return value
    if {option.get("$ref") for option in value.get("anyOf", [])} == set(blocks.values()):
        return chosen("block_type", blocks)
    if "discriminator" in value and "oneOf" in value:
        return chosen(value["discriminator"]["propertyName"], value["discriminator"]["mapping"])
    made = {key: closed(item, blocks) for key, item in value.items() if key != "title" or not isinstance(item, str)}
    if "properties" in value and isinstance(value["properties"], dict) and value.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made


def chosen(field: str, mapping: dict[str, str]) -> Schema:
    """One of several objects, by a field."""
    branches = [
        {"if": {"properties": {field: {"const": kind}}, "required": [field]}, "then": {"$ref": reference}}
        for kind, reference in sorted(mapping.items())
    ]
    return {"type": "object", "required": [field], "properties": {field: {"enum": sorted(mapping)}}, "allOf": branches}


def schema(document: Schema, version: str) -> Schema:
    """The schema of a file around that of Skyvern's document."""
    raw = document.pop("$defs")
    blocks = raw["WorkflowDefinitionYAML"]["properties"]["blocks"]["items"]["discriminator"]["mapping"]
    definitions = {name: closed(definition, blocks) for name, definition in raw.items()}
    workflow = closed(document, blocks)
    for name in ELSEWHERE:
        workflow["properties"].pop(name, None)
    # Filled in from ``credentials``.
    parameter = definitions["CredentialParameterYAML"]
    parameter["required"] = [name for name in parameter["required"] if name != "credential_id"]
    for (name, field), bounds in BOUNDS.items():
        definitions[name]["properties"][field] |= bounds
    definitions["Workflow"] = workflow
    text = {"type": "string", "minLength": 1}
    schedule = {
        "type": "object",
        "additionalProperties": False,
        "required": ["cron", "timezone"],
        "properties": {
            "cron": {**text, "description": "Five fields; ticks at least five minutes apart."},
            "timezone": {**text, "description": "A name such as Asia/Seoul."},
            "parameters": {"type": "object"},
            "enabled": {"type": "boolean", "default": True},
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"Made by tools/skyvern_schema/generate.py from skyvern {version}.",
        "type": "object",
        "additionalProperties": False,
        "required": ["workflow"],
        "properties": {
            "cell": {"type": "string", "pattern": NAME, "description": "The cell whose stack alone applies it (`edge.cell`)."},
            "folder": {**text, "description": "Folder of the UI."},
            "minutes_by_hand": {"type": "number", "exclusiveMinimum": 0, "description": "What a person needs for it."},
            "browser_profile": {**text, "description": "Name of a browser profile that a person saved in the UI."},
            "workflow": {"$ref": "#/$defs/Workflow"},
            "credentials": {
                "type": "object",
                "description": "Key of a `credential` parameter -> name of a credential in the stack file.",
                "additionalProperties": {"type": "string", "pattern": NAME},
            },
            "schedules": {"type": "object", "propertyNames": {"pattern": NAME}, "additionalProperties": schedule},
        },
        "$defs": definitions,
    }


def main() -> None:
    """Prints the schema."""
    # By name, because the project's own environment does not have it.
    models = importlib.import_module("skyvern.schemas.workflows")
    document = models.WorkflowCreateYAMLRequest.model_json_schema(mode="validation")
    made = schema(document, metadata.version("skyvern"))
    json.dump(made, sys.stdout, indent=1, sort_keys=True, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
