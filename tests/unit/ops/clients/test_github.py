"""ops.clients.github against a double of GitHub's REST API: what is posted, what is edited, and what is left alone."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.clients import github
from ops.clients.github import Repository
from ops.errors import UserError

MARKER = "<!-- a marker -->"
BOT = {"login": "github-actions[bot]"}
PRINT = "a" * 12

# A run, as GitHub tells about it.
PREVIEWED: dict[str, Any] = {
    "path": ".github/workflows/preview.yml",
    "event": "pull_request",
    "repository": {"id": 5},
    "head_repository": {"id": 5},
}


class Server:
    """Keeps what it is sent and answers lists in pages of two."""

    def __init__(self, **lists: list[dict[str, Any]]) -> None:
        self.lists = {name.replace("__", "/"): entries for name, entries in lists.items()}
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self.archive = b""
        self.runs = {12: PREVIEWED}
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if request.url.host == "store.example":
            return httpx.Response(200, content=self.archive)
        assert request.url.path.startswith("/repos/acme/skyvern/")
        path = request.url.path.removeprefix("/repos/acme/skyvern/")
        if request.method != "GET":
            self.sent.append((request.method, path, json.loads(request.content)))
            return httpx.Response(201, json={})
        if path.endswith("/zip"):
            return httpx.Response(302, headers={"location": "https://store.example/x"})
        if path.startswith("actions/runs/"):
            return httpx.Response(200, json=self.runs[int(path.rpartition("/")[2])])
        page = int(request.url.params.get("page", "1"))
        entries = self.lists[path][2 * page - 2 : 2 * page]
        more = len(self.lists[path]) > 2 * page
        after = request.url.copy_set_param("page", page + 1)
        headers = {"link": f'<{after}>; rel="next", <{after}>; rel="last"'} if more else {}
        body = {"total_count": 9, "artifacts": entries} if path == "actions/artifacts" else entries
        return httpx.Response(200, json=body, headers=headers)


def repository(server: Callable[[httpx.Request], httpx.Response]) -> Repository:
    http = httpx.Client(
        base_url="https://api.example", headers={"Authorization": "Bearer a-token"}, transport=httpx.MockTransport(server)
    )
    return Repository("acme/skyvern", http)


# --- The comment ---------------------------------------------------------------------------------------------------------


def test_the_first_report_is_a_new_comment() -> None:
    # Somebody else's that has the marker, and one of ours that only quotes it.
    others = [{"id": 1, "user": {"login": "mallory"}, "body": MARKER}, {"id": 2, "user": BOT, "body": f"> {MARKER}"}]
    server = Server(issues__7__comments=others)
    assert repository(server).comment(7, MARKER, f"{MARKER}\nnew") == "created"
    assert server.sent == [("POST", "issues/7/comments", {"body": f"{MARKER}\nnew"})]


def test_the_next_report_edits_it_wherever_it_is() -> None:
    before = [{"id": number, "user": BOT, "body": "another"} for number in range(4)]
    server = Server(issues__7__comments=[*before, {"id": 9, "user": BOT, "body": f"{MARKER}\r\nold"}])
    assert repository(server).comment(7, MARKER, f"{MARKER}\nnew") == "edited"
    assert server.sent == [("PATCH", "issues/comments/9", {"body": f"{MARKER}\nnew"})]
    server.sent.clear()
    assert repository(server).comment(7, MARKER, f"{MARKER}\nold") == "unchanged"
    assert server.sent == []


def test_a_text_that_could_not_be_found_again_or_is_too_long_is_not_posted() -> None:
    server = Server(issues__7__comments=[])
    with pytest.raises(UserError, match="does not begin with"):
        repository(server).comment(7, MARKER, "without")
    with pytest.raises(UserError, match="65537 characters"):
        repository(server).comment(7, MARKER, MARKER.ljust(65537))
    assert repository(server).comment(7, MARKER, MARKER.ljust(65536)) == "created"


# --- The issue -----------------------------------------------------------------------------------------------------------


def body(fingerprint: str) -> str:
    return f"{MARKER}\r\n<!-- fingerprint: {fingerprint} -->\r\nold"


def test_one_issue_is_kept_up_to_date() -> None:
    pull_request = {"number": 1, "user": BOT, "body": body(PRINT), "pull_request": {}}
    server = Server(issues=[pull_request])
    assert repository(server).issue(MARKER, PRINT, "drift", "text") == "created"
    text = f"{MARKER}\n<!-- fingerprint: {PRINT} -->\ntext"
    assert server.sent == [("POST", "issues", {"title": "drift", "body": text})]

    # The same drift a day later is no news, whatever the text says of values and times.
    server = Server(issues=[pull_request, {"number": 2, "user": BOT, "body": body(PRINT)}])
    assert repository(server).issue(MARKER, PRINT, "drift", "text") == "unchanged"
    assert server.sent == []

    assert repository(server).issue(MARKER, "b" * 12, "drift", "text") == "edited"
    assert [(method, path) for method, path, _ in server.sent] == [("PATCH", "issues/2"), ("POST", "issues/2/comments")]


def test_it_is_closed_when_nothing_differs_any_more() -> None:
    server = Server(issues=[{"number": 2, "user": BOT, "body": body(PRINT)}])
    assert repository(server).close_issue(MARKER, "gone") == "closed"
    assert server.sent == [
        ("POST", "issues/2/comments", {"body": "gone"}),
        ("PATCH", "issues/2", {"state": "closed", "state_reason": "completed"}),
    ]
    assert repository(Server(issues=[])).close_issue(MARKER, "gone") == "none"


@pytest.mark.parametrize("answer", [{"private": False}, {}])
def test_nothing_is_posted_for_everybody_to_read(answer: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="acme/skyvern is public"):
        repository(lambda _: httpx.Response(200, json=answer)).refuse_public()
    repository(lambda _: httpx.Response(200, json={"private": True})).refuse_public()


# --- The record ----------------------------------------------------------------------------------------------------------


def artifact(number: int, **more: Any) -> dict[str, Any]:
    run = {"id": 12, "repository_id": 5, "head_repository_id": 5}
    return {"id": number, "expired": False, "created_at": f"2026-01-0{number}T00:00:00Z", "workflow_run": run, **more}


def archive(**files: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        for name, text in files.items():
            opened.writestr(name.replace("_", "."), text)
    return packed.getvalue()


def test_the_newest_record_of_the_repository_is_taken_and_the_token_stays_at_github() -> None:
    fork = {"workflow_run": {"repository_id": 5, "head_repository_id": 6}}
    server = Server(actions__artifacts=[artifact(2), artifact(3), artifact(4, expired=True), artifact(5, **fork), artifact(1)])
    server.archive = archive(review_json="{}")
    assert repository(server).artifact("review-prod-abc", "review.json") == b"{}"
    asked = [request.url.path for request in server.asked]
    assert server.asked[0].url.params["name"] == "review-prod-abc"
    assert asked[-2:] == ["/repos/acme/skyvern/actions/artifacts/3/zip", "/x"]
    assert "authorization" in server.asked[-2].headers
    assert "authorization" not in server.asked[-1].headers


@pytest.mark.parametrize(
    "forged",
    [
        {**PREVIEWED, "path": ".github/workflows/ci.yml"},
        {**PREVIEWED, "path": ".github/workflows/mine/preview.yml"},
        {**PREVIEWED, "path": "elsewhere/.github/workflows/preview.yml"},
        {**PREVIEWED, "event": "push"},
        {**PREVIEWED, "event": "workflow_dispatch"},
        {**PREVIEWED, "head_repository": {"id": 6}},
        {**PREVIEWED, "head_repository": None},
        {},
    ],
)
def test_a_newer_artifact_of_another_workflow_is_passed_over(forged: dict[str, Any]) -> None:
    """Every run of a branch may upload one under this name, ci.yml's with a bot's new versions among them."""
    own = {"id": 13, "repository_id": 5, "head_repository_id": 5}
    server = Server(actions__artifacts=[artifact(2), artifact(3, workflow_run=own)])
    server.runs[13] = forged
    server.archive = archive(review_json="{}")
    assert repository(server).artifact("review-prod-abc", "review.json") == b"{}"
    assert [request.url.path for request in server.asked][-2].endswith("/actions/artifacts/2/zip")
    server.lists["actions/artifacts"] = [artifact(3, workflow_run=own)]
    assert repository(server).artifact("review-prod-abc", "review.json") is None


def test_github_may_name_the_ref_of_the_workflow() -> None:
    server = Server(actions__artifacts=[artifact(2)])
    server.runs[12] = {**PREVIEWED, "path": ".github/workflows/preview.yml@refs/pull/7/merge"}
    server.archive = archive(review_json="{}")
    assert repository(server).artifact("review-prod-abc", "review.json") == b"{}"


def test_no_record_and_a_broken_record() -> None:
    assert repository(Server(actions__artifacts=[])).artifact("x", "review.json") is None
    server = Server(actions__artifacts=[artifact(1)])
    for server.archive in (b"no archive", archive(another_json="{}")):
        with pytest.raises(UserError, match=r"^artifact x: holds no review\.json; "):
            repository(server).artifact("x", "review.json")


def test_the_pull_request_of_a_merge() -> None:
    server = Server(
        commits__c0ffee__pulls=[
            {"number": 1, "merged_at": None, "merge_commit_sha": "c0ffee"},
            {"number": 2, "merged_at": "2026-01-01T00:00:00Z", "merge_commit_sha": "another"},
            {"number": 3, "merged_at": "2026-01-01T00:00:00Z", "merge_commit_sha": "c0ffee"},
        ]
    )
    assert repository(server).merged_pull_request("c0ffee") == 3


# --- Refusals and the environment ----------------------------------------------------------------------------------------


def test_a_refusal_is_one_line_without_the_token() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(403, json={"message": "Resource not accessible by integration"})

    with pytest.raises(UserError) as told:
        repository(refuse).comment(7, MARKER, MARKER)
    assert str(told.value) == (
        "GitHub: GET /repos/acme/skyvern/issues/7/comments: 403 Resource not accessible by integration; "
        "see permissions in the workflow"
    )

    def unreachable(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("a-token", request=request)

    with pytest.raises(UserError, match=r"^GitHub: GET \S+: ConnectError; run the job again$"):
        repository(unreachable).comment(7, MARKER, MARKER)
    with pytest.raises(UserError, match=r"502 Bad Gateway$"):
        repository(lambda request: httpx.Response(502, text="<html>")).comment(7, MARKER, MARKER)


def test_the_run_is_what_the_environment_says(tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 7, "title": "$(reboot)"}}))
    environ = {
        "GITHUB_REPOSITORY": "acme/skyvern",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_SERVER_URL": "https://github.example",
        "GITHUB_API_URL": "https://api.example",
        "GITHUB_RUN_ID": "12",
        "GITHUB_SHA": "c0ffee",
    }
    run = github.run_of(environ)
    assert (run.pull_request, run.url) == (7, "https://github.example/acme/skyvern/actions/runs/12")
    assert github.no_report(MARKER, run).startswith(f"{MARKER}\n")
    event.write_text("{}")
    assert github.run_of(environ).pull_request is None
    with pytest.raises(UserError, match="is for workflows on GitHub"):
        github.run_of({})
    with pytest.raises(UserError, match=r"^GITHUB_TOKEN: is missing"):
        github.client(run, {})
    with github.client(run, {"GITHUB_TOKEN": "t"}) as http:
        assert http.headers["authorization"] == "Bearer t"
    github.summarise("a line", {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary")})
    assert (tmp_path / "summary").read_text() == "a line\n"
