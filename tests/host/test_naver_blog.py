"""The examples of automations on the real server, the first one on an imitation of Naver's editor.

One draft each time; the faults, a run by schedule and the example with prompts are nightly. ``server.code_blocks`` is on, but for
the latter.
"""

import copy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ops.observe.smoke.site import Site
from ops.observe.smoke.workflow_checks import finished_run, wait_for_end, workflow, workflow_body
from ops.stack import file
from skyvern_provider.api import FINAL
from tests.host import programs
from tests.host.conftest import Checkout, as_person, site_of
from tests.support import blog_editor, scripted_model
from tests.support.automations import request_of, workflow_of
from tests.support.blog_editor import BLOG, BUILDS, PICTURE, BlogEditor
from tests.support.scripted_model import ScriptedModel
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(4800)
TITLE = "오늘의 소식 — 봄 신상품"
BODY = "첫 문단입니다. 값은 ₩12,000.\n둘째 문단: 닭볶음탕, 쫓다, 뷁!"
TAGS = ["가게", "봄 소식"]
# What a person would read three seconds before the end of a recording, enlarged.
READ_VIDEO = """
cd "$(mktemp -d)" && cat > video.mp4
ffmpeg -v error -sseof -3 -i video.mp4 -frames:v 1 -update 1 -vf scale=3200:-1 frame.png && tesseract frame.png - -l kor
rm -rf "$PWD"
"""
TYPED = len(TITLE) + len(BODY.replace("\n", ""))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with programs.internet() as public:
        yield public


@pytest.fixture(scope="module")
def editor(address: str) -> Iterator[BlogEditor]:
    with blog_editor.serving(address) as blog:
        yield blog


@pytest.fixture(scope="module")
def delivered() -> list[bytes]:
    """What was posted to the page of prices."""
    return []


@pytest.fixture(scope="module")
def prices(address: str, delivered: list[bytes]) -> Iterator[str]:
    with serving_prices(address, delivered) as origin:
        yield origin


@pytest.fixture(scope="module")
def site(checkout: Checkout, first_up: str, editor: BlogEditor, prices: str) -> Iterator[Site]:
    """The stack with code blocks, where both pages are to be reached, and as before afterwards."""
    path: Path = checkout.root / "Pulumi.dev.yaml"
    before = path.read_text()
    # Their address is this host's, which the firewall refuses.
    ports = [urlsplit(origin).port for origin in (editor.origin, prices)]

    def changed(document: dict[str, Any]) -> bool:
        document["config"]["skyvern:server"] |= {"code_blocks": True, "allow": [f"host:{port}" for port in ports]}
        return True

    file.edit(path, changed)
    try:
        checkout.pulumi("up --yes --skip-preview -s dev")
        with site_of(checkout) as target:
            yield as_person(target)
    finally:
        path.write_text(before)
        checkout.pulumi("up --yes --skip-preview -s dev")


@pytest.fixture
def blog(editor: BlogEditor) -> BlogEditor:
    """The site without a fault, and without what earlier tests sent to it."""
    for name, value in vars(BlogEditor(origin=editor.origin)).items():
        setattr(editor, name, value)
    return editor


@pytest.fixture(scope="module")
def profile(site: Site, editor: BlogEditor) -> str:
    """A browser profile in which a person has logged in."""
    log_in = {"block_type": "goto_url", "label": "log_in", "url": f"{editor.origin}/here-a-person-logs-in"}
    body = workflow_body("A person", [log_in])
    body["json_definition"]["persist_browser_session"] = True
    with finished_run(site, body) as run:
        # A page of the proxy that says no would be a page, too.
        assert (run["status"], editor.people) == ("completed", 1), run
        saved = site.api("POST", "/v1/browser_profiles", body={"name": "naver", "workflow_run_id": run["run_id"]})
    assert saved.status_code == 200, saved.text
    return str(saved.json()["browser_profile_id"])


def parameters(blog: BlogEditor, **changed: Any) -> dict[str, Any]:
    return {"blog_id": BLOG, "title": TITLE, "body": BODY, "tags": ", ".join(TAGS), "site": blog.origin, **changed}


def draft(
    site: Site, profile: str, given: dict[str, Any], document: dict[str, Any] | None = None, seconds: float = 300
) -> dict[str, Any]:
    """The example's run, at its end."""
    with workflow(site, request_of(document or workflow_of("naver-blog-draft"))) as workflow_id:
        body = {"workflow_id": workflow_id, "parameters": given, "browser_profile_id": profile}
        started = site.api("POST", "/v1/run/workflows", body=body)
        assert started.status_code == 200, started.text
        return wait_for_end(site, started.json()["run_id"], seconds)


def saved(**changed: Any) -> list[dict[str, Any]]:
    return [{"title": [TITLE], "body": BODY.splitlines(), "images": [], "tags": TAGS, "typed": TYPED, **changed}]


def test_a_draft_arrives_letter_by_letter_with_its_picture(site: Site, profile: str, blog: BlogEditor) -> None:
    blog.popups = 2
    run = draft(site, profile, parameters(blog, picture=f"{blog.origin}/picture.png"))
    assert run["status"] == "completed", run
    assert (blog.drafts, blog.posts) == (saved(images=["picture.png"]), [])
    assert blog.photos == [("picture.png", len(PICTURE))]
    assert run["recording_url"]


@pytest.mark.nightly
@pytest.mark.parametrize(
    "site_is", [{"frame": False}, {"slow_seconds": 15}, {"popups": 0}, {"build": BUILDS[1]}], ids=lambda given: str(*given)
)
def test_a_draft_arrives_where_the_editor_is_different(
    site: Site, profile: str, blog: BlogEditor, site_is: dict[str, Any]
) -> None:
    vars(blog).update(site_is)
    run = draft(site, profile, parameters(blog))
    assert run["status"] == "completed", run
    assert (blog.drafts, blog.posts) == (saved(), [])


@pytest.mark.nightly
def test_only_a_parameter_publishes(site: Site, profile: str, blog: BlogEditor) -> None:
    run = draft(site, profile, parameters(blog, publish=True))
    assert run["status"] == "completed", run
    assert (blog.drafts, blog.posts) == ([], saved())


@dataclass(frozen=True)
class Fault:
    """site: what is wrong there. code: that the run ends with."""

    code: str
    site: dict[str, Any]
    parameters: dict[str, Any] = field(default_factory=dict)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault("LOGIN_EXPIRED", {"session_valid": False}), id="session gone"),
        pytest.param(Fault("CAPTCHA", {"captcha": True}), id="captcha"),
        pytest.param(Fault("EDITOR_CHANGED", {"moved": True}), id="moved buttons"),
        pytest.param(Fault("EDITOR_CHANGED", {"slow_seconds": 600}), id="no editor"),
        pytest.param(Fault("UPLOAD_REFUSED", {"refuse_photos": True}, {"picture": "/picture.png"}), id="upload refused"),
    ],
)
def test_a_fault_ends_in_its_code_and_nothing_is_sent(site: Site, profile: str, blog: BlogEditor, fault: Fault) -> None:
    assert set(fault.site) <= {one.name for one in fields(BlogEditor)}
    vars(blog).update(fault.site)
    given = {key: blog.origin + value for key, value in fault.parameters.items()}
    run = draft(site, profile, parameters(blog, **given))
    assert (run["status"], [error["error_code"] for error in run["errors"]]) == ("failed", [fault.code]), run
    assert (blog.drafts, blog.posts, blog.photos, blog.log_in_attempts) == ([], [], [], 0)


@pytest.mark.nightly
def test_text_that_a_script_writes_is_lost(site: Site, profile: str, blog: BlogEditor) -> None:
    """What the imitation is good for: the example would not pass without typing."""
    document = copy.deepcopy(workflow_of("naver-blog-draft"))
    (write,) = [block for block in document["workflow_definition"]["blocks"] if block["label"] == "write"]
    write["code"] = (
        "field = page.frame_locator('#mainFrame').locator('.se-text-paragraph').first\n"
        "await field.evaluate('(element, text) => { element.innerText = text }', title)\nreturn {}"
    )
    run = draft(site, profile, parameters(blog), document)
    assert run["status"] == "completed", run
    assert blog.drafts == saved(title=[""], body=[""], typed=0)


@pytest.mark.nightly
def test_a_schedule_writes_a_draft_once(site: Site, profile: str, blog: BlogEditor) -> None:
    document = workflow_of("naver-blog-draft") | {"browser_profile_id": profile}
    at = datetime.now(UTC) + timedelta(seconds=65)
    with workflow(site, request_of(document)) as workflow_id:
        given = parameters(blog, picture=f"{blog.origin}/picture.png")
        body = {"run_at": at.isoformat(), "timezone": "Asia/Seoul", "name": "once", "parameters": given}
        made = site.api("POST", f"/v1/workflows/{workflow_id}/schedules", body=body)
        assert made.status_code == 200, made.text

        def runs() -> list[dict[str, Any]]:
            listed: list[dict[str, Any]] = site.api("GET", f"/v1/workflows/{workflow_id}/runs").json()
            return listed

        wait_for(lambda: [run["status"] in FINAL for run in runs()] == [True], lambda: str(runs()), seconds=400, pause=2)
        [run] = runs()
        assert run["status"] == "completed"
        assert (blog.drafts, blog.posts) == (saved(images=["picture.png"]), [])
        recording = site.api("GET", f"/v1/runs/{run['workflow_run_id']}").json()["recording_url"]
        video = site.ask("GET", recording)
        assert video.status_code == 200
        read = site.execute("server", "sh", "-c", READ_VIDEO, stdin=video.content, timeout_seconds=300).decode()
        # It is small, so a letter may be read as another.
        assert {"소식", "신상품"} & set(read.split()), read


_TABLE = '<!doctype html><meta charset=utf-8><table><tr><th>품목<th>값<tr><td>사과 "부사", 1상자<td>12,000</table>'
CSV = '\ufeff"품목","값"\r\n"사과 ""부사"", 1상자","12,000"\r\n'


@contextmanager
def serving_prices(address: str, delivered: list[bytes]) -> Iterator[str]:
    """A page with a table, which takes what is posted to it."""

    class Prices(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer((_TABLE if self.path == "/" else "<!doctype html>").encode())

        def do_POST(self) -> None:
            delivered.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(b"")

        def answer(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((address, 0), Prices) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{address}:{server.server_port}"
        finally:
            server.shutdown()


@pytest.mark.nightly
def test_a_page_becomes_a_file_and_a_webhook(site: Site, prices: str, delivered: list[bytes]) -> None:
    with workflow(site, request_of(workflow_of("daily-page-to-csv"))) as workflow_id:

        def run(page: str) -> dict[str, Any]:
            given = {"page_url": page, "webhook": f"{prices}/hook"}
            started = site.api("POST", "/v1/run/workflows", body={"workflow_id": workflow_id, "parameters": given})
            return wait_for_end(site, started.json()["run_id"], 300)

        done, without = run(f"{prices}/"), run(f"{prices}/empty")
    assert done["status"] == "completed", done
    assert [one["filename"] for one in done["downloaded_files"]] == ["table.csv"]
    assert [error["error_code"] for error in without["errors"]] == ["NO_TABLE"]
    (body,) = delivered
    assert json.loads(body) == {"rows": "2", "csv": CSV}


# The last ones, because the stack has a language model from here on, and no code blocks.


@pytest.fixture(scope="module")
def model(checkout: Checkout, site: Site, address: str) -> Iterator[ScriptedModel]:
    """What the stack asks for the example with prompts. ``site`` puts everything back."""
    with scripted_model.serving(address) as scripted:

        def changed(document: dict[str, Any]) -> bool:
            server = document["config"]["skyvern:server"]
            server["code_blocks"] = False
            server["allow"].append(f"host:{urlsplit(scripted.url).port}")
            llm = {"provider": "openai-compatible", "base_url": scripted.url, "model": "scripted"}
            document["config"]["skyvern:llm"] = llm
            return True

        file.edit(checkout.root / "Pulumi.dev.yaml", changed)
        checkout.pulumi("config set --secret --path skyvern:llm.api_key any-key-will-do -s dev")
        checkout.pulumi("up --yes --skip-preview -s dev")
        yield scripted


def prompted(site: Site, profile: str, blog: BlogEditor, **given: Any) -> dict[str, Any]:
    """The run of the example with prompts. Skyvern looks at the page again before and after each action."""
    return draft(site, profile, parameters(blog, **given), workflow_of("naver-blog-draft-prompts"), seconds=1500)


def texts(arrived: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without how often something was typed: Skyvern puts a whole text at once into such a field, and again if that took long."""
    return [{**one, "typed": 0} for one in arrived]


@pytest.mark.nightly
@pytest.mark.parametrize(
    "site_is", [{"popups": 2}, {"frame": False, "slow_seconds": 15, "build": BUILDS[1]}], ids=["popup twice", "slow"]
)
def test_prompts_write_a_draft(site: Site, profile: str, blog: BlogEditor, model: ScriptedModel, site_is: dict[str, Any]) -> None:
    vars(blog).update(site_is)
    run = prompted(site, profile, blog)
    assert run["status"] == "completed", run
    assert (texts(blog.drafts), blog.posts) == (saved(typed=0), [])
    assert run["recording_url"]


@pytest.mark.nightly
def test_only_a_parameter_lets_prompts_publish(site: Site, profile: str, blog: BlogEditor, model: ScriptedModel) -> None:
    run = prompted(site, profile, blog, publish=True)
    assert run["status"] == "completed", run
    assert (blog.drafts, texts(blog.posts)) == ([], saved(typed=0))


@pytest.mark.nightly
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault("LOGIN_EXPIRED", {"session_valid": False}), id="session gone"),
        pytest.param(Fault("CAPTCHA", {"captcha": True}), id="captcha"),
        pytest.param(Fault("EDITOR_CHANGED", {"slow_seconds": 3600}), id="no editor"),
        pytest.param(Fault("NOT_SAVED", {"moved": True}), id="moved buttons"),
    ],
)
def test_a_fault_ends_prompts_in_its_code(site: Site, profile: str, blog: BlogEditor, model: ScriptedModel, fault: Fault) -> None:
    vars(blog).update(fault.site)
    run = prompted(site, profile, blog)
    assert run["status"] in {"failed", "terminated"}, run
    assert [error["error_code"] for error in run["errors"]] == [fault.code], run
    assert (blog.drafts, blog.posts, blog.log_in_attempts) == ([], [], 0)
