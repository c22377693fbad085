"""Commands of pulumi that messages name, followed to their end by the real engine."""

import ast
import json
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.settings import Settings
from ops.deploy import danger, repair
from ops.errors import UserError
from ops.machine.engine_from_modules import Engine
from ops.paths import ROOT
from ops.stack import file, locks
from tests.engine.project import OwnStack, Project
from tests.engine.stack import Stack as SkyvernStack
from tests.support.daemon import daemon
from tests.support.messages import texts, tracked

_SET = re.compile(r"pulumi config set --secret --path ([A-Za-z_.]+[a-z])")


def shown() -> Iterator[tuple[int, str]]:
    for path in tracked("components", "ops", "policy"):
        if path.suffix == ".py":
            yield from texts(ast.parse(path.read_text()))


def project_of_skyverns_name(engine: Engine, folder: Path) -> Project:
    """A stack ``test`` of a project that has the name of this one."""
    project = Project(engine, folder, "")
    description = project.folder / "Pulumi.yaml"
    description.write_text(description.read_text().replace("name: tiny", "name: skyvern"))
    project.succeed("stack", "init", "test")
    return project


def test_a_secret_that_a_message_asks_for_is_read_from_the_stack_file(engine: Engine, tmp_path: Path) -> None:
    """Every path of every message, as ``pulumi config set`` writes it: the key belongs to the section of that name."""
    paths = sorted({path for _, text in shown() for path in _SET.findall(text)})
    assert {
        "automations.credentials.NAME.password",
        "smtp.password",
        "llm.api_key",
        "edge.api_token",
        "monitor.channels",
        "backup.private_key",
    } <= set(paths)
    project = project_of_skyverns_name(engine, tmp_path)
    for path in paths:
        done = subprocess.run(
            ["pulumi", "config", "set", "--secret", "--path", path, "--stack", "test"],
            cwd=project.folder,
            env=project.variables,
            input="a secret",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{path}: {done.stderr}"
        section, *keys = path.split(".")
        written = file.read_document(project.folder / "Pulumi.test.yaml")["config"][f"skyvern:{section}"]
        for key in keys:
            written = written[key]
        assert file.is_encrypted(written), path
    assert project.succeed("config", "get", "--path", "smtp.password", "--stack", "test").strip() == "a secret"


def test_a_lock_of_a_pulumi_that_is_gone_is_taken_away(engine: Engine, tmp_path: Path) -> None:
    """Of another machine's, of which this one cannot know whether it runs."""
    project = project_of_skyverns_name(engine, tmp_path)
    folder = tmp_path / "state/.pulumi/locks/organization/skyvern/test"
    folder.mkdir(parents=True, exist_ok=True)
    document = {"pid": 4711, "username": "me", "hostname": f"not-{platform.node()}", "timestamp": "2026-01-01T00:00:00Z"}
    (folder / "fa1d4911-1111-4111-8111-111111111111.json").write_text(json.dumps(document))
    stack = OwnStack("test", root=project.folder, variables=project.variables)
    assert "currently locked" in project.fail("up", "--yes", "--skip-preview")
    with pytest.raises(UserError) as told:
        locks.release_locks(stack, print)
    command = re.search(r"run (pulumi cancel -s test) if it is gone", str(told.value))
    assert command, told.value
    project.succeed(*command[1].split()[1:], "--yes")
    locks.release_locks(stack, print)
    project.succeed("up", "--yes", "--skip-preview")


RANDOM = "import pulumi_random\npulumi_random.RandomString('x', length=8)\n"


def test_operations_that_an_up_left_pending_are_cleared(engine: Engine, tmp_path: Path) -> None:
    """doctor: pulumi refresh, then pulumi up."""
    project = Project(engine, tmp_path, RANDOM)
    project.succeed("up", "--yes", "--skip-preview")
    # The backend's own file: `pulumi stack import` takes pending operations out.
    (stored,) = (tmp_path / "state").glob(".pulumi/stacks/tiny/test.json")
    document = json.loads(stored.read_text())
    latest = document["checkpoint"]["latest"]
    (made,) = [resource for resource in latest["resources"] if resource["type"].endswith(":RandomString")]
    latest["pending_operations"] = [{"resource": made, "type": "updating"}]
    stored.write_text(json.dumps(document))

    def pending() -> list[object]:
        return list(json.loads(project.succeed("stack", "export"))["deployment"].get("pending_operations") or [])

    assert len(pending()) == 1
    project.succeed("refresh", "--yes", "--skip-preview", "-s", "test")
    project.succeed("up", "--yes", "--skip-preview", "-s", "test")
    assert pending() == []
    project.succeed("preview", "--expect-no-changes")


@pytest.fixture
def skyvern(engine: Engine, tmp_path: Path, home: Path) -> SkyvernStack:
    """The whole program, with stand-ins of Docker and the vendors."""
    return SkyvernStack(engine, tmp_path, home, (ROOT / "__main__.py").read_text())


def test_a_stack_goes_on_without_the_firewall_that_its_host_cannot_have(skyvern: SkyvernStack) -> None:
    """``host.firewall: false``, in a stack that has one, as after a change of the kernel."""

    def parts() -> set[str]:
        return {container["name"] for container in skyvern.world.read()["containers"].values()}

    skyvern.write()
    skyvern.up()
    before = skyvern.world.read()["volumes"]
    assert "skyvern-test-firewall" in parts()
    skyvern.write(host={"firewall": False})
    skyvern.up()
    assert "skyvern-test-firewall" not in parts()
    assert "skyvern-test-server" in parts()
    assert skyvern.world.read()["volumes"] == before
    skyvern.project.succeed("preview", "--expect-no-changes")


def test_plain_pulumi_goes_on_where_data_is_not_protected(skyvern: SkyvernStack) -> None:
    """script/up asks for a backup first; the plain up of its line does not, and protects what it keeps."""
    skyvern.write()
    skyvern.up()
    skyvern.project.succeed("state", "unprotect", "--all", "--yes")
    stack = OwnStack("test", root=skyvern.project.folder, variables=skyvern.project.variables)

    def refuse() -> None:
        danger.refuse(stack, daemon(), Settings(), repair.parse(stack.state()))

    with pytest.raises(UserError, match=r"not protected, and the stack has no backup; .* by pulumi up -s test$"):
        refuse()
    before = skyvern.world.read()["volumes"]
    skyvern.project.succeed("up", "--yes", "--skip-preview", "-s", "test")
    refuse()
    assert skyvern.world.read()["volumes"] == before


def test_a_volume_that_is_gone_begins_empty(skyvern: SkyvernStack) -> None:
    """The command of script/up's refusal (tests/host/test_faults.py has that); the other one restores a backup."""
    skyvern.write()
    skyvern.up()
    before = skyvern.world.read()["volumes"]
    (gone,) = [key for key, volume in before.items() if volume["name"] == "skyvern-test-har"]
    with skyvern.world.edit() as data:
        del data["volumes"][gone]
    skyvern.project.succeed("up", "--refresh", "--yes", "--skip-preview", "-s", "test")
    after = skyvern.world.read()["volumes"]
    assert {volume["name"] for volume in after.values()} == {volume["name"] for volume in before.values()}
    assert {key: after[key] for key in before if key != gone} == {key: before[key] for key in before if key != gone}
    stack = OwnStack("test", root=skyvern.project.folder, variables=skyvern.project.variables)
    (recorded,) = [resource for resource in repair.parse(stack.state()) if resource.name == "skyvern-test-har"]
    assert recorded.protected
