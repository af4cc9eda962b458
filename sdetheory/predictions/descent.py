"""What plain gradient descent does to the imbalance of scalar layers on (W - 1)^2: it falls, and stops falling.

Two layers at a constant rate: ln(D_inf/D_0) = -lr I + O(lr^2), with a bound of the remainder. Any depth at
the adaptive rate 1/(4 S): a fixed part of the imbalance is kept for ever. Everything is a plain number.
"""

from functools import partial

import numpy as np
import sympy as sp

from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("lr", "1", "learning rate", r"\eta", "positive"),
    Quantity("gap", "1", "|D_0|, size of w_1^2 - w_2^2 at the start", "|D_0|", "positive"),
    Quantity("end_to_end", "1", "product W of the layers at the start", "W_0"),
    Quantity("distance", "1", "|W - 1| at the start", r"|W_0-1|", "nonnegative"),
    Quantity("widest", "1", "bound of w_1^2 + w_2^2: sqrt(D_0^2 + 4 max(1, W_0^2))", r"\hat\sigma", "positive"),
)
lr, gap, end_to_end, distance, widest = (q.symbol for q in QUANTITIES)
_prediction = partial(Prediction, quantities=QUANTITIES, theory="descent")
_squares, _squares_at_one = sp.sqrt(gap**2 + 4 * end_to_end**2), sp.sqrt(gap**2 + 4)

descent_imbalance_loss = _prediction(
    "descent_imbalance_loss", "I: gradient descent of two layers turns D_0 into D_0 e^(-lr I), for small lr",
    (_squares - _squares_at_one) / 2
    + sp.log((2 + _squares_at_one) / (2 * end_to_end + _squares)),
    "1", "derived", latex_name="I",
)  # fmt: skip
descent_loss_error = _prediction(
    "descent_loss_error", "bound of |ln(D_inf/D_0) + lr I| for two layers; its hypotheses: `descent_bounds`",
    2 * lr**2 * distance**2 / gap * (
        4 * distance + 16 * distance**2 / gap + 18 * widest**2 / gap * (1 + 2 * distance / gap)
        + 16 * lr * distance**2
    ),
    "1", "derived", latex_name=r"\mathrm{error}",
)  # fmt: skip
adaptive_imbalance_kept = _prediction(
    "adaptive_imbalance_kept", "part of every imbalance that GD at the rate 1/(4S) keeps for ever, any depth",
    1 - 3 * distance**2 / 5, "1", "derived from Ginsburg 2020, theorems 3.1 and 3.2",
    latex_name=r"D_\infty/D_0\ge", where=(sp.Le(distance, sp.Rational(1, 2)),),
)  # fmt: skip


def descent_bounds(first: float, second: float, lr: float) -> tuple[float, float]:
    """Bounds of ln(D_inf/D_0) for gradient descent on (w_1 w_2 - 1)^2 from (first, second), lr small.

    ValueError where the theorem does not hold: D_0 = 0, or lr larger than 1/(3 widest), 1/(4 distance) or
    |D_0|/(16 distance^2), where distance = |W_0 - 1| and widest^2 = D_0^2 + 4 max(1, W_0^2).
    """
    whole, size = first * second, abs(first**2 - second**2)
    if not 0 < size < np.inf:
        raise ValueError(f"`first` and `second` must be finite, of different size: {first=}, {second=}")
    start = {"distance": abs(whole - 1), "widest": float(np.hypot(size, 2 * max(1.0, abs(whole))))}
    most = min(1 / (3 * start["widest"]), 1 / max(4 * start["distance"], 16 * start["distance"] ** 2 / size, 1e-300))
    if not 0 < lr <= most:
        raise ValueError(f"`lr` must be positive and at most {most}: lr={lr}")
    middle = -lr * descent_imbalance_loss(gap=size, end_to_end=whole)
    error = descent_loss_error(lr=lr, gap=size, **start)
    return middle - error, middle + error
