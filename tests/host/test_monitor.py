"""The dashboard on the real stack: behind the login, with the run of `ops smoke` in it, and a role that may do no more."""

import json
import re
import subprocess
from collections.abc import Iterator

import pytest

from ops.observe.smoke.site import Site
from tests.host.conftest import Checkout, site_of
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
    refused = docker.command("exec", MONITOR, "touch", "/run/started/egress/at")
    done = subprocess.run(refused, env=docker.environment(), capture_output=True, text=True, check=False)
    assert "Read-only file system" in done.stderr
    docker.run("exec", EGRESS, "sh", "-c", "head -c 1000000 /dev/zero > /run/started/full || true")
    assert int(docker.run("exec", EGRESS, "stat", "--format=%s", "/run/started/full")) <= 64 * 1024
    docker.run("exec", EGRESS, "rm", "/run/started/full")


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
