"""Gauss-Legendre collocation with two stages (order 4): conserves norms and balancedness to rounding at any
step."""

from typing import Any, NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.integrators.stages import combine, force, inner
from sdetheory.lanes.vector import absolute, any_lane, constant, load, maximum, select, store
from sdetheory.lanes.verbs import step, workspace

_R = np.sqrt(3.0) / 6.0
GAUSS_A = np.array([[0.25, 0.25 - _R], [0.25 + _R, 0.25]])
GAUSS_B = np.array([0.5, 0.5])
SWEEPS = 100  # fixed-point sweeps before a step counts as failed
STALLED = 64.0  # a sweep that no longer shrinks ends the iteration below this multiple of the tolerance


class GaussLegendre4(NamedTuple):
    """Two-stage Gauss collocation, order 4, symmetric; every quadratic invariant of the flow is conserved.

    The stages solve k_i = f(y + dt sum_j a_ij k_j) by fixed-point sweeps until they move the state by less
    than `tolerance` max|y| (default: half a unit in the last place, so the invariants hold to rounding). A
    step whose sweeps do not contract (dt times the curvature above about 2) makes the state NaN: the path
    counts as diverged. Source: E. Hairer, C. Lubich, G. Wanner, Geometric Numerical Integration (2006),
    sections II.1.3, IV.2.1, VIII.6.
    """

    tolerance: float = 1.1e-16
    order = 4
    calculus = "ode"

    def validated(self, d: int) -> "GaussLegendre4":
        """Raises ValueError unless `tolerance` is positive."""
        return GaussLegendre4(checks.positive("tolerance", self.tolerance))


@workspace.of(GaussLegendre4)
def _workspace(integrator: Any, d: int) -> int:
    """Two slopes, the stage, and two new slopes."""
    return 5 * d


@step.of(GaussLegendre4)
def _step(integrator, model, noise, lr, weight_decay, dt, y, z, work):
    d = y.size
    k, at, new, rest = work[: 2 * d], work[2 * d : 3 * d], work[3 * d : 5 * d], work[5 * d :]
    h = constant(y, -dt)
    size = _largest(y)
    force(model, lr, weight_decay, y, k[:d], rest)
    for i in range(d):
        store(k, d + i, load(k, i))
    last = constant(y, np.inf)
    solved = last < 0.0
    for _ in range(SWEEPS):
        for s in range(2):
            combine(y, h, GAUSS_A[s], 2, k, at)
            force(model, lr, weight_decay, at, new[s * d : (s + 1) * d], rest)
        change = dt * _replace(k, new, solved)
        solved = solved | (change <= integrator.tolerance * size)
        solved = solved | ((change >= last) & (change <= STALLED * integrator.tolerance * size))
        if not any_lane(~solved):
            break
        last = change
    combine(y, h, GAUSS_B, 2, k, y)
    for i in range(d):
        store(y, i, select(solved, load(y, i), np.nan))


@inner
def _largest(y):
    """max|y_i|, lane by lane."""
    size = absolute(load(y, 0))
    for i in range(1, y.size):
        size = maximum(size, absolute(load(y, i)))
    return size


@inner
def _replace(k, new, solved):
    """k <- new where not solved; the largest change made there (solved lanes rest, whatever their neighbours
    do)."""
    change = constant(k, 0.0)
    for i in range(k.size):
        old = load(k, i)
        value = select(solved, old, load(new, i))
        change = maximum(change, absolute(value - old))
        store(k, i, value)
    return change
