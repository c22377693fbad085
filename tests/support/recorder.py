"""A double that says what it was called for."""

from collections.abc import Callable
from typing import Any


def recorder(seen: list[str], answer: Any, line: str = "") -> Callable[..., Any]:
    """A double that answers so, and records a line, or what it was called with first."""

    def called(*arguments: Any, **_: Any) -> Any:
        seen.append(line or str(arguments[0]))
        return answer

    return called
