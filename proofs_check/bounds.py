"""Proofs of inequalities about chains of scalar layers: flatness, the adaptive step, noise bands; every
depth.

With the step 1/(4 S) and r_i = 1/(w_i^2 S), sum r_i = 1, one step is W' = W prod(1 - z r_i), z = (W - 1)
W/2. Over all splits r the product lies between 1 - z (one layer takes all) and e^-z (many layers), for
either sign of z.
"""

from typing import Any

import sympy as sp

from proofs_check.against import equal
from proofs_check.field import Derivation
from proofs_check.inequalities import coefficients_nonnegative, nonnegative, positive
from proofs_check.judge import given, zero
from proofs_check.layers import GINSBURG, Checks, claim
from sdetheory.predictions.deep_linear import depth
from sdetheory.predictions.deep_linear import end_to_end as W

Q = sp.Rational
_HALF_BAND = (Q(1, 2), Q(3, 2))
_WEIERSTRASS = (
    "1 - z <= prod(1 - z r_i) <= e^-z for r_i >= 0, sum r_i = 1, z < 1: induction by (1-a)(1-b) >= 1-a-b"
)


def _mean_decay(z: Any) -> Any:
    """(1 - e^-z)/z as an entire function of a ball, 1F1(1; 2; -z): no singularity at z = 0."""
    return (-z).hypgeom([1], [2])


@claim(
    "D6",
    "shrinking any gap between sorted squares at fixed product lowers S: the flow from there ends flatter",
    "every depth: a sum over pairs of layers of non-negative terms",
    "derived; replaces `smaller imbalance is flatter`, false for three layers (D5)",
    latex=r"\partial S/\partial g_k\propto\sum_{i\le k<j}\tfrac{1}{z_iz_j}(\tfrac1{z_i}-\tfrac1{z_j})\ge0",
)
def flatter(sorted_layers: bool = True) -> Checks:
    """p, q: sums of 1/z below and above the gap, p2, q2: of 1/z^2. Low layers move by -q/(p+q), high ones
    by p/(p+q).
    """
    p, q, p2, q2, low, gap = sp.symbols("p q p2 q2 low gap")
    down, up = -q / (p + q), p / (p + q)
    yield zero("the product stays", down * p + up * q)
    yield equal("the gap grows by one", up - down, 1)
    yield equal("dS", -(down * p2 + up * q2), (q * p2 - p * q2) / (p + q))
    high = low + gap if sorted_layers else sp.Symbol("high")
    pair = (1 / high) * (1 / low) ** 2 - (1 / low) * (1 / high) ** 2
    yield coefficients_nonnegative("one pair of q p2 - p q2", pair)


@claim(
    "D10",
    "step 1/(4S), |W - 1| < 1/2: (W' - 1)/(W - 1) lies in [-1/8, 7/8], so the loss falls at a linear rate",
    "every depth: both extreme splits of the step over the layers",
    GINSBURG + ", theorem 3.1",
    given=[_WEIERSTRASS],
    latex=r"-\tfrac18\le\frac{W'-1}{W-1}\le\tfrac78",
)
def adaptive_step(half_band: bool = True) -> Checks:
    """One layer takes all: exact polynomial; many layers: W e^-z, factor 1 - (W^2/2) (1 - e^-z)/z."""
    band = _HALF_BAND if half_band else (Q(1, 10), Q(19, 10))
    a, b = sp.symbols("a b")
    yield equal("induction step", (1 - a) * (1 - b) - (1 - a - b), a * b)
    z, one = (W - 1) * W / 2, 1 - W**2 / 2
    yield zero("factor, one layer", W * (1 - z) - 1 - one * (W - 1))
    yield nonnegative("one layer, from below", one + Q(1, 8), {W: band})
    yield nonnegative("one layer, from above", Q(7, 8) - one, {W: band})

    def many(x: Any) -> Any:
        return 1 - x * x / 2 * _mean_decay((x - 1) * x / 2)

    yield positive("many layers, from below", lambda x: many(x) + 1 / (x * 0 + 8), (band,))
    yield positive("many layers, from above", lambda x: 7 / (x * 0 + 8) - many(x), (band,))


@claim(
    "D11",
    "under the same assumptions every imbalance is multiplied by a factor in [247/256, 1]: it never grows",
    "every depth",
    GINSBURG + ", theorem 3.2",
    latex=r"\tfrac{247}{256}\le k_{ij}\le1",
)
def imbalance_never_grows(half_band: bool = True) -> Checks:
    """1 - k = lr^2 g^2 W^2/(w_i w_j)^2 of D9 at lr = 1/(4S), g = 2(W - 1): (W-1)^2 W^2 r_i r_j/4, r_i r_j
    <= 1/4.
    """
    ri, rj = sp.symbols("r_i r_j")
    band = _HALF_BAND if half_band else (Q(1, 10), Q(19, 10))
    yield equal("r_i r_j <= 1/4", (ri + rj) ** 2 - 4 * ri * rj, (ri - rj) ** 2)
    S, wi, wj = sp.symbols("S w_i w_j")
    loss = (2 * (W - 1)) ** 2 * W**2 / (wi * wj) ** 2 / (4 * S) ** 2
    modulo = given(
        [ri * wi**2 * S - 1, rj * wj**2 * S - 1], {S: 1, wi: 2, wj: 3, ri: Q(1, 4), rj: Q(1, 9)}, [S, wi, wj]
    )
    yield equal("1 - k", loss, (W - 1) ** 2 * W**2 * ri * rj / 4, modulo)
    yield nonnegative("1 - k <= 9/256", Q(9, 256) - (W - 1) ** 2 * W**2 / 16, {W: band})


@claim(
    "D17",
    "the weight-decay band is at most mu W^(2/d - 1) wide, because S >= d W^(-2/d), equality iff balanced",
    "every depth: one variable, summed over layers",
    "derived",
    given=["a function that falls before 1 and rises after it is at least its value at 1"],
    latex=r"S\ge dW^{-2/d}",
)
def band_width(fixed_product: bool = True) -> Checks:
    """f(x) = x - 1 - ln x has f(1) = 0, f' = (x - 1)/x; sum it over x_k = W^(2/d)/w_k^2, whose product is
    1.
    """
    x, log_x, total_x, total_log = sp.symbols("x log_x total_x total_log")
    D = Derivation({x: 1, log_x: 1 / x})
    f = x - 1 - log_x
    yield equal("f'", D(f), (x - 1) / x)
    yield zero("f(1)", f.subs({x: 1, log_x: 0}))
    relation = given([total_log], {total_log: 0}) if fixed_product else ()
    yield equal("sum of f", total_x - depth - total_log, total_x - depth, relation)


@claim(
    "D25",
    "input noise, step 1/(4S), W in [1/2, 3/2], |e| <= 1/2: imbalances are multiplied by factors in [1/2, 1]",
    "every depth",
    GINSBURG + ", theorem 4.2, on this band of W",
    latex=r"\tfrac12\le k_{ij}\le1",
)
def noisy_imbalance(near: bool = True) -> Checks:
    """1 - k = (1+e)^2 (W(1+e) - 1)^2 W^2 r_i r_j/4 with r_i r_j <= 1/4 (D24 and D11)."""
    e = sp.Symbol("e")
    loss = (1 + e) ** 2 * (W * (1 + e) - 1) ** 2 * W**2 / 16
    box = {W: _HALF_BAND if near else (Q(1, 2), 2), e: (-Q(1, 2), Q(1, 2))}
    yield nonnegative("1 - k <= 1/2", Q(1, 2) - loss, box)
    yield equal("1 - k is a square", loss, ((1 + e) * (W * (1 + e) - 1) * W / 4) ** 2)


@claim(
    "D26",
    "on the full noise band that step can turn an imbalance around and enlarge it: -5/4 at W = 2, e = 1/2",
    "one exact point, two equal layers; instead: D25 for W in [1/2, 3/2], D27 for bands to delta = 0.1355",
    "derived; theorem 4.2 of Ginsburg 2020 needs a restriction on W",
    latex=r"k_{ij}=-\tfrac54",
)
def counter_example(full_band: bool = True) -> Checks:
    """k at r_i = r_j = 1/2; inside the band of D25 the same formula gives a factor of at least 1/2."""
    e = sp.Symbol("e")
    k = 1 - (1 + e) ** 2 * (W * (1 + e) - 1) ** 2 * W**2 / 16
    at = {W: 2, e: Q(1, 2)} if full_band else {W: Q(3, 2), e: Q(1, 2)}
    yield equal("factor", k.subs(at), -Q(5, 4))
