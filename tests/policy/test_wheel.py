"""The pack as a wheel: built and installed without a network, located by its command, run by the environment it is in."""

import zipfile
from pathlib import Path

import pytest
import yaml

from ops.paths import ROOT
from tests.policy import analyzer
from tests.policy import wheel as wheels
from tests.policy.pack import PACK, Sent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheels.build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("environment")
    wheels.install(wheel, folder)
    return folder


@pytest.fixture(scope="module")
def pack(environment: Path) -> Path:
    return wheels.path(environment)


def test_it_has_the_whole_pack_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    ours = [f"rules/{file.relative_to(PACK / 'rules')}" for file in (PACK / "rules").rglob("*.py")]
    expected = {*ours, "__main__.py", "command.py", "levels.yaml", "PulumiPolicy.yaml", "COVERAGE.md"}
    assert {name for name in names if ".dist-info/" not in name} == {f"skyvern_policies/{name}" for name in expected}
    assert len(ours) > 10


def test_its_metadata_is_the_packs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode().splitlines()
        licence = archive.read(name.replace("METADATA", "licenses/LICENSE"))
    declared = yaml.safe_load((PACK / "PulumiPolicy.yaml").read_text())["version"]
    for line in (f"Version: {declared}", "Requires-Dist: pulumi_policy==1.21.0", "License-Expression: Apache-2.0"):
        assert line in metadata
    # The pack is used alone, so it has its own copy.
    assert licence == (ROOT / "LICENSE").read_bytes()


def test_the_command_prints_a_pack_that_its_own_environment_runs(environment: Path, pack: Path) -> None:
    declaration = yaml.safe_load((pack / "PulumiPolicy.yaml").read_text())
    # Relative to the pack, as Pulumi reads it.
    assert (pack / declaration["runtime"]["options"]["virtualenv"]).resolve() == environment.resolve()
    assert declaration["runtime"]["options"]["toolchain"] == "pip"


def test_it_judges(environment: Path, pack: Path) -> None:
    sent = Sent(type="docker:index/container:Container", name="api", inputs={"privileged": True})
    with analyzer.running(pack, python=environment / "bin" / "python") as running:
        assert "docker-container-unprivileged" in {diagnostic.rule for diagnostic in running.judge([sent])}
