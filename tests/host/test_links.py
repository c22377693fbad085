"""Programs as users: the examples of docs/api.md on the real stack, and every link that an answer or a webhook has."""

import base64
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.observe.smoke.artifact_checks import check_links, signed
from ops.observe.smoke.site import Site
from ops.observe.smoke.workflow_checks import check_workflow_run
from ops.stack import file
from tests.host import programs
from tests.host.conftest import Checkout, as_person, site_of

pytestmark = pytest.mark.timeout(4800)


@pytest.fixture(scope="module")
def stack(checkout: Checkout, webhooks: programs.Webhooks) -> Iterator[Site]:
    """The dev stack, which reaches the receiver as if it were on the internet; the stack file is as before afterwards."""
    record = checkout.root / "Pulumi.dev.yaml"
    before = record.read_text()

    def allow(document: dict[str, Any]) -> bool:
        document["config"]["skyvern:server"]["allow"] = [f"host:{webhooks.port}"]
        return True

    file.edit(record, allow)
    checkout.pulumi("up --yes --skip-preview -s dev")
    try:
        with site_of(checkout) as site:
            yield site
    finally:
        record.write_text(before)


def test_the_sdk_and_its_webhook(stack: Site, webhooks: programs.Webhooks, python: Path) -> None:
    programs.the_sdk_and_its_webhook(as_person(stack), webhooks, python)


def test_curl(stack: Site, webhooks: programs.Webhooks, tmp_path: Path) -> None:
    programs.curl(as_person(stack), webhooks, tmp_path)


def test_an_upload_is_an_input_by_its_link_also_when_that_has_expired(stack: Site) -> None:
    programs.an_upload_is_an_input(as_person(stack))


def test_a_download_is_an_attachment_whatever_it_is(stack: Site, webhooks: programs.Webhooks) -> None:
    programs.a_download_is_an_attachment(as_person(stack), webhooks)


def test_no_link_and_no_file_under_another_name_leads_out(stack: Site) -> None:
    """Links of our own key to what is not a file of a run: the server itself refuses what the gateway lets pass."""
    key = stack.execute("gateway", "printenv", "ARTIFACT_LINK_KEY").decode().strip()
    until = int(time.time()) + 600

    def link_to(uri: str) -> str:
        encoded = base64.urlsafe_b64encode(uri.encode()).decode().rstrip("=")
        return signed(key, f"{stack.outputs.api_url}/v1/artifacts/uri-{encoded}/content?kid=1", until)

    folder = f"/data/artifacts/links-{secrets.token_hex(8)}"
    plant = (
        f"mkdir -p {folder}/sub && cd {folder} && echo text > a.txt && ln -s /etc/passwd passwd && ln -s /etc out && mkfifo pipe"
    )
    stack.execute("server", "sh", "-c", plant)
    try:
        assert stack.ask("GET", link_to(f"file://{folder}/a.txt")).content == b"text\n"
        for uri in (
            f"file://{folder}/passwd",
            f"file://{folder}/out/passwd",
            f"file://{folder}/pipe",
            f"file://{folder}/sub",
            f"file://{folder}/none",
            f"file://{folder}/../../../etc/passwd",
            f"file://{folder}//a.txt",
            f"file://{folder}/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
            "file:///etc/passwd",
            "file:///proc/self/environ",
            "file:///data/credential_vault/.fernet_key",
            "file:///data/har/none.har",
            "file:///data/artifacts",
            "s3://skyvern-artifacts/x",
            "http://127.0.0.1:8000/api/v1/heartbeat",
            "",
        ):
            assert stack.ask("GET", link_to(uri)).status_code == 404, uri
    finally:
        stack.execute("server", "rm", "-rf", folder)


def test_a_stranger_is_refused_by_the_gateway(stack: Site) -> None:
    """A hash and no request to Skyvern, so a flood of guesses is cheap. Via is added to what something behind it answers."""
    link = programs.upload(as_person(stack))["presigned_url"]
    assert "via" in stack.ask("GET", link).headers
    path, query = link.removeprefix(stack.outputs.api_url).split("?")
    expiry, kid, signature = (part.partition("=")[2] for part in query.split("&"))
    for guess in (
        f"{path}?expiry={expiry}&kid={kid}&sig={signature[:-1]}",
        f"{path}?expiry={expiry}&kid={kid}&sig=",
        f"{path}?expiry=9{expiry}&kid={kid}&sig={signature}",
        f"{path}?expiry={expiry}&kid=2&sig={signature}",
        f"{path}?expiry={expiry}&expiry=1&kid={kid}&sig={signature}",
        f"{path}?expiry={expiry}&kid={kid}&sig={signature}&sig={signature}",
        f"{path.replace('/content', '0/content')}?{query}",
        f"/v1/artifacts/a_1/signed-url?{query}",
        f"/v1/artifacts/a_1/content?{query}",
        f"/api{path}?{query}",
        path,
    ):
        answer = stack.ask("GET", stack.outputs.api_url, target=guess)
        assert (answer.status_code, "via" in answer.headers) == (403, False), guess
    for method in ("HEAD", "POST", "DELETE"):
        answer = stack.ask(method, stack.outputs.api_url, target=f"{path}?{query}")
        assert (answer.status_code, "via" in answer.headers) == (403, False), method
    answer = stack.ask("GET", stack.outputs.api_url, target=f"{path}?{query}", body={"a": 1})
    assert (answer.status_code, "via" in answer.headers) == (400, False)


def test_the_smoke_run_follows_links(stack: Site) -> None:
    check_workflow_run(stack)
    check_links(stack)
