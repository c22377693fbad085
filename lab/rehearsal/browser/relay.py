"""Passes connections on, byte by byte: from a TCP port to a socket file, and from a socket file to a TCP port.

Runs on both sides of a container whose only exit is that file. Standard library only: the container's Python has nothing else.
"""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def tcp_to_file(path: str) -> int:
    """Listens on loopback for as long as the process lives and passes on to the socket file; returns the port."""
    ports: list[int] = []

    async def serve(ready: threading.Event) -> None:
        server = await asyncio.start_server(_handler(lambda: asyncio.open_unix_connection(path)), "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await server.serve_forever()

    _run(serve)
    return ports[0]


def file_to_tcp(path: str, host: str, port: int) -> None:
    """Listens on a socket file for as long as the process lives and passes on to the port."""

    async def serve(ready: threading.Event) -> None:
        server = await asyncio.start_unix_server(_handler(lambda: asyncio.open_connection(host, port)), path)
        ready.set()
        await server.serve_forever()

    _run(serve)


def _handler(
    connect: Callable[[], Awaitable[Streams]],
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            other_reader, other_writer = await connect()
            await asyncio.gather(_pump(reader, other_writer), _pump(other_reader, writer))

    return handle


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await source.read(65536):
            sink.write(block)
            await sink.drain()
    sink.close()


def _run(serve: Callable[[threading.Event], Awaitable[None]]) -> None:
    ready = threading.Event()

    async def main() -> None:
        await serve(ready)

    threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
    if not ready.wait(30):
        raise TimeoutError("the relay does not start")
