"""A Swarm's machines: read from what Docker prints, and a line with its cure for each fault."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from components.settings import parse
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.machine import daemon_config
from ops.observe import cluster, doctor
from ops.observe.cluster import Cluster, Node
from ops.observe.doctor import cluster_checks
from ops.stack.stack import Stack
from tests.support.cluster import HOSTS, PROFILE, THREE, B, member, node
from tests.support.observations import HEALTHY

NOW = datetime(2026, 11, 29, 9, 0, tzinfo=UTC)


MANAGES = {"Leader": True, "Reachability": "reachable", "Addr": "10.0.0.1:2377"}


def info(**changed: Any) -> dict[str, Any]:
    """``docker info`` of a manager that is right, with other fields."""
    swarm = {"NodeID": "ida", "NodeAddr": "10.0.0.1", "LocalNodeState": "active", "ControlAvailable": True, "Error": ""}
    options = ["name=apparmor", f"name=seccomp,profile={PROFILE}", "name=no-new-privileges"]
    return {
        "Name": "a",
        "ServerVersion": "28.2.2",
        "OperatingSystem": "Debian GNU/Linux 13 (trixie)",
        "Architecture": "x86_64",
        "KernelVersion": "6.12.48+deb13-amd64",
        "SecurityOptions": options,
        "LiveRestoreEnabled": False,
        "ContainersRunning": 3,
        "SystemTime": "2026-11-29T09:00:07.5Z",
        "Swarm": swarm,
    } | changed


def with_b(**changed: Any) -> Cluster:
    return replace(THREE, nodes=[node("a"), node("b", **changed), node("c")])


def with_member_b(**changed: Any) -> Cluster:
    return replace(THREE, members=[member("a"), member("b", **changed), member("c")])


def beside(**changed: Any) -> Cluster:
    """Three that are right, and b, which is not one of them."""
    nodes = [node("a"), node("b", **changed), node("c"), node("d")]
    return Cluster(nodes=nodes, members=[member(letter) for letter in "acd"])


def two(*, managers: int) -> Cluster:
    members = [member("a"), member("b", manager=managers == 2, reachability="")]
    return Cluster(nodes=[node("a"), node("b", manager=managers == 2)], members=members)


INIT = "bin/ops cluster init -s dev"
FAULTS = {
    "silent": (
        replace(THREE, nodes=[node("a"), Node(host=B, problem="docker: exit 1: ssh: No route to host"), node("c")]),
        ("error", B, "does not answer: docker: exit 1: ssh: No route to host", "start Docker there, or correct its address"),
    ),
    "old": (
        with_b(version="19.03.15"),
        ("error", B, "has Docker 19.03.15, and a node needs 20.10", "install a current Docker Engine there"),
    ),
    "rootless": (
        with_b(rootless=True),
        ("error", B, "is a rootless daemon, without networks between machines", "name the daemon that runs as root there"),
    ),
    "desktop": (
        with_b(desktop=True),
        (
            "error",
            B,
            "is Docker Desktop, whose machines do not reach each other",
            "install Docker Engine there, in WSL as in docs/windows.md",
        ),
    ),
    "live restore": (
        with_b(live_restore=True),
        (
            "error",
            B,
            'has "live-restore": true, with which Docker refuses a Swarm',
            "remove it from Docker's daemon.json there, and restart Docker",
        ),
    ),
    "locked": (
        with_b(state="locked", id="", manager=False),
        ("error", B, "waits for the key of its Swarm", f"docker --host {B} swarm unlock"),
    ),
    "pending": (
        with_b(state="pending", id="", error="context deadline exceeded"),
        (
            "error",
            B,
            "does not reach the managers of its Swarm: context deadline exceeded",
            "open 2377/tcp, 7946/tcp, 7946/udp and 4789/udp between the machines; "
            f"then docker --host {B} swarm leave --force, and join again",
        ),
    ),
    "docker's profile": (
        with_b(seccomp="builtin"),
        ("error", B, "services get its seccomp profile, builtin, and not the stack's", INIT),
    ),
    "an older profile": (
        with_b(seccomp="/etc/docker/skyvern-seccomp-000000000000.json"),
        (
            "error",
            B,
            "services get its seccomp profile, /etc/docker/skyvern-seccomp-000000000000.json, and not the stack's",
            INIT,
        ),
    ),
    "no profile": (with_b(seccomp=""), ("error", B, "services get its seccomp profile, none, and not the stack's", INIT)),
    "setuid": (with_b(no_new_privileges=False), ("error", B, "services there may gain privileges by setuid", INIT)),
    "outside": (
        beside(state="inactive", id="", manager=False),
        ("error", B, "is not in the Swarm", f"bin/ops cluster join {B} -s dev"),
    ),
    "no Swarm": (
        Cluster(nodes=[node(state="inactive", id="", manager=False)]),
        ("error", HOSTS[0], "is not in the Swarm", INIT),
    ),
    "elsewhere": (
        beside(id="other"),
        (
            "error",
            B,
            "is in another Swarm",
            f"docker --host {B} swarm leave --force; then bin/ops cluster join {B} -s dev",
        ),
    ),
    "processor": (
        with_b(processor="arm64"),
        (
            "error",
            B,
            f"is arm64, and {HOSTS[0]} is amd64: the images of a stack are made for one processor, and copied to all",
            f"bin/ops cluster leave {B} -s dev; then write a machine with amd64 in its place",
        ),
    ),
    "down": (
        with_member_b(ready=False),
        ("error", B, "is down", "start Docker there, or bin/ops cluster leave idb --gone -s dev"),
    ),
    "unreachable": (
        with_member_b(reachability="unreachable"),
        ("error", B, "is down", "start Docker there, or bin/ops cluster leave idb --gone -s dev"),
    ),
    "not in the file": (
        replace(THREE, nodes=[node("a"), node("c")]),
        (
            "warning",
            "b (10.0.0.2)",
            "is in the Swarm, and not in the stack file",
            "write its daemon into host.nodes of Pulumi.dev.yaml",
        ),
    ),
    "drained": (
        with_member_b(availability="drain"),
        ("warning", B, "takes no services (it is set to drain)", "bin/ops cluster drain idb --undo -s dev"),
    ),
    "two managers": (
        two(managers=2),
        ("warning", "managers", "2 of 2 machines manage: with one of them down, nothing can be changed", INIT),
    ),
    "one of three": (
        replace(THREE, members=[member("a"), *(member(letter, manager=False, reachability="") for letter in "bc")]),
        ("warning", "managers", "1 of 3 machines manage: with one of them down, nothing can be changed", INIT),
    ),
    "versions": (
        with_member_b(version="20.10.24"),
        (
            "warning",
            "Docker",
            "the machines have different versions: 20.10.24, 28.2.2",
            "install the newest on all, one machine after the other (bin/ops cluster drain)",
        ),
    ),
    "clocks": (
        with_b(skew_seconds=10.2),
        ("error", B, "its clock is 10 s ahead of that of ssh://deploy@a.example.net", "sudo timedatectl set-ntp true, on both"),
    ),
    "clocks of WSL": (
        replace(THREE, nodes=[node("a", wsl=True), node("b", skew_seconds=10.2, wsl=True), node("c")]),
        ("error", B, "its clock is 10 s ahead of that of ssh://deploy@a.example.net", "sudo hwclock -s, on both"),
    ),
    "a clock of WSL": (
        with_b(skew_seconds=10.2, wsl=True),
        (
            "error",
            B,
            "its clock is 10 s ahead of that of ssh://deploy@a.example.net",
            f"sudo hwclock -s there, and sudo timedatectl set-ntp true at {HOSTS[0]}",
        ),
    ),
    "no manager": (
        Cluster(nodes=[node("a", manager=False), node("b", manager=False)]),
        (
            "error",
            "managers",
            "none of the machines that answer manages the Swarm",
            "start Docker on those that do, or write their daemons into host.nodes of Pulumi.dev.yaml",
        ),
    ),
    "no majority": (
        Cluster(nodes=THREE.nodes, problem="docker: exit 1: The swarm does not have a leader."),
        (
            "error",
            "managers",
            "cannot decide: docker: exit 1: The swarm does not have a leader.",
            "start Docker on the managers that are off; docs/cluster.md has what to do without them",
        ),
    ),
}


@pytest.mark.parametrize(("seen", "line"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_one_line_with_its_cure(seen: Cluster, line: tuple[str, ...]) -> None:
    (finding,) = cluster_checks.problems(seen, Stack("dev"))
    assert (finding.level, finding.subject, finding.problem, finding.fix) == line


@pytest.mark.parametrize("seen", [THREE, two(managers=1), Cluster(nodes=[node()], members=[member()])])
def test_nothing_is_wrong(seen: Cluster) -> None:
    assert cluster_checks.problems(seen, Stack("dev")) == []


@pytest.mark.parametrize(
    ("members", "managers", "wanted"), [(1, 1, 1), (2, 1, 1), (2, 2, 1), (3, 1, 3), (3, 2, 3), (3, 3, 3), (4, 4, 3), (7, 5, 5)]
)
def test_managers_are_one_or_an_odd_number_from_three_on(members: int, managers: int, wanted: int) -> None:
    assert cluster_checks.wanted_managers(members, managers) == wanted


def test_doctor_looks_at_a_cluster_that_the_stack_file_names() -> None:
    assert doctor.examine(replace(HEALTHY, cluster=THREE)) == []
    (finding,) = doctor.examine(replace(HEALTHY, cluster=with_b(seccomp="builtin")))
    assert (finding.check, finding.subject) == ("cluster", B)


def test_the_settings_name_each_machine_once() -> None:
    assert parse({"host": {"nodes": HOSTS}}, file="Pulumi.dev.yaml").host.nodes == HOSTS


# --- Reading -------------------------------------------------------------------------------------------------------------


def test_a_machine_is_read_from_docker_info() -> None:
    seen = cluster.parse_node(HOSTS[0], json.dumps(info()), NOW)
    assert seen == node(containers=3, skew_seconds=7.5)
    assert seen.hardened
    other = info(SecurityOptions=["name=seccomp,profile=builtin", "name=rootless"], OperatingSystem="Docker Desktop")
    seen = cluster.parse_node(HOSTS[0], json.dumps(other), NOW)
    assert (seen.seccomp, seen.no_new_privileges, seen.rootless, seen.desktop) == ("builtin", False, True, True)
    assert not seen.hardened


@pytest.mark.parametrize(
    ("printed", "processor"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("arm64", "arm64"), ("s390x", "s390x")]
)
def test_a_processor_has_one_name(printed: str, processor: str) -> None:
    assert cluster.parse_node(HOSTS[0], json.dumps(info(Architecture=printed)), NOW).processor == processor


def test_a_machine_under_wsl_is_known_by_its_kernel() -> None:
    windows = info(KernelVersion="5.15.153.1-microsoft-standard-WSL2")
    assert cluster.parse_node(HOSTS[0], json.dumps(windows), NOW) == node(containers=3, skew_seconds=7.5, wsl=True)


def test_a_client_without_a_daemon_is_silence() -> None:
    # docker info of some versions exits 0 then.
    with pytest.raises(UserError, match="Cannot connect"):
        cluster.parse_node("unix:///x", json.dumps({"ServerErrors": ["Cannot connect to the Docker daemon"]}), NOW)


@pytest.mark.parametrize(
    ("version", "content", "found"), [("20.10.24", True, True), ("23.0.6", False, False), ("24.0.9", True, False)]
)
def test_an_old_daemon_does_not_show_no_new_privileges(
    monkeypatch: pytest.MonkeyPatch, version: str, content: bool, found: bool
) -> None:
    printed = json.dumps(info(ServerVersion=version, SecurityOptions=[f"name=seccomp,profile={PROFILE}"]))
    monkeypatch.setattr(Docker, "run", lambda docker, *words, **options: printed)
    monkeypatch.setattr(daemon_config, "read", lambda host: {"no-new-privileges": content})
    assert cluster.observe_node(HOSTS[0]).no_new_privileges is found


def test_members_are_read_from_docker_node_inspect() -> None:
    document = {
        "ID": "idb",
        "Spec": {"Role": "worker", "Availability": "drain"},
        "Description": {"Hostname": "b", "Engine": {"EngineVersion": "28.2.2"}},
        "Status": {"State": "down", "Addr": "10.0.0.2"},
    }
    leader = document | {"ID": "ida", "Spec": {"Role": "manager", "Availability": "active"}}
    leader |= {"Status": {"State": "ready", "Addr": "0.0.0.0"}, "ManagerStatus": MANAGES}  # noqa: S104
    leader |= {"Description": {"Hostname": "a", "Engine": {"EngineVersion": "28.2.2"}}}
    worker = member("b", manager=False, ready=False, availability="drain", reachability="")
    assert cluster.parse_members(json.dumps([document, leader])) == [member("a"), worker]


def answering(answers: dict[str, Any]) -> Callable[..., str]:
    """``Docker.run`` of several daemons: by the last part of their host and the first word."""

    def run(docker: Docker, *words: str, **options: Any) -> str:
        answer = answers[f"{docker.host.partition('@')[2].partition('.')[0]} {words[0]}"]
        if isinstance(answer, Exception):
            raise answer
        return json.dumps(answer)

    return run


def test_a_manager_that_is_cut_off_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = info(Swarm={**info()["Swarm"], "Error": "rpc error: The swarm does not have a leader"})
    silent = UserError("docker: exit 1: ssh:\nNo route to host")
    asked = answering({"a info": cut, "b info": info(), "c info": silent, "b node": []})
    monkeypatch.setattr(Docker, "run", asked)
    seen = cluster.observe(HOSTS)
    assert [one.problem for one in seen.nodes] == ["", "", "docker: exit 1: ssh: No route to host"]
    assert seen.manager == Docker(HOSTS[1])
    assert seen.members == []


def test_managers_without_a_majority_are_a_problem_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = UserError("docker: exit 1: The swarm does not have a leader.")
    monkeypatch.setattr(Docker, "run", answering({"a info": info(), "a node": lost}))
    seen = cluster.observe(HOSTS[:1])
    assert (seen.members, seen.problem) == (None, "docker: exit 1: The swarm does not have a leader.")
