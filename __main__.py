"""Entry point of ``pulumi up``: load the settings, build the platform, export. No logic."""

import sys

import pulumi

from components.platform import SkyvernPlatform
from components.settings import SettingsError, load

try:
    settings = load()
except SettingsError as wrong:
    # The lines say it all; a traceback would bury them.
    for line in wrong.lines:
        pulumi.log.error(line)
    sys.exit(1)

platform = SkyvernPlatform("skyvern", settings, stack=pulumi.get_stack())
for name, value in platform.outputs.items():
    pulumi.export(name, value)
