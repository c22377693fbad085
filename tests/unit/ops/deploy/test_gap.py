"""ops.deploy.gap: what is said about a port that was closed for a while, with real sockets."""

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from components.settings import Settings
from ops.deploy import gap


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    return number


@contextmanager
def gateway(port: int) -> Iterator[None]:
    """Something that answers every request with a refusal, as the gateway does to a foreign Host."""

    class Refusal(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(421)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Refusal) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def settings(port: int, **more: Any) -> Settings:
    return Settings.model_validate({"host": {"port": port}, **more})


def test_the_time_without_an_answer_is_shown(port: int) -> None:
    said: list[str] = []
    with gap.shown(settings(port), said.append):
        with gateway(port):
            time.sleep(1.5)
        time.sleep(1.5)
        assert said == []
        with gateway(port):
            time.sleep(1.5)
    (line,) = said
    begin, seconds, end = line.partition(" did not answer for ")[0], *line.split(" for ")[1].split(" s, ")
    assert (begin, end) == (f"127.0.0.1:{port}", "while the gateway was replaced")
    assert 1 < float(seconds) < 10


def test_a_port_that_answers_all_the_time_is_not_mentioned(port: int) -> None:
    said: list[str] = []
    with gateway(port), gap.shown(settings(port), said.append):
        time.sleep(1.5)
    assert said == []


def test_neither_is_one_that_begins_to_answer_or_has_ended(port: int) -> None:
    """A first up, and one that failed, of which its other lines speak."""
    said: list[str] = []
    with gap.shown(settings(port), said.append):
        time.sleep(0.6)
        with gateway(port):
            time.sleep(1)
        time.sleep(0.6)
    assert said == []


CLOUDFLARE = {"provider": "cloudflare", "domain": "example.com", "api_token": "tk_" + "of-the-owner-" * 4}


@pytest.mark.parametrize(
    "more", [{"edge": CLOUDFLARE}, {"host": {"docker_host": "ssh://kim@host.lan"}}], ids=["behind an edge", "elsewhere"]
)
def test_without_a_port_on_this_machine_nothing_is_asked(more: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gap, "Watch", None)
    with gap.shown(Settings.model_validate(more), pytest.fail):
        pass


def test_a_failure_of_the_update_stays_one(port: int) -> None:
    with gateway(port), pytest.raises(ValueError, match="the up"), gap.shown(settings(port), pytest.fail):
        raise ValueError("the up")
