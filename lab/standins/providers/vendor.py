"""The form of a vendor's module: a ``Kind`` for each resource type, look-ups, and how a call is refused."""

import abc
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, ClassVar

from lab.standins.providers.schema import Failure, Schema
from lab.standins.providers.world import Data, World

Properties = dict[str, Any]


class Refused(Exception):
    """A call that was not successful. ``code``: the vendor's own, for the journal."""

    def __init__(self, message: str, code: int | str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Call:
    """One call of the API.

    data: the world, which the call may change. schema: of the SDK. config: of the provider.
    """

    data: Data
    schema: Schema
    config: Mapping[str, Any] = field(default_factory=dict)


class Kind(abc.ABC):
    """A resource type.

    resource: the SDK's class. replaces: inputs whose change replaces. defaults: the provider's values for inputs that are not
    given. computed: inputs that the API fills when they are not given. unread: outputs that the API shows only once, so that only
    the state has them. sets: inputs without an order, which are secret as a whole if one element is. forgets: a deletion makes no
    call and leaves the thing; the provider warns with ``Vendor.forgetting``.
    """

    resource: ClassVar[str]
    replaces: ClassVar[frozenset[str]]
    defaults: ClassVar[Mapping[str, Any]] = {}
    computed: ClassVar[frozenset[str]] = frozenset()
    unread: ClassVar[frozenset[str]] = frozenset()
    sets: ClassVar[frozenset[str]] = frozenset()
    forgets: ClassVar[bool] = False

    def check(self, inputs: Mapping[str, Any]) -> list[Failure]:
        """Refusals of the provider itself at plan time; ``inputs`` have the right types but may be unknown."""
        return []

    @abc.abstractmethod
    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Id and outputs. Raises Refused."""

    @abc.abstractmethod
    def read(self, call: Call, identifier: str, known: Mapping[str, Any]) -> Properties | None:
        """Outputs; None if it does not exist. ``known``: the outputs in the state."""

    @abc.abstractmethod
    def update(self, call: Call, identifier: str, inputs: Properties, known: Mapping[str, Any]) -> Properties:
        """Outputs. Raises Refused."""

    @abc.abstractmethod
    def delete(self, call: Call, identifier: str, known: Mapping[str, Any]) -> None:
        """Raises Refused."""

    def settle(self, world: World, identifier: str) -> None:
        """Waits as the provider does until the created resource works. Raises Refused if it never will."""
        return

    def imported(self, identifier: str) -> tuple[str, Properties]:
        """The id in an import id, such as ``ZONE/RECORD``, and the outputs that it contains."""
        return identifier.rpartition("/")[2], {}


@dataclass(frozen=True)
class Vendor:
    """A provider.

    sdk: the name of the Python package. functions: look-ups by the SDK's name for them. check_config: refuses a provider's
    configuration without any call. configure: refuses what the provider finds out with calls before its first use; then every
    call fails. environment: variables that replace missing properties of the configuration. forgetting: the provider's warning
    at the deletion of a kind that ``forgets``.
    """

    sdk: str
    kinds: Sequence[Kind]
    functions: Mapping[str, Callable[[Call, Properties], Properties]]
    check_config: Callable[[Mapping[str, Any]], list[Failure]]
    environment: Mapping[str, str]
    forgetting: str = ""
    configure: Callable[[Call], None] | None = None


def http_error(method: str, url: str, status: int, body: Mapping[str, Any]) -> str:
    """A failed HTTP request, as the generated clients word it."""
    return f'{method} "{url}": {status} {HTTPStatus(status).phrase} {json.dumps(body)}'


def now() -> str:
    """The time as APIs write it."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def hex_id() -> str:
    """An identifier of 32 hex digits."""
    return secrets.token_hex(16)
