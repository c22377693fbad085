"""What the provider asks of the server, against a double that behaves as Skyvern 1.0.56 does."""

import copy
from typing import Any

import pytest

from skyvern_provider.api import Api, ApiError
from skyvern_provider.kinds import (
    BrowserProfile,
    Call,
    Credential,
    Folder,
    OnUiEdit,
    Schedule,
    Workflow,
    computed_workflow_id,
    exported,
)
from tests.support.skyvern_api import Skyvern

DOCUMENT = {"title": "Daily", "workflow_definition": {"parameters": [], "blocks": []}}
INPUTS: dict[str, Any] = {"name": "daily", "definition": DOCUMENT}


@pytest.fixture
def skyvern() -> Skyvern:
    return Skyvern()


def call(skyvern: Skyvern, on_ui_edit: OnUiEdit = "keep") -> Call:
    return Call(api=Api("http://localhost", skyvern.key, transport=skyvern.transport()), on_ui_edit=on_ui_edit)


def titled(title: str) -> dict[str, Any]:
    return {**INPUTS, "definition": {**DOCUMENT, "title": title}}


# --- Workflows ---


def test_a_workflow_has_the_id_that_its_name_gives(skyvern: Skyvern) -> None:
    identifier, outputs = Workflow().create(call(skyvern), INPUTS)
    assert identifier == computed_workflow_id(skyvern.key, "pulumi/daily")
    assert (outputs["version"], outputs["ui_version"]) == (1, 1)
    assert skyvern.tags[identifier]["managed_by"] == "pulumi"


@pytest.mark.parametrize("lost", ["POST /v1/workflows", "TAGS"])
def test_an_interrupted_creation_is_found_again(skyvern: Skyvern, lost: str) -> None:
    identifier = computed_workflow_id(skyvern.key, "pulumi/daily")
    skyvern.faults[lost.replace("TAGS", f"POST /v1/workflows/{identifier}/tags")] = 1
    with pytest.raises(ApiError):
        Workflow().create(call(skyvern), INPUTS)
    again, outputs = Workflow().create(call(skyvern), INPUTS)
    assert (again, list(skyvern.versions)) == (identifier, [identifier])
    assert outputs["version"] == skyvern.version(identifier)


def test_an_interrupted_update_is_no_edit_of_a_person(skyvern: Skyvern) -> None:
    identifier, state = Workflow().create(call(skyvern), INPUTS)
    skyvern.faults[f"PUT /api/v1/workflows/{identifier}"] = 1
    with pytest.raises(ApiError, match="500"):
        Workflow().update(call(skyvern), identifier, state, titled("Daily 2"))
    assert Workflow().update(call(skyvern), identifier, state, titled("Daily 2"))["version"] == 2
    assert skyvern.version(identifier) == 2, "written once"


def test_the_same_document_makes_no_version(skyvern: Skyvern) -> None:
    identifier, state = Workflow().create(call(skyvern), INPUTS)
    Workflow().update(call(skyvern), identifier, state, copy.deepcopy(INPUTS))
    assert skyvern.version(identifier) == 1


def test_a_key_that_was_removed_is_removed_on_the_server(skyvern: Skyvern) -> None:
    hooked = {**INPUTS, "definition": {**DOCUMENT, "webhook_callback_url": "https://example.com"}}
    identifier, state = Workflow().create(call(skyvern), hooked)
    Workflow().update(call(skyvern), identifier, state, INPUTS)
    assert skyvern.versions[identifier][-1]["webhook_callback_url"] is None


def test_a_deleted_workflow_is_revived_and_not_doubled(skyvern: Skyvern) -> None:
    identifier, _ = Workflow().create(call(skyvern), INPUTS)
    Workflow().delete(call(skyvern), identifier)
    assert Workflow().read(call(skyvern), identifier, dict(INPUTS)) is None
    again, outputs = Workflow().create(call(skyvern), INPUTS)
    assert (again, outputs["version"], identifier in skyvern.deleted) == (identifier, 2, False)
    Workflow().delete(call(skyvern), identifier)
    Workflow().delete(call(skyvern), identifier)


def test_an_edit_is_kept_and_a_change_of_the_file_refused(skyvern: Skyvern) -> None:
    identifier, state = Workflow().create(call(skyvern), INPUTS)
    skyvern.edit(identifier, "by hand")
    found = Workflow().read(call(skyvern), identifier, state)
    assert found is not None
    inputs, seen = found
    assert inputs == INPUTS
    assert (seen["version"], seen["ui_version"]) == (1, 2)
    assert Workflow().drift(seen, "keep") == []
    with pytest.raises(ApiError, match="edited in the UI: version 2, recorded 1; nothing was written"):
        Workflow().update(call(skyvern), identifier, seen, titled("Daily 2"))
    assert skyvern.versions[identifier][-1]["title"] == "by hand"


def test_an_edit_is_overwritten(skyvern: Skyvern) -> None:
    identifier, state = Workflow().create(call(skyvern), INPUTS)
    skyvern.edit(identifier, "by hand")
    assert Workflow().drift({**state, "ui_version": 2}, "overwrite") == ["ui_version"]
    assert Workflow().update(call(skyvern, "overwrite"), identifier, state, INPUTS)["version"] == 3
    assert skyvern.versions[identifier][-1]["title"] == "Daily"


def test_an_edit_is_adopted_until_the_file_changes(skyvern: Skyvern) -> None:
    identifier, state = Workflow().create(call(skyvern), INPUTS)
    skyvern.edit(identifier, "by hand")
    found = Workflow().read(call(skyvern, "adopt"), identifier, state)
    assert found is not None
    assert found[1]["version"] == 2
    assert Workflow().drift(found[1], "adopt") == []
    Workflow().update(call(skyvern, "adopt"), identifier, found[1], titled("Daily 2"))
    assert skyvern.versions[identifier][-1]["title"] == "Daily 2"


def test_an_older_version_on_the_server_is_written_again(skyvern: Skyvern) -> None:
    """As after a restore of the database."""
    identifier, state = Workflow().create(call(skyvern), INPUTS)
    before = copy.deepcopy((skyvern.versions, skyvern.tags))
    state = Workflow().update(call(skyvern), identifier, state, titled("Daily 2"))
    skyvern.versions, skyvern.tags = before
    found = Workflow().read(call(skyvern), identifier, state)
    assert found is not None
    assert Workflow().drift(found[1], "keep") == ["ui_version"]
    Workflow().update(call(skyvern), identifier, found[1], titled("Daily 2"))
    assert skyvern.versions[identifier][-1]["title"] == "Daily 2"


def test_a_document_from_the_server_can_be_sent() -> None:
    block = {
        "label": "open",
        "block_type": "goto_url",
        "output_parameter": {"key": "open_output"},
        "parameters": [{"key": "day"}],
    }
    parameters = [
        {"parameter_type": "workflow", "key": "day", "workflow_parameter_id": "wp_1", "workflow_id": "w_1", "created_at": "x"},
        {"parameter_type": "output", "key": "open_output", "output_parameter_id": "op_1"},
    ]
    answer = {
        "title": "T",
        "version": 3,
        "organization_id": "o",
        "workflow_definition": {"parameters": parameters, "blocks": [block]},
    }
    assert exported(answer) == {
        "title": "T",
        "workflow_definition": {
            "parameters": [{"parameter_type": "workflow", "key": "day"}],
            "blocks": [{"label": "open", "block_type": "goto_url", "parameter_keys": ["day"]}],
        },
    }


# --- Schedules ---

TICK: dict[str, Any] = {"name": "morning", "cron": "0 9 * * 1-5", "timezone": "Asia/Seoul", "parameters": {}, "enabled": True}


@pytest.fixture
def scheduled(skyvern: Skyvern) -> dict[str, Any]:
    identifier, _ = Workflow().create(call(skyvern), INPUTS)
    return {**TICK, "workflow_id": identifier}


def test_a_schedule_is_not_touched_without_a_difference(skyvern: Skyvern, scheduled: dict[str, Any]) -> None:
    """Each touch makes the server forget a tick that it missed."""
    identifier, state = Schedule().create(call(skyvern), scheduled)
    modified = [known["modified_at"] for known in skyvern.schedules.values()]
    Schedule().update(call(skyvern), identifier, state, scheduled)
    assert Schedule().create(call(skyvern), scheduled)[0] == identifier
    assert [known["modified_at"] for known in skyvern.schedules.values()] == modified


def test_a_schedule_that_is_gone_is_made_again(skyvern: Skyvern, scheduled: dict[str, Any]) -> None:
    identifier, state = Schedule().create(call(skyvern), scheduled)
    skyvern.schedules.clear()
    assert Schedule().read(call(skyvern), identifier, state) is None
    Schedule().update(call(skyvern), identifier, state, {**scheduled, "cron": "0 8 * * *"})
    assert [known["cron_expression"] for known in skyvern.schedules.values()] == ["0 8 * * *"]
    Schedule().delete(call(skyvern), identifier)


@pytest.mark.parametrize("policy", ["keep", "overwrite", "adopt"])
def test_a_schedule_that_was_paused_stays_so_until_the_file_says_otherwise(
    skyvern: Skyvern, scheduled: dict[str, Any], policy: OnUiEdit
) -> None:
    """A restore pauses them, too: their runs since the set was made would be repeated."""
    identifier, state = Schedule().create(call(skyvern), scheduled)
    row = next(iter(skyvern.schedules.values()))
    row["enabled"] = False
    found = Schedule().read(call(skyvern, policy), identifier, state)
    assert found is not None
    assert Schedule().drift(found[1], policy) == []
    state = Schedule().update(call(skyvern, policy), identifier, found[1], {**scheduled, "cron": "0 8 * * *"})
    assert (row["cron_expression"], row["enabled"]) == ("0 8 * * *", False)
    state = Schedule().update(call(skyvern, policy), identifier, state, {**scheduled, "cron": "0 8 * * *", "enabled": False})
    Schedule().update(call(skyvern, policy), identifier, state, {**scheduled, "cron": "0 8 * * *"})
    assert row["enabled"] is True


def test_a_schedule_that_was_edited_in_the_ui(skyvern: Skyvern, scheduled: dict[str, Any]) -> None:
    identifier, state = Schedule().create(call(skyvern), scheduled)
    row = next(iter(skyvern.schedules.values()))
    row["cron_expression"] = "0 7 * * *"
    found = Schedule().read(call(skyvern), identifier, state)
    assert found is not None
    assert Schedule().drift(found[1], "keep") == []
    assert Schedule().drift(found[1], "overwrite") == ["server"]
    with pytest.raises(ApiError, match="edited in the UI"):
        Schedule().update(call(skyvern), identifier, found[1], {**scheduled, "cron": "0 8 * * *"})
    Schedule().update(call(skyvern, "overwrite"), identifier, found[1], scheduled)
    assert row["cron_expression"] == scheduled["cron"]


# --- Credentials, folders, profiles ---

LOGIN: dict[str, Any] = {
    "name": "naver",
    "type": "password",
    "tested_url": "https://naver.com",
    "values": {"username": "u", "password": "p"},
}


def test_a_credential_keeps_its_id_when_its_value_changes(skyvern: Skyvern) -> None:
    identifier, state = Credential().create(call(skyvern), LOGIN)
    Credential().update(call(skyvern), identifier, state, {**LOGIN, "values": {"username": "u", "password": "q"}})
    assert skyvern.credentials[identifier]["credential"]["password"] == "q"
    assert Credential().create(call(skyvern), LOGIN)[0] == identifier, "one of an interrupted update is found again"
    assert len(skyvern.credentials) == 1


def test_a_refusal_does_not_repeat_a_secret(skyvern: Skyvern) -> None:
    with pytest.raises(ApiError) as refused:
        Credential().create(call(skyvern), {**LOGIN, "values": {"username": "someone", "password": "refused"}})
    assert str(refused.value) == "credential naver: POST /v1/credentials: 400 the password [secret] is not accepted"


def test_a_list_of_mistakes_comes_without_the_inputs(skyvern: Skyvern) -> None:
    with pytest.raises(ApiError, match=r"422 body.title: Field required$"):
        Workflow().create(call(skyvern), {**INPUTS, "definition": {}})


def test_a_folder_of_a_person_is_not_taken_over(skyvern: Skyvern) -> None:
    skyvern.folders["fld_ui"] = {"folder_id": "fld_ui", "title": "Blog", "description": None}
    identifier, _ = Folder().create(call(skyvern), {"title": "Blog"})
    assert identifier != "fld_ui"
    assert Folder().create(call(skyvern), {"title": "Blog"})[0] == identifier


def test_a_profile_is_looked_up_and_never_removed(skyvern: Skyvern) -> None:
    with pytest.raises(ApiError, match=r'browser profile "블로그": none of this name is saved'):
        BrowserProfile().create(call(skyvern), {"name": "블로그"})
    skyvern.profiles["bp_1"] = {"browser_profile_id": "bp_1", "name": "블로그"}
    assert BrowserProfile().create(call(skyvern), {"name": "블로그"})[0] == "bp_1"
    BrowserProfile().delete(call(skyvern), "bp_1")
    assert "bp_1" in skyvern.profiles


def test_a_server_that_does_not_answer_is_one_line() -> None:
    api = Api("http://127.0.0.1:9", "a.b.c", ready_seconds=2, sleep=lambda seconds: None)
    with pytest.raises(ApiError, match=r"^http://127.0.0.1:9: Skyvern does not answer \(ConnectError\); start the server"):
        api.ask("GET", "/v1/workflows")


def test_a_wrong_key_is_one_line() -> None:
    with pytest.raises(ApiError, match="is not one of Skyvern's"):
        computed_workflow_id("not-a-token", "x")
