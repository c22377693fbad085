"""ops.deploy.recovery with doubles: which containers count as left over, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from ops.clients import process
from ops.clients.docker import Docker
from ops.clients.swarm import Swarm
from ops.deploy import recovery
from ops.errors import UserError
from ops.stack import checkpoint, locks, state
from ops.stack.inventory import Labelled
from ops.stack.stack import Stack

CONTAINER = "docker:index/container:Container"
SERVER = Labelled("container", "a" * 64, "skyvern-dev-server")
NETWORK = Labelled("network", "b" * 64, "skyvern-dev-data")
VOLUME = {"urn": "urn:pulumi:dev::skyvern::x::data", "type": "docker:index/volume:Volume", "id": "skyvern-dev-postgres"}
SECRET = "docker:index/secret:Secret"
CREATING = {"resource": {"urn": "urn:pulumi:dev::skyvern::x::skyvern-host-skyvern-server"}, "type": "creating"}

ELSEWHERE = " ".join(state.ELSEWHERE)


class Machine:
    """Answers for pulumi and docker, and what was asked of them."""

    def __init__(self) -> None:
        self.name = "dev"
        self.state: dict[str, Any] = {"resources": [VOLUME]}
        self.after_refresh: list[dict[str, Any]] = []
        self.labelled: list[Labelled] = []
        self.volumes: list[str] = []
        self.services: list[dict[str, Any]] = []
        self.asked: list[str] = []

    @property
    def export(self) -> str:
        """The command line that reads the state: without ``--show-secrets``."""
        return f"stack export --stack {self.name} --non-interactive"

    @property
    def calls(self) -> list[str]:
        """The calls that change anything."""
        return [call for call in self.asked if call != self.export]

    def pulumi(self, command: list[str], stdin: bytes | None = None, **_: Any) -> bytes:
        call = " ".join(command[1:])
        self.asked.append(call)
        if call == self.export:
            return json.dumps({"version": 3, "deployment": self.state}).encode()
        if call.startswith("refresh"):
            self.state.pop("pending_operations", None)
            self.state["resources"] += self.after_refresh
        if call.startswith("stack import"):
            document = json.loads(stdin or b"")
            assert document["version"] == 3
            self.state = document["deployment"]
        return b""

    def docker(self, *arguments: str, **_: Any) -> str:
        if arguments[:2] == ("volume", "ls"):
            assert "label=skyvern.stack=dev" in arguments
            return "".join(json.dumps({"Name": name, "Labels": ""}) + "\n" for name in self.volumes)
        if arguments[:2] == ("service", "ls"):
            return "\n".join(service["ID"] for service in self.services)
        if arguments[:2] == ("service", "inspect"):
            return json.dumps(self.services)
        if arguments[1] == "ls":
            assert "label=skyvern.stack=dev" in arguments
            return "".join(f"{item.id} {item.name}\n" for item in self.labelled if item.kind == arguments[0])
        self.asked.append(" ".join(arguments))
        return ""

    def recover(self, docker: Docker | None = None) -> list[str]:
        """The lines that were printed."""
        lines: list[str] = []
        stack = Stack(self.name, variables={"PULUMI_BACKEND_URL": "file:///nowhere"})
        recovery.recover(stack, docker or Docker("unix:///x"), lines.append)
        return lines


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    double = Machine()
    monkeypatch.setattr(process, "capture", double.pulumi)
    monkeypatch.setattr(Docker, "run", lambda self, *arguments, **_: double.docker(*arguments))
    return double


def test_nothing_to_do_is_silent(machine: Machine) -> None:
    machine.state["resources"].append({"urn": "u", "type": CONTAINER, "id": SERVER.id})
    machine.labelled = [SERVER]
    assert machine.recover() == []
    assert machine.calls == []


def test_files_that_a_killed_pulumi_left_are_cleared_before_the_state_is_read(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "drop_cut_off_attributes", lambda url, _: machine.asked.append(f"attributes of {url}"))
    monkeypatch.setattr(locks, "release_locks", lambda stack, _: machine.asked.append(f"locks of {stack}"))
    machine.recover()
    assert machine.asked == ["attributes of file:///nowhere", "locks of dev", machine.export]


def test_a_pulumi_at_work_is_left_alone(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(stack: Stack, _: object) -> None:
        raise UserError(f"stack {stack}: another Pulumi is working on it")

    monkeypatch.setattr(locks, "release_locks", refuse)
    machine.labelled = [SERVER]
    with pytest.raises(UserError, match=r"^stack dev: another Pulumi is working on it$"):
        machine.recover()
    assert machine.asked == []


def test_what_is_not_in_the_state_is_removed_containers_first(machine: Machine) -> None:
    machine.state["pending_operations"] = [CREATING]
    machine.labelled = [NETWORK, SERVER]
    lines = machine.recover()
    assert machine.calls == [
        f"refresh --clear-pending-creates {ELSEWHERE} --yes --skip-preview --stack dev --non-interactive",
        f"container stop --time 60 {SERVER.id}",
        f"container rm --force {SERVER.id}",
        f"network rm {NETWORK.id}",
    ]
    assert lines == [
        "the last up was stopped while creating skyvern-host-skyvern-server",
        "container skyvern-dev-server is not in the state: removed (it holds no data; volumes stay)",
        "network skyvern-dev-data is not in the state: removed (it holds no data; volumes stay)",
    ]


def test_what_the_state_knows_after_the_refresh_is_kept(machine: Machine) -> None:
    machine.state["pending_operations"] = [CREATING]
    machine.after_refresh = [{"urn": "u", "type": CONTAINER, "id": SERVER.id}]
    machine.labelled = [NETWORK, SERVER]
    machine.recover()
    assert machine.calls[1:] == [f"network rm {NETWORK.id}"]


def test_the_first_up_ever_may_be_killed_too(machine: Machine) -> None:
    machine.state = {"resources": [], "pending_operations": [CREATING]}
    machine.labelled = [SERVER]
    machine.recover()
    assert f"container rm --force {SERVER.id}" in machine.calls


# --- Secrets of a Swarm that a failed update was to replace -----------------------------------------------------------------

SWARM = Swarm("unix:///x")


def secret(name: str, *, key: str = "KEY", deleted: bool = False) -> dict[str, Any]:
    """One of the server's as the state has it, its id being its name."""
    made = {"urn": f"urn:pulumi:dev::skyvern::{SECRET}::{key}", "type": SECRET, "id": name, "inputs": {"name": name}}
    made |= {"outputs": {"name": name}, "dependencies": [f"of {name}"]}
    return {**made, "delete": True} if deleted else made


def service(*secrets: str, before: tuple[str, ...] = (), update: str = "completed") -> dict[str, Any]:
    """The server's as Docker has it, with its secrets, and those of the time before its last update."""

    def spec(names: tuple[str, ...]) -> dict[str, Any]:
        container = {"Image": "x", "Secrets": [{"SecretID": name, "SecretName": name} for name in names]}
        return {
            "Name": "skyvern-dev-server",
            "Mode": {"Replicated": {"Replicas": 1}},
            "TaskTemplate": {"ContainerSpec": container},
        }

    return {"ID": "s", "Spec": spec(secrets), "PreviousSpec": spec(before), "UpdateStatus": {"State": update}}


def left(machine: Machine, *resources: dict[str, Any], running: dict[str, Any], secrets: str) -> list[str]:
    """Recovers from such a state; the lines."""
    service = {
        "urn": "urn:pulumi:dev::skyvern::docker:index/service:Service::x",
        "type": "docker:index/service:Service",
        "id": "s",
    }
    machine.state, machine.services = {"resources": [VOLUME, *resources, service]}, [running]
    machine.labelled = [Labelled("secret", name, name) for name in secrets.split()]
    return machine.recover(SWARM)


IMPORT = "stack import --stack dev --non-interactive"


def test_a_secret_that_a_rolled_back_service_still_has_is_the_stacks_again(machine: Machine) -> None:
    """Made again for a value that comes back, it was refused: its name was taken, by what no command could remove."""
    both = secret("new"), secret("old", deleted=True)
    lines = left(machine, *both, running=service("old", before=("new",), update="rollback_completed"), secrets="new old")
    assert machine.calls == [IMPORT, "secret rm new"]
    assert lines == [
        "secret old is used again: the update that was to replace it failed",
        "secret new is not in the state: removed (it holds no data; volumes stay)",
    ]
    # In its successor's place and with that one's dependencies: what depends on it comes behind.
    assert machine.state["resources"][1:-1] == [{**secret("old"), "dependencies": ["of new"]}]


def test_a_secret_that_no_service_has_any_more_is_removed_before_the_up(machine: Machine) -> None:
    """The service that it was of was updated, and another one failed."""
    lines = left(machine, secret("new"), secret("old", deleted=True), running=service("new", before=("old",)), secrets="new old")
    assert machine.calls == [IMPORT, "secret rm old"]
    assert lines == ["secret old is not in the state: removed (it holds no data; volumes stay)"]
    assert machine.state["resources"][1:-1] == [secret("new")]


def test_of_several_failed_updates_the_secret_that_is_used_stays(machine: Machine) -> None:
    failed = [secret("third"), secret("first", deleted=True), secret("second", deleted=True), secret("other", key="OTHER")]
    left(machine, *failed, running=service("first", "other", update="rollback_completed"), secrets="first other second third")
    assert machine.calls == [IMPORT, "secret rm second", "secret rm third"]
    assert [resource["id"] for resource in machine.state["resources"][1:-1]] == ["first", "other"]


def test_secrets_of_an_update_that_goes_on_are_left_alone(machine: Machine) -> None:
    """The engine may still go back to the old one."""
    going_on = service("new", before=("old",), update="updating")
    assert left(machine, secret("new"), secret("old", deleted=True), running=going_on, secrets="new old") == []
    assert machine.calls == []


def test_a_state_without_replaced_secrets_is_not_written(machine: Machine) -> None:
    assert left(machine, secret("new"), running=service("new"), secrets="new") == []
    assert machine.calls == []


# --- Another engine --------------------------------------------------------------------------------------------------------


def part(kind: str, name: str = "skyvern-dev-server") -> dict[str, Any]:
    type_ = f"docker:index/{kind}:{kind.capitalize()}"
    return {"urn": f"urn:pulumi:dev::skyvern::{type_}::x", "type": type_, "id": "x", "outputs": {"name": name}}


ON_A_SWARM = (
    "stack dev: nothing was changed: it runs on a Swarm, its data in a shared folder, and with host.engine docker of "
    "Pulumi.dev.yaml it would begin without that; write engine: swarm and shared_folder back (docs/cluster.md says what can be "
    "brought into a stack on another engine)"
)
IN_CONTAINERS = (
    "stack dev: nothing was changed: it runs in containers, its data in volumes, and with host.engine swarm of Pulumi.dev.yaml "
    "it would begin without that; write engine: docker back (docs/cluster.md says what can be brought into a stack on another "
    "engine)"
)


@pytest.mark.parametrize(
    ("there", "docker", "line"),
    [("service", Docker("unix:///x"), ON_A_SWARM), ("container", SWARM, IN_CONTAINERS)],
    ids=["swarm to docker", "docker to swarm"],
)
def test_a_stack_does_not_change_its_engine_without_its_data(
    machine: Machine, tmp_path: Path, there: str, docker: Docker, line: str
) -> None:
    """Tasks of the Swarm were removed as containers of no state, services left the state, and the up began with empty volumes."""
    machine.state["resources"].append(part(there))
    machine.labelled = [SERVER]
    with pytest.raises(UserError) as refused:
        machine.recover(docker)
    assert (str(refused.value), machine.calls) == (line, [])
    # In a file backend, before anything is built.
    path = tmp_path / ".pulumi" / "stacks" / "skyvern" / "dev.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"version": 3, "checkpoint": {"latest": machine.state}}))
    with pytest.raises(UserError) as early:
        recovery.refuse_foreign_before(Stack("dev", variables={}), docker, f"file://{tmp_path}")
    assert str(early.value) == line


@pytest.mark.parametrize("docker", [Docker("unix:///x"), SWARM])
@pytest.mark.parametrize("resources", [[], [part("network")], [part("service", "mine"), part("container", "mine")]])
def test_a_stack_without_parts_may_have_another_engine(machine: Machine, docker: Docker, resources: list[dict[str, Any]]) -> None:
    """One that was never deployed or is destroyed; what a person has declared besides counts as little."""
    machine.state = {"resources": resources}
    assert machine.recover(docker) == []


# --- Another state ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dev", "organization/skyvern/dev"])
def test_containers_of_another_state_are_not_touched(machine: Machine, name: str) -> None:
    machine.name = name
    machine.state = {}
    machine.labelled = [SERVER]
    with pytest.raises(
        UserError,
        match=rf"^stack {name}: on unix:///x there are containers skyvern-dev-server, which another state made .*\(file:///nowhere\)",
    ):
        machine.recover()
    assert machine.calls == []


DATA = ["skyvern-dev-postgres", "skyvern-dev-artifacts"]


@pytest.mark.parametrize("state", [{}, {"resources": [{"urn": "urn:pulumi:dev::skyvern::x::y", "type": "pulumi:pulumi:Stack"}]}])
def test_volumes_of_another_state_are_refused_by_name(machine: Machine, state: dict[str, Any]) -> None:
    """F04: sudo script/up first, later as the user; the volumes were taken over and PostgreSQL refused the new password."""
    machine.state, machine.volumes = state, DATA
    with pytest.raises(UserError) as told:
        machine.recover()
    assert "volumes skyvern-dev-artifacts, skyvern-dev-postgres" in str(told.value)
    assert machine.calls == []


def test_the_advice_removes_everything_in_an_order_that_docker_accepts(machine: Machine) -> None:
    """F04: each kind has its own command; docker rm --force alone left networks and volumes."""
    machine.state, machine.volumes, machine.labelled = {}, DATA, [NETWORK, SERVER]
    with pytest.raises(UserError) as told:
        machine.recover()
    *_, advice = str(told.value).partition("or remove them: ")
    assert advice.split("; ") == [
        "docker --host unix:///x rm --force skyvern-dev-server",
        "docker --host unix:///x network rm skyvern-dev-data",
        "with all its data, docker --host unix:///x volume rm skyvern-dev-artifacts skyvern-dev-postgres",
    ]


def test_the_commands_are_followed_to_their_end(machine: Machine) -> None:
    machine.state, machine.volumes, machine.labelled = {}, DATA, [NETWORK, SERVER]
    for _ in range(2):
        try:
            machine.recover()
        except UserError as told:
            for command in str(told).partition("or remove them: ")[2].split("; "):
                *_, removal = command.partition("--host unix:///x ")
                gone = set(removal.split())
                machine.labelled = [item for item in machine.labelled if item.name not in gone]
                machine.volumes = [name for name in machine.volumes if name not in gone]
    assert machine.recover() == []


def test_a_state_with_resources_knows_its_volumes(machine: Machine) -> None:
    """One whose containers were destroyed (README, "Removing a stack", the first line) still has its volumes."""
    machine.volumes = DATA
    assert machine.recover() == []


def test_before_there_is_an_engine_a_file_backend_is_looked_into(machine: Machine, tmp_path: Path) -> None:
    """F04: before anything is built. Other backends have no files to look into."""
    machine.volumes = DATA
    stack = Stack("dev", variables={})
    recovery.refuse_foreign_before(stack, Docker("unix:///x"), "s3://bucket")
    with pytest.raises(UserError, match="volumes skyvern-dev-artifacts, skyvern-dev-postgres, which another state made"):
        recovery.refuse_foreign_before(stack, Docker("unix:///x"), f"file://{tmp_path}")
    path = tmp_path / ".pulumi" / "stacks" / "skyvern" / "dev.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"version": 3, "checkpoint": {"latest": {"resources": [VOLUME]}}}))
    recovery.refuse_foreign_before(stack, Docker("unix:///x"), f"file://{tmp_path}")
    path.write_text(json.dumps({"version": 3, "checkpoint": {"latest": {"pending_operations": [CREATING]}}}))
    recovery.refuse_foreign_before(stack, Docker("unix:///x"), f"file://{tmp_path}")


def test_a_state_from_the_kit_knows_the_volumes_that_were_filled_for_it(machine: Machine, tmp_path: Path) -> None:
    """It has the secrets alone: what it says of the machine that is gone is not here."""
    machine.volumes = DATA
    path = tmp_path / ".pulumi" / "stacks" / "skyvern" / "dev.json"
    path.parent.mkdir(parents=True)
    stack = {"type": "pulumi:pulumi:Stack", "urn": "urn:pulumi:dev::skyvern::pulumi:pulumi:Stack::skyvern-dev"}
    password = {"type": "random:index/randomPassword:RandomPassword", "urn": "urn:pulumi:dev::skyvern::random::database"}
    path.write_text(json.dumps({"version": 3, "checkpoint": {"latest": {"resources": [stack, password]}}}))
    recovery.refuse_foreign_before(Stack("dev", variables={}), Docker("unix:///x"), f"file://{tmp_path}")
    path.write_text(json.dumps({"version": 3, "checkpoint": {"latest": {"resources": [stack]}}}))
    with pytest.raises(UserError, match="which another state made"):
        recovery.refuse_foreign_before(Stack("dev", variables={}), Docker("unix:///x"), f"file://{tmp_path}")


@pytest.mark.parametrize("folder", ["stacks", "stacks/skyvern"])
def test_a_stack_of_another_project_is_refused(machine: Machine, tmp_path: Path, folder: str) -> None:
    """F21: an old file backend has one "dev" for all projects; the plan was 53 to create and 2 to delete."""
    foreign = {"resources": [{"urn": "urn:pulumi:dev::website::pulumi:pulumi:Stack::website-dev", "type": "pulumi:pulumi:Stack"}]}
    machine.state = foreign
    line = r"in the backend file:///nowhere, the stack of that name is another project's \(website\), and nothing was changed"
    with pytest.raises(
        UserError, match=rf"^stack dev: {line}; name another backend, for example export PULUMI_BACKEND_URL=file://"
    ):
        machine.recover()
    assert machine.calls == []
    path = tmp_path / ".pulumi" / folder / "dev.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"version": 3, "checkpoint": {"latest": foreign}}))
    with pytest.raises(UserError, match=r"another project's \(website\)"):
        recovery.refuse_foreign_before(Stack("dev", variables={}), Docker("unix:///x"), f"file://{tmp_path}")


def test_what_may_be_at_cloudflare_is_named_and_nothing_else() -> None:
    def pending(kind: str, name: str, operation: str = "creating") -> dict[str, Any]:
        urn = f"urn:pulumi:dev::skyvern::skyvern:edge:CloudflareTunnel${kind}::x"
        return {"type": operation, "resource": {"urn": urn, "inputs": {"name": name}}}

    lines = list(
        recovery.possibly_created_at_cloudflare(
            [
                CREATING,
                pending("cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared", "skyvern-dev"),
                pending("cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared", "skyvern-dev", "updating"),
                pending("cloudflare:index/zoneSetting:ZoneSetting", ""),
                pending("cloudflare:index/zeroTrustAccessPolicy:ZeroTrustAccessPolicy", "skyvern-dev: people"),
                pending("cloudflare:index/notificationPolicy:NotificationPolicy", "skyvern-dev: tunnel"),
            ]
        )
    )
    assert [line.split(" may exist ")[0] for line in lines] == [
        'the tunnel "skyvern-dev"',
        'the policy "skyvern-dev: people"',
        'the notification "skyvern-dev: tunnel"',
    ]
    assert "1013" in lines[0]
    assert "the up makes another one" in lines[1]
