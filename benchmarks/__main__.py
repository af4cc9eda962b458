"""`python -m benchmarks [--quick] [--only NAME ...] [--out DIR] [--list]`."""

import argparse
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

Tick = Callable[[str], Any]
NAMES = {
    "W1": "deep-linear gradient flow against numbalsoda, scipy, diffrax",
    "W1b": "deep-linear gradient descent against numpy, jax",
    "heatmap": "W1 and W1b for depths 2-8 and widths 2-32 on one core: the best peer cell by cell, as a figure",
    "W2": "normalised-net SDE, d=16, against numpy, jax, diffrax, torchsde and the normals limit",
    "W3": "the same with d=1000",
    "threads": "two threads against one",
    "first": "first call in a fresh process, empty and filled compiler cache",
    "memory": "memory of a run beside its inputs and outputs",
    "networks": "training ensembles of small networks against torch, one core each",
    "study": "work and precision: time to a given error of an equilibrium expectation",
    "transients": "time to a given error of an expectation on the way to equilibrium, with variance reduction",
}


def _arguments(given: list[str] | None) -> argparse.Namespace:
    about = "Race the package against numpy, scipy and what else is installed."
    parser = argparse.ArgumentParser("python -m benchmarks", description=about)
    parser.add_argument("--quick", action="store_true", help="smaller parts of the work, fewer repeats")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(NAMES), default=list(NAMES),
                        help=f"what to run (default: all): {', '.join(NAMES)}")  # fmt: skip
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks_out"), metavar="DIR",
                        help="where results go (default: benchmarks_out)")  # fmt: skip
    parser.add_argument("--list", action="store_true", help="say what there is to run, and who is installed")
    return parser.parse_args(given)


def _list() -> None:
    from .rivals import RIVALS

    for name, text in NAMES.items():
        print(f"{name:11}{text}")
        for rival in RIVALS.get(name, ()):
            print(f"{'':11}{rival.name:34}{rival.version or 'not installed'}")


def _sections(names: list[str], quick: bool, tick: Tick) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, results) of each part of the run as it ends; the same key again completes it."""
    from . import fresh, races

    kernels = ("W2",) if quick else ("W1", "W1b", "W2", "W3")
    for name in names:
        if name in races.RIVALS:
            yield "races", {name: races.race(name, quick, 3 if quick else 5, tick)}
    if "threads" in names:
        for name in kernels:
            tick(f"{name}: two threads against one")
            yield "speed_up", {name: races.speed_up(name, quick)}
    if "first" in names:
        for name in ("W2",) if quick else fresh.FIRST_CALLS:
            tick(f"{name}: first calls")
            yield "first_call", {name: fresh.first_call(name, 1 if quick else 3)}
    if "memory" in names:
        for name in kernels:
            tick(f"{name}: memory")
            yield "memory", {name: fresh.memory(name)}
    if "heatmap" in names:
        from . import heatmap

        yield "heatmap", heatmap.run(quick, tick)
    if "networks" in names:
        from . import networks

        tick("networks")
        yield "networks", networks.run(quick, tick)
    if "study" in names:
        from . import study

        yield "study", study.run(quick, tick)
    if "transients" in names:
        from . import transients

        yield "transients", transients.run(quick, tick)


def main(given: list[str] | None = None) -> int:
    """Run, saving after every part; print the table and draw the figure; 0 whatever the ratios are."""
    arguments = _arguments(given)
    if arguments.list:
        _list()
        return 0
    from . import report

    start = time.perf_counter()

    def tick(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{time.perf_counter() - start:5.0f} s  {text}", end="", file=sys.stderr, flush=True)

    results: dict[str, Any] = {"mode": "quick" if arguments.quick else "full", "machine": report.machine()}
    for key, part in _sections(arguments.only, arguments.quick, tick):
        results.setdefault(key, {}).update(part)
        results["seconds"] = time.perf_counter() - start
        files = report.save(results, arguments.out)
    tick("")
    print("\n".join(report.lines(results)))
    if "heatmap" in results:
        from . import heatmap

        files += heatmap.draw(results["heatmap"], arguments.out)
    if "study" in results:
        from . import study

        files += study.draw(results["study"], arguments.out)
    if "transients" in results:
        from . import transients

        files += transients.draw(results["transients"], arguments.out)
    print(f"\n{results['seconds']:.0f} s; saved {', '.join(str(f) for f in files)}")
    return 0


if __name__ == "__main__":
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")  # peers that use threads use their own, on whole ensembles
    sys.exit(main())
