"""The inputs of a preview: the state, the configuration, and every secret in them that must not be shown."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ops.preview.diff import value_at
from ops.preview.model import SECRET
from ops.preview.values import leaves, sealed, secrets_in, with_parts
from ops.redaction import Redactor, name_is_secret
from ops.stack import file
from ops.stack.stack import Stack

VARIABLE = "vercel:index/projectEnvironmentVariable:ProjectEnvironmentVariable"

Deployment = Mapping[str, Any]


# --- Pure ----------------------------------------------------------------------------------------------------------------


def digest(deployment: Deployment) -> str:
    """SHA-256 over the resources and pending operations of a state; "" for one without resources.

    Without secrets, which are encrypted again by every update, and without times. So it stays the same after an update that
    changes nothing. deployment: of ``Stack.state``, with or without secrets.
    """
    resources = deployment.get("resources") or []
    if not resources:
        return ""
    content = [_without_secrets(resources), _without_secrets(deployment.get("pending_operations") or [])]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _without_secrets(value: Any) -> Any:
    match value:
        case {"ciphertext": _} | {"plaintext": _}:
            return SECRET
        case dict():
            return {key: _without_secrets(item) for key, item in value.items() if key not in {"created", "modified"}}
        case list():
            return [_without_secrets(item) for item in value]
    return value


def state_secrets(deployment: Deployment) -> set[str]:
    """Every secret text in a state that was exported with its secrets."""
    secrets: set[str] = set()
    pending = [operation.get("resource") or {} for operation in deployment.get("pending_operations") or []]
    for resource in (*(deployment.get("resources") or []), *pending):
        if not _is_public(resource):
            secrets |= secrets_in(sealed(resource.get("inputs") or {}), sealed(resource.get("outputs") or {}))
    return secrets


def _is_public(resource: Mapping[str, Any]) -> bool:
    """Whether it is a variable at Vercel that the whole team may read, such as the login's name or a URL.

    The SDK marks the value of each as a secret (5.21.1), and a report in which every "skyvern" is blanked cannot be read.
    """
    return resource.get("type") == VARIABLE and (resource.get("inputs") or {}).get("sensitive") is False


def config_secrets(configured: Mapping[str, Any], shown: Mapping[str, Any]) -> set[str]:
    """Every secret text of the configuration. shown: of ``pulumi config --show-secrets --json``."""
    secrets: set[str] = set()
    for key, value in configured.items():
        entry = shown.get(key) or {}
        whole = entry.get("objectValue", entry.get("value"))
        for path in file.encrypted_paths(value):
            secret = value_at(whole, path) if path else whole
            texts = (str(leaf) for leaf in leaves(secret) if isinstance(leaf, str | int | float) and not isinstance(leaf, bool))
            secrets.update(with_parts(texts))
    return secrets


def flat_config(configured: Mapping[str, Any], redactor: Redactor) -> dict[str, str]:
    """The configuration as ``skyvern:host.port`` -> text; encrypted values are ``SECRET``."""
    flat: dict[str, str] = {}

    def walk(path: str, name: str, value: Any) -> None:
        if file.is_encrypted(value):
            flat[path] = SECRET
        elif isinstance(value, dict):
            for key, item in value.items():
                walk(f"{path}.{key}", str(key), item)
        else:
            cleaned = redactor.value(value, name)
            flat[path] = cleaned if isinstance(cleaned, str) else json.dumps(cleaned, ensure_ascii=False)

    for key, value in sorted(configured.items()):
        walk(key, key.rpartition(":")[2], value)
    return flat


def environment_secrets(variables: Mapping[str, str]) -> set[str]:
    """Secrets among environment variables, by their names; the caller reads files that hold one."""
    return {value for name, value in variables.items() if name_is_secret(name) and not name.endswith("_FILE")}


# --- Effects ---------------------------------------------------------------------------------------------------------------


def config_hash(stack: Stack) -> str:
    """SHA-256 over the project's file and the stack's."""
    hashed = hashlib.sha256()
    for path in (stack.root / "Pulumi.yaml", stack.file):
        content = path.read_bytes()
        hashed.update(f"{path.name}\0{len(content)}\n".encode() + content)
    return hashed.hexdigest()


def secrets_of(stack: Stack, deployment: Deployment) -> set[str]:
    """Every text that must not be shown about a stack: of its state, its configuration and the environment of Pulumi."""
    variables = stack.environment()
    shown = json.loads(stack.pulumi("config", "--show-secrets", "--json"))
    secrets = state_secrets(deployment) | config_secrets(stack.config(), shown) | environment_secrets(variables)
    if passphrase_file := variables.get("PULUMI_CONFIG_PASSPHRASE_FILE"):
        secrets.add(Path(passphrase_file).read_text().strip())
    return secrets
