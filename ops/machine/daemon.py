"""A Docker daemon that answers: installed or started where this project may.

The decision is a pure function of what was observed; the effects around it are thin.
"""

import enum
import shutil
import subprocess
import time
from pathlib import Path

from ops import shell
from ops.clients import process
from ops.clients.docker import Docker
from ops.clients.terminal import Progress
from ops.errors import UserError
from ops.machine import docker_faults, system
from ops.machine.system import Machine

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
START_SECONDS = 60.0
DOCKERD_LOG = Path("/var/log/dockerd.log")


class Daemon(enum.Enum):
    """How the Docker daemon of the stack file answers."""

    ANSWERS = "answers"
    DENIED = "denied"
    SILENT = "silent"
    # Docker makes a folder in place of the socket for a container that was to have it while no daemon ran.
    NO_SOCKET = "not a socket"
    PODMAN = "Podman"
    NO_CLI = "no docker command"


class DockerStep(enum.Enum):
    """The action that makes Docker answer."""

    NOTHING = "nothing"
    START = "start"
    INSTALL = "install"


def decide_docker(machine: Machine, host: str, daemon: Daemon, *, dockerd: bool, rootless: str = "") -> DockerStep:
    """The action that makes the daemon at ``host`` answer. dockerd: whether the daemon's program is installed.

    rootless: the address of this user's rootless daemon, if there is one.

    Raises UserError, one line for the person, wherever installing or starting a daemon is not up to this project.
    """
    if daemon is Daemon.ANSWERS:
        return DockerStep.NOTHING
    if host.startswith("ssh://") and daemon is not Daemon.NO_CLI:
        raise UserError(f"Docker: {host} does not answer without a password; {over_ssh(host)}")
    if daemon is Daemon.NO_SOCKET:
        raise UserError(f"Docker: {host} is not a socket; {without_socket(host)}")
    if daemon is Daemon.PODMAN:
        raise UserError(
            f"Docker: what answers at {host} is Podman, on which this stack does not run; install Docker Engine "
            "(https://docs.docker.com/engine/install) in place of podman-docker, or name its socket in host.docker_host"
        )
    if daemon is Daemon.DENIED:
        raise UserError(
            f"Docker: this user may not use {host}; run `sudo usermod -aG docker $USER`, log in again and run script/up again"
        )
    if machine.root and machine.debian and host == DEFAULT_SOCKET:
        return DockerStep.START if dockerd and daemon is not Daemon.NO_CLI else DockerStep.INSTALL
    problem = f"no daemon answers at {host}" if daemon is Daemon.SILENT else "there is no docker command on PATH"
    if rootless and host == DEFAULT_SOCKET and daemon is Daemon.SILENT:
        raise UserError(
            f"Docker: {problem}, but there is this user's rootless one; write host.docker_host: {rootless} and, because such a "
            "daemon has no say over the host's network, host.firewall: false into the stack file (docs/security.md says what is "
            "then open)"
        )
    if host != DEFAULT_SOCKET and daemon is Daemon.SILENT:
        remedy = "start that daemon, or correct host.docker_host in the stack file"
    elif machine.wsl:
        remedy = (
            "switch this distribution on in Docker Desktop -> Settings -> Resources -> WSL integration, "
            "or run script/up as root to install Docker inside WSL"
        )
    elif machine.debian:
        remedy = "start it with `sudo systemctl start docker`" if dockerd else "run `sudo apt-get install docker.io`"
        remedy += " and `sudo usermod -aG docker $USER`, log in again, or run script/up as root"
    else:
        remedy = "install Docker Engine (https://docs.docker.com/engine/install) and start it"
    raise UserError(f"Docker: {problem}; {remedy}")


def over_ssh(host: str) -> str:
    """What to do where another machine's daemon does not answer, as a clause."""
    # Refused by sshd, by the daemon behind it or not there at all: the same command shows it.
    address = host.removeprefix("ssh://").replace(":", " -p ")
    return f"try `ssh {address} docker version` and correct what it says, or host.docker_host in the stack file"


def without_socket(host: str) -> str:
    """What to do where a file or a folder is in place of a daemon's socket, as a clause."""
    if host == DEFAULT_SOCKET:
        return "run: sudo rmdir /var/run/docker.sock && sudo systemctl restart docker"
    return "correct host.docker_host in the stack file"


def observe_daemon(host: str) -> Daemon:
    """Asks the daemon at ``host`` for its version."""
    docker = Docker(host)
    path = Path(host.removeprefix("unix://"))
    if host.startswith("unix://") and (path.is_dir() or path.is_file()):
        return Daemon.NO_SOCKET
    try:
        asked = subprocess.run(
            docker.command("version", "--format", "{{json .Server}}"),
            env=docker.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=False,
        )
    except FileNotFoundError:
        return Daemon.NO_CLI
    except subprocess.TimeoutExpired:
        return Daemon.SILENT
    # Podman's own command, as docker, says so on standard error; of its socket, Docker's lists the parts.
    if "Podman Engine" in asked.stdout or "using podman" in asked.stderr:
        return Daemon.PODMAN
    if asked.returncode == 0 and asked.stdout.strip():
        return Daemon.ANSWERS
    return Daemon.DENIED if "permission denied" in asked.stderr.lower() else Daemon.SILENT


def ensure_docker(host: str, progress: Progress, machine: Machine | None = None) -> None:
    """Makes a daemon answer at ``host``, installing or starting one where this project may; UserError otherwise."""
    machine = machine or system.observe_machine()
    docker_faults.refuse_snap()
    daemon = observe_daemon(host)
    rootless = docker_faults.rootless_socket()
    step = decide_docker(machine, host, daemon, dockerd=shutil.which("dockerd") is not None, rootless=rootless)
    if step is DockerStep.INSTALL:
        packages = ["docker.io", "iptables", "ca-certificates"]
        # From Debian 13 on the command is a separate package, which docker.io merely recommends.
        system.apt_install(packages, progress)
        if shutil.which("docker") is None:
            system.apt_install(["docker-cli"], progress)
        daemon = observe_daemon(host)
    if step is not DockerStep.NOTHING and daemon is not Daemon.ANSWERS:
        _start_docker(machine, host, progress)
    docker_faults.refuse_remapped(Docker(host))
    progress(f"Docker answers at {host}")


def _start_docker(machine: Machine, host: str, progress: Progress) -> None:
    started: subprocess.Popen[bytes] | None = None
    began = 0
    log = "journalctl -u docker" if machine.systemd else str(DOCKERD_LOG)
    if machine.systemd:
        progress("starting Docker with systemd")
        try:
            process.capture(["systemctl", "enable", "--now", "docker"])
        except UserError as failed:
            journal = ["journalctl", "--unit=docker", "--lines=50", "--output=cat", "--no-pager"]
            raise UserError(f"Docker: {failed}; {_why(process.capture(journal).decode(errors='replace'), log)}") from failed
    else:
        progress(f"no systemd here: starting dockerd in the background, log {DOCKERD_LOG}")
        DOCKERD_LOG.parent.mkdir(parents=True, exist_ok=True)
        with DOCKERD_LOG.open("ab") as sink:
            # What an earlier start has printed says nothing about this one.
            began = sink.tell()
            # A separate session: the daemon outlives this script, its terminal and Ctrl-C.
            started = subprocess.Popen(
                ["dockerd", "--host", host],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd="/",
                env=shell.variables(),
            )
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if observe_daemon(host) is Daemon.ANSWERS:
            return
        if started is not None and started.poll() is not None:
            # Ours stops at once where the package's own init script is starting one: which then gets a little time.
            until = min(until, time.monotonic() + START_SECONDS / 4)
        time.sleep(0.5)
    if started is not None and started.poll() is not None:
        printed = DOCKERD_LOG.read_bytes()[began:].decode(errors="replace")
        raise UserError(f"Docker: dockerd stopped with exit {started.returncode}: {_why(printed, log)}")
    raise UserError(f"Docker: no answer at {host} within {START_SECONDS:.0f} s of its start; see {log}")


def _why(printed: str, log: str) -> str:
    """Why a daemon ended, from what it printed last, and the cure or the log to read: a clause."""
    lines = printed.strip().splitlines()[-50:] or [""]
    # Its own words, which iptables' lines and systemd's may follow.
    reason = next((line for line in reversed(lines) if "failed to start daemon" in line), lines[-1]).strip()
    return f"{reason}; {docker_faults.cure(reason) or f'see {log}'}"
