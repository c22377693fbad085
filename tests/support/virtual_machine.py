"""A machine with its own kernel, clock and service manager among those of machines.py: Debian, emulated by QEMU. Needs root.

QEMU emulates the processor as well, so it runs where a machine has no help for virtual machines; programs take about ten times as
long there. It starts from an image that is made once, and what it writes is gone with it.
"""

import base64
import contextlib
import hashlib
import itertools
import os
import shutil
import socketserver
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops.clients.docker import Docker
from ops.paths import cache_dir, made_once
from tests.support.machines import BRIDGE, LAN, LAN_ADDRESS, Cabled, ssh_client
from tests.support.waiting import wait_for

QEMU = "qemu-system-x86_64"
NEEDS_QEMU = pytest.mark.skipif(not shutil.which(QEMU), reason=f"needs {QEMU}")
RELEASE = "trixie"
USER = "deploy"
# With Docker as a service of systemd, what the lines of ops doctor and ops cluster have a person type there, and a NAS.
PACKAGES = (
    *("ca-certificates", "dbus", "docker-cli", "docker.io", "iproute2", "iptables", "linux-image-cloud-amd64"),
    *("nfs-common", "nfs-kernel-server", "openssh-server", "sudo", "systemd-sysv", "systemd-timesyncd"),
)
# A stack's images as well; only what is written takes space.
DISK = "16G"
MEMORY_MIB = 1536
# Of Debian 12's QEMU.
_VIRTIOFSD = Path("/usr/lib/qemu/virtiofsd")
# Until Docker answers, beside other tests.
BOOT_SECONDS = 600
_KEYS = "/etc/ssh/keys"
_NETWORK = """[Match]
Type=ether
[Network]
Address={address}/24
Gateway={gateway}
NTP={gateway}
"""
# From 1900, as NTP counts (RFC 5905, 6).
_NTP_EPOCH = 2_208_988_800


@dataclass(frozen=True, kw_only=True)
class VirtualMachine(Cabled):
    """Docker on it, by SSH as a user who may use it and becomes root by ``sudo``, as docs/cluster.md asks for."""

    @property
    def host(self) -> str:
        """As a stack file names it."""
        return f"ssh://{USER}@{self.address}"

    @property
    def docker(self) -> Docker:
        """Its daemon."""
        return Docker(self.host)

    def type(self, line: str) -> str:
        """What a command line of root prints there."""
        typed = ["ssh", f"root@{self.address}", line]
        return subprocess.run(typed, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True, timeout=120).stdout


@contextlib.contextmanager
def virtual_machines(
    count: int, *, ahead: timedelta = timedelta(), share: tuple[Path, Path] | None = None
) -> Iterator[list[VirtualMachine]]:
    """Inside ``machines()``: so many, and on PATH the ``ssh`` that has their key.

    ahead: how far their clock is before this machine's, until it is set there. share: a folder of this machine, and where they
    have it, as by a NAS.
    """
    image = made_once(cache_dir() / f"virtual-machine-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]}", _make)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="skyvern-virtual-", dir="/run")))
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "user")
        shutil.copy(image / "host.pub", folder)
        # Apart from the others' addresses.
        made = [VirtualMachine(address=f"{LAN}.{50 + number}", cable=f"cable{50 + number}") for number in range(count)]
        # The first connection serves those that follow soon: each takes seconds there.
        one = "-o ControlMaster=auto -o ControlPersist=20"
        programs = ssh_client(folder, *(machine.address for machine in made), options=one)
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("PATH", str(programs), prepend=os.pathsep)
        shares = [stack.enter_context(_shared(folder / f"{machine.cable}.share", share)) for machine in made]
        consoles = [
            stack.enter_context(_started(machine, image, folder, ahead, options))
            for machine, options in zip(made, shares, strict=True)
        ]
        for machine, console in zip(made, consoles, strict=True):
            ask = ["ssh", f"{USER}@{machine.address}", "systemctl is-active docker"]

            def serves(ask: list[str] = ask) -> bool:
                return subprocess.run(ask, stdin=subprocess.DEVNULL, capture_output=True, check=False).stdout == b"active\n"

            def end(console: Path = console) -> str:
                return console.read_text(errors="replace")[-2000:]

            wait_for(serves, end, seconds=BOOT_SECONDS, pause=1)
            if share is not None:
                machine.type(f"mkdir -p {share[1]} && mount -t virtiofs share {share[1]}")
        try:
            yield made
        finally:
            for user, machine in itertools.product(("root", USER), made):
                subprocess.run(["ssh", "-O", "exit", f"{user}@{machine.address}"], capture_output=True, check=False)


@contextlib.contextmanager
def _shared(socket: Path, share: tuple[Path, Path] | None) -> Iterator[tuple[str, ...]]:
    """What QEMU needs to know of a folder that a machine mounts."""
    if share is None:
        yield ()
        return
    with subprocess.Popen([_VIRTIOFSD, f"--socket-path={socket}", "-o", f"source={share[0]},cache=none"]) as server:
        try:
            wait_for(socket.exists, seconds=30, pause=0.1)
            yield (
                *("-object", f"memory-backend-memfd,id=memory,size={MEMORY_MIB}M,share=on", "-numa", "node,memdev=memory"),
                *("-chardev", f"socket,id=share,path={socket}", "-device", "vhost-user-fs-pci,chardev=share,tag=share"),
            )
        finally:
            server.terminate()


@contextlib.contextmanager
def _started(machine: VirtualMachine, image: Path, folder: Path, ahead: timedelta, options: tuple[str, ...]) -> Iterator[Path]:
    """Yields the file of what its console shows."""
    keys = base64.b64encode((folder / "user.pub").read_bytes()).decode()
    credentials = {
        # A line of tmpfiles.d(5).
        "tmpfiles.extra": f"f~ {_KEYS} 644 root root - {keys}\n",
        "network.network.lan": _NETWORK.format(address=machine.address, gateway=LAN_ADDRESS),
    }
    command: list[str | Path] = [
        *(QEMU, "-accel", "tcg,thread=multi", "-smp", "2", "-m", str(MEMORY_MIB), "-nographic", "-no-reboot", "-monitor", "none"),
        *("-kernel", image / "vmlinuz", "-initrd", image / "initrd", "-append", "root=/dev/vda rw console=ttyS0 panic=-1"),
        *("-drive", f"file={image / 'disk'},if=virtio,format=raw,snapshot=on"),
        *("-netdev", f"tap,id=lan,ifname={machine.cable},script=no,downscript=no"),
        *("-device", f"virtio-net-pci,netdev=lan,mac=52:54:00:00:00:{machine.address.rpartition('.')[2]}"),
        *("-rtc", f"base={datetime.now(UTC) + ahead:%Y-%m-%dT%H:%M:%S}"),
        *options,
    ]
    for name, text in credentials.items():
        coded = base64.b64encode(text.encode()).decode()
        command += ["-smbios", f"type=11,value=io.systemd.credential.binary:{name}={coded}"]
    _run("ip", "tuntap", "add", "dev", machine.cable, "mode", "tap")
    try:
        _run("ip", "link", "set", machine.cable, "master", BRIDGE, "up")
        console = folder / machine.cable
        with (
            console.open("wb") as sink,
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT) as running,
        ):
            try:
                yield console
            finally:
                running.kill()
    finally:
        _run("ip", "link", "delete", machine.cable)


@contextlib.contextmanager
def time_server() -> Iterator[None]:
    """Inside ``machines()``: this machine's time by NTP, for the others."""

    class Request(socketserver.DatagramRequestHandler):
        def handle(self) -> None:
            asked = self.rfile.read(48)
            now = struct.pack("!II", *divmod(int((time.time() + _NTP_EPOCH) * 2**32), 2**32))
            # Version 4, a server; a time of its own, that is known to a second of a million (RFC 5905, 7.3).
            self.wfile.write(struct.pack("!BBbbII4s", 0x24, 1, 6, -20, 0, 0, b"LOCL") + now + asked[40:48] + now + now)

    with socketserver.ThreadingUDPServer((LAN_ADDRESS, 123), Request) as server, ThreadPoolExecutor(1) as thread:
        thread.submit(server.serve_forever, 0.1)
        try:
            yield
        finally:
            server.shutdown()


def _make(folder: Path) -> None:
    """disk: a file system; vmlinuz and initrd: of its kernel; host.pub: by which its sshd is known."""
    root = folder / "root"
    checked = ("--force-check-gpg", "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg")
    what = ("--variant=minbase", "--components=main", f"--include={','.join(PACKAGES)}", RELEASE, root)
    # debootstrap of an older release may not know this one, and all have one script.
    _run("debootstrap", *checked, *what, "http://deb.debian.org/debian", "/usr/share/debootstrap/scripts/sid")
    (root / "etc/hostname").write_text("virtual\n")
    inside = ("chroot", root)
    _run(*inside, "useradd", "--create-home", "--shell=/bin/bash", "--groups=docker", USER)
    (root / "etc/sudoers.d" / USER).write_text(f"{USER} ALL=(ALL) NOPASSWD: ALL\n")
    # Of root as well.
    (root / "etc/ssh/sshd_config.d/keys.conf").write_text(f"AuthorizedKeysFile {_KEYS}\n")
    _run(*inside, "systemctl", "--quiet", "enable", "systemd-networkd")
    # What a person switches on.
    _run(*inside, "systemctl", "--quiet", "disable", "systemd-timesyncd")
    for name in ("vmlinuz", "initrd"):
        (found,) = (root / "boot").glob(f"{name}*")
        shutil.copy(found, folder / name)
    shutil.copy(root / "etc/ssh/ssh_host_ed25519_key.pub", folder / "host.pub")
    _run("truncate", f"--size={DISK}", folder / "disk")
    _run("mke2fs", "-q", "-t", "ext4", "-d", root, folder / "disk")
    shutil.rmtree(root)


def _run(*command: str | Path) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
