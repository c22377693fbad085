"""Two cells on two hosts in one zone: apart in everything, under one set of rules, seen together, and twice as fast.

Nightly: a second machine with its own Docker (tests/support/machines.py), which gets the images from the first and is reached by
SSH, and two stacks with real Skyvern. What is real at the edge and what is not: tests/host/public.py. The tests tell one story in
the order in which they stand.

The measurement is about turns. Both hosts are this machine, so the processor is shared, and only what runs wait for can be shown
to be done at the same time: here a page that answers after PAGE_SECONDS. What a host of one's own adds to that is not measured.
A run uses up to 8 s of a processor, so 200 take two cores an hour, if these are to be half idle. With eight at once and 40 s, a
processor was what runs waited for (64 runs: 494 s in one cell, 376 s in two, on a machine with much other work).
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from components.host import images
from components.settings.host import ServerSettings
from lab import loopback
from lab.standins import connector
from lab.workspace import free_port
from ops.images import needs
from ops.observe.smoke.site import Site
from ops.observe.smoke.workflow_checks import check_workflow_run, definition, start_run, workflow
from ops.stack import inventory
from skyvern_provider.api import FINAL
from tests.host.conftest import IMAGES, Checkout, as_person, client_of, copy_images, sql
from tests.host.public import TUNNEL_PARTS, Public, internet_of
from tests.support import security_table as table
from tests.support.machines import LAN_ADDRESS, Machine, machines
from tests.support.waiting import wait_for

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(5400),
    # Public ones are pulled, by digest, which a copy would lose.
    pytest.mark.skipif(IMAGES == "official", reason="the second machine gets its images from the first"),
]

RUNS = 200
PAGE_SECONDS = 48.0
# Five runs at once.
SETTINGS = ServerSettings(memory_mib=4736)
MOST = SETTINGS.runs_at_once
# Of the zone's owner: requests of one address in ten seconds.
RATE_LIMIT = 100
# Far enough below it.
START_PAUSE = 0.25


@dataclass
class SlowPages:
    """A site whose page takes PAGE_SECONDS. peak: the most that were asked for at the same moment."""

    address: str = ""
    peak: int = 0
    _open: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, change: int) -> None:
        with self._lock:
            self._open += change
            self.peak = max(self.peak, self._open)


@contextlib.contextmanager
def slow_pages() -> Iterator[SlowPages]:
    """At an address that the containers of both hosts reach."""
    pages = SlowPages()

    class Slow(loopback.Handler):
        def do_GET(self) -> None:
            pages.count(1)
            time.sleep(PAGE_SECONDS)
            pages.count(-1)
            body = b"<!doctype html><link rel=icon href=data:,><title>Slow</title><p>Here at last"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with loopback.serving(Slow, address=LAN_ADDRESS) as port:
        pages.address = f"{LAN_ADDRESS}:{port}"
        yield pages


@dataclass
class Cells:
    """North has the zone and is on the tests' own host, south is on the other machine. runs: that a person started in each."""

    north: Public
    south: Public
    machine: Machine
    pages: SlowPages
    runs: dict[str, int] = field(default_factory=lambda: {"north": 0, "south": 0})

    @property
    def both(self) -> tuple[Public, Public]:
        return self.north, self.south

    def fleet(self, *arguments: str | Path, code: int | None = 0) -> str:
        """What ``ops fleet ARGUMENTS`` prints. code: of its end; None for any."""
        done = self.north.checkout.run("bin/ops", "fleet", *map(str, arguments), check=False)
        print(f"ops fleet {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
        assert code in (None, done.returncode), done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def cells(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cells]:
    with contextlib.ExitStack() as stack:
        (machine,) = stack.enter_context(machines(1))
        programs = stack.enter_context(machine.sshd())
        pages = stack.enter_context(slow_pages())
        checkout = replace(checkout, environment={**checkout.environment, "PATH": f"{programs}:{os.environ['PATH']}"})
        checkout.write_stack("north", port=free_port(), monitor={"enabled": True})
        checkout.run("script/bootstrap", "--stack", "north")
        checkout.run("bin/ops", "images", "build", "--stack", "north", timeout_seconds=4500)
        references = images.references(IMAGES)
        began = time.monotonic()
        copy_images(checkout.docker, machine.docker, [references[part] for part in needs.parts(IMAGES, frozenset({"monitor"}))])
        print(f"images copied in {time.monotonic() - began:.0f} s")

        internet = stack.enter_context(internet_of(checkout, tmp_path_factory.mktemp("edge")))
        address = f"{LAN_ADDRESS}:{internet.edge.connector_port}"
        there = replace(internet.checkout, docker=machine.docker)
        north, south = (
            Public(internet, place, name, address, connector.ensure_image(place.docker, address), cell=name)
            for name, place in (("north", internet.checkout), ("south", there))
        )
        hosts = {"north": checkout.docker.host, "south": f"ssh://root@{machine.address}"}
        owner = {"cells": ["south"], "rate_limit_requests": RATE_LIMIT}
        for cell, edge in ((north, owner), (south, {"zone_owner": False})):
            checkout.pulumi(f"stack init {cell.stack} --no-select")
            cell.write(
                edge,
                host={"docker_host": hosts[cell.stack], "port": free_port(), "internet": False},
                server={"memory_mib": SETTINGS.memory_mib, "drain_minutes": 1},
                browser={"allow": [pages.address]},
                monitor={"enabled": True},
            )
            began = time.monotonic()
            cell.up()
            print(f"{cell.stack}: up and second plan in {time.monotonic() - began:.0f} s")
        yield Cells(north, south, machine, pages)
        for cell in (south, north):
            if (checkout.root / f"Pulumi.{cell.stack}.yaml").exists():
                cell.destroy()


def names_on(cell: Public) -> dict[str, set[str]]:
    """Names of the containers, volumes and networks on a cell's host, by kind. On the first one, other tests may have a stack."""
    return {
        kind: cell.checkout.names(kind, *(["--all"] if kind == "container" else []))
        for kind in ("container", "volume", "network")
    }


def test_each_host_has_its_own_cell_and_no_name_is_there_twice(cells: Cells) -> None:
    for cell in cells.both:
        wait_for(lambda: cell.connections() == TUNNEL_PARTS)  # noqa: B023
    names = {cell.stack: names_on(cell) for cell in cells.both}
    for kind in ("container", "volume", "network"):
        assert names["north"][kind], kind
        assert names["south"][kind], kind
        assert not names["north"][kind] & names["south"][kind]
    data = cells.north.internet.world.read()
    hosts = [record["name"] for record in data["records"].values()]
    assert sorted(hosts) == [f"{cell}-{label}.example.com" for cell in ("north", "south") for label in ("api", "app")]
    assert sorted(tunnel["name"] for tunnel in data["tunnels"].values()) == ["skyvern-north", "skyvern-south"]
    # Every address leads to its own stack.
    keys = [cell.outputs().api_key.get_secret_value() for cell in cells.both]
    for cell, key in zip(cells.both, keys, strict=True):
        asked = [cell.ask(cell.host(table.API), "/v1/workflows", {"X-Api-Key": other})[0] for other in keys]
        assert asked == [200 if other == key else 403 for other in keys]


def test_the_rules_of_the_one_that_has_the_zone_hold_for_both(cells: Cells) -> None:
    for cell in cells.both:
        # Cloudflare itself refuses, and not the gateway behind it.
        status, mark = cell.ask(cell.host(table.API), "/v1/workflows", {})
        assert (status, mark.partition(" by ")[0]) == (403, "blocked")
        site = cell.site()
        check_workflow_run(site)
        assert site.run is not None
        cell.recording = str(site.run.recording_path)
        assert cell.answers("cloudflare") == []

    # One limit for an address, in whichever cell it asks.
    north, south = (cell.site() for cell in cells.both)

    def beat(site: Site) -> int:
        return site.ask("GET", site.outputs.api_url + "/api/v1/heartbeat").status_code

    wait_for(lambda: beat(north) == 200, pause=2)
    with ThreadPoolExecutor(40) as pool:
        assert set(pool.map(beat, [south] * 3 * RATE_LIMIT)) == {200, 429}
        assert beat(north) == 429
    wait_for(lambda: (beat(north), beat(south)) == (200, 200), pause=2)


def run_all(cells: Cells, shares: Sequence[tuple[Public, int]]) -> float:
    """Seconds from the first request for these runs, of the slow page, to the end of the last; all have to complete."""
    sites = [as_person(cell.site()) for cell, _ in shares]
    cells.pages.peak = 0
    with contextlib.ExitStack() as stack:
        body = definition("Waits for a page", f"http://{cells.pages.address}/")
        workflows = [stack.enter_context(workflow(site, body)) for site in sites]
        spent = [processor_seconds(site) for site in sites]

        def start(number: int) -> None:
            for _ in range(shares[number][1]):
                start_run(sites[number], workflows[number])
                time.sleep(START_PAUSE)

        def statuses(number: int) -> list[str]:
            question = f"select status from workflow_runs where workflow_permanent_id = '{workflows[number]}'"  # noqa: S608
            return sql(shares[number][0].checkout, question, stack=shares[number][0].stack).split()

        began = time.monotonic()
        with ThreadPoolExecutor(len(shares)) as threads:
            list(threads.map(start, range(len(shares))))
        total = sum(count for _, count in shares)
        wait_for(
            lambda: sum(status in FINAL for number in range(len(shares)) for status in statuses(number)) == total,
            lambda: str([statuses(number) for number in range(len(shares))]),
            seconds=60 + 30 * total,
            pause=2,
        )
        took = time.monotonic() - began
        for number, (cell, count) in enumerate(shares):
            assert statuses(number) == ["completed"] * count
            cells.runs[cell.stack] += count
            mean = sql(
                cell.checkout,
                "select round(avg(extract(epoch from finished_at - started_at)), 1) from workflow_runs "  # noqa: S608
                f"where workflow_permanent_id = '{workflows[number]}'",
                stack=cell.stack,
            )
            processor = (processor_seconds(sites[number]) - spent[number]) / count
            print(f"{cell.stack}: {count} runs of {mean} s, {processor:.1f} s of a processor each; load {os.getloadavg()[0]:.1f}")
    print(f"{total} runs in {len(shares)} cells: {took:.0f} s; at most {cells.pages.peak} at once")
    return took


def processor_seconds(site: Site) -> float:
    """What the server has used of processors since its start."""
    command = "cat /sys/fs/cgroup/cpu.stat 2>/dev/null || echo usage_nsec $(cat /sys/fs/cgroup/cpuacct/cpuacct.usage)"
    told = dict(line.split() for line in site.docker.run("exec", site.container("server"), "sh", "-c", command).splitlines())
    return int(told["usage_usec"]) / 1e6 if "usage_usec" in told else int(told["usage_nsec"]) / 1e9


def test_the_runs_of_one_cell_take_two_cells_half_the_time(cells: Cells) -> None:
    one = run_all(cells, [(cells.north, RUNS)])
    assert cells.pages.peak <= MOST
    two = run_all(cells, [(cells.north, RUNS // 2), (cells.south, RUNS // 2)])
    assert MOST < cells.pages.peak <= 2 * MOST
    print(f"two cells take {two / one:.2f} of the time of one")
    assert two <= 0.6 * one


def test_fleet_shows_both_and_adds_them_up(cells: Cells, tmp_path: Path) -> None:
    names = ("north", "south")
    # Without names: those of the backend, which may have more of this checkout's.
    lines = {line.split()[1].rstrip(":"): line for line in cells.fleet("status").splitlines()}
    for name in names:
        assert f"https://{name}-app.example.com, API answers" in lines[name]
        assert f"runs: 0 of {MOST} in progress, 0 queued" in lines[name]

    found = json.loads(cells.fleet("doctor", *names, "--json", code=None))
    assert found["zones"] == []
    # That nobody is told when it fails is advised to every stack but dev, and what this machine lacks is not the stacks'.
    advised = {"this machine", "stack-alert-channel-present", "stack-heartbeat-outside"}
    for stack in found["stacks"]:
        assert stack["problem"] is None
        assert [finding for finding in stack["found"] if finding["subject"] not in advised] == []

    counted = json.loads(cells.fleet("cost", *names, "--json"))["stacks"]
    assert {stack["stack"]: stack["found"]["runs"] for stack in counted} == cells.runs
    assert [stack["found"]["completed"] for stack in counted] == [stack["found"]["runs"] for stack in counted]
    total = cells.fleet("cost", *names).splitlines()[-1].split()
    assert total[:3] == ["all", str(sum(cells.runs.values())), str(sum(cells.runs.values()))]

    page = tmp_path / "fleet.html"
    assert f"{page}: 2 of 2 stacks" in cells.fleet("dashboard", *names, "--output", page)
    assert all(f"https://{name}-app.example.com" in page.read_text() for name in names)


def test_a_host_that_is_off_is_named_and_the_other_is_shown(cells: Cells, tmp_path: Path) -> None:
    page = tmp_path / "fleet.html"
    cells.machine.pull_cable()
    try:
        north, south = cells.fleet("status", "north", "south", code=1).splitlines()
        assert "https://north-app.example.com, API answers" in north
        assert south.startswith("stack south (cell south): could not be looked at: ")
        assert f"{page}: 1 of 2 stacks" in cells.fleet("dashboard", "north", "south", "--output", page, code=1)
        assert "south" in page.read_text()
        assert cells.north.ask(cells.north.host(table.API), "/api/v1/heartbeat", {})[0] == 200
    finally:
        cells.machine.plug_cable()
    host = cells.south.host(table.API)
    wait_for(lambda: cells.south.ask(host, "/api/v1/heartbeat", {})[0] == 200, seconds=120, pause=1)


def test_a_second_owner_is_named(cells: Cells) -> None:
    file = cells.south.checkout.root / "Pulumi.south.yaml"
    text = file.read_text()
    assert "zone_owner: false" in text
    file.write_text(text.replace("zone_owner: false", "zone_owner: true"))
    try:
        wrong = cells.fleet("doctor", "north", "south", code=1).splitlines()[-1]
        assert wrong.startswith("zone example.com: north and south all have its settings and rules")
        refused = cells.south.checkout.pulumi("preview -s south", check=False)
        assert "edge.zone_owner: the zone example.com has the rules of skyvern-north already" in refused.stdout + refused.stderr
    finally:
        file.write_text(text)


def test_one_is_destroyed_and_the_other_is_untouched(cells: Cells) -> None:
    north, south = cells.both

    def containers() -> dict[str, tuple[str, str, int]]:
        documents = inventory.documents(north.checkout.docker, "north")
        return {one["Name"]: (one["Id"], one["State"]["StartedAt"], one["RestartCount"]) for one in documents}

    def of_north() -> dict[str, object]:
        """What Cloudflare has, without what is the other cell's alone."""
        data = north.internet.world.read()
        tunnel = next(identifier for identifier, known in data["tunnels"].items() if known["name"] == north.prefix)
        records = {record["name"]: record for record in data["records"].values()}
        return {
            "zone": (data["zones"], data["rulesets"]),
            "tunnel": (data["tunnels"][tunnel], data["tunnel_secrets"][tunnel], data["configurations"][tunnel]),
            "records": {name: record for name, record in records.items() if name.startswith("north-")},
        }

    running, known, names = containers(), of_north(), names_on(north)
    with client_of(north.site(), pause=0.5) as answers:
        south.destroy()
    assert {status for status, _ in answers} == {200}
    assert len(answers) > 10
    assert (containers(), of_north(), names_on(north)) == (running, known, names)
    data = north.internet.world.read()
    assert (len(data["tunnels"]), len(data["records"])) == (1, 2)
    assert names_on(south) == {"container": set(), "volume": set(), "network": set()}
    assert south.ask(south.host(table.API), "/api/v1/heartbeat", {}) == (404, "DNS")
    north.expect_no_changes()
    assert north.answers("cloudflare") == []
