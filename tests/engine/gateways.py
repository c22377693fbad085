"""The gateway's Caddy on this machine, in every layout, in front of a double for Skyvern and for the file server.

Caddy is built from the module that images/caddy pins; its configuration is the program's, with only addresses and folders of the
container replaced.
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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from components import endpoints
from components.host.gateway import HEALTH_PORT, caddyfile
from components.settings import Settings
from components.ui import login_hash
from lab.workspace import free_port
from ops.machine import go
from ops.paths import ROOT, cache_dir
from tests.support.program import VERCEL
from tests.support.security_table import API_KEY, GATEWAY_KEY, KEY, LINK_KEY, PASSWORD, SMOKE_API_KEY

TOKEN = "t" * 40
# What the double answers to /ui-session, too.
SESSION_TOKEN = f"{KEY['X-Api-Key'][:-1]}t"
CLOUDFLARE = {"provider": "cloudflare", "domain": "example.com", "api_token": TOKEN}
LAYOUTS: dict[str, dict[str, Any]] = {
    "loopback": {},
    "cloudflare": {"edge": CLOUDFLARE},
    "vercel": {"edge": CLOUDFLARE, "frontend": VERCEL},
    "vercel-without-artifacts": {"edge": CLOUDFLARE, "frontend": {**VERCEL, "artifacts": False}},
    "ngrok": {"edge": {"provider": "ngrok", "domain": "your-name.ngrok.app", "authtoken": TOKEN}},
}
CLIENT_HEADERS = {"loopback": None, "ngrok": "X-Forwarded-For"}


@dataclass(frozen=True)
class Answer:
    """What came back. seen: the request as the double behind the gateway saw it, None when none did."""

    status: int
    headers: Mapping[str, str]
    seen: dict[str, Any] | None
    text: bytes = b""


@dataclass(frozen=True)
class Gateway:
    """A running Caddy."""

    port: int
    log: Path
    pid: int

    def ask(
        self, host: str, path: str, headers: Mapping[str, str] | None = None, method: str = "GET", body: bytes = b""
    ) -> Answer:
        """The answer to a request with just these headers, and the length of a body."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        # As it is written here: the client would refuse what the gateway has to judge.
        line._validate_path = lambda url: None  # type: ignore[attr-defined]
        line.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": host, **(headers or {}), **({"Content-Length": str(len(body))} if body else {})}.items():
            line.putheader(name, value)
        line.endheaders()
        if body:
            # A refusal can come, and the connection go, while the body is still being sent.
            with suppress(ConnectionError):
                line.send(body)
        answer = line.getresponse()
        text = b"" if answer.status == 101 else answer.read()
        line.close()
        seen = json.loads(text) if answer.headers.get("X-Double") and text else None
        return Answer(answer.status, dict(answer.headers), {} if answer.status == 101 else seen, text)

    def say(self, request: bytes, *, seconds: float = 5, silence: float = 1) -> bytes:
        """All that comes back on a separate connection until it closes, is silent for a while or the time is over."""
        heard = b""
        until = time.monotonic() + seconds
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as line, suppress(OSError):
            line.sendall(request)
            line.settimeout(silence)
            while time.monotonic() < until and (piece := line.recv(65536)):
                heard += piece
        return heard

    def memory_mib(self) -> float:
        """The most memory that the process has had at once."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def worked_seconds(self) -> float:
        """How long the process has had a processor so far, in steps of a hundredth."""
        # pid (comm) state …; of these, the times for itself and in the kernel.
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Double(BaseHTTPRequestHandler):
    """Answers every request with what it saw, upgrades what asks for it, and knows two keys."""

    protocol_version = "HTTP/1.1"
    known = frozenset({API_KEY, KEY["X-Api-Key"], SESSION_TOKEN})
    # What was asked so far: by lines of requests, and the keys of key checks.
    lines: ClassVar[list[str]] = []
    checked: ClassVar[list[str]] = []
    # What a key check gets, where that is not an answer to its key.
    check_status: ClassVar[int | None] = None

    def _answer(self) -> None:
        self.lines.append(self.requestline)
        if self.path == "/api/v1/models":
            self.checked.append(self.headers.get("X-Api-Key", ""))
            if self.check_status:
                self._send(self.check_status, b'{"detail":"Invalid credentials"}')
                return
        if self.headers.get("Upgrade"):
            self.send_response(101)
            self.send_header("Connection", "Upgrade")
            self.send_header("Upgrade", "websocket")
            self.end_headers()
            self.close_connection = True
            return
        if self.path == "/api/v1/models" and self.headers.get("X-Api-Key") not in self.known:
            self._send(403, b'{"detail":"Invalid credentials"}')
            return
        length = self._read_body()
        seen = {
            "method": self.command,
            "path": self.path,
            "body": length,
            "token": SESSION_TOKEN,
            "headers": {key.lower(): value for key, value in self.headers.items()},
        }
        self._send(200, json.dumps(seen).encode(), {"X-Double": "1"})

    def _read_body(self) -> int:
        """How many bytes came."""
        if self.headers.get("Transfer-Encoding"):
            length = 0
            while size := int(self.rfile.readline() or b"0", 16):
                length += len(self.rfile.read(size))
                self.rfile.readline()
            return length
        return len(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_OPTIONS = do_HEAD = do_DELETE = do_PUT = do_PATCH = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing of clients that go."""


def build() -> Path:
    """The program of images/caddy, compiled once for its sources."""
    sources = sorted(path for path in (ROOT / "images" / "caddy").iterdir() if path.name != "Dockerfile")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    program = cache_dir() / f"caddy-{digest}"
    if not program.exists():
        go.ensure_go(print)
        folder = program.with_name(f"{program.name}.{os.getpid()}")
        folder.mkdir(parents=True)
        for path in sources:
            shutil.copy2(path, folder / path.name)
        subprocess.run(["go", "build", "-o", "caddy", "."], cwd=folder, env=go.variables(), check=True, timeout=800)
        (folder / "caddy").rename(program)
        shutil.rmtree(folder)
    return program


@contextmanager
def double(port: int = 0) -> Iterator[int]:
    """Port of a double for Skyvern and for the file server, a free one if none is given."""
    server = _Server(("127.0.0.1", port), Double)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@contextmanager
def running(
    caddy: Path,
    folder: Path,
    layout: str,
    upstream: int,
    *,
    subnet: str = "127.0.0.0/8",
    code: bool = False,
    monitor: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Gateway]:
    """Caddy with a layout's configuration. subnet: the network whose word on the client's address is believed.

    monitor: that of the monitor, if there is one.
    """
    port, health = free_port(), free_port()
    site = folder / "ui"
    (site / "assets").mkdir(parents=True)
    (site / "index.html").write_text("the UI")
    urls = endpoints.derive(Settings.model_validate(LAYOUTS[layout]))
    text = caddyfile(urls, client_header=CLIENT_HEADERS.get(layout, "Cf-Connecting-Ip"), code=code, monitor_subnet=monitor)
    for there, here in {
        endpoints.SERVER_URL.removeprefix("http://"): f"127.0.0.1:{upstream}",
        endpoints.ARTIFACTS_URL.removeprefix("http://"): f"127.0.0.1:{upstream}",
        f":{endpoints.GATEWAY_PORT} {{": f":{port} {{",
        f":{HEALTH_PORT} {{": f":{health} {{",
        "/srv/ui": str(site),
    }.items():
        assert there in text or layout.startswith("vercel")
        text = text.replace(there, here)
    (folder / "Caddyfile").write_text(text)
    secrets = {
        "ARTIFACT_LINK_KEY": LINK_KEY,
        "GATEWAY_KEY": GATEWAY_KEY,
        "SKYVERN_API_KEY": API_KEY,
        "SMOKE_API_KEY": SMOKE_API_KEY,
        "UI_LOGIN_SHA256": login_hash(PASSWORD),
    }
    log = folder / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [caddy, "run", "--config", folder / "Caddyfile", "--adapter", "caddyfile"],
            env={"HOME": str(folder), "CONNECTOR_SUBNET": subnet, **secrets, **(environment or {})},
            stdout=sink,
            stderr=sink,
        )
    try:
        for _ in range(200):
            assert process.poll() is None, log.read_text()
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        else:
            raise AssertionError(log.read_text())
        yield Gateway(port, log, process.pid)
        assert process.poll() is None, "the gateway ended by itself"
    finally:
        process.terminate()
        process.wait(20)
