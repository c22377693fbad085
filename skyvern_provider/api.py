"""The client of Skyvern's API, for the provider and for commands: requests with the key, lists in pages, errors of one line.

Not here: what is asked for (kinds.py).
"""

import ipaddress
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

REQUEST_SECONDS = 30.0
# At the first update of a stack its name may be younger than the name server's answer, and a connector takes seconds.
READY_SECONDS = 120.0
PAGE_SIZE = 100
HEARTBEAT = "/api/v1/heartbeat"
# Answers of a gateway or a tunnel whose server does not answer yet. 404: ngrok's for a tunnel that is down, and cloudflared's for
# a host that it does not know yet; taken for an answer of Skyvern's, it would say that everything is gone.
_NOT_YET = frozenset({404, 502, 503, 504, 521, 522, 523, 530})

# Statuses of a run that has ended (skyvern/schemas/run_enums.py in the 1.0.56 wheel).
FINAL = frozenset({"completed", "failed", "terminated", "canceled", "timed_out"})

Json = dict[str, Any]


class ApiError(Exception):
    """What the API refused, or that it does not answer: one line, without a value that was sent."""


def is_url(text: str) -> bool:
    """Whether it is one of HTTP with a host."""
    try:
        url, host = httpx.URL(text), urlsplit(text).hostname
    except (httpx.InvalidURL, ValueError):
        return False
    return url.scheme in {"http", "https"} and bool(host)


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine, by name or literal address."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class Api:
    """Skyvern's API at a URL.

    url: origin without a path, ``http://localhost:8080``. api_key: an organisation's. transport: by default a direct connection
    to this machine, and the proxy of the environment for other hosts. ready_seconds: how long the first request waits for the
    server.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        transport: httpx.BaseTransport | None = None,
        ready_seconds: float = READY_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url.rstrip("/")
        self.api_key = api_key
        self._ready_seconds, self._sleep, self._clock, self._ready = ready_seconds, sleep, clock, False
        self._http = httpx.Client(
            base_url=self.url,
            timeout=REQUEST_SECONDS,
            headers={"x-api-key": api_key},
            transport=transport,
            trust_env=not is_loopback(url),
        )

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON of an answer, None for 404 or an empty one; ApiError for any other refusal."""
        self._wait_until_ready()
        response = self._send(method, path, json=body, params=dict(params or {}), headers=dict(headers or {}))
        if response.status_code == 404:
            if response.content:
                self._decoded(method, path, response)
            return None
        if response.is_success:
            return self._decoded(method, path, response) if response.content else None
        raise ApiError(f"{method} {path}: {response.status_code}{_detail(response)}")

    def need(self, method: str, path: str, **request: Any) -> Any:
        """As ``ask``, for what has to be there: ApiError for a 404, too."""
        answer = self.ask(method, path, **request)
        if answer is None:
            raise ApiError(f"{method} {path}: 404")
        return answer

    def pages(self, path: str, key: str | None = None, **params: str | int) -> Iterator[Json]:
        """The elements of a list, page after page. key: of the list in the answer; None if the answer is the list."""
        page = 1
        while True:
            answer = self.ask("GET", path, params={**params, "page": page, "page_size": PAGE_SIZE})
            elements = answer if key is None else (answer or {}).get(key)
            yield from elements or []
            if len(elements or []) < PAGE_SIZE:
                return
            page += 1

    def _wait_until_ready(self) -> None:
        if self._ready:
            return
        end = self._clock() + self._ready_seconds
        while True:
            try:
                left = max(1.0, end - self._clock())
                response = self._send("GET", HEARTBEAT, timeout=min(REQUEST_SECONDS, left))
                if response.status_code not in _NOT_YET:
                    self._ready = True
                    return
                problem = str(response.status_code)
            except ApiError as unanswered:
                problem = str(unanswered).rpartition(": ")[2]
            if self._clock() >= end:
                raise ApiError(f"{self.url}: Skyvern does not answer ({problem}); {self._cure()}, then repeat the command")
            self._sleep(1)

    def _cure(self) -> str:
        """What makes the server answer. On loopback, it may be one on another machine."""
        port = httpx.URL(self.url).port
        if not is_loopback(self.url) or port is None:
            return "start the server"
        return f"start the server, or on another machine forward its port (`ssh -L {port}:localhost:{port} HOST`)"

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise ApiError(f"{method} {self.url}{path}: {type(error).__name__}") from None

    @staticmethod
    def _decoded(method: str, path: str, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError:
            raise ApiError(f"{method} {path}: an answer that is not JSON; is the URL that of Skyvern's API?") from None


def _detail(response: httpx.Response) -> str:
    """What an error says, without the values that it repeats: FastAPI's list has the input beside each message."""
    try:
        detail = response.json().get("detail")
    except (ValueError, AttributeError):
        return ""
    if isinstance(detail, list):
        detail = "; ".join(
            f"{'.'.join(str(part) for part in problem.get('loc', []))}: {problem.get('msg', '')}"
            for problem in detail[:3]
            if isinstance(problem, dict)
        )
    elif isinstance(detail, dict):
        detail = detail.get("message") or detail.get("error")
    text = " ".join(str(detail or "").split())
    return f" {text[:400]}" if text else ""
