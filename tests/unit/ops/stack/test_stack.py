"""ops.stack.stack: the names of a stack, what has its name, and the Pulumi that runs for it. The guard: test_guard.py."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ops import cli
from ops.clients import process
from ops.errors import UserError
from ops.machine import environment
from ops.observe import status
from ops.paths import ROOT
from ops.stack.stack import Stack
from tests.support import swarm as support
from tests.support.checkout import commit
from tests.support.stack_outputs import OUTPUTS

FULL = "organization/skyvern/prod"
STACK_FILE = "config:\n  skyvern:host:\n    docker_host: unix:///run/x.sock\n    port: 18090\n"


# --- Names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["prod", "organization/prod", FULL, "acme/skyvern/prod"])
def test_files_and_containers_have_the_short_name_and_pulumi_gets_the_full_one(tmp_path: Path, name: str) -> None:
    stack = Stack(name, root=tmp_path)
    assert (str(stack), f"{stack}", stack.short) == (name, name, "prod")
    assert stack.prefix("postgres") == "skyvern-prod-postgres"
    assert stack.command("up", "--yes") == ["pulumi", "up", "--yes", "--stack", name]
    assert stack.file_name == "Pulumi.prod.yaml"
    with pytest.raises(UserError, match=r"^Pulumi\.prod\.yaml: does not exist; copy Pulumi\.dev\.yaml to it"):
        _ = stack.file
    (tmp_path / "Pulumi.prod.yaml").write_text(STACK_FILE)
    assert stack.file == tmp_path / "Pulumi.prod.yaml"
    assert stack.settings().host.port == 18090
    assert stack.docker().host == "unix:///run/x.sock"


def test_a_name_that_a_swarm_does_not_take_is_refused_before_a_machine_is_asked(tmp_path: Path) -> None:
    stack = Stack("organization/skyvern/shop.example", root=support.stack_at(tmp_path).root)
    (tmp_path / "Pulumi.dev.yaml").rename(tmp_path / "Pulumi.shop.example.yaml")
    with pytest.raises(UserError, match=r"^Pulumi\.shop\.example\.yaml: host\.engine: .* to Pulumi\.shop-example\.yaml$"):
        stack.docker()
    (tmp_path / "Pulumi.shop.example.yaml").rename(tmp_path / "Pulumi.shop-example.yaml")
    assert Stack("shop-example", root=tmp_path).settings().host.engine == "swarm"


def test_a_stack_file_that_pulumi_removed_is_brought_back_by_git(checkout: Path) -> None:
    """F01: ``pulumi stack rm dev`` removes the tracked file; the advice was to copy Pulumi.dev.yaml to itself."""
    stack = Stack("dev", root=checkout)
    (checkout / "Pulumi.dev.yaml").write_text(STACK_FILE)
    commit(checkout)
    (checkout / "Pulumi.dev.yaml").unlink()
    with pytest.raises(UserError) as told:
        _ = stack.file
    line = str(told.value)
    assert line == "Pulumi.dev.yaml: does not exist; git checkout HEAD -- Pulumi.dev.yaml brings back the committed one"
    # The cure, followed to its end.
    command = line.partition("; ")[2].partition(" brings")[0]
    subprocess.run(["bash", "-c", command], cwd=checkout, check=True, capture_output=True)
    assert stack.settings().host.port == 18090


def test_a_readme_that_is_followed_keeps_the_stack_file() -> None:
    """F01: the last command about the stack, in both languages."""
    for page in ("README.md", "README.ko.md"):
        (line,) = [line for line in (ROOT / page).read_text().splitlines() if "pulumi stack rm" in line]
        assert line.startswith("$ pulumi stack rm dev --preserve-config ")


@pytest.mark.parametrize("name", ["v1.2", ".hidden", "a_b-C3", "s" * 100])
def test_every_name_that_pulumi_accepts_is_a_stacks(name: str) -> None:
    assert Stack(name).short == name


CHARACTERS = "Pulumi accepts letters, digits, hyphens, underscores and periods, 100 at most"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("", CHARACTERS),
        (".", CHARACTERS),
        ("..", CHARACTERS),
        ("prod\n", CHARACTERS),
        ("my stack", CHARACTERS),
        ("s" * 101, CHARACTERS),
        ("prod/", CHARACTERS),
        ("organization/..", CHARACTERS),
        ("organization/skyvern/", CHARACTERS),
        ("a/b/c/d", "is not a stack; write d, or organization/skyvern/d"),
        ("/prod", "is not a stack; write prod, or organization/skyvern/prod"),
        ("my organization/prod", "is not a stack; write prod, or organization/skyvern/prod"),
        ("organization/other/prod", "this project is skyvern; write organization/skyvern/prod"),
    ],
)
def test_a_wrong_name_is_one_line(name: str, wrong: str) -> None:
    with pytest.raises(UserError) as raised:
        Stack(name)
    assert str(raised.value) == f"stack {name!r}: {wrong}"
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "name"), [([], "dev"), (["-s", "prod"], "prod"), (["-s", FULL], FULL), (["--stack", FULL], FULL)]
)
def test_the_option_of_every_command_makes_a_stack(monkeypatch: pytest.MonkeyPatch, arguments: list[str], name: str) -> None:
    given: list[Stack] = []

    def main(stack: Stack, *, json_wanted: bool) -> int:
        given.append(stack)
        return 0

    monkeypatch.setattr(status, "main", main)
    monkeypatch.setattr(sys, "argv", ["ops", "status", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code, given) == (0, [Stack(name)])


def test_the_root_is_this_checkouts_when_the_stack_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Stack("dev").root == ROOT
    monkeypatch.setattr("ops.stack.stack.ROOT", tmp_path)
    assert Stack("dev").root == tmp_path


# --- Pulumi --------------------------------------------------------------------------------------------------------------


class Pulumi:
    """A double: keeps the last command with its options, and prints a text."""

    def __init__(self) -> None:
        self.printed: Any = {}
        self.command: list[str] = []
        self.options: dict[str, Any] = {}

    def capture(self, command: list[str], **options: Any) -> bytes:
        self.command, self.options = command, options
        return json.dumps(self.printed).encode()


@pytest.fixture
def pulumi(monkeypatch: pytest.MonkeyPatch) -> Pulumi:
    double = Pulumi()
    monkeypatch.setattr(process, "capture", double.capture)
    return double


def test_pulumi_runs_in_the_checkout_with_the_stacks_variables(tmp_path: Path, pulumi: Pulumi) -> None:
    variables = {"PATH": "/engine", "PULUMI_BACKEND_URL": "file:///state"}
    stack = Stack(FULL, root=tmp_path, variables=variables)
    stack.pulumi("config", "set", "a", stdin=b"a secret", timeout_seconds=7)
    assert pulumi.command == ["pulumi", "config", "set", "a", "--stack", FULL, "--non-interactive"]
    assert pulumi.options == {"cwd": tmp_path, "env": variables, "stdin": b"a secret", "timeout_seconds": 7}
    # A copy, which the caller may change.
    stack.environment()["PULUMI_BACKEND_URL"] = "file:///another"
    assert stack.environment()["PULUMI_BACKEND_URL"] == "file:///state"


def test_without_variables_pulumi_gets_the_users_and_the_decided_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setenv("OF_THE_USER", "stays")
    monkeypatch.setattr(environment, "for_stacks", lambda: {"PATH": "/engine:/usr/bin"})
    variables = Stack("dev").environment()
    assert (variables["PATH"], variables["OF_THE_USER"]) == ("/engine:/usr/bin", "stays")


def test_no_variable_is_in_a_representation() -> None:
    assert "a-passphrase" not in repr(Stack("dev", variables={"PULUMI_CONFIG_PASSPHRASE": "a-passphrase"}))


def test_the_state_is_empty_before_the_first_up(pulumi: Pulumi) -> None:
    stack = Stack(FULL, variables={})
    pulumi.printed = {"version": 3, "deployment": None}
    assert stack.state() == {}
    assert pulumi.command == ["pulumi", "stack", "export", "--stack", FULL, "--non-interactive"]
    pulumi.printed = {"version": 3, "deployment": {"resources": []}}
    assert stack.state(show_secrets=True) == {"resources": []}
    assert pulumi.command == ["pulumi", "stack", "export", "--show-secrets", "--stack", FULL, "--non-interactive"]


def test_outputs_are_read_with_their_secrets(pulumi: Pulumi) -> None:
    shown = {"ui_password": "the-ui-password", "api_key": "the-api-key", "smoke_api_key": "the-smoke-api-key"}
    pulumi.printed = OUTPUTS.model_dump(mode="json") | shown
    assert Stack(FULL, variables={}).outputs() == OUTPUTS
    assert pulumi.command == ["pulumi", "stack", "output", "--json", "--show-secrets", "--stack", FULL, "--non-interactive"]


def test_missing_outputs_are_one_line_with_the_stacks_name(pulumi: Pulumi) -> None:
    with pytest.raises(UserError, match=rf"^stack {FULL}: outputs missing or malformed: .*; run pulumi up -s {FULL}$"):
        Stack(FULL, variables={}).outputs()
