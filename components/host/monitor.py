"""The monitor: the dashboard of runs, failures, costs and schedules, and the alerts (docs/monitoring.md)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pulumi

from components.endpoints import Endpoints
from components.host import backup
from components.host.postgres import Access
from components.host.service import DockerEngine, Engine, HardenedService, Health, Mount, ServiceArgs
from components.host.skyvern import SKYVERN_ID
from components.host.volumes import STARTED_FOLDER, Place, read_started, state_place
from components.settings import MonitorSettings

# In the container.
STATE_FOLDER = "/var/lib/monitor"


@dataclass(frozen=True, kw_only=True)
class MonitorArgs:
    """Inputs of the monitor.

    password: of its role of the database; secret. access: to PostgreSQL. network: of the gateway and of nobody else.
    organization_id, smoke_organization_id: whose runs are shown. backup: where the backup's notes are, if the stack has one.
    drill_days: between two of its drills, 0 for none. timezone: days begin in it. language: ``frontend.language``.
    minutes_by_hand: title of a workflow -> minutes a person needs. started: part -> where its container marks that it began.
    alerts: the network to the channels of its messages, its heartbeat and a PostgreSQL elsewhere; None without these.
    command, outgoing_environment: for a company's proxy. engine: what runs it. shared_folder: of all machines, if any.
    """

    prefix: str
    image: str
    endpoints: Endpoints
    password: pulumi.Input[str]
    access: Access
    network: pulumi.Input[str]
    organization_id: pulumi.Input[str]
    smoke_organization_id: pulumi.Input[str]
    timezone: str
    language: str
    backup: Place | None
    drill_days: int
    settings: MonitorSettings
    minutes_by_hand: Mapping[str, float]
    started: Mapping[str, Mount]
    alerts: pulumi.Input[str] | None
    command: Sequence[pulumi.Input[str]] | None
    outgoing_environment: Mapping[str, pulumi.Input[str]]
    engine: Engine = field(default_factory=DockerEngine)
    shared_folder: str | None = None


class Monitor(pulumi.ComponentResource):
    """Pages behind the gateway's login, and metrics behind its key. It asks PostgreSQL as a role that reads counts, titles and
    times: over its socket, if it is in the stack.

    With channels or a heartbeat it has something to send, over a separate network. It has no Docker socket, and reads no file of
    a run. What the database may be asked: components/host/monitor.sql.
    """

    def __init__(self, name: str, args: MonitorArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:host:Monitor", name, None, opts)
        # What was told, and tokens that a channel renews: both can be made again, so it is not protected.
        state = state_place(f"{name}-state", args.prefix, "monitor", self, args.shared_folder)
        kept = [] if args.backup is None else [args.backup.at(backup.STATE_FOLDER, read_only=True)]
        service = HardenedService(
            f"{name}-pages",
            ServiceArgs(
                part="monitor",
                prefix=args.prefix,
                image=args.image,
                # Skyvern's and the backup's number, because the notes of the backup are closed to everybody else.
                user=f"{SKYVERN_ID}:{SKYVERN_ID}",
                command=args.access.command(args.command or ["monitor-start"]),
                environment={
                    # A host for which the gateway answers Skyvern's heartbeat.
                    "API_HOST": urlsplit(args.endpoints.api_url).hostname or "",
                    "APP_URL": args.endpoints.app_url,
                    **({} if args.backup is None else {"BACKUP_FOLDER": backup.STATE_FOLDER}),
                    **({"DRILL_DAYS": str(args.drill_days)} if args.drill_days else {}),
                    **({"METRICS": "true"} if args.settings.metrics else {}),
                    **self._alerts(args),
                    **self._minutes_by_hand(args.minutes_by_hand),
                    "MONITOR_DATABASE": args.access.connection(args.access.monitor),
                    "ORGANIZATION_ID": args.organization_id,
                    "PGPASSWORD": args.password,
                    "SMOKE_ORGANIZATION_ID": args.smoke_organization_id,
                    "STACK": args.prefix.removeprefix("skyvern-"),
                    "STARTED_FOLDER": STARTED_FOLDER,
                    "STATE_FOLDER": STATE_FOLDER,
                    "TZ": args.timezone,
                    "UI_LANGUAGE": args.language,
                },
                networks=[args.network, *([] if args.alerts is None else [args.alerts])],
                mounts=[*args.access.mounts, state.at(STATE_FOLDER), *kept, *read_started(args.started)],
                memory_mib=128,
                cpus=0.5,
                health=Health(command=["monitor-healthy"], start_seconds=60),
                # The new one writes when the old one has gone (images/monitor/watch.py).
                hand_over=True,
                engine=args.engine,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.container_name = service.container_name
        self.register_outputs({})

    @staticmethod
    def _minutes_by_hand(minutes: Mapping[str, float]) -> Mapping[str, str]:
        """One spelling of the same minutes, so that another order of files changes nothing."""
        text = json.dumps(minutes, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        return {"MINUTES_BY_HAND": text} if minutes else {}

    @staticmethod
    def _alerts(args: MonitorArgs) -> Mapping[str, pulumi.Input[str]]:
        settings = args.settings
        if not settings.sends:
            return {}
        addresses = {"CHANNELS": settings.channels, "HEARTBEAT": settings.heartbeat}
        return {
            **args.outgoing_environment,
            **{
                name: pulumi.Output.secret(address.get_secret_value())
                for name, address in addresses.items()
                if address is not None
            },
            **({} if settings.quiet_hours is None else {"QUIET_HOURS": settings.quiet_hours}),
            "STUCK_MINUTES": str(settings.stuck_minutes),
        }
