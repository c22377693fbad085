"""Checks of the UI: the login before it, the application behind it, its session tokens and the live stream."""

import re
import time
from collections.abc import Iterable

from ops.observe.smoke.api_checks import WORKFLOWS
from ops.observe.smoke.site import REFUSED, Site, expect, expect_status

# Three base64url parts. The bundle itself has words that begin with "eyJ" (an example payload, a table of key codes).
JWT = re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}")
PLACEHOLDER = re.compile(r"__VITE_\w+")
ASSET = re.compile(r"assets/[\w.-]+\.(?:js|css)")
STREAM = "/api/v1/stream/workflow_runs/wr_smoke"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


def is_app(text: str) -> bool:
    """Whether a page is the UI's index.html: the element that React fills, and the bundle."""
    return 'id="root"' in text and ASSET.search(text) is not None


def asset_paths(text: str) -> set[str]:
    """Paths of scripts and style sheets that a page or a script names, with a leading slash."""
    return {f"/{path}" for path in ASSET.findall(text)}


def leaks(text: str, secrets: Iterable[str]) -> list[str]:
    """What a public file must not contain, in words: a token, an unfilled placeholder, a secret of the stack."""
    leaked = []
    if JWT.search(text):
        leaked.append("a JSON web token")
    if placeholder := PLACEHOLDER.search(text):
        leaked.append(f"the placeholder {placeholder.group()}")
    if any(secret in text for secret in secrets):
        leaked.append("a secret of the stack")
    return leaked


def check_login(site: Site) -> None:
    """Nothing of the UI is served without the login: not the page, not a deep link, not an asset."""
    for path in ("/", "/workflows", "/assets/"):
        response = site.ask("GET", site.outputs.app_url + path)
        expect_status(response, 401, what=f"GET {path} without login")
        challenge = response.headers.get("www-authenticate", "")
        expect(challenge.lower().startswith("basic"), f"GET {path} without login: no WWW-Authenticate: Basic")


def check_app(site: Site) -> None:
    """With the login the application comes back, also for a path that only the application knows."""
    for path in ("/", "/workflows"):
        response = site.ask("GET", site.outputs.app_url + path, login=True)
        expect_status(response, 200, what=f"GET {path} with login")
        expect(is_app(response.text), f"GET {path} with login: not the UI's page")


def check_assets(site: Site) -> None:
    """The bundle has no placeholder and no secret; an asset that does not exist is a 404, not the application's page."""
    app_url = site.outputs.app_url
    outputs = site.outputs
    known = (outputs.api_key, outputs.smoke_api_key, outputs.metrics_key, outputs.ui_password, outputs.gateway_key)
    secrets = [secret.get_secret_value() for secret in known if secret is not None]
    index = site.ask("GET", app_url + "/", login=True)
    todo, done = asset_paths(index.text), set[str]()
    expect(bool(todo), "GET /: names no asset")
    while todo:
        path = todo.pop()
        done.add(path)
        response = site.ask("GET", app_url + path, login=True)
        expect_status(response, 200)
        leaked = leaks(response.text, secrets)
        expect(not leaked, f"{path} holds {' and '.join(leaked)}")
        if path.endswith(".js"):
            todo |= asset_paths(response.text) - done
    expect_status(site.ask("GET", app_url + "/assets/smoke-run-missing.js", login=True), 404)


def session_token(site: Site) -> str:
    """A session token, asked for as the UI's own page does."""
    response = site.ask("GET", site.outputs.app_url + "/ui-session", login=True, headers=SAME_ORIGIN)
    expect_status(response, 200, what="GET /ui-session with login")
    kind = response.headers.get("content-type", "")
    # The UI treats any other type as "there is no such endpoint" and continues without a credential.
    expect(kind.startswith("application/json"), f"GET /ui-session: content type {kind}")
    session = response.json()
    expect({"token", "expires_at"} <= session.keys(), "GET /ui-session: not {token, expires_at}")
    expect(session["expires_at"] > time.time(), "GET /ui-session: the token has expired already")
    expect(session["token"] != site.outputs.api_key.get_secret_value(), "GET /ui-session gives the stack's own key away")
    return str(session["token"])


def check_session(site: Site) -> None:
    """The token opens the routes that the UI calls."""
    token = session_token(site)
    response = site.ask("GET", site.outputs.api_url + WORKFLOWS, key=token)
    expect_status(response, 200, what=f"GET {WORKFLOWS} with a session token")


def check_session_refusals(site: Site) -> None:
    """No token without login, for another site's page, for a request that does not name its site, or by POST."""
    url = site.outputs.app_url + "/ui-session"
    expect_status(site.ask("GET", url, headers=SAME_ORIGIN), 401, what="GET /ui-session without login")
    for origin in ("cross-site", "same-site", "none", None):
        headers = {} if origin is None else {"Sec-Fetch-Site": origin}
        response = site.ask("GET", url, login=True, headers=headers)
        expect_status(response, 403, what=f"GET /ui-session with Sec-Fetch-Site {origin or 'missing'}")
    response = site.ask("POST", url, login=True, headers=SAME_ORIGIN)
    expect_status(response, *REFUSED, what="POST /ui-session")


def check_gateway_key(site: Site) -> None:
    """The gateway gives session tokens only to Vercel's middleware: the login, the API's key and a wrong key are refused."""
    url = site.outputs.api_url + "/ui-session"
    key = site.outputs.api_key.get_secret_value()
    expect_status(site.ask("GET", url, login=True, headers=SAME_ORIGIN), 403, what="GET /ui-session of the API with the login")
    expect_status(site.ask("GET", url, key=key, headers=SAME_ORIGIN), 403, what="GET /ui-session of the API with the API's key")
    wrong = {**SAME_ORIGIN, "x-gateway-key": "smoke-run-wrong-key"}
    expect_status(site.ask("GET", url, key=key, headers=wrong), 403, what="GET /ui-session of the API with a wrong gateway key")
    right = {"x-gateway-key": site.gateway_key()}
    expect_status(site.ask("GET", url, headers=right), 200, what="GET /ui-session of the API with the gateway key")


def check_stream(site: Site) -> None:
    """The live view's WebSocket is upgraded through the gateway for a session token in the query, as the UI sends it."""
    token = session_token(site)
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "c21va2UtcnVuLW5vbmNlIQ==",
        "Origin": site.outputs.app_url,
    }
    response = site.ask("GET", f"{site.outputs.stream_url}{STREAM}?apikey={token}", headers=headers, stream=True)
    try:
        expect_status(response, 101, what="WebSocket with a session token")
    finally:
        response.close()
