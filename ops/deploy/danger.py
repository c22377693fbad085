"""What an up may do to the data of a stack besides an upgrade of Skyvern: a set of the backup is made before it.

Not here: upgrades (ops/deploy/upgrade.py), and volumes that are gone already (ops/deploy/repair.py).
"""

from collections.abc import Sequence

from components.host import images
from components.settings import Settings
from ops.backups.copies import PARTS
from ops.clients.docker import Docker
from ops.clients.terminal import Progress
from ops.deploy import upgrade
from ops.deploy.repair import Recorded
from ops.errors import UserError
from ops.stack.stack import Stack


def take_set(stack: Stack, docker: Docker, settings: Settings, recorded: Sequence[Recorded], progress: Progress) -> None:
    """A set before an up that replaces PostgreSQL's image or may remove a data volume; nothing otherwise.

    recorded: of the state. Raises UserError when the set cannot be made, and for a volume in a stack without a backup.
    """
    refuse_loss(stack, docker, recorded)
    why = _removals(stack, recorded)
    if not why and _postgres_changes(stack, docker, settings):
        why = "PostgreSQL's image changes"
    if not why:
        return
    progress(f"{why}; a set of the backup is made first")
    try:
        upgrade.take_set(stack, docker, progress)
    except UserError as failed:
        raise UserError(f"stack {stack}: nothing was changed: {why}, and no set can be made before: {failed}") from failed


def refuse_loss(stack: Stack, docker: Docker, recorded: Sequence[Recorded]) -> None:
    """UserError for a data volume that an up may remove in a stack without a backup, also where an upgrade makes the set."""
    why = _removals(stack, recorded)
    if why and not upgrade.has_backup(stack, docker):
        raise UserError(
            f"stack {stack}: nothing was changed: {why}, and the stack has no backup; write backup into {stack.file_name} "
            f"(docs/backup.md), or give up the data by pulumi up -s {stack}"
        )


def _removals(stack: Stack, recorded: Sequence[Recorded]) -> str:
    """The data volumes that an up may remove, because someone has taken away their protection, as a clause; "" for none."""
    data = {stack.prefix(part) for part in PARTS}
    names = sorted(one.name for one in recorded if one.kind == "volume" and one.name in data and not one.protected)
    return f"{', '.join(names)} may be removed: not protected" if names else ""


def _postgres_changes(stack: Stack, docker: Docker, settings: Settings) -> bool:
    name = stack.prefix("postgres")
    wanted = images.references(settings.images.source)["postgres"]
    return docker.has(name) and bool(docker.inspect(name)["Config"]["Image"] != wanted)
