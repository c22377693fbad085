"""Checks that run a workflow in the stack's own browser, and the steps that every workflow of the smoke run shares."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ops.observe.smoke.site import CheckFailedError, CompletedRun, Site, ends_with, expect, expect_status
from skyvern_provider.api import FINAL

RUN_SECONDS = 180
# Skyvern sets the final status before it closes the browser; only then is the recording written and converted.
FILES_SECONDS = 60
SETTLED_SECONDS = 20
POLL_SECONDS = 1.0
METADATA_URL = "http://169.254.169.254/latest/meta-data/"
# What the UI lists as history.
HISTORY = "/v1/runs?page_size=100"


def workflow_body(title: str, blocks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Request body of POST /v1/workflows."""
    return {"json_definition": {"title": title, "workflow_definition": {"parameters": [], "blocks": blocks}}}


def definition(title: str, url: str, wait_seconds: int = 0) -> dict[str, Any]:
    """Workflow that goes to ``url``, then stays there for ``wait_seconds``. Needs no LLM."""
    blocks: list[dict[str, Any]] = [{"block_type": "goto_url", "label": "open", "url": url}]
    if wait_seconds:
        blocks.append({"block_type": "wait", "label": "stay", "wait_sec": wait_seconds})
    return workflow_body(title, blocks)


def path_of(artifact: dict[str, Any]) -> str | None:
    """Path of an artifact in the server container; None if it is an object of a bucket."""
    uri = str(artifact["uri"])
    return uri.removeprefix("file://") if uri.startswith("file:///") else None


@contextmanager
def workflow(site: Site, body: dict[str, Any]) -> Iterator[str]:
    """The id of a workflow that exists only inside the block."""
    created = site.api("POST", "/v1/workflows", body=body)
    expect_status(created, 200)
    workflow_id = str(created.json()["workflow_permanent_id"])
    with ends_with(lambda: site.api("POST", f"/v1/workflows/{workflow_id}/delete")):
        yield workflow_id


def start_run(site: Site, workflow_id: str, **options: str | bool) -> str:
    """The id of a new run of a workflow. options: of the request, such as ``run_with``."""
    started = site.api("POST", "/v1/run/workflows", body={"workflow_id": workflow_id, **options})
    expect_status(started, 200)
    return str(started.json()["run_id"])


def wait_for_end(site: Site, run_id: str, limit_seconds: float = RUN_SECONDS) -> dict[str, Any]:
    """The run once it has ended; CheckFailedError if it has not after ``limit_seconds``, and it is then cancelled."""
    deadline = time.monotonic() + limit_seconds
    while (run := read_run(site, run_id))["status"] not in FINAL:
        if time.monotonic() > deadline:
            cancel_run(site, run_id)
            raise CheckFailedError(f"run {run_id} is {run['status']} after {limit_seconds:.0f} s")
        time.sleep(POLL_SECONDS)
    return run


def cancel_run(site: Site, run_id: str) -> None:
    """Ends a run, if it has not ended."""
    if read_run(site, run_id)["status"] not in FINAL:
        site.api("POST", f"/v1/runs/{run_id}/cancel")


@contextmanager
def finished_run(site: Site, body: dict[str, Any], limit_seconds: float = RUN_SECONDS) -> Iterator[dict[str, Any]]:
    """Runs a new workflow to its end: the run, as GET /v1/runs/{id} returns it.

    The workflow is removed after the block, not before: without it, Skyvern 1.0.56 answers 404 for its runs.
    Raises CheckFailedError if the run has not ended after ``limit_seconds``; it is then cancelled.
    """
    with workflow(site, body) as workflow_id:
        yield wait_for_end(site, start_run(site, workflow_id), limit_seconds)


def read_run(site: Site, run_id: str) -> dict[str, Any]:
    """GET /v1/runs/{id}."""
    response = site.api("GET", f"/v1/runs/{run_id}")
    expect_status(response, 200)
    run: dict[str, Any] = response.json()
    return run


def last_artifact(artifacts: list[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    """The last one whose type begins with ``kind``, of a run's artifacts (GET /v1/runs/{id}/artifacts, oldest first)."""
    return next((one for one in reversed(artifacts) if str(one["artifact_type"]).startswith(kind)), None)


def opens(site: Site, link: str) -> bool:
    """Whether a link leads to a file that is not empty. On a busy machine Skyvern names a recording before ffmpeg wrote it."""
    return site.ask("GET", link, headers={"Range": "bytes=0-0"}).status_code == 206


def expect_apart(site: Site, run_id: str) -> None:
    """CheckFailedError unless the person's key neither reads the run nor finds it in the history."""
    path = f"/v1/runs/{run_id}"
    expect_status(site.person_api("GET", path), 404, what=f"GET {path} with the stack's key")
    history = site.person_api("GET", HISTORY)
    expect_status(history, 200, what="GET /v1/runs with the stack's key")
    expect(all(run_id not in run.values() for run in history.json()), f"run {run_id} is in the person's history")


def check_workflow_run(site: Site) -> None:
    """A run against the page inside the stack completes and leaves a screenshot and, if Chrome can be recorded, a recording.

    It is in the smoke runs' organisation, where the person's key does not reach.
    """
    with finished_run(site, definition("Smoke run", site.outputs.smoke_url + "/")) as run:
        run_id = run["run_id"]
        expect_apart(site, run_id)
        reason = str(run.get("failure_reason") or "no reason given")[:200]
        expect(run["status"] == "completed", f"run {run_id} is {run['status']}: {reason}")
        began = time.monotonic()
        while True:
            link = str(read_run(site, run_id).get("recording_url") or "")
            answer = site.api("GET", f"/v1/runs/{run_id}/artifacts")
            expect_status(answer, 200)
            screenshot, recording = (last_artifact(answer.json(), kind) for kind in ("screenshot", "recording"))
            if screenshot and not site.records:
                site.run = CompletedRun(run_id, None, path_of(screenshot), None, str(screenshot["signed_url"]))
                return
            # A WebM is what Playwright wrote; Skyvern puts an MP4 in its place, or leaves it if ffmpeg failed.
            settled = time.monotonic() - began > SETTLED_SECONDS
            final = recording and (settled or not str(recording["uri"]).endswith(".webm"))
            if link and recording and final and screenshot and opens(site, link):
                site.run = CompletedRun(run_id, path_of(recording), path_of(screenshot), link, str(screenshot["signed_url"]))
                return
            missing = "screenshot" if not screenshot and (link or not site.records) else "recording"
            expect(time.monotonic() - began < FILES_SECONDS, f"run {run_id} completed without a {missing}")
            time.sleep(POLL_SECONDS)


def check_navigation_guard(site: Site) -> None:
    """Skyvern itself refuses to open the metadata address: its URL validation is on, before the proxy is asked.

    Without it the run would complete on the proxy's error page.
    """
    with finished_run(site, definition("Smoke run: metadata address", METADATA_URL)) as run:
        expect(run["status"] in {"failed", "terminated"}, f"a run that opens {METADATA_URL} is {run['status']}")
