"""What is in upstream's stack, and how it gets a stack's identity: the scripts themselves, on folders of the test."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from components.settings import parse
from ops.backups import copies, drill, upstream
from ops.backups.copies import Copy, Record, Source
from ops.backups.preflight import Place
from ops.backups.upstream import Upstream
from ops.clients import compose
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.stack.stack import Stack
from tests.support import upstream as given
from tests.support.daemon import Daemon, daemon

OLD, NEW = "o_429000000000000001", "o_112345678901234567"


def old_stack(documents: list[dict[str, Any]] | None = None, /, **answers: Any) -> Upstream:
    there = daemon(**{"ps --all": "a", "inspect": json.dumps(documents or given.stack()), **answers})
    return upstream.of(there, compose.find(there, "acme"))


def asked(old: Upstream) -> list[str]:
    assert isinstance(old.docker, Daemon)
    return old.docker.asked


def copy_of(docker: Docker) -> Copy:
    place = Place(variables={}, flags=())
    source = Source(Stack("dev"), docker, parse({}, file="x"), place, "the superuser's", "the role's one")
    record = Record(
        name="acme", at=datetime(2026, 1, 1, tzinfo=UTC), postgres="14.1", schema="x", database_bytes=1, tables={}, folders={}
    )
    return Copy(source, "drill", "20261128-213550", record)


# --- The old stack --------------------------------------------------------------------------------------------------------


def test_server_and_database_are_known_by_the_database_address() -> None:
    old = old_stack()
    assert (old.server.service, old.database.service, old.user, old.name) == ("skyvern", "postgres", "skyvern", "skyvern")
    assert "old-secret-pass" not in repr(replace(old, docker=Docker("unix:///x")))


@pytest.mark.parametrize(
    ("address", "read"),
    [
        ("postgresql+psycopg://skyvern:p#a/s?s[1]@postgres:5432/skyvern", ("skyvern", "p#a/s?s[1]", "skyvern")),
        ("postgresql+psycopg://skyvern:a:b%40c%2Fd@postgres/skyvern?sslmode=disable", ("skyvern", "a:b@c/d", "skyvern")),
        ("postgresql+psycopg://sky%40vern@postgres:5432/my%20base", ("sky@vern", "", "my base")),
        ("postgresql://postgres", ("skyvern", "", "skyvern")),
    ],
)
def test_the_database_address_is_read_as_sqlalchemy_reads_it(address: str, read: tuple[str, str, str]) -> None:
    """Skyvern ran with such passwords, and the take-over did not."""
    database, server = given.stack()[:2]
    server["Config"]["Env"] = [f"DATABASE_STRING={address}"]
    old = old_stack([database, server])
    assert ((old.user, old.password, old.name), old.database.service) == (read, "postgres")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "skyvern:a-secret@postgres/skyvern",
        "postgresql://skyvern:a-secret@postgres:port/skyvern",
        "postgresql://skyvern:an@a-secret@postgres/skyvern",
    ],
)
def test_a_database_address_that_cannot_be_read_is_one_line_without_it(address: str) -> None:
    database, server = given.stack()[:2]
    server["Config"]["Env"] = [f"DATABASE_STRING={address}"]
    with pytest.raises(UserError, match=r"^compose project acme: DATABASE_STRING of acme-skyvern-1: is not an address") as failed:
        old_stack([database, server])
    assert "a-secret" not in str(failed.value)


def test_a_project_that_is_not_skyverns_is_refused() -> None:
    with pytest.raises(UserError, match="compose project acme: none of its containers has a DATABASE_STRING"):
        old_stack([given.document("acme", "web")])


def test_a_database_elsewhere_is_refused() -> None:
    with pytest.raises(UserError, match=r"its database is at db\.example\.com, which is none of its containers"):
        old_stack(given.stack(database="db.example.com"))


def test_folders_are_found_by_the_servers_own_paths() -> None:
    assert old_stack().sources() == {name: (f"/srv/acme/{name}", "") for name in given.FOLDERS}
    documents = given.stack(environment=["VIDEO_PATH=/app/films/raw"])
    documents[1]["Mounts"].append({"Type": "volume", "Name": "films", "Destination": "/app/films"})
    assert old_stack(documents).sources()["videos"] == ("films", "raw")


def test_a_question_changes_nothing_and_its_password_is_no_argument() -> None:
    old = old_stack()
    old.sql("SELECT 1", organization=OLD)
    line = asked(old)[-1]
    assert "--env=PGOPTIONS=-c default_transaction_read_only=on" in line
    assert "old-secret-pass" not in line


def test_a_database_without_skyverns_tables_is_refused() -> None:
    old = old_stack(exec='{"a": 1, "bytes": 2}')
    with pytest.raises(UserError, match="compose project acme: its database skyvern has no tables of Skyvern"):
        upstream.contents(old, "image")


def test_a_database_that_does_not_answer_is_named() -> None:
    old = old_stack(exec=UserError("docker: exit 2: no such user"))
    with pytest.raises(UserError, match=r"its database \(acme-postgres-1\) does not answer: docker: exit 2: no such user"):
        upstream.contents(old, "image")


def test_the_dump_is_made_by_the_old_servers_binary(monkeypatch: pytest.MonkeyPatch) -> None:
    old = old_stack()
    piped: list[tuple[Mapping[str, str], str, str]] = []
    monkeypatch.setattr(
        Daemon, "pipe", lambda self, secrets, source, target, **more: piped.append((secrets, " ".join(source), " ".join(target)))
    )
    upstream.copy_database(old, copy_of(old.docker))
    ((secrets, source, target),) = piped
    assert "acme-postgres-1 sh -c" in source
    assert "pg_dump" in source
    assert "--single-transaction" in target
    assert "skyvern-dev-drill-postgres pg_restore" in target
    assert not [value for value in secrets.values() if value in source + target]


def test_rows_that_did_not_arrive_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    old = old_stack(exec='{"workflows": 3, "steps": 2}')
    copy = copy_of(old.docker)
    monkeypatch.setattr(Copy, "sql", lambda self, script, **more: '{"workflows": 3, "steps": 2, "alembic_version": 1}')
    assert upstream.compare_tables(old, copy) == 6
    monkeypatch.setattr(Copy, "sql", lambda self, script, **more: '{"workflows": 2}')
    with pytest.raises(UserError, match="not everything has arrived: workflows: 3 rows, copied 2; steps: 2 rows, copied 0"):
        upstream.compare_tables(old, copy)


# --- The stack's identity -------------------------------------------------------------------------------------------------


def test_the_longer_address_is_replaced_first() -> None:
    documents = given.stack(environment=["ENV=production", "ARTIFACT_STORAGE_PATH=/srv/files"])
    script = upstream.replacement(old_stack(documents), OLD, NEW)
    places = [
        script.index(f"''{path}''") for path in ("/srv/files/downloads/production/", "/srv/files/production/", "/srv/files/")
    ]
    assert places == sorted(places)
    assert "''/data/artifacts/selfhosted/''" in script
    assert f"''{OLD}'', ''{NEW}''" in script


@pytest.mark.parametrize("name", ["it's", "100%", "a\\b"])
def test_a_name_that_would_be_read_as_sql_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="only letters, digits and"):
        upstream.replacement(old_stack(given.stack(environment=[f"ENV={name}"])), OLD, NEW)


def run(script: str, root: Path, *arguments: str) -> None:
    """A script with the folders of the test; chown, which is root's, counts its calls."""
    programs = root / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "chown").write_text('#!/bin/sh\nprintf "%s\\n" "$*" >> "$CHOWNED"\n')
    (programs / "chown").chmod(0o755)
    text = script.replace("/tmp/", f"{root}/").replace(" /data", f" {root}/data").replace('"/data', f'"{root}/data')  # noqa: S108
    text = text.replace("=/data", f"={root}/data").replace("/old/", f"{root}/old/")
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "CHOWNED": str(root / "chowned")}
    subprocess.run(["bash", "-c", text, "script", *arguments], env=environment, check=True)


def write(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


def paths(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_the_second_copy_brings_what_has_come_and_takes_what_has_gone(tmp_path: Path) -> None:
    write(tmp_path, "old/artifacts/a/1", "old/artifacts/b 2", "old/browser-sessions/inner/p")
    for folder in ("artifacts", "browser_sessions", "har"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    run(upstream._COPY, tmp_path, "no", "artifacts", "browser-sessions/inner", "har")
    assert paths(tmp_path / "data") == {"artifacts/a/1", "artifacts/b 2", "browser_sessions/p"}
    (tmp_path / "old/artifacts/a/1").unlink()
    (tmp_path / "old/artifacts/a").rmdir()
    write(tmp_path, "old/artifacts/c")
    run(upstream._COPY, tmp_path, "yes", "artifacts", "browser-sessions/inner", "har")
    assert paths(tmp_path / "data") == {"artifacts/b 2", "artifacts/c", "browser_sessions/p"}
    # Nothing of the old one was touched.
    assert paths(tmp_path / "old") == {"artifacts/b 2", "artifacts/c", "browser-sessions/inner/p"}


def test_folders_get_the_stacks_names_and_what_was_there_is_kept(tmp_path: Path) -> None:
    write(
        tmp_path / "data",
        f"artifacts/production/{OLD}/workflow_runs/1",
        f"artifacts/downloads/production/{OLD}/wr_1/보고서.pdf",
        f"artifacts/{OLD}/tsk/2",
        # Of a time when ENV was already the stack's.
        f"artifacts/selfhosted/{OLD}/workflow_runs/3",
        f"browser_sessions/{OLD}/wpid_1/Default/Cookies",
        f"browser_sessions/{OLD}/{OLD}x/4",
        "credential_vault/item.bin",
    )
    run(
        upstream._NAMES,
        tmp_path,
        "production",
        OLD,
        NEW,
        "selfhosted",
        "10001",
        "artifacts",
        "browser-sessions",
        "credential-vault",
    )
    assert paths(tmp_path / "data") == {
        f"artifacts/selfhosted/{NEW}/workflow_runs/1",
        f"artifacts/selfhosted/{NEW}/workflow_runs/3",
        f"artifacts/downloads/selfhosted/{NEW}/wr_1/보고서.pdf",
        f"artifacts/{NEW}/tsk/2",
        f"browser_sessions/{NEW}/wpid_1/Default/Cookies",
        f"browser_sessions/{NEW}/{OLD}x/4",
        "credential_vault/item.bin",
    }
    assert (tmp_path / "data/artifacts").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "data/credential_vault/item.bin").stat().st_mode & 0o077 == 0
    assert len((tmp_path / "chowned").read_text().splitlines()) == 3


def test_a_folder_that_has_the_stacks_name_already_is_left_as_it_is(tmp_path: Path) -> None:
    """Taken over from what was a stack of this project: nothing is called otherwise, and nothing may be lost."""
    there = {f"artifacts/selfhosted/{NEW}/workflow_runs/1", f"browser_sessions/{NEW}/wpid_1/Default/Cookies"}
    write(tmp_path / "data", *there)
    run(upstream._NAMES, tmp_path, "selfhosted", NEW, NEW, "selfhosted", "10001", "artifacts", "browser-sessions")
    assert paths(tmp_path / "data") == there


def test_without_anything_to_replace_only_the_organisations_domain_is_set() -> None:
    script = upstream.replacement(old_stack(given.stack(environment=["ENV=selfhosted"])), NEW, NEW)
    assert "replace(" not in script
    assert f"WHERE organization_id = '{NEW}'" in script


@pytest.mark.parametrize("kept", [True, False])
def test_the_vault_gets_the_stacks_key(kept: bool, tmp_path: Path) -> None:
    from cryptography.fernet import Fernet  # of the server's image, not a dependency of ours

    old, new = Fernet.generate_key(), Fernet.generate_key()
    (tmp_path / "creditem_1.bin").write_bytes(Fernet(old).encrypt("비밀".encode()))
    (tmp_path / "creditem_2.bin").write_bytes(Fernet(Fernet.generate_key()).encrypt(b"nobody's"))
    if kept:
        (tmp_path / ".fernet_key").write_bytes(old + b"\n")
    environment = {"LOCAL_CREDENTIAL_VAULT_KEY": new.decode(), "OLD_VAULT_KEY": "" if kept else old.decode()}
    done = subprocess.run(
        [sys.executable, "-c", upstream._VAULT, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {"opened": 1, "closed": ["creditem_2"]}
    assert Fernet(new).decrypt((tmp_path / "creditem_1.bin").read_bytes()).decode() == "비밀"
    assert paths(tmp_path) == {"creditem_1.bin", "creditem_2.bin"}


def test_a_vault_that_does_not_open_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    old = old_stack(**{"run ": '{"opened": 0, "closed": ["creditem_1"]}'})
    monkeypatch.setattr(drill, "server_environment", lambda copy: {"LOCAL_CREDENTIAL_VAULT_KEY": "the stack's key"})
    with pytest.raises(UserError, match="opens none of its 1 credentials"):
        upstream._encrypt_vault(old, copy_of(old.docker), print)


def test_what_runs_for_a_copy_has_no_network_and_writes_to_nothing_of_the_old_one() -> None:
    old = old_stack()
    upstream.copy_files(old, copy_of(old.docker), final=True)
    line = asked(old)[-1]
    assert "--network=none" in line
    assert line.count(":ro ") == len(given.FOLDERS)
    # By which the next try removes it, if this one was killed: it holds the copy's volumes.
    assert "--label=skyvern.drill=dev" in line
    assert all(f"--volume=/srv/acme/{name}:/old/{name}:ro" in line for name in given.FOLDERS)


def test_runs_are_ended_with_the_reason_of_a_take_over(monkeypatch: pytest.MonkeyPatch) -> None:
    scripts: list[str] = []

    def sql(self: Copy, script: str) -> str:
        scripts.append(script)
        return "[]"

    monkeypatch.setattr(Copy, "sql", sql)
    copies.quiet(copy_of(daemon()), upstream.REASON)
    assert scripts[0].startswith(f"\\set reason '{upstream.REASON}'\n")
    # A quote would end it.
    assert "'" not in upstream.REASON + copies.RESTORED
