"""Proofs about deep linear networks with input noise, label noise and batches."""

import sympy as sp

from proofs_check import systems
from proofs_check.against import equal, obeys
from proofs_check.judge import given
from proofs_check.layers import GINSBURG, Checks, chain, claim, pull_of, wi, wj
from proofs_check.systems import sgd_step
from sdetheory.predictions import deep_linear as predicted
from sdetheory.predictions.deep_linear import end_to_end as W
from sdetheory.predictions.deep_linear import inverse_squares as S
from sdetheory.predictions.deep_linear import lr


@claim(
    "D23",
    "input noise averages to (W-1)^2 + sigma^2 W^2, minimal at W = 1/(1 + sigma^2)",
    "every depth, any noise of mean 0 and variance sigma^2",
    "Bishop 1995; " + GINSBURG,
)
def averaged_noise(centred: bool = True) -> Checks:
    """The mean of the batch loss over the noise, by its first two moments."""
    e, sigma = sp.Symbol("e"), predicted.input_noise
    mean_e = sp.S.Zero if centred else sp.Symbol("mean")
    noisy = sp.Poly(systems.input_noise_batch(W, 1, e), e)
    averaged = sum(coefficient * {0: 1, 1: mean_e, 2: sigma**2}[n] for (n,), coefficient in noisy.terms())
    yield equal("mean loss", averaged, (W - 1) ** 2 + sigma**2 * W**2)
    yield obeys(
        "minimum", predicted.averaged_noise_minimum, lambda f: [sp.diff(averaged, W).subs(W, f.value)]
    )


@claim(
    "D24",
    "input noise: D_ij' = D_ij (1 - 4 lr^2 (1+e)^2 (W(1+e) - 1)^2 W^2/(w_i w_j)^2)",
    "every depth, any noise e",
    GINSBURG + ", theorem 4.2",
    latex=r"D'_{ij}=D_{ij}(1-4\lambda^2(1+e)^2(W(1+e)-1)^2W^2/(w_iw_j)^2)",
)
def input_noise_step(same_slope: bool = True) -> Checks:
    """D9 with the slope of the noisy batch."""
    e = sp.Symbol("e")
    g = sp.diff(systems.input_noise_batch(W, 1, e), W)
    slope_j = g if same_slope else sp.Symbol("other_slope")
    after = [sgd_step(w, pull_of(one, w), lr, 0) for w, one in ((wi, g), (wj, slope_j))]
    factor = 1 - 4 * lr**2 * (1 + e) ** 2 * (W * (1 + e) - 1) ** 2 * W**2 / (wi * wj) ** 2
    yield equal("D'", after[0] ** 2 - after[1] ** 2, (wi**2 - wj**2) * factor, chain())


@claim(
    "D28",
    "mini-batches a W^2 - 2 b W: D_ij' = D_ij (1 - 4 lr^2 (a W - b)^2 W^2/(w_i w_j)^2)",
    "every depth, every batch",
    GINSBURG + ", section 5",
    latex=r"D'_{ij}=D_{ij}(1-4\lambda^2(a_BW-b_B)^2W^2/(w_iw_j)^2)",
)
def batch_step(same_slope: bool = True) -> Checks:
    """D9 with the slope of the batch."""
    a, b = sp.symbols("a b")
    g = sp.diff(a * W**2 - 2 * b * W, W)
    slope_j = g if same_slope else sp.Symbol("other_slope")
    after = [sgd_step(w, pull_of(one, w), lr, 0) for w, one in ((wi, g), (wj, slope_j))]
    yield equal(
        "D'",
        after[0] ** 2 - after[1] ** 2,
        (wi**2 - wj**2) * (1 - 4 * lr**2 * (a * W - b) ** 2 * W**2 / (wi * wj) ** 2),
        chain(),
    )


@claim(
    "D30",
    "label noise at the minimum: ln|D| decays at 4 lr^2 sigma^2/(1 - lr S) per step",
    "two layers, leading order in the distance of W from 1 (linearised step), W stationary",
    "Damian, Ma, Lee 2021",
)
def label_noise(stationary: bool = True, independent: bool = True) -> Checks:
    """E g^2 of g = 2 (W - 1 - xi) under W' = W - lr g S, put into D9: rate = lr^2 E g^2."""
    V, sigma = sp.Symbol("V"), predicted.noise  # V = E (W-1)^2
    crossed = sp.S.Zero if independent else sp.Symbol("covariance")
    noisy = sp.diff(systems.label_noise_batch(W, 1, sp.Symbol("xi")), W)
    yield equal("slope", noisy, 2 * (W - 1 - sp.Symbol("xi")))
    mean_square = 4 * (V + sigma**2) - 8 * crossed
    after = (1 - 2 * lr * S) ** 2 * V + (2 * lr * S) ** 2 * sigma**2 + 4 * lr * S * (1 - 2 * lr * S) * crossed
    example = {lr: 1, S: sp.Rational(1, 2), sigma: 1, V: 1, sp.Symbol("covariance"): 0}
    modulo = given([sp.expand((after - V) / (4 * lr * S))], example) if stationary else ()
    yield obeys(
        "rate", predicted.label_noise_imbalance_rate, lambda f: [f.value - lr**2 * mean_square], modulo
    )


@claim(
    "D29",
    "interpolating data freeze the imbalance at the minimum: every batch has slope 0 there",
    "every depth, every batch; what holds instead: noise that stays at the minimum balances, residuals (D28) or labels "
    "(D30)",
    "derived",
    latex=r"y=x\ \Rightarrow\ D'_{ij}=D_{ij}",
)
def interpolation(interpolating: bool = True, minimum: bool = True) -> Checks:
    """The slope of a W^2 - 2 b W at W = 1 with b = a, put into D9."""
    a, b = sp.symbols("a b")
    label = a if interpolating else b
    g = sp.diff(a * W**2 - 2 * label * W, W).subs({W: 1} if minimum else {})
    after = [sgd_step(w, pull_of(g, w), lr, 0) for w in (wi, wj)]
    yield equal("D'", after[0] ** 2 - after[1] ** 2, wi**2 - wj**2)
