"""What the monitor shows to programs and sends outside: metrics, the heartbeat, and when certificates end."""

import importlib
import math
import os
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab import loopback
from tests.support.monitor import config as make_config

NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)
SECRET = "0b4f2c1e-secret"


# --- Metrics -----------------------------------------------------------------------------------------------------------------


class Database:
    """Rows as the functions of monitor.sql give them, and whether it answers."""

    def __init__(self, monitor: SimpleNamespace) -> None:
        self.error = monitor.watch.psycopg.Error
        self.up = True
        self.runs: list[dict[str, Any]] = []

    @contextmanager
    def reading(self, _: str) -> Iterator["Database"]:
        if not self.up:
            raise self.error
        yield self

    def ready(self) -> bool:
        return True

    def titles(self, _: str) -> dict[str, str]:
        return {"wpid_1": 'a "quoted"\n\u202etitle\\', "wpid_2": "x" * 10_000}

    def ended(self, _: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
        return [run for run in self.runs if since <= run["finished"] < until]

    def end(self, run: str, workflow: str = "wpid_1", status: str = "completed", seconds: float | None = 40.0) -> None:
        self.runs.append(
            {
                "run": run,
                "workflow": workflow,
                "status": status,
                "seconds": seconds,
                "queue_seconds": 2.0,
                "finished": datetime.now(UTC),
            }
        )

    def unfinished(self, _: str) -> list[dict[str, Any]]:
        created = datetime.now(UTC) - timedelta(seconds=90)
        return [
            {"status": "queued", "created": created, "started": None},
            {"status": "running", "created": created, "started": created},
        ]

    def spending(self, *_: Any) -> list[dict[str, Any]]:
        tokens = {"input_tokens": 1000, "output_tokens": 10}
        return [
            {"workflow": "wpid_1", "model": "gpt", "cost": 0.5, "unpriced": 0, **tokens},
            {"workflow": None, "model": None, "cost": 0.0, "unpriced": 3, **tokens},
        ]

    def schedules(self, _: str) -> list[dict[str, Any]]:
        return [
            {
                "schedule": "wfs_1",
                "workflow": "wpid_1",
                "enabled": True,
                "cron": "0 9 * * *",
                "every_seconds": None,
                "first": None,
                "once": None,
                "timezone": "Asia/Seoul",
                "modified": datetime.now(UTC) - timedelta(days=30),
                "last": datetime.now(UTC) - timedelta(days=2),
            }
        ]


@pytest.fixture
def database(monitor: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Database:
    double = Database(monitor)
    monkeypatch.setattr(monitor.queries, "reading", double.reading)
    monkeypatch.setattr(monitor.heartbeat, "server_answers", lambda _: True)
    return double


@pytest.fixture
def metrics(monitor: SimpleNamespace, database: Database, tmp_path: Path) -> Any:
    (tmp_path / "status.json").write_text(
        '{"problem": "", "max_age_hours": 26, "since": 1795740000, "newest": {"time": 1795744800}}'
    )
    (tmp_path / "drill.json").write_text('{"at": "2026-11-20T00:00:00+00:00", "verdict": "passed"}')
    return monitor.metrics.Metrics(make_config(monitor, tmp_path, backup=tmp_path), datetime.now(UTC))


Series = tuple[str, tuple[tuple[str, str], ...]]


def of(name: str, **labels: str) -> Series:
    """One time series."""
    return f"skyvern_{name}", tuple(sorted(labels.items()))


def samples(monitor: SimpleNamespace, metrics: Any) -> dict[Series, float]:
    """Series -> value, by Prometheus' own parser."""
    metrics._kept = None
    parser = importlib.import_module("prometheus_client.parser")
    families = list(parser.text_string_to_metric_families(metrics.text().decode()))
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.documentation
        assert family.type != "unknown", family.name
    found = [one for family in families for one in family.samples]
    assert all(one.name.startswith("skyvern_") for one in found)
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for one in found}


def test_what_is_scraped_is_what_is_there(monitor: SimpleNamespace, metrics: Any, database: Database) -> None:
    first = samples(monitor, metrics)
    assert not [key for key in first if key[0] == "skyvern_runs_total"]
    database.end("wr_1")
    database.end("wr_2", status="failed", seconds=700.0)
    database.end("wr_3", status="canceled", seconds=None)
    found = samples(monitor, metrics)
    for result in ("completed", "failed", "canceled"):
        assert found[of("runs_total", workflow="wpid_1", result=result)] == 1
    assert found[of("run_duration_seconds_count", workflow="wpid_1")] == 2
    assert found[of("run_duration_seconds_sum", workflow="wpid_1")] == 740
    assert found[of("run_duration_seconds_bucket", workflow="wpid_1", le="60.0")] == 1
    assert found[of("run_wait_seconds_count", workflow="wpid_1")] == 3
    assert found[of("runs_unfinished", status="queued")] == 1
    assert found[of("queue_oldest_seconds")] == pytest.approx(90, abs=60)
    assert found[of("llm_cost_dollars_total", workflow="wpid_1", model="gpt")] == 0.5
    assert found[of("llm_unpriced_calls_total", workflow="", model="")] == 3
    assert found[of("llm_tokens_total", workflow="wpid_1", model="gpt", direction="output")] == 10
    assert found[of("schedule_missed", schedule="wfs_1", workflow="wpid_1")] == 1
    next_tick = found[of("schedule_next_timestamp_seconds", schedule="wfs_1", workflow="wpid_1")]
    assert next_tick > datetime.now(UTC).timestamp()
    assert found[of("backup_newest_timestamp_seconds")] == 1795744800
    assert found[of("backup_max_age_seconds")] == 26 * 3600
    assert found[of("drill_good_timestamp_seconds")] == datetime(2026, 11, 20, tzinfo=UTC).timestamp()
    assert found[of("workflow_info", workflow="wpid_1", title='a "quoted" title\\')] == 1
    assert found[of("build_info", version="1.0.56", images="9999-12-31")] == 1
    assert found[of("database_up")] == found[of("server_up")] == 1
    assert not [value for value in found.values() if math.isnan(value)]


def test_a_run_is_counted_once_whatever_the_scrapes(monitor: SimpleNamespace, metrics: Any, database: Database) -> None:
    for number in range(20):
        database.end(f"wr_{number}")
        found = samples(monitor, metrics)
    assert found[of("runs_total", workflow="wpid_1", result="completed")] == 20


def test_without_the_database_the_rest_is_there(monitor: SimpleNamespace, metrics: Any, database: Database) -> None:
    database.end("wr_1")
    samples(monitor, metrics)
    database.up = False
    found = samples(monitor, metrics)
    assert found[of("database_up")] == 0
    assert found[of("disk_size_bytes")] > 0
    # Counters are of this process.
    assert found[of("runs_total", workflow="wpid_1", result="completed")] == 1


def test_every_name_is_documented_in_both_languages(monitor: SimpleNamespace, metrics: Any, database: Database) -> None:
    root = Path(monitor.metrics.__file__).parents[2]
    database.end("wr_1")
    suffixes = ("_bucket", "_count", "_sum")
    names = {key[0] for key in samples(monitor, metrics)}
    names = {next((name.removesuffix(end) for end in suffixes if name.endswith(end)), name) for name in names}
    assert len(names) > 15
    for page in ("docs/monitoring.md", "docs/ko/monitoring.md"):
        text = (root / page).read_text()
        assert [name for name in sorted(names) if f"`{name}`" not in text] == [], page


# --- The heartbeat -----------------------------------------------------------------------------------------------------------


class Switch(loopback.Handler):
    """A dead man's switch; with ``down`` in its path it refuses."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(404 if "down" in self.path or self.headers["Host"] == "strange" else 200)
        self.end_headers()


@pytest.fixture
def switch() -> Iterator[tuple[str, list[str]]]:
    """Its address, and what it was asked."""
    asked: list[str] = []
    handler = type("Handler", (Switch,), {"asked": asked})
    with loopback.serving(handler) as port:
        yield f"http://127.0.0.1:{port}/ping/{SECRET}", asked


def test_the_switch_gets_start_ok_and_fail(monitor: SimpleNamespace, switch: tuple[str, list[str]]) -> None:
    address, asked = switch
    beat = monitor.heartbeat.Heartbeat(address)
    # Each minute: well for 12, not for 12, well again.
    for minute in range(26):
        beat.turn(NOW + timedelta(minutes=minute), minute < 12 or minute >= 24)
    path = f"/ping/{SECRET}"
    assert asked == [f"{path}/start", path, path, path, f"{path}/fail", f"{path}/fail", path]


def test_a_restart_of_the_server_is_no_fault(monitor: SimpleNamespace, switch: tuple[str, list[str]]) -> None:
    address, asked = switch
    beat = monitor.heartbeat.Heartbeat(address)
    for minute in range(20):
        beat.turn(NOW + timedelta(minutes=minute), not 3 <= minute < 7)
    assert not [path for path in asked if path.endswith("/fail")]


@pytest.mark.parametrize("path", ["down", "closed", "nowhere"])
def test_a_ping_that_does_not_arrive_tells_nothing_and_is_tried_again(
    monitor: SimpleNamespace, switch: tuple[str, list[str]], path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    address = {
        "down": f"{switch[0]}/down",
        "closed": f"http://127.0.0.1:9/{SECRET}",
        "nowhere": f"http://nowhere.invalid/{SECRET}",
    }[path]
    beat = monitor.heartbeat.Heartbeat(address)
    beat.turn(NOW, True)
    beat.turn(NOW + timedelta(minutes=1), True)
    printed = capsys.readouterr().out
    assert printed.count("monitor: the heartbeat did not arrive: ") == 2
    assert SECRET not in printed
    assert "127.0.0.1" not in printed


def test_skyvern_is_asked_through_the_gateway_by_its_host(monitor: SimpleNamespace, switch: tuple[str, list[str]]) -> None:
    host, _, port = switch[0].split("/")[2].partition(":")
    assert monitor.heartbeat.server_answers("api.example.com", (host, int(port)))
    assert switch[1] == ["/api/v1/heartbeat"]
    assert not monitor.heartbeat.server_answers("strange", (host, int(port)))
    assert not monitor.heartbeat.server_answers("api.example.com", (host, 9))


@pytest.mark.parametrize(
    ("status", "body", "began"),
    [
        (200, b"1795744800", datetime(2026, 11, 27, 2, 0, tzinfo=UTC)),
        (200, b"", None),
        (200, b"9" * 300, None),
        (421, b"1", None),
    ],
)
def test_the_gateway_says_when_it_began(status: int, body: bytes, began: datetime | None, monitor: SimpleNamespace) -> None:
    class Gateway(loopback.Handler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/started" else 404)
            self.end_headers()
            self.wfile.write(body)

    with loopback.serving(Gateway) as port:
        assert monitor.heartbeat.gateway_started(("127.0.0.1", port)) == began
    assert monitor.heartbeat.gateway_started(("127.0.0.1", port)) is None


def test_the_time_of_a_file_says_when_a_container_began(monitor: SimpleNamespace, tmp_path: Path) -> None:
    """Whatever is in it: whoever took the container over may write there."""
    file = tmp_path / "at"
    assert monitor.machine.started(file) is None
    file.write_bytes(b"\xff" * 1000)
    os.utime(file, times=(1795744800.25,) * 2)
    assert monitor.machine.started(file) == datetime(2026, 11, 27, 2, 0, 0, 250_000, tzinfo=UTC)
    # It leads nowhere, and a pipe is not opened.
    file.unlink()
    file.symlink_to(tmp_path)
    os.utime(tmp_path, times=(0, 0))
    assert monitor.machine.started(file) > datetime(2000, 1, 1, tzinfo=UTC)
    file.unlink()
    os.mkfifo(file)
    assert monitor.machine.started(file) is not None


# --- Certificates ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of localhost that ends in ten days, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    files = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "10"]
    options = [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-out",
        str(files[0]),
        "-keyout",
        str(files[1]),
    ]
    subprocess.run([*command, *options], check=True, capture_output=True)
    return files


def test_the_address_shows_when_its_certificate_ends(
    monitor: SimpleNamespace, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with loopback.serving(loopback.Handler, context=context) as port:
        end = monitor.certificates.of_address(f"https://localhost:{port}")
    assert end is not None
    left = end - datetime.now(UTC)
    assert left > timedelta(days=9)
    assert left <= timedelta(days=10)
    assert monitor.certificates.of_address("http://localhost:9") is None
    assert monitor.certificates.of_address("https://localhost:9") is None


def test_a_companys_certificates_show_the_first_end(
    monitor: SimpleNamespace, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    assert monitor.certificates.of_company(certificate[0]) - datetime.now(UTC) <= timedelta(days=10)
    assert monitor.certificates.of_company(tmp_path / "none") is None
    (tmp_path / "text").write_text("text")
    assert monitor.certificates.of_company(tmp_path / "text") is None


# --- What the commands ask ---------------------------------------------------------------------------------------------------


def test_a_silence_is_kept_until_its_end(monitor: SimpleNamespace, tmp_path: Path) -> None:
    watch = monitor.watch
    watch.silence(tmp_path, "disk", NOW + timedelta(hours=2), NOW)
    watch.silence(tmp_path, "kit", NOW + timedelta(hours=1), NOW)
    assert watch.silences(tmp_path) == {"disk": NOW + timedelta(hours=2), "kit": NOW + timedelta(hours=1)}
    watch.silence(tmp_path, "disk", NOW, NOW)
    assert list(watch.silences(tmp_path)) == ["kit"]
    (tmp_path / watch.SILENCES).write_text("{")
    assert watch.silences(tmp_path) == {}
    assert {"disk", "kit"} <= monitor.alerts.CAUSES
