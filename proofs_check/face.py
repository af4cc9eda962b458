"""The rational face of a prediction, as residuals see it: value, rates of change, substitutions, hypotheses."""

from collections.abc import Sequence
from typing import Any

import sympy as sp

from sdetheory.predictions.letters import Reader


class Face:
    """A formula in letters, with companion formulas read in the same letters, and substitutions on demand."""

    def __init__(self, expr: sp.Expr, companions: Sequence[sp.Expr] = ()):
        self.expr = sp.sympify(expr)
        self.reader = Reader([self.expr, *companions])
        self.form = self.reader.form(self.expr)
        self.companions = [self.reader.form(c).expr for c in companions]

    @property
    def value(self) -> sp.Expr:
        """The formula, rational in its letters."""
        return self.form.expr

    @property
    def relations(self) -> list[sp.Expr]:
        """The polynomial relations of every letter met so far."""
        return self.reader.relations

    def rate(self, symbol: sp.Symbol) -> sp.Expr:
        """d(value)/d(symbol), from the derivation table of the letters."""
        return self.form.rate(symbol)

    def at(self, **values: Any) -> sp.Expr:
        """The value with arguments replaced by name; limits are taken before the formula becomes letters."""
        if not values:
            return self.value
        moved = self.expr.subs({sp.Symbol(name): value for name, value in values.items()}, simultaneous=True)
        return sp.nan if moved.has(sp.zoo, sp.nan) else self.reader.form(moved).expr
