"""The local Vercel keeps to the world: what is deployed is built and served on its hosts, what is deleted is gone.

The site is the real one; in place of the edge stands a TLS server that gives session tokens.
"""

import hashlib
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from components.frontend.vercel import public_variables
from components.ui import login_hash
from lab.standins.edge.certificates import Authority
from lab.standins.providers import World, vercel
from lab.standins.vercel import build
from lab.standins.vercel.platform import LocalVercel
from lab.workspace import free_port
from tests.support.site import URLS

HOST = URLS.app_url.removeprefix("https://")
KEY = "TheGatewayKeyOfThisTest"
UI = {"sec-fetch-site": "same-origin"}


class Gateway(http.server.BaseHTTPRequestHandler):
    """Answers as api.DOMAIN: a token for the key, and tells which name was asked for."""

    def do_GET(self) -> None:
        right = self.headers["x-gateway-key"] == KEY and self.path == "/ui-session"
        body = json.dumps({"token": self.headers["host"]} if right else {}).encode()
        self.send_response(200 if right else 403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@dataclass
class Rehearsed:
    """A world with a project that has the domain, and the local Vercel beside it."""

    world: World
    local: LocalVercel
    port: int
    again: dict[str, Any]

    def deploy(self, identifier: str, password: str, **changed: str) -> str:
        """Makes a deployment for the project's production; its own host."""
        uploaded = {}
        with self.world.edit() as data:
            files = Path(data["vercel"]["files"])
            for path in build.SITE.rglob("*"):
                name = path.relative_to(build.SITE)
                if path.is_file() and name.parts[0] not in build.LEFT_OUT:
                    uploaded[str(name)] = hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
                    shutil.copy(path, files / uploaded[str(name)])
            secret = {"GATEWAY_KEY": KEY, "UI_LOGIN_SHA256": login_hash(password)}
            data["vercel"]["deployments"][identifier] = {
                "id": identifier,
                "projectId": "prj_1",
                "production": True,
                "url": f"site-{identifier}.vercel.app",
                "uploaded": uploaded,
                "variables": {**public_variables(URLS, "en"), **secret, **changed},
            }
        self.local.follow()
        return f"site-{identifier}.vercel.app"

    def get(self, host: str, path: str = "/", password: str = "", headers: dict[str, str] | None = None) -> httpx.Response:
        login = ("skyvern", password) if password else None
        url = f"http://127.0.0.1:{self.port}{path}"
        return httpx.get(url, headers={"host": host, **(headers or {})}, auth=login, trust_env=False, timeout=30)

    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.local.folder / "status.json").read_text())
        return told


@pytest.fixture
def rehearsed(tmp_path: Path) -> Iterator[Rehearsed]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    authority = Authority(tmp_path)
    server.socket = authority.context("example.com").wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    world = World.create(tmp_path / "world.json", {"records": {}})
    vercel.add_account(world)
    with world.edit() as data:
        data["vercel"]["projects"]["prj_1"] = {"id": "prj_1", "name": "site", "production": None, **build.site_settings()}
        data["vercel"]["domains"][HOST] = {"domain": HOST, "projectId": "prj_1", "challenge": "x"}
    port = free_port()
    edge = ("127.0.0.1", server.server_address[1])
    given: dict[str, Any] = {"port": port, "domain": "example.com", "edge": edge, "ca_file": authority.certificate}
    found = Rehearsed(world, LocalVercel(world, tmp_path / "vercel", **given), port, given)
    found.local.start()
    yield found
    found.local.stop()
    server.shutdown()


def test_deployments_come_and_go_with_the_world(rehearsed: Rehearsed) -> None:
    assert rehearsed.get(HOST).status_code == 404
    first = rehearsed.deploy("dpl_1", "the first")
    assert rehearsed.get(HOST).status_code == 401
    page = rehearsed.get(HOST, "/workflows", "the first")
    assert (page.status_code, 'id="root"' in page.text) == (200, True)
    assert rehearsed.get("app.example.org", "/", "the first").status_code == 404
    # Its own address is for the team alone, as is the project's.
    for host in (first, "site.vercel.app"):
        answer = rehearsed.get(host, "/", "the first")
        assert (answer.status_code, answer.text) == (401, "Authentication Required\n")
    # The public name leads to the edge, whose certificate is trusted.
    session = rehearsed.get(HOST, "/ui-session", "the first", UI)
    assert (session.status_code, session.json()) == (200, {"token": "api.example.com"})

    rehearsed.deploy("dpl_2", "the second")
    assert rehearsed.status() == {"dpl_1": "ready", "dpl_2": "ready"}
    assert rehearsed.get(HOST, "/", "the first").status_code == 401
    assert rehearsed.get(HOST, "/", "the second").status_code == 200
    with rehearsed.world.edit() as data:
        del data["vercel"]["deployments"]["dpl_1"]
    rehearsed.local.follow()
    assert rehearsed.get(first).status_code == 404
    assert [path.name for path in rehearsed.local.folder.glob("dpl_*")] == ["dpl_2.output"]

    # What cannot be built is told, and the domain leads to what was built before.
    rehearsed.deploy("dpl_3", "the third", VITE_API_BASE_URL="no URL")
    assert "VITE_API_BASE_URL is not a plain URL or word" in rehearsed.status()["dpl_3"]
    assert rehearsed.get(HOST, "/", "the third").status_code == 401
    assert rehearsed.get(HOST, "/", "the second").status_code == 200

    # After a reboot, everything is built again, in the same place.
    rehearsed.local.stop()
    rehearsed.local = LocalVercel(rehearsed.world, rehearsed.local.folder, **rehearsed.again)
    rehearsed.local.start()
    assert rehearsed.get(HOST, "/", "the second").status_code == 200
