"""ops.backups.external with doubles: what is asked of a PostgreSQL elsewhere, and what a person reads when it refuses."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from components.settings import parse
from ops.backups import exchange, external
from ops.backups.external import Server
from ops.errors import UserError
from ops.stack import secrets
from ops.stack.stack import Stack
from tests.support.daemon import Daemon, daemon

STAMP = "20261129-130000"
PASSWORD = "correct-horse-battery"
URL = f"postgresql://boss:{PASSWORD}@db.example.com:6432/defaultdb?sslmode=verify-full"
SETTINGS = parse({"database": {"url": URL}}, file="x", secret_keys=frozenset({"database.url"}))


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """One whose state has the secrets."""
    found = {"database": SecretStr("r" * 48), "organization": SecretStr("23456789012345678")}
    monkeypatch.setattr(secrets, "generated", lambda stack, *names: {name: found[name] for name in names})
    monkeypatch.setattr(secrets, "given", lambda stack, key: SecretStr(URL))
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    return Stack("dev", root=tmp_path)


def opened(stack: Stack, docker: Daemon) -> Server:
    found = external.server(stack, docker, SETTINGS)
    assert found is not None
    return found


def test_a_stack_with_its_own_has_none(stack: Stack) -> None:
    host = daemon()
    assert external.server(stack, host, parse({}, file="x")) is None
    external.check(None, print)
    assert host.asked == []


def test_it_is_asked_as_the_roles_container_asks(stack: Stack) -> None:
    there = opened(stack, daemon())
    assert there.database == "skyvern_dev"
    assert {
        "PGHOST": "db.example.com",
        "PGPORT": "6432",
        "PGSSLMODE": "verify-full",
        "PGUSER": "boss",
        "PGPASSWORD": PASSWORD,
        "PGDATABASE": "defaultdb",
        "ROLE_MARK": "skyvern-dev, o_123456789012345678",
    }.items() <= there.variables.items()
    assert PASSWORD not in repr(there)


def test_no_secret_is_an_argument_and_nothing_of_the_host_is_mounted(stack: Stack) -> None:
    """The double refuses a value of a variable in an argument."""
    host = daemon()
    said: list[str] = []
    external.check(opened(stack, host), said.append)
    (line,) = host.asked
    assert said == ["the server of database.url can be used"]
    assert {"--rm", "--read-only", "--cap-drop=ALL", "--user=10001:10001"} <= set(line.split())
    assert "--volume" not in line


def test_a_refusal_is_one_line_before_anything_changes(stack: Stack) -> None:
    refuses = daemon(
        **{"run ": UserError("docker: exit 1: x | database.url: the server is PostgreSQL 16, and this version needs 17")}
    )
    with pytest.raises(UserError) as refused:
        external.check(opened(stack, refuses), print)
    assert str(refused.value) == (
        "nothing was changed: Pulumi.dev.yaml: database.url: the server is PostgreSQL 16, and this version needs 17"
    )


def test_a_url_that_only_the_engine_can_read_is_checked_when_it_is_opened(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "given", lambda stack, key: SecretStr("mysql://x"))
    with pytest.raises(UserError, match=r"^Pulumi\.dev\.yaml: database\.url: is not the URL of one PostgreSQL server"):
        external.server(stack, daemon(), SETTINGS)


# --- A restore ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Databases(Server):
    """A server whose databases change as PostgreSQL would change them. busy: how often a connection is in the way."""

    names: set[str] = field(default_factory=set)
    busy: list[str] = field(default_factory=list)

    def run(
        self, script: str, variables: Mapping[str, str] = {}, flags: tuple[str, ...] = (), timeout_seconds: float = 120
    ) -> str:
        if script == external._RENAME:
            if self.busy:
                raise UserError(f'psql: ERROR:  database "{self.busy.pop()}" is being accessed by other users')
            assert {self.database, variables["COMES"]} <= self.names
            self.names.remove(variables["COMES"])
            self.names.add(variables["GOES"])
        elif script == external._DROP:
            self.names.difference_update(variables.values())
        elif script == external._FILL:
            self.names.update({self.database, variables["NEW"]})
        return "\n".join(self.names)


def databases(*names: str, busy: int = 0) -> Databases:
    there: dict[str, Any] = {"stack": Stack("dev"), "docker": daemon(), "image": "x", "variables": {}, "database": "skyvern_dev"}
    return Databases(**there, names=set(names), busy=["skyvern_dev"] * busy)


NEW, OLD = f"skyvern_dev_new_{STAMP}", f"skyvern_dev_old_{STAMP}"


def test_a_restored_database_takes_its_place_and_gives_it_back() -> None:
    there = databases("skyvern_dev")
    external.fill(there, "socket", "r" * 48, STAMP)
    assert external.look(there, STAMP) == "new"
    external.put_in_place(there, STAMP)
    assert external.look(there, STAMP) == "old"
    # Again after an interruption.
    external.put_in_place(there, STAMP)
    assert there.names == {"skyvern_dev", OLD}
    external.take_back(there, STAMP)
    external.take_back(there, STAMP)
    assert there.names == {"skyvern_dev", NEW}
    external.remove(there, STAMP)
    assert there.names == {"skyvern_dev"}
    assert external.look(there, STAMP) == ""


def test_a_connection_in_the_way_is_waited_for() -> None:
    there = databases("skyvern_dev", NEW, busy=2)
    external._rename(there, comes=NEW, goes=OLD, pause=lambda seconds: None)
    assert there.names == {"skyvern_dev", OLD}
    stubborn = databases("skyvern_dev", NEW, busy=9)
    with pytest.raises(
        UserError, match=r"^the server of database.url: psql: ERROR:  database .* is being accessed by other users$"
    ):
        external._rename(stubborn, comes=NEW, goes=OLD, pause=lambda seconds: None)


@pytest.mark.parametrize(
    ("marks", "database", "state"),
    [
        ("new", "", "filled"),
        ("new", NEW, "filled"),
        ("old", OLD, "exchanged"),
        # Cut off between the folders and the database, on the way there or back.
        ("old", NEW, "torn"),
        ("new", OLD, "torn"),
    ],
)
def test_the_database_is_a_part_of_what_a_restore_left(marks: str, database: str, state: str) -> None:
    volume = {
        "Name": "skyvern-dev-har-x",
        "Driver": "local",
        "Options": None,
        "Mountpoint": "/var/lib/docker/volumes/skyvern-dev-har-x/_data",
        "Labels": {"skyvern.stamp": STAMP, "skyvern.set": "S", "skyvern.copy": "har"},
    }
    host = daemon(**{"volume ls": "a", "volume inspect": json.dumps([volume]), "run ": marks})
    (left,) = exchange.kept(host, Stack("dev"), "image", databases("skyvern_dev", *filter(None, [database])))
    assert left.state == state
