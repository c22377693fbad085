"""Docker 29, which no Debian has: command and daemon, built of their Go modules."""

import json
import os
import shutil
import tempfile
from pathlib import Path

from lab import go_program
from ops.clients import process
from ops.machine import go

_SOURCE = Path(__file__).parent
# The command's; the daemon's module counts in its own way.
VERSION = "29.9.3"
_DAEMON = "github.com/moby/moby/v2/cmd/dockerd"
_COMMAND = "github.com/docker/cli"
_SWARM = "github.com/moby/swarmkit/v2"


def programs() -> Path:
    """A folder with ``docker`` and ``dockerd``, from the user's cache (some ten minutes on two cores where it is not there)."""
    # What a release's own build writes into them.
    folder = go_program.ensure_programs(_SOURCE, _DAEMON, linker=f"-X github.com/moby/moby/v2/dockerversion.Version={VERSION}")
    if not (folder / "docker").exists():
        _build_command(folder / "docker")
    return folder


def _build_command(program: Path) -> None:
    """It has no go.mod: with one of its own, it counts as a module of Go 1.16, which it is not. Its vendor.mod is one."""
    environment = go.variables()
    downloaded = process.capture(["go", "mod", "download", "-json", _COMMAND], cwd=_SOURCE, env=environment, timeout_seconds=600)
    sums = [line for line in (_SOURCE / "go.sum").read_text().splitlines(keepends=True) if line.startswith(_SWARM)]
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "cli"
        shutil.copytree(
            json.loads(downloaded)["Dir"], source, ignore=shutil.ignore_patterns("vendor"), copy_function=shutil.copyfile
        )
        # The tag that it asks for is not everywhere to be had; the commit that the daemon asks for is.
        replaced = f"\nreplace {_SWARM} => {_SWARM} {sums[0].split()[1]}\n"
        (source / "go.mod").write_text((source / "vendor.mod").read_text() + replaced)
        (source / "go.sum").write_text((source / "vendor.sum").read_text() + "".join(sums))
        partial = program.with_name(f"{program.name}.{os.getpid()}")
        linker = f"-s -w -X {_COMMAND}/cli/version.Version={VERSION}"
        command: list[str | Path] = ["go", "build", "-ldflags", linker, "-o", partial, "./cmd/docker"]
        process.capture(command, cwd=source, env=environment, timeout_seconds=3600)
    partial.rename(program)
