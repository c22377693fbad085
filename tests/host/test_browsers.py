"""The three kinds of browser on the real stack: headless and headful under Chromium's sandbox, and a Chrome elsewhere.

The tests tell one story on the dev stack in the order in which they stand; the last one puts its first settings back.
"""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from ops import smoke, stack
from ops.bench.workspace import free_port
from ops.errors import UserError
from ops.smoke.site import Site, client_for
from ops.smoke.workflow_checks import FINAL, definition, read_run, start_run, workflow
from tests.host.conftest import Checkout

SERVER = "skyvern-dev-server"
CHROME = "chrome-elsewhere"
BOTH = ("running", "running")
NOT_FOR_CDP = {"recording", "recording range", "browser sandbox"}

pytestmark = pytest.mark.timeout(4800)


@contextmanager
def site_of(checkout: Checkout) -> Iterator[Site]:
    """The stack as ``ops smoke`` sees it."""
    outputs = stack.parse("dev", checkout.pulumi("stack output --json --show-secrets -s dev").stdout)
    with client_for(outputs) as client:
        yield Site(outputs, client, checkout.docker)


def results(checkout: Checkout, *names: str) -> dict[str, str]:
    """Marks of the named checks of the smoke run (of all without names), each with what was seen."""
    checks = [check for check in smoke.CHECKS if not names or check.name in names]
    with site_of(checkout) as target:
        return {result.name: f"{result.mark} {result.detail}".strip() for result in smoke.run_checks(target, checks)}


def port_of(checkout: Checkout) -> int:
    return int(checkout.output("app_url").rpartition(":")[2])


def two_at_once(checkout: Checkout) -> tuple[list[tuple[str, ...]], list[dict[str, Any]]]:
    """Two runs, started at once, that stay on their page for seconds: every pair of states seen, and the runs at their end."""
    with site_of(checkout) as target:
        body = definition("Two at once", f"{target.outputs.smoke_url}/", 3)
        with workflow(target, body) as first, workflow(target, body) as second:
            ids = [start_run(target, one) for one in (first, second)]
            seen: list[tuple[str, ...]] = []
            deadline = time.monotonic() + 180
            while True:
                runs = [read_run(target, one) for one in ids]
                seen.append(tuple(run["status"] for run in runs))
                if set(seen[-1]) <= FINAL or time.monotonic() > deadline:
                    return seen, runs
                time.sleep(0.2)


def up(checkout: Checkout, browser: dict[str, object] | None) -> None:
    """The dev stack with another browser."""
    checkout.write_stack("dev", port=port_of(checkout), browser=browser)
    checkout.pulumi("up --yes --skip-preview -s dev")


def test_a_page_of_a_headless_browser_is_sandboxed(checkout: Checkout, first_up: str) -> None:
    # The check of the smoke run, with which script/up ends.
    assert "ok    browser sandbox" in first_up
    options = checkout.docker.inspect(SERVER)["HostConfig"]
    assert "no-new-privileges:true" in options["SecurityOpt"]
    assert options["CapDrop"] == ["ALL"]


def test_the_profile_allows_what_chromium_needs_and_no_more(checkout: Checkout, first_up: str) -> None:
    def unshare(*flags: str) -> bool:
        told = checkout.docker.run("exec", SERVER, "sh", "-c", 'unshare "$@" echo made 2>&1 || true', "sh", *flags)
        return "made" in told

    assert unshare("--user", "--pid", "--net")
    for kind in ("--mount", "--uts", "--ipc", "--cgroup"):
        assert not unshare("--user", kind), kind
    netfilter = "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)"
    with pytest.raises(UserError, match="Operation not permitted"):
        checkout.docker.run("exec", SERVER, "python3", "-c", netfilter)


def test_a_host_without_namespaces_is_told_in_one_line(checkout: Checkout, first_up: str) -> None:
    """Under Docker's own profile there are none, as on a host that forbids them."""
    image = checkout.docker.inspect(SERVER)["Config"]["Image"]
    options = ("--rm", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges:true")
    with pytest.raises(UserError) as failed:
        checkout.docker.run("run", *options, image, "skyvern-start", "sandbox")
    line = str(failed.value)
    assert "skyvern-start: sandbox: FAILED" in line
    assert "Operation not permitted" in line
    assert "browser.sandbox: false" in line


def test_browsers_of_the_stack_work_side_by_side(checkout: Checkout, first_up: str) -> None:
    """What a shared Chrome must not do, seen by the same look."""
    seen, _ = two_at_once(checkout)
    assert seen[-1] == ("completed", "completed")
    assert BOTH in seen


def test_a_headful_browser_runs_a_workflow_in_its_sandbox(checkout: Checkout, first_up: str) -> None:
    up(checkout, {"type": "headful"})
    wanted = ("workflow run", "recording", "screenshot", "browser sandbox")
    assert results(checkout, *wanted) == dict.fromkeys(wanted, "ok")
    assert "Xvfb" in checkout.docker.run("top", SERVER, "-eo", "pid,args")


# --- A Chrome elsewhere --------------------------------------------------------------------------------------------------


class Relay:
    """Forwards TCP from an address of this host to a port of loopback, as ``netsh interface portproxy`` does on Windows.

    Chrome listens on loopback only, whatever --remote-debugging-address says (seen with 156).
    """

    def __init__(self, address: str, target_port: int) -> None:
        self.target_port = target_port
        self.listener = socket.create_server((address, 0))
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                return
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.fixture(scope="module")
def chrome(checkout: Checkout, first_up: str) -> Iterator[dict[str, object]]:
    """A Chrome outside of the stack, in the host's network, and the browser section by which the stack reaches it."""
    docker = checkout.docker
    docker.run("network", "create", CHROME)
    address = docker.inspect(CHROME)["IPAM"]["Config"][0]["Gateway"]
    port, proxy_port = free_port(), free_port()
    flags = (
        "--headless=new",
        "--no-first-run",
        "--user-data-dir=/tmp/profile",
        f"--remote-debugging-port={port}",
        f"--proxy-server=http://127.0.0.1:{proxy_port}",
        "--proxy-bypass-list=<-loopback>",
        "--webrtc-ip-handling-policy=disable_non_proxied_udp",
        "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    )
    profile = checkout.root / "components/host/browser-seccomp.json"
    image = docker.inspect(SERVER)["Config"]["Image"]
    options = ("--network=host", "--cap-drop=ALL", f"--security-opt=seccomp={profile}", "--shm-size=256m", "--tmpfs=/tmp:exec")
    docker.run(
        "run", "--detach", f"--name={CHROME}", *options, image, "/usr/local/lib/skyvern/sandboxed-chromium", *flags, "about:blank"
    )
    relay = Relay(address, port)
    yield {"type": "cdp-connect", "url": f"http://{address}:{relay.port}/", "proxy_port": proxy_port}
    relay.listener.close()
    docker.run("rm", "--force", CHROME)
    docker.run("network", "rm", CHROME)


@pytest.fixture(scope="module")
def connected(checkout: Checkout, chrome: dict[str, object]) -> Iterator[dict[str, object]]:
    """The stack with that Chrome for a browser; afterwards it has its first one again."""
    up(checkout, chrome)
    yield chrome
    up(checkout, None)


def test_smoke_is_green_with_a_chrome_elsewhere(checkout: Checkout, connected: dict[str, object]) -> None:
    found = results(checkout)
    absent = {name for name, result in found.items() if result.startswith("n/a browser.type is cdp-connect")}
    assert absent == NOT_FOR_CDP
    assert {name: result for name, result in found.items() if name not in absent and result != "ok"} == {}


def test_a_second_plan_is_empty(checkout: Checkout, connected: dict[str, object]) -> None:
    checkout.pulumi("preview --expect-no-changes -s dev")
    checkout.pulumi("refresh --preview-only --expect-no-changes -s dev")


def test_the_proxy_is_published_on_loopback_alone(checkout: Checkout, connected: dict[str, object]) -> None:
    ports = checkout.docker.inspect("skyvern-dev-egress")["HostConfig"]["PortBindings"]
    assert ports == {"3128/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(connected["proxy_port"])}]}
    proxy = f"http://127.0.0.1:{connected['proxy_port']}"
    with httpx.Client(proxy=proxy, trust_env=False) as client:
        assert client.get("http://169.254.169.254/").status_code == 403


def test_two_runs_take_turns(checkout: Checkout, connected: dict[str, object]) -> None:
    """The second one waits in the queue until the first one has ended; both complete."""
    seen, runs = two_at_once(checkout)
    assert seen[-1] == ("completed", "completed")
    assert BOTH not in seen
    assert ("running", "queued") in seen
    assert runs[0]["finished_at"] <= runs[1]["started_at"]


def test_doctor_finds_a_chrome_that_is_gone(checkout: Checkout, connected: dict[str, object]) -> None:
    assert findings(checkout) == []
    checkout.docker.run("stop", CHROME)
    (one,) = findings(checkout)
    assert one["check"] == "Chrome"
    assert str(connected["url"]) in one["subject"]
    assert "no answer" in one["problem"]


def findings(checkout: Checkout) -> list[dict[str, Any]]:
    """What ``ops doctor`` says is an error."""
    told = json.loads(checkout.run("bin/ops", "doctor", "--json", check=False).stdout)
    return [one for one in told["findings"] if one["level"] == "error"]
