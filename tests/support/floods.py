"""Floods of a gateway by a stranger, and what another client sees of it in the meantime.

An attack is a process of its own, so that its work is not the other client's waiting. It dials the address that it is given, and
that has to be one of this machine.
"""

import asyncio
import base64
import http.client
import ipaddress
import multiprocessing
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """Address, port and Host header of a gateway."""

    address: str
    port: int
    host: str


def unknown_key(number: int | None = None) -> str:
    """A key of the stack's form that no stack knows."""
    body = random.getrandbits(256) if number is None else number
    return f"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.{base64.urlsafe_b64encode(body.to_bytes(32)).decode().rstrip('=')}.{'x' * 43}"


async def _headers(target: Target, _: int) -> None:
    """900 KB of a header that does not end."""
    reader, writer = await asyncio.open_connection(target.address, target.port)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {target.host}\r\n".encode())
        for number in range(900):
            writer.write(f"X-{number}: {'a' * 1000}\r\n".encode())
            await writer.drain()
        await reader.read()
    finally:
        writer.close()


async def _slow_headers(target: Target, _: int) -> None:
    """A header of which a line comes every second."""
    _reader, writer = await asyncio.open_connection(target.address, target.port)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {target.host}\r\n".encode())
        while True:
            writer.write(b"X-A: a\r\n")
            await writer.drain()
            await asyncio.sleep(1)
    finally:
        writer.close()


async def _logins(target: Target, number: int) -> None:
    """Logins of users who do not exist, ten a second of each attacker.

    As fast as they are answered, the attacker itself would take the second core of a small machine from Skyvern.
    """
    reader, writer = await asyncio.open_connection(target.address, target.port)
    try:
        for attempt in range(1000):
            login = base64.b64encode(f"user{number}:{attempt}".encode()).decode()
            writer.write(f"GET / HTTP/1.1\r\nHost: {target.host}\r\nAuthorization: Basic {login}\r\n\r\n".encode())
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            await reader.readexactly(length)
            await asyncio.sleep(0.1)
    finally:
        writer.close()


async def _bodies(target: Target, number: int) -> None:
    """20 MiB of lists, or an upload that stays open, with a key that is not known; with and without a length."""
    reader, writer = await asyncio.open_connection(target.address, target.port)
    size = 20 << 20
    chunked = number % 2
    upload = number % 4 >= 2
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    path, kind = ("/v1/upload_file", "multipart/form-data; boundary=x") if upload else ("/v1/run/tasks", "application/json")
    piece = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' if upload else b"["
    piece += b"x" * 65536 if upload else b"[]," * 21845
    try:
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: {target.host}\r\nX-Api-Key: {unknown_key()}\r\n"
            f"Content-Type: {kind}\r\n{length}\r\n\r\n".encode()
        )
        for _ in range(size // len(piece)):
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            await writer.drain()
            if upload:
                await asyncio.sleep(0.5)
        await reader.read()
    finally:
        writer.close()


async def _held_heartbeat(target: Target, _: int) -> None:
    """A heartbeat whose body does not come."""
    reader, writer = await asyncio.open_connection(target.address, target.port)
    try:
        writer.write(f"GET /api/v1/heartbeat HTTP/1.1\r\nHost: {target.host}\r\nContent-Length: 900\r\n\r\n".encode())
        await writer.drain()
        await reader.read()
    finally:
        writer.close()


async def _silence(target: Target, _: int) -> None:
    """A connection on which nothing is said."""
    reader, writer = await asyncio.open_connection(target.address, target.port)
    try:
        await reader.read()
    finally:
        writer.close()


# Name -> what one of the attackers does again and again, and how many they are.
FLOODS: Mapping[str, tuple[Callable[[Target, int], Awaitable[None]], int]] = {
    "headers": (_headers, 200),
    "slow headers": (_slow_headers, 200),
    "logins": (_logins, 100),
    "bodies": (_bodies, 60),
    "held heartbeat": (_held_heartbeat, 300),
    "silent connections": (_silence, 300),
}


def _attack(flood: str, target: Target, seconds: float) -> None:
    attack, attackers = FLOODS[flood]

    async def again(number: int) -> None:
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                await attack(target, number)
            await asyncio.sleep(0.05)

    async def all_of_them() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(again(number) for number in range(attackers))), seconds)

    asyncio.run(all_of_them())


@contextmanager
def flood(name: str, target: Target, seconds: float) -> Iterator[None]:
    """The flood runs beside the block, for as long at most."""
    assert ipaddress.ip_address(target.address).is_private, "floods are for this machine"
    process = multiprocessing.get_context("spawn").Process(target=_attack, args=(name, target, seconds), daemon=True)
    process.start()
    try:
        # Until the first attackers are there.
        time.sleep(1)
        yield
        assert process.is_alive() or process.exitcode == 0
    finally:
        process.terminate()
        process.join(10)


def waits(target: Target, requests: Mapping[str, Mapping[str, str]], seconds: float) -> list[tuple[float, str]]:
    """How long another client waited for each of its answers, in seconds, and for what. All are asked at least once, and have to
    be answered with 200.

    A connection for each request, so that it has to get one.
    """
    waited = []
    until = time.monotonic() + seconds
    while True:
        for path, headers in requests.items():
            started = time.monotonic()
            line = http.client.HTTPConnection(target.address, target.port, timeout=20)
            line.request("GET", path, headers={"Host": target.host, **headers})
            status = line.getresponse().status
            line.close()
            waited.append((time.monotonic() - started, path))
            assert status == 200, f"{path}: {status}"
        if time.monotonic() >= until:
            return waited
        time.sleep(0.05)


def kept_waiting(waited: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """The waits of a flood that were too long, longest first; none where another client was served.

    Half a second is enough; one answer of a hundred may take up to three, as the attacker has the same cores.
    """
    slow = sorted((wait for wait in waited if wait[0] >= 0.5), reverse=True)
    served = len(slow) <= 1 + len(waited) // 100 and (not slow or slow[0][0] < 3)
    return [] if served else slow


def assert_recovered(target: Target, requests: Mapping[str, Mapping[str, str]]) -> None:
    """After a flood: each of the requests is answered within half a second, and that within ten seconds of its end."""
    until = time.monotonic() + 10
    while True:
        slowest = max(waits(target, requests, 0))
        if slowest[0] < 0.5:
            return
        assert time.monotonic() < until, slowest
