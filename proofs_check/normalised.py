"""What the proofs about normalised networks share: letters, the claim decorator, two derived maps."""

from collections.abc import Iterator
from functools import partial

import sympy as sp

from proofs_check.judge import Verdict
from proofs_check.registry import claim as _claim
from proofs_check.systems import R, sgd_step, weight_decay_sde
from proofs_check.vectors import Gram, letters
from sdetheory.predictions import intrinsic_lr as predicted
from sdetheory.predictions.intrinsic_lr import gamma_now, lr, unit_squared_gradient, weight_decay

MEANINGS = {
    "scale_invariant": "every batch loss satisfies L(c w) = L(w) for all c > 0",
    "tangent": "gradients and noise are orthogonal to w (I1, I2)",
    "homogeneous": "gradient and noise scale like 1/|w| (I1, I2)",
    "stationary": "the law of |w| does not change",
    "constant_trace": "the trace of the gradient covariance on the sphere is constant",
    "initial": "gamma starts at gamma0",
    "equilibrium_before": "gamma was at equilibrium when lr or wd was divided by K",
    "continuous_norm": "|W| does not jump when lr does",
    "same_product": "lr*wd is the same",
    "same_gamma": "gamma is the same at the start",
    "gradient_in_span": "gradients lie in the span of the inputs",
    "buffer_follows": "the momentum buffer is rescaled with the weights, as stated",
    "common_minimum": "samples have no component along the common minimum",
}
claim = partial(_claim, where=MEANINGS)
LLA = "Li, Lyu, Arora 2020"
SMD = "Wan et al. 2021"
Checks = Iterator[Verdict]
w, g, u = letters("w g u")
HALF = sp.Rational(1, 2)
product = lr * weight_decay
gamma_of_R = predicted.gamma_of_norm.expr


def gamma_drift(tangent: bool = True) -> sp.Expr:
    """The drift of gamma derived from the SDE, as a function of the letter gamma: R^2 is lr^2 gamma."""
    drift = weight_decay_sde(tangent).ito.generator(gamma_of_R)
    return sp.expand(drift).subs(R**2, lr**2 * gamma_now)


def norm_map(tangent: bool = True) -> sp.Expr:
    """|w'|^2 as a function of |w|^2 when |gradient on the sphere|^2 is s."""
    dot = Gram(w_w=R, g_g=unit_squared_gradient / R, **({"g_w": 0} if tangent else {}))
    after = sgd_step(w, g, lr, weight_decay)
    return dot(after, after)
