"""The Pulumi CLI with its plugins: which one, and making it available.

The decision is a pure function of what was observed; the effects around it are thin. Not here: the build from Go modules
(ops/machine/engine_from_modules.py).
"""

import enum
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ops import shell
from ops.clients import process
from ops.clients.terminal import Progress
from ops.errors import UserError
from ops.machine import engine_from_modules, go, system
from ops.machine.system import Version
from ops.paths import ROOT, cache_dir, write_whole

EngineChoice = Literal["auto", "official", "modules"]
# 3.208 is the first that reads flags from PULUMI_OPTION_* (how plain `pulumi up` gets the policy pack); 3.225 is the oldest
# that was seen to run programs of the pinned SDK.
MINIMUM_CLI: Version = (3, 225, 0)
# Plugin -> the package that asks for it.
PLUGINS = {
    "docker": "pulumi-docker",
    "random": "pulumi-random",
    "cloudflare": "pulumi-cloudflare",
    "vercel": "pulumiverse-vercel",
}
# What every stack needs. The edge's are large, and only the stacks that have one need them (ops/stack/stack.py).
EVERY_STACK = frozenset(engine_from_modules.PLUGINS)


_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_FAILURE = re.compile(r"\berror\b|^(?:curl|tar|gzip|mkdir|cp|mv):|not found|no space|denied|not supported", re.IGNORECASE)


class EngineKind(enum.StrEnum):
    """Where the Pulumi CLI comes from."""

    PATH = "path"
    OFFICIAL = "official"
    MODULES = "modules"


@dataclass(frozen=True, kw_only=True)
class Cli:
    """A ``pulumi`` that was found. language_host: whether it can run Python programs."""

    bin_dir: Path
    version: Version
    language_host: bool


@dataclass(frozen=True, kw_only=True)
class EngineRecord:
    """The decision, kept so that the network is not asked again.

    bin_dir: the folder of ``pulumi``. pulumi_home: PULUMI_HOME for the engine built from modules, else None.
    forced: chosen with ``--engine``, therefore not reconsidered.
    """

    kind: EngineKind
    version: str
    bin_dir: str
    pulumi_home: str | None
    forced: bool

    def usable(self) -> bool:
        """Whether the CLI that was decided on is still there."""
        home = self.pulumi_home is None or Path(self.pulumi_home).is_dir()
        return home and os.access(Path(self.bin_dir) / "pulumi", os.X_OK)


def decide_engine(
    requested: EngineChoice, *, on_path: Cli | None, installed: bool, plugins: bool, reachable: Callable[[], bool]
) -> tuple[EngineKind, str]:
    """Which CLI to use, and why.

    on_path: what the user has. installed: whether the official one is already in the cache. plugins: whether the official
    plugins are there. reachable: asks Pulumi's download host; called only when the answer decides something.
    Raises UserError if an official CLI was asked for and is not available.
    """
    if requested == "modules":
        return EngineKind.MODULES, "asked for with --engine modules"
    fit = on_path is not None and on_path.version >= MINIMUM_CLI and on_path.language_host
    # A CLI without plugins deploys nothing, so it counts only where its plugins are or can be fetched.
    if (fit or installed) and plugins:
        return (EngineKind.PATH, "found on PATH") if fit else (EngineKind.OFFICIAL, "installed before")
    if reachable():
        return (EngineKind.PATH, "found on PATH") if fit else (EngineKind.OFFICIAL, _unfit(on_path))
    if requested == "official":
        raise UserError(
            "Pulumi: get.pulumi.com does not answer, so the official CLI and its plugins cannot be downloaded; "
            "check the network, or run script/bootstrap --engine modules to build them from Go modules"
        )
    return (
        EngineKind.MODULES,
        "get.pulumi.com does not answer here, so neither the official CLI nor its plugins can be downloaded",
    )


def _unfit(on_path: Cli | None) -> str:
    if on_path is None:
        return "none on PATH"
    if on_path.version < MINIMUM_CLI:
        return f"the one on PATH is {_text(on_path.version)}, older than {_text(MINIMUM_CLI)}"
    return "the one on PATH has no Python language host beside it"


def _text(version: Version) -> str:
    return ".".join(str(part) for part in version)


def observe_cli(search_path: str) -> Cli | None:
    """The user's own ``pulumi`` on a PATH; the ones that are installed from here do not count."""
    ours = f"{cache_dir()}{os.sep}"
    folders = [folder for folder in search_path.split(os.pathsep) if folder and not folder.startswith(ours)]
    executable = shutil.which("pulumi", path=os.pathsep.join(folders))
    if executable is None:
        return None
    try:
        printed = process.capture([executable, "version"], env={**shell.variables(), "PULUMI_SKIP_UPDATE_CHECK": "true"})
    except UserError:
        return None
    version = system.parse_version(printed.decode(errors="replace"))
    if version is None:
        return None
    # The engine looks for a language host beside itself first, then on PATH.
    beside = Path(executable).resolve().with_name("pulumi-language-python")
    host = beside.exists() or shutil.which("pulumi-language-python", path=os.pathsep.join(folders)) is not None
    return Cli(bin_dir=Path(executable).parent, version=version, language_host=host)


def sdk_version() -> str:
    """Version of the pinned SDK, which the official CLI is installed at."""
    return importlib.metadata.version("pulumi")


def plugin_versions(names: Collection[str] = EVERY_STACK) -> dict[str, str]:
    """Plugin name -> version, as the installed SDKs ask for them."""
    return {name: importlib.metadata.version(package) for name, package in PLUGINS.items() if name in names}


def plugin_server(name: str) -> str:
    """Where a plugin is published, as its package says; "" where Pulumi itself serves it."""
    files = importlib.metadata.files(PLUGINS[name]) or []
    declarations = [json.loads(file.read_text()) for file in files if file.name == "pulumi-plugin.json"]
    return str(declarations[0].get("server", "")) if declarations else ""


def missing_plugins(pulumi_home: Path, names: Collection[str] = EVERY_STACK) -> dict[str, str]:
    """The plugins that the folder lacks, name -> version. A half-written one (``.partial``) is missing."""
    return {
        name: version
        for name, version in plugin_versions(names).items()
        if not (pulumi_home / "plugins" / f"resource-{name}-v{version}").is_dir()
        or (pulumi_home / "plugins" / f"resource-{name}-v{version}.partial").exists()
    }


def official_url() -> str:
    """The archive that the official installer would download; whether it answers decides if it can be installed."""
    architecture = {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x64")
    return f"https://get.pulumi.com/releases/sdk/pulumi-v{sdk_version()}-linux-{architecture}.tar.gz"


def official_root() -> Path:
    """Where the official installer puts the CLI."""
    return cache_dir() / "pulumi" / sdk_version()


def record_file(root: Path = ROOT) -> Path:
    """Where the decision is kept: one file for each checkout, because each may pin another version."""
    return cache_dir() / f"engine-{hashlib.sha256(str(root).encode()).hexdigest()[:8]}.json"


def read_record(root: Path = ROOT) -> EngineRecord | None:
    """The decision that was made, or None when there is none or its CLI has gone."""
    try:
        fields = json.loads(record_file(root).read_text())
        record = EngineRecord(**{**fields, "kind": EngineKind(fields["kind"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return record if record.usable() else None


def write_record(record: EngineRecord, root: Path = ROOT) -> None:
    """Keeps a decision for a checkout."""
    write_whole(record_file(root), json.dumps(asdict(record)) + "\n")


def ensure_engine(requested: EngineChoice | None, progress: Progress, plugins: frozenset[str] = frozenset()) -> EngineRecord:
    """Makes a Pulumi CLI with its plugins available and records which.

    requested: None keeps what was chosen with ``--engine`` before, if anything. plugins: beyond those of every stack.
    Raises UserError if one of them is not available.
    """
    before = read_record()
    built = before is not None and before.kind is EngineKind.MODULES and _is_built()
    # An engine that is there is not asked for again; none is built that has other plugins than those of every stack.
    reachable = (lambda: False) if requested is None and built and not plugins else lambda: system.answers(official_url())
    if requested is None:
        requested = "auto"
        if before is not None and before.forced:
            requested = "modules" if before.kind is EngineKind.MODULES else "official"
    on_path = observe_cli(os.environ.get("PATH", ""))
    installed = os.access(official_root() / "bin" / "pulumi", os.X_OK)
    home = user_pulumi_home(os.environ, before)
    kind, why = decide_engine(
        requested,
        on_path=on_path,
        installed=installed,
        plugins=not missing_plugins(home),
        reachable=reachable,
    )
    forced = requested != "auto"
    if kind is EngineKind.MODULES:
        record = _modules_engine(why, progress, forced=forced)
    else:
        if kind is EngineKind.PATH and on_path is not None:
            bin_dir, version = on_path.bin_dir, _text(on_path.version)
        else:
            bin_dir, version = _official_engine(why, progress), sdk_version()
        record = EngineRecord(kind=kind, version=version, bin_dir=str(bin_dir), pulumi_home=None, forced=forced)
        _install_plugins(bin_dir, missing_plugins(home, EVERY_STACK | plugins), home, progress)
    if record != before:
        write_record(record)
    progress(f"Pulumi {record.version} ({why})")
    return record


def _is_built() -> bool:
    """Whether the engine from modules is in the cache, complete and of the present sources."""
    return (cache_dir() / "engine" / engine_from_modules.content_hash()).is_dir()


def _modules_engine(why: str, progress: Progress, *, forced: bool) -> EngineRecord:
    if not _is_built():
        progress(f"Pulumi: {why}.")
        progress("Building the CLI and the docker and random plugins from Go modules instead (tools/engine):")
        progress("about 6 minutes on 2 cores the first time, kept in the cache afterwards.")
        go.ensure_go(progress)
    built = engine_from_modules.ensure(progress=progress)
    return EngineRecord(
        kind=EngineKind.MODULES,
        version=built.version,
        bin_dir=str(built.bin_dir),
        pulumi_home=str(built.pulumi_home),
        forced=forced,
    )


def _official_engine(why: str, progress: Progress) -> Path:
    # Here for start time: the SDK takes a second, and only an installation needs it.
    from pulumi.automation import PulumiCommand
    from semver import VersionInfo

    version = sdk_version()
    root = official_root()
    if not os.access(root / "bin" / "pulumi", os.X_OK):
        # The official installer is a shell script that downloads with curl alone.
        if shutil.which("curl") is None:
            machine = system.observe_machine()
            if not (machine.root and machine.debian):
                raise UserError("Pulumi: its installer needs curl; run `sudo apt-get install curl ca-certificates`")
            system.apt_install(["curl", "ca-certificates"], progress)
        progress(f"installing Pulumi {version} with the official installer into {root} ({why})")
    try:
        PulumiCommand.install(root=str(root), version=VersionInfo.parse(version))
    except (subprocess.CalledProcessError, OSError) as failed:
        output = (getattr(failed, "output", None) or b"").decode(errors="replace")
        raise UserError(
            f"Pulumi: the official installer failed: {installer_reason(output) or failed}; run it again, or script/bootstrap "
            "--engine modules"
        ) from failed
    return root / "bin"


def installer_reason(output: str) -> str:
    """The line of the official installer's output that says why it failed, without colours; "" for none.

    The first such line: at its exit it always prints where to get help, and curl and tar come before what it makes of them.
    """
    lines = [line.strip() for line in re.split(r"[\r\n]+", _COLOUR.sub("", output)) if line.strip()]
    return next((line for line in lines if _FAILURE.search(line)), lines[-1] if lines else "")


def _install_plugins(bin_dir: Path, missing: Mapping[str, str], home: Path, progress: Progress) -> None:
    for name, version in missing.items():
        server = plugin_server(name)
        progress(f"installing the {name} plugin {version}" + (f" from {server}" if server else ""))
        try:
            process.capture(
                [bin_dir / "pulumi", "plugin", "install", "resource", name, version, *(["--server", server] if server else [])],
                env={**shell.variables(), "PULUMI_HOME": str(home), "PULUMI_SKIP_UPDATE_CHECK": "true"},
                timeout_seconds=600,
            )
        except UserError as failed:
            # Without a login, GitHub answers an address 60 times in an hour.
            token = ", with GITHUB_TOKEN set if GitHub's limit is reached" if server.startswith("github:") else ""
            raise UserError(
                f"Pulumi: the {name} plugin {version} cannot be installed: {failed}; check the network and run this again{token}"
            ) from failed


def user_pulumi_home(environ: Mapping[str, str], record: EngineRecord | None) -> Path:
    """The user's own PULUMI_HOME; the one of our engine, which a shell may have from script/env, does not count."""
    named = environ.get("PULUMI_HOME", "")
    ours = named.startswith(f"{cache_dir()}{os.sep}") or (record is not None and named == record.pulumi_home)
    return Path(named) if named and not ours else Path.home() / ".pulumi"


def engine_pulumi_home() -> Path:
    """PULUMI_HOME of the decided engine: its own where it was built, else the user's."""
    record = read_record()
    return Path(record.pulumi_home) if record and record.pulumi_home else user_pulumi_home(os.environ, record)
