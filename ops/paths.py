"""Folders of this project, and the one way to write a file or a folder of the cache: whole or not at all."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APPLICATION = "skyvern-stack"
# A folder of the cache that no command has used for this long belongs to a checkout or version that is gone.
UNUSED_DAYS = 30


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


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """A folder of the cache, which ``make`` fills the first time: it appears whole or not at all, and one process makes it.

    folder: its name ends with 12 hex digits over what it is made from. Folders of other digits are another checkout's, which may
    be using them, so they go only when they have been unused for 30 days.
    """
    name = folder.name[:-12]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{name}lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            partial = folder.with_name(f".{folder.name}")
            # Of a process that was killed.
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                make(partial)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        os.utime(folder)
        for other in folder.parent.glob(name + "[0-9a-f]" * 12):
            if other.stat().st_mtime < time.time() - UNUSED_DAYS * 86400:
                shutil.rmtree(other, ignore_errors=True)
    return folder
