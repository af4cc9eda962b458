"""Diagonal linear networks: which interpolant gradient flow and stochastic gradient flow select.

beta_j = w_{+,j}^2 - w_{-,j}^2, loss a function of X beta. `scale` is the product w_+ w_- of a coordinate, alpha^2
w_0^2 at the start of Woodworth et al. (alpha w_0 in both); the flow conserves it, noise shrinks it. The flow from
w_+ = w_- ends, where it fits X beta = y, at the fit of least total potential: l1 for small scales, l2 for large.
"""

from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("coefficient", "w^2", "a coordinate of beta", r"\beta"),
    Quantity("scale", "w^2", "w_+ w_- of the coordinate, alpha^2 w_0^2 at the start", r"\alpha^2", "positive"),
    Quantity("scale0", "w^2", "w_+ w_- of the coordinate at the start", r"\alpha_0^2", "positive"),
    Quantity("lr", "w^2/loss", "learning rate of stochastic gradient flow", r"\gamma", "nonnegative"),
    Quantity("input_square", "loss/w^4", "mean square of the coordinate's input, (X^T X/n)_jj",
             r"(X^\top X/n)_{jj}", "nonnegative"),
    Quantity("loss_integral", "w^2", "integral of the loss over the time until now", r"\int_0^tL\,ds", "nonnegative"),
)  # fmt: skip
coefficient, scale, scale0, lr, input_square, loss_integral = (q.symbol for q in QUANTITIES)
_WOODWORTH = "Woodworth et al. 2020, Kernel and rich regimes in overparametrized models, theorem 1"
_PESME = "Pesme, Pillaud-Vivien, Flammarion 2021, Implicit bias of SGD for diagonal linear networks"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="diagonal_networks")

_root = 2 * scale * sp.sqrt((coefficient / (2 * scale)) ** 2 + 1)  # w_+^2 + w_-^2
diagonal_slope = _prediction(
    "diagonal_slope", "ln(w_+/w_-) of a coordinate, and derivative of its potential: in the row space of X",
    sp.asinh(coefficient / (2 * scale)), "1", _WOODWORTH, latex_name="q'",
)  # fmt: skip
diagonal_potential = _prediction(
    "diagonal_potential", "potential of a coordinate, whose sum over coordinates the flow's fit minimises",
    2 * scale - _root + coefficient * sp.asinh(coefficient / (2 * scale)), "w^2", _WOODWORTH,
    latex_name=r"\alpha^2q(\beta/\alpha^2)",
)  # fmt: skip
stochastic_scale = _prediction(
    "stochastic_scale", "w_+ w_- of a coordinate along stochastic gradient flow: the imbalance that noise removes",
    scale0 * sp.exp(-4 * lr * input_square * loss_integral), "w^2", _PESME, latex_name=r"\alpha_t^2",
)  # fmt: skip
stochastic_potential = _prediction(
    "stochastic_potential",
    "Pesme's potential of a coordinate, at the scale of the end: a quarter of Woodworth's, shifted",
    (coefficient * sp.asinh(coefficient / (2 * scale)) - _root) / 4, "w^2", _PESME, latex_name=r"\phi_\alpha",
)  # fmt: skip


def selected_interpolant(
    inputs: Any, labels: Any, scale: Any, tolerance: float = 1e-9
) -> tuple[np.ndarray, np.ndarray]:
    """(beta, multipliers): the fit X beta = y of least total potential, q' = X^T multipliers certifies it.

    `inputs` X (n, d) with independent rows, `labels` y (n,), `scale` a number or (d,). Newton's method on the dual,
    beta = 2 scale sinh(X^T multipliers), from a large scale down. ValueError where there is
    no fit to the relative `tolerance`.
    """
    inputs, labels = np.asarray(inputs, dtype=float), np.asarray(labels, dtype=float)
    scales = np.broadcast_to(np.asarray(scale, dtype=float), inputs.shape[-1:])
    if inputs.ndim != 2 or labels.shape != inputs.shape[:1]:
        raise ValueError(f"`labels` must have one entry per row of `inputs`: {labels.shape}, {inputs.shape}")
    if not (scales > 0).all():
        raise ValueError(f"`scale` must be positive: scale={scale}")
    if np.linalg.matrix_rank(inputs) < len(labels):
        raise ValueError("`inputs` must have independent rows")
    dual = np.zeros(len(labels))
    start = max(1.0, np.abs(labels).max(initial=0.0) / scales.min())
    for factor in np.geomspace(start, 1.0, 1 + int(np.ceil(np.log2(start) / 2))):
        dual = _newton(inputs, labels, scales * factor, dual)
    beta = 2 * scales * np.sinh(inputs.T @ dual)
    missed, size = np.abs(inputs @ beta - labels), np.abs(inputs) @ np.abs(beta) + np.abs(labels)
    if missed.max() > tolerance * size.max():
        raise ValueError(f"no fit to `tolerance`: residual {missed.max()}, tolerance={tolerance}")
    return beta, dual


def _newton(inputs: np.ndarray, labels: np.ndarray, scales: np.ndarray, dual: np.ndarray) -> np.ndarray:
    """Minimum of sum 2 scale cosh(X^T dual) - <y, dual>, which is convex: Newton steps, halved until the slope falls,
    to rounding.
    """

    def slope(at: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            return inputs @ (2 * scales * np.sinh(inputs.T @ at)) - labels

    now = slope(dual)
    for _ in range(100):
        if np.linalg.norm(now) <= 1e-14 * np.linalg.norm(labels):
            break
        step = np.linalg.solve((inputs * (2 * scales * np.cosh(inputs.T @ dual))) @ inputs.T, now)
        for size in 0.5 ** np.arange(40):
            ahead = slope(dual - size * step)
            if np.linalg.norm(ahead) < (1 - size / 4) * np.linalg.norm(now):
                break
        else:
            break
        dual, now = dual - size * step, ahead
    return dual
