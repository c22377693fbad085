"""Uses the UI as a person does and prints a line for each action that worked; ends with 1 and one line at the first that did not.

Runs in the server's image beside its Playwright (lab/rehearsal/browser). Standard input: a JSON object with app_url, own_urls,
smoke_url, username and password; with run (the id of an earlier run) and panels (the texts in them, by their names) it reads
only the panels of that run. Pictures go to /pictures. Roles, labels and test ids are those of skyvern-ui 1.0.56.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import relay
from playwright.sync_api import Browser, ConsoleMessage, Error, Locator, Page, expect, sync_playwright

PICTURES = Path("/pictures")
STEP_MILLISECONDS = 60_000
RUN_MILLISECONDS = 180_000
# Long enough to see the live view while the run waits.
WAIT_SECONDS = 8
SETTLED_MILLISECONDS = 20_000
SOUGHT = "(video => !video.seeking && video.currentTime > video.duration - 2)(document.querySelector('video'))"
SHOWN = "selector => [...document.querySelectorAll(selector)].some(image => image.complete && image.naturalWidth > 0)"
PLAYABLE = "[...document.querySelectorAll('video')].some(video => video.readyState >= 3 && video.duration > 1)"
# The browser's own words; the message has the address beside them.
MISSING = "Failed to load resource: the server responded with a status of 404"


class Findings:
    """Problems of a page that the browser sees: errors on the console or in scripts, requests to other hosts, failed requests."""

    def __init__(self, own_urls: list[str]) -> None:
        self.own = {urlsplit(url).netloc for url in own_urls}
        self.problems: list[str] = []
        self.frames = 0

    def watch(self, page: Page) -> None:
        """Collects the problems of a page from now on."""
        page.on("console", self._read_console)
        page.on("pageerror", lambda error: self.problems.append(f"script: {str(error)[:200]}"))
        page.on("request", lambda request: self._check_host(request.url))
        page.on("websocket", lambda socket: self._watch_stream(socket))

    def _read_console(self, message: ConsoleMessage) -> None:
        # Skyvern names a recording as WebM and replaces it by an MP4 while the page of the run is open; a reload finds that.
        early = message.text.startswith(MISSING) and re.search(r"/v1/artifacts/[^/]+/content\?", message.location["url"])
        if message.type == "error" and not early:
            self.problems.append(f"console: {message.text[:200]}")

    def _check_host(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"data", "blob"} and parts.netloc not in self.own:
            self.problems.append(f"request to {parts.scheme}://{parts.netloc}")

    def _watch_stream(self, socket: Any) -> None:
        self._check_host(socket.url)
        socket.on("framereceived", self._count_frame)

    def _count_frame(self, frame: Any) -> None:
        self.frames += 1


class Person:
    """A person in front of a browser."""

    def __init__(self, page: Page, task: dict[str, Any]) -> None:
        self.page = page
        self.task = task
        self.app = task["app_url"]
        # Continues the numbers of earlier pictures.
        self.number = len(list(PICTURES.glob("[0-9]*.png")))

    @contextmanager
    def does(self, what: str) -> Iterator[None]:
        """One action: a line and a picture if it worked; a picture and SystemExit with one line if it did not."""
        self.number += 1
        name = f"{self.number:02}-{re.sub(r'[^a-z0-9]+', '-', what.lower())}.png"
        try:
            yield
        except (Error, AssertionError) as failed:
            self.page.screenshot(path=PICTURES / f"failed-{name}")
            sys.exit(f"{what}: {str(failed).splitlines()[0]} (picture: failed-{name})")
        self.page.screenshot(path=PICTURES / name)
        print(f"ok    {what}", flush=True)

    def open(self, path: str) -> None:
        self.page.goto(self.app + path, wait_until="domcontentloaded")

    def add_block(self, title: str) -> None:
        """From the menu at the end of the workflow. It moves while it opens under the pointer, so its entry gets an event."""
        end = self.page.get_by_test_id("node-adder-button").last
        end.hover(force=True)
        self.page.get_by_text("Add Block", exact=True).last.dispatch_event("click")
        self.page.get_by_text(title, exact=True).first.click()


def check_login(browser: Browser, task: dict[str, Any]) -> None:
    """Without a login, and with a wrong login, the browser gets nothing but the question."""
    for credentials in (None, {"username": task["username"], "password": "wrong"}):
        context = browser.new_context(http_credentials=credentials)
        page = context.new_page()
        try:
            response = page.goto(task["app_url"] + "/")
            status, asked = (0, "") if response is None else (response.status, response.headers.get("www-authenticate", ""))
        except Error as refused:
            # Without an answer to its question, Chromium shows its own error page.
            status, asked = (401, "Basic") if "ERR_INVALID_AUTH_CREDENTIALS" in str(refused) else (0, str(refused))
        if status != 401 or not asked.startswith("Basic"):
            sys.exit(f"login: {'a wrong password' if credentials else 'no login'} got {status} {asked}")
        context.close()
    print("ok    login asked, wrong password refused", flush=True)


def use(person: Person, findings: Findings) -> None:
    """The whole story, from the list of workflows to a recording."""
    page = person.page
    with person.does("the list of workflows"):
        person.open("/workflows")
        expect(page.get_by_text("My Agents")).to_be_visible()
        expect(page.get_by_text("Unable to verify")).to_have_count(0)
    with person.does("a new workflow in the editor"):
        page.get_by_role("button", name="Create", exact=True).click()
        page.get_by_role("menuitem", name="Blank Agent").click()
        editor = page.get_by_role("button", name="Editor", exact=True)
        editor.wait_for()
        if editor.get_attribute("aria-pressed") != "true":
            editor.click()
        person.add_block("Go to URL Block")
        page.get_by_placeholder("Navigate to this URL").fill(f"{person.task['smoke_url']}/")
        person.add_block("Wait Block")
        page.locator(".react-flow__node input:not([type=file])").last.fill(str(WAIT_SECONDS))
    with person.does("the live view of the editor's browser"):
        expect(page.get_by_text("Live", exact=True).first).to_be_visible(timeout=RUN_MILLISECONDS)
        wait_until(page, lambda: findings.frames > 0)
    with person.does("the workflow saved"):
        page.get_by_role("button", name="Save workflow").click()
        save, saved = page.get_by_role("button", name="Save changes"), page.get_by_text("Changes saved", exact=True).first
        expect(save.or_(saved).first).to_be_visible()
        # It asks first if the browser's session has made changes itself.
        if save.is_visible():
            save.click()
        expect(saved).to_be_visible()
    with person.does("the workflow started"):
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_role("button", name="Run agent").click()
        page.wait_for_url("**/runs/wr_*")
    before = findings.frames
    with person.does("the live view of the run"):
        expect(visible(page, "Running")).to_be_visible(timeout=RUN_MILLISECONDS)
        expect(visible(page, "Live")).to_be_visible()
        wait_until(page, lambda: findings.frames > before)
    with person.does("the run completed"):
        expect(visible(page, "Completed")).to_be_visible(timeout=RUN_MILLISECONDS)
    with person.does("the run after a reload of its address"):
        # Skyvern names a recording before it exists: at the very end of the run it is not there yet.
        page.wait_for_timeout(SETTLED_MILLISECONDS)
        page.reload(wait_until="domcontentloaded")
        expect(visible(page, "Completed")).to_be_visible()
        expect(steps(page)).to_have_count(2)
    with person.does("the screenshots"):
        page.get_by_role("button", name="Screenshots", exact=True).click()
        wait_until(page, lambda: bool(page.evaluate(SHOWN, "img[src*='/v1/artifacts/']")))
    with person.does("the recording"):
        page.get_by_role("button", name="Recording", exact=True).click()
        wait_until(page, lambda: bool(page.evaluate(PLAYABLE)))
        # Near its end, which the player asks for with a range.
        page.evaluate("(video => video.currentTime = video.duration - 1)(document.querySelector('video'))")
        wait_until(page, lambda: bool(page.evaluate(SOUGHT)))
    print(f"run   {urlsplit(page.url).path.rpartition('/')[2]}")


def read_panels(person: Person) -> None:
    """Reads the panels of a step's diagnostics; their texts were planted."""
    page = person.page
    with person.does("the first step"):
        person.open(f"/runs/{person.task['run']}")
        steps(page).first.click()
        page.locator(":visible", has_text=re.compile("^Diagnostics$")).last.click()
        page.wait_for_url("**/diagnostics**")
    for panel, text in person.task["panels"].items():
        with person.does(f"the panel {panel}"):
            page.get_by_role("tab", name=panel, exact=True).click()
            expect(page.get_by_role("tabpanel")).to_contain_text(text)


def visible(page: Page, text: str) -> Locator:
    """The first visible place with the text, in small letters or capitals: style sheets change them."""
    return page.get_by_text(re.compile(f"^{text}$", re.IGNORECASE)).locator("visible=true").first


def steps(page: Page) -> Locator:
    """The run's blocks in its timeline."""
    return page.locator("button:visible", has_text=re.compile(r"^#\d+\s*block_"))


def wait_until(page: Page, condition: Callable[[], bool]) -> None:
    """Waits for the condition, while the page goes on; AssertionError if it takes too long."""
    for _ in range(STEP_MILLISECONDS // 200):
        if condition():
            return
        page.wait_for_timeout(200)
    raise AssertionError("did not happen in time")


def main() -> None:
    """Everything, in one browser."""
    task = json.load(sys.stdin)
    findings = Findings(task["own_urls"])
    with sync_playwright() as playwright:
        proxy = f"http://127.0.0.1:{relay.tcp_to_file('/outside/proxy')}"
        browser = playwright.chromium.launch(proxy={"server": proxy})
        if "run" not in task:
            check_login(browser, task)
        login = {"username": task["username"], "password": task["password"]}
        page = browser.new_page(http_credentials=login, viewport={"width": 1920, "height": 1080})
        page.set_default_timeout(STEP_MILLISECONDS)
        expect.set_options(timeout=STEP_MILLISECONDS)
        findings.watch(page)
        person = Person(page, task)
        if "run" in task:
            read_panels(person)
        else:
            use(person, findings)
        browser.close()
    if findings.problems:
        more = f"; and {len(findings.problems) - 3} more" if len(findings.problems) > 3 else ""
        sys.exit(f"the browser saw: {'; '.join(findings.problems[:3])}{more}")
    print("ok    no error on the console, no request to another host")


if __name__ == "__main__":
    main()
