"""Proofs about label noise near minima: the limiting flow of scalar layers, the regulariser of any model."""

import sympy as sp

from proofs_check import systems
from proofs_check.against import equal, obeys
from proofs_check.inequalities import coefficients_nonnegative
from proofs_check.layers import Checks, chain, claim, other, over_layers, wi, wj
from proofs_check.words import IDENTITY, Words, matrices, rewrite, trace, vanish
from sdetheory.predictions import deep_linear
from sdetheory.predictions import label_noise as predicted
from sdetheory.predictions.deep_linear import end_to_end as W
from sdetheory.predictions.label_noise import (
    batch,
    inverse_fourths,
    inverse_sixths,
    label_variance,
    lr,
    noise,
    sharpness,
    slow_time,
)
from sdetheory.predictions.label_noise import inverse_squares as S

_SUMS = {0: sp.Symbol("d"), -2: S, -4: inverse_fourths, -6: inverse_sixths}
_MEANINGS = {
    "tangent": "the limiting flow stays on the minima: the gradient of the trace is projected on them",
    "minimum": "the layers are at a minimum, W = 1",
    "label_noise": "the gradient noise is that of noisy labels: its covariance is a multiple of the Hessian",
    "stationary": "the law of the weights around the minimum is stationary for the linearised step",
}


@claim(
    "D54",
    "label noise, slow time lr^2 k: dz_i/dtau = 4 sigma^2 (1/z_i - kappa), dD_ij/dtau = -4 sigma^2 D_ij/(z_i z_j)",
    "every depth on W = 1; kappa = sum z^-2/sum z^-1; the sharpness never rises; two layers: D_0 e^(-4 sigma^2 tau)",
    "Li, Wang, Arora 2022",
    given=["Li, Wang, Arora 2022 (Katzenberger 1991): for covariance c H the limit is -(c/4) P grad tr H"],
    where=_MEANINGS,
)
def limiting_flow(tangent: bool = True, minimum: bool = True) -> Checks:
    """Covariance and Hessian on W = 1 give c = 2 sigma^2; tr H = 2 S; the normal is n_k = 1/w_k."""
    xi, w = sp.symbols("xi w")
    at = chain((W - 1,), {wi: 2, wj: 3, other: sp.Rational(1, 6), W: 1}) if minimum else chain()
    pulls = [sp.diff(systems.label_noise_batch(wi * wj * other, 1, xi), x) for x in (wi, wj)]
    covariance = noise**2 * sp.Mul(*(sp.diff(g, xi) for g in pulls))
    hessian = sp.diff(systems.square_loss(wi * wj * other, 1), wi, wj)
    c = 2 * noise**2
    yield equal("covariance = c Hessian", covariance, c * hessian, at)
    trace_h = deep_linear.sharpness_at_minimum.at(target=1)
    slope = sp.diff(trace_h, deep_linear.inverse_squares) * sp.diff(w**-2, w)  # d(tr H)/dw_k
    normal = over_layers(slope / w, w, _SUMS) / S if tangent else sp.S.Zero
    rate = 2 * w * (-c / 4) * (slope - normal / w)  # dz/dtau
    yield obeys("dz/dtau", predicted.limiting_square_rate, lambda f: [f.at(square=w**2) - rate])
    yield equal("W stays", over_layers(rate / w**2, w, _SUMS), 0)
    z_i, z_j = (predicted.limiting_square_rate.at(square=x**2) for x in (wi, wj))
    both = {"imbalance": wi**2 - wj**2, "rest": 1 / (wi * wj)}
    yield obeys("dD/dtau", predicted.limiting_imbalance_rate, lambda f: [f.at(**both) - z_i + z_j])
    two, start = predicted.limiting_imbalance_rate.at(rest=1), predicted.imbalance0
    yield obeys(
        "two layers",
        predicted.limiting_imbalance,
        lambda f: [f.rate(slow_time) - two.subs(predicted.imbalance, f.value), f.at(slow_time=0) - start],
    )
    falls = over_layers(sp.expand(-rate / w**4), w, _SUMS)
    yield obeys("dS/dtau", predicted.flattening_rate, lambda f: [f.value - falls])
    yield from _never_sharper()
    leading = (deep_linear.label_noise_imbalance_rate.expr / deep_linear.lr**2).subs(deep_linear.lr, 0)
    exponent = -sp.diff(predicted.limiting_imbalance_rate.at(rest=1), predicted.imbalance)
    yield equal("the limit of D30", leading.subs(deep_linear.noise, noise), exponent)


def _never_sharper() -> Checks:
    """sum z^-3 sum z^-1 - (sum z^-2)^2 = sum over pairs of (1/(z_i z_j)) (1/z_i - 1/z_j)^2."""
    a, b, gap = sp.symbols("a b gap")
    pair = a**3 * b + b**3 * a - 2 * a**2 * b**2
    yield equal("one pair of layers", pair, a * b * (a - b) ** 2)
    yield coefficients_nonnegative("it is >= 0", sp.expand(pair.subs(b, a + gap)))


@claim(
    "D55",
    "label noise of variance s^2 adds (lr s^2/B) R to the loss, R = -tr ln(1 - lr H/2)/(2 lr) -> tr H/4",
    "any model and dimension, at a minimum: the mean gradient of the stationary linearised law; D30 is its case",
    "Damian, Ma, Lee 2021",
    given=["d tr f(H) = tr f'(H) dH", "the mean gradient of a law of covariance V is grad L + grad tr(V H)/2"],
    where=_MEANINGS,
)
def regulariser(label_noise: bool = True, stationary: bool = True) -> Checks:
    """V = lr s^2/B K, K = (2 - lr H)^-1, is the covariance of x' = (1 - lr H) x + lr noise; tr(V dH)/2 is
    d(strength R).
    """
    H, K, N, dH = matrices("H K N dH")
    inverse = (2 / lr) * K - (1 / lr) * IDENTITY  # H K = K H = (2 K - 1)/lr
    rules = [((("H", False), ("K", False)), inverse), ((("K", False), ("H", False)), inverse)]
    strength, keep = lr * label_variance / batch, IDENTITY - lr * H
    V = strength * K if stationary else strength * IDENTITY
    shaken = lr**2 * label_variance / batch * (H if label_noise else N)
    yield from vanish("stationary covariance", rewrite(_even(V - keep @ V @ keep - shaken), rules))
    h = sharpness
    yield obeys(
        "variance along an eigenvector",
        predicted.label_noise_variance,
        lambda f: [f.value - (1 - lr * h) ** 2 * f.value - lr**2 * label_variance * h / batch],
    )
    yield equal("factor", strength, predicted.damian_strength)
    pull = predicted.label_noise_variance.expr / 2
    yield obeys(
        "d(factor R)/dh = V/2",
        predicted.damian_regulariser,
        lambda f: [strength * f.rate(h) - pull, f.at(sharpness=0)],
    )
    dR = sp.Rational(1, 2) * trace(K @ dH)  # (1/4) tr (1 - lr H/2)^-1 dH
    yield from vanish("d(factor R) = tr(V dH)/2", sp.Rational(1, 2) * trace(V @ dH) - strength * dR)
    yield equal("lr -> 0", (pull / strength).subs(lr, 0), sp.Rational(1, 4))
    yield from _scalar_layers()


def _even(words: Words) -> Words:
    """The same words, symmetric letters untransposed."""
    out = Words()
    for word, coefficient in words.items():
        out = out + Words({tuple((name, False) for name, _ in word): coefficient})
    return out


def _scalar_layers() -> Checks:
    """Ginsburg's (W - 1)^2 at lr is (1/2)(W - 1)^2 at 2 lr, whose Hessian has the eigenvalue S: D30 again."""
    twice = {lr: 2 * lr, sharpness: S, batch: 1, label_variance: noise**2}
    slope = (predicted.label_noise_variance.expr / 2).subs(twice, simultaneous=True)
    change = [2 * x * (-2 * lr) * slope * sp.diff(x**-2, x) for x in (wi, wj)]  # of w^2 in a step
    rate = deep_linear.label_noise_imbalance_rate.expr
    mapped = {deep_linear.lr: lr, deep_linear.noise: noise, deep_linear.inverse_squares: S}
    claimed = -rate.subs(mapped, simultaneous=True) * (wi**2 - wj**2) / (wi * wj) ** 2
    yield equal("imbalance of scalar layers", change[0] - change[1], claimed)
