"""ops.clients.cloudflare against a double of the API: results, pages, and one line without the token for each failure."""

from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from ops.clients import cloudflare
from ops.clients.cloudflare import ApiError
from tests.support.cloudflare import TOKEN, failed, succeeded


def client(answer: Any) -> httpx.Client:
    return cloudflare.client(SecretStr(TOKEN), httpx.MockTransport(answer))


def test_a_result_is_asked_for_with_the_token() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return succeeded([{"id": "1"}])

    with client(answer) as http:
        assert cloudflare.get(http, "/zones", name="example.com") == [{"id": "1"}]
    (request,) = asked
    assert (request.method, str(request.url)) == ("GET", "https://api.cloudflare.com/client/v4/zones?name=example.com")
    assert request.headers["authorization"] == f"Bearer {TOKEN}"


def test_a_result_may_be_empty() -> None:
    with client(lambda request: succeeded(None)) as http:
        assert cloudflare.get(http, "/zones") is None


@pytest.mark.parametrize(
    ("answer", "refused", "line"),
    [
        (failed(400, (6003, "Invalid request headers")), True, "400 6003 Invalid request headers"),
        (failed(401, (10000, "Authentication error")), True, "401 10000 Authentication error"),
        (failed(403, (9109, "Unauthorized"), (10000, "no")), True, "403 9109 Unauthorized, 10000 no"),
        (failed(404, (7003, "Could not route")), False, "404 7003 Could not route"),
        (failed(429, (971, "Please wait")), False, "429 971 Please wait"),
        (failed(500, (1, "internal")), False, "500 1 internal"),
        # A success by its status alone.
        (failed(200, (1, "not really")), False, "200 1 not really"),
        # Without errors, as a proxy answers.
        (httpx.Response(500), False, "500 Internal Server Error"),
        (httpx.Response(403, text="<html>blocked</html>"), True, "403 Forbidden"),
        (httpx.Response(502, json=[]), False, "502 Bad Gateway"),
        (httpx.Response(502, json={"success": False, "errors": [{"code": 1}]}), False, "502 Bad Gateway"),
        (httpx.Response(502, json={"success": False, "errors": None}), False, "502 Bad Gateway"),
        # No JSON although it went well, and JSON that is not the API's.
        (httpx.Response(200, text="<html>log in to the hotel</html>"), False, "200 not an answer of the API"),
        (httpx.Response(200, json=[1]), False, "200 not an answer of the API"),
        (httpx.Response(200, json={"success": True}), False, "200 not an answer of the API"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_answer_without_a_result_is_one_line(answer: httpx.Response, refused: bool, line: str) -> None:
    with client(lambda request: answer) as http, pytest.raises(ApiError) as raised:
        cloudflare.get(http, "/zones", name="example.com")
    status, _, detail = line.partition(" ")
    assert (raised.value.status, raised.value.detail, raised.value.refused) == (int(status), detail, refused)
    assert str(raised.value) == f"Cloudflare: /zones: {line}; see docs/cloudflare.md"


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectTimeout(f"late with {TOKEN}"),
        httpx.ReadTimeout(f"late with {TOKEN}"),
        httpx.ConnectError(f"no such host for {TOKEN}"),
        httpx.ProxyError("502 Bad Gateway"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_no_answer_is_one_line_without_what_was_sent(failure: httpx.TransportError) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise failure

    with client(fail) as http, pytest.raises(ApiError) as raised:
        cloudflare.get(http, "/user/tokens/verify")
    assert (raised.value.status, raised.value.refused) == (0, False)
    assert str(raised.value) == f"Cloudflare: /user/tokens/verify: {type(failure).__name__}; try again"
    # Nor in what a traceback would show.
    assert raised.value.__suppress_context__


def test_many_long_errors_are_cut_off() -> None:
    errors = [(number, "x" * 90) for number in range(9)]
    with client(lambda request: failed(400, *errors)) as http, pytest.raises(ApiError) as raised:
        cloudflare.get(http, "/zones")
    assert len(raised.value.detail) == 200


# --- Pages ---------------------------------------------------------------------------------------------------------------


class Listing:
    """A list of numbered records, in pages as large as asked for."""

    def __init__(self, size: int, broken_from: int | None = None) -> None:
        self.size, self.broken_from = size, broken_from
        self.asked: list[int] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        query = request.url.params
        number, length = int(query["page"]), int(query["per_page"])
        assert query["match"] == "all"
        self.asked.append(number)
        if number == self.broken_from:
            return failed(500, (1, "internal"))
        return succeeded([{"id": id_} for id_ in range(self.size)][(number - 1) * length : number * length])


@pytest.mark.parametrize(
    ("size", "asked"),
    [
        (0, [1]),
        (1, [1]),
        (99, [1]),
        # Full pages do not say that they are the last.
        (100, [1, 2]),
        (250, [1, 2, 3]),
    ],
)
def test_every_item_of_every_page(size: int, asked: list[int]) -> None:
    listing = Listing(size)
    with client(listing) as http:
        assert [item["id"] for item in cloudflare.pages(http, "/zones/1/dns_records", match="all")] == list(range(size))
    assert listing.asked == asked


def test_a_list_that_breaks_off_is_not_taken_for_a_whole_one() -> None:
    listing = Listing(250, broken_from=2)
    with client(listing) as http, pytest.raises(ApiError, match=r"^Cloudflare: /zones: 500 1 internal; "):
        list(cloudflare.pages(http, "/zones", match="all"))
