"""Brings the images of a stack to every machine of its Swarm, from the one that has built them; no registry is needed.

A task that is to start on a machine without its image is refused there ("No such image"), and Docker tries the next machine.
Not here: making them (ops/images/build.py).
"""

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from components.host import images
from ops.clients import process
from ops.clients.docker import Docker
from ops.clients.swarm import AT_ONCE, Swarm
from ops.clients.terminal import Progress
from ops.errors import UserError
from ops.images import needs

# Some gigabytes over a slow network.
SECONDS = 3600.0


def spread(swarm: Swarm, references: Collection[str], progress: Progress) -> None:
    """Copies what the other machines lack; UserError with a line for each to which that was not possible.

    A machine that does not answer is left out: tasks cannot start there either.
    """
    others = [daemon for daemon in swarm.daemons if daemon.host != swarm.host]

    def bring(daemon: Docker) -> str:
        try:
            lacking = [reference for reference in sorted(references) if not needs.present(daemon, reference)]
            if lacking:
                progress(f"{daemon.host}: {len(lacking)} of {len(references)} images are brought there")
                _copy(swarm, daemon, lacking)
        except UserError as failed:
            return f"{daemon.host}: the images could not be brought there: {failed.line}"
        return ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        failures = [line for line in pool.map(bring, others) if line]
    if failures:
        raise UserError("\n".join(failures))


def _copy(source: Docker, target: Docker, references: Collection[str]) -> None:
    # Loaded from a file, an image has no digest, by which the public ones are named.
    public = [reference for reference in references if reference in images.OFFICIAL.values()]
    for reference in public:
        target.run("pull", "--quiet", reference, timeout_seconds=SECONDS)
    if own := [reference for reference in references if reference not in public]:
        load = target.command("load", "--quiet")
        process.pipe(source.command("save", *own), load, env=source.environment(), timeout_seconds=SECONDS)
