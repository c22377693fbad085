"""Production rehearsed: ``script/rehearse`` from a fresh clone, and what its stack does when people and networks misbehave.

The tests of this file tell one story on one rehearsal and run in the order in which they stand; the last one removes it.
"""

import base64
import http.client
import json
import re
import socket
import ssl
import threading
import time
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from ruamel.yaml import YAML

from lab.rehearsal import servers, stack
from ops.observe.smoke.artifact_checks import artifact_url
from ops.observe.smoke.ui_checks import JWT, PLACEHOLDER, SAME_ORIGIN, asset_paths, session_token
from tests.host.conftest import Checkout
from tests.host.contents import generated_secrets
from tests.host.rehearsed import Rehearsed
from tests.support.waiting import wait_for

GATEWAY = "skyvern-rehearsal-gateway"
MIB = 1024 * 1024
LARGE = 500 * MIB
WRONG_LOGINS = 10_000
CLIENTS = 8

pytestmark = pytest.mark.timeout(4800)


def test_everything_is_green(rehearsed: Rehearsed) -> None:
    assert "The rehearsal is green" in rehearsed.printed
    assert not re.search(r"^ +(FAIL|skip)", rehearsed.printed, re.MULTILINE)
    for check in ("UI session refusals", "live stream", "recording", "gateway key", "artifact host", "hostile page"):
        assert f"ok    {check}" in rehearsed.printed, check
    assert len(list(rehearsed.pictures.glob("*.png"))) >= 8
    assert set(stack.left_on(rehearsed.docker)) == {"container", "network", "volume"}


def test_the_stack_file_of_the_checkout_holds_no_secret(checkout: Checkout, rehearsed: Rehearsed) -> None:
    committed = (checkout.root / "Pulumi.rehearsal.yaml").read_text()
    assert "secure" not in committed
    tokens = list(stack.tokens(rehearsed.place.world).values())
    assert not [token for token in tokens if token in committed + rehearsed.printed]
    used = YAML(typ="safe").load(rehearsed.place.folder / "project/Pulumi.rehearsal.yaml")["config"]
    assert set(used["skyvern:edge"]["api_token"]) == set(used["skyvern:frontend"]["api_token"]) == {"secure"}
    assert rehearsed.place.folder.stat().st_mode & 0o77 == 0


def told(response: httpx.Response) -> str:
    """All that a response says."""
    return "\n".join([*(f"{name}: {value}" for name, value in response.headers.items()), response.text])


def test_no_secret_leaves_before_or_after_the_login(rehearsed: Rehearsed) -> None:
    outputs = rehearsed.outputs()
    generated = generated_secrets({"deployment": rehearsed.program.export()})
    api_key, password = outputs.api_key.get_secret_value(), outputs.ui_password.get_secret_value()
    assert outputs.gateway_key is not None
    assert outputs.smoke_api_key is not None
    more = {"gateway key": outputs.gateway_key.get_secret_value(), "smoke key": outputs.smoke_api_key.get_secret_value()}
    everything = {**generated, **more, "api key": api_key, "password": password}
    assert outputs.artifact_url is not None
    with rehearsed.site(outputs) as site:
        page = site.ask("GET", outputs.app_url + "/", login=True)
        todo, paths = (
            asset_paths(page.text),
            {"/", "/workflows", "/agents/1/build", "/favicon.png", "/assets/none.js", "/ui-session"},
        )
        after = [page]
        while todo:
            paths.add(path := todo.pop())
            after.append(site.ask("GET", outputs.app_url + path, login=True))
            todo |= asset_paths(after[-1].text) - paths
        assert len(after) >= 3
        urls = [*(outputs.app_url + path for path in sorted(paths)), artifact_url(site, "image", "/data/artifacts/a.png")]
        urls += [
            f"{host}{path}"
            for host in (outputs.api_url, outputs.stream_url, outputs.artifact_url)
            for path in ("/", "/v1/workflows")
        ]
        before = [site.ask("GET", url, headers=SAME_ORIGIN) for url in urls]
        after.append(site.ask("GET", outputs.app_url + "/ui-session", login=True, headers=SAME_ORIGIN))
        after.append(site.ask("GET", outputs.api_url + "/v1/workflows", key=session_token(site)))
        assert {response.status_code for response in after} == {200}
    leaks = [f"{name}: {response.url}" for response in before for name, value in everything.items() if value in told(response)]
    leaks += [f"a token: {response.url}" for response in before if JWT.search(told(response))]
    leaks += [f"a placeholder: {response.url}" for response in (*before, *after) if PLACEHOLDER.search(told(response))]
    leaks += [f"{name}: {response.url}" for response in after for name, value in everything.items() if value in told(response)]
    assert leaks == []


def test_a_rotation_is_one_new_deployment(rehearsed: Rehearsed) -> None:
    """Login and gateway key at once: both are variables of the deployment, and it is made anew once."""
    old, world = rehearsed.outputs(), rehearsed.place.world
    (first,) = world.read()["vercel"]["deployments"].values()
    program = rehearsed.program
    for key in ("ui_login", "gateway"):
        program.pulumi("config", "set", "--path", f"skyvern:rotation.{key}", "2")
    world.forget_journal()
    rehearsed.place.up(program)
    calls = [
        (entry["operation"], entry["type"].rpartition(":")[2])
        for entry in world.journal("create", "update", "delete")
        if entry["type"].startswith("vercel:")
    ]
    assert sorted(call for call in calls if call[1] == "Deployment") == [("create", "Deployment"), ("delete", "Deployment")]
    assert calls.index(("create", "Deployment")) > max(i for i, call in enumerate(calls) if call[1].endswith("Variable"))
    (second,) = world.read()["vercel"]["deployments"].values()
    new = rehearsed.outputs()
    with rehearsed.site(new) as site:
        assert site.ask("GET", new.app_url + "/", login=True).status_code == 200
        assert session_token(site)
        key_refused = site.ask("GET", new.api_url + "/ui-session", headers={"x-gateway-key": old.gateway_key.get_secret_value()})  # type: ignore[union-attr]
        assert key_refused.status_code == 403
    with rehearsed.site(old) as site:
        assert site.ask("GET", old.app_url + "/", login=True).status_code == 401
    port = json.loads((rehearsed.place.folder / "ports.json").read_text())["vercel"]

    def answers() -> list[int]:
        asked = [httpx.get(f"http://127.0.0.1:{port}/", headers={"Host": one["url"]}, trust_env=False) for one in (first, second)]
        return [answer.status_code for answer in asked]

    # The old one is gone; the new one's own address is for the team alone.
    wait_for(lambda: answers() == [404, 401], seconds=60)
    rehearsed.place.expect_no_changes(program)


@pytest.mark.nightly  # Thousands of requests.
def test_ten_thousand_wrong_logins_change_nothing(rehearsed: Rehearsed) -> None:
    running = rehearsed.servers
    outputs = rehearsed.outputs()
    host = outputs.app_url.removeprefix("https://")
    trusted = ssl.create_default_context(cafile=running.ca_file)
    statuses: list[int] = []

    def attempt(client: int) -> None:
        # Many on one connection: what is tried is the login, not the handshake.
        connection = http.client.HTTPSConnection("127.0.0.1", running.https_port, timeout=60)
        connection.sock = trusted.wrap_socket(socket.create_connection(("127.0.0.1", running.https_port)), server_hostname=host)
        for number in range(WRONG_LOGINS // CLIENTS):
            login = base64.b64encode(f"skyvern:wrong-{client}-{number}".encode()).decode()
            connection.request("GET", "/ui-session", headers={"Host": host, "Authorization": f"Basic {login}", **SAME_ORIGIN})
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        connection.close()

    before = rehearsed.vercel_memory_mib()
    threads = [threading.Thread(target=attempt, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(statuses), set(statuses)) == (WRONG_LOGINS, {401})
    grown = rehearsed.vercel_memory_mib() - before
    print(f"memory grew by {grown:.0f} MiB")
    assert grown < 100
    with rehearsed.site(outputs) as site:
        assert session_token(site)


def test_an_api_that_is_down_or_slow_is_said_so(rehearsed: Rehearsed) -> None:
    """The UI itself stays there, and everything comes back without help."""
    docker = rehearsed.docker
    with rehearsed.site() as site:

        def session() -> httpx.Response:
            return site.ask("GET", site.outputs.app_url + "/ui-session", login=True, headers=SAME_ORIGIN)

        for act, undo, expected in (
            ("stop", "start", (502, {"detail": "the server cannot be reached"})),
            ("pause", "unpause", (504, {"detail": "the server takes too long"})),
        ):
            docker.run(act, GATEWAY)
            try:
                refused = session()
                assert (refused.status_code, refused.json()) == expected
                assert site.ask("GET", site.outputs.app_url + "/workflows", login=True).status_code == 200
            finally:
                docker.run(undo, GATEWAY)
            wait_for(lambda: session().status_code == 200, seconds=60)


def test_a_large_recording_passes_and_can_be_sought_in(rehearsed: Rehearsed) -> None:
    path = "/data/artifacts/large.mp4"
    with rehearsed.site() as site:
        # Sparse: it takes no room, and its length is what counts. The end is marked, so that a range can be told from another.
        write = f"truncate -s {LARGE - 8} {path} && printf 'the end!' >> {path}"
        site.execute("server", "sh", "-c", write)
        url = artifact_url(site, "recording", path)
        before, started = rehearsed.vercel_memory_mib(), time.monotonic()
        most, received = before, 0
        response = site.ask("GET", url, login=True, stream=True)
        assert response.headers["content-length"] == str(LARGE)
        for number, piece in enumerate(response.iter_raw(MIB)):
            received += len(piece)
            if number % 50 == 0:
                most = max(most, rehearsed.vercel_memory_mib())
        response.close()
        assert received == LARGE
        print(f"{LARGE / MIB / (time.monotonic() - started):.0f} MiB/s; memory grew by {most - before:.0f} MiB")
        assert most - before < 150
        part = site.ask("GET", url, login=True, headers={"Range": f"bytes={LARGE - 8}-"})
        assert (part.status_code, part.text) == (206, "the end!")
        assert part.headers["content-range"] == f"bytes {LARGE - 8}-{LARGE - 1}/{LARGE}"
        beyond = site.ask("GET", url, login=True, headers={"Range": f"bytes={LARGE}-"})
        assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{LARGE}")
        site.execute("server", "rm", path)


def test_odd_names_are_files_like_others(rehearsed: Rehearsed) -> None:
    names = ("한글 녹화.txt", "100%.txt", "50%25.txt", "a#b.txt", "a?b=c&d.txt", "a+b c.txt", "é.txt")
    with rehearsed.site() as site:
        for name in names:
            path = f"/data/artifacts/{name}"
            site.execute("server", "sh", "-c", 'cat >"$0"', path, stdin=name.encode())
            response = site.ask("GET", artifact_url(site, "text", path), login=True)
            assert (response.status_code, response.content.decode()) == (200, name)
            site.execute("server", "rm", path)
            assert site.ask("GET", artifact_url(site, "text", path), login=True).status_code == 404
        assert site.ask("GET", f"{site.outputs.app_url}/{quote('한글 %#?')}", login=True).status_code == 200


def test_destroy_removes_everything(checkout: Checkout, rehearsed: Rehearsed) -> None:
    pid = servers.find(rehearsed.place.folder)
    assert pid is not None
    assert "The rehearsal is removed." in checkout.run("script/rehearse", "--destroy").stdout
    assert not rehearsed.place.folder.exists()
    assert stack.left_on(rehearsed.docker) == {}
    # A process without a parent stays as a zombie until init looks for it, which not every init does at once.
    until = time.monotonic() + 60
    while Path(f"/proc/{pid.pid}").exists():
        assert time.monotonic() < until, Path(f"/proc/{pid.pid}/stat").read_text()
        time.sleep(0.2)
    assert "There is no rehearsal." in checkout.run("script/rehearse", "--destroy").stdout
