"""Diagonal linear networks of depth D > 2: which interpolant gradient flow selects, and how small a start is rich.

beta_j = w_{+,j}^D - w_{-,j}^D, loss a function of X beta, all weights alpha at the start. Then (w/alpha)^(2-D) is 1 - z
and 1 + z for the two halves, with z = X^T multipliers in (-1, 1), and the fit minimises the sum of the potentials whose
derivative is z. In r = atanh z nothing cancels: beta = 2 alpha^D cosh(r)^c sinh(c r), c = D/(D - 2).
"""

from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("depth", "1", "number of layers D", "D", "positive"),
    Quantity("start", "1", "all weights at the start", r"\alpha", "positive"),
    Quantity("potential_slope", "1", "z of the coordinate, derivative of its potential: in the row space of X", "z"),
    Quantity("excess", "1", "relative excess of the l1 norm over that of the least fit", r"\epsilon", "positive"),
    Quantity("least_l1", "1", "least l1 norm of all fits", r"\|\beta_1^*\|_1", "positive"),
    Quantity("inputs", "1", "number of inputs", "d", "positive"),
)  # fmt: skip
depth, start, potential_slope, excess, least_l1, inputs = (q.symbol for q in QUANTITIES)
_WOODWORTH = "Woodworth et al. 2020, Kernel and rich regimes in overparametrized models, theorem 3"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="deep_diagonal_networks")
_LIMIT = 1e-13  # part of beta below which alpha^D moves slopes, but no longer the large coordinates
_STEEP = 3e-3  # 1 - |z| of those there
_INSIDE = (sp.Gt(depth, 2), sp.Lt(potential_slope**2, 1))
_up, _down = ((1 - sign * potential_slope) ** (-2 / (depth - 2)) for sign in (1, -1))  # squares of w/alpha
_h = _up / (1 - potential_slope) - _down / (1 + potential_slope)

deep_coefficient = _prediction(
    "deep_coefficient", "coordinate of beta at z: alpha^D ((1-z)^(-D/(D-2)) - (1+z)^(-D/(D-2)))", start**depth * _h,
    "1", _WOODWORTH, latex_name=r"\beta(z)", where=_INSIDE,
)  # fmt: skip
deep_potential_at_slope = _prediction(
    "deep_potential_at_slope", "potential of a coordinate at z, whose sum over coordinates the flow's fit minimises",
    start**depth * (potential_slope * _h - (depth - 2) * (_up + _down - 2) / 2), "1", _WOODWORTH,
    latex_name=r"\alpha^Dq_D", where=_INSIDE,
)  # fmt: skip
deep_rich_start = _prediction(
    "deep_rich_start",
    "alpha^(D-2) up to which the fit has an l1 norm of at most 1 + excess times the least: a power of the size",
    2 * excess / depth * least_l1 ** (1 - 2 / depth) * inputs ** (2 / depth - 1) * (1 + excess) ** (-2 / depth), "1",
    "derived; Woodworth et al. 2020 state that it is polynomial", latex_name=r"\alpha^{D-2}",
    where=(sp.Gt(depth, 2),),
)  # fmt: skip


def deep_slope(coefficient: Any, start: Any, depth: Any) -> np.ndarray:
    """z of a coordinate, the derivative of its potential and the inverse of `deep_coefficient`: arrays broadcast.

    Accurate to rounding for every size of coefficient/start^depth that is a normal number. ValueError for depth <= 2.
    """
    ratio, _, d = _checked(coefficient, start, depth)
    return np.tanh(_rapidity(ratio, d))


def deep_potential(coefficient: Any, start: Any, depth: Any) -> np.ndarray:
    """The potential alpha^D q_D(beta/alpha^D) of a coordinate: beta z - alpha^D (antiderivative of h_D at z).

    |beta| - (D/2) alpha^(D-2) |beta|^(2/D) <= potential <= |beta|: the l1 norm for small alpha. ValueError as
    `deep_slope`. Source: Woodworth et al. 2020, theorem 3.
    """
    ratio, scale, d = _checked(coefficient, start, depth)
    r, a = np.abs(_rapidity(ratio, d)), 2 / (d - 2)
    return np.asarray(scale * (np.tanh(r) * np.abs(ratio) - 2 / a * np.expm1(a * _log_cosh(r) + _log_cosh(a * r))))


def deep_selected_interpolant(
    inputs: Any, labels: Any, start: float, depth: float, tolerance: float = 1e-9
) -> tuple[np.ndarray, np.ndarray]:
    """(beta, multipliers): the fit X beta = y of least total potential; z = X^T multipliers certifies it.

    `inputs` X (n, d) with independent rows, `labels` y (n,), `start` alpha, `depth` D >= 3. Newton's method in r =
    atanh z and the multipliers, from a large start down; below alpha^D = 1e-13 of beta the large coordinates stay and
    slopes move. ValueError where the residual (relative) or the slopes outside the row space exceed `tolerance`, which
    has been seen below alpha^D = 1e-20 alone, where two sets of coordinates have nearly the same l1 norm.
    """
    inputs, labels = np.asarray(inputs, dtype=float), np.asarray(labels, dtype=float)
    if inputs.ndim != 2 or labels.shape != inputs.shape[:1]:
        raise ValueError(f"`labels` must have one entry per row of `inputs`: {labels.shape}, {inputs.shape}")
    if np.linalg.matrix_rank(inputs) < len(labels):
        raise ValueError("`inputs` must have independent rows")
    if not depth >= 3:
        raise ValueError(f"`depth` must be at least 3 (for 2 see `diagonal_networks`): depth={depth}")
    _, scale, d = _checked(0.0, start, depth)
    least_norm, goal, worst = np.linalg.pinv(inputs) @ labels, float(scale), (np.inf, np.inf)
    for last in dict.fromkeys((max(goal, _LIMIT * float(np.abs(least_norm).max(initial=0.0))), goal)):
        beta, dual = _path(inputs, labels, least_norm, last, float(d))
        if goal < last:
            beta, dual = _smaller(inputs, labels, beta, dual, last, goal, d)
        missed = np.abs(inputs @ beta - labels).max(initial=0.0) / max(np.abs(labels).max(initial=0.0), 1e-300)
        slope = np.abs(deep_slope(beta, start, depth) - inputs.T @ dual).max(initial=0.0)
        if missed <= tolerance and slope <= tolerance:
            return beta, dual
        worst = min(worst, (float(slope), float(missed)))
    raise ValueError(f"no fit to `tolerance`: (slopes, residual) off by {worst}, tolerance={tolerance}")


def _path(
    inputs: np.ndarray, labels: np.ndarray, beta: np.ndarray, scale: float, depth: float
) -> tuple[np.ndarray, np.ndarray]:
    """The fit of least potential at this scale and its multipliers, from the fit of least norm at a large one."""
    most = max(scale, float(np.abs(beta).max(initial=0.0)))
    r, dual = _rapidity(beta / most, depth), np.zeros(len(labels))
    for now in np.geomspace(most, scale, 1 + int(np.ceil(np.log2(most / scale) / 2))):
        r = np.where(np.abs(r) > 1, _rapidity(beta / now, depth), r)  # large coordinates stay, slopes of small ones do
        r, dual = _newton(inputs, labels, now, depth, r, dual)
        beta = now * _ratio(r, depth)
    return beta, dual


def _smaller(
    inputs: np.ndarray, labels: np.ndarray, beta: np.ndarray, dual: np.ndarray, scale: float, goal: float, depth: Any
) -> tuple[np.ndarray, np.ndarray]:
    """From a scale at which the small coordinates are rounding of the large ones down to any other: the large ones
    stay, their slopes move to those of the new scale, and the small ones follow from the multipliers."""
    large = 1 - np.abs(np.tanh(_rapidity(beta / scale, depth))) < _STEEP
    slopes = np.tanh(_rapidity(beta[large] / goal, depth))
    dual = dual + np.linalg.lstsq(inputs[:, large].T, slopes - inputs[:, large].T @ dual, rcond=None)[0]
    inside = np.clip(inputs.T @ dual, -1 + 1e-15, 1 - 1e-15)
    beta = np.where(large, beta, goal * _ratio(np.arctanh(inside), depth))
    beta[large] += np.linalg.lstsq(inputs[:, large], labels - inputs @ beta, rcond=None)[0]
    return beta, dual


def _newton(
    inputs: np.ndarray, labels: np.ndarray, scale: float, depth: float, r: np.ndarray, dual: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Solution of X beta(r) = y, tanh r = X^T dual: Newton steps, none longer than 1 in r, to rounding."""
    power = depth / (depth - 2)
    for _ in range(60):
        speed = scale * 2 * power * np.exp((power - 1) * _log_cosh(r) + _log_cosh((power + 1) * r))  # d beta/dr
        softness = speed * np.exp(2 * _log_cosh(r))  # d beta/dz
        root = np.sqrt(softness / softness.max())
        left, triangle = np.linalg.qr(inputs.T * root[:, None])
        off, missed = inputs.T @ dual - np.tanh(r), labels - inputs @ (scale * _ratio(r, depth))
        right = np.linalg.solve(triangle.T, missed / softness.max()) - left.T @ (root * off)
        turn = np.linalg.solve(triangle, right)
        change = softness * (off + inputs.T @ turn)
        # where d beta/dz is huge the difference above is rounding: what it leaves of `missed` is given to the largest
        change += root * (left @ np.linalg.solve(triangle.T, missed - inputs @ change))
        step = change / speed
        size = min(1.0, 1.0 / max(float(np.abs(step).max(initial=0.0)), 1e-300))
        r, dual = r + size * step, dual + size * turn
        if np.abs(step).max(initial=0.0) <= 1e-14:
            break
    return r, dual


def _checked(coefficient: Any, start: Any, depth: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(beta/alpha^D, alpha^D, D)."""
    beta, alpha, d = (np.asarray(x, dtype=float) for x in (coefficient, start, depth))
    if not (d > 2).all():
        raise ValueError(f"`depth` must be above 2 (for 2 see `diagonal_networks`): depth={depth}")
    if not ((alpha > 0).all() and (alpha**d > 0).all() and np.isfinite(alpha**d).all()):
        raise ValueError(f"`start` must be positive, and so start^depth: start={start}, depth={depth}")
    return beta / alpha**d, alpha**d, d


def _ratio(r: np.ndarray, depth: Any) -> np.ndarray:
    """beta/alpha^D = 2 cosh(r)^c sinh(c r)."""
    c = depth / (depth - 2)
    return np.asarray(2 * np.exp(c * _log_cosh(r)) * np.sinh(c * r))


def _rapidity(ratio: Any, depth: Any) -> np.ndarray:
    """r with 2 cosh(r)^c sinh(c r) = ratio, c = D/(D-2): Newton in ln r, where the logarithm of the left is convex,
    from above, so that it falls to the root."""
    size, c = np.abs(np.asarray(ratio, dtype=float)), np.asarray(depth, dtype=float) / (np.asarray(depth) - 2.0)
    seen = np.where(size > 0, size, 1.0)
    r, goal = np.arcsinh(seen / 2) / c, np.log(seen)
    for _ in range(60):
        miss = np.log(2.0) + c * _log_cosh(r) + c * r + np.log(-np.expm1(-2 * c * r) / 2) - goal
        ahead = r * np.exp(-miss / (r * c * (np.tanh(r) + 1 / np.tanh(c * r))))
        done = np.abs(ahead - r) <= 2e-16 * r
        r = ahead
        if done.all():
            break
    r = r - (_ratio(r, depth) / seen - 1) / (c * (np.tanh(r) + 1 / np.tanh(c * r)))  # the logarithms lose ln of `ratio`
    return np.asarray(np.where(size > 0, np.copysign(r, ratio), 0.0))


def _log_cosh(x: Any) -> np.ndarray:
    """ln cosh x without cancellation near 0 or overflow."""
    x = np.abs(x)
    return np.where(x < 1, np.log1p(2 * np.sinh(np.minimum(x, 1.0) / 2) ** 2), x + np.log1p(np.exp(-2 * x)) - np.log(2))
