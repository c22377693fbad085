"""Requests and downloads whose rate is measured. Bounded in number, between the stack's own containers and loopback only."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from ops.clients.docker import PYTHON
from ops.observe.smoke.site import Site, expect, expect_status

REQUESTS = 1000
CONNECTIONS = 8
# Runs inside the server container, which is one hop of a bridge from the gateway and none from the API: keep-alive, no TLS, no
# parsing beyond what HTTP needs, so that the client is not what is measured.
_CLIENT = """
import asyncio, os, sys, time

host, port, requests, connections = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
# From the environment, where it is already: an argument would show it to every process of the host.
key = os.environ["SKYVERN_API_KEY"]
request = f"GET /v1/workflows?page_size=1 HTTP/1.1\\r\\nHost: localhost\\r\\nX-Api-Key: {key}\\r\\n\\r\\n".encode()

async def work(count):
    reader, writer = await asyncio.open_connection(host, port)
    for _ in range(count):
        writer.write(request)
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        if not head.startswith(b"HTTP/1.1 200"):
            sys.exit(head.split(b"\\r\\n")[0].decode())
        lines = head.lower().split(b"\\r\\n")
        await reader.readexactly(next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")))
    writer.close()

async def main():
    began = time.monotonic()
    await asyncio.gather(*(work(requests // connections) for _ in range(connections)))
    print(requests / (time.monotonic() - began))

asyncio.run(main())
"""

_READER = """
import sys, time

began = time.monotonic()
with open(sys.argv[1], "rb") as file:
    while file.read(1 << 20):
        pass
print(time.monotonic() - began)
"""


def requests_per_second(site: Site, host: str, port: int) -> float:
    """Lists of workflows per second, of a bounded number over a few connections from the server container."""
    arguments = (_CLIENT, host, str(port), str(REQUESTS), str(CONNECTIONS))
    return float(site.execute("server", *PYTHON, *arguments, timeout_seconds=120))


@contextmanager
def big_artifact(site: Site, mib: int) -> Iterator[str]:
    """The path of a file of random bytes among the recordings; it exists inside the block only."""
    path = f"/data/artifacts/bench-{secrets.token_hex(4)}.mp4"
    site.execute("server", "dd", "if=/dev/urandom", f"of={path}", "bs=1M", f"count={mib}", "status=none", timeout_seconds=300)
    try:
        yield path
    finally:
        site.execute("server", "rm", path)


def download(site: Site, path: str) -> None:
    """Downloads the file through login, gateway and file server."""
    response = site.ask("GET", f"{site.outputs.app_url}/artifact/recording?path={path}", login=True, stream=True)
    try:
        expect_status(response, 200)
        size = sum(len(part) for part in response.iter_raw(1 << 20))
        expect(size == int(response.headers["content-length"]), "the recording ended early")
    finally:
        response.close()


def read_seconds(site: Site, path: str) -> float:
    """Seconds that a process in the container takes to read the file from its volume, without its start."""
    return float(site.execute("server", *PYTHON, _READER, path))
