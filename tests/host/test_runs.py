"""Every run ends: many at once, a page that takes all memory, crashes and restarts under load, on the real stack.

The tests tell one story on the dev stack in the order in which they stand. Twenty random cuts and two hundred runs are nightly.
"""

import json
import random
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from components.settings.host import ServerSettings
from ops.clients.docker import Docker
from ops.observe.smoke.site import Site
from ops.observe.smoke.ui_checks import session_token
from ops.observe.smoke.workflow_checks import definition, start_run, workflow
from skyvern_provider.api import FINAL
from tests.host.conftest import Checkout, Dockerd, as_person, client_of, memory_in_use
from tests.support.waiting import wait_for, watched

pytestmark = pytest.mark.timeout(4800)
SERVER = "skyvern-dev-server"
POSTGRES = "skyvern-dev-postgres"
# As write_stack sets it.
SETTINGS = ServerSettings(memory_mib=3072)
MOST = SETTINGS.runs_at_once
# The gateway lets one client have a hundred requests at once; the heartbeat is one.
SUBMITTERS = 90
SUBMITTED_SECONDS = 9.0
# Takes 3 GiB while it loads, as objects: where a single buffer cannot be had, a page goes on without it.
GREEDY = "<!doctype html><script>const kept = []; for (let i = 0; i < 6e7; i++) kept.push({a: i, b: 'x' + i, c: [i]});</script>"


@pytest.fixture(scope="module")
def site(site: Site) -> Site:
    """The stack, where runs are the person's."""
    return as_person(site)


def gate(docker: Docker) -> dict[str, Any]:
    """What the server says of its runs."""
    state: dict[str, Any] = json.loads(docker.run("exec", SERVER, "cat", "/tmp/run-gate.json"))  # noqa: S108
    return state


def ask_database(docker: Docker, question: str) -> list[list[str]]:
    """Rows of a query."""
    answer = docker.run("exec", "skyvern-dev-roles", "psql", "-X", "-A", "-t", "-d", "skyvern", "-c", question)
    return [line.split("|") for line in answer.splitlines()]


def runs_of(docker: Docker, workflow_id: str) -> dict[str, tuple[str, str]]:
    """Run -> status and reason, of a workflow's runs."""
    # A line a row: a reason may hold the browser's own lines.
    reason = "translate(failure_reason, E'\\n|', '  ')"
    question = f"select workflow_run_id, status, {reason} from workflow_runs where workflow_permanent_id = '{workflow_id}'"  # noqa: S608
    return {run: (status, reason) for run, status, reason in ask_database(docker, question)}


def wait_until_all_end(docker: Docker, workflow_id: str, seconds: float = 600) -> dict[str, tuple[str, str]]:
    wait_for(
        lambda: all(status in FINAL for status, _ in runs_of(docker, workflow_id).values()),
        lambda: f"{runs_of(docker, workflow_id)}\n{docker.logs(SERVER)[-3000:]}",
        seconds=seconds,
        pause=2,
    )
    return runs_of(docker, workflow_id)


def links_of(site: Site, run: str) -> list[str]:
    """Where a run's recording and its screenshots are, as a program is told; none of a run whose end was cut off."""
    told = site.api("GET", f"/v1/runs/{run}").json()
    return [*([told["recording_url"]] if told["recording_url"] else []), *(told["screenshot_urls"] or [])]


@dataclass(frozen=True)
class Asked:
    """A run that a caller asked for. sent, answered: when, in seconds of the monotonic clock."""

    run: str
    sent: float
    answered: float


def out_of_turn(docker: Docker, workflow_id: str, asked: Sequence[Asked]) -> list[tuple[str, str]]:
    """Pairs of runs of which the second was asked for when the first had been accepted, and yet began before it.

    Those that begin together are in no order, nor are those that were asked for at once.
    """
    question = f"select workflow_run_id from workflow_runs where workflow_permanent_id = '{workflow_id}' order by started_at"  # noqa: S608
    place = {row[0]: number for number, row in enumerate(ask_database(docker, question))}
    return [
        (first.run, second.run)
        for first in asked
        for second in asked
        if first.answered < second.sent and place[second.run] + MOST <= place[first.run]
    ]


def memory_left(docker: Docker) -> float:
    """The part of the server's memory that is not in use, of 1."""
    return 1 - memory_in_use(docker, SERVER) / (SETTINGS.memory_mib << 20)


def wait_until_healthy(site: Site, *containers: str) -> None:
    for container in containers or (SERVER,):
        wait_for(
            lambda: site.docker.inspect(container)["State"].get("Health", {}).get("Status") == "healthy",  # noqa: B023
            lambda: site.docker.logs(container)[-3000:],  # noqa: B023
            seconds=300,
            pause=1,
        )


@contextmanager
def due_schedule(site: Site, workflow_id: str) -> Iterator[None]:
    """A schedule that fires once, a good minute from now, the shortest that Skyvern takes."""
    at = datetime.now(UTC) + timedelta(seconds=65)
    body = {"run_at": at.isoformat(), "timezone": "UTC", "name": "once", "enabled": True, "parameters": {}}
    made = site.api("POST", f"/v1/workflows/{workflow_id}/schedules", body=body)
    assert made.status_code == 200, made.text
    yield


@pytest.mark.parametrize("count", [14, pytest.param(200, marks=pytest.mark.nightly)])
def test_many_runs_from_everywhere_all_end_in_their_order_within_the_memory(site: Site, count: int) -> None:
    docker, token = site.docker, session_token(site)
    least: list[float] = []
    slowest: list[float] = []

    def heartbeat() -> float:
        began = time.monotonic()
        assert site.ask("GET", site.outputs.api_url + "/api/v1/heartbeat").status_code == 200
        return time.monotonic() - began

    with workflow(site, definition("Many at once", site.outputs.smoke_url + "/")) as workflow_id, due_schedule(site, workflow_id):

        def start(number: int) -> Asked:
            # As they arrive, whether or not those before them have been answered.
            time.sleep(max(0.0, began + number * SUBMITTED_SECONDS / count - time.monotonic()))
            sent = time.monotonic()
            key = token if number % 3 == 0 else site.outputs.api_key.get_secret_value()
            body = {"workflow_id": workflow_id}
            answer = site.ask("POST", site.outputs.api_url + "/v1/run/workflows", key=key, body=body)
            assert answer.status_code == 200, answer.text
            return Asked(answer.json()["run_id"], sent, time.monotonic())

        with (
            watched(lambda: memory_left(docker), min, least),
            watched(heartbeat, max, slowest),
            ThreadPoolExecutor(SUBMITTERS) as threads,
        ):
            began = time.monotonic()
            asked = list(threads.map(start, range(count)))
            state = gate(docker)
            assert state["max_runs"] == MOST
            assert len(state["running"]) <= MOST
            assert state["queued"] > 0
            wait_for(
                lambda: len(runs_of(docker, workflow_id)) == count + 1, lambda: "the schedule did not fire", seconds=300, pause=2
            )
            ended = wait_until_all_end(docker, workflow_id, seconds=120 + 30 * count)
            took = time.monotonic() - began
        assert [status for status, _ in ended.values()] == ["completed"] * (count + 1)
        assert out_of_turn(docker, workflow_id, asked) == []
    assert docker.inspect(SERVER)["RestartCount"] == 0
    assert least[0] > 0.1
    sent, accepted = (max(moments) - began for moments in zip(*((one.sent, one.answered) for one in asked), strict=True))
    print(
        f"{count} runs: submitted within {sent:.1f} s, accepted within {accepted:.1f} s, ended after {took:.0f} s; "
        f"slowest heartbeat {slowest[0]:.2f} s, {least[0]:.0%} of the memory left at least"
    )
    assert sent < 10
    # Beside the tests of two other lanes.
    assert slowest[0] < 3


@pytest.fixture
def greedy_page(site: Site, tmp_path: Path) -> Iterator[str]:
    """Path of a page that takes more memory than the server has, at the smoke run's own site."""
    docker, name = site.docker, "greedy-site"
    page = tmp_path / "greedy.html"
    page.write_text(GREEDY)
    page.chmod(0o644)
    original = docker.inspect("skyvern-dev-smoke-site")
    docker.run("stop", "skyvern-dev-smoke-site")
    try:
        network = ("--network=skyvern-dev-smoke", "--network-alias=smoke-site", "--tmpfs=/tmp")
        docker.run("create", "--name", name, *network, original["Config"]["Image"], "smoke-site")
        docker.run("cp", str(page), f"{name}:/srv/smoke/greedy.html")
        docker.run("start", name)
        yield "/greedy.html"
    finally:
        docker.run("rm", "--force", name)
        docker.run("start", "skyvern-dev-smoke-site")


def test_a_page_that_takes_all_memory_ends_its_own_run_alone(site: Site, greedy_page: str) -> None:
    docker = site.docker
    with (
        workflow(site, definition("Takes all", site.outputs.smoke_url + greedy_page)) as greedy,
        workflow(site, definition("Goes on", site.outputs.smoke_url + "/", 20)) as modest,
    ):
        start_run(site, modest)
        start_run(site, greedy)
        ((status, reason),) = wait_until_all_end(docker, greedy).values()
        assert status == "failed"
        assert reason.startswith("A page of this run crashed, most likely because it needed more memory")
        ((status, _),) = wait_until_all_end(docker, modest).values()
        assert status == "completed"
    assert docker.inspect(SERVER)["RestartCount"] == 0


def kill_server(docker: Docker) -> None:
    """Its own process: Docker does not start a container again that it was asked to kill."""
    subprocess.run(["kill", "-KILL", str(server_process(docker))], check=True)


def server_process(docker: Docker) -> int:
    """Process of Skyvern outside of the container, whose first process is Docker's own."""
    rows = [line.split(None, 1) for line in docker.run("top", SERVER, "-eo", "pid,args").splitlines()[1:]]
    return next(int(pid) for pid, command in rows if "skyvern/serve.py" in command)


def test_after_a_kill_what_ran_has_a_reason_and_what_waited_is_done(site: Site) -> None:
    docker = site.docker
    with workflow(site, definition("Cut off", site.outputs.smoke_url + "/", 8)) as workflow_id:
        runs = [start_run(site, workflow_id) for _ in range(MOST + 2)]
        wait_for(lambda: len(gate(docker)["running"]) == MOST, seconds=60, pause=0.5)
        running = set(gate(docker)["running"])
        kill_server(docker)
        wait_until_healthy(site)
        ended = wait_until_all_end(docker, workflow_id)
    assert ended.keys() == set(runs)
    for run, (status, reason) in ended.items():
        if run in running:
            assert status == "failed"
            assert reason.startswith("Interrupted: the server stopped while this run was in progress.")
        else:
            assert (status, reason) == ("completed", "")
    assert gate(docker)["interrupted"] == len(running)


def test_a_stop_lets_runs_end_and_tells_who_asks_for_new_ones(site: Site) -> None:
    docker = site.docker
    with workflow(site, definition("In progress", site.outputs.smoke_url + "/", 15)) as workflow_id:
        runs = [start_run(site, workflow_id) for _ in range(MOST + 1)]
        wait_for(lambda: len(gate(docker)["running"]) == MOST, seconds=60, pause=0.5)
        with ThreadPoolExecutor(1) as beside:
            stopped = beside.submit(docker.run, "stop", SERVER, timeout_seconds=600)
            wait_for(lambda: bool(gate(docker)["draining"]), seconds=30, pause=0.2)
            refused = site.api("POST", "/v1/run/workflows", body={"workflow_id": workflow_id})
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) > 0
            assert "about to restart" in refused.json()["detail"]
            assert site.api("GET", f"/v1/runs/{runs[0]}").status_code == 200
            stopped.result()
        assert "skyvern-drain: done; 1 queued for the next start" in docker.logs(SERVER)
        docker.run("start", SERVER)
        wait_until_healthy(site)
        ended = wait_until_all_end(docker, workflow_id)
    assert ended == dict.fromkeys(runs, ("completed", ""))


def test_an_up_that_replaces_the_server_under_load_answers_every_request(checkout: Checkout, site: Site) -> None:
    docker, port = site.docker, int(site.outputs.app_url.rpartition(":")[2])
    with workflow(site, definition("During an up", site.outputs.smoke_url + "/", 5)) as workflow_id:
        runs = [start_run(site, workflow_id) for _ in range(MOST + 2)]
        before = docker.inspect(SERVER)["Id"]
        file = checkout.root / "Pulumi.dev.yaml"
        text = file.read_text()
        try:
            with client_of(site, pause=0.1) as answers:
                checkout.write_stack("dev", port=port, server={"memory_mib": 3072, "drain_minutes": 1, "max_steps": 24})
                told = checkout.run("bash", "-c", 'eval "$(script/env)" && exec pulumi up --yes -s dev').stdout
        finally:
            file.write_text(text)
        assert "skyvern-host-skyvern-server" in told
        assert docker.inspect(SERVER)["Id"] != before
        ended = wait_until_all_end(docker, workflow_id)
    assert ended == dict.fromkeys(runs, ("completed", ""))
    assert {status for status, _ in answers} == {200}
    # One of them waited for the new server.
    assert max(seconds for _, seconds in answers) > 2
    checkout.run("script/up")


def cut(dockerd: Dockerd, site: Site, what: str) -> None:
    """Takes something away at once, and waits until the stack is well again."""
    docker = site.docker
    match what:
        case "power":
            dockerd.lose_power()
            dockerd.start()
        case "server":
            began = docker.inspect(SERVER)["State"]["StartedAt"]
            kill_server(docker)
            # Docker starts it again; until then its state is that of before.
            wait_for(lambda: docker.inspect(SERVER)["State"]["StartedAt"] != began, seconds=60, pause=0.2)
        case "chromium":
            rows = [line.split(None, 1) for line in docker.run("top", SERVER, "-eo", "pid,args").splitlines()[1:]]
            for pid in [pid for pid, command in rows if "chromium" in command]:
                subprocess.run(["kill", "-KILL", pid], check=False, capture_output=True)
        case "database":
            docker.run("kill", POSTGRES)
            docker.run("start", POSTGRES)
        case _:
            docker.run("restart", SERVER, timeout_seconds=600)
    wait_until_healthy(site, POSTGRES, SERVER)


@pytest.mark.parametrize("cuts", [["chromium", "database"], pytest.param(["power", *["any"] * 19], marks=pytest.mark.nightly)])
def test_at_random_moments_no_run_stays_without_an_end_and_none_is_done_twice(
    dockerd: Dockerd, site: Site, cuts: list[str]
) -> None:
    docker, chance = site.docker, random.Random()  # noqa: S311
    kinds = ["server", "chromium", "database", "stop", "power"]
    with workflow(site, definition("At random", site.outputs.smoke_url + "/", 3)) as workflow_id:
        runs: list[str] = []
        for what in cuts:
            runs += [start_run(site, workflow_id) for _ in range(3)]
            time.sleep(chance.uniform(0, 12))
            cut(dockerd, site, chance.choice(kinds) if what == "any" else what)
        # Nothing comes between this one and its recording, which is there some seconds after the end.
        runs.append(start_run(site, workflow_id))
        ended = wait_until_all_end(docker, workflow_id, seconds=900)
        blocks = "workflow_run_blocks join workflow_runs using (workflow_run_id)"
        twice = "group by workflow_run_id, label having count(*) > 1"
        question = f"select 1 from {blocks} where workflow_permanent_id = '{workflow_id}' {twice}"  # noqa: S608
        assert ask_database(docker, question) == []
        assert ended.keys() == set(runs)
        assert all(reason for status, reason in ended.values() if status != "completed")
        done = [run for run in runs if ended[run][0] == "completed"]
        assert done[-1] == runs[-1]
        wait_for(lambda: bool(links_of(site, runs[-1])), seconds=60, pause=1)

        def dead() -> list[tuple[str, str]]:
            links = [(ended[run][0], link) for run in runs for link in links_of(site, run)]
            return [one for one in links if site.ask("GET", one[1]).status_code != 200]

        # A run that lost its browser or its database keeps a link to nothing for up to two minutes (interrupted_runs.py).
        wait_for(lambda: dead() == [], lambda: str(dead()), seconds=180, pause=10)
