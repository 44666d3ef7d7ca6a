"""`python -m spotlightd` is the command `spotlightd`."""

import sys

from spotlightd.cli import main

if __name__ == "__main__":
    sys.exit(main())
