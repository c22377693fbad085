"""The edge as a local server: names, TLS, the zone's rules, and the connections to connectors and to origins elsewhere."""

import asyncio
import contextlib
import json
import secrets
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import h11

from lab.standins.edge import api, relay, zone
from lab.standins.edge.certificates import Authority
from lab.standins.edge.connectors import Connectors, Disconnected, Stream
from lab.standins.edge.relay import Client, Gone, UpstreamFailed
from lab.standins.edge.zone import Answer, Header, Request
from lab.standins.providers.world import Data, World

Address = tuple[str, int]
_TLS_VERSIONS = {"1.0": "TLSv1", "1.1": "TLSv1.1", "1.2": "TLSv1.2", "1.3": "TLSv1.3"}
START_SECONDS = 30.0
DISCONNECTED = Answer(status=530, why="no connector", body="error code: 1033\n")


def client_variables(proxy_url: str, ca_file: Path | str) -> dict[str, str]:
    """Environment variables with which a client reaches the public names: httpx, curl, Node, Chromium's tools."""
    return {
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy_url),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost,::1"),
        **dict.fromkeys(("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"), str(ca_file)),
        "NODE_USE_ENV_PROXY": "1",
    }


class Edge:
    """Cloudflare's edge for one world, in a separate thread. Use it in a ``with``, or ``start`` and ``stop`` it.

    world: records, tunnels, rules and settings are read from it at each request. folder: for keys and ``edge.log``, a line a
    request. origins: where names outside Cloudflare lead: the end of their CNAME (``vercel-dns.com``) to host and port of a
    plain HTTP server; may be changed at any time. connector_port: where connectors dial in, on every address of the machine,
    because containers do not reach its loopback; 0 chooses a free one. Clients are served on loopback only.

    After ``start``: ``connector_port``; ``proxy_port``, a proxy on loopback in the place of DNS, and port 80 of every name;
    ``https_port``, where TLS ends. Not here: caching, HTTP/2, and whatever of Cloudflare this project does not use.
    """

    def __init__(
        self,
        world: World,
        folder: Path,
        *,
        origins: Mapping[str, Address] | None = None,
        connector_port: int = 0,
        proxy_port: int = 0,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.world = world
        self.folder = folder
        self.origins: dict[str, Address] = dict(origins or {})
        self.connector_port = connector_port
        self.proxy_port = proxy_port
        self.https_port = 0
        self._authority = Authority(folder)
        self._connectors = Connectors(world, folder)
        self._limits = zone.Limits()
        self._log = (folder / "edge.log").open("a", buffering=1)
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="edge", daemon=True)

    # --- Life ---

    def start(self) -> "Edge":
        """Returns once it listens. Raises OSError for a port that is taken."""
        self._thread.start()
        self._ready.wait(START_SECONDS)
        if self._failure is not None:
            raise self._failure
        return self

    def stop(self) -> None:
        """Closes all connections and ports."""
        if self._loop is not None and self._stopping is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(START_SECONDS)
        self._log.close()

    def __enter__(self) -> "Edge":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    # --- For clients and tests ---

    @property
    def ca_file(self) -> Path:
        """The authority that clients have to trust."""
        return self._authority.certificate

    @property
    def proxy_url(self) -> str:
        """The proxy that takes the place of DNS. It leads to the names of the world, to Cloudflare's API and nowhere else."""
        return f"http://127.0.0.1:{self.proxy_port}"

    def variables(self) -> dict[str, str]:
        """The environment variables of a client."""
        return client_variables(self.proxy_url, self.ca_file)

    def connections(self, tunnel: str) -> int:
        """The number of live connections of the tunnel with this name."""
        tunnels = self.world.read()["tunnels"]
        return sum(self._connectors.count(identifier) for identifier, known in tunnels.items() if known["name"] == tunnel)

    def access_cookie(self, host: str, email: str) -> str:
        """The header ``Cookie`` of a person who has logged in at Access. Raises PermissionError where no policy lets them in."""
        return f"{zone.ACCESS_COOKIE}={zone.access_token(self.world.read(), host, email)}"

    # --- The thread ---

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as failure:
            self._failure = failure
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.sni_callback = self._choose_certificate
        limit = relay.MOST_HEAD_BYTES
        servers = [
            await asyncio.start_server(self._connectors.serve, "0.0.0.0", self.connector_port, backlog=512),  # noqa: S104
            await asyncio.start_server(self._client("http"), "127.0.0.1", self.proxy_port, limit=limit, backlog=512),
            await asyncio.start_server(self._client("https"), "127.0.0.1", 0, ssl=tls, limit=limit, backlog=512),
        ]
        self.connector_port, self.proxy_port, self.https_port = (server.sockets[0].getsockname()[1] for server in servers)
        self._ready.set()
        await self._stopping.wait()
        for server in servers:
            server.close()
        # asyncio.run cancels what is still being served.

    def _choose_certificate(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:
        host = (name or "").lower()
        zone_of_host = zone.zone_of(self.world.read(), host)
        if zone_of_host is None and host != api.HOST:
            return int(ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)
        connection.context = self._authority.context(host if zone_of_host is None else zone_of_host["name"])
        return None

    def _client(
        self, scheme: Literal["http", "https"]
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            client = Client(reader, writer)
            try:
                while True:
                    await self._exchange(client, scheme, await client.request())
                    if not await client.next_cycle():
                        break
            except (Gone, OSError, h11.ProtocolError, ssl.SSLError):
                # Clients come and go, and some do not speak HTTP.
                pass
            except asyncio.CancelledError:
                # At the end of the loop; Python 3.11 would print a traceback for each connection.
                pass
            finally:
                writer.close()

        return serve

    async def _exchange(self, client: Client, scheme: Literal["http", "https"], event: h11.Request) -> None:
        target = event.target.decode("latin-1")
        if event.method == b"CONNECT":
            await self._connect(client, target)
            return
        if target.startswith("http://"):
            # As a client writes it to a proxy.
            _, _, target = target.removeprefix("http://").partition("/")
            target = f"/{target}"
        headers = tuple(event.headers)
        host = next((value for name, value in headers if name == b"host"), b"").decode("latin-1").partition(":")[0].lower()
        request = Request(
            scheme=scheme,
            method=event.method.decode(),
            host=host,
            target=target,
            client=client.address,
            headers=headers,
        )
        sent = h11.Request(method=event.method, target=target, headers=list(headers))
        began = time.monotonic()
        status, why = await self._answer(client, sent, request)
        path = request.target.partition("?")[0]
        self._write_log(f"{status} {request.method} {request.host} {path} {time.monotonic() - began:.3f} s {why}")

    async def _connect(self, client: Client, target: str) -> None:
        """A client's request to the proxy for a connection, which is its question to DNS."""
        host, _, port = target.lower().rpartition(":")
        if (zone.resolve(self.world.read(), host) is None and host != api.HOST) or port != "443":
            self._write_log(f"502 CONNECT {host} does not resolve")
            await client.answer(Answer(status=502, why="DNS", body=f"{host} does not resolve\n"), [(b"x-rehearsal", b"DNS")])
            return
        inner = await asyncio.open_connection("127.0.0.1", self.https_port)
        await client.send(h11.Response(status_code=200, headers=[]))
        inner[1].write(client.http.trailing_data[0])
        await relay.pipe(client.reader, client.writer, *inner)

    async def _answer(self, client: Client, event: h11.Request, request: Request) -> tuple[int, str]:
        """Serves a request; status and reason for the log."""
        data = self.world.read()
        if request.host == api.HOST:
            status, body = api.answer(data, request.target, request.header("authorization"), self.connections)
            return await self._say(client, Answer(status=status, why="API", body=json.dumps(body)), [])
        name = zone.resolve(data, request.host)
        if name is None:
            return await self._say(client, Answer(status=404, why="DNS", body=f"{request.host} does not resolve\n"), [])
        if name.zone is None:
            return await self._to_origin(client, event, request, name.target)
        ray = f"{secrets.token_hex(8)}-XXX"
        added = zone.answered(name.zone, ray)
        if (problem := self._tls_problem(client, name.zone)) is not None:
            # The real edge would not have finished the handshake.
            raise Gone(problem)
        if (own := zone.judge(data, name.zone, name.target, request, self._limits)) is not None:
            return await self._say(client, own, added)
        if not self._connectors.count(name.target):
            return await self._say(client, DISCONNECTED, added)
        origin = zone.origin(data, name.target, request)
        if isinstance(origin, Answer):
            return await self._say(client, origin, added)
        head = zone.forwarded(request, ray, access=zone.application_of(data, request.host) is not None)
        return await self._pass_on(client, event, head, lambda: self._connectors.open(name.target, origin), added)

    async def _to_origin(self, client: Client, event: h11.Request, request: Request, target: str) -> tuple[int, str]:
        """A name that Cloudflare only resolves: TLS ends here, instead of at that host."""
        address = next((address for suffix, address in self.origins.items() if target.endswith(suffix)), None)
        if address is None:
            why = f"{target} is not one of this edge's origins"
            return await self._say(client, Answer(status=404, why="DNS", body=f"{why}\n"), [])
        own = {b"x-forwarded-for": request.client, b"x-forwarded-proto": request.scheme, b"x-forwarded-host": request.host}
        headers = [(key, value) for key, value in request.headers if key not in own]
        headers += [(key, value.encode("latin-1")) for key, value in own.items()]
        return await self._pass_on(client, event, headers, lambda: asyncio.open_connection(*address), [])

    async def _pass_on(
        self, client: Client, event: h11.Request, head: list[Header], opened: Callable[[], Awaitable[Stream]], added: list[Header]
    ) -> tuple[int, str]:
        try:
            return await relay.relay(client, event, head, await opened(), added), "passed on"
        except Disconnected:
            return await self._say(client, DISCONNECTED, added)
        except UpstreamFailed as failed:
            return await self._say(
                client, Answer(status=failed.status, why=str(failed), body=f"error code: {failed.status}\n"), added
            )
        except ConnectionRefusedError:
            return await self._say(client, Answer(status=502, why="nothing listens at the origin"), added)

    async def _say(self, client: Client, answer: Answer, added: list[Header]) -> tuple[int, str]:
        mark = (zone.MARK.encode(), answer.why.encode("ascii", "replace"))
        await client.answer(answer, [*added, mark])
        return answer.status, answer.why

    @staticmethod
    def _tls_problem(client: Client, zone_of_host: Data) -> str | None:
        connection = client.writer.get_extra_info("ssl_object")
        order, least = list(_TLS_VERSIONS.values()), _TLS_VERSIONS[zone_of_host["settings"]["min_tls_version"]]
        if connection is None or order.index(connection.version()) >= order.index(least):
            return None
        return f"{connection.version()} is less than {least}"

    def _write_log(self, line: str) -> None:
        self._log.write(f"{time.strftime('%H:%M:%S')} {line}\n")
