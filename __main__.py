"""Entry point of ``pulumi up``: load the settings, build the platform, export. No logic."""

import gc
import sys

import pulumi

# A program makes everything once and ends. Looking for garbage among the million objects of the SDKs, which stay, took half of a
# preview's time in here with Cloudflare and Vercel (2.2 s of CPU, 1.2 without), and no memory came back by it.
gc.disable()

from components.platform import SkyvernPlatform  # noqa: E402  see above
from components.settings import SettingsError, load  # noqa: E402  see above

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
