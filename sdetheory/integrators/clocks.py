"""The clocks of the weight-decay SDE with constant trace: norm, noise clock A, drift clock B, for any step.

With gamma = |w|^4 / lr^2 and S = Tr Sigma on the unit sphere, gamma' = -4 lr wd gamma + 2 S, and the
direction moves in the times A = int dt / gamma (noise) and B = int dt / sqrt(gamma) (drift).  Everything is
written in m = |w|^2 = lr sqrt(gamma) by sums of positive terms, so that the limits wd -> 0, S -> 0, lr -> 0
and gamma -> equilibrium need no special formula and nothing cancels.  In the kernels m is a lane vector, the
other arguments are scalars.
"""

from typing import Any

import numpy as np

from sdetheory import checks
from sdetheory.integrators.elementary import arctan_ratio, log1p_ratio
from sdetheory.lanes.parts import part
from sdetheory.lanes.vector import absolute, fma, select, sqrt

_ULP = 2.3e-16


@part
def growth(x: float) -> float:
    """(e^x - 1)/x of a scalar, 1 at x = 0."""
    return np.expm1(x) / x if x != 0.0 else 1.0


@part
def norm_after(m: Any, lr: float, weight_decay: float, trace: Any, dt: float) -> Any:
    """|w(t+dt)|^2 from m = |w(t)|^2 for a trace (scalar or lanes) that stands still during dt."""
    decay = 2.0 * lr * weight_decay * dt
    swell = growth(decay)
    swollen = 1.0 + decay * swell
    return sqrt(fma(m, m, trace * (lr * lr * dt * swell * (1.0 + swollen)))) * (1.0 / swollen)


@part
def advance(m: Any, lr: float, weight_decay: float, trace: float, dt: float) -> tuple[Any, Any, Any]:
    """From m = |w(t)|^2: |w(t+dt)|^2, 1 - e^{-S A / 2} and B of the step.

    Without decay |w|^2 grows to g = sqrt(m^2 + 2 lr^2 S (e^{4 lr wd dt} - 1)/(4 lr wd)); e^{-S A / 2} is
    sqrt(m/g) and needs no exponential; B is a logarithm of a sum of positive terms.  Few divisions: they cost
    most here.
    """
    decay = 2.0 * lr * weight_decay
    swell = growth(decay * dt)
    swollen = 1.0 + decay * dt * swell  # e^{2 lr wd dt}
    gain = lr * lr * trace * dt * swell * (1.0 + swollen)
    grown = sqrt(fma(m, m, gain))
    total = grown + m
    middle = grown + sqrt(m * grown)
    if decay < 0.0:
        after = grown / swollen
        return after, gain / (total * middle), _swelling_clock(m, after, lr, decay, trace, dt)
    root, pull = lr * np.sqrt(trace), np.sqrt(decay)
    if root + pull == 0.0:
        pull = 1.0  # neither noise nor decay: the rate is 1/m for any pull
    whole = fma(m, pull, root)
    inverse = 1.0 / (total * middle * whole)
    rate = lr * dt * swell * fma(pull, total, root * (1.0 + swollen)) * middle * inverse
    after = grown * (1.0 / swollen)
    after = select(absolute(after - m) <= _ULP * m, m, after)  # at equilibrium rounding alone would keep it moving
    return after, gain * whole * inverse, rate * log1p_ratio(np.sqrt(decay * trace) * rate)


@part
def _swelling_clock(m: Any, after: Any, lr: float, decay: float, trace: float, dt: float) -> Any:
    """B for negative weight decay (a gauge change needs it): arctan(c x)/c, c^2 = -decay S."""
    swell, swollen = growth(decay * dt), np.exp(decay * dt)
    power = lr * lr * trace
    risen = lr * dt * swell * (1.0 + swollen) / (swollen * swollen) * (power - decay * m * m) / (after + m)
    x = risen / (power - decay * m * after)
    return x * arctan_ratio(np.sqrt(-decay * trace) * x)


def noise_clock(t: Any, *, lr: float, weight_decay: float, trace: float, square_norm: float) -> Any:
    """A = int_0^t ds / gamma_s for numbers or arrays t; square_norm = |w_0|^2; decay and trace may be 0."""
    t = np.asarray(t, dtype=np.float64)
    decay = 4.0 * lr * weight_decay * t  # divided by itself below, so that a subnormal one does no harm
    swell = np.divide(np.expm1(decay), decay, out=np.ones_like(decay), where=decay != 0.0)
    y = (lr / square_norm) ** 2 * t * swell
    x = 2.0 * trace * y
    return y * np.divide(np.log1p(x), x, out=np.ones_like(x), where=x > 0.0)


def times_uniform_in_noise_clock(
    count: int, last: float, *, lr: float, weight_decay: float, trace: float, square_norm: float
) -> np.ndarray:
    """Times 0 = t_0 < ... < t_count = last between which the noise clock A advances by equal amounts.

    t(A) = log1p(2 lr wd gamma_0 y / S) / (4 lr wd) with y = e^{2 S A} - 1.  From a norm far below equilibrium
    the first SGD steps turn the direction most, and equal steps in t waste the order of a splitting; equal
    steps in A do not.

    count: number of steps; last: final time in steps of SGD; square_norm = |w_0|^2; trace = S on the unit
    sphere. Returns (count + 1,).  Raises ValueError for non-positive arguments (weight_decay may be 0).
    Source: exact solution of the linear equation for gamma (Li, Lyu, Arora 2020).
    """
    count = checks.integer("count", count, least=1)
    last, lr = checks.positive("last", last), checks.positive("lr", lr)
    trace, m = checks.positive("trace", trace), checks.positive("square_norm", square_norm)
    weight_decay = checks.nonnegative("weight_decay", weight_decay)
    whole = 2.0 * trace * noise_clock(last, lr=lr, weight_decay=weight_decay, trace=trace, square_norm=m)
    y = np.expm1(whole * np.arange(count + 1) / count)
    gamma, rate = (m / lr) ** 2, 4.0 * lr * weight_decay
    free = gamma * y / (2.0 * trace)  # the time it would take without weight decay
    times = np.log1p(rate * free) / rate if rate else free
    times[-1] = last
    return times
