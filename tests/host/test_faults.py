"""What happens when things break: each fault heals by itself or by one ``script/up``, and nothing is lost.

Real Skyvern and PostgreSQL on the daemon of the tests, which is stopped and killed here as well. What cannot be had on one
machine is said at its test: a reboot leaves the kernel running, and a clock that jumps is a process whose clock does.
"""

import contextlib
import itertools
import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from components.host import images
from lab.workspace import free_port
from ops.clients.docker import Docker
from ops.observe.smoke.site import Site, client_for
from ops.observe.smoke.workflow_checks import definition, finished_run
from ops.stack import inventory
from ops.stack.outputs import Outputs, parse
from tests.host import contents
from tests.host.conftest import IMAGES, PARTS, Checkout, Dockerd, put_right, unwell
from tests.support.waiting import wait_for

# Of as many checks as there are by now.
ALL_GREEN = re.compile(r"\b(\d+) of \1 checks green")
STACK = "dev"
# The server's own start takes 20 s on an idle machine; Docker waits longer before each further try.
HEALED_SECONDS = 180
pytestmark = pytest.mark.timeout(4800)


@pytest.fixture(scope="module")
def outputs(checkout: Checkout, first_up: str) -> Iterator[Outputs]:
    """The stack's addresses and keys; an earlier module may have left it stopped. Behind all tests it is the program's."""
    put_right(checkout)
    # A start moves what looks like an old smoke run to another organisation (tests/host/test_code.py makes such runs): not in
    # the middle of a test that compares rows.
    checkout.docker.run("restart", name("server"), timeout_seconds=300)
    wait_until_healthy(checkout.docker)
    yield parse(STACK, checkout.pulumi(f"stack output --json --show-secrets -s {STACK}").stdout)
    checkout.pulumi(f"preview --refresh --expect-no-changes -s {STACK}")


@pytest.fixture
def site(checkout: Checkout, outputs: Outputs) -> Iterator[Site]:
    """The stack as its clients see it."""
    with client_for(outputs) as client:
        yield Site(outputs, client, checkout.docker)


@pytest.fixture
def kept(checkout: Checkout, site: Site) -> Iterator[None]:
    """A test behind which the stack must be well, and every row and every file of before there."""
    before = contents.read_settled(checkout, STACK)
    assert len(before.rows) > 100
    assert len(before.files) > 10
    yield
    wait_until_healthy(checkout.docker)
    assert before.lost_in(contents.read(checkout, STACK)) == []
    assert workflows(site).status_code == 200


def name(part: str) -> str:
    return f"skyvern-{STACK}-{part}"


def started(docker: Docker) -> dict[str, datetime | None]:
    return {one.part: one.started_at for one in inventory.containers(docker, STACK)}


def wait_until_healthy(docker: Docker, since: dict[str, datetime | None] | None = None) -> None:
    """All parts healthy. since: when the containers were started before a fault, which all of them must outlive."""

    def ill() -> list[str]:
        now = started(docker)
        same = [part for part, before in (since or {}).items() if now.get(part) == before]
        return sorted({*same, *unwell(docker)})

    # Each look is four processes, on the processors that heal.
    wait_for(lambda: not ill(), lambda: f"not healthy: {ill()}", seconds=HEALED_SECONDS, pause=1)


def wait(condition: Callable[[], bool], failure: Callable[[], str] = lambda: "", seconds: float = HEALED_SECONDS) -> None:
    wait_for(condition, failure, seconds=seconds, pause=0.25)


def workflows(site: Site) -> httpx.Response:
    return site.api("GET", "/v1/workflows")


def finding(checkout: Checkout, check: str) -> list[dict[str, str]]:
    """What the doctor finds in one of its checks."""
    found = json.loads(checkout.run("bin/ops", "doctor", "-s", STACK, "--json", check=False).stdout)["findings"]
    return [one for one in found if one["check"] == check]


# --- Containers, daemon, machine -----------------------------------------------------------------------------------------


# The database alone ends and comes back in test_a_full_disk as well.
@pytest.mark.parametrize(
    "parts", [pytest.param(["postgres"], id="postgres", marks=pytest.mark.nightly), pytest.param(PARTS, id="all")]
)
def test_a_process_that_dies_is_started_again(checkout: Checkout, site: Site, kept: None, parts: Collection[str]) -> None:
    """SIGKILL from outside, as the kernel does for want of memory."""
    before = started(checkout.docker)
    pids = checkout.docker.run("inspect", "--format", "{{.State.Pid}}", *map(name, parts)).split()
    for pid in pids:
        os.kill(int(pid), signal.SIGKILL)
    wait_until_healthy(checkout.docker, {part: before[part] for part in parts})


@pytest.mark.nightly  # All parts come back behind a loss of power as well, below.
def test_the_daemon_is_restarted(checkout: Checkout, dockerd: Dockerd, site: Site, kept: None) -> None:
    before = started(checkout.docker)
    dockerd.stop()
    dockerd.start()
    wait_until_healthy(checkout.docker, before)


MIGRATE = "import runpy; runpy.run_path('/usr/local/bin/skyvern-start')['migrate']()"


def test_a_migration_that_is_killed_is_begun_again(checkout: Checkout, site: Site) -> None:
    """All of Skyvern's migrations or none: half of one would keep every later start from getting past it."""
    docker = checkout.docker

    def query(text: str, database: str = "half") -> str:
        return docker.run("exec", name("roles"), "psql", "-X", "-A", "-t", "-d", database, "-c", text).strip()

    query("CREATE DATABASE half OWNER skyvern", "postgres")
    server = docker.inspect(name("server"))
    (database,) = [variable for variable in server["Config"]["Env"] if variable.startswith("DATABASE_STRING=")]
    environment = [variable for variable in server["Config"]["Env"] if variable != database] + [
        f"{database.rpartition('/')[0]}/half"
    ]
    networks = [f"--network={network}" for network in server["NetworkSettings"]["Networks"] if network == name("data")]
    command = (
        *("run", "--name=half-migrated", "--read-only", "--tmpfs=/tmp:mode=1777", "--tmpfs=/home/skyvern:mode=1777", *networks),
        *(f"--env={variable}" for variable in environment),
        *("--entrypoint=/opt/skyvern/bin/python3", server["Image"], "-c", MIGRATE),
    )
    exclusive = (
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' "
        "AND database = (SELECT oid FROM pg_database WHERE datname = 'half')"
    )
    try:
        running = subprocess.Popen(docker.command(*command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait(lambda: int(query(exclusive)) > 100 or running.poll() is not None)
        docker.run("kill", "half-migrated")
        running.wait(60)
        wait(lambda: query("SELECT count(*) FROM pg_stat_activity WHERE datname = 'half' AND usename = 'skyvern'") == "0")
        assert query("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0"
        docker.run("rm", "half-migrated")
        docker.run(*command)
        assert query("SELECT count(*) FROM alembic_version") == "1"
        assert query("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == "0"
    finally:
        if docker.run("ps", "--all", "--quiet", "--filter", "name=half-migrated"):
            docker.run("rm", "--force", "half-migrated")
        query("DROP DATABASE half WITH (FORCE)", "postgres")


class Writer:
    """Makes one workflow after the other, and keeps the ids that the API has confirmed."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.confirmed: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        body = definition("Written until the end", "http://smoke-site:8080/")
        headers = {"x-api-key": self.site.outputs.api_key.get_secret_value()}
        with httpx.Client(trust_env=False, timeout=5) as http:
            while not self._stop.is_set():
                with contextlib.suppress(httpx.TransportError, json.JSONDecodeError):
                    answer = http.post(f"{self.site.outputs.api_url}/v1/workflows", headers=headers, json=body)
                    if answer.status_code == 200:
                        self.confirmed.append(answer.json()["workflow_id"])

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Writes at least five before the block begins."""
        self._thread.start()
        try:
            wait(lambda: len(self.confirmed) >= 5)
            yield
        finally:
            self._stop.set()
            self._thread.join()


def test_the_machine_loses_power(checkout: Checkout, dockerd: Dockerd, site: Site, kept: None) -> None:
    """Everything of the daemon is gone at once while the API writes; what it has confirmed is there afterwards.

    The kernel goes on, so what it has not written to the disk yet is not lost as it would be.
    """
    before = started(checkout.docker)
    writer = Writer(site)
    with writer.writing():
        dockerd.lose_power()
    dockerd.start()
    wait_until_healthy(checkout.docker, before)
    rows = "\n".join(contents.read(checkout, STACK).rows)
    assert [one for one in writer.confirmed if one not in rows] == []


def test_the_first_start_of_the_database_is_cut_off(checkout: Checkout, first_up: str) -> None:
    """A cluster is there as soon as PG_VERSION is, and that comes first: half of one must not be taken for a whole."""
    docker = checkout.docker
    image = images.references(IMAGES)["postgres"]
    if IMAGES == "official":
        pytest.skip("the public image takes half a cluster for a whole one; docs/day-two.md says what to do")
    docker.run("volume", "create", "cut-off")
    run = (
        *("run", "--detach", "--init", "--network", "none", "--name", "cut-off", "--env", "POSTGRES_PASSWORD=secret"),
        *("--volume", "cut-off:/var/lib/postgresql/data", image),
    )
    root = contents.volume_path(checkout, "cut-off")
    try:
        docker.run(*run)
        wait(lambda: next(root.rglob("PG_VERSION"), None) is not None)
        docker.run("kill", "cut-off")
        docker.run("rm", "cut-off")
        docker.run(*run)
        asked = docker.command(
            "exec", "--env", "PGPASSWORD=secret", "cut-off", "psql", "-h", "127.0.0.1", "-U", "postgres", "-c", ""
        )
        wait(
            lambda: subprocess.run(asked, env=docker.environment(), capture_output=True, check=False).returncode == 0,
            lambda: docker.logs("cut-off"),
            seconds=60,
        )
        assert not list(root.glob("initdb.*"))
    finally:
        docker.run("rm", "--force", "cut-off")
        docker.run("volume", "rm", "cut-off")


@contextlib.contextmanager
def without_volume(checkout: Checkout, volume: str) -> Iterator[None]:
    """A volume that is gone inside the block, and then put back by hand as from a backup."""
    root = contents.volume_path(checkout, volume)
    aside = root.parent.with_name(f"{volume}-aside")
    labels = json.loads(checkout.docker.run("volume", "inspect", "--format", "{{json .Labels}}", volume))
    flags = [part for label, value in labels.items() for part in ("--label", f"{label}={value}")]
    subprocess.run(["cp", "--archive", root, aside], check=True)
    checkout.docker.run("volume", "rm", volume)
    try:
        yield
    finally:
        # Also where the block has failed because there is one again.
        checkout.docker.run("volume", "create", *flags, volume)
        subprocess.run(["cp", "--archive", f"{aside}/.", root], check=True)
        subprocess.run(["rm", "-r", aside], check=True)


def test_one_up_brings_back_what_was_killed_or_removed_by_hand(checkout: Checkout, site: Site, kept: None) -> None:
    """``docker kill`` counts as stopped on purpose, so Docker leaves it; containers, an image and a network are gone too.

    A data volume that is gone is another matter: an empty one in its place would hide the loss.
    """
    docker, volume = checkout.docker, name("har")
    removed = ("egress", "retention", "server")
    image = docker.inspect(name("egress"))["Config"]["Image"]
    docker.run("kill", *map(name, PARTS))
    docker.run("rm", *map(name, removed))
    docker.run("image", "rm", "--force", image)
    docker.run("network", "rm", name("smoke"))
    with without_volume(checkout, volume):
        refused = checkout.run("script/up", check=False)
        assert refused.returncode == 1
        (line,) = refused.stderr.splitlines()
        assert f"{volume} on {docker.host}: the volume and the data in it are gone" in line
        assert f"pulumi up --refresh -s {STACK}" in line
        assert "1 to build or pull: egress" in refused.stdout
        assert volume not in checkout.names("volume")
        # Docker has brought nothing back by itself, and the refused up has not either.
        assert set(unwell(docker)) == set(PARTS)

    printed = checkout.run("script/up").stdout
    for part in removed:
        assert f"container {name(part)} is gone: the up makes it again" in printed
    assert f"network {name('smoke')} is gone: the up makes it again" in printed
    assert f"container {name('smoke-site')} is exited and does not start: removed" in printed
    for part in set(PARTS) - {*removed, "smoke-site"}:
        assert f"container {name(part)} did not run (exited): started" in printed
    assert ALL_GREEN.search(printed)


def test_an_image_that_goes_while_it_runs_is_built_again(checkout: Checkout, site: Site, kept: None) -> None:
    docker = checkout.docker
    before = started(docker)
    runs = docker.inspect(name("artifacts"))
    image = runs["Config"]["Image"]
    docker.run("image", "rm", "--force", image)
    assert [one["subject"] for one in finding(checkout, "image")] == [image]
    assert "artifacts: done" in checkout.run("bin/ops", "images", "build", "-s", STACK).stdout
    # The same image, where this daemon's builder made the first one; otherwise, as in a lane that has copied it, another one of
    # the same files, beside which both containers go on with theirs.
    rebuilt = docker.run("image", "inspect", "--format", "{{.Id}}", image).strip()
    parts = () if rebuilt == runs["Image"] else ("artifacts", "smoke-site")
    told = [(one["subject"], one["problem"]) for one in finding(checkout, "image")]
    assert told == [(name(part), f"was made from an older {image}") for part in parts]
    assert started(docker) == before


# --- Resources run out ---------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(checkout: Checkout) -> Iterator[Path]:
    """The database's volume on a file system of its own with 96 MiB left; the folder of the volume."""
    docker, postgres = checkout.docker, name("postgres")
    root = contents.volume_path(checkout, postgres)
    aside = root.with_name("aside")

    def move(source: Path, target: Path) -> None:
        subprocess.run(["cp", "--archive", f"{source}/.", target], check=True)

    docker.run("stop", postgres)
    root.rename(aside)
    root.mkdir()
    used = int(subprocess.run(["du", "-sm", aside], capture_output=True, text=True, check=True).stdout.split()[0])
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={used + 96}m", "tmpfs", root], check=True)
    move(aside, root)
    os.chown(root, 999, 999)
    root.chmod(0o700)
    docker.run("start", postgres)
    try:
        wait_until_healthy(docker)
        yield root
    finally:
        docker.run("stop", postgres)
        subprocess.run(["rm", "-r", aside], check=True)
        aside.mkdir()
        move(root, aside)
        subprocess.run(["umount", root], check=True)
        root.rmdir()
        aside.rename(root)
        os.chown(root, 999, 999)
        root.chmod(0o700)
        docker.run("start", postgres)


def test_a_full_disk(checkout: Checkout, site: Site, kept: None, small_disk: Path) -> None:
    """PostgreSQL refuses to write, then cannot even start; it is back without a hand when there is space again."""
    docker = checkout.docker
    filler = small_disk / "filler"
    # Unbuffered: what is left in a buffer would be written, and refused, once more when the file is closed.
    with filler.open("wb", buffering=0) as sink, contextlib.suppress(OSError):
        while True:
            sink.write(bytes(2**16))
    body = definition("Too large", "http://smoke-site:8080/")
    # Incompressible, so that each takes its pages.
    body["json_definition"]["description"] = secrets.token_hex(400_000)
    answers: list[int] = []
    while not answers or (answers[-1] == 200 and len(answers) < 100):
        answers.append(site.api("POST", "/v1/workflows", body=body).status_code)
    assert answers[-1] == 500
    assert "No space left on device" in docker.logs(name("postgres"), "--since", "60s")
    # What is there can still be read.
    assert workflows(site).status_code == 200
    (found,) = finding(checkout, "disk")
    assert found["level"] == "error"
    assert name("postgres") in found["subject"]
    assert "0 MiB are free" in found["problem"]

    # The log of changes needs a new segment and does not get it: the server stops, and Docker tries again and again.
    switch = docker.command(
        *("exec", name("roles"), "psql", "-X", "-d", "skyvern"),
        *("-c", "SELECT pg_switch_wal()", "-c", "SELECT pg_logical_emit_message(true, 'x', 'y')"),
    )

    def stopped() -> bool:
        subprocess.run(switch, env=docker.environment(), capture_output=True, check=False)
        return bool(docker.inspect(name("postgres"))["RestartCount"])

    wait(stopped)
    assert workflows(site).status_code >= 500
    assert finding(checkout, "disk") == [found]
    assert "doctor" in checkout.run("bin/ops", "status", "-s", STACK).stdout.splitlines()[0]

    filler.unlink()
    wait_until_healthy(docker)
    assert site.api("POST", "/v1/workflows", body=body).status_code == 200


HOARD = """
import os, psycopg, sys
held = []
try:
    while True:
        held.append(psycopg.connect(os.environ["DATABASE_STRING"].replace("+psycopg", ""), application_name="hoarder"))
except psycopg.OperationalError as refused:
    print(str(refused).replace(chr(10), " "), flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def hoarding(docker: Docker) -> Iterator[None]:
    """Another process that holds every connection of Skyvern's role that it can get."""
    holder = subprocess.Popen(
        docker.command("exec", "--interactive", name("server"), "python3", "-c", HOARD),
        env=docker.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert "remaining connection slots are reserved" in holder.stdout.readline()
        yield
    finally:
        holder.stdin.close()
        holder.wait(30)


def test_no_connection_to_the_database_is_left(checkout: Checkout, site: Site, kept: None) -> None:
    docker = checkout.docker
    restarts = [docker.inspect(name(part))["RestartCount"] for part in ("server", "postgres")]
    with hoarding(docker):
        # Skyvern keeps some open; without those it needs new ones.
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'skyvern' AND application_name <> 'hoarder'"
        docker.run("exec", name("roles"), "psql", "-X", "-d", "postgres", "-c", end)
        with hoarding(docker):
            assert workflows(site).status_code >= 500
            (found,) = finding(checkout, "database")
            assert "of 100 connections are in use" in found["problem"]
    wait(lambda: workflows(site).status_code == 200, seconds=30)
    assert finding(checkout, "database") == []
    assert [docker.inspect(name(part))["RestartCount"] for part in ("server", "postgres")] == restarts


# --- The way out ---------------------------------------------------------------------------------------------------------


def test_without_the_egress_proxy_the_browser_reaches_nothing(checkout: Checkout, site: Site, kept: None) -> None:
    """The server's own network has a way out, so only the browser's proxy setting keeps pages from going direct."""
    docker, marker = checkout.docker, f"direct-{secrets.token_hex(4)}"
    image = docker.inspect(name("smoke-site"))["Config"]["Image"]
    # An address for each, because Docker gives the name of a part to its own container only.
    docker.run("run", "--detach", "--name", "listener", "--network", name("outgoing"), image, "smoke-site")
    address = docker.inspect("listener")["NetworkSettings"]["Networks"][name("outgoing")]["IPAddress"]
    fetch = "import sys, urllib.request as r; print(r.build_opener(r.ProxyHandler({})).open(sys.argv[1], timeout=10).status)"

    def visit(url: str) -> str:
        with finished_run(site, definition("Smoke run: no way out", url)) as run:
            return str(run["status"])

    docker.run("stop", name("egress"))
    try:
        wait(lambda: docker.inspect("listener")["State"]["Running"])
        # The control: from where the browser runs, the listener is one hop away.
        assert docker.run("exec", name("server"), "python3", "-c", fetch, f"http://{address}:8080/").strip() == "200"
        asked = len(docker.logs("listener").splitlines())
        assert visit(f"http://{address}:8080/?{marker}") == "failed"
        assert visit(f"http://smoke-site:8080/?{marker}") == "failed"
        assert len(docker.logs("listener").splitlines()) == asked, docker.logs("listener")
        assert marker not in docker.logs(name("smoke-site"))
        assert [one["subject"] for one in finding(checkout, "container")] == [name("egress")]
    finally:
        docker.run("rm", "--force", "listener")
        docker.run("start", name("egress"))
    wait_until_healthy(docker)
    assert visit(f"http://smoke-site:8080/?{marker}") == "completed"
    assert marker in docker.logs(name("smoke-site"))


# --- The state -----------------------------------------------------------------------------------------------------------


def test_a_state_file_that_is_cut_off_is_refused_with_the_way_back(checkout: Checkout, site: Site, kept: None) -> None:
    """Where nothing is left of it, it is refused in the same words: tests/unit/ops/stack/test_checkpoint.py."""
    size = 100_000
    folder = Path(checkout.environment["HOME"]) / ".config" / "skyvern-stack" / "state" / ".pulumi" / "stacks" / "skyvern"
    path = folder / f"{STACK}.json"
    whole, containers = path.read_text(), started(checkout.docker)
    path.write_text(whole[:size])
    refused = checkout.run("script/up", check=False)
    (found,) = finding(checkout, "state")
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"{path}: is cut off or not a state file ({size} bytes), and nothing was changed; cp ")
    command = re.search(r"; (cp .*) puts the newest whole copy back", line)
    assert command is not None
    assert found["fix"].startswith(command[1])
    assert path.read_text() == whole[:size]
    assert started(checkout.docker) == containers
    checkout.run(*shlex.split(command[1]))
    recorded = json.loads(path.read_text())["checkpoint"]["latest"]["resources"]
    assert [one["urn"] for one in recorded] == [one["urn"] for one in json.loads(whole)["checkpoint"]["latest"]["resources"]]


# --- The clock -----------------------------------------------------------------------------------------------------------

# Asks Skyvern's own functions, with its database, at other times: arguments are the organisation and a library that changes the
# clock of this process; standard input is the API key and a session that was made before.
PROBE = """
import asyncio, json, sys, time
from pathlib import Path
from fastapi import HTTPException
clock = Path("/tmp/clock")
clock.write_text("+0")
from skyvern.forge import app
from skyvern.forge.forge_app_initializer import start_forge_app
from skyvern.forge.sdk.db.enums import OrganizationAuthTokenType as Type
from skyvern.forge.sdk.services.org_auth_service import resolve_org_from_api_key
from skyvern.forge.sdk.services.org_auth_token_service import create_org_ui_session_token
start_forge_app()
key, old = sys.stdin.read().split()

async def accepted(token, kind):
    try:
        return bool(await resolve_org_from_api_key(token, app.DATABASE, token_types=(kind,)))
    except HTTPException:
        return False

async def main():
    for jump in sys.argv[2:]:
        clock.write_text(jump)
        fresh, _ = await create_org_ui_session_token(sys.argv[1])
        asked = ((key, Type.api), (old, Type.ui_session), (fresh.token, Type.ui_session))
        answers = [await accepted(*one) for one in asked]
        print("probe", json.dumps([jump, time.gmtime().tm_year, *answers]), flush=True)

asyncio.run(main())
"""


def test_a_clock_that_jumps_locks_nobody_out(checkout: Checkout, site: Site, kept: None) -> None:
    """Containers share the machine's clock, so only the clock of one process jumps: Skyvern's code in the server's container."""
    docker = checkout.docker
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    lent = contents.volume_path(checkout, name("har")) / "libfaketime.so"
    key = site.outputs.api_key.get_secret_value()
    session = site.person_api("POST", "/v1/ui-session").json()["token"]
    organization = checkout.output("organization_id")
    lent.write_bytes(library.read_bytes())
    lent.chmod(0o755)
    try:
        flags = [
            *("--env", f"LD_PRELOAD=/data/har/{lent.name}", "--env", "FAKETIME_TIMESTAMP_FILE=/tmp/clock"),
            *("--env", "FAKETIME_NO_CACHE=1", "--env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "--interactive"),
        ]
        said = docker.run(
            *("exec", *flags, name("server"), "python3", "-c", PROBE, organization, "+0", "+2h", "+10y", "-2y"),
            stdin=f"{key} {session}".encode(),
            timeout_seconds=300,
        )
    finally:
        lent.unlink()
        # Skyvern goes on to use a session that was made in the future until it ends there.
        end = "DELETE FROM organization_auth_tokens WHERE token_type = 'ui_session'"
        docker.run("exec", name("roles"), "psql", "-X", "-d", "skyvern", "-c", end)
    year = time.gmtime().tm_year
    answers = [json.loads(line.removeprefix("probe ")) for line in said.splitlines() if line.startswith("probe ")]
    # When, the year there; is accepted: the API key, a session from before, a new session.
    assert [answers[index][:2] for index in (0, 2, 3)] == [["+0", year], ["+10y", year + 10], ["-2y", year - 2]]
    assert [answer[2] for answer in answers] == [True] * 4
    # An hour is over, or the session was replaced by one of another time: the UI asks for a new one, which works.
    assert [answer[3] for answer in answers] == [True, False, False, False]
    assert [answer[4] for answer in answers] == [True] * 4
    assert site.person_api("POST", "/v1/ui-session").status_code == 200


def test_retention_does_not_believe_a_clock_that_jumps(checkout: Checkout, site: Site, kept: None) -> None:
    """A jump ahead is the same as files, and the note of the last round, that are older than they are."""
    docker = checkout.docker
    root = contents.volume_path(checkout, name("har"))
    (mark,) = root.parents[1].glob(f"{name('')}*/_data/.retention-round")
    recording = root / "recording.har"

    def next_round(seconds_ago: float) -> str:
        for path in (recording, mark):
            os.utime(path, (time.time() - seconds_ago,) * 2)
        since = site.now()
        docker.run("restart", name("retention"))
        wait(lambda: "retention: " in docker.logs(name("retention"), "--since", since))
        return docker.logs(name("retention"), "--since", since)

    recording.touch()
    os.chown(recording, root.stat().st_uid, root.stat().st_gid)
    years = 5 * 365 * 86400
    assert "WAITS: the last round was on" in next_round(years)
    assert recording.exists()
    (found,) = [one for one in finding(checkout, "clock") if one["subject"] == name("retention")]
    assert "so nothing is removed before a day has passed" in found["problem"]
    # The clock is right again: files and notes are young.
    assert "removed: " in next_round(0)
    assert recording.exists()
    assert not [one for one in finding(checkout, "clock") if one["subject"] == name("retention")]
    recording.unlink()


# --- Interrupted ups -----------------------------------------------------------------------------------------------------


def exists(kind: str, part: str) -> Callable[[Checkout, str], bool]:
    """Whether the daemon has an object of the stack."""

    def look(checkout: Checkout, stack: str) -> bool:
        flags = ("--all",) if kind == "container" else ()
        return f"skyvern-{stack}-{part}" in checkout.names(kind, *flags)

    return look


def locked(checkout: Checkout, stack: str) -> bool:
    """Whether a Pulumi has begun: its program may run, and nothing is made yet."""
    state = Path(checkout.environment["HOME"]) / ".config" / "skyvern-stack" / "state" / ".pulumi"
    return any((state / "locks" / "organization" / "skyvern" / stack).glob("*.json"))


# In the order in which a first up gets there.
POINTS: dict[str, Callable[[Checkout, str], bool]] = {
    "lock": locked,
    "network": exists("network", "data"),
    "database": exists("container", "postgres"),
    "roles": exists("container", "roles"),
    "server": exists("container", "server"),
}


def collect(up: "subprocess.Popen[str]", printed: dict[str, str], point: str) -> None:
    """Reads what an up prints until its end."""
    assert up.stdout is not None
    printed[point] = up.stdout.read()


def interrupt(up: "subprocess.Popen[str]", sent: signal.Signals, engine_alone: bool) -> None:
    """A signal to script/up and all that it started, as Ctrl-C and a closed terminal do, or to the engine in its midst."""
    if not engine_alone:
        os.killpg(up.pid, sent)
        return
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # pid (comm) state ppid pgrp
            fields = path.read_text().rpartition(")")[2].split()
            if path.with_name("comm").read_text() == "pulumi\n" and int(fields[2]) == up.pid:
                os.kill(int(path.parent.name), sent)


@pytest.mark.parametrize(
    ("sent", "points"),
    [
        pytest.param(signal.SIGKILL, ["lock", "database", "server"], id="SIGKILL"),
        pytest.param(signal.SIGKILL, [*POINTS], id="SIGKILL everywhere", marks=pytest.mark.nightly),
        pytest.param(signal.SIGINT, [*POINTS], id="SIGINT", marks=pytest.mark.nightly),
    ],
)
def test_an_up_that_is_interrupted_again_and_again(
    checkout: Checkout, outputs: Outputs, sent: signal.Signals, points: list[str]
) -> None:
    """The first ``script/up`` of a stack is stopped at each of the points, one after the other; the last one ends green."""
    stack = sent.name.lower()
    checkout.write_stack(stack, port=free_port())
    printed: dict[str, str] = {}
    before = started(checkout.docker)
    try:
        for number, point in enumerate(points):
            reached = POINTS[point]
            up = subprocess.Popen(
                ["script/up", "--stack", stack],
                cwd=checkout.root,
                env=dict(checkout.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            reader = threading.Thread(target=collect, args=(up, printed, point))
            reader.start()
            while not (there := reached(checkout, stack)) and up.poll() is None:
                time.sleep(0.1)
            if there:
                interrupt(up, sent, engine_alone=sent is signal.SIGKILL and number % 2 == 1)
            code = up.wait(300)
            reader.join()
            assert there, f"script/up ended before {point}: {printed[point]}"
            assert code != 0
        printed["end"] = checkout.run("script/up", "--stack", stack).stdout
        story = "\n".join(f"=== {point}\n{text}" for point, text in printed.items())
        assert ALL_GREEN.search(printed["end"]), story
        for stopped, after in itertools.pairwise([*points, "end"]):
            # Ctrl-C lets Pulumi end its step and its notes, so there is nothing to clear. Between its lock and its handler of
            # signals it is a kill (exit -2).
            killed = sent is signal.SIGKILL or "pulumi up: exit -2" in printed[stopped]
            assert ("its lock is removed" in printed[after]) is killed, story
            if stopped in {"database", "roles", "server"}:
                made = "postgres" if stopped == "database" else stopped
                cleared = f"container skyvern-{stack}-{made} is not in the state: removed" in printed[after]
                assert cleared is (sent is signal.SIGKILL), story
                assert ("the last up was stopped while creating" in printed[after]) is cleared, story
        checkout.pulumi(f"preview --refresh --expect-no-changes -s {stack}")
    finally:
        remove(checkout, stack)
    assert started(checkout.docker) == before


def remove(checkout: Checkout, stack: str) -> None:
    """Everything of a stack that is not needed any more, the fast way."""
    docker, label = checkout.docker, f"label=skyvern.stack={stack}"
    firewall = f"skyvern-{stack}-firewall"
    containers = set(docker.run("container", "ls", "--all", "--filter", label, "--format", "{{.Names}}").split())
    if others := containers - {firewall}:
        docker.run("container", "rm", "--force", *others)
    if firewall in containers:
        # It takes its rules with it when it is asked to end and no container is left behind its walls.
        docker.run("container", "stop", firewall)
        docker.run("container", "rm", firewall)
    for kind, flags in (("network", ()), ("volume", ("--force",))):
        if names := docker.run(kind, "ls", "--quiet", "--filter", label).split():
            docker.run(kind, "rm", *flags, *names)
    checkout.pulumi(f"stack rm --force --yes {stack}", check=False)
    (checkout.root / f"Pulumi.{stack}.yaml").unlink(missing_ok=True)
