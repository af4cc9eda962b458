"""Second moments at equilibrium: distances at a lag, and what norm and gradient noise say about SDE and scaling rule.

R = E|w|^2, G = E|grad L|^2 and N = E Tr Sigma at w itself (not on the unit sphere), Sigma the covariance of the
batch gradient, for any stationary law of scale-invariant batches. Two processes are close within C when R, G and N
of one are at most C times, at least 1/C times those of the other (Li, Malladi, Arora 2021, section 5).
"""

from functools import partial

import sympy as sp

from sdetheory.predictions import intrinsic_lr
from sdetheory.predictions.intrinsic_lr import keep, lr, product, squared_norm_now, t, weight_decay
from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    *(q for q in intrinsic_lr.QUANTITIES if q.name in ("t", "lr", "weight_decay", "squared_norm")),
    Quantity("squared_mean", "loss^2/w^2", "G, mean of |grad L(w)|^2", "G", "positive"),
    Quantity("noise_trace", "loss^2/w^2", "N, mean trace of the batch gradient's covariance at w", "N", "nonnegative"),
    Quantity("closeness", "1", "factor C within which two processes agree", "C", "positive"),
    Quantity("variance", "w^2", "stationary variance of a coordinate", "v", "nonnegative"),
    Quantity("stiffness", "1", "rate per step at which a coordinate returns, lr times curvature plus lr wd", r"\theta",
             "nonnegative"),
)  # fmt: skip
squared_mean, noise_trace, closeness, variance, stiffness = sp.symbols(
    "squared_mean noise_trace closeness variance stiffness"
)
_LLA = "Li, Lyu, Arora 2020, figure of distances"
_LMA = "Li, Malladi, Arora 2021, section 5"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="stationary_moments")
_decays = (sp.Gt(weight_decay, 0),)
_close = (sp.Ge(closeness, 1),)

lag_squared_distance = _prediction(
    "lag_squared_distance", "E|w_T - w_(T+t)|^2 of stationary SGD with centred gradients (no loss), R = squared_norm",
    2 * squared_norm_now * (1 - keep**t), "w^2", _LLA + "; derived",
    latex_name=r"E\|w_T-w_{T+t}\|^2", where=(sp.Lt(product, 1),),
)  # fmt: skip
ou_squared_distance = _prediction(
    "ou_squared_distance", "the same for one coordinate of an Ornstein-Uhlenbeck process: saturates at 2 v",
    2 * variance * (1 - sp.exp(-stiffness * t)), "w^2", _LLA, latex_name=r"E(X_T-X_{T+t})^2",
)  # fmt: skip
sgd_stationary_squared_norm = _prediction(
    "sgd_stationary_squared_norm", "E|w|^2 of stationary SGD from G and N, exact at every lr wd",
    lr * (squared_mean + noise_trace) / (weight_decay * (2 - product)), "w^2", _LMA,
    latex_name=r"E\|w\|^2", where=(*_decays, sp.Lt(product, 2)),
)  # fmt: skip
sde_stationary_squared_norm = _prediction(
    "sde_stationary_squared_norm", "E|W|^2 of the stationary SDE from N",
    lr * noise_trace / (2 * weight_decay), "w^2", _LMA, latex_name=r"E\|W\|^2", where=_decays,
)  # fmt: skip
largest_signal_to_noise = _prediction(
    "largest_signal_to_noise", "largest G/N at which SGD and its SDE can agree within C",
    closeness**2 - 1, "1", _LMA, latex_name=r"(G/N)_{\max}", where=_close,
)  # fmt: skip
largest_scaling = _prediction(
    "largest_scaling", "largest factor on batch size and lr that can keep R, G and the noise within C",
    closeness**2 + (closeness**2 - 1) * noise_trace / squared_mean, "1", _LMA + "; derived",
    latex_name=r"\kappa_{\max}", where=_close,
)  # fmt: skip
