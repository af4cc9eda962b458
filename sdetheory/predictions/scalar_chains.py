"""Chains of scalar layers of any depth: where flow ends, how fast, how sharp, and how long a small start
takes.

The flow is dw/dt = -grad l(W), W = w_1 ... w_d, slope g = dl/dW; z_i = w_i^2, S = sum 1/z_i. Every z_i - z_j
is conserved, so that z_i = m + gap_i with one unknown m: W^2 = P(m) = prod(m + gap_i). Where a formula fixes
the loss it is (1/2)(W - s)^2, and W, weights and loss are plain numbers.
"""

from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("depth", "1", "number of layers", "d", "positive"),
    Quantity("common_square", "1", "square of all layers but one, on W = 1", "x", "positive"),
    Quantity("target", "1", "end to end product of the minimum", "s", "positive"),
    Quantity("strength", "1", "end to end product now", "a", "positive"),
    Quantity("strength0", "1", "end to end product at t = 0", "a_0", "positive"),
    Quantity("inverse_squares", "1/w^2", "S, the sum of 1/w_i^2 over the layers", "S", "positive"),
    Quantity("inverse_pairs", "1/w^4", "e_2, the sum of 1/(w_i w_j)^2 over pairs of layers", "e_2",
    "nonnegative"),
    Quantity("end_to_end", "y", "product W of all layers", "W"),
    Quantity("slope", "loss/y", "dl/dW at the end to end product, for any loss", "g"),
)  # fmt: skip
depth, common_square, target, strength, strength0, inverse_squares, inverse_pairs, end_to_end, slope = (
    q.symbol for q in QUANTITIES
)
_SAXE = "Saxe, McClelland, Ganguli 2014"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="scalar_chains")

# -- minima of W = 1 with all layers but one equal
sharpness_of_equal_layers = _prediction(
    "sharpness_of_equal_layers", "sharpness of (W - 1)^2 where all layers but one have the same square",
    2 * (common_square ** (depth - 1) + (depth - 1) / common_square), "1", "derived",
    latex_name=r"\lambda_{\max}",
)  # fmt: skip
imbalance_of_equal_layers = _prediction(
    "imbalance_of_equal_layers", "common square less the square of the last layer, on W = 1",
    common_square - common_square ** (1 - depth), "1", "derived", latex_name="D",
)  # fmt: skip

# -- the flow reduced to one dimension, and its speed
smallest_square_rate = _prediction(
    "smallest_square_rate", "rate of change of m, and so of every z_i = m + gap_i: any depth and loss",
    -2 * end_to_end * slope, "loss", "conservation of w_i^2 - w_j^2", latex_name=r"\tfrac{dm}{dt}",
)  # fmt: skip
end_to_end_rate = _prediction(
    "end_to_end_rate", "rate of change of the end to end product, -P'(m) g: any depth and loss",
    -(end_to_end**2) * inverse_squares * slope, "loss*y/w^2", "conservation of w_i^2 - w_j^2",
    latex_name=r"\tfrac{dW}{dt}",
)  # fmt: skip
kernel_growth = _prediction(
    "kernel_growth", "dP'(m)/dm of the kernel P'(m) = W^2 S: never negative, the flow speeds up as squares grow",
    2 * end_to_end**2 * inverse_pairs, "y^2/w^4", "derived", latex_name=r"P''(m)",
)  # fmt: skip
local_rate = _prediction(
    "local_rate", "rate at which W - s falls near a minimum of (1/2)(W - s)^2: its largest Hessian eigenvalue",
    target**2 * inverse_squares, "1/w^2", "derived", latex_name=r"r",
)  # fmt: skip
slowest_local_rate = _prediction(
    "slowest_local_rate", "smallest local rate of all minima: the balanced, flattest one",
    depth * target ** (2 - 2 / depth), "1", "derived", latex_name=r"\min r",
)  # fmt: skip

# -- growth of a balanced mode from a small start
escape_time = _prediction(
    "escape_time", "time a balanced chain of depth > 2 takes to grow from a_0, to leading order in a_0",
    strength0 ** (2 / depth - 1) / (target * (depth - 2)), "1", _SAXE, latex_name=r"\tau(a_0)",
    where=(sp.Gt(depth, 2),),
)  # fmt: skip
escape_time_excess = _prediction(
    "escape_time_excess", "most that the time to grow to a exceeds tau(a_0) - tau(a), whatever a_0",
    strength ** (2 / depth) / (2 * target * (target - strength)), "1", "derived",
    latex_name=r"\tau_{\mathrm{excess}}", where=(sp.Lt(strength, target),),
)  # fmt: skip
two_layer_growth_time = _prediction(
    "two_layer_growth_time", "time a balanced mode of two layers takes to grow from a_0 to a",
    sp.log(strength * (target - strength0) / (strength0 * (target - strength))) / (2 * target), "1", _SAXE,
    latex_name=r"t(a_0\to a)", where=(sp.Lt(strength, target), sp.Lt(strength0, target)),
)  # fmt: skip
four_layer_growth_time = _prediction(
    "four_layer_growth_time", "time a balanced mode of four layers takes to grow from a_0 to a",
    (1 / sp.sqrt(strength0) - 1 / sp.sqrt(strength)) / (2 * target)
    + sp.log((sp.sqrt(target) + sp.sqrt(strength)) * (sp.sqrt(target) - sp.sqrt(strength0))
             / ((sp.sqrt(target) - sp.sqrt(strength)) * (sp.sqrt(target) + sp.sqrt(strength0))))
    / (4 * sp.sqrt(target) ** 3),
    "1", _SAXE, latex_name=r"t(a_0\to a)", where=(sp.Lt(strength, target), sp.Lt(strength0, target)),
)  # fmt: skip
deep_growth_time = _prediction(
    "deep_growth_time", "depth times the time from a_0 to a, in the limit of many layers",
    sp.log(strength * (target - strength0) / (strength0 * (target - strength))) / target**2
    + (1 / strength0 - 1 / strength) / target,
    "1", _SAXE, latex_name=r"d\,t(a_0\to a)", where=(sp.Lt(strength, target), sp.Lt(strength0, target)),
)  # fmt: skip


def chain_endpoint(layers: Any, target: float = 1.0) -> np.ndarray:
    """Where gradient flow on any loss minimal at W = target > 0 ends from `layers`, shape (..., d).

    The squares are m + gap_i with prod(m + gap_i) = target^2. From W < 0 the smallest layer passes through
    zero and changes its sign. ValueError where the flow ends in a saddle: W < 0 with a tie for the smallest
    layer, or two layers that are exactly zero.
    """
    layers = np.asarray(layers, dtype=float)
    if layers.ndim == 0 or layers.shape[-1] < 2 or not np.isfinite(layers).all():
        raise ValueError(f"`layers` must be finite, shape (..., depth) with depth > 1: layers={layers}")
    if not (np.isfinite(target) and target > 0):
        raise ValueError(f"`target` must be finite and positive: target={target}")
    squares = np.sort(layers**2, axis=-1)
    signs = np.where(np.signbit(layers), -1.0, 1.0)
    negative = signs.prod(axis=-1) < 0
    stuck = (squares[..., 0] == squares[..., 1]) & (negative | (squares[..., 1] == 0))
    if stuck.any():
        raise ValueError(f"`layers` must not lead to a saddle: layers={layers[stuck]}")
    smallest = np.expand_dims(np.argmin(np.abs(layers), axis=-1), -1)
    turned = np.take_along_axis(signs, smallest, -1) * np.where(negative, -1.0, 1.0)[..., None]
    np.put_along_axis(signs, smallest, turned, -1)
    gaps = layers**2 - squares[..., :1]
    return signs * np.sqrt(_lowest_square(gaps, 2 * np.log(target))[..., None] + gaps)


def guaranteed_rate(layers: Any, target: float = 1.0) -> np.ndarray:
    """A rate r with |W(t) - target| <= |W(0) - target| e^(-r t) along the flow of (1/2)(W - target)^2.

    `layers` has shape (..., d). The kernel P'(m) is smallest at the smallest m of the path: at the start when
    0 <= W < target, at the end when W > target, and at m = 0, where it is the product of the gaps of the
    other layers to the smallest one, when W < 0. ValueError where the flow ends in a saddle.
    """
    layers = np.asarray(layers, dtype=float)
    end, whole = chain_endpoint(layers, target), layers.prod(axis=-1)
    squares = layers**2 - np.where(whole < 0, (layers**2).min(axis=-1), 0.0)[..., None]
    lowest = np.where((whole >= target)[..., None], end**2, squares)
    others = [np.delete(lowest, i, axis=-1).prod(axis=-1) for i in range(layers.shape[-1])]
    return np.asarray(np.sum(others, axis=0))


def chain_time(layers: Any, product: float, target: float = 1.0) -> float:
    """Time of the flow on (1/2)(W - target)^2 from `layers`, shape (d,) with W > 0, to a product on its way.

    Quadrature of dt = dW/(P'(m) (target - W)), W^2 = P(m) = prod(m + gap_i), in the logit of W/target (below the
    target) or the logarithm of its distance (above), where it is smooth for starts of any size. ValueError unless
    layers and target are as for `chain_endpoint`, W > 0, and the product lies between W and the target.
    """
    layers, whole = _positive_chain(layers, target)
    if not ((whole <= product < target) or (whole >= product > target)):
        raise ValueError(f"`product` must lie between {whole} and the target: product={product}, target={target}")
    start, end = (_progress(w, target) for w in (whole, product))
    return float(sum(_durations(layers, target, whole < target, np.linspace(start, end, _panels(end - start) + 1))))


def chain_flow(t: float, layers: Any, target: float = 1.0) -> np.ndarray:
    """Layers after time `t` of the flow on (1/2)(W - target)^2 from `layers`, shape (d,) with W > 0: W^2 = P(m).

    Inverts `chain_time`; works for starts as small as 1e-100, where the flow waits. ValueError as there and for t < 0.
    """
    layers, whole = _positive_chain(layers, target)
    if not t >= 0:
        raise ValueError(f"`t` must not be negative: t={t}")
    below, start = whole < target, _progress(whole, target)
    if whole == target or t == 0:
        return layers.copy()
    ends = start + np.arange(1, int(_FAR - min(start, 0) + 1) * 4) / 4 if np.isfinite(start) else np.array([])
    passed = np.concatenate([[0.0], np.cumsum(_durations(layers, target, below, np.concatenate([[start], ends])))])
    k = int(np.searchsorted(passed, t, side="right")) - 1
    if k >= len(ends):
        return chain_endpoint(layers, target)
    low = high = start + k / 4
    high += 0.25
    for _ in range(60):
        middle = (low + high) / 2
        reached = passed[k] + _durations(layers, target, below, np.array([start + k / 4, middle]))[0]
        low, high = (middle, high) if reached < t else (low, middle)
    gaps, smallest = _at_progress(layers, target, below, np.array((low + high) / 2))
    return np.asarray(np.sign(layers) * np.sqrt(smallest + gaps))


_FAR = 42.0  # progress at which W is the target to rounding


def _positive_chain(layers: Any, target: float) -> tuple[np.ndarray, float]:
    layers = np.asarray(layers, dtype=float)
    chain_endpoint(layers, target)  # checks
    whole = float(layers.prod())
    if layers.ndim != 1 or not whole > 0:
        raise ValueError(f"`layers` must have shape (d,) and a positive product: layers={layers}")
    return layers, whole


def _panels(length: float) -> int:
    return max(1, int(np.ceil(4 * length)))


def _progress(product: float, target: float) -> float:
    """ln(W/(s - W)) below the target s, ln(s/(W - s)) above: it increases along the flow."""
    ratio = product / target
    return float(np.log(ratio) - np.log1p(-ratio) if ratio < 1 else -np.log(ratio - 1) if ratio > 1 else np.inf)


def _at_progress(layers: np.ndarray, target: float, below: bool, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(gaps, the m of W^2 = P(m)) where the flow has come to x."""
    log_ratio = -np.logaddexp(0.0, -x) if below else np.log1p(np.exp(-x))
    squares = layers**2
    gaps = np.broadcast_to(squares - squares.min(), (*x.shape, layers.size))
    return gaps, _lowest_square(gaps, 2 * (np.log(target) + log_ratio))[..., None]


def _durations(layers: np.ndarray, target: float, below: bool, ends: np.ndarray) -> np.ndarray:
    """Times of the flow between neighbouring `ends` of progress: dt = W/(s P') dx below the target, dx/P' above."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    halves = np.diff(ends) / 2
    x = (ends[1:] + ends[:-1])[:, None] / 2 + halves[:, None] * nodes
    gaps, smallest = _at_progress(layers, target, below, x)
    z = smallest + gaps
    logs = np.log(z)
    share = np.log(np.sum(1 / z, axis=-1)) + logs.sum(axis=-1)  # of P' = P sum 1/z
    rate = share - (logs.sum(axis=-1) / 2 - np.log(target) if below else 0.0)
    return np.asarray(halves * (np.exp(-rate) @ weights))


def _lowest_square(gaps: np.ndarray, log_product: Any) -> np.ndarray:
    """The m > 0 at which sum log(m + gap_i) has the given value, by bisection of log m."""
    high = np.full(gaps.shape[:-1], log_product / gaps.shape[-1])  # m <= target^(2/d), since gaps >= 0
    low = log_product - (gaps.shape[-1] - 1) * np.log(np.exp(high) + gaps.max(axis=-1))
    for _ in range(70):
        middle = (low + high) / 2
        above = np.log(np.exp(middle)[..., None] + gaps).sum(axis=-1) > log_product
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.asarray(np.exp((low + high) / 2))
