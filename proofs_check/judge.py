"""The judge: exact zero tests over QQ, decided by sympy's polynomials and re-checked by python-flint.

Nothing here asks whether an expression "simplifies" to zero. A check is proved (normal form 0, cofactors
found, the second library agrees), or refuted (a rational point where the hypotheses hold and the statement
does not), or the judge raises `Undecided`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flint
import sympy as sp

from proofs_check.points import Values, nonzero, points, value_at

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
    """Relations among letters, with one rational point that satisfies them all.

    Relations are kept as (polynomial, denominator): the polynomial is zero, the denominator is not.
    """

    relations: tuple[tuple[sp.Expr, sp.Expr], ...] = ()
    example: Point = field(default_factory=dict)
    divisors: tuple[sp.Expr, ...] = ()

    @property
    def polynomials(self) -> tuple[sp.Expr, ...]:
        """What is zero."""
        return tuple(top for top, _ in self.relations)

    @property
    def nonzero(self) -> tuple[sp.Expr, ...]:
        """What is not zero: the denominators of the relations, and what the author divides by."""
        factors = (f for _, bottom in self.relations for f, _ in sp.factor_list(bottom)[1])
        return tuple(dict.fromkeys((*factors, *self.divisors)))

    def extended(self, relations: Iterable[sp.Expr]) -> "Given":
        """These hypotheses and further relations."""
        return Given(self.relations + tuple(_cleared(r) for r in relations), self.example, self.divisors)

    def about(self, expr: sp.Expr) -> "Given":
        """Only the relations that reach the letters of `expr`, through shared letters."""
        letters: set[sp.Symbol] = set(expr.free_symbols)
        kept: tuple[tuple[sp.Expr, sp.Expr], ...] = ()
        while True:
            reached = tuple(r for r in self.relations if r not in kept and r[0].free_symbols & letters)
            if not reached:
                return Given(
                    tuple(r for r in self.relations if r in kept), self.example, self.divisors if kept else ()
                )
            kept += reached
            letters = letters.union(*(r[0].free_symbols for r in reached))


def given(relations: Iterable[sp.Expr], example: Mapping[Any, Any], nonzero: Sequence[sp.Expr] = ()) -> Given:
    """Relations among letters and one real point that satisfies them: hypotheses nobody can meet prove
    anything.

    `nonzero` are expressions the proof may divide by.
    """
    point = {x: rational(sp.sympify(v)) for x, v in example.items()}
    made = Given(tuple(_cleared(r) for r in relations), point, tuple(nonzero))
    values = [r.subs(point) for r in made.polynomials]
    if any(v != 0 for v in values) or any(r.subs(point) == 0 for r in made.nonzero):
        raise Undecided(f"the example does not satisfy the hypotheses: they become {values}")
    return made


def rational(expr: sp.Expr) -> sp.Expr:
    """Refuse anything that is not a rational expression in plain symbols (floats, roots, exponentials,
    nan)."""
    for node in sp.preorder_traversal(expr):
        power = node.is_Pow and node.exp.is_Integer
        if not (node.is_Symbol or node.is_Rational or node.is_Add or node.is_Mul or power):
            raise Undecided(f"not rational: {node}; make it a letter with a derivation or a relation")
    return expr


def zero(label: str, expr: Any, hypotheses: Given | tuple[()] = ()) -> Verdict:
    """Decide expr == 0 in the field of rational functions, or modulo the hypotheses (cofactors certify
    it)."""
    modulo = hypotheses or Given()
    if not isinstance(modulo, Given):
        raise TypeError("hypotheses come from given(relations, example)")
    expr = rational(sp.sympify(expr))
    modulo = modulo.about(expr)
    letters = _letters(expr, *modulo.polynomials, *modulo.nonzero)
    kind = "identity modulo relations" if modulo.relations else "identity in QQ(x)"
    point = _witness(expr, _points(modulo, letters))
    if point is not None:
        return Verdict(label, False, kind, expr, point)
    top, bottom = _fraction(label, expr)
    numerator, denominator = (sp.Poly(part, *letters, domain=sp.QQ) for part in (top, bottom))
    if denominator.is_zero:
        raise Undecided(f"{label}: division by zero")
    divided_by = tuple(f.as_expr() for f, _ in denominator.factor_list()[1])
    quotients, relations = _membership(label, numerator, modulo)
    if not flint_agrees(expr, relations, quotients, denominator.as_expr()):
        raise Undecided(f"{label}: the two libraries disagree")
    return Verdict(label, True, kind, divided_by=tuple(dict.fromkeys(divided_by + modulo.nonzero)))


def _fraction(label: str, expr: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Numerator and denominator; Undecided where something is divided by a hidden zero."""
    try:
        return sp.fraction(rational(sp.together(expr)))
    except (sp.PolynomialError, ZeroDivisionError) as why:
        raise Undecided(f"{label}: {expr} is not defined ({why})") from None


def _cleared(expr: Any) -> tuple[sp.Expr, sp.Expr]:
    """A relation as (polynomial, denominator)."""
    return sp.fraction(sp.together(rational(sp.sympify(expr))))


def _letters(*exprs: sp.Expr) -> list[sp.Symbol]:
    return sorted(set().union(*(e.free_symbols for e in exprs)), key=str) or [sp.Symbol("x")]


def _membership(
    label: str, numerator: sp.Poly, modulo: Given
) -> tuple[Sequence[sp.Expr], tuple[sp.Expr, ...]]:
    """Cofactors of the numerator in the ideal of the relations, then of it with the denominators made
    invertible."""
    relations = modulo.polynomials
    if numerator.is_zero:
        return [sp.S.Zero] * len(relations), relations
    if not relations:
        raise Undecided(f"{label}: not zero, but no witness was found")
    quotients, rest = sp.reduced(
        numerator.as_expr(), relations, *numerator.gens, order="grevlex", domain=sp.QQ
    )
    if rest == 0:
        return quotients, relations
    quotients, rest, basis = _groebner(numerator, relations)
    if rest != 0 and modulo.nonzero:
        inverse = sp.Symbol("1/nonzero")
        quotients, rest, basis = _groebner(numerator, (*relations, inverse * sp.Mul(*modulo.nonzero) - 1))
    if rest != 0:
        raise Undecided(f"{label}: {rest} is left modulo the relations, and no witness was found")
    return quotients, basis


def _groebner(
    numerator: sp.Poly, relations: tuple[sp.Expr, ...]
) -> tuple[Sequence[sp.Expr], sp.Expr, tuple[sp.Expr, ...]]:
    letters = _letters(numerator.as_expr(), *relations)
    basis = sp.groebner(relations, *letters, order="grevlex", domain=sp.QQ)
    quotients, rest = basis.reduce(numerator.as_expr())
    return quotients, rest, tuple(basis.exprs)


def _points(modulo: Given, letters: Sequence[sp.Symbol]) -> list[Values]:
    """Points that satisfy the hypotheses, those with positive letters first."""
    every = points(modulo.polynomials, modulo.nonzero, letters, modulo.example)
    good = [p for p in every if all(nonzero(value_at(e, p)) for e in modulo.nonzero)]
    return sorted(good, key=lambda p: not all(v > 0 for v in p.values()))


def _witness(expr: sp.Expr, where: Sequence[Values]) -> Values | None:
    """A point at which the expression is defined and not zero; Undecided when it is defined at no point."""
    defined = 0
    for point in where:
        try:
            value = value_at(expr, point)
        except ZeroDivisionError:
            continue
        if nonzero(value):
            return point
        defined += 1
    if not defined:
        raise Undecided("no point satisfies the hypotheses without dividing by zero")
    return None


# -- the second route


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
