"""Programs of published Go modules that no package registry has as a binary, built once and kept in the user's cache."""

import hashlib
import os
import shutil
from pathlib import Path

from ops.clients import process
from ops.machine import go
from ops.paths import cache_dir


def variables() -> dict[str, str]:
    """The environment of a build: nothing but ``go.mod`` and ``go.sum`` decides."""
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -trimpath", "GOWORK": "off"}


def ensure_programs(source: Path, *packages: str, linker: str = "") -> Path:
    """A folder with the program of each package; UserError with the compiler's words if one cannot be built.

    source: folder of a ``go.mod`` and ``go.sum`` that pin them. Some three minutes on two cores for each program that is as large
    as a Docker daemon. linker: its flags, for the versions that the programs tell.
    """
    inputs = [(source / name).read_bytes() for name in ("go.mod", "go.sum")] + [" ".join((linker, *packages)).encode()]
    folder = cache_dir() / f"{Path(packages[0]).name}-{hashlib.sha256(b''.join(inputs)).hexdigest()[:12]}"
    if not folder.is_dir():
        go.ensure_go(lambda line: None)
        partial = folder.with_name(f"{folder.name}.{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        command: list[str | Path] = ["go", "build", "-ldflags", f"-s -w {linker}", "-o", f"{partial}/", *packages]
        process.capture(command, cwd=source, env=variables(), timeout_seconds=3600)
        partial.rename(folder)
    return folder
