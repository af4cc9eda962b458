"""Points into chunks: big enough to let kernels run whole ensembles and hide the cost of a task, small enough to lose
little when interrupted. How long points take is learnt as receipts come.
"""

import collections
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from sdetheory.scan.due import Due
from sdetheory.scan.identity import Point

TARGET = 1.0  # seconds a chunk should take
GROWTH = 4.0  # and by how much it may outgrow what was seen
LARGEST = 4096


class Chunk(NamedTuple):
    """Points of one experiment that travel together; `alone`: suspects, run and committed one by one."""

    experiment: str
    due: tuple[Due, ...]
    cost: float
    alone: bool = False


class Chunks:
    """A queue of due points that hands out chunks of about `target` seconds.

    cost: point -> expected cost (in any unit, only proportions count). Points of one experiment and batch go together,
    in the order given otherwise.
    """

    def __init__(
        self,
        due: Iterable[Due],
        *,
        batch: Callable[[Point], object],
        cost: Callable[[Point], float],
        target: float = TARGET,
        largest: int = LARGEST,
    ) -> None:
        groups: dict[object, list[Due]] = {}
        for one in due:
            groups.setdefault((one.point.experiment, batch(one.point)), []).append(one)
        self.groups = collections.deque(collections.deque(group) for group in groups.values())
        self.left = sum(map(len, self.groups))
        self.again: collections.deque[Chunk] = collections.deque()
        self.cost, self.target, self.largest = cost, target, largest
        self.rate: dict[str, float] = {}  # experiment -> seconds for a unit of cost
        self.seen: dict[str, float] = {}  # experiment -> largest cost of a finished chunk

    def __len__(self) -> int:
        return self.left + sum(len(chunk.due) for chunk in self.again)

    def put_back(self, chunk: Chunk) -> None:
        """Points to be handed out again, first."""
        if chunk.due:
            self.again.append(chunk)

    def learn(self, chunk: Chunk, seconds: float) -> None:
        """A chunk took this long. A slower one counts at once, a faster one by its geometric mean with the past: the
        first chunk of a worker is slow, because it compiles.
        """
        new, old = seconds / chunk.cost, self.rate.get(chunk.experiment)
        self.rate[chunk.experiment] = new if old is None or new > old else math.sqrt(new * old)
        self.seen[chunk.experiment] = max(chunk.cost, self.seen.get(chunk.experiment, 0.0))

    def take(self, workers: int) -> Chunk | None:
        """The next chunk, or None; towards the end chunks shrink so that all workers finish together."""
        if self.again:
            return self.again.popleft()
        if not self.groups:
            return None
        group = self.groups[0]
        experiment = group[0].point.experiment
        most = max(1, min(self.largest, self.left // (2 * max(workers, 1))))
        room = self._room(experiment)
        chunk, cost = [group.popleft()], self.cost
        total = cost(chunk[0].point)
        while group and len(chunk) < most and total + (extra := cost(group[0].point)) <= room:
            total += extra
            chunk.append(group.popleft())
        if not group:
            self.groups.popleft()
        self.left -= len(chunk)
        return Chunk(experiment, tuple(chunk), total)

    def _room(self, experiment: str) -> float:
        """The cost that fits: nothing known, a single point."""
        if experiment not in self.rate:
            return 0.0
        return min(self.target / max(self.rate[experiment], 1e-12), GROWTH * self.seen[experiment])
