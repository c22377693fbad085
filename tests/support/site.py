"""A site on Vercel in front of a stack behind Cloudflare: its addresses."""

from components import endpoints
from components.settings import Settings
from tests.support.program import VERCEL

URLS = endpoints.derive(
    Settings.model_validate(
        {
            "edge": {"provider": "cloudflare", "domain": "example.com", "api_token": "t" * 40},
            "frontend": VERCEL,
        }
    )
)
# Those of the UI itself, in its own language.
VARIABLES = {
    "VITE_API_BASE_URL": URLS.api_base_url,
    "VITE_ARTIFACT_API_BASE_URL": URLS.artifact_base_url,
    "VITE_BROWSER_STREAMING_MODE": "cdp",
    "VITE_WSS_BASE_URL": URLS.wss_base_url,
}
