"""Reads the stack file: checks its values, those that exclude each other, and that its secrets are encrypted."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import SecretStr, ValidationError

from components.settings.base import Section
from components.settings.conflicts import conflicts
from components.settings.errors import SettingsError, describe
from components.settings.schema import Settings


def parse(raw: Mapping[str, Any], *, file: str, secret_keys: frozenset[str] = frozenset()) -> Settings:
    """Settings from the decoded values of the stack file.

    raw: section name -> decoded value, secrets in plain text. secret_keys: sections that hold at least one encrypted value.
    Raises SettingsError with one line for each mistake.
    """
    try:
        settings = Settings.model_validate(dict(raw))
    except ValidationError as invalid:
        raise SettingsError([f"{file}: {describe(error)}" for error in invalid.errors()]) from None
    plain = [
        f"{file}: {section}.{key}: is in plain text; set it with `pulumi config set --secret --path {section}.{key}`"
        for section, keys in settings
        for key, value in _secrets(keys)
        if section not in secret_keys
    ]
    # By section, because the engine says no more: whether a section has an encrypted value, not which one it is.
    if plain:
        raise SettingsError(plain)
    if lines := [f"{file}: {line}" for line in conflicts(settings)]:
        raise SettingsError(lines)
    return settings


def _secrets(keys: Section, path: str = "") -> Iterator[tuple[str, SecretStr]]:
    """Path and value of each secret of a section, also of those in named parts of it."""
    for key, value in keys:
        if isinstance(value, SecretStr):
            yield f"{path}{key}", value
        elif isinstance(value, dict):
            for name, part in value.items():
                if isinstance(part, Section):
                    yield from _secrets(part, f"{path}{key}.{name}.")


def load() -> Settings:
    """Settings of the stack that is being deployed; SettingsError when its file is wrong."""
    # Here, so that ops and the tests of the schema do not load the engine's SDK.
    import pulumi
    from pulumi.runtime.config import CONFIG, is_config_secret

    prefix = f"{pulumi.get_project()}:"
    texts = {key.removeprefix(prefix): text for key, text in CONFIG.get().items() if key.startswith(prefix)}
    raw: dict[str, Any] = {}
    lines = []
    for section, text in texts.items():
        try:
            raw[section] = json.loads(text)
        except ValueError:
            lines += mistake(section, "is a single value; write a section with keys below it (docs/configuration.md)").lines
    if lines:
        raise SettingsError(lines)
    return parse(raw, file=_file(), secret_keys=frozenset(section for section in raw if is_config_secret(prefix + section)))


def mistake(path: str, problem: str) -> SettingsError:
    """An error in the file of the stack that is being deployed. path: ``edge.domain``. problem: with what to do about it."""
    return SettingsError([f"{_file()}: {path}: {problem}"])


def _file() -> str:
    # Here for the same reason as in load.
    import pulumi

    return f"Pulumi.{pulumi.get_stack()}.yaml"
