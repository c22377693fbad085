"""The whole deployment: the only file that knows all of its parts."""

from pathlib import Path
from typing import TYPE_CHECKING

import pulumi

from components import endpoints
from components.endpoints import SMOKE_URL
from components.host.backend import DockerBackend, DockerBackendArgs, TunnelEnd
from components.secrets import StackSecrets, StackSecretsArgs
from components.settings import CloudflareEdge, NoBackup, Settings, VercelFrontend
from components.ui import UI_USER

if TYPE_CHECKING:
    from components.automations.files import Automation
    from components.frontend import vercel

ROOT = Path(__file__).resolve().parent.parent


class SkyvernPlatform(pulumi.ComponentResource):
    """Skyvern with its secrets, on one Docker host, with the edge and the frontend that lead to it from outside.

    ``outputs`` is what the program exports: addresses in plain text, login and API key as secrets.
    """

    def __init__(self, name: str, settings: Settings, *, stack: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:platform:SkyvernPlatform", name, None, opts)
        self._settings, self._prefix = settings, f"skyvern-{stack}"
        self._urls = urls = endpoints.derive(settings)
        rotation = settings.rotation
        self._secrets = secrets = StackSecrets(
            f"{name}-secrets",
            StackSecretsArgs(
                database_epoch=rotation.database,
                api_key_epoch=rotation.api_key,
                ui_login_epoch=rotation.ui_login,
                gateway_epoch=rotation.gateway if urls.on_vercel else None,
                tunnel_epoch=rotation.tunnel if isinstance(settings.edge, CloudflareEdge) else None,
                backup=not isinstance(settings.backup, NoBackup),
                monitor=settings.monitor.enabled,
                metrics=settings.monitor.metrics,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        site = self._site()
        automations, minutes_by_hand = self._files(settings, f"Pulumi.{stack}.yaml")
        backend = DockerBackend(
            f"{name}-host",
            DockerBackendArgs(
                prefix=self._prefix,
                settings=settings,
                endpoints=urls,
                secrets=secrets,
                tunnel=self._tunnel(site),
                # The gateway knows one key at a time. The site's build takes a minute and may fail, the gateway's restart takes
                # seconds. In this order the old site works until the new one does.
                gateway_after=[] if site is None else [site.deployment],
                minutes_by_hand=minutes_by_hand,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        if automations:
            self._automations(automations, backend)
        self.outputs: dict[str, pulumi.Input[object]] = {
            "api_key": secrets.api_key,
            "api_url": urls.api_url,
            "app_url": urls.app_url,
            "browser_type": settings.browser.type,
            "containers": backend.containers,
            "docker_host": settings.host.docker_host,
            # Empty where nothing is to be asked.
            "internet_hosts": settings.host.internet_hosts if settings.host.internet else [],
            "organization_id": secrets.organization_id,
            "smoke_api_key": secrets.smoke_api_key,
            "smoke_url": SMOKE_URL,
            "stream_url": urls.stream_url,
            "ui_password": secrets.ui_password,
            "ui_username": UI_USER,
        }
        if settings.host.engine == "swarm":
            self.outputs["docker_nodes"] = settings.host.nodes
        if not isinstance(settings.backup, NoBackup) and settings.backup.drilled is not None:
            self.outputs["backup_drilled"] = settings.backup.drilled
        if secrets.gateway_key is not None:
            self.outputs["gateway_key"] = secrets.gateway_key
        if secrets.metrics_key is not None:
            self.outputs["metrics_key"] = secrets.metrics_key
        if urls.artifact_url is not None:
            self.outputs["artifact_url"] = urls.artifact_url
        if site is not None:
            self.outputs["vercel_deployment"] = site.url
        self.register_outputs({})

    @staticmethod
    def _files(settings: Settings, stack_file: str) -> "tuple[list[Automation], dict[str, float]]":
        """The automations, and the minutes by hand of those that name them.

        Without files nothing is loaded, planned or asked, also where there are credentials.
        """
        if not settings.automations.files:
            return [], {}
        # Here for the same reason as Cloudflare's SDK below: no other stack should pay for Jinja and the schema.
        from components.automations import files

        automations = files.load(ROOT, settings.automations, stack_file, settings.cell)
        return automations, files.minutes_by_hand(automations)

    def _automations(self, automations: "list[Automation]", backend: DockerBackend) -> None:
        # Here for the same reason: no other stack should pay for a plugin.
        from components.automations.automations import Automations, AutomationsArgs

        Automations(
            f"{self._name}-automations",
            AutomationsArgs(
                api_url=self._urls.api_url,
                api_key=self._secrets.api_key,
                settings=self._settings.automations,
                automations=automations,
                data=backend.data,
            ),
            # They are requests to the server through the gateway, and on a tunnel through its connector.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[backend]),
        )

    def _site(self) -> "vercel.VercelFrontend | None":
        settings, secrets = self._settings.frontend, self._secrets
        if not isinstance(settings, VercelFrontend) or secrets.gateway_key is None:
            return None
        # Here for the same reason as Cloudflare's SDK below.
        from components.frontend import vercel

        return vercel.VercelFrontend(
            f"{self._name}-frontend",
            vercel.VercelFrontendArgs(
                prefix=self._prefix,
                settings=settings,
                endpoints=self._urls,
                gateway_key=secrets.gateway_key,
                ui_password=secrets.ui_password,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _tunnel(self, site: "vercel.VercelFrontend | None") -> TunnelEnd | None:
        settings, secret = self._settings.edge, self._secrets.tunnel_secret
        if not isinstance(settings, CloudflareEdge) or secret is None:
            return None
        # Here, because loading Cloudflare's SDK takes seconds that no other stack should pay.
        from components.edge.tunnel import CloudflareTunnel, CloudflareTunnelArgs

        tunnel = CloudflareTunnel(
            f"{self._name}-edge",
            CloudflareTunnelArgs(
                prefix=self._prefix,
                settings=settings,
                endpoints=self._urls,
                secret=secret,
                ui=None if site is None else site.record,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        return TunnelEnd(token=tunnel.token, routes=tunnel.routes)
