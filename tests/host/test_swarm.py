"""A stack on a Docker Swarm: three daemons in their own networks, real Skyvern, a PostgreSQL and a share beside them.

Real are Pulumi's engine, Docker, Skyvern and the gateway; Cloudflare and its connector are stand-ins, as in test_edge.py. The
share of a NAS is a file system in user space, which all three have. The tests tell one story in the order in which they stand.
Nightly: each machine gets all images.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
import pytest

from components.host import images
from lab.standins import connector
from lab.standins.edge import Edge
from lab.standins.providers import cloudflare
from ops.clients import swarm as clients
from ops.deploy import cluster
from ops.errors import UserError
from ops.images import needs
from ops.machine import daemon_config
from ops.observe.smoke.site import Site
from ops.observe.smoke.workflow_checks import check_workflow_run, read_run, start_run, wait_for_end
from ops.stack.outputs import parse
from tests.host.callers import calling, ends_of, unended_runs, wrong
from tests.host.conftest import IMAGES, Checkout, as_person, client_of, code_status, make_credential, make_workflow
from tests.host.public import internet_of
from tests.support.machines import Machine, machines
from tests.support.tls import make_authority, make_server
from tests.support.virtual_machine import NEEDS_QEMU, time_server, virtual_machines
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.timeout(7200), pytest.mark.nightly]

STACK = "moved"
PREFIX = f"skyvern-{STACK}"
BOSS = "boss-of-their-databases"
TWICE = {"artifacts", "connector", "egress", "gateway"}
ONCE = {"backup", "monitor", "retention", "roles", "server", "smoke-site"}


@dataclass
class Swarm:
    """The stack on three machines. beside: a fourth, with PostgreSQL. disk: of the share. dead: those whose power is off."""

    checkout: Checkout
    edge: Edge
    machines: list[Machine]
    beside: Machine
    disk: Path
    share: Path
    dead: list[Machine] = field(default_factory=list)

    def site(self) -> Site:
        """The stack as a client sees it, from outside."""
        outputs = parse(STACK, self.checkout.pulumi(f"stack output --json --show-secrets -s {STACK}").stdout)
        trusted = ssl.create_default_context(cafile=self.edge.ca_file)
        return Site(outputs, httpx.Client(proxy=self.edge.proxy_url, verify=trusted, timeout=20), self.machines[0].docker)

    def ops(self, *arguments: str, code: int | None = 0) -> str:
        """What ``ops ARGUMENTS`` prints. code: of its end; None for any."""
        done = self.checkout.run("bin/ops", *arguments, "-s", STACK, check=False, timeout_seconds=1800)
        said = done.stdout + done.stderr
        print(f"ops {' '.join(arguments)}\n{said}")
        assert code in (None, done.returncode), said
        return said

    def up(self, *, check: bool = True) -> str:
        """What ``script/up`` prints."""
        done = self.checkout.run("script/up", "--stack", STACK, "--yes", check=check, timeout_seconds=3600)
        print(done.stdout[-5000:], done.stderr[-3000:])
        return done.stdout + done.stderr

    @property
    def alive(self) -> list[Machine]:
        return [machine for machine in self.machines if machine not in self.dead]

    def manager(self, *arguments: str) -> str:
        return self.alive[0].docker.run(*arguments)

    def sql(self, question: str) -> dict[str, str]:
        """Rows of two columns."""
        psql = ("psql", "-X", "-A", "-t", "-U", "postgres", "-d", f"skyvern_{STACK}", "-c", question)
        return dict(line.split("|") for line in self.beside.docker.run("exec", "their-postgres", *psql).splitlines())

    def service(self, part: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.manager("service", "inspect", f"{PREFIX}-{part}"))[0]
        return found

    def tasks(self, part: str) -> list[tuple[Machine, str]]:
        """Machine and container of the tasks of a part that run."""
        wanted = ("ps", "--quiet", "--filter", f"name=^{PREFIX}-{part}\\.", "--filter", "health=healthy")
        return [(machine, one) for machine in self.alive for one in machine.docker.run(*wanted).split()]

    def is_together(self) -> bool:
        """Whether all machines are in it, by the word of the managers."""
        # When a manager comes back, they may choose a leader anew.
        with contextlib.suppress(UserError):
            return self.manager("node", "ls").count(" Ready ") == len(self.machines)
        return False

    def wait_until_whole(self, *, seconds: float) -> float:
        """Returns once each part has its tasks; after how many seconds."""
        began = time.monotonic()
        wanted = {**dict.fromkeys(TWICE, 2), **dict.fromkeys(ONCE, 1)}
        wait_for(lambda: {part: len(self.tasks(part)) for part in wanted} == wanted, seconds=seconds, pause=2)
        return time.monotonic() - began


def load(targets: list[Machine], references: list[str], checkout: Checkout) -> None:
    """Gives machines images of the tests' daemon."""
    with tempfile.NamedTemporaryFile(dir="/var/tmp", suffix=".tar") as archive:
        checkout.docker.run("save", "--output", archive.name, *references, timeout_seconds=1800)
        for target in targets:
            target.docker.run("load", "--quiet", "--input", archive.name, timeout_seconds=1800)


def start_postgres(beside: Machine, folder: Path) -> str:
    """A PostgreSQL with TLS at the machine's address; its URL."""
    make_authority(folder, "ca")
    make_server(folder, beside.address)
    tls = ("-c", "ssl=on", "-c", "ssl_cert_file=/tls/server.crt", "-c", "ssl_key_file=/tls/server.key")
    name = "their-postgres"
    run = ("run", "--detach", f"--name={name}", "--network=host", "--env=POSTGRES_PASSWORD=theirs", f"--volume={folder}:/tls:ro")
    here = ("-c", f"listen_addresses={beside.address}", "-c", "unix_socket_directories=/var/run/postgresql")
    beside.docker.run(*run, images.references(IMAGES)["postgres"], "postgres", *tls, *here)
    wait_for(lambda: f'listening on IPv4 address "{beside.address}"' in beside.docker.logs(name), seconds=120, pause=1)
    role = f"CREATE ROLE boss LOGIN CREATEROLE CREATEDB PASSWORD '{BOSS}'"
    beside.docker.run("exec", "--env=PGPASSWORD=theirs", name, "psql", "-q", "-U", "postgres", "-c", role)
    return f"postgresql://boss:{BOSS}@{beside.address}:5432/postgres?sslmode=verify-full"


@contextlib.contextmanager
def share_of_a_nas() -> Iterator[tuple[Path, Path]]:
    """A folder of its disk, and where the machines have it.

    As by NFS: root of a machine is nobody there, and two folders cannot be exchanged in one step. All that is made belongs to one
    user, as many a NAS has it.
    """
    fuse = Path("/dev/fuse")
    mode = fuse.stat().st_mode
    disk, mounted = (Path(tempfile.mkdtemp(prefix=f"skyvern-{kind}-", dir="/var/tmp")) for kind in ("nas", "share"))
    as_user = (
        "setpriv",
        "--reuid=10001",
        "--regid=10001",
        "--clear-groups",
        "--inh-caps=+sys_admin",
        "--ambient-caps=+sys_admin",
    )
    fuse.chmod(0o666)  # as Debian has it
    for folder in (disk, mounted):
        folder.chmod(0o755)
    try:
        subprocess.run([*as_user, "bindfs", "-o", "allow_other", disk, mounted], cwd="/", check=True)
        try:
            yield disk, mounted
        finally:
            subprocess.run(["umount", "--lazy", mounted], check=True)
    finally:
        fuse.chmod(mode)
        mounted.rmdir()
        shutil.rmtree(disk)


def first_up(swarm: Swarm) -> None:
    """The share does not let it make the stack's folder, and its one line says what to do."""
    refused = r"nothing was changed: .* host.shared_folder: .* user 10001 cannot write there .* run: sudo (install .*)$"
    command = re.search(refused, said := swarm.up(check=False), re.MULTILINE)
    assert command, said
    subprocess.run(shlex.split(command[1]), cwd=swarm.disk, check=True)
    assert f"{swarm.share}/{PREFIX} is the same on 3 machines" in swarm.up()


def join(three: list[Machine]) -> None:
    """A Swarm of them, whose daemons have the two flags that ops cluster sets; all three manage it."""
    for machine in three:
        (machine.file.parent / daemon_config.profile_name()).write_text(daemon_config.profile())
        machine.file.write_text(json.dumps(daemon_config.hardened({}, PurePosixPath(machine.file.parent))))
        machine.restart()
    first = three[0]
    pool = ("--default-addr-pool=10.212.0.0/16", "--default-addr-pool-mask-length=24")
    first.docker.run("swarm", "init", f"--advertise-addr={first.address}", *pool)
    hosts = [machine.host for machine in three]
    cluster.let_join(hosts, say=print)
    cluster.settle(hosts, say=print)


@pytest.fixture(scope="module")
def swarm(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    with share_of_a_nas() as (disk, share):
        (disk / "backup").mkdir()
        os.chown(disk / "backup", 10001, 10001)
        yield from _made(checkout, tmp_path_factory.mktemp("swarm"), disk, share)


def _made(checkout: Checkout, folder: Path, disk: Path, share: Path) -> Iterator[Swarm]:
    backup = {"type": "path", "path": str(share / "backup")}
    checkout.write_stack(STACK, port=8080, monitor={"enabled": True}, backup=backup)
    checkout.run("script/bootstrap", "--stack", STACK)
    checkout.run("bin/ops", "images", "build", "--stack", STACK, timeout_seconds=4500)
    with internet_of(checkout, folder) as internet, machines(4) as (*three, beside):
        join(three)
        tls = folder / "tls"
        tls.mkdir()
        # From the first of the three, script/up brings it to the others.
        load([beside, three[0]], [images.references(IMAGES)["postgres"]], checkout)
        url = start_postgres(beside, tls)
        references = images.references(IMAGES)
        wanted = [references[part] for part in needs.parts(IMAGES, frozenset({"backup", "monitor"})) if part != "postgres"]
        load(three, wanted, checkout)
        for machine in three:
            # The address of the bridge between the machines, which is of the tests' network.
            image = connector.ensure_image(
                machine.docker, f"{machine.address.rpartition('.')[0]}.1:{internet.edge.connector_port}"
            )
        found = Swarm(internet.checkout, internet.edge, three, beside, disk, share)
        (checkout.root / "database-ca.pem").write_bytes((tls / "ca.pem").read_bytes())
        write(found, image, url, backup)
        first_up(found)
        yield found


def write(swarm: Swarm, image: str, url: str, backup: dict[str, str]) -> None:
    """The stack file, with its two secrets encrypted."""
    checkout = swarm.checkout
    edge = {"provider": "cloudflare", "domain": "example.com", "connector_image": image}
    database = {"ca_file": "database-ca.pem"}
    checkout.write_stack(STACK, port=8080, monitor={"enabled": True}, edge=edge, database=database, backup=backup)
    checkout.pulumi(f"stack init {STACK} --no-select")
    one, *others = (machine.host for machine in swarm.machines)
    for key, value in {"engine": "swarm", "shared_folder": str(swarm.share), "docker_host": one}.items():
        checkout.pulumi(f"config set --path skyvern:host.{key} {value} -s {STACK}")
    for index, host in enumerate(others):
        checkout.pulumi(f"config set --path 'skyvern:host.nodes[{index}]' {host} -s {STACK}")
    checkout.pulumi(f"config set --secret --path skyvern:edge.api_token {cloudflare.TOKEN} -s {STACK}")
    checkout.pulumi(f"config set --secret --path skyvern:database.url '{url}' -s {STACK}")


def test_a_workflow_runs_and_a_second_plan_and_a_refresh_are_empty(swarm: Swarm) -> None:
    # A backup is healthy with its first set.
    swarm.wait_until_whole(seconds=240)
    site = swarm.site()
    check_workflow_run(site)
    assert site.run is not None
    swarm.checkout.pulumi(f"preview --expect-no-changes -s {STACK}")
    swarm.checkout.pulumi(f"refresh --yes --skip-preview --expect-no-changes -s {STACK}")
    swarm.checkout.pulumi(f"preview --expect-no-changes -s {STACK}")


def test_each_task_is_held_as_a_container_is(swarm: Swarm) -> None:
    """What a service cannot ask for, it has from its daemon."""
    for part in sorted(TWICE | ONCE):
        for machine, container in swarm.tasks(part):
            document = machine.docker.inspect(container)
            host = document["HostConfig"]
            assert host["ReadonlyRootfs"], part
            assert host["CapDrop"] == ["ALL"]
            assert not host["PortBindings"]
            status = Path(f"/proc/{document['State']['Pid']}/status").read_text()
            assert dict(re.findall(r"^(NoNewPrivs|Seccomp|CapEff|CapBnd):\s+(\w+)", status, re.MULTILINE)) == {
                "NoNewPrivs": "1",
                "Seccomp": "2",
                "CapEff": "0" * 16,
                "CapBnd": "0" * 16,
            }, part
    machine, server = swarm.tasks("server")[0]
    mounted = machine.docker.run("exec", server, "sh", "-c", "grep ' /tmp ' /proc/mounts")
    assert "noexec" not in mounted
    assert "nosuid" in mounted


def test_no_secret_is_in_a_service_and_parts_reach_what_they_may(swarm: Swarm) -> None:
    password = swarm.checkout.output("ui_password", STACK)
    key = swarm.checkout.output("api_key", STACK)
    for part in sorted(TWICE | ONCE):
        described = json.dumps(swarm.service(part))
        assert key not in described
        assert password not in described
        assert BOSS not in described
    machine, gateway = swarm.tasks("gateway")[0]
    reach = 'timeout 5 bash -c "exec 3<> /dev/tcp/$0/$1" 2> /dev/null && echo yes || echo no'

    def reaches(host: str, port: int) -> str:
        return machine.docker.run("exec", gateway, "bash", "-c", reach, host, str(port)).strip()

    assert reaches("server", 8000) == "yes"
    # Neither another network of the stack nor anything outside.
    assert reaches("egress", 3128) == "no"
    assert reaches(swarm.beside.address, 5432) == "no"


def test_the_commands_find_each_part(swarm: Swarm) -> None:
    swarm.wait_until_whole(seconds=120)

    status = swarm.ops("status")
    assert "14 of 14 tasks healthy" in status
    assert "services: 10 of 10 complete" in status
    assert f"{PREFIX}-gateway 2 of 2" in status
    assert re.search(r"^runs: 0 of \d+ in progress", status, re.MULTILINE)
    assert re.search(r"^database: .*, answers$", status, re.MULTILINE)
    logs = swarm.ops("logs", "--tail", "5")
    assert {line.split()[1] for line in logs.splitlines()} >= {"gateway.1", "gateway.2", "server"}
    assert swarm.checkout.output("api_key", STACK) not in logs
    found = swarm.ops("doctor", code=None)
    of_swarm = re.compile(r"^error +(service|container|health|hardening|isolation|cluster|orphan|database)\b.*", re.MULTILINE)
    assert [match[0] for match in of_swarm.finditer(found)] == []
    # From where a command runs in a part: its secrets are files, and PostgreSQL wants one of them.
    swarm.ops("end-sessions")
    smoke = swarm.ops("smoke", code=None)
    assert [line for line in smoke.splitlines() if line.startswith("FAIL")] == []


def test_what_a_person_took_away_is_named_and_made_again(swarm: Swarm) -> None:
    """Each message's command is run to its end."""

    def run_from(text: str, pattern: str) -> str:
        command = re.search(pattern, text)
        assert command, text
        return subprocess.run(shlex.split(command[0]), check=True, capture_output=True, text=True, timeout=60).stdout

    engine = clients.find([machine.host for machine in swarm.machines])
    # No task ends at once.
    with pytest.raises(UserError, match="still runs after 0 s") as told:
        engine.stop_part(f"{PREFIX}-retention", timeout_seconds=0)
    assert f"{PREFIX}-retention.1" in run_from(str(told.value), r"docker --host \S+ service ps \S+$")
    swarm.manager("service", "rm", f"{PREFIX}-retention")
    swarm.manager("service", "scale", "--detach", f"{PREFIX}-artifacts=0")
    wait_for(lambda: not swarm.tasks("artifacts"), seconds=60, pause=1)
    smoke = swarm.ops("smoke", code=1)
    with pytest.raises(UserError, match=f"{PREFIX}-retention: is not a service of the Swarm at .*; script/up makes it"):
        engine.execute(f"{PREFIX}-retention", "true")
    run_from(smoke, rf"docker --host \S+ service logs --since 10m {PREFIX}-artifacts")
    again = swarm.up()
    assert f"service {PREFIX}-retention is gone: the up makes it again" in again
    assert f"service {PREFIX}-artifacts had no task (0 replicas): started" in again
    swarm.wait_until_whole(seconds=120)


def test_an_update_that_fails_says_why_in_one_line(swarm: Swarm) -> None:
    """And what was stopped by hand is started by the next one, which changes nothing else."""
    source = swarm.checkout.root / "components/host/artifacts.py"
    good = source.read_text()
    assert "command=[args.command]" in good
    try:
        source.write_text(good.replace("command=[args.command]", 'command=["false"]'))
        failed = swarm.up(check=False)
    finally:
        source.write_text(good)
    assert f"{PREFIX}-artifacts: its last update was rolled back: task: non-zero exit (1)" in failed
    swarm.manager("service", "scale", "--detach", f"{PREFIX}-retention=0")
    # The one image that no task here needs: it is brought from the first machine to the others.
    postgres = images.references(IMAGES)["postgres"]
    assert [needs.present(machine.docker, postgres) for machine in swarm.machines] == [True] * 3
    swarm.machines[1].docker.run("image", "rm", postgres)
    assert "is not at" in swarm.ops("doctor", code=1)
    assert f"service {PREFIX}-retention had no task (0 replicas): started" in swarm.up()
    assert needs.present(swarm.machines[1].docker, postgres)
    swarm.wait_until_whole(seconds=120)


def test_a_broken_version_goes_back_by_itself_and_the_up_fails(swarm: Swarm) -> None:
    source = swarm.checkout.root / "components/host/gateway.py"
    good = source.read_text()
    command = 'command=["gateway-start", rules]'
    assert command in good
    before = swarm.service("gateway")["Spec"]["TaskTemplate"]["ContainerSpec"]["Args"]
    try:
        source.write_text(good.replace(command, 'command=["gateway-start", rules + "\\nimport nothing\\n"]'))
        with client_of(swarm.site(), pause=0.5) as answers:
            failed = swarm.checkout.pulumi(f"up --yes --skip-preview -s {STACK}", check=False)
        assert failed.returncode
        assert "rollback completed" in failed.stdout + failed.stderr
        assert {status for status, _ in answers} == {200}
    finally:
        source.write_text(good)
    assert swarm.service("gateway")["Spec"]["TaskTemplate"]["ContainerSpec"]["Args"] == before
    swarm.checkout.pulumi(f"up --yes --skip-preview -s {STACK}")
    swarm.checkout.pulumi(f"preview --expect-no-changes -s {STACK}")
    swarm.wait_until_whole(seconds=120)


def test_a_set_takes_the_place_of_the_data_and_goes_back(swarm: Swarm) -> None:
    """In the folder that all three have; every machine sees what has changed places before a service starts there."""

    def titles() -> set[str]:
        listed = as_person(swarm.site()).api("GET", "/v1/workflows?page_size=100")
        return {one["title"] for one in listed.json()}

    def marked(mark: str) -> bool:
        """Whether each task with the folder has the one with this mark."""
        script = f"ls -A /data/artifacts | grep -c '^{mark}'"
        return all(
            machine.docker.run("exec", one, "sh", "-c", script).strip() == "1" for machine, one in swarm.tasks("artifacts")
        )

    make_workflow(as_person(swarm.site()), "Before the set")
    swarm.ops("backup", "now")
    make_workflow(as_person(swarm.site()), "After the set")
    assert "1 workflows" in swarm.ops("restore", "--yes", code=1)
    with client_of(swarm.site(), pause=0.5) as answers:
        swarm.ops("restore", "--yes", "--discard-newer")
        swarm.wait_until_whole(seconds=240)
    print(f"{len(answers)} answers, the longest after {max(seconds for _, seconds in answers):.0f} s")
    assert {status for status, _ in answers} == {200}
    assert titles() >= {"Before the set"}
    assert "After the set" not in titles()
    assert marked(".restore-new-")
    check_workflow_run(swarm.site())
    swarm.checkout.pulumi(f"preview --expect-no-changes -s {STACK}")
    swarm.ops("restore", "--undo", "--yes")
    swarm.wait_until_whole(seconds=240)
    assert titles() >= {"Before the set", "After the set"}
    assert marked(".restore-old-")
    assert not list((swarm.share / PREFIX).glob(".restored-*"))
    assert "nothing that a restore replaced" in swarm.ops("restore", "--undo", "--yes", code=1)


def test_a_cut_of_a_minute_and_a_restart_are_named_by_doctor(swarm: Swarm) -> None:
    """And the next ``script/up`` is green, and finds nothing to change."""
    first, *_, last = swarm.machines
    last.pull_cable()
    swarm.dead.append(last)
    began = time.monotonic()
    named = re.compile(rf"error +cluster +{re.escape(last.host)} +is down")
    wait_for(lambda: bool(named.search(swarm.ops("doctor", code=1))), seconds=180, pause=2)
    time.sleep(max(0.0, 60 - (time.monotonic() - began)))
    last.plug_cable()
    swarm.dead.remove(last)
    wait_for(swarm.is_together, seconds=180, pause=2)
    swarm.up()
    # The one that Pulumi asks, and a manager.
    first.daemon.stop()
    assert re.search(rf"error +cluster +{re.escape(first.host)} +does not answer", swarm.ops("doctor", code=1))
    first.daemon.start()
    wait_for(swarm.is_together, seconds=180, pause=2)
    swarm.up()
    swarm.wait_until_whole(seconds=240)
    assert not re.search(r"error +cluster\b", swarm.ops("doctor", code=None))
    swarm.checkout.pulumi(f"preview --expect-no-changes -s {STACK}")


@NEEDS_QEMU
def test_a_clock_apart_is_named_by_doctor_and_set_by_script_up(swarm: Swarm) -> None:
    """Of a machine that joins, with its own kernel, ten seconds ahead; services would only slowly start on it."""
    before = swarm.checkout
    nodes = f"'skyvern:host.nodes[{len(swarm.machines) - 1}]'"
    with virtual_machines(1, ahead=timedelta(seconds=10), share=(swarm.disk, swarm.share)) as (machine,), time_server():
        # In front, the ssh that has the machine's key.
        path = f"{os.environ['PATH'].partition(os.pathsep)[0]}:{before.environment['PATH']}"
        swarm.checkout = replace(before, environment={**before.environment, "PATH": path})
        swarm.checkout.pulumi(f"config set --path {nodes} {machine.host} -s {STACK}")
        assert f"{machine.host}: joined" in swarm.ops("cluster", "join", machine.host, code=None)
        swarm.ops("cluster", "drain", machine.host)
        named = re.compile(rf"error +cluster +{re.escape(machine.host)} +its clock is \d+ s ahead of that of ")
        assert named.search(swarm.ops("doctor", code=1))
        assert f"{machine.host}: was asked to set its clock by the network" in swarm.up()
        assert abs(float(machine.type("date +%s.%N")) - time.time()) < 3
        assert not named.search(swarm.ops("doctor", code=None))
        swarm.ops("cluster", "leave", machine.host)
        swarm.checkout.pulumi(f"config rm --path {nodes} -s {STACK}")
    swarm.checkout = before
    swarm.checkout.pulumi(f"preview --expect-no-changes -s {STACK}")


def test_a_machine_is_rebooted_under_a_client(swarm: Swarm) -> None:
    """That of the server, emptied before: calls wait for the server that moves, no run is lost, and the machine comes back."""
    ((machine, _),) = swarm.tasks("server")
    site = as_person(swarm.site())
    with calling(site) as caller:
        wait_for(lambda: len(caller.runs) > 2, caller.summary, seconds=120)
        swarm.ops("cluster", "drain", machine.host)
        swarm.wait_until_whole(seconds=300)
        assert not any(on is machine for part in TWICE | ONCE for on, _ in swarm.tasks(part))
        swarm.dead.append(machine)
        machine.daemon.stop()
        machine.pull_cable()
        caller.wait_for_answers(40)
        machine.plug_cable()
        machine.daemon.start()
        swarm.dead.remove(machine)
        wait_for(swarm.is_together, seconds=180, pause=2)
        swarm.ops("cluster", "drain", "--undo", machine.host)
        caller.wait_for_answers(40)
        swarm.wait_until_whole(seconds=300)
    print(caller.summary())
    assert wrong(caller.answers, 200) == wrong(caller.starts, 200) == []
    ends_of(site, caller.runs)
    assert swarm.sql(unended_runs()) == {}
    swarm.checkout.pulumi(f"preview --expect-no-changes -s {STACK}")


def test_a_machine_dies_and_the_rest_goes_on(swarm: Swarm) -> None:
    """That of the server: gateway and connector answer on, and the server is back elsewhere within 90 s.

    What ran there has a reason, what was due meanwhile begins once, and files and credentials are there.
    """
    ((doomed, _),) = swarm.tasks("server")
    site = swarm.site()
    key = {"x-api-key": site.outputs.api_key.get_secret_value()}
    person = as_person(site)
    check_workflow_run(site)
    credential = make_credential(person)
    run = start_run(person, make_workflow(person, "Long", wait_seconds=900))
    wait_for(lambda: read_run(person, run)["status"] == "running", seconds=120, pause=1)
    due = make_workflow(person, "Due")
    schedules = schedule_each(person, due)
    pages: list[tuple[float, int]] = []
    ended = False

    def ask_for_pages() -> None:
        # A page that needs no server: 401 is the gateway's own answer.
        while not ended:
            began = time.monotonic()
            pages.append((began, site.http.send(site.http.build_request("GET", site.outputs.app_url, timeout=30)).status_code))
            time.sleep(0.5)

    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(ask_for_pages)
        began = time.monotonic()
        # As in a power cut: nothing of it is sent any more.
        doomed.pull_cable()
        swarm.dead.append(doomed)
        try:
            wait_for(lambda: bool(swarm.tasks("server")), seconds=180, pause=1)
            back = time.monotonic() - began
        finally:
            ended = True
        asking.result()
    answer = site.http.get(f"{site.outputs.api_url}/v1/workflows?page_size=1", headers=key, timeout=120)
    assert answer.status_code == 200
    print(f"the server was back after {back:.0f} s; pages: {[status for _, status in pages]}")
    assert back < 90
    # Until the Swarm and the edge know, the dead one's share gets no answer.
    assert all(status == 401 for at, status in pages if at > began + 30)
    swarm.wait_until_whole(seconds=120)
    assert site.run is not None
    assert site.run.recording_link is not None
    assert site.ask("GET", site.run.recording_link).status_code == 200
    assert code_status(person, credential) == 200
    outcome = wait_for_end(person, run, 300)
    print(f"the run that was on the dead machine: {outcome['status']}: {outcome['failure_reason']}")
    assert outcome["status"] != "completed"
    assert outcome["failure_reason"]
    check_workflow_run(swarm.site())
    doomed.plug_cable()
    swarm.dead.remove(doomed)

    wait_for(swarm.is_together, seconds=180, pause=2)
    # What it kept running without the managers is ended.
    wait_for(lambda: len(swarm.tasks("server")) == 1, seconds=120, pause=2)
    counted = f"SELECT workflow_schedule_id, count(*) FROM workflow_runs WHERE workflow_permanent_id = '{due}' GROUP BY 1"  # noqa: S608
    wait_for(lambda: len(swarm.sql(counted)) == len(schedules), lambda: str(swarm.sql(counted)), seconds=400, pause=5)
    # The last of them has been begun; a second time would follow at once.
    time.sleep(20)
    assert swarm.sql(counted) == dict.fromkeys(schedules, "1")
    swarm.checkout.pulumi(f"preview --expect-no-changes -s {STACK}")


def schedule_each(site: Site, workflow_id: str) -> list[str]:
    """Ids of schedules that fire once each, every 15 seconds from in a good minute on, for four minutes."""
    made = []
    for seconds in range(70, 310, 15):
        at = datetime.now(UTC) + timedelta(seconds=seconds)
        body = {"run_at": at.isoformat(), "timezone": "UTC", "name": f"after {seconds} s", "enabled": True, "parameters": {}}
        answer = site.api("POST", f"/v1/workflows/{workflow_id}/schedules", body=body)
        assert answer.status_code == 200, answer.text
        made.append(str(answer.json()["schedule"]["workflow_schedule_id"]))
    return made


def test_a_destroy_leaves_the_files_alone(swarm: Swarm) -> None:
    swarm.checkout.pulumi(f"state unprotect --all --yes -s {STACK}")
    swarm.checkout.pulumi(f"destroy --yes --skip-preview -s {STACK}")
    swarm.checkout.pulumi(f"stack rm --yes {STACK}")
    for kind in ("service", "secret"):
        assert swarm.manager(kind, "ls", "--quiet") == ""
    assert PREFIX not in swarm.manager("network", "ls", "--format", "{{.Name}}")
    assert any((swarm.share / PREFIX / "artifacts").iterdir())
