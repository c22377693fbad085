"""Commands that messages name, followed to their end on a daemon and as a user of the tests' own.

tests/support/cures.py says which test follows which message; most are followed where their fault is tested, and here are those of
no other module.
"""

import grp
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import lab.dockerd
from lab.own_network import RESOLVER, own_network
from ops.clients.docker import Docker
from ops.deploy import recovery
from ops.errors import UserError
from ops.machine.daemon import DEFAULT_SOCKET, Daemon, decide_docker, observe_daemon, without_socket
from ops.machine.system import Machine
from ops.observe import internet, isolation
from ops.observe.doctor import examine
from ops.stack.stack import Stack
from tests.support.observations import HEALTHY

pytestmark = pytest.mark.timeout(1200)

SOMEONE = Machine(root=False, debian=True, wsl=0, systemd=True)
# Programs of this machine in a container of an image that has none.
PROGRAMS = tuple(f"--volume={folder}:{folder}:ro" for folder in ("/usr", "/bin", "/lib", "/lib64") if Path(folder).exists())


@pytest.fixture
def daemon(outside: Path, tmp_path: Path) -> Iterator[lab.dockerd.Dockerd]:
    """One without anything on it but an image, in a network inside the tests' own."""
    # Short, because the path of a socket has 107 bytes at most.
    run = Path("/run") / f"skyvern-cures-{os.getpid()}"
    daemon = lab.dockerd.Dockerd(run, tmp_path / "data", tmp_path / "dockerd.log", pool="10.217.0.0/16")
    empty = subprocess.run(["tar", "-c", "-T", "/dev/null"], capture_output=True, check=True).stdout
    with own_network():
        try:
            daemon.start()
            daemon.docker.run("import", "-", "localhost/skyvern/empty:1", stdin=empty)
            yield daemon
        finally:
            daemon.stop()
            shutil.rmtree(run, ignore_errors=True)


def names(docker: Docker, kind: str, *flags: str) -> set[str]:
    form = "{{.Names}}" if kind == "container" else "{{.Name}}"
    return set(docker.run(kind, "ls", *flags, "--format", form).split()) - {"bridge", "host", "none"}


def test_what_another_state_left_is_removed_by_the_commands_of_the_line(daemon: lab.dockerd.Dockerd) -> None:
    """F04: a container on a network and with a volume, which Docker removes in this order only."""
    docker, labels = daemon.docker, ("--label", "skyvern.stack=dev", "--label", "skyvern.part=server")
    docker.run("network", "create", *labels, "skyvern-dev-data")
    docker.run("volume", "create", *labels, "skyvern-dev-postgres")
    held = ("--network=skyvern-dev-data", "--volume=skyvern-dev-postgres:/data", *PROGRAMS)
    docker.run("run", "--detach", "--name=skyvern-dev-server", *labels, *held, "localhost/skyvern/empty:1", "/bin/sleep", "600")
    docker.run("volume", "create", "another")
    with pytest.raises(UserError) as told:
        recovery.refuse_foreign(Stack("dev"), docker, {}, "file:///nowhere")
    commands = str(told.value).partition("or remove them: ")[2].split("; ")
    assert len(commands) == 3
    for command in commands:
        subprocess.run(shlex.split(command.removeprefix("with all its data, ")), check=True, capture_output=True)
    recovery.refuse_foreign(Stack("dev"), docker, {}, "file:///nowhere")
    assert names(docker, "container", "--all") == names(docker, "network") == set()
    assert names(docker, "volume") == {"another"}


def test_space_is_made_without_the_volumes(daemon: lab.dockerd.Dockerd) -> None:
    """doctor, on a full disk: ``docker system prune`` as it is named there, and as it is not."""
    docker = daemon.docker
    docker.run("volume", "create", "skyvern-dev-postgres")
    docker.run("create", "--name=ended", *PROGRAMS, "localhost/skyvern/empty:1", "/bin/true")
    docker.run("system", "prune", "--force")
    assert names(docker, "container", "--all") == set()
    assert names(docker, "volume") == {"skyvern-dev-postgres"}


def test_what_containers_send_is_forwarded_again(daemon: lab.dockerd.Dockerd) -> None:
    """F06: smoke's and doctor's line where no connection is made."""
    docker = daemon.docker
    docker.run("network", "create", "egress")

    def reaches() -> bool:
        """A name server behind this network's own way out."""
        ask = ("/bin/bash", "-c", f"exec 3<> /dev/tcp/{RESOLVER}/53")
        command = docker.command("run", "--rm", "--network=egress", *PROGRAMS, "localhost/skyvern/empty:1", "timeout", "5", *ask)
        return subprocess.run(command, env=docker.environment(), capture_output=True, check=False).returncode == 0

    forwarding = Path("/proc/sys/net/ipv4/ip_forward")
    assert reaches()
    forwarding.write_text("0\n")
    assert not reaches()
    failure = internet.failure([internet.Answer(host="example.com", step="connect")])
    assert failure is not None
    command = re.search(r"\(sudo (sysctl -w \S+), then restart Docker\)", failure.cure)
    assert command, failure.cure
    subprocess.run(shlex.split(command[1]), check=True, capture_output=True)
    assert forwarding.read_text() == "1\n"
    daemon.stop()
    daemon.start()
    assert reaches()


def test_a_restart_of_docker_brings_its_own_rules_back(daemon: lab.dockerd.Dockerd) -> None:
    """doctor: after a flush, the walls between networks are gone until Docker is started again."""
    networks = ("one", "two")
    bridges = [f"br-{daemon.docker.run('network', 'create', name)[:12]}" for name in networks]

    def lost() -> bool:
        listing = subprocess.run(["nft", "--stateless", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
        return isolation.rules_lost(f"{listing}legacy:", bridges)

    assert not lost()
    subprocess.run(["iptables", "--flush"], check=True)
    assert lost()
    # sudo systemctl restart docker; no systemd here.
    daemon.stop()
    daemon.start()
    assert not lost()


def test_a_command_without_a_daemon_leads_to_one(daemon: lab.dockerd.Dockerd) -> None:
    """Each command of a working day names ops doctor, and that names the daemon to start."""
    docker = daemon.docker
    daemon.stop()
    try:
        with pytest.raises(UserError, match=rf"^Docker: no daemon answers at {docker.host}; bin/ops doctor says what to do$"):
            docker.run("ps")
        seen = replace(HEALTHY, docker_host=docker.host, daemon=observe_daemon(docker.host), daemon_facts=None, host=None)
        (finding,) = [finding for finding in examine(seen) if finding.check == "docker"]
        assert finding.fix.startswith("start that daemon")
    finally:
        daemon.start()
    docker.run("ps")


def test_a_folder_in_place_of_the_socket_is_removed(daemon: lab.dockerd.Dockerd) -> None:
    """As Docker makes it for a container that was to have the socket while no daemon ran."""
    host = daemon.docker.host
    path = Path(host.removeprefix("unix://"))
    daemon.stop()
    path.unlink(missing_ok=True)
    path.mkdir()
    assert observe_daemon(host) is Daemon.NO_SOCKET
    command = re.fullmatch(r"run: sudo (rmdir \S+) && sudo systemctl restart docker", without_socket(DEFAULT_SOCKET))
    assert command
    subprocess.run([*command[1].replace("/var/run/docker.sock", str(path)).split()], check=True)
    daemon.start()
    assert observe_daemon(host) is Daemon.ANSWERS


# A user beside this machine's, in a /etc of this mount namespace: what the command changes is gone with it.
_AS_SOMEONE = """
work=$1 host=$2
mount -t overlay -o "lowerdir=/etc,upperdir=$work/upper,workdir=$work/work" overlay /etc
useradd --no-create-home someone
export HOME=/nonexistent
ask() { setpriv --reuid someone --regid someone --init-groups --inh-caps=-all docker --host "$host" version; }
ask && exit 1
USER=someone
sudo() { "$@"; }
eval "$3"
ask
"""


def test_a_user_gets_rights_on_docker(daemon: lab.dockerd.Dockerd, tmp_path: Path) -> None:
    """The command of script/up and of doctor. That it counts from the next login on is said there: each ``setpriv`` is one."""
    host = daemon.docker.host
    with pytest.raises(UserError) as told:
        decide_docker(SOMEONE, host, Daemon.DENIED, dockerd=True)
    command = re.search(r"run `(sudo usermod -aG docker \$USER)`", str(told.value))
    assert command, told.value
    # As the package's own unit makes it.
    socket = Path(host.removeprefix("unix://"))
    os.chown(socket, 0, grp.getgrnam("docker").gr_gid)
    socket.chmod(0o660)
    socket.parent.chmod(0o755)
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    private = ("unshare", "--mount", "--propagation", "private", "bash", "-eu", "-c", _AS_SOMEONE)
    done = subprocess.run([*private, "someone", tmp_path, host, command[1]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "permission denied" in done.stderr
    assert "Server:" in done.stdout
