"""ops.drift without an engine: records that are in no state, the fingerprint of the one issue, and its text."""

import dataclasses
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.clients import cloudflare
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.preview import engine, state
from ops.preview.model import Drift, PropertyDiff, Step
from ops.preview.state import Workspace
from ops.review import drift
from ops.stack import state
from ops.stack import token as cloudflare
from ops.stack.inventory import Labelled

TUNNEL_ID = "11111111-2222-3333-4444-555555555555"
STATE = {
    "resources": [
        {"type": "pulumi:pulumi:Stack", "urn": "x"},
        {"type": drift.RECORD, "id": "known", "urn": "a"},
        {"type": drift.RECORD, "id": "replaced", "urn": "b", "delete": True},
        {"type": drift.TUNNEL, "id": TUNNEL_ID, "urn": "c"},
    ]
}


def record(identifier: str, *, comment: str | None = None, content: str = "elsewhere.example.net") -> dict[str, Any]:
    return {"id": identifier, "name": f"{identifier}.example.com", "type": "CNAME", "content": content, "comment": comment}


def test_a_record_of_ours_in_no_state_is_found_by_its_comment_or_its_tunnel() -> None:
    ours = f"{TUNNEL_ID}.cfargotunnel.com"
    records = [
        record("known", comment="skyvern-prod: tunnel", content=ours),
        record("replaced", comment="skyvern-prod: tunnel"),
        record("by-tunnel", content=ours),
        record("of-another-stack", comment="skyvern-prod2: tunnel"),
        record("of-somebody", comment="the shop"),
        record("of-another-tunnel", content="0.cfargotunnel.com"),
    ]
    assert drift.stray_records(records, STATE, prefix="skyvern-prod") == [
        f"DNS record by-tunnel.example.com to {ours} (by-tunnel)",
        "DNS record replaced.example.com to elsewhere.example.net (replaced)",
    ]


def client(answer: Any) -> httpx.Client:
    return httpx.Client(base_url=cloudflare.API_URL, transport=httpx.MockTransport(answer))


def test_every_page_of_the_zone_is_read() -> None:
    asked: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        if request.url.path.endswith("/zones"):
            return httpx.Response(200, json={"success": True, "result": [{"id": "z"}]})
        count = 100 if request.url.params["page"] == "1" else 1
        return httpx.Response(200, json={"success": True, "result": [record(str(number)) for number in range(count)]})

    assert len(list(drift.zone_records(client(answer), "example.com"))) == 101
    assert asked[0].path == "/client/v4/zones"
    assert asked[0].params["name"] == "example.com"
    assert [url.params["page"] for url in asked[1:]] == ["1", "2"]


@pytest.mark.parametrize(
    ("response", "line"),
    [
        (
            httpx.Response(403, json={"success": False, "errors": [{"code": 9109, "message": "Invalid access token"}]}),
            "Cloudflare: /zones: 403 9109 Invalid access token; see docs/cloudflare.md",
        ),
        (httpx.Response(502, text="<html>"), "Cloudflare: /zones: 502 Bad Gateway; see docs/cloudflare.md"),
        (
            httpx.Response(200, json={"success": True, "result": []}),
            "Cloudflare: the token sees 0 zones example.com, so its records cannot be checked",
        ),
    ],
)
def test_a_refusal_is_one_line(response: httpx.Response, line: str) -> None:
    with pytest.raises(UserError) as told:
        list(drift.zone_records(client(lambda _: response), "example.com"))
    assert str(told.value) == line


def test_a_daemon_that_does_not_answer_has_not_nothing_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_answer(stack: str, docker: Docker) -> list[Labelled]:
        assert docker.host == "unix:///elsewhere.sock"
        raise UserError("docker: exit 1: is the docker daemon running?")

    (tmp_path / "Pulumi.new.yaml").write_text("config:\n  skyvern:host: {docker_host: 'unix:///elsewhere.sock'}\n")
    monkeypatch.setattr(state, "export", lambda workspace, stack: {})
    monkeypatch.setattr(state, "secrets_of", lambda workspace, stack, deployment: set())
    monkeypatch.setattr(state, "labelled", no_answer)
    found = engine.drift("new", Workspace(folder=tmp_path, env={}))
    assert found == Drift(checked=True, failure="docker: exit 1: is the docker daemon running?")
    assert drift.exit_code(found) == 1


def step(name: str, *paths: str, operation: Any = "update", new: str = "2") -> Step:
    diffs = tuple(PropertyDiff(path=path, old="1", new=new) for path in paths)
    return Step(urn=f"urn:{name}", type="t", name=name, operation=operation, diffs=diffs)


FOUND = Drift(checked=True, steps=(step("gateway", "memory"), step("old", operation="delete")), unmanaged=("container x",))


def test_the_fingerprint_is_of_what_drifted_and_not_of_values() -> None:
    same = dataclasses.replace(FOUND, steps=(step("old", operation="delete"), step("gateway", "memory", new="another")))
    assert drift.fingerprint(same) == drift.fingerprint(FOUND)
    others = [
        dataclasses.replace(FOUND, steps=FOUND.steps[:1]),
        dataclasses.replace(FOUND, steps=(step("gateway", "restart"), FOUND.steps[1])),
        dataclasses.replace(FOUND, unmanaged=()),
        dataclasses.replace(FOUND, failure="no daemon: at 12:00"),
    ]
    assert len({drift.fingerprint(one) for one in [FOUND, *others]}) == 5
    later = dataclasses.replace(FOUND, failure="no daemon: at 13:00")
    assert drift.fingerprint(later) == drift.fingerprint(others[-1])


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (Drift(checked=True), 0),
        (FOUND, 2),
        (Drift(checked=True, unmanaged=("x",)), 2),
        (Drift(), 1),
        (dataclasses.replace(FOUND, failure="no daemon"), 1),
    ],
)
def test_exit_codes(found: Drift, code: int) -> None:
    assert drift.exit_code(found) == code


def test_the_issue_says_what_and_what_to_do() -> None:
    assert drift.title("prod", FOUND) == "Drift of prod: 2 changed outside Pulumi, 1 not in the state"
    text = drift.markdown("prod", FOUND, link="https://github.example/run")
    assert "| `gateway` | changed | `memory`: `1` → `2` |" in text
    assert "| `old` | is gone |  |" in text
    assert "- `container x`\n" in text
    assert "[this run](https://github.example/run)" in text
    assert drift.lines("prod", FOUND) == ["gateway: changed (memory)", "old: is gone", "container x: not in the state"]
    assert drift.lines("prod", Drift(checked=True)) == ["stack prod: no drift"]
    failed = Drift(failure="no daemon")
    assert drift.title("prod", failed) == "Drift of prod: could not be checked"
    assert "no daemon" in drift.markdown("prod", failed)


def test_a_name_that_somebody_chose_stays_text() -> None:
    hostile = Drift(checked=True, unmanaged=("DNS record <img src=x> @everyone | `x`\n# head",))
    text = drift.markdown("prod", hostile)
    assert "- ``DNS record <img src=x> @everyone \\| `x` # head``\n" in text
