"""Inequalities: by signs of coefficients, by exact Bernstein coefficients on boxes, by Arb balls on boxes."""

from collections.abc import Callable, Mapping
from typing import Any

import flint
import sympy as sp

from proofs_check.judge import Undecided, Verdict, rational
from proofs_check.points import exact, value_at

Box = Mapping[sp.Symbol, tuple[Any, Any]]
_BERNSTEIN_CELLS, _BALL_CELLS = 200, 5000


def coefficients_nonnegative(label: str, expr: Any) -> Verdict:
    """expr >= 0 when every letter is > 0, because no coefficient of numerator or denominator is negative."""
    expr = rational(sp.sympify(expr))
    letters = sorted(expr.free_symbols, key=str) or [sp.Symbol("x")]
    top, bottom = (sp.Poly(e, *letters, domain=sp.QQ) for e in sp.fraction(sp.together(expr)))
    kind = "no negative coefficient, letters positive"
    if all(c >= 0 for c in (*top.coeffs(), *bottom.coeffs())):
        return Verdict(label, True, kind, divided_by=() if bottom.is_ground else (bottom.as_expr(),))
    for k in range(1, 400):
        point = {
            x: flint.fmpq(1 + (5 * i + k * (i + 1)) % 17, 1 + (k + i) % 5) for i, x in enumerate(letters)
        }
        try:
            if value_at(expr, point) < 0:
                return Verdict(label, False, kind, expr, point)
        except ZeroDivisionError:
            continue
    raise Undecided(f"{label}: some coefficient is negative, but no negative value was found")


def nonnegative(label: str, expr: Any, box: Box) -> Verdict:
    """expr >= 0 on a rational box, for polynomials: exact Bernstein coefficients, the box halved until
    they tell.
    """
    poly = sp.Poly(rational(sp.expand(expr)), *box, domain=sp.QQ)
    todo = [tuple((sp.Rational(a), sp.Rational(b)) for a, b in box.values())]
    cells = 0
    while todo:
        cell, cells = todo.pop(), cells + 1
        if cells > _BERNSTEIN_CELLS:
            raise Undecided(f"{label}: {_BERNSTEIN_CELLS} cells were not enough")
        if all(c >= 0 for c in _bernstein(poly, cell)):
            continue
        for point in _corners_and_middle(poly, cell):
            if poly.eval(point) < 0:
                witness = {x: exact(v) for x, v in zip(poly.gens, point, strict=True)}
                return Verdict(label, False, "Bernstein", poly.as_expr(), witness)
        todo += _halves(cell)
    return Verdict(label, True, f"non-negative: Bernstein coefficients on {cells} cell{'s' * (cells > 1)}")


def positive(label: str, function: Callable[..., Any], box: tuple[tuple[Any, Any], ...]) -> Verdict:
    """function > 0 on a rational box; it takes and returns Arb balls, so that any special function is
    allowed.
    """
    todo, cells = [tuple((exact(sp.Rational(a)), exact(sp.Rational(b))) for a, b in box)], 0
    while todo:
        cell, cells = todo.pop(), cells + 1
        if cells > _BALL_CELLS:
            raise Undecided(f"{label}: {_BALL_CELLS} cells were not enough")
        if function(*(flint.arb(a).union(flint.arb(b)) for a, b in cell)) > 0:
            continue
        middle = [(a + b) / 2 for a, b in cell]
        if function(*map(flint.arb, middle)) < 0:
            return Verdict(label, False, "Arb", witness={f"x{i}": m for i, m in enumerate(middle)})
        todo += _halves(cell)
    return Verdict(label, True, f"positive: Arb balls on {cells} cell{'s' * (cells > 1)}")


def _halves(cell: tuple[tuple[Any, Any], ...]) -> list[tuple[tuple[Any, Any], ...]]:
    """The cell cut in two across its longest side."""
    axis = max(range(len(cell)), key=lambda i: cell[i][1] - cell[i][0])
    a, b = cell[axis]
    return [(*cell[:axis], half, *cell[axis + 1 :]) for half in ((a, (a + b) / 2), ((a + b) / 2, b))]


def _corners_and_middle(poly: sp.Poly, cell: tuple[tuple[Any, Any], ...]) -> list[tuple[Any, ...]]:
    low, high = tuple(a for a, _ in cell), tuple(b for _, b in cell)
    return [low, high, tuple((a + b) / 2 for a, b in cell)]


def _bernstein(poly: sp.Poly, cell: tuple[tuple[Any, Any], ...]) -> list[sp.Expr]:
    """Bernstein coefficients of a polynomial on a box: their convex hull contains its values there."""
    shift = {x: a + (b - a) * x for x, (a, b) in zip(poly.gens, cell, strict=True)}
    moved = sp.Poly(poly.as_expr().subs(shift, simultaneous=True), *poly.gens, domain=sp.QQ)
    table = dict(moved.terms())
    for axis, x in enumerate(poly.gens):
        n = moved.degree(x)
        keys = {key[:axis] + (i,) + key[axis + 1 :] for key in table for i in range(n + 1)}
        table = {
            key: sp.Add(*(
                table.get(key[:axis] + (j,) + key[axis + 1 :], sp.S.Zero)
                * sp.binomial(key[axis], j) / sp.binomial(n, j)
                for j in range(key[axis] + 1)
            ))
            for key in keys
        }  # fmt: skip
    return list(table.values())
