"""ops.clients.proxies: which proxy of the environment a request goes through, and the line for one that cannot be used (F08)."""

import os
from collections.abc import Iterator

import httpx
import pytest

from lab import loopback
from ops.clients import proxies
from ops.errors import UserError
from ops.machine import go, system
from tests.support.home import Home


@pytest.fixture(autouse=True)
def none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def given(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "variable"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://p:3128"}, "HTTPS_PROXY"),
        ({"https_proxy": "p:3128", "HTTPS_PROXY": "http://q:1"}, "https_proxy"),
        ({"ALL_PROXY": "http://p:3128/"}, "ALL_PROXY"),
        # As a desktop writes them all: the special one is used.
        ({"HTTPS_PROXY": "http://p:3128/", "ALL_PROXY": "socks://p:1080/", "all_proxy": "socks://p:1080/"}, "HTTPS_PROXY"),
        ({"HTTP_PROXY": "http://p:3128"}, None),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "http://p:3128", "no_proxy": "localhost,.example.com"}, None),
        ({"HTTPS_PROXY": "http://p:3128", "no_proxy": "example.org"}, "HTTPS_PROXY"),
        ({"HTTPS_PROXY": "", "ALL_PROXY": ""}, None),
    ],
)
def test_the_proxy_of_a_request(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], variable: str | None) -> None:
    given(monkeypatch, **variables)
    proxy = proxies.usable_for("https://api.example.com/x")
    assert (proxy and proxy.variable) == variable
    assert proxy is None or proxy.url.startswith("http://")


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("ALL_PROXY", "socks5://p:1080", "a socks5:// proxy cannot be used here; set HTTPS_PROXY"),
        ("all_proxy", "socks5h://user:secret@p:1080", "a socks5h:// proxy cannot be used here; set HTTPS_PROXY"),
        ("ALL_PROXY", "socks://p:1080/", "a socks:// proxy cannot be used here; set HTTPS_PROXY"),
        ("HTTPS_PROXY", "ftp://p:21", "a ftp:// proxy cannot be used here; set HTTPS_PROXY"),
        ("HTTPS_PROXY", "user:secret@p://x", "this proxy cannot be used here; set HTTPS_PROXY"),
        ("https_proxy", "http://user:secret@p:port", "is not the address of a proxy; write http://HOST:PORT"),
        ("HTTPS_PROXY", "http://", "is not the address of a proxy; write http://HOST:PORT"),
        ("HTTPS_PROXY", "http://[::1", "is not the address of a proxy; write http://HOST:PORT"),
        ("HTTPS_PROXY", "http://user: secret@p:1", "is not the address of a proxy; write http://HOST:PORT"),
        ("HTTPS_PROXY", "http://p:0", "is not the address of a proxy; write http://HOST:PORT"),
    ],
)
def test_one_that_cannot_be_used_is_one_line(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, problem: str) -> None:
    """F08: a traceback of httpx, then "does not answer", so Pulumi was built from modules for ten minutes."""
    given(monkeypatch, **{variable: value})
    for ask in (
        lambda: proxies.usable_for("https://example.com"),
        lambda: system.answers("https://example.com/"),
        lambda: httpx.Client(transport=proxies.Transport()).get("https://example.com"),
    ):
        with pytest.raises(UserError) as told:
            ask()
        assert str(told.value).startswith(f"{variable}: {problem}")
        assert "secret" not in str(told.value)
        assert "\n" not in str(told.value)


def test_where_it_is_not_needed_it_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, ALL_PROXY="socks://p:1080", HTTPS_PROXY="http://p:3128", NO_PROXY="intern.example")
    assert proxies.for_url("https://intern.example/") is None
    assert proxies.usable_for("https://example.com/") is not None
    # What builds of images are given: never ALL_PROXY.
    proxies.refuse_unusable()
    given(monkeypatch, http_proxy="socks5://p:1080")
    with pytest.raises(UserError, match=r"^http_proxy: a socks5:// proxy"):
        proxies.refuse_unusable()


@pytest.fixture
def answering() -> Iterator[str]:
    """A server on loopback that answers 200."""

    class Answer(loopback.Handler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

    with loopback.serving(Answer) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.mark.parametrize(
    "odd",
    ["[::1]", "::1,10.0.0.0/8, ,*.x,[fe80::1]:80,http://a b/", "fe80::/10", "localhost:abc", ",,;", "ü", "[", "http://[::1"],
)
def test_odd_entries_of_no_proxy_end_nothing(monkeypatch: pytest.MonkeyPatch, answering: str, odd: str) -> None:
    """F08: httpx raises InvalidURL for them, which is not an HTTPError."""
    given(monkeypatch, HTTPS_PROXY="http://p:3128", NO_PROXY=odd)
    assert system.answers(answering)
    proxy = proxies.usable_for("https://example.com/")
    assert proxy is not None
    assert proxy.variable == "HTTPS_PROXY"


def test_a_request_goes_through_its_proxy(monkeypatch: pytest.MonkeyPatch, answering: str) -> None:
    given(monkeypatch, HTTP_PROXY=answering)
    assert system.answers("http://name-without-an-address.invalid/")


def test_go_is_not_fetched_through_one_that_pip_cannot_use(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, ALL_PROXY="socks5://p:1080")
    with pytest.raises(UserError, match=r"^ALL_PROXY: "):
        go.ensure_go(home.say)
