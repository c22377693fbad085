"""The smoke run's judgement, against doubles: what is green, what is not, and that nothing is green by accident."""

import ast
import base64
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from components.endpoints import SMOKE_URL
from ops.observe import smoke
from ops.observe.smoke import (
    api_checks,
    artifact_checks,
    browser_checks,
    code_checks,
    egress_log,
    llm_checks,
    ui_checks,
    workflow_checks,
)
from ops.observe.smoke.site import (
    Check,
    CheckFailedError,
    CheckNotApplicableError,
    CheckSkippedError,
    CompletedRun,
    Site,
    expect_none,
)
from ops.paths import ROOT
from ops.stack.outputs import Outputs
from ops.stack.stack import Stack
from skyvern_provider.api import is_loopback
from tests.support.smoke import (
    APP,
    KEY,
    LINK_KEY,
    PASSWORD,
    RUN,
    SMOKE,
    SMOKE_KEY,
    DockerDouble,
    Handler,
    Skyvern,
    fails,
    outputs_json,
    site,
)
from tests.support.waiting import wait_for

TOKEN = "session-token"
INDEX = '<div id="root"></div><script src="/assets/index-1.js"></script><link href="/assets/index-2.css">'
MARKER = "reach-0123456789abcdef"


def elsewhere(handler: Handler, run: CompletedRun | None = None) -> Site:
    """A stack whose Chrome runs elsewhere."""
    outputs = Outputs.model_validate({**outputs_json(), "browser_type": "cdp-connect"})
    return Site(outputs, httpx.Client(transport=httpx.MockTransport(handler)), DockerDouble(), run)


def logged_in(request: httpx.Request) -> bool:
    wanted = base64.b64encode(f"skyvern:{PASSWORD}".encode()).decode()
    return bool(request.headers.get("authorization") == f"Basic {wanted}")


def always(status: int, **options: Any) -> Handler:
    return lambda request: httpx.Response(status, **options)


class TestApi:
    def test_heartbeat(self) -> None:
        api_checks.check_heartbeat(site(always(200, text="Server is running.")))
        assert "gave 502" in fails(api_checks.check_heartbeat, site(always(502)))
        assert "another text" in fails(api_checks.check_heartbeat, site(always(200, text="<html>")))

    def test_key(self) -> None:
        def server(request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json=[]) if request.headers.get("x-api-key") in known else httpx.Response(403)

        known = {KEY, SMOKE_KEY}
        api_checks.check_api_key(site(server))
        known.remove(SMOKE_KEY)
        assert "with the smoke runs' key gave 403" in fails(api_checks.check_api_key, site(server))
        assert "without a key gave 200" in fails(api_checks.check_api_key, site(always(200, json=[])))
        assert "with the stack's key gave 403" in fails(api_checks.check_api_key, site(always(403)))

    def test_unknown_host_may_be_refused_or_cut_off(self) -> None:
        def cut(request: httpx.Request) -> httpx.Response:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")

        requested = []

        def refuse(request: httpx.Request) -> httpx.Response:
            requested.append((request.headers["host"], logged_in(request)))
            return httpx.Response(421)

        api_checks.check_unknown_host(site(cut))
        api_checks.check_unknown_host(site(refuse))
        assert set(requested) == {("unknown.example", True)}
        assert "gave 200" in fails(api_checks.check_unknown_host, site(always(200)))
        # 401 is about the login, not about the host.
        assert "gave 401" in fails(api_checks.check_unknown_host, site(always(401)))

    def test_documentation(self) -> None:
        api_checks.check_documentation(site(always(404)))
        assert "gave 200" in fails(api_checks.check_documentation, site(always(200)))

    @pytest.mark.parametrize(("allowed", "message"), [("*", "allows *"), (None, "allows None")])
    def test_cors_wants_the_exact_origin(self, allowed: str | None, message: str) -> None:
        headers = {"access-control-allow-origin": allowed} if allowed else {}
        assert message in fails(api_checks.check_cors, site(always(200, headers=headers)))

    def test_cors_refuses_others(self) -> None:
        def echo(request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, headers={"access-control-allow-origin": request.headers["origin"]})

        def exact(request: httpx.Request) -> httpx.Response:
            return echo(request) if request.headers["origin"] == APP else httpx.Response(400)

        api_checks.check_cors(site(exact))
        assert "evil.example allows" in fails(api_checks.check_cors, site(echo))


class TestUi:
    def test_login(self) -> None:
        ui_checks.check_login(site(always(401, headers={"www-authenticate": 'Basic realm="x"'})))
        assert "no WWW-Authenticate" in fails(ui_checks.check_login, site(always(401)))
        assert "gave 200" in fails(ui_checks.check_login, site(always(200, text=INDEX)))

    def test_app_on_a_deep_link(self) -> None:
        ui_checks.check_app(site(always(200, text=INDEX)))
        missing = site(lambda request: httpx.Response(200 if request.url.path == "/" else 404, text=INDEX))
        assert "/workflows with login gave 404" in fails(ui_checks.check_app, missing)
        assert "not the UI's page" in fails(ui_checks.check_app, site(always(200, text="<h1>Welcome to nginx</h1>")))

    @staticmethod
    def assets(chunk: str, missing: int = 404) -> Handler:
        files = {
            "/": INDEX,
            "/assets/index-1.js": 'import("./assets/chunk-3.js")',
            "/assets/index-2.css": "",
            "/assets/chunk-3.js": chunk,
        }
        return lambda request: (
            httpx.Response(200, text=files[request.url.path]) if request.url.path in files else httpx.Response(missing)
        )

    def test_assets_are_followed_into_the_bundle(self) -> None:
        # Both stand in the real bundle of 1.0.56: an example in a form, a table of key codes.
        ui_checks.check_assets(site(self.assets('placeholder:"eyJlbWFpbCI6..."; eyJ:36')))

    @pytest.mark.parametrize(
        ("chunk", "message"),
        [(f'x="{KEY}"', "a JSON web token"), ("__VITE_API_BASE_URL_PLACEHOLDER__", "placeholder"), (PASSWORD, "a secret")],
    )
    def test_assets_hold_no_secret(self, chunk: str, message: str) -> None:
        problem = fails(ui_checks.check_assets, site(self.assets(chunk)))
        assert message in problem
        assert KEY not in problem
        assert PASSWORD not in problem

    def test_a_missing_asset_is_not_the_page(self) -> None:
        assert "smoke-run-missing.js gave 200" in fails(ui_checks.check_assets, site(self.assets("", missing=200)))


class Gateway:
    """A gateway's /ui-session as design decision 9 wants it; a test loosens one rule."""

    def __init__(self, **loose: bool) -> None:
        self.loose = loose
        self.session: dict[str, Any] = {"token": TOKEN, "expires_at": int(time.time()) + 3600}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/workflows":
            return httpx.Response(200 if request.headers.get("x-api-key") == TOKEN else 403, json=[])
        if not logged_in(request) and not self.loose.get("login"):
            return httpx.Response(401)
        if request.method != "GET" and not self.loose.get("method"):
            return httpx.Response(405)
        if request.headers.get("sec-fetch-site", "same-origin" if self.loose.get("origin") else None) != "same-origin":
            return httpx.Response(403)
        return httpx.Response(200, json=self.session)


class TestSession:
    def test_green(self) -> None:
        ui_checks.check_session(site(Gateway()))
        ui_checks.check_session_refusals(site(Gateway()))

    @pytest.mark.parametrize(("rule", "message"), [("login", "without login"), ("method", "POST"), ("origin", "missing")])
    def test_each_refusal_counts(self, rule: str, message: str) -> None:
        assert message in fails(ui_checks.check_session_refusals, site(Gateway(**{rule: True})))

    def test_expired_or_the_real_key(self) -> None:
        expired, generous = Gateway(), Gateway()
        expired.session["expires_at"] = 1
        generous.session["token"] = KEY
        assert "expired" in fails(ui_checks.check_session, site(expired))
        assert "own key" in fails(ui_checks.check_session, site(generous))

    def test_a_page_instead_of_json_is_what_vercel_answers_without_the_function(self) -> None:
        assert "content type text/html" in fails(ui_checks.check_session, site(always(200, html=INDEX)))

    def test_stream_is_upgraded_with_the_token(self) -> None:
        def server(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/ui-session":
                return Gateway()(request)
            upgraded = request.url.params["apikey"] == TOKEN and request.headers["upgrade"] == "websocket"
            return httpx.Response(101 if upgraded else 400)

        ui_checks.check_stream(site(server))

        def plain(request: httpx.Request) -> httpx.Response:
            return Gateway()(request) if request.url.path == "/ui-session" else httpx.Response(404)

        problem = fails(ui_checks.check_stream, site(plain))
        assert "gave 404" in problem
        assert TOKEN not in problem


class TestWorkflow:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workflow_checks, "POLL_SECONDS", 0.0)
        monkeypatch.setattr(workflow_checks, "FILES_SECONDS", 0.05)

    def test_completes_and_finds_its_files(self) -> None:
        skyvern = Skyvern()
        target = site(skyvern)
        workflow_checks.check_workflow_run(target)
        assert target.run == RUN
        assert skyvern.calls.count("POST /v1/workflows/wpid_1/delete") == 1
        [block] = skyvern.created["json_definition"]["workflow_definition"]["blocks"]
        assert block == {"block_type": "goto_url", "label": "open", "url": f"{SMOKE}/"}

    def test_a_run_in_the_persons_history_fails(self) -> None:
        skyvern = Skyvern()
        skyvern.history.append({"run_id": "wr_1"})
        assert "wr_1 is in the person's history" in fails(workflow_checks.check_workflow_run, site(skyvern))

    def test_a_run_that_the_persons_key_reads_fails(self) -> None:
        skyvern = Skyvern()

        def shared(request: httpx.Request) -> httpx.Response:
            request.headers["x-api-key"] = SMOKE_KEY
            return skyvern(request)

        assert "GET /v1/runs/wr_1 with the stack's key gave 200" in fails(workflow_checks.check_workflow_run, site(shared))

    def test_outputs_of_a_version_without_the_key_say_what_to_do(self) -> None:
        target = site(Skyvern())
        target.outputs = target.outputs.model_copy(update={"smoke_api_key": None})
        assert fails(workflow_checks.check_workflow_run, target) == (
            "the stack has no output smoke_api_key; update it with script/up"
        )

    def test_the_server_knows_earlier_smoke_runs_by_their_workflows(self) -> None:
        """images/server/smoke_organization.py moves those that older versions left with the person."""
        module = ast.parse((ROOT / "images/server/smoke_organization.py").read_text())
        constants = {
            ast.unparse(node.targets[0]): ast.literal_eval(node.value) for node in module.body if isinstance(node, ast.Assign)
        }
        bodies = [
            workflow_checks.definition("Smoke run", f"{SMOKE_URL}/"),
            workflow_checks.definition("Smoke run: metadata address", workflow_checks.METADATA_URL),
            workflow_checks.definition("Smoke run: hostile page", browser_checks.page_url(SMOKE_URL, "m")),
            code_checks.looping(f"{SMOKE_URL}/"),
            code_checks.code_block(),
        ]
        for body in bodies:
            definition = body["json_definition"]
            title, stored = definition["title"], json.dumps(definition["workflow_definition"])
            assert title == constants["TITLE"] or title.startswith(f"{constants['TITLE']}: ")
            assert [content for content in constants["CONTENTS"] if content in stored] != [], title

    def test_a_chrome_elsewhere_leaves_a_screenshot_alone(self) -> None:
        target = elsewhere(Skyvern(files=False))
        workflow_checks.check_workflow_run(target)
        assert target.run == CompletedRun("wr_1", None, RUN.screenshot_path, None, RUN.screenshot_link)
        for check in (artifact_checks.check_recording, artifact_checks.check_range):
            with pytest.raises(CheckNotApplicableError, match="cdp-connect: nothing records"):
                check(target)

    def test_a_failed_run_says_why_and_is_removed(self) -> None:
        skyvern = Skyvern(status="failed")
        assert "is failed: why" in fails(workflow_checks.check_workflow_run, site(skyvern))
        assert "POST /v1/workflows/wpid_1/delete" in skyvern.calls

    @pytest.mark.parametrize(("status", "said"), [("failed", "is failed: why"), ("completed", "/delete: ReadTimeout")])
    def test_what_failed_first_is_said_where_the_server_then_removes_nothing(self, status: str, said: str) -> None:
        skyvern = Skyvern(status=status)

        def gone(request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/delete"):
                raise httpx.ReadTimeout("timed out")
            return skyvern(request)

        assert said in fails(workflow_checks.check_workflow_run, site(gone))

    def test_a_run_without_recording_fails(self) -> None:
        assert "without a recording" in fails(workflow_checks.check_workflow_run, site(Skyvern(files=False)))

    def test_a_recording_that_is_not_written_yet_is_waited_for(self) -> None:
        # Seen on a busy machine: the run named a recording, and the gateway answered 404 for it.
        assert "without a recording" in fails(workflow_checks.check_workflow_run, site(Skyvern(written=False)))

    def test_a_run_that_does_not_end_is_cancelled_and_removed(self) -> None:
        skyvern = Skyvern(status="running")
        body = workflow_checks.definition("t", SMOKE)
        problem = "is running after 0 s"
        with pytest.raises(CheckFailedError, match=problem), workflow_checks.finished_run(site(skyvern), body, limit_seconds=0):
            pass
        assert skyvern.calls[-2:] == ["POST /v1/runs/wr_1/cancel", "POST /v1/workflows/wpid_1/delete"]

    def test_the_guard_is_seen_by_how_the_run_ends(self) -> None:
        workflow_checks.check_navigation_guard(site(Skyvern(status="failed")))
        assert "is completed" in fails(workflow_checks.check_navigation_guard, site(Skyvern()))

    def test_only_local_files_have_a_path(self) -> None:
        assert workflow_checks.path_of({"uri": "file:///data/a:b.mp4"}) == "/data/a:b.mp4"
        assert workflow_checks.path_of({"uri": "s3://bucket/a.mp4"}) is None


VIDEO = bytes(range(256)) * 4
FRAMES = b'{"streams":[{"codec_name":"h264","nb_read_frames":"12"}],"format":{"format_name":"mov,mp4"}}'
SAFE = {
    "content-security-policy": "sandbox; default-src 'none'; img-src 'self' data:",
    "x-content-type-options": "nosniff",
    "cache-control": "private, no-store",
}


def files(request: httpx.Request) -> httpx.Response:
    """A gateway that serves the run's two files and the planted page, honours ranges, and refuses everything else."""
    raw = request.extensions.get("target", request.url.raw_path).decode()
    path = parse_qs(urlsplit(raw).query).get("path", [""])[0]
    if not logged_in(request):
        return httpx.Response(401)
    if request.method != "GET":
        return httpx.Response(405)
    if path == RUN.recording_path and "range" in request.headers:
        headers = {"content-range": f"bytes 0-99/{len(VIDEO)}"}
        return httpx.Response(206, content=VIDEO[:100], headers=headers)
    if path == RUN.recording_path:
        return httpx.Response(200, content=VIDEO, headers={"content-type": "video/mp4"})
    if path == RUN.screenshot_path:
        return httpx.Response(200, content=artifact_checks.PNG, headers={"content-type": "image/png"})
    if path.endswith("/page.html"):
        return httpx.Response(200, html="<script></script>", headers=SAFE)
    return httpx.Response(404)


class TestArtifacts:
    def test_green(self) -> None:
        docker = DockerDouble(programs={"ffprobe": FRAMES})
        target = site(files, docker, RUN)
        for check in (
            artifact_checks.check_recording,
            artifact_checks.check_range,
            artifact_checks.check_screenshot,
            artifact_checks.check_artifact_login,
            artifact_checks.check_artifact_paths,
            artifact_checks.check_symlinks,
            artifact_checks.check_sandbox,
        ):
            check(target)
        planted = [call for call in docker.calls if "mkdir" in call]
        removed = [call for call in docker.calls if "rm" in call]
        assert [call[-1] for call in planted] == [call[-1] for call in removed]

    def test_without_a_run_they_are_skipped(self) -> None:
        for check in (artifact_checks.check_recording, artifact_checks.check_range, artifact_checks.check_screenshot):
            with pytest.raises(CheckSkippedError):
                check(site(files))

    @pytest.mark.parametrize(
        ("probe", "playable"),
        [
            (FRAMES, True),
            (b'{"streams":[],"format":{"duration":"3.0"}}', False),
            (b'{"streams":[{"codec_name":"vp8","nb_read_frames":"0"}]}', False),
            (b'{"streams":[{"codec_name":"vp8"}]}', False),
        ],
    )
    def test_playable_means_that_a_frame_decodes(self, probe: bytes, playable: bool) -> None:
        assert artifact_checks.is_playable(probe) is playable

    def test_a_range_that_is_ignored_fails(self) -> None:
        def whole(request: httpx.Request) -> httpx.Response:
            request.headers.pop("range", None)
            return files(request)

        target = site(whole, run=RUN)
        target.recording = VIDEO
        assert "gave 200, expected 206" in fails(artifact_checks.check_range, target)

    def test_escapes_go_out_unchanged(self) -> None:
        requested = []

        def record(request: httpx.Request) -> httpx.Response:
            requested.append(request.extensions["target"].decode())
            return httpx.Response(404)

        artifact_checks.check_artifact_paths(site(record))
        assert "/artifact/text?path=/data/artifacts/../../etc/passwd" in requested
        assert "/artifact/recording?path=/data/artifacts/%252e%252e/%252e%252e/etc/passwd" in requested
        assert "/artifact/../../../etc/passwd" in requested

    @pytest.mark.parametrize("status", [200, 206, 302, 401, 500])
    def test_only_a_refusal_is_a_refusal(self, status: int) -> None:
        assert f"gave {status}" in fails(artifact_checks.check_artifact_paths, site(always(status)))

    def test_a_har_that_exists_is_asked_for(self) -> None:
        har = "/data/artifacts/o_1/x.har"

        def generous(request: httpx.Request) -> httpx.Response:
            return httpx.Response(200 if har in request.extensions["target"].decode() else 404)

        docker = DockerDouble(programs={"find": f"{har}\n".encode()})
        assert har in fails(artifact_checks.check_artifact_paths, site(generous, docker))

    def test_a_link_that_is_followed_fails_and_the_folder_is_removed(self) -> None:
        docker = DockerDouble()
        assert "link.html" in fails(artifact_checks.check_symlinks, site(always(200), docker))
        assert docker.calls[-1][2:4] == ("rm", "-rf")

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"content-security-policy": "default-src 'none'"}, "without sandbox"),
            ({"content-security-policy": "sandbox allow-scripts"}, "allow-scripts"),
            ({"content-security-policy": "Sandbox Allow-Same-Origin;"}, "allow-same-origin"),
            ({"x-content-type-options": ""}, "nosniff"),
            ({"cache-control": "private"}, "no-store"),
        ],
    )
    def test_headers_of_a_page(self, change: dict[str, str], problem: str) -> None:
        assert artifact_checks.unsafe_headers(httpx.Headers(SAFE)) == []
        [fault] = artifact_checks.unsafe_headers(httpx.Headers({**SAFE, **change}))
        assert problem in fault


def squid(result: str, method: str, url: str, peer: str = "-") -> str:
    return f"2026-01-01T00:00:00+0000 172.20.0.3 {result} {method} {url} {peer} 3921 12"


def held_log() -> list[str]:
    """The proxy's log of a page that was held: every target refused, names without an address as well."""
    lines = [
        "2026/01/01 00:00:00| Accepting HTTP Socket connections",
        squid("NONE_NONE/000", "-", "error:transaction-end-before-headers"),
        squid("TCP_MISS/200", "GET", browser_checks.page_url(SMOKE, MARKER), "172.21.0.2"),
        squid("TCP_MISS/404", "GET", f"{SMOKE}/{MARKER}/fetch", "172.21.0.2"),
        squid("TCP_DENIED/403", "CONNECT", "smoke-site:8080"),
    ]
    for url in browser_checks.FORBIDDEN:
        host, port = egress_log.authority(url)
        result = "TCP_DENIED/502" if host in {"gateway", "postgres", "host.docker.internal"} else "TCP_DENIED/403"
        bracketed = f"[{host}]" if ":" in host else host
        lines += [squid(result, "GET", f"{url}/{MARKER}/{technique}") for technique in egress_log.TECHNIQUES]
        lines.append(squid(result, "CONNECT", f"{bracketed}:{port}"))
    return lines


def judge(lines: list[str], *nameless: str) -> list[str]:
    return egress_log.problems(egress_log.parse(lines), MARKER, browser_checks.FORBIDDEN, SMOKE, nameless=nameless)


class TestEgressLog:
    def test_reads_the_format_of_squid_conf(self) -> None:
        [access] = egress_log.parse([squid("TCP_TUNNEL/200", "CONNECT", "[::1]:8000", "::1")])
        assert access == egress_log.Access("TCP_TUNNEL", 200, "CONNECT", "[::1]:8000", "::1")
        assert access.authority == ("::1", 8000)
        format_line = "logformat request %{%Y-%m-%dT%H:%M:%S%z}tl %>a %Ss/%03>Hs %rm %ru %<a %<st %tr"
        assert format_line in (ROOT / "images/egress/squid.conf").read_text().splitlines()

    def test_a_held_page(self) -> None:
        assert judge(held_log()) == []

    @pytest.mark.parametrize("url", browser_checks.FORBIDDEN)
    def test_one_answer_from_inside_is_enough(self, url: str) -> None:
        leak = squid("TCP_MISS/200", "GET", f"{url}/{MARKER}/iframe", "172.20.0.9")
        assert len(judge([*held_log(), leak])) == 1

    def test_a_tunnel_counts_although_it_has_no_marker(self) -> None:
        [problem] = judge([*held_log(), squid("TCP_TUNNEL/200", "CONNECT", "gateway:8080", "172.20.0.9")])
        assert problem.startswith("CONNECT gateway:8080")

    @pytest.mark.parametrize("url", ["http://192.168.1.1", "http://host.docker.internal"])
    def test_what_merely_did_not_answer_was_not_refused(self, url: str) -> None:
        late = squid("TCP_MISS/503", "GET", f"{url}/{MARKER}/fetch")
        assert len(judge([*held_log(), late])) == 1

    def test_a_request_that_the_page_gave_up_is_neither_reached_nor_refused(self) -> None:
        aborted = squid("NONE_NONE_ABORTED/000", "POST", f"http://10.0.0.1/{MARKER}/form", "-")
        assert judge([*held_log(), aborted]) == []
        # Given up after Squid had connected, it was let through.
        assert len(judge([*held_log(), squid("TCP_MISS_ABORTED/000", "POST", f"http://10.0.0.1/{MARKER}/form", "10.0.0.1")])) == 1
        # And it is no proof: where nothing else was tried, the refusal is missing.
        fetched = [line for line in held_log() if f"http://10.0.0.1/{MARKER}/fetch" not in line]
        given_up = squid("NONE_NONE_ABORTED/000", "GET", f"http://10.0.0.1/{MARKER}/fetch", "-")
        assert judge([*fetched, given_up]) == ["the log has no refusal of http://10.0.0.1 by fetch"]

    def test_what_has_no_address_leads_nowhere_also_when_the_page_gave_up(self) -> None:
        """Where no name server answers, each name takes longer than the page stays."""
        lines = [line.replace("TCP_DENIED/502", "NONE_NONE_ABORTED/000") for line in held_log()]
        accesses = egress_log.parse(lines)
        assert egress_log.given_up(accesses, browser_checks.FORBIDDEN) == ["gateway", "host.docker.internal", "postgres"]
        assert len(judge(lines)) == 3
        assert judge(lines, "gateway", "host.docker.internal", "postgres") == []
        assert judge(lines, "gateway", "postgres") == ["the log has no refusal of http://host.docker.internal by fetch"]

    def test_which_names_have_no_address_is_asked_at_once(self) -> None:
        names = ("localhost", "127.0.0.1", "no-such-host.invalid")
        done = subprocess.run(["sh", "-c", browser_checks.NAMELESS, "sh", *names], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["no-such-host.invalid"]

    def test_public_traffic_of_the_browser_is_nobodys_business(self) -> None:
        assert judge([*held_log(), squid("TCP_TUNNEL/200", "CONNECT", "accounts.google.com:443", "1.2.3.4")]) == []

    def test_an_empty_log_proves_nothing(self) -> None:
        problems = judge([])
        assert any("did not reach" in problem for problem in problems)
        assert sum("by fetch" in problem for problem in problems) >= len(browser_checks.FORBIDDEN)
        assert any("WebSocket" in problem for problem in problems)

    @pytest.mark.parametrize("technique", egress_log.TECHNIQUES)
    def test_a_technique_that_was_never_tried_is_missed(self, technique: str) -> None:
        assert any(technique in problem for problem in judge([line for line in held_log() if f"/{technique} " not in line]))

    @pytest.mark.parametrize("answer", ["TCP_DENIED/403", "TCP_MISS/503"])
    def test_a_control_without_an_answer_is_not_reached(self, answer: str) -> None:
        lines = [line for line in held_log() if f"{SMOKE}/{MARKER}" not in line]
        assert judge([*lines, squid(answer, "GET", f"{SMOKE}/{MARKER}/fetch", "172.21.0.2")]) != []


# What the listener in the server's container prints at its start, and what it has written when nothing else arrived.
PLACES = b'["172.20.0.3:40000", "127.0.0.1:40000", "server:40000"]'
OWN_PACKETS = b'["udp", true]\n["tcp", true]\n'


class TestHostilePage:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workflow_checks, "POLL_SECONDS", 0.0)
        monkeypatch.setattr("secrets.token_hex", lambda length: MARKER.removeprefix("reach-"))

    @staticmethod
    def docker(**logs: str) -> DockerDouble:
        requests = "\n".join(f'"GET /{MARKER}/{word} HTTP/1.1" 404' for word in ("around", "online", "fetch"))
        written = {"egress": "\n".join(held_log()), "smoke-site": requests}
        programs = {browser_checks.LISTEN: PLACES, 'cat "$0"; rm "$0"': OWN_PACKETS}
        return DockerDouble(
            programs=programs, written={f"skyvern-dev-{part}": text for part, text in {**written, **logs}.items()}
        )

    def test_green(self) -> None:
        skyvern = Skyvern()
        browser_checks.check_hostile_page(site(skyvern, self.docker()))
        visit, stay = skyvern.created["json_definition"]["workflow_definition"]["blocks"]
        query = parse_qs(urlsplit(visit["url"]).query)
        assert query == {"marker": [MARKER], "to": list(browser_checks.FORBIDDEN), "around": json.loads(PLACES)}
        assert stay["wait_sec"] == browser_checks.STAY_SECONDS

    def test_green_where_no_name_server_answers(self) -> None:
        log = "\n".join(held_log()).replace("TCP_DENIED/502", "NONE_NONE_ABORTED/000")
        docker = self.docker(egress=log)
        docker.programs[browser_checks.NAMELESS] = b"gateway\npostgres\nhost.docker.internal\n"
        browser_checks.check_hostile_page(site(Skyvern(), docker))
        docker.programs[browser_checks.NAMELESS] = b"gateway\npostgres\n"
        assert "host.docker.internal by fetch" in fails(browser_checks.check_hostile_page, site(Skyvern(), docker))

    def test_one_visit_serves_both_looks_and_leaves_nothing(self) -> None:
        skyvern = Skyvern()
        target = site(skyvern, self.docker())
        browser_checks.hostile_visit(target)
        browser_checks.check_hostile_page(target)
        assert skyvern.calls.count("POST /v1/run/workflows") == 1
        assert skyvern.calls[-1] == "POST /v1/workflows/wpid_1/delete"

    def test_a_visit_that_nobody_ends_is_cancelled(self) -> None:
        skyvern = Skyvern()

        def begin(target: Site) -> None:
            browser_checks.hostile_visit(target)

        begun = Check("begun", "egress", begin)
        assert [result.mark for result in smoke.run_checks(site(skyvern, self.docker()), [begun])] == ["ok"]
        assert skyvern.calls[-2:] == ["POST /v1/runs/wr_1/cancel", "POST /v1/workflows/wpid_1/delete"]

    def test_what_cannot_be_removed_fails_the_check_and_nothing_else(self) -> None:
        skyvern = Skyvern()

        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/delete"):
                raise httpx.ReadTimeout("late", request=request)
            return skyvern(request)

        hostile = Check("hostile page", "egress", browser_checks.check_hostile_page)
        after = Check("after", "egress", lambda target: None)
        assert [result.mark for result in smoke.run_checks(site(answer, self.docker()), [hostile, after])] == ["FAIL", "ok"]

    def test_the_other_logs_count_too(self) -> None:
        reached = self.docker(gateway=f'{{"uri":"/{MARKER}/fetch"}}')
        assert "gateway was reached" in fails(browser_checks.check_hostile_page, site(Skyvern(), reached))
        reached = self.docker(postgres="LOG:  invalid length of startup packet")
        assert "postgres was reached" in fails(browser_checks.check_hostile_page, site(Skyvern(), reached))
        unseen = self.docker(**{"smoke-site": ""})
        assert "smoke-site got no request of the page" in fails(browser_checks.check_hostile_page, site(Skyvern(), unseen))

    @pytest.mark.parametrize("word", ["around", "online"])
    def test_what_the_page_did_not_try_or_have_is_missed(self, word: str) -> None:
        docker = self.docker()
        docker.written["skyvern-dev-smoke-site"] = docker.written["skyvern-dev-smoke-site"].replace(word, "failed")
        assert fails(browser_checks.check_hostile_page, site(Skyvern(), docker)) == f"smoke-site got no request for {word}"

    def test_one_packet_past_the_proxy_is_enough(self) -> None:
        docker = self.docker()
        docker.programs['cat "$0"; rm "$0"'] = OWN_PACKETS + b'["udp", false]\n'
        problem = fails(browser_checks.check_hostile_page, site(Skyvern(), docker))
        assert problem == "1 UDP packets or connections went past the proxy"

    def test_a_listener_that_hears_nothing_proves_nothing(self) -> None:
        assert len(browser_checks.packet_problems([])) == 2
        assert browser_checks.packet_problems(OWN_PACKETS.decode().splitlines()) == []
        [problem] = browser_checks.packet_problems(['["udp", true]', '["tcp", true]', '["tcp", false]'])
        assert "1 TCP" in problem

    def test_the_listener_hears_its_own_packets_and_others(self, tmp_path: Path) -> None:
        """Run here, as in the server's container."""
        file = tmp_path / "packets"
        listen = browser_checks.LISTEN.replace("+ 240", "+ 20")
        places = json.loads(subprocess.run([sys.executable, "-c", listen, file], capture_output=True, check=True).stdout)
        port = int(places[-1].rpartition(":")[2])
        assert f"127.0.0.1:{port}" in places
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", ("127.0.0.1", port))
        with socket.create_connection(("127.0.0.1", port)):
            pass
        wait_for(lambda: file.exists() and len(file.read_text().splitlines()) == 4, seconds=15)
        problems = browser_checks.packet_problems(file.read_text().splitlines())
        assert problems == [f"1 {protocol} packets or connections went past the proxy" for protocol in ("UDP", "TCP")]

    def test_the_page_and_the_judge_name_the_same_techniques(self) -> None:
        page = (ROOT / "images/artifacts/smoke/hostile.html").read_text()
        for technique in (*egress_log.TECHNIQUES, "websocket"):
            assert f'address(target, "{technique}")' in page
        for technique in ("stun:", "?transport=udp", "?transport=tcp", "addIceCandidate", "dns-prefetch", "WebTransport"):
            assert technique in page

    def test_many_problems_fit_one_line(self) -> None:
        with pytest.raises(CheckFailedError, match=r"^a; b; c; and 2 more$"):
            expect_none(["a", "b", "c", "d", "e"])
        expect_none([])


class TestSandbox:
    PAGE: ClassVar = {"filters": 2, "no_new_privileges": True, "own": ["user", "pid", "net"]}
    PROCESSES: ClassVar = {"browser_filters": 1, "flags": [], "pages": [PAGE, PAGE], "browsers": [["lo"]], "secrets": []}

    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workflow_checks, "POLL_SECONDS", 0.0)

    def look(self, sandbox: str = "true", **changes: Any) -> Site:
        programs = {
            browser_checks.LOOK: json.dumps({**self.PROCESSES, **changes}).encode(),
            browser_checks.LISTEN: PLACES,
            "$BROWSER_SANDBOX": f"{sandbox}\n".encode(),
        }
        return site(Skyvern(), DockerDouble(programs=programs))

    def test_a_page_that_is_held_is_green(self) -> None:
        browser_checks.check_sandbox(self.look())

    @pytest.mark.parametrize(
        ("page", "problem"),
        [
            ({"filters": 1}, "lacks its own system call filter"),
            ({"no_new_privileges": False}, "may gain privileges"),
            ({"own": ["pid", "net"]}, "shares the user namespace"),
            ({"own": []}, "shares the net, pid, user namespace"),
        ],
    )
    def test_each_missing_wall_counts(self, page: dict[str, Any], problem: str) -> None:
        assert problem in fails(browser_checks.check_sandbox, self.look(pages=[self.PAGE, {**self.PAGE, **page}]))

    def test_a_flag_against_it_counts_and_silence_proves_nothing(self) -> None:
        assert fails(browser_checks.check_sandbox, self.look(flags=["--no-sandbox"])) == "Chromium was started with --no-sandbox"
        assert "no page's process was found" in fails(browser_checks.check_sandbox, self.look(pages=[]))

    def test_a_browser_with_a_network_counts(self) -> None:
        problem = fails(browser_checks.check_sandbox, self.look(browsers=[["lo"], ["eth0", "eth1", "lo"]]))
        assert problem == "a browser has eth0, eth1, lo"

    def test_a_secret_in_the_environment_counts(self) -> None:
        problem = fails(browser_checks.check_sandbox, self.look(secrets=["node: SECRET_KEY"]))
        assert problem == "in the environment of node: SECRET_KEY"

    def test_where_there_is_none_by_the_settings_it_is_said(self) -> None:
        with pytest.raises(CheckNotApplicableError, match=r"browser\.sandbox is false"):
            browser_checks.check_sandbox(self.look(sandbox="false", flags=["--no-sandbox"]))
        with pytest.raises(CheckNotApplicableError, match="runs elsewhere"):
            browser_checks.check_sandbox(elsewhere(always(500)))

    def test_the_look_itself_tells_of_this_process(self) -> None:
        """Run here, where no Chromium is: it prints what the check reads."""
        script = browser_checks.LOOK.replace(f"+ {browser_checks.APPEAR_SECONDS}", "+ 0")
        printed = json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
        assert printed.keys() == self.PROCESSES.keys()


class TestRunner:
    def test_marks_and_exit_code(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        def bad(target: Site) -> None:
            raise CheckFailedError("saw something else")

        def skipped(target: Site) -> None:
            raise CheckSkippedError("needs bad")

        def odd(target: Site) -> None:
            raise KeyError(KEY)

        checks = (
            Check("good", "server", lambda target: None),
            Check("bad", "gateway", bad),
            Check("skipped", "server", skipped),
            Check("odd", "server", odd),
        )
        results = list(smoke.run_checks(site(always(200)), checks))
        assert [result.mark for result in results] == ["ok", "FAIL", "skip", "FAIL"]
        assert "saw something else" in smoke.render(results[1])
        assert smoke.render(results[1]).endswith("docker --host unix:///var/run/docker.sock logs --since 10m skyvern-dev-gateway")
        assert "look at" not in smoke.render(results[2])
        assert KEY not in smoke.render(results[3])

        monkeypatch.setattr(Stack, "outputs", lambda self: Outputs.model_validate(outputs_json()))
        monkeypatch.setattr(smoke, "run_checks", lambda target: iter(results))
        assert smoke.main(Stack("dev"), as_json=True) == 1
        printed = capsys.readouterr().out
        documents = json.loads(printed)
        assert [document["mark"] for document in documents] == ["ok", "FAIL", "skip", "FAIL"]
        assert {tuple(document) for document in documents} == {("name", "mark", "seconds", "detail", "look_at")}
        monkeypatch.setattr(smoke, "run_checks", lambda target: iter(results[:1]))
        assert smoke.main(Stack("dev")) == 0
        assert capsys.readouterr().out.startswith("ok    good")

    def test_what_does_not_apply_is_printed_and_is_not_a_failure(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def absent(target: Site) -> None:
            raise CheckNotApplicableError("there is none")

        (result,) = smoke.run_checks(site(always(200)), (Check("absent", "server", absent),))
        assert result.mark == "n/a"
        monkeypatch.setattr(Stack, "outputs", lambda self: Outputs.model_validate(outputs_json()))
        monkeypatch.setattr(smoke, "run_checks", lambda target: iter([result]))
        assert smoke.main(Stack("dev")) == 0
        printed = capsys.readouterr().out
        assert printed.startswith("n/a   absent")
        assert printed.endswith("there is none\n")

    def test_an_unreachable_stack_fails_every_check_in_one_line(self) -> None:
        def down(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("[Errno 111] Connection refused")

        results = list(smoke.run_checks(site(down, DockerDouble(programs={browser_checks.LISTEN: PLACES}))))
        assert [result.name for result in results] == [check.name for check in smoke.CHECKS]
        assert "FAIL" in {result.mark for result in results}
        for result in results:
            assert "\n" not in result.detail
            if result.name == "internet":
                # These outputs are of a version that did not know whom to ask.
                assert result.mark == "n/a"
                continue
            assert result.mark in {"FAIL", "skip"}
            # This check asks only Docker.
            assert "ConnectError" in result.detail or result.mark == "skip" or result.name == "isolation"

    def test_names_are_unique(self) -> None:
        checks = (*smoke.CHECKS, *smoke.OPTIONAL_CHECKS)
        assert len({check.name for check in checks}) == len(checks)

    def test_a_stack_is_asked_for_its_own_parts_only(self) -> None:
        assert smoke.checks_for(Outputs.model_validate(outputs_json())) == smoke.CHECKS
        assert smoke.checks_for(with_ollama()) == (*smoke.CHECKS, *smoke.OPTIONAL_CHECKS)


def with_ollama() -> Outputs:
    containers = {**outputs_json()["containers"], "ollama": "skyvern-dev-ollama", "ollama-pull": "skyvern-dev-ollama-pull"}
    return Outputs.model_validate({**outputs_json(), "containers": containers})


class TestLanguageModel:
    LINE = "ollama-pull: m:1b is missing, AI steps fail until it is there; next try in 60 s; Error: no such host"

    def ask(self, answer: str, log: str = "") -> Site:
        programs = {"api/show": json.dumps({"model": "m:1b", "answer": answer}).encode()}
        docker = DockerDouble(programs=programs, written={"skyvern-dev-ollama-pull": log})
        return Site(with_ollama(), httpx.Client(transport=httpx.MockTransport(always(200))), docker)

    def test_a_model_that_is_there_is_green(self) -> None:
        target = self.ask("there")
        llm_checks.check_ollama_model(target)
        (call,) = target.docker.calls  # type: ignore[attr-defined]
        assert call[:2] == ("exec", "skyvern-dev-server"), "asked where Skyvern asks"

    def test_a_missing_model_is_told_as_the_pull_container_tells_it(self) -> None:
        assert fails(llm_checks.check_ollama_model, self.ask("missing", f"ollama-pull: pulling m:1b\n{self.LINE}\n")) == self.LINE

    @pytest.mark.parametrize("answer", ["no answer (refused)", "status 500"])
    def test_an_ollama_that_does_not_answer_fails(self, answer: str) -> None:
        assert fails(llm_checks.check_ollama_model, self.ask(answer)) == f"m:1b: Ollama gives Skyvern {answer}"


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        (APP, True),
        ("http://127.0.0.2:1", True),
        ("http://[::1]:1", True),
        ("https://app.example.com", False),
        ("http://10.0.0.1", False),
    ],
)
def test_a_proxy_of_the_environment_is_not_asked_for_loopback(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback


class Links:
    """The API's host as it answers to links. allow: faults, by the word for the request that is then wrongly answered."""

    def __init__(self, *faults: str) -> None:
        self.faults = frozenset(faults)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert "x-api-key" not in request.headers
        assert "authorization" not in request.headers
        query = dict(request.url.params)
        known = request.url.path in ("/v1/artifacts/a_1/content", "/v1/artifacts/a_2/content")
        if query == {"expiry": "1", "kid": "1", "sig": "x"}:
            right = known or "elsewhere" in self.faults
        elif query == {"expiry": "91", "kid": "1", "sig": "x"}:
            right = "longer" in self.faults
        elif not query:
            right = "unsigned" in self.faults
        else:
            expiry = int(query["expiry"])
            signed = artifact_checks.signed(LINK_KEY, str(request.url), expiry) == str(request.url)
            right = (signed or "forged" in self.faults) and (expiry > time.time() or "expired" in self.faults)
        if not right:
            return httpx.Response(403)
        headers = {} if "unsafe" in self.faults else SAFE
        if "range" in request.headers and "range" not in self.faults:
            return httpx.Response(206, content=VIDEO[1:9], headers=headers)
        return httpx.Response(200, content=VIDEO, headers=headers)


class TestLinks:
    docker = DockerDouble(programs={"ARTIFACT_LINK_KEY": f"{LINK_KEY}\n".encode()})

    def test_green(self) -> None:
        artifact_checks.check_links(site(Links(), self.docker, RUN))

    @pytest.mark.parametrize(
        ("fault", "told"),
        [
            ("expired", "an expired link to the recording gave 200, expected 403"),
            ("forged", "a forged link to the recording gave 200, expected 403"),
            ("longer", "a link to the recording with another time gave 200, expected 403"),
            ("elsewhere", "a link to another file with the signature of the recording gave 200, expected 403"),
            ("unsigned", "the recording without a signature gave 200, expected 403"),
            ("range", "a part of the recording by its link gave 200, expected 206"),
            ("unsafe", "the recording: ['Content-Security-Policy without sandbox'"),
        ],
    )
    def test_each_fault_is_named(self, fault: str, told: str) -> None:
        assert fails(artifact_checks.check_links, site(Links(fault), self.docker, RUN)).startswith(told)

    def test_a_link_elsewhere_is_none(self) -> None:
        elsewhere = CompletedRun("wr_1", None, None, None, "file:///data/artifacts/a.png")
        assert "not one of the API's host" in fails(artifact_checks.check_links, site(Links(), self.docker, elsewhere))

    def test_objects_of_a_bucket_have_no_local_path(self) -> None:
        in_bucket = CompletedRun("wr_1", None, None, RUN.recording_link, RUN.screenshot_link)
        for check in (artifact_checks.check_recording, artifact_checks.check_screenshot, artifact_checks.check_artifact_login):
            with pytest.raises(CheckNotApplicableError, match=r"storage\.type is s3"):
                check(site(Links(), self.docker, in_bucket))
