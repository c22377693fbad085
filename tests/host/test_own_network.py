"""The tests' own daemon leaves the machine's network as it is, with the rules and bridges of whatever stack runs there."""

import contextlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ops.clients.docker import Docker
from ops.paths import ROOT
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(4800)
# A daemon from start to stop, with a network of each kind, printing what the machine must not see.
DAEMON = """
import shutil, subprocess, tempfile
from pathlib import Path
from lab.dockerd import Dockerd
from lab.own_network import own_network

folder = Path(tempfile.mkdtemp(prefix="skyvern-test-", dir="/run"))  # short, because a socket's path has 107 bytes at most
daemon = Dockerd(folder / "run", folder / "data", folder / "log", pool="10.214.0.0/16")
with own_network():
    try:
        daemon.start()
        daemon.docker.run("network", "create", "probe")
        daemon.docker.run("network", "create", "--internal", "inner")
        print(subprocess.check_output(["iptables-save"], text=True))
        daemon.docker.run("network", "rm", "probe", "inner")
    finally:
        daemon.stop()
        shutil.rmtree(folder)
"""


def of_the_machine(outside: Path, *command: str) -> str:
    """Output of a command outside, without what changes by itself: counters, times."""
    done = subprocess.run(["nsenter", f"--net={outside}", *command], capture_output=True, text=True, check=True)
    return re.sub(r"^#.*\n|\[\d+:\d+\]", "", done.stdout, flags=re.MULTILINE)


def network_of(outside: Path) -> dict[str, str]:
    commands = (
        ("iptables-save",),
        ("ip6tables-save",),
        ("ip", "-o", "link", "show", "type", "bridge"),
        ("ip", "-br", "address"),
        ("ip", "route"),
    )
    return {" ".join(command): of_the_machine(outside, *command) for command in commands}


def test_a_daemon_from_start_to_stop_changes_nothing_of_the_machine(outside: Path) -> None:
    before = network_of(outside)
    # Its own process, begun outside, as script/bench is.
    done = subprocess.run(
        ["nsenter", f"--net={outside}", sys.executable, "-c", DAEMON],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Docker's walls between its two networks: made, but elsewhere.
    assert done.stdout.count("-A DOCKER-ISOLATION-STAGE-1 -i br-") == 1, done.stdout
    assert network_of(outside) == before


def test_the_tests_and_their_daemon_are_where_the_machines_network_is_not(outside: Path, daemon: Docker) -> None:
    pid = Path(daemon.host.removeprefix("unix://")).with_name("docker.pid").read_text()
    ours = Path(f"/proc/{pid}/ns/net").stat().st_ino
    assert ours == Path("/proc/thread-self/ns/net").stat().st_ino
    assert ours != outside.stat().st_ino
    assert outside.stat().st_ino == Path(f"/proc/{os.getppid()}/ns/net").stat().st_ino


def test_the_machines_loopback_is_not_reached_from_there(outside: Path) -> None:
    serve = "import socket; s = socket.create_server(('0.0.0.0', 0)); print(s.getsockname()[1], flush=True); s.accept()"
    command = ["nsenter", f"--net={outside}", sys.executable, "-c", serve]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        try:
            port = int(listener.stdout.readline())
            # By its own name, and by the address that stands for the machine in user-mode networking.
            for host in ("127.0.0.1", "10.0.2.2"):
                with pytest.raises(OSError, match=r"refused|timed out|unreachable"):
                    socket.create_connection((host, port), timeout=3).close()
            assert listener.poll() is None
        finally:
            listener.kill()


def test_nothing_of_it_outlives_a_process_that_is_killed(outside: Path) -> None:
    wait = "from lab.own_network import own_network\nwith own_network(): print(flush=True); input()"
    command = ["nsenter", f"--net={outside}", sys.executable, "-c", wait]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert len(networking_of(process.pid)) == 1
        process.kill()
    wait_for(lambda: not networking_of(process.pid), seconds=5)


def networking_of(pid: int) -> list[Path]:
    """The slirp4netns of a process."""
    target = f"/proc/{pid}/task/".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if target in path.read_bytes():
                found.append(path.parent)
    return found
