"""The basis of every smoke check: the deployed stack over HTTP and over Docker, and the errors by which a check fails.

Not here: the checks (the *_checks modules).
"""

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ops.clients import proxies
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.stack.outputs import Outputs
from skyvern_provider.api import is_loopback

REQUEST_SECONDS = 20.0
# The part that serves the UI: the gateway, or the site on Vercel.
UI = "ui"
# A refusal is a decision: 401 would only mean that the login was not understood, 5xx that something broke.
REFUSED = frozenset({400, 403, 404, 405, 410, 421})


class CheckFailedError(UserError):
    """A check got a result that it does not expect. The message is shown: the request and the result, never a body."""


class CheckWarningError(Exception):
    """A check found that the host lacks something that no update of the stack brings. The message ends with what to do."""


class CheckNotApplicableError(Exception):
    """A check of something that this stack does not have by its settings, which the message names."""


class CheckSkippedError(Exception):
    """A check cannot run because an earlier one failed; the message names what is missing."""


@contextmanager
def ends_with(clean_up: Callable[[], object]) -> Iterator[None]:
    """Cleans up behind the block. Where the block failed, that is what is raised, whatever becomes of the cleaning."""
    try:
        yield
    except BaseException:
        with suppress(UserError, httpx.HTTPError):
            clean_up()
        raise
    clean_up()


@dataclass(frozen=True)
class CompletedRun:
    """A finished workflow run, links to its files, and their paths in the server container.

    recording_path, screenshot_path: absolute, such as ``/data/artifacts/o_1/…/recording.mp4``; None for objects of a bucket. No
    recording of a Chrome on another machine.
    """

    run_id: str
    recording_path: str | None
    screenshot_path: str | None
    recording_link: str | None
    screenshot_link: str


@dataclass(frozen=True)
class Visit:
    """A run that opens the hostile page. marker: identifies its requests. since: the daemon's clock before it began."""

    run_id: str
    marker: str
    since: str


@dataclass
class Site:
    """A deployed stack, as the checks use it.

    http: client without credentials; the methods below add them to single requests.
    run: set by the check that completes a workflow run, read by the checks of its files.
    visit: the run that has the hostile page open. cleanup: removals after the last check.
    """

    outputs: Outputs
    http: httpx.Client
    docker: Docker
    run: CompletedRun | None = None
    recording: bytes = field(default=b"", repr=False)
    visit: "Visit | None" = None
    cleanup: ExitStack = field(default_factory=ExitStack, repr=False)

    @property
    def records(self) -> bool:
        """Whether runs leave recordings: Playwright records only a context that it made, not that of a Chrome elsewhere."""
        return self.outputs.browser_type != "cdp-connect"

    def ask(
        self,
        method: str,
        url: str,
        *,
        key: str | None = None,
        login: bool = False,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        target: str | None = None,
        stream: bool = False,
    ) -> httpx.Response:
        """Sends a request.

        ``key`` goes out as x-api-key, ``login`` as HTTP basic authentication, ``body`` as JSON. ``target`` replaces the
        path and query as it stands: httpx removes dot segments from a URL, which some checks need.
        With ``stream`` the body is not read and the caller closes the response.
        """
        all_headers = dict(headers or {})
        if key is not None:
            all_headers["x-api-key"] = key
        request = self.http.build_request(method, url, headers=all_headers, json=body)
        if target is not None:
            request.extensions["target"] = target.encode("ascii")
        auth = httpx.BasicAuth(self.outputs.ui_username, self.outputs.ui_password.get_secret_value()) if login else None
        try:
            return self.http.send(request, auth=auth, stream=stream, follow_redirects=False)
        except httpx.TransportError as error:
            raise CheckFailedError(f"{method} {request.url.copy_with(query=None)}: {type(error).__name__}") from error

    def api(self, method: str, path: str, *, body: Any = None) -> httpx.Response:
        """A request to the API with the key of the smoke runs' organisation, so that the person's history does not show them."""
        if self.outputs.smoke_api_key is None:
            raise CheckFailedError("the stack has no output smoke_api_key; update it with script/up")
        return self.ask(method, self.outputs.api_url + path, key=self.outputs.smoke_api_key.get_secret_value(), body=body)

    def person_api(self, method: str, path: str) -> httpx.Response:
        """A request to the API with the stack's key: that of the person's programs."""
        return self.ask(method, self.outputs.api_url + path, key=self.outputs.api_key.get_secret_value())

    def gateway_key(self) -> str:
        """The key by which Vercel's middleware and the gateway know each other."""
        if self.outputs.gateway_key is None:
            raise CheckFailedError("the stack has no output gateway_key")
        return self.outputs.gateway_key.get_secret_value()

    def container(self, part: str) -> str:
        """Name of a part's container."""
        try:
            return self.outputs.containers[part]
        except KeyError as missing:
            raise CheckFailedError(f"the stack's output containers has no {part}") from missing

    def execute(self, part: str, *command: str, stdin: bytes | None = None, timeout_seconds: float = 60) -> bytes:
        """Output of a command run in a part's container, as that container's own user."""
        return self.docker.execute_bytes(self.container(part), *command, stdin=stdin, timeout_seconds=timeout_seconds)

    def now(self) -> str:
        """The Docker daemon's clock, RFC 3339: it stamps the logs, and may be on another machine."""
        return self.docker.run("info", "--format", "{{.SystemTime}}").strip()

    def log(self, part: str, since: str) -> list[str]:
        """Lines that a part's container wrote since a time of ``now()``."""
        return self.docker.logs(self.container(part), "--since", since).splitlines()


@dataclass(frozen=True)
class Check:
    """A line of the smoke run.

    name: a few words.
    part: the container whose log explains a failure, or ``UI``, whose container depends on the stack.
    run: raises UserError where it fails, CheckWarningError, CheckSkippedError or CheckNotApplicableError.
    """

    name: str
    part: str
    run: Callable[[Site], None]

    def hint(self, outputs: Outputs) -> str:
        """A command that shows more, or the log's name for a check of Vercel."""
        if self.part == UI and outputs.on_vercel:
            return "the function's log of the project on Vercel"
        part = "gateway" if self.part == UI else self.part
        container = outputs.containers.get(part, part)
        if outputs.docker_nodes is not None:
            return f"docker --host {outputs.docker_host} service logs --since 10m {container}"
        return f"docker --host {outputs.docker_host} logs --since 10m {container}"


def expect(condition: bool, message: str) -> None:
    """CheckFailedError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise CheckFailedError(message)


def expect_none(problems: Sequence[str]) -> None:
    """CheckFailedError with at most three of the problems, and how many more there are."""
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    expect(not problems, "; ".join(problems[:3]) + more)


def expect_status(response: httpx.Response, *allowed: int, what: str = "") -> None:
    """CheckFailedError unless the response has one of the allowed statuses. what: the request, in the message."""
    if response.status_code not in allowed:
        request = what or f"{response.request.method} {response.request.url.path}"
        expected = " or ".join(str(status) for status in sorted(allowed))
        raise CheckFailedError(f"{request} gave {response.status_code}, expected {expected}")


@dataclass(frozen=True, kw_only=True)
class Resolver:
    """How clients reach a stack's names if they are not public.

    ca_file: certificates (PEM) to trust in place of the system's. connect_to: address and port to which every name resolves.
    """

    ca_file: Path | None = None
    connect_to: tuple[str, int] | None = None


class _ConnectTo(httpx.HTTPTransport):
    """Connects to one address whatever the name. The certificate is checked for the name, and the Host header has it."""

    def __init__(self, address: tuple[str, int], verify: ssl.SSLContext | bool) -> None:
        # Connections are pooled by address, so that a request for another name would reuse this one.
        super().__init__(verify=verify, limits=httpx.Limits(max_keepalive_connections=0))
        self._host, self._port = address

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return super().handle_request(
            httpx.Request(
                request.method,
                request.url.copy_with(host=self._host, port=self._port),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": request.url.host},
            )
        )


def client_for(outputs: Outputs, resolver: Resolver | None = None) -> httpx.Client:
    """The client for a stack. A proxy from the environment is used for public stacks only, never for loopback ones."""
    resolver = resolver or Resolver()
    verify = True if resolver.ca_file is None else ssl.create_default_context(cafile=resolver.ca_file)
    if resolver.connect_to is not None:
        return httpx.Client(timeout=REQUEST_SECONDS, transport=_ConnectTo(resolver.connect_to, verify))
    if is_loopback(outputs.app_url):
        return httpx.Client(timeout=REQUEST_SECONDS, verify=verify, trust_env=False)
    return httpx.Client(timeout=REQUEST_SECONDS, transport=proxies.Transport(verify=verify))
