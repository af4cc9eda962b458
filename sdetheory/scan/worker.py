"""What a worker does with a chunk: run the experiment, put predictions beside, commit a shard, return a receipt.

Marks in the run's folder say which chunk had begun when a process died, and where points run one by one, which point.
"""

import functools
import os
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sdetheory.scan import comparison, experiments, sources
from sdetheory.scan import manifest as manifests
from sdetheory.scan.experiments.function import FunctionExperiment
from sdetheory.scan.failing import refuse
from sdetheory.scan.identity import Point, point_seed
from sdetheory.scan.manifest import CodeChanged
from sdetheory.scan.records import FAILED, Outcome, Record, record
from sdetheory.scan.writing import BEGUN, commit

ROOTS = ("sdetheory.scan.comparison",)
OFTEN, SHARE = 0.1, 0.05  # commit what ran point by point every 0.1 s, if that takes less than 5 % of the time


class Task(NamedTuple):
    """A chunk as it travels: plain values only."""

    path: str
    run: int
    settings: Mapping[str, Any]
    code: str
    experiment: str
    points: Sequence[tuple[Mapping[str, Any], int]]
    tries: Sequence[int]
    alone: bool
    key: str
    search: Sequence[str]


class Receipt(NamedTuple):
    """What comes back: the shards committed, seconds at work, who worked, and first lines of failures."""

    shards: list[str]
    seconds: float
    worker: str
    failures: list[str]


class DiedBefore(RuntimeError):
    """An earlier process had begun this very chunk, and died before its receipt arrived."""


def mark(path: str | pathlib.Path, run: int, key: str) -> pathlib.Path:
    """The file that says that a chunk has begun, with a line for each point begun by itself.

    It stays until the run has ended: dask repeats a task whose worker died with the answer, even one that had already
    been handed over if the scheduler does not know that yet, and the repetition finds it here.
    """
    return manifests.folder(pathlib.Path(path), run) / f"{key}{BEGUN}"


def run_chunk(task: Task) -> Receipt:
    """Compute and commit a chunk.

    Whatever an experiment raises becomes the record of its point. Raises StoreFailed, StoreBusy, CodeChanged when the
    run as a whole cannot go on, DiedBefore if a process died with this very chunk.
    """
    began = time.perf_counter()
    _enter(task)
    started = mark(task.path, task.run, task.key)
    _note(started, b"", os.O_EXCL)
    points = [Point(task.experiment, parameters, seed) for parameters, seed in task.points]
    names, failures = [], []
    for records in _portions(task, points, started):
        names.append(commit(pathlib.Path(task.path), task.run, dict(task.settings), records))
        failures += [_first_line(one) for one in records if one.status == FAILED]
    return Receipt(names, time.perf_counter() - began, f"{os.uname().nodename}:{os.getpid()}", failures)


def _portions(task: Task, points: list[Point], started: pathlib.Path) -> Iterator[list[Record]]:
    """Records to commit together: a batch at once; what runs point by point, as often as committing is cheap."""
    if not task.alone and not isinstance(experiments.find(task.experiment), FunctionExperiment):
        yield _records(task, points, list(task.tries))
        return
    waiting: list[Record] = []
    last, cost = time.perf_counter(), 0.0
    for number, (point, tries) in enumerate(zip(points, task.tries, strict=True)):
        _note(started, b"%d\n" % number, os.O_APPEND)
        waiting += _records(task, [point], [tries])
        now = time.perf_counter()
        if task.alone or now - last >= max(OFTEN, cost / SHARE):
            yield waiting
            waiting, last = [], time.perf_counter()
            cost = last - now
    if waiting:
        yield waiting


def _records(task: Task, points: list[Point], tries: list[int]) -> list[Record]:
    began = time.perf_counter()
    outcomes = _outcomes(task, points)
    each = (time.perf_counter() - began) / len(points)
    return [
        _record(task.code, point, outcome, seconds=each, tries=count + 1)
        for point, outcome, count in zip(points, outcomes, tries, strict=True)
    ]


def _outcomes(task: Task, points: list[Point]) -> list[Any]:
    """An outcome or exception a point; if a chunk raises, its points run one by one, so that only the guilty fail."""
    root = task.settings.get("root_seed", 0)
    seeds = [point_seed(root, point.id) for point in points]
    try:
        found = list(experiments.run_points(task.experiment, [dict(point.parameters) for point in points], seeds))
        if len(found) != len(points):
            raise ValueError(f"{task.experiment} must return an outcome a point: {len(found)} for {len(points)} points")
        return found
    except (Exception, SystemExit) as error:  # a user's experiment may raise anything: that is its result
        if len(points) == 1:
            return [error.with_traceback(_own(error))]
    return [one for point in points for one in _outcomes(task, [point])]


def _own(error: BaseException) -> Any:
    """The traceback from the experiment on: what a scan adds around it says nothing."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


def _record(code: str, point: Point, outcome: Outcome | BaseException, **rest: Any) -> Record:
    """The record with predictions beside; what cannot be compared or written fails, with the reason."""
    try:
        found = record(point, outcome, code=code, **rest)
        if isinstance(outcome, Outcome):
            beside = comparison.beside(point.experiment, point.parameters, outcome)
            found = record(point, outcome, code=code, **vars(beside), **rest)
        found.line()
    except Exception as error:  # a user's prediction, or a value that is no number: the point's own failure
        return record(point, error.with_traceback(_own(error)), code=code, **rest)
    return found


def _first_line(found: Record) -> str:
    what = ", ".join(f"{name}={value}" for name, value in found.parameters.items())
    message = str(found.reason.get("message", "")).splitlines()
    return f"{found.experiment}({what}) seed {found.seed}: {found.reason.get('kind')}: {message[0] if message else ''}"


def _note(file: pathlib.Path, data: bytes, how: int) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | how, 0o644)
    except FileExistsError:
        raise DiedBefore(file.name) from None
    except OSError as error:
        refuse(file, error)
    try:
        os.write(descriptor, data)
    except OSError as error:
        refuse(file, error)
    finally:
        os.close(descriptor)


# -- the code at hand --------------------------------------------------------------------------------------


def _enter(task: Task) -> None:
    """The caller's module path, and a look whether this worker would run the caller's code."""
    sys.path[:0] = [one for one in task.search if one not in sys.path]
    here = sources.digest(code(task.experiment))
    if here != task.code:
        raise CodeChanged(
            f"the code of {task.experiment} changed while the scan ran, or a worker has another version "
            f"({os.uname().nodename}: digest {here}, expected {task.code}); nothing of it was committed: run again"
        )


def code(experiment: str) -> dict[str, str]:
    """Module -> digest of every source file that this experiment may use; read again only where a file was touched."""
    files = _files(experiment)
    return _digests(tuple((name, str(file), file.stat().st_mtime_ns, file.stat().st_size) for name, file in files))


@functools.lru_cache(maxsize=64)
def _files(experiment: str) -> tuple[tuple[str, pathlib.Path], ...]:
    modules = [*experiments.find(experiment).modules(), *ROOTS]
    return tuple(sources.code_files(modules).items())


@functools.lru_cache(maxsize=256)
def _digests(stamps: tuple[tuple[str, str, int, int], ...]) -> dict[str, str]:
    return sources.digests({name: pathlib.Path(file) for name, file, _, _ in stamps})
