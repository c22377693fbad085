"""Gives Playwright Debian's Chromium and ffmpeg under the names where it looks for its own downloads, both apart from the server.

Playwright has no setting for the executable that Skyvern passes on, but it accepts any folder of the right name that holds
an INSTALLATION_COMPLETE file. The revision numbers change with every Playwright, so they are read from its browsers.json.
Layout of Playwright 1.65 on Linux, seen in its registry/index.js and by running it.
"""

import json
import sys
from pathlib import Path

import playwright

# Starts the program that its name says.
SANDBOXED = Path("/usr/local/lib/skyvern/sandboxed")
EXECUTABLES = {
    "chromium": "chrome-linux64/chrome",
    "chromium-headless-shell": "chrome-headless-shell-linux64/chrome-headless-shell",
    "ffmpeg": "ffmpeg-linux",
}
# Found there before Debian's own, which Skyvern and the start command name without a path.
PROGRAMS = Path("/usr/local/bin")
HELPERS = ("Xvfb", "ffmpeg", "ffprobe", "tesseract")
DEBIANS = (Path("/usr/lib/chromium/chromium"), *(Path("/usr/bin") / name for name in HELPERS))


def main(target: Path) -> None:
    """Makes the links below ``target``; fails when Playwright or Debian has not what is expected."""
    for program in (SANDBOXED, *DEBIANS):
        if not program.is_file():
            raise SystemExit(f"link-browsers: {program} does not exist")
    listed = json.loads((Path(playwright.__file__).parent / "driver/package/browsers.json").read_text())["browsers"]
    revisions = {browser["name"]: browser["revision"] for browser in listed}
    for name, inside in EXECUTABLES.items():
        folder = target / f"{name.replace('-', '_')}-{revisions[name]}"
        link(folder / inside)
        (folder / "INSTALLATION_COMPLETE").touch()
    for name in HELPERS:
        link(PROGRAMS / name)


def link(place: Path) -> None:
    """Puts the one program at a place by whose name it is called."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(SANDBOXED)
    print(f"{place} -> {SANDBOXED}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
