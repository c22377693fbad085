"""The edge's end of the tunnels: which connectors are connected, and a connection through one of them for each request."""

import asyncio
import itertools
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from lab.standins.edge.zone import Origin
from lab.standins.providers.world import Data, World

# How long a connector has to answer before the next one is asked.
OPEN_SECONDS = 5.0

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Disconnected(Exception):
    """No connector of a tunnel is connected."""


@dataclass
class Connectors:
    """All connectors. As long as a tunnel has one, the world has it as connected, so that deleting it answers 1022.

    folder: gets a file for each connected tunnel.
    """

    world: World
    folder: Path
    # Of each tunnel; a connector keeps four connections.
    _registered: dict[str, list[asyncio.StreamWriter]] = field(default_factory=dict)
    _opening: dict[str, asyncio.Future[Stream]] = field(default_factory=dict)
    _turns: "itertools.count[int]" = field(default_factory=itertools.count)

    def count(self, tunnel: str) -> int:
        """The number of connections of a tunnel, by its id."""
        return len(self._registered.get(tunnel, ()))

    async def open(self, tunnel: str, origin: Origin) -> Stream:
        """A connection to an origin by way of a connector. Raises Disconnected."""
        while writers := self._registered.get(tunnel):
            writer = writers[next(self._turns) % len(writers)]
            identifier = secrets.token_hex(16)
            self._opening[identifier] = asyncio.get_running_loop().create_future()
            try:
                seconds = origin.connect_seconds
                _send(writer, kind="open", id=identifier, origin=origin.address, connectSeconds=seconds)
                return await asyncio.wait_for(self._opening[identifier], OPEN_SECONDS)
            except TimeoutError:
                # It hangs: Cloudflare drops such a connection as well.
                writer.close()
                if writer in writers:
                    writers.remove(writer)
            finally:
                del self._opening[identifier]
        raise Disconnected(tunnel)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """An incoming connection; the protocol is described in connector/agent/tunnel.go."""
        try:
            first = json.loads(await reader.readline())
            if first["kind"] == "data":
                waiting = self._opening.get(first["id"])
                if waiting is not None and not waiting.done():
                    waiting.set_result((reader, writer))
                    return
            elif first["kind"] == "register":
                await self._register(first, reader, writer)
        except (OSError, ValueError, KeyError, TypeError):
            # Whoever speaks something else is not a connector.
            pass
        except asyncio.CancelledError:
            # At the end of the loop.
            pass
        writer.close()

    async def _register(self, first: Data, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = self.world.read()
        tunnel = first["tunnel"]
        if problem := refusal(data, account=first["account"], tunnel=tunnel, secret=first["secret"]):
            _send(writer, kind="refused", text=problem)
            await writer.drain()
            return
        writers = self._registered.setdefault(tunnel, [])
        mark = self.folder / tunnel
        if not writers:
            mark.touch()
            self.world.connect(data["tunnels"][tunnel]["name"], mark)
        writers.append(writer)
        try:
            _send(writer, kind="registered")
            while await reader.read(1024):
                pass
        finally:
            if writer in writers:
                writers.remove(writer)
            if not writers:
                mark.unlink(missing_ok=True)


def _send(writer: asyncio.StreamWriter, **message: str | int) -> None:
    """One line of JSON; a connection that has gone is noticed by its reader."""
    writer.write(json.dumps(message).encode() + b"\n")


def refusal(data: Data, *, account: str, tunnel: str, secret: str) -> str | None:
    """Why a token is refused, as cloudflared logs it; None for a good one."""
    known = data["tunnels"].get(tunnel)
    if known is None:
        return "Unauthorized: Tunnel not found"
    if known["accountId"] != account or not secrets.compare_digest(data["tunnel_secrets"][tunnel], secret):
        return "Unauthorized: Invalid tunnel secret"
    return None
