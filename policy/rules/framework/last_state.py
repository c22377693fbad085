"""Inputs of a stack's resources after its last update, for values that a preview does not know."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from .values import decode


def inputs_by_urn(exported: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Inputs of every resource in what ``pulumi stack export`` prints; encrypted values are UNKNOWN."""
    resources = (exported.get("deployment") or {}).get("resources") or []
    return {resource["urn"]: decode(resource.get("inputs") or {}) for resource in resources if not resource.get("delete")}


def last_state(urn: str, organization: str = "organization") -> dict[str, dict[str, Any]]:
    """Inputs by URN of the stack that a resource is in; empty without a state or without the CLI.

    organization: of the stack in Pulumi Cloud; every other backend calls it "organization".
    Secrets are not decrypted. An export takes no lock, so it may run next to the update that is asking.
    """
    stack, _, rest = urn.removeprefix("urn:pulumi:").partition("::")
    project = rest.partition("::")[0]
    command = shutil.which("pulumi")
    if command is None:
        return {}
    try:
        done = subprocess.run(
            [command, "stack", "export", "--non-interactive", "--stack", f"{organization}/{project}/{stack}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=True,
        )
        return inputs_by_urn(json.loads(done.stdout))
    except (OSError, ValueError, subprocess.SubprocessError):
        # Nothing gets through because of it: unknown values are reported, and checked by the update.
        return {}
