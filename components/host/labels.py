"""Labels by which a person, a drift check or a preview knows what belongs to a stack. Pure."""

from collections.abc import Mapping
from typing import Any

ENVIRONMENT = "skyvern.environment"


def stack_labels(prefix: str, part: str) -> dict[str, str]:
    """The stack and the part of it. prefix: ``skyvern-dev``."""
    return {"skyvern.part": part, "skyvern.stack": prefix.removeprefix("skyvern-")}


def environment_label(environment: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a container with secrets, a line each: ``NAME=value``, or the name alone for all but plain text.

    As soon as one of them is a secret, the provider keeps all as one (pulumi-docker 5.2, where they are a set). Without this a
    preview could not show which of them differ, or which of their texts are secret. Empty if all are plain.
    """
    if all(isinstance(value, str) for value in environment.values()):
        return {}
    plain = {key: value for key, value in environment.items() if isinstance(value, str) and "\n" not in value}
    return {ENVIRONMENT: "\n".join(f"{key}={plain[key]}" if key in plain else key for key in sorted(environment))}


def parse_environment_label(text: str) -> dict[str, str | None]:
    """The variables in such a label: name -> value, None for a secret's."""
    pairs = [line.partition("=") for line in text.split("\n")]
    return {name: value if equals else None for name, equals, value in pairs}
