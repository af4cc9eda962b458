"""A flow enclosed over a finite time: two scalar layers with weight decay, to more than twenty digits."""

from collections.abc import Sequence
from typing import Any

import flint
import sympy as sp

from proofs_check import systems
from proofs_check.enclosure import ball, enclose, within
from proofs_check.layers import GINSBURG, Checks, claim
from proofs_check.points import exact
from proofs_check.systems import flow_rate
from sdetheory.predictions import deep_linear

_START, _DECAY, _BITS, _STEPS, _ORDER = (sp.Rational(1, 10), sp.Rational(17, 10)), sp.Rational(1, 10), 160, 40, 24
_KIND = f"enclosed: Arb, Taylor of order {_ORDER} with Picard boxes, {_STEPS} steps"


@claim(
    "D14e",
    "(W-1)^2 with weight decay 1/10 from (1/10, 17/10): at t = 1 W = 0.967518388026350766793..., D = D_0 e^(-1/5)",
    "this start, two layers, to 1e-21: the flow itself, enclosed without its closed forms",
    GINSBURG + ", figure 4",
    where={"same_decay": "both layers have the same weight decay"},
    latex=r"W(1)\in[0.967518388026350766793,\,0.967518388026350766794]",
)
def enclosed(same_decay: bool = True) -> Checks:
    """The end of the flow in balls, against a decimal and against the law of the imbalance (D14)."""
    first, second = _end(_DECAY if same_decay else 2 * _DECAY)
    digits = 967518388026350766793
    with flint.ctx.workprec(_BITS):
        unit = 1 / flint.arb(10**21)
        start = {"t": 1, "weight_decay": _DECAY, "imbalance0": _START[0] ** 2 - _START[1] ** 2}
        law = ball(deep_linear.imbalance_flow.at(**start))
        yield within("W(1)", first * second, digits * unit, (digits + 1) * unit, _KIND)
        yield within("D(1) - D_0 e^(-2 wd)", first**2 - second**2 - law, -unit, unit, _KIND)


def _end(second_decay: sp.Expr) -> tuple[Any, Any]:
    """The weights at t = 1, in balls."""
    w1, w2 = sp.symbols("w_1 w_2")
    loss = systems.square_loss(w1 * w2, 1)
    rates = [flow_rate(w, sp.diff(loss, w), decay) for w, decay in ((w1, _DECAY), (w2, second_decay))]
    terms = [[(exact(c), n) for n, c in sp.Poly(r, w1, w2, domain=sp.QQ).terms()] for r in rates]

    def field(x: Sequence[Any]) -> list[Any]:
        powers = [[1, v, v * v, v * v * v] for v in x]
        return [sum(powers[0][i] * powers[1][j] * c for c, (i, j) in t) for t in terms]

    start = [exact(v) for v in _START]
    first, second = enclose(field, start, 1, steps=_STEPS, order=_ORDER, bits=_BITS)
    return first, second
