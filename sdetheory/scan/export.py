"""The records of a store as one tidy table (a row a point) in CSV, npz, Parquet, or labelled arrays in netCDF."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sdetheory.scan.records import Record
from sdetheory.scan.report import Report

TABLES = ("measured", "standard_error", "predicted", "margin", "ratio", "verdict")


def rows(found: Report) -> list[dict[str, Any]]:
    """A row a point: experiment, parameters, seed, status, measured.x, standard_error.x, ..., reason, id."""
    return [_row(one) for group in found.groups for one in group.records.values()]


def _row(one: Record) -> dict[str, Any]:
    row: dict[str, Any] = {"experiment": one.experiment, **one.parameters, "seed": one.seed, "status": one.status}
    for table in TABLES:
        row |= {f"{table}.{name}": value for name, value in getattr(one, table).items()}
    return row | {"reason": json.dumps(one.reason) if one.reason else "", "id": one.id}


def columns(table: Sequence[dict[str, Any]]) -> list[str]:
    """Names of all columns with a value, parameters before results."""
    names = list(dict.fromkeys(name for row in table for name, value in row.items() if value is not None))
    rank = {f"{prefix}.": i for i, prefix in enumerate(TABLES, 1)}
    last = {"seed": 0.3, "status": 0.6, "reason": 8, "id": 9, "experiment": -1}
    order = {n: last.get(n, next((r for p, r in rank.items() if n.startswith(p)), 0)) for n in names}
    return sorted(names, key=lambda name: order[name])


def write(found: Report, path: str | Path, kind: str) -> Path:
    """Write the table; ValueError for a package that is not installed, a file that cannot be written."""
    path = Path(path)
    if not found.groups:
        raise ValueError("the store has no records to export")
    try:
        WRITERS[kind](found, path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}") from None
    return path


def _csv(found: Report, path: Path) -> None:
    """Missing is empty, not a number is nan, a list is JSON."""
    table = rows(found)
    names = columns(table)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_cell(row.get(name)) for name in names] for row in table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    return value if isinstance(value, str) else json.dumps(value)


def arrays(found: Report) -> dict[str, np.ndarray]:
    """A column an array over points: numbers as float64 or int64 (missing: nan), lists of one shape stacked, texts."""
    table = rows(found)
    return {name: _array([row.get(name) for row in table]) for name in columns(table)}


def _array(values: list[Any]) -> np.ndarray:
    """Without pickled objects: what is neither numbers nor lists of one shape becomes text."""
    if all(isinstance(v, bool) for v in values):
        return np.array(values)
    if all(isinstance(v, int) and not isinstance(v, bool) for v in values):
        return np.array(values, dtype=np.int64)
    numeric = [v for v in values if v is not None]
    if numeric and not any(isinstance(v, str | bool | dict) for v in numeric):
        try:
            found = [np.array(v, dtype=np.float64) for v in numeric]
        except (ValueError, TypeError):
            found = []
        if found and len({a.shape for a in found}) == 1:
            empty = np.full(found[0].shape, np.nan)
            return np.array([empty if v is None else np.array(v, dtype=np.float64) for v in values])
    return np.array([_cell(v) for v in values])


def _npz(found: Report, path: Path) -> None:
    with path.open("wb") as file:
        columns_of: dict[str, Any] = arrays(found)
        np.savez_compressed(file, **columns_of)


def _parquet(found: Report, path: Path) -> None:
    pyarrow = _package("pyarrow", "parquet")
    _package("pyarrow.parquet", "parquet")
    table = rows(found)
    names = columns(table)
    mixed = {n for n in names if len({type(r.get(n)) for r in table if r.get(n) is not None} - {int, float}) > 1}
    data = {n: [_cell(r.get(n)) if n in mixed else r.get(n) for r in table] for n in names}
    pyarrow.parquet.write_table(pyarrow.table(data), path)


def _netcdf(found: Report, path: Path) -> None:
    _package("scipy.io", "netcdf")
    dataset(found).to_netcdf(path, engine=_engine())


def dataset(found: Report) -> Any:
    """An xarray Dataset over the axes and the seed where the points fill a grid, else over the points."""
    xarray = _package("xarray", "netcdf")
    axes = [*found.axes, "seed"]
    every = [one for group in found.groups for one in group.records.values()]
    ticks = {name: list(dict.fromkeys(_tick(one, name) for one in every)) for name in axes}
    ticks = {name: sorted(values) if len({type(v) for v in values}) == 1 else values for name, values in ticks.items()}
    size = int(np.prod([len(values) for values in ticks.values()]))
    columns_of = arrays(found)
    kept = {n: a for n, a in columns_of.items() if n not in axes and n not in ("experiment", "id", "reason")}
    fixed = {n: a for n, a in kept.items() if "." not in n and n != "status"}
    attributes = {n: a[0].item() if a.ndim == 1 else str(a[0].tolist()) for n, a in fixed.items()}
    data = {n: a for n, a in kept.items() if n not in fixed}
    if size != len(every):
        parts = {n: (("point", *_inner(n, a)), a) for n, a in data.items()}
        return xarray.Dataset(parts, {n: ("point", columns_of[n]) for n in axes}, attributes)
    place = {tuple(_tick(one, n) for n in axes): i for i, one in enumerate(every)}
    order = np.array([place[key] for key in _product(list(ticks.values()))])
    shape = tuple(len(values) for values in ticks.values())
    parts = {n: ((*axes, *_inner(n, a)), a[order].reshape(*shape, *a.shape[1:])) for n, a in data.items()}
    return xarray.Dataset(parts, ticks, attributes)


def _tick(one: Record, name: str) -> Any:
    value = one.seed if name == "seed" else one.parameters.get(name)
    return value if isinstance(value, int | float | str) else json.dumps(value)


def _product(values: list[list[Any]]) -> Any:
    import itertools

    return itertools.product(*values)


def _inner(name: str, array: np.ndarray) -> list[str]:
    return [f"{name}_{k}" for k in range(1, array.ndim)]


def _engine() -> str:
    """netCDF4 where it is installed, else scipy's netCDF 3."""
    try:
        import netCDF4  # noqa: F401
    except ImportError:
        return "scipy"
    return "netcdf4"


def _package(name: str, kind: str) -> Any:
    import importlib

    try:
        found = importlib.import_module(name)
    except ImportError:
        raise ValueError(
            f"`--to {kind}` needs the package {name.partition('.')[0]}: pip install 'sdetheory[data]'"
        ) from None
    return found


WRITERS: dict[str, Callable[[Report, Path], None]] = {
    "csv": _csv, "npz": _npz, "parquet": _parquet, "netcdf": _netcdf,
}  # fmt: skip
SUFFIX = {"csv": ".csv", "npz": ".npz", "parquet": ".parquet", "netcdf": ".nc"}
