"""A stack on a Swarm, as its commands see it: the tasks in place of containers, and the engine's reasons."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ops.backups import copies
from ops.clients.docker import Docker
from ops.clients.swarm import Swarm
from ops.deploy import recovery, repair
from ops.errors import UserError
from ops.preview import engine as preview
from ops.stack import inventory, outputs, state
from ops.stack.inventory import Replica
from ops.stack.stack import Stack
from tests.support import swarm as support
from tests.support.stack_outputs import OUTPUTS
from tests.support.swarm import A, B, C, Engine


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return support.engine(monkeypatch)


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return support.stack_at(tmp_path)


def replicas(engine: Engine) -> dict[str, Replica]:
    found = inventory.containers(engine.swarm(), "dev")
    return {one.key.removeprefix("skyvern-dev-"): one for one in found if isinstance(one, Replica)}


# --- What is there -------------------------------------------------------------------------------------------------------


def test_the_stack_file_says_which_engine(engine: Engine, stack: Stack) -> None:
    found = stack.docker()
    assert isinstance(found, Swarm)
    assert [daemon.host for daemon in found.daemons] == [A, B, C]
    assert stack.place("backup") == "/mnt/skyvern/skyvern-dev/backup"
    stack.file.write_text("config: {}\n")
    assert stack.docker() == Docker("unix:///var/run/docker.sock")
    assert stack.place("backup") == "skyvern-dev-backup"


def test_a_swarm_that_does_not_answer_names_the_next_step(engine: Engine, stack: Stack) -> None:
    engine.silent = {A, B, C}
    with pytest.raises(UserError) as told:
        stack.docker()
    assert str(told.value).startswith("stack dev: no manager of the Swarm answers (ssh://deploy@a.example.net: ")
    assert str(told.value).endswith("; bin/ops cluster status -s dev says what to do")


def test_what_was_deployed_says_it_too(engine: Engine) -> None:
    plain = outputs.Outputs.model_validate(OUTPUTS)
    assert plain.docker() == Docker(plain.docker_host)
    on_swarm = plain.model_copy(update={"docker_host": A, "docker_nodes": [B, C]})
    assert isinstance(on_swarm.docker(), Swarm)


def test_the_tasks_that_there_should_be(engine: Engine) -> None:
    found = replicas(engine)
    rows = {key: (one.status, one.health, one.machine, one.reason) for key, one in found.items()}
    assert rows == {
        "artifacts.1": ("pending", "", "", "no suitable node (scheduling constraints not satisfied on 3 nodes)"),
        "backup.1": ("ready", "", "a", "task: non-zero exit (3)"),
        "gateway.1": ("running", "healthy", "a", ""),
        "gateway.2": ("running", "healthy", "b", ""),
        "monitor.1": ("rejected", "", "c", "No such image: localhost/skyvern/none:1"),
        "server.1": ("running", "healthy", "c", ""),
    }
    server = found["server.1"]
    assert (server.name, server.part, server.memory_mib, server.read_only) == ("skyvern-dev-server", "server", 64, True)
    assert inventory.place(engine.swarm(), server) == (Docker(C), server.id)
    # What became of the task before, while the next one is about to be made.
    assert (found["backup.1"].exit_code, found["backup.1"].host) == (3, A)
    with pytest.raises(UserError, match="skyvern-dev-monitor: No such image: localhost/skyvern/none:1 on c"):
        inventory.place(engine.swarm(), found["monitor.1"])


def test_a_task_fails_often_or_failed_long_ago(engine: Engine) -> None:
    for year, restarts in (("2020", 0), ("2099", 5)):
        for task in engine.tasks("monitor"):
            task["Status"]["Timestamp"] = f"{year}-01-01T00:00:00.1Z"
        assert replicas(engine)["monitor.1"].restarts == restarts


def test_of_a_silent_machine_the_managers_know(engine: Engine) -> None:
    engine.silent = {B}
    # What became of the one before it, on a machine that answers, says nothing of one that runs.
    (before,) = [task for task in engine.tasks("backup") if task["Status"]["State"] == "failed"]
    gateways = engine.service("skyvern-dev-gateway")["ID"]
    engine.recorded["tasks"].append({**before, "ID": "before", "ServiceID": gateways, "Slot": 2})
    gateway = replicas(engine)["gateway.2"]
    assert (gateway.status, gateway.health, gateway.machine, gateway.id) == ("running", "unknown", "b", "")
    # Asked is the one that can be.
    engine.outputs = {"cat": b"text"}
    found = inventory.containers(engine.swarm(), "dev")
    assert inventory.ask(engine.swarm(), found, "gateway", "cat", "/x", timeout_seconds=1) == "text"
    assert [call[0] for call in engine.said("exec")] == [A]
    engine.recorded["nodes"] = engine.recorded["nodes"].replace("Ready b", "Down b")
    assert replicas(engine)["gateway.2"].machine == "b (down)"


def test_services_and_why_they_are_not_complete(engine: Engine) -> None:
    found = {one.name.removeprefix("skyvern-dev-"): one for one in inventory.replicas(engine.swarm(), "dev")}
    assert {name: (one.running, one.wanted, one.problem) for name, one in found.items()} == {
        "artifacts": (0, 1, "no suitable node (scheduling constraints not satisfied on 3 nodes)"),
        "backup": (0, 1, "task: non-zero exit (3)"),
        "gateway": (2, 2, "its last update was rolled back: No such image: localhost/skyvern/none:2"),
        "monitor": (0, 1, "No such image: localhost/skyvern/none:1"),
        "roles": (0, 0, "it was stopped (0 replicas)"),
        "server": (1, 1, ""),
    }
    assert inventory.replicas(Docker("unix:///x"), "dev") == []


@pytest.mark.parametrize(
    ("update", "ended"),
    [
        ("paused", "stopped half-way"),
        ("rollback_started", "given up and is being rolled back"),
        ("rollback_paused", "given up, and rolling it back stopped half-way"),
    ],
)
def test_how_an_update_ended(engine: Engine, update: str, ended: str) -> None:
    engine.service("skyvern-dev-server")["UpdateStatus"] = {"State": update}
    found = {one.name: one for one in inventory.replicas(engine.swarm(), "dev")}
    assert found["skyvern-dev-server"].problem == f"its last update was {ended}"


def test_secrets_for_the_mask_are_read_where_they_are(engine: Engine) -> None:
    engine.outputs = {"env": b"LLM_API_KEY=geheim-0123456789\0TZ=UTC\0"}
    assert "LLM_API_KEY=geheim-0123456789" in inventory.environments(engine.swarm(), "dev")
    assert {call[0] for call in engine.said("exec")} == {A, B, C}


def test_memory_is_asked_of_each_machine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [one for one in inventory.containers(engine.swarm(), "dev") if one.status == "running"]

    def run(self: Docker, *arguments: str, **options: object) -> str:
        assert arguments[0] == "stats"
        return "\n".join(f'{{"ID": "{id_}", "Name": "x", "MemUsage": "2MiB / 64MiB"}}' for id_ in arguments[5:])

    monkeypatch.setattr(Docker, "run", run)
    swarm = Swarm(A)
    assert inventory.memory_of(swarm, found) == {one.key: 2 * 2**20 for one in found}


# --- Repairs -------------------------------------------------------------------------------------------------------------


def resource(kind: str, id_: str, name: str) -> dict[str, object]:
    return {"type": f"docker:index/{kind.lower()}:{kind}", "id": id_, "outputs": {"name": name}, "urn": f"urn::{name}"}


def recorded(engine: Engine, *without: str) -> dict[str, object]:
    services = [(one["ID"], one["Spec"]["Name"]) for one in engine.recorded["services"]]
    return {"resources": [resource("Service", id_, name) for id_, name in services if name not in without]}


def test_the_containers_of_tasks_are_not_left_over(engine: Engine) -> None:
    left = state.leftovers(recorded(engine, "skyvern-dev-monitor"), state.disposable(engine.swarm(), "dev"))
    assert [(item.kind, item.name) for item in left] == [("service", "skyvern-dev-monitor")]
    assert inventory.labelled(engine.swarm(), "dev", "container") == []


def test_drift_is_looked_for_among_services(engine: Engine, stack: Stack) -> None:
    context = SimpleNamespace(stack=stack, deployment=recorded(engine, "skyvern-dev-monitor"))
    assert preview._unmanaged(context) == ("service skyvern-dev-monitor",)  # type: ignore[arg-type]


def test_a_copy_is_no_service(engine: Engine) -> None:
    copies.last_lines(engine.swarm(), "skyvern-dev-drill-server")
    assert engine.asked[-1] == (A, "logs", "--tail", "3", "skyvern-dev-drill-server")


def test_what_a_killed_up_left_goes_in_order(engine: Engine, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stack, "environment", lambda self: {"PULUMI_BACKEND_URL": "file:///state"})
    monkeypatch.setattr(Stack, "state", lambda self: recorded(engine, "skyvern-dev-monitor"))
    for name in ("drop_cut_off_attributes", "release_locks"):
        monkeypatch.setattr(f"ops.deploy.recovery.{'checkpoint' if 'drop' in name else 'locks'}.{name}", lambda *_: None)
    answer = engine.answer
    listed = {"secret": "s1 skyvern-dev-monitor-ab", "network": "n1 skyvern-dev-app"}
    monkeypatch.setattr(
        Engine,
        "answer",
        lambda self, machine, words: listed[words[0]] if words[0] in listed and words[1] == "ls" else answer(machine, words),
    )
    lines: list[str] = []
    recovery.recover(stack, engine.swarm(), lines.append)
    assert [call[1:] for call in engine.asked if "rm" in call] == [
        ("service", "rm", "skyvern-dev-monitor"),
        ("secret", "rm", "s1"),
        ("network", "rm", "n1"),
    ]
    assert [line.partition(" is not")[0] for line in lines] == [
        "service skyvern-dev-monitor",
        "secret skyvern-dev-monitor-ab",
        "network skyvern-dev-app",
    ]


def test_a_service_that_has_gone_or_was_stopped(engine: Engine, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    resources = [*recorded(engine)["resources"], resource("Service", "gone", "skyvern-dev-egress")]  # type: ignore[misc]
    monkeypatch.setattr(Stack, "state", lambda self: {"resources": resources})
    refreshed: list[Stack] = []
    monkeypatch.setattr("ops.deploy.repair.state.refresh", refreshed.append)
    lines: list[str] = []
    repair.repair(stack, engine.swarm(), lines.append)
    assert lines == [
        "service skyvern-dev-roles had no task (0 replicas): started",
        "service skyvern-dev-egress is gone: the up makes it again",
    ]
    assert refreshed == [stack]
    assert [call[-1] for call in engine.said("service", "scale")] == ["skyvern-dev-roles=1"]


def test_what_does_not_become_healthy_has_its_reason(engine: Engine, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "HEALTHY_SECONDS", -1)
    with pytest.raises(UserError) as told:
        repair.wait_until_healthy(stack, engine.swarm(), print)
    assert "skyvern-dev-monitor (No such image: localhost/skyvern/none:1)" in str(told.value)
    assert "skyvern-dev-gateway" not in str(told.value)
