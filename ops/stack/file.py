"""A stack file: read, checked against the schema, and edited in place, with its comments.

Not here: the schema itself (components/settings), and which file a stack has (ops/stack/stack.py).
"""

import difflib
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ops.errors import UserError
from ops.paths import write_whole

if TYPE_CHECKING:
    from components.settings import Settings

# As Pulumi.yaml names it.
PROJECT = "skyvern"
PREFIX = f"{PROJECT}:"
# Pulumi takes no notice of any other key (3.256, sdk/go/common/workspace/project.go: ProjectStack).
KEYS = ("config", "encryptionsalt", "secretsprovider", "encryptedkey", "environment")


def parse(text: str, name: str) -> dict[str, Any]:
    """The ``config`` of a stack file, encrypted values as ``{"secure": ...}``. name: of the file, for errors.

    Raises UserError for a text that is not YAML, not shaped like a stack file, or with keys that would not be read.
    """
    return {str(key): value for key, value in (document(text, name).get("config") or {}).items()}


def document(text: str, name: str) -> dict[str, Any]:
    """The whole of a stack file: ``config``, and what Pulumi keeps beside it; UserError as in ``parse``."""
    try:
        document = YAML(typ="safe").load(text) or {}
    # ValueError, KeyError: values that are not of their type, 2026-13-45 or !!bool maybe. RecursionError: thousands of brackets.
    except (YAMLError, ValueError, KeyError, RecursionError) as broken:
        where = getattr(getattr(broken, "problem_mark", None), "line", None)
        line = "" if where is None else f" in line {where + 1}"
        raise UserError(f"{name}: is not valid YAML{line}; correct it (docs/configuration.md)") from broken
    if not isinstance(document, dict) or not isinstance(document.get("config") or {}, dict):
        raise UserError(f"{name}: is not a stack file; write its settings below config: (docs/configuration.md)")
    if lines := [f"{name}: {line}" for line in _not_read(document)]:
        raise UserError("\n".join(lines))
    return document


def _not_read(document: Mapping[Any, Any]) -> Iterator[str]:
    """A line for each key that Pulumi reads and this program does not, or neither of them."""
    for key in map(str, document):
        if key not in KEYS:
            near = difflib.get_close_matches(key.lower(), KEYS, n=1)
            yield f"{key}: unknown key; write {near[0] if near else 'it below config, or remove it'}"
    for key in map(str, document.get("config") or {}):
        namespace, colon, section = key.partition(":")
        # PROJECT:config:KEY is PROJECT:KEY for Pulumi (sdk/go/common/resource/config/key.go).
        right = f"{PREFIX}{section.removeprefix('config:')}"
        if not colon:
            yield f"{key}: is without its prefix; write {PREFIX}{key}"
        elif namespace == PROJECT:
            if key != right:
                yield f"{key}: is an old form; write {right}"
        elif difflib.get_close_matches(namespace.lower(), [PROJECT], cutoff=0.75):
            yield f"{key}: unknown prefix; write {right}"


def read(path: Path) -> dict[str, Any]:
    """``parse`` of a file; UserError when it cannot be read."""
    return parse(_text(path), path.name)


def read_document(path: Path) -> dict[str, Any]:
    """``document`` of a file; UserError when it cannot be read."""
    return document(_text(path), path.name)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as failed:
        raise UserError(f"{path.name}: is not UTF-8 text; save it as UTF-8") from failed
    except OSError as failed:
        raise UserError(f"{path.name}: cannot be read ({failed})") from failed


def sections(config: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of the program in a ``config``: ``host`` for ``skyvern:host``."""
    return {key.removeprefix(PREFIX): value for key, value in config.items() if key.startswith(PREFIX)}


def is_encrypted(value: Any) -> bool:
    """Whether a value of a stack file is one that only the engine can read."""
    return isinstance(value, dict) and set(value) == {"secure"}


def encrypted_paths(value: Any, path: str = "") -> Iterator[str]:
    """Paths below a value of a stack file that hold a secret; "" is the value itself."""
    if is_encrypted(value):
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from encrypted_paths(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from encrypted_paths(item, f"{path}[{index}]")


def settings(path: Path, stack: str = "") -> "Settings":
    """The settings of a stack file, checked without the engine and without decrypting anything. stack: its name, if known.

    Raises UserError with the schema's lines when the file is wrong, so that nothing has been touched by then.
    """
    # Here for start time: pydantic makes the whole schema at its import, and script/env needs none of it.
    from components import settings as schema

    # A section encrypted as a whole can be read by the engine only; the program checks it.
    raw = {name: value for name, value in sections(read(path)).items() if not is_encrypted(value)}
    plain = {name: _without_ciphertext(value, schema.ENCRYPTED) for name, value in raw.items()}
    encrypted = frozenset(path for name, value in raw.items() for path in schema.encrypted_paths(plain[name], value, name))
    try:
        return schema.parse(plain, file=path.name, secret_keys=encrypted, stack=stack)
    except schema.SettingsError as wrong:
        raise UserError(str(wrong)) from wrong


def _without_ciphertext(value: Any, instead: str) -> Any:
    if is_encrypted(value):
        return instead
    if isinstance(value, dict):
        return {key: _without_ciphertext(item, instead) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_ciphertext(item, instead) for item in value]
    return value


def edit(path: Path, change: Callable[[dict[str, Any]], bool]) -> None:
    """Writes the file again if ``change``, which gets the whole document, returns that it changed something.

    Comments and everything else stay as they are. Not here: whether the values are right.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(path) or {}
    if not change(document):
        return
    text = io.StringIO()
    yaml.dump(document, text)
    write_whole(path, text.getvalue())


def write_settings(path: Path, sections: Mapping[str, Mapping[str, Any]], *, whole: frozenset[str] = frozenset()) -> None:
    """Sets keys of sections (``images``) of a stack file. whole: sections whose other keys are removed."""

    def change(document: dict[str, Any]) -> bool:
        config = document["config"] = document.get("config") or {}
        changed = False
        for section, values in sections.items():
            name = f"{PREFIX}{section}"
            written = config[name] = config.get(name) or {}
            if not isinstance(written, dict) or (is_encrypted(written) and section not in whole):
                raise UserError(f"{path.name}: {section}: is not a section that can be written to; write its keys below it")
            removed = [key for key in written if key not in values] if section in whole else []
            # An equal value stays as the person wrote it.
            new = {key: value for key, value in values.items() if written.get(key) != value}
            for key in removed:
                del written[key]
            written.update(new)
            changed = changed or bool(removed or new)
        return changed

    edit(path, change)
