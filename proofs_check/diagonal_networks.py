"""Proofs about diagonal linear networks: the implicit potentials of gradient flow and of its noisy version."""

from functools import partial

import sympy as sp

from proofs_check import rich_and_lazy
from proofs_check.against import equal, obeys, vanishes
from proofs_check.field import Derivation, Ito
from proofs_check.judge import zero
from proofs_check.layers import Checks
from proofs_check.registry import claim as _claim
from proofs_check.systems import flow_rate
from sdetheory.predictions import diagonal_networks as predicted
from sdetheory.predictions.diagonal_networks import coefficient, input_square, loss_integral, lr, scale, scale0

claim = partial(
    _claim,
    where={
        "one_loss": "both halves of a coordinate see the same slope of one loss of X beta",
        "equal_start": "w_+ = w_- at the start",
        "one_noise": "both halves are driven by the same noise, with opposite signs",
        "ito": "the equations are Ito's",
    },
)
_CONVEX = "a convex function whose gradient is normal to {X beta = y} at a point of it is least there"
_FITS = "the flow converges to a fit"
wp, wm, s = sp.symbols("w_plus w_minus s")  # s = [X^T l'(X beta)]_j, the slope of the loss in beta_j
beta, product, total = wp**2 - wm**2, wp * wm, wp**2 + wm**2


def _halves(one_loss: bool) -> dict[sp.Symbol, sp.Expr]:
    """dw/dt of both halves of one coordinate along gradient flow."""
    other = s if one_loss else sp.Symbol("other_slope")
    return {
        w: flow_rate(w, slope * sp.diff(beta, w), 0) for w, slope in ((wp, s), (wm, other))
    }


def _slope_of_the_potential() -> Checks:
    """q' = asinh(beta/(2 c)) is ln(w_+/w_-): equal rates of change in w_+ and w_-, equal values at w_+ = w_-."""
    yield equal("(w_+^2 + w_-^2)^2", total**2, beta**2 + 4 * product**2)
    yield obeys(
        "derivative of q', squared (it is positive)",
        predicted.diagonal_slope,
        lambda f: [f.rate(coefficient) ** 2 * (coefficient**2 + 4 * scale**2) - 1, f.at(coefficient=0)],
    )
    # at fixed product c: d(beta) = 2 (w_+^2 + w_-^2) d ln w_+ and ln(w_+/w_-) = 2 ln w_+ - ln c
    log_ratio = sp.Symbol("log_ratio")
    D = Derivation({wp: wp, wm: -wm, log_ratio: 2})
    yield zero("product", D(product))
    yield equal("d beta over d ln(w_+/w_-)", D(beta) / D(log_ratio), total)


@claim(
    "D57",
    "gradient flow from w_+ = w_- selects the fit of least sum alpha^2 w_0^2 q(beta/(alpha^2 w_0^2)): "
    "q' = asinh(z/2) = ln(w_+/w_-) is in the row space of X; at depth D > 2, q_D' is the inverse of h_D",
    "every X, y, start scale of each coordinate and differentiable loss, given that the flow fits; every real depth; "
    "explicit starts for an l1 or l2 norm within 1 + e of the least, powers of the number of inputs",
    "Woodworth et al. 2020, theorems 1 and 3; starts derived, better than those of theorem 2",
    given=[_CONVEX, _FITS, *rich_and_lazy.GIVEN],
)
def woodworth(one_loss: bool = True, equal_start: bool = True) -> Checks:
    """w_+ w_- stays, d ln(w_+/w_-)/dt = -4 X^T l', the potential's derivative is that logarithm."""
    rates = _halves(one_loss)
    lp, lm = sp.symbols("log_plus log_minus")
    D = Derivation({**rates, lp: rates[wp] / wp, lm: rates[wm] / wm})
    yield zero("product", D(product))
    yield equal("logarithm of the ratio", D(lp - lm), -4 * s)
    start = sp.S.Zero if equal_start else sp.Symbol("beta_0")
    yield vanishes("it starts in the row space: at 0", predicted.diagonal_slope.at(coefficient=start))
    yield from _slope_of_the_potential()
    yield obeys(
        "potential",
        predicted.diagonal_potential,
        lambda f: [f.rate(coefficient) - f.companions[0], f.at(coefficient=0)],
        companions=[predicted.diagonal_slope.expr],
    )
    yield from rich_and_lazy.lazy()
    yield from rich_and_lazy.rich()
    yield from rich_and_lazy.deeper(one_loss, equal_start)


@claim(
    "D58",
    "noise shrinks the scale: w_+ w_- = alpha_t^2 = alpha^2 e^(-4 lr (X^TX/n)_jj int L), and the fit minimises "
    "phi at the final scale",
    "every X, y, every coordinate and path; the scale is deterministic given the loss",
    "Pesme, Pillaud-Vivien, Flammarion 2021",
    given=[_CONVEX, _FITS],
)
def pesme(one_noise: bool = True, ito: bool = True) -> Checks:
    """dw_pm = -+ s w dt +- 2 sqrt(lr L/n) w [X^T dB]_j, L = |X beta - y|^2/(4n): Ito's formula for both logarithms."""
    loss, root = sp.symbols("L root")  # root^2 = lr L/n
    v = 4 * lr * loss * input_square  # covariation rate of each logarithm: 4 (lr L/n) (X^T X)_jj
    lp, lm = sp.symbols("log_plus log_minus")
    extra = sp.S.Zero if ito else v / 2
    other = "[X^T dB]" if one_noise else "[X^T dB']"
    sde = Ito(
        {wp: Derivation({wp: 1, lp: 1 / wp}), wm: Derivation({wm: 1, lm: 1 / wm})},
        {wp: (-s + extra) * wp, wm: (s + extra) * wm},
        {(wp, wp): v * wp**2, (wm, wm): v * wm**2, (wp, wm): -v * product, (wm, wp): -v * product},
        {wp: {"[X^T dB]": 2 * root * wp}, wm: {other: -2 * root * wm}},
    )
    for noise, coefficient_of in sde.martingale(lp + lm).items():
        yield zero(f"no noise in ln w_+ w_-: {noise}", coefficient_of)
    rate = sde.generator(lp + lm)
    yield equal("d ln(w_+ w_-)/dt", rate, -v)
    yield obeys(
        "scale",
        predicted.stochastic_scale,
        lambda f: [f.rate(loss_integral) * loss - rate * f.value, f.at(loss_integral=0) - scale0],
    )
    yield equal("drift of ln w_+/w_-: in the row space", sde.generator(lp - lm), -2 * s)
    yield zero("its noise too", sde.martingale(lp - lm).get("[X^T dB]", sp.S.Zero) - 4 * root)
    yield from _slope_of_the_potential()
    yield obeys(
        "phi' = q'/4",
        predicted.stochastic_potential,
        lambda f: [4 * f.rate(coefficient) - f.companions[0]],
        companions=[predicted.diagonal_slope.expr],
    )
    yield obeys(
        "phi is a quarter of Woodworth's potential, shifted",
        predicted.stochastic_potential,
        lambda f: [4 * f.value + 2 * scale - f.companions[0]],
        companions=[predicted.diagonal_potential.expr],
    )
    u, w = wp + wm, wp - wm
    yield equal("as layers u w: imbalance", sp.expand(u**2 - w**2), 4 * product)
