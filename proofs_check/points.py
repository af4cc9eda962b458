"""Points that satisfy polynomial relations: rationals, and real balls for roots; they are what refutes a
statement."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flint
import sympy as sp

_ONE = flint.fmpq(1)
Values = dict[sp.Symbol, Any]  # letter -> flint.fmpq, or flint.arb where the value is irrational


@dataclass(frozen=True)
class Step:
    """letter^power = top/bottom, with top and bottom in letters known by then."""

    letter: sp.Symbol
    power: int
    top: sp.Poly
    bottom: sp.Poly


def points(
    relations: tuple[sp.Expr, ...],
    avoided: tuple[sp.Expr, ...],
    letters: Sequence[sp.Symbol],
    example: Mapping[Any, Any],
) -> Iterator[Values]:
    """Points where every relation holds and nothing of `avoided` vanishes identically.

    The relations are solved for some of the letters; where they cannot be, the letters of the example keep
    its values.
    """
    steps = solve(relations, avoided)
    if steps is not None:
        yield from _filled({}, steps, letters, 14)
    if example:
        fixed = tuple(sp.expand(sp.numer(sp.together(r.subs(dict(example))))) for r in relations)
        rest = solve(fixed, ())
        if rest is not None:
            yield from _filled({x: exact(v) for x, v in example.items()}, rest, letters, 12)


def _filled(
    start: Values, steps: Sequence[Step], letters: Sequence[sp.Symbol], count: int
) -> Iterator[Values]:
    solved = {s.letter for s in steps} | set(start)
    free = [x for x in letters if x not in solved]
    for k in range(1, count + 1):
        values = start | {
            x: flint.fmpq(1 + (7 * i + 5 * k + i * k) % 13, 4 + (i + k) % 3) for i, x in enumerate(free)
        }
        if _fill(values, steps):
            yield values


def exact(value: sp.Rational) -> flint.fmpq:
    """A sympy rational as a flint rational."""
    return flint.fmpq(int(value.p), int(value.q))


def evaluate(poly: sp.Poly, values: Mapping[sp.Symbol, Any]) -> Any:
    """The value of a polynomial at rationals and balls."""
    at = [values.get(x, _ONE) for x in poly.gens]
    total: Any = flint.fmpq(0)
    for powers, coefficient in poly.terms():
        term: Any = exact(coefficient)
        for value, n in zip(at, powers, strict=True):
            term = term * value**n if n else term
        total = total + term
    return total


def value_at(expr: sp.Expr, values: Mapping[sp.Symbol, Any]) -> Any:
    """The value of a rational expression at rationals and balls; ZeroDivisionError where it is not
    defined.
    """
    if expr.is_Symbol:
        return values[expr]
    if expr.is_Rational:
        return exact(expr)
    if expr.is_Pow:
        base, n = value_at(expr.base, values), int(expr.exp)
        if n < 0 and not nonzero(base):
            raise ZeroDivisionError(f"{expr.base} may be zero")
        return base**n
    total = value_at(expr.args[0], values)
    for part in expr.args[1:]:
        total = total + value_at(part, values) if expr.is_Add else total * value_at(part, values)
    return total


def nonzero(value: Any) -> bool:
    """Whether a rational is not zero, or a ball certainly excludes zero."""
    return bool(value != 0)


def _fill(values: Values, steps: Sequence[Step]) -> bool:
    """Compute the solved letters in place; False where that divides by zero or takes a root of a negative
    number."""
    for step in reversed(steps):
        bottom = evaluate(step.bottom, values)
        if not nonzero(bottom):
            return False
        value = evaluate(step.top, values) / bottom
        if step.power > 1:
            if not value > 0:
                return False
            value = _root(value, step.power)
        values[step.letter] = value
    return True


def _root(value: Any, power: int) -> Any:
    """The positive root: a rational when it is one, a ball otherwise."""
    if isinstance(value, flint.fmpq):
        parts = [sp.integer_nthroot(int(n), power) for n in (value.p, value.q)]
        if all(is_exact for _, is_exact in parts):
            return flint.fmpq(int(parts[0][0]), int(parts[1][0]))
        value = flint.arb(value)
    return value.root(power)


@functools.cache
def solve(relations: tuple[sp.Expr, ...], avoided: tuple[sp.Expr, ...]) -> list[Step] | None:
    """Steps, last to first, that solve every relation for one letter; None when no order of letters works.

    Letters in which a relation is linear are eliminated; what is left must be roots x^q = rational.
    """
    relations = tuple(r for r in relations if r != 0)
    if any(r.is_number for r in relations) or 0 in avoided:
        return None
    if not relations:
        return []
    first, rest = relations[0], relations[1:]
    for letter in sorted(first.free_symbols, key=str, reverse=True):
        poly = sp.Poly(first, letter)
        if poly.degree() == 1:
            top, bottom = sp.expand(-poly.coeff_monomial(1)), poly.coeff_monomial(letter)
            later = (tuple(_moved(e, letter, top / bottom) for e in exprs) for exprs in (rest, avoided))
            tail = solve(*later)
            if tail is not None:
                return [_step(letter, 1, top, bottom), *tail]
    return _roots(relations, avoided)


def _roots(relations: Sequence[sp.Expr], avoided: tuple[sp.Expr, ...]) -> list[Step] | None:
    """A relation solved as x^q = rational for a letter that no other relation has: computed last, so that
    roots of roots are solved from the inside.
    """
    for i, relation in enumerate(relations):
        rest = (*relations[:i], *relations[i + 1 :])
        others = set().union(*(r.free_symbols for r in rest))
        for letter in sorted(relation.free_symbols - others, key=_roots_first):
            poly = sp.Poly(relation, letter)
            if len(poly.terms()) == 2 and poly.terms()[-1][0] == (0,):
                tail = solve(rest, avoided)
                if tail is not None:
                    a, b = poly.LC(), -poly.coeff_monomial(1)
                    return [_step(letter, poly.degree(), b, a), *tail]
    return None


def _roots_first(letter: sp.Symbol) -> tuple[bool, str]:
    return not str(letter).startswith("root"), str(letter)


def _step(letter: sp.Symbol, power: int, top: sp.Expr, bottom: sp.Expr) -> Step:
    gens = sorted(top.free_symbols | bottom.free_symbols, key=str) or [sp.Symbol("one")]
    return Step(letter, power, sp.Poly(top, *gens, domain=sp.QQ), sp.Poly(bottom, *gens, domain=sp.QQ))


def _moved(expr: sp.Expr, letter: sp.Symbol, formula: sp.Expr) -> sp.Expr:
    """The numerator after a substitution, expanded."""
    return sp.expand(sp.numer(sp.together(expr.subs(letter, formula))))
