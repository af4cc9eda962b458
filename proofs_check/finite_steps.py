"""Proofs about SGD with finite steps at equilibrium: fixed point, turn, fluctuations, energy balance."""

import sympy as sp

from proofs_check import systems
from proofs_check.against import equal, obeys
from proofs_check.face import Face
from proofs_check.judge import given, zero
from proofs_check.normalised import HALF, LLA, SMD, Checks, claim, g, norm_map, product, w
from proofs_check.samples import sample_factors
from proofs_check.systems import R, sgd_step, weight_decay_sde
from proofs_check.vectors import Gram
from sdetheory.predictions import edge_of_stability, stationary_moments
from sdetheory.predictions import intrinsic_lr as predicted
from sdetheory.predictions.intrinsic_lr import (
    gamma_now,
    lr,
    mean_fourth,
    mean_square,
    trace,
    unit_squared_gradient,
    weight_decay,
)


@claim(
    "I25",
    "GD with weight decay on h x^2/(x^2+y^2): the ray x = 0 is unstable once y^2 < lr h/(1 - lr wd)",
    "exact multiplier of x/y, exact threshold, exact number of steps to it on the ray; also of single samples",
    LLA + ", toy example; " + "derived",
)
def circle_stability(homogeneous: bool = True, common_minimum: bool = True) -> Checks:
    """The multiplier of x/y at x = 0 is 1 - 2 lr h/((1 - lr wd) y^2); it is -1 at the threshold."""
    z, h = systems.column("w", 2), predicted.height
    loss = systems.circle(z, h) if homogeneous else h * z[0] ** 2
    after = sgd_step(z, systems.gradient(loss, z), lr, weight_decay)
    x, y = z
    multiplier = sp.diff(sp.cancel(after[0] / after[1]), x).subs(x, 0) * y
    yield equal("multiplier", multiplier, 1 - 2 * lr * h / ((1 - product) * y**2))
    square = sp.Symbol("square")
    at = sp.cancel(multiplier).subs(y**2, square)
    yield obeys("threshold", predicted.circle_threshold, lambda f: [1 + at.subs(square, f.value)])
    yield equal("y after a step on the ray", after[1].subs(x, 0), (1 - product) * y)
    start, threshold = predicted.squared_norm0, predicted.circle_threshold.expr
    yield obeys(  # ln(y_0^2) + 2 n ln(1 - lr wd) stays, and n = 0 at the threshold
        "steps to it",
        edge_of_stability.steps_to_threshold,
        lambda f: [f.rate(start) * 2 * f.companions[0] + 1 / start, f.at(squared_norm0=threshold)],
        companions=[sp.log(1 - product)],
    )
    yield from sample_factors(common_minimum)


@claim(
    "I34",
    "norm step: fixed point |w|_*^4 = lr s/(wd (2 - lr wd)), multiplier 1 - 4 lr wd + 2 (lr wd)^2",
    "any dimension, finite steps, s = |gradient on the sphere|^2 constant",
    "exact form of " + SMD,
)
def fixed_point(tangent: bool = True, stationary: bool = True) -> Checks:
    """The step of I3 with |g|^2 = s/|w|^2."""
    step = norm_map(tangent)
    moved = sp.S.Zero if stationary else sp.Symbol("change")
    yield obeys(
        "fixed point",
        predicted.discrete_equilibrium_squared_norm,
        lambda f: [step.subs(R, f.value) - f.value - moved],
    )
    slope = sp.diff(step, R)
    yield obeys(
        "multiplier",
        predicted.discrete_relaxation_multiplier,
        lambda f: [f.value - slope.subs(R, f.companions[0])],
        companions=[predicted.discrete_equilibrium_squared_norm.expr],
    )


@claim(
    "I35",
    "at the fixed point the direction turns by an angle with cosine 1 - lr wd in every step",
    "any dimension, finite steps, s constant",
    "exact form of " + SMD,
)
def turn(tangent: bool = True, stationary: bool = True) -> Checks:
    """cos = <w, w'>/(|w||w'|), and |w'| = |w| at the fixed point."""
    dot = Gram(w_w=R, g_g=unit_squared_gradient / R, **({"g_w": 0} if tangent else {}))
    after = sgd_step(w, g, lr, weight_decay)
    example = {lr: 1, weight_decay: HALF, R: 2, unit_squared_gradient: 3, sp.Symbol("<g,w>"): 0}
    star = given([dot(after, after) - R], example) if stationary else ()
    yield obeys(
        "cosine, squared",
        predicted.turn_cosine,
        lambda f: [f.value**2 * R * dot(after, after) - dot(w, after) ** 2],
        star,
    )
    yield equal("<w,w'>/|w|^2, its sign", dot(w, after) / R, predicted.turn_cosine)


@claim(
    "I36",
    "E gamma (1 - (1 - lr wd)^4) = 2 (1 - lr wd)^2 E s + E s^2/gamma",
    "any dimension, every stationary law of SGD",
    "derived from I3",
    given=["gamma, s and s^2/gamma are integrable under the stationary law"],
)
def stationary_identity(tangent: bool = True, stationary: bool = True) -> Checks:
    """gamma' is affine in gamma, s and s^2/gamma; E is linear."""
    s, q = unit_squared_gradient, sp.Symbol("q")
    after = norm_map(tangent) ** 2 / lr**2
    keep = 1 - product
    affine = keep**4 * gamma_now + 2 * keep**2 * s + q
    modulo = given([R**2 - lr**2 * gamma_now, q * gamma_now - s**2], {R: 2, lr: 2, gamma_now: 1, s: 3, q: 9})
    yield equal("gamma'", after, affine, modulo)
    change = 0 if stationary else sp.Symbol("d_E_gamma")
    mean = affine.subs({s: mean_square, q: mean_fourth})
    yield obeys(
        "mean", predicted.stationary_mean_gamma, lambda f: [mean.subs(gamma_now, f.value) - f.value - change]
    )


@claim(
    "I55",
    "Var|w|^2/|w|_*^4 = lr wd (2 - lr wd)/(4 (1 - lr wd)^2) Var s/(E s)^2",
    "independent s of each step; the norm step linearised at its fixed point",
    "derived from I3",
)
def norm_fluctuation(independent: bool = True, linearised_step: bool = True) -> Checks:
    """Stationary variance V of the autoregression dR' = m dR + (lr^2/R) ds around the fixed point."""
    s, step = unit_squared_gradient, norm_map()
    m, push = (sp.diff(step, x) for x in (R, s))
    m = m if linearised_step else m + sp.Symbol("curvature")
    crossed = 0 if independent else 2 * m * push * sp.Symbol("covariance")
    star = {s: R**2 * (1 - (1 - product) ** 2) / lr**2}
    yield zero("the fixed point", (step - R).subs(star))

    def stays(f: Face) -> list[sp.Expr]:
        variance = f.value * R**2
        after = m**2 * variance + push**2 * predicted.relative_variance * s**2 + crossed
        return [(after - variance).subs(star)]

    yield obeys("relative variance", predicted.squared_norm_fluctuation, stays)


@claim(
    "I47",
    "stationary SGD has lr (G + N) = wd (2 - lr wd) E|w|^2; the SDE has lr N = 2 wd E|w|^2",
    "any dimension, any stationary law; G = E|grad L|^2, N = E Tr Sigma at w",
    "Li, Malladi, Arora 2021",
    given=["the second moments of the stationary law are finite"],
    latex=r"\eta(G+N)=\lambda(2-\eta\lambda)E\|w\|^2,\qquad \eta N=2\lambda E\|W\|^2",
)
def energy_balance(tangent: bool = True, stationary: bool = True) -> Checks:
    """The mean of the norm step, |g|^2 having mean G + N, and of the drift of |W|^2, S/|W|^2 having mean
    N.
    """
    mean = sp.Symbol("E_R")
    G, N = stationary_moments.squared_mean, stationary_moments.noise_trace
    change = sp.S.Zero if stationary else sp.Symbol("change")
    dot = Gram(w_w=mean, g_g=G + N, **({"g_w": 0} if tangent else {}))
    after = sgd_step(w, g, lr, weight_decay)
    balance = sp.expand(dot(after, after) - mean - change)
    norm = stationary_moments.sgd_stationary_squared_norm
    yield obeys("SGD", norm, lambda f: [balance.subs(mean, f.value)])
    drift = sp.expand(weight_decay_sde(tangent).ito.generator(R).subs({trace: N * R}, simultaneous=True))
    flow = drift.subs(R, mean) - change
    norm = stationary_moments.sde_stationary_squared_norm
    yield obeys("SDE", norm, lambda f: [flow.subs(mean, f.value)])
