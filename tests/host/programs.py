"""Programs as users of a stack: the examples of docs/api.md, the receiver of webhooks, and every link that they get.

The same stories for local files (test_links.py) and for a bucket (test_store.py).
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ops.observe.smoke.artifact_checks import signed, unsafe_headers
from ops.observe.smoke.site import Site
from ops.observe.smoke.workflow_checks import wait_for_end
from ops.paths import ROOT
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.host.conftest import Checkout

# A public address, which only the tests' own network has. Skyvern refuses webhooks to private ones.
INTERNET = "93.184.216.34"
# www.internet.test in a container, over TLS: a page of more than a packet holds, and a language model in OpenAI's form.
SERVE_TLS = """
import http.server, json, ssl

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(b"<title>Reached</title>" + b"x" * 100_000, "text/html")

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        message = {"role": "assistant", "content": "Through the proxy."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        told = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        self.answer(json.dumps(told).encode(), "application/json")

    def answer(self, body, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

server = http.server.ThreadingHTTPServer(("", 443), Page)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/certificates/internet.test.pem", "/certificates/internet.test.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
PEOPLE = b"name,city\nKim,Seoul\nLee,Busan\n"
READ = [{"name": "Kim", "city": "Seoul"}, {"name": "Lee", "city": "Busan"}]
REPORT = b"<script>alert(document.domain)</script>"
LINK = re.compile(r"https?://[^\s\"']+")
PAGE = (ROOT / "docs/api.md").read_text()


def skyvern_version() -> str:
    """The version that the server's image installs."""
    return (ROOT / "images/server/requirements.in").read_text().partition("==")[2].split()[0]


def examples(kind: str) -> list[str]:
    """The code blocks of docs/api.md in a language, in their order."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


class Webhooks:
    """The receiver of docs/api.md on the internet, which also has a page to download. bodies: of webhooks that were signed."""

    def __init__(self, key: str) -> None:
        (source,) = [block for block in examples("python") if "class Receiver" in block]
        parts: dict[str, Any] = {"__name__": "example"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SKYVERN_API_KEY", key)
            exec(source, parts)  # noqa: S102
        bodies: list[dict[str, Any]] = []

        class Receiver(parts["Receiver"]):  # type: ignore[misc, valid-type]
            def ended(self, run: dict[str, Any]) -> None:
                bodies.append(run)

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(REPORT)))
                self.end_headers()
                self.wfile.write(REPORT)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.bodies = bodies
        self.server = ThreadingHTTPServer((INTERNET, 0), Receiver)
        self.port = self.server.server_address[1]
        self.url = f"http://{INTERNET}:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def about(self, run_id: str) -> dict[str, Any]:
        wait_for(lambda: any(body["run_id"] == run_id for body in self.bodies), seconds=90)
        return next(body for body in self.bodies if body["run_id"] == run_id)


@contextmanager
def internet() -> Iterator[str]:
    """A public address, which this network has meanwhile."""
    subprocess.run(["ip", "address", "replace", f"{INTERNET}/32", "dev", "lo"], check=True)
    try:
        yield INTERNET
    finally:
        subprocess.run(["ip", "address", "delete", f"{INTERNET}/32", "dev", "lo"], check=True)


@contextmanager
def receiving(checkout: "Checkout") -> Iterator[Webhooks]:
    """The receiver, on the internet."""
    with internet():
        receiver = Webhooks(checkout.output("api_key"))
        try:
            yield receiver
        finally:
            receiver.server.shutdown()
            receiver.server.server_close()


def environment_of(stack: Site, webhooks: Webhooks) -> dict[str, str]:
    """What a program of docs/api.md has, and nothing of the machine's."""
    return {
        "HOME": "/nonexistent",
        "PAGE": f"{stack.outputs.smoke_url}/",
        "PATH": os.environ["PATH"],
        "SKYVERN_API_KEY": stack.outputs.api_key.get_secret_value(),
        "SKYVERN_URL": stack.outputs.api_url,
        "WEBHOOK_URL": webhooks.url,
    }


def install_sdk(checkout: "Checkout", folder: Path) -> Path:
    """Python with the published SDK, of the server's version."""
    version = skyvern_version()
    assert f"skyvern=={version}`" in PAGE
    checkout.run(sys.executable, "-m", "venv", str(folder))
    checkout.run(str(folder / "bin/pip"), "install", "--quiet", f"skyvern=={version}", timeout_seconds=600)
    return folder / "bin/python"


def links_of(value: Any) -> set[str]:
    """Every URL of the API's route to files, anywhere in an answer."""
    return {link for link in LINK.findall(json.dumps(value)) if "/v1/artifacts/" in link}


def follow(site: Site, link: str) -> httpx.Response:
    """The whole file, without a key. Its parts, forgeries and headers are as they have to be."""
    assert link.startswith(f"{site.outputs.api_url}/v1/artifacts/"), link
    whole = site.ask("GET", link)
    assert whole.status_code == 200, link
    assert unsafe_headers(whole.headers) == []
    part = site.ask("GET", link, headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, whole.content[2:6]), link
    assert part.headers["content-range"] == f"bytes 2-{min(5, len(whole.content) - 1)}/{len(whole.content)}"
    beyond = site.ask("GET", link, headers={"Range": f"bytes={len(whole.content)}-"})
    assert beyond.status_code == 416, link
    assert site.ask("GET", link[:-1] + ("A" if link[-1] != "A" else "B")).status_code == 403
    return whole


def run_workflow(site: Site, definition: dict[str, Any], **request: Any) -> dict[str, Any]:
    created = site.api("POST", "/v1/workflows", body={"json_definition": {"title": "Links", "workflow_definition": definition}})
    assert created.status_code == 200, created.text
    body = {"workflow_id": created.json()["workflow_permanent_id"], **request}
    started = site.api("POST", "/v1/run/workflows", body=body)
    assert started.status_code == 200, started.text
    return wait_for_end(site, started.json()["run_id"])


def read_file(site: Site, value: str) -> dict[str, Any]:
    """A run whose one block reads a CSV file."""
    parameter = {"parameter_type": "workflow", "key": "people", "workflow_parameter_type": "file_url"}
    block = {"block_type": "file_url_parser", "label": "read", "file_url": "{{ people }}", "file_type": "csv"}
    return run_workflow(site, {"parameters": [parameter], "blocks": [block]}, parameters={"people": value})


def upload(site: Site, content: bytes = PEOPLE, name: str = "사람 1.csv") -> dict[str, str]:
    key = site.outputs.api_key.get_secret_value()
    answer = site.http.post(f"{site.outputs.api_url}/v1/upload_file", headers={"x-api-key": key}, files={"file": (name, content)})
    assert answer.status_code == 200, answer.text
    found: dict[str, str] = answer.json()
    return found


def the_sdk_and_its_webhook(stack: Site, webhooks: Webhooks, python: Path) -> None:
    """A run by the SDK, with an upload by its link as input; its files, and those of its webhook."""
    environment = environment_of(stack, webhooks)
    (source,) = [block for block in examples("python") if "from skyvern import" in block]
    done = subprocess.run([python, "-c", source], env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    first, *artifacts = done.stdout.splitlines()
    run_id, status, output = first.split(" ", 2)
    assert (status, "'Kim'" in output) == ("completed", True), first
    kinds = [line.split()[0] for line in artifacts]
    assert "recording" in kinds
    assert any(kind.startswith("screenshot") for kind in kinds)
    for line in artifacts:
        follow(stack, line.split()[1])
    body = webhooks.about(run_id)
    assert body["status"] == "completed"
    # screenshot_urls is empty: those are of actions, and without an LLM there is none. The artifacts above have screenshots.
    links = links_of(body)
    assert body["recording_url"] in links
    for link in links:
        follow(stack, link)
    assert "file://" not in json.dumps(body)
    forged = httpx.post(webhooks.url, json=body, headers={"x-skyvern-signature": "0" * 64}, trust_env=False)
    assert forged.status_code == 403


def curl(stack: Site, webhooks: Webhooks, tmp_path: Path) -> None:
    """The commands of the page, with the values that it says where to find."""
    environment = environment_of(stack, webhooks)
    commands = [one for block in examples("console") for one in re.findall(r"^\$ (curl (?:.*\\\n)*.*)$", block, re.MULTILINE)]
    upload_file, start, ask, save = commands
    (tmp_path / "people.csv").write_bytes(PEOPLE)
    definition = {
        "parameters": [{"parameter_type": "workflow", "key": "people", "workflow_parameter_type": "file_url"}],
        "blocks": [
            {"block_type": "file_url_parser", "label": "read", "file_url": "{{ people }}", "file_type": "csv"},
            {"block_type": "goto_url", "label": "open", "url": environment["PAGE"]},
        ],
    }
    created = stack.api("POST", "/v1/workflows", body={"json_definition": {"title": "curl", "workflow_definition": definition}})

    def bash(command: str, **values: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env={**environment, **values},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    file_id = json.loads(bash(upload_file))["file_id"]
    run_id = json.loads(bash(start, WORKFLOW=created.json()["workflow_permanent_id"], FILE=file_id))["run_id"]
    assert wait_for_end(stack, run_id)["status"] == "completed"
    wait_for(lambda: bool(json.loads(bash(ask, RUN=run_id))["recording_url"]), seconds=60, pause=1)
    run = json.loads(bash(ask, RUN=run_id))
    assert run["output"]["read_output"] == READ
    wait_for(lambda: stack.ask("GET", run["recording_url"]).status_code == 200, seconds=60, pause=1)
    bash(save, LINK=run["recording_url"])
    assert (tmp_path / "recording.mp4").stat().st_size > 1000


def an_upload_is_an_input(stack: Site) -> None:
    """By its link, also when that has expired, and by its other names."""
    uploaded = upload(stack)
    link = uploaded["presigned_url"]
    answer = follow(stack, link)
    assert answer.content == PEOPLE
    assert answer.headers["content-disposition"].startswith("attachment;")
    key = stack.execute("gateway", "printenv", "ARTIFACT_LINK_KEY").decode().strip()
    expired = signed(key, link, int(time.time()) - 60)
    assert stack.ask("GET", expired).status_code == 403
    for value in (link, expired, uploaded["file_id"], uploaded["s3_uri"]):
        run = read_file(stack, value)
        assert (run["status"], run["output"] and run["output"]["read_output"]) == ("completed", READ), (value, run)
    for value in (
        link[:-1] + ("A" if link[-1] != "A" else "B"),
        signed("x" * 48, link, int(time.time()) + 60),
        f"{stack.outputs.api_url}/v1/workflows",
        "http://127.0.0.1:8000/api/v1/heartbeat",
    ):
        assert read_file(stack, value)["status"] == "failed", value


def a_download_is_an_attachment(stack: Site, webhooks: Webhooks) -> None:
    """A page with a script that a run downloaded."""
    block = {
        "block_type": "http_request",
        "label": "save",
        "method": "GET",
        "url": f"{webhooks.url}/report.html",
        "save_response_as_file": True,
        "download_filename": "보고서.html",
    }
    run = run_workflow(stack, {"parameters": [], "blocks": [block]}, webhook_url=webhooks.url)
    assert run["status"] == "completed", run
    for found in (run, webhooks.about(run["run_id"])):
        (file_info,) = found["downloaded_files"]
        assert file_info["filename"] == "보고서.html"
        answer = follow(stack, file_info["url"])
        assert answer.content == REPORT
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment;")
        assert "file://" not in json.dumps(found)
    (download,) = [one for one in artifacts_of(stack, run) if one["artifact_type"] == "download"]
    assert follow(stack, download["signed_url"]).headers["content-disposition"].startswith("attachment;")


def artifacts_of(site: Site, run: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.api("GET", f"/v1/runs/{run['run_id']}/artifacts").json()
    return found
