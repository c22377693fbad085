"""The history of runs is the person's: smoke runs are in an organisation of their own, those of older versions too."""

import time
from typing import Any

import pytest

from ops.observe.smoke.site import Site
from ops.observe.smoke.ui_checks import session_token
from ops.observe.smoke.workflow_checks import workflow_body
from skyvern_provider.api import FINAL
from tests.host.conftest import Checkout
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(4800)
SERVER = "skyvern-dev-server"
# What the UI lists, and the list of older clients.
LISTS = ("/v1/runs?page_size=100", "/api/v1/runs?page_size=100")


@pytest.fixture(scope="module")
def key(site: Site) -> str:
    """The person's key."""
    return site.outputs.api_key.get_secret_value()


@pytest.fixture(scope="module")
def smoke_key(site: Site) -> str:
    assert site.outputs.smoke_api_key is not None
    return site.outputs.smoke_api_key.get_secret_value()


def ask(site: Site, key: str, method: str, path: str, body: Any = None) -> Any:
    response = site.ask(method, site.outputs.api_url + path, key=key, body=body)
    assert response.status_code == 200, response.text
    return response.json()


def history(site: Site, key: str) -> set[str]:
    """The ids of all runs that both lists have."""
    first, second = (ask(site, key, "GET", path) for path in LISTS)
    assert {run["run_id"] for run in first} == {run["workflow_run_id"] for run in second}
    return {run["run_id"] for run in first}


def start(site: Site, key: str, title: str, *blocks: dict[str, Any]) -> tuple[str, str]:
    """A new workflow and a run of it."""
    workflow = ask(site, key, "POST", "/v1/workflows", workflow_body(title, blocks))["workflow_permanent_id"]
    return workflow, ask(site, key, "POST", "/v1/run/workflows", {"workflow_id": workflow})["run_id"]


def ended(site: Site, key: str, run_id: str) -> bool:
    return ask(site, key, "GET", f"/v1/runs/{run_id}")["status"] in FINAL


def wait(seconds: int) -> dict[str, Any]:
    return {"block_type": "wait", "label": "stay", "wait_sec": seconds}


def restart(site: Site, *, kill: bool) -> str:
    """What the server printed about its keys at its next start."""
    since = site.now()
    site.docker.run("kill" if kill else "stop", SERVER)
    site.docker.run("start", SERVER)
    wait_for(lambda: site.docker.inspect(SERVER)["State"]["Health"]["Status"] == "healthy", seconds=300, pause=2)
    (line,) = [line for line in site.log("server", since) if line.startswith("skyvern-start: adopt API key: ")]
    return line


def test_an_up_with_its_smoke_run_leaves_no_run_in_the_history(
    checkout: Checkout, site: Site, key: str, smoke_key: str, first_up: str
) -> None:
    # Without a green smoke run, the first up would have failed.
    theirs, before = history(site, key), history(site, smoke_key)
    assert len(before) >= 5
    checkout.run("bin/ops", "smoke", "-s", "dev")
    # Five workflows, each with its run.
    assert len(history(site, smoke_key) - before) == 5
    assert history(site, key) == theirs == history(site, session_token(site))
    titles = {run["title"] for run in ask(site, key, "GET", LISTS[0])}
    assert not {title for title in titles if title and title.startswith("Smoke run")}
    assert ask(site, key, "GET", "/v1/workflows?search_key=Smoke") == []


def test_neither_organisation_reads_the_other(site: Site, key: str, smoke_key: str) -> None:
    runs = {own: start(site, own, "apart", wait(1)) for own in (key, smoke_key)}
    for own, other in ((key, smoke_key), (smoke_key, key)):
        workflow, run = runs[other]
        wait_for(lambda: ended(site, other, run), seconds=60, pause=1)  # noqa: B023
        asked = {
            f"/v1/runs/{run}": 404,
            f"/api/v1/workflows/{workflow}/runs/{run}": 404,
            f"/v1/workflows/{workflow}": 404,
        }
        answers = {path: site.ask("GET", site.outputs.api_url + path, key=own).status_code for path in asked}
        assert answers == asked
        assert ask(site, own, "GET", f"/v1/runs/{run}/artifacts") == []
        assert run not in history(site, own)
        assert run in history(site, other)
        run_it = {"workflow_id": workflow}
        assert site.ask("POST", f"{site.outputs.api_url}/v1/run/workflows", key=own, body=run_it).status_code == 404


def test_smoke_runs_of_older_versions_leave_the_history(site: Site, key: str, smoke_key: str) -> None:
    opens = {"block_type": "goto_url", "label": "open", "url": f"{site.outputs.smoke_url}/"}
    deleted, old = start(site, key, "Smoke run", opens)
    _, interrupted = start(site, key, "Smoke run: hostile page", wait(900), opens)
    _, own = start(site, key, "Smoke run", wait(1))
    for run in (old, own):
        wait_for(lambda: ended(site, key, run), seconds=120, pause=1)  # noqa: B023
    ask(site, key, "POST", f"/v1/workflows/{deleted}/delete")
    before = history(site, key)
    assert {old, interrupted, own} <= before
    # Skyvern sets the final status before it has written everything.
    time.sleep(5)
    assert "2 workflows of earlier smoke runs moved" in restart(site, kill=True)
    assert history(site, key) == before - {old, interrupted}
    assert {old, interrupted} <= history(site, smoke_key)
    end = ask(site, smoke_key, "GET", f"/v1/runs/{interrupted}")
    assert (end["status"], "interrupted" in end["failure_reason"]) == ("canceled", True)
    assert "moved" not in restart(site, kill=False)
