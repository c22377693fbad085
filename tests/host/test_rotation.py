"""Each secret rotated under a client that calls twice a second, a rotation that is killed, and files that grow old."""

import json
import os
import re
import signal
import subprocess
import threading
import time
from types import TracebackType

import httpx
import pytest

from tests.host.conftest import Checkout, put_right
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(4800)


class Client:
    """Asks the API for the list of workflows twice a second, from the first line of a ``with`` to its last."""

    def __init__(self, url: str, key: str) -> None:
        self.url = f"{url}/v1/workflows"
        self.key = key
        # When, and the status or the name of the error.
        self.seen: list[tuple[float, int | str]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with httpx.Client(trust_env=False, timeout=5) as http:
            while not self._stop.wait(0.5):
                began = time.monotonic()
                try:
                    answer: int | str = http.get(self.url, headers={"x-api-key": self.key}).status_code
                except httpx.TransportError as failure:
                    answer = type(failure).__name__
                self.seen.append((began, answer))

    def __enter__(self) -> "Client":
        self._thread.start()
        self._hear(2)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # So that what comes after the last failure is seen as well.
        try:
            self._hear(4)
        finally:
            self._stop.set()
            self._thread.join()

    def _hear(self, answers: int) -> None:
        """Waits for further answers."""
        before = len(self.seen)
        wait_for(lambda: len(self.seen) >= before + answers)

    def failures(self, *answers: int) -> list[float]:
        """When something else came than ``answers``."""
        return [when for when, answer in self.seen if answer not in answers]


@pytest.fixture(scope="module")
def running(checkout: Checkout, first_up: str) -> str:
    """The address of the stack, which an earlier module may have destroyed."""
    put_right(checkout)
    return checkout.output("app_url")


def container_id(checkout: Checkout, part: str) -> str:
    """The id of a running container, or ""."""
    return checkout.docker.run("ps", "--quiet", "--no-trunc", "--filter", f"name=^skyvern-dev-{part}$").strip()


def role_password(checkout: Checkout) -> str:
    environment: list[str] = checkout.docker.inspect("skyvern-dev-roles")["Config"]["Env"]
    return next(entry.partition("=")[2] for entry in environment if entry.startswith("ROLE_PASSWORD="))


def login_to_database(checkout: Checkout, password: str) -> str:
    """What PostgreSQL says over TCP to Skyvern's role, asked from the server's container."""
    code = (
        "import psycopg, sys\n"
        "try: psycopg.connect(host='postgres', dbname='skyvern', user='skyvern', password=sys.stdin.read()); print('welcome')\n"
        "except psycopg.OperationalError as refused: print(refused)\n"
    )
    return checkout.docker.run(
        "exec", "--interactive", "skyvern-dev-server", "python3", "-c", code, stdin=password.encode(), timeout_seconds=60
    )


def open_session(url: str, password: str) -> str:
    """A session token, as the UI fetches one."""
    answer = httpx.get(
        f"{url}/ui-session", auth=("skyvern", password), headers={"sec-fetch-site": "same-origin"}, trust_env=False
    )
    assert answer.status_code == 200
    return str(answer.json()["token"])


def asks_with(url: str, token: str) -> int:
    return httpx.get(f"{url}/api/v1/workflows", headers={"x-api-key": token}, trust_env=False, timeout=30).status_code


@pytest.mark.parametrize(
    ("what", "afterwards"),
    # Each alone is nightly: "all" has what they have.
    [
        pytest.param("ui-login", 200, marks=pytest.mark.nightly),
        pytest.param("database", 200, marks=pytest.mark.nightly),
        pytest.param("api-key", 403, marks=pytest.mark.nightly),
        ("all", 403),
    ],
)
def test_calls_fail_only_inside_the_announced_window(checkout: Checkout, running: str, what: str, afterwards: int) -> None:
    key, login, database = checkout.output("api_key"), checkout.output("ui_password"), role_password(checkout)
    smoke_key = checkout.output("smoke_api_key")
    session = open_session(running, login)
    assert asks_with(running, session) == asks_with(running, smoke_key) == 200
    with Client(running, key) as client:
        done = checkout.run("bin/ops", "rotate", what, "--yes")
    announced = re.search(r"up to (\d+) s", done.stdout)
    assert announced is not None
    failures = client.failures(200, afterwards)
    # The gateway is back within a second, which may fall between two calls; Skyvern's own start cannot.
    assert failures or what == "ui-login", "the window was not seen, so nothing is proven"
    assert not failures or failures[-1] - failures[0] <= int(announced[1])
    # Before the window it worked, and afterwards it does what it should.
    answers = [answer for _, answer in client.seen]
    assert answers[:2] == [200, 200]
    assert answers[-2:] == [afterwards, afterwards]
    if afterwards == 200:
        assert 403 not in answers

    changed = {
        "api-key": checkout.output("api_key") != key,
        "ui-login": checkout.output("ui_password") != login,
        "database": role_password(checkout) != database,
    }
    rotated = {name: what in {name, "all"} for name in changed}
    assert changed == rotated
    assert asks_with(running, smoke_key) == (403 if rotated["api-key"] else 200)
    assert asks_with(running, checkout.output("smoke_api_key")) == 200
    status = httpx.get(f"{running}/", auth=("skyvern", login), trust_env=False).status_code
    assert status == (401 if rotated["ui-login"] else 200)
    refused = "password authentication failed" in login_to_database(checkout, database)
    assert refused is rotated["database"]
    # A session from before ends, and the next one works. With another database password, too: the container that sets it ends
    # sessions whenever it starts.
    assert asks_with(running, session) == 403
    assert asks_with(running, open_session(running, checkout.output("ui_password"))) == 200
    printed = done.stdout + done.stderr
    assert not [secret for secret in (key, login, database, checkout.output("api_key")) if secret in printed]
    checkout.pulumi("preview --expect-no-changes -s dev")


def test_a_plain_up_with_a_higher_epoch_ends_sessions_too(checkout: Checkout, running: str) -> None:
    session = open_session(running, checkout.output("ui_password"))
    server = container_id(checkout, "server")
    checkout.pulumi("config set --path skyvern:rotation.ui_login 98 -s dev")
    checkout.pulumi("up --yes --skip-preview -s dev")
    assert asks_with(running, session) == 403
    assert container_id(checkout, "server") == server, "runs in progress go on"
    # Without any rotation, where a token alone has leaked.
    session = open_session(running, checkout.output("ui_password"))
    assert asks_with(running, session) == 200
    checkout.run("bin/ops", "end-sessions", "-s", "dev")
    assert asks_with(running, session) == 403
    checkout.pulumi("preview --expect-no-changes -s dev")


def test_a_rotation_that_is_killed_is_finished_by_the_next_up(checkout: Checkout, running: str) -> None:
    """SIGKILL while Docker has the new server container and the state does not: lock, pending operation and orphan are left."""
    old, database = container_id(checkout, "server"), role_password(checkout)
    checkout.pulumi("config set --path skyvern:rotation.database 99 -s dev")
    up = subprocess.Popen(
        ["bash", "-c", 'eval "$(script/env)" && exec pulumi up --yes --skip-preview -s dev'],
        cwd=checkout.root,
        env=dict(checkout.environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while container_id(checkout, "server") in {"", old}:
        assert up.poll() is None, "the up ended before it could be killed"
        time.sleep(0.1)
    os.kill(up.pid, signal.SIGKILL)
    up.wait()
    orphan = container_id(checkout, "server")

    done = checkout.run("script/up")
    assert "its lock is removed" in done.stdout
    assert "the last up was stopped while creating skyvern-host-skyvern-server" in done.stdout
    assert "container skyvern-dev-server is not in the state: removed" in done.stdout
    assert container_id(checkout, "server") not in {"", old, orphan}
    assert role_password(checkout) != database
    assert "password authentication failed" in login_to_database(checkout, database)
    exported = json.loads(checkout.pulumi("stack export -s dev").stdout)
    assert not exported["deployment"].get("pending_operations")
    checkout.pulumi("preview --expect-no-changes -s dev")


def test_old_files_are_removed_and_young_ones_stay(checkout: Checkout, running: str) -> None:
    plant = """
        set -e
        cd /data
        mkdir -p videos/old/deep videos/empty har/h artifacts/selfhosted/o_1/scripts/s
        touch videos/old/deep/a.webm videos/young.webm har/h/a.har
        touch artifacts/selfhosted/o_1/scripts/s/main.py credential_vault/planted
        touch -d '40 days ago' videos/old/deep/a.webm har/h/a.har
        touch -d '400 days ago' artifacts/selfhosted/o_1/scripts/s/main.py credential_vault/planted
        ln -sfn /data/credential_vault videos/link
        touch -d '2 days ago' videos/empty
    """
    docker = checkout.docker
    docker.run("exec", "skyvern-dev-server", "bash", "-c", plant)
    docker.run("restart", "skyvern-dev-retention")

    def swept() -> bool:
        log = docker.logs("skyvern-dev-retention", "--since", "60s")
        # Healthy again as well: the tests behind this one look at every container.
        healthy = docker.inspect("skyvern-dev-retention")["State"]["Health"]["Status"] == "healthy"
        return healthy and "har 1 files" in log and "videos 1 files" in log

    wait_for(swept, seconds=60, pause=0.25)
    left = set(docker.run("exec", "skyvern-dev-server", "find", "/data").split())
    assert not {"/data/videos/old/deep/a.webm", "/data/har/h/a.har", "/data/videos/empty"} & left
    assert {
        "/data/videos/young.webm",
        "/data/videos/link",
        "/data/credential_vault/planted",
        "/data/artifacts/selfhosted/o_1/scripts/s/main.py",
    } <= left
    assert docker.inspect("skyvern-dev-retention")["HostConfig"]["NetworkMode"] == "none"
