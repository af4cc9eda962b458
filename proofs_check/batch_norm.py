"""Proofs about batch normalisation: invariance, the leak of epsilon, the span of the gradient, replayed
schedules.
"""

from collections.abc import Iterator

import sympy as sp

from proofs_check import systems
from proofs_check.against import equal, obeys, vanishes
from proofs_check.judge import given, zero
from proofs_check.normalised import Checks, claim, g, product, u, w
from proofs_check.systems import R, sgd_step
from proofs_check.vectors import Gram, Vector, letters
from sdetheory.predictions import intrinsic_lr as predicted
from sdetheory.predictions.intrinsic_lr import lr, squared_gradient, t, weight_decay
from sdetheory.predictions.outside_span import outside_decay

_BN = "Ioffe, Szegedy 2015; Arora, Li, Lyu 2019"
_B, _q, _D, _Z = sp.symbols("B q D Z")  # batch size, deviation, sum d, sum d zhat


@claim(
    "A1",
    "without epsilon a batch-normalised neuron does not feel the scale of its weights: BN(cw) = BN(w), c > 0",
    "per neuron or filter; batch of three written out",
    _BN,
    latex=r"\mathrm{BN}(cw)=\mathrm{BN}(w)",
)
def scale_invariance(no_epsilon: bool = True) -> Checks:
    """Squares of the normalised values of z and c z; the sign is that of z - mean, and c > 0."""
    z, k, epsilon = sp.symbols("z:3"), sp.Symbol("k"), sp.S.Zero if no_epsilon else sp.Symbol("epsilon")
    pairs = zip(systems.normalised([k * x for x in z], epsilon), systems.normalised(z, epsilon), strict=True)
    for i, (scaled, plain) in enumerate(pairs):
        yield vanishes(f"zhat_{i}, squared", scaled**2 - plain**2)


def _backward() -> Iterator[sp.Expr]:
    """Chain rule minus the backward formula, for a batch of three and arbitrary dL/dzhat."""
    z, d, epsilon = sp.symbols("z:3"), sp.symbols("d:3"), sp.Symbol("epsilon")
    zhat = systems.normalised(z, epsilon)
    mean = sp.Add(*z) / 3
    q = sp.sqrt(sp.Add(*((x - mean) ** 2 for x in z)) / 3 + epsilon)
    total, correlation = sp.Add(*d), sp.Add(*(a * b for a, b in zip(d, zhat, strict=True)))
    for i, x in enumerate(z):
        chain = sp.Add(*(a * sp.diff(b, x) for a, b in zip(d, zhat, strict=True)))
        yield chain - systems.normalised_backward(d[i], zhat[i], total, correlation, 3, q)


def _inner_with_weights(epsilon: sp.Expr) -> sp.Expr:
    """<w, grad L> = sum dz_b z_b with z_b = m + q zhat_b, sum zhat = 0, sum zhat^2 = B s^2/q^2, s^2 = q^2
    - epsilon.
    """
    mean = sp.Symbol("m")
    sums = {"d": _D, "zhat": sp.S.Zero, "d zhat": _Z, "zhat^2": _B * (_q**2 - epsilon) / _q**2}
    of_slopes = systems.normalised_backward(sums["d"], sums["zhat"], _B * _D, _Z, _B, _q)
    of_products = systems.normalised_backward(sums["d zhat"], sums["zhat^2"], sums["zhat"] * _D, _Z, _B, _q)
    return mean * of_slopes + _q * of_products


@claim(
    "A2",
    "<w, grad L> = 0 for every batch-normalised neuron",
    "any batch size, dimension and loss",
    _BN,
    latex=r"\langle w,\nabla L\rangle=0",
)
def orthogonality(no_epsilon: bool = True) -> Checks:
    """The leak of A3 at epsilon = 0."""
    yield zero("<w, grad L>", _inner_with_weights(sp.S.Zero if no_epsilon else sp.Symbol("epsilon")))


@claim(
    "A3",
    "with epsilon, <w, grad L> = epsilon/(s^2 + epsilon) sum dL/dzhat zhat",
    "any batch size, dimension and loss; the backward pass checked on a batch of three",
    "derived",
    latex=r"\langle w,\nabla L\rangle=\tfrac{\epsilon}{s^2+\epsilon}\sum_b\hat d_b\hat z_b",
)
def leak(biased_variance: bool = True) -> Checks:
    """Sums over the batch; q^2 = s^2 + epsilon."""
    epsilon, s2 = sp.symbols("epsilon s2")
    for i, gap in enumerate(_backward()):
        yield vanishes(f"backward pass, dL/dz_{i}", gap)
    bias = sp.S.Zero if biased_variance else sp.Symbol("bias")
    modulo = given([_q**2 - s2 - epsilon - bias], {_q: 2, s2: 3, epsilon: 1, sp.Symbol("bias"): 0})
    yield equal("leak", _inner_with_weights(epsilon), epsilon / (s2 + epsilon) * _Z, modulo)


@claim(
    "A6",
    "without weight decay |w'|^2 = |w|^2 + lr^2 |g|^2: the norm never falls",
    "any batch, every step of SGD",
    _BN,
    latex=r"\|w'\|^2=\|w\|^2+\eta^2\|g\|^2",
)
def norm_grows(tangent: bool = True, no_decay: bool = True) -> Checks:
    """I3 at wd = 0."""
    dot = Gram(w_w=R, g_g=squared_gradient, **({"g_w": 0} if tangent else {}))
    after = sgd_step(w, g, lr, sp.S.Zero if no_decay else weight_decay)
    yield equal("|w'|^2", dot(after, after), R + lr**2 * squared_gradient)


@claim(
    "A10",
    "with weight decay |w'|^2 = (1 - lr wd)^2 |w|^2 + lr^2 |g|^2; at the fixed point cos turn = 1 - lr wd",
    "any batch, every step of SGD; the fixed point is I34, the angle I35",
    "van Laarhoven 2017; Wan et al. 2021",
)
def norm_under_decay(tangent: bool = True) -> Checks:
    """I3 for a batch-normalised neuron, and its fixed point."""
    dot = Gram(w_w=R, g_g=squared_gradient, **({"g_w": 0} if tangent else {}))
    after = sgd_step(w, g, lr, weight_decay)
    yield equal("|w'|^2", dot(after, after), predicted.squared_norm_step)
    step = predicted.squared_norm_step.at(squared_gradient=predicted.unit_squared_gradient / R)
    yield obeys(
        "fixed point",
        predicted.discrete_equilibrium_squared_norm,
        lambda f: [step.subs(R, f.value) - f.value],
    )


@claim(
    "A11",
    "the gradient of a batch-normalised neuron lies in the span of x_b - mean(x)",
    "any loss and epsilon; three letters stand for the batch, patches for convolutions",
    "derived",
    latex=r"\nabla L\in\mathrm{span}\{x_b-\bar x\}",
)
def span(mean_removed: bool = True) -> Checks:
    """sum dz_b = 0 because the mean is removed, so that sum dz_b x_b = sum dz_b (x_b - mean x)."""
    x, d = letters("x0 x1 x2"), sp.symbols("d:3")
    yield zero("sum dz_b", systems.normalised_backward(_D, 0, _B * _D, _Z, _B, _q))
    relation = given([sp.Add(*d)], {d[0]: 1, d[1]: 2, d[2]: -3}) if mean_removed else ()
    mean = sp.Rational(1, 3) * (x[0] + x[1] + x[2])
    gap = Vector()
    for slope, xb in zip(d, x, strict=True):
        gap = gap + slope * xb - slope * (xb - mean)
    for name, v in gap.items():
        yield zero(f"coefficient of {name}", v, relation)


@claim(
    "A12",
    "without weight decay SGD never moves the part of w outside the span of the inputs",
    "any batch, schedule and loss; every step",
    "derived",
    latex=r"P_\perp w_t=P_\perp w_0",
)
def frozen_outside(gradient_in_span: bool = True, no_decay: bool = True) -> Checks:
    """<u, w'> for u orthogonal to the span."""
    dot = Gram(**({"g_u": 0} if gradient_in_span else {}))
    after = sgd_step(w, g, lr, sp.S.Zero if no_decay else weight_decay)
    yield zero("<u,w'> - <u,w>", dot(u, after) - dot(u, w))


@claim(
    "A13",
    "weight decay shrinks the part of w outside the span of the inputs by 1 - lr wd a step",
    "any batch, schedule and loss; every step",
    "derived",
    latex=r"P_\perp w_t=\prod_s(1-\eta_s\lambda)P_\perp w_0",
)
def decay_outside(gradient_in_span: bool = True) -> Checks:
    """<u, w'> for u orthogonal to the span; the law of t steps is 1 at the start and multiplied by that."""
    dot = Gram(**({"g_u": 0} if gradient_in_span else {}))
    factor = dot(u, sgd_step(w, g, lr, weight_decay)) / dot(u, w)
    yield equal("<u,w'>/<u,w>", factor, predicted.turn_cosine.expr)
    yield obeys("after t steps", outside_decay, lambda f: [f.at(t=t + 1) - factor * f.value, f.at(t=0) - 1])


@claim(
    "A16",
    "(w, lr) and (c w, c^2 lr) give the same network under SGD, (c w, c lr) under Adam",
    "any batch, every step; no weight decay, Adam without epsilon",
    "Li, Arora 2019; derived for Adam",
    latex=r"(w,\eta)\sim(cw,c^2\eta)\ \text{(SGD)},\quad (cw,c\eta)\ \text{(Adam)}",
)
def equivalent_scales(scale_invariant: bool = True) -> Checks:
    """One step; Adam divides first by root of second moments, which both scale with the gradient."""
    k, m, v = sp.symbols("k m v")
    at_kw = (1 / k) * g if scale_invariant else letters("g_k")[0]
    for name, c in (sgd_step(k * w, at_kw, k**2 * lr, 0) - k * sgd_step(w, g, lr, 0)).items():
        yield zero(f"SGD, coefficient of {name}", c)
    yield equal("Adam update, squared", (k * lr) ** 2 * (m / k) ** 2 / (v / k**2), k**2 * lr**2 * m**2 / v)


@claim(
    "A17",
    "weight decay at constant lr is no weight decay at lr (1 - lr wd)^(-2t-1)",
    "plain SGD, every step, pathwise",
    "Li, Arora 2019",
    latex=r"\tilde\eta_t=\eta(1-\eta\lambda)^{-2t-1}",
)
def exponential_schedule(scale_invariant: bool = True, right_power: bool = True) -> Checks:
    """w_t/(1 - lr wd)^t under the growing lr; A is (1 - lr wd)^t."""
    A, keep = sp.Symbol("A"), 1 - product
    grown = lr / (A**2 * keep) if right_power else lr / A**2
    at_replay = A * g if scale_invariant else letters("g_k")[0]
    replayed = sgd_step((1 / A) * w, at_replay, grown, 0)
    for name, c in (replayed - (1 / (A * keep)) * sgd_step(w, g, lr, weight_decay)).items():
        yield zero(f"coefficient of {name}", c)
