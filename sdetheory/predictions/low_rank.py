"""What weight decay and dropout cost a product of layers: Schatten and nuclear norms, thresholds of modes.

Weight decay: (1/2)|W_N ... W_1 - M|_F^2 + (wd/2) sum_j |W_j|_F^2, mode by mode in the singular values s of M.
Dropout of hidden units, one hidden layer of given width, whitened inputs: |M - U V^T|_F^2 + q sum_i |u_i|^2
|v_i|^2, q = (1 - keep)/keep. Weights are pure numbers here.
"""

from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from sdetheory.predictions.end_to_end import depth, strength
from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("depth", "1", "number of weight layers", "N", "positive"),
    Quantity("strength", "1", "a singular value of W", r"\sigma", "positive"),
    Quantity("weight_decay", "1", "weight decay (gradient of (wd/2)|w|^2)", r"\mu", "positive"),
    Quantity("keep", "1", "probability that a hidden unit is kept", r"\theta", "unit"),
    Quantity("dropout", "1", "(1 - keep)/keep", "q", "nonnegative"),
    Quantity("width", "1", "number of hidden units", "r", "positive"),
    Quantity("nuclear", "1", "nuclear norm of the product", r"\|X\|_*", "nonnegative"),
    Quantity("kept_modes", "1", "number of modes that survive", r"\rho", "nonnegative"),
    Quantity("kept_sum", "1", "sum of their singular values in M", r"\sum_{i\le\rho}\sigma_i", "nonnegative"),
)  # fmt: skip
weight_decay, keep, dropout, width, nuclear, kept_modes, kept_sum = (q.symbol for q in QUANTITIES[2:])
_MIANJY = "Mianjy, Arora, Vidal 2018, On the implicit bias of dropout"
_SCHATTEN = "stationarity in one mode"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="low_rank")
_deep = (sp.Gt(depth, 2),)

# -- weight decay
least_weight_cost = _prediction(
    "least_weight_cost",
    "share of a singular value in the least sum |W_j|_F^2 over layers with product W: N sum sigma^(2/N)",
    depth * strength ** (2 / depth), "1", "balanced factors attain it", latex_name=r"\sum_j\|W_j\|_F^2",
    where=(sp.Ge(depth, 1),),
)  # fmt: skip
stationary_target = _prediction(
    "stationary_target", "singular value of M at which a mode rests at this strength under weight decay",
    strength + weight_decay * strength ** (2 / depth - 1), "1", _SCHATTEN, latex_name=r"s(\sigma)",
)  # fmt: skip
vanishing_strength = _prediction(
    "vanishing_strength", "strength at which the non-zero minimum of a mode ends, depth > 2: it jumps from here",
    (weight_decay * (depth - 2) / depth) ** (depth / (2 * depth - 2)), "1", _SCHATTEN, latex_name=r"\sigma_*",
    where=_deep,
)  # fmt: skip
vanishing_target = _prediction(
    "vanishing_target", "smallest singular value of M whose mode has a non-zero minimum, depth > 2",
    vanishing_strength.expr * (2 * depth - 2) / (depth - 2), "1", _SCHATTEN, latex_name="s_*", where=_deep,
)  # fmt: skip
transition_strength = _prediction(
    "transition_strength", "strength of the mode where its minimum is as deep as zero, depth > 2",
    (weight_decay * (depth - 2)) ** (depth / (2 * depth - 2)), "1", _SCHATTEN, latex_name=r"\sigma_1",
    where=_deep,
)  # fmt: skip
transition_target = _prediction(
    "transition_target", "smallest singular value of M whose mode survives in the global minimum, depth > 2",
    transition_strength.expr * (depth - 1) / (depth - 2), "1", _SCHATTEN, latex_name="s_1", where=_deep,
)  # fmt: skip

# -- dropout
dropout_strength = _prediction(
    "dropout_strength", "variance of a mask over its mean squared: the weight of the dropout penalty",
    (1 - keep) / keep, "1", _MIANJY, latex_name="q",
)  # fmt: skip
least_dropout_cost = _prediction(
    "least_dropout_cost", "least dropout penalty of a product, over factorisations of this width",
    dropout * nuclear**2 / width, "1", _MIANJY, latex_name=r"\min q\sum_i\|u_i\|^2\|v_i\|^2",
)  # fmt: skip
dropout_threshold = _prediction(
    "dropout_threshold", "what dropout takes from every surviving singular value",
    dropout * kept_sum / (width + dropout * kept_modes), "1", _MIANJY, latex_name=r"\tau",
)  # fmt: skip
__all__ = [
    "QUANTITIES", "depth", "dropout_strength", "dropout_strengths", "dropout_threshold", "least_dropout_cost",
    "least_weight_cost", "stationary_target", "strength", "transition_strength", "transition_target",
    "vanishing_strength", "vanishing_target", "weight_decay_strengths",
]  # fmt: skip


def weight_decay_strengths(targets: Any, weight_decay: float, depth: int, branch: str = "global") -> np.ndarray:
    """Singular values of W at the minimum of (1/2)|W - M|^2 + (wd/2) sum |W_j|^2, from those of M.

    `branch`: "global" minimum, or "upper", the local one reached from large weights (the same for depth <= 2;
    deeper the two differ between `vanishing_target` and `transition_target`: hysteresis).
    """
    s = np.asarray(targets, dtype=float)
    if (s < 0).any() or weight_decay < 0 or depth < 1:
        given = f"{s}, {weight_decay}, {depth}"
        raise ValueError(f"`targets`, `weight_decay` must not be negative, `depth` at least 1: {given}")
    if branch not in ("global", "upper"):
        raise ValueError(f"`branch` must be 'global' or 'upper': branch={branch!r}")
    if depth == 1:
        return s / (1 + weight_decay)
    if depth == 2 or weight_decay == 0:
        return np.maximum(s - weight_decay, 0.0)
    rule = {"depth": depth, "weight_decay": weight_decay}
    least = transition_target(**rule) if branch == "global" else vanishing_target(**rule)
    low, high = np.full(s.shape, vanishing_strength(**rule)), np.maximum(s, vanishing_strength(**rule))
    for _ in range(200):  # s(sigma) increases above the vanishing strength
        middle = (low + high) / 2
        above = middle + weight_decay * middle ** (2 / depth - 1) > s
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.where(s >= least, (low + high) / 2, 0.0)


def dropout_strengths(targets: Any, keep: float, width: int) -> np.ndarray:
    """Singular values of U V^T at the minimum of |M - U V^T|^2 + q sum |u_i|^2 |v_i|^2, from those of M.

    At most `width` survive, those above the threshold, each less the threshold.
    """
    s = np.asarray(targets, dtype=float)
    if s.ndim != 1 or (s < 0).any() or width < 1:
        raise ValueError(f"`targets` must be a list of singular values, `width` at least 1: {s}, {width}")
    q = dropout_strength(keep=keep)
    order = np.argsort(-s)[: int(width)]
    sums, counts = np.cumsum(s[order]), np.arange(1, len(order) + 1)
    kept = int(np.sum(s[order] * (width + q * counts) > q * sums))
    out = np.zeros_like(s)
    if kept:
        tau = dropout_threshold(dropout=q, width=width, kept_modes=kept, kept_sum=sums[kept - 1])
        out[order[:kept]] = s[order[:kept]] - tau
    return out
