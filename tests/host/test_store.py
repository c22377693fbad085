"""Files of runs in a bucket: the stories of docs/api.md against a real store that speaks S3's protocol, at a private address."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.standins import store
from lab.workspace import free_port
from ops.observe.smoke.artifact_checks import check_links
from ops.observe.smoke.site import Site
from ops.observe.smoke.workflow_checks import check_workflow_run
from ops.stack import file
from tests.host import programs
from tests.host.conftest import Checkout, as_person, site_of

pytestmark = pytest.mark.timeout(4800)
LAN = "10.99.0.1"
BUCKETS = [f"acme-{part}" for part in ("artifacts", "browser-sessions", "screenshots", "uploads")]


@pytest.fixture(scope="module")
def buckets(first_up: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[store.Store]:
    subprocess.run(["ip", "address", "replace", f"{LAN}/32", "dev", "lo"], check=True)
    try:
        with store.running(tmp_path_factory.mktemp("store"), LAN, free_port(), BUCKETS) as running:
            yield running
    finally:
        subprocess.run(["ip", "address", "delete", f"{LAN}/32", "dev", "lo"], check=True)


@pytest.fixture(scope="module")
def stack(checkout: Checkout, webhooks: programs.Webhooks, buckets: store.Store) -> Iterator[Site]:
    """The dev stack with its files in the buckets; its file is as before afterwards."""
    record = checkout.root / "Pulumi.dev.yaml"
    before = record.read_text()
    section = {"type": "s3", "endpoint": buckets.url, "buckets": "acme", "access_key_id": buckets.access_key_id}

    def change(document: dict[str, Any]) -> bool:
        document["config"]["skyvern:server"]["allow"] = [f"host:{webhooks.port}"]
        document["config"]["skyvern:storage"] = section
        return True

    file.edit(record, change)
    secret = f"--path skyvern:storage.secret_access_key {buckets.secret_access_key}"
    checkout.pulumi(f"config set -s dev --secret {secret}")
    checkout.run("script/up")
    try:
        with site_of(checkout) as site:
            yield site
    finally:
        record.write_text(before)


def test_the_smoke_run_is_green_on_a_bucket(stack: Site, buckets: store.Store) -> None:
    check_workflow_run(stack)
    check_links(stack)
    assert stack.run is not None
    assert (stack.run.recording_path, stack.run.screenshot_path) == (None, None)
    assert any(path.suffix in {".mp4", ".webm"} for path in buckets.objects("acme-artifacts"))
    # Without a checksum at its end, as older stores would keep it in the file.
    assert stack.run.recording_link is not None
    content = stack.ask("GET", stack.run.recording_link).content
    assert content in {path.read_bytes() for path in buckets.objects("acme-artifacts")}


def test_nobody_else_reads_the_bucket(stack: Site, buckets: store.Store) -> None:
    (first, *_) = buckets.objects("acme-artifacts")
    path = first.relative_to(buckets.folder)
    assert stack.http.get(f"{buckets.url}/{path}").status_code == 403


def test_the_sdk_and_its_webhook(stack: Site, webhooks: programs.Webhooks, python: Path) -> None:
    programs.the_sdk_and_its_webhook(as_person(stack), webhooks, python)


def test_an_upload_is_an_input_by_its_link_also_when_that_has_expired(stack: Site, buckets: store.Store) -> None:
    programs.an_upload_is_an_input(as_person(stack))
    assert programs.PEOPLE in {path.read_bytes() for path in buckets.objects("acme-uploads")}


def test_a_download_is_an_attachment_whatever_it_is(stack: Site, webhooks: programs.Webhooks) -> None:
    programs.a_download_is_an_attachment(as_person(stack), webhooks)


def test_a_large_object_comes_in_pieces_and_the_server_keeps_none_of_it(stack: Site) -> None:
    content = bytes(range(256)) * 4096 * 28
    link = programs.upload(as_person(stack), content, "large.bin")["presigned_url"]
    for first in (0, 10_000_000, len(content) - 10):
        part = stack.ask("GET", link, headers={"Range": f"bytes={first}-{first + 9}"})
        assert (part.status_code, part.content) == (206, content[first : first + 10])
