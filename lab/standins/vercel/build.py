"""``vercel build`` without an account: makes the folder ``.vercel/output``, which Vercel would deploy, from a project's files."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ops.clients import process
from ops.paths import ROOT, cache_dir, made_once

SITE = ROOT / "site"
TOOLS = Path(__file__).parent
# Folders of a checkout of the site that are not part of it.
LEFT_OUT = ("node_modules", "dist", ".vercel")
BUILD_SECONDS = 900


def cached(name: str, source: Path, make: Callable[[Path], object]) -> Path:
    """A folder of the cache that ``make`` fills once for each content of ``source``."""
    return made_once(cache_dir() / "vercel" / f"{name}-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}", make)


def command_line() -> Path:
    """Vercel's command line, a program for Node.js; from npm the first time."""
    return node_modules("tools", TOOLS) / "vercel/dist/vc.js"


def node_modules(name: str, source: Path) -> Path:
    """What a package.json and its lock name, from npm the first time; no package's scripts are run."""

    def install(folder: Path) -> None:
        for file in ("package.json", "package-lock.json"):
            shutil.copy(source / file, folder)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        process.capture(command, cwd=folder, timeout_seconds=BUILD_SECONDS)

    return cached(name, source / "package-lock.json", install) / "node_modules"


def wheel() -> Path:
    """The UI's wheel, by pip's own configuration: not every machine reaches the public index, which the build would ask."""
    requirements = SITE / "ui-requirements.txt"
    (path,) = cached("wheel", requirements, lambda folder: download_wheels(folder, requirements)).glob("*.whl")
    return path


def download_wheels(folder: Path, requirements: Path) -> None:
    """Downloads the wheels that a file of requirements names by their hashes, without their dependencies."""
    options: tuple[str | Path, ...] = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "--dest", folder)
    command = [sys.executable, "-m", "pip", "download", "--quiet", *options, "-r", requirements]
    process.capture(command, cwd=folder, timeout_seconds=BUILD_SECONDS)


def site_settings() -> dict[str, Any]:
    """The settings of a project of the site: only the version of Node.js, which is in package.json."""
    return {"framework": None, "nodeVersion": json.loads((SITE / "package.json").read_text())["engines"]["node"]}


def build(folder: Path, settings: Mapping[str, Any], variables: Mapping[str, str], work: Path) -> Path:
    """Runs ``vercel build --prod`` on a project's files in ``folder``, which it changes; returns ``.vercel/output``.

    settings: of the project, as its ``project.json`` has them. variables: of the production environment. work: a folder for other
    files. Raises UserError with the end of the output if the build fails.
    """
    (folder / ".vercel").mkdir(exist_ok=True)
    project = {"projectId": "prj_local", "orgId": "team_local", "settings": dict(settings)}
    (folder / ".vercel/project.json").write_text(json.dumps(project))
    # `vercel build` looks up the logged-in user but works without: give it a dummy token and a closed port.
    login: tuple[str | Path, ...] = ("--token", "none", "--api", "http://127.0.0.1:9", "--global-config", work / "settings")
    own = {"SKYVERN_UI_WHEEL": str(wheel()), "VERCEL_TELEMETRY_DISABLED": "1", "NO_UPDATE_NOTIFIER": "1"}
    # No variable of this shell that could replace a variable that the project lacks.
    shell = {name: value for name, value in os.environ.items() if not name.startswith(("VITE_", "SKYVERN_", "VERCEL_"))}
    command = ["node", command_line(), "build", "--prod", "--yes", *login]
    process.capture(command, cwd=folder, env={**shell, **variables, **own}, timeout_seconds=BUILD_SECONDS)
    return folder / ".vercel/output"
