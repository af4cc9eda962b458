"""Solutions of ordinary differential equations enclosed over a finite time: Taylor's formula with a Picard
remainder, in Arb balls.

One step: a box B with x + [0, h] f(B) inside B contains the solution on [0, h] (Picard); then x(h) is the Taylor
polynomial at x plus the next coefficient over B times h^(n+1). Every operation rounds outwards.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flint
import sympy as sp

from proofs_check.judge import Undecided, Verdict
from proofs_check.points import exact

Field = Callable[[Sequence[Any]], Sequence[Any]]
_GROWTHS = 30


def enclose(
    field: Field, start: Sequence[Any], time: Any, *, steps: int, order: int = 30, bits: int = 256
) -> list[Any]:
    """Balls that contain x(time) for every x(0) in the balls `start`, where x' = field(x).

    `field` takes and returns lists of one number a coordinate, and works on balls and on power series
    (polynomials, exp, sqrt...). Start and time may be rationals (`flint.fmpq`), so that nothing is rounded
    before the precision is set. Radii grow with the Lipschitz constant; Undecided when a step has no box.
    """
    precision, cap = flint.ctx.prec, flint.ctx.cap
    flint.ctx.prec, flint.ctx.cap = bits, order + 3
    try:
        x, h = [flint.arb(v) for v in start], flint.arb(time) / steps
        for _ in range(steps):
            x = _step(field, x, h, order)
        return x
    finally:
        flint.ctx.prec, flint.ctx.cap = precision, cap


def _step(field: Field, x: list[Any], h: Any, order: int) -> list[Any]:
    box = _picard_box(field, x, h)
    near, far = taylor_coefficients(field, x, order), taylor_coefficients(field, box, order + 1)
    after = []
    for coefficients, beyond in zip(near, far, strict=True):
        value = beyond[order + 1]
        for c in reversed(coefficients):
            value = value * h + c
        after.append(value)
    return after


def _picard_box(field: Field, x: list[Any], h: Any) -> list[Any]:
    """A box that contains the solution from x on [0, h]."""
    now = flint.arb(0).union(h)
    box = [v + now * f for v, f in zip(x, field(x), strict=True)]
    for _ in range(_GROWTHS):
        box = [b + flint.arb(0, b.rad() / 8 + flint.arb(2) ** -40) for b in box]
        image = [v + now * f for v, f in zip(x, field(box), strict=True)]
        if all(b.contains_interior(i) for b, i in zip(box, image, strict=True)):
            return image
        box = [b.union(i) for b, i in zip(box, image, strict=True)]
    raise Undecided("no box contains the solution over a step: more steps are needed")


def taylor_coefficients(field: Field, x: Sequence[Any], order: int) -> list[list[Any]]:
    """Coefficients 0 .. order of the solution through x, by x_(k+1) = (field coefficient k)/(k + 1)."""
    known = [[v] for v in x]
    for n in range(1, order + 1):
        rates = field([flint.arb_series(c, n) for c in known])
        for coefficients, rate in zip(known, rates, strict=True):
            found = list(rate.coeffs())[n - 1 : n]
            coefficients.append((found[0] if found else flint.arb(0)) / n)
    return known


def within(label: str, ball: Any, low: Any, high: Any, kind: str) -> Verdict:
    """The enclosed number lies in the open interval (low, high); refuted when its ball lies outside."""
    if low < ball < high:
        return Verdict(label, True, kind)
    if ball < low or ball > high:
        return Verdict(label, False, kind, witness={label: ball.str(30)})
    raise Undecided(f"{label}: {ball} is neither inside nor outside ({low}, {high})")


def ball(expr: sp.Expr) -> Any:
    """A ball around a number written with rationals, sums, products, powers, exp and log, at the current
    precision.
    """
    if expr.is_Rational:
        return flint.arb(exact(expr))
    parts = [ball(a) for a in expr.args]
    if expr.is_Add:
        return sum(parts[1:], parts[0])
    if expr.is_Mul:
        return math.prod(parts[1:], start=parts[0])
    if isinstance(expr, (sp.exp, sp.log)):
        return parts[0].exp() if isinstance(expr, sp.exp) else parts[0].log()
    if expr.is_Pow and expr.exp.is_Rational:
        return parts[0].root(expr.exp.q) ** expr.exp.p
    raise Undecided(f"no ball for {expr}")
