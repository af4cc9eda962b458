"""How each tool runs a scan in a folder, resuming what is there, and gives back all values."""

import importlib.metadata
import pathlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import sdetheory

from .work import value

Values = dict[int, Any]


class Tool(NamedTuple):
    """A tool: its package, how it runs, and which files hold its results (a glob)."""

    package: str
    run: Callable[[int, pathlib.Path], Values]
    results: str

    @property
    def version(self) -> str | None:
        """Installed version, or None."""
        if self.package == "sdetheory":
            return sdetheory.__version__
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None


def _sdetheory(count: int, folder: pathlib.Path, **options: Any) -> Values:
    from sdetheory.scan import Point, Store
    from sdetheory.scan.runner import run

    points = [Point("benchmarks.scans.work:point", {"x": float(x)}) for x in range(count)]
    summary = run(points, folder / "store", progress=False, **options)
    assert summary.missing == 0, summary
    return {int(one.parameters["x"]): one.measured["value"] for one in Store(folder / "store").records()}


def ours_serial(count: int, folder: pathlib.Path) -> Values:
    """This package in one process."""
    return _sdetheory(count, folder, serial=True)


def ours_two(count: int, folder: pathlib.Path) -> Values:
    """This package with two workers."""
    return _sdetheory(count, folder, workers=2)


def joblib_memory(count: int, folder: pathlib.Path, jobs: int = 1) -> Values:
    """A cached function."""
    from joblib import Memory, Parallel, delayed

    cached = Memory(folder, verbose=0).cache(value)
    found = Parallel(n_jobs=jobs)(delayed(cached)(float(x)) for x in range(count))
    return dict(enumerate(found))


def joblib_two(count: int, folder: pathlib.Path) -> Values:
    """A cached function in two processes."""
    return joblib_memory(count, folder, jobs=2)


def psweep_run(count: int, folder: pathlib.Path) -> Values:
    """A table in a pickle."""
    import psweep

    table = psweep.run(_psweep_point, [{"x": float(x)} for x in range(count)], calc_dir=str(folder / "calc"),
                       skip_dups=True)  # fmt: skip
    return {int(x): y for x, y in zip(table["x"], table["value"], strict=True)}


def _psweep_point(given: dict[str, Any]) -> dict[str, Any]:
    return {"value": value(given["x"])}


def xyzpy_harvester(count: int, folder: pathlib.Path) -> Values:
    """A data set in a netCDF file, merged at the end."""
    import xyzpy

    harvester = xyzpy.Harvester(xyzpy.Runner(value, "value"), data_name=str(folder / "data.h5"))
    missing = [float(x) for x in range(count)]
    if harvester.full_ds is not None:
        here = harvester.full_ds["value"].dropna("x")["x"].values
        missing = [x for x in missing if x not in here]
    if missing:
        harvester.harvest_combos({"x": missing}, verbosity=0)
    return {int(x): float(y) for x, y in zip(harvester.full_ds["x"], harvester.full_ds["value"], strict=True)}


def xyzpy_crop(count: int, folder: pathlib.Path) -> Values:
    """A file for each point, gathered at the end."""
    import xyzpy

    crop = xyzpy.Crop(fn=value, name="scan", parent_dir=str(folder), batchsize=1)
    if not (folder / ".xyz-scan").exists():
        crop.sow_combos({"x": [float(x) for x in range(count)]}, verbosity=0)
    crop.grow_missing(verbosity=0)
    return dict(enumerate(map(float, crop.reap(clean_up=False))))


TOOLS: Mapping[str, Tool] = MappingProxyType({
    "sdetheory": Tool("sdetheory", ours_serial, "store/shards/**/*.shard"),
    "sdetheory, 2 workers": Tool("distributed", ours_two, "store/shards/**/*.shard"),
    "xyzpy Crop": Tool("xyzpy", xyzpy_crop, ".xyz-scan/results/*"),
    "xyzpy Harvester": Tool("xyzpy", xyzpy_harvester, "data.h5"),
    "psweep": Tool("psweep", psweep_run, "calc/database.pk"),
    "joblib.Memory": Tool("joblib", joblib_memory, "**/output.pkl"),
    "joblib.Memory, 2 jobs": Tool("joblib", joblib_two, "**/output.pkl"),
})  # fmt: skip
