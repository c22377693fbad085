"""Checks of the API as programs see it: liveness, keys, host names, documentation, CORS."""

import httpx

from ops.observe.heartbeat import HEARTBEAT
from ops.observe.smoke.site import REFUSED, CheckFailedError, Site, expect, expect_status

WORKFLOWS = "/v1/workflows"
FOREIGN_ORIGIN = "https://evil.example"
# FastAPI's own pages; Skyvern 1.0.56 does not switch them off, so the gateway has to.
DOCUMENTATION = ("/openapi.json", "/docs", "/redoc", "/api/v1/openapi.json", "/v1/openapi.json")


def check_heartbeat(site: Site) -> None:
    """The server answers through the gateway. Skyvern has no /api/v1/health."""
    response = site.ask("GET", site.outputs.api_url + HEARTBEAT)
    expect_status(response, 200)
    expect(response.text.strip() == "Server is running.", f"GET {HEARTBEAT}: another text than Skyvern's")


def check_api_key(site: Site) -> None:
    """A request without a key or with a wrong key is refused; the stack's keys get the workflows (from the database)."""
    url = site.outputs.api_url + WORKFLOWS
    expect_status(site.ask("GET", url), 401, 403, what=f"GET {WORKFLOWS} without a key")
    wrong = "smoke-run-wrong-key"
    expect_status(site.ask("GET", url, key=wrong), 403, what=f"GET {WORKFLOWS} with a wrong key")
    keys = {"the stack's key": site.person_api("GET", WORKFLOWS), "the smoke runs' key": site.api("GET", WORKFLOWS)}
    for name, response in keys.items():
        expect_status(response, 200, what=f"GET {WORKFLOWS} with {name}")
        expect(isinstance(response.json(), list), f"GET {WORKFLOWS} with {name}: not a list")


def check_unknown_host(site: Site) -> None:
    """A request for a name that is not the stack's is refused, with every credential that would open the right name."""
    for url in (site.outputs.app_url + "/", site.outputs.api_url + HEARTBEAT):
        try:
            response = site.ask("GET", url, login=True, headers={"Host": "unknown.example"})
        except CheckFailedError as failed:
            # Caddy's abort: the connection closes without an answer.
            if isinstance(failed.__cause__, httpx.RemoteProtocolError):
                continue
            raise
        expect_status(response, *REFUSED, what=f"GET {response.request.url.path} for the host unknown.example")


def check_documentation(site: Site) -> None:
    """The API's schema and its interactive pages are not served, not even with the key or the login."""
    for path in DOCUMENTATION:
        key = site.outputs.api_key.get_secret_value()
        expect_status(site.ask("GET", site.outputs.api_url + path, key=key, login=True), 403, 404)


def check_cors(site: Site) -> None:
    """The UI's own origin may call the API from a browser, another origin may not."""
    accepted = preflight(site, site.outputs.app_url)
    expect_status(accepted, 200, 204, what="preflight from the UI's origin")
    allowed = accepted.headers.get("access-control-allow-origin")
    expect(allowed == site.outputs.app_url, f"preflight from the UI's origin allows {allowed}")
    refused = preflight(site, FOREIGN_ORIGIN)
    allowed = refused.headers.get("access-control-allow-origin")
    expect(allowed is None, f"preflight from {FOREIGN_ORIGIN} allows {allowed}")


def preflight(site: Site, origin: str) -> httpx.Response:
    """A browser's request before a page of ``origin`` may call the API with the headers that the UI sends."""
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "x-api-key,x-user-agent",
    }
    return site.ask("OPTIONS", site.outputs.api_url + WORKFLOWS, headers=headers)
