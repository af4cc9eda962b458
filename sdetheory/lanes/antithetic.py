"""Antithetic pairs: paths 2k and 2k + 1 see the same increments with opposite signs."""

from typing import Any, NamedTuple

from sdetheory.lanes.random import W64, Gaussian, fill, reflect, source
from sdetheory.lanes.vector import from_bits, load, store, to_bits

_EVEN, _63 = W64(0xFFFFFFFFFFFFFFFE), W64(63)


class Antithetic(NamedTuple):
    """The increments of `increment` for path 2k, and minus them for path 2k + 1 (any symmetric law).

    An observation that is an odd function of the noise, as a direction is over short times, nearly cancels its
    error in the mean of a pair; an even one, as |w|^2 at a constant trace or u^2 about its axis, gains nothing and
    pays double.  Pairs start at the same weight, and there is an even number of paths from an even first one.
    Samples of an ensemble are the means of its pairs: `Ensemble.mean`'s standard error is right, that of single
    paths' values would not be.

    Source: J. Hammersley and K. Morton (1956), A new Monte Carlo technique: antithetic variates.
    """

    increment: Any = Gaussian()
    group = 2  # consecutive paths that make one independent sample

    def validated(self, d: int) -> "Antithetic":
        """Raises ValueError for pairs of pairs."""
        if isinstance(self.increment, Antithetic):
            raise ValueError(f"`increment` must not be antithetic itself: increment={self.increment}")
        return self


@source.of(Antithetic)
def _even_path(increment, path):
    """2k of 2k and 2k + 1."""
    return path & _EVEN


@fill.of(Antithetic)
def _fill(increment, generator, state, z, n):
    """The increment's."""
    return fill(increment.increment, generator, state, z, n)


@reflect.of(Antithetic)
def _reflect(increment, path, z, n):
    """The last bit of the path number is the sign bit."""
    sign = path << _63
    for i in range(n):
        store(z, i, from_bits(to_bits(load(z, i)) ^ sign))
