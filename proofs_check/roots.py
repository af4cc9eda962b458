"""Real roots of polynomials in one letter, isolated exactly by Sturm's theorem."""

from typing import Any

import sympy as sp

from proofs_check.judge import Undecided, Verdict, rational
from proofs_check.points import exact

Interval = tuple[Any, Any]


def one_root(label: str, expr: Any, within: Interval, near: Interval) -> Verdict:
    """A polynomial has exactly one root in the closed interval `within`, and it lies in `near`."""
    poly = sp.Poly(rational(sp.expand(expr)), domain=sp.QQ)
    if len(poly.gens) != 1:
        raise Undecided(f"{label}: {expr} must have one letter")
    counts = [poly.count_roots(*map(sp.Rational, interval)) for interval in (within, near)]
    kind = "one real root: Sturm"
    if counts == [1, 1]:
        return Verdict(label, True, kind)
    witness = {f"roots in [{a}, {b}]": n for (a, b), n in zip((within, near), counts, strict=True)}
    return Verdict(label, False, kind, poly.as_expr(), witness)


def signs(label: str, expr: Any, points: dict[Any, int]) -> Verdict:
    """A polynomial in one letter has these signs at these rational points."""
    poly = sp.Poly(rational(sp.expand(expr)), domain=sp.QQ)
    for at, sign in points.items():
        value = poly.eval(sp.Rational(at))
        if sp.sign(value) != sign:
            return Verdict(label, False, "sign", poly.as_expr(), {poly.gen: exact(sp.Rational(at))})
    return Verdict(label, True, "exact signs at rational points")
