"""Gradient descent on deep linear networks converges linearly from balanced starts with a margin: the constants.

Loss (1/2)|W_N ... W_1 - Phi|_F^2, every width at least min(d_0, d_N). Start: |W - Phi|_F <= sigma_min(Phi) - margin,
and |W_{j+1}^T W_{j+1} - W_j W_j^T|_F at most `sufficient_balance` for every j; learning rate at most `sufficient_lr`.
Weights are pure numbers here. Source: Arora, Cohen, Golowich, Hu 2019, A convergence analysis of gradient descent for
deep linear neural networks, theorem 1; the factor 1.9 instead of 1 is derived.
"""

from functools import partial

import sympy as sp

from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("depth", "1", "number of weight layers, at least 2", "N", "positive"),
    Quantity("margin", "1", "deficiency margin: sigma_min(Phi) - |W(0) - Phi|_F", "c", "positive"),
    Quantity("target_norm", "1", "Frobenius norm of Phi", r"\|\Phi\|_F", "positive"),
    Quantity("lr", "1", "learning rate", r"\eta", "positive"),
    Quantity("loss0", "1", "loss at the start", "l_0", "positive"),
    Quantity("loss", "1", "loss to reach", r"\epsilon", "positive"),
)  # fmt: skip
depth, margin, target_norm, lr, loss0, loss = (q.symbol for q in QUANTITIES)
_ACGH = "Arora, Cohen, Golowich, Hu 2019, theorem 1"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="linear_convergence")
_speed = lr * margin ** (2 - 2 / depth)

sufficient_balance = _prediction(
    "sufficient_balance", "largest imbalance of neighbouring layers the theorem allows at the start",
    margin**2 * target_norm ** (2 / depth - 2) / (256 * depth**3), "1", _ACGH, latex_name=r"\delta",
)  # fmt: skip
sufficient_lr = _prediction(
    "sufficient_lr", "largest learning rate the theorem allows",
    margin ** (4 - 2 / depth) * target_norm ** (4 / depth - 6) / (6144 * depth**3), "1", _ACGH,
    latex_name=r"\eta_{\max}",
)  # fmt: skip
stated_loss_factor = _prediction(
    "stated_loss_factor", "upper bound of the loss after one step over the loss before, as published",
    1 - _speed, "1", _ACGH, latex_name="l(t+1)/l(t)",
)  # fmt: skip
proved_loss_factor = _prediction(
    "proved_loss_factor", "the bound that the proof gives, nearly the square of the published one",
    1 - sp.Rational(19, 10) * _speed, "1", "derived", latex_name="l(t+1)/l(t)",
)  # fmt: skip
sufficient_steps = _prediction(
    "sufficient_steps", "steps after which the loss is at most `loss`",
    sp.log(loss0 / loss) * margin ** (2 / depth - 2) / lr, "1", _ACGH,
    latex_name="T",
)  # fmt: skip
