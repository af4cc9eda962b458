"""The part of a first-layer weight outside the span of the centred inputs: what each rule makes of it.

The gradient of a neuron in front of a batch normalisation lies in that span, so the part outside obeys the rule
without gradient.  Conventions: c_t = |P_perp w_t|/|P_perp w_0| with its sign; heavy ball v' = momentum v + g + wd w,
w' = w - lr v', v = 0 at the start (the lr of PyTorch's SGD).
"""

from functools import partial

import sympy as sp

from sdetheory.predictions import intrinsic_lr
from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    *(q for q in intrinsic_lr.QUANTITIES if q.name in ("t", "lr", "weight_decay", "momentum", "squared_gradient")),
    Quantity("target", "w", "norm that weights are rescaled to", r"\rho", "positive"),
    Quantity("outside", "1", "what is left now", "c_t"),
    Quantity("outside_before", "1", "what was left a step before, at the start as much", "c_{t-1}"),
)
t, lr, weight_decay, momentum, squared_gradient, target, outside, outside_before = (
    sp.Symbol(name)
    for name in ["t", "lr", "weight_decay", "momentum", "squared_gradient", "target", "outside", "outside_before"]
)
_LIU = "reconstruction of Liu et al. 2021, The implicit biases of SGD on DNNs with batch normalization"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="outside_span", unit="1")

_product = lr * weight_decay

outside_decay = _prediction(
    "outside_decay", "what decay leaves after t steps of SGD", expr=(1 - _product) ** t, source=_LIU, latex_name="c_t",
)  # fmt: skip
outside_momentum_step = _prediction(
    "outside_momentum_step", "what a step of heavy ball with decay leaves",
    expr=(1 + momentum - _product) * outside - momentum * outside_before, source="derived", latex_name="c_{t+1}",
)  # fmt: skip
outside_envelope = _prediction(
    "outside_envelope", "size of the oscillation of heavy ball, (1 - sqrt(mu))^2 < lr wd < (1 + sqrt(mu))^2",
    expr=momentum ** (t / 2), source="derived", latex_name=r"|z|^t",
)  # fmt: skip
outside_rescaled = _prediction(
    "outside_rescaled", "what a step of SGD from norm `target` and rescaling to it leave",
    expr=1 / sp.sqrt(1 + lr**2 * squared_gradient / target**2), source=_LIU, latex_name="1/c",
)  # fmt: skip
