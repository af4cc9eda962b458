"""Means of a noisy step of two scalar layers, exact in the learning rate: part of the proof of D50."""

import sympy as sp

from proofs_check.against import equal
from proofs_check.layers import Checks
from proofs_check.systems import sgd_step
from sdetheory.predictions import finite_step_noise as predicted
from sdetheory.predictions.finite_step_noise import lr, slope_mean, slope_square


def means(one_noise: bool) -> Checks:
    """D, W and sigma after a step are quadratic in the slope: their means need its first two moments."""
    first, second, slope = sp.symbols("w_1 w_2 g")
    other = slope if one_noise else sp.Symbol("other_slope")
    a, b = sgd_step(first, slope * second, lr, 0), sgd_step(second, other * first, lr, 0)
    state = {"imbalance": first**2 - second**2, "end_to_end": first * second, "squares": first**2 + second**2}
    after = {"imbalance": a**2 - b**2, "end_to_end": a * b, "squares": a**2 + b**2}
    for name, law in (
        ("imbalance", predicted.mean_imbalance_after),
        ("end_to_end", predicted.mean_product_after),
        ("squares", predicted.mean_squares_after),
    ):
        used = {key: value for key, value in state.items() if key in law.known}
        yield equal(f"mean of {name} after a step", _mean(after[name], slope), law, **used)


def _mean(expr: sp.Expr, slope: sp.Symbol) -> sp.Expr:
    """The mean of a quadratic polynomial in the slope."""
    constant, once, twice = (sp.expand(expr).coeff(slope, n) for n in range(3))
    return constant + once * slope_mean + twice * slope_square
