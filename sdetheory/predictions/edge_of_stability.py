"""Gradient descent with weight decay at the edge of stability: the way there, and the slow flow along it.

Weight decay shrinks |w| and so raises the effective lr until effective lr x sharpness = 2; there the weights
oscillate across the valley and drift along it towards flat minima.  `sharpness` is lambda_1, the largest
eigenvalue of the Hessian at w/|w|; slow time is lr wd steps; slopes are those of ln lambda_1 along the
minimisers on the unit sphere; the effective lr is the discrete one, `intrinsic_lr.direction_lr`.
On a sphere with fixed effective lr, samples with a common minimum have three regimes: they converge to it where the
mean logarithm of `sample_minimum_factor` is negative, and go to the maximum where that of `sample_maximum_factor` is.
Source: Lyu, Li, Arora 2022, Understanding the generalization benefit of normalization layers: sharpness
reduction; the clock and the closed form are derived.
"""

from functools import partial

import sympy as sp

from sdetheory.predictions import intrinsic_lr
from sdetheory.predictions.intrinsic_lr import dimension, height, keep, lr, product, squared_norm0, step_lr
from sdetheory.predictions.prediction import Prediction, Quantity

_SHARED = ("lr", "weight_decay", "height", "squared_norm0", "step_lr", "dimension")
QUANTITIES = (
    *(q for q in intrinsic_lr.QUANTITIES if q.name in _SHARED),
    Quantity("sharpness", "loss", "largest eigenvalue of the Hessian at w/|w|", r"\lambda_1", "positive"),
    Quantity("log_slope", "1", "a component of grad ln lambda_1", r"\partial\ln\lambda_1"),
    Quantity("log_slope_square", "1", "|grad ln lambda_1|^2", r"\|\nabla\ln\lambda_1\|^2", "nonnegative"),
    Quantity("slow_time", "1", "lr wd times the number of steps", r"\tau"),
    Quantity("edge_product0", "1", "effective lr times sharpness at the start", r"P_0", "positive"),
    Quantity("edge_product", "1", "effective lr times sharpness now", r"P", "positive"),
    Quantity("cosine", "1", "cosine of the longitude now", "c"),
    Quantity("cosine0", "1", "cosine of the longitude at the start", "c_0"),
    Quantity("mean", "loss", "mean sharpness of the equator", "m", "positive"),
    Quantity("amplitude", "loss", "sharpness at longitude 0, above the mean", "A", "nonzero"),
    Quantity("along_square", "loss", "square of the sample along the small distance, or along w", "s^2", "nonnegative"),
    Quantity("rest_square", "loss", "square of the rest of the sample", "r", "nonnegative"),
    Quantity("sample_variance", "loss", "variance of an entry of a Gaussian sample", r"\sigma^2", "positive"),
)
sharpness, log_slope, log_slope_square, slow_time, edge_product0, edge_product = sp.symbols(
    "sharpness log_slope log_slope_square slow_time edge_product0 edge_product"
)
cosine, cosine0, mean, amplitude = sp.symbols("cosine cosine0 mean amplitude")
along_square, rest_square, sample_variance = sp.symbols("along_square rest_square sample_variance")
_LLA22 = "Lyu, Li, Arora 2022, sharpness reduction"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="edge_of_stability")

steps_to_threshold = _prediction(
    "steps_to_threshold", "steps until the minimum of h x^2/(x^2+y^2) loses its stability, from x near 0",
    sp.log(squared_norm0 * keep / (lr * height)) / (-2 * sp.log(keep)), "1",
    "Li, Lyu, Arora 2020, toy example; derived", latex_name="n",
    where=(sp.Gt(product, 0), sp.Lt(product, 1), sp.Gt(height, 0), sp.Gt(squared_norm0, 0)),
)  # fmt: skip
edge_effective_lr = _prediction(
    "edge_effective_lr", "discrete effective lr above which descent along the top eigenvector diverges",
    2 / sharpness, "1/loss", _LLA22, latex_name=r"\tilde\eta_c",
)  # fmt: skip
edge_oscillation = _prediction(
    "edge_oscillation", "square of the oscillation of w/|w| along the top eigenvector, at the edge",
    2 * product / (4 + log_slope_square), "1", _LLA22, latex_name="x^2",
)  # fmt: skip
sharpness_flow_rate = _prediction(
    "sharpness_flow_rate", "a component of the velocity in slow time along the minimisers, from that of the slope",
    -2 * log_slope / (4 + log_slope_square), "1", _LLA22, latex_name=r"\tfrac{d\zeta}{d\tau}",
)  # fmt: skip
sharpness_log_rate = _prediction(
    "sharpness_log_rate", "rate in slow time at which ln lambda_1 changes along the flow",
    -2 * log_slope_square / (4 + log_slope_square), "1", _LLA22,
    latex_name=r"\tfrac{d\ln\lambda_1}{d\tau}",
)  # fmt: skip
edge_swing_period = _prediction(
    "edge_swing_period", "steps of a small swing of effective lr x sharpness around 2, first order in lr*wd",
    sp.pi / sp.sqrt(2 * product), "1", "derived", latex_name="T", where=(sp.Gt(product, 0),),
)  # fmt: skip
sharpness_clock = _prediction(
    "sharpness_clock", "time on the flow: slow time, corrected for an effective lr off the edge before and now",
    slow_time + sp.log(edge_product0 / edge_product) / 2, "1", "derived", latex_name=r"\sigma",
)  # fmt: skip
equator_slow_time = _prediction(
    "equator_slow_time", "slow time of the flow between two longitudes of the Equator",
    mean / amplitude * sp.log((1 - cosine) * (1 + cosine0) / ((1 + cosine) * (1 - cosine0)))
    + sp.log((1 - cosine**2) / (1 - cosine0**2))
    - sp.log((mean + amplitude * cosine) / (mean + amplitude * cosine0)) / 2,
    "1", "quadrature of the flow", latex_name=r"\tau",
    where=(sp.Lt(cosine**2, 1), sp.Lt(cosine0**2, 1), sp.Gt(mean + amplitude * cosine, 0),
           sp.Gt(mean + amplitude * cosine0, 0)),
)  # fmt: skip
sample_minimum_factor = _prediction(
    "sample_minimum_factor", "|distance to the common minimum|^2 after a step over before, loss <x,w>^2/|w|^2",
    1 - 4 * step_lr * along_square * (1 - step_lr * (along_square + rest_square)), "1", "one step on the sphere",
    latex_name=r"f_{\min}",
)  # fmt: skip
sample_maximum_factor = _prediction(
    "sample_maximum_factor", "|component towards the common minimum|^2 after a step over before, next to 0",
    (1 + 2 * step_lr * along_square) ** 2 / (1 + 4 * step_lr**2 * along_square * rest_square), "1",
    "one step on the sphere", latex_name=r"f_{\max}",
)  # fmt: skip
sample_mean_square_edge = _prediction(
    "sample_mean_square_edge", "effective lr up to which the mean squared distance to the minimum shrinks",
    1 / (sample_variance * (dimension + 1)), "1/loss", "Gaussian samples of d - 1 entries",
    latex_name=r"\tilde\eta_2", where=(sp.Gt(dimension, 1),),
)  # fmt: skip
