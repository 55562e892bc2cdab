"""``python -m lab``: the simulated fleet from the command line."""

import sys

from lab.cli import main

sys.exit(main())
