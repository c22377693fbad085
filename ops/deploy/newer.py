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
    except UserError:
        return "lost: whatever came since, which the database does not name"
    return f"lost: {', '.join(came)} that came since" if came else "nothing came since"


def kinds(stack: Stack, docker: Docker, since: datetime) -> list[str]:
    """``["3 runs", "1 workflows"]``; UserError when the database does not say."""
    organization = json.loads(stack.pulumi("stack", "output", "--json")).get("organization_id", "")
    variables = {"at": f"{since:%Y-%m-%d %H:%M:%S}", "organization": organization}
    said = database.ask(stack, docker, NEWER, variables=variables)
    try:
        counts = zip(map(int, said.split("|")), ("runs", "workflows", "credentials"), strict=True)
        return [f"{count} {kind}" for count, kind in counts if count]
    except ValueError:
        raise UserError(f"stack {stack}: its database does not say what came since {since:%Y-%m-%d %H:%M} UTC") from None
