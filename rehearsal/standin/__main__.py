"""The plugin process that the engine starts: ``python -m rehearsal.standin VENDOR SCHEMA [OPTIONS] ENGINE``."""

import sys

from rehearsal.standin.install import main

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], next((value for value in sys.argv[3:] if not value.startswith("-")), ""))
