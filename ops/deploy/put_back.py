"""What a restore has exchanged changes places again: after a failure of it, after an interruption, and for ``--undo``.

While folders change places nothing may work with them, so whoever does is stopped for as long. Not here: the exchange itself
(ops/backups/exchange.py).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ops.backups import copies, exchange, paused, preflight
from ops.backups.copies import PARTS
from ops.backups.exchange import Kept
from ops.backups.external import Server
from ops.clients.docker import Docker
from ops.clients.terminal import Progress
from ops.deploy import drain
from ops.errors import UserError
from ops.images import needs
from ops.stack import inventory
from ops.stack.inventory import Replica
from ops.stack.stack import Stack

# Of those that have a data volume mounted: who stops first, and starts last. What no client asks is before the server, which is
# then off for that much shorter.
STOP_ORDER = ("retention", "backup", "server", "artifacts", "roles", "postgres")


class Mixed(UserError):
    """Some of the data is a set's and some is what the stack had before: nothing may work with that."""


@contextmanager
def stopped(docker: Docker, stack: Stack, image: str, progress: Progress) -> Iterator[None]:
    """Whoever has a data volume mounted is stopped within the block, and started after it, however it ends; not after Mixed."""
    if folder := stack.shared_folder:
        # Before anything stops: each machine that answers has the image, and sees the share.
        preflight.refuse_different(docker.daemons, folder, image, f"{stack.file_name}: host.shared_folder")
    names: list[str] = []
    try:
        _stop(docker, stack, names, progress)
        yield
    except Mixed:
        raise
    except BaseException:
        _start(docker, stack, names)
        raise
    _start(docker, stack, names)


def _stop(docker: Docker, stack: Stack, names: list[str], progress: Progress) -> None:
    """names: gets those that ran, in the order in which they are stopped."""
    # A task that a Swarm is still about to start would start in the middle.
    found = inventory.containers(docker, stack.short)
    running = {one.part: one for one in found if isinstance(one, Replica) or one.status in {"running", "paused", "restarting"}}
    parts = [part for part in STOP_ORDER if part in running]
    if parts:
        progress(f"stopping {', '.join(parts)}; runs in progress may end first")
    # Asked once, and not while the server is off.
    seconds = drain.stop_seconds(stack)
    for part in parts:
        names.append(running[part].name)
        drain.stop_to_its_end(docker, stack, part, seconds, progress)
    # Docker takes several of one filter for any of them.
    others = docker.run("ps", "--quiet", *(f"--filter=volume={stack.prefix(part)}" for part in PARTS)).split()
    if others:
        raise UserError(f"stack {stack}: containers {', '.join(sorted(others))} use its volumes; stop them. Nothing was changed")


def _start(docker: Docker, stack: Stack, names: list[str]) -> None:
    """All of them, also behind one that does not start."""
    problems = []
    for name in reversed(names):
        try:
            docker.start_part(name)
        except UserError as failed:
            problems.append(f"{name} does not start again ({failed.line})")
    if problems:
        raise UserError(f"stack {stack}: {'; '.join(problems)}; script/up --stack {stack} starts it")


def take_back(docker: Docker, stack: Stack, image: str, places: Mapping[str, str], stamp: str, server: Server | None) -> None:
    """What the stack had before a restore is in place again; Mixed, if that does not succeed. Only within ``stopped``."""
    try:
        exchange.take_back(docker, stack, image, places, stamp, server)
    except BaseException as failed:
        reason = failed.line if isinstance(failed, UserError) else "interrupted"
        raise Mixed(
            f"stack {stack} is stopped, and what it had before is not in place again: {reason}; script/up --stack {stack} puts "
            "it back and starts it"
        ) from failed


def go_back(docker: Docker, stack: Stack, image: str, left: Kept, progress: Progress, server: Server | None) -> None:
    """What the stack had before a restore, in place again."""
    with stopped(docker, stack, image, progress):
        take_back(docker, stack, image, left.volumes, left.stamp, server)


def finish(stack: Stack, docker: Docker, server: Server | None, progress: Progress) -> None:
    """For an update, which must not start the stack on what an interrupted restore has left."""
    image = exchange.image_of(stack)
    # Without a section backup, no set was restored.
    if needs.present(docker, image):
        clear(docker, stack, image, progress, server)


def clear(docker: Docker, stack: Stack, image: str, progress: Progress, server: Server | None) -> None:
    """What a restore that was interrupted has left: a copy is removed, volumes that had changed places change back."""
    copies.remove_containers(docker, stack, "restore")
    for left in exchange.kept(docker, stack, image, server):
        if left.state == "exchanged":
            continue
        if left.state == "torn":
            go_back(docker, stack, image, left, progress, server)
            progress(f"the restore of {left.stamp} was interrupted: what the stack had before is in place again")
        paused.forget(stack, docker, image, left.stamp)
        exchange.remove(docker, stack, image, left, server)
