"""What a preview is made from: the state, the configuration, and every secret in them that must not be shown."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ops.preview.diff import value_at
from ops.preview.model import SECRET
from ops.preview.values import Sealed, sealed, secrets_in, with_parts
from ops.redaction import Redactor, name_is_secret
from ops.stack.stack import Stack

VARIABLE = "vercel:index/projectEnvironmentVariable:ProjectEnvironmentVariable"

Deployment = Mapping[str, Any]


# --- Pure ----------------------------------------------------------------------------------------------------------------


def digest(deployment: Deployment) -> str:
    """SHA-256 over the resources and pending operations of a state; "" for one without resources.

    Without secrets, which are encrypted again by every update, and without times; so an update that changes nothing leaves it as
    it is. deployment: of ``Stack.state``, with or without secrets.
    """
    resources = deployment.get("resources") or []
    if not resources:
        return ""
    told = [_without_secrets(resources), _without_secrets(deployment.get("pending_operations") or [])]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _without_secrets(value: Any) -> Any:
    match sealed_or_cipher(value):
        case dict() as fields:
            return {key: _without_secrets(item) for key, item in fields.items() if key not in {"created", "modified"}}
        case list() as items:
            return [_without_secrets(item) for item in items]
        case Sealed():
            return SECRET
        case other:
            return other


def sealed_or_cipher(value: Any) -> Any:
    """``Sealed`` for a secret, encrypted or not; anything else as it is."""
    return Sealed(None) if isinstance(value, dict) and ("ciphertext" in value or "plaintext" in value) else value


def state_secrets(deployment: Deployment) -> set[str]:
    """Every secret text in a state that was exported with its secrets."""
    found: set[str] = set()
    operations = [one.get("resource") or {} for one in deployment.get("pending_operations") or []]
    for resource in (*(deployment.get("resources") or []), *operations):
        if not _is_public(resource):
            found |= secrets_in(sealed(resource.get("inputs") or {}), sealed(resource.get("outputs") or {}))
    return found


def _is_public(resource: Mapping[str, Any]) -> bool:
    """Whether it is a variable at Vercel that the whole team may read, such as the login's name or a URL.

    The SDK marks the value of each as a secret (5.21.1), and a report in which every "skyvern" is blanked cannot be read.
    """
    return resource.get("type") == VARIABLE and (resource.get("inputs") or {}).get("sensitive") is False


def encrypted_paths(value: Any, path: str = "") -> Iterator[str]:
    """Paths below a value of a stack file that hold a secret (``{secure: ...}``); "" is the value itself."""
    if isinstance(value, dict):
        if set(value) == {"secure"}:
            yield path
            return
        for key, item in value.items():
            yield from encrypted_paths(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from encrypted_paths(item, f"{path}[{index}]")


def config_secrets(configured: Mapping[str, Any], shown: Mapping[str, Any]) -> set[str]:
    """Every secret text of the configuration. shown: of ``pulumi config --show-secrets --json``."""
    found: set[str] = set()
    for key, value in configured.items():
        entry = shown.get(key) or {}
        whole = entry.get("objectValue", entry.get("value"))
        for path in encrypted_paths(value):
            secret = value_at(whole, path) if path else whole
            found.update(with_parts(_texts(secret)))
    return found


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for item in value.values():
                yield from _texts(item)
        case list():
            for item in value:
                yield from _texts(item)
        case int() | float() if not isinstance(value, bool):
            yield str(value)


def flat_config(configured: Mapping[str, Any], redactor: Redactor) -> dict[str, str]:
    """The configuration as ``skyvern:host.port`` -> text; what is encrypted is ``SECRET``."""
    flat: dict[str, str] = {}

    def walk(path: str, name: str, value: Any) -> None:
        if isinstance(value, dict) and set(value) != {"secure"}:
            for key, item in value.items():
                walk(f"{path}.{key}", str(key), item)
        elif isinstance(value, dict):
            flat[path] = SECRET
        else:
            cleaned = redactor.value(value, name)
            flat[path] = cleaned if isinstance(cleaned, str) else json.dumps(cleaned, ensure_ascii=False)

    for key, value in sorted(configured.items()):
        walk(key, key.rpartition(":")[2], value)
    return flat


def environment_secrets(variables: Mapping[str, str]) -> set[str]:
    """Secrets among environment variables, by their names; files that hold one are read by the caller."""
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
