"""Wheels that the server's image installs, from the package index by the hashes of its requirements."""

import re
from pathlib import Path

from lab.standins.vercel.build import download_wheels
from ops.paths import ROOT

REQUIREMENTS = ROOT / "images/server/requirements.txt"


def download(name: str, folder: Path) -> Path:
    """The wheel of one requirement for this machine, without what it depends on."""
    own = re.search(rf"^{name}==.*\\\n(?:    --hash=.*\n)+", REQUIREMENTS.read_text(), re.MULTILINE)
    assert own is not None
    requirement = folder / "requirement.txt"
    requirement.write_text(own[0].rstrip().removesuffix("\\") + "\n")
    download_wheels(folder, requirement)
    (wheel,) = folder.glob("*.whl")
    return wheel
