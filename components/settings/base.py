"""The base class of the stack file's sections, and the types and checks of keys that several of them have."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, LiteralString
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic_core import PydanticCustomError

from components import addresses


class Section(BaseModel):
    """One section of the stack file: unknown keys are refused, values do not change."""

    # strict: YAML has its own types, and a quoted number or a "yes" is a mistake.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, str_strip_whitespace=True)

    # Names that people bring from elsewhere, and what to do about each; the text of an error.
    instead: ClassVar[Mapping[str, str]] = {}


REDACTED = "redacted_value"


# Stands for an encrypted value where no engine decrypts it, in the form of a token. What asks for another form lets it pass.
ENCRYPTED = "encrypted" * 5


def redacted(message: LiteralString) -> PydanticCustomError:
    """An error whose line does not show the value, as that of a ValueError would."""
    return PydanticCustomError(REDACTED, message)


Cpus = Annotated[float, Field(ge=0.01, le=256, description="CPU limit in cores.")]
# Of this machine; those below 1024 are for root.
Port = Annotated[int, Field(ge=1024, le=65535)]

# One label of a host name.
LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
Label = Annotated[str | None, Field(pattern=f"^{LABEL}$")]


def given(check: Callable[[Any], Any]) -> AfterValidator:
    """Has a value checked or rewritten, unless it is the null of a key that may be left out. check: raises a ValueError."""
    return AfterValidator(lambda value: None if value is None else check(value))


def each(problem: Callable[[str], str | None]) -> AfterValidator:
    """Refuses a wrong value. problem: what is wrong with it and what to write, None for nothing."""

    def check(value: str) -> str:
        if text := problem(value):
            raise ValueError(text)
        return value

    return given(check)


def secret(check: Callable[[str], object]) -> AfterValidator:
    """Has the text of a secret checked, where an engine has decrypted it. check: raises ``redacted``."""

    def checked(value: SecretStr) -> SecretStr:
        if value.get_secret_value() != ENCRYPTED:
            check(value.get_secret_value())
        return value

    return given(checked)


def token(kind: LiteralString, form: str) -> AfterValidator:
    """Refuses a secret of another form. kind: whose token it is."""

    def check(text: str) -> None:
        if not re.fullmatch(form, text):
            raise redacted(f"is not a {kind}; write it as the dashboard showed it")

    return secret(check)


def entries(problem: Callable[[str], str | None]) -> AfterValidator:
    """Refuses a list with a wrong entry. problem: of an entry, as in ``each``."""

    def check(value: list[str]) -> list[str]:
        for entry in value:
            if text := problem(entry):
                raise ValueError(f"{json.dumps(entry, ensure_ascii=False)} {text}")
        return value

    return AfterValidator(check)


def split_url(value: str, example: str, *, login: LiteralString) -> SplitResult:
    """The parts of an http or https URL. login: why it has no user and password, as a clause."""
    try:
        parts = urlsplit(value)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, whole = None, False
    if "@" in (parts.netloc if parts is not None and whole else value):
        raise redacted(f"contains a user or password, which {login}; remove it")
    if parts is None or not whole:
        raise ValueError(f"is not a URL; write it in full, for example {example}")
    return parts


def check_machine(value: str, whose: str, kind: str, form: str) -> str:
    """The name or the address of one other machine; ValueError for anything else.

    whose, kind: in messages, ``the mail server``, ``a server``. form: what does not belong into a name, and an example.
    """
    address = addresses.network(value)
    if value == "localhost" or (address is not None and address.is_loopback):
        raise ValueError(f"is the container itself; write the name or the address of {whose}")
    if address is None and not re.fullmatch(rf"{LABEL}(\.{LABEL})*", value):
        raise ValueError(f"is not the name of {kind}; write it in lower case, without {form}")
    if address is not None and address.num_addresses > 1:
        raise ValueError(f"is a network; write the address of {whose}")
    return value


# Folders of the host that none of the stack's data belongs into: Docker's own, the system's, and what is empty after a restart.
_NOT_THERE = ("/boot", "/dev", "/etc", "/lib", "/proc", "/root", "/run", "/sys", "/tmp", "/usr", "/var/lib/docker", "/var/run")  # noqa: S108


def check_folder(value: str, example: str) -> str:
    """A folder of the Docker host for data of the stack, without a trailing slash; ValueError for anything else."""
    clean = value.rstrip("/")
    if not clean.startswith("/") or re.search(r"//|/\.{1,2}(/|$)", clean) or not re.fullmatch(r"/[^\x00-\x1f:,\"']+", clean):
        raise ValueError(f"is not a folder of the Docker host; write its whole path, for example {example}")
    if any(clean == folder or clean.startswith(f"{folder}/") for folder in _NOT_THERE):
        raise ValueError(f"belongs to the system or to Docker, or is emptied; write a separate folder, such as {example}")
    return clean


# In a list ``allow``: the Docker host itself, by whichever of its addresses.
THIS_HOST = "host"
# What Skyvern's own check of URLs takes are single hosts, so a network of ``browser.allow`` is written out.
MOST_ADDRESSES = 256


def split_destination(entry: str) -> tuple[str, int]:
    """Host and port of an entry of ``allow``; ValueError when it has another form."""
    form = r"(?:([0-9a-z][0-9a-z.-]*(?:/\d{1,2})?)|\[([0-9A-Fa-f:.]+(?:/\d{1,3})?)\]):([1-9]\d{0,4})"
    match = re.fullmatch(form, entry, re.ASCII)
    if match is None or int(match[3]) > 65535:
        raise ValueError("is not an address with a port")
    return match[1] or match[2], int(match[3])


def _destination_problem(entry: str) -> str | None:
    """Allowed are entries that open something: ``host``, or addresses that are not public."""
    forms = "write ADDRESS:PORT, NETWORK/BITS:PORT or host:PORT"
    try:
        host, _ = split_destination(entry)
    except ValueError as wrong:
        return f"{wrong}; {forms}"
    if host == THIS_HOST:
        return None
    network = addresses.network(host)
    if network is None:
        return f"is not an address; {forms}"
    if network.is_loopback:
        return "is the container itself; write host:PORT for a service of the Docker host"
    return None if addresses.is_private(network) else "is not private, so it needs no entry; remove it"


def _page_destination_problem(entry: str) -> str | None:
    """Allowed are a name, or private addresses that machines have; one that a page's URL can have, with a port."""
    forms = "write ADDRESS:PORT, NETWORK/BITS:PORT or NAME:PORT, for example wiki.example.com:443"
    if not re.search(r":[1-9]\d{0,4}$", entry, re.ASCII) or int(entry.rpartition(":")[2]) > 65535:
        return f"has no port, or a wrong one; {forms}"
    try:
        host, port = split_destination(entry)
    except ValueError:
        return f"is not a name or an address in lower case; {forms}"
    if host == THIS_HOST:
        return f"is not what a page calls this host; write its address in the URL, for example 172.17.0.1:{port} (docker0)"
    network = addresses.network(host)
    if network is not None:
        return _page_network_problem(network)
    if "." not in host and re.fullmatch(LABEL, host):
        return "is a name without a dot, as the stack's own containers have; write the full name, or the address"
    # Chromium takes a name whose last label begins with a digit for an address in another spelling.
    if len(host) > 253 or not re.fullmatch(rf"({LABEL}\.)+[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?", host):
        return f"is not a name or an address in lower case; {forms}"
    return _ITSELF if host.endswith(".localhost") else None


_ITSELF = (
    "is the egress proxy itself; write the address at which other machines reach it (for a program beside a Chrome elsewhere: "
    "docs/browsers.md)"
)


def _page_network_problem(network: addresses.Network) -> str | None:
    if network.version == 6:
        return "is IPv6, which the stack's networks do not have; write the IPv4 address, or the name and its port"
    if network.is_loopback:
        return _ITSELF
    if not addresses.is_private(network):
        return "is not private, so it needs no entry; remove it"
    if not addresses.is_of_machines(network):
        return "is not for machines of a network: a page there could get a cloud's credentials; remove it"
    if network.num_addresses > MOST_ADDRESSES:
        return "is more than 256 addresses, and Skyvern's own check takes single ones; write /24 or less, or names"
    return None


PrivateDestinations = Annotated[list[str], entries(_destination_problem)]
PageDestinations = Annotated[list[str], entries(_page_destination_problem)]
