"""Automations on a real stack: deployed after the server is healthy, run by ops, edited in the UI, and gone with their file."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lab.workspace import free_port
from ops.machine.engine_from_modules import ensure
from ops.observe.smoke.site import Site
from ops.stack import file
from skyvern_provider.api import FINAL
from tests.engine.automations import FILE, Story, cut_at_each_request
from tests.host.automated import (
    AUTOMATION,
    NAME,
    PASSWORD,
    SCHEDULE,
    TITLE,
    Relay,
    automated,
    credentials,
    on_server,
    schedules,
    workflows,
)
from tests.host.conftest import Checkout, as_person, remove, site_of, sql
from tests.support import schema_check
from tests.support.schema_samples import samples
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(4800)


@pytest.fixture(scope="module")
def deployed(checkout: Checkout, site: Site) -> Iterator[str]:
    """A stack with one automation; what its ``up`` printed."""
    with automated(checkout) as printed:
        yield printed


def test_it_is_on_the_server_and_a_second_up_plans_nothing(checkout: Checkout, site: Site, deployed: str) -> None:
    assert PASSWORD not in deployed
    [workflow] = workflows(site)
    assert workflow["version"] == 1
    [schedule] = schedules(site)
    assert (schedule["name"], schedule["timezone"]) == (SCHEDULE, "Asia/Seoul")
    checkout.pulumi("preview --expect-no-changes -s dev")
    checkout.pulumi("refresh --preview-only --expect-no-changes -s dev")


def test_it_is_run_and_followed(checkout: Checkout, deployed: str) -> None:
    printed = checkout.run("bin/ops", "run", "wait-a-little", "--param", "day=tuesday", "--watch", "-s", "dev").stdout
    assert "  settle  completed" in printed
    assert printed.splitlines()[-1] == "completed"
    assert "wait-a-little" in checkout.run("bin/ops", "automations", "list", "-s", "dev").stdout
    assert "weekday-mornings" in checkout.run("bin/ops", "automations", "next", "-s", "dev").stdout


def test_an_edit_in_the_ui_is_seen_and_can_be_pulled(checkout: Checkout, site: Site, deployed: str) -> None:
    [workflow] = workflows(site)
    document = YAML(typ="safe").load(AUTOMATION)["workflow"]
    document["title"] = "by hand"
    document["workflow_definition"]["parameters"].pop()
    path = f"/v1/workflows/{workflow['workflow_permanent_id']}"
    assert as_person(site).api("POST", path, body={"json_definition": document}).json()["version"] == 2
    assert "edited in the UI: version 2, recorded 1" in checkout.run("bin/ops", "automations", "list", "-s", "dev").stdout
    assert "ui_version" in checkout.pulumi("refresh --preview-only --diff -s dev").stdout
    checkout.run("bin/ops", "automations", "pull", "wait-a-little", "--as", "by-hand", "-s", "dev")
    pulled = checkout.root / "automations" / "by-hand.yaml"
    assert "title: by hand" in pulled.read_text()
    pulled.unlink()


@pytest.mark.nightly
def test_the_servers_own_models_keep_every_field_of_the_schema(checkout: Checkout, deployed: str) -> None:
    documents = list(samples())
    assert len(documents) > 500
    command = ("exec", "--interactive", "skyvern-dev-server", "python3", "-c", Path(schema_check.__file__).read_text())
    printed = checkout.docker.run(*command, stdin=json.dumps(documents).encode(), timeout_seconds=900)
    assert json.loads(printed.splitlines()[-1]) == []


@pytest.mark.nightly
def test_a_file_is_renamed_removed_and_written_again(checkout: Checkout, site: Site, deployed: str) -> None:
    """Another name is another workflow; the same name is the same one again, with its id and a higher version."""

    def deploy(*names: str, **settings: str) -> dict[str, dict[str, Any]]:
        """The workflows of the files afterwards, by id."""

        def changed(document: dict[str, Any]) -> bool:
            document["config"]["skyvern:automations"] |= {"files": list(names), **settings}
            return True

        file.edit(checkout.root / "Pulumi.dev.yaml", changed)
        checkout.pulumi("up --yes --skip-preview -s dev")
        checkout.pulumi("preview --expect-no-changes -s dev")
        return {workflow["workflow_permanent_id"]: workflow for workflow in workflows(site)}

    def scheduled() -> list[str]:
        return [schedule["workflow_permanent_id"] for schedule in schedules(site)]

    folder = checkout.root / "automations"
    (folder / "wait-longer.yaml").write_text(AUTOMATION)
    try:
        [(first, workflow)] = deploy("wait-a-little", on_ui_edit="overwrite").items()
        [credential] = credentials(site)
        [second] = deploy("wait-longer")
        assert second != first
        assert scheduled() == [second]
        assert credentials(site) == [credential]
        [(again, revived)] = deploy("wait-a-little").items()
        assert (again, revived["version"] > workflow["version"], scheduled()) == (first, True, [first])
        edited = {**YAML(typ="safe").load(AUTOMATION)["workflow"], "title": "by hand"}
        edited["workflow_definition"]["parameters"].pop()
        body = {"json_definition": edited}
        deploy("wait-a-little", on_ui_edit="keep")
        assert as_person(site).api("POST", f"/v1/workflows/{first}", body=body).status_code == 200
        (folder / "wait-a-little.yaml").write_text(AUTOMATION.replace("wait_sec: 1", "wait_sec: 2"))
        refused = checkout.pulumi("up --yes --skip-preview -s dev", check=False)
        assert refused.returncode
        assert "edited in the UI" in refused.stdout + refused.stderr
        assert [workflow["title"] for workflow in workflows(site)] == ["by hand"]
        (folder / "wait-a-little.yaml").write_text(AUTOMATION)
        for on_ui_edit, title in (("overwrite", "Wait a little"), ("adopt", "by hand")):
            deploy("wait-a-little", on_ui_edit=on_ui_edit)
            assert as_person(site).api("POST", f"/v1/workflows/{first}", body=body).status_code == 200
            checkout.pulumi("refresh --yes --skip-preview -s dev")
            assert deploy("wait-a-little")[first]["title"] == title
    finally:
        deploy("wait-a-little", on_ui_edit="overwrite")
        (folder / "wait-longer.yaml").unlink()


@pytest.mark.nightly
def test_of_the_ticks_that_a_stopped_server_missed_the_last_one_runs_once(checkout: Checkout, site: Site, deployed: str) -> None:
    """As docs/automations.md says. The server counts from the last write of a schedule, which is put five hours back."""
    [workflow] = workflows(site)
    path = f"/v1/workflows/{workflow['workflow_permanent_id']}/schedules"
    minute = (datetime.now(UTC) - timedelta(minutes=10)).minute
    body = {"cron_expression": f"{minute} * * * *", "timezone": "UTC", "name": "hourly", "enabled": True, "parameters": {}}
    made = as_person(site).api("POST", path, body=body).json()["schedule"]["workflow_schedule_id"]
    here = f"WHERE workflow_schedule_id = '{made}'"

    def runs() -> list[str]:
        return sql(checkout, f"SELECT status FROM workflow_runs {here}").split()  # noqa: S608  # an id of the server's

    try:
        checkout.docker.run("stop", "--time", "5", "skyvern-dev-server")
        earlier = ", ".join(f"{column} = {column} - interval '5 hours'" for column in ("created_at", "modified_at"))
        sql(checkout, f"UPDATE workflow_schedules SET {earlier} {here}")  # noqa: S608  # the same id
        checkout.docker.run("start", "skyvern-dev-server")
        wait_for(lambda: [status in FINAL for status in runs()] == [True], lambda: str(runs()), seconds=400, pause=2)
        # Longer than until the server has looked again.
        time.sleep(70)
        assert runs() == ["completed"]
    finally:
        checkout.run("script/up")
        as_person(site).api("DELETE", f"{path}/{made}")


@pytest.mark.nightly
def test_a_new_api_key_writes_no_automation(checkout: Checkout, site: Site, deployed: str) -> None:
    before = on_server(site)
    checkout.run("bin/ops", "rotate", "api-key", "--yes")
    with site_of(checkout) as target:
        assert on_server(target) == before
    checkout.pulumi("preview --expect-no-changes -s dev")


@pytest.mark.nightly
def test_a_server_that_is_gone_is_made_again_without_asking_it_for_automations(checkout: Checkout, deployed: str) -> None:
    with site_of(checkout) as target:
        before = on_server(target)
        checkout.docker.run("rm", "--force", "skyvern-dev-server")
        assert "container skyvern-dev-server is gone: the up makes it again" in checkout.run("script/up", "--yes").stdout
        assert on_server(target) == before


@pytest.mark.nightly
def test_an_update_that_loses_its_provider_at_any_request_is_finished_by_the_next(
    checkout: Checkout, deployed: str, tmp_path: Path
) -> None:
    """As tests/engine does with the double, on the server itself."""
    with site_of(checkout) as site:
        relay, person = Relay(site), as_person(site)

        def listed(path: str, key: str, prefix: str) -> list[dict[str, Any]]:
            answer = person.api("GET", f"/v1/{path}?page_size=100").json()
            some = answer if isinstance(answer, list) else answer[path]
            return [one for one in some if one[key].startswith(prefix)]

        with relay.serving() as url:
            story = Story(ensure(progress=print), tmp_path, relay, url)
            story.up()

            def change(number: int) -> None:
                story.write(FILE.replace("title: Daily", f"title: Daily {number}").replace("0 9", f"{number % 60} 9"))
                story.give(password=f"{PASSWORD}-{number}")

            for number in cut_at_each_request(story, change):
                [workflow] = listed("workflows", "title", "Daily")
                assert (workflow["title"], workflow["version"]) == (f"Daily {number}", number + 1)
                [schedule] = listed("schedules", "name", "pulumi/morning")
                assert schedule["cron_expression"] == f"{number % 60} 9 * * 1-5"
                assert len(listed("credentials", "name", "pulumi/naver-account")) == 1
                story.project.succeed("preview", "--expect-no-changes")
            print(f"an update loses its provider at each of {number} requests")
            story.give(files=())
            story.up()
            assert listed("workflows", "title", "Daily") == []
            assert listed("schedules", "name", "pulumi/morning") == []


@pytest.mark.nightly
def test_two_stacks_beside_each_other_do_not_meet(checkout: Checkout, deployed: str) -> None:
    """Each with its server and the same file; one goes without the other."""
    credential = {"type": "password", "tested_url": "https://shop.example.com", "username": "someone"}
    automations = {"files": [NAME], "credentials": {"shop": credential}}
    checkout.write_stack("beside", port=free_port(), automations=automations)
    checkout.pulumi("stack init beside --no-select")
    checkout.pulumi(f"config set --secret --path skyvern:automations.credentials.shop.password {PASSWORD} -s beside")
    with site_of(checkout) as target:
        before = on_server(target)
        checkout.pulumi("up --yes --skip-preview -s beside")
        with site_of(checkout, "beside") as other:
            assert [title["title"] for title in workflows(other)] == [TITLE]
            assert len(schedules(other)) == 1
        remove(checkout, "beside")
        assert on_server(target) == before
    checkout.pulumi("preview --expect-no-changes -s dev")


def test_without_its_file_nothing_is_left(checkout: Checkout, deployed: str) -> None:
    """The last one. The stack may have another key by now."""

    def changed(document: dict[str, Any]) -> bool:
        del document["config"]["skyvern:automations"]
        return True

    file.edit(checkout.root / "Pulumi.dev.yaml", changed)
    checkout.pulumi("up --yes --skip-preview -s dev")
    with site_of(checkout) as target:
        assert (workflows(target), credentials(target)) == ([], [])
        person = as_person(target)
        assert schedules(target) == []
        assert [folder for folder in person.api("GET", "/v1/folders").json() if folder["title"] == "Reports"] == []
