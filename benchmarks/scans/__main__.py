"""`python -m benchmarks.scans [--quick] [--only PART ...] [--tools NAME ...] [--out DIR]`."""

import argparse
import json
import pathlib
import sys
from typing import Any

from . import accidents, report, size
from .peers import TOOLS

PARTS = ("accidents", "race", "size")


def _arguments(given: list[str] | None) -> argparse.Namespace:
    about = "Scans, and the same accidents for other tools that are installed."
    parser = argparse.ArgumentParser("python -m benchmarks.scans", description=about)
    parser.add_argument("--quick", action="store_true", help="fewer points and repeats")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--tools", nargs="+", choices=list(TOOLS), default=list(TOOLS), metavar="NAME",
                        help=f"default: all of {'; '.join(TOOLS)}")  # fmt: skip
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks_out"), metavar="DIR",
                        help="where results go (default: benchmarks_out)")  # fmt: skip
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> int:
    """Run the parts, leaving out tools that are not installed; print the table and save the numbers."""
    options = _arguments(given)
    tools = [tool for tool in options.tools if TOOLS[tool].version is not None]
    found: dict[str, Any] = {"versions": {tool: TOOLS[tool].version for tool in tools}}
    if absent := [tool for tool in options.tools if tool not in tools]:
        print(f"not installed: {', '.join(absent)}", file=sys.stderr)
    if "accidents" in options.only:
        found["accidents"] = {tool: accidents.all_of(tool, options.quick) for tool in tools}
    if "race" in options.only:
        count, wait = (200, 0.002) if options.quick else (1000, 0.002)
        seconds = accidents.race(tools, count, wait, 1 if options.quick else 3)
        found["race"] = {"count": count, "wait": wait, "seconds": seconds}
    if "size" in options.only:
        found["size"] = size.measure(options.quick)
        found["size"]["plan"] = size.plan(found["size"])
    options.out.mkdir(parents=True, exist_ok=True)
    text = "\n".join(report.lines(found))
    (options.out / "scans.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.out / "scans.txt").write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
