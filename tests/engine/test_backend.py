"""What the real engine makes of a backend, a passphrase and a shell that are not the stack's: as ops.stack says it in advance."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from ops.clients.docker import Docker
from ops.deploy import recovery
from ops.errors import UserError
from ops.machine import backend
from ops.machine.backend import State
from ops.machine.engine_from_modules import Engine
from ops.stack import checkpoint, passphrase
from ops.stack.stack import Stack
from tests.engine.project import Project
from tests.support.hostile import HOSTILE

NOTHING = "import pulumi\npulumi.export('x', 'y')\n"
DAEMON = """\
import pulumi, pulumi_docker as docker
daemon = docker.Provider("daemon", host="unix:///nowhere.sock"{more})
docker.Volume("v", name="v", opts=pulumi.ResourceOptions(provider=daemon))
"""
# As components/host/backend.py has it.
WITHOUT_THE_SHELL = ', context="", cert_path="", ca_material="", cert_material="", key_material=""'


class Folder:
    """A project of a name, its stack ``dev``, and a backend that several may share."""

    def __init__(self, engine: Engine, folder: Path, name: str, state: Path, phrase: str = "a passphrase") -> None:
        self.root = folder / name
        self.root.mkdir(parents=True)
        state.mkdir(parents=True, exist_ok=True)
        (self.root / "Pulumi.yaml").write_text(f"name: {name}\nruntime: yaml\noutputs: {{x: y}}\n")
        self.variables = {
            **engine.variables({"PATH": os.environ["PATH"], "HOME": str(folder)}),
            "PULUMI_BACKEND_URL": f"file://{state}",
            "PULUMI_CONFIG_PASSPHRASE": phrase,
        }

    def run(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=self.root,
            env={**self.variables, **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def stack(self) -> Stack:
        return Stack("dev", root=self.root, variables=self.variables)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_a_backend_with_the_stack_of_another_project(engine: Engine, tmp_path: Path, state: Path) -> None:
    """F21: an old file backend has one stack "dev" for all projects, and Pulumi takes it for this one's."""
    website = Folder(engine, tmp_path, "website", state)
    legacy = {"PULUMI_DIY_BACKEND_LEGACY_LAYOUT": "true", "PULUMI_SELF_MANAGED_STATE_LEGACY_LAYOUT": "true"}
    assert website.run("stack", "init", "dev", **legacy).returncode == 0
    exported = json.loads(website.run("stack", "export", "--stack", "dev").stdout)
    urn = "urn:pulumi:dev::website::pulumi:pulumi:Stack::website-dev"
    exported["deployment"]["resources"] = [{"urn": urn, "custom": False, "type": "pulumi:pulumi:Stack"}]
    (tmp_path / "website.json").write_text(json.dumps(exported))
    imported = website.run("stack", "import", "--stack", "dev", "--file", str(tmp_path / "website.json"))
    assert imported.returncode == 0, imported.stderr
    ours = Folder(engine, tmp_path, "skyvern", state)
    # What script/up took for its own.
    assert "dev" in {entry["name"] for entry in json.loads(ours.run("stack", "ls", "--json").stdout)}
    with pytest.raises(UserError, match=r"another project's \(website\)"):
        ours.stack().state()
    # And before there is an engine.
    with pytest.raises(UserError, match=r"another project's \(website\)") as told:
        recovery.refuse_foreign_before(ours.stack(), Docker("unix:///nowhere.sock"), f"file://{state}")
    # The cure, followed.
    command = str(told.value).partition("for example export ")[2]
    name, _, value = shlex.split(command)[0].partition("=")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert value.startswith("file:///")
    assert ours.run("stack", "init", "dev", **{name: f"file://{elsewhere}"}).returncode == 0


def test_a_salt_of_another_passphrase_and_its_cure(engine: Engine, tmp_path: Path, state: Path) -> None:
    """F03: Pulumi says so after everything was built; the line is there before, and what it says helps."""
    colleague = Folder(engine, tmp_path / "colleague", "skyvern", tmp_path / "theirs", "of a colleague")
    assert colleague.run("stack", "init", "dev").returncode == 0
    committed = (colleague.root / "Pulumi.dev.yaml").read_text()
    salt = str(yaml.safe_load(committed)["encryptionsalt"])
    assert passphrase.opens(salt, "of a colleague")
    assert not passphrase.opens(salt, "a passphrase")

    ours = Folder(engine, tmp_path / "ours", "skyvern", state)
    file = ours.root / "Pulumi.dev.yaml"
    file.write_text(committed + "config: {}\n")
    assert "incorrect passphrase" in ours.run("stack", "init", "dev").stderr
    about = State(url=f"file://{state}", local=False, passphrase=True)
    with pytest.raises(UserError) as told:
        passphrase.check(ours.stack(), about, ours.variables)
    command = str(told.value).partition("(")[2].partition(")")[0]
    assert command.startswith("sed -i ")
    subprocess.run(["bash", "-c", command], cwd=ours.root, check=True)
    passphrase.check(ours.stack(), about, ours.variables)
    assert ours.run("stack", "init", "dev").returncode == 0
    # The next up has added its own.
    assert ours.run("config", "set", "--secret", "x", "y", "--stack", "dev").returncode == 0
    passphrase.check(ours.stack(), about, ours.variables)
    with pytest.raises(UserError, match=r"encryptionsalt: is of another passphrase .* and so is skyvern:x|and so is x"):
        passphrase.check(ours.stack(), State(url="s3://x", local=False, passphrase=True), {"PULUMI_CONFIG_PASSPHRASE": "other"})


def test_a_state_of_another_passphrase(engine: Engine, tmp_path: Path, state: Path) -> None:
    ours = Folder(engine, tmp_path, "skyvern", state)
    assert ours.run("stack", "init", "dev").returncode == 0
    (ours.root / "Pulumi.dev.yaml").write_text("config: {}\n")
    about = State(url=f"file://{state}", local=False, passphrase=True)
    passphrase.check(ours.stack(), about, ours.variables)
    with pytest.raises(UserError, match="was encrypted with another passphrase"):
        passphrase.check(ours.stack(), about, {"PULUMI_CONFIG_PASSPHRASE": "other"})


def test_the_last_command_about_a_stack_keeps_its_file(engine: Engine, tmp_path: Path, state: Path) -> None:
    """F01: README, "Removing a stack", to its last line."""
    ours = Folder(engine, tmp_path, "skyvern", state)
    (ours.root / "Pulumi.dev.yaml").write_text("config:\n  skyvern:host:\n    port: 8080\n")
    assert ours.run("stack", "init", "dev").returncode == 0
    before = (ours.root / "Pulumi.dev.yaml").read_text()
    done = ours.run("stack", "rm", "dev", "--preserve-config", "--yes")
    assert done.returncode == 0, done.stderr
    assert (ours.root / "Pulumi.dev.yaml").read_text() == before
    assert ours.run("stack", "init", "dev").returncode == 0
    # What the page said before.
    assert ours.run("stack", "rm", "dev", "--yes").returncode == 0
    assert not (ours.root / "Pulumi.dev.yaml").exists()


@pytest.mark.parametrize("home", ["a b", 'it\'s "q"', "한국어", "a%20b", "a?b#c", "a&b;c\\d"])
def test_a_home_of_an_odd_name(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    """The state of "a%20b" was kept in "a b"."""
    monkeypatch.setenv("HOME", str(tmp_path / home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    ours = Folder(engine, tmp_path / home, "skyvern", backend.local_state_dir())
    ours.variables["PULUMI_BACKEND_URL"] = backend.local_url()
    done = ours.run("stack", "init", "dev")
    assert done.returncode == 0, done.stderr
    assert (backend.local_state_dir() / ".pulumi" / "stacks" / "skyvern" / "dev.json").is_file()
    assert "secrets_providers" in (checkpoint.read(backend.local_url(), "dev") or {})
    assert checkpoint.find_broken(backend.local_url()) == []


@pytest.mark.parametrize("name", ["DOCKER_CONTEXT", "DOCKER_HOST", "DOCKER_CERT_PATH"])
def test_the_docker_provider_takes_nothing_from_the_shell(engine: Engine, tmp_path: Path, name: str) -> None:
    """F02, for plain pulumi in a shell that has it; of these, DOCKER_CONTEXT goes before the host where nothing is said."""
    project = Project(engine, tmp_path, DAEMON.format(more=""))
    project.variables[name] = HOSTILE[name]
    if name == "DOCKER_CONTEXT":
        assert "Error loading Docker context" in project.fail("preview")
    project.program(DAEMON.format(more=WITHOUT_THE_SHELL))
    project.succeed("preview")
