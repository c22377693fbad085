"""A person approves a run by mail: a human_interaction block on the real server, through a mail server at a private address.

The mail server and the name server that knows the recipient's domain are in the network namespace of the tests' daemon.
"""

import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.own_network import RESOLVER
from lab.standins.edge.certificates import Authority
from ops.observe.smoke.site import Site
from ops.observe.smoke.workflow_checks import read_run, start_run, workflow, workflow_body
from skyvern_provider.api import FINAL
from tests.host.conftest import Checkout, site_of
from tests.support import mail
from tests.support.mail import MailServer
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(4800)
STACK = "dev"
PORT = 28587
# Reserved for examples, so no mail could go anywhere.
DOMAIN = "example.net"
PASSWORD = "mail-password-of-the-test-0815"


@contextmanager
def name_server() -> Iterator[None]:
    """The daemon's own resolver, which knows one domain and its mail server, and no other name."""
    subprocess.run(["ip", "address", "add", f"{RESOLVER}/32", "dev", "lo"], check=True)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind((RESOLVER, 53))
            server.settimeout(0.2)
            ended = threading.Event()
            thread = threading.Thread(target=answer_all, args=(server, ended), daemon=True)
            thread.start()
            try:
                yield
            finally:
                # A thread that still waits for a query would keep the port.
                ended.set()
                thread.join()
    finally:
        subprocess.run(["ip", "address", "delete", f"{RESOLVER}/32", "dev", "lo"], check=True)


def answer_all(server: socket.socket, ended: threading.Event) -> None:
    while not ended.is_set():
        try:
            query, client = server.recvfrom(4096)
        except TimeoutError:
            continue
        end = query.index(b"\0", 12) + 5
        question = query[12:end]
        name = b"".join(len(label).to_bytes() + label for label in DOMAIN.encode().split(b"."))
        known = question[:-4].lower() == name + b"\0"
        is_mx = question[-4:-2] == b"\0\x0f"
        flags, answers = (0x8180, int(is_mx)) if known else (0x8183, 0)
        record = b"\xc0\x0c" + struct.pack("!HHIHH", 15, 1, 60, 9, 10) + b"\x04mail\xc0\x0c" if known and is_mx else b""
        server.sendto(query[:2] + struct.pack("!HHHHH", flags, 1, answers, 0, 0) + question + record, client)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailServer]:
    with mail.serving(Authority(tmp_path_factory.mktemp("authority")), DOMAIN, port=PORT) as server:
        yield server


@pytest.fixture(scope="module")
def site(checkout: Checkout, first_up: str, box: MailServer) -> Iterator[Site]:
    """The stack with the mail server in its stack file, and as before afterwards."""
    path: Path = checkout.root / f"Pulumi.{STACK}.yaml"
    before = path.read_text()
    gateway = checkout.docker.inspect(f"skyvern-{STACK}-outgoing")["IPAM"]["Config"][0]["Gateway"]
    for key, value in {"host": gateway, "port": PORT, "username": f"approvals@{DOMAIN}", "verify": "false"}.items():
        checkout.pulumi(f"config set --path skyvern:smtp.{key} {value} -s {STACK}")
    checkout.pulumi(f"config set --secret --path skyvern:smtp.password {PASSWORD} -s {STACK}")
    try:
        checkout.pulumi(f"up --yes --skip-preview -s {STACK}")
        with site_of(checkout) as target:
            yield target
    finally:
        path.write_text(before)
        checkout.pulumi(f"up --yes --skip-preview -s {STACK}")


def approval(recipient: str) -> dict[str, object]:
    return {
        "block_type": "human_interaction",
        "label": "approve",
        "recipients": [recipient],
        "instructions": "Publish it?",
        "body": "A post is ready.",
        "timeout_seconds": 300,
    }


def test_a_person_approves_by_mail(site: Site, box: MailServer) -> None:
    waits = {"block_type": "wait", "label": "publish", "wait_sec": 1}
    body = workflow_body("Approval", [approval(f"editor@{DOMAIN}"), waits])
    with name_server(), workflow(site, body) as workflow_id:
        run_id = start_run(site, workflow_id)
        wait_for(lambda: len(box.messages) == 1, lambda: str(read_run(site, run_id)), seconds=60, pause=1)
        assert box.logins == [(f"approvals@{DOMAIN}", PASSWORD)]
        message = box.messages[0]
        assert (message["From"], message["To"]) == (f"approvals@{DOMAIN}", f"editor@{DOMAIN}")
        content = message.get_payload(decode=True)
        assert isinstance(content, bytes)
        text = content.decode()
        assert "A post is ready." in text
        assert f"{site.outputs.app_url}/runs/{run_id}" in text
        assert read_run(site, run_id)["status"] == "paused"
        # What the page behind the link does.
        done = site.api("POST", f"/v1/workflows/runs/{run_id}/continue")
        assert done.status_code == 200, done.text
        wait_for(lambda: read_run(site, run_id)["status"] in FINAL, seconds=60, pause=1)
        assert read_run(site, run_id)["status"] == "completed"


def test_a_recipient_whose_domain_takes_no_mail_ends_the_run_with_a_reason(site: Site, box: MailServer) -> None:
    sent = len(box.messages)
    with name_server(), workflow(site, workflow_body("Approval", [approval("editor@example.org")])) as workflow_id:
        run_id = start_run(site, workflow_id)
        wait_for(lambda: read_run(site, run_id)["status"] in FINAL, seconds=60, pause=1)
        run = read_run(site, run_id)
        assert "has a domain that does not accept email" in run["failure_reason"]
    assert len(box.messages) == sent


def test_the_password_is_in_the_servers_environment_alone_and_in_no_log(checkout: Checkout, site: Site, box: MailServer) -> None:
    assert box.logins
    names = checkout.docker.run("ps", "--format", "{{.Names}}").split()
    assert f"skyvern-{STACK}-server" in names
    holders = {name for name in names if PASSWORD in "\n".join(checkout.docker.inspect(name)["Config"]["Env"])}
    assert holders == {f"skyvern-{STACK}-server"}
    assert [name for name in names if PASSWORD in checkout.docker.logs(name)] == []
    assert PASSWORD not in (checkout.root / f"Pulumi.{STACK}.yaml").read_text()
