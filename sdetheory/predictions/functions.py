"""Special functions of the predictions: exact in sympy, stable in numpy at the limits people care about."""

from typing import Any

import numpy as np
import sympy as sp


class saturation(sp.Function):
    """(1 - exp(-x)) / x, whose limit at 0 is 1: the average of exp(-s) over 0 <= s <= x."""

    @classmethod
    def eval(cls, x: sp.Expr) -> sp.Expr | None:
        return sp.S.One if x.is_zero else None

    def _eval_rewrite_as_exp(self, x: sp.Expr, **_: Any) -> sp.Expr:
        return (1 - sp.exp(-x)) / x

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        x = self.args[0]
        return (sp.exp(-x) - self) / x

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        x = printer._print(self.args[0])
        body = rf"\frac{{1-e^{{-{x}}}}}{{{x}}}"
        return body if exp is None else rf"\left({body}\right)^{{{exp}}}"


class bessel_ratio(sp.Function):
    """I_{d/2}(kappa) / I_{d/2-1}(kappa): the mean of <mu, x> under von Mises-Fisher on the sphere of R^d."""

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        d, kappa = (printer._print(a) for a in self.args)
        body = rf"\frac{{I_{{{d}/2}}({kappa})}}{{I_{{{d}/2-1}}({kappa})}}"
        return body if exp is None else rf"\left({body}\right)^{{{exp}}}"


def saturation_values(x: Any) -> Any:
    """(1 - exp(-x)) / x for arrays, 1 at x = 0 and without cancellation near it."""
    x = np.asarray(x, dtype=float)
    safe = np.where(x == 0.0, 1.0, x)
    return np.where(x == 0.0, 1.0, -np.expm1(-safe) / safe)


def bessel_ratio_values(d: Any, kappa: Any) -> Any:
    """I_v+1/I_v at v = d/2 - 1 by backward recurrence from Amos' lower bound (no overflow, any dimension)."""
    d, kappa = np.broadcast_arrays(np.asarray(d, dtype=float), np.asarray(kappa, dtype=float))
    order = d / 2 - 1
    terms = 60 + int(np.ceil(np.max(kappa, initial=0.0)))
    top = order + terms
    ratio = kappa / (top + 1 + np.sqrt(kappa**2 + (top + 1) ** 2))
    for n in range(terms, 0, -1):
        ratio = kappa / (2 * (order + n) + kappa * ratio)
    return ratio


NUMPY = {"saturation": saturation_values, "bessel_ratio": bessel_ratio_values}
