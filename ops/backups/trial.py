"""A trial of this checkout's Skyvern on a copy of the stack's database, while the stack goes on serving.

As a drill, but of what is there now: the running database is dumped by its own server's pg_dump into a new cluster. Files are not
copied, because migrations do not touch them; the copy reaches no network, so no webhook leaves it, and its schedules are off.
Not here: deciding on an upgrade, and switching (ops/deploy/upgrade.py).
"""

from datetime import UTC, datetime

from components.host.postgres import DATABASE, ROLE, SOCKET_FOLDER, USER
from ops.backups import copies, drill, external
from ops.backups.container import LONG_SECONDS
from ops.backups.copies import Copy, Record
from ops.backups.preflight import OFFLINE
from ops.clients.docker import Docker
from ops.clients.terminal import Progress
from ops.errors import explained
from ops.stack import database
from ops.stack.inventory import MIB
from ops.stack.stack import Stack

OLD_SOCKET = "/run/running"
# Made by the server's own pg_dump: a newer one may write what only newer servers understand (17.12 to 18.6, seen).
_COPY = f"""
set -eu -o pipefail
pg_dump -Fc -Z0 -h {OLD_SOCKET} -U {ROLE} -d {DATABASE} \\
  | pg_restore --no-owner --no-privileges --exit-on-error --single-transaction -h {SOCKET_FOLDER} -U {ROLE} -d {DATABASE}
"""


def trial(stack: Stack, size: int, progress: Progress) -> float:
    """Migrates and serves a copy with the images of this checkout: the seconds that took. Everything made for it is gone again.

    size: of the running database, in bytes. Raises UserError if the copy cannot be made or Skyvern does not serve it.
    """
    docker = stack.docker()
    source = copies.running(stack)
    drill.clear(docker, stack, "trial")
    try:
        with copies.filled(source, "trial", running_record(size), progress, fill=copy_running) as copy:
            copies.quiet(copy)
            return drill.serve(copy, progress)
    finally:
        drill.clear(docker, stack, "trial")


def database_size(stack: Stack, docker: Docker) -> int:
    """Bytes of the running database on disk."""
    return int(database.ask(stack, docker, "SELECT pg_database_size(current_database());"))


def running_record(size: int) -> Record:
    """The running database as the source of a copy. size: in bytes."""
    return Record(
        name="running", at=datetime.now(UTC), postgres="", schema="", database_bytes=size, tables={}, folders={}, kind="copy"
    )


def copy_running(copy: Copy, progress: Progress) -> None:
    """Fills a copy with the running database; UserError where that cannot be done."""
    docker, stack = copy.source.docker, copy.source.stack
    progress(f"copying the database, {copy.record.database_bytes / MIB:.0f} MiB")
    with explained(lambda failed: f"the database cannot be copied: {failed}"):
        if there := external.server(stack, docker, copy.source.settings):
            external.copied(there, copy.socket, copy.source.role_password)
            return
        image = docker.inspect(stack.prefix("postgres"))["Image"]
        mounts = (f"--volume={stack.prefix('postgres-socket')}:{OLD_SOCKET}", f"--volume={copy.socket}:{SOCKET_FOLDER}")
        docker.run_with(
            {"PGPASSWORD": copy.source.role_password},
            *(*OFFLINE, *mounts, f"--user={USER}", "--env=PGPASSWORD", image, "bash", "-c", _COPY),
            timeout_seconds=LONG_SECONDS,
        )
