"""The monitor: the dashboard of runs, failures, costs and schedules, and the alerts (docs/monitoring.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from components.endpoints import Endpoints
from components.host import backup
from components.host.postgres import DATABASE, MONITOR_ROLE, SOCKET_FOLDER
from components.host.service import HardenedService, Health, Mount, ServiceArgs
from components.host.skyvern import SKYVERN_ID
from components.host.volumes import local_volume
from components.settings import MonitorSettings

# In the container.
STATE_FOLDER = "/var/lib/monitor"


@dataclass(frozen=True, kw_only=True)
class MonitorArgs:
    """Inputs of the monitor.

    password: of its role of the database; secret. socket: PostgreSQL's. network: of the gateway and of nobody else.
    organization_id, smoke_organization_id: whose runs are shown. backup: name of the backup's volume, if the stack has one.
    timezone: days begin in it. language: ``frontend.language``.
    alerts: the network to the channels of its messages; None without any. command, outgoing_environment: for a company's proxy.
    """

    prefix: str
    image: str
    endpoints: Endpoints
    password: pulumi.Input[str]
    socket: Mount
    network: pulumi.Input[str]
    organization_id: pulumi.Input[str]
    smoke_organization_id: pulumi.Input[str]
    timezone: str
    language: str
    backup: pulumi.Input[str] | None
    settings: MonitorSettings
    alerts: pulumi.Input[str] | None
    command: Sequence[pulumi.Input[str]] | None
    outgoing_environment: Mapping[str, pulumi.Input[str]]


class Monitor(pulumi.ComponentResource):
    """Pages behind the gateway's login. It asks PostgreSQL over its socket, as a role that reads counts, titles and times.

    With channels it sends messages, over a separate network. It has no Docker socket, and reads no file of a run. What the
    database may be asked: components/host/monitor.sql.
    """

    def __init__(self, name: str, args: MonitorArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:host:Monitor", name, None, opts)
        # What was told, and tokens that a channel renews: both can be made again, so it is not protected.
        state = local_volume(f"{name}-state", args.prefix, "monitor", self)
        kept = [] if args.backup is None else [Mount(volume=args.backup, path=backup.STATE_FOLDER, read_only=True)]
        service = HardenedService(
            f"{name}-pages",
            ServiceArgs(
                part="monitor",
                prefix=args.prefix,
                image=args.image,
                # Skyvern's and the backup's number, because the notes of the backup are closed to everybody else.
                user=f"{SKYVERN_ID}:{SKYVERN_ID}",
                command=args.command or ["monitor-start"],
                environment={
                    "APP_URL": args.endpoints.app_url,
                    **({} if args.backup is None else {"BACKUP_FOLDER": backup.STATE_FOLDER}),
                    **self._alerts(args),
                    "MONITOR_DATABASE": f"host={SOCKET_FOLDER} dbname={DATABASE} user={MONITOR_ROLE}",
                    "ORGANIZATION_ID": args.organization_id,
                    "PGPASSWORD": args.password,
                    "SMOKE_ORGANIZATION_ID": args.smoke_organization_id,
                    "STACK": args.prefix.removeprefix("skyvern-"),
                    "STATE_FOLDER": STATE_FOLDER,
                    "TZ": args.timezone,
                    "UI_LANGUAGE": args.language,
                },
                networks=[args.network, *([] if args.alerts is None else [args.alerts])],
                mounts=[args.socket, Mount(volume=state, path=STATE_FOLDER), *kept],
                memory_mib=128,
                cpus=0.5,
                health=Health(command=["monitor-healthy"], start_seconds=60),
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.container_name = service.container_name
        self.register_outputs({})

    @staticmethod
    def _alerts(args: MonitorArgs) -> Mapping[str, pulumi.Input[str]]:
        settings = args.settings
        if settings.channels is None:
            return {}
        return {
            **args.outgoing_environment,
            "CHANNELS": pulumi.Output.secret(settings.channels.get_secret_value()),
            **({} if settings.quiet_hours is None else {"QUIET_HOURS": settings.quiet_hours}),
            "STUCK_MINUTES": str(settings.stuck_minutes),
        }
