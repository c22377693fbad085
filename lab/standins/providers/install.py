"""A PULUMI_HOME in which the engine finds the stand-ins, and the process of such a plugin."""

import functools
import importlib
import os
import shlex
import sys
import warnings
from pathlib import Path

from lab.standins.providers.schema import Schema, reflect
from lab.standins.providers.vendor import Vendor
from lab.standins.providers.world import WORLD_VARIABLE, World
from ops.paths import ROOT


def install(folder: Path, engine_home: Path, *vendors: str) -> Path:
    """Makes ``folder`` a PULUMI_HOME with the stand-ins of ``vendors`` ("cloudflare") and the plugins of ``engine_home``.

    Each has the version that its SDK asks for and is found without a warning, unlike a plugin on PATH. Returns ``folder``. To use
    the published plugin, leave the vendor out: ``pulumi plugin install`` puts it into ``engine_home``.
    """
    plugins = folder / "plugins"
    plugins.mkdir(parents=True)
    for plugin in sorted((engine_home / "plugins").iterdir()):
        # A stand-in replaces the engine's own plugin.
        if plugin.is_dir() and not plugin.name.startswith(tuple(f"resource-{name}-" for name in vendors)):
            # The engine skips a plugin's folder that is a link, but not its files.
            (plugins / plugin.name).mkdir()
            for file in plugin.iterdir():
                (plugins / plugin.name / file.name).symlink_to(file)
    for name in vendors:
        schema = schema_of(name)
        target = plugins / f"resource-{name}-v{schema.version}"
        target.mkdir()
        # Reflection takes three seconds, which each of many plugin processes would pay again.
        (target / "schema.json").write_text(schema.model_dump_json())
        executable = target / f"pulumi-resource-{name}"
        executable.write_text(
            f"""#!/bin/sh
PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} -P -m {__package__} {name} "${{0%/*}}/schema.json" "$@"
"""
        )
        executable.chmod(0o755)
    return folder


@functools.cache
def schema_of(name: str) -> Schema:
    """The installed SDK of a vendor, as far as the kinds and look-ups of the stand-in."""
    known = vendor(name)
    with warnings.catch_warnings():
        # Importing pulumi_cloudflare reports each of its own deprecated classes.
        warnings.simplefilter("ignore", DeprecationWarning)
        sdk = importlib.import_module(known.sdk)
    return reflect(sdk, [kind.resource for kind in known.kinds], known.functions)


def vendor(name: str) -> Vendor:
    """The module of this name beside this one."""
    standin: Vendor = importlib.import_module(f"{__package__}.{name}").VENDOR
    return standin


def main(name: str, schema: str, engine_address: str = "") -> None:
    """The plugin process."""
    # Here for the start time of commands that only install: they do not need gRPC.
    from lab.standins.providers.provider import serve_vendor

    if WORLD_VARIABLE not in os.environ:
        sys.exit(f"pulumi-resource-{name}: {WORLD_VARIABLE} names no world")
    world = World(Path(os.environ[WORLD_VARIABLE]))
    serve_vendor(vendor(name), Schema.model_validate_json(Path(schema).read_text()), world, engine_address)
