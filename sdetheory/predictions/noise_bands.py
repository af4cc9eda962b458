"""Bands of the end to end product under multiplicative input noise, loss (W - 1)^2: the noise flow, the noisy
step.

The input of a step is multiplied by 1 + e, |e| <= delta; its loss is (W (1 + e) - 1)^2, for any number of
scalar layers. The step is that of the adaptive rate 1/(4 S).
"""

from functools import partial

import numpy as np
import sympy as sp

from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("noise_bound", "1", "largest size delta of the input noise", r"\delta", "unit"),
    Quantity("input_error", "1", "input noise e of this moment", "e"),
    Quantity("lr", "w^2", "learning rate", r"\eta", "positive"),
    Quantity("end_to_end", "1", "product W of all layers", "W"),
    Quantity("inverse_squares", "1/w^2", "S, the sum of 1/w_i^2 over the layers", "S", "positive"),
)
noise_bound, input_error, lr, end_to_end, inverse_squares = (q.symbol for q in QUANTITIES)

_GINSBURG = "Ginsburg 2020, On regularization of gradient descent, layer imbalance and flat minima"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="noise_bands")

noise_flow_loss_rate = _prediction(
    "noise_flow_loss_rate", "dL/dk of (W - 1)^2 along the continuous GD on the noisy loss",
    -4 * lr * (1 + input_error) ** 2 * (end_to_end - 1) * (end_to_end - 1 / (1 + input_error))
    * end_to_end**2 * inverse_squares,
    "1", _GINSBURG, latex_name=r"\tfrac{dL}{dk}", where=(sp.Gt(input_error, -1),),
)  # fmt: skip
noise_flow_band_lower = _prediction(
    "noise_flow_band_lower", "W below which the noise flow lowers the loss, whatever the noise: sharp",
    1 / (1 + noise_bound), "1", "derived", latex_name="W_-",
)  # fmt: skip
noise_flow_band_upper = _prediction(
    "noise_flow_band_upper", "W above which the noise flow lowers the loss, whatever the noise: sharp",
    1 / (1 - noise_bound), "1", "derived", latex_name="W_+",
)  # fmt: skip
noise_band_lower = _prediction(
    "noise_band_lower", "lower edge of the noise band, which contains the sharp one for delta <= 1/2",
    1 - noise_bound, "1", _GINSBURG, latex_name="W_-",
)  # fmt: skip
noise_band_upper = _prediction(
    "noise_band_upper", "upper edge of the noise band, which contains the sharp one for delta <= 1/2",
    1 + 2 * noise_bound, "1", _GINSBURG, latex_name="W_+",
)  # fmt: skip
_edge = 1 + 2 * noise_bound
worst_noisy_step = _prediction(
    "worst_noisy_step", "lowest W after a step at rate 1/(4S) from the band: from its upper edge, e = delta",
    _edge - _edge**2 * (1 + noise_bound) * (_edge * (1 + noise_bound) - 1) / 2, "1", "derived",
    latex_name=r"\inf W'",
)  # fmt: skip


def noise_band_threshold() -> float:
    """The largest delta, 0.135496..., up to which no step of rate 1/(4S) leaves the noise band, at any depth.

    It is the root of (1 + 2 delta)^2 (1 + delta) (3 + 2 delta) = 6: `worst_noisy_step` meets the lower edge.
    """
    excess = sp.Poly(sp.cancel((worst_noisy_step.expr - noise_band_lower.expr) / noise_bound), noise_bound)
    roots = np.roots([float(c) for c in excess.all_coeffs()])
    return float(next(r.real for r in roots if r.imag == 0 and r.real > 0))
