"""The rational face of a prediction, as residuals see it: value, powers, rates of change, substitutions."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import sympy as sp

from sdetheory.predictions.letters import LetterForm, Reader


class Face:
    """A formula in letters, with companion formulas read in the same letters, and substitutions on demand."""

    def __init__(self, expr: sp.Expr, companions: Sequence[sp.Expr] = ()):
        self.expr, self._companions = sp.sympify(expr), tuple(companions)
        self.reader = Reader([self.expr, *companions])

    @cached_property
    def form(self) -> LetterForm:
        """The letter form: expression, meanings of the letters, derivation tables."""
        return self.reader.form(self.expr)

    @cached_property
    def companions(self) -> list[sp.Expr]:
        """The companion formulas, in the same letters."""
        return [self.reader.form(c).expr for c in self._companions]

    @property
    def value(self) -> sp.Expr:
        """The formula, rational in its letters."""
        return self.form.expr

    def rate(self, symbol: sp.Symbol) -> sp.Expr:
        """d(value)/d(symbol), from the derivation table of the letters."""
        return self.form.rate(symbol)

    def at(self, **values: Any) -> sp.Expr:
        """The value with arguments replaced by name; limits are taken before the formula becomes letters."""
        return self.power(1, **values)

    def power(self, n: int, **values: Any) -> sp.Expr:
        """The n-th power of the value, arguments replaced by name: the square of a root needs no letter."""
        moved = (
            self.expr.subs({sp.Symbol(name): value for name, value in values.items()}, simultaneous=True) ** n
        )
        return sp.nan if moved.has(sp.zoo, sp.nan, sp.I) else self.reader.form(moved).expr
