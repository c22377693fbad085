"""Automations on a real stack: deployed after the server is healthy, run by ops, edited in the UI, and gone with their file."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ops.observe.smoke.site import Site
from ops.stack import file
from skyvern_provider.api import FINAL
from tests.host.conftest import Checkout, as_person, site_of, sql
from tests.support import schema_check
from tests.support.schema_samples import samples
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(4800)

FILE = """\
folder: Reports
workflow:
  title: Wait a little
  workflow_definition:
    parameters:
      - {key: day, parameter_type: workflow, workflow_parameter_type: string, default_value: today}
      - {key: shop, parameter_type: credential}
    blocks:
      - {block_type: wait, label: settle, wait_sec: 1}
credentials: {shop: shop}
schedules:
  weekday-mornings: {cron: "0 9 * * 1-5", timezone: Asia/Seoul, parameters: {day: monday}}
"""


@pytest.fixture(scope="module")
def deployed(checkout: Checkout, site: Site) -> Iterator[str]:
    """A stack with one automation; what its ``up`` printed. Afterwards the stack is as it was."""
    stack_file = checkout.root / "Pulumi.dev.yaml"
    before = stack_file.read_text()
    (checkout.root / "automations").mkdir(exist_ok=True)
    (checkout.root / "automations" / "wait-a-little.yaml").write_text(FILE)
    yaml = YAML()
    document = yaml.load(before)
    credential = {"type": "password", "tested_url": "https://shop.example.com", "username": "someone"}
    document["config"]["skyvern:automations"] = {"files": ["wait-a-little"], "credentials": {"shop": credential}}
    yaml.dump(document, stack_file)
    path = "skyvern:automations.credentials.shop.password"
    checkout.pulumi(f"config set --secret --path {path} a-password-of-a-shop -s dev")
    try:
        yield checkout.pulumi("up --yes --skip-preview -s dev").stdout
    finally:
        stack_file.write_text(before)
        checkout.pulumi("up --yes --skip-preview -s dev")
        (checkout.root / "automations" / "wait-a-little.yaml").unlink()


def workflows(site: Site) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = as_person(site).api("GET", "/v1/workflows").json()
    return [workflow for workflow in listed if workflow["title"] in {"Wait a little", "by hand"}]


def test_it_is_on_the_server_and_a_second_up_plans_nothing(checkout: Checkout, site: Site, deployed: str) -> None:
    assert "a-password-of-a-shop" not in deployed
    [workflow] = workflows(site)
    assert workflow["version"] == 1
    [schedule] = as_person(site).api("GET", "/v1/schedules").json()["schedules"]
    assert (schedule["name"], schedule["timezone"]) == ("pulumi/weekday-mornings", "Asia/Seoul")
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
    document = YAML(typ="safe").load(FILE)["workflow"]
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

    def schedules() -> list[str]:
        return [one["workflow_permanent_id"] for one in as_person(site).api("GET", "/v1/schedules").json()["schedules"]]

    folder = checkout.root / "automations"
    (folder / "wait-longer.yaml").write_text(FILE)
    try:
        [(first, workflow)] = deploy("wait-a-little", on_ui_edit="overwrite").items()
        [credential] = _credentials(site)
        [second] = deploy("wait-longer")
        assert second != first
        assert schedules() == [second]
        assert _credentials(site) == [credential]
        [(again, revived)] = deploy("wait-a-little").items()
        assert (again, revived["version"] > workflow["version"], schedules()) == (first, True, [first])
        edited = {**YAML(typ="safe").load(FILE)["workflow"], "title": "by hand"}
        edited["workflow_definition"]["parameters"].pop()
        body = {"json_definition": edited}
        deploy("wait-a-little", on_ui_edit="keep")
        assert as_person(site).api("POST", f"/v1/workflows/{first}", body=body).status_code == 200
        (folder / "wait-a-little.yaml").write_text(FILE.replace("wait_sec: 1", "wait_sec: 2"))
        refused = checkout.pulumi("up --yes --skip-preview -s dev", check=False)
        assert refused.returncode
        assert "edited in the UI" in refused.stdout + refused.stderr
        assert [workflow["title"] for workflow in workflows(site)] == ["by hand"]
        (folder / "wait-a-little.yaml").write_text(FILE)
        for on_ui_edit, title in (("overwrite", "Wait a little"), ("adopt", "by hand")):
            deploy("wait-a-little", on_ui_edit=on_ui_edit)
            assert as_person(site).api("POST", f"/v1/workflows/{first}", body=body).status_code == 200
            checkout.pulumi("refresh --yes --skip-preview -s dev")
            assert deploy("wait-a-little")[first]["title"] == title
    finally:
        deploy("wait-a-little", on_ui_edit="overwrite")
        (folder / "wait-longer.yaml").unlink()


def _credentials(site: Site) -> list[str]:
    listed = as_person(site).api("GET", "/v1/credentials?page_size=100").json()
    return [credential["credential_id"] for credential in listed if credential["name"] == "pulumi/shop"]


@pytest.mark.nightly
def test_of_the_ticks_that_a_stopped_server_missed_the_last_one_runs_once(checkout: Checkout, site: Site, deployed: str) -> None:
    """As docs/automations.md says. The server counts from the last write of a schedule, which is put five hours back."""
    [workflow] = workflows(site)
    schedules = f"/v1/workflows/{workflow['workflow_permanent_id']}/schedules"
    minute = (datetime.now(UTC) - timedelta(minutes=10)).minute
    body = {"cron_expression": f"{minute} * * * *", "timezone": "UTC", "name": "hourly", "enabled": True, "parameters": {}}
    made = as_person(site).api("POST", schedules, body=body).json()["schedule"]["workflow_schedule_id"]
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
        as_person(site).api("DELETE", f"{schedules}/{made}")


@pytest.mark.nightly
def test_a_new_api_key_writes_no_automation(checkout: Checkout, site: Site, deployed: str) -> None:
    def there(target: Site) -> tuple[list[Any], list[Any], list[str]]:
        listed = as_person(target).api("GET", "/v1/schedules").json()["schedules"]
        kept = [(workflow["workflow_permanent_id"], workflow["version"]) for workflow in workflows(target)]
        return kept, [(schedule["workflow_schedule_id"], schedule["modified_at"]) for schedule in listed], _credentials(target)

    before = there(site)
    checkout.run("bin/ops", "rotate", "api-key", "--yes")
    with site_of(checkout) as target:
        assert there(target) == before
    checkout.pulumi("preview --expect-no-changes -s dev")


def test_without_its_file_nothing_is_left(checkout: Checkout, deployed: str) -> None:
    """The last one. The stack may have another key by now."""

    def changed(document: dict[str, Any]) -> bool:
        del document["config"]["skyvern:automations"]
        return True

    file.edit(checkout.root / "Pulumi.dev.yaml", changed)
    checkout.pulumi("up --yes --skip-preview -s dev")
    with site_of(checkout) as target:
        assert (workflows(target), _credentials(target)) == ([], [])
        person = as_person(target)
        assert person.api("GET", "/v1/schedules").json()["schedules"] == []
        assert [folder for folder in person.api("GET", "/v1/folders").json() if folder["title"] == "Reports"] == []
