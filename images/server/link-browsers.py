"""Gives Playwright Debian's Chromium and ffmpeg under the names where it looks for its own downloads.

Playwright has no setting for the executable that Skyvern passes on, but it accepts any folder of the right name that holds
an INSTALLATION_COMPLETE file. The revision numbers change with every Playwright, so they are read from its browsers.json.
Layout of Playwright 1.65 on Linux, seen in its registry/index.js and by running it.
"""

import json
import sys
from pathlib import Path

import playwright

# Chromium without the flags that switch its sandbox off, which Playwright adds by itself.
CHROMIUM = Path("/usr/local/lib/skyvern/sandboxed-chromium")
FFMPEG = Path("/usr/bin/ffmpeg")
EXECUTABLES = {
    "chromium": ("chrome-linux64/chrome", CHROMIUM),
    "chromium-headless-shell": ("chrome-headless-shell-linux64/chrome-headless-shell", CHROMIUM),
    "ffmpeg": ("ffmpeg-linux", FFMPEG),
}


def main(target: Path) -> None:
    """Makes the links below ``target``; fails when Playwright or Debian has not what is expected."""
    listed = json.loads((Path(playwright.__file__).parent / "driver/package/browsers.json").read_text())["browsers"]
    revisions = {browser["name"]: browser["revision"] for browser in listed}
    for name, (inside, program) in EXECUTABLES.items():
        if not program.is_file():
            raise SystemExit(f"link-browsers: {program} does not exist")
        folder = target / f"{name.replace('-', '_')}-{revisions[name]}"
        link = folder / inside
        link.parent.mkdir(parents=True)
        link.symlink_to(program)
        (folder / "INSTALLATION_COMPLETE").touch()
        print(f"{link} -> {program}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
