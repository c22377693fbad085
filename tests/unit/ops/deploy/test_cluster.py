"""``ops cluster`` with doubles: what is asked of which daemon, and what is refused before anything changes."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from ops.clients import terminal
from ops.clients.docker import Docker
from ops.deploy import cluster as commands
from ops.errors import UserError
from ops.machine import daemon_config
from ops.observe import cluster as clusters
from ops.observe.cluster import Cluster
from ops.stack.stack import Stack
from tests.support.cluster import HOSTS, THREE, B, member, node

OUTSIDE = {"state": "inactive", "id": "", "manager": False}


class Swarm:
    """Daemons that do what they are asked. asked: letter of the machine and the words."""

    def __init__(self, seen: Cluster, answers: Callable[[str], Any] = lambda line: "") -> None:
        self.seen = seen
        self.answers = answers
        self.asked: list[str] = []
        self.hardened: list[str] = []

    def run(self, docker: Docker, *words: str, **options: Any) -> str:
        line = f"{docker.host.partition('@')[2][0]} {' '.join(words)}"
        self.asked.append(line)
        answer = self.answers(line)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Swarm]:
    def start(seen: Cluster, answers: Callable[[str], Any] = lambda line: "") -> Swarm:
        swarm = Swarm(seen, answers)
        monkeypatch.setattr(clusters, "observe", lambda hosts: swarm.seen)
        monkeypatch.setattr(daemon_config, "harden", lambda host, say: swarm.hardened.append(host))
        monkeypatch.setattr(Docker, "run", lambda docker, *words, **options: swarm.run(docker, *words, **options))
        return swarm

    return start


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    (tmp_path / "Pulumi.dev.yaml").write_text(
        yaml.safe_dump({"config": {"skyvern:host": {"docker_host": HOSTS[0], "nodes": HOSTS[1:]}}})
    )
    return Stack("dev", root=tmp_path)


def silent(line: str) -> None:
    """Where nothing is to be read."""


# --- Before anything changes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool", "line"),
    [
        ("8.8.0.0/16", "--pool 8.8.0.0/16 is not a private IPv4 range; write one such as 10.212.0.0/16"),
        ("10.212.0.0/25", "--pool 10.212.0.0/25 is not a private IPv4 range; write one such as 10.212.0.0/16"),
        ("fd00::/8", "--pool fd00::/8 is not a private IPv4 range; write one such as 10.212.0.0/16"),
        ("10.0.0.0/8", "--pool 10.0.0.0/8 overlaps host.networks, 10.213.0.0/16; write another"),
    ],
)
def test_a_pool_is_private_and_not_the_stacks(stack: Stack, pool: str, line: str) -> None:
    with pytest.raises(UserError) as refused:
        commands.refuse_pool(pool, stack.settings())
    assert str(refused.value) == f"ops cluster init: {line}"
    commands.refuse_pool(commands.POOL, stack.settings())


def test_a_machine_of_an_argument_is_a_daemons_address() -> None:
    with pytest.raises(UserError, match="ops cluster: tcp://b:2375 is a TCP socket"):
        commands.named(["tcp://b:2375"])
    assert commands.named([B, B]) == [B]
    assert commands.named(None) == []


def test_what_cannot_be_in_a_swarm_is_refused_before_anything_changes(use: Callable[..., Swarm]) -> None:
    swarm = use(Cluster(nodes=[node("a", seccomp="builtin"), node("b", live_restore=True), node("c", rootless=True)]))
    with pytest.raises(UserError) as refused:
        commands.prepare(swarm.seen.nodes, yes=True, say=silent)
    assert [line.partition(": ")[0] for line in str(refused.value).splitlines()] == HOSTS[1:]
    assert (swarm.hardened, swarm.asked) == ([], [])


@pytest.mark.parametrize("command", [commands.init, commands.join])
def test_a_machine_with_another_processor_is_refused_before_anything_changes(
    use: Callable[..., Swarm], stack: Stack, command: Callable[..., None]
) -> None:
    seen = Cluster(
        nodes=[node("a"), node("b", processor="arm64", **OUTSIDE), node("c", seccomp="builtin")], members=[member("a")]
    )
    swarm = use(seen)
    with pytest.raises(UserError) as refused:
        command(nodes=[B], stack=stack, address=None, yes=True, **({"pool": commands.POOL} if command is commands.init else {}))
    assert str(refused.value) == (
        f"{B}: is arm64, and {HOSTS[0]} is amd64: the images of a stack are made for one processor, and copied to all; write a "
        "machine with amd64 in its place"
    )
    assert (swarm.hardened, swarm.asked) == ([], [])


def test_a_machine_joins_beside_one_with_another_processor(use: Callable[..., Swarm], stack: Stack) -> None:
    """It is the other one's fault, which ``show`` names."""
    swarm = use(Cluster(nodes=[node("a"), node("b", processor="arm64"), node("c", seccomp="builtin")], members=[member("a")]))
    with pytest.raises(UserError, match="is in another Swarm"):
        commands.join(nodes=[HOSTS[2]], stack=stack, address=None, yes=True)
    assert swarm.hardened == [HOSTS[2]]


def test_docker_is_not_restarted_unasked_where_containers_run(use: Callable[..., Swarm], monkeypatch: pytest.MonkeyPatch) -> None:
    swarm = use(Cluster(nodes=[node("a"), node("b", seccomp="builtin", containers=9), node("c", seccomp="builtin")]))
    with pytest.raises(
        UserError, match=rf"stops containers for a moment \(9 at {B}\) and there is no terminal to ask on; add --yes"
    ):
        commands.prepare(swarm.seen.nodes, yes=False, say=silent)
    monkeypatch.setattr(terminal, "attended", lambda: True)
    monkeypatch.setattr(terminal, "confirm", lambda question: False)
    with pytest.raises(UserError, match="nothing is changed"):
        commands.prepare(swarm.seen.nodes, yes=False, say=silent)
    assert swarm.hardened == []
    commands.prepare(swarm.seen.nodes, yes=True, say=silent)
    assert swarm.hardened == [B, HOSTS[2]]


def test_each_daemon_that_cannot_be_hardened_has_its_line(use: Callable[..., Swarm], monkeypatch: pytest.MonkeyPatch) -> None:
    swarm = use(Cluster(nodes=[node(letter, no_new_privileges=False) for letter in "ab"]))

    def refuse(host: str, say: Any) -> None:
        raise UserError(f"{host}: cannot be written")

    monkeypatch.setattr(daemon_config, "harden", refuse)
    with pytest.raises(UserError) as failed:
        commands.prepare(swarm.seen.nodes, yes=True, say=silent)
    assert str(failed.value) == f"{HOSTS[0]}: cannot be written\n{B}: cannot be written"


def test_a_second_swarm_is_refused(use: Callable[..., Swarm], stack: Stack) -> None:
    swarm = use(Cluster(nodes=[node("a", **OUTSIDE), node("b")], members=[member("b")]))
    with pytest.raises(UserError, match=rf"{B}: is in a Swarm already, .* bin/ops cluster join {HOSTS[0]} -s dev"):
        commands.init(stack=stack, nodes=None, address=None, pool=commands.POOL, yes=True)
    assert swarm.asked == []


def test_a_machine_of_another_swarm_is_left_in_it(use: Callable[..., Swarm]) -> None:
    swarm = use(Cluster(nodes=[node("a"), node("b", id="other"), node("c", **OUTSIDE)], members=[member("a")]))
    with pytest.raises(UserError, match=rf"^{B}: is in another Swarm"):
        commands.let_join(HOSTS, say=silent)
    assert swarm.asked == []


# --- Joining and managing ------------------------------------------------------------------------------------------------


def tokens(join: str | Exception) -> Callable[[str], Any]:
    def answer(line: str) -> Any:
        if "swarm leave" in line and "Timeout was reached" not in str(join):
            # After a refusal it has forgotten the join; it goes on trying after a timeout (moby, daemon/cluster/swarm.go).
            return UserError("docker: exit 1: Error response from daemon: This node is not part of a swarm")
        if "join-token --quiet" in line:
            return "SWMTKN-1-secret\n"
        if "node inspect self" in line:
            return "10.0.0.1:2377\n"
        return join if "swarm join " in line else ""

    return answer


def test_machines_join_as_workers_and_the_token_is_replaced(use: Callable[..., Swarm]) -> None:
    swarm = use(Cluster(nodes=[node("a"), node("b", **OUTSIDE), node("c", **OUTSIDE)], members=[member("a")]), tokens(""))
    commands.let_join(HOSTS, only=[B], address="eth1", say=silent)
    assert swarm.asked[0] == "a swarm join-token --quiet worker"
    assert swarm.asked[2] == "b swarm join --token SWMTKN-1-secret --advertise-addr eth1 10.0.0.1:2377"
    assert swarm.asked[-1] == "a swarm join-token --rotate --quiet worker"
    assert not [line for line in swarm.asked if line.startswith("c ")]


@pytest.mark.parametrize(
    ("failed", "cure"),
    [
        ("docker: exit 1: Error: rpc error: code = Unavailable desc = connection refused", "open 2377/tcp"),
        ("docker: exit 1: Error: Timeout was reached before node joined.", "open 2377/tcp"),
        ("docker: exit 1: could not choose an IP address to advertise", "add --address"),
        ("docker: exit 1: rpc error: desc = A valid join token is necessary", "see bin/ops cluster status"),
        ("docker: exit 1: something new", "see bin/ops cluster status"),
    ],
)
def test_a_machine_that_cannot_join_stays_outside(use: Callable[..., Swarm], failed: str, cure: str) -> None:
    swarm = use(Cluster(nodes=[node("a"), node("b", **OUTSIDE)], members=[member("a")]), tokens(UserError(failed)))
    with pytest.raises(UserError, match=cure) as line:
        commands.let_join(HOSTS, say=silent)
    assert str(line.value).startswith(f"{B}: docker: exit 1: ")
    assert swarm.asked[-2:] == ["b swarm leave --force", "a swarm join-token --rotate --quiet worker"]


def with_managers(letters: str, of: str = "abc", **off: Any) -> Cluster:
    members = [member(letter, manager=letter in letters, **(off if letter == "b" else {})) for letter in of]
    return Cluster(nodes=[node(letter, manager=letter in letters) for letter in of], members=members)


@pytest.mark.parametrize(
    ("seen", "asked"),
    [
        (THREE, []),
        (with_managers("a"), ["a node promote idb", "a node promote idc"]),
        (with_managers("a", ready=False), ["a node promote idc"]),
        (with_managers("a", availability="drain"), ["a node promote idc"]),
        (with_managers("ac", of="ac"), ["a node demote idc"]),
        (with_managers("abcd", of="abcd", ready=False), ["a node demote idb"]),
        (with_managers("abcd", of="abcd"), ["a node demote idb"]),
        (replace(THREE, members=None), []),
    ],
)
def test_managers_are_as_many_as_there_should_be(use: Callable[..., Swarm], seen: Cluster, asked: Sequence[str]) -> None:
    swarm = use(seen, lambda line: "reachable\n" if "node inspect" in line else "")
    commands.settle(HOSTS, say=silent)
    assert [line for line in swarm.asked if "node inspect" not in line] == asked


def test_a_new_manager_is_waited_for(use: Callable[..., Swarm], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "POLL_SECONDS", 0)
    states = iter(["", "unreachable\n", "reachable\n"])
    swarm = use(with_managers("ab", of="abc"), lambda line: next(states) if "node inspect" in line else "")
    commands.settle(HOSTS, say=silent)
    assert len([line for line in swarm.asked if line.startswith("a node inspect idc")]) == 3


@pytest.mark.parametrize("words", [B, "b", "10.0.0.2", "idb"])
def test_a_machine_is_found_by_what_a_person_writes(words: str) -> None:
    assert commands.find(THREE, words) == member("b")


@pytest.mark.parametrize(
    ("seen", "words", "line"),
    [
        (THREE, "d", "d is not in the Swarm; write the id of one of a (10.0.0.1, ida), b (10.0.0.2, idb), c (10.0.0.3, idc)"),
        (
            replace(THREE, members=[member("a"), replace(member("a"), id="x")]),
            "a",
            "a is several machines; write the id of one of",
        ),
        (
            replace(THREE, nodes=[node("a"), clusters.Node(host=B, problem="off")]),
            B,
            f"{B} does not answer; write the id of one of",
        ),
    ],
)
def test_a_machine_that_is_not_found_has_a_line(seen: Cluster, words: str, line: str) -> None:
    with pytest.raises(UserError) as refused:
        commands.find(seen, words)
    assert str(refused.value).startswith(f"ops cluster: {line}")


# --- Maintenance ---------------------------------------------------------------------------------------------------------


def test_a_machine_without_others_keeps_its_services(use: Callable[..., Swarm], stack: Stack) -> None:
    swarm = use(replace(THREE, members=[member("a"), member("b"), member("c", ready=False)]))
    swarm.seen = replace(swarm.seen, members=[member("a", availability="drain"), member("b"), member("c", ready=False)])
    with pytest.raises(UserError, match="drain: no other machine takes services, so those of b would be down; start another, or"):
        commands.drain("b", stack=stack, undo=False)
    # Everything was down, and it ended well.
    with pytest.raises(UserError, match="leave: no other machine takes services, so those of b would be down; start another, or"):
        commands.leave("b", stack=stack, gone=False, yes=True)
    assert swarm.asked == []


def test_a_machine_that_is_gone_is_taken_out_beside_a_drained_one(use: Callable[..., Swarm], stack: Stack) -> None:
    """It has no services any more, and the Swarm is not to wait for it."""
    drained = [member("a", availability="drain"), member("b", ready=False, manager=False)]
    seen = Cluster(nodes=[node("a"), clusters.Node(host=B, problem="off")], members=drained)
    swarm = use(seen, lambda line: "down\n" if "node inspect" in line else "")
    commands.leave("b", stack=stack, gone=True, yes=True)
    assert "a node rm --force idb" in swarm.asked


def test_a_machine_is_drained_until_its_services_have_stopped(
    use: Callable[..., Swarm], stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "POLL_SECONDS", 0)
    states = iter(["Running 2 minutes ago\nShutdown 1 second ago\n", "Shutdown 1 second ago\n"])
    answers = {"b ps --quiet": "id1\nid2\n", "a inspect --format {{json .Config.Env}} skyvern-dev-server": "[]"}
    swarm = use(THREE, lambda line: next(states) if "node ps" in line else answers.get(line, ""))
    commands.drain("b", stack=stack, undo=False)
    assert [line for line in swarm.asked if "update" in line] == ["a node update --availability drain idb"]
    assert len([line for line in swarm.asked if "node ps" in line]) == 2
    assert "b: 2 containers of no service stay there" in capsys.readouterr().out


def test_a_machine_that_answers_is_not_gone_and_one_that_does_not_needs_the_word(use: Callable[..., Swarm], stack: Stack) -> None:
    swarm = use(THREE)
    with pytest.raises(UserError, match=f"{B} answers; leave out --gone"):
        commands.leave("b", stack=stack, gone=True, yes=True)
    swarm.seen = replace(THREE, nodes=[node("a"), clusters.Node(host=B, problem="off"), node("c")])
    with pytest.raises(UserError, match="add --gone if the machine will not come back"):
        commands.leave("b", stack=stack, gone=False, yes=True)
    assert swarm.asked == []


def test_the_last_machine_ends_the_swarm_and_says_what_ends_with_it(use: Callable[..., Swarm], stack: Stack) -> None:
    swarm = use(Cluster(nodes=[node("a")], members=[member("a")]), lambda line: "s1\ns2\n" if "service ls" in line else "")
    with pytest.raises(UserError, match=r"services end with the Swarm \(2\) and there is no terminal to ask on; add --yes"):
        commands.leave("a", stack=stack, gone=False, yes=False)
    commands.leave("a", stack=stack, gone=False, yes=True)
    assert swarm.asked[-1] == "a swarm leave --force"


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("seen", "code"), [(THREE, 0), (replace(THREE, nodes=[node("a"), node("b", seccomp=""), node("c")]), 1)])
def test_status_ends_with_1_on_errors(
    use: Callable[..., Swarm], stack: Stack, capsys: pytest.CaptureFixture[str], seen: Cluster, code: int, as_json: bool
) -> None:
    use(seen)
    with pytest.raises(typer.Exit) as end:
        commands.status(stack=stack, as_json=as_json)
    assert end.value.exit_code == code
    printed = capsys.readouterr().out
    if as_json:
        document = json.loads(printed)
        assert [each["hardened"] for each in document["nodes"]] == [True, code == 0, True]
        assert [finding["subject"] for finding in document["findings"]] == [B] * code
    else:
        assert "a     10.0.0.1  leader   ready  28.2.2  yes" in printed
        assert ("nothing is wrong" in printed) is (code == 0)
