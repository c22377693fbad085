"""The README's first command on a fresh machine: what the first ``script/up`` leaves, from outside and inside.

Before the other tests of the dev stack (tests/conftest.py), so that what is searched for secrets is printed by the up that makes
them. What becomes of the stack in the end is in test_deployment.py.
"""

import json
import re
import secrets
import shlex
import subprocess
import time
from typing import Any

import pytest

from ops.observe.smoke import browser_checks
from ops.observe.smoke.site import Site, client_for
from ops.observe.smoke.workflow_checks import definition, finished_run
from ops.stack.outputs import parse
from tests.host.conftest import PARTS, Checkout, sql
from tests.host.contents import generated_secrets
from tests.support.hostile import HOSTILE

SECRET_OUTPUTS = ("api_key", "smoke_api_key", "ui_password")

# The first test builds every image where the cache has none.
pytestmark = pytest.mark.timeout(4800)


@pytest.fixture(scope="module")
def state(checkout: Checkout, first_up: str) -> dict[str, Any]:
    """The exported state with every secret opened."""
    exported: dict[str, Any] = json.loads(checkout.pulumi("stack export --show-secrets -s dev").stdout)
    return exported


def test_up_ends_with_a_green_smoke_run(checkout: Checkout, first_up: str) -> None:
    assert "pulumi stack output" in first_up
    assert checkout.output("app_url") in first_up
    assert checkout.names("container") == {f"skyvern-dev-{part}" for part in PARTS}
    healthy = checkout.docker.run("ps", "--filter", "health=healthy", "--format", "{{.Names}}").split()
    assert set(healthy) == {f"skyvern-dev-{part}" for part in PARTS}


def test_a_second_up_changes_nothing(checkout: Checkout, first_up: str) -> None:
    ids = checkout.docker.run("ps", "--quiet", "--no-trunc").split()
    done = checkout.run("script/up")
    assert re.search(r"Resources:\s+\d+ unchanged", re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)), done.stdout
    assert checkout.docker.run("ps", "--quiet", "--no-trunc").split() == ids


def test_the_database_notices_a_damaged_page(checkout: Checkout, first_up: str) -> None:
    assert sql(checkout, "SHOW data_checksums") == "on"


def test_plain_pulumi_sees_no_change(checkout: Checkout, first_up: str) -> None:
    checkout.pulumi("preview --expect-no-changes -s dev")
    checkout.pulumi("refresh --preview-only --expect-no-changes -s dev")


def test_a_hostile_shell_leads_to_the_same_daemon(checkout: Checkout, first_up: str) -> None:
    """F02: with DOCKER_CONTEXT, plain Pulumi made its volumes on another daemon, or failed at every resource."""
    about_docker = {name: value for name, value in HOSTILE.items() if name.startswith("DOCKER_")}
    hostile = " ".join(f"{name}={shlex.quote(value)}" for name, value in about_docker.items())
    command = "pulumi refresh --preview-only --expect-no-changes -s dev"
    checkout.run("bash", "-c", f'eval "$(script/env)" && exec env {hostile} {command}')
    everything = " ".join(f"{name}={shlex.quote(value)}" for name, value in HOSTILE.items())
    shown = checkout.run("bash", "-c", f"exec env {everything} bin/ops status").stdout
    assert all(part in shown for part in PARTS)


def test_ops_version_names_engine_and_sdks(checkout: Checkout, first_up: str) -> None:
    line = checkout.run("bin/ops", "version").stdout
    assert line.count("\n") == 1
    assert re.search(r"engine v?\d+\.\d+\.\d+.*pulumi 3\.\d+\.\d+, pulumi-docker 5\.\d+\.\d+.*Skyvern 1\.0\.\d+", line), line


def test_nothing_listens_beyond_loopback(checkout: Checkout, first_up: str) -> None:
    port = checkout.output("app_url").rpartition(":")[2]
    listening = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True, check=True).stdout.splitlines()
    addresses = {line.split()[3] for line in listening}
    assert f"127.0.0.1:{port}" in addresses
    published = checkout.docker.run("ps", "--format", "{{.Ports}}").split()
    assert [entry for entry in published if "->" in entry] == [f"127.0.0.1:{port}->8080/tcp"]
    assert not {address for address in addresses if address.endswith(f":{port}")} - {f"127.0.0.1:{port}"}


def test_no_generated_secret_where_it_does_not_belong(checkout: Checkout, first_up: str, state: dict[str, Any]) -> None:
    secrets = generated_secrets(state) | {name: checkout.output(name) for name in SECRET_OUTPUTS}
    assert len(secrets) >= 9
    assert all(len(value) >= 18 for value in secrets.values())
    places = {
        "the console": first_up,
        "the encrypted state": checkout.pulumi("stack export -s dev").stdout,
        "stack outputs": checkout.pulumi("stack output --json -s dev").stdout,
        "the checkout": checkout.run("grep", "-rhI", "", ".", "--exclude-dir=.venv").stdout,
    }
    for part in PARTS:
        name = f"skyvern-dev-{part}"
        places[f"logs of {part}"] = checkout.docker.logs(name)
        places[f"command lines of {part}"] = checkout.docker.run("top", name, "-eo", "pid,args")
        inspected = checkout.docker.inspect(name)
        del inspected["Config"]["Env"]
        places[f"inspect of {part}, but its environment"] = json.dumps(inspected)
        image = inspected["Config"]["Image"]
        places[f"image of {part}"] = checkout.docker.run("history", "--no-trunc", image) + checkout.docker.run("inspect", image)
    leaks = [f"{secret} in {place}" for secret, value in secrets.items() for place, text in places.items() if value in text]
    assert leaks == []


def test_a_secret_is_only_in_the_environments_that_need_it(checkout: Checkout, state: dict[str, Any]) -> None:
    secrets = generated_secrets(state) | {name: checkout.output(name) for name in ("api_key", "smoke_api_key")}
    holders: dict[str, set[str]] = {name: set() for name in secrets}
    for part in PARTS:
        environment = "\n".join(checkout.docker.inspect(f"skyvern-dev-{part}")["Config"]["Env"])
        for name, value in secrets.items():
            if value in environment:
                holders[name].add(part)
    assert {name: parts for name, parts in holders.items() if parts} == {
        "api_key": {"server", "gateway"},
        "smoke_api_key": {"server", "gateway"},
        "artifact-links.result": {"server", "gateway"},
        "database.result": {"server", "roles"},
        "login hash": {"gateway"},
        "encryption-key.result": {"server"},
        "secret-key.result": {"server"},
        "superuser.result": {"postgres", "roles"},
        "vault key": {"server"},
    }


def test_a_page_reaches_the_internet_and_not_the_host(checkout: Checkout, first_up: str) -> None:
    """A stand-in with a public address (TEST-NET-2) answers through the proxy; the same stand-in on a private one does not."""
    docker = checkout.docker
    image = docker.inspect("skyvern-dev-smoke-site")["Config"]["Image"]
    for network, subnet in (("public-stand-in", "198.51.100.0/24"), ("private-stand-in", "10.215.0.0/24")):
        docker.run("network", "create", "--internal", "--subnet", subnet, network)
        docker.run("network", "connect", network, "skyvern-dev-egress")
    try:
        docker.run(
            "run", "--detach", "--name", "stand-in", "--network", "public-stand-in", "--ip", "198.51.100.7", image, "smoke-site"
        )
        docker.run("network", "connect", "--ip", "10.215.0.7", "private-stand-in", "stand-in")

        def status(url: str) -> str:
            fetch = (
                "import sys, urllib.request, urllib.error\n"
                "opener = urllib.request.build_opener(urllib.request.ProxyHandler({'http': 'http://egress:3128'}))\n"
                "try: print(opener.open(sys.argv[1], timeout=20).status)\n"
                "except urllib.error.HTTPError as refused: print(refused.code)\n"
            )
            return docker.run("exec", "skyvern-dev-server", "python3", "-c", fetch, url).strip()

        for _ in range(20):
            if status("http://198.51.100.7:8080/") == "200":
                break
        assert status("http://198.51.100.7:8080/") == "200"
        for private in ("10.215.0.7:8080", "127.0.0.1:8080", "[::1]:8080", "169.254.169.254", "192.168.1.1"):
            assert status(f"http://{private}/") == "403", private
        # A page in the browser comes as far: to the public one and no further.
        marker, since = f"stand-in-{secrets.token_hex(4)}", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        targets = ("http://198.51.100.7:8080", "http://10.215.0.7:8080")
        outputs = parse("dev", checkout.pulumi("stack output --json --show-secrets -s dev").stdout)
        with client_for(outputs) as client:
            page = browser_checks.page_url(outputs.smoke_url, marker, targets)
            with finished_run(Site(outputs, client, docker), definition("Smoke run: stand-ins", page, 8)):
                pass
        lines = [line for line in docker.logs("skyvern-dev-egress", "--since", since).splitlines() if f"/{marker}/" in line]
        # Reached: the stand-in itself answered, with a 404 for a path that it does not have.
        assert any("198.51.100.7:8080" in line and "TCP_MISS/404" in line for line in lines), lines
        assert not [line for line in lines if "10.215.0.7" in line and "TCP_DENIED/403" not in line], lines
        assert any("10.215.0.7" in line for line in lines), lines
        # The gateway's name means nothing on the proxy's networks.
        assert status("http://gateway:8080/") == "502"
    finally:
        docker.run("rm", "--force", "stand-in")
        for network in ("public-stand-in", "private-stand-in"):
            docker.run("network", "disconnect", "--force", network, "skyvern-dev-egress")
            docker.run("network", "rm", network)
