"""A rehearsal that was kept, as the tests of it and on it see it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.rehearsal import servers
from lab.rehearsal.__main__ import resolver
from lab.rehearsal.servers import Servers
from lab.rehearsal.stack import Place
from lab.standins.edge import client_variables
from lab.workspace import Program
from ops.clients.docker import Docker
from ops.observe.smoke.site import Site, client_for
from ops.stack.outputs import Outputs


@dataclass
class Rehearsed:
    """A rehearsal that was kept: its folder, what the command printed, and its stack as clients see it."""

    place: Place
    docker: Docker
    printed: str
    pictures: Path

    @property
    def program(self) -> Program:
        return self.place.program(self.docker)

    @property
    def servers(self) -> Servers:
        """Those of its stand-ins."""
        running = servers.find(self.place.folder)
        assert running is not None
        return running

    def variables(self) -> dict[str, str]:
        """With them in its environment, every command of a checkout works on this stack and reaches its public names."""
        plugins = [str(path) for name in ("cloudflare", "vercel") for path in self.place.home.glob(f"plugins/*-{name}-*")]
        return {
            **self.place.world.variables(),
            **client_variables(self.servers.proxy_url, self.servers.ca_file),
            **self.place.state_variables(),
            # The engine takes a plugin from there before all others.
            "PATH": os.pathsep.join([*plugins, os.environ["PATH"]]),
        }

    def outputs(self) -> Outputs:
        return self.program.outputs()

    @contextmanager
    def site(self, outputs: Outputs | None = None) -> Iterator[Site]:
        """The stack through its public names."""
        found = outputs or self.outputs()
        with client_for(found, resolver(self.servers)) as client:
            yield Site(found, client, self.docker)

    def vercel_memory_mib(self) -> float:
        """Memory of the process that runs the deployments."""
        status = Path(f"/proc/{self.servers.vercel_pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024
