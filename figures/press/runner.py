"""The command `python -m figures`: compute or look up, check the caption, draw and record each figure."""

import argparse
import importlib
import multiprocessing
import os
import pkgutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from tqdm import tqdm

import figures
from figures.press import cache, files, manifest, style
from figures.press import script as parts
from figures.press.expectation import Expectation
from sdetheory import checks

Scripts = Mapping[str, Callable[[], ModuleType]]


class Printed(NamedTuple):
    """What became of one figure."""

    name: str
    expectations: list[Expectation]
    blind: list[str]
    seconds: float
    origin: str
    outputs: list[Path]

    @property
    def holds(self) -> bool:
        return not self.blind and all(expectation.holds for expectation in self.expectations)


def scripts() -> Scripts:
    """The figure scripts of this folder by name; each is imported only when it is asked for."""
    names = [found.name for found in pkgutil.iter_modules(figures.__path__) if not found.ispkg]
    return {name: _importer(name) for name in sorted(names) if not name.startswith("_")}


def _importer(name: str) -> Callable[[], ModuleType]:
    return lambda: importlib.import_module(f"figures.{name}")


def main(argv: list[str] | None = None, known: Scripts | None = None) -> int:
    """Exit status: 0 if every sentence of every caption holds, 1 if not, 2 for arguments that make no sense."""
    own = known is not None
    known = scripts() if known is None else known
    asked = _parser().parse_args(argv)
    try:
        names = [checks.choice("NAME", name, known) for name in asked.names] or list(known)
        workers = 1 if own else min(checks.integer("--workers", asked.workers, least=1), len(names))
    except ValueError as error:
        print(f"figures: {error}", file=sys.stderr)
        return 2
    if asked.list:
        _print_list([known[name]() for name in names])
        return 0
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"figures: cannot write to `--out`: {error.strerror}: --out={asked.out}", file=sys.stderr)
        return 2
    printed: list[Printed] = []
    try:
        chosen = {name: known[name] for name in names}
        run = _print_all(chosen, asked.quick, asked.out) if workers == 1 else _share_out(names, asked, workers)
        for one in run:
            printed.append(one)
    except KeyboardInterrupt:
        print(
            f"interrupted: {len(printed)} figures done; the same command goes on from there", file=sys.stderr
        )
        return 130
    finally:
        _print_table(sorted(printed, key=lambda one: names.index(one.name)))
    return 0 if all(one.holds for one in printed) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m figures", description="Draw the figures; check their captions."
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="figures to draw (default: all)")
    parser.add_argument("--quick", action="store_true", help="the same figures from small runs")
    parser.add_argument("--list", action="store_true", help="say what each figure shows, and stop")
    parser.add_argument(
        "--out", type=Path, default=Path("figures_out"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument(
        "--workers", type=int, default=_processors(), metavar="N",
        help="processes that draw figures at the same time; the results are the same (default: %(default)s)",
    )  # fmt: skip
    return parser


def _processors() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _print_list(modules: list[ModuleType]) -> None:
    for module in modules:
        print(f"{parts.name(module):16} {parts.title(module)}\n{'':16} claims {', '.join(module.CLAIMS)}")


def _print_all(asked: Scripts, quick: bool, out: Path) -> Iterator[Printed]:
    with tqdm(asked.items(), unit="figure", disable=None, leave=False) as bar:
        for name, script in bar:
            bar.set_description(name)
            yield print_figure(script(), quick, out)


def _share_out(names: list[str], asked: argparse.Namespace, workers: int) -> Iterator[Printed]:
    """The same with several processes: most of a first run is compiling, which one process does on one processor."""
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_leave_interrupts)
    try:
        pending = [pool.submit(_print_named, name, asked.quick, asked.out) for name in dict.fromkeys(names)]
        with tqdm(as_completed(pending), total=len(pending), unit="figure", disable=None, leave=False) as bar:
            for done in bar:
                yield done.result()
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts() -> None:
    """Ctrl-C goes to every process of the terminal; the first one ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _print_named(name: str, quick: bool, out: Path) -> Printed:
    return print_figure(scripts()[name](), quick, out)


def print_figure(script: ModuleType, quick: bool, out: Path) -> Printed:
    """Make one figure and its files under `out`."""
    name, start = parts.name(script), time.perf_counter()
    data, origin = obtain(script, quick, out / "cache")
    expectations = script.expect(data)
    blind = blind_checks(script, data, expectations)
    outputs = manifest.publish(script, quick, out, data, expectations, draw(script, data))
    return Printed(name, expectations, blind, time.perf_counter() - start, origin, outputs)


def obtain(script: ModuleType, quick: bool, folder: Path) -> tuple[files.Arrays, str]:
    """The figure's data from the cache or, with the reason said, computed."""
    parameters = parts.parameters(script, quick)
    recipe = cache.recipe(script, parameters)
    data, reason = cache.look_up(folder, recipe)
    if data is not None:
        return data, reason
    tqdm.write(f"{parts.name(script)}: computing ({reason})", file=sys.stderr)
    data = script.compute(parameters)
    cache.keep(folder, recipe, data)
    return data, "computed"


def blind_checks(script: ModuleType, data: files.Arrays, expectations: list[Expectation]) -> list[str]:
    """Names of the checks that do not fail on the data spoilt for them, or have no such data."""
    names = [expectation.name for expectation in expectations]
    if set(names) != set(script.BROKEN) or len(set(names)) != len(names):
        raise ValueError(f"`BROKEN` must name each check once: {sorted(script.BROKEN)} for {sorted(names)}")
    return [name for name in names if _still_holds(script, name, script.BROKEN[name](dict(data)))]


def _still_holds(script: ModuleType, name: str, spoilt: Mapping[str, Any]) -> bool:
    return next(expectation.holds for expectation in script.expect(spoilt) if expectation.name == name)


def draw(script: ModuleType, data: files.Arrays) -> tuple[bytes, bytes]:
    """The figure as PDF and PNG."""
    with style.paper():
        figure = script.draw(data)
        return files.pdf_bytes(figure), files.png_bytes(figure)


def _print_table(printed: list[Printed]) -> None:
    for one in printed:
        print(f"\n{one.name}: {one.seconds:.1f} s, {one.origin}")
        for expectation in one.expectations:
            verdict = "ok" if expectation.holds else "FAILED"
            verdict = "BLIND" if expectation.name in one.blind else verdict
            print(f"  {verdict:6} {expectation.name:32} {expectation.found:<12.6g} ({expectation.interval})")
            if verdict != "ok":
                print(f"         {expectation.sentence}")
        kinds = ",".join(path.suffix[1:] for path in one.outputs)
        print(f"  files  {one.outputs[0].with_suffix('')}.{{{kinds}}}")
    failed = sum(not one.holds for one in printed)
    if printed:
        total = sum(len(one.expectations) for one in printed)
        verdict = f"{failed} FAILED" if failed else "all hold"
        print(f"\n{len(printed)} figures, {total} sentences checked; {verdict}")
