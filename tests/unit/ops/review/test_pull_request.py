"""The commands of the workflows, from their environment to what GitHub is sent, with doubles for the engine and for GitHub."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.clients import git, github
from ops.errors import UserError
from ops.preview import engine
from ops.preview.model import Drift, PolicyResult, Preview
from ops.preview.report import MARKER
from ops.review import drift, pull_request, record
from ops.stack.stack import Stack
from tests.support.previews import DRIFT, PREVIEW, TREE

BOT = {"login": github.AUTHOR}
COMMIT = "c" * 40
PROD = Stack("prod")


class GitHub:
    """What there is, and what was sent."""

    def __init__(self) -> None:
        self.lists: dict[str, Any] = {"issues": [], "issues/7/comments": [], f"commits/{COMMIT}/pulls": []}
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self.archive = b""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/repos/acme/skyvern").removeprefix("/")
        if request.method != "GET":
            self.sent.append((request.method, path, json.loads(request.content)))
            return httpx.Response(201, json={})
        return httpx.Response(200, json=self.lists[path] if path else {"private": True})

    def bodies(self) -> list[str]:
        return [sent["body"] for _, _, sent in self.sent if "body" in sent]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitHub:
    """The environment of a run for pull request 7."""
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 7}}))
    for name, value in {
        "GITHUB_REPOSITORY": "acme/skyvern",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_SERVER_URL": "https://github.example",
        "GITHUB_API_URL": "https://api.example",
        "GITHUB_RUN_ID": "12",
        "GITHUB_SHA": COMMIT,
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }.items():
        monkeypatch.setenv(name, value)
    hub = GitHub()

    @contextmanager
    def client(run: github.Run, environ: object) -> Iterator[httpx.Client]:
        yield httpx.Client(base_url=run.api, transport=httpx.MockTransport(hub))

    monkeypatch.setattr(github, "client", client)
    monkeypatch.setattr(git, "tree_of", lambda _: TREE)
    return hub


def previewing(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    def preview(stack: Stack, *, drift: bool, base: str) -> Preview:
        if error := changes.get("error"):
            raise error
        return dataclasses.replace(PREVIEW, stack=stack.name, base=base, **changes)

    monkeypatch.setattr(engine, "preview", preview)


def test_a_preview_becomes_a_report_and_a_record(hub: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    previewing(monkeypatch)
    folder = tmp_path / "review"
    assert pull_request.write_review(PROD, folder, base="d" * 40)[0] == 0
    assert sorted(path.name for path in folder.iterdir()) == ["preview.json", "report.md", "review-prod.json"]
    assert record.load(folder / "review-prod.json").tree == TREE

    pull_request.comment(folder)
    (body,) = hub.bodies()
    assert body.startswith(MARKER)
    assert hub.sent[0][:2] == ("POST", "issues/7/comments")
    assert (tmp_path / "summary.md").read_text().startswith(MARKER)


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"failure": "the program failed: a reason"}, 1, "the program failed: a reason"),
        ({"error": UserError("Pulumi.prod.yaml: host.port: is wrong")}, 1, "Pulumi.prod.yaml: host.port: is wrong"),
        (
            {
                "policy_pack": "a-pack 1",
                "policies": (PolicyResult(rule="no-open-port", outcome="violated", level="mandatory", message="m"),),
            },
            3,
            "no-open-port",
        ),
    ],
)
def test_a_failure_is_posted_with_its_reason_and_leaves_no_record(
    hub: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], code: int, text: str
) -> None:
    folder = tmp_path / "review"
    folder.mkdir()
    # Of an earlier preview on the same machine.
    (folder / "review-prod.json").write_text("{}")
    previewing(monkeypatch, **changes)
    assert pull_request.write_review(PROD, folder, base="")[0] == code
    assert not (folder / "review-prod.json").exists()
    hub.lists["issues/7/comments"] = [{"id": 3, "user": BOT, "body": f"{MARKER}\nold"}]
    pull_request.comment(folder)
    ((method, path, sent),) = hub.sent
    assert (method, path) == ("PATCH", "issues/comments/3")
    assert text in sent["body"]


def test_no_change_is_posted_as_well(hub: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    previewing(monkeypatch, steps=(), drift=Drift(checked=True))
    assert pull_request.write_review(PROD, tmp_path / "review", base="")[0] == 0
    pull_request.comment(tmp_path / "review")
    assert len(hub.bodies()) == 1


def test_without_a_report_the_comment_says_so(hub: GitHub, tmp_path: Path) -> None:
    pull_request.comment(tmp_path / "nothing")
    (body,) = hub.bodies()
    assert body.startswith(f"{MARKER}\n### ❌ No preview")
    assert "https://github.example/acme/skyvern/actions/runs/12" in body
    (tmp_path / "event.json").write_text("{}")
    with pytest.raises(UserError, match="not of a pull request"):
        pull_request.comment(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["prod", "organization/skyvern/prod"])
def test_an_unreviewed_tree_has_no_record(hub: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    asked: list[str] = []

    def artifact(self: github.Repository, name: str, file: str) -> bytes | None:
        asked.append(f"{name}/{file}")
        return b"{}" if len(asked) == 1 else None

    monkeypatch.setattr(github.Repository, "artifact", artifact)
    why = tmp_path / "outcome.md"
    pull_request.record(Stack(name), tmp_path / "review.json", why)
    assert not why.exists()
    assert (tmp_path / "review.json").read_bytes() == b"{}"
    assert asked == [f"review-prod-{TREE}/review-prod.json"]
    with pytest.raises(UserError, match=rf"^stack {name}: no reviewed preview of tree aaaaaaaaaaaa: "):
        pull_request.record(Stack(name), tmp_path / "another.json", why)
    assert why.read_text().startswith(f"❌ `stack {name}: no reviewed preview of tree ")
    assert not (tmp_path / "another.json").exists()


def test_the_outcome_goes_to_the_merged_pull_request(hub: GitHub, tmp_path: Path) -> None:
    file = tmp_path / "outcome.md"
    file.write_text("✅ done\n")
    pull_request.outcome(PROD, file)
    assert hub.sent == []
    merged = {"number": 7, "merged_at": "2026-01-01T00:00:00Z", "merge_commit_sha": COMMIT}
    hub.lists[f"commits/{COMMIT}/pulls"] = [merged]
    pull_request.outcome(PROD, file)
    pull_request.outcome(PROD, tmp_path / "none")
    first, second = hub.bodies()
    assert first.startswith(f"{pull_request.deployment_marker(PROD)}\n")
    assert "✅ done" in first
    assert "❌ Nothing was deployed: the job ended before `ops apply`." in second
    assert (tmp_path / "summary.md").read_text().count("### Deployment of prod") == 3


def test_the_issue_follows_the_drift(hub: GitHub) -> None:
    pull_request.keep_issue(PROD, DRIFT)
    ((method, path, sent),) = hub.sent
    assert (method, path, sent["title"]) == ("POST", "issues", drift.title("prod", DRIFT))
    assert sent["body"].startswith(f"{drift.marker('prod')}\n<!-- fingerprint: {drift.fingerprint(DRIFT)} -->\n")
    hub.lists["issues"] = [{"number": 4, "user": BOT, "body": sent["body"]}]
    hub.sent.clear()
    assert pull_request.keep_issue(PROD, DRIFT).endswith(": unchanged")
    assert pull_request.keep_issue(Stack("dev"), DRIFT).endswith(": created")
    assert pull_request.keep_issue(PROD, Drift(checked=True)).endswith(": closed")
    assert hub.sent[-1] == ("PATCH", "issues/4", {"state": "closed", "state_reason": "completed"})
