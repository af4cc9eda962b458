"""`python -m sdetheory`: the `sdetheory` command where it is not on the path."""

import sys

from sdetheory.cli import main

if __name__ == "__main__":
    sys.exit(main())
