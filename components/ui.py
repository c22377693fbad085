"""The UI, the same behind the gateway and on Vercel: its login, its variables, what its pages may load, and its DNS record."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.endpoints import Endpoints

UI_USER = "skyvern"

# Sources that one origin's pages may load from. No inline script, no other host: the UI's compiled-in analytics end here too.
_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self' 'unsafe-inline'",
    "font-src 'self' data:",
    "worker-src 'self' blob:",
    "frame-src 'self' blob:",
    "manifest-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
)


def content_security_policy(urls: Endpoints) -> str:
    """The UI's policy: it connects to the API, its streams and its artifacts, and to nothing else.

    Pictures and films of runs are links to the API's host (images/server/artifact_links.py).
    """
    own = {urls.app_url}
    files = sorted({urls.api_url} - own)
    hosts = sorted({urls.api_url, urls.ui_api_url, urls.wss_origin, urls.artifact_base_url} - own)
    lists = ("connect-src 'self'", *hosts), ("img-src 'self' data: blob:", *files), ("media-src 'self' blob:", *files)
    return "; ".join((*_POLICY, *(" ".join(sources) for sources in lists)))


def variables(urls: Endpoints, language: str) -> Mapping[str, str]:
    """The variables that are written into the UI when it is built or starts, by name."""
    return {
        "UI_LANGUAGE": language,
        "VITE_API_BASE_URL": urls.api_base_url,
        "VITE_ARTIFACT_API_BASE_URL": urls.artifact_base_url,
        "VITE_BROWSER_STREAMING_MODE": "cdp",
        "VITE_WSS_BASE_URL": urls.wss_base_url,
    }


def login_hash(password: str) -> str:
    """UI_LOGIN_SHA256: of the credentials as a browser sends them, 64 hex digits."""
    return hashlib.sha256(f"{UI_USER}:{password}".encode()).hexdigest()


def login_sha256(password: pulumi.Input[str]) -> pulumi.Output[str]:
    """The hash of a login that is not known yet; secret."""
    return pulumi.Output.secret(pulumi.Output.from_input(password).apply(login_hash))


@dataclass(frozen=True, kw_only=True)
class UiRecord:
    """The CNAME of ``app.`` for a UI elsewhere; the frontend knows it and the edge writes it.

    target: a host name without a dot at its end. verification: content of the TXT record at ``_vercel.``, if one was asked for.
    after: the resource that has to answer before the name leads there.
    """

    target: pulumi.Input[str]
    verification: str | None
    after: pulumi.Resource
