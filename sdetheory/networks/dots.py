"""Inner products of parameters, group by group."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

from sdetheory.lanes.cache import compiled
from sdetheory.lanes.parts import OPTIONS
from sdetheory.lanes.tag import tag
from sdetheory.networks.groups import Group, segment_table

# Sums may be taken in vector order: NaN and infinity keep their meaning, and the order depends on the length alone.
SUMS: Any = {**OPTIONS, "fastmath": {"reassoc", "contract", "nsz"}}


@njit(**SUMS)
def inner(a, b):
    """<a, b> of two vectors."""
    total = 0.0
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@compiled
def _dots(tag, a, b, segments, out):
    """out (E, G) <- <a, b> in each group, a and b (E, P)."""
    out[:] = 0.0
    for e in range(len(a)):
        for start, stop, group in segments:
            out[e, group] += inner(a[e, start:stop], b[e, start:stop])


class GroupDot:
    """Inner products group by group: dot(a, b) of arrays (E, P) is (E, G). Raises ValueError without groups."""

    def __init__(self, groups: Sequence[Group]) -> None:
        if not groups:
            raise ValueError("`groups` must not be empty: groups=()")
        self.segments, self.count = segment_table(groups), len(groups)
        self._tag = tag()

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        out = np.empty((len(a), self.count))
        _dots(self._tag, *(np.ascontiguousarray(x, dtype=np.float64) for x in (a, b)), self.segments, out)
        return out

    def spread(self, values: np.ndarray, parameters: int) -> np.ndarray:
        """Values (E, G) as (E, P): at every parameter that of its group, 0 outside; (E, 1) as it is."""
        if values.shape[1] == 1:
            return values
        out = np.zeros((len(values), parameters))
        for start, stop, group in self.segments:
            out[:, start:stop] = values[:, group : group + 1]
        return out

    def rate(self, values: np.ndarray) -> np.ndarray:
        """A rate (E,) or (E, P) as (E, 1) or (E, G): that of the first parameter of each group."""
        if values.ndim == 1:
            return values[:, None]
        _, first = np.unique(self.segments[:, 2], return_index=True)
        return values[:, self.segments[first, 0]]
