"""Day-two commands: what a person or a workflow runs around ``pulumi up``. Nothing here declares a resource."""

import os
import tempfile

try:
    tempfile.gettempdir()
except FileNotFoundError:
    # On a full disk. Pulumi's SDK asks for the folder when it is imported, before ops doctor could say that the disk is full;
    # whoever writes a file there gets the system's own error.
    tempfile.tempdir = os.sep + "tmp"
