"""Scale-invariant losses on R^d minus the origin: L(c w) = L(w) for every c > 0, so grad L is tangent to
spheres.
"""

from typing import NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.lanes.vector import constant, fma, load, sqrt, store
from sdetheory.lanes.verbs import coordinate, gradient, laplacian, loss, prepare


class NoLoss(NamedTuple):
    """L = 0: with isotropic noise the direction is Brownian motion on the sphere."""

    scale_invariant = True


class Rayleigh(NamedTuple):
    """Rayleigh quotient of a diagonal matrix: L(w) = sum_i a_i w_i^2 / |w|^2, with `a` of shape (d,).

    grad L(w) = (2/|w|^2) (diag(a) w - L(w) w).  With isotropic noise its stationary direction law is Bingham.
    """

    a: np.ndarray
    scale_invariant = True

    def validated(self, d: int) -> "Rayleigh":
        """Raises ValueError unless `a` has shape (d,) and is finite."""
        return Rayleigh(checks.shape("a", checks.finite("a", self.a), (d,)))


class RayleighQuotient(NamedTuple):
    """Rayleigh quotient of a symmetric matrix: L(w) = w^T A w / |w|^2, with `A` of shape (d, d)."""

    A: np.ndarray
    scale_invariant = True

    def validated(self, d: int) -> "RayleighQuotient":
        """Raises ValueError unless `A` has shape (d, d) and is finite and symmetric."""
        A = checks.shape("A", checks.finite("A", self.A), (d, d))
        if not np.allclose(A, A.T, rtol=0, atol=1e-14 * max(1.0, float(np.abs(A).max(initial=0.0)))):
            raise ValueError(f"`A` must be symmetric: max|A - A^T|={np.abs(A - A.T).max():.3g}")
        return RayleighQuotient(A)


class VonMisesFisher(NamedTuple):
    """Linear loss of the direction: L(w) = -k <mu, w>/|w|, with `mu` of shape (d,) and any real `k`.

    grad L(w) = (k/|w|) (<mu, w> w/|w|^2 - mu).  With isotropic noise its stationary direction law is von
    Mises-Fisher.
    """

    mu: np.ndarray
    k: float
    scale_invariant = True

    def validated(self, d: int) -> "VonMisesFisher":
        """Raises ValueError unless `mu` has shape (d,) and everything is finite."""
        return VonMisesFisher(
            checks.shape("mu", checks.finite("mu", self.mu), (d,)), checks.real("k", self.k)
        )


class Circle(NamedTuple):
    """The plane toy of Li, Lyu and Arora (2020): L(x, y) = h x^2/(x^2 + y^2), minimal on the ray x = 0."""

    h: float = 1.0
    scale_invariant = True

    def validated(self, d: int) -> "Circle":
        """Raises ValueError unless d = 2 and `h` is finite."""
        if d != 2:
            raise ValueError(f"`w0` must have d=2 coordinates for Circle: d={d}")
        return Circle(checks.real("h", self.h))


@prepare.of(NoLoss)
def _no_loss_prepare(model, w, q, out, work):
    """Nothing."""
    return (0.0,)


@coordinate.of(NoLoss)
def _no_loss_coordinate(model, c, v, i, out):
    """0."""
    return 0.0 * v


@prepare.of(Rayleigh)
def _rayleigh_prepare(model, w, q, out, work):
    """2/|w|^2 and L(w)."""
    s = constant(w, 0.0)
    for i in range(model.a.size):
        v = load(w, i)
        s = fma(model.a[i] * v, v, s)
    inverse = 1.0 / q
    return 2.0 * inverse, s * inverse


@coordinate.of(Rayleigh)
def _rayleigh_coordinate(model, c, v, i, out):
    """(2/|w|^2) (a_i - L) w_i."""
    return c[0] * (model.a[i] - c[1]) * v


@prepare.of(VonMisesFisher)
def _von_mises_prepare(model, w, q, out, work):
    """k/|w| and <mu, w>/|w|^2."""
    s = constant(w, 0.0)
    for i in range(model.mu.size):
        s = fma(load(w, i), model.mu[i], s)
    return model.k / sqrt(q), s / q


@coordinate.of(VonMisesFisher)
def _von_mises_coordinate(model, c, v, i, out):
    """(k/|w|) (<mu, w> w_i/|w|^2 - mu_i)."""
    return c[0] * (c[1] * v - model.mu[i])


@prepare.of(Circle)
def _circle_prepare(model, w, q, out, work):
    """2/|w|^2 and L(w)."""
    x = load(w, 0)
    inverse = 1.0 / q
    return 2.0 * inverse, model.h * x * x * inverse


@coordinate.of(Circle)
def _circle_coordinate(model, c, v, i, out):
    """(2/|w|^2) (h [i=0] - L) w_i."""
    a = model.h if i == 0 else 0.0
    return c[0] * (a - c[1]) * v


@gradient.of(NoLoss, Rayleigh, VonMisesFisher, Circle)
def _gradient_by_coordinates(model, w, out, work):
    """The pointwise pair, written to an array."""
    q = constant(w, 0.0)
    for i in range(w.size):
        q = fma(load(w, i), load(w, i), q)
    c = prepare(model, w, q, out, work)
    for i in range(w.size):
        store(out, i, coordinate(model, c, load(w, i), i, out))


@gradient.of(RayleighQuotient)
def _quotient_gradient(model, w, out, work):
    """(2/|w|^2) (A w - L w)."""
    q, s = constant(w, 0.0), constant(w, 0.0)
    for i in range(w.size):
        row = constant(w, 0.0)
        for j in range(w.size):
            row = fma(model.A[i, j], load(w, j), row)
        store(out, i, row)
        q = fma(load(w, i), load(w, i), q)
        s = fma(load(w, i), row, s)
    value = s / q
    for i in range(w.size):
        store(out, i, 2.0 / q * (load(out, i) - value * load(w, i)))


@loss.of(NoLoss)
def _no_loss(model, w, work):
    """0."""
    return constant(w, 0.0)


@loss.of(Rayleigh)
def _rayleigh_loss(model, w, work):
    """sum_i a_i w_i^2 / |w|^2."""
    q, s = constant(w, 0.0), constant(w, 0.0)
    for i in range(w.size):
        square = load(w, i) * load(w, i)
        q = q + square
        s = fma(model.a[i], square, s)
    return s / q


@loss.of(RayleighQuotient)
def _quotient_loss(model, w, work):
    """w^T A w / |w|^2."""
    q, s = constant(w, 0.0), constant(w, 0.0)
    for i in range(w.size):
        row = constant(w, 0.0)
        for j in range(w.size):
            row = fma(model.A[i, j], load(w, j), row)
        q = fma(load(w, i), load(w, i), q)
        s = fma(load(w, i), row, s)
    return s / q


@loss.of(VonMisesFisher)
def _von_mises_loss(model, w, work):
    """-k <mu, w>/|w|."""
    q, s = constant(w, 0.0), constant(w, 0.0)
    for i in range(w.size):
        q = fma(load(w, i), load(w, i), q)
        s = fma(model.mu[i], load(w, i), s)
    return -model.k * s / sqrt(q)


@loss.of(Circle)
def _circle_loss(model, w, work):
    """h x^2/(x^2 + y^2)."""
    x, y = load(w, 0) * load(w, 0), load(w, 1) * load(w, 1)
    return model.h * x / (x + y)


@laplacian.of(Rayleigh)
def _rayleigh_laplacian(model, w, work):
    """2 sum_i a_i - 2 d L: L less its mean over the sphere is a harmonic of degree 2."""
    trace = 0.0
    for i in range(model.a.size):
        trace += model.a[i]
    return 2.0 * trace - 2.0 * w.size * loss(model, w, work)


@laplacian.of(RayleighQuotient)
def _quotient_laplacian(model, w, work):
    """2 tr A - 2 d L."""
    trace = 0.0
    for i in range(w.size):
        trace += model.A[i, i]
    return 2.0 * trace - 2.0 * w.size * loss(model, w, work)


@laplacian.of(VonMisesFisher)
def _von_mises_laplacian(model, w, work):
    """-(d - 1) L: L is a harmonic of degree 1."""
    return (1.0 - w.size) * loss(model, w, work)


@laplacian.of(Circle)
def _circle_laplacian(model, w, work):
    """2 h - 4 L."""
    return 2.0 * model.h - 4.0 * loss(model, w, work)
