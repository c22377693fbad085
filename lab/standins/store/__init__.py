"""A store that speaks S3's protocol: versitygw on a folder of this machine.

The real program, of its Go module, in place of Amazon's, Cloudflare's or MinIO's service.
"""

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import go_program

_SOURCE = Path(__file__).parent
_PACKAGE = "github.com/versity/versitygw/cmd/versitygw"


def ensure_program() -> Path:
    """The program, from its Go module."""
    return go_program.ensure_programs(_SOURCE, _PACKAGE) / "versitygw"


@dataclass(frozen=True)
class Store:
    """A store that runs. url: its endpoint. folder: buckets as folders, objects as files."""

    url: str
    access_key_id: str
    secret_access_key: str
    folder: Path

    def objects(self, bucket: str) -> Sequence[Path]:
        """The files of a bucket."""
        return sorted(path for path in (self.folder / bucket).rglob("*") if path.is_file())


@contextmanager
def running(folder: Path, address: str, port: int, buckets: Sequence[str]) -> Iterator[Store]:
    """A store with these buckets, on an address of this machine. folder: empty, for its files."""
    # Metadata beside the files, and not in extended attributes: without it, the parts of a large upload have no tags.
    data, side = folder / "data", folder / "side"
    side.mkdir()
    for bucket in buckets:
        (data / bucket).mkdir(parents=True)
    key, secret = f"key{secrets.token_hex(8)}", secrets.token_hex(20)
    environment = {"PATH": os.environ["PATH"], "ROOT_ACCESS_KEY": key, "ROOT_SECRET_KEY": secret}
    with (folder / "store.log").open("wb") as log:
        command: list[str | Path] = [ensure_program(), "--port", f"{address}:{port}", "posix", "--sidecar", side, data]
        server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(address, port, server)
            yield Store(f"http://{address}:{port}", key, secret, data)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=30)


def _wait(address: str, port: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while True:
        if server.poll() is not None:
            raise RuntimeError(f"versitygw ended with {server.returncode}")
        try:
            socket.create_connection((address, port), timeout=2).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return
