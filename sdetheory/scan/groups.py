"""The groups of a store: points that differ in the seed alone, their means, and the predictions beside them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sdetheory.scan.comparison import compare, over_seeds
from sdetheory.scan.identity import canonical
from sdetheory.scan.records import OK, Record


class Found(NamedTuple):
    """An observable of a group: mean over seeds, standard error, prediction, ratio and verdict."""

    mean: float
    standard_error: float | None
    predicted: float | None
    ratio: float | None
    verdict: str


@dataclass(frozen=True)
class Group:
    """Records of the same parameters, by seed index."""

    experiment: str
    parameters: Mapping[str, Any]
    records: dict[int, Record] = field(default_factory=dict)

    @property
    def healthy(self) -> list[Record]:
        """Records with results."""
        return [one for one in self.records.values() if one.status == OK]

    def count(self, status: str) -> int:
        """How many records have this status."""
        return sum(one.status == status for one in self.records.values())

    def found(self, name: str) -> Found | None:
        """What the seeds together say of an observable; None if no seed measured it as a number.

        Standard errors of the points are combined where all have one, else the spread over seeds is used.
        """
        rows = [one for one in self.healthy if isinstance(one.measured.get(name), int | float)]
        if not rows:
            return None
        values = {r.seed: (float(r.measured[name]), r.standard_error.get(name)) for r in rows}
        mean, error, samples = over_seeds(values)
        laws = [r.predicted[name] for r in rows if r.predicted.get(name) is not None]
        predicted = sum(laws) / len(laws) if len(laws) == len(rows) else None
        margin = max((r.margin.get(name, 0.0) for r in rows), default=0.0)
        counts = [r.samples for r in rows if r.samples is not None]
        if samples is None and len(counts) == len(rows):
            samples = sum(counts) - len(counts) + 1
        said = compare(mean, error, predicted, margin=margin, samples=samples)
        return Found(mean, error, predicted, said.ratio, said.verdict)


def grouped(records: Iterable[Record]) -> list[Group]:
    """Groups in the order in which they first appear."""
    found: dict[tuple[str, bytes], Group] = {}
    for one in records:
        key = (one.experiment, canonical(one.parameters))
        found.setdefault(key, Group(one.experiment, one.parameters)).records[one.seed] = one
    return list(found.values())


def varied(groups: Sequence[Group]) -> list[str]:
    """Names of the parameters that are not the same in all groups, in order."""
    names = list(dict.fromkeys(name for group in groups for name in group.parameters))
    first = groups[0].parameters if groups else {}
    return [name for name in names if any(g.parameters.get(name) != first.get(name) for g in groups)]


def measured(groups: Sequence[Group]) -> list[str]:
    """Names of the observables that are numbers, in the order in which they were measured."""
    names = {n: None for g in groups for r in g.healthy for n, v in r.measured.items() if isinstance(v, int | float)}
    return list(names)
