"""What ``script/up`` needs of a Swarm's machines before it changes anything, and the shared folder that it makes.

A machine that is down keeps no update from being carried out: the others take its tasks. Not here: what is wrong with machines
besides (ops/observe/doctor/cluster_checks.py), and the images on them (ops/images/spread.py).
"""

from components.host import images
from components.host.skyvern import SKYVERN_ID
from components.host.volumes import SKYVERN_FOLDERS
from components.settings import Settings
from ops.backups import share
from ops.backups.preflight import in_folder, refuse_different
from ops.clients.docker import Docker
from ops.clients.swarm import Swarm
from ops.clients.terminal import Progress
from ops.errors import UserError
from ops.observe import cluster as clusters
from ops.observe.doctor import cluster_checks
from ops.stack.stack import Stack

# Of these, what can be made again.
STATES = ("backup", "monitor")
# Root of one machine is nobody on many shares.
_MAKE = (
    share.MAKE_PARTS
    + """
set -eu
umask 027
stack=$1 owner=$2
shift 2
cd /shared
mkdir -p "$stack" 2> /dev/null || true
if [ "$(id -u)" = 0 ]; then
  chown "$owner:$owner" "$stack" 2> /dev/null || true
  exit
fi
cd "$stack"
make_parts "$@"
for folder in "$@"; do
  : > "${folder%=*}/.try"
  rm "${folder%=*}/.try"
done
"""
)
_NO_FOLDER = "bind source path does not exist"


def check(stack: Stack, docker: Docker, settings: Settings, say: Progress) -> None:
    """UserError where services could not run, or would run unprotected; a line for what else is wrong.

    Nothing on plain Docker.
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
    for finding in cluster_checks.problems(cluster, stack):
        say(f"{finding.level}: {finding.subject}: {finding.problem}; {finding.fix}")


def make_shared_folder(stack: Stack, docker: Docker, settings: Settings, say: Progress) -> None:
    """The stack's folders below ``host.shared_folder``, which every machine has to see; UserError for one that does not.

    The images have to be there. Nothing without such a folder.
    """
    folder = stack.shared_folder
    if folder is None:
        return
    image = images.references(settings.images.source)["backup"]
    (shared, _, name), first = folder.rpartition("/"), docker.daemons[0]
    where = f"nothing was changed: {stack.file_name}: host.shared_folder: {shared}"
    # Where root is nobody, only there.
    give = f"in the share's folder on the machine that keeps it, run: sudo install -d -o {SKYVERN_ID} -g {SKYVERN_ID} {name}"
    try:
        made = [name, str(SKYVERN_ID), *share.parts_with_modes((*SKYVERN_FOLDERS, *STATES))]
        in_folder(first, shared, image, _MAKE, made, "--user=0:0", "--cap-add=CHOWN", "--cap-add=DAC_OVERRIDE")
        in_folder(first, shared, image, _MAKE, made)
    except UserError as failed:
        if _NO_FOLDER in str(failed):
            raise UserError(f"{where}: does not exist at {first.host}; mount the share there, on every machine") from failed
        raise UserError(f"{where}: user {SKYVERN_ID} cannot write there at {first.host} ({failed.line}); {give}") from failed
    refuse_different(docker.daemons, folder, image, where)
    say(f"{folder} is the same on {len(docker.daemons)} machines")
