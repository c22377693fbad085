"""A module of Skyvern's ADDITIONAL_MODULES: the minutes after which a run without its own limit is ended.

Skyvern 1.0.56 has it as a constant, four hours (forge/sdk/workflow/models/run_limits.py), which no setting changes: a run that
hangs holds its browser for as long. Read from the environment under the constant's name; ``server.max_run_minutes`` in the stack
file. Look at it again with the Skyvern after 1.0.56.
"""

import os
from typing import Any

from at_start import ends_start, require

NAME = "WORKFLOW_RUN_DEFAULT_MAX_ELAPSED_TIME_MINUTES"


@ends_start("run time limit")
def configure_app(_app: Any) -> None:
    """Called by Skyvern before the server starts; ends the start where the constant decides nothing any more."""
    from skyvern.forge.sdk.workflow.models import run_limits

    limit(run_limits, int(os.environ[NAME]))


def limit(run_limits: Any, minutes: int) -> None:
    """Sets the constant; RuntimeError where a run without its own limit does not get it."""
    require([(run_limits, NAME)], "a run could hang without a limit")
    setattr(run_limits, NAME, minutes)
    if run_limits.get_effective_workflow_run_max_elapsed_time_minutes(None) != minutes:
        raise RuntimeError("this Skyvern takes the limit of a run from elsewhere")
