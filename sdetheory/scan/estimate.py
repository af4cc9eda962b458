"""What a scan would do: how many points, why they are due, how long it would take, how much disk it would need."""

import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdetheory.scan import experiments, sources
from sdetheory.scan.description import Scan
from sdetheory.scan.due import OTHER_CODE, Due, due
from sdetheory.scan.identity import Point, point_seed
from sdetheory.scan.records import OK, Record
from sdetheory.scan.report import short
from sdetheory.scan.store import Store
from sdetheory.scan.worker import code

START = 3.0  # seconds until workers compute: processes, imports, compiled kernels from the disk
OVERHEAD = 0.002  # seconds a point besides the experiment itself
PILOT = 2.0  # seconds after which a pilot is not extended


@dataclass(frozen=True)
class Estimate:
    """Points of a scan, which of them are due, and what they would take."""

    scan: Scan
    total: int
    due: list[Due]
    problems: list[str]
    seconds: float
    how: str
    workers: int
    bytes_a_point: float

    def text(self, store: str | None) -> str:
        """A few lines for the terminal."""
        s, n = self.scan, len(self.due)
        axes = " x ".join(f"{name} {len(one.values)}" for name, one in s.axes.items()) or "no axes"
        more = f" + {len(s.points_given)} points" if s.points_given else ""
        seeds = _count(len(s.seed_indices), "seed")
        lines = [f"{s.name}: {s.experiment}", f"  {axes}{more}, {seeds}: {self.total} points"]
        kept = self.total - n
        lines.append(f"  due: {n}" + (f"; {kept} already in {store}" if kept else ""))
        if n:
            wall = START + (self.seconds + n * OVERHEAD) / self.workers
            lines.append(f"  time: about {duration(wall)} on {_count(self.workers, 'worker')} ({self.how})")
            lines.append(f"  disk: about {size(n * self.bytes_a_point)}")
        return "\n".join([*lines, *(f"  {problem}" for problem in self.problems)])

    def why(self) -> str:
        """A line a group: its varied parameters, and why its points are due."""
        groups: dict[str, tuple[Point, Counter[str]]] = {}
        for one in self.due:
            groups.setdefault(one.point.group, (one.point, Counter()))[1][one.why] += 1
        if not groups:
            return "nothing is due"
        names = list(dict.fromkeys([*self.scan.axes, *(name for p in self.scan.points_given for name in p)]))
        lines = []
        for point, reasons in groups.values():
            where = ", ".join(f"{name}={short(point.parameters.get(name))}" for name in names) or point.experiment
            lines.append(f"  {where}: {'; '.join(f'{n} {why}' for why, n in reasons.items())}")
        return "\n".join(["due, group by group:", *lines])


def estimate(scan: Scan, path: str | None, retry: Sequence[str], workers: int, changed: str = "refuse") -> Estimate:
    """From the seconds of stored points, else from the experiment's own cost, else from a pilot that is thrown away.

    Raises ValueError for a store of other settings.
    """
    points = list(scan.points())
    store = Store(path) if path is not None and Path(path).is_dir() else None
    todo, problems = _due(scan, points, store, retry, changed)
    sample = _sample(store)
    seconds, how = _seconds(scan, todo, sample)
    return Estimate(scan, len(points), todo, problems, seconds, how, max(1, min(workers, len(todo) or 1)),
                    _bytes(todo, sample, scan))  # fmt: skip


def _due(
    scan: Scan, points: list[Point], store: Store | None, retry: Sequence[str], changed: str
) -> tuple[list[Due], list[str]]:
    """What is due, and what the store would say."""
    if store is None:
        return [Due(point, "never computed", 0) for point in points], []
    problems = [str(problem) for problem in store.problems]
    if store.settings is not None and store.settings.get("root_seed") != scan.root_seed:
        there = store.settings.get("root_seed")
        raise ValueError(f"the store was computed with root_seed={there!r}, this scan has {scan.root_seed}")
    held, here = store.codes.get(scan.experiment, set()), sources.digest(code(scan.experiment))
    if held - {here}:
        if changed == "recompute":
            return [Due(point, OTHER_CODE, 0) for point in points], problems
        known = store.manifest.files if store.manifest else {}
        old = next((dict(known[one]) for one in held - {here} if one in known), None)
        problems.append(f"the code changed since ({sources.differences(old, code(scan.experiment))}): "
                        "running needs --changed keep or --changed recompute")  # fmt: skip
    return due(points, store, retry), problems


def _sample(store: Store | None, size: int = 64) -> list[Record]:
    """Some results of the store, evenly picked."""
    if store is None:
        return []
    names = [name for name, entry in store.entries.items() if entry.status == OK]
    step = max(1, len(names) // size)
    return [record for name in names[::step] if (record := store.record(name)) is not None]


def _seconds(scan: Scan, todo: list[Due], sample: list[Record]) -> tuple[float, str]:
    """Seconds of work on one thread, and where the number comes from."""
    what = scan.what
    costs = [what.cost(_own(one.point)) for one in todo]
    if sample:
        known = [what.cost(_own(record)) for record in sample]
        how = f"from {len(sample)} stored points"
        if None not in costs and None not in known:  # the median: some points had to wait for a compiler
            factor = statistics.median(r.seconds / max(c or 0.0, 1e-9) for r, c in zip(sample, known, strict=True))
            return factor * math.fsum(c or 0.0 for c in costs), how
        return len(todo) * statistics.median(record.seconds for record in sample), how
    if None not in costs:
        return math.fsum(c or 0.0 for c in costs), "by the experiment's own estimate; compiling comes on top once"
    return _pilot(scan, todo)


def _pilot(scan: Scan, todo: list[Due]) -> tuple[float, str]:
    """Run points from the middle of what is due until PILOT seconds are over, and keep nothing."""
    middle = todo[len(todo) // 2 :][:20]
    began, n = time.perf_counter(), 0
    for number, one in enumerate(middle[:1] + middle):
        experiments.run_points(scan.experiment, [one.point.parameters], [point_seed(scan.root_seed, one.point.id)])
        if number == 0:  # it had to compile
            began = time.perf_counter()
            continue
        n += 1
        if time.perf_counter() - began > PILOT:
            break
    spent = time.perf_counter() - began
    return (len(todo) * spent / n, f"from a pilot of {n} points in {duration(spent)}, not kept") if n else (0.0, "")


def _own(one: Point | Record) -> dict[str, object]:
    """Parameters without what is only for the record."""
    return {name: value for name, value in one.parameters.items() if name != "record"}


def _bytes(todo: list[Due], sample: list[Record], scan: Scan) -> float:
    """Bytes a record takes in its shard."""
    if sample:
        return sum(len(record.line()) for record in sample) / len(sample) + 120
    if not todo:
        return 0.0
    point = todo[0].point
    numbers = {name: 1.234567890123456 for name in scan.record or scan.what.observables or ("result",)}
    words = {name: "no prediction" for name in numbers}
    record = Record(point.id, point.experiment, point.parameters, point.seed, OK, numbers, numbers, numbers, numbers,
                    numbers, words)  # fmt: skip
    return len(record.line()) + 150


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds in words."""
    for limit, unit, per in ((100.0, "s", 1.0), (6000.0, "min", 60.0), (48 * 3600.0, "h", 3600.0)):
        if seconds < limit:
            return f"{seconds / per:.2g} {unit}" if seconds / per < 10 else f"{seconds / per:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"


def size(count: float) -> str:
    """Bytes in words."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.2g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
