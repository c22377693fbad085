"""Looks at the UI's pages in Chromium, in one language: what they say, and what a person's clicks send.

A separate script, for the Python of the server's image, which has Playwright and a Chromium (test_language.py). Arguments: the
folder of the UI as the gateway's image has it, the folder of what its other languages lay over it, the language (en, ko or
browser), a folder for pictures and, to leave the screens out and add these alone, kinds of blocks; or, in place of language and
folder, "time" and how many pairs of loads to compare. Prints a JSON object. The API is a double on loopback: it knows one
workflow, whose names and values are words of the UI ("Runs", "Title", "Cancel"), so a translated value of a person shows. It
keeps what is asked of it.
"""

import contextlib
import json
import mimetypes
import re
import shutil
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import BrowserContext, Error, Locator, Page, sync_playwright

NOW = "2026-11-20T03:04:05.000000"
STATUSES = ("created", "queued", "running", "completed", "failed", "terminated", "canceled", "timed_out")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' ws:; img-src 'self' data: blob:; media-src 'self' blob:; form-action 'self'; base-uri 'none'"
)
SCREENS = {
    "home": "/discover",
    "agents": "/agents",
    "runs": "/runs",
    "schedules": "/schedules",
    "schedule": "/schedules/wpid_1/wfs_1",
    "browsers": "/browser-sessions",
    "session": "/browser-session/pbs_1",
    "profiles": "/browser-profiles",
    "profile": "/browser-profiles/bp_1",
    "credentials": "/credentials",
    "credit-cards": "/credentials?tab=creditCards",
    "secrets": "/credentials?tab=secrets",
    "two-factor": "/credentials?tab=twoFactor",
    "settings": "/settings",
    "labels": "/settings/labels",
    "integrations": "/integrations",
    "agent-runs": "/agents/wpid_1/runs",
    "scripts": "/agents/wpid_1/scripts",
    "run-form": "/agents/wpid_1/run",
    "run": "/runs/wr_3",
    "run-failed": "/runs/wr_4",
    "studio": "/agents/wpid_1/studio",
    "magic-links": "/credentials?tab=magicLinks",
}
STAMPS = {"created_at": NOW, "modified_at": NOW, "deleted_at": None}
WORKFLOW: dict[str, Any] = {
    "workflow_id": "w_1",
    "workflow_permanent_id": "wpid_1",
    "organization_id": "o_1",
    "title": "Runs",
    "description": "Title",
    "version": 3,
    "is_saved_task": False,
    "is_template": False,
    "workflow_definition": {
        "version": 2,
        "parameters": [
            {
                "parameter_type": "workflow",
                "workflow_parameter_type": "string",
                "workflow_parameter_id": "wp_1",
                "workflow_id": "w_1",
                "key": "site_url",
                "default_value": "Cancel",
                "description": "Name",
                **STAMPS,
            }
        ],
        "blocks": [
            {
                "label": "Delete",
                "block_type": "goto_url",
                "url": "https://example.com",
                "continue_on_failure": False,
                "parameters": [],
                "next_block_label": None,
                "output_parameter": {
                    "parameter_type": "output",
                    "output_parameter_id": "op_1",
                    "workflow_id": "w_1",
                    "key": "Delete_output",
                    **STAMPS,
                },
            }
        ],
    },
    "proxy_location": "RESIDENTIAL",
    "webhook_callback_url": None,
    "persist_browser_session": False,
    "model": None,
    "totp_verification_url": None,
    "totp_identifier": None,
    "extra_http_headers": None,
    "status": "published",
    "max_screenshot_scrolls": None,
    "run_with": "agent",
    "ai_fallback": True,
    "cache_key": "default",
    "tags": [],
    "folder_id": None,
    "import_error": None,
    **STAMPS,
}
# Which another one may start.
STARTED: dict[str, Any] = {**WORKFLOW, "workflow_id": "w_2", "workflow_permanent_id": "wpid_2", "title": "Daily"}
SCHEDULE: dict[str, Any] = {
    "workflow_schedule_id": "wfs_1",
    "organization_id": "o_1",
    "workflow_permanent_id": "wpid_1",
    "workflow_title": "Runs",
    "name": "Daily",
    "description": "Name",
    "cron_expression": "0 9 * * 1-5",
    "timezone": "Asia/Seoul",
    "enabled": True,
    "parameters": {},
    "next_run": f"{NOW}Z",
    **STAMPS,
}
SESSION: dict[str, Any] = {
    "browser_session_id": "pbs_1",
    "organization_id": "o_1",
    "status": "running",
    "timeout": 60,
    "started_at": NOW,
    "completed_at": None,
    "recordings": [],
    "downloaded_files": [],
    **STAMPS,
}
EVENT = {
    "event_id": "e_1",
    "index": 0,
    "kind": "action",
    "occurred_at": NOW,
    "outcome": "completed",
    "timing_ms": 5,
    "tool": "click",
    "error_code": None,
}
PROFILE = {"browser_profile_id": "bp_1", "organization_id": "o_1", "name": "Title", "description": "Name", **STAMPS}
PASSWORD = {"username": "someone@example.com", "totp_type": "none"}
CREDENTIALS = [
    {"credential_id": "cred_1", "credential_type": "password", "name": "Title", "credential": PASSWORD},
    {
        "credential_id": "cred_2",
        "credential_type": "credit_card",
        "name": "Name",
        "credential": {"last_four": "4242", "brand": "visa"},
    },
]
# An account that may do all that a block asks for: without one, blocks of e-mail and of sheets cannot be saved.
ACCOUNT = {
    "id": "oauth_1",
    "organization_id": "o_1",
    "credential_name": "Title",
    "email_address": "someone@example.com",
    "state": "active",
    "valid": True,
    "gmail_send_ready": True,
    "scopes_granted": [
        *(f"https://www.googleapis.com/auth/{scope}" for scope in ("spreadsheets", "drive", "gmail.readonly", "gmail.send")),
        "Mail.Read",
    ],
    **STAMPS,
}


def run_of(number: int) -> dict[str, Any]:
    """The run with a number; each has another status."""
    status = STATUSES[number]
    return {
        "workflow_run_id": f"wr_{number}",
        "task_run_id": f"tr_{number}",
        "run_id": f"wr_{number}",
        "workflow_id": "w_1",
        "workflow_permanent_id": "wpid_1",
        "organization_id": "o_1",
        "task_run_type": "workflow_run",
        "workflow_run_type": "workflow_run",
        "status": status,
        "title": "Runs",
        "workflow_title": "Runs",
        "started_at": NOW,
        "finished_at": NOW,
        "queued_at": NOW,
        "failure_reason": "Save changes" if status == "failed" else None,
        "parameters": {"site_url": "Cancel"},
        "outputs": {"extracted_information": "Save"},
        "screenshot_urls": [],
        "recording_url": None,
        "total_steps": 2,
        "tags": [],
        **STAMPS,
    }


# An action of a run's block, as the API's timeline has it; the reasoning is the model's, a value like a person's.
ACTION: dict[str, Any] = {
    "action_id": "a_1",
    "action_type": "click",
    "status": "completed",
    "task_id": "t_1",
    "step_id": "s_1",
    "step_order": 0,
    "action_order": 0,
    "confidence_float": 0.9,
    "description": "Save",
    "reasoning": "Runs",
    "intention": "Title",
    "response": None,
    "created_by": None,
    "text": None,
    **STAMPS,
}


def timeline_of(number: int) -> list[dict[str, Any]]:
    """What the run with a number did: a task of one click, which ended as the run did."""
    block = {
        "workflow_run_block_id": "wrb_1",
        "workflow_run_id": f"wr_{number}",
        "parent_workflow_run_block_id": None,
        "block_type": "task",
        "label": "Delete",
        "title": "Delete",
        "description": None,
        "status": STATUSES[number],
        "failure_reason": "Save changes" if STATUSES[number] == "failed" else None,
        "output": {"extracted_information": "Save"},
        "continue_on_failure": False,
        "task_id": "t_1",
        "url": "https://example.com",
        "navigation_goal": "Cancel",
        "navigation_payload": None,
        "data_extraction_goal": "Name",
        "data_schema": None,
        "complete_criterion": None,
        "terminate_criterion": None,
        "include_action_history_in_verification": None,
        "engine": "skyvern-1.0",
        "actions": [ACTION],
        "duration": 5,
        **STAMPS,
    }
    return [{"type": "block", "block": block, "children": [], "thought": None, **STAMPS}]


# What a person's clicks make, change or start; the rest (statistics, drafts, the state of panes) is the UI's own.
MADE = re.compile(r"workflows(/\w+(/schedules(/\w+)?|/run)?)?")


class Api:
    """The double of the API. sent: what was made, changed or started, in order: "POST workflows" and the request's body."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Any:
        """What it answers to a request, as JSON will hold it."""
        name = re.sub(r"^/(api/)?v[12]/", "", path).replace("agents", "workflows", 1).rstrip("/")
        if method != "GET" and MADE.fullmatch(name):
            self.sent.append((f"{method} {name}", body.decode()))
            if name.endswith("schedules"):
                return {"schedule": SCHEDULE, "next_runs": [f"{NOW}Z"]}
            return run_of(1) if "run" in name.split("/") else WORKFLOW
        if query.get("template") == ["true"] or query.get("only_saved_tasks") == ["true"] or query.get("page", ["1"]) != ["1"]:
            return []
        for pattern, make in ANSWERS:
            if found := re.fullmatch(pattern, name):
                return make(found)
        return [] if name.endswith("s") else {}


ANSWERS: tuple[tuple[str, Callable[[re.Match[str]], Any]], ...] = (
    (r"workflows", lambda _: [WORKFLOW, STARTED]),
    (r"workflows/wpid_1", lambda _: WORKFLOW),
    (r"workflows/wpid_2", lambda _: STARTED),
    (r"workflows/wpid_1/fallback-episodes", lambda _: {"episodes": [], "total_count": 0}),
    (r"workflows/wpid_1/versions", lambda _: [WORKFLOW]),
    (r"(workflows/)?(wpid_1/)?runs", lambda _: [run_of(number) for number in range(len(STATUSES))]),
    (r".*/runs/wr_(\d)/timeline", lambda found: timeline_of(int(found[1]))),
    (r"(workflows/)?(wpid_1/)?runs/wr_(\d)", lambda found: {**run_of(int(found[3])), "workflow": WORKFLOW}),
    (r"schedules", lambda _: {"schedules": [SCHEDULE], "total_count": 1, "page": 1, "page_size": 10}),
    (r"workflows/wpid_1/schedules", lambda _: {"schedules": [SCHEDULE], "total_count": 1}),
    (r"workflows/wpid_1/schedules/wfs_1", lambda _: {"schedule": SCHEDULE, "next_runs": [f"{NOW}Z"]}),
    (r"credentials", lambda _: CREDENTIALS),
    (r"credentials/totp", lambda _: []),
    (r"(google|microsoft)/oauth/credentials", lambda _: {"credentials": [ACCOUNT]}),
    (r"google/sheets/spreadsheets", lambda _: {"spreadsheets": [], "next_page_token": None}),
    (r"google/sheets/spreadsheets/.*/tabs", lambda _: {"tabs": []}),
    (r"browser_sessions(/history)?", lambda _: [SESSION]),
    (r"browser_sessions/pbs_1", lambda _: SESSION),
    (r"browser_sessions/pbs_1/action_logs", lambda _: {"events": [EVENT], "next_cursor": None}),
    (r"browser_profiles", lambda _: [PROFILE]),
    (r"browser_profiles/bp_1", lambda _: PROFILE),
    (r".*/usage", lambda _: {"workflows": [], "credentials": [], "runs": []}),
    (r"models", lambda _: {"models": {}}),
    (r"folders", lambda _: []),
    (r"organizations/?", lambda _: {"organizations": [{"organization_id": "o_1", "organization_name": "o"}]}),
    (r"browser_types", lambda _: {"browser_types": ["chrome"]}),
    (r"config/runtime", lambda _: {"browser_streaming_mode": "cdp"}),
    (r".*/chat-history", lambda _: {"chat_history": [], "workflow_copilot_chat_id": None}),
    (
        r"debug-session/wpid_1",
        lambda _: {"debug_session_id": "ds_1", "browser_session_id": "pbs_1", "status": "created", **STAMPS},
    ),
    (r"debug-session/wpid_1/runs", lambda _: []),
    (r"scripts/wpid_1/blocks", lambda _: {"blocks": {}}),
    (r"scripts/wpid_1/.*/values", lambda _: {"total_count": 0, "filtered_count": 0, "values": [], "page": 1, "page_size": 10}),
)


def serve(ui: Path, api: Api) -> int:
    """Serves a built UI and the double on loopback, with the gateway's policy; returns the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self, status: int, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Security-Policy", POLICY)
            # As named by their content: the browser compiles the 5 MB of the script once, not at each page.
            self.send_header("Cache-Control", "max-age=3600" if "/assets/" in self.path else "no-cache")
            self.end_headers()
            self.wfile.write(content)

        def handle_any(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if url.path == "/ui-session":
                answer: Any = {"token": "x.eyJleHAiOjQ5MDAwMDAwMDB9.y"}
            elif re.match(r"/(api|v1)/", url.path):
                answer = api.answer(self.command, url.path, parse_qs(url.query), body)
            else:
                file = ui / url.path.lstrip("/")
                if not file.is_file():
                    file = ui / "index.html"
                return self.reply(200, file.read_bytes(), mimetypes.guess_type(file.name)[0] or "application/octet-stream")
            return self.reply(200, json.dumps(answer).encode(), "application/json")

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def fill(ui: Path, port: int, language: str) -> None:
    """Writes the addresses and the language into the scripts, as the gateway's start does."""
    values = {
        "__VITE_API_BASE_URL_PLACEHOLDER__": f"http://127.0.0.1:{port}/api/v1",
        "__VITE_ARTIFACT_API_BASE_URL_PLACEHOLDER__": f"http://127.0.0.1:{port}",
        "__VITE_BROWSER_STREAMING_MODE_PLACEHOLDER__": "cdp",
        "__VITE_WSS_BASE_URL_PLACEHOLDER__": f"ws://127.0.0.1:{port}/api/v1",
        "__UI_LANGUAGE_PLACEHOLDER__": language,
    }
    for script in ui.rglob("*.js"):
        text = script.read_text()
        if "_PLACEHOLDER__" in text:
            for name, value in values.items():
                text = text.replace(name, value)
            script.write_text(text)


class Looker:
    """A person who looks at pages. errors: what scripts threw, with the page."""

    def __init__(self, page: Page, port: int, pictures: Path) -> None:
        self.page = page
        self.url = f"http://127.0.0.1:{port}"
        self.pictures = pictures
        self.where = ""
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(f"{self.where}: {str(error)[:200]}"))
        page.on("console", lambda message: self._read(message.text))

    def _read(self, text: str) -> None:
        # A panel that throws shows a sentence in its place, and the page goes on.
        if any(sign in text for sign in ("Content Security Policy", "__text", "TypeError")):
            self.errors.append(f"{self.where}: {text[:200]}")

    def open(self, name: str, path: str) -> str:
        """Opens a page, and returns the text that is seen of it when it has not changed for a while."""
        self.where = name
        self.page.goto(f"{self.url}{path}")
        self.settle()
        return self.see(name)

    def settle(self) -> None:
        """Waits until the page shows something, and the same for 0.8 s; at most 20 s, because some pages count seconds."""
        shown, still = "", 0
        for _ in range(100):
            self.page.wait_for_timeout(200)
            now: str = self.page.evaluate("document.body.innerText")
            shown, still = now, still + 1 if now == shown and len(now) > 100 else 0
            if still == 4:
                return

    def see(self, name: str) -> str:
        """The visible texts, with placeholders and names for screen readers; a picture beside it."""
        self.page.screenshot(path=str(self.pictures / f"{name}.png"))
        text: str = self.page.evaluate(
            """() => [document.body.innerText, ...[...document.querySelectorAll("[placeholder], [aria-label], [title]")].flatMap(
                (e) => [e.placeholder, e.getAttribute("aria-label"), e.title])].filter(Boolean).join("\\n")"""
        )
        return text


def press(target: Locator) -> None:
    """A click as a person does it; by script where the canvas has moved the target out of sight, or something lies over it.

    Never where the target only seems to be: a click on the library that lies over it would add a block.
    """
    try:
        target.click(timeout=5000)
    except Error:
        target.evaluate("element => element.click()")


class Author:
    """A person who makes, saves, schedules and runs a workflow. words: the UI's texts in its language, by their English."""

    def __init__(self, looker: Looker, api: Api, words: dict[str, str]) -> None:
        self.looker = looker
        self.page = looker.page
        self.api = api
        self.words = words
        self.texts: dict[str, str] = {}

    def said(self, english: str) -> str:
        return self.words.get(english, english)

    def see(self, name: str) -> None:
        self.looker.where = name
        self.texts[name] = self.looker.see(name)

    def sends(self, what: str, act: Callable[[], object]) -> None:
        """Acts, and waits until the API was asked for `what`; AssertionError, with what the page says, if it never is.

        Acts again, as a person does: a click on a dialog that still comes in has no effect.
        """
        before = len(self.api.sent)
        for _ in range(3):
            with contextlib.suppress(Error):
                act()
            for _ in range(100):
                if any(name == what for name, _ in self.api.sent[before:]):
                    return
                self.page.wait_for_timeout(200)
        notices = "[...document.querySelectorAll('[role=status], [role=alert], li')].map((e) => e.innerText).join(' ')"
        said = self.page.evaluate(notices)
        raise AssertionError(f"{self.looker.where}: {what} was never asked for; the page says: {said[-2000:]}")

    def open_editor(self) -> None:
        """Opens the workflow's editor; at first, a new workflow has a browser beside it, which takes the forms' place."""
        self.looker.open("made", "/agents/wpid_1/studio")
        self.page.get_by_test_id("node-adder-button").last.wait_for(timeout=60_000)
        # The editor forgets a change that comes before its first requests are answered.
        self.page.wait_for_load_state("networkidle")
        self.page.wait_for_timeout(2000)

    def open_library(self) -> list[str]:
        """Opens the library behind the last block; the kinds of blocks that it has."""
        press(self.page.get_by_test_id("node-adder-button").last)
        self.page.wait_for_timeout(500)
        press(self.page.get_by_text(self.said("Add Block"), exact=True).last)
        items = self.page.locator('[data-testid^="block-library-item-"]')
        items.first.wait_for(timeout=20_000)
        return [str(item.get_attribute("data-testid")).removeprefix("block-library-item-") for item in items.all()]

    def add(self, kind: str, label: str) -> None:
        """Adds a block of a kind, which the editor names `label`, and writes a word of the UI into each empty field."""
        item = self.page.get_by_test_id(f"block-library-item-{kind}")
        # The editor closes the library when it draws the canvas again, as it does after the block before.
        for _ in range(5):
            try:
                self.open_library()
                item.wait_for(timeout=5000)
                break
            except Error:
                self.page.keyboard.press("Escape")
                self.page.wait_for_timeout(1000)
        # Once: a click that a busy machine answers late would add a second block if it were repeated.
        item.evaluate("element => element.click()")
        named = self.page.get_by_text(label, exact=True)
        named.first.wait_for(timeout=20_000)
        self.page.wait_for_timeout(500)
        self.see(f"block-{kind}")
        node = self.page.locator(".react-flow__node").filter(has=named).last
        fields = node.locator("textarea, input:not([type]), input[type=text], input[type=email], input[type=url]")
        for field in fields.all():
            if field.is_visible() and field.is_editable() and field.input_value() == "":
                # This one is refused with anything but an address.
                field.fill("https://example.com/Save" if kind == "http_request" else "Save")
        if kind == "workflowTrigger":
            press(node.get_by_text(self.said("Select an agent to trigger..."), exact=True))
            press(node.get_by_text("Daily", exact=True))
        # Lists of suggestions, which some fields open, are in front of the next block.
        self.page.keyboard.press("Escape")

    def make(self, only: list[str]) -> list[str]:
        """A new workflow with a block of each kind that the library has, saved; the kinds."""
        self.looker.open("made", "/agents")
        self.sends("POST workflows", lambda: press(self.page.get_by_text(self.said("New Agent"), exact=True).first))
        self.open_editor()
        offered = self.open_library()
        # Opened twice, the library would add its first block twice.
        self.open_editor()
        # Blocks with blocks inside at last: behind them, the last place for a block is in them.
        inside = [kind for kind in offered if kind in {"conditional", "loop"}]
        kinds = only or [kind for kind in offered if kind not in inside] + inside
        for number, kind in enumerate(kinds, start=1):
            self.looker.where = kind
            self.add(kind, f"block_{number}")
        self.looker.where = "saved"
        unsaved = self.page.get_by_label(self.said("Save workflow (unsaved changes)"), exact=True)
        unsaved.click(timeout=20_000)
        # What will be saved is listed first.
        save = self.page.get_by_role("button", name=self.said("Save changes"), exact=True)
        save.wait_for(timeout=20_000)
        self.see("saving")
        self.sends("PUT workflows/wpid_1", lambda: press(save))
        return kinds

    def schedule(self) -> None:
        """A schedule of the workflow, at the time that the dialog proposes."""
        self.looker.open("scheduled", "/schedules")
        press(self.page.get_by_role("button", name=self.said("Create Schedule"), exact=True))
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_placeholder(self.said("Search agents...")).click()
        press(dialog.get_by_role("button", name="Runs", exact=True))
        dialog.get_by_placeholder(self.said("Auto-generated if empty")).fill("Daily")
        dialog.get_by_placeholder(self.said("Add a description...")).fill("Name")
        self.page.wait_for_timeout(1000)
        self.see("schedule-dialog")
        create = dialog.get_by_role("button", name=self.said("Create Schedule"), exact=True)
        self.sends("POST workflows/wpid_1/schedules", lambda: press(create))

    def run(self) -> None:
        """A run of the workflow, with the values that its form proposes."""
        self.looker.open("started", "/agents/wpid_1/run")
        button = self.page.get_by_role("button", name=self.said("Run agent"), exact=True)
        self.sends("POST workflows/wpid_1/run", lambda: press(button))
        self.looker.settle()
        self.see("running")


def script_seconds(context: BrowserContext, url: str) -> float:
    """Seconds of the processor's time that the scripts of a page took until it had its rows."""
    page = context.new_page()
    session = context.new_cdp_session(page)
    # Time of the thread, so that other programs of the machine do not count.
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(url)
    page.get_by_text("wr_3", exact=True).first.wait_for(timeout=120_000)
    page.wait_for_timeout(500)
    found = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
    page.close()
    return float(found["ScriptDuration"])


def compare(english: Path, others: Path, pairs: int) -> dict[str, Any]:
    """Script time of the page of runs in English and Korean, loaded in turn: medians in seconds, and of each pair the ratio."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        urls = {}
        for language in ("en", "ko"):
            ui = Path(folder) / language
            shutil.copytree(english, ui)
            if language != "en":
                shutil.copytree(others, ui, dirs_exist_ok=True)
            port = serve(ui, Api())
            fill(ui, port, language)
            urls[language] = f"http://127.0.0.1:{port}/runs"
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = browser.new_context(locale="en-US", timezone_id="Asia/Seoul")
        # What is compiled and kept is made by the first loads, which do not count.
        for url in [*urls.values()] * 2:
            script_seconds(context, url)
        seconds: dict[str, list[float]] = {language: [] for language in urls}
        for number in range(pairs):
            for language in ("en", "ko") if number % 2 else ("ko", "en"):
                seconds[language].append(script_seconds(context, urls[language]))
        browser.close()
    ratios = [korean / before for korean, before in zip(seconds["ko"], seconds["en"], strict=True)]
    return {**{language: statistics.median(taken) for language, taken in seconds.items()}, "ratios": sorted(ratios)}


def main(english: Path, others: Path, language: str, pictures: Path, only: list[str]) -> dict[str, Any]:
    """The findings: language (of the page), texts, kinds (of blocks), sent, errors; of "browser", the languages before and after
    its switch was used, and errors.
    """
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        ui = Path(folder) / "ui"
        shutil.copytree(english, ui)
        if language != "en":
            shutil.copytree(others, ui, dirs_exist_ok=True)
        api = Api()
        port = serve(ui, api)
        fill(ui, port, language)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1600, "height": 1500}, locale="en-US", timezone_id="Asia/Seoul")
        looker = Looker(context.new_page(), port, pictures)
        of_page = "document.documentElement.lang"
        if language == "browser":
            looker.open("choice", "/runs")
            seen = [looker.page.evaluate(of_page)]
            with looker.page.expect_navigation():
                looker.page.locator("#ui-language").select_option("ko")
            looker.open("chosen", "/runs")
            seen.append(looker.page.evaluate(of_page))
            return {"switch": seen, "errors": looker.errors}
        words = {} if language == "en" else json.loads((ui / f"languages/{language}.json").read_text())["texts"]
        texts = {name: looker.open(name, path) for name, path in SCREENS.items()} if not only else {}
        author = Author(looker, api, words)
        kinds = author.make(only)
        author.schedule()
        author.run()
        found = {
            "language": looker.page.evaluate(of_page),
            "texts": texts | author.texts,
            "kinds": kinds,
            "sent": api.sent,
            "errors": looker.errors,
        }
        browser.close()
        return found


if __name__ == "__main__":
    english, others, language, pictures, *only = sys.argv[1:]
    if language == "time":
        json.dump(compare(Path(english), Path(others), int(pictures)), sys.stdout)
    else:
        json.dump(main(Path(english), Path(others), language, Path(pictures), only), sys.stdout)
