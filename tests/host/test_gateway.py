"""What the gateway refuses, asked of the real one in front of the real Skyvern. What it lets through is in the smoke run."""

import secrets
import socket

import httpx
import pytest

from tests.host.conftest import Checkout
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(4800)
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


@pytest.fixture(scope="module")
def app(checkout: Checkout, first_up: str) -> str:
    return checkout.output("app_url")


@pytest.fixture(scope="module")
def key(checkout: Checkout, first_up: str) -> str:
    return checkout.output("api_key")


def status(url: str, headers: dict[str, str] | None = None, method: str = "GET") -> int:
    return httpx.request(method, url, headers=headers or {}, timeout=20).status_code


@pytest.mark.parametrize(
    ("path", "refusal"),
    [
        ("/internal/auth/status", 404),
        ("/api/v1/internal/auth/status", 404),
        ("/docs", 404),
        ("/redoc", 404),
        ("/openapi.json", 404),
        ("/%64ocs", 404),
        # Two programs may read it differently, so nothing is judged.
        ("//docs", 400),
    ],
)
def test_hidden_paths_are_hidden_from_the_key_too(app: str, key: str, path: str, refusal: int) -> None:
    assert status(app + path, {"x-api-key": key}) == refusal


def test_a_stream_belongs_to_the_uis_own_pages(app: str, key: str) -> None:
    url = f"{app}/api/v1/stream/workflow_runs/wr_1?apikey={key}"
    assert status(url, {**UPGRADE, "Origin": "https://evil.example"}) == 403
    assert status(f"{app}/api/v1/stream/workflow_runs/wr_1", UPGRADE) == 403
    # The same request from the UI's own origin is upgraded.
    host, port = app.removeprefix("http://").split(":")
    head = "".join(f"{name}: {value}\r\n" for name, value in {**UPGRADE, "Origin": app, "Host": f"{host}:{port}"}.items())
    with socket.create_connection((host, int(port)), timeout=20) as line:
        line.sendall(f"GET /api/v1/stream/workflow_runs/wr_1?apikey={key} HTTP/1.1\r\n{head}\r\n".encode())
        assert line.recv(12) == b"HTTP/1.1 101"


def test_a_preflight_is_no_way_around_the_key(app: str) -> None:
    preflight = {"Origin": app, "Access-Control-Request-Method": "GET"}
    assert status(f"{app}/v1/workflows", preflight, "OPTIONS") == 200
    assert status(f"{app}/v1/workflows", {**preflight, **UPGRADE}, "OPTIONS") == 403
    assert status(f"{app}/v1/workflows", method="OPTIONS") == 403


@pytest.mark.parametrize("name", ["apikey", "token", "APIKEY", "path"])
def test_the_log_holds_no_query(checkout: Checkout, app: str, name: str) -> None:
    marker, request = secrets.token_hex(16), secrets.token_hex(16)
    status(f"{app}/v1/{request}?{name}={marker}")
    status(f"{app}//x/{request}?{name}={marker}")

    def log() -> str:
        return checkout.docker.logs("skyvern-dev-gateway")

    # A line is written behind the answer.
    wait_for(lambda: log().count(f"/{request}?REDACTED") == 2)
    assert marker not in log()


def test_a_foreign_page_cannot_show_what_the_login_opens(checkout: Checkout, app: str) -> None:
    login = ("skyvern", checkout.output("ui_password"))
    for path in ("/", "/assets/none.js", "/artifact/image?path=/data/artifacts/none.png"):
        answer = httpx.get(app + path, auth=login, headers={"Sec-Fetch-Site": "cross-site"}, timeout=20)
        assert answer.headers["cross-origin-resource-policy"] == "same-origin", path


def test_the_steps_of_a_task_are_what_the_stack_file_says(checkout: Checkout, app: str, key: str) -> None:
    found = httpx.get(f"{app}/api/v1/organizations", headers={"x-api-key": key}, timeout=20).json()
    (organization,) = found["organizations"] if isinstance(found, dict) else found
    assert organization["max_steps_per_run"] == 25
