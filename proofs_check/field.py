"""Differential fields and Ito's formula: letters with their derivatives in a table, observables of an SDE."""

from collections.abc import Mapping
from typing import Any

import sympy as sp

from proofs_check.vectors import Gram, Vector


class Derivation:
    """D(letter) from a table of rational expressions; every other letter is a constant."""

    def __init__(self, table: Mapping[sp.Symbol, Any]):
        self.table = {k: sp.sympify(v) for k, v in table.items()}

    def __call__(self, expr: Any) -> sp.Expr:
        return sp.Add(*(sp.diff(expr, x) * rate for x, rate in self.table.items()))


class Ito:
    """Scalar observables of an SDE in any dimension.

    Coordinates are scalars of the state: `partials` maps each to the derivation d/d(coordinate), `drift` to
    its drift, `bracket` pairs of them to their covariation rate, `noise` to its martingale part (noise
    letter -> coefficient), `time` is the derivation d/dt of explicit time dependence.
    """

    def __init__(
        self,
        partials: Mapping[sp.Symbol, Derivation],
        drift: Mapping[sp.Symbol, Any],
        bracket: Mapping[tuple[sp.Symbol, sp.Symbol], Any],
        noise: Mapping[sp.Symbol, Mapping[Any, Any]] | None = None,
        time: Derivation | None = None,
    ):
        self.partials, self.drift, self.bracket = partials, drift, bracket
        self.noise, self.time = noise or {}, time or Derivation({})

    def generator(self, f: Any) -> sp.Expr:
        """The drift of f: f_t + sum f_k b_k + (1/2) sum f_km a_km."""
        first = sp.Add(*(self.partials[k](f) * b for k, b in self.drift.items()))
        second = sp.Add(*(self.partials[k](self.partials[m](f)) * a for (k, m), a in self.bracket.items()))
        return self.time(f) + first + second / 2

    def martingale(self, f: Any) -> dict[Any, sp.Expr]:
        """The noise of f: noise letter -> coefficient."""
        out: dict[Any, sp.Expr] = {}
        for k, terms in self.noise.items():
            for letter, coefficient in terms.items():
                out[letter] = out.get(letter, sp.S.Zero) + self.partials[k](f) * coefficient
        return out


def coordinates(
    gram: Gram,
    drift: Vector,
    covariance: Gram,
    gradients: Mapping[sp.Symbol, Vector],
    curvatures: Mapping[sp.Symbol, Any],
) -> tuple[dict[sp.Symbol, sp.Expr], dict[tuple[sp.Symbol, sp.Symbol], sp.Expr]]:
    """Drift and bracket of scalars of X, dX = drift dt + noise of the given covariance: Ito's formula once
    and for all.

    A scalar with gradient g and Hessian H has drift <g, drift> + tr(covariance H)/2 (`curvatures`: that
    trace) and covariation <g, covariance h> with a scalar of gradient h.
    """
    rates = {k: gram(g, drift) + sp.sympify(curvatures[k]) / 2 for k, g in gradients.items()}
    brackets = {(k, m): covariance(g, h) for k, g in gradients.items() for m, h in gradients.items()}
    return rates, brackets
