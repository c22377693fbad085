"""A release of Debian as a folder."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from ops.machine.system import DEBIAN_KEYRING
from ops.paths import cache_dir

# After so long, a file system is made again: sid moves.
_TREE_SECONDS = 7 * 86400


def debootstrap(release: str, folder: Path, *packages: str) -> None:
    """Installs a minimal release with these packages into an empty folder; AssertionError with what debootstrap said."""
    command: list[str | Path] = [
        "debootstrap",
        "--force-check-gpg",
        f"--keyring={DEBIAN_KEYRING}",
        "--variant=minbase",
        "--components=main",
        *([f"--include={','.join(packages)}"] if packages else []),
        release,
        folder,
        "http://deb.debian.org/debian",
        # One script for all of Debian's releases: an older debootstrap may not know the newest by name.
        "/usr/share/debootstrap/scripts/sid",
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"debootstrap of {release}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def tree(name: str, make: Callable[[Path], None]) -> Path:
    """The file system of that name from the user's cache. make: fills an empty folder, where there is none or an old one."""
    folder = cache_dir() / f"test-debian-{name}"
    if folder.is_dir() and time.time() - folder.stat().st_mtime < _TREE_SECONDS:
        return folder
    partial = folder.with_name(f"{folder.name}.partial")
    for old in (folder, partial):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir(parents=True)
    make(partial)
    os.utime(partial)
    partial.rename(folder)
    return folder
