"""Mixing of the direction: antipodal wells (Kramers, with bounds at every lr wd), and the slow manifold of minimisers.

Rates are in units of lr wd.  `barrier` is beta h: the height of the barrier times `intrinsic_lr.inverse_temperature`;
`bessel` is I_0(barrier/2), the modified Bessel function.
"""

import math
from functools import partial

import sympy as sp

from sdetheory.predictions import intrinsic_lr
from sdetheory.predictions.intrinsic_lr import dimension, lr, product, squared_norm0, trace, weight_decay
from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    *(q for q in intrinsic_lr.QUANTITIES if q.name in ("lr", "weight_decay", "trace", "dimension", "squared_norm0")),
    Quantity("barrier", "1", "height of the barrier times the inverse temperature", r"\beta h", "nonnegative"),
    Quantity("bessel", "1", "I_0(barrier/2)", "I_0", "positive"),
    Quantity("slow_time", "w^4/loss^2", "time of the slow process: 4 times the sum of squared equivalent lr", "T",
             "nonnegative"),
    Quantity("slow_rate", "1", "rate on the manifold at equilibrium, in units of lr wd", "r", "nonnegative"),
)  # fmt: skip
barrier, bessel, slow_time, slow_rate = sp.symbols("barrier bessel slow_time slow_rate")
_LWY = "Li, Wang, Yu 2022, Fast mixing of SGD with normalization and weight decay; derived"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="mixing")

kramers_odd_gap = _prediction(
    "kramers_odd_gap", "gap of functions odd under w -> -w on the circle, over lr wd, at low lr wd",
    4 * barrier * sp.exp(-barrier) / sp.pi, "1", "Kramers 1940", latex_name=r"\Delta_{\rm odd}",
)  # fmt: skip
odd_gap_lower = _prediction(
    "odd_gap_lower", "lower bound of the same gap at every lr wd, tending to Kramers' rate",
    4 / (sp.pi * bessel) ** 2, "1", "derived", latex_name=r"\Delta_{\rm odd}^-",
)  # fmt: skip
odd_gap_upper = _prediction(
    "odd_gap_upper", "upper bound of the same gap at every lr wd, tending to Kramers' rate",
    4 / (sp.pi * bessel) ** 2 / (1 - 1 / (2 * bessel)) ** 3, "1", "derived", latex_name=r"\Delta_{\rm odd}^+",
)  # fmt: skip
great_sphere_rate = _prediction(
    "great_sphere_rate", "rate on a flat great sphere of minimisers of codimension 1, low lr wd: first harmonic",
    (dimension - 2) / (dimension - 1), "1", _LWY, latex_name="r",
)  # fmt: skip
mixing_steps = _prediction(
    "mixing_steps", "steps K(T) in which the slow process on the minimisers runs for T",
    sp.log(1 + slow_time * weight_decay / lr) / (4 * product), "1", _LWY, latex_name="K",
)  # fmt: skip
log_slow_correlation = _prediction(
    "log_slow_correlation", "ln of the decay at step K(T) of a mode on the minimisers, at low lr wd, any start",
    -slow_rate / 4 * sp.log(1 + slow_time * trace / (2 * squared_norm0**2)), "1", _LWY, latex_name=r"\ln C",
)  # fmt: skip


def antipodal_rate(barrier: float, dimension: int) -> float:
    """Eyring-Kramers rate over lr wd of L = h (1 - <mu, x>^2) on the sphere of R^d, wells at +-mu: the gap of odd
    functions, 4 b^(d/2) e^(-b)/((d - 1) sqrt(pi) Gamma((d - 1)/2)) at barrier b = beta h, to leading order.

    d = 2 is `kramers_odd_gap`.  Sources: Kramers 1940; Eyring 1935; the barrier is the whole equator.
    """
    shape = (dimension - 1) * math.sqrt(math.pi) * math.gamma((dimension - 1) / 2)
    return 4 * barrier ** (dimension / 2) * math.exp(-barrier) / shape
