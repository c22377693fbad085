"""A backup that has been restored: the same rows and files, the same credential, and every planted fault refused in one line."""

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ops.observe.smoke.site import Site
from ops.observe.smoke.workflow_checks import definition, start_run, wait_for_end, workflow
from tests.host.automated import AUTOMATION, NAME, SCHEDULE, automated, on_server, schedules, workflows
from tests.host.conftest import (
    MORNING,
    Checkout,
    as_person,
    client_of,
    code_status,
    make_credential,
    make_workflow,
    memory_in_use,
    site_of,
    sql,
)
from tests.support import runbooks
from tests.support.waiting import wait_for, watched

# It takes the other lane ten minutes more.
pytestmark = [pytest.mark.timeout(2400), pytest.mark.nightly]

# Not below /tmp, which the stack file refuses: it is emptied.
REPOSITORY = Path("/srv") / f"skyvern-test-backup-{os.getpid()}"
BACKUP = {"type": "path", "path": str(REPOSITORY)}
FILE = "/data/downloads/wr_1/보고서 1.pdf"
# Of the person's: what a restore has to bring back, by content.
CONTENT = """
SELECT 'workflows', count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM workflows t;
SELECT 'credentials', count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM credentials t;
"""
# 300 MB that do not compress much.
BULK = """
INSERT INTO artifacts (artifact_id, organization_id, artifact_type, uri, created_at, modified_at)
SELECT 'a_' || i, (SELECT min(organization_id) FROM organizations), 'bulk',
  array_to_string(array(SELECT md5(i || ':' || j) FROM generate_series(1, 30) j), ''), now(), now()
FROM generate_series(1, 300000) i
"""
SCHEDULES = "SELECT name, enabled FROM workflow_schedules ORDER BY name"


def files(checkout: Checkout) -> str:
    """Every file of the stack by its checksum, but for logs, which go on."""
    script = "cd /data && find downloads credential_vault -type f ! -name '.re*' -exec sha256sum {} + | sort"
    return checkout.docker.run("exec", "skyvern-dev-server", "sh", "-c", script)


def started(checkout: Checkout) -> dict[str, str]:
    """When each container was started: equal while nothing was touched."""
    names = sorted(checkout.names("container"))
    return {name: checkout.docker.inspect(name)["State"]["StartedAt"] for name in names}


def ops(checkout: Checkout, *arguments: str, check: bool = True) -> str:
    done = checkout.run("bin/ops", *arguments, check=check)
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def stack(checkout: Checkout, first_up: str) -> Iterator[Checkout]:
    """The dev stack with a backup, beside the port that it has."""
    # Files in a bucket, as the tests before leave it, are back in volumes first; the bucket's server is gone by then.
    checkout.pulumi("up --yes --skip-preview -s dev")
    REPOSITORY.mkdir()
    port = int(checkout.output("app_url").rpartition(":")[2])
    checkout.write_stack("dev", port=port, backup=BACKUP)
    try:
        checkout.run("script/up", "--yes")
        yield checkout
    finally:
        shutil.rmtree(REPOSITORY)


@pytest.fixture(scope="module")
def site(stack: Checkout) -> Iterator[Site]:
    with site_of(stack) as target:
        yield as_person(target)


@pytest.fixture(scope="module")
def credential(stack: Checkout, site: Site) -> str:
    """A workflow with a schedule, a credential with TOTP and a file, in a set; the credential's id."""
    workflow = make_workflow(site, "매일 보고서")
    assert site.api("POST", f"/v1/workflows/{workflow}/schedules", body=MORNING).status_code == 200
    identifier = make_credential(site)
    command = f"mkdir -p '{FILE.rpartition('/')[0]}' && head -c 300000 /dev/urandom > '{FILE}'"
    stack.docker.run("exec", "skyvern-dev-server", "sh", "-c", command)
    assert "set 2" in ops(stack, "backup", "now")
    return identifier


def test_a_set_is_listed_and_seen_by_status_and_doctor(stack: Checkout, credential: str) -> None:
    newest = ops(stack, "backup", "list").splitlines()[1].split()[0]
    assert f"newest set {newest}" in ops(stack, "status")
    assert json.loads(ops(stack, "status", "--json"))["backup"]["newest"] == newest
    found = json.loads(stack.run("bin/ops", "doctor", "--json", check=False).stdout)["findings"]
    assert [one["problem"] for one in found if one["check"] == "backup"] == ["was never made"]


def test_a_second_plan_is_empty(stack: Checkout, credential: str) -> None:
    stack.pulumi("preview -s dev --expect-no-changes --refresh")


def test_a_wrong_key_opens_nothing(stack: Checkout, credential: str) -> None:
    refused = stack.run(
        *("docker", "--host", stack.docker.host, "exec", "--env", "RESTIC_PASSWORD=wrong", "skyvern-dev-backup"),
        *("skyvern-backup", "try"),
        check=False,
    )
    assert refused.returncode == 1
    assert refused.stderr == "backup: the stack's key does not open the repository: it belongs to another stack\n"


def newer_workflow(site: Site) -> str:
    definition = {"title": "newer", "workflow_definition": {"parameters": [], "blocks": []}}
    made = site.api("POST", "/v1/workflows", body={"json_definition": definition})
    return str(made.json()["workflow_permanent_id"])


def test_newer_data_is_not_replaced_unasked(stack: Checkout, site: Site, credential: str) -> None:
    newer = newer_workflow(site)
    before = started(stack)
    printed = ops(stack, "restore", "--yes", check=False)
    assert "error: stack dev has 1 workflows that are newer than set" in printed
    assert "--discard-newer" in printed
    assert started(stack) == before
    assert site.api("GET", f"/v1/workflows/{newer}").status_code == 200


def test_what_is_lost_comes_back(stack: Checkout, site: Site, credential: str) -> None:
    ops(stack, "backup", "now")
    rows, there = sql(stack, CONTENT), files(stack)
    assert FILE.removeprefix("/data/") in there
    stack.docker.run("stop", "--time", "5", "skyvern-dev-server")
    sql(stack, "DROP OWNED BY skyvern CASCADE")
    remove = "rm -rf /data/downloads/* /data/credential_vault/*"
    image = stack.docker.inspect("skyvern-dev-server")["Config"]["Image"]
    stack.docker.run("run", "--rm", "--network=none", "--volumes-from=skyvern-dev-server", image, "sh", "-c", remove)
    printed = ops(stack, "restore", "--yes")
    assert "everything arrived as the set recorded it" in printed
    assert "bin/ops restore --undo -s dev" in printed
    assert sql(stack, CONTENT) == rows
    assert files(stack) == there
    # The vault's file, its key and its row belong together.
    assert code_status(site, credential) == 200
    # What the person was told to be lost is kept, and the containers are the same ones.
    kept = {name for name in stack.names("volume") if name.startswith("skyvern-dev-postgres-2")}
    assert len(kept) == 1


def test_schedules_wait_for_a_person(stack: Checkout, credential: str) -> None:
    """A restored database would fire the last tick of each schedule again."""
    assert sql(stack, SCHEDULES) == "아침|f"
    runs = sql(stack, "SELECT count(*) FROM workflow_runs WHERE workflow_schedule_id IS NOT NULL")
    printed = ops(stack, "resume", "--yes")
    assert "아침: next at 20" in printed
    assert sql(stack, SCHEDULES) == "아침|t"
    assert runs == "0"


def test_a_second_restore_forgets_no_schedule_of_the_first(stack: Checkout, credential: str) -> None:
    """The set in between has it off, so the second restore pauses nothing."""
    ops(stack, "backup", "now")
    assert "아침: 0 9 * * 1-5" in ops(stack, "restore", "--yes", "--discard-newer")
    ops(stack, "backup", "now")
    assert "아침" not in ops(stack, "restore", "--yes", "--discard-newer")
    assert sql(stack, SCHEDULES) == "아침|f"
    assert "아침: next at 20" in ops(stack, "resume", "--yes")
    assert sql(stack, SCHEDULES) == "아침|t"


# A docker that kills whoever calls it, once: at the call that has these words, while it goes on, after a part of it or after all.
KILLER = r"""#!/bin/bash
case "$*" in
  *{words}*) [ -e {killed} ] && exec {docker} "$@" ;;
  *) exec {docker} "$@" ;;
esac
touch {killed}
arguments=("$@")
case {how} in
  begun) setsid {docker} "$@" > /dev/null 2>&1 < /dev/null & sleep 3 ;;
  half)
    # sh -c SCRIPT shared MARK, and the first of the pairs of volumes
    for n in "${{!arguments[@]}}"; do
      [ "${{arguments[n]}}" != shared ] || {{ arguments=("${{arguments[@]:0:n + 4}}"); break; }}
    done
    {docker} "${{arguments[@]}}" > /dev/null ;;
  whole) {docker} "$@" > /dev/null ;;
esac
kill -9 $PPID
"""
POINTS = {
    "while the set is read": ("skyvern-backup\\ restore", "begun"),
    "when everything has arrived": ("stop\\ --time\\ 120\\ skyvern-dev-restore-postgres", "whole"),
    "while the stack stops": ("stop\\ skyvern-dev-server", "whole"),
    "in the middle of the exchange": ("mv\\ --exchange", "half"),
    "after the exchange": ("mv\\ --exchange", "whole"),
}


def serving(stack: Checkout) -> tuple[str, str]:
    """Rows and files, of a stack that may have been left without some of its containers."""
    for part in ("postgres", "roles", "artifacts", "server"):
        stack.docker.run("start", f"skyvern-dev-{part}")
    answers = ("exec", "skyvern-dev-roles", "sh", "-c", "pg_isready -q && echo yes || echo no")
    wait_for(lambda: stack.docker.run(*answers).strip() == "yes", seconds=120, pause=1)
    return sql(stack, CONTENT), files(stack)


@pytest.mark.parametrize("point", POINTS)
def test_a_restore_that_is_killed_leaves_what_was_or_the_whole_set(
    point: str, stack: Checkout, credential: str, tmp_path: Path
) -> None:
    ops(stack, "backup", "now")
    in_the_set = sql(stack, CONTENT), files(stack)
    sql(stack, "UPDATE workflows SET title = title || ' later' WHERE title = '매일 보고서'")
    stack.docker.run("exec", "skyvern-dev-server", "sh", "-c", f"echo later > '{FILE}'")
    before = sql(stack, CONTENT), files(stack)
    last = sql(stack, "SELECT max(created_at) FROM workflows")
    words, how = POINTS[point]
    killed = tmp_path / "killed"
    (tmp_path / "docker").write_text(KILLER.format(words=words, how=how, killed=killed, docker=shutil.which("docker")))
    (tmp_path / "docker").chmod(0o755)
    there = replace(stack, environment={**stack.environment, "PATH": f"{tmp_path}:{stack.environment['PATH']}"})
    done = there.run("bin/ops", "restore", "--yes", "--discard-newer", check=False)
    assert (killed.exists(), done.returncode) == (True, -9), done.stdout + done.stderr
    if point == "in the middle of the exchange":
        # Before it starts anything. Its smoke run has workflows, too, which are younger.
        assert "what the stack had before is in place again" in stack.run("script/up", "--yes").stdout
        older = CONTENT.replace("FROM workflows t", f"FROM workflows t WHERE created_at <= '{last.strip()}'")
        assert (sql(stack, older), files(stack)) == before
    else:
        # A next one that restores nothing: it ends at a set that is not there.
        ops(stack, "restore", "20200101T000000Z", "--yes", check=False)
        assert serving(stack) == (in_the_set if point == "after the exchange" else before)
    ops(stack, "restore", "--yes", "--discard-newer")
    assert (sql(stack, CONTENT), files(stack)) == in_the_set
    assert stack.docker.inspect("skyvern-dev-server")["State"]["Running"]
    left = {name for name in stack.names("container", "--all") if "restore" in name}
    assert left == set()


def test_one_workflow_credential_and_file_come_back_without_a_stop(stack: Checkout, site: Site, credential: str) -> None:
    """Deleted as a person deletes them, in the UI."""
    ops(stack, "backup", "now")
    rows, there, before = sql(stack, CONTENT), files(stack), started(stack)
    (workflow,) = sql(stack, "SELECT DISTINCT workflow_permanent_id FROM workflows WHERE title = '매일 보고서'").splitlines()
    assert site.api("POST", f"/v1/workflows/{workflow}/delete").status_code == 200
    assert site.api("POST", f"/v1/credentials/{credential}/delete").status_code == 204
    stack.docker.run("exec", "skyvern-dev-server", "rm", FILE)
    # As the page says it.
    listing, back, *_ = runbooks.commands("backup.md", "A workflow was deleted")
    assert listing == "bin/ops backup list -s prod"
    newest = stack.run("bash", "-c", listing.replace("prod", "dev")).stdout.splitlines()[1].split()[0]
    said = stack.run("bash", "-c", back.replace("prod", "dev").replace("SET", newest).replace("wpid_123", workflow)).stdout
    assert "schedules are paused" in said
    ops(stack, "restore", "--credential", credential)
    ops(stack, "restore", "--file", FILE.removeprefix("/data/"))
    assert (sql(stack, CONTENT), files(stack)) == (rows, there)
    assert site.api("GET", f"/v1/workflows/{workflow}").status_code == 200
    assert code_status(site, credential) == 200
    assert sql(stack, SCHEDULES) == "아침|f"
    assert started(stack) == before
    assert "is here as it is in set" in ops(stack, "restore", "--workflow", workflow, check=False)


def test_a_damaged_repository_changes_nothing(stack: Checkout, credential: str) -> None:
    ops(stack, "backup", "now")
    packs = sorted((REPOSITORY / "data").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    broken = packs[-1]
    broken.chmod(0o600)
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :])
    rows, before = sql(stack, CONTENT), started(stack)
    try:
        printed = ops(stack, "restore", "--yes", "--discard-newer", check=False)
        assert "nothing of the stack was changed" in printed.strip().splitlines()[-1]
        assert sql(stack, CONTENT) == rows
        assert started(stack) == before
        assert not [name for name in stack.names("container", "--all") if "restore" in name]
    finally:
        broken.write_bytes(whole)


def test_a_new_container_is_healthy_by_the_sets_that_it_finds(stack: Checkout, credential: str) -> None:
    """Seen after a restore from the kit: a young set in the repository, nothing to do, and unhealthy for ever."""
    stack.docker.run("exec", "skyvern-dev-backup", "sh", "-c", "rm -rf /var/lib/backup/repository /var/lib/backup/status.json")
    stack.docker.run("restart", "skyvern-dev-backup")
    healthy = ("exec", "skyvern-dev-backup", "sh", "-c", "skyvern-backup healthy && echo yes || echo no")
    wait_for(lambda: stack.docker.run(*healthy).strip() == "yes", seconds=60, pause=1)


def test_a_drill_serves_the_set_and_reaches_nothing(stack: Checkout, site: Site, credential: str) -> None:
    """Also with what the API lists differently: what a prompt was made into, a saved task, and what the copilot tries."""
    for more in ({"status": "auto_generated"}, {"is_saved_task": True}, {}):
        definition = {"title": "listed differently", "workflow_definition": {"parameters": [], "blocks": []}, **more}
        assert site.api("POST", "/v1/workflows", body={"json_definition": definition}).status_code == 200
    last = "(SELECT workflow_id FROM workflows WHERE title = 'listed differently' ORDER BY created_at DESC LIMIT 1)"
    sql(stack, f"UPDATE workflows SET created_by = 'copilot_test' WHERE workflow_id = {last}")  # noqa: S608
    ops(stack, "backup", "now")
    printed = ops(stack, "drill")
    assert "no run has started by itself" in printed
    assert ": passed, " in printed.strip().splitlines()[-1]
    drill = json.loads(ops(stack, "status", "--json"))["backup"]["drill"]
    assert (drill["verdict"], drill["reason"]) == ("passed", "")
    assert not [name for name in stack.names("container", "--all") | stack.names("volume") if "drill" in name]


def test_what_a_restore_replaced_goes_back(stack: Checkout, site: Site, credential: str) -> None:
    newer = newer_workflow(site)
    ops(stack, "restore", "--yes", "--discard-newer")
    assert site.api("GET", f"/v1/workflows/{newer}").status_code == 404
    assert "has the data from before" in ops(stack, "restore", "--undo", "--yes")
    assert site.api("GET", f"/v1/workflows/{newer}").status_code == 200
    # What the restores before this one replaced, too, until there is nothing more.
    for _ in range(10):
        said = ops(stack, "restore", "--undo", "--yes", check=False).strip()
        if said.endswith("has nothing that a restore replaced"):
            break
    else:
        pytest.fail(said)


def test_an_automation_survives_a_restore(stack: Checkout, site: Site, credential: str) -> None:
    """Of a set from before its last change: known by the ids of before, applied again, and its schedule waits for a person."""
    up = "up --yes --skip-preview -s dev"
    with automated(stack):
        ops(stack, "backup", "now")
        saved, [schedule], shop = on_server(site)
        (stack.root / "automations" / f"{NAME}.yaml").write_text(AUTOMATION.replace("wait_sec: 1", "wait_sec: 2"))
        stack.pulumi(up)
        [(identifier, version)] = on_server(site)[0]
        assert (identifier, version - 1) == saved[0]
        ops(stack, "restore", "--yes", "--discard-newer")
        assert on_server(site)[0] == saved
        stack.pulumi("preview --expect-no-changes -s dev")
        stack.pulumi(f"{up} --refresh")
        [workflow] = workflows(site)
        assert (workflow["workflow_permanent_id"], workflow["version"]) == (identifier, version)
        assert workflow["workflow_definition"]["blocks"][0]["wait_sec"] == 2
        assert on_server(site)[2] == shop
        [paused] = schedules(site)
        assert (paused["workflow_schedule_id"], paused["enabled"]) == (schedule[0], False)
        stack.pulumi("preview --expect-no-changes -s dev")
        assert f"{SCHEDULE}: next at 20" in ops(stack, "resume", "--yes")
        assert [one["enabled"] for one in schedules(site)] == [True]
        stack.pulumi(f"{up} --refresh --expect-no-changes")
    assert on_server(site) == ([], [], [])


# In the backup's own container: each set into an empty PostgreSQL and empty folders, which a drill of it would have, too.
# Of each: the set, its rows of artifacts, its runs in progress, and the rows without a file.
EACH_SET = r"""
set -eu
box=/var/lib/backup/twenty
rm -rf $box && mkdir -p $box/data
initdb --no-sync -D $box/postgres -U drill --auth trust --encoding UTF8 --locale C.UTF-8 > /dev/null
export PGHOST=$box PGUSER=drill PGDATABASE=back BACKUP_DATA=$box/data
minimal='-c shared_buffers=32MB -c wal_level=minimal -c max_wal_senders=0'
options="-c listen_addresses='' -c unix_socket_directories=$box -c fsync=off -c shared_buffers=32MB"
pg_ctl start -s -w -D $box/postgres -l $box/log -o "$options" < /dev/null
trap 'pg_ctl stop -s -m immediate -D $box/postgres; rm -rf $box' EXIT
for set in "$@"; do
  find $box/data -mindepth 1 -delete
  dropdb --if-exists back && createdb back
  skyvern-backup restore "$set" > /dev/null
  psql -X -A -t -c "SELECT substr(uri, 8) FROM artifacts WHERE uri LIKE 'file:///data/%'" > $box/rows
  running=$(psql -X -A -t -c "SELECT count(*) FROM workflow_runs WHERE status = 'running'")
  missing=$(while read -r path; do [ -e "$box$path" ] || echo "$path"; done < $box/rows | paste -s -d ,)
  echo "$set|$(wc -l < $box/rows)|$running|$missing"
done
"""


@contextmanager
def runs_one_after_the_other(site: Site, at_once: int) -> Iterator[list[str]]:
    """Statuses of the runs that have ended, of so many lines of them."""
    stop = threading.Event()
    ended: list[str] = []

    def line(identifier: str) -> None:
        while not stop.is_set():
            ended.append(wait_for_end(site, start_run(site, identifier), 300)["status"])

    with workflow(site, definition("Twenty sets", site.outputs.smoke_url + "/", 1)) as identifier, ThreadPoolExecutor() as lines:
        going = [lines.submit(line, identifier) for _ in range(at_once)]
        try:
            yield ended
        finally:
            stop.set()
        for each in going:
            each.result()


@pytest.mark.timeout(3600)
def test_of_twenty_sets_while_runs_go_on_each_has_the_file_of_each_row(stack: Checkout, site: Site, credential: str) -> None:
    """Skyvern's own order of rows and files, of real runs; with many more files a second: tests/host/test_backup_faults.py."""
    container = "skyvern-dev-backup"
    # Of one hour, the stack's rules would keep the newest alone.
    now = ("exec", "--env=KEEP=--keep-last 40", container, "skyvern-backup", "now")
    names: list[str] = []
    with runs_one_after_the_other(site, 2) as ended:
        for _ in range(20):
            names += re.findall(r"set (\d{8}T\d{6}Z): ", stack.docker.run(*now, timeout_seconds=600))
    assert len(set(names)) == 20
    each = ("exec", container, "bash", "-c", EACH_SET, "bash", *names)
    lines = [line.split("|") for line in stack.docker.run(*each, timeout_seconds=1800).splitlines()]
    assert [line[0] for line in lines] == names
    assert {line[0]: line[3] for line in lines if line[3]} == {}
    # There were runs, in most of the sets, and all of them ended well.
    rows = [int(line[1]) for line in lines]
    print(f"{len(ended)} runs; rows of files by set: {rows}; runs in progress: {[int(line[2]) for line in lines]}")
    assert rows == sorted(rows)
    assert min(len(ended), rows[-1] - rows[0]) > 10
    assert sum(line[2] != "0" for line in lines) > 10
    assert set(ended) == {"completed"}


# Into a PostgreSQL as the drill's (images/backup/skyvern-backup).
BACK_BY_HAND = """
set -e
cd /var/lib/backup && mkdir -p hand/data
initdb --no-sync --pgdata hand/pg --username hand --auth trust --encoding UTF8 --locale C.UTF-8
minimal='-c shared_buffers=32MB -c wal_level=minimal -c max_wal_senders=0'
options="-c listen_addresses='' -c unix_socket_directories=$PWD/hand -c fsync=off -c full_page_writes=off"
pg_ctl start --wait --pgdata hand/pg --log hand/log --options "$options $minimal -c max_wal_size=256MB"
psql="psql -X -q -v ON_ERROR_STOP=1 -h $PWD/hand -U hand"
$psql -d postgres -c 'CREATE DATABASE hand'
$psql -d hand -f /repository/hand/dump
tar -C hand/data -xzf /repository/hand/tar
pg_ctl stop --mode immediate --pgdata hand/pg
rm -r hand
"""


def test_a_gigabyte_is_saved_and_back_in_minutes(stack: Checkout, site: Site, credential: str) -> None:
    """Beside what people type, ``pg_dump > backup.sql`` and ``tar -cz``, in the same container; figures with ``-rP``.

    A plain copy is neither compressed nor encrypted, and knows nothing of what it copied before (docs/decisions/backup.md).
    """
    docker, container = stack.docker, "skyvern-dev-backup"
    sql(stack, BULK)
    write = "for i in $(seq {}); do head -c 1000000 /dev/urandom > $(printf '{}/%03d' $i); done"
    as_server = ("exec", "skyvern-dev-server", "sh", "-c")
    docker.run(*as_server, f"mkdir /data/downloads/bulk && {write.format(700, '/data/downloads/bulk')}", timeout_seconds=300)

    def seconds(*command: str) -> float:
        began = time.monotonic()
        docker.run("exec", container, *command, timeout_seconds=900)
        return time.monotonic() - began

    def by_hand(dump: str, tar: str) -> float:
        script = f"mkdir -p /repository/hand && cd /repository/hand && pg_dump {dump} > dump && tar -C /data {tar} tar . && sync"
        return seconds("sh", "-c", script)

    plain, typed = by_hand("-Fc -Z0", "-cf"), by_hand("--no-owner --no-privileges", "-czf")
    typed_back = seconds("sh", "-c", BACK_BY_HAND)
    docker.run("exec", container, "rm", "-r", "/repository/hand")
    most: list[float] = []
    with watched(lambda: memory_in_use(docker, container) / (1 << 20), max, most):
        first = seconds("skyvern-backup", "now")
    # Rows that lie together, as those of a day do; one in a hundred everywhere would be in each block, and 15 % more (measured).
    sql(stack, "UPDATE artifacts SET uri = reverse(uri) WHERE artifact_type = 'bulk' AND substr(artifact_id, 3)::int > 297000")
    docker.run(*as_server, write.format(7, "/data/downloads/bulk"))
    second = seconds("skyvern-backup", "now")
    drill = seconds("skyvern-backup", "drill")
    # The first one has gone: of one hour, the newest is kept.
    newest = json.loads(docker.run("exec", container, "skyvern-backup", "list"))[0]
    began = time.monotonic()
    with client_of(site, pause=0.5) as answers:
        said = ops(stack, "restore", "--yes")
    back = time.monotonic() - began
    waited = max(took for _, took in answers)
    print(f"{newest['bytes'] >> 20} MiB: pg_dump and tar -cz {typed:.1f} s, back {typed_back:.1f} s, a plain copy {plain:.1f} s")
    print(f"first set {first:.1f} s, after 1 % of change {second:.1f} s and {newest['added'] / newest['bytes']:.1%} more")
    print(f"restored and compared by a drill {drill:.1f} s")
    print(f"memory {most[0]:.0f} MiB; restore {back:.0f} s, no answer for {waited:.0f} s; {said}")
    assert first < typed / 0.9
    # With a comparison of every row and file, which nobody types.
    assert drill < typed_back / 0.9
    assert newest["bytes"] > 900 << 20
    assert newest["added"] < 0.05 * newest["bytes"]
    assert docker.inspect(container)["State"]["OOMKilled"] is False
    assert most[0] < 400
    assert back < 180
