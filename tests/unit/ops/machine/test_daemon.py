"""ops.machine.daemon: who gets a Docker daemon and how, with doubles for docker, apt, systemd and dockerd."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ops.errors import UserError
from ops.machine import daemon
from ops.machine.daemon import DEFAULT_SOCKET, Daemon, DockerStep, decide_docker
from ops.machine.system import Machine
from tests.support.home import DOCKER_ANSWERS, DOCKER_DENIED, DOCKER_SILENT, SERVER, USER, Home

WSL_USER = Machine(root=False, debian=True, wsl=2, systemd=False)


def test_a_daemon_that_answers_is_left_alone() -> None:
    for machine in (SERVER, USER, WSL_USER):
        assert decide_docker(machine, DEFAULT_SOCKET, Daemon.ANSWERS, dockerd=False) is DockerStep.NOTHING


@pytest.mark.parametrize(
    ("observed", "dockerd", "step"),
    [
        (Daemon.SILENT, True, DockerStep.START),
        (Daemon.SILENT, False, DockerStep.INSTALL),
        (Daemon.NO_CLI, False, DockerStep.INSTALL),
        (Daemon.NO_CLI, True, DockerStep.INSTALL),
    ],
)
def test_root_on_debian_gets_docker(observed: Daemon, dockerd: bool, step: DockerStep) -> None:
    assert decide_docker(SERVER, DEFAULT_SOCKET, observed, dockerd=dockerd) is step


@pytest.mark.parametrize(
    ("machine", "host", "observed", "dockerd", "remedy"),
    [
        (USER, DEFAULT_SOCKET, Daemon.DENIED, True, "sudo usermod -aG docker $USER"),
        (USER, DEFAULT_SOCKET, Daemon.SILENT, True, "sudo systemctl start docker"),
        (USER, DEFAULT_SOCKET, Daemon.SILENT, False, "sudo apt-get install docker.io"),
        (WSL_USER, DEFAULT_SOCKET, Daemon.SILENT, False, "Docker Desktop -> Settings -> Resources -> WSL integration"),
        (WSL_USER, DEFAULT_SOCKET, Daemon.NO_CLI, False, "run script/up as root to install Docker inside WSL"),
        (SERVER, "unix:///run/other.sock", Daemon.SILENT, True, "host.docker_host"),
        (SERVER, "ssh://deploy@h.example:2222", Daemon.SILENT, True, "`ssh deploy@h.example -p 2222 docker version`"),
        # sshd refused the key: not a matter of this machine's docker group.
        (USER, "ssh://deploy@h.example", Daemon.DENIED, True, "`ssh deploy@h.example docker version`"),
        (Machine(root=True, debian=False, wsl=0, systemd=True), DEFAULT_SOCKET, Daemon.SILENT, False, "docs.docker.com"),
    ],
)
def test_a_machine_that_cannot_get_docker_gets_one_line(
    machine: Machine, host: str, observed: Daemon, dockerd: bool, remedy: str
) -> None:
    with pytest.raises(UserError) as refused:
        decide_docker(machine, host, observed, dockerd=dockerd)
    assert str(refused.value).startswith("Docker: ")
    assert remedy in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (DOCKER_ANSWERS, Daemon.ANSWERS),
        (DOCKER_SILENT, Daemon.SILENT),
        (DOCKER_DENIED, Daemon.DENIED),
        # Podman's own command as docker, and Docker's on Podman's socket.
        ("echo 'Emulate Docker CLI using podman. Create /etc/containers/nodocker to quiet msg.' >&2; exit 125", Daemon.PODMAN),
        ("""echo '{"Version":"4.3.1","Components":[{"Name":"Podman Engine","Version":"4.3.1"}]}'""", Daemon.PODMAN),
        (None, Daemon.NO_CLI),
    ],
)
def test_how_the_daemon_answers(home: Home, body: str | None, expected: Daemon) -> None:
    if body is not None:
        home.program("docker", body)
    assert daemon.observe_daemon("unix:///run/x.sock") is expected
    if body is not None:
        assert home.calls("docker") == ["--host unix:///run/x.sock version --format {{json .Server}}"]


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_what_is_no_socket_is_not_a_matter_of_rights(home: Home, tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Docker makes a folder there for a container that was to have the socket; `usermod` was the advice, and helps nobody."""
    home.program("docker", DOCKER_DENIED)
    make(tmp_path / "docker.sock")
    assert daemon.observe_daemon(f"unix://{tmp_path}/docker.sock") is Daemon.NO_SOCKET


def test_podman_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"^Docker: what answers at unix:///x is Podman, .*; install Docker Engine"):
        decide_docker(SERVER, "unix:///x", Daemon.PODMAN, dockerd=False)


def test_a_folder_in_place_of_a_socket_is_one_line() -> None:
    with pytest.raises(UserError, match=r"is not a socket; run: sudo rmdir /var/run/docker\.sock && sudo systemctl restart"):
        decide_docker(SERVER, DEFAULT_SOCKET, Daemon.NO_SOCKET, dockerd=True)
    with pytest.raises(UserError, match=r"is not a socket; correct host\.docker_host"):
        decide_docker(SERVER, "unix:///run/x", Daemon.NO_SOCKET, dockerd=True)


def test_an_ambient_docker_host_does_not_choose_the_daemon(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:2375")
    home.program("docker", '[[ -z ${DOCKER_HOST:-} ]] && echo 28.0.1 || { echo "went to $DOCKER_HOST" >&2; exit 1; }')
    assert daemon.observe_daemon(DEFAULT_SOCKET) is Daemon.ANSWERS


def test_docker_is_installed_and_started_with_systemd(home: Home) -> None:
    started = home.path / "started"
    answer = f"[[ -e {started} ]] && echo 28.0.1 || exit 1"
    script = home.path / "docker-script"
    script.write_text(f"#!/bin/bash\n{answer}\n")
    script.chmod(0o755)
    # apt brings the command; systemd brings the daemon.
    home.program("apt-get", f'[[ "$*" == *docker.io* ]] && cat {script} > {home.bin}/docker && chmod +x {home.bin}/docker; true')
    home.program("systemctl", f"touch {started}")
    daemon.ensure_docker(DEFAULT_SOCKET, home.say, SERVER)
    assert home.calls("apt-get") == [
        "update -q",
        "install -y -q --no-install-recommends docker.io iptables ca-certificates",
    ]
    assert home.calls("systemctl") == ["enable --now docker"]
    assert home.lines[-1] == f"Docker answers at {DEFAULT_SOCKET}"


def test_debian_13_packs_the_docker_command_by_itself(home: Home) -> None:
    script = home.path / "docker-script"
    script.write_text(f"#!/bin/bash\n{DOCKER_ANSWERS}\n")
    script.chmod(0o755)
    home.program("apt-get", f'[[ "$*" == *docker-cli* ]] && cat {script} > {home.bin}/docker && chmod +x {home.bin}/docker; true')
    daemon.ensure_docker(DEFAULT_SOCKET, home.say, SERVER)
    assert home.calls("apt-get")[-1] == "install -y -q --no-install-recommends docker-cli"


def test_without_systemd_dockerd_runs_in_the_background_with_a_named_log(home: Home) -> None:
    ready = home.path / "ready"
    home.program("docker", f"[[ -e {ready} ]] && echo 20.10 || exit 1")
    home.program("dockerd", f"echo session $(cut -d ' ' -f 6 /proc/$$/stat) of $$; touch {ready}; sleep 2")
    daemon.ensure_docker(DEFAULT_SOCKET, home.say, Machine(root=True, debian=True, wsl=2, systemd=False))
    assert home.calls("dockerd") == [f"--host {DEFAULT_SOCKET}"]
    # Leader of a session of its own, so that neither Ctrl-C nor the end of the terminal reaches it.
    started = re.fullmatch(r"session (\d+) of (\d+)\n", daemon.DOCKERD_LOG.read_text())
    assert started is not None
    assert started[1] == started[2]
    assert any(str(daemon.DOCKERD_LOG) in line for line in home.lines)


def test_a_dockerd_that_stops_is_reported_with_its_last_line(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "START_SECONDS", 2.0)
    home.program("docker", DOCKER_SILENT)
    home.program("dockerd", "echo 'Devices cgroup is not mounted'; exit 1")
    with pytest.raises(UserError, match=r"^Docker: dockerd stopped with exit 1: Devices cgroup is not mounted; see "):
        daemon.ensure_docker(DEFAULT_SOCKET, home.say, Machine(root=True, debian=True, wsl=0, systemd=False))


NO_NAT = """\
failed to start daemon: Error initializing network controller: failed to create NAT chain DOCKER: iptables failed: \
iptables --wait -t nat -N DOCKER: iptables v1.8.9 (legacy): can't initialize iptables table \\`nat': Table does not exist
Perhaps iptables or your kernel needs to be upgraded.
 (exit status 3)"""


def test_a_dockerd_that_names_its_reason_is_reported_with_it_and_the_cure(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """F39: iptables' own lines come behind it, so the last one was " (exit status 3)"."""
    monkeypatch.setattr(daemon, "START_SECONDS", 2.0)
    home.program("docker", DOCKER_SILENT)
    home.program("dockerd", f'echo "{NO_NAT}"; exit 1')
    machine = Machine(root=True, debian=True, wsl=0, systemd=False)
    with pytest.raises(UserError, match=r"^Docker: dockerd stopped with exit 1: failed to start daemon: .*run: sudo modprobe "):
        daemon.ensure_docker(DEFAULT_SOCKET, home.say, machine)
    # What is in the log from then is not the reason of now.
    home.program("dockerd", "echo 'Devices cgroup is not mounted'; exit 1")
    with pytest.raises(UserError, match=r"^Docker: dockerd stopped with exit 1: Devices cgroup is not mounted; see "):
        daemon.ensure_docker(DEFAULT_SOCKET, home.say, machine)


def test_a_dockerd_that_stops_under_systemd_is_reported_from_its_journal(home: Home) -> None:
    """F39: systemctl says no more than that there is a journal."""
    home.program("docker", DOCKER_SILENT)
    home.program("dockerd", "")
    home.program("systemctl", "echo 'Job for docker.service failed.' >&2; exit 1")
    home.program("journalctl", f'echo "{NO_NAT}"; echo "docker.service: Failed with result exit-code."')
    with pytest.raises(
        UserError, match=r"^Docker: systemctl: exit 1: Job .*; failed to start daemon: .* run: sudo modprobe -a "
    ) as told:
        daemon.ensure_docker(DEFAULT_SOCKET, home.say, SERVER)
    assert "\n" not in str(told.value)
    home.program("journalctl", "echo 'unable to configure the Docker daemon with file /etc/docker/daemon.json'")
    with pytest.raises(UserError, match=r"daemon\.json; see journalctl -u docker$"):
        daemon.ensure_docker(DEFAULT_SOCKET, home.say, SERVER)
