"""Faults planted below the backup's own program: real restic and PostgreSQL in one container, without a stack around them.

Not here: the commands of ops and a stack that is restored (tests/host/test_backup.py).
"""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from components.host.images import references
from components.settings import HostSettings
from lab.standins import store
from ops.deploy import single
from ops.images import build
from tests.host.conftest import IMAGES, Checkout

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]

# Of the file systems below: a repository and a place for restored files that are full at once.
SMALL_KIB = 3000
ENVIRONMENT = {
    "BACKUP_DATA": "/srv/box/data",
    "BACKUP_HOST": "skyvern-test",
    "BACKUP_STATE": "/srv/box/state",
    "EVERY_HOURS": "1",
    "FILES_AFTER_SECONDS": "0",
    "KEEP": "--keep-last 1",
    "MAX_AGE_HOURS": "26",
    "PGDATABASE": "skyvern",
    "PGHOST": "/srv/box",
    "PGUSER": "skyvern",
    "RESTIC_CACHE_DIR": "/srv/box/cache",
    "RESTIC_PASSWORD": "only a test",
    "RESTIC_REPOSITORY": "/srv/box/repository",
    "TMPDIR": "/srv/box/work",
    "TRY_SECONDS": "60",
}
# A database and folders of the form that Skyvern's have; random, because nothing else fills a disk.
BEGIN = """
set -eu
rm -rf /srv/box/* && mkdir -p /srv/box/state /srv/box/work /srv/box/data/downloads/wr_1 /srv/box/data/har
head -c 6000000 /dev/urandom > '/srv/box/data/downloads/wr_1/보고서 1.pdf'
echo small > /srv/box/data/downloads/small
initdb --no-sync -D /srv/box/live -U skyvern --auth trust --encoding UTF8 --locale C.UTF-8 > /dev/null
socket="-c listen_addresses='' -c unix_socket_directories=/srv/box"
pg_ctl start -w -s -D /srv/box/live -l /srv/box/live.log -o "$socket" < /dev/null
createdb skyvern
psql -q -v ON_ERROR_STOP=1 <<'SQL'
CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('abc');
CREATE TABLE workflows (id int PRIMARY KEY, title text);
INSERT INTO workflows SELECT n, '매일 ' || n FROM generate_series(1, 500) n;
CREATE TABLE steps (id int REFERENCES workflows, at timestamp DEFAULT now()); INSERT INTO steps SELECT id FROM workflows;
SQL
"""


PDF = "downloads/wr_1/보고서 1.pdf"


@dataclass(frozen=True)
class Box:
    """A container with the program in it. prefix: what starts a command there. environment: of each command."""

    prefix: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=lambda: ENVIRONMENT)

    def under(self, **variables: str) -> "Box":
        """The same one with other variables."""
        return replace(self, environment={**self.environment, **variables})

    def run(self, script: str, *, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """A bash script."""
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        done = subprocess.run(
            [*self.prefix, "env", *variables, "bash", "-c", script], capture_output=True, text=True, timeout=300, check=False
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def said(self, script: str) -> str:
        """The last line of a script that has to fail, which is the program's."""
        done = self.run(script, check=False)
        assert done.returncode != 0, done.stdout
        return done.stderr.strip().splitlines()[-1].removeprefix("backup: ")

    def drill(self) -> dict[str, Any]:
        """What the last drill has noted."""
        noted: dict[str, Any] = json.loads(self.run("cat $BACKUP_STATE/drill.json").stdout)
        return noted


@pytest.fixture(scope="module")
def made(checkout: Checkout) -> Iterator[Box]:
    """A box with one set in its repository."""
    build.build(checkout.docker, IMAGES, print, frozenset({"backup"}), host=HostSettings())
    image = references(IMAGES)["backup"]
    # With the other end of SFTP, which no image of the product has.
    with_sshd = "localhost/skyvern/test-backup-sshd:1"
    dockerfile = f"FROM {image}\nUSER 0:0\nRUN apt-get update && apt-get install -y --no-install-recommends openssh-server\n"
    built = ("build", "--network=host", f"--tag={with_sshd}", "-")
    checkout.docker.run(*built, stdin=dockerfile.encode(), timeout_seconds=600)
    program = store.ensure_program()
    flags = (
        "--user=10001:10001",
        "--tmpfs=/srv/box:mode=1777,exec",
        f"--tmpfs=/small:mode=1777,size={SMALL_KIB}k",
        f"--volume={program}:/usr/local/bin/versitygw:ro",
    )
    name = "skyvern-test-backup-faults"
    checkout.docker.run("run", "--detach", "--init", f"--name={name}", "--network=none", *flags, with_sshd, "sleep", "infinity")
    try:
        box = Box(("docker", "--host", checkout.docker.host, "exec", name))
        box.run(BEGIN)
        box.run("skyvern-backup now && cp -a $RESTIC_REPOSITORY /srv/box/whole")
        yield box
    finally:
        checkout.docker.run("rm", "--force", name)


@pytest.fixture
def box(made: Box) -> Box:
    """The box with its repository whole, and no drill noted."""
    made.run("rm -rf $RESTIC_REPOSITORY $BACKUP_STATE/drill* /small/* && cp -a /srv/box/whole $RESTIC_REPOSITORY")
    return made


# --- The drill ------------------------------------------------------------------------------------------------------------


def test_a_drill_restores_the_newest_set_and_leaves_nothing(box: Box) -> None:
    printed = box.run("skyvern-backup drill").stdout
    assert "as recorded: 3 tables, 1001 rows, 2 files" in printed
    assert printed.strip().endswith(": passed")
    drill = box.drill()
    assert (drill["verdict"], drill["reason"], drill["served"], drill["last_good"]) == ("passed", "", False, drill["at"])
    assert box.run("ls -A $BACKUP_STATE | grep -c '^drill$'; pgrep -fc $BACKUP_STATE/drill", check=False).stdout == "0\n0\n"


def test_a_dump_without_a_table_fails(box: Box) -> None:
    """By a pg_dump that leaves one out, as a wrong option would."""
    box.run("""
mkdir -p /srv/box/bin
printf '#!/bin/sh\nexec /usr/lib/postgresql/*/bin/pg_dump -T steps "$@"' > /srv/box/bin/pg_dump""")
    box.run("chmod +x /srv/box/bin/pg_dump; PATH=/srv/box/bin:$PATH skyvern-backup now")
    assert "table steps: the set says [500," in box.said("skyvern-backup drill")
    assert box.drill()["verdict"] == "failed"


def test_a_file_that_is_not_as_recorded_fails(box: Box) -> None:
    box.run("""
set=$(skyvern-backup list | jq -r '.[0].set')
skyvern-backup record latest | jq -c '.folders.downloads[1] += 1' > /srv/box/forged
restic forget -q --tag set=$set,part=record --keep-last 0 --unsafe-allow-remove-all --host $BACKUP_HOST
restic backup -q --host $BACKUP_HOST --tag set=$set --tag part=record --stdin --stdin-filename record.json < /srv/box/forged""")
    assert "folder downloads: the set says [2,6000007," in box.said("skyvern-backup drill")


def test_a_set_that_is_too_old_fails(box: Box) -> None:
    assert box.under(MAX_AGE_HOURS="0").said("skyvern-backup drill").endswith("0 h old, and 0 h are allowed")
    assert box.drill()["verdict"] == "failed"


def test_a_key_that_opens_nothing_fails(box: Box) -> None:
    said = box.under(RESTIC_PASSWORD="another").said("skyvern-backup drill")
    assert said == "drill of set -: failed: the stack's key does not open the repository: it belongs to another stack"


def test_what_keeps_a_drill_from_being_run_is_no_pass_and_forgets_no_pass(box: Box) -> None:
    box.run("skyvern-backup drill")
    passed = box.drill()["at"]
    assert "MiB, and Docker's disk has" in box.under(SPARE_KIB="99999999999").said("skyvern-backup drill")
    assert (box.drill()["verdict"], box.drill()["last_good"]) == ("could not run", passed)
    away = box.under(
        RESTIC_REPOSITORY="s3:http://127.0.0.1:9/none", AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="y", TRY_SECONDS="5"
    )
    assert "could not run: no answer from s3:http://127.0.0.1:9/none within 5 s" in away.said("skyvern-backup drill")
    assert box.drill()["last_good"] == passed


def test_a_full_disk_is_named_and_not_taken_for_a_full_repository(box: Box) -> None:
    drilled = box.under(BACKUP_STATE="/small", SPARE_KIB="-99999999").said("skyvern-backup drill")
    assert ": could not run: the drill's PostgreSQL does not start: " in drilled
    assert drilled.endswith("No space left on device")
    said = box.under(BACKUP_DATA="/small").said(f"skyvern-backup file latest '{PDF}'")
    assert said == "the disk of the restored files is full"
    assert box.run("find /small -name '*.pdf' -o -name '.restore*'").stdout == ""


# --- One thing of a set ---------------------------------------------------------------------------------------------------


def test_one_file_comes_back_and_a_newer_one_stays(box: Box) -> None:
    whole = box.run(f"sha256sum '/srv/box/data/{PDF}'").stdout
    box.run(f"rm '/srv/box/data/{PDF}'; skyvern-backup file latest '{PDF}'")
    assert box.run(f"sha256sum '/srv/box/data/{PDF}'").stdout == whole
    box.run(f"echo newer > '/srv/box/data/{PDF}'; touch -d '+1 hour' '/srv/box/data/{PDF}'")
    assert f"{PDF} is newer here (" in box.said(f"skyvern-backup file latest '{PDF}'")
    assert box.run(f"cat '/srv/box/data/{PDF}'").stdout == "newer\n"
    box.run(f"skyvern-backup file latest '{PDF}' replace")
    assert box.run(f"sha256sum '/srv/box/data/{PDF}'").stdout == whole
    assert box.said("skyvern-backup file latest downloads/none").endswith(" has no file downloads/none")
    assert box.run("ls -A /srv/box/data/downloads/wr_1 | wc -l").stdout == "1\n"


def test_a_row_that_was_deleted_comes_back_by_what_the_set_has_of_its_table(box: Box) -> None:
    box.run("psql -q -c 'DELETE FROM steps; DELETE FROM workflows WHERE id = 7'")
    try:
        tables = single.parse_rows(box.run("skyvern-backup rows latest workflows nothing").stdout)
        assert list(tables) == ["workflows"]
        seventh = tables["workflows"].where("id", "7", "8").having("title", "a\\ttab")
        box.run(f"psql -q -v ON_ERROR_STOP=1 <<'SQL'\n{single.put(seventh, 'id')}\nSQL")
        found = box.run("psql -A -t -c 'SELECT count(*), max(title) FILTER (WHERE id IN (7, 8)) FROM workflows'").stdout
        assert found == "500|a\ttab\n"
    finally:
        box.run("psql -q -c 'INSERT INTO steps SELECT id FROM workflows'")


def test_a_name_that_is_not_utf_8_is_in_a_set_that_passes(box: Box) -> None:
    """ "보고" in CP949, as of an old archive from Windows."""
    name = r"""/srv/box/data/downloads/$(printf '\xba\xb8\xb0\xed').txt"""
    box.run(f'echo old > "{name}"')
    try:
        box.run("sleep 1; skyvern-backup now")
        assert "as recorded: 3 tables, 1001 rows, 3 files" in box.run("skyvern-backup drill").stdout
    finally:
        box.run(f'rm "{name}"')


# --- The repository -------------------------------------------------------------------------------------------------------

LARGEST = 'find $RESTIC_REPOSITORY/data -type f -printf "%s %p\\n" | sort -rn | head -n 1 | cut -d " " -f 2'


@pytest.mark.parametrize(
    "damage",
    [
        f"rm -f $({LARGEST})",
        f"pack=$({LARGEST}); chmod u+w $pack; truncate -s 1000 $pack",
        "for index in $RESTIC_REPOSITORY/index/*; do chmod u+w $index; truncate -s 100 $index; done",
    ],
    ids=["lost pack", "truncated pack", "truncated index"],
)
def test_damage_is_found_and_no_drill_passes(box: Box, damage: str) -> None:
    box.run(damage)
    assert box.said("skyvern-backup check").startswith("the repository is damaged: ")
    assert ": failed: " in box.said("skyvern-backup drill")


def test_what_a_killed_restic_left_does_not_stop_the_next_set(box: Box) -> None:
    """Killed for its memory, say: its lock kept every later clean-up from its work until the container was new.

    The note is the program's; that it makes one is seen in tests/unit/images/test_backup.py.
    """
    box.run("""
touch $BACKUP_STATE/lock.killed
restic backup -q --host $BACKUP_HOST --stdin --stdin-filename x < <(exec sleep 60 2> /dev/null) > /dev/null 2>&1 &
for _ in $(seq 100); do [ -n "$(ls $RESTIC_REPOSITORY/locks)" ] && break; sleep 0.1; done
kill -9 $!; [ -n "$(ls $RESTIC_REPOSITORY/locks)" ]; rm -f $BACKUP_STATE/check-day $BACKUP_STATE/read-week""")
    box.run("skyvern-backup now")
    assert json.loads(box.run("skyvern-backup status").stdout)["problem"] == ""


# Of what a bucket's lock covers (components/bucket.py), what is large.
LOCKED = "cd $RESTIC_REPOSITORY && find data -type f"


def test_a_locked_repository_loses_nothing_young_and_is_checked(box: Box) -> None:
    """After a set that was killed while it wrote: packs in no index and in no snapshot, which prune would delete first."""
    locked = box.under(LOCKED_DAYS="14", BACKUP_STATE="/srv/box/state-locked")
    locked.run("""
mkdir -p $BACKUP_STATE
setsid skyvern-backup now > /dev/null 2>&1 &
for _ in $(seq 1000); do [ -e $BACKUP_STATE/begun ] && break; sleep 0.1; done
kill -9 -- -$!; sleep 0.5; [ -e $BACKUP_STATE/begun ]
head -c 3000000 /dev/urandom > /srv/box/orphan
pack=$RESTIC_REPOSITORY/data/$(sha256sum /srv/box/orphan | cut -c 1-2)
mkdir -p $pack && cp /srv/box/orphan $pack/$(sha256sum /srv/box/orphan | cut -d ' ' -f 1)
restic unlock -q --remove-all
for n in 1 2 3; do  # small packs, and one with a part that nothing needs any more
  head -c 1000000 /dev/urandom > /srv/box/data/har/$n
  restic backup -q --host $BACKUP_HOST --tag set=20200101T00000${n}Z --tag part=files /srv/box/data/har; rm /srv/box/data/har/$n
done""")
    before = set(locked.run(LOCKED).stdout.splitlines())
    # The names of the sets are of 2020: their age by name is what counts, so one is of today.
    young = f"set={time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    locked.run(f"restic tag -q --set {young},part=database --tag set=20200101T000001Z")
    locked.run("sleep 1; skyvern-backup now && skyvern-backup check")
    assert before <= set(locked.run(LOCKED).stdout.splitlines())
    assert json.loads(locked.run("skyvern-backup status").stdout)["problem"] == ""
    tagged = locked.run("restic snapshots --json | jq -r '.[].tags[]' | sort -u").stdout
    assert "set=20200101T000002Z" not in tagged
    assert f"{young}\n" in tagged
    # Without the lock the same prune takes all of it away.
    locked.under(LOCKED_DAYS="0").run("rm -f $BACKUP_STATE/check-day $BACKUP_STATE/read-week; sleep 1; skyvern-backup now")
    assert before - set(locked.run(LOCKED).stdout.splitlines())


# A run writes the row of a file first, the file a moment later, and removes both of an old one together.
LOAD = r"""
psql -q -v ON_ERROR_STOP=1 -c 'CREATE TABLE artifacts (id int PRIMARY KEY, path text)'
mkdir -p /srv/box/data/videos
nohup bash -c '
n=0
until [ -e /srv/box/enough ]; do
  n=$((n + 1))
  psql -q -c "INSERT INTO artifacts VALUES ($n, '"'"'videos/$n.webm'"'"')" || exit 1
  (sleep 0.$((RANDOM % 9)); head -c $((RANDOM + 1)) /dev/urandom > /srv/box/data/videos/.new.$n
   mv /srv/box/data/videos/.new.$n /srv/box/data/videos/$n.webm) &
done; wait; echo $n > /srv/box/loaded' > /srv/box/load.log 2>&1 < /dev/null &"""
# Rows without their file in a set that is restored into an empty database and empty folders.
MISSING = r"""
rm -rf /srv/box/back && mkdir -p /srv/box/back && dropdb --if-exists back && createdb back
BACKUP_DATA=/srv/box/back PGDATABASE=back skyvern-backup restore {set} > /dev/null
psql -A -t -d back -c 'SELECT path FROM artifacts' > /srv/box/rows
wc -l < /srv/box/rows
while read -r path; do [ -s "/srv/box/back/$path" ] || echo "$path"; done < /srv/box/rows"""


@pytest.mark.timeout(1800)
def test_every_one_of_twenty_sets_under_load_has_the_file_of_each_row(box: Box) -> None:
    """At the level of database and files; the runs of a whole stack are those of tests/host/test_backup.py."""
    loaded = box.under(
        FILES_AFTER_SECONDS="3",
        KEEP="--keep-last 30",
        RESTIC_REPOSITORY="/srv/box/repository-loaded",
        BACKUP_STATE="/srv/box/state-loaded",
    )
    loaded.run(f"mkdir -p $BACKUP_STATE; rm -f /srv/box/enough; {LOAD}")
    try:
        for _ in range(20):
            loaded.run("skyvern-backup now")
        names = [one["set"] for one in json.loads(loaded.run("skyvern-backup list").stdout)]
        loaded.run("touch /srv/box/enough; for _ in $(seq 600); do [ -e /srv/box/loaded ] && break; sleep 0.1; done")
        assert len(names) == 20
        rows = []
        for name in reversed(names):
            count, *missing = loaded.run(MISSING.format(set=name)).stdout.split()
            assert missing == [], name
            rows.append(int(count))
        # There was a load, in each of them.
        assert rows == sorted(rows)
        assert len(set(rows)) == 20
    finally:
        loaded.run("touch /srv/box/enough; sleep 2; psql -q -c 'DROP TABLE artifacts'; rm -rf /srv/box/data/videos", check=False)


def test_a_full_repository_is_one_line_and_the_sets_in_it_stay(box: Box) -> None:
    full = box.under(RESTIC_REPOSITORY="/small/repository", BACKUP_STATE="/srv/box/state-full")
    full.run("mkdir -p $BACKUP_STATE && mv /srv/box/data/downloads/wr_1 /srv/box/aside")
    try:
        full.run("skyvern-backup now")
        full.run("mv /srv/box/aside /srv/box/data/downloads/wr_1")
        assert full.said("skyvern-backup now") == "/small/repository is full"
        assert json.loads(full.run("skyvern-backup status").stdout)["sets"] == 1
        full.run("skyvern-backup drill")
    finally:
        full.run("[ ! -e /srv/box/aside ] || mv /srv/box/aside /srv/box/data/downloads/wr_1")


# --- Other machines -------------------------------------------------------------------------------------------------------


@pytest.fixture
def s3(box: Box) -> Iterator[Box]:
    """The box beside a store that speaks S3's protocol, with one bucket."""
    box.run("""
mkdir -p /srv/box/store/sets /srv/box/side /srv/box/state-s3
ROOT_ACCESS_KEY=key-of-a-test ROOT_SECRET_KEY=secret-of-a-test nohup versitygw --port 127.0.0.1:7070 \
  posix --sidecar /srv/box/side /srv/box/store > /srv/box/store.log 2>&1 < /dev/null & echo $! > /srv/box/store.pid
for _ in $(seq 100); do (: < /dev/tcp/127.0.0.1/7070) 2> /dev/null && break; sleep 0.1; done""")
    yield box.under(
        AWS_ACCESS_KEY_ID="key-of-a-test",
        AWS_SECRET_ACCESS_KEY="secret-of-a-test",
        AWS_DEFAULT_REGION="us-east-1",
        BACKUP_STATE="/srv/box/state-s3",
        RESTIC_REPOSITORY="s3:http://127.0.0.1:7070/sets/prod",
    )
    box.run("kill $(cat /srv/box/store.pid)")


def test_a_whole_set_by_s3(s3: Box) -> None:
    s3.run("skyvern-backup now && skyvern-backup drill && skyvern-backup check")
    assert "as recorded: 3 tables" in s3.run("skyvern-backup drill").stdout


def test_a_bucket_that_is_not_there_is_one_line_and_is_not_made(s3: Box) -> None:
    elsewhere = s3.under(RESTIC_REPOSITORY="s3:http://127.0.0.1:7070/other", BACKUP_STATE="/srv/box/state-other")
    elsewhere.run("mkdir -p $BACKUP_STATE")
    assert elsewhere.said("skyvern-backup now") == "the bucket of s3:http://127.0.0.1:7070/other does not exist"
    assert elsewhere.run("ls /srv/box/store").stdout == "sets\n"


SSHD = """
set -eu
mkdir -p /srv/box/ssh /srv/box/state-sftp && cd /srv/box/ssh
for name in host user; do ssh-keygen -q -t ed25519 -N '' -f $name; done
cat > config <<'END'
Port 2222
ListenAddress 127.0.0.1
HostKey /srv/box/ssh/host
PidFile /srv/box/ssh/pid
UsePAM no
StrictModes no
PasswordAuthentication no
AuthorizedKeysFile /srv/box/ssh/user.pub
Subsystem sftp internal-sftp
END
nohup /usr/sbin/sshd -D -e -f config > log 2>&1 < /dev/null &
for _ in $(seq 100); do (: < /dev/tcp/127.0.0.1/2222) 2> /dev/null && break; sleep 0.1; done"""


def test_a_whole_set_by_sftp_to_the_machine_with_the_right_key(box: Box) -> None:
    box.run(SSHD)
    try:
        host, user = (box.run(f"cut -d ' ' -f 1,2 /srv/box/ssh/{name}.pub").stdout.strip() for name in ("host", "user"))
        away = box.under(
            BACKUP_STATE="/srv/box/state-sftp",
            RESTIC_REPOSITORY="sftp:skyvern@127.0.0.1:/srv/box/away/prod",
            SFTP_KEY=box.run("cat /srv/box/ssh/user").stdout,
            SFTP_KNOWN_HOST=f"[127.0.0.1]:2222 {host}",
            SFTP_PORT="2222",
        )
        away.run("skyvern-backup now && skyvern-backup check")
        assert "as recorded: 3 tables" in away.run("skyvern-backup drill").stdout
        refused = "no SSH to sftp:skyvern@127.0.0.1:/srv/box/away/prod: is known_host its key, private_key known there,"
        assert refused in away.under(SFTP_KNOWN_HOST=f"[127.0.0.1]:2222 {user}").said("skyvern-backup now")
        box.run("ssh-keygen -q -t ed25519 -N '' -f /srv/box/ssh/other")
        assert refused in away.under(SFTP_KEY=box.run("cat /srv/box/ssh/other").stdout).said("skyvern-backup now")
    finally:
        box.run("kill $(cat /srv/box/ssh/pid)")
