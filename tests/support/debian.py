"""A release of Debian as a folder."""

import subprocess
from pathlib import Path

from ops.machine.system import DEBIAN_KEYRING


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
