"""``ops status``, ``ops logs`` and ``ops doctor`` of a stack on a Swarm."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from components.settings import Settings, parse
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.observe import isolation, logs, status
from ops.observe.cluster import Cluster, Node
from ops.observe.doctor import observation as doctor
from ops.observe.doctor import stack_checks
from ops.observe.doctor.observation import Observation
from ops.observe.doctor.remedies import restart
from ops.observe.status import Status
from ops.stack import inventory
from ops.stack.stack import Stack
from tests.support import swarm as support
from tests.support.cluster import THREE, node
from tests.support.observations import HEALTHY, HOST, PULUMI
from tests.support.swarm import HOSTS, A, B, C, Engine

NOW = datetime(2026, 11, 29, 18, 30, tzinfo=UTC)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return support.engine(monkeypatch)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return support.stack_at(tmp_path).settings()


@pytest.fixture
def observed(engine: Engine, settings: Settings) -> Callable[[], Observation]:
    return lambda: observe(engine, settings)


def seen(engine: Engine) -> Status:
    swarm = engine.swarm()
    return Status(
        stack="dev",
        docker_host=A,
        address="https://abc.ngrok.app",
        version="0.1.0",
        api_version="development",
        skyvern_version="1.0.56",
        containers=inventory.containers(swarm, "dev"),
        memory={"skyvern-dev-gateway.2": 5 * 2**20},
        volumes=[],
        services=inventory.replicas(swarm, "dev"),
    )


def observe(engine: Engine, settings: Settings) -> Observation:
    """What the doctor sees of it, all of it as planned."""
    swarm = engine.swarm()
    containers, services = inventory.containers(swarm, "dev"), inventory.replicas(swarm, "dev")
    deployed = PULUMI.deployed
    assert deployed is not None
    planned = doctor.parse_state({"deployment": {"resources": [service(one.name) for one in services]}}).containers
    return replace(
        HEALTHY,
        docker_host=A,
        settings=settings,
        host=replace(HOST, containers=containers, services=services, present={}),
        pulumi=replace(PULUMI, deployed=replace(deployed, containers=planned)),
    )


def service(name: str) -> dict[str, Any]:
    """As the Pulumi state has one."""
    image = {"monitor": "localhost/skyvern/none:1", "backup": "localhost/skyvern/more:1", "server": "localhost/skyvern/more:1"}
    spec = {"containerSpec": {"image": image.get(name.rpartition("-")[2], "localhost/skyvern/small:1")}}
    limits = {"resources": {"limits": {"memoryBytes": 64 * 2**20}}} if name.endswith("server") else {}
    return {
        "type": "docker:index/service:Service",
        "urn": f"urn::{name}",
        "inputs": {"name": name, "taskSpec": {**spec, **limits}},
    }


# --- status --------------------------------------------------------------------------------------------------------------


def test_the_table_has_the_machines(engine: Engine) -> None:
    lines = status.render(seen(engine), NOW).splitlines()
    assert lines[0].startswith("stack dev: 3 of 6 tasks healthy; https://abc.ngrok.app, API answers")
    assert lines[1:8] == [
        "services: 2 of 6 complete; skyvern-dev-gateway 2 of 2",
        "skyvern-dev-artifacts: 0 of 1 run: no suitable node (scheduling constraints not satisfied on 3 nodes)",
        "skyvern-dev-backup: 0 of 1 run: task: non-zero exit (3)",
        "skyvern-dev-gateway: 2 of 2 run: its last update was rolled back: No such image: localhost/skyvern/none:2",
        "skyvern-dev-monitor: 0 of 1 run: No such image: localhost/skyvern/none:1",
        "skyvern-dev-roles: 0 of 0 run: it was stopped (0 replicas)",
        "",
    ]
    rows = [line.split()[:4] for line in lines[8:]]
    assert rows[0] == ["name", "machine", "state", "health"]
    assert ["skyvern-dev-gateway", "a", "running", "healthy"] in rows
    assert ["skyvern-dev-gateway", "b", "running", "healthy"] in rows
    assert ["skyvern-dev-artifacts", "-", "pending", "-"] in rows
    assert next(line for line in lines if "5 MiB" in line).split()[:2] == ["skyvern-dev-gateway", "b"]


def test_json_has_the_services(engine: Engine) -> None:
    document = json.loads(status.as_json(seen(engine)))
    assert document["services"][2] == {
        "name": "skyvern-dev-gateway",
        "running": 2,
        "wanted": 2,
        "problem": "its last update was rolled back: No such image: localhost/skyvern/none:2",
    }
    assert [one["machine"] for one in document["containers"] if one["part"] == "gateway"] == ["a", "b"]
    # On plain Docker, the document is as it was.
    assert "services" not in json.loads(status.as_json(replace(seen(engine), services=(), containers=[])))


# --- logs ----------------------------------------------------------------------------------------------------------------


def test_the_lines_of_several_tasks_have_their_number(engine: Engine) -> None:
    chosen = logs.choose(Stack("dev"), inventory.containers(engine.swarm(), "dev"), [])
    # That of backup has ended; the others without a container have no log.
    assert [logs.name_of(one, chosen) for one in chosen] == ["backup", "gateway.1", "gateway.2", "server"]


def test_a_part_without_a_container_has_a_reason_in_place_of_a_log(engine: Engine) -> None:
    containers = inventory.containers(engine.swarm(), "dev")
    with pytest.raises(UserError) as told:
        logs.choose(Stack("dev"), containers, ["monitor"])
    assert str(told.value) == (
        "stack dev: there is no container whose log could be shown: skyvern-dev-monitor: No such image: localhost/skyvern/none:1"
    )
    with pytest.raises(UserError, match="has no service x; write one of artifacts, backup, gateway, monitor, server"):
        logs.choose(Stack("dev"), containers, ["x"])


# --- doctor --------------------------------------------------------------------------------------------------------------


def test_each_service_that_is_not_well_is_named_with_its_cure(engine: Engine, observed: Callable[[], Observation]) -> None:
    findings = [(one.level, one.subject, one.problem, one.fix) for one in stack_checks.check_services(observed())]
    prefix = "0 of 1 tasks run: "
    assert findings == [
        (
            "error",
            "skyvern-dev-artifacts",
            f"{prefix}no suitable node (scheduling constraints not satisfied on 3 nodes)",
            "bin/ops cluster status -s dev shows the machines, docs/cluster.md where tasks may be",
        ),
        (
            "error",
            "skyvern-dev-backup",
            f"{prefix}task: non-zero exit (3)",
            "bin/ops logs -s dev backup shows more; correct that, then script/up --stack dev",
        ),
        (
            "warning",
            "skyvern-dev-gateway",
            "its last update was rolled back: No such image: localhost/skyvern/none:2",
            "script/up --stack dev brings the images to every machine",
        ),
        (
            "error",
            "skyvern-dev-monitor",
            f"{prefix}No such image: localhost/skyvern/none:1",
            "script/up --stack dev brings the images to every machine",
        ),
        (
            "error",
            "skyvern-dev-roles",
            "0 of 0 tasks run: it was stopped (0 replicas)",
            "script/up --stack dev starts it",
        ),
    ]


def test_a_share_that_is_not_mounted_after_a_reboot(engine: Engine, observed: Callable[[], Observation]) -> None:
    (task,) = [one for one in engine.tasks("backup") if one["Status"]["State"] == "failed"]
    # Docker's words for a bind mount without its folder (20.10).
    task["Status"]["Err"] = 'invalid mount config for type "bind": bind source path does not exist: /mnt/skyvern/skyvern-dev/har'
    (finding,) = [one for one in stack_checks.check_services(observed()) if one.subject == "skyvern-dev-backup"]
    assert finding.fix == "mount the share of host.shared_folder on every machine; the Swarm then starts it by itself"


def test_a_task_that_does_not_run_is_no_second_finding(engine: Engine, observed: Callable[[], Observation]) -> None:
    sick = observed()
    assert list(stack_checks.check_containers_run(sick)) == []
    assert list(stack_checks.check_containers_exist(sick)) == []
    assert list(stack_checks.check_image_drift(sick)) == []
    # Of what is not there, nothing is open; of what runs, what it was given.
    assert {one.subject for one in stack_checks.check_hardening(sick)} == {"skyvern-dev-backup"}


def test_memory_that_ran_out_is_what_the_engine_does_not_say(engine: Engine, observed: Callable[[], Observation]) -> None:
    backup = next(one for one in engine.recorded["containers"][0] if one["State"]["Status"] == "exited")
    backup["State"]["OOMKilled"] = True
    found = [(one.subject, one.problem) for one in stack_checks.check_containers_run(observed())]
    assert found == [("skyvern-dev-backup", "was killed: out of memory")]


def test_a_paused_container_is_a_task_that_runs(engine: Engine, observed: Callable[[], Observation]) -> None:
    """script/up waited for it in vain and named the doctor, which had no line: to the Swarm, nothing is wrong."""
    ids = {
        task["Status"]["ContainerStatus"]["ContainerID"] for task in engine.tasks("server") if task["DesiredState"] == "running"
    }
    machine, server = next(
        (HOSTS[number], one) for number, some in enumerate(engine.recorded["containers"]) for one in some if one["Id"] in ids
    )
    server["State"] |= {"Status": "paused", "Paused": True}
    (finding,) = stack_checks.check_containers_run(observed())
    assert (finding.subject, finding.problem) == ("skyvern-dev-server", "is paused")
    assert finding.fix == f"docker --host {machine} unpause {server['Id']}"


def test_cures_name_a_manager_that_answers(observed: Callable[[], Observation]) -> None:
    down = replace(observed(), cluster=replace(THREE, nodes=[Node(host=A, problem="off"), node("b"), node("c")]))
    assert restart(down, "gateway") == f"docker --host {B} service update --force skyvern-dev-gateway"
    none = replace(down, cluster=Cluster(nodes=[Node(host=A, problem="off")]))
    assert restart(none, "gateway") == f"docker --host {A} service update --force skyvern-dev-gateway"
    # Without a Swarm of the stack, its machine is the one.
    plain = replace(HEALTHY, cluster=down.cluster)
    assert restart(plain, "gateway") == "docker restart skyvern-dev-gateway"


def test_a_service_that_no_state_has(engine: Engine, observed: Callable[[], Observation]) -> None:
    sick = observed()
    deployed = sick.pulumi.deployed
    assert deployed is not None
    known = [one for one in deployed.containers if not one.name.endswith(("server", "roles"))]
    sick = replace(sick, pulumi=replace(sick.pulumi, deployed=replace(deployed, containers=known)))
    found = {one.subject: one.fix for one in stack_checks.check_containers_exist(sick)}
    assert found == {f"skyvern-dev-{part}": f"docker --host {A} service rm skyvern-dev-{part}" for part in ("roles", "server")}
    assert restart(sick, "gateway") == f"docker --host {A} service update --force skyvern-dev-gateway"
    assert restart(HEALTHY, "gateway") == "docker restart skyvern-dev-gateway"


def test_images_have_to_be_on_every_machine(engine: Engine, observed: Callable[[], Observation]) -> None:
    sick = observed()
    assert sick.host is not None
    sick = replace(sick, host=replace(sick.host, lacking={B: ["x:1", "y:1"]}))
    assert [(one.subject, one.problem) for one in stack_checks.check_images(sick)] == [("x:1 and 1 more", f"is not at {B}")]


def test_what_the_doctor_asks_each_machine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    containers = inventory.containers(engine.swarm(), "dev")
    answer = engine.answer
    free = (9_000_000, 1_000_000, 2_000_000)

    def run(self: Engine, machine: int, arguments: Any) -> str:
        if arguments[:2] == ["image", "inspect"]:
            if (machine, arguments[-1]) == (1, "y:1"):
                raise UserError("docker: exit 1: Error: No such image: y:1")
            return "sha256:1"
        if arguments[0] == "exec" and arguments[2] == "df":
            return f"Filesystem blocks used free\noverlay 99 9 {free[machine]} 3% /\n"
        return answer(machine, arguments)

    monkeypatch.setattr(Engine, "answer", run)
    assert doctor._lacking(engine.swarm(), {"x:1", "y:1"}) == {B: ["y:1"]}
    disks = list(doctor._disks(engine.swarm(), containers, []))
    assert [(one.free_mib, one.where) for one in disks] == [
        (number // 1024, f"Docker's storage at {host}") for number, host in zip(free, (A, B, C), strict=True)
    ]
    # Plain Docker has no other machine.
    assert doctor._lacking(Docker(A), {"x:1"}) == {}


def test_a_swarm_has_no_firewall_of_the_stack(settings: Settings) -> None:
    assert settings.host.firewall
    assert not isolation.has_firewall(settings)
    assert isolation.has_firewall(parse({}, file="Pulumi.dev.yaml"))


def test_forbidden_connections_are_tried_where_each_container_is(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, containers in enumerate(engine.recorded["containers"]):
        for one in containers:
            part = one["Config"]["Labels"]["skyvern.part"]
            one["NetworkSettings"] = {"Networks": {part: {"IPAddress": f"10.213.{number}.9"}}}
            one["Config"]["Labels"]["skyvern.part"] = "egress" if part == "backup" else part
    # Of two tasks of the egress proxy, the one of before an update has ended: a machine that came later lacks its image.
    now, *_ = engine.recorded["containers"][0]
    now["State"] |= {"Status": "running", "Running": True}
    now["Config"]["Image"] = "localhost/skyvern/more:2"
    answer = engine.answer

    def run(self: Engine, machine: int, arguments: Any) -> str:
        if arguments[0] != "run":
            return answer(machine, arguments)
        # All but one refuse.
        return "10.213.0.9 refused\n10.213.1.9 open\n10.213.2.9 refused\n"

    monkeypatch.setattr(Engine, "answer", run)
    found = isolation.probe(engine.swarm(), Stack("dev"), walled=False, parts={"server"})
    ((host, *words),) = engine.said("run")
    assert host == C
    assert words[words.index("bash") - 1] == "localhost/skyvern/more:2"
    assert found == ["server reaches gateway: no wall between the stack's networks"]
    now["State"] |= {"Status": "exited", "Running": False}
    with pytest.raises(UserError, match="neither a firewall nor an egress container runs"):
        isolation.probe(engine.swarm(), Stack("dev"), walled=False, parts={"server"})
