"""The parts of script/rehearse that decide or print something; what it deploys is tested in tests/host."""

import base64
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from pydantic import SecretStr

import lab.rehearsal.__main__ as command
from components.host.images import ImageSource
from lab.rehearsal import browser, stack
from lab.rehearsal.servers import Servers, find
from lab.rehearsal.stack import Place
from lab.standins.edge.certificates import Authority
from ops.clients import process
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.images import source
from ops.machine import go, system
from ops.observe import smoke
from ops.observe.smoke.site import Resolver, client_for
from tests.support.stack_outputs import OUTPUTS

DOCKER = Docker("unix:///nowhere")


def servers_at(folder: Path) -> Servers:
    return Servers(
        pid=1,
        vercel_pid=2,
        https_port=8443,
        connector_port=7844,
        proxy_url="http://127.0.0.1:3128",
        ca_file=str(folder / "ca.pem"),
    )


# --- The stack file ------------------------------------------------------------------------------------------------------


def test_the_committed_stack_file_has_the_shape_of_production() -> None:
    settings, domain = stack.settings()
    assert (settings.frontend.provider, settings.edge.provider, domain) == ("vercel", "cloudflare", "skyvern.test")
    assert settings.frontend.team == stack.TEAM  # type: ignore[union-attr]
    assert "secure" not in stack.COMMITTED.read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("domain: skyvern.test", "domain: https://skyvern.test"),
            'edge.domain: "https://skyvern.test" is a URL; write the bare',
        ),
        (
            ("provider: vercel\n    team: rehearsal\n    plan: pro", "provider: gateway"),
            "frontend.provider: is not that of production",
        ),
        (("plan: free", "plan: gold"), "edge.plan: "),
    ],
)
def test_a_wrong_stack_file_is_one_line(
    change: tuple[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "Pulumi.rehearsal.yaml"
    text = stack.COMMITTED.read_text()
    assert change[0] in text
    file.write_text(text.replace(*change))
    monkeypatch.setattr(stack, "COMMITTED", file)
    with pytest.raises(UserError) as wrong:
        stack.settings()
    assert str(wrong.value).startswith(f"Pulumi.rehearsal.yaml: {message}")
    assert "\n" not in str(wrong.value)


# --- Before anything is changed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["node", "npm", "openssl"])
def test_a_missing_tool_is_told_with_its_package(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, **_: None if name == missing else f"/usr/bin/{name}")
    with pytest.raises(UserError, match=f"^rehearsal: {missing} is missing; run: sudo apt-get install -y "):
        command.check_tools()


def test_an_old_node_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, **_: f"/usr/bin/{name}")
    monkeypatch.setattr(go, "ensure_go", lambda say: Path("/usr/bin"))
    monkeypatch.setattr(process, "capture", lambda *arguments, **_: b"v18.20.4\n")
    with pytest.raises(UserError, match=r"Node\.js 18\.20\.4 is too old"):
        command.check_tools()


@pytest.mark.parametrize(
    ("requested", "made_with", "reachable", "chosen"),
    [
        (None, None, True, "official"),
        (None, None, False, "packages"),
        (None, "packages", True, "packages"),
        (None, "official", False, "official"),
        ("packages", None, True, "packages"),
        ("official", "packages", True, "rehearsal: its data was made with packages images; run script/rehearse --destroy first"),
    ],
)
def test_images_come_from_where_they_can(
    requested: ImageSource | None, made_with: str | None, reachable: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "source_of", lambda docker, volume: made_with)
    monkeypatch.setattr(system, "answers", lambda *arguments, **_: reachable)
    if chosen.startswith("rehearsal: "):
        with pytest.raises(UserError, match=f"^{chosen}$"):
            command.choose_source(requested, DOCKER)
    else:
        assert command.choose_source(requested, DOCKER) == chosen


# --- The last lines ------------------------------------------------------------------------------------------------------


def test_the_summary_says_how_to_get_there_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Authority(tmp_path).context("skyvern.test")
    names = {
        name: f"https://{host}.skyvern.test" for name, host in (("app_url", "app"), ("api_url", "api"), ("stream_url", "wss"))
    }
    outputs = OUTPUTS.model_copy(update={**names, "gateway_key": SecretStr("TheGatewayKey")})
    printed = command.summary(Place(tmp_path), servers_at(tmp_path), outputs, "skyvern.test", seconds=100, kept=True)
    for wanted in ("https://app.skyvern.test", "--connect-to api.skyvern.test:443:127.0.0.1:8443", "--destroy", "stand-in"):
        assert wanted in printed
    for secret in (outputs.api_key, outputs.ui_password, outputs.gateway_key):
        assert secret is not None
        assert secret.get_secret_value() not in printed
    brief = command.summary(Place(tmp_path), servers_at(tmp_path), outputs, "skyvern.test", seconds=100, kept=False)
    assert "Everything was removed" in brief
    assert "--connect-to" not in brief


def test_the_flag_and_the_policy_name_the_authority(tmp_path: Path) -> None:
    certificate = Authority(tmp_path).certificate
    public = subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-pubkey"], capture_output=True, check=True).stdout
    key = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=public, capture_output=True, check=True).stdout
    assert browser.fingerprint(certificate) == base64.b64encode(hashlib.sha256(key).digest()).decode()
    (encoded,) = json.loads(browser.policy(certificate))["CACertificates"]
    der = subprocess.run(["openssl", "x509", "-in", certificate, "-outform", "der"], capture_output=True, check=True).stdout
    assert base64.b64decode(encoded) == der


def test_servers_of_another_process_are_not_ours(tmp_path: Path) -> None:
    assert find(tmp_path) is None
    # A number that another process has by now.
    (tmp_path / "servers.json").write_text(json.dumps(servers_at(tmp_path).__dict__))
    assert find(tmp_path) is None


# --- How clients reach names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["127.0.0.1", ":8443", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:99999", "127.0.0.1:x"])
def test_a_wrong_address_is_one_line(given: str) -> None:
    with pytest.raises(UserError, match=r"--connect-to: .* is not an address with a port; write it as"):
        smoke.parse_resolver(None, given)


def test_a_resolver_is_read(tmp_path: Path) -> None:
    assert smoke.parse_resolver(None, None) == Resolver()
    assert smoke.parse_resolver(None, "[::1]:8443") == Resolver(connect_to=("::1", 8443))
    with pytest.raises(UserError, match=r"--ca-file: .*none\.pem does not exist"):
        smoke.parse_resolver(tmp_path / "none.pem", None)


class Names(BaseHTTPRequestHandler):
    """Answers with the name that was asked for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = str(self.headers["host"]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def tls(tmp_path: Path) -> Callable[[str], int]:
    def start(domain: str) -> int:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Names)
        server.socket = Authority(tmp_path).context(domain).wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        return server.server_address[1]

    return start


def test_smoke_gets_to_a_name_that_only_this_machine_has(tls: Callable[[str], int], tmp_path: Path) -> None:
    outputs = OUTPUTS.model_copy(update={"app_url": "https://app.skyvern.test"})
    address = ("127.0.0.1", tls("skyvern.test"))
    with client_for(outputs, Resolver(ca_file=tmp_path / "ca.pem", connect_to=address)) as client:
        assert [client.get(f"https://{name}.skyvern.test/").text for name in ("app", "api")] == [
            "app.skyvern.test",
            "api.skyvern.test",
        ]
        # The certificate is checked against the name that is asked for.
        with pytest.raises(Exception, match=r"CERTIFICATE_VERIFY_FAILED.*app\.example\.com"):
            client.get("https://app.example.com/")
    with (
        client_for(outputs, Resolver(connect_to=address)) as client,
        pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.get("https://app.skyvern.test/")
