"""The three kinds of browser on the real stack: headless and headful under Chromium's sandbox, and a Chrome elsewhere.

The tests tell one story on the dev stack in the order in which they stand. Those of the last two kinds take ups of their own
and are nightly; behind them the first settings are back.
"""

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from lab.workspace import free_port
from ops.errors import UserError
from ops.observe import smoke
from ops.observe.smoke.workflow_checks import definition, read_run, start_run, workflow
from skyvern_provider.api import FINAL
from tests.host.conftest import Checkout, site_of

SERVER = "skyvern-dev-server"
CHROME = "chrome-elsewhere"
BOTH = ("running", "running")
NOT_FOR_CDP = {"recording", "recording range", "browser sandbox"}

pytestmark = pytest.mark.timeout(4800)


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
                # The later one first: between two questions the earlier one may end and let it begin.
                runs = [read_run(target, one) for one in reversed(ids)][::-1]
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


# Run in the server's container as root of new user and network namespaces, where only the profile stands before the kernel: what
# becomes of each attempt. EPERM is the profile's answer; without it the kernel's would be another one, or a success.
ATTEMPTS = """
import errno, fcntl, json, socket

def option(family, level, number):
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        one.getsockopt(level, number, 84)

def replace(family, level):
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        one.setsockopt(level, 64, bytes(96))

def protocol_on_tcp():
    with socket.socket() as one:
        one.setsockopt(socket.IPPROTO_TCP, 31, b"tls")

def request(number, data):
    with socket.socket() as one:
        fcntl.ioctl(one, number, data)

def outcome(attempt, *given):
    try:
        attempt(*given)
    except OSError as refused:
        return errno.errorcode[refused.errno]
    return "done"

REFUSED = {
    **{f"family {number}": (socket.socket, number) for number in range(46) if number not in (1, 2, 10)},
    **{f"netlink {number}": (socket.socket, 16, 3, number) for number in range(32)},
    **{f"raw IPv{version}": (socket.socket, family, 3, 255) for version, family in ((4, 2), (6, 10))},
    **{f"protocol {number}": (socket.socket, 2, kind, number) for kind, number in ((1, 262), (1, 132), (2, 136), (2, 1))},
    **{f"packet filter of IPv4, {number}": (option, 2, 0, number) for number in (64, 65, 80, 96, 128)},
    **{f"packet filter of IPv6, {number}": (option, 10, 41, number) for number in (64, 65, 68, 69, 80)},
    "packet filter of IPv4, new rules": (replace, 2, 0),
    "packet filter of IPv6, new rules": (replace, 10, 41),
    "multicast routing": (option, 2, 0, 200),
    "TLS in the kernel": (protocol_on_tcp,),
    "a pair of other sockets": (socket.socketpair, 2, 2),
    "a bridge": (request, 0x89A0, b"br9" + bytes(13)),
    "a tunnel": (request, 0x89F1, b"tunl0" + bytes(59)),
    "a VLAN": (request, 0x8983, bytes(60)),
}
NEEDED = {
    **{f"family {family}, kind {kind}": (socket.socket, family, kind) for family in (1, 2, 10) for kind in (1, 2)},
    "a pair": (socket.socketpair,),
    "loopback up": (request, 0x8914, b"lo" + bytes(14) + b"\\1" + bytes(23)),
}
print(json.dumps([{name: outcome(*given) for name, given in group.items()} for group in (REFUSED, NEEDED)]))
"""


def test_each_claim_about_the_profile_holds(checkout: Checkout, first_up: str) -> None:
    """docs/decisions/browser-sandbox.md makes them."""

    def unshare(*flags: str) -> bool:
        told = checkout.docker.run("exec", SERVER, "sh", "-c", 'unshare "$@" echo made 2>&1 || true', "sh", *flags)
        return "made" in told

    assert unshare("--user", "--pid", "--net")
    for kind in ("--mount", "--uts", "--ipc", "--cgroup", "--time"):
        assert not unshare("--user", kind), kind
    inside = ("unshare", "--user", "--map-root-user", "--net", "python3", "-c", ATTEMPTS)
    refused, needed = json.loads(checkout.docker.run("exec", SERVER, *inside))
    assert {name: outcome for name, outcome in refused.items() if outcome != "EPERM"} == {}
    assert {name: outcome for name, outcome in needed.items() if outcome != "done"} == {}


def test_chromium_knows_the_flag_against_udp(checkout: Checkout, first_up: str) -> None:
    """Chromium ignores a flag that it does not know, as it did with the only spelling that was given once."""
    # As a whole between two zero bytes, as C keeps it; grep ends with an error when it finds none.
    for flag in ("webrtc-ip-handling-policy", "proxy-bypass-list", "proxy-server"):
        checkout.docker.run("exec", SERVER, "grep", "--null-data", "-aqxF", flag, "/usr/lib/chromium/chromium")
    flags = json.loads(variable(checkout, "BROWSER_ADDITIONAL_ARGS"))
    assert "--webrtc-ip-handling-policy=disable_non_proxied_udp" in flags


def test_the_browser_has_its_proxy_and_nothing_else(checkout: Checkout, first_up: str) -> None:
    """A page comes through the relay; without a proxy among the flags not even the server itself is reached."""
    # There are links for each processor, to the same program.
    browser = '"$(ls -d /opt/browsers/chromium_headless_shell-*/*/* | head -n 1)"'
    show = f'url=$1; shift; exec {browser} --headless "$@" --dump-dom "$url" 2>&1'

    def page(url: str, *flags: str) -> str:
        return checkout.docker.run("exec", SERVER, "sh", "-c", show, "sh", url, *flags)

    flags = json.loads(variable(checkout, "BROWSER_ADDITIONAL_ARGS"))
    assert "Skyvern smoke page" in page("http://smoke-site:8080/", *flags)
    for host in ("127.0.0.1", "server"):
        assert "Server is running" not in page(f"http://{host}:8000/api/v1/heartbeat"), host


def test_no_page_and_no_program_of_the_server_reads_its_secrets(checkout: Checkout, first_up: str) -> None:
    """Of the server's own process not even its user; of the first one (docker-init), none in another user namespace."""
    read = 'cat "$0" 2>&1 | grep -ac SECRET_KEY= || true'
    server = "/proc/$(pgrep -of 'skyvern/serve.py')/environ"
    assert checkout.docker.run("exec", SERVER, "sh", "-c", read.replace("$0", server)).strip() == "0"
    apart = ("unshare", "--user", "--map-current-user", "sh", "-c", read, "/proc/1/environ")
    assert checkout.docker.run("exec", SERVER, *apart).strip() == "0"
    # As it is for programs that the server starts beside itself; docs/security.md says so.
    assert checkout.docker.run("exec", SERVER, "sh", "-c", read, "/proc/1/environ").strip() == "1"


def variable(checkout: Checkout, name: str) -> str:
    """A variable of the server's container."""
    entries = checkout.docker.inspect(SERVER)["Config"]["Env"]
    return str(next(entry for entry in entries if entry.startswith(f"{name}=")).partition("=")[2])


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


@pytest.mark.nightly
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
    docker.run("run", "--detach", f"--name={CHROME}", *options, image, "/usr/lib/chromium/chromium", *flags, "about:blank")
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


@pytest.mark.nightly
def test_smoke_is_green_with_a_chrome_elsewhere(checkout: Checkout, connected: dict[str, object]) -> None:
    found = results(checkout)
    absent = {name for name, result in found.items() if result.startswith("n/a browser.type is cdp-connect")}
    assert absent == NOT_FOR_CDP
    offline = {"internet": "n/a not asked: offline by the stack file (host.internet)"}
    assert {name: result for name, result in found.items() if name not in absent and result != "ok"} == offline


@pytest.mark.nightly
def test_a_second_plan_is_empty(checkout: Checkout, connected: dict[str, object]) -> None:
    checkout.pulumi("preview --expect-no-changes -s dev")
    checkout.pulumi("refresh --preview-only --expect-no-changes -s dev")


@pytest.mark.nightly
def test_the_proxy_is_published_on_loopback_alone(checkout: Checkout, connected: dict[str, object]) -> None:
    ports = checkout.docker.inspect("skyvern-dev-egress")["HostConfig"]["PortBindings"]
    assert ports == {"3128/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(connected["proxy_port"])}]}
    proxy = f"http://127.0.0.1:{connected['proxy_port']}"
    with httpx.Client(proxy=proxy, trust_env=False) as client:
        assert client.get("http://169.254.169.254/").status_code == 403


@pytest.mark.nightly
def test_two_runs_take_turns(checkout: Checkout, connected: dict[str, object]) -> None:
    """The second one waits in the queue until the first one has ended; both complete."""
    seen, runs = two_at_once(checkout)
    assert seen[-1] == ("completed", "completed")
    assert BOTH not in seen
    assert ("running", "queued") in seen
    assert runs[0]["finished_at"] <= runs[1]["started_at"]


@pytest.mark.nightly
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
