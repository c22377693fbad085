"""The dashboard as axe-core judges it in Chromium: names, roles, contrast, order, in both languages and both themes.

Nightly, because it needs Chromium, and axe-core from npm.
"""

import html
import json
import re
import subprocess
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


def judge(page: str, axe: str, theme: str, width: int, folder: Path) -> dict[str, Any]:
    """What axe-core finds on a page, with its style sheet in it and without its policy, in Chromium."""
    style = f"<style>{(FOLDER / 'style.css').read_text()}</style>"
    whole, count = re.subn(
        r'<link rel="stylesheet"[^>]*>|<meta http-equiv="Content-Security-Policy"[^>]*>', lambda _: style, page
    )
    assert count == 1
    file = folder / "page.html"
    file.write_text(whole.replace("</body>", f"<script>{axe}</script><script>{RUN}</script></body>"))
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
    request = monitor.dashboard.read({})
    problem = "The database does not answer. This page tries again when you reload it." if what == "no database" else ""
    reader = Reader(monitor, empty=what == "empty")
    facts = None if problem else monitor.dashboard.gather(reader, config, request, NOW)
    page = monitor.dashboard.page(config, request, language, facts, problem)
    found = judge(page, axe, theme, width, tmp_path)
    assert found["violations"] == []
    assert found["passes"] > 10


@pytest.mark.parametrize(("language", "theme", "width"), [("en", "dark", 390), ("ko", "light", 1280)])
def test_axe_finds_nothing_on_the_page_over_all_stacks(
    language: fleet_page.Language, theme: str, width: int, axe: str, tmp_path: Path
) -> None:
    values: dict[str, Any] = {"address": "https://app.example.com", "containers": 9, "runs": None, "today": None, "backup": None}
    good = fleet_page.Row(name="shop", healthy=9, api=True, figures=Figures(runs=4, completed=3, failed=1, cost=1.5), **values)
    bad = fleet_page.Row(name="blog", healthy=7, api=False, figures=None, no_figures="monitor.enabled is false", **values)
    page = fleet_page.render([good, bad], {"gone": "docker: no answer within 20 s"}, 30, language, NOW)
    found = judge(page, axe, theme, width, tmp_path)
    assert found["violations"] == []
    assert found["passes"] > 10


def test_axe_sees_the_theme_and_a_fault(monitor: SimpleNamespace, config: Any, axe: str, tmp_path: Path) -> None:
    """A page that is wrong is not passed: a label without its field, and a text that the dark theme hides."""
    request = monitor.dashboard.read({})
    page = monitor.dashboard.page(config, request, "en", monitor.dashboard.gather(Reader(monitor), config, request, NOW))
    wrong = page.replace("</main>", '<input type="text"><p style="color: #1a202b; background: var(--back)">hidden</p></main>')
    found = judge(wrong, axe, "dark", 1280, tmp_path)
    assert {one["id"] for one in found["violations"]} == {"label", "color-contrast"}
