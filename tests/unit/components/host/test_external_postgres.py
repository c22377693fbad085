"""A stack whose PostgreSQL is elsewhere: who reaches it, by which password, and that nothing of it is left in the stack."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from components.host import external_postgres
from components.host.firewall import Destination, destinations
from components.host.network import PARTS
from components.host.postgres import AUTHORITY
from components.settings import Settings, certificates, parse
from lab.standins.edge.certificates import Authority
from tests.support import program
from tests.support.program import Program, Secret, plain

PASSWORD = "correct-horse-battery"
URL = f"postgresql://boss:{PASSWORD}@db.example.com:6432/defaultdb?sslmode=verify-full"
BACKUP = {"type": "path", "path": "/mnt/d/skyvern"}
PUBLIC = "/etc/ssl/certs/ca-certificates.crt"


def settings(**sections: Any) -> Settings:
    return parse({"database": {"url": URL}, **sections}, file="x", secret_keys=frozenset({"database.url"}))


@pytest.fixture(scope="module")
def small() -> Program:
    return program.run(settings())


@pytest.fixture(scope="module")
def whole() -> Program:
    return program.run(settings(monitor={"enabled": True}, backup=BACKUP))


def networks(run: Program, part: str) -> set[str]:
    return {one["name"].removeprefix("skyvern-dev-") for one in run.container(part).inputs.get("networksAdvanced", [])}


def test_nothing_of_a_postgresql_is_in_the_stack(small: Program) -> None:
    assert not [one for one in small.of_type("docker:index/container:Container") if one.inputs["hostname"] == "postgres"]
    volumes = {one.inputs["name"] for one in small.of_type("docker:index/volume:Volume")}
    assert "skyvern-dev-postgres" not in volumes
    assert "skyvern-dev-postgres-socket" not in volumes
    assert "skyvern-dev-har" in volumes
    assert "postgres" not in plain(small.outputs["containers"])
    assert plain(small.outputs["containers"])["roles"] == "skyvern-dev-roles"


def test_no_two_resources_have_one_name_on_the_way_in_and_out(small: Program) -> None:
    """The engine makes the new ones before it removes the old ones, and Docker refused the second "roles"."""
    own = program.run(Settings())
    names = {
        type_: [{one.inputs["name"]: one.urn for one in run.of_type(type_)} for run in (small, own)]
        for type_ in ("docker:index/container:Container", "docker:index/network:Network", "docker:index/volume:Volume")
    }
    for inside, outside in names.values():
        both = inside.keys() & outside.keys()
        assert both
        assert {name: inside[name] for name in both} == {name: outside[name] for name in both}


def test_each_client_has_its_own_way_out(small: Program, whole: Program) -> None:
    assert networks(small, "roles") == {"database"}
    assert networks(small, "server") == {"outgoing", "app", "browsing"}
    assert networks(whole, "monitor") == {"dashboard", "alerts"}
    assert networks(whole, "backup") == {"backup"}
    made = {one.inputs["name"].removeprefix("skyvern-dev-"): one.inputs["internal"] for one in _networks(whole)}
    assert "data" not in made
    assert {name for name, internal in made.items() if not internal} == {"alerts", "backup", "database", "edge", "outgoing"}
    # Without a monitor and a backup there is nothing for them.
    assert {"alerts", "backup"} & {one.inputs["name"].removeprefix("skyvern-dev-") for one in _networks(small)} == set()
    # Another place in the block would replace the networks of every stack.
    assert PARTS.index("database") == 13


def _networks(run: Program) -> list[Any]:
    return run.of_type("docker:index/network:Network")


def test_the_server_logs_in_as_the_stacks_role_and_checks_the_certificate(small: Program) -> None:
    address = small.environment("server")["DATABASE_STRING"]
    assert isinstance(address, Secret)
    parts = urlsplit(plain(address))
    assert (parts.scheme, parts.hostname, parts.port) == ("postgresql+psycopg", "db.example.com", 6432)
    assert (parts.username, parts.path) == ("skyvern_dev", "/skyvern_dev")
    assert parts.password == plain(small.environment("roles")["ROLE_PASSWORD"])
    options = parse_qs(parts.query)
    assert (options["sslmode"], options["sslrootcert"]) == (["verify-full"], [PUBLIC])
    # As with the stack's own: a server that is gone without a word is an error within half a minute.
    assert options["tcp_user_timeout"] == ["30000"]
    # A percent sign breaks Skyvern's migrations.
    assert "%" not in plain(address)


def test_only_the_roles_container_has_the_password_of_the_url(whole: Program) -> None:
    roles = whole.environment("roles")
    assert isinstance(roles["PGPASSWORD"], Secret)
    assert plain(roles["PGPASSWORD"]) == PASSWORD
    assert {key for key, value in roles.items() if isinstance(value, Secret)} == {
        "PGPASSWORD",
        "ROLE_PASSWORD",
        "MONITOR_PASSWORD",
    }
    assert roles["PGUSER"] == "boss"
    assert roles["PGDATABASE"] == "defaultdb"
    assert roles["ROLE_MARK"] == f"skyvern-dev, {plain(whole.outputs['organization_id'])}"
    for part in ("server", "monitor", "backup"):
        environment = whole.environment(part)
        assert PASSWORD not in {plain(value) for value in environment.values()}
    elsewhere = [one for one in whole.registrations if PASSWORD in str({**one.inputs, "envs": []})]
    assert elsewhere == []


def test_monitor_and_backup_check_the_certificate(whole: Program) -> None:
    backup, monitor = whole.environment("backup"), whole.environment("monitor")
    libpq = {"PGHOST": "db.example.com", "PGPORT": "6432", "PGSSLMODE": "verify-full", "PGSSLROOTCERT": PUBLIC}
    assert {key: backup[key] for key in libpq} == libpq
    assert (backup["PGDATABASE"], backup["PGUSER"]) == ("skyvern_dev", "skyvern_dev")
    words = dict(word.split("=", 1) for word in monitor["MONITOR_DATABASE"].split())
    assert words == {
        "host": "db.example.com",
        "port": "6432",
        "dbname": "skyvern_dev",
        "user": "skyvern_dev_monitor",
        "sslmode": "verify-full",
        "sslrootcert": PUBLIC,
    }
    mounted = {mount.get("volumeName") for part in ("backup", "monitor") for mount in whole.container(part).inputs["volumes"]}
    assert "skyvern-dev-postgres-socket" not in mounted


def test_certificates_of_the_stack_file_are_written_before_the_program_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "ROOT", tmp_path)
    Authority(tmp_path)
    given = parse(
        {"database": {"url": URL, "ca_file": "ca.pem"}, "monitor": {"enabled": True}, "backup": BACKUP},
        file="x",
        secret_keys=frozenset({"database.url"}),
    )
    run = program.run(given)
    for part, begins in (
        ("server", "skyvern-start"),
        ("monitor", "monitor-start"),
        ("backup", "skyvern-backup"),
        ("roles", "bash"),
    ):
        shell, _, script, _, written, *command = run.container(part).inputs["command"]
        assert shell == "sh"
        assert AUTHORITY in script
        assert written == given.database.certificates
        assert command[0] == begins
    assert f"sslrootcert={AUTHORITY}" in plain(run.environment("server")["DATABASE_STRING"])
    # Both: the company's for what the server asks, and the database's.
    (tmp_path / "company.pem").write_bytes((tmp_path / "ca.pem").read_bytes())
    both = program.run(
        parse(
            {"database": {"url": URL, "ca_file": "ca.pem"}, "host": {"ca_file": "company.pem"}},
            file="x",
            secret_keys=frozenset({"database.url"}),
        )
    )
    command = both.container("server").inputs["command"]
    assert command[-1] == "skyvern-start"
    assert command.index("with-database-authority") < command.index("with-certificates")


@pytest.mark.parametrize(("host", "opened"), [("10.1.2.3", True), ("db.example.com", True), ("203.0.113.7", False)])
def test_the_firewall_lets_the_clients_through_and_nobody_else(host: str, opened: bool) -> None:
    url = URL.replace("db.example.com", host)
    sections = {"database": {"url": url}, "monitor": {"enabled": True}, "backup": BACKUP}
    found = destinations(parse(sections, file="x", secret_keys=frozenset({"database.url"})))
    wanted = [Destination(network=part, host=host, port=6432) for part in ("alerts", "backup", "database", "outgoing")]
    assert found == (wanted if opened else [])
    if opened:
        alone = destinations(parse({"database": {"url": url}}, file="x", secret_keys=frozenset({"database.url"})))
        assert {one.network for one in alone} == {"database", "outgoing"}


@pytest.mark.parametrize(
    ("prefix", "name"),
    [("skyvern-dev", "skyvern_dev"), ("skyvern-Shop.eu", "skyvern_shop_eu"), (f"skyvern-{'x' * 90}", f"skyvern_{'x' * 32}")],
)
def test_names_are_those_that_postgresql_takes_without_quotes(prefix: str, name: str) -> None:
    assert external_postgres.name_of(prefix) == name


def test_the_provider_gives_no_superuser_so_none_of_its_rights_is_used() -> None:
    """PostgreSQL refuses these words to whoever is none, also where they say what is so already."""
    everything = external_postgres.MAKE_ROLES + external_postgres._MONITORS_ROLE
    assert "SUPERUSER" not in everything
    assert everything.index("CREATE ROLE") < everything.index("COMMENT ON ROLE") < everything.index("CREATE DATABASE")
