"""``ops cluster`` over three daemons, each in its own network: a Swarm from nothing to nothing, and what breaks in between.

Nightly: the daemons are started several times. Their images are a few programs of this machine.
"""

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lab.workspace import copy_checkout
from ops.machine import daemon_config
from tests.support.machines import SMALL, Machine, machines, small_image
from tests.support.virtual_machine import NEEDS_QEMU, VirtualMachine, time_server, virtual_machines
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Place:
    """A checkout whose stack dev has these machines."""

    root: Path
    machines: list[Machine]
    path: str = os.environ["PATH"]

    def name_nodes(self, first: str, *nodes: str) -> None:
        """Writes host.docker_host and host.nodes."""
        yaml = YAML()
        document = yaml.load(self.root / "Pulumi.dev.yaml")
        host = document["config"].setdefault("skyvern:host", {})
        host["docker_host"] = first
        host["nodes"] = list(nodes)
        yaml.dump(document, self.root / "Pulumi.dev.yaml")

    def ops(self, *arguments: str, code: int | None = 0) -> str:
        """What ``ops ARGUMENTS`` prints, on both streams. code: of its end; None for any."""
        done = subprocess.run(
            [sys.executable, "-m", "ops", *arguments],
            cwd=self.root,
            env={**os.environ, "PATH": self.path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
        print(f"ops {' '.join(arguments)}\n{done.stdout}")
        assert code in (None, done.returncode), done.stdout
        return done.stdout

    def managers(self) -> list[bool]:
        """Of each machine, whether it manages, by its own word."""
        return [machine.docker.run("info", "--format", "{{.Swarm.ControlAvailable}}") == "true\n" for machine in self.machines]

    def running(self, service: str) -> list[int]:
        """Of each machine, how many tasks of a service run there."""
        of_service = ("--quiet", "--filter", f"name=^{service}\\.")
        return [len(machine.docker.run("ps", *of_service).split()) for machine in self.machines]

    def wait_for_status(self, text: str, *, seconds: float = 120) -> None:
        """Returns once ``ops cluster status`` shows this."""
        wait_for(lambda: text in self.ops("cluster", "status", code=None), seconds=seconds, pause=2)


@pytest.fixture
def checkout_of_dev(outside: Path, tmp_path: Path) -> Path:
    root = tmp_path / "clone"
    copy_checkout(root)
    return root


@pytest.fixture
def place(checkout_of_dev: Path) -> Iterator[Place]:
    with machines(3) as three:
        yield Place(checkout_of_dev, three)


@pytest.fixture
def with_another(pair: Place) -> Iterator[tuple[Place, VirtualMachine]]:
    """Two machines in one Swarm, and one with its own kernel and a clock of its own, which is in none."""
    with virtual_machines(1, ahead=timedelta(seconds=10)) as (machine,):
        yield replace(pair, path=os.environ["PATH"]), machine


@pytest.fixture
def behind_ssh(checkout_of_dev: Path) -> Iterator[Place]:
    """One machine, which is named by SSH."""
    with machines(1) as (one,), one.sshd() as programs:
        place = Place(checkout_of_dev, [one], f"{programs}:{os.environ['PATH']}")
        place.name_nodes(f"ssh://root@{one.address}")
        yield place


def restart_all(place: Place) -> None:
    for machine in place.machines:
        machine.restart()


def is_logged(machine: Machine, container: str, text: str) -> bool:
    return text in machine.docker.logs(container)


def test_a_swarm_from_nothing_to_nothing(place: Place) -> None:
    one, two, three = place.machines

    # Nothing is a Swarm yet, and the daemons have Docker's own profile.
    place.name_nodes(one.host, two.host, three.host)
    before = place.ops("cluster", "status", code=1)
    assert before.count("is not in the Swarm; bin/ops cluster init -s dev") == 3
    assert before.count("services there may gain privileges by setuid") == 3

    # These daemons are not services of systemd, so a person restarts them; what was in the file stays.
    written = place.ops("cluster", "init", code=1)
    assert written.count("is written, but Docker is not a service of systemd there; restart it, then go on") == 3
    profile = str(one.file.parent / daemon_config.profile_name())
    assert one.configuration() == {"debug": False, "no-new-privileges": True, "seccomp-profile": profile}
    restart_all(place)
    made = place.ops("cluster", "init")
    assert "made a Swarm" in made
    assert made.count(": joined") == 2
    assert "nothing is wrong" in made
    assert place.managers() == [True, True, True]
    again = place.ops("cluster", "init")
    assert again.splitlines()[0].startswith("daemon ")
    assert "10.212.0.0/16" in one.docker.run("info", "--format", "{{json .Swarm.Cluster.DefaultAddrPool}}")

    # What a service cannot ask for, its tasks have on each machine; and Chromium's sandbox is possible.
    for machine in place.machines:
        small_image(machine.docker)
    held = "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status; ip -brief link; unshare --user true && echo sandbox"
    image = "localhost/skyvern/small:1"
    create = ("service", "create", "--no-resolve-image", "--detach")
    hard = ("--cap-drop=ALL", "--user=10001", "--restart-condition=none")
    one.docker.run(*create, "--name=held", "--mode=global", *hard, image, "sh", "-c", f"{held}; sleep 600")
    wait_for(lambda: place.running("held") == [1, 1, 1], seconds=60, pause=1)
    for machine in place.machines:
        (task,) = machine.docker.run("ps", "--quiet", "--filter", "name=^held\\.").split()
        wait_for(partial(is_logged, machine, task, "sandbox"))
        # Netlink, which the server's own profile does not let pass.
        assert "lo " in machine.docker.logs(task)
        assert re.findall(r"(\w+):\s+(\d)", machine.docker.logs(task)) == [("NoNewPrivs", "1"), ("Seccomp", "2")]
    one.docker.run("service", "rm", "held")
    # A container of a stack on the same daemon: its firewall.
    firewall = ("run", "--rm", "--network=host", "--read-only", "--user=0:0", "--cap-drop=ALL", "--cap-add=NET_ADMIN")
    table = "nft add table inet probe && nft list tables && nft delete table inet probe"
    assert "table inet probe\n" in one.docker.run(*firewall, image, "sh", "-c", table)

    # Maintenance: the services of a machine go to the others and stay away from it until it is back.
    one.docker.run(*create, "--name=web", "--replicas=3", "--stop-grace-period=1s", image, "sleep", "9999")
    wait_for(lambda: place.running("web") == [1, 1, 1], seconds=60, pause=1)
    drained = place.ops("cluster", "drain", three.host)
    assert "has no services any more" in drained
    wait_for(lambda: sorted(place.running("web")) == [0, 1, 2], seconds=60, pause=1)
    assert place.running("web")[2] == 0
    assert "takes no services (it is set to drain)" in place.ops("cluster", "status")
    place.ops("cluster", "drain", three.host, "--undo")
    assert "nothing is wrong" in place.ops("cluster", "status")

    # A cable is pulled: named, and the rest goes on; plugged in again, nothing is wrong.
    three.pull_cable()
    place.wait_for_status(f"error: {three.host}: is down")
    wait_for(lambda: sum(place.running("web")[:2]) == 3, seconds=90, pause=1)
    three.plug_cable()
    place.wait_for_status("nothing is wrong")

    # A flag that is lost is an error, also for ops doctor.
    three.file.write_text("{}")
    three.restart()
    place.wait_for_status(f"error: {three.host}: services get its seccomp profile, default, and not the stack's")
    assert re.search(rf"error +cluster +{three.host} +services get its seccomp profile", place.ops("doctor", code=1))
    place.ops("cluster", "init", code=1)
    three.restart()
    place.wait_for_status("nothing is wrong")

    # Two managers are worse than one.
    left = place.ops("cluster", "leave", three.host)
    assert "manages no longer" in left
    assert sum(place.managers()) == 1
    assert "is not in the Swarm; bin/ops cluster join" in place.ops("cluster", "status", code=1)

    # One that is in a Swarm by itself is not taken out of it.
    three.docker.run("swarm", "init")
    assert f"{three.host}: is in another Swarm" in place.ops("cluster", "join", three.host, code=1)
    three.docker.run("swarm", "leave", "--force")
    place.ops("cluster", "join", three.host)
    assert place.managers() == [True, True, True]

    # The first machine will not come back; the others decide, and none takes it for one that answers.
    one.pull_cable()
    place.wait_for_status("is down")
    one.daemon.stop()
    listed = two.docker.run("node", "ls", "--format", "{{.ID}} {{.ManagerStatus}}").splitlines()
    (gone,) = [line.split()[0] for line in listed if "Unreachable" in line]
    assert "does not answer" in place.ops("cluster", "leave", gone, code=1)
    place.ops("cluster", "leave", gone, "--gone")
    assert len(two.docker.run("node", "ls", "--quiet").split()) == 2
    one.plug_cable()
    one.daemon.start()
    one.docker.run("swarm", "leave", "--force")

    # The last one ends it, and says what ends with it.
    place.ops("cluster", "leave", three.host)
    assert "add --yes" in place.ops("cluster", "leave", two.host, code=1)
    two.docker.run("service", "rm", "web")
    assert "was the last" in place.ops("cluster", "leave", two.host)
    states = [machine.docker.run("info", "--format", "{{.Swarm.LocalNodeState}}").strip() for machine in place.machines]
    assert states == ["inactive"] * 3


@pytest.fixture
def pair(checkout_of_dev: Path) -> Iterator[Place]:
    """Two machines in one Swarm."""
    with machines(2) as two:
        place = Place(checkout_of_dev, two)
        place.name_nodes(*(machine.host for machine in two))
        place.ops("cluster", "init", code=1)
        restart_all(place)
        place.ops("cluster", "init", code=None)
        yield place


def cure(printed: str, pattern: str) -> str:
    """The command of a line of ops cluster or ops doctor."""
    found = re.search(pattern, printed)
    assert found is not None, printed
    return found[1]


def test_a_service_that_stays_keeps_its_machine(pair: Place) -> None:
    """It waits for ten minutes by itself; here it is told to wait for ten seconds."""
    one, two = pair.machines
    image = small_image(two.docker)
    create = ("service", "create", "--no-resolve-image", "--detach", "--name=stays", "--stop-grace-period=20m")
    stubborn = ("sh", "-c", "trap '' TERM; while true; do sleep 1; done")
    one.docker.run(
        *create, f"--constraint=node.id=={two.docker.run('info', '--format', '{{.Swarm.NodeID}}').strip()}", image, *stubborn
    )
    wait_for(lambda: pair.running("stays") == [0, 1], seconds=60, pause=1)
    cluster = pair.root / "ops/deploy/cluster.py"
    limit = "max(DRAIN_SECONDS, stop_seconds)"
    assert limit in cluster.read_text()
    cluster.write_text(cluster.read_text().replace(limit, "10"))
    told = pair.ops("cluster", "drain", two.host, code=1)
    command = cure(told, r"services still run on [^;]+; see (docker --host \S+ node ps \S+)")
    listed = subprocess.run(command.split(), capture_output=True, text=True, check=True).stdout
    assert re.search(r"stays\.1 .* Running", listed), listed
    # What it shows is ended by hand, and the machine is empty.
    two.docker.run("kill", *two.docker.run("ps", "--quiet").split())
    assert "has no services any more" in pair.ops("cluster", "drain", two.host)


def test_a_locked_swarm_is_opened_by_the_command_of_its_line(pair: Place) -> None:
    one = pair.machines[0]
    key = re.search(r"SWMKEY-\S+", one.docker.run("swarm", "update", "--autolock=true"))
    assert key is not None
    one.restart()
    told = pair.ops("cluster", "status", code=1)
    command = cure(told, rf"error: {re.escape(one.host)}: waits for the key of its Swarm.*?(docker --host \S+ swarm unlock)")
    assert "swarm unlock" in pair.ops("doctor", code=1)
    subprocess.run(command.split(), input=f"{key[0]}\n", text=True, check=True)
    pair.wait_for_status(f"{one.host}")
    assert "waits for the key" not in pair.ops("cluster", "status", code=None)


def test_a_machine_that_does_not_reach_the_managers_joins_again(pair: Place) -> None:
    """Its port is closed when its daemon starts: it stays pending, and with the port open it joins again as the line says."""
    one, two = pair.machines
    # One that manages would be a part of the vote; this one is to wait.
    one.docker.run("node", "demote", two.docker.run("info", "--format", "{{.Swarm.NodeID}}").strip())
    inside = ["nsenter", f"--net={two.network}", "nft"]
    closed = "table inet closed {\nchain out {\ntype filter hook output priority 0\ntcp dport 2377 drop\n}\n}\n"
    two.daemon.stop()
    subprocess.run([*inside, "-f", "-"], input=closed, text=True, check=True)
    two.daemon.start()
    pair.wait_for_status(f"error: {two.host}: does not reach the managers of its Swarm", seconds=300)
    told = pair.ops("cluster", "status", code=1)
    command = cure(told, r"open .* between the machines; then (docker --host \S+ swarm leave --force), and join again")
    subprocess.run([*inside, "delete", "table", "inet", "closed"], check=True)
    subprocess.run(command.split(), check=True)
    pair.ops("cluster", "join", two.host, code=None)
    assert two.docker.run("info", "--format", "{{.Swarm.LocalNodeState}}").strip() == "active"


@NEEDS_QEMU
def test_a_clock_apart_is_named_and_set_right(with_another: tuple[Place, VirtualMachine]) -> None:
    """Ten seconds; the Swarm goes on meanwhile. Docker is a service of systemd there, so ``ops cluster`` restarts it."""
    place, machine = with_another
    one, two = place.machines
    joined = place.ops("cluster", "join", machine.host, code=1)
    assert f"{machine.host}: restarted Docker" in joined
    assert f"{machine.host}: joined" in joined
    place.name_nodes(one.host, two.host, machine.host)

    named = rf"error.* {re.escape(machine.host)}:? +its clock is (\d+) s ahead of that of unix://[^; ]+;? +(sudo .+?) *$"
    for command in ("cluster status", "doctor"):
        seen = re.search(named, place.ops(*command.split(), code=1), re.MULTILINE)
        assert seen is not None, command
        # The way there takes an emulated machine a second or two.
        assert 8 <= int(seen[1]) <= 13, seen[0]
        assert seen[2] == "sudo timedatectl set-ntp true, on both"

    # Services start there all the same.
    for each in (one.docker, two.docker, machine.docker):
        small_image(each)
    create = ("service", "create", "--no-resolve-image", "--detach", "--name=everywhere", "--mode=global")
    one.docker.run(*create, SMALL, "sleep", "9999")
    on_it = ("ps", "--quiet", "--filter", "name=^everywhere\\.")
    wait_for(lambda: len(machine.docker.run(*on_it).split()) == 1, seconds=180, pause=2)

    with time_server():
        machine.type("sudo timedatectl set-ntp true")
        wait_for(lambda: "its clock is" not in place.ops("cluster", "status", code=None), seconds=120, pause=3)
    # Its Docker may be of another version, which is a warning.
    assert "error: " not in place.ops("cluster", "status")
    assert place.running("everywhere") == [1, 1]
    assert len(machine.docker.run(*on_it).split()) == 1


@pytest.fixture
def emulated(outside: Path) -> Iterator[list[VirtualMachine]]:
    """Two in one Swarm, whose kernels have ESP."""
    with machines(0), virtual_machines(2) as two:
        manager, worker = two
        manager.docker.run("swarm", "init", f"--advertise-addr={manager.address}")
        token = manager.docker.run("swarm", "join-token", "--quiet", "worker").strip()
        worker.docker.run("swarm", "join", f"--token={token}", f"{manager.address}:2377")
        for machine in two:
            small_image(machine.docker, "bash")
        yield two


@NEEDS_QEMU
def test_what_machines_send_each_other_is_readable_unless_it_is_encrypted(emulated: list[VirtualMachine]) -> None:
    """A packet from a service on one to a service on the other, seen on the cable; the answer is that no one listens there."""
    one, two = emulated

    def seen(name: str, *options: str) -> tuple[bool, set[int]]:
        """Whether a text that is sent can be read on the way, and the protocols of the packets between the machines."""
        one.docker.run("network", "create", "--driver=overlay", *options, name)
        create = ("service", "create", "--no-resolve-image", "--detach", f"--name={name}", f"--network={name}", "--mode=global")
        one.docker.run(*create, SMALL, "sleep", "9999")
        ask = ("ps", "--quiet", "--filter", f"name=^{name}\\.")
        wait_for(lambda: all(machine.docker.run(*ask) for machine in emulated), seconds=240, pause=2)
        here, there = (machine.docker.run(*ask).strip() for machine in emulated)
        address = two.docker.inspect(there)["NetworkSettings"]["Networks"][name]["IPAddress"]
        text = f"a text of {name}"
        send = f"exec 3<> /dev/udp/{address}/9; for i in 1 2 3 4 5 6; do sleep 1; echo {text} >&3 || exit 0; done; exit 1"
        with cable_of(one) as packets:
            one.docker.run("exec", here, "bash", "-c", send)
        return any(text.encode() in packet for packet in packets), {
            packet[23] for packet in packets if is_between(packet, one, two)
        }

    readable, protocols = seen("plain")
    assert readable
    assert socket.IPPROTO_ESP not in protocols
    # As the stack's networks have it (components/host/network.py).
    readable, protocols = seen("secret", "--opt=encrypted=true")
    assert not readable
    assert socket.IPPROTO_ESP in protocols


def is_between(packet: bytes, one: VirtualMachine, two: VirtualMachine) -> bool:
    """Of IPv4, behind the 14 bytes of Ethernet."""
    addresses = {socket.inet_aton(machine.address) for machine in (one, two)}
    return packet[12:14] == b"\x08\x00" and {packet[26:30], packet[30:34]} == addresses


@contextlib.contextmanager
def cable_of(machine: VirtualMachine) -> Iterator[list[bytes]]:
    """The packets on it meanwhile."""
    packets: list[bytes] = []
    every_protocol = 0x0003  # linux/if_ether.h
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(every_protocol)) as line:
        line.bind((machine.cable, 0))
        line.settimeout(0.2)
        ended = threading.Event()

        def listen() -> None:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    packets.append(line.recv(65535))

        with ThreadPoolExecutor(1) as thread:
            listening = thread.submit(listen)
            try:
                yield packets
            finally:
                ended.set()
            listening.result()


def test_a_machine_behind_ssh(behind_ssh: Place) -> None:
    (machine,) = behind_ssh.machines
    host = f"ssh://root@{machine.address}"
    before = behind_ssh.ops("cluster", "status", code=1)
    assert f"error: {host}: services get its seccomp profile, default, and not the stack's" in before

    # A broken file is left as it is: with it, Docker would not start again.
    content = machine.file.read_text()
    machine.file.write_text("{")
    assert behind_ssh.ops("cluster", "init", code=1).count(f"{host}: /etc/docker/daemon.json is not valid JSON") == 1
    assert machine.file.read_text() == "{"
    machine.file.write_text(content)

    written = behind_ssh.ops("cluster", "init", code=1)
    assert f"{host}: /etc/docker/daemon.json is written, but Docker is not a service of systemd there" in written
    profile = f"/etc/docker/{daemon_config.profile_name()}"
    assert machine.configuration() == {"debug": False, "no-new-privileges": True, "seccomp-profile": profile}
    machine.restart()
    assert "nothing is wrong" in behind_ssh.ops("cluster", "init")
    assert "was the last" in behind_ssh.ops("cluster", "leave", host)
