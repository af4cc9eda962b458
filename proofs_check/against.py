"""Derived against predicted: the check of a prediction, and the refusal of every small change of it."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import sympy as sp

from proofs_check.face import Face
from proofs_check.judge import Given, Verdict, zero
from sdetheory.predictions import Prediction

Residuals = Callable[[Face], Sequence[Any]]
Hypotheses = Given | tuple[()]


def equal(label: str, derived: Any, predicted: Any, hypotheses: Hypotheses = (), **at: Any) -> Verdict:
    """Decide derived == predicted, and that no one-number change of the prediction would pass too.

    `predicted` is a Prediction or an expression; `at` substitutes its arguments by name.
    """
    return obeys(label, predicted, lambda face: [face.at(**at) - derived], hypotheses)


def obeys(
    label: str,
    predicted: Any,
    residuals: Residuals,
    hypotheses: Hypotheses = (),
    companions: Sequence[sp.Expr] = (),
) -> Verdict:
    """Decide that every residual of the prediction vanishes, and that every mutant of it leaves one that
    does not."""
    stated = isinstance(predicted, Prediction)
    expr = predicted.expr if stated else sp.sympify(predicted)
    verdict = _all_zero(label, Face(expr, companions), residuals, hypotheses)
    verdict = replace(verdict, predictions=(predicted,) if stated else ())
    if not verdict.proved:
        return verdict
    changed = list(dict.fromkeys(m for m in mutants(expr) if m != expr))
    survivors = tuple(m for m in changed if not _refused(label, m, residuals, hypotheses, companions))
    return replace(verdict, proved=not survivors, mutants=len(changed), survivors=survivors)


def vanishes(label: str, expr: Any, hypotheses: Hypotheses = ()) -> Verdict:
    """Decide expr == 0 for an expression with roots and exponentials, read in letters."""
    face = Face(expr)
    value = face.value
    return zero(label, value, (hypotheses or Given()).extended(face.reader.relations))


def _all_zero(label: str, face: Face, residuals: Residuals, hypotheses: Hypotheses) -> Verdict:
    left = [sp.sympify(r) for r in residuals(face)]
    modulo = (hypotheses or Given()).extended(face.reader.relations)
    verdicts: list[Verdict] = []
    for residual in left:
        verdicts.append(zero(label, residual, modulo))
        if not verdicts[-1].proved:
            return verdicts[-1]
    divided = tuple(dict.fromkeys(itertools.chain.from_iterable(v.divided_by for v in verdicts)))
    return replace(verdicts[0], divided_by=divided)


def _refused(
    label: str,
    mutant: sp.Expr,
    residuals: Residuals,
    hypotheses: Hypotheses,
    companions: Sequence[sp.Expr],
) -> bool:
    """A mutant is refused when a residual is refuted, or when the mutant is not even defined (0/0)."""
    if mutant.has(sp.zoo, sp.nan):
        return True
    face = Face(mutant, companions)
    left = [sp.sympify(r) for r in residuals(face)]
    if any(r.has(sp.zoo, sp.nan) for r in left):
        return True
    modulo = (hypotheses or Given()).extended(face.reader.relations)
    return any(zero(label, r, modulo).refuted for r in left)


def mutants(expr: sp.Expr) -> list[sp.Expr]:
    """Every expression that differs by one coefficient, one exponent or the size of one term."""
    if expr.is_Rational:
        return [expr + 1]
    if expr.is_Add:
        out = [sp.Add(*expr.args[:i], 2 * a, *expr.args[i + 1 :]) for i, a in enumerate(expr.args)]
    else:
        out = [2 * expr]
    for i, arg in enumerate(expr.args):
        if not arg.is_Symbol:
            out += [expr.func(*expr.args[:i], m, *expr.args[i + 1 :]) for m in mutants(arg)]
    return out
