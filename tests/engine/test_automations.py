"""Automations behind the real engine, against a double of Skyvern's API: plans, drift, keys, and what is left at the end."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ops.machine.engine_from_modules import Engine
from ops.paths import ROOT
from skyvern_provider.kinds import computed_workflow_id
from tests.engine.project import Project
from tests.support.skyvern_api import Skyvern, api_key

pytestmark = pytest.mark.timeout(1800)

PASSWORD = "a-password-that-nobody-may-see"
PROGRAM = """\
import json
import pathlib

import pulumi

from components.automations import files
from components.automations.automations import Automations, AutomationsArgs
from components.settings import parse

given = json.loads(pathlib.Path("given.json").read_text())
settings = parse({"automations": given["settings"]}, file="Pulumi.test.yaml", secret_keys=frozenset({"automations"})).automations
data = pulumi.ComponentResource("tiny:index:Data", "data")
if settings.files:
    Automations("auto", AutomationsArgs(
        api_url=given["url"], api_key=pulumi.Output.secret(given["key"]), settings=settings, data=data,
        automations=files.load(pathlib.Path.cwd(), settings, "Pulumi.test.yaml"),
    ))
"""
FILE = """\
folder: Blog
workflow:
  title: Daily
  workflow_definition:
    parameters:
      - {key: naver, parameter_type: credential}
    blocks:
      - {block_type: wait, label: settle, wait_sec: 2}
credentials: {naver: naver-account}
schedules:
  morning: {cron: "0 9 * * 1-5", timezone: Asia/Seoul}
"""


class Story:
    """A project with one file, and the server that it is applied to."""

    def __init__(self, engine: Engine, folder: Path, skyvern: Skyvern, url: str) -> None:
        variables = {"PYTHONPATH": str(ROOT), "SKYVERN_PROVIDER_PYTHON": sys.executable}
        self.project, self.skyvern, self.url = Project(engine, folder, PROGRAM, variables), skyvern, url
        described = self.project.folder / "Pulumi.yaml"
        plugins = {"providers": [{"name": "skyvern", "path": str(ROOT / "skyvern_provider")}]}
        described.write_text(described.read_text() + yaml.safe_dump({"plugins": plugins}))
        (self.project.folder / "automations").mkdir()
        self.identifier = computed_workflow_id(skyvern.key, "pulumi/daily")
        self.write(FILE)
        self.give()

    def write(self, text: str) -> None:
        (self.project.folder / "automations" / "daily.yaml").write_text(text)

    def give(self, files: tuple[str, ...] = ("daily",), **settings: str) -> None:
        credential = {"tested_url": "https://naver.com", "username": "someone", "password": PASSWORD}
        given = {
            "url": self.url,
            "key": self.skyvern.key,
            "settings": {"files": list(files), "credentials": {"naver-account": credential}, **settings},
        }
        (self.project.folder / "given.json").write_text(json.dumps(given))

    def up(self) -> str:
        """Deploys; what was printed. Afterwards ``skyvern.calls`` has the requests of this update."""
        self.skyvern.calls.clear()
        return self.project.succeed("up", "--yes", "--skip-preview")

    def title(self) -> str:
        return str(self.skyvern.versions[self.identifier][-1]["title"])


@pytest.fixture(scope="module")
def story(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    skyvern = Skyvern()
    with skyvern.serving() as url:
        yield Story(engine, tmp_path_factory.mktemp("automations"), skyvern, url)


def test_a_plan_needs_no_server(story: Story) -> None:
    assert "skyvern:index:Schedule auto-daily-morning create" in story.project.succeed("preview")
    assert story.skyvern.calls == []
    assert story.skyvern.versions == {}


def test_the_first_update_makes_everything_and_the_second_nothing(story: Story) -> None:
    first = story.up()
    assert PASSWORD not in first
    [parameter] = story.skyvern.versions[story.identifier][-1]["workflow_definition"]["parameters"]
    assert parameter["credential_id"] in story.skyvern.credentials
    assert [schedule["name"] for schedule in story.skyvern.schedules.values()] == ["pulumi/morning"]
    assert [folder["title"] for folder in story.skyvern.folders.values()] == ["Blog"]
    assert "unchanged" in story.up()
    assert story.skyvern.calls == []
    story.project.succeed("preview", "--expect-no-changes")
    story.project.succeed("refresh", "--yes", "--skip-preview", "--expect-no-changes")


def test_secrets_are_secret_in_the_state(story: Story) -> None:
    exported = story.project.succeed("stack", "export")
    assert PASSWORD not in exported
    assert story.skyvern.key not in exported
    assert "naver-account" in exported


def test_an_edit_in_the_ui_is_seen_by_a_refresh_and_kept(story: Story) -> None:
    story.skyvern.edit(story.identifier, "by hand")
    assert "[diff: ~ui_version]" in story.project.succeed("refresh", "--preview-only")
    assert "[diff: ~ui_version]" in story.project.succeed("refresh", "--yes", "--skip-preview")
    story.up()
    assert (story.skyvern.calls, story.title()) == ([], "by hand")
    story.write(FILE.replace("title: Daily", "title: Daily 2"))
    refused = story.project.fail("up", "--yes", "--skip-preview")
    assert "edited in the UI: version 2, recorded 1; nothing was written" in refused
    assert "Traceback" not in refused
    assert story.title() == "by hand"


def test_an_edit_in_the_ui_is_overwritten(story: Story) -> None:
    story.give(on_ui_edit="overwrite")
    story.up()
    assert story.title() == "Daily 2"
    story.skyvern.edit(story.identifier, "by hand again")
    story.project.succeed("refresh", "--yes", "--skip-preview")
    story.up()
    assert story.title() == "Daily 2"
    story.project.succeed("preview", "--expect-no-changes")


def test_a_new_key_changes_the_provider_alone(story: Story) -> None:
    story.skyvern.key = api_key("b")
    story.give(on_ui_edit="overwrite")
    printed = story.up()
    assert story.skyvern.calls == []
    assert "~ 1 updated" in printed
    story.project.succeed("refresh", "--yes", "--skip-preview", "--expect-no-changes")


def test_a_workflow_that_was_deleted_in_the_ui_comes_back_with_its_schedule(story: Story) -> None:
    story.skyvern.deleted.add(story.identifier)
    story.skyvern.schedules.clear()
    story.project.succeed("refresh", "--yes", "--skip-preview")
    story.up()
    assert story.skyvern.deleted == set()
    assert [schedule["workflow_permanent_id"] for schedule in story.skyvern.schedules.values()] == [story.identifier]


def test_a_mistake_is_a_line_of_the_preview_with_its_place(story: Story) -> None:
    story.write(FILE.replace("wait_sec", "wait_secs"))
    assert "automations/daily.yaml:8: blocks.settle.wait_secs: unknown key; write `wait_sec`" in story.project.fail("preview")


def test_without_its_file_nothing_is_left(story: Story) -> None:
    story.give(files=())
    story.up()
    left = (story.skyvern.deleted, story.skyvern.schedules, story.skyvern.credentials, story.skyvern.folders)
    assert left == ({story.identifier}, {}, {}, {})


def test_where_the_data_goes_nothing_is_asked_to_delete(story: Story) -> None:
    story.write(FILE)
    story.give()
    story.up()
    story.skyvern.calls.clear()
    story.project.succeed("destroy", "--yes", "--skip-preview")
    assert story.skyvern.calls == []
