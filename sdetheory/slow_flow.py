"""The slow flow of gradient descent with weight decay along a manifold of minimisers, integrated."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.integrate import solve_ivp

from sdetheory import checks
from sdetheory.predictions import edge_of_stability


def sharpness_flow(
    log_gradient: Callable[[np.ndarray], np.ndarray],
    start: Sequence[float] | np.ndarray,
    ts: Sequence[float] | np.ndarray,
    *,
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> np.ndarray:
    """d zeta/d tau = -2 g/(4 + |g|^2), g = grad ln lambda_1(zeta): unit vectors (T, d) at slow times `ts` (T,).

    `log_gradient(zeta)` returns g, (d,), at a unit vector; its part along zeta is taken off.  `ts` counts
    lr wd steps from the moment when effective lr x lambda_1 reached 2; increasing, the first not negative.
    `start`, (d,), is divided by its norm.  Raises ValueError on bad arguments, Diverged where the solver fails.
    Source: K. Lyu, Z. Li, S. Arora (2022), main theorem; the right-hand side is
    ``predictions.edge_of_stability.sharpness_flow_rate``.
    """
    zeta = checks.start_norm("start", checks.shape("start", checks.finite("start", start), (None,)))
    times = checks.increasing("ts", ts)

    def rate(_: float, at: np.ndarray) -> np.ndarray:
        unit = at / np.linalg.norm(at)
        slope = np.asarray(log_gradient(unit), dtype=float)
        slope = slope - (slope @ unit) * unit
        return edge_of_stability.sharpness_flow_rate(log_slope=slope, log_slope_square=slope @ slope)

    span, options = (0.0, float(times[-1])), {"method": "DOP853", "rtol": rtol, "atol": atol}
    if span[1] == 0.0:
        return (zeta / np.linalg.norm(zeta))[None]
    solved = solve_ivp(rate, span, zeta / np.linalg.norm(zeta), t_eval=times, **options)
    if not solved.success:
        raise checks.Diverged(float(solved.t[-1]) if solved.t.size else 0.0, len(solved.t), solved.message)
    return solved.y.T / np.linalg.norm(solved.y.T, axis=-1, keepdims=True)
