"""Folders of this project, and the one way to write a file: whole or not at all."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APPLICATION = "skyvern-stack"


def cache_dir() -> Path:
    """Folder of what can be made again (engine, image parts), ``~/.cache/skyvern-stack`` by default."""
    return _base("XDG_CACHE_HOME", ".cache") / APPLICATION


def config_dir() -> Path:
    """Folder of what cannot be made again (passphrase, local state), ``~/.config/skyvern-stack`` by default."""
    return _base("XDG_CONFIG_HOME", ".config") / APPLICATION


def docker_config_dir() -> Path:
    """Where docker keeps this user's logins."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _base(variable: str, default: str) -> Path:
    """A folder of the XDG base directory specification, which says that one that is not absolute counts as not set."""
    named = Path(os.environ.get(variable, ""))
    return named if named.is_absolute() else Path.home() / default


def write_whole(path: Path, text: str) -> None:
    """Writes a file that other programs see as it was or as it is to be, never in between. In UTF-8, ends of line as they are.

    An existing file keeps its mode, and its new content is at no moment readable by more users than that.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else None
        os.close(os.open(partial, os.O_CREAT | os.O_WRONLY, 0o666 if mode is None else 0o600))
        partial.write_text(text, encoding="utf-8", newline="")
        if mode is not None:
            partial.chmod(mode)
        partial.replace(path)
    finally:
        # Of a write that failed, or the checkout would differ from its commit by it.
        partial.unlink(missing_ok=True)
