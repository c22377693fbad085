"""ops.machine.docker_faults: on a machine that is not fresh, a line with its cure (F19, F23, F37, F38, F39)."""

import shutil
import socket
from pathlib import Path

import pytest

from components.settings import HostSettings
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.images import build
from ops.machine import daemon, docker_faults
from ops.machine.daemon import DEFAULT_SOCKET, Daemon, decide_docker
from tests.support.home import DOCKER_ANSWERS, DOCKER_SILENT, SERVER, USER, Home

MESSAGES = {
    "F37 pull": (
        "docker: exit 1: Error response from daemon: toomanyrequests: You have reached your unauthenticated pull rate limit. "
        "https://www.docker.com/increase-rate-limit",
        "run docker login",
    ),
    "F37 build": (
        "ERROR: failed to solve: node:22: unexpected status from HEAD request: 429 Too Many Requests",
        "run docker login",
    ),
    "F37 requests": (
        "Error response from daemon: error parsing HTTP 429 response body: invalid character 'T' looking for beginning of value: "
        '"Too Many Requests (HAP429).\\n"',
        "run docker login",
    ),
    "F19": (
        'error getting credentials - err: exec: "docker-credential-desktop.exe": executable file not found in $PATH, out: ``',
        "config.json: credsStore or credHelpers names docker-credential-desktop.exe",
    ),
    "F39 raw": (
        "failed to set up container networking: driver failed programming external connectivity on endpoint x: Unable to enable "
        "DIRECT ACCESS FILTERING - DROP rule:  (iptables failed: iptables --wait -t raw -A PREROUTING -d 172.18.0.2 ! -i br-x -j "
        "DROP: iptables v1.8.10 (legacy): can't initialize iptables table `raw': Table does not exist (do you need to insmod?)",
        "sudo modprobe -a iptable_raw",
    ),
    "F39 nat": (
        "failed to start daemon: Error initializing network controller: error obtaining controller instance: failed "
        'to register "bridge" driver: failed to create NAT chain DOCKER: iptables failed: iptables -t nat -N DOCKER: '
        "can't initialize iptables table `nat': Table does not exist (do you need to insmod?)",
        "iptable_nat",
    ),
    # microsoft/WSL#6655: a kernel that has nf_tables and not what iptables asks of it.
    "F39 nft": (
        "failed to start daemon: Error initializing network controller: unable to add return rule in DOCKER-ISOLATION-STAGE-1 "
        "chain:  (iptables failed: iptables --wait -A DOCKER-ISOLATION-STAGE-1 -j RETURN: iptables "
        "v1.8.7 (nf_tables):  RULE_APPEND failed (No such file or directory): rule in chain DOCKER-ISOLATION-STAGE-1",
        "sudo update-alternatives --set iptables /usr/sbin/iptables-legacy",
    ),
    "F39 no nft": (
        "failed to create NAT chain DOCKER: iptables failed: iptables -t nat -N DOCKER: iptables/1.8.7 Failed to initialize nft: "
        "Protocol not supported",
        "sudo update-alternatives --set ip6tables /usr/sbin/ip6tables-legacy",
    ),
    "no iptables": (
        'failed to create NAT chain DOCKER: exec: "iptables": executable file not found in $PATH',
        "sudo apt-get install -y iptables",
    ),
}


@pytest.mark.parametrize(("message", "cure"), MESSAGES.values(), ids=MESSAGES)
def test_a_message_of_docker_has_its_cure(home: Home, message: str, cure: str) -> None:
    assert cure in docker_faults.cure(message)
    assert "\n" not in docker_faults.cure(message)


def test_any_other_message_stays_as_it_is() -> None:
    assert docker_faults.cure("Error response from daemon: No such container: x") == ""


def config(home: Home, text: str) -> Path:
    path = home.path / ".docker" / "config.json"
    path.parent.mkdir()
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"credsStore": "desktop.exe"}', "credsStore"),
        ('{"credHelpers": {"docker.io": "gone"}}', 'credHelpers "docker.io"'),
        (
            '{"credHelpers": {"https://index.docker.io/v1/": "gone"}, "credsStore": "there"}',
            'credHelpers "https://index.docker.io/v1/"',
        ),
    ],
)
def test_a_program_for_logins_that_is_gone_is_one_line_that_names_the_file(home: Home, text: str, key: str) -> None:
    """F19: Docker Desktop leaves it behind, and BuildKit's builds fail."""
    home.program("docker-credential-there", "true")
    path = config(home, text)
    with pytest.raises(UserError) as told:
        docker_faults.check_logins()
    assert str(told.value).startswith(f"{path}: {key} names docker-credential-")
    assert str(told.value).endswith("remove that line from the file")
    # The cure, followed.
    path.write_text('{"auths": {}}')
    docker_faults.check_logins()


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"auths": {"https://index.docker.io/v1/": {"auth": "eA=="}}}',
        '{"credsStore": "there"}',
        # Of a registry that nothing here asks, and docker asks only that of the registry.
        '{"credHelpers": {"gcr.io": "gcloud"}}',
        '{"credHelpers": {"docker.io": "there"}, "credsStore": "gone"}',
        '{"credHelpers": null, "credsStore": ""}',
    ],
)
def test_logins_that_work_are_no_finding(home: Home, text: str) -> None:
    home.program("docker-credential-there", "true")
    docker_faults.check_logins()
    config(home, text)
    docker_faults.check_logins()


@pytest.mark.parametrize(("text", "what"), [("{", "is not valid JSON"), ("[]", "is not a configuration of docker")])
def test_a_broken_file_of_dockers_is_one_line(home: Home, text: str, what: str) -> None:
    path = config(home, text)
    with pytest.raises(UserError, match=rf"^{path}: {what}.*move it away$"):
        docker_faults.check_logins()


def test_the_file_is_the_one_that_docker_reads(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config(home, '{"credsStore": "desktop"}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "other"))
    docker_faults.check_logins()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"credsStore": "wincred.exe"}')
    with pytest.raises(UserError, match=r"other/config\.json: credsStore names docker-credential-wincred\.exe"):
        docker_faults.check_logins()


def test_it_is_looked_at_only_where_something_has_to_be_pulled_or_built(home: Home) -> None:
    """A stack with every image present needs no login."""
    config(home, '{"credsStore": "desktop.exe"}')
    home.program("docker", "echo sha256:1")
    docker = Docker("unix:///nowhere.sock")
    build.build(docker, "packages", home.say, host=HostSettings())
    home.program("docker", "true")
    with pytest.raises(UserError, match="credsStore names"):
        build.build(docker, "packages", home.say, host=HostSettings())


def test_a_pull_limit_names_the_image_and_the_log(home: Home) -> None:
    """F37: the raw message said "increase your limit", and nothing of what is kept."""
    home.program("docker", f"[[ $3 == pull ]] && {{ echo '{MESSAGES['F37 pull'][0]}' >&2; exit 1; }}; true")
    with pytest.raises(
        UserError, match=r"^image postgres: the registry's limit of pulls .*run docker login .*\(log: .*postgres\.log\)$"
    ):
        build.build(Docker("unix:///x"), "official", home.say, missing=["postgres"], host=HostSettings())


@pytest.mark.parametrize("how", ["folder", "link"])
def test_the_snap_of_docker_is_refused_with_a_cure_that_keeps_its_data(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """F23: "path … not found", because it sees neither /tmp nor hidden folders."""
    snap = home.program("snap", DOCKER_ANSWERS)
    if how == "link":
        (home.bin / "docker").symlink_to(snap)
    else:
        monkeypatch.setattr(shutil, "which", lambda name: f"/snap/bin/{name}")
    with pytest.raises(UserError, match=r"^Docker: .*docker is of the snap package.*sudo snap disable docker \(its data stays\)"):
        daemon.ensure_docker(DEFAULT_SOCKET, home.say, USER)


def test_a_rootless_daemon_is_named_with_its_address(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """F38: DOCKER_HOST leads to it, and the line advised to start another one."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home.path))
    assert docker_faults.rootless_socket() == ""
    address = f"unix://{home.path}/docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home.path / "docker.sock"))
    assert docker_faults.rootless_socket() == address
    home.program("docker", DOCKER_SILENT)
    with pytest.raises(UserError, match=rf"write host\.docker_host: {address} and, .*host\.firewall: false into the stack file"):
        daemon.ensure_docker(DEFAULT_SOCKET, home.say, USER)
    # Written there, it is the daemon of the stack.
    home.program("docker", DOCKER_ANSWERS)
    daemon.ensure_docker(address, home.say, USER)


def test_a_daemon_that_remaps_users_is_refused_before_anything_is_built(home: Home) -> None:
    """The first build of an image failed: "cannot share the host's network namespace when user namespaces are enabled"."""
    home.program("docker", """[[ $3 == info ]] && echo '["name=seccomp,profile=default","name=userns"]' || echo 28.0.1""")
    with pytest.raises(UserError) as told:
        daemon.ensure_docker(DEFAULT_SOCKET, home.say, USER)
    assert str(told.value).startswith(f"Docker: the daemon at {DEFAULT_SOCKET} gives containers other users than the host's")
    assert 'take "userns-remap" out of /etc/docker/daemon.json, then run: sudo systemctl restart docker' in str(told.value)


def test_root_still_gets_a_daemon_of_its_own() -> None:
    step = decide_docker(SERVER, DEFAULT_SOCKET, Daemon.SILENT, dockerd=True, rootless="unix:///run/user/0/docker.sock")
    assert step is daemon.DockerStep.START


def test_what_docker_noted_on_a_container_that_did_not_start(home: Home) -> None:
    """F39: Pulumi's message is a page long; Docker keeps it with the container."""
    error = MESSAGES["F39 raw"][0].replace("`", "")
    home.program("docker", f'[[ $3 == ps ]] && echo abc; [[ $3 == inspect ]] && echo "{error}"; true')
    assert "iptable_raw" in docker_faults.of_containers(Docker("unix:///x"), "dev")
    home.program("docker", "exit 1")
    assert docker_faults.of_containers(Docker("unix:///x"), "dev") == ""
