"""The equilibrium cases as laws of u = <mu, w/|w|>: what a scheme's exact one-step kernel needs to know.

In units of 1/(lr wd) the direction obeys dw = -(strength/n) grad l(w) ds + sqrt(2/n) dB on the sphere, n =
d - 1, with the stationary density exp(-strength l): l = -u or l = u^2. A step h = lr wd dt is all that a
scheme sees of lr and wd.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from .equilibrium_cases import Case, case, cases


class Law(NamedTuple):
    """The law of one case; observed is u (von Mises-Fisher, l = -u) or u^2 (Bingham, l = u^2)."""

    case: Case

    @property
    def name(self) -> str:
        """Kind, dimension and the expectation, for Bingham times d."""
        if self.linear:
            return f"vMF d={self.d} E u={self.exact:.1g}"
        return f"Bingham d={self.d} d E u^2={self.exact * self.d:.1g}"

    @property
    def d(self) -> int:
        """The dimension."""
        return self.case.d

    @property
    def linear(self) -> bool:
        """Is it von Mises-Fisher?"""
        return type(self.case.model).__name__ == "VonMisesFisher"

    @property
    def strength(self) -> float:
        """kappa or beta."""
        return self.case.concentration

    @property
    def loss_scale(self) -> float:
        """k of the model: -k u or k u^2."""
        return float(self.case.model.k if self.linear else self.case.model.a[0])

    @property
    def exact(self) -> float:
        """E u or E u^2."""
        return self.case.expectation / (-self.loss_scale if self.linear else self.loss_scale)

    def observed(self, u: np.ndarray) -> np.ndarray:
        """u or u^2."""
        return u if self.linear else u * u

    def loss(self, u: np.ndarray) -> np.ndarray:
        """l = -u or u^2."""
        return -u if self.linear else u * u

    def laplacian(self, u: np.ndarray) -> np.ndarray:
        """The Laplacian of l on the sphere."""
        return (self.d - 1) * u if self.linear else 2.0 - 2.0 * self.d * u * u

    def force(self, u: np.ndarray) -> np.ndarray:
        """-dl/du."""
        return np.ones_like(u) if self.linear else -2.0 * u

    def flow(self, u: np.ndarray, time: float) -> np.ndarray:
        """u after the exact gradient flow of l on the sphere for `time`."""
        if self.linear:
            moved = (u * np.cosh(time) + np.sinh(time)) / (np.cosh(time) + u * np.sinh(time))
        else:
            shrunk = u * np.exp(-2.0 * time)
            moved = shrunk / np.sqrt(shrunk**2 + 1.0 - u * u)
        return np.clip(moved, -1.0, 1.0)

    def nodes(self, count: int = 600) -> tuple[np.ndarray, np.ndarray]:
        """Quadrature nodes u and masses of the stationary law."""
        u, weight = special.roots_jacobi(count, (self.d - 3) / 2, (self.d - 3) / 2)
        exponent = self.strength * (u if self.linear else -u * u)
        mass = weight * np.exp(exponent - exponent.max())
        return u, mass / mass.sum()


def laws() -> list[Law]:
    """All twelve."""
    return [Law(c) for c in cases()]


def law(kind: str, d: int, level: float) -> Law:
    """The law with E u = level ("von_mises_fisher") or d E u^2 = level ("bingham")."""
    return Law(case(kind, d, level))
