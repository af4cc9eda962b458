"""Uniform increments: bounded noise, and fair choices out of a finite number of things."""

from typing import Any, NamedTuple

from sdetheory import checks
from sdetheory.lanes.random import _ONE, W64, fill, pair
from sdetheory.lanes.vector import from_bits, store

ROOT3 = 1.7320508075688772


class Uniform(NamedTuple):
    """Uniform on [-sqrt(3), sqrt(3)): mean 0 and variance 1, as of every increment; enough for weak order 1.

    Moments 1 to 3 are Gaussian, the fourth is 9/5 and not 3.  Source: P. Kloeden and E. Platen (1992), section 14.1.
    """


def uniform_level(delta: float) -> float:
    """Standard deviation delta/sqrt(3) of the uniform law on (-delta, delta): the sigma of a noise with Uniform()."""
    return checks.nonnegative("delta", delta) / ROOT3


@fill.of(Uniform)
def _fill(increment: Any, generator: Any, state: Any, z: Any, n: int) -> Any:
    """52 bits of a word each."""
    for p in range((n + 1) // 2):
        state, r0, r1 = pair(generator, state, p)
        store(z, 2 * p, 2.0 * ROOT3 * from_bits((r0 >> W64(12)) | _ONE) - 3.0 * ROOT3)
        store(z, 2 * p + 1, 2.0 * ROOT3 * from_bits((r1 >> W64(12)) | _ONE) - 3.0 * ROOT3)
    return state
