"""Explicit Runge-Kutta schemes with fixed steps for gradient flows: Euler (order 1) and the classical RK4
(order 4).

They conserve quadratic invariants (norms, balancedness) only to their order: the defect of a step of size dt
is O(dt^{order + 1}).
"""

from typing import Any, NamedTuple

import numpy as np

from sdetheory.integrators.stages import combine, force, inner
from sdetheory.lanes.vector import constant
from sdetheory.lanes.verbs import step, workspace

EULER_A, EULER_B = np.zeros((1, 1)), np.ones(1)
RK4_A = np.array([[0.0, 0.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
RK4_B = np.array([1.0, 2.0, 2.0, 1.0]) / 6.0


class Euler(NamedTuple):
    """w' = w + dt f(w), L. Euler (1768)."""

    order = 1
    calculus = "ode"


class RK4(NamedTuple):
    """The classical scheme of order 4, W. Kutta (1901)."""

    order = 4
    calculus = "ode"


@inner
def _explicit_step(a, b, model, lr, weight_decay, dt, y, work):
    """y <- one step of the tableau (a, b)."""
    d, stages = y.size, b.size
    k, at, rest = work[: stages * d], work[stages * d : (stages + 1) * d], work[(stages + 1) * d :]
    h = constant(y, -dt)
    force(model, lr, weight_decay, y, k[:d], rest)
    for s in range(1, stages):
        combine(y, h, a[s], s, k, at)
        force(model, lr, weight_decay, at, k[s * d : (s + 1) * d], rest)
    combine(y, h, b, stages, k, y)


@step.of(Euler)
def _euler_step(integrator, model, noise, lr, weight_decay, dt, y, z, work):
    _explicit_step(EULER_A, EULER_B, model, lr, weight_decay, dt, y, work)


@step.of(RK4)
def _rk4_step(integrator, model, noise, lr, weight_decay, dt, y, z, work):
    _explicit_step(RK4_A, RK4_B, model, lr, weight_decay, dt, y, work)


@workspace.of(Euler)
def _euler_workspace(integrator: Any, d: int) -> int:
    """One slope and the stage."""
    return 2 * d


@workspace.of(RK4)
def _rk4_workspace(integrator: Any, d: int) -> int:
    """Four slopes and the stage."""
    return 5 * d
