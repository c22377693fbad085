"""A company's proxy and certificates: what each container gets, and that without them nothing is another (F10)."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.host import outgoing
from components.host.firewall import Destination, destinations
from components.settings import Settings, certificates, parse
from lab.standins.edge.certificates import Authority
from ops.paths import ROOT
from tests.support import program
from tests.support.program import CLOUDFLARE, plain

PROXY = {"proxy": "http://proxy.example.com:3128"}
OLLAMA = {"provider": "ollama", "model": "llava:7b"}
NGROK = program.NGROK
EDGES: list[dict[str, Any]] = [{"provider": "none"}, {**CLOUDFLARE, "past_proxy": True}, NGROK]
VARIABLES = {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "OUTBOUND_TRUST_ENV_PROXY"}


def settings(**sections: Any) -> Settings:
    return parse(sections, file="f", secret_keys=frozenset({"llm", "edge", "smtp", "storage"}))


@pytest.fixture
def ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Certificates of a company, in the checkout as ``ca.pem``."""
    Authority(tmp_path)
    monkeypatch.setattr(certificates, "ROOT", tmp_path)
    return (tmp_path / "ca.pem").read_text()


def test_without_them_no_container_is_another() -> None:
    run = program.run(settings(llm=OLLAMA))
    for part in ("server", "egress", "ollama-pull"):
        assert not VARIABLES & set(run.environment(part))
        assert run.container(part).inputs.get("command") == (["ollama-pull"] if part == "ollama-pull" else None)


def test_every_part_that_leaves_the_network_has_the_proxy() -> None:
    run = program.run(settings(host=PROXY, llm=OLLAMA, edge=NGROK))
    server = run.environment("server")
    assert server["HTTP_PROXY"] == server["HTTPS_PROXY"] == PROXY["proxy"]
    assert server["OUTBOUND_TRUST_ENV_PROXY"] == "true"
    # HTTP_PROXY would send Ollama's own client there.
    assert run.environment("ollama-pull")["HTTPS_PROXY"] == PROXY["proxy"]
    assert "HTTP_PROXY" not in run.environment("ollama-pull")
    assert yaml.safe_load(run.container("ngrok").inputs["command"][-1])["agent"]["proxy_url"] == PROXY["proxy"]
    # And no other: the model's server, the database and the gateway reach nothing outside.
    for part in ("ollama", "postgres", "gateway", "artifacts"):
        assert not VARIABLES & set(run.environment(part))


def test_the_stacks_own_names_are_asked_directly() -> None:
    chrome = {"type": "cdp-connect", "url": "http://chrome.lan:9222/"}
    store = {
        "type": "s3",
        "buckets": "acme",
        "access_key_id": "key",
        "secret_access_key": "s" * 20,
        "endpoint": "http://10.0.0.3:9000",
    }
    found = settings(
        host={"proxy": "http://10.0.0.9:3128"}, browser=chrome, storage=store, server={"allow": ["192.168.1.20:5678", "host:25"]}
    )
    direct = program.run(found).environment("server")["NO_PROXY"].split(",")
    parts = {container.inputs["hostname"] for container in program.run(found).of_type("docker:index/container:Container")}
    assert parts - {"firewall", "retention", "roles"} <= set(direct)
    assert {"localhost", "127.0.0.1", "::1", "ollama", "10.0.0.3", "192.168.1.20", "chrome.lan"} <= set(direct)
    # The proxy is private too, and is the one host that is not asked past it.
    assert "10.0.0.9" not in direct


@pytest.mark.parametrize(
    ("proxy", "opened"),
    [
        ("http://proxy.example.com:3128", "proxy.example.com"),
        ("http://10.0.0.9:3128", "10.0.0.9"),
        ("http://[fd00::9]:3128", "fd00::9"),
        ("http://93.184.216.34:3128", None),
    ],
)
def test_the_firewall_opens_the_proxy_and_nothing_else(proxy: str, opened: str | None) -> None:
    before = destinations(settings(llm=OLLAMA, edge=NGROK))
    after = destinations(settings(host={"proxy": proxy}, llm=OLLAMA, edge=NGROK))
    networks = ["models", "outgoing", "tunnel"] if opened else []
    assert set(after) - set(before) == {Destination(network=part, host=opened, port=3128) for part in networks}
    # cloudflared does not use it.
    cloudflare = destinations(settings(host={"proxy": proxy}, edge=EDGES[1]))
    assert {to.network for to in cloudflare} <= {"outgoing"}


def test_the_egress_proxy_keeps_its_rules_and_asks_its_parent(tmp_path: Path) -> None:
    command = plain(program.run(settings(host=PROXY)).container("egress").inputs["command"])
    script = command[2].replace("/tmp/", f"{tmp_path}/")  # noqa: S108  # the container's own
    (tmp_path / "egress-start").symlink_to(ROOT / "images/egress/egress-start")
    squid = tmp_path / "squid"
    squid.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/ran\n')
    squid.chmod(0o755)
    subprocess.run(["sh", "-c", script, *command[3:]], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True)
    assert (tmp_path / "ran").read_text() == f"-N -f {tmp_path}/squid.conf\n"
    lines = (tmp_path / "squid.conf").read_text().splitlines()
    assert lines == [
        "include /etc/squid/squid.conf",
        "cache_peer proxy.example.com parent 3128 0 no-query no-digest no-netdb-exchange default",
        # Of the names that are asked here, the smoke run's pages alone are the stack's.
        "always_direct allow smoke_site",
        "never_direct allow all",
    ]


@pytest.mark.parametrize("part", ["server", "ollama-pull"])
def test_certificates_stand_beside_the_public_ones(tmp_path: Path, ca: str, part: str) -> None:
    run = program.run(settings(host={"ca_file": "ca.pem"}, llm=OLLAMA))
    assert run.environment(part)["SSL_CERT_FILE"] == "/tmp/certificates.pem"  # noqa: S108  # the container's own
    command = [plain(element) for element in run.container(part).inputs["command"]]
    public, trusted = tmp_path / "public.crt", tmp_path / "certificates.pem"
    public.write_text("public\n")
    companys = tmp_path / "company-certificates.pem"
    script = command[2].replace("/tmp/certificates.pem", str(trusted)).replace("/tmp/company-certificates.pem", str(companys))  # noqa: S108
    script = script.replace("/etc/ssl/certs/ca-certificates.crt", str(public))
    program_name = command[-1]
    (tmp_path / program_name).write_text('#!/bin/sh\necho "$0 $#"\n')
    (tmp_path / program_name).chmod(0o755)
    for _ in range(2):
        done = subprocess.run(
            ["sh", "-c", script, *command[3:]],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"{tmp_path / program_name} 0\n"
        # At a restart, too, each once.
        assert (trusted.read_text(), companys.read_text()) == (f"public\n{ca}", ca)
    assert not {"HTTPS_PROXY"} & set(run.environment(part))


def test_certificates_make_no_command_too_long(tmp_path: Path, ca: str) -> None:
    many = ca * (certificates.MOST_BYTES // len(ca))
    (tmp_path / "many.pem").write_text(many)
    command = outgoing.with_certificates(settings(host={"ca_file": "many.pem"}).host, ["true"])
    assert command is not None
    assert max(len(str(element)) for element in command) < 128 * 1024
