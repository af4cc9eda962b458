"""The slow flow of gradient descent with weight decay along a manifold of minimisers: starts and paths."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.integrate import solve_ivp
from scipy.interpolate import PchipInterpolator

from sdetheory import checks
from sdetheory.models.equator import Equator
from sdetheory.predictions import edge_of_stability, intrinsic_lr


def edge_start(
    zeta: Sequence[float] | np.ndarray,
    eigenvector: Sequence[float] | np.ndarray,
    *,
    sharpness: float | np.ndarray,
    log_slope_square: float | np.ndarray,
    lr: float,
    weight_decay: float,
    edge_product: float = 2.0,
    swing: float = 1.0,
) -> np.ndarray:
    """A state at the edge of stability above a minimiser: where descent follows the slow flow from the start.

    |w| is such that effective lr x sharpness = `edge_product`; w/|w| is off the minimiser `zeta` along the unit
    `eigenvector`, both (..., d), by `swing` times the predicted oscillation.  `sharpness` and `log_slope_square`
    = |grad ln lambda_1|^2 at `zeta` are numbers or (...).  With edge_product = 2 and swing = 1 the path stays
    within O(lr wd) of the flow; with another swing within O((lr wd)^(1/2)); with another edge_product its time
    on the flow is shifted (``predictions.edge_of_stability.sharpness_clock``).
    """
    square = edge_of_stability.edge_oscillation(lr=lr, weight_decay=weight_decay, log_slope_square=log_slope_square)
    x = checks.nonnegative("swing", swing) * np.sqrt(square)[..., None]
    if (x >= 1).any():
        raise ValueError(f"`swing` must keep the oscillation below 1: swing={swing}, oscillation={x.max():.3g}")
    product = checks.positive("edge_product", edge_product)
    speed = edge_of_stability.edge_effective_lr(sharpness=sharpness) * product / 2
    size = np.sqrt(intrinsic_lr.direction_lr(lr=lr, weight_decay=weight_decay, squared_norm=speed))[..., None]
    return size * (np.sqrt(1 - x**2) * np.asarray(zeta, float) + x * np.asarray(eigenvector, float))


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


def equator_longitude(model: Equator, longitude: float, ts: Sequence[float] | np.ndarray) -> np.ndarray:
    """Longitude in (0, pi) on the slow flow of an Equator at slow times `ts`, of any shape and sign.

    The closed form of the time between two longitudes, inverted by interpolation: within 1e-8.  Times at which
    the longitude is within 2e-6 of 0 or pi give that end.
    """
    if not 0 < longitude < np.pi:
        raise ValueError(f"`longitude` must lie between 0 and pi: longitude={longitude}")
    if model.amplitude == 0:
        raise ValueError("`model` must have an amplitude that is not zero: amplitude=0")
    angles = np.pi * (1 - np.cos(np.linspace(1.2e-3, np.pi - 1.2e-3, 4001))) / 2
    slow = edge_of_stability.equator_slow_time(
        cosine=np.cos(angles), cosine0=np.cos(longitude), mean=model.mean, amplitude=model.amplitude
    )
    order = slice(None, None, 1 if model.amplitude > 0 else -1)
    inverse = PchipInterpolator(slow[order], angles[order])
    return inverse(np.clip(checks.finite("ts", ts), slow.min(), slow.max()))
