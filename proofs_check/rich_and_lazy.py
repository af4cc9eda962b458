"""Which starts of diagonal networks are rich or lazy, and depth above two: parts of the proof of D57.

Both bounds compare potentials Q on a segment: Q is convex and no larger at the selected fit than at the fit of least
norm, so that it is no larger at the point between them whose norm is 1 + e times the least; bounds of Q from below
there and from above at the fit of least norm contradict that beyond the stated start.
"""

import flint
import sympy as sp

from proofs_check.against import equal, obeys
from proofs_check.face import Face
from proofs_check.field import Derivation
from proofs_check.inequalities import coefficients_nonnegative, positive
from proofs_check.judge import zero
from proofs_check.layers import Checks
from proofs_check.systems import flow_rate
from sdetheory.predictions import deep_diagonal_networks as deep
from sdetheory.predictions import rich_and_lazy as predicted
from sdetheory.predictions.deep_diagonal_networks import depth, potential_slope, start
from sdetheory.predictions.rich_and_lazy import excess, inputs, least_l1, least_l2

GIVEN = [
    "a convex function is at most the larger of its end values on a segment",
    "sum |b| ln|b| >= B ln(B/d) and sum |b|^p <= d^(1-p) B^p for d numbers with sum |b| = B, 0 < p < 1 (Jensen)",
    "(1 + e)^(1/e) <= exp(1), and u 2^-u <= 1/(exp(1) ln 2): exp(y) >= 1 + y, exp(y) >= exp(1) y",
]


def lazy() -> Checks:
    """b^2/(2 sqrt(M^2 + 4 c^2)) <= Q <= b^2/(4 c) for |b| <= M, because Q'' = 1/sqrt(b^2 + 4 c^2)."""
    c = sp.Symbol("c")
    largest = (1 + excess) * least_l2**2  # M^2 on the segment, where |b|_2^2 is that too
    lower, upper = largest**2 / (4 * (largest + 4 * c**2)), (least_l2**2 / (4 * c)) ** 2
    excluded = 4 * c**2 * excess * (2 + excess) - largest
    factor = least_l2**4 / (16 * c**2 * (largest + 4 * c**2))
    yield equal("squares of the bounds: lower - upper", lower - upper, factor * excluded)
    yield obeys(
        "the scale at which they meet",
        predicted.lazy_scale,
        lambda f: [4 * f.power(2) * excess * (2 + excess) - largest],
    )
    published = (2 * (1 + excess) * (1 + 2 / excess)) ** 2 - (1 + excess) / (4 * excess * (2 + excess))
    yield coefficients_nonnegative("the published scale is larger", sp.cancel(published))


def rich() -> Checks:
    """|b| (ln(|b|/c) - 1) <= Q <= |b| (ln(1 + |b|/c) - 1) + 2 c, from b <= sqrt(b^2 + 4 c^2) <= b + 2 c; with
    x = c/B the contradiction is e ln(1/x) + (1 + e) ln((1 + e)/d) - e > ln(1 + x) + 2 x d, whose left is e at the
    stated scale and falls in x, and whose right is below (2 d + 1) x <= 5 e/(exp(2) ln 2) < e for d >= 2.
    """
    b, c, root = sp.symbols("b c root")
    yield equal("(b + 2c)^2 - (b^2 + 4c^2)", (b + 2 * c) ** 2 - (b**2 + 4 * c**2), 4 * b * c)
    yield zero("2c - root + b L is below 2c - b + b L by", (2 * c - b) - (2 * c - root) - (root - b))

    def logarithm(f: Face) -> list[sp.Expr]:
        """d ln x/dd = -(1 + 1/e)/d, and x = exp(-2) at d = 1 + e: e ln(1/x) = 2 e - (1 + e) ln((1 + e)/d)."""
        end = f.at(inputs=1 + excess) - least_l1 * f.companions[0]
        return [f.rate(inputs) + f.value * (1 + 1 / excess) / inputs, end]

    yield obeys("logarithm of the scale", predicted.rich_scale, logarithm, companions=[sp.exp(-2)])
    yield positive("5 < exp(2) ln 2", lambda x: flint.arb(2).exp() * flint.arb(2).log() - 5 + 0 * x, ((0, 1),))


def deeper(one_loss: bool, equal_start: bool) -> Checks:
    """(w/alpha)^(2-D) = 1 -+ z moves in the row space; the potential's derivative in beta is z; its bounds."""
    wp, wm, ap, am, s, other = sp.symbols("w_plus w_minus a_plus a_minus s other_slope")  # a = (w/alpha)^(D-2)
    unit = sp.Symbol("unit")  # alpha^(D-2)
    slope = s if one_loss else other
    # beta = w_+^D - w_-^D: its derivative in w_+ is D w_+ a_+ unit
    rates = {wp: flow_rate(wp, s * depth * wp * ap * unit, 0), wm: flow_rate(wm, -slope * depth * wm * am * unit, 0)}
    D = Derivation({**rates, ap: (depth - 2) * ap * rates[wp] / wp, am: (depth - 2) * am * rates[wm] / wm})
    z = (1 / am - 1 / ap) / 2
    yield zero("(w_+/alpha)^(2-D) + (w_-/alpha)^(2-D) stays", D(1 / ap + 1 / am))
    total = sp.S(2) if equal_start else sp.Symbol("total")
    yield zero("so that with 2 at the start they are 1 - z and 1 + z", 1 / ap - (1 - z) - (1 / ap + 1 / am - 2) / 2
               + (total - 2))  # fmt: skip
    yield equal("z is in the row space", D(z), -depth * (depth - 2) * s * unit)
    squares = 2 * rates[wp] / wp
    power = 2 / (depth - 2) * D(z) / (1 - potential_slope)
    yield zero("(w_+/alpha)^2 grows as (1-z)^(-2/(D-2))", (squares - power).subs(ap, 1 / (1 - potential_slope)))
    yield obeys("beta", deep.deep_coefficient, _coefficient)
    yield obeys("potential", deep.deep_potential_at_slope, _potential)
    yield obeys("rich start", deep.deep_rich_start, _meets)


def _letters(f: Face) -> tuple[sp.Expr, sp.Expr]:
    """(w_+/alpha)^2 and (w_-/alpha)^2."""
    return tuple(f.reader.form((1 - sign * potential_slope) ** (-2 / (depth - 2))).expr for sign in (1, -1))


def _coefficient(f: Face) -> list[sp.Expr]:
    up, down = _letters(f)
    size = f.reader.form(start**depth).expr
    return [f.value - size * (up / (1 - potential_slope) - down / (1 + potential_slope))]


def _potential(f: Face) -> list[sp.Expr]:
    coefficient = f.reader.form(deep.deep_coefficient.expr)
    return [f.rate(potential_slope) - potential_slope * coefficient.rate(potential_slope), f.at(potential_slope=0)]


def _meets(f: Face) -> list[sp.Expr]:
    """|b| - (D/2) a |b|^(2/D) <= Q <= |b|, as 1 - z <= (b/alpha^D)^(2/D - 1): e B = (D/2) a d^(1-2/D) ((1+e) B)^(2/D);
    a = alpha^(D-2).
    """
    by_inputs = f.reader.form(inputs ** (2 / depth)).expr / inputs
    norm, more = (f.reader.form(base ** (-2 / depth)).expr for base in (deep.least_l1, 1 + deep.excess))
    return [depth / 2 * f.value / (by_inputs * norm * more) - deep.excess * deep.least_l1]
