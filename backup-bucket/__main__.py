"""Entry point of the stack with the backups' bucket: load the settings, build the bucket, export. No logic."""

import gc
import sys
from pathlib import Path

import pulumi

# Pulumi starts a program with its own folder alone on the path; the components are in the one above.
sys.path.insert(1, str(Path(__file__).resolve().parent.parent))
# As in the program beside it (__main__.py).
gc.disable()

from components.bucket import BackupBucket, load  # noqa: E402  see above
from components.settings import SettingsError  # noqa: E402  see above

# By this exit code Pulumi's Python host knows that the error has been reported, and adds nothing to it.
EXIT_REPORTED = 32

try:
    bucket = BackupBucket("bucket", load())
except SettingsError as wrong:
    for line in wrong.lines:
        pulumi.log.error(line)
    sys.exit(EXIT_REPORTED)

for name, value in bucket.outputs.items():
    pulumi.export(name, value)
