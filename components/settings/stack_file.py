"""Reads the stack file: checks its values, those that exclude each other, and that its secrets are encrypted."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from components.settings.base import Section
from components.settings.conflicts import conflicts
from components.settings.errors import SettingsError, describe, set_secret
from components.settings.schema import Settings


def parse(raw: Mapping[str, Any], *, file: str, secret_keys: frozenset[str] = frozenset(), stack: str = "") -> Settings:
    """Settings from the decoded values of the stack file.

    raw: section name -> decoded value, secrets in plain text. secret_keys: paths of the encrypted values, such as
    ``automations.credentials.shop.password``; that of a section stands for all values in it. stack: its name, by default
    the one that the file is named after.
    Raises SettingsError with one line for each mistake.
    """
    stack = stack or file.removeprefix("Pulumi.").removesuffix(".yaml")
    try:
        settings = Settings.model_validate(dict(raw))
    except ValidationError as invalid:
        raise SettingsError([f"{file}: {describe(error, stack)}" for error in invalid.errors()]) from None
    plain = [
        f"{file}: {path}: is in plain text; {set_secret(path, stack)}"
        for section, keys in settings
        for path in _secrets(keys, section)
        if not any(path == key or path.startswith(f"{key}.") for key in secret_keys)
    ]
    if plain:
        raise SettingsError(plain)
    if lines := [f"{file}: {line}" for line in conflicts(settings, stack)]:
        raise SettingsError(lines)
    return settings


def _secrets(keys: Section, path: str) -> Iterator[str]:
    """The path of each secret that is set in a section, also in parts of it."""
    for key, value in keys:
        if isinstance(value, SecretStr):
            yield f"{path}.{key}"
        elif isinstance(value, Section):
            yield from _secrets(value, f"{path}.{key}")
        elif isinstance(value, dict):
            for name, part in value.items():
                if isinstance(part, Section):
                    yield from _secrets(part, f"{path}.{key}.{name}")


def encrypted_paths(decoded: Any, written: Any, path: str) -> Iterator[str]:
    """The paths below ``path`` whose decoded value is not what the stack file has in plain text."""
    if isinstance(decoded, dict):
        for key, value in decoded.items():
            yield from encrypted_paths(value, written.get(key) if isinstance(written, Mapping) else None, f"{path}.{key}")
    elif decoded != written:
        yield path


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
    # The engine names the sections that have an encrypted value, and the stack file says which values these are.
    encrypted = {section: value for section, value in raw.items() if is_config_secret(prefix + section)}
    config = _written_config() if encrypted else {}
    secret_keys = frozenset(
        path for section, value in encrypted.items() for path in encrypted_paths(value, config.get(prefix + section), section)
    )
    return parse(raw, file=_file(), secret_keys=secret_keys, stack=pulumi.get_stack())


def _written_config() -> Mapping[str, Any]:
    """The ``config`` of the stack file as it is written; empty if the engine was given another file (``--config-file``)."""
    # Here for the same reason as in load.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        document = YAML(typ="safe").load(Path(_file()).read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError):
        return {}
    config = document.get("config") if isinstance(document, dict) else None
    return config if isinstance(config, dict) else {}


def mistake(path: str, problem: str) -> SettingsError:
    """An error in the file of the stack that is being deployed. path: ``edge.domain``. problem: with what to do about it."""
    return SettingsError([f"{_file()}: {path}: {problem}"])


def _file() -> str:
    # Here for the same reason as in load.
    import pulumi

    return f"Pulumi.{pulumi.get_stack()}.yaml"
