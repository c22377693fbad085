"""The plugin process that the engine starts: ``python -m lab.standins.providers VENDOR SCHEMA [OPTIONS] ENGINE``."""

import sys

from lab.standins.providers.install import main

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], next((value for value in sys.argv[3:] if not value.startswith("-")), ""))
