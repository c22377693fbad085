"""A deployed stack for the smoke run's checks: its outputs, its Docker, and Skyvern's workflow routes."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.clients.docker import Docker
from ops.errors import UserError
from ops.observe.smoke.site import CompletedRun, Site
from ops.stack.outputs import Outputs

APP = "http://localhost:8080"
KEY = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJvXzEifQ.c2lnbmF0dXJl"
SMOKE_KEY = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJvXzIifQ.c2lnbmF0dXJl"
PASSWORD = "generatedPassword"
RECORDING = "/data/artifacts/o_1/2026-01-01T00:00:00_recording.mp4"
LINK_KEY = "generatedLinkKey" * 3
RUN = CompletedRun(
    "wr_1",
    RECORDING,
    "/data/artifacts/o_1/shot.png",
    f"{APP}/v1/artifacts/a_1/content?expiry=1&kid=1&sig=x",
    f"{APP}/v1/artifacts/a_2/content?expiry=1&kid=1&sig=x",
)
SMOKE = "http://smoke-site:8080"

Handler = Callable[[httpx.Request], httpx.Response]


def outputs_json() -> dict[str, Any]:
    parts = ("server", "gateway", "artifacts", "egress", "smoke-site", "postgres")
    return {
        "app_url": APP,
        "api_url": APP,
        "stream_url": APP,
        "browser_type": "headless",
        "smoke_url": SMOKE,
        "ui_username": "skyvern",
        "ui_password": PASSWORD,
        "api_key": KEY,
        "smoke_api_key": SMOKE_KEY,
        "docker_host": "unix:///var/run/docker.sock",
        "containers": {part: f"skyvern-dev-{part}" for part in parts},
    }


@dataclass(frozen=True)
class DockerDouble(Docker):
    """Answers ``docker exec`` from a table of programs and ``docker logs`` from a table of containers, and keeps the calls."""

    host: str = "unix:///nowhere"
    programs: dict[str, bytes] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)

    def command(self, *arguments: str | Path) -> list[str]:
        return ["printf", "%s", self.written.get(str(arguments[-1]), "")]

    def run_bytes(self, *arguments: str | Path, stdin: bytes | None = None, timeout_seconds: float = 120) -> bytes:
        words = tuple(str(argument) for argument in arguments)
        self.calls.append(words)
        if words[0] == "info":
            return b"2026-01-01T00:00:00Z\n"
        return next((output for word, output in self.programs.items() if any(word in given for given in words)), b"")


def site(handler: Handler, docker: DockerDouble | None = None, run: CompletedRun | None = None) -> Site:
    client = httpx.Client(transport=httpx.MockTransport(handler))
    return Site(Outputs.model_validate(outputs_json()), client, docker or DockerDouble(), run)


def fails(check: Callable[[Site], None], target: Site) -> str:
    with pytest.raises(UserError) as caught:
        check(target)
    return str(caught.value)


class Skyvern:
    """Skyvern's workflow routes; a run takes three polls, its files two more. written: whether the recording is there."""

    def __init__(self, status: str = "completed", files: bool = True, written: bool = True) -> None:
        self.status, self.files, self.written, self.polls = status, files, written, 0
        self.calls: list[str] = []
        self.created: dict[str, Any] = {}
        self.history = [{"run_id": "wr_0"}]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/artifacts/a_1/content":
            assert "x-api-key" not in request.headers
            return httpx.Response(206 if self.written else 404)
        call = f"{request.method} {request.url.path}"
        if request.headers["x-api-key"] == KEY:
            # The person's organisation, which has no run of the smoke runs'.
            return httpx.Response(200, json=self.history) if call == "GET /v1/runs" else httpx.Response(404)
        assert request.headers["x-api-key"] == SMOKE_KEY
        self.calls.append(call)
        if request.method == "GET" and "POST /v1/workflows/wpid_1/delete" in self.calls:
            # Observed in 1.0.56: a run is gone with its workflow.
            return httpx.Response(404)
        if call == "POST /v1/workflows":
            self.created = json.loads(request.content)
            return httpx.Response(200, json={"workflow_permanent_id": "wpid_1"})
        if call == "POST /v1/run/workflows":
            return httpx.Response(200, json={"run_id": "wr_1", "status": "created"})
        if call == "GET /v1/runs/wr_1":
            self.polls += 1
            run = {"run_id": "wr_1", "status": self.status if self.polls > 2 else "running", "failure_reason": "why"}
            if self.files and self.polls > 4:
                run["recording_url"] = str(RUN.recording_link)
            return httpx.Response(200, json=run)
        if call == "GET /v1/runs/wr_1/artifacts":
            found: list[dict[str, Any]] = [
                {"artifact_type": "har", "uri": "file:///y", "signed_url": f"{APP}/v1/artifacts/a_3/content"},
                {"artifact_type": "recording", "uri": f"file://{RECORDING}", "signed_url": RUN.recording_link},
                {"artifact_type": "screenshot_llm", "uri": "file:///x", "signed_url": f"{APP}/v1/artifacts/a_4/content"},
                {
                    "artifact_type": "screenshot_final",
                    "uri": f"file://{RUN.screenshot_path}",
                    "signed_url": RUN.screenshot_link,
                },
            ]
            return httpx.Response(200, json=found)
        return httpx.Response(200)
