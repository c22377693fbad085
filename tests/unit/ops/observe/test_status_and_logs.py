"""``ops status`` and ``ops logs`` with doubles: what is read of Docker's answers, and what is shown of it."""

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.settings import parse
from lab import loopback
from ops.clients import terminal
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.observe import automation, logs, status
from ops.observe.automation import Today
from ops.observe.logs import Line
from ops.observe.status import Runs
from ops.paths import ROOT
from ops.stack import inventory
from ops.stack.inventory import Container, Volume
from ops.stack.stack import Stack
from tests.support import containers
from tests.support.cloudflare import edge_section
from tests.support.containers import GATEWAY, INSPECTED
from tests.support.daemon import daemon
from tests.support.program import VERCEL

NOW = datetime(2026, 1, 31, 12, 5, 30, tzinfo=UTC)
STATUS = replace(
    containers.STATUS,
    version="0.1.0+0123456789ab",
    memory={"skyvern-dev-gateway": 26 * 2**20},
    volumes=[Volume(name="skyvern-dev-videos", part="videos", size_bytes=3 * 2**20)],
)


# --- What the daemon says ------------------------------------------------------------------------------------------------


def test_a_container_is_read_without_its_environment() -> None:
    assert Container(
        name="skyvern-dev-gateway",
        part="gateway",
        image="localhost/skyvern/gateway:5",
        image_id="sha256:60",
        status="running",
        health="healthy",
        restarts=2,
        exit_code=0,
        oom_killed=False,
        started_at=datetime(2026, 1, 31, 9, 0, 0, 500_000, tzinfo=UTC),
        memory_mib=256,
        read_only=True,
        privileged=False,
        capabilities_dropped=True,
        no_new_privileges=True,
        system_calls_filtered=True,
        published=(("127.0.0.1", 8080, "8080/tcp"),),
    ) == inventory.parse_container(INSPECTED)
    assert "secret" not in repr(GATEWAY)


def test_added_capabilities_are_not_dropped_ones() -> None:
    opened = INSPECTED | {"HostConfig": INSPECTED["HostConfig"] | {"CapAdd": ["NET_ADMIN"]}}
    assert not inventory.parse_container(opened).capabilities_dropped


@pytest.mark.parametrize(
    ("added", "closed"), [(["NET_ADMIN"], True), (["CAP_NET_ADMIN"], True), (["NET_ADMIN", "SYS_ADMIN"], False)]
)
def test_the_firewall_has_the_one_that_it_needs(added: list[str], closed: bool) -> None:
    labels = {"Config": INSPECTED["Config"] | {"Labels": {"skyvern.part": "firewall"}}}
    firewall = INSPECTED | labels | {"HostConfig": INSPECTED["HostConfig"] | {"CapAdd": added}}
    assert inventory.parse_container(firewall).capabilities_dropped is closed


@pytest.mark.parametrize(
    ("text", "size"),
    [("46.9MB", 46_900_000), ("0B", 0), ("8.363MiB", 8_769_241), ("1.5GiB", 1_610_612_736), ("N/A", None), ("", None)],
)
def test_sizes(text: str, size: int | None) -> None:
    assert inventory.parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-01-31T09:00:00.264643149Z", 0.264643),
        ("2026-01-31T09:00:01Z", 1),
        ("2026-01-31T18:00:00.5+09:00", 0.5),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
    ],
)
def test_times(text: str, seconds: float | None) -> None:
    parsed = inventory.parse_time(text)
    start = datetime(2026, 1, 31, 9, 0, 0, tzinfo=UTC)
    assert (None if parsed is None else (parsed - start).total_seconds()) == seconds


# --- status --------------------------------------------------------------------------------------------------------------


def test_one_table() -> None:
    first, *lines = status.render(STATUS, NOW).splitlines()
    assert first == (
        "stack dev: 1 of 1 containers healthy; http://localhost:8080, API answers, Skyvern 1.0.56; "
        "skyvern-stack 0.1.0+0123456789ab"
    )
    assert lines == [
        "",
        "name                 state    health   restarts  up     memory or disk  image",
        "skyvern-dev-gateway  running  healthy  2         3h 5m  26 / 256 MiB    localhost/skyvern/gateway:5",
        "skyvern-dev-videos   volume   -        -         -      3.0 MiB         -",
    ]


def test_a_stack_that_is_down_says_so() -> None:
    nothing = replace(STATUS, containers=[], memory={}, api_version=None)
    assert status.summary(nothing) == ("stack dev is down: no container on unix:///s; 1 volumes are kept; script/up --stack dev")
    assert status.render(replace(nothing, volumes=[]), NOW).count("\n") == 0
    stopped = replace(STATUS, containers=[replace(GATEWAY, status="exited")], api_version=None)
    assert "1 containers, none runs; bin/ops doctor -s dev" in status.summary(stopped)
    assert json.loads(status.as_json(stopped))["up"] is False


def test_an_ill_container_points_to_the_doctor() -> None:
    ill = replace(STATUS, containers=[replace(GATEWAY, health="unhealthy")])
    assert "0 of 1 containers healthy" in status.summary(ill)
    assert status.summary(ill).endswith("bin/ops doctor -s dev shows what to do")


def test_json_has_numbers() -> None:
    document = json.loads(status.as_json(STATUS))
    assert document["containers"][0]["memory_bytes"] == 26 * 2**20
    assert document["volumes"][0]["size_bytes"] == 3 * 2**20


@pytest.mark.parametrize(
    ("seconds", "shown"), [(5, "5s"), (65, "1m 5s"), (3600, "1h 0m"), (86400 * 3 + 7200, "3d 2h"), (-3, "0s")]
)
def test_uptime(seconds: int, shown: str) -> None:
    started = datetime.fromtimestamp(NOW.timestamp() - seconds, UTC)
    assert status.uptime(replace(GATEWAY, started_at=started), NOW) == shown


def test_the_api_version_is_the_heartbeats() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url == "http://localhost:8080/api/v1/heartbeat"
        return httpx.Response(200, headers={"X-Skyvern-API-Version": "1.0.56"})

    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    assert status.api_version("http://localhost:8080", httpx.MockTransport(answer)) == "1.0.56"
    assert status.api_version("http://localhost:8080", httpx.MockTransport(lambda request: httpx.Response(502))) is None
    assert status.api_version("http://localhost:8080", httpx.MockTransport(fail)) is None


def test_the_api_is_asked_at_its_own_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the UI's, Vercel or a login of Access answers."""
    asked: list[str] = []
    settings = parse({**edge_section(), "frontend": VERCEL}, file="Pulumi.prod.yaml", secret_keys=frozenset({"edge", "frontend"}))
    monkeypatch.setattr(Stack, "settings", lambda stack: settings)
    monkeypatch.setattr(inventory, "containers", lambda docker, stack: [GATEWAY])
    monkeypatch.setattr(inventory, "volumes", lambda docker, stack, sizes: [])
    monkeypatch.setattr(inventory, "memory_in_use", lambda docker, names: {})
    monkeypatch.setattr(inventory, "ask", lambda *arguments, **options: None)
    monkeypatch.setattr(status, "api_version", asked.append)
    assert status.observe(Stack("prod")).address == "https://app.example.com"
    assert asked == ["https://api.example.com"]


def test_a_public_api_is_asked_through_the_proxy_of_the_shell_and_loopback_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class Proxy(loopback.Handler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("X-Skyvern-API-Version", self.path)
            self.end_headers()

    with loopback.serving(Proxy) as port:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "")
        assert status.api_version("http://api.example.test") == "http://api.example.test/api/v1/heartbeat"
        assert status.api_version(f"http://localhost:{port}") == "/api/v1/heartbeat"
        # Of a desktop, which no request of ours can use.
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"socks://127.0.0.1:{port}")
        assert status.api_version("http://api.example.test") is None
        assert status.api_version(f"http://localhost:{port}") == "/api/v1/heartbeat"


def test_skyverns_version_is_its_packages() -> None:
    # The wheel's API calls itself "development" (1.0.56, _version.py); only official builds say more.
    class Answering(Docker):
        def run(self, *arguments: str | Path, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
            assert arguments[:3] == ("exec", "skyvern-dev-server", "python3")
            return "1.0.56\n"

    class Failing(Docker):
        def run(self, *arguments: str | Path, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
            raise UserError("docker exec: exit 1")

    server = replace(GATEWAY, name="skyvern-dev-server", part="server")
    assert status.skyvern_version(Answering("unix:///s"), [GATEWAY, server]) == "1.0.56"
    assert status.skyvern_version(Failing("unix:///s"), [GATEWAY, server]) is None
    # No exec into what does not run, or into another part's container.
    assert status.skyvern_version(Answering("unix:///s"), [GATEWAY, replace(server, status="exited")]) is None
    unknown = replace(STATUS, skyvern_version=None)
    assert status.summary(unknown).endswith("API answers; skyvern-stack 0.1.0+0123456789ab")
    assert json.loads(status.as_json(STATUS)) | {"skyvern_version": "1.0.56", "version": "0.1.0+0123456789ab"} == json.loads(
        status.as_json(STATUS)
    )


STATE: dict[str, Any] = {"max_runs": 4, "running": ["wr_1", "wr_2", "wr_3"], "queued": 12, "interrupted": 2, "draining": False}


class ServerDouble(Docker):
    """A daemon whose server answers ``cat`` with this; "" fails."""

    def answer(self, text: str) -> "ServerDouble":
        object.__setattr__(self, "text", text)
        return self

    def run(self, *arguments: str | Path, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
        assert arguments == ("exec", "skyvern-dev-server", "cat", status.RUNS_FILE)
        text: str = vars(self)["text"]
        if not text:
            raise UserError("docker: exit 1: cat: /tmp/run-gate.json: No such file or directory")
        return text


def test_runs_are_what_the_server_says_of_them() -> None:
    server = replace(GATEWAY, name="skyvern-dev-server", part="server")

    def read(text: str, *containers: Container) -> Runs | None:
        return status.runs(ServerDouble("unix:///s").answer(text), containers)

    assert read(json.dumps(STATE), GATEWAY, server) == Runs(
        max_runs=4, running=["wr_1", "wr_2", "wr_3"], queued=12, interrupted=2, draining=False
    )
    assert read(json.dumps(STATE | {"later": 1}), server) == read(json.dumps(STATE), server)
    # One that does not run, has no gate, or has one that says less.
    assert read(json.dumps(STATE), GATEWAY, replace(server, status="exited")) is None
    for text in ("", "{", "[]", "null", json.dumps({"max_runs": 4})):
        assert read(text, server) is None


def test_the_server_writes_what_is_read() -> None:
    """The names in images/server/run_gate.py, which tests/unit/images/test_run_gate.py compares with what it writes."""
    text = (ROOT / "images/server/run_gate.py").read_text()
    assert f'STATE = Path("{status.RUNS_FILE}")' in text
    for name in STATE:
        assert f'"{name}":' in text


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, "runs: 3 of 4 in progress, 12 queued; 2 interrupted since the server's start"),
        ({"interrupted": 0, "queued": 0, "running": []}, "runs: 0 of 4 in progress, 0 queued"),
        ({"interrupted": 0, "draining": True}, "runs: 3 of 4 in progress, 12 queued; draining: the server is about to stop"),
    ],
)
def test_runs_have_one_line(change: dict[str, Any], line: str) -> None:
    with_runs = replace(STATUS, runs=Runs(**(STATE | change)))
    assert status.render(with_runs, NOW).splitlines()[1:3] == [line, ""]
    assert json.loads(status.as_json(with_runs))["runs"] == STATE | change
    assert json.loads(status.as_json(STATUS))["runs"] is None


def test_a_table_is_as_wide_as_its_cells() -> None:
    assert terminal.table(("a", "b"), [("long", "1")]) == "a     b\nlong  1"


# --- logs ----------------------------------------------------------------------------------------------------------------


def test_lines_are_merged_by_time() -> None:
    server = logs.parse_line("server", "2026-01-31T09:00:00.2Z second")
    gateway = logs.parse_line("gateway", "2026-01-31T09:00:00.123456789Z first\n")
    last = logs.parse_line("gateway", "2026-01-31T09:00:01Z last | with a bar")
    assert [line.text for line in logs.merged([gateway, last, server])] == ["first", "second", "last | with a bar"]
    assert logs.render(gateway, 7) == "09:00:00 gateway | first"


def test_times_sort_as_text_although_docker_leaves_zeros_out() -> None:
    times = ["2026-01-31T09:00:00Z", "2026-01-31T09:00:00.2Z", "2026-01-31T09:00:00.25Z", "2026-01-31T09:00:01Z"]
    lines = [logs.parse_line("a", f"{moment} {number}") for number, moment in enumerate(times)]
    assert [line.text for line in logs.merged(reversed(lines))] == ["0", "1", "2", "3"]


def test_a_line_without_a_time_stays_behind_its_own() -> None:
    lines = [logs.parse_line("a", "2026-01-31T09:00:05Z x"), Line("", "a", "tail of x"), Line("2026-01-31T09:00:06Z", "b", "y")]
    assert [line.text for line in logs.merged(lines)] == ["x", "tail of x", "y"]


def test_secrets_are_the_values_of_what_is_named_so() -> None:
    environment = [
        "LLM_KEY=OPENAI_GPT4O_MINI",
        "OPENAI_API_KEY=sk-proj-0123456789",
        "DATABASE_STRING=postgresql+psycopg://skyvern:hunter22hunter22@postgres:5432/skyvern",
        "UI_LOGIN_SHA256=5e884898da28",
        "TZ=Asia/Seoul",
        "SHORT_KEY=true",
    ]
    assert logs.secrets_of(environment) == ["sk-proj-0123456789", "hunter22hunter22", "5e884898da28"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Incorrect API key: sk-proj-0123456789.", "Incorrect API key: ***."),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJvXzEifQ.abc_-9 used", "token *** used"),
        ("GET /stream?apikey=abc&x=1", "GET /stream?apikey=***&x=1"),
        ('"uri":"/stream?apikey=REDACTED"', '"uri":"/stream?apikey=REDACTED"'),
        ("'x-api-key': 'abc'", "'x-api-key': '***'"),
        ("Authorization: Basic c2t5", "Authorization: Basic ***"),
        ("key: value, monkey=3", "key: value, monkey=3"),
    ],
)
def test_redaction(text: str, shown: str) -> None:
    assert logs.redact(text, ["sk-proj-0123456789"]) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m \x9b1mbold", "red bold"),
        ("a\x1b]0;title\x07b\x1b]52;c;cGFzdGU=\x1b\\c", "abc"),
        ("\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x1bPdevice\x1b\\b\x9dtitle\x9cc", "abc"),
        # One that never ends takes the rest of its line alone.
        ("a\x1b]0;never ends", "a"),
        ("\x1bc\x1b(0\x1b7reset", "reset"),
        ("begin\r\x08\x7f\x00end", "begin\\x0d\\x08\\x7f\\x00end"),
        ("lone \x1b", "lone \\x1b"),
        ("turned \u202e back \u2066x\u2028y", "turned \\u202e back \\u2066x\\u2028y"),
        ("tab\there, 한국어\u3000와 emoji 🌊", "tab\there, 한국어\u3000와 emoji 🌊"),
    ],
)
def test_a_log_cannot_write_to_the_terminal(text: str, shown: str) -> None:
    assert logs.printable(text) == shown


@given(st.text())
def test_nothing_of_it_is_a_control_character(text: str) -> None:
    assert not [letter for letter in logs.printable(text) if unicodedata.category(letter) in {"Cc", "Cf"} and letter != "\t"]


def test_a_colour_does_not_hide_a_secret() -> None:
    assert logs.redact(logs.printable("x corr\x1b[1mect-horse\x1b[0m y"), ["correct-horse"]) == "x *** y"


def test_services_are_chosen_by_name() -> None:
    server = replace(GATEWAY, name="skyvern-dev-server", part="server")
    both = [GATEWAY, server]
    assert logs.choose(Stack("dev"), both, []) == both
    assert logs.choose(Stack("dev"), both, ["server"]) == [server]
    with pytest.raises(UserError, match="has no service redis; write one of gateway, server"):
        logs.choose(Stack("dev"), both, ["redis"])
    with pytest.raises(UserError, match="has no container"):
        logs.choose(Stack("dev"), [], [])


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    """A ``docker logs`` that prints a line on each stream and, with ``--follow``, goes on until it is ended."""
    program = tmp_path / "docker"
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in *bad*) echo "invalid value for since" >&2; exit 1;; esac\n'
        'echo "2026-01-31T09:00:02Z out"; echo "2026-01-31T09:00:01Z err" >&2\n'
        'case "$*" in *--follow*) echo $$ > "$0.pid"; exec sleep 60;; esac\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return Docker("unix:///s")


def test_both_streams_are_read(docker: Docker) -> None:
    assert [line.text for line in logs.read(docker, [GATEWAY], [])] == ["err", "out"]
    with pytest.raises(UserError, match="docker logs skyvern-dev-gateway: invalid value for since"):
        logs.read(docker, [GATEWAY], ["--since", "bad"])


def test_following_ends_with_ctrl_c(docker: Docker, tmp_path: Path) -> None:
    """No traceback, exit 0, and no docker process left behind."""
    program = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from ops.observe import logs
        from ops.stack import inventory
        from ops.stack.stack import Stack
        from tests.support.containers import GATEWAY
        inventory.containers = lambda docker, stack: [GATEWAY] if stack == "dev" else []
        inventory.environments = lambda docker, stack: []
        stack = Stack("organization/skyvern/dev", root=Path({str(tmp_path)!r}))
        sys.exit(logs.main(stack, [], following=True, since=None, tail=None))
        """
    )
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    following = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert following.stdout is not None
    assert following.stdout.readline() == "09:00:01 gateway | err\n"
    followed = int((tmp_path / "docker.pid").read_text())
    following.send_signal(signal.SIGINT)
    _, errors = following.communicate(timeout=20)
    assert (following.returncode, errors) == (0, "")
    for _ in range(50):
        if not Path(f"/proc/{followed}").exists():
            break
        time.sleep(0.1)
    assert not Path(f"/proc/{followed}").exists()


# --- What the monitor counts -------------------------------------------------------------------------------------------------

TODAY: dict[str, Any] = {
    "runs": 12,
    "completed": 9,
    "failed": 2,
    "unfinished": 1,
    "success_rate": 9 / 11,
    "missed_schedules": ["Daily report"],
}


def test_today_is_what_the_monitor_counts() -> None:
    monitor = replace(GATEWAY, name="skyvern-dev-monitor", part="monitor")

    def read(text: str) -> Today | None:
        return automation.read(daemon(**{f"exec skyvern-dev-monitor {' '.join(automation.COMMAND)}": text}), [GATEWAY, monitor])

    assert read(json.dumps({**TODAY, "newer": 1})) == Today(**TODAY)
    # It is not ready, of another version, or fails with something else.
    for text in ("null", "", "{", "[]", json.dumps({"runs": 1})):
        assert read(text) is None
    assert automation.read(daemon(), [GATEWAY]) is None
    assert automation.read(daemon(), [replace(monitor, status="exited")]) is None


def test_today_is_one_line() -> None:
    with_today = replace(STATUS, today=Today(**TODAY))
    line = "today: 12 runs, 9 completed, 2 failed, 1 unfinished; missed: Daily report"
    assert line in status.render(with_today, NOW).splitlines()
    assert json.loads(status.as_json(with_today))["today"] == TODAY
    assert json.loads(status.as_json(STATUS))["today"] is None


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("db.example.com:5432, answers\n", "db.example.com:5432, answers"),
        (UserError("docker: exit 1"), "unknown: the roles container does not run"),
    ],
)
def test_a_database_elsewhere_is_named(printed: str | UserError, said: str) -> None:
    roles = replace(STATUS.containers[0], part="roles", name="skyvern-dev-roles", status="running")
    where = status.database(daemon(**{"exec skyvern-dev-roles": printed}), [roles])
    assert where == said
    elsewhere = replace(STATUS, database=where)
    assert f"database: {said}" in status.render(elsewhere, NOW).splitlines()
    assert json.loads(status.as_json(elsewhere))["database"] == said
    assert "database:" not in status.render(STATUS, NOW)
