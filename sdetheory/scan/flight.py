"""Chunks in flight: sent within bounds, taken in by receipts, and after a death narrowed down to the guilty point."""

import pathlib
import queue
from collections.abc import Iterable, Mapping

from sdetheory.scan import manifest as manifests
from sdetheory.scan.chunks import Chunk, Chunks
from sdetheory.scan.due import Due
from sdetheory.scan.failing import StoreFailed
from sdetheory.scan.progress import Progress
from sdetheory.scan.records import FAILED, OK, Record
from sdetheory.scan.shards import Damaged
from sdetheory.scan.signals import Signals
from sdetheory.scan.worker import Receipt, Task, mark
from sdetheory.scan.workers import Died, Workers
from sdetheory.scan.writing import BEGUN, Writing

AHEAD = 2  # chunks in flight a worker: one at work, one waiting
TICK = 0.1  # seconds between two looks at signals
UNEXPLAINED = 20  # processes that may die in a row without having begun anything


class WorkersDie(ValueError):
    """Worker processes die before they begin to work."""


class Flight:
    """Sends chunks and takes in what comes back until all is done, a signal comes, or a failure ends it."""

    def __init__(
        self, writing: Writing, codes: Mapping[str, str], search: list[str], tries: int, fail_fast: bool
    ) -> None:
        self.writing, self.codes, self.search = writing, codes, search
        self.tries, self.fail_fast = tries, fail_fast
        self.flying: dict[str, Chunk] = {}
        self.deaths: dict[str, int] = {}
        self.sent = self.computed = self.unexplained = 0
        self.failed = False

    def go(self, chunks: Chunks, workers: Workers, signals: Signals, bar: Progress) -> None:
        """Until the end. Raises what ends a run as a whole: StoreFailed, StoreBusy, CodeChanged, WorkersDie."""
        while (len(chunks) or self.flying) and signals.received is None and not (self.failed and self.fail_fast):
            self._send(chunks, workers)
            try:
                key, answer = workers.done.get(timeout=TICK)
            except queue.Empty:
                continue
            chunk = self.flying.pop(key)
            if isinstance(answer, Receipt):
                self._receive(chunks, chunk, answer, bar)
            elif isinstance(answer, Died):
                self._bury(chunks, chunk, key, bar)
            else:
                raise answer

    def _send(self, chunks: Chunks, workers: Workers) -> None:
        count = workers.count()
        while len(self.flying) < AHEAD * count and (chunk := chunks.take(count)) is not None:
            self.sent += 1
            key = f"scan-{self.writing.run:06d}-{self.sent:07d}-{chunk.due[0].point.id[:8]}"
            self.flying[key] = chunk
            workers.submit(self._task(chunk, key))

    def _task(self, chunk: Chunk, key: str) -> Task:
        return Task(
            path=str(self.writing.path.absolute()),
            run=self.writing.run,
            settings=self.writing.settings,
            code=self.codes[chunk.experiment],
            experiment=chunk.experiment,
            points=[(one.point.parameters, one.point.seed) for one in chunk.due],
            tries=[one.tries for one in chunk.due],
            alone=chunk.alone,
            key=key,
            search=self.search,
        )

    def _receive(self, chunks: Chunks, chunk: Chunk, receipt: Receipt, bar: Progress) -> None:
        for name in receipt.shards:
            self._admit(name)
        if not chunk.alone:
            chunks.learn(chunk, receipt.seconds)
        self.unexplained = 0
        self._done(len(chunk.due), bar)
        self._failures(receipt.failures, bar)

    def _admit(self, name: str) -> None:
        """Believe a receipt only after reading what it is for."""
        store = self.writing.store
        try:
            if name not in store.shards:  # a death nearby may have made us look before
                store.admit(name)
        except FileNotFoundError:
            raise StoreFailed(
                f"a worker committed `{store.file(name)}`, which is not here: a store must be on a disk that all share"
            ) from None
        except Damaged as damage:
            raise StoreFailed(f"`{store.file(name)}` is not what was just written: {damage}") from damage

    def _done(self, points: int, bar: Progress) -> None:
        self.computed += points
        bar.add(points)

    def _failures(self, lines: list[str], bar: Progress) -> None:
        self.failed = self.failed or bool(lines)
        bar.failures(lines)

    # -- after a death -------------------------------------------------------------------------------------

    def _bury(self, chunks: Chunks, chunk: Chunk, key: str, bar: Progress) -> None:
        """What was committed counts; what had not begun goes back; suspects run alone; the guilty fails in the end."""
        self.writing.store.refresh()
        begun = self._begun(key)
        rest = [one for one in chunk.due if not self._committed(one)]
        if begun is None:
            self._count_unexplained()
        elif begun:
            guilty = chunk.due[begun[-1]]
            if guilty in rest and self._dead_for_good(guilty, bar):
                rest.remove(guilty)
        self._done(len(chunk.due) - len(rest), bar)
        chunks.put_back(chunk._replace(due=tuple(rest), alone=chunk.alone or begun is not None))

    def _begun(self, key: str) -> list[int] | None:
        """Numbers of the points begun one by one; None if the chunk had not begun."""
        try:
            return [int(line) for line in self._mark(key).read_text().split()]
        except FileNotFoundError:
            return None

    def _mark(self, key: str) -> pathlib.Path:
        return mark(self.writing.path, self.writing.run, key)

    def clean(self) -> None:
        """Delete the marks of this run, when its workers are gone: until then a task may be repeated."""
        for file in manifests.folder(self.writing.path, self.writing.run).glob(f"*{BEGUN}"):
            file.unlink(missing_ok=True)

    def recount(self, todo: Iterable[Due]) -> None:
        """What was committed as a signal came counts too: it has no receipt."""
        self.writing.store.refresh()
        self.computed = sum(map(self._committed, todo))

    def _committed(self, one: Due) -> bool:
        entry = self.writing.store.entries.get(one.point.id)
        return entry is not None and (entry.status == OK or entry.tries > one.tries)

    def _count_unexplained(self) -> None:
        self.unexplained += 1
        if self.unexplained > UNEXPLAINED:
            raise WorkersDie(f"{self.unexplained} worker processes in a row died before they began: run with --serial")

    def _dead_for_good(self, guilty: Due, bar: Progress) -> bool:
        """Another death of this point; after the last one it is failed."""
        point = guilty.point
        deaths = self.deaths[point.id] = self.deaths.get(point.id, 0) + 1
        if deaths < self.tries:
            return False
        message = f"the worker process died {deaths} times in this point (crash, out of memory, or killed)"
        reason = {"kind": "WorkerDied", "message": message, "traceback": ""}
        what = (point.id, point.experiment, point.parameters, point.seed)
        code, tries = self.codes[point.experiment], guilty.tries + deaths
        self.writing.commit([Record(*what, FAILED, reason=reason, code=code, tries=tries)])
        self._failures([f"{point.experiment}({dict(point.parameters)}) seed {point.seed}: {message}"], bar)
        return True

