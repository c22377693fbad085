"""Everything that runs on the Docker host, wired."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_docker as docker

from components.endpoints import Endpoints
from components.host import external_postgres, images, outgoing
from components.host.artifacts import FileServer, FileServerArgs
from components.host.backup import Backup, BackupArgs
from components.host.connectors import cloudflared, ngrok
from components.host.egress import EgressProxy, EgressProxyArgs
from components.host.external_postgres import ExternalPostgres, ExternalPostgresArgs
from components.host.firewall import Firewall, FirewallArgs, destinations
from components.host.gateway import Gateway, GatewayArgs
from components.host.monitor import Monitor, MonitorArgs
from components.host.network import Addressing, Networks, NetworksArgs
from components.host.ollama import Ollama, OllamaArgs
from components.host.postgres import Access, Postgres, PostgresArgs
from components.host.retention import Retention, RetentionArgs, rules
from components.host.service import DockerEngine, Engine
from components.host.skyvern import SKYVERN_ID, SkyvernServer, SkyvernServerArgs
from components.host.swarm import SwarmEngine
from components.host.volumes import SERVED_FOLDERS, DataVolumes, DataVolumesArgs
from components.secrets import StackSecrets
from components.settings import CdpBrowser, CloudflareEdge, NgrokEdge, NoBackup, NoEdge, OllamaLlm, RemoteBackup, Settings

# One connection for all that a plan does on another machine. The provider dials for each concurrent call, and sshd refuses new
# connections beyond ten that are not logged in yet (MaxStartups).
SSH_OPTIONS = ("-o", "ControlMaster=auto", "-o", "ControlPath=~/.ssh/skyvern-%C", "-o", "ControlPersist=60")


@dataclass(frozen=True, kw_only=True)
class TunnelEnd:
    """A Cloudflare Tunnel as its connector needs it. token: secret. routes: resources that must exist while it runs."""

    token: pulumi.Input[str]
    routes: Sequence[pulumi.Resource]


@dataclass(frozen=True, kw_only=True)
class DockerBackendArgs:
    """prefix: physical prefix of the stack, ``skyvern-dev``. tunnel: with a Cloudflare edge.

    gateway_after: resources that have to know the gateway's key before the gateway insists on it.
    minutes_by_hand: title of a workflow -> what a person needs for it, for the monitor.
    """

    prefix: str
    settings: Settings
    endpoints: Endpoints
    secrets: StackSecrets
    tunnel: TunnelEnd | None = None
    gateway_after: Sequence[pulumi.Resource] = ()
    minutes_by_hand: Mapping[str, float] = field(default_factory=dict)


class DockerBackend(pulumi.ComponentResource):
    """Skyvern, PostgreSQL (unless it is elsewhere), the gateway and the egress proxy on one Docker daemon, or on a Swarm."""

    def __init__(self, name: str, args: DockerBackendArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:host:DockerBackend", name, None, opts)
        settings, secrets, prefix = args.settings, args.secrets, args.prefix
        self._args = args
        # From the stack file, so a DOCKER_HOST of the shell does not decide where a plan goes. What is left out, the provider
        # takes from the shell: DOCKER_CONTEXT would go before the host, and DOCKER_CERT_PATH would dial it by TLS.
        address = settings.host.docker_host
        provider = docker.Provider(
            f"{name}-daemon",
            host=address,
            context="",
            cert_path="",
            ca_material="",
            cert_material="",
            key_material="",
            ssh_opts=SSH_OPTIONS if address.startswith("ssh://") else None,
            opts=pulumi.ResourceOptions(parent=self),
        )
        child = pulumi.ResourceOptions(parent=self, providers=[provider])
        self._references = references = images.references(settings.images.source)

        tunnelled = not isinstance(settings.edge, NoEdge)
        swarm = settings.host.engine == "swarm"
        self._engine: Engine = SwarmEngine(secrets.secret_key) if swarm else DockerEngine()
        # By a volume that both mount, so on one machine.
        self._monitored = settings.monitor.enabled and not swarm
        shared = settings.host.shared_folder
        days = rules(settings.retention)
        addressing = Addressing(
            prefix=prefix,
            networks=settings.host.networks,
            mtu=settings.host.mtu,
            overlay=swarm,
            encrypted=settings.host.encrypted,
        )
        elsewhere = settings.database.address
        has_backup = not isinstance(settings.backup, NoBackup)
        self._networks = networks = Networks(
            f"{name}-networks",
            NetworksArgs(
                addressing=addressing,
                tunnelled=tunnelled,
                backup=isinstance(settings.backup, RemoteBackup) or (has_backup and elsewhere is not None),
                monitor=settings.monitor.enabled,
                alerts=settings.monitor.sends or (settings.monitor.enabled and elsewhere is not None),
                database_elsewhere=elsewhere is not None,
                retention=swarm and bool(days),
            ),
            opts=child,
        )
        source = settings.images.source if elsewhere is None else None
        self.data = volumes = DataVolumes(
            f"{name}-data", DataVolumesArgs(prefix=prefix, image_source=source, shared_folder=shared), opts=child
        )
        ollama = (
            Ollama(
                f"{name}-ollama",
                OllamaArgs(
                    addressing=addressing,
                    after=networks.app_network,
                    image=references["llm"],
                    settings=settings.llm,
                    host=settings.host,
                ),
                opts=child,
            )
            if isinstance(settings.llm, OllamaLlm)
            else None
        )
        firewall = (
            Firewall(
                f"{name}-firewall",
                FirewallArgs(
                    prefix=prefix,
                    image=references["egress"],
                    inner={**networks.inner, **(ollama.inner if ollama else {})},
                    outward={**networks.outward, **(ollama.outward if ollama else {})},
                    reachable=destinations(settings),
                ),
                opts=child,
            )
            # Its rules are about bridges. On a Swarm the walls are internal networks.
            if settings.host.firewall and not swarm
            else None
        )
        # Whatever has a network starts behind the firewall, and is removed before it.
        guards = [] if firewall is None else [firewall]
        child = pulumi.ResourceOptions(parent=self, providers=[provider], depends_on=guards)
        if ollama is not None:
            ollama.start(guards)
        postgres = self._postgres(child)
        egress = EgressProxy(
            f"{name}-egress",
            EgressProxyArgs(
                prefix=prefix,
                image=references["egress"],
                networks=[networks.outgoing, networks.browsing, networks.smoke],
                port=settings.browser.proxy_port if isinstance(settings.browser, CdpBrowser) else None,
                allow=settings.browser.allow,
                inside=[networks.subnet(part) for part in ("outgoing", "browsing", "smoke")],
                parent=outgoing.squid_parent(settings.host),
                monitored=self._monitored,
                engine=self._engine,
            ),
            opts=child,
        )
        artifacts = FileServer(
            f"{name}-artifacts",
            FileServerArgs(
                part="artifacts",
                command="artifacts-start",
                prefix=prefix,
                image=references["artifacts"],
                # Skyvern's folders are closed to all but its user and group.
                group=SKYVERN_ID,
                network=networks.files,
                mounts=volumes.mounts(*SERVED_FOLDERS, read_only=True),
                engine=self._engine,
                replicas=2,
            ),
            opts=child,
        )
        smoke_site = FileServer(
            f"{name}-smoke-site",
            FileServerArgs(
                part="smoke-site",
                command="smoke-site",
                prefix=prefix,
                image=references["artifacts"],
                group=10003,
                network=networks.smoke,
                engine=self._engine,
            ),
            opts=child,
        )
        server = SkyvernServer(
            f"{name}-skyvern",
            SkyvernServerArgs(
                prefix=prefix,
                image=references["server"],
                endpoints=args.endpoints,
                settings=settings.server,
                browser=settings.browser,
                timezone=settings.host.timezone,
                llm=settings.llm,
                smtp=settings.smtp,
                storage=settings.storage,
                database_url=postgres.database_url,
                secret_key=secrets.secret_key,
                api_key=secrets.api_key,
                smoke_api_key=secrets.smoke_api_key,
                link_key=secrets.link_key,
                vault_key=secrets.vault_key,
                encryption_key=secrets.encryption_key,
                networks=[
                    networks.outgoing,
                    networks.app,
                    *([networks.data] if networks.data else []),
                    networks.browsing,
                    *([ollama.network] if ollama else []),
                ],
                command=self._server_command(settings, postgres.access),
                outgoing_environment=outgoing.server_environment(settings),
                engine=self._engine,
            ),
            volumes,
            # It migrates at once when it starts, so the role must be there.
            opts=pulumi.ResourceOptions(parent=self, providers=[provider], depends_on=[*guards, postgres.ready]),
        )
        gateway = Gateway(
            f"{name}-gateway",
            GatewayArgs(
                prefix=prefix,
                image=references["gateway"],
                endpoints=args.endpoints,
                port=None if tunnelled else settings.host.port,
                api_key=secrets.api_key,
                smoke_api_key=secrets.smoke_api_key,
                link_key=secrets.link_key,
                ui_password=secrets.ui_password,
                language=settings.frontend.language,
                networks=[networks.edge, networks.app, networks.files, *([networks.dashboard] if networks.dashboard else [])],
                gateway_key=secrets.gateway_key,
                metrics_key=secrets.metrics_key,
                connector_subnet=networks.edge_subnet,
                client_header=self._client_header(settings),
                monitor_subnet=networks.subnet("dashboard") if networks.dashboard else None,
                code=settings.server.code_blocks,
                upload_mib=settings.server.max_upload_mib,
                engine=self._engine,
            ),
            opts=pulumi.ResourceOptions(parent=self, providers=[provider], depends_on=[*guards, *args.gateway_after]),
        )
        connector = self._connector(provider, gateway)
        retention = (
            Retention(
                f"{name}-retention",
                RetentionArgs(
                    prefix=prefix,
                    image=references["server"],
                    days=days,
                    backup=secrets.backup_key is not None,
                    engine=self._engine,
                    network=networks.retention,
                ),
                volumes,
                opts=child,
            )
            if days
            else None
        )
        backup = (
            Backup(
                f"{name}-backup",
                BackupArgs(
                    prefix=prefix,
                    image=references["backup"],
                    settings=settings.backup,
                    key=secrets.backup_key,
                    role_password=secrets.database_password,
                    access=postgres.access,
                    network=networks.backup,
                    engine=self._engine,
                    shared_folder=shared,
                ),
                volumes,
                # The first set is made at once, and of a database that has its tables.
                opts=pulumi.ResourceOptions(parent=self, providers=[provider], depends_on=[*guards, server]),
            )
            if not isinstance(settings.backup, NoBackup) and secrets.backup_key is not None
            else None
        )
        monitor = (
            Monitor(
                f"{name}-monitor",
                MonitorArgs(
                    prefix=prefix,
                    image=references["monitor"],
                    endpoints=args.endpoints,
                    password=secrets.monitor_password,
                    access=postgres.access,
                    network=networks.dashboard,
                    organization_id=secrets.organization_id,
                    smoke_organization_id=secrets.smoke_organization_id,
                    timezone=settings.host.timezone,
                    language=settings.frontend.language,
                    backup=None if backup is None else backup.notes,
                    drill_days=0 if isinstance(settings.backup, NoBackup) else settings.backup.drill_every_days,
                    settings=settings.monitor,
                    minutes_by_hand=args.minutes_by_hand,
                    started={
                        **({} if egress.started is None else {"egress": egress.started}),
                        **({} if connector is None or connector.started is None else {"connector": connector.started}),
                    },
                    alerts=networks.alerts,
                    command=outgoing.with_certificates(settings.host, ["monitor-start"]),
                    outgoing_environment=outgoing.client_environment(settings.host),
                    engine=self._engine,
                    shared_folder=shared,
                ),
                opts=pulumi.ResourceOptions(parent=self, providers=[provider], depends_on=[*guards, postgres.ready]),
            )
            if networks.dashboard is not None and secrets.monitor_password is not None
            else None
        )
        self.containers: dict[str, pulumi.Output[str]] = {
            **postgres.containers,
            **(ollama.containers if ollama else {}),
            **({connector.part: connector.container_name} if connector else {}),
            **({"firewall": firewall.container_name} if firewall else {}),
            **({"retention": retention.container_name} if retention else {}),
            **({"backup": backup.container_name} if backup else {}),
            **({"monitor": monitor.container_name} if monitor else {}),
            "artifacts": artifacts.container_name,
            "egress": egress.container_name,
            "gateway": gateway.container_name,
            "server": server.container_name,
            "smoke-site": smoke_site.container_name,
        }
        self.register_outputs({})

    def _postgres(self, opts: pulumi.ResourceOptions) -> Postgres | ExternalPostgres:
        args, networks, references = self._args, self._networks, self._references
        settings, secrets = args.settings, args.secrets
        epochs = f"{settings.rotation.api_key}.{settings.rotation.ui_login}.{settings.rotation.gateway}"
        if settings.database.address is not None and networks.database is not None:
            return ExternalPostgres(
                f"{self._name}-postgres",
                ExternalPostgresArgs(
                    prefix=args.prefix,
                    image=references["backup"],
                    address=settings.database.address,
                    access=external_postgres.access(args.prefix, settings.database),
                    network=networks.database,
                    organization_id=secrets.organization_id,
                    role_password=secrets.database_password,
                    session_epochs=epochs,
                    monitor_password=secrets.monitor_password,
                    engine=self._engine,
                ),
                opts=opts,
            )
        if self.data.postgres is None or networks.data is None:
            raise ValueError("a PostgreSQL of the stack needs its volume and its network")
        return Postgres(
            f"{self._name}-postgres",
            PostgresArgs(
                prefix=args.prefix,
                image=references["postgres"],
                volume=self.data.postgres,
                network=networks.data,
                superuser_password=secrets.superuser_password,
                role_password=secrets.database_password,
                session_epochs=epochs,
                memory_mib=settings.database.memory_mib,
                cpus=settings.database.cpus,
                monitor_password=secrets.monitor_password,
            ),
            opts=opts,
        )

    @staticmethod
    def _server_command(settings: Settings, access: Access) -> list[pulumi.Input[str]] | None:
        """None for the image's own, where neither certificates have to be written first nor secrets read from files."""
        start: list[pulumi.Input[str]] = ["skyvern-start"]
        trusting = outgoing.with_certificates(settings.host, ["skyvern-start"])
        if access.certificates is None and settings.host.engine == "docker":
            return trusting
        return access.command(trusting or start)

    @staticmethod
    def _client_header(settings: Settings) -> str | None:
        match settings.edge:
            case CloudflareEdge():
                return cloudflared.CLIENT_HEADER
            case NgrokEdge():
                return ngrok.CLIENT_HEADER
            case _:
                return None

    def _connector(self, provider: docker.Provider, gateway: Gateway) -> cloudflared.Connector | ngrok.NgrokAgent | None:
        """The container that brings requests from outside to the gateway, which has to answer first."""
        args, networks, references = self._args, self._networks, self._references
        edge = args.settings.edge
        if networks.tunnel is None or isinstance(edge, NoEdge):
            return None
        joined = [networks.tunnel, networks.edge]
        if isinstance(edge, NgrokEdge):
            return ngrok.NgrokAgent(
                f"{self._name}-ngrok",
                ngrok.NgrokAgentArgs(
                    prefix=args.prefix,
                    image=edge.connector_image or references["ngrok"],
                    settings=edge,
                    networks=joined,
                    proxy=args.settings.host.proxy,
                    monitored=self._monitored,
                    engine=self._engine,
                ),
                opts=pulumi.ResourceOptions(parent=self, providers=[provider], depends_on=[gateway]),
            )
        if args.tunnel is None:
            raise ValueError("a Cloudflare edge needs its tunnel")
        return cloudflared.Connector(
            f"{self._name}-connector",
            cloudflared.ConnectorArgs(
                prefix=args.prefix,
                image=edge.connector_image or references["cloudflared"],
                settings=edge,
                token=args.tunnel.token,
                networks=joined,
                monitored=self._monitored,
                engine=self._engine,
            ),
            # Cloudflare deletes no tunnel with a connector on it, so this one starts last and stops first.
            opts=pulumi.ResourceOptions(parent=self, providers=[provider], depends_on=[gateway, *args.tunnel.routes]),
        )
