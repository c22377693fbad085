"""Every URL of a stack, public and internal, derived once from the settings; pure.

Gateway sites, ALLOWED_ORIGINS, the UI's variables, the content security policy and the smoke run read the same object, so they
cannot disagree.
"""

from dataclasses import dataclass

from components.settings import Settings

GATEWAY_PORT = 8080
SERVER_PORT = 8000
ARTIFACTS_PORT = 8080
EGRESS_PORT = 3128
SMOKE_PORT = 8080
OLLAMA_PORT = 11434

SERVER_URL = f"http://server:{SERVER_PORT}"
ARTIFACTS_URL = f"http://artifacts:{ARTIFACTS_PORT}"
EGRESS_URL = f"http://egress:{EGRESS_PORT}"
OLLAMA_URL = f"http://ollama:{OLLAMA_PORT}"
SMOKE_HOST = "smoke-site"
SMOKE_URL = f"http://{SMOKE_HOST}:{SMOKE_PORT}"


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Public addresses of one stack.

    app_url: origin of the UI, without a trailing slash (browsers compare origins to the letter).
    api_url: origin of the API for programs and for the UI.
    host: name that the gateway answers to; any other Host header is refused.
    """

    app_url: str
    api_url: str
    host: str

    @property
    def api_base_url(self) -> str:
        """VITE_API_BASE_URL. The UI makes /api/v2 and /v1 of it by replacing the first "v1" of the whole URL."""
        return f"{self.api_url}/api/v1"

    @property
    def wss_base_url(self) -> str:
        """VITE_WSS_BASE_URL: ws for http, wss for https."""
        return f"ws{self.api_url.removeprefix('http')}/api/v1"

    @property
    def artifact_base_url(self) -> str:
        """VITE_ARTIFACT_API_BASE_URL: the UI's own origin, so that its login covers recordings and screenshots."""
        return self.app_url


def derive(settings: Settings) -> Endpoints:
    """The addresses of a stack on loopback: UI and API are one origin."""
    origin = f"http://localhost:{settings.host.port}"
    return Endpoints(app_url=origin, api_url=origin, host="localhost")
