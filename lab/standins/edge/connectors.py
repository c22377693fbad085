"""The edge's end of the tunnels: which connectors are connected, and a connection to one of them for each request."""

import asyncio
import itertools
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.standins.providers.world import Data, World

# How long a connector has to answer before the next one is asked.
OPEN_SECONDS = 5.0
# How soon a change of the world is told to the connectors.
WATCH_SECONDS = 0.1

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Disconnected(Exception):
    """No connector of a tunnel is connected."""


@dataclass(eq=False)
class Registration:
    """One connection of a connector; a connector keeps four. version: of the rules that it was sent."""

    connector: str
    writer: asyncio.StreamWriter
    version: Any = None

    def send(self, **message: Any) -> None:
        """One line of JSON; a connection that has gone is noticed by its reader."""
        self.writer.write(json.dumps(message).encode() + b"\n")


@dataclass
class Connectors:
    """All connectors. As long as a tunnel has one, the world has it as connected, so that deleting it answers 1022.

    folder: gets a file for each connected tunnel.
    """

    world: World
    folder: Path
    _registered: dict[str, list[Registration]] = field(default_factory=dict)
    _opening: dict[str, asyncio.Future[Stream]] = field(default_factory=dict)
    _turns: "itertools.count[int]" = field(default_factory=itertools.count)

    def count(self, tunnel: str) -> int:
        """How many connections the tunnel of an id has."""
        return len(self._registered.get(tunnel, ()))

    async def open(self, tunnel: str) -> Stream:
        """A connection on which the connector is an HTTP server, for one request. Raises Disconnected."""
        while there := self._registered.get(tunnel):
            asked = there[next(self._turns) % len(there)]
            nonce = secrets.token_hex(16)
            self._opening[nonce] = asyncio.get_running_loop().create_future()
            try:
                asked.send(kind="open", id=nonce)
                return await asyncio.wait_for(self._opening[nonce], OPEN_SECONDS)
            except TimeoutError:
                # It hangs: Cloudflare drops such a connection as well.
                asked.writer.close()
                there.remove(asked)
            finally:
                del self._opening[nonce]
        raise Disconnected(tunnel)

    async def watch(self) -> None:
        """Sends each change of a tunnel's rules to its connectors, for ever."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._registered:
                data = self.world.read()
                for tunnel, there in self._registered.items():
                    for registration in there:
                        _configure(registration, data, tunnel)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection that somebody made; the protocol is described in connector/agent/tunnel.go."""
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
            # Whoever speaks something else is no connector.
            pass
        except asyncio.CancelledError:
            # At the end of the loop.
            pass
        writer.close()

    async def _register(self, first: Data, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = self.world.read()
        tunnel = first["tunnel"]
        registration = Registration(first["connector"], writer)
        if problem := refusal(data, account=first["account"], tunnel=tunnel, secret=first["secret"]):
            registration.send(kind="refused", text=problem)
            await writer.drain()
            return
        there = self._registered.setdefault(tunnel, [])
        mark = self.folder / tunnel
        if not there:
            mark.touch()
            self.world.connect(data["tunnels"][tunnel]["name"], mark)
        there.append(registration)
        try:
            registration.send(kind="registered")
            _configure(registration, data, tunnel)
            while await reader.read(1024):
                pass
        finally:
            if registration in there:
                there.remove(registration)
            if not there:
                mark.unlink(missing_ok=True)


def _configure(registration: Registration, data: Data, tunnel: str) -> None:
    found = data["configurations"].get(tunnel)
    version = None if found is None else found["version"]
    if version != registration.version:
        registration.send(kind="configuration", config=None if found is None else found["config"])
        registration.version = version


def refusal(data: Data, *, account: str, tunnel: str, secret: str) -> str | None:
    """Why a token is refused, as cloudflared logs it; None for a good one."""
    found = data["tunnels"].get(tunnel)
    if found is None:
        return "Unauthorized: Tunnel not found"
    if found["accountId"] != account or not secrets.compare_digest(data["tunnel_secrets"][tunnel], secret):
        return "Unauthorized: Invalid tunnel secret"
    return None
