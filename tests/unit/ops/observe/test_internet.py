"""Whether browsers reach the internet (F06): the real questions, asked through a double of Squid, and what the answers mean."""

import contextlib
import email.utils
import json
import os
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from components.endpoints import EGRESS_URL
from lab.standins.edge.certificates import Authority
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.observe import internet, smoke
from ops.observe.internet import Answer
from ops.observe.smoke import internet_checks
from ops.observe.smoke.site import CheckNotApplicableError, CheckWarningError, Site
from tests.support.smoke import fails, outputs_json, site

# What Squid 6.13 with images/egress/squid.conf answers to CONNECT (tests/host/test_egress.py asks the real one).
REFUSALS = {
    "noname.test": "HTTP/1.1 502 Bad Gateway\r\nX-Squid-Error: 502:ERR_DNS_FAIL 0\r\n\r\n",
    "captive.test": "HTTP/1.1 403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\n\r\n",
    "unroutable.test": "HTTP/1.1 503 Service Unavailable\r\nX-Squid-Error: ERR_CONNECT_FAIL 101\r\n\r\n",
    "strange.test": "HTTP/1.1 500 Internal Server Error\r\n\r\n",
}
LARGE = b"x" * 200_000


def answer(host: str) -> bytes:
    """What the host of a name sends, whole or not."""
    date = {
        "late.good.test": email.utils.formatdate(time.time() + 90, usegmt=True),
        "cached.good.test": email.utils.formatdate(time.time() - 3600, usegmt=True) + "\r\nAge: 3600",
        "undated.good.test": "yesterday",
    }.get(host, email.utils.formatdate(time.time(), usegmt=True))
    return b"HTTP/1.1 200 OK\r\nDate: " + date.encode() + b"\r\n\r\n" + LARGE


@contextlib.contextmanager
def squid(authority: Authority) -> Iterator[str]:
    """A double of the egress proxy that leads to TLS servers in this process; yields its address."""

    class Request(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            # Whoever asked may not want the answer.
            with contextlib.suppress(OSError, ssl.SSLError):
                self.serve()

        def serve(self) -> None:
            head = b""
            while b"\r\n\r\n" not in head:
                head += self.request.recv(1)
            host = head.split(b" ")[1].decode().removesuffix(":443")
            if host in REFUSALS:
                self.request.sendall(REFUSALS[host].encode())
                return
            self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            if host == "silent.test":
                over.wait(30)
                return
            context = authority.context("good.test")
            with context.wrap_socket(self.request, server_side=True) as line:
                line.recv(4096)
                whole = answer(host)
                if host == "stuck.good.test":
                    line.sendall(whole[:1000])
                    over.wait(30)
                    return
                line.sendall(b"hello" if host == "odd.good.test" else whole)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    over = threading.Event()
    with Server(("127.0.0.1", 0), Request) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            over.set()
            server.shutdown()


@dataclass(frozen=True)
class Container(Docker):
    """Runs what ``docker exec`` would run in the server's container, with another proxy, authority and patience."""

    host: str = "unix:///nowhere"
    proxy: str = ""
    environment_: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str | Path, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
        words = [str(argument) for argument in arguments]
        assert words[:3] == ["exec", "skyvern-dev-server", "python3"]
        command = [sys.executable, *words[3:]]
        text = command.index(EGRESS_URL.removeprefix("http://"))
        command[text] = self.proxy
        command[text - 1] = command[text - 1].replace("STEP_SECONDS = 20", "STEP_SECONDS = 1")
        done = subprocess.run(command, env=dict(self.environment_), capture_output=True, text=True, check=True, timeout=30)
        return done.stdout


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    with squid(authority) as proxy:
        yield Container(proxy=proxy, environment_={**os.environ, "SSL_CERT_FILE": str(authority.certificate)})


@pytest.mark.parametrize(
    ("host", "step", "detail"),
    [
        ("www.good.test", "", ""),
        ("noname.test", "name", "no address"),
        ("captive.test", "private", "its address is a private one"),
        ("unroutable.test", "connect", "Network is unreachable"),
        ("strange.test", "connect", "the proxy answers 500"),
        ("silent.test", "TLS", "no answer within 1 s"),
        ("stuck.good.test", "answer", "it stops after 1000 bytes"),
        ("odd.good.test", "answer", "it is not HTTP"),
    ],
)
def test_each_step_that_fails_is_told_from_the_others(container: Container, host: str, step: str, detail: str) -> None:
    """F06: DNS, connect, TLS, a large answer."""
    (got,) = internet.ask(container, "skyvern-dev-server", [host])
    assert (got.host, got.step, got.detail) == (host, step, detail)


def test_an_answer_of_somebody_else_is_not_the_internet(container: Container) -> None:
    """F06: a captive portal has a certificate, but for another name."""
    (got,) = internet.ask(container, "skyvern-dev-server", ["elsewhere.other.test"])
    assert got.step == "certificate"
    assert "elsewhere.other.test" in got.detail


def test_an_unknown_authority_is_not_the_internet(container: Container) -> None:
    stranger = Container(
        proxy=container.proxy, environment_={key: value for key, value in os.environ.items() if key != "SSL_CERT_FILE"}
    )
    (got,) = internet.ask(stranger, "skyvern-dev-server", ["www.good.test"])
    assert got.step == "certificate"


def test_a_proxy_that_is_not_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        gone = Container(proxy=f"127.0.0.1:{probe.getsockname()[1]}", environment_=os.environ)
        (got,) = internet.ask(gone, "skyvern-dev-server", ["www.good.test"])
    assert got.step == "proxy"


def test_the_first_whole_answer_is_enough(container: Container) -> None:
    hosts = ["silent.test", "www.good.test", "noname.test"]
    answers = internet.ask(container, "skyvern-dev-server", hosts)
    assert "www.good.test" in {got.host for got in answers}
    assert internet.failure(answers) is None
    every = internet.ask(container, "skyvern-dev-server", hosts, every=True)
    assert [got.host for got in every] == hosts


@pytest.mark.parametrize(
    ("host", "low", "high"), [("www.good.test", -2, 2), ("late.good.test", -92, -88), ("cached.good.test", -2, 2)]
)
def test_the_clock_is_compared_with_one_outside(container: Container, host: str, low: float, high: float) -> None:
    """F13: by the date of an HTTPS answer; a cached one says how old it is."""
    (got,) = internet.ask(container, "skyvern-dev-server", [host])
    assert got.ahead_seconds is not None
    assert low < got.ahead_seconds < high


def test_a_host_without_a_date_says_nothing_about_the_clock(container: Container) -> None:
    (got,) = internet.ask(container, "skyvern-dev-server", ["undated.good.test"])
    assert (got.step, got.ahead_seconds) == ("", None)


def failed(step: Any, host: str = "a.test", detail: str = "seen") -> Answer:
    return Answer(host=host, step=step, detail=detail)


@pytest.mark.parametrize(
    ("answers", "problem", "cure"),
    [
        ([failed("proxy")], "does not reach the egress proxy (a.test: seen)", "restart the egress container"),
        (
            [failed("name"), failed("private", "b.test")],
            "public names have private addresses (b.test: seen)",
            "log in to the network",
        ),
        (
            [failed("name"), failed("name", "b.test")],
            "DNS fails: no name has an address (a.test: seen; b.test: seen)",
            '"dns" in',
        ),
        ([failed("connect"), failed("name", "b.test")], "no connection is made (a.test: seen)", "ip_forward=1"),
        ([failed("connect"), failed("TLS", "b.test")], "TLS is not answered", "host.mtu"),
        ([failed("certificate"), failed("TLS", "b.test")], "something else answers", "log in to the network"),
        ([failed("answer")], "a large answer does not arrive", "host.mtu"),
    ],
)
def test_the_furthest_request_names_the_step_and_the_cure(answers: list[Answer], problem: str, cure: str) -> None:
    failure = internet.failure(answers)
    assert failure is not None
    assert failure.problem.startswith("browsers do not reach the internet: ")
    assert problem in failure.problem
    assert cure in failure.cure


def test_one_host_that_answers_is_enough() -> None:
    assert internet.failure([failed("name"), Answer(host="b.test", step="")]) is None


def test_of_several_clocks_the_nearest_counts() -> None:
    answers = [
        Answer(host="a.test", step="", ahead_seconds=-900.0),
        Answer(host="b.test", step="", ahead_seconds=0.5),
        failed("name", "c.test"),
    ]
    assert internet.clock_ahead(answers) == (0.5, "b.test")
    assert internet.clock_ahead([failed("name")]) is None


@dataclass(frozen=True)
class Answers(Docker):
    """A server that answers the questions, or does not run them."""

    host: str = "unix:///nowhere"
    printed: str = ""

    def run(self, *arguments: str | Path, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
        if not self.printed:
            raise UserError("docker: exit 1: is not running")
        return self.printed


def with_hosts(hosts: list[str] | None, *answers: Answer) -> Site:
    made = site(lambda request: pytest.fail("only Docker is asked"))
    printed = json.dumps([vars(got) for got in answers]) if answers else ""
    outputs = made.outputs.model_validate({**outputs_json(), "internet_hosts": hosts})
    return Site(outputs, made.http, Answers(printed=printed))


def test_smoke_warns_without_the_internet() -> None:
    """F06: a line of its own, with the cure; the stack itself is as it should be."""
    target = with_hosts(["a.test"], failed("name"))
    with pytest.raises(CheckWarningError) as caught:
        internet_checks.check_internet(target)
    assert '"dns" in /etc/docker/daemon.json' in str(caught.value)
    assert "host.internet: false" in str(caught.value)
    (result,) = smoke.run_checks(target, [check for check in smoke.CHECKS if check.name == "internet"])
    assert (result.mark, result.fine) == ("warn", True)
    assert "\n" not in smoke.render(result)


def test_smoke_is_green_with_the_internet() -> None:
    internet_checks.check_internet(with_hosts(["a.test"], Answer(host="a.test", step="")))


def test_smoke_says_that_an_offline_machine_is_not_asked() -> None:
    """F06: offline is a choice in the stack file, not silence."""
    with pytest.raises(CheckNotApplicableError, match=r"^not asked: offline by the stack file"):
        internet_checks.check_internet(with_hosts([]))


def test_smoke_of_an_older_stack() -> None:
    with pytest.raises(CheckNotApplicableError, match="update it with script/up"):
        internet_checks.check_internet(with_hosts(None))


@pytest.mark.parametrize("printed", ["Killed\n", "[1]", '[{"host": "a.test"}]', "{}x"])
def test_an_answer_that_cannot_be_read_is_one_line(printed: str) -> None:
    with pytest.raises(UserError, match=r"^skyvern-dev-server does not say how far its requests got; docker restart"):
        internet.ask(Answers(printed=printed), "skyvern-dev-server", ["a.test"])


def test_smoke_fails_where_it_could_not_ask() -> None:
    assert "is not running" in fails(internet_checks.check_internet, with_hosts(["a.test"]))
