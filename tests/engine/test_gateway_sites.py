"""The gateway's sites, asked of a real Caddy: every host, path and key of the security table, in front of doubles.

Caddy is built from the module that images/caddy pins. Not here: what Skyvern and the file server themselves answer (tests/host).
"""

import base64
import hashlib
import hmac
import json
import subprocess
import time
from pathlib import Path

import pytest

from components import endpoints
from components.host.gateway import caddyfile
from components.settings import Settings
from components.ui import login_hash
from tests.engine.gateways import LAYOUTS, Gateway, running
from tests.support.security_table import (
    API,
    API_KEY,
    APP,
    ARTIFACT,
    GATE,
    KEY,
    LINK_KEY,
    LOGIN,
    OWN_PAGE,
    PASSWORD,
    PREFLIGHT,
    RECORDING,
    UPGRADE,
    WHO_GETS_WHAT,
)

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize(("layout", "host", "path", "headers", "status"), WHO_GETS_WHAT)
def test_who_gets_what(
    layouts: dict[str, Gateway], layout: str, host: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = layouts[layout].ask(host, path.replace("apikey=k", f"apikey={KEY['X-Api-Key']}"), headers)
    assert answer.status == status
    if status >= 400:
        assert answer.seen is None, "refused, and yet it came through"
    assert "Server" not in answer.headers or answer.seen is not None


@pytest.mark.parametrize(("layout", "host"), [("cloudflare", API), ("cloudflare", APP), ("vercel", API)])
def test_a_preflight_needs_no_key_and_is_no_way_around_it(layouts: dict[str, Gateway], layout: str, host: str) -> None:
    assert layouts[layout].ask(host, "/v1/workflows", PREFLIGHT, "OPTIONS").status == 200
    assert layouts[layout].ask(host, "/v1/workflows", {**PREFLIGHT, **UPGRADE}, "OPTIONS").status == 403
    assert layouts[layout].ask(host, "/v1/workflows", {}, "OPTIONS").status == 403


@pytest.mark.parametrize(
    ("layout", "host", "headers"),
    [("cloudflare", APP, {**LOGIN, **OWN_PAGE}), ("vercel", API, GATE), ("loopback", "localhost", {**LOGIN, **OWN_PAGE})],
)
def test_a_session_is_asked_with_the_organisations_key(
    layouts: dict[str, Gateway], layout: str, host: str, headers: dict[str, str]
) -> None:
    answer = layouts[layout].ask(host, "/ui-session", headers)
    assert answer.seen is not None
    assert (answer.seen["method"], answer.seen["path"]) == ("POST", "/api/v1/ui-session")
    assert answer.seen["headers"]["x-api-key"] == API_KEY
    assert answer.headers["Cache-Control"] == "no-store"
    assert layouts[layout].ask(host, "/ui-session", headers, "POST").status == 405


def test_what_the_edge_and_the_browser_add_stays_here(layouts: dict[str, Gateway]) -> None:
    added = {
        **KEY,
        **GATE,
        **LOGIN,
        "Cookie": "CF_Authorization=jwt",
        "Cf-Access-Jwt-Assertion": "jwt",
        "Cf-Connecting-Ip": "198.51.100.7",
    }
    for layout, host in (("cloudflare", API), ("cloudflare", APP), ("vercel", API)):
        seen = layouts[layout].ask(host, "/v1/workflows", added).seen
        assert seen is not None
        assert seen["headers"]["x-api-key"] == KEY["X-Api-Key"]
        assert not {"authorization", "cookie", "x-gateway-key"} & set(seen["headers"])
        assert not [name for name in seen["headers"] if name.startswith("cf-")]
    recording = layouts["vercel"].ask(ARTIFACT, RECORDING, added).seen
    assert recording is not None
    assert recording["path"].startswith("/data/videos/x.webm")
    assert not {"authorization", "cookie", "x-gateway-key"} & set(recording["headers"])


@pytest.mark.parametrize(
    ("host", "path", "headers"),
    [
        # ssh -L 9000:localhost:8080, or an editor that forwards the port.
        ("localhost:9000", "/", LOGIN),
        ("localhost:9000", "/workflows", {}),
        ("localhost:9000", "/ui-session", {**LOGIN, **OWN_PAGE}),
        ("127.0.0.1:8080", "/", LOGIN),
        ("127.0.0.1:9000", "/", {}),
    ],
)
def test_a_forwarded_port_is_told_which_one_works(
    layouts: dict[str, Gateway], host: str, path: str, headers: dict[str, str]
) -> None:
    """F26: the UI would load, and each of its calls would fail by its content security policy."""
    answer = layouts["loopback"].ask(host, path, headers)
    assert (answer.status, answer.seen) == (421, None)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.text.decode() == (
        "Skyvern's UI works at http://localhost:8080 and no other address. From another machine forward just this port: "
        "ssh -L 8080:localhost:8080 HOST"
    )


def test_a_forwarded_port_serves_programs(layouts: dict[str, Gateway]) -> None:
    """F26: a key works by any port of localhost, and the stack's own one is no other."""
    for host in ("localhost:9000", "localhost:8080", "localhost"):
        assert layouts["loopback"].ask(host, "/v1/workflows", KEY).status == 200
    assert layouts["loopback"].ask("localhost:8080", "/workflows", LOGIN).status == 200


def last_client(gateway: Gateway, marker: str) -> str:
    """The client's address in the access log's line for a path."""
    for _ in range(100):
        for line in gateway.log.read_text().splitlines():
            if f"/{marker}" in line and '"client_ip"' in line:
                client: str = json.loads(line)["request"]["client_ip"]
                return client
        time.sleep(0.05)
    raise AssertionError(gateway.log.read_text())


def test_the_log_has_the_clients_address_from_the_connector_alone(
    layouts: dict[str, Gateway], caddy: Path, double: int, tmp_path: Path
) -> None:
    layouts["cloudflare"].ask(API, "/v1/from-the-connector", {**KEY, "Cf-Connecting-Ip": "198.51.100.7"})
    assert last_client(layouts["cloudflare"], "v1/from-the-connector") == "198.51.100.7"
    # What ngrok did not write itself stands further left.
    layouts["ngrok"].ask("your-name.ngrok.app", "/v1/from-ngrok", {**KEY, "X-Forwarded-For": "203.0.113.1, 198.51.100.8"})
    assert last_client(layouts["ngrok"], "v1/from-ngrok") == "198.51.100.8"
    # From another network the header is anybody's claim.
    with running(caddy, tmp_path, "cloudflare", double, subnet="10.9.8.0/24") as gateway:
        seen = gateway.ask(
            API, "/v1/from-elsewhere", {**KEY, "Cf-Connecting-Ip": "198.51.100.7", "X-Forwarded-For": "198.51.100.7"}
        ).seen
        assert last_client(gateway, "v1/from-elsewhere") == "127.0.0.1"
        assert seen is not None
        assert seen["headers"]["x-forwarded-for"] == "127.0.0.1"


@pytest.mark.parametrize(("monitor", "answer"), [("127.0.0.0/8", (200, b"1795744800")), ("10.9.8.0/24", (421, b"421"))])
def test_the_monitor_alone_is_told_when_the_gateway_began(
    monitor: str, answer: tuple[int, bytes], caddy: Path, double: int, tmp_path: Path
) -> None:
    """Also where a header of the connector claims that it is the monitor."""
    with running(caddy, tmp_path, "cloudflare", double, monitor=monitor, environment={"STARTED": "1795744800"}) as gateway:
        told = gateway.ask("gateway:8080", "/started", {"Cf-Connecting-Ip": "10.9.8.7", "X-Forwarded-For": "10.9.8.7"})
        assert (told.status, told.text) == answer
        # A host that has a site, and another path or method, are as ever.
        assert gateway.ask(API, "/started", KEY).status == 404
        assert gateway.ask("gateway:8080", "/dashboard").status == 421
        assert gateway.ask("gateway:8080", "/started", method="POST").status == 421


def link(artifact_id: str = "a_1", seconds: int = 600, key: str = LINK_KEY) -> str:
    """Path and query of a link, as Skyvern signs it (skyvern/forge/sdk/artifact/signing.py, 1.0.56)."""
    path, expiry = f"/v1/artifacts/{artifact_id}/content", int(time.time()) + seconds
    digest = hmac.digest(key.encode(), f"GET\n{path}\n{expiry}\n1".encode(), hashlib.sha256)
    return f"{path}?expiry={expiry}&kid=1&sig={base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


@pytest.mark.parametrize(
    ("layout", "host"), [("cloudflare", API), ("cloudflare", APP), ("vercel", API), ("loopback", "localhost")]
)
def test_a_link_to_a_file_needs_its_signature_and_nothing_else(layouts: dict[str, Gateway], layout: str, host: str) -> None:
    gateway, right = layouts[layout], link()
    for passed in (right, link("uri-ZmlsZTovLy9kYXRhL2EtYl9j"), f"{right}&artifact_name=x"):
        answer = gateway.ask(host, passed, {"Range": "bytes=0-1"})
        assert (answer.status, answer.seen is not None) == (200, True), passed
    path, query = right.split("?")
    expiry, kid, signature = query.split("&")
    for refused in (
        path,
        link(seconds=-60),
        link(key="another key"),
        f"{path.replace('a_1', 'a_2')}?{query}",
        f"{path}?{expiry}9&{kid}&{signature}",
        f"{path}?{expiry}&kid=2&{signature}",
        f"{path}?{expiry}&{kid}&sig=",
        f"{path}?{expiry}&{kid}&{signature}x",
        f"{path}?{query}&{query}",
        f"{path}?expiry=%2B{expiry.partition('=')[2]}&{kid}&{signature}",
        f"/api{path}?{query}",
        f"/v1/artifacts/a_1/signed-url?{query}",
        f"{path}/?{query}",
    ):
        answer = gateway.ask(host, refused)
        assert (answer.status, answer.seen) == (403, None), refused
    for method in ("HEAD", "POST", "DELETE"):
        answer = gateway.ask(host, right, {}, method)
        assert (answer.status, answer.seen) == (403, None), method


def test_the_host_of_streams_and_of_recordings_know_no_links(layouts: dict[str, Gateway]) -> None:
    streams = layouts["vercel"].ask(API.replace("api.", "wss."), link())
    assert (streams.status, streams.seen) == (404, None)
    recordings = layouts["vercel"].ask(ARTIFACT, link())
    assert (recordings.status, recordings.seen) == (403, None)


def test_without_a_gateway_key_the_gateway_does_not_start(caddy: Path, tmp_path: Path) -> None:
    text = caddyfile(endpoints.derive(Settings.model_validate(LAYOUTS["vercel"])), client_header="Cf-Connecting-Ip")
    (tmp_path / "Caddyfile").write_text(text)
    environment = {
        "HOME": str(tmp_path),
        "ARTIFACT_LINK_KEY": LINK_KEY,
        "CONNECTOR_SUBNET": "10.9.8.0/24",
        "UI_LOGIN_SHA256": login_hash(PASSWORD),
    }
    done = subprocess.run(
        [caddy, "adapt", "--config", tmp_path / "Caddyfile", "--adapter", "caddyfile"], env=environment, capture_output=True
    )
    assert done.returncode != 0
