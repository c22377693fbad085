"""One HTTP/1.1 exchange between a client and an upstream, bodies and WebSockets streamed in both directions."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import h11

from lab.standins.edge.connectors import Stream
from lab.standins.edge.zone import Answer, Header

_CHUNK = 64 * 1024
# Cloudflare takes 128 KiB of headers.
MOST_HEAD_BYTES = 128 * 1024
# How long the origin may be silent before Cloudflare answers 524 (its documentation, connection limits).
SILENCE_SECONDS = 120.0
# Between two machines only. The two headers of an upgrade are written again.
_HOP = frozenset(
    b"connection expect http2-settings keep-alive proxy-authenticate proxy-authorization proxy-connection te upgrade".split()
)


class Gone(Exception):
    """The client closed its connection."""


class UpstreamFailed(Exception):
    """The upstream closed its connection or did not speak HTTP before it had answered; ``status``: for the client."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass
class Client:
    """A client's connection, with any number of requests, one after the other."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def __post_init__(self) -> None:
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEAD_BYTES)

    @property
    def address(self) -> str:
        """The client's address."""
        return str((self.writer.get_extra_info("peername") or ("",))[0])

    async def read(self) -> None:
        """Takes the next bytes that arrive. Raises Gone at their end."""
        data = await self.reader.read(_CHUNK)
        if not data:
            raise Gone
        self.http.receive_data(data)

    async def request(self) -> h11.Request:
        """The head of the next request. Raises Gone if there is no other, and h11.RemoteProtocolError."""
        while True:
            event = self.http.next_event()
            if isinstance(event, h11.Request):
                return event
            if event is h11.NEED_DATA:
                await self.read()
            else:
                raise Gone

    async def send(self, event: h11.Event) -> None:
        """Writes an event."""
        data = self.http.send(event)
        if data:
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self, answer: Answer, headers: Sequence[Header]) -> None:
        """A whole answer; the connection does not go on after it, because the request's body was not read."""
        body = answer.body.encode()
        added = {**answer.headers, "content-length": str(len(body)), "content-type": "text/plain", "connection": "close"}
        sent = [*headers, *((name.encode(), value.encode("latin-1")) for name, value in added.items())]
        await self.send(h11.Response(status_code=answer.status, headers=sent))
        await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())

    async def next_cycle(self) -> bool:
        """Whether the connection takes another request."""
        if self.http.our_state is h11.DONE and self.http.their_state is h11.DONE:
            self.http.start_next_cycle()
            return True
        return False


async def relay(client: Client, request: h11.Request, head: Sequence[Header], upstream: Stream, added: Sequence[Header]) -> int:
    """Sends a request on and its answer back; returns the status.

    head: the headers to send. added: headers of the answer. Closes the upstream. Raises Gone; and UpstreamFailed if the upstream
    fails before it answers.
    """
    reader, writer = upstream
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD_BYTES)
    upgrade = next((value for name, value in head if name == b"upgrade"), b"")
    sent = [(name, value) for name, value in head if name not in _HOP]
    if upgrade:
        sent += [(b"connection", b"Upgrade"), (b"upgrade", upgrade)]
    try:
        writer.write(http.send(h11.Request(method=request.method, target=request.target, headers=sent)) or b"")
        body = asyncio.create_task(_send_body(client, http, writer))
        answer = asyncio.create_task(_send_answer(client, http, reader, added))
        try:
            await asyncio.wait({body, answer}, return_when=asyncio.FIRST_COMPLETED)
            # The body's sender ends by itself only when the client has gone or the upstream takes no more.
            if body.done() and isinstance(body.exception(), Gone):
                raise Gone
            status = await answer
        finally:
            for task in (body, answer):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
        if status == 101:
            await _pipe(client, http, upstream)
        return status
    finally:
        writer.close()


async def _send_body(client: Client, http: h11.Connection, writer: asyncio.StreamWriter) -> None:
    """The request's body to the upstream; then waits for the client to go, which ends the exchange. Raises Gone."""
    while True:
        if client.http.they_are_waiting_for_100_continue:
            await client.send(h11.InformationalResponse(status_code=100, headers=[]))
        event = client.http.next_event()
        if event is h11.NEED_DATA or event is h11.PAUSED:
            await client.read()
        elif isinstance(event, h11.Data | h11.EndOfMessage):
            writer.write(http.send(event) or b"")
            await writer.drain()
        else:
            raise Gone
        if event is h11.PAUSED and len(client.http.trailing_data[0]) > MOST_HEAD_BYTES:
            # The client sends more requests without waiting for answers.
            raise Gone


async def _send_answer(client: Client, http: h11.Connection, reader: asyncio.StreamReader, added: Sequence[Header]) -> int:
    begun, status = False, 0
    while True:
        try:
            event = http.next_event()
            if event is h11.NEED_DATA:
                data = await (reader.read(_CHUNK) if begun else asyncio.wait_for(reader.read(_CHUNK), SILENCE_SECONDS))
                http.receive_data(data)
                continue
        except TimeoutError:
            raise UpstreamFailed(524, "the origin is silent") from None
        except (h11.RemoteProtocolError, OSError) as failed:
            if begun:
                raise Gone from failed
            raise UpstreamFailed(502, f"the connection broke: {failed}") from failed
        match event:
            case h11.InformationalResponse() if event.status_code == 101:
                await client.send(h11.InformationalResponse(status_code=101, headers=[*event.headers, *added]))
                return 101
            case h11.InformationalResponse():
                pass
            case h11.Response():
                begun, status = True, event.status_code
                replaced = {name for name, _ in added}
                kept = [(name, value) for name, value in event.headers if name not in _HOP and name not in replaced]
                await client.send(h11.Response(status_code=status, reason=event.reason, headers=[*kept, *added]))
            case h11.Data():
                await client.send(event)
            case h11.EndOfMessage():
                await client.send(h11.EndOfMessage())
                return status
            case _:
                raise UpstreamFailed(502, "the connection was closed")


async def _pipe(client: Client, http: h11.Connection, upstream: Stream) -> None:
    """Bytes in both directions until either side ends."""
    reader, writer = upstream
    writer.write(client.http.trailing_data[0])
    client.writer.write(http.trailing_data[0])
    await pipe(client.reader, client.writer, reader, writer)


async def pipe(
    one_reader: asyncio.StreamReader,
    one_writer: asyncio.StreamWriter,
    other_reader: asyncio.StreamReader,
    other_writer: asyncio.StreamWriter,
) -> None:
    """Bytes in both directions until either side ends; closes both."""

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()

    tasks = {asyncio.create_task(copy(one_reader, other_writer)), asyncio.create_task(copy(other_reader, one_writer))}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await task
        one_writer.close()
        other_writer.close()
