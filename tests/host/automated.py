"""The dev stack with one automation, and what of it is on the server."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ruamel.yaml import YAML

from ops.observe.smoke.site import Site
from tests.host.conftest import Checkout, as_person
from tests.support.skyvern_api import Json, Refused, Skyvern

NAME = "wait-a-little"
TITLE = "Wait a little"
AUTOMATION = f"""\
folder: Reports
workflow:
  title: {TITLE}
  workflow_definition:
    parameters:
      - {{key: day, parameter_type: workflow, workflow_parameter_type: string, default_value: today}}
      - {{key: shop, parameter_type: credential}}
    blocks:
      - {{block_type: wait, label: settle, wait_sec: 1}}
credentials: {{shop: shop}}
schedules:
  weekday-mornings: {{cron: "0 9 * * 1-5", timezone: Asia/Seoul, parameters: {{day: monday}}}}
"""
SCHEDULE = "pulumi/weekday-mornings"
PASSWORD = "a-password-of-a-shop"


@contextmanager
def automated(checkout: Checkout) -> Iterator[str]:
    """What the ``up`` printed that brought it. Afterwards the stack is as it was."""
    stack_file, file = checkout.root / "Pulumi.dev.yaml", checkout.root / "automations" / f"{NAME}.yaml"
    before = stack_file.read_text()
    file.parent.mkdir(exist_ok=True)
    file.write_text(AUTOMATION)
    yaml = YAML()
    document = yaml.load(before)
    credential = {"type": "password", "tested_url": "https://shop.example.com", "username": "someone"}
    document["config"]["skyvern:automations"] = {"files": [NAME], "credentials": {"shop": credential}}
    yaml.dump(document, stack_file)
    checkout.pulumi(f"config set --secret --path skyvern:automations.credentials.shop.password {PASSWORD} -s dev")
    try:
        yield checkout.pulumi("up --yes --skip-preview -s dev").stdout
    finally:
        stack_file.write_text(before)
        checkout.pulumi("up --yes --skip-preview -s dev")
        file.unlink()


def workflows(site: Site) -> list[dict[str, Any]]:
    """Those of the file, and those that a test called "by hand"."""
    listed: list[dict[str, Any]] = as_person(site).api("GET", "/v1/workflows?page_size=100").json()
    return [workflow for workflow in listed if workflow["title"] in {TITLE, "by hand"}]


def schedules(site: Site) -> list[dict[str, Any]]:
    """All that the server has but those that a person made."""
    listed: list[dict[str, Any]] = as_person(site).api("GET", "/v1/schedules?page_size=100").json()["schedules"]
    return [schedule for schedule in listed if schedule["name"].startswith("pulumi/")]


def credentials(site: Site) -> list[str]:
    """Ids."""
    listed = as_person(site).api("GET", "/v1/credentials?page_size=100").json()
    return [credential["credential_id"] for credential in listed if credential["name"] == "pulumi/shop"]


def on_server(site: Site) -> tuple[list[tuple[str, int]], list[tuple[str, str]], list[str]]:
    """Ids and versions of the workflows, ids and last writes of the schedules, ids of the credentials."""
    return (
        [(workflow["workflow_permanent_id"], workflow["version"]) for workflow in workflows(site)],
        [(schedule["workflow_schedule_id"], schedule["modified_at"]) for schedule in schedules(site)],
        credentials(site),
    )


class Relay(Skyvern):
    """Between a provider and the server of a stack: the double's requests are carried out there."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.person = as_person(site)
        self.key = site.outputs.api_key.get_secret_value()

    def _route(self, method: str, parts: list[str], query: Json, headers: Json, body: Any) -> Any:
        sent = {name: value for name, value in headers.items() if name in {"x-api-key", "idempotency-key"}}
        url = f"{self.person.outputs.api_url}/{'/'.join(parts)}"
        answer = self.person.http.request(method, url, params=query, headers=sent, json=body, timeout=60)
        if answer.status_code >= 400:
            raise Refused(answer.status_code, answer.text)
        return answer.json() if answer.content else None
