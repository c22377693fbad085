"""F09: what ``browser.allow`` opens, in Skyvern's check, in Squid and in the firewall, and how a preview shows it."""

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from components.host.egress import START, rules
from components.host.firewall import destinations
from components.host.network import subnets
from components.host.volumes import STARTED_FOLDER
from components.settings import Settings
from ops.paths import ROOT
from ops.preview import exposure
from tests.support import program
from tests.support.program import Program

CHROME = {"type": "cdp-connect", "url": "http://10.222.222.1:9222/"}
ALLOW = ["wiki.example.com:443", "10.20.1.0/30:8443", "172.17.0.1:5678"]


def build(*allow: str, **browser: Any) -> Program:
    return program.run(Settings.model_validate({"browser": {**browser, "allow": list(allow)}}))


def test_without_a_list_nothing_is_otherwise() -> None:
    run = build()
    assert "command" not in run.container("egress").inputs
    assert json.loads(run.environment("server")["ALLOWED_HOSTS"]) == ["smoke-site"]
    assert destinations(Settings()) == []


@pytest.mark.parametrize("browser", [{}, {"type": "headful"}, CHROME])
def test_a_list_opens_the_check_the_proxy_and_the_firewall(browser: dict[str, Any]) -> None:
    run = build(*ALLOW, **browser)
    # Skyvern compares single hosts, without ports.
    assert json.loads(run.environment("server")["ALLOWED_HOSTS"]) == [
        "smoke-site",
        *("10.20.1.0", "10.20.1.1", "10.20.1.2", "10.20.1.3", "172.17.0.1", "wiki.example.com"),
    ]
    places = subnets("10.213.0.0/16", "skyvern-dev")
    inside = " ".join(str(places[part]) for part in ("outgoing", "browsing", "smoke"))
    shell, option, script, name, *texts = run.container("egress").inputs["command"]
    assert (shell, option, script, name) == ("sh", "-c", START, "squid")
    assert texts == [f"acl inside dst {inside}", rules(ALLOW), "include /etc/squid/squid.conf"]
    rendered = "\n".join(run.container("firewall").inputs["command"])
    for line in (
        'ip daddr 10.20.1.0/30 tcp dport 8443 accept comment "outgoing to 10.20.1.0/30, port 8443"',
        'ip daddr 172.17.0.1/32 tcp dport 5678 accept comment "outgoing to 172.17.0.1, port 5678"',
    ):
        assert rendered.count(line) == 1
    assert rendered.endswith(" wiki.example.com 443")


def test_each_exception_is_one_host_and_one_port_as_the_url_has_them() -> None:
    """A name that leads to an allowed address is another host, and so is an allowed name at another port."""
    assert rules(ALLOW).splitlines() == [
        "acl never dst 0.0.0.0/8 127.0.0.0/8 169.254.0.0/16 224.0.0.0/3",
        "# pages to 10.20.1.0/30, port 8443",
        "acl host0 dst -n 10.20.1.0/30",
        "acl port0 port 8443",
        "http_access allow host0 port0 !inside !never",
        "always_direct allow host0 port0",
        "# pages to 172.17.0.1, port 5678",
        "acl host1 dst -n 172.17.0.1",
        "acl port1 port 5678",
        "http_access allow host1 port1 !inside !never",
        "always_direct allow host1 port1",
        "# pages to wiki.example.com, port 443",
        "acl host2 dstdomain -n wiki.example.com",
        "acl port2 port 443",
        "http_access allow host2 port2 !inside !never",
        "always_direct allow host2 port2",
    ]


def test_the_order_of_the_list_plans_nothing() -> None:
    assert build(*ALLOW).container("egress").inputs == build(*reversed(ALLOW), ALLOW[0]).container("egress").inputs


def test_a_preview_shows_what_pages_may_reach() -> None:
    closed, opened = (build(*allow).container("egress").inputs for allow in ([], ALLOW))
    gained = list(exposure.exposures(exposure.CONTAINER, "egress", closed, opened))
    assert {(one.change, one.kind) for one in gained} == {("gained", "rule")}
    assert [one.what for one in gained] == [
        "pages to 10.20.1.0/30, port 8443 (let through by the egress proxy)",
        "pages to 172.17.0.1, port 5678 (let through by the egress proxy)",
        "pages to wiki.example.com, port 443 (let through by the egress proxy)",
    ]
    assert {one.change for one in exposure.exposures(exposure.CONTAINER, "egress", opened, closed)} == {"lost"}


@pytest.mark.parametrize(("file", "configuration"), [((), "/etc/squid/squid.conf"), (("/tmp/x.conf",), "/tmp/x.conf")])  # noqa: S108
@pytest.mark.parametrize("monitored", [True, False])
def test_a_start_is_marked_for_the_monitor_if_there_is_one(
    file: Sequence[str], configuration: str, monitored: bool, tmp_path: Path
) -> None:
    marks = tmp_path / "started"
    if monitored:
        marks.mkdir()
    script = tmp_path / "egress-start"
    script.write_text((ROOT / "images/egress/egress-start").read_text().replace(STARTED_FOLDER, str(marks)))
    squid = tmp_path / "squid"
    squid.write_text('#!/bin/sh\necho "$@"\n')
    squid.chmod(0o755)
    before = time.time()
    done = subprocess.run(
        ["sh", script, *file], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == (f"-N -f {configuration}\n", "")
    assert [path.name for path in marks.glob("*")] == (["at"] if monitored else [])
    assert not monitored or (marks / "at").stat().st_mtime > before - 2
