"""A stack behind a company's proxy with certificates of its own: a real Squid is the only way out of the machine (F10).

The proxy runs in the daemon's network, on an address of the host, and knows two names; their site's certificate is the company's.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.host import images
from lab.standins.edge.certificates import Authority
from lab.workspace import free_port
from ops.clients.docker import PYTHON, Docker
from ops.observe import internet
from ops.observe.smoke.site import Site, client_for
from ops.observe.smoke.workflow_checks import definition, finished_run
from ops.stack.outputs import parse
from tests.host.conftest import IMAGES, Checkout, as_person, deployed
from tests.host.programs import SERVE_TLS
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.timeout(4800), pytest.mark.nightly]
STACK = "proxied"
PREFIX = f"skyvern-{STACK}"
ADDRESS, PORT = "10.99.0.1", 3128
NETWORK, SITE, PROXY = "company-internet", "company-site", "company-proxy"
# Skyvern goes to no address that is reserved, those for examples among them. The network leads nowhere.
INTERNET, SITE_ADDRESS = "11.22.33.0/24", "11.22.33.9"
MODEL = "registry.invalid/tests/tiny:1m"
CONFIGURATION = f"""
http_port {ADDRESS}:{PORT}
http_access allow all
access_log stdio:/dev/stdout
cache deny all
pid_filename none
cache_log /dev/null
# A machine whose name has no domain has no other.
visible_hostname company-proxy
"""
# As Skyvern asks a model.
ASK = """
import litellm
answer = litellm.completion(
    model="openai/m", api_base="https://model.internet.test/v1", api_key="k", messages=[{"role": "user", "content": "?"}]
)
print(answer.choices[0].message.content)
"""


@pytest.fixture(scope="module")
def docker(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """The daemon with the stack, whose host has no other way out than the proxy."""
    docker, folder = checkout.docker, tmp_path_factory.mktemp("company")
    authority = Authority(folder)
    authority.context("internet.test")
    (folder / "squid.conf").write_text(CONFIGURATION)
    (checkout.root / "company-ca.pem").write_bytes(authority.certificate.read_bytes())
    llm = {"provider": "ollama", "model": MODEL, "memory_mib": 1024, "cpus": 1.0}
    checkout.write_stack(STACK, port=free_port(), llm=llm)
    # By this machine's own way, because nobody listens at the proxy's address yet.
    checkout.run("script/bootstrap", "--stack", STACK)
    checkout.run("bin/ops", "images", "build", "--stack", STACK, timeout_seconds=4500)
    path = checkout.root / f"Pulumi.{STACK}.yaml"
    keys = f"    proxy: http://{ADDRESS}:{PORT}\n    ca_file: company-ca.pem\n"
    path.write_text(path.read_text().replace("  skyvern:host:\n", f"  skyvern:host:\n{keys}"))
    subprocess.run(["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"], check=True)
    try:
        with deployed(checkout, STACK):
            docker.run("network", "create", "--internal", "--subnet", INTERNET, NETWORK)
            try:
                serve_internet(docker, folder)
                yield docker
            finally:
                docker.run("rm", "--force", SITE, PROXY)
                for part in ("egress", "server"):
                    docker.run("network", "disconnect", "--force", NETWORK, f"{PREFIX}-{part}")
                docker.run("network", "rm", NETWORK)
    finally:
        subprocess.run(["ip", "address", "del", f"{ADDRESS}/32", "dev", "lo"], check=True)


def serve_internet(docker: Docker, folder: Path) -> None:
    """A site of two names, a proxy that reaches it, and its address for those who check it before they ask the proxy."""
    image = docker.inspect(f"{PREFIX}-server")["Config"]["Image"]
    names = ("www.internet.test", "model.internet.test")
    docker.run(
        *("run", "--detach", "--user=0:0", "--network", NETWORK, f"--ip={SITE_ADDRESS}", "--name", SITE),
        *(f"--network-alias={name}" for name in names),
        *("--volume", f"{folder}:/certificates:ro", image, *PYTHON, SERVE_TLS),
    )
    docker.run(
        *("run", "--detach", "--network=host", "--name", PROXY, *(f"--add-host={name}:{SITE_ADDRESS}" for name in names)),
        *("--volume", f"{folder}/squid.conf:/company.conf:ro", "--entrypoint=squid"),
        # A process of its own for the work would write its log nowhere.
        *(images.references(IMAGES)["egress"], "-N", "-f", "/company.conf"),
    )
    for part in ("egress", "server"):
        docker.run("network", "connect", NETWORK, f"{PREFIX}-{part}")


def asked(docker: Docker) -> set[tuple[str, str]]:
    """Who had the proxy connect to what: address of a container and destination."""
    lines = [line.split() for line in docker.run("logs", PROXY).splitlines()]
    return {(words[2], words[6]) for words in lines if len(words) > 6 and words[5] == "CONNECT"}


def addresses(docker: Docker, part: str) -> set[str]:
    return {str(network["IPAddress"]) for network in docker.inspect(f"{PREFIX}-{part}")["NetworkSettings"]["Networks"].values()}


def test_pages_come_through_both_proxies_and_are_trusted(checkout: Checkout, docker: Docker) -> None:
    """The check of smoke and doctor first, then a browser."""

    def failure() -> internet.Failure | None:
        return internet.failure(internet.ask(docker, f"{PREFIX}-server", ["www.internet.test"]))

    wait_for(lambda: failure() is None, lambda: f"{failure()}\n{docker.logs(PROXY)}", pause=0.5)
    text = checkout.pulumi(f"stack output --json --show-secrets -s {STACK}").stdout
    outputs = parse(STACK, text)
    with client_for(outputs) as client:
        site = as_person(Site(outputs, client, docker))
        with finished_run(site, definition("Behind a proxy", "https://www.internet.test/")) as run:
            assert (run["status"], run["failure_reason"]) == ("completed", None)
    asking = {who for who, what in asked(docker) if what == "www.internet.test:443"}
    assert asking
    assert asking <= addresses(docker, "egress")


def test_the_server_asks_a_model_through_it(docker: Docker) -> None:
    assert docker.run("exec", f"{PREFIX}-server", *PYTHON, ASK).strip().endswith("Through the proxy.")

    def asking() -> set[str]:
        return {who for who, what in asked(docker) if what == "model.internet.test:443"}

    # Squid writes it down once the connection has ended.
    wait_for(lambda: bool(asking()), lambda: docker.logs(PROXY), seconds=60, pause=1)
    assert asking() <= addresses(docker, "server")


def test_ollamas_download_asks_it(docker: Docker) -> None:
    def pulling() -> set[str]:
        return {who for who, what in asked(docker) if what == "registry.invalid:443"}

    # Its first tries were before the proxy was there, and it waits twice as long after each.
    wait_for(lambda: bool(pulling()), lambda: docker.logs(f"{PREFIX}-ollama-pull"), seconds=300, pause=1)
    assert pulling() <= addresses(docker, "ollama-pull")


def test_a_second_plan_is_empty(checkout: Checkout, docker: Docker) -> None:
    checkout.pulumi(f"preview --expect-no-changes -s {STACK}")
