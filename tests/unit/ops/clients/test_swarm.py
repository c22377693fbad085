"""Where a part of a stack runs, from what Docker printed."""

import re
from typing import Any

import pytest

from components.host import secret_files
from ops.clients import swarm
from ops.clients.docker import Docker
from ops.errors import UserError
from tests.support import swarm as support
from tests.support.daemon import daemon
from tests.support.swarm import HOSTS, A, B, C, Engine


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return support.engine(monkeypatch)


def container(engine: Engine, part: str) -> str:
    return next(
        str(task["Status"]["ContainerStatus"]["ContainerID"]) for task in engine.tasks(part) if task["DesiredState"] == "running"
    )


# --- The machines --------------------------------------------------------------------------------------------------------


def test_the_first_manager_that_answers_is_asked(engine: Engine) -> None:
    assert engine.swarm().host == A
    engine.silent = {A}
    found = engine.swarm()
    assert (found.host, [docker.host for docker in found.daemons]) == (B, [B, C])
    engine.recorded["info"][1]["ControlAvailable"] = False
    assert engine.swarm().host == C


NO_LEADER = "docker: exit 1: Error response from daemon: rpc error: code = Unknown desc = context deadline exceeded"


@pytest.mark.parametrize(
    ("arguments", "line", "asked"),
    [
        (("service", "ls", "--quiet"), NO_LEADER, 3),
        (("node", "inspect", "self"), "docker: exit 1: Error response from daemon: The swarm does not have a leader.", 3),
        (("service", "ls", "--quiet"), "docker: exit 1: permission denied", 1),
        (("service", "update", "--force", "x"), NO_LEADER, 1),
        (("info",), NO_LEADER, 1),
    ],
)
def test_what_only_asks_is_asked_again_while_the_managers_choose(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], line: str, asked: int
) -> None:
    calls: list[tuple[str, ...]] = []

    def run(self: Docker, *words: str, **_: Any) -> str:
        calls.append(words)
        if len(calls) < 3:
            raise UserError(line)
        return "answer"

    monkeypatch.setattr(Docker, "run", run)
    monkeypatch.setattr(swarm, "POLL_SECONDS", 0)
    manager = swarm.Swarm(A)
    if asked == 3:
        assert manager.run(*arguments) == "answer"
        monkeypatch.setattr(swarm, "CHOOSING_SECONDS", -1)
        calls.clear()
    with pytest.raises(UserError, match=re.escape(line)):
        manager.run(*arguments)
    assert calls == [arguments]


def test_without_a_manager_each_machine_has_its_reason(engine: Engine) -> None:
    engine.silent = {A}
    engine.recorded["info"][1] |= {"LocalNodeState": "inactive", "ControlAvailable": False}
    engine.recorded["info"][2]["ControlAvailable"] = False
    with pytest.raises(UserError) as told:
        engine.swarm()
    assert str(told.value) == (
        f"no manager of the Swarm answers ({A}: Docker: no daemon answers at {A}; bin/ops doctor says what to do; "
        f"{B}: is not in a Swarm (inactive); {C}: does not manage it)"
    )


def test_a_manager_that_lost_the_others_is_not_asked(engine: Engine) -> None:
    engine.recorded["info"][0]["Error"] = "rpc error: code = DeadlineExceeded"
    assert engine.swarm().host == B


# --- Where a part runs ---------------------------------------------------------------------------------------------------


def test_a_part_is_found_on_the_machine_of_its_task(engine: Engine) -> None:
    there, name = engine.swarm().locate("skyvern-dev-server")
    assert (there, name) == (Docker(C), container(engine, "server"))


def test_on_plain_docker_it_is_the_container_of_that_name() -> None:
    docker = Docker("unix:///x")
    assert docker.locate("skyvern-dev-server") == (docker, "skyvern-dev-server")
    double = daemon()
    double.execute("skyvern-dev-server", "cat", "/x", stdin=b"1")
    double.execute("skyvern-dev-server", "cat", "/x")
    double.stop_part("skyvern-dev-server", timeout_seconds=1)
    double.start_part("skyvern-dev-server")
    double.remove_part("skyvern-dev-server")
    assert double.asked == [
        "exec --interactive skyvern-dev-server cat /x",
        "exec skyvern-dev-server cat /x",
        "stop skyvern-dev-server",
        "start skyvern-dev-server",
        "stop --time 30 skyvern-dev-server",
        "rm --force skyvern-dev-server",
    ]


def test_a_command_runs_there_with_the_secrets_of_the_service(engine: Engine) -> None:
    engine.outputs = {"printenv": b"value\n"}
    assert engine.swarm().execute("skyvern-dev-server", "printenv", "LLM_KEY") == "value\n"
    opened = ("sh", "-c", secret_files.OPEN, "sh")
    assert engine.said("exec") == [(C, "exec", container(engine, "server"), *opened, "printenv", "LLM_KEY")]


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("monitor", "skyvern-dev-monitor: does not run: No such image: localhost/skyvern/none:1"),
        ("artifacts", "skyvern-dev-artifacts: does not run: no suitable node (scheduling constraints not satisfied on 3 nodes)"),
        ("backup", "skyvern-dev-backup: does not run: task: non-zero exit (3)"),
        ("roles", "skyvern-dev-roles: does not run: it was stopped (0 replicas)"),
        ("postgres", f"skyvern-dev-postgres: is not a service of the Swarm at {A}; script/up makes it"),
    ],
)
def test_why_a_part_does_not_run(engine: Engine, part: str, line: str) -> None:
    with pytest.raises(UserError) as told:
        engine.swarm().locate(f"skyvern-dev-{part}")
    assert str(told.value) == line


def test_a_task_on_a_machine_that_is_down_or_silent(engine: Engine) -> None:
    engine.silent = {C}
    with pytest.raises(UserError, match=r"^skyvern-dev-server: runs on c, whose Docker does not answer here .*no daemon answers"):
        engine.swarm().locate("skyvern-dev-server")
    engine.recorded["nodes"] = engine.recorded["nodes"].replace("Ready c", "Down c")
    with pytest.raises(UserError) as told:
        engine.swarm().locate("skyvern-dev-server")
    assert str(told.value) == (
        "skyvern-dev-server: runs on c, which is down: start it, or wait a minute until the task runs elsewhere"
    )


def test_of_several_tasks_one_on_a_machine_that_answers(engine: Engine) -> None:
    assert engine.swarm().locate("skyvern-dev-gateway")[0] == Docker(A)
    engine.silent = {A}
    assert engine.swarm().locate("skyvern-dev-gateway")[0] == Docker(B)


def test_a_task_that_runs_goes_before_the_one_that_is_about_to_replace_it(engine: Engine) -> None:
    (old,) = engine.tasks("server")
    new = {**old, "ID": "new", "Status": {**old["Status"], "State": "preparing", "Timestamp": "2099-01-01T00:00:00Z"}}
    engine.recorded["tasks"].append(new | {"Status": {**new["Status"], "ContainerStatus": {}}})
    assert engine.swarm().locate("skyvern-dev-server")[1] == container(engine, "server")
    # And one whose check has not passed yet, where none other runs.
    new["Status"] |= {"State": "starting", "ContainerStatus": {"ContainerID": "fresh"}}
    engine.recorded["tasks"][-1] = new
    old["DesiredState"] = "shutdown"
    assert engine.swarm().locate("skyvern-dev-server")[1] == "fresh"


def test_a_task_that_is_forgotten_meanwhile(engine: Engine) -> None:
    found = engine.swarm()
    (service,) = found.services("skyvern-dev-monitor")
    engine.recorded["tasks"] = [task for task in engine.recorded["tasks"] if task["Status"]["State"] != "rejected"]
    assert found.slots([service]) == []
    assert swarm.why(service, []) == "the engine has made no task yet"


def test_what_is_left_of_a_replica_that_is_not_wanted_any_more(engine: Engine) -> None:
    for task in engine.tasks("gateway"):
        if task["Slot"] == 2:
            task["DesiredState"] = "shutdown"
    found = engine.swarm()
    assert [tasks[0].slot for tasks in found.slots(found.services("skyvern-dev-gateway"))] == ["1"]


def test_the_log_is_of_all_its_tasks(engine: Engine) -> None:
    engine.swarm().logs("skyvern-dev-gateway", "--since", "x")
    assert [(call[0], call[2:4]) for call in engine.said("logs")] == [(A, ("--since", "x")), (B, ("--since", "x"))]


# --- What is there -------------------------------------------------------------------------------------------------------


def test_whether_there_is_a_part(engine: Engine) -> None:
    found = engine.swarm()
    assert [found.has(f"skyvern-dev-{part}") for part in ("server", "monitor", "serv")] == [True, True, False]
    assert [found.has(f"skyvern-dev-{part}", running=True) for part in ("server", "monitor", "roles")] == [True, False, False]


def test_its_image_is_that_of_the_service(engine: Engine) -> None:
    found = engine.swarm()
    small = "localhost/skyvern/small:1"
    assert found.image_of("skyvern-dev-gateway") == (small, small)
    assert found.image_of("skyvern-dev-postgres") is None
    # The engine went back to that, and yet another was tried.
    assert found.has_run("skyvern-dev-gateway", "localhost/skyvern/none:2")
    assert not found.has_run("skyvern-dev-server", "localhost/skyvern/none:2")


def test_the_container_that_runs_is_inspected(engine: Engine) -> None:
    assert engine.swarm().inspect("skyvern-dev-server")["Id"] == container(engine, "server")


def test_the_environment_has_the_secrets_and_not_what_a_shell_adds(engine: Engine) -> None:
    engine.outputs = {"env": b"HOME=/\0PWD=/\0SHLVL=0\0_=/usr/bin/env\0LLM_API_KEY=s\nt\0TZ=UTC\0"}
    assert engine.swarm().environment_of("skyvern-dev-server") == ["LLM_API_KEY=s\nt", "TZ=UTC"]


# --- Stop and start ------------------------------------------------------------------------------------------------------


def ends(engine: Engine, part: str, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Its tasks end after so many looks."""
    left = [after]

    def sleep(seconds: float) -> None:
        left[0] -= 1
        if not left[0]:
            for task in engine.tasks(part):
                task["Status"]["State"] = "shutdown"

    monkeypatch.setattr("ops.clients.swarm.time.sleep", sleep)


def test_a_stop_waits_for_the_last_task(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    ends(engine, "server", monkeypatch, after=3)
    engine.swarm().stop_part("skyvern-dev-server", timeout_seconds=60)
    assert engine.said("service", "scale") == [(A, "service", "scale", "--detach", "skyvern-dev-server=0")]
    assert all(task["Status"]["State"] == "shutdown" for task in engine.tasks("server"))


def test_what_another_command_stops_is_waited_for_and_not_stopped_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a second scale, the engine takes 0 for the number of before, and the start makes one task of two."""
    ends(engine, "server", monkeypatch, after=3)
    engine.swarm().wait_until_stopped("skyvern-dev-server", timeout_seconds=60)
    assert engine.said("service", "scale") == []
    assert all(task["Status"]["State"] == "shutdown" for task in engine.tasks("server"))


def test_a_stop_that_takes_too_long_is_an_error(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.clients.swarm.time.sleep", lambda seconds: None)
    with pytest.raises(UserError, match=r"^skyvern-dev-server: still runs after 0 s; see docker --host .* service ps skyvern"):
        engine.swarm().stop_part("skyvern-dev-server", timeout_seconds=0)


def test_a_stop_does_not_wait_for_a_machine_that_is_down(engine: Engine) -> None:
    engine.recorded["nodes"] = engine.recorded["nodes"].replace("Ready c", "Down c")
    engine.swarm().stop_part("skyvern-dev-server", timeout_seconds=0)


def test_a_part_is_taken_away_by_force(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.clients.swarm.time.sleep", lambda seconds: None)
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr("ops.clients.swarm.time.monotonic", lambda: next(clock))
    engine.swarm().remove_part("skyvern-dev-server")
    assert engine.said("kill") == [(C, "kill", container(engine, "server"))]
    assert engine.asked[-1] == (A, "service", "rm", "skyvern-dev-server")


def test_a_start_gives_it_what_it_had(engine: Engine) -> None:
    engine.recorded["services"][-2]["PreviousSpec"]["Mode"] = {"Replicated": {"Replicas": 3}}
    engine.swarm().start_part("skyvern-dev-roles")
    engine.swarm().start_part("skyvern-dev-server")
    assert [call[-1] for call in engine.said("service", "scale")] == ["skyvern-dev-roles=3", "skyvern-dev-server=1"]


@pytest.mark.parametrize("printed", ["", "null", "[]", '{"LocalNodeState": "active"}'])
def test_another_program_named_docker(engine: Engine, monkeypatch: pytest.MonkeyPatch, printed: str) -> None:
    monkeypatch.setattr(Engine, "answer", lambda self, machine, arguments: printed)
    with pytest.raises(UserError, match=r"no manager of the Swarm answers .*printed something that cannot be read"):
        swarm.find(HOSTS)


def test_what_a_client_without_a_daemon_prints(engine: Engine) -> None:
    empty: dict[str, Any] = {"NodeID": "", "LocalNodeState": "", "ControlAvailable": False, "Error": ""}
    assert swarm.parse_machine(A, str(empty).replace("'", '"').replace("False", "false")).problem == "no daemon answers"
