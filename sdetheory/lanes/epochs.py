"""Indices of the samples of mini-batches as increments, epoch by epoch.

An epoch is an order of all samples, and a batch a part of it.  The order is a keyed bijection of {0, ..., n-1}: any
position of it is computed from (seed, path, epoch) alone, nothing is stored or sorted.  It is the swap-or-not shuffle:
in each of 48 rounds x and k - x (mod n) are exchanged or not, by one bit that belongs to the pair of them.

Every round is a bijection, so an epoch takes every sample at most once, exactly.  The bits of two pairs are
independent, exactly (multiply-shift hashing), so the law of two positions is the ideal shuffle's.  Its distance from
the uniform one shrinks by (1 + 1/n)/2 a round: a pair has its probability up to a relative 4e-10 for n = 4, the
worst, and 1e-12 from n = 16 on.  Means and covariances of batches rest on pairs alone.

Sources: V. Hoang, B. Morris, P. Rogaway (2012), An enciphering scheme based on a card shuffle; M. Dietzfelbinger
(1996), Universal hashing and k-wise independent random variables via integer arithmetic without primes.
"""

from typing import Any, NamedTuple

from numba import njit

from sdetheory import checks
from sdetheory.lanes.random import _MASK32, _ONE, _SIGN, _TWO52, W64, _32, numbers, philox, xoshiro
from sdetheory.lanes.vector import from_bits, load, maximum, select, store, to_bits

ROUNDS = 48
LARGEST = 2**31  # samples: positions and keys are 32-bit numbers
TWO52 = 4503599627370496.0


class Epochs(NamedTuple):
    """Step t takes part t mod m of the order of epoch t // m: `batch` indices, m = samples // batch steps an epoch.

    Orders of different paths and epochs are independent; samples % batch of each are left out.  The generator of the
    run does not matter.
    """

    samples: int
    batch: int

    def validated(self, d: int) -> "Epochs":
        """Raises ValueError unless 1 <= batch <= samples."""
        samples, batch = _samples(self.samples), checks.integer("batch", self.batch, least=1)
        if batch > samples:
            raise ValueError(f"`batch` must not be above the number of samples, {samples}: batch={batch}")
        return Epochs(samples, batch)


def _samples(value: Any) -> int:
    """A number of samples."""
    samples = checks.integer("samples", value, least=1)
    if samples >= LARGEST:
        raise ValueError(f"`samples` must be below 2**31: samples={samples}")
    return samples


@njit(inline="always")
def _swap_or_not(x: Any, samples: int, r0: Any, r1: Any) -> Any:
    """x or k - x mod samples: the key k from the lower half of r0, the bit (a m + b) mod 2^32 >= 2^31 of the larger m
    of the two, a and b from the upper half of r0 and the lower half of r1."""
    key = ((r0 & _MASK32) * W64(samples)) >> _32
    y = from_bits(key | _TWO52) - TWO52 - x
    y = select(y < 0.0, y + 1.0 * samples, y)
    larger = to_bits(maximum(x, y) + TWO52) & _MASK32
    bit = (((r0 >> _32) * larger + r1) << _32) & _SIGN
    return select(from_bits(bit | _ONE) < 0.0, y, x)


@numbers.of(Epochs)
def _order_of_epoch(increment, generator, seed, path, step, saved, z, n):
    """z[:n] <- places part * n, ..., part * n + n - 1 of the order of (seed, path, epoch)."""
    steps = increment.samples // increment.batch
    epoch, part = W64(step // steps), step % steps
    zero = path & W64(0)
    low, high = zero | (epoch & _MASK32), zero | (epoch >> _32)
    k0, k1 = seed & _MASK32, seed >> _32
    a0, a1 = philox(path & _MASK32, path >> _32, low, high | W64(0x40000000), k0, k1)
    a2, a3 = philox(path & _MASK32, path >> _32, low, high | W64(0xC0000000), k0, k1)
    for j in range(n):
        store(z, j, 1.0 * (part * increment.batch + j))
    for _ in range(ROUNDS):
        a0, a1, a2, a3, r0 = xoshiro(a0, a1, a2, a3)
        a0, a1, a2, a3, r1 = xoshiro(a0, a1, a2, a3)
        for j in range(n):
            store(z, j, _swap_or_not(load(z, j), increment.samples, r0, r1))
