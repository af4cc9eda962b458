"""Two layers W = W_1 W_2: how the conserved imbalance D = W_1^T W_1 - W_2 W_2^T speeds up the flow.

W_1 has shape (n, h), W_2 (h, m). Of the eigenvalues of D, `least_positive` is [lam_n(D)]_+ (0 when h < n) and
`most_negative` is [lam_1(-D)]_+; for W_2 the same of -D with m for n. sigma_n(W) is the n-th singular value,
0 when n > m. Loss (1/2)|Y - W|_F^2, so that rates have the unit w^2. Sources: Min, Tarmoun, Vidal, Mallada
2021; Min, Vidal, Mallada 2023; Xu, Min, Tarmoun, Mallada, Vidal 2023; the bound of one layer is derived.
"""

from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("least_positive", "w^2", "n-th largest eigenvalue of the imbalance, or 0", r"\lambda_+", "nonnegative"),
    Quantity("most_negative", "w^2", "minus its smallest eigenvalue, or 0", r"\lambda_-", "nonnegative"),
    Quantity("singular_value", "w^2", "n-th singular value of W", r"\sigma_n(W)", "nonnegative"),
    Quantity("spread_plus", "w^2", "[lam_1(D)]_+ - [lam_n(D)]_+", r"\Delta_+"),
    Quantity("spread_minus", "w^2", "[lam_1(-D)]_+ - [lam_m(-D)]_+", r"\Delta_-"),
    Quantity("definite", "w^2", "[lam_n(D)]_+ + [lam_m(-D)]_+", r"\underline\Delta", "nonnegative"),
    Quantity("row_value", "w^2", "sigma_n(W), 0 when n > m", r"\sigma_n(W)", "nonnegative"),
    Quantity("column_value", "w^2", "sigma_m(W), 0 when m > n", r"\sigma_m(W)", "nonnegative"),
    Quantity("t", "1/w^2", "flow time", "t", "nonnegative"),
    Quantity("rate", "w^2", "lower bound of sigma_n^2(W_1) + sigma_m^2(W_2) until then", r"\alpha", "nonnegative"),
    Quantity("loss0", "w^4", "loss at t = 0", "l_0", "nonnegative"),
)  # fmt: skip
(least_positive, most_negative, singular_value, spread_plus, spread_minus, definite, row_value, column_value, t,
 rate, loss0) = (q.symbol for q in QUANTITIES)  # fmt: skip
_MIN = "Min, Vidal, Mallada 2023; Xu, Min, Tarmoun, Mallada, Vidal 2023"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="imbalanced_rates")

layer_bound = _prediction(
    "layer_bound", "lower bound of sigma_n^2(W_1): the root above lam_+ of (x - lam_+)(x + lam_-) = sigma_n^2(W)",
    (least_positive - most_negative + sp.sqrt((least_positive + most_negative) ** 2 + 4 * singular_value**2)) / 2,
    "w^2", "derived", latex_name=r"\sigma_n^2(W_1)",
)  # fmt: skip
accelerated_rate = _prediction(
    "accelerated_rate", "lower bound of sigma_n^2(W_1) + sigma_m^2(W_2), half the rate of the loss",
    (-spread_minus + sp.sqrt((spread_minus + definite) ** 2 + 4 * row_value**2)
     - spread_plus + sp.sqrt((spread_plus + definite) ** 2 + 4 * column_value**2)) / 2, "w^2", _MIN,
    latex_name=r"\alpha",
)  # fmt: skip
accelerated_loss_bound = _prediction(
    "accelerated_loss_bound", "upper bound of the loss (1/2)|Y - W|_F^2 along gradient flow",
    loss0 * sp.exp(-2 * rate * t), "w^4", _MIN, latex_name="l(t)",
)  # fmt: skip


def spectrum_of_imbalance(outer: Any, inner: Any) -> dict[str, float]:
    """The arguments of `accelerated_rate` for W = outer @ inner, shapes (n, h) and (h, m)."""
    outer, inner = np.asarray(outer, dtype=float), np.asarray(inner, dtype=float)
    if outer.ndim != 2 or inner.ndim != 2 or outer.shape[1] != inner.shape[0]:
        raise ValueError(f"`outer` and `inner` must be matrices that multiply: {outer.shape}, {inner.shape}")
    n, m = outer.shape[0], inner.shape[1]
    above = np.linalg.eigvalsh(outer.T @ outer - inner @ inner.T)[::-1]
    below = -above[::-1]
    values = np.linalg.svd(outer @ inner, compute_uv=False)
    lam_n, lam_m = _positive(above, n), _positive(below, m)
    return {
        "spread_plus": _positive(above, 1) - lam_n,
        "spread_minus": _positive(below, 1) - lam_m,
        "definite": lam_n + lam_m,
        "row_value": float(values[n - 1]) if n <= m else 0.0,
        "column_value": float(values[m - 1]) if m <= n else 0.0,
    }


def rate_bound(outer: Any, inner: Any, target: Any = None) -> float:
    """The rate alpha of l(t) <= l(0) e^(-2 alpha t), l = (1/2)|target - W|_F^2, for all times from this start.

    Without `target`, the bound at this state alone. With it sigma_k(W(t)) is replaced by the margin
    [sigma_k(target) - |target - W(0)|_F]_+, which the falling loss keeps; the imbalance is conserved.
    """
    known = spectrum_of_imbalance(outer, inner)
    if target is not None:
        target, product = np.asarray(target, dtype=float), np.asarray(outer, dtype=float) @ np.asarray(inner)
        if target.shape != product.shape:
            raise ValueError(f"`target` must have the shape of W: {target.shape}, {product.shape}")
        smallest = float(np.linalg.svd(target, compute_uv=False)[-1])
        margin = max(smallest - float(np.linalg.norm(target - product)), 0.0)
        n, m = product.shape
        known |= {"row_value": margin if n <= m else 0.0, "column_value": margin if m <= n else 0.0}
    return float(accelerated_rate(**known))


def _positive(descending: np.ndarray, k: int) -> float:
    """[k-th largest]_+, 0 when there are fewer."""
    return max(float(descending[k - 1]), 0.0) if k <= len(descending) else 0.0
