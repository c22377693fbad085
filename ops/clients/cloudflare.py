"""Cloudflare's API v4, read only: one request, one error, pages of a list. Not here: what is asked (doctor, drift)."""

from collections.abc import Iterator
from typing import Any

import httpx
from pydantic import SecretStr

from ops.clients import proxies
from ops.errors import UserError

API_URL = "https://api.cloudflare.com/client/v4"
# The largest page that the API takes for every plan.
PAGE_SIZE = 100
_REFUSALS = frozenset({400, 401, 403})


class ApiError(UserError):
    """A request that gave no result.

    status: of the answer, 0 without one. detail: codes and messages of the API, which repeat no token, or the kind of failure.
    """

    def __init__(self, path: str, status: int, detail: str) -> None:
        self.status = status
        self.detail = detail
        remedy = "see docs/cloudflare.md" if status else "try again"
        super().__init__(f"Cloudflare: {path}: {f'{status} ' if status else ''}{detail}; {remedy}")

    @property
    def refused(self) -> bool:
        """Whether the token is wrong or lacks a permission."""
        return self.status in _REFUSALS


def client(token: SecretStr, transport: httpx.BaseTransport | None = None, timeout_seconds: float = 30) -> httpx.Client:
    """An HTTP client with the token, behind the environment's proxy if it names one, as for the provider."""
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
    return httpx.Client(base_url=API_URL, headers=headers, transport=transport or proxies.Transport(), timeout=timeout_seconds)


def get(http: httpx.Client, path: str, **query: str) -> Any:
    """The ``result`` of a GET request; ApiError otherwise."""
    try:
        answer = http.get(path, params=query)
    except httpx.HTTPError as failed:
        raise ApiError(path, 0, type(failed).__name__) from None
    except UserError as unusable:
        raise ApiError(path, 0, str(unusable)) from None
    try:
        body = answer.json()
        if answer.is_success and body.get("success"):
            return body["result"]
        detail = ", ".join(f"{error['code']} {error['message']}" for error in body.get("errors") or [])[:200]
    except (ValueError, KeyError, TypeError, AttributeError):
        detail = ""
    # "OK" would say nothing of an answer such as the login page of a network.
    unexplained = "not an answer of the API" if answer.is_success else answer.reason_phrase
    raise ApiError(path, answer.status_code, detail or unexplained)


def pages(http: httpx.Client, path: str, **query: str) -> Iterator[dict[str, Any]]:
    """Every item of a list, page by page."""
    number = 1
    while True:
        items = get(http, path, **query, per_page=str(PAGE_SIZE), page=str(number)) or []
        yield from items
        if len(items) < PAGE_SIZE:
            return
        number += 1
