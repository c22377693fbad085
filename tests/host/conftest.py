"""The tests' own Docker daemon, in its own network, and a fresh clone with a fresh home for the README's commands."""

import contextlib
import fcntl
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

import pytest
from ruamel.yaml import YAML

import lab.dockerd
from components.host import images
from lab.own_network import own_network
from lab.rehearsal.stack import Place
from lab.workspace import copy_checkout, free_port
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.images import needs
from ops.machine import engine
from ops.observe.smoke.site import Site, client_for
from ops.paths import ROOT, cache_dir
from ops.stack import file, inventory
from ops.stack.outputs import parse
from tests.host import programs
from tests.host.rehearsed import Rehearsed
from tests.support.waiting import repeated, wait_for

IMAGES: images.ImageSource = "official" if os.environ.get("SKYVERN_TEST_IMAGES") == "official" else "packages"
# The containers of a stack as write_stack makes it.
PARTS = frozenset(("artifacts", "egress", "firewall", "gateway", "postgres", "retention", "roles", "server", "smoke-site"))


@dataclass(frozen=True)
class Checkout:
    """A clone of the project, a home without anything in it, and the daemon its stack files name."""

    root: Path
    docker: Docker
    environment: Mapping[str, str]

    def run(self, *command: str, timeout_seconds: float = 1800, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command in the clone; both streams as text. A failure shows what was printed."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def pulumi(self, arguments: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Plain ``pulumi``, as a person calls it after ``eval "$(script/env)"``."""
        return self._in_shell.run("bash", "-c", f"exec pulumi {arguments}", check=check)

    @cached_property
    def _in_shell(self) -> "Checkout":
        """The same in a shell with ``script/env``, which is evaluated once for all of its commands."""
        told = self.run("bash", "-ec", 'told="$(script/env)"; eval "$told"; exec env --null').stdout
        return replace(self, environment=dict(entry.split("=", 1) for entry in told.split("\0") if entry))

    def output(self, name: str, stack: str = "dev") -> str:
        """A stack output, opened."""
        return self.pulumi(f"stack output {name} --show-secrets -s {stack}").stdout.strip()

    def names(self, kind: str, *flags: str) -> set[str]:
        """Names of all objects of a kind on the daemon: container, volume or network (Docker's own three left out)."""
        form = "{{.Names}}" if kind == "container" else "{{.Name}}"
        return set(self.docker.run(kind, "ls", *flags, "--format", form).split()) - {"bridge", "host", "none"}

    def write_stack(self, stack: str, *, port: int, **sections: Mapping[str, object] | None) -> None:
        """A stack file like the committed dev one, on this daemon and port; the salt of an existing one stays.

        sections: ``llm``, ``browser``, ``edge`` and so on instead of none.
        """
        yaml = YAML()
        document = yaml.load(ROOT / "Pulumi.dev.yaml")
        existing = self.root / f"Pulumi.{stack}.yaml"
        salt = yaml.load(existing).get("encryptionsalt") if existing.exists() else None
        document["config"]["skyvern:host"]["docker_host"] = self.docker.host
        document["config"]["skyvern:host"]["port"] = port
        # Containers need no internet for the tests, and where these run there may be none for them.
        document["config"]["skyvern:host"]["internet"] = False
        document["config"]["skyvern:images"]["source"] = IMAGES
        document.pop("encryptionsalt", None)
        if salt:
            document["encryptionsalt"] = salt
        # Both stacks and the tests share two cores, and no test waits for minutes until a run has ended.
        document["config"]["skyvern:server"] = {"memory_mib": 3072, "drain_minutes": 1}
        for section, values in sections.items():
            if values is not None:
                document["config"][f"skyvern:{section}"] = dict(values)
        yaml.dump(document, self.root / f"Pulumi.{stack}.yaml")


@contextlib.contextmanager
def deployed(checkout: Checkout, stack: str) -> Iterator[None]:
    """A stack beside dev, whose file is written, and which leaves nothing behind."""
    checkout.run("script/bootstrap", "--stack", stack)
    checkout.run("bin/ops", "images", "build", "--stack", stack, timeout_seconds=4500)
    checkout.pulumi(f"stack init {stack} --no-select")
    checkout.pulumi(f"up --yes --skip-preview -s {stack}")
    yield
    remove(checkout, stack)


def remove(checkout: Checkout, stack: str) -> None:
    """A stack with all that it has; AssertionError where something is left."""
    checkout.pulumi(f"state unprotect --all --yes -s {stack}")
    checkout.pulumi(f"destroy --yes --skip-preview -s {stack}")
    checkout.pulumi(f"stack rm --yes {stack}")
    left = {name for kind in ("container", "volume", "network") for name in checkout.names(kind)}
    assert {name for name in left if name.startswith(f"skyvern-{stack}-")} == set()


def memory_in_use(docker: Docker, container: str) -> int:
    """Bytes of a container; what the kernel can take back at once counts as free."""
    command = "cat /sys/fs/cgroup/memory.stat 2>/dev/null || cat /sys/fs/cgroup/memory/memory.stat"
    told = dict(line.split()[:2] for line in docker.run("exec", container, "sh", "-c", command).splitlines())
    return int(told.get("anon", told.get("total_rss", "0"))) + int(told.get("shmem", told.get("total_shmem", "0")))


def unwell(docker: Docker) -> list[str]:
    """The parts of the dev stack that do not run, or are not healthy."""
    well = {one.part for one in inventory.containers(docker, "dev") if one.status == "running" and one.health == "healthy"}
    return sorted(PARTS - well)


def put_right(checkout: Checkout) -> None:
    """``script/up``, where a part is not healthy or dev is not as its file says: its smoke run takes both processors."""
    if unwell(checkout.docker) or checkout.pulumi("preview --expect-no-changes -s dev", check=False).returncode:
        checkout.run("script/up")


def sql(checkout: Checkout, statement: str, stack: str = "dev") -> str:
    """What a statement gives in the database of a stack, as its superuser."""
    command = ("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "skyvern", "-c", statement)
    return checkout.docker.run("exec", f"skyvern-{stack}-roles", *command).strip()


@contextlib.contextmanager
def site_of(checkout: Checkout, stack: str = "dev") -> Iterator[Site]:
    """A stack as ``ops smoke`` sees it."""
    outputs = parse(stack, checkout.pulumi(f"stack output --json --show-secrets -s {stack}").stdout)
    with client_for(outputs) as client:
        yield Site(outputs, client, checkout.docker)


def as_person(site: Site) -> Site:
    """The same stack, where the workflows and runs of ``site.api`` are the person's, as those of the UI."""
    return Site(site.outputs.model_copy(update={"smoke_api_key": site.outputs.api_key}), site.http, site.docker)


@contextlib.contextmanager
def client_of(site: Site, pause: float) -> Iterator[list[tuple[int, float]]]:
    """A client that goes on asking the API meanwhile: status and seconds of each answer. pause: seconds between two questions."""
    answers: list[tuple[int, float]] = []
    key = {"x-api-key": site.outputs.api_key.get_secret_value()}
    question = site.outputs.api_url + "/v1/workflows?page_size=1"

    def ask() -> None:
        began = time.monotonic()
        # Longer than the gateway holds a request for a server that starts.
        answer = site.http.send(site.http.build_request("GET", question, headers=key, timeout=300))
        answers.append((answer.status_code, time.monotonic() - began))

    with repeated(ask, pause):
        yield answers


def make_workflow(site: Site, title: str, wait_seconds: int = 1) -> str:
    """A workflow that needs neither a model nor a page; its id."""
    block = {"block_type": "wait", "label": "wait", "wait_sec": wait_seconds}
    definition = {"title": title, "workflow_definition": {"parameters": [], "blocks": [block]}}
    made = site.api("POST", "/v1/workflows", body={"json_definition": definition})
    assert made.status_code == 200, made.text
    identifier: str = made.json()["workflow_permanent_id"]
    return identifier


# On workdays; the name of a schedule that tests look for.
MORNING = {"cron_expression": "0 9 * * 1-5", "timezone": "Asia/Seoul", "name": "아침", "enabled": True}
# With a person's authenticator.
CREDENTIAL: dict[str, Any] = {
    "name": "shop",
    "credential_type": "password",
    "credential": {
        "username": "kim",
        "password": "a password",
        "totp": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
        "totp_type": "authenticator",
    },
}


def make_credential(site: Site, **more: str) -> str:
    """A credential with an authenticator, which works; its id. more: of its fields, such as ``tested_url``."""
    made = site.api("POST", "/v1/credentials", body={**CREDENTIAL, **more})
    assert made.status_code == 201, made.text
    identifier: str = made.json()["credential_id"]
    assert code_status(site, identifier) == 200
    return identifier


def code_status(site: Site, credential: str) -> int:
    """Status of the answer with the code of the moment, for which the vault's file has to be read."""
    return site.api("GET", f"/v1/credentials/{credential}/totp-code").status_code


def kill_when(checkout: Checkout, log: Path, words: str, *command: str, seconds: float = 0) -> None:
    """SIGKILL for a command in the clone and what it runs, so many seconds after it has printed these words. log: its output."""
    with log.open("w") as output:
        killed = subprocess.Popen(
            command,
            cwd=checkout.root,
            env=dict(checkout.environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        wait_for(lambda: words in log.read_text() or killed.poll() is not None, seconds=1800, pause=0.5)
        assert killed.poll() is None, log.read_text()
        time.sleep(seconds)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()


def remove_everything(docker: Docker) -> None:
    """Containers, networks and volumes; images stay for the next run."""
    for listing, removal in (
        (("ps", "--all", "--quiet"), ("rm", "--force", "--volumes")),
        (("network", "ls", "--quiet", "--filter", "type=custom"), ("network", "rm")),
        (("volume", "ls", "--quiet"), ("volume", "rm", "--force")),
    ):
        if found := docker.run(*listing).split():
            docker.run(*removal, *found)


def images_of(docker: Docker) -> list[str]:
    """References of the images of ours that a daemon has."""
    form = ("--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=localhost/skyvern/*")
    return docker.run("image", "ls", *form).split()


def copy_images(source: Docker, target: Docker, references: Sequence[str]) -> None:
    """Images of ours, as a file that is never written: the two daemons talk through a pipe.

    Raises UserError where the source cannot give them, as when one of them is gone.
    """
    with subprocess.Popen(source.command("save", *references), stdout=subprocess.PIPE) as save:
        loaded = subprocess.run(target.command("load", "--quiet"), stdin=save.stdout, capture_output=True, check=False)
    if save.returncode:
        raise UserError(f"docker save ended with {save.returncode}")
    assert loaded.returncode == 0, loaded.stderr.decode()


def link_images(source: Path, target: Path) -> None:
    """All images in one daemon's storage for another daemon, which does not run and loses those that it had.

    As hard links, in three seconds in place of a hundred: Docker's driver overlay2 writes a layer of an image once. What
    containers have written is in layers of their own, which stay out. Raises UserError where the source changed meanwhile; the
    other daemon is without images then.
    """
    records, layers, staged = target / "image/overlay2", target / "overlay2", target / "linked"
    for folder in (staged, records, layers, target / "buildkit"):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        shutil.copytree(source / "image/overlay2", staged, ignore=shutil.ignore_patterns("mounts", "tmp", ".tmp*"))
        names = [record.read_text() for record in (staged / "layerdb/sha256").glob("*/cache-id")]
        (layers / "l").mkdir(parents=True)
        subprocess.run(["cp", "--archive", "--link", *(source / "overlay2" / name for name in names), layers], check=True)
        for name in names:
            (layers / "l" / (layers / name / "link").read_text()).symlink_to(f"../{name}/diff")
    except (OSError, subprocess.CalledProcessError) as failed:
        raise UserError(f"images of {source}: {failed}") from failed
    # Last: without its record, a layer is nothing to Docker.
    records.parent.mkdir(exist_ok=True)
    staged.rename(records)


def _remove_old_images(docker: Docker) -> None:
    """Images of ours under tags that this version of the project does not name, so that the cache does not grow for ever."""
    named = set(images.references(IMAGES).values())
    if old := [reference for reference in images_of(docker) if reference not in named]:
        docker.run("image", "rm", "--force", *old)


# The tables that Docker writes into, as a kernel starts with them.
_NO_RULES = b"""\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
COMMIT
"""


class Dockerd(lab.dockerd.Dockerd):
    """A daemon of the tests' own, whose machine can lose power or be shut down."""

    def lose_power(self) -> None:
        """SIGKILL for the daemon, containerd, every shim and container; mounts, bridges, rules and /run go with the machine."""
        self._end_machine(grace_seconds=0)

    def shut_down(self) -> None:
        """As systemd does it: SIGTERM for the daemon, and SIGKILL for all that is left after 90 s, its ``TimeoutStopSec``."""
        self._end_machine(grace_seconds=90)

    def _end_machine(self, grace_seconds: float) -> None:
        assert self._process is not None
        networks = self.docker.run("network", "ls", "--quiet", "--filter", "type=custom").split()
        running = self.docker.run("ps", "--quiet").split()
        inits = self.docker.run("inspect", "--format", "{{.State.Pid}}", *running).split()
        # Not by their numbers, which other processes may have by then; a container that is about to start again has none.
        processes = [os.pidfd_open(int(pid)) for pid in inits if pid != "0"]
        if grace_seconds:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_seconds)
        self._process.kill()
        self._process.wait()
        for pid in self._processes_of_this_run():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGKILL)
            os.close(process)
        self._process = None
        while self._processes_of_this_run():
            time.sleep(0.05)
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            point = line.split()[4]
            if point.startswith((f"{self.run}/", f"{self.data}/")):
                subprocess.run(["umount", "--lazy", point], check=True)
        for network in networks:
            subprocess.run(["ip", "link", "delete", f"br-{network}"], check=False, capture_output=True)
        subprocess.run(["iptables-restore"], input=_NO_RULES, check=True)
        shutil.rmtree(self.run)

    def _processes_of_this_run(self) -> list[int]:
        """containerd and its shims: their command lines name the folder of the sockets."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                command = path.read_bytes()
                if b"containerd" in command.partition(b"\0")[0] and f"{self.run}/".encode() in command:
                    found.append(int(path.parent.name))
        return found


@pytest.fixture(scope="session", autouse=True)
def outside() -> Iterator[Path]:
    """The machine's network namespace, which the host tests leave for their own, with all that they start."""
    with own_network() as path:
        yield path


@pytest.fixture(scope="session")
def dockerd(outside: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    """A daemon of the tests' own. Its storage is in the cache, because images take long to build."""
    # Short, because the path of a socket has 107 bytes at most.
    run = Path("/run") / f"skyvern-test-{os.getpid()}"
    with _free_storage() as storage:
        daemon = Dockerd(run, storage / "data", tmp_path_factory.mktemp("docker") / "dockerd.log", pool="10.214.0.0/16")
        try:
            daemon.start()
            (storage / HOST_FILE).write_text(daemon.docker.host)
            remove_everything(daemon.docker)  # what a run that was killed left behind
            _take_images_of_the_other_lane(daemon, storage)
            yield daemon
            remove_everything(daemon.docker)
            _remove_old_images(daemon.docker)
        finally:
            daemon.stop()
            shutil.rmtree(run, ignore_errors=True)


# In a storage: the address of the daemon that had it last.
HOST_FILE = "host"
# Of both cores, for the engine and all images.
BUILD_SECONDS = 1800


def _storages() -> list[Path]:
    return [cache_dir() / name for name in ("test-docker", "test-docker-2")]


def _take_images_of_the_other_lane(daemon: Dockerd, storage: Path) -> None:
    """On a machine without images the second of two lanes waits for those that the first one makes.

    Otherwise both make the same ones at the same time, and each takes twice as long. Where the first lane ends without them, or
    makes none, this one does.
    """
    references = images.references(IMAGES)
    needed = [references[part] for part in needs.parts(IMAGES)]

    def has_all(docker: Docker) -> bool:
        return all(needs.present(docker, reference) for reference in needed)

    first = _storages()[0]
    if storage == first or has_all(daemon.docker):
        return
    patience = time.monotonic() + BUILD_SECONDS
    while time.monotonic() < patience and _in_use(first):
        # Its daemon is about to start, the file is of an earlier one, or a test takes an image away for a moment.
        with contextlib.suppress(FileNotFoundError, UserError):
            other = Docker((first / HOST_FILE).read_text())
            if has_all(other):
                named, own = set(references.values()), set(images_of(daemon.docker))
                driver = ("info", "--format", "{{.Driver}}")
                if own & named or not other.run(*driver) == daemon.docker.run(*driver) == "overlay2\n":
                    # Not all: what another version of the project left there goes while the lane works.
                    copy_images(other, daemon.docker, sorted((named & set(images_of(other))) - own))
                    return
                daemon.stop()
                try:
                    link_images(first / "data", daemon.data)
                finally:
                    daemon.start()
                return
        # Each look is a process of docker, on processors that make images.
        time.sleep(10)


def _in_use(storage: Path) -> bool:
    with (storage / "lock").open("w") as lock:
        return not _locked_at_once(lock)


def _locked_at_once(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _free_storage() -> Iterator[Path]:
    """One of the two, because two daemons on one storage destroy it; a third test run waits for either."""
    for folder in itertools.cycle(_storages()):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            if _locked_at_once(lock):
                yield folder
                return
        time.sleep(0.5)


@pytest.fixture(scope="session")
def daemon(dockerd: Dockerd) -> Docker:
    """The daemon as the stack files name it."""
    return dockerd.docker


@pytest.fixture(scope="session")
def checkout(daemon: Docker, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The project as git has it (uncommitted files included), with a home of its own and the user's caches."""
    base = tmp_path_factory.mktemp("fresh")
    root, home = base / "clone", base / "home"
    home.mkdir()
    copy_checkout(root)
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("PULUMI", "DOCKER", "XDG_", "VIRTUAL_ENV"))}
    caches = {
        "GOCACHE": _go_variable("GOCACHE"),
        "GOPATH": _go_variable("GOPATH"),
        "PIP_CACHE_DIR": os.environ.get("PIP_CACHE_DIR", str(Path.home() / ".cache" / "pip")),
        "XDG_CACHE_HOME": str(cache_dir().parent),
    }
    return Checkout(root, daemon, {**keep, **caches, "HOME": str(home)})


@pytest.fixture(scope="session")
def first_up(checkout: Checkout) -> str:
    """What ``script/up`` printed on a machine with no state, no containers and no volumes."""
    checkout.write_stack("dev", port=free_port())
    done = checkout.run("script/up", "--images", IMAGES, timeout_seconds=4500)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(checkout: Checkout, first_up: str) -> Iterator[Site]:
    """The dev stack as its clients see it; an earlier module may have left it stopped."""
    put_right(checkout)
    with site_of(checkout) as target:
        yield target


@pytest.fixture(scope="session")
def rehearsed(checkout: Checkout) -> Iterator[Rehearsed]:
    """``script/rehearse --keep`` in a fresh clone, on the tests' daemon."""

    def here(document: dict[str, Any]) -> bool:
        document["config"]["skyvern:host"]["docker_host"] = checkout.docker.host
        return True

    # The tests ask the stack in this process, too, with the engine of their own checkout.
    engine.ensure_engine(None, print)
    file.edit(checkout.root / "Pulumi.rehearsal.yaml", here)
    folder = Path(checkout.environment["HOME"]) / ".config/skyvern-stack/rehearsal"
    pictures = Path(checkout.environment["XDG_CACHE_HOME"]) / "skyvern-stack/logs/rehearsal"
    try:
        done = checkout.run("script/rehearse", "--keep", "--images", IMAGES, timeout_seconds=4500)
        yield Rehearsed(Place(folder), checkout.docker, done.stdout + done.stderr, pictures)
    finally:
        checkout.run("script/rehearse", "--destroy", check=False)


def _go_variable(name: str) -> str:
    return subprocess.run(["go", "env", name], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def webhooks(checkout: Checkout, first_up: str) -> Iterator[programs.Webhooks]:
    """The receiver of docs/api.md, on the internet of the tests' network."""
    with programs.receiving(checkout) as receiver:
        yield receiver


@pytest.fixture(scope="session")
def python(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the published SDK."""
    return programs.install_sdk(checkout, tmp_path_factory.mktemp("sdk"))
