"""The messages of the workflows on GitHub: one comment on a pull request, one issue for drift, each edited in place.

Bodies are made by pure functions; the client speaks the few calls of GitHub's REST API (2022-11-28) that this needs. Who may call
what is decided by the workflows' ``permissions``. Not here: what a report says (ops/preview/report).
"""

import io
import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx

from ops.clients import proxies
from ops.errors import UserError

# GitHub answers 422 to a longer comment or issue.
BODY_LIMIT = 65536
# Whose texts are edited: a marker that a person quoted or copied is left alone.
AUTHOR = "github-actions[bot]"
# A record of a preview is some ten KiB. This limit leaves room for a whole report of 500 resources and stops a zip bomb.
RECORD_LIMIT = 20 * 1024 * 1024

# Whose runs upload records (its artifact has the name of the stack and the tree).
PREVIEW_WORKFLOW, PREVIEW_EVENT = ".github/workflows/preview.yml", "pull_request"

Change = Literal["created", "edited", "unchanged", "closed", "none"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """The run of a workflow, as GitHub's environment describes it.

    repository: ``owner/name``. url: of the run's page. commit: what it was started for. pull_request: its number, if it is
    for a pull request. api: ``https://api.github.com``, another address on GitHub Enterprise.
    """

    repository: str
    url: str
    commit: str
    pull_request: int | None
    api: str


def run_of(environ: Mapping[str, str]) -> Run:
    """The run that this process belongs to; UserError outside of one."""
    try:
        repository = environ["GITHUB_REPOSITORY"]
        event: dict[str, Any] = json.loads(Path(environ["GITHUB_EVENT_PATH"]).read_text())
        return Run(
            repository=repository,
            url=f"{environ['GITHUB_SERVER_URL']}/{repository}/actions/runs/{environ['GITHUB_RUN_ID']}",
            commit=environ["GITHUB_SHA"],
            pull_request=(event.get("pull_request") or {}).get("number"),
            api=environ["GITHUB_API_URL"],
        )
    except (KeyError, OSError, ValueError) as missing:
        raise UserError(f"ops github: is for workflows on GitHub, whose environment is not here ({missing})") from missing


def client(run: Run, environ: Mapping[str, str]) -> httpx.Client:
    """A client with the run's token; UserError without one."""
    token = environ.get("GITHUB_TOKEN")
    if not token:
        raise UserError("GITHUB_TOKEN: is missing; give it to the step in its env")
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
    }
    # A connection that fails is tried again; a request that was sent is not, so nothing is posted twice.
    return httpx.Client(base_url=run.api, headers=headers, timeout=30, transport=proxies.Transport(retries=3))


# --- Calls ---------------------------------------------------------------------------------------------------------------


class Repository:
    """A repository on GitHub. Every call raises UserError with GitHub's own message where it is refused."""

    def __init__(self, name: str, http: httpx.Client) -> None:
        self.name = name
        self._http = http

    def comment(self, number: int, marker: str, body: str) -> Change:
        """The one comment of a pull request or issue that begins with the marker: edited if it exists, else created."""
        for comment in self._pages(f"issues/{number}/comments"):
            if _ours(comment, marker):
                if comment["body"].replace("\r\n", "\n") == body:
                    return "unchanged"
                self._send("PATCH", f"issues/comments/{comment['id']}", body=_checked(body, marker))
                return "edited"
        self._send("POST", f"issues/{number}/comments", body=_checked(body, marker))
        return "created"

    def issue(self, marker: str, fingerprint: str, title: str, body: str) -> Change:
        """The one open issue that begins with the marker: created, or edited if its fingerprint has changed."""
        text = _checked(f"{marker}\n{_fingerprint_line(fingerprint)}\n{body}", marker)
        open_issue = self._open_issue(marker)
        if open_issue is None:
            self._send("POST", "issues", title=title, body=text)
            return "created"
        if _fingerprint_line(fingerprint) in open_issue["body"].splitlines():
            return "unchanged"
        self._send("PATCH", f"issues/{open_issue['number']}", title=title, body=text)
        # An edit sends no notification.
        self._send(
            "POST", f"issues/{open_issue['number']}/comments", body="The differences have changed; the text above is current."
        )
        return "edited"

    def close_issue(self, marker: str, reason: str) -> Change:
        """Closes the open issue that begins with the marker, if any, with a comment."""
        open_issue = self._open_issue(marker)
        if open_issue is None:
            return "none"
        self._send("POST", f"issues/{open_issue['number']}/comments", body=reason)
        self._send("PATCH", f"issues/{open_issue['number']}", state="closed", state_reason="completed")
        return "closed"

    def refuse_public(self) -> None:
        """UserError in a public repository, where everybody would read what is open on the host."""
        if self._request("GET", f"/repos/{self.name}").json().get("private") is not True:
            raise UserError(f"GitHub: {self.name} is public, so what was found is not posted there; make it private")

    def merged_pull_request(self, commit: str) -> int | None:
        """The pull request whose merge made the commit."""
        for pull_request in self._pages(f"commits/{commit}/pulls"):
            if pull_request.get("merged_at") and pull_request.get("merge_commit_sha") == commit:
                return int(pull_request["number"])
        return None

    def artifact(self, name: str, file: str) -> bytes | None:
        """A file of the newest artifact of this name from a preview of a branch of this repository; None without one.

        Any run of any workflow may upload an artifact of any name, so the run that did is looked up.
        """
        candidates = [
            artifact
            for artifact in self._pages("actions/artifacts", name=name)
            if not artifact["expired"] and _from_here(artifact.get("workflow_run") or {})
        ]
        candidates.sort(key=lambda artifact: (artifact["created_at"], artifact["id"]), reverse=True)
        newest = next((artifact for artifact in candidates if self._is_preview(artifact["workflow_run"].get("id"))), None)
        if newest is None:
            return None
        # GitHub answers with a redirect to a store that must not get the token; httpx drops it at another host.
        archive = self._request("GET", f"actions/artifacts/{newest['id']}/zip", follow_redirects=True).content
        try:
            with zipfile.ZipFile(io.BytesIO(archive)) as opened:
                if opened.getinfo(file).file_size > RECORD_LIMIT:
                    raise UserError(f"artifact {name}: {file} is larger than any record; look at the run that made it")
                return opened.read(file)
        except (KeyError, zipfile.BadZipFile) as broken:
            raise UserError(f"artifact {name}: holds no {file}; look at the run that made it") from broken

    def _is_preview(self, run: object) -> bool:
        """Whether a run is of preview.yml, for a pull request from this repository."""
        if not isinstance(run, int):
            return False
        about = self._request("GET", f"actions/runs/{run}").json()
        here, head = about.get("repository") or {}, about.get("head_repository") or {}
        return (
            # With a ref behind it where GitHub names one.
            str(about.get("path") or "").partition("@")[0] == PREVIEW_WORKFLOW
            and about.get("event") == PREVIEW_EVENT
            and here.get("id") is not None
            and here.get("id") == head.get("id")
        )

    def _open_issue(self, marker: str) -> dict[str, Any] | None:
        for issue in self._pages("issues", state="open"):
            # Pull requests are issues, too, in this call.
            if "pull_request" not in issue and _ours(issue, marker):
                return issue
        return None

    def _pages(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        url: str | httpx.URL = f"/repos/{self.name}/{path}"
        params: dict[str, str] | None = {"per_page": "100", **query}
        while url:
            answer = self._request("GET", url, params=params)
            body = answer.json()
            # A list of artifacts comes in an object with its count, any other list by itself.
            yield from body["artifacts"] if isinstance(body, dict) else body
            # The next page's address has the query in it already.
            url, params = answer.links.get("next", {}).get("url", ""), None

    def _send(self, method: str, path: str, **fields: str) -> None:
        self._request(method, path, json=fields)

    def _request(self, method: str, path: str | httpx.URL, **arguments: Any) -> httpx.Response:
        url = path if str(path).startswith(("/", "https://")) else f"/repos/{self.name}/{path}"
        try:
            answer = self._http.request(method, url, **arguments)
        except httpx.HTTPError as failed:
            raise UserError(f"GitHub: {method} {url}: {type(failed).__name__}; run the job again") from None
        if answer.is_error:
            try:
                message = str(answer.json()["message"])
            except (ValueError, KeyError, TypeError):
                message = answer.reason_phrase
            hint = "; see permissions in the workflow" if answer.status_code in {401, 403, 404} else ""
            raise UserError(f"GitHub: {method} {str(url).partition('?')[0]}: {answer.status_code} {message}{hint}")
        return answer


def _ours(text: Mapping[str, Any], marker: str) -> bool:
    """Whether a comment or issue is the one with the marker that the workflows wrote."""
    return (text.get("user") or {}).get("login") == AUTHOR and str(text.get("body") or "").startswith(marker)


def _from_here(run: Mapping[str, Any]) -> bool:
    """Whether a run was of a branch of the repository itself: a fork's run may upload what it likes under any name."""
    return run.get("repository_id") is not None and run.get("repository_id") == run.get("head_repository_id")


def _checked(body: str, marker: str) -> str:
    if not body.startswith(marker):
        raise UserError(f"ops github: the text does not begin with {marker}, so the next run would not find it")
    if len(body) > BODY_LIMIT:
        raise UserError(f"ops github: the text has {len(body)} characters, and GitHub takes {BODY_LIMIT}")
    return body


def _fingerprint_line(fingerprint: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{12,64}", fingerprint):
        raise ValueError(f"{fingerprint!r} is not a fingerprint")
    return f"<!-- fingerprint: {fingerprint} -->"


# --- Texts ---------------------------------------------------------------------------------------------------------------


def no_report(marker: str, run: Run) -> str:
    """The comment where the preview ended before it could write a report."""
    return (
        f"{marker}\n### ❌ No preview\n\n"
        f"The preview ended before it had anything to report: [its log]({run.url}) says why. Nothing was changed, and this pull "
        "request has no review record, so `ops apply` will refuse it.\n"
    )


def summarise(text: str, environ: Mapping[str, str] = os.environ) -> None:
    """Adds a text to the summary of the run, if it has one."""
    if path := environ.get("GITHUB_STEP_SUMMARY"):
        with Path(path).open("a") as summary:
            summary.write(text + "\n")
