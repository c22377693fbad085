"""Gives Playwright Debian's Chromium and ffmpeg under the names where it looks for its own downloads, both apart from the server.

Playwright has no setting for the executable that Skyvern passes on, but it accepts any folder of the right name that holds
an INSTALLATION_COMPLETE file. The names differ with its version and the processor, so its own registry is asked for them, inside
its driver: Playwright 1.65, where a launch asks the same registry.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import playwright

# Starts the program that its name says.
SANDBOXED = Path("/usr/local/lib/skyvern/sandboxed")
EXECUTABLES = ("chromium", "chromium-headless-shell", "ffmpeg")
# In Playwright's spelling. Both, so that a build on one proves the layout of the other.
PLATFORMS = ("debian13-x64", "debian13-arm64")
# Found there before Debian's own, which Skyvern and the start command name without a path.
PROGRAMS = Path("/usr/local/bin")
HELPERS = ("Xvfb", "ffmpeg", "ffprobe", "tesseract")
DEBIANS = (Path("/usr/lib/chromium/chromium"), *(Path("/usr/bin") / name for name in HELPERS))

DRIVER = Path(playwright.__file__).parent / "driver"
# Prints [folder, executable] of each name; executable is null where Playwright has none for the platform.
ASK = """
const [bundle, ...names] = process.argv.slice(1);
const {registry} = require(bundle).registry;
const found = names.map(name => registry.findExecutable(name));
console.log(JSON.stringify(found.map(one => [one.directory, one.executablePath() ?? null])));
"""
# Fails as a launch does.
LAUNCH = """
const [bundle, ...names] = process.argv.slice(1);
const {registry} = require(bundle).registry;
names.forEach(name => registry.findExecutable(name).executablePathOrDie('python'));
"""


def main(target: Path) -> None:
    """Makes the links below ``target``; fails when Playwright or Debian has not what is expected."""
    for program in (SANDBOXED, *DEBIANS):
        if not program.is_file():
            raise SystemExit(f"link-browsers: {program} does not exist")
    for platform in PLATFORMS:
        for name, (folder, executable) in zip(EXECUTABLES, json.loads(ask(ASK, target, platform)), strict=True):
            if executable is None:
                raise SystemExit(f"link-browsers: Playwright has no {name} for {platform}")
            if not Path(executable).is_symlink():
                link(Path(executable))
            (Path(folder) / "INSTALLATION_COMPLETE").touch()
    for name in HELPERS:
        link(PROGRAMS / name)
    for platform in ("", *PLATFORMS):
        ask(LAUNCH, target, platform)


def ask(script: str, target: Path, platform: str) -> str:
    """What a script for Playwright's own Node.js prints. platform: empty for what Playwright takes this machine for."""
    environment = {**os.environ, "PLAYWRIGHT_BROWSERS_PATH": str(target), "PLAYWRIGHT_HOST_PLATFORM_OVERRIDE": platform}
    command = [DRIVER / "node", "-e", script, DRIVER / "package/lib/coreBundle.js", *EXECUTABLES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.splitlines()
        reason = next((line for line in lines if "Error: " in line), lines[-1] if lines else "no answer")
        raise SystemExit(f"link-browsers: Playwright on {platform or 'this machine'}: {reason}")
    return done.stdout


def link(place: Path) -> None:
    """Puts the one program at a place by whose name it is called."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(SANDBOXED)
    print(f"{place} -> {SANDBOXED}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
