"""Entry point of ``pulumi up``: load the settings, build the platform, export. No logic."""

import sys

import pulumi

from components.platform import SkyvernPlatform
from components.settings import SettingsError, load

# Pulumi's Python host takes this exit code for "the user has been told" and adds nothing of its own.
EXIT_TOLD = 32

try:
    platform = SkyvernPlatform("skyvern", load(), stack=pulumi.get_stack())
except SettingsError as wrong:
    for line in wrong.lines:
        pulumi.log.error(line)
    sys.exit(EXIT_TOLD)

for name, value in platform.outputs.items():
    pulumi.export(name, value)
