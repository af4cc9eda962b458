"""Interleaved timing: every run of a rival is between two runs of the candidate, so that load hits both."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Call = Callable[[], Any]


class Clock(NamedTuple):
    """Seconds of one run: on the wall, and of processor time in all threads of this process."""

    wall: float
    processor: float


def clock(call: Call) -> Clock:
    """Time one call."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return Clock(time.perf_counter() - wall, time.process_time() - processor)


@dataclass(frozen=True)
class Ratio:
    """Rival over candidate: the median over rounds, and the extremes."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Ratio":
        """Median, least and greatest of the values."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass
class Race:
    """The runs of a candidate and of its rivals, in the order they were timed, scaled to the same work."""

    candidate: list[Clock] = field(default_factory=list)
    rivals: dict[str, list[tuple[Clock, Clock]]] = field(default_factory=dict)

    def seconds(self, name: str | None = None) -> float:
        """Median wall time of a rival, or of the candidate."""
        runs = self.candidate if name is None else [rival for rival, _ in self.rivals[name]]
        return statistics.median(run.wall for run in runs)

    def ratio(self, name: str) -> Ratio:
        """Wall time of a rival over that of the candidate's runs just before and after it."""
        return Ratio.of([rival.wall / ours.wall for rival, ours in self.rivals[name]])

    def processor_ratio(self, name: str) -> float:
        """The same of processor time: little moved by other programs, but blind to a rival's processes."""
        return self.processor(name).median

    def processor(self, name: str) -> Ratio:
        """The ratio of processor time with its extremes: what a race on one core is decided by."""
        return Ratio.of([rival.processor / ours.processor for rival, ours in self.rivals[name]])


def _scaled(run: Clock, share: float) -> Clock:
    return Clock(run.wall / share, run.processor / share)


def interleave(
    candidate: Call,
    rivals: Mapping[str, tuple[Call, float]],
    repeats: int,
    share: float = 1.0,
    tick: Callable[[str], Any] = lambda name: None,
) -> Race:
    """Time candidate, rival, candidate, next rival, ...; `repeats` rounds after one warm-up of the candidate.

    rivals: name -> (call, share of the work it does); `share` is the candidate's; times are divided by them.
    """
    candidate()
    race = Race(rivals={name: [] for name in rivals})
    before = _scaled(clock(candidate), share)
    race.candidate.append(before)
    for _ in range(repeats):
        for name, (call, part) in rivals.items():
            tick(name)
            rival = _scaled(clock(call), part)
            after = _scaled(clock(candidate), share)
            race.rivals[name].append((rival, Clock(*((a + b) / 2 for a, b in zip(before, after, strict=True)))))
            race.candidate.append(after)
            before = after
    return race


def alternate(first: Call, second: Call, repeats: int) -> Ratio:
    """Time of `first` over time of `second`, alternating."""
    return interleave(second, {"first": (first, 1.0)}, repeats).ratio("first")
