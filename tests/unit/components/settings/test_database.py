"""The section ``database``: a PostgreSQL elsewhere, one line for each wrong value, and no part of the URL in it."""

from pathlib import Path
from typing import Any

import pytest

from components.settings import ENCRYPTED, DatabaseSettings, SettingsError, certificates, parse
from lab.standins.edge.certificates import Authority

PASSWORD = "correct-horse-battery"
URL = f"postgresql://boss:{PASSWORD}@db.example.com:6432/defaultdb?sslmode=verify-full"


def database(**keys: Any) -> DatabaseSettings:
    return parse({"database": keys}, file="Pulumi.prod.yaml", secret_keys=frozenset({"database.url"})).database


def test_the_parts_of_a_url() -> None:
    address = database(url=URL).address
    assert address is not None
    assert (address.host, address.port, address.user, address.database) == ("db.example.com", 6432, "boss", "defaultdb")
    assert address.password.get_secret_value() == PASSWORD
    assert PASSWORD not in repr(address)
    short = database(url=f"postgres://b%40ss:{PASSWORD}%2F@10.1.2.3?sslmode=verify-full").address
    assert short is not None
    assert (short.host, short.port, short.user, short.database) == ("10.1.2.3", 5432, "b@ss", "postgres")
    assert short.password.get_secret_value() == f"{PASSWORD}/"


def test_without_a_url_the_stack_has_its_own() -> None:
    assert not database().elsewhere
    assert database().address is None


def test_where_no_engine_decrypts_it_only_that_there_is_one_is_known() -> None:
    found = database(url=ENCRYPTED)
    assert found.elsewhere
    assert found.address is None


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("", "is not the URL of one PostgreSQL server; write postgresql://USER:PASSWORD@HOST:5432/postgres?sslmode=verify-full"),
        (f"mysql://boss:{PASSWORD}@db.example.com/x?sslmode=verify-full", "is not the URL of one PostgreSQL server; write"),
        (URL.replace("6432", "70000"), "is not the URL of one PostgreSQL server; write"),
        (URL.replace("6432", "0"), "is not the URL of one PostgreSQL server; write"),
        (URL.replace("db.example.com", "[::1"), "is not the URL of one PostgreSQL server; write"),
        (URL.replace("boss:", ":"), "has no user or no password; write postgresql://USER:PASSWORD@"),
        (URL.replace(f":{PASSWORD}", ""), "has no user or no password; write postgresql://USER:PASSWORD@"),
        (
            URL.replace(PASSWORD, "short"),
            "has a password of less than 16 characters, which can be guessed; give the user a longer",
        ),
        (URL.replace("db.example.com", "localhost"), "is the container itself; write the address at which other machines reach"),
        (URL.replace("db.example.com", "127.0.0.1"), "is the container itself; write the address at which other machines reach"),
        (
            URL.replace("db.example.com", "[2001:db8::1]"),
            "is IPv6, which the stack's networks do not have; write the name, or IPv4",
        ),
        (
            URL.replace("db.example.com", "postgres"),
            "has a host that is not a full name or an address; write it such as db.example",
        ),
        (URL.replace("db.example.com:6432", "a.example.com,b.example.com"), "has a host that is not a full name or an address"),
        (
            URL.replace("/defaultdb", "/a/b"),
            "has a path that is not the name of a database; write the one where the user logs in",
        ),
        (URL.partition("?")[0], "does not say sslmode=verify-full, so another server could take its place; write it behind a ?"),
        (URL.replace("verify-full", "require"), "does not say sslmode=verify-full, so another server could take its place"),
        (URL.replace("verify-full", "verify-ca"), "does not say sslmode=verify-full, so another server could take its place"),
        (f"{URL}&sslrootcert=/etc/ca.pem", "names a file of certificates, which no container has; write it as database.ca_file"),
        (f"{URL}&options=-csearch_path%3Dx", "has options besides sslmode; remove them"),
        (f"{URL}&x", "has options besides sslmode; remove them"),
        (f"{URL}#x", "has options besides sslmode; remove them"),
    ],
)
def test_each_wrong_url_has_its_line(url: str, line: str) -> None:
    with pytest.raises(SettingsError) as wrong:
        database(url=url)
    (said,) = wrong.value.lines
    assert said.startswith(f"Pulumi.prod.yaml: database.url: {line}")
    assert PASSWORD not in said
    assert "\n" not in said


def test_it_is_a_secret() -> None:
    with pytest.raises(SettingsError) as wrong:
        parse({"database": {"url": URL}}, file="Pulumi.prod.yaml")
    assert wrong.value.lines == [
        "Pulumi.prod.yaml: database.url: is in plain text; set it with `pulumi config set --secret --path database.url -s prod`"
    ]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (
            {"ca_file": "ca.pem"},
            "database.ca_file: is about a server elsewhere, and there is no database.url; set that, or remove it",
        ),
        (
            {"url": URL, "memory_mib": 512},
            "database.memory_mib: is about the stack's own PostgreSQL, and database.url names another; remove it",
        ),
        (
            {"url": URL, "cpus": 2.0},
            "database.cpus: is about the stack's own PostgreSQL, and database.url names another; remove it",
        ),
    ],
)
def test_what_does_not_go_together(keys: dict[str, Any], line: str, checkout: Path) -> None:
    with pytest.raises(SettingsError) as wrong:
        database(**keys)
    assert wrong.value.lines == [f"Pulumi.prod.yaml: {line}"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One with a file of certificates."""
    monkeypatch.setattr(certificates, "ROOT", tmp_path)
    Authority(tmp_path)
    (tmp_path / "empty.pem").write_text("nothing\n")
    (tmp_path / "bundle.pem").write_text("x" * (certificates.MOST_BYTES + 1))
    return tmp_path


def test_certificates_are_those_of_a_file(checkout: Path) -> None:
    assert "BEGIN CERTIFICATE" in (database(url=URL, ca_file="ca.pem").certificates or "")
    assert database(url=URL).certificates is None


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "/etc/ca.pem",
            'database.ca_file: "/etc/ca.pem" is not in the checkout; copy the file there, commit it and write its path',
        ),
        (
            "none.pem",
            'database.ca_file: "none.pem" cannot be read in the checkout (No such file or directory); write the path of',
        ),
        (
            "empty.pem",
            'database.ca_file: "empty.pem" has no certificates in PEM; convert it with `openssl x509 -inform der -in FILE',
        ),
        (
            "bundle.pem",
            'database.ca_file: "bundle.pem" is larger than 100 kB; write the certificates of the server\'s own authority',
        ),
    ],
)
def test_each_wrong_file_has_its_line(checkout: Path, name: str, line: str) -> None:
    with pytest.raises(SettingsError) as wrong:
        database(url=URL, ca_file=name)
    (said,) = wrong.value.lines
    assert said.startswith(f"Pulumi.prod.yaml: {line}")
    assert "company" not in said
