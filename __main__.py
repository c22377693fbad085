"""Entry point of ``pulumi up``: load the settings, build the platform, export. No logic."""

import sys

import pulumi

from components.platform import SkyvernPlatform
from components.settings import SettingsError, load

# By this exit code Pulumi's Python host knows that the error has been reported, and adds nothing to it.
EXIT_REPORTED = 32

try:
    platform = SkyvernPlatform("skyvern", load(), stack=pulumi.get_stack())
except SettingsError as wrong:
    for line in wrong.lines:
        pulumi.log.error(line)
    sys.exit(EXIT_REPORTED)

for name, value in platform.outputs.items():
    pulumi.export(name, value)
