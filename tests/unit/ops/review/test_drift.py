"""ops.review.drift without an engine: records that are not in the state, the fingerprint of the one issue, and its text."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from ops.clients import cloudflare
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.preview import engine
from ops.preview.model import Drift
from ops.review import drift
from ops.stack.stack import Stack
from tests.support.cloudflare import TOKEN, failed, succeeded
from tests.support.previews import DRIFT, step

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
        record("of-another", comment="the shop"),
        record("of-another-tunnel", content="0.cfargotunnel.com"),
    ]
    assert drift.stray_records(records, STATE, prefix="skyvern-prod") == [
        f"DNS record by-tunnel.example.com to {ours} (by-tunnel)",
        "DNS record replaced.example.com to elsewhere.example.net (replaced)",
    ]


def client(answer: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    return cloudflare.client(SecretStr(TOKEN), httpx.MockTransport(answer))


def test_every_page_of_the_zone_is_read() -> None:
    asked: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        if request.url.path.endswith("/zones"):
            return succeeded([{"id": "z"}])
        count = 100 if request.url.params["page"] == "1" else 1
        return succeeded([record(str(number)) for number in range(count)])

    assert len(drift.zone_records(client(answer), "example.com")) == 101
    assert asked[0].path == "/client/v4/zones"
    assert asked[0].params["name"] == "example.com"
    assert [url.params["page"] for url in asked[1:]] == ["1", "2"]


@pytest.mark.parametrize(
    ("response", "line"),
    [
        (
            failed(403, (9109, "Invalid access token")),
            "Cloudflare: /zones: 403 9109 Invalid access token; see docs/cloudflare.md",
        ),
        (httpx.Response(502, text="<html>"), "Cloudflare: /zones: 502 Bad Gateway; see docs/cloudflare.md"),
        (succeeded([]), "Cloudflare: the token sees 0 zones example.com, so its records cannot be checked"),
    ],
)
def test_a_refusal_is_one_line(response: httpx.Response, line: str) -> None:
    with pytest.raises(UserError) as raised:
        drift.zone_records(client(lambda _: response), "example.com")
    assert str(raised.value) == line


# --- The whole -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A stack behind Cloudflare, with STATE and a token that the engine decrypts. The engine finds DRIFT."""

    def pulumi(self: Stack, *arguments: str) -> bytes:
        assert self.name == "organization/skyvern/prod"
        match arguments:
            case ("stack", "export"):
                return json.dumps({"deployment": STATE}).encode()
            case ("config", "get", "--path", "skyvern:edge.api_token"):
                return f"{TOKEN}\n".encode()
        raise AssertionError(arguments)

    monkeypatch.setattr(Stack, "pulumi", pulumi)
    monkeypatch.setattr(engine, "drift", lambda stack: DRIFT)
    edge = "{provider: cloudflare, domain: example.com, api_token: {secure: 'v1:x'}}"
    (tmp_path / "Pulumi.prod.yaml").write_text(f"config:\n  skyvern:edge: {edge}\n")
    return Stack("organization/skyvern/prod", root=tmp_path)


def at_cloudflare(monkeypatch: pytest.MonkeyPatch, *results: httpx.Response) -> list[httpx.Request]:
    """Lets Cloudflare give these answers in order; the requests."""
    requests: list[httpx.Request] = []
    answers = iter(results)

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return next(answers)

    real = cloudflare.client
    monkeypatch.setattr(cloudflare, "client", lambda token: real(token, httpx.MockTransport(answer)))
    return requests


def test_records_of_the_zone_are_added_to_what_the_engine_finds(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [record("known", comment="skyvern-prod: tunnel"), record("stray", comment="skyvern-prod: tunnel")]
    requests = at_cloudflare(monkeypatch, succeeded([{"id": "z"}]), succeeded(records))
    result = drift.find(stack)
    stray = "DNS record stray.example.com to elsewhere.example.net (stray)"
    assert result == dataclasses.replace(DRIFT, unmanaged=("container x", stray))
    assert {request.headers["authorization"] for request in requests} == {f"Bearer {TOKEN}"}
    assert [request.url.path for request in requests] == ["/client/v4/zones", "/client/v4/zones/z/dns_records"]


def test_a_zone_that_cannot_be_read_is_a_failure_beside_the_engines(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = failed(403, (9109, "Invalid access token"))
    at_cloudflare(monkeypatch, refused, refused)
    line = "Cloudflare: /zones: 403 9109 Invalid access token; see docs/cloudflare.md"
    assert drift.find(stack) == dataclasses.replace(DRIFT, failure=line)
    monkeypatch.setattr(engine, "drift", lambda stack: dataclasses.replace(DRIFT, failure="no daemon"))
    assert drift.find(stack).failure == f"no daemon; {line}"


def test_without_cloudflare_it_is_what_the_engine_finds(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = at_cloudflare(monkeypatch)
    (stack.root / "Pulumi.prod.yaml").write_text("config: {}\n")
    assert drift.find(stack) == DRIFT
    assert requests == []


def test_a_daemon_that_does_not_answer_has_not_nothing_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_answer(self: Docker, *arguments: str) -> str:
        assert self.host == "unix:///elsewhere.sock"
        assert "label=skyvern.stack=new" in arguments
        raise UserError("docker: exit 1: is the docker daemon running?")

    (tmp_path / "Pulumi.new.yaml").write_text("config:\n  skyvern:host: {docker_host: 'unix:///elsewhere.sock'}\n")
    # A stack without a state, whose configuration has no secret.
    monkeypatch.setattr(Stack, "pulumi", lambda self, *arguments: b"{}")
    monkeypatch.setattr(Docker, "run", no_answer)
    result = engine.drift(Stack("organization/skyvern/new", root=tmp_path, variables={}))
    assert result == Drift(checked=True, failure="docker: exit 1: is the docker daemon running?")
    assert drift.exit_code(result) == 1


# --- The issue -----------------------------------------------------------------------------------------------------------


def test_the_fingerprint_is_of_what_drifted_and_not_of_values() -> None:
    same = dataclasses.replace(DRIFT, steps=(step("old", "delete"), step("gateway", "update", "memory", new="another")))
    assert drift.fingerprint(same) == drift.fingerprint(DRIFT)
    others = [
        dataclasses.replace(DRIFT, steps=DRIFT.steps[:1]),
        dataclasses.replace(DRIFT, steps=(step("gateway", "update", "restart"), DRIFT.steps[1])),
        dataclasses.replace(DRIFT, unmanaged=()),
        dataclasses.replace(DRIFT, failure="no daemon: at 12:00"),
    ]
    assert len({drift.fingerprint(each) for each in [DRIFT, *others]}) == 5
    later = dataclasses.replace(DRIFT, failure="no daemon: at 13:00")
    assert drift.fingerprint(later) == drift.fingerprint(others[-1])


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (Drift(checked=True), 0),
        (DRIFT, 2),
        (Drift(checked=True, unmanaged=("x",)), 2),
        (Drift(), 1),
        (dataclasses.replace(DRIFT, failure="no daemon"), 1),
    ],
)
def test_exit_codes(result: Drift, code: int) -> None:
    assert drift.exit_code(result) == code


def test_the_issue_says_what_and_what_to_do() -> None:
    assert drift.title("prod", DRIFT) == "Drift of prod: 2 changed outside Pulumi, 1 not in the state"
    text = drift.markdown("prod", DRIFT, link="https://github.example/run")
    assert "(left: the state, right: what was found)" in text
    assert "| `gateway` | changed | `memory`: `1` → `2` |" in text
    assert "| `old` | is gone |  |" in text
    assert "- `container x`\n" in text
    assert "[this run](https://github.example/run)" in text
    assert drift.lines("prod", DRIFT) == ["gateway: changed (memory)", "old: is gone", "container x: not in the state"]
    assert drift.lines("prod", Drift(checked=True)) == ["stack prod: no drift"]
    failed = Drift(failure="no daemon")
    assert drift.title("prod", failed) == "Drift of prod: could not be checked"
    assert "no daemon" in drift.markdown("prod", failed)


def test_a_foreign_name_stays_text() -> None:
    hostile = Drift(checked=True, unmanaged=("DNS record <img src=x> @everyone | `x`\n# head",))
    text = drift.markdown("prod", hostile)
    assert "- ``DNS record <img src=x> @everyone \\| `x` # head``\n" in text
