"""Where gradient flow ends, and how sharp the loss is there: the gradient-flow solution of a state."""

from typing import Any

import numpy as np

from sdetheory import checks, integrators
from sdetheory.dynamics.rules import GradientFlow
from sdetheory.flow import solve
from sdetheory.models.deep_linear import DeepLinear
from sdetheory.observables.curvature import hessian, sharpness
from sdetheory.observables.spectra import gradient

_VALLEY = 1e-3  # eigenvalues below this part of the largest are the valley's, or so slow that the flow is waited for
_NEAR = 1e-6  # of |w|: what the linear flow still has to go when it takes over; its error is of the second order


def flow_limit(model: DeepLinear, w: Any, longest: float = 1e6, tolerance: float = 1e-12) -> np.ndarray:
    """The minimum in which the flow dw/dt = -grad L(w) from `w` ends, shape (..., d): its gradient-flow solution.

    DOP853 with error `tolerance` a step, over times that double until what is left is small; then w - H^+ grad L,
    where the linear flow near a minimum ends: the error is of the second order in that move (below 1e-6 of |w|), and of
    the first in `tolerance`. ValueError when the flow is not at rest near a minimum by time `longest`: it goes to a
    saddle, to infinity, or slower than any exponential. Source: Kreisler et al. 2023, who follow its sharpness.
    """
    states = np.array(checks.finite("w", w), dtype=np.float64)
    longest, tolerance = checks.positive("longest", longest), checks.positive("tolerance", tolerance)
    model.validated(states.shape[-1])
    exact = integrators.DOP853(rtol=tolerance, atol=tolerance)
    now = states.reshape(-1, states.shape[-1])
    ends, left = np.full_like(now, np.nan), np.arange(len(now))
    time, step = 0.0, 4.0 / max(float(np.abs(sharpness(model, now)).max()), 1e-12)
    while left.size:
        ends[left] = [_end(model, state) for state in now]
        moving = np.isnan(ends[left, 0])
        now, left = now[moving], left[moving]
        if left.size and time >= longest:
            raise ValueError(f"`w` must lead to a minimum: its flow is not at rest by longest={longest}: {now[0]}")
        if left.size:
            step = min(step, longest - time)
            now = solve(model, GradientFlow(), now, [step], exact, threads=1, progress=False).final
            time, step = time + step, 2 * step
    return ends.reshape(states.shape)


def flow_sharpness(model: DeepLinear, w: Any, longest: float = 1e6, tolerance: float = 1e-12) -> np.ndarray:
    """Sharpness of the gradient-flow solution of `w`, shape (...): the largest Hessian eigenvalue at `flow_limit`."""
    return sharpness(model, flow_limit(model, w, longest, tolerance))


def _end(model: DeepLinear, state: np.ndarray) -> np.ndarray:
    """The end of the linear flow from here when that is near and a minimum, NaN otherwise."""
    far = np.full_like(state, np.nan)
    slope = gradient(model, state)
    values, vectors = np.linalg.eigh(hessian(model, state))
    size = max(float(np.linalg.norm(state)), 1e-300)
    if values[-1] <= 0 or np.linalg.norm(slope) > values[-1] * _NEAR * size or values[0] < -_NEAR * values[-1]:
        return far
    steep = values > _VALLEY * values[-1]
    along = vectors.T @ slope
    move = vectors[:, steep] @ (along[steep] / values[steep])
    rest = np.linalg.norm(along[~steep])
    near = np.linalg.norm(move) <= _NEAR * size and rest <= 10 * _NEAR**2 * values[-1] * size
    return state - move if near else far
