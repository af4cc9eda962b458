"""`python -m figures`: compute, check, draw and record the figures."""

import sys

from figures.press.runner import main

if __name__ == "__main__":
    sys.exit(main())
