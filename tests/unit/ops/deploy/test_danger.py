"""ops.deploy.danger with doubles: before which updates a set is made, and when it is refused."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from components.host import images
from components.settings import parse
from ops.backups import container
from ops.clients.docker import Docker
from ops.deploy import danger
from ops.deploy.repair import Recorded
from ops.errors import UserError
from ops.stack.stack import Stack
from tests.support.daemon import Daemon

STACK = Stack("dev")
SETTINGS = parse({}, file="x")
NOW = images.references("official")["postgres"]


def volume(name: str, *, protected: bool) -> Recorded:
    return Recorded("volume", f"skyvern-dev-{name}", f"skyvern-dev-{name}", protected)


PROTECTED = [volume("postgres", protected=True), volume("postgres-socket", protected=False)]


class Host(Daemon):
    """One with PostgreSQL of an image, with a backup or without."""

    def inspect(self, name: str) -> dict[str, Any]:
        return {"Config": {"Image": self.answers["image"]}}


def host(answers: Mapping[str, Any] = MappingProxyType({}), *, image: str = NOW, backup: bool = True) -> Host:
    there = {"image": image, "^skyvern-dev-postgres$": "id", "^skyvern-dev-backup$": "id" if backup else ""}
    return Host(answers={**there, "volume ls": "skyvern-dev-postgres\nx", **answers})


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sets that were made."""
    sets: list[str] = []

    def make(stack: Stack, docker: Docker) -> str:
        sets.append("set")
        return "set 20261129T000000Z: 97 tables"

    monkeypatch.setattr(container, "make_set", make)
    return sets


def test_most_updates_need_no_set(made: list[str]) -> None:
    danger.take_set(STACK, host(), SETTINGS, PROTECTED, print)
    danger.take_set(STACK, Host(answers={"image": "other"}), SETTINGS, PROTECTED, print)
    assert made == []


def test_another_image_of_postgresql_needs_one(made: list[str]) -> None:
    said: list[str] = []
    danger.take_set(STACK, host(image="postgres:old"), SETTINGS, PROTECTED, said.append)
    assert made == ["set"]
    assert said[0] == "PostgreSQL's image changes; a set of the backup is made first"


def test_without_a_backup_the_image_changes_all_the_same(made: list[str]) -> None:
    said: list[str] = []
    danger.take_set(STACK, host(image="postgres:old", backup=False), SETTINGS, PROTECTED, said.append)
    assert made == []
    assert said[-1] == "no set of a backup is made: the stack has none (docs/backup.md)"


def test_a_data_volume_without_protection_needs_one(made: list[str]) -> None:
    open_to_removal = [volume("har", protected=False), volume("videos", protected=True)]
    danger.take_set(STACK, host(), SETTINGS, open_to_removal, print)
    assert made == ["set"]
    with pytest.raises(UserError, match=r"^stack dev: nothing was changed: skyvern-dev-har may be removed.*has no backup; write"):
        danger.take_set(STACK, host(backup=False), SETTINGS, open_to_removal, print)


def test_a_set_that_cannot_be_made_ends_it(made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(stack: Stack, docker: Docker) -> str:
        raise UserError("backup of stack dev: /mnt/d/x is full")

    monkeypatch.setattr(container, "make_set", full)
    with pytest.raises(UserError, match=r"PostgreSQL's image changes, and no set can be made before: .*full$"):
        danger.take_set(STACK, host(image="postgres:old"), SETTINGS, PROTECTED, print)


SERVER = "postgres (PostgreSQL) 18.6 (Debian 18.6-1)\n"


@pytest.mark.parametrize(
    ("major", "way"),
    [
        ("17", "run bin/ops upgrade-database -s dev, which tries 18 on a copy first, or check out the version that it ran"),
        # There is no way back but the version that it ran.
        ("19", "check out the version that it ran"),
    ],
)
@pytest.mark.parametrize("container", [True, False])
def test_another_major_of_postgresql_is_refused_before_anything_is_touched(
    made: list[str], container: bool, major: str, way: str
) -> None:
    """Its server does not start on these files, and the stack was down; also where the container has gone."""
    gone = {} if container else {"^skyvern-dev-postgres$": ""}
    there = host({"PG_VERSION": f"{major}\n{SERVER}", **gone}, image="postgres:old")
    with pytest.raises(UserError) as refused:
        danger.take_set(STACK, there, SETTINGS, PROTECTED, print)
    assert str(refused.value) == (
        f"stack dev: nothing was changed: its data is of PostgreSQL {major}, and 18 of this checkout does not start on that; "
        f"{way} (docs/upkeep.md)"
    )
    assert made == []
    (looked,) = (one for one in there.asked if "PG_VERSION" in one)
    assert "--network=none" in looked
    assert "--volume=skyvern-dev-postgres:/var/lib/postgresql/data:ro" in looked


ELSEWHERE = parse(
    {"database": {"url": "postgresql://boss:correct-horse-battery@db.example.com/x?sslmode=verify-full"}},
    file="x",
    secret_keys=frozenset({"database.url"}),
)


class Roles(Daemon):
    """One whose roles container has such variables."""

    def inspect(self, name: str) -> dict[str, Any]:
        assert name == "skyvern-dev-roles"
        return {"Config": {"Env": self.answers["env"]}}


def roles(host: str, *, volume: bool) -> Roles:
    listed = "skyvern-dev-postgres\nx" if volume else "x"
    return Roles(answers={"env": ["A=b", f"PGHOST={host}"], "^skyvern-dev-roles$": "id", "volume ls": listed})


def test_data_in_a_volume_does_not_stay_behind() -> None:
    """The stack would begin with an empty database, and Pulumi's refusal to delete a protected volume names no way on."""
    with pytest.raises(UserError) as refused:
        danger.refuse_other_place(STACK, roles("/var/run/postgresql", volume=True), ELSEWHERE, PROTECTED)
    assert str(refused.value) == (
        "stack dev: nothing was changed: its data is in the volume skyvern-dev-postgres, and database.url of Pulumi.dev.yaml "
        "names a server elsewhere; bring it there (bin/ops backup now -s dev; bin/ops restore -s dev), give up the volume "
        "(docs/database.md), and run this again"
    )
    given_up = [volume("postgres", protected=False)]
    danger.refuse_other_place(STACK, roles("/var/run/postgresql", volume=True), ELSEWHERE, given_up)
    danger.refuse_other_place(STACK, roles("db.example.com", volume=False), ELSEWHERE, [])


def test_data_on_a_server_does_not_stay_behind() -> None:
    with pytest.raises(UserError) as refused:
        danger.refuse_other_place(STACK, roles("db.example.com", volume=False), SETTINGS, [])
    assert str(refused.value) == (
        "stack dev: nothing was changed: its data is on the server db.example.com, and Pulumi.dev.yaml has no database.url; "
        "bring it here (bin/ops backup now -s dev; bin/ops restore -s dev), and run this again, or write database.url"
    )
    # After the restore, which makes the volume; a stack of its own; and none yet.
    danger.refuse_other_place(STACK, roles("db.example.com", volume=True), SETTINGS, [])
    danger.refuse_other_place(STACK, roles("/var/run/postgresql", volume=False), SETTINGS, [])
    danger.refuse_other_place(STACK, Roles(answers={"volume ls": "x"}), SETTINGS, [])


def test_a_postgresql_elsewhere_is_not_looked_for_in_a_volume(made: list[str]) -> None:
    there = host({"PG_VERSION": UserError("asked")}, image="postgres:old")
    danger.refuse(STACK, there, ELSEWHERE, [])
    danger.take_set(STACK, there, ELSEWHERE, [], print)
    assert made == []


def test_the_major_of_an_image() -> None:
    assert danger.major_of_image(host({"--entrypoint=postgres": SERVER}), "postgres:18") == "18"
    with pytest.raises(UserError, match=r"^image x: does not say which PostgreSQL is in it; build it again with script/up$"):
        danger.major_of_image(host({"--entrypoint=postgres": "?"}), "x")


@pytest.mark.parametrize(
    "there",
    [
        # The same major; an empty volume; none yet; and the same image, which costs no look.
        host({"PG_VERSION": f"18\n{SERVER}"}, image="postgres:old"),
        host({"PG_VERSION": ""}, image="postgres:old"),
        host({"^skyvern-dev-postgres$": "", "volume ls": "x", "PG_VERSION": UserError("asked")}),
        host({"PG_VERSION": UserError("asked")}),
    ],
)
def test_the_same_major_goes_on(there: Host) -> None:
    danger.refuse(STACK, there, SETTINGS, PROTECTED)
