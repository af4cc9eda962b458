"""Label noise near the minima: the limiting flow of scalar layers, and the regulariser it follows.

Limiting flow: layers on W = 1, loss (W - 1)^2 with noisy label 1 + xi, slow time tau = lr^2 times steps,
plain numbers. Regulariser: loss (1/2)(f - y)^2 per sample, labels of variance s^2, batches of B, any
model; near a minimum with Hessian H it is R = -tr ln(1 - lr H/2)/(2 lr), multiplied by lr s^2/B.
"""

from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("slow_time", "1", "tau, lr^2 times the number of steps", r"\tau", "nonnegative"),
    Quantity("noise", "1", "standard deviation of the label noise", r"\sigma", "nonnegative"),
    Quantity("square", "w^2", "z_i, square of one layer", "z_i", "positive"),
    Quantity("imbalance", "w^2", "z_i - z_j", "D_{ij}"),
    Quantity("imbalance0", "w^2", "z_1 - z_2 at tau = 0", "D_0"),
    Quantity("rest", "1/w^2", "product of all the layers except the two, on W = 1",
    r"\textstyle\prod_{l\ne i,j}w_l"),
    Quantity("inverse_squares", "1/w^2", "S, the sum of 1/z_i", "S", "positive"),
    Quantity("inverse_fourths", "1/w^4", "sum of 1/z_i^2", r"\textstyle\sum z_i^{-2}", "positive"),
    Quantity("inverse_sixths", "1/w^6", "sum of 1/z_i^3", r"\textstyle\sum z_i^{-3}", "positive"),
    Quantity("lr", "w^2/loss", "learning rate", r"\eta", "positive"),
    Quantity("sharpness", "loss/w^2", "an eigenvalue of the Hessian", "h", "nonnegative"),
    Quantity("label_variance", "loss", "variance of the label noise", "s^2", "nonnegative"),
    Quantity("batch", "1", "samples in a batch", "B", "positive"),
)  # fmt: skip
(slow_time, noise, square, imbalance, imbalance0, rest, inverse_squares, inverse_fourths, inverse_sixths, lr,
 sharpness, label_variance, batch) = (q.symbol for q in QUANTITIES)  # fmt: skip

_LI, _DAMIAN = "Li, Wang, Arora 2022", "Damian, Ma, Lee 2021"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="label_noise")
_STABLE = (sp.Lt(lr * sharpness, 2),)

# -- the limiting flow of scalar layers
limiting_square_rate = _prediction(
    "limiting_square_rate", "dz_i/dtau of the limiting flow on W = 1, any depth",
    4 * noise**2 * (1 / square - inverse_fourths / inverse_squares), "1/w^2", _LI,
    latex_name=r"\tfrac{dz_i}{d\tau}",
)  # fmt: skip
limiting_imbalance_rate = _prediction(
    "limiting_imbalance_rate", "d(z_i - z_j)/dtau of the limiting flow on W = 1, any depth",
    -4 * noise**2 * rest**2 * imbalance, "1/w^2", _LI, latex_name=r"\tfrac{dD_{ij}}{d\tau}",
)  # fmt: skip
limiting_imbalance = _prediction(
    "limiting_imbalance", "z_1 - z_2 along the limiting flow of two layers",
    imbalance0 * sp.exp(-4 * noise**2 * slow_time), "w^2", _LI, latex_name=r"D(\tau)",
)  # fmt: skip
flattening_rate = _prediction(
    "flattening_rate", "dS/dtau of the limiting flow, never positive: the sharpness 2S falls until balance",
    -4 * noise**2 * (inverse_sixths - inverse_fourths**2 / inverse_squares), "1/w^6", _LI,
    latex_name=r"\tfrac{dS}{d\tau}",
)  # fmt: skip

# -- the regulariser, eigenvalue by eigenvalue
label_noise_variance = _prediction(
    "label_noise_variance", "stationary variance of the weights along an eigenvector of the Hessian",
    lr * label_variance / (batch * (2 - lr * sharpness)), "w^2", _DAMIAN, latex_name="V", where=_STABLE,
)  # fmt: skip
damian_strength = _prediction(
    "damian_strength", "factor of the regulariser", lr * label_variance / batch, "w^2", _DAMIAN,
    latex_name=r"\lambda",
)  # fmt: skip
damian_regulariser = _prediction(
    "damian_regulariser", "part of one Hessian eigenvalue in the regulariser: h/4 as lr -> 0",
    -sp.log(1 - lr * sharpness / 2) / (2 * lr), "loss/w^2", _DAMIAN, latex_name="R(h)", where=_STABLE,
)  # fmt: skip


def regulariser(hessian: Any, lr: float) -> float:
    """R = -tr ln(1 - lr H/2)/(2 lr) of a symmetric positive semidefinite Hessian, shape (d, d).

    ValueError where an eigenvalue is 2/lr or larger: gradient descent is unstable there.
    """
    matrix = np.asarray(hessian, dtype=float)
    if matrix.ndim != 2 or not np.allclose(matrix, matrix.T):
        raise ValueError(f"`hessian` must be a symmetric matrix: shape {matrix.shape}")
    values = np.linalg.eigvalsh(matrix)
    rounding = 1e-12 * np.abs(values).max(initial=0.0)
    return float(np.sum(damian_regulariser(lr=lr, sharpness=np.where(abs(values) < rounding, 0.0, values))))
