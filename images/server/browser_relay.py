"""Passes connections from one network namespace to another: the only way into or out of the browser's own.

A socket belongs to the namespace in which it was made, whoever holds it. So a process that accepts on a listener of one
namespace and dials in its own connects the two, without any capability. Each browser has one such process for a direction.
Not here: the namespaces and the processes (sandboxed).
"""

import asyncio
import socket

# Read at once and, twice this, kept for a slow reader: the memory of a connection is bounded by it.
CHUNK = 1 << 16
CONNECT_SECONDS = 10


async def serve(listener: socket.socket, target: tuple[str, int]) -> None:
    """Relays every connection of the listener to a host and port, for as long as the process lives."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await pass_on(reader, writer, target)

    server = await asyncio.start_server(relay, sock=listener, limit=CHUNK)
    await server.serve_forever()


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: tuple[str, int]) -> None:
    """One connection, both ways, until both sides have ended or one has failed. Its failure is no other connection's."""
    try:
        # By name each time: a proxy that was started again may have another address.
        opening = asyncio.open_connection(*target, limit=CHUNK)
        far_reader, far_writer = await asyncio.wait_for(opening, CONNECT_SECONDS)
    except OSError:  # TimeoutError and an unknown name are such errors.
        writer.transport.abort()
        return
    try:
        async with asyncio.TaskGroup() as ways:
            ways.create_task(copy(reader, far_writer))
            ways.create_task(copy(far_reader, writer))
    except* OSError:
        # What was already read may be lost with the rest, as it is when a network fails.
        writer.transport.abort()
        far_writer.transport.abort()
    finally:
        writer.close()
        far_writer.close()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One way to its end, which it passes on; the other way may go on."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
