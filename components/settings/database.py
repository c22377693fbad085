"""The section ``database``: the stack's own PostgreSQL, or one elsewhere."""

import re
from dataclasses import dataclass
from functools import partial
from typing import Annotated, LiteralString
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import Field, SecretStr

from components import addresses
from components.settings import certificates
from components.settings.base import ENCRYPTED, LABEL, Cpus, Section, given, redacted, secret

_FORM = "postgresql://USER:PASSWORD@HOST:5432/postgres?sslmode=verify-full"
# As the policy docker-container-passwords-long asks for.
_PASSWORD_CHARACTERS = 16
_AUTHORITY = partial(certificates.check, example="database-ca.pem", only="the certificates of the server's own authority")


@dataclass(frozen=True, kw_only=True)
class DatabaseAddress:
    """A PostgreSQL elsewhere. user, password: of who makes roles and databases there. database: where that user logs in."""

    host: str
    port: int
    user: str
    password: SecretStr
    database: str


def _parse(url: str) -> DatabaseAddress:
    """The parts of such a URL; raises an error of pydantic's that does not show them."""
    parts = _split(url)
    host, user, password = parts.hostname or "", unquote(parts.username or ""), unquote(parts.password or "")
    if not user or not password:
        raise redacted(f"has no user or no password; write {_FORM}")
    if len(password) < _PASSWORD_CHARACTERS:
        raise redacted("has a password of less than 16 characters, which can be guessed; give the user a longer one")
    if problem := _host_problem(host):
        raise redacted(problem)
    name = unquote(parts.path.removeprefix("/")) or "postgres"
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}", name):
        raise redacted("has a path that is not the name of a database; write the one where the user logs in, such as /postgres")
    try:
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True) if parts.query else [])
    except ValueError:
        options = {"": ""}
    mode = options.pop("sslmode", None)
    if options.keys() & {"sslrootcert", "sslcert", "sslkey"}:
        raise redacted("names a file of certificates, which no container has; write it as database.ca_file")
    if options or parts.fragment:
        raise redacted("has options besides sslmode; remove them")
    if mode != "verify-full":
        raise redacted("does not say sslmode=verify-full, so another server could take its place; write it behind a ?")
    return DatabaseAddress(host=host, port=parts.port or 5432, user=user, password=SecretStr(password), database=name)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        whole = parts.scheme in {"postgres", "postgresql"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise redacted(f"is not the URL of one PostgreSQL server; write {_FORM}, with % codes for characters such as @ and /")
    return parts


def _host_problem(host: str) -> LiteralString | None:
    """As components/settings/base.py has it for other machines, without the value."""
    address = addresses.network(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return "is the container itself; write the address at which other machines reach the server"
    if address is not None:
        return None if address.version == 4 else "is IPv6, which the stack's networks do not have; write the name, or IPv4"
    # A name without a dot is one of the stack's own, or of a search domain that containers do not have.
    full = re.fullmatch(rf"({LABEL}\.)+{LABEL}", host)
    return None if full else "has a host that is not a full name or an address; write it such as db.example.com"


class DatabaseSettings(Section):
    """PostgreSQL: the stack's own, or with `url` one elsewhere (docs/database.md)."""

    memory_mib: int = Field(512, ge=256, description="Hard memory limit in MiB.")
    cpus: Cpus = 1.0
    url: Annotated[SecretStr | None, secret(_parse)] = Field(
        None,
        description="A PostgreSQL elsewhere, in place of the stack's own: "
        "`postgresql://USER:PASSWORD@HOST:5432/postgres?sslmode=verify-full`. The user makes the stack's roles and database "
        "there (CREATEROLE, CREATEDB); Skyvern gets a role of the stack. TLS with a checked certificate is required, and the "
        "major version of the stack's images. Set it with `pulumi config set --secret --path database.url`; where there is data, "
        "it comes along by a backup (docs/database.md).",
    )
    ca_file: Annotated[str | None, given(_AUTHORITY)] = Field(
        None,
        description="Certificates in PEM that sign the server of `url`, as its provider publishes them: a file in the checkout, "
        "by its path there. Left out, the public authorities are trusted.",
        examples=["database-ca.pem"],
    )

    @property
    def elsewhere(self) -> bool:
        """Whether the stack has no PostgreSQL of its own."""
        return self.url is not None

    @property
    def address(self) -> DatabaseAddress | None:
        """The server of ``url``; None without one, and where no engine has decrypted it."""
        return None if self.url is None or self.url.get_secret_value() == ENCRYPTED else _parse(self.url.get_secret_value())

    @property
    def certificates(self) -> str | None:
        """The certificates of ``ca_file`` as PEM."""
        return None if self.ca_file is None else certificates.read(self.ca_file)
