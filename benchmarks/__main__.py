"""`python -m benchmarks [--quick] [--only NAME ...] [--out DIR] [--list]`."""

import argparse
import os
import pathlib
import sys
import time
from typing import Any

NAMES = {
    "W1": "deep-linear gradient flow against numbalsoda, scipy, diffrax",
    "W1b": "deep-linear gradient descent against numpy, jax",
    "W2": "normalised-net SDE, d=16, against numpy, jax, diffrax, torchsde and the normals limit",
    "W3": "the same with d=1000",
    "threads": "two threads against one",
    "first": "first call in a fresh process, empty and filled compiler cache",
    "memory": "memory of a run beside its inputs and outputs",
    "study": "work and precision: time to a given error of an equilibrium expectation",
}


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller parts of the work, fewer repeats")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks_out"), metavar="DIR")
    parser.add_argument("--list", action="store_true", help="say what there is to run, and who is installed")
    return parser.parse_args(given)


def _list() -> None:
    from .rivals import RIVALS

    for name, text in NAMES.items():
        print(f"{name:9}{text}")
        for rival in RIVALS.get(name, ()):
            print(f"{'':11}{rival.name:34}{rival.version or 'not installed'}")


def _measure(names: list[str], quick: bool, tick: Any) -> dict[str, Any]:
    from . import fresh, races, report

    results: dict[str, Any] = {"mode": "quick" if quick else "full", "machine": report.machine()}
    kernels = ("W2",) if quick else ("W1", "W1b", "W2", "W3")
    chosen = [name for name in names if name in races.RIVALS]
    if chosen:
        results["races"] = {name: races.race(name, quick, 3 if quick else 5, tick) for name in chosen}
    if "threads" in names:
        tick("two threads against one")
        results["speed_up"] = {name: races.speed_up(name, quick) for name in kernels}
    if "first" in names:
        tick("first calls")
        first = ("W2",) if quick else fresh.FIRST_CALLS
        results["first_call"] = {name: fresh.first_call(name, 1 if quick else 3) for name in first}
    if "memory" in names:
        tick("memory")
        results["memory"] = {name: fresh.memory(name) for name in kernels}
    if "study" in names:
        from . import study

        results["study"] = study.run(quick, tick)
    return results


def main(given: list[str] | None = None) -> int:
    """Run, print the table, save JSON and the figure; 0 whatever the ratios are."""
    arguments = _arguments(given)
    if arguments.list:
        _list()
        return 0
    start = time.perf_counter()

    def tick(text: str) -> None:
        if sys.stderr.isatty():
            print(
                f"\r\033[K{time.perf_counter() - start:5.0f} s  {text}", end="", file=sys.stderr, flush=True
            )

    results = _measure(arguments.only, arguments.quick, tick)
    tick("")
    results["seconds"] = time.perf_counter() - start
    from . import report

    print("\n".join(report.lines(results)))
    files = report.save(results, arguments.out)
    if "study" in results:
        from . import study

        files += study.draw(results["study"], arguments.out)
    print(f"\n{results['seconds']:.0f} s; saved {', '.join(str(f) for f in files)}")
    return 0


if __name__ == "__main__":
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")  # peers that use threads use their own, on whole ensembles
    sys.exit(main())
