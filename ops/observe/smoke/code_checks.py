"""The check that Python from a caller does not run in the server unless the stack file allows it: two barriers, each tested.

The gateway does not serve the routes that take scripts, and the server does not run a script that it has anyway. To test the
second, the script is deployed past the gateway, from inside the server's container.
"""

import json
import secrets
from contextlib import suppress
from typing import Any

from ops.clients.docker import PYTHON
from ops.errors import UserError
from ops.observe.smoke.site import CheckNotApplicableError, Site, expect, expect_status
from ops.observe.smoke.workflow_checks import finished_run, start_run, wait_for_end, workflow, workflow_body

# A request to Skyvern's own port, with a key of the container, by its variable: prints the status.
ASK = """
import os, sys, urllib.error, urllib.request
key, method, path, body = sys.argv[1:]
headers = {"Content-Type": "application/json", "x-api-key": os.environ[key]}
url = "http://127.0.0.1:" + os.environ["PORT"] + path
try:
    status = urllib.request.urlopen(urllib.request.Request(url, body.encode() or None, headers, method=method), timeout=20).status
except urllib.error.HTTPError as refused:
    status = refused.code
print(status)
"""
# Skyvern lets a script open files, and keeps a script for blocks of some kinds only; a loop over one page needs no LLM.
SCRIPT = """
import skyvern

with open("{marker}", "w"):
    pass


async def run(parameters):
    async for page in skyvern.loop(values=["once"], label="repeat"):
        pass
"""


def looping(url: str) -> dict[str, Any]:
    """Workflow with a loop that opens ``url`` once."""
    opens = {"block_type": "goto_url", "label": "open", "url": url}
    loop = {"block_type": "for_loop", "label": "repeat", "loop_variable_reference": "{{ ['once'] }}", "loop_blocks": [opens]}
    return workflow_body("Smoke run: code", [loop])


def code_block() -> dict[str, Any]:
    """Workflow with a block of Python."""
    return workflow_body("Smoke run: code block", [{"block_type": "code", "label": "code", "code": "answer = 1"}])


def ask_inside(site: Site, method: str, path: str, body: str = "", *, key: str = "SMOKE_API_KEY") -> int:
    """Status of a request that does not pass the gateway. key: the variable that holds it."""
    return int(site.execute("server", *PYTHON, ASK, key, method, path, body))


def deployment(site: Site, workflow_id: str, marker: str) -> dict[str, Any]:
    """Request body that caches a script for a workflow; the script makes the file ``marker``."""
    response = site.api("GET", f"/v1/workflows/{workflow_id}")
    expect_status(response, 200)
    stored = response.json()
    return {
        "workflow_id": stored["workflow_id"],
        "workflow_version": stored["version"],
        "cache_key": "smoke",
        "cache_context": {"adaptive_caching": False},
        "files": [{"path": "main.py", "content": SCRIPT.format(marker=marker), "encoding": "utf-8"}],
        "dry_run": False,
    }


def check_code_refused(site: Site) -> None:
    """With ``server.code_blocks: false``, scripts and code blocks do not run; a run that asks for a script completes without."""
    if site.execute("server", "printenv", "CODE_BLOCK_MODE").strip() == b"enabled":
        raise CheckNotApplicableError("server.code_blocks is true: whoever reaches the API runs Python in the server")
    marker = f"/tmp/smoke-code-{secrets.token_hex(8)}"  # noqa: S108
    with workflow(site, looping(site.outputs.smoke_url + "/")) as workflow_id:
        path = f"/v1/scripts/{workflow_id}/deploy_cached/"
        body = deployment(site, workflow_id, marker)
        try:
            expect_status(site.api("POST", path, body=body), 403, 404, what="deploying a script through the gateway")
            status = ask_inside(site, "POST", path, json.dumps(body))
            # If the server refuses the script, this check has tested nothing.
            expect(status == 200, f"deploying a script inside the server gave {status}")
            run = wait_for_end(site, start_run(site, workflow_id, run_with="code"))
            expect(not _was_made(site, marker), "the server ran a script that a caller of the API deployed")
            expect(run["status"] == "completed", f"a run that asks for its script is {run['status']}, not done without it")
        finally:
            with suppress(UserError):
                ask_inside(site, "DELETE", f"/v1/scripts/{workflow_id}/cache")
    with finished_run(site, code_block()) as run:
        expect(run["status"] in {"failed", "terminated"}, f"a run with a code block is {run['status']}")


def _was_made(site: Site, marker: str) -> bool:
    """Whether the file exists; it is removed."""
    return b"made" in site.execute("server", "sh", "-c", 'if [ -e "$1" ]; then rm -f "$1"; echo made; fi', "sh", marker)
