"""Several machines with Docker, on this one: each has its own network namespace, daemon and configuration file. Needs root.

Inside ``own_network()``. Their kernel, clock and files are this machine's; a cable between them can be pulled.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.dockerd import Dockerd
from ops.clients.docker import Docker

# Of the network between them, and the first two numbers of each machine's own; none of own_network() and of other daemons' tests.
LAN = "10.217.0"
_POOLS = "10.218"
# Of this machine among them.
LAN_ADDRESS = f"{LAN}.1"
BRIDGE = "machines"
SSHD = Path("/usr/sbin/sshd")
SMALL = "localhost/skyvern/small:1"
# What an image needs to be asked how a container is held.
_PROGRAMS = ("sh", "sleep", "cat", "grep", "ip", "nft", "true", "unshare")


@dataclass(frozen=True, kw_only=True)
class Cabled:
    """A machine on the network between them. address: at which the others reach it."""

    address: str
    cable: str

    def pull_cable(self) -> None:
        """No packet comes or goes any more; its containers run on."""
        _run("ip", "link", "set", self.cable, "down")

    def plug_cable(self) -> None:
        """As before."""
        _run("ip", "link", "set", self.cable, "up")


@dataclass(frozen=True, kw_only=True)
class Machine(Cabled):
    """A daemon in its network. file: its daemon.json, in /etc/docker as it sees it."""

    daemon: Dockerd
    file: Path
    network: str

    @property
    def docker(self) -> Docker:
        """Its daemon."""
        return self.daemon.docker

    @property
    def host(self) -> str:
        """As a stack file names it."""
        return self.daemon.docker.host

    def restart(self) -> None:
        """As ``systemctl restart docker``."""
        self.daemon.stop()
        self.daemon.start()

    @contextlib.contextmanager
    def sshd(self) -> Iterator[Path]:
        """Lets root log in by a key. Yields a folder for PATH with the ``ssh`` that has the key, and knows the machine's."""
        folder = self.file.parent.parent / "ssh"
        folder.mkdir()
        for key in ("host", "user"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key))
        (folder / "server").write_text(
            f"ListenAddress {self.address}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
            "PidFile none\nStrictModes no\nLogLevel ERROR\n"
            # A session whose client has gone with the network would stay.
            "ClientAliveInterval 15\n"
            f"PermitRootLogin prohibit-password\nPasswordAuthentication no\nSetEnv DOCKER_HOST={self.host}\n"
        )
        programs = ssh_client(folder, self.address)
        Path("/run/sshd").mkdir(exist_ok=True)  # as Debian's service does
        pid = (self.daemon.run / "docker.pid").read_text()
        inside = ["nsenter", f"--net={self.network}", f"--mount=/proc/{pid}/ns/mnt"]
        with subprocess.Popen([*inside, SSHD, "-D", "-e", "-f", folder / "server"]) as server:
            try:
                yield programs
            finally:
                server.terminate()

    def configuration(self) -> dict[str, Any]:
        """The content of its file."""
        content: dict[str, Any] = json.loads(self.file.read_text())
        return content


@contextlib.contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """So many, which leave nothing behind."""
    # Short, because the path of a socket has 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="skyvern-machines-", dir="/run"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
        stack.callback(_run, "ip", "link", "delete", BRIDGE)
        _run("ip", "address", "add", f"{LAN_ADDRESS}/24", "dev", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")
        # Beside them, a daemon of the tests' own network drops what it does not know, on this bridge as well.
        # So what leads elsewhere gets no answer, as behind a router without a line: name servers, too.
        between = ("FORWARD", "--in-interface", BRIDGE, "--out-interface", BRIDGE, "--jump", "ACCEPT")
        _run("iptables", "--wait", "--insert", *between)
        stack.callback(_run, "iptables", "--wait", "--delete", *between)
        yield [stack.enter_context(_machine(folder, number)) for number in range(1, count + 1)]


@contextlib.contextmanager
def _machine(folder: Path, number: int) -> Iterator[Machine]:
    cable, address = f"cable{number}", f"{LAN}.{10 + number}"
    with subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) as holder, contextlib.ExitStack() as stack:
        stack.callback(holder.kill)
        network = f"/proc/{holder.pid}/ns/net"
        while os.stat(network).st_ino == os.stat("/proc/thread-self/ns/net").st_ino:  # noqa: PTH116  links of this kind have no target
            time.sleep(0.01)
        _run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        # The kernel removes it some time after the network's last process.
        stack.callback(_run, "ip", "link", "delete", cable)
        _run("ip", "link", "set", cable, "master", BRIDGE, "up")
        inside = ("nsenter", f"--net={network}")
        for words in (
            f"address add {address}/24 dev eth0",
            "link set eth0 up",
            "link set lo up",
            f"route add default via {LAN_ADDRESS}",
        ):
            _run(*inside, "ip", *words.split())
        base = folder / str(number)
        file = base / "etc/daemon.json"
        file.parent.mkdir(parents=True)
        Path("/etc/docker").mkdir(exist_ok=True)
        # ip netns exec would hide the cgroups.
        script = 'mount --bind "$0" /etc/docker && exec "$@"'
        program: list[str | Path] = [
            *inside,
            "unshare",
            "--mount",
            "sh",
            "-c",
            script,
            file.parent,
            "dockerd",
            f"--config-file={file}",
        ]
        pool = f"{_POOLS}.{number}.0/24"
        file.write_text(json.dumps({"debug": False}))
        data = Path(tempfile.mkdtemp(prefix=f"skyvern-machine-{number}-", dir="/var/tmp"))
        stack.callback(shutil.rmtree, data, ignore_errors=True)
        daemon = Dockerd(base / "run", data, base / "log", pool=pool, program=program)
        stack.callback(daemon.stop)
        daemon.start()
        yield Machine(address=address, cable=cable, daemon=daemon, file=file, network=network)


def ssh_client(folder: Path, *addresses: str, options: str = "") -> Path:
    """A folder for PATH, whose ``ssh`` has the key ``user`` of a folder and knows machines by ``host.pub`` there."""
    host_key = (folder / "host.pub").read_text().split()[:2]
    (folder / "known").write_text(f"{','.join(addresses)} {' '.join(host_key)}\n")
    client = f"ssh -F none {options} -i {folder}/user -o IdentitiesOnly=yes -o UserKnownHostsFile={folder}/known"
    # The first counts. In the folder of the user, machines of two tests would share one: they have the same address.
    client += f" -o ControlPath={folder}/%C"
    (folder / "bin").mkdir()
    (folder / "bin/ssh").write_text(f'#!/bin/sh\nPATH={os.environ["PATH"]}\nexec {client} "$@"\n')
    (folder / "bin/ssh").chmod(0o755)
    return folder / "bin"


def small_image(docker: Docker, *more: str, name: str = SMALL) -> str:
    """An image of some programs of this machine, and more, with their libraries, given to a daemon."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for program in (*_PROGRAMS, *more):
            found = Path(shutil.which(program) or program).resolve()
            linked = subprocess.run(["ldd", found], capture_output=True, text=True, check=True).stdout.split()
            for source in {found, *(Path(word) for word in linked if word.startswith("/"))}:
                target = root / str(source).lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source.resolve(), target)
            (root / "bin").mkdir(exist_ok=True)
            if not (link := root / "bin" / program).exists():
                link.symlink_to(found)
        for empty in ("proc", "tmp", "dev", "sys"):
            (root / empty).mkdir(exist_ok=True)
        tree = subprocess.run(["tar", "-C", folder, "-c", "."], capture_output=True, check=True).stdout
    docker.run("import", "-", name, stdin=tree)
    return name


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
