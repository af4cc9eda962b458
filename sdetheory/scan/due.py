"""Which points of a scan are due, and why each is."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sdetheory import checks
from sdetheory.scan.identity import Point
from sdetheory.scan.records import DIVERGED, FAILED, OK
from sdetheory.scan.store import Store

NEVER = "never computed"
OTHER_CODE = "computed by code that does not count any more"


class Due(NamedTuple):
    """A point to compute, why, and the tries it has had."""

    point: Point
    why: str
    tries: int


def due(points: Iterable[Point], store: Store, retry: Sequence[str] = ()) -> list[Due]:
    """The points to compute, in the order given, each once.

    retry: statuses to compute again, among "failed" and "diverged". What is ok is never due.
    Raises ValueError for another status.
    """
    for status in retry:
        checks.choice("retry", status, (FAILED, DIVERGED))
    seen: set[str] = set()
    found = []
    for point in points:
        if point.id not in seen:
            seen.add(point.id)
            entry = store.entries.get(point.id)
            if entry is None:
                found.append(Due(point, _why(point, store), 0))
            elif entry.status != OK and entry.status in retry:
                found.append(Due(point, f"{entry.status} after {entry.tries} tries, to be tried again", entry.tries))
    return found


def _why(point: Point, store: Store) -> str:
    return store.lost.get(point.id) or (OTHER_CODE if point.id in store.stale else NEVER)
