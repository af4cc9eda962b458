"""Run what is due of a scan: chunks to workers, shards from workers, receipts back, and an end in good order.

Nothing that a run loses was promised: a point counts when its shard is on the disk, and the next run does the rest.
"""

import collections
import contextlib
import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sdetheory import checks
from sdetheory.scan import experiments, sources
from sdetheory.scan.chunks import Chunks
from sdetheory.scan.due import due
from sdetheory.scan.flight import Flight
from sdetheory.scan.identity import Point, plain
from sdetheory.scan.manifest import CHANGED
from sdetheory.scan.progress import Progress
from sdetheory.scan.records import DIVERGED, FAILED, STATUSES
from sdetheory.scan.signals import Signals, Stopped
from sdetheory.scan.store import Store
from sdetheory.scan.worker import code
from sdetheory.scan.workers import opened
from sdetheory.scan.writing import Writing


@dataclasses.dataclass(frozen=True)
class Summary:
    """How a run ended: points asked for, computed in this run, and how many of all are ok, diverged, failed, missing.

    stopped: number of the signal that ended it, or None; quarantined: damaged files that were put aside.
    """

    total: int
    computed: int
    ok: int
    diverged: int
    failed: int
    missing: int
    seconds: float
    stopped: int | None = None
    quarantined: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        """0; 130 after SIGINT, 143 after SIGTERM; 1 if points failed or are missing."""
        return 128 + self.stopped if self.stopped else int(bool(self.failed or self.missing))


def run(
    points: Iterable[Point],
    store: str | os.PathLike[str] | Store,
    *,
    root_seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    description: Any = None,
    workers: int | None = None,
    scheduler: str | None = None,
    serial: bool = False,
    retry: Sequence[str] = (),
    fail_fast: bool = False,
    tries: int = 3,
    changed: str = "refuse",
    progress: bool | None = None,
    command: list[str] | None = None,
) -> Summary:
    """Compute every point that has no result in the store yet.

    points: identity.Point; what they are decides their numbers, not how many there are or in which order.
    store: a folder; made if missing.
    root_seed, settings: fixed for a store: the root of all random numbers, and what else must not change.
    description: anything of JSON's types, kept for the reader.
    workers, scheduler, serial: see `workers.opened`.
    retry: statuses to try again, "failed" and "diverged".
    fail_fast: stop at the first failure; otherwise go on.
    tries: how often a process may die of a point before the point is failed.
    changed: "refuse" to mix results of different code, "keep" the old ones, or "recompute" them.
    progress: shown if the terminal is one (None), always or never.
    Raises ValueError for wrong input before any work, StoreBusy, CodeChanged, SettingsChanged, StoreFailed.
    """
    began = time.perf_counter()
    points = list(points)
    checks.choice("changed", changed, CHANGED)
    for status in retry:
        checks.choice("retry", status, (FAILED, DIVERGED))
    checks.integer("tries", tries, 1)
    checks.integer("root_seed", root_seed, 0)
    if workers is not None:
        checks.integer("workers", workers, 1)
    path = store.path if isinstance(store, Store) else pathlib.Path(store)
    names = sorted({point.experiment for point in points})
    fixed = plain({**(settings or {}), "root_seed": root_seed}, "settings")
    parts = {name: code(name) for name in names}
    with (
        Signals() as signals,
        Writing(
            path, settings=fixed, code=parts, description=description, changed=changed, command=command or sys.argv
        ) as writing,
    ):
        todo = due(points, writing.store, retry)
        codes = {name: sources.digest(part) for name, part in parts.items()}
        flight = Flight(writing, codes, _search(), tries, fail_fast)
        if todo and signals.received is None:
            chunks = Chunks(todo, batch=_batch, cost=_cost)
            signals.at_once = True  # workers may take seconds to start
            with (
                contextlib.suppress(Stopped),
                Progress(len(points), len(points) - len(todo), progress) as bar,
                opened(workers, scheduler, serial, lambda: signals.received is not None) as pool,
            ):
                signals.at_once = serial
                flight.go(chunks, pool, signals, bar)
            flight.clean()
        if signals.received is not None:
            flight.recount(todo)
        statuses = writing.store.statuses
        counts = collections.Counter(statuses.get(one, "missing") for one in {point.id for point in points})
    return Summary(
        total=counts.total(),
        computed=flight.computed,
        **{status: counts[status] for status in (*STATUSES, "missing")},
        seconds=time.perf_counter() - began,
        stopped=signals.received,
        quarantined=tuple(writing.quarantined),
    )


def _batch(point: Point) -> object:
    return experiments.find(point.experiment).batch_key(point.parameters)


def _cost(point: Point) -> float:
    return experiments.find(point.experiment).cost(point.parameters) or 1.0


def _search() -> list[str]:
    """Where a worker elsewhere finds the caller's modules; what is installed it has to have itself."""
    own = [pathlib.Path(one).resolve() for one in sys.path if not one.endswith(".zip")]
    installed = [pathlib.Path(prefix).resolve() / "lib" for prefix in (sys.prefix, sys.base_prefix)]
    mine = [one for one in own if "site-packages" not in one.parts]
    return [str(one) for one in mine if not any(one.is_relative_to(folder) for folder in installed)]
