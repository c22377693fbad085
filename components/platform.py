"""The whole deployment: the only file that knows all of its parts."""

import pulumi

from components import endpoints
from components.endpoints import SMOKE_URL
from components.host.backend import DockerBackend, DockerBackendArgs
from components.host.gateway import UI_USER
from components.secrets import StackSecrets, StackSecretsArgs
from components.settings import Settings


class SkyvernPlatform(pulumi.ComponentResource):
    """Skyvern with its secrets, on one Docker host.

    ``outputs`` is what the program exports: addresses in clear, login and API key as secrets.
    """

    def __init__(self, name: str, settings: Settings, *, stack: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:platform:SkyvernPlatform", name, None, opts)
        urls = endpoints.derive(settings)
        rotation = settings.rotation
        secrets = StackSecrets(
            f"{name}-secrets",
            StackSecretsArgs(
                database_epoch=rotation.database,
                api_key_epoch=rotation.api_key,
                ui_login_epoch=rotation.ui_login,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        backend = DockerBackend(
            f"{name}-host",
            DockerBackendArgs(prefix=f"skyvern-{stack}", settings=settings, endpoints=urls, secrets=secrets),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.outputs: dict[str, pulumi.Input[object]] = {
            "api_key": secrets.api_key,
            "api_url": urls.api_url,
            "app_url": urls.app_url,
            "browser_type": settings.browser.type,
            "containers": backend.containers,
            "docker_host": settings.host.docker_host,
            "organization_id": secrets.organization_id,
            "smoke_url": SMOKE_URL,
            "ui_password": secrets.ui_password,
            "ui_username": UI_USER,
        }
        self.register_outputs({})
