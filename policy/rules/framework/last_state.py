"""What a stack looked like after its last update, for values that a preview does not know."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from .values import decode


def inputs_by_urn(exported: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Inputs of every resource in what ``pulumi stack export`` prints; encrypted values are UNKNOWN."""
    resources = (exported.get("deployment") or {}).get("resources") or []
    return {one["urn"]: decode(one.get("inputs") or {}) for one in resources if not one.get("delete")}


def last_state(urn: str, organization: str = "organization") -> dict[str, dict[str, Any]]:
    """Inputs by URN of the stack that a resource is in; empty where there is no state or no CLI to ask.

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
        # Nothing is let through by it: what is unknown is reported, and checked by the update.
        return {}
