"""The end to end matrix of exactly balanced layers: its flow, its singular values, how fast its loss falls.

W = W_N ... W_1 with W_{j+1}^T W_{j+1} = W_j W_j^T under dW_j/dt = -dl/dW_j. Here weights are pure numbers, so
that powers of W with exponents 1/N are too; `strength` is a singular value of W, the loss of rates (1/2) |W -
Phi|_F^2.
"""

from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("depth", "1", "number of weight layers", "N", "positive"),
    Quantity("strength", "1", "a singular value of W", r"\sigma_r", "positive"),
    Quantity("other_strength", "1", "another singular value of W", r"\sigma_s", "positive"),
    Quantity("mode_slope", "1", "<dl/dW, u_r v_r^T> along the singular vectors", r"g_r"),
    Quantity("smallest", "1", "smallest singular value of W", r"\sigma_{\min}", "positive"),
)
depth, strength, other_strength, mode_slope, smallest = (q.symbol for q in QUANTITIES)
_ACH = "Arora, Cohen, Hazan 2018, On the optimization of deep networks, theorem 1"
_ACHL = "Arora, Cohen, Hu, Luo 2019, Implicit regularization in deep matrix factorization, theorem 3"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="end_to_end")

end_to_end_speed = _prediction(
    "end_to_end_speed",
    "factor of the flow of balanced layers on the part u_r v_s^T of -dl/dW, and eigenvalue there of the "
    "Hessian of (1/2)|W - M|^2 at W = M: sum_j sigma_r^(2(N-j)/N) sigma_s^(2(j-1)/N)",
    (strength**2 - other_strength**2) / (strength ** (2 / depth) - other_strength ** (2 / depth)), "1", _ACH,
    latex_name=r"c_{rs}", where=(sp.Ne(strength, other_strength), sp.Ge(depth, 1)),
)  # fmt: skip
singular_value_speed = _prediction(
    "singular_value_speed", "the same factor on u_r v_r^T: large singular values learn faster",
    depth * strength ** (2 - 2 / depth), "1", _ACHL, latex_name=r"c_{rr}",
)  # fmt: skip
singular_value_rate = _prediction(
    "singular_value_rate", "d sigma_r/dt of balanced layers, any differentiable loss",
    -depth * strength ** (2 - 2 / depth) * mode_slope, "1", _ACHL, latex_name=r"\tfrac{d\sigma_r}{dt}",
)  # fmt: skip
loss_decay_rate = _prediction(
    "loss_decay_rate", "lower bound of -d ln l/dt of balanced layers, square W",
    2 * depth * smallest ** (2 - 2 / depth), "1",
    "Arora, Cohen, Golowich, Hu 2019, the flow behind theorem 1", latex_name=r"-\tfrac{d\ln l}{dt}",
)  # fmt: skip
loss_decay_rate_any_shape = _prediction(
    "loss_decay_rate_any_shape",
    "lower bound of -d ln l/dt of balanced layers, W of any shape: N times less than for square W",
    2 * smallest ** (2 - 2 / depth), "1", "derived", latex_name=r"-\tfrac{d\ln l}{dt}",
)  # fmt: skip


def end_to_end_rate(product: Any, gradient: Any, depth: int) -> np.ndarray:
    """dW/dt = -sum_j (W W^T)^((N-j)/N) dl/dW (W^T W)^((j-1)/N) of exactly balanced layers.

    `product` W and `gradient` dl/dW have the shape (d_N, d_0), any shape; W may be rank deficient. ValueError
    for shapes that differ and a depth below 1.
    """
    product, gradient = np.asarray(product, dtype=float), np.asarray(gradient, dtype=float)
    if product.ndim != 2 or gradient.shape != product.shape:
        raise ValueError(f"`gradient` must have the shape of `product`: {gradient.shape}, {product.shape}")
    if depth < 1:
        raise ValueError(f"`depth` must be at least 1: depth={depth}")
    left, strengths, right = np.linalg.svd(product, full_matrices=True)
    rows, columns = (np.zeros(n) for n in product.shape)
    rows[: len(strengths)] = columns[: len(strengths)] = strengths ** (2.0 / depth)
    speeds = sum(np.outer(rows ** (depth - j), columns ** (j - 1)) for j in range(1, depth + 1))
    return -left @ (speeds * (left.T @ gradient @ right.T)) @ right
