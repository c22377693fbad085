"""What a stack has that came after a moment: runs, workflows, credentials. Older data in its place loses them."""

import json
from datetime import datetime

from ops.clients.docker import Docker
from ops.errors import UserError
from ops.stack import database
from ops.stack.stack import Stack

# Smoke runs have another organisation. A task that a program asked for (POST /v1/run/tasks) is a run without a workflow.
NEWER = """
SELECT (SELECT count(*) FROM workflow_runs WHERE created_at > :'at' AND organization_id = :'organization')
    + (SELECT count(*) FROM tasks WHERE workflow_run_id IS NULL AND created_at > :'at' AND organization_id = :'organization'),
  (SELECT count(*) FROM workflows WHERE created_at > :'at' AND organization_id = :'organization'),
  (SELECT count(*) FROM credentials WHERE created_at > :'at' AND organization_id = :'organization');
"""


def loss(stack: Stack, docker: Docker, since: datetime) -> str:
    """What going back to data of then loses, for the question before it."""
    try:
        came = kinds(stack, docker, since)
    except (UserError, ValueError):
        return "lost: whatever came since, which the database does not name"
    return f"lost: {', '.join(came)} that came since" if came else "nothing came since"


def came(stack: Stack, docker: Docker, since: datetime) -> bool:
    """Whether something is known to have come since."""
    try:
        return bool(kinds(stack, docker, since))
    except (UserError, ValueError):
        return False


def kinds(stack: Stack, docker: Docker, since: datetime) -> list[str]:
    """``["3 runs", "1 workflows"]``; UserError or ValueError when the database does not say."""
    organization = json.loads(stack.pulumi("stack", "output", "--json")).get("organization_id", "")
    variables = {"at": f"{since:%Y-%m-%d %H:%M:%S}", "organization": organization}
    counts = [int(word) for word in database.ask(stack, docker, NEWER, variables=variables).split("|")]
    return [f"{count} {kind}" for count, kind in zip(counts, ("runs", "workflows", "credentials"), strict=True) if count]
