"""Trials of a place for backups before ``script/up`` changes anything: can a repository be kept there.

Asked only where the stack has no backup at this place yet: a place that is away for a while must not hold up an update.
Not here: what the running backup finds (ops/observe/backups.py).
"""

import json
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from components.host import images
from components.host.backup import REPOSITORY_FOLDER, repository_environment
from components.host.skyvern import SKYVERN_ID
from components.settings import NoBackup, PathBackup, Settings, SomeBackup
from ops.backups.container import PROGRAM, clause
from ops.clients.docker import HARDENED, Docker
from ops.clients.terminal import Progress
from ops.errors import UserError, explained
from ops.stack.secrets import generated, given
from ops.stack.stack import Stack

TRY_SECONDS = 60
# Without a key there is no repository yet; any other one shows whether there is one of somebody else's.
_NO_KEY = "none"
_GIVE = f"""
set -eu
cd /shared
[ -n "$(ls -A .)" ] || chown {SKYVERN_ID}:{SKYVERN_ID} . 2> /dev/null || true
"""
_USABLE = "cd /shared && touch .try && rm .try"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A repository as a container of ours reaches it.

    variables: restic's, secrets among them. flags: of ``docker run``. folder: of the Docker host, where the repository is in one.
    """

    variables: Mapping[str, str] = field(repr=False)
    flags: tuple[str, ...]
    folder: str | None = None


def check(stack: Stack, docker: Docker, settings: Settings, progress: Progress) -> None:
    """Raises UserError with one line for what keeps a repository from being there; the image has to be there."""
    wanted = settings.backup
    if isinstance(wanted, NoBackup) or _is_in_use(stack, docker, wanted):
        return
    image = images.references(settings.images.source)["backup"]
    where = f"{stack.file_name}: backup"
    if isinstance(wanted, PathBackup):
        _check_folder(stack, docker, wanted, image, where, progress)
    key = generated(stack, "backup").get("backup")
    there = place(stack, wanted, _NO_KEY if key is None else key.get_secret_value())
    try:
        run(docker, image, there, PROGRAM, "try")
    except UserError as failed:
        said = clause(failed)
        if key is None and "does not open" in said:
            said = "a repository of another stack is there; choose another place, or restore that stack with ops restore --kit"
        raise UserError(f"nothing was changed: {where}: {said}") from failed
    progress("the backups' place can be used")


def place(stack: Stack, wanted: SomeBackup, key: str) -> Place:
    """The place of the stack file with its secrets opened. key: the repository's."""

    common = {
        "RESTIC_CACHE_DIR": "/tmp/cache",  # noqa: S108
        "RESTIC_PASSWORD": key,
        "BACKUP_HOST": f"skyvern-{stack.short}",
        "TRY_SECONDS": str(TRY_SECONDS),
    }
    # The stack's own network for another machine may not be there yet, or be of containers that do not run.
    flags: tuple[str, ...] = ("--network=host",)
    folder = wanted.path if isinstance(wanted, PathBackup) else None
    if folder is not None:
        flags = ("--network=none", _mount(folder, REPOSITORY_FOLDER))
    opened = repository_environment(wanted, lambda name: given(stack, f"backup.{name}").get_secret_value())
    return Place(variables={**common, **opened}, flags=flags, folder=folder)


def _mount(folder: str, path: str) -> str:
    """The flag for a folder of the machine; not ``--volume``, which would make one that is missing."""
    return f"--mount=type=bind,source={folder},target={path}"


# Of containers that stay for a while, and of those that end by themselves.
KEPT = ("--init", *HARDENED)
HARDENING = ("--rm", *KEPT, "--memory=1024m")
OFFLINE = ("run", *HARDENING, "--network=none")


def run(
    docker: Docker, image: str, there: Place, *command: str, flags: tuple[str, ...] = (), timeout_seconds: float = 180
) -> str:
    """Output of a command in a throw-away container that reaches the repository; UserError when it fails."""
    names = [f"--env={name}" for name in there.variables]
    scratch = ("--tmpfs=/tmp:mode=1777", OURS, "--hostname=backup-ops")
    with explained(lambda failed: _refusal(docker, there.folder, failed)):
        return docker.run_with(
            there.variables,
            *("run", *HARDENING, *scratch, *there.flags, *names, *flags, image, *command),
            timeout_seconds=timeout_seconds,
        )


def _refusal(docker: Docker, folder: str | None, failed: UserError) -> str:
    """What is wrong with a place, by what Docker or the command says."""
    if folder is None or NO_FOLDER not in str(failed):
        return str(failed)
    return (
        f"{folder} does not exist at {docker.host}: mount its disk; or for a new folder, run there: {_install('-m 700 ', folder)}"
    )


def _install(flags: str, folder: str) -> str:
    """The command that makes a folder of the backup's user, or gives it to that user."""
    return f"sudo install -d -o {SKYVERN_ID} -g {SKYVERN_ID} {flags}{shlex.quote(folder)}"


# Of the user that Skyvern is.
OURS = f"--user={SKYVERN_ID}:{SKYVERN_ID}"
# What Docker says of a folder to mount that is missing.
NO_FOLDER = "bind source path does not exist"
_SEE = 'cd /shared && [ -e "$1" ] && : > "$1.try" && rm "$1.try"'


def in_folder(
    docker: Docker,
    folder: str,
    image: str,
    script: str,
    arguments: Sequence[str],
    *flags: str,
    timeout_seconds: float = 120,
) -> str:
    """Output of a script that has a folder of the machine at /shared; UserError if it fails, or the folder is not there.

    flags: of ``docker run`` in place of the user.
    """
    command = (_mount(folder, "/shared"), image, "sh", "-c", script, "shared", *arguments)
    return docker.run(*OFFLINE, *(flags or (OURS,)), *command, timeout_seconds=timeout_seconds)


def refuse_different(daemons: Sequence[Docker], folder: str, image: str, where: str) -> None:
    """UserError unless a folder has the same content on the machines of all daemons, and can be written to there."""
    token = f".seen-{secrets.token_hex(8)}"
    first, *others = daemons
    if not others:
        return
    with explained(lambda failed: f"{where}: cannot be written to at {first.host} ({failed.line}); correct that"):
        in_folder(first, folder, image, ': > "/shared/$1"', [token])
    try:
        for daemon in others:
            try:
                in_folder(daemon, folder, image, _SEE, [token])
            except UserError as failed:
                raise UserError(
                    f"{where}: what {first.host} wrote there is not there at {daemon.host}, or cannot be written to "
                    f"({failed.line}); mount the same share at that path on every machine"
                ) from failed
    finally:
        in_folder(first, folder, image, 'rm -f "/shared/$1"', [token])


def _is_in_use(stack: Stack, docker: Docker, wanted: SomeBackup) -> bool:
    """Whether the stack's backup already has this place."""
    name = stack.prefix("backup")
    if not docker.has(name):
        return False
    try:
        document = docker.inspect(name)
    except UserError:
        # On a Swarm, no task of it runs.
        return False
    if isinstance(wanted, PathBackup):
        return any(mount.get("Source") == wanted.path for mount in document.get("Mounts") or [])
    return f"RESTIC_REPOSITORY={wanted.repository}" in (document["Config"].get("Env") or [])


def _check_folder(stack: Stack, docker: Docker, wanted: PathBackup, image: str, where: str, progress: Progress) -> None:
    """A folder apart from the checkout and Docker's data, that user 10001 can write to; an empty one is given to that user."""
    docker_root = json.loads(docker.run("info", "--format", "{{json .DockerRootDir}}"))
    for other, whose in ((str(stack.root), "this checkout"), (docker_root, "Docker's data")):
        if wanted.path == other or wanted.path.startswith(f"{other.rstrip('/')}/"):
            raise UserError(f"nothing was changed: {where}.path: {wanted.path} is inside {whose} ({other}); write another")
    try:
        _give_or_make(stack, docker, wanted.path, image, progress)
        in_folder(docker, wanted.path, image, _USABLE, [])
    except UserError as failed:
        if NO_FOLDER in str(failed):
            raise UserError(f"nothing was changed: {where}.path: {_refusal(docker, wanted.path, failed)}") from failed
        raise UserError(
            f"nothing was changed: {where}.path: {wanted.path} cannot be written to by user {SKYVERN_ID} ({failed}); run: "
            f"{_install('', wanted.path)}"
        ) from failed
    # On a Swarm, the backup is on any machine.
    refuse_different(docker.daemons, wanted.path, image, f"nothing was changed: {where}.path: {wanted.path}")


def _give_or_make(stack: Stack, docker: Docker, folder: str, image: str, progress: Progress) -> None:
    """``_give`` for the folder; the one of Pulumi.prod.yaml is made, because it is on no disk that could be missing."""
    try:
        _give(docker, folder, image)
    except UserError as failed:
        if NO_FOLDER not in str(failed) or folder != f"/var/backups/skyvern-{stack.short}":
            raise
        docker.run(*OFFLINE, f"--volume={folder}:/shared", image, "true")
        _give(docker, folder, image)
        progress(f"made {folder} at {docker.host}")


def _give(docker: Docker, folder: str, image: str) -> None:
    """Makes an empty folder the backup's user's, where root may."""
    in_folder(docker, folder, image, _GIVE, [], "--user=0:0", "--cap-add=CHOWN")
