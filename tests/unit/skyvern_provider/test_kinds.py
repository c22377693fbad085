"""What the provider asks of the server, against a double that behaves as Skyvern 1.0.56 does."""

import copy
from typing import Any

import httpx
import pytest

from skyvern_provider.api import READY_SECONDS, Api, ApiError, is_url
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


def test_an_edit_that_was_pulled_into_the_file_is_applied_and_a_later_one_kept(skyvern: Skyvern) -> None:
    identifier, state = Workflow().create(call(skyvern), INPUTS)
    skyvern.edit(identifier, "by hand")
    Workflow.note_pulled(call(skyvern).api, identifier, 2)
    state = Workflow().update(call(skyvern), identifier, state, titled("by hand"))
    assert (state["version"], skyvern.version(identifier)) == (3, 3)
    assert "pulled" not in skyvern.tags[identifier]
    Workflow.note_pulled(call(skyvern).api, identifier, 3)
    skyvern.edit(identifier, "by hand again")
    with pytest.raises(ApiError, match="edited in the UI: version 4, recorded 3"):
        Workflow().update(call(skyvern), identifier, state, titled("Daily 2"))


def test_an_interrupted_update_over_an_adopted_edit_is_no_edit_of_a_person(skyvern: Skyvern) -> None:
    identifier, state = Workflow().create(call(skyvern), INPUTS)
    skyvern.edit(identifier, "by hand")
    found = Workflow().read(call(skyvern, "adopt"), identifier, state)
    assert found is not None
    skyvern.faults[f"PUT /api/v1/workflows/{identifier}"] = 1
    with pytest.raises(ApiError, match="500"):
        Workflow().update(call(skyvern), identifier, found[1], titled("Daily 2"))
    assert Workflow().update(call(skyvern), identifier, found[1], titled("Daily 2"))["version"] == 3


def test_an_interrupted_revival_is_no_edit_of_a_person(skyvern: Skyvern) -> None:
    identifier, _ = Workflow().create(call(skyvern), INPUTS)
    Workflow().delete(call(skyvern), identifier)
    skyvern.faults[f"POST /v1/workflows/{identifier}"] = 1
    with pytest.raises(ApiError, match="500"):
        Workflow().create(call(skyvern), INPUTS)
    Workflow().create(call(skyvern), INPUTS)
    assert identifier not in skyvern.deleted


def test_an_edit_after_a_restore_is_kept(skyvern: Skyvern) -> None:
    """The recorded version is of before the restore, and higher."""
    identifier, state = Workflow().create(call(skyvern), INPUTS)
    before = copy.deepcopy((skyvern.versions, skyvern.tags))
    for title in ("Daily 2", "Daily 3"):
        state = Workflow().update(call(skyvern), identifier, state, titled(title))
    skyvern.versions, skyvern.tags = before
    skyvern.edit(identifier, "by hand")
    with pytest.raises(ApiError, match="edited in the UI: version 2, recorded 1"):
        Workflow().update(call(skyvern), identifier, state, titled("Daily 4"))


def test_a_workflow_that_was_moved_to_another_folder(skyvern: Skyvern) -> None:
    folder, _ = Folder().create(call(skyvern), {"title": "Blog"})
    inputs = {**INPUTS, "folder_id": folder}
    identifier, state = Workflow().create(call(skyvern), inputs)
    skyvern.versions[identifier][-1]["folder_id"] = "fld_other"
    kept = Workflow().read(call(skyvern), identifier, state)
    seen = Workflow().read(call(skyvern, "overwrite"), identifier, state)
    assert kept is not None
    assert seen is not None
    assert (kept[0], Workflow().drift(kept[1], "keep")) == (inputs, [])
    assert (seen[0], Workflow().drift(seen[1], "overwrite")) == (inputs, ["ui_folder_id"])
    state = Workflow().update(call(skyvern, "overwrite"), identifier, seen[1], inputs)
    assert (skyvern.versions[identifier][-1]["folder_id"], skyvern.version(identifier)) == (folder, 1)
    assert Workflow().drift(state, "overwrite") == []


def test_an_imported_workflow_that_is_gone_is_not_made_under_another_id(skyvern: Skyvern) -> None:
    made = skyvern.answer("POST", "/v1/workflows", {"x-api-key": skyvern.key}, {"json_definition": DOCUMENT})[1]
    identifier = made["workflow_permanent_id"]
    found = Workflow().read(call(skyvern), identifier, {})
    assert found is not None
    Workflow().delete(call(skyvern), identifier)
    with pytest.raises(ApiError, match="is gone; run pulumi refresh"):
        Workflow().update(call(skyvern), identifier, found[1], {**found[0], "definition": {**DOCUMENT, "title": "x"}})
    assert list(skyvern.versions) == [identifier]


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


def test_a_parameter_without_a_value_is_no_difference(skyvern: Skyvern, scheduled: dict[str, Any]) -> None:
    """The server drops it."""
    given = {**scheduled, "parameters": {"day": None, "site": "x"}}
    identifier, state = Schedule().create(call(skyvern), given)
    found = Schedule().read(call(skyvern), identifier, state)
    assert found is not None
    assert Schedule().drift(found[1], "overwrite") == []


def test_a_schedule_of_a_workflow_that_is_gone_says_what_to_do(skyvern: Skyvern, scheduled: dict[str, Any]) -> None:
    identifier, state = Schedule().create(call(skyvern), scheduled)
    Workflow().delete(call(skyvern), scheduled["workflow_id"])
    with pytest.raises(ApiError, match="schedule morning: its workflow is gone; run pulumi refresh"):
        Schedule().update(call(skyvern), identifier, state, {**scheduled, "cron": "0 8 * * *"})


def test_what_a_person_named_is_imported_under_its_id(skyvern: Skyvern, scheduled: dict[str, Any]) -> None:
    """The name of a program is checked, and one such as this could not be written."""
    identifier, _ = Schedule().create(call(skyvern), scheduled)
    next(iter(skyvern.schedules.values()))["name"] = "매일 아침"
    schedule = Schedule().read(call(skyvern), identifier, {})
    skyvern.credentials["cred_7"] = {"credential_id": "cred_7", "name": "Naver (work)", "credential_type": "password"}
    credential = Credential().read(call(skyvern), "cred_7", {})
    assert schedule is not None
    assert credential is not None
    assert schedule[0]["name"] == identifier.partition("/")[2].replace("_", "-")
    assert credential[0]["name"] == "cred-7"
    assert Schedule().check(schedule[0]) == []


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


def test_a_site_that_the_server_cannot_forget_is_no_difference(skyvern: Skyvern) -> None:
    secret = {"name": "mail", "type": "secret", "values": {"secret_value": "x"}}
    identifier, state = Credential().create(call(skyvern), {**secret, "tested_url": "https://example.com"})
    state = Credential().update(call(skyvern), identifier, state, secret)
    found = Credential().read(call(skyvern), identifier, state)
    assert found is not None
    assert Credential().drift(found[1], "overwrite") == []
    moved = {**found[1], "tested_url": "https://example.org"}
    assert Credential().drift(moved, "overwrite") == ["server"]


def test_a_refusal_does_not_repeat_a_secret(skyvern: Skyvern) -> None:
    with pytest.raises(ApiError) as refused:
        Credential().create(call(skyvern), {**LOGIN, "values": {"username": "someone", "password": "refused"}})
    assert str(refused.value) == "credential naver: POST /v1/credentials: 400 the password [secret] is not accepted"


def test_a_refusal_does_not_repeat_a_secret_of_several_lines(skyvern: Skyvern) -> None:
    key = "-----BEGIN KEY-----\nabc\n-----END KEY-----"
    skyvern.answer = lambda *request: (400, {"detail": f"refused: {key}"})  # type: ignore[method-assign]
    with pytest.raises(ApiError) as refused:
        Credential().update(call(skyvern), "cred_1", {}, {"name": "k", "type": "secret", "values": {"secret_value": key}})
    assert "abc" not in str(refused.value)


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
    api = Api("http://127.0.0.1:9", "a.b.c", ready_seconds=0, sleep=lambda seconds: None)
    with pytest.raises(ApiError) as refused:
        api.ask("GET", "/v1/workflows")
    # On another machine it may well be running.
    cure = "start the server, or on another machine forward its port (`ssh -L 9:localhost:9 HOST`), then repeat the command"
    assert str(refused.value) == f"http://127.0.0.1:9: Skyvern does not answer (ConnectError); {cure}"


def test_a_server_that_hangs_is_waited_for_in_seconds_not_in_attempts() -> None:
    now = [0.0]

    def hang(request: httpx.Request) -> httpx.Response:
        now[0] += request.extensions["timeout"]["read"]
        raise httpx.ReadTimeout("")

    transport = httpx.MockTransport(hang)
    api = Api("http://localhost", "a.b.c", transport=transport, sleep=lambda seconds: None, clock=lambda: now[0])
    with pytest.raises(ApiError, match="does not answer"):
        api.ask("GET", "/v1/workflows")
    assert now[0] <= READY_SECONDS + 1


def test_a_tunnel_that_is_down_does_not_say_that_everything_is_gone() -> None:
    """ngrok answers 404 in its server's place: a refresh would take each resource out of the state."""
    down = httpx.MockTransport(lambda request: httpx.Response(404, text="The endpoint is offline. ERR_NGROK_3200"))
    with pytest.raises(ApiError, match=r"does not answer \(404\)"):
        Workflow().read(Call(api=Api("http://localhost", "a.b.c", transport=down, ready_seconds=0)), "wpid_1", dict(INPUTS))

    def goes_down(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json="ok") if request.url.path.endswith("heartbeat") else httpx.Response(404, text="offline")

    with pytest.raises(ApiError, match="an answer that is not JSON"):
        Api("http://localhost", "a.b.c", transport=httpx.MockTransport(goes_down)).ask("GET", "/v1/workflows/wpid_1")


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("https://api.example.com", True),
        ("http://127.0.0.1:8080", True),
        ("http://[bad", False),
        ("https://a:port", False),
        ("https://", False),
        ("example.com", False),
    ],
)
def test_a_url(url: str, fits: bool) -> None:
    assert is_url(url) is fits


def test_a_wrong_key_is_one_line() -> None:
    with pytest.raises(ApiError, match="is not one of Skyvern's"):
        computed_workflow_id("not-a-token", "x")
