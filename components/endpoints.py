"""Every URL of a stack, public and internal, derived once from the settings; pure.

Ingress rules, DNS records, gateway sites, ALLOWED_ORIGINS, the UI's variables, the content security policy and the smoke run read
the same object, so they cannot disagree.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from components.settings import CloudflareEdge, NgrokEdge, Settings, VercelFrontend
from components.settings.edge import HOSTS

GATEWAY_PORT = 8080
SERVER_PORT = 8000
ARTIFACTS_PORT = 8080
EGRESS_PORT = 3128
SMOKE_PORT = 8080
OLLAMA_PORT = 11434
MONITOR_PORT = 8080

GATEWAY_URL = f"http://gateway:{GATEWAY_PORT}"
SERVER_URL = f"http://server:{SERVER_PORT}"
ARTIFACTS_URL = f"http://artifacts:{ARTIFACTS_PORT}"
EGRESS_URL = f"http://egress:{EGRESS_PORT}"
OLLAMA_URL = f"http://ollama:{OLLAMA_PORT}"
MONITOR_URL = f"http://monitor:{MONITOR_PORT}"
SMOKE_HOST = "smoke-site"
SMOKE_URL = f"http://{SMOKE_HOST}:{SMOKE_PORT}"

# A record that leads to a Cloudflare Tunnel is a CNAME to the tunnel's id and this.
TUNNEL_SUFFIX = ".cfargotunnel.com"

# What the gateway answers on a host. app: the UI behind its login, and the API and streams as the same origin. api: the API and
# its streams, by key. streams: streams alone, by key. artifacts: recordings, for whoever has the gateway key.
Role = Literal["app", "api", "streams", "artifacts"]


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Public addresses of one stack. Origins have no trailing slash: browsers compare them character by character.

    app_url: origin of the UI. api_url: of the API for programs. ui_api_url, stream_url: of the API and its streams for the UI.
    sites: host -> what the gateway answers there; any other Host header is refused. Behind a tunnel each of them, and nothing
    else, has an ingress rule and a record.
    on_vercel: the UI is on Vercel, which asks the gateway with the gateway key.
    dashboard: the UI's origin has the monitor's pages at ``/dashboard``. metrics: ``/metrics`` is there, for its key, also on the
    API's host.
    """

    app_url: str
    api_url: str
    ui_api_url: str
    stream_url: str
    sites: Mapping[str, Role]
    on_vercel: bool = False
    dashboard: bool = False
    metrics: bool = False

    @property
    def api_base_url(self) -> str:
        """VITE_API_BASE_URL. The UI makes /api/v2 and /v1 of it by replacing the first "v1" of the whole URL."""
        return f"{self.ui_api_url}/api/v1"

    @property
    def wss_origin(self) -> str:
        """Origin of the streams: ws for http, wss for https."""
        return f"ws{self.stream_url.removeprefix('http')}"

    @property
    def wss_base_url(self) -> str:
        """VITE_WSS_BASE_URL."""
        return f"{self.wss_origin}/api/v1"

    @property
    def on_loopback(self) -> bool:
        """Whether the UI is for browsers on the host alone."""
        return self.app_url.startswith("http://localhost:")

    @property
    def artifact_url(self) -> str | None:
        """Origin of recordings for whoever has the gateway key; None if they are at the UI's own origin or not published."""
        return next((f"https://{host}" for host, role in self.sites.items() if role == "artifacts"), None)

    @property
    def artifact_base_url(self) -> str:
        """VITE_ARTIFACT_API_BASE_URL: the UI's own origin, so its login covers recordings and screenshots."""
        return self.app_url


def public_hosts(domain: str, cell: str | None) -> dict[Role, str]:
    """The host of each role in a zone: ``api.example.com``, and ``shop-api.example.com`` of the cell ``shop``.

    A cell is a part of the first label, because Cloudflare's free certificate covers one label below the zone.
    """
    roles: tuple[Role, ...] = ("app", "api", "streams", "artifacts")
    prefix = "" if cell is None else f"{cell}-"
    return {role: f"{prefix}{host}.{domain}" for role, host in zip(roles, HOSTS, strict=True)}


def derive(settings: Settings) -> Endpoints:
    """The addresses of a stack."""
    urls = _derive(settings)
    return replace(urls, dashboard=settings.monitor.enabled, metrics=settings.monitor.metrics)


def _derive(settings: Settings) -> Endpoints:
    """Hosts of one domain, one host at ngrok, or loopback."""
    match settings.edge:
        case CloudflareEdge(domain=domain, cell=cell):
            hosts = public_hosts(domain, cell)
            if isinstance(settings.frontend, VercelFrontend):
                return _on_vercel(hosts, settings.frontend)
            app = f"https://{hosts['app']}"
            return Endpoints(
                app_url=app,
                api_url=f"https://{hosts['api']}",
                ui_api_url=app,
                stream_url=app,
                sites={hosts["api"]: "api", hosts["app"]: "app"},
            )
        case NgrokEdge(domain=domain):
            return _one_origin(f"https://{domain}", domain)
        case _:
            return _one_origin(f"http://localhost:{settings.host.port}", "localhost")


def _one_origin(origin: str, host: str) -> Endpoints:
    return Endpoints(app_url=origin, api_url=origin, ui_api_url=origin, stream_url=origin, sites={host: "app"})


def _on_vercel(hosts: Mapping[Role, str], frontend: VercelFrontend) -> Endpoints:
    sites: dict[str, Role] = {hosts["api"]: "api", hosts["streams"]: "streams"}
    if frontend.artifacts:
        sites[hosts["artifacts"]] = "artifacts"
    return Endpoints(
        app_url=f"https://{hosts['app']}" if frontend.vercel_app is None else f"https://{frontend.vercel_app}.vercel.app",
        api_url=f"https://{hosts['api']}",
        ui_api_url=f"https://{hosts['api']}",
        stream_url=f"https://{hosts['streams']}",
        sites=dict(sorted(sites.items())),
        on_vercel=True,
    )
