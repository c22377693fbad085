"""This process's own network namespace, for a Docker daemon that must not touch the machine's network.

Docker re-creates its iptables chains when it starts. A second daemon in the same namespace therefore removes the rules of the
first, silently: published ports, and the walls between its networks. Needs root and Debian's package slirp4netns.
"""

import ctypes
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ops.errors import UserError

# linux/sched.h; Python has unshare and setns from 3.12 on.
_CLONE_FS = 0x00000200
_CLONE_NEWNS = 0x00020000
_CLONE_NEWNET = 0x40000000
# Fixed in slirp4netns: the resolver that asks the machine's own, wherever that one listens.
RESOLVER = "10.0.2.3"
_RESOLV_CONF = Path("/etc/resolv.conf")
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def own_network() -> Iterator[Path]:
    """Inside the block this thread, and what it starts, has its own loopback and reaches the internet by user-mode networking.

    Yields the network namespace that the thread came from, for ``nsenter --net=PATH``. It cannot be reached from outside: a
    published port is open to this thread and its children only. Files are the machine's, except for ``/etc/resolv.conf``. Sockets
    and threads that exist already stay outside. The network ends with the process, killed or not.

    Raises UserError if it cannot be made.
    """
    if shutil.which("slirp4netns") is None:
        raise UserError("slirp4netns is missing, which an own network namespace needs; run: sudo apt-get install -y slirp4netns")
    with ExitStack() as stack:
        outside = {kind: stack.enter_context(Path(f"/proc/thread-self/ns/{kind}").open()) for kind in ("net", "mnt")}
        folder = Path.cwd()
        try:
            _call("unshare", _CLONE_NEWNET | _CLONE_NEWNS)
        except OSError as error:
            raise UserError(f"own network namespace: {error.strerror}; run it as root") from error
        try:
            _run("ip", "link", "set", "lo", "up")
            with _resolv_conf(), _internet(outside["net"].fileno(), outside["mnt"].fileno()):
                yield Path(f"/proc/{os.getpid()}/fd/{outside['net'].fileno()}")
        finally:
            # Threads that were started meanwhile share their working directory with this one; the kernel does not move such a
            # thread to another mount namespace.
            _call("unshare", _CLONE_FS)
            _call("setns", outside["mnt"].fileno(), _CLONE_NEWNS)
            _call("setns", outside["net"].fileno(), _CLONE_NEWNET)
            os.chdir(folder)


@contextmanager
def _resolv_conf() -> Iterator[None]:
    """The machine's file, with another resolver: the one in it may listen on the machine's loopback, as systemd's does."""
    _run("mount", "--make-rslave", "/")
    kept = [line for line in _RESOLV_CONF.read_text().splitlines() if not line.startswith("nameserver")]
    with tempfile.NamedTemporaryFile("w", prefix="skyvern-resolv-") as file:
        file.write("\n".join([*kept, f"nameserver {RESOLVER}", ""]))
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        _run("mount", "--bind", file.name, str(_RESOLV_CONF.resolve()))
        # The file keeps its name meanwhile: over a file without a name nothing can be mounted, so a network inside this one would
        # fail.
        yield


@contextmanager
def _internet(net: int, mnt: int) -> Iterator[None]:
    """slirp4netns, which runs outside and so is started there; the machine's loopback cannot be reached."""
    inside = f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"
    ready, say_ready = os.pipe()
    ended, running = os.pipe()
    command = ["nsenter", f"--net=/proc/self/fd/{net}", f"--mount=/proc/self/fd/{mnt}", "slirp4netns", "--configure"]
    command += ["--mtu=65520", "--disable-host-loopback", f"--ready-fd={say_ready}", f"--exit-fd={ended}"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, "--netns-type=path", inside, "tap0"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(net, mnt, say_ready, ended),
            start_new_session=True,
        )
        os.close(say_ready)
        os.close(ended)
        try:
            if os.read(ready, 1) != b"1":
                process.wait(10)
                log.seek(0)
                lines = log.read().decode(errors="replace").strip().splitlines()
                raise UserError(f"slirp4netns: {lines[-1] if lines else f'exit {process.returncode}'}")
            yield
        finally:
            os.close(ready)
            # slirp4netns ends when no process holds this end any more, so also if this process is killed.
            os.close(running)
            process.wait(10)


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise UserError(f"{command[0]}: not found") from error
    except subprocess.CalledProcessError as error:
        raise UserError(f"{' '.join(command)}: {error.stderr.strip()}") from error
