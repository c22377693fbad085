"""The dashboard as axe-core judges it in Chromium: names, roles, contrast, order, in both languages and both themes.

Nightly, because it needs Chromium, and axe-core from npm.
"""

import base64
import html
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.standins.vercel.build import node_modules
from ops.observe import fleet_page
from ops.observe.automation import Figures
from ops.paths import ROOT
from tests.support import chromium
from tests.support.containers import GATEWAY, STATUS
from tests.support.monitor import FOLDER

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]
AXE = ROOT / "tests/support/axe"
NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)
# As Chromium numbers them.
THEMES = {"dark": 0, "light": 1}
RUN = """
axe.run(document, {resultTypes: ["violations"]}).then(found => {
  const text = node => node.html + " " + node.failureSummary;
  const short = list => list.map(one => ({id: one.id, help: one.help, nodes: one.nodes.map(text)}));
  const result = document.createElement("pre");
  result.id = "found";
  result.textContent = JSON.stringify({violations: short(found.violations), passes: found.passes.length});
  document.body.append(result);
});
"""


@pytest.fixture(scope="module")
def axe() -> str:
    """Its script."""
    return (node_modules("axe", AXE) / "axe-core/axe.min.js").read_text()


class Reader:
    """A database with two workflows; an empty one without rows."""

    def __init__(self, monitor: SimpleNamespace, *, empty: bool = False) -> None:
        self.monitor, self.empty = monitor, empty

    def rows(self, *rows: dict[str, Any]) -> list[dict[str, Any]]:
        return [] if self.empty else list(rows)

    def titles(self, _: str) -> dict[str, str]:
        return {} if self.empty else {"wpid_1": "네이버 블로그", "wpid_2": "<b>Orders</b>"}

    def statistics(self, selection: Any) -> Any:
        counts = {"completed": 6, "failed": 2, "terminated": 1, "timed_out": 1, "canceled": 3, "unfinished": 1, "runs": 14}
        row: dict[str, Any] = {**counts, "median": 65.0, "p95": 700.5, "queue": 0.25}
        if self.empty:
            row = {**dict.fromkeys(counts, 0), "median": None, "p95": None, "queue": None}
        days = [{**counts, "day": selection.span.since.date() + timedelta(days=number)} for number in range(3)]
        return self.monitor.queries.Statistics(
            total=row,
            by_workflow=self.rows({**row, "workflow": "wpid_1"}, {**row, "workflow": "wpid_2"}),
            by_day=self.rows(*days),
        )

    def failures(self, _: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        why = {"category": "NAVIGATION", "codes": "LOGIN_EXPIRED", "interrupted": False}
        run = {"run": "wr_1", "workflow": "wpid_1", "status": "failed", "finished": NOW}
        return self.rows({**run, **why}), self.rows({"runs": 4, **why})

    def spending(self, *_: Any) -> list[dict[str, Any]]:
        tokens = {"input_tokens": 1000, "output_tokens": 10, "calls": 1}
        return self.rows({"workflow": "wpid_1", "model": "gpt", "cost": 0.5, "unpriced": 0, **tokens})

    def schedules(self, _: str) -> list[dict[str, Any]]:
        timing = {"cron": "0 9 * * 1-5", "every_seconds": None, "first": None, "once": None, "timezone": "Asia/Seoul"}
        times = {"modified": NOW - timedelta(days=30), "last": NOW}
        return self.rows({"schedule": "wfs_1", "name": "Mornings", "workflow": "wpid_1", "enabled": True, **timing, **times})


def styled(page: str) -> str:
    """A page with its style sheet in it and without its policy."""
    style = f"<style>{(FOLDER / 'style.css').read_text()}</style>"
    whole, count = re.subn(
        r'<link rel="stylesheet"[^>]*>|<meta http-equiv="Content-Security-Policy"[^>]*>', lambda _: style, page
    )
    assert count == 1
    return whole


def judge(page: str, axe: str, theme: str, width: int, folder: Path) -> dict[str, Any]:
    """What axe-core finds on a page in Chromium."""
    file = folder / "page.html"
    file.write_text(styled(page).replace("</body>", f"<script>{axe}</script><script>{RUN}</script></body>"))
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={width},900",
    ]
    wishes = [f"--blink-settings=preferredColorScheme={THEMES[theme]}", "--virtual-time-budget=60000", "--dump-dom"]
    done = subprocess.run([chromium.executable(), *options, *wishes, file.as_uri()], capture_output=True, check=True, timeout=600)
    (found,) = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout.decode(), re.S)
    document: dict[str, Any] = json.loads(html.unescape(found))
    return document


def dashboard(monitor: SimpleNamespace, config: Any, language: str, what: str) -> str:
    """The dashboard with ``rows``, ``empty``, or with ``no database``."""
    request = monitor.dashboard.read({})
    problem = "The database does not answer. This page tries again when you reload it." if what == "no database" else ""
    reader = Reader(monitor, empty=what == "empty")
    facts = None if problem else monitor.dashboard.gather(reader, config, request, NOW)
    page: str = monitor.dashboard.page(config, request, language, facts, problem)
    return page


@pytest.mark.parametrize(
    ("language", "theme", "width", "what"),
    [
        ("en", "light", 1280, "rows"),
        ("ko", "dark", 390, "rows"),
        ("en", "dark", 1280, "empty"),
        ("ko", "light", 390, "no database"),
    ],
)
def test_axe_finds_nothing(
    language: str, theme: str, width: int, what: str, monitor: SimpleNamespace, config: Any, axe: str, tmp_path: Path
) -> None:
    found = judge(dashboard(monitor, config, language, what), axe, theme, width, tmp_path)
    assert found["violations"] == []
    assert found["passes"] > 10


def all_stacks(language: fleet_page.Language) -> str:
    """The page over two stacks and one that does not answer."""
    shop = replace(STATUS, stack="shop", address="https://app.example.com")
    ill = replace(shop, api_version=None, containers=[replace(GATEWAY, health="unhealthy")])
    good = fleet_page.Row("shop", shop, Figures(runs=4, completed=3, failed=1, cost=1.5))
    bad = fleet_page.Row("blog", ill, None, "monitor.enabled is false")
    return fleet_page.render([good, bad], {"gone": "docker: no answer within 20 s"}, 30, language, NOW)


@pytest.mark.parametrize(("language", "theme", "width"), [("en", "dark", 390), ("ko", "light", 1280)])
def test_axe_finds_nothing_on_the_page_over_all_stacks(
    language: fleet_page.Language, theme: str, width: int, axe: str, tmp_path: Path
) -> None:
    found = judge(all_stacks(language), axe, theme, width, tmp_path)
    assert found["violations"] == []
    assert found["passes"] > 10


def test_axe_sees_the_theme_and_a_fault(monitor: SimpleNamespace, config: Any, axe: str, tmp_path: Path) -> None:
    """A page that is wrong is not passed: a label without its field, and a text that the dark theme hides."""
    request = monitor.dashboard.read({})
    page = monitor.dashboard.page(config, request, "en", monitor.dashboard.gather(Reader(monitor), config, request, NOW))
    wrong = page.replace("</main>", '<input type="text"><p style="color: #1a202b; background: var(--back)">hidden</p></main>')
    found = judge(wrong, axe, "dark", 1280, tmp_path)
    assert {one["id"] for one in found["violations"]} == {"label", "color-contrast"}


# --- Pictures ----------------------------------------------------------------------------------------------------------------

SIZES = {"phone": (390, 844), "desktop": (1280, 900)}
FOCUSABLE = "a[href], button, select, input:not([type=hidden]), [tabindex='0']"
# What has the focus: its place among all that may have it, whether it shows that, whether it is in sight, and its words.
FOCUSED = f"""
(() => {{
  const now = document.activeElement, box = now.getBoundingClientRect(), style = getComputedStyle(now);
  const named = document.getElementById(now.getAttribute("aria-labelledby"));
  return {{
    place: [...document.querySelectorAll("{FOCUSABLE}")].indexOf(now),
    shown: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0,
    seen: box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
    words: (now.ariaLabel || named?.innerText || now.closest("label")?.innerText || now.innerText).trim(),
  }};
}})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    with chromium.page(tmp_path_factory.mktemp("browser")) as page:
        page.send("Page.enable")
        yield page


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("what", ["rows", "empty", "no database", "all stacks"])
def test_every_page_fits_its_screen_in_its_theme_and_works_by_keyboard(
    what: str,
    language: fleet_page.Language,
    theme: str,
    size: str,
    monitor: SimpleNamespace,
    config: Any,
    browser: chromium.Page,
    tmp_path: Path,
) -> None:
    """The pictures stay in pytest's folder for whoever wants to look: ``--basetemp``."""
    width, height = SIZES[size]
    page = all_stacks(language) if what == "all stacks" else dashboard(monitor, config, language, what)
    file = tmp_path / "page.html"
    file.write_text(styled(page))
    browser.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=size == "phone")
    browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
    browser.send("Page.navigate", url=file.as_uri())
    browser.wait_for(f"location.href === {json.dumps(file.as_uri())} && document.readyState === 'complete'")
    picture = base64.b64decode(browser.send("Page.captureScreenshot", captureBeyondViewport=True)["data"])
    (tmp_path / f"{what}-{language}-{theme}-{size}.png").write_bytes(picture)
    assert picture.startswith(b"\x89PNG")
    # Tables scroll by themselves, and the page never to the side.
    assert browser.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    # The chart can be read: letters of their size, and the newest day in sight.
    letters = "[...document.querySelectorAll('svg text')].map(one => one.getBoundingClientRect())"
    assert browser.evaluate(f"{letters}.every(box => box.height >= 10)")
    assert browser.evaluate(f"Math.max(0, ...{letters}.map(box => box.right)) <= innerWidth")
    red, green, blue = map(int, re.findall(r"\d+", browser.evaluate("getComputedStyle(document.body).backgroundColor"))[:3])
    assert (red + green + blue > 3 * 128) == (theme == "light")
    # On paper dark letters on white, without what only a screen can use.
    browser.send("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": theme}])
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.evaluate("[...document.querySelectorAll('nav, form')].every(one => one.offsetParent === null)")
    browser.send("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": theme}])
    count = browser.evaluate(f'document.querySelectorAll("{FOCUSABLE}").length')
    for place in range(count):
        browser.press("Tab", "", 9)
        focused = browser.evaluate(FOCUSED)
        assert (focused["place"], focused["shown"], focused["seen"]) == (place, True, True), focused
        assert focused["words"], focused
