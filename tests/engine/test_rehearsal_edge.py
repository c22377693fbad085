"""The stand-ins of Cloudflare's edge and of its connector, by themselves: rules, names, refusals, and whatever travels.

The connector runs as a process; as a container, in front of the real gateway, it is in tests/host/test_edge.py.
"""

import base64
import contextlib
import hashlib
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from components.edge.tunnel import connector_token
from lab.standins import connector
from lab.standins.edge import Edge
from lab.standins.providers import World, cloudflare
from lab.workspace import free_port
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(300)
SECRET = base64.b64encode(b"0" * 32).decode()
TUNNEL = "c1744f8b-faa1-48a4-9e5c-02ac921467fa"
LARGE = os.urandom(3_000_000)


class Origin(BaseHTTPRequestHandler):
    """Says what it was asked; ``/large`` has ranges, ``/echo`` returns a body, ``/ws`` echoes bytes after an upgrade."""

    protocol_version = "HTTP/1.1"

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path == "/large":
            first, _, last = self.headers.get("Range", f"bytes=0-{len(LARGE) - 1}").removeprefix("bytes=").partition("-")
            self.answer(LARGE[int(first) : int(last) + 1], 206 if "Range" in self.headers else 200)
        elif self.path == "/stream":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nfirst\r\n")
            self.wfile.flush()
            # Only when the client has seen the first part, it lets the second one come.
            self.server.go_on.wait(20)  # type: ignore[attr-defined]
            self.wfile.write(b"6\r\nsecond\r\n0\r\n\r\n")
        elif self.path == "/ws":
            self.send_response(101)
            self.send_header("Connection", "Upgrade")
            self.send_header("Upgrade", "websocket")
            self.end_headers()
            while data := self.connection.recv(65536):
                self.connection.sendall(data)
            self.close_connection = True
        else:
            said = {"method": self.command, "path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}}
            self.answer(json.dumps(said).encode(), X_Origin="itself")

    def do_POST(self) -> None:
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclass
class Rig:
    """A world with a tunnel, the edge, and a connector as a process."""

    world: World
    edge: Edge
    program: Path
    http: httpx.Client
    origin: ThreadingHTTPServer

    def dial(self, secret: str = SECRET, **variables: str) -> "subprocess.Popen[str]":
        """A connector that dials in with a token."""
        token = connector_token(account_id=next(iter(self.world.read()["accounts"])), tunnel_id=TUNNEL, secret=secret)
        env = {"TUNNEL_TOKEN": token, "REHEARSAL_EDGE": f"127.0.0.1:{self.edge.connector_port}", **variables}
        command = [str(self.program), "--no-autoupdate", "tunnel", "run"]
        return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)

    def route(self, *rules: dict[str, Any]) -> None:
        """The tunnel's ingress rules."""
        with self.world.edit() as data:
            data["configurations"][TUNNEL] = {"config": {"ingresses": [*rules, {"service": "http_status:404"}]}}

    def record(self, host: str, content: str = f"{TUNNEL}.cfargotunnel.com", *, proxied: bool = True) -> None:
        with self.world.edit() as data:
            (zone,) = data["zones"]
            data["records"][host] = {"zoneId": zone, "name": host, "type": "CNAME", "content": content, "proxied": proxied}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return connector.compile_agent(None, tmp_path_factory.mktemp("connector"))


@pytest.fixture
def rig(tmp_path: Path, program: Path) -> Iterator[Rig]:
    world = cloudflare.new_world(tmp_path / "world.json")
    with world.edit() as data:
        (account,) = data["accounts"]
        data["tunnels"][TUNNEL] = {"id": TUNNEL, "name": "skyvern-test", "accountId": account}
        data["tunnel_secrets"] = {TUNNEL: SECRET}
    origin = ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    origin.go_on = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=origin.serve_forever, daemon=True).start()
    with (
        Edge(world, tmp_path / "edge") as edge,
        httpx.Client(proxy=edge.proxy_url, verify=ssl.create_default_context(cafile=edge.ca_file), timeout=20) as http,
    ):
        yield Rig(world, edge, program, http, origin)
    origin.shutdown()
    origin.server_close()


@pytest.fixture
def connected(rig: Rig) -> Iterator[Rig]:
    """With a connector and a rule for api.example.com."""
    rig.record("api.example.com")
    rig.route({"hostname": "api.example.com", "service": f"http://127.0.0.1:{rig.origin.server_port}"})
    process = rig.dial()
    wait_for(lambda: rig.edge.connections("skyvern-test") == 4)
    yield rig
    process.terminate()
    assert process.wait(20) == 0
    wait_for(lambda: rig.edge.connections("skyvern-test") == 0)


def test_its_number_is_written_after_the_first_connection_and_not_before(rig: Rig, tmp_path: Path) -> None:
    """As by cloudflared (TUNNEL_PIDFILE): the monitor takes the file's time for that of a start."""
    file = tmp_path / "at"
    refused = rig.dial(base64.b64encode(b"1" * 32).decode(), TUNNEL_PIDFILE=str(file))
    wait_for(lambda: "Register tunnel error" in (refused.stderr or pytest.fail("no log")).readline())
    refused.terminate()
    assert (refused.wait(20), file.exists()) == (0, False)
    process = rig.dial(TUNNEL_PIDFILE=str(file))
    wait_for(lambda: file.exists() and file.read_text() == str(process.pid))
    process.terminate()
    assert process.wait(20) == 0


def test_a_request_arrives_as_cloudflare_sends_it(connected: Rig) -> None:
    forged = {"CF-Connecting-IP": "198.51.100.1", "X-Forwarded-For": "198.51.100.2", "X-Forwarded-Proto": "http"}
    answer = connected.http.get("https://api.example.com/a%2Fb//c?x=%20y;z&x=2", headers=forged)
    said = answer.json()
    assert said["path"] == "/a%2Fb//c?x=%20y;z&x=2"
    assert said["headers"]["host"] == "api.example.com"
    assert said["headers"]["cf-connecting-ip"] == "127.0.0.1"
    assert said["headers"]["x-forwarded-for"] == "198.51.100.2,127.0.0.1"
    assert said["headers"]["x-forwarded-proto"] == "https"
    assert answer.headers["server"] == "cloudflare"
    assert answer.headers["cf-ray"] == said["headers"]["cf-ray"]


def test_bodies_ranges_and_streams_pass(connected: Rig) -> None:
    url = "https://api.example.com"
    assert connected.http.get(f"{url}/large").content == LARGE
    part = connected.http.get(f"{url}/large", headers={"Range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, LARGE[1000:2000])
    assert connected.http.post(f"{url}/echo", content=LARGE).content == LARGE
    assert connected.http.head(f"{url}/large").status_code == 501
    with connected.http.stream("GET", f"{url}/stream") as answer:
        parts = answer.iter_raw()
        assert next(parts) == b"first"
        connected.origin.go_on.set()  # type: ignore[attr-defined]
        assert b"".join(parts) == b"second"


def test_many_bodies_at_once_come_back_whole(connected: Rig) -> None:
    """A connector that spoke HTTP itself broke off a few of a hundred answers: net/http closes a body when its answer begins."""
    with ThreadPoolExecutor(6) as pool:
        answers = list(
            pool.map(lambda _: connected.http.post("https://api.example.com/echo", content=LARGE, timeout=60), range(100))
        )
    assert all(answer.content == LARGE for answer in answers)


def test_a_websocket_passes_bytes_in_both_directions(connected: Rig) -> None:
    context = ssl.create_default_context(cafile=connected.edge.ca_file)
    with (
        socket.create_connection(("127.0.0.1", connected.edge.https_port), timeout=20) as raw,
        context.wrap_socket(raw, server_hostname="api.example.com") as line,
    ):
        line.sendall(b"GET /ws HTTP/1.1\r\nHost: api.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
        head = b""
        while b"early" not in head:
            head += line.recv(65536)
        assert head.startswith(b"HTTP/1.1 101")
        line.sendall(LARGE[:500_000])
        digest, count = hashlib.sha256(), 0
        while count < 500_000:
            data = line.recv(65536)
            digest.update(data)
            count += len(data)
        assert digest.digest() == hashlib.sha256(LARGE[:500_000]).digest()


def test_a_hundred_at_once_lose_none(connected: Rig) -> None:
    with ThreadPoolExecutor(100) as pool:
        url = "https://api.example.com/"
        answers = list(pool.map(lambda number: connected.http.get(f"{url}{number}", timeout=60).json()["path"], range(100)))
    assert answers == [f"/{number}" for number in range(100)]


def test_ingress_rules_apply_in_their_order(connected: Rig) -> None:
    for host in ("silent.example.com", "other.example.com"):
        connected.record(host)

    def statuses() -> list[int]:
        return [connected.http.get(f"https://{host}.example.com/").status_code for host in ("api", "silent", "other")]

    connected.route(
        {"hostname": "api.example.com", "service": "http_status:418"},
        {"hostname": "api.example.com", "service": f"http://127.0.0.1:{connected.origin.server_port}"},
        {"hostname": "silent.example.com", "service": f"http://127.0.0.1:{free_port()}"},
    )
    # The first rule of a host, an origin where nothing listens, and the last rule.
    assert statuses() == [418, 502, 404]
    with connected.world.edit() as data:
        data["configurations"].clear()
    assert statuses() == [503, 503, 503]


def test_an_origin_is_dialled_as_long_as_its_rule_allows(connected: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as clients:
        address = full.getsockname()
        # Whoever comes after these gets neither an answer nor a refusal.
        with contextlib.suppress(TimeoutError):
            for _ in range(5):
                clients.enter_context(socket.create_connection(address, timeout=0.5))
        service = f"http://127.0.0.1:{address[1]}"
        connected.route({"hostname": "api.example.com", "service": service, "originRequest": {"connectTimeout": 1}})
        began = time.monotonic()
        assert connected.http.get("https://api.example.com/").status_code == 502
        assert 0.9 < time.monotonic() - began < 15


def test_names_lead_where_the_records_say(rig: Rig) -> None:
    rig.record("api.example.com")
    assert rig.http.get("https://api.example.com/").status_code == 530
    with pytest.raises(httpx.ProxyError, match="502"):
        rig.http.get("https://nowhere.example.com/")
    # A record of a tunnel that is not proxied has no address.
    rig.record("grey.example.com", proxied=False)
    with pytest.raises(httpx.ProxyError, match="502"):
        rig.http.get("https://grey.example.com/")
    rig.record("app.example.com", "cname.vercel-dns.com", proxied=False)
    rig.edge.origins["vercel-dns.com"] = ("127.0.0.1", rig.origin.server_port)
    answer = rig.http.get("https://app.example.com/page")
    assert answer.json()["headers"]["x-forwarded-host"] == "app.example.com"
    assert "cf-ray" not in answer.headers
    assert answer.headers["x-origin"] == "itself"
    with rig.world.edit() as data:
        for zone in data["zones"].values():
            zone["status"] = "pending"
    with pytest.raises(httpx.ProxyError, match="502"):
        rig.http.get("https://api.example.com/")


def test_the_zone_decides_before_the_tunnel(rig: Rig) -> None:
    rig.record("api.example.com")
    with rig.world.edit() as data:
        (zone_id,) = data["zones"]
        settings = data["zones"][zone_id]["settings"]
        settings["always_use_https"] = "on"
        settings["security_header"]["strict_transport_security"] |= {"enabled": True, "max_age": 10}
        limit = {"period": 10, "requestsPerPeriod": 3, "mitigationTimeout": 10, "characteristics": ["cf.colo.id", "ip.src"]}
        for phase, expression, more in (
            ("http_request_firewall_custom", 'http.host eq "api.example.com" and http.request.uri.path eq "/no"', {}),
            ("http_ratelimit", 'starts_with(http.request.uri.path, "/api/")', {"ratelimit": limit}),
        ):
            rule = {"id": phase, "ref": phase, "action": "block", "enabled": True, "expression": expression, **more}
            data["rulesets"][phase] = {"zoneId": zone_id, "phase": phase, "rules": [rule]}
    moved = rig.http.get("http://api.example.com/a?b=c")
    assert (moved.status_code, moved.headers["location"]) == (301, "https://api.example.com/a?b=c")
    blocked = rig.http.get("https://api.example.com/no")
    assert (blocked.status_code, blocked.headers["x-rehearsal"]) == (403, "blocked by http_request_firewall_custom")
    assert blocked.headers["strict-transport-security"] == "max-age=10"
    assert [rig.http.get("https://api.example.com/api/x").status_code for _ in range(5)] == [530, 530, 530, 429, 429]
    assert rig.http.get("https://api.example.com/other").status_code == 530


def test_a_wrong_token_is_refused_and_a_live_tunnel_is_known_to_the_world(rig: Rig) -> None:
    stranger = rig.dial(secret=base64.b64encode(b"1" * 32).decode())
    assert stranger.stderr is not None
    assert "Unauthorized: Invalid tunnel secret" in stranger.stderr.readline()
    metrics = f"127.0.0.1:{free_port()}"
    ready = [str(rig.program), "tunnel", "--metrics", metrics, "ready"]
    process = rig.dial(TUNNEL_METRICS=metrics)
    wait_for(lambda: rig.edge.connections("skyvern-test") == 4)
    mark = Path(rig.world.read()["connectors"]["skyvern-test"])
    assert mark.exists()
    wait_for(lambda: subprocess.run(ready, check=False).returncode == 0)
    # Without the edge it is not ready.
    rig.edge.stop()
    wait_for(lambda: subprocess.run(ready, stderr=subprocess.DEVNULL, check=False).returncode == 1)
    assert not mark.exists()
    for dialled in (stranger, process):
        dialled.terminate()
        dialled.wait(20)


def test_access_is_before_the_tunnel_and_its_rule_checks_again(connected: Rig) -> None:
    connected.record("app.example.com")
    with connected.world.edit() as data:
        data["policies"]["p"] = {"includes": [{"email": {"email": "ops@example.com"}}]}
        application = {"aud": "a" * 64, "domain": "app.example.com", "policies": [{"id": "p"}]}
        data["applications"]["one"] = application

    def route(audience: str) -> None:
        access = {"required": True, "teamName": "acme", "audTags": [audience]}
        origin = f"http://127.0.0.1:{connected.origin.server_port}"
        connected.route({"hostname": "app.example.com", "service": origin, "originRequest": {"access": access}})

    route("a" * 64)
    url = "https://app.example.com/"
    assert connected.http.get(url).headers["location"].startswith("https://team.cloudflareaccess.com/")
    with pytest.raises(PermissionError):
        connected.edge.access_cookie("app.example.com", "other@example.com")
    cookie = connected.edge.access_cookie("app.example.com", "ops@example.com")
    assert connected.http.get(url, headers={"Cookie": cookie}).status_code == 200
    assert connected.http.get(url, headers={"Cookie": f"{cookie[:-4]}AAAA"}).status_code == 302
    # An ingress rule that names another application lets no one in.
    route("b" * 64)
    assert connected.http.get(url, headers={"Cookie": cookie}).status_code == 403
