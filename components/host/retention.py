"""Removes old recordings, downloads and logs, which Skyvern keeps for ever."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import pulumi

from components.host.service import DockerEngine, Engine, HardenedService, Health, ServiceArgs
from components.host.skyvern import SKYVERN_ID
from components.host.volumes import DataVolumes, folder_path
from components.settings import RetentionSettings

# Rounds are an hour apart. A machine that was off for longer than this waits another day, which does no harm.
JUMP_DAYS = 2

# Setting -> folders of Skyvern it counts for.
_FOLDERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"artifacts": ("artifacts",), "downloads": ("downloads",), "logs": ("har", "log"), "videos": ("videos",)}
)

# Files among the artifacts that are not records of a run (1.0.56, artifact/storage/local.py): generated scripts that workflows
# run by, files that people uploaded (one folder a day) and the list of global workflows.
_KEPT = r"/[^/]+/(global_workflows\.txt|o_[^/]+/(scripts|[0-9]{4}-[0-9]{2}-[0-9]{2})/.*)"

# -P (the default) and -xdev: no symlink is followed and no other file system entered. -delete works relative to the folder that
# find has open, so a folder that is swapped for a link meanwhile leads nowhere. What is printed about names is cut to plain
# letters, because pages choose the names of downloads.
RETENTION_SCRIPT = r"""
set -u -o pipefail
trap 'exit 0' TERM

# A clock that runs ahead makes every file old. So the time of each round is kept beside the data, and after a jump (or a time
# without rounds) nothing is removed for a day, in which somebody can set the clock right.
mark="${RETENTION%%=*}/.retention-round"
jump="${RETENTION%%=*}/.retention-jump"

clock_is_trusted() {
  [ -e "$mark" ] && [ -n "$(find "$mark" -mmin "+$((JUMP_DAYS * 1440))")" ] || return 0
  [ -n "$(find "$jump" -mmin +1440 2> /dev/null)" ] && return 0
  # A note from the future is of a clock that has been set back since.
  [ -n "$(find "$jump" ! -newermt now 2> /dev/null)" ] || touch "$jump"
  return 1
}

remove_old() {
  find "$1" -ignore_readdir_race -mindepth 1 -xdev -regextype posix-extended -type f -mmin "+$(($2 * 1440))" \
    ! -regex "$1$KEPT" ! -name '.retention-*' -delete -printf '%s\t%P\n' | awk -F '\t' -v name="${1##*/}" '
    { count++; bytes += $1; split($2, part, "/"); top = part[1] "/" part[2]; gsub(/[^A-Za-z0-9._\/-]/, "?", top) }
    !(top in seen) { seen[top]; if (++tops <= 10) list = list " " top }
    END {
      printf "%s %d files %.1f MiB; ", name, count, bytes / 1048576
      if (tops > 10) list = list " and " (tops - 10) " more"
      if (tops) print "retention: debug: " name ":" list > "/dev/stderr"
    }'
}

# Not the young ones: a run makes its folder before the first file is in it.
remove_empty() {
  find "$1" -ignore_readdir_race -mindepth 1 -xdev -depth -type d -empty -mmin +1440 -delete
}

while :; do
  if ! clock_is_trusted; then
    # Healthy all the same: a machine that was off for a week must come up.
    touch "${TMPDIR:-/tmp}/succeeded"
    echo "retention: WAITS: the last round was on $(date -u -r "$mark" +%F) and now it is $(date -u +%F)," \
      "so nothing is removed before a day has passed" >&2
    sleep 3600 &
    wait $!
    continue
  fi
  failed=''
  report=''
  for rule in $RETENTION; do
    path=${rule%%=*}
    part=$(remove_old "$path" "${rule#*=}") || failed="$failed $path"
    report="$report$part"
    remove_empty "$path" || failed="$failed $path"
  done
  rm -f "$jump"
  touch "$mark" || failed="$failed $mark"
  echo "retention: removed: ${report%; }"
  if [ -z "$failed" ]; then
    touch "${TMPDIR:-/tmp}/succeeded"
  else
    rm -f "${TMPDIR:-/tmp}/succeeded"
    echo "retention: FAILED in:$failed" >&2
  fi
  sleep 3600 &
  wait $!
done
"""

# Where sets of the files are made: whoever removes files of a folder holds its lock meanwhile, and a set that is being made holds
# all of them (images/backup/skyvern-backup). A start in the middle of one is no failure.
_BESIDE_A_BACKUP = r"""
find() { flock "$1" find "$@"; }
for rule in $RETENTION; do flock --nonblock "${rule%%=*}" true || touch "${TMPDIR:-/tmp}/succeeded"; done
"""


def rules(settings: RetentionSettings) -> dict[str, int]:
    """Days by folder (``har``), sorted; a folder that is kept for ever is not in it."""
    kept = {name: getattr(settings, name) for name in _FOLDERS}
    return dict(sorted((folder, days) for name, days in kept.items() if days is not None for folder in _FOLDERS[name]))


@dataclass(frozen=True, kw_only=True)
class RetentionArgs:
    """Inputs of retention.

    image: the server's, because an empty volume takes over owner and mode of a folder from it. days: by folder.
    backup: whether sets of the files are made, during which nothing is removed. engine: what runs it. network: where that cannot
    leave it without one, a network with nothing else on it.
    """

    prefix: str
    image: str
    days: Mapping[str, int]
    backup: bool = False
    engine: Engine = field(default_factory=DockerEngine)
    network: pulumi.Input[str] | None = None


class Retention(pulumi.ComponentResource):
    """Removes files older than their days once an hour; healthy while the last run succeeded.

    Skyvern 1.0.56 never removes them (its ENABLE_CLEANUP_CRON sweeps temporary files only). It has no network and no secret.
    Not here: the rows in PostgreSQL, which still name what was removed, and browser profiles.
    """

    def __init__(self, name: str, args: RetentionArgs, volumes: DataVolumes, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:host:Retention", name, None, opts)
        service = HardenedService(
            f"{name}-find",
            ServiceArgs(
                part="retention",
                prefix=args.prefix,
                image=args.image,
                user=f"{SKYVERN_ID}:{SKYVERN_ID}",
                entrypoint=["bash", "-c"],
                command=[_BESIDE_A_BACKUP + RETENTION_SCRIPT if args.backup else RETENTION_SCRIPT],
                environment={
                    "JUMP_DAYS": str(JUMP_DAYS),
                    "KEPT": _KEPT,
                    "RETENTION": " ".join(f"{folder_path(folder)}={days}" for folder, days in args.days.items()),
                },
                networks=[] if args.network is None else [args.network],
                mounts=volumes.mounts(*args.days),
                memory_mib=64,
                cpus=0.5,
                # The first run over a full disk takes a while.
                health=Health(command=["test", "-e", "/tmp/succeeded"], start_seconds=120),  # noqa: S108
                stop_seconds=5,
                engine=args.engine,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.container_name = service.container_name
        self.register_outputs({})
