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
    unprotected = unprotected_volumes(stack, recorded)
    why = f"{', '.join(unprotected)} may be removed: not protected" if unprotected else ""
    if not why and _postgres_changes(stack, docker, settings):
        why = "PostgreSQL's image changes"
    if not why:
        return
    progress(f"{why}; a set of the backup is made first")
    try:
        made = upgrade.take_set(stack, docker, progress)
    except UserError as failed:
        raise UserError(f"stack {stack}: nothing was changed: {why}, and no set can be made before: {failed}") from failed
    if unprotected and not made:
        raise UserError(
            f"stack {stack}: nothing was changed: {why}, and the stack has no backup; write backup into {stack.file_name} "
            f"(docs/backup.md), or give up the data by pulumi up -s {stack}"
        )


def unprotected_volumes(stack: Stack, recorded: Sequence[Recorded]) -> list[str]:
    """Names of the data volumes that an up could remove, because someone has taken away their protection."""
    data = {stack.prefix(part) for part in PARTS}
    return sorted(one.name for one in recorded if one.kind == "volume" and one.name in data and not one.protected)


def _postgres_changes(stack: Stack, docker: Docker, settings: Settings) -> bool:
    name = stack.prefix("postgres")
    if not docker.run("ps", "--all", "--quiet", "--filter", f"name=^{name}$").strip():
        return False
    return bool(docker.inspect(name)["Config"]["Image"] != images.references(settings.images.source)["postgres"])
