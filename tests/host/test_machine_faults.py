"""A machine that is not fresh: locked apt, a registry's limit, a rootless daemon, a kernel without tables (F22, F37 to F39).

Each test breaks the machine, reads the line that a person reads, follows its cure to the end, and sees that it helps. What a test
cannot break is said there. Not here: Docker of the snap (F23), for want of snapd in a container; what such a docker looks like is
in tests/unit/ops/machine/test_docker_faults.py.
"""

import base64
import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import IO

import pytest

import lab.dockerd
from components.host import images
from components.settings import HostSettings
from lab import loopback
from lab.own_network import own_network
from lab.workspace import copy_checkout
from ops import shell
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.images import build, needs
from ops.machine import daemon as machine_daemon
from ops.machine import docker_faults, system
from ops.machine.daemon import Daemon
from ops.machine.system import Machine
from ops.observe import isolation
from ops.observe.doctor import observation
from tests.host import docker_newest
from tests.support import debian, messages
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(3600)

NO_SYSTEMD = Machine(root=True, debian=True, wsl=0, systemd=False)
USER = Machine(root=False, debian=True, wsl=0, systemd=False)


def program(folder: Path, name: str, body: str) -> Path:
    """A bash script that stands on PATH before the machine's own program."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/bash\n{body}\n")
    file.chmod(0o755)
    return file


def command_in(line: str, end: str) -> str:
    """The command that a line gives, up to what follows it there."""
    found = re.search(rf"run: (.*?)(?:{end})", line)
    assert found, line
    return found[1]


def tiny_image(docker: Docker) -> str:
    """An image that runs: the init that Docker brings, which is one static file."""
    init = Path(shutil.which("docker-init") or "/usr/libexec/docker/docker-init").resolve()
    with io.BytesIO() as archive:
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(init, "/init")
        return docker.run("import", "-", "localhost/skyvern/tiny:1", stdin=archive.getvalue()).strip()


# --- A registry's limit of pulls (F37) -------------------------------------------------------------------------------------

# Docker Hub's own answers: to an address that has pulled a hundred images, and to one that asks too fast.
REFUSALS = {
    "pulls": (
        "application/json",
        b'{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your unauthenticated pull rate limit. '
        b'https://www.docker.com/increase-rate-limit"}]}\n',
    ),
    "requests": ("text/plain", b"Too Many Requests (HAP429).\n"),
}
LOGIN = base64.b64encode(b"someone:a-token").decode()


def blobs(architecture: str) -> tuple[bytes, dict[str, bytes]]:
    """A manifest, and what it names by digest: an image of one file."""
    with io.BytesIO() as archive:
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("empty"))
        layer = archive.getvalue()
    digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = {"architecture": architecture, "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [digest]}}
    parts = {"container.image.v1+json": json.dumps(config).encode(), "image.rootfs.diff.tar.gzip": gzip.compress(layer, mtime=0)}
    described = [
        {"mediaType": f"application/vnd.docker.{kind}", "size": len(blob), "digest": f"sha256:{hashlib.sha256(blob).hexdigest()}"}
        for kind, blob in parts.items()
    ]
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": described[0],
        "layers": described[1:],
    }
    named = {str(one["digest"]): blob for one, blob in zip(described, parts.values(), strict=True)}
    return json.dumps(document).encode(), named


def hub(refusal: tuple[str, bytes], architecture: str) -> type[BaseHTTPRequestHandler]:
    """Docker Hub as far as it counts: tokens for everyone, and a manifest for who has logged in."""
    manifest, named = blobs(architecture)

    class Hub(loopback.Handler):
        def do_GET(self) -> None:
            authorization = self.headers.get("authorization", "")
            if self.path.startswith("/token"):
                known = authorization == f"Basic {LOGIN}"
                who = "person" if known else "anonymous"
                self.answer(401 if authorization and not known else 200, json.dumps({"token": who}).encode())
            elif not authorization.startswith("Bearer "):
                self.answer(401, b"{}")
            elif self.path == "/v2/":
                self.answer(200, b"{}")
            elif "/manifests/" in self.path:
                if authorization == "Bearer person":
                    self.answer(200, manifest, "application/vnd.docker.distribution.manifest.v2+json")
                else:
                    self.answer(429, refusal[1], refusal[0])
            else:
                self.answer(200, named[self.path.rpartition("/")[2]], "application/octet-stream")

        do_HEAD = do_GET

        def do_POST(self) -> None:
            """Tokens of OAuth, which Docker's programs do without."""
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.answer(404, b"{}")

        def answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            if status == 401:
                realm = f"http://{self.headers['host']}/token"
                self.send_header("www-authenticate", f'Bearer realm="{realm}",service="hub",scope="repository:library/x:pull"')
            if status == 200 and "/manifests/" in self.path:
                self.send_header("docker-content-digest", f"sha256:{hashlib.sha256(manifest).hexdigest()}")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Hub


def use_builder(builder: str, docker: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has ``docker build`` use the classic builder or BuildKit, whichever of the two the machine's own docker would take."""
    if builder == "classic":
        monkeypatch.setattr(build, "has_buildkit", lambda *_: False)
    elif not build.has_buildkit(docker.command(), docker.environment()):
        pytest.skip("BuildKit needs docker's plugin buildx, or Debian 12's docker, which script/test puts first on PATH")


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("how", ["pull", "classic", "BuildKit"])
def test_the_limit_of_a_registry_is_over_with_a_login(
    daemon: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, refusal: str
) -> None:
    """F37. ``docker login`` without a name is for Docker Hub; here, for a registry that answers as Docker Hub does."""
    image = "postgres" if how == "pull" else "egress"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    for name, text in {"Dockerfile": "ARG DEBIAN\nFROM ${DEBIAN}\nCOPY Dockerfile /\n", "refreshed.txt": "2026-01-01\n"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(images, "context_files", lambda _: [(name, tmp_path / name) for name in ("Dockerfile", "refreshed.txt")])
    if how != "pull":
        use_builder(how, daemon, monkeypatch)
    architecture = daemon.run("version", "--format", "{{.Server.Arch}}").strip()
    with loopback.serving(hub(REFUSALS[refusal], architecture)) as port:
        public = {name: f"127.0.0.1:{port}/library/{name}:17" for name in ("postgres", "debian")}
        references = {**public, "egress": f"localhost/skyvern/egress:limited-{port}"}
        monkeypatch.setattr(images, "OFFICIAL", public)
        monkeypatch.setattr(images, "references", lambda _: references)

        def make() -> None:
            build.build(daemon, "official", lambda line: None, missing=[image], host=HostSettings())

        with pytest.raises(UserError) as told:
            make()
        assert re.fullmatch(
            rf"image {image}: the registry's limit of pulls is reached for this address; run docker login .*\(log: .*\)",
            str(told.value),
        )
        # The cure, followed.
        login = daemon.command("login", "--username", "someone", "--password-stdin", f"127.0.0.1:{port}")
        subprocess.run(login, env=daemon.environment(), input=b"a-token", capture_output=True, check=True)
        make()
        assert needs.present(daemon, references[image])
        for reference in references.values():
            if needs.present(daemon, reference):
                daemon.run("image", "rm", reference)


# --- A kernel without tables of iptables (F39) -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Kernel:
    """What this machine's kernel lacks by its ``iptables``. bin: programs that stand before the machine's own.

    The kernel's modules are not the tests' to load and unload: ``iptables`` stands in for a kernel without a table, in the words
    of Debian's program about one that no kernel has, and ``modprobe`` for the kernel getting it.
    """

    bin: Path
    etc: Path

    @property
    def loaded(self) -> str:
        """What the cure leaves for the next start of the machine."""
        file = self.etc / "etc/modules-load.d/docker.conf"
        return file.read_text() if file.exists() else ""

    def follow(self, line: str) -> list[str]:
        """Runs the command of a line of ours; gives the services that it restarted."""
        restarted = self.etc / "restarted"
        restarted.write_text("")
        command = command_in(line, r" \(in WSL: wsl --update and wsl --shutdown in Windows\)")
        env = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}"}
        subprocess.run(["bash", "-euo", "pipefail", "-c", command], env=env, check=True, capture_output=True)
        return restarted.read_text().split()


# nf_tables is a table here, too: all tables, as the newer kind of iptables sees such a kernel.
_IPTABLES = """
if grep --quiet nf_tables {lacks}; then
  echo "iptables/1.8.9 Failed to initialize nft: Protocol not supported" >&2
  exit 1
fi
for table in $(cat {lacks}); do
  for argument; do
    if [[ $argument == "$table" ]]; then
      {legacy} "${{@/#$table/no_such}}" 2>&1 | sed "s/no_such/$table/" >&2
      exit "${{PIPESTATUS[0]}}"
    fi
  done
done
exec {iptables} "$@"
"""


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Kernel]]:
    """A function that takes a table of iptables from this machine's programs."""
    legacy, iptables = shutil.which("iptables-legacy"), shutil.which("iptables")
    assert legacy is not None
    assert iptables is not None
    folder, lacks, etc = tmp_path / "bin", tmp_path / "lacks", tmp_path / "root"
    (etc / "etc/modules-load.d").mkdir(parents=True)
    program(folder, "iptables", _IPTABLES.format(lacks=lacks, legacy=legacy, iptables=iptables))
    # Of files below /etc, the tests' own.
    program(folder, "sudo", f'if [[ $1 == tee ]]; then exec tee "{etc}$2"; fi\nexec "$@"')
    program(folder, "modprobe", f'[[ $1 == -a ]]\nfor module in "${{@:2}}"; do sed -i "s/^${{module#iptable_}}$//" {lacks}; done')
    program(folder, "update-alternatives", f"[[ $1 == --set && $3 == /usr/sbin/*-legacy ]]\n[[ $2 != iptables ]] || : > {lacks}")
    # No systemd here: the test restarts the daemon itself.
    program(folder, "systemctl", f'[[ $1 == restart ]] && echo "$2" >> {etc}/restarted')
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def without(table: str) -> Kernel:
        lacks.write_text(f"{table}\n")
        return Kernel(folder, etc)

    with own_network():
        yield without


@pytest.fixture
def run_folder() -> Iterator[Path]:
    """Short, because the path of a socket has 107 bytes at most."""
    folder = Path("/run") / f"skyvern-faults-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def stop(pid_file: Path) -> None:
    """Ends a daemon that this process has started."""
    if pid_file.exists():
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("lacking", "words", "line_of_ours"),
    [
        (
            "nat",
            "can't initialize iptables table `nat'",
            "this kernel lacks a table that Docker's iptables need; run: sudo modprobe",
        ),
        (
            "nf_tables",
            "Failed to initialize nft",
            "this kernel has no nf_tables, by which iptables works here; run: sudo update-",
        ),
    ],
)
def test_a_daemon_without_a_table_of_the_kernel_starts_after_the_cure(
    kernel: Callable[[str], Kernel],
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lacking: str,
    words: str,
    line_of_ours: str,
) -> None:
    """F39, as script/up as root meets it: it starts the daemon, which ends at once."""
    machine = kernel(lacking)
    real = shutil.which("dockerd")
    # What keeps it apart from any other daemon of the machine.
    flags = f"--data-root={tmp_path / 'data'} --exec-root={run_folder} --pidfile={run_folder}/docker.pid --bridge=none"
    program(machine.bin, "dockerd", f'exec {real} {flags} "$@"')
    socket, log = f"unix://{run_folder}/docker.sock", tmp_path / "dockerd.log"
    monkeypatch.setattr(machine_daemon, "DEFAULT_SOCKET", socket)
    monkeypatch.setattr(machine_daemon, "DOCKERD_LOG", log)
    try:
        with pytest.raises(UserError) as told:
            machine_daemon.ensure_docker(socket, lambda line: None, NO_SYSTEMD)
        line = str(told.value)
        assert line.startswith("Docker: dockerd stopped with exit 1: failed to start daemon: ")
        assert words in line
        assert f"; {line_of_ours}" in line
        assert "\n" not in line
        assert machine.follow(line) == ["docker"]
        assert machine.loaded == ("iptable_raw\niptable_nat\niptable_filter\n" if lacking == "nat" else "")
        machine_daemon.ensure_docker(socket, lambda line: None, NO_SYSTEMD)
        docker = Docker(socket)
        docker.run("network", "create", "probe")
        docker.run("network", "rm", "probe")
    finally:
        stop(run_folder / "docker.pid")


@pytest.mark.nightly  # Docker 29 is built of its modules.
def test_a_container_without_the_table_raw_starts_after_the_cure(
    kernel: Callable[[str], Kernel], run_folder: Path, tmp_path: Path
) -> None:
    """F39, as it is on WSL: Docker from 28 on starts, and no container with a published port does."""
    runc = subprocess.run(["runc", "--version"], capture_output=True, text=True, check=True).stdout
    if tuple(map(int, re.findall(r"\d+", runc)[:2])) < (1, 2):
        pytest.skip(f"Docker 29 needs runc 1.2 or newer, as Debian 13 has it: {runc.splitlines()[0]}")
    machine = kernel("raw")
    daemon = lab.dockerd.Dockerd(
        *(run_folder, tmp_path / "data", tmp_path / "dockerd.log"),
        pool="10.216.0.0/16",
        # The machine's own docker-proxy may be of another version.
        program=(docker_newest.programs() / "dockerd", "--userland-proxy=false"),
    )
    docker = daemon.docker
    try:
        daemon.start()
        docker.run("network", "create", "probe")
        published = ("--network", "probe", "--publish", "127.0.0.1:18080:80", "--label", "skyvern.stack=dev")
        docker.run("create", "--name", "server", *published, tiny_image(docker), "/init", "--version")
        with pytest.raises(UserError, match="iptables or your kernel needs to be upgraded"):
            docker.run("start", "server")
        line = docker_faults.of_containers(docker, "dev")
        assert line.startswith("this kernel lacks a table that Docker's iptables need; run: sudo modprobe -a iptable_raw ")
        assert machine.follow(line) == ["docker"]
        daemon.stop()
        daemon.start()
        docker.run("start", "--attach", "server")
        assert docker_faults.of_containers(docker, "dev") == ""
    finally:
        daemon.stop()


# --- A rootless daemon (F38) -----------------------------------------------------------------------------------------------

# Of no one else on the machine; the range of its containers' users begins behind it.
UID = 641_000
# A user of this mount namespace, and a daemon as Debian's own script starts one. Not below /run, which that script covers.
_ROOTLESS = """
folder=$1 uid=$2
printf 'someone:x:%s:%s::%s:/bin/sh\\n' "$uid" "$uid" "$folder" | cat /etc/passwd - > "$folder/passwd"
printf 'someone:x:%s:\\n' "$uid" | cat /etc/group - > "$folder/group"
printf 'someone:%s:65536\\n' "$((uid + 1))" > "$folder/subid"
for pair in passwd:passwd group:group subid:subuid subid:subgid; do
  mount --bind "$folder/${pair%:*}" "/etc/${pair#*:}"
done
# As udev makes it; a container's own may be root's alone.
mknod -m 0666 "$folder/tun" c 10 200
mount --bind "$folder/tun" /dev/net/tun
unset DOCKER_HOST
export HOME="$folder/home" XDG_RUNTIME_DIR="$folder/run" PATH=/usr/sbin:/usr/bin:/sbin:/bin
# Docker's own packages have it on PATH, Debian's and Ubuntu's do not.
start=$(command -v dockerd-rootless.sh || echo /usr/share/docker.io/contrib/dockerd-rootless.sh)
exec setpriv --reuid "$uid" --regid "$uid" --clear-groups --inh-caps=-all \\
  sh "$start" --data-root "$HOME/data" --exec-root "$folder/run/docker" \\
  --pidfile "$folder/run/docker.pid"
"""


@pytest.fixture
def rootless(outside: Path, tmp_path: Path) -> Iterator[Path]:
    """The folder of a user with a rootless daemon; ``home`` and ``run`` are in it."""
    folder = Path("/srv") / f"skyvern-test-rootless-{os.getpid()}"
    folder.mkdir(mode=0o755)
    for name in ("home", "run"):
        (folder / name).mkdir(mode=0o700)
        os.chown(folder / name, UID, UID)
    log = tmp_path / "rootless.log"
    private = ("unshare", "--mount", "--propagation", "private", "sh", "-eu", "-c")
    command = [*private, _ROOTLESS, "rootless", str(folder), str(UID)]
    docker = Docker(f"unix://{folder}/run/docker.sock")
    with own_network():
        with log.open("wb") as sink:
            process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            wait_for(
                lambda: machine_daemon.observe_daemon(docker.host) is Daemon.ANSWERS or process.poll() is not None,
                lambda: log.read_text(errors="replace")[-3000:],
                seconds=60,
                pause=0.25,
            )
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            yield folder
        finally:
            process.terminate()
            process.wait(60)
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def as_user(uid: int) -> Iterator[None]:
    """This process is that user inside the block."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_rootless_daemon_is_used_after_the_cure(rootless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F38: its user's shell has DOCKER_HOST, as Docker's setup tool says, and the stack file has nothing."""
    address = f"unix://{rootless}/run/docker.sock"
    silent = f"unix://{rootless}/docker.sock"
    for name, value in {"HOME": f"{rootless}/home", "XDG_RUNTIME_DIR": f"{rootless}/run", "DOCKER_HOST": address}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    # This machine's own socket may be someone's.
    monkeypatch.setattr(machine_daemon, "DEFAULT_SOCKET", silent)
    with as_user(UID):
        with pytest.raises(UserError) as told:
            machine_daemon.ensure_docker(silent, lambda line: None, USER)
        line = str(told.value)
        written = re.search(r"write host\.docker_host: (\S+) and, .*, host\.firewall: (\S+) into the stack file", line)
        assert written, line
        # The cure, followed: what the stack file says then.
        host = HostSettings.model_validate({"docker_host": written[1], "firewall": written[2] == "true"})
        assert (host.docker_host, host.firewall) == (address, False)
        machine_daemon.ensure_docker(host.docker_host, lambda line: None, USER)
        docker = Docker(host.docker_host)
        assert docker_faults.is_rootless(docker)
        image = tiny_image(docker)
        hardened = ("--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges:true")
        assert "tini" in docker.run("run", "--rm", *hardened, image, "/init", "--version")
    shell.clean()
    assert shell.remark() == "not used from this shell: DOCKER_HOST (the stack file decides)"


# --- A daemon that gives containers other users, and one whose containers outlive it ------------------------------------------

# A range of users for an account that every Debian has, in this mount namespace alone.
_REMAPPED = 'mount --bind "$1" /etc/subuid && mount --bind "$1" /etc/subgid && shift && exec dockerd "$@"'


@pytest.fixture
def configured(outside: Path, run_folder: Path) -> Iterator[Callable[[dict[str, object]], Docker]]:
    """Starts a daemon with a daemon.json, or starts it again with another one."""
    # Not in tmp_path, which is closed to the users of containers.
    folder = Path("/srv") / f"skyvern-test-daemon-{os.getpid()}"
    folder.mkdir(mode=0o755)
    (folder / "subid").write_text("daemon:700000:65536\n")
    private = ("unshare", "--mount", "--propagation", "private", "sh", "-euc", _REMAPPED, "dockerd", folder / "subid")
    file = folder / "daemon.json"
    daemon = lab.dockerd.Dockerd(
        *(run_folder, folder / "data", folder / "log"),
        pool="10.216.0.0/16",
        program=(*private, f"--config-file={file}"),
    )

    def start(document: dict[str, object]) -> Docker:
        daemon.stop()
        file.write_text(json.dumps(document))
        daemon.start()
        return daemon.docker

    with own_network():
        try:
            yield start
        finally:
            with contextlib.suppress(UserError):
                if left := daemon.docker.run("ps", "--quiet").split():
                    daemon.docker.run("rm", "--force", *left)
            daemon.stop()
            shutil.rmtree(folder, ignore_errors=True)


def test_a_daemon_that_remaps_users_is_refused_and_used_after_the_cure(
    configured: Callable[[dict[str, object]], Docker],
) -> None:
    remapped: dict[str, object] = {"userns-remap": "daemon"}
    docker = configured(remapped)
    with pytest.raises(UserError) as told:
        machine_daemon.ensure_docker(docker.host, lambda line: None, USER)
    line = str(told.value)
    key = re.search(r'take "(\S+)" out of /etc/docker/daemon\.json, then run: sudo systemctl restart docker', line)
    assert key, line
    assert "\n" not in line
    assert observation.observe_daemon_facts(docker).remapped

    def build() -> str:
        dockerfile = b'FROM localhost/skyvern/tiny:1\nRUN ["/init", "--version"]\n'
        command = docker.command("build", "--network=host", "-")
        environment = {**docker.environment(), "DOCKER_BUILDKIT": "0"}
        done = subprocess.run(command, input=dockerfile, env=environment, capture_output=True, check=False)
        return done.stderr.decode() if done.returncode else ""

    # What it would have come to, minutes later.
    tiny_image(docker)
    assert "cannot share the host's network namespace when user namespaces are enabled" in build()
    del remapped[key[1]]
    configured(remapped)
    machine_daemon.ensure_docker(docker.host, lambda line: None, USER)
    tiny_image(docker)
    assert build() == ""


def test_what_runs_goes_on_while_a_daemon_with_live_restore_restarts(
    configured: Callable[[dict[str, object]], Docker],
) -> None:
    """doctor's cure for lost rules, which is a restart of Docker, helps there too, and no container ends for it."""
    docker = configured({"live-restore": True})
    machine_daemon.ensure_docker(docker.host, lambda line: None, USER)
    bridges = [f"br-{docker.run('network', 'create', name)[:12]}" for name in ("one", "two")]
    folders = [f"--volume={folder}:{folder}:ro" for folder in ("/usr", "/bin", "/lib", "/lib64") if Path(folder).exists()]
    tiny_image(docker)
    docker.run("run", "--detach", "--name=kept", "--network=one", *folders, "localhost/skyvern/tiny:1", "/bin/sleep", "600")

    def lost() -> bool:
        listing = subprocess.run(["nft", "--stateless", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
        return isolation.rules_lost(f"{listing}legacy:", bridges)

    process = docker.run("inspect", "--format", "{{.State.Pid}}", "kept")
    assert not lost()
    subprocess.run(["iptables", "--flush"], check=True)
    assert lost()
    configured({"live-restore": True})
    assert not lost()
    assert docker.run("inspect", "--format", "{{.State.Pid}}", "kept") == process


# --- apt, which another program uses (F22) ---------------------------------------------------------------------------------

LOCKS = {
    "frontend": "/var/lib/dpkg/lock-frontend",
    "administration": "/var/lib/dpkg/lock",
    "lists": "/var/lib/apt/lists/lock",
    "archives": "/var/cache/apt/archives/lock",
}
# As apt and dpkg hold theirs. Under the name by which ps shows a fresh server's own update.
_HOLDER = """\
#!/usr/bin/python3
import fcntl, sys
files = [open(path, "w") for path in sys.argv[1:]]
for file in files:
    fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class FreshMachine:
    """A Debian without Python's venv, with a checkout of the project; what it changes is gone afterwards."""

    root: Path
    environment: Mapping[str, str]

    def start(self, *command: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """A command there, in the checkout."""
        inside = ["chroot", str(self.root), "env", "-i", *(f"{name}={value}" for name, value in self.environment.items())]
        inside += ["bash", "-c", 'cd /srv/skyvern && exec "$@"', "bash", *command]
        return subprocess.Popen(inside, text=True, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def run(self, *command: str) -> str:
        """What a command there prints, whatever its exit code."""
        return self.start(*command).communicate(timeout=600)[0]

    @contextlib.contextmanager
    def locked(self, *locks: str) -> Iterator[subprocess.Popen[str]]:
        """Another program of the machine holds these locks, at most until the end of the block."""
        with self.start("/usr/local/sbin/unattended-upgr", *(LOCKS[lock] for lock in locks), stdin=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            try:
                yield holder
            finally:
                end(holder)


def end(holder: subprocess.Popen[str]) -> None:
    assert holder.stdin is not None
    holder.stdin.close()
    holder.wait(10)


def read_until(stream: IO[str], words: str, seconds: float = 300) -> str:
    """The lines of a program up to one with these words; AssertionError with the lines if it ends or takes too long."""
    lines, until = "", time.monotonic() + seconds
    while time.monotonic() < until:
        if not select.select([stream], [], [], 1)[0]:
            continue
        line = stream.readline()
        lines += line
        if words in line:
            return lines
        if not line:
            break
    raise AssertionError(f"no line with {words!r} in:\n{lines}")


@pytest.fixture
def fresh_machine(outside: Path, tmp_path: Path) -> Iterator[FreshMachine]:
    tree = debian.tree("fresh", lambda folder: debian.debootstrap("bookworm", folder, "python3", "ca-certificates", "procps"))
    upper, work, root = (tmp_path / name for name in ("upper", "work", "root"))
    for folder in (upper, work, root):
        folder.mkdir()
    options = f"lowerdir={tree},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", root], check=True)
    try:
        subprocess.run(["mount", "-t", "proc", "proc", root / "proc"], check=True)
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        # A company's certificates, which this machine may need on the way to PyPI.
        bundle = build.certificate_bundle() or build.SYSTEM_BUNDLE
        shutil.copy(bundle, root / "etc/ssl/certs/ca-certificates.crt")
        copy_checkout(root / "srv/skyvern")
        holder = root / "usr/local/sbin/unattended-upgr"
        holder.write_text(_HOLDER)
        holder.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if name in build.PROXY_VARIABLES or name == "PIP_INDEX_URL"}
        search_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        yield FreshMachine(root, {**kept, "HOME": "/root", "PATH": search_path, "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt"})
    finally:
        for mounted in (root / "proc", root):
            subprocess.run(["umount", "--lazy", mounted], check=False)


@pytest.mark.nightly  # A debootstrap, and the project's own Python environment in it.
def test_apt_is_waited_for_while_a_fresh_server_updates_itself(fresh_machine: FreshMachine) -> None:
    """F22: both ways by which this project installs packages, and the line after ten minutes, which are one second here."""
    machine = fresh_machine
    with machine.locked(*LOCKS) as holder:
        bootstrap = machine.start("script/bootstrap", "--venv")
        assert bootstrap.stdout is not None
        waiting = read_until(
            bootstrap.stdout, "another program is using apt (a fresh server updates itself); waiting up to 10 min"
        )
        assert waiting.startswith("bootstrap: installing python3 python3-venv with apt\n")
        time.sleep(6)
        assert bootstrap.poll() is None
        end(holder)
        read_until(bootstrap.stdout, "bootstrap: making .venv with ")
        rest = bootstrap.communicate(timeout=1200)[0]
    assert bootstrap.returncode == 0, rest

    install = "from ops.machine import system; system.apt_install(['hello'], lambda line: print(line, flush=True))"
    python = (".venv/bin/python", "-c")
    for lock in LOCKS:
        with machine.locked(lock) as holder:
            installing = machine.start(*python, install)
            assert installing.stdout is not None
            read_until(installing.stdout, "another program is using apt (a fresh server updates itself): waiting, up to 10 min")
            end(holder)
            rest = installing.communicate(timeout=300)[0]
        assert installing.returncode == 0, f"{lock}: {rest}"
        assert "Status: install ok installed" in machine.run("dpkg", "--status", "hello")
        machine.run("apt-get", "purge", "-y", "-q", "hello")

    impatient = f"from ops.machine import system; system.APT_LOCK_SECONDS = 1; {install}"
    with machine.locked("frontend", "administration"):
        line = machine.run(*python, impatient).splitlines()[-1]
        assert "apt: another program holds its locks for more than" in line
        shown = re.search(r"wait until it has ended \((.*?)\), then run this again", line)
        assert shown, line
        # The cure, followed: the command shows which program it is.
        assert "unattended-upgr" in machine.run("bash", "-c", shown[1])
    assert "another program" not in machine.run(*python, impatient)
    assert "Status: install ok installed" in machine.run("dpkg", "--status", "hello")
    assert system.APT_LOCK_SECONDS == 600


# Message -> the program that its packages bring. That of script/bootstrap is its own test: Python with venv.
PACKAGES = {
    "ops/backups/kit.py": "gpg",
    "ops/machine/daemon.py": "docker",
    "ops/machine/docker_faults.py": "iptables",
    "ops/machine/engine.py": "curl",
    "script/bootstrap": "python3",
}


@pytest.mark.nightly  # A debootstrap.
def test_the_packages_of_a_message_bring_its_program(fresh_machine: FreshMachine) -> None:
    """Every ``apt-get install`` that a message names, on a machine that has nothing of it."""
    commands = {
        place: install[0]
        for place, text in messages.with_commands("ops", "script/bootstrap")
        if (install := re.search(r"apt-get install (?:-y )?[a-z0-9. -]+|apt-get install -y \$packages", text))
        # Behind another one, in the place of what is there.
        and "snap disable" not in text
    }
    assert set(commands) == set(PACKAGES)
    commands["script/bootstrap"] = "apt-get install -y python3 python3-venv"
    fresh_machine.run("apt-get", "update", "-q")
    # Nothing may start a service in there.
    fresh_machine.run("bash", "-c", "printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d; chmod 0755 /usr/sbin/policy-rc.d")
    for place, command in commands.items():
        # A person says yes.
        words = [word for word in command.split() if word != "-y"]
        said = fresh_machine.run("env", "DEBIAN_FRONTEND=noninteractive", words[0], "-y", "-q", *words[1:])
        assert fresh_machine.run("bash", "-c", f"command -v {PACKAGES[place]}").startswith("/"), f"{command}: {said}"
    assert fresh_machine.run("python3", "-c", "import ensurepip, venv") == ""
