"""Where things lie: the checkout, the cache that may be deleted at any time, the configuration that may not."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APPLICATION = "skyvern-stack"


def cache_dir() -> Path:
    """Folder of what can be made again (engine, image parts), ``~/.cache/skyvern-stack`` by default."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / APPLICATION


def config_dir() -> Path:
    """Folder of what cannot be made again (passphrase, local state), ``~/.config/skyvern-stack`` by default."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / APPLICATION
