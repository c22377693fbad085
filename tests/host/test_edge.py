"""Production's way in on the real stack: from the public names through the tunnel to the gateway and Skyvern, and away again.

What is real and what is not: tests/host/public.py.
The tests tell one story in the order in which they stand: up, ask, rotate, reboot, the UI on Vercel, ask, rotate, destroy.
"""

import base64
import json
import re
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lab.standins import connector
from lab.standins.providers import vercel
from ops.observe.smoke.workflow_checks import check_workflow_run, definition, read_run, start_run, wait_for_end, workflow
from tests.host.callers import calling, ends_of, unended_runs, wrong
from tests.host.conftest import Checkout, Dockerd, as_person, client_of, sql
from tests.host.public import TUNNEL_PARTS, Public, internet_of
from tests.support import security_table as table
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(4800)
STACK = "public"
PREFIX = f"skyvern-{STACK}"


@pytest.fixture(scope="module")
def public(checkout: Checkout, first_up: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Public]:
    with internet_of(checkout, tmp_path_factory.mktemp("edge")) as internet:
        port = internet.edge.connector_port
        image = connector.ensure_image(checkout.docker, port)
        # Where the stand-in of Cloudflare's network listens.
        found = Public(internet, internet.checkout, STACK, f"host:{port}", image)
        found.checkout.pulumi(f"stack init {STACK} --no-select")
        found.write()
        found.up()
        yield found


def test_the_connector_runs_and_every_name_leads_to_the_gateway(public: Public) -> None:
    wait_for(lambda: public.connections() == TUNNEL_PARTS)
    container = public.checkout.docker.inspect(f"{PREFIX}-connector")
    assert container["State"]["Health"]["Status"] == "healthy"
    assert (container["Config"]["User"], container["HostConfig"]["ReadonlyRootfs"]) == ("65532:65532", True)
    # No port of the stack is open on the host.
    ports = public.checkout.docker.run("ps", "--filter", f"label=skyvern.stack={STACK}", "--format", "{{.Ports}}")
    assert "->" not in ports
    site = public.site()
    check_workflow_run(site)
    assert site.run is not None
    public.recording = str(site.run.recording_path)
    assert public.answers("cloudflare") == []
    told = public.checkout.docker.logs(f"{PREFIX}-gateway")
    assert '"client_ip":"127.0.0.1"' in told


def test_a_new_gateway_is_healthy_before_the_old_one_goes(public: Public) -> None:
    docker, gateway = public.checkout.docker, f"{PREFIX}-gateway"
    source = public.checkout.root / "components/host/gateway.py"
    good = source.read_text()
    command = 'command=["gateway-start", rules]'
    assert command in good

    def container() -> str:
        found: str = docker.inspect(gateway)["Id"]
        return found

    def deploy(added: str) -> str:
        """An up with a line more at the end of the gateway's rules, under a client's eyes; what it printed."""
        source.write_text(good.replace(command, f'command=["gateway-start", rules + "\\n{added}\\n"]'))
        with client_of(public.site(), pause=0.1) as answers:
            printed = public.checkout.run("bash", "-c", f'eval "$(script/env)" && exec pulumi up --yes -s {STACK}', check=False)
        assert {status for status, _ in answers} == {200}
        assert len(answers) > 20
        names = {name for name in public.checkout.names("container", "--all") if name.startswith(gateway)}
        assert names == {gateway}
        print(f"longest of {len(answers)} answers: {max(seconds for _, seconds in answers):.1f} s")
        return printed.stdout + printed.stderr

    first = container()
    assert "1 replaced" in deploy("# another gateway")
    second = container()
    assert second != first
    # One that never becomes healthy is removed, and says why; the old one has gone on.
    told = deploy("import {$SKYVERN_API_KEY}")
    assert f"the new {gateway} did not become healthy, and the old one goes on; what it said:" in told
    assert "(value of SKYVERN_API_KEY)" in told
    assert public.outputs().api_key.get_secret_value() not in told
    assert container() == second
    source.write_text(good)
    public.up()
    assert container() not in {first, second}


def test_the_doctor_finds_what_is_wrong_with_the_way_in(public: Public) -> None:
    def findings() -> set[tuple[str, str]]:
        done = public.checkout.run("bin/ops", "doctor", "-s", STACK, "--json", check=False)
        found = json.loads(done.stdout)["findings"]
        # That nobody is told when it fails is advised to every stack but dev.
        told = {"stack-alert-channel-present", "stack-heartbeat-outside"}
        return {(one["subject"], one["problem"]) for one in found if one["subject"] not in {"this machine"} | told}

    assert findings() == set()
    public.checkout.docker.run("stop", f"{PREFIX}-connector")
    try:
        planted = findings()
    finally:
        public.checkout.docker.run("start", f"{PREFIX}-connector")
    assert {("api.example.com", "no connector is connected"), ("app.example.com", "no connector is connected")} <= planted
    assert (PREFIX, "no connector is connected to it") in planted
    wait_for(lambda: public.connections() == TUNNEL_PARTS)


def test_a_rotated_tunnel_secret_shuts_old_connectors_out(public: Public) -> None:
    old = public.token()
    with client_of(public.site(), pause=0.2) as answers:
        done = public.checkout.run("bin/ops", "rotate", "tunnel", "--stack", STACK, "--yes")
    print(f"{len(answers)} answers, the longest after {max(seconds for _, seconds in answers):.1f} s")
    # The new connector was connected before the old one went.
    assert {status for status, _ in answers} == {200}
    # With it comes the whole smoke run, through the tunnel.
    assert re.search(r"rotated: tunnel; (\d+) of \1 smoke checks green", done.stdout), done.stdout
    assert public.token() != old
    assert public.refusal(old) == "refused Unauthorized: Invalid tunnel secret"
    assert public.refusal(public.token()) == "registered"
    assert old not in done.stdout + done.stderr


def runs_in_progress(public: Public) -> str:
    return sql(public.checkout, unended_runs(), STACK)


@pytest.mark.nightly
def test_all_secrets_rotate_and_a_client_is_answered_each_time(public: Public) -> None:
    with calling(as_person(public.site())) as caller:
        old = caller.key
        done = public.checkout.run("bin/ops", "rotate", "all", "--stack", STACK, "--yes")
        assert re.search(r"rotated: database, api-key, ui-login, tunnel; (\d+) of \1 smoke checks green", done.stdout), (
            done.stdout
        )
        # As the operator hands it to the programs.
        new = public.site()
        caller.key = new.outputs.api_key.get_secret_value()
        caller.wait_for_answers()
    print(caller.summary())
    assert caller.key != old
    for answers in (caller.answers, caller.starts):
        # The old key is refused once it is not the stack's any more, and never before.
        with_old = [one for one in answers if one.key == old]
        assert wrong(with_old, 200, 403) == []
        statuses = [one.status for one in with_old if one.status in {200, 403}]
        assert statuses == sorted(statuses)
        assert wrong([one for one in answers if one.key == caller.key], 200) == []
    ends_of(as_person(new), caller.runs)
    assert runs_in_progress(public) == ""


@pytest.mark.nightly
def test_a_reboot_loses_no_run_and_cloudflare_alone_answers_while_the_host_is_off(public: Public, dockerd: Dockerd) -> None:
    site = as_person(public.site())
    with calling(site) as caller:
        wait_for(lambda: len(caller.runs) > 2, caller.summary, seconds=120)
        began = time.monotonic()
        dockerd.shut_down()
        down = time.monotonic()
        # The machine starts.
        time.sleep(5)
        dockerd.start()
        started = time.monotonic()
        caller.wait_for_answers()
        back = next(one.began + one.seconds for one in caller.answers if one.began > down and one.status == 200)
    print(f"{caller.summary()}; shut down within {down - began:.0f} s; {back - started:.0f} s from Docker's start to an answer")
    for answers in (caller.answers, caller.starts):
        print(
            [(round(one.began - began, 1), round(one.seconds, 1), one.status, one.text) for one in answers if one.status != 200]
        )
        # Nobody is connected for Cloudflare to ask; then the connector is, a moment before the gateway listens, because Docker
        # starts what was there in no order.
        assert wrong(answers, 200, 502, 530) == []
        assert {one.text for one in answers if one.status == 502} <= {"error code: 502\n"}
        off = [one.began for one in answers if one.status in {502, 530}]
        assert [one for one in answers if one.status == 200 and off and off[0] <= one.began <= off[-1]] == []
    ends_of(site, caller.runs)
    assert runs_in_progress(public) == ""
    wait_for(lambda: public.connections() == TUNNEL_PARTS)


def test_with_the_ui_on_vercel_the_other_hosts_answer(public: Public) -> None:
    public.write(frontend={"provider": "vercel", "team": vercel.TEAM, "plan": "pro"})
    public.up()
    wait_for(lambda: public.connections() == TUNNEL_PARTS)
    assert public.answers("vercel") == []


def test_a_hundred_requests_at_once_lose_none(public: Public) -> None:
    site = public.site()

    def status(number: int) -> int:
        return site.api("GET", f"/v1/workflows?page=1&page_size=1&n={number}").status_code

    with ThreadPoolExecutor(100) as pool:
        assert list(pool.map(status, range(100))) == [200] * 100


def test_a_live_view_streams_through_wss(public: Public) -> None:
    site = as_person(public.site())
    with workflow(site, definition("A live view", f"{site.outputs.smoke_url}/", 30)) as identifier:
        run = start_run(site, identifier)
        wait_for(lambda: read_run(site, run)["status"] == "running", seconds=90)
        # Where the run changes its page while the view begins, Skyvern ends the stream, and a viewer comes again, as the UI does.
        while (picture := first_picture(public, run)) is None:
            assert read_run(site, run)["status"] == "running", "the run ended without a picture"
        assert picture.startswith(b"\xff\xd8")
        site.api("POST", f"/v1/runs/{run}/cancel")
        wait_for_end(site, run)


@pytest.mark.nightly  # The rehearsal rotates it daily (test_rehearsal.py), without a client meanwhile.
def test_a_rotated_gateway_key_is_the_only_one(public: Public) -> None:
    old = public.outputs().gateway_key
    assert old is not None
    # Nobody serves the UI here, so not every check of the smoke run is green.
    with client_of(public.site(), pause=0.2) as answers:
        done = public.checkout.run("bin/ops", "rotate", "gateway", "--stack", STACK, "--yes", check=False)
    print(f"{len(answers)} answers, the longest after {max(seconds for _, seconds in answers):.1f} s")
    # With another key, the gateway is replaced as well: the new one is healthy before the old one goes.
    assert {status for status, _ in answers} == {200}
    assert "ok    the old secret is refused: key by which Vercel and the gateway know each other" in done.stdout, done.stdout
    new = public.outputs().gateway_key
    assert new is not None
    path = f"/artifact/recording?path={public.recording}"
    asked = {"X-Gateway-Key": old.get_secret_value()}
    assert public.ask(table.ARTIFACT, path, asked)[0] == 403
    assert public.ask(table.ARTIFACT, path, {"X-Gateway-Key": new.get_secret_value()})[0] == 200


def test_destroy_lets_the_tunnel_go(public: Public) -> None:
    public.destroy()
    data = public.internet.world.read()
    left = ("tunnels", "records", "rulesets", "policies", "applications")
    assert {name: data[name] for name in left} == {name: {} for name in left}
    assert not {name for name in public.checkout.names("container", "--all") if name.startswith(PREFIX)}


def first_picture(public: Public, run: str) -> bytes | None:
    """The first JPEG of a run's live view; None if the stream ends before it has one."""
    key = public.outputs().api_key.get_secret_value()
    head = {"Host": table.WSS, "Origin": f"https://{table.APP}", **table.UPGRADE}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    with public.line(table.WSS) as line:
        line.sendall(f"GET /api/v1/stream/workflow_runs/{run}?apikey={key} HTTP/1.1\r\n{lines}\r\n".encode())
        stream = line.makefile("rb")
        assert stream.readline().startswith(b"HTTP/1.1 101")
        while stream.readline() != b"\r\n":
            pass
        while frame := read_frame(stream):
            if b'"screenshot"' in frame:
                return base64.b64decode(json.loads(frame)["screenshot"])
            print("live view:", frame)
    return None


def read_frame(stream: Any) -> bytes:
    """The payload of one frame of a WebSocket, as a server sends it: not masked. Empty at the end of the stream."""
    head = stream.read(2)
    if len(head) < 2:
        return b""
    size = head[1]
    if size == 126:
        (size,) = struct.unpack(">H", stream.read(2))
    elif size == 127:
        (size,) = struct.unpack(">Q", stream.read(8))
    payload: bytes = stream.read(size)
    return payload
