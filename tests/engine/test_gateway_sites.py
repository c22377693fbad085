"""The gateway's sites, asked of a real Caddy: every host, path and key of the security table, in front of doubles.

Caddy is built from the module that images/caddy pins. Not here: what Skyvern and the file server themselves answer (tests/host).
"""

import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from components import endpoints
from components.host.gateway import HEALTH_PORT, caddyfile
from components.settings import Settings
from ops import bootstrap
from ops.bench.workspace import free_port
from ops.paths import ROOT, cache_dir
from tests.program import VERCEL
from tests.security_table import (
    API,
    API_KEY,
    APP,
    ARTIFACT,
    GATE,
    GATEWAY_KEY,
    KEY,
    LOGIN,
    OWN_PAGE,
    PASSWORD,
    PREFLIGHT,
    RECORDING,
    UPGRADE,
    WHO_GETS_WHAT,
)

pytestmark = pytest.mark.timeout(900)

TOKEN = "t" * 40
CLOUDFLARE = {"provider": "cloudflare", "domain": "example.com", "api_token": TOKEN}
LAYOUTS: dict[str, dict[str, Any]] = {
    "loopback": {},
    "cloudflare": {"edge": CLOUDFLARE},
    "vercel": {"edge": CLOUDFLARE, "frontend": VERCEL},
    "vercel-without-artifacts": {"edge": CLOUDFLARE, "frontend": {**VERCEL, "artifacts": False}},
    "ngrok": {"edge": {"provider": "ngrok", "domain": "your-name.ngrok.app", "authtoken": TOKEN}},
}


@dataclass(frozen=True)
class Answer:
    """What came back. seen: the request as the double behind the gateway saw it, None when none did."""

    status: int
    headers: Mapping[str, str]
    seen: dict[str, Any] | None


@dataclass(frozen=True)
class Gateway:
    """A running Caddy."""

    port: int
    log: Path

    def ask(self, host: str, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        line.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": host, **(headers or {})}.items():
            line.putheader(name, value)
        line.endheaders()
        answer = line.getresponse()
        text = b"" if answer.status == 101 else answer.read()
        line.close()
        seen = json.loads(text) if answer.headers.get("X-Double") else None
        return Answer(answer.status, dict(answer.headers), {} if answer.status == 101 else seen)


class _Double(BaseHTTPRequestHandler):
    """Answers every request with what it saw, and upgrades what asks for it."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        if self.headers.get("Upgrade"):
            self.send_response(101)
            self.send_header("Connection", "Upgrade")
            self.send_header("Upgrade", "websocket")
            self.end_headers()
            self.close_connection = True
            return
        seen = {"method": self.command, "path": self.path, "headers": {key.lower(): value for key, value in self.headers.items()}}
        body = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("X-Double", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_OPTIONS = do_HEAD = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="session")
def caddy() -> Path:
    """The program of images/caddy, compiled once for its sources."""
    sources = ROOT / "images" / "caddy"
    names = ("go.mod", "go.sum", "main.go")
    digest = hashlib.sha256(b"".join((sources / name).read_bytes() for name in names)).hexdigest()[:12]
    program = cache_dir() / f"caddy-{digest}"
    if not program.exists():
        bootstrap.ensure_go(print)
        build = program.with_name(f"{program.name}.{os.getpid()}")
        build.mkdir(parents=True)
        for name in names:
            shutil.copy2(sources / name, build / name)
        environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false"}
        subprocess.run(["go", "build", "-o", "caddy", "."], cwd=build, env=environment, check=True, timeout=800)
        (build / "caddy").rename(program)
        shutil.rmtree(build)
    return program


@pytest.fixture(scope="session")
def double() -> Iterator[int]:
    """Port of the double for Skyvern and for the file server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Double)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.fixture(scope="session")
def password_hash(caddy: Path) -> str:
    done = subprocess.run([caddy, "hash-password", "--plaintext", PASSWORD], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def start(
    caddy: Path, folder: Path, layout: str, double: int, password_hash: str, subnet: str
) -> tuple[Gateway, subprocess.Popen[bytes]]:
    """Caddy with a layout's configuration; only addresses and folders of the container are replaced by ones of this machine."""
    port, health = free_port(), free_port()
    site = folder / "ui"
    (site / "assets").mkdir(parents=True)
    (site / "index.html").write_text("the UI")
    header = {"loopback": None, "ngrok": "X-Forwarded-For"}.get(layout, "Cf-Connecting-Ip")
    text = caddyfile(endpoints.derive(Settings.model_validate(LAYOUTS[layout])), client_header=header)
    for there, here in {
        endpoints.SERVER_URL.removeprefix("http://"): f"127.0.0.1:{double}",
        endpoints.ARTIFACTS_URL.removeprefix("http://"): f"127.0.0.1:{double}",
        f":{endpoints.GATEWAY_PORT} {{": f":{port} {{",
        f":{HEALTH_PORT} {{": f":{health} {{",
        "/srv/ui": str(site),
    }.items():
        assert there in text or layout.startswith("vercel")
        text = text.replace(there, here)
    (folder / "Caddyfile").write_text(text)
    environment = {
        "HOME": str(folder),
        "CONNECTOR_SUBNET": subnet,
        "GATEWAY_KEY": GATEWAY_KEY,
        "SKYVERN_API_KEY": API_KEY,
        "UI_PASSWORD_HASH": password_hash,
    }
    log = folder / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [caddy, "run", "--config", folder / "Caddyfile", "--adapter", "caddyfile"], env=environment, stdout=sink, stderr=sink
        )
    for _ in range(200):
        assert process.poll() is None, log.read_text()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return Gateway(port, log), process
        except OSError:
            time.sleep(0.05)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="session")
def gateways(
    caddy: Path, double: int, password_hash: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Gateway]]:
    """One Caddy for each layout; what dials is the connector, as far as they know."""
    started = {
        layout: start(caddy, tmp_path_factory.mktemp(layout), layout, double, password_hash, "127.0.0.0/8") for layout in LAYOUTS
    }
    yield {layout: gateway for layout, (gateway, _) in started.items()}
    for _, process in started.values():
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize(("layout", "host", "path", "headers", "status"), WHO_GETS_WHAT)
def test_who_gets_what(
    gateways: dict[str, Gateway], layout: str, host: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = gateways[layout].ask(host, path, headers)
    assert answer.status == status
    if status >= 400:
        assert answer.seen is None, "refused, and yet it came through"
    assert "Server" not in answer.headers or answer.seen is not None


@pytest.mark.parametrize(("layout", "host"), [("cloudflare", API), ("cloudflare", APP), ("vercel", API)])
def test_a_preflight_needs_no_key_and_is_no_way_around_it(gateways: dict[str, Gateway], layout: str, host: str) -> None:
    assert gateways[layout].ask(host, "/v1/workflows", PREFLIGHT, "OPTIONS").status == 200
    assert gateways[layout].ask(host, "/v1/workflows", {**PREFLIGHT, **UPGRADE}, "OPTIONS").status == 403
    assert gateways[layout].ask(host, "/v1/workflows", {}, "OPTIONS").status == 403


@pytest.mark.parametrize(
    ("layout", "host", "headers"),
    [("cloudflare", APP, {**LOGIN, **OWN_PAGE}), ("vercel", API, GATE), ("loopback", "localhost", {**LOGIN, **OWN_PAGE})],
)
def test_a_session_is_asked_with_the_organisations_key(
    gateways: dict[str, Gateway], layout: str, host: str, headers: dict[str, str]
) -> None:
    answer = gateways[layout].ask(host, "/ui-session", headers)
    assert answer.seen is not None
    assert (answer.seen["method"], answer.seen["path"]) == ("POST", "/api/v1/ui-session")
    assert answer.seen["headers"]["x-api-key"] == API_KEY
    assert answer.headers["Cache-Control"] == "no-store"
    assert gateways[layout].ask(host, "/ui-session", headers, "POST").status == 405


def test_what_the_edge_and_the_browser_add_stays_here(gateways: dict[str, Gateway]) -> None:
    added = {
        **KEY,
        **GATE,
        **LOGIN,
        "Cookie": "CF_Authorization=jwt",
        "Cf-Access-Jwt-Assertion": "jwt",
        "Cf-Connecting-Ip": "198.51.100.7",
    }
    for layout, host in (("cloudflare", API), ("cloudflare", APP), ("vercel", API)):
        seen = gateways[layout].ask(host, "/v1/workflows", added).seen
        assert seen is not None
        assert seen["headers"]["x-api-key"] == KEY["X-Api-Key"]
        assert not {"authorization", "cookie", "x-gateway-key"} & set(seen["headers"])
        assert not [name for name in seen["headers"] if name.startswith("cf-")]
    recording = gateways["vercel"].ask(ARTIFACT, RECORDING, added).seen
    assert recording is not None
    assert recording["path"].startswith("/data/videos/x.webm")
    assert not {"authorization", "cookie", "x-gateway-key"} & set(recording["headers"])


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
    gateways: dict[str, Gateway], caddy: Path, double: int, password_hash: str, tmp_path: Path
) -> None:
    gateways["cloudflare"].ask(API, "/v1/from-the-connector", {**KEY, "Cf-Connecting-Ip": "198.51.100.7"})
    assert last_client(gateways["cloudflare"], "v1/from-the-connector") == "198.51.100.7"
    # What ngrok did not write itself stands further left.
    gateways["ngrok"].ask("your-name.ngrok.app", "/v1/from-ngrok", {**KEY, "X-Forwarded-For": "203.0.113.1, 198.51.100.8"})
    assert last_client(gateways["ngrok"], "v1/from-ngrok") == "198.51.100.8"
    # From another network the header is anybody's claim.
    gateway, process = start(caddy, tmp_path, "cloudflare", double, password_hash, "10.9.8.0/24")
    try:
        seen = gateway.ask(
            API, "/v1/from-elsewhere", {**KEY, "Cf-Connecting-Ip": "198.51.100.7", "X-Forwarded-For": "198.51.100.7"}
        ).seen
        assert last_client(gateway, "v1/from-elsewhere") == "127.0.0.1"
        assert seen is not None
        assert seen["headers"]["x-forwarded-for"] == "127.0.0.1"
    finally:
        process.terminate()
        process.wait(20)


def test_without_a_gateway_key_the_gateway_does_not_start(caddy: Path, password_hash: str, tmp_path: Path) -> None:
    text = caddyfile(endpoints.derive(Settings.model_validate(LAYOUTS["vercel"])), client_header="Cf-Connecting-Ip")
    (tmp_path / "Caddyfile").write_text(text)
    environment = {"HOME": str(tmp_path), "CONNECTOR_SUBNET": "10.9.8.0/24", "UI_PASSWORD_HASH": password_hash}
    done = subprocess.run(
        [caddy, "adapt", "--config", tmp_path / "Caddyfile", "--adapter", "caddyfile"], env=environment, capture_output=True
    )
    assert done.returncode != 0
