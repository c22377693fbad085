"""What a session token of the UI must not bring about on the real server: Python of its owner, requests to private addresses.

With ``server.code_blocks: false``, as the dev stack has it. The smoke check does the same with the key; here it is the token, the
answers are searched for names of secrets, and the interpreter's wall is tried without the others.
"""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ops.clients.docker import PYTHON
from ops.observe.smoke.code_checks import ask_inside, looping
from ops.observe.smoke.site import Site
from ops.observe.smoke.ui_checks import session_token
from ops.observe.smoke.workflow_checks import wait_for_end, workflow
from tests.host.conftest import Checkout, as_person, site_of

pytestmark = pytest.mark.timeout(4800)

# What the finding did: names and lengths of secrets, told through a file and through an error.
THIEF = """
import os

import skyvern

found = " ".join(f"{{name}} {{len(os.environ.get(name, ''))}}" for name in ("SECRET_KEY", "DATABASE_STRING", "SKYVERN_API_KEY"))
with open("{marker}", "w") as file:
    file.write(found)


async def run(parameters):
    async for page in skyvern.loop(values=["once"], label="repeat"):
        raise RuntimeError(found)
"""

# In the server's image: everything that Skyvern's server loads is imported under the hook, then a script as Skyvern loads it.
HOOKED = """
import importlib.util, pathlib, sys, tempfile
sys.path.insert(0, "/usr/local/lib/skyvern")
import refuse_code
sys.addaudithook(refuse_code.refusal())
import skyvern.forge.api_app
import skyvern.services.script_service
import skyvern.forge.sdk.workflow.models.block
print("imported")
script = pathlib.Path(tempfile.mkdtemp()) / "main.py"
script.write_text("print('ran')")
spec = importlib.util.spec_from_file_location("user_script", script)
try:
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
except PermissionError as refusal:
    print(refusal)
"""

# Inside the server's container, past the gateway: a custom model whose parameters name a listener here, and one whose parameters
# would have a file sent to it. Prints how each run ended and which requests arrived, the first of them its own.
HOSTILE_MODELS = """
import http.server, json, os, threading, time, urllib.error, urllib.request

arrived = []

class Listener(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        arrived.append(self.path)
        self.send_error(404)

    do_GET = do_POST

    def log_message(self, *_):
        pass

def ask(url, method="GET", body=None):
    headers = {"Content-Type": "application/json", "x-api-key": os.environ["SKYVERN_API_KEY"]}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=60) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as refused:
        return refused.code

listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
threading.Thread(target=listener.serve_forever, daemon=True).start()
here = f"http://127.0.0.1:{listener.server_port}"
server = "http://127.0.0.1:" + os.environ["PORT"]
credentials = {
    "type": "external_account", "audience": "x", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "token_url": here + "/token", "credential_source": {"file": "/etc/hostname"},
}
other = {"model": "vertex_ai/x", "vertex_project": "x", "vertex_location": "x", "vertex_credentials": json.dumps(credentials)}
for extra in ({"base_url": here + "/model"}, {"base_url": "http://127.0.0.1:1", "fallbacks": [other]}):
    arrived.clear()
    ask(here + "/own")
    config = {"provider": "gemini", "display_name": "x", "model_name": "m", "api_key": "k", "extra_parameters": extra}
    model = ask(server + "/v1/custom-llms", "POST", {"config": config})["custom_llm"]["id"]
    block = {"block_type": "text_prompt", "label": "ask", "prompt": "x", "model": {"model_name": "custom/" + model}}
    body = {"json_definition": {"title": "Host test", "workflow_definition": {"parameters": [], "blocks": [block]}}}
    workflow = ask(server + "/v1/workflows", "POST", body)["workflow_permanent_id"]
    run = ask(server + "/v1/run/workflows", "POST", {"workflow_id": workflow})["run_id"]
    deadline = time.monotonic() + 240
    going = ("created", "queued", "running")
    while (ended := ask(server + "/v1/runs/" + run))["status"] in going and time.monotonic() < deadline:
        time.sleep(1)
    ask(server + f"/v1/workflows/{workflow}/delete", "POST")
    ask(server + "/v1/custom-llms/" + model, "DELETE")
    print(ended["status"], "CUSTOM_LLM_" + model in ended["failure_reason"], *arrived)
"""


@pytest.fixture(scope="module")
def site(checkout: Checkout, first_up: str) -> Iterator[Site]:
    with site_of(checkout) as target:
        yield target


@pytest.fixture(scope="module")
def token(site: Site) -> str:
    return session_token(site)


def ask(site: Site, token: str, method: str, path: str, body: Any = None) -> httpx.Response:
    """A request to the API as a page of the UI makes it."""
    return site.ask(method, site.outputs.api_url + path, key=token, body=body)


def test_a_script_of_a_session_token_does_not_run(site: Site, token: str) -> None:
    marker = f"/tmp/host-test-{secrets.token_hex(8)}"  # noqa: S108
    person = as_person(site)
    with workflow(person, looping(f"{site.outputs.smoke_url}/")) as workflow_id:
        path = f"/v1/scripts/{workflow_id}/deploy_cached/"
        there = ask(site, token, "GET", f"/v1/workflows/{workflow_id}").json()
        body = {
            "workflow_id": there["workflow_id"],
            "workflow_version": there["version"],
            "cache_key": "host-test",
            "cache_context": {"adaptive_caching": False},
            "files": [{"path": "main.py", "content": THIEF.format(marker=marker), "encoding": "utf-8"}],
            "dry_run": False,
        }
        assert ask(site, token, "POST", path, body).status_code == 404
        # As if the gateway had let it through.
        assert ask_inside(site, "POST", path, json.dumps(body), key="SKYVERN_API_KEY") == 200
        try:
            started = ask(site, token, "POST", "/v1/run/workflows", {"workflow_id": workflow_id, "run_with": "code"})
            run = wait_for_end(person, started.json()["run_id"])
            answers = [
                ask(site, token, "GET", f"/v1/runs/{run['run_id']}{part}").text for part in ("", "/artifacts", "/timeline")
            ]
            left = site.execute("server", "sh", "-c", 'cat "$1" 2>/dev/null; rm -f "$1"', "sh", marker)
        finally:
            ask_inside(site, "DELETE", f"/v1/scripts/{workflow_id}/cache", key="SKYVERN_API_KEY")
    assert left == b""
    assert "SECRET_KEY" not in "".join(answers)
    # The agent did it instead, and no script was written behind it.
    assert (run["status"], run["script_run"]) == ("completed", None)


@pytest.mark.parametrize("kind", ["code", "for_loop"])
def test_a_code_block_does_not_run(site: Site, token: str, kind: str) -> None:
    code = {"block_type": "code", "label": "code", "code": "answer = 6 * 7"}
    loop = {"block_type": "for_loop", "label": "repeat", "loop_variable_reference": "{{ ['once'] }}", "loop_blocks": [code]}
    blocks = [code if kind == "code" else loop]
    body = {"json_definition": {"title": "Host test", "workflow_definition": {"parameters": [], "blocks": blocks}}}
    person = as_person(site)
    with workflow(person, body) as workflow_id:
        started = ask(site, token, "POST", "/v1/run/workflows", {"workflow_id": workflow_id})
        run = wait_for_end(person, started.json()["run_id"])
        output = ask(site, token, "GET", f"/v1/runs/{run['run_id']}").text
    assert run["status"] in {"failed", "terminated"}
    assert '"answer"' not in output


def test_pythons_own_refusal_lets_the_server_load_and_no_script(site: Site) -> None:
    said = site.execute("server", "python3", "-c", HOOKED, timeout_seconds=180).decode().splitlines()
    assert said[-2:] == ["imported", "server.code_blocks is false: Python from a caller does not run"]
    assert "ran" not in said


@pytest.mark.parametrize(
    ("address", "refusal"),
    [
        # By its form already.
        ("http://127.0.0.1:8000/v1", 422),
        ("http://172.17.0.1/v1", 422),
        ("https://172.17.0.1/v1", 422),
        ("http://169.254.169.254/latest", 422),
        ("https://[::1]/v1", 422),
        # By what the name leads to, or by its port.
        ("http://egress:3128/v1", 400),
        ("https://postgres/v1", 400),
        ("http://gateway:8080/v1", 400),
    ],
)
def test_a_model_at_a_private_address_is_refused(site: Site, token: str, address: str, refusal: int) -> None:
    config = {"provider": "openai_compatible", "display_name": "x", "model_name": "m", "api_base": address, "api_key": "k"}
    assert ask(site, token, "POST", "/v1/custom-llms", {"config": config}).status_code == 404
    # As if the gateway had let it through.
    assert ask_inside(site, "POST", "/v1/custom-llms", json.dumps({"config": config})) == refusal


def test_parameters_of_a_model_name_no_address_and_no_file(site: Site) -> None:
    said = site.execute("server", *PYTHON, HOSTILE_MODELS, timeout_seconds=600).decode().splitlines()
    assert said == ["failed True /own"] * 2


def test_no_module_is_imported_from_where_a_browser_can_write(site: Site) -> None:
    name = f"planted_{secrets.token_hex(8)}"
    folders = ("/home/skyvern", "/tmp")  # noqa: S108
    for folder in folders:
        site.execute("server", "sh", "-c", 'echo "print(1)" > "$1"', "sh", f"{folder}/{name}.py")
    try:
        assert site.execute("server", "pwd").strip() == b"/"
        for folder in folders:
            # An operator's own command may be without -I.
            for isolated in ("-I", "-B"):
                python = f"! python3 {isolated}"
                site.execute("server", "sh", "-c", f"cd {folder} && {python} -c 'import {name}' && {python} -m {name}")
        assert b"noexec" in site.execute("server", "grep", " /home/skyvern ", "/proc/mounts")
    finally:
        for folder in folders:
            site.execute("server", "rm", "-f", f"{folder}/{name}.py")
