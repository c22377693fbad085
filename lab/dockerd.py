"""A separate Docker daemon: its sockets, networks and storage are apart from any other's. Needs root.

For measurements and tests that need a machine without images. Not here: the daemon that stacks run on
(ops/machine/daemon.py), and the network namespace in which this daemon has to be started (own_network.py).
"""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from ops.clients.docker import Docker
from ops.errors import UserError


class Dockerd:
    """dockerd on ``docker``.

    Started inside ``own_network()``, or it removes the firewall rules of a daemon that runs on the machine.

    run: folder of its sockets, short, because a socket's path has 107 bytes at most. data: its storage. pool: a network (/16)
    apart from the addresses of own_network() and of the machine, ``10.214.0.0/16``. program: what is started, as that process.
    """

    def __init__(self, run: Path, data: Path, log: Path, *, pool: str, program: Sequence[str | Path] = ("dockerd",)) -> None:
        self.program = program
        self.run = run
        self.data = data
        self.log = log
        self.pool = pool
        self.docker = Docker(f"unix://{run}/docker.sock")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers; UserError with the end of its log if it does not."""
        self.run.mkdir(exist_ok=True)
        command = [
            *self.program,
            f"--data-root={self.data}",
            f"--exec-root={self.run}",
            f"--host={self.docker.host}",
            f"--pidfile={self.run}/docker.pid",
            "--bridge=none",
            f"--default-address-pool=base={self.pool},size=24",
        ]
        with self.log.open("ab") as sink:
            self._process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)
        for _ in range(240):
            if self._answers():
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.25)
        raise UserError(f"dockerd: does not answer (log: {self.log}): {self.log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        """SIGTERM, as from a service manager: the containers are stopped in good order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(120)
            self._process = None

    def _answers(self) -> bool:
        try:
            self.docker.run("version", timeout_seconds=10)
        except UserError:
            return False
        return True
