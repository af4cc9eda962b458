"""Gradient noise of single samples that a common minimum fits: it vanishes there."""

from typing import NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.lanes.vector import constant, fma, load, store
from sdetheory.lanes.verbs import disturb, draws
from sdetheory.models.noise import squared_norm


class SampleBatch(NamedTuple):
    """Batches <x, w>^2/|w|^2 of one sample x_i = sqrt(a_i) z_i of a Rayleigh(a) loss, a >= 0 of shape (d,).

    Their mean over Gaussian z is sum_i a_i w_i^2/|w|^2.  Where a_i w_i = 0 for all i every batch has its minimum,
    0, and there is no noise: the loss interpolates.
    """

    a: np.ndarray
    scale_invariant = True
    linear = False  # in the increments: samples enter squared

    def validated(self, d: int) -> "SampleBatch":
        """Raises ValueError unless `a` has shape (d,) and is not negative."""
        a = checks.shape("a", checks.finite("a", self.a), (d,))
        if (a < 0).any():
            raise ValueError(f"`a` must not be negative: a={a}")
        return SampleBatch(a)


@draws.of(SampleBatch)
def _draws(noise, d):
    return d


@disturb.of(SampleBatch)
def _sample_disturb(noise, w, z, out, work):
    """(2/|w|^2) (s x - a w - (s^2 - L) w/|w|^2), s = <x, w> and L |w|^2 = sum_i a_i w_i^2."""
    s, mean = constant(w, 0.0), constant(w, 0.0)
    for i in range(w.size):
        v = load(w, i)
        x = noise.a[i] ** 0.5 * load(z, i)
        store(out, i, x)
        s = fma(x, v, s)
        mean = fma(noise.a[i] * v, v, mean)
    inverse = 1.0 / squared_norm(w)
    along = (s * s - mean) * inverse
    for i in range(w.size):
        push = s * load(out, i) - (noise.a[i] + along) * load(w, i)
        store(out, i, 2.0 * inverse * push)
