"""The judge: exact zero tests over QQ, decided by sympy's polynomials and re-checked by python-flint.

Nothing here asks whether an expression "simplifies" to zero. A check is proved (normal form 0, cofactors found, the
second library agrees), or refuted (a rational point where the hypotheses hold and the statement does not), or the
judge raises `Undecided`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flint
import sympy as sp

Point = Mapping[sp.Symbol, sp.Expr]


class Undecided(Exception):
    """The expression is outside what the judge decides: neither proved nor refuted."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check; `divided_by` are the hypotheses "this is not zero" hidden in denominators."""

    label: str
    proved: bool
    kind: str
    residual: sp.Expr = sp.S.Zero
    witness: Mapping[Any, Any] = field(default_factory=dict)
    divided_by: tuple[sp.Expr, ...] = ()
    mutants: int = 0
    survivors: tuple[sp.Expr, ...] = ()
    predictions: tuple[Any, ...] = ()

    @property
    def refuted(self) -> bool:
        """Disproved by a point at which the hypotheses hold."""
        return not self.proved and bool(self.witness)


@dataclass(frozen=True)
class Given:
    """Polynomial relations among letters, with one rational point that satisfies them all."""

    relations: tuple[sp.Expr, ...] = ()
    example: Point = field(default_factory=dict)

    def extended(self, relations: Iterable[sp.Expr]) -> "Given":
        """These hypotheses and further relations, met together at one point."""
        joined = Given(self.relations + tuple(_numerator(r) for r in relations), self.example)
        if len(joined.relations) == len(self.relations):
            return self
        return Given(joined.relations, _points(joined, _letters(*joined.relations))[0])


def given(relations: Iterable[sp.Expr], example: Mapping[Any, Any]) -> Given:
    """Relations among letters and one real point that satisfies them: hypotheses nobody can meet prove anything."""
    point = {x: rational(sp.sympify(v)) for x, v in example.items()}
    made = Given(tuple(_numerator(r) for r in relations), point)
    values = [r.subs(point) for r in made.relations]
    if any(v != 0 for v in values):
        raise Undecided(f"the example does not satisfy the hypotheses: they become {values}")
    return made


def rational(expr: sp.Expr) -> sp.Expr:
    """Refuse anything that is not a rational expression in plain symbols (floats, roots, exponentials, nan)."""
    for node in sp.preorder_traversal(expr):
        power = node.is_Pow and node.exp.is_Integer
        if not (node.is_Symbol or node.is_Rational or node.is_Add or node.is_Mul or power):
            raise Undecided(f"not rational: {node}; make it a letter with a derivation or a relation")
    return expr


def zero(label: str, expr: Any, hypotheses: Given | tuple[()] = ()) -> Verdict:
    """Decide expr == 0 in the field of rational functions, or modulo the hypotheses (cofactors certify it)."""
    modulo = hypotheses or Given()
    if not isinstance(modulo, Given):
        raise TypeError("hypotheses come from given(relations, example)")
    expr = rational(sp.sympify(expr))
    top, bottom = sp.fraction(sp.together(expr))
    letters = _letters(expr, *modulo.relations)
    numerator, denominator = (sp.Poly(part, *letters, domain=sp.QQ) for part in (top, bottom))
    if denominator.is_zero:
        raise Undecided(f"{label}: division by zero")
    divided_by = tuple(f.as_expr() for f, _ in denominator.factor_list()[1])
    kind = "identity modulo relations" if modulo.relations else "identity in QQ(x)"
    for point in _points(modulo, letters, denominator):
        if _value(numerator, point) != 0:
            return Verdict(label, False, kind, numerator.as_expr(), point, divided_by)
    quotients, relations = _membership(label, numerator, modulo.relations)
    if not flint_agrees(expr, relations, quotients, denominator.as_expr()):
        raise Undecided(f"{label}: the two libraries disagree")
    return Verdict(label, True, kind, divided_by=divided_by)


def _numerator(expr: Any) -> sp.Expr:
    return sp.numer(sp.together(rational(sp.sympify(expr))))


def _letters(*exprs: sp.Expr) -> list[sp.Symbol]:
    return sorted(set().union(*(e.free_symbols for e in exprs)), key=str) or [sp.Symbol("x")]


def _value(poly: sp.Poly, point: Point) -> sp.Expr:
    return poly.eval(tuple(point[x] for x in poly.gens))


def _membership(
    label: str, numerator: sp.Poly, relations: tuple[sp.Expr, ...]
) -> tuple[Sequence[sp.Expr], tuple[sp.Expr, ...]]:
    """Cofactors of the numerator in the ideal of the relations (of their own, or of a Groebner basis)."""
    if numerator.is_zero:
        return [sp.S.Zero] * len(relations), relations
    if not relations:
        raise Undecided(f"{label}: not zero, but no witness was found")
    options = {"order": "grevlex", "domain": sp.QQ}
    quotients, rest = sp.reduced(numerator.as_expr(), relations, *numerator.gens, **options)
    if rest == 0:
        return quotients, relations
    basis = sp.groebner(relations, *numerator.gens, **options)
    quotients, rest = basis.reduce(numerator.as_expr())
    if rest != 0:
        raise Undecided(f"{label}: {rest} is left modulo the relations, and no witness was found")
    return quotients, tuple(basis.exprs)


# -- points that satisfy the hypotheses ------------------------------------------------------------------------


def _points(
    modulo: Given, letters: Sequence[sp.Symbol], denominator: sp.Poly | None = None, count: int = 3
) -> list[Point]:
    """Rational points that satisfy the relations, with nothing divided by zero; positive ones first."""
    solved, start = eliminate(modulo.relations), {}
    if solved is None and modulo.example:
        start = dict(modulo.example)
        solved = eliminate(tuple(_numerator(r.subs(start)) for r in modulo.relations))
    free = [x for x in letters if x not in dict(solved or ()) and x not in start]
    good: list[Point] = []
    for k in range(1, 60 if solved is not None else 600):
        if solved is None:
            full = _searched(modulo.relations, letters, start, k)
        else:
            point = {x: sp.Rational(1 + (7 * i + 5 * k + i * k) % 13, 14 + i + k) for i, x in enumerate(free)}
            full = _complete(start | point, solved)
        if full is None or any(r.subs(full) != 0 for r in modulo.relations):
            continue
        if denominator is None or _value(denominator, full) != 0:
            good.append(full)
        if sum(all(v > 0 for v in p.values()) for p in good) >= count:
            break
    good.sort(key=lambda p: any(v <= 0 for v in p.values()))
    if not good:
        raise Undecided("no point satisfies the hypotheses without dividing by zero")
    return good[:count]


def _searched(
    relations: Sequence[sp.Expr], letters: Sequence[sp.Symbol], start: Mapping[Any, Any], k: int
) -> Point | None:
    """The k-th try at a point where no letter can be solved for: small integers, then rational roots (3-4-5)."""
    point = dict(start)
    for relation in relations:
        left = sp.Poly(relation.subs(point), *sorted(relation.subs(point).free_symbols, key=str) or [sp.Symbol("x")])
        unknown = max(left.gens, key=lambda x: (str(x).startswith("root"), str(x)))
        point |= {x: sp.Integer(1 + (k // 6**i) % 6) for i, x in enumerate(left.gens) if x != unknown}
        roots = sp.Poly(relation.subs(point), unknown, domain=sp.QQ).ground_roots() if unknown in left.free_symbols else {0: 1}
        if not roots:
            return None
        if unknown in left.free_symbols:
            point[unknown] = max(roots)
    return point | {x: sp.Rational(1 + i, 3 + k % 5) for i, x in enumerate(letters) if x not in point}


def _complete(point: dict[sp.Symbol, sp.Expr], solved: Sequence[tuple[sp.Symbol, sp.Expr]]) -> Point | None:
    """The point with the solved letters filled in; None where one of them is undefined."""
    for letter, formula in reversed(solved):
        value = formula.subs(point)
        if not value.is_Rational:
            return None
        point[letter] = value
    return point


def eliminate(relations: tuple[sp.Expr, ...]) -> list[tuple[sp.Symbol, sp.Expr]] | None:
    """Solve the relations one letter at a time, each where it is linear; None when no order of letters works."""
    relations = tuple(r for r in relations if r != 0)
    if not relations:
        return []
    first, rest = relations[0], relations[1:]
    for letter in sorted(first.free_symbols, key=str, reverse=True):
        poly = sp.Poly(first, letter)
        if poly.degree() != 1:
            continue
        formula = sp.cancel(-poly.coeff_monomial(1) / poly.coeff_monomial(letter))
        later = tuple(_numerator(r.subs(letter, formula)) for r in rest)
        if any(r.is_number and r != 0 for r in later):
            continue
        tail = eliminate(later)
        if tail is not None:
            return [(letter, formula), *tail]
    return None


# -- the second route ----------------------------------------------------------------------------------------


def flint_agrees(
    expr: sp.Expr, relations: Sequence[sp.Expr], quotients: Sequence[sp.Expr], cleared: sp.Expr
) -> bool:
    """expr * cleared == sum of quotient * relation, by a second library with its own traversal."""
    letters = _letters(*(sp.sympify(e) for e in (expr, cleared, *relations, *quotients)))
    context = flint.fmpq_mpoly_ctx.get(tuple(f"x{i}" for i in range(len(letters))), "degrevlex")
    gens, one = dict(zip(letters, context.gens(), strict=True)), context.constant(1)
    top, bottom = _fold(sp.sympify(expr), gens, one)
    scale, _ = _fold(sp.sympify(cleared), gens, one)
    combined = context.constant(0)
    for quotient, relation in zip(quotients, relations, strict=True):
        combined += _fold(sp.sympify(quotient), gens, one)[0] * _fold(sp.sympify(relation), gens, one)[0]
    return bool(bottom != 0 and scale != 0 and top * scale == combined * bottom)


def _fold(expr: sp.Expr, gens: Mapping[sp.Symbol, Any], one: Any) -> tuple[Any, Any]:
    """The value of `expr` as (numerator, denominator) of flint polynomials."""
    if expr.is_Symbol:
        return gens[expr], one
    if expr.is_Rational:
        return one * flint.fmpq(int(expr.p), int(expr.q)), one
    if expr.is_Pow:
        top, bottom = _fold(expr.base, gens, one)
        n = int(expr.exp)
        return (top**n, bottom**n) if n >= 0 else (bottom**-n, top**-n)
    top, bottom = _fold(expr.args[0], gens, one)
    for arg in expr.args[1:]:
        t, b = _fold(arg, gens, one)
        top, bottom = (top * b + t * bottom, bottom * b) if expr.is_Add else (top * t, bottom * b)
    return top, bottom
