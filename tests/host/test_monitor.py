"""The dashboard on the real stack: behind the login, with the run of `ops smoke` in it, and a role that may do no more."""

import json
import re
import subprocess
import time
from collections.abc import Iterator

import pytest

from components.host.network import subnets
from components.settings import HostSettings
from lab import loopback
from ops.observe.smoke.site import Site
from ops.observe.smoke.workflow_checks import definition, start_run, wait_for_end, workflow
from tests.host.conftest import Checkout, as_person, site_of
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(4800)
MONITOR, EGRESS = "skyvern-dev-monitor", "skyvern-dev-egress"


@pytest.fixture(scope="module")
def monitored(checkout: Checkout, first_up: str) -> Iterator[Site]:
    """The dev stack with a monitor; `script/up` ends with a smoke run."""
    port = int(checkout.output("app_url").rpartition(":")[2])
    checkout.write_stack("dev", port=port, monitor={"enabled": True})
    checkout.run("script/up", "--yes")
    with site_of(checkout) as target:
        yield target
    # The next module's up takes it away.
    checkout.write_stack("dev", port=port)


def test_the_smoke_run_is_counted_behind_the_login(monitored: Site) -> None:
    address = f"{monitored.outputs.app_url}/dashboard?period=today&who=smoke"
    assert monitored.ask("GET", address).status_code == 401

    def runs() -> int:
        page = monitored.ask("GET", address, login=True)
        assert page.status_code == 200, page.text
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        (number,) = re.findall(r'<dd id="runs">([\d,]+)</dd>', page.text)
        return int(number.replace(",", ""))

    # Numbers are at most ten seconds old.
    wait_for(lambda: runs() > 0, seconds=30, pause=2)


def test_the_role_may_do_nothing_else(monitored: Site) -> None:
    script = """
import json, psycopg
refused = []
for query in ("TABLE organization_auth_tokens", "TABLE workflow_runs", "CREATE TABLE public.x ()", "CREATE TEMP TABLE x ()"):
    try:
        with psycopg.connect("host=/var/run/postgresql dbname=skyvern user=monitor") as connection:
            connection.read_only = False
            connection.execute(query)
    except psycopg.errors.InsufficientPrivilege:
        refused.append(query.split()[1])
print(json.dumps(refused))
"""
    printed = monitored.docker.run("exec", MONITOR, "/opt/monitor/bin/python", "-c", script)
    assert json.loads(printed) == ["organization_auth_tokens", "workflow_runs", "TABLE", "TEMP"]


def test_it_is_small(monitored: Site) -> None:
    """After pages and queries: its largest process has at most 90 MiB resident."""
    statuses = monitored.docker.run("exec", MONITOR, "sh", "-c", "cat /proc/[0-9]*/status")
    resident = [int(line.split()[1]) for line in statuses.splitlines() if line.startswith("VmRSS")]
    assert 0 < max(resident) < 90 * 1024


def test_starts_of_the_egress_proxy_are_marked_where_the_monitor_reads_them(monitored: Site) -> None:
    docker = monitored.docker

    def began() -> float:
        return float(docker.run("exec", MONITOR, "stat", "--format=%.Y", "/run/started/egress/at"))

    times = [began()]
    for _ in range(2):
        docker.run("restart", "--time=0", EGRESS)
        wait_for(lambda: began() > times[-1], seconds=60, pause=0.5)
        times.append(began())
    assert times[-1] - times[0] < 600
    # The monitor reads only, and the proxy fills nothing.
    refused = docker.command("exec", MONITOR, "touch", "/run/started/egress/another")
    done = subprocess.run(refused, env=docker.environment(), capture_output=True, text=True, check=False)
    assert "Read-only file system" in done.stderr
    docker.run("exec", EGRESS, "sh", "-c", "head -c 1000000 /dev/zero > /run/started/full || true")
    assert int(docker.run("exec", EGRESS, "stat", "--format=%s", "/run/started/full")) <= 64 * 1024
    docker.run("exec", EGRESS, "rm", "/run/started/full")


@pytest.mark.nightly  # Two updates.
def test_one_of_an_earlier_version_counts_days_again_after_an_update(monitored: Site, checkout: Checkout) -> None:
    """The line of ops fleet cost, and its cure to the end. Until there was ops fleet, summary.py took no number of days."""
    summary = checkout.root / "images/monitor/summary.py"
    text = summary.read_text()
    summary.write_text(text.replace("main(*sys.argv[1:])", "main()"))
    assert summary.read_text() != text
    checkout.run("script/up", "--yes")
    line = f"{MONITOR}: counts today only, as an earlier version did; run script/up for this stack"
    refused = checkout.run("bin/ops", "fleet", "cost", "dev", check=False)
    assert (refused.returncode, line in refused.stdout) == (1, True), refused.stdout + refused.stderr
    summary.write_text(text)
    checkout.run("script/up", "--yes")
    assert "30 days" in checkout.run("bin/ops", "fleet", "cost", "dev").stdout


@pytest.fixture
def channel(monitored: Site, checkout: Checkout) -> Iterator[list[str]]:
    """The messages to a channel on the Docker host, by the monitor's own way out; the stack is as before afterwards."""
    messages: list[str] = []

    class Channel(loopback.Handler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["message"])
            self.send_response(200)
            self.end_headers()

    path = checkout.root / "Pulumi.dev.yaml"
    before = path.read_text()
    gateway = subnets(HostSettings().networks, "skyvern-dev")["alerts"][1]
    with loopback.serving(Channel, address="0.0.0.0") as port:  # noqa: S104  # the address of a bridge that is made later
        checkout.pulumi(f"config set --path 'skyvern:monitor.allow[0]' {gateway}:{port} -s dev")
        checkout.pulumi(f"config set --secret --path skyvern:monitor.channels json://{gateway}:{port}/ -s dev")
        checkout.run("script/up", "--yes")
        yield messages
    path.write_text(before)
    checkout.run("script/up", "--yes")


@pytest.mark.nightly  # A look a minute.
def test_faults_of_the_stack_are_a_message_each_and_their_ends(monitored: Site, channel: list[str]) -> None:
    docker, person = monitored.docker, as_person(monitored)

    def arrived(text: str, seconds: float = 240) -> None:
        wait_for(lambda: any(text in message for message in channel), lambda: f"{text!r} in {channel}", seconds=seconds, pause=1)

    # The first look is behind it.
    wait_for(lambda: "looked" in docker.run("exec", MONITOR, "cat", "/var/lib/monitor/alerts.json"), seconds=120, pause=2)
    # Neither address is of the internet, so Skyvern refuses to open it.
    with workflow(person, definition("<!channel> Orders", "http://gateway:8080/")) as workflow_id:
        run_id = start_run(person, workflow_id)
        assert wait_for_end(person, run_id)["status"] == "failed"
        arrived("Failed runs (1): \u2039!channel\u203a Orders")
    assert f"{monitored.outputs.app_url}/runs/{run_id}" in channel[-1]
    for _ in range(3):
        docker.run("restart", "--time=0", EGRESS)
        time.sleep(65)
    arrived("The egress proxy restarts again and again")
    # As if two hours had passed for it.
    docker.run("stop", MONITOR)
    image = docker.inspect(MONITOR)["Config"]["Image"]
    age = """
import datetime, json, pathlib
file = pathlib.Path("/var/lib/monitor/alerts.json")
document = json.loads(file.read_text())
earlier = lambda text: (datetime.datetime.fromisoformat(text) - datetime.timedelta(hours=2)).isoformat()
memory = document["memory"]
memory["starts"] = {part: [earlier(at) for at in times] for part, times in memory["starts"].items()}
memory["last"] = {kind: earlier(at) for kind, at in memory["last"].items()}
file.write_text(json.dumps(document))
"""
    docker.run("run", "--rm", "--volume=skyvern-dev-monitor:/var/lib/monitor", image, "/opt/monitor/bin/python", "-c", age)
    docker.run("start", MONITOR)
    arrived("Well again: The egress proxy restarts again and again")
    arrived("No run has failed for an hour")
    lines = [line for message in channel for line in message.splitlines()]
    for text in ("Failed runs", "again and again", "Well again", "for an hour"):
        assert sum(text in line for line in lines) == (2 if text == "again and again" else 1), channel
    # With what sends loaded, too.
    test_it_is_small(monitored)
