"""Diagonal linear networks of two layers: starts small enough for an l1 norm, and large enough for an l2 norm.

beta = w_+^2 - w_-^2, all weights alpha at the start, gradient flow to a fit of X beta = y with d inputs; `least_l1` and
`least_l2` are the least norms of all fits. Weights are pure numbers here.
"""

from functools import partial

import numpy as np
import sympy as sp

from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("excess", "1", "relative excess of a norm over the least of all fits", r"\epsilon", "positive"),
    Quantity("inputs", "1", "number of inputs d", "d", "positive"),
    Quantity("least_l1", "1", "least l1 norm of all fits", r"\|\beta_1^*\|_1", "positive"),
    Quantity("least_l2", "1", "least l2 norm of all fits", r"\|\beta_2^*\|_2", "positive"),
)  # fmt: skip
excess, inputs, least_l1, least_l2 = (q.symbol for q in QUANTITIES)
_WOODWORTH = "Woodworth et al. 2020, Kernel and rich regimes in overparametrized models, theorem 2"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="rich_and_lazy")

rich_scale = _prediction(
    "rich_scale",
    "alpha^2 up to which the l1 norm of the fit is at most 1 + excess times the least: a power of the number of inputs",
    least_l1 * sp.exp(-2) * ((1 + excess) / inputs) ** (1 + 1 / excess), "1", "derived; improves on " + _WOODWORTH,
    latex_name=r"\alpha^2", where=(sp.Le(excess, 1),),
)  # fmt: skip
lazy_scale = _prediction(
    "lazy_scale", "alpha^2 from which the squared l2 norm of the fit is at most 1 + excess times the least",
    least_l2 * sp.sqrt((1 + excess) / (4 * excess * (2 + excess))), "1", "derived; improves on " + _WOODWORTH,
    latex_name=r"\alpha^2",
)  # fmt: skip


def published_rich_scale(excess: float, least_l1: float, inputs: int) -> float:
    """alpha^2 of theorem 2 for what `rich_scale` is for: exponentially small in inputs/(excess least_l1).

    alpha <= min{(2 (1 + e) b)^(-(2 + e)/(2 e)), exp(-d/(e b))}, b the least l1 norm. ValueError unless all are
    positive. Source: Woodworth et al. 2020, theorem 2.
    """
    _check(excess=excess, least_l1=least_l1, inputs=inputs)
    power = (2 * (1 + excess) * least_l1) ** (-(2 + excess) / (2 * excess))
    return float(min(power, np.exp(-inputs / (excess * least_l1))) ** 2)


def published_lazy_scale(excess: float, least_l2: float) -> float:
    """alpha^2 of theorem 2 for what `lazy_scale` is for: 2 (1 + e) (1 + 2/e) times the least l2 norm.

    ValueError unless both are positive. Source: Woodworth et al. 2020, theorem 2.
    """
    _check(excess=excess, least_l2=least_l2)
    return float(2 * (1 + excess) * (1 + 2 / excess) * least_l2)


def _check(**values: float) -> None:
    for name, value in values.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"`{name}` must be finite and positive: {name}={value}")
