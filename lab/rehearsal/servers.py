"""The servers in the place of Cloudflare and Vercel during a rehearsal: one process, which outlives the command that started it.

    python -m lab.rehearsal.servers FOLDER

FOLDER has world.json and ports.json; the process writes servers.json once it serves, and ends with SIGTERM.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.standins.edge import Edge
from lab.standins.providers import World
from lab.standins.providers.vercel import RECOMMENDED_CNAME
from lab.standins.vercel.platform import LocalVercel
from ops.errors import UserError
from ops.paths import ROOT

# A rehearsal that was kept has a site, which is built again at the start.
START_SECONDS = 300
STOP_SECONDS = 30
LOOK_SECONDS = 0.3


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Running servers.

    https_port, proxy_url: each leads to the public names. ca_file: the certificate of the throw-away authority. vercel_pid: of
    the process that runs the deployments.
    """

    pid: int
    vercel_pid: int
    https_port: int
    connector_port: int
    proxy_url: str
    ca_file: str


def start(folder: Path) -> Servers:
    """The running servers of this folder, or new ones. UserError with the log's name if they do not start."""
    if running := find(folder):
        return running
    (folder / "servers.json").unlink(missing_ok=True)
    log = folder / "servers.log"
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(folder)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            # In a separate session: it outlives this command, its terminal and Ctrl-C.
            start_new_session=True,
        )
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        if running := find(folder):
            return running
        time.sleep(0.1)
    process.kill()
    raise UserError(f"rehearsal: the stand-ins' servers do not start (log: {log})")


def find(folder: Path) -> Servers | None:
    """The servers of this folder, if they run."""
    try:
        servers = Servers(**json.loads((folder / "servers.json").read_text()))
        command = Path(f"/proc/{servers.pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    return servers if str(folder).encode() in command else None


def stop(folder: Path) -> None:
    """Ends the servers of this folder, if any."""
    if (servers := find(folder)) is None:
        return
    with suppress(ProcessLookupError):
        os.kill(servers.pid, signal.SIGTERM)
    until = time.monotonic() + STOP_SECONDS
    while find(folder) and time.monotonic() < until:
        time.sleep(0.1)


def serve(folder: Path) -> None:
    """Runs until SIGTERM."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    world = World(folder / "world.json")
    ports = json.loads((folder / "ports.json").read_text())
    origins = {RECOMMENDED_CNAME.rstrip("."): ("127.0.0.1", ports["vercel"])}
    with Edge(world, folder / "edge", origins=origins, connector_port=ports["connector"], proxy_port=ports["proxy"]) as edge:
        vercel = LocalVercel(
            world,
            folder / "vercel",
            port=ports["vercel"],
            domain=ports["domain"],
            edge=("127.0.0.1", edge.https_port),
            ca_file=edge.ca_file,
        )
        try:
            vercel.start()
            servers = Servers(
                pid=os.getpid(),
                vercel_pid=vercel.pid,
                https_port=edge.https_port,
                connector_port=edge.connector_port,
                proxy_url=edge.proxy_url,
                ca_file=str(edge.ca_file),
            )
            (folder / "servers.json").write_text(json.dumps(asdict(servers)))
            while not ended.wait(LOOK_SECONDS):
                vercel.follow()
        finally:
            vercel.stop()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
