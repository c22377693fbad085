"""What an up may do to the data of a stack besides an upgrade of Skyvern: a set of the backup is made before it.

What no set helps against is refused: a data volume that would be lost without one, and another major of PostgreSQL, whose server
does not start on the data of the one before.
Not here: upgrades (ops/deploy/upgrade.py), and volumes that are gone already (ops/deploy/repair.py).
"""

import re
from collections.abc import Sequence

from components.host import images
from components.host.postgres import DATA_FOLDER, USER
from components.settings import Settings
from ops.backups.copies import PARTS
from ops.backups.preflight import OFFLINE
from ops.clients.docker import Docker
from ops.clients.terminal import Progress
from ops.deploy import upgrade
from ops.deploy.repair import Recorded
from ops.errors import UserError, explained
from ops.stack.stack import Stack


def take_set(stack: Stack, docker: Docker, settings: Settings, recorded: Sequence[Recorded], progress: Progress) -> None:
    """A set before an up that replaces PostgreSQL's image or may remove a data volume; nothing otherwise.

    recorded: of the state. Raises UserError when the set cannot be made, and for a volume in a stack without a backup.
    """
    refuse(stack, docker, settings, recorded)
    why = _removals(stack, recorded)
    if not why and not settings.database.elsewhere and _postgres_changes(stack, docker, settings):
        why = "PostgreSQL's image changes"
    if not why:
        return
    progress(f"{why}; a set of the backup is made first")
    with explained(lambda failed: f"stack {stack}: nothing was changed: {why}, and no set can be made before: {failed}"):
        upgrade.take_set(stack, docker, progress)


def refuse(stack: Stack, docker: Docker, settings: Settings, recorded: Sequence[Recorded]) -> None:
    """UserError for a data volume that an up may remove in a stack without a backup, also where an upgrade makes the set.

    And for data of another major of PostgreSQL than the image's.
    """
    if not settings.database.elsewhere:
        _refuse_other_major(stack, docker, settings)
    refuse_removals(stack, docker, recorded)


def refuse_other_place(stack: Stack, docker: Docker, settings: Settings, recorded: Sequence[Recorded]) -> None:
    """UserError where the stack file has the database in another place than where its data is: another would begin empty.

    recorded: of the state. A restore brings the data to where the stack file says; after it, this lets the up go on.
    """
    volume, roles = stack.prefix("postgres"), stack.prefix("roles")
    steps = f"bin/ops backup now -s {stack}; bin/ops restore -s {stack}"
    if settings.database.elsewhere:
        if any(one.kind == "volume" and one.name == volume and one.protected for one in recorded):
            raise UserError(
                f"stack {stack}: nothing was changed: its data is in the volume {volume}, and database.url of {stack.file_name} "
                f"names a server elsewhere; bring it there ({steps}), give up the volume (docs/database.md), and run this again"
            )
    elif docker.has(roles) and volume not in docker.run("volume", "ls", "--quiet").split():
        environment = dict(one.partition("=")[::2] for one in docker.inspect(roles)["Config"].get("Env") or [])
        if not environment.get("PGHOST", "/").startswith("/"):
            raise UserError(
                f"stack {stack}: nothing was changed: its data is on the server {environment['PGHOST']}, and {stack.file_name} "
                f"has no database.url; bring it here ({steps}), and run this again, or write database.url"
            )


def refuse_removals(stack: Stack, docker: Docker, recorded: Sequence[Recorded]) -> None:
    """UserError for a data volume that an up may remove in a stack without a backup."""
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


# The cluster's own record of its major, and "postgres (PostgreSQL) 17.11 (Debian 17.11-0+deb13u1)". An empty volume has neither.
_MAJORS = f"cat {DATA_FOLDER}/PG_VERSION 2> /dev/null && postgres --version || true"
_MAJOR = re.compile(r"\) (\d+)")


def majors(stack: Stack, docker: Docker, settings: Settings, volume: str = "") -> tuple[str, str] | None:
    """The major of PostgreSQL that made the data, and that of this checkout's image; None where there is no data.

    Asks the volume and not the server, which may not be there any more. volume: another one than the stack's.
    """
    name, wanted = volume or stack.prefix("postgres"), images.references(settings.images.source)["postgres"]
    if name not in docker.run("volume", "ls", "--quiet").split():
        return None
    mount = f"--volume={name}:{DATA_FOLDER}:ro"
    there, _, here = docker.run(*OFFLINE, f"--user={USER}", mount, "--entrypoint=sh", wanted, "-c", _MAJORS).partition("\n")
    major = _MAJOR.search(here)
    return (there, major[1]) if there and major else None


def major_of_image(docker: Docker, image: str) -> str:
    """Of an image of PostgreSQL that is on the daemon; UserError for any other image."""
    printed = docker.run(*OFFLINE, "--entrypoint=postgres", image, "--version")
    if major := _MAJOR.search(printed):
        return major[1]
    raise UserError(f"image {image}: does not say which PostgreSQL is in it; build it again with script/up")


def _refuse_other_major(stack: Stack, docker: Docker, settings: Settings) -> None:
    if _image(stack, docker) == images.references(settings.images.source)["postgres"]:
        return
    found = majors(stack, docker, settings)
    if found is None or found[0] == found[1]:
        return
    there, here = found
    way = "check out the version that it ran"
    if int(there) < int(here):
        way = f"run bin/ops upgrade-database -s {stack}, which tries {here} on a copy first, or {way}"
    raise UserError(
        f"stack {stack}: nothing was changed: its data is of PostgreSQL {there}, and {here} of this checkout does not start on "
        f"that; {way} (docs/upkeep.md)"
    )


def _postgres_changes(stack: Stack, docker: Docker, settings: Settings) -> bool:
    return _image(stack, docker) not in (None, images.references(settings.images.source)["postgres"])


def _image(stack: Stack, docker: Docker) -> str | None:
    """Of PostgreSQL's container, if there is one."""
    name = stack.prefix("postgres")
    return str(docker.inspect(name)["Config"]["Image"]) if docker.has(name) else None
