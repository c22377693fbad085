"""A stack after its last update: inputs, for values that a preview does not know, and the days on which resources were made."""

import datetime
import json
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import Any

from .values import decode


def inputs_by_urn(exported: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Inputs of every resource in what ``pulumi stack export`` prints; encrypted values are UNKNOWN."""
    resources = (exported.get("deployment") or {}).get("resources") or []
    return {resource["urn"]: decode(resource.get("inputs") or {}) for resource in resources if not resource.get("delete")}


def created_by_urn(exported: Mapping[str, Any]) -> dict[str, datetime.date]:
    """The day on which every resource in what ``pulumi stack export`` prints was made, in UTC."""
    resources = (exported.get("deployment") or {}).get("resources") or []
    return {
        resource["urn"]: datetime.date.fromisoformat(resource["created"][:10])
        for resource in resources
        if resource.get("created") and not resource.get("delete")
    }


def exported(urn: str, organization: str = "organization") -> Mapping[str, Any]:
    """What ``pulumi stack export`` prints of the stack that a resource is in; empty without a state or without the CLI.

    organization: of the stack in Pulumi Cloud; every other backend calls it "organization".
    Secrets are not decrypted. An export takes no lock, so it may run next to the update that is asking.
    """
    stack, _, rest = urn.removeprefix("urn:pulumi:").partition("::")
    return _export(f"{organization}/{rest.partition('::')[0]}/{stack}")


@cache
def _export(stack: str) -> Mapping[str, Any]:
    command = shutil.which("pulumi")
    if command is None:
        return {}
    try:
        done = subprocess.run(
            [command, "stack", "export", "--non-interactive", "--stack", stack],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=True,
        )
        document: dict[str, Any] = json.loads(done.stdout)
        return document
    except (OSError, ValueError, subprocess.SubprocessError):
        # Nothing gets through because of it: unknown values are reported, and checked by the update.
        return {}
