"""Property values as Pulumi's engine, programs and plugins exchange them: plain data in which secrets are marked."""

from dataclasses import dataclass
from typing import Any

from skyvern_provider.server import SECRET, SIGNATURE
from skyvern_provider.server import UNKNOWN as UNKNOWN


@dataclass(frozen=True)
class Secret:
    """A value that was sent as a secret."""

    value: Any


def plain(value: Any) -> Any:
    """A value without its secret marks."""
    match value:
        case Secret():
            return plain(value.value)
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case list():
            return [plain(item) for item in value]
    return value


def marked(value: Any) -> Any:
    """A value from the wire with ``Secret`` in place of each mark."""
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET:
            return Secret(marked(value["value"]))
        return {key: marked(item) for key, item in value.items()}
    return [marked(item) for item in value] if isinstance(value, list) else value


def sealed(value: Any) -> dict[str, Any]:
    """A plain value as a secret on the wire."""
    return {SIGNATURE: SECRET, "value": value}
