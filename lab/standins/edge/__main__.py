"""``python -m lab.standins.edge WORLD FOLDER``: prints ``export NAME=VALUE`` lines once it serves; SIGTERM or SIGINT ends it."""

import argparse
import shlex
import signal
from pathlib import Path

from lab.standins.edge.server import Address, Edge
from lab.standins.providers import World


def origin(text: str) -> tuple[str, Address]:
    """``SUFFIX=HOST:PORT``."""
    suffix, _, address = text.partition("=")
    host, _, port = address.rpartition(":")
    return suffix, (host, int(port))


def main() -> None:
    """Serves until it is told to stop."""
    parser = argparse.ArgumentParser(prog="lab.standins.edge", description="A stand-in of Cloudflare's edge.")
    parser.add_argument("world", type=Path, help="file of the world")
    parser.add_argument("folder", type=Path, help="for keys and the log")
    parser.add_argument("--connector-port", type=int, default=7844, help="where connectors dial in (default: 7844)")
    parser.add_argument("--proxy-port", type=int, default=0, help="proxy of the clients on loopback (default: a free one)")
    parser.add_argument("--origin", type=origin, action="append", default=[], metavar="SUFFIX=HOST:PORT")
    options = parser.parse_args()
    # Before the thread is there, so that it inherits the mask and the signals come here.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with Edge(
        World(options.world),
        options.folder,
        origins=dict(options.origin),
        connector_port=options.connector_port,
        proxy_port=options.proxy_port,
    ) as edge:
        for name, value in edge.variables().items():
            print(f"export {name}={shlex.quote(value)}", flush=True)
        signal.sigwait(signals)


if __name__ == "__main__":
    main()
