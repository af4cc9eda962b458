"""Proofs about the stationary law of the product of balanced scalar layers, and its collapse."""

import sympy as sp

from proofs_check.against import equal, obeys
from proofs_check.face import Face
from proofs_check.field import Derivation
from proofs_check.layers import Checks, claim
from proofs_check.vectors import Gram, letters
from sdetheory.predictions import gradient_noise
from sdetheory.predictions import stationary_law as predicted
from sdetheory.predictions.stationary_law import (
    correlation,
    crossed_spread,
    depth,
    input_power,
    input_spread,
    target_spread,
    temperature,
)
from sdetheory.predictions.stationary_law import end_to_end as v

ZIYIN = "Ziyin, Li, Ueda 2023"


def _slope() -> tuple[sp.Expr, sp.Expr]:
    """Mean and variance of dl/dv = 2 (x^2 v - x y) over the data."""
    p, q = letters("p q")  # x^2 and x y
    covariance = Gram(p_p=input_spread, p_q=crossed_spread, q_q=target_spread)
    slope = 2 * (v * p - q)
    return 2 * (v * input_power - correlation), sp.expand(covariance(slope, slope))


@claim(
    "D51",
    "stationary density of balanced layers: p ~ v^(-3(1-1/d)) exp(-I/(T d))/(a_1 v^2 - 2 a_2 v + a_3)",
    "every real depth, any moments of the data, v > 0; I' = v^(2/d-2) (b_1 v - b_2)/(a_1 v^2 - 2 a_2 v + a_3)",
    ZIYIN,
    given=["a law on a line without flux through any point is stationary"],
    where={"balanced": "all layers have the same square", "no_flux": "the flux of the law is zero"},
)
def stationary_density(balanced: bool = True, no_flux: bool = True) -> Checks:
    """2 b p = (a p)' for dv = b dt + sqrt(a) dB of D50; q = v^(2/d) is the common square, dq/dv = 2 q/(d
    v).
    """
    mean, variance = _slope()

    def residual(f: Face) -> list[sp.Expr]:
        q = f.reader.form(v ** (2 / depth)).expr
        pairs = depth * (depth - 1) / (2 * q**2) if balanced else sp.Symbol("pairs")
        drift = gradient_noise.product_drift.at(
            end_to_end=v, inverse_squares=depth / q, inverse_pairs=pairs, slope_mean=mean, slope_variance=variance
        )
        diffusion = temperature * variance * (v**2 * depth / q) ** 2
        D = Derivation({v: 1, q: 2 * q / (depth * v)})
        flux = sp.S.Zero if no_flux else sp.Symbol("flux")
        return [f.value - (2 * drift - D(diffusion) - flux) / diffusion]

    yield obeys("(ln p)'", predicted.stationary_score, residual)


@claim(
    "D52",
    "two layers have a stationary density iff T < T_c = b_2/a_3, and collapse to 0 beyond; deeper ones never do",
    "a_1 a_3 > a_2^2: power b_2/(2 T a_3) - 3/2 at v = 0, integrable far out; depth > 2: exp(-c v^(2/d - 1)) at 0",
    ZIYIN,
    given=["the integral of v^k from 0 is finite iff k > -1"],
    where={"two_layers": "there are two layers", "deeper": "there are more than two layers"},
)
def collapse(two_layers: bool = True, deeper: bool = True) -> Checks:
    """v (ln p)' at v = 0 for two layers; v^2/q (ln p)' at v = 0 for more, where r = v/q vanishes."""
    at = predicted.stationary_score.at(depth=2 if two_layers else 1)
    power = sp.cancel(sp.together(v * at)).subs(v, 0)
    yield obeys("power", predicted.origin_exponent, lambda f: [f.value - power])
    exponent, tail = predicted.origin_exponent, sp.fraction(sp.cancel(sp.together(v * at)))
    far = sp.Poly(tail[0], v).LC() / sp.Poly(tail[1], v).LC()  # v (ln p)' far out: both have the degree 2
    yield equal("power far out, below -1", far, -sp.Rational(7, 2))
    yield obeys("T_c", predicted.collapse_temperature, lambda f: [exponent.at(temperature=f.value) + 1])
    margin = (predicted.collapse_temperature.expr - temperature) / (2 * temperature)
    yield equal("integrable below T_c", exponent.expr + 1, margin)
    r = sp.Symbol("r")

    def barrier(f: Face) -> list[sp.Expr]:
        q = f.reader.form(v ** (2 / depth)).expr
        score = f.reader.form(predicted.stationary_score.expr).expr
        leading = sp.cancel(sp.together((score * v**2 / q).subs(q, v / r))).subs(v, 0)
        leading = leading.subs(r, 0) if deeper else leading
        D = Derivation({v: 1, q: 2 * q / (depth * v)})
        return [D(-f.value * q / v) * v**2 / q - leading]

    yield obeys("barrier", predicted.origin_barrier, barrier)
