"""What a set may be restored into, and what a restore leaves: decisions, with the daemon's answers given."""

import json
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from components.settings import parse
from ops.backups import copies, drill, exchange, notes, share, trial
from ops.backups.copies import PARTS, Copy, Source, parse_record
from ops.backups.preflight import Place
from ops.clients.docker import Docker
from ops.deploy import restore
from ops.errors import UserError
from ops.paths import ROOT
from ops.stack.inventory import MIB
from ops.stack.stack import Stack
from tests.support.daemon import Daemon, daemon
from tests.support.lock import held

RECORD = {
    "form": 1,
    "set": "20261128T203250Z",
    "stack": "skyvern-dev",
    "database": "a",
    "files": "b",
    "postgres": "17.12",
    "schema": "4452dbf24863",
    "database_bytes": 13260467,
    "tables": {"workflows": [5, "-1"], "artifacts": [17, "9"]},
    "folders": {"artifacts": [17, 755826, "x"], "har": [4, 388992, "y"]},
}


def source(docker: Docker) -> Source:
    settings = parse({"backup": {"type": "path", "path": "/mnt/d/x"}}, file="x")
    place = Place(variables={"RESTIC_PASSWORD": "the key of the repository"}, flags=("--network=none",))
    return Source(Stack("dev"), docker, settings, place, "superuser's", "role's")


def record(**changes: Any) -> copies.Record:
    return parse_record(json.dumps({**RECORD, **changes}))


def test_a_record_adds_up() -> None:
    read = record()
    assert (read.rows, read.files, read.bytes) == (22, 21, 13260467 + 755826 + 388992)
    assert read.at == datetime(2026, 11, 28, 20, 32, 50, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"form": 1}), json.dumps({**RECORD, "set": "yesterday"})])
def test_half_a_record_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="the record of the set cannot be read; choose another set"):
        parse_record(text)


def test_a_set_of_a_later_form_needs_a_newer_version() -> None:
    with pytest.raises(UserError, match="use a newer version"):
        record(form=2)


def test_a_set_of_a_newer_postgresql_is_refused() -> None:
    there = daemon(**{"--version": "postgres (PostgreSQL) 17.6 (Debian 17.6-2.pgdg13+1)"})
    with pytest.raises(UserError, match=r"is of PostgreSQL 18\.1, and here is 17; check out the commit that made it"):
        copies.refuse_newer(source(there), record(postgres="18.1"))


@pytest.mark.parametrize(("schema", "refused"), [("4452dbf24863", False), ("none", False), ("ffffffffffff", True)])
def test_a_set_of_a_newer_skyvern_is_refused(schema: str, refused: bool) -> None:
    known = {"version": "1.0.56", "migrations": [{"id": "4452dbf24863", "after": [], "drops": False}]}
    there = daemon(**{"--version": "postgres (PostgreSQL) 17.12", "alembic": json.dumps(known)})
    if refused:
        with pytest.raises(UserError, match="does not know: the set is of a newer one; check out the commit"):
            copies.refuse_newer(source(there), record(schema=schema))
    else:
        copies.refuse_newer(source(there), record(schema=schema))


def test_too_little_disk_is_refused_and_nothing_is_left() -> None:
    there = daemon(**{"df -Pk": "Filesystem 1024-blocks Used Available\n/dev/sda1 100 50 1000 50% /data", "ps --all": ""})
    with (
        pytest.raises(UserError, match=r"needs \d+ MiB more, and Docker's disk has 1 MiB free; make room first"),
        copies.filled(source(there), "restore", record(), print),
    ):
        raise AssertionError("not filled")
    made = [line.split()[-1] for line in there.asked if line.startswith("volume create")]
    removed = [line.split()[-1] for line in there.asked if line.startswith("volume rm")]
    assert sorted(made) == sorted(removed)
    assert len(made) == len(PARTS) + 1
    # Nothing has the name of a volume of the stack.
    assert not {f"skyvern-dev-{part}" for part in PARTS} & set(made)


def test_a_copy_has_no_network_and_its_secrets_are_in_no_argument() -> None:
    free = f"x\n/dev/sda1 100 50 {100 * MIB} 50% /data"
    there = daemon(**{"df -Pk": free, "ps --all": ""})
    with copies.filled(source(there), "drill", record(), print):
        pass
    runs = [line for line in there.asked if line.startswith("run")]
    assert len(runs) == 3
    assert all("--network=none" in line for line in runs)
    # The next try removes what a killed one has left running: the reading of a set holds the copy's volumes for minutes.
    (reading,) = (line for line in runs if "skyvern-backup restore" in line)
    assert "--label=skyvern.drill=dev" in reading
    assert not [line for line in there.asked for secret in ("the key of", "superuser's", "role's") if secret in line]
    # Only its own volumes, never those of the stack.
    assert not [line for line in there.asked for part in PARTS if f"--volume=skyvern-dev-{part}:" in line]


def test_paused_schedules_are_told_by_their_kind() -> None:
    rows = [
        {"id": "1", "name": "아침", "cron": "0 9 * * 1-5", "timezone": "Asia/Seoul", "interval": None, "run_at": None},
        {"id": "2", "name": "b", "cron": None, "timezone": "UTC", "interval": 600, "run_at": None},
        {"id": "3", "name": "a", "cron": None, "timezone": "UTC", "interval": None, "run_at": "2026-12-01T00:00:00"},
    ]
    there = daemon(psql=json.dumps(rows) + "\n")
    paused = copies.quiet(Copy(source(there), "restore", "x", record()))
    assert [(one.name, one.when) for one in paused] == [
        ("a", "once, at 2026-12-01T00:00:00 UTC"),
        ("b", "every 600 s"),
        ("아침", "0 9 * * 1-5 (Asia/Seoul)"),
    ]


# --- The trial of another version -----------------------------------------------------------------------------------------


ENVIRONMENT = ["DATABASE_STRING=postgresql+psycopg://skyvern:secret@postgres:5432/skyvern?x", "ENABLE_WORKFLOW_SCHEDULES=true"]


def trial_daemon(**answers: Any) -> Daemon:
    """A host on which a copy is filled and served."""
    return daemon(
        **{
            **answers,
            "df -Pk": f"x\n/dev/sda1 100 50 {100 * MIB} 50% /data",
            "ps --all": "",
            "inspect --format {{json .Config.Env}}": json.dumps(ENVIRONMENT),
            "inspect --format {{json .State}}": '{"Running": true}',
            "exec skyvern-dev-trial-server python3": answers.get("status", "completed"),
        }
    )


class Answers(Daemon):
    """The two programs in the server's container answer in turn, and PostgreSQL's container has an image."""

    def run(self, *arguments: Any, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
        line = " ".join(map(str, arguments))
        if line.startswith("exec skyvern-dev-trial-server python3") and "page_size" in line:
            self.asked.append(line)
            return "2"
        if line == "inspect skyvern-dev-postgres":
            return json.dumps([{"Image": "sha256:running"}])
        return super().run(*arguments, stdin=stdin, timeout_seconds=timeout_seconds)

    def logs(self, name: str, *flags: str) -> str:
        return "skyvern-start: migrate: FAILED"

    def run_with(self, variables: Mapping[str, str], *arguments: Any, timeout_seconds: float = 120) -> str:
        printed = super().run_with(variables, *arguments, timeout_seconds=timeout_seconds)
        script = variables.get("PSQL_SCRIPT", "")
        return "[]" if script.endswith(copies.QUIET) else "3 2" if script else printed


@pytest.fixture
def on_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answers]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(Stack, "pulumi", lambda self, *arguments, **options: b'{"organization_id": "o_1"}')

    def of(**answers: Any) -> Answers:
        there = Answers(answers=trial_daemon(**answers).answers)
        monkeypatch.setattr(Stack, "docker", lambda self: there)
        monkeypatch.setattr(copies, "running", lambda stack: source(there))
        return there

    return of


def test_a_trial_migrates_a_copy_of_what_runs_without_any_network(on_trial: Callable[..., Answers]) -> None:
    there = on_trial()
    trial.trial(Stack("dev"), 13 * MIB, print)
    (copied,) = [line for line in there.asked if "pg_dump" in line]
    assert "--volume=skyvern-dev-postgres-socket:/run/running" in copied
    # By the pg_dump of the server that runs.
    assert "sha256:running bash" in copied
    (served,) = [line for line in there.asked if "--name=skyvern-dev-trial-server" in line]
    assert "--network=container:skyvern-dev-trial-postgres" in served
    assert all("--network=none" in line for line in there.asked if line.startswith("run") and line != served)
    # Nothing of the stack's own is written to, but for the socket.
    assert not [line for line in there.asked for part in PARTS if f"--volume=skyvern-dev-{part}:" in line]
    # Whatever it made has its label.
    made = [line for line in there.asked if line.startswith("volume create") or "--detach" in line]
    assert all("--label=skyvern.trial=dev" in line for line in made)
    assert there.asked[-1] == "volume ls --quiet --filter label=skyvern.trial=dev"


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"status": "failed"}, "a run on the restored data is failed after 120 s"),
        ({"pg_dump": UserError("docker: exit 1: pg_restore: error: x")}, "the database cannot be copied: .*pg_restore"),
        (
            {"exec skyvern-dev-trial-server skyvern-healthy": UserError("x")},
            "Skyvern does not start on the restored data: skyvern-start: migrate: FAILED",
        ),
    ],
)
def test_a_trial_that_fails_says_why_and_leaves_nothing(
    on_trial: Callable[..., Answers], answers: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill, "SERVE_SECONDS", 0)
    there = on_trial(**answers)
    with pytest.raises(UserError, match=said):
        trial.trial(Stack("dev"), 13 * MIB, print)
    made = {line.split()[-1] for line in there.asked if line.startswith("volume create")}
    assert len(made) == len(PARTS) + 1
    assert made == {line.split()[-1] for line in there.asked if line.startswith("volume rm")}


def test_a_version_that_needs_another_variable_is_given_one(
    on_trial: Callable[..., Answers], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stack's server has been started without it; the up would make its value."""
    tried: list[frozenset[str]] = []

    def serve(copy: Copy, environment: dict[str, str], progress: object) -> float:
        tried.append(frozenset(environment))
        if len(tried) == 1:
            raise drill.NotSetError("skyvern-start: environment failed: not set: NEW_KEY, OTHER", ["NEW_KEY", "OTHER"])
        return 1.0

    monkeypatch.setattr(drill, "_serve", serve)
    on_trial()
    assert trial.trial(Stack("dev"), 1, print) == 1.0
    assert tried[1] - tried[0] == {"NEW_KEY", "OTHER"}


def test_the_start_names_what_it_lacks_as_it_is_looked_for() -> None:
    program = (ROOT / "images/server/skyvern-start").read_text()
    assert """f"not set: {', '.join(missing)}\"""" in program
    found = drill._NOT_SET.search("x | skyvern-start: environment failed after 0.0 s: RuntimeError: not set: A_KEY, B | y")
    assert found is not None
    assert found[1].split(", ") == ["A_KEY", "B"]


# --- The exchange ---------------------------------------------------------------------------------------------------------


def volumes(stamp: str) -> list[dict[str, Any]]:
    return [
        {
            "Name": f"skyvern-dev-{part}-{stamp}",
            "Driver": "local",
            "Options": None,
            "Mountpoint": f"/var/lib/docker/volumes/skyvern-dev-{part}-{stamp}/_data",
            "Labels": {"skyvern.stamp": stamp, "skyvern.set": "S", "skyvern.copy": part},
        }
        for part in PARTS
    ]


@pytest.mark.parametrize(
    ("marks", "state"),
    [
        (["unmarked"] * 8, "filled"),
        (["new"] * 8, "filled"),
        (["old"] * 8, "exchanged"),
        (["old"] * 3 + ["new"] * 5, "torn"),
        # One that somebody has emptied since, and the folder of a later version.
        (["old"] + ["unmarked"] * 7, "exchanged"),
        (["new"] + ["unmarked"] * 7, "filled"),
        # On a share, between two of its three renames.
        (["torn"] + ["new"] * 7, "torn"),
    ],
)
def test_what_a_restore_left_is_known_by_its_marks(marks: list[str], state: str) -> None:
    there = daemon(**{"volume ls": "a b", "volume inspect": json.dumps(volumes("20261128-213550")), "run ": "\n".join(marks)})
    (left,) = exchange.kept(there, Stack("dev"), "image")
    assert (left.state, left.stamp, left.set) == (state, "20261128-213550", "S")


@pytest.mark.parametrize(
    "change",
    [{"Driver": "nfs"}, {"Options": {"type": "nfs"}}, {"Mountpoint": "/mnt/elsewhere"}],
)
def test_a_volume_that_is_not_dockers_own_is_not_exchanged(change: dict[str, Any]) -> None:
    odd = [{**volumes("x")[0], **change}]
    there = daemon(**{"volume inspect": json.dumps(odd)})
    with pytest.raises(UserError, match="is not in Docker's own folder, where a restore can replace it"):
        exchange.put_in_place(there, Stack("dev"), "image", {"postgres": "skyvern-dev-postgres-x"}, "x")


# Where it can: swaps. Of a share it says that it cannot. With a file "moves", the power goes before that many moves more.
_MV = """#!/bin/bash
set -e
if [ "$1" = --exchange ]; then
  [ ! -e "$ROOT/share" ] || { echo "mv: Invalid argument" >&2; exit 1; }
  shift 3
  /bin/mv -T "$1" "$1.x"; /bin/mv -T "$2" "$1"; /bin/mv -T "$1.x" "$2"
  exit
fi
if [ -e "$ROOT/moves" ]; then
  left=$(< "$ROOT/moves")
  [ "$left" -gt 0 ] || kill -9 "$PPID"
  [ "$left" -gt 0 ] || exit
  echo "$((left - 1))" > "$ROOT/moves"
fi
exec /bin/mv "$@"
"""


@pytest.fixture(params=["volumes", "share"])
def pairs(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Two folders in use and two beside them, with their marks."""
    if request.param == "share":
        (tmp_path / "share").touch()
    for name, content in (("a", "old a"), ("a-1", "new a"), ("b", "old b"), ("b-1", "new b")):
        folder = tmp_path / name / "_data"
        folder.mkdir(parents=True)
        (folder / "content").write_text(content)
        (folder / (".restore-new-1" if name.endswith("-1") else ".restore-old-1")).touch()
    return [f"{name}/_data" for name in ("a", "a-1", "b", "b-1")]


def exchanged(root: Path, mark: str, *pairs: str, check: bool = True) -> None:
    """The script itself, on folders; with a mv of its own."""
    mv = root / "bin" / "mv"
    mv.parent.mkdir(exist_ok=True)
    mv.write_text(_MV)
    mv.chmod(0o755)
    script = exchange._EXCHANGE.replace("cd /shared", f"cd {root}")
    environment = {"PATH": f"{mv.parent}:/usr/bin:/bin", "ROOT": str(root)}
    subprocess.run(["sh", "-c", script, "exchange", mark, *pairs], env=environment, check=check)


def contents(root: Path) -> list[str]:
    """Of a and b, then of what is beside them."""
    return [(root / name / "_data" / "content").read_text() for name in ("a", "b", "a-1", "b-1")]


def test_an_exchange_that_was_cut_off_goes_back_and_twice_is_once(tmp_path: Path, pairs: list[str]) -> None:
    # The power goes after the first of two.
    exchanged(tmp_path, ".restore-new-1", *pairs[:2])
    assert contents(tmp_path) == ["new a", "old b", "old a", "new b"]
    for _ in range(2):
        exchanged(tmp_path, ".restore-old-1", *pairs)
        assert contents(tmp_path) == ["old a", "old b", "new a", "new b"]
    for _ in range(2):
        exchanged(tmp_path, ".restore-new-1", *pairs)
        assert contents(tmp_path) == ["new a", "new b", "old a", "old b"]


@pytest.mark.parametrize("pairs", ["share"], indirect=True)
@pytest.mark.parametrize("moves", range(6))
@pytest.mark.parametrize(("mark", "after"), [(".restore-new-1", ["new a", "new b"]), (".restore-old-1", ["old a", "old b"])])
def test_three_renames_that_were_cut_off_are_finished_or_undone(
    tmp_path: Path, pairs: list[str], moves: int, mark: str, after: list[str]
) -> None:
    (tmp_path / "moves").write_text(str(moves))
    exchanged(tmp_path, ".restore-new-1", *pairs, check=False)
    (tmp_path / "moves").unlink()
    found = subprocess.run(
        [
            "sh",
            "-c",
            exchange._LOOK.replace("cd /shared", f"cd {tmp_path}"),
            "look",
            ".restore-new-1",
            ".restore-old-1",
            *pairs[1::2],
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert found == [["torn", "old"][moves // 3] if moves else "new", "torn" if moves > 3 else "new"]
    exchanged(tmp_path, mark, *pairs)
    assert contents(tmp_path)[:2] == after


def on_share(root: Path, script: str, *arguments: str) -> str:
    """What one of the scripts for a share prints, on a folder."""
    here = script.replace("cd /shared", f"cd {root}")
    return subprocess.run(["sh", "-c", here, "shared", *arguments], capture_output=True, text=True, check=True).stdout


def test_of_a_copy_on_a_share_what_has_been_removed_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("artifacts", "har.was", "log", "lost+found"):
        (tmp_path / ".restored-1" / name).mkdir(parents=True)
    (tmp_path / ".restored-1" / "set").write_text("S\n")
    # Not whole yet, or not any more.
    (tmp_path / ".restored-2" / "artifacts").mkdir(parents=True)
    monkeypatch.setattr(share, "in_folder", lambda docker, folder, image, script, given: on_share(tmp_path, script, *given))
    assert share.copies(daemon(), "image", "/x") == {"1": ("S", ["artifacts", "har", "log"])}


def test_the_file_that_names_a_copy_on_a_share_goes_last(tmp_path: Path) -> None:
    for name in ("artifacts", "har"):
        (tmp_path / ".restored-1" / name / "x").mkdir(parents=True)
    (tmp_path / ".restored-1" / "set").touch()
    # The power goes behind the first step.
    on_share(tmp_path, share._REMOVE.rpartition(" && ")[0], ".restored-1")
    assert [one.name for one in (tmp_path / ".restored-1").iterdir()] == ["set"]
    for _ in range(2):
        on_share(tmp_path, share._REMOVE, ".restored-1")
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_between_two_renames_is_not_made_anew(tmp_path: Path) -> None:
    (tmp_path / ".restored-1" / "har.was").mkdir(parents=True)
    on_share(tmp_path, share._PARTS, "har=0700", "log=0750")
    assert sorted(one.name for one in tmp_path.iterdir()) == [".restored-1", "log"]


def test_marks_are_in_no_set_and_in_no_count() -> None:
    program = (ROOT / "images/backup/skyvern-backup").read_text()
    assert exchange._NEW.startswith(".restore-")
    assert exchange._OLD.startswith(".restore-")
    assert "--exclude '.restore-*'" in program
    assert "! -name '.restore-*'" in program


# --- Around it ------------------------------------------------------------------------------------------------------------


# Whatever the date of the machine.
OLD = "20251128T203250Z"


@pytest.fixture
def with_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stack, "pulumi", lambda self, *arguments, **options: b'{"organization_id": "o_1"}')


@pytest.mark.usefixtures("with_outputs")
@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ("0|0|0", None),
        ("3|0|0", "stack dev has 3 runs that are newer than set 20251128T203250Z; bin/ops backup now keeps them in a set; "),
        ("0|1|2", "stack dev has 1 workflows, 2 credentials that are newer"),
    ],
)
def test_newer_data_is_counted(counts: str, said: str | None) -> None:
    there = daemon(**{"volume ls": "skyvern-dev-postgres", "exec": counts})
    if said is None:
        restore.refuse_newer_data(source(there), record(set=OLD))
    else:
        with pytest.raises(UserError, match=said):
            restore.refuse_newer_data(source(there), record(set=OLD))


def test_what_is_newer_than_a_set_from_the_future_is_not_known() -> None:
    """The clock was ahead when it was made: nothing seemed to have come since."""
    later = f"{datetime.now(UTC) + timedelta(hours=9):%Y%m%dT%H%M%SZ}"
    with pytest.raises(UserError, match=rf"^stack dev: set {later} is of a time that has not come, .*[Aa]dd --discard-newer"):
        restore.refuse_newer_data(source(daemon()), record(set=later))


@pytest.mark.usefixtures("with_outputs")
def test_a_database_that_does_not_answer_is_not_taken_for_an_empty_one() -> None:
    there = daemon(**{"volume ls": "skyvern-dev-postgres", "exec": UserError("docker: exit 1: container is not running")})
    with pytest.raises(UserError, match="it is not known what is newer than set"):
        restore.refuse_newer_data(source(there), record(set=OLD))
    # Nothing to lose: the tables are gone, or the volume is.
    gone = UserError('docker: exit 3: ERROR:  relation "workflow_runs" does not exist')
    restore.refuse_newer_data(source(daemon(**{"volume ls": "skyvern-dev-postgres", "exec": gone})), record(set=OLD))
    restore.refuse_newer_data(source(daemon(**{"volume ls": "skyvern-dev-har"})), record(set=OLD))


@pytest.mark.parametrize(
    ("failure", "verdict"),
    [
        (None, "passed"),
        (UserError("table workflows: the set says 5, here is 4"), "failed"),
        (copies.Unfit("the stack has no server"), "could not run"),
    ],
)
def test_the_verdict_of_a_drill_is_noted(
    failure: Exception | None, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []
    there = daemon()

    def attempt(*arguments: Any) -> str:
        if failure is not None:
            raise failure
        return "20261128T203250Z"

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(Stack, "docker", lambda self: there)
    monkeypatch.setattr(copies, "source", lambda stack: source(there))
    monkeypatch.setattr(drill, "_try", attempt)
    monkeypatch.setattr(notes, "write", lambda *arguments: noted.append(arguments[-1]))
    result = drill.drill(Stack("dev"), print)
    assert result.verdict == verdict
    assert json.loads(noted[0])["verdict"] == verdict
    assert result.reason == (str(failure) if failure else "")


def test_a_drill_that_is_interrupted_could_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last good one stayed the last of all."""
    noted: list[str] = []
    there = daemon()
    good = "2026-11-20T00:00:00+00:00"

    def attempt(*arguments: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(Stack, "docker", lambda self: there)
    monkeypatch.setattr(copies, "source", lambda stack: source(there))
    monkeypatch.setattr(drill, "_try", attempt)
    monkeypatch.setattr(notes, "read", lambda *_: json.dumps({"at": good, "set": "x", "seconds": 9, "verdict": "passed"}))
    monkeypatch.setattr(notes, "write", lambda *arguments: noted.append(arguments[-1]))
    with pytest.raises(KeyboardInterrupt):
        drill.drill(Stack("dev"), print)
    (written,) = map(json.loads, noted)
    assert (written["verdict"], written["reason"]) == ("could not run", "it was interrupted")
    assert written["last_good"] == good


def test_a_drill_beside_a_restore_could_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was noted as failed, although nothing had been tried."""
    there = daemon()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(Stack, "docker", lambda self: there)
    monkeypatch.setattr(copies, "source", lambda stack: source(there))
    monkeypatch.setattr(notes, "write", lambda *_: None)
    with held():
        assert drill.drill(Stack("dev"), print).verdict == "could not run"


def test_a_volume_that_is_gone_is_made_as_the_program_labels_it() -> None:
    """Another label would be a replacement of a protected volume at the next plan (seen with the backup's own)."""
    there = daemon(**{"volume ls": "skyvern-dev-har", "volume inspect": json.dumps([{**volumes("x")[0]}])})
    exchange.prepare(source(there), {"postgres": "skyvern-dev-postgres-x", "har": "skyvern-dev-har-x"}, "x")
    assert [line for line in there.asked if line.startswith("volume create")] == [
        "volume create --label=skyvern.part=postgres --label=skyvern.stack=dev --label=skyvern.images=official "
        "skyvern-dev-postgres",
        "volume create --label=skyvern.part=backup --label=skyvern.stack=dev skyvern-dev-backup",
    ]
