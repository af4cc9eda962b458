"""The commands `sdetheory scan`, `show`, `export` and `plot`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SCAN = """Run an experiment over a grid of parameters and keep every result.

FILE.toml names an experiment, its axes and its seeds; everything is checked before anything runs. Results go to
the store DIR as they come. Running the same command again computes what is missing and nothing else: after a kill, a
crash, a full disk, or with a longer grid. Each result is kept with its standard error and, where the theory has one,
the predicted value, their ratio and a verdict."""
SCAN_EPILOG = """example (grid.toml):
  [scan]
  experiment = "effective_lr"        # sdetheory scan --experiments lists them; "module:function" is one of your own
  seeds = 3

  [axes.lr]
  log = [0.01, 1, 9]                 # first, last, count; or linear = [...]; or values = [...]

  [axes.weight_decay]
  values = [0.01, 0.03, 0.1]         # zip = "name" on several axes makes them advance together

  [parameters]
  d = 16                             # what does not vary

  sdetheory scan grid.toml --dry-run
  sdetheory scan grid.toml --store results --workers 2
  sdetheory show results
  sdetheory plot results --out effective_lr.png

exit status: 0 every point has a result; 1 some points diverged or failed; 2 wrong input, nothing ran;
3 the store refused (another run holds it, its code or settings changed, disk full); 130, 143 interrupted (go on with
the same command)."""

SHOW = """What a store holds: how many points of which kind, a table of the groups, what went wrong."""
EXPORT = """Write all points of a store as one tidy table (csv, npz, parquet) or labelled arrays (netcdf)."""
PLOT = """Draw one observable of a store: a heat map with iso-lines over two axes, or curves with error bars of two
standard errors; predictions dashed."""
SHOW_EPILOG = """examples:
  sdetheory show results
  sdetheory show results --observable gamma --all
  sdetheory show results --failures            # with tracebacks"""
EXPORT_EPILOG = """examples:
  sdetheory export results --to csv            # results.csv
  sdetheory export results --to npz --out mine.npz
  sdetheory export results --to netcdf         # needs pip install 'sdetheory[data]'

columns: experiment, parameters, seed, status (ok, diverged, failed), measured.NAME, standard_error.NAME,
predicted.NAME, margin.NAME, ratio.NAME, verdict.NAME, reason, id. In csv an empty cell is missing, nan is not a
number."""
PLOT_EPILOG = """examples:
  sdetheory plot results                                   # results.png: the first observable over the first two axes
  sdetheory plot results --observable gamma --out gamma.pdf
  sdetheory plot results --curves --x lr                   # one curve a value of the other axis
  sdetheory plot results --at depth=3                      # fix a further axis"""


def scan_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `sdetheory scan`."""
    parser.description, parser.epilog = SCAN, SCAN_EPILOG
    parser.add_argument("file", nargs="?", metavar="FILE.toml", help="description of the scan, or an example's name")
    parser.add_argument("--store", metavar="DIR", help="where results are kept (created if it is not there)")
    what = parser.add_argument_group("instead of running")
    what.add_argument("--dry-run", action="store_true", help="say how many points would run, how long, how much disk")
    what.add_argument("--why", action="store_true", help="say why each group of points would run")
    what.add_argument("--experiments", nargs="?", const="", metavar="NAME", help="list the experiments, or explain one")
    what.add_argument("--examples", nargs="?", const="", metavar="NAME", help="list the example scans, or print one")
    again = parser.add_argument_group("what to run again")
    again.add_argument("--retry", metavar="KINDS", default="", help="also points that are: failed,diverged")
    said = "where the code changed since: refuse (default), keep the old results, or recompute them"
    again.add_argument("--changed", choices=("refuse", "keep", "recompute"), default="refuse", help=said)
    how = parser.add_argument_group("how")
    how.add_argument("--fail-fast", action="store_true", help="stop at the first failed point (default: keep going)")
    how.add_argument("--tries", type=int, default=3, metavar="N",
                     help="how many processes may die of a point before it counts as failed (default 3)")  # fmt: skip
    how.add_argument("--workers", type=int, metavar="N", help="processes (default: one a processor)")
    how.add_argument("--scheduler", metavar="ADDRESS", help="an existing dask cluster, such as tcp://host:8786")
    how.add_argument("--serial", action="store_true", help="in this process, one chunk after the other: for debugging")


def scan(options: argparse.Namespace) -> int:
    """Run a scan, or say what would run."""
    from sdetheory.scan import examples

    if options.experiments is not None:
        print(explain(options.experiments))
        return 0
    if options.examples is not None:
        print(examples.shown(options.examples))
        return 0
    if options.file is None:
        raise ValueError("name a FILE.toml; `sdetheory scan --help` shows one, `sdetheory scan --examples` lists some")
    from sdetheory.scan.description import Scan

    described = Scan.from_toml(examples.path(options.file))
    retry = _retry(options.retry)
    if options.dry_run or options.why:
        return _plan(described, options, retry)
    if options.store is None:
        raise ValueError("name a folder for the results: --store DIR (or --dry-run to see what would run)")
    return _run(described, options, retry)


def _retry(text: str) -> tuple[str, ...]:
    """failed,diverged as a tuple."""
    from sdetheory import checks

    kinds = tuple(part.strip() for part in text.split(",") if part.strip())
    for kind in kinds:
        checks.choice("--retry", kind, ("failed", "diverged"))
    return kinds


def _run(described: Any, options: argparse.Namespace, retry: Sequence[str]) -> int:
    """Run what is due; exit status as documented."""
    from sdetheory.scan.failing import StoreFailed
    from sdetheory.scan.flight import WorkersDie
    from sdetheory.scan.lock import StoreBusy
    from sdetheory.scan.manifest import CodeChanged, SettingsChanged

    if options.serial and (options.workers is not None or options.scheduler):
        raise ValueError("`--serial` excludes --workers and --scheduler")
    points = list(described.points())
    refusals = (StoreFailed, StoreBusy, CodeChanged, SettingsChanged, WorkersDie)
    try:
        summary = _started(described, points, options, retry)
    except refusals as error:
        print(f"sdetheory scan: {error}", file=sys.stderr)
        return 3
    _print_summary(summary, options.store, points)
    if summary.stopped:
        return 128 + summary.stopped
    return 1 if summary.failed or summary.diverged or summary.missing else 0


def _started(described: Any, points: Sequence[Any], options: argparse.Namespace, retry: Sequence[str]) -> Any:
    """The run itself."""
    from sdetheory.scan import runner

    return runner.run(
        points, options.store, root_seed=described.root_seed, description={"toml": described.to_toml()}, retry=retry,
        workers=options.workers, scheduler=options.scheduler, serial=options.serial, fail_fast=options.fail_fast,
        changed=options.changed, tries=options.tries, command=[Path(sys.argv[0]).name, *sys.argv[1:]],
    )  # fmt: skip


def _print_summary(summary: Any, store: str, points: Sequence[Any]) -> None:
    from sdetheory.scan.estimate import duration
    from sdetheory.scan.report import report, tables, troubles
    from sdetheory.scan.store import Store

    print(f"{summary.computed} points computed in {duration(summary.seconds)}; of {summary.total}: ok {summary.ok}, "
          f"diverged {summary.diverged}, failed {summary.failed}, missing {summary.missing}")  # fmt: skip
    if summary.failed or summary.diverged:
        kept = Store(store)
        names = {point.id for point in points}
        bad = [r for r in kept.records() if r.id in names and r.status != "ok"]
        print(troubles(report(bad, tables(kept))))
    if summary.stopped:
        print("interrupted: the same command goes on from here", file=sys.stderr)
    print(f"sdetheory show {store}   sdetheory plot {store}")


def _plan(described: Any, options: argparse.Namespace, retry: Sequence[str]) -> int:
    """What would run, how long it would take, how much disk; with --why the reason of every group."""
    from sdetheory.scan.estimate import estimate

    found = estimate(described, options.store, retry, options.workers or os.cpu_count() or 1, options.changed)
    print(found.text(options.store))
    if options.why:
        print(found.why())
    return 0


# -- experiments


def explain(name: str) -> str:
    """All experiments, or the parameters and observables of one."""
    from sdetheory.scan import experiments

    if not name:
        lines = [f"  {key:22} {experiments.find(key).says}" for key in experiments.NAMED]
        more = "sdetheory scan --experiments NAME explains one; \"module:function\" names a function of your own"
        return "\n".join(["experiments:", *lines, "", more])
    what = experiments.find(name)
    lines = [f"{what.name}: {what.says}", "", "parameters:"]
    lines += [f"  {key:22} {_parameter(one)}" for key, one in what.parameters.items()]
    lines += ["", "observables:"] if what.observables else []
    units = {key: f" [{one.unit}]" if one.unit else "" for key, one in what.observables.items()}
    lines += [f"  {key:22} {one.says}{units[key]}" for key, one in what.observables.items()]
    more = getattr(what, "more", "")
    return "\n".join([*lines, "", more] if more else lines)


def _parameter(one: Any) -> str:
    from sdetheory.scan.experiments import REQUIRED

    default = "required" if one.default is REQUIRED else "" if one.default is None else f"default {one.default}"
    rule = ", ".join(one.rule) if isinstance(one.rule, tuple) else "" if one.rule == "any" else str(one.rule)
    if one.kind == "integer" and isinstance(one.rule, int):
        rule = f"at least {one.rule}"
    notes = "; ".join(part for part in (rule, default) if part)
    unit = f" [{one.unit}]" if one.unit else ""
    return f"{one.says or one.kind}{unit}{f' ({notes})' if notes else ''}"


# -- show, export, plot


def _store_argument(parser: argparse.ArgumentParser, description: str, epilog: str) -> None:
    parser.description, parser.epilog = description, epilog
    parser.add_argument("store", metavar="DIR", help="a store made by `sdetheory scan --store DIR`")


def _opened(path: str) -> Any:
    from sdetheory.scan.store import Store

    if not Path(path).is_dir():
        raise ValueError(f"no store {path!r}: `sdetheory scan FILE.toml --store {path}` makes one")
    store = Store(path)
    if store.manifest is None and not store.entries:
        if store.problems:
            more = f", and {len(store.problems) - 1} more" if len(store.problems) > 1 else ""
            raise ValueError(f"nothing in {path!r} can be read: {store.problems[0]}{more}")
        raise ValueError(f"{path!r} is not a store: `sdetheory scan FILE.toml --store DIR` makes one")
    return store


def _report(path: str) -> tuple[Any, Any]:
    from sdetheory.scan.report import report, tables

    store = _opened(path)
    return store, report(store.records(), tables(store))


def show_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `sdetheory show`."""
    _store_argument(parser, SHOW, SHOW_EPILOG)
    parser.add_argument("--observable", metavar="NAME", help="what the table shows (default: the first one)")
    parser.add_argument("--all", action="store_true", help="every group, not the first 40")
    parser.add_argument("--failures", action="store_true", help="every point that failed or diverged, with tracebacks")
    parser.add_argument("--json", action="store_true", help="all groups and observables, machine-readable")


def show(options: argparse.Namespace) -> int:
    """Print a store; exit status 1 if it is damaged."""
    from sdetheory.scan import report as text

    store, found = _report(options.store)
    if options.json:
        print(text.as_json(found))
        return 0
    print(text.heading(found, _missing(store)))
    for problem in store.problems:
        print(f"  {problem}", file=sys.stderr)
    names = found.observables
    if names:
        name = found.chosen([options.observable] if options.observable else None)[0]
        print(f"\n{text.table(found, name, None if options.all else 40)}")
        others = [other for other in names if other != name]
        print(f"also measured: {', '.join(others)} (--observable NAME)" if others else "")
    if bad := text.troubles(found, options.failures, None if options.failures else 5):
        print(bad)
    return 1 if store.problems else 0


def _missing(store: Any) -> int | None:
    """Points of the description without a record; None where the experiment cannot be loaded here."""
    from sdetheory.scan.description import Scan
    from sdetheory.scan.report import tables

    if not (described := tables(store)):
        return None
    try:
        points = Scan.from_dict(described).points()
        return sum(point.id not in store.entries for point in points)
    except (ValueError, ImportError):
        return None


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `sdetheory export`."""
    _store_argument(parser, EXPORT, EXPORT_EPILOG)
    parser.add_argument("--to", choices=("csv", "npz", "parquet", "netcdf"), default="csv", help="kind of file")
    parser.add_argument("--out", metavar="FILE", help="where to (default: DIR with the suffix of the kind)")


def export(options: argparse.Namespace) -> int:
    """Write a table."""
    from sdetheory.scan.export import SUFFIX, write

    _, found = _report(options.store)
    out = options.out or f"{Path(options.store)}{SUFFIX[options.to]}"
    path = write(found, out, options.to)
    print(f"{path}: {sum(len(g.records) for g in found.groups)} points")
    return 0


def plot_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `sdetheory plot`."""
    _store_argument(parser, PLOT, PLOT_EPILOG)
    parser.add_argument("--observable", metavar="NAME", help="what is drawn (default: the first one)")
    parser.add_argument("--x", metavar="NAME", help="parameter along the horizontal axis")
    parser.add_argument("--y", metavar="NAME", help="parameter along the vertical axis, or one colour a value")
    parser.add_argument("--at", metavar="NAME=VALUE", action="append", default=[], help="fix a further parameter")
    parser.add_argument("--curves", action="store_true", help="curves rather than a heat map")
    parser.add_argument("--out", metavar="FILE", help="png, pdf or svg (default: DIR.png)")


def plot(options: argparse.Namespace) -> int:
    """Draw a picture."""
    from sdetheory.scan.plot import plot as draw

    pairs = [text.partition("=") for text in options.at]
    if wrong := [text for text, (_, equals, _) in zip(options.at, pairs, strict=True) if not equals]:
        raise ValueError(f"--at is NAME=VALUE: {wrong[0]!r}")
    out = options.out or f"{Path(options.store)}.png"
    if Path(out).suffix not in (".png", ".pdf", ".svg"):
        raise ValueError(f"--out must end in .png, .pdf or .svg: {out!r}")
    _, found = _report(options.store)
    at = {name: value for name, _, value in pairs}
    print(draw(found, out, observable=options.observable, x=options.x, y=options.y, at=at, curves=options.curves))
    return 0
