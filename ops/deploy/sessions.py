"""``ops end-sessions``: every session token that the UI has been given is refused from now on.

A token is valid while its row in the database is there (Skyvern 1.0.56 asks for it at each request and keeps none in memory), so
it ends without a restart. The UI fetches a new one by its login. A live view that is open stays open until its page is closed.
Not here: the rotations that end sessions as well (ops/deploy/rotate.py), and the organisation's API key, which is not a session.
"""

from components.host.postgres import END_SESSIONS
from ops.clients.docker import Docker
from ops.errors import explained
from ops.stack.outputs import Outputs


def end(docker: Docker, outputs: Outputs) -> None:
    """Ends all sessions; UserError if the database does not answer."""
    with explained(lambda failed: f"sessions: not ended ({failed}); see bin/ops logs roles postgres"):
        docker.execute(outputs.containers["roles"], "bash", "-c", f"set -eu\n{END_SESSIONS}")
