"""What the backup deletes and notes, beside programs that stand in for restic and PostgreSQL.

Not here: what restic itself does with a repository (tests/host/test_backup_faults.py).
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ops.paths import ROOT
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(shutil.which("jq") is None, reason="the backup's image has jq for the host tests")

PROGRAM = ROOT / "images/backup/skyvern-backup"
# Notes each call, keeps snapshots in a list and the record as it was given; what FAIL names fails.
RESTIC = r"""#!/bin/bash
echo "$*" >> "$FAKE/calls"
echo "$TMPDIR" > "$FAKE/tmpdir"
[ ! -e "$FAKE/hangs" ] || exec sleep 60
if [ -n "${FAIL:-}" ] && [[ $* == *"$FAIL"* ]]; then echo "${SAY:-Fatal: cut off}" >&2; exit "${CODE:-1}"; fi
case "$*" in
  cat\ lock*) cat "$FAKE/lock-$3" ;;
  list*) ls "$FAKE" | sed -n 's/^lock-//p' ;;
  cat*) [ ! -e "$FAKE/none" ] || exit 10; echo '{"id": "abc"}' ;;
  init*) rm "$FAKE/none" ;;
  snapshots*) cat "$FAKE/snapshots" ;;
  backup*)
    [[ $* != *" --stdin "* ]] || cat > "$FAKE/record"
    [[ $* =~ (set=[^ ]+).*(part=[a-z]+) ]]
    date +%s.%N > "$FAKE/${BASH_REMATCH[2]}"
    if [ -n "${COUNTED:-}" ]; then for _ in $(seq 100); do grep -q pg_class "$FAKE/asked" && break; sleep 0.1; done; fi
    cp "$FAKE/asked" "$FAKE/asked-at-${BASH_REMATCH[2]}"
    jq -c --arg set "${BASH_REMATCH[1]}" --arg part "${BASH_REMATCH[2]}" \
      '. + [{id: "new", time: "2026", tags: [$set, $part]}]' "$FAKE/snapshots" > "$FAKE/more"
    mv "$FAKE/more" "$FAKE/snapshots"
    echo "{\"message_type\": \"summary\", \"snapshot_id\": \"id-of-${BASH_REMATCH[2]}\"}" ;;
  dump*)
    [[ $* =~ set=([^ ,]+) ]] && [ -e "$FAKE/record-${BASH_REMATCH[1]}" ] && exec cat "$FAKE/record-${BASH_REMATCH[1]}"
    cat "$FAKE/record" ;;
  ls*) [ ! -e "$FAKE/files" ] || cat "$FAKE/files" ;;
  forget*--dry-run*) echo '[]' ;;
esac
"""
# Its answers to what a set asks: the snapshot at once, and the rest at the end.
PSQL = """#!/bin/sh
date +%s.%N > "$FAKE/seen"
echo snapshot
cat > "$FAKE/asked"
printf '17.6|100\\nabc\\nworkflows|3|5\\n'
"""


@dataclass(frozen=True)
class Box:
    """The program with its folders below one of the test's."""

    folder: Path

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "FAKE": str(self.folder),
            "BACKUP_DATA": str(self.folder / "data"),
            "BACKUP_HOST": "skyvern-test",
            "BACKUP_STATE": str(self.folder / "state"),
            "EVERY_HOURS": "1",
            "FILES_AFTER_SECONDS": "0",
            "KEEP": "--keep-last 1",
            "MAX_AGE_HOURS": "26",
            "RESTIC_REPOSITORY": "/none",
            "TMPDIR": str(self.folder / "work"),
            **more,
        }

    def run(self, *arguments: str, check: bool = True, **more: str) -> str:
        """What it printed, and what it said is wrong."""
        done = subprocess.run(
            [PROGRAM, *arguments],
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def calls(self, command: str) -> list[str]:
        """restic's calls of one command since the last time that somebody asked, without those that change nothing."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines()
        return [line for line in lines if line.split()[0] == command and "--dry-run" not in line]

    def note(self, name: str) -> Any:
        return json.loads((self.folder / "state" / name).read_text())

    def has(self, *sets: tuple[int, str]) -> None:
        """Unfinished sets in the repository: days since, and the id of the dump."""
        now = datetime.now(UTC)
        snapshots = [
            {"id": name, "time": "2026", "tags": [f"set={now - timedelta(days=days):%Y%m%dT%H%M%SZ}", "part=database"]}
            for days, name in sets
        ]
        (self.folder / "snapshots").write_text(json.dumps(snapshots))

    def has_whole(self, **sets: timedelta) -> dict[str, str]:
        """Whole sets in the repository, by how long from now they were made, each with its record; their names."""
        names = {name: f"{datetime.now(UTC) + since:%Y%m%dT%H%M%SZ}" for name, since in sets.items()}
        snapshots = [
            {"id": f"{name}-{part}", "time": "2026", "tags": [f"set={names[name]}", f"part={part}"]}
            for name in sets
            for part in ("database", "files", "record")
        ]
        (self.folder / "snapshots").write_text(json.dumps(snapshots))
        for name, at in names.items():
            record = {"set": at, "database_bytes": 1, "folders": {}}
            (self.folder / f"record-{at}").write_text(json.dumps({**record, "is": name}))
        shutil.copy(self.folder / f"record-{max(names.values())}", self.folder / "record")
        return names

    def replace(self, **programs: str) -> None:
        """Other stand-ins, as texts of scripts."""
        for name, text in programs.items():
            (self.folder / "bin" / name).write_text(text)
            (self.folder / "bin" / name).chmod(0o755)

    def next_day(self) -> None:
        """What is done once a day is due again, and restic has not been called yet."""
        for name in ("state/check-day", "state/read-week", "calls"):
            (self.folder / name).unlink(missing_ok=True)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    for name in ("bin", "data/downloads", "state", "work"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "data/downloads/report").write_text("x")
    made = Box(tmp_path)
    made.replace(restic=RESTIC, psql=PSQL)
    made.has()
    return made


# --- A folder of the host -------------------------------------------------------------------------------------------------


def test_a_folder_that_is_gone_gets_no_new_repository_and_another_one_does(box: Box) -> None:
    first, other = ({"BACKUP_PLACE": place, "RESTIC_REPOSITORY": "/repository"} for place in ("/mnt/d/a folder", "/mnt/e"))
    box.run("now", check=True, **first)
    (box.folder / "none").touch()
    gone = "the repository that was at /mnt/d/a folder is gone: is its disk mounted?"
    assert gone in box.run("now", check=False, **first)
    assert "made a repository at /mnt/e\n" in box.run("now", check=True, **other)
    (box.folder / "none").touch()
    assert "the repository that was at /mnt/e is gone" in box.run("now", check=False, **other)


def test_how_a_disk_that_was_mounted_later_is_seen_is_said(box: Box) -> None:
    """A container sees what was mounted when it started. In a bucket, nothing is mounted."""
    (box.folder / "secrets").mkdir()
    docker, swarm = {"SECRETS_FOLDER": str(box.folder / "none-here")}, {"SECRETS_FOLDER": str(box.folder / "secrets")}
    folder, bucket = {"BACKUP_PLACE": "/mnt/d", "RESTIC_REPOSITORY": "/repository"}, {"RESTIC_REPOSITORY": "s3:https://x/y"}
    ends = (
        (folder | docker, "choose another place. With the disk mounted, run: docker restart skyvern-test-backup\n"),
        (folder | swarm, "choose another place. With the disk mounted, run: docker service update --force skyvern-test-backup\n"),
        (bucket | docker, "choose another place\n"),
    )
    for place, end in ends:
        (box.folder / "none").unlink(missing_ok=True)
        box.run("now", check=True, **place)
        (box.folder / "none").touch()
        assert box.run("now", check=False, **place).endswith(end)


def test_what_restic_writes_on_the_way_is_on_the_disk_of_docker(box: Box) -> None:
    """In memory, there was so little of it that a database of 100 MB did not fit."""
    place = {"BACKUP_PLACE": "/mnt/d", "RESTIC_REPOSITORY": "/repository"}
    box.run("now", check=True, **place)
    assert (box.folder / "tmpdir").read_text() == f"{box.folder}/state/spool\n"
    place["FAIL"] = "part=database"
    full = f"Fatal: unable to save snapshot: write {box.folder}/state/spool/restic-temp-pack-1: no space left on device"
    assert box.run("now", check=False, SAY=full, **place) == "backup: Docker's disk is full\n"
    full = "Fatal: unable to save snapshot: write /repository/data/ab/abc: no space left on device"
    assert box.run("now", check=False, SAY=full, **place) == "backup: /mnt/d is full\n"


def test_what_an_earlier_version_noted_of_a_folder_counts(box: Box) -> None:
    (box.folder / "state/repository").write_text("/repository abc\n")
    (box.folder / "none").touch()
    place = {"BACKUP_PLACE": "/mnt/d", "RESTIC_REPOSITORY": "/repository"}
    assert "the repository that was at /mnt/d is gone" in box.run("now", check=False, **place)


# --- A bucket with a lock -------------------------------------------------------------------------------------------------


def test_what_was_never_finished_is_left_alone_while_it_is_locked(box: Box) -> None:
    box.has((20, "old"), (13, "young"), (0, "fresh"))
    box.run("now", LOCKED_DAYS="14")
    assert box.calls("forget") == ["forget --quiet old"]


def test_without_a_lock_it_goes_with_the_next_set(box: Box) -> None:
    box.has((20, "old"), (1, "young"))
    box.run("now")
    ((_, _, *gone),) = (line.split() for line in box.calls("forget"))
    assert sorted(gone) == ["old", "young"]


def test_nothing_is_packed_again_where_the_old_packs_stay(box: Box) -> None:
    box.run("now", LOCKED_DAYS="14")
    assert box.calls("prune") == ["prune --quiet --max-repack-size 0"]
    box.next_day()
    box.run("now")
    assert box.calls("prune") == ["prune --quiet"]


def test_after_a_set_that_was_cut_off_nothing_is_pruned_until_its_lock_has_ended(box: Box) -> None:
    """Its packs are named by no snapshot, so prune would delete them at once."""
    assert "cut off" in box.run("now", check=False, LOCKED_DAYS="14", FAIL="part=files")
    box.next_day()
    box.run("now", LOCKED_DAYS="14")
    assert (box.calls("prune"), len(box.calls("check"))) == ([], 1)
    leftovers = box.folder / "state/leftovers"
    time.sleep(1)
    for days, pruned in ((14, 0), (16, 1)):
        box.next_day()
        os.utime(leftovers, (time.time() - days * 86400,) * 2)
        box.run("now", LOCKED_DAYS="14")
        assert len(box.calls("prune")) == pruned, days
        noted = box.note("status.json")
        assert (noted["locked_days"], noted["pruned"] == noted["since"]) == (14, not pruned)


def test_without_a_lock_what_was_cut_off_is_pruned_at_once(box: Box) -> None:
    box.run("now", check=False, FAIL="part=files")
    box.next_day()
    box.run("now")
    assert box.calls("prune") == ["prune --quiet"]


# --- A set ----------------------------------------------------------------------------------------------------------------


def test_rows_are_counted_while_they_are_dumped(box: Box) -> None:
    """In the same snapshot, whose transaction ends behind the dump."""
    box.run("now", COUNTED="yes")
    assert "FROM pg_class" in (box.folder / "asked-at-part=database").read_text()
    record = json.loads((box.folder / "record").read_text())
    assert (record["database"], record["files"]) == ("id-of-part=database", "id-of-part=files")
    assert record["tables"] == {"workflows": [3, "5"]}


def test_files_come_some_seconds_after_the_snapshot(box: Box) -> None:
    """A row is written before its file is."""
    box.run("now", FILES_AFTER_SECONDS="2")
    seen, files = (float((box.folder / name).read_text()) for name in ("seen", "part=files"))
    assert files - seen >= 2


# As a full disk ends them: some of what there was to write, and a code.
CUT_OFF = "#!/bin/sh\nhead -c 10\necho '{program}: write failed: No space left on device' >&2\nexit 2\n"
KILLED = "#!/bin/sh\nexit 137\n"


@pytest.mark.parametrize("program", ["sort", "awk", "sha256sum"])
@pytest.mark.parametrize(("text", "why"), [(CUT_OFF, "Docker's disk is full"), (KILLED, "exit ")])
def test_a_set_whose_files_were_not_counted_is_none(box: Box, program: str, text: str, why: str) -> None:
    """It was recorded with a part of them, and refused at each restore."""
    (box.folder / "files").write_text(json.dumps({"type": "file", "path": "/downloads/report", "size": 1}))
    box.replace(**{program: text.format(program=program)})
    assert box.run("now", check=False).startswith(f"backup: the files of the set cannot be listed: {why}")
    assert not (box.folder / "record").exists()
    assert list((box.folder / "state/spool").iterdir()) == []


def small_files(box: Box, number: int) -> list[str]:
    """Makes files, and lists them as restic would."""
    names = [f"downloads/{name:040}" for name in range(number)]
    for name in names:
        (box.folder / "data" / name).touch()
    (box.folder / "data/downloads/report").unlink(missing_ok=True)
    (box.folder / "files").write_text("\n".join(json.dumps({"type": "file", "path": f"/{name}", "size": 0}) for name in names))
    return names


# Writes what is large in the container's /tmp, which is memory, while the lists are there.
LOOKS = 'find "$FAKE/work" -type f -size +20k >> "$FAKE/large"'


def test_no_list_of_files_is_in_memory(box: Box) -> None:
    """The container's has 64 MiB, and 250,000 names did not fit."""
    names = small_files(box, 3000)
    box.replace(sha256sum=f'#!/bin/sh\n{LOOKS}\nexec {shutil.which("sha256sum")} "$@"\n')
    box.run("now")
    assert json.loads((box.folder / "record").read_text())["folders"]["downloads"][:2] == [3000, 0]
    # Of the rows, none has its file.
    (box.folder / "links").write_text("".join(f"a_{number}\t{name}.gone\n" for number, name in enumerate(names)))
    box.replace(psql=FOLLOWED.replace("cat >", f"{LOOKS}; cat >"), pg_restore=TAKEN)
    box.run("restore", "x", PGDATABASE="skyvern")
    assert (box.folder / "followed").read_text().count("\tfalse\n") == 3000
    assert (box.folder / "large").read_text() == ""
    assert list((box.folder / "state/spool").iterdir()) == []


def test_more_than_two_gigabytes_are_counted_and_earlier_sets_fit(box: Box) -> None:
    """awk of Debian 12 printed no larger whole number than 2147483647, and so it was recorded; the sum has each size."""
    size = 3 * 1024**3
    os.truncate(box.folder / "data/downloads/report", size)
    (box.folder / "files").write_text(json.dumps({"type": "file", "path": "/downloads/report", "size": size}))
    box.run("now")
    record = json.loads((box.folder / "record").read_text())
    assert record["folders"]["downloads"][:2] == [1, size]
    box.replace(psql=RESTORED)
    for recorded, same in ((size, True), (2147483647, True), (2147483646, False)):
        record["folders"]["downloads"][1] = recorded
        (box.folder / "record").write_text(json.dumps(record))
        assert ("as recorded: " in box.run("compare", "x", check=False)) is same, recorded


# Names of the disk -> in restic's JSON, as 0.14 and 0.18 print them.
NAMES = {
    "보고서 😀 \ufffd\ufffd.pdf".encode(): "보고서 😀 \ufffd\ufffd.pdf",
    "보고서".encode("cp949"): "\ufffd" * 6,
    "가".encode()[:2] + b"x": "\ufffd\ufffdx",
    b"\xed\xa0\x80 surrogate": "\ufffd\ufffd\ufffd surrogate",
    b"\xc0\xaf \xe0\x80\xaf overlong": "\ufffd\ufffd \ufffd\ufffd\ufffd overlong",
    b"\xf4\x90\x80\x80 beyond": "\ufffd\ufffd\ufffd\ufffd beyond",
    b"a\ttab and\na line \xff": "a\ttab and\na line \ufffd",
}


def test_names_that_are_not_utf_8_are_as_recorded(box: Box) -> None:
    """Such as those of an archive from Windows: every set with one was refused."""
    for name in NAMES:
        (box.folder / "data/downloads" / os.fsdecode(name)).write_text("x")
    nodes = [{"type": "file", "path": f"/downloads/{name}", "size": 1} for name in (*NAMES.values(), "report")]
    (box.folder / "files").write_text("\n".join(map(json.dumps, nodes)))
    (box.folder / "links").write_text("a_1\tdownloads/report\na_2\tdownloads/보고서\n")
    box.run("now")
    box.replace(psql=FOLLOWED, pg_restore=TAKEN)
    assert f"1 tables, 3 rows, {len(nodes)} files" in box.run("restore", "x", PGDATABASE="skyvern")
    assert (box.folder / "followed").read_text().splitlines()[2:4] == ["a_2\tfalse", "\\."]


# As 17 writes it.
PG_RESTORE = r"""#!/bin/sh
cat > /dev/null
echo 'pg_restore: while PROCESSING TOC:' >&2
echo 'pg_restore: error: could not execute query: ERROR:  relation "workflows" already exists' >&2
printf 'Command was: CREATE TABLE public.workflows (\n    id integer\n);\n\n\n' >&2
exit 1
"""


def test_what_pg_restore_could_not_do_is_one_line(box: Box) -> None:
    box.run("now")
    box.replace(pg_restore=PG_RESTORE)
    line = 'backup: pg_restore: could not execute query: ERROR:  relation "workflows" already exists'
    assert box.run("restore", "x", check=False, PGDATABASE="skyvern").splitlines()[-1] == line
    assert box.run("rows", "x", "workflows", check=False).splitlines()[-1] == line


def test_why_postgres_does_not_answer_is_its_first_line(box: Box) -> None:
    """It was the last one, which asks a question. As psql of 17 writes it."""
    (box.folder / "bin/psql").write_text(
        "#!/bin/sh\necho 'psql: error: connection to server at \"10.0.0.2\", port 5432 failed: Connection refused' >&2\n"
        "printf '\\tIs the server running on that host and accepting TCP/IP connections?\\n' >&2\nexit 2\n"
    )
    line = 'backup: PostgreSQL does not answer: connection to server at "10.0.0.2", port 5432 failed: Connection refused'
    assert box.run("now", check=False).splitlines()[-1] == line


def test_a_psql_that_ends_before_it_is_asked_does_not_end_the_set_without_a_line(box: Box) -> None:
    """Now and then the question was written to nothing: the shell died of SIGPIPE."""
    (box.folder / "bin/psql").write_text("#!/bin/sh\necho 'psql: error: refused' >&2\nexit 2\n")
    # Before the question, psql has ended.
    (box.folder / "late").write_text(
        'printf() { case "${2-}" in BEGIN*) sleep 0.5 ;; esac; builtin printf "$@"; }; export -f printf\n'
    )
    assert box.run("now", check=False, BASH_ENV=str(box.folder / "late")) == "backup: PostgreSQL does not answer: refused\n"


def test_rows_of_the_first_tables_of_a_large_dump_come(box: Box) -> None:
    """pg_restore stops reading behind them, and restic has more to write than a pipe holds."""
    box.has((0, "abc"))
    (box.folder / "record").write_text(json.dumps({"set": "x", "database": "abc", "files": "def"}))
    for name, text in (
        ("restic", 'case "$*" in *record.json) cat "$FAKE/record" ;; *) exec head -c 3000000 /dev/zero ;; esac'),
        ("pg_restore", "head -c 10 > /dev/null; echo 'COPY public.credentials (id) FROM stdin;'"),
    ):
        (box.folder / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (box.folder / "bin" / name).chmod(0o755)
    assert box.run("rows", "x", "credentials") == "COPY public.credentials (id) FROM stdin;\n"


# What a restored database says, and a jq that fails where it compares.
RESTORED = "#!/bin/sh\ncat > /dev/null\necho 'workflows|3|5'\n"
NO_COMPARISON = f"""#!/bin/bash
case "$*" in *differences*) exit 5 ;; esac
exec {shutil.which("jq")} "$@"
"""


def test_what_was_not_compared_is_not_as_recorded(box: Box) -> None:
    box.run("now")
    box.replace(psql=RESTORED)
    # The repository of this test lists no files.
    differs = "what arrived is not what the set recorded: folder downloads: the set says [0,0,"
    assert differs in box.run("compare", "x", check=False)
    box.replace(jq=NO_COMPARISON)
    assert box.run("compare", "x", check=False) == "backup: what arrived cannot be compared with the record of the set\n"


FOLLOWED = """#!/bin/sh
case "$*" in
  *-F*) cat > /dev/null; cat "$FAKE/links" ;;
  *--single-transaction*) cat > "$FAKE/followed" ;;
  *) cat > /dev/null; echo 'workflows|3|5' ;;
esac
"""


TAKEN = "#!/bin/sh\ncat > /dev/null\n"


# By their rows: one that has become another, one that is there, and one that has not come, in the order of a list of files.
LINKS = "a_1\tartifacts/one.webm\na_3\tartifacts/three.webm\na_2\tartifacts/two.webm\n"


@pytest.mark.parametrize(
    ("links", "followed"), [(LINKS, ["COPY lost FROM stdin;", "a_1\ttrue", "a_2\tfalse", "\\."]), ("", None)]
)
def test_rows_follow_the_files_of_runs_in_progress(box: Box, links: str, followed: list[str] | None) -> None:
    """Most files have no row, and more of them than fit into a pipe come behind the last one that has."""
    (box.folder / "data/downloads/report").unlink()
    (box.folder / "data/artifacts").mkdir(exist_ok=True)
    names = ["artifacts/one.mp4", "artifacts/three.webm", *(f"downloads/{number:040}" for number in range(3000))]
    for name in names:
        (box.folder / "data" / name).touch()
    nodes = [json.dumps({"type": "file", "path": f"/{name}", "size": 0}) for name in names]
    (box.folder / "files").write_text("\n".join(nodes))
    (box.folder / "links").write_text(links)
    box.run("now")
    box.replace(psql=FOLLOWED, pg_restore=TAKEN)
    box.run("restore", "x", PGDATABASE="skyvern")
    told = box.folder / "followed"
    assert (told.read_text().splitlines()[1:5] if told.exists() else None) == followed


@pytest.mark.parametrize(("asked", "told"), [("latest", "no set"), ("20261130T000000Z", "no set 20261130T000000Z")])
def test_a_set_that_is_not_there_is_named(box: Box, asked: str, told: str) -> None:
    no_snapshot = {"FAIL": "dump", "SAY": "Fatal: failed to find snapshot: no snapshot found"}
    assert box.run("record", asked, check=False, **no_snapshot) == f"backup: there is {told} in the repository\n"


def lock(box: Box, **minutes: float) -> None:
    """Locks in the repository, by the minutes since restic has renewed them; in a time zone of Korea."""
    zone = timezone(timedelta(hours=9))
    for name, age in minutes.items():
        at = f"{datetime.now(zone) - timedelta(minutes=age):%Y-%m-%dT%H:%M:%S}.123456789+09:00"
        (box.folder / f"lock-{name}").write_text(json.dumps({"time": at, "exclusive": True, "hostname": "backup", "pid": 7}))


def test_locks_of_another_machine_are_left_alone(box: Box) -> None:
    """restic takes one for left over whose host has this one's name and whose process is not here; all have the same name."""
    box.run("now")
    assert box.calls("unlock") == []
    # Both machines renew theirs every five minutes, so an old one is left over, whichever machine's it is.
    lock(box, other=4)
    box.run("now")
    lock(box, left=31)
    box.run("now")
    assert box.calls("unlock") == []
    lock(box, other=40)
    box.run("now")
    assert box.calls("unlock") == ["unlock --quiet"]


def test_what_a_restic_of_this_backup_has_left_is_unlocked_by_the_next_set(box: Box) -> None:
    """Killed for its memory, say, or with its container: its lock kept every later clean-up from its work."""
    box.run("now", check=False, FAIL="part=files", CODE="137")
    assert box.calls("unlock") == []
    lock(box, mine=1, other=1)
    box.run("now")
    box.run("now")
    assert box.calls("unlock") == ["unlock --quiet"]
    # One that has ended by itself has removed its lock.
    box.run("now", check=False, FAIL="part=files")
    box.run("now")
    assert box.calls("unlock") == ["unlock --quiet"]


UNREADABLE = {
    # As 0.14 and 0.18 print it.
    "0.14": ({"Op": "lstat", "Path": "x", "Err": 2}, {"Op": "open", "Path": "downloads/report", "Err": 13}),
    "0.18": ({"message": "lstat x: no such file or directory"}, {"message": "open downloads/report: permission denied"}),
}


@pytest.mark.parametrize("version", UNREADABLE)
def test_a_file_that_cannot_be_read_is_named(box: Box, version: str) -> None:
    """A file of another user in a data volume: every set failed, and the line said that of the repository."""
    items = zip(UNREADABLE[version], ("/data/downloads/gone", "/data/downloads/report"), strict=True)
    lines = [{"message_type": "error", "error": error, "during": "archival", "item": item} for error, item in items]
    said = "\n".join(json.dumps(line, separators=(",", ":")) for line in lines)
    line = box.run("now", check=False, FAIL="part=files", CODE="3", SAY=said)
    why = {"0.14": "", "0.18": " (permission denied)"}[version]
    cure = f"give it to user {os.getuid()}, or remove it; until then no set is made"
    assert line == f"backup: /data/downloads/report cannot be read{why}: {cure}\n"
    # One that is gone is no fault.
    assert box.run("now", FAIL="part=files", CODE="3", SAY=said.splitlines()[0]).startswith("backup: set ")


FULL = """#!/bin/sh
case "$*" in
  *.restore-file-*) echo "mktemp: failed to create file via template 'x': No space left on device" >&2; exit 1 ;;
esac
exec {} "$@"
"""


def test_a_file_whose_folder_cannot_be_made_says_why(box: Box) -> None:
    """As on a full disk: it was restic's "is a directory", or nothing."""
    names = box.has_whole(good=-HOUR)
    (box.folder / f"record-{names['good']}").write_text(json.dumps({"set": names["good"], "files": "def"}))
    node = {"type": "file", "size": 1, "mode": 420, "mtime": "2026-11-20T03:00:00Z"}
    paths = ("downloads/wr_1/report", "downloads/report/x")
    (box.folder / "files").write_text("\n".join(json.dumps({**node, "path": f"/{path}"}) for path in paths))
    said = box.run("file", names["good"], "downloads/report/x", check=False)
    assert said.startswith("backup: downloads/report/x cannot be written here: mkdir: cannot create directory")
    assert len(said.splitlines()) == 1
    box.replace(mktemp=FULL.format(shutil.which("mktemp")))
    said = box.run("file", names["good"], "downloads/wr_1/report", check=False)
    why = "mktemp: failed to create file via template 'x': No space left on device"
    assert said == f"backup: downloads/wr_1/report cannot be written here: {why}\n"
    assert list((box.folder / "data").glob("**/.restore*")) == []


# --- A clock that was ahead ------------------------------------------------------------------------------------------------

AHEAD, HOUR = timedelta(hours=9), timedelta(hours=1)


def test_a_set_from_the_future_is_not_the_newest_and_can_be_named(box: Box) -> None:
    """Of a machine with two systems, whose clock was nine hours ahead until the network set it."""
    names = box.has_whole(ahead=AHEAD, good=-HOUR, old=-3 * HOUR)
    assert json.loads(box.run("record", "latest"))["is"] == "good"
    assert json.loads(box.run("record", names["ahead"]))["is"] == "ahead"
    assert [one["set"] for one in json.loads(box.run("list"))] == [names[name] for name in ("ahead", "good", "old")]


def test_where_every_set_is_from_the_future_the_clock_is_asked_about(box: Box) -> None:
    box.has_whole(ahead=AHEAD)
    assert box.run("record", "latest", check=False) == (
        "backup: the sets in the repository are all of a time that has not come: is this machine's clock right? "
        "Such a set is restored by its name\n"
    )


def test_a_set_from_the_future_hides_no_backup_that_has_stopped(box: Box) -> None:
    """The status was noted by a clock that was ahead, or the repository does not answer any more."""
    names = box.has_whole(ahead=AHEAD, good=-HOUR, old=-3 * HOUR)
    box.run("now", check=False, FAIL="part=files")
    noted = box.note("status.json")
    assert (noted["newest"]["set"], noted["ahead"], noted["sets"]) == (names["good"], [names["ahead"]], 3)
    box.run("healthy")
    status = box.folder / "state/status.json"
    status.write_text(json.dumps({**noted, "newest": {**noted["newest"], "time": time.time() + 9 * 3600}, "since": 1000}))
    assert subprocess.run([PROGRAM, "healthy"], env=box.environment(), check=False).returncode == 1
    box.run("now", check=False, FAIL="snapshots")
    assert box.note("status.json")["newest"] is None


def test_a_look_with_a_set_from_the_future_makes_a_set_only_when_one_is_due(box: Box, running: Callable[..., None]) -> None:
    """It made one every quarter of an hour."""
    status = box.folder / "state/status.json"
    for good, made in ((-HOUR / 2, 0), (-2 * HOUR, 1)):
        box.has_whole(ahead=AHEAD, good=good)
        for path in (status, box.folder / "calls"):
            path.unlink(missing_ok=True)
        running(lambda: status.exists() and box.note("status.json")["sets"] is not None)
        assert len(box.calls("backup")) == 3 * made


def test_sets_from_the_future_take_no_place_of_real_ones(box: Box) -> None:
    """restic takes them for the newest: the set that was just made was removed at once."""
    box.has_whole(ahead=AHEAD, later=2 * AHEAD, good=-HOUR)
    box.run("now", KEEP="--keep-last 1 --keep-daily 14 --keep-within 15d")
    (rules,) = [line for line in (box.folder / "calls").read_text().splitlines() if line.startswith("forget")]
    assert "--keep-last 3 --keep-daily 16 --keep-within 15d --dry-run" in rules


def test_a_drill_tries_the_newest_set_that_is_not_from_the_future(box: Box) -> None:
    names = box.has_whole(ahead=AHEAD, good=-HOUR)
    box.replace(initdb="#!/bin/sh\nexit 1\n")
    box.run("drill", check=False)
    assert (box.note("drill.json")["set"], len(box.calls("snapshots"))) == (names["good"], 1)
    # Without one, it is one question.
    names = box.has_whole(good=-HOUR)
    (box.folder / "calls").unlink()
    box.run("drill", check=False)
    assert (box.note("drill.json")["set"], "snapshots" in (box.folder / "calls").read_text()) == (names["good"], False)


def test_a_drill_of_a_clock_that_was_ahead_puts_off_no_other(box: Box, running: Callable[..., None]) -> None:
    box.has_whole(good=-HOUR / 2)
    box.replace(initdb="#!/bin/sh\nexit 1\n")
    passed = {"set": "x", "seconds": 9, "verdict": "passed", "reason": ""}
    at = f"{datetime.now(UTC) + AHEAD:%Y-%m-%dT%H:%M:%S}+00:00"
    (box.folder / "state/drill.json").write_text(json.dumps({"at": at, **passed}))
    running(lambda: box.note("drill.json")["verdict"] == "could not run", DRILL_EVERY_DAYS="7")


# --- What others read -----------------------------------------------------------------------------------------------------


@pytest.fixture
def running(box: Box) -> Callable[..., None]:
    """Runs the container's program until something is there, and stops it."""

    def until(ready: Callable[[], bool], **more: str) -> None:
        with subprocess.Popen([PROGRAM, "run"], env=box.environment(**more), stdin=subprocess.DEVNULL) as program:
            try:
                wait_for(ready, seconds=60, pause=0.1)
            finally:
                program.terminate()
                program.wait(60)

    return until


def test_a_first_set_that_never_ends_is_missed_from_the_first_minute_on(box: Box, running: Callable[..., None]) -> None:
    (box.folder / "hangs").touch()
    status = box.folder / "state/status.json"
    running(status.exists, DRILL_EVERY_DAYS="7")
    # The start, which the monitor counts.
    assert 0 <= time.time() - int((box.folder / "state/started").read_text()) < 60
    noted = box.note("status.json")
    assert (noted["newest"], noted["sets"], noted["drill_every_days"]) == (None, None, 7)
    assert time.time() - noted["since"] < 60


def test_since_when_a_set_is_missed_is_not_forgotten(box: Box) -> None:
    (box.folder / "state/status.json").write_text(json.dumps({"since": 1000, "sets": None, "newest": None}))
    box.run("now", check=False, FAIL="part=files")
    noted = box.note("status.json")
    assert (noted["since"], noted["newest"], "cut off" in noted["problem"]) == (1000, None, True)


def test_a_drill_that_was_killed_could_not_run(box: Box, running: Callable[..., None]) -> None:
    (box.folder / "state/drill").mkdir()
    passed = {"at": "2026-11-20T03:00:00+00:00", "set": "x", "seconds": 9, "verdict": "passed", "reason": ""}
    (box.folder / "state/drill.json").write_text(json.dumps(passed))
    running(lambda: box.note("drill.json")["verdict"] != "passed")
    noted = box.note("drill.json")
    assert (noted["verdict"], noted["last_good"]) == ("could not run", passed["at"])
    assert noted["reason"].startswith("it was interrupted: ")
    assert not (box.folder / "state/drill").exists()


def test_a_drill_that_was_stopped_in_good_order_is_made_up_for(box: Box, running: Callable[..., None]) -> None:
    """What it ran may have gone on for a moment, and made its folder again."""
    (box.folder / "state/drill").mkdir()
    (box.folder / "state/stopped").touch()
    running(lambda: not (box.folder / "state/drill").exists())
    assert not (box.folder / "state/drill.json").exists()
    # Its own end is in good order, too.
    assert (box.folder / "state/stopped").exists()
