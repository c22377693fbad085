"""An up of PostgreSQL alone, behind the real engine: what going back from an upgrade makes again before the data is put back."""

from pathlib import Path

import pytest

from ops.deploy import update
from ops.deploy.upgrade import DATABASE_TARGETS
from ops.machine.engine_from_modules import Engine
from ops.observe import alerts
from tests.engine.previews import PreviewStack

pytestmark = pytest.mark.timeout(900)

DATABASE = {"skyvern-test-postgres", "skyvern-test-roles"}


def test_postgresql_comes_back_and_the_server_does_not(
    engine: Engine, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "record", lambda stack, progress: None)
    stack = PreviewStack(engine, tmp_path, home)
    stack.write()
    stack.up()
    gone = {*DATABASE, "skyvern-test-server"}
    before = stack.world.read()
    with stack.world.edit() as data:
        data["containers"] = {key: one for key, one in data["containers"].items() if one["name"] not in gone}
        data["networks"] = {key: one for key, one in data["networks"].items() if one["name"] != "skyvern-test-data"}
    # As ops/deploy/repair.py does before.
    stack.project.succeed("refresh", "--yes", "--skip-preview")
    stack.world.forget_journal()
    update.pulumi_up(stack.of_commands, unasked=True, previewed=True, targets=DATABASE_TARGETS)
    made = {entry["name"] for entry in stack.world.journal("create", "update", "delete")}
    assert made == {"skyvern-host-networks-data", "skyvern-host-postgres-server", "skyvern-host-postgres-roles"}
    assert stack.names("containers") == {one["name"] for one in before["containers"].values()} - {"skyvern-test-server"}
    assert stack.world.read()["volumes"] == before["volumes"]
    stack.up()
    assert stack.names("containers") == {one["name"] for one in before["containers"].values()}
