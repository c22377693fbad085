"""Whether browsers reach the internet, asked of the real Squid: a host with a public address (TEST-NET-2) stands for it (F06).

Then addresses that the host and the stack both want (F16). Both on the running dev stack, in seconds.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.host.network import block
from lab.standins.edge.certificates import Authority
from lab.workspace import free_port
from ops.clients.docker import PYTHON
from ops.observe import internet, internet_probe
from tests.host.conftest import Checkout
from tests.host.programs import SERVE_TLS
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(4800)
SERVER, EGRESS = "skyvern-dev-server", "skyvern-dev-egress"
NETWORK, STAND_IN, CLOSED = "internet-stand-in", "internet-host", "internet-closed"
# A page as Chromium shows it; with an argument, behind the start's step for the certificates on standard input.
BROWSE = """
import importlib.machinery, importlib.util, pathlib, subprocess, sys

pathlib.Path("/tmp/company-certificates.pem").write_text(sys.stdin.read())
loader = importlib.machinery.SourceFileLoader("start", "/usr/local/bin/skyvern-start")
start = importlib.util.module_from_spec(importlib.util.spec_from_loader("start", loader))
loader.exec_module(start)
if sys.argv[1:]:
    start.trust_certificates()
chromium = ["/usr/lib/chromium/chromium", "--headless", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
subprocess.run([*chromium, "--dump-dom", "https://www.internet.test/"], stderr=subprocess.STDOUT, timeout=60)
"""


@pytest.fixture(scope="module")
def authority(checkout: Checkout, first_up: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    """Who signed the certificate of www.internet.test, which answers over TLS on a network that has the egress proxy."""
    docker, folder = checkout.docker, tmp_path_factory.mktemp("certificates")
    authority = Authority(folder)
    authority.context("internet.test")
    image = docker.inspect(SERVER)["Config"]["Image"]
    docker.run("network", "create", "--internal", "--subnet", "198.51.100.0/24", NETWORK)
    try:
        docker.run("network", "connect", NETWORK, EGRESS)
        joined = ("--detach", "--network", NETWORK, "--user=0:0")
        docker.run(
            *("run", *joined, "--name", STAND_IN, "--network-alias", "www.internet.test", "--network-alias", "www.other.test"),
            *("--volume", f"{folder}:/certificates:ro", image, *PYTHON, SERVE_TLS),
        )
        docker.run("run", *joined, "--name", CLOSED, "--network-alias", "closed.internet.test", image, "sleep", "300")
        yield authority
    finally:
        docker.run("rm", "--force", STAND_IN, CLOSED)
        docker.run("network", "disconnect", "--force", NETWORK, EGRESS)
        docker.run("network", "rm", NETWORK)


def test_how_far_a_request_gets(checkout: Checkout, authority: Authority) -> None:
    docker = checkout.docker
    try:
        docker.run("exec", "--interactive", SERVER, "sh", "-c", "cat > /tmp/ca.pem", stdin=authority.certificate.read_bytes())

        def ask(*hosts: str) -> dict[str, str]:
            text = Path(internet_probe.__file__).read_text()
            trusted = ("exec", "--env", "SSL_CERT_FILE=/tmp/ca.pem", SERVER)
            printed = docker.run(*trusted, *PYTHON, text, "egress:3128", "every", *hosts)
            return {answer["host"]: answer["step"] for answer in json.loads(printed)}

        # Until it listens.
        wait_for(lambda: not ask("www.internet.test")["www.internet.test"], pause=0.25)
        assert ask("www.internet.test", "closed.internet.test", "www.other.test", "server", "nowhere.internet.test") == {
            "www.internet.test": "",
            "closed.internet.test": "connect",
            "www.other.test": "certificate",
            "server": "private",
            "nowhere.internet.test": "name",
        }
        # As smoke and doctor ask: by the authorities that the image trusts.
        (answer,) = internet.ask(docker, SERVER, ["www.internet.test"])
        assert answer.step == "certificate"
    finally:
        docker.run("exec", SERVER, "rm", "--force", "/tmp/ca.pem")  # noqa: S108


@pytest.mark.parametrize("trusted", [False, True])
def test_a_browser_trusts_a_companys_certificate(checkout: Checkout, authority: Authority, *, trusted: bool) -> None:
    """host.ca_file, as the server's start makes it known (F10)."""
    docker = checkout.docker
    image = docker.inspect(SERVER)["Config"]["Image"]
    options = ("--rm", "--interactive", "--network", NETWORK, "--tmpfs=/tmp:mode=1777", "--tmpfs=/home/skyvern:mode=1777")
    page = docker.run(
        *("run", *options, "--read-only", image, *PYTHON, BROWSE, *(["trusted"] if trusted else [])),
        stdin=authority.certificate.read_bytes(),
    )
    assert ("x" * 100 in page) is trusted, page[-1000:]


def test_an_offline_stack_says_so(checkout: Checkout, first_up: str) -> None:
    """The stack file of the tests does."""
    (line,) = [line for line in first_up.splitlines() if line.split()[:2] == ["n/a", "internet"]]
    assert line.endswith("not asked: offline by the stack file (host.internet)")
    assert "WARNING" not in first_up


def test_addresses_that_somebody_else_has(checkout: Checkout, first_up: str) -> None:
    """A route on one of the stack's networks is doctor's; a network where a new stack's would be ends its up before it begins."""
    docker = checkout.docker
    route = "10.213.228.16/28"
    assert docker.inspect("skyvern-dev-edge")["IPAM"]["Config"] == [{"Subnet": "10.213.228.0/27", "Gateway": "10.213.228.1"}]
    taken = str(block("10.213.0.0/16", "skyvern-twin"))
    checkout.write_stack("twin", port=free_port())
    # No container has one of these addresses.
    subprocess.run(["ip", "route", "add", route, "dev", "lo"], check=True)
    docker.run("network", "create", "--internal", "--subnet", taken, "shop")
    try:
        found = json.loads(checkout.run("bin/ops", "doctor", "-s", "dev", "--json", check=False).stdout)["findings"]
        (finding,) = [finding for finding in found if finding["check"] == "networks"]
        assert finding["subject"] == f"{route} on lo"
        assert "host.networks: 10.87.0.0/16" in finding["fix"]
        refused = checkout.run("script/up", "--stack", "twin", "--yes", check=False)
        assert refused.returncode == 1
        assert f"nothing was changed: Pulumi.twin.yaml: host.networks: 10.213.0.0/16 gives the stack {taken}" in refused.stderr
        assert "(Docker's network shop); write 10.87.0.0/16" in refused.stderr
    finally:
        subprocess.run(["ip", "route", "del", route, "dev", "lo"], check=True)
        docker.run("network", "rm", "shop")
        (checkout.root / "Pulumi.twin.yaml").unlink()
