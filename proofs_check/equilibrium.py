"""Proofs about equilibrium: norm, effective learning rate, relaxation, drops of lr and weight decay."""

import sympy as sp

from proofs_check.against import equal, obeys, vanishes
from proofs_check.face import Face
from proofs_check.normalised import LLA, Checks, claim, gamma_drift
from proofs_check.systems import R, weight_decay_sde
from sdetheory.predictions import intrinsic_lr as predicted
from sdetheory.predictions.intrinsic_lr import error, factor, gamma0, gamma_now, lr, t, weight_decay


@claim(
    "I15",
    "E gamma = E S/(2 lr wd) for every stationary law",
    "any dimension, any S(W)",
    LLA,
    given=["gamma and S are integrable under the stationary law"],
)
def stationary_gamma(tangent: bool = True, stationary: bool = True) -> Checks:
    """E of the drift of gamma is zero; E is linear, so gamma and S become their means."""
    change = 0 if stationary else sp.Symbol("d_E_gamma")
    rate = gamma_drift(tangent)
    yield obeys("E gamma", predicted.equilibrium_gamma, lambda f: [rate.subs(gamma_now, f.value) - change])


@claim(
    "I16",
    "|W|_*^4 = lr S/(2 wd), effective lr sqrt(2 lr wd/S)",
    "any dimension, S constant on the sphere",
    LLA,
)
def equilibrium(tangent: bool = True, homogeneous: bool = True) -> Checks:
    """The positive root of the drift of |W|^2."""
    drift = weight_decay_sde(tangent, homogeneous).ito.generator(R)
    yield obeys("|W|_*^2", predicted.equilibrium_squared_norm, lambda f: [drift.subs(R, f.value)])
    yield obeys("|W|_*", predicted.equilibrium_norm, lambda f: [drift.subs(R, f.value**2)])
    yield obeys("effective lr", predicted.equilibrium_effective_lr, lambda f: [drift.subs(R, lr / f.value)])
    yield obeys(
        "gamma",
        predicted.equilibrium_gamma,
        lambda f: [lr**2 * f.value - f.companions[0] ** 2],
        companions=[predicted.equilibrium_squared_norm.expr],
    )


@claim(
    "I18",
    "gamma approaches equilibrium at rate 4 lr wd",
    "any dimension, S constant on the sphere, exact for all t",
    LLA + " (as O(1/(lr wd)))",
)
def relaxation(tangent: bool = True, initial: bool = True) -> Checks:
    """The drift of gamma is -rate (gamma - gamma_*)."""
    drift = gamma_drift(tangent)
    star = predicted.equilibrium_gamma.expr
    yield equal("rate", -sp.diff(drift, gamma_now), predicted.relaxation_rate)
    yield equal("drift", drift, -predicted.relaxation_rate.expr * (gamma_now - star))
    yield equal("time", 1 / predicted.relaxation_rate.expr, predicted.relaxation_time)
    distance = predicted.distance0
    start = sp.S.Zero if initial else sp.Symbol("delay")
    yield obeys(
        "time to a relative distance",
        predicted.time_to_equilibrium,
        lambda f: [
            f.rate(distance) * (-drift.subs(gamma_now, star * (1 + distance)) / star) - 1,
            f.at(distance0=error) - start,
        ],
    )


@claim(
    "I19",
    "without weight decay and from a small start, effective lr = (2 S t)^(-1/2), |W|^2 = lr (2 S t)^(1/2)",
    "any dimension, S constant; exact in the limit gamma_0 -> 0",
    "Arora, Li, Lyu 2018",
)
def without_decay(no_decay: bool = True, small_start: bool = True) -> Checks:
    """gamma at wd = 0 and gamma_0 = 0."""
    at = ({"weight_decay": 0} if no_decay else {}) | ({"gamma0": 0} if small_start else {})
    grown = predicted.gamma.at(**at)
    yield obeys(
        "effective lr",
        predicted.no_decay_effective_lr,
        lambda f: [f.power(2) * f.companions[0] - 1],
        companions=[grown],
    )
    yield obeys(
        "|W|^2",
        predicted.no_decay_squared_norm,
        lambda f: [f.power(2) - lr**2 * f.companions[0]],
        companions=[grown],
    )


def _after_drop(
    rate: sp.Expr, new_lr: sp.Expr, new_decay: sp.Expr, ratio: sp.Expr
) -> tuple[sp.Expr, sp.Expr]:
    """(new equilibrium gamma, d ratio/dt) for ratio = gamma over that equilibrium."""
    new = {lr: new_lr, weight_decay: new_decay}
    star = predicted.equilibrium_gamma.expr.subs(new, simultaneous=True)
    return star, rate.subs(new, simultaneous=True).subs(gamma_now, ratio * star) / star


@claim(
    "I20",
    "lr/K at equilibrium: effective lr drops by K at once, gamma/gamma'_* = 1 + (K-1) e^(-4 lr wd t/K)",
    "any dimension, S constant; then it recovers by sqrt(K)",
    LLA + ", effect of lr decay",
)
def lr_drop(tangent: bool = True, equilibrium_before: bool = True, continuous_norm: bool = True) -> Checks:
    """gamma = |W|^4/lr^2 jumps by K^2, its equilibrium by K; then the gamma equation at lr/K."""
    rate, old = gamma_drift(tangent), predicted.equilibrium_gamma.expr
    start = old if equilibrium_before else gamma0
    jump = factor**2 if continuous_norm else 1

    def solves(f: Face) -> list[sp.Expr]:
        star, change = _after_drop(rate, lr / factor, weight_decay, f.value)
        return [f.rate(t) - change, f.at(t=0) - jump * start / star]

    yield obeys("gamma ratio", predicted.lr_drop_gamma_ratio, solves)
    ratio = predicted.lr_drop_gamma_ratio
    yield obeys(
        "effective lr ratio",
        predicted.lr_drop_effective_lr_ratio,
        lambda f: [f.power(2) * f.companions[0] - 1],
        companions=[ratio.expr],
    )
    yield obeys("recovery", predicted.lr_drop_recovery, lambda f: [f.power(2) - ratio.at(t=0)])


@claim(
    "I21",
    "wd/K at equilibrium: no jump, gamma/gamma'_* = 1 - (1-1/K) e^(-4 lr wd t/K), same equilibrium as lr/K",
    "any dimension, S constant",
    LLA + ", figure of the wd and lr drops",
)
def wd_drop(tangent: bool = True, equilibrium_before: bool = True) -> Checks:
    """gamma starts at the old equilibrium; then the gamma equation at wd/K."""
    rate, old = gamma_drift(tangent), predicted.equilibrium_gamma.expr
    start = old if equilibrium_before else gamma0

    def solves(f: Face) -> list[sp.Expr]:
        star, change = _after_drop(rate, lr, weight_decay / factor, f.value)
        return [f.rate(t) - change, f.at(t=0) - start / star]

    yield obeys("gamma ratio", predicted.wd_drop_gamma_ratio, solves)
    yield obeys(
        "effective lr ratio",
        predicted.wd_drop_effective_lr_ratio,
        lambda f: [f.power(2) * f.companions[0] - 1],
        companions=[predicted.wd_drop_gamma_ratio.expr],
    )
    final = predicted.equilibrium_effective_lr
    yield vanishes(
        "same final effective lr",
        final.at(lr=lr / factor) ** 2 - final.at(weight_decay=weight_decay / factor) ** 2,
    )
