"""Gradient noise and layer balance: what SGD does to the imbalance of scalar and of matrix layers.

SDE dtheta = -grad L dt + sqrt(T C) dB in flow time, C the covariance of the gradient of a batch, T the
learning rate over the batch size when C is that of one sample. Scalars: W = w_1 ... w_d, A = dl/dW of a
sample. Matrices: ... A U V B ..., U above V, A the layers above U, B those below V, h = V B x.
"""

from functools import partial

from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("temperature", "w^2/loss", "T, the learning rate over the batch size", "T", "positive"),
    Quantity("imbalance", "w^2", "w_i^2 - w_j^2", "D_{ij}"),
    Quantity("rest", "y/w^2", "product of all the layers except the two", r"\textstyle\prod_{l\ne i,j}w_l"),
    Quantity("slope_mean", "loss/y", "mean of dl/dW over samples", r"\mathbb{E}A"),
    Quantity("slope_variance", "loss^2/y^2", "variance of dl/dW over samples", r"\mathrm{Var}A", "nonnegative"),
    Quantity("end_to_end", "y", "product W of all layers", "W"),
    Quantity("inverse_squares", "1/w^2", "S, the sum of 1/w_i^2 over the layers", "S", "positive"),
    Quantity("inverse_pairs", "1/w^4", "e_2, the sum of 1/(w_i w_j)^2 over pairs of layers", "e_2",
    "nonnegative"),
    Quantity("noise_variance", "loss^2/w^4", "variance s^2 of the noise of the end to end gradient", "s^2",
    "nonnegative"),
    Quantity("above", "1", "|A|^2 of the layers above: the number of outputs for two layers",
    r"\|A\|^2", "positive"),
    Quantity("below", "1", "E|B x|^2 of the layers below: the number of white inputs for two layers",
    r"\mathbb{E}\|Bx\|^2", "positive"),
    Quantity("lower_square", "w^2", "E h h^T of the hidden units: W_1 W_1^T for two layers and white inputs",
    r"\mathbb{E}hh^\top"),
    Quantity("upper_square", "w^2", "(A U)^T A U: W_2^T W_2 for two layers", r"(AU)^\top AU"),
)  # fmt: skip
(temperature, imbalance, rest, slope_mean, slope_variance, end_to_end, inverse_squares, inverse_pairs,
 noise_variance, above, below, lower_square, upper_square) = (q.symbol for q in QUANTITIES)  # fmt: skip

_ZIYIN = "Ziyin, Li, Ueda 2023, law of balance"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="gradient_noise")

balance_rate = _prediction(
    "balance_rate", "d(w_i^2 - w_j^2)/dt under gradient noise, any depth: deterministic given the state",
    -temperature * slope_variance * rest**2 * imbalance, "loss", _ZIYIN, latex_name=r"\tfrac{dD_{ij}}{dt}",
)  # fmt: skip
product_drift = _prediction(
    "product_drift", "drift of the end to end product under gradient noise, any depth",
    -(end_to_end**2) * inverse_squares * slope_mean
    + temperature * slope_variance * end_to_end**3 * inverse_pairs,
    "loss*y/w^2", _ZIYIN, latex_name=r"\mathrm{drift}(W)",
)  # fmt: skip
matrix_balance_rate = _prediction(
    "matrix_balance_rate", "d(U^T U - V V^T)/dt under noise of the end to end gradient, entry by entry",
    temperature * noise_variance * (above * lower_square - below * upper_square), "loss", "derived",
    latex_name=r"\tfrac{d}{dt}(U^\top U-VV^\top)",
)  # fmt: skip
noise_balanced_upper = _prediction(
    "noise_balanced_upper", "(A U)^T A U where the noise is balanced, entry by entry",
    above * lower_square / below, "w^2", "derived", latex_name=r"(AU)^\top AU",
)  # fmt: skip
