"""Standardised dropout masks as increments: kept or dropped, mean 0 and variance 1."""

from typing import Any, NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.lanes.random import _ONE, W64, fill, pair
from sdetheory.lanes.vector import from_bits, select, store


class Mask(NamedTuple):
    """(b/keep - 1)/sqrt((1 - keep)/keep), b = 1 with probability `keep` and 0 otherwise.

    The third moment, (1 - 2 keep)/sqrt(keep (1 - keep)), is 0 for keep = 1/2 alone: enough for weak order 1 there, and
    for weak order 1/2 otherwise.  Source: P. Kloeden and E. Platen (1992), section 14.1 (moment conditions).
    """

    keep: float

    def validated(self, d: int) -> "Mask":
        """Raises ValueError unless 0 < keep < 1."""
        return Mask(probability("keep", self.keep))


def probability(name: str, value: Any) -> float:
    """A number strictly between 0 and 1, as a float."""
    number = checks.positive(name, value)
    if number >= 1.0:
        raise ValueError(f"`{name}` must be below 1: {name}={value!r}")
    return number


@fill.of(Mask)
def _fill(increment: Any, generator: Any, state: Any, z: Any, n: int) -> Any:
    """52 bits of a word each."""
    odds = np.sqrt((1.0 - increment.keep) / increment.keep)
    for p in range((n + 1) // 2):
        state, r0, r1 = pair(generator, state, p)
        u, v = from_bits((r0 >> W64(12)) | _ONE), from_bits((r1 >> W64(12)) | _ONE)
        store(z, 2 * p, select(u < 1.0 + increment.keep, odds, 0.0 * u - 1.0 / odds))
        store(z, 2 * p + 1, select(v < 1.0 + increment.keep, odds, 0.0 * v - 1.0 / odds))
    return state
