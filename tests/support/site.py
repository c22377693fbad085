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
