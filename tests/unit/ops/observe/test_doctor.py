"""The doctor's checks on observations: nothing on a healthy one, and one finding with its fix for each fault."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.settings import parse
from lab import loopback
from ops.clients import process
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.machine import engine, environment, windows
from ops.machine.daemon import Daemon
from ops.observe import doctor, heartbeat
from ops.observe.automation import Today
from ops.observe.doctor import observation, policies, stack_checks
from ops.observe.doctor.observation import ChromeAnswer, Deployed, Disk, Observation, Planned, WindowsFacts
from ops.observe.internet import Answer
from ops.paths import ROOT
from ops.stack.checkpoint import Broken
from ops.stack.inventory import Container
from ops.stack.routes import HostNetwork, Route
from ops.stack.stack import Stack
from tests.support.cloudflare import edge_section
from tests.support.daemon import daemon
from tests.support.observations import DAEMON, DEPLOYED, GATEWAY, HEALTHY, HOST, PULUMI, SERVER


def with_settings(**sections: Any) -> Observation:
    return replace(HEALTHY, settings=parse(sections, file="Pulumi.dev.yaml"))


def with_host(**changes: Any) -> Observation:
    return replace(HEALTHY, host=replace(HOST, **changes))


def with_server(**changes: Any) -> Observation:
    return with_host(containers=(GATEWAY, replace(SERVER, **changes)))


def with_gateway(**changes: Any) -> Observation:
    return with_host(containers=(replace(GATEWAY, **changes), SERVER))


def with_daemon(**changes: Any) -> Observation:
    return replace(HEALTHY, daemon_facts=replace(DAEMON, **changes))


def with_pulumi(**changes: Any) -> Observation:
    return replace(HEALTHY, pulumi=replace(PULUMI, **changes))


def with_deployed(**changes: Any) -> Observation:
    return with_pulumi(deployed=replace(DEPLOYED, **changes))


def with_machine(**changes: Any) -> Observation:
    return replace(HEALTHY, machine=replace(HEALTHY.machine, **changes))


def without_daemon(daemon: Daemon, *, socket_exists: bool = True) -> Observation:
    return replace(HEALTHY, daemon=daemon, socket_exists=socket_exists, daemon_facts=None, host=None)


def with_chrome(problem: str, detail: str = "") -> Observation:
    settings = parse({"browser": {"type": "cdp-connect", "url": "http://10.222.222.1:9222/"}}, file="Pulumi.dev.yaml")
    return replace(with_host(chrome=ChromeAnswer(problem=problem, detail=detail)), settings=settings)


def with_gpu(**changes: Any) -> Observation:
    llm = {"provider": "ollama", "model": "llava:7b", "gpu": True, "memory_mib": 1024}
    return replace(with_settings(llm=llm), daemon_facts=replace(DAEMON, **changes))


def with_limit(limit: str, *, server: Container | None) -> Observation:
    """A kernel that forbids namespaces, on a stack whose state has no server without one."""
    left = (GATEWAY,) if server is None else (GATEWAY, server)
    recorded = DEPLOYED.containers[:1] if server is None else DEPLOYED.containers
    observed = replace(HEALTHY, namespace_limit=limit, pulumi=replace(PULUMI, deployed=replace(DEPLOYED, containers=recorded)))
    return replace(observed, host=replace(HOST, containers=left))


def with_answers(*answers: Answer) -> Observation:
    """What hosts on the internet answered, and a clock that nobody calls synchronised."""
    return replace(with_host(answers=answers), clock_synchronized=False)


def answer(step: Any = "", host: str = "a.test", ahead_seconds: float | None = None) -> Answer:
    return Answer(host=host, step=step, detail="seen", ahead_seconds=ahead_seconds)


def on_wsl(observed: Observation) -> Observation:
    return replace(observed, machine=replace(observed.machine, wsl=2), clock_synchronized=False)


def in_windows(**facts: Any) -> Observation:
    return on_wsl(with_host(windows=WindowsFacts(**{"disk": Disk(free_mib=90_000, free_inodes=None), **facts})))


def with_network(*routes: tuple[str, str], own: bool = True, **host: Any) -> Observation:
    """A host with routes, of which the first is to the internet, and the stack's edge network on it."""
    edge = IPv4Network("10.213.228.0/27")
    network = HostNetwork(
        routes=[Route(network=IPv4Network(subnet), interface=interface) for subnet, interface in routes],
        mtus={"eth0": 1500, "ens3": 1450},
        names={"br-000000000001": "skyvern-dev-edge", "br-000000000002": "shop_default"},
        own={edge: "skyvern-dev-edge"} if own else {},
    )
    return replace(with_settings(host=host), network=network)


def with_ollama(gpu_error: str | None) -> Observation:
    ollama = replace(SERVER, name="skyvern-dev-ollama", part="ollama", memory_mib=1024)
    planned = Planned(name=ollama.name, image=ollama.image, memory_mib=1024)
    return replace(
        with_gpu(),
        host=replace(HOST, containers=(GATEWAY, SERVER, ollama), gpu_error=gpu_error),
        pulumi=replace(PULUMI, deployed=replace(DEPLOYED, containers=(*DEPLOYED.containers, planned))),
    )


STRANGER = replace(SERVER, name="skyvern-dev-stranger", part="stranger")


def test_nothing_on_a_healthy_stack() -> None:
    assert doctor.examine(HEALTHY) == []
    assert doctor.render(HEALTHY, []) == f"stack dev: nothing is wrong ({len(doctor.CHECKS)} checks)"
    assert doctor.exit_code([]) == 0


@pytest.mark.parametrize(
    ("observed", "subject", "problem", "fix"),
    [
        (without_daemon(Daemon.NO_CLI), "docker", "not on PATH", "script/bootstrap --stack dev"),
        (without_daemon(Daemon.DENIED), "unix:///var/run/docker.sock", "may not use it", "usermod -aG docker"),
        (without_daemon(Daemon.NO_SOCKET), "unix:///var/run/docker.sock", "not a socket", "sudo rmdir /var/run/docker.sock"),
        (without_daemon(Daemon.PODMAN), "unix:///var/run/docker.sock", "is Podman", "install Docker Engine"),
        (
            replace(without_daemon(Daemon.SILENT), docker_host="ssh://me@h.example"),
            "ssh://me@h.example",
            "without a password",
            "try `ssh me@h.example docker version`",
        ),
        (replace(HEALTHY, full=(Path("/home/me/.config"), 12)), "/home/me/.config", "12 MiB are free on its disk", "df -h"),
        (without_daemon(Daemon.SILENT), "unix:///var/run/docker.sock", "nothing answers", "script/bootstrap"),
        (without_daemon(Daemon.SILENT, socket_exists=False), "unix:///var/run/docker.sock", "does not exist", "bootstrap"),
        (
            replace(without_daemon(Daemon.SILENT), docker_host="unix:///run/other.sock"),
            "unix:///run/other.sock",
            "nothing answers",
            "start that daemon, or correct host.docker_host in Pulumi.dev.yaml",
        ),
        (with_daemon(version="19.03.15"), "19.03.15", "older than 20.10", "install a current Docker"),
        (with_daemon(unsupported=("swap",)), "version 2", "no swap limit", "swapaccount=1"),
        (with_daemon(storage_driver="vfs"), "vfs", "copies every layer", "overlay2"),
        (with_daemon(cpus=1), "server.cpus", "2, and the host has 1", "write server.cpus: 1 into Pulumi.dev.yaml"),
        (with_daemon(memory_mib=4000), "server.memory_mib", "4096 MiB, and the host has 4000 MiB", "smaller server.memory_mib"),
        (with_daemon(memory_mib=4300), "all limits", "4864 MiB together, and the host has 4300", "smaller server.memory_mib"),
        (with_daemon(skew_seconds=-90), "Docker's clock", "is 90 s behind", "set-ntp true"),
        (replace(HEALTHY, clock_synchronized=False), "this machine", "not synchronised", "set-ntp true"),
        (with_machine(wsl=1), "WSL 1", "no kernel that runs containers", "wsl --set-version"),
        (with_machine(wsl=2, systemd=False), "systemd", "is off", "/etc/wsl.conf"),
        (
            with_host(disk=Disk(free_mib=900, free_inodes=None)),
            "Docker's storage",
            "900 MiB are free, 3072",
            "docker system prune",
        ),
        (with_host(disk=Disk(free_mib=9000, free_inodes=9)), "Docker's storage", "9 inodes are free", "docker system prune"),
        (
            with_host(present=dict(HOST.present) | {"localhost/skyvern/server:1": None}),
            "localhost/skyvern/server:1",
            "is not on the daemon",
            "bin/ops images build -s dev",
        ),
        (
            with_host(present=dict(HOST.present) | {"localhost/skyvern/server:1": "sha256:9"}),
            "skyvern-dev-server",
            "made from an older",
            "pulumi up --refresh -s dev",
        ),
        (
            replace(HEALTHY, settings=parse({"host": {"port": 8090}}, file="f")),
            "127.0.0.1:8090",
            "another program listens",
            "ss -ltnp",
        ),
        (with_host(containers=(GATEWAY,)), "skyvern-dev-server", "does not exist", "pulumi up --refresh -s dev"),
        (
            with_host(containers=(GATEWAY, SERVER, STRANGER)),
            "skyvern-dev-stranger",
            "not in its state",
            "docker rm --force skyvern-dev-stranger",
        ),
        (with_server(status="exited", exit_code=3), "skyvern-dev-server", "(exited, exit 3)", "docker start skyvern-dev-server"),
        (
            with_server(status="exited", exit_code=137, oom_killed=True),
            "skyvern-dev-server",
            "killed: out of memory",
            "larger server.memory_mib",
        ),
        (with_server(oom_killed=True), "skyvern-dev-server", "ran out of memory", "larger server.memory_mib"),
        (with_gateway(oom_killed=True), "skyvern-dev-gateway", "ran out of memory", "docker restart skyvern-dev-gateway"),
        (with_server(status="paused"), "skyvern-dev-server", "is paused", "docker unpause skyvern-dev-server"),
        (with_server(status="restarting", restarts=2), "skyvern-dev-server", "restart loop", "bin/ops logs -s dev server"),
        (with_server(restarts=4), "skyvern-dev-server", "restarted it 4 times", "bin/ops logs -s dev server"),
        (with_server(health="unhealthy"), "skyvern-dev-server", "is unhealthy", "docker restart skyvern-dev-server"),
        (with_server(health="starting"), "skyvern-dev-server", "still starting", "wait a minute"),
        (with_server(image="localhost/skyvern/server:0"), "skyvern-dev-server", "the state has", "docker rm --force"),
        (
            replace(HEALTHY, named={"server": "localhost/skyvern/server:3"}),
            "skyvern-dev-server",
            "names localhost/skyvern/server:3",
            "pulumi up -s dev",
        ),
        (with_server(read_only=False), "skyvern-dev-server", "can be written to", "docker rm --force skyvern-dev-server"),
        (with_server(privileged=True), "skyvern-dev-server", "is privileged", "docker rm --force skyvern-dev-server"),
        (with_server(capabilities_dropped=False), "skyvern-dev-server", "capabilities", "docker rm --force"),
        (
            with_host(openings=("gateway reaches postgres: no wall between the stack's networks",)),
            "gateway",
            "reaches postgres: no wall",
            "script/up --stack dev",
        ),
        (with_host(openings=None), "stack dev", "could not be checked", "bin/ops smoke -s dev"),
        (
            with_host(docker_rules_lost=True),
            "Docker",
            "its own rules for the stack's networks are gone",
            "sudo systemctl restart docker",
        ),
        (with_settings(host={"firewall": False}), "host.firewall", "is false", "write host.firewall: true into Pulumi.dev.yaml"),
        (with_server(no_new_privileges=False), "skyvern-dev-server", "may gain privileges", "docker rm --force"),
        (with_server(system_calls_filtered=False), "skyvern-dev-server", "no system call filter", "docker rm --force"),
        (with_server(memory_mib=0), "skyvern-dev-server", "limit is none, and the state has 4096", "docker rm --force"),
        (
            with_gateway(published=(("127.0.0.1", 8080, "8080/tcp"), ("", 9090, "9090/tcp"))),
            "skyvern-dev-gateway",
            "port 9090 is published on 0.0.0.0",
            "docker rm --force skyvern-dev-gateway, then pulumi up --refresh -s dev",
        ),
        (with_host(volumes=()), "skyvern-dev-postgres", "is gone", "pulumi up --refresh -s dev"),
        (with_host(volumes=(*HOST.volumes, "old")), "old", "not in its state", "docker volume rm old"),
        (with_host(networks=()), "skyvern-dev-edge", "does not exist", "pulumi up --refresh -s dev"),
        (with_host(networks=(*HOST.networks, "old")), "old", "not in its state", "docker network rm old"),
        (with_host(heartbeat=502), "127.0.0.1:8080", "the API answers 502", "docker restart skyvern-dev-gateway"),
        (with_host(heartbeat=0), "127.0.0.1:8080", "the API does not answer", "docker restart skyvern-dev-gateway"),
        (with_host(llm_error="timed out"), "none", "cannot connect to it: timed out", "DNS, firewall"),
        (
            replace(with_chrome(""), host=replace(HOST, free_ports={"browser.proxy_port": False})),
            "127.0.0.1:3128",
            "another program listens",
            "write another browser.proxy_port into Pulumi.dev.yaml",
        ),
        (with_chrome("name", "unknown"), "http://10.222.222.1:9222/", "resolve this name (unknown)", "IP address as browser.url"),
        (with_chrome("connect", "timed out"), "http://10.222.222.1:9222/", "no answer to the server (timed out)", "firewall"),
        (with_chrome("status", "500"), "http://10.222.222.1:9222/", "status 500: Chrome refuses a Host", "browser.host_header"),
        (with_chrome("other"), "http://10.222.222.1:9222/", "not Chrome's debugging port", "correct the port of browser.url"),
        (with_chrome("redirect", "localhost"), "http://10.222.222.1:9222/", "on to localhost", "browser.host_header"),
        (with_gpu(), "llm.gpu", "no NVIDIA runtime", "docs/llm.md, or write llm.gpu: false into Pulumi.dev.yaml"),
        (
            with_limit("user.max_user_namespaces", server=None),
            "user.max_user_namespaces",
            "keeps Chromium from making its sandbox",
            "echo user.max_user_namespaces=15000 | sudo tee",
        ),
        (
            with_limit("kernel.apparmor_restrict_unprivileged_userns", server=None),
            "kernel.apparmor_restrict_unprivileged_userns",
            "keeps Chromium from making its sandbox",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (
            with_daemon(remapped=True),
            "unix:///var/run/docker.sock",
            "gives containers other users than the host's (userns-remap)",
            'take "userns-remap" out of /etc/docker/daemon.json',
        ),
        # F06.
        (
            with_host(answers=[answer("name"), answer("connect", "b.test")]),
            "skyvern-dev-egress",
            "do not reach the internet: no connection is made (b.test: seen)",
            "write host.internet: false into Pulumi.dev.yaml",
        ),
        # F13: a clock outside counts, not what systemd says.
        (with_answers(answer(ahead_seconds=-300)), "the containers' clock", "is 300 s behind that of a.test", "set-ntp true"),
        (on_wsl(with_host(answers=[answer(ahead_seconds=61)])), "the containers' clock", "is 61 s ahead", "sudo hwclock -s"),
        (on_wsl(with_daemon(skew_seconds=-90)), "Docker's clock", "is 90 s behind", "sudo hwclock -s"),
        # F14.
        (
            in_windows(status=404, listeners={"host.port": ["nginx.exe (PID 4711)"]}),
            "localhost:8080 in Windows",
            "nginx.exe (PID 4711) listens on it",
            "end nginx.exe (PID 4711) in Windows, or write another host.port into Pulumi.dev.yaml",
        ),
        (
            replace(in_windows(listeners={"browser.proxy_port": ["squid.exe (PID 7)"]}), settings=with_chrome("").settings),
            "localhost:3128 in Windows",
            "squid.exe (PID 7) listens on it",
            "or write another browser.proxy_port into Pulumi.dev.yaml",
        ),
        (in_windows(status=404), "localhost:8080 in Windows", "another program answers with 404", "another host.port"),
        (in_windows(status=0), "localhost:8080 in Windows", "nothing answers there", "wsl --shutdown"),
        # F12.
        (
            in_windows(disk=Disk(free_mib=400, free_inodes=None, where="drive C: of Windows")),
            "drive C: of Windows",
            "400 MiB are free",
            "make space on that drive in Windows",
        ),
        # F15, F16.
        (
            with_network(("0.0.0.0/0", "eth0"), ("10.213.228.0/27", "br-000000000001"), ("10.213.224.0/20", "eth0")),
            "10.213.224.0/20 on eth0",
            "addresses of skyvern-dev-edge",
            "write host.networks: 10.87.0.0/16 into Pulumi.dev.yaml, then pulumi up -s dev",
        ),
        (
            with_network(("10.213.228.0/24", "br-000000000002"), own=False),
            "10.213.228.0/24 on br-000000000002 (Docker's network shop_default)",
            "the networks to be made",
            "write host.networks: 10.87.0.0/16",
        ),
        # F17.
        (
            with_network(("0.0.0.0/0", "ens3")),
            "networks",
            "have up to 1500 bytes, and those of the host's ens3 1450",
            "write host.mtu: 1450 into Pulumi.dev.yaml",
        ),
        (
            with_network(("0.0.0.0/0", "ens3"), mtu=1480),
            "host.mtu",
            "have up to 1480 bytes, and those of the host's ens3 1450",
            "write host.mtu: 1450",
        ),
        # F25: what nvidia-smi says after a systemctl daemon-reload.
        (
            with_ollama("Failed to initialize NVML: Unknown Error"),
            "skyvern-dev-ollama",
            "runs on the CPU: Failed to initialize NVML: Unknown Error",
            "docker restart skyvern-dev-ollama",
        ),
        (with_pulumi(cli=False, deployed=None), "CLI", "is gone", "script/bootstrap"),
        (with_pulumi(passphrase_problem="0640"), "/p", "has mode 0640", "chmod 0600 /p"),
        (with_pulumi(passphrase_problem="missing"), "/p", "does not exist", "from your copy"),
        (with_pulumi(passphrase_problem="empty"), "/p", "is empty", "from your copy"),
        (
            with_pulumi(export_error="no stack named 'dev' found", deployed=None),
            "dev",
            "no such stack in file:///state",
            "script/up --stack dev",
        ),
        (with_pulumi(export_error="connection refused", deployed=None), "file:///state", "connection refused", "whoami"),
        (
            with_host(connections=(93, 100)),
            "skyvern-dev-postgres",
            "93 of 100 connections are in use",
            "docker restart skyvern-dev-server",
        ),
        (
            with_host(disk=Disk(free_mib=0, free_inodes=None, where="volume skyvern-dev-postgres")),
            "volume skyvern-dev-postgres",
            "0 MiB are free",
            "docker system prune",
        ),
        (
            with_host(retention_waits="the last round was on 2026-01-31"),
            "skyvern-dev-retention",
            "removes nothing: the last round was on 2026-01-31",
            "set the clock right",
        ),
        (
            with_pulumi(
                export_error="unexpected end",
                deployed=None,
                broken=(Broken(path=Path("/s.json"), size_bytes=7, remedy="cp a b"),),
            ),
            "/s.json",
            "is cut off or not a state file (7 bytes)",
            "cp a b",
        ),
        (with_deployed(pending=("creating x",)), "dev", "pending operations: creating x", "pulumi refresh -s dev"),
        (replace(HEALTHY, salt=""), "encryptionsalt", "is missing", "encryptionsalt: v1:salt"),
        (replace(HEALTHY, salt="v1:other"), "encryptionsalt", "differs from the state's", "encryptionsalt: v1:salt"),
        (
            replace(
                without_daemon(Daemon.SILENT),
                settings=None,
                mistakes=("Pulumi.dev.yaml: host.port: 80 is too small; write another",),
            ),
            "Pulumi.dev.yaml",
            "host.port: 80 is too small",
            "write another",
        ),
    ],
)
def test_each_fault_is_one_finding_with_its_fix(observed: Observation, subject: str, problem: str, fix: str) -> None:
    findings = doctor.examine(observed)
    assert len(findings) == 1, findings
    assert findings[0].subject == subject
    assert problem in findings[0].problem
    assert fix in findings[0].fix
    lines = doctor.render(observed, findings).splitlines()
    assert findings[0].fix in lines[1]


def test_a_stack_that_was_never_deployed() -> None:
    nothing = Deployed(containers=(), volumes=(), networks=(), pending=(), salt="")
    host = with_host(containers=(), volumes=(), networks=(), free_ports={"host.port": True})
    observed = replace(host, pulumi=replace(PULUMI, deployed=nothing))
    (only,) = doctor.examine(observed)
    assert "never deployed" in only.problem
    assert only.fix == "script/up --stack dev"


def test_images_to_build_need_room() -> None:
    observed = with_host(present=dict.fromkeys(HOST.present), disk=Disk(free_mib=6000, free_inodes=None))
    assert any("for 2 images" in finding.problem for finding in doctor.examine(observed))


def test_what_works_is_not_doubted() -> None:
    """A sandbox that was made, a Chrome that answers, a GPU that was handed out: no setting of the host is held against it."""
    assert doctor.examine(with_limit("kernel.apparmor_restrict_unprivileged_userns", server=SERVER)) == []
    assert doctor.examine(with_chrome("")) == []
    assert doctor.examine(with_gpu(runtimes=("nvidia", "runc"))) == []


def test_a_working_machine_has_no_finding() -> None:
    """A clock and an internet that are right, an offline machine, and a network beside others."""
    assert doctor.examine(with_answers(answer(ahead_seconds=1.2), answer("name", "b.test"))) == []
    assert doctor.examine(with_host(answers=None)) == []
    assert doctor.examine(in_windows()) == []
    assert doctor.examine(with_network(("0.0.0.0/0", "eth0"), ("10.213.228.0/27", "br-000000000001"))) == []
    assert doctor.examine(with_network(("0.0.0.0/0", "ens3"), mtu=1450)) == []
    assert doctor.examine(with_ollama("")) == []


def test_wsl_is_not_told_to_use_what_has_no_effect_there() -> None:
    """F13: timedatectl says "not synchronised" in every WSL."""
    assert doctor.examine(on_wsl(HEALTHY)) == []


def test_no_sandbox_is_missed_where_none_is_wanted() -> None:
    limited = with_limit("user.max_user_namespaces", server=None)
    for browser in ({"sandbox": False}, {"type": "cdp-connect", "url": "http://10.222.222.1:9222/"}):
        assert doctor.examine(replace(limited, settings=with_settings(browser=browser).settings)) == []


def test_a_server_that_cannot_start_for_want_of_namespaces() -> None:
    looping = replace(SERVER, status="restarting", restarts=2)
    findings = doctor.examine(with_limit("kernel.apparmor_restrict_unprivileged_userns", server=looping))
    assert {(finding.level, finding.check) for finding in findings} == {("error", "container"), ("error", "sandbox")}
    waiting = doctor.examine(with_limit("kernel.apparmor_restrict_unprivileged_userns", server=None))
    assert [finding.level for finding in waiting] == ["warning"], "AppArmor's setting alone proves nothing"


def test_wsl_gets_more_memory_in_windows() -> None:
    observed = replace(with_daemon(memory_mib=4300), machine=replace(HEALTHY.machine, wsl=2), clock_synchronized=None)
    (only,) = doctor.examine(observed)
    assert ".wslconfig" in only.fix


def test_another_daemon_is_named_in_the_fix() -> None:
    observed = replace(with_server(status="paused"), docker_host="unix:///run/other.sock")
    assert doctor.examine(observed)[0].fix == "docker --host unix:///run/other.sock unpause skyvern-dev-server"


def test_a_database_elsewhere_that_does_not_answer_is_an_error() -> None:
    assert doctor.examine(with_host(database_error=None)) == []
    (found,) = doctor.examine(with_host(database_error="server certificate does not match host name"))
    assert found.subject.endswith("database.url")
    assert found.problem == "the server does not let the stack in: server certificate does not match host name"


@pytest.mark.parametrize("elsewhere", [True, False])
def test_why_a_database_elsewhere_does_not_answer(elsewhere: bool) -> None:
    url = {"url": "postgresql://boss:correct-horse-battery@db.example.com/x?sslmode=verify-full"}
    settings = parse({"database": url if elsewhere else {}}, file="x", secret_keys=frozenset({"database.url"}))
    said = 'docker: exit 2: psql: error: connection to server at "db.example.com" failed: timeout expired | \tIs it running?'
    failing = daemon(**{"exec roles psql": UserError(said)})
    reason = 'connection to server at "db.example.com" failed: timeout expired'
    assert observation.database_error(failing, "roles", settings) == (reason if elsewhere else None)
    assert observation.database_error(daemon(), "roles", settings) is None


def test_some_connections_are_left() -> None:
    assert doctor.examine(with_host(connections=(92, 100))) == []


def test_errors_come_first_and_only_they_fail() -> None:
    observed = replace(with_server(status="paused"), salt="")
    findings = doctor.examine(observed)
    assert [finding.level for finding in findings] == ["error", "warning"]
    assert doctor.exit_code(findings) == 1
    assert doctor.exit_code(findings[1:]) == 0


# --- Observers -----------------------------------------------------------------------------------------------------------


def test_docker_info() -> None:
    now = datetime(2026, 1, 31, 9, 0, 0, tzinfo=UTC)
    facts = observation.parse_daemon(
        {
            "ServerVersion": "20.10.24+dfsg1",
            "CgroupVersion": "1",
            "Driver": "overlay2",
            "NCPU": 2,
            "MemTotal": 25276510208,
            "SystemTime": "2026-01-31T09:01:00.264643149Z",
            "MemoryLimit": True,
            "SwapLimit": False,
            "SecurityOptions": ["name=seccomp,profile=default", "name=userns"],
        },
        now,
    )
    assert facts.remapped
    assert not observation.parse_daemon({"SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]}, now).remapped
    assert facts.memory_mib == 24105
    assert facts.unsupported == ("swap",)
    assert facts.skew_seconds == pytest.approx(60.26, abs=0.01)
    assert doctor.examine(with_daemon(version=facts.version)) == []


def test_disk_by_df() -> None:
    blocks = "Filesystem 1024-blocks Used Available Capacity Mounted on\noverlay 264212084 50789420 44711844 54% /\n"
    inodes = "Filesystem Inodes IUsed IFree IUse% Mounted on\noverlay 16777216 1379642 15397574 9% /\n"
    assert observation.parse_disk(blocks, inodes) == Disk(free_mib=43663, free_inodes=15397574)
    uncounted = "Filesystem Inodes IUsed IFree IUse% Mounted on\noverlay 0 0 0 - /\n"
    assert observation.parse_disk(blocks, uncounted) == Disk(free_mib=43663, free_inodes=None)


class OneVolume(Docker):
    """A daemon with a container on a disk of 42 GiB and a volume on this machine's."""

    def command(self, *arguments: str | Path) -> list[str]:
        if arguments[0] == "volume":
            folder = "/nowhere" if arguments[-1] == "elsewhere" else "/proc"
            options = {"type": "tmpfs"} if arguments[-1] == "in-memory" else None
            return ["echo", json.dumps([{"Mountpoint": folder, "Options": options}])]
        return ["printf", "%s\\n", "Filesystem 1024-blocks Used Available Capacity Mounted", "overlay 99 99 44711044 3% /"]


def test_the_fullest_disk_is_reported() -> None:
    docker = OneVolume("unix:///x")
    disk = observation.observe_disk(docker, ["server"], ["elsewhere", "in-memory"])
    assert disk is not None
    assert (disk.free_mib, disk.where) == (43663, "Docker's storage")
    # /proc has no room at all.
    full = observation.observe_disk(docker, ["server"], ["elsewhere", "full"])
    assert full is not None
    assert (full.free_mib, full.where) == (0, "volume full")


@pytest.mark.parametrize(("printed", "connections"), [("97 100", (97, 100)), ("", None)])
def test_connections_of_the_database(monkeypatch: pytest.MonkeyPatch, printed: str, connections: tuple[int, int] | None) -> None:
    monkeypatch.setattr(Docker, "command", lambda self, *_: ["echo", printed])
    assert observation.observe_connections(Docker("unix:///x"), "roles") == connections


@pytest.mark.parametrize(
    ("log", "why"),
    [("retention: removed: har 0 files 0.0 MiB\n", ""), ("retention: WAITS: the last round was\n", "the last round was")],
)
def test_why_retention_waits(monkeypatch: pytest.MonkeyPatch, log: str, why: str) -> None:
    monkeypatch.setattr(Docker, "logs", lambda self, *_: log)
    assert observation.retention_waits(Docker("unix:///x"), "retention") == why


def test_state() -> None:
    def resource(kind: str, **inputs: Any) -> dict[str, Any]:
        return {"type": f"docker:index/{kind}", "urn": f"urn:pulumi:dev::skyvern::{kind}::x", "inputs": inputs}

    document = {
        "deployment": {
            "secrets_providers": {"type": "passphrase", "state": {"salt": "v1:salt"}},
            "resources": [
                resource("container:Container", name="skyvern-dev-server", image="a:1", memory=4096),
                resource("container:Container", name="skyvern-dev-server", image="a:0") | {"delete": True},
                resource("volume:Volume", name="v"),
                resource("network:Network", name="n"),
            ],
            "pending_operations": [{"type": "creating", "resource": {"urn": "urn:pulumi:dev::skyvern::t::skyvern-x"}}],
        }
    }
    assert observation.parse_state(document) == Deployed(
        containers=[Planned(name="skyvern-dev-server", image="a:1", memory_mib=4096)],
        volumes=["v"],
        networks=["n"],
        pending=["creating skyvern-x"],
        salt="v1:salt",
    )
    assert observation.parse_state({"deployment": None}).containers == []


def test_passphrase_file(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    assert observation.passphrase_problem(path) == "missing"
    path.touch(mode=0o600)
    assert observation.passphrase_problem(path) == "empty"
    path.write_text("secret")
    assert observation.passphrase_problem(path) == ""
    path.chmod(0o640)
    assert observation.passphrase_problem(path) == "0640"


@pytest.mark.parametrize(
    ("answers", "direct", "problem"),
    [
        # The provider cannot be reached by itself, and that is right there.
        (True, "postgres", r"^$"),
        (True, "llm.invalid", r"^\[Errno [^()]*$"),
        (False, "postgres", r"refused \(host\.proxy\)$"),
    ],
)
def test_behind_a_companys_proxy_the_model_is_asked_for_there(answers: bool, direct: str, problem: str) -> None:
    """F10. answers: the proxy. direct: a name that is asked past it."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        port = proxy.getsockname()[1]
        if not answers:
            proxy.close()
        done = subprocess.run(
            [sys.executable, "-I", "-c", observation._CONNECT, "llm.invalid", "443"],
            env={"HTTPS_PROXY": f"http://127.0.0.1:{port}", "NO_PROXY": f"localhost,{direct}"},
            capture_output=True,
            text=True,
            check=True,
        )
    assert re.search(problem, done.stdout.strip())


@pytest.mark.parametrize(
    ("llm", "address"),
    [
        ({"provider": "none"}, None),
        ({"provider": "openai", "api_key": "k-of-a-test"}, ("api.openai.com", 443)),
        (
            {"provider": "openai-compatible", "api_key": "k-of-a-test", "base_url": "http://llm:4000/v1", "model": "m"},
            ("llm", 4000),
        ),
        ({"provider": "openai-compatible", "api_key": "k-of-a-test", "base_url": "https://llm/v1", "model": "m"}, ("llm", 443)),
    ],
)
def test_address_of_the_language_model(llm: dict[str, Any], address: tuple[str, int] | None) -> None:
    settings = parse({"llm": llm}, file="f", secret_keys=frozenset({"llm"}))
    assert observation.provider_address(settings) == address


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        ("localhost/skyvern/server:1", "localhost/skyvern/server:2"),
        ("postgres:17.5-trixie@sha256:aa", "postgres:17.6-trixie@sha256:bb"),
        ("localhost:5000/other", None),
    ],
)
def test_the_image_that_this_version_names(reference: str, named: str | None) -> None:
    known = {"server": "localhost/skyvern/server:2", "postgres": "postgres:17.6-trixie@sha256:bb"}
    assert observation.same_image(reference, known) == named


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE", "PULUMI_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(engine, "read_record", lambda: SimpleNamespace(pulumi_home=None, version="3.256.0"))
    monkeypatch.setattr(environment, "for_engine", lambda: {"PATH": "/engine"})


def answering(answer: str | UserError) -> Callable[..., bytes]:
    """A pulumi that is asked for the state of dev as it is stored, in the decided engine's environment."""

    def capture(command: list[str], *, cwd: Path, env: Mapping[str, str], timeout_seconds: float) -> bytes:
        assert command == ["pulumi", "stack", "export", "--non-interactive", "--stack", "organization/skyvern/dev"]
        assert env["PATH"] == "/engine"
        assert env["PULUMI_BACKEND_URL"].startswith("file://")
        if isinstance(answer, UserError):
            raise answer
        return answer.encode()

    return capture


STACK = Stack("organization/skyvern/dev")


@pytest.mark.usefixtures("prepared")
def test_pulumi_is_asked_also_without_its_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "capture", answering(json.dumps({"deployment": {}})))
    facts = observation.observe_pulumi(STACK)
    assert facts.deployed is not None
    assert facts.passphrase_problem == "missing"
    monkeypatch.setattr(process, "capture", answering(UserError("pulumi: exit 255: error: no stack named 'dev' found")))
    refused = observation.observe_pulumi(STACK)
    assert refused.deployed is None
    assert refused.export_error == "no stack named 'dev' found"


LEVELS = (ROOT / "policy" / "levels.yaml").read_text()
JUDGED = {
    "docker-container-unprivileged": ("mandatory", "helper: privileged: root on the host; write no"),
    "docker-container-image-pinned": ("advisory", "<{%fg 3%}>helper: image: latest moves; write its digest<{%reset%}>"),
    "docker-container-root-read-only": ("advisory", "exempted until 2026-12-01 (upstream): egress: readOnly: no"),
    "policy-value-known": ("advisory", "x: y: known after the update only, so not checked now, but then; by z"),
}


def analyzed(*rules: str, end: bool = True) -> bytes:
    """What ``pulumi policy analyze --json`` prints (3.256)."""
    events: list[dict[str, Any]] = []
    for rule in rules:
        level, message = JUDGED[rule]
        text = f"The rule's description\n{message}\n"
        events.append({"policyEvent": {"policyName": rule, "enforcementLevel": level, "message": text}})
    events.append({"policyAnalyzeSummaryEvent": {"passed": []}})
    events += [{"summaryEvent": {"result": "failed"}}] if end else []
    return "".join(f"{json.dumps(event)}\n" for event in events).encode()


def test_what_is_deployed_is_judged_by_the_rules_of_this_checkout() -> None:
    # The engine asks the rules of a whole stack twice, and says both answers.
    found = policies.parse(analyzed(*sorted(JUDGED), "docker-container-image-pinned"))
    assert [(one.rule, one.mandatory) for one in found] == [
        ("docker-container-unprivileged", True),
        ("docker-container-image-pinned", False),
    ]
    observed = with_pulumi(policies=policies.Policies(violations=found))
    first, second = doctor.examine(observed)
    assert (first.level, first.subject, first.problem, first.fix) == (
        "error",
        "docker-container-unprivileged",
        "helper: privileged: root on the host",
        "write no, then script/up --stack dev",
    )
    assert (second.level, second.problem) == ("warning", "helper: image: latest moves")
    assert doctor.examine(with_pulumi(policies=policies.Policies(violations=policies.parse(analyzed())))) == []


def test_a_member_of_a_zone_hears_nothing_of_what_its_owner_has() -> None:
    """It may not even have it: with ``zone_owner: false``, a setting of the zone is refused."""
    rules = [f"stack-zone-{rule}" for rule in ("firewall-present", "rate-limited", "https-set", "tls-set")]
    rules = [rule for rule in rules if rule in LEVELS]
    assert len(rules) == 4
    found = [policies.Violation(rule=rule, message="ingress: x; write y", mandatory=False) for rule in rules]
    for owner, told in ((True, rules), (False, [])):
        section = edge_section(cell="shop", zone_owner=owner)
        settings = parse(section, file="Pulumi.shop.yaml", secret_keys=frozenset({"edge", "frontend"}))
        observed = replace(with_pulumi(policies=policies.Policies(violations=found)), settings=settings)
        assert [finding.subject for finding in doctor.examine(observed) if finding.check == "policy"] == told


def test_rules_that_did_not_end_are_not_green(monkeypatch: pytest.MonkeyPatch) -> None:
    def judged(printed: bytes | UserError) -> policies.Policies:
        def capture(command: list[str], **options: Any) -> bytes:
            assert command[1:3] == ["policy", "analyze"]
            # With violations it fails, and prints them.
            assert options["any_code"]
            if isinstance(printed, UserError):
                raise printed
            return printed

        monkeypatch.setattr(process, "capture", capture)
        return policies.observe_policies(STACK, {})

    assert judged(analyzed()).error == ""
    for printed, said in (
        (analyzed(end=False), "pulumi: printed something that cannot be read"),
        (b"", "pulumi: printed something that cannot be read"),
        (UserError("pulumi: exit 255: error: loading policy packs"), "loading policy packs"),
    ):
        (finding,) = doctor.examine(with_pulumi(policies=judged(printed)))
        assert (finding.level, finding.subject) == ("warning", "what is deployed")
        assert said in finding.problem


@pytest.mark.usefixtures("prepared")
def test_rules_are_asked_about_what_was_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    container = {"urn": "urn::x", "type": "docker:index/container:Container", "inputs": {"name": "x", "image": "y"}}
    asked: list[str] = []

    def observe_policies(stack: Stack, variables: Mapping[str, str]) -> policies.Policies:
        asked.append(stack.name)
        return policies.Policies()

    monkeypatch.setattr(policies, "observe_policies", observe_policies)
    for resources in ([], [container]):
        monkeypatch.setattr(process, "capture", answering(json.dumps({"deployment": {"resources": resources}})))
        # Its passphrase is missing, and the state is decrypted for the rules.
        observation.observe_pulumi(STACK)
        assert asked == []
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "x")
    assert observation.observe_pulumi(STACK).policies == policies.Policies()
    assert asked == ["organization/skyvern/dev"]


@pytest.mark.usefixtures("prepared")
def test_a_passphrase_in_the_environment_needs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "x")
    monkeypatch.setattr(process, "capture", answering("{}"))
    assert observation.observe_pulumi(STACK).passphrase_file is None


@pytest.mark.parametrize(
    ("content", "fixes"),
    [
        (
            b"config:\n  skyvern:host:\n    port: 80\n  skyvern:llm:\n    provider: openai\n",
            ["write another value", "set it with `pulumi config set --secret --path llm.api_key -s dev`"],
        ),
        (b"config: []\n  x", ["correct it (docs/configuration.md)"]),
        (b"- config\n", ["write its settings below config: (docs/configuration.md)"]),
        (b"config: {}  # Gr\xf6\xdfe\n", ["save it as UTF-8"]),
        (None, ["copy Pulumi.dev.yaml to it and give it its own host.port"]),
    ],
)
def test_a_wrong_stack_file_is_seen_and_nothing_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, fixes: list[str]
) -> None:
    if content is not None:
        (tmp_path / "Pulumi.dev.yaml").write_bytes(content)
    monkeypatch.setattr(observation, "observe_pulumi", lambda stack: PULUMI)
    observed = observation.observe(Stack("organization/skyvern/dev", root=tmp_path))
    assert observed.host is None
    findings = doctor.examine(observed)
    assert {(finding.check, finding.subject) for finding in findings} == {("stack file", "Pulumi.dev.yaml")}
    assert [finding.fix[: len(fix)] for finding, fix in zip(findings, fixes, strict=True)] == fixes


def test_skew_is_measured_against_the_middle_of_the_question() -> None:
    class Answering:
        def run(self, *arguments: str) -> str:
            ahead = datetime.now(UTC) + timedelta(seconds=30)
            return json.dumps({"SystemTime": ahead.isoformat().replace("+00:00", "Z")})

    facts = observation.observe_daemon_facts(Answering())  # type: ignore[arg-type]  # a double
    assert facts.skew_seconds == pytest.approx(30, abs=1)


@pytest.mark.parametrize(
    ("name", "value", "limit"),
    [
        ("user/max_user_namespaces", "0", "user.max_user_namespaces"),
        ("user/max_user_namespaces", "96365", ""),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone"),
        ("kernel/unprivileged_userns_clone", "1", ""),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns"),
        ("kernel/apparmor_restrict_unprivileged_userns", "0", ""),
    ],
)
def test_kernel_settings_that_forbid_namespaces(tmp_path: Path, name: str, value: str, limit: str) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(f"{value}\n")
    assert observation.namespace_limit(tmp_path) == limit


class Chrome(loopback.Handler):
    """A debugging port: refuses names in the Host header and sends on to the address that was asked for, as Chrome 156 does."""

    def do_GET(self) -> None:
        host = self.headers["Host"]
        if self.path != "/json/version":
            self.send_error(404)
        elif not host.startswith("127."):
            self.send_error(500)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"webSocketDebuggerUrl": f"ws://{host}/devtools/browser/1"}).encode())


class Elsewhere(Chrome):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")


def ask_chrome(url: str, header: str = "") -> ChromeAnswer:
    """The question as the server's container would ask it."""
    variables = {"BROWSER_REMOTE_DEBUGGING_URL": url, **({"BROWSER_REMOTE_DEBUGGING_HOST_HEADER": header} if header else {})}
    asked = subprocess.run(
        [sys.executable, "-c", observation._ASK_CHROME], env=variables, capture_output=True, text=True, check=True
    )
    return ChromeAnswer(**json.loads(asked.stdout))


def test_each_reason_why_a_chrome_does_not_answer() -> None:
    with loopback.serving(Chrome) as port, loopback.serving(Elsewhere) as other, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        silent = closed.getsockname()[1]
        assert ask_chrome(f"http://127.0.0.1:{port}/") == ChromeAnswer(problem="")
        assert ask_chrome(f"http://localhost:{port}", f"127.0.0.1:{port}").problem == ""
        assert ask_chrome(f"http://localhost:{port}") == ChromeAnswer(problem="status", detail="500")
        assert ask_chrome(f"http://127.0.0.1:{port}", f"127.0.0.1:{silent}").problem == "redirect"
        assert ask_chrome(f"http://127.0.0.1:{other}").problem == "other"
        assert ask_chrome(f"http://127.0.0.1:{silent}").problem == "connect"
        assert ask_chrome("http://no-such-name.invalid:9222").problem == "name"


def ollama_says(body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **llm: Any) -> str | None:
    """``gpu_error`` with a docker command that does so."""
    command = tmp_path / "docker"
    command.write_text(f"#!/bin/sh\n{body}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    settings = with_settings(llm={"provider": "ollama", "model": "llava:7b", "gpu": True, **llm}).settings
    assert settings is not None
    return observation.gpu_error(Docker("unix:///nowhere"), "skyvern-dev-ollama", settings)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("echo 'GPU 0: NVIDIA L4 (UUID: GPU-1)'", ""),
        # After a systemctl daemon-reload the devices are gone from the container's group; its message is on standard output.
        ("echo 'Failed to initialize NVML: Unknown Error'; exit 255", "Failed to initialize NVML: Unknown Error"),
        ("echo 'No devices found.'", "nvidia-smi lists none"),
        ("echo 'exec: \"nvidia-smi\": executable file not found in $PATH' >&2; exit 127", "executable file not found"),
    ],
)
def test_the_gpu_is_asked_for_in_the_container(body: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F25."""
    error = ollama_says(f'[ "$4 $5 $6" = "skyvern-dev-ollama nvidia-smi -L" ] || exit 9; {body}', tmp_path, monkeypatch)
    assert error is not None
    assert error == problem or (problem and problem in error)
    assert not error.startswith("docker:")
    assert ollama_says("exit 9", tmp_path, monkeypatch, gpu=False) is None


@pytest.mark.parametrize(
    ("here", "there", "status"),
    [
        ("Server is running.", (200, "Server is running."), None),
        ("Server is running.", (200, "<html>"), 200),
        ("Server is running.", (0, ""), 0),
        # Windows cannot be asked, or there is nothing to compare with.
        ("Server is running.", None, None),
        (None, (200, "<html>"), None),
    ],
)
def test_what_windows_gets_is_compared_with_what_is_here(
    here: str | None, there: tuple[int, str] | None, status: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F14: another program may answer with 200, too."""
    response = None if here is None else SimpleNamespace(status_code=200, text=here)
    monkeypatch.setattr(heartbeat, "ask", lambda url: response)
    monkeypatch.setattr(windows, "fetch", lambda url: there)
    monkeypatch.setattr(windows, "listeners", lambda port: ["nginx.exe (PID 4711)"])
    monkeypatch.setattr(windows, "drive_of_disk", lambda: ("C", Path("/")))
    settings = with_settings().settings
    assert settings is not None
    facts = observation.observe_windows(settings, gateway=True)
    assert facts.status == status
    assert bool(facts.listeners) is (status is not None)
    assert facts.disk is not None
    assert (facts.disk.where, facts.disk.free_inodes) == ("drive C: of Windows", None)
    assert observation.observe_windows(settings, gateway=False).status is None


def test_an_offline_machine_is_not_asked() -> None:
    """F06."""
    docker = DockerThatFails("unix:///nowhere")
    for internet in (False, True):
        settings = with_settings(host={"internet": internet}).settings
        assert settings is not None
        assert observation.ask_internet(docker, "skyvern-dev-server", settings) is None
    assert docker.asked == 1


class DockerThatFails(Docker):
    """Counts what is asked."""

    asked = 0

    def run(self, *arguments: str | Path, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
        type(self).asked += 1
        raise UserError("docker: exit 1: is not running")


def test_a_missed_schedule_is_a_warning_of_the_monitors_count() -> None:
    today = Today(runs=3, completed=2, failed=1, unfinished=0, success_rate=2 / 3, missed_schedules=["Daily report"])
    (finding,) = stack_checks.check_automation(with_host(today=today))
    assert (finding.level, finding.subject) == ("warning", "Daily report")
    # Failed runs are the dashboard's and the alerts' business: the stack works.
    assert list(stack_checks.check_automation(with_host(today=replace(today, missed_schedules=[])))) == []
    assert list(stack_checks.check_automation(HEALTHY)) == []
