"""Backups: sets of the database and of Skyvern's files, encrypted, in a restic repository (docs/backup.md)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import pulumi

from components.host.postgres import Access
from components.host.service import DockerEngine, Engine, HardenedService, Health, Mount, ServiceArgs
from components.host.skyvern import SKYVERN_ID
from components.host.volumes import SKYVERN_FOLDERS, DataVolumes, state_place
from components.settings import PathBackup, S3Backup, SftpBackup, SomeBackup

# In the container.
REPOSITORY_FOLDER = "/repository"
STATE_FOLDER = "/var/lib/backup"


Secret = TypeVar("Secret")


def repository_environment(settings: SomeBackup, opened: Callable[[str], Secret]) -> dict[str, str | Secret]:
    """restic's variables for where the repository is, and for what opens the place; not for its own key.

    opened: gives a secret of the section by its name.
    """
    match settings:
        case S3Backup():
            return {
                "AWS_ACCESS_KEY_ID": settings.access_key_id,
                "AWS_DEFAULT_REGION": settings.region,
                "AWS_SECRET_ACCESS_KEY": opened("secret_access_key"),
                "RESTIC_REPOSITORY": settings.repository,
            }
        case SftpBackup():
            return {
                "RESTIC_REPOSITORY": settings.repository,
                "SFTP_KEY": opened("private_key"),
                "SFTP_KNOWN_HOST": settings.known_hosts,
                "SFTP_PORT": str(settings.port),
            }
        case _:
            return {"BACKUP_PLACE": settings.path, "RESTIC_REPOSITORY": REPOSITORY_FOLDER}


@dataclass(frozen=True, kw_only=True)
class BackupArgs:
    """Inputs of the backup.

    image: PostgreSQL's with restic beside it, so that a dump is made by the server's own pg_dump.
    key: encrypts the repository; without it no set can be read. role_password: of Skyvern's role, which may read its tables.
    access: to PostgreSQL. network: the way to the machine that keeps the repository, and to a PostgreSQL elsewhere; None without.
    engine: what runs it. shared_folder: of all machines, if any.
    """

    prefix: str
    image: str
    settings: SomeBackup
    key: pulumi.Input[str]
    role_password: pulumi.Input[str]
    access: Access
    network: pulumi.Input[str] | None
    engine: Engine = field(default_factory=DockerEngine)
    shared_folder: str | None = None


class Backup(pulumi.ComponentResource):
    """Makes a set when one is due, and is healthy while the newest set in the repository is young enough.

    It reads the data volumes and cannot write to them; PostgreSQL it reaches by its socket, and a network it has only where the
    repository or PostgreSQL is on another machine, with nothing else of the stack on it.
    Not here: restoring (ops restore), which fills new volumes; the work itself (images/backup/skyvern-backup).
    """

    def __init__(self, name: str, args: BackupArgs, volumes: DataVolumes, opts: pulumi.ResourceOptions | None = None) -> None:
        # For the policy pack, which sees what resources are given and no stack file. Not on the container: it would be replaced.
        drilled = args.settings.drilled
        super().__init__("skyvern:host:Backup", name, None if drilled is None else {"drilled": drilled}, opts)
        # What it has seen, and a cache of the repository's index: both can be made again, so it is not protected.
        state = state_place(f"{name}-state", args.prefix, "backup", self, args.shared_folder)
        folder = [Mount(host_folder=args.settings.path, path=REPOSITORY_FOLDER)] if isinstance(args.settings, PathBackup) else []
        service = HardenedService(
            f"{name}-restic",
            ServiceArgs(
                part="backup",
                prefix=args.prefix,
                image=args.image,
                user=f"{SKYVERN_ID}:{SKYVERN_ID}",
                command=args.access.command(["skyvern-backup", "run"]),
                environment=self._environment(args),
                networks=[] if args.network is None else [args.network],
                mounts=[
                    *volumes.mounts(*SKYVERN_FOLDERS, read_only=True),
                    *args.access.mounts,
                    state.at(STATE_FOLDER),
                    *folder,
                ],
                memory_mib=512,
                # A set takes what nobody else wants for its half minute, and gives way to the runs.
                cpu_shares=256,
                # The first set begins at once; it is the repository that has to be usable by then. Later it is about the age of
                # the newest set, and a restart would end the one that is being made.
                health=Health(
                    command=["skyvern-backup", "healthy"],
                    start_seconds=180,
                    interval_seconds=30,
                    timeout_seconds=10,
                    retries=3,
                    restart_cures=False,
                ),
                # restic takes its lock off the repository.
                stop_seconds=20,
                engine=args.engine,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.container_name = service.container_name
        # What it has seen, for the monitor.
        self.notes = state
        self.register_outputs({})

    @staticmethod
    def _environment(args: BackupArgs) -> Mapping[str, pulumi.Input[str]]:
        settings = args.settings

        def opened(name: str) -> pulumi.Output[str]:
            # Without the line break at the end of a file.
            return pulumi.Output.secret(getattr(settings, name).get_secret_value().strip())

        return {
            **repository_environment(settings, opened),
            # By which a repository knows the stack's sets and locks, also after its machine has another name.
            "BACKUP_HOST": args.prefix,
            "EVERY_HOURS": str(settings.every_hours),
            # Its threads, each with megabytes on the way, would be as many as the machine has processors.
            "GOMAXPROCS": "2",
            # restic's own memory follows the size of the index; this keeps it from growing to the limit before it tidies up.
            "GOGC": "50",
            "KEEP": " ".join(settings.keep_rules),
            "MAX_AGE_HOURS": str(settings.max_age_hours),
            **args.access.environment,
            "PGDATABASE": args.access.database,
            "PGPASSWORD": args.role_password,
            "PGUSER": args.access.role,
            "RESTIC_CACHE_DIR": f"{STATE_FOLDER}/cache",
            "RESTIC_PASSWORD": args.key,
            **({"DRILL_EVERY_DAYS": str(settings.drill_every_days)} if settings.drill_every_days else {}),
            # The bucket refuses to delete what is younger.
            **({"LOCKED_DAYS": str(settings.locked_days)} if isinstance(settings, S3Backup) and settings.locked_days else {}),
        }
