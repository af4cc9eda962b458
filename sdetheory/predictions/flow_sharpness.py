"""Sharpness of the gradient-flow solution of a chain of scalar layers, and the steps of GD that cannot raise it.

The gradient-flow solution of a state is where the flow from it would end: the minimum with the same differences
of squared layers. Loss l(W) with minimum at W = target; sharpness is that of (W - target)^2.
"""

from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from sdetheory.predictions import deep_linear, scalar_chains
from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    *(q for q in deep_linear.QUANTITIES if q.name in ("lr", "slope", "end_to_end")),
    Quantity("smallest_square", "w^2", "smallest w_i^2", "z_{(1)}", "positive"),
    Quantity("next_square", "w^2", "second smallest w_i^2", "z_{(2)}", "positive"),
)  # fmt: skip
smallest_square, next_square = (q.symbol for q in QUANTITIES[-2:])
_prediction = partial(Prediction, quantities=QUANTITIES, theory="flow_sharpness")

least_imbalance_factor = _prediction(
    "least_imbalance_factor",
    "smallest factor of an imbalance in one step of GD: not negative means that no step raises the sharpness of the "
    "gradient-flow solution",
    1 - deep_linear.lr**2 * deep_linear.slope**2 * deep_linear.end_to_end**2 / (smallest_square * next_square), "1",
    "derived; Kreisler et al. 2023 for the sharpness of the gradient-flow solution", latex_name=r"\min_{ij}k_{ij}",
)  # fmt: skip
largest_monotone_lr = _prediction(
    "largest_monotone_lr", "largest learning rate at which that factor is not negative",
    sp.sqrt(smallest_square * next_square / (deep_linear.slope**2 * deep_linear.end_to_end**2)), "w^2/loss", "derived",
    latex_name=r"\eta_{\max}",
)  # fmt: skip


def flow_sharpness(layers: Any, target: float = 1.0) -> Any:
    """Largest Hessian eigenvalue of (W - target)^2 where gradient flow from `layers`, shape (..., d), ends: (...)."""
    ends = scalar_chains.chain_endpoint(layers, target)
    total = np.sum(1.0 / ends**2, axis=-1)
    return deep_linear.sharpness_at_minimum(target=target, inverse_squares=total)
