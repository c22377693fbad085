"""Builds Pulumi's CLI and its docker and random plugins from Go modules, for a machine that reaches only package registries.

Everything lands in one folder below the cache, named by the hash of tools/engine: ``bin`` (CLI and language host) and ``home``,
a separate PULUMI_HOME, so that these plugins and the published ones never mix and ``~/.pulumi`` stays as it is.

Not here: the decision to use it (script/bootstrap asks for a published CLI first), and the plugins of Cloudflare and Vercel,
which no registry has.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ops import shell
from ops.clients import process
from ops.clients.terminal import Progress
from ops.machine import go
from ops.paths import ROOT, cache_dir, made_once

SOURCES = ROOT / "tools" / "engine"
CLI_PACKAGE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
VERSION_VARIABLE = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"
SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"
PLUGINS = ("docker", "random")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A built engine.

    bin_dir: folder with ``pulumi`` and ``pulumi-language-python``. pulumi_home: PULUMI_HOME with the plugins.
    version: of the CLI, without "v".
    """

    bin_dir: Path
    pulumi_home: Path
    version: str

    def variables(self, base: Mapping[str, str]) -> dict[str, str]:
        """The process environment ``base`` with this engine first on PATH."""
        return {
            **base,
            "PATH": os.pathsep.join([str(self.bin_dir), base.get("PATH", os.defpath)]),
            "PULUMI_HOME": str(self.pulumi_home),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }


def versions(sources: Path = SOURCES) -> dict[str, str]:
    """Pinned versions of ``pulumi`` (the CLI) and of the plugins ``docker`` and ``random``, without "v"."""
    pins: dict[str, str] = json.loads((sources / "pins.json").read_text())
    return pins


def content_hash(sources: Path = SOURCES) -> str:
    """12 hex digits over the names and bytes of all files that the built folder depends on."""
    digest = hashlib.sha256()
    for path in sorted(sources.rglob("*")):
        if path.suffix in {".go", ".mod", ".sum", ".json"} or path.name == "language_host.py":
            name, content = str(path.relative_to(sources)).encode(), path.read_bytes()
            digest.update(b"%d %s %d " % (len(name), name, len(content)) + content)
    return digest.hexdigest()[:12]


def ensure(cache: Path | None = None, progress: Progress = lambda line: None) -> Engine:
    """The engine, built first when this cache has none for the present sources.

    cache: the application's cache folder, ``cache_dir()`` by default. progress: gets one line a step.
    Needs Go (``go.ensure_go``). Raises UserError when a build fails; what is in the cache is always complete.
    """
    folder = made_once((cache or cache_dir()) / "engine" / content_hash(), lambda staging: _build(staging, progress))
    _write_language_host(folder / "bin")
    return Engine(bin_dir=folder / "bin", pulumi_home=folder / "home", version=versions()["pulumi"])


def _build(staging: Path, progress: Progress) -> None:
    pins = versions()
    bin_dir, log = staging / "bin", staging.parent / "build.log"
    flags = f"-X {VERSION_VARIABLE}=v{pins['pulumi']}"
    _compile("pulumi", pins["pulumi"], SOURCES / "cli", CLI_PACKAGE, flags, bin_dir / "pulumi", log, progress)
    sdk = process.capture(["go", "list", "-m", "-f", "{{.Dir}}", SDK_MODULE], cwd=SOURCES / "cli", env=go.variables())
    # The module cache is read-only; an ordinary copy would keep those modes.
    shutil.copyfile(
        Path(sdk.decode().strip()) / "python" / "cmd" / "pulumi-language-python-exec",
        bin_dir / "pulumi-language-python-exec",
    )
    shutil.copyfile(SOURCES / "language_host.py", bin_dir / "language_host.py")
    engine = Engine(bin_dir=bin_dir, pulumi_home=staging / "home", version=pins["pulumi"])
    for name in PLUGINS:
        binary = staging / f"pulumi-resource-{name}"
        _compile(f"{name} plugin", pins[name], SOURCES / name, ".", f"-X main.version={pins[name]}", binary, log, progress)
        process.capture(
            [bin_dir / "pulumi", "plugin", "install", "resource", name, pins[name], "--file", binary],
            env=engine.variables(shell.variables()),
        )
        binary.unlink()
    progress("built Pulumi's engine")


def _compile(
    what: str, version: str, module: Path, package: str, linker_flags: str, output: Path, log: Path, progress: Progress
) -> None:
    progress(f"building {what} {version} from Go modules (up to 4 min on 2 cores) ...")
    process.stream(
        ["go", "build", "-ldflags", f"-s -w {linker_flags}", "-o", output, package],
        cwd=module,
        env=go.variables(),
        log=log,
    )


def _write_language_host(bin_dir: Path) -> None:
    """Writes the executable that the engine starts, unless the one there names a Python that still exists.

    The cache outlives a checkout and its virtual environment, so the Python inside it is looked at each time.
    """
    executable = bin_dir / "pulumi-language-python"
    if executable.exists():
        written_for = re.search(r"^python=(.*)$", executable.read_text(), re.MULTILINE)
        if written_for and os.access(shlex.split(written_for[1])[0], os.X_OK):
            return
    replacement = executable.with_suffix(".new")
    replacement.write_text(
        f"""#!/bin/sh
python={shlex.quote(sys.executable)}
if [ ! -x "$python" ]; then
    echo "pulumi-language-python: $python is gone; run script/bootstrap" >&2
    exit 1
fi
exec "$python" -I "${{0%/*}}/language_host.py" "${{0%/*}}/pulumi-language-python-exec" "$@"
"""
    )
    replacement.chmod(0o755)
    replacement.rename(executable)
