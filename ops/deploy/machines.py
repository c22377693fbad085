"""What ``script/up`` needs of a Swarm's machines before it changes anything, and the shared folder that it makes.

A machine that is down keeps no update from being carried out: the others take its tasks. Not here: what is wrong with machines
besides (ops/observe/doctor/cluster_checks.py), and the images on them (ops/images/spread.py).
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath

from components.host.skyvern import SKYVERN_ID
from components.host.volumes import SKYVERN_FOLDERS
from components.settings import Settings
from ops.backups import share
from ops.backups.exchange import SEEN_SECONDS, image_of
from ops.backups.preflight import NO_FOLDER, in_folder, refuse_different
from ops.clients import process
from ops.clients.docker import Docker
from ops.clients.swarm import Swarm
from ops.clients.terminal import Progress
from ops.errors import UserError, explained
from ops.machine import daemon_config, system
from ops.observe import cluster as clusters
from ops.observe.cluster import Cluster, Node
from ops.observe.doctor import cluster_checks
from ops.stack import database, inventory
from ops.stack.stack import Stack

# Of these, what can be made again.
STATES = ("backup", "monitor")
# First as root, who is nobody on many shares, then as the user that Skyvern is, who has to be let in. Docker is root, and has to
# get through to the parts.
_MAKE = """
set -eu
umask 066
if [ "$(id -u)" = 0 ]; then
  mkdir -p "/shared/$1" 2> /dev/null || true
  chown "$2:$2" "/shared/$1" 2> /dev/null || true
else
  mkdir -p "/shared/$1"
fi
"""
_FILL = (
    share.MAKE_PARTS
    + """
set -eu
# It says why it cannot be entered, and cd does not.
ls /shared > /dev/null
cd /shared
# Of a version that let nobody through. Some shares refuse any change of rights.
[ ! -O . ] || chmod go+x . 2> /dev/null || true
make_parts "$@"
for folder in "$@"; do
  : > "${folder%=*}/.try"
  rm "${folder%=*}/.try"
done
"""
)
_WHICH_EXIST = """
cd /shared || exit 0
for folder in "$@"; do [ ! -e "$folder" ] || echo "$folder"; done
"""
_REMOVE_EMPTY = """
cd /shared || exit 0
rmdir "$@" 2> /dev/null || true
"""
# Of a service without a task that runs.
STOP_SECONDS = 60.0
# Until a machine has the time; a slow one takes half a minute to take the command alone.
CLOCK_SECONDS = 120.0
LOOK_SECONDS = 2.0
_AS_ROOT = ("--user=0:0", "--cap-add=CHOWN", "--cap-add=DAC_OVERRIDE")
# Of a program in the container or of Docker there, not of SSH on the way to it.
_NOT_ALLOWED = re.compile(r"docker: exit .*(permission denied|not permitted)", re.DOTALL | re.IGNORECASE)


def check(stack: Stack, docker: Docker, settings: Settings, say: Progress) -> None:
    """UserError where services could not run, or would run unprotected; a line for what else is wrong.

    Machines whose clocks are apart are asked to set them. Nothing on plain Docker.
    """
    if not isinstance(docker, Swarm):
        return
    refused = f"nothing was changed: {stack.file_name}: host"
    if docker.host != settings.host.docker_host:
        first = docker.machines[0]
        raise UserError(
            f"{refused}.docker_host: {first.host}: {first.problem or 'does not manage the Swarm'}, and Pulumi asks that one; "
            f"start it, or write {docker.host}, which manages it, as docker_host and {first.host} among host.nodes"
        )
    cluster = clusters.observe([machine.host for machine in docker.machines])
    soft = [node.host for node in cluster.nodes if node.state == "active" and not node.hardened]
    if soft:
        raise UserError(
            f"{refused}: what runs at {', '.join(soft)} would have another seccomp profile than the stack's, or may gain "
            f"privileges; run bin/ops cluster init -s {stack}"
        )
    for finding in cluster_checks.unlike([node for node in cluster.nodes if node.state == "active"], stack):
        raise UserError(f"{refused}.nodes: {finding.subject}: {finding.problem}; {finding.fix}")
    for finding in cluster_checks.problems(_with_clocks_set(cluster, say), stack):
        say(f"{finding.level}: {finding.subject}: {finding.problem}; {finding.fix}")


def _with_clocks_set(cluster: Cluster, say: Progress) -> Cluster:
    """The machines, once those whose clocks were apart have set them; as they are where that does not help."""
    asked: dict[str, bool] = {}
    deadline = time.monotonic() + CLOCK_SECONDS
    while (apart := cluster_checks.clocks_apart(cluster)) and time.monotonic() < deadline:
        asked |= {node.host: _keeps_time(node, say) for node in apart if node.host not in asked}
        if not any(asked.values()):
            break
        time.sleep(LOOK_SECONDS)
        cluster = clusters.observe([node.host for node in cluster.nodes])
    return cluster


def _keeps_time(node: Node, say: Progress) -> bool:
    """Whether a machine takes the command to set its clock, by the network, or in WSL by Windows. That it does is seen later."""
    command = daemon_config.on_machine(node.host, *system.set_clock(wsl=node.wsl).split(), root=True)
    source = "that of Windows" if node.wsl else "the network"
    try:
        process.capture(command, timeout_seconds=CLOCK_SECONDS)
    except UserError as failed:
        say(f"{node.host}: its clock cannot be set by {source}: {failed.line}")
        return False
    say(f"{node.host}: was asked to set its clock by {source}")
    return True


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """The folder of a stack on the share. daemons: of the machines that answer. alone: the only one of several."""

    stack: Stack
    folder: PurePosixPath
    image: str
    daemons: Sequence[Docker]
    alone: bool

    @property
    def where(self) -> str:
        """The beginning of a refusal."""
        return f"nothing was changed: {self.stack.file_name}: host.shared_folder: {self.folder.parent}"

    @property
    def host(self) -> str:
        """The machine that is asked, and on which folders are made."""
        return self.daemons[0].host

    @property
    def not_there(self) -> str:
        """That the machine does not have the folder."""
        return f"{self.where}: {self.folder.name} is not there at {self.host}"

    def line(self, failed: UserError) -> str:
        """What to do about a script that failed."""
        if NO_FOLDER in str(failed):
            return f"{self.where}: does not exist at {self.host}; mount the share there, on every machine"
        if _NOT_ALLOWED.match(str(failed)):
            # Where root is nobody, only there.
            return (
                f"{self.where}: user {SKYVERN_ID} cannot write there at {self.host} ({failed.line}); in the share's folder on "
                f"the machine that keeps it, run: sudo install -d -o {SKYVERN_ID} -g {SKYVERN_ID} {self.folder.name}"
            )
        return f"{self.where}: cannot be used at {self.host} ({failed.line}); correct that, then run this again"

    def exists(self) -> bool:
        """Whether the machine has it."""
        try:
            in_folder(self.daemons[0], str(self.folder), self.image, "true", [])
        except UserError as failed:
            if NO_FOLDER in str(failed):
                return False
            raise UserError(self.line(failed)) from failed
        return True

    def fill(self) -> None:
        """Makes the folders of parts where they are missing; UserError if one cannot be written to."""
        parts = share.parts_with_modes((*SKYVERN_FOLDERS, *STATES))
        with explained(self.line):
            in_folder(self.daemons[0], str(self.folder), self.image, _FILL, parts)

    def compare(self) -> None:
        """UserError unless all machines have the same one."""
        refuse_different(self.daemons, str(self.folder), self.image, self.where)

    @contextmanager
    def made(self) -> Iterator[None]:
        """Makes it, where it is missing. If the block fails, what is empty and was not there before is removed again."""
        first, shared, name = self.daemons[0], str(self.folder.parent), self.folder.name
        folders = [*(f"{name}/{part}" for part in (*SKYVERN_FOLDERS, *STATES)), name]
        with explained(self.line):
            before = in_folder(first, shared, self.image, _WHICH_EXIST, folders).split()
        if name not in before and self.alone:
            raise UserError(
                f"{self.not_there}, and no other machine answers that could show whether the share is mounted; start one, or "
                "take those that are gone out of host.nodes"
            )
        try:
            with explained(self.line):
                for flags in (_AS_ROOT, ()):
                    in_folder(first, shared, self.image, _MAKE, [name, str(SKYVERN_ID)], *flags)
            yield
        except BaseException:
            for flags in ((), _AS_ROOT):
                with suppress(UserError):
                    in_folder(first, shared, self.image, _REMOVE_EMPTY, [one for one in folders if one not in before], *flags)
            raise


def _shared(stack: Stack, docker: Docker, settings: Settings) -> _Shared | None:
    """None where the stack's data is in volumes. The images have to be there."""
    folder = stack.shared_folder
    if folder is None:
        return None
    return _Shared(
        stack=stack,
        folder=PurePosixPath(folder),
        image=image_of(stack),
        daemons=docker.daemons,
        alone=bool(settings.host.nodes) and len(docker.daemons) == 1,
    )


def make_shared_folder(stack: Stack, docker: Docker, settings: Settings, say: Progress) -> None:
    """The stack's folders below ``host.shared_folder``, which every machine has to see; UserError for one that does not.

    A stack that is there already has its folder, and only new parts are made in it: where the share is not mounted, another one
    would be on the machine's own disk, and tasks would start there without their data. The images have to be there.
    """
    shared = _shared(stack, docker, settings)
    if shared is None:
        return
    if inventory.labelled(docker, stack.short, "service"):
        if not shared.exists():
            raise UserError(
                f"{shared.not_there}; mount the share there, on every machine, or, if the share itself has lost it, run bin/ops "
                f"restore -s {stack}"
            )
        shared.compare()
        shared.fill()
    else:
        with shared.made():
            shared.fill()
            shared.compare()
    say(f"{shared.folder} is the same on {len(shared.daemons)} machines")


@contextmanager
def folder_for_restore(stack: Stack, say: Progress) -> Iterator[None]:
    """For a restore: the same folder on every machine, made again on a share that has lost it; UserError where it is not.

    If the block fails, one that was made is removed again. Nothing where the stack's data is in volumes.
    """
    docker, settings = stack.docker(), stack.settings()
    shared = _shared(stack, docker, settings)
    if shared is None:
        yield
    elif shared.exists():
        shared.compare()
        yield
    else:
        with _held(shared, docker, say), shared.made():
            # One on which tasks have waited for it may still have in its cache that there is none.
            database.until_ready(shared.compare, SEEN_SECONDS)
            # The other parts come with their data.
            share.make_parts(shared.daemons[0], shared.image, str(shared.folder), STATES)
            say(f"{shared.folder} was not there: made, and the same on {len(shared.daemons)} machines")
            yield


@contextmanager
def _held(shared: _Shared, docker: Docker, say: Progress) -> Iterator[None]:
    """Stops the services that wait for the folder: they would start on empty parts of it, which then change places with the data.

    The end of a restore starts them (ops/deploy/repair.py). If the block fails and the folder is gone again, they wait again.
    """
    replicas = inventory.replicas(docker, shared.stack.short)
    waiting = [service.name for service in replicas if service.wanted and not service.running]
    if waiting:
        say(f"{', '.join(waiting)} wait for {shared.folder}: stopped until the data is there")
    try:
        for name in waiting:
            docker.stop_part(name, timeout_seconds=STOP_SECONDS)
        yield
    except BaseException:
        with suppress(UserError):
            if not shared.exists():
                for name in waiting:
                    docker.start_part(name)
        raise
