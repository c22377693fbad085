"""``ops fleet`` with doubles: a line for each stack, whatever became of the others, and what stacks say about their zones."""

import base64
import dataclasses
import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from components.settings import Settings
from ops.clients import process
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.machine import environment
from ops.observe import automation, doctor, fleet, fleet_page, zones
from ops.observe import status as one_status
from ops.observe.automation import Figures
from ops.observe.doctor.findings import error, warning
from ops.observe.fleet import Answer
from ops.observe.status import Runs
from ops.stack.stack import Stack
from tests.support import containers

STATUS = replace(
    containers.STATUS,
    stack="shop",
    docker_host="ssh://deploy@shop.example.net",
    address="https://shop-app.example.com",
    runs=Runs(max_runs=4, running=["wr_1"], queued=2, interrupted=0, draining=False),
)
CLOUDFLARE = {"provider": "cloudflare", "domain": "example.com", "api_token": {"secure": "v1:x:y"}}


def stack(root: Path, name: str, **sections: Any) -> Stack:
    host = {"docker_host": f"ssh://deploy@{name}.example.net"}
    config = {f"skyvern:{section}": keys for section, keys in {"host": host, **sections}.items()}
    (root / f"Pulumi.{name}.yaml").write_text(yaml.safe_dump({"config": config}))
    return Stack(name, root=root)


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Stack]:
    """Two stacks, of which the host of the second is off; and a third without a file."""

    def run(docker: Docker, *arguments: str, **options: Any) -> str:
        if "blog" in docker.host:
            raise UserError("docker: exit 1: ssh: connect to host blog.example.net port 22:\nNo route to host")
        return "28.5.2"

    monkeypatch.setattr(Docker, "run", run)
    monkeypatch.setattr(one_status, "observe", lambda chosen: STATUS)
    shop = stack(tmp_path, "shop", edge={**CLOUDFLARE, "cell": "shop"})
    return [stack(tmp_path, "blog"), shop, Stack("gone", root=tmp_path)]


def code_of(command: Any, *arguments: Any, **options: Any) -> int:
    with pytest.raises(typer.Exit) as ended:
        command(*arguments, **options)
    return ended.value.exit_code


# --- Status --------------------------------------------------------------------------------------------------------------


def test_a_host_that_does_not_answer_is_a_line_and_the_others_are_shown(
    two: list[Stack], capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(fleet.status, two) == 1
    blog, shop, gone = capsys.readouterr().out.splitlines()
    assert blog == (
        "stack blog: could not be looked at: docker: exit 1: ssh: connect to host blog.example.net port 22: No route to host"
    )
    assert shop.startswith("stack shop: 1 of 1 containers healthy; https://shop-app.example.com, API answers")
    assert shop.endswith("; runs: 1 of 4 in progress, 2 queued")
    assert gone.startswith("stack gone: could not be looked at: Pulumi.gone.yaml: does not exist")
    assert code_of(fleet.status, two[1:2]) == 0


def test_the_status_as_json_is_that_of_each_stack(two: list[Stack], capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(fleet.status, two[:2], as_json=True) == 1
    blog, shop = json.loads(capsys.readouterr().out)["stacks"]
    assert (blog["found"], blog["problem"] is None) == (None, False)
    assert (shop["cell"], shop["problem"], shop["found"]["runs"]["queued"]) == ("shop", None, 2)


def test_the_stacks_are_those_of_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [[{"name": "shop", "current": True}, {"name": "prod"}], []]
    monkeypatch.setattr(environment, "for_stacks", lambda: {"PULUMI_BACKEND_URL": "file:///s"})
    monkeypatch.setattr(process, "capture", lambda *_, **__: json.dumps(listed.pop(0)).encode())
    assert [one.name for one in fleet.all_stacks()] == ["prod", "shop"]
    with pytest.raises(UserError, match="file:///s has no stack yet"):
        fleet.all_stacks()


# --- Doctor --------------------------------------------------------------------------------------------------------------


def test_the_doctors_line_counts_and_names_the_first() -> None:
    found = [error("disk", "/", "is full", "make room"), warning("clock", "NTP", "is off", "switch it on")]
    line = fleet.doctor_line(Answer(stack=Stack("shop"), found=found))
    assert line == "stack shop: 1 error, 1 warning: / is full; make room; bin/ops doctor -s shop shows all"
    assert fleet.doctor_line(Answer(stack=Stack("shop"), found=[])) == "stack shop: nothing is wrong"


def test_doctor_is_red_for_a_stack_that_was_not_seen_and_for_a_zone(
    two: list[Stack], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fleet, "observe_for_doctor", lambda chosen: None)
    monkeypatch.setattr(doctor, "examine", lambda observation: [])
    assert code_of(fleet.doctor, two[1:2]) == 0
    assert code_of(fleet.doctor, two[:2]) == 1
    prod = stack(tmp_path, "prod", edge=CLOUDFLARE)
    capsys.readouterr()
    assert code_of(fleet.doctor, [two[1], prod]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("zone example.com: shop and prod all have its settings")


def edges(*, complete: bool = True, **named: dict[str, Any]) -> list[str]:
    token = {"provider": "cloudflare", "domain": "example.com", "api_token": "t" * 40}
    settings = {Stack(name): Settings.model_validate({"edge": {**token, **keys}}) for name, keys in named.items()}
    return list(zones.problems(settings, complete=complete))


MEMBER = {"cell": "shop", "zone_owner": False}


def test_what_stacks_say_about_their_zone() -> None:
    assert edges(prod={"cells": ["shop"]}, shop=MEMBER) == []
    assert edges(prod={}, other={"domain": "example.org"}) == []
    assert edges(prod={"cells": ["blog"]}, shop=MEMBER) == [
        "zone example.com: its rules do not cover shop; write edge.cells: [blog, shop] in Pulumi.prod.yaml"
    ]
    # One without a cell cannot give the zone away.
    assert edges(prod={}, shop={"cell": "shop"}, blog={"cell": "blog"}) == [
        "zone example.com: prod, shop and blog all have its settings and rules, and one would undo the other's; write "
        "edge.zone_owner: false in Pulumi.shop.yaml, Pulumi.blog.yaml"
    ]
    assert edges(shop={"cell": "shop"}, blog={"cell": "blog"}) == [
        "zone example.com: shop and blog all have its settings and rules, and one would undo the other's; write "
        "edge.zone_owner: false in all but one of Pulumi.shop.yaml, Pulumi.blog.yaml"
    ]
    assert edges(prod={}, new={}) == [
        "zone example.com: prod and new have the same hosts, such as app.example.com; write another edge.cell in the newest of "
        "Pulumi.prod.yaml, Pulumi.new.yaml, whose hosts it renames"
    ]
    assert edges(shop=MEMBER) == [
        "zone example.com: no stack has its settings and rules; remove edge.zone_owner from Pulumi.shop.yaml, or from another's "
        "file"
    ]
    # Its owner may be a stack that nobody named, or whose file is broken.
    assert edges(complete=False, shop=MEMBER) == []
    assert edges(prod={"cells": ["shop"]}, shop=MEMBER, shop2=MEMBER) == [
        "zone example.com: shop and shop2 have the same hosts, such as shop-app.example.com; write another edge.cell in "
        "the newest of Pulumi.shop.yaml, Pulumi.shop2.yaml, whose hosts it renames"
    ]


# --- Cost ----------------------------------------------------------------------------------------------------------------


FIGURES = Figures(runs=40, completed=30, failed=6, cost=1.25, input_tokens=1000, output_tokens=200, unpriced=3)


def test_figures_are_the_monitors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(docker: Docker, *arguments: str, **options: Any) -> str:
        asked.append(arguments)
        return "3f2a" if arguments[0] == "ps" else json.dumps({"days": 7, **dataclasses.asdict(FIGURES)})

    monkeypatch.setattr(Docker, "run", run)
    shop = stack(tmp_path, "shop", monitor={"enabled": True})
    assert fleet.figures(shop, shop.settings(), shop.docker(), 7) == FIGURES
    assert asked[-1] == ("exec", "skyvern-shop-monitor", *automation.COMMAND, "7")
    blog = stack(tmp_path, "blog")
    with pytest.raises(UserError, match=r"Pulumi\.blog\.yaml: monitor\.enabled is false"):
        fleet.figures(blog, blog.settings(), blog.docker(), 7)
    monkeypatch.setattr(Docker, "has", lambda *_, **__: False)
    with pytest.raises(UserError, match="skyvern-shop-monitor does not run; run script/up --stack shop"):
        fleet.figures(shop, shop.settings(), shop.docker(), 7)


@pytest.mark.parametrize(
    ("printed", "line"),
    [
        ("null", "has not made its tables yet"),
        # An earlier version, which counts today whatever it is asked.
        ('{"runs": 1, "completed": 1, "failed": 0, "unfinished": 0}', "counts today only"),
        ("", "counts today only"),
        ("[]", "counts today only"),
    ],
)
def test_what_the_monitor_cannot_say_is_one_line(printed: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Docker, "run", lambda *_, **__: printed)
    with pytest.raises(UserError, match=rf"^skyvern-shop-monitor: .*{line}"):
        automation.figures(Docker(""), "skyvern-shop-monitor", 7)


def test_the_table_adds_up_and_says_what_is_unknown() -> None:
    prod = Figures(runs=2, completed=2, cost=0.5)
    settings = Settings.model_validate({"edge": {**CLOUDFLARE, "api_token": "t" * 40, "cell": "blog"}})
    off = Answer[Figures](stack=Stack("blog"), settings=settings, problem="docker: no answer within 20 s")
    shown = fleet.cost_table([Answer(stack=Stack("prod"), found=prod), Answer(stack=Stack("shop"), found=FIGURES), off], 30)
    assert [line.split("  ")[0] for line in shown.splitlines()] == [
        "30 days, today among them",
        "stack",
        "prod",
        "shop",
        "all",
        "+ unknown: 3 calls of models without a price",
        "stack blog (cell blog): could not be looked at: docker: no answer within 20 s",
    ]
    assert shown.splitlines()[4].split() == ["all", "42", "32", "6", "1.75", "+", "unknown", "1000", "200"]


# --- Dashboard -----------------------------------------------------------------------------------------------------------


HOSTILE = "<script>alert(1)</script> \u202e"
TODAY = automation.Today(runs=3, completed=1, failed=2, unfinished=0, success_rate=1 / 3, missed_schedules=[HOSTILE])


def page(language: fleet_page.Language = "en", **problems: str) -> str:
    shop = fleet_page.Row("shop", dataclasses.replace(STATUS, today=TODAY), FIGURES, "")
    prod = fleet_page.Row("prod", STATUS, Figures(runs=2, completed=2, cost=0.5), "")
    blog = fleet_page.Row("blog", dataclasses.replace(STATUS, api_version=None), None, "monitor.enabled is false")
    return fleet_page.render([shop, prod, blog], problems, 30, language, datetime(2026, 11, 27, 12, 0, tzinfo=UTC))


def cells(html: str) -> list[list[str]]:
    """The text of each table row."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.S)
    return [[re.sub(r"<[^>]*>|\s+", " ", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.S)] for row in rows]


def test_the_page_adds_up_and_shows_what_is_wrong() -> None:
    text = page(gone="Pulumi.gone.yaml: does not exist")
    assert re.findall(r"<dd[^>]*>(.*?)</dd>", text) == ["3 / 4", "42", "84.2 %", "6", "at least $1.75"]
    assert re.findall(r'role="alert">(.*?)</p>', text) == ["gone: could not be looked at: Pulumi.gone.yaml: does not exist"]
    _, shop, prod, blog, _, shop_now, _, blog_now = cells(text)
    assert shop == ["shop", "40", "30", "6", "83.3 %", "at least $1.25", "1,000", "200"]
    assert prod == ["prod", "2", "2", "0", "100.0 %", "$0.50", "0", "0"]
    assert blog == ["blog", "monitor.enabled is false"]
    assert shop_now[1:7] == ["1 / 1", "answers", "1", "2", "2", "&lt;script&gt;alert(1)&lt;/script&gt; \u202e"]
    assert blog_now[2:] == ["does not answer", "1", "2", "-", "-", "-"]
    # Its own page, of a stack that has one.
    assert text.count('href="https://shop-app.example.com/dashboard?period=30&amp;lang=en"') == 2


def test_the_page_asks_nobody_and_runs_nothing() -> None:
    text = page(gone=HOSTILE)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert not re.search(r"<(script|link|img|iframe|object|form)|\bsrc=| style=|@import|url\(|\son\w+=", text)


def test_every_word_of_the_page_is_there_in_korean() -> None:
    text = page("ko", gone="x")
    assert 'lang="ko"' in text
    shown = re.sub(r"<style>.*?</style>|<[^>]*>", " ", text, flags=re.S)
    known = {
        "API",
        "shop",
        "prod",
        "blog",
        "gone",
        "x",
        "monitor",
        "enabled",
        "is",
        "false",
        "lt",
        "gt",
        "script",
        "alert",
        "UTC",
    }
    assert set(re.findall(r"[A-Za-z]{1,}", shown)) <= known
    assert "모든 스택" in shown


def test_one_page_over_all_stacks_names_those_that_do_not_answer(
    two: list[Stack], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counted: list[Figures | UserError] = [FIGURES, UserError("Pulumi.shop.yaml: monitor.enabled is false")]

    def figures(*_: Any) -> Figures:
        found = counted.pop(0)
        if isinstance(found, UserError):
            raise found
        return found

    monkeypatch.setattr(fleet, "figures", figures)
    file = tmp_path / "page.html"
    assert code_of(fleet.dashboard, two, output=file) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"{file}: 1 of 3 stacks; open it in a browser"
    assert [line.partition(":")[0] for line in printed[1:]] == ["stack blog", "stack gone"]
    assert re.findall(r'role="alert">(\w+):', file.read_text()) == ["blog", "gone"]
    assert cells(file.read_text())[1][:2] == ["shop", "40"]
    # Without a monitor it has no figures, and is there.
    assert code_of(fleet.dashboard, two[1:2], output=file) == 0
    assert cells(file.read_text())[1] == ["shop", "Pulumi.shop.yaml: monitor.enabled is false"]
    with pytest.raises(UserError, match="name a file in a folder that you may write"):
        fleet.dashboard(two[:1], output=tmp_path / "page.html" / "x")
