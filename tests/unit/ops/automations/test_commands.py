"""``ops run`` and ``ops automations`` against a double of the server."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from components.automations import files
from components.settings import parse
from ops.automations import run
from ops.automations.commands import next_ticks, pull_file
from ops.automations.server import Server
from ops.errors import UserError
from skyvern_provider.api import Api
from skyvern_provider.kinds import Call, Credential, Folder, Schedule, Workflow
from tests.support.skyvern_api import Skyvern

PARAMETERS = [
    {"key": "site", "parameter_type": "workflow", "workflow_parameter_type": "string"},
    {"key": "pages", "parameter_type": "workflow", "workflow_parameter_type": "integer"},
    {"key": "share", "parameter_type": "workflow", "workflow_parameter_type": "float"},
]
DOCUMENT: dict[str, Any] = {"title": "Daily", "workflow_definition": {"parameters": PARAMETERS, "blocks": []}}


@pytest.fixture
def skyvern() -> Skyvern:
    return Skyvern()


@pytest.fixture
def server(skyvern: Skyvern) -> Server:
    api = Api("http://localhost", skyvern.key, transport=skyvern.transport())
    identifier, _ = Workflow().create(Call(api=api), {"name": "daily", "definition": DOCUMENT})
    schedule = {"workflow_id": identifier, "name": "morning", "cron": "0 9 * * *", "timezone": "Asia/Seoul"}
    Schedule().create(Call(api=api), schedule)
    return Server(api, "http://localhost:8080")


def test_a_run_is_started_with_its_parameters(server: Server, skyvern: Skyvern) -> None:
    said: list[str] = []
    assert run.run(server, "daily", ["site=https://a.b/?x=1", "pages=5"], watch=False, say=said.append) == 0
    [started] = skyvern.runs.values()
    assert started["parameters"] == {"site": "https://a.b/?x=1", "pages": 5}
    assert said == [f"Daily: started {started['run_id']}, http://localhost:8080/runs/{started['run_id']}"]


@pytest.mark.parametrize(("status", "code"), [("completed", 0), ("failed", 1), ("terminated", 1), ("canceled", 1)])
def test_a_run_that_is_watched_ends_with_its_result(server: Server, skyvern: Skyvern, status: str, code: int) -> None:
    said: list[str] = []
    blocks = [
        {"workflow_run_block_id": "b1", "label": "open", "status": "completed"},
        {"workflow_run_block_id": "b2", "label": "write", "status": status, "failure_reason": "no editor"},
    ]

    def pass_time(seconds: float) -> None:
        for known in skyvern.runs.values():
            known.update(status=status, blocks=blocks, errors=[{"error_code": "CAPTCHA"}], failure_reason="no editor")

    handled = skyvern.answer

    def first_running(method: str, target: str, headers: dict[str, Any], body: Any) -> tuple[int, Any]:
        answer = handled(method, target, headers, body)
        if target == "/v1/run/workflows":
            next(iter(skyvern.runs.values()))["status"] = "running"
        return answer

    skyvern.answer = first_running  # type: ignore[method-assign]
    assert run.run(server, "daily", [], watch=True, say=said.append, sleep=pass_time) == code
    assert said[1:] == ["  open  completed", f"  write  {status}: no editor", f"{status} (CAPTCHA): no editor"]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("pages=true", "--param pages: is not of the type integer"),
        ("pages=5.5", "--param pages: is not of the type integer"),
        ("share=NaN", "--param share: is not of the type float"),
        ("site", "--param site: has no value; write site=VALUE"),
        ("sit=x", "--param sit: is not a parameter of the workflow; known are pages, share, site"),
        ("pages=many", "--param pages: is not of the type integer; write it as JSON, for example 5 or true"),
    ],
)
def test_a_wrong_parameter_starts_nothing(server: Server, skyvern: Skyvern, given: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        run.run(server, "daily", [given], watch=False, say=print)
    assert skyvern.runs == {}


def test_an_unknown_workflow(server: Server) -> None:
    with pytest.raises(UserError, match="dayly: is not a workflow of this stack; see ops automations list"):
        server.find("dayly")


def test_an_edit_that_was_pulled_is_no_obstacle(server: Server, skyvern: Skyvern, tmp_path: Path) -> None:
    """By default an update refuses to go over an edit; with the edit in the file it has nothing to protect."""
    identifier = next(iter(skyvern.versions))
    skyvern.edit(identifier, "by hand")
    assert pull_file(server, tmp_path, "daily", "daily", force=False) == (
        "wrote automations/daily.yaml; git shows the difference, and the next update applies it"
    )
    pulled = YAML(typ="safe").load(tmp_path / "automations" / "daily.yaml")["workflow"]
    Workflow().update(Call(api=server.api), identifier, {"version": 1}, {"name": "daily", "definition": pulled})
    assert skyvern.version(identifier) == 3


def test_what_only_the_file_says_outlives_a_pull(server: Server, skyvern: Skyvern, tmp_path: Path) -> None:
    skyvern.profiles["bp_1"] = {"browser_profile_id": "bp_1", "name": "블로그"}
    next(iter(skyvern.versions.values()))[-1]["browser_profile_id"] = "bp_1"
    file = tmp_path / "automations" / "daily.yaml"
    file.parent.mkdir()
    file.write_text("minutes_by_hand: 15\nfolder: Old\n")
    pull_file(server, tmp_path, "daily", "daily", force=True)
    written = YAML(typ="safe").load(file)
    assert (written["minutes_by_hand"], written["browser_profile"], "folder" in written) == (15, "블로그", False)
    assert "browser_profile_id" not in written["workflow"]


def test_every_schedule_is_listed_also_one_that_no_file_can_have(
    server: Server, skyvern: Skyvern, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [schedule] = skyvern.schedules.values()
    for number in range(120):
        skyvern.schedules[f"wfs_more_{number}"] = {**schedule, "name": f"more-{number}"}
    skyvern.schedules["wfs_daily"] = {
        **schedule,
        "name": "by-hand",
        "cron_expression": "@daily",
        "next_run": "2026-11-30T00:00:00",
    }
    monkeypatch.setattr(Server, "of", lambda stack: server)
    next_ticks(stack=None, count=1)  # type: ignore[arg-type]
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 1 + 122
    assert "by-hand   2026-11-30T00:00:00  Asia/Seoul" in printed


def test_a_workflow_is_written_as_a_file(server: Server, skyvern: Skyvern, tmp_path: Path) -> None:
    identifier = next(iter(skyvern.versions))
    skyvern.edit(identifier, "by hand")
    assert "wrote automations/daily.yaml" in pull_file(server, tmp_path, "daily", "daily", force=False)
    written = YAML(typ="safe").load(tmp_path / "automations" / "daily.yaml")
    assert written["workflow"] == {**DOCUMENT, "title": "by hand"}
    assert written["schedules"] == {"morning": {"cron": "0 9 * * *", "timezone": "Asia/Seoul"}}
    with pytest.raises(UserError, match="exists; add --force"):
        pull_file(server, tmp_path, "by hand", "daily", force=False)
    with pytest.raises(UserError, match="is not a name for a file; add --as NAME"):
        pull_file(server, tmp_path, "by hand", "by hand", force=False)


def test_a_file_of_the_server_is_one_that_can_be_deployed(server: Server, skyvern: Skyvern, tmp_path: Path) -> None:
    """The server answers with defaults, and with fields that it does not take (1.0.56)."""
    credential, _ = Credential().create(Call(api=server.api), {"name": "shop", "type": "secret", "values": {"secret_value": "x"}})
    folder, _ = Folder().create(Call(api=server.api), {"title": "Blog"})
    inner = {"label": "inner", "block_type": "wait", "wait_sec": 1, "disable_cache": False, "parameters": []}
    loop: dict[str, Any] = {"label": "loop", "block_type": "for_loop", "loop_blocks": [inner], "loop_over": None}
    loop |= {"complete_if_empty": False, "loop_variable_reference": "workflow_run_outputs"}
    newest = next(iter(skyvern.versions.values()))[-1]
    newest |= {"folder_id": folder, "ai_fallback": True, "persist_browser_session": False}
    newest["workflow_definition"] = {
        "parameters": [
            {"key": "shop", "parameter_type": "credential", "credential_id": credential, "credential_parameter_id": "cp_1"}
        ],
        "blocks": [{**loop, "output_parameter": {"key": "loop_output"}}],
    }
    pull_file(server, tmp_path, "daily", "daily", force=False)
    written = YAML(typ="safe").load(tmp_path / "automations" / "daily.yaml")
    assert written["credentials"] == {"shop": "shop"}
    assert written["folder"] == "Blog"
    assert written["workflow"] == {
        "title": "Daily",
        "workflow_definition": {
            "parameters": [{"key": "shop", "parameter_type": "credential"}],
            "blocks": [
                {
                    "label": "loop",
                    "block_type": "for_loop",
                    "loop_variable_reference": "workflow_run_outputs",
                    "loop_blocks": [{"label": "inner", "block_type": "wait", "wait_sec": 1}],
                }
            ],
        },
    }
    section = {"files": ["daily"], "credentials": {"shop": {"type": "secret", "secret_value": "x"}}}
    settings = parse({"automations": section}, file="Pulumi.dev.yaml", secret_keys=frozenset({"automations"})).automations
    assert [automation.name for automation in files.load(tmp_path, settings)] == ["daily"]
