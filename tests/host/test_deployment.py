"""The README's first command on a fresh machine, and everything the deployment promises afterwards.

The tests of this file tell one story on one daemon and run in the order in which they stand: up, up again, look at it from
outside and inside, a second stack beside it, destroy, up again with the old data, remove all of it.
"""

import json
import re
import secrets
import subprocess
import time
from typing import Any

import httpx
import pytest

from components.host import images
from components.secrets import derive_fernet_key, login_hash
from ops.bench.workspace import free_port
from ops.smoke import browser_checks
from ops.smoke.site import Site, client_for
from ops.smoke.workflow_checks import definition, finished_run
from ops.stack import parse
from tests.host.conftest import IMAGES, Checkout

PARTS = {"artifacts", "egress", "firewall", "gateway", "postgres", "retention", "roles", "server", "smoke-site"}
DATA = {"postgres", "artifacts", "browser-sessions", "credential-vault", "downloads", "har", "log", "videos"}
SECRET_OUTPUTS = ("api_key", "ui_password")

# The first test builds every image where the cache has none.
pytestmark = pytest.mark.timeout(4800)


@pytest.fixture(scope="module")
def first_up(checkout: Checkout) -> str:
    """What ``script/up`` printed on a machine with no state, no containers and no volumes."""
    checkout.write_stack("dev", port=free_port())
    done = checkout.run("script/up", "--images", IMAGES, timeout_seconds=4500)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def state(checkout: Checkout, first_up: str) -> dict[str, Any]:
    """The exported state with every secret opened."""
    exported: dict[str, Any] = json.loads(checkout.pulumi("stack export --show-secrets -s dev").stdout)
    return exported


def generated_secrets(state: dict[str, Any]) -> dict[str, str]:
    """Every generated value by the name of its resource, and the keys that are made of them."""
    found = {}
    for one in state["deployment"]["resources"]:
        name = one["urn"].split("::")[-1].removeprefix("skyvern-secrets-")
        for field in ("result", "bcryptHash"):
            value = one.get("outputs", {}).get(field)
            # The organisation's id is a name: it stands in the outputs and in paths.
            if isinstance(value, dict) and "plaintext" in value and name != "organization":
                found[f"{name}.{field}"] = json.loads(value["plaintext"])
    return found | {
        "login hash": login_hash(found["ui-login.result"]),
        "vault key": derive_fernet_key(found["vault-key.result"]),
    }


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


def test_plain_pulumi_sees_no_change(checkout: Checkout, first_up: str) -> None:
    checkout.pulumi("preview --expect-no-changes -s dev")
    checkout.pulumi("refresh --preview-only --expect-no-changes -s dev")


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
    secrets = generated_secrets(state) | {"api_key": checkout.output("api_key")}
    holders: dict[str, set[str]] = {name: set() for name in secrets}
    for part in PARTS:
        environment = "\n".join(checkout.docker.inspect(f"skyvern-dev-{part}")["Config"]["Env"])
        for name, value in secrets.items():
            if value in environment:
                holders[name].add(part)
    assert {name: parts for name, parts in holders.items() if parts} == {
        "api_key": {"server", "gateway"},
        "database.result": {"server", "roles"},
        "login hash": {"gateway"},
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


def test_images_of_another_source_are_refused_on_existing_data(checkout: Checkout, first_up: str) -> None:
    stack_file = checkout.root / "Pulumi.dev.yaml"
    text = stack_file.read_text()
    stack_file.write_text(text.replace(f"source: {IMAGES}", "source: official"))
    try:
        planned = checkout.pulumi("preview -s dev", check=False)
        assert planned.returncode != 0
        assert "skyvern-host-data-postgres" in planned.stdout + planned.stderr
        assert "protect" in planned.stdout + planned.stderr
        told = checkout.run("script/up", check=False)
        assert told.returncode == 1
        assert "was made with packages images" in told.stderr
    finally:
        stack_file.write_text(text)


def test_a_second_stack_beside_it(checkout: Checkout, first_up: str) -> None:
    """Its first ``up`` fails half-way on a taken port; the next one goes on from there, and destroy removes its own only."""
    dev_port = int(checkout.output("app_url").rpartition(":")[2])
    before = checkout.docker.run("ps", "--quiet", "--no-trunc", "--filter", "name=skyvern-dev-").split()
    checkout.write_stack("beside", port=dev_port)
    checkout.pulumi("stack init beside --no-select")
    failed = checkout.pulumi("up --yes --skip-preview -s beside", check=False)
    assert failed.returncode != 0
    assert "port is already allocated" in failed.stdout + failed.stderr

    checkout.write_stack("beside", port=free_port())
    checkout.pulumi("up --yes --skip-preview -s beside")
    checkout.pulumi("preview --expect-no-changes -s beside")
    assert checkout.names("container") == {f"skyvern-{stack}-{part}" for stack in ("dev", "beside") for part in PARTS}
    assert checkout.output("api_key", "beside") != checkout.output("api_key")

    checkout.pulumi("state unprotect --all --yes -s beside")
    checkout.pulumi("destroy --yes --skip-preview -s beside")
    checkout.pulumi("stack rm --yes beside")
    assert not {name for kind in ("container", "volume", "network") for name in checkout.names(kind) if "beside" in name}
    assert checkout.docker.run("ps", "--quiet", "--no-trunc", "--filter", "name=skyvern-dev-").split() == before
    checkout.pulumi("preview --expect-no-changes -s dev")


def test_destroy_keeps_data_and_a_new_up_finds_it(checkout: Checkout, first_up: str) -> None:
    key = checkout.output("api_key")
    count = "psql -X -t -U postgres -d skyvern -c 'SELECT count(*) FROM workflow_runs'"
    runs = checkout.docker.run("exec", "skyvern-dev-postgres", "sh", "-c", f'PGPASSWORD="$POSTGRES_PASSWORD" {count}').strip()
    assert int(runs) > 0
    checkout.pulumi("destroy --exclude-protected --yes --skip-preview -s dev")
    assert checkout.names("container", "--all") == set()
    assert checkout.names("network") == set()
    assert checkout.names("volume") == {f"skyvern-dev-{part}" for part in DATA}
    checkout.pulumi("up --yes --skip-preview -s dev")
    after = checkout.docker.run("exec", "skyvern-dev-postgres", "sh", "-c", f'PGPASSWORD="$POSTGRES_PASSWORD" {count}').strip()
    assert after == runs
    # Epoch secrets are new after a destroy, the organisation is not: the new key opens the old data, the old key nothing.
    new_key = checkout.output("api_key")
    workflows = f"{checkout.output('api_url')}/v1/workflows"
    assert httpx.get(workflows, headers={"x-api-key": key}, timeout=20).status_code == 403
    assert httpx.get(workflows, headers={"x-api-key": new_key}, timeout=20).status_code == 200
    smoke = checkout.run("bin/ops", "smoke", "-s", "dev")
    assert smoke.returncode == 0


def test_unprotect_and_destroy_leave_nothing(checkout: Checkout, first_up: str) -> None:
    checkout.pulumi("state unprotect --all --yes -s dev")
    checkout.pulumi("destroy --yes --skip-preview -s dev")
    for kind, flags in (("container", ("--all",)), ("volume", ()), ("network", ())):
        assert checkout.names(kind, *flags) == set()
    # Nor on the host: the firewall goes last, and takes its rules with it.
    options = ("--rm", "--network=host", "--user=0:0", "--cap-drop=ALL", "--cap-add=NET_ADMIN")
    assert "skyvern-" not in checkout.docker.run("run", *options, images.references(IMAGES)["egress"], "nft", "list", "tables")
