"""Automations behind the real engine, against a double of Skyvern's API: plans, drift, keys, and what is left at the end."""

import copy
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.machine.engine_from_modules import Engine
from ops.stack import state
from tests.engine.automations import FILE, PASSWORD, Story, cut_at_each_request
from tests.engine.project import OwnStack
from tests.support.automation_mistakes import COMMON, GOOD, MISTAKES
from tests.support.skyvern_api import Skyvern, api_key

pytestmark = pytest.mark.timeout(1800)
# What a backup has of a server.
DATA = ("versions", "deleted", "tags", "schedules", "credentials", "folders")


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
    """By the command of ``ops run``, and by those of the provider, which an update that finds nothing to change never asks."""
    for commands in (["up --refresh"], ["refresh", "up"]):
        story.skyvern.deleted.add(story.identifier)
        story.skyvern.schedules.clear()
        story.up()
        assert story.skyvern.deleted == {story.identifier}
        for command in commands:
            story.project.succeed(*command.split(), "--yes", "--skip-preview")
        assert story.skyvern.deleted == set()
        assert [schedule["workflow_permanent_id"] for schedule in story.skyvern.schedules.values()] == [story.identifier]


def test_the_refresh_of_the_commands_needs_no_server(story: Story) -> None:
    """It looks for what is gone, which may be the server: script/up would stop at it before it made another one."""
    own = OwnStack("test", root=story.project.folder, variables=story.project.variables)
    before = [resource["urn"] for resource in own.state()["resources"]]
    story.skyvern.requests.clear()
    state.refresh(own, "--clear-pending-creates")
    assert story.skyvern.requests == []
    assert [resource["urn"] for resource in own.state()["resources"]] == before


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


def test_another_name_of_a_file_is_another_workflow(story: Story) -> None:
    """And the same name after a while is the same workflow again, with its versions."""
    story.give()
    story.up()
    [credential], before = story.skyvern.credentials, story.skyvern.version(story.identifier)
    story.write(FILE, "weekly")
    story.give(["weekly"])
    story.up()
    [weekly] = set(story.skyvern.versions) - story.skyvern.deleted
    assert weekly != story.identifier
    assert [schedule["workflow_permanent_id"] for schedule in story.skyvern.schedules.values()] == [weekly]
    assert list(story.skyvern.credentials) == [credential]
    story.give()
    story.up()
    assert set(story.skyvern.versions) - story.skyvern.deleted == {story.identifier}
    assert story.skyvern.version(story.identifier) == before + 1
    story.project.succeed("preview", "--expect-no-changes")
    story.project.succeed("refresh", "--yes", "--skip-preview", "--expect-no-changes")


def test_an_edit_in_the_ui_is_adopted(story: Story) -> None:
    story.give(on_ui_edit="adopt")
    story.up()
    story.skyvern.edit(story.identifier, "by hand")
    [schedule] = story.skyvern.schedules.values()
    schedule["cron_expression"] = "0 18 * * *"
    story.project.succeed("refresh", "--yes", "--skip-preview")
    assert "unchanged" in story.up()
    assert (story.skyvern.calls, story.title()) == ([], "by hand")
    story.write(FILE.replace("title: Daily", "title: Daily 3").replace("0 9", "0 10"))
    story.up()
    assert (story.title(), schedule["cron_expression"]) == ("Daily 3", "0 10 * * 1-5")


def test_an_edit_of_a_schedule_and_a_credential_is_kept_or_overwritten(story: Story) -> None:
    """A value of a credential cannot be read; its site can."""
    [schedule], [credential] = story.skyvern.schedules.values(), story.skyvern.credentials.values()

    def edit() -> None:
        schedule["cron_expression"] = "30 18 * * *"
        credential["tested_url"] = "https://elsewhere.example.com"
        story.project.succeed("refresh", "--yes", "--skip-preview")

    story.give(on_ui_edit="keep")
    story.up()
    edit()
    story.up()
    assert (story.skyvern.calls, schedule["cron_expression"]) == ([], "30 18 * * *")
    story.give(on_ui_edit="overwrite")
    story.up()
    edit()
    story.up()
    assert (schedule["cron_expression"], credential["tested_url"]) == ("0 10 * * 1-5", "https://naver.com")
    story.project.succeed("preview", "--expect-no-changes")


def test_another_name_of_a_schedule_or_a_credential_leaves_no_old_one(story: Story) -> None:
    """The workflow stays the same one, and has the credential that is there."""
    story.write(FILE)
    story.give()
    story.up()
    before = list(story.skyvern.credentials)
    story.write(FILE.replace("morning:", "evening:").replace("naver: naver-account", "naver: naver-second"))
    story.give(name="naver-second")
    story.up()
    [schedule] = story.skyvern.schedules.values()
    assert (schedule["name"], schedule["workflow_permanent_id"]) == ("pulumi/evening", story.identifier)
    [credential] = story.skyvern.credentials
    assert credential not in before
    [parameter] = story.skyvern.versions[story.identifier][-1]["workflow_definition"]["parameters"]
    assert parameter["credential_id"] == credential
    story.project.succeed("preview", "--expect-no-changes")
    story.project.succeed("refresh", "--yes", "--skip-preview", "--expect-no-changes")


def test_what_was_deleted_in_the_ui_is_made_again(story: Story) -> None:
    """A schedule, a credential and the folder by themselves; the workflow gets the new ids."""
    story.skyvern.schedules.clear()
    story.skyvern.credentials.clear()
    story.skyvern.folders.clear()
    story.project.succeed("refresh", "--yes", "--skip-preview")
    story.up()
    [schedule], [credential], [folder] = (
        story.skyvern.schedules.values(),
        story.skyvern.credentials,
        story.skyvern.folders.values(),
    )
    assert (schedule["name"], folder["title"]) == ("pulumi/evening", "Blog")
    newest = story.skyvern.versions[story.identifier][-1]
    assert newest["workflow_definition"]["parameters"][0]["credential_id"] == credential
    assert newest["folder_id"] == folder["folder_id"]
    story.project.succeed("preview", "--expect-no-changes")
    story.project.succeed("refresh", "--yes", "--skip-preview", "--expect-no-changes")


def test_after_a_restore_the_files_are_applied_again(story: Story) -> None:
    """The data are of before the last update, the state of Pulumi is not; that is no edit in the UI."""
    saved = copy.deepcopy({name: getattr(story.skyvern, name) for name in DATA})
    story.write(FILE.replace("title: Daily", "title: Daily 4").replace("morning:", "noon:").replace("0 9", "0 12"))
    story.give()
    story.up()
    for name, data in saved.items():
        setattr(story.skyvern, name, data)
    story.project.succeed("refresh", "--yes", "--skip-preview")
    story.up()
    assert story.title() == "Daily 4"
    # The restored one stays, as no state names it: a restore switches schedules off, and a person decides.
    assert {schedule["name"] for schedule in story.skyvern.schedules.values()} == {"pulumi/noon", "pulumi/evening"}
    story.project.succeed("preview", "--expect-no-changes")
    story.project.succeed("refresh", "--yes", "--skip-preview", "--expect-no-changes")


def test_a_server_of_a_new_version_changes_nothing(story: Story) -> None:
    """It gives back fields that its predecessor did not have."""
    for things in (*story.skyvern.versions.values(), story.skyvern.schedules.values(), story.skyvern.credentials.values()):
        for thing in things:
            thing["of_a_later_version"] = True
    story.project.succeed("refresh", "--yes", "--skip-preview", "--expect-no-changes")
    assert "unchanged" in story.up()
    assert story.skyvern.calls == []


def test_two_stacks_beside_each_other_do_not_meet(story: Story, engine: Engine, tmp_path: Path) -> None:
    """Each with its Skyvern: the same files have the same ids, and one goes without the other."""
    skyvern = Skyvern()
    with skyvern.serving() as url:
        other = Story(engine, tmp_path, skyvern, url)
        story.skyvern.calls.clear()
        other.up()
        assert set(skyvern.versions) == {story.identifier}
        other.give(files=())
        other.up()
        assert (skyvern.deleted, story.skyvern.calls) == ({story.identifier}, [])
    story.project.succeed("refresh", "--yes", "--skip-preview", "--expect-no-changes")


def test_no_mistake_reaches_the_server(story: Story) -> None:
    """Each in a file of its own, all of them in one preview."""
    common = story.project.folder / "automations" / "common"
    common.mkdir()
    (common / "open.yaml").write_text(COMMON)
    names = [f"mistake-{number}" for number in range(len(MISTAKES))]
    for name, (right, wrong, _) in zip(names, MISTAKES, strict=True):
        story.write(GOOD.replace(right, wrong, 1), name)
    story.give(names)
    story.skyvern.requests.clear()
    printed = story.project.fail("preview").splitlines()
    for name, (_, _, line) in zip(names, MISTAKES, strict=True):
        assert [text for text in printed if f"automations/{name}.yaml:" in text and line in text], (name, line)
    assert len(names) >= 40
    assert story.skyvern.requests == []


# --- Nightly ---


@pytest.mark.nightly
@pytest.mark.parametrize("renamed", [False, True], ids=["changed", "renamed"])
def test_an_update_that_loses_its_provider_at_any_request_is_finished_by_the_next(
    engine: Engine, tmp_path: Path, renamed: bool
) -> None:
    """Once for each request that an update makes."""

    def named(number: int) -> tuple[str, str]:
        """The file and its folder on the server."""
        return (f"daily-{number}", f"Blog {number}") if renamed else ("daily", "Blog")

    skyvern = Skyvern()
    with skyvern.serving() as url:
        story = Story(engine, tmp_path, skyvern, url)
        if not renamed:
            story.up()

        def change(number: int) -> None:
            name, folder = named(number)
            text = FILE.replace("title: Daily", f"title: Daily {number}").replace("folder: Blog", f"folder: {folder}")
            story.write(text.replace("0 9", f"{number % 60} 9"), name)
            story.give([name], password=f"{PASSWORD}-{number}")

        for number in cut_at_each_request(story, change):
            [workflow] = [versions[-1] for key, versions in skyvern.versions.items() if key not in skyvern.deleted]
            [schedule], [credential], [kept] = skyvern.schedules.values(), skyvern.credentials.values(), skyvern.folders.values()
            assert (workflow["title"], workflow["folder_id"]) == (f"Daily {number}", kept["folder_id"])
            assert (schedule["cron_expression"], kept["title"]) == (f"{number % 60} 9 * * 1-5", named(number)[1])
            assert credential["credential"]["password"] == f"{PASSWORD}-{number}"
            # Without its tags an interrupted creation is written again.
            assert workflow["version"] in ({1, 2} if renamed else {number + 1})
            story.project.succeed("preview", "--expect-no-changes")


FILES = 200
# Of processor time, which another load on the machine does not make longer. On an idle machine a plan takes less.
MOST_ADDED_SECONDS = 5.0


def processor_seconds(story: Story, *command: str) -> float:
    """Of all processes of a command that succeeds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    story.project.succeed(*command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


@pytest.mark.nightly
def test_two_hundred_workflows_with_schedules_add_little_to_a_plan(engine: Engine, tmp_path: Path) -> None:
    skyvern = Skyvern()
    with skyvern.serving() as url:
        story = Story(engine, tmp_path, skyvern, url)
        story.project.timeout_seconds = 1800
        names = [f"daily-{number}" for number in range(FILES)]
        for name in names:
            story.write(FILE, name)
        story.give(files=())
        story.up()
        without = processor_seconds(story, "preview", "--expect-no-changes")
        story.give(names)
        story.up()
        assert (len(skyvern.versions), len(skyvern.schedules)) == (FILES, FILES)
        skyvern.requests.clear()
        added = processor_seconds(story, "preview", "--expect-no-changes") - without
        assert skyvern.requests == []
        story.project.succeed("refresh", "--preview-only", "--expect-no-changes")
        # Two pages and an empty one of each list, the credential and the folder.
        assert len(skyvern.requests) <= 8, skyvern.requests
        assert added < MOST_ADDED_SECONDS, added
