"""One workflow, credential or file of a set: what is asked for, compared and put in place. On real data: tests/host."""

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from ops import cli
from ops.backups import notes
from ops.clients import process
from ops.deploy import single
from ops.errors import UserError
from ops.stack import database
from ops.stack.stack import Stack

RECORD = SimpleNamespace(name="20261128T203250Z", at=datetime(2026, 11, 28, tzinfo=UTC))
THEN, LATER = "2026-11-28 10:00:00", "2026-11-29 10:00:00"
DUMP = rf"""
\restrict abc
COPY public.workflows (workflow_id, workflow_permanent_id, version, folder_id, title, modified_at, deleted_at) FROM stdin;
w_1	wpid_1	1	\N	매일\t보고	{THEN}	\N
w_2	wpid_1	2	f_1	매일	{THEN}	\N
w_3	wpid_1	3	\N	thrown away	{THEN}	{THEN}
w_4	wpid_2	1	\N	another	{THEN}	\N
\.
COPY public.workflow_parameters (workflow_parameter_id, workflow_id, key) FROM stdin;
wp_1	w_2	url
wp_2	w_4	url
\.
COPY public.workflow_schedules (workflow_schedule_id, workflow_permanent_id, enabled, deleted_at) FROM stdin;
s_1	wpid_1	t	\N
\.
COPY public.credentials (credential_id, vault_type, item_id, modified_at, deleted_at) FROM stdin;
cred_1	skyvern	creditem_1	{THEN}	\N
\.
"""


class Repository:
    """A stack beside a repository.

    here: what its database answers. schedules: those that it has. asked: what was asked of the repository, sent: of psql.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, here: str = "", schedules: str = "s_1") -> None:
        self.asked: list[Sequence[str]] = []
        self.sent: list[str] = []
        self.here = here
        self.schedules = schedules
        source = SimpleNamespace(stack=Stack("dev"), docker=None, record=lambda name: RECORD, ask=self.ask)
        monkeypatch.setattr("ops.backups.copies.source", lambda stack: source)
        monkeypatch.setattr(database, "ask", self.psql)
        monkeypatch.setattr(notes, "alone", nullcontext)

    def ask(self, *command: str, **_: Any) -> str:
        self.asked.append(command)
        return DUMP

    def psql(self, stack: Stack, docker: Any, script: str, *, as_owner: bool) -> str:
        assert as_owner
        self.sent.append(script)
        return self.schedules if script.startswith("SELECT workflow_schedule_id") else self.here

    def bring(self, *, discard_newer: bool = False, **what: str) -> str:
        said: list[str] = []
        given: Any = {"workflow": None, "credential": None, "file": None, **what}
        single.bring_back(Stack("dev"), None, **given, discard_newer=discard_newer, progress=said.append)
        return said[0]

    @property
    def changed(self) -> list[str]:
        return [script for script in self.sent if "BEGIN" in script]


def test_a_deleted_workflow_comes_back_with_its_parts_and_its_schedules_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository(monkeypatch)
    said = repository.bring(workflow="wpid_1")
    assert said == (
        "stack dev: workflow wpid_1 is version 2 of set 20261128T203250Z; its 1 schedules are paused: start them in the UI"
    )
    (script,) = repository.changed
    assert "w_1\twpid_1\t1\t\\N\t매일\\t보고\t" in script
    assert "s_1\twpid_1\tf\t\\N" in script
    for other in ("w_3", "w_4", "wp_2"):
        assert other not in script
    assert "wp_1" in script
    assert script.index('"set_workflows" (LIKE') < script.index('"set_workflow_parameters" (LIKE')
    assert script.startswith("BEGIN;")
    assert script.endswith("COMMIT;\n")


@pytest.mark.parametrize(
    ("here", "refusal"),
    [
        (f"3|{LATER}", "is newer here .changed 2026-11-29 10:00 UTC. than in set .*; add --discard-newer to replace it"),
        (f"2|{LATER}", "is newer here"),
        (f"2|{THEN}", "is here as it is in set 20261128T203250Z; nothing was changed"),
    ],
)
def test_what_is_newer_or_the_same_is_not_replaced(monkeypatch: pytest.MonkeyPatch, here: str, refusal: str) -> None:
    repository = Repository(monkeypatch, here)
    with pytest.raises(UserError, match=refusal):
        repository.bring(workflow="wpid_1")
    assert repository.changed == []


def test_a_deleted_schedule_of_a_workflow_that_is_the_same_comes_back_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row alone says that it was deleted, and the workflow was "here as it is in set", also with --discard-newer."""
    repository = Repository(monkeypatch, f"2|{THEN}", schedules="")
    assert repository.bring(workflow="wpid_1") == (
        "stack dev: workflow wpid_1 is here as it is in set 20261128T203250Z; 1 schedules of it that had been deleted are here "
        "again, paused: start them in the UI"
    )
    (script,) = repository.changed
    assert "s_1\twpid_1\tf\t\\N" in script
    assert 'COPY "set_workflows"' not in script


def test_what_is_the_same_is_put_in_place_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schedule may have been changed."""
    repository = Repository(monkeypatch, f"2|{THEN}")
    assert "its 1 schedules are paused" in repository.bring(workflow="wpid_1", discard_newer=True)
    assert "s_1\twpid_1\tf\t\\N" in repository.changed[0]


def test_newer_versions_are_discarded_when_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository(monkeypatch, f"3|{LATER}")
    repository.bring(workflow="wpid_1", discard_newer=True)
    assert "workflow_permanent_id = 'wpid_1' AND version > 2;" in repository.changed[0]


def test_another_version_of_the_same_number_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen on the real schema: after a whole restore behind it, one with the set's number is made again under another id."""
    repository = Repository(monkeypatch)
    repository.bring(workflow="wpid_1", discard_newer=True)
    aside = repository.changed[0].partition("AS number")[2]
    assert "version IN (1, 2)" in aside
    assert "workflow_id NOT IN ('w_1','w_2')" in aside
    assert aside.index("aside.workflow_id") < aside.index("INSERT INTO")


def test_a_credential_comes_back_with_its_entry_in_the_vault_first(monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository(monkeypatch)
    assert repository.bring(credential="cred_1") == "stack dev: credential cred_1 is that of set 20261128T203250Z"
    assert repository.asked[-1] == ("file", RECORD.name, "credential_vault/creditem_1.bin", "replace")
    assert len(repository.changed) == 1


@pytest.mark.parametrize(
    ("what", "refusal"),
    [
        ({}, "give one of --workflow, --credential and --file"),
        ({"workflow": "wpid_1", "file": "downloads/x"}, "give one of"),
        ({"workflow": "x'; DROP TABLE workflows; --"}, "is not an id"),
        ({"workflow": "wpid_9"}, "set 20261128T203250Z has no workflow wpid_9"),
        ({"credential": "cred_9"}, "set 20261128T203250Z has no credential cred_9"),
        ({"file": "/etc/passwd"}, "is in none of the folders of a set"),
        ({"file": "downloads/../har/x"}, "is in none of the folders of a set"),
        ({"file": "downloads/"}, "is in none of the folders of a set"),
    ],
)
def test_what_is_not_there_or_makes_no_sense_is_one_line(
    monkeypatch: pytest.MonkeyPatch, what: dict[str, Any], refusal: str
) -> None:
    repository = Repository(monkeypatch)
    with pytest.raises(UserError, match=refusal) as refused:
        repository.bring(**what)
    assert "\n" not in str(refused.value)
    assert repository.changed == []


def test_an_error_of_the_database_repeats_no_value() -> None:
    script = "echo 'psql:<stdin>:9: ERROR:  duplicate key value' >&2; echo 'DETAIL:  Key (password)=(secret)' >&2; exit 3"
    with pytest.raises(UserError) as failed:
        process.capture(["sh", "-c", script])
    assert "secret" in str(failed.value)
    assert single.reason_of(failed.value) == "duplicate key value"


def test_a_file_is_asked_for_by_its_folder() -> None:
    assert single.folder_of("downloads/wr_1/보고서.pdf") == "downloads"
    assert single.folder_of("browser_sessions/o_1/x.zip") == "browser-sessions"


def test_an_empty_id_is_not_a_restore_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """--workflow "$ID" of a variable that is not set, with --yes, replaced the whole stack."""
    Repository(monkeypatch)
    empty: Any
    for empty in ({"workflow": ""}, {"credential": ""}, {"file": ""}):
        with pytest.raises(UserError, match="ops restore: "):
            cli.restore(None, Stack("dev"), yes=True, **empty)
    with pytest.raises(UserError, match="are for the whole stack"):
        cli.restore(None, Stack("dev"), undo=True, workflow="wpid_1")
