"""A module of Skyvern's ADDITIONAL_MODULES: adopts the stack's API keys inside the server, before it answers its first request.

In the server, because importing Skyvern takes most of the start and a process of its own would pay it twice. Behind it the
secrets leave the environment.
"""

import os
from pathlib import Path
from typing import Any

import forget_secrets
import garbage
import smoke_organization
from at_start import at_start
from start_report import report_step

# skyvern-healthy wants it: a Skyvern that does not call the hook never becomes healthy.
ADOPTED = Path("/tmp/api-key-adopted")  # noqa: S108


def configure_app(app: Any) -> None:
    """Called by Skyvern with the application before the server starts (1.0.56, forge_app_initializer.py)."""
    at_start(app, "adopt API key", adopt)


async def adopt(_fastapi_app: object) -> str:
    """Makes the keys of the environment those of their organisations; creates an organisation named in one when there is none."""
    from skyvern.forge.sdk.services.local_org_auth_token_service import ensure_local_api_key

    report_step("load", float(os.environ["SKYVERN_START_LOADING"]))
    garbage.look_as_usual()
    adopted = await ensure_local_api_key(os.environ["SKYVERN_API_KEY"])
    if adopted is None:
        # Skyvern would go on with a key of its own, which nobody knows.
        raise RuntimeError(
            "Skyvern does not accept SKYVERN_API_KEY: it is expired, not signed with SECRET_KEY, "
            "or the database belongs to another organisation"
        )
    # Skyvern creates the organisation with 10, and the organisation's value wins over the variable (1.0.56, forge/agent.py).
    from skyvern.forge import app as skyvern_app

    smoke = await smoke_organization.adopt(skyvern_app)
    for organization in (adopted[1], smoke):
        await skyvern_app.DATABASE.organizations.update_organization(
            organization, max_steps_per_run=int(os.environ["MAX_STEPS_PER_RUN"])
        )
    moved = await smoke_organization.take_over(skyvern_app, person=adopted[1], smoke=smoke)
    # No program is started before this: Skyvern's first one is a browser's.
    forget_secrets.forget()
    ADOPTED.touch()
    earlier = f"; {moved} workflows of earlier smoke runs moved" if moved else ""
    return f"organisation {adopted[1]}, smoke runs {smoke}{earlier}"
