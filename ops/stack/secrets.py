"""A stack's secrets for what needs one that is no output: those of its file, and the generated ones from its state.

Not here: how they are made (components/secrets.py), and the outputs (ops/stack/outputs.py).
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from ops.stack import file, inventory
from ops.stack.stack import Stack

PASSWORD = "random:index/randomPassword:RandomPassword"  # noqa: S105  a type
PREFIX = "::skyvern-secrets-"


def given(stack: Stack, key: str) -> SecretStr:
    """A secret of the stack file, decrypted by the engine; UserError when it cannot be opened. key: ``edge.api_token``."""
    return SecretStr(stack.pulumi("config", "get", "--path", f"{file.PREFIX}{key}").decode().strip())


def generated(stack: Stack, *names: str) -> dict[str, SecretStr]:
    """Those of the named secrets that the state has, by their names in components/secrets.py: ``database``, ``backup``."""
    found = {}
    for name, resource in _passwords(stack.state(show_secrets=True)):
        if name in names:
            found[name] = SecretStr(str(json.loads(resource["outputs"]["result"]["plaintext"])))
    return found


def last_change(state: Mapping[str, Any]) -> datetime | None:
    """When the newest of the generated secrets was made; None if the state does not say. state: of ``Stack.state``."""
    made = [inventory.parse_time(str(resource.get("created", ""))) for _, resource in _passwords(state)]
    return max((at for at in made if at is not None), default=None)


def _passwords(state: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for resource in state.get("resources") or []:
        urn = str(resource["urn"])
        if resource.get("type") == PASSWORD and PREFIX in urn and not resource.get("delete"):
            yield urn.rpartition(PREFIX)[2], resource
