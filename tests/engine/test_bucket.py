"""The stack of backup-bucket/ behind the real engine and the policy pack, with a stand-in for Cloudflare.

Not here: whether Cloudflare's own plugin and R2 do the same; docs/official.md asks for that.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.standins.providers import World, cloudflare
from ops.machine.engine_from_modules import Engine
from ops.paths import ROOT
from tests.engine.project import Project

pytestmark = pytest.mark.timeout(900)
FOLDER = ROOT / "backup-bucket"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return cloudflare.new_world(tmp_path / "world.json", permissions=cloudflare.BUCKET_PERMISSIONS)


@pytest.fixture
def project(engine: Engine, tmp_path: Path, home: Path, world: World) -> Project:
    variables = {
        "PULUMI_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "PULUMI_OPTION_POLICY_PACK": str(ROOT / "policy"),
        # As a person has it: in the shell and in no file.
        "CLOUDFLARE_API_TOKEN": cloudflare.TOKEN,
        **world.variables(),
    }
    project = Project(engine, tmp_path, (FOLDER / "__main__.py").read_text(), variables)
    committed = (FOLDER / "Pulumi.yaml").read_text()
    (project.folder / "Pulumi.yaml").write_text(committed.replace("virtualenv: ../.venv", f"virtualenv: {sys.prefix}"))
    project.succeed("stack", "init", "backup")
    (account,) = world.read()["accounts"]
    project.succeed("config", "set", "account_id", account)
    project.succeed("config", "set", "bucket", "acme-backup")
    return project


def outputs(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(project.succeed("stack", "output", "--json", "--show-secrets"))
    return found


def test_a_life(project: Project, world: World) -> None:
    project.succeed("up", "--yes", "--skip-preview")
    data = world.read()
    rules = data["bucket_locks"]["acme-backup"]["rules"]
    assert [rule["prefix"] for rule in rules] == ["config", "data/", "keys/", "snapshots/"]
    assert rules[1]["condition"] == {"type": "Age", "maxAgeSeconds": 14 * 86400}
    section = outputs(project)
    assert [section["access_key_id"]] == list(data["account_tokens"])
    assert section["locked_days"] == 14

    # Neither the token that may change the lock nor the secret of the key is in the state in plain text.
    exported = project.succeed("stack", "export")
    assert cloudflare.TOKEN not in exported
    assert section["secret_access_key"] not in exported
    shown = json.loads(project.succeed("stack", "export", "--show-secrets"))
    (token,) = [one for one in shown["deployment"]["resources"] if one["type"].endswith(":AccountToken")]
    value = json.loads(token["outputs"]["value"]["plaintext"])
    assert section["secret_access_key"] == hashlib.sha256(value.encode()).hexdigest()

    project.succeed("preview", "--expect-no-changes")
    project.succeed("refresh", "--yes", "--expect-no-changes")
    assert outputs(project) == section

    # Another number of days is a change of the lock alone; too few are refused in one line.
    world.forget_journal()
    project.succeed("config", "set", "locked_days", "60")
    project.succeed("up", "--yes", "--skip-preview")
    assert [(entry["operation"], entry["name"]) for entry in world.journal("create", "update", "delete")] == [
        ("update", "bucket-lock")
    ]
    project.succeed("config", "set", "locked_days", "1")
    assert "Pulumi.backup.yaml: locked_days: 1 is not possible here; write 7 to 365" in project.fail("preview")
    project.succeed("config", "set", "locked_days", "60")

    assert "protected" in project.fail("destroy", "--yes")
    assert set(world.read()["bucket_locks"]) == {"acme-backup"}
