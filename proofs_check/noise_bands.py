"""Proofs about the noise bands of scalar layers: where the noise flow lowers the loss, when steps stay
inside.
"""

from typing import Any

import sympy as sp

from proofs_check import systems
from proofs_check.against import equal, obeys
from proofs_check.field import Derivation
from proofs_check.inequalities import coefficients_nonnegative, nonnegative, positive
from proofs_check.judge import given, zero
from proofs_check.layers import GINSBURG, Checks, claim, other, over_layers, pull_of, wi, wj
from proofs_check.roots import one_root, signs
from proofs_check.systems import flow_rate, sgd_step
from sdetheory.predictions import noise_bands as predicted
from sdetheory.predictions.noise_bands import end_to_end as W
from sdetheory.predictions.noise_bands import input_error as e
from sdetheory.predictions.noise_bands import inverse_squares as S
from sdetheory.predictions.noise_bands import lr
from sdetheory.predictions.noise_bands import noise_bound as delta

Q = sp.Rational
_MEANINGS = {
    "bounded": "the noise is at most delta <= 1/2",
    "same_slope": "both layers see the same dl/dW (one loss, one batch)",
    "below_threshold": "delta is at most the threshold 0.135496",
    "adaptive": "the learning rate is 1/(4 S)",
}
_THRESHOLD = Q(135496, 10**6), Q(135497, 10**6)  # one root between them
_ORDER = (
    "1 - z <= prod(1 - z r_i) <= e^-z for r_i >= 0, sum r_i = 1, z < 1: induction by (1-a)(1-b) >= 1-a-b"
)


def _noisy_slope(noise: Any) -> sp.Expr:
    """dl/dW of the loss of this moment, (W (1 + e) - 1)^2."""
    return sp.diff(systems.input_noise_batch(W, 1, noise), W)


@claim(
    "D22",
    "noise flow: the loss falls outside [1/(1+delta), 1/(1-delta)], inside (1-delta, 1+2 delta); D_ij is conserved",
    "every depth, any path of the noise; the smaller band is sharp: on each edge some noise stops the fall",
    GINSBURG + ", theorem 4.2; the sharp band is derived",
    where=_MEANINGS,
)
def noise_flow(same_slope: bool = True, bounded: bool = True) -> Checks:
    """dL/dk = L'(W) dW/dk; W - 1/(1+e) has the sign of W - 1 outside; edges are tangent and chord of 1/(1+-
    delta).
    """
    w, slope = sp.Symbol("w"), _noisy_slope(e)
    slopes = {wi: slope, wj: slope if same_slope else sp.Symbol("other_slope")}
    flow = Derivation({x: flow_rate(x, pull_of(g, x), 0) for x, g in slopes.items()})
    yield zero("D_ij", flow(wi**2 - wj**2))
    dW = over_layers(W / w * lr * flow_rate(w, slope * W / w, 0), w, {-2: S})
    rate = sp.diff(systems.square_loss(W, 1), W) * dW
    yield equal("dL/dk", rate, predicted.noise_flow_loss_rate)
    turn = sp.solve(rate / (W - 1) / W**2, W)[0]  # 1/(1+e)
    yield equal("lower edge", turn.subs(e, delta), predicted.noise_flow_band_lower)
    yield equal("upper edge", turn.subs(e, -delta), predicted.noise_flow_band_upper)
    yield from _contained()
    yield from _outside(bounded)


def _outside(bounded: bool) -> Checks:
    """(1+e) W - 1 at W = 1 + 2 delta + v and 1 - (1+e) W at W = 1 - delta - v, with delta = 1/(2+u): no
    negative term.
    """
    u, f, v = sp.symbols("u f v")  # the noise is f away from its bound, or beyond it
    slack = f if bounded else -f
    half = {delta: 1 / (2 + u)}
    top = ((1 + e) * W - 1).subs(W, 1 + 2 * delta + v).subs(e, -delta + slack)
    parts = delta * (1 - 2 * delta) + (1 - delta) * v + slack * (1 + 2 * delta + v)
    yield equal("above the band", top, parts)
    yield coefficients_nonnegative("its terms", parts.subs(half))
    below = sp.expand(1 - (1 + delta) * (1 - delta - v)) + slack * W  # W = 1 - delta - v > 0
    yield equal("below the band", (1 - (1 + delta - slack) * W).subs(W, 1 - delta - v), below.subs(W, 1 - delta - v))
    yield coefficients_nonnegative("its terms", below)


def _contained() -> Checks:
    """1 - delta is the tangent at 0 of the lower edge, 1 + 2 delta the chord of the upper one from 0 to 1/2;
    both are convex.
    """
    lower, upper = predicted.noise_flow_band_lower.expr, predicted.noise_flow_band_upper.expr
    tangent = lower.subs(delta, 0) + delta * sp.diff(lower, delta).subs(delta, 0)
    chord = upper.subs(delta, 0) + 2 * delta * (upper.subs(delta, Q(1, 2)) - upper.subs(delta, 0))
    yield obeys("tangent", predicted.noise_band_lower, lambda f: [f.value - tangent])
    yield obeys("chord", predicted.noise_band_upper, lambda f: [f.value - chord])
    u = sp.Symbol("u")
    half = {delta: 1 / (2 + u)}
    below, above = delta**2 / (1 + delta), delta * (1 - 2 * delta) / (1 - delta)
    yield equal("tangent below", lower - tangent, below)
    yield equal("chord above", chord - upper, above)
    for gap in (below, above):
        yield coefficients_nonnegative("both are >= 0", sp.cancel(gap.subs(half)))


@claim(
    "D27",
    "noisy steps of rate 1/(4S) never leave the noise band [1-delta, 1+2 delta] iff delta <= 0.135496...",
    "every depth > 1, all splits of S over the layers, delta < 1/2: worst case exact; true at 1/10, false at 1/5",
    GINSBURG + ", theorem 4.2, asserts it up to 1/2; the threshold is derived",
    given=[_ORDER, "a concave function is at least the smaller of its values at both ends"],
    where=_MEANINGS,
    latex=r"(1+2\delta)^2(1+\delta)(3+2\delta)\le6",
)
def band(below_threshold: bool = True, adaptive: bool = True) -> Checks:
    """W' lies between W (1-z) and W e^-z, z = (1+e)(W(1+e) - 1) W/2; the first is least at e = delta, W = 1 +
    2 delta.
    """
    r = sp.Symbol("r")
    rate = 1 / (4 * S) if adaptive else lr
    after = sgd_step(wi, pull_of(_noisy_slope(e), wi), rate, 0).subs(other, W / (wi * wj))
    share = given([r * wi**2 * S - 1], {r: Q(1, 4), wi: 2, S: 1}, [S, wi])
    number = (1 + e) * (W * (1 + e) - 1) * W / 2
    yield equal("w_i'/w_i", sp.cancel(after / wi), 1 - number * r, share)
    a, b = sp.symbols("a b")
    inside, near = {W: 1 + delta * a, e: delta * b}, {delta: (0, Q(1, 5)), a: (-1, 2), b: (-1, 1)}
    yield nonnegative("z < 1", Q(9, 10) - number.subs(inside), near)
    yield equal("dz/de", sp.diff(number, e), W * (2 * W * (1 + e) - 1) / 2)
    yield nonnegative("it is > 0", (2 * W * (1 + e) - 1).subs(inside) - Q(1, 4), near)
    worst = (W * (1 - number)).subs(e, delta)
    bent = -sp.diff(worst, W, 2).subs(W, inside[W])
    yield nonnegative("W (1-z) is concave in W", bent, {delta: near[delta], a: near[a]})
    low_end = (1 - delta) ** 2 * (1 + delta) * delta**2 / 2
    yield equal("from the lower edge", worst.subs(W, 1 - delta) - (1 - delta), low_end)
    yield nonnegative("it stays", low_end, {delta: near[delta]})
    yield obeys("upper edge", predicted.worst_noisy_step, lambda f: [f.value - worst.subs(W, 1 + 2 * delta)])
    yield from _threshold(below_threshold)
    yield positive("W e^-z <= 1 + 2 delta", _upper_room, ((0, Q(1, 5)), (-1, 2), (-1, 1)))
    yield from _escape(number)


def _threshold(below_threshold: bool) -> Checks:
    """(lowest W' - (1 - delta))/delta falls, and has one root below 1/2."""
    excess = sp.cancel((predicted.worst_noisy_step.expr - predicted.noise_band_lower.expr) / delta)
    yield equal("excess", excess, 3 - (1 + 2 * delta) ** 2 * (1 + delta) * (3 + 2 * delta) / 2)
    yield coefficients_nonnegative("it falls", -sp.diff(excess, delta))
    yield one_root("threshold", excess, (0, Q(1, 2)), _THRESHOLD)
    yield signs("stays at 1/10, leaves at 1/5", excess, {Q(1, 10): 1, Q(1, 5): -1})
    top = _THRESHOLD[0] if below_threshold else Q(1, 5)
    yield nonnegative("lowest W' >= 1 - delta", excess, {delta: (0, top)})


def _upper_room(delta: Any, a: Any, b: Any) -> Any:
    """(1 + 2 delta - W e^-z)/delta at W = 1 + delta a, e = delta b; (1 - e^-z)/z = 1F1(1; 2; -z) is entire.
    """
    whole, noise = 1 + delta * a, 1 + delta * b
    pull = noise * (a + b + delta * a * b) * whole / 2  # z/delta
    return 2 - a + whole * pull * (-delta * pull).hypgeom([1], [2])


def _escape(number: sp.Expr) -> Checks:
    """Two layers with shares r and 1 - r: W' = W (1-z) + W z^2 r (1-r), as near to W (1-z) as one likes."""
    r, z = sp.symbols("r z")
    two = W * (1 - z * r) * (1 - z * (1 - r))
    yield equal("two layers", two, W * (1 - z) + W * z**2 * r * (1 - r))
    at = {W: Q(7, 5), e: Q(1, 5), r: Q(1, 100)}
    left = two.subs(z, number).subs(at)
    yield coefficients_nonnegative("delta = 1/5: below 4/5", Q(4, 5) - left)
    yield coefficients_nonnegative("near 0.600", Q(61, 100) - left)
