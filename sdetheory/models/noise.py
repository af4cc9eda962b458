"""Gradient noise G(w) z with G G^T = Sigma_w, z of mean zero and unit covariance, independent in every step.

The batch noises are exact: the model's gradient plus the disturbance is the gradient of one batch loss, which
is itself scale invariant.  So `SGD` with them is mini-batch SGD, not an approximation of it.
"""

from typing import NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.lanes.parts import part
from sdetheory.lanes.vector import constant, fma, load, sqrt, store
from sdetheory.lanes.verbs import coordinate_noise, disturb, draws, prepare_noise

ROOT2 = 1.4142135623730951


class NoNoise(NamedTuple):
    """No noise: Sigma = 0."""


class Isotropic(NamedTuple):
    """Isotropic tangent noise: Sigma_w = (sigma^2/|w|^2) (I - w w^T/|w|^2); trace sigma^2 (d - 1) on the
    unit sphere.
    """

    sigma: float
    scale_invariant = True

    def validated(self, d: int) -> "Isotropic":
        """Raises ValueError for a negative or non-finite `sigma`."""
        return Isotropic(checks.nonnegative("sigma", self.sigma))


class Covariance(NamedTuple):
    """Tangent noise of a given covariance: Sigma_w = P C P/|w|^2, C = root root^T, with `root` of shape
    (d, rank).
    """

    root: np.ndarray
    scale_invariant = True

    def validated(self, d: int) -> "Covariance":
        """Raises ValueError unless `root` has shape (d, any) and is finite."""
        return Covariance(checks.shape("root", checks.finite("root", self.root), (d, None)))


class GOEBatch(NamedTuple):
    """Batches w^T (A + s E) w/|w|^2 of a Rayleigh quotient, E symmetric Gaussian, Var E_ij = 1, Var E_ii = 2.

    d (d + 1)/2 increments a step: the diagonal (divided by sqrt 2), then row by row below it.  Sigma = 4 s^2
    P/|w|^2.
    """

    s: float
    scale_invariant = True

    def validated(self, d: int) -> "GOEBatch":
        """Raises ValueError for a non-finite `s`."""
        return GOEBatch(checks.nonnegative("s", self.s))


class NoisyLinearBatch(NamedTuple):
    """Batches -k <xi, w>/|w| of a VonMisesFisher loss with xi = mu + (sigma/k) z.  Sigma = sigma^2
    P/|w|^2.
    """

    sigma: float
    scale_invariant = True

    def validated(self, d: int) -> "NoisyLinearBatch":
        """Raises ValueError for a negative or non-finite `sigma`."""
        return NoisyLinearBatch(checks.nonnegative("sigma", self.sigma))


class CircleBatch(NamedTuple):
    """Batches w^T (diag(h, 0) + (sigma/2) E) w/|w|^2 of a Circle loss, E = ((z0, z1), (z1, -z0)).

    In the angle phi the batch adds (sigma/2) (z0 cos 2 phi + z1 sin 2 phi), so Sigma = sigma^2 P/|w|^2
    exactly.
    """

    sigma: float
    scale_invariant = True

    def validated(self, d: int) -> "CircleBatch":
        """Raises ValueError unless d = 2 and `sigma` is finite and not negative."""
        if d != 2:
            raise ValueError(f"`w0` must have d=2 coordinates for CircleBatch: d={d}")
        return CircleBatch(checks.nonnegative("sigma", self.sigma))


@draws.of(NoNoise)
def _no_draws(noise, d):
    return 0


@draws.of(Isotropic, NoisyLinearBatch)
def _draws_d(noise, d):
    return d


@draws.of(Covariance)
def _draws_rank(noise, d):
    return noise.root.shape[1]


@draws.of(GOEBatch)
def _draws_symmetric(noise, d):
    return d * (d + 1) // 2


@draws.of(CircleBatch)
def _draws_two(noise, d):
    return 2


@part
def squared_norm(w):
    """|w|^2 as a lane."""
    q = constant(w, 0.0)
    for i in range(w.size):
        q = fma(load(w, i), load(w, i), q)
    return q


@part
def inner(w, x, n):
    """The sum of w_i x_i over i < n, as a lane."""
    s = constant(w, 0.0)
    for i in range(n):
        s = fma(load(w, i), load(x, i), s)
    return s


@part
def project(w, q, out, scale):
    """out <- scale (out - w <w, out>/q) with q = |w|^2."""
    r = inner(w, out, w.size) / q
    for i in range(w.size):
        store(out, i, scale * (load(out, i) - r * load(w, i)))


@prepare_noise.of(NoNoise)
def _none_prepare(noise, w, q, z, out, work):
    """Nothing."""
    return (0.0,)


@coordinate_noise.of(NoNoise)
def _none_coordinate(noise, c, v, z, i, out):
    """Zero."""
    return 0.0 * v


@disturb.of(NoNoise)
def _none_disturb(noise, w, z, out, work):
    """Zeros."""
    for i in range(w.size):
        store(out, i, 0.0)


@prepare_noise.of(Isotropic)
def _isotropic_prepare(noise, w, q, z, out, work):
    """sigma/|w| and <w, z>/|w|^2."""
    inverse = 1.0 / q
    return noise.sigma * sqrt(inverse), inner(w, z, w.size) * inverse


@prepare_noise.of(NoisyLinearBatch)
def _noisy_linear_prepare(noise, w, q, z, out, work):
    """-sigma/|w| and <w, z>/|w|^2."""
    inverse = 1.0 / q
    return -noise.sigma * sqrt(inverse), inner(w, z, w.size) * inverse


@coordinate_noise.of(Isotropic, NoisyLinearBatch)
def _tangent_coordinate(noise, c, v, z, i, out):
    """(+-sigma/|w|) (z_i - <w, z> w_i/|w|^2)."""
    return c[0] * (load(z, i) - c[1] * v)


@disturb.of(Isotropic, NoisyLinearBatch)
def _disturb_by_coordinates(noise, w, z, out, work):
    """The pointwise pair, written to an array."""
    c = prepare_noise(noise, w, squared_norm(w), z, out, work)
    for i in range(w.size):
        store(out, i, coordinate_noise(noise, c, load(w, i), z, i, out))


@disturb.of(Covariance)
def _covariance_disturb(noise, w, z, out, work):
    """P root z/|w|."""
    for i in range(w.size):
        s = constant(w, 0.0)
        for k in range(noise.root.shape[1]):
            s = fma(noise.root[i, k], load(z, k), s)
        store(out, i, s)
    q = squared_norm(w)
    project(w, q, out, 1.0 / sqrt(q))


@disturb.of(GOEBatch)
def _goe_disturb(noise, w, z, out, work):
    """(2 s/|w|^2) P E w with E_ii = sqrt(2) z_i and E_ij, i > j, the following ones row by row."""
    d = w.size
    k = d
    for i in range(d):
        v = load(w, i)
        s = ROOT2 * load(z, i) * v
        for j in range(i):
            g = load(z, k)
            k += 1
            s = fma(g, load(w, j), s)
            store(out, j, fma(g, v, load(out, j)))
        store(out, i, s)
    q = squared_norm(w)
    project(w, q, out, 2.0 * noise.s / q)


@disturb.of(CircleBatch)
def _circle_disturb(noise, w, z, out, work):
    """(sigma/|w|^2) P E w with E = ((z0, z1), (z1, -z0))."""
    x, y, z0, z1 = load(w, 0), load(w, 1), load(z, 0), load(z, 1)
    store(out, 0, z0 * x + z1 * y)
    store(out, 1, z1 * x - z0 * y)
    q = fma(x, x, y * y)
    project(w, q, out, noise.sigma / q)
