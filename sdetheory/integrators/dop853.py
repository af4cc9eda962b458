"""DOP853 on lanes: every member of an ensemble with its own time, step size, error control and dense output.

A lane that finishes takes the next member from the queue, so all lanes stay busy; no lane looks at another
one, so a member's result does not depend on its company, on the width or on the threads.
"""

from typing import NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.integrators.dop853_tableau import E3, E5, A, B, D
from sdetheory.integrators.stages import inner
from sdetheory.lanes.vector import absolute, constant, fma, load, maximum, store


class DOP853(NamedTuple):
    """Dormand and Prince's explicit scheme of order 8 with error control of orders 5 and 3 and dense output
    of order 7.

    A step is accepted when the error estimate is below atol + rtol max(|y|, |y'|) in the root mean square
    over coordinates; step control as in scipy's `solve_ivp`. Source: E. Hairer, S. Norsett, G. Wanner,
    Solving Ordinary Differential Equations I (1993), section II.10.
    """

    rtol: float = 1e-8
    atol: float = 1e-10
    order = 8
    calculus = "ode"

    def validated(self, d: int) -> "DOP853":
        """Raises ValueError unless atol >= 0 and rtol >= 100 machine epsilons."""
        if checks.positive("rtol", self.rtol) < 100 * EPSILON:
            raise ValueError(f"`rtol` must be at least {100 * EPSILON:.3g}: rtol={self.rtol}")
        return DOP853(self.rtol, checks.nonnegative("atol", self.atol))


EPSILON = float(np.finfo(float).eps)
SAFETY, LEAST, MOST = 0.9, 0.2, 10.0  # step-size factor: safety, smallest, largest

# Slopes are kept in slots so that every stage sums a contiguous group: slopes 2, 3 and 5 (of 1..16) are
# needed one after the other only, and share slot 1.
SLOT = np.array([0, 1, 1, 2, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13])
SLOTS = 14


def _packed(rows: np.ndarray) -> np.ndarray:
    """Coefficients by slot instead of by stage."""
    packed = np.zeros((rows.shape[0], SLOTS))
    for i, row in enumerate(rows):
        used = np.flatnonzero(row)
        packed[i, SLOT[used]] = row[used]
    return packed


STAGES, ERROR, DENSE = _packed(A), _packed(np.stack([B, E3, E5])), _packed(D)
PARTS = 8  # a long norm's sum is made in so many parts, coordinates i, i + 8, ... to each
TERMS = np.array([row.nonzero()[0].max(initial=-1) + 1 for row in STAGES])
STEP_TERMS = int(TERMS[12])


@inner
def finish(y, h, k, new, rtol, atol, first, parts):
    """new <- the end of the step in rows first, first + parts, ...; returns their part of the squared norms of the
    error estimates of orders 3 and 5, in tolerances."""
    d = y.size
    norm3 = constant(y, 0.0)
    norm5 = norm3
    for i in range(first, d, parts):
        move, error3, error5 = constant(y, 0.0), constant(y, 0.0), constant(y, 0.0)
        for s in range(STEP_TERMS):
            slope = load(k, s * d + i)
            move = fma(ERROR[0, s], slope, move)
            error3 = fma(ERROR[1, s], slope, error3)
            error5 = fma(ERROR[2, s], slope, error5)
        old = load(y, i)
        value = fma(h, move, old)
        store(new, i, value)
        inverse = 1.0 / fma(rtol, maximum(absolute(old), absolute(value)), atol)
        error3, error5 = error3 * inverse, error5 * inverse
        norm3 = fma(error3, error3, norm3)
        norm5 = fma(error5, error5, norm5)
    return norm3, norm5


@inner
def polynomials(y, new, h, k, dense):
    """The seven dense-output polynomials of an accepted step, d rows each; slopes 12 ... 15 must be there."""
    d = y.size
    for i in range(d):
        jump = load(new, i) - load(y, i)
        start, end = h * load(k, i), h * load(k, SLOT[12] * d + i)
        store(dense, i, jump)
        store(dense, d + i, start - jump)
        store(dense, 2 * d + i, 2.0 * jump - (end + start))
        for j in range(4):
            total = constant(y, 0.0)
            for s in range(SLOTS):
                total = fma(DENSE[j, s], load(k, s * d + i), total)
            store(dense, (3 + j) * d + i, h * total)


@inner
def interpolate(y, x, dense, out):
    """out <- the state at the fraction x of the step."""
    d = y.size
    for i in range(d):
        total = constant(y, 0.0)
        for j in range(6, -1, -1):
            total = (total + load(dense, j * d + i)) * (x if j % 2 == 0 else 1.0 - x)
        store(out, i, load(y, i) + total)


@inner
def error_norm(norm3, norm5, h, d):
    """One lane's error in tolerances, from the squared norms: |h| n5 / sqrt((n5 + n3/100) d)."""
    if norm3 == 0.0 and norm5 == 0.0:
        return 0.0
    return h * norm5 / np.sqrt((norm5 + 0.01 * norm3) * d)


@inner
def step_factor(error, rejected):
    """Next step size over this one; `rejected`: the step before this one was refused."""
    if error < 1.0:
        factor = MOST if error == 0.0 else min(MOST, SAFETY * error**-0.125)
        return min(1.0, factor) if rejected else factor
    return max(LEAST, SAFETY * error**-0.125) if error < np.inf else LEAST


@inner
def start_norms(y, k, moved, rtol, atol, first, parts):
    """Sums of squares of the state, the first slope and its change to the slope `moved`, in tolerances, over rows
    first, first + parts, ..."""
    a, b, c = constant(y, 0.0), constant(y, 0.0), constant(y, 0.0)
    for i in range(first, y.size, parts):
        inverse = 1.0 / fma(rtol, absolute(load(y, i)), atol)
        value, slope = load(y, i) * inverse, load(k, i) * inverse
        change = load(moved, i) * inverse - slope
        a, b, c = fma(value, value, a), fma(slope, slope, b), fma(change, change, c)
    return a, b, c


@inner
def trial_step(size, speed, span):
    """A first guess of the step size, from root mean squares in tolerances (Hairer et al., section II.4)."""
    return min(span, 1e-6 if size < 1e-5 or speed < 1e-5 else 0.01 * size / speed)


@inner
def first_step(trial, speed, change, span):
    """The first step size, after an Euler step of size `trial` changed the slope by `change`."""
    bend = change / trial
    guess = max(1e-6, trial * 1e-3) if max(speed, bend) <= 1e-15 else (0.01 / max(speed, bend)) ** 0.125
    return min(100.0 * trial, guess, span)
