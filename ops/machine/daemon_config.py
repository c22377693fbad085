"""The configuration file of a Docker daemon, on this machine or on another by SSH: read, merged, and in force.

For what no container and no service can set for itself in a Swarm: the provider's Service has neither a seccomp profile nor
no-new-privileges. Not here: what a daemon says of itself (ops/observe/cluster.py).
"""

import hashlib
import json
import re
import shlex
import socket
import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from components.host.skyvern import sandbox_profile
from ops.clients import process
from ops.clients.terminal import Progress
from ops.errors import UserError, explained
from ops.machine import system

DEFAULT_FILE = PurePosixPath("/etc/docker/daemon.json")
# A daemon with services stops them first.
RESTART_SECONDS = 180
# A daemon has one profile for all that runs on it. So the server's is widened by what Docker's own (26) allows any container
# without capabilities: the firewall's netlink, what a program may ask of a socket or a device, a debugger in its container.
_ALLOW = "SCMP_ACT_ALLOW"
_BEYOND_THE_SERVER = (
    {
        "action": _ALLOW,
        "names": ["getsockopt", "ioctl", "process_vm_readv", "process_vm_writev", "ptrace", "setsockopt", "socketpair"],
    },
    # Every kind of socket but vsock, which leads to the host of a virtual machine.
    {"action": _ALLOW, "names": ["socket"], "args": [{"index": 0, "op": "SCMP_CMP_NE", "value": 40}]},
    *(
        {"action": _ALLOW, "names": ["personality"], "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": value}]}
        for value in (0x8, 0x20000, 0x20008)
    ),
)
# Its content on standard input, whole or not at all; every user may read it, as Docker's package has it.
_WRITE = 'umask 022; mkdir -p "$(dirname "$1")" && cat > "$1.new" && mv "$1.new" "$1"'


@cache
def profile() -> str:
    """The system calls of everything on a daemon, as JSON: Docker's own profile, and the namespaces of Chromium's sandbox."""
    server = json.loads(sandbox_profile())
    return json.dumps({**server, "syscalls": [*server["syscalls"], *_BEYOND_THE_SERVER]}, separators=(",", ":"))


def profile_name() -> str:
    """The file of the profile on a machine. ``docker info`` shows its name alone, so the content's hash is a part of it."""
    return f"skyvern-seccomp-{hashlib.sha256(profile().encode()).hexdigest()[:12]}.json"


def on_machine(host: str, *command: str, root: bool = False) -> list[str]:
    """The command line that runs a command on the machine of a daemon. root: as root, by sudo where the user is another."""
    here = not host.startswith("ssh://")
    user, _, address = host.removeprefix("ssh://").rpartition("@")
    is_root = system.observe_machine().root if here else user == "root"
    # -n: asks for no password, which nobody could type.
    line = ["sudo", "-n", *command] if root and not is_root else list(command)
    if here:
        return line
    name, _, port = address.partition(":")
    return ["ssh", "-o", "BatchMode=yes", *(["-p", port] if port else []), f"{user}@{name}", "--", shlex.join(line)]


def file_of(host: str) -> PurePosixPath:
    """The file that the daemon reads: the one that it was started with, if it can be asked; else Docker's own."""
    if host.startswith("ssh://"):
        return DEFAULT_FILE
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(host.removeprefix("unix://"))
            pid, _, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return DEFAULT_FILE
    joined = "\0".join(arguments)
    named = re.search("\0--config-file[=\0]([^\0]+)", joined)
    return PurePosixPath(named[1]) if named else DEFAULT_FILE


def read(host: str) -> dict[str, Any]:
    """The content of the file, empty where there is none; UserError if it cannot be read or is not a JSON object."""
    file = file_of(host)
    text = process.capture(on_machine(host, "sh", "-c", 'test ! -e "$1" || cat "$1"', "sh", str(file)), timeout_seconds=30)
    try:
        content = json.loads(text) if text.strip() else {}
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{host}: {file} is not valid JSON, so Docker would not start again; correct it there")
    return content


def hardened(content: Mapping[str, Any], folder: PurePosixPath) -> dict[str, Any]:
    """A file's content with the two keys. folder: of the file, where the profile is as well."""
    return {**content, "no-new-privileges": True, "seccomp-profile": str(folder / profile_name())}


def harden(host: str, progress: Progress) -> None:
    """Writes the profile and the two keys, and restarts Docker there; as it was before if it then does not start.

    Raises UserError, one line for the person, if it cannot be written, or Docker has to be restarted by hand or does not start.
    """
    file = file_of(host)
    before = read(host)
    restart = _restart_command(host, file)
    _write(host, file.parent / profile_name(), profile().encode())
    _write(host, file, _text(hardened(before, file.parent)))
    progress(f"{host}: wrote seccomp-profile and no-new-privileges into {file}")
    if not restart:
        raise UserError(f"{host}: {file} is written, but Docker is not a service of systemd there; restart it, then go on")
    try:
        process.capture(restart, timeout_seconds=RESTART_SECONDS)
    except UserError as failed:
        _write(host, file, _text(before))
        process.capture(restart, timeout_seconds=RESTART_SECONDS)
        raise UserError(f"{host}: Docker does not start with the new {file}, so it has the old one again ({failed})") from failed
    progress(f"{host}: restarted Docker")


def _restart_command(host: str, file: PurePosixPath) -> list[str]:
    """Empty where no systemd runs the daemon. One with another file than Docker's own is not that service."""
    ask = on_machine(host, "sh", "-c", "test ! -d /run/systemd/system || systemctl is-active docker.service || true")
    active = file == DEFAULT_FILE and process.capture(ask, timeout_seconds=30).strip() == b"active"
    return on_machine(host, "systemctl", "restart", "docker.service", root=True) if active else []


def _write(host: str, file: PurePosixPath, content: bytes) -> None:
    with explained(lambda failed: f"{host}: {file} cannot be written ({failed}); log in there as root, or as a user with sudo"):
        process.capture(on_machine(host, "sh", "-c", _WRITE, "sh", str(file), root=True), stdin=content, timeout_seconds=30)


def _text(content: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(content, indent=2)}\n".encode()
