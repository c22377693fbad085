"""The backup of a stack: what it may read, where it may go, and that a stack without one is as it was."""

import fcntl
import os
import signal
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from components.host.backup import REPOSITORY_FOLDER, STATE_FOLDER
from components.host.firewall import Destination, destinations
from components.host.retention import RETENTION_SCRIPT
from components.host.volumes import SKYVERN_FOLDERS, folder_path
from components.settings import NoBackup, PathBackup, S3Backup, SftpBackup, parse
from tests.support import program
from tests.support.program import Program, Secret
from tests.support.waiting import wait_for

PATH = {"type": "path", "path": "/mnt/d/skyvern"}
BUCKET = {"type": "s3", "bucket": "acme", "access_key_id": "key", "secret_access_key": "sk-live-1234567890"}
SFTP = {
    "type": "sftp",
    "host": "nas.lan",
    "port": 2222,
    "user": "backup",
    "path": "skyvern",
    "known_host": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIabc",
    "private_key": "a line\n" * 30,
}


def run(backup: dict[str, Any]) -> Program:
    return program.run(parse({"backup": backup}, file="x", secret_keys=frozenset({"backup"})))


@pytest.fixture(scope="module")
def on_disk() -> Program:
    return run(PATH)


def test_it_reads_all_data_and_writes_none(on_disk: Program) -> None:
    mounts = {mount["containerPath"]: mount for mount in on_disk.container("backup").inputs["volumes"]}
    for folder in SKYVERN_FOLDERS:
        assert mounts.pop(folder_path(folder))["readOnly"] is True, folder
    assert mounts.pop(REPOSITORY_FOLDER)["hostPath"] == "/mnt/d/skyvern"
    assert mounts.pop(STATE_FOLDER)["volumeName"] == "skyvern-dev-backup"
    # PostgreSQL's socket, and not its data.
    assert {mount["volumeName"] for mount in mounts.values()} == {"skyvern-dev-postgres-socket"}


def test_it_takes_what_is_idle_and_gives_way_to_runs(on_disk: Program) -> None:
    """With a limit, a set waited for itself. How many threads restic has must not follow the machine, because its memory does."""
    inputs = on_disk.container("backup").inputs
    assert ("cpus" in inputs, inputs["cpuShares"]) == (False, 256)
    assert on_disk.environment("backup")["GOMAXPROCS"] == "2"
    assert "cpuShares" not in on_disk.container("server").inputs


def test_a_folder_needs_no_network(on_disk: Program) -> None:
    assert on_disk.container("backup").inputs["networkMode"] == "none"
    assert "skyvern-dev-backup" not in {one.inputs["name"] for one in on_disk.of_type("docker:index/network:Network")}


@pytest.mark.parametrize(
    ("backup", "repository"), [(BUCKET, "s3:https://s3.us-east-1.amazonaws.com/acme"), (SFTP, "sftp:backup@nas.lan:skyvern")]
)
def test_another_machine_is_reached_by_a_network_without_anyone_else(backup: dict[str, Any], repository: str) -> None:
    run_ = run(backup)
    assert run_.environment("backup")["RESTIC_REPOSITORY"] == repository
    on_it = {
        one.inputs["hostname"]
        for one in run_.of_type("docker:index/container:Container")
        for network in one.inputs.get("networksAdvanced", [])
        if network["name"] == "skyvern-dev-backup"
    }
    assert on_it == {"backup"}
    assert len(run_.container("backup").inputs["networksAdvanced"]) == 1


def test_the_firewall_lets_it_reach_what_is_named_and_nothing_private_besides() -> None:
    def opened(backup: dict[str, Any]) -> list[Destination]:
        return destinations(parse({"backup": backup}, file="x", secret_keys=frozenset({"backup"})))

    assert opened(PATH) == []
    assert opened(BUCKET) == []
    assert opened(SFTP) == [Destination(network="backup", host="nas.lan", port=2222)]
    assert opened({**BUCKET, "endpoint": "http://10.0.0.3:9000"}) == [Destination(network="backup", host="10.0.0.3", port=9000)]
    # A public address needs no exception.
    assert opened({**SFTP, "host": "93.184.216.34"}) == []


def test_its_secrets_are_secret_and_its_key_is_protected(on_disk: Program) -> None:
    secret = {key for key, value in on_disk.environment("backup").items() if isinstance(value, Secret)}
    assert secret == {"PGPASSWORD", "RESTIC_PASSWORD"}
    assert {key for key, value in run(BUCKET).environment("backup").items() if isinstance(value, Secret)} == {
        *secret,
        "AWS_SECRET_ACCESS_KEY",
    }
    assert {key for key, value in run(SFTP).environment("backup").items() if isinstance(value, Secret)} == {*secret, "SFTP_KEY"}
    (key,) = (one for one in on_disk.registrations if one.name.endswith("-secrets-backup"))
    assert key.protect
    assert "keepers" not in key.inputs


def test_a_dump_is_made_by_the_servers_own_build(on_disk: Program) -> None:
    """Another minor of pg_dump writes what the server's own does not read (parts of 17.12 and 18.6)."""
    dockerfile = Path("images/backup/Dockerfile").read_text()
    assert "\nFROM ${POSTGRES}\n" in dockerfile


def test_without_the_section_nothing_is_different() -> None:
    without, none = program.run(parse({}, file="x")), program.run(parse({"backup": {"type": "none"}}, file="x"))

    def sent(of: Program) -> list[tuple[str, str]]:
        return sorted((one.urn, str(one.inputs)) for one in of.registrations)

    assert sent(without) == sent(none)
    assert not [one for one in without.registrations if "backup" in one.name]
    assert without.container("retention").inputs["command"] == [RETENTION_SCRIPT]


def test_retention_waits_for_a_set_and_is_healthy_meanwhile(on_disk: Program, tmp_path: Path) -> None:
    """The set holds a shared lock on each folder, and whoever removes files takes it alone."""
    (script,) = on_disk.container("retention").inputs["command"]
    assert script.endswith(RETENTION_SCRIPT)
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "old").write_text("x")
    subprocess.run(["touch", "-d", "2020-01-01", folder / "old"], check=True)
    environment = {
        "PATH": "/usr/bin:/bin",
        "RETENTION": f"{folder}=7",
        "KEPT": "/none",
        "JUMP_DAYS": "2",
        "TMPDIR": str(tmp_path),
    }
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    with subprocess.Popen(["bash", "-c", script], env=environment, start_new_session=True) as retention:
        try:
            wait_for((tmp_path / "succeeded").exists)
            with pytest.raises(subprocess.TimeoutExpired):
                retention.wait(2)
            assert (folder / "old").exists()
            os.close(lock)
            wait_for(lambda: not (folder / "old").exists())
            with pytest.raises(subprocess.TimeoutExpired):
                retention.wait(2)
        finally:
            os.killpg(retention.pid, signal.SIGTERM)


def test_the_keep_rules_are_restics() -> None:
    settings = PathBackup(type="path", path="/srv/x", keep_hourly=0, keep_monthly=6)
    assert list(settings.keep_rules) == ["--keep-last", "1", "--keep-daily", "14", "--keep-weekly", "8", "--keep-monthly", "6"]


def test_what_is_locked_is_kept_longer() -> None:
    """restic's forget fails at what the bucket does not let go, and prune and check come after it."""
    plain = S3Backup.model_validate(BUCKET)
    locked = S3Backup.model_validate({**BUCKET, "locked_days": 30})
    assert locked.keep_rules == (*plain.keep_rules, "--keep-within", "31d")
    with pytest.raises(ValidationError, match=r"remove backup\.folder"):
        S3Backup.model_validate({**BUCKET, "folder": "prod", "locked_days": 30})


def test_where_a_repository_is() -> None:
    bucket = S3Backup.model_validate({**BUCKET, "endpoint": "http://10.0.0.3:9000/", "folder": "prod"})
    assert bucket.repository == "s3:http://10.0.0.3:9000/acme/prod"
    assert SftpBackup.model_validate(SFTP).known_hosts == "[nas.lan]:2222 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIabc"


def test_drills_are_off_and_unrecorded_unless_the_stack_file_says_so(on_disk: Program) -> None:
    """Nothing of it on the container of a stack that does not ask for it: it would be replaced."""

    def noted(run_: Program) -> tuple[Any, Any, Any]:
        (component,) = run_.of_type("skyvern:host:Backup")
        days = run_.environment("backup").get("DRILL_EVERY_DAYS")
        return days, component.inputs.get("drilled"), run_.outputs.get("backup_drilled")

    assert noted(on_disk) == (None, None, None)
    asked = run({**PATH, "drill_every_days": 7, "drilled": "2026-11-28"})
    assert noted(asked) == ("7", "2026-11-28", "2026-11-28")


@pytest.mark.parametrize("written", ["2026-11-28", "2026-11-28T00:00:00Z", date(2026, 11, 28)])
def test_a_day_without_quotation_marks_is_the_same_day(written: Any) -> None:
    settings = parse({"backup": {**PATH, "drilled": written}}, file="x").backup
    assert not isinstance(settings, NoBackup)
    assert settings.drilled == "2026-11-28"
