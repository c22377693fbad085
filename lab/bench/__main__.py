"""Entry point of script/bench."""

import sys

from lab.bench import main

sys.exit(main())
