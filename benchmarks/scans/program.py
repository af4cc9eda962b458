"""A tool's scan as a program of its own, so that it can be killed: `TOOL FOLDER COUNT`, values as JSON on stdout."""

import json
import pathlib
import sys
import time

from .peers import TOOLS


def main(tool: str, folder: str, count: str) -> int:
    """Run or resume; print seconds and values."""
    began = time.perf_counter()
    values = TOOLS[tool].run(int(count), pathlib.Path(folder))
    seconds = time.perf_counter() - began
    print("RESULT", json.dumps({"seconds": seconds, "values": {str(x): float(y) for x, y in values.items()}}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
