"""Programs of published Go modules that no package registry has as a binary, built once and kept in the user's cache."""

import hashlib
from pathlib import Path

from ops.clients import process
from ops.machine import go
from ops.paths import cache_dir, made_once


def ensure_programs(source: Path, *packages: str, linker: str = "") -> Path:
    """A folder with the program of each package; UserError with the compiler's words if one cannot be built.

    source: folder of a ``go.mod`` and ``go.sum`` that pin them. Some three minutes on two cores for each program that is as large
    as a Docker daemon. linker: its flags, for the versions that the programs tell.
    """
    inputs = [(source / name).read_bytes() for name in ("go.mod", "go.sum")] + [" ".join((linker, *packages)).encode()]

    def build(folder: Path) -> None:
        go.ensure_go(lambda line: None)
        command: list[str | Path] = ["go", "build", "-ldflags", f"-s -w {linker}", "-o", f"{folder}/", *packages]
        process.capture(command, cwd=source, env=go.variables(), timeout_seconds=3600)

    return made_once(cache_dir() / f"{Path(packages[0]).name}-{hashlib.sha256(b''.join(inputs)).hexdigest()[:12]}", build)
