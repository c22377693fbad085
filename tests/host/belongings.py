"""What a person has in a stack, each thing used once: a workflow with its schedule, a credential that types itself into a page,
a browser profile that is logged in, and an upload.
"""

from dataclasses import dataclass
from typing import Any

from ops.observe.smoke.site import Site
from ops.observe.smoke.workflow_checks import opens, read_run, start_run, wait_for_end, workflow_body
from ops.stack.outputs import Outputs
from tests.host.conftest import CREDENTIAL, MORNING, make_credential, make_workflow
from tests.host.programs import READ, follow, read_file, upload
from tests.support.shop import Shop
from tests.support.waiting import wait_for

TITLE = "매일 보고서"
PERSON = {key: CREDENTIAL["credential"][key] for key in ("username", "password")}
LOG_IN = """
await page.fill('[name=username]', shop.username)
await page.fill('[name=password]', shop.password)
await page.fill('[name=code]', await otp(shop))
await page.click('button')
await page.wait_for_selector('#welcome')
return {}
"""
LOOK = "await page.wait_for_selector('#welcome')\nreturn {}"
# In the server's container, which has the library of authenticators.
VERIFY = """
import datetime, pyotp, sys
secret, code, at = sys.argv[1:]
sys.exit(not pyotp.TOTP(secret).verify(code, for_time=datetime.datetime.fromtimestamp(float(at)), valid_window=1))
"""


@dataclass(frozen=True)
class Belongings:
    """log_in, look: workflows, of which the second needs the profile. run: of the first. outputs: of the stack, with its keys."""

    log_in: str
    look: str
    profile: str
    run: str
    upload: dict[str, str]
    outputs: Outputs


def make(site: Site, shop: Shop) -> Belongings:
    """In a stack with ``server.code_blocks`` whose browsers may reach the shop."""
    scheduled = make_workflow(site, TITLE)
    assert site.api("POST", f"/v1/workflows/{scheduled}/schedules", body=MORNING).status_code == 200
    credential = {"parameter_type": "credential", "key": "shop", "credential_id": make_credential(site, tested_url=shop.origin)}
    log_in = _workflow(site, shop, "Log in", LOG_IN, credential)
    run = _logs_in(site, shop, log_in)
    key = {"x-api-key": site.outputs.api_key.get_secret_value()}
    # It waits until the browser has closed.
    body, url = {"name": "shop", "workflow_run_id": run}, f"{site.outputs.api_url}/v1/browser_profiles"
    saved = site.http.post(url, headers=key, json=body, timeout=180)
    assert saved.status_code == 200, saved.text
    look, profile = _workflow(site, shop, "Look", LOOK), saved.json()["browser_profile_id"]
    _is_remembered(site, shop, look, profile)
    wait_for(lambda: opens(site, _recording(site, run)), seconds=120, pause=2)
    return Belongings(log_in, look, profile, run, upload(site), site.outputs)


def all_work(site: Site, shop: Shop, had: Belongings) -> None:
    """AssertionError where one of them does not; ``site`` may be on another machine by now."""
    for secret in ("api_key", "smoke_api_key", "ui_username", "ui_password"):
        assert getattr(site.outputs, secret) == getattr(had.outputs, secret), secret
    assert site.ask("GET", site.outputs.app_url, login=True).status_code == 200
    follow(site, _recording(site, had.run))
    # Else the workflow would begin with what its last browser knew.
    _logs_in(site, shop, had.log_in, start_fresh_browser=True)
    _is_remembered(site, shop, had.look, had.profile)
    # Its link is new, because the port of a stack on loopback belongs to its machine.
    run = read_file(site, had.upload["file_id"])
    assert (run["status"], run["output"]["read_output"]) == ("completed", READ), run


def _workflow(site: Site, shop: Shop, title: str, code: str, *parameters: dict[str, str]) -> str:
    blocks: list[dict[str, Any]] = [
        {"block_type": "goto_url", "label": "open", "url": shop.origin},
        {"block_type": "code", "label": "use", "code": code, "parameter_keys": [one["key"] for one in parameters]},
    ]
    body = workflow_body(title, blocks)
    body["json_definition"]["workflow_definition"]["parameters"] = list(parameters)
    body["json_definition"]["persist_browser_session"] = True
    made = site.api("POST", "/v1/workflows", body=body)
    assert made.status_code == 200, made.text
    return str(made.json()["workflow_permanent_id"])


def _logs_in(site: Site, shop: Shop, workflow: str, **options: bool) -> str:
    """A run, in which the shop got the credential's name, password and code of the moment; its id."""
    before = len(shop.typed)
    run = wait_for_end(site, start_run(site, workflow, **options), 300)
    assert run["status"] == "completed", run
    [(typed, at)] = shop.typed[before:]
    assert {key: typed[key] for key in PERSON} == PERSON
    site.execute("server", "python", "-c", VERIFY, CREDENTIAL["credential"]["totp"], typed["code"], str(at))
    return str(run["run_id"])


def _is_remembered(site: Site, shop: Shop, workflow: str, profile: str) -> None:
    """A run in the profile, of which the shop asks nothing."""
    asked, welcomed = len(shop.typed), shop.welcomed
    run = wait_for_end(site, start_run(site, workflow, browser_profile_id=profile), 300)
    assert run["status"] == "completed", run
    assert (len(shop.typed), shop.welcomed > welcomed) == (asked, True)


def _recording(site: Site, run: str) -> str:
    """Its link, which is new each time."""
    return str(read_run(site, run)["recording_url"])
